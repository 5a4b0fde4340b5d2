/* What a node did in the last hour and day: two rings, told the time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/admin/series.h"

#define MIN INT64_C(60000)
#define T0 (INT64_C(30000000) * MIN) /* a whole ten minutes */

static struct series_slot slots[SERIES_SLOTS_MAX];
static int64_t from_ms;

static void look(struct series *s, int64_t at_ms, uint64_t received, uint64_t queued)
{
    struct series_sample sample = { .v = { [SERIES_RECEIVED] = received, [SERIES_QUEUED] = queued } };
    series_add(s, at_ms, &sample);
}

static uint32_t slots_of(struct series *s, enum series_window w, int64_t at_ms)
{
    return series_read(s, w, at_ms, slots, &from_ms);
}

static void test_minutes(void **state)
{
    (void)state;
    struct series *s = series_new();
    assert_int_equal(slots_of(s, SERIES_HOUR, T0), 60);
    for (int i = 0; i < 60; i++)
        assert_false(slots[i].known);
    look(s, T0, 100, 7); /* what came before nobody looked is nobody's minute */
    look(s, T0 + 10000, 103, 8);
    look(s, T0 + MIN, 110, 9);
    look(s, T0 + 3 * MIN, 111, 4); /* a minute without a look */
    assert_int_equal(slots_of(s, SERIES_HOUR, T0 + 3 * MIN), 60);
    assert_int_equal(from_ms, T0 - 56 * MIN);
    assert_false(slots[55].known);
    assert_true(slots[56].known && slots[57].known && !slots[58].known && slots[59].known);
    assert_int_equal(slots[56].v[SERIES_RECEIVED], 3);
    assert_int_equal(slots[56].v[SERIES_QUEUED], 8);
    assert_int_equal(slots[57].v[SERIES_RECEIVED], 7);
    assert_int_equal(slots[59].v[SERIES_RECEIVED], 1);
    assert_int_equal(slots_of(s, SERIES_DAY, T0 + 3 * MIN), 144);
    assert_int_equal(slots[143].v[SERIES_RECEIVED], 11);
    assert_int_equal(slots[143].v[SERIES_QUEUED], 4);
    series_free(s);
}

/* Whatever the clock does: an hour later nothing of it is left; going back takes nothing away. */
static void test_clock(void **state)
{
    (void)state;
    struct series *s = series_new();
    look(s, T0, 0, 1);
    look(s, T0 + MIN, 5, 1);
    look(s, T0 - 30 * MIN, 9, 2); /* back: into the newest */
    slots_of(s, SERIES_HOUR, T0 - 30 * MIN);
    assert_int_equal(slots[59].v[SERIES_RECEIVED], 9);
    slots_of(s, SERIES_HOUR, T0 + 61 * MIN);
    for (int i = 0; i < 60; i++)
        assert_false(slots[i].known);
    slots_of(s, SERIES_HOUR, T0 + 60 * MIN);
    assert_true(slots[0].known);
    look(s, T0 + INT64_C(1000000) * MIN, 10, 3); /* two years ahead */
    slots_of(s, SERIES_HOUR, T0 + INT64_C(1000000) * MIN);
    assert_false(slots[58].known);
    assert_int_equal(slots[59].v[SERIES_RECEIVED], 1);
    look(s, -5, 11, 3);
    series_free(s);
}

/* Around both rings many times: the sum of what is shown is that of the last hour. */
static void test_turns(void **state)
{
    (void)state;
    struct series *s = series_new();
    for (int i = 0; i <= 5000; i++)
        look(s, T0 + i * MIN, (uint64_t)i * 2, (uint64_t)i);
    slots_of(s, SERIES_HOUR, T0 + 5000 * MIN);
    uint64_t sum = 0;
    for (int i = 0; i < 60; i++)
        sum += slots[i].v[SERIES_RECEIVED];
    assert_int_equal(sum, 120);
    slots_of(s, SERIES_DAY, T0 + 5000 * MIN);
    sum = 0;
    for (int i = 0; i < 144; i++)
        sum += slots[i].v[SERIES_RECEIVED];
    assert_int_equal(sum, 2 * 1431);
    assert_string_equal(series_kind_name(SERIES_SESSIONS_OUT), "sessions_out");
    series_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_minutes), cmocka_unit_test(test_clock),
                                        cmocka_unit_test(test_turns) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
