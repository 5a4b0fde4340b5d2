/* What the files of gossip share: the node's table of peers, its connections, its deadlines. The cluster
 * thread.
 *
 * Between two nodes there is one connection, used both ways; the one with the smaller id dials it. So a pair
 * never has two that compete, and a new one that has proven itself always replaces an old one.
 *
 * Memory: a peer lives until gossip_set_peers takes it away, a connection until its stream's on_closed.
 * Callbacks of the owner may do either at any time: after each of them, look again (conn->phase, conn->peer).
 */
#ifndef GOSSIP_GOSSIP_IMPL_H
#define GOSSIP_GOSSIP_IMPL_H

#include "base/heap.h"
#include "base/list.h"
#include "gossip/gossip.h"
#include "gossip/gossip_frame.h"
#include "gossip/gossip_health.h"
#include "gossip/gossip_identity.h"
#include "gossip/gossip_nng.h"

#define GOSSIP_RECORD_MAX (GOSSIP_FRAME_FIXED + GOSSIP_MESSAGE_MAX + GOSSIP_TAG_BYTES)
#define GOSSIP_RECORD_COST 64          /* of a queued message, beside its payload */
#define GOSSIP_READ_BYTES (16u << 10)  /* TLS gives no more at once */
#define GOSSIP_SIGNATURE_MAX 512       /* with its record's frame and tag */
#define GOSSIP_WRITE_BYTES (64u << 10) /* sealed ahead of nng */
#define GOSSIP_HANDSHAKE_MS 5000       /* from dialling or accepting until both are proven */
#define GOSSIP_RETRY_MIN_MS 100
#define GOSSIP_RETRY_MAX_MS 2000
#define GOSSIP_STRANGERS_MAX 64 /* accepted, not proven yet: above it the oldest goes */
#define GOSSIP_ASKED_MAX                                                                                     \
    4096 /* others' questions that our side has not answered: above it they are refused */
#define GOSSIP_LOG_EVERY_MS 60000

struct gossip_due {
    struct heap_node node;
    void (*fire)(struct gossip_due *due);
    struct gossip *g;
};

enum gossip_phase {
    GOSSIP_DIALING, /* no stream yet */
    GOSSIP_MEETING, /* the other's hello is awaited */
    GOSSIP_PROVING, /* its signature is awaited */
    GOSSIP_OPEN,
    GOSSIP_CLOSING, /* only the stream's end is awaited */
};

struct gossip_conn {
    struct list link; /* gossip.conns */
    struct gossip *g;
    struct gossip_stream *stream;
    struct gossip_node *peer; /* the dialed one from the start, an accepted one when open */
    enum gossip_phase phase;
    bool dialer;
    uint64_t serial;
    struct gossip_due handshake_due;
    struct gossip_handshake hs;
    struct buf in;
    struct buf out; /* sealed */
    size_t out_at;  /* of it, gone */
    bool writing;
    /* To be sent before the queue, the latest of each kind only. */
    struct buf heartbeat;
    uint64_t heartbeat_id, echo_id; /* 0: none */
    struct list queue;
    uint32_t queued;
    size_t queued_bytes;
};

struct gossip_node {
    struct list link; /* gossip.nodes */
    struct gossip *g;
    uint64_t id;
    char address[128];
    struct gossip_pulse pulse;
    int64_t heard_ms, rtt_us;
    uint64_t told_id; /* of our last heartbeat to it, until echoed */
    struct gossip_state state;
    struct gossip_conn *conn; /* dialing or open */
    struct gossip_due retry_due;
    int64_t retry_ms;
    int64_t logged_ms; /* of the last failure told; 0: none since it was connected */
};

struct gossip {
    uv_loop_t *loop;
    const struct gossip_ops *ops;
    void *ctx;
    struct peer self;
    struct gossip_health_rule rule;
    int64_t heartbeat_ms;
    struct gossip_identity *identity;
    struct buf ca; /* PEM */
    struct gossip_net *net;
    uv_timer_t timer;
    struct heap dues;
    struct gossip_due heartbeat_due;
    struct list nodes, conns;
    uint32_t nnodes, strangers;
    uint64_t serial;
    struct gossip_asks *asks;
    struct list asked; /* struct gossip_request */
    uint32_t nasked;
    struct gossip_stats stats;
    int64_t refusal_logged_ms;
    uint32_t refusals_untold;
    bool closing;
    int parts; /* of closing: net, timer */
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* gossip.c */
int64_t gossip_now_ms(const struct gossip *g);
void gossip_due_init(struct gossip_due *due, struct gossip *g, void (*fire)(struct gossip_due *due));
/* 0 or -ENOMEM. */
int gossip_due_set(struct gossip_due *due, int64_t in_ms);
void gossip_due_clear(struct gossip_due *due);
struct gossip_node *gossip_find(const struct gossip *g, uint64_t id);
/* The peer's connection is proven; another that it had is closed. */
void gossip_node_opened(struct gossip_node *n, struct gossip_conn *c);
/* Its connection, or the attempt, is over; err: why, 0 when we ended it. */
void gossip_node_lost(struct gossip_node *n, int err, const char *why);
void gossip_node_heard(struct gossip_node *n, const struct gossip_state *s);
void gossip_node_echoed(struct gossip_node *n, uint64_t id);
void gossip_node_tell(struct gossip_node *n);
/* Somebody was turned away. */
void gossip_refused(struct gossip *g, const char *who, const char *why);

/* gossip_conn.c */
extern const struct gossip_stream_ops gossip_conn_ops;
int gossip_conn_dial(struct gossip_node *n);
void *gossip_conn_accept(void *ctx, struct gossip_stream *s);
/* Ends it, with what is queued; requests of its peer fail. why: for a refusal's line and count; NULL: no
 * refusal. */
void gossip_conn_close(struct gossip_conn *c, int err, const char *why);
/* ERR_CLOSED, ERR_BUSY, ERR_LIMIT (too long), -ENOMEM. */
int gossip_conn_send(struct gossip_conn *c, enum gossip_kind kind, uint16_t type, uint64_t id,
                     struct span payload);
void gossip_conn_beat(struct gossip_conn *c, uint64_t id, struct span state);

/* gossip_request.c */
int gossip_asks_new(struct gossip_asks **out);
void gossip_asks_free(struct gossip_asks *a);
/* Requests to this node, or to all (0), end with ERR_CLOSED. */
void gossip_asks_fail(struct gossip *g, uint64_t node);
void gossip_asks_answered(struct gossip_conn *c, const struct gossip_frame *f);
void gossip_asked(struct gossip_conn *c, const struct gossip_frame *f);
/* What is not answered yet loses its way back. */
void gossip_asked_orphan(struct gossip *g);

#endif
