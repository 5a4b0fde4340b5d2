/* Connections: how many, to whom, when a site is down, what is learned and forgotten, limits of the worker.
 */
#include "test/unit/queue/fixture.h"

static void opens_no_more_than_there_is_work_for(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn[3];
    add(q, 1, "a", "s", T0);
    struct queue_action a = expect(q, QUEUE_ACTION_OPEN_CONNECTION, T0);
    queue_conn_init(q, a.site, &conn[0]);
    expect_nothing(q, T0); /* the one that is opening will take it */
    add(q, 2, "a", "s", T0);
    a = expect(q, QUEUE_ACTION_OPEN_CONNECTION, T0);
    queue_conn_init(q, a.site, &conn[1]);
    add(q, 3, "a", "s", T0);
    expect_nothing(q, T0); /* conns_start is 2 */
    queue_conn_opened(q, &conn[0], T0);
    queue_conn_opened(q, &conn[1], T0);
    assert_non_null(queue_take(q, &conn[0], T0));
    assert_non_null(queue_take(q, &conn[1], T0));
    expect_nothing(q, T0);
    assert_non_null(queue_take(q, &conn[0], T0));
    assert_null(queue_take(q, &conn[1], T0));
    add(q, 4, "a", "s", T0); /* an idle connection is used before another is opened */
    assert_ptr_equal(expect(q, QUEUE_ACTION_USE_CONNECTION, T0).conn, &conn[1]);
    expect_nothing(q, T0);
    assert_non_null(queue_take(q, &conn[1], T0));
    assert_int_equal(site_state(q, "a").conns, 2);
    queue_free(q);
}

static void a_dead_site_is_probed_by_one_connection(void **state)
{
    (void)state;
    static const int64_t minutes[] = { 5, 10, 15, 30, 60 };
    struct queue_config c = config_plain();
    c.delay_notice_ms = 0;
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn[2];
    for (uint64_t id = 1; id <= 5000; id++)
        add(q, id, "a", "s", T0);
    for (int i = 0; i < 2; i++) /* two side by side fail: that is one failure */
        queue_conn_init(q, expect(q, QUEUE_ACTION_OPEN_CONNECTION, T0).site, &conn[i]);
    for (int i = 0; i < 2; i++)
        queue_conn_failed(q, &conn[i], SPAN_LIT("451 4.4.1 refused"), T0);
    assert_false(site_state(q, "a").down);
    assert_int_equal(site_state(q, "a").failures, 1);
    expect_nothing(q, T0 + c.reconnect_ms - 1);
    int64_t now = T0 + c.reconnect_ms;
    for (int i = 0; i < 5; i++) {
        struct queue_totals before, after;
        queue_totals(q, &before);
        fail_one(q, "451 4.4.1 refused", now);
        expect_nothing(q, now);
        struct queue_site_state s = site_state(q, "a");
        assert_true(s.down);
        assert_int_equal(s.down_since_ms, T0 + c.reconnect_ms);
        assert_true(span_eq(s.last_error, SPAN_LIT("451 4.4.1 refused")));
        assert_int_equal(s.last_error_ms, now);
        assert_int_equal(s.next_try_ms, now + minutes[i] * MINUTE);
        now = s.next_try_ms;
        expect_nothing(q, now - 1);
        queue_totals(q, &after);
        assert_true(after.steps - before.steps < 100); /* whatever is queued */
    }
    open_one(q, &conn[0], now);
    assert_false(site_state(q, "a").down);
    assert_non_null(queue_take(q, &conn[0], now));
    assert_int_equal(site_state(q, "a").counts.state[QUEUE_STATE_READY], 4999);
    queue_conn_success(q, &conn[0], now);
    assert_int_equal(site_state(q, "a").failures, 0);
    queue_free(q);
}

static void an_operator_can_have_it_probed_now(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_item *item = add(q, 1, "a", "s", T0);
    fail_one(q, "x", T0);
    fail_one(q, "x", T0 + c.reconnect_ms);
    int64_t now = T0 + c.reconnect_ms;
    expect_nothing(q, now);
    queue_retry_now(q, item, now);
    fail_one(q, "x", now);
    expect_nothing(q, now);
    queue_site_retry_now(q, queue_site_find(q, span_str("a")), now);
    expect(q, QUEUE_ACTION_OPEN_CONNECTION, now);
    queue_free(q);
}

