/* A spool on a simulated disk, for tests of single rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rules_bench.h"

#include "base/log.h"

#include <stdlib.h>

static void on_failed(void *ctx, int err)
{
    struct bench *b = ctx;
    b->failed = err;
    b->failed_calls++;
}

static void on_ended(void *ctx, uint64_t id, const struct envelope *env, const struct spool_rcpt_update *u,
                     uint32_t n, uint64_t seq)
{
    struct bench *b = ctx;
    b->ended += n;
    b->ended_id = id;
    b->ended_nrcpts = env == NULL ? 0 : env->nrcpts;
    b->ended_known += env != NULL && env->id == id ? n : 0;
    b->ended_rcpt[0] = '\0';
    if (env != NULL && u[0].rcpt < env->nrcpts)
        snprintf(b->ended_rcpt, sizeof b->ended_rcpt, "%.*s", (int)env->rcpts[u[0].rcpt].address.n,
                 env->rcpts[u[0].rcpt].address.p);
    b->ended_seq = seq;
}

static int on_found(void *ctx, const struct envelope *env, const struct spool_rcpt *rcpts)
{
    struct bench *b = ctx;
    assert_true(b->found < 64);
    b->found_ids[b->found] = env->id;
    b->found_rcpt[b->found] = rcpts[0];
    b->found++;
    return 0;
}

int reopen(struct bench *b)
{
    struct spool_config config = { .dir = "sim",
                                   .disk = simdisk_disk(b->disk),
                                   .segment_bytes = SEGMENT_BYTES,
                                   .min_free_bytes = b->min_free == 0 ? 1 : b->min_free,
                                   .on_failed = on_failed,
                                   .ctx = b,
                                   .on_ended = b->history ? on_ended : NULL,
                                   .ended_ctx = b };
    b->found = 0;
    b->ended = b->ended_known = 0;
    return spool_open_with(&config, false, on_found, b, &b->s);
}

int bench_setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->disk = simdisk_new();
    assert_int_equal(reopen(b), 0);
    *state = b;
    return 0;
}

int bench_teardown(void **state)
{
    struct bench *b = *state;
    spool_close(b->s);
    simdisk_free(b->disk);
    free(b);
    return 0;
}

void crash(struct bench *b, enum simdisk_survival how)
{
    struct simdisk *after = simdisk_after(b->disk, how, 1);
    spool_close(b->s);
    simdisk_free(b->disk);
    b->disk = after;
    b->s = NULL;
    assert_int_equal(reopen(b), 0);
}

bool was_found(const struct bench *b, uint64_t id)
{
    for (uint32_t i = 0; i < b->found; i++)
        if (b->found_ids[i] == id)
            return true;
    return false;
}

uint64_t corrupt(struct bench *b)
{
    struct spool_stats st;
    spool_stats(b->s, &st);
    return st.corrupt_records;
}

void background(struct bench *b)
{
    for (int i = 0; i < 100 && spool_background_step(b->s); i++)
        ;
}

void fill_dead(struct bench *b, uint32_t messages)
{
    for (uint32_t i = 0; i < messages; i++) {
        uint64_t id;
        assert_int_equal(put_message(b->s, 2 * i, 3000, 1, &id), 0);
        assert_int_equal(set_state(b->s, id, 0, RCPT_DELIVERED, "250 ok"), 0);
    }
}

void bench_log(void)
{
    log_set_level(getenv("SPOOL_TEST_LOG") != NULL ? LOG_LEVEL_INFO : (enum log_level)0);
}
