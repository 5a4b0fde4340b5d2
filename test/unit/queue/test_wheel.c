/* The wheel against a plain array: everything fires at its tick, nothing early, nothing lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/queue/wheel.h"

#include <stdlib.h>

struct object {
    struct wheel_link link;
    uint32_t due;
    uint32_t moves;
    bool in;
};

#define N 2000

struct fixture {
    struct pool pool;
    struct wheel wheel;
    uint32_t handle[N];
};

static struct object *at(struct fixture *f, uint32_t handle)
{
    return pool_at(&f->pool, handle);
}

static void put(struct fixture *f, uint32_t handle, uint32_t due)
{
    struct object *o = at(f, handle);
    o->due = due;
    o->in = true;
    o->moves = 0;
    wheel_add(&f->wheel, handle, due);
}

/* Runs the wheel to `now`; checks that exactly those due came out. */
static uint32_t run(struct fixture *f, uint32_t now)
{
    uint32_t fired = 0, handle;
    while ((handle = wheel_pop(&f->wheel, now)) != 0) {
        struct object *o = at(f, handle);
        assert_true(o->in);
        if (o->due > now || o->due > f->wheel.now) {
            assert_in_range(++o->moves, 1, WHEEL_LEVELS);
            wheel_add(&f->wheel, handle, o->due);
            continue;
        }
        assert_int_equal(o->due, f->wheel.now);
        o->in = false;
        fired++;
    }
    assert_int_equal(f->wheel.now, now);
    for (uint32_t i = 0; i < N; i++)
        if (f->handle[i] != 0 && at(f, f->handle[i])->in)
            assert_true(at(f, f->handle[i])->due > now);
    return fired;
}

static void setup(struct fixture *f, uint32_t now)
{
    *f = (struct fixture){ 0 };
    pool_init(&f->pool, sizeof(struct object));
    for (uint32_t i = 0; i < N; i++)
        pool_alloc(&f->pool, &f->handle[i]);
    wheel_init(&f->wheel, &f->pool, offsetof(struct object, link), now);
}

static void fires_at_the_tick_over_all_ranges(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 1000000);
    srand(2);
    uint32_t now = 1000000, in = 0, fired = 0;
    for (uint32_t i = 0; i < N; i++) {
        uint32_t span = 1u << (rand() % 31);
        put(&f, f.handle[i], now + (uint32_t)rand() % span);
        in++;
    }
    while (fired < in) {
        uint64_t next = wheel_next(&f.wheel);
        assert_true(next != WHEEL_NEVER);
        assert_true(next >= now);
        now = (uint32_t)next;
        fired += run(&f, now);
    }
    assert_true(wheel_next(&f.wheel) == WHEEL_NEVER);
    pool_fini(&f.pool);
}

static void random_steps_adds_and_removals(void **state)
{
    (void)state;
    struct fixture f;
    uint32_t now = 0x3fffffffu - 5000; /* digits of every level turn over */
    setup(&f, now);
    srand(3);
    for (int i = 0; i < 20000; i++) {
        uint32_t k = f.handle[(uint32_t)rand() % N];
        switch (rand() % 4) {
        case 0:
            if (at(&f, k)->in) {
                wheel_remove(&f.wheel, k);
                at(&f, k)->in = false;
            }
            break;
        case 1:
            now += (uint32_t)rand() % (1u << (rand() % 12));
            run(&f, now);
            break;
        default:
            if (!at(&f, k)->in)
                put(&f, k, now + (uint32_t)rand() % (1u << (rand() % 24)));
        }
    }
    pool_fini(&f.pool);
}

static void what_is_past_is_due_now(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 500);
    wheel_add(&f.wheel, f.handle[0], 3);
    assert_int_equal(wheel_next(&f.wheel), 500);
    assert_int_equal(wheel_pop(&f.wheel, 499), f.handle[0]); /* asked with an older time */
    assert_int_equal(wheel_pop(&f.wheel, 500), 0);
    pool_fini(&f.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_at_the_tick_over_all_ranges),
        cmocka_unit_test(random_steps_adds_and_removals),
        cmocka_unit_test(what_is_past_is_due_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
