/* A machine that was built wrong on purpose (test/mutants): the judge of the simulation must catch it.
 */
#include "test/unit/machine/fixture.h"
#include "test/unit/machine/sim.h"

#include <stdio.h>

#define SEEDS 300

static void the_mutant_is_caught(void **state)
{
    (void)state;
    struct sim_result r = { 0 };
    uint64_t seed = 0;
    while (seed < SEEDS && r.over == 0)
        sim_run(++seed, SIM_RIGHT, &r);
    printf("caught by seed %llu\n", (unsigned long long)seed);
    assert_true(r.over > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_mutant_is_caught) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
