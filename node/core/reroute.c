/* After a change of the routes, or of who sends from which pool, what is queued moves to where it belongs
 * now. */
#include "node/core/reroute.h"

#include "base/log.h"
#include "node/core/attempt.h"
#include "node/core/dispatch.h"
#include "node/core/egress.h"
#include "node/core/node.h"
#include "node/core/pools.h"

#include <stdlib.h>

#define STEP_ITEMS 256 /* in one turn of the loop */
#define STEP_READS 32  /* of envelopes among them; under 2 ms */
#define SECOND_PASS_MS 5000
#define PASSES 2

/* Whether all its recipients still belong to the item's site. */
static bool in_place(const struct worker *w, const struct queue_item_view *v, const struct spool_info *info)
{
    struct span site = queue_site_key(v->site);
    for (uint32_t i = 0; i < v->nrcpts; i++) {
        struct route_key key;
        uint32_t rcpt = v->rcpts[i];
        if (rcpt < info->env.nrcpts &&
            (route_pool_key(w->config, dispatch_pool(w->pools, &info->env, info->rcpts[rcpt].reply),
                            info->env.rcpts[rcpt].address, &key) != 0 ||
             route_key_put_tls(&key, dispatch_tls(&info->env)) != 0 ||
             !span_eq(span_of(key.text, key.len), site)))
            return false;
    }
    return true;
}

/* The item goes, its recipients are handed out anew. They are on disk: whatever fails here, nothing is lost.
 */
static void move(struct egress *e, struct queue_item *item, const struct queue_item_view *v,
                 const struct spool_info *info)
{
    const struct envelope *env = &info->env;
    struct spool_rcpt *states = calloc(env->nrcpts, sizeof *states);
    if (states == NULL)
        return; /* it stays where it is */
    for (uint32_t i = 0; i < env->nrcpts; i++)
        states[i].state = RCPT_DELETED; /* not this item's: left out */
    for (uint32_t i = 0; i < v->nrcpts; i++)
        if (v->rcpts[i] < env->nrcpts)
            states[v->rcpts[i]] =
                (struct spool_rcpt){ .state = v->state == QUEUE_STATE_HELD ? RCPT_HELD : RCPT_QUEUED,
                                     .delay_told = v->delay_told,
                                     .attempts = v->attempts,
                                     .next_ms = v->next_ms,
                                     .reply = info->rcpts[v->rcpts[i]].reply };
    if (queue_remove(e->queue, item) == 0)
        (void)dispatch_message(e->w->node, e->w, e->w->config, env, states); /* an error is in the log */
    free(states);
}

/* False: by what the queue knows of it, the item is where it belongs. */
static bool doubtful(const struct egress *e, const struct queue_item_view *v, bool pools)
{
    struct span site = queue_site_key(v->site), pool;
    if (route_key_is_hop(site) || !route_key_current(e->w->config, site))
        return true;
    return pools && !span_eq(site, SPAN_LIT(ROUTE_UNROUTABLE)) &&
           !(pool_view_of_sender(e->w->pools, v->sender, v->class, &pool) &&
             span_eq(pool, route_key_pool(site)));
}

bool reroute_item(struct egress *e, struct queue_item *item, const struct spool_info *info)
{
    struct queue_item_view v;
    struct spool_info *own = NULL;
    queue_item_view(e->queue, item, &v);
    if (v.state == QUEUE_STATE_IN_FLIGHT)
        return false;
    if (span_eq(queue_site_key(v.site), SPAN_LIT(ROUTE_UNROUTABLE)))
        return false;
    if (info == NULL && !doubtful(e, &v, e->reroute.pools))
        return false;
    if (info == NULL) {
        if (spool_info(e->w->node->spool, v.id, &own) != 0)
            return false; /* gone, or damaged: the next attempt says so */
        info = own;
    }
    bool stays = in_place(e->w, &v, info);
    if (!stays)
        move(e, item, &v, info);
    spool_info_free(own);
    return !stays;
}

/* ---- to another pool --------------------------------------------------------------------------------------
 */

static struct span reply_of(const struct attempt *a, uint32_t i)
{
    return a->info->rcpts[a->rcpts[i]].reply;
}

