/* The spool with its threads: several workers put messages, a loop gets the answers through its inbox, reads
 * each message and ends it, while segments are rotated, summed up and compacted. For ThreadSanitizer, and for
 * the promises about waiting: grouped answers, few syncs under load.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/log.h"
#include "fixture.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define WORKERS 4
#define PER_WORKER 250
#define WINDOW 25

struct put {
    struct spool_op op;
    uint64_t seed;
    size_t size;
};

struct shared {
    struct spool *s;
    uv_loop_t loop;
    struct inbox inbox;
    uint32_t answered, bad;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    uint32_t in_flight;
    _Atomic uint32_t ended;
};

static void on_answer(void *ctx, struct inbox_msg *msg)
{
    struct shared *sh = ctx;
    struct put *p = LIST_ITEM(LIST_ITEM(msg, struct spool_op, msg), struct put, op);
    struct spool_info *info;
    bool good = p->op.status == 0 && spool_info(sh->s, p->op.id, &info) == 0;
    if (good) {
        good = info->env.size == p->size && has_message(sh->s, p->op.id, p->seed, p->size);
        spool_info_free(info);
        struct spool_rcpt_update u = { .to = { .state = RCPT_DELIVERED, .reply = SPAN_LIT("250 2.0.0 ok") } };
        good = good && spool_update(sh->s, p->op.id, &u, 1, NULL) == 0;
    }
    sh->bad += !good;
    free(p);
    pthread_mutex_lock(&sh->lock);
    sh->in_flight--;
    pthread_cond_broadcast(&sh->cond);
    pthread_mutex_unlock(&sh->lock);
    if (++sh->answered == WORKERS * PER_WORKER)
        inbox_close(&sh->inbox, NULL);
}

static void on_room(void *ctx)
{
    struct shared *sh = ctx;
    pthread_mutex_lock(&sh->lock);
    pthread_cond_broadcast(&sh->cond);
    pthread_mutex_unlock(&sh->lock);
}

static void *worker(void *arg)
{
    struct shared *sh = arg;
    static _Atomic uint64_t seeds = 1;
    uint8_t *body = malloc(300000);
    for (int i = 0; i < PER_WORKER; i++) {
        pthread_mutex_lock(&sh->lock);
        while (sh->in_flight >= WINDOW * WORKERS)
            pthread_cond_wait(&sh->cond, &sh->lock);
        sh->in_flight++;
        pthread_mutex_unlock(&sh->lock);
        struct put *p = calloc(1, sizeof *p);
        p->seed = seeds++;
        p->size = i % 25 == 0 ? 200000 : 100 + p->seed % 4000;
        body_fill(p->seed, p->size, body);
        struct spool_ingest *in;
        while (spool_ingest_open(sh->s, &in) != 0)
            usleep(1000);
        spool_ingest_on_room(in, on_room, sh);
        if (i % 10 == 3) { /* one that is given up with chunks under way */
            struct spool_ingest *gone;
            if (spool_ingest_open(sh->s, &gone) == 0) {
                (void)spool_ingest_write(gone, body, 100000 < p->size ? 100000 : p->size);
                spool_ingest_abort(gone);
            }
        }
        (void)spool_ingest_write(in, body, p->size);
        p->op.inbox = &sh->inbox;
        static _Thread_local struct envelope e;
        struct envelope_rcpt rcpt = { .address = SPAN_LIT("someone@example.net") };
        e = (struct envelope){
            .arrival_ms = 1, .mail_from = SPAN_LIT("a@example.com"), .nrcpts = 1, .rcpts = &rcpt
        };
        spool_ingest_commit(in, &e, &p->op);
    }
    free(body);
    return NULL;
}

static void on_ended(void *ctx, uint64_t id, const struct envelope *env, const struct spool_rcpt_update *u,
                     uint32_t n, uint64_t seq)
{
    struct shared *sh = ctx;
    (void)id;
    (void)u;
    (void)env;
    sh->ended += n;
    spool_history_done(sh->s, seq);
}

static void test_many_threads(void **state)
{
    (void)state;
    char dir[256];
    scratch_make(dir);
    static struct shared sh;
    pthread_mutex_init(&sh.lock, NULL);
    pthread_cond_init(&sh.cond, NULL);
    assert_int_equal(uv_loop_init(&sh.loop), 0);
    assert_int_equal(inbox_init(&sh.inbox, &sh.loop, 1000, on_answer, &sh), 0);
    struct spool_config config = {
        .dir = dir, .segment_bytes = 1 << 18, .min_free_bytes = 1, .on_ended = on_ended, .ended_ctx = &sh
    };
    assert_int_equal(spool_open(&config, NULL, NULL, &sh.s), 0);
    struct spool_stats before, after;
    spool_stats(sh.s, &before);
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, worker, &sh), 0);
    uv_run(&sh.loop, UV_RUN_DEFAULT);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(sh.bad, 0);
    assert_int_equal(spool_flush(sh.s), 0);
    spool_stats(sh.s, &after);
    assert_int_equal(after.committed, WORKERS * PER_WORKER);
    assert_int_equal(after.messages, 0);
    assert_int_equal(sh.ended, WORKERS * PER_WORKER);
    /* the two of each new segment are part of it: these segments are tiny */
    uint64_t syncs = after.syncs - before.syncs - 3 * (after.appended_bytes >> 18);
    assert_true(syncs < WORKERS * PER_WORKER / 2);
    spool_close(sh.s);
    inbox_fini(&sh.inbox);
    uv_loop_close(&sh.loop);

    struct spool_verify_result v;
    assert_int_equal(spool_verify(dir, NULL, NULL, NULL, &v), 0);
    assert_int_equal(v.messages, 0);
    scratch_remove(dir);
}

static void test_unawaited_state_is_synced_soon(void **state)
{
    (void)state;
    char dir[256];
    scratch_make(dir);
    struct spool *s;
    assert_int_equal(spool_open(&(struct spool_config){ .dir = dir, .min_free_bytes = 1 }, NULL, NULL, &s),
                     0);
    uint64_t id;
    assert_int_equal(put_message(s, 1, 100, 1, &id), 0);
    struct spool_stats before, after;
    spool_stats(s, &before);
    struct spool_rcpt_update u = { .to = { .state = RCPT_QUEUED, .attempts = 1 } };
    assert_int_equal(spool_update(s, id, &u, 1, NULL), 0);
    for (int i = 0; i < 4000; i++) {
        usleep(5000);
        spool_stats(s, &after);
        if (after.syncs > before.syncs)
            break;
    }
    assert_int_equal(after.syncs, before.syncs + 1);
    assert_int_equal(after.updates, before.updates + 1);
    spool_close(s);
    scratch_remove(dir);
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_unawaited_state_is_synced_soon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
