/* The life of items: taking, outcomes, splitting, ages, an operator's verbs, walks, and clocks that jump. */
#include "test/unit/queue/fixture.h"

#include "base/err.h"

static void an_item_is_taken_once_and_done(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    struct queue_totals t;
    add(q, 7, "example.net", "ann", T0);
    open_one(q, &conn, T0);
    struct queue_item *item = queue_take(q, &conn, T0);
    assert_int_equal(queue_item_id(item), 7);
    assert_int_equal(view(q, item).state, QUEUE_STATE_IN_FLIGHT);
    assert_true(span_eq(view(q, item).sender, span_str("ann")));
    expect_nothing(q, T0);
    queue_conn_success(q, &conn, T0);
    queue_done(q, item);
    assert_null(queue_find(q, 7));
    assert_null(queue_take(q, &conn, T0));
    queue_conn_closed(q, &conn, span_str(""), T0);
    expect_nothing(q, T0);
    assert_null(queue_site_find(q, span_str("example.net")));
    queue_totals(q, &t);
    assert_int_equal(t.sites, 0);
    assert_int_equal(t.senders, 0);
    assert_int_equal(t.conns, 0);
    queue_free(q);
}

static void deferred_by_the_schedule_and_not_before(void **state)
{
    (void)state;
    static const int64_t minutes[] = { 5, 10, 15, 30, 60, 120, 240, 240 };
    struct queue_config c = config_plain();
    c.delay_notice_ms = 0;
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    int64_t now = T0;
    add(q, 1, "a", "s", now);
    open_one(q, &conn, now);
    for (uint32_t i = 0; i < 8; i++) {
        struct queue_item *item = queue_take(q, &conn, now);
        assert_non_null(item);
        int64_t next = queue_defer(q, item, NULL, 0, 0, now);
        assert_int_equal(next, now + minutes[i] * MINUTE);
        assert_int_equal(view(q, item).next_ms, next);
        assert_int_equal(view(q, item).attempts, i + 1);
        assert_null(queue_take(q, &conn, now));
        expect_nothing(q, now);
        assert_true(queue_next_wake_ms(q, now) <= next);
        expect_nothing(q, next - 1);
        now = next;
        assert_ptr_equal(expect(q, QUEUE_ACTION_USE_CONNECTION, now).conn, &conn);
    }
    struct queue_item *item = queue_take(q, &conn, now);
    assert_int_equal(queue_defer(q, item, NULL, 0, now + 5 * HOUR, now), now + 5 * HOUR);
    queue_free(q);
}

/* Following queue_next_wake_ms alone, nothing is late by more than the 0.1 s that times are kept to. */
static void wakes_in_time(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    add(q, 1, "a", "s", T0);
    open_one(q, &conn, T0);
    struct queue_item *item = queue_take(q, &conn, T0);
    int64_t next = queue_defer(q, item, NULL, 0, T0 + 3 * HOUR + 1234, T0);
    assert_in_range(next, T0 + 3 * HOUR + 1234, T0 + 3 * HOUR + 1334);
    assert_null(queue_take(q, &conn, T0));
    struct queue_action a;
    int64_t now = T0;
    int turns = 0;
    while (!queue_poll(q, now, &a)) {
        int64_t wake = queue_next_wake_ms(q, now);
        assert_true(wake > now);
        now = wake;
        assert_true(++turns < 20);
    }
    assert_int_equal(now, next);
    queue_free(q);
}

static void requeued_goes_first_and_counts_no_attempt(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    for (uint64_t id = 1; id <= 3; id++)
        add(q, id, "a", "s", T0);
    open_one(q, &conn, T0);
    struct queue_item *item = queue_take(q, &conn, T0);
    assert_int_equal(queue_item_id(item), 1);
    queue_requeue(q, item, T0);
    assert_int_equal(view(q, item).attempts, 0);
    assert_int_equal(queue_item_id(queue_take(q, &conn, T0)), 1);
    assert_int_equal(queue_item_id(queue_take(q, &conn, T0)), 2);
    queue_free(q);
}

