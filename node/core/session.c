/* One client's SMTP session: bytes in, replies out, and the decisions that the grammar cannot make: who may
 * log in, who may send as whom, which recipients are taken. Content is receive.c's. The worker's thread only.
 */
#include "node/core/session.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/clients.h"
#include "node/core/cluster.h"
#include "node/core/node.h"
#include "node/core/report.h"
#include "node/net/proxy.h"
#include "node/policy/policy.h"

#include <errno.h>
#include <stdlib.h>

#define STEP_BYTES (16u << 10) /* given to the machine at once: its replies fit into REPLY_MAX */
#define REPLY_MAX (64u << 10)
#define REPLY_HIGH (16u << 10) /* replies waiting; over it stepping pauses */
#define CLOSE_MS 5000
#define TLS_HANDSHAKE_MS 30000
#define PROXY_WAIT_MS 5000
#define CONTENT_RATE_MIN 100          /* octets per second, over the whole content: slower ones are let go */
#define CONTENT_READ_MORE (64u << 10) /* refused content is read to twice the largest message, and this */
#define COMMIT_RETRY_MS 1000          /* a session whose time is over waits for its commit */

static const struct smtp_reply reply_timeout = { 421, "4.4.2", "Error: timeout exceeded" };
static const struct smtp_reply reply_shutdown = { 421, "4.3.2", "Service shutting down" };

static void session_pump(struct session *s, const char *p, size_t n, size_t *used);

/* ---- its end ------------------------------------------------------------------------------------------- */

static void session_free(struct session *s)
{
    ensure(s->stream == NULL && s->rx == NULL);
    timer_fini(&s->deadline);
    timer_fini(&s->lifetime);
    list_remove(&s->link);
    client_names_leave(&s->name_wait);
    if (s->auth != NULL)
        s->auth->ctx = NULL; /* its answer finds nobody */
    if (s->identity != NULL)
        auth_identity_rele(s->identity);
    if (s->counted)
        clients_leave(s->in->w->node->clients, &s->peer);
    atomic_fetch_sub(&s->l->sessions, 1);
    atomic_fetch_sub(&s->in->w->node->sessions_in, 1);
    s->in->nsessions--;
    if (s->smtp != NULL)
        smtp_server_free(s->smtp);
    buf_fini(&s->reply);
    listeners_rele(s->l->set);
    config_rele(s->config);
    free(s);
}

void session_bury(struct session *s)
{
    if (s->stream == NULL)
        session_free(s);
}

static void session_closed_cb(void *ctx, int err)
{
    struct session *s = ctx;
    s->stream = NULL;
    report_session_end(s, err);
    timer_stop(&s->deadline);
    timer_stop(&s->lifetime);
    client_names_leave(&s->name_wait);
    if (receive_committing(s))
        return; /* session_bury follows the spool's answer */
    receive_abort(s);
    session_free(s);
}

static void session_flush(struct session *s)
{
    if (s->reply.len > 0 && s->stream != NULL) {
        report_server_out(s, buf_span(&s->reply));
        int r = stream_write(s->stream, s->reply.data, s->reply.len);
        if (r < 0)
            stream_close(s->stream, ERR_LIMIT);
        s->full = s->full || r == STREAM_FULL;
    }
    buf_reset(&s->reply);
    buf_shrink(&s->reply, 1024);
}

static void session_close(struct session *s)
{
    if (s->closing)
        return;
    s->closing = true;
    session_flush(s);
    timer_stop(&s->deadline);
    timer_stop(&s->lifetime);
    if (s->stream != NULL)
        stream_shutdown_close(s->stream, CLOSE_MS);
}

static void session_quit(struct session *s, const struct smtp_reply *reply)
{
    if (s->closing || s->stream == NULL)
        return;
    if (s->smtp == NULL || !s->greeted) {
        stream_close(s->stream, ERR_TIMEOUT);
        return;
    }
    smtp_server_quit(s->smtp, reply);
    size_t used;
    session_pump(s, NULL, 0, &used);
}

/* ---- deadlines ----------------------------------------------------------------------------------------- */

