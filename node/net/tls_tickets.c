/* Keys that seal session tickets (RFC 5077, RFC 8446 section 4.6.1). The newest one seals; the one before it
 * still opens, so a ticket is good for 12 to 24 hours, and a stolen key opens no more than that. Any thread.
 */
#include "node/net/tls_impl.h"

#include "base/clock.h"
#include "base/err.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define KEY_LIFE_MS (12LL * 3600 * 1000)

struct ticket_key {
    unsigned char name[16], aes[32], hmac[32];
};

struct tls_tickets {
    atomic_uint refs;
    pthread_mutex_t lock;
    struct ticket_key keys[2]; /* under lock; newest first */
    bool second;               /* under lock: keys[1] is one */
    int64_t made_ms;           /* under lock: boot time of keys[0] */
};

int tls_tickets_new(struct tls_tickets **out)
{
    struct tls_tickets *t = calloc(1, sizeof *t);
    if (t == NULL)
        return -ENOMEM;
    if (RAND_bytes((unsigned char *)&t->keys[0], sizeof t->keys[0]) != 1) {
        free(t);
        return ERR_FAILED;
    }
    atomic_init(&t->refs, 1);
    pthread_mutex_init(&t->lock, NULL);
    t->made_ms = clock_boot_ms();
    *out = t;
    return 0;
}

void tls_tickets_hold(struct tls_tickets *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
}

void tls_tickets_rele(struct tls_tickets *t)
{
    if (t == NULL || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&t->lock);
    OPENSSL_cleanse(t->keys, sizeof t->keys);
    free(t);
}

/* Under the lock. */
static void renew(struct tls_tickets *t)
{
    int64_t now = clock_boot_ms();
    if (now - t->made_ms < KEY_LIFE_MS)
        return;
    struct ticket_key fresh;
    if (RAND_bytes((unsigned char *)&fresh, sizeof fresh) != 1)
        return;
    t->second = now - t->made_ms < 2 * KEY_LIFE_MS;
    t->keys[1] = t->keys[0];
    t->keys[0] = fresh;
    t->made_ms = now;
}

static int set_keys(const struct ticket_key *k, const unsigned char *iv, EVP_CIPHER_CTX *cipher,
                    EVP_MAC_CTX *mac, int encrypt)
{
    char digest[] = "SHA256";
    unsigned char hmac[sizeof k->hmac];
    memcpy(hmac, k->hmac, sizeof hmac);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, hmac, sizeof hmac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    int ok = EVP_MAC_CTX_set_params(mac, params) == 1 &&
             EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->aes, iv, encrypt) == 1;
    OPENSSL_cleanse(hmac, sizeof hmac);
    return ok;
}

int tls_tickets_cipher(struct tls_tickets *t, const SSL *ssl, unsigned char name[16],
                       unsigned char iv[EVP_MAX_IV_LENGTH], EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                       int encrypt)
{
    pthread_mutex_lock(&t->lock);
    renew(t);
    struct ticket_key keys[2] = { t->keys[0], t->keys[1] };
    bool second = t->second;
    pthread_mutex_unlock(&t->lock);
    int result = 0; /* no such key: a full handshake */
    if (encrypt) {
        memcpy(name, keys[0].name, sizeof keys[0].name);
        result = RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 &&
                         set_keys(&keys[0], iv, cipher, mac, 1)
                     ? 1
                     : -1;
    } else {
        for (int i = 0; i < (second ? 2 : 1) && result == 0; i++) {
            if (CRYPTO_memcmp(name, keys[i].name, sizeof keys[i].name) != 0)
                continue;
            /* 2: with a new ticket, since a TLS 1.3 client uses each ticket once */
            bool fresh = i == 0 && SSL_version(ssl) != TLS1_3_VERSION;
            result = set_keys(&keys[i], iv, cipher, mac, 0) ? (fresh ? 1 : 2) : -1;
        }
    }
    OPENSSL_cleanse(keys, sizeof keys);
    return result;
}
