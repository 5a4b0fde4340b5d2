/* The spool on a real disk: what is put in comes out, also after a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>

struct found {
    uint32_t n;
    uint64_t ids[64];
    uint8_t states[64][8];
    uint16_t attempts[64];
    char reply[64][64];
};

static int on_found(void *ctx, const struct envelope *env, const struct spool_rcpt *rcpts)
{
    struct found *f = ctx;
    assert_true(f->n < 64);
    f->ids[f->n] = env->id;
    for (uint32_t i = 0; i < env->nrcpts && i < 8; i++)
        f->states[f->n][i] = rcpts[i].state;
    f->attempts[f->n] = rcpts[0].attempts;
    snprintf(f->reply[f->n], 64, "%.*s", (int)rcpts[0].reply.n, rcpts[0].reply.p);
    f->n++;
    return 0;
}

static void test_put_read_reopen(void **state)
{
    (void)state;
    char dir[256];
    scratch_make(dir);
    struct spool_config config = { .dir = dir, .min_free_bytes = 1, .segment_bytes = 1 << 20 };
    struct spool *s;
    static const size_t sizes[] = { 0, 1, 4096, 65535, 65536, 65537, 300000, 3000000 };
    uint64_t ids[8];
    assert_int_equal(spool_open(&config, NULL, NULL, &s), 0);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(put_message(s, 100 + i, sizes[i], 1 + i % 3, &ids[i]), 0);
        assert_true(has_message(s, ids[i], 100 + i, sizes[i]));
        if (i > 0)
            assert_true(ids[i] > ids[i - 1]);
    }
    assert_int_equal(set_state(s, ids[1], 0, RCPT_QUEUED, "451 4.2.1 busy"), 0);
    assert_int_equal(set_state(s, ids[1], 1, RCPT_DELIVERED, "250 ok"), 0);
    assert_int_equal(set_state(s, ids[0], 0, RCPT_DELIVERED, "250 ok"), 0);
    assert_int_equal(set_state(s, ids[0], 0, RCPT_DELIVERED, "250 ok"), ERR_NOT_FOUND);
    struct spool_info *info;
    assert_int_equal(spool_info(s, ids[1], &info), 0);
    assert_int_equal(info->env.nrcpts, 2);
    assert_int_equal(info->rcpts[1].state, RCPT_DELIVERED);
    assert_int_equal(info->rcpts[0].attempts, 1);
    assert_memory_equal(info->rcpts[0].reply.p, "451 4.2.1 busy", 14);
    spool_info_free(info);
    spool_close(s);

    for (int round = 0; round < 3; round++) {
        struct found f = { 0 };
        assert_int_equal(spool_open(&config, on_found, &f, &s), 0);
        assert_int_equal(f.n, 7);
        for (unsigned i = 1; i < 8; i++)
            assert_true(has_message(s, ids[i], 100 + i, sizes[i]));
        for (uint32_t i = 0; i < f.n; i++)
            if (f.ids[i] == ids[1]) {
                assert_int_equal(f.states[i][0], RCPT_QUEUED);
                assert_int_equal(f.states[i][1], RCPT_DELIVERED);
                assert_int_equal(f.attempts[i], 1);
                assert_string_equal(f.reply[i], "451 4.2.1 busy");
            }
        spool_close(s);
    }
    struct spool_verify_result v;
    assert_int_equal(spool_verify(dir, NULL, NULL, NULL, &v), 0);
    assert_int_equal(v.messages, 7);
    scratch_remove(dir);
}

/* Why a message was held when it was accepted is in its envelope, over a restart too. */
static void test_born_held(void **state)
{
    (void)state;
    static const uint8_t body[] = "Subject: x\r\n\r\n";
    static const struct span why[] = { { "over_limit account-hour", 23 }, { "", 0 } };
    char dir[256];
    scratch_make(dir);
    struct spool_config config = { .dir = dir, .min_free_bytes = 1, .segment_bytes = 1 << 20 };
    struct spool *s;
    struct spool_ingest *in;
    uint64_t ids[2];
    assert_int_equal(spool_open(&config, NULL, NULL, &s), 0);
    for (int i = 0; i < 2; i++) {
        struct waited w;
        struct envelope *env = envelope_make(7, 2);
        env->flags |= ENVELOPE_HELD;
        env->hold = why[i];
        waited_init(&w);
        assert_int_equal(spool_ingest_open(s, &in), 0);
        assert_int_equal(spool_ingest_write(in, body, sizeof body - 1), 0);
        spool_ingest_commit(in, env, &w.op);
        assert_int_equal(waited_wait(s, &w), 0);
        ids[i] = w.op.id;
    }
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 2; i++) {
            struct spool_info *info;
            assert_int_equal(spool_info(s, ids[i], &info), 0);
            assert_true(span_eq(info->env.hold, why[i]));
            assert_int_equal(info->rcpts[1].state, RCPT_HELD);
            spool_info_free(info);
        }
        spool_close(s);
        assert_int_equal(spool_open(&config, NULL, NULL, &s), 0);
    }
    spool_close(s);
    scratch_remove(dir);
}

/* Content of `size` bytes, and `front` bytes put before it at the end, are read as one. */
static void put_with_front(struct spool *s, size_t size, size_t front)
{
    struct spool_ingest *in;
    uint8_t *all = malloc(size + front + 1);
    assert_non_null(all);
    body_fill(size * 2 + 1, size + front, all);
    assert_int_equal(spool_ingest_open(s, &in), 0);
    assert_true(spool_ingest_write(in, all + front, size) >= 0);
    assert_int_equal(spool_ingest_front(in, all, front), 0);
    struct waited w;
    struct envelope *env = envelope_make(7, 1);
    waited_init(&w);
    spool_ingest_commit(in, env, &w.op);
    assert_int_equal(waited_wait(s, &w), 0);
    assert_int_equal(env->size, size + front);
    assert_true(has_message(s, w.op.id, size * 2 + 1, size + front)); /* the content's check is among it */
    free(all);
}

static void test_front(void **state)
{
    (void)state;
    char dir[256];
    scratch_make(dir);
    struct spool_config config = { .dir = dir, .min_free_bytes = 1, .segment_bytes = 1 << 20 };
    struct spool *s;
    static const size_t sizes[] = { 0, 1, 5000, 65035, 65036, 65037, 65536, 65537, 131072, 3000000, 5000000 };
    assert_int_equal(spool_open(&config, NULL, NULL, &s), 0);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        put_with_front(s, sizes[i], 500);
        put_with_front(s, sizes[i], 1);
        put_with_front(s, sizes[i], 0);
        put_with_front(s, sizes[i], SPOOL_FRONT_MAX);
    }
    spool_close(s);
    struct spool_verify_result v;
    assert_int_equal(spool_verify(dir, NULL, NULL, NULL, &v), 0);
    assert_int_equal(v.messages, 4 * sizeof sizes / sizeof sizes[0]);
    scratch_remove(dir);
}

static void test_second_open_is_refused(void **state)
{
    (void)state;
    char dir[256];
    scratch_make(dir);
    struct spool_config config = { .dir = dir, .min_free_bytes = 1 };
    struct spool *s, *other;
    assert_int_equal(spool_open(&config, NULL, NULL, &s), 0);
    assert_int_equal(spool_open(&config, NULL, NULL, &other), -EWOULDBLOCK);
    spool_close(s);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_read_reopen),
        cmocka_unit_test(test_born_held),
        cmocka_unit_test(test_front),
        cmocka_unit_test(test_second_open_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
