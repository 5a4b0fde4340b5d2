/* Slabs by handle: every handle is given out once, addresses stay, empty slabs go back, lists hold together.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/queue/pool.h"

#include <stdlib.h>
#include <string.h>

struct object {
    uint32_t mark;
    struct pool_link link;
};

#define AT offsetof(struct object, link)

static void gives_each_handle_once_and_zeroed(void **state)
{
    (void)state;
    enum { N = 3 * POOL_SLAB_OBJECTS };
    static struct object *at[N];
    static uint32_t handle[N];
    struct pool p;
    pool_init(&p, sizeof(struct object));
    for (uint32_t i = 0; i < N; i++) {
        at[i] = pool_alloc(&p, &handle[i]);
        assert_non_null(at[i]);
        assert_int_not_equal(handle[i], 0);
        assert_int_equal(at[i]->mark, 0);
        at[i]->mark = i + 1;
    }
    for (uint32_t i = 0; i < N; i++) {
        assert_ptr_equal(pool_at(&p, handle[i]), at[i]);
        assert_int_equal(at[i]->mark, i + 1);
    }
    assert_int_equal(p.used, N);
    uint32_t seen = 0;
    for (uint32_t h = pool_next(&p, 0); h != 0; h = pool_next(&p, h))
        seen++;
    assert_int_equal(seen, N);

    pool_free(&p, handle[7]);
    uint32_t again;
    struct object *o = pool_alloc(&p, &again);
    assert_non_null(o);
    assert_int_equal(o->mark, 0);
    pool_fini(&p);
}

static void gives_empty_slabs_back(void **state)
{
    (void)state;
    enum { N = 8 * POOL_SLAB_OBJECTS };
    static uint32_t handle[N];
    struct pool p;
    pool_init(&p, sizeof(struct object));
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < N; i++)
            assert_non_null(pool_alloc(&p, &handle[i]));
        assert_in_range(p.live, 8, 9);
        for (uint32_t i = 0; i < N; i++)
            pool_free(&p, handle[i]);
        assert_int_equal(p.used, 0);
        assert_in_range(p.live, 1, 2);
        assert_int_equal(pool_next(&p, 0), 0);
    }
    assert_in_range(p.nslabs, 8, 9); /* places in the table are used again */
    pool_fini(&p);
}

static void random_use_keeps_the_walk_right(void **state)
{
    (void)state;
    enum { N = 10000 };
    static uint32_t handle[N];
    uint32_t used = 0;
    struct pool p;
    pool_init(&p, sizeof(struct object));
    srand(1);
    for (int i = 0; i < 200000; i++) {
        uint32_t k = (uint32_t)rand() % N;
        if (handle[k] != 0) {
            assert_int_equal(((struct object *)pool_at(&p, handle[k]))->mark, k);
            pool_free(&p, handle[k]);
            handle[k] = 0;
            used--;
        } else {
            struct object *o = pool_alloc(&p, &handle[k]);
            o->mark = k;
            used++;
        }
    }
    uint32_t seen = 0, last = 0;
    for (uint32_t h = pool_next(&p, 0); h != 0; h = pool_next(&p, h), seen++) {
        assert_true(h > last);
        assert_int_equal(handle[((struct object *)pool_at(&p, h))->mark], h);
        last = h;
    }
    assert_int_equal(seen, used);
    assert_int_equal(p.used, used);
    pool_fini(&p);
}

static void lists_keep_order(void **state)
{
    (void)state;
    struct pool p;
    struct pool_list l = { 0 };
    uint32_t h[5];
    pool_init(&p, sizeof(struct object));
    for (uint32_t i = 0; i < 5; i++)
        ((struct object *)pool_alloc(&p, &h[i]))->mark = i;
    pool_list_push_back(&p, &l, AT, h[1]);
    pool_list_push_back(&p, &l, AT, h[2]);
    pool_list_push_front(&p, &l, AT, h[0]);
    pool_list_push_back(&p, &l, AT, h[3]);
    pool_list_remove(&p, &l, AT, h[2]);
    pool_list_push_back(&p, &l, AT, h[4]);
    pool_list_remove(&p, &l, AT, h[0]);
    pool_list_remove(&p, &l, AT, h[4]);
    assert_int_equal(l.first, h[1]);
    assert_int_equal(((struct object *)pool_at(&p, h[1]))->link.next, h[3]);
    assert_int_equal(l.last, h[3]);
    pool_list_remove(&p, &l, AT, h[1]);
    pool_list_remove(&p, &l, AT, h[3]);
    assert_int_equal(l.first, 0);
    assert_int_equal(l.last, 0);
    pool_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_each_handle_once_and_zeroed),
        cmocka_unit_test(gives_empty_slabs_back),
        cmocka_unit_test(random_use_keeps_the_walk_right),
        cmocka_unit_test(lists_keep_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
