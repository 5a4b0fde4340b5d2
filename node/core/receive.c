/* One transaction of a session: its envelope gathers, its content streams through the header scanner into the
 * spool, and its commit record's answer becomes the 250. A message is never whole in memory. The worker's
 * thread.
 */
#include "node/core/receive_impl.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "node/bounce/report.h"
#include "node/core/forward.h"
#include "node/core/node.h"
#include "node/core/proof.h"
#include "node/core/report.h"
#include "node/mail/origin.h"
#include "node/mail/rewrite.h"
#include "node/policy/policy.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define ARENA_MAX (4u << 20)
#define HEADER_ADDED_MAX (64u << 10) /* what our own fields may add to a header */

void receive_free(struct receiving *rx)
{
    ensure(rx->in == NULL);
    returned_free(rx->back);
    charge_fini(&rx->charge);
    sign_free(rx->sign);
    content_free(rx->content);
    mail_header_fini(&rx->header);
    arena_reset(&rx->arena);
    free(rx->like);
    free(rx->states);
    free(rx);
}

/* ---- envelope ------------------------------------------------------------------------------------------ */

/* The address with a domain: unqualified ones get the account's, or ours (RFC 6409 section 6). */
static int complete(struct receiving *rx, const struct smtp_path *path, struct span *out)
{
    *out = path->text;
    if (path->text.n > 0 && path->domain.n > 0 && !path->qualified)
        return ERR_BAD; /* "user@host": nobody can say whose host */
    if (path->text.n == 0 || path->domain.n > 0)
        return 0;
    const struct session *s = rx->s;
    struct span domain = span_str(s->config->hostname);
    const char *at = s->identity == NULL ? NULL : strrchr(s->identity->account, '@');
    if (at != NULL)
        domain = span_str(at + 1);
    char *p = arena_alloc(&rx->arena, path->text.n + 1 + domain.n);
    if (p == NULL)
        return -ENOMEM;
    memcpy(p, path->text.p, path->text.n);
    p[path->text.n] = '@';
    memcpy(p + path->text.n + 1, domain.p, domain.n);
    *out = span_of(p, path->text.n + 1 + domain.n);
    return 0;
}

int receive_start(struct session *s, const struct smtp_path *from)
{
    ensure(s->rx == NULL);
    struct receiving *rx = calloc(1, sizeof *rx);
    if (rx == NULL)
        return -ENOMEM;
    rx->s = s;
    arena_init(&rx->arena, ARENA_MAX);
    mail_header_init(&rx->header, s->config->smtp.max_header_bytes);
    rx->utf8_address = from->utf8;
    int err = complete(rx, from, &rx->env.mail_from);
    if (err == 0)
        err = charge_init(&rx->charge, s);
    rx->charge.on_answer = receive_charged;
    if (err == 0 && forward_is(s, rx->charge.policy, rx->env.mail_from))
        rx->env.flags |= ENVELOPE_FORWARDED;
    if (err == 0 && receive_inbound(s) && (rx->back = returned_new(s->in->w)) == NULL)
        err = -ENOMEM;
    if (err != 0) {
        receive_free(rx);
        return err;
    }
    s->rx = rx;
    return 0;
}

struct charge *receive_charge(const struct session *s)
{
    return &s->rx->charge;
}

uint32_t receive_rcpts(const struct session *s)
{
    return s->rx->env.nrcpts;
}

int receive_add_rcpt(struct receiving *rx, const struct envelope_rcpt *rcpt)
{
    struct envelope *env = &rx->env;
    if (env->nrcpts >= ENVELOPE_RCPTS_MAX)
        return ERR_LIMIT;
    if (env->nrcpts == rx->rcpts_cap) {
        uint32_t cap = rx->rcpts_cap == 0 ? 4 : rx->rcpts_cap * 2;
        struct envelope_rcpt *rcpts = arena_alloc(&rx->arena, cap * sizeof *rcpts);
        if (rcpts == NULL)
            return ERR_LIMIT;
        if (env->nrcpts > 0)
            memcpy(rcpts, env->rcpts, env->nrcpts * sizeof *rcpts);
        env->rcpts = rcpts;
        rx->rcpts_cap = cap;
    }
    env->rcpts[env->nrcpts++] = *rcpt;
    return 0;
}

