/* Marks of held recipients: what is written is read, beside the marks of pools and greylisting too, and is never
 * lost for want of room.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/shaping/hold_mark.h"
#include "node/shaping/pool_mark.h"

#include <string.h>

#define SINCE INT64_C(1800000000000)
#define WORDS SPAN_LIT("451 4.2.1 later")

static void test_round(void **state)
{
    (void)state;
    char text[GREY_TEXT_MAX];
    struct hold_mark got, m = { .kind = HOLD_OVER_LIMIT, .since_ms = SINCE + 4321, .text = SPAN_LIT("account-hour") };
    struct span words, whole = hold_mark_format(&m, WORDS, text);
    assert_true(span_eq(whole, SPAN_LIT("451 4.2.1 later\x1fhold over_limit 1800000000 account-hour")));
    assert_true(hold_mark_parse(whole, &got, &words));
    assert_int_equal(got.kind, HOLD_OVER_LIMIT);
    assert_true(got.since_ms == SINCE);
    assert_true(span_eq(got.text, m.text));
    assert_true(span_eq(words, WORDS));
    assert_false(hold_mark_parse(WORDS, &got, &words));
    assert_true(span_eq(words, WORDS));
    assert_false(hold_mark_parse((struct span){ NULL, 0 }, &got, &words));
}

static void test_beside_other_marks(void **state)
{
    (void)state;
    static const struct grey_mark grey = {
        .since_ms = SINCE, .sure = true, .host = { "mx.example.net", 14 }, .source = { "192.0.2.7", 9 }
    };
    char text[GREY_TEXT_MAX], more[GREY_TEXT_MAX];
    struct hold_mark got, m = { .kind = HOLD_RELEASED, .since_ms = SINCE, .text = SPAN_LIT("unix:uid=0") };
    struct pool_mark pool = { .n = 0 }, pool_got;
    struct grey_mark grey_got;
    struct span words, whole = hold_mark_format(&m, WORDS, text);
    assert_true(pool_mark_move(&pool, SPAN_LIT("news"), SPAN_LIT("slow"), SPAN_LIT("rule")));
    for (int i = 0; i < 4; i++) {
        struct span all = pool_mark_format(i & 1 ? &pool : NULL, i & 2 ? &grey : NULL, whole, more);
        assert_true(hold_mark_parse(all, &got, &words));
        assert_true(got.kind == HOLD_RELEASED && got.since_ms == SINCE && span_eq(got.text, m.text));
        assert_true(span_eq(words, WORDS));
        assert_int_equal(pool_mark_parse(all, &pool_got, &words), i & 1);
        assert_true(span_eq(words, WORDS));
        assert_int_equal(grey_mark_parse(all, &grey_got, &words), i >> 1);
    }
}

/* Names of the greatest length everywhere: kind and time stay, whatever must be cut. */
static void test_no_room(void **state)
{
    (void)state;
    char x[GREY_TEXT_MAX], text[GREY_TEXT_MAX], more[GREY_TEXT_MAX];
    memset(x, 'x', sizeof x);
    struct span name = span_of(x, POOL_MARK_NAME_MAX);
    struct hold_mark got, m = { .kind = HOLD_OVER_LIMIT, .since_ms = SINCE, .text = span_of(x, sizeof x) };
    struct pool_mark pool = { .rule = name, .to = name, .n = 2, .left = { name, name } }, pool_got;
    struct grey_mark grey = { .since_ms = SINCE, .host = span_of(x, 200), .source = SPAN_LIT("2001:db8::1") };
    struct span words, whole = hold_mark_format(&m, span_of(x, sizeof x), text);
    assert_true(whole.n <= GREY_TEXT_MAX - 96);
    assert_true(hold_mark_parse(whole, &got, &words));
    assert_int_equal(got.text.n, HOLD_TEXT_MAX);
    struct span all = pool_mark_format(&pool, &grey, whole, more);
    assert_true(all.n <= GREY_TEXT_MAX - 96);
    assert_true(hold_mark_parse(all, &got, &words));
    assert_int_equal(got.kind, HOLD_OVER_LIMIT);
    assert_true(got.since_ms == SINCE);
    assert_true(pool_mark_parse(all, &pool_got, &words));
    assert_int_equal(pool_got.n, 2);
}

static void test_reasons(void **state)
{
    (void)state;
    char text[HOLD_MARK_MAX];
    struct hold_mark got;
    for (int k = 0; k < HOLD_RELEASED; k++) {
        hold_reason_parse(hold_reason_format((enum hold_kind)k, SPAN_LIT("why\r\n\x1f so"), text), &got);
        assert_int_equal(got.kind, k);
        assert_true(span_eq(got.text, SPAN_LIT("why    so")));
        assert_int_equal(hold_kind_parse(span_str(hold_kind_name((enum hold_kind)k))), k);
        assert_int_equal(hold_charged((enum hold_kind)k), k == HOLD_OPERATOR);
    }
    hold_reason_parse((struct span){ "", 0 }, &got); /* born held by an older version */
    assert_int_equal(got.kind, HOLD_FROZEN);
    hold_reason_parse(SPAN_LIT("something new"), &got); /* by a newer one: not taken for charged */
    assert_false(hold_charged(got.kind));
    assert_int_equal(hold_kind_parse(SPAN_LIT("released")), -1);
}

static void test_nonsense(void **state)
{
    (void)state;
    static const char *const texts[] = { "x\x1fhold ", "x\x1fhold frozen", "x\x1fhold frozen never", "x\x1fhold odd 1 x",
                                         "x\x1fhold frozen 99999999999999999999", "x\x1f", "\x1f\x1f\x1f" };
    struct hold_mark m;
    struct span words;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_false(hold_mark_parse(span_str(texts[i]), &m, &words));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round),   cmocka_unit_test(test_beside_other_marks), cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_reasons), cmocka_unit_test(test_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