static void session_deadline_cb(struct timer *t)
{
    session_quit(TIMER_ITEM(t, struct session, deadline), &reply_timeout);
}

static void session_lifetime_cb(struct timer *t)
{
    static const struct smtp_reply reply = { 421, "4.4.2", "Session lasted too long" };
    struct session *s = TIMER_ITEM(t, struct session, lifetime);
    if (receive_committing(s)) /* a 421 now, and the message would come twice */
        timer_set(t, COMMIT_RETRY_MS);
    else
        session_quit(s, &reply);
}

/* Content has a deadline for each arrival, and one as a whole that grows with what came. */
static int64_t content_left_ms(struct session *s, int64_t now_ms)
{
    int64_t quiet_ms = s->config->smtp.data_timeout_ms;
    if (!s->in_content) {
        s->in_content = true;
        s->content_ms = now_ms;
        s->content_bytes = 0;
    }
    int64_t whole_ms = quiet_ms + (int64_t)(s->content_bytes * 1000 / CONTENT_RATE_MIN);
    int64_t left_ms = s->content_ms + whole_ms - now_ms;
    return left_ms < quiet_ms ? left_ms : quiet_ms;
}

/* A command has one deadline from its first byte to its last. */
static void session_set_deadline(struct session *s, bool partial)
{
    if (s->closing || s->stream == NULL)
        return;
    int64_t now_ms = timers_now_ms(&s->in->w->timers);
    if (s->rx == NULL && smtp_server_phase(s->smtp) != SMTP_SERVER_PHASE_BODY)
        s->in_content = false;
    uint64_t elements = smtp_server_elements(s->smtp);
    switch (smtp_server_phase(s->smtp)) {
    case SMTP_SERVER_PHASE_WAIT:
        timer_stop(&s->deadline);
        break;
    case SMTP_SERVER_PHASE_BODY:
        if (s->no_room_ms != 0)
            timer_stop(&s->deadline); /* the disk keeps it waiting, not the client */
        else
            timer_set(&s->deadline, content_left_ms(s, now_ms));
        break;
    case SMTP_SERVER_PHASE_COMMAND:
    case SMTP_SERVER_PHASE_AUTH:
        if (!partial)
            timer_set(&s->deadline, s->l->config->idle_timeout_ms);
        else if (!s->partial || elements != s->elements || !timer_is_set(&s->deadline))
            timer_set(&s->deadline, s->l->config->command_timeout_ms);
        break;
    }
    s->partial = partial;
    s->elements = elements;
}

/* ---- AUTH ---------------------------------------------------------------------------------------------- */

static void auth_done(struct session *s, struct auth_request *r, enum auth_result result)
{
    static const struct smtp_reply bad = { 535, "5.7.8", "Error: authentication failed" };
    static const struct smtp_reply temp = { 454, "4.7.0", "Temporary authentication failure" };
    static const struct smtp_reply blocked = { 421, "4.7.0", "Too many failed logins, try again later" };
    struct charge_reply frozen;
    report_auth(s, r, result);
    switch (result) {
    case AUTH_OK:
        if (s->identity != NULL)
            auth_identity_rele(s->identity);
        s->identity = auth_identity_hold(r->identity);
        if (charge_welcome(s, true, &frozen)) {
            smtp_server_on_auth(s->smtp, NULL);
            break;
        }
        auth_identity_rele(s->identity);
        s->identity = NULL;
        report_rejected(s, "auth", &frozen.reply, (struct span){ "", 0 }, (struct span){ "", 0 });
        smtp_server_on_auth(s->smtp, &frozen.reply);
        break;
    case AUTH_BAD:
        smtp_server_on_auth(s->smtp, &bad);
        break;
    case AUTH_BLOCKED:
        smtp_server_on_auth(s->smtp, &blocked);
        break;
    case AUTH_PENDING:
    case AUTH_TEMP:
        smtp_server_on_auth(s->smtp, &temp);
        break;
    }
    auth_request_free(r);
}

