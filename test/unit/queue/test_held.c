/* Held items: what is told of them, how long they stay, and the life that begins with their release. */
#include "test/unit/queue/fixture.h"

#include "base/err.h"

struct count {
    int items;
    int64_t recipients;
};

static void on_held_cb(void *ctx, const struct queue_item_view *v, int by)
{
    struct count *c = ctx;
    c->items += by;
    c->recipients += by * (int64_t)v->nrcpts;
    assert_int_equal(v->state, QUEUE_STATE_HELD);
}

static struct queue_item *add_held(struct queue *q, uint64_t id, uint32_t n, int64_t since)
{
    static const uint32_t rcpts[] = { 0, 1, 2, 3 };
    struct queue_item_info info = { .id = id,
                                    .site = SPAN_LIT("example.net"),
                                    .sender = SPAN_LIT("anna"),
                                    .arrival_ms = T0 - HOUR,
                                    .next_ms = since,
                                    .held = true,
                                    .nrcpts = n,
                                    .rcpts = rcpts };
    struct queue_item *item = queue_add(q, &info, T0);
    assert_non_null(item);
    return item;
}

static void test_told(void **state)
{
    (void)state;
    struct count c = { 0 };
    struct queue_config config = config_plain();
    struct queue *q = queue_new(&config, T0);
    queue_on_held(q, on_held_cb, &c);
    struct queue_item *a = add_held(q, 1, 4, 0), *b = add(q, 2, "example.net", "anna", T0);
    assert_true(c.items == 1 && c.recipients == 4);
    queue_hold(q, b);
    queue_hold(q, b); /* once is enough */
    assert_true(c.items == 2 && c.recipients == 5);
    queue_release(q, a, T0);
    assert_true(c.items == 1 && c.recipients == 1);
    struct queue_conn conn;
    open_one(q, &conn, T0);
    assert_ptr_equal(queue_take(q, &conn, T0), a);
    queue_hold(q, a); /* in flight: as soon as it comes back, with what is left of it */
    assert_int_equal(c.items, 1);
    uint32_t left[] = { 1, 3 };
    queue_defer(q, a, left, 2, 0, T0);
    assert_true(c.items == 2 && c.recipients == 3);
    assert_int_equal(queue_remove(q, a), 0);
    assert_int_equal(queue_remove(q, b), 0);
    assert_true(c.items == 0 && c.recipients == 0);
    queue_conn_closed(q, &conn, SPAN_LIT(""), T0);
    queue_free(q);
}

static bool everybody_cb(void *ctx, struct span sender, struct span tenant)
{
    (void)ctx;
    (void)sender;
    (void)tenant;
    return true;
}

/* From when it was held on, frozen or not; what is not held in time is told of as held. */
static void test_expires(void **state)
{
    (void)state;
    struct queue_config config = config_plain();
    config.expire_held_ms = 2 * HOUR;
    for (int frozen = 0; frozen < 2; frozen++) {
        struct queue *q = queue_new(&config, T0);
        if (frozen)
            queue_on_frozen(q, everybody_cb, NULL);
        struct queue_item *born = add_held(q, 1, 1, 0), *later = add_held(q, 2, 1, T0);
        assert_int_equal(view(q, born).held_since_ms, T0 - HOUR);
        expect_nothing(q, T0 + HOUR - 100);
        struct queue_action a = expect(q, QUEUE_ACTION_EXPIRE, T0 + HOUR);
        assert_ptr_equal(a.item, born);
        assert_true(a.held);
        queue_done(q, born);
        expect_nothing(q, T0 + 2 * HOUR - 100);
        assert_ptr_equal(expect(q, QUEUE_ACTION_EXPIRE, T0 + 2 * HOUR).item, later);
        queue_requeue(q, later, T0 + 2 * HOUR); /* could not be recorded: still held, and told of again */
        assert_int_equal(view(q, later).state, QUEUE_STATE_HELD);
        queue_release(q, later, T0 + 2 * HOUR); /* in time after all */
        config.expire_held_ms = 0;
        queue_reconfigure(q, &config, T0 + 2 * HOUR);
        config.expire_held_ms = 2 * HOUR;
        assert_int_equal(view(q, later).state, QUEUE_STATE_READY);
        queue_free(q);
    }
}

/* What was held for longer than mail lives is tried after its release, for as long as new mail. */
static void test_released_anew(void **state)
{
    (void)state;
    struct queue_config config = config_plain();
    config.delay_notice_ms = 0;
    struct queue *q = queue_new(&config, T0);
    int64_t late = T0 + config.expire_ms + 10 * HOUR;
    struct queue_item *item = add_held(q, 1, 1, 0);
    expect_nothing(q, late);
    queue_release(q, item, late);
    assert_true(view(q, item).renewed);
    struct queue_action a;
    int64_t ended = 0;
    for (int64_t now = late; ended == 0 && now <= late + config.expire_ms + HOUR; now += MINUTE)
        while (queue_poll(q, now, &a)) {
            assert_true(a.kind == QUEUE_ACTION_OPEN_CONNECTION || a.kind == QUEUE_ACTION_EXPIRE);
            if (a.kind == QUEUE_ACTION_EXPIRE) {
                assert_false(a.held);
                queue_done(q, a.item);
                ended = now;
                continue;
            }
            struct queue_conn conn;
            queue_conn_init(q, a.site, &conn);
            queue_conn_failed(q, &conn, SPAN_LIT("451 4.4.1 refused"), now);
        }
    assert_int_equal(ended, late + config.expire_ms);
    queue_free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told),
        cmocka_unit_test(test_expires),
        cmocka_unit_test(test_released_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
