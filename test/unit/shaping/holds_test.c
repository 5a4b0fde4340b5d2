/* What is in force against destinations: what takes whose place, how it ends, bounds, thresholds, what nodes
 * tell each other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/shaping/holds.h"

#include <stdio.h>
#include <stdlib.h>

#define T0 INT64_C(1800000000000)
#define NONE ((struct span){ "", 0 })

static struct shaping_hold hold(const char *key, int kind, const char *source, int64_t until_ms,
                                const char *rule)
{
    return (struct shaping_hold){ .key = span_str(key),
                                  .kind = kind,
                                  .source = span_str(source),
                                  .since_ms = T0,
                                  .until_ms = until_ms,
                                  .rule = span_str(rule),
                                  .reply = SPAN_LIT("421 4.7.0 slower") };
}

static void test_places(void **state)
{
    (void)state;
    struct shaping_holds *h = shaping_holds_new();
    struct shaping_hold a = hold("a", SHAPING_BACKOFF, "", T0 + 1000, "rate");
    assert_true(shaping_hold_put(h, &a, T0));
    assert_false(shaping_hold_put(h, &a, T0)); /* the same again */
    a.until_ms = T0 + 500;
    assert_false(shaping_hold_put(h, &a, T0)); /* shorter */
    a.until_ms = T0 + 2000;
    assert_true(shaping_hold_put(h, &a, T0));
    assert_int_equal(shaping_holds_count(h), 1);
    a.until_ms = T0 + 100;
    a.rule = NONE;
    assert_true(shaping_hold_put(h, &a, T0)); /* an operator's counts even if it is shorter */
    assert_int_equal(shaping_holds_count(h), 1);
    struct shaping_hold s = hold("a", SHAPING_DISABLE_SOURCE, "192.0.2.1", T0 + 9000, "blocked");
    struct shaping_hold s2 = hold("a", SHAPING_DISABLE_SOURCE, "192.0.2.2", T0 + 9000, "blocked");
    assert_true(shaping_hold_put(h, &s, T0));
    assert_true(shaping_hold_put(h, &s2, T0));
    assert_int_equal(shaping_holds_count(h), 3);
    const struct shaping_hold *found =
        shaping_hold_find(h, SPAN_LIT("a"), SHAPING_DISABLE_SOURCE, SPAN_LIT("192.0.2.2"), T0);
    assert_non_null(found);
    assert_true(span_eq(found->rule, SPAN_LIT("blocked")));
    assert_true(span_eq(found->reply, SPAN_LIT("421 4.7.0 slower")));
    assert_null(shaping_hold_find(h, SPAN_LIT("a"), SHAPING_DISABLE_SOURCE, SPAN_LIT("192.0.2.3"), T0));
    assert_null(shaping_hold_find(h, SPAN_LIT("b"), SHAPING_DISABLE_SOURCE, SPAN_LIT("192.0.2.2"), T0));
    assert_null(shaping_hold_find(h, SPAN_LIT("a"), SHAPING_BACKOFF, NONE, T0 + 100)); /* its time is over */
    assert_int_equal(shaping_holds_wake_ms(h), T0 + 100);
    struct shaping_ended ended;
    assert_false(shaping_hold_expire(h, T0 + 99, &ended));
    assert_true(shaping_hold_expire(h, T0 + 100, &ended));
    assert_string_equal(ended.key, "a");
    assert_int_equal(ended.kind, SHAPING_BACKOFF);
    assert_false(shaping_hold_expire(h, T0 + 100, &ended));
    assert_int_equal(shaping_hold_end(h, SPAN_LIT("a"), -1, SPAN_LIT("192.0.2.1")), 1);
    assert_int_equal(shaping_hold_end(h, SPAN_LIT("a"), SHAPING_SUSPEND, NONE), 0);
    assert_int_equal(shaping_hold_end(h, SPAN_LIT("a"), -1, NONE), 1);
    assert_int_equal(shaping_holds_count(h), 0);
    assert_int_equal(shaping_holds_wake_ms(h), INT64_MAX);
    /* What makes no sense. */
    s.source = NONE;
    assert_false(shaping_hold_put(h, &s, T0));
    a = hold("", SHAPING_BACKOFF, "", T0 + 1, "r");
    assert_false(shaping_hold_put(h, &a, T0));
    a = hold("a", SHAPING_NOTIFY, "", T0 + 1, "r");
    assert_false(shaping_hold_put(h, &a, T0));
    a = hold("a", SHAPING_BACKOFF, "", T0, "r");
    assert_false(shaping_hold_put(h, &a, T0));
    a = hold("a", SHAPING_BACKOFF, "", T0 + SHAPING_HOLD_MAX_MS + 1, "r");
    assert_false(shaping_hold_put(h, &a, T0));
    shaping_holds_free(h);
}

