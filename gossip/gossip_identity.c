/* Who speaks on a connection: certificates, and the handshake that proves them. */
#include "gossip/gossip_identity.h"

#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

enum { SIGNATURE_MAX = 160, HASH_BYTES = 32 };

static const struct span KEYS_LABEL = { "turnpike gossip 1 keys", 22 };

static int fail(const char **why, int err, const char *words)
{
    ERR_clear_error();
    if (why != NULL)
        *why = words;
    return err;
}

static BIO *bio_of(struct span pem)
{
    return BIO_new_mem_buf(pem.p, pem.n > INT32_MAX ? 0 : (int)pem.n);
}

static X509 *read_certificate(struct span pem)
{
    BIO *bio = bio_of(pem);
    X509 *x = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return x;
}

/* Never asks at a terminal for the passphrase of an encrypted key. */
static int no_passphrase(char *out, int cap, int writing, void *ctx)
{
    (void)out, (void)cap, (void)writing, (void)ctx;
    return -1;
}

static EVP_PKEY *read_key(struct span pem)
{
    BIO *bio = bio_of(pem);
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    return key;
}

static X509_STORE *read_authority(struct span pem)
{
    X509_STORE *store = X509_STORE_new();
    BIO *bio = bio_of(pem);
    int found = 0;
    for (X509 *x; store != NULL && bio != NULL && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL;) {
        found += X509_STORE_add_cert(store, x);
        X509_free(x);
    }
    BIO_free(bio);
    ERR_clear_error();
    if (found == 0) {
        X509_STORE_free(store);
        return NULL;
    }
    return store;
}

/* Signed by the authority, in its time, for this side of a connection. */
static bool verify(X509_STORE *authority, X509 *x, int purpose, const char **why)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    bool good = ctx != NULL && X509_STORE_CTX_init(ctx, authority, x, NULL) == 1 &&
                X509_STORE_CTX_set_purpose(ctx, purpose) == 1 && X509_verify_cert(ctx) == 1;
    if (!good)
        *why = ctx == NULL ? "out of memory" : X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx));
    X509_STORE_CTX_free(ctx);
    ERR_clear_error();
    return good;
}

/* The one URI of ours in the certificate; ERR_BAD when there is none or more than one. */
static int peer_of(X509 *x, struct peer *out)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    int found = 0;
    for (int i = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI)
            continue;
        const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
        struct span text = span_of(ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri));
        if (!span_starts(text, SPAN_LIT("turnpike:")))
            continue;
        found = peer_uri_parse(text, out) == 0 && found == 0 ? 1 : -1;
        if (found < 0)
            break;
    }
    GENERAL_NAMES_free(names);
    return found == 1 ? 0 : ERR_BAD;
}

static bool same_cluster(const struct peer *a, const struct peer *b, const char **why)
{
    if (memcmp(a->cluster, b->cluster, sizeof a->cluster) != 0)
        *why = "a certificate of another cluster";
    else if (a->epoch != b->epoch)
        *why = "a certificate of another epoch";
    else
        return true;
    return false;
}

static int check_own(struct gossip_identity *id, X509 *x, const char **why)
{
    struct peer named;
    const char *words = NULL;
    if (peer_of(x, &named) != 0)
        return fail(why, ERR_DENIED, "the certificate names no node");
    if (!same_cluster(&named, &id->self, &words))
        return fail(why, ERR_DENIED, words);
    if (named.node != id->self.node)
        return fail(why, ERR_DENIED, "the certificate is another node's");
    if (!verify(id->authority, x, X509_PURPOSE_SSL_SERVER, &words) ||
        !verify(id->authority, x, X509_PURPOSE_SSL_CLIENT, &words))
        return fail(why, ERR_DENIED, words);
    return 0;
}

int gossip_identity_new(const struct peer *self, struct span certificate, struct span key, struct span ca,
                        struct gossip_identity **out, const char **why)
{
    struct gossip_identity *id = calloc(1, sizeof *id);
    if (id == NULL)
        return fail(why, -ENOMEM, "out of memory");
    id->refs = 1;
    id->self = *self;
    int err;
    X509 *x = read_certificate(certificate);
    id->key = read_key(key);
    id->authority = read_authority(ca);
    if (x == NULL || id->key == NULL || id->authority == NULL)
        err = fail(why, ERR_BAD, "certificate, key or CA cannot be read");
    else if (EVP_PKEY_get_base_id(id->key) != EVP_PKEY_EC)
        err = fail(why, ERR_BAD, "not an EC key");
    else if (X509_check_private_key(x, id->key) != 1)
        err = fail(why, ERR_BAD, "the key is not the certificate's");
    else
        err = check_own(id, x, why);
    if (err == 0 && (id->certificate_bytes = i2d_X509(x, &id->certificate)) <= 0)
        err = fail(why, -ENOMEM, "out of memory");
    X509_free(x);
    if (err != 0) {
        gossip_identity_rele(id);
        return err;
    }
    *out = id;
    return 0;
}

