/* Sites: their keys, what they want, and how long an empty one is remembered. Connections' events are in
 * conn.c. */
#include "node/queue/impl.h"

#include "base/ensure.h"
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

#define SWEEP_MAX 64 /* sites freed in one poll */

static uint64_t site_hash(const void *item)
{
    const struct queue_site *s = item;
    return hash_bytes(s->key, s->key_bytes);
}

static bool site_match(const void *item, const void *key)
{
    const struct queue_site *s = item;
    const struct span *k = key;
    return span_eq(span_of(s->key, s->key_bytes), *k);
}

void queue_sites_init(struct queue *q)
{
    pool_init(&q->sites, sizeof(struct queue_site));
    map_init(&q->by_site, site_hash, site_match);
    heap_init(&q->timers);
    list_init(&q->use);
    list_init(&q->open);
    list_init(&q->probe);
    list_init(&q->kept);
    list_init(&q->dropped);
}

void queue_sites_fini(struct queue *q)
{
    for (uint32_t h = pool_next(&q->sites, 0); h != 0; h = pool_next(&q->sites, h))
        queue_site_free(q, site_at(q, h));
    map_fini(&q->by_site);
    heap_fini(&q->timers);
    pool_fini(&q->sites);
}

struct queue_site *queue_site_find(const struct queue *q, struct span key)
{
    return map_find(&q->by_site, hash_bytes(key.p, key.n), &key);
}

struct queue_site *queue_site_get(struct queue *q, struct span key)
{
    struct queue_site *s = queue_site_find(q, key);
    if (s != NULL)
        return s;
    uint32_t handle;
    s = pool_alloc(&q->sites, &handle);
    if (s == NULL)
        return NULL;
    s->self = handle;
    s->key_bytes = (uint32_t)key.n;
    s->key = malloc(key.n + 1);
    if (s->key == NULL || map_add(&q->by_site, hash_bytes(key.p, key.n), s) != 0) {
        free(s->key);
        pool_free(&q->sites, handle);
        return NULL;
    }
    if (key.n > 0)
        memcpy(s->key, key.p, key.n);
    q->own_bytes += key.n + 1;
    list_init(&s->idle_conns);
    s->limit = q->config.conns_start;
    s->rest = SITE_DROPPED;
    list_push_back(&q->dropped, &s->rest_link);
    return s;
}

/* What was learned of it is worth remembering for a while. */
static bool site_instructive(const struct queue *q, const struct queue_site *site)
{
    return site->down || site->failures > 0 || site->paused_ms > q->now_ms || site->limit != q->config.conns_start ||
           site->not_before_ms > q->now_ms;
}

static void site_unrest(struct queue *q, struct queue_site *site)
{
    if (site->rest == SITE_KEPT)
        q->nkept--;
    list_remove(&site->rest_link);
    site->rest = SITE_BUSY;
}

static void site_rest(struct queue *q, struct queue_site *site)
{
    bool keep = site_instructive(q, site);
    list_push_back(keep ? &q->kept : &q->dropped, &site->rest_link);
    site->rest = keep ? SITE_KEPT : SITE_DROPPED;
    site->rest_ms = q->now_ms;
    q->nkept += keep;
}

void queue_site_free(struct queue *q, struct queue_site *site)
{
    if (q->gone != NULL)
        q->gone(q->gone_ctx, site, site->data);
    site_unrest(q, site);
    list_remove(&site->use);
    list_remove(&site->open);
    heap_remove(&q->timers, &site->timer);
    bool known = map_remove(&q->by_site, site_hash(site), site);
    ensure(known);
    q->ndown -= site->down;
    q->own_bytes -= site->key_bytes + 1 + site->error_bytes;
    if (site->lanes != NULL)
        map_fini(site->lanes);
    free(site->lanes);
    free(site->key);
    free(site->error);
    pool_free(&q->sites, site->self);
}

void queue_sites_sweep(struct queue *q)
{
    for (uint32_t i = 0; i < SWEEP_MAX && !list_empty(&q->dropped); i++)
        queue_site_free(q, LIST_ITEM(list_first(&q->dropped), struct queue_site, rest_link));
    for (uint32_t i = 0; i < SWEEP_MAX && !list_empty(&q->kept); i++) {
        struct queue_site *site = LIST_ITEM(list_first(&q->kept), struct queue_site, rest_link);
        bool over = site->rest_ms + q->config.sites_kept_ms <= q->now_ms || site->rest_ms > q->now_ms;
        if (!over && q->nkept <= q->config.sites_kept_max)
            return;
        queue_site_free(q, site);
    }
}

