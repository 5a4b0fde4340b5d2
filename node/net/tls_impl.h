/* What the files of the TLS settings share. Nobody else includes it. */
#ifndef NODE_NET_TLS_IMPL_H
#define NODE_NET_TLS_IMPL_H

#include "node/net/tls.h"

#include <openssl/evp.h>

/* TLS 1.2 and older; what TLS 1.3 offers is fine as it is. Forward secrecy always. */
#define TLS_CIPHERS_STRICT                                                                                   \
    "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:!aNULL:!eNULL:!PSK:!SRP:!aDSS"
/* Opportunistic delivery: an old cipher is better than none. */
#define TLS_CIPHERS_OPPORTUNISTIC TLS_CIPHERS_STRICT ":RSA+AESGCM:RSA+AES"
/* Old devices and servers, which would send in the clear otherwise. */
#define TLS_CIPHERS_OLD "HIGH:MEDIUM:3DES:!aNULL:!eNULL:!PSK:!SRP:!aDSS:!MD5:@SECLEVEL=0"
#define TLS_GROUPS "X25519:P-256:P-384:P-521"

/* Options that every context has: records' memory is given back between records, and nothing that has proved
 * dangerous is on. */
void tls_ctx_common(SSL_CTX *ctx);

/* For SSL_CTX_set_tlsext_ticket_key_evp_cb, of which it has the meaning and results. */
int tls_tickets_cipher(struct tls_tickets *t, const SSL *ssl, unsigned char name[16],
                       unsigned char iv[EVP_MAX_IV_LENGTH], EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                       int encrypt);

#endif
