/* Marks of recipients that were moved to another pool: what is written is read, beside the mark of
 * greylisting too; how often one may be moved, and never back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/shaping/pool_mark.h"

#include <string.h>

#define SINCE INT64_C(1800000000000)
#define WORDS SPAN_LIT("550 5.7.1 Blocked")

static const struct grey_mark grey = {
    .since_ms = SINCE, .sure = true, .host = { "mx.example.net", 14 }, .source = { "192.0.2.7", 9 }
};

static struct pool_mark moved(void)
{
    struct pool_mark m = { .n = 0 };
    assert_true(pool_mark_move(&m, SPAN_LIT("news"), SPAN_LIT("slow"), SPAN_LIT("source-blocked")));
    return m;
}

static void test_round(void **state)
{
    (void)state;
    char text[GREY_TEXT_MAX];
    struct pool_mark m = moved(), got;
    struct span words;
    struct span whole = pool_mark_format(&m, NULL, WORDS, text);
    assert_true(span_eq(whole, SPAN_LIT("550 5.7.1 Blocked\x1fpool source-blocked slow news")));
    assert_true(pool_mark_parse(whole, &got, &words));
    assert_int_equal(got.n, 1);
    assert_true(span_eq(got.to, SPAN_LIT("slow")));
    assert_true(span_eq(got.rule, SPAN_LIT("source-blocked")));
    assert_true(span_eq(got.left[0], SPAN_LIT("news")));
    assert_true(span_eq(words, WORDS));

    assert_true(span_eq(pool_mark_format(NULL, NULL, WORDS, text), WORDS));
    assert_false(pool_mark_parse(WORDS, &got, &words));
    assert_true(span_eq(words, WORDS));
}

static void test_beside_greylisting(void **state)
{
    (void)state;
    char text[GREY_TEXT_MAX];
    struct pool_mark m = moved(), got;
    struct grey_mark g;
    struct span words, rest;
    struct span whole = pool_mark_format(&m, &grey, WORDS, text);
    assert_true(pool_mark_parse(whole, &got, &words));
    assert_true(span_eq(words, WORDS));
    assert_true(span_eq(got.to, SPAN_LIT("slow")));
    assert_true(grey_mark_parse(whole, &g, &rest));
    assert_true(span_eq(g.host, grey.host));
    assert_true(span_eq(g.source, grey.source));

    whole = pool_mark_format(NULL, &grey, WORDS, text);
    assert_false(pool_mark_parse(whole, &got, &words));
    assert_true(span_eq(words, WORDS));
    assert_true(grey_mark_parse(whole, &g, &rest));
}

/* At most twice, and never to where it is or was; mail without a pool may get one. */
static void test_moves(void **state)
{
    (void)state;
    char text[GREY_TEXT_MAX];
    struct pool_mark m = moved(), got;
    struct span words, rule = SPAN_LIT("r");
    assert_false(pool_mark_move(&m, SPAN_LIT("slow"), SPAN_LIT("slow"), rule));
    assert_false(pool_mark_move(&m, SPAN_LIT("slow"), SPAN_LIT("news"), rule));
    assert_int_equal(m.n, 1);
    assert_true(pool_mark_left(&m, SPAN_LIT("news")));
    assert_false(pool_mark_left(&m, SPAN_LIT("slow")));
    assert_true(pool_mark_move(&m, SPAN_LIT("slow"), SPAN_LIT("last"), rule));
    assert_false(pool_mark_move(&m, SPAN_LIT("last"), SPAN_LIT("fourth"), rule));
    assert_int_equal(m.n, POOL_MARK_MOVES_MAX);
    assert_true(span_eq(m.to, SPAN_LIT("last")));

    struct pool_mark none = { .n = 0 };
    assert_true(pool_mark_move(&none, (struct span){ "", 0 }, SPAN_LIT("slow"), rule));
    assert_true(pool_mark_left(&none, (struct span){ "", 0 }));
    struct span whole = pool_mark_format(&none, NULL, (struct span){ "", 0 }, text);
    assert_true(pool_mark_parse(whole, &got, &words));
    assert_int_equal(words.n, 0);
    assert_int_equal(got.left[0].n, 0);
}

/* The longest that there can be keeps both marks and leaves room for what a transfer puts before them. */
static void test_long(void **state)
{
    (void)state;
    char text[GREY_TEXT_MAX], x[600], names[4][POOL_MARK_NAME_MAX];
    struct pool_mark m = { .n = 0 }, got;
    struct grey_mark g = grey, found;
    struct span words, rest;
    memset(x, 'x', sizeof x);
    for (int i = 0; i < 4; i++)
        memset(names[i], 'a' + i, sizeof names[i]);
    assert_true(pool_mark_move(&m, span_of(names[0], 63), span_of(names[1], 63), span_of(names[3], 63)));
    assert_true(pool_mark_move(&m, span_of(names[1], 63), span_of(names[2], 63), span_of(names[3], 63)));
    g.host = span_of(x, 255);
    g.source = SPAN_LIT("2001:db8:1111:2222:3333:4444:5555:6666");
    struct span whole = pool_mark_format(&m, &g, span_of(x, sizeof x), text);
    assert_true(whole.n <= GREY_TEXT_MAX - 96);
    assert_true(pool_mark_parse(whole, &got, &words));
    assert_true(span_eq(got.to, m.to) && span_eq(got.left[1], m.left[1]));
    assert_true(words.n > 20);
    assert_true(grey_mark_parse(whole, &found, &rest));
    assert_true(span_eq(found.source, g.source));
    char longer[64];
    memset(longer, 'p', sizeof longer);
    struct pool_mark none = { .n = 0 };
    assert_false(pool_mark_move(&none, span_of(longer, 64), SPAN_LIT("slow"), SPAN_LIT("r")));
}

static void test_others(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "550 5.7.1 Blocked",
        "550 5.7.1 Blocked?pool r slow news", /* a server tries it */
        "550\x1fpool r slow",
        "550\x1fpool r  news",
        "550\x1fpool",
        "550\x1fpool r slow a b c",
        "550\x1fpond r slow news",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct pool_mark m;
        struct span words;
        assert_false(pool_mark_parse(span_str(texts[i]), &m, &words));
        assert_true(span_eq(words, span_str(texts[i])));
        assert_int_equal(m.n, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round),  cmocka_unit_test(test_beside_greylisting),
        cmocka_unit_test(test_moves),  cmocka_unit_test(test_long),
        cmocka_unit_test(test_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
