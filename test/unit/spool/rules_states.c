/* One directed test for each rule about states, tombstones, endings told of and ids: none goes back, whatever
 * the order of records and whichever segments are gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "rules_bench.h"

#include <errno.h>
#include <stdlib.h>

/* ---- states and tombstones ---- */

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
    fill_dead(b, 20);
    assert_int_equal(set_state(b->s, id, 0, RCPT_DELIVERED, "250 ok"), 0);
    assert_true(b->s->active->number >
                data); /* what ends it is in another segment, which can go without it */
    fill_dead(b, 20);
    /* every crash point of the compaction, with all unlinks lost that were not synced, and with some */
    for (uint64_t k = 1; k < 24; k++) {
        struct simdisk *copy = simdisk_after(b->disk, SIMDISK_SYNCED_ONLY, k);
        struct bench other = { .disk = copy };
        assert_int_equal(reopen(&other), 0);
        simdisk_crash_at(copy, simdisk_calls(copy) + k);
        background(&other);
        for (uint64_t some = 0; some < 12; some++) {
            struct bench third = {
                .disk = simdisk_after(copy, some == 0 ? SIMDISK_SYNCED_ONLY : SIMDISK_SUBSET, k + 1000 * some)
            };
            assert_int_equal(reopen(&third), 0);
            assert_int_equal(third.found, 0);
            spool_close(third.s);
            simdisk_free(third.disk);
        }
        spool_close(other.s);
        simdisk_free(copy);
    }
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

/* ---- ids ---- */

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

int main(void)
{
    bench_log();
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
