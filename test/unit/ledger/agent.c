/* The agent step by step, against the real machine: each rule of agent.h with the interleaving that it
 * closes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agents.h"
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>

static const struct policy_limit short_limit = { "short", COMMAND_SCOPE_ACCOUNT, 7, 10, 100000 };

/* ---- sessions ------------------------------------------------------------------------------------------ */

/* The TTL counts from the first send: an answer after repeats leaves what is left. */
static void test_open_counts_from_first_send(void **state)
{
    (void)state;
    w.hold = true;
    world_advance(2500, 10);
    assert_true(w.seen[COMMAND_SESSION_OPEN] >= 4); /* two nodes, and repeats */
    world_release();
    struct agent_session s = session(0);
    assert_true(s.usable);
    assert_in_range(s.left_ms, 400, 520);
    assert_int_equal(s.renewed_ms, 0);
}

/* One that is answered after its time is over is not usable, but soon renewed. */
static void test_open_answered_too_late(void **state)
{
    (void)state;
    w.hold = true;
    world_advance(3500, 10);
    world_release();
    assert_int_not_equal(session(0).id, 0);
    assert_false(session(0).usable);
    world_advance(60, 10);
    assert_true(session(0).usable);
}

/* Each renewal has its own number and counts from its own first send, however late and in whatever order
 * answered. */
static void test_renewals_have_numbers(void **state)
{
    (void)state;
    world_advance(500, 10);
    w.hold = true;
    uint32_t before = w.seen[COMMAND_SESSION_RENEW];
    world_advance(700, 10); /* the first attempt at about 1000 */
    assert_true(w.seen[COMMAND_SESSION_RENEW] > before);
    int64_t left = session(0).left_ms;
    world_advance(600, 10);
    world_release();
    /* From its first send, 600 ms to 800 ms ago: not from the repeat, nor from now. */
    assert_true(session(0).left_ms > left - 600);
    assert_in_range(session(0).left_ms, 2100, 2450);
    struct machine_session ms;
    assert_true(machine_session_find(w.lead, session(0).id, &ms));
    assert_int_equal(ms.number, 1);
}

/* A session is renewed as long as the cluster answers, and its id stays. */
static void test_renewed(void **state)
{
    (void)state;
    uint64_t id = session(0).id;
    world_advance(20000, 20);
    assert_int_equal(session(0).id, id);
    assert_true(session(0).usable);
    assert_in_range(session(0).left_ms, 1900, 3000);
}

/* Cut off: the node stops before the cluster believes so; later it has another session. */
static void test_stops_before_the_cluster(void **state)
{
    (void)state;
    uint64_t id = session(0).id;
    w.nodes[0].cut = true;
    struct machine_session ms;
    bool stopped = false;
    for (int i = 0; i < 600; i++) {
        world_advance(10, 10);
        world_at(0);
        bool valid = ledger_session_valid(w.nodes[0].workers[0]);
        bool there = machine_session_find(w.lead, id, &ms);
        assert_false(valid && !there);
        stopped = stopped || (!valid && there);
    }
    assert_true(stopped);
    assert_false(machine_session_find(w.lead, id, &ms));
    assert_false(w.nodes[0].usable);
    w.nodes[0].cut = false;
    world_advance(1500, 10);
    assert_true(session(0).usable);
    assert_int_not_equal(session(0).id, id);
}

