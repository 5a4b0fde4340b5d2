/* A notice to a tenant as a message: what must be in it, and that nothing else can be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/core/notice.h"
#include "node/policy/policy.h"

#include <string.h>

static void compose(struct notice_mail *m, const char *client, struct buf *out, uint32_t *header_bytes)
{
    m->from = "postmaster@relay.example";
    m->to = "it@example.org";
    m->message_id = "<1@relay.example>";
    m->name = "outbound.example.com";
    m->reply = "450 4.7.1 Access temporarily denied.";
    m->now_ms = 1700000000000;
    assert_int_equal(ip_addr_parse(span_str(client), &m->client), 0);
    buf_init(out, 8192);
    assert_int_equal(notice_mail_put(m, out, header_bytes), 0);
    assert_int_equal(buf_put_char(out, '\0'), 0);
}

static void test_message(void **state)
{
    (void)state;
    struct buf out;
    uint32_t header_bytes = 0;
    struct notice_mail m = { .account = "relay@example.org" };
    compose(&m, "192.0.2.7", &out, &header_bytes);
    assert_memory_equal(out.data + header_bytes - 4, "\r\n\r\n", 4);
    assert_null(memmem(out.data, header_bytes - 4, "\r\n\r\n", 4));
    assert_non_null(strstr(out.data, "To: <it@example.org>\r\n"));
    assert_non_null(strstr(out.data, "Auto-Submitted: auto-generated\r\n"));
    assert_non_null(strstr(out.data, "as relay@example.org."));
    assert_non_null(strstr(out.data, "    7.2.0.192.in-addr.arpa. PTR mail.your-domain.example.\r\n"));
    assert_null(strstr(out.data, "lead back"));
    for (const char *p = out.data; *p != '\0'; p++) {
        assert_true(*p == '\r' || *p == '\n' || (*p >= ' ' && *p < 0x7f));
        if (*p == '\n')
            assert_true(p[-1] == '\r');
    }
    buf_fini(&out);
}

/* IPv6 has another record; a name that is not ASCII is left out of a message that is. */
static void test_forward(void **state)
{
    (void)state;
    struct buf out;
    uint32_t header_bytes = 0;
    struct notice_mail m = { .account = "b\xc3\xbc"
                                        "cher@example.org",
                             .forward = true };
    compose(&m, "2001:db8::7", &out, &header_bytes);
    assert_non_null(strstr(
        out.data, "    7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR "));
    assert_non_null(strstr(out.data, "    mail.your-domain.example. AAAA 2001:db8::7\r\n"));
    assert_non_null(strstr(out.data, "lead back"));
    assert_null(strstr(out.data, "cher@"));
    buf_fini(&out);
}

/* To a sender: what became of his mail, and only text. */
static void test_over_a_limit(void **state)
{
    (void)state;
    static const char *const says[] = { [POLICY_OVER_DEFER] = "Subject: Your mail waits: limit account-hour is reached\r\n",
                                        [POLICY_OVER_REJECT] = "it again later.\r\nYou may send more in about 23m.",
                                        [POLICY_OVER_HOLD] = "There is no need to send it again." };
    for (uint8_t over = POLICY_OVER_DEFER; over <= POLICY_OVER_HOLD; over++) {
        struct buf out;
        uint32_t header_bytes = 0;
        struct notice_over_mail m = { .from = "postmaster@relay.example",
                                      .to = "anna@example.org",
                                      .message_id = "<1@relay.example>",
                                      .account = "anna@example.org",
                                      .limit = "account-hour",
                                      .words = "Limit account-hour of this account reached (200 recipients per 1h)",
                                      .retry_ms = 23 * 60000,
                                      .now_ms = 1700000000000,
                                      .held = over == POLICY_OVER_HOLD ? 4800 : 0,
                                      .recipients = over == POLICY_OVER_HOLD ? 5000 : 0,
                                      .over = over };
        buf_init(&out, 8192);
        assert_int_equal(notice_over_put(&m, &out, &header_bytes), 0);
        assert_int_equal(buf_put_char(&out, '\0'), 0);
        assert_memory_equal(out.data + header_bytes - 4, "\r\n\r\n", 4);
        assert_null(memmem(out.data, header_bytes - 4, "\r\n\r\n", 4));
        assert_non_null(strstr(out.data, "To: <anna@example.org>\r\n"));
        assert_non_null(strstr(out.data, "    Limit account-hour of this account reached (200 recipients per 1h)\r\n"));
        assert_non_null(strstr(out.data, says[over]));
        assert_int_equal(strstr(out.data, "4800 of 5000 recipients are held") != NULL, over == POLICY_OVER_HOLD);
        for (const char *p = out.data; *p != '\0'; p++) {
            assert_true(*p == '\r' || *p == '\n' || (*p >= ' ' && *p < 0x7f));
            if (*p == '\n')
                assert_true(p[-1] == '\r');
        }
        buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message),
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_over_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
