/* The header written anew: Received, what is added, what is removed, what stays byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/err.h"
#include "node/mail/rewrite.h"

static const int64_t at = 1795295055000;
#define DATE "Sat, 21 Nov 2026 21:04:15 +0000"

static void rewrite(const char *in, const struct mail_rewrite *rw, const char *want)
{
    struct mail_header h;
    struct buf out;
    size_t used;
    mail_header_init(&h, 0);
    buf_init(&out, 1 << 16);
    enum mail_header_result result = mail_header_feed(&h, in, strlen(in), &used);
    if (result == MAIL_HEADER_MORE)
        result = mail_header_end(&h);
    assert_int_equal(result, MAIL_HEADER_DONE);
    assert_int_equal(mail_rewrite(&h, rw, &out), 0);
    buf_put_char(&out, '\0');
    assert_string_equal(out.data, want);
    buf_fini(&out);
    mail_header_fini(&h);
}

static void unchanged(void **state)
{
    (void)state;
    const struct mail_rewrite rw = { .wall_ms = at };
    rewrite("Odd-Name:x\r\n  folded\r\nB : y \r\n\r\n", &rw, "Odd-Name:x\r\n  folded\r\nB : y \r\n\r\n");
    rewrite("", &rw, "\r\n");
    rewrite("A: b", &rw, "A: b\r\n\r\n");
    rewrite("A: b\r\nbody begins\r\n", &rw, "A: b\r\n\r\n");
}

static void submission(void **state)
{
    (void)state;
    const struct mail_rewrite rw = {
        .wall_ms = at, .add_date = true, .remove_bcc = true, .message_id = SPAN_LIT("<id@out.test>")
    };
    rewrite("From: a@b\r\n\r\n", &rw, "From: a@b\r\nDate: " DATE "\r\nMessage-ID: <id@out.test>\r\n\r\n");
    rewrite("date: x\r\nMESSAGE-ID: <y>\r\n\r\n", &rw, "date: x\r\nMESSAGE-ID: <y>\r\n\r\n");
    rewrite("Message-Id: broken\r\n\r\n", &rw, "Message-Id: broken\r\nDate: " DATE "\r\n\r\n");
    rewrite("Date: x\r\nBcc: secret@b.test,\r\n more@c.test\r\n\tand@d.test\r\nbcc :x\r\nTo: a@b\r\n"
            "Resent-Bcc:\r\n e@f.test\r\nBccx: stays\r\nMessage-ID: <y>\r\n\r\n",
            &rw, "Date: x\r\nTo: a@b\r\nBccx: stays\r\nMessage-ID: <y>\r\n\r\n");
    rewrite("Date: x\r\nMessage-ID: <y>\r\nBcc: z", &rw, "Date: x\r\nMessage-ID: <y>\r\n\r\n");
}

static void rules(void **state)
{
    (void)state;
    const struct mail_rule list[] = {
        { MAIL_RULE_REMOVE, SPAN_LIT("x-local-*"), { 0 } },
        { MAIL_RULE_REMOVE, SPAN_LIT("User-Agent"), { 0 } },
        { MAIL_RULE_ADD, SPAN_LIT("X-Local-Added"), SPAN_LIT("yes") },
    };
    const struct mail_rewrite rw = { .rules = list, .nrules = 3 };
    rewrite("X-Local-A: 1\r\nA: b\r\nUSER-AGENT: x\r\n y\r\nX-Local: stays\r\n\r\n", &rw,
            "A: b\r\nX-Local: stays\r\nX-Local-Added: yes\r\n\r\n");
}

static int check(enum mail_rule_kind kind, struct span name, struct span value)
{
    return mail_rule_check(&(struct mail_rule){ kind, name, value });
}

static void bad_rules(void **state)
{
    (void)state;
    static char large[1000];
    memset(large, 'x', sizeof large);
    assert_int_equal(check(MAIL_RULE_ADD, SPAN_LIT("X"), SPAN_LIT("a\tb")), 0);
    assert_int_equal(check(MAIL_RULE_ADD, SPAN_LIT("X"), SPAN_LIT("a\r\nY: z")), ERR_BAD);
    assert_int_equal(check(MAIL_RULE_ADD, SPAN_LIT("X"), SPAN_LIT("a\nb")), ERR_BAD);
    assert_int_equal(check(MAIL_RULE_ADD, SPAN_LIT("X"), SPAN_LIT("a\xff")), ERR_BAD);
    assert_int_equal(check(MAIL_RULE_ADD, SPAN_LIT("X"), span_of(large, sizeof large)), ERR_BAD);
    assert_int_equal(check(MAIL_RULE_ADD, SPAN_LIT("X Y"), SPAN_LIT("a")), ERR_BAD);
    assert_int_equal(check(MAIL_RULE_ADD, SPAN_LIT("X:"), SPAN_LIT("a")), ERR_BAD);
    assert_int_equal(check(MAIL_RULE_ADD, SPAN_LIT(""), SPAN_LIT("a")), ERR_BAD);
    assert_int_equal(check(MAIL_RULE_REMOVE, SPAN_LIT("X\r\n"), SPAN_LIT("")), ERR_BAD);
    assert_int_equal(check(MAIL_RULE_REMOVE, SPAN_LIT("X-*"), SPAN_LIT("")), 0);
}

static void received(const struct mail_received *r, const char *want)
{
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(mail_received_put(r, &out), 0);
    buf_put_char(&out, '\0');
    assert_string_equal(out.data, want);
    buf_fini(&out);
}

static void received_field(void **state)
{
    (void)state;
    struct mail_received r = { .helo = SPAN_LIT("pc.test"),
                               .client_name = SPAN_LIT("host.test"),
                               .client_ip = SPAN_LIT("192.0.2.1"),
                               .by = SPAN_LIT("out.test"),
                               .protocol = SPAN_LIT("ESMTPSA"),
                               .id = SPAN_LIT("0ABC"),
                               .rcpt = SPAN_LIT("a@b.test"),
                               .tls = SPAN_LIT("TLSv1.3 with cipher X"),
                               .wall_ms = at };
    received(&r, "Received: from pc.test (host.test [192.0.2.1])\r\n\t(using TLSv1.3 with cipher X)\r\n"
                 "\tby out.test with ESMTPSA id 0ABC\r\n\tfor <a@b.test>;\r\n\t" DATE "\r\n");
    r.hide_client = true;
    r.rcpt = r.tls = (struct span){ "", 0 };
    received(&r, "Received: from hidden.invalid\r\n\tby out.test with ESMTPSA id 0ABC;\r\n\t" DATE "\r\n");
    r.hide_client = false;
    r.client_name = (struct span){ "", 0 };
    r.client_ip = SPAN_LIT("2001:db8::1");
    r.helo = SPAN_LIT("[192.0.2.1]");
    received(&r, "Received: from [192.0.2.1] (unknown [IPv6:2001:db8::1])\r\n"
                 "\tby out.test with ESMTPSA id 0ABC;\r\n\t" DATE "\r\n");
    r = (struct mail_received){
        .by = SPAN_LIT("o"), .protocol = SPAN_LIT("SMTP"), .id = SPAN_LIT("1"), .wall_ms = at
    };
    received(&r, "Received: from unknown (unknown [])\r\n\tby o with SMTP id 1;\r\n\t" DATE "\r\n");
    r.client_ip = SPAN_LIT("2001:db8::1");
    r.by = SPAN_LIT("out.test");
    r.protocol = SPAN_LIT("ESMTPSA");
    r.id = SPAN_LIT("0ABC");
    /* what a client may try */
    r.helo = SPAN_LIT("x\r\nEvil: y) (\xc3\xbc;\"\0");
    r.rcpt = SPAN_LIT("\xc3\xbc@b.test");
    received(&r, "Received: from x??Evil:?y???????? (unknown [IPv6:2001:db8::1])\r\n"
                 "\tby out.test with ESMTPSA id 0ABC;\r\n\t" DATE "\r\n");
    r.helo = SPAN_LIT("\xc3\xbc.test");
    r.protocol = SPAN_LIT("UTF8SMTPSA");
    received(&r, "Received: from \xc3\xbc.test (unknown [IPv6:2001:db8::1])\r\n"
                 "\tby out.test with UTF8SMTPSA id 0ABC\r\n\tfor <\xc3\xbc@b.test>;\r\n\t" DATE "\r\n");
    r.rcpt = SPAN_LIT("a>\r\nX: y@b.test");
    received(&r, "Received: from \xc3\xbc.test (unknown [IPv6:2001:db8::1])\r\n"
                 "\tby out.test with UTF8SMTPSA id 0ABC;\r\n\t" DATE "\r\n");
}

