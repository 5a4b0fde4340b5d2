/* Authorities and nodes' certificates for tests, made in memory. */
#include "certs.h"

#include "base/ensure.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

static void extend(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ensure(e != NULL && X509_add_ext(x, e, -1) == 1);
    X509_EXTENSION_free(e);
}

static X509 *blank(EVP_PKEY *key, const char *name, int from_days, int to_days)
{
    static long serial = 1;
    X509 *x = X509_new();
    ensure(x != NULL);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    X509_gmtime_adj(X509_getm_notBefore(x), from_days * 86400L);
    X509_gmtime_adj(X509_getm_notAfter(x), to_days * 86400L);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1,
                               -1, 0);
    X509_set_pubkey(x, key);
    return x;
}

static void to_pem(struct buf *out, X509 *x, EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    ensure(bio != NULL);
    if (x != NULL)
        ensure(PEM_write_bio_X509(bio, x) == 1);
    if (key != NULL)
        ensure(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1);
    char *p;
    long n = BIO_get_mem_data(bio, &p);
    buf_init(out, 1 << 16);
    ensure(buf_put(out, p, (size_t)n) == 0);
    BIO_free(bio);
}

void authority_make(struct authority *a)
{
    a->key = EVP_EC_gen("P-256");
    ensure(a->key != NULL);
    a->x = blank(a->key, "test CA", -400, 400);
    X509_set_issuer_name(a->x, X509_get_subject_name(a->x));
    extend(a->x, a->x, NID_basic_constraints, "critical,CA:TRUE");
    extend(a->x, a->x, NID_key_usage, "critical,keyCertSign");
    ensure(X509_sign(a->x, a->key, EVP_sha256()) > 0);
    to_pem(&a->pem, a->x, NULL);
}

void authority_fini(struct authority *a)
{
    EVP_PKEY_free(a->key);
    X509_free(a->x);
    buf_fini(&a->pem);
}

void leaf_make(struct leaf *l, const struct authority *a, const struct peer *p, int days)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    ensure(key != NULL);
    char name[32], uri[PEER_URI_MAX], san[PEER_URI_MAX + 8];
    snprintf(name, sizeof name, "node%u", (unsigned)p->node);
    peer_uri_format(p, uri);
    snprintf(san, sizeof san, "URI:%s", uri);
    X509 *x = blank(key, name, -300, days);
    X509_set_issuer_name(x, X509_get_subject_name(a->x));
    extend(x, a->x, NID_basic_constraints, "critical,CA:FALSE");
    extend(x, a->x, NID_ext_key_usage, "clientAuth,serverAuth");
    extend(x, a->x, NID_subject_alt_name, san);
    ensure(X509_sign(x, a->key, EVP_sha256()) > 0);
    to_pem(&l->certificate, x, NULL);
    to_pem(&l->key, NULL, key);
    X509_free(x);
    EVP_PKEY_free(key);
}

void leaf_fini(struct leaf *l)
{
    buf_fini(&l->certificate);
    buf_fini(&l->key);
}
