/* Replies, rules, and what they do to a worker's queues: see egress_shaping.h. */
#include "node/core/egress_shaping.h"

#include "base/clock.h"
#include "node/core/cluster.h"
#include "node/core/conn.h"
#include "node/core/conn_grey.h"
#include "node/core/dispatch.h"
#include "node/core/node.h"
#include "node/core/report.h"
#include "node/policy/policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define LOOK_MS 1000        /* while something is in force */

static struct policy *policy_now(struct egress *e)
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

/* ---- what is in force, for the queue ------------------------------------------------------------------- */

bool egress_shaping_rests(const struct egress *e, struct span key, const struct ip_addr *source)
{
    char text[IP_TEXT_MAX];
    if (shaping_holds_count(e->shaping.holds) == 0 || source->family == 0)
        return false;
    return shaping_hold_find(e->shaping.holds, key, SHAPING_DISABLE_SOURCE,
                             span_str(ip_addr_format(source, text)), egress_now_ms(e)) != NULL;
}

struct resting {
    const struct egress *e;
    struct span key;
};

static bool rests_cb(void *ctx, const struct ip_addr *addr)
{
    const struct resting *r = ctx;
    return egress_shaping_rests(r->e, r->key, addr);
}

/* No address that this node could send from is awake for the site. */
static bool all_rest(struct egress *e, struct span key)
{
    struct resting r = { e, key };
    struct span pool = route_key_pool(key);
    const struct config *config = e->w->config;
    if (pool.n > 0) {
        const struct pool_view *v = egress_pools_view(e);
        bool session = egress_pools_session(e);
        return pool_view_choose(v, pool, 0, 0, session) != NULL &&
               pool_view_choose_awake(v, pool, 0, 0, session, rests_cb, &r) == NULL;
    }
    for (uint32_t i = 0; i < config->nsources; i++) {
        struct ip_addr a;
        if (ip_from_sockaddr((const struct sockaddr *)&config->sources[i].address, &a, NULL) == 0 &&
            !egress_shaping_rests(e, key, &a))
            return false;
    }
    return true;
}

static void apply(struct egress *e, struct span key)
{
    struct queue_site *site = queue_site_find(e->queue, key);
    struct queue_shape shape = { .conns_max = 0 };
    int64_t now = egress_now_ms(e), awake_ms = INT64_MAX;
    if (site == NULL)
        return;
    const struct shaping_hold *x =
        shaping_hold_find(e->shaping.holds, key, SHAPING_BACKOFF, (struct span){ "", 0 }, now);
    struct policy *p = x == NULL ? NULL : policy_now(e);
    if (p != NULL) {
        shape.conns_max = p->backoff.connections;
        shape.interval_ms = p->backoff.interval_ms;
    }
    policy_rele(p);
    x = shaping_hold_find(e->shaping.holds, key, SHAPING_SUSPEND, (struct span){ "", 0 }, now);
    if (x != NULL)
        shape.paused_until_ms = x->until_ms;
    for (uint32_t at = 0; (x = shaping_hold_next(e->shaping.holds, &at)) != NULL;)
        if (x->kind == SHAPING_DISABLE_SOURCE && x->until_ms > now && x->until_ms < awake_ms &&
            span_eq(x->key, key))
            awake_ms = x->until_ms;
    if (awake_ms != INT64_MAX && awake_ms > shape.paused_until_ms && all_rest(e, key))
        shape.paused_until_ms = awake_ms;
    struct queue_site_state state;
    queue_site_state(e->queue, site, &state);
    /* the pause between two messages, which the queue keeps itself */
    if (shape.paused_until_ms == 0 && shape.interval_ms > 0 &&
        state.paused_until_ms <= now + shape.interval_ms)
        shape.paused_until_ms = state.paused_until_ms;
    queue_site_set_shape(e->queue, site, &shape, now);
    egress_kick(e);
}

void egress_shaping_added(struct egress *e, struct span key)
{
    if (shaping_holds_count(e->shaping.holds) > 0)
        apply(e, key);
}

