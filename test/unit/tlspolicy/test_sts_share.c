/* MTA-STS policies between nodes: what is told is kept, the later one wins, what was missed is asked for page
 * by page, and what another node says is judged as what a file says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/tlspolicy/sts_share.h"

#include <stdio.h>
#include <string.h>

#define NOW INT64_C(1700000000000)
#define DAY INT64_C(86400000)

static struct sts_store *open_store(uint32_t max)
{
    struct sts_store *s = NULL;
    assert_int_equal(sts_store_new("/nonexistent/mta-sts", max, NOW, &s), 0);
    return s;
}

static void put_hosts(struct sts_store *s, const char *domain, const char *id, int64_t at_ms, uint32_t hosts)
{
    static const char host[] = "a-host-with-quite-a-long-name-indeed.example.com";
    struct sts_policy *p = NULL;
    struct span mx[STS_MX_MAX];
    for (uint32_t i = 0; i < hosts; i++)
        mx[i] = span_str(host);
    assert_int_equal(sts_policy_new(STS_ENFORCE, 7 * 86400, mx, hosts, &p), 0);
    assert_int_equal(sts_store_put(s, domain, id, p, at_ms), 0);
    sts_policy_rele(p);
}

static void put(struct sts_store *s, const char *domain, const char *id, int64_t at_ms)
{
    put_hosts(s, domain, id, at_ms, 1);
}

/* Its id; NULL: none in force. */
static const char *known(struct sts_store *s, const char *domain, int64_t now_ms)
{
    static struct sts_found f;
    sts_store_find(s, domain, now_ms, &f);
    sts_policy_rele(f.policy);
    return f.policy == NULL ? NULL : f.id;
}

static uint32_t tell(struct sts_store *from, struct sts_store *to, const char *domain, int64_t now_ms)
{
    struct buf b;
    buf_init(&b, 1u << 20);
    uint32_t news = 0;
    if (sts_share_tell(from, domain, now_ms, &b) == 0)
        news = sts_share_hear(to, buf_span(&b), now_ms, true);
    buf_fini(&b);
    return news;
}

/* All that `to` misses of what `from` knows; in how many answers. */
static uint32_t catch_up(struct sts_store *to, struct sts_store *from, int64_t now_ms, uint32_t *news)
{
    uint32_t pages = 0;
    struct sts_share_taken taken = { 0 };
    *news = 0;
    do {
        struct buf q, a;
        buf_init(&q, 4096);
        buf_init(&a, 1u << 20);
        assert_int_equal(sts_share_question(to, taken.after, now_ms, &q), 0);
        assert_int_equal(sts_share_answer(from, buf_span(&q), now_ms, &a), 0);
        assert_true(a.len <= STS_SHARE_PAGE + STS_NAMES_MAX + 2048);
        assert_int_equal(sts_share_take(to, buf_span(&a), now_ms, &taken), 0);
        *news += taken.news;
        buf_fini(&q);
        buf_fini(&a);
    } while (++pages < 1000 && taken.after != 0);
    return pages;
}

static void test_told(void **state)
{
    (void)state;
    struct sts_store *a = open_store(10), *b = open_store(10);
    put(a, "one.test", "1", NOW);
    assert_int_equal(tell(a, b, "one.test", NOW), 1);
    assert_string_equal(known(b, "one.test", NOW), "1");
    assert_int_equal(tell(a, b, "one.test", NOW), 0); /* it is no news any more */
    assert_true(sts_store_changed(b));
    put(a, "one.test", "2", NOW + 1000);
    put(b, "one.test", "3", NOW + 2000);
    assert_int_equal(tell(a, b, "one.test", NOW + 2000), 0); /* b was there later */
    assert_int_equal(tell(b, a, "one.test", NOW + 2000), 1);
    assert_string_equal(known(a, "one.test", NOW + 2000), "3");
    struct sts_found f; /* a's resolver may still say the id of before: no reason to fetch */
    sts_store_find(a, "one.test", NOW + 3000, &f);
    assert_string_equal(f.former_id, "2");
    sts_policy_rele(f.policy);
    sts_store_find(a, "one.test", NOW + 2000 + STS_FORMER_MS, &f);
    assert_string_equal(f.former_id, "");
    sts_policy_rele(f.policy);
    assert_int_equal(tell(a, b, "none.test", NOW), 0);
    /* max_age counts from when it was fetched, wherever that was */
    assert_non_null(known(a, "one.test", NOW + 7 * DAY + 1999));
    assert_null(known(a, "one.test", NOW + 7 * DAY + 2000));
    assert_int_equal(tell(b, a, "one.test", NOW + 7 * DAY + 2000), 0);
    sts_store_free(a);
    sts_store_free(b);
}

/* Two nodes that fetched at the same time come to the same policy. */
static void test_same_time(void **state)
{
    (void)state;
    struct sts_store *a = open_store(10), *b = open_store(10);
    put(a, "one.test", "1", NOW);
    put(b, "one.test", "2", NOW);
    assert_int_equal(tell(a, b, "one.test", NOW), 0);
    assert_int_equal(tell(b, a, "one.test", NOW), 1);
    assert_string_equal(known(a, "one.test", NOW), "2");
    assert_string_equal(known(b, "one.test", NOW), "2");
    sts_store_free(a);
    sts_store_free(b);
}

