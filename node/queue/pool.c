/* Slabs of objects by handle. A slab's free places are found by two bit scans, whatever is in use. */
#include "node/queue/pool.h"

#include "base/ensure.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void pool_init(struct pool *p, size_t object_bytes)
{
    *p = (struct pool){ .object_bytes = object_bytes };
}

void pool_fini(struct pool *p)
{
    for (uint32_t i = 0; i < p->nslabs; i++)
        free(p->mem[i]);
    free(p->mem);
    free(p->slabs);
    pool_init(p, p->object_bytes);
}

static void room_push(struct pool *p, uint32_t slab)
{
    p->slabs[slab].prev = 0;
    p->slabs[slab].next = p->room;
    if (p->room != 0)
        p->slabs[p->room - 1].prev = slab + 1;
    p->room = slab + 1;
}

static void room_remove(struct pool *p, uint32_t slab)
{
    struct pool_slab *s = &p->slabs[slab];
    if (s->prev != 0)
        p->slabs[s->prev - 1].next = s->next;
    else
        p->room = s->next;
    if (s->next != 0)
        p->slabs[s->next - 1].prev = s->prev;
}

static bool grow_tables(struct pool *p)
{
    uint32_t cap = p->cap == 0 ? 4 : p->cap * 2;
    char **mem = realloc(p->mem, cap * sizeof *mem);
    if (mem == NULL)
        return false;
    p->mem = mem;
    struct pool_slab *slabs = realloc(p->slabs, cap * sizeof *slabs);
    if (slabs == NULL)
        return false;
    p->slabs = slabs;
    p->cap = cap;
    return true;
}

static bool add_slab(struct pool *p)
{
    if (p->vacant == 0 && p->nslabs == p->cap && !grow_tables(p))
        return false;
    if (p->vacant == 0 && p->nslabs > POOL_HANDLE_MAX >> POOL_SLAB_BITS)
        return false;
    char *mem = aligned_alloc(64, (POOL_SLAB_OBJECTS * p->object_bytes + 63) & ~(size_t)63);
    if (mem == NULL)
        return false;
    uint32_t slab = p->nslabs;
    if (p->vacant != 0) {
        slab = p->vacant - 1;
        p->vacant = p->slabs[slab].next;
    } else {
        p->nslabs++;
    }
    p->mem[slab] = mem;
    memset(&p->slabs[slab], 0, sizeof p->slabs[slab]);
    if (slab == 0) { /* handle 0 means none, so its place is never given out */
        p->slabs[0].taken[0] = 1;
        p->slabs[0].used = 1;
    } else {
        p->empty++;
    }
    p->live++;
    room_push(p, slab);
    return true;
}

void *pool_alloc(struct pool *p, uint32_t *handle)
{
    if (p->room == 0 && !add_slab(p))
        return NULL;
    uint32_t slab = p->room - 1;
    struct pool_slab *s = &p->slabs[slab];
    ensure(s->full != UINT64_MAX);
    uint32_t word = (uint32_t)__builtin_ctzll(~s->full);
    uint32_t bit = (uint32_t)__builtin_ctzll(~s->taken[word]);
    s->taken[word] |= UINT64_C(1) << bit;
    if (s->taken[word] == UINT64_MAX)
        s->full |= UINT64_C(1) << word;
    if (s->used++ == 0)
        p->empty--;
    if (s->used == POOL_SLAB_OBJECTS)
        room_remove(p, slab);
    p->used++;
    *handle = slab << POOL_SLAB_BITS | word << 6 | bit;
    void *object = pool_at(p, *handle);
    memset(object, 0, p->object_bytes);
    return object;
}

void pool_free(struct pool *p, uint32_t handle)
{
    uint32_t slab = handle >> POOL_SLAB_BITS;
    uint32_t word = handle >> 6 & 63, bit = handle & 63;
    ensure(handle != 0 && slab < p->nslabs);
    struct pool_slab *s = &p->slabs[slab];
    ensure((s->taken[word] >> bit & 1) != 0);
    s->taken[word] &= ~(UINT64_C(1) << bit);
    s->full &= ~(UINT64_C(1) << word);
    if (s->used-- == POOL_SLAB_OBJECTS)
        room_push(p, slab);
    p->used--;
    if (s->used != 0)
        return;
    if (p->empty == 0) {
        p->empty++;
        return;
    }
    room_remove(p, slab);
    free(p->mem[slab]);
    p->mem[slab] = NULL;
    p->live--;
    s->next = p->vacant;
    p->vacant = slab + 1;
}

uint32_t pool_next(const struct pool *p, uint32_t after)
{
    uint32_t from = after + 1;
    for (uint32_t slab = from >> POOL_SLAB_BITS; slab < p->nslabs; slab++) {
        uint32_t start = slab == from >> POOL_SLAB_BITS ? from & (POOL_SLAB_OBJECTS - 1) : 0;
        if (p->mem[slab] == NULL)
            continue;
        for (uint32_t word = start >> 6; word < 64; word++) {
            uint64_t bits = p->slabs[slab].taken[word];
            if (word == start >> 6)
                bits &= UINT64_MAX << (start & 63);
            if (slab == 0 && word == 0)
                bits &= ~UINT64_C(1);
            if (bits != 0)
                return slab << POOL_SLAB_BITS | word << 6 | (uint32_t)__builtin_ctzll(bits);
        }
    }
    return 0;
}

uint64_t pool_bytes(const struct pool *p)
{
    return (uint64_t)p->live * POOL_SLAB_OBJECTS * p->object_bytes +
           (uint64_t)p->cap * (sizeof *p->mem + sizeof *p->slabs);
}

static struct pool_link *link_at(const struct pool *p, size_t at, uint32_t handle)
{
    return (struct pool_link *)((char *)pool_at(p, handle) + at);
}

void pool_list_push_back(const struct pool *p, struct pool_list *l, size_t at, uint32_t handle)
{
    *link_at(p, at, handle) = (struct pool_link){ .next = 0, .prev = l->last };
    if (l->last != 0)
        link_at(p, at, l->last)->next = handle;
    else
        l->first = handle;
    l->last = handle;
}

void pool_list_push_front(const struct pool *p, struct pool_list *l, size_t at, uint32_t handle)
{
    *link_at(p, at, handle) = (struct pool_link){ .next = l->first, .prev = 0 };
    if (l->first != 0)
        link_at(p, at, l->first)->prev = handle;
    else
        l->last = handle;
    l->first = handle;
}

void pool_list_remove(const struct pool *p, struct pool_list *l, size_t at, uint32_t handle)
{
    struct pool_link link = *link_at(p, at, handle);
    ensure(link.prev != 0 || l->first == handle);
    ensure(link.next != 0 || l->last == handle);
    if (link.prev != 0)
        link_at(p, at, link.prev)->next = link.next;
    else
        l->first = link.next;
    if (link.next != 0)
        link_at(p, at, link.next)->prev = link.prev;
    else
        l->last = link.prev;
}
