/* Whether our source addresses are on lists of bad addresses (policy: dnsbl). Each node asks about the
 * addresses that it sends from, its own resolver on the first worker's loop, one question after the other;
 * every so often, and when an operator wants to know. A list is asked about itself first, and one that
 * answers wrongly is not believed.
 *
 * What a listed address comes to is the list's action: an event and a metric, or a rest for all sites as
 * well, which is a hold of the kind that never takes a pool's last address (egress_rest.h).
 */
#ifndef NODE_CORE_DNSBL_H
#define NODE_CORE_DNSBL_H

#include "base/buf.h"
#include "node/net/ip.h"

#include <stdbool.h>
#include <stdint.h>

struct node;

#define DNSBL_ADDRESSES_MAX 256 /* of a node; further ones are not asked about */
#define DNSBL_TEXT_MAX 256
#define DNSBL_RULE "(dnsbl)" /* of the hold, in place of a rule's name */

enum dnsbl_state {
    DNSBL_STATE_UNKNOWN, /* no answer yet */
    DNSBL_STATE_CLEAN,
    DNSBL_STATE_LISTED,
    DNSBL_STATE_BROKEN, /* the list is not believed */
};

struct dnsbl;
int dnsbl_new(struct node *n, struct dnsbl **out);
/* No worker runs any more. */
void dnsbl_free(struct dnsbl *d); /* NULL is harmless */

/* The main thread, every few seconds: begins a round when it is time. */
void dnsbl_tick(struct dnsbl *d, int64_t now_ms);

struct dnsbl_row {
    struct ip_addr addr;
    const char *zone;
    enum dnsbl_state state;
    int64_t since_ms, checked_ms; /* wall clock: of the state, of the last answer */
    const char *text;             /* LISTED: what the list says, and its code; BROKEN: why */
};
typedef void dnsbl_row_fn(void *ctx, const struct dnsbl_row *row);
/* What is known: of one address, or (NULL) of all. Under the lock. Any thread. */
void dnsbl_each(struct dnsbl *d, const struct ip_addr *addr, dnsbl_row_fn *fn, void *ctx);
/* Asks all lists now about one of this node's addresses, or (NULL) about all of them, and waits.
 * ERR_NOT_FOUND: it is none of them. An admin thread. */
int dnsbl_ask(struct dnsbl *d, const struct ip_addr *addr);

struct dnsbl_counts {
    uint32_t addresses;           /* listed by some list */
    char example[DNSBL_TEXT_MAX]; /* "192.0.2.1 on zen.example.net" */
};
void dnsbl_count(struct dnsbl *d, struct dnsbl_counts *out);
int dnsbl_metrics(struct dnsbl *d, struct buf *out);

#endif
