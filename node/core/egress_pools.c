/* Pools of source addresses on one worker: see egress_pools.h. */
#include "node/core/egress_pools.h"

#include "base/ensure.h"
#include "base/err.h"
#include "node/core/cluster.h"
#include "node/core/conn.h"
#include "node/core/dispatch.h"
#include "node/core/node.h"
#include "node/ledger/ledger.h"

#include <stdlib.h>
#include <string.h>

#define FINISH_MS 60000 /* for the transaction in hand, when the address was taken away */
#define WATCH_MS 100    /* while a connection's right to its address may end by itself */
#define STARVED_MS 1000 /* between two looks whether there is an address again */

/* ---- the view in force --------------------------------------------------------------------------------- */

static uint64_t session_of(const struct worker *w)
{
    return w->ledger == NULL ? 0 : ledger_session_id(w->ledger);
}

/* A later session says nothing of what was connected in an earlier one: in between another node may have had the
 * address. */
static bool may_send(void *ctx, uint64_t session)
{
    return session != 0 && session_of(ctx) == session;
}

int egress_pools_gate(struct egress *e, struct stream *s, uint64_t session)
{
    return stream_set_gate(s, may_send, e->w, session);
}

/* (!) Connections that were opened while their address was bound obey from now on, too. */
static void gate_conns(struct egress *e)
{
    LIST_EACH(link, &e->conns)
    {
        struct conn *c = LIST_ITEM(link, struct conn, link);
        const struct pool_address *a =
            c->meter == NULL || c->floating ? NULL : pool_view_find(e->w->pools, &c->source_addr);
        if (a == NULL || !a->floating)
            continue;
        c->floating = true;
        if (c->stream != NULL)
            ensure(egress_pools_gate(e, c->stream, session_of(e->w)) == 0); /* else it could send when another node does */
    }
}

/* Takes v. What follows from it is done from the loop: this runs inside of connections' functions, too. */
static void adopt(struct egress *e, struct pool_view *v)
{
    struct worker *w = e->w;
    if (w->pools != NULL && pool_view_number(v) <= pool_view_number(w->pools)) {
        pool_view_rele(v);
        return;
    }
    struct pool_view *old = w->pools;
    w->pools = v;
    gate_conns(e);
    pool_view_acted(v);
    if (!e->pools.closed) {
        if (pool_view_senders_differ(old, v) || pool_view_lost(old, v))
            reroute_pools(&e->reroute);
        timer_set(&e->pools.timer, 0);
    }
    pool_view_rele(old);
}

struct pools_msg {
    struct worker_msg msg;
    struct pool_view *view;
};

static void run_pools(struct worker *w, struct worker_msg *msg)
{
    struct pools_msg *m = (struct pools_msg *)msg;
    adopt(w->egress, m->view);
    free(m);
}

void pools_post(struct worker *w, struct pool_view *v)
{
    struct pools_msg *m = malloc(sizeof *m);
    ensure(m != NULL); /* a worker that never hears of it would go on using another node's address */
    *m = (struct pools_msg){ .msg.run = run_pools, .view = pool_view_hold(v) };
    worker_post_always(w, &m->msg);
}

const struct pool_view *egress_pools_view(struct egress *e)
{
    struct cluster *c = e->w->node->cluster;
    if (c == NULL)
        return NULL;
    uint64_t state = cluster_pools_state(c);
    if (e->w->pools == NULL || pool_view_state(e->w->pools) != state) {
        struct pool_view *v = cluster_pools(c);
        if (v != NULL)
            adopt(e, v);
    }
    return e->w->pools != NULL && pool_view_state(e->w->pools) == state ? e->w->pools : NULL;
}

bool egress_pools_session(const struct egress *e)
{
    return e->w->ledger != NULL && ledger_session_valid(e->w->ledger);
}

/* ---- connections whose address was taken away ---------------------------------------------------------- */

bool conn_pool_stays(const struct conn *c)
{
    const struct pool_view *v = c->e->w->pools;
    if (c->meter == NULL)
        return true;
    const struct pool_address *a = pool_view_find(v, &c->source_addr);
    return a != NULL && pool_address_kept(v, a, !a->floating || egress_pools_session(c->e)) &&
           (c->site == NULL || span_eq(a->pool, route_key_pool(queue_site_key(c->site->qs))));
}

/* Nothing new goes out from there; what is in hand may finish, unless the cluster may think that the address
 * is free.
 */
static void take_away(struct conn *c, int64_t now)
{
    if (c->state == CONN_IDLE) {
        conn_quit(&c->qc);
    } else if (c->state == CONN_CONNECTING || c->state == CONN_GREETING) {
        conn_cancel(c);
    } else {
        if (c->cut_ms == 0)
            c->cut_ms = now + (c->floating && !egress_pools_session(c->e) ? 0 : FINISH_MS);
        if (now >= c->cut_ms)
            conn_cut(c, "its source address belongs to another node now");
    }
}

