/* What the destinations of one site share: see sites.h. The table has one lock, each share its own; the
 * table's is taken first where both are. */
#include "node/core/sites.h"

#include "base/ensure.h"
#include "base/hash.h"
#include "base/map.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define TROUBLE_PAUSE_NS INT64_C(2000000000) /* what many connections meet at once halves the limit once */
#define BURST_PART 10                        /* of a rate may go at once */

struct source {
    struct ip_addr addr;
    uint32_t conns;
    int64_t tat_ns; /* when the next message would be due at an even pace (GCRA) */
};

struct site_share {
    uint32_t refs; /* under the table's lock */
    uint32_t key_bytes;
    char *key;
    uv_mutex_t lock; /* of all below but the atomics that are read without */
    struct sites_limits limits;
    uint32_t backoff; /* connections; 0: it is not in back-off */
    int64_t interval_ns, next_ns;
    uint32_t conns, leaving, limit, credit;
    int64_t trouble_ns;
    uint32_t nsources;
    struct source *sources;
    int64_t woken_ns; /* when the first in line was told; 0: it was not yet */
    bool woken;
    uint16_t *line; /* workers that wait; NULL until one does */
    atomic_uint waiting;
    atomic_uint idle;
    atomic_uint domains;
    atomic_bool paced; /* sites_message has something to say */
    atomic_bool tight; /* sites_surplus has */
    uint32_t nworkers;
    void *local[];
};

struct sites {
    uv_mutex_t lock;
    struct map shares;
    uint32_t nworkers;
    sites_wake_fn *wake;
    void *wake_ctx;
    uint64_t bytes; /* under the lock */
};

static uint64_t share_hash(const void *item)
{
    const struct site_share *share = item;
    return hash_bytes(share->key, share->key_bytes);
}

static bool share_match(const void *item, const void *key)
{
    const struct span *k = key;
    return span_eq(sites_key(item), *k);
}

struct sites *sites_new(uint32_t nworkers, sites_wake_fn *wake, void *ctx)
{
    struct sites *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->nworkers = nworkers;
    s->wake = wake;
    s->wake_ctx = ctx;
    map_init(&s->shares, share_hash, share_match);
    if (uv_mutex_init(&s->lock) != 0) {
        free(s);
        return NULL;
    }
    return s;
}

void sites_free(struct sites *s)
{
    if (s == NULL)
        return;
    ensure(s->shares.len == 0);
    map_fini(&s->shares);
    uv_mutex_destroy(&s->lock);
    free(s);
}

static size_t share_bytes(const struct site_share *share)
{
    return sizeof *share + share->nworkers * sizeof(void *) + share->key_bytes + 1;
}

static void limits_take(struct site_share *share, const struct sites_limits *limits)
{
    share->limits = *limits;
    if (share->limits.max < 1)
        share->limits.max = 1;
    if (share->limit > share->limits.max)
        share->limit = share->limits.max;
    atomic_store(&share->paced, limits->rate_count > 0 || share->interval_ns > 0);
    atomic_store(&share->tight, true);
}

static void share_free(struct site_share *share)
{
    uv_mutex_destroy(&share->lock);
    free(share->sources);
    free(share->line);
    free(share->key);
    free(share);
}

static struct site_share *share_new(uint32_t nworkers, struct span key, const struct sites_limits *limits)
{
    struct site_share *share = calloc(1, sizeof *share + nworkers * sizeof(void *));
    if (share == NULL)
        return NULL;
    if (uv_mutex_init(&share->lock) != 0) {
        free(share);
        return NULL;
    }
    share->nworkers = nworkers;
    share->refs = 1;
    share->limit = limits->start > 0 ? limits->start : 1;
    limits_take(share, limits);
    share->key_bytes = (uint32_t)key.n;
    share->key = malloc(key.n + 1);
    if (share->key == NULL) {
        share_free(share);
        return NULL;
    }
    memcpy(share->key, key.p, key.n);
    return share;
}

struct site_share *sites_find(struct sites *s, struct span key)
{
    uv_mutex_lock(&s->lock);
    struct site_share *share = map_find(&s->shares, hash_bytes(key.p, key.n), &key);
    if (share != NULL)
        share->refs++;
    uv_mutex_unlock(&s->lock);
    return share;
}

