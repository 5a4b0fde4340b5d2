/* The cluster's certificate authority: making it, issuing nodes' certificates, reading them. OpenSSL; no I/O
 * but memory. Any thread.
 *
 * One CA per epoch, ECDSA P-256, whose key is stored encrypted (PKCS#8, with the cluster's secret, which is
 * in each voter's identity directory only). Nodes' certificates: CN = node name, subjectAltName =
 * base/peer.h's URI, client and server use, one year; renewed when a third is left.
 */
#ifndef NODE_CLUSTER_CA_H
#define NODE_CLUSTER_CA_H

#include "base/buf.h"
#include "base/peer.h"
#include "base/span.h"

#include <stdint.h>

#define CA_SECRET_BYTES 32
#define CA_CERTIFICATE_DAYS 365

/* A new authority for a cluster and epoch. */
int ca_make(const uint8_t cluster[16], uint32_t epoch, const uint8_t secret[CA_SECRET_BYTES],
            struct buf *certificate, struct buf *encrypted_key);
/* A new key (PEM, P-256) and a certificate request for it. */
int ca_make_request(const char *node_name, struct buf *key, struct buf *request);
/* ERR_BAD: not a request whose signature is right, another kind of key; ERR_DENIED: the secret does not open
 * the key. `days` 0: CA_CERTIFICATE_DAYS. */
int ca_issue(struct span ca_certificate, struct span encrypted_key, const uint8_t secret[CA_SECRET_BYTES],
             struct span request, const struct peer *peer, const char *node_name, int days,
             struct buf *certificate);

struct ca_info {
    struct peer peer;
    char name[64];
    uint8_t sha256[32]; /* of the DER */
    int64_t not_before_ms, not_after_ms;
};
/* ERR_BAD: not PEM, not one of ours. */
int ca_read(struct span certificate, struct ca_info *out);
/* 0: signed by this CA and in its time; ERR_DENIED. */
int ca_verify(struct span ca_certificate, struct span certificate, int64_t now_ms);
int ca_fingerprint(struct span certificate, uint8_t sha256[32]);

#endif
