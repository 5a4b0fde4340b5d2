/* Paths, domains, xtext, base64, parameters and replies, each by itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/smtp/address.h"
#include "node/smtp/base64.h"
#include "node/smtp/param.h"
#include "node/smtp/reply.h"
#include "node/smtp/xtext.h"

static bool is(struct span s, const char *text)
{
    return span_eq(s, span_str(text));
}

static void test_path_parts(void **state)
{
    (void)state;
    struct smtp_path p;
    size_t used;
    assert_int_equal(smtp_path_parse(span_str("<joe.x@Example.Test> SIZE=1"), &p, &used), 0);
    assert_int_equal(used, 20);
    assert_true(is(p.text, "joe.x@Example.Test"));
    assert_true(is(p.local, "joe.x"));
    assert_true(is(p.domain, "Example.Test"));
    assert_true(p.qualified);
    assert_false(p.is_literal || p.utf8 || p.was_routed);

    assert_int_equal(smtp_path_parse(span_str("<>"), &p, &used), 0);
    assert_int_equal(used, 2);
    assert_int_equal(p.text.n, 0);
    assert_true(p.qualified);

    assert_int_equal(smtp_path_parse(span_str("<@a.test,@[192.0.2.1]:\"q\\\"@x\"@[IPv6:::1]>"), &p, &used),
                     0);
    assert_true(is(p.text, "\"q\\\"@x\"@[IPv6:::1]"));
    assert_true(is(p.local, "\"q\\\"@x\""));
    assert_true(is(p.domain, "[IPv6:::1]"));
    assert_true(p.is_literal && p.was_routed && p.qualified);

    assert_int_equal(smtp_path_parse(span_str("<joe>"), &p, &used), 0);
    assert_int_equal(p.domain.n, 0);
    assert_false(p.qualified);
    assert_int_equal(smtp_path_parse(span_str("<joe@host>"), &p, &used), 0);
    assert_false(p.qualified);

    assert_int_equal(smtp_path_parse(span_str("<@b\xc3\xbc.test:a@b.test>"), &p, &used), 0);
    assert_false(p.utf8);
    assert_int_equal(smtp_path_parse(span_str("<a@b\xc3\xbc.test>"), &p, &used), 0);
    assert_true(p.utf8);
}

static void test_path_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "<",
        "a@b",
        "<a",
        "<a@",
        "<a@>",
        "<@>",
        "<@a>",
        "<@a:>",
        "<@a:@b>",
        "<@a,b@c>",
        "<@:a@b>",
        "<\"a@b>",
        "<\"a\\\">",
        "<\"a\"b@c>",
        "<a\"b\"@c>",
        "<a@b c>",
        "<a@b,c>",
        "<a@b;c>",
        "<a(x)@b>",
        "<a@[1.2.3]>",
        "<a@[1.2.3.4>",
        "<a@[]>",
        "<a@[IPv6:1.2.3.4]>",
        "<a@[IPv6:::1%lo]>",
        "<a@1>",
        "<a@x.1>",
        "<a@.b>",
        "<a@b.>",
        "<a@b-.c>",
        "<a@-b>",
        "<a@b->",
        "<a<b@c>",
        "<a>b@c>x",
        "<\xff@b>",
        "<a@\xff>",
        "<\xed\xa0\x80@b>",
        "<\"\\\xc3\xa9\"@b>",
        "<a@b\x7f>",
        "<\x01@b>",
        "<a@\xe2\x80\xae.test>",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct smtp_path p;
        size_t used;
        int err = smtp_path_parse(span_str(bad[i]), &p, &used);
        /* "<a>b@c>x" is a path with text behind it, which MAIL refuses */
        if (err == 0 && used == strlen(bad[i]))
            fail_msg("taken: %s", bad[i]);
    }
}