/* A server that greets and then hangs up, or answers 421 to everything, is not hammered. */
static void hanging_up_counts_as_a_failure(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    c.delay_notice_ms = 0;
    struct queue *q = queue_new(&c, T0);
    int64_t now = T0, opened = 0;
    add(q, 1, "a", "s", T0);
    while (now < T0 + 4 * HOUR) {
        struct queue_action a;
        while (queue_poll(q, now, &a)) {
            struct queue_conn conn;
            assert_int_equal(a.kind, QUEUE_ACTION_OPEN_CONNECTION);
            queue_conn_init(q, a.site, &conn);
            queue_conn_opened(q, &conn, now);
            struct queue_item *item = queue_take(q, &conn, now);
            queue_requeue(q, item, now);
            queue_conn_closed(q, &conn, opened % 2 == 0 ? SPAN_LIT("421 4.3.2 busy") : SPAN_LIT(""), now);
            assert_true(++opened < 20);
        }
        now = queue_next_wake_ms(q, now);
    }
    assert_in_range(opened, 6, 12);
    queue_free(q);
}

static void grows_by_about_one_per_limit_successes(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn[20];
    uint32_t nconns = 0, successes = 0, turn = 0;
    for (uint64_t id = 1; id <= 1000; id++)
        add(q, id, "a", "s", T0);
    while (successes < 250) {
        struct queue_action a;
        while (queue_poll(q, T0, &a)) {
            assert_int_equal(a.kind, QUEUE_ACTION_OPEN_CONNECTION);
            assert_true(nconns < 20);
            queue_conn_init(q, a.site, &conn[nconns]);
            queue_conn_opened(q, &conn[nconns], T0);
            assert_non_null(queue_take(q, &conn[nconns++], T0));
        }
        queue_conn_success(q, &conn[turn % nconns], T0);
        successes++;
        assert_non_null(queue_take(q, &conn[turn++ % nconns], T0));
        assert_int_equal(site_state(q, "a").conns, nconns);
        if (successes == 5) /* 2 + 3 */
            assert_int_equal(site_state(q, "a").conns_limit, 4);
        if (successes == 2 + 3 + 4 + 5 + 6)
            assert_int_equal(site_state(q, "a").conns_limit, 7);
    }
    assert_int_equal(site_state(q, "a").conns_limit, 20);
    queue_free(q);
}

static void does_not_grow_where_it_does_not_hold_back(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    add(q, 1, "a", "s", T0);
    open_one(q, &conn, T0);
    for (uint64_t id = 2; id <= 200; id++) {
        queue_done(q, queue_take(q, &conn, T0));
        queue_conn_success(q, &conn, T0);
        assert_null(queue_take(q, &conn, T0));
        add(q, id, "a", "s", T0);
        assert_int_equal(expect(q, QUEUE_ACTION_USE_CONNECTION, T0).kind, QUEUE_ACTION_USE_CONNECTION);
    }
    assert_int_equal(site_state(q, "a").conns_limit, 2);
    queue_free(q);
}

static void trouble_halves_and_surplus_is_closed(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    c.conns_start = 16;
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn[16];
    for (uint64_t id = 1; id <= 1000; id++)
        add(q, id, "a", "s", T0);
    for (int i = 0; i < 16; i++) {
        open_one(q, &conn[i], T0);
        assert_non_null(queue_take(q, &conn[i], T0));
        queue_conn_success(q, &conn[i], T0);
    }
    for (int i = 0; i < 5; i++)
        queue_conn_trouble(q, &conn[i], T0); /* all at once: one event */
    assert_int_equal(site_state(q, "a").conns_limit, 8);
    int left = 16;
    for (int i = 0; i < 16; i++) {
        if (queue_take(q, &conn[i], T0) != NULL)
            continue;
        struct queue_action a = expect(q, QUEUE_ACTION_CLOSE_CONNECTION, T0);
        assert_ptr_equal(a.conn, &conn[i]);
        queue_conn_closed(q, &conn[i], SPAN_LIT(""), T0);
        left--;
    }
    assert_int_equal(left, 8);
    expect_nothing(q, T0);
    int64_t now = T0;
    static const uint32_t expected[] = { 4, 2, 1, 1 };
    for (int i = 0; i < 4; i++) {
        now += 2000;
        queue_conn_trouble(q, &conn[15], now);
        assert_int_equal(site_state(q, "a").conns_limit, expected[i]);
    }
    queue_free(q);
}

static void a_sites_own_maximum(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    c.conns_start = 5;
    struct queue *q = queue_new(&c, T0);
    for (uint64_t id = 1; id <= 10; id++)
        add(q, id, "a", "s", T0);
    struct queue_site *site = queue_site_find(q, span_str("a"));
    queue_site_set_conns_max(q, site, 1, T0);
    struct queue_conn conn;
    open_one(q, &conn, T0);
    expect_nothing(q, T0);
    for (int i = 0; i < 50; i++)
        queue_conn_success(q, &conn, T0);
    expect_nothing(q, T0);
    queue_free(q);
}

