/* The store: lookups, digests that do not depend on history, snapshots of a moment while the content goes on
 * changing.
 */
#include "test/unit/machine/fixture.h"

#include "consensus/store.h"

#include <errno.h>
#include <stdlib.h>

struct item {
    struct store_rec rec;
    uint64_t key, value;
};

static struct span item_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return span_of(&((const struct item *)rec)->key, 8);
}

static uint32_t encoded;

static void item_encode(const struct store_rec *rec, struct buf *out)
{
    encoded++;
    buf_put_u64(out, ((const struct item *)rec)->key);
    buf_put_u64(out, ((const struct item *)rec)->value);
}

static struct item *item_make(uint64_t key, uint64_t value)
{
    struct item *it = calloc(1, sizeof *it);
    it->key = key;
    it->value = value;
    return it;
}

static int item_decode(struct cursor *c, struct store_rec **out)
{
    uint64_t key = cursor_u64(c), value = cursor_u64(c);
    if (cursor_err(c) != 0)
        return cursor_err(c);
    *out = &item_make(key, value)->rec;
    return 0;
}

static void item_free(struct store_rec *rec)
{
    free(rec);
}

static const struct store_type red = {
    .id = 1, .name = "red", .key = item_key, .encode = item_encode, .decode = item_decode, .free = item_free
};
static const struct store_type blue = { .id = 200,
                                        .name = "blue",
                                        .key = item_key,
                                        .encode = item_encode,
                                        .decode = item_decode,
                                        .free = item_free };
static const struct store_type *const types[] = { &red, &blue };

static struct item *find(const struct store *st, const struct store_type *type, uint64_t key)
{
    return (struct item *)store_find(st, type, span_of(&key, sizeof key));
}

static void put(struct store *st, const struct store_type *type, uint64_t key, uint64_t value)
{
    struct item *it = find(st, type, key);
    if (it == NULL) {
        assert_int_equal(store_add(st, type, &item_make(key, value)->rec), 0);
        return;
    }
    store_touch(st, &it->rec);
    it->value = value;
}

static void found_by_key_and_type(void **state)
{
    (void)state;
    struct store *st = store_new(types, 2);
    for (uint64_t i = 0; i < 1000; i++)
        put(st, &red, i, i * 2);
    put(st, &blue, 5, 77);
    assert_int_equal(find(st, &red, 5)->value, 10);
    assert_int_equal(find(st, &blue, 5)->value, 77);
    assert_null(find(st, &blue, 6));
    assert_null(find(st, &red, 1000));
    for (uint64_t i = 0; i < 1000; i += 2)
        store_remove(st, &find(st, &red, i)->rec);
    assert_int_equal(store_len(st, &red), 500);
    uint64_t expected = 1;
    LIST_EACH(link, store_all(st, &red))
    { /* in order of arrival */
        assert_int_equal(((struct item *)LIST_ITEM(link, struct store_rec, link))->key, expected);
        expected += 2;
    }
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(find(st, &red, i) != NULL, i % 2);
    store_free(st);
}

static void a_digest_is_of_the_content(void **state)
{
    (void)state;
    struct store *a = store_new(types, 2), *b = store_new(types, 2);
    assert_true(store_digest(a) == store_digest(b));
    for (uint64_t i = 0; i < 100; i++)
        put(a, &red, i, i);
    uint64_t without = store_digest(a);
    for (uint64_t i = 100; i-- > 0;) {
        put(b, &red, i, 5);
        if (i % 7 == 0)
            (void)store_digest(b);
        else if (i % 3 == 0)
            store_digest_ahead(b, (size_t)i % 5);
        put(b, &red, i, i);
    }
    assert_true(store_digest(b) == without);
    put(a, &blue, 3, 3);
    assert_true(store_digest(a) != without);
    put(b, &red, 3, 4);
    assert_true(store_digest(b) != without);
    put(b, &red, 3, 3);
    assert_true(store_digest(b) == without);
    store_remove(a, &find(a, &blue, 3)->rec);
    assert_true(store_digest(a) == without);
    put(a, &blue, 3, 3);
    put(b, &red, 1000, 3); /* the same bytes of another key or type are something else */
    assert_true(store_digest(a) != store_digest(b));
    store_free(a);
    store_free(b);
}

