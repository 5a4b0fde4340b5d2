/* What a transaction is charged, from MAIL to the commit record: RCPT, the end of the header, the dot; and
 * what a client that goes in between leaves behind.
 */
#include "charge_fixture.h"

#include "consensus/command.h"
#include "node/core/notice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char late[] = "late_identity: {header: X-Sender, accounts: [\"" RELAY "\"]}\n";
static const char web[] =
    "web_senders: {hosts: [{name: shared, accounts: [\"" RELAY "\"], headers: [X-AuthUser], "
    "class: person}]}\n";
static const char rules[] = "sender_rules: [{name: many, when: recipients > 99 in 1h, then: hold 1h}]\n";

/* ---- RCPT ---------------------------------------------------------------------------------------------- */

static void each_recipient_once(void **state)
{
    (void)state;
    struct client x;
    books_begin("defer", "");
    client_mail(&x, &books_anna);
    client_rcpts(&x, 3);
    assert_int_equal(client_dot(&x), LEDGER_YES);
    client_over(&x);
    client_mail(&x, &books_anna); /* RSET before, and after, RCPT */
    client_over(&x);
    client_mail(&x, &books_anna);
    client_rcpts(&x, 5);
    client_over(&x);
    books_close(0, 3, 0, 0);
}

static void a_pipelined_client_waits_once(void **state)
{
    (void)state;
    struct client x;
    books_begin("defer", "");
    client_mail(&x, &books_anna); /* for a first message no more is granted than it needs */
    client_rcpts(&x, 1);
    assert_int_equal(client_dot(&x), LEDGER_YES);
    client_over(&x);
    uint32_t asked = books_world.seen[COMMAND_GRANT];
    client_mail(&x, &books_anna);
    assert_int_equal(client_rcpt(&x, "RCPT TO:<b@c.d>\r\nrcpt to:<e@f.g>\r\nRCPT TO:<h@i.j>\r\nDATA\r\n"),
                     LEDGER_YES);
    world_at(0);
    for (int i = 0; i < 3; i++) /* without a wait */
        assert_int_equal(charge_rcpt(&x.c, x.rcpts++, SPAN_LIT(""), &x.reply), LEDGER_YES);
    assert_int_equal(books_world.seen[COMMAND_GRANT], asked + 1);
    charge_rcpt_undo(&x.c); /* the last one's address was no good */
    x.rcpts--;
    assert_int_equal(client_dot(&x), LEDGER_YES);
    client_over(&x);
    books_close(0, 4, 0, 0);
}

/* He announced recipients that did not come, and went. */
static void gone_while_asking(void **state)
{
    (void)state;
    struct client x, y;
    books_begin("defer", "");
    books_world.hold = true;
    client_mail(&x, &books_anna);
    assert_int_equal(client_rcpt(&x, "RCPT TO:<b@c.d>\r\nRCPT TO:<e@f.g>\r\n"), LEDGER_WAIT);
    client_over(&x);
    world_release();
    assert_int_equal(x.answers, 0);
    client_mail(&y, &books_anna); /* all ten are there for the next one */
    client_rcpts(&y, LIMIT);
    assert_int_equal(client_rcpt(&y, ""), LEDGER_NO);
    client_said(&y, 450, "4.7.1", "Limit hour of this account reached (10 recipients per 1h), try again in ");
    assert_int_equal(client_dot(&y), LEDGER_YES); /* those that were taken */
    client_over(&y);
    books_close(0, LIMIT, 0, 0);
}

static void rejected_over_the_limit(void **state)
{
    (void)state;
    struct client x;
    books_begin("reject", "");
    client_mail(&x, &books_anna);
    client_rcpts(&x, LIMIT);
    assert_int_equal(client_rcpt(&x, ""), LEDGER_NO);
    client_said(&x, 550, "5.7.1", "not accepted: send it again in ");
    client_over(&x);
    books_close(0, 0, 0, 0);
}