int receive_rcpt(struct session *s, const struct smtp_server_rcpt *rcpt)
{
    struct receiving *rx = s->rx;
    struct envelope_rcpt r = { .orcpt = rcpt->orcpt, .notify = rcpt->notify };
    int err = complete(rx, &rcpt->to, &r.address);
    if (err == 0)
        err = receive_add_rcpt(rx, &r);
    if (err == 0 && rcpt->to.utf8)
        rx->utf8_address = true;
    return err;
}

const struct smtp_reply *receive_returned_rcpt(struct session *s, const struct smtp_server_rcpt *rcpt)
{
    static const struct smtp_reply full = { 452, "4.5.3", "Too many recipients" };
    struct receiving *rx = s->rx;
    struct envelope_rcpt to = { .notify = 0 };
    const struct smtp_reply *no = returned_rcpt(rx->back, &rcpt->to, rx->env.mail_from.n == 0, &to.address);
    return no == NULL && to.address.n > 0 && receive_add_rcpt(rx, &to) != 0 ? &full : no;
}

/* ---- content ------------------------------------------------------------------------------------------- */

static void run_room(struct worker *w, struct worker_msg *msg)
{
    (void)w;
    struct receiving *rx = LIST_ITEM(msg, struct receiving, room);
    atomic_store(&rx->room_posted, false);
    if (rx->s == NULL) { /* aborted meanwhile: this message was the last to know it */
        receive_free(rx);
        return;
    }
    session_go_on(rx->s);
}

/* On the spool's thread. */
static void receive_room_cb(void *ctx)
{
    struct receiving *rx = ctx;
    if (!atomic_exchange(&rx->room_posted, true))
        worker_post_always(rx->s->in->w, &rx->room);
}

const struct smtp_reply *receive_open(struct session *s)
{
    static const struct smtp_reply full = { 452, "4.3.1", "Insufficient system storage" };
    static const struct smtp_reply failed = { 451, "4.3.0", "Temporary failure, try again later" };
    struct receiving *rx = s->rx;
    int err = spool_ingest_open(s->in->w->node->spool, &rx->in);
    if (err == 0) {
        if (charge_has_rules(&rx->charge) && tally_sees(s->in->w->node->cluster) &&
            (rx->like = malloc(sizeof *rx->like)) != NULL) /* without memory for it, it is like nothing */
            likeness_init(rx->like);
        rx->room.run = run_room;
        spool_ingest_on_room(rx->in, receive_room_cb, rx);
        rx->env.id = spool_ingest_id(rx->in);
        return NULL;
    }
    rx->in = NULL;
    const struct smtp_reply *refusal = err == ERR_DISK_FULL || err == ERR_LIMIT ? &full : &failed;
    report_rejected(s, "data", refusal, rx->env.mail_from, (struct span){ "", 0 });
    return refusal;
}

void receive_refuse(struct receiving *rx, const struct smtp_reply *reply)
{
    if (rx->in != NULL)
        spool_ingest_abort(rx->in);
    rx->in = NULL;
    report_rejected(rx->s, "content", reply, rx->env.mail_from, (struct span){ "", 0 });
    smtp_server_refuse_content(rx->s->smtp, reply);
}

/* False: nothing more until receive_room_cb. */
static bool spool_put(struct receiving *rx, struct span bytes)
{
    static const struct smtp_reply full = { 452, "4.3.1", "Insufficient system storage" };
    static const struct smtp_reply failed = { 451, "4.3.0", "Temporary failure, try again later" };
    if (rx->in == NULL || bytes.n == 0)
        return true;
    int r = spool_ingest_write(rx->in, bytes.p, bytes.n);
    if (r < 0)
        receive_refuse(rx, r == ERR_DISK_FULL ? &full : &failed);
    return r != 1;
}

