/* Connections' events, what a site learns from them, and which item a connection gets. */
#include "node/queue/impl.h"

#include "base/ensure.h"

#include <stdlib.h>
#include <string.h>

#define TROUBLE_PAUSE_MS 2000 /* what many connections meet at once halves the limit once */

enum { CONN_OPENING = 1, CONN_TAKING, CONN_BUSY, CONN_IDLE, CONN_CLOSING };

void queue_conn_init(struct queue *q, struct queue_site *site, struct queue_conn *conn)
{
    (void)q;
    ensure(site->unbound > 0);
    site->unbound--;
    *conn = (struct queue_conn){ .site = site, .state = CONN_OPENING };
}

static void conn_forget(struct queue_conn *conn)
{
    memset(conn, 0, sizeof *conn);
}

static void error_set(struct queue *q, struct queue_site *site, struct span why)
{
    size_t n = why.n < QUEUE_ERROR_MAX ? why.n : QUEUE_ERROR_MAX;
    site->error_ms = q->now_ms;
    if (n > 0 && span_eq(span_of(site->error, site->error_bytes), span_of(why.p, n)))
        return;
    char *copy = n == 0 ? NULL : malloc(n);
    if (copy == NULL)
        n = 0;
    else
        memcpy(copy, why.p, n);
    free(site->error);
    q->own_bytes += n;
    q->own_bytes -= site->error_bytes;
    site->error = copy;
    site->error_bytes = (uint32_t)n;
}

static void limit_halve(struct queue *q, struct queue_site *site)
{
    if (site->trouble_ms != 0 && q->now_ms >= site->trouble_ms &&
        q->now_ms - site->trouble_ms < TROUBLE_PAUSE_MS)
        return;
    site->trouble_ms = q->now_ms;
    site->credit = 0;
    site->limit = site->limit > 2 ? site->limit / 2 : 1;
}

/* A connection came to nothing. While others work it is a reason to pause; when it was the last hope it
 * counts towards "down". Failures side by side count once: the last of them to end is told of. */
static void site_failed(struct queue *q, struct queue_site *site, struct span why)
{
    error_set(q, site, why);
    limit_halve(q, site);
    site->not_before_ms = q->now_ms + q->config.reconnect_ms;
    if (site->conns > 0 || site->opening > 0)
        return;
    site->failures++;
    if (site->failures < q->config.down_after)
        return;
    if (!site->down) {
        site->down = true;
        site->down_since_ms = q->now_ms;
        q->ndown++;
    }
    site->probes++;
    site->not_before_ms = q->now_ms + queue_retry_delay_ms(&q->config, site->probes, queue_random(q));
}

static void opening_ends(struct queue *q, struct queue_site *site)
{
    ensure(site->opening > site->unbound);
    ensure(q->opening > 0);
    site->opening--;
    q->opening--;
    q->conns--;
    q->probing -= site->probing;
    site->probing = false;
}

void queue_conn_opened(struct queue *q, struct queue_conn *conn, int64_t now_ms)
{
    struct queue_site *site = conn->site;
    ensure(conn->state == CONN_OPENING);
    q->now_ms = now_ms;
    opening_ends(q, site);
    q->conns++;
    site->conns++;
    site->taking++;
    conn->state = CONN_TAKING;
    site->success_ms = now_ms;
    q->ndown -= site->down;
    site->down = false;
    site->down_since_ms = 0;
    queue_site_update(q, site);
}

void queue_conn_failed(struct queue *q, struct queue_conn *conn, struct span why, int64_t now_ms)
{
    struct queue_site *site = conn->site;
    ensure(conn->state == CONN_OPENING);
    q->now_ms = now_ms;
    opening_ends(q, site);
    conn_forget(conn);
    site_failed(q, site, why);
    queue_site_update(q, site);
}

void queue_conn_cancelled(struct queue *q, struct queue_conn *conn, int64_t now_ms)
{
    struct queue_site *site = conn->site;
    ensure(conn->state == CONN_OPENING);
    q->now_ms = now_ms;
    opening_ends(q, site);
    conn_forget(conn);
    queue_site_update(q, site);
}

