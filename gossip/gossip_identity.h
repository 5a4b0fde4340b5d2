/* Who speaks on a connection: certificates, and the handshake that proves them. OpenSSL; no I/O but memory.
 * One thread at a time.
 *
 * nng 1.5 does not tell whose certificate its TLS has seen, only that the cluster's CA signed it. So each
 * connection begins, inside that TLS, with a handshake of ours in the manner of SIGMA:
 *
 *     dialer -> acceptor   hello: node, to, a fresh X25519 key, a nonce, certificate
 *     acceptor -> dialer   hello, likewise
 *     acceptor -> dialer   sealed: signature
 *     dialer -> acceptor   sealed: signature
 *
 * A signature is the certificate's key over a label with the signer's role and the hash of both hellos: whom
 * it means, on which connection. Keys of both directions come from the X25519 secret and that hash
 * (HKDF-SHA256), and every record after the hellos is sealed with them (gossip_seal.h). So a member that
 * relays another's handshake, or stands between two others at the TLS below, can only pass on bytes that it
 * cannot read, change, repeat or add to; and what was recorded is of no use later.
 */
#ifndef GOSSIP_GOSSIP_IDENTITY_H
#define GOSSIP_GOSSIP_IDENTITY_H

#include "base/buf.h"
#include "base/peer.h"
#include "gossip/gossip_frame.h"
#include "gossip/gossip_seal.h"

#include <openssl/x509.h>
#include <stdint.h>

struct gossip_identity {
    unsigned refs;
    struct peer self;
    X509_STORE *authority;
    EVP_PKEY *key;
    uint8_t *certificate; /* DER */
    int certificate_bytes;
};

/* PEM. ERR_BAD: one of the three cannot be read, or the key is not the certificate's, or no EC key.
 * ERR_DENIED: not signed by `ca`, not in its time, not of `self`. `why` (may be NULL) is set to a few words
 * on error. */
int gossip_identity_new(const struct peer *self, struct span certificate, struct span key, struct span ca,
                        struct gossip_identity **out, const char **why);
struct gossip_identity *gossip_identity_hold(struct gossip_identity *id);
void gossip_identity_rele(struct gossip_identity *id);

struct gossip_handshake {
    struct gossip_identity *id;
    enum gossip_role role;
    EVP_PKEY *ephemeral;
    struct buf hello;       /* ours, encoded */
    uint8_t transcript[32]; /* of both hellos, from gossip_handshake_meet on */
    struct peer peer;       /* whose certificate we saw; proven by gossip_handshake_check */
    uint8_t sha256[32];     /* of that certificate's DER */
    EVP_PKEY *peer_key;
    struct gossip_seal in, out;
};

/* Holds `id`. `to`: the node that is meant. Makes h->hello. */
int gossip_handshake_init(struct gossip_handshake *h, struct gossip_identity *id, enum gossip_role role,
                          uint64_t to);
void gossip_handshake_fini(struct gossip_handshake *h);
/* The other's hello: its certificate is checked, keys are derived. ERR_DENIED or ERR_BAD with `why`. */
int gossip_handshake_meet(struct gossip_handshake *h, struct span hello, const char **why);
int gossip_handshake_sign(struct gossip_handshake *h, struct buf *signature);
/* 0: the peer has the certificate's key, and means this connection. ERR_DENIED. */
int gossip_handshake_check(struct gossip_handshake *h, struct span signature);

#endif
