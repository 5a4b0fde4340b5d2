/* Nodes that talk: messages, questions, health, bounds, rotation, removal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "fixture.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static struct fixture f;

static int setup(void **state)
{
    (void)state;
    fixture_init(&f);
    fixture_start(&f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_fini(&f);
    return 0;
}

static bool has_messages(void *arg)
{
    return f.nodes[1].messages >= *(uint32_t *)arg;
}

static void wait_messages(uint32_t n)
{
    fixture_until(&f, has_messages, &n);
}

static uint64_t expected_number;

static void in_order(struct node *n, uint64_t from, uint16_t type, struct span payload)
{
    (void)n;
    uint64_t number;
    assert_int_equal(from, 1);
    assert_int_equal(type, (uint16_t)expected_number);
    assert_true(payload.n >= sizeof number);
    memcpy(&number, payload.p, sizeof number);
    assert_int_equal(number, expected_number++);
    for (size_t i = sizeof number; i < payload.n; i++)
        assert_int_equal((uint8_t)payload.p[i], (uint8_t)number);
}

static void test_messages_keep_their_order(void **state)
{
    (void)state;
    expected_number = 0;
    f.nodes[1].on_message = in_order;
    static char payload[70000];
    for (uint64_t i = 0; i < 3000; i++) {
        memset(payload, (int)i, sizeof payload);
        memcpy(payload, &i, sizeof i);
        size_t n = i % 50 == 0 ? sizeof payload : sizeof i + i % 100;
        assert_int_equal(gossip_send(f.nodes[0].g, 2, (uint16_t)i, span_of(payload, n)), 0);
    }
    wait_messages(3000);
    assert_int_equal(expected_number, 3000);
    assert_true(node_stats(&f.nodes[0]).sent >= 3000);
    assert_true(node_stats(&f.nodes[1]).received >= 3000);
    assert_int_equal(node_stats(&f.nodes[1]).refused, 0);
}

/* With Nagle's algorithm a message that follows another waits 40 ms for a delayed acknowledgement: a freeze,
 * which is such messages, took them several times. */
static void test_no_message_waits_for_an_acknowledgement(void **state)
{
    (void)state;
    unsigned connections = 0;
    for (int fd = 3; fd < 1024; fd++) {
        struct sockaddr_in peer;
        socklen_t n = sizeof peer;
        if (getpeername(fd, (struct sockaddr *)&peer, &n) != 0 || peer.sin_family != AF_INET)
            continue;
        int on = 0;
        n = sizeof on;
        assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &n), 0);
        assert_int_not_equal(on, 0);
        connections++;
    }
    assert_true(connections >= 2 * 3); /* both ends of three */
}

static void test_both_ways_and_to_all(void **state)
{
    (void)state;
    assert_int_equal(gossip_send(f.nodes[2].g, 2, 9, SPAN_LIT("from the larger id")), 0);
    wait_messages(1);
    assert_int_equal(f.nodes[1].last_from, 3);
    assert_int_equal(f.nodes[1].last_type, 9);
    assert_string_equal((buf_put_char(&f.nodes[1].last, '\0'), f.nodes[1].last.data), "from the larger id");
    assert_int_equal(gossip_send_all(f.nodes[0].g, 5, (struct span){ 0 }), 2);
    wait_messages(2);
    assert_int_equal(f.nodes[1].last.len, 0);
    assert_int_equal(gossip_send(f.nodes[0].g, 9, 1, SPAN_LIT("x")), ERR_NOT_FOUND);
    assert_int_equal(gossip_send(f.nodes[0].g, 1, 1, SPAN_LIT("x")), ERR_NOT_FOUND);
}

static void test_the_longest_message(void **state)
{
    (void)state;
    char *payload = malloc(GOSSIP_MESSAGE_MAX + 1);
    assert_non_null(payload);
    for (size_t i = 0; i <= GOSSIP_MESSAGE_MAX; i++)
        payload[i] = (char)(i * 31);
    assert_int_equal(gossip_send(f.nodes[0].g, 2, 1, span_of(payload, GOSSIP_MESSAGE_MAX + 1)), ERR_LIMIT);
    for (int i = 0; i < 5; i++)
        assert_int_equal(gossip_send(f.nodes[0].g, 2, 1, span_of(payload, GOSSIP_MESSAGE_MAX)), 0);
    wait_messages(5);
    assert_int_equal(f.nodes[1].last.len, GOSSIP_MESSAGE_MAX);
    assert_memory_equal(f.nodes[1].last.data, payload, GOSSIP_MESSAGE_MAX);
    free(payload);
}

