/* What operators are told of quotas, and the recount that tests compare the machine with. */
#include "base/ensure.h"
#include "consensus/quota_impl.h"

#include <stdlib.h>

static struct machine_usage usage_of(const struct machine *m, const struct policy_limit *p,
                                     const struct quota_chain_link *k)
{
    struct machine_usage u = {
        .limit = p->name,
        .scope = k->scope,
        .count = k->count,
        .window_ms = p->window_ms,
        .overridden = k->overridden,
        .full = quota_is_full(m, p),
    };
    const struct quota_sender *s = quota_sender_find(m, k->scope, k->name);
    const struct quota_limit *l = quota_limit_find(m, k->scope, span_str(p->name), p->window_ms);
    const struct quota_counter *c = s == NULL || l == NULL ? NULL : quota_counter_find(s, l);
    u.gone_ms = quota_frees_ms(m, p, c, 0);
    u.free_ms = k->count == 0 ? u.gone_ms : quota_frees_ms(m, p, c, k->count - 1);
    if (c == NULL)
        return u;
    uint64_t oldest = quota_oldest(l, m->now_ms);
    u.used = quota_ring_sum_from(&c->charged, oldest);
    u.burned = c->burned == NULL ? 0 : quota_ring_sum_from(c->burned, oldest);
    u.held = quota_held_by_others(c, 0);
    if (u.held > u.used - u.burned) /* of grants whose buckets have left */
        u.held = u.used - u.burned;
    return u;
}

int machine_usage_each(const struct machine *m, struct span account, struct span tenant, uint8_t class,
                       machine_usage_fn *fn, void *arg)
{
    const struct policy_compiled *p = directory_policy_compiled(m);
    (void)quota_sender_facts(m, account, &tenant, &class);
    struct quota_chain chain;
    quota_chain_make(m, account, tenant, class, &chain);
    for (uint32_t i = 0; i < chain.n; i++) {
        struct machine_usage u = usage_of(m, &p->limits[chain.links[i].index], &chain.links[i]);
        int stop = fn(arg, &u);
        if (stop != 0)
            return stop;
    }
    return 0;
}

void quota_totals(const struct machine *m, struct machine_totals *out)
{
    const struct quotas *q = m->quotas;
    const struct quota_sums *s = q->sums;
    out->counters = q->ncounters;
    out->counters_max = m->config.max_counters;
    out->no_room = q->no_room;
    out->grants = store_len(m->store, &quota_grant_type);
    out->charged = s->charged;
    out->spent_or_held = s->spent + q->held;
    out->burned = s->burned;
    out->refunded = s->refunded;
    out->granted = s->granted;
    out->refused = s->refused;
    /* About: a counter with some ten buckets, a chain of three. */
    out->bytes += q->ncounters * (sizeof(struct quota_counter) + 64) +
                  out->grants * (sizeof(struct quota_grant) + 40) +
                  store_len(m->store, &quota_sender_type) * (sizeof(struct quota_sender) + 48);
}

/* What of it is in buckets that still count must be covered by what was charged there. */
static void check_counter(const struct machine *m, const struct quota_counter *c)
{
    uint64_t sum = 0, held = 0;
    for (uint32_t i = 0; i < c->charged.n; i++) {
        uint64_t bucket, count, bound = 0;
        quota_ring_at(&c->charged, i, &bucket, &count);
        sum += count;
        if (bucket < quota_oldest(c->limit, m->now_ms))
            continue;
        LIST_EACH(link, store_all(m->store, &quota_grant_type))
        {
            const struct quota_grant *g = quota_grant_of(LIST_ITEM(link, struct store_rec, link));
            for (uint32_t j = 0; j < g->n; j++)
                if (g->counters[j] == c && g->charged_ms / c->limit->bucket_ms == bucket)
                    bound += g->held;
        }
        bound += c->burned == NULL ? 0 : quota_ring_get(c->burned, bucket);
        ensure(bound <= count);
    }
    ensure(sum == c->charged.sum);
    LIST_EACH(link, store_all(m->store, &quota_grant_type))
    {
        const struct quota_grant *g = quota_grant_of(LIST_ITEM(link, struct store_rec, link));
        for (uint32_t j = 0; j < g->n; j++)
            held += g->counters[j] == c ? g->held : 0;
    }
    ensure(held == quota_held_by_others(c, 0));
}

void quota_check(const struct machine *m)
{
    const struct quotas *q = m->quotas;
    const struct quota_sums *s = q->sums;
    uint64_t held = 0, counters = 0;
    LIST_EACH(link, store_all(m->store, &quota_grant_type))
    {
        const struct quota_grant *g = quota_grant_of(LIST_ITEM(link, struct store_rec, link));
        ensure(g->held <= g->count);
        held += g->held;
    }
    ensure(held == q->held);
    ensure(s->charged == s->spent + held + s->burned + s->refunded);
    LIST_EACH(link, store_all(m->store, &quota_sender_type))
    {
        const struct quota_sender *x = quota_sender_of(LIST_ITEM(link, struct store_rec, link));
        ensure(x->counters != NULL);
        for (const struct quota_counter *c = x->counters; c != NULL; c = c->next, counters++)
            check_counter(m, c);
    }
    ensure(counters == q->ncounters);
}
