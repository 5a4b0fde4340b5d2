/* Pools of source addresses on one worker: the view in force, connections whose address was taken away, sites
 * that wait for an address. The worker's thread, but for pools_post.
 */
#ifndef NODE_CORE_EGRESS_POOLS_H
#define NODE_CORE_EGRESS_POOLS_H

#include "base/list.h"
#include "node/core/pools.h"
#include "node/net/timers.h"

struct conn;
struct egress;
struct egress_site;
struct stream;
struct worker;

struct egress_pools {
    struct timer timer;
    uint64_t turn;       /* connections that chose an address */
    struct list starved; /* egress_site: no address of their pool could be used */
    bool handing;        /* the queue is walked for mail to be moved to other nodes */
    uint64_t hand_cursor;
    int64_t hand_ms; /* loop time: not walked before */
    bool closed;
};

int egress_pools_init(struct egress *e);
void egress_pools_fini(struct egress *e);

/* From the cluster thread: the worker acts upon v soon. */
void pools_post(struct worker *w, struct pool_view *v);

/* The newest view; NULL: none that could be relied on, so that no pool has an address. */
const struct pool_view *egress_pools_view(struct egress *e);
/* This node's session is valid: what a floating address needs. Reads CLOCK_BOOTTIME. */
bool egress_pools_session(const struct egress *e);
/* (!) Nothing goes out on a connection from a floating address but in the session in which it was opened: not what
 * was queued before that ended, nor after the process stood still. 0 or -ENOMEM. */
int egress_pools_gate(struct egress *e, struct stream *s, uint64_t session);

/* Whether a connection to the site may be opened: its pool (if it has one) has an address here. If not, the
 * site is tried again once it has, and `why` is said meanwhile. */
bool egress_pools_ready(struct egress_site *site, char *why, size_t cap);
/* Where mail of the site may be sent from now. */
enum pool_reach egress_pools_reach(struct egress_site *site, const struct pool_view *v, bool session, uint64_t turn,
                                   uint64_t *node);
/* The site goes. */
void egress_pools_forget(struct egress_site *site);

/* egress_hand.c: a step of having mail moved to nodes that have an address of its pool. True: more at once.
 */
bool egress_hand(struct egress *e);

/* ---- of one connection ------------------------------------------------------------------------------------
 */

/* An address of the pool for the target's family, and the connection counts as its; false: there is none. */
bool conn_pool_source(struct conn *c, struct span pool, uint8_t family, struct ip_addr *out);
/* The connection is to go out from this one, and counts as its. */
void conn_pool_take(struct conn *c, const struct pool_address *a);
/* It no longer counts. */
void conn_pool_drop(struct conn *c);
/* Whether it may take another message: its address is still this node's and used. */
bool conn_pool_stays(const struct conn *c);
void conn_pool_connected(const struct conn *c);
void conn_pool_failed(const struct conn *c);
/* The item in hand belongs to another pool's queue: its sender has another one now, or had none known when
 * the message was queued. */
bool conn_pool_misplaced(const struct conn *c);
/* It goes where it belongs. False: it stays in this queue. In both cases it is no longer in hand, and
 * untried. */
bool conn_pool_move(struct conn *c);
/* Words for a failure to connect. */
const char *conn_pool_error(const struct conn *c, int err);
/* The attempt in hand has ended. */
void conn_pool_settled(const struct conn *c);

#endif
