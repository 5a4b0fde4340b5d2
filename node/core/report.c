/* What happened to mail and sessions, told to the event log, the counters, the history and live traces. */
#include "node/core/sign.h"
#include "node/core/report.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "node/core/look.h"
#include "node/core/node.h"
#include "node/core/steps.h"
#include "node/core/suppress.h"
#include "node/core/tally.h"
#include "node/smtp/reply_parser.h"

#include <stdlib.h>

/* What the configuration wants kept out of the log is left out here. A client's name and an address literal
 * in HELO tell the address too. */
static void put(struct worker *w, struct event *e)
{
    const struct config_log *log = &w->config->log;
    struct ip_addr client;
    char net[IP_TEXT_MAX + 4];
    if (log->hide_subject)
        e->subject = (struct span){ "", 0 };
    if (log->hide_message_id)
        e->message_id = (struct span){ "", 0 };
    if (log->hide_client) {
        bool known = ip_addr_parse(e->client_ip, &client) == 0;
        struct ip_net around =
            known ? ip_net_around(&client, client.family == 6 ? 48 : 24) : (struct ip_net){ 0 };
        e->client_ip = known ? span_str(ip_net_format(&around, net)) : (struct span){ "", 0 };
        e->client_name = (struct span){ "", 0 };
        if (e->helo.n > 0 && e->helo.p[0] == '[')
            e->helo = (struct span){ "", 0 };
    }
    events_put(w->node->events, w->index, e);
}

static void count(struct worker *w, enum metrics_id id, uint32_t label, int64_t n)
{
    metrics_add(w->node->metrics, w->index, id, label, n);
}

/* ---- mail in ------------------------------------------------------------------------------------------- */

static uint32_t listener_label(const struct session *s)
{
    int kind = s->l->config->kind;
    return kind == CONFIG_SUBMISSION    ? METRICS_LISTENER_SUBMISSION
           : kind == CONFIG_SUBMISSIONS ? METRICS_LISTENER_SUBMISSIONS
           : kind == CONFIG_INBOUND     ? METRICS_LISTENER_INBOUND
                                        : METRICS_LISTENER_RELAY;
}

void report_client(const struct session *s, struct event *e)
{
    e->session = s->id;
    e->client_ip = span_str(s->peer_text);
    e->client_name = span_str(s->client_name);
    e->listener = span_str(s->l->config->name);
    if (s->smtp != NULL)
        e->helo = smtp_server_helo(s->smtp);
    const struct charge *c = s->rx != NULL ? receive_charge(s) : NULL;
    bool web = c != NULL && c->web;
    if (s->identity != NULL) {
        e->account = span_str(web ? c->named_account : s->identity->account);
        e->tenant = span_str(s->identity->tenant);
        e->class = span_str(look_class_name(web ? c->named_class : c != NULL ? c->class : s->identity->class));
    }
}

/* The session as a trace sees it. */
static bool traced(struct session *s, struct trace_subject *subject, char peer[IP_SOCK_TEXT_MAX])
{
    struct trace *t = s->in->w->node->trace;
    *subject = (struct trace_subject){
        .session = s->id,
        .peer = span_str(ip_sock_format(&s->peer, s->port, peer)),
        .account = span_str(s->identity == NULL ? NULL : s->identity->account),
        .listener = span_str(s->l->config->name),
    };
    return trace_wanted(t, subject, &s->trace);
}

static void session_note(struct session *s, const char *text)
{
    struct trace_subject subject;
    char peer[IP_SOCK_TEXT_MAX];
    if (traced(s, &subject, peer))
        trace_note(s->in->w->node->trace, &subject, &s->trace, "%s", text);
}

void report_session_start(struct session *s)
{
    struct worker *w = s->in->w;
    count(w, METRICS_CONNECTIONS_IN, listener_label(s), 1);
    struct event e = EVENT_INIT(EVENT_CONNECTION);
    report_client(s, &e);
    e.text = SPAN_LIT("connected");
    put(w, &e);
    session_note(s, "connected");
}

void report_session_end(struct session *s, int err)
{
    (void)err;
    session_note(s, "closed");
}

