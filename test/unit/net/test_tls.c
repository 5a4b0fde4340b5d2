/* TLS settings: what is refused at loading and in which words, which certificate a client gets, what is
 * verified, and when a session is resumed. Handshakes are made in memory here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "certs.h"
#include "node/net/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct tls_server *server_of(const struct tls_server_config *config)
{
    struct buf why;
    buf_init(&why, 512);
    struct tls_server *s = NULL;
    int err = tls_server_new(config, &s, &why);
    if (err != 0)
        fail_msg("%.*s", (int)why.len, why.data);
    assert_int_equal(why.len, 0);
    buf_fini(&why);
    return s;
}

static struct tls_server *server(const char *name, struct tls_tickets *tickets)
{
    char chain[80];
    char key[80];
    snprintf(chain, sizeof chain, "%s.pem", name);
    snprintf(key, sizeof key, "%s.key", name);
    struct tls_cert_files files = { certs_path(chain), certs_path(key) };
    return server_of(&(struct tls_server_config){ .certs = &files, .ncerts = 1, .tickets = tickets });
}

static struct tls_client *client(uint32_t sessions)
{
    struct buf why;
    buf_init(&why, 512);
    struct tls_client *c = NULL;
    assert_int_equal(
        tls_client_new(&(struct tls_client_config){ .ca_file = certs_ca(), .sessions_max = sessions }, &c,
                       &why),
        0);
    buf_fini(&why);
    return c;
}

/* Runs both sides over a pair of memory BIOs, and a byte of data so that tickets arrive. Takes both. */
static bool run(SSL *cs, SSL *ss, struct tls_info *ci, struct tls_info *si)
{
    assert_non_null(cs);
    assert_non_null(ss);
    BIO *a;
    BIO *b;
    assert_int_equal(BIO_new_bio_pair(&a, 0, &b, 0), 1);
    SSL_set_bio(cs, a, a);
    SSL_set_bio(ss, b, b);
    int c = 0;
    int s = 0;
    for (int i = 0; i < 20 && (c != 1 || s != 1); i++) {
        c = SSL_do_handshake(cs);
        s = SSL_do_handshake(ss);
    }
    bool ok = c == 1 && s == 1;
    if (ok) {
        char byte = 'x';
        assert_int_equal(SSL_write(ss, &byte, 1), 1);
        assert_int_equal(SSL_read(cs, &byte, 1), 1);
        if (ci != NULL)
            tls_info_get(cs, ci);
        if (si != NULL)
            tls_info_get(ss, si);
        SSL_shutdown(cs);
    }
    SSL_free(cs);
    SSL_free(ss);
    ERR_clear_error();
    return ok;
}

static void check_refused(const char *chain, const char *key, const char *file, const char *reason)
{
    struct buf why;
    buf_init(&why, 512);
    struct tls_server *s = NULL;
    struct tls_cert_files files = { chain, key };
    assert_int_equal(tls_server_new(&(struct tls_server_config){ .certs = &files, .ncerts = 1 }, &s, &why),
                     ERR_BAD);
    assert_null(s);
    buf_put_char(&why, '\0');
    if (strncmp(why.data, file, strlen(file)) != 0 || strstr(why.data, reason) == NULL ||
        strchr(why.data, '\n') != NULL)
        fail_msg("wanted \"%s: %s\", got \"%s\"", file, reason, why.data);
    assert_int_equal(ERR_peek_error(), 0);
    buf_fini(&why);
}

