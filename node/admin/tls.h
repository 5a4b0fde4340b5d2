/* The certificate of the admin API on TCP, for libmicrohttpd, which speaks TLS by GnuTLS. Main thread, but
 * for the call that each handshake makes.
 */
#ifndef NODE_ADMIN_TLS_H
#define NODE_ADMIN_TLS_H

#include "node/admin/ops.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>

/* TLS 1.2 with forward secrecy and authenticated ciphers, and 1.3. */
#define TLS_PRIORITIES                                                                                       \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:-CIPHER-ALL:+AES-256-GCM:+"  \
    "CHACHA20-POLY1305:+AES-128-GCM:%SERVER_PRECEDENCE"

struct tls;

/* One for the process at a time: the handshakes ask for it without an argument. ERR_BAD */
int tls_new(const char *certificate, const char *key, struct tls **out, struct admin_error *e);
/* Connections that there are keep what they have. */
int tls_reload(struct tls *t, const char *certificate, const char *key, struct admin_error *e);
/* After the last handshake. NULL is harmless. */
void tls_free(struct tls *t);

/* A gnutls_certificate_retrieve_function2. */
int tls_certificate(gnutls_session_t session, const gnutls_datum_t *req_ca_rdn, int nreqs,
                    const gnutls_pk_algorithm_t *algos, int nalgos, gnutls_pcert_st **chain,
                    unsigned int *nchain, gnutls_privkey_t *key);

#endif
