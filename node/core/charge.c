/* What a transaction is charged. See charge.h. */
#include "node/core/charge.h"

#include "base/ensure.h"
#include "base/text.h"
#include "consensus/command.h"
#include "consensus/web_sender.h"
#include "node/core/cluster.h"
#include "node/core/frozen.h"
#include "node/core/notice.h"
#include "node/core/session.h"
#include "node/core/web_claim.h"
#include "node/policy/policy.h"

#include <stdarg.h>
#include <stdio.h>

static struct cluster *cluster_of(const struct session *s)
{
    return s->in->w->node->cluster;
}

static bool no(struct charge_reply *out, uint16_t code, const char *enhanced, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static bool no(struct charge_reply *out, uint16_t code, const char *enhanced, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out->text, sizeof out->text, fmt, ap);
    va_end(ap);
    out->reply = (struct smtp_reply){ code, enhanced, out->text };
    return false;
}

/* ---- frozen -------------------------------------------------------------------------------------------- */

/* NULL: he is not. */
static const struct frozen_entry *frozen_find(const struct session *s, struct span account, struct span tenant,
                                              uint8_t *mode)
{
    const struct frozen_entry *e = frozen_view_of(s->in->w->frozen, account, tenant);
    *mode = frozen_entry_mode(e, s->l->config->kind == CONFIG_RELAY);
    return e;
}

/* None of its recipients goes now: somebody else may have their tokens. */
static void hold_whole(struct charge *c)
{
    if (!c->part)
        return;
    c->part = false;
    c->beyond += c->nrcpts;
    c->nrcpts = 0;
    ledger_unreserve(&c->own, c->own.reserved);
}

void charge_hold(struct charge *c, enum hold_kind why, struct span text)
{
    if (c->hold && !c->part)
        return;
    hold_whole(c);
    c->hold = true;
    c->why = why;
    snprintf(c->why_text, sizeof c->why_text, "%.*s", (int)text.n, text.n > 0 ? text.p : "");
}

/* By a rule, or by an operator for a reason of his own. */
static void hold_frozen(struct charge *c, const struct frozen_entry *e)
{
    struct span rule = SPAN_LIT("rule ");
    if (span_starts(e->who, rule))
        charge_hold(c, HOLD_RULE, span_sub(e->who, rule.n));
    else
        charge_hold(c, HOLD_FROZEN, e->reason);
}

/* True: may send, perhaps only to have it held. `c` NULL: there is no transaction yet. */
static bool frozen_allows(const struct session *s, struct span account, struct span tenant, bool auth,
                          struct charge *c, struct charge_reply *out)
{
    uint8_t mode;
    const struct frozen_entry *e = frozen_find(s, account, tenant, &mode);
    switch (mode) {
    case FROZEN_NOT:
        return true;
    case COMMAND_FREEZE_HOLD:
        if (c != NULL)
            hold_frozen(c, e);
        return true;
    case COMMAND_FREEZE_DEFER:
        return auth ||
               no(out, 450, "4.7.1", "Sending is suspended for this account, contact your postmaster");
    default:
        return no(out, auth ? 535 : 550, auth ? "5.7.13" : "5.7.1",
                  "This account is disabled for sending, contact your postmaster");
    }
}

bool charge_welcome(struct session *s, bool auth, struct charge_reply *out)
{
    struct worker *w = s->in->w;
    if (cluster_of(s) == NULL)
        return true;
    if (!auth && (w->ledger == NULL || !ledger_session_valid(w->ledger)))
        return no(out, 421, "4.3.2", "This node may not accept mail just now, try another one");
    return s->identity == NULL ||
           frozen_allows(s, span_str(s->identity->account), span_str(s->identity->tenant), auth, NULL, out);
}

/* ---- the refusal's words ------------------------------------------------------------------------------- */

/* After a cluster was recovered all windows count as full: that is nobody's fault, and passes. */
static bool windows_full(const struct charge *c)
{
    struct machine *m = cluster_machine(cluster_of(c->s));
    if (m == NULL)
        return true;
    machine_read_lock(m);
    bool full = machine_windows_full(m);
    machine_read_unlock(m);
    return full;
}

static const char *web_origin(const struct charge *c)
{
    return strchr(c->named_account, '/') + 1;
}

/* Whose limit it is: a web sender's by the name that its host gave it, as far as it is short. */
static void limit_words(const struct charge *c, const struct ledger_refusal *r, char out[200])
{
    char window[32];
    bool web = c->web && r == &c->named.refusal;
    text_format_duration((int64_t)r->window_ms, window, sizeof window);
    snprintf(out, 200, "Limit %s of %s%.60s reached (%llu recipients per %s)", r->limit,
             web         ? "web sender "
             : r->tenant ? "this organisation"
                         : "this account",
             web ? web_origin(c) : "", (unsigned long long)r->count, window);
}