struct site_share *sites_get(struct sites *s, struct span key, const struct sites_limits *limits)
{
    struct site_share *share = sites_find(s, key);
    if (share != NULL)
        return share;
    struct site_share *fresh = share_new(s->nworkers, key, limits);
    if (fresh == NULL)
        return NULL;
    uv_mutex_lock(&s->lock);
    share = map_find(&s->shares, hash_bytes(key.p, key.n), &key);
    if (share != NULL) {
        share->refs++;
    } else if (map_add(&s->shares, share_hash(fresh), fresh) == 0) {
        s->bytes += share_bytes(fresh);
        share = fresh;
        fresh = NULL;
    }
    uv_mutex_unlock(&s->lock);
    if (fresh != NULL)
        share_free(fresh);
    return share;
}

struct site_share *sites_hold(struct sites *s, struct site_share *share)
{
    uv_mutex_lock(&s->lock);
    share->refs++;
    uv_mutex_unlock(&s->lock);
    return share;
}

void sites_rele(struct sites *s, struct site_share *share)
{
    uv_mutex_lock(&s->lock);
    ensure(share->refs > 0);
    bool last = --share->refs == 0;
    if (last) {
        bool known = map_remove(&s->shares, share_hash(share), share);
        ensure(known);
        s->bytes -= share_bytes(share);
    }
    uv_mutex_unlock(&s->lock);
    if (last) {
        ensure(share->conns == 0);
        share_free(share);
    }
}

struct span sites_key(const struct site_share *share)
{
    return span_of(share->key, share->key_bytes);
}

void **sites_local(struct site_share *share, uint32_t worker)
{
    ensure(worker < share->nworkers);
    return &share->local[worker];
}

void sites_count_domain(struct site_share *share, bool more)
{
    if (more)
        atomic_fetch_add(&share->domains, 1);
    else
        atomic_fetch_sub(&share->domains, 1);
}

/* ---- whose turn it is -------------------------------------------------------------------------------------
 */

static uint32_t cap(const struct site_share *share)
{
    return share->backoff != 0 && share->backoff < share->limit ? share->backoff : share->limit;
}

/* The first in line is to be told that there is room. With the lock held. */
static bool to_wake(struct site_share *share, int64_t now_ns, uint32_t *worker)
{
    if (atomic_load(&share->waiting) == 0 || share->conns >= cap(share))
        return false;
    *worker = share->line[0];
    share->woken = true;
    share->woken_ns = now_ns;
    return true;
}

static void wake(struct sites *s, struct site_share *share, uint32_t worker)
{
    s->wake(s->wake_ctx, worker, sites_hold(s, share));
}

static void line_remove(struct site_share *share, uint32_t worker)
{
    uint32_t n = atomic_load(&share->waiting);
    for (uint32_t i = 0; i < n; i++) {
        if (share->line[i] != worker)
            continue;
        memmove(share->line + i, share->line + i + 1, (n - i - 1) * sizeof *share->line);
        atomic_store(&share->waiting, n - 1);
        if (i == 0)
            share->woken = false;
        return;
    }
}

static void line_add(struct site_share *share, uint32_t worker)
{
    uint32_t n = atomic_load(&share->waiting);
    if (share->line == NULL)
        share->line = malloc(share->nworkers * sizeof *share->line);
    if (share->line == NULL)
        return; /* it looks again by itself */
    for (uint32_t i = 0; i < n; i++)
        if (share->line[i] == worker)
            return;
    ensure(n < share->nworkers);
    share->line[n] = (uint16_t)worker;
    atomic_store(&share->waiting, n + 1);
}

void sites_unwait(struct sites *s, struct site_share *share, uint32_t worker, int64_t now_ns)
{
    uint32_t next;
    uv_mutex_lock(&share->lock);
    line_remove(share, worker);
    bool tell = to_wake(share, now_ns, &next);
    uv_mutex_unlock(&share->lock);
    if (tell)
        wake(s, share, next);
}

bool sites_contended(const struct site_share *share)
{
    return atomic_load(&share->waiting) > 0;
}

bool sites_wait(struct site_share *share, uint32_t worker)
{
    uv_mutex_lock(&share->lock);
    line_add(share, worker);
    uv_mutex_unlock(&share->lock);
    return atomic_load(&share->idle) > 0;
}

/* ---- connections ------------------------------------------------------------------------------------------
 */

static uint32_t source_find(const struct site_share *share, const struct ip_addr *addr)
{
    uint32_t i = 0;
    while (i < share->nsources && !ip_addr_eq(&share->sources[i].addr, addr))
        i++;
    return i;
}

