/* What remote servers' replies do to queues: the policy's rules are asked, and what they say is in force for the
 * site that met the reply, which is all of its queues on all workers (or for one queue, if an operator named
 * one): back-off, suspension, source addresses that rest. Other nodes are told. The worker's thread, but for the
 * functions that take a node.
 */
#ifndef NODE_CORE_EGRESS_SHAPING_H
#define NODE_CORE_EGRESS_SHAPING_H

#include "node/net/ip.h"
#include "node/net/timers.h"
#include "node/shaping/holds.h"
#include "node/shaping/resumed.h"

struct conn;
struct egress;
struct egress_site;
struct node;
struct policy;
struct queue_site;
struct smtp_client_result;

struct egress_shaping {
    struct shaping_matcher *matcher;
    struct policy *builtin; /* of a node without a cluster; NULL: not needed yet */
    struct timer timer;     /* while something is in force */
    struct shaping_resumed resumed; /* what operators ended last, of this worker's sites */
};

/* 0 or -ENOMEM, with nothing left behind. */
int egress_shaping_init(struct egress *e);
/* With the loop's other handles; the rest with egress_shaping_free. */
void egress_shaping_fini(struct egress *e);
void egress_shaping_free(struct egress *e);

/* An item came to this site: what is in force for it holds for the queue's site, which may be new. */
void egress_shaping_added(struct egress *e, struct span key);
/* The queue has joined a site, and has another policy's limits: what is in force for that holds for it. */
void egress_shaping_joined(struct egress_site *site);
/* What is in force against a source address for the queue's site. EGRESS_RESTS: its record or a list of bad addresses
 * asks for it (egress_rest.h), which binds only while the pool has another one. */
enum egress_hold { EGRESS_FREE, EGRESS_RESTS, EGRESS_HELD };
#define EGRESS_ALL_SITES "*" /* key of what is in force for all sites */
enum egress_hold egress_shaping_hold(const struct egress *e, const struct queue_site *qs, const struct ip_addr *source);
/* Puts it in force, on all nodes. False: it was, and lasts longer. */
bool egress_shaping_put(struct egress *e, struct shaping_hold *hold);
/* Does this source address rest for the queue's site? */
bool egress_shaping_rests(const struct egress *e, const struct queue_site *qs, const struct ip_addr *source);

/* The same, whatever the policy wants done when all of its pool's do (egress_rested.h). */
bool egress_shaping_held(const struct egress *e, const struct queue_site *qs, const struct ip_addr *source);

/* The attempt in hand has its results: rules are asked about each refusal. May make one of them final, and
 * say when the message is tried again. */
void conn_shaping_results(struct conn *c);
/* The server refused before it was ready for mail; NULL: it said nothing. */
void conn_shaping_refused(struct conn *c, const struct smtp_client_result *why);
/* Its source address rests for its site by now. */
bool conn_shaping_rests(const struct conn *c);

/* Before there are workers, and after. 0 or -ENOMEM. */
int shaping_node_init(struct node *n);
void shaping_node_fini(struct node *n);

/* Another node's, or an operator's: goes to the worker that has the site. `hold` of kind SHAPING_NONE ends
 * what is in force for its key (and its source, if it has one). `again`: it may be old, and counts only where
 * nothing of its kind is in force, nor was ended by an operator within the hour; of kind SHAPING_NONE, only
 * what began before it was ended. Any thread. */
void egress_shaping_hear(struct node *n, const struct shaping_hold *hold, bool again);
/* A node of the cluster is told what is in force here, some of it if it is very much, and what operators
 * ended within the hour: it may not have heard of that (`ended_only`: that alone). Any thread. */
void egress_shaping_answer(struct node *n, uint64_t node, bool ended_only);

#endif
