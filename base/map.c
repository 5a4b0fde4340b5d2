/* A hash table of pointers, open addressing with linear probing; removal shifts back, so there are no tombstones. */
#include "base/map.h"

#include <errno.h>
#include <stdlib.h>

void map_init(struct map *m, map_hash_fn *hash, map_match_fn *match)
{
    *m = (struct map){ .hash = hash, .match = match };
}

void map_fini(struct map *m)
{
    free(m->slots);
    m->slots = NULL;
    m->cap = m->len = 0;
}

void *map_find(const struct map *m, uint64_t hash, const void *key)
{
    if (m->cap == 0)
        return NULL;
    for (size_t i = hash & (m->cap - 1); m->slots[i] != NULL; i = (i + 1) & (m->cap - 1))
        if (m->match(m->slots[i], key))
            return m->slots[i];
    return NULL;
}

static void insert(void **slots, size_t cap, uint64_t hash, void *item)
{
    size_t i = hash & (cap - 1);
    while (slots[i] != NULL)
        i = (i + 1) & (cap - 1);
    slots[i] = item;
}

static int resize(struct map *m, size_t cap)
{
    void **slots = calloc(cap, sizeof *slots);
    if (slots == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i] != NULL)
            insert(slots, cap, m->hash(m->slots[i]), m->slots[i]);
    free(m->slots);
    m->slots = slots;
    m->cap = cap;
    return 0;
}

int map_add(struct map *m, uint64_t hash, void *item)
{
    if ((m->len + 1) * 4 > m->cap * 3) {
        int err = resize(m, m->cap == 0 ? 16 : m->cap * 2);
        if (err != 0)
            return err;
    }
    insert(m->slots, m->cap, hash, item);
    m->len++;
    return 0;
}

bool map_remove(struct map *m, uint64_t hash, const void *item)
{
    if (m->cap == 0)
        return false;
    size_t mask = m->cap - 1;
    size_t i = hash & mask;
    while (m->slots[i] != item) {
        if (m->slots[i] == NULL)
            return false;
        i = (i + 1) & mask;
    }
    size_t hole = i;
    for (size_t j = (i + 1) & mask; m->slots[j] != NULL; j = (j + 1) & mask) {
        size_t home = m->hash(m->slots[j]) & mask;
        if (((j - home) & mask) >= ((j - hole) & mask)) {
            m->slots[hole] = m->slots[j];
            hole = j;
        }
    }
    m->slots[hole] = NULL;
    m->len--;
    if (m->cap > 64 && m->len * 8 < m->cap)
        (void)resize(m, m->cap / 2); /* keeping the larger table is no error */
    return true;
}

void *map_next(const struct map *m, size_t *at)
{
    while (*at < m->cap) {
        void *item = m->slots[(*at)++];
        if (item != NULL)
            return item;
    }
    return NULL;
}
