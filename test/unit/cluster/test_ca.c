/* The cluster's authority: what it issues is what was asked for, and what it must refuse. */
#include "base/clock.h"
#include "base/err.h"
#include "node/cluster/ca_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#define DAY_MS 86400000ll

struct authority {
    uint8_t secret[CA_SECRET_BYTES];
    struct buf certificate, key;
};

static const struct peer peer = { .cluster = { 0xab, 1, 2, 3 }, .epoch = 7, .node = 42 };

static void make(struct authority *a, uint8_t seed)
{
    memset(a->secret, seed, sizeof a->secret);
    buf_init(&a->certificate, 8192);
    buf_init(&a->key, 8192);
    assert_int_equal(ca_make(peer.cluster, peer.epoch, a->secret, &a->certificate, &a->key), 0);
}

static void drop(struct authority *a)
{
    buf_fini(&a->certificate);
    buf_fini(&a->key);
}

static int issue(const struct authority *a, struct span request, const char *name, int days, struct buf *out)
{
    buf_reset(out);
    return ca_issue(buf_span(&a->certificate), buf_span(&a->key), a->secret, request, &peer, name, days, out);
}

static void issue_and_read(void **state)
{
    (void)state;
    struct authority a;
    make(&a, 1);
    struct buf key, request, certificate;
    buf_init(&key, 8192);
    buf_init(&request, 8192);
    buf_init(&certificate, 8192);
    assert_int_equal(ca_make_request("mx1.example.com", &key, &request), 0);
    assert_int_equal(issue(&a, buf_span(&request), "mx1.example.com", 0, &certificate), 0);

    struct ca_info info;
    assert_int_equal(ca_read(buf_span(&certificate), &info), 0);
    assert_memory_equal(info.peer.cluster, peer.cluster, 16);
    assert_int_equal(info.peer.epoch, 7);
    assert_int_equal(info.peer.node, 42);
    assert_string_equal(info.name, "mx1.example.com");
    int64_t now_ms = clock_wall_ms();
    assert_in_range(now_ms - info.not_before_ms, 3500 * 1000, 3700 * 1000);
    assert_in_range(info.not_after_ms - now_ms, 364 * DAY_MS, 366 * DAY_MS);
    uint8_t sha256[32];
    assert_int_equal(ca_fingerprint(buf_span(&certificate), sha256), 0);
    assert_memory_equal(info.sha256, sha256, 32);

    assert_int_equal(ca_key_matches(buf_span(&certificate), buf_span(&key)), 0);
    assert_int_equal(ca_verify(buf_span(&a.certificate), buf_span(&certificate), now_ms), 0);
    assert_int_equal(ca_verify(buf_span(&a.certificate), buf_span(&certificate), now_ms - DAY_MS),
                     ERR_DENIED);
    assert_int_equal(ca_verify(buf_span(&a.certificate), buf_span(&certificate), now_ms + 366 * DAY_MS),
                     ERR_DENIED);
    assert_int_equal(ca_verify(buf_span(&a.certificate), span_str("nonsense"), now_ms), ERR_DENIED);

    /* another authority of the same cluster and epoch is another authority */
    struct authority other;
    make(&other, 1);
    assert_int_equal(ca_verify(buf_span(&other.certificate), buf_span(&certificate), now_ms), ERR_DENIED);
    assert_int_equal(issue(&other, buf_span(&request), "mx1.example.com", 1, &certificate), 0);
    assert_int_equal(ca_verify(buf_span(&a.certificate), buf_span(&certificate), now_ms), ERR_DENIED);
    assert_int_equal(ca_read(buf_span(&certificate), &info), 0);
    assert_in_range(info.not_after_ms - now_ms, DAY_MS - 10000, DAY_MS + 10000);

    buf_fini(&key);
    buf_fini(&request);
    buf_fini(&certificate);
    drop(&a);
    drop(&other);
}

static void secret_is_needed(void **state)
{
    (void)state;
    struct authority a, b;
    make(&a, 1);
    make(&b, 1);
    assert_non_null(memmem(a.key.data, a.key.len, "ENCRYPTED", 9));
    struct buf key, request, out;
    buf_init(&key, 8192);
    buf_init(&request, 8192);
    buf_init(&out, 8192);
    assert_int_equal(ca_make_request("n", &key, &request), 0);
    for (int i = 0; i < 20; i++) {
        a.secret[i] ^= 0x10;
        assert_int_equal(issue(&a, buf_span(&request), "n", 0, &out), ERR_DENIED);
        assert_int_equal(out.len, 0);
        a.secret[i] ^= 0x10;
    }
    assert_int_equal(issue(&a, buf_span(&request), "n", 0, &out), 0);
    /* a key that is not locked, and one of another authority, are not what was stored */
    assert_int_equal(
        ca_issue(buf_span(&a.certificate), buf_span(&key), a.secret, buf_span(&request), &peer, "n", 0, &out),
        ERR_BAD);
    assert_int_equal(ca_issue(buf_span(&a.certificate), buf_span(&b.key), b.secret, buf_span(&request), &peer,
                              "n", 0, &out),
                     ERR_BAD);
    buf_fini(&key);
    buf_fini(&request);
    buf_fini(&out);
    drop(&a);
    drop(&b);
}

