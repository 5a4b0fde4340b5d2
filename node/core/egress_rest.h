/* What sites answer to our source addresses, counted where it happens; and addresses that rest for a site by
 * that record (policy: reputation.addresses).
 *
 * Such a rest is a hold like those of rules about replies (egress_shaping.h), told to the other nodes
 * likewise, but it binds only while the pool has another address here that may send to the site: see
 * EGRESS_RESTS. After it the address comes back step by step (source_trial.h). The worker's thread, but for
 * the functions that take a node.
 */
#ifndef NODE_CORE_EGRESS_REST_H
#define NODE_CORE_EGRESS_REST_H

#include "base/buf.h"
#include "node/core/source_record.h"

struct conn;
struct egress;
struct node;
struct queue_site;
struct shaping_hold;
struct smtp_client_result;

/* In place of a rule's name, which can have no brackets. */
#define EGRESS_REST_RECORD "(record)"
#define EGRESS_REST_SILENT "(silent)"

/* Once it is known how many workers there will be. 0 or -ENOMEM. */
int egress_rest_node_init(struct node *n);
void egress_rest_node_fini(struct node *n);

/* ---- one connection ------------------------------------------------------------------------------------ */

/* It is about to take a message: false when its address comes back from a rest, and has sent what it may for
 * now. */
bool conn_rest_take(struct conn *c);
/* It found none in the queue. */
void conn_rest_untake(struct conn *c);
/* The attempt in hand has ended: counts for its address and site. */
void conn_rest_settled(struct conn *c);
/* Nobody answered connections from there, and from another address somebody does: it rests for a while. */
void conn_rest_silent(struct conn *c, const struct ip_addr *addr);
/* The server refused before it was ready for mail; NULL: it said nothing. Counts as one recipient. */
void conn_rest_refused(struct conn *c, const struct smtp_client_result *why);

/* ---- for egress_shaping.c ------------------------------------------------------------------------------ */

/* The hold of that rule is one of ours, not of a rule about replies or of an operator. */
bool egress_rest_ours(struct span rule);
/* Some address comes back from a rest. */
bool egress_rest_trials(const struct egress *e);
/* This one does, and has sent what it may for now. */
bool egress_rest_limited(const struct egress *e, const struct queue_site *qs, const struct ip_addr *source);
/* The pool has another address on this node from which mail may go to the site as ever. */
bool egress_rest_others(const struct egress *e, const struct queue_site *qs, const struct ip_addr *source);
/* A hold came into force, or an operator has ended it. */
void egress_rest_begun(struct node *n, const struct shaping_hold *hold);
void egress_rest_ended(struct node *n, const struct shaping_hold *hold);

/* ---- looking ------------------------------------------------------------------------------------------- */

/* For each table with rows of the address. */
void egress_rest_each(struct node *n, const struct ip_addr *addr, source_row_fn *fn, void *ctx);
/* For /metrics. */
int egress_rest_metrics(struct node *n, struct buf *out);

#endif
