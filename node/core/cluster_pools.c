/* Pools and source addresses for the workers: the view is made anew when the cluster's state or policy
 * changes; an address that is asked for is released when nothing goes out from it any more. The cluster
 * thread, but for readers.
 */
#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "node/core/cluster_impl.h"
#include "node/core/egress_pools.h"
#include "node/policy/policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define RELEASE_MS 5000 /* for an answer to a release */
#define RELEASE_AGAIN_MS 1000
#define SENDERS_REST 20 /* times what it took to read all assignments, they are not read again */

struct pool_view *cluster_pools(struct cluster *c)
{
    pthread_mutex_lock(&c->lock);
    struct pool_view *v = c->pools == NULL ? NULL : pool_view_hold(c->pools);
    pthread_mutex_unlock(&c->lock);
    return v;
}

uint64_t cluster_pools_state(const struct cluster *c)
{
    return atomic_load(&((struct cluster *)c)->pools_state);
}

/* ---- making the view ----------------------------------------------------------------------------------- */

static int add_assignment(void *arg, const struct directory_assignment *a)
{
    return pool_senders_add(arg, a->to, a->name, a->pool);
}

struct standings {
    struct pool_senders *s;
    const struct policy *policy;
};

static int add_standing(void *arg, const struct directory_standing *d)
{
    const struct standings *st = arg;
    const char *pool = d->tier == COMMAND_TIER_GOOD   ? st->policy->reputation.good_pool
                       : d->tier == COMMAND_TIER_POOR ? st->policy->reputation.poor_pool
                                                      : "";
    return pool[0] == '\0' ? 0 : pool_senders_add(st->s, POOLS_STANDING, d->account, span_str(pool));
}

static int read_standings(struct cluster *c, struct pool_senders *s)
{
    struct policy *policy = cluster_policy(c);
    struct standings st = { s, policy };
    int err = policy == NULL || !policy->reputation.enabled
                  ? 0
                  : directory_standing_each(c->m, (struct span){ "", 0 }, add_standing, &st);
    policy_rele(policy);
    return err;
}

/* Of several rules that re-pool the same sender the last one counts. */
struct measures {
    struct pool_senders *s;
    struct directory_measure last;
};

static int add_last(struct measures *of)
{
    return of->last.account.n == 0 ? 0
                                   : pool_senders_add(of->s, POOLS_RULE, of->last.account, of->last.pool);
}

static int add_measure(void *arg, const struct directory_measure *d)
{
    struct measures *of = arg;
    int err = 0;
    if (!d->in_force || d->action != SENDER_POOL)
        return 0;
    if (!span_eq(of->last.account, d->account))
        err = add_last(of);
    else if (d->id < of->last.id)
        return 0;
    of->last = *d;
    return err;
}

static int read_measures(struct cluster *c, struct pool_senders *s)
{
    struct measures of = { .s = s };
    int err = directory_measure_each(c->m, (struct span){ "", 0 }, add_measure, &of);
    return err != 0 ? err : add_last(&of);
}

static int read_senders(struct cluster *c, int64_t now)
{
    struct pool_senders *s = pool_senders_new();
    int err = s == NULL ? -ENOMEM : directory_assignment_each(c->m, add_assignment, s);
    if (err == 0)
        err = read_standings(c, s);
    if (err == 0)
        err = read_measures(c, s);
    if (err != 0) {
        pool_senders_rele(s);
        return err;
    }
    pool_senders_rele(c->senders);
    c->senders = s;
    c->senders_dirty = false;
    c->senders_ms = now + SENDERS_REST * (clock_boot_ms() - now);
    return 0;
}

struct making {
    struct cluster *c;
    struct pool_view *v;
    uint32_t others; /* addresses that this node cannot read */
};

static int add_address(void *arg, const struct directory_ip *ip)
{
    struct making *m = arg;
    struct cluster *c = m->c;
    struct pool_address a = { .pool = ip->pool,
                              .ehlo = ip->ehlo,
                              .node = ip->node,
                              .next = ip->next,
                              .move = ip->move,
                              .weight = ip->weight,
                              .use = ip->use };
    if (ip_addr_parse(ip->address, &a.addr) != 0 || pool_view_find(m->v, &a.addr) != NULL)
        return 0; /* ::ffff:192.0.2.1 is 192.0.2.1, which may have come before it */
    const struct config_delivery *d = &c->pools_config->delivery;
    a.floating = ip->floats || ip_nets_have(d->floating_networks, d->nfloating_networks, &a.addr);
    a.absent = !cluster_addresses_see(c, ip, &a);
    struct directory_warming warming;
    a.warming = directory_warming_find(c->m, ip->address, &warming);
    const struct pool_address *was = pool_view_find(c->pools, &a.addr);
    struct pool_meter *fresh = NULL;
    if (was != NULL && was->meter != NULL)
        a.meter = was->meter;
    else if (a.node == c->id.self.node && (a.meter = fresh = pool_meter_new()) == NULL)
        return -ENOMEM;
    c->pools_moving = c->pools_moving || (a.node == c->id.self.node && a.next != 0);
    int err = pool_view_add(m->v, &a);
    pool_meter_rele(fresh);
    return err;
}