static void recipients_are_kept_split_and_reduced(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    const uint32_t rcpts[] = { 2, 3, 5, 7, 11, 13 };
    struct queue_item_info info = { .id = 9,
                                    .site = SPAN_LIT("a"),
                                    .sender = SPAN_LIT("s"),
                                    .arrival_ms = T0,
                                    .nrcpts = 6,
                                    .rcpts = rcpts,
                                    .size_kib = 50000 };
    queue_add(q, &info, T0);
    open_one(q, &conn, T0);
    struct queue_item *item = queue_take(q, &conn, T0);
    assert_memory_equal(view(q, item).rcpts, rcpts, sizeof rcpts);

    struct queue_item *part = queue_split(q, item, (const uint32_t[]){ 3, 13 }, 2);
    assert_int_equal(view(q, part).nrcpts, 2);
    assert_int_equal(view(q, part).rcpts[0], 3);
    assert_int_equal(view(q, part).rcpts[1], 13);
    assert_int_equal(view(q, part).size_kib, 50000);
    assert_int_equal(view(q, part).state, QUEUE_STATE_IN_FLIGHT);
    assert_int_equal(view(q, item).nrcpts, 4);
    assert_memory_equal(view(q, item).rcpts, ((const uint32_t[]){ 2, 5, 7, 11 }), 16);

    /* two of four ended; named in another order than the item's */
    queue_defer(q, item, (const uint32_t[]){ 11, 2 }, 2, 0, T0);
    assert_int_equal(view(q, item).nrcpts, 2);
    assert_memory_equal(view(q, item).rcpts, ((const uint32_t[]){ 2, 11 }), 8);
    queue_requeue(q, part, T0);
    part = queue_take(q, &conn, T0);
    queue_defer(q, part, (const uint32_t[]){ 13 }, 1, 0, T0);
    assert_int_equal(view(q, part).nrcpts, 1);
    assert_int_equal(view(q, part).rcpts[0], 13);

    int found = 0;
    for (struct queue_item *i = queue_find(q, 9); i != NULL; i = queue_find_next(q, i))
        found++;
    assert_int_equal(found, 2);
    assert_null(queue_find(q, 8));
    queue_free(q);
}

static void many_items_of_one_message_are_found_and_removed(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    char site[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(site, sizeof site, "d%d", i);
        add(q, 42, site, "s", T0);
        add(q, 100 + (uint64_t)i, site, "s", T0);
    }
    int found = 0;
    for (struct queue_item *i = queue_find(q, 42); i != NULL; i = queue_find_next(q, i))
        found++;
    assert_int_equal(found, 1000);
    struct queue_totals t;
    for (struct queue_item *i = queue_find(q, 42); i != NULL;) {
        struct queue_item *next = queue_find_next(q, i);
        if (queue_item_site(q, i) != queue_site_find(q, span_str("d500")))
            assert_int_equal(queue_remove(q, i), 0);
        i = next;
    }
    struct queue_item *left = queue_find(q, 42);
    assert_non_null(left);
    assert_null(queue_find_next(q, left));
    queue_totals(q, &t);
    assert_int_equal(t.state[QUEUE_STATE_READY], 1001);
    queue_free(q);
}

static void ages(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_item *item = add(q, 1, "a", "s", T0);
    struct queue_item *held = add(q, 2, "a", "s", T0);
    queue_hold(q, held);
    fail_one(q, "451 4.4.1 no route", T0);
    expect_nothing(q, T0);
    fail_one(q, "451 4.4.1 no route", T0 + 10000); /* the second: down */
    assert_true(site_state(q, "a").down);

    /* a down site's items are told of and expire all the same; held ones are not */
    struct queue_action a;
    int64_t now = T0 + 10000, told = 0, expired = 0;
    while (now < T0 + 97 * HOUR) {
        while (queue_poll(q, now, &a)) {
            if (a.kind == QUEUE_ACTION_OPEN_CONNECTION) {
                struct queue_conn conn;
                queue_conn_init(q, a.site, &conn);
                queue_conn_failed(q, &conn, span_str("451 4.4.1 no route"), now);
            } else if (a.kind == QUEUE_ACTION_DELAY_NOTICE) {
                assert_ptr_equal(a.item, item);
                assert_true(view(q, item).delay_told);
                assert_int_equal(told, 0);
                told = now;
            } else {
                assert_int_equal(a.kind, QUEUE_ACTION_EXPIRE);
                assert_ptr_equal(a.item, item);
                assert_int_equal(view(q, item).state, QUEUE_STATE_IN_FLIGHT);
                assert_int_equal(view(q, item).attempts, 0); /* a down site costs no attempt */
                expired = now;
                queue_done(q, item);
            }
        }
        int64_t wake = queue_next_wake_ms(q, now);
        if (wake == INT64_MAX)
            break;
        assert_true(wake > now);
        now = wake;
    }
    assert_int_equal(told, T0 + 4 * HOUR);
    assert_int_equal(expired, T0 + 96 * HOUR);
    assert_int_equal(view(q, held).state, QUEUE_STATE_HELD);
    queue_free(q);
}

