/* Threads for work that blocks or takes long, with a bounded queue. They give way to those that answer clients
 * (nice 10). */
#ifndef NODE_AUTH_POOL_H
#define NODE_AUTH_POOL_H

#include "base/list.h"

#include <stdint.h>

struct auth_job {
    struct list link;
    /* On one of the pool's threads; the job is its own again. */
    void (*run)(struct auth_job *job, int stopping);
};

struct auth_pool;

int auth_pool_start(uint32_t threads, uint32_t max, struct auth_pool **out);
/* What waits is run with `stopping` set, on the caller's thread; then the threads are joined. NULL is
 * allowed. */
void auth_pool_stop(struct auth_pool *p);
/* Takes the job; ERR_LIMIT when `max` are waiting. Any thread. */
int auth_pool_push(struct auth_pool *p, struct auth_job *job);

#endif
