/* Private keys, with OpenSSL. */
#include "node/dkim/key.h"

#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct dkim_key {
    EVP_PKEY *pkey;
    enum dkim_algorithm algorithm;
    atomic_uint refs;
};

const char *dkim_algorithm_name(enum dkim_algorithm algorithm)
{
    return algorithm == DKIM_RSA ? "rsa" : "ed25519";
}

const char *dkim_algorithm_signature(enum dkim_algorithm algorithm)
{
    return algorithm == DKIM_RSA ? "rsa-sha256" : "ed25519-sha256";
}

/* Takes the key on success. */
static int wrap(EVP_PKEY *pkey, struct dkim_key **out)
{
    struct dkim_key *k = calloc(1, sizeof *k);
    if (k == NULL)
        return -ENOMEM;
    k->pkey = pkey;
    k->algorithm = EVP_PKEY_get_base_id(pkey) == EVP_PKEY_RSA ? DKIM_RSA : DKIM_ED25519;
    atomic_init(&k->refs, 1);
    *out = k;
    return 0;
}

/* Nobody is asked: a key with a passphrase cannot be used by a daemon. */
static int no_passphrase_cb(char *buf, int size, int writing, void *ctx)
{
    (void)buf;
    (void)size;
    (void)writing;
    *(bool *)ctx = true;
    return -1;
}

static const char *unfit(const EVP_PKEY *pkey, char why[DKIM_WHY_MAX])
{
    int type = EVP_PKEY_get_base_id(pkey), bits = EVP_PKEY_get_bits(pkey);
    if (type == EVP_PKEY_ED25519)
        return NULL;
    if (type != EVP_PKEY_RSA)
        snprintf(why, DKIM_WHY_MAX, "is neither an RSA nor an Ed25519 key");
    else if (bits < DKIM_RSA_BITS_MIN)
        snprintf(why, DKIM_WHY_MAX, "has %d bits; verifiers ignore RSA keys under %d", bits,
                 DKIM_RSA_BITS_MIN);
    else if (bits > DKIM_RSA_BITS_MAX)
        snprintf(why, DKIM_WHY_MAX,
                 "has %d bits; verifiers need not take RSA keys over 2048, and %d is the limit here", bits,
                 DKIM_RSA_BITS_MAX);
    else
        return NULL;
    return why;
}

int dkim_key_parse(struct span pem, struct dkim_key **out, char why[DKIM_WHY_MAX])
{
    bool asked = false;
    BIO *bio = pem.n > DKIM_KEY_FILE_MAX ? NULL : BIO_new_mem_buf(pem.p, (int)pem.n);
    EVP_PKEY *pkey = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, no_passphrase_cb, &asked);
    BIO_free(bio);
    int err = 0;
    if (pkey == NULL) {
        snprintf(why, DKIM_WHY_MAX, "%s",
                 asked ? "has a passphrase; keep it without one, in a file that only the node can read"
                       : "holds no private key in PEM form");
        err = ERR_BAD;
    } else if (unfit(pkey, why) != NULL) {
        err = ERR_BAD;
    } else if (wrap(pkey, out) != 0) {
        snprintf(why, DKIM_WHY_MAX, "out of memory");
        err = -ENOMEM;
    }
    if (err != 0)
        EVP_PKEY_free(pkey);
    return err;
}

int dkim_key_generate(enum dkim_algorithm algorithm, uint32_t bits, struct dkim_key **out)
{
    EVP_PKEY *pkey = algorithm == DKIM_RSA ? EVP_RSA_gen(bits) : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    if (pkey == NULL)
        return ERR_FAILED;
    int err = wrap(pkey, out);
    if (err != 0)
        EVP_PKEY_free(pkey);
    return err;
}

struct dkim_key *dkim_key_hold(struct dkim_key *k)
{
    atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
    return k;
}

void dkim_key_rele(struct dkim_key *k)
{
    if (k == NULL)
        return;
    unsigned was = atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel);
    ensure(was > 0);
    if (was > 1)
        return;
    EVP_PKEY_free(k->pkey);
    free(k);
}

enum dkim_algorithm dkim_key_algorithm(const struct dkim_key *k)
{
    return k->algorithm;
}

uint32_t dkim_key_bits(const struct dkim_key *k)
{
    return k->algorithm == DKIM_RSA ? (uint32_t)EVP_PKEY_get_bits(k->pkey) : 256;
}

bool dkim_key_slow(const struct dkim_key *k)
{
    return k->algorithm == DKIM_RSA;
}

int dkim_key_put_pem(const struct dkim_key *k, struct buf *out)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    if (bio == NULL)
        return -ENOMEM;
    char *p;
    int err = PEM_write_bio_PrivateKey(bio, k->pkey, NULL, NULL, 0, NULL, NULL) == 1 ? 0 : ERR_FAILED;
    long n = BIO_get_mem_data(bio, &p);
    if (err == 0)
        err = buf_put(out, p, (size_t)n);
    BIO_free(bio);
    return err;
}

/* What OpenSSL wrote into memory of its own. */
static int put_der(int n, unsigned char *der, struct buf *out)
{
    int err = n <= 0 ? ERR_FAILED : buf_put(out, der, (size_t)n);
    OPENSSL_free(der);
    return err;
}

int dkim_key_put_public(const struct dkim_key *k, struct buf *out)
{
    unsigned char raw[32], *der = NULL;
    size_t n = sizeof raw;
    if (k->algorithm == DKIM_ED25519)
        return EVP_PKEY_get_raw_public_key(k->pkey, raw, &n) == 1 ? buf_put(out, raw, n) : ERR_FAILED;
    int len = i2d_PUBKEY(k->pkey, &der);
    return put_der(len, der, out);
}

int dkim_key_put_public_pkcs1(const struct dkim_key *k, struct buf *out)
{
    unsigned char *der = NULL;
    if (k->algorithm != DKIM_RSA)
        return ERR_NOT_FOUND;
    int len = i2d_PublicKey(k->pkey, &der);
    return put_der(len, der, out);
}

/* RFC 8463 section 3: Ed25519 signs the digest as it would any message. */
static bool sign_ed25519(EVP_PKEY *pkey, const uint8_t *digest, uint8_t *sig, size_t *n)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx != NULL && EVP_DigestSignInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
                EVP_DigestSign(ctx, sig, n, digest, DKIM_DIGEST_BYTES) == 1;
    EVP_MD_CTX_free(ctx);
    return good;
}

static bool sign_rsa(EVP_PKEY *pkey, const uint8_t *digest, uint8_t *sig, size_t *n)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);
    bool good = ctx != NULL && EVP_PKEY_sign_init(ctx) == 1 &&
                EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
                EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1 &&
                EVP_PKEY_sign(ctx, sig, n, digest, DKIM_DIGEST_BYTES) == 1;
    EVP_PKEY_CTX_free(ctx);
    return good;
}

int dkim_key_sign(const struct dkim_key *k, const uint8_t digest[DKIM_DIGEST_BYTES], struct buf *out)
{
    uint8_t sig[DKIM_RSA_BITS_MAX / 8];
    size_t n = sizeof sig;
    bool good = k->algorithm == DKIM_RSA ? sign_rsa(k->pkey, digest, sig, &n)
                                         : sign_ed25519(k->pkey, digest, sig, &n);
    return good ? buf_put(out, sig, n) : ERR_FAILED;
}