/* A request for a key, signed with `signer`. */
static void put_request(EVP_PKEY *key, EVP_PKEY *signer, struct buf *out)
{
    X509_REQ *req = X509_REQ_new();
    BIO *bio = BIO_new(BIO_s_mem());
    char *p;
    assert_int_equal(X509_REQ_set_pubkey(req, key), 1);
    assert_true(X509_REQ_sign(req, signer, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_bio_X509_REQ(bio, req), 1);
    long n = BIO_get_mem_data(bio, &p);
    buf_reset(out);
    assert_int_equal(buf_put(out, p, (size_t)n), 0);
    BIO_free(bio);
    X509_REQ_free(req);
}

static void requests_that_are_refused(void **state)
{
    (void)state;
    struct authority a;
    make(&a, 1);
    struct buf request, out;
    buf_init(&request, 16384);
    buf_init(&out, 8192);
    EVP_PKEY *rsa = EVP_RSA_gen(2048), *p256 = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256"),
             *p384 = EVP_EC_gen("P-384");
    put_request(p256, p256, &request);
    assert_int_equal(issue(&a, buf_span(&request), "n", 0, &out), 0);
    assert_int_equal(issue(&a, buf_span(&request), "", 0, &out), ERR_BAD);
    char name[66];
    memset(name, 'n', 65);
    name[64] = '\0';
    assert_int_equal(issue(&a, buf_span(&request), name, 0, &out), ERR_BAD);
    name[63] = '\0';
    assert_int_equal(issue(&a, buf_span(&request), name, 0, &out), 0);
    struct ca_info info;
    assert_int_equal(ca_read(buf_span(&out), &info), 0);
    assert_string_equal(info.name, name);

    put_request(rsa, rsa, &request);
    assert_int_equal(issue(&a, buf_span(&request), "n", 0, &out), ERR_BAD);
    put_request(p384, p384, &request);
    assert_int_equal(issue(&a, buf_span(&request), "n", 0, &out), ERR_BAD);
    put_request(p256, other, &request); /* does not have the key that it asks for */
    assert_int_equal(issue(&a, buf_span(&request), "n", 0, &out), ERR_BAD);
    assert_int_equal(issue(&a, span_str(""), "n", 0, &out), ERR_BAD);
    assert_int_equal(issue(&a, buf_span(&a.certificate), "n", 0, &out), ERR_BAD);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(p256);
    EVP_PKEY_free(other);
    EVP_PKEY_free(p384);
    buf_fini(&request);
    buf_fini(&out);
    drop(&a);
}

/* A certificate with this subjectAltName, signed by itself. */
static void put_certificate(const char *san, struct buf *out)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_set_version(x, 2);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"n", -1,
                               -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_pubkey(x, key);
    if (san != NULL) {
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
        assert_int_equal(X509_add_ext(x, e, -1), 1);
        X509_EXTENSION_free(e);
    }
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    char *p;
    PEM_write_bio_X509(bio, x);
    long n = BIO_get_mem_data(bio, &p);
    buf_reset(out);
    assert_int_equal(buf_put(out, p, (size_t)n), 0);
    BIO_free(bio);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void certificates_that_are_not_ours(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 8192);
    struct ca_info info;
    static const char good[] = "URI:turnpike:8f14e45fceea167a5a36dedd4bea2543/1/3";
    put_certificate(good, &out);
    assert_int_equal(ca_read(buf_span(&out), &info), 0);
    assert_int_equal(info.peer.node, 3);
    static const char *const bad[] = { NULL,
                                       "DNS:n",
                                       "URI:turnpike:8f14e45fceea167a5a36dedd4bea2543/1/0",
                                       "URI:turnpike:8f14e45fceea167a5a36dedd4bea2543/1/3,DNS:n",
                                       "DNS:turnpike:8f14e45fceea167a5a36dedd4bea2543/1/3",
                                       "URI:http://n/" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_certificate(bad[i], &out);
        assert_int_equal(ca_read(buf_span(&out), &info), ERR_BAD);
    }
    assert_int_equal(
        ca_read(span_str("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), &info), ERR_BAD);
    uint8_t sha256[32];
    assert_int_equal(ca_fingerprint(span_str("x"), sha256), ERR_BAD);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(issue_and_read),
        cmocka_unit_test(secret_is_needed),
        cmocka_unit_test(requests_that_are_refused),
        cmocka_unit_test(certificates_that_are_not_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
