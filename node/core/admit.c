/* MAIL and RCPT: the decisions that the grammar cannot make. Who may send as whom, whether this node may
 * admit mail, and whether there is a token for one more recipient. The worker's thread only.
 */
#include "base/err.h"
#include "node/core/client_check.h"
#include "node/core/forward.h"
#include "node/core/node.h"
#include "node/core/notice.h"
#include "node/core/proof.h"
#include "node/core/report.h"
#include "node/core/session.h"
#include "node/core/suppress.h"
#include "node/policy/policy.h"

#include <stdio.h>

static const struct smtp_reply *check_mail(struct session *s, const struct smtp_server_mail *mail,
                                           struct charge_reply *frozen)
{
    static const struct smtp_reply denied = { 550, "5.7.1",
                                              "Relaying denied: this client is not known here" };
    /* Not 535, which is about AUTH and final: a mail server would bounce what it has for us, though its next
     * session may have the new password. */
    static const struct smtp_reply gone = { 421, "4.7.0", "The account has changed, log in again" };
    static const struct smtp_reply owner = { 553, "5.7.1", "Sender address not owned by this account" };
    static const struct smtp_reply closed = { 421, "4.3.2", "Not accepting mail just now" };
    const struct config *c = s->config;
    struct node *node = s->in->w->node;
    if (!node_accepting(node, NULL))
        return &closed;
    if (s->l->config->kind == CONFIG_INBOUND)
        return NULL;
    if (s->identity == NULL)
        return &denied;
    if (!auth_identity_current(node->auth, s->identity))
        return &gone;
    if (!charge_welcome(s, false, frozen))
        return &frozen->reply;
    if (c->accounts.sender_check != CONFIG_SENDER_OFF &&
        !auth_may_send(s->identity, mail->from.text, c->accounts.subaddresses) &&
        !forward_allows(s, mail->from.text))
        return &owner;
    return NULL;
}

void admit_mail(struct session *s)
{
    static const struct smtp_reply memory = { 451, "4.3.0", "Insufficient memory" };
    static const struct smtp_reply unqualified = { 553, "5.1.7",
                                                   "Sender address needs a fully qualified domain" };
    const struct smtp_server_mail *mail = smtp_server_mail(s->smtp);
    struct charge_reply frozen;
    const struct smtp_reply *refusal = check_mail(s, mail, &frozen);
    int err = refusal == NULL ? receive_start(s, &mail->from) : 0;
    if (err != 0)
        refusal = err == ERR_BAD ? &unqualified : &memory;
    if (refusal == NULL && !proof_mail(s, mail->from.text, &frozen)) {
        refusal = &frozen.reply;
        receive_abort(s);
    }
    if (refusal != NULL)
        report_rejected(s, "mail", refusal, mail->from.text, (struct span){ "", 0 });
    smtp_server_on_mail(s->smtp, refusal);
}

static void refuse_rcpt(struct session *s, const struct smtp_reply *refusal)
{
    report_rejected(s, "rcpt", refusal, smtp_server_mail(s->smtp)->from.text,
                    smtp_server_rcpt(s->smtp)->to.text);
    smtp_server_on_rcpt(s->smtp, refusal);
}

/* Its token is reserved. */
static void take_rcpt(struct session *s)
{
    static const struct smtp_reply full = { 452, "4.5.3", "Too many recipients" };
    static const struct smtp_reply unqualified = { 550, "5.1.2",
                                                   "Recipient address needs a fully qualified domain" };
    int err = receive_rcpt(s, smtp_server_rcpt(s->smtp));
    if (err == 0) {
        smtp_server_on_rcpt(s->smtp, NULL);
        return;
    }
    charge_rcpt_undo(receive_charge(s));
    refuse_rcpt(s, err == ERR_BAD ? &unqualified : &full);
}

/* NULL: this client need not show anything. */
static const struct config_client_checks *checks_for(struct session *s)
{
    if (s->l->config->kind != CONFIG_RELAY || smtp_server_authenticated(s->smtp))
        return NULL;
    const struct policy *policy = receive_charge(s)->policy;
    const struct config_client_checks *checks = s->in->w->node->cluster == NULL ? &s->config->client_checks
                                                : policy != NULL                ? &policy->client_checks
                                                                                : NULL;
    return checks != NULL && client_check_due(checks, &s->peer) ? checks : NULL;
}

/* False: refused. */
static bool check_client(struct session *s, const struct config_client_checks *checks)
{
    struct client_check check;
    client_check_reverse_dns(checks, &s->peer, &s->reverse_dns, s->l->config->hostname, &check);
    report_client_check(s, check.result);
    if (check.result != CLIENT_CHECK_DEFERRED && check.result != CLIENT_CHECK_DEFERRED_UNKNOWN)
        return true;
    report_rejected_by(s, "rcpt", "reverse_dns", &check.reply, smtp_server_mail(s->smtp)->from.text,
                       smtp_server_rcpt(s->smtp)->to.text);
    if (check.result == CLIENT_CHECK_DEFERRED) {
        char words[sizeof check.text + 16];
        snprintf(words, sizeof words, "%u %s %s", check.reply.code, check.reply.enhanced, check.reply.text);
        notice_reverse_dns(s, checks->name != NULL ? checks->name : s->l->config->hostname,
                           checks->forward_confirmed, words);
    }
    smtp_server_on_rcpt(s->smtp, &check.reply);
    return false;
}

static bool charge_it(struct session *s)
{
    struct charge_reply refusal;
    if (suppress_refuses(s, smtp_server_rcpt(s->smtp)->to.text, &refusal)) {
        refuse_rcpt(s, &refusal.reply);
        return true;
    }
    switch (charge_rcpt(receive_charge(s), receive_rcpts(s), s->ahead, &refusal)) {
    case LEDGER_WAIT:
        s->rcpt_waits = true;
        return false;
    case LEDGER_NO:
        refuse_rcpt(s, &refusal.reply);
        return true;
    case LEDGER_YES:
        break;
    }
    take_rcpt(s);
    return true;
}

bool admit_rcpt(struct session *s)
{
    if (s->l->config->kind == CONFIG_INBOUND) {
        const struct smtp_reply *no = receive_returned_rcpt(s, smtp_server_rcpt(s->smtp));
        if (no != NULL)
            refuse_rcpt(s, no);
        else
            smtp_server_on_rcpt(s->smtp, NULL);
        return true;
    }
    const struct config_client_checks *checks = checks_for(s);
    if (checks != NULL && list_linked(&s->name_wait.link)) {
        s->rcpt_waits_name = true;
        return false;
    }
    return (checks != NULL && !check_client(s, checks)) || charge_it(s);
}

bool admit_rcpt_named(struct session *s)
{
    s->rcpt_waits_name = false;
    return admit_rcpt(s);
}

void admit_rcpt_answer(struct session *s, enum ledger_answer answer)
{
    struct charge_reply refusal;
    s->rcpt_waits = false;
    if (answer == LEDGER_YES || !charge_rcpt_refusal(receive_charge(s), &refusal))
        take_rcpt(s);
    else
        refuse_rcpt(s, &refusal.reply);
    session_go_on(s);
}
