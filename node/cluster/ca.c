/* The cluster's certificate authority: making it, requests, issuing. Reading and judging certificates is in
 * ca_read.c. OpenSSL on memory only. Any thread.
 *
 * The secret that locks the key is 32 random bytes; as a passphrase it is written in hex, since OpenSSL takes
 * passphrases for text.
 */
#include "node/cluster/ca.h"

#include "base/err.h"
#include "node/cluster/ca_impl.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#define CA_YEARS 30
/* Clocks of a cluster may differ by minutes: what was issued just now is good on all of them. */
#define BACKDATE_SECONDS 3600
#define PASSPHRASE_CHARS (2 * CA_SECRET_BYTES)

static void passphrase(const uint8_t secret[CA_SECRET_BYTES], char out[PASSPHRASE_CHARS + 1])
{
    for (size_t i = 0; i < CA_SECRET_BYTES; i++)
        snprintf(out + 2 * i, 3, "%02x", secret[i]);
}

/* Moves what was written to a memory BIO into `out`, and frees the BIO; `written` is the writer's verdict. */
static int drain(BIO *bio, int written, struct buf *out)
{
    char *p = NULL;
    long n = bio == NULL ? 0 : BIO_get_mem_data(bio, &p);
    int err = written != 1 || n <= 0 ? ERR_FAILED : buf_put(out, p, (size_t)n);
    if (n > 0)
        OPENSSL_cleanse(p, (size_t)n);
    BIO_free(bio);
    return err;
}

static int put_certificate(X509 *x, struct buf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    return drain(bio, bio == NULL ? 0 : PEM_write_bio_X509(bio, x), out);
}

static int add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    int ok = e != NULL && X509_add_ext(x, e, -1) == 1;
    X509_EXTENSION_free(e);
    return ok ? 0 : ERR_FAILED;
}

static int add_peer(X509 *x, const struct peer *peer)
{
    char uri[PEER_URI_MAX];
    peer_uri_format(peer, uri);
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    int ok = names != NULL && name != NULL && text != NULL && ASN1_STRING_set(text, uri, -1) == 1;
    if (ok) {
        GENERAL_NAME_set0_value(name, GEN_URI, text);
        text = NULL;
        ok = sk_GENERAL_NAME_push(names, name) > 0;
        if (ok)
            name = NULL;
    }
    ok = ok && X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
    ASN1_IA5STRING_free(text);
    GENERAL_NAME_free(name);
    GENERAL_NAMES_free(names);
    return ok ? 0 : ERR_FAILED;
}

/* A certificate with what all of ours have; not signed. NULL: OpenSSL failed. */
static X509 *blank(EVP_PKEY *key, const char *common_name, int days)
{
    X509 *x = X509_new();
    BIGNUM *serial = BN_new();
    X509_NAME *subject = x == NULL ? NULL : X509_get_subject_name(x);
    bool ok =
        subject != NULL && serial != NULL && BN_rand(serial, 126, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
        BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(x)) != NULL && X509_set_version(x, 2) == 1 &&
        X509_set_pubkey(x, key) == 1 && X509_gmtime_adj(X509_getm_notBefore(x), -BACKDATE_SECONDS) != NULL &&
        X509_time_adj_ex(X509_getm_notAfter(x), days, 0, NULL) != NULL &&
        X509_NAME_add_entry_by_NID(subject, NID_organizationName, MBSTRING_UTF8,
                                   (const unsigned char *)"Turnpike", -1, -1, 0) == 1 &&
        X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8, (const unsigned char *)common_name,
                                   -1, -1, 0) == 1;
    BN_free(serial);
    if (!ok) {
        X509_free(x);
        return NULL;
    }
    return x;
}

static int sign_authority(X509 *x, EVP_PKEY *key)
{
    if (X509_set_issuer_name(x, X509_get_subject_name(x)) != 1 ||
        add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") != 0 ||
        add_extension(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") != 0 ||
        add_extension(x, x, NID_subject_key_identifier, "hash") != 0)
        return ERR_FAILED;
    return X509_sign(x, key, EVP_sha256()) > 0 ? 0 : ERR_FAILED;
}

int ca_make(const uint8_t cluster[16], uint32_t epoch, const uint8_t secret[CA_SECRET_BYTES],
            struct buf *certificate, struct buf *encrypted_key)
{
    char name[64];
    size_t n = 0;
    for (size_t i = 0; i < 16; i++)
        n += (size_t)snprintf(name + n, sizeof name - n, "%02x", cluster[i]);
    snprintf(name + n, sizeof name - n, " epoch %u", epoch);
    char phrase[PASSPHRASE_CHARS + 1];
    passphrase(secret, phrase);

    ERR_clear_error();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = key == NULL ? NULL : blank(key, name, CA_YEARS * 365);
    int err = x == NULL ? ERR_FAILED : sign_authority(x, key);
    if (err == 0)
        err = put_certificate(x, certificate);
    if (err == 0) {
        BIO *bio = BIO_new(BIO_s_mem());
        int written = bio == NULL ? 0
                                  : PEM_write_bio_PKCS8PrivateKey(bio, key, EVP_aes_256_cbc(), phrase,
                                                                  PASSPHRASE_CHARS, NULL, NULL);
        err = drain(bio, written, encrypted_key);
    }
    OPENSSL_cleanse(phrase, sizeof phrase);
    X509_free(x);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return err;
}

int ca_make_request(const char *node_name, struct buf *key, struct buf *request)
{
    ERR_clear_error();
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    X509_REQ *req = X509_REQ_new();
    int err = ERR_FAILED;
    if (pkey != NULL && req != NULL && X509_REQ_set_version(req, 0) == 1 &&
        X509_NAME_add_entry_by_NID(X509_REQ_get_subject_name(req), NID_commonName, MBSTRING_UTF8,
                                   (const unsigned char *)node_name, -1, -1, 0) == 1 &&
        X509_REQ_set_pubkey(req, pkey) == 1 && X509_REQ_sign(req, pkey, EVP_sha256()) > 0) {
        BIO *bio = BIO_new(BIO_s_mem());
        err = drain(
            bio, bio == NULL ? 0 : PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL), key);
    }
    if (err == 0) {
        BIO *bio = BIO_new(BIO_s_mem());
        err = drain(bio, bio == NULL ? 0 : PEM_write_bio_X509_REQ(bio, req), request);
    }
    X509_REQ_free(req);
    EVP_PKEY_free(pkey);
    ERR_clear_error();
    return err;
}

