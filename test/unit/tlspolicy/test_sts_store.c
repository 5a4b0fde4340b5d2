/* The cache of MTA-STS policies: how long, how many, over restarts, and with a file that somebody damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/tlspolicy/sts_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOW INT64_C(1700000000000)
#define DAY INT64_C(86400000)

static char dir[64], file[96];

static struct sts_store *open_store(uint32_t max, int64_t now_ms)
{
    struct sts_store *s = NULL;
    assert_int_equal(sts_store_new(file, max, now_ms, &s), 0);
    return s;
}

static void put(struct sts_store *s, const char *domain, const char *id, uint32_t age_s, int64_t now_ms)
{
    struct sts_policy *p = NULL;
    struct span mx[] = { SPAN_LIT("mx.example.com"), SPAN_LIT("*.example.net") };
    assert_int_equal(sts_policy_new(STS_ENFORCE, age_s, mx, 2, &p), 0);
    assert_int_equal(sts_store_put(s, domain, id, p, now_ms), 0);
    sts_policy_rele(p);
}

/* 'p': a policy in force, 'f': fresh, 'x': failed lately. */
static void expect(struct sts_store *s, const char *domain, int64_t now_ms, const char *flags, const char *id)
{
    struct sts_found f;
    sts_store_find(s, domain, now_ms, &f);
    assert_int_equal(f.policy != NULL, strchr(flags, 'p') != NULL);
    assert_int_equal(f.fresh, strchr(flags, 'f') != NULL);
    assert_int_equal(f.failed, strchr(flags, 'x') != NULL);
    assert_string_equal(f.id, id);
    sts_policy_rele(f.policy);
}

static void test_times(void **state)
{
    (void)state;
    struct sts_store *s = open_store(10, NOW);
    expect(s, "a.test", NOW, "", "");
    sts_store_failed(s, "a.test", "1", NOW);
    expect(s, "a.test", NOW + STS_RETRY_MS - 1, "x", "1");
    expect(s, "a.test", NOW + STS_RETRY_MS, "", "1");
    expect(s, "a.test", NOW - 1000, "", "1"); /* the clock was set back: try */
    put(s, "a.test", "1", 7 * 86400, NOW);
    expect(s, "a.test", NOW, "pf", "1");
    expect(s, "a.test", NOW + DAY - 1, "pf", "1");
    expect(s, "a.test", NOW + DAY, "p", "1"); /* to be looked at again, in force meanwhile */
    sts_store_failed(s, "a.test", "2", NOW + DAY);
    expect(s, "a.test", NOW + DAY, "px", "1");
    expect(s, "a.test", NOW + 7 * DAY - 1, "p", "1");
    expect(s, "a.test", NOW + 7 * DAY, "", "2"); /* too old */
    put(s, "short.test", "3", 60, NOW);
    expect(s, "short.test", NOW + 29999, "pf", "3");
    expect(s, "short.test", NOW + 30000, "p", "3");
    expect(s, "short.test", NOW + 60000, "", "");
    sts_store_free(s);
}

static void test_bounds(void **state)
{
    (void)state;
    struct sts_store *s = open_store(3, NOW);
    for (int i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "d%d.test", i);
        put(s, name, "1", 86400, NOW);
    }
    expect(s, "d0.test", NOW, "pf", "1"); /* used: d1 is the oldest now */
    sts_store_failed(s, "d3.test", "1", NOW);
    assert_int_equal(sts_store_count(s), 3);
    expect(s, "d1.test", NOW, "", "");
    expect(s, "d0.test", NOW, "pf", "1");
    sts_store_free(s);
}

static void test_restart(void **state)
{
    (void)state;
    struct sts_store *s = open_store(10, NOW);
    put(s, "a.test", "abc1", 86400, NOW);
    put(s, "b.test", "2", 3600, NOW);
    sts_store_failed(s, "c.test", "3", NOW);
    assert_int_equal(sts_store_save(s), 0);
    sts_store_free(s);
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    s = open_store(10, NOW + 7200 * 1000);
    assert_int_equal(sts_store_count(s), 2);
    struct sts_found f;
    sts_store_find(s, "a.test", NOW + 7200 * 1000, &f);
    assert_non_null(f.policy);
    assert_string_equal(f.id, "abc1");
    assert_int_equal(f.policy->mode, STS_ENFORCE);
    assert_int_equal(f.policy->nmx, 2);
    assert_true(sts_policy_allows(f.policy, "x.example.net"));
    sts_policy_rele(f.policy);
    expect(s, "b.test", NOW + 7200 * 1000, "", "");
    sts_store_free(s);
}

static void test_damaged(void **state)
{
    (void)state;
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fprintf(f, "good.test 1 %lld none 86400 -\n", (long long)NOW - 1000);
    fprintf(f, "future.test 1 %lld none 86400 -\n", (long long)NOW + STS_SKEW_MS + 1);
    fputs("\n \nx\na.test 1 1 enforce 1\nb.test 1 x enforce 1 a.test\nc.test 1 1 what 1 a.test\n", f);
    fputs("d.test 1 1 enforce 99999999999 a.test\ne.test 1 1 enforce 86400 a..test\ng.test 1 1 enforce 86400 "
          ",\n",
          f);
    fputs("h.test 123456789012345678901234567890123 1 none 86400 -\n", f);
    for (int i = 0; i < 20000; i++)
        fputc('y', f);
    fputs("\ncut.test 1 1 none 864", f);
    fclose(f);
    struct sts_store *s = open_store(10, NOW);
    expect(s, "good.test", NOW, "pf", "1");
    assert_int_equal(sts_store_count(s), 1);
    sts_store_free(s);
}

static int fresh(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/test-sts-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(file, sizeof file, "%s/mta-sts", dir);
    return 0;
}

static int gone(void **state)
{
    (void)state;
    (void)unlink(file);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(test_times, fresh, gone),
                                        cmocka_unit_test_setup_teardown(test_bounds, fresh, gone),
                                        cmocka_unit_test_setup_teardown(test_restart, fresh, gone),
                                        cmocka_unit_test_setup_teardown(test_damaged, fresh, gone) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
