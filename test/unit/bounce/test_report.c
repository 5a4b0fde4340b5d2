/* What came back is understood: samples of each form, and texts that are none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/err.h"
#include "node/bounce/mime.h"
#include "node/bounce/report.h"

static void slurp(const char *name, struct buf *out)
{
    char path[512], block[4096];
    snprintf(path, sizeof path, "%s/samples/%s", TEST_SOURCE_DIR, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    for (size_t n; (n = fread(block, 1, sizeof block, f)) > 0;)
        assert_int_equal(buf_put(out, block, n), 0);
    fclose(f);
}

static const char *const kinds[] = { "nothing", "report", "complaint" };
static const char *const actions[] = { "failed", "delayed", "delivered" };

/* "report bob@example.com failed 5.1.1 unknown_user hard dead, ..." */
static void say(const struct bounce_report *r, struct buf *out)
{
    (void)buf_put_str(out, kinds[r->kind]);
    if (r->feedback[0] != 0)
        (void)buf_printf(out, " of %s", r->feedback);
    for (uint32_t i = 0; i < r->nrcpts; i++) {
        const struct bounce_rcpt *t = &r->rcpts[i];
        (void)buf_printf(out, "%s %s", i == 0 ? "" : ",", t->address);
        if (r->kind == BOUNCE_REPORT)
            (void)buf_printf(out, " %s %u.%u.%u %s%s%s", actions[t->action], t->status[0], t->status[1],
                             t->status[2], bounce_class_name(t->class), t->hard ? " hard" : "",
                             t->dead ? " dead" : "");
    }
    if (r->source_ip[0] != 0)
        (void)buf_printf(out, "; from %s", r->source_ip);
    if (r->mark[0] != 0)
        (void)buf_printf(out, "; mark %s", r->mark);
    if (r->message_id[0] != 0)
        (void)buf_printf(out, "; id %s", r->message_id);
    (void)buf_put_char(out, 0);
}

static void expect_text(struct span message, const char *want)
{
    struct bounce_report r;
    struct buf said;
    assert_int_equal(bounce_report_read(message, &r), 0);
    buf_init(&said, 64 << 10);
    say(&r, &said);
    assert_string_equal(said.data, want);
    buf_fini(&said);
    bounce_report_fini(&r);
}

static void crlf(const struct buf *in, struct buf *out)
{
    for (size_t i = 0; i < in->len; i++) {
        if (in->data[i] == '\n')
            (void)buf_put_char(out, '\r');
        (void)buf_put_char(out, in->data[i]);
    }
}

/* With either line end, and cut anywhere without harm. */
static void expect(const char *name, const char *want)
{
    struct buf text, wire;
    buf_init(&text, 1 << 20);
    buf_init(&wire, 1 << 20);
    slurp(name, &text);
    crlf(&text, &wire);
    expect_text(buf_span(&text), want);
    expect_text(buf_span(&wire), want);
    for (size_t n = 0; n < text.len; n++) {
        char *copy = malloc(n + 1); /* so that a read past its end is seen */
        struct bounce_report r;
        memcpy(copy, text.data, n);
        assert_int_equal(bounce_report_read(span_of(copy, n), &r), 0);
        bounce_report_fini(&r);
        free(copy);
    }
    buf_fini(&text);
    buf_fini(&wire);
}

static void reports_with_parts(void **state)
{
    (void)state;
    expect("postfix.eml",
           "report bob@example.com failed 5.1.1 unknown_user hard dead, carol@example.com failed 5.2.2 "
           "mailbox_full hard; mark abcdef234567; id <1@news.example.net>");
    expect("exchange_online.eml", "report dave@example.com failed 5.1.10 unknown_user hard dead");
    expect("delayed.eml", "report erin@example.com delayed 4.4.1 expired");
}

static void reports_as_text(void **state)
{
    (void)state;
    expect("qmail.eml",
           "report frank@example.com failed 5.1.1 unknown_user hard dead, grace@example.com failed 5.7.1 "
           "content hard; mark abcdef234567; id <2@news.example.net>");
    expect("exim.eml",
           "report heidi@example.com failed 5.1.1 unknown_user hard dead; id <3@news.example.net>");
    expect("exchange_old.eml", "report ivan@example.com failed 5.1.1 unknown_user hard dead");
    expect("sendmail.eml", "report judy@example.com failed 5.1.1 unknown_user hard dead");
    expect("sentence.eml", "report kim@example.com failed 5.2.1 unknown_user hard dead");
}

