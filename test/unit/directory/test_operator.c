/* Operators of the dashboard, and their logins. */
#include "consensus/directory_impl.h"
#include "world.h"

#include <stdio.h>

#define NOW 1800000000000ll
#define HOUR 3600000ull

static struct command operator_is(const char *name, const char *hash, uint8_t role, bool create)
{
    return (struct command){ .type = COMMAND_OPERATOR_SET,
                             .operator_set = { .by = { .who = str("root@node-a"), .wall_ms = NOW },
                                               .name = str(name),
                                               .hash = str(hash),
                                               .role = role,
                                               .create = create } };
}

static struct command login(const char *name, uint8_t id, int64_t now_ms, bool open)
{
    return (struct command){ .type = COMMAND_LOGIN_SET,
                             .login_set = { .by = { .who = str("tcp:192.0.2.1:4@node-a"), .wall_ms = now_ms },
                                            .id = { id, 1 },
                                            .name = str(name),
                                            .until_ms = (uint64_t)now_ms + HOUR,
                                            .ends_ms = (uint64_t)now_ms + 12 * HOUR,
                                            .open = open } };
}

static bool is_in(const struct world *w, uint8_t id, struct directory_login *out)
{
    return directory_login_find(w->m, (const uint8_t[32]){ id, 1 }, out);
}

static uint32_t logins(const struct world *w)
{
    return (uint32_t)w->m->directory->logins.len;
}

