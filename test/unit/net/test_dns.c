/* Where mail goes, against a name server that answers, lies, fails or keeps silent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/net/dns.h"
#include "responder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct responder_rule rules[] = {
    { "plain.example", "MX", RESPONDER_ANSWER, "MX 20 b.plain.example; MX 10 a.plain.example" },
    { "a.plain.example", "*", RESPONDER_ANSWER, "A 192.0.2.10; AAAA 2001:db8::10" },
    { "b.plain.example", "*", RESPONDER_ANSWER, "A 192.0.2.20" },
    { "implicit.example", "*", RESPONDER_ANSWER, "A 192.0.2.30" },
    { "null.example", "*", RESPONDER_ANSWER, "MX 0 .; A 192.0.2.31" },
    { "halfnull.example", "*", RESPONDER_ANSWER, "MX 0 .; MX 10 a.plain.example" },
    { "alias.example", "*", RESPONDER_ANSWER, "CNAME plain.example" },
    { "mxalias.example", "*", RESPONDER_ANSWER, "MX 10 cname.plain.example" },
    { "cname.plain.example", "*", RESPONDER_ANSWER, "CNAME a.plain.example" },
    { "loop.example", "*", RESPONDER_ANSWER, "CNAME loop2.example" },
    { "loop2.example", "*", RESPONDER_ANSWER, "CNAME loop.example" },
    { "mxloop.example", "*", RESPONDER_ANSWER, "MX 10 loop.example" },
    { "self.loop.example", "*", RESPONDER_ANSWER, "CNAME self.loop.example" },
    { "servfail.example", "*", RESPONDER_SERVFAIL, NULL },
    { "refused.example", "*", RESPONDER_REFUSED, NULL },
    { "garbage.example", "*", RESPONDER_GARBAGE, NULL },
    { "silent.example", "*", RESPONDER_DROP, NULL },
    { "hostfail.example", "*", RESPONDER_ANSWER, "MX 10 servfail.example" },
    { "hosthalf.example", "*", RESPONDER_ANSWER, "MX 10 servfail.example; MX 20 a.plain.example" },
    { "hostsilent.example", "*", RESPONDER_ANSWER, "MX 10 silent.example; MX 20 b.plain.example" },
    { "hostgone.example", "*", RESPONDER_ANSWER, "MX 10 nowhere.example" },
    { "noaddr.example", "MX", RESPONDER_ANSWER, NULL },
    { "trunc.example", "MX", RESPONDER_TRUNCATE, "MX 10 a.plain.example" },
    { "many.example", "MX", RESPONDER_ANSWER, "MX*500 hosts.example" },
    { "group.example", "*", RESPONDER_ANSWER,
      "MX 10 g1.group.example; MX 10 g2.group.example; MX 10 g3.group.example; MX 5 g0.group.example" },
    { "g0.group.example", "*", RESPONDER_ANSWER, "A 192.0.2.40" },
    { "g1.group.example", "*", RESPONDER_ANSWER, "A 192.0.2.41" },
    { "g2.group.example", "*", RESPONDER_ANSWER, "A 192.0.2.42" },
    { "g3.group.example", "*", RESPONDER_ANSWER, "A 192.0.2.43" },
    { "twice.example", "*", RESPONDER_ANSWER,
      "MX 10 a.plain.example; MX 20 A.plain.example; MX 5 b.plain.example" },
    { "badname.example", "*", RESPONDER_ANSWER, "MX 10 a$b.example; MX 20 a.plain.example" },
    { "onlybad.example", "*", RESPONDER_ANSWER, "MX 10 a$b.example" },
    { "weself.example", "*", RESPONDER_ANSWER,
      "MX 10 a.plain.example; MX 20 we.example; MX 20 g1.group.example; MX 30 b.plain.example" },
    { "webest.example", "*", RESPONDER_ANSWER, "MX 10 we.example; MX 20 a.plain.example" },
    { "weaddr.example", "*", RESPONDER_ANSWER,
      "MX 10 a.plain.example; MX 20 ours.example; MX 30 b.plain.example" },
    { "weaddrbest.example", "*", RESPONDER_ANSWER, "MX 10 ours.example; MX 20 b.plain.example" },
    { "ours.example", "*", RESPONDER_ANSWER, "A 192.0.2.99" },
    { "lo4.example", "*", RESPONDER_ANSWER, "MX 10 lo4h.example" },
    { "lo4h.example", "*", RESPONDER_ANSWER, "A 127.0.0.1; A 127.8.8.8" },
    { "lo6.example", "*", RESPONDER_ANSWER, "AAAA ::1" },
    { "zero.example", "*", RESPONDER_ANSWER, "A 0.0.0.0" },
    { "mapped.example", "*", RESPONDER_ANSWER, "AAAA ::ffff:127.0.0.1" },
    { "mappedpub.example", "*", RESPONDER_ANSWER, "AAAA ::ffff:8.8.8.8" },
    { "priv10.example", "*", RESPONDER_ANSWER, "A 10.1.2.3" },
    { "priv172.example", "*", RESPONDER_ANSWER, "A 172.16.0.1" },
    { "priv192.example", "*", RESPONDER_ANSWER, "A 192.168.0.1" },
    { "meta.example", "*", RESPONDER_ANSWER, "A 169.254.169.254" },
    { "linklocal.example", "*", RESPONDER_ANSWER, "AAAA fe80::1" },
    { "ula.example", "*", RESPONDER_ANSWER, "AAAA fd00::1" },
    { "ownaddr.example", "*", RESPONDER_ANSWER, "A 192.0.2.99" },
    { "mixed.example", "*", RESPONDER_ANSWER, "A 10.1.2.3; A 192.0.2.50; A 127.0.0.1" },
    { "xn--bcher-kva.example", "*", RESPONDER_ANSWER, "MX 10 a.plain.example" },
    { "six.example", "*", RESPONDER_ANSWER, "AAAA 2001:db8::60" },
    { "txt.example", "TXT", RESPONDER_ANSWER, "TXT v=spf1 -all" },
    { "mixed.test", "*", RESPONDER_ANSWER, "A 192.0.2.51" },
    { "10.2.0.192.in-addr.arpa", "*", RESPONDER_ANSWER, "PTR a.plain.example" },
    { "11.2.0.192.in-addr.arpa", "*", RESPONDER_ANSWER, "PTR a.plain.example" },
    { "12.2.0.192.in-addr.arpa", "*", RESPONDER_ANSWER, "PTR bad name.example" },
    { "13.2.0.192.in-addr.arpa", "*", RESPONDER_SERVFAIL, NULL },
    { "14.2.0.192.in-addr.arpa", "*", RESPONDER_ANSWER, "PTR servfail.example" },
    { "20.2.0.192.in-addr.arpa", "*", RESPONDER_ANSWER, "PTR nowhere.example; PTR b.plain.example" },
    { "3.2.1.10.in-addr.arpa", "*", RESPONDER_ANSWER, "PTR priv10.example" },
    { "1.0.0.127.in-addr.arpa", "*", RESPONDER_ANSWER, "PTR lo4h.example" },
    { "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", "*", RESPONDER_ANSWER,
      "PTR a.plain.example" },
    { NULL, NULL, RESPONDER_ANSWER, NULL },
};

static struct responder responder;
static uv_loop_t loop;
static struct timers timers;
static struct dns *dns;

/* uv_run waits for input even when a timer brought what was waited for: a tick ends that. */
static uv_timer_t tick;
static void ticked(uv_timer_t *t)
{
    (void)t;
}

