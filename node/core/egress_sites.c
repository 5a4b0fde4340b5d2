/* The sites that a worker's queues belong to: see egress_sites.h. */
#include "node/core/egress_sites.h"

#include "base/clock.h"
#include "node/core/cluster.h"
#include "node/core/conn.h"
#include "node/core/node.h"
#include "node/policy/policy.h"

#include <ctype.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MS 250        /* a queue that waits for a place tries again by itself */
#define ASK_MS 100         /* between two times that idle connections are asked to make room */
#define SHARED_MESSAGES 20 /* of a connection whose place others wait for */
#define HOSTS_MAX 64

/* ---- names ------------------------------------------------------------------------------------------------
 */

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

size_t egress_sites_name(char *const *hosts, uint32_t nhosts, uint16_t port, char *out, size_t cap)
{
    const char *sorted[HOSTS_MAX];
    char set[24] = "", where[8] = "";
    uint32_t n = nhosts < HOSTS_MAX ? nhosts : HOSTS_MAX;
    if (n == 0)
        return 0;
    for (uint32_t i = 0; i < n; i++)
        sorted[i] = hosts[i];
    qsort(sorted, n, sizeof *sorted, compare_text);
    if (n > 1) {
        /* nobody may make a set of his own that passes for another one */
        unsigned char digest[SHA256_DIGEST_LENGTH];
        struct buf all;
        buf_init(&all, HOSTS_MAX * 260);
        for (uint32_t i = 0; i < n; i++)
            buf_printf(&all, "%s\n", sorted[i]);
        if (buf_err(&all) == 0)
            SHA256((const unsigned char *)all.data, all.len, digest);
        int err = buf_err(&all);
        buf_fini(&all);
        if (err != 0)
            return 0;
        uint64_t head = 0;
        for (int i = 0; i < 8; i++)
            head = head << 8 | digest[i];
        snprintf(set, sizeof set, "+%u-%016llx", n - 1, (unsigned long long)head);
    }
    if (port != 25)
        snprintf(where, sizeof where, ":%u", port);
    int len = snprintf(out, cap, "mx:%s%s%s", sorted[0], set, where);
    return len < 0 || (size_t)len >= cap ? 0 : (size_t)len;
}

/* ---- joining ----------------------------------------------------------------------------------------------
 */

struct policy *egress_policy(struct egress *e)
{
    struct cluster *c = e->w->node->cluster;
    struct policy *p = c != NULL ? cluster_policy(c) : NULL;
    if (p != NULL)
        return p;
    if (e->shaping.builtin == NULL) {
        struct buf why;
        buf_init(&why, 4096);
        (void)policy_parse("built-in", policy_builtin(), &e->shaping.builtin, &why);
        buf_fini(&why);
    }
    return e->shaping.builtin == NULL ? NULL : policy_hold(e->shaping.builtin);
}

static void group_uncrowd(struct egress_site *site)
{
    struct egress_group *g = site->group;
    list_remove(&site->crowded);
    if (list_empty(&g->crowded))
        list_remove(&g->link);
}

static void leave_group(struct egress_site *site)
{
    struct egress *e = site->e;
    struct egress_group *g = site->group;
    if (g == NULL)
        return;
    group_uncrowd(site);
    list_remove(&site->member);
    sites_count_domain(g->share, false);
    site->group = NULL;
    if (!list_empty(&g->members))
        return;
    *sites_local(g->share, e->w->index) = NULL;
    if (!e->stopping) /* else nobody is left to be told */
        sites_unwait(e->w->node->sites, g->share, e->w->index, clock_mono_ns());
    sites_rele(e->w->node->sites, g->share);
    free(g);
}

static struct egress_group *group_get(struct egress *e, struct span key, const struct sites_limits *limits)
{
    struct sites *sites = e->w->node->sites;
    struct site_share *share = sites_get(sites, key, limits);
    if (share == NULL)
        return NULL;
    void **local = sites_local(share, e->w->index);
    struct egress_group *g = *local;
    if (g != NULL) {
        sites_rele(sites, share);
        return g;
    }
    g = calloc(1, sizeof *g);
    if (g == NULL) {
        sites_rele(sites, share);
        return NULL;
    }
    g->e = e;
    g->share = share;
    list_init(&g->members);
    list_init(&g->crowded);
    *local = g;
    return g;
}

