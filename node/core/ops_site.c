/* The admin API: what one site is given on this node, by pool and source address. Admin threads. */
#include "node/core/ops_shaping.h"

#include "base/err.h"
#include "node/core/cluster.h"
#include "node/core/egress.h"
#include "node/core/egress_sites.h"
#include "node/core/node.h"
#include "node/core/pools.h"
#include "node/core/route.h"
#include "node/core/sites.h"
#include "node/core/worker.h"

#include <errno.h>
#include <stdlib.h>

_Static_assert(ADMIN_SITE_SOURCES_MAX == SITES_SOURCES_MAX, "one number");
_Static_assert(sizeof((struct admin_site_source *)NULL)->address == IP_TEXT_MAX, "an address has room");

/* ---- what waits, and for which sites: workers -----------------------------------------------------------
 */

struct row {
    char *key;
    struct admin_site_share share; /* key and sources apart */
};

struct walk {
    struct span name;
    struct worker *w;
    uint64_t cursor;
    bool more;
    struct row rows[ADMIN_ROWS_MAX];
    uint32_t n;
    int err;
};

static bool named(struct span key, struct span name)
{
    return span_eq_nocase(key, name) || span_eq_nocase(route_key_site(key), name);
}

static struct row *row_get(struct walk *walk, struct span key)
{
    for (uint32_t i = 0; i < walk->n; i++)
        if (span_eq(walk->rows[i].share.site, key))
            return &walk->rows[i];
    if (walk->n == ADMIN_ROWS_MAX)
        return NULL;
    struct row *r = &walk->rows[walk->n];
    *r = (struct row){ .key = strndup(key.p, key.n) };
    if (r->key == NULL) {
        walk->err = -ENOMEM;
        return NULL;
    }
    r->share.site = span_of(r->key, key.n);
    r->share.pool = route_key_pool(r->share.site);
    walk->n++;
    return r;
}

/* A destination that has joined no site yet stands for itself. */
static void on_queue(void *ctx, struct queue_site *site)
{
    struct walk *walk = ctx;
    struct span key = queue_site_key(site), of = egress_sites_key(queue_site_data(site));
    struct queue_site_state state;
    if (walk->err != 0 || (!named(key, walk->name) && (of.n == 0 || !named(of, walk->name))))
        return;
    struct row *r = row_get(walk, of.n > 0 ? of : key);
    if (r == NULL)
        return;
    queue_site_state(walk->w->egress->queue, site, &state);
    r->share.waiting +=
        (uint64_t)state.counts.state[QUEUE_STATE_READY] + state.counts.state[QUEUE_STATE_WAITING];
    r->share.active += state.counts.state[QUEUE_STATE_IN_FLIGHT];
    r->share.held += state.counts.state[QUEUE_STATE_HELD];
    if (of.n > 0)
        return;
    r->share.domains++;
    r->share.conns += state.conns;
    r->share.conns_max += state.conns_limit;
    r->share.backoff = r->share.backoff || state.shaped;
}

static void walk_worker(struct worker *w, void *arg)
{
    struct walk *walk = arg;
    walk->w = w;
    walk->more = queue_walk_sites(w->egress->queue, &walk->cursor, 2048, on_queue, walk);
}

/* ---- what they are given --------------------------------------------------------------------------------
 */

static int on_share(void *ctx, const struct sites_view *view)
{
    struct admin_site_share *out = ctx;
    out->conns = view->conns;
    out->conns_max = view->limit;
    out->conns_each = view->limits.connections;
    out->rate_count = view->limits.rate_count;
    out->rate_ms = view->limits.rate_ms;
    out->backoff = view->backoff_connections > 0;
    out->domains = view->domains;
    return 1;
}

struct sources {
    uint32_t n;
    struct sites_source of[SITES_SOURCES_MAX];
    struct admin_site_source shown[ADMIN_SITE_SOURCES_MAX];
};

static void source_add(struct sources *s, const struct ip_addr *addr)
{
    uint32_t i = 0;
    while (i < s->n && !ip_addr_eq(&s->of[i].addr, addr))
        i++;
    if (i == s->n && s->n < SITES_SOURCES_MAX)
        s->of[s->n++] = (struct sites_source){ .addr = *addr };
}

/* Those of the pool that this node has, and those from which there are connections: all, where there are no
 * pools. */
static void sources_fill(struct sources *s, struct node *n, const struct pool_view *pools,
                         const struct admin_site_share *share)
{
    const struct pool_address *a;
    uint32_t kept = 0;
    s->n = sites_sources(n->sites, share->site, s->of, SITES_SOURCES_MAX);
    for (uint32_t i = 0; i < s->n; i++)
        if (share->pool.n == 0 || s->of[i].conns > 0)
            s->of[kept++] = s->of[i];
    s->n = kept;
    for (uint32_t i = 0; share->pool.n > 0 && pools != NULL && (a = pool_view_at(pools, i)) != NULL; i++)
        if (a->meter != NULL && span_eq(a->pool, share->pool))
            source_add(s, &a->addr);
    for (uint32_t i = 0; i < s->n; i++) {
        s->shown[i] = (struct admin_site_source){ .conns = s->of[i].conns };
        if (s->of[i].addr.family != 0)
            (void)ip_addr_format(&s->of[i].addr, s->shown[i].address);
    }
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct row *)a)->key, ((const struct row *)b)->key);
}

static void show(struct node *n, struct walk *walk, struct sources *s, admin_site_share_fn *fn, void *arg)
{
    struct pool_view *pools = n->cluster != NULL ? cluster_pools(n->cluster) : NULL;
    int enough = 0;
    for (uint32_t i = 0; i < walk->n && enough == 0; i++) {
        struct admin_site_share *share = &walk->rows[i].share;
        sites_each(n->sites, share->site, on_share, share);
        sources_fill(s, n, pools, share);
        if (share->conns_each > 0 && s->n > 0 && (uint64_t)share->conns_each * s->n < share->conns_max)
            share->conns_max = share->conns_each * s->n;
        share->sources = s->shown;
        share->nsources = s->n;
        enough = fn(arg, share);
    }
    pool_view_rele(pools);
}

int ops_site_shares(void *ctx, const char *site, admin_site_share_fn *fn, void *arg, struct admin_error *e)
{
    struct node *n = ctx;
    struct walk *walk = calloc(1, sizeof *walk);
    struct sources *sources = calloc(1, sizeof *sources);
    int err = walk == NULL || sources == NULL ? -ENOMEM : 0;
    if (err == 0) {
        walk->name = span_str(site);
        for (uint32_t i = 0; i < n->nworkers && walk->err == 0; i++) {
            walk->cursor = 0;
            do {
                worker_call(&n->workers[i], walk_worker, walk);
            } while (walk->more && walk->err == 0);
        }
        err = walk->err;
        if (walk->n > 0)
            qsort(walk->rows, walk->n, sizeof *walk->rows, compare);
        if (err == 0)
            show(n, walk, sources, fn, arg);
        for (uint32_t i = 0; i < walk->n; i++)
            free(walk->rows[i].key);
    }
    free(sources);
    free(walk);
    return err == 0 ? 0 : admin_fail(e, err, "%s", err_text(err));
}
