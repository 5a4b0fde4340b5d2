/* Objects of one size, each named by a 32-bit handle and at a stable address, and lists of them by handle:
 * half of what pointers would take. Memory comes in slabs of 4096 objects; an empty slab goes back (one is
 * kept). Knows nothing of what the objects are. One thread at a time.
 */
#ifndef NODE_QUEUE_POOL_H
#define NODE_QUEUE_POOL_H

#include <stddef.h>
#include <stdint.h>

#define POOL_SLAB_BITS 12
#define POOL_SLAB_OBJECTS (1u << POOL_SLAB_BITS)
#define POOL_HANDLE_MAX 0x7fffffffu /* the top bit is free for users of handles */

struct pool_slab {
    uint32_t used;
    uint32_t next, prev; /* index + 1 in the list of slabs with room, or (next) of those without memory */
    uint64_t full;       /* a bit per word of `taken` that has no zero left */
    uint64_t taken[64];
};

struct pool {
    char **mem; /* by slab; NULL: has none at present */
    struct pool_slab *slabs;
    uint32_t nslabs, cap;
    uint32_t room;   /* first slab + 1 with room, 0: none */
    uint32_t vacant; /* first slab + 1 without memory */
    uint32_t empty;  /* slabs with memory and no object */
    uint32_t live;   /* slabs with memory */
    uint32_t used;   /* objects */
    size_t object_bytes;
};

void pool_init(struct pool *p, size_t object_bytes);
void pool_fini(struct pool *p);

/* A zeroed object and its handle (never 0), or NULL: no memory. */
void *pool_alloc(struct pool *p, uint32_t *handle);
void pool_free(struct pool *p, uint32_t handle);

/* The smallest handle in use that is above `after`; 0: none. */
uint32_t pool_next(const struct pool *p, uint32_t after);
uint64_t pool_bytes(const struct pool *p);

static inline void *pool_at(const struct pool *p, uint32_t handle)
{
    return p->mem[handle >> POOL_SLAB_BITS] + (handle & (POOL_SLAB_OBJECTS - 1)) * p->object_bytes;
}

/* A list of objects of one pool: the link is at byte `at` of the object. An object is in a list or not;
 * which, its owner knows. */
struct pool_link {
    uint32_t next, prev; /* 0: none */
};

struct pool_list {
    uint32_t first, last; /* 0: empty */
};

void pool_list_push_back(const struct pool *p, struct pool_list *l, size_t at, uint32_t handle);
void pool_list_push_front(const struct pool *p, struct pool_list *l, size_t at, uint32_t handle);
void pool_list_remove(const struct pool *p, struct pool_list *l, size_t at, uint32_t handle);

#endif
