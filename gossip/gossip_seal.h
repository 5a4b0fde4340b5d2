/* One direction of a connection, sealed: AES-256-GCM with a number that counts records, so that a record
 * which was changed, dropped, repeated or moved does not open. Keys are of one connection only. OpenSSL; one
 * thread at a time.
 */
#ifndef GOSSIP_GOSSIP_SEAL_H
#define GOSSIP_GOSSIP_SEAL_H

#include "base/buf.h"
#include "base/span.h"

#include <openssl/evp.h>
#include <stdint.h>

#define GOSSIP_SEAL_KEY_BYTES 32
#define GOSSIP_SEAL_IV_BYTES 12
#define GOSSIP_TAG_BYTES 16

struct gossip_seal {
    EVP_CIPHER_CTX *ctx;
    uint8_t iv[GOSSIP_SEAL_IV_BYTES];
    uint64_t seq;
};

/* ERR_FAILED, -ENOMEM. `sealing`: for gossip_seal_put, else for gossip_seal_open. */
int gossip_seal_init(struct gossip_seal *s, const uint8_t key[GOSSIP_SEAL_KEY_BYTES],
                     const uint8_t iv[GOSSIP_SEAL_IV_BYTES], bool sealing);
void gossip_seal_fini(struct gossip_seal *s);

/* Appends a whole record: length, both parts sealed as one, tag. After an error the seal is of no more use.
 */
int gossip_seal_put(struct gossip_seal *s, struct span head, struct span payload, struct buf *out);
/* A record without its length, opened in place. ERR_DENIED: it is not the next one of this peer. */
int gossip_seal_open(struct gossip_seal *s, uint8_t *record, size_t n, struct span *plain);

#endif