static void complaints(void **state)
{
    (void)state;
    expect("complaint.eml", "complaint of abuse lena@example.com; from 192.0.2.2; mark abcdef234567; id "
                            "<8787KJKJ3K4J3K4J3K4J3.mail@example.net>");
}

static void what_is_none(void **state)
{
    (void)state;
    expect("vacation.eml", "nothing");
    expect("letter.eml", "nothing");
    expect_text(span_str(""), "nothing");
    expect_text(span_str("\r\n"), "nothing");
}

static void bounds(void **state)
{
    (void)state;
    struct buf text;
    struct bounce_report r;
    buf_init(&text, 8 << 20);
    /* recipients */
    (void)buf_put_str(&text, "Content-Type: message/delivery-status\n\nReporting-MTA: dns; a\n\n");
    for (int i = 0; i < 500; i++)
        (void)buf_printf(&text, "Final-Recipient: rfc822; u%d@example.com\nAction: failed\nStatus: 5.1.1\n\n",
                         i);
    assert_int_equal(bounce_report_read(buf_span(&text), &r), 0);
    assert_int_equal(r.nrcpts, BOUNCE_RCPTS_MAX);
    assert_true(r.cut);
    bounce_report_fini(&r);
    /* depth */
    buf_reset(&text);
    for (int i = 0; i < 2000; i++)
        (void)buf_printf(&text, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i);
    assert_int_equal(bounce_report_read(buf_span(&text), &r), 0);
    assert_int_equal(r.kind, BOUNCE_NOTHING);
    assert_true(r.cut);
    bounce_report_fini(&r);
    /* parts, each of which would be read again for each other */
    buf_reset(&text);
    (void)buf_put_str(&text, "Content-Type: multipart/mixed; boundary=b\n\n");
    for (int i = 0; i < 200000; i++)
        (void)buf_put_str(&text, "--b\n\n");
    assert_int_equal(bounce_report_read(buf_span(&text), &r), 0);
    assert_true(r.cut);
    bounce_report_fini(&r);
    /* bytes */
    buf_reset(&text);
    (void)buf_put_str(&text, "\n");
    while (text.len <= BOUNCE_BYTES_MAX)
        (void)buf_put_str(&text, "could not be delivered to <a@example.com> 550 no\n");
    assert_int_equal(bounce_report_read(buf_span(&text), &r), 0);
    assert_true(r.cut);
    bounce_report_fini(&r);
    buf_fini(&text);
}

static void encodings(void **state)
{
    (void)state;
    struct buf out;
    struct mime_entity e;
    buf_init(&out, 1 << 10);
    mime_entity_read(span_str("Content-Type: TEXT/Plain; charset=x\nContent-Transfer-Encoding: "
                              "Quoted-Printable\n\na=3Db=\nc =\r\nd=zz=4  \ne"),
                     &e);
    assert_string_equal(e.type, "text/plain");
    struct span s = mime_body(&e, &out);
    assert_true(span_eq(s, SPAN_LIT("a=bc d=zz=4\r\ne\r\n")));
    buf_reset(&out);
    mime_entity_read(span_str("Content-Transfer-Encoding: base64\n\naGVs\r\nbG8=\n"), &e);
    s = mime_body(&e, &out);
    assert_true(span_eq(s, SPAN_LIT("hello")));
    mime_entity_read(span_str("Content-Type: multipart/report; report-type=\"Delivery-Status\" ;\n boundary "
                              "= \"a\\\"b; c\"\n\n"),
                     &e);
    assert_string_equal(e.boundary, "a\"b; c");
    assert_string_equal(e.report, "delivery-status");
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports_with_parts), cmocka_unit_test(reports_as_text), cmocka_unit_test(complaints),
        cmocka_unit_test(what_is_none),       cmocka_unit_test(bounds),          cmocka_unit_test(encodings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