static void shaping_timer_cb(struct timer *t)
{
    struct egress_shaping *s = TIMER_ITEM(t, struct egress_shaping, timer);
    struct egress *e = (struct egress *)((char *)s - offsetof(struct egress, shaping));
    struct shaping_ended ended;
    const struct shaping_hold *x;
    if (e->stopping)
        return;
    while (shaping_hold_expire(s->holds, egress_now_ms(e), &ended)) {
        report_shaping_ended(e->w, &ended, "its time is over");
        apply(e, span_str(ended.key));
    }
    /* Addresses come and go meanwhile, and the policy may be another one. */
    for (uint32_t at = 0; (x = shaping_hold_next(s->holds, &at)) != NULL;)
        apply(e, x->key);
    if (shaping_holds_count(s->holds) > 0)
        timer_set(t, LOOK_MS);
}

static bool put(struct egress *e, const struct shaping_hold *hold)
{
    if (!shaping_hold_put(e->shaping.holds, hold, egress_now_ms(e)))
        return false;
    report_shaping(e->w, hold);
    apply(e, hold->key);
    if (!timer_is_set(&e->shaping.timer))
        timer_set(&e->shaping.timer, LOOK_MS);
    return true;
}

/* ---- one reply ----------------------------------------------------------------------------------------- */

struct asked {
    struct conn *c;
    struct policy *policy;
    struct span key;
    char source[IP_TEXT_MAX]; /* "": not known */
    const struct smtp_reply_text *last;
    bool again; /* the same reply as the one before: counted already */
};

static bool begin(struct asked *a, struct conn *c)
{
    struct ip_addr local = { 0 };
    *a = (struct asked){ .c = c };
    if (c->site == NULL || (a->policy = policy_now(c->e)) == NULL)
        return false;
    a->key = queue_site_key(c->site->qs);
    if (c->meter != NULL)
        local = c->source_addr;
    else if (c->source != NULL)
        (void)ip_from_sockaddr((const struct sockaddr *)&c->source->address, &local, NULL);
    else if (c->stream != NULL)
        stream_local(c->stream, &local, NULL);
    if (local.family != 0)
        (void)ip_addr_format(&local, a->source);
    return true;
}

static int stage_of(enum smtp_client_stage stage)
{
    return stage == SMTP_CLIENT_STAGE_MAIL   ? SHAPING_MAIL
           : stage == SMTP_CLIENT_STAGE_RCPT ? SHAPING_RCPT
           : stage == SMTP_CLIENT_STAGE_DATA ? SHAPING_DATA
           : stage == SMTP_CLIENT_STAGE_DOT  ? SHAPING_DOT
                                             : SHAPING_BANNER;
}

static const struct shaping_rule *rule_of(struct asked *a, const struct smtp_client_result *r)
{
    struct shaping_reply reply = { .site = route_key_site(a->key),
                                   .mx = span_str(a->c->host),
                                   .pool = route_key_pool(a->key),
                                   .stage = stage_of(r->stage),
                                   .code = r->reply.code,
                                   .text = span_of(r->reply.text, r->reply.len) };
    for (int i = 0; i < 3; i++)
        reply.enhanced[i] = r->reply.enhanced[i];
    int found = shaping_match(a->c->e->shaping.matcher, a->policy->rules, &reply);
    return found < 0 ? NULL : shaping_rules_at(a->policy->rules, (uint32_t)found);
}

static void hold_site(struct asked *a, const struct shaping_rule *rule, const struct smtp_client_result *r)
{
    struct egress *e = a->c->e;
    struct buf reply;
    buf_init(&reply, 1024);
    (void)smtp_reply_text_put(&reply, &r->reply);
    struct shaping_hold hold = { .key = a->key,
                                 .kind = rule->action,
                                 .since_ms = egress_now_ms(e),
                                 .rule = span_str(rule->name),
                                 .reply = buf_span(&reply) };
    hold.until_ms = hold.since_ms + (rule->for_ms != 0 ? rule->for_ms : a->policy->backoff.for_ms);
    if (rule->action == SHAPING_DISABLE_SOURCE)
        hold.source = span_str(a->source);
    else if (rule->action == SHAPING_BACKOFF)
        hold.deliveries = a->policy->backoff.deliveries;
    bool fresh = put(e, &hold);
    hold.by = span_str(e->w->config->name);
    if (hold.by.n > SHAPING_BY_MAX)
        hold.by.n = SHAPING_BY_MAX;
    if (fresh && e->w->node->cluster != NULL)
        cluster_shaping_tell(e->w->node->cluster, &hold);
    buf_fini(&reply);
}

