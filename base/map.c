/* A hash table of pointers, open addressing with linear probing; removal shifts back, so there are no tombstones. */
#include "base/map.h"

#include <errno.h>
#include <stdlib.h>

#define MOVED_SLOTS 16 /* of a table that is replaced, with each change */

void map_init(struct map *m, map_hash_fn *hash, map_match_fn *match)
{
    *m = (struct map){ .hash = hash, .match = match };
}

void map_fini(struct map *m)
{
    free(m->slots);
    free(m->old);
    m->slots = m->old = NULL;
    m->cap = m->len = m->old_cap = m->old_len = 0;
}

static void *find(void *const *slots, size_t cap, map_match_fn *match, uint64_t hash, const void *key)
{
    if (cap == 0)
        return NULL;
    for (size_t i = hash & (cap - 1); slots[i] != NULL; i = (i + 1) & (cap - 1))
        if (match(slots[i], key))
            return slots[i];
    return NULL;
}

void *map_find(const struct map *m, uint64_t hash, const void *key)
{
    void *item = find(m->slots, m->cap, m->match, hash, key);
    return item != NULL ? item : find(m->old, m->old_cap, m->match, hash, key);
}

static void insert(void **slots, size_t cap, uint64_t hash, void *item)
{
    size_t i = hash & (cap - 1);
    while (slots[i] != NULL)
        i = (i + 1) & (cap - 1);
    slots[i] = item;
}

/* So many slots, and then up to an empty one: what is left must be found without those before it. */
static void move(struct map *m, size_t slots)
{
    for (bool last = false; m->old_len > 0 && !(last && slots == 0); slots -= slots > 0) {
        void *item = m->old[m->at];
        last = item == NULL;
        if (item != NULL) {
            insert(m->slots, m->cap, m->hash(item), item);
            m->old[m->at] = NULL;
            m->old_len--;
        }
        m->at = (m->at + 1) & (m->old_cap - 1);
    }
    if (m->old_len > 0)
        return;
    free(m->old);
    m->old = NULL;
    m->old_cap = 0;
}

static int resize(struct map *m, size_t cap)
{
    void **slots = calloc(cap, sizeof *slots);
    if (slots == NULL)
        return -ENOMEM;
    move(m, SIZE_MAX); /* mostly nothing: it ended long before */
    m->old = m->slots;
    m->old_cap = m->cap;
    m->old_len = m->len;
    m->slots = slots;
    m->cap = cap;
    m->at = 0;
    while (m->old_len > 0 && m->old[m->at] != NULL)
        m->at++;
    move(m, 0);
    return 0;
}

int map_add(struct map *m, uint64_t hash, void *item)
{
    if ((m->len + 1) * 4 > m->cap * 3) {
        int err = resize(m, m->cap == 0 ? 16 : m->cap * 2);
        if (err != 0)
            return err;
    }
    move(m, MOVED_SLOTS);
    insert(m->slots, m->cap, hash, item);
    m->len++;
    return 0;
}

static bool take_out(void **slots, size_t cap, map_hash_fn *hash_of, uint64_t hash, const void *item)
{
    if (cap == 0)
        return false;
    size_t mask = cap - 1, hole = hash & mask;
    while (slots[hole] != item) {
        if (slots[hole] == NULL)
            return false;
        hole = (hole + 1) & mask;
    }
    for (size_t j = (hole + 1) & mask; slots[j] != NULL; j = (j + 1) & mask) {
        size_t home = hash_of(slots[j]) & mask;
        if (((j - home) & mask) >= ((j - hole) & mask)) {
            slots[hole] = slots[j];
            hole = j;
        }
    }
    slots[hole] = NULL;
    return true;
}

bool map_remove(struct map *m, uint64_t hash, const void *item)
{
    if (!take_out(m->slots, m->cap, m->hash, hash, item)) {
        if (!take_out(m->old, m->old_cap, m->hash, hash, item))
            return false;
        m->old_len--;
    }
    m->len--;
    move(m, MOVED_SLOTS);
    if (m->old == NULL && m->cap > 64 && m->len * 8 < m->cap)
        (void)resize(m, m->cap / 2); /* keeping the larger table is no error */
    return true;
}

void *map_next(const struct map *m, size_t *at)
{
    while (*at < m->cap + m->old_cap) {
        size_t i = (*at)++;
        void *item = i < m->cap ? m->slots[i] : m->old[i - m->cap];
        if (item != NULL)
            return item;
    }
    return NULL;
}