/* Where the others reach it: an MX host there would be one of us. */
static int add_member(void *arg, const struct directory_member *mb)
{
    const struct making *m = arg;
    const struct span told[] = { mb->raft_address, mb->gossip_address };
    int err = 0;
    for (size_t i = 0; i < 2 && err == 0 && mb->state != COMMAND_MEMBER_REMOVED; i++) {
        struct span host;
        uint16_t port;
        struct ip_addr addr;
        if (text_host_port(told[i], &host, &port) == 0 && ip_addr_parse(host, &addr) == 0)
            err = pool_view_add_member(m->v, &addr);
    }
    return err;
}

static struct pool_view *make(struct cluster *c)
{
    struct pool_view_config pc = { .self = c->id.self.node,
                                   .number = ++c->pools_number,
                                   .state = atomic_load(&c->pools_state),
                                   .known = c->pools_known,
                                   .senders = c->senders };
    struct policy *p = cluster_policy(c);
    for (int i = 0; p != NULL && i < POOLS_CLASSES; i++)
        pc.class_pools[i] = span_str(p->classes[i].pool);
    struct making m = { .c = c, .v = pool_view_new(&pc) };
    if (p != NULL)
        policy_rele(p);
    c->pools_moving = false;
    cluster_addresses_begin(c);
    int err = m.v == NULL ? -ENOMEM : directory_ip_each(c->m, add_address, &m);
    if (err == 0)
        err = directory_member_each(c->m, add_member, &m);
    if (err != 0) {
        pool_view_rele(m.v);
        return NULL;
    }
    cluster_addresses_end(c);
    pool_view_seal(m.v);
    return m.v;
}

static void publish(struct cluster *c, struct pool_view *v)
{
    for (uint32_t i = 0; i < c->node->nworkers; i++)
        pools_post(&c->node->workers[i], v);
    pthread_mutex_lock(&c->lock);
    struct pool_view *old = c->pools;
    c->pools = v;
    pthread_mutex_unlock(&c->lock);
    pool_view_rele(old);
}

void cluster_pools_check(struct cluster *c, int64_t now)
{
    bool senders = c->senders == NULL || (c->senders_dirty && now >= c->senders_ms);
    if (!c->pools_dirty && !senders)
        return;
    struct config *config = node_config(c->node);
    config_rele(c->pools_config);
    c->pools_config = config;
    c->pools_dirty = false;
    struct pool_view *v = senders && read_senders(c, now) != 0 ? NULL : make(c);
    if (v == NULL) { /* the workers know by the state's number that theirs is old, and use no address */
        cluster_give_up(c, -ENOMEM, "no memory for the pools");
        return;
    }
    publish(c, v);
}

void cluster_pools_changed(struct cluster *c, struct span key)
{
    atomic_fetch_add(&c->pools_state, 1);
    c->pools_dirty = true;
    c->senders_dirty = c->senders_dirty || key.n == 0;
}

void cluster_pools_session(struct cluster *c, bool usable)
{
    c->pools_dirty = c->pools_dirty || (usable && !c->pools_known);
    c->pools_known = c->pools_known || usable;
}

void cluster_pools_left(struct cluster *c)
{
    c->pools_known = false;
    atomic_fetch_add(&c->pools_state, 1);
    struct pool_view *v = c->m == NULL || c->pools_config == NULL ? NULL : make(c);
    if (v != NULL)
        publish(c, v);
}

void cluster_pools_fini(struct cluster *c)
{
    pool_view_rele(c->pools);
    pool_senders_rele(c->senders);
    config_rele(c->pools_config);
}

/* ---- releasing ----------------------------------------------------------------------------------------- */

struct release {
    struct cluster *c;
    uint64_t move;
    struct ip_addr addr;
    struct pool_meter *meter;
};

static void released_cb(void *ctx, int err, const struct machine_result *r)
{
    struct release *rel = ctx;
    char text[IP_TEXT_MAX];
    if (err == 0 && (r->err == 0 || r->err == ERR_NOT_FOUND)) {
        log_info("cluster", "address %s is released", ip_addr_format(&rel->addr, text));
    } else if (rel->meter->asked == rel->move) {
        rel->meter->asked = 0;
        rel->meter->again_ms = clock_boot_ms() + RELEASE_AGAIN_MS;
    }
    pool_meter_rele(rel->meter);
    free(rel);
}

static void release(struct cluster *c, const struct pool_address *a)
{
    char text[IP_TEXT_MAX];
    struct release *rel = malloc(sizeof *rel);
    if (rel == NULL)
        return; /* at the next look */
    *rel = (struct release){ .c = c, .move = a->move, .addr = a->addr, .meter = pool_meter_hold(a->meter) };
    struct command cmd = { .type = COMMAND_IP_RELEASED,
                           .ip_released = { .address = span_str(ip_addr_format(&a->addr, text)),
                                            .moved = a->move } };
    a->meter->asked = a->move;
    if (agent_submit(c->agent, &cmd, RELEASE_MS, released_cb, rel) == 0)
        return;
    a->meter->asked = 0;
    pool_meter_rele(rel->meter);
    free(rel);
}

