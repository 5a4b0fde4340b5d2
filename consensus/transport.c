/* Raft's connections between nodes: the listener, libraft's five calls, and the end. The loop's thread. */
#include "consensus/transport_impl.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <netinet/in.h>
#include <raft.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what is logged of others' faults ------------------------------------------------------------------ */

/* A node's slot, or the one that was used the longest ago. */
static unsigned slot_of(const struct transport *t, uint64_t node)
{
    unsigned oldest = 0;
    for (unsigned i = 0; i < SAID_MAX; i++) {
        if (t->said[i].node == node)
            return i;
        if (t->said[i].at_ms < t->said[oldest].at_ms)
            oldest = i;
    }
    return oldest;
}

static bool is_news(struct transport *t, uint64_t node, const char *words)
{
    uint64_t now_ms = uv_now(t->config.loop);
    unsigned i = slot_of(t, node);
    if (t->said[i].node == node && now_ms - t->said[i].at_ms < SAID_AGAIN_MS &&
        strncmp(t->said[i].words, words, sizeof t->said[i].words - 1) == 0)
        return false;
    t->said[i].node = node;
    t->said[i].at_ms = now_ms;
    snprintf(t->said[i].words, sizeof t->said[i].words, "%.95s", words);
    return true;
}

void transport_content(struct conn *c)
{
    struct transport *t = c->t;
    unsigned i = slot_of(t, c->node);
    if (t->said[i].node == c->node)
        t->said[i].words[0] = '\0';
}

static bool within_limit(struct transport *t)
{
    uint64_t now_ms = uv_now(t->config.loop);
    if (t->log_lines == 0 || now_ms - t->log_since_ms >= LOG_WINDOW_MS) {
        if (t->log_left_out > 0)
            log_warn("cluster", "%u more lines about refused connections were left out", t->log_left_out);
        t->log_since_ms = now_ms;
        t->log_lines = t->log_left_out = 0;
    }
    if (t->log_lines++ < LOG_LINES_MAX)
        return true;
    t->log_left_out++;
    return false;
}

void transport_complain(struct conn *c, const char *fmt, ...)
{
    char words[320];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(words, sizeof words, fmt, ap);
    va_end(ap);
    if (c->accepted ? within_limit(c->t) : is_news(c->t, c->node, words))
        log_warn("cluster", "connection %s %s: %s", c->accepted ? "from" : "to", c->where, words);
}

/* ---- listening ----------------------------------------------------------------------------------------- */

/* A plain socket first: then an address in use is found before libuv has a handle that would have to be
 * closed. */
static int open_socket(const struct sockaddr_storage *listen_to, int *out)
{
    int on = 1;
    int fd = socket(listen_to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t len =
        listen_to->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (const struct sockaddr *)listen_to, len) != 0 || listen(fd, 128) != 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    *out = fd;
    return 0;
}

static uint16_t port_of(const struct sockaddr_storage *a)
{
    return ntohs(a->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)a)->sin6_port
                                          : ((const struct sockaddr_in *)a)->sin_port);
}

static void log_cannot_listen(const struct sockaddr_storage *a, int err)
{
    char ip[64] = "?";
    uv_ip_name((const struct sockaddr *)a, ip, sizeof ip);
    log_error("cluster", "cannot listen on %s port %u: %s%s", ip, port_of(a), strerror(-err),
              err == -EADDRINUSE      ? ": does another turnpiked run here?"
              : err == -EADDRNOTAVAIL ? ": the address is not of this machine"
                                      : "");
}

/* ---- libraft's calls ----------------------------------------------------------------------------------- */

static int libraft_init(struct raft_uv_transport *raft, raft_id id, const char *address)
{
    struct transport *t = raft->impl;
    size_t n = strlen(address);
    if (id != t->config.self.node || n == 0 || n > ADDRESS_MAX) {
        snprintf(raft->errmsg, sizeof raft->errmsg, "the certificate is of node %llu",
                 (unsigned long long)t->config.self.node);
        return RAFT_INVALID;
    }
    memcpy(t->address, address, n + 1);
    t->raft_closing = false;
    return 0;
}

static int libraft_listen(struct raft_uv_transport *raft, raft_uv_accept_cb cb)
{
    struct transport *t = raft->impl;
    t->accept_cb = cb;
    return 0;
}

static bool dialling(const struct transport *t)
{
    LIST_EACH(l, &t->conns)
    {
        if (LIST_ITEM(l, struct conn, link)->req != NULL)
            return true;
    }
    return false;
}

static void settle(struct transport *t);

static void on_kick(uv_timer_t *timer)
{
    settle(timer->data);
}

static void libraft_close(struct raft_uv_transport *raft, raft_uv_transport_close_cb cb)
{
    struct transport *t = raft->impl;
    t->raft_closing = true;
    t->raft_closed = cb;
    t->accept_cb = NULL;
    LIST_EACH_SAFE(l, &t->conns)
    {
        struct conn *c = LIST_ITEM(l, struct conn, link);
        if (c->req == NULL)
            continue;
        c->connect_status = RAFT_CANCELED;
        conn_close(c, RAFT_CANCELED);
    }
    uv_timer_start(&t->kick, on_kick, 0, 0);
}

/* ---- the end ------------------------------------------------------------------------------------------- */

static void on_handle_closed(uv_handle_t *h)
{
    struct transport *t = h->data;
    if (--t->handles > 0)
        return;
    LIST_EACH(l, &t->joins)
    LIST_ITEM(l, struct transport_join, link)->t = NULL;
    t->closed(t->closed_ctx);
}

