/* Mailboxes of header fields: ordinary ones, odd ones, and those made to be read in two ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "node/mail/address.h"

static int collect(void *ctx, struct span address)
{
    struct buf *b = ctx;
    if (b->len > 0)
        buf_put_char(b, ' ');
    buf_put_span(b, address);
    return 0;
}

static void expect(const char *in, size_t n, int want_err, const char *want)
{
    struct buf b;
    char *exact = malloc(n == 0 ? 1 : n);
    memcpy(exact, in, n);
    buf_init(&b, 1 << 16);
    int err = mail_address_each(span_of(exact, n), collect, &b);
    buf_put_char(&b, '\0');
    if (want_err == 0)
        assert_string_equal(b.data, want);
    assert_int_equal(err, want_err);
    buf_fini(&b);
    free(exact);
}

#define GOOD(in, want) expect(in, sizeof(in) - 1, 0, want)
#define BAD(in) expect(in, sizeof(in) - 1, ERR_BAD, NULL)

static void ordinary(void **state)
{
    (void)state;
    GOOD("a@b.test", "a@b.test");
    GOOD("<a@b.test>", "a@b.test");
    GOOD("A B <a@b.test>", "a@b.test");
    GOOD("\"A, B\" <a@b.test>", "a@b.test");
    GOOD("a@b.test, C <c@d.test>,e@f.test", "a@b.test c@d.test e@f.test");
    GOOD("=?utf-8?q?=C3=BC?= <a@b.test>", "a@b.test");
    GOOD("A\r\n\tB\r\n <a@b.test>", "a@b.test");
    GOOD("Team: a@b.test, C <c@d.test>;", "a@b.test c@d.test");
    GOOD("undisclosed-recipients:;", "");
    GOOD("", "");
    assert_int_equal(mail_address_each((struct span){ NULL, 0 }, collect, NULL), 0);
    GOOD("  \r\n ", "");
    GOOD("a@[192.0.2.1]", "a@[192.0.2.1]");
    GOOD("\xc3\xbc <\xc3\xbc@b.test>", "\xc3\xbc@b.test");
    GOOD("a+b=c@d.test", "a+b=c@d.test");
}

static void obsolete(void **state)
{
    (void)state;
    GOOD("a . b @ c . test", "a.b@c.test");
    GOOD("<@x.test,@y.test:a@b.test>", "a@b.test");
    GOOD("A. B. Smith <a@b.test>", "a@b.test");
    GOOD(",a@b.test,,c@d.test,", "a@b.test c@d.test");
    GOOD("G: a@b.test;, c@d.test", "a@b.test c@d.test");
}

static void comments_and_quotes(void **state)
{
    (void)state;
    GOOD("a@b.test (x@y.test)", "a@b.test");
    GOOD("(x@y.test) a@b.test", "a@b.test");
    GOOD("a(c(nested \\) )x)@(y)b.test", "a@b.test");
    GOOD("\"x@y.test\" <a@b.test>", "a@b.test");
    GOOD("\"<x@y.test>\" <a@b.test>", "a@b.test");
    GOOD("\"x\\\" <x@y.test>\" <a@b.test>", "a@b.test");
    GOOD("x@y.test <a@b.test>", "a@b.test");
    GOOD("\"a\"@b.test", "a@b.test");
    GOOD("\"a.b\"@c.test", "a.b@c.test");
    GOOD("\"\\a\"@b.test", "a@b.test");
    GOOD("\"a b\"@c.test", "\"a b\"@c.test");
    GOOD("\"a@b.test\"@c.test", "\"a@b.test\"@c.test");
    GOOD("\"a\\\"b\"@c.test", "\"a\\\"b\"@c.test");
    GOOD("\"\"@c.test", "\"\"@c.test");
    GOOD("\".a\"@c.test", "\".a\"@c.test");
    GOOD("a.\"b\"@c.test", "a.b@c.test");
}

static void two_ways_to_read(void **state)
{
    (void)state;
    BAD("<a@b.test> <c@d.test>");
    BAD("a@b.test c@d.test");
    BAD("a@b.test <c@d.test> e@f.test");
    BAD("a b@c.test");
    BAD("a@b@c.test");
    BAD("a@b.test@c.test");
    BAD("<a@b.test, c@d.test>");
    BAD("<a@b.test");
    BAD("a@b.test>");
    BAD("<<a@b.test>>");
    BAD("\"a <a@b.test>");
    BAD("(a <a@b.test>");
    BAD("a@b.test)");
    BAD("a@");
    BAD("@b.test");
    BAD("a");
    BAD("<>");
    BAD("a..b@c.test");
    BAD(".a@c.test");
    BAD("a@b..test");
    BAD("a@b.test.");
    BAD("a@\"b\".test");
    BAD("a@b.test;");
    BAD("G: a@b.test");
    BAD("G: H: a@b.test;");
    BAD(": a@b.test");
    BAD("a\0b@c.test");
    BAD("\"a\0b\"@c.test");
    BAD("a\x01@c.test");
    BAD("a@b\xff.test");
    BAD("a\\@b.test");
    BAD("a@[1.2.3.4");
    BAD("a@[1.2\r\n.3.4]");
    BAD("\"a");
    BAD("(a\\");
    BAD("\"a\\");
}

static int refuse(void *ctx, struct span address)
{
    (void)address;
    return ++*(int *)ctx == 2 ? -77 : 0;
}

static void stops_when_told(void **state)
{
    (void)state;
    int seen = 0;
    assert_int_equal(mail_address_each(SPAN_LIT("a@b, c@d, e@f"), refuse, &seen), -77);
    assert_int_equal(seen, 2);
}

static void bounded(void **state)
{
    (void)state;
    enum { N = 300000 };
    char *p = malloc(N);
    memset(p, 'a', N);
    expect(p, N, ERR_BAD, NULL);
    memset(p, '(', N);
    expect(p, N, ERR_BAD, NULL);
    memset(p, ',', N);
    expect(p, N, 0, "");
    memset(p, '<', N);
    expect(p, N, ERR_BAD, NULL);
    for (size_t i = 0; i < N; i += 2)
        memcpy(p + i, "a.", 2);
    expect(p, N, ERR_BAD, NULL);
    memcpy(p + 1020, "@b", 2);
    expect(p, 1022, ERR_BAD, NULL); /* "a.a." cannot end with a dot */
    memcpy(p + 1019, "@bb", 3);
    expect(p + 1, 1021, ERR_BAD, NULL);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary),
        cmocka_unit_test(obsolete),
        cmocka_unit_test(comments_and_quotes),
        cmocka_unit_test(two_ways_to_read),
        cmocka_unit_test(stops_when_told),
        cmocka_unit_test(bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