void session_auth_answer(struct auth_request *r)
{
    struct session *s = r->ctx;
    if (s == NULL) {
        auth_request_free(r);
        return;
    }
    s->auth = NULL;
    auth_done(s, r, r->result);
    session_go_on(s);
}

/* False: the answer comes later. */
static bool on_auth(struct session *s)
{
    const struct smtp_server_auth *a = smtp_server_auth(s->smtp);
    struct worker *w = s->in->w;
    struct sockaddr_storage peer;
    ip_to_sockaddr(&s->peer, s->port, &peer);
    struct auth_request *r =
        auth_request_new(&w->auths, s, a->authzid, a->authcid, a->password, (const struct sockaddr *)&peer);
    if (r == NULL) {
        static const struct smtp_reply temp = { 454, "4.7.0", "Temporary authentication failure" };
        smtp_server_on_auth(s->smtp, &temp);
        return true;
    }
    s->auth = r;
    snprintf(s->mechanism, sizeof s->mechanism, "%.*s", (int)a->mechanism.n, a->mechanism.p);
    enum auth_result result = auth_check(w->node->auth, r);
    if (result == AUTH_PENDING)
        return false;
    s->auth = NULL;
    auth_done(s, r, result);
    return true;
}

/* ---- stepping ------------------------------------------------------------------------------------------ */

/* `first`: what came behind a proxy's header; else empty. */
static void session_start_tls(struct session *s, struct span first)
{
    session_flush(s);
    int err = stream_tls_server_with(s->stream, s->l->tls, TLS_HANDSHAKE_MS, first.p, first.n);
    if (err != 0)
        stream_close(s->stream, err);
}

/* Does what the machine wants. False: wait for an answer. */
static bool session_perform(struct session *s, enum smtp_server_want want)
{
    switch (want) {
    case SMTP_SERVER_WANT_INPUT:
        return true;
    case SMTP_SERVER_WANT_TLS:
        session_start_tls(s, (struct span){ "", 0 });
        return false;
    case SMTP_SERVER_WANT_AUTH:
        return on_auth(s);
    case SMTP_SERVER_WANT_MAIL:
        admit_mail(s);
        return true;
    case SMTP_SERVER_WANT_RCPT:
        return admit_rcpt(s);
    case SMTP_SERVER_WANT_BODY:
        smtp_server_on_body(s->smtp, receive_open(s));
        return true;
    case SMTP_SERVER_WANT_COMMIT:
        return receive_commit(s);
    case SMTP_SERVER_WANT_ABORT:
        receive_abort(s);
        return true;
    case SMTP_SERVER_WANT_CLOSE:
        session_close(s);
        return false;
    }
    return false;
}

/* Content that was refused is read so that the reply to it is heard; but not for ever. */
static bool content_endless(const struct session *s)
{
    uint64_t max = s->l->config->max_message_bytes;
    return max > 0 && s->content_bytes > 2 * max + CONTENT_READ_MORE;
}

static void session_wait_for_room(struct session *s)
{
    if (s->no_room_ms == 0)
        s->no_room_ms = timers_now_ms(&s->in->w->timers);
    if (s->stream != NULL)
        stream_pause(s->stream);
}

