/* Talk between nodes that is not consensus: the table of peers, heartbeats, deadlines, start and end. The
 * cluster thread. */
#include "gossip/gossip.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "gossip/gossip_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { CA_MAX = 1 << 16, HEARTBEAT_MS = 500, SUSPECT_MS = 2000, DEAD_MS = 10000 };

int64_t gossip_now_ms(const struct gossip *g)
{
    return (int64_t)uv_now(g->loop);
}

/* Deadlines: one heap, one timer. */

static void timer_cb(uv_timer_t *timer);

static void arm(struct gossip *g)
{
    struct heap_node *first = heap_first(&g->dues);
    if (first == NULL || g->closing)
        return;
    int64_t in_ms = first->key - gossip_now_ms(g);
    uv_timer_start(&g->timer, timer_cb, in_ms > 0 ? (uint64_t)in_ms : 0, 0);
}

static void timer_cb(uv_timer_t *timer)
{
    struct gossip *g = timer->data;
    int64_t now_ms = gossip_now_ms(g);
    for (struct heap_node *first;
         (first = heap_first(&g->dues)) != NULL && first->key <= now_ms && !g->closing;) {
        struct gossip_due *due = HEAP_ITEM(first, struct gossip_due, node);
        heap_remove(&g->dues, first);
        due->fire(due);
    }
    arm(g);
}

void gossip_due_init(struct gossip_due *due, struct gossip *g, void (*fire)(struct gossip_due *due))
{
    *due = (struct gossip_due){ .g = g, .fire = fire };
}

int gossip_due_set(struct gossip_due *due, int64_t in_ms)
{
    struct gossip *g = due->g;
    gossip_due_clear(due);
    int err = heap_add(&g->dues, &due->node, gossip_now_ms(g) + (in_ms > 0 ? in_ms : 0));
    if (err == 0 && heap_first(&g->dues) == &due->node)
        arm(g);
    return err;
}

void gossip_due_clear(struct gossip_due *due)
{
    heap_remove(&due->g->dues, &due->node);
}

/* Peers. */

struct gossip_node *gossip_find(const struct gossip *g, uint64_t id)
{
    LIST_EACH(link, &g->nodes)
    {
        struct gossip_node *n = LIST_ITEM(link, struct gossip_node, link);
        if (n->id == id)
            return n;
    }
    return NULL;
}

static void retry(struct gossip_due *due)
{
    struct gossip_node *n = HEAP_ITEM(due, struct gossip_node, retry_due);
    if (n->conn != NULL)
        return;
    int err = gossip_conn_dial(n);
    if (err != 0)
        gossip_node_lost(n, err, NULL);
}

/* Doubles each time; a quarter more or less, so that nodes that lost a peer together do not come back
 * together. */
static void retry_later(struct gossip_node *n)
{
    struct gossip *g = n->g;
    if (g->closing || n->id < g->self.node)
        return;
    uint64_t dice = hash_u64((uint64_t)clock_mono_ns() ^ n->id);
    int64_t wait_ms = n->retry_ms * 3 / 4 + (int64_t)(dice % (uint64_t)(n->retry_ms / 2 + 1));
    n->retry_ms = n->retry_ms * 2 < GOSSIP_RETRY_MAX_MS ? n->retry_ms * 2 : GOSSIP_RETRY_MAX_MS;
    if (gossip_due_set(&n->retry_due, wait_ms) != 0)
        log_error("gossip", "out of memory: node %" PRIu64 " is not dialled again", n->id);
}

void gossip_node_lost(struct gossip_node *n, int err, const char *why)
{
    int64_t now_ms = gossip_now_ms(n->g);
    if (why == NULL && err != 0 && (n->logged_ms == 0 || now_ms - n->logged_ms >= GOSSIP_LOG_EVERY_MS)) {
        log_info("gossip", "no connection with node %" PRIu64 " at %s: %s", n->id, n->address, err_text(err));
        n->logged_ms = now_ms;
    }
    n->rtt_us = -1;
    retry_later(n);
}

void gossip_node_opened(struct gossip_node *n, struct gossip_conn *c)
{
    struct gossip_conn *old = n->conn;
    n->conn = c;
    c->peer = n;
    if (old != NULL && old != c) {
        gossip_conn_close(old, ERR_CLOSED, NULL);
        gossip_asks_fail(n->g, c->hs.peer.node);
    }
    if (c->phase == GOSSIP_OPEN)
        gossip_node_tell(c->peer);
}

static void health_changed(struct gossip_node *n)
{
    struct gossip *g = n->g;
    static const char *const words[] = { "never seen", "alive", "suspect", "dead" };
    log_info("gossip", "node %" PRIu64 " is %s", n->id, words[n->pulse.health]);
    g->ops->on_health(g->ctx, n->id, n->pulse.health);
}

