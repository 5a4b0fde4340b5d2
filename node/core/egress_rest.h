/* What sites answer to our source addresses, counted where it happens. The worker's thread, but for the
 * functions that take a node.
 */
#ifndef NODE_CORE_EGRESS_REST_H
#define NODE_CORE_EGRESS_REST_H

#include "base/buf.h"
#include "node/core/source_record.h"

struct conn;
struct node;
struct smtp_client_result;

/* Once it is known how many workers there will be. 0 or -ENOMEM. */
int egress_rest_node_init(struct node *n);
void egress_rest_node_fini(struct node *n);

/* The attempt in hand has ended: counts for its address and site. */
void conn_rest_settled(struct conn *c);
/* The server refused before it was ready for mail; NULL: it said nothing. Counts as one recipient. */
void conn_rest_refused(struct conn *c, const struct smtp_client_result *why);

/* For each table with rows of the address. */
void egress_rest_each(struct node *n, const struct ip_addr *addr, source_row_fn *fn, void *ctx);
/* For /metrics. */
int egress_rest_metrics(struct node *n, struct buf *out);

#endif
