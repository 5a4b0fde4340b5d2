/* PROXY protocol headers, version 1 and 2, whole and cut at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/net/proxy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Parses an exact copy, so that a read past the end is seen by AddressSanitizer. */
static int parse(const void *p, size_t n, struct proxy_header *h)
{
    char *copy = malloc(n == 0 ? 1 : n);
    assert_non_null(copy);
    memcpy(copy, p, n);
    int r = proxy_parse(copy, n, h);
    free(copy);
    return r;
}

/* The whole gives its length, each part of it "more", and bytes after it change nothing. */
static void check_whole(const char *p, size_t n, struct proxy_header *h)
{
    for (size_t i = 0; i < n; i++)
        assert_int_equal(parse(p, i, h), 0);
    char more[PROXY_HEADER_MAX + 16];
    memcpy(more, p, n);
    memcpy(more + n, "EHLO x\r\n", 8);
    assert_int_equal(parse(more, n + 8, h), (int)n);
    assert_int_equal(parse(p, n, h), (int)n);
}

static void check_addrs(const struct proxy_header *h, const char *source, uint16_t sport, const char *dest,
                        uint16_t dport)
{
    char text[IP_TEXT_MAX];
    assert_false(h->local);
    assert_string_equal(ip_addr_format(&h->source, text), source);
    assert_string_equal(ip_addr_format(&h->destination, text), dest);
    assert_int_equal(h->source_port, sport);
    assert_int_equal(h->destination_port, dport);
}

static void test_v1(void **state)
{
    (void)state;
    struct proxy_header h;
    static const char tcp4[] = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\r\n";
    check_whole(tcp4, sizeof tcp4 - 1, &h);
    check_addrs(&h, "192.0.2.1", 56324, "198.51.100.2", 25);
    static const char tcp6[] = "PROXY TCP6 2001:db8::1 2001:db8::2 65535 587\r\n";
    check_whole(tcp6, sizeof tcp6 - 1, &h);
    check_addrs(&h, "2001:db8::1", 65535, "2001:db8::2", 587);
    static const char mapped[] = "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n";
    check_whole(mapped, sizeof mapped - 1, &h);
    check_addrs(&h, "192.0.2.1", 1, "192.0.2.2", 2);
    static const char longest[] = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                                  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert_int_equal(sizeof longest - 1, 107);
    check_whole(longest, sizeof longest - 1, &h);
    assert_true(h.local);
    static const char unknown[] = "PROXY UNKNOWN\r\n";
    check_whole(unknown, sizeof unknown - 1, &h);
    assert_true(h.local);
    assert_int_equal(h.source.family, 0);
}

static void test_v1_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "EHLO x\r\n",
        "PROXY\r\n",
        "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2  1 2\r\n",
        "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2 1 2\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
    };
    struct proxy_header h;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (parse(bad[i], strlen(bad[i]), &h) != ERR_BAD)
            fail_msg("accepted: %s", bad[i]);
    }
    char endless[200];
    memset(endless, 'x', sizeof endless);
    memcpy(endless, "PROXY UNKNOWN ", 14);
    assert_int_equal(parse(endless, 106, &h), 0);
    assert_int_equal(parse(endless, 107, &h), ERR_BAD);
    static const char nul[] = "PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2\r\n";
    assert_int_equal(parse(nul, sizeof nul - 1, &h), ERR_BAD);
}

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define V4_BODY "\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x00\x19"
#define V6_ONE "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
#define V6_TWO "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"

static void test_v2(void **state)
{
    (void)state;
    struct proxy_header h;
    static const char v4[] = SIG "\x21\x11\x00\x0c" V4_BODY;
    check_whole(v4, sizeof v4 - 1, &h);
    check_addrs(&h, "192.0.2.1", 56324, "198.51.100.2", 25);
    assert_false(h.tls);
    static const char v6[] = SIG "\x21\x21\x00\x24" V6_ONE V6_TWO "\x00\x01\x02\x4b";
    check_whole(v6, sizeof v6 - 1, &h);
    check_addrs(&h, "2001:db8::1", 1, "2001:db8::2", 587);
    static const char local[] = SIG "\x20\x00\x00\x00";
    check_whole(local, sizeof local - 1, &h);
    assert_true(h.local);
    static const char local_with[] = SIG "\x20\x11\x00\x0c" V4_BODY;
    check_whole(local_with, sizeof local_with - 1, &h);
    assert_true(h.local);
    assert_int_equal(h.source.family, 0);
    static const char unspec[] = SIG "\x21\x00\x00\x03"
                                     "abc";
    check_whole(unspec, sizeof unspec - 1, &h);
    assert_true(h.local);
    static const char tls[] = SIG "\x21\x11\x00\x14" V4_BODY "\x20\x00\x05\x01\0\0\0\0";
    check_whole(tls, sizeof tls - 1, &h);
    assert_true(h.tls);
    static const char clear[] = SIG "\x21\x11\x00\x18" V4_BODY "\x04\x00\x01\x00\x20\x00\x05\x00\0\0\0\0";
    check_whole(clear, sizeof clear - 1, &h);
    assert_false(h.tls);
    char longest[PROXY_HEADER_MAX] = { 0 };
    memcpy(longest, SIG "\x21\x11\x0f\xf0" V4_BODY "\x04\x0f\xe1", 31);
    check_whole(longest, sizeof longest, &h);
    check_addrs(&h, "192.0.2.1", 56324, "198.51.100.2", 25);
}

static void test_v2_bad(void **state)
{
    (void)state;
    static const struct {
        const char *p;
        size_t n;
    } bad[] = {
#define BAD(lit) { lit, sizeof(lit) - 1 }
        BAD(SIG "\x11\x11\x00\x0c" V4_BODY), /* version 1 */
        BAD(SIG "\x22\x11\x00\x0c" V4_BODY), /* command 2 */
        BAD(SIG "\x21\x12\x00\x0c" V4_BODY), /* UDP */
        BAD(SIG "\x21\x31\x00\x0c" V4_BODY), /* unix socket */
        BAD(SIG "\x21\x41\x00\x0c" V4_BODY), /* no such family */
        BAD(SIG
            "\x21\x11\x00\x0b\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x00"), /* too short for the addresses */
        BAD(SIG "\x21\x21\x00\x0c" V4_BODY),                                 /* IPv6 with IPv4's length */
        BAD(SIG "\x21\x11\x0f\xf1"),                                         /* 4097 bytes */
        BAD(SIG "\x21\x11\xff\xff"),
        BAD(SIG "\x21\x11\x00\x0e" V4_BODY "\x04\x00"),             /* half an extension */
        BAD(SIG "\x21\x11\x00\x0f" V4_BODY "\x04\x00\x01"),         /* its value is missing */
        BAD(SIG "\x21\x11\x00\x11" V4_BODY "\x20\x00\x02\x01\x00"), /* TLS without its result */
        BAD("\r\n\r\n\0\r\nQUIT\r"),
    };
    struct proxy_header h;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (parse(bad[i].p, bad[i].n, &h) != ERR_BAD)
            fail_msg("accepted: case %zu", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v1),
        cmocka_unit_test(test_v1_bad),
        cmocka_unit_test(test_v2),
        cmocka_unit_test(test_v2_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
