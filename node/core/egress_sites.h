/* The sites that a worker's queues belong to: a queue (a destination's, from one pool) joins the site that
 * the policy or its MX hosts put it in, once these are known, and then has a share in that site's connections
 * and rate (sites.h). The worker's thread, but for sites_wake_cb.
 */
#ifndef NODE_CORE_EGRESS_SITES_H
#define NODE_CORE_EGRESS_SITES_H

#include "base/list.h"
#include "node/core/sites.h"
#include "node/net/timers.h"
#include "node/shaping/sites.h"

#include <stdint.h>

struct conn;
struct dns_site;
struct egress;
struct egress_site;
struct policy;
struct route_hop;

/* The queues of one site on this worker. */
struct egress_group {
    struct egress *e;
    struct site_share *share; /* held */
    struct list members;      /* egress_site.member */
    struct list crowded;      /* egress_site.crowded: no place was free; in the order in which they came */
    struct list link;         /* of egress_sites.crowded, if any of them is */
    int64_t asked_ms;         /* loop time: idle connections were asked to make room */
};

struct egress_sites {
    struct timer timer;  /* while a queue waits for a place */
    struct list crowded; /* egress_group */
};

int egress_sites_init(struct egress *e);
void egress_sites_fini(struct egress *e);
sites_wake_fn sites_wake_cb; /* ctx: the node */

/* The policy in force, held; NULL: no memory. */
struct policy *egress_policy(struct egress *e);

/* The site's MX hosts are known: it joins where it belongs. */
void egress_sites_join(struct egress_site *site, const struct route_hop *hop, const struct dns_site *found);
/* The queue goes. */
void egress_sites_leave(struct egress_site *site);
/* The name of the site it has joined, with the pool in front; empty: none yet. */
struct span egress_sites_key(const struct egress_site *site);
/* The same without the pool: by what is learnt of a site for all pools. Until it has joined one, the destination's
 * own. */
struct span egress_sites_shared(const struct egress_site *site);
/* This worker's queues of the site with this key; NULL: none. */
struct egress_group *egress_sites_group(struct egress *e, struct span key);

/* "mx:mx.example.net", "mx:a.example.net+2-0123456789abcdef": the same for the same set of hosts, whatever
 * their order. Pure. Returns its length, at most cap - 1; 0: there are no hosts. */
size_t egress_sites_name(char *const *hosts, uint32_t nhosts, uint16_t port, char *out, size_t cap);

/* ---- of one connection ------------------------------------------------------------------------------------
 */

/* May it leave from this address, as far as its site goes? Says so in c->crowded if not. */
bool conn_site_room(struct conn *c, const struct ip_addr *source);
/* Takes a place for it (gives back one that it had). False: there was none after all. */
bool conn_site_take(struct conn *c, const struct ip_addr *source);
void conn_site_drop(struct conn *c);
/* There was no place: its queue waits for one, and the connection is given up. */
void conn_site_crowded(struct conn *c);
/* Whether it may take another message. */
bool conn_site_stays(struct conn *c);
/* Whether a message may go now; if not, its queue waits until one may. conn_site_unsent: it did not go. */
bool conn_site_paced(struct conn *c);
void conn_site_unsent(struct conn *c);
void conn_site_idle(struct conn *c, bool idle);
/* Others wait for its place. */
bool conn_site_wanted(const struct conn *c);
/* The attempt in hand was deferred: the site's own schedule, if it has one. */
void conn_site_retry(struct conn *c);
uint32_t conn_site_recipients(const struct conn *c);

#endif
