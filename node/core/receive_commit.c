/* The end of a transaction: the verdict on its content, its sender's record and tokens, its signatures, the commit record, the reply to
 * the dot. The worker's thread. See receive.c.
 */
#include "node/core/receive_impl.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster.h"
#include "node/core/dispatch.h"
#include "node/core/held.h"
#include "node/core/node.h"
#include "node/core/report.h"
#include "node/core/seen.h"
#include "node/core/steps.h"
#include "node/core/tally.h"
#include "node/policy/policy.h"

#include <stdlib.h>

static void run_committed(struct worker *w, struct worker_op *op);

/* ---- commit -------------------------------------------------------------------------------------------- */

static int add_always_bcc(struct receiving *rx)
{
    const struct config *c = rx->s->config;
    int err = 0;
    for (uint32_t i = 0; err == 0 && i < c->nalways_bcc; i++) {
        struct envelope_rcpt r = { .address = span_str(c->always_bcc[i]), .notify = ENVELOPE_NOTIFY_NEVER };
        err = receive_add_rcpt(rx, &r);
    }
    return err;
}

#define REASONS_FEATURE 6 /* older versions cannot read an envelope that has one */

static bool reasons_kept(const struct session *s)
{
    struct machine *m = cluster_machine(s->in->w->node->cluster);
    machine_read_lock(m);
    bool kept = machine_features(m) >= REASONS_FEATURE;
    machine_read_unlock(m);
    return kept;
}

static struct span held_text(const struct receiving *rx, char out[HOLD_TEXT_MAX + 1])
{
    struct span text = span_str(rx->charge.why_text);
    return rx->charge.web ? held_host_text(rx->charge.class, text, out) : text;
}

static void envelope_fill(struct receiving *rx)
{
    char text[HOLD_TEXT_MAX + 1];
    const struct session *s = rx->s;
    const struct smtp_server_mail *mail = smtp_server_mail(s->smtp);
    struct envelope *env = &rx->env;
    const struct auth_identity *who = s->identity;
    snprintf(rx->client_ip, sizeof rx->client_ip, "%s", s->peer_text);
    env->body = mail->body_8bitmime ? ENVELOPE_BODY_8BITMIME : ENVELOPE_BODY_7BIT;
    env->ret = mail->ret;
    env->envid = mail->envid;
    if (who != NULL) { /* else nobody's: it came back */
        env->class = rx->charge.class;
        env->account = span_str(who->account);
        env->tenant = span_str(who->tenant);
    }
    if (rx->charge.has_named) {
        env->account = span_str(rx->charge.named_account);
        env->tenant = span_str(rx->charge.named_tenant);
        env->class = rx->charge.named_class;
    }
    env->client_ip = span_str(rx->client_ip);
    env->client_name = span_str(s->client_name);
    env->helo = smtp_server_helo(s->smtp);
    env->listener = span_str(s->l->config->name);
    env->message_id = span_str(rx->message_id);
    if (rx->eight_bit)
        env->flags |= ENVELOPE_BODY_IS_8BIT;
    if (rx->smtputf8 && (rx->utf8_address || mail_header_info(&rx->header)->eight_bit))
        env->flags |= ENVELOPE_SMTPUTF8;
    if (mail->requiretls)
        env->flags |= ENVELOPE_REQUIRETLS;
    else if (mail_header_info(&rx->header)->tls_not_required && s->config->smtp.tls_required_no)
        env->flags |= ENVELOPE_TLS_OPTIONAL;
    if (rx->charge.hold) {
        env->flags |= ENVELOPE_HELD;
        if (reasons_kept(s))
            env->hold = hold_reason_format(rx->charge.why, held_text(rx, text), rx->hold);
    }
}

/* What came back is read. True: nobody else is to have it, and it is answered. */
static bool settle_returned(struct receiving *rx)
{
    static const struct smtp_reply done = { 250, "2.0.0", "Ok: taken note of" };
    static const struct smtp_reply failed = { 451, "4.3.0", "Temporary failure, try again later" };
    struct envelope_rcpt to = { .notify = 0 };
    struct session *s = rx->s;
    returned_settle(rx->back, &to.address);
    if (to.address.n > 0) {
        rx->env.mail_from = (struct span){ "", 0 }; /* so that it does not come back once more */
        if (receive_add_rcpt(rx, &to) != 0) {
            receive_refuse(rx, &failed);
            receive_abort(s);
            return true;
        }
    }
    if (rx->env.nrcpts > 0)
        return false;
    receive_abort(s);
    smtp_server_on_commit(s->smtp, &done);
    return true;
}

