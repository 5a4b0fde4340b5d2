/* The header scanner: where a header ends, what is found in it, limits; each case cut at every place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "node/mail/header.h"

/* Feeds content in pieces of `step`, then its end; `body` gets what is body of it. */
static enum mail_header_result scan(struct mail_header *h, const char *p, size_t n, size_t step,
                                    struct buf *body)
{
    size_t used = 0, at = 0;
    enum mail_header_result result = MAIL_HEADER_MORE;
    while (at < n && result == MAIL_HEADER_MORE) {
        size_t take = n - at < step ? n - at : step;
        result = mail_header_feed(h, p + at, take, &used);
        at += used;
    }
    if (result == MAIL_HEADER_MORE)
        result = mail_header_end(h);
    if (result == MAIL_HEADER_DONE) {
        buf_put_span(body, mail_header_rest(h));
        buf_put(body, p + at, n - at);
    }
    return result;
}

static void expect(const char *in, size_t n, const char *header, const char *body, bool cut)
{
    for (size_t step = 1; step <= n + 1; step++) {
        struct mail_header h;
        struct buf b;
        buf_init(&b, 1 << 16);
        mail_header_init(&h, 0);
        assert_int_equal(scan(&h, in, n, step, &b), MAIL_HEADER_DONE);
        assert_int_equal(h.end, strlen(header));
        if (h.end > 0)
            assert_memory_equal(h.block.data, header, h.end);
        assert_int_equal(b.len, strlen(body));
        if (b.len > 0)
            assert_memory_equal(b.data, body, b.len);
        assert_int_equal(mail_header_info(&h)->cut, cut);
        mail_header_fini(&h);
        buf_fini(&b);
    }
}

#define SCAN(in, header, body, cut) expect(in, sizeof(in) - 1, header, body, cut)

static void where_it_ends(void **state)
{
    (void)state;
    SCAN("A: b\r\n\r\nbody\r\n", "A: b\r\n", "body\r\n", false);
    SCAN("A: b\n\nbody\n", "A: b\n", "body\n", false);
    SCAN("A: b\r\n c\r\n\td\r\n\r\n\r\nx", "A: b\r\n c\r\n\td\r\n", "\r\nx", false);
    SCAN("\r\nbody", "", "body", false);
    SCAN("", "", "", false);
    SCAN("A: b", "A: b", "", false);
    SCAN("A: b\r\n", "A: b\r\n", "", false);
    SCAN("A :b\r\n\r\n", "A :b\r\n", "", false);
    SCAN("A:\r\n\r\n", "A:\r\n", "", false);
    SCAN("A: b\r\n \r\nC: d\r\n\r\nx", "A: b\r\n \r\nC: d\r\n", "x", false);
}

/* As Postfix does: what is no header line begins the body. */
static void what_is_no_header(void **state)
{
    (void)state;
    SCAN("A: b\r\nno colon here\r\nC: d\r\n\r\nx", "A: b\r\n", "no colon here\r\nC: d\r\n\r\nx", true);
    SCAN("hello\r\nA: b\r\n", "", "hello\r\nA: b\r\n", true);
    SCAN("hello", "", "hello", true);
    SCAN(" folded first: x\r\nA: b\r\n", "", " folded first: x\r\nA: b\r\n", true);
    SCAN("From s@t.test Sat Nov 21 2026\r\nA: b\r\n", "", "From s@t.test Sat Nov 21 2026\r\nA: b\r\n", true);
    SCAN("A: b\r\n: x\r\n", "A: b\r\n", ": x\r\n", true);
    SCAN("A\xc3\xbc: b\r\n", "", "A\xc3\xbc: b\r\n", true);
    SCAN("A: b\r\nB C: d\r\n", "A: b\r\n", "B C: d\r\n", true);
}

static void what_is_found(void **state)
{
    (void)state;
    static const char in[] = "Received: x\r\nRECEIVED: y\r\nReceived-SPF: z\r\n"
                             "from: A <a@b.test>,\r\n c@d.test\r\nFrom: e@f.test\r\n"
                             "Message-ID:\r\n <id@x.test> (c)\r\nSubject: h\xc3\xbc\r\n there \r\n"
                             "resent-BCC: q@r.test\r\nSender : s@t.test\r\nDate: now\r\n\r\n";
    struct mail_header h;
    struct buf b;
    buf_init(&b, 1000);
    mail_header_init(&h, 0);
    assert_int_equal(scan(&h, in, sizeof in - 1, 5, &b), MAIL_HEADER_DONE);
    const struct mail_header_info *i = mail_header_info(&h);
    assert_int_equal(i->received, 2);
    assert_int_equal(i->from_fields, 2);
    assert_true(span_eq(i->from, SPAN_LIT("A <a@b.test>,\r\n c@d.test")));
    assert_true(span_eq(i->message_id, SPAN_LIT("<id@x.test>")));
    assert_true(span_eq(i->subject, SPAN_LIT("h\xc3\xbc\r\n there")));
    assert_true(span_eq(i->sender, SPAN_LIT("s@t.test")));
    assert_true(i->has_bcc);
    assert_true(i->has_date);
    assert_true(i->has_message_id);
    assert_true(i->eight_bit);

    mail_header_reset(&h);
    assert_int_equal(scan(&h, "Message-ID: <a b@c>\r\nX: y\r\n", 28, 3, &b), MAIL_HEADER_DONE);
    i = mail_header_info(&h);
    assert_int_equal(i->message_id.n, 0);
    assert_true(i->has_message_id);
    assert_false(i->has_date || i->has_bcc || i->eight_bit);
    assert_int_equal(i->received + i->from_fields, 0);
    mail_header_fini(&h);
    buf_fini(&b);
}

