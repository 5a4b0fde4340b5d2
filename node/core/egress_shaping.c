/* Replies, rules, and what they do to a worker's queues: see egress_shaping.h. */
#include "node/core/egress_shaping.h"

#include "base/clock.h"
#include "base/hash.h"
#include "node/core/cluster.h"
#include "node/core/conn.h"
#include "node/core/conn_grey.h"
#include "node/core/dispatch.h"
#include "node/core/egress_rested.h"
#include "node/core/egress_rest.h"
#include "node/core/node.h"
#include "node/core/report.h"
#include "node/policy/policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void changed(struct egress *e, struct span key);

#define BLOCKED_ATTEMPTS 8    /* from addresses that may be blocked, before a refusal for good counts as one */
#define BLOCKED_RETRY_MS 1000 /* until the next of them */
#define ANSWER_MAX 512        /* of what is in force, that another node is told */
#define LOOK_MS 1000        /* while something is in force */

/* ---- the node's holds ---------------------------------------------------------------------------------- */

static struct shaping_holds *holds_lock(const struct egress *e)
{
    struct node *n = e->w->node;
    uv_mutex_lock(&n->holds.lock);
    return n->holds.v;
}

static void holds_unlock(const struct egress *e)
{
    struct node *n = e->w->node;
    atomic_store(&n->holds.n, shaping_holds_count(n->holds.v));
    uv_mutex_unlock(&n->holds.lock);
}

static bool holds_any(const struct egress *e)
{
    return atomic_load(&e->w->node->holds.n) > 0;
}

int shaping_node_init(struct node *n)
{
    n->holds.v = shaping_holds_new();
    if (n->holds.v == NULL || uv_mutex_init(&n->holds.lock) != 0) {
        shaping_holds_free(n->holds.v);
        n->holds.v = NULL;
        return -ENOMEM;
    }
    return 0;
}

void shaping_node_fini(struct node *n)
{
    if (n->holds.v == NULL)
        return;
    shaping_holds_free(n->holds.v);
    n->holds.v = NULL;
    uv_mutex_destroy(&n->holds.lock);
}

/* ---- what is in force, for the queue ------------------------------------------------------------------- */

/* The keys under which something may be in force for a queue: its own, and its site's (empty: not known). */
struct keys {
    struct span own, shared;
};

static struct keys keys_of(const struct queue_site *qs)
{
    return (struct keys){ queue_site_key(qs), egress_sites_key(queue_site_data(qs)) };
}

bool egress_shaping_rests(const struct egress *e, const struct queue_site *qs, const struct ip_addr *source)
{
    const struct egress_site *site = queue_site_data(qs);
    return (site == NULL || site->rested != POLICY_RESTED_USE_ANY) && egress_shaping_held(e, qs, source);
}

enum egress_hold egress_shaping_hold(const struct egress *e, const struct queue_site *qs, const struct ip_addr *source)
{
    char text[IP_TEXT_MAX];
    enum egress_hold held = EGRESS_FREE;
    if (!holds_any(e) || source->family == 0)
        return held;
    struct keys keys = keys_of(qs);
    const struct span all[] = { keys.own, keys.shared, SPAN_LIT(EGRESS_ALL_SITES) };
    struct span addr = span_str(ip_addr_format(source, text));
    int64_t now = egress_now_ms(e);
    const struct shaping_holds *h = holds_lock(e);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const struct shaping_hold *x =
            all[i].n == 0 ? NULL : shaping_hold_find(h, all[i], SHAPING_DISABLE_SOURCE, addr, now);
        if (x != NULL && held != EGRESS_HELD)
            held = egress_rest_ours(x->rule) ? EGRESS_RESTS : EGRESS_HELD;
    }
    holds_unlock(e);
    return held;
}

bool egress_shaping_held(const struct egress *e, const struct queue_site *qs, const struct ip_addr *source)
{
    enum egress_hold held = egress_shaping_hold(e, qs, source);
    return held == EGRESS_HELD ||
           ((held == EGRESS_RESTS || egress_rest_limited(e, qs, source)) && egress_rest_others(e, qs, source));
}

struct in_force {
    bool backoff;
    int64_t suspend_ms; /* 0: it is not */
    int64_t awake_ms;   /* when the first address wakes; INT64_MAX: none rests */
    int64_t since_ms;   /* when the last one began to */
};

