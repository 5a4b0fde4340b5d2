/* Connections that we make for libraft: look up, connect, handshake, greet, and call back once. The loop's
 * thread. */
#include "consensus/transport_impl.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/text.h"

#include <netinet/in.h>
#include <raft.h>
#include <stdio.h>
#include <string.h>

static void connect_to(struct conn *c, const struct sockaddr *to);
static void on_last_try_closed(uv_handle_t *h);

static void on_connect(uv_connect_t *req, int status)
{
    struct conn *c = req->data;
    if (c->phase == CLOSING)
        return;
    if (status == 0) {
        conn_start_tls(c);
        return;
    }
    if (c->next_address == NULL) {
        transport_complain(c, "cannot be reached: %s", uv_strerror(status));
        conn_close(c, RAFT_NOCONNECTION);
        return;
    }
    uv_close((uv_handle_t *)&c->tcp, on_last_try_closed);
}

static void on_last_try_closed(uv_handle_t *h)
{
    struct conn *c = h->data;
    c->tcp_live = false;
    c->handles--;
    if (c->phase == CLOSING) {
        conn_free_when_closed(c);
        return;
    }
    const struct addrinfo *a = c->next_address;
    c->next_address = a->ai_next;
    connect_to(c, a->ai_addr);
}

static void connect_to(struct conn *c, const struct sockaddr *to)
{
    int err = conn_tcp_init(c);
    if (err == 0)
        err = uv_tcp_connect(&c->connect, &c->tcp, to, on_connect);
    if (err != 0) {
        transport_complain(c, "cannot be reached: %s", uv_strerror(err));
        conn_close(c, RAFT_NOCONNECTION);
    }
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct conn *c = req->data;
    c->resolving = false;
    c->addresses = list;
    if (c->phase == CLOSING) {
        conn_free_when_closed(c);
        return;
    }
    if (status != 0 || list == NULL) {
        transport_complain(c, "cannot be reached: its name has no address: %s", uv_strerror(status));
        conn_close(c, RAFT_NOCONNECTION);
        return;
    }
    c->next_address = list->ai_next;
    connect_to(c, list->ai_addr);
}

/* A literal address needs no thread of libuv's pool, which may be busy with the disk. */
static int start(struct conn *c, const char *host, uint16_t port)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    char service[8];
    if (uv_ip4_addr(host, port, &v4) == 0) {
        connect_to(c, (const struct sockaddr *)&v4);
        return 0;
    }
    if (uv_ip6_addr(host, port, &v6) == 0) {
        connect_to(c, (const struct sockaddr *)&v6);
        return 0;
    }
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    snprintf(service, sizeof service, "%u", port);
    int err = uv_getaddrinfo(c->t->config.loop, &c->resolve, on_resolved, host, service, &hints);
    c->resolving = err == 0;
    return err;
}

int transport_set_address(struct transport *t, uint64_t node, const char *address)
{
    struct span host;
    uint16_t port;
    uint32_t at = ADDRESSES_MAX;
    if (address == NULL) {
        for (uint32_t i = 0; i < ADDRESSES_MAX; i++)
            if (t->moved[i].node == node)
                t->moved[i].node = 0;
        return 0;
    }
    if (node == 0 || strlen(address) > ADDRESS_MAX || text_host_port(span_str(address), &host, &port) != 0)
        return ERR_BAD;
    for (uint32_t i = ADDRESSES_MAX; i-- > 0;)
        if (t->moved[i].node == node ||
            (t->moved[i].node == 0 && (at == ADDRESSES_MAX || t->moved[at].node == 0)))
            at = i;
    if (at == ADDRESSES_MAX)
        return ERR_LIMIT;
    bool known = t->moved[at].node == node, same = known && strcmp(t->moved[at].address, address) == 0;
    t->moved[at].node = node;
    snprintf(t->moved[at].address, sizeof t->moved[at].address, "%s", address);
    if (known && !same)
        transport_cut(t, node);
    return 0;
}

static const char *address_of(const struct transport *t, uint64_t node, const char *otherwise)
{
    for (uint32_t i = 0; i < ADDRESSES_MAX; i++)
        if (t->moved[i].node == node)
            return t->moved[i].address;
    return otherwise;
}

int transport_dial(struct raft_uv_transport *raft, struct raft_uv_connect *req, raft_id id,
                   const char *address, raft_uv_connect_cb cb)
{
    struct transport *t = raft->impl;
    char host[ADDRESS_MAX + 1];
    struct span name;
    uint16_t port;
    if (t->raft_closing || t->closing)
        return RAFT_CANCELED;
    address = address_of(t, id, address);
    if (text_host_port(span_str(address), &name, &port) != 0 || name.n >= sizeof host) {
        snprintf(raft->errmsg, sizeof raft->errmsg, "\"%.127s\" is not an address", address);
        return RAFT_NOCONNECTION;
    }
    memcpy(host, name.p, name.n);
    host[name.n] = '\0';
    struct conn *c = conn_new(t, false, (uint64_t)t->config.handshake_ms);
    if (c == NULL)
        return RAFT_NOMEM;
    snprintf(c->where, sizeof c->where, "node %llu at %.55s", id, address);
    c->node = id;
    req->cb = cb;
    c->connect_cb = cb;
    c->req = req;
    if (start(c, host, port) != 0) {
        c->req = NULL; /* told by the result instead */
        conn_close(c, RAFT_NOCONNECTION);
        return RAFT_NOCONNECTION;
    }
    return 0;
}

void dial_greet(struct conn *c)
{
    const char *address = c->t->address;
    size_t n = strlen(address);
    char hello[4 + 1 + ADDRESS_MAX] = "TPR1";
    ensure(n > 0 && n <= ADDRESS_MAX);
    hello[4] = (char)n;
    memcpy(hello + 5, address, n);
    conn_send(c, hello, 5 + n);
}

void dial_welcomed(struct conn *c, struct span bytes)
{
    uv_stream_t *far;
    if (bytes.n != 1 || bytes.p[0] != 1) {
        transport_complain(c, "it sent garbage after the handshake");
        conn_close(c, RAFT_NOCONNECTION);
        return;
    }
    if (conn_pipe_open(c, &far) != 0) {
        transport_complain(c, "no socket for it");
        conn_close(c, RAFT_NOMEM);
        return;
    }
    conn_pipe_start(c);
    transport_content(c);
    struct raft_uv_connect *req = c->req;
    c->req = NULL;
    c->connect_cb(req, far, 0);
}