/* A refusal: `attempt` NULL when it came before any message. */
static void judge(struct asked *a, struct attempt *attempt, struct smtp_client_result *r)
{
    struct egress *e = a->c->e;
    int64_t now = egress_now_ms(e);
    a->again = a->last != NULL && a->last->code == r->reply.code && a->last->len == r->reply.len &&
               memcmp(a->last->text, r->reply.text, r->reply.len) == 0;
    a->last = &r->reply;
    const struct shaping_rule *rule = rule_of(a, r);
    bool temporary = r->class == SMTP_CLIENT_TEMPORARY;
    if (rule == NULL && attempt != NULL && temporary && r->stage >= SMTP_CLIENT_STAGE_MAIL)
        conn_grey_refused(a->c, (uint32_t)(r - attempt->results), NULL);
    if (rule == NULL || rule->action == SHAPING_NONE)
        return;
    if (rule->action == SHAPING_BOUNCE) {
        if (attempt == NULL || !temporary || attempt->attempts < rule->attempts)
            return;
        r->class = SMTP_CLIENT_PERMANENT;
        report_shaping_count(e->w, rule->action);
        return;
    }
    if (rule->action == SHAPING_GREYLIST) {
        if (attempt == NULL || !temporary)
            return;
        if (attempt->attempts <= GREY_ATTEMPTS)
            report_shaping_count(e->w, rule->action);
        conn_grey_refused(a->c, (uint32_t)(r - attempt->results), rule);
        return;
    }
    if (rule->action == SHAPING_BACKOFF)
        shaping_hold_refused(e->shaping.holds, a->key);
    if (a->again || !shaping_threshold(e->shaping.holds, a->key, rule, now))
        return;
    if (rule->action == SHAPING_NOTIFY)
        report_shaping_notice(a->c, rule->name, &r->reply);
    else if (rule->action != SHAPING_DISABLE_SOURCE || a->source[0] != '\0')
        hold_site(a, rule, r);
}

/* ---- connections --------------------------------------------------------------------------------------- */

/* Messages that are deferred by a site in back-off go by the policy's schedule for that. */
static void retry_later(struct asked *a, struct attempt *attempt)
{
    struct egress *e = a->c->e;
    int64_t now = egress_now_ms(e);
    uint32_t n = a->policy->backoff.nretry, i = attempt->attempts > n ? n : attempt->attempts;
    if (n > 0 &&
        shaping_hold_find(e->shaping.holds, a->key, SHAPING_BACKOFF, (struct span){ "", 0 }, now) != NULL)
        attempt->not_before_ms = now + a->policy->backoff.retry_ms[i > 0 ? i - 1 : 0];
}

static void delivered(struct conn *c)
{
    struct egress *e = c->e;
    struct span key = queue_site_key(c->site->qs);
    struct shaping_ended ended = { .kind = SHAPING_BACKOFF };
    if (!shaping_hold_delivered(e->shaping.holds, key))
        return;
    snprintf(ended.key, sizeof ended.key, "%.*s", (int)key.n, key.p);
    report_shaping_ended(e->w, &ended, "the site takes mail again");
    apply(e, key);
}

