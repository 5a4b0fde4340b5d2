/* What this node has in hand of the day's messages of addresses that warm up (docs/warmup.md), for each
 * address and site; and what came of those that it sent, until the cluster has been told. Workers take from
 * it, the cluster thread fills it: all of it under one lock. Pure; any thread. Times are CLOCK_BOOTTIME, ms.
 */
#ifndef NODE_CORE_WARMUP_HAND_H
#define NODE_CORE_WARMUP_HAND_H

#include "base/span.h"
#include "consensus/command.h"
#include "node/net/ip.h"

#define WARMUP_HAND_MAX 16384 /* pairs of address and site; over it an address takes no mail for others */
#define WARMUP_WANT 64        /* asked for at a time */

struct warmup_hand;

/* NULL: no memory. */
struct warmup_hand *warmup_hand_new(void);
void warmup_hand_free(struct warmup_hand *h); /* NULL is harmless */

/* ---- workers ------------------------------------------------------------------------------------------- */

enum warmup_answer {
    WARMUP_YES,  /* there is one */
    WARMUP_SOON, /* not yet: the cluster is asked */
    WARMUP_NO,   /* today's are gone, as far as is known */
};
/* Looks, and has the cluster asked if there is none. Sites are told apart by their first
 * COMMAND_WARMUP_SITE_MAX bytes. */
enum warmup_answer warmup_hand_look(struct warmup_hand *h, const struct ip_addr *addr, struct span site,
                                    int64_t now_ms);
struct warmup_token {
    uint64_t plan, until_ms; /* whose message, of which day */
};
/* One message may be sent now. False: none is in hand. */
bool warmup_hand_take(struct warmup_hand *h, const struct ip_addr *addr, struct span site, int64_t now_ms,
                      struct warmup_token *out);
/* The one that was taken was not sent. */
void warmup_hand_untake(struct warmup_hand *h, const struct ip_addr *addr, struct span site,
                        const struct warmup_token *token);

enum warmup_outcome { WARMUP_DELIVERED, WARMUP_DEFERRED, WARMUP_REFUSED, WARMUP_COMPLAINED, WARMUP_OUTCOMES };
void warmup_hand_result(struct warmup_hand *h, const struct ip_addr *addr, struct span site,
                        enum warmup_outcome what, int64_t now_ms);

/* ---- the cluster thread -------------------------------------------------------------------------------- */

struct warmup_name {
    struct ip_addr addr;
    size_t nsite;
    char site[COMMAND_WARMUP_SITE_MAX];
};

/* A pair that the cluster is to be asked for; it is not given again until the answer is here. */
bool warmup_hand_ask(struct warmup_hand *h, struct warmup_name *out);
struct warmup_grant {
    uint32_t count;          /* COMMAND_WARMUP_UNLIMITED: as many as there are */
    uint64_t plan, until_ms; /* of the result: what is in hand of another day or plan is dropped */
    int64_t end_ms;          /* boot time: not used from then on */
};
void warmup_hand_granted(struct warmup_hand *h, const struct warmup_name *name, const struct warmup_grant *g);
/* None now; not asked again before. `gone`: since today's are all sent. */
void warmup_hand_refused(struct warmup_hand *h, const struct warmup_name *name, bool gone, int64_t again_ms);

/* What is to be told to the cluster, of one pair. */
struct warmup_report {
    struct warmup_name name;
    uint64_t plan, until_ms;
    uint32_t unspent, n[WARMUP_OUTCOMES];
};
/* Looks through all pairs: what was not used for a while, or is not `kept` here any more, is taken out of
 * hand; what nobody needs is forgotten. */
typedef bool warmup_kept_fn(void *ctx, const struct ip_addr *addr);
void warmup_hand_scan(struct warmup_hand *h, int64_t now_ms, warmup_kept_fn *kept, void *ctx);
/* The next of those that the last scan found. */
bool warmup_hand_report(struct warmup_hand *h, struct warmup_report *out);
/* The cluster was not told: what came of the messages is told again. What was to come back is lost. */
void warmup_hand_untold(struct warmup_hand *h, const struct warmup_report *r);

#endif