static void too_many_for_one_message(void **state)
{
    (void)state;
    struct client x;
    books_begin("defer", "classes: {person: {max_recipients: 2}}\n");
    client_mail(&x, &books_anna);
    client_rcpts(&x, 2);
    assert_int_equal(client_rcpt(&x, ""), LEDGER_NO);
    client_said(&x, 452, "4.5.3", "may have 2 per message");
    assert_int_equal(client_dot(&x), LEDGER_YES);
    client_over(&x);
    books_close(0, 2, 0, 0);
}

/* ---- the cluster does not answer ----------------------------------------------------------------------- */

static void without_a_majority(void **state)
{
    (void)state;
    struct client held, hers, new_one;
    books_begin("defer", "");
    client_mail(&held, &books_relay);
    world_at(0);
    charge_hold(&held.c, HOLD_CONTENT, SPAN_LIT("spam"));
    client_mail(&hers, &books_anna);
    client_rcpts(&hers, 2);
    world_leader_lost();
    client_rcpts(&hers, 1); /* what was asked for along with those is there */
    client_mail(&new_one, &books_relay);
    assert_int_equal(client_rcpt(&new_one, ""), LEDGER_WAIT);
    world_advance(12000, 100);
    world_at(0);
    assert_int_equal(new_one.answers, 1);
    assert_true(charge_rcpt_refusal(&new_one.c, &new_one.reply));
    client_said(&new_one, 451, "4.3.2", "Sending limits cannot be checked just now");
    assert_int_not_equal(
        client_dot(&hers),
        LEDGER_YES); /* the session ended: that it was a slow message is no reason to take it */
    assert_int_equal(client_dot(&held), LEDGER_NO);
    client_said(&held, 451, "4.3.2", "This node may not accept mail just now");
    world_at(0);
    assert_false(charge_welcome(&held.s, false, &held.reply));
    client_said(&held, 421, "4.3.2", "try another one");
    assert_true(charge_welcome(&held.s, true, &held.reply)); /* AUTH alone costs nothing */
    client_over(&hers);
    client_over(&held);
    client_over(&new_one);
    world_leader_found();
    books_close(0, 0, 0, 0);
}

/* Tokens that ended while the content came are exchanged, and spent once. */
static void a_slow_message(void **state)
{
    (void)state;
    struct client x;
    books_begin("defer", late);
    client_mail(&x, &books_relay);
    client_rcpts(&x, 4);
    assert_true(client_named(&x, ANNA));
    world_advance(120000, 100);
    assert_int_equal(client_dot(&x), LEDGER_YES);
    client_over(&x);
    books_close(4, 4, 0, 0);
}

/* There are none to exchange them for: 451, since that is not the client's fault. */
static void a_slow_message_too_late(void **state)
{
    (void)state;
    struct client x, y;
    books_begin("defer", "");
    client_mail(&x, &books_anna);
    client_rcpts(&x, 4);
    world_advance(120000, 100);
    client_mail(&y, &books_anna);
    client_rcpts(&y, LIMIT);
    assert_int_equal(client_dot(&y), LEDGER_YES);
    client_over(&y);
    assert_int_equal(client_dot(&x), LEDGER_WAIT);
    world_advance(2000, 20);
    assert_int_equal(client_dot(&x), LEDGER_NO);
    client_said(&x, 451, "4.7.1", "Limit hour of this account reached");
    client_over(&x);
    books_close(0, LIMIT, 0, 0);
}

/* ---- late identity ------------------------------------------------------------------------------------- */

static void both_are_charged(void **state)
{
    (void)state;
    struct client x;
    books_begin("defer", late);
    client_mail(&x, &books_relay);
    assert_true(span_eq(charge_header(&x.c), SPAN_LIT("X-Sender")));
    client_rcpts(&x, 3);
    unsigned before = x.answers;
    assert_true(client_named(&x, " Anna@Example.ORG"));
    assert_string_equal(x.c.named_account, ANNA);
    assert_string_equal(x.c.named_tenant, "org");
    assert_int_equal(charge_class(&x.c), 0);
    assert_int_equal(client_dot(&x), LEDGER_YES); /* which waits for the cluster */
    assert_int_equal(x.answers, before + 1);
    client_over(&x);
    books_close(3, 3, 0, 0);
}

