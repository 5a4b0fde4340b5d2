/* Pools of which addresses rest for a site: see egress_rested.h. */
#include "node/core/egress_rested.h"

#include "base/hash.h"
#include "base/text.h"
#include "node/core/conn.h"
#include "node/core/node.h"
#include "node/core/report.h"
#include "node/policy/policy.h"

#include <stdio.h>

struct resting {
    const struct egress *e;
    const struct queue_site *qs;
    const struct ip_addr *but;
};

static bool rests_cb(void *ctx, const struct ip_addr *addr)
{
    const struct resting *r = ctx;
    return (r->but != NULL && ip_addr_eq(addr, r->but)) || egress_shaping_held(r->e, r->qs, addr);
}

static enum egress_rested of_sources(const struct egress *e, struct resting *r)
{
    const struct config *config = e->w->config;
    for (uint32_t i = 0; i < config->nsources; i++) {
        struct ip_addr a;
        if (ip_from_sockaddr((const struct sockaddr *)&config->sources[i].address, &a, NULL) == 0 &&
            !rests_cb(r, &a))
            return EGRESS_AWAKE;
    }
    return EGRESS_RESTED;
}

enum egress_rested egress_rested(struct egress *e, const struct queue_site *qs, const struct ip_addr *but)
{
    struct resting r = { e, qs, but };
    struct span pool = route_key_pool(queue_site_key(qs));
    if (pool.n == 0)
        return of_sources(e, &r);
    const struct pool_view *v = egress_pools_view(e);
    bool session = egress_pools_session(e);
    uint64_t node;
    enum pool_reach any = pool_view_reach(v, pool, 0, session, &node);
    if (any == POOL_NOWHERE || pool_view_choose_awake(v, pool, 0, 0, session, rests_cb, &r) != NULL)
        return EGRESS_AWAKE;
    return pool_view_awake_elsewhere(v, pool, 0, rests_cb, &r, &node) ? EGRESS_ELSEWHERE : EGRESS_RESTED;
}

/* ---- what the policy says ------------------------------------------------------------------------------ */

/* Copies out: the policy may be another one soon. */
static struct policy_pool rule_of(struct egress *e, const struct queue_site *qs)
{
    struct policy_pool rule = { .when_all_disabled = POLICY_RESTED_WAIT };
    struct policy *p = egress_policy(e);
    struct span pool = route_key_pool(queue_site_key(qs));
    const struct policy_pool *found = p == NULL || pool.n == 0 ? NULL : policy_pool_find(p, pool);
    uint64_t node;
    if (found != NULL)
        rule = *found;
    policy_rele(p);
    /* a pool of which nothing can be used takes no mail: it would only wait there */
    if (rule.when_all_disabled == POLICY_RESTED_REROUTE &&
        pool_view_reach(egress_pools_view(e), span_str(rule.to), 0, egress_pools_session(e), &node) ==
            POOL_NOWHERE)
        rule.when_all_disabled = POLICY_RESTED_WAIT;
    return rule;
}

/* What is done from now on; NULL: an address may be used again. */
static void tell(struct worker *w, struct span key, const struct policy_pool *rule)
{
    char what[200], after[32] = "";
    if (rule == NULL) {
        report_shaping_site(w, key, "over", "an address may be used again");
        return;
    }
    if (rule->after_ms > 0)
        (void)text_exact_duration(rule->after_ms, after);
    bool moves = rule->when_all_disabled == POLICY_RESTED_REROUTE;
    snprintf(what, sizeof what, "%s%s%s%s",
             moves                                              ? "what waits is moved to pool "
             : rule->when_all_disabled == POLICY_RESTED_BOUNCE  ? "what waits is returned to its senders"
             : rule->when_all_disabled == POLICY_RESTED_USE_ANY ? "they are used all the same"
                                                                : "mail waits until one wakes",
             moves ? rule->to : "", after[0] != '\0' ? " after " : "", after);
    report_shaping_site(w, key, "all addresses rest", what);
}

/* Under the lock. */
static void drop(struct node *n, uint32_t at)
{
    uint32_t left = atomic_load(&n->holds.rested) - 1;
    n->holds.told[at] = n->holds.told[left];
    atomic_store(&n->holds.rested, left);
}