static void look(const struct egress *e, struct span key, int64_t now, struct in_force *f)
{
    const struct shaping_hold *x;
    if (key.n == 0)
        return;
    const struct shaping_holds *h = holds_lock(e);
    f->backoff =
        f->backoff || shaping_hold_find(h, key, SHAPING_BACKOFF, (struct span){ "", 0 }, now) != NULL;
    x = shaping_hold_find(h, key, SHAPING_SUSPEND, (struct span){ "", 0 }, now);
    if (x != NULL && x->until_ms > f->suspend_ms)
        f->suspend_ms = x->until_ms;
    for (uint32_t at = 0; (x = shaping_hold_next(h, &at)) != NULL;)
        if (x->kind == SHAPING_DISABLE_SOURCE && x->until_ms > now && span_eq(x->key, key)) {
            f->awake_ms = x->until_ms < f->awake_ms ? x->until_ms : f->awake_ms;
            f->since_ms = x->since_ms > f->since_ms ? x->since_ms : f->since_ms;
        }
    holds_unlock(e);
}

static void apply_queue(struct egress *e, struct queue_site *qs)
{
    struct egress_site *site = queue_site_data(qs);
    struct queue_shape shape = { .conns_max = 0 };
    int64_t now = egress_now_ms(e);
    struct keys keys = keys_of(qs);
    struct in_force f = { .awake_ms = INT64_MAX };
    look(e, keys.own, now, &f);
    look(e, keys.shared, now, &f);
    struct policy *p = f.backoff ? egress_policy(e) : NULL;
    if (p != NULL) {
        shape.conns_max = p->backoff.connections;
        shape.interval_ms = p->backoff.interval_ms;
    } else if (site != NULL && site->entry != NULL && site->entry->limits.connections > 0) {
        shape.conns_max = SITES_CONNS_MAX; /* its addresses are bounded one by one */
    }
    policy_rele(p);
    shape.paused_until_ms = f.suspend_ms;
    if (f.awake_ms == INT64_MAX && site != NULL) {
        egress_rested_over(site);
    } else if (f.awake_ms != INT64_MAX) {
        int64_t pause_ms = egress_rested_pause(e, qs, f.since_ms, f.awake_ms, now);
        shape.paused_until_ms = pause_ms > shape.paused_until_ms ? pause_ms : shape.paused_until_ms;
    }
    struct queue_site_state state;
    queue_site_state(e->queue, qs, &state);
    /* the pause between two messages, which the queue keeps itself */
    if (shape.paused_until_ms == 0 && shape.interval_ms > 0 &&
        state.paused_until_ms <= now + shape.interval_ms)
        shape.paused_until_ms = state.paused_until_ms;
    queue_site_set_shape(e->queue, qs, &shape, now);
    egress_kick(e);
}

/* The site's connections together, not each queue's alone. */
static void apply_share(struct egress *e, struct egress_group *g)
{
    struct in_force f = { .awake_ms = INT64_MAX };
    look(e, sites_key(g->share), egress_now_ms(e), &f);
    struct policy *p = f.backoff ? egress_policy(e) : NULL;
    sites_set_backoff(e->w->node->sites, g->share, p == NULL ? 0 : p->backoff.connections,
                      p == NULL ? 0 : p->backoff.interval_ms);
    policy_rele(p);
}

static void apply(struct egress *e, struct span key)
{
    struct queue_site *qs = queue_site_find(e->queue, key);
    struct egress_group *g = egress_sites_group(e, key);
    if (qs != NULL)
        apply_queue(e, qs);
    if (g == NULL)
        return;
    apply_share(e, g);
    LIST_EACH(link, &g->members)
    apply_queue(e, LIST_ITEM(link, struct egress_site, member)->qs);
}

void egress_shaping_added(struct egress *e, struct span key)
{
    struct queue_site *qs = holds_any(e) ? queue_site_find(e->queue, key) : NULL;
    if (qs != NULL)
        apply_queue(e, qs);
}

void egress_shaping_joined(struct egress_site *site)
{
    if (site->group != NULL && holds_any(site->e))
        apply_share(site->e, site->group);
    apply_queue(site->e, site->qs);
}