static void hashed_ahead_but_for_what_changes_all_the_time(void **state)
{
    (void)state;
    struct store *st = store_new(types, 2);
    put(st, &red, 0, 0);
    encoded = 0;
    for (uint64_t i = 1; i <= 1000; i++) {
        put(st, &red, i, i);
        put(st, &red, 0, i); /* a busy one */
        store_digest_ahead(st, 10);
        assert_true(encoded <= i);
    }
    assert_int_equal(encoded, 1001 - 10);
    store_remove(st, &find(st, &red, 1000)->rec); /* not hashed yet */
    store_digest_ahead(st, 9);
    assert_int_equal(encoded, 1001 - 10);
    uint64_t digest = store_digest(st);
    assert_int_equal(encoded, 1000);
    struct store *other = store_new(types, 2);
    for (uint64_t i = 0; i < 1000; i++)
        put(other, &red, i, i == 0 ? 1000 : i);
    assert_true(store_digest(other) == digest);
    store_free(st);
    store_free(other);
}

static uint64_t rng;
static uint64_t rnd(void)
{
    rng = rng * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return rng >> 33;
}

static void change_something(struct store *st)
{
    const struct store_type *type = types[rnd() % 2];
    uint64_t key = rnd() % 300;
    struct item *it = find(st, type, key);
    if (it != NULL && rnd() % 3 == 0)
        store_remove(st, &it->rec);
    else
        put(st, type, key, rnd());
}

/* Tables grow and shrink a little with each change. Whatever moment it is, each record is found that is
 * there, and no other. */
static void found_while_tables_grow_and_shrink(void **state)
{
    (void)state;
    enum { KEYS = 20000 };
    static bool there[KEYS];
    struct store *st = store_new(types, 2);
    rng = 5;
    for (uint32_t phase = 0; phase < 6; phase++) {
        uint32_t add = phase % 2 == 0 ? 90 : 8, n = 0; /* percent: it grows, then shrinks */
        for (uint32_t i = 0; i < 3 * KEYS; i++) {
            uint64_t key = rnd() % KEYS;
            struct item *it = find(st, &red, key);
            assert_int_equal(it != NULL, there[key]);
            if (it != NULL)
                assert_true(it->key == key);
            bool put_in = rnd() % 100 < add;
            if (put_in && it == NULL)
                put(st, &red, key, key);
            else if (!put_in && it != NULL)
                store_remove(st, &it->rec);
            there[key] = put_in;
            uint64_t other = rnd() % KEYS; /* which that change moved, perhaps */
            assert_int_equal(find(st, &red, other) != NULL, there[other]);
        }
        for (uint32_t i = 0; i < KEYS; i++) {
            assert_int_equal(find(st, &red, i) != NULL, there[i]);
            n += there[i];
        }
        assert_int_equal(store_len(st, &red), n);
    }
    store_free(st);
}

static uint32_t order_of(const struct store *st, uint64_t *out)
{
    uint32_t n = 0;
    for (int t = 0; t < 2; t++)
        LIST_EACH(link, store_all(st, types[t]))
    out[n++] = ((struct item *)LIST_ITEM(link, struct store_rec, link))->key;
    return n;
}

static void a_snapshot_is_of_its_moment(void **state)
{
    (void)state;
    struct store *st = store_new(types, 2), *other = store_new(types, 2);
    struct buf out;
    buf_init(&out, SIZE_MAX);
    for (uint64_t seed = 0; seed < 300; seed++) {
        rng = seed;
        for (int i = 0; i < 200; i++)
            change_something(st);
        uint64_t digest = store_digest(st), order[600], again[600];
        uint32_t n = order_of(st, order);
        buf_reset(&out);
        assert_int_equal(store_snapshot_begin(st), 0);
        int more;
        do {
            uint64_t changes = rnd() % 40;
            for (uint64_t i = 0; i < changes; i++)
                change_something(st);
            if (rnd() % 4 == 0)
                (void)store_digest(st);
            else
                store_digest_ahead(st, rnd() % 20);
            more = store_snapshot_step(st, &out, rnd() % 2000);
        } while (more == 1);
        assert_int_equal(more, 0);
        store_snapshot_end(st);
        struct cursor c;
        cursor_init(&c, out.data, out.len);
        assert_int_equal(store_restore(other, &c), 0);
        assert_int_equal(cursor_left(&c), 0);
        assert_true(store_digest(other) == digest);
        assert_int_equal(order_of(other, again), n);
        assert_memory_equal(order, again, n * sizeof *order);
        /* What follows arrives behind. */
        put(other, &red, 1u << 20, 1);
        assert_int_equal(LIST_ITEM(store_all(other, &red)->prev, struct item, rec.link)->key, 1u << 20);
    }
    buf_fini(&out);
    store_free(st);
    store_free(other);
}

