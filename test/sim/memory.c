/* The memory of simulated processes: all that libraft allocates belongs to one server, and so does what the
 * code under test allocates where memory_enter says so (malloc and its kin are wrapped by the linker). It is
 * gone when that server is killed. Nothing of it runs then, just as after kill -9.
 */
#include "test/sim/threads.h"

#include <stdlib.h>

struct block {
    struct list link; /* of its process's; not linked: the simulation's */
    size_t n;
    size_t before; /* bytes between what malloc gave and this */
};

static struct sim_server *raft_owner, *owner;

void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t k, size_t n);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);
void *__wrap_aligned_alloc(size_t alignment, size_t n);
void *__real_malloc(size_t n);
void *__real_aligned_alloc(size_t alignment, size_t n);
void __real_free(void *p);

static void *take_at(struct list *of, size_t alignment, size_t n)
{
    size_t before = alignment <= sizeof(struct block) ? 0 : alignment - sizeof(struct block);
    ensure(n < SIZE_MAX / 2);
    char *p = alignment <= 16 ? __real_malloc(sizeof(struct block) + n)
                              : __real_aligned_alloc(alignment, before + sizeof(struct block) + n);
    ensure(p != NULL);
    struct block *b = (struct block *)(void *)(p + before);
    *b = (struct block){ .n = n, .before = before };
    if (of != NULL)
        list_push_back(of, &b->link);
    return b + 1;
}

static void *take(struct list *of, size_t n)
{
    return take_at(of, 1, n);
}

static void release(struct block *b)
{
    __real_free((char *)b - b->before);
}

static void give(void *p)
{
    if (p == NULL)
        return;
    struct block *b = (struct block *)p - 1;
    list_remove(&b->link);
    release(b);
}

static void *take_more(struct list *of, void *p, size_t n)
{
    void *fresh = take(of, n);
    if (p != NULL) {
        size_t old = ((struct block *)p - 1)->n;
        memcpy(fresh, p, old < n ? old : n);
        give(p);
    }
    return fresh;
}

static void lose(struct list *of)
{
    for (struct list *link; (link = list_pop_front(of)) != NULL;)
        release(LIST_ITEM(link, struct block, link));
}

/* ---- the code under test -------------------------------------------------------------------------------
 */

static struct list *blocks(void)
{
    return owner == NULL ? NULL : &owner->blocks;
}

void *__wrap_malloc(size_t n)
{
    return take(blocks(), n);
}

void *__wrap_calloc(size_t k, size_t n)
{
    ensure(n == 0 || k < SIZE_MAX / 2 / n);
    return memset(take(blocks(), k * n), 0, k * n);
}

void *__wrap_aligned_alloc(size_t alignment, size_t n)
{
    return take_at(blocks(), alignment, n);
}

/* What a process has stays its own, whoever makes it larger. */
void *__wrap_realloc(void *p, size_t n)
{
    return take_more(blocks(), p, n);
}

void __wrap_free(void *p)
{
    give(p);
}

struct sim_server *memory_enter(struct sim_server *s)
{
    struct sim_server *was = owner;
    owner = s;
    return was;
}

void memory_drop(struct sim_server *s)
{
    lose(&s->blocks);
}

/* ---- libraft -------------------------------------------------------------------------------------------
 */

static void *raft_take(void *data, size_t n)
{
    (void)data;
    ensure(raft_owner != NULL);
    return take(&raft_owner->memory, n);
}

static void raft_give(void *data, void *p)
{
    (void)data;
    give(p);
}

static void *raft_take_zeroed(void *data, size_t k, size_t n)
{
    return memset(raft_take(data, k * n), 0, k * n);
}

static void *raft_take_more(void *data, void *p, size_t n)
{
    (void)data;
    return take_more(&raft_owner->memory, p, n);
}

static void *raft_take_aligned(void *data, size_t alignment, size_t n)
{
    ensure(alignment <= 16);
    return raft_take(data, n);
}

static void raft_give_aligned(void *data, size_t alignment, void *p)
{
    (void)data;
    (void)alignment;
    give(p);
}

void memory_begin(void)
{
    static struct raft_heap heap = { .malloc = raft_take,
                                     .free = raft_give,
                                     .calloc = raft_take_zeroed,
                                     .realloc = raft_take_more,
                                     .aligned_alloc = raft_take_aligned,
                                     .aligned_free = raft_give_aligned };
    raft_heap_set(&heap);
}

void memory_of(struct sim_server *s)
{
    raft_owner = s;
}

void memory_lose(struct sim_server *s)
{
    lose(&s->memory);
}
