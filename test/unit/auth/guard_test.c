/* Failed logins: limits, decay, and a bounded table under a flood. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/auth/guard.h"

#include <stdio.h>

static const struct auth_guard_config config = {
    .account_failures = 5, .client_failures = 10, .window_ms = 600000, .block_ms = 900000
};
#define ANNA SPAN_LIT("anna@example.org")
#define HOME SPAN_LIT("\x04\xc0\x00\x02")
#define EVIL SPAN_LIT("\x04\xcb\x00\x71")
#define NONE ((struct span){ NULL, 0 })

static void test_account(void **state)
{
    (void)state;
    struct auth_guard *g = auth_guard_new(&config);
    for (int i = 0; i < 4; i++)
        auth_guard_failure(g, 1000 + i, ANNA, NONE);
    assert_int_equal(auth_guard_blocked(g, 1004, ANNA, EVIL), 0);
    auth_guard_failure(g, 1004, ANNA, NONE);
    assert_int_equal(auth_guard_blocked(g, 1004, ANNA, EVIL), 900000);
    assert_int_equal(auth_guard_blocked(g, 1004 + 899999, ANNA, EVIL), 1);
    assert_int_equal(auth_guard_blocked(g, 1004 + 900000, ANNA, EVIL), 0);
    assert_int_equal(auth_guard_blocked(g, 1004, SPAN_LIT("bob@example.org"), EVIL), 0);
    auth_guard_free(g);
}

/* A failure every three minutes leaks away at 5 per ten minutes. */
static void test_decay(void **state)
{
    (void)state;
    struct auth_guard *g = auth_guard_new(&config);
    int64_t now = 5000;
    for (int i = 0; i < 1000; i++, now += 180000) {
        auth_guard_failure(g, now, ANNA, HOME);
        assert_int_equal(auth_guard_blocked(g, now, ANNA, HOME), 0);
    }
    auth_guard_free(g);
}

static void test_client(void **state)
{
    (void)state;
    struct auth_guard *g = auth_guard_new(&config);
    char name[32];
    for (int i = 0; i < 10; i++) {
        int n = snprintf(name, sizeof name, "user%d", i);
        assert_int_equal(auth_guard_blocked(g, 0, span_of(name, (size_t)n), EVIL), 0);
        auth_guard_failure(g, 0, span_of(name, (size_t)n), EVIL);
    }
    assert_int_equal(auth_guard_blocked(g, 0, ANNA, EVIL), 900000);
    assert_int_equal(auth_guard_blocked(g, 0, ANNA, HOME), 0);
    auth_guard_free(g);
}

/* Strangers lock an account, but not out of the networks that its owner uses. */
static void test_known_client(void **state)
{
    (void)state;
    struct auth_guard *g = auth_guard_new(&config);
    auth_guard_success(g, 0, ANNA, HOME);
    for (int i = 0; i < 5; i++)
        auth_guard_failure(g, 10, ANNA, EVIL);
    assert_true(auth_guard_blocked(g, 10, ANNA, EVIL) > 0);
    assert_int_equal(auth_guard_blocked(g, 10, ANNA, HOME), 0);
    /* Nor when somebody else in such a network guesses, at other accounts. */
    char name[32];
    for (int i = 0; i < 10; i++) {
        int n = snprintf(name, sizeof name, "user%d", i);
        auth_guard_failure(g, 20, span_of(name, (size_t)n), HOME);
    }
    assert_true(auth_guard_blocked(g, 20, SPAN_LIT("bob"), HOME) > 0);
    assert_int_equal(auth_guard_blocked(g, 20, ANNA, HOME), 0);
    /* But at her own password nobody guesses for ever from there either. */
    for (int i = 0; i < 10; i++) {
        assert_int_equal(auth_guard_blocked(g, 30, ANNA, HOME), 0);
        auth_guard_failure(g, 30, ANNA, HOME);
    }
    assert_true(auth_guard_blocked(g, 30, ANNA, HOME) > 0);
    auth_guard_success(g, 40, ANNA, HOME); /* of a check that was under way: it opens nothing */
    assert_true(auth_guard_blocked(g, 40, ANNA, HOME) > 0);
    struct auth_guard_config networks_only = config;
    networks_only.account_failures = 0;
    struct auth_guard *other = auth_guard_new(&networks_only);
    auth_guard_success(other, 0, ANNA, HOME);
    for (int i = 0; i < 10; i++)
        auth_guard_failure(other, 10, ANNA, HOME);
    assert_true(auth_guard_blocked(other, 10, ANNA, HOME) > 0);
    auth_guard_free(other);
    /* After a week it is a stranger again. */
    int64_t later = INT64_C(8) * 86400000;
    for (int i = 0; i < 5; i++)
        auth_guard_failure(g, later, ANNA, EVIL);
    assert_true(auth_guard_blocked(g, later, ANNA, HOME) > 0);
    auth_guard_free(g);
}

