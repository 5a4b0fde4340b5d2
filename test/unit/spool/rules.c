/* One directed test for each rule of the spool that closes a known way to lose or repeat mail; here: of
 * writing, of what a start makes of damage and torn tails, and of a full disk. States, tombstones and ids are
 * in rules_states.c, what is kept and for whom in rules_keep.c. The crash tests visit the same ground at
 * random; these say by name which rule broke. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "rules_bench.h"

#include <errno.h>

/* ---- writing ---- */

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

/* ---- damage and torn tails ---- */

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

/* ---- segments of an earlier process ---- */

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

/* ---- room ---- */

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

/* Refused without a try, they must not put off the next one: else a steady stream of them ends it for good.
 */
static void test_refused_messages_do_not_put_off_the_next_try(void **state)
{
    struct bench *b = *state;
    fill_dead(b, 3);
    simdisk_capacity(b->disk, 1);
    assert_int_equal(put_message(b->s, 2, 9000, 1, NULL), ERR_DISK_FULL);
    b->s->full_until_ns += 60000000000;
    int64_t next_ns = b->s->full_until_ns;
    simdisk_capacity(b->disk, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(put_message(b->s, 3, 100, 1, NULL), ERR_DISK_FULL);
    assert_int_equal(b->s->full_until_ns, next_ns);
    b->s->full_until_ns = 0;
    assert_int_equal(put_message(b->s, 4, 100, 1, NULL), 0);
}

int main(void)
{
    bench_log();
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
        RULE(test_nearly_full_refuses_mail_not_states),
        RULE(test_full_disk_keeps_states_until_there_is_room),
        RULE(test_refused_messages_do_not_put_off_the_next_try),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
