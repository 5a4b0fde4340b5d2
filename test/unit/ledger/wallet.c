/* What a worker does with tokens, step by step: reserve, free, spend, exchange, refusals, bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "hold.h"

#include <stdlib.h>

#define HOUR 3600000

static const struct policy_limit ten = { "hour", COMMAND_SCOPE_ACCOUNT, 7, 10, HOUR };

static struct world w;

static int setup(void **state)
{
    (void)state;
    world_begin(&w, 2, &ten, 1, true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_end(&w);
    return 0;
}

static struct ledger_worker_stats stats(uint32_t node, uint32_t worker)
{
    struct ledger_worker_stats st;
    world_at(node);
    ledger_worker_step(w.nodes[node].workers[worker]);
    ledger_worker_stats(w.nodes[node].workers[worker], &st);
    return st;
}

static void test_standalone(void **state)
{
    (void)state;
    struct ledger_worker *lw;
    assert_int_equal(ledger_worker_new(&(struct ledger_worker_config){ 0 }, &lw), 0);
    struct ledger_sender s = { SPAN_LIT("a"), SPAN_LIT(""), 0 };
    struct ledger_hold h;
    assert_int_equal(ledger_hold_init(&h, lw, &s, NULL, NULL), 0);
    assert_int_equal(ledger_reserve(&h, 100000), LEDGER_YES);
    ledger_unreserve(&h, 1);
    assert_int_equal(h.reserved, 99999);
    assert_int_equal(ledger_ready(&h), LEDGER_YES);
    ledger_spend(&h);
    assert_true(ledger_session_valid(lw));
    assert_true(ledger_usable(lw));
    ledger_hold_fini(&h);
    struct ledger_worker_stats st;
    ledger_worker_stats(lw, &st);
    assert_int_equal(st.spent, 99999);
    assert_int_equal(st.senders, 0);
    ledger_worker_close(lw);
    ledger_worker_free(lw);
}

static void test_ten_and_no_more(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        assert_true(held_send(0, (uint32_t)i % 2, "anna", "t", 1));
    struct held x;
    assert_int_equal(held_begin(&x, 0, 0, "anna", "t"), 0);
    assert_int_equal(held_reserve(&x, 0, 1), LEDGER_NO);
    assert_int_equal(x.h.refusal.why, LEDGER_WHY_LIMIT);
    assert_string_equal(x.h.refusal.limit, "hour");
    assert_int_equal(x.h.refusal.count, 10);
    assert_int_equal(x.h.refusal.window_ms, HOUR);
    assert_false(x.h.refusal.tenant);
    assert_true(x.h.refusal.retry_ms > HOUR / 2);
    assert_true(x.h.refusal.retry_ms < HOUR + HOUR / 10);
    held_end(&x, 0);
    assert_true(held_send(0, 0, "berta", "t", 3));
}

static void test_unreserve_gives_back(void **state)
{
    (void)state;
    struct held x, y;
    held_begin(&x, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&x, 0, 4), LEDGER_YES);
    assert_int_equal(held_reserve(&x, 0, 6), LEDGER_YES);
    assert_int_equal(x.h.reserved, 10);
    world_at(0);
    ledger_unreserve(&x.h, 7);
    assert_int_equal(x.h.reserved, 3);
    /* The same worker has them at once, without asking anybody. */
    uint64_t asked = stats(0, 0).asked;
    held_begin(&y, 0, 0, "anna", "t");
    world_at(0);
    assert_int_equal(ledger_reserve(&y.h, 7), LEDGER_YES);
    assert_int_equal(stats(0, 0).asked, asked);
    held_end(&y, 0);
    assert_int_equal(held_ready(&x, 0), LEDGER_YES);
    held_spend(&x, 0);
    held_end(&x, 0);
    assert_int_equal(stats(0, 0).in_hand, 7);
    assert_int_equal(stats(0, 0).spent, 3);
    assert_int_equal(stats(0, 0).freed, 14);
}

