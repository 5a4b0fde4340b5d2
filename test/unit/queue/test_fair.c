/* Turns: nobody's backlog delays another sender, classes weigh, and the cost of an operation does not depend
 * on how much is queued. */
#include "test/unit/queue/fixture.h"

static struct queue_item *add_class(struct queue *q, uint64_t id, const char *sender, uint8_t class)
{
    uint32_t rcpt = 0;
    struct queue_item_info info = { .id = id,
                                    .site = SPAN_LIT("slow"),
                                    .sender = span_str(sender),
                                    .class = class,
                                    .arrival_ms = T0,
                                    .nrcpts = 1,
                                    .rcpts = &rcpt };
    return queue_add(q, &info, T0);
}

/* A backlog of one sender for a slow site that takes one message at a time; another's message comes. */
static void another_sender_is_among_the_next(uint8_t class, uint32_t within)
{
    struct queue_config c = config_plain();
    c.conns_start = c.conns_max = 1;
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    for (uint64_t id = 1; id <= 100000; id++)
        add_class(q, id, "ann", class);
    open_one(q, &conn, T0);
    for (int i = 0; i < 1000; i++)
        queue_done(q, queue_take(q, &conn, T0));
    add_class(q, 200000, "bob", 0);
    uint32_t taken = 1;
    struct queue_item *item;
    while (queue_item_id(item = queue_take(q, &conn, T0)) != 200000) {
        taken++;
        queue_done(q, item);
    }
    assert_in_range(taken, 1, within);
    queue_free(q);
}

static void one_among_a_backlog(void **state)
{
    (void)state;
    another_sender_is_among_the_next(0, 5); /* the rest of a turn of 4 */
    another_sender_is_among_the_next(2, 2); /* bulk: turns of 1 */
}

static void many_senders_take_turns(void **state)
{
    (void)state;
    enum { SENDERS = 200 };
    struct queue_config c = config_plain();
    c.conns_start = c.conns_max = 1;
    c.weight[0] = 1;
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    char sender[16];
    uint64_t id = 1;
    for (int s = 0; s < SENDERS; s++) {
        snprintf(sender, sizeof sender, "s%d", s);
        for (int n = 0; n <= s; n++)
            add(q, id++, "a", sender, T0);
    }
    open_one(q, &conn, T0);
    static uint32_t taken[SENDERS];
    for (uint64_t left = id - 1; left > 0; left--) {
        struct queue_item *item = queue_take(q, &conn, T0);
        struct span name = view(q, item).sender;
        char digits[16] = { 0 };
        memcpy(digits, name.p + 1, name.n - 1);
        int s = atoi(digits);
        taken[s]++;
        uint32_t least = UINT32_MAX; /* of those that still have some, none is two turns behind */
        for (int k = 0; k < SENDERS; k++)
            if (taken[k] <= (uint32_t)k && taken[k] < least)
                least = taken[k];
        assert_true(least == UINT32_MAX || taken[s] <= least + 1);
        queue_done(q, item);
    }
    assert_null(queue_take(q, &conn, T0));
    for (int s = 0; s < SENDERS; s++)
        assert_int_equal(taken[s], s + 1);
    queue_free(q);
}

static void classes_weigh(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    c.conns_start = c.conns_max = 1;
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    static const char *const sender[] = { "person", "device", "bulk" };
    for (uint64_t id = 0; id < 3000; id++)
        add_class(q, id, sender[id % 3], (uint8_t)(id % 3));
    open_one(q, &conn, T0);
    uint32_t taken[3] = { 0 };
    for (int i = 0; i < 700; i++) {
        struct queue_item *item = queue_take(q, &conn, T0);
        taken[view(q, item).class]++;
        queue_done(q, item);
    }
    assert_int_equal(taken[0], 400);
    assert_int_equal(taken[1], 200);
    assert_int_equal(taken[2], 100);
    queue_free(q);
}

/* Steps of inner loops for adding, deferring, becoming due again, taking and ending the last 1000 of n items.
 */
static double steps_per_item(uint32_t n)
{
    struct queue_config c = config_plain();
    c.conns_total_max = 1000000;
    c.conns_start = 1;
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    struct queue_totals before, after;
    char site[16], sender[16];
    for (uint32_t i = 0; i < n; i++) {
        snprintf(site, sizeof site, "d%u", i % (n / 20));
        snprintf(sender, sizeof sender, "s%u", i * 7 % 1000);
        uint32_t rcpt = 0;
        struct queue_item_info info = { .id = i,
                                        .site = span_str(site),
                                        .sender = span_str(sender),
                                        .arrival_ms = T0,
                                        .next_ms = T0 + i % 1000 * 60000,
                                        .nrcpts = 1,
                                        .rcpts = &rcpt };
        assert_non_null(queue_add(q, &info, T0));
    }
    queue_totals(q, &before);
    int64_t now = T0;
    for (uint64_t id = 0; id < 1000; id++)
        add(q, n + id, "one", "bob", now);
    struct queue_action a;
    do /* the connections that the others ask for are left unanswered */
        assert_true(queue_poll(q, now, &a));
    while (a.site != queue_site_find(q, span_str("one")));
    queue_conn_init(q, a.site, &conn);
    queue_conn_opened(q, &conn, now);
    for (int i = 0; i < 1000; i++)
        queue_defer(q, queue_take(q, &conn, now), NULL, 0, 0, now);
    assert_null(queue_take(q, &conn, now));
    now += 5 * MINUTE;
    uint32_t done = 0;
    while (done < 1000) {
        if (!queue_poll(q, now, &a) || a.kind != QUEUE_ACTION_USE_CONNECTION) {
            continue;
        }
        for (struct queue_item *item; (item = queue_take(q, &conn, now)) != NULL; done++)
            queue_done(q, item);
    }
    queue_totals(q, &after);
    /* those of the n that came due in these five minutes are not what is measured */
    uint32_t due = after.state[QUEUE_STATE_READY] - before.state[QUEUE_STATE_READY];
    queue_free(q);
    return (double)(after.steps - before.steps) / (1000.0 + due);
}

static void cost_does_not_depend_on_what_is_queued(void **state)
{
    (void)state;
    double few = steps_per_item(1000), many = steps_per_item(1000000);
    print_message("steps per item: %.2f with 10^3 queued, %.2f with 10^6\n", few, many);
    assert_true(many < few * 1.5 + 1);
    assert_true(many < 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_among_a_backlog),
        cmocka_unit_test(many_senders_take_turns),
        cmocka_unit_test(classes_weigh),
        cmocka_unit_test(cost_does_not_depend_on_what_is_queued),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