/* Neither pays for what was refused to one of them; the words are those of her limit. */
static void the_named_ones_limit(void **state)
{
    (void)state;
    struct client x;
    books_begin("defer", late);
    for (int i = 0; i < 2; i++) {
        client_mail(&x, &books_relay);
        client_rcpts(&x, 6);
        assert_true(client_named(&x, ANNA)); /* the answer comes later */
        assert_int_equal(client_dot(&x), i == 0 ? LEDGER_YES : LEDGER_NO);
        client_over(&x);
    }
    client_said(&x, 450, "4.7.1", "Limit hour of this account reached (10 recipients per 1h), try again in ");
    client_mail(&x, &books_relay);
    client_rcpts(&x, 6);
    assert_false(client_named(&x, ANNA)); /* which the node knows by now */
    client_said(&x, 450, "4.7.1", "Limit hour of this account reached");
    client_over(&x);
    client_mail(&x, &books_relay);
    client_rcpts(&x, 4);
    assert_true(client_named(&x, ANNA));
    assert_int_equal(client_dot(&x), LEDGER_YES);
    client_over(&x);
    books_close(10, 10, 0, 0);
}

/* The relay has sent it; for her its release is charged. */
static void held_over_the_named_ones_limit(void **state)
{
    (void)state;
    struct client x;
    books_begin("hold", late);
    for (int i = 0; i < 2; i++) {
        client_mail(&x, &books_relay);
        client_rcpts(&x, 6);
        assert_true(client_named(&x, ANNA));
        assert_int_equal(client_dot(&x), LEDGER_YES);
        assert_int_equal(x.c.hold, i == 1);
        client_over(&x);
    }
    assert_int_equal(books_notices, 1);
    books_close(12, 6, 0, 0);
}

static void gone_while_the_named_one_is_asked_for(void **state)
{
    (void)state;
    struct client x;
    books_begin("defer", late);
    client_mail(&x, &books_relay);
    client_rcpts(&x, 6);
    books_world.hold = true;
    assert_true(client_named(&x, ANNA));
    unsigned before = x.answers;
    assert_int_equal(client_dot(&x), LEDGER_WAIT);
    client_over(&x);
    world_release();
    assert_int_equal(x.answers, before);
    books_close(0, 0, 0, 0);
}

/* No majority at the end of the header: neither is charged. */
static void nobody_answers_for_the_named_one(void **state)
{
    (void)state;
    struct client x;
    books_begin("defer", late);
    client_mail(&x, &books_relay);
    client_rcpts(&x, 2);
    world_leader_lost();
    assert_true(client_named(&x, ANNA));
    assert_int_equal(client_dot(&x), LEDGER_WAIT);
    world_advance(12000, 100);
    assert_int_equal(client_dot(&x), LEDGER_NO);
    client_said(&x, 451, "4.3.2", "Sending limits cannot be checked just now");
    client_over(&x);
    world_leader_found();
    books_close(0, 0, 0, 0);
}

static void names_that_are_not_taken(void **state)
{
    (void)state;
    static const struct {
        const char *name, *enhanced, *words;
    } bad[] = { { "", "5.6.0", "cannot be understood" },
                { FORM, "5.6.0", "cannot be understood" },
                { "a b", "5.6.0", "cannot be understood" },
                { GONE, "5.7.1", "The account that the header names is disabled" } };
    books_begin("defer", late);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct client x;
        client_mail(&x, &books_relay);
        client_rcpts(&x, 2);
        assert_false(client_named(&x, bad[i].name));
        client_said(&x, 550, bad[i].enhanced, bad[i].words);
        client_over(&x);
    }
    books_close(0, 0, 0, 0);
}