/* Its place in the list, made if there is none; the last one if there are too many, or no memory. */
static uint32_t source_get(struct site_share *share, const struct ip_addr *addr)
{
    uint32_t i = source_find(share, addr);
    if (i < share->nsources)
        return i;
    struct source *more = i < SITES_SOURCES_MAX ? realloc(share->sources, (i + 1) * sizeof *more) : NULL;
    if (more == NULL)
        return i > 0 ? i - 1 : UINT32_MAX;
    share->sources = more;
    share->sources[i] = (struct source){ .addr = *addr };
    share->nsources = i + 1;
    return i;
}

static bool others_first(const struct site_share *share, uint32_t worker, int64_t now_ns)
{
    return atomic_load(&share->waiting) > 0 && share->line[0] != worker &&
           !(share->woken && now_ns - share->woken_ns > SITES_TURN_MS * INT64_C(1000000));
}

static bool room(const struct site_share *share, uint32_t worker, const struct ip_addr *source,
                 int64_t now_ns)
{
    if (share->conns >= cap(share) || others_first(share, worker, now_ns))
        return false;
    uint32_t i = source_find(share, source);
    return share->limits.connections == 0 || i == share->nsources ||
           share->sources[i].conns < share->limits.connections;
}

bool sites_room(struct site_share *share, uint32_t worker, const struct ip_addr *source, int64_t now_ns)
{
    uv_mutex_lock(&share->lock);
    bool is = room(share, worker, source, now_ns);
    uv_mutex_unlock(&share->lock);
    return is;
}

bool sites_take(struct site_share *share, uint32_t worker, const struct ip_addr *source, int64_t now_ns,
                uint32_t *source_index, bool *idle)
{
    uv_mutex_lock(&share->lock);
    uint32_t i = room(share, worker, source, now_ns) ? source_get(share, source) : UINT32_MAX;
    if (i != UINT32_MAX) {
        share->conns++;
        share->sources[i].conns++;
        line_remove(share, worker);
        *source_index = i;
    } else {
        line_add(share, worker);
    }
    uv_mutex_unlock(&share->lock);
    *idle = atomic_load(&share->idle) > 0;
    return i != UINT32_MAX;
}

void sites_give(struct sites *s, struct site_share *share, uint32_t source_index, bool left)
{
    uint32_t next;
    uv_mutex_lock(&share->lock);
    ensure(share->conns > 0);
    ensure(source_index < share->nsources);
    ensure(share->sources[source_index].conns > 0);
    share->conns--;
    share->sources[source_index].conns--;
    share->leaving -= left;
    bool tell = to_wake(share, (int64_t)uv_hrtime(), &next);
    uv_mutex_unlock(&share->lock);
    if (tell)
        wake(s, share, next);
}

bool sites_surplus(struct site_share *share)
{
    if (!atomic_load(&share->tight))
        return false;
    uv_mutex_lock(&share->lock);
    bool more = share->conns - share->leaving > cap(share);
    share->leaving += more;
    if (!more)
        atomic_store(&share->tight, false);
    uv_mutex_unlock(&share->lock);
    return more;
}

void sites_idle(struct site_share *share, bool idle)
{
    if (idle)
        atomic_fetch_add(&share->idle, 1);
    else
        atomic_fetch_sub(&share->idle, 1);
}

void sites_success(struct sites *s, struct site_share *share)
{
    uint32_t next;
    uv_mutex_lock(&share->lock);
    /* grows only while it is the limit that holds us back */
    bool grow =
        share->limit < share->limits.max && share->conns >= share->limit && ++share->credit >= share->limit;
    if (grow) {
        share->credit = 0;
        share->limit++;
    }
    bool tell = grow && to_wake(share, (int64_t)uv_hrtime(), &next);
    uv_mutex_unlock(&share->lock);
    if (tell)
        wake(s, share, next);
}

void sites_trouble(struct site_share *share, int64_t now_ns)
{
    uv_mutex_lock(&share->lock);
    if (share->trouble_ns == 0 || now_ns - share->trouble_ns >= TROUBLE_PAUSE_NS) {
        share->trouble_ns = now_ns;
        share->credit = 0;
        share->limit = share->limit > 2 ? share->limit / 2 : 1;
        atomic_store(&share->tight, true);
    }
    uv_mutex_unlock(&share->lock);
}

void sites_set_limits(struct sites *s, struct site_share *share, const struct sites_limits *limits)
{
    uint32_t next;
    uv_mutex_lock(&share->lock);
    limits_take(share, limits);
    bool tell = to_wake(share, (int64_t)uv_hrtime(), &next);
    uv_mutex_unlock(&share->lock);
    if (tell)
        wake(s, share, next);
}

