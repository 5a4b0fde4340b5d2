/* Which pool a sender has, and which of its addresses a node may use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "consensus/command.h"
#include "node/core/pools.h"

#include <string.h>

#define SELF 7
#define OTHER 8
#define THIRD 9

static struct span none = { "", 0 };

/* ---- senders ------------------------------------------------------------------------------------------- */

static struct pool_view *view_of(struct pool_senders *s, const char *bulk)
{
    struct pool_view *v =
        pool_view_new(&(struct pool_view_config){ .self = SELF,
                                                  .number = 1,
                                                  .known = true,
                                                  .senders = s,
                                                  .class_pools = { none, none, span_str(bulk) } });
    assert_non_null(v);
    pool_view_seal(v);
    return v;
}

static void assign(struct pool_senders *s, uint8_t to, const char *name, const char *pool)
{
    assert_int_equal(pool_senders_add(s, to, span_str(name), span_str(pool)), 0);
}

static void assert_pool(const struct pool_view *v, const char *account, const char *tenant, uint8_t class,
                        const char *pool)
{
    struct span got = pool_view_of(v, span_str(account), span_str(tenant), class);
    assert_int_equal(got.n, strlen(pool));
    assert_memory_equal(got.p, pool, got.n);
}

static void test_the_nearest_assignment(void **state)
{
    (void)state;
    struct pool_senders *s = pool_senders_new();
    assign(s, COMMAND_ASSIGN_ACCOUNT, "a@x.test", "of-account");
    assign(s, COMMAND_ASSIGN_ACCOUNT, "web:a@x.test/33:a.php", "of-web-sender");
    assign(s, COMMAND_ASSIGN_TENANT, "x", "of-tenant");
    assign(s, COMMAND_ASSIGN_CLASS, "device", "of-class");
    struct pool_view *v = view_of(s, "of-policy");
    pool_senders_rele(s);
    assert_pool(v, "a@x.test", "x", 1, "of-account");
    assert_pool(v, "web:a@x.test/33:a.php", "x", 1, "of-web-sender");
    assert_pool(v, "web:a@x.test/33:b.php", "x", 1, "of-account"); /* as its host's */
    assert_pool(v, "web:b@x.test/33:a.php", "x", 1, "of-tenant");
    assert_pool(v, "b@x.test", "x", 1, "of-tenant");
    assert_pool(v, "c@y.test", "y", 1, "of-class");
    assert_pool(v, "c@y.test", "", 2, "of-policy");
    assert_pool(v, "c@y.test", "", 0, "");
    assert_pool(v, "c@y.test", "", 200, "");
    assert_pool(v, "", "x", 1, ""); /* our own reports, and who did not log in */
    assert_pool(NULL, "a@x.test", "x", 1, "");
    pool_view_rele(v);
}

static void test_names_of_one_kind_are_not_those_of_another(void **state)
{
    (void)state;
    struct pool_senders *s = pool_senders_new();
    assign(s, COMMAND_ASSIGN_TENANT, "device", "of-tenant");
    struct pool_view *v = view_of(s, "");
    pool_senders_rele(s);
    assert_pool(v, "device", "", 1, "");
    assert_pool(v, "a@x.test", "device", 1, "of-tenant");
    pool_view_rele(v);
}

/* What the queue knows of an item is enough, or it says that it is not. */
static void test_by_the_queues_knowledge(void **state)
{
    (void)state;
    struct span pool;
    struct pool_senders *s = pool_senders_new();
    assign(s, COMMAND_ASSIGN_ACCOUNT, "a@x.test", "of-account");
    struct pool_view *v = view_of(s, "of-policy");
    assert_true(pool_view_of_sender(v, SPAN_LIT("a@x.test"), 2, &pool));
    assert_true(span_eq(pool, SPAN_LIT("of-account")));
    assert_true(pool_view_of_sender(v, SPAN_LIT("b@x.test"), 2, &pool));
    assert_true(span_eq(pool, SPAN_LIT("of-policy")));
    assert_true(pool_view_of_sender(v, SPAN_LIT("b@x.test"), 0, &pool));
    assert_int_equal(pool.n, 0);
    assert_false(
        pool_view_of_sender(v, SPAN_LIT("x.test"), 2, &pool)); /* perhaps the reverse-path's domain */
    pool_view_rele(v);
    assign(s, COMMAND_ASSIGN_TENANT, "t", "of-tenant");
    v = view_of(s, "");
    assert_true(pool_view_of_sender(v, SPAN_LIT("a@x.test"), 2, &pool));
    assert_false(pool_view_of_sender(v, SPAN_LIT("b@x.test"), 2, &pool));
    pool_view_rele(v);
    pool_senders_rele(s);
    assert_true(pool_view_of_sender(NULL, SPAN_LIT("b@x.test"), 2, &pool));
}

