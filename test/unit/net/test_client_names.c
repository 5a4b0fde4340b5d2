/* Names of clients, remembered: one look-up for many sessions, how long answers live, and every bound,
 * against a name server that answers, fails, or says nothing at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dns_fixture.h"
#include "node/net/client_names.h"

#include <stdlib.h>
#include <string.h>

static struct client_names *names;

struct asked {
    struct client_names_wait wait;
    struct dns_client got;
    int calls;
};

static void open_names(struct dns_config dc, struct client_names_config config)
{
    open_dns(dc);
    names = client_names_new(&timers, &config);
    assert_non_null(names);
    client_names_use(names, dns);
}

static void close_names(void)
{
    client_names_free(names);
    names = NULL;
    close_dns();
}

static void got(void *ctx, const struct dns_client *client)
{
    struct asked *a = ctx;
    a->got = *client;
    a->calls++;
}

static struct ip_addr addr_of(const char *text)
{
    struct ip_addr a;
    assert_int_equal(ip_addr_parse(span_str(text), &a), 0);
    return a;
}

/* True: answered at once. */
static bool ask(struct asked *a, const char *text, bool needed)
{
    struct ip_addr addr = addr_of(text);
    return client_names_ask(names, &addr, needed, &a->wait, got, a, &a->got);
}

static struct client_names_stats stats(void)
{
    struct client_names_stats s;
    client_names_stats(names, &s);
    return s;
}

static void test_one_look_up(void **state)
{
    (void)state;
    struct asked a[5] = { 0 };
    open_names((struct dns_config){ 0 }, (struct client_names_config){ 0 });
    for (int i = 0; i < 4; i++)
        assert_false(ask(&a[i], "192.0.2.10", i % 2 == 0));
    client_names_leave(&a[3].wait);
    client_names_leave(&a[3].wait); /* harmless */
    while (a[2].calls == 0)
        turn();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(a[i].calls, 1);
        assert_int_equal(a[i].got.status, DNS_OK);
        assert_true(a[i].got.confirmed);
        assert_string_equal(a[i].got.name, "a.plain.example");
    }
    assert_int_equal(a[3].calls, 0);
    assert_true(ask(&a[4], "192.0.2.10", true));
    assert_string_equal(a[4].got.name, "a.plain.example");
    assert_int_equal(a[4].calls, 0);
    assert_int_equal(stats().asked, 1);
    assert_int_equal(stats().remembered, 1);
    assert_int_equal(stats().entries, 1);
    close_names();
}

/* What there is not, and what could not be found out, is remembered too: who hammers costs no look-ups. */
static void test_lack_and_failure(void **state)
{
    (void)state;
    static const struct {
        const char *addr;
        enum dns_status status, confirm_status;
    } cases[] = { { "192.0.2.200", DNS_PERMANENT, DNS_PERMANENT },
                  { "2001:db8::11", DNS_PERMANENT, DNS_PERMANENT },
                  { "192.0.2.11", DNS_OK, DNS_PERMANENT },
                  { "192.0.2.13", DNS_TEMPORARY, DNS_PERMANENT },
                  { "192.0.2.14", DNS_OK, DNS_TEMPORARY } };
    open_names((struct dns_config){ 0 }, (struct client_names_config){ 0 });
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct asked a = { 0 };
        assert_false(ask(&a, cases[i].addr, true));
        while (a.calls == 0)
            turn();
        for (int again = 0; again < 2; again++) {
            assert_int_equal(a.got.status, cases[i].status);
            assert_int_equal(a.got.confirm_status, cases[i].confirm_status);
            assert_false(a.got.confirmed);
            memset(&a.got, 0, sizeof a.got);
            assert_true(ask(&a, cases[i].addr, true));
        }
        assert_int_equal(a.calls, 1);
    }
    assert_int_equal(stats().asked, sizeof cases / sizeof *cases);
    assert_int_equal(stats().refused, 0);
    close_names();
}

/* With a name server that says nothing: what may be under way, what may wait, what gets its answer at once.
 */
