/* SipHash-1-3 (Aumasson and Bernstein 2012) keyed once per process. */
#include "base/hash.h"

#include "base/ensure.h"

#include <ctype.h>
#include <sys/random.h>

static uint64_t key[2] = { 0x0706050403020100u, 0x0f0e0d0c0b0a0908u };

void hash_seed(void)
{
    ensure(getrandom(key, sizeof key, 0) == (ssize_t)sizeof key);
}

static inline uint64_t rotl(uint64_t x, int b)
{
    return (x << b) | (x >> (64 - b));
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] = rotl(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] = rotl(v[2], 32);
}

static uint64_t sip(const uint8_t *p, size_t n, int fold)
{
    uint64_t v[4] = { 0x736f6d6570736575u ^ key[0], 0x646f72616e646f6du ^ key[1], 0x6c7967656e657261u ^ key[0],
                      0x7465646279746573u ^ key[1] };
    uint64_t word = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = fold != 0 && p[i] >= 'A' && p[i] <= 'Z' ? (uint8_t)(p[i] | 0x20) : p[i];
        word |= (uint64_t)c << (8 * (i & 7));
        if ((i & 7) == 7) {
            v[3] ^= word;
            sip_round(v);
            v[0] ^= word;
            word = 0;
        }
    }
    word |= (uint64_t)(n & 0xff) << 56;
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t hash_bytes(const void *p, size_t n)
{
    return sip(p, n, 0);
}

uint64_t hash_nocase(struct span s)
{
    return sip((const uint8_t *)s.p, s.n, 1);
}

uint64_t hash_u64(uint64_t v)
{
    return sip((const uint8_t *)&v, sizeof v, 0);
}