static bool sweep_conns(struct egress *e)
{
    int64_t now = timers_now_ms(&e->w->timers);
    bool watch = false;
    LIST_EACH_SAFE(link, &e->conns)
    {
        struct conn *c = LIST_ITEM(link, struct conn, link);
        if (c->meter == NULL)
            continue;
        bool stays = conn_pool_stays(c);
        watch = watch || !stays || c->floating;
        if (stays)
            c->cut_ms = 0; /* it came back in time */
        else
            take_away(c, now);
    }
    return watch;
}

/* ---- sites without an address -------------------------------------------------------------------------- */

struct here {
    struct warmup_rest rest;
    const struct egress_site *site;
};

static bool here_rests_cb(void *ctx, const struct ip_addr *addr)
{
    struct here *h = ctx;
    return egress_shaping_rests(h->site->e, h->site->qs, addr) || warmup_rests(&h->rest, addr);
}

static bool held_cb(void *ctx, const struct ip_addr *addr)
{
    const struct egress_site *site = ctx;
    return egress_shaping_held(site->e, site->qs, addr);
}

/* Where mail of this site may be sent from now: not from an address that rests for it, nor from one that
 * warms up and has no message left for it. */
static enum pool_reach reach(struct egress_site *site, const struct pool_view *v, bool session, uint64_t turn,
                             uint64_t *node, struct warmup_rest *why)
{
    struct here h = { .rest = { .site = site, .view = v }, .site = site };
    struct span pool = route_key_pool(queue_site_key(site->qs));
    *node = 0;
    bool here = pool_view_choose_awake(v, pool, 0, turn, session, here_rests_cb, &h) != NULL;
    bool elsewhere = !here && pool_view_awake_elsewhere(v, pool, turn, held_cb, site, node);
    if (why != NULL)
        *why = h.rest;
    return here ? POOL_HERE : elsewhere ? POOL_ELSEWHERE : POOL_NOWHERE;
}

enum pool_reach egress_pools_reach(struct egress_site *site, const struct pool_view *v, bool session, uint64_t turn,
                                   uint64_t *node)
{
    return reach(site, v, session, turn, node, NULL);
}

static void starve(struct egress_site *site, bool soon)
{
    struct egress *e = site->e;
    if (!list_linked(&site->starved)) {
        site->starved_ms = timers_now_ms(&e->w->timers);
        list_push_back(&e->pools.starved, &site->starved);
    }
    if (!timer_is_set(&e->pools.timer) || soon)
        timer_set(&e->pools.timer, soon ? WATCH_MS : STARVED_MS);
}

static void feed_starved(struct egress *e)
{
    const struct pool_view *v = egress_pools_view(e);
    bool session = egress_pools_session(e);
    LIST_EACH_SAFE(link, &e->pools.starved)
    {
        struct egress_site *site = LIST_ITEM(link, struct egress_site, starved);
        uint64_t node;
        bool here = reach(site, v, session, e->pools.turn, &node, NULL) == POOL_HERE;
        bool said = site->starved_absent ||
                    pool_view_absent(v, route_key_pool(queue_site_key(site->qs))) == NULL; /* once, to say so */
        if (!here && said)
            continue;
        list_remove(&site->starved);
        queue_site_retry_now(e->queue, site->qs, egress_now_ms(e));
        egress_kick(e);
    }
}

static void pools_timer_cb(struct timer *t)
{
    struct egress_pools *p = TIMER_ITEM(t, struct egress_pools, timer);
    struct egress *e = (struct egress *)((char *)p - offsetof(struct egress, pools));
    bool watch = sweep_conns(e);
    if (!e->stopping)
        feed_starved(e);
    if (!e->stopping && egress_hand(e))
        timer_set(t, 0);
    else if (watch)
        timer_set(t, WATCH_MS);
    else if (!list_empty(&p->starved))
        timer_set(t, STARVED_MS);
}

bool egress_pools_ready(struct egress_site *site, char *why, size_t cap)
{
    struct egress *e = site->e;
    struct span pool = route_key_pool(queue_site_key(site->qs));
    uint64_t node;
    if (pool.n == 0)
        return true;
    struct warmup_rest rest;
    enum pool_reach r = reach(site, egress_pools_view(e), egress_pools_session(e), e->pools.turn, &node, &rest);
    if (r == POOL_HERE)
        return true;
    starve(site, rest.soon);
    const struct pool_address *absent = pool_view_absent(egress_pools_view(e), pool);
    char text[IP_TEXT_MAX];
    site->starved_absent = absent != NULL;
    if (rest.sent || rest.soon)
        snprintf(why, cap, "pool %.*s warms up: %s%s", (int)pool.n, pool.p,
                 rest.sent ? "its addresses here have sent their messages of today to this site"
                           : "the cluster is asked for messages of today",
                 rest.sent && r == POOL_ELSEWHERE ? ", and its mail moves to a node with one that may" : "");
    else if (absent != NULL)
        snprintf(why, cap, "no address of pool %.*s is usable: the address hook has not added %s", (int)pool.n, pool.p,
                 ip_addr_format(&absent->addr, text));
    else
        snprintf(why, cap, "no address of pool %.*s is usable%s", (int)pool.n, pool.p,
                 r == POOL_ELSEWHERE ? " on this node" : "");
    return false;
}