/* Steps through the input until more is needed, or something is waited for. */
static void session_pump(struct session *s, const char *p, size_t n, size_t *used)
{
    static const struct smtp_reply endless = { 552, "5.3.4", "Message size exceeds the limit" };
    *used = 0;
    struct smtp_server_result r;
    if (smtp_server_phase(s->smtp) != SMTP_SERVER_PHASE_WAIT)
        s->awaited = SMTP_SERVER_WANT_INPUT;
    do {
        bool content = smtp_server_phase(s->smtp) == SMTP_SERVER_PHASE_BODY;
        size_t some = n - *used < STEP_BYTES ? n - *used : STEP_BYTES;
        uint32_t errors = smtp_server_errors(s->smtp);
        size_t said = s->reply.len;
        smtp_server_step(s->smtp, p == NULL ? "" : p + *used, some, &r);
        if (smtp_server_errors(s->smtp) > errors)
            report_refused(s, span_sub(buf_span(&s->reply), said));
        *used += r.consumed;
        s->content_bytes += content ? r.consumed : 0;
        bool room = r.nspans == 0 || receive_content(s, r.spans, r.nspans);
        s->ahead = p == NULL ? (struct span){ NULL, 0 } : span_of(p + *used, n - *used);
        if (r.want != SMTP_SERVER_WANT_INPUT && r.want == s->awaited)
            break; /* something came meanwhile, or replies could be written */
        if (!session_perform(s, r.want)) {
            s->awaited = r.want;
            break;
        }
        if (!room) {
            session_wait_for_room(s);
            break;
        }
        if (s->reply.len > REPLY_HIGH)
            session_flush(s);
        if (content && content_endless(s))
            smtp_server_quit(s->smtp, &endless);
    } while (!s->full && (r.consumed > 0 || r.want != SMTP_SERVER_WANT_INPUT));
    session_flush(s);
    if (!s->closing)
        session_set_deadline(s, *used < n);
}

void session_go_on(struct session *s)
{
    if (s->stream == NULL || s->closing) {
        session_flush(s);
        return;
    }
    if (s->no_room_ms != 0)
        s->content_ms += timers_now_ms(&s->in->w->timers) - s->no_room_ms;
    s->no_room_ms = 0;
    size_t used;
    session_pump(s, NULL, 0, &used);
    if (s->in->stopping && s->rx == NULL && s->auth == NULL)
        session_quit(s, &reply_shutdown);
    if (s->stream != NULL && !s->closing && !s->full && s->no_room_ms == 0 &&
        smtp_server_phase(s->smtp) != SMTP_SERVER_PHASE_WAIT)
        stream_resume(s->stream);
}

/* ---- beginning ----------------------------------------------------------------------------------------- */

static void session_named(struct session *s, const struct dns_client *client)
{
    s->reverse_dns = (struct client_found){ client->status, client->confirm_status, client->confirmed };
    if (client->status == DNS_OK && client->confirmed)
        snprintf(s->client_name, sizeof s->client_name, "%s", client->name);
}

static void session_client_name_cb(void *ctx, const struct dns_client *client)
{
    struct session *s = ctx;
    session_named(s, client);
    if (s->rcpt_waits_name && !s->closing && admit_rcpt_named(s))
        session_go_on(s);
}

/* Whoever may send from this listener without a password may be asked for his name: it is worth waiting for. */
static void session_ask_name(struct session *s)
{
    struct ingress *in = s->in;
    struct dns_client known;
    s->reverse_dns.status = DNS_TEMPORARY;
    if (ip_addr_class(&s->peer) == IP_CLASS_LOOPBACK)
        return;
    client_names_use(in->names, in->w->dns);
    bool needed = s->l->config->kind == CONFIG_RELAY && s->identity != NULL;
    if (client_names_ask(in->names, &s->peer, needed, &s->name_wait, session_client_name_cb, s, &known))
        session_named(s, &known);
}

/* NULL: welcome. */
static const struct smtp_reply *check_client(struct session *s)
{
    static const struct smtp_reply busy = { 421, "4.7.0", "Too many sessions, try again later" };
    static const struct smtp_reply many = { 421, "4.7.0", "Too many sessions from your address" };
    static const struct smtp_reply denied = { 554, "5.7.1", "Access denied" };
    static const struct smtp_reply closed = { 421, "4.3.2", "Not accepting mail just now" };
    const struct config_listener *cl = s->l->config;
    struct node *node = s->in->w->node;
    struct sockaddr_storage peer;
    ip_to_sockaddr(&s->peer, s->port, &peer);
    if (cl->proxy_protocol.nfrom > 0 && !s->proxied)
        return &denied;
    if (cl->nnetworks > 0 && !config_nets_contain(cl->networks, cl->nnetworks, (struct sockaddr *)&peer))
        return &denied;
    if (s->in->stopping || !node_accepting(node, NULL))
        return &closed;
    if (atomic_load(&node->sessions_in) > s->config->smtp.max_sessions ||
        (cl->max_sessions > 0 && atomic_load(&s->l->sessions) > cl->max_sessions))
        return &busy;
    s->counted = clients_enter(node->clients, &s->peer, cl->max_sessions_per_client);
    if (!s->counted)
        return &many;
    if (cl->kind == CONFIG_RELAY) {
        const char *account = config_relay_account(s->config, (struct sockaddr *)&peer);
        if (account != NULL)
            s->identity = auth_identity_named(node->auth, span_str(account));
    }
    return NULL;
}