static void conn_unidle(struct queue *q, struct queue_conn *conn)
{
    ensure(conn->state == CONN_IDLE);
    list_remove(&conn->link);
    list_remove(&conn->lru);
    conn->site->nidle--;
    q->nidle--;
}

static void conn_idle(struct queue *q, struct queue_conn *conn)
{
    conn->state = CONN_IDLE;
    list_push_front(&conn->site->idle_conns, &conn->link);
    list_push_back(&q->idle_lru, &conn->lru);
    conn->site->nidle++;
    q->nidle++;
}

static void conn_closing(struct queue_conn *conn)
{
    conn->state = CONN_CLOSING;
    conn->site->closing++;
}

static void conn_unclosing(struct queue_conn *conn)
{
    list_remove(&conn->lru);
    conn->site->closing--;
}

void queue_conn_closed(struct queue *q, struct queue_conn *conn, struct span trouble, int64_t now_ms)
{
    struct queue_site *site = conn->site;
    q->now_ms = now_ms;
    ensure(conn->state >= CONN_TAKING);
    if (conn->state == CONN_TAKING)
        site->taking--;
    else if (conn->state == CONN_IDLE)
        conn_unidle(q, conn);
    else if (conn->state == CONN_CLOSING)
        conn_unclosing(conn);
    bool useless = !conn->worked && (conn->took || trouble.n > 0);
    conn_forget(conn);
    ensure(site->conns > 0);
    site->conns--;
    q->conns--;
    if (useless) {
        site_failed(q, site,
                    trouble.n > 0 ? trouble : SPAN_LIT("421 4.4.2 connection ended without a result"));
    } else if (trouble.n > 0) {
        error_set(q, site, trouble);
        limit_halve(q, site);
    }
    queue_site_update(q, site);
}

void queue_conn_success(struct queue *q, struct queue_conn *conn, int64_t now_ms)
{
    struct queue_site *site = conn->site;
    uint32_t max = site->conns_max != 0 ? site->conns_max : q->config.conns_max;
    q->now_ms = now_ms;
    conn->worked = true;
    site->failures = 0;
    site->probes = 0;
    /* grows only while it is the limit that holds us back */
    if (site->limit >= max || site->conns + site->opening < site->limit)
        return;
    if (++site->credit < site->limit)
        return;
    site->credit = 0;
    site->limit++;
    queue_site_update(q, site);
}

void queue_conn_trouble(struct queue *q, struct queue_conn *conn, int64_t now_ms)
{
    q->now_ms = now_ms;
    limit_halve(q, conn->site);
    queue_site_update(q, conn->site);
}

/* The next by deficit round robin: the first active lane has the turn until its weight is used up. */
static struct queue_item *site_next(struct queue *q, struct queue_site *site)
{
    struct lane *lane = lane_at(q, site->active.first);
    struct queue_item *item = item_at(q, lane->ready.first);
    if (lane->deficit == 0) {
        uint32_t weight = item->class < QUEUE_CLASSES ? q->config.weight[item->class] : 1;
        lane->deficit = (uint16_t)(weight < 1 ? 1 : weight > UINT16_MAX ? UINT16_MAX : weight);
    }
    lane->deficit--;
    if (lane->deficit == 0) {
        pool_list_remove(&q->lanes, &site->active, LANE_RING, lane->self);
        pool_list_push_back(&q->lanes, &site->active, LANE_RING, lane->self);
    }
    q->steps++;
    return item;
}

struct queue_item *queue_site_next(const struct queue *q, const struct queue_site *site)
{
    return site_offered(site) == 0 ? NULL : item_at(q, lane_at(q, site->active.first)->ready.first);
}

/* The limit shrank below what is open. */
static bool site_surplus(const struct queue *q, const struct queue_site *site)
{
    return site->conns - site->closing > queue_site_cap(q, site);
}