static void limit_put(const struct charge *c, const struct ledger_refusal *r, bool reject, struct charge_reply *out)
{
    char words[200], wait[32];
    limit_words(c, r, words);
    text_format_duration(r->retry_ms < 1000 ? 1000 : (r->retry_ms + 999) / 1000 * 1000, wait, sizeof wait);
    no(out, reject ? 550 : 450, reject ? "5.7.1" : "4.7.1", "%s, %s in %s", words,
       reject ? "not accepted: send it again" : "try again", wait);
}

static void refusal_put(const struct charge *c, const struct ledger_refusal *r, struct charge_reply *out)
{
    switch (r->why) {
    case LEDGER_WHY_LIMIT:
        limit_put(c, r, false, out);
        break;
    case LEDGER_WHY_FROZEN:
        no(out, 450, "4.7.1", "Sending is suspended for this account, contact your postmaster");
        break;
    case LEDGER_WHY_DISABLED:
        no(out, 550, "5.7.1", "This account is disabled, contact your postmaster");
        break;
    case LEDGER_WHY_NONE:
    case LEDGER_WHY_SESSION:
    case LEDGER_WHY_TIMEOUT:
    case LEDGER_WHY_BUSY:
        no(out, 451, "4.3.2", "Sending limits cannot be checked just now, try again later");
        break;
    }
}

/* The sender hears of it by mail, if the reverse-path is his own for sure. */
static void tell_sender(const struct charge *c, const struct ledger_refusal *r, uint8_t over, bool named)
{
    const struct session *s = c->s;
    struct span from = smtp_server_mail(s->smtp)->from.text;
    char words[200];
    struct notice_over o = { .account = span_str(named ? c->named_account : s->identity->account),
                             .to = from,
                             .limit = r->limit,
                             .words = words,
                             .window_ms = r->window_ms,
                             .retry_ms = r->retry_ms,
                             .held = charge_within(c) > 0 ? c->beyond : 0,
                             .recipients = c->beyond + c->nrcpts,
                             .over = over };
    bool his = named ? span_eq_nocase(from, o.account)
                     : auth_names_sender(s->identity, from, s->config->accounts.subaddresses);
    if (from.n == 0 || !his || !policy_over_notice(c->policy, over, named ? c->named_class : c->class))
        return;
    limit_words(c, r, words);
    notice_over_limit(c->s, &o);
}

/* A held message is charged when it is released, a web sender's host likewise; but for the recipients that go
 * now. And a relay whose header named somebody has sent it: for what was held before that, it has reserved
 * nothing. */
static bool own_due(const struct charge *c)
{
    return c->has_own && (!c->hold || c->part || (c->has_named && !c->web));
}

/* From this recipient on there is no quota. Whether some are held in the end, and how many, is known at the
 * commit: then the sender is told. */
static void hold_beyond(struct charge *c)
{
    charge_hold(c, HOLD_OVER_LIMIT, span_str(c->own.refusal.limit));
    c->part = true;
    c->beyond = 1;
    c->over = c->own.refusal;
}

/* What becomes of mail for which there are no tokens. True: it is accepted all the same, and held. Else `out` says why
 * not. */
static bool without_tokens(struct charge *c, bool named, struct charge_reply *out)
{
    const struct ledger_refusal *r = named ? &c->named.refusal : &c->own.refusal;
    if (r->why != LEDGER_WHY_LIMIT) {
        refusal_put(c, r, out);
        return false;
    }
    uint8_t over = policy_over_limit(c->policy, r->limit, named ? c->named_class : c->class);
    if (over != POLICY_OVER_DEFER && windows_full(c))
        over = POLICY_OVER_DEFER;
    limit_put(c, r, over == POLICY_OVER_REJECT, out);
    if (over == POLICY_OVER_HOLD && !named) {
        hold_beyond(c);
        return true;
    }
    tell_sender(c, r, over, named);
    if (over != POLICY_OVER_HOLD)
        return false;
    charge_hold(c, HOLD_OVER_LIMIT, span_str(r->limit));
    if (own_due(c))
        return true;
    c->nrcpts = 0;
    if (c->own.reserved > 0) /* somebody else may have them */
        ledger_unreserve(&c->own, c->own.reserved);
    return true;
}

/* ---- a transaction ------------------------------------------------------------------------------------- */

