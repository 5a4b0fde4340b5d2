/* Reading and judging certificates. OpenSSL on memory only. Any thread. */
#include "base/err.h"
#include "node/cluster/ca_impl.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

BIO *ca_bio(struct span s)
{
    return s.n == 0 || s.n > INT_MAX ? NULL : BIO_new_mem_buf(s.p, (int)s.n);
}

int ca_no_passphrase(char *buf, int size, int rwflag, void *ctx)
{
    (void)buf, (void)size, (void)rwflag, (void)ctx;
    return -1;
}

X509 *ca_parse(struct span pem)
{
    BIO *bio = ca_bio(pem);
    X509 *x = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, ca_no_passphrase, NULL);
    BIO_free(bio);
    return x;
}

/* The one name in subjectAltName must be the peer's. */
static int read_peer(X509 *x, struct peer *out)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    int err = ERR_BAD;
    if (names != NULL && sk_GENERAL_NAME_num(names) == 1) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, 0);
        if (name->type == GEN_URI) {
            const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
            err = peer_uri_parse(span_of(ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri)), out);
        }
    }
    GENERAL_NAMES_free(names);
    return err;
}

static int read_time(const ASN1_TIME *t, int64_t *ms)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(t, &tm) != 1)
        return ERR_BAD;
    *ms = (int64_t)timegm(&tm) * 1000;
    return 0;
}

static int read_name(X509 *x, char out[64])
{
    int n = X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, out, 64);
    return n > 0 && strlen(out) == (size_t)n ? 0 : ERR_BAD;
}

static int fingerprint(const X509 *x, uint8_t sha256[32])
{
    unsigned n = 0;
    return X509_digest(x, EVP_sha256(), sha256, &n) == 1 && n == 32 ? 0 : ERR_FAILED;
}

int ca_read(struct span certificate, struct ca_info *out)
{
    *out = (struct ca_info){ 0 };
    ERR_clear_error();
    X509 *x = ca_parse(certificate);
    int err = x == NULL ? ERR_BAD : read_peer(x, &out->peer);
    if (err == 0)
        err = read_name(x, out->name);
    if (err == 0)
        err = read_time(X509_get0_notBefore(x), &out->not_before_ms);
    if (err == 0)
        err = read_time(X509_get0_notAfter(x), &out->not_after_ms);
    if (err == 0)
        err = fingerprint(x, out->sha256);
    X509_free(x);
    ERR_clear_error();
    return err;
}

int ca_check(X509 *ca, X509 *certificate, int64_t now_ms, const char **why)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    int err = ERR_FAILED;
    if (why != NULL)
        *why = "no memory";
    if (store != NULL && ctx != NULL && X509_STORE_add_cert(store, ca) == 1 &&
        X509_STORE_CTX_init(ctx, store, certificate, NULL) == 1) {
        X509_STORE_CTX_set_time(ctx, 0, (time_t)(now_ms / 1000));
        X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER);
        err = X509_verify_cert(ctx) == 1 ? 0 : ERR_DENIED;
        if (why != NULL)
            *why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx));
    }
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return err;
}

int ca_verify(struct span ca_certificate, struct span certificate, int64_t now_ms)
{
    ERR_clear_error();
    X509 *ca = ca_parse(ca_certificate);
    X509 *x = ca_parse(certificate);
    int err = ca == NULL || x == NULL ? ERR_DENIED : ca_check(ca, x, now_ms, NULL);
    X509_free(ca);
    X509_free(x);
    ERR_clear_error();
    return err;
}

int ca_fingerprint(struct span certificate, uint8_t sha256[32])
{
    ERR_clear_error();
    X509 *x = ca_parse(certificate);
    int err = x == NULL ? ERR_BAD : fingerprint(x, sha256);
    X509_free(x);
    ERR_clear_error();
    return err;
}

int ca_key_matches(struct span certificate, struct span key)
{
    ERR_clear_error();
    X509 *x = ca_parse(certificate);
    BIO *bio = ca_bio(key);
    EVP_PKEY *pkey = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, ca_no_passphrase, NULL);
    BIO_free(bio);
    int err = x != NULL && pkey != NULL && X509_check_private_key(x, pkey) == 1 ? 0 : ERR_BAD;
    X509_free(x);
    EVP_PKEY_free(pkey);
    ERR_clear_error();
    return err;
}
