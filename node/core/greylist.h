/* What the node has learnt of sites that greylist, and the writing of it now and then. */
#ifndef NODE_CORE_GREYLIST_H
#define NODE_CORE_GREYLIST_H

#include "node/auth/pool.h"
#include "node/shaping/grey.h"

#include <stdatomic.h>

struct greylist {
    struct grey *known; /* any thread */
    struct auth_job job;
    atomic_bool saving;
};

/* Reads what was learnt before a restart. 0 or an error, which is in the log. */
int greylist_open(const char *data_dir, struct greylist **out);
/* Has it written if something is new, on a thread of the pool's. Main thread. */
void greylist_tick(struct greylist *g, struct auth_pool *pool);
/* Writes and frees it; the pool has stopped. NULL is harmless. */
void greylist_close(struct greylist *g);

#endif