static void expiry_that_cannot_be_recorded_comes_again(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    c.delay_notice_ms = 0;
    c.expire_held_ms = 2 * HOUR;
    struct queue *q = queue_new(&c, T0);
    struct queue_item *held = add(q, 1, "a", "s", T0);
    queue_hold(q, held);
    int64_t now = T0 + 2 * HOUR;
    assert_ptr_equal(expect(q, QUEUE_ACTION_EXPIRE, now).item, held);
    int64_t again = queue_defer(q, held, NULL, 0, 0, now);
    assert_in_range(again - now, 1000, 5 * MINUTE);
    assert_int_equal(view(q, held).state, QUEUE_STATE_HELD);
    expect_nothing(q, now);
    assert_true(queue_next_wake_ms(q, now) > now);
    assert_true(queue_next_wake_ms(q, now) <= again);
    assert_ptr_equal(expect(q, QUEUE_ACTION_EXPIRE, again).item, held);
    queue_requeue(q, held, again);
    expect_nothing(q, again);
    queue_free(q);
}

static void nothing_expires_right_after_a_start(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    c.expire_grace_ms = 15 * MINUTE;
    c.delay_notice_ms = 0;
    struct queue *q = queue_new(&c, T0);
    uint32_t rcpt = 0;
    struct queue_item_info info = { .id = 1,
                                    .site = SPAN_LIT("a"),
                                    .sender = SPAN_LIT("s"),
                                    .arrival_ms = T0 - 120 * HOUR,
                                    .attempts = 9,
                                    .next_ms = T0 - 30 * HOUR,
                                    .nrcpts = 1,
                                    .rcpts = &rcpt };
    queue_add(q, &info, T0);
    struct queue_conn conn;
    open_one(q, &conn, T0); /* it is tried once more... */
    struct queue_item *item = queue_take(q, &conn, T0);
    assert_int_equal(view(q, item).arrival_ms, T0 - 120 * HOUR);
    queue_defer(q, item, NULL, 0, 0, T0);
    queue_take(q, &conn, T0);
    expect_nothing(q, T0 + 15 * MINUTE - 1);
    assert_ptr_equal(expect(q, QUEUE_ACTION_EXPIRE, T0 + 15 * MINUTE).item, item); /* ...and then ends */
    queue_free(q);
}

static void hold_release_retry_remove(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    struct queue_item *one = add(q, 1, "a", "s", T0), *two = add(q, 2, "a", "s", T0);
    queue_hold(q, one);
    open_one(q, &conn, T0);
    assert_ptr_equal(queue_take(q, &conn, T0), two);
    queue_hold(q, two); /* in flight: as soon as it comes back */
    assert_int_equal(view(q, two).state, QUEUE_STATE_IN_FLIGHT);
    assert_int_equal(queue_remove(q, two), ERR_BUSY);
    queue_defer(q, two, NULL, 0, 0, T0);
    assert_int_equal(view(q, two).state, QUEUE_STATE_HELD);
    assert_null(queue_take(q, &conn, T0));

    queue_release(q, two, T0);
    assert_ptr_equal(expect(q, QUEUE_ACTION_USE_CONNECTION, T0).conn, &conn);
    assert_ptr_equal(queue_take(q, &conn, T0), two);
    queue_hold(q, two);
    queue_release(q, two, T0); /* taken back in time */
    queue_defer(q, two, NULL, 0, 0, T0);
    assert_int_equal(view(q, two).state, QUEUE_STATE_WAITING);
    assert_null(queue_take(q, &conn, T0));

    queue_retry_now(q, one, T0); /* held ones stay held */
    assert_int_equal(view(q, one).state, QUEUE_STATE_HELD);
    queue_retry_now(q, two, T0);
    assert_int_equal(view(q, two).state, QUEUE_STATE_READY);
    expect(q, QUEUE_ACTION_USE_CONNECTION, T0);
    assert_int_equal(queue_remove(q, two), 0);
    assert_null(queue_take(q, &conn, T0));
    assert_int_equal(queue_remove(q, one), 0);
    struct queue_totals t;
    queue_totals(q, &t);
    for (int i = 0; i < QUEUE_STATES; i++)
        assert_int_equal(t.state[i], 0);
    queue_free(q);
}