/* Other nodes are told of a network once, and again before they forget it. */
static void test_news(void **state)
{
    (void)state;
    const int64_t day = 86400000;
    struct auth_guard *g = auth_guard_new(&config), *other = auth_guard_new(&config);
    assert_true(auth_guard_success(g, 0, ANNA, HOME));
    assert_false(auth_guard_success(g, day - 1, ANNA, HOME));
    assert_true(auth_guard_success(g, day, ANNA, HOME));
    assert_true(auth_guard_success(g, day, ANNA, EVIL));
    assert_false(auth_guard_success(g, day, ANNA, NONE));
    auth_guard_known(other, day, ANNA, HOME);
    auth_guard_known(other, day, ANNA, NONE);
    assert_int_equal(auth_guard_len(other), 1);
    assert_false(auth_guard_success(other, day + 1, ANNA, HOME));
    for (int i = 0; i < 5; i++)
        auth_guard_failure(other, day + 1, ANNA, EVIL);
    assert_int_equal(auth_guard_blocked(other, day + 1, ANNA, HOME), 0);
    assert_true(auth_guard_blocked(other, day + 1, ANNA, EVIL) > 0);
    auth_guard_free(g);
    auth_guard_free(other);
}

/* The next failure after a block. */
static int64_t block_again(struct auth_guard *g, int64_t *now, struct span account, struct span client, int n)
{
    for (int i = 0; i < n; i++)
        auth_guard_failure(g, *now, account, client);
    int64_t wait = auth_guard_blocked(g, *now, account, client);
    *now += wait;
    assert_int_equal(auth_guard_blocked(g, *now, account, client), 0);
    return wait;
}

/* A network that goes on after a block is blocked for twice as long, up to a day; an account no more than
 * four times as long, since its owner may be on his way. Who is quiet is forgiven, step by step. */
static void test_growing(void **state)
{
    (void)state;
    struct auth_guard *g = auth_guard_new(&config);
    int64_t now = 0, want = config.block_ms;
    for (int i = 0; i < 12; i++) {
        assert_int_equal(block_again(g, &now, NONE, EVIL, 10), want);
        want = want * 2 < 86400000 ? want * 2 : 86400000;
    }
    now += INT64_C(8) * 86400000;
    assert_int_equal(block_again(g, &now, NONE, EVIL, 10), config.block_ms);
    now = 0;
    static const int steps[] = { 1, 2, 4, 4, 4 };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        assert_int_equal(block_again(g, &now, ANNA, NONE, 5), steps[i] * config.block_ms);
    now += 8 * config.block_ms; /* one step for each eight blocks of quiet */
    assert_int_equal(block_again(g, &now, ANNA, NONE, 5), 4 * config.block_ms);
    now += 16 * config.block_ms;
    assert_int_equal(block_again(g, &now, ANNA, NONE, 5), 2 * config.block_ms);
    /* a long block of the operator's own stays as it is */
    struct auth_guard_config other = config;
    other.block_ms = INT64_C(86400000);
    auth_guard_configure(g, now, &other);
    now += INT64_C(365) * 86400000;
    for (int i = 0; i < 3; i++)
        assert_int_equal(block_again(g, &now, NONE, EVIL, 10), 86400000);
    auth_guard_free(g);
}

/* With one right account a guesser can't go on for ever from his network. */
static void test_success_does_not_reset(void **state)
{
    (void)state;
    struct auth_guard *g = auth_guard_new(&config);
    char name[32];
    bool blocked = false;
    for (int i = 0; i < 100 && !blocked; i++) {
        int n = snprintf(name, sizeof name, "user%d", i);
        auth_guard_failure(g, i, span_of(name, (size_t)n), EVIL);
        auth_guard_success(g, i, SPAN_LIT("evil@example.org"), EVIL);
        blocked = auth_guard_blocked(g, i, ANNA, EVIL) > 0;
    }
    assert_true(blocked);
    auth_guard_free(g);
}

