/* Raft's connections between nodes: mutual TLS 1.3 over TCP, as a raft_uv_transport. Everything on the loop.
 *
 * OpenSSL over memory BIOs on our side of a socketpair; libraft has the other side as an ordinary stream.
 * Both pumps are bounded. The peer's id comes from its certificate (base/peer.h), never from what it says;
 * one that is not of this cluster and epoch, whose certificate `admit` does not know, or that is another node
 * than the one dialled, is refused, logged (with a limit), and the cluster is untouched.
 *
 * Streams that libraft gets end (EOF) when their connection does; it closes and frees them. The process
 * ignores SIGPIPE.
 *
 * The same port takes requests to join, told apart by ALPN: "turnpike-raft/1" wants a client certificate,
 * "turnpike-join/1" takes one request of a client without one, and answers it (node/cluster/join.h).
 */
#ifndef CONSENSUS_TRANSPORT_H
#define CONSENSUS_TRANSPORT_H

#include "base/peer.h"
#include "base/span.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

struct transport;
struct transport_join;
struct raft_uv_transport;

#define TRANSPORT_JOIN_MAX (64u << 10) /* bytes of a request or an answer */
/* Accepted, at once; of one address: 32. At the limit the oldest that is still in its handshake makes room.
 */
#define TRANSPORT_CONNECTIONS_MAX 256

struct transport_config {
    uv_loop_t *loop;
    struct sockaddr_storage listen;
    struct peer self;
    /* PEM. The chain that we show ends with the cluster's CA, so that a joiner can compare its fingerprint.
     */
    struct span certificate, key, ca;
    int64_t handshake_ms; /* 0: 5000 */
    /* Is this certificate (SHA-256 of its DER) one that this node may have now? On the loop. */
    bool (*admit)(void *ctx, const struct peer *peer, const uint8_t sha256[32]);
    /* A request to join; answer it with transport_join_answer, once, now or at any later time on the loop,
     * even if the transport is closed by then. At most 8 are given at a time; the joiner waits for 30 s.
     * NULL: none are taken. */
    void (*on_join)(void *ctx, struct transport_join *j, struct span request, const char *from);
    void *ctx;
};

/* Copies the configuration. It listens from now on, and refuses raft's peers until libraft listens too.
 * Errors (address in use, a bad key) are logged with their words. */
int transport_new(const struct transport_config *config, struct transport **out);
struct raft_uv_transport *transport_raft(struct transport *t);
/* The port that it listens on: of use when the configuration said 0. */
uint16_t transport_port(const struct transport *t);
/* After replica's close; `closed` runs on the loop, then it may be freed. */
void transport_close(struct transport *t, void (*closed)(void *ctx), void *ctx);
void transport_free(struct transport *t);

/* New certificate: for connections from now on. */
int transport_set_certificate(struct transport *t, struct span certificate, struct span key);
/* Ends connections whose peer is not admitted any more. */
void transport_check_peers(struct transport *t);

/* Where a node is dialled from now on, "host:port", whatever address libraft asks for: its configuration keeps
 * the one that a node joined with. A connection to another one ends. NULL: forgotten. ERR_BAD: no address; ERR_LIMIT: too many
 * nodes. */
int transport_set_address(struct transport *t, uint64_t node, const char *address);

/* Bytes that are queued for a node: what libraft wrote and the kernel has not taken. */
int64_t transport_pending(const struct transport *t, uint64_t node);
/* Ends our connections to a node, with what is queued for it; libraft dials anew. */
void transport_cut(struct transport *t, uint64_t node);

/* Frees `j`. An empty answer, or one over TRANSPORT_JOIN_MAX, ends the connection without one. */
void transport_join_answer(struct transport_join *j, struct span answer);

struct transport_stats {
    uint64_t accepted;           /* raft's peers that were admitted */
    uint64_t refused;            /* not admitted, or over a limit */
    uint64_t handshake_failures; /* of TLS, and too slow */
    uint64_t bytes_in, bytes_out;
    uint32_t connections;  /* both ways */
    int64_t pending_bytes; /* most that is queued for one peer */
};
void transport_stats(const struct transport *t, struct transport_stats *out);

#endif
