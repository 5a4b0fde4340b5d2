/* What a relay client's reverse DNS means: each answer of a look-up, with forward confirmation on and off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/core/client_check.h"

#include <string.h>

#define WANTED                                                                                               \
    "Access temporarily denied. %s requires you to have valid reverse DNS PTR record in order to send mail " \
    "from [%s]"

static struct ip_addr addr_of(const char *text)
{
    struct ip_addr a;
    assert_int_equal(ip_addr_parse(span_str(text), &a), 0);
    return a;
}

static void test_each_answer(void **state)
{
    (void)state;
    static const struct {
        struct client_found found;
        enum client_check_result plain, confirmed; /* with when_unknown: defer */
    } cases[] = {
        { { DNS_OK, DNS_OK, true }, CLIENT_CHECK_PASSED, CLIENT_CHECK_PASSED },
        { { DNS_OK, DNS_PERMANENT, false }, CLIENT_CHECK_PASSED, CLIENT_CHECK_DEFERRED },
        { { DNS_OK, DNS_TEMPORARY, false }, CLIENT_CHECK_PASSED, CLIENT_CHECK_DEFERRED_UNKNOWN },
        { { DNS_PERMANENT, DNS_PERMANENT, false }, CLIENT_CHECK_DEFERRED, CLIENT_CHECK_DEFERRED },
        { { DNS_TEMPORARY, DNS_TEMPORARY, false },
          CLIENT_CHECK_DEFERRED_UNKNOWN,
          CLIENT_CHECK_DEFERRED_UNKNOWN },
    };
    struct ip_addr addr = addr_of("192.0.2.7");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int k = 0; k < 4; k++) {
            struct config_client_checks c = { .reverse_dns = true,
                                              .forward_confirmed = k & 1,
                                              .defer_unknown = (k & 2) == 0 };
            struct client_check check;
            enum client_check_result want = k & 1 ? cases[i].confirmed : cases[i].plain;
            if (want == CLIENT_CHECK_DEFERRED_UNKNOWN && !c.defer_unknown)
                want = CLIENT_CHECK_UNKNOWN;
            client_check_reverse_dns(&c, &addr, &cases[i].found, "relay.example", &check);
            assert_int_equal(check.result, want);
            if (want == CLIENT_CHECK_DEFERRED) {
                assert_int_equal(check.reply.code, 450);
                assert_string_equal(check.reply.enhanced, "4.7.1");
            } else if (want == CLIENT_CHECK_DEFERRED_UNKNOWN) {
                assert_int_equal(check.reply.code, 451);
                assert_string_equal(check.reply.enhanced, "4.4.3");
            }
        }
}

static void test_words(void **state)
{
    (void)state;
    const struct client_found none = { DNS_PERMANENT, DNS_PERMANENT, false };
    struct config_client_checks c = { .reverse_dns = true };
    struct client_check check;
    char want[600], longest[254];
    struct ip_addr v4 = addr_of("192.0.2.7"), v6 = addr_of("2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff");
    client_check_reverse_dns(&c, &v4, &none, "relay.example", &check);
    snprintf(want, sizeof want, WANTED, "relay.example", "192.0.2.7");
    assert_string_equal(check.reply.text, want);
    memset(longest, 'n', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    c.name = longest;
    client_check_reverse_dns(&c, &v6, &none, "relay.example", &check);
    snprintf(want, sizeof want, WANTED, longest, "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff");
    assert_string_equal(check.reply.text, want);
    assert_true(strlen("450 4.7.1 ") + strlen(want) + 2 <= 512); /* RFC 5321 section 4.5.3.1.5 */
}

static void test_who_is_asked(void **state)
{
    (void)state;
    struct ip_net exempt[2];
    assert_int_equal(ip_net_parse(SPAN_LIT("10.0.0.0/8"), &exempt[0]), 0);
    assert_int_equal(ip_net_parse(SPAN_LIT("2001:db8:1::/48"), &exempt[1]), 0);
    struct config_client_checks c = { .reverse_dns = true, .exempt = exempt, .nexempt = 2 };
    static const struct {
        const char *addr;
        bool due;
    } cases[] = { { "192.0.2.1", true },      { "10.9.8.7", false },     { "11.0.0.1", true },
                  { "2001:db8:1::5", false }, { "2001:db8:2::5", true }, { "127.0.0.9", false },
                  { "::1", false },           { "192.168.1.1", true } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ip_addr addr = addr_of(cases[i].addr);
        c.reverse_dns = true;
        assert_int_equal(client_check_due(&c, &addr), cases[i].due);
        c.reverse_dns = false;
        assert_false(client_check_due(&c, &addr));
        assert_int_equal(client_check_concerns(&c, &addr), cases[i].due);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_answer),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_who_is_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