void gossip_node_heard(struct gossip_node *n, const struct gossip_state *s)
{
    struct gossip *g = n->g;
    uint64_t id = n->id;
    n->state = *s;
    n->heard_ms = gossip_now_ms(g);
    n->retry_ms = GOSSIP_RETRY_MIN_MS;
    n->logged_ms = 0;
    if (gossip_pulse_heard(&n->pulse, n->heard_ms))
        health_changed(n);
    if (!g->closing && gossip_find(g, id) != NULL)
        g->ops->on_state(g->ctx, s);
}

void gossip_node_echoed(struct gossip_node *n, uint64_t id)
{
    if (n->told_id == 0 || id != n->told_id)
        return;
    n->told_id = 0;
    n->rtt_us = (clock_mono_ns() - (int64_t)id) / 1000;
}

static int own_state(struct gossip *g, struct buf *out)
{
    struct gossip_state s = { 0 };
    g->ops->fill(g->ctx, &s);
    s.node = g->self.node;
    int err = gossip_state_encode(&s, out);
    ensure(err != ERR_BAD); /* a version without its end */
    return err;
}

void gossip_node_tell(struct gossip_node *n)
{
    struct gossip *g = n->g;
    uint64_t id = n->id;
    struct buf state;
    buf_init(&state, 4096);
    int err = own_state(g, &state);
    n = g->closing ? NULL : gossip_find(g, id);
    if (err == 0 && n != NULL && n->conn != NULL && n->conn->phase == GOSSIP_OPEN) {
        n->told_id = (uint64_t)clock_mono_ns();
        gossip_conn_beat(n->conn, n->told_id, buf_span(&state));
    }
    buf_fini(&state);
}

/* The ids of all peers: callbacks may change the list while it is walked. */
static uint32_t all_ids(const struct gossip *g, uint64_t out[GOSSIP_PEERS_MAX])
{
    uint32_t n = 0;
    LIST_EACH(link, &g->nodes)
    out[n++] = LIST_ITEM(link, struct gossip_node, link)->id;
    return n;
}

static void step_health(struct gossip *g)
{
    uint64_t ids[GOSSIP_PEERS_MAX];
    uint32_t count = all_ids(g, ids);
    for (uint32_t i = 0; i < count && !g->closing; i++) {
        struct gossip_node *n = gossip_find(g, ids[i]);
        if (n == NULL || !gossip_pulse_step(&n->pulse, &g->rule, gossip_now_ms(g)))
            continue;
        /* TCP may take minutes to see that a path is gone; a new connection finds another at once. */
        if (n->pulse.health == GOSSIP_DEAD && n->conn != NULL && n->conn->phase == GOSSIP_OPEN)
            gossip_conn_close(n->conn, ERR_TIMEOUT, NULL);
        n = gossip_find(g, ids[i]);
        if (n != NULL && !g->closing)
            health_changed(n);
    }
}

static void heartbeat(struct gossip_due *due)
{
    struct gossip *g = due->g;
    if (gossip_due_set(due, g->heartbeat_ms) != 0) {
        log_error("gossip", "out of memory: heartbeats end");
        return;
    }
    step_health(g);
    uint64_t ids[GOSSIP_PEERS_MAX];
    uint32_t count = all_ids(g, ids);
    for (uint32_t i = 0; i < count && !g->closing; i++) {
        struct gossip_node *n = gossip_find(g, ids[i]);
        if (n != NULL && n->conn != NULL && n->conn->phase == GOSSIP_OPEN)
            gossip_node_tell(n);
    }
}

void gossip_refused(struct gossip *g, const char *who, const char *why)
{
    g->stats.refused++;
    int64_t now_ms = gossip_now_ms(g);
    if (g->refusal_logged_ms != 0 && now_ms - g->refusal_logged_ms < 1000) {
        g->refusals_untold++;
        return;
    }
    if (g->refusals_untold > 0)
        log_warn("gossip", "%u more connections refused", g->refusals_untold);
    g->refusals_untold = 0;
    g->refusal_logged_ms = now_ms;
    log_warn("gossip", "refused %s: %s", who, why);
}

static void node_free(struct gossip_node *n)
{
    gossip_due_clear(&n->retry_due);
    list_remove(&n->link);
    n->g->nnodes--;
    free(n);
}

/* No callback can find it any more when its connection ends. */
static void node_remove(struct gossip_node *n)
{
    struct gossip *g = n->g;
    uint64_t id = n->id;
    struct gossip_conn *c = n->conn;
    n->conn = NULL;
    node_free(n);
    if (c != NULL) {
        c->peer = NULL;
        gossip_conn_close(c, ERR_CLOSED, NULL);
    }
    gossip_asks_fail(g, id);
}