void conn_shaping_results(struct conn *c)
{
    struct attempt *attempt = c->attempt;
    struct asked a;
    uint32_t good = 0;
    bool begun = false;
    for (uint32_t i = 0; i < attempt->nrcpts; i++) {
        struct smtp_client_result *r = &attempt->results[i];
        good += r->class == SMTP_CLIENT_OK;
        if (r->class == SMTP_CLIENT_OK && c->site != NULL)
            conn_grey_taken(c, i);
        if (r->local || (r->class != SMTP_CLIENT_TEMPORARY && r->class != SMTP_CLIENT_PERMANENT))
            continue;
        if (!begun && !begin(&a, c))
            return;
        begun = true;
        judge(&a, attempt, r);
    }
    if (begun) {
        retry_later(&a, attempt);
        policy_rele(a.policy);
    } else if (good > 0 && c->site != NULL) {
        delivered(c);
    }
}

void conn_shaping_refused(struct conn *c, const struct smtp_client_result *why)
{
    struct asked a;
    if (why == NULL || why->local || why->reply.code < 400 || !begin(&a, c))
        return;
    struct smtp_client_result r = *why;
    judge(&a, NULL, &r);
    policy_rele(a.policy);
}

bool conn_shaping_rests(const struct conn *c)
{
    struct ip_addr addr = { 0 };
    if (c->site == NULL || shaping_holds_count(c->e->shaping.holds) == 0)
        return false;
    if (c->meter != NULL)
        addr = c->source_addr;
    else if (c->source != NULL)
        (void)ip_from_sockaddr((const struct sockaddr *)&c->source->address, &addr, NULL);
    else if (c->stream != NULL)
        stream_local(c->stream, &addr, NULL);
    return egress_shaping_rests(c->e, queue_site_key(c->site->qs), &addr);
}

/* ---- from elsewhere ------------------------------------------------------------------------------------ */

struct heard {
    struct worker_msg msg;
    size_t n;
    char bytes[]; /* an encoded hold */
};

static void run_heard(struct worker *w, struct worker_msg *msg)
{
    struct heard *m = (struct heard *)msg;
    struct egress *e = w->egress;
    struct shaping_hold hold;
    if (shaping_hold_decode(span_of(m->bytes, m->n), egress_now_ms(e), &hold) == 0 && !e->stopping) {
        if (hold.kind != SHAPING_NONE)
            (void)put(e, &hold);
        else if (shaping_hold_end(e->shaping.holds, hold.key, -1, hold.source) > 0) {
            struct shaping_ended ended = { .kind = SHAPING_NONE };
            snprintf(ended.key, sizeof ended.key, "%.*s", (int)hold.key.n, hold.key.p);
            snprintf(ended.source, sizeof ended.source, "%.*s", (int)hold.source.n, hold.source.p);
            report_shaping_ended(w, &ended, "ended by an operator");
            apply(e, hold.key);
        }
    }
    free(m);
}

void egress_shaping_hear(struct node *n, const struct shaping_hold *hold)
{
    struct buf out;
    struct worker *w = dispatch_owner(n, hold->key);
    buf_init(&out, 8192);
    int err = shaping_hold_encode(hold, clock_wall_ms(), &out);
    struct heard *m = err == 0 ? malloc(sizeof *m + out.len) : NULL;
    if (m != NULL) {
        *m = (struct heard){ .msg.run = run_heard, .n = out.len };
        memcpy(m->bytes, out.data, out.len);
        if (worker_post(w, &m->msg) != 0)
            free(m); /* so many at a time: the site will say it again */
    }
    buf_fini(&out);
}

/* ---- begin and end ------------------------------------------------------------------------------------- */

int egress_shaping_init(struct egress *e)
{
    struct egress_shaping *s = &e->shaping;
    s->holds = shaping_holds_new();
    s->matcher = shaping_matcher_new();
    int err = s->holds == NULL || s->matcher == NULL ? -ENOMEM
                                                     : timer_init(&s->timer, &e->w->timers, shaping_timer_cb);
    if (err != 0)
        egress_shaping_free(e);
    return err;
}

void egress_shaping_fini(struct egress *e)
{
    timer_fini(&e->shaping.timer);
}

void egress_shaping_free(struct egress *e)
{
    shaping_holds_free(e->shaping.holds);
    shaping_matcher_free(e->shaping.matcher);
    policy_rele(e->shaping.builtin);
    e->shaping.holds = NULL;
    e->shaping.matcher = NULL;
    e->shaping.builtin = NULL;
}
