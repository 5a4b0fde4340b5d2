/* The table of who is frozen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "consensus/command.h"
#include "node/core/frozen.h"

#include <stdio.h>

static void add(struct frozen_view *v, uint8_t scope, const char *name, uint8_t mode, uint64_t id)
{
    const struct frozen_entry e = {
        .scope = scope, .mode = mode, .id = id, .name = span_str(name), .reason = SPAN_LIT("why")
    };
    assert_int_equal(frozen_view_add(v, &e), 0);
}

static void test_scopes_are_apart(void **state)
{
    (void)state;
    struct frozen_view *v = frozen_view_new();
    add(v, COMMAND_SCOPE_ACCOUNT, "anna@example.org", COMMAND_FREEZE_REJECT, 64);
    add(v, COMMAND_SCOPE_TENANT, "example.org", COMMAND_FREEZE_HOLD, 65);
    frozen_view_seal(v, 7);
    assert_int_equal(frozen_view_index(v), 7);
    assert_int_equal(frozen_view_len(v), 2);
    assert_null(frozen_view_find(v, COMMAND_SCOPE_TENANT, SPAN_LIT("anna@example.org")));
    assert_null(frozen_view_find(v, COMMAND_SCOPE_ACCOUNT, SPAN_LIT("example.org")));
    assert_null(frozen_view_find(v, COMMAND_SCOPE_ACCOUNT, SPAN_LIT("")));
    const struct frozen_entry *e = frozen_view_of(v, SPAN_LIT("anna@example.org"), SPAN_LIT("example.org"));
    assert_int_equal(e->id, 64); /* the account's own comes first */
    assert_true(span_eq(e->reason, SPAN_LIT("why")));
    e = frozen_view_of(v, SPAN_LIT("bert@example.org"), SPAN_LIT("example.org"));
    assert_int_equal(e->mode, COMMAND_FREEZE_HOLD);
    assert_null(frozen_view_of(v, SPAN_LIT("bert@example.org"), SPAN_LIT("")));
    frozen_view_rele(v);
}

/* Who freezes a shared host means its scripts too; a script's own freeze is nobody else's. */
static void test_web_senders_are_their_hosts(void **state)
{
    (void)state;
    struct frozen_view *v = frozen_view_new();
    add(v, COMMAND_SCOPE_ACCOUNT, "web1@example.org", COMMAND_FREEZE_DEFER, 64);
    add(v, COMMAND_SCOPE_ACCOUNT, "web:web1@example.org/33:a.php", COMMAND_FREEZE_HOLD, 65);
    add(v, COMMAND_SCOPE_ACCOUNT, "web:web2@example.org/33:a.php", COMMAND_FREEZE_HOLD, 66);
    frozen_view_seal(v, 1);
    assert_int_equal(frozen_view_of(v, SPAN_LIT("web:web1@example.org/33:a.php"), SPAN_LIT(""))->id, 65);
    assert_int_equal(frozen_view_of(v, SPAN_LIT("web:web1@example.org/33:b.php"), SPAN_LIT(""))->id, 64);
    assert_null(frozen_view_of(v, SPAN_LIT("web2@example.org"), SPAN_LIT("")));
    assert_null(frozen_view_of(v, SPAN_LIT("web:web2@example.org/33:b.php"), SPAN_LIT("")));
    frozen_view_rele(v);
}

static void test_the_first_of_a_name_stays(void **state)
{
    (void)state;
    struct frozen_view *v = frozen_view_new();
    add(v, COMMAND_SCOPE_ACCOUNT, "anna", COMMAND_FREEZE_REJECT, 64); /* the cluster's */
    add(v, COMMAND_SCOPE_ACCOUNT, "anna", COMMAND_FREEZE_HOLD, 0);    /* of this node alone */
    frozen_view_seal(v, 1);
    assert_int_equal(frozen_view_len(v), 1);
    assert_int_equal(frozen_view_find(v, COMMAND_SCOPE_ACCOUNT, SPAN_LIT("anna"))->id, 64);
    frozen_view_rele(v);
}

static void test_it_has_copies_and_stays_while_it_is_held(void **state)
{
    (void)state;
    char name[32];
    struct frozen_view *v = frozen_view_new();
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "user%d", i);
        add(v, COMMAND_SCOPE_ACCOUNT, name, COMMAND_FREEZE_DEFER, (uint64_t)i + 1);
    }
    frozen_view_seal(v, 1);
    struct frozen_view *held = frozen_view_hold(v);
    frozen_view_rele(v);
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "user%d", i);
        assert_int_equal(frozen_view_find(held, COMMAND_SCOPE_ACCOUNT, span_str(name))->id, i + 1);
    }
    frozen_view_rele(held);
}

static void test_no_view_freezes_nobody(void **state)
{
    (void)state;
    assert_null(frozen_view_of(NULL, SPAN_LIT("anna"), SPAN_LIT("example.org")));
    frozen_view_rele(NULL);
}

/* A customer's server would return all that it has to a 5xx, and a person should read one. */
static void test_auto_goes_by_the_listener(void **state)
{
    (void)state;
    struct frozen_entry e = { .mode = COMMAND_FREEZE_AUTO };
    assert_int_equal(frozen_entry_mode(&e, true), COMMAND_FREEZE_DEFER);
    assert_int_equal(frozen_entry_mode(&e, false), COMMAND_FREEZE_REJECT);
    for (e.mode = COMMAND_FREEZE_REJECT; e.mode <= COMMAND_FREEZE_HOLD; e.mode++) {
        assert_int_equal(frozen_entry_mode(&e, true), e.mode);
        assert_int_equal(frozen_entry_mode(&e, false), e.mode);
    }
    assert_int_equal(frozen_entry_mode(NULL, true), FROZEN_NOT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scopes_are_apart),
        cmocka_unit_test(test_web_senders_are_their_hosts),
        cmocka_unit_test(test_the_first_of_a_name_stays),
        cmocka_unit_test(test_it_has_copies_and_stays_while_it_is_held),
        cmocka_unit_test(test_no_view_freezes_nobody),
        cmocka_unit_test(test_auto_goes_by_the_listener),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