static void test_success(void **state)
{
    (void)state;
    struct shaping_holds *h = shaping_holds_new();
    struct shaping_hold a = hold("a", SHAPING_BACKOFF, "", T0 + 1000, "rate");
    struct shaping_hold b = hold("b", SHAPING_BACKOFF, "", T0 + 1000, "rate");
    a.deliveries = 3;
    assert_true(shaping_hold_put(h, &a, T0));
    assert_true(shaping_hold_put(h, &b, T0));
    assert_false(shaping_hold_delivered(h, SPAN_LIT("a")));
    assert_false(shaping_hold_delivered(h, SPAN_LIT("a")));
    shaping_hold_refused(h, SPAN_LIT("a")); /* in a row, that is */
    assert_false(shaping_hold_delivered(h, SPAN_LIT("a")));
    assert_false(shaping_hold_delivered(h, SPAN_LIT("a")));
    assert_true(shaping_hold_delivered(h, SPAN_LIT("a")));
    assert_false(shaping_hold_delivered(h, SPAN_LIT("a")));
    for (int i = 0; i < 100; i++)
        assert_false(shaping_hold_delivered(h, SPAN_LIT("b"))); /* by time only */
    assert_int_equal(shaping_holds_count(h), 1);
    shaping_holds_free(h);
}

static void test_bounds(void **state)
{
    (void)state;
    struct shaping_holds *h = shaping_holds_new();
    char text[64];
    for (int i = 0; i < SHAPING_KEY_SOURCES_MAX + 10; i++) {
        snprintf(text, sizeof text, "192.0.2.%d", i);
        struct shaping_hold s = hold("a", SHAPING_DISABLE_SOURCE, text, T0 + 1000 + i, "blocked");
        assert_true(shaping_hold_put(h, &s, T0));
    }
    assert_int_equal(shaping_holds_count(h), SHAPING_KEY_SOURCES_MAX);
    assert_null(shaping_hold_find(h, SPAN_LIT("a"), SHAPING_DISABLE_SOURCE, SPAN_LIT("192.0.2.9"), T0));
    assert_non_null(shaping_hold_find(h, SPAN_LIT("a"), SHAPING_DISABLE_SOURCE, SPAN_LIT("192.0.2.10"), T0));
    for (int i = 0; i < SHAPING_HOLDS_MAX; i++) {
        snprintf(text, sizeof text, "%d.example", i);
        struct shaping_hold s = hold(text, SHAPING_SUSPEND, "", T0 + 100000 + i, "rule");
        assert_true(shaping_hold_put(h, &s, T0));
    }
    assert_int_equal(shaping_holds_count(h), SHAPING_HOLDS_MAX);
    assert_null(shaping_hold_find(h, SPAN_LIT("a"), SHAPING_DISABLE_SOURCE, SPAN_LIT("192.0.2.20"), T0));
    assert_non_null(shaping_hold_find(h, SPAN_LIT("9999.example"), SHAPING_SUSPEND, NONE, T0));
    struct shaping_ended ended;
    uint32_t n = 0;
    while (shaping_hold_expire(h, INT64_MAX, &ended))
        n++;
    assert_int_equal(n, SHAPING_HOLDS_MAX);
    assert_int_equal(shaping_holds_count(h), 0);
    shaping_holds_free(h);
}

