/* What is to be done now: time passing for items and sites, and the order of actions. */
#include "node/queue/impl.h"

#include "base/ensure.h"

#define DUE_MAX 256        /* items and sites whose time has come, looked at in one poll */
#define JUMP_BACK_MS 10000 /* a smaller step back of the clock is sat out */

/* What the clock that was set back has set: as far ahead as it was meant to be. What lies nearer was set
 * since then, and stays. None lies further ahead than it could have been set. */
static int64_t moved(int64_t deadline_ms, int64_t back_ms, int64_t now_ms, int64_t latest_ms)
{
    if (deadline_ms - back_ms >= now_ms)
        deadline_ms -= back_ms;
    return deadline_ms > latest_ms ? latest_ms : deadline_ms;
}

/* The clock was set back: every deadline is worked out anew. */
static void clock_jumped(struct queue *q, int64_t now_ms)
{
    int64_t latest_ms = now_ms + queue_longest_wait_ms(q), back_ms = queue_tick_ms(q, q->wheel.now) - now_ms;
    wheel_init(&q->wheel, &q->items, ITEM_WHEEL, queue_tick_floor(q, now_ms));
    for (uint32_t h = pool_next(&q->items, 0); h != 0; h = pool_next(&q->items, h)) {
        struct queue_item *item = item_at(q, h);
        q->steps++;
        item->next = queue_tick_ceil(q, moved(queue_tick_ms(q, item->next), back_ms, now_ms, latest_ms));
        item->timed = 0;
        queue_item_schedule(q, item);
    }
    if (q->start_ms > now_ms)
        q->start_ms = now_ms;
    for (uint32_t h = pool_next(&q->sites, 0); h != 0; h = pool_next(&q->sites, h)) {
        struct queue_site *site = site_at(q, h);
        site->not_before_ms = moved(site->not_before_ms, back_ms, now_ms, latest_ms);
        site->paused_ms = moved(site->paused_ms, back_ms, now_ms, latest_ms);
        site->paced_ms = moved(site->paced_ms, back_ms, now_ms, latest_ms);
        queue_site_update(q, site);
    }
}

/* An item's time has come, or its slot's. True if that is an action. */
static bool item_due(struct queue *q, struct queue_item *item, uint32_t now, struct queue_action *out)
{
    const struct queue_config *c = &q->config;
    item->timed = 0;
    if (queue_item_due(q, item) > now) {
        queue_item_schedule(q, item);
        return false;
    }
    *out = (struct queue_action){ .item = item, .site = queue_item_site(q, item) };
    int64_t age_ms = q->now_ms - queue_tick_ms(q, item->arrival);
    bool held = item->state == QUEUE_STATE_HELD;
    if (!held && item_frozen(q, item)) {
        queue_item_enter(q, item, QUEUE_STATE_READY, false);
        return false;
    }
    if (held || (age_ms >= c->expire_ms && q->now_ms >= q->start_ms + c->expire_grace_ms)) {
        out->kind = QUEUE_ACTION_EXPIRE;
        out->held = held;
        item->expiring = 1;
        item->hold_wanted = held;
        queue_item_enter(q, item, QUEUE_STATE_IN_FLIGHT, false);
        return true;
    }
    if (item->state == QUEUE_STATE_WAITING && item->next <= now)
        queue_item_enter(q, item, QUEUE_STATE_READY, false);
    bool tell = !item->delay_told && c->delay_notice_ms != 0 && age_ms >= c->delay_notice_ms;
    if (tell) {
        out->kind = QUEUE_ACTION_DELAY_NOTICE;
        item->delay_told = 1;
    }
    queue_item_schedule(q, item);
    return tell;
}

static void sites_due(struct queue *q)
{
    for (uint32_t i = 0; i < DUE_MAX; i++) {
        struct heap_node *node = heap_first(&q->timers);
        if (node == NULL || node->key > q->now_ms)
            return;
        q->steps++;
        queue_site_update(q, HEAP_ITEM(node, struct queue_site, timer));
    }
    q->more_due = true;
}

bool queue_poll(struct queue *q, int64_t now_ms, struct queue_action *out)
{
    uint32_t now = queue_tick_floor(q, now_ms);
    q->now_ms = now_ms;
    if (now < q->wheel.now && q->wheel.now - now > JUMP_BACK_MS / TICK_MS)
        clock_jumped(q, now_ms);
    q->more_due = false;
    queue_sites_sweep(q);
    sites_due(q);
    for (uint32_t i = 0; i < DUE_MAX; i++) {
        if (queue_conn_to_close(q, out) || queue_conn_to_use(q, out) || queue_conn_to_open(q, out))
            return true;
        uint32_t handle = wheel_pop(&q->wheel, now);
        if (handle == 0)
            return false;
        q->steps++;
        if (item_due(q, item_at(q, handle), now, out))
            return true;
    }
    q->more_due = true;
    return false;
}

int64_t queue_next_wake_ms(const struct queue *q, int64_t now_ms)
{
    if (q->more_due || !list_empty(&q->use) || !list_empty(&q->closing) || !list_empty(&q->dropped) ||
        queue_conn_wanted(q))
        return now_ms;
    int64_t wake_ms = INT64_MAX;
    uint64_t tick = wheel_next(&q->wheel);
    if (tick != WHEEL_NEVER)
        wake_ms = queue_tick_ms(q, (uint32_t)tick);
    struct heap_node *node = heap_first(&q->timers);
    if (node != NULL && node->key < wake_ms)
        wake_ms = node->key;
    struct list *kept = list_first(&q->kept);
    if (kept != NULL) {
        int64_t over_ms = LIST_ITEM(kept, struct queue_site, rest_link)->rest_ms + q->config.sites_kept_ms;
        if (q->nkept > q->config.sites_kept_max)
            return now_ms;
        if (over_ms < wake_ms)
            wake_ms = over_ms;
    }
    return wake_ms;
}

void queue_reconfigure(struct queue *q, const struct queue_config *config, int64_t now_ms)
{
    ensure(config->nretry >= 1 && config->nretry <= QUEUE_RETRY_STEPS);
    q->config = *config;
    q->now_ms = now_ms;
    for (uint32_t h = pool_next(&q->sites, 0); h != 0; h = pool_next(&q->sites, h)) {
        struct queue_site *site = site_at(q, h);
        queue_site_set_conns_max(q, site, site->conns_max, now_ms);
    }
    for (uint32_t h = pool_next(&q->items, 0); h != 0; h = pool_next(&q->items, h))
        queue_item_schedule(q, item_at(q, h));
}