struct gossip_identity *gossip_identity_hold(struct gossip_identity *id)
{
    id->refs++;
    return id;
}

void gossip_identity_rele(struct gossip_identity *id)
{
    if (id == NULL || --id->refs > 0)
        return;
    X509_STORE_free(id->authority);
    EVP_PKEY_free(id->key);
    OPENSSL_free(id->certificate);
    free(id);
}

int gossip_handshake_init(struct gossip_handshake *h, struct gossip_identity *id, enum gossip_role role,
                          uint64_t to)
{
    *h = (struct gossip_handshake){ .id = gossip_identity_hold(id), .role = role };
    buf_init(&h->hello, GOSSIP_HELLO_MAX);
    struct gossip_hello hello = { .role = (uint8_t)role,
                                  .node = id->self.node,
                                  .to = to,
                                  .certificate = span_of(id->certificate, (size_t)id->certificate_bytes) };
    size_t key_bytes = sizeof hello.key;
    h->ephemeral = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    int err = ERR_FAILED;
    if (h->ephemeral != NULL && RAND_bytes(hello.nonce, sizeof hello.nonce) == 1 &&
        EVP_PKEY_get_raw_public_key(h->ephemeral, hello.key, &key_bytes) == 1 &&
        key_bytes == sizeof hello.key)
        err = gossip_hello_encode(&hello, &h->hello);
    if (err != 0)
        gossip_handshake_fini(h);
    return err;
}

void gossip_handshake_fini(struct gossip_handshake *h)
{
    gossip_identity_rele(h->id);
    EVP_PKEY_free(h->ephemeral);
    EVP_PKEY_free(h->peer_key);
    buf_fini(&h->hello);
    gossip_seal_fini(&h->in);
    gossip_seal_fini(&h->out);
    *h = (struct gossip_handshake){ 0 };
}

/* The certificate: ours to trust, and of the node that the hello says. */
static int check_certificate(struct gossip_handshake *h, const struct gossip_hello *hello, const char **why)
{
    const uint8_t *der = (const uint8_t *)hello->certificate.p;
    X509 *x = d2i_X509(NULL, &der, (long)hello->certificate.n);
    if (x == NULL || der != (const uint8_t *)hello->certificate.p + hello->certificate.n) {
        X509_free(x);
        return fail(why, ERR_BAD, "no certificate");
    }
    int purpose = h->role == GOSSIP_DIALER ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT;
    int err = ERR_DENIED;
    unsigned n = 0;
    if (!verify(h->id->authority, x, purpose, why)) {
        /* its words stand */
    } else if (peer_of(x, &h->peer) != 0) {
        *why = "the certificate names no node";
    } else if (!same_cluster(&h->peer, &h->id->self, why)) {
        /* likewise */
    } else if (h->peer.node != hello->node) {
        *why = "claims to be a node that its certificate does not name";
    } else if (X509_digest(x, EVP_sha256(), h->sha256, &n) != 1 || n != sizeof h->sha256) {
        *why = "cannot hash the certificate";
    } else if ((h->peer_key = X509_get_pubkey(x)) == NULL ||
               EVP_PKEY_get_base_id(h->peer_key) != EVP_PKEY_EC) {
        *why = "not an EC key";
    } else {
        err = 0;
    }
    X509_free(x);
    ERR_clear_error();
    return err;
}

static int hash_hellos(struct span first, struct span second, uint8_t out[HASH_BYTES])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t lengths[2] = { (uint8_t)first.n, (uint8_t)(first.n >> 8) };
    unsigned n = 0;
    bool good = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(ctx, lengths, sizeof lengths) == 1 &&
                EVP_DigestUpdate(ctx, first.p, first.n) == 1 &&
                EVP_DigestUpdate(ctx, second.p, second.n) == 1 && EVP_DigestFinal_ex(ctx, out, &n) == 1;
    EVP_MD_CTX_free(ctx);
    return good && n == HASH_BYTES ? 0 : ERR_FAILED;
}

/* ERR_DENIED also for a key of small order, whose secret would be zero (RFC 7748 6.1). */
static int agree(EVP_PKEY *ours, const uint8_t theirs[GOSSIP_KEY_BYTES], uint8_t secret[GOSSIP_KEY_BYTES])
{
    EVP_PKEY *peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, theirs, GOSSIP_KEY_BYTES);
    EVP_PKEY_CTX *ctx = peer == NULL ? NULL : EVP_PKEY_CTX_new(ours, NULL);
    size_t n = GOSSIP_KEY_BYTES;
    bool good = ctx != NULL && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, peer) == 1 &&
                EVP_PKEY_derive(ctx, secret, &n) == 1 && n == GOSSIP_KEY_BYTES;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
    ERR_clear_error();
    return good ? 0 : ERR_DENIED;
}