/* Tokens that lie idle at one worker serve another before anybody is refused. */
static void test_recall_between_workers(void **state)
{
    (void)state;
    struct held x;
    held_begin(&x, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&x, 0, 10), LEDGER_YES);
    world_at(0);
    ledger_unreserve(&x.h, 8);
    assert_true(held_send(0, 1, "anna", "t", 8));
    assert_false(held_send(0, 1, "anna", "t", 1));
    assert_int_equal(held_ready(&x, 0), LEDGER_YES);
    held_spend(&x, 0);
    held_end(&x, 0);
    struct agent_stats st;
    agent_stats(w.nodes[0].agent, &st);
    assert_true(st.recalls >= 1);
}

/* And at another node. */
static void test_recall_between_nodes(void **state)
{
    (void)state;
    struct held x, y;
    held_begin(&x, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&x, 0, 10), LEDGER_YES);
    world_at(0);
    ledger_unreserve(&x.h, 10);
    held_begin(&y, 1, 1, "anna", "t");
    held_reserve(&y, 1, 10);
    world_advance(400, 10);
    assert_int_equal(y.answers, 1);
    assert_int_equal(y.answer, LEDGER_YES);
    assert_int_equal(held_ready(&y, 1), LEDGER_YES);
    held_spend(&y, 1);
    held_end(&y, 1);
    held_reserve(&x, 0, 1);
    world_advance(400, 10);
    assert_int_equal(x.answer, LEDGER_NO);
    held_end(&x, 0);
    assert_int_equal(world_usage("hour", "anna", "t"), 10);
}

/* A known refusal costs no message and no command, until something ends it. */
static void test_refusal_is_remembered(void **state)
{
    (void)state;
    assert_true(held_send(0, 0, "anna", "t", 10));
    assert_false(held_send(0, 0, "anna", "t", 1));
    assert_false(held_send(0, 1, "anna", "t", 1)); /* the other worker asks the agent once */
    world_advance(1000, 10);
    uint64_t asked = stats(0, 0).asked + stats(0, 1).asked;
    uint32_t grants = w.seen[COMMAND_GRANT];
    for (uint32_t i = 0; i < 1000; i++)
        assert_false(held_send(0, i % 2, "anna", "t", 1 + i % 3));
    assert_int_equal(stats(0, 0).asked + stats(0, 1).asked, asked);
    assert_int_equal(w.seen[COMMAND_GRANT], grants);

    struct command more = { .type = COMMAND_OVERRIDE_SET,
                            .override_set = { .by = { .who = SPAN_LIT("test") },
                                              .scope = COMMAND_SCOPE_ACCOUNT,
                                              .name = SPAN_LIT("anna"),
                                              .limit = SPAN_LIT("hour"),
                                              .count = 12 } };
    struct command account = { .type = COMMAND_ACCOUNT_SET,
                               .account_set = { .by = { .who = SPAN_LIT("test") },
                                                .name = SPAN_LIT("anna"),
                                                .hash = SPAN_LIT("x"),
                                                .upsert = true } };
    assert_int_equal(world_command(&account).err, 0);
    assert_int_equal(world_command(&more).err, 0);
    world_settle();
    assert_true(held_send(0, 0, "anna", "t", 2));
    assert_false(held_send(0, 0, "anna", "t", 1));
}

/* What another node gives back ends a refusal. */
static void test_refund_ends_refusal(void **state)
{
    (void)state;
    struct held x;
    held_begin(&x, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&x, 0, 10), LEDGER_YES); /* reserved: cannot be recalled */
    struct held y;
    held_begin(&y, 1, 0, "anna", "t");
    held_reserve(&y, 1, 1);
    world_advance(400, 10);
    assert_int_equal(y.answer, LEDGER_NO);
    held_end(&x, 0); /* RSET: idle until the grant ends */
    world_advance(80000, 20);
    assert_int_equal(held_reserve(&y, 1, 10), LEDGER_YES);
    held_end(&y, 1);
}