/* Applied is not obeyed: with a freeze that a worker has not taken in, the session waits. */
static void test_usable_when_published(void **state)
{
    (void)state;
    world_kill(0);
    w.nodes[0].no_publish = true;
    world_start(0);
    struct command freeze = { .type = COMMAND_FREEZE,
                              .freeze = { .by = { .who = SPAN_LIT("test") },
                                          .scope = COMMAND_SCOPE_ACCOUNT,
                                          .name = SPAN_LIT("anna"),
                                          .mode = COMMAND_FREEZE_REJECT } };
    assert_int_equal(world_command(&freeze).err, 0);
    uint64_t frozen_at = w.nentries;
    world_advance(100, 10);
    assert_int_not_equal(session(0).id, 0);
    assert_false(session(0).usable);
    assert_true(agent_published(w.nodes[0].agent) < frozen_at);
    ledger_worker_publish(w.nodes[0].workers[0], w.nodes[0].applied);
    world_advance(40, 10);
    assert_false(session(0).usable); /* the other worker has not */
    world_at(0);
    ledger_worker_publish(w.nodes[0].workers[1], w.nodes[0].applied);
    world_advance(40, 10);
    assert_true(session(0).usable);
    assert_int_equal(agent_published(w.nodes[0].agent), w.nodes[0].applied);
    /* Another freeze: published stands still until both have taken it in; the session goes on. */
    freeze.freeze.name = SPAN_LIT("berta");
    assert_int_equal(world_command(&freeze).err, 0);
    frozen_at = w.nentries;
    world_advance(100, 10);
    assert_true(agent_published(w.nodes[0].agent) < frozen_at);
    assert_true(session(0).usable);
    w.nodes[0].no_publish = false;
    world_advance(40, 10);
    assert_true(agent_published(w.nodes[0].agent) >= frozen_at);
}

/* A freeze that came with a snapshot is obeyed when the workers act on it, too. */
static void test_snapshot_with_a_freeze(void **state)
{
    (void)state;
    w.nodes[0].no_apply = w.nodes[0].no_publish = true;
    struct command freeze = { .type = COMMAND_FREEZE,
                              .freeze = { .by = { .who = SPAN_LIT("test") },
                                          .scope = COMMAND_SCOPE_ACCOUNT,
                                          .name = SPAN_LIT("anna"),
                                          .mode = COMMAND_FREEZE_REJECT } };
    assert_int_equal(world_command(&freeze).err, 0);
    world_install(0);
    world_advance(40, 10);
    assert_true(w.nodes[0].applied == w.nentries);
    assert_true(agent_published(w.nodes[0].agent) < w.nentries);
    world_at(0);
    for (int i = 0; i < WORLD_WORKERS; i++)
        ledger_worker_publish(w.nodes[0].workers[i], w.nodes[0].applied);
    world_advance(40, 10);
    assert_int_equal(agent_published(w.nodes[0].agent), w.nentries);
}

/* A machine that stood still does not trust its session until it is renewed. */
static void test_paused_machine(void **state)
{
    (void)state;
    w.drop = true;
    w.nodes[0].wall_ns += 600 * MS;
    world_advance(40, 10);
    assert_false(session(0).usable);
    assert_false(w.nodes[0].usable);
    world_advance(400, 10);
    assert_false(session(0).usable);
    w.drop = false;
    world_advance(1100, 10);
    assert_true(session(0).usable);
    /* A wall clock that goes back means nothing. */
    w.nodes[0].wall_ns -= 100000 * MS;
    world_advance(40, 10);
    assert_true(session(0).usable);
}

/* ---- tokens -------------------------------------------------------------------------------------------- */

/* A grant's life counts from the first send of its request. */
static void test_grant_life_from_first_send(void **state)
{
    (void)state;
    world_policy(&short_limit, 1); /* life 2 s */
    world_settle();
    struct held x;
    held_begin(&x, 0, 0, "anna", "");
    w.drop = true;
    assert_int_equal(held_reserve(&x, 0, 1), LEDGER_WAIT);
    world_advance(1300, 10);
    w.drop = false;
    world_advance(200, 10); /* a repeat comes through */
    assert_int_equal(x.answers, 1);
    assert_int_equal(x.answer, LEDGER_YES);
    w.hold = true;
    world_advance(550, 10); /* 2.05 s after the first send */
    assert_int_not_equal(held_ready(&x, 0), LEDGER_YES);
    held_end(&x, 0);
    world_release();
}

/* The first command goes at once. What follows closely goes together, but for renewals; a full batch does not
 * wait. */