void report_note(struct session *s, const char *text)
{
    session_note(s, text);
    struct event e = EVENT_INIT(EVENT_REJECTED);
    report_client(s, &e);
    e.stage = SPAN_LIT("connect");
    e.text = span_str(text);
    put(s->in->w, &e);
    count(s->in->w, METRICS_REJECTED, METRICS_STAGE_CONNECT, 1);
}

static uint32_t tls_label(const struct tls_info *info, uint32_t first)
{
    if (info == NULL)
        return first + 3;
    if (strcmp(info->version, "TLSv1.3") == 0)
        return first + 1;
    return strcmp(info->version, "TLSv1.2") == 0 ? first : first + 2;
}

void report_tls(struct session *s, bool ok, const char *why)
{
    const struct tls_info *info = ok ? stream_tls_info(s->stream) : NULL;
    count(s->in->w, METRICS_TLS_HANDSHAKES, tls_label(info, METRICS_TLS_IN_12), 1);
    char text[80];
    session_note(s, info != NULL ? tls_info_format(info, text) : why);
    if (ok)
        return;
    struct event e = EVENT_INIT(EVENT_REJECTED);
    report_client(s, &e);
    e.stage = SPAN_LIT("tls");
    e.text = span_str(why);
    put(s->in->w, &e);
    count(s->in->w, METRICS_REJECTED, METRICS_STAGE_HELO, 1);
}

void report_server_in(struct session *s, struct span bytes)
{
    struct trace_subject subject;
    char peer[IP_SOCK_TEXT_MAX];
    if (!traced(s, &subject, peer))
        return;
    enum smtp_server_phase phase = smtp_server_phase(s->smtp);
    struct trace *t = s->in->w->node->trace;
    if (phase == SMTP_SERVER_PHASE_BODY)
        trace_note(t, &subject, &s->trace, "content: %zu octets", bytes.n);
    else
        trace_bytes(t, &subject, &s->trace, TRACE_FROM_PEER, bytes, phase == SMTP_SERVER_PHASE_AUTH);
}

void report_server_out(struct session *s, struct span bytes)
{
    struct trace_subject subject;
    char peer[IP_SOCK_TEXT_MAX];
    if (traced(s, &subject, peer))
        trace_bytes(s->in->w->node->trace, &subject, &s->trace, TRACE_TO_PEER, bytes, false);
}

void report_auth(struct session *s, const struct auth_request *r, enum auth_result result)
{
    struct worker *w = s->in->w;
    count(w, METRICS_AUTH,
          result == AUTH_OK     ? METRICS_AUTH_OK
          : result == AUTH_TEMP ? METRICS_AUTH_BUSY
                                : METRICS_AUTH_FAILED,
          1);
    struct event e = EVENT_INIT(result == AUTH_OK ? EVENT_AUTH : EVENT_AUTH_FAILED);
    report_client(s, &e);
    e.account = span_str(r->account);
    if (result == AUTH_OK) {
        e.tenant = span_str(r->identity->tenant);
        e.class = span_str(look_class_name(r->identity->class));
    }
    e.text = span_str(r->reason);
    e.stage = SPAN_LIT("auth");
    put(w, &e);
    if (r->blocks != 0)
        report_attack(s, r);
}

static void reply_fill(const struct smtp_reply_text *r, struct event *e)
{
    e->code = r->code;
    memcpy(e->enhanced, r->enhanced, sizeof e->enhanced);
    e->text = span_of(r->text, r->len);
}

void report_client_check(struct session *s, enum client_check_result result)
{
    count(s->in->w, METRICS_CLIENT_CHECKS, result, 1);
}

/* Folded lines made one. */
static struct span unfold(struct span raw, char *out, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < raw.n && n < cap; i++)
        if (raw.p[i] != '\r' && raw.p[i] != '\n')
            out[n++] = raw.p[i];
    return span_of(out, n);
}

