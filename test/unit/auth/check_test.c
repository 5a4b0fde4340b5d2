/* Password checks through the pool: results, the cache, the guard, bounds, and accounts that change
 * meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/auth/auth.h"
#include "node/auth/cache.h"
#include "node/auth/identity.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uv_loop_t loop;
static struct inbox inbox;
static struct auth_request *got[256];
static unsigned ngot;
static char hash[ACCOUNT_HASH_MAX + 1], hash2[ACCOUNT_HASH_MAX + 1];

static void on_answer(void *ctx, struct inbox_msg *msg)
{
    (void)ctx;
    got[ngot++] = LIST_ITEM(msg, struct auth_request, msg);
}

static int setup(void **state)
{
    (void)state;
    uv_loop_init(&loop);
    inbox_init(&inbox, &loop, 1024, on_answer, NULL);
    return account_hash_password(SPAN_LIT("secret"), hash) || account_hash_password(SPAN_LIT("other"), hash2);
}

static int teardown(void **state)
{
    (void)state;
    inbox_close(&inbox, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    inbox_fini(&inbox);
    return uv_loop_close(&loop);
}

static struct account_table *table(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static struct account_table *table(const char *fmt, ...)
{
    char text[4096];
    struct account_table *t;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    assert_int_equal(account_table_parse("f", span_str(text), &t, NULL), 0);
    return t;
}

static struct auth_config config(void)
{
    return (struct auth_config){ .threads = 2,
                                 .queue = 100,
                                 .cache_entries = 100,
                                 .cache_ttl_ms = 60000,
                                 .guard = { .account_failures = 1000,
                                            .client_failures = 1000,
                                            .window_ms = 600000,
                                            .block_ms = 600000 } };
}

static struct auth *start(const struct auth_config *c)
{
    struct auth *a;
    assert_int_equal(auth_new(c, &a), 0);
    auth_set_accounts(a, table("# people\nanna@example.org:%s:person:acme:senders=example.com\n"
                               "gone@example.org:%s:person::disabled\nprinter:!:device\n",
                               hash, hash));
    return a;
}

static struct auth_request *request(const char *user, const char *password)
{
    struct sockaddr_in sin = { .sin_family = AF_INET };
    inet_pton(AF_INET, "192.0.2.1", &sin.sin_addr);
    return auth_request_new(&inbox, NULL, (struct span){ NULL, 0 }, span_str(user), span_str(password),
                            (struct sockaddr *)&sin);
}

static void wait_for(unsigned n)
{
    while (ngot < n)
        uv_run(&loop, UV_RUN_ONCE);
}

/* One check from beginning to end; the request is kept in *out when that is not NULL. */
static enum auth_result check(struct auth *a, const char *user, const char *password,
                              struct auth_request **out)
{
    struct auth_request *r = request(user, password);
    ngot = 0;
    enum auth_result result = auth_check(a, r);
    if (result == AUTH_PENDING) {
        wait_for(1);
        assert_ptr_equal(got[0], r);
        result = r->result;
    }
    assert_int_equal(result, r->result);
    assert_int_equal(result == AUTH_OK, r->identity != NULL);
    if (out != NULL)
        *out = r;
    else
        auth_request_free(r);
    return result;
}

/* Accounts that are kept elsewhere: `who` is the one there is. */
struct elsewhere {
    const char *who, *hash;
    uint8_t class;
    bool disabled;
};

static bool source_find_cb(void *ctx, struct span name, struct account *out, struct auth_text *text)
{
    const struct elsewhere *e = ctx;
    if (e->who == NULL || !span_eq(name, span_str(e->who)))
        return false;
    snprintf(text->bytes, sizeof text->bytes, "%s", e->hash);
    *out = (struct account){ .name = e->who,
                             .hash = text->bytes,
                             .tenant = "acme",
                             .senders = "",
                             .class = e->class,
                             .disabled = e->disabled };
    return true;
}

static bool source_stand_in_cb(void *ctx, struct span name, struct account *out, struct auth_text *text)
{
    const struct elsewhere *e = ctx;
    (void)name;
    return e->who != NULL && source_find_cb(ctx, span_str(e->who), out, text);
}