static void receive_looked(void *ctx, enum tally_answer answer);

/* Into its sender's record, and if rules may stop him, not further before they have seen it: but for a few
 * recipients on credit. */
static enum ledger_answer look(struct receiving *rx, struct charge_reply *out)
{
    struct session *s = rx->s;
    struct cluster *cluster = s->in->w->node->cluster;
    enum tally_answer answer = rx->unseen ? TALLY_BUSY : TALLY_GO;
    if (rx->look != NULL)
        return LEDGER_WAIT;
    if (!rx->looked && !receive_inbound(s) && tally_sees(cluster)) {
        struct sender_facts facts;
        envelope_fill(rx);
        if (charge_has_rules(&rx->charge))
            seen_fill(&facts, &rx->env, &s->peer, rx->like);
        else
            seen_count(&facts, &rx->env);
        uint32_t credit = charge_credit(&rx->charge, rx->env.class);
        rx->watched = credit > 0;
        answer = tally_seen(cluster, &facts, credit, s->in->w, receive_looked, rx, &rx->look);
    }
    rx->looked = true;
    if (answer == TALLY_WAIT)
        return LEDGER_WAIT;
    if (answer == TALLY_BUSY) {
        out->reply =
            (struct smtp_reply){ 451, "4.3.2", "Sending limits cannot be checked just now, try again later" };
        return LEDGER_NO;
    }
    return !rx->watched || charge_still_allowed(&rx->charge, out) ? LEDGER_YES : LEDGER_NO;
}

/* What is held has bounds of its own: over them, the policy says what else becomes of it. */
static bool room_to_hold(struct receiving *rx, struct charge_reply *out)
{
    struct session *s = rx->s;
    struct node *node = s->in->w->node;
    if (!rx->charge.hold || rx->held || rx->charge.policy == NULL)
        return true;
    const struct policy_held *limits = &rx->charge.policy->held;
    envelope_fill(rx);
    enum held_room room = held_admit(node->held, limits, spool_ingest_id(rx->in), dispatch_sender(&rx->env),
                                     spool_ingest_bytes(rx->in));
    rx->held = room == HELD_ROOM;
    out->reply = limits->when_full == POLICY_HELD_REJECT
                     ? (struct smtp_reply){ 550, "5.7.1", "Mail of this account is held, and no more of it can be: "
                                                          "contact your postmaster" }
                     : (struct smtp_reply){ 450, "4.7.1", "Mail of this account is held, and no more of it can be: "
                                                          "try again later" };
    return rx->held;
}

/* Into the spool, if the tokens of its recipients can be spent now. False: the reply comes later. */
static bool commit(struct receiving *rx)
{
    static const struct smtp_reply failed = { 451, "4.3.0", "Temporary failure, try again later" };
    struct session *s = rx->s;
    struct charge_reply refusal;
    enum ledger_answer answer = charge_settled(&rx->charge, &refusal);
    if (answer == LEDGER_YES)
        answer = look(rx, &refusal);
    if (answer == LEDGER_YES)
        answer = charge_ready(&rx->charge, &refusal);
    if (answer == LEDGER_YES && !room_to_hold(rx, &refusal))
        answer = LEDGER_NO;
    rx->commit_waits = answer == LEDGER_WAIT;
    if (rx->commit_waits)
        return false;
    if (answer == LEDGER_NO || (!receive_inbound(s) && add_always_bcc(rx) != 0)) {
        receive_refuse(rx, answer == LEDGER_NO ? &refusal.reply : &failed);
        receive_abort(s);
        return true;
    }
    envelope_fill(rx);
    worker_op_init(&rx->op, s->in->w, run_committed);
    rx->committing = true;
    struct spool_ingest *in = rx->in;
    rx->in = NULL;
    charge_spend(&rx->charge); /* nothing refuses it for a quota any more */
    spool_ingest_commit(in, &rx->env, &rx->op.op);
    return false;
}

void receive_charged(struct session *s, enum ledger_answer answer)
{
    if (s->closing)
        return;
    if (s->rcpt_waits)
        admit_rcpt_answer(s, answer);
    else if (s->rx != NULL && s->rx->commit_waits && commit(s->rx))
        session_go_on(s);
}