static void test_when_the_queue_must_be_looked_through(void **state)
{
    (void)state;
    struct pool_senders *empty = pool_senders_new(), *some = pool_senders_new(), *more = pool_senders_new();
    assign(some, COMMAND_ASSIGN_ACCOUNT, "a@x.test", "p");
    assign(more, COMMAND_ASSIGN_ACCOUNT, "a@x.test", "q");
    struct pool_view *v[] = { view_of(empty, ""), view_of(some, ""), view_of(some, ""), view_of(some, "b"),
                              view_of(more, "") };
    assert_false(pool_view_senders_differ(NULL, v[0]));
    assert_true(pool_view_senders_differ(NULL, v[1]));
    assert_true(pool_view_senders_differ(v[1], v[0]));
    assert_false(pool_view_senders_differ(v[1], v[2]));
    assert_true(pool_view_senders_differ(v[2], v[3]));
    assert_true(pool_view_senders_differ(v[2], v[4]));
    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++)
        pool_view_rele(v[i]);
    pool_senders_rele(empty);
    pool_senders_rele(some);
    pool_senders_rele(more);
}

/* ---- addresses ----------------------------------------------------------------------------------------- */

static struct ip_addr ip(const char *text)
{
    struct ip_addr a;
    assert_int_equal(ip_addr_parse(span_str(text), &a), 0);
    return a;
}

static struct pool_view *view_with(bool known, const struct pool_address *list, size_t n)
{
    struct pool_view *v =
        pool_view_new(&(struct pool_view_config){ .self = SELF, .number = 1, .known = known });
    assert_non_null(v);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(pool_view_add(v, &list[i]), 0);
    pool_view_seal(v);
    return v;
}

static struct pool_address address(const char *text, const char *pool, uint64_t node)
{
    return (struct pool_address){
        .addr = ip(text), .pool = span_str(pool), .node = node, .weight = 100, .use = COMMAND_USE_ON
    };
}

static void test_by_weight(void **state)
{
    (void)state;
    struct pool_address list[] = { address("192.0.2.1", "p", SELF), address("192.0.2.2", "p", SELF),
                                   address("192.0.2.3", "p", SELF), address("192.0.2.4", "q", SELF) };
    list[0].weight = 1;
    list[1].weight = 3;
    list[2].weight = 6;
    struct pool_view *v = view_with(true, list, 4);
    for (uint64_t start = 0; start < 5000; start += 977) {
        uint32_t got[5] = { 0 };
        for (uint64_t turn = start; turn < start + 1000; turn++)
            got[pool_view_choose(v, SPAN_LIT("p"), 4, turn, true)->addr.bytes[3]]++;
        assert_in_range(got[1], 95, 105);
        assert_in_range(got[2], 290, 310);
        assert_in_range(got[3], 590, 610);
        assert_int_equal(got[4], 0);
    }
    /* even a short run has its share of each */
    uint32_t last = 0;
    for (uint64_t turn = 100; turn < 110; turn++)
        last += pool_view_choose(v, SPAN_LIT("p"), 4, turn, true)->addr.bytes[3] == 3;
    assert_in_range(last, 5, 7);
    pool_view_rele(v);
}

static void test_heaviest_weights(void **state)
{
    (void)state;
    struct pool_view *v =
        pool_view_new(&(struct pool_view_config){ .self = SELF, .number = 1, .known = true });
    for (uint32_t i = 0; i < 4096; i++) {
        struct pool_address a = address("10.0.0.0", "p", SELF);
        a.addr.bytes[2] = (uint8_t)(i >> 8);
        a.addr.bytes[3] = (uint8_t)i;
        a.weight = 10000;
        assert_int_equal(pool_view_add(v, &a), 0);
    }
    pool_view_seal(v);
    for (uint64_t turn = UINT64_MAX - 1000; turn != 1000; turn++)
        assert_non_null(pool_view_choose(v, SPAN_LIT("p"), 4, turn, true));
    pool_view_rele(v);
}

static void test_the_targets_family(void **state)
{
    (void)state;
    struct pool_address list[] = { address("192.0.2.1", "p", SELF), address("2001:db8::1", "p", SELF),
                                   address("192.0.2.4", "q", SELF) };
    struct pool_view *v = view_with(true, list, 3);
    uint64_t node;
    for (uint64_t turn = 0; turn < 20; turn++) {
        assert_int_equal(pool_view_choose(v, SPAN_LIT("p"), 4, turn, true)->addr.family, 4);
        assert_int_equal(pool_view_choose(v, SPAN_LIT("p"), 6, turn, true)->addr.family, 6);
        assert_null(pool_view_choose(v, SPAN_LIT("q"), 6, turn, true));
    }
    assert_int_equal(pool_view_reach(v, SPAN_LIT("q"), 0, true, &node), POOL_HERE);
    pool_view_rele(v);
}