static void test_source(void **state)
{
    (void)state;
    struct auth_config c = config();
    struct auth *a = start(&c);
    struct elsewhere e = { .who = "carl@example.org", .hash = hash, .class = ACCOUNT_BULK };
    struct auth_source source = { .find = source_find_cb, .stand_in = source_stand_in_cb, .ctx = &e };
    struct auth_request *r;
    assert_int_equal(check(a, "anna@example.org", "secret", NULL), AUTH_OK);
    auth_set_source(a, &source);
    assert_int_equal(check(a, "anna@example.org", "secret", NULL), AUTH_BAD); /* of the table: no more */
    assert_int_equal(check(a, "carl@example.org", "other", NULL), AUTH_BAD);
    assert_int_equal(check(a, "carl@example.org", "secret", &r), AUTH_OK);
    assert_int_equal(r->identity->class, ACCOUNT_BULK);
    struct auth_identity *old = auth_identity_hold(r->identity);
    auth_request_free(r);
    assert_true(auth_identity_current(a, old));
    e.disabled = true;
    assert_false(auth_identity_current(a, old));
    assert_int_equal(check(a, "carl@example.org", "secret", NULL), AUTH_BAD);
    e.disabled = false;
    e.hash = hash2;
    assert_false(auth_identity_current(a, old));
    assert_int_equal(check(a, "carl@example.org", "secret", NULL), AUTH_BAD);
    assert_int_equal(check(a, "carl@example.org", "other", NULL), AUTH_OK);
    struct auth_identity *named = auth_identity_named(a, SPAN_LIT("carl@example.org"));
    assert_non_null(named);
    assert_string_equal(named->tenant, "acme");
    auth_identity_rele(named);
    e.who = NULL;
    assert_int_equal(check(a, "carl@example.org", "other", NULL), AUTH_BAD);
    auth_identity_rele(old);
    auth_free(a);
}

static unsigned failures, successes;

static void on_login_cb(void *ctx, struct span account, struct span network, bool right)
{
    (void)ctx;
    assert_int_equal(account.n, 16);
    assert_in_range(network.n, 1, AUTH_NETWORK_MAX);
    failures += !right;
    successes += right;
}

/* What failed on other nodes counts here. */
static void test_failures_elsewhere(void **state)
{
    (void)state;
    struct auth_config c = config();
    c.guard.account_failures = 5;
    struct auth *a = start(&c);
    failures = 0;
    auth_on_login(a, on_login_cb, NULL);
    assert_int_equal(check(a, "anna@example.org", "wrong", NULL), AUTH_BAD);
    assert_int_equal(failures, 1);
    for (int i = 0; i < 4; i++)
        auth_note(a, SPAN_LIT("anna@example.org"), SPAN_LIT("\4\300\0\2"), false);
    assert_int_equal(failures, 1); /* they are not told on */
    assert_int_equal(check(a, "anna@example.org", "secret", NULL), AUTH_BLOCKED);
    auth_free(a);
}

