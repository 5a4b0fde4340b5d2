/* What a node has in hand of the messages of addresses that warm up: nothing is sent that was not handed out,
 * or whose day is over; what is not sent goes back once. */
#include "node/core/warmup_hand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SITE SPAN_LIT("example.com")
static const struct ip_addr ip = { 4, { 192, 0, 2, 1 } }, other = { 4, { 192, 0, 2, 2 } };

static bool all_kept(void *ctx, const struct ip_addr *addr)
{
    (void)ctx;
    (void)addr;
    return true;
}

static bool none_kept(void *ctx, const struct ip_addr *addr)
{
    (void)ctx;
    (void)addr;
    return false;
}

/* Has `count` messages handed out of a day that ends at `until`. */
static void give(struct warmup_hand *h, const struct ip_addr *addr, uint32_t count, uint64_t until,
                 int64_t now)
{
    struct warmup_name name;
    assert_int_not_equal(warmup_hand_look(h, addr, SITE, now), WARMUP_NO);
    assert_true(warmup_hand_ask(h, &name));
    assert_true(ip_addr_eq(&name.addr, addr));
    assert_int_equal(name.nsite, SITE.n);
    warmup_hand_granted(
        h, &name,
        &(struct warmup_grant){ .count = count, .plan = 7, .until_ms = until, .end_ms = now + 600000 });
}

static void not_without_one(void **state)
{
    (void)state;
    struct warmup_hand *h = warmup_hand_new();
    struct warmup_name name;
    struct warmup_token t;
    assert_int_equal(warmup_hand_look(h, &ip, SITE, 0), WARMUP_SOON);
    assert_false(warmup_hand_take(h, &ip, SITE, 0, &t));
    assert_true(warmup_hand_ask(h, &name));
    assert_false(warmup_hand_ask(h, &name)); /* asked once */
    assert_int_equal(warmup_hand_look(h, &ip, SITE, 1), WARMUP_SOON);
    assert_false(warmup_hand_ask(h, &name));
    warmup_hand_granted(h, &name,
                        &(struct warmup_grant){ .count = 2, .plan = 7, .until_ms = 100, .end_ms = 50 });
    assert_int_equal(warmup_hand_look(h, &ip, SITE, 2), WARMUP_YES);
    assert_int_equal(warmup_hand_look(h, &other, SITE, 2), WARMUP_SOON);
    assert_int_equal(warmup_hand_look(h, &ip, SPAN_LIT("example.org"), 2), WARMUP_SOON);
    assert_true(warmup_hand_take(h, &ip, SITE, 3, &t));
    assert_true(t.plan == 7 && t.until_ms == 100);
    assert_true(warmup_hand_take(h, &ip, SITE, 3, &t));
    assert_false(warmup_hand_take(h, &ip, SITE, 3, &t));
    warmup_hand_untake(h, &ip, SITE, &t);
    assert_true(warmup_hand_take(h, &ip, SITE, 49, &t));
    warmup_hand_untake(h, &ip, SITE, &t);
    assert_false(warmup_hand_take(h, &ip, SITE, 50, &t)); /* over */
    warmup_hand_free(h);
}

static void asked_again_later(void **state)
{
    (void)state;
    struct warmup_hand *h = warmup_hand_new();
    struct warmup_name name;
    assert_int_equal(warmup_hand_look(h, &ip, SITE, 0), WARMUP_SOON);
    assert_true(warmup_hand_ask(h, &name));
    warmup_hand_refused(h, &name, true, 1000);
    assert_int_equal(warmup_hand_look(h, &ip, SITE, 10), WARMUP_NO);
    assert_false(warmup_hand_ask(h, &name));
    assert_int_equal(warmup_hand_look(h, &ip, SITE, 1000), WARMUP_SOON);
    assert_true(warmup_hand_ask(h, &name));
    warmup_hand_refused(h, &name, false, 2000); /* no answer: nothing is known of today */
    assert_int_equal(warmup_hand_look(h, &ip, SITE, 1500), WARMUP_SOON);
    assert_false(warmup_hand_ask(h, &name));
    warmup_hand_free(h);
}

/* The next batch is asked for before the last one is gone; a site that has come through has no end. */
static void ahead_and_without_end(void **state)
{
    (void)state;
    struct warmup_hand *h = warmup_hand_new();
    struct warmup_name name;
    struct warmup_token t;
    give(h, &ip, 8, 100, 0);
    for (int i = 0; i < 5; i++)
        assert_true(warmup_hand_take(h, &ip, SITE, 1, &t));
    assert_false(warmup_hand_ask(h, &name));
    assert_true(warmup_hand_take(h, &ip, SITE, 1, &t));
    assert_true(warmup_hand_ask(h, &name));
    warmup_hand_granted(h, &name,
                        &(struct warmup_grant){
                            .count = COMMAND_WARMUP_UNLIMITED, .plan = 7, .until_ms = 100, .end_ms = 1000 });
    for (int i = 0; i < 100; i++)
        assert_true(warmup_hand_take(h, &ip, SITE, 999, &t));
    assert_false(warmup_hand_ask(h, &name));
    assert_false(warmup_hand_take(h, &ip, SITE, 1000, &t));
    warmup_hand_free(h);
}

