/* What people are shown of a held message: its text, and nothing that a terminal or a browser would obey. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/bounce/preview.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum preview_kind text_of(const char *message, char out[8192], bool *cut)
{
    struct buf b;
    buf_init(&b, 8191);
    enum preview_kind kind = preview_text(span_str(message), &b, cut);
    assert_true(b.len <= PREVIEW_TEXT_MAX);
    memcpy(out, b.len > 0 ? b.data : "", b.len);
    out[b.len] = '\0';
    buf_fini(&b);
    return kind;
}

#define TYPE(t) "Content-Type: " t "\r\n"

static void test_text(void **state)
{
    (void)state;
    static const struct {
        const char *message, *text;
        enum preview_kind kind;
    } cases[] = {
        { "Subject: x\r\n\r\nhello\r\n\r\n\r\nthere\r\n", "hello\n\nthere\n", PREVIEW_PLAIN },
        { "Subject: x\r\n\r\n\x1b[2J\x07 a\tb\x80\r\n", "\\x1B[2J\\x07 a b\\u{80}\n", PREVIEW_PLAIN },
        { "\r\n\xe2\x80\xaegnp.exe\xe2\x80\x8b\r\n", "\\u{202E}gnp.exe\\u{200B}\n", PREVIEW_PLAIN },
        { "\r\ncaf\xe9\r\n", "caf\xc3\xa9\n", PREVIEW_PLAIN }, /* Latin-1 */
        { TYPE("text/plain") "Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n", "hello\n", PREVIEW_PLAIN },
        { TYPE("text/plain") "Content-Transfer-Encoding: quoted-printable\r\n\r\na=3Db=1B=\r\nc\r\n", "a=b\\x1Bc\n",
          PREVIEW_PLAIN },
        { TYPE("text/html") "\r\n<html><head><title>t</title></head><body onload=x()>Hi &amp; <b>you</b>"
                            "<script>alert('no')</script><style>p{}</style><!-- <b>no</b> --><br>&lt;img&gt;</body>",
          "Hi & you\n<img>\n", PREVIEW_HTML },
        { TYPE("text/html") "\r\n<script>never ends <b>no</b>", "", PREVIEW_HTML },
        { TYPE("image/png") "\r\nxxxx\r\n", "", PREVIEW_NONE },
        { TYPE("multipart/mixed; boundary=a") "\r\n--a\r\n" TYPE("multipart/alternative; boundary=b") "\r\n--b\r\n" TYPE(
              "text/html") "\r\n<p>rich\r\n--b\r\n" TYPE("text/plain") "\r\nplain\r\n--b--\r\n--a--\r\n",
          "plain\n", PREVIEW_PLAIN },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[8192];
        bool cut;
        assert_int_equal(text_of(cases[i].message, text, &cut), cases[i].kind);
        assert_string_equal(text, cases[i].text);
        assert_false(cut);
    }
}

static void test_bounds(void **state)
{
    (void)state;
    char text[8192];
    bool cut;
    size_t n = PREVIEW_READ_MAX + 1000;
    char *message = malloc(n + 1);
    assert_non_null(message);
    memset(message, '\x01', n); /* each becomes four characters */
    memcpy(message, "\r\n", 2);
    message[n] = '\0';
    assert_int_equal(text_of(message, text, &cut), PREVIEW_PLAIN);
    assert_true(cut);
    assert_true(strlen(text) > PREVIEW_TEXT_MAX - 32);
    free(message);
    /* parts in parts in parts: not deeper than that */
    char deep[4096] = "";
    for (int i = 0; i < 12; i++)
        sprintf(deep + strlen(deep), "Content-Type: multipart/mixed; boundary=x%d\r\n\r\n--x%d\r\n", i, i);
    strcat(deep, "Content-Type: text/plain\r\n\r\ndeep\r\n");
    assert_int_equal(text_of(deep, text, &cut), PREVIEW_NONE);
}

struct seen {
    unsigned n;
    char last[8192];
};

static void on_field(void *arg, struct span name, struct span value)
{
    struct seen *s = arg;
    s->n++;
    snprintf(s->last, sizeof s->last, "%.*s=%.*s", (int)name.n, name.p, (int)value.n, value.n > 0 ? value.p : "");
}

static void test_header(void **state)
{
    (void)state;
    static const struct {
        const char *field, *shown;
    } cases[] = {
        { "Subject: hello\r\n\r\n", "Subject=hello" },
        { "Subject: =?utf-8?q?caf=C3=A9_?= =?UTF-8?B?4oKs?= x\r\n\r\n", "Subject=caf\xc3\xa9 \xe2\x82\xac x" },
        { "Subject: =?iso-8859-1?q?caf=E9?=\r\n\r\n", "Subject=caf\xc3\xa9" },
        { "Subject: =?utf-8?q?=1B]0;x=07?=\r\n\r\n", "Subject=\\x1B]0;x\\x07" },
        { "Subject: =?utf-8?x?odd?= =?broken\r\n\r\n", "Subject==?utf-8?x?odd?= =?broken" },
        { "Subject: a\r\n\tb\r\n\r\nno: field\r\n", "Subject=a b" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct seen s = { .n = 0 };
        preview_fields(span_str(cases[i].field), on_field, &s);
        assert_int_equal(s.n, 1);
        assert_string_equal(s.last, cases[i].shown);
    }
    char many[20000] = "";
    for (int i = 0; i < 500; i++)
        strcat(many, "X-Field: a value\r\n");
    struct seen s = { .n = 0 };
    preview_fields(span_str(many), on_field, &s);
    assert_int_equal(s.n, PREVIEW_FIELDS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
