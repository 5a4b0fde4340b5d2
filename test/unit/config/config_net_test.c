/* Networks and addresses as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/config/net.h"

static void test_round_trip(void **state)
{
    (void)state;
    static const char *const same[] = { "192.0.2.0/24", "0.0.0.0/0", "10.0.0.1", "2001:db8::/32",
                                        "::1",          "::/0",      "fe80::/10" };
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        struct config_net net;
        char text[64];
        assert_int_equal(config_net_parse(span_str(same[i]), &net), 0);
        config_net_format(&net, text, sizeof text);
        assert_string_equal(text, same[i]);
    }
}

static void test_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",          "10.0.0.1/8",       "10.0.0.0/33", "2001:db8::/129", "10.0.0/8",      "x",
        "10.0.0.0/", "10.0.0.0/-1",      "10.0.0.0/8x", " 10.0.0.0/8",    "10.0.0.0/0008", "2001:db8::1/32",
        "1.2.3.4.5", "::ffff:1.2.3.4/95"
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct config_net net;
        if (config_net_parse(span_str(bad[i]), &net) != ERR_BAD)
            fail_msg("%s was taken for a network", bad[i]);
    }
}

static void test_contains(void **state)
{
    (void)state;
    static const struct {
        const char *net, *ip;
        bool in;
    } cases[] = {
        { "10.0.0.0/8", "10.255.255.255", true },
        { "10.0.0.0/8", "11.0.0.0", false },
        { "10.0.0.0/8", "::ffff:10.1.1.1", true },
        { "10.128.0.0/9", "10.127.255.255", false },
        { "10.0.0.1", "10.0.0.1", true },
        { "10.0.0.1", "10.0.0.0", false },
        { "2001:db8::/33", "2001:db8:7fff::1", true },
        { "2001:db8::/33", "2001:db8:8000::1", false },
        { "::/0", "2001:db8::1", true },
        { "::/0", "192.0.2.1", false },
        { "0.0.0.0/0", "192.0.2.1", true },
        { "0.0.0.0/0", "2001:db8::1", false },
        { "::1", "::1", true },
        { "127.0.0.0/8", "::1", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config_net net;
        struct sockaddr_storage a;
        assert_int_equal(config_net_parse(span_str(cases[i].net), &net), 0);
        assert_int_equal(config_ip_parse(span_str(cases[i].ip), &a), 0);
        if (config_net_contains(&net, (struct sockaddr *)&a) != cases[i].in)
            fail_msg("%s in %s", cases[i].ip, cases[i].net);
    }
    struct config_net any;
    struct sockaddr_storage unix_address = { .ss_family = AF_UNIX };
    config_net_parse(SPAN_LIT("0.0.0.0/0"), &any);
    assert_false(config_net_contains(&any, (struct sockaddr *)&unix_address));
}

static void test_net_of(void **state)
{
    (void)state;
    struct sockaddr_storage a;
    struct config_net net;
    char text[64];
    config_ip_parse(SPAN_LIT("192.0.2.77"), &a);
    assert_true(config_net_of((struct sockaddr *)&a, 24, 64, &net));
    config_net_format(&net, text, sizeof text);
    assert_string_equal(text, "192.0.2.0/24");
    config_ip_parse(SPAN_LIT("2001:db8:1:2:3::4"), &a);
    assert_true(config_net_of((struct sockaddr *)&a, 24, 64, &net));
    config_net_format(&net, text, sizeof text);
    assert_string_equal(text, "2001:db8:1:2::/64");
    a.ss_family = AF_UNIX;
    assert_false(config_net_of((struct sockaddr *)&a, 24, 64, &net));
}

static void test_endpoints(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        char mark;
        const char *back; /* NULL: bad */
    } cases[] = {
        { "192.0.2.1:25", ':', "192.0.2.1:25" },
        { "[2001:db8::1]:587", ':', "[2001:db8::1]:587" },
        { "192.0.2.1", ':', NULL },
        { "2001:db8::1:25", ':', NULL },
        { "[192.0.2.1]:25", ':', NULL },
        { "192.0.2.1:0", ':', NULL },
        { "192.0.2.1:65536", ':', NULL },
        { "192.0.2.1:", ':', NULL },
        { "localhost:25", ':', NULL },
        { ":25", ':', NULL },
        { "[::1]", ':', NULL },
        { "", ':', NULL },
        { "127.0.0.1@5353", '@', "127.0.0.1:5353" },
        { "::1", '@', "[::1]:53" },
        { "::1@5353", '@', "[::1]:5353" },
        { "[::1]@53", '@', "[::1]:53" },
        { "127.0.0.1@", '@', NULL },
        { "dns.example@53", '@', NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sockaddr_storage a;
        char text[64];
        int err = config_endpoint_parse(span_str(cases[i].text), cases[i].mark, &a);
        if (cases[i].back == NULL) {
            if (err != ERR_BAD)
                fail_msg("%s was taken for an endpoint", cases[i].text);
            continue;
        }
        assert_int_equal(err, 0);
        config_endpoint_format(&a, text, sizeof text);
        assert_string_equal(text, cases[i].back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_bad),       cmocka_unit_test(test_contains),
        cmocka_unit_test(test_net_of),     cmocka_unit_test(test_endpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