void report_refused(struct session *s, struct span reply)
{
    struct smtp_reply_parser parser;
    size_t used = 0;
    enum smtp_reply_event event = SMTP_REPLY_MORE;
    smtp_reply_parser_init(&parser);
    for (size_t at = 0; at < reply.n; at += used) { /* the last one is the refusal */
        event = smtp_reply_parser_feed(&parser, reply.p + at, reply.n - at, &used);
        if (event == SMTP_REPLY_MORE || event == SMTP_REPLY_BAD)
            break;
    }
    struct event e = EVENT_INIT(EVENT_REJECTED);
    report_client(s, &e);
    e.stage = SPAN_LIT("command");
    reply_fill(&parser.reply, &e);
    e.local = true;
    put(s->in->w, &e);
    count(s->in->w, METRICS_REJECTED, METRICS_STAGE_OTHER, 1);
}

void report_received(struct session *s, const struct envelope *env, struct span subject, struct span dkim,
                     struct span verdict, int64_t commit_ms)
{
    struct worker *w = s->in->w;
    char text[EVENTS_TEXT_MAX];
    struct event e = EVENT_INIT(EVENT_RECEIVED);
    report_client(s, &e);
    e.id = env->id;
    e.ts_ms = commit_ms;
    e.sender = env->mail_from;
    e.null_sender = env->mail_from.n == 0;
    if (env->nrcpts == 1)
        e.recipient = env->rcpts[0].address;
    e.recipients = env->nrcpts;
    e.size = env->size;
    e.message_id = env->message_id;
    e.protocol = env->protocol;
    e.subject = unfold(subject, text, sizeof text);
    e.dkim = dkim;
    e.verdict = verdict;
    if (dkim.n > 0 && w->node->history != NULL)
        history_signed(w->node->history, env->id, env->arrival_ms, dkim);
    if (dkim.n == 0 && sign_keys_any(w, s->config))
        count(w, METRICS_DKIM_UNSIGNED, METRICS_NONE, 1);
    char tls[80];
    const struct tls_info *info = s->stream == NULL ? NULL : stream_tls_info(s->stream);
    if (info != NULL)
        e.tls = span_str(tls_info_format(info, tls));
    put(w, &e);
    count(w, METRICS_MESSAGES_RECEIVED, listener_label(s), 1);
    count(w, METRICS_RECIPIENTS_RECEIVED, METRICS_NONE, env->nrcpts);
    count(w, METRICS_BYTES_RECEIVED, METRICS_NONE, (int64_t)env->size);
    activity_add(&w->senders, commit_ms, env->account, ACTIVITY_RECEIVED, env->nrcpts);
    activity_add(&w->senders, commit_ms, env->account, ACTIVITY_BYTES, env->size);
    metrics_observe_us(w->node->metrics, w->index, METRICS_COMMIT_SECONDS,
                       (clock_wall_ms() - commit_ms) * 1000);
}

/* ---- mail out ------------------------------------------------------------------------------------------ */

static bool conn_traced(struct conn *c, struct trace_subject *subject, char peer[IP_SOCK_TEXT_MAX])
{
    struct trace *t = c->e->w->node->trace;
    *subject = (struct trace_subject){
        .client = true,
        .session = c->id,
        .peer = span_str(ip_sock_format(&c->peer, c->port, peer)),
        .site = c->site == NULL ? (struct span){ "", 0 } : queue_site_key(c->site->qs),
        .account = c->attempt == NULL ? (struct span){ "", 0 } : c->attempt->info->env.account,
    };
    return trace_wanted(t, subject, &c->trace);
}

static void conn_trace(struct conn *c, enum trace_dir dir, struct span bytes)
{
    struct trace_subject subject;
    char peer[IP_SOCK_TEXT_MAX];
    if (conn_traced(c, &subject, peer))
        trace_bytes(c->e->w->node->trace, &subject, &c->trace, dir, bytes,
                    smtp_client_stage(c->client) == SMTP_CLIENT_STAGE_AUTH);
}

void report_dialogue_in(struct conn *c, struct span bytes)
{
    conn_trace(c, TRACE_FROM_PEER, bytes);
}

void report_dialogue_out(struct conn *c, struct span bytes)
{
    conn_trace(c, TRACE_TO_PEER, bytes);
}

void report_dialogue_note(struct conn *c, const char *text)
{
    struct trace_subject subject;
    char peer[IP_SOCK_TEXT_MAX];
    if (conn_traced(c, &subject, peer))
        trace_note(c->e->w->node->trace, &subject, &c->trace, "%s", text);
}

