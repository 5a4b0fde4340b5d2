/* What the destinations of one site share on this node, whichever worker has them: connections, messages per
 * time, and the limit that grows with success. A site here is one of the policy's entries or a set of MX
 * hosts, together with a pool of source addresses. Any thread; it knows no sockets, no queue and no clock.
 *
 * A worker that finds no room waits in line: it is told (`wake`) when a connection of the site has ended, and
 * until then those behind it get none. A worker that was told and has no more use for it says so
 * (sites_unwait), and one that says nothing is passed over after SITES_TURN_MS.
 *
 * Times are CLOCK_MONOTONIC in ns. Lifetimes: a share lives while it is held.
 */
#ifndef NODE_CORE_SITES_H
#define NODE_CORE_SITES_H

#include "base/span.h"
#include "node/net/ip.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SITES_TURN_MS 500
#define SITES_CONNS_MAX 1000  /* of a site of which each source address is bounded */
#define SITES_SOURCES_MAX 256 /* addresses counted apart; further ones count as the last of them */

struct sites;
struct site_share;

/* A place for a connection to `share` is free, and this worker is next. May be called with no lock held, from
 * any function here that frees a place. The share is held for the callee, who releases it. */
typedef void sites_wake_fn(void *ctx, uint32_t worker, struct site_share *share);

struct sites *sites_new(uint32_t nworkers, sites_wake_fn *wake, void *ctx); /* NULL: no memory */
/* No share is held any more. */
void sites_free(struct sites *s);

struct sites_limits {
    uint32_t start, max;  /* of the limit that grows: all connections of the site, from this pool */
    uint32_t connections; /* of each source address; 0: no such limit */
    uint32_t rate_count;  /* messages of each source address in rate_ms; 0: no such limit */
    int64_t rate_ms;
};

/* The share of this key ("google", or "pool/google"), made if there is none; held. NULL: no memory. */
struct site_share *sites_get(struct sites *s, struct span key, const struct sites_limits *limits);
/* NULL: there is none. Held. */
struct site_share *sites_find(struct sites *s, struct span key);
struct site_share *sites_hold(struct sites *s, struct site_share *share);
void sites_rele(struct sites *s, struct site_share *share);
struct span sites_key(const struct site_share *share);
/* A worker's own; only that worker touches it. NULL at first. */
void **sites_local(struct site_share *share, uint32_t worker);
/* Domains that belong to it, on all workers. */
void sites_count_domain(struct site_share *share, bool more);

/* New limits, of another policy or configuration. */
void sites_set_limits(struct sites *s, struct site_share *share, const struct sites_limits *limits);
/* While it is in back-off: so many connections at most, and so long between two messages. 0, 0: it is not. */
void sites_set_backoff(struct sites *s, struct site_share *share, uint32_t connections, int64_t interval_ms);

/* ---- connections ------------------------------------------------------------------------------------------
 */

/* May this worker open a connection from this address (family 0: the system's choice) now? */
bool sites_room(struct site_share *share, uint32_t worker, const struct ip_addr *source, int64_t now_ns);
/* Takes a place. False: there was none, and the worker waits in line. `idle`: the site has idle connections
 * which could make room. */
bool sites_take(struct site_share *share, uint32_t worker, const struct ip_addr *source, int64_t now_ns,
                uint32_t *source_index, bool *idle);
/* Waits in line without asking for a certain address. Returns whether idle connections could make room. */
bool sites_wait(struct site_share *share, uint32_t worker);
/* The connection has ended. `left`: sites_surplus said so. */
void sites_give(struct sites *s, struct site_share *share, uint32_t source_index, bool left);
/* The worker has nobody in line any more. */
void sites_unwait(struct sites *s, struct site_share *share, uint32_t worker, int64_t now_ns);
/* Others wait for a connection to this site. */
bool sites_contended(const struct site_share *share);
/* There are more connections than may be: this one should end. Says so once for each. */
bool sites_surplus(struct site_share *share);
void sites_idle(struct site_share *share, bool idle);
/* A message was taken; trouble that halves the limit, at most every two seconds. */
void sites_success(struct sites *s, struct site_share *share);
void sites_trouble(struct site_share *share, int64_t now_ns);

/* ---- messages ---------------------------------------------------------------------------------------------
 */

/* May a message go out from this address now? 0: yes, and it counts. Else how long to wait, in ns. */
int64_t sites_message(struct site_share *share, uint32_t source_index, int64_t now_ns);
/* It did not go after all. */
void sites_message_back(struct site_share *share, uint32_t source_index);

/* ---- looking ----------------------------------------------------------------------------------------------
 */

struct sites_view {
    struct span key;
    uint32_t domains, conns, limit, waiting; /* waiting: workers */
    uint32_t nsources;
    struct sites_limits limits;
    uint32_t backoff_connections;
};
typedef int sites_view_fn(void *ctx, const struct sites_view *view);
/* All of them (key empty) or one; the callback must not call back. Non-zero ends. */
void sites_each(struct sites *s, struct span key, sites_view_fn *fn, void *ctx);
struct sites_source {
    struct ip_addr addr;
    uint32_t conns;
};
/* Addresses from which the site was sent to, of those that are counted: at most `max`. Returns how many. */
uint32_t sites_sources(struct sites *s, struct span key, struct sites_source *out, uint32_t max);
uint64_t sites_bytes(struct sites *s); /* memory, without malloc's own and what is kept of addresses */

#endif