struct walk {
    struct queue *q;
    uint32_t seen[2000];
    uint32_t n;
};

static void on_item(void *ctx, struct queue_item *item)
{
    struct walk *w = ctx;
    uint64_t id = queue_item_id(item);
    w->seen[id]++;
    w->n++;
    if (id % 5 == 0)
        assert_int_equal(queue_remove(w->q, item), 0);
}

static void walks_survive_changes(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    static struct walk w;
    struct queue_item *items[1000];
    char site[16];
    w = (struct walk){ .q = q };
    for (uint64_t id = 0; id < 1000; id++) {
        snprintf(site, sizeof site, "d%d", (int)id % 37);
        items[id] = add(q, id, site, "s", T0);
    }
    uint64_t cursor = 0;
    uint32_t steps = 0, fresh = 1000;
    while (queue_walk(q, &cursor, 10, on_item, &w)) {
        steps++;
        add(q, fresh++, "later", "s", T0);
        if (steps < 50)
            queue_remove(q, items[999 - steps * 5]); /* none of those divisible by 5 */
    }
    for (uint32_t id = 0; id < 1000; id++)
        assert_in_range(w.seen[id], id > 700 && id % 5 != 0 ? 0 : 1, 1);
    for (uint32_t id = 1000; id < fresh; id++)
        assert_in_range(w.seen[id], 0, 1);
    assert_in_range(steps, 70, 1000);
    queue_free(q);
}

static void on_sender(void *ctx, struct span sender, const struct queue_counts *counts)
{
    uint32_t *n = ctx;
    assert_true(span_eq(sender, span_str("ann")) || span_eq(sender, span_str("bob")));
    *n += counts->state[QUEUE_STATE_READY];
}

static void on_site(void *ctx, struct queue_site *site)
{
    assert_true(queue_site_key(site).n > 0);
    ++*(uint32_t *)ctx;
}

static void counts_by_site_and_sender(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_counts counts;
    add(q, 1, "a", "ann", T0 - HOUR);
    add(q, 2, "a", "bob", T0);
    struct queue_item *old = add(q, 3, "b", "ann", T0 - 2 * HOUR);
    queue_hold(q, old);
    assert_int_equal(queue_sender_counts(q, span_str("ann"), &counts), 0);
    assert_int_equal(counts.state[QUEUE_STATE_READY], 1);
    assert_int_equal(counts.state[QUEUE_STATE_HELD], 1);
    assert_int_equal(counts.oldest_ms, T0 - 2 * HOUR);
    assert_int_equal(queue_sender_counts(q, span_str("cyd"), &counts), ERR_NOT_FOUND);
    assert_int_equal(site_state(q, "a").counts.state[QUEUE_STATE_READY], 2);
    assert_int_equal(site_state(q, "a").counts.oldest_ms, T0 - HOUR);
    assert_int_equal(site_state(q, "a").senders, 2);
    assert_int_equal(site_state(q, "b").senders, 1);
    uint64_t cursor = 0;
    uint32_t n = 0;
    while (queue_walk_senders(q, &cursor, 1, on_sender, &n))
        continue;
    assert_int_equal(n, 2);
    cursor = 0;
    n = 0;
    while (queue_walk_sites(q, &cursor, 1, on_site, &n))
        continue;
    assert_int_equal(n, 2);
    queue_remove(q, old);
    assert_int_equal(queue_sender_counts(q, span_str("ann"), &counts), 0);
    assert_int_equal(counts.oldest_ms, T0 - HOUR);
    queue_free(q);
}

/* The clock is set back a year while mail waits: it goes out at the schedule's pace, not in a year, nor at
 * once. */
