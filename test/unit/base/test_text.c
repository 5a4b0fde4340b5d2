/* base/text: UTF-8, JSON, log lines, durations, sizes and numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/text.h"

#include <string.h>

static void test_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *p;
        size_t n, len;
    } rows[] = {
        { "a", 1, 1 },
        { "\xc3\xa9", 2, 2 },
        { "\xc3", 1, 0 }, /* cut */
        { "\xe2\x82\xac", 3, 3 },
        { "\xe2\x82", 2, 0 },
        { "\xf0\x9f\x98\x80", 4, 4 },
        { "\xf0\x9f\x98", 3, 0 },
        { "\x80", 1, 0 },     /* continuation alone */
        { "\xc0\x80", 2, 0 }, /* overlong NUL */
        { "\xc1\xbf", 2, 0 },
        { "\xe0\x9f\xbf", 3, 0 }, /* overlong */
        { "\xe0\xa0\x80", 3, 3 },
        { "\xf0\x8f\xbf\xbf", 4, 0 }, /* overlong */
        { "\xed\x9f\xbf", 3, 3 },
        { "\xed\xa0\x80", 3, 0 },     /* surrogate */
        { "\xf4\x8f\xbf\xbf", 4, 4 }, /* U+10FFFF */
        { "\xf4\x90\x80\x80", 4, 0 }, /* past it */
        { "\xf5\x80\x80\x80", 4, 0 },
        { "\xff", 1, 0 },
        { "\xc3(", 2, 0 },
        { "", 1, 1 }, /* NUL is a character */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(text_utf8_len(rows[i].p, rows[i].n), rows[i].len);
    assert_true(text_utf8_valid(span_str("")));
    assert_true(text_utf8_valid(span_str("a\xc3\xa9")));
    assert_false(text_utf8_valid(span_str("a\xc3")));
    assert_true(text_ascii(span_str("plain\x7f")));
    assert_false(text_ascii(span_str("caf\xc3\xa9")));
}

static void expect_json(struct span in, const char *want)
{
    struct buf b;
    buf_init(&b, 4096);
    assert_int_equal(text_put_json(&b, in), 0);
    buf_put_char(&b, '\0');
    assert_string_equal(b.data, want);
    buf_fini(&b);
}

static void test_json(void **state)
{
    (void)state;
    expect_json(span_str(""), "\"\"");
    expect_json(span_str("plain"), "\"plain\"");
    expect_json(span_str("a\"b\\c"), "\"a\\\"b\\\\c\"");
    expect_json(span_of("\0\x1f\r\n\t", 5), "\"\\u0000\\u001f\\r\\n\\t\"");
    expect_json(span_str("\x7f"), "\"\\u007f\"");
    expect_json(span_str("\xc3\xa9"), "\"\xc3\xa9\"");
    expect_json(span_str("x\xe2\x80\xa8y\xe2\x80\xa9"), "\"x\\u2028y\\u2029\"");
    expect_json(span_str("\xc2\x85"), "\"\\u0085\"");
    expect_json(span_str("\xff\xc3"), "\"\\ufffd\\ufffd\"");
}

static void expect_log(struct span in, const char *want)
{
    struct buf b;
    buf_init(&b, 4096);
    assert_int_equal(text_put_log(&b, in), 0);
    buf_put_char(&b, '\0');
    assert_string_equal(b.data, want);
    buf_fini(&b);
}

static void test_log_text(void **state)
{
    (void)state;
    expect_log(span_str("plain \xc3\xa9"), "plain \xc3\xa9");
    expect_log(span_of("\r\n\0\x1b", 4), "\\x0d\\x0a\\x00\\x1b");
    expect_log(span_str("a\\b"), "a\\\\b");
    expect_log(span_str("\xc2\x9b"), "\\xc2\\x9b");
    expect_log(span_str("\xe2\x80\xa8"), "\\xe2\\x80\\xa8");
    expect_log(span_str("\xff\xc3"), "\\xff\\xc3");
}