static void test_gathers(void **state)
{
    (void)state;
    static struct held asked[COMMAND_ENTRY_MAX + 3];
    char name[32];
    world_kill(0);
    w.gather_ms = 2;
    world_start(0);
    world_advance(500, 10);
    uint32_t sends = w.nodes[0].sends;
    for (uint32_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "a%u", i);
        held_begin(&asked[i], 0, 0, name, "");
        assert_int_equal(held_reserve(&asked[i], 0, 1), i == 0 ? LEDGER_YES : LEDGER_WAIT);
    }
    world_advance(1, 1);
    assert_int_equal(w.nodes[0].sends, sends + 1);
    world_advance(1, 1);
    assert_int_equal(w.nodes[0].sends, sends + 2);
    assert_int_equal(asked[1].answers + asked[2].answers, 2);
    for (uint32_t i = 3; i < COMMAND_ENTRY_MAX + 3; i++) {
        snprintf(name, sizeof name, "a%u", i);
        held_begin(&asked[i], 0, 0, name, "");
        (void)held_reserve(&asked[i], 0, 1);
    }
    assert_int_equal(w.nodes[0].sends, sends + 3); /* without time passing */
    for (uint32_t i = 0; i < COMMAND_ENTRY_MAX + 3; i++) {
        assert_int_equal(asked[i].answer, LEDGER_YES);
        held_end(&asked[i], 0);
    }
    /* All the time something is asked for; renewals are not kept waiting, nor is the end of what is gathered.
     */
    uint64_t id = session(0).id;
    for (uint32_t i = 0; i < 4000; i++) {
        struct held x;
        snprintf(name, sizeof name, "b%u", i);
        held_begin(&x, 0, 0, name, "");
        (void)held_reserve(&x, 0, 1);
        world_advance(1, 1);
        held_end(&x, 0);
    }
    assert_int_equal(session(0).id, id);
    assert_true(session(0).usable);
}

/* After its session ended no token is spent; the process settles them by id and nothing is lost. */
static void test_session_end_settles(void **state)
{
    (void)state;
    struct held x, y;
    held_begin(&x, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&x, 0, 40), LEDGER_YES);
    held_begin(&y, 0, 1, "anna", "t");
    assert_int_equal(held_reserve(&y, 0, 7), LEDGER_YES);
    assert_int_equal(held_ready(&y, 0), LEDGER_YES);
    held_spend(&y, 0);
    held_end(&y, 0);
    assert_true(world_usage("hour", "anna", "t") >= 47);
    uint64_t id = session(0).id;
    w.nodes[0].cut = true;
    world_advance(5000, 20);
    assert_int_equal(held_ready(&x, 0), LEDGER_NO);
    assert_int_equal(x.h.refusal.why, LEDGER_WHY_SESSION);
    w.nodes[0].cut = false;
    world_advance(1500, 10);
    assert_int_not_equal(session(0).id, id);
    assert_int_equal(held_ready(&x, 0), LEDGER_WAIT); /* exchanged */
    world_settle();
    assert_int_equal(x.answer, LEDGER_YES);
    held_spend(&x, 0);
    held_end(&x, 0);
    world_advance(80000, 20); /* what was granted beyond is back by then */
    assert_int_equal(world_usage("hour", "anna", "t"), 47);
    assert_int_equal(stats(0).in_hand, 0);
    struct machine_totals t;
    machine_totals(w.lead, &t);
    assert_int_equal(t.burned, 0);
}

/* A new process cannot know what the old one spent: it is burned. */
static void test_new_process_burns(void **state)
{
    (void)state;
    struct held x;
    held_begin(&x, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&x, 0, 40), LEDGER_YES);
    held_end(&x, 0);
    world_kill(0);
    world_start(0);
    world_advance(500, 10);
    assert_true(session(0).usable);
    struct machine_totals t;
    machine_totals(w.lead, &t);
    assert_int_equal(t.burned, 40);
    assert_int_equal(world_usage("hour", "anna", "t"), 40);
}

/* Idle tokens go back before their grant ends, many grants in one command. */
static void test_idle_tokens_return(void **state)
{
    (void)state;
    char name[32];
    for (int i = 0; i < 50; i++) {
        struct held x;
        snprintf(name, sizeof name, "user-%d", i);
        held_begin(&x, 0, (uint32_t)i % 2, name, "");
        assert_int_equal(held_reserve(&x, 0, 3), LEDGER_YES);
        held_end(&x, 0);
    }
    assert_int_equal(stats(0).in_hand, 150);
    uint32_t before = w.seen[COMMAND_RETURN];
    world_advance(75000, 20);
    assert_int_equal(stats(0).in_hand, 0);
    assert_int_equal(stats(0).returned, 150);
    assert_in_range(w.seen[COMMAND_RETURN] - before, 1, 4);
    assert_int_equal(world_usage("hour", "user-7", ""), 0);
    world_advance(15000, 50);
    assert_int_equal(stats(0).senders, 0);
}

