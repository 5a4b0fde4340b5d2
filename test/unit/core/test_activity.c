/* Counts of the last minute. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/core/activity.h"

#include <stdio.h>
#include <string.h>

struct seen {
    uint32_t keys;
    uint64_t counts[ACTIVITY_COUNTS];
};

static void seen_cb(void *ctx, struct span key, const uint64_t counts[ACTIVITY_COUNTS])
{
    (void)key;
    struct seen *s = ctx;
    s->keys++;
    memcpy(s->counts, counts, sizeof s->counts);
}

static struct seen look(const struct activity *a, int64_t now_ms)
{
    struct seen s = { 0 };
    activity_each(a, now_ms, seen_cb, &s);
    return s;
}

static void test_window_slides(void **state)
{
    (void)state;
    struct activity a;
    activity_init(&a);
    activity_add(&a, 60000, SPAN_LIT("k"), ACTIVITY_RECEIVED, 100);
    assert_int_equal(look(&a, 60000).counts[ACTIVITY_RECEIVED], 100);
    assert_int_equal(look(&a, 119999).counts[ACTIVITY_RECEIVED], 100);
    assert_int_equal(look(&a, 150000).counts[ACTIVITY_RECEIVED], 50);
    assert_int_equal(look(&a, 179999).keys, 0);
    activity_add(&a, 150000, SPAN_LIT("k"), ACTIVITY_RECEIVED, 10);
    assert_int_equal(look(&a, 150000).counts[ACTIVITY_RECEIVED], 60);
    assert_int_equal(look(&a, 150000).counts[ACTIVITY_BOUNCED], 0);
    assert_int_equal(look(&a, 180000).counts[ACTIVITY_RECEIVED], 10);
    assert_int_equal(look(&a, 240000).keys, 0);
    activity_fini(&a);
}

static void test_empty_key_counts_nowhere(void **state)
{
    (void)state;
    struct activity a;
    activity_init(&a);
    activity_add(&a, 60000, SPAN_LIT(""), ACTIVITY_RECEIVED, 1);
    assert_int_equal(look(&a, 60000).keys, 0);
    activity_fini(&a);
}

static void test_table_is_bounded_and_the_quiet_make_room(void **state)
{
    (void)state;
    struct activity a;
    char key[20];
    activity_init(&a);
    for (int i = 0; i < ACTIVITY_KEYS_MAX + 500; i++) {
        int n = snprintf(key, sizeof key, "k%d", i);
        activity_add(&a, 60000, span_of(key, (size_t)n), ACTIVITY_RECEIVED, 1);
    }
    assert_int_equal(look(&a, 60000).keys, ACTIVITY_KEYS_MAX);
    /* busy ones go on while it is full */
    activity_add(&a, 180000, SPAN_LIT("k1"), ACTIVITY_RECEIVED, 7);
    activity_add(&a, 180000, SPAN_LIT("new"), ACTIVITY_RECEIVED, 1);
    assert_int_equal(a.keys.len, 2);
    assert_int_equal(look(&a, 180000).keys, 2);
    activity_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window_slides),
        cmocka_unit_test(test_empty_key_counts_nowhere),
        cmocka_unit_test(test_table_is_bounded_and_the_quiet_make_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
