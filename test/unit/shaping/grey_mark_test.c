/* Marks of greylisted recipients: what is written is read, what servers and transfers do to them is survived;
 * and the times that servers state.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/shaping/grey_mark.h"

#include <stdio.h>
#include <string.h>

#define SINCE INT64_C(1800000000000)

static const struct grey_mark mark = {
    .since_ms = SINCE, .sure = true, .host = { "mx.example.net", 14 }, .source = { "192.0.2.7", 9 }
};

static void test_round(void **state)
{
    (void)state;
    char text[GREY_TEXT_MAX];
    struct grey_mark m;
    struct span reply;
    struct span whole = grey_mark_format(&mark, SPAN_LIT("450 4.2.0 Greylisted"), text);
    assert_true(grey_mark_parse(whole, &m, &reply));
    assert_int_equal(m.since_ms, SINCE);
    assert_true(m.sure);
    assert_true(span_eq(m.host, mark.host));
    assert_true(span_eq(m.source, mark.source));
    assert_true(span_eq(reply, SPAN_LIT("450 4.2.0 Greylisted")));
    struct grey_mark nobody = { .since_ms = SINCE, .source = SPAN_LIT("2001:db8::7") };
    whole = grey_mark_format(&nobody, reply, text);
    assert_true(grey_mark_parse(whole, &m, &reply));
    assert_false(m.sure);
    assert_int_equal(m.host.n, 0);
    assert_true(span_eq(m.source, SPAN_LIT("2001:db8::7")));
}

/* The longest that there can be still leaves room for what a transfer puts before it. */
static void test_long(void **state)
{
    (void)state;
    char text[GREY_TEXT_MAX], words[600], name[256];
    struct grey_mark m = mark;
    struct span reply;
    memset(words, 'x', sizeof words);
    memset(name, 'h', sizeof name);
    m.host = span_of(name, 255);
    m.source = SPAN_LIT("2001:db8:1111:2222:3333:4444:5555:6666");
    struct span whole = grey_mark_format(&m, span_of(words, sizeof words), text);
    assert_true(whole.n <= GREY_TEXT_MAX - 96);
    struct grey_mark found;
    assert_true(grey_mark_parse(whole, &found, &reply));
    assert_true(span_eq(found.host, m.host));
    assert_true(reply.n > 50);
}

static void test_others(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "450 4.2.0 Greylisted",
        "450 4.2.0 Greylisted?grey 1800000000 1 mx.example.net 192.0.2.7", /* a server tries it */
        "450\x1fgrey 1800000000 1 mx.example.net",
        "450\x1fgrey 1800000000 1 mx.example.net ",
        "450\x1fgrey 1800000000 2 mx.example.net 192.0.2.7",
        "450\x1fgrey x 1 mx.example.net 192.0.2.7",
        "450\x1fgrey 99999999999999 1 mx.example.net 192.0.2.7",
        "450\x1fgreen 1800000000 1 mx.example.net 192.0.2.7",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct grey_mark m;
        struct span reply;
        assert_false(grey_mark_parse(span_str(texts[i]), &m, &reply));
        assert_true(span_eq(reply, span_str(texts[i])));
    }
}

static void test_stated(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        { "Greylisted, try again in 300 seconds", 300000 },
        { "Greylisted for 5 minutes", 300000 },
        { "come back in 1 hour", 3600000 },
        { "wait 30s, please", 30000 },
        { "wait 2 m", 120000 },
        { "greylisted, see http://example.org/5 seconds", 0 },
        { "try again in 0 seconds", 0 },
        { "try again in 100000 minutes", 0 },
        { "<user2sec@example.net>: greylisted, 20 minutes to go", 1200000 },
        { "greylisted", 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(grey_stated_ms(cases[i].text), cases[i].ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_stated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
