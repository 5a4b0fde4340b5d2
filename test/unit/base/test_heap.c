/* base/heap: against a plain search for the minimum, over many random operations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/heap.h"

#include <stdlib.h>

#define NODES 300

static struct heap_node *least(struct heap_node *nodes, size_t n)
{
    struct heap_node *best = NULL;
    for (size_t i = 0; i < n; i++)
        if (heap_linked(&nodes[i]) && (best == NULL || nodes[i].key < best->key))
            best = &nodes[i];
    return best;
}

static void check(const struct heap *h, struct heap_node *nodes)
{
    const struct heap_node *best = least(nodes, NODES);
    const struct heap_node *first = heap_first(h);
    assert_int_equal(best == NULL, first == NULL);
    if (best != NULL)
        assert_true(first->key == best->key);
    for (uint32_t i = 0; i < h->len; i++)
        assert_int_equal(h->nodes[i]->pos, i + 1);
}

static void test_random_operations(void **state)
{
    (void)state;
    static struct heap_node nodes[NODES];
    struct heap h;
    heap_init(&h);
    srand(7);
    for (int step = 0; step < 30000; step++) {
        struct heap_node *node = &nodes[rand() % NODES];
        int64_t key = rand() % 50 - 25; /* many ties, and negative ones */
        switch (rand() % 3) {
        case 0:
            if (!heap_linked(node))
                assert_int_equal(heap_add(&h, node, key), 0);
            break;
        case 1:
            heap_remove(&h, node); /* in it or not */
            assert_false(heap_linked(node));
            break;
        default:
            if (heap_linked(node))
                heap_move(&h, node, key);
            break;
        }
        if (step % 10 == 0)
            check(&h, nodes);
    }
    heap_fini(&h);
}

static void test_drains_in_order(void **state)
{
    (void)state;
    static struct heap_node nodes[1000];
    struct heap h;
    heap_init(&h);
    assert_null(heap_first(&h));
    for (int i = 0; i < 1000; i++)
        assert_int_equal(heap_add(&h, &nodes[i], (i * 7919) % 1000), 0);
    for (int i = 0; i < 1000; i++) {
        struct heap_node *first = heap_first(&h);
        assert_non_null(first);
        assert_int_equal(first->key, i);
        heap_remove(&h, first);
    }
    assert_null(heap_first(&h));
    heap_fini(&h);
}

static void test_extreme_keys(void **state)
{
    (void)state;
    struct heap_node low = { 0 }, high = { 0 }, zero = { 0 };
    struct heap h;
    heap_init(&h);
    heap_add(&h, &high, INT64_MAX);
    heap_add(&h, &low, INT64_MIN);
    heap_add(&h, &zero, 0);
    assert_ptr_equal(heap_first(&h), &low);
    heap_move(&h, &low, INT64_MAX);
    assert_ptr_equal(heap_first(&h), &zero);
    heap_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_operations),
        cmocka_unit_test(test_drains_in_order),
        cmocka_unit_test(test_extreme_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
