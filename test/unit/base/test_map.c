/* base/map: against a plain array; with the worst of hashes too, so that every probe collides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/map.h"

#include <stdlib.h>

#define ITEMS 500

struct item {
    uint64_t key;
    bool in;
};

static uint64_t good_hash(const void *item)
{
    return hash_u64(((const struct item *)item)->key);
}

static uint64_t bad_hash(const void *item)
{
    return ((const struct item *)item)->key % 3 == 0 ? UINT64_MAX : 14; /* wraps around the table's end */
}

static bool match(const void *item, const void *key)
{
    return ((const struct item *)item)->key == *(const uint64_t *)key;
}

static void churn(map_hash_fn *hash, int steps)
{
    static struct item items[ITEMS];
    struct map m;
    map_init(&m, hash, match);
    srand(11);
    size_t len = 0;
    for (int i = 0; i < ITEMS; i++)
        items[i] = (struct item){ .key = (uint64_t)i };
    for (int step = 0; step < steps; step++) {
        /* grows for a while, then shrinks, so that the table is resized both ways */
        int more = step / 2000 % 2 == 0 ? 3 : 1;
        struct item *item = &items[rand() % ITEMS];
        assert_ptr_equal(map_find(&m, hash(item), &item->key), item->in ? item : NULL);
        if (rand() % 4 < more) {
            if (!item->in) {
                assert_int_equal(map_add(&m, hash(item), item), 0);
                item->in = true;
                len++;
            }
        } else {
            assert_int_equal(map_remove(&m, hash(item), item), item->in);
            len -= item->in ? 1 : 0;
            item->in = false;
        }
        assert_int_equal(m.len, len);
        assert_true(m.len * 4 <= m.cap * 3);
    }
    size_t at = 0, seen = 0;
    for (struct item *item; (item = map_next(&m, &at)) != NULL; seen++)
        assert_true(item->in);
    assert_int_equal(seen, len);
    for (int i = 0; i < ITEMS; i++)
        assert_ptr_equal(map_find(&m, hash(&items[i]), &items[i].key), items[i].in ? &items[i] : NULL);
    map_fini(&m);
}

static void test_churn(void **state)
{
    (void)state;
    churn(good_hash, 40000);
}

static void test_churn_with_collisions(void **state)
{
    (void)state;
    churn(bad_hash, 8000);
}

static void test_empty(void **state)
{
    (void)state;
    struct map m;
    struct item item = { .key = 1 };
    map_init(&m, good_hash, match);
    size_t at = 0;
    assert_null(map_find(&m, good_hash(&item), &item.key));
    assert_false(map_remove(&m, good_hash(&item), &item));
    assert_null(map_next(&m, &at));
    map_fini(&m);
}

static void test_shrinks(void **state)
{
    (void)state;
    static struct item many[10000];
    struct map m;
    map_init(&m, good_hash, match);
    for (size_t i = 0; i < 10000; i++) {
        many[i].key = i;
        assert_int_equal(map_add(&m, good_hash(&many[i]), &many[i]), 0);
    }
    size_t largest = m.cap;
    for (size_t i = 0; i < 10000; i++)
        assert_true(map_remove(&m, good_hash(&many[i]), &many[i]));
    assert_int_equal(m.len, 0);
    assert_true(m.cap < largest / 64);
    map_fini(&m);
}

static unsigned hashed;

static uint64_t counting_hash(const void *item)
{
    hashed++;
    return good_hash(item);
}

/* However large the table is that grows or shrinks, one change moves few items. */
static void test_no_change_takes_long(void **state)
{
    (void)state;
    enum { MANY = 200000, AT_MOST = 400 };
    struct item *many = calloc(MANY, sizeof *many);
    struct map m;
    map_init(&m, counting_hash, match);
    for (size_t i = 0; i < MANY; i++) {
        many[i].key = i * 7919;
        hashed = 0;
        assert_int_equal(map_add(&m, good_hash(&many[i]), &many[i]), 0);
        assert_true(hashed <= AT_MOST);
        assert_ptr_equal(map_find(&m, good_hash(&many[i / 2]), &many[i / 2].key), &many[i / 2]);
    }
    for (size_t i = 0; i < MANY; i++) {
        hashed = 0;
        assert_true(map_remove(&m, good_hash(&many[i]), &many[i]));
        assert_true(hashed <= AT_MOST);
        assert_null(map_find(&m, good_hash(&many[i / 2]), &many[i / 2].key));
    }
    map_fini(&m);
    free(many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_churn),
        cmocka_unit_test(test_churn_with_collisions),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_shrinks),
        cmocka_unit_test(test_no_change_takes_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