/* A snapshot, in a store of its own. */
static void assert_restores(const struct buf *snapshot, uint64_t digest)
{
    struct store *other = store_new(types, 2);
    struct cursor c;
    cursor_init(&c, snapshot->data, snapshot->len);
    assert_int_equal(store_restore(other, &c), 0);
    assert_true(store_digest(other) == digest);
    store_free(other);
}

/* Records that were written before their turn, all of them: passing them over takes several steps, too. */
static void a_step_is_short(void **state)
{
    (void)state;
    struct store *st = store_new(types, 2);
    struct buf out;
    buf_init(&out, SIZE_MAX);
    for (uint64_t i = 0; i < 50000; i++)
        put(st, &red, i, i);
    uint64_t digest = store_digest(st);
    assert_int_equal(store_snapshot_begin(st), 0);
    for (uint64_t i = 0; i < 50000; i++)
        put(st, &red, i, i + 1);
    unsigned steps = 1;
    for (; store_snapshot_step(st, &out, SIZE_MAX / 2) == 1; steps++)
        ;
    store_snapshot_end(st);
    assert_in_range(steps, 20, 100);
    assert_restores(&out, digest);
    buf_fini(&out);
    store_free(st);
}

static void given_up_half_way(void **state)
{
    (void)state;
    struct store *st = store_new(types, 2);
    struct buf out;
    buf_init(&out, SIZE_MAX);
    for (uint64_t i = 0; i < 1000; i++)
        put(st, &red, i, i);
    assert_int_equal(store_snapshot_begin(st), 0);
    assert_int_equal(store_snapshot_step(st, &out, 100), 1);
    store_snapshot_end(st);
    for (uint64_t i = 0; i < 1000; i++)
        put(st, &red, i, i + 1);
    buf_reset(&out);
    assert_int_equal(store_snapshot_begin(st), 0);
    while (store_snapshot_step(st, &out, 1000) == 1)
        ;
    store_snapshot_end(st);
    assert_restores(&out, store_digest(st));
    /* A buffer that is too small is an error, not half a snapshot. */
    struct buf small;
    buf_init(&small, 500);
    assert_int_equal(store_snapshot_begin(st), 0);
    int more;
    while ((more = store_snapshot_step(st, &small, 100)) == 1)
        ;
    assert_int_equal(more, ERR_LIMIT);
    store_snapshot_end(st);
    buf_fini(&small);
    buf_fini(&out);
    store_free(st);
}

static void what_is_damaged_is_refused_whole(void **state)
{
    (void)state;
    struct store *st = store_new(types, 2);
    struct buf out;
    buf_init(&out, SIZE_MAX);
    for (uint64_t i = 0; i < 20; i++)
        put(st, i % 2 == 0 ? &red : &blue, i, i);
    assert_int_equal(store_snapshot_begin(st), 0);
    assert_int_equal(store_snapshot_step(st, &out, SIZE_MAX / 2), 0);
    store_snapshot_end(st);
    for (size_t i = 0; i < out.len; i++) {
        struct cursor c;
        cursor_init(&c, out.data, i);
        assert_int_not_equal(store_restore(st, &c), 0);
        assert_int_equal(store_len(st, &red), 0);
        out.data[i] = (char)(out.data[i] ^ 0x11);
        cursor_init(&c, out.data, out.len);
        int err = store_restore(st, &c);
        /* The order of arrival may be damaged unnoticed; what was stored may not. */
        assert_true(err != 0 || store_len(st, &red) + store_len(st, &blue) == 20);
        out.data[i] = (char)(out.data[i] ^ 0x11);
    }
    buf_fini(&out);
    store_free(st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(found_by_key_and_type),
        cmocka_unit_test(found_while_tables_grow_and_shrink),
        cmocka_unit_test(a_digest_is_of_the_content),
        cmocka_unit_test(hashed_ahead_but_for_what_changes_all_the_time),
        cmocka_unit_test(a_snapshot_is_of_its_moment),
        cmocka_unit_test(a_step_is_short),
        cmocka_unit_test(given_up_half_way),
        cmocka_unit_test(what_is_damaged_is_refused_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
