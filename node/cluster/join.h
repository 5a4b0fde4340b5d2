/* Joining: tokens, the request and its answer (JSON), and the joiner's side of the exchange. The pure parts
 * have no I/O; join_ask blocks (an admin thread).
 *
 * A token is text that is shown once: "tpj1-" and base32 of: its id, a secret, the fingerprint of the CA's
 * certificate, the addresses where to ask. It is good for one node, for an hour unless said otherwise. The
 * cluster keeps a hash of the secret. The first request that uses it binds it to that request: a repeat of
 * the very same request gets the same certificate again, another one is refused.
 *
 * The joiner dials an address of the token by TLS 1.3 (ALPN "turnpike-join/1") without a certificate, and
 * believes the other side only if its chain ends in a CA whose SHA-256 is the token's. Its wall clock must be
 * within five minutes.
 */
#ifndef NODE_CLUSTER_JOIN_H
#define NODE_CLUSTER_JOIN_H

#include "base/buf.h"
#include "base/peer.h"
#include "base/span.h"
#include "node/cluster/ca.h"
#include "node/cluster/identity.h"

#include <stdbool.h>
#include <stdint.h>

#define JOIN_TOKEN_MAX 2048
#define JOIN_SECRET_BYTES 20

struct join_token {
    char id[17]; /* hex */
    uint8_t secret[JOIN_SECRET_BYTES];
    uint8_t ca_sha256[32];
    uint32_t naddresses;
    char addresses[8][128];
};
int join_token_make(struct join_token *t,
                    const uint8_t ca_sha256[32]); /* fresh id and secret, no addresses */
void join_token_format(const struct join_token *t, char out[JOIN_TOKEN_MAX]);
/* ERR_BAD, with one line in `why`: what is wrong with it ("cut off", "a letter is wrong": it has a checksum).
 * Blanks and line breaks in it do no harm, nor does case. */
int join_token_parse(struct span text, struct join_token *out, struct buf *why);
void join_secret_hash(const uint8_t secret[JOIN_SECRET_BYTES], uint8_t sha256[32]);

struct join_request {
    char token_id[17];
    uint8_t secret[JOIN_SECRET_BYTES];
    char name[64], raft_address[128], gossip_address[128], version[32];
    uint32_t features;
    int64_t wall_ms;
    struct span certificate_request; /* PEM */
};
/* Both encoders: ERR_BAD if the decoder would not take it. */
int join_request_encode(const struct join_request *r, struct buf *out);
struct join_request_decoded;
/* ERR_BAD, with one line in `why` (NULL: not wanted). Names and addresses have no characters that could forge
 * a line of a log. */
int join_request_decode(struct span bytes, struct join_request_decoded **out, struct buf *why);
const struct join_request *join_request_of(const struct join_request_decoded *d);
/* Without the wall clock: what a token is bound to. */
void join_request_hash(const struct join_request *r, uint8_t sha256[32]);
/* ERR_DENIED, with the answer's words: the joiner's wall clock is more than JOIN_CLOCK_MS away from now_ms.
 */
#define JOIN_CLOCK_MS (5 * 60 * 1000)
int join_request_check_clock(const struct join_request *r, int64_t now_ms, char words[256]);
void join_request_free(struct join_request_decoded *d);

struct join_answer {
    bool ok;
    char words[256];       /* not ok: why, one line */
    char try_address[128]; /* not ok: ask there instead (the leader); or empty */
    bool retry;            /* not ok: the same again in a moment */
    struct peer self;
    uint8_t slot;
    struct span certificate, ca;
    uint8_t secret[CA_SECRET_BYTES]; /* of the CA's key; all zero: it is not given */
    uint32_t nseeds;
    struct identity_seed seeds[16];
};
int join_answer_encode(const struct join_answer *a, struct buf *out);
struct join_answer_decoded;
int join_answer_decode(struct span bytes, struct join_answer_decoded **out, struct buf *why);
const struct join_answer *join_answer_of(const struct join_answer_decoded *d);
void join_answer_free(struct join_answer_decoded *d);

/* On the wire a request and an answer each have 4 bytes of length (little-endian) before them, and are at
 * most TRANSPORT_JOIN_MAX bytes long (consensus/transport.h).
 *
 * Asks the token's addresses in turn until one answers for good or timeout_ms is over; makes key and request,
 * fills in the identity (which was initialised). One line in `why` for each address that failed, and what to
 * do. ERR_DENIED: the cluster refuses; ERR_TIMEOUT; ERR_BAD: name or addresses; ERR_FAILED: none of the nodes
 * is of that cluster. The process ignores SIGPIPE. */
int join_ask(const struct join_token *t, const char *name, const char *raft_address,
             const char *gossip_address, const char *version, uint32_t features, int64_t timeout_ms,
             struct identity *out, struct buf *why);

#endif
