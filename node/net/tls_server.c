/* Certificates and settings of the server side. Several certificates are told apart by the name that the
 * client asks for; a second one with another kind of key for the same name (RSA beside ECDSA) is served by
 * what the client supports. Any thread, after creation.
 */
#include "node/net/tls_impl.h"

#include "base/err.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct server_cert {
    SSL_CTX *ctx; /* several certificates of different key kinds may share one */
    X509 *leaf;
    char *file;
    int64_t expiry;
};

struct tls_server {
    atomic_uint refs;
    struct tls_tickets *tickets;
    size_t ncerts;
    struct server_cert certs[];
};

/* A connection's SSL keeps its tls_server: a handshake may finish after a reload. */
static int server_index = -1;
static pthread_once_t server_index_once = PTHREAD_ONCE_INIT;

static void server_index_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    (void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
    tls_server_rele(ptr);
}

static void server_index_make(void)
{
    server_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, server_index_free);
}

void tls_ctx_common(SSL_CTX *ctx)
{
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set1_groups_list(ctx, TLS_GROUPS);
}

static int ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                      EVP_MAC_CTX *mac, int encrypt)
{
    struct tls_server *s = SSL_get_ex_data(ssl, server_index);
    return tls_tickets_cipher(s->tickets, ssl, name, iv, cipher, mac, encrypt);
}

/* RFC 6066 section 3. An unknown name gets the first certificate: mail clients often ask for any alias. */
static int on_servername(SSL *ssl, int *alert, void *arg)
{
    (void)alert, (void)arg;
    const struct tls_server *s = SSL_get_ex_data(ssl, server_index);
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (name == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    for (size_t i = 0; i < s->ncerts; i++) {
        if (X509_check_host(s->certs[i].leaf, name, 0, 0, NULL) == 1) {
            SSL_set_SSL_CTX(ssl, s->certs[i].ctx);
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_NOACK;
}

static SSL_CTX *ctx_new(const struct tls_server_config *config, struct buf *why)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL) {
        tls_error_line(NULL, why);
        return NULL;
    }
    tls_ctx_common(ctx);
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_min_proto_version(ctx, config->old_devices ? TLS1_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_dh_auto(ctx, 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"turnpike", 8);
    if (config->tickets != NULL) {
        SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key);
        SSL_CTX_set_num_tickets(ctx, 1);
    } else {
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(ctx, 0);
    }
    SSL_CTX_set_tlsext_servername_callback(ctx, on_servername);
    if (config->old_devices)
        SSL_CTX_set_security_level(ctx, 0);
    const char *ciphers = config->old_devices ? TLS_CIPHERS_OLD : TLS_CIPHERS_STRICT;
    if (config->ciphers != NULL)
        ciphers = config->ciphers;
    if (SSL_CTX_set_cipher_list(ctx, ciphers) != 1) {
        tls_error_line("ciphers", why);
        SSL_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

/* Keys with a passphrase can't be used by a daemon: refuse instead of asking on the terminal. */
static int no_passphrase(char *out, int cap, int rwflag, void *arg)
{
    (void)out, (void)cap, (void)rwflag, (void)arg;
    return -1;
}

static int read_pair(const struct tls_cert_files *files, X509 **leaf, EVP_PKEY **key, struct buf *why)
{
    const char *key_file = files->key == NULL ? files->chain : files->key;
    ERR_clear_error();
    *leaf = NULL;
    *key = NULL;
    BIO *in = BIO_new_file(files->chain, "r");
    if (in != NULL)
        *leaf = PEM_read_bio_X509(in, NULL, no_passphrase, NULL);
    BIO_free(in);
    if (*leaf == NULL) {
        tls_error_line(files->chain, why);
        return ERR_BAD;
    }
    in = BIO_new_file(key_file, "r");
    if (in != NULL)
        *key = PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL);
    BIO_free(in);
    if (*key == NULL) {
        tls_error_line(key_file, why);
        return ERR_BAD;
    }
    if (X509_check_private_key(*leaf, *key) != 1) {
        tls_error_line(key_file, why);
        buf_printf(why, " %s", files->chain);
        return ERR_BAD;
    }
    return 0;
}

/* Whether two certificates may serve the same clients: the same names, by different kinds of keys. */
static bool same_names(X509 *a, X509 *b)
{
    bool same = false;
    GENERAL_NAMES *names = X509_get_ext_d2i(a, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);
        if (n->type != GEN_DNS)
            continue;
        const char *text = (const char *)ASN1_STRING_get0_data(n->d.dNSName);
        same = X509_check_host(b, text, (size_t)ASN1_STRING_length(n->d.dNSName), 0, NULL) == 1;
        if (!same)
            break;
    }
    GENERAL_NAMES_free(names);
    return same && EVP_PKEY_get_base_id(X509_get0_pubkey(a)) != EVP_PKEY_get_base_id(X509_get0_pubkey(b));
}

static SSL_CTX *ctx_for(struct tls_server *s, X509 *leaf, const struct tls_server_config *config,
                        struct buf *why)
{
    for (size_t i = 0; i < s->ncerts; i++) {
        if (same_names(leaf, s->certs[i].leaf)) {
            SSL_CTX_up_ref(s->certs[i].ctx);
            return s->certs[i].ctx;
        }
    }
    return ctx_new(config, why);
}

static int64_t leaf_expiry(const X509 *leaf)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &tm) != 1)
        return 0;
    return (int64_t)timegm(&tm);
}

