/* What rspamd is told, and what is made of answers: of rspamd's own, and of a server that means us harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/content/rspamd.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int parse(const char *json, struct rspamd_answer *out)
{
    return rspamd_answer_parse(span_str(json), out);
}

static void test_what_it_is_told(void **state)
{
    (void)state;
    struct buf b;
    struct span rcpts[] = { SPAN_LIT("bob@example.net"), SPAN_LIT("eve\r\nPass: all@example.net") };
    struct rspamd_about about = { .mail_from = SPAN_LIT("anna@example.com"),
                                  .rcpts = rcpts,
                                  .nrcpts = 2,
                                  .ip = SPAN_LIT("192.0.2.1"),
                                  .helo = SPAN_LIT("[192.0.2.1]"),
                                  .user = SPAN_LIT("anna@example.com"),
                                  .queue_id = SPAN_LIT("0123") };
    buf_init(&b, RSPAMD_ABOUT_MAX);
    assert_int_equal(rspamd_put_about(&b, &about), 0);
    assert_true(
        span_eq(buf_span(&b), SPAN_LIT("From: anna@example.com\nRcpt: bob@example.net\n"
                                       "Rcpt: eve??Pass: all@example.net\nIP: 192.0.2.1\n"
                                       "Helo: [192.0.2.1]\nUser: anna@example.com\nQueue-Id: 0123\n")));
    buf_reset(&b);
    about = (struct rspamd_about){ .nrcpts = 0 };
    assert_int_equal(rspamd_put_about(&b, &about), 0);
    assert_true(span_eq(buf_span(&b), SPAN_LIT("From: <>\n")));
    buf_fini(&b);
}

static void test_bounds_of_what_it_is_told(void **state)
{
    (void)state;
    static char name[1000];
    static struct span rcpts[5000];
    struct buf b;
    memset(name, 'x', sizeof name);
    for (size_t i = 0; i < 5000; i++)
        rcpts[i] = span_of(name, sizeof name);
    struct rspamd_about about = { .mail_from = rcpts[0], .rcpts = rcpts, .nrcpts = 5000, .helo = rcpts[0] };
    buf_init(&b, RSPAMD_ABOUT_MAX);
    assert_int_equal(rspamd_put_about(&b, &about), 0);
    size_t lines = 0;
    for (size_t i = 0; i < b.len; i++)
        lines += b.data[i] == '\n';
    assert_int_equal(lines, RSPAMD_RCPTS_MAX + 2);
    buf_fini(&b);
}

static void test_answers(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum rspamd_action action;
    } actions[] = { { "no action", RSPAMD_NO_ACTION },     { "greylist", RSPAMD_GREYLIST },
                    { "add header", RSPAMD_ADD_HEADER },   { "rewrite subject", RSPAMD_ADD_HEADER },
                    { "soft reject", RSPAMD_SOFT_REJECT }, { "reject", RSPAMD_REJECT },
                    { "discard", RSPAMD_REJECT },          { "quarantine", RSPAMD_OTHER },
                    { "No Action", RSPAMD_OTHER } };
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        char json[200];
        struct rspamd_answer a;
        snprintf(json, sizeof json, "{\"action\":\"%s\",\"score\":1.5,\"required_score\":15}",
                 actions[i].name);
        assert_int_equal(parse(json, &a), 0);
        assert_int_equal(a.action, actions[i].action);
        assert_string_equal(a.name, actions[i].name);
        assert_true(fabs(a.score - 1.5) < 1e-9 && fabs(a.required - 15) < 1e-9);
        assert_string_equal(a.symbols, "");
        assert_string_equal(a.message, "");
    }
}

static void test_heaviest_symbols(void **state)
{
    (void)state;
    struct rspamd_answer a;
    assert_int_equal(
        parse("{\"action\":\"reject\",\"score\":20,\"symbols\":{\"A\":{\"score\":1},\"GOOD\":{\"score\":-5},"
              "\"B\":{\"score\":9.5},\"C\":{\"score\":2},\"NONE\":{},\"D\":{\"score\":3},\"E\":{\"score\":4},"
              "\"F\":{\"score\":5},\"G\":{\"score\":6},\"X Y\\u00fc\":{\"score\":7}},"
              "\"messages\":{\"smtp_message\":\"Gtube\\r\\n250 ok\"}}",
              &a),
        0);
    assert_string_equal(a.symbols, "B X Y?? G F E D");
    assert_string_equal(a.message, "Gtube??250 ok");
}

static void test_hostile_answers(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "[]",
        "7",
        "null",
        "{}",
        "{\"action\":\"reject\"}",
        "{\"score\":1}",
        "{\"action\":\"\",\"score\":1}",
        "{\"action\":7,\"score\":1}",
        "{\"action\":\"reject\",\"score\":\"20\"}",
        "{\"action\":\"reject\",\"score\":1e999}",
        "{\"action\":\"reject\",\"score\":NaN}",
        "{\"action\":\"reject\",\"score\":1",
        "{\"action\":\"re\xffject\",\"score\":1}",
        "<html>502 Bad Gateway</html>",
        "{\"action\":\"reject\",\"score\":1} {}",
    };
    struct rspamd_answer a;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(parse(wrong[i], &a), ERR_BAD);
    assert_int_equal(parse("{\"action\":\"reject\",\"score\":1e300,\"required_score\":-1e300,\"symbols\":[1],"
                           "\"messages\":\"x\"}",
                           &a),
                     0);
    assert_true(fabs(a.score - 99999) < 1 && fabs(a.required + 99999) < 1);
    /* A bracket in a text is none. */
    assert_int_equal(
        parse("{\"action\":\"reject\",\"score\":1,\"x\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}", &a),
        0);
    static char deep[200000];
    memset(deep, '[', sizeof deep - 1);
    assert_int_equal(parse(deep, &a), ERR_BAD);
    struct buf b;
    buf_init(&b, 4u << 20);
    (void)buf_put_str(&b, "{\"action\":\"reject\",\"score\":1,\"symbols\":{");
    for (unsigned i = 0; i < 5000; i++)
        (void)buf_printf(&b, "\"%s%u\":{\"score\":%u},", "A_VERY_LONG_NAME_OF_A_SYMBOL_THAT_GOES_ON", i,
                         i + 1);
    (void)buf_put_str(&b, "\"Z\":{\"score\":0.5}}}");
    assert_int_equal(buf_err(&b), 0);
    assert_int_equal(rspamd_answer_parse(buf_span(&b), &a), 0);
    assert_true(strlen(a.symbols) < sizeof a.symbols && strlen(a.symbols) > 100);
    while (b.len <= RSPAMD_ANSWER_MAX)
        (void)buf_put_str(&b, "                                                                ");
    assert_int_equal(rspamd_answer_parse(buf_span(&b), &a), ERR_BAD);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_it_is_told), cmocka_unit_test(test_bounds_of_what_it_is_told),
        cmocka_unit_test(test_answers),         cmocka_unit_test(test_heaviest_symbols),
        cmocka_unit_test(test_hostile_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
