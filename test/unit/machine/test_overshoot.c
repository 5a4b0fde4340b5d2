/* No window ever holds more than its limit: random clusters, counted in real time. */
#include "test/unit/machine/fixture.h"
#include "test/unit/machine/sim.h"

#include <stdio.h>
#include <stdlib.h>

#define SEEDS 200

static uint64_t seeds(void)
{
    const char *n = getenv("MACHINE_SEEDS");
    return n == NULL ? SEEDS : strtoull(n, NULL, 10);
}

static void no_window_holds_more_than_its_limit(void **state)
{
    (void)state;
    struct sim_result all = { 0 };
    for (uint64_t seed = 1; seed <= seeds(); seed++) {
        struct sim_result r;
        sim_run(seed, SIM_RIGHT, &r);
        if (r.over != 0)
            fail_msg("seed %llu: %llu windows over their limit", (unsigned long long)seed,
                     (unsigned long long)r.over);
        if (r.early != 0 || r.late != 0)
            fail_msg("seed %llu: %llu slowings ended early or came again, %llu did not end",
                     (unsigned long long)seed, (unsigned long long)r.early, (unsigned long long)r.late);
        all.spent += r.spent;
        all.grants += r.grants;
        all.refusals += r.refusals;
        all.returns += r.returns;
        all.crashes += r.crashes;
        all.leaders += r.leaders;
        all.snapshots += r.snapshots;
        all.streamed += r.streamed;
        all.slowed += r.slowed;
        all.slowly += r.slowly;
    }
    printf("%llu seeds: %llu spent, %llu grants, %llu refusals, %llu returns, %llu crashes, %llu leaders, "
           "%llu snapshots; %llu of streams, %llu slowed, who spent %llu then\n",
           (unsigned long long)seeds(), (unsigned long long)all.spent, (unsigned long long)all.grants,
           (unsigned long long)all.refusals, (unsigned long long)all.returns, (unsigned long long)all.crashes,
           (unsigned long long)all.leaders, (unsigned long long)all.snapshots,
           (unsigned long long)all.streamed, (unsigned long long)all.slowed, (unsigned long long)all.slowly);
    assert_true(all.refusals > all.grants / 10); /* the limits were reached */
    assert_true(all.snapshots > 0);
    assert_true(all.streamed > all.spent / 20);
    assert_true(all.slowly > all.slowed);
    assert_true(all.crashes > 0);
}

/* The judge sees what he should. */
static void wrong_neighbours_are_caught(void **state)
{
    (void)state;
    static const enum sim_fault faults[] = { SIM_SPENDS_AFTER_LIFE, SIM_TIME_JUMPS };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct sim_result r = { 0 };
        uint64_t seed = 0;
        while (seed < SEEDS && r.over == 0)
            sim_run(++seed, faults[i], &r);
        printf("fault %d: caught by seed %llu\n", (int)faults[i], (unsigned long long)seed);
        assert_true(r.over > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_window_holds_more_than_its_limit),
        cmocka_unit_test(wrong_neighbours_are_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
