/* Items: coming, outcomes, an operator's verbs; and the clock's arithmetic. */
#include "node/queue/impl.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

#define SIZE_KIB_MAX ((1u << 21) - 1)
#define EXPIRE_AGAIN_MS 60000

/* ---- times ---- */

uint32_t queue_tick_floor(const struct queue *q, int64_t ms)
{
    if (ms <= q->base_ms)
        return 0;
    int64_t tick = (ms - q->base_ms) / TICK_MS;
    return tick >= TICK_NEVER ? TICK_NEVER - 1 : (uint32_t)tick;
}

uint32_t queue_tick_ceil(const struct queue *q, int64_t ms)
{
    return queue_tick_floor(q, ms > INT64_MAX - TICK_MS ? ms : ms + TICK_MS - 1);
}

int64_t queue_tick_ms(const struct queue *q, uint32_t tick)
{
    return q->base_ms + (int64_t)tick * TICK_MS;
}

/* splitmix64 */
uint64_t queue_random(struct queue *q)
{
    uint64_t z = q->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

int64_t queue_longest_wait_ms(const struct queue *q)
{
    int64_t longest = INT64_C(86400000);
    for (uint32_t i = 0; i < q->config.nretry; i++)
        if (longest < q->config.retry_ms[i] * 2)
            longest = q->config.retry_ms[i] * 2;
    return longest;
}

uint32_t queue_item_due(const struct queue *q, const struct queue_item *item)
{
    const struct queue_config *c = &q->config;
    int64_t arrival = queue_tick_ms(q, item->arrival);
    if (item->state == QUEUE_STATE_IN_FLIGHT)
        return TICK_NEVER;
    if (item->state == QUEUE_STATE_HELD && !item->expiring)
        return c->expire_held_ms == 0 ? TICK_NEVER
                                      : queue_tick_ceil(q, queue_tick_ms(q, item->next) + c->expire_held_ms);
    if (item->state != QUEUE_STATE_HELD && item_frozen(q, item))
        return item->state == QUEUE_STATE_WAITING ? item->next : TICK_NEVER;
    if (item->expiring)
        return item->next;
    int64_t due = arrival + c->expire_ms;
    if (due < q->start_ms + c->expire_grace_ms)
        due = q->start_ms + c->expire_grace_ms;
    if (c->delay_notice_ms != 0 && !item->delay_told && arrival + c->delay_notice_ms < due)
        due = arrival + c->delay_notice_ms;
    uint32_t tick = queue_tick_ceil(q, due);
    return item->state == QUEUE_STATE_WAITING && item->next < tick ? item->next : tick;
}

void queue_item_schedule(struct queue *q, struct queue_item *item)
{
    if (item->timed)
        wheel_remove(&q->wheel, item->self);
    uint32_t due = queue_item_due(q, item);
    item->timed = due != TICK_NEVER;
    if (item->timed)
        wheel_add(&q->wheel, item->self, due);
}

/* ---- lists and counts ---- */

static struct pool_list *list_of(struct lane *lane, uint32_t state)
{
    return state == QUEUE_STATE_READY ? &lane->ready : &lane->rest;
}

static void item_count(struct queue *q, const struct lane *lane, uint32_t state, uint32_t by)
{
    q->state[state] += by;
    struct queue_site *site = site_at(q, lane->site);
    struct sender *sender = sender_at(q, lane->sender);
    site->state[state] += by;
    sender->state[state] += by;
    if (sender->frozen && state == QUEUE_STATE_READY)
        site->frozen += by;
}

static void item_held(struct queue *q, const struct queue_item *item, int by)
{
    struct queue_item_view v;
    if (item->state != QUEUE_STATE_HELD || q->on_held == NULL)
        return;
    queue_item_view(q, item, &v);
    q->on_held(q->on_held_ctx, &v, by);
}

static void item_link(struct queue *q, struct queue_item *item, enum queue_state state, bool front)
{
    struct lane *lane = lane_at(q, item->lane);
    item->state = (uint32_t)state & 3;
    if (front)
        pool_list_push_front(&q->items, list_of(lane, state), ITEM_LIST, item->self);
    else
        pool_list_push_back(&q->items, list_of(lane, state), ITEM_LIST, item->self);
    item_count(q, lane, state, 1);
    item_held(q, item, 1);
}

static void item_unlink(struct queue *q, struct queue_item *item)
{
    struct lane *lane = lane_at(q, item->lane);
    pool_list_remove(&q->items, list_of(lane, item->state), ITEM_LIST, item->self);
    item_count(q, lane, item->state, UINT32_MAX);
    item_held(q, item, -1);
}

void queue_item_enter(struct queue *q, struct queue_item *item, enum queue_state state, bool front)
{
    item_unlink(q, item);
    item_link(q, item, state, front);
    queue_lane_activate(q, lane_at(q, item->lane));
    queue_item_schedule(q, item);
    queue_site_update(q, queue_item_site(q, item));
}

/* ---- by id: the table has one item of each message, the others hang on it in a ring ---- */

static uint64_t id_hash(const void *item)
{
    return hash_u64(((const struct queue_item *)item)->id);
}

static bool id_match(const void *item, const void *key)
{
    return ((const struct queue_item *)item)->id == *(const uint64_t *)key;
}

struct queue_item *queue_find(const struct queue *q, uint64_t id)
{
    return map_find(&q->by_id, hash_u64(id), &id);
}

struct queue_item *queue_find_next(const struct queue *q, const struct queue_item *item)
{
    struct queue_item *next = item_at(q, item->same.next);
    return next == queue_find(q, item->id) ? NULL : next;
}

static int id_add(struct queue *q, struct queue_item *item)
{
    struct queue_item *first = queue_find(q, item->id);
    if (first == NULL) {
        item->same = (struct pool_link){ item->self, item->self };
        return map_add(&q->by_id, id_hash(item), item);
    }
    item->same = (struct pool_link){ .next = first->self, .prev = first->same.prev };
    item_at(q, first->same.prev)->same.next = item->self;
    first->same.prev = item->self;
    return 0;
}

static void id_remove(struct queue *q, struct queue_item *item)
{
    struct queue_item *next = item_at(q, item->same.next);
    bool first = map_remove(&q->by_id, id_hash(item), item);
    if (next == item) {
        ensure(first);
        return;
    }
    next->same.prev = item->same.prev;
    item_at(q, item->same.prev)->same.next = next->self;
    if (first) {
        int err = map_add(&q->by_id, id_hash(next), next); /* into the place just left: needs no memory */
        ensure(err == 0);
    }
}

/* ---- recipients ---- */

static int rcpts_set(struct queue *q, struct queue_item *item, const uint32_t *rcpts, uint32_t n)
{
    ensure(n >= 1);
    ensure(n <= UINT16_MAX);
    uint32_t *to = item->rcpts.few;
    if (n > 2) {
        to = malloc(n * sizeof *to);
        if (to == NULL)
            return -1;
        item->rcpts.many = to;
        q->own_bytes += n * sizeof *to;
    }
    memcpy(to, rcpts, n * sizeof *to);
    item->nrcpts = (uint16_t)n;
    return 0;
}

static void rcpts_free(struct queue *q, struct queue_item *item)
{
    if (item->nrcpts <= 2)
        return;
    q->own_bytes -= item->nrcpts * sizeof(uint32_t);
    free(item->rcpts.many);
}

static bool rcpts_has(const uint32_t *rcpts, uint32_t n, uint32_t rcpt)
{
    for (uint32_t i = 0; i < n; i++)
        if (rcpts[i] == rcpt)
            return true;
    return false;
}

/* The list has the order of the item's own, as it mostly does: then one pass over both is enough. */
static bool rcpts_ordered(const uint32_t *own, uint32_t had, const uint32_t *rcpts, uint32_t n)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < had && at < n; i++)
        at += rcpts[at] == own[i];
    return at == n;
}