/* Whose account nobody has made: charged by name, in the relay's tenant and class. */
static void a_name_without_an_account(void **state)
{
    (void)state;
    struct client x;
    books_begin("defer", late);
    client_mail(&x, &books_relay);
    client_rcpts(&x, 2);
    assert_true(client_named(&x, NEW));
    assert_string_equal(x.c.named_tenant, books_relay.tenant);
    assert_int_equal(charge_class(&x.c), books_relay.class);
    assert_int_equal(client_dot(&x), LEDGER_YES);
    client_over(&x);
    books_close(2, 0, 0, 2);
}

/* ---- frozen between RCPT and the dot ------------------------------------------------------------------- */

static void the_named_one_is_frozen(void **state)
{
    (void)state;
    struct client x;
    books_begin("defer", late);
    client_mail(&x, &books_relay);
    client_rcpts(&x, 2);
    books_freeze(ANNA, COMMAND_FREEZE_REJECT);
    assert_false(client_named(&x, ANNA));
    client_said(&x, 550, "5.7.1", "This account is disabled for sending");
    client_over(&x);
    client_mail(&x, &books_relay);
    client_rcpts(&x, 2);
    books_freeze(ANNA, COMMAND_FREEZE_DEFER);
    assert_false(client_named(&x, ANNA));
    client_said(&x, 450, "4.7.1", "Sending is suspended for this account");
    client_over(&x);
    client_mail(&x, &books_relay);
    client_rcpts(&x, 3);
    books_freeze(ANNA, COMMAND_FREEZE_HOLD);
    assert_true(client_named(&x, ANNA));
    assert_true(x.c.hold);
    assert_int_equal(x.c.why, HOLD_FROZEN);
    assert_string_equal(x.c.why_text, "looks stolen");
    assert_int_equal(client_dot(&x), LEDGER_YES);
    client_over(&x);
    books_close(3, 0, 0, 0); /* the relay has sent it; for her its release is charged */
}

/* A freeze is for transactions whose MAIL comes later; where rules may stop a sender the dot asks once more.
 */
static void the_sender_is_frozen(void **state)
{
    (void)state;
    struct client x;
    books_begin("defer", rules);
    client_mail(&x, &books_anna);
    client_rcpts(&x, 2);
    books_freeze(ANNA, COMMAND_FREEZE_REJECT);
    world_at(0);
    assert_true(charge_credit(&x.c, books_anna.class) > 0);
    assert_false(charge_still_allowed(&x.c, &x.reply));
    client_said(&x, 550, "5.7.1", "This account is disabled for sending");
    assert_false(charge_welcome(&x.s, false, &x.reply)); /* and the next MAIL */
    client_over(&x);
    books_freeze(ANNA, COMMAND_FREEZE_DEFER);
    client_mail(&x, &books_anna);
    client_rcpts(&x, 2);
    assert_true(charge_welcome(&x.s, true, &x.reply)); /* AUTH */
    books_freeze(ANNA, COMMAND_FREEZE_HOLD);
    assert_true(charge_still_allowed(&x.c, &x.reply));
    assert_true(x.c.hold);
    assert_int_equal(charge_credit(&x.c, books_anna.class), 0);
    assert_int_equal(client_dot(&x), LEDGER_YES); /* held, and not charged */
    client_over(&x);
    client_mail(&x, &books_anna); /* who is frozen so from the beginning needs no token at all */
    assert_true(x.c.hold);
    client_rcpts(&x, 3 * LIMIT);
    assert_int_equal(client_dot(&x), LEDGER_YES);
    client_over(&x);
    books_close(0, 0, 0, 0);
}

