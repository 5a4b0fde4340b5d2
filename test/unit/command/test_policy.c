/* The compiled policy: the built-in one, its encoding, and what is out of range. */
#include "base/err.h"
#include "consensus/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static int decode(const void *p, size_t n, struct policy_compiled *out)
{
    void *block = malloc(n == 0 ? 1 : n);
    assert_non_null(block);
    if (n != 0)
        memcpy(block, p, n);
    struct cursor c;
    cursor_init(&c, block, n);
    int err = policy_decode(&c, out);
    free(block);
    return err;
}

static void largest(struct policy_compiled *p)
{
    *p = (struct policy_compiled){ .session_ttl_ms = POLICY_TTL_MAX_MS,
                                   .session_margin_ms = POLICY_MARGIN_MAX_MS,
                                   .voters = 5,
                                   .hold_when_cut_off = true,
                                   .max_rcpts = { UINT32_MAX, 1, 2 },
                                   .freeze_mode = COMMAND_FREEZE_AUTO,
                                   .nlimits = 3 * POLICY_CHAIN_MAX };
    for (uint32_t i = 0; i < p->nlimits; i++) {
        struct policy_limit *l = &p->limits[i];
        memset(l->name, '~', sizeof l->name - 1);
        snprintf(l->name, sizeof l->name, "limit-%u", i);
        l->name[strlen(l->name)] = '-';
        l->scope = (uint8_t)(1 + i % 2);
        l->classes = (uint8_t)(1u << i % 3);
        l->count = POLICY_COUNT_MAX - i;
        l->window_ms = (uint64_t)POLICY_WINDOW_MAX_MS - i;
    }
}

static void assert_same(const struct policy_compiled *a, const struct policy_compiled *b)
{
    assert_int_equal(a->session_ttl_ms, b->session_ttl_ms);
    assert_int_equal(a->session_margin_ms, b->session_margin_ms);
    assert_int_equal(a->voters, b->voters);
    assert_int_equal(a->hold_when_cut_off, b->hold_when_cut_off);
    assert_memory_equal(a->max_rcpts, b->max_rcpts, sizeof a->max_rcpts);
    assert_int_equal(a->freeze_mode, b->freeze_mode);
    assert_int_equal(a->nlimits, b->nlimits);
    for (uint32_t i = 0; i < a->nlimits; i++) {
        assert_string_equal(a->limits[i].name, b->limits[i].name);
        assert_int_equal(a->limits[i].scope, b->limits[i].scope);
        assert_int_equal(a->limits[i].classes, b->limits[i].classes);
        assert_true(a->limits[i].count == b->limits[i].count);
        assert_true(a->limits[i].window_ms == b->limits[i].window_ms);
    }
}

static void test_there_and_back(void **state)
{
    (void)state;
    struct policy_compiled p[3], again;
    p[0] = (struct policy_compiled){ 0 };
    policy_default(&p[1]);
    largest(&p[2]);
    for (int i = 0; i < 3; i++) {
        struct buf b;
        buf_init(&b, SIZE_MAX);
        assert_int_equal(policy_encode(&p[i], &b), 0);
        assert_int_equal(decode(b.data, b.len, &again), 0);
        assert_same(&p[i], &again);
        for (size_t n = 0; n < b.len; n++)
            assert_int_equal(decode(b.data, n, &again), ERR_TORN);
        buf_fini(&b);
    }
}

static void test_any_byte_changed(void **state)
{
    (void)state;
    struct policy_compiled p, q;
    policy_default(&p);
    struct buf b, again;
    buf_init(&b, SIZE_MAX);
    buf_init(&again, SIZE_MAX);
    assert_int_equal(policy_encode(&p, &b), 0);
    for (size_t at = 0; at < b.len; at++)
        for (unsigned v = 0; v < 256; v++) {
            char was = b.data[at];
            b.data[at] = (char)(uint8_t)v;
            int err = decode(b.data, b.len, &q);
            assert_true(err == 0 || err == ERR_TORN || err == ERR_CORRUPT);
            if (err == 0) {
                buf_reset(&again);
                assert_int_equal(policy_encode(&q, &again), 0);
                assert_true(again.len <= b.len);
                assert_memory_equal(again.data, b.data, again.len);
            }
            b.data[at] = was;
        }
    buf_fini(&b);
    buf_fini(&again);
}

static void test_built_in(void **state)
{
    (void)state;
    struct policy_compiled p;
    policy_default(&p);
    assert_int_equal(p.session_ttl_ms, 3000);
    assert_int_equal(p.session_margin_ms, 1000);
    assert_int_equal(p.voters, 3);
    assert_int_equal(p.freeze_mode, COMMAND_FREEZE_AUTO);
    assert_int_equal(p.nlimits, 4);
    assert_string_equal(p.limits[0].name, "account-hour");
    assert_int_equal(p.limits[0].count, 500);
    assert_int_equal(p.limits[0].window_ms, 3600000);
    assert_int_equal(p.limits[0].classes, 3);
    assert_string_equal(p.limits[3].name, "tenant-day");
    assert_int_equal(p.limits[3].scope, COMMAND_SCOPE_TENANT);
    assert_int_equal(p.limits[3].classes, 7);
}

#define REFUSED(...)                                                                                         \
    do {                                                                                                     \
        struct policy_compiled p;                                                                            \
        policy_default(&p);                                                                                  \
        __VA_ARGS__;                                                                                         \
        struct buf b;                                                                                        \
        buf_init(&b, SIZE_MAX);                                                                              \
        assert_int_equal(policy_encode(&p, &b), ERR_BAD);                                                    \
        assert_int_equal(b.len, 0);                                                                          \
        buf_fini(&b);                                                                                        \
    } while (0)

static void test_out_of_range(void **state)
{
    (void)state;
    REFUSED(p.session_ttl_ms = POLICY_TTL_MIN_MS - 1);
    REFUSED(p.session_ttl_ms = POLICY_TTL_MAX_MS + 1);
    REFUSED(p.session_ttl_ms = -1);
    REFUSED(p.session_margin_ms = POLICY_MARGIN_MAX_MS + 1);
    REFUSED(p.session_margin_ms = -1);
    REFUSED(p.voters = 2);
    REFUSED(p.voters = 4);
    REFUSED(p.voters = 7);
    REFUSED(p.freeze_mode = COMMAND_FREEZE_AUTO + 1);
    REFUSED(p.nlimits = POLICY_LIMITS_MAX + 1);
    REFUSED(p.limits[0].name[0] = 0);
    REFUSED(memset(p.limits[0].name, 'x', POLICY_LIMIT_NAME));
    REFUSED(p.limits[0].name[3] = ' ');
    REFUSED(p.limits[0].name[3] = '\n');
    REFUSED(p.limits[0].name[3] = (char)0xc3);
    REFUSED(strcpy(p.limits[1].name, p.limits[0].name));
    REFUSED(p.limits[0].scope = 0);
    REFUSED(p.limits[0].scope = 3);
    REFUSED(p.limits[0].classes = 0);
    REFUSED(p.limits[0].classes = 8);
    REFUSED(p.limits[0].count = POLICY_COUNT_MAX + 1);
    REFUSED(p.limits[0].window_ms = POLICY_WINDOW_MIN_MS - 1);
    REFUSED(p.limits[0].window_ms = (uint64_t)POLICY_WINDOW_MAX_MS + 1);
    REFUSED(largest(&p); p.limits[1].classes = 3); /* one class has seventeen */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_any_byte_changed),
        cmocka_unit_test(test_built_in),
        cmocka_unit_test(test_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
