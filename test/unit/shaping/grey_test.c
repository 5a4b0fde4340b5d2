/* What is learnt of sites that greylist: waits, sites that use words of their own, greylisting without end,
 * bounds, and that it is there after a restart.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/shaping/grey.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define T0 INT64_C(1800000000000)
#define SITE SPAN_LIT("example.net")
#define MINUTE INT64_C(60000)
#define USUAL (5 * MINUTE)

static struct grey *fresh(void)
{
    struct grey *g;
    assert_int_equal(grey_new(NULL, T0, &g), 0);
    return g;
}

static struct grey_verdict refuse(struct grey *g, struct span site, bool sure, uint32_t attempts,
                                  int64_t waited_ms, int64_t stated_ms)
{
    struct grey_verdict v;
    grey_refused(g,
                 &(struct grey_refusal){ .site = site,
                                         .sure = sure,
                                         .attempts = attempts,
                                         .waited_ms = waited_ms,
                                         .stated_ms = stated_ms,
                                         .usual_ms = USUAL },
                 T0, &v);
    return v;
}

/* A site that wants 12 minutes: found out by trying, kept to afterwards. */
static void test_waits(void **state)
{
    (void)state;
    struct grey *g = fresh();
    struct grey_verdict v = refuse(g, SITE, true, 1, 0, 0);
    assert_true(v.greylisted);
    assert_int_equal(v.wait_ms, USUAL);
    v = refuse(g, SITE, true, 2, 5 * MINUTE, 0);
    assert_int_equal(v.wait_ms, 150000); /* 7.5 minutes in all */
    v = refuse(g, SITE, true, 3, 15 * MINUTE / 2, 0);
    assert_int_equal(v.wait_ms, 225000); /* 11.25 */
    v = refuse(g, SITE, true, 4, 45 * MINUTE / 4, 0);
    assert_true(v.wait_ms > 5 * MINUTE);
    assert_false(grey_passed(g, SITE, true, 5, 17 * MINUTE, T0));
    v = refuse(g, SITE, true, 1, 0, 0);
    assert_int_equal(v.wait_ms, 17 * MINUTE);
    /* an early attempt that is refused waits for the rest of it */
    v = refuse(g, SITE, true, 2, MINUTE, 0);
    assert_int_equal(v.wait_ms, 16 * MINUTE);
    v = refuse(g, SITE, true, 1, 0, 40000); /* what the server says counts */
    assert_int_equal(v.wait_ms, 40000);
    assert_int_equal(refuse(g, SPAN_LIT("other.example"), true, 1, 0, 0).wait_ms, USUAL);
    grey_free(g);
}

/* Now and then one message tries whether less is enough; its wait is not longer for it. */
static void test_shorter(void **state)
{
    (void)state;
    struct grey *g = fresh();
    const int64_t wanted = 2 * MINUTE;
    int64_t learnt = 0;
    for (int i = 0; i < 80; i++) {
        int64_t waited = 0;
        uint32_t attempts = 1;
        while (waited < wanted || attempts == 1) {
            waited += refuse(g, SITE, true, attempts, waited, 0).wait_ms;
            attempts++;
            assert_true(attempts <= 4);
        }
        assert_true(waited <= USUAL);
        (void)grey_passed(g, SITE, true, attempts, waited, T0);
        learnt = waited;
    }
    assert_true(learnt >= wanted);
    assert_true(learnt <= wanted + 90000);
    /* it wants more than it did */
    (void)refuse(g, SITE, true, 2, USUAL + MINUTE, 0);
    assert_true(refuse(g, SITE, true, 1, 0, 0).wait_ms >= USUAL + MINUTE);
    grey_free(g);
}

/* Deferrals that no rule knows: three second attempts that are taken say enough. */
static void test_timing(void **state)
{
    (void)state;
    struct grey *g = fresh();
    struct grey_counts n;
    for (int i = 0; i < GREY_HINTS; i++) {
        grey_count(g, &n);
        assert_int_equal(n.sites, 0);
        assert_false(refuse(g, SITE, false, 1, 0, 0).greylisted);
        (void)grey_passed(g, SITE, false, 2, 8 * MINUTE, T0);
    }
    grey_count(g, &n);
    assert_int_equal(n.sites, 1);
    struct grey_verdict v = refuse(g, SITE, false, 1, 0, 0);
    assert_true(v.greylisted);
    assert_int_equal(v.wait_ms, 8 * MINUTE);
    /* second attempts are deferred too: it was something else */
    assert_false(refuse(g, SITE, false, 2, 8 * MINUTE, 0).greylisted);
    assert_false(refuse(g, SITE, false, 1, 0, 0).greylisted);
    (void)grey_passed(g, SPAN_LIT("third.example"), false, 3, 8 * MINUTE, T0); /* says nothing */
    grey_count(g, &n);
    assert_int_equal(n.sites, 0);
    grey_free(g);
}