/* (!) What is of one day is not of the next one, nor does it come back to it. */
static void each_of_its_day(void **state)
{
    (void)state;
    struct warmup_hand *h = warmup_hand_new();
    struct warmup_report r;
    struct warmup_token old, t;
    give(h, &ip, 1, 100, 0);
    assert_true(warmup_hand_take(h, &ip, SITE, 1, &old));
    give(h, &ip, 5, 100, 2); /* more of the same day */
    struct warmup_name name = { .addr = ip, .nsite = SITE.n };
    memcpy(name.site, SITE.p, SITE.n);
    warmup_hand_granted(h, &name,
                        &(struct warmup_grant){ .count = 2, .plan = 7, .until_ms = 200, .end_ms = 600000 });
    warmup_hand_untake(h, &ip, SITE, &old);
    assert_true(warmup_hand_take(h, &ip, SITE, 3, &t));
    assert_true(t.until_ms == 200);
    assert_true(warmup_hand_take(h, &ip, SITE, 3, &t));
    assert_false(warmup_hand_take(h, &ip, SITE, 3, &t));
    warmup_hand_scan(h, 4, none_kept, NULL);
    assert_false(warmup_hand_report(h, &r));
    warmup_hand_free(h);
}

static void told_once(void **state)
{
    (void)state;
    struct warmup_hand *h = warmup_hand_new();
    struct warmup_report r;
    struct warmup_token t;
    give(h, &ip, 6, 100, 0);
    assert_true(warmup_hand_take(h, &ip, SITE, 1, &t));
    assert_true(warmup_hand_take(h, &ip, SITE, 1, &t));
    warmup_hand_result(h, &ip, SITE, WARMUP_DELIVERED, 1);
    warmup_hand_result(h, &ip, SITE, WARMUP_DEFERRED, 1);
    warmup_hand_scan(h, 2, all_kept, NULL);
    assert_true(warmup_hand_report(h, &r));
    assert_int_equal(r.n[WARMUP_DELIVERED], 1);
    assert_int_equal(r.n[WARMUP_DEFERRED], 1);
    assert_int_equal(r.n[WARMUP_REFUSED], 0);
    assert_int_equal(r.unspent, 0); /* it is in use */
    assert_false(warmup_hand_report(h, &r));
    warmup_hand_untold(h, &(struct warmup_report){ .name = r.name, .n = { 1, 1, 0, 0 }, .unspent = 3 });
    /* not used for a while: it goes back, once, and is not sent any more */
    warmup_hand_scan(h, 60001, all_kept, NULL);
    assert_true(warmup_hand_report(h, &r));
    assert_int_equal(r.unspent, 4);
    assert_int_equal(r.n[WARMUP_DELIVERED], 1);
    assert_true(r.plan == 7 && r.until_ms == 100);
    assert_false(warmup_hand_take(h, &ip, SITE, 60001, &t));
    warmup_hand_scan(h, 60002, all_kept, NULL);
    assert_false(warmup_hand_report(h, &r));
    /* nor is what another node asks for the address of */
    give(h, &ip, 3, 100, 60003);
    warmup_hand_scan(h, 60004, none_kept, NULL);
    assert_true(warmup_hand_report(h, &r));
    assert_int_equal(r.unspent, 3);
    assert_false(warmup_hand_take(h, &ip, SITE, 60004, &t));
    /* one that has ended by itself goes back, too */
    give(h, &ip, 3, 100, 60005);
    assert_false(warmup_hand_take(h, &ip, SITE, 60005 + 600000, &t));
    warmup_hand_scan(h, 60006 + 600000, all_kept, NULL);
    assert_true(warmup_hand_report(h, &r));
    assert_int_equal(r.unspent, 3);
    warmup_hand_free(h);
}

static void bounded(void **state)
{
    (void)state;
    struct warmup_hand *h = warmup_hand_new();
    struct ip_addr a = { .family = 4 };
    for (uint32_t i = 0; i < WARMUP_HAND_MAX; i++) {
        memcpy(a.bytes, &i, sizeof i);
        assert_int_equal(warmup_hand_look(h, &a, SITE, 0), WARMUP_SOON);
    }
    assert_int_equal(warmup_hand_look(h, &ip, SITE, 0), WARMUP_NO);
    warmup_hand_scan(h, 599999, all_kept, NULL);
    assert_int_equal(warmup_hand_look(h, &ip, SITE, 600000), WARMUP_NO);
    warmup_hand_scan(h, 600000, all_kept, NULL);
    assert_int_equal(warmup_hand_look(h, &ip, SITE, 600001), WARMUP_SOON);
    warmup_hand_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(not_without_one),
        cmocka_unit_test(asked_again_later),
        cmocka_unit_test(ahead_and_without_end),
        cmocka_unit_test(each_of_its_day),
        cmocka_unit_test(told_once),
        cmocka_unit_test(bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
