/* Settings of the client side, and the sessions that are remembered for resumption.
 *
 * A session remembers how its certificate was judged, and resuming it judges nothing again. So a session is
 * only used for connections that ask for the same judgement: mode and name are part of its key. Any thread.
 */
#include "node/net/tls_impl.h"

#include "base/err.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct client_session {
    struct list link; /* by last use, oldest first */
    SSL_SESSION *session;
    size_t key_len;
    char key[];
};

struct tls_client {
    atomic_uint refs;
    SSL_CTX *ctx;
    uint32_t sessions_max;
    bool own_ciphers;
    pthread_mutex_t lock;
    struct map sessions; /* under lock, as is the list */
    struct list by_use;
};

/* What a connection's SSL carries to find its place among the sessions. */
struct client_conn {
    struct tls_client *client;
    size_t key_len;
    char key[];
};

static int conn_index = -1;
static pthread_once_t conn_index_once = PTHREAD_ONCE_INIT;

static void conn_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    (void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
    struct client_conn *conn = ptr;
    if (conn == NULL)
        return;
    tls_client_rele(conn->client);
    free(conn);
}

static void conn_index_make(void)
{
    conn_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, conn_free);
}

static uint64_t session_hash(const void *item)
{
    const struct client_session *cs = item;
    return hash_bytes(cs->key, cs->key_len);
}

static bool session_match(const void *item, const void *key)
{
    const struct client_session *cs = item;
    return span_eq(span_of(cs->key, cs->key_len), *(const struct span *)key);
}

/* Under the lock. */
static void session_drop(struct tls_client *c, struct client_session *cs)
{
    list_remove(&cs->link);
    map_remove(&c->sessions, session_hash(cs), cs);
    SSL_SESSION_free(cs->session);
    free(cs);
}

/* Under the lock. Takes the session on success. */
static bool session_put(struct tls_client *c, struct span key, SSL_SESSION *session)
{
    uint64_t hash = hash_bytes(key.p, key.n);
    struct client_session *cs = map_find(&c->sessions, hash, &key);
    if (cs != NULL) {
        SSL_SESSION_free(cs->session);
        cs->session = session;
        list_remove(&cs->link);
        list_push_back(&c->by_use, &cs->link);
        return true;
    }
    while (c->sessions.len >= c->sessions_max)
        session_drop(c, LIST_ITEM(list_first(&c->by_use), struct client_session, link));
    cs = calloc(1, sizeof *cs + key.n);
    if (cs == NULL)
        return false;
    cs->key_len = key.n;
    memcpy(cs->key, key.p, key.n);
    if (map_add(&c->sessions, hash, cs) != 0) {
        free(cs);
        return false;
    }
    cs->session = session;
    list_push_back(&c->by_use, &cs->link);
    return true;
}

/* OpenSSL has a session worth keeping (with TLS 1.3 some time after the handshake). 1: we took it. */
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct client_conn *conn = SSL_get_ex_data(ssl, conn_index);
    if (conn == NULL || conn->key_len == 0 || SSL_SESSION_is_resumable(session) != 1)
        return 0;
    struct tls_client *c = conn->client;
    pthread_mutex_lock(&c->lock);
    bool kept = session_put(c, span_of(conn->key, conn->key_len), session);
    pthread_mutex_unlock(&c->lock);
    return kept ? 1 : 0;
}

static void session_use(struct tls_client *c, struct span key, SSL *ssl)
{
    pthread_mutex_lock(&c->lock);
    struct client_session *cs = map_find(&c->sessions, hash_bytes(key.p, key.n), &key);
    SSL_SESSION *session = NULL;
    if (cs != NULL && SSL_SESSION_is_resumable(cs->session) == 1) {
        session = cs->session;
        SSL_SESSION_up_ref(session);
        list_remove(&cs->link);
        list_push_back(&c->by_use, &cs->link);
    } else if (cs != NULL) {
        session_drop(c, cs);
    }
    pthread_mutex_unlock(&c->lock);
    if (session != NULL) {
        SSL_set_session(ssl, session);
        SSL_SESSION_free(session);
    }
}

static int ctx_setup(struct tls_client *c, const struct tls_client_config *config, struct buf *why)
{
    c->ctx = SSL_CTX_new(TLS_client_method());
    if (c->ctx == NULL) {
        tls_error_line(NULL, why);
        return ERR_FAILED;
    }
    tls_ctx_common(c->ctx);
    if (SSL_CTX_dane_enable(c->ctx) != 1) {
        tls_error_line("DANE", why);
        return ERR_FAILED;
    }
    SSL_CTX_set_min_proto_version(c->ctx, TLS1_2_VERSION);
    SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c->ctx, on_new_session);
    const char *ciphers = config->ciphers == NULL ? TLS_CIPHERS_OPPORTUNISTIC : config->ciphers;
    if (SSL_CTX_set_cipher_list(c->ctx, ciphers) != 1) {
        tls_error_line("ciphers", why);
        return ERR_BAD;
    }
    int ok = config->ca_file == NULL ? SSL_CTX_set_default_verify_paths(c->ctx)
                                     : SSL_CTX_load_verify_locations(c->ctx, config->ca_file, NULL);
    if (ok != 1) {
        tls_error_line(config->ca_file == NULL ? "the system's CAs" : config->ca_file, why);
        return ERR_BAD;
    }
    if (config->cert == NULL)
        return 0;
    if (SSL_CTX_use_certificate_chain_file(c->ctx, config->cert) != 1) {
        tls_error_line(config->cert, why);
        return ERR_BAD;
    }
    const char *key = config->key == NULL ? config->cert : config->key;
    if (SSL_CTX_use_PrivateKey_file(c->ctx, key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(c->ctx) != 1) {
        tls_error_line(key, why);
        return ERR_BAD;
    }
    return 0;
}

