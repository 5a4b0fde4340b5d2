/* The zone, and asking about it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "dns_fixture.h"

#include <stdio.h>
#include <string.h>

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
    { "1.100.51.198.in-addr.arpa", "*", RESPONDER_DROP, NULL },
    { "2.100.51.198.in-addr.arpa", "*", RESPONDER_DROP, NULL },
    { "1.113.0.203.in-addr.arpa", "*", RESPONDER_DROP, NULL },
    { "2.113.0.203.in-addr.arpa", "*", RESPONDER_DROP, NULL },
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

struct responder responder;
uv_loop_t loop;
struct timers timers;
struct dns *dns;

/* uv_run waits for input even when a timer brought what was waited for: a tick ends that. */
static uv_timer_t tick;
static void ticked(uv_timer_t *t)
{
    (void)t;
}

void turn(void)
{
    uv_run(&loop, UV_RUN_ONCE);
}

int dns_started(void **state)
{
    (void)state;
    responder_start(&responder, rules);
    return 0;
}

int dns_stopped(void **state)
{
    (void)state;
    responder_stop(&responder);
    return 0;
}

void open_dns(struct dns_config config)
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

void gone(void *ctx)
{
    ++*(int *)ctx;
}

void close_rest(void)
{
    int closed = 0;
    uv_close((uv_handle_t *)&tick, NULL);
    timers_close(&timers, gone, &closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(closed, 1);
    assert_int_equal(uv_loop_close(&loop), 0);
}

void close_dns(void)
{
    int closed = 0;
    dns_close(dns, gone, &closed);
    while (closed == 0)
        turn();
    assert_int_equal(closed, 1);
    close_rest();
}

static void got_site(void *ctx, struct dns_site *site)
{
    struct dns_site **out = ctx;
    assert_null(*out);
    dns_site_hold(site);
    *out = site;
}

struct dns_site *site_of(const char *domain)
{
    struct dns_site *site = NULL;
    assert_non_null(dns_site(dns, span_str(domain), got_site, &site));
    assert_null(site); /* never called from inside */
    while (site == NULL)
        turn();
    return site;
}

struct dns_site *host_of(const char *host, uint16_t port)
{
    struct dns_site *site = NULL;
    assert_non_null(dns_host(dns, span_str(host), port, got_site, &site));
    assert_null(site);
    while (site == NULL)
        turn();
    return site;
}

void check_targets(struct dns_site *site, const char *want)
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

void check_site(const char *domain, const char *want)
{
    struct dns_site *site = site_of(domain);
    check_targets(site, want);
    dns_site_rele(site);
}

void check_failed(const char *domain, enum dns_status status, const char *enhanced, const char *words)
{
    struct dns_site *site = site_of(domain);
    if (site->status != status || strcmp(site->enhanced, enhanced) != 0 ||
        strstr(site->reason, words) == NULL)
        fail_msg("%s: got %d %s \"%s\"", domain, site->status, site->enhanced, site->reason);
    assert_int_equal(site->ntargets, 0);
    assert_true(site->ttl_s >= 30 && site->ttl_s <= 300);
    dns_site_rele(site);
}