struct queue_item *queue_take(struct queue *q, struct queue_conn *conn, int64_t now_ms)
{
    struct queue_site *site = conn->site;
    q->now_ms = now_ms;
    ensure(conn->state == CONN_TAKING || conn->state == CONN_BUSY);
    if (conn->state == CONN_TAKING)
        site->taking--;
    if (site_surplus(q, site)) {
        conn_closing(conn);
        list_push_back(&q->closing, &conn->lru);
        queue_site_update(q, site);
        return NULL;
    }
    if (site_offered(site) == 0 || site_paused_ms(site) > now_ms) {
        conn_idle(q, conn);
        queue_site_update(q, site);
        return NULL;
    }
    struct queue_item *item = site_next(q, site);
    if (site->interval_ms > 0)
        site->paused_ms = now_ms + site->interval_ms;
    conn->state = CONN_BUSY;
    conn->took = true;
    queue_item_enter(q, item, QUEUE_STATE_IN_FLIGHT, false);
    return item;
}

/* ---- for queue_poll ---- */

/* The ring whose turn it is, or NULL. Sites that failed last time may have a quarter of the places: thousands
 * of dead ones, each taking its time to time out, must not keep mail from the living. */
static const struct list *open_ring(const struct queue *q)
{
    bool probe = !list_empty(&q->probe) && q->probing < (q->config.conns_total_max + 3) / 4;
    if (probe && (q->probe_turn || list_empty(&q->open)))
        return &q->probe;
    return list_empty(&q->open) ? NULL : &q->open;
}

bool queue_conn_wanted(const struct queue *q)
{
    return open_ring(q) != NULL && (q->conns < q->config.conns_total_max || q->nidle > 0);
}

bool queue_conn_to_close(struct queue *q, struct queue_action *out)
{
    struct queue_conn *conn;
    struct list *link = list_pop_front(&q->closing);
    if (link != NULL) {
        conn = LIST_ITEM(link, struct queue_conn, lru);
    } else {
        /* a place is needed, and an idle connection has one */
        if (q->conns < q->config.conns_total_max || list_empty(&q->idle_lru) || open_ring(q) == NULL)
            return false;
        conn = LIST_ITEM(list_first(&q->idle_lru), struct queue_conn, lru);
        conn_unidle(q, conn);
        conn_closing(conn);
    }
    *out = (struct queue_action){ .kind = QUEUE_ACTION_CLOSE_CONNECTION, .site = conn->site, .conn = conn };
    return true;
}

bool queue_conn_to_use(struct queue *q, struct queue_action *out)
{
    if (list_empty(&q->use))
        return false;
    struct queue_site *site = LIST_ITEM(list_first(&q->use), struct queue_site, use);
    struct queue_conn *conn = LIST_ITEM(list_first(&site->idle_conns), struct queue_conn, link);
    bool surplus = site_surplus(q, site);
    conn_unidle(q, conn);
    if (surplus) {
        conn_closing(conn);
    } else {
        conn->state = CONN_TAKING;
        site->taking++;
    }
    list_remove(&site->use); /* to the end, if it wants another */
    queue_site_update(q, site);
    *out =
        (struct queue_action){ .kind = surplus ? QUEUE_ACTION_CLOSE_CONNECTION : QUEUE_ACTION_USE_CONNECTION,
                               .site = site,
                               .conn = conn };
    return true;
}

bool queue_conn_to_open(struct queue *q, struct queue_action *out)
{
    const struct list *ring = open_ring(q);
    if (ring == NULL || q->conns >= q->config.conns_total_max)
        return false;
    struct queue_site *site = LIST_ITEM(list_first(ring), struct queue_site, open);
    q->probe_turn = ring == &q->open;
    site->probing = ring == &q->probe;
    q->probing += site->probing;
    site->opening++;
    site->unbound++;
    q->opening++;
    q->conns++;
    list_remove(&site->open);
    queue_site_update(q, site);
    *out = (struct queue_action){ .kind = QUEUE_ACTION_OPEN_CONNECTION, .site = site };
    return true;
}
