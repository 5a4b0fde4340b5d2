/* What destinations of one site share: places for connections, whose turn it is, the limit that grows,
 * back-off for all, rates; names of MX sets; and what 100,000 sites cost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/core/egress.h"
#include "node/core/sites.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS INT64_C(1000000)
#define SEC_NS (1000 * MS)

static struct {
    uint32_t n, worker;
} woken;

static struct sites *the_sites;

static void wake_cb(void *ctx, uint32_t worker, struct site_share *share)
{
    (void)ctx;
    woken.n++;
    woken.worker = worker;
    sites_rele(the_sites, share);
}

static int setup(void **state)
{
    memset(&woken, 0, sizeof woken);
    *state = the_sites = sites_new(3, wake_cb, NULL);
    return the_sites == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    sites_free(*state);
    return 0;
}

static struct ip_addr address(unsigned last)
{
    char text[32];
    struct ip_addr a;
    snprintf(text, sizeof text, "192.0.2.%u", last);
    assert_int_equal(ip_addr_parse(span_str(text), &a), 0);
    return a;
}

static bool take(struct site_share *share, uint32_t worker, unsigned last, int64_t now, uint32_t *at)
{
    struct ip_addr a = address(last);
    bool idle;
    return sites_take(share, worker, &a, now, at, &idle);
}

static bool room(struct site_share *share, uint32_t worker, unsigned last, int64_t now)
{
    struct ip_addr a = address(last);
    return sites_room(share, worker, &a, now);
}

static void test_one_share_for_one_key(void **state)
{
    struct sites_limits limits = { .start = 2, .max = 5 };
    struct site_share *a = sites_get(*state, SPAN_LIT("mx:a"), &limits);
    struct site_share *b = sites_get(*state, SPAN_LIT("news/mx:a"), &limits);
    assert_ptr_equal(sites_get(*state, SPAN_LIT("mx:a"), &limits), a);
    assert_ptr_equal(sites_find(*state, SPAN_LIT("mx:a")), a);
    assert_null(sites_find(*state, SPAN_LIT("mx:b")));
    assert_ptr_not_equal(a, b);
    assert_true(sites_bytes(*state) > 0);
    uint32_t at;
    uint64_t bytes = sites_bytes(*state);
    assert_true(take(a, 0, 1, 0, &at));
    sites_give(*state, a, at, false);
    for (int i = 0; i < 3; i++)
        sites_rele(*state, a);
    assert_null(sites_find(*state, SPAN_LIT("mx:a")));
    assert_true(sites_bytes(*state) < bytes);
    sites_rele(*state, b);
}

static void test_places_of_all_and_of_each_address(void **state)
{
    struct sites_limits limits = { .start = 10, .max = 10, .connections = 2 };
    struct site_share *s = sites_get(*state, SPAN_LIT("k"), &limits);
    uint32_t at[4];
    assert_true(take(s, 0, 1, 0, &at[0]));
    assert_true(take(s, 1, 1, 0, &at[1]));
    assert_false(room(s, 0, 1, 0));
    assert_true(room(s, 0, 2, 0));
    assert_true(take(s, 0, 2, 0, &at[2]));
    assert_int_equal(at[0], at[1]);
    assert_int_not_equal(at[0], at[2]);
    assert_false(take(s, 2, 1, 0, &at[3]));
    struct sites_source from[4];
    struct ip_addr second = address(2);
    assert_int_equal(sites_sources(*state, SPAN_LIT("k"), from, 4), 2);
    assert_int_equal(from[at[0]].conns, 2);
    assert_int_equal(from[at[2]].conns, 1);
    assert_true(ip_addr_eq(&from[at[2]].addr, &second));
    assert_int_equal(sites_sources(*state, SPAN_LIT("k"), from, 1), 1);
    assert_int_equal(sites_sources(*state, SPAN_LIT("other"), from, 4), 0);
    assert_true(sites_contended(s));
    assert_int_equal(woken.n, 0);
    sites_give(*state, s, at[0], false);
    assert_int_equal(woken.n, 1);
    assert_int_equal(woken.worker, 2);
    assert_true(take(s, 2, 1, 0, &at[3]));
    assert_false(sites_contended(s));
    limits.connections = 0;
    limits.max = 4;
    sites_set_limits(*state, s, &limits);
    assert_true(take(s, 0, 1, 0, &at[0]));
    assert_false(room(s, 0, 9, 0)); /* four in all */
    sites_give(*state, s, at[0], false);
    for (int i = 1; i < 4; i++)
        sites_give(*state, s, at[i], false);
    sites_rele(*state, s);
}

