/* Names of clients by their addresses, remembered: in front of dns_client for the many sessions of one loop.
 *
 * One client has one look-up at a time, however many sessions it opens, and what was found is used again: a
 * name for as long as DNS says (30 s to an hour), the lack of one for at most five minutes, the failure to
 * find out for 30 s. Look-ups of clients are few beside those that deliveries need, so that strangers cannot
 * take the resolver from them:
 *
 *     under way   at most under_way_max; at most half of it for clients whose name is nice to know only
 *     waiting     at most waiting_max, for wait_ms each, of those that need it; the others go without
 *     a network   (IPv4 /24, IPv6 /48) has at most per_network_max of both
 *
 * Over a bound the answer is "unknown for now" (DNS_TEMPORARY), at once, and is not remembered. One loop's
 * thread.
 */
#ifndef NODE_NET_CLIENT_NAMES_H
#define NODE_NET_CLIENT_NAMES_H

#include "base/list.h"
#include "node/net/dns.h"

struct client_names_config {  /* 0: the default */
    uint32_t under_way_max;   /* 64 */
    uint32_t waiting_max;     /* 1024 */
    uint32_t per_network_max; /* 16 */
    uint32_t entries_max;     /* 8192: remembered, under way and waiting */
    int64_t wait_ms;          /* 10 s */
};

struct client_names;
struct client_names_entry;

/* The caller's, for one question. Zeroed: asks nothing. */
struct client_names_wait {
    struct list link;
    dns_client_fn *fn;
    void *ctx;
};

/* NULL: no memory. */
struct client_names *client_names_new(struct timers *timers, const struct client_names_config *config);
/* Look-ups are asked of it from now on, and what another one said is forgotten; what is under way stays where
 * it is. NULL: nothing is asked. */
void client_names_use(struct client_names *n, struct dns *d);
/* Nobody may wait any more. Cancels what is under way: before the resolvers are closed. NULL is harmless. */
void client_names_free(struct client_names *n);

/* True: *out says it. False: fn will be called from the loop, unless client_names_leave comes before.
 * `needed`: it is worth waiting for. */
bool client_names_ask(struct client_names *n, const struct ip_addr *addr, bool needed,
                      struct client_names_wait *wait, dns_client_fn *fn, void *ctx, struct dns_client *out);
/* Harmless on one that does not wait. The look-up goes on: what it finds is remembered. */
void client_names_leave(struct client_names_wait *wait);

struct client_names_stats {
    uint32_t under_way, waiting, entries;
    uint64_t asked, remembered, refused; /* look-ups begun; answers from memory; over a bound */
};
void client_names_stats(const struct client_names *n, struct client_names_stats *out);

#endif
