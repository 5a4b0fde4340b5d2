/* Return paths that only we can make and read: see token.h. */
#include "node/bounce/token.h"

#include "base/ensure.h"
#include "base/err.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#define BLOCK 16
#define MAC 8
#define OWN 1

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

uint64_t bounce_hash(struct span s)
{
    /* FNV-1a; the names are accounts' and recipients', and the result goes out encrypted. */
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 'A' && c <= 'Z')
            c = (unsigned char)(c - 'A' + 'a');
        h = (h ^ c) * UINT64_C(0x100000001b3);
    }
    h = (h ^ h >> 31) * UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ h >> 29) & UINT64_C(0xffffffffffff);
    return (uint32_t)h == 0 ? h + 1 : h;
}

static int hmac(const unsigned char key[32], const void *p, size_t n, unsigned char out[32])
{
    unsigned len = 32;
    return HMAC(EVP_sha256(), key, 32, p, n, out, &len) != NULL && len == 32 ? 0 : ERR_FAILED;
}

int bounce_key_derive(struct span secret, struct bounce_key *out)
{
    unsigned char digest[32];
    unsigned len = sizeof digest;
    if (EVP_Digest(secret.p, secret.n, digest, &len, EVP_sha256(), NULL) != 1)
        return ERR_FAILED;
    int err = hmac(digest, "return path: cipher", 19, out->cipher);
    if (err == 0)
        err = hmac(digest, "return path: mac", 16, out->mac);
    OPENSSL_cleanse(digest, sizeof digest);
    return err;
}

/* One block is a permutation under the key: no mode is needed. */
static int cipher(const struct bounce_key *key, bool encrypt, const unsigned char in[BLOCK],
                  unsigned char out[BLOCK])
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;
    bool ok = ctx != NULL &&
              EVP_CipherInit_ex(ctx, EVP_aes_256_ecb(), NULL, key->cipher, NULL, encrypt ? 1 : 0) == 1 &&
              EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 && EVP_CipherUpdate(ctx, out, &n, in, BLOCK) == 1 &&
              n == BLOCK;
    EVP_CIPHER_CTX_free(ctx);
    return ok ? 0 : ERR_FAILED;
}

static void put(unsigned char **p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        *(*p)++ = (unsigned char)(v >> (8 * i));
}

static uint64_t get(const unsigned char **p, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v |= (uint64_t) * (*p)++ << (8 * i);
    return v;
}

int bounce_token_write(const struct bounce_key *key, const struct bounce_ref *ref,
                       char out[BOUNCE_TOKEN_TEXT + 1])
{
    unsigned char plain[BLOCK], raw[BLOCK + 32], *p = plain;
    put(&p, ref->day, 2);
    put(&p, ref->own ? OWN : 0, 1);
    put(&p, ref->class, 1);
    put(&p, ref->account, 6);
    put(&p, ref->rcpt, 4);
    put(&p, ref->salt, 2);
    int err = cipher(key, true, plain, raw);
    if (err == 0)
        err = hmac(key->mac, raw, BLOCK, raw + BLOCK);
    if (err != 0)
        return err;
    uint32_t bits = 0;
    unsigned have = 0, n = 0;
    for (unsigned i = 0; i < BLOCK + MAC; i++) {
        bits = bits << 8 | raw[i];
        for (have += 8; have >= 5; have -= 5)
            out[n++] = alphabet[bits >> (have - 5) & 31];
    }
    out[n++] = alphabet[bits << (5 - have) & 31]; /* two bits are left */
    ensure(n == BOUNCE_TOKEN_TEXT);
    out[n] = 0;
    return 0;
}

static int decode(struct span text, unsigned char raw[BLOCK + MAC])
{
    uint32_t bits = 0;
    unsigned have = 0, n = 0;
    if (text.n != BOUNCE_TOKEN_TEXT)
        return ERR_BAD;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i] >= 'A' && text.p[i] <= 'Z' ? (char)(text.p[i] - 'A' + 'a') : text.p[i];
        const char *at = c == 0 ? NULL : strchr(alphabet, c);
        if (at == NULL)
            return ERR_BAD;
        bits = bits << 5 | (uint32_t)(at - alphabet);
        have += 5;
        if (have >= 8) {
            have -= 8;
            raw[n++] = (unsigned char)(bits >> have);
        }
    }
    ensure(n == BLOCK + MAC);
    return (bits & ((1u << have) - 1)) == 0 ? 0 : ERR_BAD; /* one text for one token */
}

int bounce_token_read(const struct bounce_key *key, struct span text, uint16_t today, uint16_t days,
                      struct bounce_ref *out)
{
    unsigned char raw[BLOCK + MAC], mac[32], plain[BLOCK];
    int err = decode(text, raw);
    if (err == 0)
        err = hmac(key->mac, raw, BLOCK, mac);
    if (err == 0 && CRYPTO_memcmp(mac, raw + BLOCK, MAC) != 0)
        err = ERR_BAD;
    if (err == 0)
        err = cipher(key, false, raw, plain);
    if (err != 0)
        return err;
    const unsigned char *p = plain;
    out->day = (uint16_t)get(&p, 2);
    out->own = (get(&p, 1) & OWN) != 0;
    out->class = (uint8_t)get(&p, 1);
    out->account = get(&p, 6);
    out->rcpt = (uint32_t)get(&p, 4);
    out->salt = (uint16_t)get(&p, 2);
    /* The nodes' clocks may differ by a day, around midnight. */
    return out->day > today + 1 || out->day + days < today ? ERR_TIMEOUT : 0;
}