static void a_clock_set_back_neither_stalls_nor_floods(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    struct queue_item *item = add(q, 1, "a", "s", T0);
    open_one(q, &conn, T0);
    queue_take(q, &conn, T0);
    queue_defer(q, item, NULL, 0, 0, T0);
    queue_take(q, &conn, T0);
    int64_t now = T0 - 360 * 24 * HOUR, start = now;
    expect_nothing(q, now);
    expect_nothing(q, now + MINUTE);
    struct queue_action a;
    while (!queue_poll(q, now, &a)) {
        int64_t wake = queue_next_wake_ms(q, now);
        assert_true(wake > now);
        now = wake;
        assert_true(now < start + 48 * HOUR);
    }
    assert_int_equal(a.kind, QUEUE_ACTION_USE_CONNECTION);
    assert_ptr_equal(queue_take(q, &conn, now), item);
    int64_t next = queue_defer(q, item, NULL, 0, 0, now);
    assert_int_equal(next - now, 10 * MINUTE);
    queue_take(q, &conn, now);
    expect_nothing(q, next - 1);
    expect(q, QUEUE_ACTION_USE_CONNECTION, next);
    queue_free(q);
}

/* What a clock that was ahead has set is not waited for so much longer when it is set right: a site's next connection, an
 * item's next try. */
static void a_clock_set_right_delays_nothing(void **state)
{
    (void)state;
    const int64_t ahead = T0 + 288000, right = T0 + 20000;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_item *deferred = add(q, 2, "a", "s", T0);
    struct queue_conn conn;
    open_one(q, &conn, ahead - MINUTE);
    assert_ptr_equal(queue_take(q, &conn, ahead - MINUTE), deferred);
    int64_t due = queue_defer(q, deferred, NULL, 0, 0, ahead - MINUTE);
    assert_true(due >= ahead + MINUTE);
    assert_null(queue_take(q, &conn, ahead - MINUTE));
    add(q, 3, "b", "s", ahead - MINUTE);
    fail_one(q, "421 4.4.2 lost", ahead - MINUTE);
    expect_nothing(q, ahead - MINUTE);
    int64_t waits = site_state(q, "b").next_try_ms - (ahead - MINUTE);
    assert_true(waits > 0 && waits <= MINUTE);
    expect_nothing(q, right);
    int64_t back = ahead - MINUTE - right;
    assert_in_range(site_state(q, "b").next_try_ms, right, right + waits);
    assert_in_range(view(q, deferred).next_ms, due - back - 100, due - back + 100);
    fail_one(q, "421 4.4.2 lost", right + waits);
    queue_free(q);
}

/* So many become due at once: no single poll does all the work. */
static void a_crowd_becomes_ready_in_bounded_steps(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    uint32_t rcpt = 0;
    struct queue_item_info info = { .site = SPAN_LIT("a"),
                                    .sender = SPAN_LIT("s"),
                                    .arrival_ms = T0,
                                    .next_ms = T0 + HOUR,
                                    .nrcpts = 1,
                                    .rcpts = &rcpt };
    for (info.id = 1; info.id <= 10000; info.id++)
        queue_add(q, &info, T0);
    struct queue_action a;
    struct queue_totals t;
    uint32_t before = 0, calls = 0;
    int64_t now = T0 + HOUR;
    do {
        while (queue_poll(q, now, &a))
            assert_int_equal(a.kind, QUEUE_ACTION_OPEN_CONNECTION);
        queue_totals(q, &t);
        assert_in_range(t.state[QUEUE_STATE_READY] - before, 0, 1024);
        before = t.state[QUEUE_STATE_READY];
        calls++;
    } while (queue_next_wake_ms(q, now) <= now);
    assert_int_equal(before, 10000);
    assert_in_range(calls, 10, 200);
    queue_free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_item_is_taken_once_and_done),
        cmocka_unit_test(deferred_by_the_schedule_and_not_before),
        cmocka_unit_test(wakes_in_time),
        cmocka_unit_test(requeued_goes_first_and_counts_no_attempt),
        cmocka_unit_test(recipients_are_kept_split_and_reduced),
        cmocka_unit_test(many_items_of_one_message_are_found_and_removed),
        cmocka_unit_test(ages),
        cmocka_unit_test(expiry_that_cannot_be_recorded_comes_again),
        cmocka_unit_test(nothing_expires_right_after_a_start),
        cmocka_unit_test(hold_release_retry_remove),
        cmocka_unit_test(walks_survive_changes),
        cmocka_unit_test(counts_by_site_and_sender),
        cmocka_unit_test(a_clock_set_back_neither_stalls_nor_floods),
        cmocka_unit_test(a_clock_set_right_delays_nothing),
        cmocka_unit_test(a_crowd_becomes_ready_in_bounded_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
