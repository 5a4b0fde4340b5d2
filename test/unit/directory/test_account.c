/* Accounts, tenants and overrides. */
#include "consensus/machine_impl.h"
#include "world.h"

#include <stdio.h>

static struct command account(const char *name)
{
    return (struct command){ .type = COMMAND_ACCOUNT_SET,
                             .account_set = { .by = { .who = str("root@node-a"), .wall_ms = 5 },
                                              .name = str(name),
                                              .hash = str("$y$j9T$abc"),
                                              .tenant = str("example.org"),
                                              .create = true } };
}

static struct command remove_named(uint8_t type, const char *name, uint64_t version)
{
    return (struct command){ .type = type, .name = { .by = { .version = version }, .name = str(name) } };
}

static struct directory_account get(const struct world *w, const char *name)
{
    struct directory_account a;
    assert_true(directory_account_find(w->m, str(name), &a));
    return a;
}

static void test_account(void **state)
{
    (void)state;
    struct world *w = world_new(&(struct machine_config){ .max_accounts = 2 });
    assert_int_equal(tell(w, account("anna@example.org")), 0);
    assert_true(changed(w, MACHINE_CHANGED_ACCOUNT, "anna@example.org"));
    assert_int_equal(tell(w, account("anna@example.org")), ERR_EXISTS);
    struct command c = account("bert@example.org");
    c.account_set.create = false;
    assert_int_equal(tell(w, c), ERR_NOT_FOUND);
    c.account_set.upsert = true;
    c.account_set.class = 2;
    c.account_set.disabled = true;
    c.account_set.senders = str("news.example.org");
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(tell(w, account("carl@example.org")), ERR_LIMIT);
    struct directory_account a = get(w, "bert@example.org");
    assert_true(a.disabled);
    assert_int_equal(a.class, 2);
    assert_true(span_eq(a.senders, str("news.example.org")));
    assert_true(span_eq(a.tenant, str("example.org")));
    assert_true(span_eq(a.hash, str("$y$j9T$abc")));

    /* A change keeps what it is told to keep, whether or not the size changes. */
    c.account_set.keep_hash = true;
    c.account_set.hash = str("");
    c.account_set.disabled = false;
    assert_int_equal(tell(w, c), 0);
    assert_true(changed(w, MACHINE_CHANGED_LIMITS, "bert@example.org"));
    c.account_set.senders = str("news.example.org,list.example.org");
    assert_int_equal(tell(w, c), 0);
    assert_false(changed(w, MACHINE_CHANGED_LIMITS, NULL));
    a = get(w, "bert@example.org");
    assert_true(span_eq(a.hash, str("$y$j9T$abc")));
    assert_false(a.disabled);

    assert_int_equal(tell(w, remove_named(COMMAND_ACCOUNT_REMOVE, "carl@example.org", 0)), ERR_NOT_FOUND);
    assert_int_equal(tell(w, remove_named(COMMAND_ACCOUNT_REMOVE, "anna@example.org", 0)), 0);
    assert_false(directory_account_find(w->m, str("anna@example.org"), &a));
    world_free(w);
}

static void test_account_names(void **state)
{
    (void)state;
    struct world *w = world_new(&(struct machine_config){ 0 });
    static const char *const bad[] = { "Anna",   "an na",  "an:na",  "an\"na",   "an,na",
                                       "an\\na", "an\tna", "an\xff", "an\x7fna", "an\n" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(tell(w, account(bad[i])), ERR_BAD);
        struct command c = account("anna");
        c.account_set.tenant = str(bad[i]);
        assert_int_equal(tell(w, c), ERR_BAD);
    }
    struct command c = account("anna");
    c.account_set.hash = str("");
    assert_int_equal(tell(w, c), ERR_BAD);
    c.account_set.hash = str("a:b");
    assert_int_equal(tell(w, c), ERR_BAD);
    c.account_set.hash = str("!");
    c.account_set.tenant = str("");
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(tell(w, account("j\xc3\xbcrg@example.org")), 0);
    world_free(w);
}

/* Two operators: the second one is told that what he saw is no more. */
static void test_account_versions(void **state)
{
    (void)state;
    struct world *w = world_new(&(struct machine_config){ 0 });
    assert_int_equal(tell(w, account("anna")), 0);
    uint64_t seen = get(w, "anna").version;
    assert_int_equal(seen, w->r.id);
    struct command first = account("anna"), second = account("anna");
    first.account_set.create = second.account_set.create = false;
    first.account_set.by.version = second.account_set.by.version = seen;
    first.account_set.class = 2;
    assert_int_equal(tell(w, first), 0);
    assert_int_equal(tell(w, second), ERR_BUSY);
    assert_words(w, "now bulk");
    assert_int_equal(get(w, "anna").class, 2);
    assert_int_equal(tell(w, remove_named(COMMAND_ACCOUNT_REMOVE, "anna", seen)), ERR_BUSY);
    assert_int_equal(tell(w, remove_named(COMMAND_ACCOUNT_REMOVE, "anna", get(w, "anna").version)), 0);
    world_free(w);
}