static void charge_own_cb(struct ledger_hold *h, enum ledger_answer answer)
{
    struct charge *c = h->ctx;
    c->nrcpts += answer == LEDGER_YES && c->s->rcpt_waits;
    c->on_answer(c->s, answer);
}

static void charge_named_cb(struct ledger_hold *h, enum ledger_answer answer)
{
    struct charge *c = h->ctx;
    bool first = c->named_waiting;
    c->named_waiting = false;
    if (first && answer == LEDGER_NO)
        c->named_refused = true;
    c->on_answer(c->s, answer);
}

/* The class of mail that comes by this session, of an account of that class. */
static uint8_t class_of(const struct charge *c, struct span account, uint8_t class)
{
    struct policy_source from = { .account = account,
                                  .listener = span_str(c->s->l->config->name),
                                  .client = &c->s->peer,
                                  .class = class };
    return policy_stream_class(c->policy, &from);
}

/* As the ledger is asked for it. */
static uint8_t ledger_class(uint8_t mails, uint8_t accounts)
{
    return mails == accounts ? mails : mails | COMMAND_STREAM;
}

int charge_init(struct charge *c, struct session *s)
{
    *c = (struct charge){ .s = s, .class = s->identity == NULL ? 0 : s->identity->class };
    struct worker *w = s->in->w;
    if (cluster_of(s) == NULL || w->ledger == NULL || s->identity == NULL)
        return 0; /* nobody to charge: an inbound listener's clients */
    const struct auth_identity *id = s->identity;
    uint8_t mode;
    const struct frozen_entry *frozen = frozen_find(s, span_str(id->account), span_str(id->tenant), &mode);
    if (mode == COMMAND_FREEZE_HOLD)
        hold_frozen(c, frozen);
    c->policy = cluster_policy(cluster_of(s));
    c->class = class_of(c, span_str(id->account), id->class);
    struct ledger_sender sender = { span_str(id->account), span_str(id->tenant),
                                    ledger_class(c->class, id->class) };
    int err = ledger_hold_init(&c->own, w->ledger, &sender, charge_own_cb, c);
    c->has_own = err == 0;
    return err; /* charge_fini lets go of the policy */
}

void charge_fini(struct charge *c)
{
    if (c->has_own)
        ledger_hold_fini(&c->own);
    if (c->has_named)
        ledger_hold_fini(&c->named);
    if (c->claim != NULL)
        web_claim_forget(c->claim);
    if (c->policy != NULL)
        policy_rele(c->policy);
    *c = (struct charge){ 0 };
}

#define AHEAD_BYTES 16384 /* looked at */

/* RCPT commands that follow. A guess: nothing comes of a wrong one but tokens that go back unused. */
static uint32_t rcpts_in(struct span ahead)
{
    uint32_t n = 0;
    ahead.n = ahead.n < AHEAD_BYTES ? ahead.n : AHEAD_BYTES;
    while (ahead.n > 5 && strncasecmp(ahead.p, "RCPT ", 5) == 0) {
        const char *end = memchr(ahead.p, '\n', ahead.n);
        n++;
        if (end == NULL)
            break;
        ahead = span_sub(ahead, (size_t)(end + 1 - ahead.p));
    }
    return n;
}

enum ledger_answer charge_rcpt(struct charge *c, uint32_t n, struct span ahead, struct charge_reply *out)
{
    if (!c->has_own)
        return LEDGER_YES;
    uint8_t class = c->class;
    uint32_t max = c->policy == NULL || class >= POLICY_CLASSES ? 0 : c->policy->compiled.max_rcpts[class];
    if (max > 0 && n >= max) {
        no(out, 452, "4.5.3", "Too many recipients: this account may have %u per message", max);
        return LEDGER_NO;
    }
    c->beyond += c->hold;
    if (c->hold)
        return LEDGER_YES;
    if (!ledger_in_hand(&c->own))
        c->own.expected = rcpts_in(ahead);
    enum ledger_answer answer = ledger_reserve(&c->own, 1);
    c->nrcpts += answer == LEDGER_YES;
    return answer == LEDGER_NO && without_tokens(c, false, out) ? LEDGER_YES : answer;
}

bool charge_rcpt_refusal(struct charge *c, struct charge_reply *out)
{
    return !without_tokens(c, false, out);
}

void charge_rcpt_undo(struct charge *c)
{
    if (!c->has_own)
        return;
    if (c->hold) {
        c->beyond--;
        if (c->part && c->beyond == 0) { /* nothing is */
            c->part = c->hold = false;
            c->over.why = LEDGER_WHY_NONE;
        }
        return;
    }
    c->nrcpts--;
    ledger_unreserve(&c->own, 1);
}

/* ---- late identity ------------------------------------------------------------------------------------- */