/* ERR_DENIED: the secret does not open it. */
static int open_key(struct span encrypted, const uint8_t secret[CA_SECRET_BYTES], EVP_PKEY **out)
{
    BIO *bio = ca_bio(encrypted);
    X509_SIG *sealed = bio == NULL ? NULL : PEM_read_bio_PKCS8(bio, NULL, ca_no_passphrase, NULL);
    BIO_free(bio);
    if (sealed == NULL)
        return ERR_BAD;
    char phrase[PASSPHRASE_CHARS + 1];
    passphrase(secret, phrase);
    PKCS8_PRIV_KEY_INFO *info = PKCS8_decrypt(sealed, phrase, PASSPHRASE_CHARS);
    OPENSSL_cleanse(phrase, sizeof phrase);
    *out = info == NULL ? NULL : EVP_PKCS82PKEY(info);
    PKCS8_PRIV_KEY_INFO_free(info);
    X509_SIG_free(sealed);
    return *out == NULL ? ERR_DENIED : 0;
}

bool ca_key_is_p256(EVP_PKEY *key)
{
    char group[32] = "";
    size_t n = 0;
    return key != NULL && EVP_PKEY_is_a(key, "EC") &&
           EVP_PKEY_get_group_name(key, group, sizeof group, &n) == 1 &&
           strcmp(group, SN_X9_62_prime256v1) == 0;
}

/* The key of a request that was signed with it; NULL: there is none. Freed by the caller. */
static EVP_PKEY *requested_key(struct span request)
{
    BIO *bio = ca_bio(request);
    X509_REQ *req = bio == NULL ? NULL : PEM_read_bio_X509_REQ(bio, NULL, ca_no_passphrase, NULL);
    BIO_free(bio);
    EVP_PKEY *key = req == NULL ? NULL : X509_REQ_get_pubkey(req);
    if (key != NULL && (!ca_key_is_p256(key) || X509_REQ_verify(req, key) != 1)) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    X509_REQ_free(req);
    return key;
}

static int sign_node(X509 *x, X509 *ca, EVP_PKEY *ca_key, const struct peer *peer)
{
    if (X509_set_issuer_name(x, X509_get_subject_name(ca)) != 1 ||
        add_extension(x, ca, NID_basic_constraints, "critical,CA:FALSE") != 0 ||
        add_extension(x, ca, NID_key_usage, "critical,digitalSignature") != 0 ||
        add_extension(x, ca, NID_ext_key_usage, "serverAuth,clientAuth") != 0 || add_peer(x, peer) != 0 ||
        add_extension(x, ca, NID_subject_key_identifier, "hash") != 0 ||
        add_extension(x, ca, NID_authority_key_identifier, "keyid:always") != 0)
        return ERR_FAILED;
    return X509_sign(x, ca_key, EVP_sha256()) > 0 ? 0 : ERR_FAILED;
}

int ca_issue(struct span ca_certificate, struct span encrypted_key, const uint8_t secret[CA_SECRET_BYTES],
             struct span request, const struct peer *peer, const char *node_name, int days,
             struct buf *certificate)
{
    size_t name_len = strlen(node_name);
    if (name_len == 0 || name_len >= sizeof((struct ca_info *)NULL)->name || days < 0)
        return ERR_BAD;
    ERR_clear_error();
    EVP_PKEY *ca_key = NULL;
    EVP_PKEY *key = requested_key(request);
    X509 *ca = ca_parse(ca_certificate);
    X509 *x = NULL;
    int err = key == NULL || ca == NULL ? ERR_BAD : open_key(encrypted_key, secret, &ca_key);
    if (err == 0 && X509_check_private_key(ca, ca_key) != 1)
        err = ERR_BAD;
    if (err == 0) {
        x = blank(key, node_name, days == 0 ? CA_CERTIFICATE_DAYS : days);
        err = x == NULL ? ERR_FAILED : sign_node(x, ca, ca_key, peer);
    }
    if (err == 0)
        err = put_certificate(x, certificate);
    X509_free(x);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    ERR_clear_error();
    return err;
}
