/* The parser of replies: what it keeps, what it refuses, and that splitting changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "node/smtp/reply_parser.h"

/* Feeds it in pieces of `step`; the event that ended it. */
static enum smtp_reply_event feed(struct smtp_reply_parser *r, const char *p, size_t n, size_t step)
{
    enum smtp_reply_event event = SMTP_REPLY_MORE;
    smtp_reply_parser_init(r);
    for (size_t at = 0; at < n;) {
        size_t used, take = n - at < step ? n - at : step;
        event = smtp_reply_parser_feed(r, p + at, take, &used);
        assert_in_range(used, 1, take);
        at += used;
        if (event == SMTP_REPLY_DONE || event == SMTP_REPLY_BAD)
            return event;
    }
    return event;
}

static void expect(const char *in, size_t n, enum smtp_reply_event want, const char *text)
{
    for (size_t step = 1; step <= n; step++) {
        struct smtp_reply_parser r;
        struct buf b;
        assert_int_equal(feed(&r, in, n, step), want);
        buf_init(&b, 4096);
        smtp_reply_text_put(&b, &r.reply);
        buf_put_char(&b, '\0');
        if (want == SMTP_REPLY_DONE || want == SMTP_REPLY_BAD)
            assert_string_equal(b.data, text);
        if (want == SMTP_REPLY_DONE)
            assert_false(smtp_reply_parser_partial(&r));
        buf_fini(&b);
    }
}

#define DONE(in, text) expect(in, sizeof(in) - 1, SMTP_REPLY_DONE, text)
#define BAD(in, text) expect(in, sizeof(in) - 1, SMTP_REPLY_BAD, text)

static void good_replies(void **state)
{
    (void)state;
    DONE("250 ok\r\n", "250 ok");
    DONE("250 ok\n", "250 ok");
    DONE("250\r\n", "250");
    DONE("250 \r\n", "250");
    DONE("250 2.1.0 sender ok\r\n", "250 2.1.0 sender ok");
    DONE("550 5.1.1\r\n", "550 5.1.1");
    DONE("250-a\r\n250-b\r\n250 c\r\n", "250 a b c");
    DONE("550-5.7.1 no\r\n550-5.7.1 never\r\n550 5.7.1\r\n", "550 5.7.1 no never");
    DONE("250-one\r\n550 other\r\n", "550 one other");
}

static void enhanced_codes(void **state)
{
    (void)state;
    /* of another class than the code: part of the text */
    DONE("250 5.1.1 strange\r\n", "250 5.1.1 strange");
    DONE("250-2.0.0 a\r\n550 5.0.0 b\r\n", "550 a 5.0.0 b");
    DONE("550 5.1.1x\r\n", "550 5.1.1x");
    DONE("550 5.1.1.1 x\r\n", "550 5.1.1.1 x");
    DONE("550 5.7.30 x\r\n", "550 5.7.30 x");
    DONE("550 5.1111.1 x\r\n", "550 5.1111.1 x");
    DONE("550 5.999.1 x\r\n", "550 5.999.1 x");
    DONE("550 5..1 x\r\n", "550 5..1 x");
    DONE("550 5.7.1\tx\r\n", "550 5.7.1 x");
    DONE("354 3.0.0 go\r\n", "354 3.0.0 go");
}

static void harmful_text(void **state)
{
    (void)state;
    DONE("250 a\0b\x1b[1mc\x7f\r\r\n", "250 a?b?[1mc??");
    DONE("250 \xc3\xa9\xff\xc2\x85\xe2\x80\xa8.\r\n", "250 \xc3\xa9?"
                                                      "??"
                                                      "???.");
    DONE("250 a\tb\r\n", "250 a b");
}