static void test_tenant(void **state)
{
    (void)state;
    struct world *w = world_new(&(struct machine_config){ 0 });
    struct command c = { .type = COMMAND_TENANT_SET,
                         .tenant_set = { .name = str("example.org"), .note = str("one") } };
    assert_int_equal(tell(w, c), 0);
    struct directory_tenant t;
    assert_true(directory_tenant_find(w->m, str("example.org"), &t));
    uint64_t seen = t.version;
    c.tenant_set.note = str("");
    assert_int_equal(tell(w, c), 0);
    c.tenant_set.by.version = seen;
    assert_int_equal(tell(w, c), ERR_BUSY);
    c.tenant_set.name = str("Example.org");
    assert_int_equal(tell(w, c), ERR_BAD);
    c.tenant_set = (struct command_tenant_set){ .name = str("a.example") };
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(tell(w, remove_named(COMMAND_TENANT_REMOVE, "example.org", seen)), ERR_BUSY);
    assert_int_equal(tell(w, remove_named(COMMAND_TENANT_REMOVE, "example.org", 0)), 0);
    assert_int_equal(tell(w, remove_named(COMMAND_TENANT_REMOVE, "example.org", 0)), ERR_NOT_FOUND);
    world_free(w);
}

static struct command override(uint8_t scope, const char *name, const char *limit, uint64_t count)
{
    return (struct command){ .type = COMMAND_OVERRIDE_SET,
                             .override_set = {
                                 .scope = scope, .name = str(name), .limit = str(limit), .count = count } };
}

static uint64_t count_of(const struct world *w, uint8_t scope, const char *name, const char *limit)
{
    uint64_t count = UINT64_MAX;
    return directory_override(w->m, scope, str(name), str(limit), &count) ? count : UINT64_MAX;
}

static int count_overrides(void *arg, const struct directory_override *o)
{
    (void)o;
    ++*(int *)arg;
    return 0;
}

static void test_override(void **state)
{
    (void)state;
    struct world *w = world_new(&(struct machine_config){ 0 });
    assert_int_equal(tell(w, override(COMMAND_SCOPE_ACCOUNT, "anna", "no-such", 1)), ERR_NOT_FOUND);
    assert_int_equal(tell(w, override(COMMAND_SCOPE_ACCOUNT, "anna", "tenant-day", 1)), ERR_BAD);
    assert_words(w, "set it for the tenant");
    assert_int_equal(tell(w, override(COMMAND_SCOPE_ACCOUNT, "anna", "account-hour", POLICY_COUNT_MAX + 1)),
                     ERR_BAD);
    assert_int_equal(tell(w, override(COMMAND_SCOPE_ACCOUNT, "anna", "account-hour", 7)), 0);
    uint64_t seen = w->r.id;
    assert_true(changed(w, MACHINE_CHANGED_LIMITS, "anna"));
    assert_int_equal(tell(w, override(COMMAND_SCOPE_ACCOUNT, "anna", "account-day", 0)), 0);
    assert_int_equal(tell(w, override(COMMAND_SCOPE_ACCOUNT, "ann", "account-hour", 8)), 0);
    assert_int_equal(tell(w, override(COMMAND_SCOPE_ACCOUNT, "anna2", "account-hour", 9)), 0);
    assert_int_equal(tell(w, override(COMMAND_SCOPE_TENANT, "anna", "tenant-day", 10)), 0);
    assert_int_equal(count_of(w, COMMAND_SCOPE_ACCOUNT, "anna", "account-hour"), 7);
    assert_int_equal(count_of(w, COMMAND_SCOPE_ACCOUNT, "anna", "account-day"), 0);
    assert_int_equal(count_of(w, COMMAND_SCOPE_TENANT, "anna", "tenant-day"), 10);
    assert_true(count_of(w, COMMAND_SCOPE_ACCOUNT, "anna", "tenant-day") == UINT64_MAX);
    int n = 0;
    assert_int_equal(directory_override_each(w->m, COMMAND_SCOPE_ACCOUNT, str("anna"), count_overrides, &n),
                     0);
    assert_int_equal(n, 2);
    n = 0;
    assert_int_equal(directory_override_each(w->m, COMMAND_SCOPE_TENANT, str(""), count_overrides, &n), 0);
    assert_int_equal(n, 1);
    n = 0;
    assert_int_equal(directory_override_each(w->m, 0, str(""), count_overrides, &n), 0);
    assert_int_equal(n, 5);

    struct command c = override(COMMAND_SCOPE_ACCOUNT, "anna", "account-hour", 11);
    assert_int_equal(tell(w, c), 0);
    c.override_set.by.version = seen;
    c.override_set.count = 12;
    assert_int_equal(tell(w, c), ERR_BUSY);
    assert_words(w, "now 11");
    c.override_set.by.version = 0;
    c.override_set.remove = true;
    assert_int_equal(tell(w, c), 0);
    assert_true(count_of(w, COMMAND_SCOPE_ACCOUNT, "anna", "account-hour") == UINT64_MAX);
    assert_int_equal(tell(w, c), ERR_NOT_FOUND);
    world_free(w);
}

