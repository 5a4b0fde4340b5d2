/* Networks and addresses as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/config/net.h"

static void test_format(void **state)
{
    (void)state;
    static const char *const same[] = { "192.0.2.0/24", "0.0.0.0/0", "10.0.0.1", "2001:db8::/32",
                                        "::1",          "::/0",      "fe80::/10" };
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        struct ip_net net;
        char text[IP_TEXT_MAX + 4];
        assert_int_equal(ip_net_parse(span_str(same[i]), &net), 0);
        config_net_format(&net, text);
        assert_string_equal(text, same[i]);
    }
}

static void test_contain(void **state)
{
    (void)state;
    static const struct {
        const char *net, *ip;
        bool in;
    } cases[] = {
        { "10.0.0.0/8", "10.255.255.255", true },
        { "10.0.0.0/8", "11.0.0.0", false },
        { "10.0.0.0/8", "::ffff:10.1.1.1", true },
        { "::ffff:10.0.0.0/104", "10.1.1.1", true },
        { "10.128.0.0/9", "10.127.255.255", false },
        { "10.0.0.1", "10.0.0.1", true },
        { "10.0.0.1", "10.0.0.0", false },
        { "2001:db8::/33", "2001:db8:7fff::1", true },
        { "2001:db8::/33", "2001:db8:8000::1", false },
        { "::/0", "2001:db8::1", true },
        { "::/0", "192.0.2.1", false },
        { "::/0", "::ffff:192.0.2.1", false },
        { "0.0.0.0/0", "192.0.2.1", true },
        { "0.0.0.0/0", "2001:db8::1", false },
        { "::1", "::1", true },
        { "127.0.0.0/8", "::1", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ip_net nets[2]; /* the first has none of them */
        struct sockaddr_storage a;
        assert_int_equal(ip_net_parse(SPAN_LIT("203.0.113.7"), &nets[0]), 0);
        assert_int_equal(ip_net_parse(span_str(cases[i].net), &nets[1]), 0);
        assert_int_equal(config_ip_parse(span_str(cases[i].ip), &a), 0);
        if (config_nets_contain(nets, 2, (struct sockaddr *)&a) != cases[i].in)
            fail_msg("%s in %s", cases[i].ip, cases[i].net);
        assert_false(config_nets_contain(nets, 1, (struct sockaddr *)&a));
    }
    struct ip_net any;
    struct sockaddr_storage unix_address = { .ss_family = AF_UNIX };
    assert_int_equal(ip_net_parse(SPAN_LIT("0.0.0.0/0"), &any), 0);
    assert_false(config_nets_contain(&any, 1, (struct sockaddr *)&unix_address));
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
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_contain),
        cmocka_unit_test(test_endpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