struct keys {
    struct {
        uint8_t key[GOSSIP_SEAL_KEY_BYTES], iv[GOSSIP_SEAL_IV_BYTES];
    } dialer, acceptor; /* what each seals with */
};

static int derive(uint8_t secret[GOSSIP_KEY_BYTES], uint8_t transcript[HASH_BYTES], struct keys *out)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
    EVP_KDF_free(kdf);
    if (ctx == NULL)
        return ERR_FAILED;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret, GOSSIP_KEY_BYTES),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, transcript, HASH_BYTES),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (char *)KEYS_LABEL.p, KEYS_LABEL.n),
        OSSL_PARAM_construct_end(),
    };
    int done = EVP_KDF_derive(ctx, (uint8_t *)out, sizeof *out, params);
    EVP_KDF_CTX_free(ctx);
    return done == 1 ? 0 : ERR_FAILED;
}

static int make_keys(struct gossip_handshake *h, const uint8_t theirs[GOSSIP_KEY_BYTES])
{
    uint8_t secret[GOSSIP_KEY_BYTES];
    struct keys keys;
    _Static_assert(sizeof keys == 2 * (GOSSIP_SEAL_KEY_BYTES + GOSSIP_SEAL_IV_BYTES), "no padding");
    bool dialer = h->role == GOSSIP_DIALER;
    int err = agree(h->ephemeral, theirs, secret);
    if (err == 0)
        err = derive(secret, h->transcript, &keys);
    if (err == 0)
        err = dialer ? gossip_seal_init(&h->out, keys.dialer.key, keys.dialer.iv, true)
                     : gossip_seal_init(&h->out, keys.acceptor.key, keys.acceptor.iv, true);
    if (err == 0)
        err = dialer ? gossip_seal_init(&h->in, keys.acceptor.key, keys.acceptor.iv, false)
                     : gossip_seal_init(&h->in, keys.dialer.key, keys.dialer.iv, false);
    OPENSSL_cleanse(secret, sizeof secret);
    OPENSSL_cleanse(&keys, sizeof keys);
    EVP_PKEY_free(h->ephemeral);
    h->ephemeral = NULL;
    return err;
}

int gossip_handshake_meet(struct gossip_handshake *h, struct span bytes, const char **why)
{
    struct gossip_hello hello;
    ensure(h->ephemeral != NULL && h->peer_key == NULL);
    int err = gossip_hello_decode(bytes, &hello);
    if (err != 0)
        return fail(why, ERR_BAD, "not a greeting of ours");
    if (hello.role == (uint8_t)h->role)
        return fail(why, ERR_DENIED, "our own role");
    if (hello.to != h->id->self.node)
        return fail(why, ERR_DENIED, "means another node");
    if (hello.node == h->id->self.node)
        return fail(why, ERR_DENIED, "claims to be this node");
    err = check_certificate(h, &hello, why);
    if (err != 0)
        return err;
    struct span ours = buf_span(&h->hello);
    bool dialer = h->role == GOSSIP_DIALER;
    err = hash_hellos(dialer ? ours : bytes, dialer ? bytes : ours, h->transcript);
    if (err == 0)
        err = make_keys(h, hello.key);
    return err == 0 ? 0 : fail(why, err, "no common key");
}

static void to_sign(const struct gossip_handshake *h, bool by_dialer, uint8_t out[64])
{
    memset(out, 0, 64);
    memcpy(out, by_dialer ? "turnpike gossip 1 dialer" : "turnpike gossip 1 acceptor", by_dialer ? 24 : 26);
    memcpy(out + 32, h->transcript, HASH_BYTES);
}

int gossip_handshake_sign(struct gossip_handshake *h, struct buf *signature)
{
    uint8_t text[64];
    size_t n = SIGNATURE_MAX;
    to_sign(h, h->role == GOSSIP_DIALER, text);
    int err = buf_reserve(signature, n);
    if (err != 0)
        return err;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx != NULL && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, h->id->key) == 1 &&
                EVP_DigestSign(ctx, (uint8_t *)signature->data + signature->len, &n, text, sizeof text) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    if (!good)
        return ERR_FAILED;
    signature->len += n;
    return 0;
}

int gossip_handshake_check(struct gossip_handshake *h, struct span signature)
{
    uint8_t text[64];
    ensure(h->peer_key != NULL);
    to_sign(h, h->role == GOSSIP_ACCEPTOR, text);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, h->peer_key) == 1 &&
                EVP_DigestVerify(ctx, (const uint8_t *)signature.p, signature.n, text, sizeof text) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return good ? 0 : ERR_DENIED;
}
