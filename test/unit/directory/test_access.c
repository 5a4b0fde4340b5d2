/* Tenants' tokens for the admin API. */
#include "world.h"

#include <stdio.h>

static struct command add(const char *tenant, const char *id)
{
    struct command c = { .type = COMMAND_TENANT_TOKEN_ADD,
                         .tenant_token = { .by = { .who = str("root@node-a"), .wall_ms = 77 },
                                           .tenant = str(tenant),
                                           .id = str(id),
                                           .note = str("billing") } };
    memset(c.tenant_token.secret_sha256, 7, sizeof c.tenant_token.secret_sha256);
    return c;
}

static struct command removal(const char *id)
{
    return (struct command){ .type = COMMAND_TENANT_TOKEN_REMOVE, .name = { .name = str(id) } };
}

static struct world *world(uint32_t level)
{
    struct world *w = world_at_level(level);
    struct command c = { .type = COMMAND_TENANT_SET, .tenant_set = { .name = str("a.example") } };
    assert_int_equal(tell(w, c), 0);
    c.tenant_set.name = str("b.example");
    assert_int_equal(tell(w, c), 0);
    return w;
}

static int count(void *arg, const struct directory_access *a)
{
    (void)a;
    ++*(unsigned *)arg;
    return 0;
}

static unsigned tokens(const struct world *w)
{
    unsigned n = 0;
    (void)directory_access_each(w->m, str(""), count, &n);
    return n;
}

static void one_is_added_found_and_removed(void **state)
{
    (void)state;
    struct world *w = world(6);
    struct directory_access a;
    assert_int_equal(tell(w, add("a.example", "1f")), 0);
    uint64_t version = w->r.id;
    assert_true(directory_access_find(w->m, str("1f"), &a));
    assert_true(span_eq(a.tenant, str("a.example")));
    assert_true(span_eq(a.note, str("billing")));
    assert_int_equal(a.secret_sha256[0], 7);
    assert_int_equal(a.wall_ms, 77);
    assert_false(directory_access_find(w->m, str("1"), &a));
    struct command c = removal("1f");
    c.name.by.version = version + 1;
    assert_int_equal(tell(w, c), ERR_BUSY);
    assert_int_equal(tell(w, removal("1f")), 0);
    assert_int_equal(tell(w, removal("1f")), ERR_NOT_FOUND);
    assert_int_equal(tokens(w), 0);
    world_free(w);
}

static void what_is_refused(void **state)
{
    (void)state;
    struct world *w = world(5);
    assert_int_equal(tell(w, add("a.example", "1f")), ERR_DENIED);
    assert_words(w, "feature level is 5");
    world_free(w);
    w = world(6);
    assert_int_equal(tell(w, add("c.example", "1f")), ERR_NOT_FOUND);
    assert_words(w, "make it first");
    assert_int_equal(tell(w, add("a.example", "1 f")), ERR_BAD);
    assert_int_equal(tell(w, add("a.example", "1f")), 0);
    assert_int_equal(tell(w, add("b.example", "1f")), ERR_EXISTS);
    for (unsigned i = 1; i < 16; i++) {
        char id[16];
        snprintf(id, sizeof id, "t%u", i);
        assert_int_equal(tell(w, add("a.example", id)), 0);
    }
    assert_int_equal(tell(w, add("a.example", "one-more")), ERR_LIMIT);
    assert_int_equal(tell(w, add("b.example", "one-more")), 0);
    world_free(w);
}

static void they_go_with_their_tenant(void **state)
{
    (void)state;
    struct world *w = world(6);
    struct directory_access a;
    assert_int_equal(tell(w, add("a.example", "1")), 0);
    assert_int_equal(tell(w, add("b.example", "2")), 0);
    assert_int_equal(tell(w, add("a.example", "3")), 0);
    struct command c = { .type = COMMAND_TENANT_REMOVE, .name = { .name = str("a.example") } };
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(tokens(w), 1);
    assert_true(directory_access_find(w->m, str("2"), &a));
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_is_added_found_and_removed),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(they_go_with_their_tenant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