static void not_replies(void **state)
{
    (void)state;
    BAD("\r\n", "");
    BAD("25\r\n", "25");
    BAD("ok\r\n", "ok");
    BAD("999 no\r\n", "999 no");
    BAD("199 no\r\n", "199 no");
    BAD("600 no\r\n", "600 no");
    BAD("000 no\r\n", "000 no");
    BAD("2500 no\r\n", "2500 no");
    BAD("250_no\r\n", "250_no");
    BAD("\0"
        "250 x\r\n",
        "?250 x");
    BAD("250-x\r\nSSH-2.0-OpenSSH\r\n", "SSH-2.0-OpenSSH");
    BAD(" 250 x\r\n", " 250 x");
    BAD("+250 x\r\n", "+250 x");
}

static void text_is_cut(void **state)
{
    (void)state;
    char in[4096] = "250 ";
    struct smtp_reply_parser r;
    memset(in + 4, 'x', 3000);
    memcpy(in + 3004, "\r\n", 2);
    assert_int_equal(feed(&r, in, 3006, 7), SMTP_REPLY_DONE);
    assert_int_equal(r.reply.code, 250);
    assert_int_equal(r.reply.len, SMTP_REPLY_TEXT_MAX - 1);
    assert_int_equal(strlen(r.reply.text), r.reply.len);
    /* not in the middle of a character */
    memcpy(in + 4 + SMTP_REPLY_TEXT_MAX - 2, "\xc3\xa9", 2);
    assert_int_equal(feed(&r, in, 3006, 7), SMTP_REPLY_DONE);
    assert_int_equal(r.reply.len, SMTP_REPLY_TEXT_MAX - 2);
}

static void bounded(void **state)
{
    (void)state;
    struct smtp_reply_parser r;
    size_t used, fed = 0;
    enum smtp_reply_event event = SMTP_REPLY_MORE;
    smtp_reply_parser_init(&r);
    for (; event == SMTP_REPLY_LINE || event == SMTP_REPLY_MORE; fed += used)
        event = smtp_reply_parser_feed(&r, "250-x\r\n", 7, &used);
    assert_int_equal(event, SMTP_REPLY_BAD);
    assert_string_equal(r.why, "reply too long");
    assert_in_range(fed, SMTP_REPLY_BYTES_MAX, SMTP_REPLY_BYTES_MAX + 8);

    size_t n = 1 << 20;
    char *line = malloc(n);
    memset(line, '2', n);
    smtp_reply_parser_init(&r);
    assert_int_equal(smtp_reply_parser_feed(&r, line, n, &used), SMTP_REPLY_BAD);
    assert_int_equal(feed(&r, line, n, 1000), SMTP_REPLY_BAD);
    free(line);
}

static void several_in_one(void **state)
{
    (void)state;
    const char in[] = "250-a\r\n250 b\r\n354 go\r\n25";
    size_t used, at = 0;
    struct smtp_reply_parser r;
    smtp_reply_parser_init(&r);
    assert_int_equal(smtp_reply_parser_feed(&r, in, sizeof in - 1, &used), SMTP_REPLY_LINE);
    assert_true(span_eq(r.text, SPAN_LIT("a")));
    at += used;
    assert_int_equal(smtp_reply_parser_feed(&r, in + at, sizeof in - 1 - at, &used), SMTP_REPLY_DONE);
    assert_true(span_eq(r.text, SPAN_LIT("b")));
    assert_int_equal(r.lines, 2);
    at += used;
    assert_int_equal(smtp_reply_parser_feed(&r, in + at, sizeof in - 1 - at, &used), SMTP_REPLY_DONE);
    assert_int_equal(r.reply.code, 354);
    assert_string_equal(r.reply.text, "go");
    assert_int_equal(r.lines, 1);
    at += used;
    assert_int_equal(smtp_reply_parser_feed(&r, in + at, sizeof in - 1 - at, &used), SMTP_REPLY_MORE);
    assert_true(smtp_reply_parser_partial(&r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_replies),   cmocka_unit_test(enhanced_codes), cmocka_unit_test(harmful_text),
        cmocka_unit_test(not_replies),    cmocka_unit_test(text_is_cut),    cmocka_unit_test(bounded),
        cmocka_unit_test(several_in_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
