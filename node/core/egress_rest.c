/* What sites answer to our source addresses: see egress_rest.h. */
#include "node/core/egress_rest.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "node/core/cluster.h"
#include "node/core/conn.h"
#include "node/core/egress.h"
#include "node/core/node.h"
#include "node/core/report.h"
#include "node/core/route.h"
#include "node/core/source_trial.h"
#include "node/policy/policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ROWS_MIN 256     /* of a worker, however many there are */
#define SILENT_MS 300000 /* a firewall that drops stays; packets that got lost, or a neighbour's old entry, pass */
#define FIRST_DEFAULT 10 /* messages of a trial whose policy is not known here */

struct source_rest {
    uv_mutex_t
        judging; /* two addresses of a pool are not judged at once: each would take the other for awake */
    struct source_trials *trials;
    uint32_t n;
    struct source_records *records[]; /* of each worker */
};

int egress_rest_node_init(struct node *n)
{
    uint32_t rows = SOURCE_RECORD_ROWS_MAX / n->nworkers;
    struct source_rest *r = calloc(1, sizeof *r + n->nworkers * sizeof r->records[0]);
    n->rest = r;
    if (r == NULL)
        return -ENOMEM;
    uv_mutex_init(&r->judging);
    r->n = n->nworkers;
    r->trials = source_trials_new();
    int err = r->trials == NULL ? -ENOMEM : 0;
    for (uint32_t i = 0; i < n->nworkers && err == 0; i++)
        if ((r->records[i] = source_records_new(rows > ROWS_MIN ? rows : ROWS_MIN)) == NULL)
            err = -ENOMEM;
    return err; /* what there is goes with the node */
}

void egress_rest_node_fini(struct node *n)
{
    if (n->rest == NULL)
        return;
    for (uint32_t i = 0; i < n->rest->n; i++)
        source_records_free(n->rest->records[i]);
    source_trials_free(n->rest->trials);
    uv_mutex_destroy(&n->rest->judging);
    free(n->rest);
    n->rest = NULL;
}

/* ---- who rests ----------------------------------------------------------------------------------------- */

bool egress_rest_ours(struct span rule)
{
    return rule.n > 0 && rule.p[0] == '(';
}

bool egress_rest_trials(const struct egress *e)
{
    return source_trials_count(e->w->node->rest->trials) > 0;
}

/* Under which holds of the site are in force, and trials are kept. */
static struct span key_of(const struct queue_site *qs)
{
    struct span key = egress_sites_key(queue_site_data(qs));
    return key.n > 0 ? key : queue_site_key(qs);
}

bool egress_rest_limited(const struct egress *e, const struct queue_site *qs, const struct ip_addr *source)
{
    return egress_rest_trials(e) &&
           source_trial_limited(e->w->node->rest->trials, key_of(qs), source, egress_now_ms(e));
}

static bool awake(const struct egress *e, const struct queue_site *qs, const struct ip_addr *a)
{
    return egress_shaping_hold(e, qs, a) == EGRESS_FREE && !egress_rest_limited(e, qs, a);
}

bool egress_rest_others(const struct egress *e, const struct queue_site *qs, const struct ip_addr *source)
{
    struct span pool = route_key_pool(queue_site_key(qs));
    const struct config *config = e->w->config;
    const struct pool_view *v = e->w->pools; /* as it is: who asks may be walking it */
    const struct pool_address *p;
    bool session = egress_pools_session(e);
    for (uint32_t i = 0; pool.n > 0 && (p = pool_view_at(v, i)) != NULL; i++)
        if (span_eq(p->pool, pool) && p->addr.family == source->family && !ip_addr_eq(&p->addr, source) &&
            !p->warming && pool_address_usable(v, p, session) && awake(e, qs, &p->addr))
            return true;
    for (uint32_t i = 0; pool.n == 0 && i < config->nsources; i++) {
        struct ip_addr a;
        if (ip_from_sockaddr((const struct sockaddr *)&config->sources[i].address, &a, NULL) == 0 &&
            a.family == source->family && !ip_addr_eq(&a, source) && awake(e, qs, &a))
            return true;
    }
    return false;
}

void egress_rest_begun(struct node *n, const struct shaping_hold *hold)
{
    struct ip_addr addr;
    struct policy *p = n->cluster == NULL ? NULL : cluster_policy(n->cluster);
    if (span_eq(hold->rule, SPAN_LIT(EGRESS_REST_RECORD)) && ip_addr_parse(hold->source, &addr) == 0)
        source_trial_rest(n->rest->trials, hold->key, &addr,
                          p == NULL ? FIRST_DEFAULT : p->reputation.addresses.first, hold->until_ms);
    policy_rele(p);
}

void egress_rest_ended(struct node *n, const struct shaping_hold *hold)
{
    struct ip_addr addr;
    bool one = ip_addr_parse(hold->source, &addr) == 0;
    source_trial_end(n->rest->trials, hold->key, one ? &addr : NULL);
}

/* ---- one connection ------------------------------------------------------------------------------------ */