static void test_bounded_output(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 5);
    assert_int_equal(text_put_json(&b, span_str("too long for it")), ERR_LIMIT);
    buf_fini(&b);
    buf_init(&b, 5);
    assert_int_equal(text_put_log(&b, span_str("\x01\x02\x03")), ERR_LIMIT);
    buf_fini(&b);
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } rows[] = {
        { "0", 0 },
        { "90", 90000 },
        { "30s", 30000 },
        { "5m", 300000 },
        { "1h", 3600000 },
        { "4d", 345600000 },
        { "2w", 1209600000 },
        { "250ms", 250 },
        { "1H", 3600000 },
        { "", -1 },
        { "s", -1 },
        { "-1", -1 },
        { " 1", -1 },
        { "1 s", -1 },
        { "1y", -1 },
        { "1.5h", -1 },
        { "9223372036854775807ms", INT64_MAX },
        { "9223372036854775808ms", -1 },
        { "9223372036854775807", -1 },
        { "99999999999999999999ms", -1 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t ms = -7;
        int err = text_duration_ms(span_str(rows[i].text), &ms);
        assert_int_equal(err, rows[i].ms == -1 ? ERR_BAD : 0);
        assert_true(ms == (rows[i].ms == -1 ? -7 : rows[i].ms));
    }
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t bytes; /* -1: refused */
    } rows[] = {
        { "64", 64 },
        { "64k", 65536 },
        { "64K", 65536 },
        { "64KiB", 65536 },
        { "25M", 26214400 },
        { "2G", 2147483648 },
        { "7b", 7 },
        { "1mb", 1048576 },
        { "", -1 },
        { "k", -1 },
        { "1T", -1 },
        { "1 k", -1 },
        { "0x10", -1 },
        { "8589934591G", 9223372035781033984 },
        { "8589934592G", -1 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t bytes = 7;
        int err = text_size_bytes(span_str(rows[i].text), &bytes);
        assert_int_equal(err, rows[i].bytes == -1 ? ERR_BAD : 0);
        if (rows[i].bytes != -1)
            assert_true(bytes == (uint64_t)rows[i].bytes);
    }
}

static void test_format_duration(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        { 0, "0ms" },
        { -5, "0ms" },
        { 999, "999ms" },
        { 1000, "1s" },
        { 90000, "90s" },
        { 119999, "119s" },
        { 120000, "2m" },
        { 3599999, "59m" },
        { 3600000, "1h" },
        { 5400000, "1h30m" },
        { 86400000, "1d" },
        { 352800000, "4d2h" },
        { INT64_MAX, "106751991167d7h" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char out[32];
        text_format_duration(rows[i].ms, out, sizeof out);
        assert_string_equal(out, rows[i].text);
    }
}

static void test_exact_duration(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        { 0, "0" },
        { 1, "1ms" },
        { 1500, "1500ms" },
        { 1000, "1s" },
        { 90000, "90s" },
        { 5400000, "90m" },
        { 7200000, "2h" },
        { 129600000, "36h" },
        { 86400000, "1d" },
        { 31536000000, "365d" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[32];
        int64_t back;
        assert_string_equal(text_exact_duration(cases[i].ms, text), cases[i].text);
        assert_int_equal(text_duration_ms(span_str(text), &back), 0);
        assert_int_equal(back, cases[i].ms);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    uint64_t v = 5;
    assert_int_equal(text_u64(span_str("18446744073709551615"), &v), 0);
    assert_true(v == UINT64_MAX);
    assert_int_equal(text_u64(span_str("18446744073709551616"), &v), ERR_BAD);
    assert_int_equal(text_u64(span_str("99999999999999999999"), &v), ERR_BAD);
    assert_int_equal(text_u64(span_str(""), &v), ERR_BAD);
    assert_int_equal(text_u64(span_str("+1"), &v), ERR_BAD);
    assert_int_equal(text_u64(span_str("1a"), &v), ERR_BAD);
    assert_true(v == UINT64_MAX);
    assert_int_equal(text_u64(span_str("007"), &v), 0);
    assert_int_equal(v, 7);
}

static void test_host_port(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host; /* NULL: bad */
        uint16_t port;
    } cases[] = {
        { "a.example:25", "a.example", 25 },
        { "192.0.2.1:65535", "192.0.2.1", 65535 },
        { "[2001:db8::1]:7301", "2001:db8::1", 7301 },
        { "[fe80::1%eth0]:1", "fe80::1%eth0", 1 },
        { "[a]:080", "a", 80 },
        { "", NULL, 0 },
        { "a.example", NULL, 0 },
        { ":25", NULL, 0 },
        { "[]:25", NULL, 0 },
        { "a:", NULL, 0 },
        { "a:0", NULL, 0 },
        { "a:65536", NULL, 0 },
        { "a:000025", NULL, 0 },
        { "a:25 ", NULL, 0 },
        { "a:-25", NULL, 0 },
        { "a:smtp", NULL, 0 },
        { "::1:25", NULL, 0 },
        { "[::1:25", NULL, 0 },
        { "::1]:25", NULL, 0 },
        { "[::1]", NULL, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct span host = { "before", 6 };
        uint16_t port = 7;
        int err = text_host_port(span_str(cases[i].text), &host, &port);
        if (err != (cases[i].host == NULL ? ERR_BAD : 0))
            fail_msg("%s gave %d", cases[i].text, err);
        if (!span_eq(host, span_str(err == 0 ? cases[i].host : "before")))
            fail_msg("%s gave %.*s", cases[i].text, (int)host.n, host.p);
        assert_int_equal(port, err == 0 ? cases[i].port : 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_log_text),
        cmocka_unit_test(test_bounded_output),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_format_duration),
        cmocka_unit_test(test_exact_duration),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_host_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
