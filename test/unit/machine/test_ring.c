/* Buckets of a counter against a plain array. */
#include "test/unit/machine/fixture.h"

#include "consensus/quota_ring.h"

#include <stdlib.h>

#define BUCKETS 4000

static uint64_t rng;
static uint64_t rnd(void)
{
    rng = rng * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return rng >> 33;
}

static void same(const struct quota_ring *r, const uint64_t *model, uint64_t oldest, uint64_t newest)
{
    uint64_t sum = 0;
    uint32_t n = 0;
    for (uint64_t b = oldest; b <= newest; b++) {
        assert_int_equal(quota_ring_get(r, b), model[b]);
        sum += model[b];
        if (model[b] == 0)
            continue;
        uint64_t bucket, count;
        quota_ring_at(r, n++, &bucket, &count);
        assert_int_equal(bucket, b);
        assert_int_equal(count, model[b]);
    }
    assert_int_equal(r->n, n);
    assert_int_equal(r->sum, sum);
    assert_int_equal(quota_ring_sum_from(r, oldest), sum);
    struct buf b;
    buf_init(&b, 1 << 20);
    quota_ring_encode(r, &b);
    struct cursor c;
    struct quota_ring again;
    cursor_init(&c, b.data, b.len);
    assert_int_equal(quota_ring_decode(&c, &again), 0);
    assert_int_equal(cursor_left(&c), 0);
    assert_int_equal(again.sum, r->sum);
    struct buf twice;
    buf_init(&twice, 1 << 20);
    quota_ring_encode(&again, &twice);
    assert_true(span_eq(buf_span(&b), buf_span(&twice)));
    buf_fini(&twice);
    buf_fini(&b);
    quota_ring_fini(&again);
}

static void like_an_array(void **state)
{
    (void)state;
    static const uint64_t sizes[] = { 3, 300, 1u << 25, UINT64_C(1) << 40 };
    for (uint64_t seed = 0; seed < 60; seed++) {
        rng = seed;
        uint64_t *model = calloc(BUCKETS, sizeof *model);
        struct quota_ring r = { 0 };
        uint64_t now = 300, oldest = 0;
        while (now < BUCKETS - 100) {
            now += rnd() % 8 == 0 ? rnd() % 60 : rnd() % 2;
            if (now - oldest > 150) {
                for (; oldest < now - 150; oldest++)
                    model[oldest] = 0;
                quota_ring_prune(&r, oldest);
            }
            uint64_t bucket = rnd() % 4 == 0 ? oldest + rnd() % (now - oldest + 1) : now;
            uint64_t count = rnd() % sizes[seed % 4];
            if (rnd() % 3 == 0) {
                uint64_t taken = quota_ring_take(&r, bucket, count);
                assert_int_equal(taken, count < model[bucket] ? count : model[bucket]);
                model[bucket] -= taken;
            } else {
                assert_int_equal(quota_ring_add(&r, bucket, count), 0);
                model[bucket] += count;
            }
            if (rnd() % 16 == 0)
                same(&r, model, oldest, now);
        }
        same(&r, model, oldest, now);
        /* A bucket that has left is nobody's. */
        quota_ring_prune(&r, now + 1);
        assert_int_equal(r.n, 0);
        assert_int_equal(quota_ring_take(&r, now, 5), 0);
        assert_int_equal(quota_ring_bytes(&r), 0);
        quota_ring_fini(&r);
        free(model);
    }
}

static void half_full_is_small(void **state)
{
    (void)state;
    struct quota_ring r = { 0 };
    for (uint64_t b = 0; b < 100; b += 2)
        assert_int_equal(quota_ring_add(&r, 1000000 + b, 4), 0);
    assert_in_range(quota_ring_bytes(&r), 100, 128);
    quota_ring_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(like_an_array),
        cmocka_unit_test(half_full_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