static void limits_of(const struct egress *e, const struct shaping_site *entry, struct sites_limits *out)
{
    const struct config_delivery *d = &e->w->config->delivery;
    *out = (struct sites_limits){ .start = d->connections_start, .max = d->connections_max };
    if (entry == NULL)
        return;
    out->connections = entry->limits.connections;
    out->rate_count = entry->limits.rate_count;
    out->rate_ms = entry->limits.rate_ms;
    if (out->connections > 0)
        out->max = SITES_CONNS_MAX;
}

static void forget_entry(struct egress_site *site)
{
    policy_rele(site->policy);
    site->policy = NULL;
    site->entry = NULL;
    site->joined_by = NULL;
}

static size_t key_of(const struct egress_site *site, const struct route_hop *hop,
                     const struct dns_site *found, const struct shaping_site *entry, char out[ROUTE_KEY_MAX])
{
    struct span own = queue_site_key(site->qs), pool = route_key_pool(own), rest = route_key_site(own);
    size_t at = 0;
    if (pool.n > 0) {
        if (pool.n + 2 >= ROUTE_KEY_MAX)
            return 0;
        memcpy(out, pool.p, pool.n);
        out[pool.n] = '/';
        at = pool.n + 1;
    }
    size_t n = 0;
    if (entry != NULL)
        for (; entry->name[n] != '\0' && at + n + 1 < ROUTE_KEY_MAX; n++)
            out[at + n] = (char)tolower((unsigned char)entry->name[n]);
    else if (route_key_is_hop(own))
        n = (size_t)snprintf(out + at, ROUTE_KEY_MAX - at, "%.*s", (int)rest.n, rest.p);
    else
        n = egress_sites_name(found->hosts, found->nhosts, hop->port, out + at, ROUTE_KEY_MAX - at);
    return n == 0 || at + n >= ROUTE_KEY_MAX ? 0 : at + n;
}

void egress_sites_join(struct egress_site *site, const struct route_hop *hop, const struct dns_site *found)
{
    struct egress *e = site->e;
    struct policy *p = egress_policy(e);
    char key[ROUTE_KEY_MAX];
    if (p == NULL)
        return; /* no memory: as it was */
    if (site->joined_by == found && site->policy == p && site->joined_config == e->w->config) {
        policy_rele(p);
        return;
    }
    forget_entry(site);
    site->policy = p;
    site->joined_by = found;
    site->joined_config = e->w->config;
    site->entry = shaping_sites_find(p->sites, hop->domain, (const char *const *)found->hosts, found->nhosts);
    size_t n = key_of(site, hop, found, site->entry, key);
    struct sites_limits limits;
    limits_of(e, site->entry, &limits);
    bool other = site->group == NULL || !span_eq(sites_key(site->group->share), span_of(key, n));
    struct egress_group *g = n == 0 ? NULL : other ? group_get(e, span_of(key, n), &limits) : site->group;
    if (g != NULL)
        sites_set_limits(e->w->node->sites, g->share, &limits);
    if (g != NULL && other) {
        leave_group(site);
        site->group = g;
        list_push_back(&g->members, &site->member);
        sites_count_domain(g->share, true);
    }
    egress_shaping_joined(site);
}

void egress_sites_leave(struct egress_site *site)
{
    leave_group(site);
    forget_entry(site);
}

struct span egress_sites_key(const struct egress_site *site)
{
    return site == NULL || site->group == NULL ? span_of("", 0) : sites_key(site->group->share);
}

struct span egress_sites_shared(const struct egress_site *site)
{
    struct span key = egress_sites_key(site);
    return route_key_site(key.n > 0 ? key : queue_site_key(site->qs));
}

struct egress_group *egress_sites_group(struct egress *e, struct span key)
{
    struct sites *sites = e->w->node->sites;
    struct site_share *share = sites_find(sites, key);
    if (share == NULL)
        return NULL;
    struct egress_group *g = *sites_local(share, e->w->index);
    sites_rele(sites, share); /* the group holds it */
    return g;
}

/* ---- waiting for a place ----------------------------------------------------------------------------------
 */