static void turn(void)
{
    uv_run(&loop, UV_RUN_ONCE);
}

static int started(void **state)
{
    (void)state;
    responder_start(&responder, rules);
    return 0;
}

static int stopped(void **state)
{
    (void)state;
    responder_stop(&responder);
    return 0;
}

static void open_dns(struct dns_config config)
{
    char resolver[32];
    snprintf(resolver, sizeof resolver, "127.0.0.1@%u", responder.port);
    const char *resolvers[] = { resolver };
    static const char *const own_names[] = { "We.Example." };
    struct ip_addr own;
    assert_int_equal(ip_addr_parse(SPAN_LIT("192.0.2.99"), &own), 0);
    config.resolvers = resolvers;
    config.nresolvers = 1;
    config.own = &own;
    config.nown = 1;
    config.own_names = own_names;
    config.nown_names = 1;
    if (config.seed == 0)
        config.seed = 42;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(timers_init(&timers, &loop), 0);
    assert_int_equal(uv_timer_init(&loop, &tick), 0);
    uv_timer_start(&tick, ticked, 5, 5);
    struct buf why;
    buf_init(&why, 256);
    if (dns_new(&loop, &timers, &config, &dns, &why) != 0)
        fail_msg("%.*s", (int)why.len, why.data);
    buf_fini(&why);
}

static void gone(void *ctx)
{
    ++*(int *)ctx;
}

