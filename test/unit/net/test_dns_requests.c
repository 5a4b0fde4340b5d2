/* Requests for look-ups: names of clients, other records, cancelling and closing at any moment, bounds, and
 * errors of the configuration. */
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
    close_rest();
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
        cmocka_unit_test(test_client),        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_cancel),        cmocka_unit_test(test_inside),
        cmocka_unit_test(test_close_inside),  cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_config_errors), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, dns_started, dns_stopped);
}
