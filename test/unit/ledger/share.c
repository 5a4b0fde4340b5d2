/* Without faults, how much of a limit can be used: from an empty window at least 99 % of it, by one node
 * alone as by all of them together, whatever size messages have and however often clients change their minds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hold.h"

#include <stdio.h>

#define N 200
#define CLIENTS 12

static const struct policy_limit limits[] = {
    { "hour", COMMAND_SCOPE_ACCOUNT, 7, N, 3600000 },
    { "day", COMMAND_SCOPE_ACCOUNT, 7, N, 86400000 },
};

static struct world w;

struct client {
    struct held x;
    bool busy;
    uint32_t node, left;
    int64_t dot_ns;
};

struct load {
    uint32_t nodes, rcpts; /* at most so many per message */
    uint32_t reset_percent, data_ms;
};

static void client_end(struct client *c)
{
    held_end(&c->x, c->node);
    c->busy = false;
}

static uint32_t client_step(struct client *c, uint32_t i, const struct load *load)
{
    if (!c->busy) {
        c->node = i % load->nodes;
        c->left = 1 + (uint32_t)world_random(load->rcpts);
        c->dot_ns = 0;
        c->busy = held_begin(&c->x, c->node, (i / load->nodes) % WORLD_WORKERS, "anna", "t") == 0;
    }
    if (c->x.h.asked > 0)
        return 0;
    world_at(c->node);
    if (c->x.answers > 0 && c->x.answer == LEDGER_NO) {
        client_end(c);
        return 0;
    }
    c->x.answers = 0;
    if (c->left > 0) {
        c->left--;
        if (ledger_reserve(&c->x.h, 1) == LEDGER_NO)
            client_end(c);
        return 0;
    }
    if (c->dot_ns == 0)
        c->dot_ns = w.real_ns + (int64_t)world_random(load->data_ms + 1) * MS;
    if (w.real_ns < c->dot_ns)
        return 0;
    uint32_t spent = 0;
    if (world_random(100) >= load->reset_percent) {
        enum ledger_answer ready = ledger_ready(&c->x.h);
        if (ready == LEDGER_WAIT)
            return 0;
        if (ready == LEDGER_YES) {
            spent = c->x.h.reserved;
            ledger_spend(&c->x.h);
        }
    }
    client_end(c);
    return spent;
}

static uint32_t run(const struct load *load, uint64_t seed, int64_t seconds)
{
    static struct client clients[CLIENTS];
    memset(clients, 0, sizeof clients);
    w.seed = seed;
    world_begin(&w, 3, limits, 2, true);
    w.delay_min_ns = MS / 2;
    w.delay_max_ns = 3 * MS;
    for (uint32_t i = 0; i < 3; i++)
        w.nodes[i].apply_ns = 2 * MS;
    uint32_t admitted = 0;
    for (int64_t at = 0; at < seconds * 1000; at += 10) {
        world_advance(10, 2);
        for (uint32_t i = 0; i < CLIENTS; i++)
            admitted += client_step(&clients[i], i, load);
    }
    for (uint32_t i = 0; i < CLIENTS; i++)
        if (clients[i].busy)
            client_end(&clients[i]);
    uint32_t commands = w.seen[COMMAND_GRANT];
    world_end(&w);
    printf("%u nodes, messages of 1 to %u, %u %% reset, DATA up to %u ms: %u of %u admitted, %u requests\n",
           load->nodes, load->rcpts, load->reset_percent, load->data_ms, admitted, N, commands);
    assert_true(admitted <= N);
    return admitted;
}

/* A busy sender does not notice that there is no leader for almost two seconds. */
static void test_busy_without_leader(void **state)
{
    (void)state;
    static const struct policy_limit far[] = { { "hour", COMMAND_SCOPE_ACCOUNT, 7, 1000000, 3600000 } };
    world_begin(&w, 3, far, 1, true);
    for (int i = 0; i < 3000; i++) { /* 500 a second, for six seconds */
        assert_true(held_send(0, 0, "anna", "t", 1));
        world_advance(2, 2);
    }
    world_leader_lost();
    for (int i = 0; i < 900; i++) {
        assert_true(held_send(0, 0, "anna", "t", 1));
        world_advance(2, 2);
    }
    world_leader_found();
    world_advance(1000, 10);
    assert_true(held_send(0, 0, "anna", "t", 1));
    world_end(&w);
}

static void test_share(void **state)
{
    (void)state;
    static const struct load loads[] = {
        { 1, 1, 0, 0 },   { 3, 1, 0, 0 },    { 1, 1, 20, 100 },  { 3, 1, 20, 100 },
        { 3, 1, 0, 500 }, { 3, 3, 20, 100 }, { 2, 2, 50, 1000 },
    };
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++)
        for (uint64_t seed = 1; seed <= 2; seed++)
            assert_in_range(run(&loads[i], seed, 150), N * 99 / 100, N);
}

/* Hammering a sender that has nothing left costs the log next to nothing. */
static void test_hammering(void **state)
{
    (void)state;
    w.seed = 1;
    world_begin(&w, 3, limits, 2, true);
    for (uint32_t i = 0; i < N; i++)
        assert_true(held_send(i % 3, i % 2, "anna", "t", 1));
    world_advance(90000, 20);
    for (uint32_t i = 0; i < 6; i++)
        assert_false(held_send(i % 3, i / 3, "anna", "t", 1));
    world_advance(1000, 20);
    for (uint32_t i = 0; i < 6; i++)
        assert_false(held_send(i % 3, i / 3, "anna", "t", 1));
    uint32_t grants = w.seen[COMMAND_GRANT], returns = w.seen[COMMAND_RETURN];
    for (uint32_t i = 0; i < 60000; i++) {
        assert_false(held_send(i % 3, i % 2, "anna", "t", 1));
        if (i % 100 == 0)
            world_advance(100, 20);
    }
    assert_int_equal(w.seen[COMMAND_GRANT], grants);
    assert_int_equal(w.seen[COMMAND_RETURN], returns);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_share),
                                        cmocka_unit_test(test_busy_without_leader),
                                        cmocka_unit_test(test_hammering) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