static bool state_came(void *arg)
{
    (void)arg;
    return f.nodes[1].heard[1].published == 77 && node_info(&f.nodes[0], 2).rtt_us >= 0;
}

static void test_heartbeats_tell_the_state(void **state)
{
    (void)state;
    f.nodes[0].state.published = 77;
    f.nodes[0].state.node = 99; /* whoever fills it in: it is told as our own */
    fixture_until(&f, state_came, NULL);
    struct gossip_peer_info info = node_info(&f.nodes[1], 1);
    assert_int_equal(info.state.node, 1);
    assert_string_equal(info.state.version, "0.1.0-test");
    assert_string_equal(info.address, f.nodes[0].address);
    assert_in_range(info.heard_ms, 0, 19000);
    assert_in_range(node_info(&f.nodes[0], 2).rtt_us, 0, 19000000);
    assert_int_equal(f.nodes[1].health[1], GOSSIP_ALIVE);
}

/* Questions. */

struct answers {
    uint32_t n, ok, timeouts, closed;
    uint64_t node;
    char last[64];
};

static void on_answer(void *ctx, uint64_t node, int err, struct span answer)
{
    struct answers *a = ctx;
    a->n++;
    a->node = node;
    a->ok += err == 0;
    a->timeouts += err == ERR_TIMEOUT;
    a->closed += err == ERR_CLOSED;
    snprintf(a->last, sizeof a->last, "%.*s", (int)answer.n, answer.p == NULL ? "" : answer.p);
}

struct wants {
    struct answers *a;
    uint32_t n;
};

static bool answered(void *arg)
{
    struct wants *w = arg;
    return w->a->n >= w->n;
}

static struct gossip_request *kept[2 * GOSSIP_REQUESTS_MAX];
static uint32_t nkept;

static void keep(struct node *n, struct gossip_request *r, uint64_t from, uint16_t type, struct span payload)
{
    (void)n, (void)from, (void)type, (void)payload;
    kept[nkept++] = r;
}

static void ignore(struct node *n, struct gossip_request *r, uint64_t from, uint16_t type,
                   struct span payload)
{
    (void)n, (void)from, (void)type, (void)payload;
    gossip_ignore(r);
}

static bool kept_enough(void *arg)
{
    return nkept >= *(uint32_t *)arg;
}

static int ask(uint64_t node, int64_t timeout_ms, struct answers *a)
{
    return gossip_ask(f.nodes[0].g, node, 3, SPAN_LIT("echo this"), timeout_ms, on_answer, a);
}

static void test_questions(void **state)
{
    (void)state;
    struct answers a = { 0 };
    assert_int_equal(ask(2, 10000, &a), 0);
    assert_int_equal(a.n, 0);
    fixture_until(&f, answered, &(struct wants){ &a, 1 });
    assert_int_equal(a.ok, 1);
    assert_int_equal(a.node, 2);
    assert_string_equal(a.last, "echo this");
    assert_int_equal(ask(7, 10000, &a), ERR_NOT_FOUND);

    f.nodes[2].on_request = ignore;
    assert_int_equal(ask(3, 10000, &a), 0);
    fixture_until(&f, answered, &(struct wants){ &a, 2 });
    assert_int_equal(a.closed, 1);
}

static void test_questions_time_out_and_are_bounded(void **state)
{
    (void)state;
    struct answers slow = { 0 }, many = { 0 };
    nkept = 0;
    f.nodes[1].on_request = keep;
    assert_int_equal(ask(2, 30, &slow), 0);
    fixture_until(&f, answered, &(struct wants){ &slow, 1 });
    assert_int_equal(slow.timeouts, 1);
    for (uint32_t i = 0; i < GOSSIP_REQUESTS_MAX; i++)
        assert_int_equal(ask(2, 15000, &many), 0);
    assert_int_equal(ask(2, 15000, &many), ERR_BUSY);
    uint32_t all = GOSSIP_REQUESTS_MAX + 1;
    fixture_until(&f, kept_enough, &all);
    for (uint32_t i = 0; i < nkept; i++) /* the first one comes too late, and changes nothing */
        gossip_answer(kept[i], SPAN_LIT("late"));
    fixture_until(&f, answered, &(struct wants){ &many, GOSSIP_REQUESTS_MAX });
    fixture_run_ms(&f, 20);
    assert_int_equal(many.ok, GOSSIP_REQUESTS_MAX);
    assert_int_equal(slow.n, 1);
    assert_int_equal(many.n, GOSSIP_REQUESTS_MAX);
}

