/* What goes over the wire: webhooks' bodies and signatures, lines of syslog, mails by template. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/notify/body.h"
#include "node/telemetry/events.h"

#include <stdio.h>
#include <string.h>

#define LINE                                                                                                 \
    "{\"ts\":\"2026-11-22T08:04:12.935Z\",\"event\":\"frozen\",\"node\":\"cluster\",\"account\":\"anna@"     \
    "example.com\","                                                                                         \
    "\"tenant\":\"example.com\",\"rule\":\"many\",\"text\":\"hold for 60 min: recipients 120 > 100 in 1h\"}"

static struct notify_told told_of(const char *line, uint32_t count)
{
    struct notify_told t = { .line = span_str(line), .count = count, .last_ms = INT64_C(1763798652935) };
    snprintf(t.id, sizeof t.id, "c0ffee00.alert.7");
    return t;
}

static void assert_text(struct buf *b, const char *want)
{
    (void)buf_put_char(b, '\0');
    assert_string_equal(b->data, want);
}

static void a_webhook(void **state)
{
    (void)state;
    struct notify_told a = told_of(LINE, 1), b = told_of("{\"event\":\"bounced\"}", 3);
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(notify_web_begin(&out, "desk", "relay1"), 0);
    assert_int_equal(notify_web_put(&out, &a, true), 0);
    assert_int_equal(notify_web_put(&out, &b, false), 0);
    assert_int_equal(notify_web_end(&out), 0);
    assert_text(
        &out,
        "{\"target\":\"desk\",\"node\":\"relay1\",\"events\":[{\"id\":\"c0ffee00.alert.7\",\"severity\":"
        "\"critical\",\"count\":1,\"last\":\"2025-11-22T08:04:12.935Z\",\"event\":" LINE
        "},{\"id\":\"c0ffee00.alert.7\",\"severity\":\"info\",\"count\":3,\"last\":"
        "\"2025-11-22T08:04:12.935Z\",\"event\":{\"event\":\"bounced\"}}]}");
    buf_fini(&out);
}

/* By: printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac "a secret of twenty-six let" */
static void a_signature(void **state)
{
    (void)state;
    char out[NOTIFY_SIGNATURE_TEXT];
    assert_int_equal(
        notify_web_sign(span_str("a secret of twenty-six let"), 1700000000, span_str("{\"a\":1}"), out), 0);
    assert_string_equal(out, "v1=7b880f6a20ba18f748a8ca5888487abc609f81568dd7a4f5ca62567789f1e414");
}

static void syslog_lines(void **state)
{
    (void)state;
    struct notify_told t = told_of(LINE, 2);
    struct buf out;
    buf_init(&out, 65536);
    assert_int_equal(notify_syslog_put(&out, &t, "relay1.example.net"), 0);
    assert_text(&out, "<18>1 2026-11-22T08:04:12.935Z relay1.example.net turnpiked - frozen [turnpike@32473 "
                      "id=\"c0ffee00.alert.7\" count=\"2\" account=\"anna@example.com\" "
                      "tenant=\"example.com\" rule=\"many\"] " LINE);
    buf_reset(&out);
    t = told_of("{\"event\":\"bounced\",\"account\":\"a\\\"b]c\\\\d\"}", 1);
    assert_int_equal(notify_syslog_put(&out, &t, "two words"), 0);
    (void)buf_put_char(&out, '\0');
    assert_non_null(strstr(out.data, "<22>1 - two?words turnpiked - bounced "));
    assert_non_null(strstr(out.data, "account=\"a\\\"b\\]c\\\\d\"] {"));
    buf_reset(&out);
    t = told_of("[]", 1);
    assert_int_equal(notify_syslog_put(&out, &t, "h"), ERR_BAD);
    buf_fini(&out);
}

static void mail_of(struct buf *out, const struct policy_target *target, const struct notify_told *told,
                    uint32_t n, uint64_t more)
{
    struct notify_mail m = { .from = "postmaster@relay.example",
                             .to = "desk@example.org",
                             .message_id = "<1@relay.example>",
                             .name = "relay.example",
                             .now_ms = INT64_C(1763798652935),
                             .target = target };
    uint32_t header_bytes = 0;
    buf_init(out, 4u << 20);
    assert_int_equal(notify_mail_put(out, &m, told, n, more, &header_bytes), 0);
    assert_true(header_bytes > 4 && memcmp(out->data + header_bytes - 4, "\r\n\r\n", 4) == 0);
    assert_ptr_equal(memmem(out->data, out->len, "\r\n\r\n", 4), out->data + header_bytes - 4);
    const char *p = out->data, *end = out->data + out->len;
    for (const char *eol; p < end; p = eol + 2) { /* lines that any server takes */
        eol = memmem(p, (size_t)(end - p), "\r\n", 2);
        assert_non_null(eol);
        assert_true(eol - p <= 400);
    }
    (void)buf_put_char(out, '\0');
}

