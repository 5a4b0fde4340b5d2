/* Authorities and nodes' certificates for tests, made in memory. */
#ifndef TEST_UNIT_GOSSIP_CERTS_H
#define TEST_UNIT_GOSSIP_CERTS_H

#include "base/buf.h"
#include "base/peer.h"

#include <openssl/x509.h>

struct authority {
    EVP_PKEY *key;
    X509 *x;
    struct buf pem;
};
void authority_make(struct authority *a);
void authority_fini(struct authority *a);

struct leaf {
    struct buf certificate, key; /* PEM */
};
/* For this node, good for `days` from now (negative: it ended so long ago). Two calls for one node give two
 * certificates with two keys. */
void leaf_make(struct leaf *l, const struct authority *a, const struct peer *p, int days);
void leaf_fini(struct leaf *l);

#endif
