/* One directed test for each rule of the spool that closes a known way to lose or repeat mail. The crash
 * tests visit the same ground at random; these say by name which rule broke.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/log.h"
#include "fixture.h"
#include "simdisk.h"

#include <errno.h>
#include <stdlib.h>

#define SEGMENT_BYTES 16384u

struct bench {
    struct simdisk *disk;
    struct spool *s;
    int failed, failed_calls;
    uint32_t found;
    uint64_t found_ids[64];
    struct spool_rcpt found_rcpt[64];
    uint32_t ended, ended_known; /* known: with their envelope */
    uint64_t ended_id;
    uint32_t ended_nrcpts;
    char ended_rcpt[64];
    uint64_t ended_seq;
    bool history;
    uint64_t min_free;
};

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

static int reopen(struct bench *b)
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

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->disk = simdisk_new();
    assert_int_equal(reopen(b), 0);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    spool_close(b->s);
    simdisk_free(b->disk);
    free(b);
    return 0;
}

/* The process dies here and the spool is opened on what survived. */
static void crash(struct bench *b, enum simdisk_survival how)
{
    struct simdisk *after = simdisk_after(b->disk, how, 1);
    spool_close(b->s);
    simdisk_free(b->disk);
    b->disk = after;
    b->s = NULL;
    assert_int_equal(reopen(b), 0);
}

static bool was_found(const struct bench *b, uint64_t id)
{
    for (uint32_t i = 0; i < b->found; i++)
        if (b->found_ids[i] == id)
            return true;
    return false;
}

static uint64_t corrupt(struct bench *b)
{
    struct spool_stats st;
    spool_stats(b->s, &st);
    return st.corrupt_records;
}

static void background(struct bench *b)
{
    for (int i = 0; i < 100 && spool_background_step(b->s); i++)
        ;
}

/* Pushes the active segment out with messages that end at once. */
static void fill_dead(struct bench *b, uint32_t messages)
{
    for (uint32_t i = 0; i < messages; i++) {
        uint64_t id;
        assert_int_equal(put_message(b->s, 2 * i, 3000, 1, &id), 0);
        assert_int_equal(set_state(b->s, id, 0, RCPT_DELIVERED, "250 ok"), 0);
    }
}

/* ---- writing ------------------------------------------------------------------------------------------- */

static void test_failed_write_seals(void **state)
{
    struct bench *b = *state;
    static const struct {
        enum simdisk_fault fault;
        int err;
    } kinds[] = { { SIMDISK_FAIL_WRITE, -EIO }, { SIMDISK_SHORT_WRITE, 0 }, { SIMDISK_FAIL_WRITE, -ENOSPC } };
    for (unsigned i = 0; i < 3; i++) {
        uint64_t before, hit;
        assert_int_equal(put_message(b->s, 10, 500, 1, &before), 0);
        struct segment *seg = b->s->active;
        uint64_t good = seg->size;
        char name[32];
        snprintf(name, sizeof name, "%08x.seg", seg->number);
        simdisk_fault(b->disk, kinds[i].fault, 1, kinds[i].err);
        assert_int_equal(put_message(b->s, 20, 2000, 1, &hit), 0);
        assert_true(simdisk_faulted(b->disk));
        assert_ptr_not_equal(b->s->active, seg);
        /* cut where it was good, and never written again */
        assert_int_equal(simdisk_size(b->disk, name), good);
        crash(b, SIMDISK_SYNCED_ONLY);
        assert_int_equal(simdisk_size(b->disk, name), good);
        assert_true(has_message(b->s, before, 10, 500));
        assert_true(has_message(b->s, hit, 20, 2000));
        assert_int_equal(corrupt(b), 0);
    }
    assert_int_equal(b->failed, 0);
}

static void test_failed_sync_stops(void **state)
{
    struct bench *b = *state;
    uint64_t good, bad;
    assert_int_equal(put_message(b->s, 1, 500, 1, &good), 0);
    simdisk_fault(b->disk, SIMDISK_FAIL_SYNC, 1, -EIO);
    assert_int_equal(put_message(b->s, 2, 500, 1, &bad), -EIO);
    assert_int_equal(b->failed, -EIO);
    assert_int_equal(b->failed_calls, 1);
    struct spool_ingest *in;
    assert_int_equal(spool_ingest_open(b->s, &in), -EIO);
    assert_int_equal(set_state(b->s, good, 0, RCPT_DELIVERED, ""), -EIO);
    uint64_t calls = simdisk_calls(b->disk);
    (void)spool_flush(b->s);
    assert_int_equal(simdisk_calls(b->disk), calls); /* a second sync would prove nothing: none is made */
    assert_int_equal(b->failed_calls, 1);
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_true(was_found(b, good));
    assert_false(was_found(b, bad));
}

static void test_answer_follows_both_syncs(void **state)
{
    struct bench *b = *state;
    /* each message in a segment of its own: data and name must be on disk at every answer */
    for (uint64_t i = 0; i < 5; i++) {
        uint64_t id;
        assert_int_equal(put_message(b->s, 2 * i, 12000, 1, &id), 0);
        struct simdisk *after = simdisk_after(b->disk, SIMDISK_SYNCED_ONLY, 1);
        struct bench other = { .disk = after };
        assert_int_equal(reopen(&other), 0);
        assert_true(has_message(other.s, id, 2 * i, 12000));
        spool_close(other.s);
        simdisk_free(after);
    }
    simdisk_fault(b->disk, SIMDISK_FAIL_SYNC_DIR, 1, -EIO);
    assert_int_equal(put_message(b->s, 98, 12000, 1, NULL), -EIO);
}