static void a_mail(void **state)
{
    (void)state;
    struct policy_target target = { .name = (char *)(uintptr_t) "pm" };
    struct notify_told t = told_of(LINE, 1);
    struct buf out;
    mail_of(&out, &target, &t, 1, 0);
    assert_non_null(strstr(
        out.data,
        "\r\nSubject: [turnpike] critical: frozen anna@example.com\r\nAuto-Submitted: auto-generated\r\n"));
    assert_non_null(strstr(out.data, "\r\nAccount:   anna@example.com\r\n"));
    assert_non_null(strstr(out.data, "\r\nhold for 60 min: recipients 120 > 100 in 1h\r\n"));
    assert_null(strstr(out.data, "Site:"));  /* it has none */
    assert_null(strstr(out.data, "Times:")); /* it is one */
    buf_fini(&out);
    char *lines[] = { (char *)(uintptr_t) "{count} of {account} { {X} }", (char *)(uintptr_t) "{site}",
                      (char *)(uintptr_t) "fine" };
    target.text = lines;
    target.ntext = 3;
    target.subject = (char *)(uintptr_t) "{rule}: {text}";
    t = told_of(
        "{\"event\":\"warned\",\"account\":\"anna\",\"rule\":\"r\\r\\nBcc: x@y\\u00e9\",\"text\":\"t\"}", 4);
    mail_of(&out, &target, &t, 1, 0);
    assert_non_null(strstr(out.data, "\r\nSubject: r??Bcc: x@y??: t\r\n")); /* no further header field */
    assert_non_null(strstr(out.data, "\r\n\r\n4 of anna { {X} }\r\nfine\r\n"));
    buf_fini(&out);
}

static void many_are_one_mail(void **state)
{
    (void)state;
    struct policy_target target = { .name = (char *)(uintptr_t) "pm" };
    struct notify_told t[3] = { told_of(LINE, 1),
                                told_of("{\"event\":\"bounced\",\"text\":\"gr\xc3\xbc\xc3\x9f\"}", 1),
                                told_of("{\"event\":\"shaping\"}", 9) };
    struct buf out;
    mail_of(&out, &target, t, 3, 12);
    assert_non_null(strstr(out.data, "\r\nSubject: [turnpike] 3 notifications, the worst is critical\r\n"));
    assert_non_null(strstr(out.data, "charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n"));
    buf_fini(&out);
    mail_of(&out, &target, t, 1, 12);
    assert_non_null(strstr(out.data, "12 more wait"));
    buf_fini(&out);
}

static void long_texts_are_wrapped(void **state)
{
    (void)state;
    static char line[4000], text[3000];
    struct policy_target target = { .name = (char *)(uintptr_t) "pm" };
    memset(text, 'x', sizeof text - 1);
    for (size_t i = 0; i < 1000; i += 20)
        text[i] = ' ';
    snprintf(line, sizeof line, "{\"event\":\"bounced\",\"text\":\"%s\"}", text);
    struct notify_told t = told_of(line, 1);
    struct buf out;
    mail_of(&out, &target, &t, 1, 0);
    buf_fini(&out);
}

static void kinds_and_keys(void **state)
{
    (void)state;
    for (int i = 0; i < EVENT_KINDS; i++) /* of everything in the event log people can be told */
        if (policy_event_severity(span_str(event_kind_name((enum event_kind)i))) < 0)
            fail_msg("%s has no severity", event_kind_name((enum event_kind)i));
    assert_true(policy_event_severity(SPAN_LIT("dropped")) >= 0);
    assert_int_equal(policy_event_severity(SPAN_LIT("nothing")), -1);
    struct notify_event a, b;
    assert_true(span_eq(notify_line_event(span_str(LINE)), SPAN_LIT("frozen")));
    assert_true(span_eq(notify_line_event(SPAN_LIT("{\"event\":\"fro")), SPAN_LIT("")));
    assert_int_equal(notify_event_parse(SPAN_LIT("{\"event\":\"frozen\",\"account\":\"a\"}"), &a), 0);
    assert_int_equal(
        notify_event_parse(SPAN_LIT("{\"event\":\"frozen\",\"account\":\"b\",\"sender\":\"<>\"}"), &b), 0);
    assert_true(notify_event_key(&a) != notify_event_key(&b));
    assert_false(notify_event_about_mail_of_ours(&a));
    assert_true(notify_event_about_mail_of_ours(&b));
    notify_event_fini(&a);
    notify_event_fini(&b);
    assert_int_equal(notify_event_parse(SPAN_LIT("{\"event\":\"unheard_of\"}"), &a), ERR_BAD);
    assert_int_equal(notify_event_parse(SPAN_LIT("nonsense"), &a), ERR_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_webhook),         cmocka_unit_test(a_signature),
        cmocka_unit_test(syslog_lines),      cmocka_unit_test(a_mail),
        cmocka_unit_test(many_are_one_mail), cmocka_unit_test(long_texts_are_wrapped),
        cmocka_unit_test(kinds_and_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