static bool body_put(struct receiving *rx, struct span bytes)
{
    if (rx->in != NULL && rx->sign != NULL)
        sign_body(rx->sign, bytes);
    if (rx->in != NULL && rx->content != NULL)
        content_feed(rx->content, bytes);
    return spool_put(rx, bytes);
}

static bool has_8bit(struct span s)
{
    unsigned char all = 0;
    for (size_t i = 0; i < s.n; i++)
        all |= (unsigned char)s.p[i];
    return all >= 0x80;
}

static int header_owner_cb(void *ctx, struct span address)
{
    const struct receiving *rx = ctx;
    return auth_may_send(rx->s->identity, address, rx->s->config->accounts.subaddresses) ? 0 : ERR_DENIED;
}

static const struct smtp_reply *check_header(struct receiving *rx)
{
    static const struct smtp_reply unclear = { 550, "5.6.0", "The From header cannot be understood" };
    static const struct smtp_reply owner = { 553, "5.7.1", "From header address not owned by this account" };
    const struct config *c = rx->s->config;
    if (c->accounts.sender_check != CONFIG_SENDER_ENVELOPE_AND_HEADER ||
        rx->s->l->config->kind == CONFIG_RELAY || receive_inbound(rx->s) || (rx->env.flags & ENVELOPE_FORWARDED) != 0)
        return NULL;
    int err = mail_header_addresses(&rx->header, SPAN_LIT("From"), header_owner_cb, rx);
    return err == ERR_DENIED ? &owner : err != 0 ? &unclear : NULL;
}

struct named {
    bool found;
    size_t n;
    char text[MAIL_ADDRESS_MAX];
};

static int named_cb(void *ctx, struct span address)
{
    struct named *name = ctx;
    name->found = true;
    name->n = address.n < sizeof name->text ? address.n : sizeof name->text;
    if (name->n > 0)
        memcpy(name->text, address.p, name->n);
    return 1;
}

/* A shared host's header says which script sent it. */
static bool check_web(struct receiving *rx, struct charge_reply *out)
{
    const struct policy_web_host *host = charge_web_host(&rx->charge);
    char origin[ORIGIN_MAX + 1];
    return host == NULL || !origin_find(&rx->header, host->headers, host->nheaders, origin) ||
           charge_web(&rx->charge, origin, rx->env.nrcpts, out);
}

/* A trusted relay's header says whose message it is. */
static bool check_named(struct receiving *rx, struct charge_reply *out)
{
    struct span header = charge_header(&rx->charge);
    struct named name = { .found = false };
    if (header.n == 0)
        return check_web(rx, out);
    int err = mail_header_addresses(&rx->header, header, named_cb, &name);
    if (!name.found && err == 0)
        return check_web(rx, out); /* it named nobody: its own account is charged */
    return charge_named(&rx->charge, span_of(name.text, name.n), rx->env.nrcpts, out);
}

static void received_fill(struct receiving *rx, struct mail_received *r, char tls[160],
                          char id[SPOOL_ID_TEXT])
{
    const struct session *s = rx->s;
    const struct tls_info *info = s->stream == NULL ? NULL : stream_tls_info(s->stream);
    tls[0] = '\0';
    if (info != NULL)
        snprintf(tls, 160, "%s with cipher %s", info->version, info->cipher);
    spool_id_format(rx->env.id, id);
    *r = (struct mail_received){
        .helo = smtp_server_helo(s->smtp),
        .client_name = span_str(s->client_name),
        .client_ip = span_str(s->peer_text),
        .tls = span_str(tls),
        .by = span_str(s->l->config->hostname),
        .protocol = rx->env.protocol,
        .id = span_str(id),
        .rcpt = rx->env.nrcpts == 1 ? rx->env.rcpts[0].address : (struct span){ "", 0 },
        .wall_ms = rx->env.arrival_ms,
        .hide_client = s->l->config->hide_client_address,
    };
}

/* Whose it is, unreadable for others: for complaints that lose the return path. */
static bool add_mark(const struct receiving *rx, char mark[BOUNCE_TOKEN_TEXT + 1])
{
    const struct charge *c = &rx->charge;
    const struct auth_identity *who = rx->s->identity;
    if (who == NULL)
        return false;
    struct span account = span_str(c->has_named ? c->named_account : who->account);
    return returned_mark(rx->s->in->w, c->policy, &rx->env, account, c->has_named ? c->named_class : c->class,
                         mark);
}

