/* What is held is counted once for each message, however its recipients come and go; bounds of the node and of one
 * sender; why a recipient is held, as it is told by what is on disk.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/core/held.h"
#include "node/policy/policy.h"
#include "node/queue/queue.h"

static const struct policy_held wide = {
    .messages = 3, .sender_messages = 2, .bytes = 100 << 10, .sender_bytes = 64 << 10
};

static void change(struct held *h, uint64_t id, const char *sender, uint32_t n, int by)
{
    struct queue_item_view v = { .id = id, .sender = span_str(sender), .nrcpts = n, .size_kib = 4 };
    held_changed(h, &v, by);
}

static struct held_stats stats(struct held *h)
{
    struct held_stats s;
    held_stats(h, &s);
    return s;
}

static void test_counts(void **state)
{
    (void)state;
    struct held *h;
    assert_int_equal(held_new(&h), 0);
    assert_int_equal(held_admit(h, &wide, 1, SPAN_LIT("anna"), 4096), HELD_ROOM);
    assert_int_equal(stats(h).messages, 1);
    assert_int_equal(stats(h).recipients, 0);
    change(h, 1, "anna", 3, 1); /* at two sites */
    change(h, 1, "anna", 2, 1);
    assert_int_equal(stats(h).messages, 1);
    assert_int_equal(stats(h).recipients, 5);
    held_forget(h, 1); /* it is there: nothing to forget */
    change(h, 1, "anna", 3, -1);
    assert_int_equal(stats(h).messages, 1);
    change(h, 1, "anna", 2, -1);
    assert_int_equal(stats(h).messages, 0);
    assert_int_equal(stats(h).bytes, 0);
    assert_int_equal(stats(h).senders, 0);
    change(h, 2, "bob", 1, 1); /* an operator's, or one of before the start */
    assert_int_equal(stats(h).bytes, 4096);
    change(h, 3, "bob", 1, -1); /* not known: nothing happens */
    assert_int_equal(stats(h).messages, 1);
    held_free(h);
}

static void test_bounds(void **state)
{
    (void)state;
    struct held *h;
    assert_int_equal(held_new(&h), 0);
    assert_int_equal(held_admit(h, &wide, 1, SPAN_LIT("anna"), 60 << 10), HELD_ROOM);
    assert_int_equal(held_admit(h, &wide, 2, SPAN_LIT("anna"), 5 << 10), HELD_FULL_SENDER); /* bytes */
    assert_int_equal(held_admit(h, &wide, 2, SPAN_LIT("bob"), 41 << 10), HELD_FULL_NODE);
    assert_int_equal(held_admit(h, &wide, 2, SPAN_LIT("anna"), 4 << 10), HELD_ROOM);
    assert_int_equal(held_admit(h, &wide, 3, SPAN_LIT("anna"), 0), HELD_FULL_SENDER); /* messages */
    assert_int_equal(held_admit(h, &wide, 3, SPAN_LIT("bob"), 0), HELD_ROOM);
    assert_int_equal(held_admit(h, &wide, 4, SPAN_LIT("cyd"), 0), HELD_FULL_NODE);
    assert_int_equal(stats(h).refused, 4);
    held_forget(h, 3); /* it was not accepted after all */
    assert_int_equal(held_admit(h, &wide, 4, SPAN_LIT("cyd"), 0), HELD_ROOM);
    change(h, 9, "eve", 1, 1); /* what is there already is never refused */
    assert_int_equal(stats(h).messages, 4);
    held_free(h);
}

static void test_one_release_at_a_time(void **state)
{
    (void)state;
    struct held *h;
    assert_int_equal(held_new(&h), 0);
    assert_true(held_try_release(h));
    assert_false(held_try_release(h));
    held_released(h);
    assert_true(held_try_release(h));
    held_free(h);
}

static void test_why(void **state)
{
    (void)state;
    struct hold_mark m;
    char text[512];
    struct envelope env = { .arrival_ms = 5000, .flags = ENVELOPE_HELD, .hold = SPAN_LIT("over_limit hour") };
    struct spool_rcpt r = { .state = RCPT_HELD };
    assert_true(held_reason(&env, &r, &m));
    assert_true(m.kind == HOLD_OVER_LIMIT && m.since_ms == 5000 && span_eq(m.text, SPAN_LIT("hour")));
    env.hold.n = 0;
    assert_true(held_reason(&env, &r, &m));
    assert_int_equal(m.kind, HOLD_FROZEN);

    r.reply = SPAN_LIT("held by an operator"); /* as versions without reasons wrote it */
    r.changed_ms = 7000;
    assert_true(held_reason(&env, &r, &m));
    assert_true(m.kind == HOLD_OPERATOR && m.since_ms == 7000);

    struct hold_mark released = { .kind = HOLD_RELEASED, .since_ms = 20000, .text = SPAN_LIT("eve") };
    r.reply = hold_mark_format(&released, SPAN_LIT("released"), text);
    assert_true(held_reason(&env, &r, &m)); /* held while it was in a transaction, after its release */
    assert_int_equal(m.kind, HOLD_OPERATOR);
    r.state = RCPT_QUEUED;
    assert_true(held_reason(&env, &r, &m));
    assert_true(m.kind == HOLD_RELEASED && m.since_ms == 20000);
    r.reply = SPAN_LIT("451 later");
    assert_false(held_reason(&env, &r, &m));
}

/* A web sender's host is charged for the release as what its mail was when it came. */
static void test_the_class_of_a_host(void **state)
{
    (void)state;
    char text[HOLD_TEXT_MAX + 1], reason[HOLD_MARK_MAX], long_text[300];
    struct hold_mark mark;
    for (uint8_t class = 0; class < 3; class ++) {
        assert_int_equal(held_host_class(held_host_text(class, SPAN_LIT("script-hour"), text)), class);
        hold_reason_parse(hold_reason_format(HOLD_OVER_LIMIT, span_str(text), reason), &mark);
        assert_int_equal(mark.kind, HOLD_OVER_LIMIT);
        assert_int_equal(held_host_class(mark.text), class);
    }
    memset(long_text, 'x', sizeof long_text);
    assert_int_equal(held_host_class(held_host_text(2, span_of(long_text, sizeof long_text), text)), 2);
    assert_int_equal(held_host_class(held_host_text(1, SPAN_LIT(""), text)), 1);
    static const char *const none[] = { "", "[]", "[bulk", "bulk] x", "[printer] x", "script-hour", "[BULK] x" };
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_int_equal(held_host_class(span_str(none[i])), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_class_of_a_host),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_one_release_at_a_time),
        cmocka_unit_test(test_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