/* RFC 8689 section 5: "No", once. */
static void test_tls_required(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool no;
    } cases[] = {
        { "TLS-Required: No\r\n\r\n", true },
        { "tls-required:\tnO \r\nX: y\r\n\r\n", true },
        { "TLS-Required: Yes\r\n\r\n", false },
        { "TLS-Required: No, thanks\r\n\r\n", false },
        { "TLS-Required:\r\n\r\n", false },
        { "TLS-Required: No\r\nTLS-Required: No\r\n\r\n", false },
        { "X-TLS-Required: No\r\n\r\nTLS-Required: No\r\n", false },
    };
    struct buf b;
    buf_init(&b, 1000);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mail_header h;
        mail_header_init(&h, 0);
        assert_int_equal(scan(&h, cases[i].text, strlen(cases[i].text), 5, &b), MAIL_HEADER_DONE);
        assert_int_equal(mail_header_info(&h)->tls_not_required, cases[i].no);
        mail_header_fini(&h);
    }
    buf_fini(&b);
}

static int count(void *ctx, struct span address)
{
    (void)address;
    ++*(int *)ctx;
    return 0;
}

static void addresses_of_all_fields(void **state)
{
    (void)state;
    static const char in[] = "From: a@b.test,\r\n c@d.test\r\nTo: x@y.test\r\nFROM: e@f.test\r\n\r\n";
    static const char bad[] = "From: a@b.test\r\nFrom: <c@d.test> <e@f.test>\r\n\r\n";
    struct mail_header h;
    struct buf b;
    int n = 0;
    buf_init(&b, 1000);
    mail_header_init(&h, 0);
    scan(&h, in, sizeof in - 1, 7, &b);
    assert_int_equal(mail_header_addresses(&h, SPAN_LIT("From"), count, &n), 0);
    assert_int_equal(n, 3);
    mail_header_reset(&h);
    scan(&h, bad, sizeof bad - 1, 7, &b);
    assert_int_equal(mail_header_addresses(&h, SPAN_LIT("From"), count, &n), ERR_BAD);
    mail_header_fini(&h);
    buf_fini(&b);
}

static enum mail_header_result received(int times)
{
    struct mail_header h;
    size_t used;
    enum mail_header_result result = MAIL_HEADER_MORE;
    mail_header_init(&h, 0);
    for (int i = 0; i < times && result == MAIL_HEADER_MORE; i++)
        result = mail_header_feed(&h, "Received: from x\r\n\tby y; z\r\n", 28, &used);
    if (result == MAIL_HEADER_MORE)
        result = mail_header_feed(&h, "\r\n", 2, &used);
    mail_header_fini(&h);
    return result;
}

static void loops(void **state)
{
    (void)state;
    assert_int_equal(received(51), MAIL_HEADER_DONE);
    assert_int_equal(received(100), MAIL_HEADER_DONE);
    assert_int_equal(received(101), MAIL_HEADER_LOOP);
}

static void limits(void **state)
{
    (void)state;
    struct mail_header h;
    size_t used, fed = 0;
    enum mail_header_result result = MAIL_HEADER_MORE;
    char line[1002];
    memset(line, 'x', sizeof line);
    memcpy(line, "X: ", 3);
    memcpy(line + 1000, "\r\n", 2);
    mail_header_init(&h, 0);
    for (; result == MAIL_HEADER_MORE; fed += used) /* 100 KiB pass, 256 KiB do not */
        result = mail_header_feed(&h, line, sizeof line, &used);
    assert_int_equal(result, MAIL_HEADER_TOO_LONG);
    assert_in_range(fed, MAIL_HEADER_BYTES - 2 * sizeof line, MAIL_HEADER_BYTES);
    assert_true(h.block.cap <= MAIL_HEADER_BYTES);
    mail_header_reset(&h);
    assert_true(h.block.cap <= 16384);
    mail_header_fini(&h);

    mail_header_init(&h, 10);
    assert_int_equal(mail_header_feed(&h, "A: 12345\r\n", 10, &used), MAIL_HEADER_MORE);
    assert_int_equal(mail_header_feed(&h, "\r", 1, &used), MAIL_HEADER_TOO_LONG);
    mail_header_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_it_ends), cmocka_unit_test(test_tls_required), cmocka_unit_test(what_is_no_header),
        cmocka_unit_test(what_is_found), cmocka_unit_test(addresses_of_all_fields),
        cmocka_unit_test(loops),         cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