static void test_lone_commit_costs_one_sync(void **state)
{
    struct bench *b = *state;
    assert_int_equal(put_message(b->s, 1, 100, 1, NULL), 0);
    uint64_t syncs = simdisk_syncs(b->disk), calls = simdisk_calls(b->disk);
    assert_int_equal(put_message(b->s, 1, 100, 1, NULL), 0);
    assert_int_equal(simdisk_syncs(b->disk) - syncs, 1);
    assert_int_equal(simdisk_calls(b->disk) - calls, 2); /* one write, one sync */
}

static void test_older_segment_is_synced_first(void **state)
{
    struct bench *b = *state;
    struct spool_ingest *in;
    static uint8_t body[200000];
    body_fill(4, sizeof body, body);
    assert_int_equal(spool_ingest_open(b->s, &in), 0);
    /* chunks that nobody waits for, each in a segment of its own; steps until all are written */
    assert_true(spool_ingest_write(in, body, sizeof body) >= 0);
    while (spool_writer_step(b->s))
        ;
    assert_true(b->s->nsegments >= 3);
    for (uint32_t i = 0; i < b->s->nsegments; i++)
        if (b->s->segments[i] != b->s->active)
            assert_int_equal(b->s->segments[i]->synced,
                             b->s->segments[i]->size - (b->s->segments[i]->sealed ? 88 : 0));
    struct waited w;
    waited_init(&w);
    spool_ingest_commit(in, envelope_make(4, 1), &w.op);
    assert_int_equal(waited_wait(b->s, &w), 0);
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_true(has_message(b->s, w.op.id, 4, sizeof body));
}

/* ---- damage and torn tails -------------------------------------------------------------------------------
 */

static void test_damage_is_not_a_torn_tail(void **state)
{
    struct bench *b = *state;
    uint64_t ids[4];
    uint64_t at[4];
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(put_message(b->s, 2 * i, 600, 1, &ids[i]), 0);
        at[i] = index_find(b->s, ids[i])->offset;
    }
    char name[32];
    snprintf(name, sizeof name, "%08x.seg", b->s->active->number);
    /* in the second message, long synced: it alone is lost, with an alarm */
    assert_true(simdisk_rot(b->disk, name, at[1] + 60));
    crash(b, SIMDISK_EVERYTHING);
    assert_int_equal(corrupt(b), 1);
    assert_true(was_found(b, ids[0]) && was_found(b, ids[2]) && was_found(b, ids[3]));
    assert_false(was_found(b, ids[1]));
    assert_true(has_message(b->s, ids[3], 6, 600));
}

static void test_damaged_head_is_skipped(void **state)
{
    struct bench *b = *state;
    uint64_t ids[3];
    uint64_t at = 0;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(put_message(b->s, 2 * i, 600, 1, &ids[i]), 0);
        if (i == 1)
            at = index_find(b->s, ids[i])->offset;
    }
    char name[32];
    snprintf(name, sizeof name, "%08x.seg", b->s->active->number);
    assert_true(simdisk_rot(b->disk, name, at + 9)); /* the length itself: the next record is searched for */
    crash(b, SIMDISK_EVERYTHING);
    assert_int_equal(corrupt(b), 1);
    assert_true(was_found(b, ids[0]) && was_found(b, ids[2]));
    assert_false(was_found(b, ids[1]));
}

static void test_torn_tail_is_no_damage(void **state)
{
    struct bench *b = *state;
    uint64_t ids[3];
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(put_message(b->s, 2 * i, 600, 1, &ids[i]), 0);
    char name[32];
    snprintf(name, sizeof name, "%08x.seg", b->s->active->number);
    /* in the last batch, of which no later one says that it was synced */
    assert_true(simdisk_rot(b->disk, name, index_find(b->s, ids[2])->offset + 60));
    crash(b, SIMDISK_EVERYTHING);
    assert_int_equal(corrupt(b), 0);
    assert_true(was_found(b, ids[0]) && was_found(b, ids[1]));
    assert_false(was_found(b, ids[2]));
}

static void test_torn_chunk_takes_its_commit_along(void **state)
{
    struct bench *b = *state;
    static uint8_t body[100000];
    struct spool_ingest *in;
    struct waited w;
    uint64_t at = b->s->active->size + RECORD_HEAD_BYTES + BATCH_BYTES;
    char name[32];
    snprintf(name, sizeof name, "%08x.seg", b->s->active->number);
    memset(body, 'x', sizeof body);
    assert_int_equal(spool_ingest_open(b->s, &in), 0);
    assert_int_equal(spool_ingest_write(in, body, sizeof body), 0);
    waited_init(&w);
    spool_ingest_commit(in, envelope_make(1, 1), &w.op);
    simdisk_crash_at(b->disk, simdisk_calls(b->disk) + 2); /* chunk and commit written, not synced */
    assert_true(waited_wait(b->s, &w) != 0);
    assert_true(simdisk_rot(b->disk, name, at + RECORD_HEAD_BYTES + CHUNK_PREFIX_BYTES + 4));
    crash(b, SIMDISK_EVERYTHING);
    assert_int_equal(b->found, 0);
    assert_int_equal(corrupt(b), 0);
}

static void test_a_body_is_never_taken_for_a_record(void **state)
{
    struct bench *b = *state;
    uint64_t real, fake;
    /* a message whose content is the image of another's commit record, byte by byte, found after damage */
    assert_int_equal(put_message(b->s, 3, 50, 1, &real), 0);
    char name[32];
    snprintf(name, sizeof name, "%08x.seg", b->s->active->number);
    const struct msg *m = index_find(b->s, real);
    uint32_t bytes = record_bytes(m->len);
    uint8_t image[1024];
    assert_true(bytes * 2 < sizeof image);
    struct spool_ingest *in;
    assert_int_equal(spool_ingest_open(b->s, &in), 0);
    uint8_t noise[600];
    body_fill(2, sizeof noise, noise); /* keeps the block from being compressed */
    memcpy(image, simdisk_bytes(b->disk, name) + m->offset, bytes);
    put_u64(image + 16, 0x4242); /* another id: would be a new message */
    for (int shift = 0; shift < 8; shift++)
        assert_true(spool_ingest_write(in, "xxxxxxxx", (size_t)shift) >= 0 &&
                    spool_ingest_write(in, image, bytes) >= 0 &&
                    spool_ingest_write(in, noise, sizeof noise) >= 0);
    struct waited w;
    waited_init(&w);
    spool_ingest_commit(in, envelope_make(1, 1), &w.op);
    assert_int_equal(waited_wait(b->s, &w), 0);
    fake = w.op.id;
    assert_int_equal(put_message(b->s, 5, 50, 1, NULL), 0);
    assert_true(simdisk_rot(b->disk, name, index_find(b->s, fake)->offset + 9));
    crash(b, SIMDISK_EVERYTHING);
    assert_int_equal(b->found, 2);
    assert_false(was_found(b, 0x4242));
    assert_false(was_found(b, fake));
}

