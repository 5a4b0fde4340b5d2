/* The retry schedule: 5, 10, 15, 30 min, 1 h, 2 h, then 4 h, each +-10 %. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/queue/queue.h"

static void steps_and_the_last_repeats(void **state)
{
    (void)state;
    static const int64_t minutes[] = { 5, 10, 15, 30, 60, 120, 240, 240, 240 };
    struct queue_config c;
    queue_config_default(&c);
    c.retry_jitter_pct = 0;
    for (uint32_t i = 0; i < 9; i++)
        assert_int_equal(queue_retry_delay_ms(&c, i + 1, 12345), minutes[i] * 60000);
    assert_int_equal(queue_retry_delay_ms(&c, 0, 0), 5 * 60000);
    assert_int_equal(queue_retry_delay_ms(&c, UINT32_MAX, 0), 240 * 60000);
    assert_int_equal(c.expire_ms, INT64_C(4) * 24 * 3600 * 1000);
    assert_int_equal(c.delay_notice_ms, 4 * 3600 * 1000);
}

static void jitter_covers_its_range_and_no_more(void **state)
{
    (void)state;
    struct queue_config c;
    queue_config_default(&c);
    int64_t low = INT64_MAX, high = 0, sum = 0;
    uint64_t random = 1;
    for (int i = 0; i < 20000; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        int64_t d = queue_retry_delay_ms(&c, 2, random >> 16);
        assert_in_range(d, 540000, 660000);
        low = d < low ? d : low;
        high = d > high ? d : high;
        sum += d;
    }
    assert_in_range(low, 540000, 540200);
    assert_in_range(high, 659800, 660000);
    assert_in_range(sum / 20000, 598000, 602000);
    /* the two ends of the range, exactly */
    assert_int_equal(queue_retry_delay_ms(&c, 2, 0), 540000);
    assert_int_equal(queue_retry_delay_ms(&c, 2, 120000), 660000);
    assert_int_equal(queue_retry_delay_ms(&c, 2, 120001), 540000);
}

static void tiny_delays_survive(void **state)
{
    (void)state;
    struct queue_config c = { .nretry = 1, .retry_ms = { 50 }, .retry_jitter_pct = 10 };
    assert_int_equal(queue_retry_delay_ms(&c, 3, 99), 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_and_the_last_repeats),
        cmocka_unit_test(jitter_covers_its_range_and_no_more),
        cmocka_unit_test(tiny_delays_survive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
