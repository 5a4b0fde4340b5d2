/* What is held too long comes to its end, as the policy says. The worker's thread. */
#ifndef NODE_CORE_EGRESS_HELD_H
#define NODE_CORE_EGRESS_HELD_H

#include "node/net/timers.h"

#include <stdbool.h>
#include <stdint.h>

struct egress;
struct queue_item;

struct egress_held {
    struct egress *e;
    struct timer timer;
    int64_t expire_ms; /* in force; 0: never */
    bool drop;         /* what expires is deleted, else returned to its sender */
};

int egress_held_init(struct egress_held *h, struct egress *e);
void egress_held_fini(struct egress_held *h);
void egress_held_stop(struct egress_held *h);
/* Its time is over: the item is in flight. */
void egress_held_expired(struct egress *e, struct queue_item *item);

#endif