/* ---- segments of an earlier process ----------------------------------------------------------------------
 */

static void test_nothing_is_appended_to_an_earlier_segment(void **state)
{
    struct bench *b = *state;
    uint64_t id, later;
    assert_int_equal(put_message(b->s, 1, 700, 1, &id), 0);
    assert_int_equal(set_state(b->s, id, 0, RCPT_HELD, "held"), 0);
    uint32_t old = b->s->active->number;
    uint64_t end = b->s->active->size;
    /* not sealed: killed; what was in the page cache may still be lost after this start */
    crash(b, SIMDISK_EVERYTHING);
    assert_true(b->s->active->number > old);
    /* the commit was on disk when the state was written, and the last batch is written again */
    assert_true(index_find(b->s, id)->segment == old);
    assert_true(index_find(b->s, id)->state_segment > old);
    assert_int_equal(put_message(b->s, 2, 700, 1, &later), 0);
    char name[32];
    snprintf(name, sizeof name, "%08x.seg", old);
    const uint8_t *p = simdisk_bytes(b->disk, name);
    for (int64_t at = (int64_t)end; at < simdisk_size(b->disk, name); at++)
        assert_int_equal(p[at], 0);
    /* it was written again and synced before open returned */
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_true(has_message(b->s, id, 1, 700));
    for (uint32_t i = 0; i < b->found; i++)
        if (b->found_ids[i] == id)
            assert_int_equal(b->found_rcpt[i].state, RCPT_HELD);
}

static void test_unsynced_tail_is_durable_before_it_is_served(void **state)
{
    struct bench *b = *state;
    /* written, not synced, then killed: the next start finds it in the page cache */
    simdisk_crash_at(b->disk, simdisk_calls(b->disk) + 2); /* the write happens, the sync does not */
    assert_true(put_message(b->s, 1, 700, 1, NULL) != 0);
    crash(b, SIMDISK_EVERYTHING);
    assert_int_equal(b->found, 1);
    uint64_t id = b->found_ids[0];
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_true(was_found(b, id));
    assert_true(has_message(b->s, id, 1, 700));
}

/* ---- states and tombstones -------------------------------------------------------------------------------
 */

static void test_terminal_states_are_monotone(void **state)
{
    struct bench *b = *state;
    uint64_t id;
    assert_int_equal(put_message(b->s, 1, 100, 2, &id), 0);
    assert_int_equal(set_state(b->s, id, 1, RCPT_BOUNCED, "550 5.1.1 no"), 0);
    assert_int_equal(set_state(b->s, id, 1, RCPT_QUEUED, "later"), 0);
    assert_int_equal(set_state(b->s, id, 1, RCPT_DELIVERED, "250 ok"), 0);
    for (int i = 0; i < 2; i++) {
        struct spool_info *info;
        assert_int_equal(spool_info(b->s, id, &info), 0);
        assert_int_equal(info->rcpts[1].state, RCPT_BOUNCED);
        assert_int_equal(info->rcpts[1].reply.n, 12);
        spool_info_free(info);
        crash(b, SIMDISK_SYNCED_ONLY);
    }
}

/* Writes a segment by hand: records in whatever order the test wants. */
struct scribe {
    uint8_t bytes[SEGMENT_BYTES];
    uint32_t at;
    uint32_t number;
};

static void scribe_begin(struct scribe *sc, uint32_t number)
{
    memset(sc, 0, sizeof *sc);
    sc->number = number;
    sc->at = SEGMENT_HEADER_BYTES;
    segment_header_encode(&(struct segment_header){ number, 77, 1 }, sc->bytes);
}

static void scribe_put(struct scribe *sc, uint8_t type, uint64_t id, const uint8_t *payload, uint32_t n)
{
    memcpy(sc->bytes + sc->at + RECORD_HEAD_BYTES, payload, n);
    record_head_encode(&(struct record_head){ crc_of(payload, n), n, type, 0, id },
                       &(struct record_place){ 77, sc->number, sc->at }, sc->bytes + sc->at);
    sc->at += record_bytes(n);
}

static void scribe_commit(struct scribe *sc, uint64_t id, uint32_t nrcpts)
{
    struct buf env;
    buf_init(&env, 65536);
    struct envelope *e = envelope_make(id, nrcpts);
    e->id = id;
    assert_int_equal(envelope_encode(e, &env), 0);
    uint8_t payload[8192];
    struct commit c = { .content_crc = crc_of("", 0), .envelope = buf_span(&env) };
    commit_encode_fixed(&c, payload);
    memcpy(payload + COMMIT_FIXED_BYTES, env.data, env.len);
    scribe_put(sc, RECORD_COMMIT, id, payload, COMMIT_FIXED_BYTES + (uint32_t)env.len);
    buf_fini(&env);
}

