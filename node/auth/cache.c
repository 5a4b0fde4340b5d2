/* Passwords that were right a moment ago. */
#include "node/auth/cache.h"

#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>

struct entry {
    struct list link; /* by last use, the longest unused first */
    struct auth_identity *id;
    int64_t until_ms;
    uint8_t digest[AUTH_DIGEST_BYTES];
};

struct auth_cache {
    uint8_t key[32];
    struct map map; /* by digest */
    struct list used;
    uint32_t max;
    int64_t ttl_ms;
};

static uint64_t entry_hash(const void *item)
{
    return hash_bytes(((const struct entry *)item)->digest, AUTH_DIGEST_BYTES);
}

static bool entry_match(const void *item, const void *key)
{
    return CRYPTO_memcmp(((const struct entry *)item)->digest, key, AUTH_DIGEST_BYTES) == 0;
}

struct auth_cache *auth_cache_new(uint32_t max, int64_t ttl_ms)
{
    struct auth_cache *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    if (RAND_bytes(c->key, sizeof c->key) != 1) {
        free(c);
        return NULL;
    }
    map_init(&c->map, entry_hash, entry_match);
    list_init(&c->used);
    c->max = max;
    c->ttl_ms = ttl_ms;
    return c;
}

static void drop(struct auth_cache *c, struct entry *e)
{
    map_remove(&c->map, entry_hash(e), e);
    list_remove(&e->link);
    auth_identity_rele(e->id);
    explicit_bzero(e, sizeof *e);
    free(e);
}

void auth_cache_configure(struct auth_cache *c, uint32_t max, int64_t ttl_ms)
{
    struct list *l;
    while ((l = list_first(&c->used)) != NULL)
        drop(c, LIST_ITEM(l, struct entry, link));
    c->max = max;
    c->ttl_ms = ttl_ms;
}

void auth_cache_free(struct auth_cache *c)
{
    if (c == NULL)
        return;
    auth_cache_configure(c, 0, 0);
    map_fini(&c->map);
    explicit_bzero(c->key, sizeof c->key);
    free(c);
}

bool auth_cache_digest(const struct auth_cache *c, struct span account, struct span hash,
                       struct span password, uint8_t digest[AUTH_DIGEST_BYTES])
{
    /* No part has a NUL in it, so the parts can't run into each other. */
    uint8_t text[ACCOUNT_NAME_MAX + ACCOUNT_HASH_MAX + ACCOUNT_PASSWORD_MAX + 3];
    const struct span parts[3] = { account, hash, password };
    size_t n = 0;
    unsigned len = 0;
    for (int i = 0; i < 3; i++) {
        if (parts[i].n + 1 > sizeof text - n)
            return false;
        if (parts[i].n > 0)
            memcpy(text + n, parts[i].p, parts[i].n);
        n += parts[i].n;
        text[n++] = '\0';
    }
    bool good = HMAC(EVP_sha256(), c->key, sizeof c->key, text, n, digest, &len) != NULL;
    explicit_bzero(text, sizeof text);
    return good && len == AUTH_DIGEST_BYTES;
}

struct auth_identity *auth_cache_find(struct auth_cache *c, const uint8_t *digest, int64_t now_ms)
{
    struct entry *e = map_find(&c->map, hash_bytes(digest, AUTH_DIGEST_BYTES), digest);
    if (e == NULL)
        return NULL;
    if (e->until_ms <= now_ms) {
        drop(c, e);
        return NULL;
    }
    list_remove(&e->link);
    list_push_back(&c->used, &e->link);
    return e->id;
}

void auth_cache_put(struct auth_cache *c, const uint8_t *digest, struct auth_identity *id, int64_t now_ms)
{
    uint64_t hash = hash_bytes(digest, AUTH_DIGEST_BYTES);
    struct entry *e = map_find(&c->map, hash, digest);
    if (e != NULL)
        drop(c, e);
    if (c->max == 0 || c->ttl_ms <= 0)
        return;
    if (c->map.len >= c->max)
        drop(c, LIST_ITEM(list_first(&c->used), struct entry, link));
    e = calloc(1, sizeof *e);
    if (e == NULL)
        return; /* a cache may forget */
    memcpy(e->digest, digest, AUTH_DIGEST_BYTES);
    e->until_ms = now_ms + c->ttl_ms;
    if (map_add(&c->map, hash, e) != 0) {
        free(e);
        return;
    }
    e->id = auth_identity_hold(id);
    list_push_back(&c->used, &e->link);
}

void auth_cache_forget(struct auth_cache *c, struct span account)
{
    LIST_EACH_SAFE(l, &c->used)
    {
        struct entry *e = LIST_ITEM(l, struct entry, link);
        if (span_eq(span_str(e->id->account), account))
            drop(c, e);
    }
}

uint32_t auth_cache_len(const struct auth_cache *c)
{
    return (uint32_t)c->map.len;
}