/* A new policy and a thaw end everybody's. */
static void test_policy_and_thaw_end_refusals(void **state)
{
    (void)state;
    struct policy_limit more = ten;
    more.count = 12;
    assert_true(held_send(0, 0, "anna", "t", 10));
    assert_false(held_send(0, 0, "anna", "t", 1));
    world_advance(1000, 10); /* the question is answered */
    world_policy(&more, 1);
    world_settle();
    assert_true(held_send(0, 0, "anna", "t", 1));

    struct command freeze = { .type = COMMAND_FREEZE,
                              .freeze = { .by = { .who = SPAN_LIT("test") },
                                          .scope = COMMAND_SCOPE_ACCOUNT,
                                          .name = SPAN_LIT("berta"),
                                          .mode = COMMAND_FREEZE_REJECT } };
    struct command thaw = { .type = COMMAND_THAW,
                            .thaw = { .by = { .who = SPAN_LIT("test") },
                                      .scope = COMMAND_SCOPE_ACCOUNT,
                                      .name = SPAN_LIT("berta") } };
    assert_int_equal(world_command(&freeze).err, 0);
    world_settle();
    assert_false(held_send(0, 0, "berta", "t", 1));
    world_advance(1000, 10);
    assert_int_equal(world_command(&thaw).err, 0);
    world_settle();
    assert_true(held_send(0, 0, "berta", "t", 1));
}

/* A grant that ended during a slow DATA is exchanged; its own tokens count no more. */
static void test_slow_data(void **state)
{
    (void)state;
    struct held x;
    held_begin(&x, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&x, 0, 10), LEDGER_YES);
    world_advance(90000, 20);
    assert_int_equal(held_ready(&x, 0), LEDGER_WAIT);
    assert_int_equal(x.answers, 1);
    world_settle();
    assert_int_equal(x.answers, 2);
    assert_int_equal(x.answer, LEDGER_YES);
    assert_int_equal(x.h.reserved, 10);
    held_spend(&x, 0);
    held_end(&x, 0);
    assert_true(stats(0, 0).exchanged == 10);
    assert_int_equal(world_usage("hour", "anna", "t"), 10);
}

/* ... or the message is refused when somebody else has them by then. */
static void test_slow_data_too_late(void **state)
{
    (void)state;
    struct held x;
    held_begin(&x, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&x, 0, 10), LEDGER_YES);
    world_advance(90000, 20);
    assert_true(held_send(1, 0, "anna", "t", 1));
    assert_int_equal(held_ready(&x, 0), LEDGER_WAIT);
    world_advance(500, 10);
    assert_int_equal(x.answer, LEDGER_NO);
    assert_int_equal(x.h.refusal.why, LEDGER_WHY_LIMIT);
    held_end(&x, 0);
}

/* The clock is read afresh: nothing has to run for a session or a token to end. */
static void test_fresh_clock(void **state)
{
    (void)state;
    struct held x;
    held_begin(&x, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&x, 0, 2), LEDGER_YES);
    world_at(0);
    assert_true(ledger_session_valid(w.nodes[0].workers[0]));
    assert_true(ledger_usable(w.nodes[0].workers[0]));
    w.nodes[0].boot_ns += 3100 * MS;
    w.nodes[0].wall_ns += 3100 * MS;
    assert_false(ledger_session_valid(w.nodes[0].workers[0]));
    assert_false(ledger_usable(w.nodes[0].workers[0]));
    assert_int_equal(ledger_ready(&x.h), LEDGER_NO);
    assert_int_equal(x.h.refusal.why, LEDGER_WHY_SESSION);
    assert_int_equal(ledger_reserve(&x.h, 1), LEDGER_NO);
    assert_int_equal(x.h.refusal.why, LEDGER_WHY_SESSION);
    held_end(&x, 0);
}

/* A virtual machine stood still: its CLOCK_BOOTTIME too, and only the wall clock tells. */
static void test_paused_machine(void **state)
{
    (void)state;
    struct held x;
    held_begin(&x, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&x, 0, 2), LEDGER_YES);
    struct ledger_worker *lw = world_at(0)->workers[0];
    w.nodes[0].wall_ns += 490 * MS;
    assert_true(ledger_session_valid(lw));
    w.nodes[0].wall_ns += 20 * MS;
    assert_false(ledger_session_valid(lw));
    assert_int_equal(ledger_ready(&x.h), LEDGER_NO);
    world_advance(100, 10);
    world_at(0);
    assert_true(ledger_session_valid(lw)); /* renewed since */
    /* The tokens are of before: they are exchanged. */
    assert_int_equal(ledger_ready(&x.h), LEDGER_WAIT);
    world_settle();
    assert_int_equal(x.answer, LEDGER_YES);
    held_spend(&x, 0);
    held_end(&x, 0);
}