/* Keeps those in the list (keep) or those that are not. Shrinks in place, so that it cannot fail. */
static void rcpts_reduce(struct queue *q, struct queue_item *item, const uint32_t *rcpts, uint32_t n,
                         bool keep)
{
    uint32_t left = 0, at = 0, had = item->nrcpts;
    uint32_t *own = had > 2 ? item->rcpts.many : item->rcpts.few;
    bool ordered = rcpts_ordered(own, had, rcpts, n);
    for (uint32_t i = 0; i < had; i++) {
        q->steps++;
        bool in = ordered ? at < n && rcpts[at] == own[i] : rcpts_has(rcpts, n, own[i]);
        at += in;
        if (in == keep)
            own[left++] = own[i];
    }
    ensure(left >= 1);
    if (left == had)
        return;
    if (had > 2) {
        q->own_bytes -= had * sizeof *own;
        if (left > 2) {
            uint32_t *shrunk = realloc(own, left * sizeof *own);
            item->rcpts.many = shrunk != NULL ? shrunk : own;
            q->own_bytes += left * sizeof *own;
        } else {
            uint32_t few[2] = { own[0], own[left - 1] };
            free(own);
            memcpy(item->rcpts.few, few, sizeof few);
        }
    }
    item->nrcpts = (uint16_t)left;
}

