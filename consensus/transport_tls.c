/* The transport's TLS: contexts, and who the other side is. TLS 1.3 only, no sessions are kept. The loop's
 * thread. */
#include "consensus/transport_impl.h"

#include "base/err.h"
#include "base/log.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

static const unsigned char alpn_raft[] = "\x0fturnpike-raft/1", alpn_join[] = "\x0fturnpike-join/1";
#define ALPN_BYTES (sizeof alpn_raft - 1)

static int no_passphrase(char *buf, int size, int rwflag, void *ctx)
{
    (void)buf, (void)size, (void)rwflag, (void)ctx;
    return -1;
}

static X509 *parse_certificate(struct span pem)
{
    BIO *bio = pem.n == 0 || pem.n > INT_MAX ? NULL : BIO_new_mem_buf(pem.p, (int)pem.n);
    X509 *x = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    return x;
}

static EVP_PKEY *parse_key(struct span pem)
{
    BIO *bio = pem.n == 0 || pem.n > INT_MAX ? NULL : BIO_new_mem_buf(pem.p, (int)pem.n);
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    return key;
}

/* A joiner has no certificate and is asked for none; who offers no protocol of ours is asked, and refused
 * later. */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *n, const unsigned char *offered,
                       unsigned noffered, void *arg)
{
    const struct transport *t = arg;
    unsigned char *chosen = NULL;
    if (SSL_select_next_proto(&chosen, n, alpn_raft, ALPN_BYTES, offered, noffered) ==
        OPENSSL_NPN_NEGOTIATED) {
        *out = alpn_raft + 1;
        return SSL_TLSEXT_ERR_OK;
    }
    if (t->config.on_join == NULL || t->closing ||
        SSL_select_next_proto(&chosen, n, alpn_join, ALPN_BYTES, offered, noffered) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = alpn_join + 1;
    SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL);
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *make_context(struct transport *t, bool server, X509 *certificate, EVP_PKEY *key, X509 *ca)
{
    SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_use_certificate(ctx, certificate) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1 ||
        SSL_CTX_check_private_key(ctx) != 1 || SSL_CTX_add1_chain_cert(ctx, ca) != 1 ||
        X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca) != 1 || SSL_CTX_set_num_tickets(ctx, 0) != 1) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_max_cert_list(ctx, 16 << 10);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    if (server) {
        SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, t);
    } else if (SSL_CTX_set_alpn_protos(ctx, alpn_raft, ALPN_BYTES) != 0) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

int transport_tls_init(struct transport *t, struct span certificate, struct span key)
{
    ERR_clear_error();
    X509 *x = parse_certificate(certificate), *ca = parse_certificate(buf_span(&t->ca));
    EVP_PKEY *k = parse_key(key);
    SSL_CTX *server = NULL, *client = NULL;
    if (x != NULL && ca != NULL && k != NULL) {
        server = make_context(t, true, x, k, ca);
        client = make_context(t, false, x, k, ca);
    }
    bool ok = server != NULL && client != NULL;
    if (!ok) {
        char words[160];
        transport_tls_words(NULL, words, sizeof words);
        log_error("cluster", "this node's certificate and key cannot be used: %s%s",
                  x == NULL    ? "no certificate: "
                  : ca == NULL ? "no authority: "
                  : k == NULL  ? "no key: "
                               : "",
                  words);
        SSL_CTX_free(server);
        SSL_CTX_free(client);
    } else {
        transport_tls_fini(t); /* connections that have them keep the old ones */
        t->server = server;
        t->client = client;
    }
    X509_free(x);
    X509_free(ca);
    EVP_PKEY_free(k);
    ERR_clear_error();
    return ok ? 0 : ERR_BAD;
}

void transport_tls_fini(struct transport *t)
{
    SSL_CTX_free(t->server);
    SSL_CTX_free(t->client);
    t->server = t->client = NULL;
}

SSL *transport_tls_new(struct transport *t, bool accepted)
{
    SSL *ssl = SSL_new(accepted ? t->server : t->client);
    if (ssl == NULL)
        return NULL;
    if (accepted)
        SSL_set_accept_state(ssl);
    else
        SSL_set_connect_state(ssl);
    return ssl;
}

enum transport_alpn transport_tls_alpn(const SSL *ssl)
{
    const unsigned char *p = NULL;
    unsigned n = 0;
    SSL_get0_alpn_selected(ssl, &p, &n);
    if (n != ALPN_BYTES - 1)
        return ALPN_NONE;
    return memcmp(p, alpn_raft + 1, n) == 0   ? ALPN_RAFT
           : memcmp(p, alpn_join + 1, n) == 0 ? ALPN_JOIN
                                              : ALPN_NONE;
}

/* The one name in subjectAltName is the peer. */
static bool read_peer(X509 *x, struct peer *out)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    bool ok = false;
    if (names != NULL && sk_GENERAL_NAME_num(names) == 1) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, 0);
        if (name->type == GEN_URI) {
            const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
            ok = peer_uri_parse(span_of(ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri)), out) ==
                 0;
        }
    }
    GENERAL_NAMES_free(names);
    return ok;
}

bool transport_tls_identify(struct conn *c)
{
    const struct transport *t = c->t;
    const struct peer *self = &t->config.self;
    X509 *x = SSL_get0_peer_certificate(c->ssl);
    unsigned n = 0;
    if (x == NULL || SSL_get_verify_result(c->ssl) != X509_V_OK || !read_peer(x, &c->peer) ||
        X509_digest(x, EVP_sha256(), c->sha256, &n) != 1 || n != sizeof c->sha256) {
        transport_complain(c, "its certificate is not a node's");
        return false;
    }
    if (memcmp(c->peer.cluster, self->cluster, sizeof self->cluster) != 0) {
        transport_complain(c, "it is a node of another cluster");
        return false;
    }
    if (c->peer.epoch != self->epoch) {
        transport_complain(
            c,
            c->peer.epoch < self->epoch
                ? "it is of epoch %u of this cluster, which was recovered without it (we are of epoch %u)"
                : "it is of epoch %u of this cluster, which was recovered without this node (of epoch %u)",
            c->peer.epoch, self->epoch);
        return false;
    }
    if (c->peer.node == self->node) {
        transport_complain(c, "it has a certificate of this very node: was its disk copied?");
        return false;
    }
    if (!c->accepted && c->peer.node != c->node) {
        transport_complain(c, "node %llu answers where node %llu was expected",
                           (unsigned long long)c->peer.node, (unsigned long long)c->node);
        return false;
    }
    if (!t->config.admit(t->config.ctx, &c->peer, c->sha256)) {
        transport_complain(c, "node %llu is not a member, or has a newer certificate",
                           (unsigned long long)c->peer.node);
        return false;
    }
    return true;
}

void transport_tls_words(const SSL *ssl, char *out, size_t cap)
{
    unsigned long e = ERR_peek_last_error();
    const char *words = ERR_reason_error_string(e);
    bool judged =
        ssl != NULL && ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    snprintf(out, cap, "%s%s%s", words == NULL ? "OpenSSL failed" : words, judged ? ": " : "",
             judged ? X509_verify_cert_error_string(SSL_get_verify_result(ssl)) : "");
}
