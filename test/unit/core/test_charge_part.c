/* One message beyond a limit, where the policy holds what is over: whom it is charged for, and what the sender is told. */
#include "charge_fixture.h"

#include "consensus/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char rules[] = "sender_rules: [{name: many, when: recipients > 99 in 1h, then: hold 1h}]\n";

static void over_the_limit_the_rest_is_held(void **state)
{
    (void)state;
    struct client x, y;
    books_begin("hold", "");
    client_mail(&x, &books_anna);
    client_rcpts(&x, LIMIT);
    assert_false(x.c.hold);
    client_rcpts(&x, 4); /* and further ones need nothing */
    assert_true(x.c.hold);
    assert_int_equal(x.c.why, HOLD_OVER_LIMIT);
    assert_string_equal(x.c.why_text, "hour");
    world_at(0);
    charge_rcpt_undo(&x.c);
    assert_int_equal(charge_within(&x.c), LIMIT);
    client_mail(&y, &books_anna); /* for whom nothing is left */
    client_rcpts(&y, 2);
    assert_int_equal(charge_within(&y.c), 0);
    assert_int_equal(client_dot(&y), LEDGER_YES);
    assert_int_equal(books_notices, 1);
    assert_int_equal(books_told.held, 0); /* all of it */
    client_over(&y);
    assert_int_equal(client_dot(&x), LEDGER_YES);
    assert_int_equal(books_told.held, 3);
    assert_int_equal(books_told.recipients, LIMIT + 3);
    client_over(&x);
    books_close(0, LIMIT, 0, 0);
}

/* Refused, RSET, gone: before and after there was no quota. */
static void over_the_limit_and_not_sent(void **state)
{
    (void)state;
    struct client x;
    books_begin("hold", "");
    for (uint32_t n = 1; n < 4; n++) {
        client_mail(&x, &books_anna);
        client_rcpts(&x, LIMIT - 2 + n);
        client_over(&x);
    }
    assert_int_equal(books_notices, 0);
    world_advance(100, 20);
    client_mail(&x, &books_anna); /* and all is there for the next one */
    client_rcpts(&x, LIMIT + 1);
    assert_int_equal(charge_within(&x.c), LIMIT);
    assert_int_equal(client_dot(&x), LEDGER_YES);
    client_over(&x);
    books_close(0, LIMIT, 0, 0);
}

/* The one beyond it was no address. */
static void over_the_limit_with_nobody(void **state)
{
    (void)state;
    struct client x;
    books_begin("hold", "");
    client_mail(&x, &books_anna);
    client_rcpts(&x, LIMIT + 1);
    charge_rcpt_undo(&x.c);
    assert_false(x.c.hold);
    assert_int_equal(client_dot(&x), LEDGER_YES);
    client_over(&x);
    assert_int_equal(books_notices, 0);
    books_close(0, LIMIT, 0, 0);
}

/* What else holds it holds all of it; whoever comes next has the tokens before it ends. */
static void over_the_limit_and_held_for_more(void **state)
{
    (void)state;
    struct client x, y;
    books_begin("hold", rules);
    client_mail(&x, &books_anna);
    client_rcpts(&x, LIMIT + 1);
    assert_true(charge_credit(&x.c, books_anna.class) > 0);
    charge_hold(&x.c, HOLD_CONTENT, SPAN_LIT("spam"));
    assert_int_equal(charge_within(&x.c), 0);
    assert_int_equal(charge_credit(&x.c, books_anna.class), 0);
    assert_int_equal(x.c.why, HOLD_CONTENT);
    world_advance(100, 20);
    client_mail(&y, &books_anna);
    client_rcpts(&y, LIMIT - 1);
    assert_int_equal(client_dot(&y), LEDGER_YES);
    client_over(&y);
    assert_int_equal(client_dot(&x), LEDGER_YES);
    client_over(&x);
    client_mail(&x, &books_anna);
    client_rcpts(&x, 2);
    assert_int_equal(charge_within(&x.c), 1);
    books_freeze(ANNA, COMMAND_FREEZE_HOLD);
    assert_true(charge_still_allowed(&x.c, &x.reply));
    assert_int_equal(charge_within(&x.c), 0);
    assert_int_equal(x.c.why, HOLD_FROZEN);
    assert_int_equal(client_dot(&x), LEDGER_YES);
    client_over(&x);
    assert_int_equal(books_notices, 0);
    books_close(0, LIMIT - 1, 0, 0);
}

/* A message so slow that its tokens end is charged for others; or, when there are none, for nothing, and is held whole. */
static void over_the_limit_and_slow(void **state)
{
    (void)state;
    for (int others = 0; others < 2; others++) {
        struct client x, y;
        books_begin("hold", "");
        client_mail(&x, &books_anna);
        client_rcpts(&x, LIMIT + 3);
        world_advance(120000, 100);
        if (others) {
            client_mail(&y, &books_anna);
            client_rcpts(&y, LIMIT);
            assert_int_equal(client_dot(&y), LEDGER_YES);
            client_over(&y);
        }
        if (client_dot(&x) == LEDGER_WAIT) {
            world_advance(2000, 20);
            assert_int_equal(client_dot(&x), LEDGER_YES);
        }
        assert_true(x.c.hold);
        assert_int_equal(charge_within(&x.c), others ? 0 : LIMIT);
        assert_int_equal(books_told.held, others ? 0 : 3);
        client_over(&x);
        books_close(0, LIMIT, 0, 0);
        if (!others)
            books_end(state);
    }
}

/* No majority at the dot: nothing is taken, and nothing lost. */
static void over_the_limit_without_a_majority(void **state)
{
    (void)state;
    struct client x;
    books_begin("hold", "");
    client_mail(&x, &books_anna);
    client_rcpts(&x, LIMIT + 1);
    world_leader_lost();
    world_advance(12000, 100);
    assert_int_equal(client_dot(&x), LEDGER_NO);
    client_said(&x, 451, "4.3.2", "just now");
    client_over(&x);
    world_leader_found();
    books_close(0, 0, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(over_the_limit_the_rest_is_held, books_end),
        cmocka_unit_test_teardown(over_the_limit_and_not_sent, books_end),
        cmocka_unit_test_teardown(over_the_limit_with_nobody, books_end),
        cmocka_unit_test_teardown(over_the_limit_and_held_for_more, books_end),
        cmocka_unit_test_teardown(over_the_limit_and_slow, books_end),
        cmocka_unit_test_teardown(over_the_limit_without_a_majority, books_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
