/* Every crash point of a recorded load: the same load is run again up to each call that changes the disk, the
 * disk dies there, what survives is chosen in several ways, and the spool is opened on it. Then again with a
 * second crash while the first is being recovered from, and with single faults instead of crashes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/log.h"
#include "model.h"
#include "simdisk.h"

#include <errno.h>
#include <stdlib.h>

#define SEGMENT_BYTES 16384
#define STEPS 700
#define SURVIVALS 6

/* Runs the load of a seed on a disk. The model keeps the dead spool out of the way. */
static struct model *run_load(struct simdisk *d, uint64_t seed, uint32_t steps)
{
    struct model *m = model_new(seed);
    if (model_open(m, d, SEGMENT_BYTES) != 0) {
        m->s = NULL;
        return m;
    }
    for (uint32_t i = 0; i < steps && model_step(m) && !simdisk_dead(d); i++)
        ;
    return m;
}

/* The model as it was at the crash: a copy that a second life can change. */
static struct model *model_clone(const struct model *m)
{
    struct model *c = model_new(0);
    *c = *m;
    c->s = NULL;
    c->waiting = NULL;
    c->ends = calloc(m->ends_cap + 1, sizeof *c->ends);
    assert_non_null(c->ends);
    for (uint32_t i = 0; i < m->nends; i++)
        c->ends[i] = m->ends[i];
    for (uint32_t i = 0; i < c->n; i++)
        c->msgs[i].open = NULL;
    return c;
}

static void fail_where(const struct model *m, uint64_t seed, uint64_t call, unsigned how, uint64_t second)
{
    fail_msg("seed %llu, crash at call %llu, survival %u, second crash at %llu: %s", (unsigned long long)seed,
             (unsigned long long)call, how, (unsigned long long)second, m->wrong);
}

/* Opens on what survived, checks, lets compaction do its work, and opens again: nothing comes back to life.
 */
static void check_life(struct model *m, struct simdisk *d, uint64_t seed, uint64_t call, unsigned how)
{
    for (int life = 0; life < 2; life++) {
        int err = model_open(m, d, SEGMENT_BYTES);
        if (err != 0)
            fail_msg("seed %llu, call %llu, survival %u: not opened: %s", (unsigned long long)seed,
                     (unsigned long long)call, how, err_text(err));
        if (!model_check(m))
            fail_where(m, seed, call, how, 0);
        model_settle(m);
        if (!model_check_history(m))
            fail_where(m, seed, call, how, 0);
        model_close(m);
    }
}

static void note_found(struct model *m)
{
    /* What the first life showed is answered in a sense: a later life may not take it back, except unanswered
     * ends; model_check knows these from the load itself. */
    m->wrong[0] = '\0';
}

/* A second crash at some call while recovering from the first. */
static void check_second(const struct model *at_crash, const struct simdisk *d, unsigned how, uint64_t rng,
                         uint64_t seed, uint64_t call)
{
    struct simdisk *first = simdisk_after(d, (enum simdisk_survival)how, rng);
    struct model *m = model_clone(at_crash);
    uint64_t second = 1 + rng_next(&rng) % 30;
    simdisk_crash_at(first, second);
    if (model_open(m, first, SEGMENT_BYTES) == 0) {
        if (!simdisk_dead(first) && !model_check(m))
            fail_where(m, seed, call, how, second);
        model_settle(m);
        struct simdisk *after =
            simdisk_after(first, (enum simdisk_survival)(rng_next(&rng) % SIMDISK_NSURVIVALS), rng);
        model_close(m);
        simdisk_free(first);
        first = after;
    } else {
        struct simdisk *after =
            simdisk_after(first, (enum simdisk_survival)(rng_next(&rng) % SIMDISK_NSURVIVALS), rng);
        simdisk_free(first);
        first = after;
    }
    note_found(m);
    check_life(m, first, seed, call, how + 100);
    model_free(m);
    simdisk_free(first);
}