static void test_questions_end_with_the_connection(void **state)
{
    (void)state;
    struct answers a = { 0 };
    nkept = 0;
    f.nodes[1].on_request = keep;
    f.nodes[2].on_request = keep;
    assert_int_equal(ask(2, 15000, &a), 0);
    assert_int_equal(ask(3, 15000, &a), 0);
    uint32_t two = 2;
    fixture_until(&f, kept_enough, &two);
    node_down(&f.nodes[1]);
    fixture_until(&f, answered, &(struct wants){ &a, 1 });
    assert_int_equal(a.closed, 1);
    assert_int_equal(a.node, 2);
    node_down(&f.nodes[0]); /* the other one: at once */
    assert_int_equal(a.closed, 2);
    gossip_answer(kept[0], SPAN_LIT("to nobody")); /* one of them is of a gossip that is gone */
    gossip_ignore(kept[1]);
    assert_int_equal(a.n, 2);
}

/* Health. */

struct look {
    const struct node *n;
    uint64_t id;
    enum gossip_health health;
};

static bool looks(void *arg)
{
    struct look *l = arg;
    return node_sees(l->n, l->id, l->health);
}

static void wait_health(uint64_t of, enum gossip_health health)
{
    for (int i = 0; i < NODES; i++) {
        if (f.nodes[i].self.node != of)
            fixture_until(&f, looks, &(struct look){ &f.nodes[i], of, health });
    }
}

static enum gossip_health history[16];
static uint32_t nhistory;

static void note_health(struct node *n, uint64_t node, enum gossip_health health)
{
    (void)n;
    if (node == 2 && nhistory < 16)
        history[nhistory++] = health;
}

static void test_a_node_that_ends_and_comes_back(void **state)
{
    (void)state;
    nhistory = 0;
    f.nodes[0].on_health = note_health;
    node_down(&f.nodes[1]);
    wait_health(2, GOSSIP_DEAD);
    assert_int_equal(gossip_send(f.nodes[0].g, 2, 1, SPAN_LIT("x")), ERR_CLOSED);
    assert_int_equal(gossip_send_all(f.nodes[0].g, 1, SPAN_LIT("x")), 1);
    assert_int_equal(node_info(&f.nodes[0], 2).rtt_us, -1);
    node_up(&f.nodes[1]);
    node_meet(&f.nodes[1]);
    wait_health(2, GOSSIP_ALIVE);
    assert_int_equal(nhistory, 3);
    assert_int_equal(history[0], GOSSIP_SUSPECT);
    assert_int_equal(history[1], GOSSIP_DEAD);
    assert_int_equal(history[2], GOSSIP_ALIVE);
    assert_int_equal(gossip_send(f.nodes[0].g, 2, 1, SPAN_LIT("x")), 0);
    wait_messages(1);
}

static bool cut(void *arg)
{
    (void)arg;
    return !node_connected(&f.nodes[0], 2);
}

/* It stands still: suspect, then cut off, so that a new connection is tried; then it goes on. */
static void test_a_node_that_stands_still(void **state)
{
    (void)state;
    f.nodes[1].stopped = true;
    wait_health(3, GOSSIP_ALIVE);
    fixture_until(&f, looks, &(struct look){ &f.nodes[0], 2, GOSSIP_SUSPECT });
    fixture_until(&f, cut, NULL);
    assert_true(node_sees(&f.nodes[0], 2, GOSSIP_DEAD));
    f.nodes[1].stopped = false;
    wait_health(2, GOSSIP_ALIVE);
    assert_int_equal(gossip_send(f.nodes[0].g, 2, 1, SPAN_LIT("x")), 0);
    wait_messages(1);
}

/* Bounds. */