/* A relay whose own mail is held, from MAIL on or over its own limit: neither it nor whom it names is charged. */
static void held_before_anybody_was_named(void **state)
{
    (void)state;
    struct client x;
    books_begin("hold", late);
    books_freeze(RELAY, COMMAND_FREEZE_HOLD);
    client_mail(&x, &books_relay);
    client_rcpts(&x, 4);
    assert_true(client_named(&x, ANNA));
    assert_int_equal(client_dot(&x), LEDGER_YES);
    world_settle();
    assert_int_equal(books_world.seen[COMMAND_GRANT], 0); /* nor asked for */
    client_over(&x);
    client_mail(&x, &books_anna);
    client_rcpts(&x, LIMIT + 1);
    assert_true(x.c.hold);
    assert_true(client_named(&x, NEW));
    assert_int_equal(client_dot(&x), LEDGER_YES);
    client_over(&x);
    books_close(0, 0, 0, 0);
}

/* What the check of content holds was sent by a relay that named somebody; without a name its release is
 * charged. */
static void held_for_its_content(void **state)
{
    (void)state;
    struct client x;
    books_begin("defer", late);
    for (int i = 0; i < 2; i++) {
        client_mail(&x, &books_relay);
        client_rcpts(&x, 2 + (uint32_t)i);
        if (i == 1)
            assert_true(client_named(&x, ANNA));
        charge_hold(&x.c, HOLD_CONTENT, SPAN_LIT("spam"));
        charge_hold(&x.c, HOLD_RULE, SPAN_LIT("later")); /* the first reason stays */
        assert_string_equal(x.c.why_text, "spam");
        assert_int_equal(client_dot(&x), LEDGER_YES);
        client_over(&x);
    }
    books_close(3, 0, 0, 0);
}

/* ---- web senders --------------------------------------------------------------------------------------- */

static void a_web_sender_and_its_host(void **state)
{
    (void)state;
    struct client x;
    books_begin("defer", web);
    client_mail(&x, &books_relay);
    client_rcpts(&x, 3);
    assert_true(client_web_named(&x));
    assert_int_equal(charge_class(&x.c), 0);
    assert_int_equal(client_dot(&x), LEDGER_YES);
    client_over(&x);
    books_lets_be = WEB_WAIT; /* a name that the cluster has to let be first */
    client_mail(&x, &books_relay);
    client_rcpts(&x, 3);
    assert_true(client_web_named(&x));
    assert_int_equal(client_dot(&x), LEDGER_WAIT);
    books_claim(WEB_YES);
    assert_int_equal(client_dot(&x), LEDGER_YES);
    client_over(&x);
    books_close(6, 0, 6, 0);
}

/* The host has as many names as it may: it alone is charged, at once or when that is heard. */
static void no_room_for_its_name(void **state)
{
    (void)state;
    struct client x;
    books_begin("defer", web);
    for (int i = 0; i < 2; i++) {
        books_lets_be = i == 0 ? WEB_FULL : WEB_WAIT;
        client_mail(&x, &books_relay);
        client_rcpts(&x, 2);
        assert_true(client_web_named(&x));
        if (i == 1) {
            assert_int_equal(client_dot(&x), LEDGER_WAIT);
            books_claim(WEB_FULL);
        }
        assert_string_equal(x.c.named_account, "");
        assert_int_equal(charge_class(&x.c), books_relay.class);
        assert_int_equal(client_dot(&x), LEDGER_YES);
        client_over(&x);
    }
    books_close(4, 0, 0, 0);
}

static void nobody_answers_for_its_name(void **state)
{
    (void)state;
    struct client x;
    books_begin("defer", web);
    books_lets_be = WEB_WAIT;
    client_mail(&x, &books_relay);
    client_rcpts(&x, 2);
    assert_true(client_web_named(&x));
    books_claim(WEB_BUSY);
    assert_int_equal(client_dot(&x), LEDGER_NO);
    client_said(&x, 451, "4.3.2", "Sending limits cannot be checked just now");
    client_over(&x);
    client_mail(&x, &books_relay);
    client_rcpts(&x, 2);
    assert_true(client_web_named(&x));
    unsigned before = x.answers;
    client_over(&x); /* gone while it waits */
    books_claim(WEB_YES);
    assert_int_equal(x.answers, before);
    books_close(0, 0, 0, 0);
}