static void the_worker_shares_its_places(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    c.conns_total_max = 20;
    c.conns_start = c.conns_max = 100;
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn[20];
    char site[16];
    for (uint64_t id = 1; id <= 1000; id++)
        add(q, id, "big", "s", T0);
    for (uint64_t id = 1; id <= 30; id++) {
        snprintf(site, sizeof site, "small%d", (int)id);
        add(q, 1000 + id, site, "s", T0);
    }
    int big = 0, first_small = -1;
    for (int i = 0; i < 20; i++) {
        open_one(q, &conn[i], T0);
        if (conn[i].site == queue_site_find(q, span_str("big")))
            big++;
        else if (first_small < 0)
            first_small = i;
    }
    assert_in_range(big, 1, 10);
    assert_in_range(first_small, 0, 1); /* they take turns from the start */
    expect_nothing(q, T0);
    assert_true(queue_next_wake_ms(q, T0) > T0);

    /* one that fell idle makes room for those that wait */
    struct queue_conn *small = &conn[first_small];
    queue_done(q, queue_take(q, small, T0));
    queue_conn_success(q, small, T0);
    assert_null(queue_take(q, small, T0));
    assert_int_equal(queue_next_wake_ms(q, T0), T0);
    assert_ptr_equal(expect(q, QUEUE_ACTION_CLOSE_CONNECTION, T0).conn, small);
    queue_conn_closed(q, small, SPAN_LIT(""), T0);
    expect(q, QUEUE_ACTION_OPEN_CONNECTION, T0);
    struct queue_totals t;
    queue_totals(q, &t);
    assert_int_equal(t.conns, 20);
    queue_free(q);
}

/* 5000 dead sites whose probes each take a minute to time out: a living one need not wait for them. */
static void dead_sites_do_not_take_all_places(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    c.conns_total_max = 40;
    c.down_after = 1;
    c.delay_notice_ms = 0;
    struct queue *q = queue_new(&c, T0);
    struct queue_action a;
    struct queue_conn conn[40];
    char site[16];
    for (uint64_t id = 1; id <= 500; id++) {
        snprintf(site, sizeof site, "dead%d", (int)id);
        add(q, id, site, "s", T0);
        fail_one(q, "timed out", T0);
    }
    int64_t now = T0 + 5 * MINUTE;
    int opening = 0;
    while (queue_poll(q, now, &a)) {
        assert_true(opening < 40);
        queue_conn_init(q, a.site, &conn[opening++]);
    }
    assert_int_equal(opening, 10); /* a quarter */
    add(q, 9999, "alive", "s", now);
    struct queue_conn alive;
    open_one(q, &alive, now);
    assert_true(alive.site == queue_site_find(q, span_str("alive")));
    queue_conn_failed(q, &conn[0], SPAN_LIT("timed out"), now);
    expect(q, QUEUE_ACTION_OPEN_CONNECTION, now);
    expect_nothing(q, now);
    queue_free(q);
}

static void on_gone(void *ctx, struct queue_site *site, void *data)
{
    assert_true(span_eq(queue_site_key(site), span_str("a")));
    assert_ptr_equal(data, ctx);
    ++*(int *)ctx;
}

static void a_site_is_forgotten_when_nothing_is_left(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    int gone = 0;
    queue_on_site_gone(q, on_gone, &gone);
    add(q, 1, "a", "s", T0);
    queue_site_set_data(queue_site_find(q, span_str("a")), &gone);
    open_one(q, &conn, T0);
    queue_done(q, queue_take(q, &conn, T0));
    queue_conn_success(q, &conn, T0);
    expect_nothing(q, T0);
    assert_int_equal(gone, 0); /* a connection is there */
    assert_null(queue_take(q, &conn, T0));
    queue_conn_closed(q, &conn, SPAN_LIT(""), T0);
    assert_int_equal(gone, 0); /* only in queue_poll */
    expect_nothing(q, T0);
    assert_int_equal(gone, 1);
    queue_free(q);
    assert_int_equal(gone, 1);
}