static int add_cert(struct tls_server *s, const struct tls_cert_files *files,
                    const struct tls_server_config *config, struct buf *why)
{
    X509 *leaf = NULL;
    EVP_PKEY *key = NULL;
    SSL_CTX *ctx = NULL;
    char *file = NULL;
    if (read_pair(files, &leaf, &key, why) != 0 || (ctx = ctx_for(s, leaf, config, why)) == NULL)
        goto fail;
    if (SSL_CTX_use_certificate_chain_file(ctx, files->chain) != 1) {
        tls_error_line(files->chain, why);
        goto fail;
    }
    if (SSL_CTX_use_PrivateKey(ctx, key) != 1) {
        tls_error_line(files->key == NULL ? files->chain : files->key, why);
        goto fail;
    }
    if ((file = strdup(files->chain)) == NULL) {
        buf_put_str(why, "out of memory");
        goto fail;
    }
    EVP_PKEY_free(key);
    s->certs[s->ncerts++] =
        (struct server_cert){ .ctx = ctx, .leaf = leaf, .file = file, .expiry = leaf_expiry(leaf) };
    return 0;
fail:
    SSL_CTX_free(ctx);
    EVP_PKEY_free(key);
    X509_free(leaf);
    return ERR_BAD;
}

int tls_server_new(const struct tls_server_config *config, struct tls_server **out, struct buf *why)
{
    pthread_once(&server_index_once, server_index_make);
    if (config->ncerts == 0 || config->ncerts > TLS_CERTS_MAX || server_index < 0) {
        buf_printf(why, "between 1 and %d certificates are needed", TLS_CERTS_MAX);
        return ERR_BAD;
    }
    struct tls_server *s = calloc(1, sizeof *s + config->ncerts * sizeof *s->certs);
    if (s == NULL) {
        buf_put_str(why, "out of memory");
        return -ENOMEM;
    }
    atomic_init(&s->refs, 1);
    if (config->tickets != NULL) {
        tls_tickets_hold(config->tickets);
        s->tickets = config->tickets;
    }
    for (size_t i = 0; i < config->ncerts; i++) {
        if (add_cert(s, &config->certs[i], config, why) != 0) {
            tls_server_rele(s);
            return ERR_BAD;
        }
    }
    *out = s;
    return 0;
}

void tls_server_hold(struct tls_server *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
}

void tls_server_rele(struct tls_server *s)
{
    if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < s->ncerts; i++) {
        SSL_CTX_free(s->certs[i].ctx);
        X509_free(s->certs[i].leaf);
        free(s->certs[i].file);
    }
    tls_tickets_rele(s->tickets);
    free(s);
}

int64_t tls_server_expiry(const struct tls_server *s, const char **file)
{
    size_t first = 0;
    for (size_t i = 1; i < s->ncerts; i++) {
        if (s->certs[i].expiry < s->certs[first].expiry)
            first = i;
    }
    if (file != NULL)
        *file = s->certs[first].file;
    return s->certs[first].expiry;
}

SSL *tls_server_ssl(struct tls_server *s)
{
    SSL *ssl = SSL_new(s->certs[0].ctx);
    if (ssl == NULL)
        return NULL;
    if (SSL_set_ex_data(ssl, server_index, s) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    tls_server_hold(s);
    SSL_set_accept_state(ssl);
    return ssl;
}
