/* What is asked of a site from outside: fewer connections, a pause, time between items; and times that are
 * said. */
#include "test/unit/queue/fixture.h"

static struct queue_site *site(struct queue *q)
{
    return queue_site_find(q, SPAN_LIT("a"));
}

static void a_paused_site_gets_nothing(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    add(q, 1, "a", "s", T0);
    queue_site_set_shape(q, site(q), &(struct queue_shape){ .paused_until_ms = T0 + HOUR }, T0);
    expect_nothing(q, T0);
    assert_int_equal(queue_next_wake_ms(q, T0), T0 + HOUR);
    assert_int_equal(site_state(q, "a").paused_until_ms, T0 + HOUR);
    queue_site_retry_now(q, site(q), T0); /* a retry does not end it */
    expect_nothing(q, T0 + HOUR - 1);
    struct queue_action a = expect(q, QUEUE_ACTION_OPEN_CONNECTION, T0 + HOUR);
    queue_conn_init(q, a.site, &conn);
    /* While the connection was made, another pause began. */
    queue_site_set_shape(q, site(q), &(struct queue_shape){ .paused_until_ms = T0 + 2 * HOUR }, T0 + HOUR);
    queue_conn_opened(q, &conn, T0 + HOUR);
    assert_null(queue_take(q, &conn, T0 + HOUR));
    expect_nothing(q, T0 + 2 * HOUR - 1);
    assert_ptr_equal(expect(q, QUEUE_ACTION_USE_CONNECTION, T0 + 2 * HOUR).conn, &conn);
    struct queue_item *item = queue_take(q, &conn, T0 + 2 * HOUR);
    assert_non_null(item);
    queue_done(q, item);
    queue_conn_closed(q, &conn, (struct span){ "", 0 }, T0 + 2 * HOUR);
    queue_free(q);
}

static void a_pause_that_is_lifted_ends_at_once(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    add(q, 1, "a", "s", T0);
    queue_site_set_shape(q, site(q), &(struct queue_shape){ .paused_until_ms = T0 + HOUR }, T0);
    expect_nothing(q, T0 + MINUTE);
    queue_site_set_shape(q, site(q), &(struct queue_shape){ 0 }, T0 + MINUTE);
    queue_conn_init(q, expect(q, QUEUE_ACTION_OPEN_CONNECTION, T0 + MINUTE).site, &conn);
    queue_conn_cancelled(q, &conn, T0 + MINUTE);
    queue_free(q);
}

static void items_are_taken_at_intervals(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    for (uint64_t id = 1; id <= 4; id++)
        add(q, id, "a", "s", T0);
    queue_site_set_shape(q, site(q), &(struct queue_shape){ .conns_max = 1, .interval_ms = 1000 }, T0);
    queue_conn_init(q, expect(q, QUEUE_ACTION_OPEN_CONNECTION, T0).site, &conn);
    expect_nothing(q, T0); /* one connection, though there is more */
    queue_conn_opened(q, &conn, T0);
    for (int i = 0; i < 4; i++) {
        int64_t now = T0 + i * 1000;
        if (i > 0)
            assert_ptr_equal(expect(q, QUEUE_ACTION_USE_CONNECTION, now).conn, &conn);
        struct queue_item *item = queue_take(q, &conn, now);
        assert_non_null(item);
        queue_done(q, item);
        queue_conn_success(q, &conn, now);
        assert_null(queue_take(q, &conn, now + 1));
        expect_nothing(q, now + 999);
    }
    assert_int_equal(site_state(q, "a").conns_limit, 1);
    queue_conn_closed(q, &conn, (struct span){ "", 0 }, T0 + 5000);
    queue_free(q);
}

static void a_time_that_is_said_counts(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    struct queue_item *item = add(q, 1, "a", "s", T0);
    queue_conn_init(q, expect(q, QUEUE_ACTION_OPEN_CONNECTION, T0).site, &conn);
    queue_conn_opened(q, &conn, T0);
    assert_ptr_equal(queue_take(q, &conn, T0), item);
    assert_int_equal(queue_defer_to(q, item, NULL, 0, T0 + 7000, T0), T0 + 7000); /* sooner than 5 min */
    assert_int_equal(view(q, item).attempts, 1);
    expect_nothing(q, T0 + 6900);
    assert_null(queue_take(q, &conn, T0));
    assert_ptr_equal(expect(q, QUEUE_ACTION_USE_CONNECTION, T0 + 7000).conn, &conn);
    assert_ptr_equal(queue_take(q, &conn, T0 + 7000), item);
    assert_int_equal(queue_defer_to(q, item, NULL, 0, T0 - 1, T0 + 7000), T0 + 7000); /* not in the past */
    queue_conn_closed(q, &conn, (struct span){ "", 0 }, T0 + 7000);
    queue_free(q);
}

static void a_blocked_site_opens_nothing(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    add(q, 1, "a", "s", T0);
    queue_site_block(q, site(q), true, T0);
    expect_nothing(q, T0 + HOUR);
    queue_site_block(q, site(q), false, T0 + HOUR);
    queue_conn_init(q, expect(q, QUEUE_ACTION_OPEN_CONNECTION, T0 + HOUR).site, &conn);
    queue_conn_opened(q, &conn, T0 + HOUR);
    queue_site_block(q, site(q), true, T0 + HOUR); /* what is open goes on */
    struct queue_item *item = queue_take(q, &conn, T0 + HOUR);
    assert_non_null(item);
    queue_done(q, item);
    assert_null(queue_take(q, &conn, T0 + HOUR));
    add(q, 2, "a", "s", T0 + HOUR);
    assert_ptr_equal(expect(q, QUEUE_ACTION_USE_CONNECTION, T0 + HOUR).conn, &conn);
    queue_conn_closed(q, &conn, (struct span){ "", 0 }, T0 + HOUR);
    queue_free(q);
}

static void a_paced_site_waits_for_the_latest_time(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    add(q, 1, "a", "s", T0);
    queue_conn_init(q, expect(q, QUEUE_ACTION_OPEN_CONNECTION, T0).site, &conn);
    queue_conn_opened(q, &conn, T0);
    queue_site_pace(q, site(q), T0 + 700, T0);
    queue_site_pace(q, site(q), T0 + 300, T0);
    assert_null(queue_take(q, &conn, T0));
    assert_false(queue_site_paused(site(q), T0)); /* that is for its shape to say */
    assert_false(site_state(q, "a").shaped);
    expect_nothing(q, T0 + 699);
    assert_int_equal(queue_next_wake_ms(q, T0 + 300), T0 + 700);
    assert_ptr_equal(expect(q, QUEUE_ACTION_USE_CONNECTION, T0 + 700).conn, &conn);
    queue_site_set_shape(q, site(q), &(struct queue_shape){ .conns_max = 1000 }, T0 + 700);
    assert_false(site_state(q, "a").shaped); /* more than others have holds nothing back */
    queue_site_set_shape(q, site(q), &(struct queue_shape){ .paused_until_ms = T0 + HOUR }, T0 + 700);
    assert_true(queue_site_paused(site(q), T0 + 700));
    queue_conn_closed(q, &conn, (struct span){ "", 0 }, T0 + 700);
    queue_free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_paused_site_gets_nothing),
        cmocka_unit_test(a_pause_that_is_lifted_ends_at_once),
        cmocka_unit_test(items_are_taken_at_intervals),
        cmocka_unit_test(a_blocked_site_opens_nothing),
        cmocka_unit_test(a_paced_site_waits_for_the_latest_time),
        cmocka_unit_test(a_time_that_is_said_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