/* A hold that ends while it waits is never answered; what comes for it serves others. */
static void test_late_answer(void **state)
{
    (void)state;
    struct held x;
    held_begin(&x, 0, 0, "anna", "t");
    w.hold = true;
    assert_int_equal(held_reserve(&x, 0, 5), LEDGER_WAIT);
    assert_int_equal(stats(0, 0).waiting, 1);
    held_end(&x, 0);
    world_release();
    assert_int_equal(x.answers, 0);
    assert_int_equal(stats(0, 0).waiting, 0);
    assert_true(held_send(0, 0, "anna", "t", 10));
    assert_false(held_send(0, 0, "anna", "t", 1));
}

static void test_timeout(void **state)
{
    (void)state;
    struct held x;
    held_begin(&x, 0, 0, "anna", "t");
    world_at(0);
    w.loss_permille = 0;
    w.drop = false;
    /* The session stays: renewals come through, the request does not. */
    w.hold = true;
    assert_int_equal(held_reserve(&x, 0, 5), LEDGER_WAIT);
    world_lose();
    w.nodes[0].no_apply = true;
    w.no_told = true;
    world_advance(2000, 10);
    assert_int_equal(x.answers, 0);
    world_advance(2000, 10); /* nothing is heard any more: the session ends, and with it the wait */
    assert_int_equal(x.answers, 1);
    assert_int_equal(x.answer, LEDGER_NO);
    assert_int_equal(x.h.refusal.why, LEDGER_WHY_SESSION);
    held_end(&x, 0);
    w.nodes[0].no_apply = false;
    world_advance(3000, 10);
    assert_true(held_send(0, 0, "anna", "t", 5));
}

/* The agent's thread is stuck: workers answer by themselves. */
static void test_timeout_of_worker(void **state)
{
    (void)state;
    struct ledger_worker *lw;
    struct ledger_worker_config c = { .agent = w.nodes[0].agent, .answer_ms = 500 };
    world_at(0);
    /* The clocks are the world's: taken over from a step of it. */
    struct held probe;
    held_begin(&probe, 0, 0, "anna", "t");
    held_end(&probe, 0);
    c.boot_ns = world_boot_ns;
    c.wall_ms = world_wall_ms;
    assert_int_equal(ledger_worker_new(&c, &lw), 0);
    assert_false(ledger_session_valid(lw)); /* it has published nothing yet */
    ledger_worker_publish(lw, w.nodes[0].applied);
    assert_true(ledger_session_valid(lw));
    struct ledger_sender s = { SPAN_LIT("carl"), SPAN_LIT(""), 0 };
    struct held x = { 0 };
    assert_int_equal(ledger_hold_init(&x.h, lw, &s, held_cb, &x), 0);
    assert_int_equal(ledger_reserve(&x.h, 1), LEDGER_WAIT);
    w.nodes[0].boot_ns += 501 * MS;
    w.nodes[0].wall_ns += 501 * MS;
    ledger_worker_step(lw);
    assert_int_equal(x.answers, 1);
    assert_int_equal(x.answer, LEDGER_NO);
    assert_int_equal(x.h.refusal.why, LEDGER_WHY_TIMEOUT);
    ledger_hold_fini(&x.h);
    ledger_worker_close(lw);
    world_settle(); /* the agent's answer finds nobody */
    ledger_worker_free(lw);
    struct agent_stats st;
    agent_stats(w.nodes[0].agent, &st);
    assert_int_equal(st.in_hand, 1);
}