/* The header as it goes on, into `out`. */
static int rewrite_header(struct receiving *rx, struct buf *out)
{
    const struct session *s = rx->s;
    const struct config *c = s->config;
    bool submission = s->l->config->kind != CONFIG_RELAY && !receive_inbound(s);
    struct mail_received received;
    char tls[160], id[SPOOL_ID_TEXT];
    received_fill(rx, &received, tls, id);
    const struct mail_header_info *info = mail_header_info(&rx->header);
    if (info->message_id.n > 0 || !submission)
        snprintf(rx->message_id, sizeof rx->message_id, "%.*s", (int)info->message_id.n, info->message_id.p);
    else
        snprintf(rx->message_id, sizeof rx->message_id, "<%s@%s>", id, s->l->config->hostname);
    uint32_t nrules = receive_inbound(s) ? 0 : c->nheader_rules; /* what comes back is passed on as it came */
    static const char *const verdicts[] = { CONTENT_FIELDS };
    enum { NVERDICTS = sizeof verdicts / sizeof verdicts[0] };
    const struct policy_web_host *web = charge_web_host(&rx->charge);
    uint32_t nweb = web != NULL && web->remove ? web->nheaders : 0;
    struct mail_rule *rules = calloc(nrules + NVERDICTS + nweb + 1, sizeof *rules);
    if (rules == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < nrules; i++)
        rules[i] = (struct mail_rule){
            .kind = c->header_rules[i].action == CONFIG_HEADER_ADD ? MAIL_RULE_ADD : MAIL_RULE_REMOVE,
            .name = span_str(c->header_rules[i].name),
            .value = span_str(c->header_rules[i].value),
        };
    for (uint32_t i = 0; rx->content != NULL && i < NVERDICTS; i++)
        rules[nrules++] = (struct mail_rule){ .kind = MAIL_RULE_REMOVE, .name = span_str(verdicts[i]) };
    for (uint32_t i = 0; i < nweb; i++)
        rules[nrules++] = (struct mail_rule){ .kind = MAIL_RULE_REMOVE, .name = span_str(web->headers[i].name) };
    char mark[BOUNCE_TOKEN_TEXT + 1];
    if (add_mark(rx, mark))
        rules[nrules++] = (struct mail_rule){ .kind = MAIL_RULE_ADD,
                                              .name = SPAN_LIT(BOUNCE_MARK_FIELD),
                                              .value = span_str(mark) };
    struct mail_rewrite rw = {
        .received = &received,
        .remove_bcc = submission,
        .add_date = submission,
        .message_id = submission ? span_str(rx->message_id) : (struct span){ "", 0 },
        .wall_ms = rx->env.arrival_ms,
        .nrules = nrules,
        .rules = rules,
    };
    int err = mail_rewrite(&rx->header, &rw, out);
    free(rules);
    return err;
}

/* Finds the keys that sign it, and begins. NULL, or why the message is refused. */
static const struct smtp_reply *sign_begin(struct receiving *rx, struct span header)
{
    static const struct smtp_reply failed = { 451, "4.3.0", "Temporary failure, try again later" };
    static const struct smtp_reply unsigned_from = { 550, "5.7.1", "No DKIM key of ours is for the From domain" };
    const struct session *s = rx->s;
    const struct config_dkim *d = &s->config->dkim;
    struct named from = { .found = false };
    bool by_name = rx->charge.has_named;
    if (mail_header_addresses(&rx->header, SPAN_LIT("From"), named_cb, &from) != 0)
        from.n = from.found ? from.n : 0;
    struct sign_who who = { .from = span_of(from.text, from.n),
                            .tenant = span_str(by_name ? rx->charge.named_tenant : s->identity->tenant) };
    who.may_use_from = auth_may_send(s->identity, who.from, s->config->accounts.subaddresses);
    if (sign_new(s->in->w, s->config, &who, &rx->sign) != 0)
        return &failed;
    if (rx->sign != NULL && !receive_kept_back(rx))
        sign_header(rx->sign, header);
    uint8_t class = charge_class(&rx->charge);
    for (uint32_t i = 0; rx->sign == NULL && i < d->nrequired; i++)
        if (d->required[i] == class)
            return &unsigned_from;
    return NULL;
}