static void test_load_errors(void **state)
{
    (void)state;
    const char *chain = certs_path("one.pem");
    const char *key = certs_path("one.key");
    const char *none = certs_path("none.pem");
    const char *text = certs_path("text.pem");
    const char *locked = certs_path("locked.key");
    certs_write("text.pem", "hello\n");
    certs_make_locked("locked.key");
    check_refused(none, key, none, "No such file or directory");
    check_refused(chain, none, none, "No such file or directory");
    check_refused(text, key, text, "nothing in PEM form");
    check_refused(chain, text, text, "nothing in PEM form");
    check_refused(key, key, key, "nothing in PEM form");
    check_refused(chain, NULL, chain, "nothing in PEM form");
    check_refused(chain, certs_path("two.key"), certs_path("two.key"), "key does not match certificate");
    check_refused(chain, certs_path("rsa.key"), certs_path("rsa.key"), "key does not match certificate");
    check_refused(chain, locked, locked, "passphrase");
    struct buf why;
    buf_init(&why, 512);
    struct tls_server *s = NULL;
    struct tls_cert_files files = { chain, key };
    assert_int_equal(tls_server_new(&(struct tls_server_config){ .ncerts = 0 }, &s, &why), ERR_BAD);
    buf_reset(&why);
    assert_int_equal(
        tls_server_new(&(struct tls_server_config){ .certs = &files, .ncerts = 1, .ciphers = "NONSENSE" }, &s,
                       &why),
        ERR_BAD);
    buf_put_char(&why, '\0');
    assert_non_null(strstr(why.data, "ciphers"));
    buf_reset(&why);
    struct tls_client *c = NULL;
    assert_int_equal(tls_client_new(&(struct tls_client_config){ .ca_file = none }, &c, &why), ERR_BAD);
    buf_put_char(&why, '\0');
    assert_non_null(strstr(why.data, none));
    buf_fini(&why);
}

static void test_expiry(void **state)
{
    (void)state;
    struct tls_cert_files files[] = { { certs_path("one.pem"), certs_path("one.key") },
                                      { certs_path("old.pem"), certs_path("old.key") } };
    struct tls_server *s = server_of(&(struct tls_server_config){ .certs = files, .ncerts = 2 });
    const char *file = NULL;
    int64_t at = tls_server_expiry(s, &file);
    assert_string_equal(file, files[1].chain);
    int64_t want = (int64_t)time(NULL) - 86400;
    assert_true(at > want - 600 && at < want + 600);
    tls_server_rele(s);
}