bool reroute_mark(const struct attempt *a, uint32_t i, struct pool_mark *out)
{
    struct span words;
    (void)pool_mark_parse(reply_of(a, i), out, &words);
    if (a->moves == NULL || a->moves[i].to.n == 0)
        return false;
    return pool_mark_move(out, route_key_pool(span_str(a->site)), a->moves[i].to, a->moves[i].rule);
}

bool reroute_rcpt(struct attempt *a, uint32_t i, struct span to, struct span rule)
{
    struct egress *e = a->e;
    struct pool_mark mark;
    uint64_t node;
    if (pool_view_reach(egress_pools_view(e), to, 0, egress_pools_session(e), &node) == POOL_NOWHERE)
        return false;
    if (a->moves == NULL)
        a->moves = calloc(a->nrcpts, sizeof *a->moves);
    if (a->moves == NULL)
        return false;
    struct attempt_move *m = &a->moves[i];
    size_t n = to.n + rule.n;
    char *text = n == 0 ? NULL : malloc(n);
    if (text == NULL)
        return false;
    memcpy(text, to.p, to.n);
    memcpy(text + to.n, rule.p, rule.n);
    free(m->text);
    *m = (struct attempt_move){ .text = text,
                                .to = span_of(text, to.n),
                                .rule = span_of(text + to.n, rule.n) };
    if (reroute_mark(a, i, &mark))
        return true;
    m->to.n = 0;
    return false;
}

struct span reroute_words(const struct spool_info *info, uint32_t rcpt, struct span words,
                          char text[GREY_TEXT_MAX])
{
    struct pool_mark mark;
    struct span was;
    if (info == NULL || rcpt >= info->env.nrcpts || !pool_mark_parse(info->rcpts[rcpt].reply, &mark, &was))
        return words;
    return pool_mark_format(&mark, NULL, words, text);
}

bool reroute_maybe_moved(const struct egress *e, const struct queue_item_view *v)
{
    struct span pool;
    /* Right after a start it may stand where nobody's mail goes out over another pool, or wait to be handed out. */
    return v->attempts > 0 || e->w->pools == NULL || e->reroute.passes > 0 ||
           !pool_view_of_sender(e->w->pools, v->sender, v->class, &pool) ||
           !span_eq(pool, route_key_pool(queue_site_key(v->site)));
}

/* ---- the walk ---------------------------------------------------------------------------------------------
 */

struct step {
    struct reroute *r;
    uint32_t reads;
};

static void reroute_walk_cb(void *ctx, struct queue_item *item)
{
    struct step *s = ctx;
    struct egress *e = s->r->e;
    struct queue_item_view v;
    queue_item_view(e->queue, item, &v);
    s->reads += doubtful(e, &v, s->r->pools);
    s->r->moved += reroute_item(e, item, NULL);
}

static void reroute_timer_cb(struct timer *t)
{
    struct reroute *r = TIMER_ITEM(t, struct reroute, timer);
    struct egress *e = r->e;
    struct step s = { .r = r };
    bool more = true;
    for (uint32_t seen = 0; more && seen < STEP_ITEMS && s.reads < STEP_READS; seen += 8)
        more = queue_walk(e->queue, &r->cursor, 8, reroute_walk_cb, &s);
    egress_kick(e);
    if (more) {
        timer_set(t, 0);
        return;
    }
    if (r->moved > 0)
        log_info("egress", "worker %u: %llu queued items took new routes or pools", e->w->index,
                 (unsigned long long)r->moved);
    r->moved = 0;
    r->cursor = 0;
    if (--r->passes > 0)
        timer_set(t, SECOND_PASS_MS);
    else
        r->pools = false;
}

int reroute_init(struct reroute *r, struct egress *e)
{
    *r = (struct reroute){ .e = e };
    return timer_init(&r->timer, &e->w->timers, reroute_timer_cb);
}

void reroute_fini(struct reroute *r)
{
    timer_fini(&r->timer);
}

void reroute_start(struct reroute *r)
{
    if (r->e->stopping)
        return;
    r->passes = PASSES;
    r->cursor = 0;
    timer_set(&r->timer, 0);
}

void reroute_pools(struct reroute *r)
{
    if (r->e->stopping)
        return;
    r->pools = true;
    reroute_start(r);
}

void reroute_stop(struct reroute *r)
{
    r->passes = 0;
    timer_stop(&r->timer);
}