/* ---- coming and going ---- */

struct queue *queue_new(const struct queue_config *config, int64_t now_ms)
{
    struct queue *q = calloc(1, sizeof *q);
    if (q == NULL)
        return NULL;
    q->config = *config;
    ensure(q->config.nretry >= 1 && q->config.nretry <= QUEUE_RETRY_STEPS);
    q->base_ms = now_ms - INT64_C(86400000) * 365; /* what came before counts as so old */
    q->start_ms = q->now_ms = now_ms;
    q->random = config->seed;
    pool_init(&q->items, sizeof(struct queue_item));
    map_init(&q->by_id, id_hash, id_match);
    wheel_init(&q->wheel, &q->items, ITEM_WHEEL, queue_tick_floor(q, now_ms));
    list_init(&q->closing);
    list_init(&q->idle_lru);
    queue_lanes_init(q);
    queue_sites_init(q);
    return q;
}

void queue_free(struct queue *q)
{
    if (q == NULL)
        return;
    queue_sites_fini(q);
    queue_lanes_fini(q);
    for (uint32_t h = pool_next(&q->items, 0); h != 0; h = pool_next(&q->items, h))
        rcpts_free(q, item_at(q, h));
    map_fini(&q->by_id);
    pool_fini(&q->items);
    free(q);
}

void queue_on_site_gone(struct queue *q, queue_site_gone_fn *fn, void *ctx)
{
    q->gone = fn;
    q->gone_ctx = ctx;
}

/* Allocates an item at the lane, known by its id, in no state's list yet. */
static struct queue_item *item_new(struct queue *q, uint64_t id, struct lane *lane, const uint32_t *rcpts,
                                   uint32_t nrcpts)
{
    uint32_t handle;
    struct queue_item *item = pool_alloc(&q->items, &handle);
    if (item == NULL)
        return NULL;
    item->self = handle;
    item->id = id;
    item->lane = lane->self;
    if (rcpts_set(q, item, rcpts, nrcpts) != 0)
        goto fail;
    if (id_add(q, item) != 0)
        goto fail_rcpts;
    return item;
fail_rcpts:
    rcpts_free(q, item);
fail:
    pool_free(&q->items, handle);
    return NULL;
}

