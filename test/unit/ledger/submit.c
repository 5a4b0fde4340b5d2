/* The agent and other people's commands; what a snapshot hides; the window of numbers; bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agents.h"
#include "base/err.h"
#include "consensus/directory.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- other people's commands --------------------------------------------------------------------------- */

struct told {
    int calls, err;
    struct machine_result result;
};

static void told_cb(void *ctx, int err, const struct machine_result *r)
{
    struct told *t = ctx;
    t->calls++;
    t->err = err;
    if (r != NULL)
        t->result = *r;
}

static int submit_tenant(const char *name, int64_t timeout_ms, struct told *t)
{
    struct command cmd = { .type = COMMAND_TENANT_SET,
                           .tenant_set = { .by = { .who = SPAN_LIT("test") }, .name = span_str(name) } };
    int err = agent_submit(world_at(0)->agent, &cmd, timeout_ms, told_cb, t);
    agent_step(w.nodes[0].agent);
    return err;
}

static bool tenant_there(const char *name)
{
    struct directory_tenant t;
    return directory_tenant_find(w.lead, span_str(name), &t);
}

static void test_submit(void **state)
{
    (void)state;
    struct told t = { 0 };
    assert_int_equal(submit_tenant("acme", 5000, &t), 0);
    world_settle();
    assert_int_equal(t.calls, 1);
    assert_int_equal(t.err, 0);
    assert_int_equal(t.result.err, 0);
    assert_true(tenant_there("acme"));
}

/* Lost on the way: cancelled, and its late arrival changes nothing. */
static void test_submit_cancelled(void **state)
{
    (void)state;
    struct told t = { 0 };
    w.hold = true;
    assert_int_equal(submit_tenant("acme", 500, &t), 0);
    struct list late;
    list_init(&late);
    list_splice(&late, &w.flight);
    w.hold = false;
    w.drop = true;
    world_advance(510, 10);
    w.drop = false;
    world_advance(500, 10);
    assert_int_equal(w.seen[COMMAND_CANCEL] >= 1, true);
    assert_int_equal(t.calls, 1);
    assert_int_equal(t.err, ERR_TIMEOUT);
    list_splice(&w.flight, &late);
    world_advance(500, 10);
    assert_false(tenant_there("acme"));
    assert_int_equal(t.calls, 1);
    assert_int_equal(stats(0).in_flight, 0);
}

/* It had happened, only the answer was lost: the cancel finds that, and the caller gets the result. */
static void test_submit_had_happened(void **state)
{
    (void)state;
    struct told t = { 0 };
    w.no_told = true;
    w.nodes[0].no_apply = true;
    assert_int_equal(submit_tenant("acme", 500, &t), 0);
    world_advance(700, 10);
    assert_true(tenant_there("acme"));
    assert_int_equal(t.calls, 0);
    w.no_told = false;
    world_advance(1200, 10);
    assert_int_equal(t.calls, 1);
    assert_int_equal(t.err, 0);
    assert_int_equal(t.result.err, 0);
    w.nodes[0].no_apply = false;
    world_advance(100, 10);
    assert_int_equal(t.calls, 1);
}

/* Nobody leads: it cannot be known. Never sent at all: it did not happen. */
static void test_submit_without_quorum(void **state)
{
    (void)state;
    struct told t = { 0 }, never = { 0 };
    world_leader_lost();
    assert_int_equal(submit_tenant("acme", 500, &t), 0);
    world_advance(1600, 10);
    assert_int_equal(t.calls, 1);
    assert_int_equal(t.err, ERR_CLOSED);
    world_leader_found();
    world_advance(2000, 10);
    assert_int_equal(t.calls, 1);
    assert_false(tenant_there("acme")); /* its cancel, or its session's end, saw to that */

    world_leader_lost();
    world_kill(0);
    world_start(0);
    assert_int_equal(submit_tenant("never", 500, &never), 0);
    world_advance(600, 10);
    assert_int_equal(never.calls, 1);
    assert_int_equal(never.err, ERR_TIMEOUT);
    world_leader_found();
    world_advance(2000, 10);
    assert_false(tenant_there("never"));
}

/* The session ends under a command: in the next one it is made again, once. */
static void test_submit_over_sessions(void **state)
{
    (void)state;
    struct told t = { 0 };
    w.nodes[0].cut = true;
    assert_int_equal(submit_tenant("acme", 20000, &t), 0);
    world_advance(6000, 20);
    w.nodes[0].cut = false;
    world_advance(2000, 10);
    assert_int_equal(t.calls, 1);
    assert_int_equal(t.err, 0);
    assert_true(tenant_there("acme"));
}

/* ---- snapshots: what was answered meanwhile is not seen ------------------------------------------------ */

/* The session is known by its nonce. */
static void test_snapshot_has_our_session(void **state)
{
    (void)state;
    w.nodes[0].no_apply = true;
    w.no_told = true;
    world_advance(300, 10);
    assert_int_equal(session(0).id, 0);
    world_install(0);
    assert_int_not_equal(session(0).id, 0);
    world_advance(20, 10);
    assert_true(session(0).usable);
}