static void scribe_state(struct scribe *sc, uint8_t type, uint64_t id, uint32_t rcpt, uint8_t to)
{
    uint8_t payload[256];
    struct spool_rcpt_update u = { .rcpt = rcpt, .to = { .state = to, .changed_ms = 5 } };
    put_u32(payload, 2);
    put_u32(payload + 4, 1);
    uint8_t *end = update_encode(&u, payload + UPDATES_FIXED_BYTES);
    if (type == RECORD_TOMBSTONE) {
        put_u32(end, sc->number);
        end += 4;
    }
    scribe_put(sc, type, id, payload, (uint32_t)(end - payload));
}

static void scribe_end(struct scribe *sc, struct simdisk *d)
{
    const struct disk *disk = simdisk_disk(d);
    char name[32];
    snprintf(name, sizeof name, "sim/%08x.seg", sc->number);
    int fd = disk->create(disk->ctx, name);
    assert_true(fd >= 0);
    struct iovec iov = { sc->bytes, sc->at };
    assert_int_equal(disk->pwritev(disk->ctx, fd, &iov, 1, 0), sc->at);
    assert_int_equal(disk->datasync(disk->ctx, fd), 0);
    assert_int_equal(disk->sync_dir(disk->ctx, "sim"), 0);
}

static void test_order_of_records_does_not_matter(void **state)
{
    struct bench *b = *state;
    static struct scribe sc;
    spool_close(b->s);
    simdisk_free(b->disk);
    b->disk = simdisk_new();
    scribe_begin(&sc, 1);
    scribe_state(&sc, RECORD_TOMBSTONE, 100, 0, RCPT_DELIVERED); /* dead before it is born */
    scribe_state(&sc, RECORD_STATE, 200, 1, RCPT_BOUNCED);       /* states first, then the commit */
    scribe_state(&sc, RECORD_STATE, 200, 1, RCPT_QUEUED);
    scribe_commit(&sc, 200, 2);
    scribe_commit(&sc, 100, 2);
    scribe_state(&sc, RECORD_STATE, 100, 1, RCPT_QUEUED);
    scribe_state(&sc, RECORD_STATE, 300, 0, RCPT_QUEUED); /* of a message that is long gone */
    scribe_end(&sc, b->disk);
    assert_int_equal(reopen(b), 0);
    for (int life = 0; life < 2; life++) {
        assert_int_equal(b->found, 1);
        assert_int_equal(b->found_ids[0], 200);
        struct spool_info *info;
        assert_int_equal(spool_info(b->s, 200, &info), 0);
        assert_int_equal(info->rcpts[1].state, RCPT_BOUNCED);
        assert_int_equal(info->rcpts[0].state, RCPT_QUEUED);
        spool_info_free(info);
        assert_int_equal(set_state(b->s, 100, 1, RCPT_QUEUED, ""), ERR_NOT_FOUND);
        crash(b, SIMDISK_SYNCED_ONLY);
    }
}

static void test_tombstone_outlives_its_segment(void **state)
{
    struct bench *b = *state;
    uint64_t stays, dies;
    /* the data of both in one segment, which is kept by the one that stays */
    assert_int_equal(put_message(b->s, 2, 11000, 1, &stays), 0);
    assert_int_equal(put_message(b->s, 4, 800, 1, &dies), 0);
    uint32_t data = index_find(b->s, dies)->segment;
    assert_int_equal(index_find(b->s, stays)->segment, data);
    fill_dead(b, 10);
    assert_int_equal(set_state(b->s, dies, 0, RCPT_DELIVERED, "250 ok"), 0);
    uint32_t tomb = b->s->active->number;
    fill_dead(b, 30);
    background(b);
    assert_null(segments_find(b->s, tomb)); /* compacted: so the tombstone was written again */
    assert_non_null(segments_find(b->s, data));
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_true(was_found(b, stays));
    assert_false(was_found(b, dies));
    /* and it goes when its segment has gone, not a moment earlier */
    assert_int_equal(set_state(b->s, stays, 0, RCPT_DELIVERED, "250 ok"), 0);
    fill_dead(b, 30);
    background(b);
    assert_null(segments_find(b->s, data));
    fill_dead(b, 30);
    background(b);
    struct spool_stats st;
    spool_stats(b->s, &st);
    assert_true(st.segments <= 3);
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_int_equal(b->found, 0);
}

static void test_unlink_that_is_not_synced_resurrects_nothing(void **state)
{
    struct bench *b = *state;
    uint64_t id;
    assert_int_equal(put_message(b->s, 2, 3000, 1, &id), 0);
    uint32_t data = index_find(b->s, id)->segment;
    assert_int_equal(set_state(b->s, id, 0, RCPT_DELIVERED, "250 ok"), 0);
    fill_dead(b, 20);
    /* every crash point of the compaction, with the unlink lost */
    for (uint64_t k = 1; k < 12; k++) {
        struct simdisk *copy = simdisk_after(b->disk, SIMDISK_SYNCED_ONLY, k);
        struct bench other = { .disk = copy };
        assert_int_equal(reopen(&other), 0);
        simdisk_crash_at(copy, simdisk_calls(copy) + k);
        background(&other);
        struct bench third = { .disk = simdisk_after(copy, SIMDISK_SYNCED_ONLY, k) };
        spool_close(other.s);
        simdisk_free(copy);
        assert_int_equal(reopen(&third), 0);
        assert_int_equal(third.found, 0);
        spool_close(third.s);
        simdisk_free(third.disk);
    }
    (void)data;
}