/* The web sender's own limit: what the host had reserved for it is free again; held, too, where the policy
 * says so. */
static void a_web_senders_limit(void **state)
{
    static const char *const overs[] = { "defer", "hold" };
    for (int i = 0; i < 2; i++) {
        struct client x;
        books_begin(overs[i], web);
        for (int k = 0; k < 2; k++) {
            client_mail(&x, &books_relay);
            client_rcpts(&x, 6);
            assert_true(client_web_named(&x));
            assert_int_equal(client_dot(&x), k == 1 && i == 0 ? LEDGER_NO : LEDGER_YES);
            assert_int_equal(x.c.hold, k == 1 && i == 1);
            if (k == 1 && i == 0)
                client_said(&x, 450, "4.7.1", "Limit hour of web sender form.php reached");
            if (k == 1 && i == 1)
                assert_int_equal(x.c.own.reserved, 0);
            client_over(&x);
        }
        books_close(6, 0, 6, 0);
        if (i == 0)
            books_end(state);
    }
}

/* Held for the web sender: neither is charged, his host's tokens too are the release's. */
static void a_web_sender_is_frozen(void **state)
{
    (void)state;
    struct client x;
    books_begin("defer", web);
    for (int i = 0; i < 3; i++) {
        books_lets_be = i == 2 ? WEB_FULL : WEB_YES;
        client_mail(&x, &books_relay);
        client_rcpts(&x, 3);
        books_freeze(FORM, i == 0 ? COMMAND_FREEZE_REJECT : COMMAND_FREEZE_HOLD);
        assert_int_equal(client_web_named(&x), i > 0);
        if (i > 0)
            assert_int_equal(client_dot(&x), LEDGER_YES);
        assert_int_equal(x.c.hold, i > 0);
        client_over(&x);
    }
    books_close(0, 0, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(each_recipient_once, books_end),
        cmocka_unit_test_teardown(a_pipelined_client_waits_once, books_end),
        cmocka_unit_test_teardown(gone_while_asking, books_end),
        cmocka_unit_test_teardown(rejected_over_the_limit, books_end),
        cmocka_unit_test_teardown(too_many_for_one_message, books_end),
        cmocka_unit_test_teardown(without_a_majority, books_end),
        cmocka_unit_test_teardown(a_slow_message, books_end),
        cmocka_unit_test_teardown(a_slow_message_too_late, books_end),
        cmocka_unit_test_teardown(both_are_charged, books_end),
        cmocka_unit_test_teardown(the_named_ones_limit, books_end),
        cmocka_unit_test_teardown(held_over_the_named_ones_limit, books_end),
        cmocka_unit_test_teardown(gone_while_the_named_one_is_asked_for, books_end),
        cmocka_unit_test_teardown(nobody_answers_for_the_named_one, books_end),
        cmocka_unit_test_teardown(names_that_are_not_taken, books_end),
        cmocka_unit_test_teardown(a_name_without_an_account, books_end),
        cmocka_unit_test_teardown(the_named_one_is_frozen, books_end),
        cmocka_unit_test_teardown(the_sender_is_frozen, books_end),
        cmocka_unit_test_teardown(held_before_anybody_was_named, books_end),
        cmocka_unit_test_teardown(held_for_its_content, books_end),
        cmocka_unit_test_teardown(a_web_sender_and_its_host, books_end),
        cmocka_unit_test_teardown(no_room_for_its_name, books_end),
        cmocka_unit_test_teardown(nobody_answers_for_its_name, books_end),
        cmocka_unit_test_teardown(a_web_senders_limit, books_end),
        cmocka_unit_test_teardown(a_web_sender_is_frozen, books_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
