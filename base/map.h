/* A hash table of pointers to the caller's items, open addressing: 8 bytes a slot, at most 3/4 full, and no
 * bytes in the items. The caller gives the hash with each call and keeps what it needs to compute it again.
 * A table that grows does so a little with each change: meanwhile there are two, and no call takes long.
 * One thread at a time.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t map_hash_fn(const void *item);
typedef bool map_match_fn(const void *item, const void *key);

struct map {
    void **slots;
    size_t cap; /* a power of two, or 0 */
    size_t len; /* of all items */
    void **old; /* what is left in it is on its way to `slots`; NULL: nothing */
    size_t old_cap, old_len;
    size_t at; /* the next slot of `old`; the one before it is empty, and so are those that were moved */
    map_hash_fn *hash;
    map_match_fn *match;
};

void map_init(struct map *m, map_hash_fn *hash, map_match_fn *match);
/* Frees the table, not the items. */
void map_fini(struct map *m);

/* The item whose key matches, or NULL. */
void *map_find(const struct map *m, uint64_t hash, const void *key);
/* 0 or -ENOMEM. The key must not be in the table. */
int map_add(struct map *m, uint64_t hash, void *item);
/* Removes this very item; false if it is not there. */
bool map_remove(struct map *m, uint64_t hash, const void *item);

/* Walks all items in no useful order: start with *at = 0; NULL ends. The table must not change meanwhile. */
void *map_next(const struct map *m, size_t *at);

#endif
