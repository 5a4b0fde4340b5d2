/* A dialogue with a recipient's server up to RCPT, then QUIT. It runs on a worker, apart from the queue: it
 * is no attempt, and nothing is learnt from it. Its client speaks plain commands, one at a time, so that each
 * reply can be read with what it answers. The worker's thread, but for ops_probe_start.
 */
#include "node/core/probe.h"

#include "base/clock.h"
#include "base/err.h"
#include "node/core/node.h"
#include "node/core/route.h"
#include "node/net/dns.h"
#include "node/net/stream.h"
#include "node/net/tls.h"
#include "node/smtp/address.h"
#include "node/smtp/reply_parser.h"

#include <errno.h>
#include <stdlib.h>

#define PROBE_TIMEOUT_MS 30000
#define PROBE_LOOK_MS 250 /* whether somebody still reads */

enum probe_step {
    PROBE_GREETING,
    PROBE_EHLO,
    PROBE_STARTTLS,
    PROBE_EHLO_TLS,
    PROBE_MAIL,
    PROBE_RCPT,
    PROBE_QUIT
};

struct probe {
    struct worker_msg msg;
    struct list link; /* of worker->probes */
    struct worker *w;
    struct admin_stream *out;
    struct config *config;
    struct stream *stream;
    struct tls_client *tls;
    struct timer deadline, look;
    struct dns_request *request;
    struct dns_site *found;
    struct smtp_reply_parser parser;
    enum probe_step step;
    bool starttls, done;
    bool use_tls;
    uint32_t target;
    uint16_t port;
    struct ip_addr source;
    char *recipient, *sender;
    char ehlo[256];
    char host[256];
    char peer[IP_SOCK_TEXT_MAX];
    struct route_key key;
    char verdict[700];
    int result; /* of the dialogue: ERR_DENIED when the answer was no */
};

static void say(struct probe *p, enum admin_dir dir, struct span text)
{
    struct admin_stream_line line = {
        .at_ms = clock_wall_ms(), .dir = dir, .peer = span_str(p->peer), .text = text
    };
    (void)admin_stream_put(p->out, &line); /* a reader that left is seen at the end */
}