static void test_helo(void **state)
{
    (void)state;
    static const char *const good[] = { "mail.example.com",  "a",           "localhost", "3com.example", "xn--bcher-kva.example",
                                        "MAIL-1.Example",    "[192.0.2.1]", "1.2.3.a",   "a--b.example",
                                        "[IPv6:2001:db8::1]", "[ipv6:::1]" };
    static const char *const bad[] = { "",
                                       "my_host.example",
                                       "_",
                                       "-a.example",
                                       "a-.example",
                                       "a..example",
                                       ".example",
                                       "example.",
                                       "192.0.2.1",
                                       "12345",
                                       "2001:db8::1",
                                       "[2001:db8::1]",
                                       "[192.0.2.256]",
                                       "[192.0.2.1",
                                       "[192.0.2.1]x",
                                       "[]",
                                       "[IPv6:]",
                                       "host name",
                                       ("b\xc3\xbc" "cher.example"),
                                       "a@b.example",
                                       "(none)",
                                       "a.example:25",
                                       "a/b" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!smtp_helo_valid(span_str(good[i])))
            fail_msg("%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (smtp_helo_valid(span_str(bad[i])))
            fail_msg("%s", bad[i]);
    char label[65], name[300];
    memset(label, 'a', 64);
    label[64] = '\0';
    assert_false(smtp_helo_valid(span_str(label)));
    assert_true(smtp_helo_valid(span_of(label, 63)));
    memset(name, 'a', sizeof name);
    for (size_t i = 50; i < sizeof name; i += 51)
        name[i] = '.';
    assert_true(smtp_helo_valid(span_of(name, 250)));
    assert_true(smtp_helo_valid(span_of(name, 254)));
    assert_false(smtp_helo_valid(span_of(name, 257)));
}

static void test_mailbox(void **state)
{
    (void)state;
    struct smtp_path p;
    assert_int_equal(smtp_mailbox_parse(span_str("a@b.test"), &p), 0);
    assert_int_equal(smtp_mailbox_parse(span_str(""), &p), ERR_BAD);
    assert_int_equal(smtp_mailbox_parse(span_str("<a@b.test>"), &p), ERR_BAD);
    assert_int_equal(smtp_mailbox_parse(span_str("a@b.test "), &p), ERR_BAD);
    assert_int_equal(smtp_mailbox_parse(span_str("@x:a@b.test"), &p), ERR_BAD);
}

static void test_domain_ascii(void **state)
{
    (void)state;
    char out[SMTP_DOMAIN_MAX + 1];
    assert_int_equal(smtp_domain_ascii(span_str("Example.TEST"), out), 0);
    assert_string_equal(out, "example.test");
    assert_int_equal(smtp_domain_ascii(span_str("B\xc3\x9c"
                                                "cher.test"),
                                       out),
                     0);
    assert_string_equal(out, "xn--bcher-kva.test");
    assert_int_equal(smtp_domain_ascii(span_str("fa\xc3\x9f.test"), out), 0);
    assert_string_equal(out, "xn--fa-hia.test");
    /* the ideographic full stop separates labels too: one reading for everybody */
    assert_int_equal(smtp_domain_ascii(span_str("a\xe3\x80\x82test"), out), 0);
    assert_string_equal(out, "a.test");
    assert_int_equal(smtp_domain_ascii(span_str(""), out), ERR_BAD);
    assert_int_equal(smtp_domain_ascii(span_str("[1.2.3.4]"), out), ERR_BAD);
    assert_int_equal(smtp_domain_ascii(span_str("a b"), out), ERR_BAD);
    assert_int_equal(smtp_domain_ascii(span_str("\xe2\x84\x80.test"), out), ERR_BAD);
    assert_int_equal(smtp_domain_ascii(span_of("a\0\xc3\xbc", 4), out), ERR_BAD);
}

static int xtext(const char *in, char *out)
{
    size_t n = strlen(in);
    memcpy(out, in, n + 1);
    int err = smtp_xtext_decode(out, &n);
    out[n] = '\0';
    return err;
}

static int uxtext(const char *in, bool raw, char *out)
{
    size_t n = strlen(in);
    memcpy(out, in, n + 1);
    int err = smtp_utf8_addr_decode(out, &n, raw);
    out[n] = '\0';
    return err;
}

static void test_xtext(void **state)
{
    (void)state;
    char out[128];
    assert_int_equal(xtext("a+2Bb+3D+20c", out), 0);
    assert_string_equal(out, "a+b= c");
    assert_int_equal(xtext("+C3+A9", out), 0);
    assert_string_equal(out, "\xc3\xa9");
    static const char *const bad[] = { "+",   "+2",  "+2g", "a=b", "a b",    "+00",
                                       "+0D", "+0A", "+7F", "+C3", "+C2+85", "\xc3\xa9" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(xtext(bad[i], out), ERR_BAD);
}

static void test_utf8_addr(void **state)
{
    (void)state;
    char out[128];
    assert_int_equal(uxtext("a\\x{E9}\\x{20AC}\\x{1F600}\\x{2B}@b", false, out), 0);
    assert_string_equal(out, "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80+@b");
    assert_int_equal(uxtext("\xc3\xa9@b", true, out), 0);
    assert_int_equal(uxtext("\xc3\xa9@b", false, out), ERR_BAD);
    static const char *const bad[] = { "a+2Bb",   "a=b",          "\\",          "\\x",     "\\x{}",
                                       "\\x{E9",  "\\x{D800}",    "\\x{110000}", "\\x{0D}", "\\x{7F}",
                                       "\\x{85}", "\\x{1234567}", "\xff",        "\\y{41}" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(uxtext(bad[i], true, out), ERR_BAD);
}

static void test_base64(void **state)
{
    (void)state;
    char out[64];
    size_t n;
    static const struct {
        const char *in, *out;
    } good[] = { { "", "" },
                 { "Zg==", "f" },
                 { "Zm8=", "fo" },
                 { "Zm9v", "foo" },
                 { "Zm9vYg==", "foob" },
                 { "Zm9vYmE=", "fooba" },
                 { "Zm9vYmFy", "foobar" },
                 { "+/+/", "\xfb\xff\xbf" } };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(smtp_base64_decode(span_str(good[i].in), out, &n), 0);
        assert_true(is(span_of(out, n), good[i].out));
    }
    static const char *const bad[] = { "Z", "Zg",   "Zg=",    "Zg===",    "Zh==", "Zm9=", "====",
                                       "=", "Zm 9", "Zm9v\n", "Zg==Zg==", "-_-_", "Z===" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(smtp_base64_decode(span_str(bad[i]), out, &n), ERR_BAD);
    for (unsigned v = 0; v < 256; v++) { /* every octet survives */
        static const char abc[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        char in[4] = { abc[v >> 2], abc[(v & 3) << 4], '=', '=' };
        assert_int_equal(smtp_base64_decode(span_of(in, 4), out, &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal((unsigned char)out[0], v);
    }
}

static void test_params(void **state)
{
    (void)state;
    struct smtp_param_offer offer = {
        .smtputf8 = true, .auth = true, .requiretls = true, .max_message_bytes = 1000
    };
    struct smtp_server_mail m;
    char mail[] =
        "from: <a@b.test> SIZE=7 BODY=8BITMIME RET=FULL ENVID=x+20y AUTH=e+3Dmc2@b.test REQUIRETLS SMTPUTF8";
    assert_null(smtp_param_mail(mail, sizeof mail - 1, &offer, &m));
    assert_true(is(m.from.text, "a@b.test"));
    assert_int_equal(m.size, 7);
    assert_true(m.body_8bitmime && m.requiretls && m.smtputf8);
    assert_int_equal(m.ret, SMTP_RET_FULL);
    assert_true(is(m.envid, "x y"));
    assert_true(is(m.auth, "e=mc2@b.test"));

    struct smtp_server_rcpt r;
    char rcpt[] = "TO:<x@y.test>\tNOTIFY=delay,SUCCESS ORCPT=utf-8;\\x{E9}@b.test";
    assert_null(smtp_param_rcpt(rcpt, sizeof rcpt - 1, &offer, false, &r));
    assert_int_equal(r.notify, SMTP_NOTIFY_DELAY | SMTP_NOTIFY_SUCCESS);
    assert_true(is(r.orcpt, "utf-8;\xc3\xa9@b.test"));
    char plain[] = "TO:<x@y.test> ORCPT=rfc822;a+2Bb@c.test";
    assert_null(smtp_param_rcpt(plain, sizeof plain - 1, &offer, false, &r));
    assert_int_equal(r.notify, 0);
    assert_true(is(r.orcpt, "rfc822;a+b@c.test"));
    /* raw UTF-8 only in an SMTPUTF8 transaction */
    char raw[] = "TO:<x@y.test> ORCPT=utf-8;\xc3\xa9@b.test";
    assert_int_equal(smtp_param_rcpt(raw, sizeof raw - 1, &offer, false, &r)->code, 501);
    assert_null(smtp_param_rcpt(raw, sizeof raw - 1, &offer, true, &r));
    char never[] = "TO:<x@y.test> NOTIFY=NEVER";
    assert_null(smtp_param_rcpt(never, sizeof never - 1, &offer, false, &r));
    assert_int_equal(r.notify, SMTP_NOTIFY_NEVER);
}

static void put(struct buf *b, unsigned code, const char *enhanced, const char *text)
{
    buf_reset(b);
    assert_int_equal(smtp_reply_put(b, &(struct smtp_reply){ (uint16_t)code, enhanced, text }), 0);
    buf_put_char(b, '\0');
}

static void test_reply(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 65536);
    put(&b, 250, "2.0.0", "Ok");
    assert_string_equal(b.data, "250 2.0.0 Ok\r\n");
    put(&b, 334, NULL, "");
    assert_string_equal(b.data, "334 \r\n");
    put(&b, 421, NULL, NULL);
    assert_string_equal(b.data, "421 \r\n");
    put(&b, 550, "5.7.1", "one\ntwo\nthree");
    assert_string_equal(b.data, "550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three\r\n");
    put(&b, 550, "5.7.1", "a\rb\x1b[2J\xc3\xa9");
    assert_string_equal(b.data, "550 5.7.1 a?b?[2J??\r\n");
    /* a client's long text is folded at a blank, or cut where there is none */
    char text[1600];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    text[400] = ' ';
    put(&b, 550, "5.7.1", text);
    size_t lines = 0, from = 0;
    for (size_t i = 0; i + 1 < b.len; i++) {
        if (b.data[i] != '\n')
            continue;
        assert_true(i + 1 - from <= 512);
        assert_memory_equal(b.data + from, "550", 3);
        assert_int_equal(b.data[from + 3], i + 2 < b.len ? '-' : ' ');
        from = i + 1;
        lines++;
    }
    assert_int_equal(lines, 4);
    assert_memory_equal(b.data + 400, "xxxxxxxxxx\r\n550-5.7.1 x", 23);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_path_parts), cmocka_unit_test(test_path_refused),
        cmocka_unit_test(test_helo), cmocka_unit_test(test_mailbox),    cmocka_unit_test(test_domain_ascii),
        cmocka_unit_test(test_xtext),      cmocka_unit_test(test_utf8_addr),
        cmocka_unit_test(test_base64),     cmocka_unit_test(test_params),
        cmocka_unit_test(test_reply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