static void test_tombstone_names_a_copy_that_it_overtook(void **state)
{
    struct bench *b = *state;
    uint64_t id;
    assert_int_equal(put_message(b->s, 2, 700, 1, &id), 0);
    uint32_t number = index_find(b->s, id)->segment;
    struct segment *data = segments_find(b->s, number);
    fill_dead(b, 10);
    assert_ptr_not_equal(data, b->s->active);
    /* the copy is queued, not written, when the message ends */
    const struct segment *now = b->s->active;
    uint64_t before = 0;
    for (uint32_t i = 0; i < now->ntombs; i++)
        before += now->tombs[i].target == now->number ? now->tombs[i].bytes : 0;
    assert_int_equal(compact_copy(b->s, data, COPY_ALL, 0), 0);
    assert_int_equal(set_state(b->s, id, 0, RCPT_DELIVERED, "250 ok"), 0);
    assert_ptr_equal(b->s->active, now);
    uint64_t here = 0;
    for (uint32_t i = 0; i < now->ntombs; i++)
        here += now->tombs[i].target == now->number ? now->tombs[i].bytes : 0;
    assert_true(here > before);
    background(b);
    assert_null(segments_find(b->s, number));
    fill_dead(b, 30);
    background(b);
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_int_equal(b->found, 0);
}

static void test_damaged_segment_keeps_its_dead(void **state)
{
    struct bench *b = *state;
    uint64_t rotten, moved;
    assert_int_equal(put_message(b->s, 2, 700, 1, &rotten), 0);
    assert_int_equal(put_message(b->s, 4, 700, 1, &moved), 0);
    uint32_t data = index_find(b->s, moved)->segment;
    assert_true(simdisk_rot(b->disk, "00000001.seg", index_find(b->s, rotten)->offset + 90));
    fill_dead(b, 20);
    background(b);
    /* one moved away, the other cannot be read: the segment stays for it, and with it the commit of the one
     * that moved */
    assert_non_null(segments_find(b->s, data));
    assert_true(index_find(b->s, moved)->segment != data);
    assert_int_equal(set_state(b->s, moved, 0, RCPT_DELIVERED, "250 ok"), 0);
    for (int life = 0; life < 3; life++) {
        fill_dead(b, 30);
        background(b);
        crash(b, SIMDISK_SYNCED_ONLY);
        assert_false(was_found(b, moved));
    }
}

static void test_compaction_waits_for_history(void **state)
{
    struct bench *b = *state;
    spool_close(b->s);
    b->history = true;
    assert_int_equal(reopen(b), 0);
    fill_dead(b, 20);
    assert_int_equal(b->ended, 20);
    background(b);
    struct spool_stats st;
    spool_stats(b->s, &st);
    assert_int_equal(st.compacted_segments, 0 + 1); /* the sealed, empty one of the life before */
    assert_true(st.held_by_history >= 4);
    /* the history lost all of it: a start tells it again */
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_int_equal(b->ended, 20);
    uint64_t all = b->ended_seq;
    spool_history_done(b->s, all - 1);
    background(b);
    spool_stats(b->s, &st);
    assert_true(st.held_by_history == 1);
    spool_history_done(b->s, all);
    background(b);
    spool_stats(b->s, &st);
    assert_int_equal(st.held_by_history, 0);
    assert_true(st.segments <= 2);
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_int_equal(b->ended, 0);
}

/* A start tells an ending with the envelope: the notes that the history had in memory went with the process.
 */
static void test_endings_bring_their_envelope(void **state)
{
    struct bench *b = *state;
    spool_close(b->s);
    b->history = true;
    for (int where = 0; where < 3; where++) {
        uint64_t id;
        assert_int_equal(reopen(b), 0);
        uint32_t others = b->ended;
        assert_int_equal(put_message(b->s, 40 + (uint64_t)where, 700, 2, &id), 0);
        uint32_t data = index_find(b->s, id)->segment;
        assert_int_equal(set_state(b->s, id, 0, RCPT_DELIVERED, "250 ok"), 0);
        assert_int_equal(b->ended_known, others); /* whoever ends it knows it */
        if (where == 1)
            fill_dead(b, 10); /* the end is in another segment than the commit */
        if (where == 2) {
            /* the commit is read after an ending: compaction moved it */
            fill_dead(b, 10);
            assert_int_equal(compact_copy(b->s, segments_find(b->s, data), COPY_ALL, 0), 0);
            assert_int_equal(spool_flush(b->s), 0);
            assert_true(index_find(b->s, id)->segment > data);
        }
        assert_int_equal(set_state(b->s, id, 1, RCPT_BOUNCED, "550 no"), 0);
        background(b); /* nothing that the history has not may go */
        crash(b, where == 0 ? SIMDISK_EVERYTHING : SIMDISK_SYNCED_ONLY);
        assert_false(was_found(b, id));
        assert_int_equal(b->ended_known, b->ended);
        assert_int_equal(b->ended_id, id);
        assert_int_equal(b->ended_nrcpts, 2);
        char want[64];
        snprintf(want, sizeof want, "r1.%x@example.net", 40u + (unsigned)where);
        assert_string_equal(b->ended_rcpt, want);
        spool_close(b->s); /* from summaries the same */
        assert_int_equal(reopen(b), 0);
        assert_int_equal(b->ended_known, b->ended);
        assert_int_equal(b->ended_id, id);
        spool_close(b->s);
    }
    assert_int_equal(reopen(b), 0);
}

/* All of a segment's mail ended, each ending is in a later one: the envelopes stay until the history has it.
 */
static void test_compaction_keeps_envelopes_for_history(void **state)
{
    struct bench *b = *state;
    uint64_t ids[8];
    spool_close(b->s);
    b->history = true;
    assert_int_equal(reopen(b), 0);
    for (int i = 0; i < 8; i++)
        assert_int_equal(put_message(b->s, 2 * (uint64_t)i, 700, 1, &ids[i]), 0);
    uint32_t data = index_find(b->s, ids[0])->segment;
    b->s->rotate = true;
    fill_dead(b, 12);
    for (int i = 0; i < 8; i++)
        assert_int_equal(set_state(b->s, ids[i], 0, RCPT_DELIVERED, "250 ok"), 0);
    uint64_t last = b->ended_seq;
    assert_true(last >> 32 > data);
    spool_history_done(b->s, last - 1);
    background(b);
    assert_non_null(segments_find(b->s, data));
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_int_equal(b->ended_id, ids[7]);
    assert_string_equal(b->ended_rcpt, "r0.e@example.net");
    spool_history_done(b->s, last);
    background(b);
    assert_null(segments_find(b->s, data));
}