/* No worker opens a connection from what is asked for any more, and the last one is over. */
static void release_idle(struct cluster *c, int64_t now)
{
    struct agent_session session;
    agent_session(c->agent, &session);
    if (!session.usable || pool_view_state(c->pools) != cluster_pools_state(c) ||
        pool_view_actors(c->pools) < c->node->nworkers)
        return;
    const struct pool_address *a;
    for (uint32_t i = 0; (a = pool_view_at(c->pools, i)) != NULL; i++)
        if (a->node == c->id.self.node && a->next != 0 && a->meter->asked != a->move &&
            now >= a->meter->again_ms && atomic_load(&a->meter->conns) == 0 &&
            cluster_addresses_give_up(c, &a->addr))
            release(c, a);
}

void cluster_pools_tick(struct cluster *c, int64_t now)
{
    if (c->pools != NULL && c->pools_moving && c->agent != NULL)
        release_idle(c, now);
    struct config *config = node_config(c->node);
    c->pools_dirty = c->pools_dirty || config != c->pools_config;
    config_rele(config);
}

/* ---- metrics ------------------------------------------------------------------------------------------- */

static void put_value(struct buf *out, const char *name, const struct pool_address *a, const char *label,
                      uint64_t value)
{
    char text[IP_TEXT_MAX];
    buf_printf(out, "%s{address=\"%s\",pool=\"", name, ip_addr_format(&a->addr, text));
    for (size_t i = 0; i < a->pool.n; i++) {
        if (a->pool.p[i] == '"' || a->pool.p[i] == '\\')
            buf_put_char(out, '\\');
        buf_put_char(out, a->pool.p[i]);
    }
    buf_printf(out, "\"%s} %llu\n", label, (unsigned long long)value);
}

/* Only what there was: most addresses meet few kinds of refusal. */
static void put_refusals(struct buf *out, const struct pool_address *a)
{
    static const char *const outcomes[] = { "deferred", "refused" };
    char label[96];
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < BOUNCE_CLASSES; k++) {
            uint64_t n = atomic_load(&a->meter->meant[i][k]);
            snprintf(label, sizeof label, ",outcome=\"%s\",class=\"%s\"", outcomes[i],
                     bounce_class_name((enum bounce_class)k));
            if (n > 0)
                put_value(out, "turnpike_source_refusals_total", a, label, n);
        }
}

int cluster_pools_metrics(struct cluster *c, struct buf *out)
{
    static const char *const heads[] = {
        "# HELP turnpike_source_connections Connections open or opening from a source address.\n"
        "# TYPE turnpike_source_connections gauge\n",
        "# HELP turnpike_source_connections_total Connections from a source address that came about, or did "
        "not.\n"
        "# TYPE turnpike_source_connections_total counter\n",
        "# HELP turnpike_source_recipients_total Recipients tried from a source address, by what came of "
        "it.\n"
        "# TYPE turnpike_source_recipients_total counter\n",
        "# HELP turnpike_source_refusals_total Recipients that a next hop refused from a source address, by "
        "what its answer meant.\n"
        "# TYPE turnpike_source_refusals_total counter\n",
        "# HELP turnpike_source_absent 1 while a floating address is this node's and its hook has not added it.\n"
        "# TYPE turnpike_source_absent gauge\n",
    };
    struct pool_view *v = cluster_pools(c);
    const struct pool_address *a;
    for (int head = 0; head < 5; head++) {
        bool first = true;
        for (uint32_t i = 0; (a = pool_view_at(v, i)) != NULL; i++) {
            const struct pool_meter *m = a->meter;
            if (m == NULL)
                continue;
            if (first)
                buf_put_span(out, span_str(heads[head]));
            first = false;
            if (head == 0) {
                put_value(out, "turnpike_source_connections", a, "", atomic_load(&m->conns));
            } else if (head == 1) {
                put_value(out, "turnpike_source_connections_total", a, ",result=\"ok\"",
                          atomic_load(&m->connected));
                put_value(out, "turnpike_source_connections_total", a, ",result=\"failed\"",
                          atomic_load(&m->failed));
            } else if (head == 3) {
                put_refusals(out, a);
            } else if (head == 4) {
                if (a->floating && a->node == atomic_load(&c->self))
                    put_value(out, "turnpike_source_absent", a, "", a->absent);
            } else {
                put_value(out, "turnpike_source_recipients_total", a, ",outcome=\"delivered\"",
                          atomic_load(&m->delivered));
                put_value(out, "turnpike_source_recipients_total", a, ",outcome=\"deferred\"",
                          atomic_load(&m->deferred));
                put_value(out, "turnpike_source_recipients_total", a, ",outcome=\"refused\"",
                          atomic_load(&m->refused));
            }
        }
    }
    pool_view_rele(v);
    return buf_err(out);
}