/* Who fetched it looks again first; the others later, before it ends. */
static void test_who_refreshes(void **state)
{
    (void)state;
    struct sts_store *a = open_store(10), *b = open_store(10);
    struct sts_found f;
    put(a, "one.test", "1", NOW);
    assert_int_equal(tell(a, b, "one.test", NOW), 1);
    sts_store_find(a, "one.test", NOW + DAY, &f);
    assert_false(f.fresh);
    sts_policy_rele(f.policy);
    sts_store_find(b, "one.test", NOW + DAY, &f);
    assert_true(f.fresh);
    sts_policy_rele(f.policy);
    sts_store_find(b, "one.test", NOW + DAY + DAY / 8 + 1, &f);
    assert_false(f.fresh);
    sts_policy_rele(f.policy);
    sts_store_free(a);
    sts_store_free(b);
}

static void test_catch_up(void **state)
{
    (void)state;
    struct sts_store *a = open_store(5000), *b = open_store(5000);
    uint32_t news;
    for (int i = 0; i < 3000; i++) {
        char name[32];
        snprintf(name, sizeof name, "d%d.test", i);
        put_hosts(a, name, "1", NOW, 5);
        if (i % 3 == 0)
            (void)tell(a, b, name, NOW);
    }
    put(b, "only-b.test", "9", NOW);
    sts_store_failed(a, "failed.test", "1", NOW);
    uint32_t pages = catch_up(b, a, NOW, &news);
    assert_int_equal(news, 2000);
    assert_in_range(pages, 2, 10);
    assert_string_equal(known(b, "d2999.test", NOW), "1");
    assert_int_equal(catch_up(a, b, NOW, &news), 1);
    assert_int_equal(news, 1);
    /* the same on both: nothing is sent */
    struct buf q, out;
    buf_init(&q, 4096);
    buf_init(&out, 4096);
    assert_int_equal(sts_share_question(a, 0, NOW, &q), 0);
    assert_int_equal(sts_share_answer(b, buf_span(&q), NOW, &out), 0);
    assert_int_equal(out.len, 8);
    buf_fini(&q);
    buf_fini(&out);
    sts_store_free(a);
    sts_store_free(b);
}

/* Many policies do not push out what a node uses itself; a fetched one has its place. */
static void test_full(void **state)
{
    (void)state;
    struct sts_store *a = open_store(5000), *b = open_store(10);
    uint32_t news;
    put(b, "mine.test", "1", NOW);
    for (int i = 0; i < 2000; i++) {
        char name[32];
        snprintf(name, sizeof name, "d%d.test", i);
        put_hosts(a, name, "1", NOW, 10);
    }
    assert_int_equal(catch_up(b, a, NOW, &news), 1);
    assert_int_equal(news, 9);
    assert_int_equal(sts_store_count(b), 10);
    assert_string_equal(known(b, "mine.test", NOW), "1");
    put(a, "new.test", "1", NOW + 1);
    assert_int_equal(tell(a, b, "new.test", NOW + 1), 1);
    assert_int_equal(sts_store_count(b), 10);
    put(a, "mine.test", "2", NOW + 1);
    assert_int_equal(catch_up(b, a, NOW + 1, &news), 1);
    assert_int_equal(news, 1);
    assert_string_equal(known(b, "mine.test", NOW + 1), "2");
    sts_store_free(a);
    sts_store_free(b);
}

static uint32_t hear(struct sts_store *s, const char *text)
{
    return sts_share_hear(s, span_str(text), NOW, true);
}

static void test_judged(void **state)
{
    (void)state;
    struct sts_store *s = open_store(10);
    char text[512];
    static const char *const bad[] = {
        "\n\n",
        "x\n",
        "a.test 1\n",
        "a.test 1 1700000000000 enforce 600\n",
        "a.test 1 1700000000000 enforce 600 -\n", /* enforce, and no hosts */
        "a.test 1 1700000000000 enforce 31557601 mx.test\n",
        "a.test 1 1700000000000 wrong 600 mx.test\n",
        "A.test 1 1700000000000 enforce 600 mx.test\n",
        "a/../b.test 1 1700000000000 enforce 600 mx.test\n",
        " 1 1700000000000 enforce 600 mx.test\n",
        "a.test 1;2 1700000000000 enforce 600 mx.test\n",
        "a.test 123456789012345678901234567890123 1700000000000 enforce 600 mx.test\n",
        "a.test 1 -5 enforce 600 mx.test\n",
        "a.test 1 1699990000000 enforce 600 mx.test\n", /* over */
        "a.test 1 1700003600001 enforce 600 mx.test\n", /* from the future */
        "a.test 1 18446744073709551615 enforce 600 mx.test\n",
        "a.test 1 1700000000000 enforce 600 mx..test\n",
        "a.test 1 1700000000000 enforce 600 mx.test,*\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(hear(s, bad[i]), 0);
    assert_int_equal(sts_store_count(s), 0);
    assert_false(sts_store_changed(s));
    snprintf(text, sizeof text, "%sgood.test 1 1700003600000 enforce 600 mx.test,*.mx.test new-field\n%s",
             bad[4], "also.test 2 1699999500000 none 600 -");
    assert_int_equal(hear(s, text), 2);
    struct sts_found f;
    sts_store_find(s, "good.test", NOW, &f);
    assert_true(f.fresh); /* that the other node's clock is ahead is no reason to fetch */
    assert_int_equal(f.policy->nmx, 2);
    sts_policy_rele(f.policy);
    struct sts_share_taken taken;
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(sts_share_take(s, SPAN_LIT("1234567"), NOW, &taken), ERR_BAD);
    assert_int_equal(sts_share_answer(s, SPAN_LIT("12345678"), NOW, &out), ERR_BAD);
    assert_int_equal(sts_share_answer(s, span_of(NULL, 0), NOW, &out), ERR_BAD);
    buf_fini(&out);
    sts_store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told),          cmocka_unit_test(test_same_time),
        cmocka_unit_test(test_who_refreshes), cmocka_unit_test(test_catch_up),
        cmocka_unit_test(test_full),          cmocka_unit_test(test_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