struct span charge_header(const struct charge *c)
{
    const struct policy *p = c->policy;
    for (uint32_t i = 0; p != NULL && i < p->nlate_identity_accounts; i++)
        if (strcmp(p->late_identity_accounts[i], c->s->identity->account) == 0)
            return span_str(p->late_identity_header);
    return (struct span){ "", 0 };
}

static bool named_find(struct charge *c, uint8_t *as_ledger, struct charge_reply *out)
{
    struct account account;
    struct auth_text text;
    bool known = cluster_account_find(cluster_of(c->s), span_str(c->named_account), &account, &text);
    snprintf(c->named_tenant, sizeof c->named_tenant, "%s", known ? account.tenant : c->s->identity->tenant);
    uint8_t class = known ? account.class : c->s->identity->class;
    c->named_class = class_of(c, span_str(c->named_account), class);
    *as_ledger = ledger_class(c->named_class, class);
    return !known || !account.disabled ||
           no(out, 550, "5.7.1", "The account that the header names is disabled");
}

/* He may send: tokens for n recipients, but for what is to be held. */
static bool named_reserve(struct charge *c, const struct ledger_sender *sender, uint32_t n, struct charge_reply *out)
{
    if (ledger_hold_init(&c->named, c->s->in->w->ledger, sender, charge_named_cb, c) != 0)
        return no(out, 451, "4.3.0", "Insufficient memory");
    c->has_named = true;
    enum ledger_answer answer = c->hold ? LEDGER_YES : ledger_reserve(&c->named, n);
    c->named_waiting = answer == LEDGER_WAIT;
    return answer != LEDGER_NO || without_tokens(c, true, out);
}

bool charge_named(struct charge *c, struct span name, uint32_t n, struct charge_reply *out)
{
    ensure(!c->has_named);
    if (!c->has_own)
        return true;
    hold_whole(c);
    if (account_name_canonical(name, c->named_account) != 0) { /* nor a web sender, which has a colon */
        c->named_account[0] = '\0';
        return no(out, 550, "5.6.0", "The header that names the sending account cannot be understood");
    }
    struct ledger_sender sender = { span_str(c->named_account), span_str(c->named_tenant), c->named_class };
    if (!named_find(c, &sender.class, out) ||
        !frozen_allows(c->s, sender.account, span_str(c->named_tenant), false, c, out))
        return false;
    sender.tenant = span_str(c->named_tenant);
    return named_reserve(c, &sender, n, out);
}

/* ---- web senders --------------------------------------------------------------------------------------- */

const struct policy_web_host *charge_web_host(const struct charge *c)
{
    if (!c->has_own)
        return NULL;
    struct span account = span_str(c->s->identity->account);
    bool fits = account.n <= WEB_SENDER_HOST_MAX && memchr(account.p, '/', account.n) == NULL;
    return fits ? policy_web_host(c->policy, account, &c->s->peer) : NULL;
}

/* The host alone is charged. */
static void web_drop(struct charge *c)
{
    c->web = false;
    c->named_account[0] = '\0';
    c->named_tenant[0] = '\0';
}

/* The cluster lets the name be. Tenants are charged for what their hosts are, not once more: his limits are those for
 * accounts. */
static bool web_reserve(struct charge *c, struct charge_reply *out)
{
    struct ledger_sender sender = { span_str(c->named_account), span_of("", 0), c->named_class };
    if (!frozen_allows(c->s, sender.account, span_str(c->named_tenant), false, c, out))
        return false;
    return named_reserve(c, &sender, c->web_rcpts, out);
}

static bool web_answered(struct charge *c, enum web_answer answer, struct charge_reply *out)
{
    switch (answer) {
    case WEB_YES:
        return web_reserve(c, out);
    case WEB_FULL:
        web_drop(c);
        return true;
    case WEB_WAIT:
        return true;
    case WEB_BUSY:
        break;
    }
    return no(out, 451, "4.3.2", "Sending limits cannot be checked just now, try again later");
}

static void charge_web_cb(void *ctx, enum web_answer answer)
{
    struct charge *c = ctx;
    c->claim = NULL;
    c->web_refused = !web_answered(c, answer, &c->web_no);
    c->on_answer(c->s, LEDGER_YES);
}