static void shaping_timer_cb(struct timer *t)
{
    struct egress_shaping *s = TIMER_ITEM(t, struct egress_shaping, timer);
    struct egress *e = (struct egress *)((char *)s - offsetof(struct egress, shaping));
    struct shaping_ended ended;
    if (e->stopping)
        return;
    for (;;) {
        bool over = shaping_hold_expire(holds_lock(e), egress_now_ms(e), &ended);
        holds_unlock(e);
        if (!over)
            break;
        report_shaping_ended(e->w, &ended, "its time is over");
        changed(e, span_str(ended.key));
    }
    egress_rested_sweep(e);
    /* Addresses come and go meanwhile, and the policy may be another one. */
    for (uint32_t at = 0;;) {
        char key[SHAPING_KEY_MAX];
        const struct shaping_hold *x = shaping_hold_next(holds_lock(e), &at);
        size_t n = x == NULL ? 0 : x->key.n;
        if (x != NULL)
            memcpy(key, x->key.p, n);
        holds_unlock(e);
        if (x == NULL)
            break;
        apply(e, span_of(key, n));
    }
    if (holds_any(e))
        timer_set(t, LOOK_MS);
}

static void watch(struct egress *e)
{
    if (!timer_is_set(&e->shaping.timer) && holds_any(e))
        timer_set(&e->shaping.timer, LOOK_MS);
}

struct change {
    struct worker_msg msg;
    size_t n;
    char key[];
};

static void run_changed(struct worker *w, struct worker_msg *msg)
{
    struct change *m = (struct change *)msg;
    if (!w->egress->stopping) {
        apply(w->egress, span_of(m->key, m->n));
        watch(w->egress);
    }
    free(m);
}

/* What is in force for the key is another thing now: on all workers that have queues of that site. */
static void changed(struct egress *e, struct span key)
{
    struct node *n = e->w->node;
    apply(e, key);
    watch(e);
    for (uint32_t i = 0; i < n->nworkers; i++) {
        struct change *m = i == e->w->index ? NULL : malloc(sizeof *m + key.n);
        if (m == NULL)
            continue; /* itself; or no memory, and the worker looks in a second */
        *m = (struct change){ .msg.run = run_changed, .n = key.n };
        memcpy(m->key, key.p, key.n);
        if (worker_post(&n->workers[i], &m->msg) != 0)
            free(m);
    }
}

static bool put(struct egress *e, const struct shaping_hold *hold)
{
    bool fresh = shaping_hold_put(holds_lock(e), hold, egress_now_ms(e));
    holds_unlock(e);
    if (!fresh)
        return false;
    egress_rest_begun(e->w->node, hold);
    report_shaping(e->w, hold);
    changed(e, hold->key);
    return true;
}

static struct span by_us(const struct worker *w)
{
    struct span name = span_str(w->config->name);
    return span_of(name.p, name.n > SHAPING_BY_MAX ? SHAPING_BY_MAX : name.n);
}

bool egress_shaping_put(struct egress *e, struct shaping_hold *hold)
{
    bool fresh = put(e, hold);
    hold->by = by_us(e->w);
    if (fresh && e->w->node->cluster != NULL)
        cluster_shaping_tell(e->w->node->cluster, hold);
    return fresh;
}

/* ---- one reply ----------------------------------------------------------------------------------------- */

struct asked {
    struct conn *c;
    struct policy *policy;
    struct span key;          /* what is brought about is in force for this */
    struct span own;          /* the queue's */
    char source[IP_TEXT_MAX]; /* "": not known */
    const struct smtp_reply_text *last;
    bool again; /* the same reply as the one before: counted already */
};