/* While the session lasts, a repeat gets the answer, and is charged once. */
static void test_snapshot_and_repeat(void **state)
{
    (void)state;
    w.nodes[0].no_apply = true;
    w.no_told = true;
    struct held x;
    held_begin(&x, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&x, 0, 5), LEDGER_WAIT);
    world_advance(50, 10);
    world_install(0);
    assert_int_equal(x.answers, 0);
    w.no_told = false;
    w.nodes[0].no_apply = false;
    world_advance(1000, 10);
    assert_int_equal(x.answer, LEDGER_YES);
    assert_int_equal(world_usage("hour", "anna", "t"), 5);
    held_end(&x, 0);
}

/* The session ended behind a snapshot: whether a command was done cannot be told, and it is not done again.
 */
static void test_snapshot_hides_an_answer(void **state)
{
    (void)state;
    struct told t = { 0 };
    w.nodes[0].no_apply = true;
    w.no_told = true;
    assert_int_equal(submit_tenant("acme", 20000, &t), 0);
    world_settle();
    assert_true(tenant_there("acme"));
    w.nodes[0].cut = true;
    world_advance(6000, 20);
    w.nodes[0].cut = false;
    world_install(0);
    assert_int_equal(session(0).id, 0);
    w.no_told = false;
    w.nodes[0].no_apply = false;
    world_advance(2000, 10);
    assert_true(session(0).usable);
    assert_int_equal(t.calls, 1);
    assert_int_equal(t.err, ERR_CLOSED);
}

/* A part of a grant that was given back behind a snapshot is not given back twice. */
static void test_snapshot_hides_a_return(void **state)
{
    (void)state;
    struct held x, y;
    held_begin(&x, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&x, 0, 90), LEDGER_YES);
    world_at(0);
    ledger_unreserve(&x.h, 50);
    /* Another node's need recalls the idle 50; the answer to their return is hidden. */
    held_begin(&y, 1, 0, "anna", "t");
    world_at(1);
    assert_int_equal(ledger_reserve(&y.h, 30), LEDGER_WAIT);
    w.no_told = true;
    w.nodes[0].apply_ns = 5 * MS;
    for (int i = 0; i < 100 && w.seen[COMMAND_RETURN] == 0; i++)
        world_advance(1, 1);
    w.nodes[0].no_apply = true;
    assert_true(w.seen[COMMAND_RETURN] > 0);
    w.nodes[0].cut = true;
    world_advance(6000, 20);
    w.nodes[0].cut = false;
    world_install(0);
    assert_int_equal(session(0).id, 0);
    w.no_told = w.nodes[0].no_apply = false;
    world_advance(3000, 10);
    assert_int_equal(stats(0).burned_local, 50);
    held_end(&x, 0);
    held_end(&y, 1);
    world_advance(80000, 20);
    struct machine_totals totals;
    machine_totals(w.lead, &totals);
    assert_int_equal(totals.charged, totals.refunded + totals.burned + totals.spent_or_held);
    assert_int_equal(stats(0).in_hand, 0);
    assert_int_equal(totals.burned, 0);
    assert_int_equal(world_usage("hour", "anna", "t"), 0);
}

/* Many commands with the first one unanswered: the window is never left, and all are answered in the end. */
static void test_window(void **state)
{
    (void)state;
    static struct told t[1500];
    memset(t, 0, sizeof t);
    w.hold = true;
    char name[32];
    for (int i = 0; i < 1500; i++) {
        snprintf(name, sizeof name, "t%d", i);
        assert_int_equal(submit_tenant(name, 30000, &t[i]), 0);
    }
    world_at(0);
    agent_step(w.nodes[0].agent);
    assert_in_range(w.nodes[0].commands, 900, 1024);
    world_release();
    world_advance(1000, 10);
    for (int i = 0; i < 1500; i++) {
        assert_int_equal(t[i].calls, 1);
        assert_int_equal(t[i].err, 0);
        assert_int_equal(t[i].result.err, 0);
    }
}

static void test_bounded(void **state)
{
    (void)state;
    static struct told t[4096];
    memset(t, 0, sizeof t);
    w.drop = true;
    for (int i = 0; i < 4096; i++)
        assert_int_equal(submit_tenant("x", 100, &t[i]), 0);
    struct told more = { 0 };
    assert_int_equal(submit_tenant("x", 100, &more), ERR_LIMIT);
    struct held x;
    held_begin(&x, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&x, 0, 1), LEDGER_NO);
    assert_int_equal(x.h.refusal.why, LEDGER_WHY_BUSY);
    held_end(&x, 0);
    world_advance(2000, 20);
    for (int i = 0; i < 4096; i++)
        assert_int_equal(t[i].calls, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define C(name) cmocka_unit_test_setup_teardown(name, setup_closed, teardown)
    const struct CMUnitTest tests[] = {
        T(test_submit),
        T(test_submit_cancelled),
        T(test_submit_had_happened),
        T(test_submit_without_quorum),
        T(test_submit_over_sessions),
        C(test_snapshot_has_our_session),
        T(test_snapshot_and_repeat),
        T(test_snapshot_hides_an_answer),
        T(test_snapshot_hides_a_return),
        T(test_window),
        T(test_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