/* The one that has waited longest tries again. */
static void let_one_try(struct egress_group *g)
{
    struct egress *e = g->e;
    struct egress_site *site = LIST_ITEM(list_first(&g->crowded), struct egress_site, crowded);
    group_uncrowd(site);
    queue_site_block(e->queue, site->qs, false, egress_now_ms(e));
    egress_kick(e);
}

static void sites_timer_cb(struct timer *t)
{
    struct egress_sites *s = TIMER_ITEM(t, struct egress_sites, timer);
    struct egress *e = (struct egress *)((char *)s - offsetof(struct egress, sites));
    if (e->stopping)
        return;
    LIST_EACH_SAFE(link, &s->crowded)
    let_one_try(LIST_ITEM(link, struct egress_group, link));
    if (!list_empty(&s->crowded))
        timer_set(t, LOOK_MS);
}

struct sites_msg {
    struct worker_msg msg;
    struct site_share *share; /* held */
};

static void post(struct node *n, struct worker *w, struct site_share *share,
                 void (*run)(struct worker *w, struct worker_msg *msg))
{
    struct sites_msg *m = malloc(sizeof *m);
    if (m != NULL)
        *m = (struct sites_msg){ .msg.run = run, .share = share };
    if (m != NULL && worker_post(w, &m->msg) == 0)
        return;
    sites_rele(n->sites, share); /* it looks again by itself */
    free(m);
}

static void run_wake(struct worker *w, struct worker_msg *msg)
{
    struct sites_msg *m = (struct sites_msg *)msg;
    if (!w->egress->stopping) {
        struct egress_group *g = *sites_local(m->share, w->index);
        if (g != NULL && !list_empty(&g->crowded))
            let_one_try(g);
        else
            sites_unwait(w->node->sites, m->share, w->index, clock_mono_ns());
    }
    sites_rele(w->node->sites, m->share);
    free(m);
}

void sites_wake_cb(void *ctx, uint32_t worker, struct site_share *share)
{
    struct node *n = ctx;
    post(n, &n->workers[worker], share, run_wake);
}

/* Another destination of the site wants a place that an idle connection of ours has. */
static void run_make_room(struct worker *w, struct worker_msg *msg)
{
    struct sites_msg *m = (struct sites_msg *)msg;
    bool done = w->egress->stopping || !sites_contended(m->share);
    LIST_EACH_SAFE(link, &w->egress->conns)
    {
        struct conn *c = LIST_ITEM(link, struct conn, link);
        if (done || c->state != CONN_IDLE || c->share != m->share)
            continue;
        conn_quit(&c->qc);
        done = true;
    }
    sites_rele(w->node->sites, m->share);
    free(m);
}

static void ask_idle_ones(struct egress_group *g)
{
    struct node *n = g->e->w->node;
    int64_t now = timers_now_ms(&g->e->w->timers);
    if (g->asked_ms != 0 && now - g->asked_ms < ASK_MS)
        return;
    g->asked_ms = now;
    for (uint32_t i = 0; i < n->nworkers; i++)
        post(n, &n->workers[i], sites_hold(n->sites, g->share), run_make_room);
}

/* ---- one connection ---------------------------------------------------------------------------------------
 */

bool conn_site_room(struct conn *c, const struct ip_addr *source)
{
    struct egress_group *g = c->site->group;
    if (g == NULL || c->share == g->share) /* it has a place, which it gives back for the new one */
        return true;
    bool room = sites_room(g->share, c->e->w->index, source, clock_mono_ns());
    c->crowded = c->crowded || !room;
    return room;
}

bool conn_site_take(struct conn *c, const struct ip_addr *source)
{
    struct egress_group *g = c->site->group;
    struct node *n = c->e->w->node;
    bool idle;
    if (g != NULL && c->share == g->share && ip_addr_eq(&c->share_addr, source))
        return true;
    conn_site_drop(c);
    if (g == NULL)
        return true;
    if (!sites_take(g->share, c->e->w->index, source, clock_mono_ns(), &c->share_source, &idle)) {
        c->crowded = true;
        return false;
    }
    c->share = sites_hold(n->sites, g->share);
    c->share_addr = *source;
    c->share_left = false;
    return true;
}