/* A network is told once, and one that was told of stays open to the account. */
static void test_successes_elsewhere(void **state)
{
    (void)state;
    struct auth_config c = config();
    c.guard.account_failures = 5;
    struct auth *a = start(&c), *b = start(&c);
    successes = 0;
    auth_on_login(a, on_login_cb, NULL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(check(a, "anna@example.org", "secret", NULL), AUTH_OK);
    assert_int_equal(successes, 1);
    auth_note(b, SPAN_LIT("anna@example.org"), SPAN_LIT("\4\300\0\2"), true);
    for (int i = 0; i < 5; i++)
        auth_note(b, SPAN_LIT("anna@example.org"), SPAN_LIT("\4\306\63\144"), false);
    assert_int_equal(check(b, "anna@example.org", "secret", NULL), AUTH_OK);
    assert_int_equal(successes, 1); /* what another node told is not told on */
    auth_free(a);
    auth_free(b);
}

/* The cluster's numbers, also after a reload, until it is no cluster's node any more. */
static void test_the_clusters_guard(void **state)
{
    (void)state;
    struct auth_config c = config();
    c.guard.account_failures = 1;
    struct auth *a = start(&c);
    const struct auth_guard_config given = {
        .account_failures = 3, .client_failures = 0, .window_ms = 600000, .block_ms = 600000
    };
    auth_set_guard(a, &given);
    assert_int_equal(auth_configure(a, &c), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(check(a, "anna@example.org", "wrong", NULL), AUTH_BAD);
    assert_int_equal(check(a, "anna@example.org", "secret", NULL), AUTH_BLOCKED);
    c.guard.account_failures = 0;
    assert_int_equal(auth_configure(a, &c), 0);
    assert_int_equal(check(a, "anna@example.org", "secret", NULL), AUTH_BLOCKED);
    auth_set_guard(a, NULL);
    assert_int_equal(check(a, "anna@example.org", "secret", NULL), AUTH_OK);
    auth_free(a);
}

static void test_results(void **state)
{
    (void)state;
    struct auth_config c = config();
    struct auth *a = start(&c);
    struct auth_request *r;
    assert_int_equal(check(a, "Anna@Example.ORG", "secret", &r), AUTH_OK);
    assert_string_equal(r->identity->account, "anna@example.org");
    assert_string_equal(r->identity->tenant, "acme");
    assert_int_equal(r->identity->class, ACCOUNT_PERSON);
    assert_true(auth_may_send(r->identity, SPAN_LIT("x@example.com"), false));
    assert_true(auth_identity_current(a, r->identity));
    auth_request_free(r);
    static const struct {
        const char *user, *password, *reason;
    } bad[] = {
        { "anna@example.org", "Secret", "wrong password" },
        { "anna@example.org", "", "not a password" },
        { "nobody@example.org", "secret", "no such account" },
        { "gone@example.org", "secret", "account disabled" },
        { "gone@example.org", "wrong", "account disabled" },
        { "printer", "!", "account without password" },
        { "a b", "secret", "not an account name" },
        { "", "secret", "not an account name" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(check(a, bad[i].user, bad[i].password, &r), AUTH_BAD);
        assert_string_equal(r->reason, bad[i].reason);
        auth_request_free(r);
    }
    struct auth_stats s;
    auth_stats(a, &s);
    assert_int_equal(s.ok, 1);
    assert_int_equal(s.bad, sizeof bad / sizeof bad[0]);
    assert_int_equal(s.waiting, 0);
    auth_free(a);
}

static void test_authzid(void **state)
{
    (void)state;
    struct auth_config c = config();
    struct auth *a = start(&c);
    struct auth_request *r = auth_request_new(&inbox, NULL, SPAN_LIT("boss@example.org"),
                                              SPAN_LIT("anna@example.org"), SPAN_LIT("secret"), NULL);
    assert_int_equal(auth_check(a, r), AUTH_BAD);
    auth_request_free(r);
    r = auth_request_new(&inbox, NULL, SPAN_LIT("Anna@example.org"), SPAN_LIT("anna@example.org"),
                         SPAN_LIT("secret"), NULL);
    ngot = 0;
    assert_int_equal(auth_check(a, r), AUTH_PENDING);
    wait_for(1);
    assert_int_equal(r->result, AUTH_OK);
    auth_request_free(r);
    auth_free(a);
}

/* A right password is remembered, a wrong one is not, and a changed one counts at once. */
static void test_cache(void **state)
{
    (void)state;
    struct auth_config c = config();
    struct auth *a = start(&c);
    struct auth_request *r;
    struct auth_stats s;
    assert_int_equal(check(a, "anna@example.org", "secret", NULL), AUTH_OK);
    r = request("anna@example.org", "secret");
    assert_int_equal(auth_check(a, r), AUTH_OK); /* at once */
    struct auth_identity *old = auth_identity_hold(r->identity);
    auth_request_free(r);
    assert_int_equal(check(a, "anna@example.org", "wrong", NULL), AUTH_BAD);
    auth_stats(a, &s);
    assert_int_equal(s.cache_hits, 1);

    /* The same password, another class: at once, with the new class. */
    auth_set_accounts(a, table("anna@example.org:%s:bulk:acme:\n", hash));
    assert_true(auth_identity_current(a, old));
    r = request("anna@example.org", "secret");
    assert_int_equal(auth_check(a, r), AUTH_OK);
    assert_int_equal(r->identity->class, ACCOUNT_BULK);
    auth_request_free(r);

    auth_set_accounts(a, table("anna@example.org:%s:person:acme:\n", hash2));
    assert_false(auth_identity_current(a, old));
    assert_int_equal(check(a, "anna@example.org", "secret", NULL), AUTH_BAD);
    assert_int_equal(check(a, "anna@example.org", "other", NULL), AUTH_OK);

    auth_set_accounts(a, table("anna@example.org:%s:person:acme:disabled\n", hash2));
    assert_int_equal(check(a, "anna@example.org", "other", NULL), AUTH_BAD);
    auth_set_accounts(a, NULL);
    assert_int_equal(check(a, "anna@example.org", "other", NULL), AUTH_BAD);
    auth_identity_rele(old);

    auth_set_accounts(a, table("anna@example.org:%s:person:acme:\n", hash2));
    r = request("anna@example.org", "other");
    assert_int_equal(auth_check(a, r), AUTH_OK); /* still remembered */
    auth_request_free(r);
    auth_forget(a, SPAN_LIT("anna@example.org"));
    r = request("anna@example.org", "other");
    ngot = 0;
    assert_int_equal(auth_check(a, r), AUTH_PENDING);
    wait_for(1);
    auth_request_free(r);
    auth_free(a);
}

/* The account is changed while its check waits. */
static void test_changed_meanwhile(void **state)
{
    (void)state;
    struct auth_config c = config();
    struct auth *a = start(&c);
    struct auth_request *r = request("anna@example.org", "secret");
    ngot = 0;
    assert_int_equal(auth_check(a, r), AUTH_PENDING);
    auth_set_accounts(a, table("anna@example.org:%s:person:acme:\n", hash2));
    wait_for(1);
    assert_int_equal(r->result, AUTH_TEMP);
    auth_request_free(r);
    assert_int_equal(check(a, "anna@example.org", "secret", NULL), AUTH_BAD);
    auth_free(a);
}

static void test_blocked(void **state)
{
    (void)state;
    struct auth_config c = config();
    c.guard.account_failures = 3;
    struct auth *a = start(&c);
    struct auth_request *r;
    for (int i = 0; i < 3; i++)
        assert_int_equal(check(a, "anna@example.org", "guess", NULL), AUTH_BAD);
    assert_int_equal(check(a, "anna@example.org", "secret", &r), AUTH_BLOCKED);
    assert_true(r->retry_ms > 590000);
    assert_true(r->retry_ms <= 600000);
    auth_request_free(r);
    /* Unknown accounts are blocked alike. */
    for (int i = 0; i < 3; i++)
        assert_int_equal(check(a, "nobody", "guess", NULL), AUTH_BAD);
    assert_int_equal(check(a, "nobody", "guess", NULL), AUTH_BLOCKED);
    c.guard.account_failures = 0;
    assert_int_equal(auth_configure(a, &c), 0);
    assert_int_equal(check(a, "anna@example.org", "secret", NULL), AUTH_OK);
    auth_free(a);
}

/* A full queue says so at once, and every request is answered exactly once. */
static void test_queue_full(void **state)
{
    (void)state;
    struct auth_config c = config();
    c.threads = 1;
    c.queue = 4;
    struct auth *a = start(&c);
    unsigned pending = 0, refused = 0;
    ngot = 0;
    for (int i = 0; i < 50; i++) {
        char user[32];
        snprintf(user, sizeof user, "user%d", i);
        struct auth_request *r = request(user, "x");
        enum auth_result result = auth_check(a, r);
        if (result == AUTH_PENDING) {
            pending++;
            continue;
        }
        assert_int_equal(result, AUTH_TEMP);
        refused++;
        auth_request_free(r);
    }
    assert_true(pending >= 4);
    assert_true(refused > 0);
    wait_for(pending);
    for (unsigned i = 0; i < pending; i++) {
        assert_int_equal(got[i]->result, AUTH_BAD);
        auth_request_free(got[i]);
    }
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(ngot, pending);
    auth_free(a);
}

static void test_stop(void **state)
{
    (void)state;
    struct auth_config c = config();
    c.threads = 1;
    struct auth *a = start(&c);
    ngot = 0;
    for (int i = 0; i < 100; i++)
        assert_int_equal(auth_check(a, request("anna@example.org", "nope")), AUTH_PENDING);
    auth_free(a);
    wait_for(100);
    unsigned temp = 0;
    for (unsigned i = 0; i < 100; i++) {
        temp += got[i]->result == AUTH_TEMP;
        auth_request_free(got[i]);
    }
    assert_true(temp > 0);
}

/* What this process has computed: a busy machine makes it wait, which does not count. */
static int64_t cpu_ns(void)
{
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t time_of(struct auth *a, const char *user)
{
    int64_t best = INT64_MAX;
    for (int i = 0; i < 5; i++) {
        int64_t from = cpu_ns();
        assert_int_equal(check(a, user, "wrong", NULL), AUTH_BAD);
        int64_t took = cpu_ns() - from;
        best = took < best ? took : best;
    }
    return best;
}

/* The best of five, within a factor of two: a look-up alone would be a thousand times faster. */
static void test_unknown_takes_as_long(void **state)
{
    (void)state;
    struct auth_config c = config();
    struct auth *a = start(&c);
    int64_t known = time_of(a, "anna@example.org"), unknown = time_of(a, "nobody@example.org"),
            disabled = time_of(a, "gone@example.org"), none = time_of(a, "printer");
    print_message("wrong password %d us, unknown %d us, disabled %d us, without password %d us\n",
                  (int)(known / 1000), (int)(unknown / 1000), (int)(disabled / 1000), (int)(none / 1000));
    assert_true(unknown > known / 2);
    assert_true(disabled > known / 2);
    assert_true(none > known / 2);
    auth_free(a);
}

static void test_named(void **state)
{
    (void)state;
    struct auth_config c = config();
    struct auth *a = start(&c);
    struct auth_identity *id = auth_identity_named(a, SPAN_LIT("Web@Example.org"));
    assert_string_equal(id->account, "web@example.org");
    assert_string_equal(id->tenant, "example.org");
    assert_int_equal(id->class, ACCOUNT_DEVICE);
    assert_true(auth_may_send(id, SPAN_LIT("any@where.test"), false));
    assert_true(auth_identity_current(a, id));
    auth_identity_rele(id);
    id = auth_identity_named(a, SPAN_LIT("anna@example.org"));
    assert_string_equal(id->tenant, "acme");
    assert_false(auth_may_send(id, SPAN_LIT("any@where.test"), false));
    auth_identity_rele(id);
    assert_null(auth_identity_named(a, SPAN_LIT("gone@example.org")));
    auth_free(a);
}

static void test_cache_bounds(void **state)
{
    (void)state;
    struct auth_cache *c = auth_cache_new(10, 1000);
    struct auth_identity *id =
        auth_identity_new(SPAN_LIT("a"), SPAN_LIT(""), SPAN_LIT(""), SPAN_LIT(""), ACCOUNT_PERSON);
    uint8_t d[20][AUTH_DIGEST_BYTES];
    for (int i = 0; i < 20; i++) {
        char password[8];
        int n = snprintf(password, sizeof password, "p%d", i);
        assert_true(auth_cache_digest(c, SPAN_LIT("a"), SPAN_LIT("h"), span_of(password, (size_t)n), d[i]));
        auth_cache_put(c, d[i], id, 0);
        if (i >= 9)
            assert_non_null(auth_cache_find(c, d[5], 0)); /* in use: stays */
    }
    assert_int_equal(auth_cache_len(c), 10);
    assert_null(auth_cache_find(c, d[0], 0));
    assert_non_null(auth_cache_find(c, d[19], 999));
    assert_null(auth_cache_find(c, d[19], 1000));
    assert_int_equal(auth_cache_len(c), 9);
    auth_cache_forget(c, SPAN_LIT("b"));
    assert_int_equal(auth_cache_len(c), 9);
    auth_cache_forget(c, SPAN_LIT("a"));
    assert_int_equal(auth_cache_len(c), 0);
    auth_cache_configure(c, 0, 1000);
    auth_cache_put(c, d[0], id, 0);
    assert_int_equal(auth_cache_len(c), 0);
    auth_identity_rele(id);
    auth_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_source),
        cmocka_unit_test(test_failures_elsewhere),
        cmocka_unit_test(test_successes_elsewhere),
        cmocka_unit_test(test_the_clusters_guard),
        cmocka_unit_test(test_results),
        cmocka_unit_test(test_authzid),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_changed_meanwhile),
        cmocka_unit_test(test_blocked),
        cmocka_unit_test(test_queue_full),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_unknown_takes_as_long),
        cmocka_unit_test(test_named),
        cmocka_unit_test(test_cache_bounds),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