static bool begin(struct asked *a, struct conn *c)
{
    struct ip_addr local = { 0 };
    *a = (struct asked){ .c = c };
    if (c->site == NULL || (a->policy = egress_policy(c->e)) == NULL)
        return false;
    a->own = queue_site_key(c->site->qs);
    a->key = egress_sites_key(c->site);
    if (a->key.n == 0)
        a->key = a->own;
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
    struct shaping_reply reply = { .site = route_key_site(a->own),
                                   .mx = span_str(a->c->host),
                                   .pool = route_key_pool(a->own),
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
    (void)egress_shaping_put(e, &hold);
    buf_fini(&reply);
}

/* A refusal for good that is about the address that it came from: the message is tried again, as long as there is
 * another one that is not known to be blocked. */
static void try_elsewhere(struct asked *a, struct attempt *attempt, struct smtp_client_result *r)
{
    struct egress *e = a->c->e;
    struct ip_addr source;
    bool early = r->stage == SMTP_CLIENT_STAGE_MAIL || r->stage == SMTP_CLIENT_STAGE_RCPT;
    if (!early || attempt->attempts > BLOCKED_ATTEMPTS || ip_addr_parse(span_str(a->source), &source) != 0 ||
        egress_rested(e, a->c->site->qs, &source) == EGRESS_RESTED)
        return;
    r->class = SMTP_CLIENT_TEMPORARY;
    if (attempt->retry_at_ms == 0)
        attempt->retry_at_ms = egress_now_ms(e) + BLOCKED_RETRY_MS;
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
    if (rule->action == SHAPING_REROUTE) {
        if (attempt != NULL &&
            reroute_rcpt(attempt, (uint32_t)(r - attempt->results), span_str(rule->to), span_str(rule->name)))
            r->class = SMTP_CLIENT_TEMPORARY;
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
    if (rule->action == SHAPING_DISABLE_SOURCE && attempt != NULL && !temporary)
        try_elsewhere(a, attempt, r);
    struct shaping_holds *h = holds_lock(e);
    if (rule->action == SHAPING_BACKOFF)
        shaping_hold_refused(h, a->key);
    bool enough = !a->again && shaping_threshold(h, a->key, rule, now);
    holds_unlock(e);
    if (!enough)
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
    struct in_force f = { .awake_ms = INT64_MAX };
    uint32_t n = a->policy->backoff.nretry, i = attempt->attempts > n ? n : attempt->attempts;
    if (n == 0)
        return;
    look(e, a->key, now, &f);
    look(e, a->own, now, &f);
    if (f.backoff)
        attempt->not_before_ms = now + a->policy->backoff.retry_ms[i > 0 ? i - 1 : 0];
}

static void delivered_to(struct egress *e, struct span key)
{
    struct shaping_ended ended = { .kind = SHAPING_BACKOFF };
    bool over = key.n > 0 && shaping_hold_delivered(holds_lock(e), key);
    if (key.n > 0)
        holds_unlock(e);
    if (!over)
        return;
    snprintf(ended.key, sizeof ended.key, "%.*s", (int)key.n, key.p);
    report_shaping_ended(e->w, &ended, "the site takes mail again");
    changed(e, span_str(ended.key));
}

static void delivered(struct conn *c)
{
    if (!holds_any(c->e))
        return;
    delivered_to(c->e, queue_site_key(c->site->qs));
    delivered_to(c->e, egress_sites_key(c->site));
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
    conn_rest_refused(c, why);
    if (why == NULL || why->local || why->reply.code < 400 || !begin(&a, c))
        return;
    struct smtp_client_result r = *why;
    judge(&a, NULL, &r);
    policy_rele(a.policy);
}

bool conn_shaping_rests(const struct conn *c)
{
    struct ip_addr addr = { 0 };
    if (c->site == NULL || (!holds_any(c->e) && !egress_rest_trials(c->e)))
        return false;
    if (c->meter != NULL)
        addr = c->source_addr;
    else if (c->source != NULL)
        (void)ip_from_sockaddr((const struct sockaddr *)&c->source->address, &addr, NULL);
    else if (c->stream != NULL)
        stream_local(c->stream, &addr, NULL);
    return egress_shaping_rests(c->e, c->site->qs, &addr);
}

/* ---- from elsewhere ------------------------------------------------------------------------------------ */

struct heard {
    struct worker_msg msg;
    bool again;
    size_t n;
    char bytes[]; /* an encoded hold */
};

/* `again`: a node that comes back is told what was ended meanwhile. */
static void end(struct egress *e, const struct shaping_hold *hold, bool again)
{
    struct shaping_ended ended = { .kind = SHAPING_NONE };
    bool operators = !egress_rest_ours(hold->rule);
    int64_t now = egress_now_ms(e), at_ms = again ? now - (hold->until_ms - now) : now;
    if (operators)
        shaping_resumed_put(&e->shaping.resumed, hold->key, hold->source, at_ms);
    struct shaping_holds *h = holds_lock(e);
    uint32_t n = again ? shaping_hold_end_before(h, hold->key, hold->source, at_ms)
                       : shaping_hold_end(h, hold->key, -1, hold->source);
    holds_unlock(e);
    egress_rest_ended(e->w->node, hold);
    if (n == 0)
        return;
    snprintf(ended.key, sizeof ended.key, "%.*s", (int)hold->key.n, hold->key.p);
    snprintf(ended.source, sizeof ended.source, "%.*s", (int)hold->source.n, hold->source.p);
    report_shaping_ended(e->w, &ended, operators ? "ended by an operator" : "not listed any more");
    egress_rested_forget(e, hold->key);
    changed(e, hold->key);
}

/* What another node still has in force is not ours: we have it in another way, or an operator has ended it, who could
 * not reach that node. */
static bool outdated(const struct egress *e, const struct shaping_hold *hold)
{
    int64_t now = egress_now_ms(e);
    if (shaping_resumed_has(&e->shaping.resumed, hold->key, hold->source, now))
        return true;
    bool known = shaping_hold_find(holds_lock(e), hold->key, hold->kind, hold->source, now) != NULL;
    holds_unlock(e);
    return known;
}

static void run_heard(struct worker *w, struct worker_msg *msg)
{
    struct heard *m = (struct heard *)msg;
    struct egress *e = w->egress;
    struct shaping_hold hold;
    if (shaping_hold_decode(span_of(m->bytes, m->n), egress_now_ms(e), &hold) == 0 && !e->stopping) {
        hold.old = m->again;
        if (hold.kind == SHAPING_NONE)
            end(e, &hold, m->again);
        else if (!m->again || !outdated(e, &hold))
            (void)put(e, &hold);
    }
    free(m);
}

struct question {
    struct worker_msg msg;
    uint64_t node;
    bool ended_only;
};

static void run_answer(struct worker *w, struct worker_msg *msg)
{
    struct question *m = (struct question *)msg;
    const struct egress *e = w->egress;
    const struct shaping_hold *x;
    int64_t now = egress_now_ms(e);
    uint32_t told = 0;
    struct shaping_hold ended;
    for (uint32_t at = 0; shaping_resumed_next(&e->shaping.resumed, &at, now, &ended);)
        cluster_shaping_answer(w->node->cluster, m->node, &ended);
    const struct shaping_holds *h = holds_lock(e);
    for (uint32_t at = 0;
         w->index == 0 && !m->ended_only && told < ANSWER_MAX && (x = shaping_hold_next(h, &at)) != NULL;) {
        struct shaping_hold hold = *x;
        if (hold.until_ms <= now)
            continue;
        if (hold.by.n == 0)
            hold.by = by_us(w);
        cluster_shaping_answer(w->node->cluster, m->node, &hold);
        told++;
    }
    holds_unlock(e);
    free(m);
}

void egress_shaping_answer(struct node *n, uint64_t node, bool ended_only)
{
    for (uint32_t i = 0; i < n->nworkers;
         i++) { /* each for its sites; the holds, which they share, the first */
        struct question *m = malloc(sizeof *m);
        if (m == NULL)
            return;
        *m = (struct question){ .msg.run = run_answer, .node = node, .ended_only = ended_only };
        if (worker_post(&n->workers[i], &m->msg) != 0)
            free(m);
    }
}

void egress_shaping_hear(struct node *n, const struct shaping_hold *hold, bool again)
{
    struct buf out;
    struct worker *w = dispatch_owner(n, hold->key);
    buf_init(&out, 8192);
    int err = shaping_hold_encode(hold, clock_wall_ms(), &out);
    struct heard *m = err == 0 ? malloc(sizeof *m + out.len) : NULL;
    if (m != NULL) {
        *m = (struct heard){ .msg.run = run_heard, .again = again, .n = out.len };
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
    s->matcher = shaping_matcher_new();
    int err = s->matcher == NULL ? -ENOMEM : timer_init(&s->timer, &e->w->timers, shaping_timer_cb);
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
    shaping_resumed_fini(&e->shaping.resumed);
    shaping_matcher_free(e->shaping.matcher);
    policy_rele(e->shaping.builtin);
    e->shaping.matcher = NULL;
    e->shaping.builtin = NULL;
}