static void close_dns(void)
{
    int closed = 0;
    dns_close(dns, gone, &closed);
    while (closed == 0)
        turn();
    uv_close((uv_handle_t *)&tick, NULL);
    timers_close(&timers, gone, &closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(closed, 2);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void got_site(void *ctx, struct dns_site *site)
{
    struct dns_site **out = ctx;
    assert_null(*out);
    dns_site_hold(site);
    *out = site;
}

static struct dns_site *site_of(const char *domain)
{
    struct dns_site *site = NULL;
    assert_non_null(dns_site(dns, span_str(domain), got_site, &site));
    assert_null(site); /* never called from inside */
    while (site == NULL)
        turn();
    return site;
}

static struct dns_site *host_of(const char *host, uint16_t port)
{
    struct dns_site *site = NULL;
    assert_non_null(dns_host(dns, span_str(host), port, got_site, &site));
    assert_null(site);
    while (site == NULL)
        turn();
    return site;
}

/* Targets as "host/address:port ..." */
static void check_targets(struct dns_site *site, const char *want)
{
    char got[8192] = "";
    if (site->status != DNS_OK)
        fail_msg("%s %s", site->enhanced, site->reason);
    assert_string_equal(site->reason, "");
    for (uint32_t i = 0; i < site->ntargets; i++) {
        char text[IP_SOCK_TEXT_MAX];
        const struct dns_target *t = &site->targets[i];
        assert_true(t->host < site->nhosts);
        size_t len = strlen(got);
        snprintf(got + len, sizeof got - len, "%s%s/%s", i == 0 ? "" : " ", site->hosts[t->host],
                 ip_sock_format(&t->addr, t->port, text));
    }
    assert_string_equal(got, want);
    assert_true(site->ttl_s >= 30 && site->ttl_s <= 3600);
}

static void check_site(const char *domain, const char *want)
{
    struct dns_site *site = site_of(domain);
    check_targets(site, want);
    dns_site_rele(site);
}

static void check_failed(const char *domain, enum dns_status status, const char *enhanced, const char *words)
{
    struct dns_site *site = site_of(domain);
    if (site->status != status || strcmp(site->enhanced, enhanced) != 0 ||
        strstr(site->reason, words) == NULL)
        fail_msg("%s: got %d %s \"%s\"", domain, site->status, site->enhanced, site->reason);
    assert_int_equal(site->ntargets, 0);
    assert_true(site->ttl_s >= 30 && site->ttl_s <= 300);
    dns_site_rele(site);
}

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
    assert_int_equal(site->ttl_s, 600);
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
    open_dns((struct dns_config){ .timeout_ms = 700 });
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
    assert_true(asked >= 40 && asked <= 45);
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
    open_dns((struct dns_config){ .hosts_file = hosts, .timeout_ms = 500 });
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

static void got_client(void *ctx, const struct dns_client *client)
{
    *(struct dns_client *)ctx = *client;
}

static struct dns_client client_of(const char *text)
{
    struct ip_addr a;
    struct dns_client client = { .ttl_s = 0 };
    assert_int_equal(ip_addr_parse(span_str(text), &a), 0);
    assert_non_null(dns_client(dns, &a, got_client, &client));
    while (client.ttl_s == 0)
        turn();
    return client;
}

static void test_client(void **state)
{
    (void)state;
    open_dns((struct dns_config){ 0 });
    static const struct {
        const char *addr, *name;
        enum dns_status status;
        bool confirmed;
        enum dns_status confirm_status;
    } cases[] = {
        { "192.0.2.10", "a.plain.example", DNS_OK, true, DNS_OK },
        { "2001:db8::10", "a.plain.example", DNS_OK, true, DNS_OK },
        { "2001:db8::11", "", DNS_PERMANENT, false, DNS_PERMANENT },
        { "192.0.2.11", "a.plain.example", DNS_OK, false, DNS_PERMANENT },
        { "192.0.2.12", "", DNS_PERMANENT, false, DNS_PERMANENT },
        { "192.0.2.13", "", DNS_TEMPORARY, false, DNS_PERMANENT },
        { "192.0.2.14", "servfail.example", DNS_OK, false, DNS_TEMPORARY },
        { "192.0.2.20", "b.plain.example", DNS_OK, true, DNS_OK },
        { "192.0.2.200", "", DNS_PERMANENT, false, DNS_PERMANENT },
        { "10.1.2.3", "priv10.example", DNS_OK, true, DNS_OK },
        { "127.0.0.1", "lo4h.example", DNS_OK, true, DNS_OK },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dns_client got = client_of(cases[i].addr);
        if (got.status != cases[i].status || got.confirmed != cases[i].confirmed ||
            strcmp(got.name, cases[i].name) != 0 || got.confirm_status != cases[i].confirm_status)
            fail_msg("%s: \"%s\" %d %d %d", cases[i].addr, got.name, got.status, got.confirmed,
                     got.confirm_status);
    }
    close_dns();
}

struct looked {
    bool called;
    enum dns_status status;
    uint32_t n;
    struct buf text;
};

static void got_lookup(void *ctx, const struct dns_answer *a)
{
    struct looked *l = ctx;
    l->called = true;
    l->status = a->status;
    l->n = a->nrecords;
    if (a->nrecords > 0)
        assert_int_equal(dns_txt_join(a->records[0], &l->text), 0);
}

static void test_lookup(void **state)
{
    (void)state;
    open_dns((struct dns_config){ 0 });
    static const struct {
        const char *name;
        enum dns_status status;
        uint32_t n;
    } cases[] = { { "txt.example", DNS_OK, 1 },
                  { "plain.example", DNS_OK, 0 },
                  { "nowhere.example", DNS_PERMANENT, 0 },
                  { "servfail.example", DNS_TEMPORARY, 0 },
                  { "not a name", DNS_TEMPORARY, 0 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct looked l = { 0 };
        buf_init(&l.text, 1000);
        assert_non_null(dns_lookup(dns, span_str(cases[i].name), DNS_TYPE_TXT, got_lookup, &l));
        while (!l.called)
            turn();
        assert_int_equal(l.status, cases[i].status);
        assert_int_equal(l.n, cases[i].n);
        if (l.n == 1) {
            assert_int_equal(l.text.len, 11);
            assert_memory_equal(l.text.data, "v=spf1 -all", 11);
        }
        buf_fini(&l.text);
    }
    struct buf b;
    buf_init(&b, 1000);
    assert_int_equal(dns_txt_join(span_of("\3abc\2de\0\1f", 10), &b), 0);
    assert_int_equal(b.len, 6);
    assert_int_equal(dns_txt_join(span_of("\5abc", 4), &b), ERR_BAD);
    buf_fini(&b);
    close_dns();
}

static int calls;
static void count_site(void *ctx, struct dns_site *site)
{
    (void)ctx;
    (void)site;
    calls++;
}

/* Cancelled ones are never heard of again; what is under way when all is closed neither. */
static void test_cancel(void **state)
{
    (void)state;
    open_dns((struct dns_config){ 0 });
    calls = 0;
    static const char *const names[] = { "plain.example",      "silent.example", "[127.0.0.1]", "",
                                         "hostsilent.example", "loop.example" };
    for (int round = 0; round < 20; round++) {
        struct dns_request *r[6];
        for (int i = 0; i < 6; i++)
            assert_non_null(r[i] = dns_site(dns, span_str(names[i]), count_site, NULL));
        for (int i = 0; i < round; i++)
            uv_run(&loop, UV_RUN_NOWAIT);
        if (round == 0) {
            for (int i = 0; i < 6; i++)
                dns_cancel(r[i]);
            uv_run(&loop, UV_RUN_NOWAIT);
            assert_int_equal(calls, 0);
        }
        dns_cancel(NULL);
    }
    struct ip_addr a;
    assert_int_equal(ip_addr_parse(SPAN_LIT("192.0.2.10"), &a), 0);
    struct dns_client client;
    struct looked l;
    assert_non_null(dns_client(dns, &a, got_client, &client));
    assert_non_null(dns_lookup(dns, SPAN_LIT("silent.example"), DNS_TYPE_TXT, got_lookup, &l));
    int before = calls;
    close_dns();
    assert_int_equal(calls, before);
}

static struct dns_request *mine;
static void cancel_mine(void *ctx, struct dns_site *site)
{
    (void)site;
    dns_cancel(mine); /* harmless: it is being answered */
    struct dns_request *next = dns_site(dns, SPAN_LIT("implicit.example"), count_site, NULL);
    assert_non_null(next);
    dns_cancel(next);
    assert_non_null(dns_site(dns, SPAN_LIT("implicit.example"), count_site, NULL));
    *(bool *)ctx = true;
}

static void test_inside(void **state)
{
    (void)state;
    open_dns((struct dns_config){ 0 });
    bool done = false;
    calls = 0;
    mine = dns_site(dns, SPAN_LIT("plain.example"), cancel_mine, &done);
    while (!done || calls == 0)
        turn();
    assert_int_equal(calls, 1);
    close_dns();
}

static void close_all(void *ctx, struct dns_site *site)
{
    (void)site;
    dns_close(dns, gone, ctx);
}

static void test_close_inside(void **state)
{
    (void)state;
    open_dns((struct dns_config){ 0 });
    int closed = 0;
    calls = 0;
    dns_site(dns, SPAN_LIT("servfail.example"), count_site, NULL);
    dns_site(dns, SPAN_LIT("plain.example"), close_all, &closed);
    dns_site(dns, SPAN_LIT("silent.example"), count_site, NULL);
    while (closed == 0)
        turn();
    uv_close((uv_handle_t *)&tick, NULL);
    timers_close(&timers, gone, &closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void count_status(void *ctx, struct dns_site *site)
{
    ((int *)ctx)[site->status]++;
}

/* Few at once, few waiting, the rest refused at once, and all of them answered. */
static void test_bounds(void **state)
{
    (void)state;
    open_dns((struct dns_config){ .under_way_max = 4, .waiting_max = 20, .family = DNS_FAMILY_V4 });
    int by_status[3] = { 0 };
    for (int i = 0; i < 40; i++)
        assert_non_null(dns_site(dns, SPAN_LIT("implicit.example"), count_status, by_status));
    struct dns_stats stats;
    dns_stats_get(dns, &stats);
    assert_int_equal(stats.under_way, 4);
    assert_int_equal(stats.waiting, 20);
    assert_int_equal(stats.refused, 16);
    while (by_status[0] + by_status[1] + by_status[2] < 40)
        turn();
    assert_int_equal(by_status[DNS_PERMANENT], 0);
    assert_true(by_status[DNS_TEMPORARY] >= 16);
    assert_true(by_status[DNS_OK] >= 4);
    dns_stats_get(dns, &stats);
    assert_int_equal(stats.under_way + stats.waiting, 0);
    close_dns();
}

static void test_config_errors(void **state)
{
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(timers_init(&timers, &loop), 0);
    struct buf why;
    buf_init(&why, 256);
    const char *resolvers[] = { "not an address" };
    assert_int_equal(
        dns_new(&loop, &timers, &(struct dns_config){ .resolvers = resolvers, .nresolvers = 1 }, &dns, &why),
        ERR_BAD);
    buf_put_char(&why, '\0');
    assert_non_null(strstr(why.data, "resolver not an address"));
    buf_reset(&why);
    assert_int_equal(
        dns_new(&loop, &timers, &(struct dns_config){ .trust_anchor_file = "/nonexistent/key" }, &dns, &why),
        ERR_BAD);
    buf_put_char(&why, '\0');
    assert_non_null(strstr(why.data, "/nonexistent/key"));
    char anchor[] = "/tmp/net-anchor-XXXXXX";
    int fd = mkstemp(anchor);
    assert_int_equal(write(fd, "not a key\n", 10), 10);
    close(fd);
    buf_reset(&why);
    assert_int_equal(dns_new(&loop, &timers, &(struct dns_config){ .trust_anchor_file = anchor }, &dns, &why),
                     ERR_BAD);
    assert_true(why.len > 0);
    unlink(anchor);
    buf_fini(&why);
    timers_close(&timers, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_names(void **state)
{
    (void)state;
    char out[256];
    assert_int_equal(dns_name_normalise(SPAN_LIT("B\xc3\xbc"
                                                 "cher.Example."),
                                        out),
                     0);
    assert_string_equal(out, "xn--bcher-kva.example");
    assert_int_equal(dns_name_normalise(SPAN_LIT("_dmarc.Example"), out), 0);
    assert_string_equal(out, "_dmarc.example");
    assert_int_equal(dns_name_normalise(span_of("a\0b.example", 11), out), ERR_BAD);
    assert_int_equal(dns_name_normalise(SPAN_LIT("a\r\n.example"), out), ERR_BAD);
    assert_int_equal(dns_name_normalise(SPAN_LIT("\xff\xfe.example"), out), ERR_BAD);
    assert_int_equal(dns_name_normalise(SPAN_LIT("example.."), out), ERR_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mx),
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_shuffle),
        cmocka_unit_test(test_permanent),
        cmocka_unit_test(test_temporary),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_self),
        cmocka_unit_test(test_internal),
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_client),
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_inside),
        cmocka_unit_test(test_close_inside),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_config_errors),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, started, stopped);
}
