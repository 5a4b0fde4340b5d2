/* Between quota.c (granting, giving back), quota_record.c (the records), quota_restore.c (what is derived from
 * them) and quota_read.c. Nobody else includes it.
 *
 *     quota_limit     a limit that somebody has a counter of: its numbers, interned
 *     quota_sender    an account or tenant with something in a window
 *       quota_counter   one limit of it: buckets of what was charged, and of it burned
 *     quota_grant     tokens that a node holds, with the counters that were charged
 *     quota_sums      totals since the cluster began; one record
 */
#ifndef CONSENSUS_QUOTA_IMPL_H
#define CONSENSUS_QUOTA_IMPL_H

#include "base/list.h"
#include "consensus/machine_impl.h"
#include "consensus/policy.h"
#include "consensus/quota.h"
#include "consensus/quota_ring.h"

#define QUOTA_LIFE_MIN_MS 2000
#define QUOTA_LIFE_MAX_MS 60000
#define QUOTA_GRANTS_MAX 1000000u              /* over it the oldest is burned */
#define QUOTA_GRANT_KEEP_MS UINT64_C(86400000) /* not settled for so long: burned */
#define QUOTA_COUNT_MAX (UINT64_C(1) << 54)    /* a limit of more is no limit */

struct quota_limit {
    struct store_rec rec;
    uint32_t num;  /* never used again */
    uint32_t refs; /* counters; derived */
    uint8_t scope;
    char name[POLICY_LIMIT_NAME];
    uint64_t window_ms;
    uint64_t bucket_ms, horizon_ms; /* derived */
    uint32_t life_ms;               /* derived: of a token under it */
};

struct quota_holding {
    uint64_t node, held;
};
struct quota_counter {
    struct quota_counter *next;
    struct quota_sender *sender;
    struct quota_limit *limit; /* while restoring: not known yet */
    struct quota_ring charged;
    struct quota_ring *burned;      /* NULL: nothing */
    struct quota_holding *holdings; /* derived: unsettled grants by node */
    uint32_t num;                   /* of the limit */
    uint16_t nholdings;
    bool refused; /* since the last refund: somebody may remember it */
};

struct quota_sender {
    struct store_rec rec;
    struct quota_counter *counters; /* in order of their making */
    uint32_t nkey;
    char key[]; /* scope, name */
};

struct quota_grant {
    struct store_rec rec;
    struct list node_link; /* derived */
    uint64_t id, node, charged_ms;
    uint32_t life_ms, count, held;
    uint32_t n;
    uint8_t *unresolved; /* while restoring: the encoded charges */
    size_t nunresolved;
    struct quota_counter *counters[];
};

struct quota_sums {
    struct store_rec rec;
    uint64_t charged, spent, burned, refunded;
    uint64_t granted, refused;
    uint64_t swept;   /* number of the sender that is looked at next */
    uint64_t full_ms; /* all windows counted as full then; 0: never */
    uint32_t next_limit;
};

struct quota_node {
    uint64_t node;
    struct list grants;
};

struct quotas {
    struct machine *m;
    struct quota_sums *sums;
    uint64_t held; /* of all grants */
    uint64_t ncounters;
    uint64_t no_room;   /* requests refused for max_counters; of this process, not of the state */
    struct list *sweep; /* the sender that is looked at next; the list's head: from the start again */
    struct quota_node **nodes;
    uint32_t nnodes;
    /* Of the policy in force; NULL: nobody has a counter of it, or not looked up yet. */
    struct quota_limit *resolved[POLICY_LIMITS_MAX];
    uint64_t resolved_known; /* bits */
};

extern const struct store_type quota_limit_type, quota_sender_type, quota_grant_type, quota_sums_type;

static inline struct span quota_sender_name(const struct quota_sender *s)
{
    return span_of(s->key + 1, s->nkey - 1);
}

static inline uint8_t quota_sender_scope(const struct quota_sender *s)
{
    return (uint8_t)s->key[0];
}

static inline struct quota_limit *quota_limit_of(const struct store_rec *rec)
{
    return (struct quota_limit *)rec;
}

static inline struct quota_sums *quota_sums_of(const struct store_rec *rec)
{
    return (struct quota_sums *)rec;
}

static inline struct quota_sender *quota_sender_of(const struct store_rec *rec)
{
    return (struct quota_sender *)rec;
}

static inline struct quota_grant *quota_grant_of(const struct store_rec *rec)
{
    return (struct quota_grant *)rec;
}

/* The oldest bucket that still counts. */
static inline uint64_t quota_oldest(const struct quota_limit *l, uint64_t now_ms)
{
    return now_ms < l->horizon_ms ? 0 : (now_ms - l->horizon_ms) / l->bucket_ms;
}

/* The numbers that follow from a window: quota.c, where their proof is. */
void quota_limit_derive(struct quota_limit *l);

struct quota_limit *quota_limit_find(const struct machine *m, uint8_t scope, struct span name,
                                     uint64_t window_ms);
struct quota_limit *quota_limit_add(struct machine *m, const struct policy_limit *p); /* NULL: no memory */
struct quota_limit *quota_resolve(struct machine *m, const struct policy_compiled *p, uint32_t i);
struct quota_sender *quota_sender_find(const struct machine *m, uint8_t scope, struct span name);
struct quota_sender *quota_sender_add(struct machine *m, uint8_t scope,
                                      struct span name); /* NULL: no memory */
struct quota_counter *quota_counter_find(const struct quota_sender *s, const struct quota_limit *l);
/* The sender was touched, or is new. NULL: no memory. */
struct quota_counter *quota_counter_add(struct machine *m, struct quota_sender *s, struct quota_limit *l);
/* It has nothing in its window and nobody holds of it. The sender was touched. */
void quota_counter_drop(struct machine *m, struct quota_counter *c);

/* All of it counts as used since a new epoch began. */
bool quota_is_full(const struct machine *m, const struct policy_limit *p);
/* The cluster time from which on at most `most` count in the window, unless more is charged or given back. */
uint64_t quota_frees_ms(const struct machine *m, const struct policy_limit *p, const struct quota_counter *c,
                        uint64_t most);
uint64_t quota_held_by_others(const struct quota_counter *c, uint64_t node);
/* Adds to (or, negative, takes from) what the node holds. -ENOMEM */
int quota_hold(struct quota_counter *c, uint64_t node, int64_t n);
/* The list of a node's grants; NULL: no memory. */
struct list *quota_node_grants(struct quotas *q, uint64_t node);

/* The limits of a sender. */
struct quota_chain {
    uint32_t n;
    struct quota_chain_link {
        uint32_t index; /* in the policy */
        uint8_t scope;
        struct span name;
        uint64_t count; /* N: the override's, or the limit's */
        bool overridden;
    } links[POLICY_LIMITS_MAX];
};
/* The account's own tenant and class, when it is known, are used instead of those given; the class not when it is a
 * stream's. false: it is disabled. */
bool quota_sender_facts(const struct machine *m, struct span account, struct span *tenant, uint8_t *class);
void quota_chain_make(const struct machine *m, struct span account, struct span tenant, uint8_t class,
                      struct quota_chain *out);

#endif
