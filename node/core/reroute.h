/* After a reload that changed the routes, what is queued moves to the sites where the new routes put it;
 * likewise when senders were given other pools. In bounded steps: a worker with a million items goes on
 * serving meanwhile. The worker's thread.
 *
 * The walk is made twice, some seconds apart: another worker that had not heard of the new routes yet may
 * have handed us mail behind the first one's back. An item in flight is left alone; it is looked at when it
 * comes back (reroute_item).
 */
#ifndef NODE_CORE_REROUTE_H
#define NODE_CORE_REROUTE_H

#include "node/net/timers.h"

#include <stdbool.h>
#include <stdint.h>

struct egress;
struct queue_item;
struct spool_info;

struct reroute {
    struct egress *e;
    struct timer timer;
    uint64_t cursor; /* of the queue's walk */
    uint32_t passes; /* still to make, the present one included; 0: none */
    uint64_t moved;
    bool pools; /* pools are looked at, too */
};

int reroute_init(struct reroute *r, struct egress *e);
void reroute_fini(struct reroute *r);
/* From the beginning, if it is under way already. */
void reroute_start(struct reroute *r);
/* The same, and for pools. */
void reroute_pools(struct reroute *r);
void reroute_stop(struct reroute *r);

/* Moves an item that is not in flight if routes and pools put any of its recipients elsewhere: then it is
 * gone. `info` is its message's, or NULL: it is read if need be. True: it was moved. */
bool reroute_item(struct egress *e, struct queue_item *item, const struct spool_info *info);

#endif
