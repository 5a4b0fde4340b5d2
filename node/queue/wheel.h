/* A timing wheel: six levels of 64 slots over 32-bit ticks, with objects of one pool in it. Adding, removing
 * and taking out cost the same whatever is in it; an object is moved at most once per level. It does not
 * store when an object is due: it hands an object back when its slot's time comes, and the owner fires it or
 * adds it again. Knows no clock. One thread at a time.
 */
#ifndef NODE_QUEUE_WHEEL_H
#define NODE_QUEUE_WHEEL_H

#include "node/queue/pool.h"

#include <stdbool.h>

#define WHEEL_LEVELS 6
#define WHEEL_SLOTS 64
#define WHEEL_NEVER UINT64_MAX

/* In each object. `prev` names the slot instead, with the top bit set, in the first of a slot. */
struct wheel_link {
    uint32_t next, prev;
};

struct wheel {
    const struct pool *pool;
    size_t at; /* byte of the link in an object */
    uint32_t now;
    uint64_t occupied[WHEEL_LEVELS];
    uint32_t first[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, const struct pool *pool, size_t at, uint32_t now);

/* A due tick that has passed is due now. */
void wheel_add(struct wheel *w, uint32_t handle, uint32_t due);
void wheel_remove(struct wheel *w, uint32_t handle);

/* Takes out an object whose slot's time is at or before `now`; 0: none, and the wheel stands at `now`. Its
 * due tick may still be ahead (then add it again). `now` before the wheel's own is taken as that. */
uint32_t wheel_pop(struct wheel *w, uint32_t now);

/* The tick at which wheel_pop will next give something, or WHEEL_NEVER. */
uint64_t wheel_next(const struct wheel *w);

#endif
