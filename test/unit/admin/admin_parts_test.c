/* The pure parts of the admin library: guards, parameters, selectors, streams, JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "node/admin/call.h"
#include "node/admin/guard.h"
#include "node/admin/selector.h"
#include "node/admin/stream.h"

#include <math.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static void test_tokens(void **state)
{
    (void)state;
    struct span token = SPAN_LIT("0123456789abcdef");
    assert_true(guard_token_equal(SPAN_LIT("0123456789abcdef"), token));
    assert_false(guard_token_equal(SPAN_LIT("0123456789abcdeg"), token));
    assert_false(guard_token_equal(SPAN_LIT("0123456789abcde"), token));
    /* The comparison wraps around the token: twice the token must still not be it. */
    assert_false(guard_token_equal(SPAN_LIT("0123456789abcdef0123456789abcdef"), token));
    assert_false(guard_token_equal(span_of("", 0), token));
    assert_false(guard_token_equal(span_of("", 0), span_of("", 0)));
}

static void test_times(void **state)
{
    (void)state;
    int64_t ms;
    assert_int_equal(admin_time_parse(SPAN_LIT("1970-01-01T00:00:00Z"), &ms), 0);
    assert_int_equal(ms, 0);
    assert_int_equal(admin_time_parse(SPAN_LIT("2026-03-01"), &ms), 0);
    assert_int_equal(ms, INT64_C(1772323200000));
    assert_int_equal(admin_time_parse(SPAN_LIT("2026-03-01T01:30:00.123+01:30"), &ms), 0);
    assert_int_equal(ms, INT64_C(1772323200000));
    assert_int_equal(admin_time_parse(SPAN_LIT("2024-02-29 00:00:00Z"), &ms), 0);
    static const char *const bad[] = { "2026-02-29",
                                       "2026-13-01",
                                       "2026-1-1",
                                       "2026-03-01T",
                                       "2026-03-01T25:00:00Z",
                                       "2026-03-01T00:00:00",
                                       "2026-03-01T00:00:00+0100",
                                       "2026-03-01T00:00:00Zx",
                                       "" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(admin_time_parse(span_str(bad[i]), &ms), ERR_BAD);
}

static void test_time_parameters(void **state)
{
    (void)state;
    static const struct admin_param table[] = { { .name = "since", .type = ADMIN_TYPE_TIME },
                                                { .name = NULL } };
    const int64_t now_ms = INT64_C(1772323200000);
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = { { "2h", INT64_C(1772316000000) },
                  { "1772316000000", INT64_C(1772316000000) },
                  { "7200", INT64_C(1772316000000) },
                  { "2026-02-28T22:00:00Z", INT64_C(1772316000000) } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *args = NULL;
        struct admin_error e;
        struct admin_pair pair = { SPAN_LIT("since"), span_str(cases[i].text) };
        assert_int_equal(admin_args_query(table, &pair, 1, now_ms, &args, &e), 0);
        assert_int_equal(admin_arg_int(args, "since", 0), cases[i].ms);
        admin_args_free(args);
    }
}

static void test_addresses(void **state)
{
    (void)state;
    assert_true(admin_address_match("A@Example.com", SPAN_LIT("a@example.COM")));
    assert_false(admin_address_match("a@example.com", SPAN_LIT("b@example.com")));
    assert_true(admin_address_match("@example.com", SPAN_LIT("a@example.com")));
    assert_true(admin_address_match("@example.com", SPAN_LIT("\"a@b\"@example.com")));
    assert_false(admin_address_match("@example.com", SPAN_LIT("a@sub.example.com")));
    assert_false(admin_address_match("@b@example.com", SPAN_LIT("\"a@b@example.com")));
    assert_true(admin_address_match("<>", span_of("", 0)));
    assert_false(admin_address_match("<>", SPAN_LIT("a@b")));
    assert_false(admin_address_match("@b", span_of("", 0)));
}

static void test_patterns_are_bounded(void **state)
{
    (void)state;
    struct admin_regex *r;
    struct admin_error e;
    char text[512];
    memset(text, 'a', sizeof(text));
    assert_int_equal(admin_regex_new("(a+)+$b", &r, &e), 0);
    int64_t begin = clock_mono_ns();
    assert_false(admin_regex_match(r, span_of(text, sizeof(text))));
    assert_true(clock_mono_ns() - begin < INT64_C(1000000000));
    admin_regex_free(r);
    assert_int_equal(admin_regex_new("5\\.7\\.1 .* spam", &r, &e), 0);
    assert_true(admin_regex_match(r, SPAN_LIT("550 5.7.1 looks like SPAM")));
    assert_false(admin_regex_match(r, span_of(NULL, 0)));
    admin_regex_free(r);
    assert_int_equal(admin_regex_new("a\\Cb", &r, &e), ERR_BAD);
    assert_int_equal(admin_regex_new("(*UTF)x", &r, &e), ERR_BAD);
    assert_int_equal(admin_regex_new("[a", &r, &e), ERR_BAD);
    assert_non_null(strstr(e.text, "character"));
}

static void test_some_fields(void **state)
{
    (void)state;
    struct admin_selector sel = { .sender = "a@b", .site = "s", .state = -1 };
    struct admin_row row = { .id = "X", .site = SPAN_LIT("s") };
    assert_int_equal(admin_selector_needs(&sel), ADMIN_NEED_SENDER | ADMIN_NEED_SITE);
    assert_true(admin_selector_match_some(&sel, &row, ADMIN_NEED_SITE));
    assert_false(admin_selector_match(&sel, &row));
    row.site = SPAN_LIT("news/S"); /* in any pool */
    assert_true(admin_selector_match_some(&sel, &row, ADMIN_NEED_SITE));
    sel.site = "news/s";
    assert_true(admin_selector_match_some(&sel, &row, ADMIN_NEED_SITE));
    row.site = SPAN_LIT("other/s");
    assert_false(admin_selector_match_some(&sel, &row, ADMIN_NEED_SITE));
    sel.site = "s";
    row.site = SPAN_LIT("t");
    assert_false(admin_selector_match_some(&sel, &row, ADMIN_NEED_SITE));
}

/* ---- streams ------------------------------------------------------------------------------------------- */

static const struct admin_stream_line hello = {
    .at_ms = 5, .session = 2, .dir = ADMIN_DIR_OUT, .text = SPAN_LIT("EHLO x")
};

static void test_a_full_stream_drops_and_tells(void **state)
{
    (void)state;
    struct buf out;
    struct admin_stream *s = admin_stream_new();
    buf_init(&out, 1u << 20);
    for (int i = 0; i < ADMIN_STREAM_LINES; i++)
        assert_int_equal(admin_stream_put(s, &hello), 0);
    for (int i = 0; i < 7; i++)
        assert_int_equal(admin_stream_put(s, &hello), ERR_LIMIT);
    assert_int_equal(admin_stream_take(s, 0, &out), ADMIN_STREAM_LINE);
    assert_int_equal(admin_stream_put(s, &hello), 0);
    for (int i = 0; i < ADMIN_STREAM_LINES; i++) {
        buf_reset(&out);
        assert_int_equal(admin_stream_take(s, 0, &out), ADMIN_STREAM_LINE);
    }
    buf_put_char(&out, '\0');
    assert_non_null(strstr(out.data, "\"dropped_before\":7"));
    admin_stream_end(s, 0, NULL);
    assert_int_equal(admin_stream_put(s, &hello), ERR_CLOSED);
    buf_reset(&out);
    assert_int_equal(admin_stream_take(s, 0, &out), ADMIN_STREAM_END);
    buf_put_char(&out, '\0');
    assert_non_null(strstr(out.data, "\"ok\":true"));
    assert_non_null(strstr(out.data, "\"dropped\":7"));
    buf_fini(&out);
    admin_stream_rele(s);
}

static void *late_end(void *arg)
{
    usleep(50000);
    admin_stream_end(arg, ERR_TIMEOUT, NULL);
    admin_stream_rele(arg);
    return NULL;
}

static void test_a_reader_waits_and_is_woken(void **state)
{
    (void)state;
    struct buf out;
    pthread_t thread;
    struct admin_stream *s = admin_stream_new();
    buf_init(&out, 1u << 20);
    int64_t begin = clock_mono_ns();
    assert_int_equal(admin_stream_take(s, 30, &out), ADMIN_STREAM_NOTHING);
    assert_true(clock_mono_ns() - begin >= 29000000);
    admin_stream_hold(s);
    assert_int_equal(pthread_create(&thread, NULL, late_end, s), 0);
    assert_int_equal(admin_stream_take(s, 10000, &out), ADMIN_STREAM_END);
    assert_int_equal(pthread_join(thread, NULL), 0);
    admin_stream_close(s);
    assert_true(admin_stream_closed(s));
    assert_int_equal(admin_stream_put(s, &hello), ERR_CLOSED);
    buf_fini(&out);
    admin_stream_rele(s);
}

static void test_long_lines_are_cut(void **state)
{
    (void)state;
    static char text[ADMIN_STREAM_LINE_MAX * 2];
    struct buf out;
    struct admin_stream *s = admin_stream_new();
    buf_init(&out, 1u << 20);
    memset(text, 'x', sizeof(text));
    admin_stream_put(s, &(struct admin_stream_line){ .text = span_of(text, sizeof(text)) });
    admin_stream_take(s, 0, &out);
    assert_in_range(out.len, ADMIN_STREAM_LINE_MAX, ADMIN_STREAM_LINE_MAX + 200);
    buf_fini(&out);
    admin_stream_rele(s);
}

static void test_json_out(void **state)
{
    (void)state;
    struct buf b;
    struct json_out j;
    buf_init(&b, 4096);
    json_out_init(&j, &b);
    json_out_open(&j, NULL, '{');
    json_out_real(&j, "inf", INFINITY);
    json_out_time(&j, "none", 0);
    json_out_span(&j, "s", SPAN_LIT("\"\x01\xff"));
    json_out_open(&j, "a", '[');
    json_out_u64(&j, NULL, UINT64_MAX);
    json_out_bool(&j, NULL, false);
    json_out_close(&j, ']');
    json_out_opt(&j, "empty", span_of("", 0));
    json_out_close(&j, '}');
    assert_int_equal(buf_err(&b), 0);
    buf_put_char(&b, '\0');
    assert_string_equal(b.data, "{\"inf\":0.000,\"none\":null,\"s\":\"\\\"\\u0001\\ufffd\","
                                "\"a\":[18446744073709551615,false],\"empty\":null}");
    buf_fini(&b);
}

static void test_every_error_has_a_code(void **state)
{
    (void)state;
    static const int errs[] = { ERR_BAD,   ERR_DENIED, ERR_NOT_FOUND, ERR_EXISTS,
                                ERR_LIMIT, ERR_BUSY,   ERR_TIMEOUT };
    for (size_t i = 0; i < sizeof(errs) / sizeof(errs[0]); i++)
        assert_string_not_equal(admin_code_of((int)admin_status_of(errs[i])), "internal");
    assert_int_equal(admin_status_of(ERR_CORRUPT), 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_time_parameters),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_patterns_are_bounded),
        cmocka_unit_test(test_some_fields),
        cmocka_unit_test(test_a_full_stream_drops_and_tells),
        cmocka_unit_test(test_a_reader_waits_and_is_woken),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_json_out),
        cmocka_unit_test(test_every_error_has_a_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