uint32_t queue_site_cap(const struct queue *q, const struct queue_site *site)
{
    uint64_t share = (uint64_t)q->config.conns_total_max * q->config.conns_share_pct / 100;
    uint32_t cap = site->limit < share ? site->limit : (uint32_t)share;
    return cap < 1 || queue_site_failing(site) ? 1 : cap;
}

bool queue_site_failing(const struct queue_site *site)
{
    return site->failures > 0 && site->conns == 0;
}

static void ring_set(struct list *ring, struct list *link, bool wanted)
{
    if (wanted && !list_linked(link))
        list_push_back(ring, link);
    else if (!wanted)
        list_remove(link);
}

void queue_site_update(struct queue *q, struct queue_site *site)
{
    bool empty = site->nlanes == 0 && site->conns == 0 && site->opening == 0;
    if (!empty && site->rest != SITE_BUSY)
        site_unrest(q, site);
    else if (empty && site->rest == SITE_BUSY)
        site_rest(q, site);

    uint32_t ready = site_offered(site);
    bool paused = site_paused_ms(site) > q->now_ms;
    bool use = ready > site->taking && site->nidle > 0 && !paused;
    bool more = ready > site->taking + site->opening && site->nidle == 0 && !site->blocked &&
                site->conns + site->opening < queue_site_cap(q, site);
    bool wait = paused ? ready > 0 : more && site->not_before_ms > q->now_ms;
    int64_t until_ms = paused ? site_paused_ms(site) : site->not_before_ms;
    ring_set(&q->use, &site->use, use);
    struct list *ring = queue_site_failing(site) ? &q->probe : &q->open;
    if (list_linked(&site->open) && site->in_probe != (ring == &q->probe))
        list_remove(&site->open);
    site->in_probe = ring == &q->probe;
    ring_set(ring, &site->open, more && !wait && !paused);
    if (!wait)
        heap_remove(&q->timers, &site->timer);
    else if (heap_linked(&site->timer))
        heap_move(&q->timers, &site->timer, until_ms);
    else if (heap_add(&q->timers, &site->timer, until_ms) != 0)
        ring_set(ring, &site->open, true); /* no memory to wait: rather too early than never */
}

struct span queue_site_key(const struct queue_site *site)
{
    return span_of(site->key, site->key_bytes);
}

void *queue_site_data(const struct queue_site *site)
{
    return site->data;
}

void queue_site_set_data(struct queue_site *site, void *data)
{
    site->data = data;
}

void queue_site_set_conns_max(struct queue *q, struct queue_site *site, uint32_t max, int64_t now_ms)
{
    q->now_ms = now_ms;
    site->conns_max = max;
    uint32_t bound = max != 0 ? max : q->config.conns_max;
    if (site->limit > bound)
        site->limit = bound;
    queue_site_update(q, site);
}

void queue_site_set_shape(struct queue *q, struct queue_site *site, const struct queue_shape *shape, int64_t now_ms)
{
    site->interval_ms = shape->interval_ms;
    site->paused_ms = shape->paused_until_ms;
    queue_site_set_conns_max(q, site, shape->conns_max, now_ms);
}

void queue_site_block(struct queue *q, struct queue_site *site, bool blocked, int64_t now_ms)
{
    q->now_ms = now_ms;
    site->blocked = blocked;
    queue_site_update(q, site);
}

void queue_site_pace(struct queue *q, struct queue_site *site, int64_t until_ms, int64_t now_ms)
{
    q->now_ms = now_ms;
    if (site->paced_ms < until_ms)
        site->paced_ms = until_ms;
    queue_site_update(q, site);
}

bool queue_site_paused(const struct queue_site *site, int64_t now_ms)
{
    return site->paused_ms > now_ms;
}

void queue_site_retry_now(struct queue *q, struct queue_site *site, int64_t now_ms)
{
    q->now_ms = now_ms;
    if (site->not_before_ms > now_ms)
        site->not_before_ms = now_ms;
    queue_site_update(q, site);
}
