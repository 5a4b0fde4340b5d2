/* Where mail goes, against a name server that answers, lies, fails or keeps silent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "dns_fixture.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_mx(void **state)
{
    (void)state;
    open_dns((struct dns_config){ 0 });
    check_site("plain.example", "a.plain.example/[2001:db8::10]:25 a.plain.example/192.0.2.10:25 "
                                "b.plain.example/192.0.2.20:25");
    check_site("Plain.EXAMPLE.", "a.plain.example/[2001:db8::10]:25 a.plain.example/192.0.2.10:25 "
                                 "b.plain.example/192.0.2.20:25");
    check_site("alias.example", "a.plain.example/[2001:db8::10]:25 a.plain.example/192.0.2.10:25 "
                                "b.plain.example/192.0.2.20:25");
    check_site("mxalias.example", "cname.plain.example/[2001:db8::10]:25 cname.plain.example/192.0.2.10:25");
    check_site("implicit.example", "implicit.example/192.0.2.30:25");
    check_site("halfnull.example", "a.plain.example/[2001:db8::10]:25 a.plain.example/192.0.2.10:25");
    check_site("twice.example", "b.plain.example/192.0.2.20:25 a.plain.example/[2001:db8::10]:25 "
                                "a.plain.example/192.0.2.10:25");
    check_site("badname.example", "a.plain.example/[2001:db8::10]:25 a.plain.example/192.0.2.10:25");
    check_site("mixed.test", "mixed.test/192.0.2.51:25");
    check_site("six.example", "six.example/[2001:db8::60]:25");
    check_site("b\xc3\xbc"
               "cher.example",
               "a.plain.example/[2001:db8::10]:25 a.plain.example/192.0.2.10:25");
    check_site("B\xc3\x9c"
               "CHER.Example",
               "a.plain.example/[2001:db8::10]:25 a.plain.example/192.0.2.10:25");
    struct dns_site *site = site_of("plain.example");
    assert_true(site->mx);
    assert_false(site->mx_secure);
    assert_int_equal(site->targets[2].preference, 20);
    assert_in_range(site->ttl_s, 590, 600); /* it may have been kept for a moment */
    dns_site_rele(site);
    site = site_of("implicit.example");
    assert_false(site->mx);
    dns_site_rele(site);
    close_dns();
}

static void test_families(void **state)
{
    (void)state;
    open_dns((struct dns_config){ .prefer_v4 = true });
    check_site("mxalias.example", "cname.plain.example/192.0.2.10:25 cname.plain.example/[2001:db8::10]:25");
    close_dns();
    open_dns((struct dns_config){ .family = DNS_FAMILY_V4 });
    check_site("mxalias.example", "cname.plain.example/192.0.2.10:25");
    check_failed("six.example", DNS_PERMANENT, "5.4.4", "neither a mail host nor an address");
    check_failed("[IPv6:2001:db8::1]", DNS_PERMANENT, "5.4.4", "another IP version");
    close_dns();
    open_dns((struct dns_config){ .family = DNS_FAMILY_V6 });
    check_site("mxalias.example", "cname.plain.example/[2001:db8::10]:25");
    close_dns();
}

static void test_shuffle(void **state)
{
    (void)state;
    int first[4] = { 0 };
    open_dns((struct dns_config){ .seed = 7 });
    for (int i = 0; i < 300; i++) {
        struct dns_site *site = site_of("group.example");
        assert_int_equal(site->ntargets, 4);
        assert_string_equal(site->hosts[0], "g0.group.example");
        first[site->hosts[1][1] - '0']++;
        dns_site_rele(site);
    }
    for (int i = 1; i < 4; i++)
        assert_true(first[i] > 60 && first[i] < 140);
    close_dns();
}