/* On relay listeners only: what people's own devices call themselves is nobody's business. */
static void ask_for_helo(struct session *s)
{
    struct node *node = s->in->w->node;
    if (s->l->config->kind != CONFIG_RELAY)
        return;
    struct policy *policy = node->cluster != NULL ? cluster_policy(node->cluster) : NULL;
    const struct config_client_checks *checks = node->cluster == NULL ? &s->config->client_checks
                                                : policy != NULL      ? &policy->client_checks
                                                                      : NULL;
    if (checks != NULL && checks->helo_strict && client_check_concerns(checks, &s->peer))
        smtp_server_helo_strict(s->smtp);
    policy_rele(policy);
}

/* The connection is the client's from here on: PROXY header read, or none due. `first` is what came behind
 * the header. */
static void session_greet(struct session *s, struct span first)
{
    s->greeted = true;
    ip_addr_format(&s->peer, s->peer_text);
    const struct smtp_reply *refusal = check_client(s);
    report_session_start(s);
    if (refusal != NULL)
        report_rejected(s, "connect", refusal, (struct span){ "", 0 }, (struct span){ "", 0 });
    else
        session_ask_name(s);
    ask_for_helo(s);
    if (s->l->config->kind == CONFIG_SUBMISSIONS && refusal == NULL) {
        session_start_tls(s, first);
        return;
    }
    if (s->l->config->kind == CONFIG_SUBMISSIONS) {
        stream_close(s->stream, 0); /* nobody to talk to before the handshake */
        return;
    }
    if (refusal == NULL && (first.n > 0 || stream_has_input(s->stream))) {
        static const struct smtp_reply early = { 554, "5.5.0", "spoke before the greeting" };
        report_rejected(s, "connect", &early, (struct span){ "", 0 }, (struct span){ "", 0 });
        smtp_server_greet_early(s->smtp);
    } else {
        smtp_server_greet(s->smtp, refusal);
    }
    size_t used;
    session_pump(s, NULL, 0, &used);
}

static size_t session_proxy(struct session *s, const char *p, size_t n)
{
    struct proxy_header header;
    int used = proxy_parse(p, n, &header);
    if (used == 0 && n < PROXY_HEADER_MAX)
        return 0;
    if (used <= 0) {
        report_note(s, "wrong PROXY header");
        stream_close(s->stream, ERR_BAD);
        return n;
    }
    if (!header.local) {
        s->peer = header.source;
        s->port = header.source_port;
    }
    s->proxy_wait = false;
    timer_stop(&s->deadline); /* it was the header's; a handshake has its own */
    session_greet(s, span_of(p + used, n - (size_t)used));
    return (size_t)used;
}

static size_t session_data_cb(void *ctx, const char *p, size_t n)
{
    struct session *s = ctx;
    if (s->closing)
        return n;
    if (s->proxy_wait) {
        size_t used = session_proxy(s, p, n);
        if (used == 0 || used == n || s->closing || s->l->config->kind == CONFIG_SUBMISSIONS)
            return used;
        return used + session_data_cb(s, p + used, n - used);
    }
    report_server_in(s, span_of(p, n));
    size_t used;
    session_pump(s, p, n, &used);
    if (s->in->stopping && s->rx == NULL && s->auth == NULL)
        session_quit(s, &reply_shutdown);
    if (!s->closing && (s->full || (used < n && smtp_server_phase(s->smtp) == SMTP_SERVER_PHASE_WAIT)))
        stream_pause(s->stream);
    return used;
}

