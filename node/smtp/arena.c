/* A bump allocator with a bound. See the header. */
#include "node/smtp/arena.h"

#include "base/ensure.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

#define BLOCK_FIRST 1024u
#define BLOCK_LARGEST 65536u

struct arena_block {
    struct arena_block *prev;
    size_t used; /* of `bytes` */
    size_t cap;
    alignas(max_align_t) unsigned char bytes[];
};

void arena_init(struct arena *a, size_t max_bytes)
{
    *a = (struct arena){ .max = max_bytes };
}

static struct arena_block *block_add(struct arena *a, size_t need)
{
    size_t left = a->max - a->held;
    if (left < sizeof(struct arena_block) || left - sizeof(struct arena_block) < need)
        return NULL;
    size_t cap = a->last == NULL ? BLOCK_FIRST - sizeof(struct arena_block) : a->last->cap * 2;
    if (cap > BLOCK_LARGEST)
        cap = BLOCK_LARGEST;
    if (cap < need)
        cap = need;
    if (cap > left - sizeof(struct arena_block))
        cap = left - sizeof(struct arena_block);
    struct arena_block *b = malloc(sizeof *b + cap);
    if (b == NULL)
        return NULL;
    *b = (struct arena_block){ .prev = a->last, .cap = cap };
    a->last = b;
    a->held += sizeof *b + cap;
    return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
    const size_t align = alignof(max_align_t);
    if (n > a->max)
        return NULL;
    n = (n + align - 1) / align * align;
    struct arena_block *b = a->last;
    if ((b == NULL || b->cap - b->used < n) && (b = block_add(a, n)) == NULL)
        return NULL;
    void *p = b->bytes + b->used;
    b->used += n;
    return p;
}

struct arena_mark arena_mark(const struct arena *a)
{
    return (struct arena_mark){ .block = a->last, .used = a->last == NULL ? 0 : a->last->used };
}

void arena_rewind(struct arena *a, struct arena_mark mark)
{
    while (a->last != mark.block) {
        struct arena_block *b = a->last;
        ensure(b != NULL);
        a->last = b->prev;
        a->held -= sizeof *b + b->cap;
        free(b);
    }
    if (a->last != NULL) {
        ensure(mark.used <= a->last->used);
        a->last->used = mark.used;
    }
}

void arena_reset(struct arena *a)
{
    arena_rewind(a, (struct arena_mark){ 0 });
}
