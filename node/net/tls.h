/* TLS settings: certificates, versions, verification, resumption; and OpenSSL's errors as one line of text.
 * The handshake and the records are stream's. Nothing here does network I/O.
 *
 * The objects are shared by reference count. A reload makes a new tls_server and releases the old one; its
 * connections keep what they use. After creation everything here may be called from any thread.
 */
#ifndef NODE_NET_TLS_H
#define NODE_NET_TLS_H

#include "base/buf.h"
#include "base/span.h"
#include "node/tlspolicy/tlsa.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Keys that seal session tickets, made at random and renewed every 12 h; a ticket lives through one renewal.
 * Kept apart from tls_server so that resumption survives a reload. */
struct tls_tickets;
int tls_tickets_new(struct tls_tickets **out);
void tls_tickets_hold(struct tls_tickets *t);
void tls_tickets_rele(struct tls_tickets *t);

struct tls_cert_files {
    const char *chain; /* PEM: the certificate, then its intermediates */
    const char *key;   /* PEM, without a passphrase; NULL: in the chain file */
};

#define TLS_CERTS_MAX 64

struct tls_server_config {
    const struct tls_cert_files *certs; /* the first one serves clients that name nobody we know */
    size_t ncerts;                      /* 1 to TLS_CERTS_MAX */
    bool old_devices;                   /* TLS 1.0 and up at OpenSSL's security level 0, instead of TLS 1.2 */
    const char *ciphers;                /* TLS 1.2 and older, OpenSSL's syntax; NULL: ours */
    struct tls_tickets *tickets;        /* NULL: no resumption; held */
};

struct tls_server;
/* 0 or ERR_BAD with one line in `why`: file and reason. Reads the files at once. */
int tls_server_new(const struct tls_server_config *config, struct tls_server **out, struct buf *why);
void tls_server_hold(struct tls_server *s);
void tls_server_rele(struct tls_server *s);
/* The earliest end of a certificate in it, seconds since 1970, and that one's file: for warnings and metrics.
 */
int64_t tls_server_expiry(const struct tls_server *s, const char **file);
/* For stream: a new connection's state, or NULL. */
SSL *tls_server_ssl(struct tls_server *s);

struct tls_client_config {
    const char *ca_file;    /* PEM; NULL: the system's */
    const char *ciphers;    /* as above */
    const char *cert, *key; /* a client certificate, or NULL */
    uint32_t sessions_max;  /* sites whose session is remembered; the longest unused goes first; 0: none */
};

enum tls_verify {
    TLS_VERIFY_NOTE, /* opportunistic: go on whatever the certificate says, and record it */
    TLS_VERIFY_NAME, /* a chain to a trusted CA, and `verify_name` in the certificate, or the handshake fails
                      */
    TLS_VERIFY_DANE, /* one of the TLSA records, or the handshake fails (RFC 7672 section 3) */
};

struct tls_peer { /* borrowed for the call */
    const char
        *sni; /* also the name that is looked for when verify_name is NULL; NULL: none sent (literals) */
    const char *verify_name;
    const struct tlsa_set *tlsa; /* DANE; sni is the TLSA base domain */
    const char *also_names[2];   /* DANE: other names that a certificate below a DANE-TA may have, or NULL */
    enum tls_verify verify;
    bool old_servers;        /* allow TLS 1.0 and weak keys: the second try of opportunistic TLS */
    struct span session_key; /* under which the session is remembered (site and MX host); empty: not */
};

struct tls_client;
int tls_client_new(const struct tls_client_config *config, struct tls_client **out, struct buf *why);
void tls_client_hold(struct tls_client *c);
void tls_client_rele(struct tls_client *c);
SSL *tls_client_ssl(struct tls_client *c, const struct tls_peer *peer);
/* Sessions remembered now. */
uint32_t tls_client_sessions(struct tls_client *c);

/* What a finished handshake agreed on. */
struct tls_info {
    char version[16]; /* "TLSv1.3" */
    char cipher[48];  /* "TLS_AES_256_GCM_SHA384" */
    int bits;
    bool resumed;
    bool verified;         /* client side: trusted chain and name, or a TLSA record */
    int dane_usage;        /* client side: of the TLSA record that matched; -1: none */
    char verify_error[96]; /* why not, when not verified */
    char sni[256];         /* server side: the name that the client asked for; may be empty */
};

void tls_info_get(const SSL *ssl, struct tls_info *info);
/* "TLSv1.3 TLS_AES_256_GCM_SHA384", and ", DANE-EE verified" where a record matched; out of 80 bytes. */
const char *tls_info_format(const struct tls_info *info, char out[80]);

/* Appends the reason that is in OpenSSL's error queue to `why`, as one line without control characters, after
 * "file: " when file is not NULL, and empties the queue. */
void tls_error_line(const char *file, struct buf *why);

#endif