static void item_free(struct queue *q, struct queue_item *item)
{
    struct lane *lane = lane_at(q, item->lane);
    struct queue_site *site = site_at(q, lane->site);
    if (item->timed)
        wheel_remove(&q->wheel, item->self);
    item_unlink(q, item);
    id_remove(q, item);
    rcpts_free(q, item);
    pool_free(&q->items, item->self);
    queue_lane_activate(q, lane);
    queue_lane_settle(q, lane);
    queue_site_update(q, site);
}

/* A next try written down by a clock that has since jumped back is not waited for. */
static int64_t sane_next(const struct queue *q, int64_t next_ms)
{
    int64_t latest = q->now_ms + queue_longest_wait_ms(q);
    return next_ms > latest ? latest : next_ms;
}

struct queue_item *queue_add(struct queue *q, const struct queue_item_info *info, int64_t now_ms)
{
    q->now_ms = now_ms;
    struct queue_site *site = queue_site_get(q, info->site);
    if (site == NULL)
        return NULL;
    struct lane *lane = queue_lane_get(q, site, info->sender, info->tenant);
    if (lane == NULL)
        return NULL;
    struct queue_item *item = item_new(q, info->id, lane, info->rcpts, info->nrcpts);
    if (item == NULL) {
        queue_lane_settle(q, lane);
        return NULL;
    }
    item->arrival = queue_tick_floor(q, info->arrival_ms);
    item->next = queue_tick_ceil(q, sane_next(q, info->next_ms));
    item->attempts = info->attempts;
    item->size_kib = (info->size_kib < SIZE_KIB_MAX ? info->size_kib : SIZE_KIB_MAX) & SIZE_KIB_MAX;
    item->class = (info->class < QUEUE_CLASSES ? info->class : QUEUE_CLASSES - 1u) & 3;
    item->delay_told = info->delay_told;
    item->renewed = info->renewed;
    if (info->held && item->next == 0)
        item->next = item->arrival;
    bool due = item->next <= queue_tick_floor(q, now_ms);
    item_link(q, item, info->held ? QUEUE_STATE_HELD : due ? QUEUE_STATE_READY : QUEUE_STATE_WAITING, false);
    queue_lane_activate(q, lane);
    queue_item_schedule(q, item);
    queue_site_update(q, site);
    return item;
}

/* ---- outcomes ---- */

struct queue_item *queue_split(struct queue *q, struct queue_item *item, const uint32_t *rcpts,
                               uint32_t nrcpts)
{
    ensure(item->state == QUEUE_STATE_IN_FLIGHT);
    ensure(nrcpts >= 1 && nrcpts < item->nrcpts);
    struct queue_item *part = item_new(q, item->id, lane_at(q, item->lane), rcpts, nrcpts);
    if (part == NULL)
        return NULL;
    part->arrival = item->arrival;
    part->attempts = item->attempts;
    part->size_kib = item->size_kib;
    part->class = item->class;
    part->delay_told = item->delay_told;
    part->renewed = item->renewed;
    part->hold_wanted = item->hold_wanted;
    part->expiring = item->expiring;
    item_link(q, part, QUEUE_STATE_IN_FLIGHT, false);
    rcpts_reduce(q, item, rcpts, nrcpts, false);
    return part;
}

void queue_done(struct queue *q, struct queue_item *item)
{
    ensure(item->state == QUEUE_STATE_IN_FLIGHT);
    item_free(q, item);
}

static void item_give_back(struct queue *q, struct queue_item *item, enum queue_state state, bool front)
{
    bool held = item->hold_wanted;
    item->hold_wanted = 0;
    if (held && !item->expiring)
        item->next = queue_tick_floor(q, q->now_ms);
    queue_item_enter(q, item, held ? QUEUE_STATE_HELD : state, front && !held);
}

/* Its end could not be recorded: told of again in a while, and not tried in between. */
static int64_t expire_later(struct queue *q, struct queue_item *item)
{
    item->next = queue_tick_ceil(q, q->now_ms + EXPIRE_AGAIN_MS);
    item_give_back(q, item, QUEUE_STATE_WAITING, false);
    return queue_tick_ms(q, item->next);
}

