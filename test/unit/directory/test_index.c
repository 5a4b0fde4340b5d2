/* The sorted index against a plain sorted array. */
#include "consensus/directory_index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ITEMS 3000

struct item {
    struct store_rec rec;
    char name[72];
    bool in;
};

static struct span item_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return span_str(((const struct item *)rec)->name);
}

static const struct store_type type = { .id = 1, .name = "item", .key = item_key };
static struct item items[ITEMS];

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct item *)a)->name, ((const struct item *)b)->name);
}

/* Sorted. Also names that others begin with, long common beginnings, and bytes above 127. */
static void setup(int kind)
{
    for (unsigned i = 0; i < ITEMS; i++) {
        items[i] = (struct item){ .in = false };
        if (kind == 0)
            snprintf(items[i].name, sizeof items[i].name, "%05u%s", i, i % 3 == 0 ? "x" : "");
        else if (kind == 1 && i < 60)
            memset(items[i].name, 'a', i + 1);
        else
            snprintf(items[i].name, sizeof items[i].name, "%.*s%c%x", (int)(i % 50),
                     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", i % 7 == 0 ? 0xe4 : 'b', i);
    }
    qsort(items, ITEMS, sizeof items[0], by_name);
}

static void check(const struct directory_index *ix, unsigned from)
{
    struct directory_place at =
        directory_index_after(ix, from == 0 ? (struct span){ 0 } : span_str(items[from - 1].name));
    for (unsigned i = from; i < ITEMS; i++)
        if (items[i].in)
            assert_ptr_equal(directory_index_next(ix, &at), &items[i].rec);
    assert_null(directory_index_next(ix, &at));
    assert_null(directory_index_next(ix, &at));
}

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return *seed >> 8;
}

static void test_like_an_array(void **state)
{
    int kind = *(int *)*state;
    setup(kind);
    struct directory_index ix;
    directory_index_init(&ix, &type);
    check(&ix, 0);
    unsigned seed = 1;
    size_t len = 0;
    for (unsigned step = 0; step < 60000; step++) {
        /* It grows, shrinks to almost nothing, and grows again. */
        bool growing = step / 15000 % 2 == 0;
        struct item *it = &items[next_random(&seed) % ITEMS];
        bool add = next_random(&seed) % 10 < (growing ? 8 : 2);
        if (add && !it->in) {
            assert_int_equal(directory_index_add(&ix, &it->rec), 0);
            it->in = true;
            len++;
        } else if (!add && it->in) {
            directory_index_remove(&ix, &it->rec);
            it->in = false;
            len--;
        }
        assert_int_equal(ix.len, len);
        if (step % 500 == 0)
            check(&ix, next_random(&seed) % ITEMS);
    }
    check(&ix, 0);
    directory_index_fini(&ix);
    check(&(struct directory_index){ .type = &type }, ITEMS);
}

/* Names that come in order, or in reverse, fill it as well as others. */
static void test_in_order(void **state)
{
    (void)state;
    for (int reverse = 0; reverse < 2; reverse++) {
        setup(0);
        struct directory_index ix;
        directory_index_init(&ix, &type);
        for (unsigned i = 0; i < ITEMS; i++) {
            struct item *it = &items[reverse ? ITEMS - 1 - i : i];
            assert_int_equal(directory_index_add(&ix, &it->rec), 0);
            it->in = true;
        }
        check(&ix, 0);
        assert_true(ix.nblocks <= (reverse ? ITEMS / 100 : ITEMS / 200));
        for (unsigned i = 0; i < ITEMS; i++) {
            directory_index_remove(&ix, &items[i].rec);
            items[i].in = false;
        }
        assert_int_equal(ix.nblocks, 0);
        directory_index_fini(&ix);
    }
}

static void test_replace(void **state)
{
    (void)state;
    setup(0);
    struct directory_index ix;
    directory_index_init(&ix, &type);
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(directory_index_add(&ix, &items[i].rec), 0);
        items[i].in = true;
    }
    struct item other = items[777];
    directory_index_replace(&ix, &items[777].rec, &other.rec);
    struct directory_place at = directory_index_after(&ix, span_str(items[776].name));
    assert_ptr_equal(directory_index_next(&ix, &at), &other.rec);
    assert_ptr_equal(directory_index_next(&ix, &at), &items[778].rec);
    directory_index_replace(&ix, &other.rec, &items[777].rec);
    check(&ix, 0);
    directory_index_fini(&ix);
}

int main(void)
{
    static int kinds[] = { 0, 1 };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_like_an_array, &kinds[0]),
        cmocka_unit_test_prestate(test_like_an_array, &kinds[1]),
        cmocka_unit_test(test_in_order),
        cmocka_unit_test(test_replace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