/* Whoever gets the name next does not get what was set for the one before. */
static void test_account_takes_all_along(void **state)
{
    (void)state;
    struct world *w = world_new(&(struct machine_config){ 0 });
    assert_int_equal(tell(w, account("anna")), 0);
    assert_int_equal(tell(w, override(COMMAND_SCOPE_ACCOUNT, "anna", "account-hour", 100000)), 0);
    assert_int_equal(tell(w, override(COMMAND_SCOPE_ACCOUNT, "anna", "account-day", 100000)), 0);
    assert_int_equal(tell(w, override(COMMAND_SCOPE_ACCOUNT, "anna2", "account-day", 5)), 0);
    assert_int_equal(
        tell(w, (struct command){ .type = COMMAND_POOL_SET, .pool_set = { .name = str("best") } }), 0);
    struct command c = { .type = COMMAND_POOL_ASSIGN,
                         .pool_assign = {
                             .to = COMMAND_ASSIGN_ACCOUNT, .name = str("anna"), .pool = str("best") } };
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(directory_pool_of(w->m, str("anna"), str(""), 0).n, 4);
    assert_int_equal(tell(w, remove_named(COMMAND_ACCOUNT_REMOVE, "anna", 0)), 0);
    assert_true(changed(w, MACHINE_CHANGED_POOLS, NULL));
    assert_true(count_of(w, COMMAND_SCOPE_ACCOUNT, "anna", "account-hour") == UINT64_MAX);
    assert_true(count_of(w, COMMAND_SCOPE_ACCOUNT, "anna", "account-day") == UINT64_MAX);
    assert_int_equal(count_of(w, COMMAND_SCOPE_ACCOUNT, "anna2", "account-day"), 5);
    assert_int_equal(directory_pool_of(w->m, str("anna"), str(""), 0).n, 0);
    world_free(w);
}

struct page {
    char names[5][32];
    int n;
};

static int take(void *arg, const struct directory_account *a)
{
    struct page *p = arg;
    snprintf(p->names[p->n], sizeof p->names[0], "%.*s", (int)a->name.n, a->name.p);
    return ++p->n == 5 ? 1 : 0;
}

static void test_account_pages(void **state)
{
    (void)state;
    struct world *w = world_new(&(struct machine_config){ 0 });
    for (unsigned i = 0; i < 1000; i++) {
        char name[32];
        snprintf(name, sizeof name, "u%03u", i * 387 % 1000);
        assert_int_equal(tell(w, account(name)), 0);
    }
    char after[32] = "";
    unsigned n = 0;
    for (;;) {
        struct page p = { .n = 0 };
        int stop = directory_account_each(w->m, str(after), take, &p);
        assert_int_equal(stop, p.n == 5 ? 1 : 0);
        for (int i = 0; i < p.n; i++) {
            char want[32];
            snprintf(want, sizeof want, "u%03u", n++);
            assert_string_equal(p.names[i], want);
        }
        if (p.n < 5)
            break;
        memcpy(after, p.names[4], sizeof after);
    }
    assert_int_equal(n, 1000);
    struct page p = { .n = 0 };
    assert_int_equal(directory_account_each(w->m, str("u500x"), take, &p),
                     1); /* of a name that is not there */
    assert_string_equal(p.names[0], "u501");
    p.n = 0;
    assert_int_equal(directory_account_each(w->m, str("z"), take, &p), 0);
    assert_int_equal(p.n, 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_account),          cmocka_unit_test(test_account_names),
        cmocka_unit_test(test_account_versions), cmocka_unit_test(test_tenant),
        cmocka_unit_test(test_override),         cmocka_unit_test(test_account_takes_all_along),
        cmocka_unit_test(test_account_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
