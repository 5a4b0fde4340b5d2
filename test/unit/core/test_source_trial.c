/* Addresses that come back from a rest: a few messages, then more; again a rest, and a longer one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/core/source_trial.h"

#include <stdio.h>
#include <string.h>

#define KEY SPAN_LIT("news/google")
#define OTHER SPAN_LIT("google")

static const struct reputation_rest rules = { .enabled = true, .refused_pct = 50, .first = 4 };
static const struct ip_addr ip = { .family = 4, .bytes = { 192, 0, 2, 1 } };

static int setup(void **state)
{
    *state = source_trials_new();
    return *state == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    source_trials_free(*state);
    return 0;
}

static bool take(struct source_trials *t, int64_t now, bool *counts)
{
    return source_trial_take(t, KEY, &ip, now, counts);
}

/* Takes n, and says of all the same. */
static enum source_trial_verdict step(struct source_trials *t, uint32_t n, enum source_trial_outcome outcome)
{
    enum source_trial_verdict v = SOURCE_TRIAL_GOES_ON;
    bool counts;
    for (uint32_t i = 0; i < n; i++) {
        assert_false(source_trial_limited(t, KEY, &ip, 1000));
        assert_true(take(t, 1000, &counts));
        assert_true(counts);
    }
    assert_true(source_trial_limited(t, KEY, &ip, 1000));
    assert_false(take(t, 1000, &counts));
    assert_false(counts);
    for (uint32_t i = 0; i < n && v == SOURCE_TRIAL_GOES_ON; i++)
        v = source_trial_result(t, KEY, &ip, outcome, &rules);
    return v;
}

static void steps(void **state)
{
    struct source_trials *t = *state;
    bool counts;
    assert_true(take(t, 0, &counts)); /* it never rested */
    assert_false(counts);
    source_trial_rest(t, KEY, &ip, 4, 1000);
    assert_false(source_trial_limited(t, KEY, &ip, 999)); /* the hold says that it rests */
    assert_false(source_trial_limited(t, OTHER, &ip, 1000));
    assert_int_equal(step(t, 4, SOURCE_TRIAL_GOOD), SOURCE_TRIAL_GOES_ON);
    assert_int_equal(step(t, 16, SOURCE_TRIAL_GOOD), SOURCE_TRIAL_GOES_ON);
    assert_int_equal(step(t, 64, SOURCE_TRIAL_GOOD), SOURCE_TRIAL_PASSED);
    assert_int_equal(source_trials_count(t), 0);
    assert_true(take(t, 1001, &counts));
    assert_false(counts);
    assert_int_equal(source_trial_longer(t, KEY, &ip), 1);
}

static void refused_again(void **state)
{
    struct source_trials *t = *state;
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(source_trial_longer(t, KEY, &ip), i < 3 ? 1u << i : 8u);
        source_trial_rest(t, KEY, &ip, 4, 1000);
        /* half of them is enough, whatever the others say */
        assert_int_equal(step(t, 4, SOURCE_TRIAL_BAD), SOURCE_TRIAL_FAILED);
    }
    /* what comes late of the failed step counts for nothing */
    assert_int_equal(source_trial_result(t, KEY, &ip, SOURCE_TRIAL_BAD, &rules), SOURCE_TRIAL_GOES_ON);
    /* nothing is known of it: the same again */
    assert_int_equal(step(t, 4, SOURCE_TRIAL_NEITHER), SOURCE_TRIAL_GOES_ON);
    bool counts;
    for (int i = 0; i < 4; i++)
        assert_true(take(t, 1000, &counts));
    assert_int_equal(source_trial_result(t, KEY, &ip, SOURCE_TRIAL_BAD, &rules), SOURCE_TRIAL_GOES_ON);
    for (int i = 0; i < 3; i++)
        assert_int_equal(source_trial_result(t, KEY, &ip, SOURCE_TRIAL_GOOD, &rules), SOURCE_TRIAL_GOES_ON);
    assert_int_equal(step(t, 16, SOURCE_TRIAL_GOOD), SOURCE_TRIAL_GOES_ON); /* one of four was well enough */
    source_trial_end(t, KEY, NULL);
    assert_int_equal(source_trials_count(t), 0);
}

static void given_back_and_lost(void **state)
{
    struct source_trials *t = *state;
    bool counts;
    source_trial_rest(t, KEY, &ip, 1, 1000);
    assert_true(take(t, 1000, &counts));
    assert_true(source_trial_limited(t, KEY, &ip, 1000));
    source_trial_untake(t, KEY, &ip);
    assert_false(source_trial_limited(t, KEY, &ip, 1000));
    assert_true(take(t, 1000, &counts));
    /* nothing was ever heard of it */
    assert_true(source_trial_limited(t, KEY, &ip, 1000 + 899999));
    assert_false(source_trial_limited(t, KEY, &ip, 1000 + 900000));
    /* nobody sends from there any more: another address's message finds it */
    struct ip_addr b = ip;
    b.bytes[3] = 2;
    assert_false(source_trial_limited(t, KEY, &b, 1000 + 86400000 + 1));
    assert_int_equal(source_trials_count(t), 0);
}

static void bounded(void **state)
{
    struct source_trials *t = *state;
    char key[32];
    for (int i = 0; i < SOURCE_TRIALS_MAX + 10; i++) {
        snprintf(key, sizeof key, "news/%d", i);
        source_trial_rest(t, span_str(key), &ip, 1, 1000);
    }
    assert_int_equal(source_trials_count(t), SOURCE_TRIALS_MAX);
    source_trial_end(t, SPAN_LIT("news/1033"), &ip);
    source_trial_end(t, SPAN_LIT("news/1"), &ip);
    assert_int_equal(source_trials_count(t), SOURCE_TRIALS_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(steps, setup, teardown),
        cmocka_unit_test_setup_teardown(refused_again, setup, teardown),
        cmocka_unit_test_setup_teardown(given_back_and_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(bounded, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