static void test_thresholds(void **state)
{
    (void)state;
    struct shaping_holds *h = shaping_holds_new();
    char name[] = "rate", other[] = "other";
    const struct shaping_rule one = { .name = name, .count = 1 };
    const struct shaping_rule r = { .name = name, .count = 3, .within_ms = 16000 };
    const struct shaping_rule o = { .name = other, .count = 3, .within_ms = 16000 };
    assert_true(shaping_threshold(h, SPAN_LIT("a"), &one, T0));
    assert_false(shaping_threshold(h, SPAN_LIT("a"), &r, T0));
    assert_false(shaping_threshold(h, SPAN_LIT("a"), &r, T0 + 7000));
    assert_false(shaping_threshold(h, SPAN_LIT("a"), &o, T0 + 7000));
    assert_false(shaping_threshold(h, SPAN_LIT("b"), &r, T0 + 7000));
    assert_true(shaping_threshold(h, SPAN_LIT("a"), &r, T0 + 15000));  /* the third within 16 s */
    assert_false(shaping_threshold(h, SPAN_LIT("a"), &r, T0 + 15000)); /* begins anew */
    assert_false(shaping_threshold(h, SPAN_LIT("a"), &r, T0 + 16000));
    assert_false(
        shaping_threshold(h, SPAN_LIT("a"), &r, T0 + 31000 + 1000)); /* the first is too old by now */
    assert_false(shaping_threshold(h, SPAN_LIT("a"), &r, T0 + 90000));
    assert_false(shaping_threshold(h, SPAN_LIT("a"), &r, T0 + 90000 + 16000));
    assert_false(shaping_threshold(h, SPAN_LIT("a"), &r, T0)); /* a clock that was set back */
    shaping_holds_free(h);
}

static void test_wire(void **state)
{
    (void)state;
    struct buf out;
    struct shaping_hold x = hold("news/a", SHAPING_DISABLE_SOURCE, "192.0.2.1", T0 + 5000, "blocked"), y;
    buf_init(&out, 4096);
    x.deliveries = 7;
    x.by = SPAN_LIT("node-a");
    assert_int_equal(shaping_hold_encode(&x, T0 + 1000, &out), 0);
    assert_int_equal(shaping_hold_decode(buf_span(&out), 77000, &y), 0);
    assert_int_equal(y.until_ms, 81000); /* by another clock, but as long */
    assert_int_equal(y.since_ms, 77000);
    assert_int_equal(y.kind, SHAPING_DISABLE_SOURCE);
    assert_int_equal(y.deliveries, 7);
    assert_true(span_eq(y.key, x.key) && span_eq(y.source, x.source) && span_eq(y.rule, x.rule));
    assert_true(span_eq(y.reply, x.reply) && span_eq(y.by, x.by));
    for (size_t n = 0; n < out.len; n++)
        assert_int_equal(shaping_hold_decode(span_of(out.data, n), T0, &y), ERR_BAD);
    for (size_t i = 0; i < out.len; i++) /* whatever is changed is refused, or harmless */
        for (int bit = 0; bit < 8; bit++) {
            struct shaping_holds *h = NULL;
            out.data[i] = (char)(out.data[i] ^ (1 << bit));
            if (shaping_hold_decode(buf_span(&out), T0, &y) == 0 && y.kind != SHAPING_NONE && i < 20 &&
                (h = shaping_holds_new()) != NULL)
                (void)shaping_hold_put(h, &y, T0);
            shaping_holds_free(h);
            out.data[i] = (char)(out.data[i] ^ (1 << bit));
        }
    buf_reset(&out);
    x = hold("a", SHAPING_NONE, "", T0, "");
    assert_int_equal(shaping_hold_encode(&x, T0, &out), 0);
    assert_int_equal(shaping_hold_decode(buf_span(&out), T0, &y), 0);
    assert_int_equal(y.kind, SHAPING_NONE);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),     cmocka_unit_test(test_success), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_thresholds), cmocka_unit_test(test_wire),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
