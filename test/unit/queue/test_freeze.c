/* Frozen senders: nothing of theirs is offered, expires or is told of, and nobody else notices. */
#include "test/unit/queue/fixture.h"

struct frozen {
    const char *sender, *tenant;
};

static bool is_frozen_cb(void *ctx, struct span sender, struct span tenant)
{
    const struct frozen *f = ctx;
    return (f->sender != NULL && span_eq(sender, span_str(f->sender))) ||
           (f->tenant != NULL && span_eq(tenant, span_str(f->tenant)));
}

static struct queue_item *add_of(struct queue *q, uint64_t id, const char *sender, const char *tenant,
                                 int64_t now)
{
    uint32_t rcpt = 0;
    struct queue_item_info info = { .id = id,
                                    .site = SPAN_LIT("example.net"),
                                    .sender = span_str(sender),
                                    .tenant = span_str(tenant),
                                    .arrival_ms = now,
                                    .nrcpts = 1,
                                    .rcpts = &rcpt };
    struct queue_item *item = queue_add(q, &info, now);
    assert_non_null(item);
    return item;
}

static struct queue *start(struct frozen *f)
{
    struct queue_config c = config_plain();
    struct queue *q = queue_new(&c, T0);
    assert_non_null(q);
    queue_on_frozen(q, is_frozen_cb, f);
    return q;
}

/* Between two takes of one connection. */
static void test_not_offered(void **state)
{
    (void)state;
    struct frozen f = { 0 };
    struct queue *q = start(&f);
    struct queue_conn conn;
    for (uint64_t id = 1; id <= 4; id++)
        add_of(q, id, id % 2 == 1 ? "anna" : "bob", "t", T0);
    open_one(q, &conn, T0);
    struct queue_item *first = queue_take(q, &conn, T0);
    assert_int_equal(queue_item_id(first), 1);
    f.sender = "anna";
    queue_frozen_changed(q, T0);
    assert_int_equal(view(q, first).state, QUEUE_STATE_IN_FLIGHT); /* the attempt under way goes on */
    queue_defer(q, first, NULL, 0, 0, T0);
    for (uint64_t id = 2; id <= 4; id += 2) {
        struct queue_item *item = queue_take(q, &conn, T0);
        assert_int_equal(queue_item_id(item), id);
        queue_done(q, item);
    }
    assert_null(queue_take(q, &conn, T0));
    expect_nothing(q, T0 + HOUR); /* the deferred one has become due meanwhile */
    assert_true(view(q, first).frozen);
    assert_int_equal(view(q, first).state, QUEUE_STATE_READY);
    assert_int_equal(queue_next_wake_ms(q, T0 + HOUR), INT64_MAX);

    f.sender = NULL;
    queue_frozen_changed(q, T0 + HOUR);
    struct queue_action a = expect(q, QUEUE_ACTION_USE_CONNECTION, T0 + HOUR);
    assert_ptr_equal(a.conn, &conn);
    for (int i = 0; i < 2; i++)
        queue_done(q, queue_take(q, &conn, T0 + HOUR));
    assert_null(queue_take(q, &conn, T0 + HOUR));
    queue_conn_closed(q, &conn, SPAN_LIT(""), T0 + HOUR);
    queue_free(q);
}

/* A tenant's senders, those that come later too; no connection is opened for them. */
static void test_tenant(void **state)
{
    (void)state;
    struct frozen f = { .tenant = "shop" };
    struct queue *q = start(&f);
    struct queue_conn conn;
    add_of(q, 1, "a@shop", "shop", T0);
    add_of(q, 2, "b@shop", "shop", T0);
    expect_nothing(q, T0);
    add_of(q, 3, "c@other", "other", T0);
    open_one(q, &conn, T0);
    struct queue_item *item = queue_take(q, &conn, T0);
    assert_int_equal(queue_item_id(item), 3);
    queue_done(q, item);
    assert_null(queue_take(q, &conn, T0));
    assert_int_equal(site_state(q, "example.net").counts.state[QUEUE_STATE_READY], 2);
    assert_int_equal(queue_remove(q, queue_find(q, 1)), 0); /* an operator may still end it */
    queue_hold(q, queue_find(q, 2));
    queue_release(q, queue_find(q, 2), T0);
    expect_nothing(q, T0);
    assert_int_equal(queue_remove(q, queue_find(q, 2)), 0);
    queue_conn_closed(q, &conn, SPAN_LIT(""), T0);
    queue_free(q);
}

/* While frozen nothing expires or is told of; after it there is time for a try. */
static void test_age(void **state)
{
    (void)state;
    struct frozen f = { 0 };
    struct queue_config c = config_plain();
    c.expire_grace_ms = 15 * MINUTE;
    struct queue *q = queue_new(&c, T0);
    queue_on_frozen(q, is_frozen_cb, &f);
    struct queue_item *item = add_of(q, 1, "anna", "t", T0);
    f.sender = "anna";
    queue_frozen_changed(q, T0);
    int64_t late = T0 + c.expire_ms + HOUR;
    expect_nothing(q, T0 + c.delay_notice_ms + HOUR);
    expect_nothing(q, late);
    f.sender = NULL;
    queue_frozen_changed(q, late);
    struct queue_conn conn;
    open_one(q, &conn, late);
    assert_ptr_equal(queue_take(q, &conn, late), item);
    queue_defer(q, item, NULL, 0, 0, late);
    queue_conn_closed(q, &conn, SPAN_LIT(""), late);
    bool expired = false, opening = false;
    struct queue_action a;
    for (int64_t now = late; now <= late + HOUR; now += MINUTE)
        while (queue_poll(q, now, &a)) {
            if (a.kind == QUEUE_ACTION_OPEN_CONNECTION) {
                queue_conn_init(q, a.site, &conn); /* and never gets through */
                opening = true;
            }
            if (a.kind == QUEUE_ACTION_EXPIRE) {
                assert_true(now >= late + c.expire_grace_ms);
                queue_done(q, a.item);
                expired = true;
            }
        }
    assert_true(opening);
    queue_conn_cancelled(q, &conn, late + HOUR);
    assert_true(expired);
    queue_free(q);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_offered),
        cmocka_unit_test(test_tenant),
        cmocka_unit_test(test_age),
    };
    return cmocka_run_group_tests_name("queue_freeze", tests, NULL, NULL);
}
