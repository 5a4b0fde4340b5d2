/* Delivery, on one worker: its queue, its sites and their connections. The worker's thread only.
 *
 *     queue says OPEN --> conn: DNS, connect, EHLO/TLS --> take an item --> transaction --> outcome
 *
 * egress.c joins queue, DNS and connections; conn.c is one connection; outcome.c records what came of an
 * item; dsn_job.c writes reports.
 */
#ifndef NODE_CORE_EGRESS_H
#define NODE_CORE_EGRESS_H

#include "base/list.h"
#include "node/core/egress_held.h"
#include "node/core/egress_pools.h"
#include "node/core/egress_shaping.h"
#include "node/core/egress_sites.h"
#include "node/core/reroute.h"
#include "node/core/route.h"
#include "node/core/sts.h"
#include "node/core/worker.h"
#include "node/net/dns.h"
#include "node/net/stream.h"
#include "node/net/timers.h"
#include "node/net/tls.h"
#include "node/queue/queue.h"

struct egress {
    struct worker *w;
    struct queue *queue;
    struct tls_client *tls;
    struct timer poll_timer;
    uv_prepare_t prepare; /* polls the queue before the loop waits, when something changed */
    struct timer cut_off_timer; /* while the worker is cut off */
    bool kicked;
    bool stopping;
    struct list conns;
    uint32_t nconns;
    uint32_t njobs; /* reports under way */
    uint32_t next_source;
    struct egress_pools pools;
    struct egress_shaping shaping;
    struct egress_sites sites;
    struct reroute reroute;
    struct egress_held held;
    struct tlsrpt *tlsrpt;      /* worker 0's */
    struct timespec hosts_time; /* of /etc/hosts when the resolver read it */
    struct list resolvers;      /* of earlier configurations, until their last look-up has ended */
};

/* What we know of a site beside the queue: hung on the queue's site. */
struct egress_site {
    struct egress *e;
    struct queue_site *qs;
    struct dns_request *request; /* under way */
    int64_t asked_ns;            /* since when */
    struct dns_site *found;      /* NULL: not asked, or too old */
    int64_t found_until_ms;      /* loop time */
    struct sts_lookup *sts_lookup; /* under way */
    struct sts_policy *sts;        /* in force when it was asked, held; NULL: none */
    int64_t plain_until_ms;      /* opportunistic TLS failed here: not tried before */
    uint32_t next_target;
    struct list waiting; /* conns that wait for the answer */
    struct egress_group *group; /* the site that it belongs to; NULL: not known yet */
    struct list member;         /* of group */
    struct list crowded;        /* of group, while it waits for a place */
    struct policy *policy;      /* by which it joined, held; NULL: it did not yet */
    const struct shaping_site *entry; /* of that policy; NULL: none is about it */
    const struct dns_site *joined_by; /* compared only */
    const struct config *joined_config; /* likewise */
    struct list starved; /* of egress_pools, if its pool has no address here */
    int64_t starved_ms;  /* loop time: since when */
    bool starved_absent; /* it was said that an address of it is not on this machine */
    int rested;          /* enum policy_rested: what is done now, since all of its pool's addresses rest */
};

int egress_new(struct worker *w, struct egress **out);
/* Ends idle connections, lets transactions under way finish; call until egress_busy says false, then
 * egress_close. */
void egress_stop(struct egress *e);
bool egress_busy(const struct egress *e);
/* Drops what is left; the loop's handles close. */
void egress_close(struct egress *e);
void egress_free(struct egress *e);

/* New configuration on this worker; `old` is the one before. Connections end with the message in hand, so
 * that all that follows goes by the new one. */
void egress_reconfigure(struct egress *e, const struct config *old);
/* The queue goes by what is set now. */
void egress_queue_settings(struct egress *e);

/* An item for one of this worker's sites. */
void egress_add(struct egress *e, const struct queue_item_info *info);

/* Makes two items of one that is not in flight: returns the one with the recipients `take`, the other keeps
 * `leave`. NULL: no memory, and nothing has changed. */
struct queue_item *egress_divide(struct egress *e, struct queue_item *item, const uint32_t *take,
                                 uint32_t ntake, const uint32_t *leave, uint32_t nleave);

/* The worker has another frozen list: no new attempt for those on it once this returns. */
void egress_frozen_changed(struct egress *e);

/* May no attempt begin, because this node has no session and the policy wants mail to wait then? Reads CLOCK_BOOTTIME (!):
 * call it before each item is taken, so that none is after the cluster has waited this node out. */
bool egress_cut_off(struct egress *e);

/* Something changed: the queue is polled before the loop waits. */
void egress_kick(struct egress *e);

/* conn.c: answers the queue's OPEN_CONNECTION. */
void conn_open(struct egress_site *site);
/* The site's addresses are known (or known not to be): go on. Each conn in site->waiting. */
void conn_resolved(struct egress_site *site);
/* Gives up those that wait for the addresses: the queue asks again. */
void conn_cancel_waiting(struct egress_site *site);
void conn_use(struct queue_conn *qc);
void conn_quit(struct queue_conn *qc);
/* All of them, at once. */
void conn_drop_all(struct egress *e);
/* Those without a message in hand. */
void conn_quit_idle(struct egress *e);

/* Asks for the site's addresses if need be. 0: site->found is good now; ERR_BUSY: conn_resolved follows;
 * ERR_NOT_FOUND: the route that named this next hop is no more; -ENOMEM. */
int egress_site_resolve(struct egress_site *site);

/* Lets go of what was found: it did not serve, and 50,000 dead sites would hold as many of it. */
void egress_site_forget(struct egress_site *site);

/* egress_sts.c: asks for the MTA-STS policy of a domain; conn_resolved waits for it, too. */
void egress_sts_start(struct egress_site *site, struct span domain);
void egress_sts_forget(struct egress_site *site);

int64_t egress_now_ms(const struct egress *e); /* wall clock, as the queue is told */

#endif
