/* Who sent and which sites took mail during the last minute. */
#include "node/core/activity.h"

#include "base/hash.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_MS 60000

struct entry {
    int64_t minute; /* of `now` */
    uint64_t now[ACTIVITY_COUNTS];
    uint64_t before[ACTIVITY_COUNTS];
    size_t n;
    char key[];
};

static uint64_t entry_hash(const void *item)
{
    const struct entry *e = item;
    return hash_bytes(e->key, e->n);
}

static bool entry_match(const void *item, const void *key)
{
    const struct entry *e = item;
    return span_eq(span_of(e->key, e->n), *(const struct span *)key);
}

void activity_init(struct activity *a)
{
    map_init(&a->keys, entry_hash, entry_match);
    a->swept = INT64_MIN;
}

void activity_fini(struct activity *a)
{
    size_t at = 0;
    for (struct entry *e; (e = map_next(&a->keys, &at)) != NULL;)
        free(e);
    map_fini(&a->keys);
}

static void turn(struct entry *e, int64_t minute)
{
    if (e->minute == minute)
        return;
    if (e->minute == minute - 1)
        memcpy(e->before, e->now, sizeof e->before);
    else
        memset(e->before, 0, sizeof e->before);
    memset(e->now, 0, sizeof e->now);
    e->minute = minute;
}

/* Drops what has been quiet for a whole window. */
static void sweep(struct activity *a, int64_t minute)
{
    struct entry *quiet[2048];
    size_t n, at;
    if (a->swept == minute)
        return; /* full of busy keys: it is not walked for each new one */
    a->swept = minute;
    do {
        n = at = 0;
        for (struct entry *e; n < sizeof quiet / sizeof quiet[0] && (e = map_next(&a->keys, &at)) != NULL;)
            if (e->minute < minute - 1)
                quiet[n++] = e;
        for (size_t i = 0; i < n; i++) {
            map_remove(&a->keys, entry_hash(quiet[i]), quiet[i]);
            free(quiet[i]);
        }
    } while (n == sizeof quiet / sizeof quiet[0]);
}

void activity_add(struct activity *a, int64_t now_ms, struct span key, enum activity_count which, uint64_t n)
{
    if (key.n == 0)
        return;
    int64_t minute = now_ms / WINDOW_MS;
    uint64_t hash = hash_bytes(key.p, key.n);
    struct entry *e = map_find(&a->keys, hash, &key);
    if (e == NULL) {
        if (a->keys.len >= ACTIVITY_KEYS_MAX)
            sweep(a, minute);
        if (a->keys.len >= ACTIVITY_KEYS_MAX || (e = calloc(1, sizeof *e + key.n)) == NULL)
            return;
        e->minute = minute;
        e->n = key.n;
        memcpy(e->key, key.p, key.n);
        if (map_add(&a->keys, hash, e) != 0) {
            free(e);
            return;
        }
    }
    turn(e, minute);
    e->now[which] += n;
}

void activity_each(const struct activity *a, int64_t now_ms, activity_fn *fn, void *ctx)
{
    int64_t minute = now_ms / WINDOW_MS, into = now_ms % WINDOW_MS;
    size_t at = 0;
    for (const struct entry *e; (e = map_next(&a->keys, &at)) != NULL;) {
        uint64_t counts[ACTIVITY_COUNTS], any = 0;
        for (int i = 0; i < ACTIVITY_COUNTS; i++) {
            uint64_t now = e->minute == minute ? e->now[i] : 0;
            uint64_t before = e->minute == minute ? e->before[i] : e->minute == minute - 1 ? e->now[i] : 0;
            counts[i] = now + before * (uint64_t)(WINDOW_MS - into) / WINDOW_MS;
            any |= counts[i];
        }
        if (any != 0)
            fn(ctx, span_of(e->key, e->n), counts);
    }
}