/* A first message gets exactly what it needs; a busy sender more. */
static void test_want_grows(void **state)
{
    (void)state;
    assert_true(held_send(0, 0, "anna", "t", 1));
    assert_int_equal(world_usage("hour", "anna", "t"), 1);
    uint32_t grants = w.seen[COMMAND_GRANT];
    for (int i = 0; i < 31; i++)
        assert_true(held_send(0, 0, "anna", "t", 1));
    assert_in_range(w.seen[COMMAND_GRANT] - grants, 2, 12);
}

/* A result may come directly and again with its entry: it counts once. */
static void test_results_come_twice(void **state)
{
    (void)state;
    w.nodes[0].apply_ns = 50 * MS;
    struct held x;
    held_begin(&x, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&x, 0, 5), LEDGER_YES); /* from the leader's word */
    assert_true(w.nodes[0].applied < w.nentries);
    assert_int_equal(stats(0).in_hand, 5);
    world_advance(200, 10);
    assert_int_equal(stats(0).in_hand, 5);
    assert_int_equal(stats(0).grants, 1);
    w.no_told = true;
    assert_int_equal(held_reserve(&x, 0, 5), LEDGER_WAIT);
    world_advance(100, 10); /* from the entry alone */
    assert_int_equal(x.answer, LEDGER_YES);
    assert_int_equal(x.h.reserved, 10);
    held_end(&x, 0);
}

/* A request whose answer is lost and which is repeated is charged once. */
static void test_repeats_count_once(void **state)
{
    (void)state;
    w.nodes[0].no_apply = true;
    w.no_told = true;
    struct held x;
    held_begin(&x, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&x, 0, 5), LEDGER_WAIT);
    world_advance(900, 10);
    assert_true(stats(0).resent >= 2);
    assert_int_equal(world_usage("hour", "anna", "t"), 5);
    w.no_told = false;
    w.nodes[0].no_apply = false;
    world_advance(600, 10);
    assert_int_equal(x.answer, LEDGER_YES);
    assert_int_equal(world_usage("hour", "anna", "t"), 5);
    held_end(&x, 0);
}

/* A request that nobody waits for any more is cancelled; arriving late it charges nothing. */
static void test_abandoned_request_is_cancelled(void **state)
{
    (void)state;
    struct held x;
    held_begin(&x, 0, 0, "anna", "t");
    w.hold = true;
    assert_int_equal(held_reserve(&x, 0, 5), LEDGER_WAIT);
    struct list late; /* the network keeps it for later */
    list_init(&late);
    list_splice(&late, &w.flight);
    w.hold = false;
    w.drop = true;
    held_end(&x, 0);
    /* Nobody waits: the sender's questions are gone at their deadline. */
    for (int i = 0; i < 11; i++) {
        w.drop = false;
        world_lose();
        w.drop = true;
        world_advance(500, 10);
        w.drop = false;
        w.hold = true;
        world_advance(20, 20);
        /* Only renewals come through. */
        LIST_EACH_SAFE(pos, &w.flight)
        {
            struct world_msg *msg = LIST_ITEM(pos, struct world_msg, link);
            struct cursor c;
            struct command cmd;
            cursor_init(&c, msg->bytes, msg->nbytes);
            if (msg->kind != WORLD_COMMANDS || msg->n != 1 || command_decode(&c, &cmd) != 0 ||
                cmd.type != COMMAND_SESSION_RENEW) {
                list_remove(&msg->link);
                free(msg);
            }
        }
        world_release();
        w.drop = true;
        world_advance(500, 10);
    }
    w.drop = false;
    world_advance(1500, 10);
    assert_true(w.seen[COMMAND_CANCEL] >= 1);
    assert_int_equal(stats(0).in_flight, 0);
    uint64_t used = world_usage("hour", "anna", "t");
    list_splice(&w.flight, &late);
    world_advance(100, 10);
    assert_int_equal(world_usage("hour", "anna", "t"), used);
    assert_int_equal(used, 0);
}