static void operators(void **state)
{
    (void)state;
    struct world *w = world_at_level(6);
    struct directory_operator o;
    assert_int_equal(tell(w, operator_is("anna", "$y$a", COMMAND_ROLE_VIEWER, false)), ERR_NOT_FOUND);
    assert_int_equal(tell(w, operator_is("anna", "", COMMAND_ROLE_VIEWER, true)), ERR_BAD);
    assert_int_equal(tell(w, operator_is("anna", "$y$a", 0, true)), ERR_BAD);
    static const char *const bad[] = { "Anna", "an na", "a:b", "a\nb" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(tell(w, operator_is(bad[i], "$y$a", COMMAND_ROLE_VIEWER, true)), ERR_BAD);
    assert_int_equal(tell(w, operator_is("anna", "$y$a", COMMAND_ROLE_VIEWER, true)), 0);
    uint64_t version = w->r.id;
    assert_int_equal(tell(w, operator_is("anna", "$y$a", COMMAND_ROLE_ADMIN, true)), ERR_EXISTS);
    assert_true(directory_operator_find(w->m, str("anna"), &o));
    assert_int_equal(o.role, COMMAND_ROLE_VIEWER);
    struct command c = operator_is("anna", "", COMMAND_ROLE_POSTMASTER, false);
    c.operator_set.by.version = version + 1;
    assert_int_equal(tell(w, c), ERR_BUSY);
    c.operator_set.by.version = version;
    assert_int_equal(tell(w, c), 0);
    assert_true(directory_operator_find(w->m, str("anna"), &o));
    assert_int_equal(o.role, COMMAND_ROLE_POSTMASTER);
    assert_true(span_eq(o.hash, str("$y$a")));
    /* another password, the role stays */
    assert_int_equal(tell(w, operator_is("anna", "$y$b", 0, false)), 0);
    assert_true(directory_operator_find(w->m, str("anna"), &o));
    assert_int_equal(o.role, COMMAND_ROLE_POSTMASTER);
    assert_true(span_eq(o.hash, str("$y$b")));
    assert_int_equal(
        tell(w, (struct command){ .type = COMMAND_OPERATOR_REMOVE, .name = { .name = str("eve") } }),
        ERR_NOT_FOUND);
    world_free(w);
    w = world_at_level(5);
    assert_int_equal(tell(w, operator_is("anna", "$y$a", COMMAND_ROLE_VIEWER, true)), ERR_DENIED);
    assert_words(w, "feature level is 5");
    assert_int_equal(command_type_level(COMMAND_OPERATOR_SET), 6);
    assert_int_equal(command_type_level(COMMAND_LOGIN_END), 6);
    world_free(w);
}

static void come_and_go(void **state)
{
    (void)state;
    struct world *w = world_at_level(6);
    struct directory_login l;
    assert_int_equal(tell(w, login("anna", 1, NOW, true)), ERR_NOT_FOUND);
    assert_int_equal(tell(w, operator_is("anna", "$y$a", COMMAND_ROLE_VIEWER, true)), 0);
    assert_int_equal(tell(w, operator_is("otto", "$y$a", COMMAND_ROLE_VIEWER, true)), 0);
    assert_int_equal(tell(w, login("anna", 1, NOW, false)), ERR_NOT_FOUND);
    assert_int_equal(tell(w, login("anna", 1, NOW, true)), 0);
    assert_int_equal(tell(w, login("anna", 1, NOW, true)), ERR_EXISTS);
    assert_true(is_in(w, 1, &l) && span_eq(l.name, str("anna")));
    assert_int_equal(l.until_ms, NOW + (int64_t)HOUR);
    /* used: goes on, but not past its end, and never backwards; not in another's name */
    assert_int_equal(tell(w, login("anna", 1, NOW + (int64_t)HOUR / 2, false)), 0);
    assert_int_equal(tell(w, login("anna", 1, NOW, false)), 0);
    assert_true(is_in(w, 1, &l));
    assert_int_equal(l.until_ms, NOW + (int64_t)(HOUR + HOUR / 2));
    assert_int_equal(tell(w, login("otto", 1, NOW + (int64_t)(3 * HOUR), false)), ERR_NOT_FOUND);
    assert_int_equal(tell(w, login("anna", 1, NOW + (int64_t)(11 * HOUR + HOUR / 2), false)), 0);
    assert_true(is_in(w, 1, &l));
    assert_int_equal(l.until_ms, l.ends_ms);
    /* out: and a use that comes late does not bring it back */
    struct command end = { .type = COMMAND_LOGIN_END, .login_end = { .id = { 1, 1 }, .name = str("otto") } };
    assert_int_equal(tell(w, end), 0);
    assert_true(is_in(w, 1, &l));
    end.login_end.name = str("anna");
    assert_int_equal(tell(w, end), 0);
    assert_false(is_in(w, 1, &l));
    assert_int_equal(tell(w, end), 0);
    assert_int_equal(tell(w, login("anna", 1, NOW, false)), ERR_NOT_FOUND);
    /* one that ends before it begins */
    struct command bad = login("anna", 2, NOW, true);
    bad.login_set.until_ms = bad.login_set.ends_ms + 1;
    assert_int_equal(tell(w, bad), ERR_BAD);
    world_free(w);
}

/* A new password, the operator's end, and logging out everywhere end his logins, and nobody else's. */
static void all_at_once(void **state)
{
    (void)state;
    struct world *w = world_at_level(6);
    struct directory_login l;
    assert_int_equal(tell(w, operator_is("anna", "$y$a", COMMAND_ROLE_VIEWER, true)), 0);
    assert_int_equal(tell(w, operator_is("otto", "$y$a", COMMAND_ROLE_VIEWER, true)), 0);
    assert_int_equal(tell(w, login("otto", 9, NOW, true)), 0);
    for (int round = 0; round < 3; round++) {
        for (uint8_t i = 1; i <= 3; i++)
            assert_int_equal(tell(w, login("anna", i, NOW, true)), 0);
        assert_int_equal(logins(w), 4);
        if (round == 0) /* another role ends none */
            assert_int_equal(tell(w, operator_is("anna", "", COMMAND_ROLE_ADMIN, false)), 0);
        assert_int_equal(logins(w), 4);
        static const struct command_login_end everywhere = { .all = true };
        struct command c = round == 0 ? operator_is("anna", "$y$c", 0, false)
                           : round == 1
                               ? (struct command){ .type = COMMAND_LOGIN_END, .login_end = everywhere }
                               : (struct command){ .type = COMMAND_OPERATOR_REMOVE };
        if (round == 1)
            c.login_end.name = str("anna");
        if (round == 2)
            c.name.name = str("anna");
        assert_int_equal(tell(w, c), 0);
        assert_int_equal(logins(w), 1);
        assert_true(is_in(w, 9, &l));
    }
    world_free(w);
}

/* Of one operator, and over all: the one that ends first makes room; those that have ended go before. */
static void bounded(void **state)
{
    (void)state;
    struct world *w = world_at_level(6);
    struct directory_login l;
    char name[32];
    assert_int_equal(tell(w, operator_is("anna", "$y$a", COMMAND_ROLE_VIEWER, true)), 0);
    for (uint8_t i = 1; i <= DIRECTORY_LOGINS_EACH + 1; i++)
        assert_int_equal(tell(w, login("anna", i, NOW + i, true)), 0);
    assert_int_equal(logins(w), DIRECTORY_LOGINS_EACH);
    assert_false(is_in(w, 1, &l));
    assert_true(is_in(w, 2, &l));
    for (int i = 0; logins(w) < DIRECTORY_LOGINS_MAX; i++) {
        if (i % DIRECTORY_LOGINS_EACH == 0) {
            snprintf(name, sizeof name, "op%d", i / DIRECTORY_LOGINS_EACH);
            assert_int_equal(tell(w, operator_is(name, "$y$a", COMMAND_ROLE_VIEWER, true)), 0);
        }
        struct command c = login(name, 0, NOW + 100, true);
        c.login_set.id[2] = (uint8_t)(i & 255);
        c.login_set.id[3] = (uint8_t)(i >> 8);
        assert_int_equal(tell(w, c), 0);
    }
    assert_int_equal(tell(w, operator_is("late", "$y$a", COMMAND_ROLE_VIEWER, true)), 0);
    assert_int_equal(tell(w, login("late", 200, NOW + 200, true)), 0);
    assert_int_equal(logins(w), DIRECTORY_LOGINS_MAX);
    assert_false(is_in(w, 2, &l));
    assert_true(is_in(w, 200, &l));
    assert_int_equal(tell(w, login("late", 201, NOW + (int64_t)(2 * HOUR), true)), 0);
    assert_int_equal(logins(w), 1);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators),
        cmocka_unit_test(come_and_go),
        cmocka_unit_test(all_at_once),
        cmocka_unit_test(bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
