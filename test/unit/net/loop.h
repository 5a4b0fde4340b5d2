/* A loop with a listener on 127.0.0.1, and ends of connections that record what happens to them. */
#ifndef TEST_UNIT_NET_LOOP_H
#define TEST_UNIT_NET_LOOP_H

#include "base/buf.h"
#include "node/net/stream.h"

struct end;

struct net {
    uv_loop_t uv;
    struct timers timers;
    struct stream_loop streams;
    struct stream_listener listener;
    struct ip_addr addr;
    uint16_t port;
    struct end *accept; /* takes the next connection; NULL: it is left alone */
    int accepted;
    uv_timer_t guard;
    bool late;
};

struct end {
    struct net *net;
    struct stream *s; /* NULL before and after its life */
    struct buf got;   /* consumed by on_data */
    size_t take;      /* consume at most that many each time; SIZE_MAX: all */
    int calls;        /* of on_data */
    size_t last_n;    /* offered in the last one */
    int opened, writable, closed;
    int tls_called;
    bool tls_ok;
    char why[256];
    int err; /* of on_closed */
    /* called inside the callbacks, when not NULL */
    void (*in_data)(struct end *e);
    void (*in_open)(struct end *e);
    void (*in_writable)(struct end *e);
    void (*in_tls)(struct end *e);
    void (*in_closed)(struct end *e);
};

extern const struct stream_ops end_ops;

void net_open(struct net *n);
/* Every stream must be gone, or on its way: all memory is given back and the loop is empty. */
void net_close(struct net *n);

void end_init(struct end *e, struct net *n);
void end_fini(struct end *e);
/* Both ends of a fresh connection. */
void net_pair(struct net *n, struct end *client, struct end *server);
void end_connect(struct end *e);
/* A blocking socket, connected to the listener (`server` accepts it). */
int net_raw(struct net *n, struct end *server);

/* Runs the loop until it is true; fails the test after 10 s. */
typedef bool net_until_fn(void *arg);
void net_until(struct net *n, net_until_fn *fn, void *arg);
void net_run_ms(struct net *n, unsigned ms);

bool end_is_closed(void *end);
bool end_is_open(void *end);
bool end_has_tls(void *end);
/* As end->got: at least `want` bytes. */
struct end_wants {
    struct end *e;
    size_t n;
};
bool end_has(void *wants);
void end_expect(struct end *e, const char *text); /* waits for, and then takes away, exactly that */
void end_write(struct end *e, const char *text);

#endif