/* Two nodes at a tenant's limit: what one holds idle for another account of the tenant is asked back. */
static void test_tenant_recall(void **state)
{
    (void)state;
    struct held x, y;
    held_begin(&x, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&x, 0, 90), LEDGER_YES);
    world_at(0);
    ledger_unreserve(&x.h, 80);
    held_begin(&y, 1, 0, "berta", "t");
    held_reserve(&y, 1, 100);
    world_advance(500, 10);
    assert_int_equal(y.answer, LEDGER_YES);
    assert_int_equal(world_usage("tenant", "anna", "t"), 110);
    held_end(&y, 1);
    held_end(&x, 0);
}

/* Before it leaves: idle tokens go back at once, here and with the workers; a reserved one when it is free.
 */
static void test_settle(void **state)
{
    (void)state;
    struct held x, y;
    held_begin(&x, 0, 0, "anna", "t");
    held_begin(&y, 0, 1, "berta", "t");
    assert_int_equal(held_reserve(&x, 0, 40), LEDGER_YES);
    assert_int_equal(held_reserve(&y, 0, 10), LEDGER_YES);
    held_end(&y, 0);
    world_at(0);
    assert_true(world_usage("tenant", "anna", "t") >= 50);
    assert_false(agent_settle(world->nodes[0].agent));
    world_advance(200, 10);
    assert_int_equal(world_usage("tenant", "anna", "t"), 40);
    world_at(0);
    assert_false(agent_settle(world->nodes[0].agent)); /* a message is between RCPT and its end */
    held_end(&x, 0);
    world_at(0);
    (void)agent_settle(world->nodes[0].agent);
    world_advance(200, 10);
    world_at(0);
    assert_true(agent_settle(world->nodes[0].agent));
    assert_int_equal(world_usage("tenant", "anna", "t"), 0);
    struct machine_totals t;
    machine_totals(world->lead, &t);
    assert_int_equal(t.burned, 0);
}

/* Signs off: nobody has to wait for the session then, and idle tokens are given back. */
static void closed_cb(void *ctx)
{
    ++*(int *)ctx;
}

static void test_close(void **state)
{
    (void)state;
    struct held x;
    held_begin(&x, 0, 0, "anna", "t");
    assert_int_equal(held_reserve(&x, 0, 40), LEDGER_YES);
    held_end(&x, 0);
    uint64_t id = session(0).id;
    int closed = 0;
    for (int i = 0; i < WORLD_WORKERS; i++)
        ledger_worker_close(w.nodes[0].workers[i]);
    world_at(0);
    agent_step(w.nodes[0].agent);
    agent_close(w.nodes[0].agent, closed_cb, &closed);
    for (int i = 0; i < 5 && closed == 0; i++) {
        world_settle();
        world_at(0);
        agent_tick(w.nodes[0].agent);
    }
    assert_int_equal(closed, 1);
    struct machine_session ms;
    assert_false(machine_session_find(w.lead, id, &ms));
    assert_int_equal(world_usage("hour", "anna", "t"), 0);
    for (int i = 0; i < WORLD_WORKERS; i++) {
        ledger_worker_free(w.nodes[0].workers[i]);
        w.nodes[0].workers[i] = NULL;
    }
    agent_free(w.nodes[0].agent);
    w.nodes[0].agent = NULL;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define C(name) cmocka_unit_test_setup_teardown(name, setup_closed, teardown)
    const struct CMUnitTest tests[] = {
        C(test_open_counts_from_first_send),
        C(test_open_answered_too_late),
        T(test_renewals_have_numbers),
        T(test_renewed),
        T(test_stops_before_the_cluster),
        T(test_usable_when_published),
        T(test_snapshot_with_a_freeze),
        T(test_paused_machine),
        T(test_grant_life_from_first_send),
        T(test_gathers),
        T(test_session_end_settles),
        T(test_new_process_burns),
        T(test_idle_tokens_return),
        T(test_want_grows),
        T(test_results_come_twice),
        T(test_repeats_count_once),
        T(test_abandoned_request_is_cancelled),
        T(test_tenant_recall),
        T(test_settle),
        T(test_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
