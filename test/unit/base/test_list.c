/* base/list: order, removal anywhere, splicing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/list.h"

struct item {
    int n;
    struct list link;
};

static void expect(struct list *head, const int *want, size_t n)
{
    size_t i = 0;
    LIST_EACH(at, head)
    {
        assert_true(i < n);
        assert_int_equal(LIST_ITEM(at, struct item, link)->n, want[i++]);
        assert_ptr_equal(at->next->prev, at);
    }
    assert_int_equal(i, n);
}

static void test_order(void **state)
{
    (void)state;
    struct item items[4] = { { .n = 0 }, { .n = 1 }, { .n = 2 }, { .n = 3 } };
    struct list head;
    list_init(&head);
    assert_true(list_empty(&head));
    assert_null(list_first(&head));
    assert_null(list_pop_front(&head));
    list_push_back(&head, &items[1].link);
    list_push_back(&head, &items[2].link);
    list_push_front(&head, &items[0].link);
    list_push_back(&head, &items[3].link);
    expect(&head, (int[]){ 0, 1, 2, 3 }, 4);
    list_remove(&items[1].link);
    assert_false(list_linked(&items[1].link));
    list_remove(&items[1].link); /* harmless */
    expect(&head, (int[]){ 0, 2, 3 }, 3);
    assert_ptr_equal(list_pop_front(&head), &items[0].link);
    assert_false(list_linked(&items[0].link));
    list_push_back(&head, &items[0].link);
    expect(&head, (int[]){ 2, 3, 0 }, 3);
}

static void test_splice(void **state)
{
    (void)state;
    struct item items[5] = { { .n = 0 }, { .n = 1 }, { .n = 2 }, { .n = 3 }, { .n = 4 } };
    struct list a, b;
    list_init(&a);
    list_init(&b);
    list_splice(&a, &b);
    assert_true(list_empty(&a));
    for (int i = 0; i < 5; i++)
        list_push_back(i < 2 ? &a : &b, &items[i].link);
    list_splice(&a, &b);
    expect(&a, (int[]){ 0, 1, 2, 3, 4 }, 5);
    assert_true(list_empty(&b));
    list_splice(&b, &a);
    expect(&b, (int[]){ 0, 1, 2, 3, 4 }, 5);
    assert_true(list_empty(&a));
}

static void test_removal_while_walking(void **state)
{
    (void)state;
    struct item items[6] = { { .n = 0 }, { .n = 1 }, { .n = 2 }, { .n = 3 }, { .n = 4 }, { .n = 5 } };
    struct list head;
    list_init(&head);
    for (int i = 0; i < 6; i++)
        list_push_back(&head, &items[i].link);
    LIST_EACH_SAFE(at, &head)
    {
        if (LIST_ITEM(at, struct item, link)->n % 2 == 0)
            list_remove(at);
    }
    expect(&head, (int[]){ 1, 3, 5 }, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_splice),
        cmocka_unit_test(test_removal_while_walking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