static void test_permanent(void **state)
{
    (void)state;
    open_dns((struct dns_config){ 0 });
    check_failed("null.example", DNS_PERMANENT, "5.1.10", "null MX");
    check_failed("nowhere.example", DNS_PERMANENT, "5.1.2", "no such domain: nowhere.example");
    check_failed("noaddr.example", DNS_PERMANENT, "5.4.4", "neither a mail host nor an address");
    check_failed("hostgone.example", DNS_PERMANENT, "5.4.4", "no mail host with an address");
    check_failed("onlybad.example", DNS_PERMANENT, "5.4.4", "no MX record names a host");
    check_failed("loop.example", DNS_PERMANENT, "5.4.6", "circle");
    check_failed("self.loop.example", DNS_PERMANENT, "5.4.6", "circle");
    check_failed("mxloop.example", DNS_PERMANENT, "5.4.6", "circle");
    static const char *const names[] = {
        "",        ".",     "a..example", ".example", "a b.example",    "a@b.example", "a/b",
        "[1.2.3]", "[::1]", "[",          "ex\xff",   "a\\032.example", "${x}.example"
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check_failed(names[i], DNS_PERMANENT, "5.1.2", "not a");
    char longest[300];
    memset(longest, 'a', sizeof longest);
    for (size_t i = 60; i < sizeof longest; i += 61)
        longest[i] = '.';
    longest[254] = '\0';
    check_failed(longest, DNS_PERMANENT, "5.1.2", "not a");
    longest[64] = 'a';
    longest[60] = 'a';
    longest[100] = '\0';
    check_failed(longest, DNS_PERMANENT, "5.1.2", "not a");
    close_dns();
}

static void test_temporary(void **state)
{
    (void)state;
    open_dns((struct dns_config){ .timeout_ms = 1500 });
    check_failed("servfail.example", DNS_TEMPORARY, "4.4.3", "servfail.example");
    check_failed("refused.example", DNS_TEMPORARY, "4.4.3", "refused.example");
    check_failed("garbage.example", DNS_TEMPORARY, "4.4.3", "garbage.example");
    check_failed("silent.example", DNS_TEMPORARY, "4.4.3", "in time");
    check_failed("hostfail.example", DNS_TEMPORARY, "4.4.3", "servfail.example");
    /* what can be found is used, but not for long */
    struct dns_site *site = site_of("hosthalf.example");
    check_targets(site, "a.plain.example/[2001:db8::10]:25 a.plain.example/192.0.2.10:25");
    assert_int_equal(site->ttl_s, 30);
    dns_site_rele(site);
    site = site_of("hostsilent.example");
    check_targets(site, "b.plain.example/192.0.2.20:25");
    assert_int_equal(site->ttl_s, 30);
    dns_site_rele(site);
    struct dns_stats stats;
    dns_stats_get(dns, &stats);
    assert_true(stats.timed_out > 0);
    assert_true(stats.failed > 0);
    close_dns();
}

static void test_truncated(void **state)
{
    (void)state;
    open_dns((struct dns_config){ 0 });
    unsigned before = atomic_load(&responder.tcp_queries);
    check_site("trunc.example", "a.plain.example/[2001:db8::10]:25 a.plain.example/192.0.2.10:25");
    assert_true(atomic_load(&responder.tcp_queries) > before);
    close_dns();
}

/* 500 hosts, of which the best 20 are looked at and no more. */
static void test_many(void **state)
{
    (void)state;
    open_dns((struct dns_config){ 0 });
    unsigned before = atomic_load(&responder.udp_queries);
    check_failed("many.example", DNS_PERMANENT, "5.4.4", "no mail host with an address");
    unsigned asked = atomic_load(&responder.udp_queries) - before;
    assert_in_range(asked, 40, 100); /* some twice, when the answer was late */
    close_dns();
    open_dns((struct dns_config){ .mx_max = 2 });
    struct dns_site *site = site_of("group.example");
    assert_int_equal(site->nhosts, 2);
    assert_string_equal(site->hosts[0], "g0.group.example");
    dns_site_rele(site);
    close_dns();
}

/* RFC 5321 section 5.1: from our own preference on nobody is tried. */
static void test_self(void **state)
{
    (void)state;
    open_dns((struct dns_config){ .family = DNS_FAMILY_V4 });
    check_site("weself.example", "a.plain.example/192.0.2.10:25");
    check_failed("webest.example", DNS_PERMANENT, "5.4.6", "loops back");
    check_failed("we.example", DNS_PERMANENT, "5.1.2", "no such domain");
    check_site("weaddr.example", "a.plain.example/192.0.2.10:25");
    check_failed("weaddrbest.example", DNS_PERMANENT, "5.4.6", "loops back");
    check_failed("ownaddr.example", DNS_PERMANENT, "5.4.4", "our own");
    check_failed("[192.0.2.99]", DNS_PERMANENT, "5.4.4", "our own");
    close_dns();
}

static bool is_peer(void *ctx, const struct ip_addr *addr)
{
    return ip_addr_eq(ctx, addr);
}

/* Another node of the cluster is us, too, as long as it is a member. */
static void test_peers(void **state)
{
    (void)state;
    struct ip_addr peer = { 0 };
    open_dns((struct dns_config){ .family = DNS_FAMILY_V4, .is_peer = is_peer, .peer_ctx = &peer });
    check_site("weself.example", "a.plain.example/192.0.2.10:25");
    assert_int_equal(ip_addr_parse(span_str("192.0.2.10"), &peer), 0);
    check_failed("weself.example", DNS_PERMANENT, "5.4.6", "loops back");
    check_failed("[192.0.2.10]", DNS_PERMANENT, "5.4.4", "another node of this cluster");
    assert_int_equal(ip_addr_parse(span_str("192.0.2.11"), &peer), 0);
    check_site("weself.example", "a.plain.example/192.0.2.10:25");
    close_dns();
}

static void test_internal(void **state)
{
    (void)state;
    static const struct {
        const char *domain, *words;
    } cases[] = {
        { "lo4.example", "loopback" },
        { "lo6.example", "::1 is loopback" },
        { "zero.example", "unspecified" },
        { "mapped.example", "mapped" },
        { "mappedpub.example", "mapped" },
        { "priv10.example", "10.1.2.3 is private" },
        { "priv172.example", "private" },
        { "priv192.example", "private" },
        { "meta.example", "metadata" },
        { "linklocal.example", "link-local" },
        { "ula.example", "unique local" },
        { "[127.0.0.1]", "loopback" },
        { "[10.0.0.1]", "private" },
        { "[IPv6:::1]", "loopback" },
        { "[IPv6:::ffff:10.0.0.1]", "private" },
        { "[0.0.0.0]", "unspecified" },
        { "[169.254.169.254]", "metadata" },
    };
    open_dns((struct dns_config){ 0 });
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_failed(cases[i].domain, DNS_PERMANENT, "5.4.4", cases[i].words);
    check_site("mixed.example", "mixed.example/192.0.2.50:25");
    check_site("[192.0.2.1]", "[192.0.2.1]/192.0.2.1:25");
    check_site("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]/[2001:db8::1]:25");
    close_dns();
    /* unless the operator allows it */
    struct ip_net allow[2];
    assert_int_equal(ip_net_parse(SPAN_LIT("10.0.0.0/8"), &allow[0]), 0);
    assert_int_equal(ip_net_parse(SPAN_LIT("127.8.0.0/16"), &allow[1]), 0);
    open_dns((struct dns_config){ .allow = allow, .nallow = 2 });
    check_site("priv10.example", "priv10.example/10.1.2.3:25");
    check_site("lo4.example", "lo4h.example/127.8.8.8:25");
    check_failed("priv172.example", DNS_PERMANENT, "5.4.4", "private");
    close_dns();
}

static void test_host(void **state)
{
    (void)state;
    char hosts[] = "/tmp/net-hosts-XXXXXX";
    int fd = mkstemp(hosts);
    assert_true(fd >= 0);
    static const char text[] =
        "# comment\n127.0.0.1 localhost  LocalHost.localdomain # more\n::1\tlocalhost\nnonsense\n"
        "10.9.8.7 smarthost.example\n";
    assert_int_equal(write(fd, text, sizeof text - 1), (int)sizeof text - 1);
    close(fd);
    open_dns((struct dns_config){ .hosts_file = hosts, .timeout_ms = 1500 });
    unlink(hosts);
    static const struct {
        const char *host, *want;
    } cases[] = {
        { "localhost", "localhost/[::1]:2525 localhost/127.0.0.1:2525" },
        { "LOCALHOST.localdomain", "localhost.localdomain/127.0.0.1:2525" },
        { "smarthost.example", "smarthost.example/10.9.8.7:2525" },
        { "priv10.example", "priv10.example/10.1.2.3:2525" }, /* the operator may */
        { "ownaddr.example", "ownaddr.example/192.0.2.99:2525" },
        { "127.0.0.1", "127.0.0.1/127.0.0.1:2525" },
        { "[127.0.0.1]", "[127.0.0.1]/127.0.0.1:2525" },
        { "::1", "::1/[::1]:2525" },
        { "a.plain.example", "a.plain.example/[2001:db8::10]:2525 a.plain.example/192.0.2.10:2525" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dns_site *site = host_of(cases[i].host, 2525);
        check_targets(site, cases[i].want);
        dns_site_rele(site);
    }
    /* a mistake in a route must not bounce mail */
    static const struct {
        const char *host, *enhanced;
    } bad[] = { { "nowhere.example", "4.4.4" },
                { "a b", "4.4.4" },
                { "", "4.4.4" },
                { "servfail.example", "4.4.3" },
                { "silent.example", "4.4.3" } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct dns_site *site = host_of(bad[i].host, 25);
        assert_int_equal(site->status, DNS_TEMPORARY);
        assert_string_equal(site->enhanced, bad[i].enhanced);
        dns_site_rele(site);
    }
    close_dns();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mx),        cmocka_unit_test(test_families),  cmocka_unit_test(test_shuffle),
        cmocka_unit_test(test_permanent), cmocka_unit_test(test_temporary), cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_many),      cmocka_unit_test(test_self),      cmocka_unit_test(test_internal),
        cmocka_unit_test(test_host),      cmocka_unit_test(test_peers),
    };
    return cmocka_run_group_tests(tests, dns_started, dns_stopped);
}