static void test_bounds(void **state)
{
    (void)state;
    struct ledger_worker *lw;
    struct ledger_worker_config c = { .agent = w.nodes[0].agent,
                                      .boot_ns = world_boot_ns,
                                      .wall_ms = world_wall_ms,
                                      .max_senders = 2,
                                      .max_waiting = 1 };
    world_at(0);
    assert_int_equal(ledger_worker_new(&c, &lw), 0);
    ledger_worker_publish(lw, w.nodes[0].applied);
    const char *names[] = { "a", "b", "c" };
    struct held x[3] = { 0 };
    for (int i = 0; i < 3; i++) {
        struct ledger_sender s = { span_str(names[i]), SPAN_LIT(""), 0 };
        assert_int_equal(ledger_hold_init(&x[i].h, lw, &s, held_cb, &x[i]), i < 2 ? 0 : ERR_LIMIT);
    }
    assert_int_equal(ledger_reserve(&x[0].h, 1), LEDGER_WAIT);
    assert_int_equal(ledger_reserve(&x[1].h, 1), LEDGER_NO);
    assert_int_equal(x[1].h.refusal.why, LEDGER_WHY_BUSY);
    for (int i = 0; i < 3; i++)
        ledger_hold_fini(&x[i].h);
    ledger_worker_close(lw);
    world_settle();
    ledger_worker_free(lw);
}

/* Many holds of one sender wait in order behind one question. */
static void test_waiting_in_order(void **state)
{
    (void)state;
    struct held x[4];
    w.hold = true;
    for (int i = 0; i < 4; i++) {
        held_begin(&x[i], 0, 0, "anna", "t");
        assert_int_equal(held_reserve(&x[i], 0, 4), LEDGER_WAIT);
    }
    assert_int_equal(stats(0, 0).asked, 1);
    world_release();
    world_advance(400, 10);
    assert_int_equal(x[0].answer, LEDGER_YES);
    assert_int_equal(x[1].answer, LEDGER_YES);
    assert_int_equal(x[2].answer, LEDGER_NO);
    assert_int_equal(x[3].answer, LEDGER_NO);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(x[i].answers, 1);
        held_end(&x[i], 0);
    }
}

/* A wait that is cut short by a free token of another transaction. */
static void test_freed_tokens_serve_waiting(void **state)
{
    (void)state;
    struct held x, y;
    held_begin(&x, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&x, 0, 3), LEDGER_YES);
    w.hold = true;
    held_begin(&y, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&y, 0, 2), LEDGER_WAIT);
    held_end(&x, 0);
    assert_int_equal(y.answers, 0); /* never from inside another's call */
    world_settle();
    assert_int_equal(y.answer, LEDGER_YES);
    held_end(&y, 0);
    world_release();
}

/* Late identity: a relay's own hold, and at the end of the headers one more for the sender that they name. */
static void test_late_identity(void **state)
{
    (void)state;
    struct held relay, named;
    held_begin(&relay, 0, 0, "relay", "t");
    for (int i = 0; i < 4; i++)
        assert_int_equal(held_reserve(&relay, 0, 1), LEDGER_YES);
    held_begin(&named, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&named, 0, relay.h.reserved), LEDGER_YES);
    assert_int_equal(held_ready(&relay, 0), LEDGER_YES);
    assert_int_equal(held_ready(&named, 0), LEDGER_YES);
    held_spend(&relay, 0);
    held_spend(&named, 0);
    held_end(&relay, 0);
    held_end(&named, 0);
    assert_int_equal(world_usage("hour", "relay", "t") >= 4, true);
    assert_int_equal(world_usage("hour", "anna", "t"), 4);
    /* The named sender has no more: the relay's tokens are free again. */
    held_begin(&relay, 0, 0, "relay", "t");
    assert_int_equal(held_reserve(&relay, 0, 4), LEDGER_YES);
    held_begin(&named, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&named, 0, 7), LEDGER_NO);
    held_end(&named, 0);
    held_end(&relay, 0);
    assert_true(held_send(0, 0, "relay", "t", 6));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standalone),
        T(test_ten_and_no_more),
        T(test_unreserve_gives_back),
        T(test_recall_between_workers),
        T(test_recall_between_nodes),
        T(test_refusal_is_remembered),
        T(test_refund_ends_refusal),
        T(test_policy_and_thaw_end_refusals),
        T(test_slow_data),
        T(test_slow_data_too_late),
        T(test_fresh_clock),
        T(test_paused_machine),
        T(test_late_answer),
        T(test_timeout),
        T(test_timeout_of_worker),
        T(test_bounds),
        T(test_late_identity),
        T(test_waiting_in_order),
        T(test_freed_tokens_serve_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