void sites_set_backoff(struct sites *s, struct site_share *share, uint32_t connections, int64_t interval_ms)
{
    uint32_t next;
    uv_mutex_lock(&share->lock);
    share->backoff = connections;
    share->interval_ns = interval_ms * 1000000;
    if (interval_ms == 0)
        share->next_ns = 0;
    atomic_store(&share->paced, share->limits.rate_count > 0 || interval_ms > 0);
    if (connections > 0)
        atomic_store(&share->tight, true);
    bool tell = to_wake(share, (int64_t)uv_hrtime(), &next);
    uv_mutex_unlock(&share->lock);
    if (tell)
        wake(s, share, next);
}

/* ---- messages ---------------------------------------------------------------------------------------------
 */

/* So that no window of rate_ms has more than rate_count: a burst of b, then one each W / (N - b + 1). */
static int64_t pace_ns(const struct sites_limits *l, int64_t *slack_ns)
{
    uint32_t burst = l->rate_count / BURST_PART > 1 ? l->rate_count / BURST_PART : 1;
    int64_t each = l->rate_ms * 1000000 / (l->rate_count - burst + 1);
    *slack_ns = each * (burst - 1);
    return each;
}

int64_t sites_message(struct site_share *share, uint32_t source_index, int64_t now_ns)
{
    if (!atomic_load(&share->paced))
        return 0;
    uv_mutex_lock(&share->lock);
    ensure(source_index < share->nsources);
    struct source *source = &share->sources[source_index];
    int64_t each = 0, slack = 0, wait = share->next_ns - now_ns;
    if (share->limits.rate_count > 0) {
        each = pace_ns(&share->limits, &slack);
        if (source->tat_ns < now_ns)
            source->tat_ns = now_ns;
        if (source->tat_ns - slack - now_ns > wait)
            wait = source->tat_ns - slack - now_ns;
    }
    if (wait <= 0) {
        source->tat_ns += each;
        share->next_ns = share->interval_ns > 0 ? now_ns + share->interval_ns : 0;
        wait = 0;
    }
    uv_mutex_unlock(&share->lock);
    return wait;
}

void sites_message_back(struct site_share *share, uint32_t source_index)
{
    int64_t slack;
    if (!atomic_load(&share->paced))
        return;
    uv_mutex_lock(&share->lock);
    if (share->limits.rate_count > 0)
        share->sources[source_index].tat_ns -= pace_ns(&share->limits, &slack);
    share->next_ns = 0;
    uv_mutex_unlock(&share->lock);
}

/* ---- looking ----------------------------------------------------------------------------------------------
 */

static int view_one(struct site_share *share, sites_view_fn *fn, void *ctx)
{
    uv_mutex_lock(&share->lock);
    struct sites_view view = { .key = sites_key(share),
                               .domains = atomic_load(&share->domains),
                               .conns = share->conns,
                               .limit = cap(share),
                               .waiting = atomic_load(&share->waiting),
                               .nsources = share->nsources,
                               .limits = share->limits,
                               .backoff_connections = share->backoff };
    uv_mutex_unlock(&share->lock);
    return fn(ctx, &view);
}

void sites_each(struct sites *s, struct span key, sites_view_fn *fn, void *ctx)
{
    size_t at = 0;
    int over = 0;
    uv_mutex_lock(&s->lock);
    struct site_share *share =
        key.n > 0 ? map_find(&s->shares, hash_bytes(key.p, key.n), &key) : map_next(&s->shares, &at);
    while (share != NULL && over == 0) {
        over = view_one(share, fn, ctx);
        share = key.n > 0 ? NULL : map_next(&s->shares, &at);
    }
    uv_mutex_unlock(&s->lock);
}

uint32_t sites_sources(struct sites *s, struct span key, struct sites_source *out, uint32_t max)
{
    uint32_t n = 0;
    uv_mutex_lock(&s->lock);
    struct site_share *share = map_find(&s->shares, hash_bytes(key.p, key.n), &key);
    if (share != NULL) {
        uv_mutex_lock(&share->lock);
        for (; n < share->nsources && n < max; n++)
            out[n] = (struct sites_source){ share->sources[n].addr, share->sources[n].conns };
        uv_mutex_unlock(&share->lock);
    }
    uv_mutex_unlock(&s->lock);
    return n;
}

uint64_t sites_bytes(struct sites *s)
{
    uv_mutex_lock(&s->lock);
    uint64_t bytes = s->bytes + s->shares.cap * sizeof(void *);
    uv_mutex_unlock(&s->lock);
    return bytes;
}
