/* Recipients that a rule about replies moves to another pool; and mail that belongs elsewhere by now.
 *
 * After a reload that changed the routes, what is queued moves to the sites where the new routes put it;
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
#include "node/shaping/pool_mark.h"

#include <stdbool.h>
#include <stdint.h>

struct attempt;
struct egress;
struct queue_item;
struct queue_item_view;
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

/* A rule wants recipient i of the attempt to go out over another pool (true: it will, outcome.c sees to
 * that), unless it was moved as often as one may be, or out of that pool, or that has no address that could
 * be used on any node. */
bool reroute_rcpt(struct attempt *a, uint32_t i, struct span to, struct span rule);
/* The recipient's mark with that move; false: it is not moved, and the mark is what it was, or empty. Spans
 * point into the attempt. */
bool reroute_mark(const struct attempt *a, uint32_t i, struct pool_mark *out);
/* Words for the record of an item's recipient, behind which its mark stays. `info` may be NULL. */
struct span reroute_words(const struct spool_info *info, uint32_t rcpt, struct span words,
                          char text[GREY_TEXT_MAX]);
/* Recipients of the item may have been moved: their records tell. */
bool reroute_maybe_moved(const struct egress *e, const struct queue_item_view *v);

/* Moves an item that is not in flight if routes and pools put any of its recipients elsewhere: then it is
 * gone. `info` is its message's, or NULL: it is read if need be. True: it was moved. */
bool reroute_item(struct egress *e, struct queue_item *item, const struct spool_info *info);

#endif