static void test_bounds(void **state)
{
    (void)state;
    struct asked a[12] = { 0 };
    open_names((struct dns_config){ .timeout_ms = 60000 },
               (struct client_names_config){
                   .under_way_max = 4, .waiting_max = 3, .per_network_max = 2, .wait_ms = 200 });
    assert_false(ask(&a[0], "198.51.100.1", true));
    assert_false(ask(&a[1], "198.51.100.2", false)); /* nice to know: up to half */
    assert_true(ask(&a[2], "203.0.113.1", false));
    assert_int_equal(a[2].got.status, DNS_TEMPORARY);
    assert_true(ask(&a[2], "198.51.100.3", true)); /* its network has enough */
    assert_int_equal(a[2].got.status, DNS_TEMPORARY);
    assert_false(ask(&a[2], "203.0.113.1", true));
    assert_false(ask(&a[3], "203.0.113.2", true));
    assert_int_equal(stats().under_way, 4);
    assert_false(ask(&a[4], "2001:db8:1::1", true)); /* waits */
    assert_false(ask(&a[5], "2001:db8:1:2::1", true));
    assert_true(ask(&a[6], "2001:db8:1:3::1", true)); /* the same /48 */
    assert_false(ask(&a[6], "2001:db8:2::1", true));
    assert_true(ask(&a[7], "2001:db8:3::1", true));   /* no room to wait */
    assert_false(ask(&a[8], "2001:db8:1::1", false)); /* joins one that waits */
    assert_int_equal(stats().waiting, 3);
    while (a[8].calls == 0 || a[6].calls == 0)
        turn();
    for (int i = 4; i < 9; i++) {
        assert_int_equal(a[i].calls, i == 7 ? 0 : 1);
        assert_int_equal(a[i].got.status, DNS_TEMPORARY);
    }
    assert_int_equal(stats().waiting, 0);
    assert_int_equal(stats().under_way, 4);
    assert_int_equal(stats().entries, 4); /* what nobody was asked about is not remembered */
    assert_int_equal(a[0].calls, 0);
    assert_false(ask(&a[9], "2001:db8:1::1", true)); /* and may be asked again */
    for (int i = 0; i < 12; i++)
        client_names_leave(&a[i].wait);
    close_names();
}

static struct asked inner;

static void ask_inside(void *ctx, const struct dns_client *client)
{
    got(ctx, client);
    assert_true(ask(&inner, "192.0.2.10", true));
    assert_int_equal(inner.got.status, client->status);
}

/* A place that comes free is used; the oldest makes room; an answer may ask again; another resolver is asked
 * anew. */
static void test_turnover(void **state)
{
    (void)state;
    static const char *const addrs[] = { "192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.13" };
    struct asked a[4] = { 0 };
    open_names((struct dns_config){ 0 },
               (struct client_names_config){ .under_way_max = 1, .entries_max = 4 });
    for (int i = 0; i < 4; i++)
        assert_false(ask(&a[i], addrs[i], true));
    assert_int_equal(stats().under_way, 1);
    while (a[3].calls == 0)
        turn();
    for (int i = 0; i < 4; i++)
        assert_int_equal(a[i].calls, 1);
    assert_int_equal(stats().asked, 4);
    assert_true(ask(&a[0], addrs[0], true)); /* now the one used last */
    struct asked more = { 0 };
    assert_false(ask(&more, "192.0.2.20", true));
    while (more.calls == 0)
        turn();
    assert_int_equal(stats().entries, 4);
    assert_true(ask(&a[0], addrs[0], true));
    struct ip_addr first = addr_of(addrs[0]), gone_one = addr_of(addrs[1]);
    assert_false(client_names_ask(names, &gone_one, true, &a[1].wait, got, &a[1], &a[1].got));
    while (a[1].calls == 1)
        turn();
    client_names_use(names, NULL);
    assert_int_equal(stats().entries, 0);
    assert_true(ask(&a[0], addrs[0], true));
    assert_int_equal(a[0].got.status, DNS_TEMPORARY);
    client_names_use(names, dns);
    a[0].calls = 0;
    assert_false(client_names_ask(names, &first, true, &a[0].wait, ask_inside, &a[0], &a[0].got));
    while (a[0].calls == 0)
        turn();
    assert_string_equal(inner.got.name, "a.plain.example");
    close_names();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_look_up),
        cmocka_unit_test(test_lack_and_failure),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_turnover),
    };
    return cmocka_run_group_tests(tests, dns_started, dns_stopped);
}