static int node_add(struct gossip *g, const struct gossip_peer *p)
{
    if (g->nnodes >= GOSSIP_PEERS_MAX)
        return ERR_LIMIT;
    struct gossip_node *n = calloc(1, sizeof *n);
    if (n == NULL)
        return -ENOMEM;
    n->g = g;
    n->id = p->node;
    n->heard_ms = n->rtt_us = -1;
    n->retry_ms = GOSSIP_RETRY_MIN_MS;
    snprintf(n->address, sizeof n->address, "%s", p->address);
    gossip_pulse_init(&n->pulse, gossip_now_ms(g));
    gossip_due_init(&n->retry_due, g, retry);
    list_push_back(&g->nodes, &n->link);
    g->nnodes++;
    if (n->id < g->self.node)
        return 0;
    return gossip_due_set(&n->retry_due, 0);
}

static int check_peers(const struct gossip *g, const struct gossip_peer *peers, uint32_t n)
{
    if (n > GOSSIP_PEERS_MAX + 1)
        return ERR_LIMIT;
    uint32_t others = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (peers[i].node == 0 || peers[i].address == NULL ||
            strlen(peers[i].address) >= sizeof((struct gossip_node *)0)->address)
            return ERR_BAD;
        for (uint32_t k = 0; k < i; k++) {
            if (peers[k].node == peers[i].node)
                return ERR_BAD;
        }
        others += peers[i].node != g->self.node;
    }
    return others > GOSSIP_PEERS_MAX ? ERR_LIMIT : 0;
}

static const struct gossip_peer *among(const struct gossip_peer *peers, uint32_t n, uint64_t id)
{
    for (uint32_t i = 0; i < n; i++) {
        if (peers[i].node == id)
            return &peers[i];
    }
    return NULL;
}

int gossip_set_peers(struct gossip *g, const struct gossip_peer *peers, uint32_t n)
{
    int err = g->closing ? ERR_CLOSED : check_peers(g, peers, n);
    if (err != 0)
        return err;
    uint64_t ids[GOSSIP_PEERS_MAX];
    uint32_t count = all_ids(g, ids);
    for (uint32_t i = 0; i < count; i++) {
        struct gossip_node *known = gossip_find(g, ids[i]);
        if (known != NULL && among(peers, n, ids[i]) == NULL)
            node_remove(known);
    }
    for (uint32_t i = 0; i < n && err == 0 && !g->closing; i++) {
        if (peers[i].node == g->self.node)
            continue;
        struct gossip_node *known = gossip_find(g, peers[i].node);
        if (known == NULL)
            err = node_add(g, &peers[i]);
        else
            snprintf(known->address, sizeof known->address, "%s", peers[i].address);
    }
    return err;
}

void gossip_check_peers(struct gossip *g)
{
    uint64_t ids[GOSSIP_PEERS_MAX];
    uint32_t count = all_ids(g, ids);
    for (uint32_t i = 0; i < count && !g->closing; i++) {
        struct gossip_node *n = gossip_find(g, ids[i]);
        struct gossip_conn *c = n == NULL ? NULL : n->conn;
        if (c != NULL && c->phase == GOSSIP_OPEN && !g->ops->admit(g->ctx, &c->hs.peer, c->hs.sha256))
            gossip_conn_close(c, ERR_DENIED, "its certificate is not admitted any more");
    }
}

int gossip_send(struct gossip *g, uint64_t node, uint16_t type, struct span payload)
{
    struct gossip_node *n = gossip_find(g, node);
    return n == NULL ? ERR_NOT_FOUND : gossip_conn_send(n->conn, GOSSIP_MESSAGE, type, 0, payload);
}

uint32_t gossip_send_all(struct gossip *g, uint16_t type, struct span payload)
{
    uint64_t ids[GOSSIP_PEERS_MAX];
    uint32_t count = all_ids(g, ids), sent = 0;
    for (uint32_t i = 0; i < count; i++)
        sent += gossip_send(g, ids[i], type, payload) == 0;
    return sent;
}

uint32_t gossip_peers(const struct gossip *g, struct gossip_peer_info *out, uint32_t max)
{
    uint32_t n = 0;
    LIST_EACH(link, &g->nodes)
    {
        if (n == max)
            break;
        const struct gossip_node *p = LIST_ITEM(link, struct gossip_node, link);
        struct gossip_peer_info *info = &out[n++];
        *info = (struct gossip_peer_info){ .node = p->id,
                                           .health = p->pulse.health,
                                           .heard_ms = p->heard_ms < 0 ? -1 : gossip_now_ms(g) - p->heard_ms,
                                           .rtt_us = p->rtt_us,
                                           .connected = p->conn != NULL && p->conn->phase == GOSSIP_OPEN,
                                           .queued = p->conn == NULL ? 0 : p->conn->queued,
                                           .state = p->state };
        snprintf(info->address, sizeof info->address, "%s", p->address);
    }
    return n;
}

