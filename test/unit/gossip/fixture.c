/* Some nodes of one cluster in one process, each with its own loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fixture.h"

#include "base/clock.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>

enum { PATIENCE_MS = 60000 };

static void fill(void *ctx, struct gossip_state *s)
{
    *s = ((struct node *)ctx)->state;
}

static void on_state(void *ctx, const struct gossip_state *s)
{
    struct node *n = ctx;
    assert_in_range(s->node, 1, NODES + 1);
    n->heard[s->node] = *s;
    n->states++;
}

static void on_health(void *ctx, uint64_t node, enum gossip_health health)
{
    struct node *n = ctx;
    n->health[node] = health;
    n->changes++;
    if (n->on_health != NULL)
        n->on_health(n, node, health);
}

static void on_message(void *ctx, uint64_t from, uint16_t type, struct span payload)
{
    struct node *n = ctx;
    n->messages++;
    n->bytes += payload.n;
    if (n->on_message != NULL) {
        n->on_message(n, from, type, payload);
        return;
    }
    n->last_from = from;
    n->last_type = type;
    buf_reset(&n->last);
    assert_int_equal(buf_put_span(&n->last, payload), 0);
}

static void on_request(void *ctx, struct gossip_request *r, uint64_t from, uint16_t type, struct span payload)
{
    struct node *n = ctx;
    n->requests++;
    if (n->on_request != NULL)
        n->on_request(n, r, from, type, payload);
    else
        gossip_answer(r, payload);
}

static bool admit(void *ctx, const struct peer *peer, const uint8_t sha256[32])
{
    struct node *n = ctx;
    assert_in_range(peer->node, 1, NODES + 1);
    memcpy(n->admitted_sha256[peer->node], sha256, 32);
    return !n->bar[peer->node];
}

static const struct gossip_ops ops = { .fill = fill,
                                       .on_state = on_state,
                                       .on_health = on_health,
                                       .on_message = on_message,
                                       .on_request = on_request,
                                       .admit = admit };

void fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    signal(SIGPIPE, SIG_IGN);
    authority_make(&f->ca);
    for (uint64_t i = 0; i < NODES; i++) {
        struct node *n = &f->nodes[i];
        n->f = f;
        n->self = (struct peer){ .cluster = { 7, 7, 7 }, .epoch = 1, .node = i + 1 };
        n->state = (struct gossip_state){ .applied = 100 * i, .version = "0.1.0-test" };
        leaf_make(&n->leaf, &f->ca, &n->self, 30);
        buf_init(&n->last, GOSSIP_MESSAGE_MAX);
        assert_int_equal(uv_loop_init(&n->loop), 0);
    }
}

void fixture_fini(struct fixture *f)
{
    for (int i = 0; i < NODES; i++) {
        struct node *n = &f->nodes[i];
        if (n->g != NULL)
            node_down(n);
        leaf_fini(&n->leaf);
        buf_fini(&n->last);
        assert_int_equal(uv_loop_close(&n->loop), 0);
    }
    authority_fini(&f->ca);
}

void node_up(struct node *n)
{
    struct gossip_config config = { .loop = &n->loop,
                                    .self = n->self,
                                    .listen = n->address[0] == '\0' ? "127.0.0.1:0" : n->address,
                                    .certificate = buf_span(&n->leaf.certificate),
                                    .key = buf_span(&n->leaf.key),
                                    .ca = buf_span(&n->f->ca.pem),
                                    .heartbeat_ms = HEARTBEAT_TEST_MS,
                                    .suspect_ms = 8 * HEARTBEAT_TEST_MS,
                                    .dead_ms = 24 * HEARTBEAT_TEST_MS,
                                    .ops = &ops,
                                    .ctx = n };
    assert_int_equal(gossip_new(&config, &n->g), 0);
    snprintf(n->address, sizeof n->address, "127.0.0.1:%d", gossip_port(n->g));
    n->closed = false;
}

static void closed(void *ctx)
{
    ((struct node *)ctx)->closed = true;
}

static bool is_closed(void *arg)
{
    return ((struct node *)arg)->closed;
}

void node_down(struct node *n)
{
    gossip_close(n->g, closed, n);
    assert_false(n->closed);
    n->stopped = false;
    fixture_until(n->f, is_closed, n);
    gossip_free(n->g);
    n->g = NULL;
}

void node_meet(struct node *n)
{
    struct gossip_peer peers[NODES];
    uint32_t count = 0;
    for (int i = 0; i < NODES; i++) {
        if (n->f->nodes[i].address[0] != '\0')
            peers[count++] = (struct gossip_peer){ n->f->nodes[i].self.node, n->f->nodes[i].address };
    }
    assert_int_equal(gossip_set_peers(n->g, peers, count), 0);
}

static bool all_alive(void *arg)
{
    struct fixture *f = arg;
    for (uint64_t i = 0; i < NODES; i++) {
        for (uint64_t k = 0; k < NODES; k++) {
            if (i != k && !node_sees(&f->nodes[i], k + 1, GOSSIP_ALIVE))
                return false;
        }
    }
    return true;
}

void fixture_start(struct fixture *f)
{
    for (int i = 0; i < NODES; i++)
        node_up(&f->nodes[i]);
    for (int i = 0; i < NODES; i++)
        node_meet(&f->nodes[i]);
    fixture_until(f, all_alive, f);
}

/* One turn of each loop; waits a little when none has anything to do. */
static void turn(struct fixture *f)
{
    struct pollfd fds[NODES];
    nfds_t count = 0;
    int wait_ms = 10;
    for (int i = 0; i < NODES; i++) {
        struct node *n = &f->nodes[i];
        if (n->g == NULL || n->stopped)
            continue;
        uv_run(&n->loop, UV_RUN_NOWAIT);
        int due_ms = uv_backend_timeout(&n->loop);
        if (due_ms >= 0 && due_ms < wait_ms)
            wait_ms = due_ms;
        fds[count++] = (struct pollfd){ .fd = uv_backend_fd(&n->loop), .events = POLLIN };
    }
    poll(fds, count, wait_ms);
}

void fixture_until(struct fixture *f, until_fn *fn, void *arg)
{
    int64_t end_ns = clock_mono_ns() + PATIENCE_MS * 1000000LL;
    while (!fn(arg)) {
        if (clock_mono_ns() > end_ns)
            fail_msg("nothing came within %d ms", PATIENCE_MS);
        turn(f);
    }
}

void fixture_run_ms(struct fixture *f, int64_t ms)
{
    for (int64_t end_ns = clock_mono_ns() + ms * 1000000; clock_mono_ns() < end_ns;)
        turn(f);
}

struct gossip_peer_info node_info(const struct node *n, uint64_t id)
{
    struct gossip_peer_info infos[GOSSIP_PEERS_MAX];
    uint32_t count = n->g == NULL ? 0 : gossip_peers(n->g, infos, GOSSIP_PEERS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        if (infos[i].node == id)
            return infos[i];
    }
    return (struct gossip_peer_info){ 0 };
}

bool node_sees(const struct node *n, uint64_t id, enum gossip_health health)
{
    struct gossip_peer_info info = node_info(n, id);
    return info.node == id && info.health == health;
}

bool node_connected(const struct node *n, uint64_t id)
{
    return node_info(n, id).connected;
}

struct gossip_stats node_stats(const struct node *n)
{
    struct gossip_stats s;
    gossip_stats(n->g, &s);
    return s;
}