bool charge_web(struct charge *c, const char *origin, uint32_t n, struct charge_reply *out)
{
    const struct policy_web_host *host = charge_web_host(c);
    const struct auth_identity *id = c->s->identity;
    struct span tenant = span_str(id->tenant);
    ensure(host != NULL);
    ensure(!c->has_named);
    hold_whole(c);
    snprintf(c->named_account, sizeof c->named_account, WEB_SENDER_PREFIX "%.*s/%s", WEB_SENDER_HOST_MAX, id->account,
             origin);
    snprintf(c->named_tenant, sizeof c->named_tenant, "%s", id->tenant);
    struct span name = span_str(c->named_account);
    ensure(web_sender_ok(name));
    c->named_class = host->class;
    c->web_rcpts = n;
    c->web = true;
    if (!frozen_allows(c->s, name, tenant, false, c, out)) /* nobody need be asked */
        return false;
    return web_answered(c, web_claim(cluster_of(c->s), name, &c->policy->web, c->s->in->w, charge_web_cb, c, &c->claim),
                        out);
}

enum ledger_answer charge_settled(struct charge *c, struct charge_reply *out)
{
    if (c->claim != NULL)
        return LEDGER_WAIT;
    if (!c->web_refused)
        return LEDGER_YES;
    *out = c->web_no;
    out->reply.text = out->text;
    return LEDGER_NO;
}

uint8_t charge_class(const struct charge *c)
{
    return c->has_named || c->web ? c->named_class : c->class;
}

/* ---- rules about senders ------------------------------------------------------------------------------- */

bool charge_has_rules(const struct charge *c)
{
    return c->policy != NULL && c->policy->compiled.nsender_rules > 0;
}

uint32_t charge_credit(const struct charge *c, uint8_t class)
{
    if (c->policy == NULL || (c->hold && charge_within(c) == 0))
        return 0;
    const struct policy_compiled *p = &c->policy->compiled;
    for (uint32_t i = 0; i < p->nsender_rules; i++)
        if (sender_rule_hinders(&p->sender_rules[i], class))
            return c->policy->sender_credit;
    return 0;
}

bool charge_still_allowed(struct charge *c, struct charge_reply *out)
{
    const struct auth_identity *id = c->s->identity;
    return c->has_named
               ? frozen_allows(c->s, span_str(c->named_account), span_str(c->named_tenant), false, c, out)
               : frozen_allows(c->s, span_str(id->account), span_str(id->tenant), false, c, out);
}

/* ---- commit -------------------------------------------------------------------------------------------- */

uint32_t charge_within(const struct charge *c)
{
    return c->part ? c->nrcpts : 0;
}

static void to_charge(struct charge *c, struct ledger_hold *out[2])
{
    out[0] = own_due(c) ? &c->own : NULL;
    out[1] = c->has_named && !c->hold ? &c->named : NULL;
}

enum ledger_answer charge_ready(struct charge *c, struct charge_reply *out)
{
    struct ledger_hold *holds[2];
    to_charge(c, holds);
    if (holds[1] != NULL && c->named_waiting)
        return LEDGER_WAIT;
    if (holds[1] != NULL && c->named_refused) {
        if (!without_tokens(c, true, out))
            return LEDGER_NO;
        to_charge(c, holds);
    }
    if (c->hold && c->has_own && !ledger_session_valid(c->own.w)) {
        no(out, 451, "4.3.2", "This node may not accept mail just now, try again later");
        return LEDGER_NO;
    }
    for (int i = 0; i < 2; i++) {
        enum ledger_answer answer = holds[i] == NULL ? LEDGER_YES : ledger_ready(holds[i]);
        if (answer == LEDGER_YES && holds[i] != NULL && holds[i]->reserved != c->nrcpts)
            answer = LEDGER_NO; /* what was to be exchanged is gone, and there is nothing for it */
        if (answer == LEDGER_NO && c->part && holds[i]->refusal.why == LEDGER_WHY_LIMIT) {
            hold_whole(c);
            holds[i] = NULL;
            answer = LEDGER_YES;
        }
        if (answer == LEDGER_NO) { /* accepted at RCPT: whatever ended meanwhile is not the client's fault */
            no(out, 451, "4.3.2", "Sending limits cannot be checked just now, try again later");
            if (holds[i]->refusal.why == LEDGER_WHY_LIMIT) {
                limit_put(c, &holds[i]->refusal, false, out);
                out->reply.code = 451;
            }
        }
        if (answer != LEDGER_YES)
            return answer;
    }
    return LEDGER_YES;
}

void charge_spend(struct charge *c)
{
    struct ledger_hold *holds[2];
    to_charge(c, holds);
    for (int i = 0; i < 2; i++)
        if (holds[i] != NULL)
            ledger_spend(holds[i]);
    if (c->hold && c->why == HOLD_OVER_LIMIT && c->over.why == LEDGER_WHY_LIMIT)
        tell_sender(c, &c->over, POLICY_OVER_HOLD, false);
}
