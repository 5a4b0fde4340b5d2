/* base/cond: a wait ends at its time by the monotonic clock, or earlier when woken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/cond.h"

#include <errno.h>
#include <stdbool.h>

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool open;
};

static int setup(void **state)
{
    static struct gate g;
    g = (struct gate){ .open = false };
    pthread_mutex_init(&g.lock, NULL);
    cond_init(&g.cond);
    *state = &g;
    return 0;
}

static int teardown(void **state)
{
    struct gate *g = *state;
    pthread_cond_destroy(&g->cond);
    pthread_mutex_destroy(&g->lock);
    return 0;
}

/* True: opened before the time was over. */
static bool wait_for(struct gate *g, int64_t until_ns)
{
    pthread_mutex_lock(&g->lock);
    int err = 0;
    while (!g->open && err != ETIMEDOUT)
        err = cond_wait_until(&g->cond, &g->lock, until_ns);
    bool open = g->open;
    pthread_mutex_unlock(&g->lock);
    return open;
}

static void test_times_out(void **state)
{
    static const int64_t waits_ns[] = { 0, 1, 30000000, -1000000 };
    for (size_t i = 0; i < sizeof waits_ns / sizeof *waits_ns; i++) {
        int64_t until = clock_mono_ns() + waits_ns[i];
        assert_false(wait_for(*state, until));
        assert_true(clock_mono_ns() >= until);
    }
}

static void *open_gate(void *arg)
{
    struct gate *g = arg;
    pthread_mutex_lock(&g->lock);
    g->open = true;
    pthread_cond_signal(&g->cond);
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

static void test_woken(void **state)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, open_gate, *state), 0);
    assert_true(wait_for(*state, clock_mono_ns() + INT64_C(60000000000)));
    pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_times_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_woken, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