static void test_sni(void **state)
{
    (void)state;
    struct tls_cert_files files[] = { { certs_path("one.pem"), certs_path("one.key") },
                                      { certs_path("two.pem"), certs_path("two.key") },
                                      { certs_path("onersa.pem"), certs_path("onersa.key") } };
    struct tls_server *s = server_of(&(struct tls_server_config){ .certs = files, .ncerts = 3 });
    struct tls_client *c = client(0);
    static const struct {
        const char *sni;
        bool verified;
    } cases[] = {
        { "one.test", true },       { "two.test", true },    { "x.wild.test", true },
        { "x.y.wild.test", false }, { "other.test", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tls_info ci;
        struct tls_info si;
        assert_true(
            run(tls_client_ssl(c, &(struct tls_peer){ .sni = cases[i].sni }), tls_server_ssl(s), &ci, &si));
        assert_int_equal(ci.verified, cases[i].verified);
        assert_string_equal(si.sni, cases[i].sni);
        if (!ci.verified)
            assert_non_null(strstr(ci.verify_error, "ostname"));
        assert_string_equal(ci.version, "TLSv1.3");
        char text[80];
        tls_info_format(&ci, text);
        assert_int_equal(strncmp(text, "TLSv1.3 TLS_", 12), 0);
    }
    /* no name at all: an encrypted connection, but nobody is verified */
    struct tls_info ci;
    struct tls_info si;
    assert_true(run(tls_client_ssl(c, &(struct tls_peer){ 0 }), tls_server_ssl(s), &ci, &si));
    assert_false(ci.verified);
    assert_string_equal(si.sni, "");
    /* the RSA certificate of the same name serves who can't do ECDSA */
    SSL *rsa_only = tls_client_ssl(c, &(struct tls_peer){ .sni = "one.test", .verify = TLS_VERIFY_NAME });
    SSL_set_max_proto_version(rsa_only, TLS1_2_VERSION);
    SSL_set_cipher_list(rsa_only, "ECDHE-RSA-AES128-GCM-SHA256");
    assert_true(run(rsa_only, tls_server_ssl(s), &ci, NULL));
    assert_string_equal(ci.cipher, "ECDHE-RSA-AES128-GCM-SHA256");
    assert_true(ci.verified);
    tls_client_rele(c);
    tls_server_rele(s);
}

static void test_verify(void **state)
{
    (void)state;
    struct tls_server *good = server("one", NULL);
    struct tls_server *expired = server("old", NULL);
    struct tls_client *c = client(0);
    struct tls_info ci;
    struct tls_peer peer = { .sni = "one.test", .verify = TLS_VERIFY_NAME };
    assert_true(run(tls_client_ssl(c, &peer), tls_server_ssl(good), &ci, NULL));
    assert_true(ci.verified);
    peer.verify_name = "another.test";
    assert_false(run(tls_client_ssl(c, &peer), tls_server_ssl(good), NULL, NULL));
    peer = (struct tls_peer){ .sni = "old.test", .verify = TLS_VERIFY_NAME };
    assert_false(run(tls_client_ssl(c, &peer), tls_server_ssl(expired), NULL, NULL));
    peer.verify = TLS_VERIFY_NOTE;
    assert_true(run(tls_client_ssl(c, &peer), tls_server_ssl(expired), &ci, NULL));
    assert_false(ci.verified);
    assert_non_null(strstr(ci.verify_error, "expired"));
    peer = (struct tls_peer){ .verify = TLS_VERIFY_NAME };
    assert_null(tls_client_ssl(c, &peer));
    /* a client that trusts the system's CAs only */
    struct buf why;
    buf_init(&why, 256);
    struct tls_client *other = NULL;
    assert_int_equal(tls_client_new(&(struct tls_client_config){ 0 }, &other, &why), 0);
    peer = (struct tls_peer){ .sni = "one.test", .verify = TLS_VERIFY_NAME };
    assert_false(run(tls_client_ssl(other, &peer), tls_server_ssl(good), NULL, NULL));
    buf_fini(&why);
    tls_client_rele(other);
    tls_client_rele(c);
    tls_server_rele(good);
    tls_server_rele(expired);
}

static void test_versions(void **state)
{
    (void)state;
    struct tls_cert_files files = { certs_path("rsa.pem"), certs_path("rsa.key") };
    struct tls_server *strict = server("rsa", NULL);
    struct tls_server *old =
        server_of(&(struct tls_server_config){ .certs = &files, .ncerts = 1, .old_devices = true });
    struct tls_client *c = client(0);
    static const int versions[] = { TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION };
    for (int i = 0; i < 4; i++) {
        struct tls_peer peer = { .sni = "rsa.test", .old_servers = true };
        SSL *ssl = tls_client_ssl(c, &peer);
        SSL_set_max_proto_version(ssl, versions[i]);
        assert_int_equal(run(ssl, tls_server_ssl(strict), NULL, NULL), versions[i] >= TLS1_2_VERSION);
        ssl = tls_client_ssl(c, &peer);
        SSL_set_max_proto_version(ssl, versions[i]);
        assert_true(run(ssl, tls_server_ssl(old), NULL, NULL));
        /* a new client does not go under TLS 1.2 by itself */
        SSL *ss = tls_server_ssl(old);
        SSL_set_max_proto_version(ss, versions[i]);
        peer.old_servers = false;
        assert_int_equal(run(tls_client_ssl(c, &peer), ss, NULL, NULL), versions[i] >= TLS1_2_VERSION);
    }
    tls_client_rele(c);
    tls_server_rele(strict);
    tls_server_rele(old);
}

static bool resumed(struct tls_client *c, struct tls_server *s, const struct tls_peer *peer, int version)
{
    struct tls_info ci;
    SSL *ssl = tls_client_ssl(c, peer);
    SSL_set_max_proto_version(ssl, version);
    assert_true(run(ssl, tls_server_ssl(s), &ci, NULL));
    return ci.resumed;
}

static void test_resumption(void **state)
{
    (void)state;
    static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    for (int i = 0; i < 2; i++) {
        struct tls_tickets *tickets = NULL;
        assert_int_equal(tls_tickets_new(&tickets), 0);
        struct tls_server *s = server("one", tickets);
        struct tls_client *c = client(2);
        struct tls_peer peer = { .sni = "one.test", .session_key = SPAN_LIT("site/one") };
        assert_false(resumed(c, s, &peer, versions[i]));
        assert_int_equal(tls_client_sessions(c), 1);
        for (int k = 0; k < 3; k++)
            assert_true(resumed(c, s, &peer, versions[i]));
        /* tickets outlive a reload */
        tls_server_rele(s);
        s = server("one", tickets);
        assert_true(resumed(c, s, &peer, versions[i]));
        /* a session that nobody verified does not serve a connection that must be */
        peer.verify = TLS_VERIFY_NAME;
        assert_false(resumed(c, s, &peer, versions[i]));
        assert_true(resumed(c, s, &peer, versions[i]));
        assert_int_equal(tls_client_sessions(c), 2);
        /* bounded: the longest unused goes */
        peer.session_key = SPAN_LIT("site/other");
        assert_false(resumed(c, s, &peer, versions[i]));
        assert_int_equal(tls_client_sessions(c), 2);
        peer = (struct tls_peer){ .sni = "one.test", .session_key = SPAN_LIT("site/one") };
        assert_false(resumed(c, s, &peer, versions[i]));
        /* without a key nothing is kept */
        peer.session_key = (struct span){ 0 };
        assert_false(resumed(c, s, &peer, versions[i]));
        assert_false(resumed(c, s, &peer, versions[i]));
        assert_int_equal(tls_client_sessions(c), 2);
        /* a server without tickets, or with other keys */
        struct tls_server *plain = server("one", NULL);
        peer.session_key = SPAN_LIT("plain");
        assert_false(resumed(c, plain, &peer, versions[i]));
        assert_false(resumed(c, plain, &peer, versions[i]));
        tls_server_rele(plain);
        tls_client_rele(c);
        tls_server_rele(s);
        tls_tickets_rele(tickets);
    }
}

/* A TLSA record "3 1 1" of the certificate in a file. */
static struct tlsa_set *tlsa_of(const char *file)
{
    FILE *f = fopen(certs_path(file), "r");
    assert_non_null(f);
    X509 *cert = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    char rdata[3 + 32] = { 3, 1, 1 };
    unsigned char *key = NULL;
    int n = i2d_PUBKEY(X509_get0_pubkey(cert), &key);
    assert_true(n > 0);
    assert_int_equal(EVP_Digest(key, (size_t)n, (unsigned char *)rdata + 3, NULL, EVP_sha256(), NULL), 1);
    OPENSSL_free(key);
    X509_free(cert);
    struct span r = span_of(rdata, sizeof rdata);
    struct tlsa_set *set = NULL;
    assert_int_equal(tlsa_select(&r, 1, &set), TLSA_USABLE);
    return set;
}

/* RFC 7672 section 3.1.1: the key counts, neither its CA nor its name nor its dates; and it is judged each
 * time. */
static void test_dane(void **state)
{
    (void)state;
    struct tls_tickets *tickets = NULL;
    assert_int_equal(tls_tickets_new(&tickets), 0);
    struct tls_server *good = server("one", tickets);
    struct tls_server *expired = server("old", NULL);
    struct tls_client *c = client(8);
    struct tlsa_set *set = tlsa_of("one.pem");
    struct tlsa_set *old = tlsa_of("old.pem");
    struct tls_info ci;
    char text[80];
    struct tls_peer peer = {
        .sni = "mx.example.net", .verify = TLS_VERIFY_DANE, .tlsa = set, .session_key = SPAN_LIT("mx")
    };
    for (int i = 0; i < 2; i++) {
        assert_true(run(tls_client_ssl(c, &peer), tls_server_ssl(good), &ci, NULL));
        assert_true(ci.verified && !ci.resumed);
        assert_int_equal(ci.dane_usage, TLSA_USAGE_EE);
        assert_non_null(strstr(tls_info_format(&ci, text), ", DANE-EE verified"));
    }
    assert_int_equal(tls_client_sessions(c), 0);
    assert_false(run(tls_client_ssl(c, &peer), tls_server_ssl(expired), NULL, NULL));
    peer.tlsa = old;
    assert_true(run(tls_client_ssl(c, &peer), tls_server_ssl(expired), &ci, NULL));
    assert_true(ci.verified);
    /* a certificate that is good otherwise is nothing here */
    peer.sni = "one.test";
    assert_false(run(tls_client_ssl(c, &peer), tls_server_ssl(good), NULL, NULL));
    peer.tlsa = NULL;
    assert_null(tls_client_ssl(c, &peer));
    /* without DANE, nothing is said of it */
    peer = (struct tls_peer){ .sni = "one.test", .verify = TLS_VERIFY_NAME };
    assert_true(run(tls_client_ssl(c, &peer), tls_server_ssl(good), &ci, NULL));
    assert_true(ci.verified);
    assert_int_equal(ci.dane_usage, -1);
    free(set);
    free(old);
    tls_client_rele(c);
    tls_server_rele(good);
    tls_server_rele(expired);
    tls_tickets_rele(tickets);
}

/* The server's object goes while a connection of it is still young. */
static void test_release_early(void **state)
{
    (void)state;
    struct tls_tickets *tickets = NULL;
    assert_int_equal(tls_tickets_new(&tickets), 0);
    struct tls_server *s = server("one", tickets);
    struct tls_client *c = client(4);
    SSL *ss = tls_server_ssl(s);
    SSL *cs = tls_client_ssl(c, &(struct tls_peer){ .sni = "one.test", .session_key = SPAN_LIT("k") });
    tls_server_rele(s);
    tls_tickets_rele(tickets);
    tls_client_rele(c);
    assert_true(run(cs, ss, NULL, NULL));
}

struct worker {
    struct tls_server *s;
    struct tls_client *c;
    int done;
};

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < 20; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i % 6);
        struct tls_peer peer = { .sni = "one.test", .session_key = span_str(key) };
        w->done += run(tls_client_ssl(w->c, &peer), tls_server_ssl(w->s), NULL, NULL);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct tls_tickets *tickets = NULL;
    assert_int_equal(tls_tickets_new(&tickets), 0);
    struct worker w[4] = { 0 };
    pthread_t threads[4];
    struct tls_server *s = server("one", tickets);
    struct tls_client *c = client(4);
    for (int i = 0; i < 4; i++) {
        w[i] = (struct worker){ .s = s, .c = c };
        assert_int_equal(pthread_create(&threads[i], NULL, worker_main, &w[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(w[i].done, 20);
    }
    assert_int_equal(tls_client_sessions(c), 4);
    tls_client_rele(c);
    tls_server_rele(s);
    tls_tickets_rele(tickets);
}

static int make(void **state)
{
    (void)state;
    certs_make("one", CERTS_EC, "one.test", 30);
    certs_make("onersa", CERTS_RSA, "one.test", 30);
    certs_make("two", CERTS_EC, "two.test,*.wild.test", 30);
    certs_make("rsa", CERTS_RSA, "rsa.test", 30);
    certs_make("old", CERTS_EC, "old.test", -1);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    certs_clean();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load_errors), cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_sni),         cmocka_unit_test(test_verify),
        cmocka_unit_test(test_dane),        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_resumption),  cmocka_unit_test(test_release_early),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, make, clean);
}