static void test_those_who_wait_come_first(void **state)
{
    struct sites_limits limits = { .start = 1, .max = 1 };
    struct site_share *s = sites_get(*state, SPAN_LIT("k"), &limits);
    uint32_t at;
    assert_true(take(s, 0, 1, 0, &at));
    assert_false(sites_wait(s, 1));
    assert_false(sites_wait(s, 2));
    assert_false(sites_wait(s, 1)); /* once */
    sites_idle(s, true);
    assert_true(sites_wait(s, 2)); /* there is an idle one to be asked */
    sites_idle(s, false);
    sites_give(*state, s, at, false);
    assert_int_equal(woken.worker, 1);
    int64_t now = (int64_t)uv_hrtime();
    assert_false(take(s, 0, 1, now, &at)); /* it was not its turn, and waits now, too */
    sites_unwait(*state, s, 1, now);       /* who was told has no use for it */
    assert_int_equal(woken.n, 2);
    assert_int_equal(woken.worker, 2);
    assert_false(room(s, 0, 1, now + MS));
    assert_true(room(s, 2, 1, now + MS));
    assert_true(room(s, 0, 1, now + (SITES_TURN_MS + 1) * MS)); /* who says nothing is passed over */
    assert_true(take(s, 2, 1, now + MS, &at));
    sites_unwait(*state, s, 0, now);
    assert_int_equal(woken.n, 2); /* nobody waits, and there is no room */
    sites_give(*state, s, at, false);
    sites_rele(*state, s);
}

static void test_the_limit_grows_and_shrinks(void **state)
{
    struct sites_limits limits = { .start = 1, .max = 3 };
    struct site_share *s = sites_get(*state, SPAN_LIT("k"), &limits);
    uint32_t at;
    assert_true(take(s, 0, 1, 0, &at));
    assert_false(room(s, 0, 1, 0));
    assert_false(sites_wait(s, 1));
    sites_success(*state, s);
    assert_int_equal(woken.worker, 1);
    assert_true(take(s, 1, 1, 0, &at));
    for (int i = 0; i < 2; i++)
        sites_success(*state, s);
    assert_true(take(s, 0, 1, 0, &at));
    for (int i = 0; i < 20; i++)
        sites_success(*state, s);
    assert_false(room(s, 0, 1, 0)); /* three are the most */
    while (sites_surplus(s))
        fail();
    sites_trouble(s, SEC_NS);
    sites_trouble(s, SEC_NS + MS); /* what comes together counts once */
    assert_true(sites_surplus(s));
    assert_true(sites_surplus(s));
    assert_false(sites_surplus(s));
    sites_give(*state, s, at, true);
    sites_give(*state, s, at, true);
    assert_false(room(s, 0, 1, 0));
    sites_give(*state, s, at, false);
    assert_true(room(s, 0, 1, 0));
    sites_rele(*state, s);
}

static void test_back_off_is_for_all(void **state)
{
    struct sites_limits limits = { .start = 5, .max = 5 };
    struct site_share *s = sites_get(*state, SPAN_LIT("k"), &limits);
    uint32_t at;
    assert_true(take(s, 0, 1, 0, &at));
    assert_true(take(s, 1, 1, 0, &at));
    assert_int_equal(sites_message(s, at, 0), 0);
    sites_set_backoff(*state, s, 1, 1000);
    assert_true(sites_surplus(s));
    assert_false(sites_surplus(s));
    assert_int_equal(sites_message(s, at, SEC_NS), 0);
    assert_int_equal(sites_message(s, at, SEC_NS + 400 * MS), 600 * MS);
    assert_int_equal(sites_message(s, at, 2 * SEC_NS), 0);
    sites_message_back(s, at); /* it did not go */
    assert_int_equal(sites_message(s, at, 2 * SEC_NS), 0);
    assert_false(sites_wait(s, 2));
    sites_set_backoff(*state, s, 0, 0);
    assert_int_equal(woken.n, 1);
    assert_int_equal(sites_message(s, at, 2 * SEC_NS), 0);
    sites_give(*state, s, at, true);
    sites_give(*state, s, at, false);
    sites_rele(*state, s);
}

