/* Held mail that nobody released in time: see egress_held.h. */
#include "node/core/egress_held.h"

#include "node/core/cluster.h"
#include "node/core/egress.h"
#include "node/core/held.h"
#include "node/core/outcome.h"
#include "node/policy/policy.h"

#define LOOK_MS 2000 /* whether the policy says something else by now */

static void egress_held_timer_cb(struct timer *t)
{
    struct egress_held *h = TIMER_ITEM(t, struct egress_held, timer);
    struct egress *e = h->e;
    struct policy *p = cluster_policy(e->w->node->cluster);
    if (p != NULL)
        h->drop = p->held.expire_delete != 0;
    if (p != NULL && p->held.expire_ms != h->expire_ms) {
        h->expire_ms = p->held.expire_ms;
        egress_queue_settings(e);
    }
    policy_rele(p);
    timer_set(t, LOOK_MS);
}

int egress_held_init(struct egress_held *h, struct egress *e)
{
    *h = (struct egress_held){ .e = e };
    int err = timer_init(&h->timer, &e->w->timers, egress_held_timer_cb);
    if (err == 0 && e->w->node->cluster != NULL)
        timer_set(&h->timer, LOOK_MS);
    return err;
}

void egress_held_fini(struct egress_held *h)
{
    timer_fini(&h->timer);
}

void egress_held_stop(struct egress_held *h)
{
    timer_stop(&h->timer);
}

void egress_held_expired(struct egress *e, struct queue_item *item)
{
    struct queue_item_view v;
    queue_item_view(e->queue, item, &v);
    held_count(e->w->node->held, HELD_EXPIRED, v.nrcpts);
    outcome_held_expired(e, item, e->held.drop);
}