int tls_client_new(const struct tls_client_config *config, struct tls_client **out, struct buf *why)
{
    pthread_once(&conn_index_once, conn_index_make);
    struct tls_client *c = calloc(1, sizeof *c);
    if (c == NULL) {
        buf_put_str(why, "out of memory");
        return -ENOMEM;
    }
    atomic_init(&c->refs, 1);
    c->sessions_max = config->sessions_max;
    c->own_ciphers = config->ciphers != NULL;
    pthread_mutex_init(&c->lock, NULL);
    map_init(&c->sessions, session_hash, session_match);
    list_init(&c->by_use);
    ERR_clear_error();
    int err = ctx_setup(c, config, why);
    if (err != 0) {
        tls_client_rele(c);
        return err;
    }
    *out = c;
    return 0;
}

void tls_client_hold(struct tls_client *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
}

void tls_client_rele(struct tls_client *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (struct list *l; (l = list_first(&c->by_use)) != NULL;)
        session_drop(c, LIST_ITEM(l, struct client_session, link));
    map_fini(&c->sessions);
    pthread_mutex_destroy(&c->lock);
    SSL_CTX_free(c->ctx);
    free(c);
}

uint32_t tls_client_sessions(struct tls_client *c)
{
    pthread_mutex_lock(&c->lock);
    uint32_t n = (uint32_t)c->sessions.len;
    pthread_mutex_unlock(&c->lock);
    return n;
}

/* The session's key: judgement asked for, name judged by, then the caller's key. */
static bool conn_attach(struct tls_client *c, SSL *ssl, const struct tls_peer *peer, const char *name)
{
    char head[300];
    int n = snprintf(head, sizeof head, "%c%c%s|", peer->verify == TLS_VERIFY_NAME ? 'v' : 'n',
                     peer->old_servers ? 'o' : '-', name == NULL ? "" : name);
    if (n < 0 || (size_t)n >= sizeof head)
        return false;
    /* what was judged by other TLSA records must not be resumed */
    bool remember = peer->session_key.n > 0 && c->sessions_max > 0 && peer->verify != TLS_VERIFY_DANE;
    size_t key_len = remember ? (size_t)n + peer->session_key.n : 0;
    struct client_conn *conn = calloc(1, sizeof *conn + key_len);
    if (conn == NULL)
        return false;
    if (remember) {
        memcpy(conn->key, head, (size_t)n);
        memcpy(conn->key + n, peer->session_key.p, peer->session_key.n);
    }
    conn->key_len = key_len;
    if (SSL_set_ex_data(ssl, conn_index, conn) != 1) {
        free(conn);
        return false;
    }
    tls_client_hold(c);
    conn->client = c;
    if (remember)
        session_use(c, span_of(conn->key, key_len), ssl);
    return true;
}

static bool is_address(const char *name)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

static bool set_name(SSL *ssl, const char *name)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (is_address(name))
        return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1;
    return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1;
}

/* RFC 7672 sections 3.1.1 and 3.2.2: a key or certificate of the server itself (DANE-EE) is enough, whatever
 * its names and dates; below a DANE-TA it must have one of the names. */
static bool set_dane(SSL *ssl, const struct tls_peer *peer)
{
    bool ok = SSL_dane_enable(ssl, peer->sni) == 1;
    SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
    X509_VERIFY_PARAM_set_hostflags(SSL_get0_param(ssl), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    for (size_t i = 0; i < sizeof peer->also_names / sizeof *peer->also_names && ok; i++)
        ok = peer->also_names[i] == NULL || SSL_add1_host(ssl, peer->also_names[i]) == 1;
    for (uint32_t i = 0; i < peer->tlsa->n && ok; i++) {
        const struct tlsa_record *r = &peer->tlsa->records[i];
        ok = SSL_dane_tlsa_add(ssl, r->usage, r->selector, r->matching, (const unsigned char *)r->data.p,
                               r->data.n) == 1;
    }
    return ok;
}

SSL *tls_client_ssl(struct tls_client *c, const struct tls_peer *peer)
{
    const char *name = peer->verify_name == NULL ? peer->sni : peer->verify_name;
    bool judged = peer->verify != TLS_VERIFY_NOTE;
    bool dane = peer->verify == TLS_VERIFY_DANE;
    if ((judged && name == NULL) || (dane && (peer->tlsa == NULL || peer->sni == NULL)))
        return NULL;
    SSL *ssl = SSL_new(c->ctx);
    if (ssl == NULL)
        return NULL;
    SSL_set_connect_state(ssl);
    bool ok = true;
    if (judged) {
        SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    } else {
        /* the judgement is only noted, so weak keys may stay; a third party that can use them could strip TLS
         */
        SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL);
        SSL_set_security_level(ssl, peer->old_servers ? 0 : 1);
    }
    if (peer->old_servers) {
        ok = SSL_set_min_proto_version(ssl, TLS1_VERSION) == 1;
        SSL_set_options(ssl, SSL_OP_LEGACY_SERVER_CONNECT);
        if (!c->own_ciphers)
            ok = ok && SSL_set_cipher_list(ssl, TLS_CIPHERS_OLD) == 1;
    } else if (judged && !c->own_ciphers) {
        ok = SSL_set_cipher_list(ssl, TLS_CIPHERS_STRICT) == 1;
    }
    /* RFC 6066 section 3: an address is no name to ask for */
    if (peer->sni != NULL && !is_address(peer->sni))
        ok = ok && SSL_set_tlsext_host_name(ssl, peer->sni) == 1;
    if (dane)
        ok = ok && set_dane(ssl, peer);
    else if (name != NULL)
        ok = ok && set_name(ssl, name);
    if (!ok || !conn_attach(c, ssl, peer, name)) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}
