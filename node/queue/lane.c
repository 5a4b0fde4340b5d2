/* Lanes: the place of one sender at one site, and the senders themselves. Who is next is decided in
 * queue_take (conn.c). */
#include "node/queue/impl.h"

#include "base/ensure.h"
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

static uint64_t sender_hash(const void *item)
{
    const struct sender *s = item;
    return hash_bytes(s->name, s->name_bytes);
}

static bool sender_match(const void *item, const void *key)
{
    const struct sender *s = item;
    const struct span *name = key;
    return span_eq(span_of(s->name, s->name_bytes), *name);
}

static uint64_t lane_hash(const void *item)
{
    const struct lane *lane = item;
    return hash_u64(lane->sender);
}

static bool lane_match(const void *item, const void *key)
{
    const struct lane *lane = item;
    const uint32_t *sender = key;
    return lane->sender == *sender;
}

void queue_lanes_init(struct queue *q)
{
    pool_init(&q->lanes, sizeof(struct lane));
    pool_init(&q->senders, sizeof(struct sender));
    map_init(&q->by_sender, sender_hash, sender_match);
}

void queue_lanes_fini(struct queue *q)
{
    for (uint32_t h = pool_next(&q->senders, 0); h != 0; h = pool_next(&q->senders, h))
        free(sender_at(q, h)->name);
    map_fini(&q->by_sender);
    pool_fini(&q->senders);
    pool_fini(&q->lanes);
}

static struct sender *sender_get(struct queue *q, struct span name, struct span tenant)
{
    uint64_t hash = hash_bytes(name.p, name.n);
    struct sender *s = map_find(&q->by_sender, hash, &name);
    if (s != NULL)
        return s;
    uint32_t handle;
    s = pool_alloc(&q->senders, &handle);
    if (s == NULL)
        return NULL;
    s->self = handle;
    s->name_bytes = (uint32_t)name.n;
    s->tenant_bytes = (uint32_t)tenant.n;
    s->name = malloc(name.n + tenant.n + 1);
    if (s->name == NULL || map_add(&q->by_sender, hash, s) != 0) {
        free(s->name);
        pool_free(&q->senders, handle);
        return NULL;
    }
    if (name.n > 0)
        memcpy(s->name, name.p, name.n);
    if (tenant.n > 0)
        memcpy(s->name + name.n, tenant.p, tenant.n);
    s->frozen = q->is_frozen != NULL && q->is_frozen(q->is_frozen_ctx, name, tenant);
    q->own_bytes += name.n + tenant.n + 1;
    return s;
}

static void sender_settle(struct queue *q, struct sender *s)
{
    if (s->nlanes > 0)
        return;
    bool known = map_remove(&q->by_sender, sender_hash(s), s);
    ensure(known);
    q->own_bytes -= s->name_bytes + s->tenant_bytes + 1;
    free(s->name);
    pool_free(&q->senders, s->self);
}

static struct lane *lane_scan(struct queue *q, const struct pool_list *list, uint32_t sender)
{
    for (uint32_t h = list->first; h != 0; h = lane_at(q, h)->ring.next) {
        q->steps++;
        if (lane_at(q, h)->sender == sender)
            return lane_at(q, h);
    }
    return NULL;
}

static struct lane *lane_find(struct queue *q, const struct queue_site *site, uint32_t sender)
{
    if (site->lanes != NULL)
        return map_find(site->lanes, hash_u64(sender), &sender);
    struct lane *lane = lane_scan(q, &site->active, sender);
    return lane != NULL ? lane : lane_scan(q, &site->idle, sender);
}

static int table_add_list(struct queue *q, struct map *table, const struct pool_list *list)
{
    for (uint32_t h = list->first; h != 0; h = lane_at(q, h)->ring.next) {
        int err = map_add(table, lane_hash(lane_at(q, h)), lane_at(q, h));
        if (err != 0)
            return err;
    }
    return 0;
}

/* The site's senders have become too many to be looked through. */
static int table_make(struct queue *q, struct queue_site *site)
{
    struct map *table = malloc(sizeof *table);
    if (table == NULL)
        return -1;
    map_init(table, lane_hash, lane_match);
    if (table_add_list(q, table, &site->active) != 0 || table_add_list(q, table, &site->idle) != 0) {
        map_fini(table);
        free(table);
        return -1;
    }
    site->lanes = table;
    return 0;
}

static int lane_index(struct queue *q, struct queue_site *site, struct lane *lane)
{
    if (site->lanes == NULL && site->nlanes >= LANES_SCANNED_MAX && table_make(q, site) != 0)
        return -1;
    return site->lanes == NULL ? 0 : map_add(site->lanes, lane_hash(lane), lane);
}

static void lane_unindex(struct queue_site *site, struct lane *lane)
{
    if (site->lanes == NULL)
        return;
    bool known = map_remove(site->lanes, lane_hash(lane), lane);
    ensure(known);
    if (site->nlanes > 1)
        return;
    map_fini(site->lanes);
    free(site->lanes);
    site->lanes = NULL;
}

struct lane *queue_lane_get(struct queue *q, struct queue_site *site, struct span name, struct span tenant)
{
    struct sender *sender = sender_get(q, name, tenant);
    if (sender == NULL)
        return NULL;
    struct lane *lane = lane_find(q, site, sender->self);
    if (lane != NULL)
        return lane;
    uint32_t handle;
    lane = pool_alloc(&q->lanes, &handle);
    if (lane == NULL)
        goto fail;
    lane->self = handle;
    lane->site = site->self;
    lane->sender = sender->self;
    if (lane_index(q, site, lane) != 0)
        goto fail;
    pool_list_push_back(&q->lanes, &site->idle, LANE_RING, handle);
    pool_list_push_back(&q->lanes, &sender->lanes, LANE_OF_SENDER, handle);
    site->nlanes++;
    sender->nlanes++;
    return lane;
fail:
    if (lane != NULL)
        pool_free(&q->lanes, handle);
    sender_settle(q, sender);
    return NULL;
}

void queue_lane_settle(struct queue *q, struct lane *lane)
{
    if (lane->ready.first != 0 || lane->rest.first != 0)
        return;
    ensure(!lane->active);
    struct queue_site *site = site_at(q, lane->site);
    struct sender *sender = sender_at(q, lane->sender);
    lane_unindex(site, lane);
    pool_list_remove(&q->lanes, &site->idle, LANE_RING, lane->self);
    pool_list_remove(&q->lanes, &sender->lanes, LANE_OF_SENDER, lane->self);
    site->nlanes--;
    sender->nlanes--;
    pool_free(&q->lanes, lane->self);
    sender_settle(q, sender);
    queue_site_update(q, site);
}

void queue_lane_activate(struct queue *q, struct lane *lane)
{
    bool active = lane->ready.first != 0 && !sender_at(q, lane->sender)->frozen;
    if (active == lane->active)
        return;
    struct queue_site *site = site_at(q, lane->site);
    pool_list_remove(&q->lanes, lane->active ? &site->active : &site->idle, LANE_RING, lane->self);
    pool_list_push_back(&q->lanes, active ? &site->active : &site->idle, LANE_RING, lane->self);
    lane->active = active;
    lane->deficit = 0;
}