static void receive_looked(void *ctx, enum tally_answer answer)
{
    struct receiving *rx = ctx;
    struct session *s = rx->s;
    rx->look = NULL;
    rx->unseen = answer != TALLY_GO;
    if (!s->closing && commit(rx))
        session_go_on(s);
}

/* Fields that go before all of it: the last piece of them first. */
static int add_front(struct receiving *rx, struct span fields)
{
    int err = 0;
    rx->env.header_bytes += (uint32_t)fields.n;
    while (err == 0 && fields.n > 0) {
        size_t n = fields.n < SPOOL_FRONT_MAX ? fields.n : SPOOL_FRONT_MAX;
        fields.n -= n;
        err = spool_ingest_front(rx->in, fields.p + fields.n, n);
    }
    return err;
}

static bool refuse_content(struct receiving *rx)
{
    const struct content *c = rx->content;
    struct smtp_reply reply = { c->code, c->enhanced, c->refusal };
    envelope_fill(rx);
    rx->env.size = spool_ingest_bytes(rx->in) + (c->kept_back ? content_header(c).n : 0);
    steps_rejected(rx->s->in->w->node, &rx->env, c, &reply);
    spool_ingest_abort(rx->in);
    rx->in = NULL;
    report_rejected_content(rx->s, c->text, &reply, rx->env.mail_from);
    smtp_server_refuse_content(rx->s->smtp, &reply);
    receive_abort(rx->s);
    return true;
}

/* What the policy makes of the verdict. True: it is refused, and answered. */
static bool obey_verdict(struct receiving *rx)
{
    const struct content *c = rx->content;
    struct cluster *cluster = rx->s->in->w->node->cluster;
    const char *account = rx->charge.has_named ? rx->charge.named_account : rx->s->identity->account;
    if (c->spam && !c->defer)
        tally_add(cluster, span_str(account), RECORD_SPAM);
    if (c->defer || c->act == POLICY_CONTENT_REJECT)
        return refuse_content(rx);
    if (c->act == POLICY_CONTENT_HOLD)
        charge_hold(&rx->charge, HOLD_CONTENT, span_str(c->text));
    return false;
}

static void receive_signed_cb(void *ctx);

/* The verdict is there: what filters have left of a header that was kept back is signed, and goes to its place. */
static int settle_header(struct receiving *rx)
{
    if (!receive_kept_back(rx))
        return 0;
    struct span header = content_header(rx->content);
    rx->eight_bit = rx->eight_bit || rx->content->eight_bit;
    if (rx->sign != NULL) {
        sign_header(rx->sign, header);
        rx->signing = !sign_finish(rx->sign, receive_signed_cb, rx);
    }
    return add_front(rx, header);
}

/* The verdict and the signatures are there, if any is due. */
static bool commit_whole(struct receiving *rx)
{
    static const struct smtp_reply full = { 452, "4.3.1", "Insufficient system storage" };
    static const struct smtp_reply failed = { 451, "4.3.0", "Temporary failure, try again later" };
    struct sign *sign = rx->sign;
    int err = 0;
    if (rx->checking || rx->signing)
        return false;
    if (rx->content != NULL && !rx->judged) {
        if (obey_verdict(rx))
            return true;
        rx->judged = true;
        err = settle_header(rx);
        if (rx->signing && err == 0)
            return false;
    }
    if (err == 0 && sign != NULL)
        err = sign->err;
    if (err == 0 && rx->content != NULL)
        err = add_front(rx, span_str(rx->content->fields));
    if (err == 0 && sign != NULL)
        err = add_front(rx, buf_span(&sign->fields));
    if (err != 0) {
        receive_refuse(rx, err == ERR_DISK_FULL ? &full : &failed);
        receive_abort(rx->s);
        return true;
    }
    return commit(rx);
}

static void receive_signed_cb(void *ctx)
{
    struct receiving *rx = ctx;
    struct session *s = rx->s;
    rx->signing = false;
    if (!s->closing && commit_whole(rx))
        session_go_on(s);
}

static void receive_checked_cb(void *ctx)
{
    struct receiving *rx = ctx;
    struct session *s = rx->s;
    rx->checking = false;
    if (!s->closing && commit_whole(rx))
        session_go_on(s);
}