static void test_endless(void **state)
{
    (void)state;
    struct grey *g = fresh();
    struct grey_counts n;
    for (uint32_t i = 1; i < GREY_ENDLESS_TRIES; i++)
        assert_false(refuse(g, SITE, true, i, (int64_t)(i - 1) * USUAL, 0).endless);
    assert_true(refuse(g, SITE, true, GREY_ENDLESS_TRIES, 4 * USUAL, 0).endless);
    assert_false(refuse(g, SITE, true, GREY_ENDLESS_TRIES + 1, 5 * USUAL, 0).endless); /* told once */
    assert_true(refuse(g, SPAN_LIT("slow.example"), true, 2, GREY_ENDLESS_MS, 0).endless);
    grey_count(g, &n);
    assert_int_equal(n.sites, 2);
    assert_int_equal(n.endless, 2);
    assert_string_equal(n.example, "slow.example");
    assert_true(grey_passed(g, SITE, true, 7, 6 * USUAL, T0));
    assert_false(grey_passed(g, SITE, true, 2, USUAL, T0));
    grey_count(g, &n);
    assert_int_equal(n.endless, 1);
    grey_free(g);
}

static void test_bounds(void **state)
{
    (void)state;
    struct grey *g = fresh();
    struct grey_counts n;
    char name[300];
    for (int i = 0; i < GREY_SITES_MAX + 500; i++) {
        snprintf(name, sizeof name, "d%d.example", i);
        (void)refuse(g, span_str(name), true, 1, 0, 0);
    }
    memset(name, 'x', sizeof name);
    assert_true(refuse(g, span_of(name, sizeof name), true, 1, 0, 0).greylisted); /* though not kept */
    assert_true(refuse(g, SPAN_LIT("a b"), true, 1, 0, 0).greylisted);
    grey_count(g, &n);
    assert_int_equal(n.sites, GREY_SITES_MAX);
    grey_free(g);
}

static void test_file(void **state)
{
    (void)state;
    char dir[] = "/tmp/grey.XXXXXX", file[64];
    struct grey *g;
    struct grey_counts n;
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/greylisting", dir);
    assert_int_equal(grey_new(file, T0, &g), 0);
    (void)refuse(g, SITE, true, 1, 0, 0);
    (void)grey_passed(g, SITE, true, 2, 12 * MINUTE, T0);
    (void)refuse(g, SPAN_LIT("never.example"), true, GREY_ENDLESS_TRIES, 40 * MINUTE, 0);
    assert_true(grey_changed(g));
    assert_int_equal(grey_save(g), 0);
    assert_false(grey_changed(g));
    grey_free(g);

    FILE *f = fopen(file, "ae"); /* what makes no sense is left out */
    fputs("1 2 3\nx\n0 99999999 0 0 1 1 0 long.example\n0 0 9 0 1 1 0 hints.example\n", f);
    fclose(f);
    assert_int_equal(grey_new(file, T0 + MINUTE, &g), 0);
    grey_count(g, &n);
    assert_int_equal(n.sites, 2);
    assert_int_equal(n.endless, 1);
    assert_string_equal(n.example, "never.example");
    assert_int_equal(refuse(g, SITE, true, 1, 0, 0).wait_ms, 12 * MINUTE);
    grey_free(g);

    assert_int_equal(grey_new(file, T0 + INT64_C(100) * 86400000, &g), 0); /* too long ago */
    grey_count(g, &n);
    assert_int_equal(n.sites, 0);
    grey_free(g);
    (void)unlink(file);
    (void)rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits),   cmocka_unit_test(test_shorter), cmocka_unit_test(test_timing),
        cmocka_unit_test(test_endless), cmocka_unit_test(test_bounds),  cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