static void test_off(void **state)
{
    (void)state;
    struct auth_guard *g = auth_guard_new(&(struct auth_guard_config){ .window_ms = 1000, .block_ms = 1000 });
    for (int i = 0; i < 1000; i++)
        auth_guard_failure(g, 0, ANNA, HOME);
    assert_int_equal(auth_guard_blocked(g, 0, ANNA, HOME), 0);
    assert_int_equal(auth_guard_len(g), 0);
    auth_guard_free(g);
}

/* A million keys with one failure each: the table keeps its size, and what is blocked stays blocked. */
static void test_flood(void **state)
{
    (void)state;
    struct auth_guard *g = auth_guard_new(&config);
    for (int i = 0; i < 5; i++)
        auth_guard_failure(g, 0, ANNA, NONE);
    char name[32];
    for (int i = 0; i < 1000000; i++) {
        int n = snprintf(name, sizeof name, "u%d", i);
        auth_guard_failure(g, i / 1000, span_of(name, (size_t)n), NONE);
    }
    assert_true(auth_guard_len(g) <= AUTH_GUARD_ENTRIES);
    assert_true(auth_guard_len(g) > AUTH_GUARD_ENTRIES / 2);
    assert_true(auth_guard_blocked(g, 1000, ANNA, NONE) > 0);
    auth_guard_free(g);
}

/* Other numbers are in force at once: what was counted counts by them, and nobody is blocked for longer. */
static void test_configure(void **state)
{
    (void)state;
    struct auth_guard *g = auth_guard_new(&config);
    struct auth_guard_config other = config;
    for (int i = 0; i < 4; i++)
        auth_guard_failure(g, 0, ANNA, NONE);
    other.account_failures = 3; /* she is over it, and blocked by the next one */
    auth_guard_configure(g, 0, &other);
    assert_int_equal(auth_guard_blocked(g, 0, ANNA, NONE), 0);
    auth_guard_failure(g, 0, ANNA, NONE);
    assert_int_equal(auth_guard_blocked(g, 0, ANNA, NONE), 900000);
    other.block_ms = 1000;
    auth_guard_configure(g, 10, &other);
    assert_int_equal(auth_guard_blocked(g, 10, ANNA, NONE), 1000);
    other.account_failures = 0;
    auth_guard_configure(g, 20, &other);
    assert_int_equal(auth_guard_blocked(g, 20, ANNA, NONE), 0);
    /* What leaked away by the old numbers is gone, and the rest leaks by the new ones. */
    auth_guard_configure(g, 2000, &config);
    for (int i = 0; i < 4; i++)
        auth_guard_failure(g, 2000, SPAN_LIT("bob"), NONE);
    other = config;
    other.account_failures = 100;
    auth_guard_configure(g, 2000 + 600000, &other);
    for (int i = 0; i < 99; i++)
        auth_guard_failure(g, 2000 + 600000, SPAN_LIT("bob"), NONE);
    assert_int_equal(auth_guard_blocked(g, 2000 + 600000, SPAN_LIT("bob"), NONE), 0);
    auth_guard_failure(g, 2000 + 600000, SPAN_LIT("bob"), NONE);
    assert_true(auth_guard_blocked(g, 2000 + 600000, SPAN_LIT("bob"), NONE) > 0);
    auth_guard_free(g);
}

struct listed {
    uint32_t n, times;
    unsigned kinds;
    int64_t left_ms;
};

static void on_block(void *arg, const struct auth_guard_block *b)
{
    struct listed *l = arg;
    l->n++;
    l->kinds |= b->kind;
    l->times = b->times;
    l->left_ms = b->left_ms;
    assert_true(b->kind != AUTH_GUARD_ACCOUNT || (span_eq(b->account, ANNA) && b->client.n == 0));
    assert_true(b->kind != AUTH_GUARD_CLIENT || (b->account.n == 0 && (span_eq(b->client, EVIL) || span_eq(b->client, HOME))));
    assert_true(b->kind != AUTH_GUARD_PAIR || (span_eq(b->account, ANNA) && span_eq(b->client, HOME)));
}