/* Tells whoever waits for connections to be gone. */
static void settle(struct transport *t)
{
    if (t->raft_closed != NULL && !dialling(t)) {
        raft_uv_transport_close_cb cb = t->raft_closed;
        t->raft_closed = NULL;
        cb(&t->raft);
    }
    if (t->closing && t->nconns == 0 && t->raft_closed == NULL && !uv_is_closing((uv_handle_t *)&t->kick))
        uv_close((uv_handle_t *)&t->kick, on_handle_closed);
}

void transport_conn_gone(struct transport *t)
{
    settle(t);
}

void transport_close(struct transport *t, void (*closed)(void *ctx), void *ctx)
{
    ensure(!t->closing);
    t->closing = t->raft_closing = true;
    t->closed = closed;
    t->closed_ctx = ctx;
    uv_close((uv_handle_t *)&t->listener, on_handle_closed);
    LIST_EACH_SAFE(l, &t->conns)
    conn_close(LIST_ITEM(l, struct conn, link), RAFT_CANCELED);
    uv_timer_start(&t->kick, on_kick, 0, 0);
}

void transport_free(struct transport *t)
{
    if (t == NULL)
        return;
    ensure(t->handles == 0);
    transport_tls_fini(t);
    buf_fini(&t->ca);
    free(t);
}

/* ---- the beginning ------------------------------------------------------------------------------------- */

int transport_new(const struct transport_config *config, struct transport **out)
{
    ensure(config->admit != NULL);
    *out = NULL;
    struct transport *t = calloc(1, sizeof *t);
    if (t == NULL)
        return -ENOMEM;
    t->config = *config;
    if (t->config.handshake_ms <= 0)
        t->config.handshake_ms = HANDSHAKE_MS;
    list_init(&t->conns);
    list_init(&t->joins);
    buf_init(&t->ca, 64 << 10);
    int fd = -1;
    int err = buf_put_span(&t->ca, config->ca);
    if (err == 0)
        err = transport_tls_init(t, config->certificate, config->key);
    if (err == 0 && (err = open_socket(&config->listen, &fd)) != 0)
        log_cannot_listen(&config->listen, err);
    if (err != 0) {
        transport_free(t);
        return err;
    }
    /* the spans were the caller's */
    t->config.certificate = t->config.key = t->config.ca = (struct span){ 0 };
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &len) == 0)
        t->port = port_of(&bound);
    t->raft = (struct raft_uv_transport){ .version = 1,
                                          .impl = t,
                                          .init = libraft_init,
                                          .listen = libraft_listen,
                                          .connect = transport_dial,
                                          .close = libraft_close };
    ensure(uv_timer_init(config->loop, &t->kick) == 0);
    ensure(uv_tcp_init(config->loop, &t->listener) == 0);
    t->kick.data = t->listener.data = t;
    t->handles = 2;
    /* the socket is ours, bound and listening: neither can fail for a reason of the environment's */
    ensure(uv_tcp_open(&t->listener, fd) == 0);
    ensure(uv_listen((uv_stream_t *)&t->listener, 128, transport_on_connection) == 0);
    *out = t;
    return 0;
}

struct raft_uv_transport *transport_raft(struct transport *t)
{
    return &t->raft;
}

uint16_t transport_port(const struct transport *t)
{
    return t->port;
}

/* ---- while it runs ------------------------------------------------------------------------------------- */

int transport_set_certificate(struct transport *t, struct span certificate, struct span key)
{
    return transport_tls_init(t, certificate, key);
}

void transport_check_peers(struct transport *t)
{
    LIST_EACH_SAFE(l, &t->conns)
    {
        struct conn *c = LIST_ITEM(l, struct conn, link);
        if ((c->phase != OPEN && c->phase != WELCOME && c->phase != GREETING) ||
            t->config.admit(t->config.ctx, &c->peer, c->sha256))
            continue;
        log_info("cluster", "connection %s %s: ended, node %llu is not admitted any more",
                 c->accepted ? "from" : "to", c->where, (unsigned long long)c->peer.node);
        conn_close(c, RAFT_NOCONNECTION);
    }
}

int64_t transport_pending(const struct transport *t, uint64_t node)
{
    int64_t most = 0;
    LIST_EACH(l, &t->conns)
    {
        const struct conn *c = LIST_ITEM(l, struct conn, link);
        int64_t n = c->accepted || c->node != node ? 0 : conn_pending(c);
        most = n > most ? n : most;
    }
    return most;
}

void transport_cut(struct transport *t, uint64_t node)
{
    LIST_EACH_SAFE(l, &t->conns)
    {
        struct conn *c = LIST_ITEM(l, struct conn, link);
        if (!c->accepted && c->node == node && (c->phase == OPEN || c->phase == LINGER))
            conn_close(c, RAFT_NOCONNECTION);
    }
}

void transport_stats(const struct transport *t, struct transport_stats *out)
{
    *out = t->stats;
    out->connections = 0;
    out->pending_bytes = 0;
    LIST_EACH(l, &t->conns)
    {
        const struct conn *c = LIST_ITEM(l, struct conn, link);
        out->connections += c->phase == OPEN;
        int64_t n = c->accepted ? 0 : conn_pending(c);
        out->pending_bytes = n > out->pending_bytes ? n : out->pending_bytes;
    }
}
