/* Addresses, literals, classes, networks, sets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/net/ip.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static struct ip_addr addr(const char *text)
{
    struct ip_addr a = { 0 };
    assert_int_equal(ip_addr_parse(span_str(text), &a), 0);
    return a;
}

static void test_parse_format(void **state)
{
    (void)state;
    static const char *const same[] = { "192.0.2.1", "0.0.0.0",     "255.255.255.255", "::",
                                        "::1",       "2001:db8::1", "fe80::1:2:3:4",   "1:2:3:4:5:6:7:8" };
    char out[IP_TEXT_MAX];
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        struct ip_addr a = addr(same[i]);
        assert_string_equal(ip_addr_format(&a, out), same[i]);
    }
    struct ip_addr a = addr("2001:DB8:0:0:0::1");
    assert_string_equal(ip_addr_format(&a, out), "2001:db8::1");
    a = (struct ip_addr){ 0 };
    assert_string_equal(ip_addr_format(&a, out), "unknown");

    static const char *const bad[] = { "",
                                       "1.2.3",
                                       "1.2.3.4.5",
                                       "256.1.1.1",
                                       "01.2.3.4",
                                       "1.2.3.4 ",
                                       " 1.2.3.4",
                                       "::1::",
                                       "fe80::1%eth0",
                                       "[::1]",
                                       "1.2.3.4:25",
                                       "0x7f.1",
                                       "2130706433",
                                       "g::",
                                       "1:2:3:4:5:6:7:8:9",
                                       "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(ip_addr_parse(span_str(bad[i]), &a), ERR_BAD);
    assert_int_equal(ip_addr_parse(span_of("1.2.3.4\0x", 9), &a), ERR_BAD);
}

static void test_mapped(void **state)
{
    (void)state;
    struct ip_addr a = addr("::ffff:127.0.0.1");
    struct ip_addr b = addr("127.0.0.1");
    assert_int_equal(a.family, 4);
    assert_true(ip_addr_eq(&a, &b));
    assert_int_equal(ip_addr_hash(&a), ip_addr_hash(&b));
    a = addr("::ffff:7f00:1");
    assert_true(ip_addr_eq(&a, &b));
    uint8_t bytes[16];
    inet_pton(AF_INET6, "::ffff:10.0.0.1", bytes);
    bool mapped = false;
    a = ip_addr_v6(bytes, &mapped);
    assert_true(mapped);
    assert_int_equal(ip_addr_class(&a), IP_CLASS_PRIVATE);
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(25) };
    memcpy(&in6.sin6_addr, bytes, 16);
    uint16_t port = 0;
    assert_int_equal(ip_from_sockaddr((struct sockaddr *)&in6, &a, &port), 0);
    assert_int_equal(a.family, 4);
    assert_int_equal(port, 25);
}

static void test_sockaddr(void **state)
{
    (void)state;
    static const char *const texts[] = { "192.0.2.7", "2001:db8::7" };
    for (size_t i = 0; i < 2; i++) {
        struct ip_addr a = addr(texts[i]);
        struct ip_addr b;
        uint16_t port = 0;
        struct sockaddr_storage sa;
        socklen_t len = ip_to_sockaddr(&a, 2525, &sa);
        assert_int_equal(len, i == 0 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        assert_int_equal(ip_from_sockaddr((struct sockaddr *)&sa, &b, &port), 0);
        assert_true(ip_addr_eq(&a, &b));
        assert_int_equal(port, 2525);
    }
    struct sockaddr other = { .sa_family = AF_UNIX };
    struct ip_addr a;
    assert_int_equal(ip_from_sockaddr(&other, &a, NULL), ERR_BAD);
}

static void test_sock_text(void **state)
{
    (void)state;
    struct ip_addr a;
    uint16_t port;
    char out[IP_SOCK_TEXT_MAX];
    assert_int_equal(ip_sock_parse(SPAN_LIT("192.0.2.1:587"), 25, &a, &port), 0);
    assert_string_equal(ip_sock_format(&a, port, out), "192.0.2.1:587");
    assert_int_equal(ip_sock_parse(SPAN_LIT("192.0.2.1"), 25, &a, &port), 0);
    assert_int_equal(port, 25);
    assert_int_equal(ip_sock_parse(SPAN_LIT("[2001:db8::1]:465"), 25, &a, &port), 0);
    assert_string_equal(ip_sock_format(&a, port, out), "[2001:db8::1]:465");
    assert_int_equal(ip_sock_parse(SPAN_LIT("2001:db8::1"), 25, &a, &port), 0);
    assert_int_equal(port, 25);
    assert_int_equal(ip_sock_parse(SPAN_LIT("[::1]"), 25, &a, &port), 0);
    static const char *const bad[] = {
        "",       ":25",   "192.0.2.1:",   "192.0.2.1:0",  "192.0.2.1:65536", "[::1",       "[::1]25",
        "[::1]:", "[]:25", "192.0.2.1:2x", "192.0.2.1:-1", "host:25",         "[::1]:25:26"
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(ip_sock_parse(span_str(bad[i]), 25, &a, &port), ERR_BAD);
}

static void test_literal(void **state)
{
    (void)state;
    struct ip_addr a;
    char out[IP_LITERAL_TEXT_MAX];
    assert_int_equal(ip_literal_parse(SPAN_LIT("[192.0.2.1]"), &a), 0);
    assert_string_equal(ip_literal_format(&a, out), "[192.0.2.1]");
    assert_int_equal(ip_literal_parse(SPAN_LIT("[IPv6:2001:db8::1]"), &a), 0);
    assert_string_equal(ip_literal_format(&a, out), "[IPv6:2001:db8::1]");
    assert_int_equal(ip_literal_parse(SPAN_LIT("[ipv6:::1]"), &a), 0);
    assert_int_equal(ip_addr_class(&a), IP_CLASS_LOOPBACK);
    assert_int_equal(ip_literal_parse(SPAN_LIT("[IPv6:::ffff:10.1.1.1]"), &a), 0);
    assert_int_equal(a.family, 4);
    static const char *const bad[] = { "",
                                       "[]",
                                       "[",
                                       "[192.0.2.1",
                                       "192.0.2.1]",
                                       "[2001:db8::1]",
                                       "[IPv6:192.0.2.1]",
                                       "[IPv6:]",
                                       "[IPv6:::1]x",
                                       "[tag:foo]",
                                       "[192.0.2.1 ]" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(ip_literal_parse(span_str(bad[i]), &a), ERR_BAD);
}

static void test_class(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum ip_class class;
        bool internal;
    } cases[] = {
        { "8.8.8.8", IP_CLASS_GLOBAL, false },
        { "2600::1", IP_CLASS_GLOBAL, false },
        { "0.0.0.0", IP_CLASS_UNSPECIFIED, true },
        { "0.1.2.3", IP_CLASS_UNSPECIFIED, true },
        { "::", IP_CLASS_UNSPECIFIED, true },
        { "127.0.0.1", IP_CLASS_LOOPBACK, true },
        { "127.255.255.255", IP_CLASS_LOOPBACK, true },
        { "::1", IP_CLASS_LOOPBACK, true },
        { "10.0.0.0", IP_CLASS_PRIVATE, true },
        { "10.255.255.255", IP_CLASS_PRIVATE, true },
        { "11.0.0.0", IP_CLASS_GLOBAL, false },
        { "172.15.255.255", IP_CLASS_GLOBAL, false },
        { "172.16.0.0", IP_CLASS_PRIVATE, true },
        { "172.31.255.255", IP_CLASS_PRIVATE, true },
        { "172.32.0.0", IP_CLASS_GLOBAL, false },
        { "192.168.1.1", IP_CLASS_PRIVATE, true },
        { "100.64.0.1", IP_CLASS_SHARED, true },
        { "100.128.0.0", IP_CLASS_GLOBAL, false },
        { "169.254.1.1", IP_CLASS_LINK_LOCAL, true },
        { "169.254.169.254", IP_CLASS_METADATA, true },
        { "fd00:ec2::254", IP_CLASS_METADATA, true },
        { "fe80::1", IP_CLASS_LINK_LOCAL, true },
        { "febf::1", IP_CLASS_LINK_LOCAL, true },
        { "fec0::1", IP_CLASS_ULA, true },
        { "fc00::1", IP_CLASS_ULA, true },
        { "fdff::1", IP_CLASS_ULA, true },
        { "224.0.0.1", IP_CLASS_MULTICAST, true },
        { "239.255.255.255", IP_CLASS_MULTICAST, true },
        { "ff02::1", IP_CLASS_MULTICAST, true },
        { "240.0.0.1", IP_CLASS_RESERVED, true },
        { "255.255.255.255", IP_CLASS_BROADCAST, true },
        { "192.0.2.1", IP_CLASS_DOCUMENTATION, false },
        { "198.51.100.1", IP_CLASS_DOCUMENTATION, false },
        { "203.0.113.1", IP_CLASS_DOCUMENTATION, false },
        { "2001:db8::1", IP_CLASS_DOCUMENTATION, false },
        { "::ffff:127.0.0.1", IP_CLASS_LOOPBACK, true },
        { "::127.0.0.1", IP_CLASS_RESERVED, true },
        { "64:ff9b::127.0.0.1", IP_CLASS_LOOPBACK, true },
        { "64:ff9b::8.8.8.8", IP_CLASS_GLOBAL, false },
        { "64:ff9b:1::1", IP_CLASS_PRIVATE, true },
        { "2002:7f00:1::1", IP_CLASS_LOOPBACK, true },
        { "2002:808:808::1", IP_CLASS_GLOBAL, false },
        { "198.18.0.1", IP_CLASS_RESERVED, true },
        { "198.20.0.0", IP_CLASS_GLOBAL, false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ip_addr a = addr(cases[i].text);
        if (ip_addr_class(&a) != cases[i].class)
            fail_msg("%s is taken for %s", cases[i].text, ip_class_name(ip_addr_class(&a)));
        assert_int_equal(ip_class_internal(ip_addr_class(&a)), cases[i].internal);
    }
}

static void test_reverse(void **state)
{
    (void)state;
    char out[80];
    struct ip_addr a = addr("192.0.2.10");
    assert_string_equal(ip_reverse_name(&a, out), "10.2.0.192.in-addr.arpa");
    a = addr("2001:db8::567:89ab");
    assert_string_equal(ip_reverse_name(&a, out),
                        "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
}

static void test_net(void **state)
{
    (void)state;
    struct ip_net net;
    char out[IP_TEXT_MAX + 4];
    static const struct {
        const char *text, *format;
    } good[] = {
        { "192.0.2.0/24", "192.0.2.0/24" },
        { "192.0.2.1", "192.0.2.1/32" },
        { "0.0.0.0/0", "0.0.0.0/0" },
        { "::/0", "::/0" },
        { "2001:db8::/32", "2001:db8::/32" },
        { "2001:db8::1", "2001:db8::1/128" },
        { "::ffff:192.0.2.0/120", "192.0.2.0/24" },
        { "::ffff:0.0.0.0/96", "0.0.0.0/0" },
        { "10.128.0.0/9", "10.128.0.0/9" },
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(ip_net_parse(span_str(good[i].text), &net), 0);
        assert_string_equal(ip_net_format(&net, out), good[i].format);
    }
    static const char *const bad[] = { "",
                                       "/",
                                       "192.0.2.1/24",
                                       "192.0.2.0/33",
                                       "192.0.2.0/",
                                       "2001:db8::/129",
                                       "192.0.2.0/024",
                                       "192.0.2.0/2a",
                                       "192.0.2.0/-1",
                                       "::ffff:0.0.0.0/95",
                                       "10.0.0.0/8/8",
                                       "10.0.0/8",
                                       " 10.0.0.0/8",
                                       "1.2.3.4.5",
                                       "x" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(ip_net_parse(span_str(bad[i]), &net), ERR_BAD);

    static const struct {
        const char *text, *meant;
    } nearly[] = {
        { "10.0.0.1/8", "10.0.0.0/8" },
        { "2001:db8::1/32", "2001:db8::/32" },
        { "::ffff:192.0.2.1/120", "192.0.2.0/24" },
    };
    for (size_t i = 0; i < sizeof nearly / sizeof *nearly; i++) {
        assert_int_equal(ip_net_parse(span_str(nearly[i].text), &net), ERR_BAD);
        assert_string_equal(ip_net_format(&net, out), nearly[i].meant);
    }

    assert_int_equal(ip_net_parse(SPAN_LIT("10.128.0.0/9"), &net), 0);
    struct ip_addr in = addr("10.200.1.1");
    struct ip_addr out_of = addr("10.127.255.255");
    struct ip_addr six = addr("2001:db8::1");
    assert_true(ip_net_has(&net, &in));
    assert_false(ip_net_has(&net, &out_of));
    assert_false(ip_net_has(&net, &six));
    net = ip_net_around(&in, 20);
    assert_string_equal(ip_net_format(&net, out), "10.200.0.0/20");
    net = ip_net_around(&in, 128);
    assert_int_equal(net.bits, 32);
}

static void test_set(void **state)
{
    (void)state;
    struct ip_set set;
    ip_set_init(&set, 8);
    static const char *const nets[] = { "10.0.0.0/8", "10.1.0.0/16",   "10.1.2.0/24",    "10.1.2.3",
                                        "0.0.0.0/0",  "2001:db8::/32", "2001:db8:1::/48" };
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        struct ip_net net;
        assert_int_equal(ip_net_parse(span_str(nets[i]), &net), 0);
        assert_int_equal(ip_set_add(&set, &net, (void *)(uintptr_t)nets[i]), 0);
        assert_int_equal(ip_set_add(&set, &net, NULL), ERR_EXISTS);
    }
    static const struct {
        const char *addr, *net;
    } cases[] = {
        { "10.1.2.3", "10.1.2.3" },
        { "10.1.2.4", "10.1.2.0/24" },
        { "10.1.3.1", "10.1.0.0/16" },
        { "10.2.0.1", "10.0.0.0/8" },
        { "11.0.0.1", "0.0.0.0/0" },
        { "2001:db8::1", "2001:db8::/32" },
        { "2001:db8:1::1", "2001:db8:1::/48" },
        { "::ffff:10.1.2.3", "10.1.2.3" },
        { "2001:db9::1", NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ip_addr a = addr(cases[i].addr);
        void *user = NULL;
        assert_int_equal(ip_set_find(&set, &a, &user), cases[i].net != NULL);
        if (cases[i].net != NULL)
            assert_string_equal(user, cases[i].net);
    }
    struct ip_addr none = { 0 };
    assert_false(ip_set_find(&set, &none, NULL));
    struct ip_net net;
    assert_int_equal(ip_net_parse(SPAN_LIT("192.0.2.0/24"), &net), 0);
    assert_int_equal(ip_set_add(&set, &net, NULL), 0);
    assert_int_equal(ip_net_parse(SPAN_LIT("192.0.3.0/24"), &net), 0);
    assert_int_equal(ip_set_add(&set, &net, NULL), ERR_LIMIT);
    ip_set_fini(&set);
}

/* The set against a plain walk over all networks. */
static void test_set_random(void **state)
{
    (void)state;
    struct ip_set set;
    struct ip_net nets[300];
    size_t n = 0;
    uint32_t rng = 12345;
    ip_set_init(&set, 1000);
    for (int i = 0; i < 300; i++) {
        uint8_t bytes[4];
        for (int k = 0; k < 4; k++)
            bytes[k] = (uint8_t)((rng = rng * 1664525u + 1013904223u) >> 28);
        struct ip_addr a = ip_addr_v4(bytes);
        struct ip_net net = ip_net_around(&a, (uint8_t)((rng = rng * 1664525u + 1013904223u) % 33));
        if (ip_set_add(&set, &net, (void *)(n + 1)) == 0)
            nets[n++] = net;
    }
    for (int i = 0; i < 5000; i++) {
        uint8_t bytes[4];
        for (int k = 0; k < 4; k++)
            bytes[k] = (uint8_t)((rng = rng * 1664525u + 1013904223u) >> 28);
        struct ip_addr a = ip_addr_v4(bytes);
        size_t best = 0;
        for (size_t k = 0; k < n; k++) {
            if (ip_net_has(&nets[k], &a) && (best == 0 || nets[k].bits > nets[best - 1].bits))
                best = k + 1;
        }
        void *user = NULL;
        assert_int_equal(ip_set_find(&set, &a, &user), best != 0);
        assert_int_equal((uintptr_t)user, best);
    }
    ip_set_fini(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_format), cmocka_unit_test(test_mapped),  cmocka_unit_test(test_sockaddr),
        cmocka_unit_test(test_sock_text),    cmocka_unit_test(test_literal), cmocka_unit_test(test_class),
        cmocka_unit_test(test_reverse),      cmocka_unit_test(test_net),     cmocka_unit_test(test_set),
        cmocka_unit_test(test_set_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
