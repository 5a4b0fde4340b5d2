/* One directed test for each rule about what is kept and for whom: readers, messages under way, summaries,
 * compaction; and about bounds and verification. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "rules_bench.h"

#include <errno.h>

/* ---- readers, summaries, aborted messages ---- */

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

/* A message ends while its copy is being written. */
static struct {
    struct spool *s;
    const struct disk *below;
    uint64_t id;
    bool done;
} ending;

static ssize_t pwritev_and_end(void *ctx, int fd, const struct iovec *iov, int n, uint64_t offset)
{
    const struct msg *m = ending.done ? NULL : index_find(ending.s, ending.id);
    if (m != NULL && (m->flags & MSG_MOVING) != 0) {
        struct spool_rcpt_update u = { .to = { .state = RCPT_DELIVERED, .reply = SPAN_LIT("250 ok") } };
        ending.done = true;
        assert_int_equal(spool_update(ending.s, ending.id, &u, 1, NULL), 0);
    }
    return ending.below->pwritev(ctx, fd, iov, n, offset);
}

static void test_compaction_overtaken_by_an_end(void **state)
{
    struct bench *b = *state;
    struct disk disk = *b->s->disk;
    uint64_t id;
    assert_int_equal(put_message(b->s, 2, 700, 1, &id), 0);
    uint32_t number = index_find(b->s, id)->segment;
    fill_dead(b, 10);
    ending.s = b->s;
    ending.below = b->s->disk;
    ending.id = id;
    ending.done = false;
    disk.pwritev = pwritev_and_end;
    b->s->disk = &disk;
    background(b);
    b->s->disk = ending.below;
    assert_true(ending.done);
    assert_null(segments_find(b->s, number)); /* the copy is what counts until the end is on disk */
    assert_int_equal(spool_flush(b->s), 0);
    struct spool_stats st;
    spool_stats(b->s, &st);
    assert_int_equal(st.live_bytes, 0);
    fill_dead(b, 30);
    background(b);
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_int_equal(b->found, 0);
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

int main(void)
{
    bench_log();
    const struct CMUnitTest tests[] = {
        RULE(test_reader_keeps_its_segments),
        RULE(test_bad_summary_means_reading_the_segment),
        RULE(test_open_message_pins_its_chunks),
        RULE(test_compaction_keeps_what_lives),
        RULE(test_compaction_overtaken_by_an_end),
        RULE(test_a_fast_sender_is_told_to_wait),
        RULE(test_too_many_messages),
        RULE(test_verify_finds_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
