/* Senders' standing: bounds, and that nobody moves to and fro. */
#include "node/bounce/reputation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct reputation_rules rules = { .minimum = 100,
                                               .good_bounces = 10,
                                               .good_complaints = 1,
                                               .poor_bounces = 100,
                                               .poor_complaints = 5,
                                               .hold_ms = 1000 };

static enum reputation_tier fresh(uint64_t delivered, uint64_t bounced, uint64_t complaints)
{
    return reputation_next(&rules, &(struct reputation_counts){ delivered, bounced, complaints }, false,
                           REPUTATION_NEUTRAL, 0);
}

static enum reputation_tier from(enum reputation_tier tier, uint64_t since_ms, uint64_t delivered,
                                 uint64_t bounced)
{
    return reputation_next(&rules, &(struct reputation_counts){ delivered, bounced, 0 }, true, tier,
                           since_ms);
}

static void bounds(void **state)
{
    (void)state;
    assert_int_equal(fresh(0, 0, 0), REPUTATION_NEUTRAL);
    assert_int_equal(fresh(0, 99, 0), REPUTATION_NEUTRAL); /* too little to tell */
    assert_int_equal(fresh(0, 100, 0), REPUTATION_POOR);
    assert_int_equal(fresh(100, 0, 0), REPUTATION_GOOD);
    assert_int_equal(fresh(990, 10, 0), REPUTATION_GOOD);
    assert_int_equal(fresh(989, 11, 0), REPUTATION_NEUTRAL);
    assert_int_equal(fresh(900, 100, 0), REPUTATION_NEUTRAL);
    assert_int_equal(fresh(899, 101, 0), REPUTATION_POOR);
    assert_int_equal(fresh(1000, 0, 1), REPUTATION_GOOD);
    assert_int_equal(fresh(1000, 0, 2), REPUTATION_NEUTRAL);
    assert_int_equal(fresh(1000, 0, 5), REPUTATION_NEUTRAL);
    assert_int_equal(fresh(1000, 0, 6), REPUTATION_POOR);
    assert_int_equal(fresh(50, 50, 1000), REPUTATION_POOR);
}

static void worse_at_once_better_later(void **state)
{
    (void)state;
    assert_int_equal(from(REPUTATION_GOOD, 0, 500, 500), REPUTATION_POOR);
    assert_int_equal(from(REPUTATION_GOOD, 0, 950, 50), REPUTATION_NEUTRAL);
    assert_int_equal(from(REPUTATION_POOR, 999, 1000, 0), REPUTATION_POOR);
    assert_int_equal(from(REPUTATION_POOR, 1000, 1000, 0), REPUTATION_GOOD);
    assert_int_equal(from(REPUTATION_NEUTRAL, 999, 1000, 0), REPUTATION_NEUTRAL);
    assert_int_equal(from(REPUTATION_NEUTRAL, 0, 500, 500), REPUTATION_POOR);
    /* little mail: nothing at once, neutral later */
    assert_int_equal(from(REPUTATION_GOOD, 999, 10, 10), REPUTATION_GOOD);
    assert_int_equal(from(REPUTATION_GOOD, 1000, 10, 10), REPUTATION_NEUTRAL);
    assert_int_equal(from(REPUTATION_POOR, 999, 0, 0), REPUTATION_POOR);
    assert_int_equal(from(REPUTATION_POOR, 1000, 0, 0), REPUTATION_NEUTRAL);
}

static void words(void **state)
{
    (void)state;
    char out[160];
    reputation_words(&(struct reputation_counts){ 880, 120, 2 }, out, sizeof out);
    assert_string_equal(out, "12.0% of 1000 bounced, 0.2% complaints");
    reputation_words(&(struct reputation_counts){ 0 }, out, sizeof out);
    assert_string_equal(out, "0.0% of 0 bounced, 0.0% complaints");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds),
        cmocka_unit_test(worse_at_once_better_later),
        cmocka_unit_test(words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
