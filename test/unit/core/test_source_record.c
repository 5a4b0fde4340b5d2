/* What sites answered to source addresses: windows, classes, what is judged, and the bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "node/core/source_record.h"

#include <stdio.h>
#include <string.h>

#define MINUTE INT64_C(60000)
#define NOW (INT64_C(20000) * 86400000)
#define SITE SPAN_LIT("google")

static const struct reputation_rest rules = { .enabled = true,
                                              .refused_pct = 50,
                                              .at_least = 10,
                                              .within_ms = 60 * MINUTE,
                                              .classes = 1u << BOUNCE_BLOCK | 1u << BOUNCE_POLICY };

static struct ip_addr address(const char *text)
{
    struct ip_addr a;
    assert_int_equal(ip_addr_parse(span_str(text), &a), 0);
    return a;
}

static void delivered(struct source_records *r, const struct ip_addr *a, uint32_t n, int64_t at)
{
    source_record_add(r, a, SITE, &(struct source_answer){ .outcome = SOURCE_DELIVERED, .n = n }, &rules, at);
}

static void refused(struct source_records *r, const struct ip_addr *a, enum bounce_class class, uint32_t n,
                    int64_t at)
{
    source_record_add(
        r, a, SITE,
        &(struct source_answer){
            .outcome = SOURCE_REFUSED, .class = class, .reply = SPAN_LIT("550 5.7.1 blocked"), .n = n },
        &rules, at);
}

static void sum_cb(void *ctx, const struct source_row *row)
{
    struct source_row *out = ctx;
    assert_int_equal(out->site.n, 0); /* once */
    *out = *row;
}

static struct source_row row_of(struct source_records *r, const struct ip_addr *a, int64_t at)
{
    struct source_row row = { 0 };
    source_record_each(r, a, at, sum_cb, &row);
    return row;
}

static void windows(void **state)
{
    (void)state;
    struct source_records *r = source_records_new(10);
    struct ip_addr a = address("192.0.2.1"), b = address("2001:db8::1");
    delivered(r, &a, 7, NOW);
    refused(r, &a, BOUNCE_BLOCK, 2, NOW + 30 * MINUTE);
    source_record_add(
        r, &a, SITE,
        &(struct source_answer){
            .outcome = SOURCE_DEFERRED, .class = BOUNCE_RATE, .reply = SPAN_LIT("451 slow"), .n = 1 },
        NULL, NOW + 40 * MINUTE);
    struct source_row row = row_of(r, &a, NOW + 40 * MINUTE);
    assert_true(span_eq(row.site, SITE));
    for (int w = 0; w < SOURCE_WINDOWS; w++) {
        assert_int_equal(row.windows[w].n[SOURCE_DELIVERED], 7);
        assert_int_equal(row.windows[w].n[SOURCE_DEFERRED], 1);
        assert_int_equal(row.windows[w].n[SOURCE_REFUSED], 2);
        assert_int_equal(row.windows[w].meant[0][BOUNCE_RATE], 1);
        assert_int_equal(row.windows[w].meant[1][BOUNCE_BLOCK], 2);
        assert_int_equal(row.windows[w].meant[1][BOUNCE_RATE], 0);
    }
    assert_true(span_eq(row.reply, SPAN_LIT("451 slow")));
    assert_int_equal(row.reply_ms, NOW + 40 * MINUTE);
    /* the first ones are over an hour old, then all; a day later the others go, too */
    row = row_of(r, &a, NOW + 65 * MINUTE);
    assert_int_equal(row.windows[SOURCE_HOUR].n[SOURCE_DELIVERED], 0);
    assert_int_equal(row.windows[SOURCE_HOUR].meant[1][BOUNCE_BLOCK], 2);
    assert_int_equal(row.windows[SOURCE_DAY].n[SOURCE_DELIVERED], 7);
    row = row_of(r, &a, NOW + 110 * MINUTE);
    assert_int_equal(row.windows[SOURCE_HOUR].meant[1][BOUNCE_BLOCK], 0);
    assert_int_equal(row.windows[SOURCE_DAY].meant[1][BOUNCE_BLOCK], 2);
    row = row_of(r, &a, NOW + 25 * 60 * MINUTE);
    assert_int_equal(row.windows[SOURCE_DAY].n[SOURCE_DELIVERED], 0);
    assert_int_equal(row.windows[SOURCE_DAY].meant[1][BOUNCE_BLOCK], 0);
    /* the clock was set back: nothing of the future counts */
    delivered(r, &a, 1, NOW);
    row = row_of(r, &a, NOW);
    assert_int_equal(row.windows[SOURCE_DAY].n[SOURCE_DELIVERED], 1);
    row = row_of(r, &b, NOW);
    assert_int_equal(row.site.n, 0); /* another address */
    source_records_free(r);
}

