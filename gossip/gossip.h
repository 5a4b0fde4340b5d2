/* Talk between nodes that is not consensus: heartbeats with each node's state, messages, questions and
 * answers, over mutual TLS. nng carries it (gossip_nng.c is the only file that knows it); its threads only
 * pass on to the loop's inbox. All functions and callbacks: the cluster thread.
 *
 * Connections. Two nodes share one; the one with the smaller id dials it, again after 0.1 to 2 s when it
 * ends. A node that is dead for dead_ms is cut off and dialled anew. Names are resolved at each attempt; of
 * several addresses the resolver's first is taken.
 *
 * Delivery. A message arrives once or not at all; messages of one node to another keep their order while
 * their connection lasts, and what is queued ends with it. Heartbeats pass the queue. Every queue to a peer
 * is bounded (messages and bytes): over it, ERR_BUSY. Nothing here is a promise to anybody: what must be true
 * goes through the log.
 *
 * Identity. A peer is who its certificate says (base/peer.h); another cluster, epoch, a certificate that
 * `admit` does not know or a claim to be another node is refused, and counted. TLS only shows that the
 * cluster's CA signed some certificate; the node itself is proven within it, and every record sealed, as
 * gossip_identity.h says: another member in between can cut a connection, and no more.
 */
#ifndef GOSSIP_GOSSIP_H
#define GOSSIP_GOSSIP_H

#include "base/buf.h"
#include "base/peer.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define GOSSIP_MESSAGE_MAX (1u << 20) /* bytes */
#define GOSSIP_PEERS_MAX 64
#define GOSSIP_QUEUE_MAX 4096 /* messages to one peer */
#define GOSSIP_QUEUE_BYTES (32u << 20)
#define GOSSIP_REQUESTS_MAX 1024 /* of ours, unanswered */

struct gossip;
struct gossip_request; /* somebody's question, to be answered once */

/* What a node says of itself twice a second. Encoding and decoding are pure: gossip_state_encode/_decode. */
struct gossip_state {
    uint64_t node, session;
    uint64_t applied, published; /* published: every worker acts on the state up to it */
    uint64_t digest_index, digest;
    uint64_t leader, term; /* as it sees them */
    uint32_t features;
    bool draining, accepting, quorum, fenced;
    uint64_t queued, held, sessions_in, sessions_out;
    uint64_t accepted_per_min, delivered_per_min;
    uint32_t cpu_permille, disk_free_permille;
    bool disk_low; /* it takes no mail soon for want of room */
    char version[32];
    int64_t wall_ms;         /* its wall clock when it said this; 0: not known */
    uint32_t transfers_late; /* batches of mail that have been on their way for long */
};

/* alive --(no heartbeat for suspect_ms)--> suspect --(none for dead_ms)--> dead; any heartbeat makes it
 * alive. Who was never seen stays so, and is not reported by on_health. Time in which this process stood
 * still does not count. */
enum gossip_health { GOSSIP_NEVER_SEEN, GOSSIP_ALIVE, GOSSIP_SUSPECT, GOSSIP_DEAD };

struct gossip_ops {
    /* The state to tell; called before each heartbeat. */
    void (*fill)(void *ctx, struct gossip_state *s);
    void (*on_state)(void *ctx, const struct gossip_state *s);
    void (*on_health)(void *ctx, uint64_t node, enum gossip_health health);
    void (*on_message)(void *ctx, uint64_t from, uint16_t type, struct span payload);
    /* Answer with gossip_answer, now or later. */
    void (*on_request)(void *ctx, struct gossip_request *r, uint64_t from, uint16_t type,
                       struct span payload);
    bool (*admit)(void *ctx, const struct peer *peer, const uint8_t sha256[32]);
};

struct gossip_config {
    uv_loop_t *loop;
    struct peer self;
    const char *listen;                        /* "127.0.0.1:7302", "[::]:7302" */
    struct span certificate, key, ca;          /* PEM */
    int64_t heartbeat_ms, suspect_ms, dead_ms; /* 0: 500, 2000, 10000 */
    const struct gossip_ops *ops;
    void *ctx;
};
/* The config's memory is borrowed for the call. -EADDRINUSE and the like; ERR_BAD: PEM that cannot be read;
 * ERR_DENIED: a certificate that is not this node's, not signed by the CA, not in its time. The log says
 * which. */
int gossip_new(const struct gossip_config *config, struct gossip **out);
/* The port it listens on, for who asked for port 0. */
int gossip_port(const struct gossip *g);
/* No callback afterwards but ERR_CLOSED to what was asked (at once) and `closed`. gossip_free after `closed`;
 * requests of others may still be answered or ignored after either. */
void gossip_close(struct gossip *g, void (*closed)(void *ctx), void *ctx);
void gossip_free(struct gossip *g);
/* For connections that begin from now on. On error the old one stays. */
int gossip_set_certificate(struct gossip *g, struct span certificate, struct span key);

struct gossip_peer {
    uint64_t node;
    const char *address;
};
/* All the others (this node may be among them); connections to those that are gone end, and what they were
 * asked ends at once with ERR_CLOSED. ERR_LIMIT, ERR_BAD (a node twice, no or too long an address): nothing
 * is changed. */
int gossip_set_peers(struct gossip *g, const struct gossip_peer *peers, uint32_t n);
/* Ends connections of peers that are not admitted any more; likewise. */
void gossip_check_peers(struct gossip *g);

/* ERR_BUSY (queue full), ERR_NOT_FOUND (no such peer), ERR_CLOSED (not connected now), ERR_LIMIT (over
 * GOSSIP_MESSAGE_MAX). */
int gossip_send(struct gossip *g, uint64_t node, uint16_t type, struct span payload);
/* To all peers that are connected; how many. */
uint32_t gossip_send_all(struct gossip *g, uint16_t type, struct span payload);

/* `cb` exactly once: 0 and the answer, ERR_TIMEOUT, ERR_CLOSED (the connection ended, or the peer ignores the
 * question); or at once an error as of gossip_send, without cb. */
typedef void gossip_answer_fn(void *ctx, uint64_t node, int err, struct span answer);
int gossip_ask(struct gossip *g, uint64_t node, uint16_t type, struct span payload, int64_t timeout_ms,
               gossip_answer_fn *cb, void *ctx);
void gossip_answer(struct gossip_request *r, struct span answer);
/* No answer to an asker that need not know why: it gets ERR_CLOSED. */
void gossip_ignore(struct gossip_request *r);

struct gossip_peer_info {
    uint64_t node;
    char address[128];
    enum gossip_health health;
    int64_t heard_ms; /* since; -1: never */
    int64_t rtt_us;   /* of the last heartbeat's echo; -1: unknown */
    bool connected;
    uint32_t queued;
    struct gossip_state state; /* the last one heard */
};
uint32_t gossip_peers(const struct gossip *g, struct gossip_peer_info *out, uint32_t max);

int gossip_state_encode(const struct gossip_state *s, struct buf *out);
int gossip_state_decode(struct span bytes, struct gossip_state *out);

struct gossip_stats {
    uint64_t sent, received; /* messages, questions, answers */
    uint64_t refused;        /* connections: who it was could not be shown, or may not */
    uint64_t dropped;        /* queued when the connection ended; answers and questions that found no room */
    uint64_t bytes_in, bytes_out;
};
void gossip_stats(const struct gossip *g, struct gossip_stats *out);

#endif