/* Each reason for which an address is not used, one at a time. */
static void test_who_may_use_it(void **state)
{
    (void)state;
    struct pool_address good = address("192.0.2.1", "p", SELF);
    static const struct {
        uint64_t node, next;
        uint8_t use;
        bool floating, session, usable, kept;
    } rows[] = {
        { SELF, 0, COMMAND_USE_ON, false, true, true, true },
        { SELF, 0, COMMAND_USE_ON, false, false, true, true }, /* cut off: it is bound here for good */
        { SELF, 0, COMMAND_USE_ON, true, true, true, true },
        { SELF, 0, COMMAND_USE_ON, true, false, false, false }, /* floating: not without a session */
        { SELF, OTHER, COMMAND_USE_ON, false, true, false, false },
        { SELF, UINT64_MAX, COMMAND_USE_ON, false, true, false, false }, /* being removed */
        { OTHER, 0, COMMAND_USE_ON, false, true, false, false },
        { OTHER, SELF, COMMAND_USE_ON, false, true, false, false }, /* not before its owner released it */
        { 0, SELF, COMMAND_USE_ON, false, true, false, false },
        { 0, 0, COMMAND_USE_ON, false, true, false, false },
        { SELF, 0, COMMAND_USE_DRAIN, false, true, false, true }, /* open connections go on */
        { SELF, 0, COMMAND_USE_DISABLED, false, true, false, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct pool_address a = good;
        a.node = rows[i].node;
        a.next = rows[i].next;
        a.use = rows[i].use;
        a.floating = rows[i].floating;
        struct pool_view *v = view_with(true, &a, 1);
        const struct pool_address *found = pool_view_find(v, &a.addr);
        assert_non_null(found);
        assert_int_equal(pool_address_usable(v, found, rows[i].session), rows[i].usable);
        assert_int_equal(pool_address_kept(v, found, rows[i].session), rows[i].kept);
        assert_int_equal(pool_view_choose(v, SPAN_LIT("p"), 4, i, rows[i].session) != NULL, rows[i].usable);
        pool_view_rele(v);
    }
}

/* (!) Nothing goes out from an address that the hook has not added yet, on this node or on another. */
static void test_not_on_its_machine_yet(void **state)
{
    (void)state;
    struct pool_address a[] = { address("192.0.2.1", "p", SELF), address("192.0.2.2", "p", OTHER) };
    uint64_t node;
    for (int absent = 0; absent < 4; absent++) {
        for (int i = 0; i < 2; i++) {
            a[i].floating = true;
            a[i].absent = (absent & 1 << i) != 0;
        }
        struct pool_view *v = view_with(true, a, 2);
        assert_int_equal(pool_address_usable(v, pool_view_find(v, &a[0].addr), true), !a[0].absent);
        assert_true(pool_address_kept(v, pool_view_find(v, &a[0].addr), true));
        assert_int_equal(pool_view_reach(v, SPAN_LIT("p"), 1, true, &node),
                         !a[0].absent   ? POOL_HERE
                         : !a[1].absent ? POOL_ELSEWHERE
                                        : POOL_NOWHERE);
        pool_view_rele(v);
    }
}

/* A process that has not had a session does not know what was moved while it was away. */
static void test_nothing_before_the_first_session(void **state)
{
    (void)state;
    struct pool_address a = address("192.0.2.1", "p", SELF);
    struct pool_view *v = view_with(false, &a, 1);
    uint64_t node;
    assert_null(pool_view_choose(v, SPAN_LIT("p"), 4, 0, true));
    assert_int_equal(pool_view_reach(v, SPAN_LIT("p"), 0, true, &node), POOL_NOWHERE);
    pool_view_rele(v);
    assert_null(pool_view_choose(NULL, SPAN_LIT("p"), 4, 0, true));
}

static void test_where_else(void **state)
{
    (void)state;
    struct pool_address list[] = { address("192.0.2.1", "p", SELF), address("192.0.2.2", "p", OTHER),
                                   address("192.0.2.3", "p", THIRD), address("192.0.2.4", "q", OTHER) };
    list[0].use = COMMAND_USE_DISABLED;
    list[2].weight = 300;
    list[3].next = THIRD;
    struct pool_view *v = view_with(true, list, 4);
    uint32_t got[10] = { 0 };
    uint64_t node;
    for (uint64_t turn = 0; turn < 400; turn++) {
        assert_int_equal(pool_view_reach(v, SPAN_LIT("p"), turn, true, &node), POOL_ELSEWHERE);
        assert_in_range(node, OTHER, THIRD);
        got[node]++;
    }
    assert_in_range(got[OTHER], 95, 105);
    assert_in_range(got[THIRD], 295, 305);
    assert_int_equal(pool_view_reach(v, SPAN_LIT("q"), 0, true, &node), POOL_NOWHERE);
    assert_int_equal(pool_view_reach(v, SPAN_LIT("gone"), 0, true, &node), POOL_NOWHERE);
    assert_int_equal(node, 0);
    pool_view_rele(v);
}

static bool warms_cb(void *ctx, const struct ip_addr *addr)
{
    const struct pool_address *a = pool_view_find(ctx, addr);
    return a->warming;
}

/* What is over goes to a node with an address that does not warm up, never to another's plan. */
static void test_where_else_than_warming(void **state)
{
    (void)state;
    struct pool_address list[] = { address("192.0.2.1", "p", SELF), address("192.0.2.2", "p", OTHER),
                                   address("192.0.2.3", "p", THIRD), address("192.0.2.4", "q", SELF),
                                   address("192.0.2.5", "q", OTHER) };
    list[0].warming = list[1].warming = list[3].warming = list[4].warming = true;
    struct pool_view *v = view_with(true, list, 5);
    uint64_t node;
    for (uint64_t turn = 0; turn < 50; turn++) {
        assert_null(pool_view_choose_awake(v, SPAN_LIT("p"), 0, turn, true, warms_cb, v));
        assert_true(pool_view_awake_elsewhere(v, SPAN_LIT("p"), turn, NULL, NULL, &node));
        assert_int_equal(node, THIRD);
        assert_false(pool_view_awake_elsewhere(v, SPAN_LIT("q"), turn, NULL, NULL, &node));
        assert_int_equal(node, 0);
    }
    assert_non_null(pool_view_choose_awake(v, SPAN_LIT("p"), 0, 0, true, NULL, NULL));
    assert_int_equal(pool_view_reach(v, SPAN_LIT("q"), 0, true, &node), POOL_HERE);
    pool_view_rele(v);
}

static bool third_rests_cb(void *ctx, const struct ip_addr *addr)
{
    return pool_view_find(ctx, addr)->node == THIRD;
}

/* What rests for a site does so on whatever node it is. */
static void test_where_else_than_resting(void **state)
{
    (void)state;
    struct pool_address list[] = { address("192.0.2.1", "p", SELF), address("192.0.2.2", "p", OTHER),
                                   address("192.0.2.3", "p", THIRD), address("192.0.2.4", "q", THIRD) };
    struct pool_view *v = view_with(true, list, 4), *fewer = view_with(true, list, 3);
    uint64_t node;
    for (uint64_t turn = 0; turn < 50; turn++) {
        assert_true(pool_view_awake_elsewhere(v, SPAN_LIT("p"), turn, third_rests_cb, v, &node));
        assert_int_equal(node, OTHER);
        assert_false(pool_view_awake_elsewhere(v, SPAN_LIT("q"), turn, third_rests_cb, v, &node));
    }
    assert_true(pool_view_has(v, SPAN_LIT("q")));
    assert_false(pool_view_has(fewer, SPAN_LIT("q")));
    assert_false(pool_view_has(NULL, SPAN_LIT("q")));
    assert_true(pool_view_lost(v, fewer));
    assert_true(pool_view_lost(v, NULL));
    assert_false(pool_view_lost(fewer, v));
    assert_false(pool_view_lost(NULL, v));
    pool_view_rele(fewer);
    pool_view_rele(v);
}

static void test_meters_live_as_long_as_somebody_looks(void **state)
{
    (void)state;
    struct pool_address a = address("192.0.2.1", "p", SELF);
    a.meter = pool_meter_new();
    struct pool_view *v = view_with(true, &a, 1), *w = view_with(true, &a, 1);
    pool_meter_rele(a.meter);
    atomic_fetch_add(&pool_view_at(v, 0)->meter->delivered, 5);
    pool_view_rele(v);
    assert_int_equal(atomic_load(&pool_view_at(w, 0)->meter->delivered), 5);
    assert_null(pool_view_at(w, 1));
    assert_int_equal(pool_view_actors(w), 0);
    pool_view_acted(w);
    assert_int_equal(pool_view_actors(w), 1);
    pool_view_rele(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_nearest_assignment),
        cmocka_unit_test(test_names_of_one_kind_are_not_those_of_another),
        cmocka_unit_test(test_by_the_queues_knowledge),
        cmocka_unit_test(test_when_the_queue_must_be_looked_through),
        cmocka_unit_test(test_by_weight),
        cmocka_unit_test(test_heaviest_weights),
        cmocka_unit_test(test_the_targets_family),
        cmocka_unit_test(test_who_may_use_it),
        cmocka_unit_test(test_not_on_its_machine_yet),
        cmocka_unit_test(test_nothing_before_the_first_session),
        cmocka_unit_test(test_where_else),
        cmocka_unit_test(test_where_else_than_warming),
        cmocka_unit_test(test_where_else_than_resting),
        cmocka_unit_test(test_meters_live_as_long_as_somebody_looks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
