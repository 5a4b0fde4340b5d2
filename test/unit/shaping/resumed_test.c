/* What operators have ended is remembered for an hour, and told to a node that did not hear of it: that one
 * ends what it had by then, and nothing newer; nobody takes it from a node that still has it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/shaping/resumed.h"

#include <stdio.h>
#include <string.h>

#define T0 INT64_C(1800000000000)
#define NOBODY ((struct span){ "", 0 })

static struct shaping_hold hold(const char *key, const char *source, int64_t since_ms)
{
    return (struct shaping_hold){ .key = span_str(key),
                                  .kind = source[0] != '\0' ? SHAPING_DISABLE_SOURCE : SHAPING_SUSPEND,
                                  .source = span_str(source),
                                  .since_ms = since_ms,
                                  .until_ms = since_ms + 7200000,
                                  .by = SPAN_LIT("unix:uid=0") };
}

static void test_remembered_for_an_hour(void **state)
{
    (void)state;
    struct shaping_resumed r = { .n = 0 };
    char key[32];
    shaping_resumed_put(&r, SPAN_LIT("a"), NOBODY, T0);
    shaping_resumed_put(&r, SPAN_LIT("b"), SPAN_LIT("192.0.2.1"), T0);
    assert_true(shaping_resumed_has(&r, SPAN_LIT("a"), NOBODY, T0 + 10));
    assert_true(shaping_resumed_has(&r, SPAN_LIT("a"), SPAN_LIT("192.0.2.9"), T0 + 10)); /* all of a */
    assert_true(shaping_resumed_has(&r, SPAN_LIT("b"), SPAN_LIT("192.0.2.1"), T0 + 10));
    assert_false(shaping_resumed_has(&r, SPAN_LIT("b"), SPAN_LIT("192.0.2.2"), T0 + 10));
    assert_false(shaping_resumed_has(&r, SPAN_LIT("b"), NOBODY, T0 + 10));
    assert_false(shaping_resumed_has(&r, SPAN_LIT("a"), NOBODY, T0 + SHAPING_RESUMED_MS));
    shaping_resumed_put(&r, SPAN_LIT("a"), NOBODY, T0 + 5000); /* anew: the same entry */
    assert_int_equal(r.n, 2);
    assert_true(shaping_resumed_has(&r, SPAN_LIT("a"), NOBODY, T0 + SHAPING_RESUMED_MS));
    for (int i = 0; i < SHAPING_RESUMED_MAX; i++) {
        snprintf(key, sizeof key, "k%d", i);
        shaping_resumed_put(&r, span_str(key), NOBODY, T0);
    }
    assert_false(shaping_resumed_has(&r, SPAN_LIT("a"), NOBODY, T0 + 10)); /* the oldest goes */
    assert_true(shaping_resumed_has(&r, SPAN_LIT("k63"), NOBODY, T0 + 10));
    shaping_resumed_fini(&r);
    assert_false(shaping_resumed_has(&r, SPAN_LIT("k63"), NOBODY, T0 + 10));
}

/* From a node that heard the operator, in bytes, to one that did not; their clocks differ. */
static void test_told_to_a_node_that_comes_back(void **state)
{
    (void)state;
    const int64_t skew = -40000, told_ms = T0 + 600000;
    struct shaping_resumed r = { .n = 0 };
    struct shaping_hold word, got, x;
    struct shaping_holds *h = shaping_holds_new();
    struct buf bytes;
    uint32_t at = 0;
    buf_init(&bytes, 8192);
    shaping_resumed_put(&r, SPAN_LIT("a"), NOBODY, T0);
    assert_true(shaping_resumed_next(&r, &at, told_ms, &word));
    assert_int_equal(shaping_hold_encode(&word, told_ms, &bytes), 0);
    assert_false(shaping_resumed_next(&r, &at, told_ms, &x));

    int64_t now = told_ms + skew;
    x = hold("a", "", T0 + skew - 1000); /* before the operator's word */
    assert_true(shaping_hold_put(h, &x, now));
    x = hold("a", "192.0.2.1", T0 + skew + 1000); /* after it */
    assert_true(shaping_hold_put(h, &x, now));
    x = hold("a", "192.0.2.2", now - 10); /* when it began nobody knows: another node had it */
    x.old = true;
    assert_true(shaping_hold_put(h, &x, now));
    x = hold("b", "", T0 + skew - 1000);
    assert_true(shaping_hold_put(h, &x, now));

    assert_int_equal(shaping_hold_decode(buf_span(&bytes), now, &got), 0);
    assert_int_equal(got.kind, SHAPING_NONE);
    int64_t ended_ms = now - (got.until_ms - now);
    assert_int_equal(ended_ms, T0 + skew);
    assert_int_equal(shaping_hold_end_before(h, got.key, got.source, ended_ms), 2);
    assert_null(shaping_hold_find(h, SPAN_LIT("a"), SHAPING_SUSPEND, NOBODY, now));
    assert_null(shaping_hold_find(h, SPAN_LIT("a"), SHAPING_DISABLE_SOURCE, SPAN_LIT("192.0.2.2"), now));
    assert_non_null(shaping_hold_find(h, SPAN_LIT("a"), SHAPING_DISABLE_SOURCE, SPAN_LIT("192.0.2.1"), now));
    assert_non_null(shaping_hold_find(h, SPAN_LIT("b"), SHAPING_SUSPEND, NOBODY, now));

    at = 0; /* nothing is said of what is over an hour ago */
    assert_false(shaping_resumed_next(&r, &at, T0 + SHAPING_RESUMED_MS, &word));
    buf_fini(&bytes);
    shaping_holds_free(h);
    shaping_resumed_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_remembered_for_an_hour),
        cmocka_unit_test(test_told_to_a_node_that_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
