/* Looking at the queue: views of items and sites, walks in bounded steps, counts. Changes nothing. */
#include "node/queue/impl.h"

#include "base/err.h"
#include "base/hash.h"

#define OLDEST_LOOKED_AT_MAX 4096

uint64_t queue_item_id(const struct queue_item *item)
{
    return item->id;
}

struct queue_site *queue_item_site(const struct queue *q, const struct queue_item *item)
{
    return site_at(q, lane_at(q, item->lane)->site);
}

void queue_item_view(const struct queue *q, const struct queue_item *item, struct queue_item_view *out)
{
    const struct lane *lane = lane_at(q, item->lane);
    const struct sender *sender = sender_at(q, lane->sender);
    *out = (struct queue_item_view){
        .id = item->id,
        .site = site_at(q, lane->site),
        .sender = span_of(sender->name, sender->name_bytes),
        .class = item->class,
        .state = (enum queue_state)item->state,
        .frozen = sender->frozen,
        .delay_told = item->delay_told,
        .arrival_ms = queue_tick_ms(q, item->arrival),
        .next_ms = item->state == QUEUE_STATE_WAITING ? queue_tick_ms(q, item->next) : 0,
        .held_since_ms = item->state == QUEUE_STATE_HELD ? queue_tick_ms(q, item->next) : 0,
        .renewed = item->renewed,
        .attempts = item->attempts,
        .nrcpts = item->nrcpts,
        .rcpts = item_rcpts(item),
        .size_kib = item->size_kib,
    };
}

bool queue_walk(struct queue *q, uint64_t *cursor, uint32_t max, queue_walk_fn *fn, void *ctx)
{
    for (uint32_t i = 0; i < max; i++) {
        uint32_t handle = pool_next(&q->items, (uint32_t)*cursor);
        if (handle == 0)
            return false;
        *cursor = handle;
        fn(ctx, item_at(q, handle));
    }
    return true;
}

bool queue_walk_sites(struct queue *q, uint64_t *cursor, uint32_t max, queue_walk_site_fn *fn, void *ctx)
{
    for (uint32_t i = 0; i < max; i++) {
        uint32_t handle = pool_next(&q->sites, (uint32_t)*cursor);
        if (handle == 0)
            return false;
        *cursor = handle;
        fn(ctx, site_at(q, handle));
    }
    return true;
}

/* ---- the oldest item: looked for in at most OLDEST_LOOKED_AT_MAX items ---- */

struct oldest {
    uint32_t left;
    uint32_t tick; /* TICK_NEVER: none seen */
};

static void oldest_of_items(const struct queue *q, const struct pool_list *list, struct oldest *o)
{
    for (uint32_t h = list->first; h != 0 && o->left > 0; h = item_at(q, h)->list.next, o->left--)
        if (item_at(q, h)->arrival < o->tick)
            o->tick = item_at(q, h)->arrival;
}

static void oldest_of_lanes(const struct queue *q, const struct pool_list *list, size_t at, struct oldest *o)
{
    for (uint32_t h = list->first; h != 0 && o->left > 0;) {
        const struct lane *lane = lane_at(q, h);
        oldest_of_items(q, &lane->ready, o);
        oldest_of_items(q, &lane->rest, o);
        h = at == LANE_RING ? lane->ring.next : lane->of_sender.next;
    }
}

static void counts_fill(const struct queue *q, const uint32_t *state, const struct oldest *o,
                        struct queue_counts *out)
{
    memcpy(out->state, state, sizeof out->state);
    out->oldest_ms = o->tick == TICK_NEVER ? 0 : queue_tick_ms(q, o->tick);
}

static void sender_counts(const struct queue *q, const struct sender *s, struct queue_counts *out)
{
    struct oldest o = { OLDEST_LOOKED_AT_MAX, TICK_NEVER };
    oldest_of_lanes(q, &s->lanes, LANE_OF_SENDER, &o);
    counts_fill(q, s->state, &o, out);
}

bool queue_walk_senders(struct queue *q, uint64_t *cursor, uint32_t max, queue_walk_sender_fn *fn, void *ctx)
{
    for (uint32_t i = 0; i < max; i++) {
        uint32_t handle = pool_next(&q->senders, (uint32_t)*cursor);
        if (handle == 0)
            return false;
        *cursor = handle;
        const struct sender *s = sender_at(q, handle);
        struct queue_counts counts;
        sender_counts(q, s, &counts);
        fn(ctx, span_of(s->name, s->name_bytes), &counts);
    }
    return true;
}

int queue_sender_counts(const struct queue *q, struct span name, struct queue_counts *out)
{
    const struct sender *s = map_find(&q->by_sender, hash_bytes(name.p, name.n), &name);
    if (s == NULL)
        return ERR_NOT_FOUND;
    sender_counts(q, s, out);
    return 0;
}

void queue_site_state(const struct queue *q, const struct queue_site *site, struct queue_site_state *out)
{
    struct oldest o = { OLDEST_LOOKED_AT_MAX, TICK_NEVER };
    oldest_of_lanes(q, &site->active, LANE_RING, &o);
    oldest_of_lanes(q, &site->idle, LANE_RING, &o);
    *out = (struct queue_site_state){
        .senders = site->nlanes,
        .conns = site->conns,
        .conns_opening = site->opening,
        .conns_idle = site->nidle,
        .conns_limit = site->limit,
        .failures = site->failures,
        .down = site->down,
        .down_since_ms = site->down_since_ms,
        .next_try_ms = site->not_before_ms > q->now_ms ? site->not_before_ms : 0,
        .shaped = (site->conns_max != 0 && site->conns_max < q->config.conns_max) || site->interval_ms != 0 || site->paused_ms > q->now_ms,
        .paused_until_ms = site->paused_ms > q->now_ms ? site->paused_ms : 0,
        .last_error = span_of(site->error, site->error_bytes),
        .last_error_ms = site->error_ms,
        .last_success_ms = site->success_ms,
    };
    counts_fill(q, site->state, &o, &out->counts);
}

void queue_totals(const struct queue *q, struct queue_totals *out)
{
    *out = (struct queue_totals){
        .sites = (uint32_t)q->by_site.len,
        .sites_down = q->ndown,
        .senders = (uint32_t)q->by_sender.len,
        .conns = q->conns,
        .conns_opening = q->opening,
        .conns_idle = q->nidle,
        .bytes = pool_bytes(&q->items) + pool_bytes(&q->lanes) + pool_bytes(&q->senders) +
                 pool_bytes(&q->sites) + (q->by_id.cap + q->by_site.cap + q->by_sender.cap) * sizeof(void *) +
                 q->own_bytes,
        .steps = q->steps,
    };
    memcpy(out->state, q->state, sizeof out->state);
}