void egress_pools_forget(struct egress_site *site)
{
    list_remove(&site->starved);
}

/* ---- one connection's address -------------------------------------------------------------------------- */

void conn_pool_drop(struct conn *c)
{
    if (c->meter == NULL)
        return;
    atomic_fetch_sub(&c->meter->conns, 1);
    pool_meter_rele(c->meter);
    c->meter = NULL;
}

void conn_pool_take(struct conn *c, const struct pool_address *a)
{
    conn_pool_drop(c);
    ensure(a->meter != NULL);
    c->meter = pool_meter_hold(a->meter);
    atomic_fetch_add(&c->meter->conns, 1);
    c->source_addr = a->addr;
    c->floating = a->floating;
    c->cut_ms = 0;
    snprintf(c->ehlo, sizeof c->ehlo, "%.*s", (int)a->ehlo.n, a->ehlo.p);
    if (c->floating)
        timer_set(&c->e->pools.timer, WATCH_MS);
}

struct choice {
    struct conn *c;
    struct warmup_rest rest;
};

static bool rests_cb(void *ctx, const struct ip_addr *addr)
{
    struct choice *choice = ctx;
    struct conn *c = choice->c;
    return egress_shaping_rests(c->e, c->site->qs, addr) || ip_addr_eq(addr, &c->silent) || !conn_site_room(c, addr) ||
           warmup_rests(&choice->rest, addr);
}

bool conn_pool_source(struct conn *c, struct span pool, uint8_t family, struct ip_addr *out)
{
    struct egress *e = c->e;
    c->session = session_of(e->w); /* before the view is looked at */
    struct choice choice = { c, { .site = c->site, .view = egress_pools_view(e), .choosing = true } };
    const struct pool_address *a = NULL;
    for (int i = 0; i < 2 && a == NULL; i++) /* another worker may take the last message while it chooses */
        a = pool_view_choose_awake(choice.rest.view, pool, family, e->pools.turn++, egress_pools_session(e), rests_cb,
                                   &choice);
    if (a == NULL) {
        conn_pool_drop(c);
        if (choice.rest.soon || choice.rest.sent)
            starve(c->site, choice.rest.soon);
        return false;
    }
    conn_pool_take(c, a);
    *out = a->addr;
    return true;
}

bool conn_pool_misplaced(const struct conn *c)
{
    const struct attempt *a = c->attempt;
    struct span key = queue_site_key(c->site->qs);
    bool misplaced = false;
    for (uint32_t i = 0; i < a->nrcpts && !span_eq(key, SPAN_LIT(ROUTE_UNROUTABLE)); i++) {
        struct span reply = a->info->rcpts[a->rcpts[i]].reply;
        if (i == 0 || reply.n > 0)
            misplaced = misplaced ||
                        !span_eq(route_key_pool(key), dispatch_pool(c->e->w->pools, &a->info->env, reply));
    }
    return misplaced;
}

bool conn_pool_move(struct conn *c)
{
    struct attempt *a = c->attempt;
    c->attempt = NULL;
    queue_requeue(c->e->queue, a->item, egress_now_ms(c->e));
    bool moved = reroute_item(c->e, a->item, a->info);
    attempt_free(a);
    return moved;
}

const char *conn_pool_error(const struct conn *c, int err)
{
    if (c->meter != NULL && c->floating && err == UV_EADDRNOTAVAIL)
        atomic_store(&c->meter->missing, true);
    return c->meter != NULL && err == UV_EADDRNOTAVAIL ? "the source address is not one of this machine's"
                                                       : err_text(err);
}

void conn_pool_connected(const struct conn *c)
{
    if (c->meter != NULL)
        atomic_fetch_add(&c->meter->connected, 1);
}

void conn_pool_failed(const struct conn *c)
{
    if (c->meter != NULL)
        atomic_fetch_add(&c->meter->failed, 1);
}

void conn_pool_settled(const struct conn *c)
{
    const struct attempt *a = c->attempt;
    struct pool_meter *m = c->meter;
    for (uint32_t i = 0; m != NULL && i < a->nrcpts; i++) {
        const struct smtp_client_result *r = &a->results[i];
        bool deferred = r->class == SMTP_CLIENT_TEMPORARY;
        struct bounce_reply reply;
        if (r->class == SMTP_CLIENT_OK) {
            atomic_fetch_add(&m->delivered, 1);
            continue;
        }
        atomic_fetch_add(deferred ? &m->deferred : &m->refused, 1);
        if (!r->local)
            atomic_fetch_add(&m->meant[deferred ? 0 : 1][attempt_meaning(r, &reply)], 1);
    }
}

/* ---- begin and end ------------------------------------------------------------------------------------- */

int egress_pools_init(struct egress *e)
{
    list_init(&e->pools.starved);
    e->pools.turn = e->w->index;
    return timer_init(&e->pools.timer, &e->w->timers, pools_timer_cb);
}

void egress_pools_fini(struct egress *e)
{
    e->pools.closed = true;
    timer_fini(&e->pools.timer);
}