static void what_was_learned_is_kept_for_a_while(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    c.down_after = 1;
    c.sites_kept_max = 100;
    struct queue *q = queue_new(&c, T0);
    struct queue_totals t;
    char site[16];
    struct queue_item *item = add(q, 1, "a", "s", T0);
    fail_one(q, "451 4.4.1 refused", T0);
    queue_remove(q, item);
    expect_nothing(q, T0);
    assert_true(site_state(q, "a").down);
    item = add(q, 2, "a", "s", T0 + MINUTE); /* a new message does not make it be tried at once */
    expect_nothing(q, T0 + MINUTE);
    assert_int_equal(site_state(q, "a").next_try_ms, T0 + 5 * MINUTE);
    queue_remove(q, item);
    int64_t over = queue_next_wake_ms(q, T0 + MINUTE);
    assert_in_range(over, T0 + MINUTE + 1, T0 + MINUTE + c.sites_kept_ms);
    expect_nothing(q, T0 + MINUTE + c.sites_kept_ms);
    assert_null(queue_site_find(q, span_str("a")));

    int64_t now = T0 + 3 * HOUR; /* and only of so many */
    for (uint64_t id = 1; id <= 300; id++) {
        snprintf(site, sizeof site, "d%d", (int)id);
        item = add(q, id, site, "s", now);
        fail_one(q, "x", now);
        queue_remove(q, item);
    }
    while (queue_next_wake_ms(q, now) <= now)
        expect_nothing(q, now);
    queue_totals(q, &t);
    assert_int_equal(t.sites, 100);
    assert_int_equal(t.sites_down, 100);
    assert_non_null(queue_site_find(q, span_str("d300")));
    assert_null(queue_site_find(q, span_str("d200")));
    queue_free(q);
}

static void a_cancelled_one_teaches_nothing(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn;
    add(q, 1, "a", "s", T0);
    queue_conn_init(q, expect(q, QUEUE_ACTION_OPEN_CONNECTION, T0).site, &conn);
    queue_conn_cancelled(q, &conn, T0);
    assert_int_equal(site_state(q, "a").failures, 0);
    assert_int_equal(site_state(q, "a").last_error_ms, 0);
    open_one(q, &conn, T0);
    queue_free(q);
}

static void a_long_reason_is_cut(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    char why[4000];
    struct queue_conn conn;
    memset(why, 'x', sizeof why);
    add(q, 1, "a", "s", T0);
    queue_conn_init(q, expect(q, QUEUE_ACTION_OPEN_CONNECTION, T0).site, &conn);
    queue_conn_failed(q, &conn, span_of(why, sizeof why), T0);
    assert_int_equal(site_state(q, "a").last_error.n, QUEUE_ERROR_MAX);
    queue_free(q);
}

static void new_limits_on_reload(void **state)
{
    (void)state;
    struct queue_config c = config_plain();
    c.conns_start = 8;
    struct queue *q = queue_new(&c, T0);
    struct queue_conn conn[8];
    for (uint64_t id = 1; id <= 100; id++)
        add(q, id, "a", "s", T0);
    for (int i = 0; i < 8; i++) {
        open_one(q, &conn[i], T0);
        assert_non_null(queue_take(q, &conn[i], T0));
        queue_conn_success(q, &conn[i], T0);
    }
    c.conns_max = 3;
    c.expire_ms = HOUR;
    c.delay_notice_ms = 0;
    queue_reconfigure(q, &c, T0);
    int open = 0;
    for (int i = 0; i < 8; i++) {
        if (queue_take(q, &conn[i], T0) != NULL) {
            open++;
        } else {
            expect(q, QUEUE_ACTION_CLOSE_CONNECTION, T0);
            queue_conn_closed(q, &conn[i], SPAN_LIT(""), T0);
        }
    }
    assert_int_equal(open, 3);
    expect(q, QUEUE_ACTION_EXPIRE, T0 + HOUR);
    queue_free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_no_more_than_there_is_work_for),
        cmocka_unit_test(a_dead_site_is_probed_by_one_connection),
        cmocka_unit_test(an_operator_can_have_it_probed_now),
        cmocka_unit_test(hanging_up_counts_as_a_failure),
        cmocka_unit_test(grows_by_about_one_per_limit_successes),
        cmocka_unit_test(does_not_grow_where_it_does_not_hold_back),
        cmocka_unit_test(trouble_halves_and_surplus_is_closed),
        cmocka_unit_test(a_sites_own_maximum),
        cmocka_unit_test(the_worker_shares_its_places),
        cmocka_unit_test(dead_sites_do_not_take_all_places),
        cmocka_unit_test(a_site_is_forgotten_when_nothing_is_left),
        cmocka_unit_test(what_was_learned_is_kept_for_a_while),
        cmocka_unit_test(a_cancelled_one_teaches_nothing),
        cmocka_unit_test(a_long_reason_is_cut),
        cmocka_unit_test(new_limits_on_reload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
