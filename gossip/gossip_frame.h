/* What travels on a connection between nodes, written and read. Pure. Little-endian.
 *
 *     record    u32 length, then that many bytes
 *     hello     the first record each way: magic, role, node, to, key, nonce, certificate (DER)
 *     frame     what every later record holds once it is opened (gossip_seal.h):
 *               u8 kind, u16 type, u64 id, the payload to the end
 */
#ifndef GOSSIP_GOSSIP_FRAME_H
#define GOSSIP_GOSSIP_FRAME_H

#include "base/buf.h"
#include "base/span.h"

#include <stdint.h>

#define GOSSIP_LENGTH_BYTES 4
#define GOSSIP_HELLO_MAX 8192 /* bytes; a certificate of ours has about 600 */
#define GOSSIP_KEY_BYTES 32
#define GOSSIP_NONCE_BYTES 32
#define GOSSIP_FRAME_FIXED 11 /* bytes before the payload */

enum gossip_role { GOSSIP_DIALER = 1, GOSSIP_ACCEPTOR = 2 };

struct gossip_hello {
    uint8_t role;
    uint64_t node, to; /* who speaks, and whom it means to speak with */
    uint8_t key[GOSSIP_KEY_BYTES];
    uint8_t nonce[GOSSIP_NONCE_BYTES];
    struct span certificate;
};
int gossip_hello_encode(const struct gossip_hello *h, struct buf *out);
/* ERR_TORN, ERR_BAD. Spans point into `bytes`. */
int gossip_hello_decode(struct span bytes, struct gossip_hello *out);

enum gossip_kind {
    GOSSIP_AUTH = 1,  /* payload: signature */
    GOSSIP_HEARTBEAT, /* id: the sender's clock; payload: gossip_state */
    GOSSIP_ECHO,      /* id: of the heartbeat */
    GOSSIP_MESSAGE,
    GOSSIP_REQUEST, /* id: the asker's */
    GOSSIP_ANSWER,  /* id: of the request */
    GOSSIP_REFUSAL, /* likewise: there will be no answer */
};

struct gossip_frame {
    uint8_t kind;
    uint16_t type;
    uint64_t id;
    struct span payload;
};
void gossip_frame_head(const struct gossip_frame *f, uint8_t out[GOSSIP_FRAME_FIXED]);
/* ERR_TORN; ERR_BAD: no such kind, a payload that this kind does not have or that is over GOSSIP_MESSAGE_MAX.
 */
int gossip_frame_decode(struct span bytes, struct gossip_frame *out);

/* The length of the record that `bytes` begins with: 0, ERR_TORN (not all of it yet; *record_bytes is set if
 * known, else 0), ERR_LIMIT (over max). */
int gossip_record_length(struct span bytes, size_t max, size_t *record_bytes);

#endif
