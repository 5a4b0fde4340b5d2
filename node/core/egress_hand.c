/* Mail whose pool has no address on this node, but on another: it is asked to be moved there. The queue is
 * walked in steps; between two walks what was asked for is waited out. The worker's thread.
 */
#include "node/core/egress.h"
#include "node/core/node.h"
#include "node/core/transfer.h"

#define HAND_AFTER_MS 5000 /* a session that lapsed for a moment is no reason to move mail */
#define HAND_AGAIN_MS 5000 /* between two walks */
#define STEP_ITEMS 256

struct step {
    struct egress *e;
    const struct pool_view *view;
    int64_t now;
    bool session, full;
};

static void hand_cb(void *ctx, struct queue_item *item)
{
    struct step *s = ctx;
    struct queue_item_view v;
    uint64_t node;
    queue_item_view(s->e->queue, item, &v);
    struct egress_site *site = queue_site_data(v.site);
    if (s->full || site == NULL || !list_linked(&site->starved) ||
        s->now - site->starved_ms < HAND_AFTER_MS || v.frozen ||
        (v.state != QUEUE_STATE_WAITING && v.state != QUEUE_STATE_READY))
        return;
    if (egress_pools_reach(site, s->view, s->session, v.id, &node) == POOL_ELSEWHERE)
        s->full = transfer_request(s->e->w->node, v.id, node) != 0; /* full, or no member any more: later */
}

static bool nothing_pending(struct node *n)
{
    struct transfer_progress p;
    transfer_progress(n, &p);
    return p.wanted == 0 && p.giving == 0;
}

static bool anything_due(const struct egress *e, int64_t now)
{
    LIST_EACH(link, &e->pools.starved)
    if (now - LIST_ITEM(link, struct egress_site, starved)->starved_ms >= HAND_AFTER_MS)
        return true;
    return false;
}

bool egress_hand(struct egress *e)
{
    struct egress_pools *p = &e->pools;
    int64_t now = timers_now_ms(&e->w->timers);
    if (e->w->node->transfer == NULL)
        return false;
    if (!p->handing) {
        if (now < p->hand_ms || !anything_due(e, now) || !nothing_pending(e->w->node))
            return false;
        p->handing = true;
        p->hand_cursor = 0;
    }
    struct step s = { .e = e, .view = egress_pools_view(e), .now = now, .session = egress_pools_session(e) };
    bool more = queue_walk(e->queue, &p->hand_cursor, STEP_ITEMS, hand_cb, &s);
    p->handing = more && !s.full;
    if (!p->handing)
        p->hand_ms = now + HAND_AGAIN_MS;
    return p->handing;
}