static void conn_fill(const struct conn *c, struct event *e, char ip[IP_TEXT_MAX], char source[IP_TEXT_MAX])
{
    e->session = c->id;
    if (c->site != NULL)
        e->site = queue_site_key(c->site->qs);
    e->pool = route_key_pool(e->site);
    e->mx = span_str(c->host);
    if (c->peer.family != 0)
        e->mx_ip = span_str(ip_addr_format(&c->peer, ip));
    if (c->stream != NULL) {
        struct ip_addr local;
        stream_local(c->stream, &local, NULL);
        e->source_ip = span_str(ip_addr_format(&local, source));
    } else if (c->from.family != 0) {
        e->source_ip = span_str(ip_addr_format(&c->from, source));
    }
    if (c->source != NULL)
        e->ehlo = span_str(c->source->ehlo);
    else if (c->meter != NULL)
        e->ehlo = span_str(c->ehlo); /* of its pool's address */
}

void report_lookup(struct worker *w, bool ok, int64_t took_ns)
{
    count(w, METRICS_DNS_QUERIES, ok ? METRICS_RESULT_OK : METRICS_RESULT_FAILED, 1);
    metrics_observe_us(w->node->metrics, w->index, METRICS_DNS_SECONDS, took_ns / 1000);
}

void report_target_failed(struct conn *c, enum smtp_client_stage stage)
{
    char ip[IP_TEXT_MAX], source[IP_TEXT_MAX];
    struct event e = EVENT_INIT(EVENT_CONNECT_FAILED);
    conn_fill(c, &e, ip, source);
    e.stage = span_str(smtp_client_stage_name(stage));
    reply_fill(&c->trouble, &e);
    e.local = true;
    put(c->e->w, &e);
    count(c->e->w, METRICS_CONNECTIONS_OUT, METRICS_RESULT_FAILED, 1);
}

static void site_event(struct conn *c, enum event_kind kind, struct span why)
{
    char ip[IP_TEXT_MAX], source[IP_TEXT_MAX];
    struct event e = EVENT_INIT(kind);
    conn_fill(c, &e, ip, source);
    e.text = why;
    e.local = true;
    put(c->e->w, &e);
}

void report_site_down(struct conn *c, struct span why)
{
    site_event(c, EVENT_SITE_DOWN, why);
}

void report_site_up(struct conn *c)
{
    site_event(c, EVENT_SITE_UP, (struct span){ "", 0 });
}

static void shaping_event(struct worker *w, struct event *e, const char *what, int64_t for_ms,
                          struct span more)
{
    char words[EVENTS_TEXT_MAX], time[32] = "";
    if (for_ms > 0)
        (void)text_exact_duration(for_ms / 1000 * 1000, time);
    int n = snprintf(words, sizeof words, "%s%s%s%s%.*s", what, for_ms > 0 ? " for " : "", time,
                     more.n > 0 ? ": " : "", (int)(more.n < 800 ? more.n : 800), more.n > 0 ? more.p : "");
    e->text = span_of(words, n > 0 ? (size_t)n : 0);
    e->pool = route_key_pool(e->site);
    put(w, e);
    log_info("shaping", "%.*s: %s%s%.*s", (int)e->site.n, e->site.p, words,
             e->source_ip.n > 0 ? ", from " : "", (int)e->source_ip.n,
             e->source_ip.n > 0 ? e->source_ip.p : "");
}

void report_shaping_count(struct worker *w, int action)
{
    count(w, METRICS_SHAPING, (unsigned)action - 1, 1);
}

void report_shaping(struct worker *w, const struct shaping_hold *hold)
{
    struct event e = EVENT_INIT(EVENT_SHAPING);
    e.site = hold->key;
    e.rule = hold->rule;
    e.by = hold->by;
    e.source_ip = hold->source;
    e.next_ms = hold->until_ms;
    shaping_event(w, &e, shaping_action_names[hold->kind], hold->until_ms - hold->since_ms, hold->reply);
    report_shaping_count(w, hold->kind);
}