static void test_report_closes_in_one_record(void **state)
{
    struct bench *b = *state;
    uint64_t about;
    spool_close(b->s);
    b->history = true;
    assert_int_equal(reopen(b), 0);
    assert_int_equal(put_message(b->s, 2, 500, 1, &about), 0);
    struct envelope_close close = { about, 0, RCPT_BOUNCED, SPAN_LIT("550 5.1.1 no such user") };
    for (int refused = 1; refused >= 0; refused--) {
        struct spool_ingest *in;
        struct waited w;
        assert_int_equal(spool_ingest_open(b->s, &in), 0);
        struct envelope *e = envelope_make(9, 1);
        e->flags = ENVELOPE_DSN;
        e->closes = &close;
        e->ncloses = 1;
        waited_init(&w);
        if (refused) {
            simdisk_capacity(b->disk, 1); /* the report finds no room: the recipient stays open */
            b->s->rotate = true;
            simdisk_fault(b->disk, SIMDISK_FAIL_WRITE, 1, -ENOSPC);
        }
        spool_ingest_commit(in, e, &w.op);
        int err = waited_wait(b->s, &w);
        simdisk_capacity(b->disk, 0);
        b->s->full_until_ns = 0;
        if (refused) {
            assert_int_equal(err, ERR_DISK_FULL);
            assert_true(has_message(b->s, about, 2, 500));
            assert_int_equal(b->ended, 0);
        } else {
            assert_int_equal(err, 0);
            assert_false(has_message(b->s, about, 2, 500));
            assert_int_equal(b->ended, 1);
        }
    }
    /* no tombstone was written yet: the one record is enough */
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_false(was_found(b, about));
    assert_int_equal(b->found, 1);
    assert_int_equal(b->ended, 1);
    background(b);
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_false(was_found(b, about));
}

static void test_reported_end_outlives_the_report(void **state)
{
    struct bench *b = *state;
    uint64_t keeper, about;
    assert_int_equal(put_message(b->s, 2, 11000, 1, &keeper), 0);
    assert_int_equal(put_message(b->s, 4, 500, 1, &about), 0);
    uint32_t data = index_find(b->s, about)->segment;
    assert_int_equal(index_find(b->s, keeper)->segment, data);
    fill_dead(b, 10);
    background(b); /* its summary says that it is sealed, so it is not written again */
    struct envelope_close close = { about, 0, RCPT_BOUNCED, SPAN_LIT("550 5.1.1 no such user") };
    struct spool_ingest *in;
    struct waited w;
    assert_int_equal(spool_ingest_open(b->s, &in), 0);
    struct envelope *e = envelope_make(9, 1);
    e->closes = &close;
    e->ncloses = 1;
    waited_init(&w);
    spool_ingest_commit(in, e, &w.op);
    assert_int_equal(waited_wait(b->s, &w), 0);
    /* here the report's record alone says that the other message ended; the start writes the tombstone */
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_false(was_found(b, about));
    assert_true(was_found(b, w.op.id));
    struct spool_stats st;
    spool_stats(b->s, &st);
    assert_int_equal(st.messages, 2);
    assert_int_equal(set_state(b->s, w.op.id, 0, RCPT_DELIVERED, "250 ok"), 0);
    for (int life = 0; life < 3; life++) {
        fill_dead(b, 30);
        background(b);
        assert_non_null(segments_find(b->s, data));
        crash(b, SIMDISK_SYNCED_ONLY);
        assert_int_equal(b->found, 1);
        assert_true(was_found(b, keeper));
    }
}

/* ---- ids -------------------------------------------------------------------------------------------------
 */

static void test_ids_do_not_go_back_with_the_clock(void **state)
{
    struct bench *b = *state;
    static struct scribe sc;
    spool_close(b->s);
    simdisk_free(b->disk);
    b->disk = simdisk_new();
    uint64_t future = (uint64_t)4000000000000 << 20; /* a life whose clock was in 2096 */
    scribe_begin(&sc, 1);
    scribe_commit(&sc, future, 2);
    scribe_end(&sc, b->disk);
    assert_int_equal(reopen(b), 0);
    uint64_t id, last = future;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(put_message(b->s, 1, 10, 1, &id), 0);
        assert_true(id > last);
        last = id;
        assert_int_equal(set_state(b->s, id, 0, RCPT_DELIVERED, ""), 0);
        fill_dead(b, 20);
        background(b); /* no record of them is left, only floors */
        crash(b, SIMDISK_SYNCED_ONLY);
    }
    struct spool_ingest *in;
    assert_int_equal(spool_ingest_open(b->s, &in), 0);
    assert_true(spool_ingest_id(in) > last);
    last = spool_ingest_id(in);
    spool_ingest_abort(in); /* given, never on disk */
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_int_equal(spool_ingest_open(b->s, &in), 0);
    assert_true(spool_ingest_id(in) > last);
    spool_ingest_abort(in);
}

/* ---- room
 * -------------------------------------------------------------------------------------------------- */

static void test_nearly_full_refuses_mail_not_states(void **state)
{
    struct bench *b = *state;
    uint64_t id;
    assert_int_equal(put_message(b->s, 1, 100, 1, &id), 0);
    spool_close(b->s);
    b->min_free = 200000;
    simdisk_capacity(b->disk, 150000);
    assert_int_equal(reopen(b), 0);
    assert_int_equal(put_message(b->s, 1, 100, 1, NULL), ERR_DISK_FULL);
    assert_int_equal(set_state(b->s, id, 0, RCPT_QUEUED, "451 later"), 0);
    assert_int_equal(set_state(b->s, id, 0, RCPT_DELIVERED, "250 ok"), 0);
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_int_equal(b->found, 0);
}