/* Of the site that the queue has joined; else the destination's own. */
static struct span site_of(const struct conn *c)
{
    if (c->site == NULL)
        return route_key_site(span_str(c->attempt->site));
    struct span key = egress_sites_key(c->site);
    return route_key_site(key.n > 0 ? key : queue_site_key(c->site->qs));
}

static bool source_of(const struct conn *c, struct ip_addr *out)
{
    *out = (struct ip_addr){ 0 };
    if (c->meter != NULL)
        *out = c->source_addr;
    else if (c->stream != NULL)
        stream_local(c->stream, out, NULL);
    else if (c->attempt != NULL)
        *out = c->attempt->from;
    return out->family != 0;
}

static void answered(const struct smtp_client_result *r, struct source_answer *out)
{
    struct bounce_reply reply;
    *out = (struct source_answer){ .outcome = r->reply.code < 500 ? SOURCE_DEFERRED : SOURCE_REFUSED,
                                   .class = attempt_meaning(r, &reply),
                                   .n = 1 };
}

static struct source_records *records(const struct conn *c)
{
    return c->e->w->node->rest->records[c->e->w->index];
}

/* Whether it was held against the address. */
static bool count(struct conn *c, const struct ip_addr *addr, struct span site,
                  const struct reputation_rest *rules, const struct smtp_client_result *r)
{
    struct source_answer a;
    struct buf text;
    answered(r, &a);
    buf_init(&text, SMTP_REPLY_TEXT_MAX + 64);
    (void)smtp_reply_text_put(&text, &r->reply);
    a.reply = buf_span(&text);
    source_record_add(records(c), addr, site, &a, rules, egress_now_ms(c->e));
    buf_fini(&text);
    return rules != NULL && rules->enabled && (rules->classes >> a.class & 1) != 0;
}

static void rest(struct conn *c, const struct ip_addr *addr, const struct reputation_rest *rules,
                 const char *why, const struct smtp_client_result *r)
{
    struct egress *e = c->e;
    struct source_rest *all = e->w->node->rest;
    char source[IP_TEXT_MAX];
    struct span key = key_of(c->site->qs);
    struct buf words;
    buf_init(&words, SMTP_REPLY_TEXT_MAX + 256);
    buf_printf(&words, "%s; ", why);
    (void)smtp_reply_text_put(&words, &r->reply);
    int64_t now = egress_now_ms(e);
    struct shaping_hold hold = { .key = key,
                                 .kind = SHAPING_DISABLE_SOURCE,
                                 .source = span_str(ip_addr_format(addr, source)),
                                 .since_ms = now,
                                 .until_ms =
                                     now + rules->rest_ms * source_trial_longer(all->trials, key, addr),
                                 .rule = SPAN_LIT(EGRESS_REST_RECORD),
                                 .reply = buf_span(&words) };
    if (hold.until_ms - now > SHAPING_HOLD_MAX_MS)
        hold.until_ms = now + SHAPING_HOLD_MAX_MS;
    uv_mutex_lock(&all->judging);
    if (egress_shaping_hold(e, c->site->qs, addr) == EGRESS_FREE) {
        if (egress_rest_others(e, c->site->qs, addr))
            (void)egress_shaping_put(e, &hold);
        else
            log_warn("delivery", "%s would rest for %.*s (%s), but no other address could send in its place",
                     source, (int)key.n, key.p, why);
    }
    uv_mutex_unlock(&all->judging);
    buf_fini(&words);
    for (uint32_t i = 0; i < all->n; i++) /* what is known by now has been acted upon */
        source_record_renew(all->records[i], addr, site_of(c));
}

static void judge(struct conn *c, const struct ip_addr *addr, const struct reputation_rest *rules,
                  const struct smtp_client_result *r)
{
    const struct source_rest *all = c->e->w->node->rest;
    struct source_judged sum = { 0 };
    char why[96], within[32];
    for (uint32_t i = 0; i < all->n; i++)
        source_record_judge(all->records[i], addr, site_of(c), rules, egress_now_ms(c->e), &sum);
    if (!reputation_rests(rules, sum.answered, sum.against))
        return;
    snprintf(why, sizeof why, "%llu%% of %llu refused within %s",
             (unsigned long long)(sum.against * 100 / sum.answered), (unsigned long long)sum.answered,
             text_exact_duration(rules->within_ms, within));
    rest(c, addr, rules, why, r);
}

static void tried(struct conn *c, const struct ip_addr *addr, const struct reputation_rest *rules, bool good,
                  const struct smtp_client_result *bad)
{
    struct span key = key_of(c->site->qs);
    struct shaping_ended ended = { .kind = SHAPING_DISABLE_SOURCE, .rule = EGRESS_REST_RECORD };
    enum source_trial_outcome outcome = good          ? SOURCE_TRIAL_GOOD
                                        : bad != NULL ? SOURCE_TRIAL_BAD
                                                      : SOURCE_TRIAL_NEITHER;
    switch (source_trial_result(c->e->w->node->rest->trials, key, addr, outcome, rules)) {
    case SOURCE_TRIAL_GOES_ON:
        break;
    case SOURCE_TRIAL_FAILED:
        if (bad != NULL)
            rest(c, addr, rules, "refused again after its rest", bad);
        break;
    case SOURCE_TRIAL_PASSED:
        snprintf(ended.key, sizeof ended.key, "%.*s", (int)key.n, key.p);
        (void)ip_addr_format(addr, ended.source);
        report_shaping_ended(c->e->w, &ended, "the site takes mail from the address again");
        break;
    }
}