void report_shaping_ended(struct worker *w, const struct shaping_ended *ended, const char *why)
{
    struct event e = EVENT_INIT(EVENT_SHAPING);
    e.site = span_str(ended->key);
    e.rule = span_str(ended->rule);
    e.source_ip = span_str(ended->source);
    shaping_event(w, &e, "over", 0, span_str(why));
}

void report_shaping_notice(struct conn *c, const char *rule, const struct smtp_reply_text *reply)
{
    char ip[IP_TEXT_MAX], source[IP_TEXT_MAX];
    struct event e = EVENT_INIT(EVENT_SHAPING);
    conn_fill(c, &e, ip, source);
    e.rule = span_str(rule);
    shaping_event(c->e->w, &e, "notify", 0, span_of(reply->text, reply->len));
    report_shaping_count(c->e->w, SHAPING_NOTIFY);
}

void report_reroute(struct worker *w, const struct attempt *a, uint32_t i, const struct pool_mark *mark)
{
    const struct smtp_reply_text *reply = &a->results[i].reply;
    char words[EVENTS_TEXT_MAX];
    struct span from = mark->left[mark->n - 1];
    struct event e = EVENT_INIT(EVENT_SHAPING);
    e.id = a->info->env.id;
    e.recipient = a->info->env.rcpts[a->rcpts[i]].address;
    e.account = a->info->env.account;
    e.tenant = a->info->env.tenant;
    e.site = span_str(a->site);
    e.pool = from;
    e.rule = mark->rule;
    reply_fill(reply, &e);
    int n = snprintf(words, sizeof words, "reroute from %s%.*s to pool %.*s: %.*s",
                     from.n > 0 ? "pool " : "no pool", (int)from.n, from.n > 0 ? from.p : "", (int)mark->to.n,
                     mark->to.p, (int)(e.text.n < 800 ? e.text.n : 800), e.text.n > 0 ? e.text.p : "");
    e.text = span_of(words, n > 0 ? (size_t)n : 0);
    put(w, &e);
    report_shaping_count(w, SHAPING_REROUTE);
}

void report_shaping_site(struct worker *w, struct span key, const char *what, const char *why)
{
    struct event e = EVENT_INIT(EVENT_SHAPING);
    e.site = key;
    shaping_event(w, &e, what, 0, span_str(why));
}

void report_greylist(struct conn *c, const struct smtp_reply_text *reply)
{
    char ip[IP_TEXT_MAX], source[IP_TEXT_MAX];
    struct event e = EVENT_INIT(EVENT_SHAPING);
    conn_fill(c, &e, ip, source);
    shaping_event(c->e->w, &e, reply != NULL ? "greylisting never ends" : "over", 0,
                  reply != NULL ? span_of(reply->text, reply->len)
                                : SPAN_LIT("what is greylisted is taken again"));
}

void report_tls_policy(struct conn *c, enum metrics_tls_policy result)
{
    count(c->e->w, METRICS_TLS_POLICY, result, 1);
}

void report_ready(struct conn *c)
{
    struct worker *w = c->e->w;
    count(w, METRICS_CONNECTIONS_OUT, METRICS_RESULT_OK, 1);
    const struct tls_info *info = stream_tls_info(c->stream);
    count(w, METRICS_TLS_HANDSHAKES,
          info == NULL ? METRICS_TLS_OUT_NONE : tls_label(info, METRICS_TLS_OUT_12), 1);
    metrics_observe_us(w->node->metrics, w->index, METRICS_CONNECT_SECONDS, c->connecting_ns / 1000);
}

/* What an event and a counter are called for a recipient's new state. */
static enum event_kind outcome_kind(uint8_t state, enum metrics_outcome *label)
{
    static const struct {
        enum event_kind kind;
        enum metrics_outcome label;
    } kinds[] = {
        [RCPT_QUEUED] = { EVENT_DEFERRED, METRICS_OUTCOME_DEFERRED },
        [RCPT_HELD] = { EVENT_HELD, METRICS_OUTCOME_DEFERRED },
        [RCPT_DELIVERED] = { EVENT_DELIVERED, METRICS_OUTCOME_DELIVERED },
        [RCPT_RELAYED] = { EVENT_RELAYED, METRICS_OUTCOME_RELAYED },
        [RCPT_BOUNCED] = { EVENT_BOUNCED, METRICS_OUTCOME_BOUNCED },
        [RCPT_EXPIRED] = { EVENT_EXPIRED, METRICS_OUTCOME_EXPIRED },
        [RCPT_DELETED] = { EVENT_DELETED, METRICS_OUTCOME_DELETED },
    };
    *label = kinds[state].label;
    return kinds[state].kind;
}

