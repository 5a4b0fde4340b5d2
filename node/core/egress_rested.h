/* Sites for which the addresses of a pool rest (by rules about replies, or an operator's word): whether
 * another one may be used, here or on another node, and what the policy wants done where none may
 * (pools.when_all_disabled). The worker's thread.
 */
#ifndef NODE_CORE_EGRESS_RESTED_H
#define NODE_CORE_EGRESS_RESTED_H

#include "base/span.h"
#include "node/net/ip.h"

#include <stdbool.h>
#include <stdint.h>

#define EGRESS_RESTED_MAX 256 /* sites of which it is told and counted at a time; of more it is not */

/* Told once, whatever queues there are and were since. */
struct egress_rested_site {
    uint64_t hash; /* of its key */
    int64_t until_ms;
};

struct attempt;
struct conn;
struct egress;
struct egress_site;
struct queue_site;

enum egress_rested {
    EGRESS_AWAKE,     /* an address may be used on this node; or none of the pool is in use at all */
    EGRESS_ELSEWHERE, /* on another one: mail is moved there (egress_hand.c) */
    EGRESS_RESTED,    /* all of them rest */
};

/* `but` counts as if it rested; NULL: none does. Without a pool: of the configuration's addresses. */
enum egress_rested egress_rested(struct egress *e, const struct queue_site *qs, const struct ip_addr *but);

/* Something rests for the queue's site, since `since_ms` (the last), until `awake_ms` (the first): until when
 * the queue pauses; 0: it does not, and `site->rested` says what is done with what it has (enum
 * policy_rested). */
int64_t egress_rested_pause(struct egress *e, struct queue_site *qs, int64_t since_ms, int64_t awake_ms,
                            int64_t now);
/* Nothing does, any more. */
void egress_rested_over(struct egress_site *site);
/* An operator has ended what was in force for the key. */
void egress_rested_forget(struct egress *e, struct span key);
/* Those of which the time is over are no longer counted. */
void egress_rested_sweep(struct egress *e);

/* What waits for the site is to be moved to another pool, or returned, rather than sent; asks anew. `c` was
 * just opened. */
bool conn_rested(struct conn *c);
/* What it takes from the queue is not tried: the results of that, moves among them. */
void conn_rested_result(struct conn *c, struct attempt *a);

#endif
