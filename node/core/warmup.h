/* Addresses that warm up, as this node sends from them (docs/warmup.md): before a message is sent from one,
 * it is taken out of what the cluster has handed out to this node of the day's plan. */
#ifndef NODE_CORE_WARMUP_H
#define NODE_CORE_WARMUP_H

#include "node/core/pools.h"
#include "node/core/warmup_hand.h"

struct cluster;
struct conn;
struct egress_site;
struct worker;

/* The cluster thread, every 20 ms: asks for messages of the day's plans and tells what came of them. */
void warmup_tick(struct cluster *c, int64_t now_ms);

/* ---- workers ------------------------------------------------------------------------------------------- */

/* For pool_view_choose_awake: does the address warm up, and may send nothing to the site just now? */
struct warmup_rest {
    struct egress_site *site;
    const struct pool_view *view;
    bool choosing; /* an address for a connection: the site's hosts are known */
    bool soon, sent; /* some address did, and: the cluster is asked; today's are sent */
};
bool warmup_rests(void *ctx, const struct ip_addr *addr);

/* The connection is about to take a message: from an address that warms up only if there is one in hand. */
bool conn_warmup_take(struct conn *c);
/* It found none in the queue. */
void conn_warmup_untake(struct conn *c);
/* The attempt in hand has ended. */
void conn_warmup_settled(struct conn *c);

/* Somebody has complained of a message to him that came from this address. */
void warmup_complained(struct worker *w, struct span source, struct span rcpt);

#endif
