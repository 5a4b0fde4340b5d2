/* This node as a part of a cluster: the thread that runs consensus, the talk between nodes and the ledger's
 * agent, and what the rest of the node may ask of it.
 *
 * There is one when the configuration has a `cluster` section. Until the node is a member (`turnpike cluster
 * init`, `turnpike node join`), only the admin API works, and no mail is accepted. Becoming a member needs no
 * restart; after it has left, the node must be started again to join again.
 *
 * Threads: unless said otherwise any thread, from cluster_new to cluster_free.
 */
#ifndef NODE_CORE_CLUSTER_H
#define NODE_CORE_CLUSTER_H

#include "base/buf.h"
#include "node/admin/cluster.h"
#include "node/auth/auth.h"
#include "node/core/frozen.h"
#include "node/core/node.h"

#define CLUSTER_FENCED_FILE "fenced" /* in data_dir/cluster: cluster_fence.c */

struct agent;
struct cluster;
struct keyring;
struct machine;
struct policy;
struct pool_view;
struct secrets;

/* Main thread, in this order. Errors are in the log. */
int cluster_new(struct node *n, struct cluster **out);
/* After the workers run: the thread, and the cluster if this node is a member of one. */
int cluster_start(struct cluster *c);
/* Admin threads that wait here are sent away, and no call begins any more: before the admin server is freed.
 */
void cluster_stopping(struct cluster *c);
/* After the workers have ended: signs off, gives up leadership, closes everything. Bounded. */
void cluster_stop(struct cluster *c);
/* After worker_fini. NULL is harmless. */
void cluster_free(struct cluster *c);

/* Why this node takes no mail now: a static text; NULL: it may. */
const char *cluster_refusal(struct cluster *c);
/* What made the cluster thread give up, so that the process must end; or 0. */
int cluster_failed(struct cluster *c);

/* As of a moment ago: it has a session, so that it is in touch with the others; and is the one that leads. */
bool cluster_connected(struct cluster *c);
bool cluster_leads(struct cluster *c);

/* NULL until the node is a member. Then it stays until cluster_free, so that a worker may always talk to it.
 */
struct agent *cluster_agent(struct cluster *c);
/* The replicated state, to be read under machine_read_lock; NULL until the node is a member. Stays likewise.
 */
struct machine *cluster_machine(struct cluster *c);
/* This node's id; 0: not a member. */
uint64_t cluster_self(struct cluster *c);

/* The policy in force (the built-in one before any): a reference, to be given back with policy_rele. NULL: no
 * member. */
struct policy *cluster_policy(struct cluster *c);
/* The cluster's DKIM keys: a reference, to be given back with keyring_rele. NULL: none. */
struct keyring *cluster_keyring(struct cluster *c);
/* Its random secrets: likewise, secrets_rele. */
struct secrets *cluster_secrets(struct cluster *c);
/* The frozen list as it was last published: a reference. NULL: no member. */
struct frozen_view *cluster_frozen(struct cluster *c);
/* Is mail to wait on this node while it has no session (the policy's when_cut_off)? What was in force when the node last
 * had one, over restarts too: a node that is cut off cannot learn anything newer. */
bool cluster_holds(struct cluster *c);
/* It does wait, as the cluster thread sees it: for people. The workers look for themselves. */
bool cluster_is_holding(struct cluster *c);

/* The pools as they were last published: a reference. NULL: not yet. */
struct pool_view *cluster_pools(struct cluster *c);
/* Counts what was applied to pools and addresses. A view of an older state must not be relied on: an address may have
 * been taken away since. */
uint64_t cluster_pools_state(const struct cluster *c);
/* For /metrics: what happened from each source address of a pool on this node. */
int cluster_pools_metrics(struct cluster *c, struct buf *out);

/* An account of the cluster by its canonical name; its texts are in `text`. False: there is none. */
bool cluster_account_find(struct cluster *c, struct span name, struct account *out, struct auth_text *text);

/* Tells all other nodes what is in force against a destination (see node/shaping/holds.h), or of kind SHAPING_NONE that it
 * ends. Any thread; at most so many at a time, more are not told. */
struct shaping_hold;
void cluster_shaping_tell(struct cluster *c, const struct shaping_hold *hold);
/* The same to one node, which asked for what is in force. */
void cluster_shaping_answer(struct cluster *c, uint64_t node, const struct shaping_hold *hold);

/* Tells all other nodes the MTA-STS policy that was fetched for a domain. Any thread; likewise. */
void cluster_sts_tell(struct cluster *c, const char *domain);

/* Mail came from another node, and is in the spool: where an address of it is being erased, all nodes look
 * again. Waits for the log. */
struct envelope;
int cluster_erase_again(struct cluster *c, const struct envelope *env);

/* For the admin server: `ctx` is the struct node. */
extern const struct admin_cluster cluster_admin;

#endif