static void count_activity(struct worker *w, const struct attempt *a, uint8_t state)
{
    enum activity_count which = state == RCPT_DELIVERED || state == RCPT_RELAYED ? ACTIVITY_DELIVERED
                                : rcpt_state_terminal(state)                     ? ACTIVITY_BOUNCED
                                                                                 : ACTIVITY_DEFERRED;
    int64_t now = clock_wall_ms();
    activity_add(&w->senders, now, a->info->env.account, which, 1);
    activity_add(&w->sites, now, span_str(a->site), which, 1);
    activity_add(&w->sites, now, span_str(a->site), ACTIVITY_BYTES, a->info->env.size);
}

_Static_assert(METRICS_BOUNCE_CLASSES == (int)BOUNCE_CLASSES, "each class has a label");
_Static_assert(RECORD_HARD + (int)BOUNCE_CLASSES <= RECORD_HARD_END, "each class has a kind");
_Static_assert((int)RECORD_HARD_UNKNOWN_USER == RECORD_HARD + (int)BOUNCE_UNKNOWN_USER, "the same class");
_Static_assert((int)RECORD_HARD_DNS == RECORD_HARD + (int)BOUNCE_DNS, "the same class");

static bool failed(uint8_t state)
{
    return state == RCPT_BOUNCED || state == RCPT_EXPIRED;
}

/* In the sender's record. */
static void count_record(struct worker *w, const struct envelope *env, uint8_t state, enum bounce_class why)
{
    unsigned kind = state == RCPT_DELIVERED || state == RCPT_RELAYED ? RECORD_DELIVERED
                    : failed(state)                                  ? RECORD_HARD + (unsigned)why
                                                                     : RECORD_DEFERRED;
    if (state != RCPT_DELETED)
        tally_add(w->node->cluster, env->account, (uint8_t)kind);
}

void report_recipient(struct worker *w, const struct attempt *a, uint32_t i, const struct conn *c,
                      uint8_t state, int64_t next_ms)
{
    const struct envelope *env = &a->info->env;
    const struct smtp_client_result *r = &a->results[i];
    enum metrics_outcome label;
    enum bounce_class why = BOUNCE_OTHER;
    struct bounce_reply reply;
    struct event e = EVENT_INIT(outcome_kind(state, &label));
    char ip[IP_TEXT_MAX], source[IP_TEXT_MAX], tls[128];
    int64_t now_ns = clock_mono_ns();
    e.id = env->id;
    e.site = span_str(a->site);
    e.pool = route_key_pool(e.site);
    e.sender = env->mail_from;
    e.null_sender = env->mail_from.n == 0;
    e.recipient = env->rcpts[a->rcpts[i]].address;
    e.account = env->account;
    e.tenant = env->tenant;
    e.class = span_str(look_class_name(env->class));
    e.message_id = env->message_id;
    e.size = env->size;
    e.attempt = a->attempts;
    e.stage = span_str(smtp_client_stage_name(r->stage));
    reply_fill(&r->reply, &e);
    e.local = r->local;
    if (failed(state)) {
        why = attempt_meaning(r, &reply);
        if (state == RCPT_EXPIRED)
            why = BOUNCE_EXPIRED;
        e.bounce_class = span_str(bounce_class_name(why));
        count(w, METRICS_BOUNCES, why, 1);
    }
    e.next_ms = next_ms;
    e.queue_delay_ms = clock_wall_ms() - env->arrival_ms;
    if (c != NULL) {
        conn_fill(c, &e, ip, source);
        e.tls = span_str(conn_policy_tls_text(c, tls));
        e.connect_delay_ms = c->connecting_ns / 1000000;
        e.transfer_delay_ms = (now_ns - a->taken_ns) / 1000000;
    }
    put(w, &e);
    count(w, METRICS_RECIPIENTS, label, 1);
    count_activity(w, a, state);
    count_record(w, env, state, why);
    if (state == RCPT_DELIVERED || state == RCPT_RELAYED) {
        metrics_observe_us(w->node->metrics, w->index, METRICS_QUEUE_SECONDS, e.queue_delay_ms * 1000);
        metrics_observe_us(w->node->metrics, w->index, METRICS_TRANSFER_SECONDS,
                           (now_ns - a->taken_ns) / 1000);
    }
    if (!rcpt_state_terminal(state)) {
        steps_deferred(w, a, i, c, &e);
        return;
    }
    if (state == RCPT_BOUNCED)
        suppress_result(w, a, i, &reply, why);
    struct history_rcpt note = { .rcpt = a->rcpts[i],
                                 .site = e.site,
                                 .mx = e.mx,
                                 .mx_ip = e.mx_ip,
                                 .source_ip = e.source_ip,
                                 .tls = e.tls };
    if (w->node->history != NULL)
        history_note(w->node->history, env, &note, 1);
}