/* Whatever the rate, no window has more; and nearly as much goes as may. */
static void test_rates_hold_in_every_window(void **state)
{
    static const struct {
        uint32_t count;
        int64_t ms;
    } rates[] = { { 1, 1000 }, { 2, 1000 }, { 10, 1000 }, { 100, 60000 }, { 1000, 1000 } };
    for (size_t r = 0; r < sizeof rates / sizeof *rates; r++) {
        struct sites_limits limits = {
            .start = 5, .max = 5, .rate_count = rates[r].count, .rate_ms = rates[r].ms
        };
        struct site_share *s = sites_get(*state, SPAN_LIT("k"), &limits);
        int64_t window = rates[r].ms * MS, sent[8000];
        uint32_t at, n = 0;
        assert_true(take(s, 0, 1, 0, &at));
        for (int64_t now = 0, wait; now < 4 * window && n < 8000; now += wait) {
            wait = sites_message(s, at, now);
            if (wait == 0)
                sent[n++] = now;
            if (n > rates[r].count) /* this one and so many before it don't fit into a window */
                assert_true(sent[n - 1] - sent[n - 1 - rates[r].count] >= window - 1000);
        }
        assert_true(n >= 3 * rates[r].count);
        sites_give(*state, s, at, false);
        sites_rele(*state, s);
    }
}

static void test_names_of_sets(void **state)
{
    (void)state;
    char a[64] = "", b[64] = "", small[10];
    char *one[] = { "mx.example.net" }, *two[] = { "b.example.net", "a.example.net" },
         *other[] = { "a.example.net", "b.example.net" }, *third[] = { "a.example.net", "c.example.net" };
    assert_int_equal(egress_sites_name(one, 1, 25, a, sizeof a), strlen("mx:mx.example.net"));
    assert_string_equal(a, "mx:mx.example.net");
    egress_sites_name(one, 1, 2525, a, sizeof a);
    assert_string_equal(a, "mx:mx.example.net:2525");
    egress_sites_name(two, 2, 25, a, sizeof a);
    egress_sites_name(other, 2, 25, b, sizeof b);
    assert_string_equal(a, b);
    assert_true(span_starts(span_str(a), SPAN_LIT("mx:a.example.net+1-")));
    egress_sites_name(third, 2, 25, b, sizeof b);
    assert_string_not_equal(a, b);
    assert_int_equal(egress_sites_name(one, 0, 25, a, sizeof a), 0);
    assert_int_equal(egress_sites_name(one, 1, 25, small, sizeof small), 0);
}

static size_t allocated(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

/* All that a worker keeps of a destination with mail, each in a site of its own: the queue's place with one
 * item, its data, what DNS said, its group and share. */
static void test_memory_of_100000_sites(void **state)
{
    enum { SITES = 100000 };
    struct queue_config c;
    struct sites_limits limits = { .start = 2, .max = 20 };
    struct keep {
        struct egress_site site;
        struct egress_group group;
        struct dns_site found;
        struct dns_target targets[2];
        char *hosts[1];
        char host[32];
    } **kept = calloc(SITES, sizeof *kept);
    assert_non_null(kept);
    queue_config_default(&c);
    size_t before = allocated();
    struct queue *q = queue_new(&c, 1000);
    assert_non_null(q);
    struct site_share **shares = calloc(SITES, sizeof *shares);
    for (uint32_t i = 0; i < SITES; i++) {
        char domain[64], key[64];
        uint32_t rcpt = 0, at;
        snprintf(domain, sizeof domain, "customer%u.example.org", i);
        snprintf(key, sizeof key, "mx:mx.customer%u.example.org", i);
        struct queue_item_info info = { .id = i + 1,
                                        .site = span_str(domain),
                                        .sender = SPAN_LIT("user@example.com"),
                                        .arrival_ms = 1000,
                                        .nrcpts = 1,
                                        .rcpts = &rcpt };
        assert_non_null(queue_add(q, &info, 1000));
        kept[i] = calloc(1, sizeof **kept);
        shares[i] = sites_get(*state, span_str(key), &limits);
        assert_non_null(shares[i]);
        assert_true(take(shares[i], 0, 1, 0, &at)); /* its source address is known from then on */
        sites_give(*state, shares[i], at, false);
    }
    size_t bytes = allocated() - before;
    printf("100000 sites: %.1f MiB, %zu bytes each\n", (double)bytes / 1048576, bytes / SITES);
    assert_true(bytes > SITES * sizeof(struct egress_site) || bytes == 0); /* some sanitizers count nothing */
    assert_true(bytes <= (size_t)200 << 20);
    for (uint32_t i = 0; i < SITES; i++) {
        sites_rele(*state, shares[i]);
        free(kept[i]);
    }
    free(shares);
    queue_free(q);
    free(kept);
}

#define WITH(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(test_one_share_for_one_key),     WITH(test_places_of_all_and_of_each_address),
        WITH(test_those_who_wait_come_first), WITH(test_the_limit_grows_and_shrinks),
        WITH(test_back_off_is_for_all),       WITH(test_rates_hold_in_every_window),
        cmocka_unit_test(test_names_of_sets), WITH(test_memory_of_100000_sites),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