static void crash_everywhere(uint64_t seed, uint32_t steps, uint64_t stride)
{
    struct simdisk *whole = simdisk_new();
    struct model *m = run_load(whole, seed, steps);
    if (m->wrong[0] != '\0')
        fail_where(m, seed, 0, 0, 0);
    uint64_t calls = simdisk_calls(whole);
    model_close(m);
    check_life(m, whole, seed, 0, 99);
    model_free(m);
    simdisk_free(whole);
    assert_true(calls > 100);

    for (uint64_t call = 1; call <= calls; call += stride) {
        struct simdisk *d = simdisk_new();
        simdisk_crash_at(d, call);
        m = run_load(d, seed, steps);
        if (m->wrong[0] != '\0')
            fail_where(m, seed, call, 0, 0);
        /* what the dying process still says counts for nothing: the picture is taken first */
        struct model *at_crash = model_clone(m);
        for (unsigned how = 0; how < SURVIVALS; how++) {
            unsigned kind = how < SIMDISK_NSURVIVALS ? how : SIMDISK_SUBSET;
            uint64_t rng = seed * 1000003 + call * 101 + how;
            struct simdisk *after = simdisk_after(d, (enum simdisk_survival)kind, rng);
            struct model *c = model_clone(at_crash);
            check_life(c, after, seed, call, kind);
            model_free(c);
            simdisk_free(after);
            if (how % 2 == 1)
                check_second(at_crash, d, kind, rng, seed, call);
        }
        model_free(at_crash);
        model_close(m);
        model_free(m);
        simdisk_free(d);
    }
}

/* Each crash takes a sanitizer eight times as long; every one is tried by builds without. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static uint64_t env_number(const char *name, uint64_t otherwise)
{
    const char *v = getenv(name);
    return v == NULL ? otherwise : strtoull(v, NULL, 10);
}

static void test_every_crash_point(void **state)
{
    (void)state;
    uint64_t seeds = env_number("SPOOL_CRASH_SEEDS", 3);
    for (uint64_t seed = env_number("SPOOL_CRASH_FIRST", 1), i = 0; i < seeds; i++)
        crash_everywhere(seed + i, STEPS, env_number("SPOOL_CRASH_STRIDE", SANITIZED ? 3 : 1));
}

/* One fault of each kind at many places, instead of a crash: nothing answered is lost, nothing refused is
 * there. */
static void test_every_fault(void **state)
{
    (void)state;
    static const struct {
        enum simdisk_fault fault;
        int err;
        bool stops;
    } faults[] = {
        { SIMDISK_FAIL_WRITE, -EIO, false },   { SIMDISK_FAIL_WRITE, -ENOSPC, false },
        { SIMDISK_SHORT_WRITE, 0, false },     { SIMDISK_FAIL_SYNC, -EIO, true },
        { SIMDISK_FAIL_SYNC_DIR, -EIO, true }, { SIMDISK_FAIL_CREATE, -ENOSPC, false },
        { SIMDISK_FAIL_UNLINK, -EIO, false },
    };
    for (unsigned f = 0; f < sizeof faults / sizeof faults[0]; f++)
        for (uint32_t nth = 1; nth < 60; nth += 1) {
            uint64_t seed = 7 + nth % 3;
            struct simdisk *d = simdisk_new();
            simdisk_fault(d, faults[f].fault, nth, faults[f].err);
            struct model *m = run_load(d, seed, STEPS);
            if (m->s != NULL && simdisk_faulted(d) && faults[f].stops && m->failed == 0 &&
                strstr(simdisk_faulted_name(d), ".tmp") == NULL) /* a summary can be spared */
                fail_msg("fault %u at %u did not stop the spool", f, nth);
            if (m->s != NULL && !faults[f].stops && m->failed != 0)
                fail_msg("fault %u at %u stopped the spool: %s", f, nth, err_text(m->failed));
            m->after_sync_failure = m->failed != 0;
            if (m->failed == 0 && m->s != NULL)
                model_settle(m);
            struct model *c = model_clone(m);
            struct simdisk *after =
                simdisk_after(d, nth % 2 == 0 ? SIMDISK_SYNCED_ONLY : SIMDISK_EVERYTHING, nth);
            check_life(c, after, seed, nth, 200 + f);
            model_free(c);
            simdisk_free(after);
            model_close(m);
            model_free(m);
            simdisk_free(d);
        }
}

int main(void)
{
    log_set_level(getenv("SPOOL_TEST_LOG") != NULL ? LOG_LEVEL_INFO : (enum log_level)0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_fault),
        cmocka_unit_test(test_every_crash_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