void report_attempt(struct worker *w, const struct attempt *a)
{
    count(w, METRICS_ATTEMPTS, METRICS_NONE, 1);
    count(w, METRICS_BYTES_SENT, METRICS_NONE, (int64_t)a->info->env.size);
}

void report_returned(struct worker *w, const struct report_returned *r)
{
    static const uint32_t labels[] = { METRICS_RETURNED_HARD, METRICS_RETURNED_SOFT,
                                       METRICS_RETURNED_COMPLAINT, METRICS_RETURNED_OTHER };
    struct event e = EVENT_INIT(r->kind == REPORT_RETURNED_COMPLAINT ? EVENT_COMPLAINT : EVENT_RETURNED);
    e.account = r->account;
    e.tenant = r->tenant;
    e.recipient = r->rcpt;
    e.rule = span_str(r->rule);
    e.code = (uint16_t)r->code;
    memcpy(e.enhanced, r->status, sizeof e.enhanced);
    e.text = r->text;
    if (r->kind == REPORT_RETURNED_HARD) {
        e.bounce_class = span_str(bounce_class_name(r->class));
        count(w, METRICS_BOUNCES, r->class, 1);
        tally_add(w->node->cluster, r->account, (uint8_t)(RECORD_HARD + r->class));
    } else if (r->kind == REPORT_RETURNED_COMPLAINT) {
        tally_add(w->node->cluster, r->account, RECORD_COMPLAINT);
    }
    put(w, &e);
    count(w, METRICS_RETURNED, labels[r->kind], 1);
}

void report_domain(struct worker *w, struct span tenant, struct span domain, const char *state, struct span why)
{
    struct event e = EVENT_INIT(EVENT_DOMAIN);
    e.tenant = tenant;
    e.site = domain;
    e.rule = span_str(state);
    e.text = why;
    e.local = true;
    put(w, &e);
}

void report_dsn(struct worker *w, const struct envelope *dsn, uint64_t about, const char *kind)
{
    struct event e = EVENT_INIT(EVENT_DSN);
    e.id = dsn->id;
    e.about = about;
    e.null_sender = true;
    e.recipient = dsn->rcpts[0].address;
    e.size = dsn->size;
    e.rule = span_str(kind);
    put(w, &e);
    count(w, METRICS_DSN,
          strcmp(kind, "failed") == 0    ? METRICS_DSN_FAILED
          : strcmp(kind, "delayed") == 0 ? METRICS_DSN_DELAYED
          : strcmp(kind, "relayed") == 0 ? METRICS_DSN_RELAYED
                                         : METRICS_DSN_DELIVERED,
          1);
}

void report_event(struct worker *w, struct event *e)
{
    put(w, e);
}

void report_operator(struct worker *w, uint64_t id, const char *act, const char *by, const char *text)
{
    struct event e = EVENT_INIT(EVENT_OPERATOR);
    e.id = id;
    e.rule = span_str(act);
    e.by = span_str(by);
    e.text = span_str(text);
    put(w, &e);
}