void conn_site_drop(struct conn *c)
{
    struct sites *sites = c->e->w->node->sites;
    if (c->share == NULL)
        return;
    conn_site_idle(c, false);
    sites_give(sites, c->share, c->share_source, c->share_left);
    sites_rele(sites, c->share);
    c->share = NULL;
}

void conn_site_crowded(struct conn *c)
{
    struct egress *e = c->e;
    struct egress_site *site = c->site;
    struct egress_group *g = site->group;
    conn_cancel(c);
    if (g == NULL || e->stopping)
        return;
    bool idle = sites_wait(g->share, e->w->index);
    queue_site_block(e->queue, site->qs, true, egress_now_ms(e));
    if (!list_linked(&site->crowded))
        list_push_back(&g->crowded, &site->crowded);
    if (!list_linked(&g->link))
        list_push_back(&e->sites.crowded, &g->link);
    if (!timer_is_set(&e->sites.timer))
        timer_set(&e->sites.timer, LOOK_MS);
    if (idle)
        ask_idle_ones(g);
}

bool conn_site_wanted(const struct conn *c)
{
    return c->share != NULL && sites_contended(c->share);
}

bool conn_site_stays(struct conn *c)
{
    uint32_t most = c->config->delivery.messages_per_connection;
    if (c->site != NULL && c->site->entry != NULL && c->site->entry->limits.messages_per_connection > 0)
        most = c->site->entry->limits.messages_per_connection;
    if (c->messages >= most || (c->messages >= SHARED_MESSAGES && conn_site_wanted(c)))
        return false;
    if (c->share == NULL)
        return true;
    if (c->site != NULL && c->site->group != NULL && c->site->group->share != c->share)
        return false; /* its destination has moved to another site since */
    if (!c->share_left)
        c->share_left = sites_surplus(c->share);
    return !c->share_left;
}

bool conn_site_paced(struct conn *c)
{
    struct egress *e = c->e;
    int64_t wait = c->share == NULL ? 0 : sites_message(c->share, c->share_source, clock_mono_ns());
    if (wait == 0)
        return true;
    int64_t now = egress_now_ms(e);
    queue_site_pace(e->queue, c->site->qs, now + wait / 1000000 + 1, now);
    return false;
}

void conn_site_unsent(struct conn *c)
{
    if (c->share != NULL)
        sites_message_back(c->share, c->share_source);
}

void conn_site_idle(struct conn *c, bool idle)
{
    if (c->share == NULL || c->share_idle == idle)
        return;
    c->share_idle = idle;
    sites_idle(c->share, idle);
}

uint32_t conn_site_recipients(const struct conn *c)
{
    const struct shaping_site *entry = c->site == NULL ? NULL : c->site->entry;
    return entry != NULL && entry->limits.recipients > 0 ? entry->limits.recipients
                                                         : c->config->delivery.max_rcpts;
}

void conn_site_retry(struct conn *c)
{
    struct attempt *a = c->attempt;
    const struct shaping_site *entry = c->site == NULL ? NULL : c->site->entry;
    if (entry == NULL || entry->limits.nretry == 0 || a->retry_at_ms != 0)
        return;
    struct queue_config schedule = { .nretry = entry->limits.nretry,
                                     .retry_jitter_pct = c->config->delivery.jitter_pct };
    for (uint32_t i = 0; i < schedule.nretry; i++)
        schedule.retry_ms[i] = entry->limits.retry_ms[i];
    uint64_t random = (uint64_t)clock_mono_ns() * UINT64_C(0x9e3779b97f4a7c15);
    a->retry_at_ms = egress_now_ms(c->e) + queue_retry_delay_ms(&schedule, a->attempts, random);
    if (a->retry_at_ms < a->not_before_ms)
        a->retry_at_ms = a->not_before_ms;
}

/* ---- begin and end ----------------------------------------------------------------------------------------
 */

int egress_sites_init(struct egress *e)
{
    list_init(&e->sites.crowded);
    return timer_init(&e->sites.timer, &e->w->timers, sites_timer_cb);
}

void egress_sites_fini(struct egress *e)
{
    timer_fini(&e->sites.timer);
}