static void test_full_disk_keeps_states_until_there_is_room(void **state)
{
    struct bench *b = *state;
    uint64_t id, refused = 0;
    assert_int_equal(put_message(b->s, 1, 100, 1, &id), 0);
    fill_dead(b, 3);
    /* not a byte more: the write that does not fit cuts the segment, and there is no other */
    simdisk_capacity(b->disk, 1);
    struct spool_ingest *in;
    struct waited put, upd;
    assert_int_equal(spool_ingest_open(b->s, &in), 0);
    uint8_t body[9000];
    body_fill(2, sizeof body, body);
    assert_int_equal(spool_ingest_write(in, body, sizeof body), 0);
    refused = spool_ingest_id(in);
    waited_init(&put);
    waited_init(&upd);
    spool_ingest_commit(in, envelope_make(1, 1), &put.op);
    struct spool_rcpt_update u = { .to = { .state = RCPT_DELIVERED, .reply = SPAN_LIT("250 ok") } };
    assert_int_equal(spool_update(b->s, id, &u, 1, &upd.op), 0);
    for (int i = 0; i < 5; i++)
        (void)spool_writer_step(b->s);
    assert_int_equal(put.done, 1);
    assert_int_equal(put.op.status, ERR_DISK_FULL);
    assert_int_equal(upd.done, 0); /* waits */
    assert_int_equal(b->failed, 0);
    simdisk_capacity(b->disk, 0);
    b->s->full_until_ns = 0;
    assert_int_equal(waited_wait(b->s, &upd), 0);
    assert_int_equal(put_message(b->s, 1, 100, 1, NULL), 0);
    crash(b, SIMDISK_EVERYTHING);
    assert_false(was_found(b, id));
    assert_false(was_found(b, refused));
    assert_int_equal(b->found, 1);
    assert_int_equal(corrupt(b), 0);
}

/* ---- readers, summaries, aborted messages
 * ------------------------------------------------------------------ */

static void test_reader_keeps_its_segments(void **state)
{
    struct bench *b = *state;
    uint64_t id;
    assert_int_equal(put_message(b->s, 2, 150000, 1, &id), 0);
    struct spool_reader *r;
    assert_int_equal(spool_reader_open(b->s, id, &r), 0);
    assert_int_equal(set_state(b->s, id, 0, RCPT_DELIVERED, "250 ok"), 0);
    fill_dead(b, 20);
    background(b);
    static uint8_t body[150000];
    body_fill(2, sizeof body, body);
    size_t at = 0;
    for (;;) {
        const char *p;
        size_t n;
        assert_int_equal(spool_reader_next(r, &p, &n), 0);
        if (n == 0)
            break;
        assert_memory_equal(body + at, p, n);
        at += n;
    }
    assert_int_equal(at, sizeof body);
    spool_reader_close(r);
}

static void test_bad_summary_means_reading_the_segment(void **state)
{
    struct bench *b = *state;
    uint64_t ids[20];
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(put_message(b->s, i, 2500, 1, &ids[i]), 0);
    background(b);
    assert_true(simdisk_exists(b->disk, "00000001.sum"));
    assert_true(simdisk_exists(b->disk, "00000002.sum"));
    assert_true(simdisk_rot(b->disk, "00000001.sum", 100));
    assert_true(simdisk_rot(b->disk, "00000002.sum", 30));
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_int_equal(b->found, 20);
    for (uint64_t i = 0; i < 20; i++)
        assert_true(has_message(b->s, ids[i], i, 2500));
    assert_int_equal(corrupt(b), 0);
}

static void test_open_message_pins_its_chunks(void **state)
{
    struct bench *b = *state;
    struct spool_ingest *in;
    static uint8_t body[140000];
    body_fill(2, sizeof body, body);
    assert_int_equal(spool_ingest_open(b->s, &in), 0);
    assert_true(spool_ingest_write(in, body, sizeof body) >= 0);
    fill_dead(b, 20);
    background(b); /* nothing but the pin says that these chunks are needed */
    struct waited w;
    waited_init(&w);
    spool_ingest_commit(in, envelope_make(2, 1), &w.op);
    assert_int_equal(waited_wait(b->s, &w), 0);
    assert_true(has_message(b->s, w.op.id, 2, sizeof body));
    /* one that is given up leaves room behind */
    assert_int_equal(spool_ingest_open(b->s, &in), 0);
    assert_true(spool_ingest_write(in, body, sizeof body) >= 0);
    spool_ingest_abort(in);
    assert_int_equal(set_state(b->s, w.op.id, 0, RCPT_DELIVERED, ""), 0);
    fill_dead(b, 20);
    background(b);
    struct spool_stats st;
    spool_stats(b->s, &st);
    assert_true(st.segments <= 3);
    assert_int_equal(st.live_bytes, 0);
}

static void test_compaction_keeps_what_lives(void **state)
{
    struct bench *b = *state;
    uint64_t small, large, multi;
    assert_int_equal(put_message(b->s, 6, 700, 1, &small), 0);
    assert_int_equal(put_message(b->s, 8, 140000, 1, &large), 0);
    assert_int_equal(put_message(b->s, 10, 900, 3, &multi), 0);
    assert_int_equal(set_state(b->s, multi, 1, RCPT_BOUNCED, "550 5.7.1 no"), 0);
    assert_int_equal(set_state(b->s, multi, 2, RCPT_HELD, "held by an operator"), 0);
    uint32_t first = index_find(b->s, small)->segment;
    for (int round = 0; round < 4; round++) {
        fill_dead(b, 25);
        background(b);
        assert_true(has_message(b->s, small, 6, 700));
        assert_true(has_message(b->s, large, 8, 140000));
        struct spool_info *info;
        assert_int_equal(spool_info(b->s, multi, &info), 0);
        assert_int_equal(info->rcpts[0].state, RCPT_QUEUED);
        assert_int_equal(info->rcpts[1].state, RCPT_BOUNCED);
        assert_int_equal(info->rcpts[2].state, RCPT_HELD);
        assert_memory_equal(info->rcpts[1].reply.p, "550 5.7.1 no", 12);
        spool_info_free(info);
        crash(b, round % 2 == 0 ? SIMDISK_SYNCED_ONLY : SIMDISK_EVERYTHING);
        assert_int_equal(b->found, 3);
    }
    assert_true(index_find(b->s, small)->segment > first);
    struct spool_stats st;
    spool_stats(b->s, &st);
    assert_int_equal(st.messages, 3);
    assert_int_equal(corrupt(b), 0);
}

