/* Memory that is given back all at once: a few blocks of growing size, up to a bound. Holds nothing while it
 * is empty. One thread at a time.
 */
#ifndef NODE_SMTP_ARENA_H
#define NODE_SMTP_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *last; /* newest block, or NULL */
    size_t held;              /* bytes of all blocks */
    size_t max;               /* bound of it */
};

/* A place to come back to. */
struct arena_mark {
    struct arena_block *block;
    size_t used;
};

void arena_init(struct arena *a, size_t max_bytes);
/* Aligned for any object, not cleared. NULL when the bound is reached or there is no memory. */
void *arena_alloc(struct arena *a, size_t n);
struct arena_mark arena_mark(const struct arena *a);
/* Forgets what was allocated since the mark. */
void arena_rewind(struct arena *a, struct arena_mark mark);
/* Forgets everything and gives the memory back. */
void arena_reset(struct arena *a);

#endif