static void on_any(void *arg, const struct auth_guard_block *b)
{
    (void)b;
    ((struct listed *)arg)->n++;
}

static struct listed blocked(const struct auth_guard *g, int64_t now_ms)
{
    struct listed l = { 0 };
    auth_guard_blocked_each(g, now_ms, on_block, &l);
    return l;
}

static void test_who_is_blocked_is_listed_and_let_go(void **state)
{
    (void)state;
    struct auth_guard *g = auth_guard_new(&config);
    assert_int_equal(blocked(g, 0).n, 0);
    assert_true(auth_guard_success(g, 0, ANNA, HOME));
    unsigned said = 0;
    for (int i = 0; i < 10; i++)
        said |= auth_guard_failure(g, 1000, ANNA, EVIL);
    assert_int_equal(said, AUTH_GUARD_ACCOUNT | AUTH_GUARD_CLIENT);
    assert_int_equal(auth_guard_failure(g, 1000, ANNA, EVIL), 0); /* they are already */
    said = 0;
    for (int i = 0; i < 10; i++)
        said |= auth_guard_failure(g, 1000, ANNA, HOME);
    assert_true((said & AUTH_GUARD_PAIR) != 0);
    assert_int_equal(auth_guard_unblock(g, 1000, NONE, NONE), 0);
    assert_int_equal(auth_guard_unblock(g, 1000, SPAN_LIT("bob@example.org"), NONE), 0);
    assert_true(auth_guard_blocked(g, 1000, ANNA, HOME) > 0);
    /* the account: with the pair */
    assert_int_equal(auth_guard_unblock(g, 1000, ANNA, NONE), 2);
    assert_int_equal(auth_guard_blocked(g, 1000, ANNA, HOME), 0);
    assert_true(auth_guard_blocked(g, 1000, ANNA, EVIL) > 0);
    assert_int_equal(auth_guard_unblock(g, 1000, NONE, EVIL), 1);
    assert_int_equal(auth_guard_blocked(g, 1000, ANNA, EVIL), 0);
    for (int i = 0; i < 4; i++) /* it counts anew */
        assert_int_equal(auth_guard_failure(g, 1000, ANNA, EVIL), 0);
    assert_int_equal(auth_guard_failure(g, 1000, ANNA, EVIL), AUTH_GUARD_ACCOUNT);
    struct listed l = blocked(g, 1000 + 60000);
    assert_true((l.kinds & AUTH_GUARD_ACCOUNT) != 0);
    assert_int_equal(auth_guard_unblock(g, 1000, ANNA, NONE), 1);
    auth_guard_free(g);
}

/* As many names as there are places; those that were forgotten can still be let go. */
static void test_names_are_bounded(void **state)
{
    (void)state;
    struct auth_guard *g = auth_guard_new(&(struct auth_guard_config){
        .account_failures = 1, .window_ms = 600000, .block_ms = 900000 });
    char name[32];
    for (int i = 0; i < 2 * AUTH_GUARD_NAMED; i++) {
        int n = snprintf(name, sizeof name, "u%d", i);
        assert_int_equal(auth_guard_failure(g, 0, span_of(name, (size_t)n), NONE), AUTH_GUARD_ACCOUNT);
    }
    struct listed l = { 0 };
    auth_guard_blocked_each(g, 0, on_any, &l);
    assert_int_equal(l.n, AUTH_GUARD_NAMED);
    assert_int_equal(auth_guard_unblock(g, 0, SPAN_LIT("u0"), NONE), 1);
    assert_int_equal(auth_guard_blocked(g, 0, SPAN_LIT("u0"), NONE), 0);
    auth_guard_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_account),   cmocka_unit_test(test_decay),
        cmocka_unit_test(test_client),    cmocka_unit_test(test_known_client),
        cmocka_unit_test(test_news), cmocka_unit_test(test_growing),   cmocka_unit_test(test_success_does_not_reset),
        cmocka_unit_test(test_off),       cmocka_unit_test(test_flood),
        cmocka_unit_test(test_configure), cmocka_unit_test(test_who_is_blocked_is_listed_and_let_go),
        cmocka_unit_test(test_names_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