static uint32_t room_calls;

static void on_room(void *ctx)
{
    (void)ctx;
    room_calls++;
}

static void test_a_fast_sender_is_told_to_wait(void **state)
{
    struct bench *b = *state;
    struct spool_ingest *in;
    static uint8_t block[100000];
    body_fill(2, sizeof block, block);
    room_calls = 0;
    assert_int_equal(spool_ingest_open(b->s, &in), 0);
    spool_ingest_on_room(in, on_room, NULL);
    int n = 0, answer = 0;
    while (answer == 0 && n++ < 100)
        answer = spool_ingest_write(in, block, sizeof block);
    assert_int_equal(answer, 1);
    assert_true(n <= 8); /* about half a MiB */
    assert_int_equal(room_calls, 0);
    while (spool_writer_step(b->s))
        ;
    assert_int_equal(room_calls, 1);
    assert_int_equal(spool_ingest_write(in, block, sizeof block), 0);
    spool_ingest_abort(in);
}

static void test_too_many_messages(void **state)
{
    struct bench *b = *state;
    b->s->config.max_messages = 2;
    uint64_t id;
    assert_int_equal(put_message(b->s, 1, 10, 1, &id), 0);
    assert_int_equal(put_message(b->s, 1, 10, 1, NULL), 0);
    assert_int_equal(put_message(b->s, 1, 10, 1, NULL), ERR_LIMIT);
    assert_int_equal(set_state(b->s, id, 0, RCPT_DELIVERED, ""), 0);
    assert_int_equal(put_message(b->s, 1, 10, 1, NULL), 0);
}

static void count_say(void *ctx, const char *line)
{
    (void)line;
    ++*(int *)ctx;
}

static void test_verify_finds_what_is_wrong(void **state)
{
    struct bench *b = *state;
    uint64_t a, c;
    assert_int_equal(put_message(b->s, 2, 3000, 1, &a), 0);
    assert_int_equal(put_message(b->s, 4, 100000, 1, &c), 0);
    assert_int_equal(put_message(b->s, 6, 3000, 1, NULL), 0);
    uint32_t at = index_find(b->s, a)->offset;
    struct spool_verify_result v;
    assert_int_equal(spool_verify("sim", simdisk_disk(b->disk), NULL, NULL, &v), -EWOULDBLOCK);
    spool_close(b->s);
    uint64_t calls = simdisk_calls(b->disk);
    int said = 0;
    assert_int_equal(spool_verify("sim", simdisk_disk(b->disk), count_say, &said, &v), 0);
    assert_int_equal(v.messages, 3);
    assert_int_equal(said, 0);
    assert_true(simdisk_rot(b->disk, "00000001.seg", at + 100));
    /* a chunk of the second message, far behind what a start would read */
    assert_true(simdisk_rot(b->disk, "00000002.seg", 5000));
    int damaged = spool_verify("sim", simdisk_disk(b->disk), count_say, &said, &v);
    assert_true(damaged >= 2);
    assert_int_equal(v.damaged, damaged);
    assert_true(said >= 2);
    assert_int_equal(simdisk_calls(b->disk), calls); /* it changed nothing */
    assert_int_equal(reopen(b), 0);
}

#define RULE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    log_set_level(getenv("SPOOL_TEST_LOG") != NULL ? LOG_LEVEL_INFO : (enum log_level)0);
    const struct CMUnitTest tests[] = {
        RULE(test_failed_write_seals),
        RULE(test_failed_sync_stops),
        RULE(test_answer_follows_both_syncs),
        RULE(test_lone_commit_costs_one_sync),
        RULE(test_older_segment_is_synced_first),
        RULE(test_damage_is_not_a_torn_tail),
        RULE(test_damaged_head_is_skipped),
        RULE(test_torn_tail_is_no_damage),
        RULE(test_torn_chunk_takes_its_commit_along),
        RULE(test_a_body_is_never_taken_for_a_record),
        RULE(test_nothing_is_appended_to_an_earlier_segment),
        RULE(test_unsynced_tail_is_durable_before_it_is_served),
        RULE(test_terminal_states_are_monotone),
        RULE(test_order_of_records_does_not_matter),
        RULE(test_tombstone_outlives_its_segment),
        RULE(test_unlink_that_is_not_synced_resurrects_nothing),
        RULE(test_tombstone_names_a_copy_that_it_overtook),
        RULE(test_damaged_segment_keeps_its_dead),
        RULE(test_compaction_waits_for_history),
        RULE(test_endings_bring_their_envelope),
        RULE(test_compaction_keeps_envelopes_for_history),
        RULE(test_report_closes_in_one_record),
        RULE(test_reported_end_outlives_the_report),
        RULE(test_ids_do_not_go_back_with_the_clock),
        RULE(test_nearly_full_refuses_mail_not_states),
        RULE(test_full_disk_keeps_states_until_there_is_room),
        RULE(test_reader_keeps_its_segments),
        RULE(test_bad_summary_means_reading_the_segment),
        RULE(test_open_message_pins_its_chunks),
        RULE(test_compaction_keeps_what_lives),
        RULE(test_a_fast_sender_is_told_to_wait),
        RULE(test_too_many_messages),
        RULE(test_verify_finds_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