/* What filters are told of it. */
static void describe(struct receiving *rx, const struct rspamd_about *known)
{
    const struct session *s = rx->s;
    const struct tls_info *tls = s->stream == NULL ? NULL : stream_tls_info(s->stream);
    struct milter_about about = {
        .hostname = span_str(s->l->config->hostname),
        .version = SPAN_LIT("Turnpike " TURNPIKE_VERSION),
        .daemon = span_str(s->l->config->name),
        .client_name = known->client_name,
        .ip = known->ip,
        .ip_v6 = s->peer.family == 6,
        .port = s->port,
        .helo = known->helo,
        .auth_type = span_str(smtp_server_authenticated(s->smtp) ? s->mechanism : ""),
        .account = known->user,
        .queue_id = known->queue_id,
        .mail_from = rx->env.mail_from,
    };
    if (tls != NULL) {
        about.tls_version = span_str(tls->version);
        about.cipher = span_str(tls->cipher);
        about.cipher_bits = (uint32_t)tls->bits;
    }
    content_describe(rx->content, &about, rx->env.rcpts, rx->env.nrcpts);
}

/* Its content is looked at. True: it waits for the verdict. */
static bool ask_for_verdict(struct receiving *rx)
{
    const struct session *s = rx->s;
    char id[SPOOL_ID_TEXT];
    struct span rcpts[RSPAMD_RCPTS_MAX];
    struct rspamd_about about = {
        .mail_from = rx->env.mail_from,
        .rcpts = rcpts,
        .ip = span_str(s->peer_text),
        .helo = smtp_server_helo(s->smtp),
        .client_name = span_str(s->client_name),
        .user = span_str(rx->charge.has_named ? rx->charge.named_account : s->identity->account),
    };
    for (; about.nrcpts < rx->env.nrcpts && about.nrcpts < RSPAMD_RCPTS_MAX; about.nrcpts++)
        rcpts[about.nrcpts] = rx->env.rcpts[about.nrcpts].address;
    spool_id_format(rx->env.id, id);
    about.queue_id = span_str(id);
    if (receive_kept_back(rx))
        describe(rx, &about);
    return !content_ask(rx->content, &about, receive_checked_cb, rx);
}

bool receive_commit(struct session *s)
{
    static const struct smtp_reply failed = { 451, "4.3.0", "Temporary failure, try again later" };
    struct receiving *rx = s->rx;
    if (!rx->header_done && rx->in != NULL) {
        enum mail_header_result r = mail_header_end(&rx->header);
        if (r == MAIL_HEADER_DONE)
            (void)receive_header_complete(rx);
        else
            receive_refuse(rx, &failed);
    }
    if (rx->in == NULL || (!s->identity && !receive_inbound(s))) {
        /* receive_refuse() has answered, or there is nobody to charge it to */
        if (rx->in != NULL)
            receive_refuse(rx, &failed);
        receive_abort(s);
        return true;
    }
    if (rx->back != NULL && settle_returned(rx))
        return true;
    rx->checking = rx->content != NULL && ask_for_verdict(rx);
    if (!receive_kept_back(rx))
        rx->signing = rx->sign != NULL && !sign_finish(rx->sign, receive_signed_cb, rx);
    return commit_whole(rx);
}

/* The recipients within the limit, and the copies that are sent of all mail. */
static bool goes_now(const struct receiving *rx, uint32_t i)
{
    return i < charge_within(&rx->charge) || i >= rx->env.nrcpts - rx->s->config->nalways_bcc;
}

static void run_parted(struct worker *w, struct worker_op *op);

/* The message is there, all of it held. Those for whom there was quota are queued, on disk before they go.
 * False: they stay. */
static bool let_go_within(struct worker *w, struct receiving *rx)
{
    uint32_t all = rx->env.nrcpts;
    struct spool_rcpt_update *u = calloc(all, sizeof *u);
    rx->states = calloc(all, sizeof *rx->states);
    int err = u == NULL || rx->states == NULL ? -ENOMEM : 0;
    rx->going = 0;
    for (uint32_t i = 0; err == 0 && i < all; i++) {
        rx->states[i] = (struct spool_rcpt){ .state = RCPT_HELD };
        if (!goes_now(rx, i))
            continue;
        rx->states[i] = (struct spool_rcpt){ .state = RCPT_QUEUED,
                                             .changed_ms = clock_wall_ms(),
                                             .reply = SPAN_LIT("within the limit") };
        u[rx->going++] = (struct spool_rcpt_update){ .rcpt = i, .to = rx->states[i] };
    }
    worker_op_init(&rx->op, w, run_parted);
    if (err == 0)
        err = spool_update(w->node->spool, rx->env.id, u, rx->going, &rx->op.op);
    free(u);
    if (err != 0)
        log_error("receive", "what is within the limit of a message is held with the rest: %s",
                  err_text(err));
    return err == 0;
}