static struct source_judged judged(struct source_records *r, const struct ip_addr *a, int64_t at)
{
    struct source_judged j = { 0 };
    source_record_judge(r, a, SITE, &rules, at, &j);
    return j;
}

static void judging(void **state)
{
    (void)state;
    struct source_records *r = source_records_new(10);
    struct ip_addr a = address("192.0.2.1");
    refused(r, &a, BOUNCE_BLOCK, 9, NOW);
    struct source_judged j = judged(r, &a, NOW);
    assert_int_equal(j.against, 9);
    assert_false(reputation_rests(&rules, j.answered, j.against)); /* too few to tell */
    refused(r, &a, BOUNCE_GREYLIST, 5, NOW);
    j = judged(r, &a, NOW);
    assert_int_equal(j.answered, 9); /* it says nothing */
    refused(r, &a, BOUNCE_UNKNOWN_USER, 1, NOW);
    j = judged(r, &a, NOW);
    assert_int_equal(j.answered, 10);
    assert_int_equal(j.against, 9); /* not the address's fault */
    assert_true(reputation_rests(&rules, j.answered, j.against));
    struct reputation_rest off = rules;
    off.enabled = false;
    assert_false(reputation_rests(&off, j.answered, j.against));
    delivered(r, &a, 9, NOW + 20 * MINUTE);
    j = judged(r, &a, NOW + 20 * MINUTE);
    assert_false(reputation_rests(&rules, j.answered, j.against)); /* 9 of 19 */
    /* what was refused is too long ago */
    j = judged(r, &a, NOW + 61 * MINUTE);
    assert_int_equal(j.answered, 9);
    assert_int_equal(j.against, 0);
    /* after a rest */
    refused(r, &a, BOUNCE_POLICY, 100, NOW + 61 * MINUTE);
    source_record_renew(r, &a, SITE);
    j = judged(r, &a, NOW + 61 * MINUTE);
    assert_int_equal(j.answered, 0);
    assert_false(reputation_rests(&rules, j.answered, j.against));
    /* other rules look at another time: what was counted for those before says nothing */
    refused(r, &a, BOUNCE_BLOCK, 20, NOW + 62 * MINUTE);
    struct reputation_rest day = rules;
    day.within_ms = 24 * 60 * MINUTE;
    j = (struct source_judged){ 0 };
    source_record_judge(r, &a, SITE, &day, NOW + 62 * MINUTE, &j);
    assert_int_equal(j.answered, 0);
    source_records_free(r);
}

static void bounded(void **state)
{
    (void)state;
    struct source_records *r = source_records_new(100);
    struct ip_addr a = address("192.0.2.1");
    char site[32];
    delivered(r, &a, 1, NOW);
    for (int i = 0; i < 1000; i++) {
        snprintf(site, sizeof site, "mx:%d", i);
        source_record_add(r, &a, span_str(site), &(struct source_answer){ .n = 1 }, NULL, NOW);
        if (i % 50 == 0)
            delivered(r, &a, 1, NOW); /* in use: it stays */
    }
    assert_int_equal(source_records_count(r), 100);
    assert_int_equal(source_records_forgotten(r), 901);
    source_records_free(r);
    r = source_records_new(100);
    delivered(r, &a, 20, NOW);
    assert_int_equal(row_of(r, &a, NOW).windows[SOURCE_HOUR].n[SOURCE_DELIVERED], 20);
    source_records_free(r);
}

/* Not a bound that fails: what a message costs, for who reads the log. */
static void cost(void **state)
{
    (void)state;
    struct source_records *r = source_records_new(1000);
    struct ip_addr a = address("192.0.2.1");
    int64_t begun = clock_mono_ns();
    for (int i = 0; i < 200000; i++)
        delivered(r, &a, 1, NOW + i);
    int64_t ns = (clock_mono_ns() - begun) / 200000;
    print_message("one delivered message: %lld ns\n", (long long)ns);
    assert_true(ns < 100000);
    source_records_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows),
        cmocka_unit_test(judging),
        cmocka_unit_test(bounded),
        cmocka_unit_test(cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