/* `exact_ms` 0: by the schedule, not before not_before_ms. */
static int64_t defer(struct queue *q, struct queue_item *item, const uint32_t *rcpts, uint32_t nrcpts,
                     int64_t not_before_ms, int64_t exact_ms, int64_t now_ms)
{
    ensure(item->state == QUEUE_STATE_IN_FLIGHT);
    q->now_ms = now_ms;
    if (rcpts != NULL)
        rcpts_reduce(q, item, rcpts, nrcpts, true);
    if (item->expiring)
        return expire_later(q, item);
    if (item->attempts < UINT16_MAX)
        item->attempts++;
    int64_t next_ms = now_ms + queue_retry_delay_ms(&q->config, item->attempts, queue_random(q));
    if (exact_ms != 0)
        next_ms = exact_ms > now_ms ? exact_ms : now_ms;
    if (next_ms < not_before_ms)
        next_ms = not_before_ms;
    uint32_t next = item->next = queue_tick_ceil(q, sane_next(q, next_ms));
    item_give_back(q, item, QUEUE_STATE_WAITING, false);
    return queue_tick_ms(q, next);
}

int64_t queue_defer(struct queue *q, struct queue_item *item, const uint32_t *rcpts, uint32_t nrcpts,
                    int64_t not_before_ms, int64_t now_ms)
{
    return defer(q, item, rcpts, nrcpts, not_before_ms, 0, now_ms);
}

int64_t queue_defer_to(struct queue *q, struct queue_item *item, const uint32_t *rcpts, uint32_t nrcpts,
                       int64_t next_ms, int64_t now_ms)
{
    ensure(next_ms != 0);
    return defer(q, item, rcpts, nrcpts, 0, next_ms, now_ms);
}

void queue_requeue(struct queue *q, struct queue_item *item, int64_t now_ms)
{
    ensure(item->state == QUEUE_STATE_IN_FLIGHT);
    q->now_ms = now_ms;
    if (item->expiring)
        expire_later(q, item);
    else
        item_give_back(q, item, QUEUE_STATE_READY, true);
}

void queue_set_delay_told(struct queue *q, struct queue_item *item, bool told)
{
    item->delay_told = told;
    queue_item_schedule(q, item);
}

/* ---- an operator's verbs ---- */

void queue_on_held(struct queue *q, queue_held_fn *fn, void *ctx)
{
    q->on_held = fn;
    q->on_held_ctx = ctx;
}

void queue_hold(struct queue *q, struct queue_item *item)
{
    if (item->state == QUEUE_STATE_IN_FLIGHT) {
        item->hold_wanted = 1;
    } else if (item->state != QUEUE_STATE_HELD) {
        item->next = queue_tick_floor(q, q->now_ms);
        queue_item_enter(q, item, QUEUE_STATE_HELD, false);
    }
}

void queue_release(struct queue *q, struct queue_item *item, int64_t now_ms)
{
    q->now_ms = now_ms;
    item->hold_wanted = 0;
    if (item->state != QUEUE_STATE_HELD)
        return;
    item->expiring = 0;
    queue_item_enter(q, item, QUEUE_STATE_READY, false); /* counted as what it was */
    item->arrival = queue_tick_floor(q, now_ms);
    item->renewed = 1;
    queue_item_schedule(q, item);
}

void queue_retry_now(struct queue *q, struct queue_item *item, int64_t now_ms)
{
    q->now_ms = now_ms;
    if (item->state == QUEUE_STATE_WAITING)
        queue_item_enter(q, item, QUEUE_STATE_READY, false);
    if (item->state == QUEUE_STATE_READY)
        queue_site_retry_now(q, queue_item_site(q, item), now_ms);
}

int queue_remove(struct queue *q, struct queue_item *item)
{
    if (item->state == QUEUE_STATE_IN_FLIGHT)
        return ERR_BUSY;
    item_free(q, item);
    return 0;
}