static bool forget(struct node *n, struct span key)
{
    uint64_t hash = hash_bytes(key.p, key.n);
    bool known = false;
    if (atomic_load(&n->holds.rested) == 0)
        return false;
    uv_mutex_lock(&n->holds.lock);
    for (uint32_t i = atomic_load(&n->holds.rested); i-- > 0;)
        if (n->holds.told[i].hash == hash) {
            drop(n, i);
            known = true;
        }
    uv_mutex_unlock(&n->holds.lock);
    return known;
}

/* False: it is known, or there is no room. */
static bool remember(struct node *n, struct span key, int64_t until_ms)
{
    uint64_t hash = hash_bytes(key.p, key.n);
    bool known = false;
    uv_mutex_lock(&n->holds.lock);
    uint32_t count = atomic_load(&n->holds.rested);
    for (uint32_t i = 0; i < count; i++)
        if (n->holds.told[i].hash == hash) {
            n->holds.told[i].until_ms = until_ms;
            known = true;
        }
    bool room = !known && count < EGRESS_RESTED_MAX;
    if (room) {
        n->holds.told[count] = (struct egress_rested_site){ hash, until_ms };
        atomic_store(&n->holds.rested, count + 1);
    }
    uv_mutex_unlock(&n->holds.lock);
    return room;
}

void egress_rested_forget(struct egress *e, struct span key)
{
    if (forget(e->w->node, key))
        tell(e->w, key, NULL);
}

void egress_rested_sweep(struct egress *e)
{
    struct node *n = e->w->node;
    int64_t now = egress_now_ms(e);
    if (atomic_load(&n->holds.rested) == 0)
        return;
    uv_mutex_lock(&n->holds.lock);
    for (uint32_t i = atomic_load(&n->holds.rested); i-- > 0;)
        if (n->holds.told[i].until_ms <= now)
            drop(n, i);
    uv_mutex_unlock(&n->holds.lock);
}

void egress_rested_over(struct egress_site *site)
{
    site->rested = POLICY_RESTED_WAIT;
    if (site->group != NULL)
        egress_rested_forget(site->e, sites_key(site->group->share));
}

int64_t egress_rested_pause(struct egress *e, struct queue_site *qs, int64_t since_ms, int64_t awake_ms,
                            int64_t now)
{
    struct egress_site *site = queue_site_data(qs);
    enum egress_rested r = egress_rested(e, qs, NULL);
    if (r != EGRESS_RESTED) {
        if (site != NULL)
            egress_rested_over(site);
        return 0;
    }
    struct policy_pool rule = rule_of(e, qs);
    if (site == NULL)
        return awake_ms;
    if (site->group != NULL && remember(e->w->node, sites_key(site->group->share), awake_ms))
        tell(e->w, sites_key(site->group->share), &rule);
    site->rested = POLICY_RESTED_WAIT;
    if (rule.when_all_disabled == POLICY_RESTED_WAIT)
        return awake_ms;
    int64_t due_ms = since_ms + rule.after_ms;
    if (due_ms > now)
        return due_ms < awake_ms ? due_ms : awake_ms;
    site->rested = rule.when_all_disabled;
    return 0;
}

/* ---- a connection that is none ----------------------------------------------------------------------- */

bool conn_rested(struct conn *c)
{
    struct egress_site *site = c->site;
    if (site->rested != POLICY_RESTED_REROUTE && site->rested != POLICY_RESTED_BOUNCE)
        return false;
    struct policy_pool rule = rule_of(c->e, site->qs);
    struct span pool = route_key_pool(queue_site_key(site->qs));
    if (rule.when_all_disabled != site->rested || egress_rested(c->e, site->qs, NULL) != EGRESS_RESTED)
        return false;
    char why[200];
    snprintf(why, sizeof why, "every address of pool %.*s rests for this site", (int)pool.n, pool.p);
    if (site->rested == POLICY_RESTED_BOUNCE)
        conn_set_trouble(c, 550, "5.4.4", why);
    else
        conn_set_trouble(c, 451, "4.4.4", why);
    snprintf(c->rested_to, sizeof c->rested_to, "%s", rule.to);
    return true;
}

void conn_rested_result(struct conn *c, struct attempt *a)
{
    bool moves = c->rested && c->rested_to[0] != '\0';
    struct smtp_client_result why = { .class = moves ? SMTP_CLIENT_TEMPORARY : SMTP_CLIENT_PERMANENT,
                                      .local = true,
                                      .reply = c->trouble };
    attempt_result_all(a, &why);
    for (uint32_t i = 0; moves && i < a->nrcpts; i++)
        (void)reroute_rcpt(a, i, span_str(c->rested_to), SPAN_LIT(POOL_MARK_ALL_REST));
}
