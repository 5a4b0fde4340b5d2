/* Connections that others make to us: limits, and handing a peer's to libraft. The loop's thread. */
#include "consensus/transport_impl.h"

#include "base/log.h"

#include <netinet/in.h>
#include <raft.h>
#include <stdio.h>
#include <string.h>

static const char magic[4] = { 'T', 'P', 'R', '1' };

static bool same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    if (a->ss_family != b->ss_family)
        return false;
    if (a->ss_family == AF_INET)
        return memcmp(&((const struct sockaddr_in *)a)->sin_addr, &((const struct sockaddr_in *)b)->sin_addr,
                      sizeof(struct in_addr)) == 0;
    return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr, &((const struct sockaddr_in6 *)b)->sin6_addr,
                  sizeof(struct in6_addr)) == 0;
}

static uint32_t of_host(const struct transport *t, const struct sockaddr_storage *from)
{
    uint32_t n = 0;
    LIST_EACH(l, &t->conns)
    {
        const struct conn *c = LIST_ITEM(l, struct conn, link);
        n += c->accepted && c->phase != CLOSING && same_host(&c->from, from);
    }
    return n;
}

/* So many strangers shall not keep the peers out: who has been in its handshake for the longest makes room.
 * False: all are peers, or joiners whose request we have. */
static bool make_room(struct transport *t)
{
    LIST_EACH(l, &t->conns)
    {
        struct conn *c = LIST_ITEM(l, struct conn, link);
        if (!c->accepted || (c->phase != HANDSHAKE && c->phase != GREETING && c->phase != REQUEST))
            continue;
        t->stats.handshake_failures++;
        transport_complain(c, "it made room for another");
        conn_close(c, 0);
        return true;
    }
    return false;
}

static uint32_t accepted(const struct transport *t)
{
    uint32_t n = 0;
    LIST_EACH(l, &t->conns)
    {
        const struct conn *c = LIST_ITEM(l, struct conn, link);
        n += c->accepted && c->phase != CLOSING;
    }
    return n;
}

static void name_peer(struct conn *c)
{
    int len = sizeof c->from;
    char ip[64] = "?";
    unsigned port = 0;
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&c->from, &len) == 0) {
        bool v6 = c->from.ss_family == AF_INET6;
        uv_ip_name((const struct sockaddr *)&c->from, ip, sizeof ip);
        port = ntohs(v6 ? ((const struct sockaddr_in6 *)&c->from)->sin6_port
                        : ((const struct sockaddr_in *)&c->from)->sin_port);
        snprintf(c->where, sizeof c->where, v6 ? "[%s]:%u" : "%s:%u", ip, port);
    }
}

void transport_on_connection(uv_stream_t *listener, int status)
{
    struct transport *t = listener->data;
    if (status != 0 || t->closing)
        return;
    struct conn *c = conn_new(t, true, (uint64_t)t->config.handshake_ms);
    if (c == NULL) {
        log_error("cluster", "no memory for a connection");
        return;
    }
    if (conn_tcp_init(c) != 0 || uv_accept(listener, (uv_stream_t *)&c->tcp) != 0) {
        conn_close(c, 0);
        return;
    }
    name_peer(c);
    bool crowd = of_host(t, &c->from) > PER_ADDRESS_MAX;
    if (crowd || (accepted(t) > TRANSPORT_CONNECTIONS_MAX && !make_room(t))) {
        t->stats.refused++;
        transport_complain(c, crowd ? "it has too many connections" : "there are too many connections");
        conn_close(c, 0);
        return;
    }
    conn_start_tls(c);
}

/* Admitted: the rest is between it and libraft. */
static void hand_over(struct conn *c, const char *address)
{
    static const char welcome = '\1';
    struct transport *t = c->t;
    uv_stream_t *far;
    if (t->accept_cb == NULL || t->raft_closing) { /* not yet, or not any more: it will dial again */
        conn_close(c, 0);
        return;
    }
    if (conn_pipe_open(c, &far) != 0) {
        transport_complain(c, "no socket for it");
        conn_close(c, 0);
        return;
    }
    conn_pipe_start(c);
    t->stats.accepted++;
    t->accept_cb(&t->raft, c->peer.node, address, far);
    if (c->phase == OPEN)
        conn_send(c, &welcome, 1);
}

static bool address_ok(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] <= ' ' || p[i] > '~')
            return false;
    }
    return n > 0 && n <= ADDRESS_MAX;
}

void accept_greeting(struct conn *c)
{
    size_t head = sizeof magic + 1;
    size_t n = c->in.len > sizeof magic ? (uint8_t)c->in.data[sizeof magic] : 0;
    size_t start = c->in.len < sizeof magic ? c->in.len : sizeof magic;
    bool wrong =
        memcmp(c->in.data, magic, start) != 0 || (c->in.len > sizeof magic && (n == 0 || n > ADDRESS_MAX));
    if (!wrong && c->in.len < head + n + (c->in.len < head))
        return;
    /* nothing may follow before it was welcomed */
    if (wrong || c->in.len != head + n || !address_ok(c->in.data + head, n)) {
        c->t->stats.refused++;
        transport_complain(c, "it sent garbage after the handshake");
        conn_close(c, 0);
        return;
    }
    char address[ADDRESS_MAX + 1];
    memcpy(address, c->in.data + head, n);
    address[n] = '\0';
    buf_reset(&c->in);
    hand_over(c, address);
}
