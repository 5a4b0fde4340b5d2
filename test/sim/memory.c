/* The memory of simulated processes: all that libraft allocates belongs to one server, and is gone when that
 * server is killed. Nothing of libraft runs then, just as after kill -9.
 */
#include "test/sim/sim.h"

#include <stdlib.h>

struct block {
    struct list link;
    size_t n;
    uint64_t unused; /* so that what follows is aligned as malloc's */
};

static struct sim_server *owner;

static void *take(void *data, size_t n)
{
    (void)data;
    ensure(owner != NULL);
    struct block *b = malloc(sizeof *b + n);
    ensure(b != NULL);
    b->n = n;
    list_push_back(&owner->memory, &b->link);
    return b + 1;
}

static void give(void *data, void *p)
{
    (void)data;
    if (p == NULL)
        return;
    struct block *b = (struct block *)p - 1;
    list_remove(&b->link);
    free(b);
}

static void *take_zeroed(void *data, size_t k, size_t n)
{
    void *p = take(data, k * n);
    memset(p, 0, k * n);
    return p;
}

static void *take_more(void *data, void *p, size_t n)
{
    void *fresh = take(data, n);
    if (p != NULL) {
        size_t old = ((struct block *)p - 1)->n;
        memcpy(fresh, p, old < n ? old : n);
        give(data, p);
    }
    return fresh;
}

static void *take_aligned(void *data, size_t alignment, size_t n)
{
    ensure(alignment <= 16);
    return take(data, n);
}

static void give_aligned(void *data, size_t alignment, void *p)
{
    (void)alignment;
    give(data, p);
}

void memory_begin(void)
{
    static struct raft_heap heap = { .malloc = take,
                                     .free = give,
                                     .calloc = take_zeroed,
                                     .realloc = take_more,
                                     .aligned_alloc = take_aligned,
                                     .aligned_free = give_aligned };
    raft_heap_set(&heap);
}

void memory_of(struct sim_server *s)
{
    owner = s;
}

void memory_lose(struct sim_server *s)
{
    for (struct list *link; (link = list_pop_front(&s->memory)) != NULL;)
        free(LIST_ITEM(link, struct block, link));
}