static void test_the_queue_is_bounded_by_count(void **state)
{
    (void)state;
    f.nodes[1].stopped = true;
    int err = 0;
    uint32_t sent = 0;
    static char payload[2000];
    while (sent < 200000 && (err = gossip_send(f.nodes[0].g, 2, 1, span_of(payload, sizeof payload))) == 0) {
        sent++;
        if (sent % 64 == 0)
            uv_run(&f.nodes[0].loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(err, ERR_BUSY);
    assert_int_equal(node_info(&f.nodes[0], 2).queued, GOSSIP_QUEUE_MAX);
    assert_int_equal(gossip_send(f.nodes[0].g, 3, 1, SPAN_LIT("others are not concerned")), 0);
    f.nodes[1].stopped = false;
    fixture_until(&f, has_messages, &sent);
    assert_int_equal(f.nodes[1].messages, sent);
}

static void test_the_queue_is_bounded_by_bytes(void **state)
{
    (void)state;
    f.nodes[1].stopped = true;
    char *payload = calloc(1, GOSSIP_MESSAGE_MAX);
    assert_non_null(payload);
    uint32_t sent = 0;
    int err = 0;
    while (sent < 200 && (err = gossip_send(f.nodes[0].g, 2, 1, span_of(payload, GOSSIP_MESSAGE_MAX))) == 0)
        sent++;
    assert_int_equal(err, ERR_BUSY);
    assert_in_range(node_info(&f.nodes[0], 2).queued, 1, GOSSIP_QUEUE_BYTES / GOSSIP_MESSAGE_MAX);
    assert_int_equal(
        gossip_ask(f.nodes[0].g, 2, 1, span_of(payload, GOSSIP_MESSAGE_MAX), 1000, on_answer, NULL),
        ERR_BUSY);
    free(payload);
    f.nodes[1].stopped = false;
    fixture_until(&f, has_messages, &sent);
    assert_int_equal(f.nodes[1].messages, sent);
}

/* Membership and certificates. */

static void test_a_peer_that_is_taken_away(void **state)
{
    (void)state;
    struct answers a = { 0 };
    f.nodes[1].on_request = keep;
    nkept = 0;
    assert_int_equal(ask(2, 15000, &a), 0);
    struct gossip_peer only = { 3, f.nodes[2].address };
    assert_int_equal(gossip_set_peers(f.nodes[0].g, &only, 1), 0);
    assert_int_equal(a.closed, 1);
    assert_int_equal(gossip_send(f.nodes[0].g, 2, 1, SPAN_LIT("x")), ERR_NOT_FOUND);
    fixture_until(&f, looks, &(struct look){ &f.nodes[1], 1, GOSSIP_DEAD });
    assert_int_equal(node_info(&f.nodes[0], 2).node, 0);
    node_meet(&f.nodes[0]);
    wait_health(1, GOSSIP_ALIVE);
    for (uint32_t i = 0; i < nkept; i++)
        gossip_answer(kept[i], SPAN_LIT("x"));
    struct gossip_peer twice[] = { only, only }, nowhere = { 3, NULL };
    assert_int_equal(gossip_set_peers(f.nodes[0].g, twice, 2), ERR_BAD);
    assert_int_equal(gossip_set_peers(f.nodes[0].g, &nowhere, 1), ERR_BAD);
    assert_true(node_connected(&f.nodes[0], 2));
}

static bool apart(void *arg)
{
    (void)arg;
    return !node_connected(&f.nodes[0], 2) && !node_connected(&f.nodes[1], 1);
}

static void test_a_peer_that_is_not_admitted_any_more(void **state)
{
    (void)state;
    f.nodes[1].bar[1] = true;
    gossip_check_peers(f.nodes[1].g);
    assert_false(node_connected(&f.nodes[1], 1));
    assert_true(node_connected(&f.nodes[1], 3));
    assert_int_equal(node_stats(&f.nodes[1]).refused, 1);
    fixture_until(&f, apart, NULL);
    fixture_until(&f, looks, &(struct look){ &f.nodes[1], 1, GOSSIP_DEAD });
    assert_true(node_stats(&f.nodes[1]).refused > 1);
    f.nodes[1].bar[1] = false;
    wait_health(1, GOSSIP_ALIVE);
}

static bool seen_anew(void *arg)
{
    const uint8_t *old = arg;
    return memcmp(f.nodes[1].admitted_sha256[1], old, 32) != 0 &&
           memcmp(f.nodes[0].admitted_sha256[2], old + 32, 32) != 0 && node_connected(&f.nodes[0], 2) &&
           node_connected(&f.nodes[1], 1);
}

static void test_certificates_change_while_it_runs(void **state)
{
    (void)state;
    uint8_t old[64];
    memcpy(old, f.nodes[1].admitted_sha256[1], 32);
    memcpy(old + 32, f.nodes[0].admitted_sha256[2], 32);
    for (int i = 0; i < 2; i++) {
        struct node *n = &f.nodes[i];
        struct buf key = n->leaf.key;
        struct leaf fresh;
        leaf_make(&fresh, &f.ca, &n->self, 60);
        assert_int_equal(gossip_set_certificate(n->g, buf_span(&fresh.certificate), buf_span(&key)), ERR_BAD);
        assert_int_equal(gossip_set_certificate(n->g, buf_span(&fresh.certificate), buf_span(&fresh.key)), 0);
        leaf_fini(&n->leaf);
        n->leaf = fresh;
    }
    assert_true(node_connected(&f.nodes[0], 2)); /* what stands stays */
    assert_int_equal(gossip_send(f.nodes[0].g, 2, 1, SPAN_LIT("x")), 0);
    wait_messages(1);
    struct gossip_peer none = { 0 };
    assert_int_equal(gossip_set_peers(f.nodes[0].g, &none, 0), 0);
    node_meet(&f.nodes[0]);
    fixture_until(&f, seen_anew, old);
    assert_int_equal(node_stats(&f.nodes[0]).refused, 0);
}

static void test_certificates_that_cannot_be_used(void **state)
{
    (void)state;
    struct authority other;
    struct leaf l;
    struct peer p = f.nodes[0].self;
    authority_make(&other);
    leaf_make(&l, &other, &p, 30);
    assert_int_equal(gossip_set_certificate(f.nodes[0].g, buf_span(&l.certificate), buf_span(&l.key)),
                     ERR_DENIED);
    leaf_fini(&l);
    leaf_make(&l, &f.ca, &p, -2);
    assert_int_equal(gossip_set_certificate(f.nodes[0].g, buf_span(&l.certificate), buf_span(&l.key)),
                     ERR_DENIED);
    leaf_fini(&l);
    leaf_make(&l, &f.ca, &f.nodes[1].self, 30);
    assert_int_equal(gossip_set_certificate(f.nodes[0].g, buf_span(&l.certificate), buf_span(&l.key)),
                     ERR_DENIED);
    leaf_fini(&l);
    assert_int_equal(gossip_set_certificate(f.nodes[0].g, SPAN_LIT("no PEM"), SPAN_LIT("")), ERR_BAD);
    authority_fini(&other);
    assert_true(node_connected(&f.nodes[0], 2));
}

static void test_an_address_in_use(void **state)
{
    (void)state;
    struct gossip_ops none = { 0 };
    struct gossip *g;
    struct gossip_config config = { .loop = &f.nodes[0].loop,
                                    .self = f.nodes[0].self,
                                    .listen = f.nodes[1].address,
                                    .certificate = buf_span(&f.nodes[0].leaf.certificate),
                                    .key = buf_span(&f.nodes[0].leaf.key),
                                    .ca = buf_span(&f.ca.pem),
                                    .ops = &none };
    assert_int_equal(gossip_new(&config, &g), -EADDRINUSE);
    config.listen = "not an address";
    assert_true(gossip_new(&config, &g) < 0);
}

/* Names and IPv6 to dial, on a listener of both families. */
static void test_other_addresses(void **state)
{
    (void)state;
    const char *const forms[] = { "localhost", "[::1]" };
    char port[16];
    snprintf(port, sizeof port, "%d", gossip_port(f.nodes[1].g));
    node_down(&f.nodes[1]);
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        snprintf(f.nodes[1].address, sizeof f.nodes[1].address, "[::]:%s", port);
        node_up(&f.nodes[1]);
        snprintf(f.nodes[1].address, sizeof f.nodes[1].address, "%s:%s", forms[i], port);
        node_meet(&f.nodes[0]);
        node_meet(&f.nodes[1]);
        fixture_until(&f, looks, &(struct look){ &f.nodes[0], 2, GOSSIP_ALIVE });
        assert_string_equal(node_info(&f.nodes[0], 2).address, f.nodes[1].address);
        node_down(&f.nodes[1]);
        fixture_until(&f, looks, &(struct look){ &f.nodes[0], 2, GOSSIP_SUSPECT });
    }
}

int main(void)
{
#define NODES_TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        NODES_TEST(test_messages_keep_their_order),
        NODES_TEST(test_no_message_waits_for_an_acknowledgement),
        NODES_TEST(test_both_ways_and_to_all),
        NODES_TEST(test_the_longest_message),
        NODES_TEST(test_heartbeats_tell_the_state),
        NODES_TEST(test_questions),
        NODES_TEST(test_questions_time_out_and_are_bounded),
        NODES_TEST(test_questions_end_with_the_connection),
        NODES_TEST(test_a_node_that_ends_and_comes_back),
        NODES_TEST(test_a_node_that_stands_still),
        NODES_TEST(test_the_queue_is_bounded_by_count),
        NODES_TEST(test_the_queue_is_bounded_by_bytes),
        NODES_TEST(test_a_peer_that_is_taken_away),
        NODES_TEST(test_a_peer_that_is_not_admitted_any_more),
        NODES_TEST(test_certificates_change_while_it_runs),
        NODES_TEST(test_certificates_that_cannot_be_used),
        NODES_TEST(test_an_address_in_use),
        NODES_TEST(test_other_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
