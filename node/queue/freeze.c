/* Frozen senders: what they have in the queue stays, and is not offered. */
#include "node/queue/impl.h"

void queue_on_frozen(struct queue *q, queue_frozen_fn *fn, void *ctx)
{
    q->is_frozen = fn;
    q->is_frozen_ctx = ctx;
}

static void schedule_all(struct queue *q, const struct pool_list *list)
{
    for (uint32_t h = list->first; h != 0; h = item_at(q, h)->list.next) {
        q->steps++;
        queue_item_schedule(q, item_at(q, h));
    }
}

static void lane_turn(struct queue *q, struct lane *lane, bool frozen)
{
    struct queue_site *site = site_at(q, lane->site);
    for (uint32_t h = lane->ready.first; h != 0; h = item_at(q, h)->list.next)
        site->frozen += frozen ? 1 : UINT32_MAX;
    queue_lane_activate(q, lane);
    schedule_all(q, &lane->ready);
    schedule_all(q, &lane->rest);
    queue_site_update(q, site);
}

void queue_frozen_changed(struct queue *q, int64_t now_ms)
{
    q->now_ms = now_ms;
    for (uint32_t h = pool_next(&q->senders, 0); h != 0; h = pool_next(&q->senders, h)) {
        struct sender *s = sender_at(q, h);
        q->steps++;
        bool frozen = q->is_frozen != NULL && q->is_frozen(q->is_frozen_ctx, span_of(s->name, s->name_bytes),
                                                           span_of(s->name + s->name_bytes, s->tenant_bytes));
        if (frozen == s->frozen)
            continue;
        s->frozen = frozen;
        if (!frozen)
            q->start_ms = now_ms; /* what waited may be old, and is tried before it expires */
        for (uint32_t l = s->lanes.first; l != 0; l = lane_at(q, l)->of_sender.next)
            lane_turn(q, lane_at(q, l), frozen);
    }
}
