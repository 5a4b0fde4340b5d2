/* How much goes through, and an end in the midst of it. Each node's loop on a thread of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "fixture.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SMALL = 10000, LARGE = 40 };
#else
enum { SMALL = 100000, LARGE = 200 };
#endif

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

/* Node 2 on its own thread, until node 1 has sent `want` messages and they are there. */
struct receiver {
    uv_thread_t thread;
    uint32_t want;
    atomic_bool done;
    atomic_bool stop;
};

static void receive(void *arg)
{
    struct receiver *r = arg;
    while (!atomic_load(&r->stop)) {
        uv_run(&f.nodes[1].loop, UV_RUN_ONCE);
        if (f.nodes[1].messages >= r->want)
            atomic_store(&r->done, true);
    }
}

static void send_all(size_t size, uint32_t count, const char *what)
{
    struct receiver r = { .want = count };
    char *payload = calloc(1, size);
    assert_non_null(payload);
    f.nodes[1].messages = 0;
    int64_t begin_ns = clock_mono_ns();
    assert_int_equal(uv_thread_create(&r.thread, receive, &r), 0);
    uint32_t sent = 0;
    while (!atomic_load(&r.done)) {
        ensure(clock_mono_ns() - begin_ns < 60000000000);
        while (sent < count) {
            int err = gossip_send(f.nodes[0].g, 2, 1, span_of(payload, size));
            ensure(err == 0 || err == ERR_BUSY);
            if (err != 0)
                break;
            sent++;
        }
        uv_run(&f.nodes[0].loop, UV_RUN_ONCE);
    }
    double s = (double)(clock_mono_ns() - begin_ns) / 1e9;
    atomic_store(&r.stop, true); /* its heartbeat wakes the loop */
    assert_int_equal(uv_thread_join(&r.thread), 0);
    assert_true(f.nodes[1].messages >= count);
    assert_int_equal(node_stats(&f.nodes[0]).dropped, 0);
    printf("%s: %u messages of %zu bytes in %.2f s: %.0f messages/s, %.0f MB/s\n", what, count, size, s,
           count / s, (double)count * (double)size / s / 1e6);
    free(payload);
}

static void test_small_messages(void **state)
{
    (void)state;
    send_all(100, SMALL, "small");
}

static void test_large_messages(void **state)
{
    (void)state;
    send_all(GOSSIP_MESSAGE_MAX, LARGE, "large");
}

/* All send to all, large and small, and ask; then all end at once, while everything is under way. */

static uint32_t asked, ended;

static void on_answer(void *ctx, uint64_t node, int err, struct span answer)
{
    (void)ctx, (void)node, (void)err, (void)answer;
    ended++;
}

static void flood(struct node *n)
{
    static char payload[200000];
    for (uint64_t to = 1; to <= NODES; to++) {
        for (size_t k = 0; k < 20; k++)
            (void)gossip_send(n->g, to, 1, span_of(payload, k == 7 ? sizeof payload : 50 * k));
        asked += gossip_ask(n->g, to, 2, span_of(payload, 500), 5000, on_answer, NULL) == 0;
    }
}

static void count_closed(void *ctx)
{
    ++*(int *)ctx;
}

static bool all_closed(void *arg)
{
    return *(int *)arg == NODES;
}

static void test_an_end_under_load(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        asked = ended = 0;
        if (round > 0)
            fixture_start(&f);
        for (int i = 0; i < 3 * round; i++) {
            for (int k = 0; k < NODES; k++) {
                flood(&f.nodes[k]);
                uv_run(&f.nodes[k].loop, UV_RUN_NOWAIT);
            }
        }
        int closed = 0;
        for (int k = 0; k < NODES; k++)
            gossip_close(f.nodes[k].g, count_closed, &closed);
        assert_int_equal(asked, ended);
        fixture_until(&f, all_closed, &closed);
        for (int k = 0; k < NODES; k++) {
            gossip_free(f.nodes[k].g);
            f.nodes[k].g = NULL;
        }
    }
}

/* A node that closes gossip from within its callbacks. */

static int closed_inside;

static void close_inside(struct node *n, uint64_t from, uint16_t type, struct span payload)
{
    (void)from, (void)type, (void)payload;
    if (closed_inside == 0)
        gossip_close(n->g, count_closed, &closed_inside);
    closed_inside = closed_inside == 0 ? -1 : closed_inside;
}

static bool is_closed_inside(void *arg)
{
    return *(int *)arg == 0;
}

static void test_an_end_from_within_a_callback(void **state)
{
    (void)state;
    closed_inside = 0;
    f.nodes[1].on_message = close_inside;
    for (int i = 0; i < 100; i++)
        assert_int_equal(gossip_send(f.nodes[0].g, 2, 1, SPAN_LIT("end")), 0);
    while (f.nodes[1].messages == 0)
        fixture_run_ms(&f, 1);
    fixture_until(&f, is_closed_inside, &closed_inside); /* -1, and one for `closed` */
    assert_int_equal(f.nodes[1].messages, 1);
    gossip_free(f.nodes[1].g);
    f.nodes[1].g = NULL;
}

static void forget_peers_inside(struct node *n, uint64_t from, uint16_t type, struct span payload)
{
    (void)from, (void)type, (void)payload;
    struct gossip_peer none = { 0 };
    assert_int_equal(gossip_set_peers(n->g, &none, 0), 0);
}

static void test_peers_taken_away_from_within_a_callback(void **state)
{
    (void)state;
    f.nodes[1].on_message = forget_peers_inside;
    for (int i = 0; i < 100; i++)
        assert_int_equal(gossip_send(f.nodes[0].g, 2, 1, SPAN_LIT("forget")), 0);
    while (f.nodes[1].messages == 0)
        fixture_run_ms(&f, 1);
    fixture_run_ms(&f, 50);
    assert_int_equal(f.nodes[1].messages, 1);
}

int main(void)
{
#define LOAD_TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        LOAD_TEST(test_small_messages),
        LOAD_TEST(test_large_messages),
        LOAD_TEST(test_an_end_under_load),
        LOAD_TEST(test_an_end_from_within_a_callback),
        LOAD_TEST(test_peers_taken_away_from_within_a_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
