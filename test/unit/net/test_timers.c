/* Many deadlines on one libuv timer, against a plain list of what should have fired. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/net/timers.h"

#include <stdlib.h>

struct fixture {
    uv_loop_t loop;
    struct timers timers;
};

struct item {
    struct timer t;
    int fired;
    int64_t fired_ms;
    struct item *other;
};

static void fired_cb(struct timer *t)
{
    struct item *it = TIMER_ITEM(t, struct item, t);
    it->fired++;
    it->fired_ms = timers_now_ms(t->timers);
}

static void setup(struct fixture *f)
{
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(timers_init(&f->timers, &f->loop), 0);
}

static void closed_cb(void *ctx)
{
    *(bool *)ctx = true;
}

static void teardown(struct fixture *f)
{
    bool closed = false;
    timers_close(&f->timers, closed_cb, &closed);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_true(closed);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

static void test_order(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    struct item items[5] = { 0 };
    static const int64_t delay[] = { 30, 10, 0, 20, -5 };
    for (int i = 0; i < 5; i++) {
        assert_int_equal(timer_init(&items[i].t, &f.timers, fired_cb), 0);
        assert_false(timer_is_set(&items[i].t));
        timer_set(&items[i].t, delay[i]);
        assert_true(timer_is_set(&items[i].t));
    }
    int64_t start = timers_now_ms(&f.timers);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(items[i].fired, 1);
        assert_false(timer_is_set(&items[i].t));
        int64_t late = items[i].fired_ms - start - (delay[i] < 0 ? 0 : delay[i]);
        assert_true(late >= 0);
        timer_fini(&items[i].t);
        timer_fini(&items[i].t);
    }
    assert_true(items[2].fired_ms <= items[1].fired_ms && items[1].fired_ms <= items[3].fired_ms &&
                items[3].fired_ms <= items[0].fired_ms);
    teardown(&f);
}

/* Moved later, moved earlier, stopped, and gone: only what is still set fires, and nothing keeps the loop
 * alive. */
static void test_move(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    struct item later = { 0 };
    struct item sooner = { 0 };
    struct item stopped = { 0 };
    struct item gone = { 0 };
    assert_int_equal(timer_init(&later.t, &f.timers, fired_cb), 0);
    assert_int_equal(timer_init(&sooner.t, &f.timers, fired_cb), 0);
    assert_int_equal(timer_init(&stopped.t, &f.timers, fired_cb), 0);
    assert_int_equal(timer_init(&gone.t, &f.timers, fired_cb), 0);
    int64_t start = timers_now_ms(&f.timers);
    timer_set(&later.t, 5);
    timer_set(&later.t, 40);
    timer_set(&sooner.t, 3600 * 1000);
    timer_set(&sooner.t, 10);
    timer_set(&stopped.t, 5);
    timer_stop(&stopped.t);
    timer_set(&gone.t, 3600 * 1000);
    timer_fini(&gone.t);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    assert_int_equal(later.fired, 1);
    assert_true(later.fired_ms - start >= 40);
    assert_int_equal(sooner.fired, 1);
    assert_true(sooner.fired_ms - start >= 10);
    assert_true(sooner.fired_ms < later.fired_ms);
    assert_int_equal(stopped.fired, 0);
    assert_int_equal(gone.fired, 0);
    timer_fini(&later.t);
    timer_fini(&sooner.t);
    timer_fini(&stopped.t);
    teardown(&f);
}

static void again_cb(struct timer *t)
{
    struct item *it = TIMER_ITEM(t, struct item, t);
    if (++it->fired < 100)
        timer_set(t, 0);
    else
        timer_fini(t);
}

static void kill_other_cb(struct timer *t)
{
    struct item *it = TIMER_ITEM(t, struct item, t);
    it->fired++;
    timer_fini(&it->other->t);
    timer_fini(t);
}

static void count_prepare(uv_prepare_t *p)
{
    ++*(int *)p->data;
}

static void test_inside(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    /* one that sets itself again with no delay does not starve the loop */
    struct item again = { 0 };
    int turns = 0;
    uv_prepare_t prepare;
    uv_prepare_init(&f.loop, &prepare);
    prepare.data = &turns;
    uv_prepare_start(&prepare, count_prepare);
    uv_unref((uv_handle_t *)&prepare);
    assert_int_equal(timer_init(&again.t, &f.timers, again_cb), 0);
    timer_set(&again.t, 0);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    assert_int_equal(again.fired, 100);
    assert_true(turns >= 99);
    /* whichever of two comes first takes the other one away */
    struct item a = { 0 };
    struct item b = { 0 };
    a.other = &b;
    b.other = &a;
    assert_int_equal(timer_init(&a.t, &f.timers, kill_other_cb), 0);
    assert_int_equal(timer_init(&b.t, &f.timers, kill_other_cb), 0);
    timer_set(&a.t, 1);
    timer_set(&b.t, 1);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    assert_int_equal(a.fired + b.fired, 1);
    uv_close((uv_handle_t *)&prepare, NULL);
    teardown(&f);
}

static void test_random(void **state)
{
    (void)state;
    enum { N = 500 };
    struct fixture f;
    setup(&f);
    struct item *items = calloc(N, sizeof *items);
    int64_t *due = calloc(N, sizeof *due);
    assert_non_null(items);
    assert_non_null(due);
    uint32_t rng = 7;
    int64_t now = timers_now_ms(&f.timers);
    for (int i = 0; i < N; i++)
        assert_int_equal(timer_init(&items[i].t, &f.timers, fired_cb), 0);
    for (int i = 0; i < 20 * N; i++) {
        rng = rng * 1664525u + 1013904223u;
        int at = (int)((rng >> 8) % N);
        int64_t delay = (rng >> 20) % 60;
        if (rng >> 30 == 0) {
            timer_stop(&items[at].t);
            due[at] = 0;
        } else {
            timer_set(&items[at].t, delay);
            due[at] = now + delay + 1;
        }
    }
    uv_run(&f.loop, UV_RUN_DEFAULT);
    for (int i = 0; i < N; i++) {
        assert_int_equal(items[i].fired, due[i] != 0);
        if (due[i] != 0)
            assert_true(items[i].fired_ms >= due[i] - 1);
        timer_fini(&items[i].t);
    }
    free(items);
    free(due);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_inside),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