/* -ENOMEM */
static int content_begin(struct receiving *rx)
{
    int err = 0;
    if (!receive_inbound(rx->s))
        rx->content = content_new(rx->s->in->w, rx->charge.policy, charge_class(&rx->charge), &err);
    return err;
}

bool receive_header_complete(struct receiving *rx)
{
    static const struct smtp_reply failed = { 451, "4.3.0", "Temporary failure, try again later" };
    const struct session *s = rx->s;
    rx->header_done = true;
    rx->env.arrival_ms = clock_wall_ms();
    rx->smtputf8 = smtp_server_mail(s->smtp)->smtputf8;
    rx->env.protocol = span_str(mail_protocol(smtp_server_esmtp(s->smtp), smtp_server_tls(s->smtp),
                                              smtp_server_authenticated(s->smtp), rx->smtputf8));
    const struct smtp_reply *refusal = check_header(rx);
    struct charge_reply charge;
    if (refusal == NULL && (!check_named(rx, &charge) || !proof_header(rx->s, &rx->charge, &rx->header,
                                                                       rx->env.mail_from, &charge)))
        refusal = &charge.reply;
    if (refusal != NULL) {
        receive_refuse(rx, refusal);
        return true;
    }
    struct buf out;
    buf_init(&out, s->config->smtp.max_header_bytes + HEADER_ADDED_MAX);
    bool room = true;
    if (content_begin(rx) != 0 || rewrite_header(rx, &out) != 0) {
        receive_refuse(rx, &failed);
        buf_fini(&out);
        return true;
    }
    bool kept_back = rx->content != NULL && content_head(rx->content, buf_span(&out));
    if (!receive_inbound(s) && (refusal = sign_begin(rx, buf_span(&out))) != NULL) {
        receive_refuse(rx, refusal);
    } else {
        struct span rest = mail_header_rest(&rx->header);
        rx->env.header_bytes = kept_back ? 0 : (uint32_t)out.len;
        rx->eight_bit = mail_header_info(&rx->header)->eight_bit || has_8bit(rest);
        room = kept_back || spool_put(rx, buf_span(&out));
        room = body_put(rx, rest) && room;
    }
    buf_fini(&out);
    return room;
}

/* One span: first the header's part, then the body's. */
static bool content_put(struct receiving *rx, struct span span)
{
    static const struct smtp_reply too_long = { 552, "5.3.4", "Message header too long" };
    static const struct smtp_reply loop = { 554, "5.4.6", "Too many hops: mail forwarding loop" };
    static const struct smtp_reply memory = { 451, "4.3.0", "Insufficient memory" };
    bool room = true;
    if (rx->back != NULL)
        returned_content(rx->back, span);
    if (rx->like != NULL)
        likeness_feed(rx->like, span);
    if (!rx->header_done) {
        size_t used;
        enum mail_header_result r = mail_header_feed(&rx->header, span.p, span.n, &used);
        if (r == MAIL_HEADER_MORE)
            return true;
        if (r != MAIL_HEADER_DONE) {
            rx->header_done = true;
            receive_refuse(rx, r == MAIL_HEADER_TOO_LONG ? &too_long : r == MAIL_HEADER_LOOP ? &loop : &memory);
            return true;
        }
        room = receive_header_complete(rx);
        span = span_sub(span, used);
    }
    if (rx->in == NULL)
        return true;
    if (!rx->eight_bit)
        rx->eight_bit = has_8bit(span);
    return body_put(rx, span) && room;
}

bool receive_content(struct session *s, const struct span *spans, uint32_t n)
{
    struct receiving *rx = s->rx;
    bool room = true;
    for (uint32_t i = 0; rx != NULL && rx->in != NULL && i < n; i++)
        room = content_put(rx, spans[i]) && room;
    return room;
}
