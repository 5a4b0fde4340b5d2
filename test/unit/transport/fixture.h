/* Nodes of a cluster in one loop, each with its transport, used as libraft would use it. */
#ifndef TEST_UNIT_TRANSPORT_FIXTURE_H
#define TEST_UNIT_TRANSPORT_FIXTURE_H

#include "base/buf.h"
#include "consensus/transport.h"
#include "node/cluster/ca.h"

#include <raft.h>
#include <raft/uv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* A cluster's authority. */
struct authority {
    uint8_t cluster[16];
    uint32_t epoch;
    uint8_t secret[CA_SECRET_BYTES];
    struct buf ca, ca_key;
};
void authority_init(struct authority *a, uint8_t cluster, uint32_t epoch);
void authority_fini(struct authority *a);

struct paper {
    struct peer peer;
    struct buf certificate, key;
};
void paper_init(struct paper *p, const struct authority *a, uint64_t node);
void paper_fini(struct paper *p);
/* Its time is over. */
void paper_expire(struct paper *p, const struct authority *a);

struct net {
    uv_loop_t loop;
    uv_timer_t beat;
};
void net_init(struct net *net);
void net_fini(struct net *net); /* every handle is closed, or the test fails */
typedef bool net_until_fn(void *arg);
/* Runs the loop until it is true; fails the test after 60 s. */
void net_until(struct net *net, net_until_fn *fn, void *arg);

/* One end that libraft has. */
struct end {
    uv_stream_t *stream; /* NULL: closed */
    uint64_t got;        /* bytes */
    uint64_t sum;        /* of their values, each by its place */
    bool ended;          /* EOF or an error was read */
    int written, cancelled;
    raft_id id;
    char address[128];
};
void end_close(struct end *e);
/* 8-byte messages would do for raft: any bytes. The buffer stays. */
void end_write(struct end *e, const void *p, size_t n);
void end_read(struct end *e);
uint64_t sum_of(const void *p, size_t n, uint64_t at);

struct node {
    struct net *net;
    struct transport *t;
    struct raft_uv_transport *raft;
    uint64_t admit_only; /* of nodes; 0: all */
    uint8_t admit_sha256[32];
    bool admit_by_sha256;
    struct end accepted[8];
    int naccepted;
    bool paused; /* does not read what it accepts */
    int raft_closed, closed;
    void (*on_join)(struct node *n, struct transport_join *j, struct span request, const char *from);
    void *arg;
    char address[32]; /* where it listens */
};
/* `handshake_ms` 0: 10000. The first leaves it to libraft itself to use the transport; then raft_closed is set
 * by the test. */
void node_open(struct node *n, struct net *net, const struct authority *a, const struct paper *p,
               int handshake_ms);
void node_init(struct node *n, struct net *net, const struct authority *a, const struct paper *p,
               int handshake_ms);
/* As libraft and then the replica's owner: closes all and frees. */
void node_fini(struct node *n);

struct dial {
    struct raft_uv_connect req;
    int calls, status;
    struct end end;
};
void dial_start(struct dial *d, struct node *from, uint64_t id, const char *address);
bool dial_done(void *dial);
/* Waits for the callback. */
void dial_wait(struct dial *d, struct node *from, uint64_t id, const char *address);

struct transport_stats node_stats(const struct node *n);

#endif