static void in_front(void **state)
{
    (void)state;
    const struct mail_received r = { .hide_client = true,
                                     .by = SPAN_LIT("o"),
                                     .protocol = SPAN_LIT("SMTP"),
                                     .id = SPAN_LIT("1"),
                                     .wall_ms = at };
    const struct mail_rewrite rw = { .received = &r };
    rewrite("Received: old\r\n\r\n", &rw,
            "Received: from hidden.invalid\r\n\tby o with SMTP id 1;\r\n\t" DATE "\r\nReceived: old\r\n\r\n");
}

static void protocols(void **state)
{
    (void)state;
    assert_string_equal(mail_protocol(false, false, false, false), "SMTP");
    assert_string_equal(mail_protocol(true, false, false, false), "ESMTP");
    assert_string_equal(mail_protocol(true, true, false, false), "ESMTPS");
    assert_string_equal(mail_protocol(true, false, true, false), "ESMTPA");
    assert_string_equal(mail_protocol(true, true, true, false), "ESMTPSA");
    assert_string_equal(mail_protocol(true, false, false, true), "UTF8SMTP");
    assert_string_equal(mail_protocol(true, true, false, true), "UTF8SMTPS");
    assert_string_equal(mail_protocol(true, false, true, true), "UTF8SMTPA");
    assert_string_equal(mail_protocol(true, true, true, true), "UTF8SMTPSA");
}

static void too_small(void **state)
{
    (void)state;
    struct mail_header h;
    struct buf out;
    size_t used;
    const struct mail_rewrite rw = { .wall_ms = at };
    mail_header_init(&h, 0);
    buf_init(&out, 4);
    assert_int_equal(mail_header_feed(&h, "A: b\r\n\r\n", 8, &used), MAIL_HEADER_DONE);
    assert_int_equal(mail_rewrite(&h, &rw, &out), ERR_LIMIT);
    buf_fini(&out);
    mail_header_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unchanged), cmocka_unit_test(submission),     cmocka_unit_test(rules),
        cmocka_unit_test(bad_rules), cmocka_unit_test(received_field), cmocka_unit_test(in_front),
        cmocka_unit_test(protocols), cmocka_unit_test(too_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