void gossip_stats(const struct gossip *g, struct gossip_stats *out)
{
    *out = g->stats;
}

int gossip_port(const struct gossip *g)
{
    return gossip_net_port(g->net);
}

/* Start and end. */

int gossip_set_certificate(struct gossip *g, struct span certificate, struct span key)
{
    struct gossip_identity *id;
    const char *why = "";
    int err = gossip_identity_new(&g->self, certificate, key, buf_span(&g->ca), &id, &why);
    if (err == 0) {
        err = gossip_net_set_certificate(g->net, certificate, key, buf_span(&g->ca));
        why = "TLS does not take it";
        if (err != 0)
            gossip_identity_rele(id);
    }
    if (err != 0) {
        log_error("gossip", "the new certificate cannot be used: %s; the old one stays", why);
        return err;
    }
    gossip_identity_rele(g->identity);
    g->identity = id;
    return 0;
}

static void free_parts(struct gossip *g)
{
    if (g->net != NULL)
        gossip_net_free(g->net);
    gossip_identity_rele(g->identity);
    gossip_asks_free(g->asks);
    buf_fini(&g->ca);
    heap_fini(&g->dues);
    free(g);
}

static void set_times(struct gossip *g, const struct gossip_config *config)
{
    g->heartbeat_ms = config->heartbeat_ms > 0 ? config->heartbeat_ms : HEARTBEAT_MS;
    g->rule =
        (struct gossip_health_rule){ .suspect_ms = config->suspect_ms > 0 ? config->suspect_ms : SUSPECT_MS,
                                     .dead_ms = config->dead_ms > 0 ? config->dead_ms : DEAD_MS,
                                     .step_max_ms = 2 * g->heartbeat_ms };
}

int gossip_new(const struct gossip_config *config, struct gossip **out)
{
    struct gossip *g = calloc(1, sizeof *g);
    if (g == NULL)
        return -ENOMEM;
    g->loop = config->loop;
    g->ops = config->ops;
    g->ctx = config->ctx;
    g->self = config->self;
    set_times(g, config);
    heap_init(&g->dues);
    list_init(&g->nodes);
    list_init(&g->conns);
    list_init(&g->asked);
    buf_init(&g->ca, CA_MAX);
    gossip_due_init(&g->heartbeat_due, g, heartbeat);
    const char *why = NULL;
    int err = buf_put_span(&g->ca, config->ca);
    if (err == 0)
        err = gossip_asks_new(&g->asks);
    if (err == 0)
        err = gossip_identity_new(&g->self, config->certificate, config->key, config->ca, &g->identity, &why);
    if (err == 0)
        err = gossip_net_new(config->listen, config->certificate, config->key, config->ca, &g->net);
    if (err == 0)
        err = gossip_net_start(g->net, g->loop, gossip_conn_accept, &gossip_conn_ops, g);
    if (err != 0) {
        log_error("gossip", "cannot listen at %s: %s", config->listen, why != NULL ? why : err_text(err));
        free_parts(g);
        return err;
    }
    uv_timer_init(g->loop, &g->timer);
    g->timer.data = g;
    uv_update_time(g->loop);
    heap_add(&g->dues, &g->heartbeat_due.node, gossip_now_ms(g) + g->heartbeat_ms);
    arm(g);
    *out = g;
    return 0;
}

static void part_closed(struct gossip *g)
{
    if (--g->parts == 0)
        g->closed(g->closed_ctx);
}

static void net_closed(void *ctx)
{
    part_closed(ctx);
}

static void timer_closed_cb(uv_handle_t *handle)
{
    part_closed(handle->data);
}

void gossip_close(struct gossip *g, void (*closed)(void *ctx), void *ctx)
{
    ensure(!g->closing);
    g->closing = true;
    g->closed = closed;
    g->closed_ctx = ctx;
    g->parts = 2;
    LIST_EACH(link, &g->conns)
    gossip_conn_close(LIST_ITEM(link, struct gossip_conn, link), 0, NULL);
    gossip_asks_fail(g, 0);
    gossip_asked_orphan(g);
    while (!list_empty(&g->nodes))
        node_free(LIST_ITEM(list_first(&g->nodes), struct gossip_node, link));
    heap_remove(&g->dues, &g->heartbeat_due.node);
    uv_close((uv_handle_t *)&g->timer, timer_closed_cb);
    gossip_net_close(g->net, net_closed, g);
}

void gossip_free(struct gossip *g)
{
    if (g == NULL)
        return;
    ensure(g->closing && g->parts == 0 && list_empty(&g->conns));
    free_parts(g);
}
