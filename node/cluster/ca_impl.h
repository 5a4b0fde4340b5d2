/* What the files of this folder share about certificates. Nobody else includes it. */
#ifndef NODE_CLUSTER_CA_IMPL_H
#define NODE_CLUSTER_CA_IMPL_H

#include "node/cluster/ca.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>

/* A BIO that reads from the span, which must outlive it. NULL: too long, or no memory. */
BIO *ca_bio(struct span s);
/* For PEM readers: without it OpenSSL would ask the terminal. */
int ca_no_passphrase(char *buf, int size, int rwflag, void *ctx);
/* The first certificate; NULL: there is none. */
X509 *ca_parse(struct span pem);
bool ca_key_is_p256(EVP_PKEY *key);

/* As ca_verify, of parsed certificates; `why` (NULL: not wanted) gets OpenSSL's words. */
int ca_check(X509 *ca, X509 *certificate, int64_t now_ms, const char **why);
/* 0: the private key (PEM) is the certificate's; ERR_BAD. */
int ca_key_matches(struct span certificate, struct span key);

#endif