static void report_held(struct worker *w, const struct receiving *rx)
{
    struct event e = EVENT_INIT(EVENT_HELD);
    if (!rx->charge.hold)
        return;
    e.id = rx->env.id;
    e.account = rx->env.account;
    e.tenant = rx->env.tenant;
    e.sender = rx->env.mail_from;
    e.null_sender = rx->env.mail_from.n == 0;
    e.recipients = rx->env.nrcpts - rx->going;
    e.size = rx->env.size;
    e.rule = span_str(hold_kind_name(rx->charge.why));
    e.text = span_str(rx->charge.why_text);
    e.local = true;
    report_event(w, &e);
}

static void answer_dot(struct receiving *rx, const struct smtp_reply *final)
{
    struct session *s = rx->s;
    s->rx = NULL;
    rx->committing = false;
    bool alive = s->stream != NULL;
    if (alive)
        smtp_server_on_commit(s->smtp, final);
    if (atomic_load(&rx->room_posted))
        rx->s = NULL; /* run_room frees it */
    else
        receive_free(rx);
    if (alive)
        session_go_on(s);
    else
        session_bury(s);
}

static void accepted(struct worker *w, struct receiving *rx)
{
    char id[SPOOL_ID_TEXT], text[64];
    struct smtp_reply ok = { 250, "2.0.0", text };
    spool_id_format(rx->env.id, id);
    snprintf(text, sizeof text, "Ok: queued as %s", id);
    report_held(w, rx);
    (void)dispatch_message(w->node, w, w->config, &rx->env,
                           rx->going > 0 ? rx->states : NULL); /* an error is in the log; the mail is safe */
    answer_dot(rx, &ok);
}

static void run_parted(struct worker *w, struct worker_op *op)
{
    struct receiving *rx = LIST_ITEM(op, struct receiving, op);
    if (op->op.status != 0)
        rx->going = 0;
    accepted(w, rx);
}

static void run_committed(struct worker *w, struct worker_op *op)
{
    static const struct smtp_reply full = { 452, "4.3.1", "Insufficient system storage" };
    static const struct smtp_reply failed = { 451, "4.3.0", "Temporary failure, try again later" };
    struct receiving *rx = LIST_ITEM(op, struct receiving, op);
    struct session *s = rx->s;
    if (op->op.status != 0) {
        const struct smtp_reply *final = op->op.status == ERR_DISK_FULL ? &full : &failed;
        held_forget(w->node->held, op->op.id);
        report_rejected(s, "commit", final, rx->env.mail_from, (struct span){ "", 0 });
        answer_dot(rx, final);
        return;
    }
    s->messages++;
    report_received(s, &rx->env, mail_header_info(&rx->header)->subject,
                    span_str(rx->sign == NULL ? NULL : rx->sign->by),
                    span_str(rx->content == NULL ? NULL : rx->content->text), op->op.commit_ms);
    if (rx->content != NULL)
        steps_checked(w->node, rx->env.id, rx->content);
    if (charge_within(&rx->charge) > 0 && let_go_within(w, rx))
        return;
    rx->going = 0;
    accepted(w, rx);
}

void receive_abort(struct session *s)
{
    struct receiving *rx = s->rx;
    if (rx == NULL)
        return;
    ensure(!rx->committing);
    s->rx = NULL;
    charge_fini(&rx->charge);
    sign_free(rx->sign);
    rx->sign = NULL;
    content_free(rx->content);
    rx->content = NULL;
    if (rx->look != NULL)
        tally_look_forget(rx->look);
    rx->look = NULL;
    if (rx->held && rx->in != NULL)
        held_forget(s->in->w->node->held, spool_ingest_id(rx->in));
    if (rx->in != NULL)
        spool_ingest_abort(rx->in);
    rx->in = NULL;
    if (atomic_load(&rx->room_posted))
        rx->s = NULL;
    else
        receive_free(rx);
}

bool receive_committing(const struct session *s)
{
    return s->rx != NULL && s->rx->committing;
}