static void note(struct probe *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void note(struct probe *p, const char *fmt, ...)
{
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    say(p, ADMIN_DIR_NOTE, span_str(text));
}

static void probe_free(struct probe *p)
{
    timer_fini(&p->deadline);
    timer_fini(&p->look);
    list_remove(&p->link);
    if (p->request != NULL)
        dns_cancel(p->request);
    if (p->found != NULL)
        dns_site_rele(p->found);
    if (p->tls != NULL)
        tls_client_rele(p->tls);
    config_rele(p->config);
    admin_stream_rele(p->out);
    free(p->recipient);
    free(p->sender);
    free(p);
}

/* Says how it went and goes. */
static void probe_end(struct probe *p, int err, const char *text)
{
    admin_stream_end(p->out, err, text);
    if (p->stream != NULL)
        stream_detach(p->stream);
    probe_free(p);
}

static void command(struct probe *p, enum probe_step step, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void command(struct probe *p, enum probe_step step, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line - 2, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof line - 2)
        n = 0;
    say(p, ADMIN_DIR_OUT, span_of(line, (size_t)n));
    memcpy(line + n, "\r\n", 2);
    p->step = step;
    (void)stream_write(p->stream, line, (size_t)n + 2); /* a failure ends in on_closed */
    timer_set(&p->deadline, PROBE_TIMEOUT_MS);
}

static void quit(struct probe *p, const struct smtp_reply_text *r, const char *what)
{
    struct buf reply;
    buf_init(&reply, SMTP_REPLY_TEXT_MAX + 64);
    (void)smtp_reply_text_put(&reply, r);
    snprintf(p->verdict, sizeof p->verdict, "%s: %.*s", what, (int)reply.len,
             reply.len == 0 ? "" : reply.data);
    buf_fini(&reply);
    p->result = r->code / 100 == 2 ? 0 : ERR_DENIED;
    command(p, PROBE_QUIT, "QUIT");
}

static void after_ehlo(struct probe *p, const struct smtp_reply_text *r)
{
    if (r->code / 100 != 2) {
        quit(p, r, "EHLO was refused");
        return;
    }
    if (p->step == PROBE_EHLO && p->starttls && p->use_tls)
        command(p, PROBE_STARTTLS, "STARTTLS");
    else
        command(p, PROBE_MAIL, "MAIL FROM:<%s>", p->sender);
}

static void start_tls(struct probe *p)
{
    struct tls_peer peer = { .sni = p->host[0] == '[' ? NULL : p->host, .verify = TLS_VERIFY_NOTE };
    int err = stream_tls_client(p->stream, p->tls, &peer, PROBE_TIMEOUT_MS);
    if (err != 0)
        probe_end(p, err, "TLS could not be started");
}

static void on_reply(struct probe *p, const struct smtp_reply_text *r)
{
    bool good = r->code / 100 == 2;
    switch (p->step) {
    case PROBE_GREETING:
        if (good)
            command(p, PROBE_EHLO, "EHLO %s", p->ehlo);
        else
            quit(p, r, "the server greeted with a refusal");
        break;
    case PROBE_EHLO:
    case PROBE_EHLO_TLS:
        after_ehlo(p, r);
        break;
    case PROBE_STARTTLS:
        if (good)
            start_tls(p);
        else
            command(p, PROBE_MAIL, "MAIL FROM:<%s>", p->sender);
        break;
    case PROBE_MAIL:
        if (good)
            command(p, PROBE_RCPT, "RCPT TO:<%s>", p->recipient);
        else
            quit(p, r, "the sender was refused");
        break;
    case PROBE_RCPT:
        quit(p, r, good ? "the recipient was accepted" : "the recipient was refused");
        break;
    case PROBE_QUIT:
        p->done = true;
        break;
    }
}

static size_t probe_data_cb(void *ctx, const char *bytes, size_t n)
{
    struct probe *p = ctx;
    size_t at = 0;
    while (at < n) {
        size_t used;
        enum smtp_reply_event event = smtp_reply_parser_feed(&p->parser, bytes + at, n - at, &used);
        at += used;
        if (event == SMTP_REPLY_MORE)
            break;
        if (event == SMTP_REPLY_BAD) {
            probe_end(p, ERR_BAD, p->parser.why);
            return n;
        }
        char line[SMTP_REPLY_LINE_MAX + 8];
        int len = snprintf(line, sizeof line, "%u%c%.*s", p->parser.reply.code,
                           event == SMTP_REPLY_LINE ? '-' : ' ', (int)p->parser.text.n, p->parser.text.p);
        say(p, ADMIN_DIR_IN,
            span_of(line, (size_t)(len < 0 ? 0 : len) < sizeof line ? (size_t)len : sizeof line - 1));
        if (span_eq_nocase(p->parser.text, SPAN_LIT("STARTTLS")))
            p->starttls = true;
        if (event != SMTP_REPLY_DONE)
            continue;
        enum probe_step before = p->step;
        on_reply(p, &p->parser.reply);
        if (p->done) {
            probe_end(p, p->result, p->verdict);
            return n;
        }
        if (before == PROBE_STARTTLS && p->step == PROBE_STARTTLS)
            return n; /* what follows is dropped with the handshake */
    }
    return n;
}

static void probe_open_cb(void *ctx)
{
    struct probe *p = ctx;
    struct ip_addr local;
    char text[IP_TEXT_MAX];
    stream_local(p->stream, &local, NULL);
    note(p, "connected to %s (%s) from %s", p->host, p->peer, ip_addr_format(&local, text));
}

static void probe_tls_cb(void *ctx, bool ok, const char *why)
{
    struct probe *p = ctx;
    char text[80];
    if (!ok) {
        note(p, "TLS failed: %s", why);
        return; /* the stream closes */
    }
    const struct tls_info *info = stream_tls_info(p->stream);
    note(p, "%s, certificate %s%s", tls_info_format(info, text),
         info->verified ? "verified" : "not verified: ", info->verified ? "" : info->verify_error);
    smtp_reply_parser_init(&p->parser);
    command(p, PROBE_EHLO_TLS, "EHLO %s", p->ehlo);
}

static void next_target(struct probe *p);

static void probe_closed_cb(void *ctx, int err)
{
    struct probe *p = ctx;
    p->stream = NULL;
    if (p->step == PROBE_GREETING) {
        note(p, "%s (%s): %s", p->host, p->peer, err == UV_EOF ? "closed without a word" : err_text(err));
        next_target(p);
        return;
    }
    if (p->verdict[0] != '\0')
        probe_end(p, p->result, p->verdict);
    else
        probe_end(p, ERR_CLOSED, "the server closed the connection");
}

static const struct stream_ops probe_ops = {
    .on_data = probe_data_cb, .on_open = probe_open_cb, .on_tls = probe_tls_cb, .on_closed = probe_closed_cb
};

static void probe_deadline_cb(struct timer *t)
{
    struct probe *p = TIMER_ITEM(t, struct probe, deadline);
    probe_end(p, ERR_TIMEOUT, "the server did not answer in time");
}

static void probe_look_cb(struct timer *t)
{
    struct probe *p = TIMER_ITEM(t, struct probe, look);
    if (admin_stream_closed(p->out))
        probe_end(p, ERR_CLOSED, "nobody reads any more");
    else
        timer_set(t, PROBE_LOOK_MS);
}

void probe_stop_all(struct worker *w)
{
    LIST_EACH_SAFE(link, &w->probes)
    probe_end(LIST_ITEM(link, struct probe, link), ERR_CLOSED, "the node is stopping");
}

static void next_target(struct probe *p)
{
    while (p->target < p->found->ntargets) {
        const struct dns_target *t = &p->found->targets[p->target++];
        snprintf(p->host, sizeof p->host, "%s", t->host < p->found->nhosts ? p->found->hosts[t->host] : "");
        ip_sock_format(&t->addr, p->port, p->peer);
        if (p->source.family != 0 && p->source.family != t->addr.family)
            continue;
        struct stream_connect to = {
            .addr = t->addr, .port = p->port, .source = p->source, .timeout_ms = PROBE_TIMEOUT_MS
        };
        smtp_reply_parser_init(&p->parser);
        p->step = PROBE_GREETING;
        int err = stream_connect(&p->w->streams, &to, &probe_ops, p, &p->stream);
        if (err == 0) {
            timer_set(&p->deadline, PROBE_TIMEOUT_MS);
            return;
        }
        p->stream = NULL;
        note(p, "%s (%s): %s", p->host, p->peer, err_text(err));
    }
    probe_end(p, ERR_CLOSED, "no address of the site could be reached");
}

static void probe_site_cb(void *ctx, struct dns_site *site)
{
    struct probe *p = ctx;
    p->request = NULL;
    dns_site_hold(site);
    p->found = site;
    if (site->status != DNS_OK) {
        char text[400];
        snprintf(text, sizeof text, "%s %s", site->enhanced, site->reason);
        probe_end(p, site->status == DNS_TEMPORARY ? ERR_TIMEOUT : ERR_NOT_FOUND, text);
        return;
    }
    note(p, "site %.*s: %u addresses of %u hosts", (int)p->key.len, p->key.text, site->ntargets,
         site->nhosts);
    next_target(p);
}

static void run_probe(struct worker *w, struct worker_msg *msg)
{
    struct probe *p = (struct probe *)msg;
    struct route_hop hop;
    struct buf why;
    buf_init(&why, 512);
    p->w = w;
    list_push_back(&w->probes, &p->link);
    struct tls_client_config tc = { 0 };
    if (timer_init(&p->deadline, &w->timers, probe_deadline_cb) != 0 ||
        timer_init(&p->look, &w->timers, probe_look_cb) != 0 || tls_client_new(&tc, &p->tls, &why) != 0) {
        buf_fini(&why);
        probe_end(p, -ENOMEM, "no memory");
        return;
    }
    buf_fini(&why);
    (void)route_hop_find(p->config, span_of(p->key.text, p->key.len), &hop);
    p->port = hop.port;
    const struct config_route *r = hop.route;
    p->use_tls = (r == NULL ? p->config->delivery.tls : r->tls) != CONFIG_TLS_NONE;
    char text[IP_TEXT_MAX];
    struct ip_addr addr;
    struct span host = hop.domain;
    if (r != NULL && r->hop.kind == CONFIG_HOP_ADDRESS &&
        ip_from_sockaddr((const struct sockaddr *)&r->hop.address, &addr, NULL) == 0)
        host = span_str(ip_addr_format(&addr, text));
    bool named = r != NULL && (r->hop.kind == CONFIG_HOP_HOST || r->hop.kind == CONFIG_HOP_ADDRESS);
    timer_set(&p->look, PROBE_LOOK_MS);
    p->request =
        named ? dns_host(w->dns, host, p->port, probe_site_cb, p) : dns_site(w->dns, host, probe_site_cb, p);
    if (p->request == NULL)
        probe_end(p, -ENOMEM, "no memory");
}

/* The source address and the name that we greet with from it. */
static int choose_source(struct probe *p, const char *from_ip, struct admin_error *e)
{
    snprintf(p->ehlo, sizeof p->ehlo, "%s", p->config->hostname);
    if (from_ip != NULL && ip_addr_parse(span_str(from_ip), &p->source) != 0)
        return admin_fail(e, ERR_BAD, "%s is no IP address", from_ip);
    for (uint32_t i = 0; i < p->config->nsources; i++) {
        struct ip_addr a;
        if (ip_from_sockaddr((const struct sockaddr *)&p->config->sources[i].address, &a, NULL) != 0)
            continue;
        if (from_ip == NULL || ip_addr_eq(&a, &p->source)) {
            p->source = a;
            snprintf(p->ehlo, sizeof p->ehlo, "%s", p->config->sources[i].ehlo);
            return 0;
        }
    }
    return 0;
}

int ops_probe_start(void *ctx, const struct admin_probe *want, const struct admin_caller *by,
                    struct admin_stream *s, struct admin_error *e)
{
    (void)by;
    struct node *n = ctx;
    struct smtp_path path;
    if (smtp_mailbox_parse(span_str(want->recipient), &path) != 0 || path.domain.n == 0)
        return admin_fail(e, ERR_BAD, "%s is no address with a domain", want->recipient);
    if (want->sender != NULL && want->sender[0] != '\0' && strcmp(want->sender, "<>") != 0 &&
        smtp_mailbox_parse(span_str(want->sender), &path) != 0)
        return admin_fail(e, ERR_BAD, "%s is no address", want->sender);
    struct probe *p = calloc(1, sizeof *p);
    if (p == NULL)
        return admin_fail(e, -ENOMEM, "no memory");
    p->msg.run = run_probe;
    p->config = node_config(n);
    p->recipient = strdup(want->recipient);
    p->sender = strdup(want->sender == NULL || strcmp(want->sender, "<>") == 0 ? "" : want->sender);
    p->out = s;
    admin_stream_hold(s);
    int err = p->recipient == NULL || p->sender == NULL ? admin_fail(e, -ENOMEM, "no memory")
                                                        : choose_source(p, want->from_ip, e);
    if (err == 0 && (err = route_site_key(p->config, span_str(p->recipient), &p->key)) != 0)
        err = admin_fail(e, err, "%s has no usable domain", want->recipient);
    if (err == 0 && (err = worker_post(&n->workers[0], &p->msg)) != 0)
        err = admin_fail(e, err, "the node is too busy");
    if (err != 0)
        probe_free(p);
    return err;
}