static const struct reputation_rest *rules_of(const struct conn *c)
{
    return c->site == NULL || c->site->policy == NULL ? NULL : &c->site->policy->reputation.addresses;
}

void conn_rest_settled(struct conn *c)
{
    const struct attempt *a = c->attempt;
    const struct reputation_rest *rules = rules_of(c);
    const struct smtp_client_result *bad = NULL;
    struct source_answer good = { .outcome = SOURCE_DELIVERED };
    struct ip_addr addr;
    if (!source_of(c, &addr))
        return;
    struct span site = site_of(c);
    for (uint32_t i = 0; i < a->nrcpts; i++) {
        const struct smtp_client_result *r = &a->results[i];
        good.n += r->class == SMTP_CLIENT_OK;
        if (!r->local && (r->class == SMTP_CLIENT_TEMPORARY || r->class == SMTP_CLIENT_PERMANENT) &&
            count(c, &addr, site, rules, r))
            bad = r;
    }
    if (good.n > 0)
        source_record_add(records(c), &addr, site, &good, rules, egress_now_ms(c->e));
    if (c->on_trial && rules != NULL)
        tried(c, &addr, rules, good.n > 0, bad);
    else if (bad != NULL)
        judge(c, &addr, rules, bad);
    c->on_trial = false;
}

void conn_rest_refused(struct conn *c, const struct smtp_client_result *why)
{
    struct ip_addr addr;
    if (why == NULL || why->local || why->reply.code < 400 || c->site == NULL || !source_of(c, &addr))
        return;
    const struct reputation_rest *rules = rules_of(c);
    if (count(c, &addr, site_of(c), rules, why))
        judge(c, &addr, rules, why);
}

void conn_rest_silent(struct conn *c, const struct ip_addr *addr)
{
    char source[IP_TEXT_MAX], other[IP_TEXT_MAX];
    struct buf words;
    int64_t now = egress_now_ms(c->e);
    buf_init(&words, 256);
    buf_printf(&words, "no answer to connections from %s, where those from %s have one",
               ip_addr_format(addr, source), ip_addr_format(&c->from, other));
    struct shaping_hold hold = { .key = key_of(c->site->qs),
                                 .kind = SHAPING_DISABLE_SOURCE,
                                 .source = span_str(source),
                                 .since_ms = now,
                                 .until_ms = now + SILENT_MS,
                                 .rule = SPAN_LIT(EGRESS_REST_SILENT),
                                 .reply = buf_span(&words) };
    struct source_rest *all = c->e->w->node->rest;
    uv_mutex_lock(&all->judging);
    if (egress_shaping_hold(c->e, c->site->qs, addr) == EGRESS_FREE &&
        egress_rest_others(c->e, c->site->qs, addr))
        (void)egress_shaping_put(c->e, &hold);
    uv_mutex_unlock(&all->judging);
    buf_fini(&words);
}

bool conn_rest_take(struct conn *c)
{
    struct ip_addr addr;
    c->on_trial = false;
    if (!egress_rest_trials(c->e) || !source_of(c, &addr))
        return true;
    return source_trial_take(c->e->w->node->rest->trials, key_of(c->site->qs), &addr, egress_now_ms(c->e),
                             &c->on_trial) ||
           !egress_rest_others(c->e, c->site->qs, &addr);
}

void conn_rest_untake(struct conn *c)
{
    struct ip_addr addr;
    if (c->on_trial && source_of(c, &addr))
        source_trial_untake(c->e->w->node->rest->trials, key_of(c->site->qs), &addr);
    c->on_trial = false;
}

/* ---- looking ------------------------------------------------------------------------------------------- */

void egress_rest_each(struct node *n, const struct ip_addr *addr, source_row_fn *fn, void *ctx)
{
    for (uint32_t i = 0; i < n->rest->n; i++)
        source_record_each(n->rest->records[i], addr, clock_wall_ms(), fn, ctx);
}

int egress_rest_metrics(struct node *n, struct buf *out)
{
    uint64_t rows = 0, forgotten = 0;
    for (uint32_t i = 0; i < n->rest->n; i++) {
        rows += source_records_count(n->rest->records[i]);
        forgotten += source_records_forgotten(n->rest->records[i]);
    }
    return buf_printf(
        out,
        "# HELP turnpike_source_records Pairs of source address and site whose answers are counted.\n"
        "# TYPE turnpike_source_records gauge\n"
        "turnpike_source_records %llu\n"
        "# HELP turnpike_source_records_forgotten_total Such pairs that went for newer ones.\n"
        "# TYPE turnpike_source_records_forgotten_total counter\n"
        "turnpike_source_records_forgotten_total %llu\n",
        (unsigned long long)rows, (unsigned long long)forgotten);
}
