/* Pools and who sends from which. */
#include "world.h"

static struct command pool(const char *name)
{
    return (struct command){ .type = COMMAND_POOL_SET,
                             .pool_set = { .name = str(name), .note = str("note") } };
}

static struct command assign(uint8_t to, const char *name, const char *to_pool)
{
    return (struct command){ .type = COMMAND_POOL_ASSIGN,
                             .pool_assign = { .to = to, .name = str(name), .pool = str(to_pool) } };
}

static struct command remove_pool(const char *name, uint64_t version)
{
    return (struct command){ .type = COMMAND_POOL_REMOVE,
                             .name = { .by = { .version = version }, .name = str(name) } };
}

static void assert_pool_of(const struct world *w, const char *account, const char *tenant, uint8_t class,
                           const char *want)
{
    struct span p = directory_pool_of(w->m, str(account), str(tenant), class);
    assert_true(span_eq(p, str(want)));
}

static void test_pool_of(void **state)
{
    (void)state;
    struct world *w = world_founded();
    static const char *const names[] = { "a", "b", "c", "d" };
    for (int i = 0; i < 4; i++)
        assert_int_equal(tell(w, pool(names[i])), 0);
    assert_pool_of(w, "anna", "t", 0, "");
    assert_int_equal(tell(w, assign(COMMAND_ASSIGN_CLASS, "bulk", "a")), 0);
    assert_int_equal(tell(w, assign(COMMAND_ASSIGN_TENANT, "t", "b")), 0);
    assert_int_equal(tell(w, assign(COMMAND_ASSIGN_ACCOUNT, "anna", "c")), 0);
    assert_pool_of(w, "anna", "t", 2, "c");
    assert_pool_of(w, "bert", "t", 2, "b");
    assert_pool_of(w, "bert", "u", 2, "a");
    assert_pool_of(w, "bert", "", 2, "a");
    assert_pool_of(w, "bert", "u", 0, "");
    assert_pool_of(w, "", "", 99, "");
    assert_int_equal(tell(w, assign(COMMAND_ASSIGN_ACCOUNT, "anna", "d")), 0);
    assert_pool_of(w, "anna", "t", 2, "d");
    assert_int_equal(tell(w, assign(COMMAND_ASSIGN_ACCOUNT, "anna", "")), 0);
    assert_true(changed(w, MACHINE_CHANGED_POOLS, ""));
    assert_pool_of(w, "anna", "t", 2, "b");
    world_free(w);
}

static int version_of_assignment(void *arg, const struct directory_assignment *a)
{
    *(uint64_t *)arg = a->version;
    return 1;
}

static void test_assign_refused(void **state)
{
    (void)state;
    struct world *w = world_founded();
    assert_int_equal(tell(w, pool("a")), 0);
    assert_int_equal(tell(w, assign(COMMAND_ASSIGN_CLASS, "robots", "a")), ERR_BAD);
    assert_words(w, "person, device or bulk");
    assert_int_equal(tell(w, assign(COMMAND_ASSIGN_CLASS, "person", "b")), ERR_NOT_FOUND);
    assert_words(w, "make it first");
    assert_int_equal(tell(w, assign(COMMAND_ASSIGN_ACCOUNT, "An na", "a")), ERR_BAD);
    assert_int_equal(tell(w, assign(COMMAND_ASSIGN_ACCOUNT, "anna", "")), ERR_NOT_FOUND);
    assert_int_equal(tell(w, assign(COMMAND_ASSIGN_ACCOUNT, "anna", "a")), 0);
    uint64_t seen = 0;
    assert_int_equal(directory_assignment_each(w->m, version_of_assignment, &seen), 1);
    assert_int_equal(tell(w, assign(COMMAND_ASSIGN_ACCOUNT, "anna", "a")), 0);
    struct command c = assign(COMMAND_ASSIGN_ACCOUNT, "anna", "");
    c.pool_assign.by.version = seen;
    assert_int_equal(tell(w, c), ERR_BUSY);
    assert_words(w, "now a");
    world_free(w);
}

static void test_pool_in_use(void **state)
{
    (void)state;
    struct world *w = world_founded();
    assert_int_equal(tell(w, pool("a")), 0);
    uint64_t seen = w->r.id;
    assert_int_equal(tell(w, pool("b c")), ERR_BAD);
    assert_int_equal(tell(w, assign(COMMAND_ASSIGN_CLASS, "person", "a")), 0);
    assert_int_equal(tell(w, remove_pool("a", 0)), ERR_DENIED);
    assert_words(w, "class person");
    assert_int_equal(tell(w, assign(COMMAND_ASSIGN_CLASS, "person", "")), 0);
    assert_int_equal(
        tell(w,
             (struct command){
                 .type = COMMAND_IP_SET,
                 .ip_set = { .address = str("192.0.2.7"), .pool = str("a"), .node = 1, .create = true } }),
        0);
    assert_int_equal(tell(w, remove_pool("a", 0)), ERR_DENIED);
    assert_words(w, "192.0.2.7");
    assert_int_equal(tell(w, pool("a")), 0);
    struct command c = pool("a");
    c.pool_set.by.version = seen;
    assert_int_equal(tell(w, c), ERR_BUSY);
    assert_int_equal(tell(w, remove_pool("a", seen)), ERR_BUSY);
    assert_int_equal(tell(w, remove_pool("b", 0)), ERR_NOT_FOUND);
    assert_int_equal(tell(w, pool("b")), 0);
    assert_int_equal(tell(w, remove_pool("b", w->r.id)), 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool_of),
        cmocka_unit_test(test_assign_refused),
        cmocka_unit_test(test_pool_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