static void session_writable_cb(void *ctx)
{
    struct session *s = ctx;
    s->full = false;
    if (!s->closing)
        session_go_on(s);
}

static void session_tls_cb(void *ctx, bool ok, const char *why)
{
    struct session *s = ctx;
    report_tls(s, ok, why);
    if (!ok)
        return; /* the stream closes by itself */
    if (s->l->config->kind == CONFIG_SUBMISSIONS)
        smtp_server_greet(s->smtp, NULL);
    else
        smtp_server_on_tls(s->smtp, true);
    session_go_on(s);
}

static const struct stream_ops session_ops = {
    .on_data = session_data_cb,
    .on_writable = session_writable_cb,
    .on_tls = session_tls_cb,
    .on_closed = session_closed_cb,
};

static bool behind_proxy(const struct session *s)
{
    const struct config_listener *cl = s->l->config;
    struct sockaddr_storage peer;
    ip_to_sockaddr(&s->peer, s->port, &peer);
    return config_nets_contain(cl->proxy_protocol.from, cl->proxy_protocol.nfrom, (struct sockaddr *)&peer);
}

void session_accept(struct ingress_listener *il)
{
    struct ingress *in = il->ingress;
    struct worker *w = in->w;
    struct session *s = calloc(1, sizeof *s);
    struct stream *refused;
    if (s == NULL || timer_init(&s->deadline, &w->timers, session_deadline_cb) != 0)
        goto fail;
    if (timer_init(&s->lifetime, &w->timers, session_lifetime_cb) != 0)
        goto fail_deadline;
    s->in = in;
    s->l = il->l;
    buf_init(&s->reply, REPLY_MAX);
    s->smtp = smtp_server_new(&s->l->smtp, &s->reply);
    if (s->smtp == NULL ||
        stream_accept(&w->streams, (uv_stream_t *)&il->sl.tcp, &session_ops, s, &s->stream) != 0)
        goto fail_lifetime;
    listeners_hold(s->l->set);
    s->config = config_hold(w->config);
    s->id = atomic_fetch_add(&w->node->next_session, 1);
    list_push_back(&in->sessions, &s->link);
    in->nsessions++;
    atomic_fetch_add(&w->node->sessions_in, 1);
    atomic_fetch_add(&s->l->sessions, 1);
    atomic_fetch_add(&s->l->accepted, 1);
    stream_peer(s->stream, &s->peer, &s->port);
    timer_set(&s->lifetime, s->config->smtp.session_timeout_ms);
    s->proxied = s->l->config->proxy_protocol.nfrom > 0 && behind_proxy(s);
    s->proxy_wait = s->proxied;
    if (s->proxy_wait)
        timer_set(&s->deadline, PROXY_WAIT_MS);
    else
        session_greet(s, (struct span){ "", 0 });
    return;
fail_lifetime:
    if (s->smtp != NULL)
        smtp_server_free(s->smtp);
    timer_fini(&s->lifetime);
fail_deadline:
    timer_fini(&s->deadline);
fail:
    free(s);
    /* taken and dropped, or it would be offered for ever */
    static const struct stream_ops none;
    if (stream_accept(&w->streams, (uv_stream_t *)&il->sl.tcp, &none, NULL, &refused) == 0)
        stream_detach(refused);
}

/* ---- stopping ------------------------------------------------------------------------------------------ */

void session_stop_all(struct ingress *in)
{
    LIST_EACH_SAFE(link, &in->sessions)
    {
        struct session *s = LIST_ITEM(link, struct session, link);
        if (s->rx == NULL && s->auth == NULL)
            session_quit(s, &reply_shutdown);
    }
}

void session_drop_all(struct ingress *in)
{
    LIST_EACH_SAFE(link, &in->sessions)
    {
        struct session *s = LIST_ITEM(link, struct session, link);
        if (s->stream == NULL)
            continue; /* awaits the spool */
        stream_detach(s->stream);
        s->stream = NULL;
        client_names_leave(&s->name_wait); /* the resolver goes before the spool's answer comes */
        if (receive_committing(s))
            continue;
        receive_abort(s);
        session_free(s);
    }
}
