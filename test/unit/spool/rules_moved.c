/* One directed test for each rule about messages that move between nodes: a copy that came is inert until it is said
 * to be ours, whatever crashes; a message that comes back is another one than the one that went; what is leaving stays
 * what it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "rules_bench.h"

#define THEIRS ((UINT64_C(1700000000000) << 20) | (9u << 12) | 7u) /* accepted by node 7 */

static int put_moved(struct spool *s, uint64_t id, uint32_t nrcpts, uint8_t flags)
{
    struct spool_ingest *in;
    int err = spool_ingest_open_moved(s, id, &in);
    if (err != 0)
        return err;
    assert_true(spool_ingest_id(in) == id);
    assert_int_equal(spool_ingest_write(in, "x\r\n", 3), 0);
    struct envelope e = *envelope_make(id, nrcpts);
    e.flags = flags;
    struct waited w;
    waited_init(&w);
    spool_ingest_commit(in, &e, &w.op);
    err = waited_wait(s, &w);
    assert_true(w.op.id == id);
    return err;
}

static uint8_t state_of(struct spool *s, uint64_t id, uint32_t rcpt)
{
    struct spool_info *info;
    assert_int_equal(spool_info(s, id, &info), 0);
    uint8_t state = info->rcpts[rcpt].state;
    spool_info_free(info);
    return state;
}

static void test_ids(void **state)
{
    (void)state;
    uint64_t id = THEIRS, moved = id;
    char first[SPOOL_ID_TEXT], text[SPOOL_ID_TEXT];
    spool_id_format(id, first);
    for (uint32_t hop = 1; hop <= SPOOL_ID_HOPS_MAX; hop++) {
        moved = spool_id_moved(moved);
        assert_int_equal(spool_id_hop(moved), hop);
        assert_true(spool_id_public(moved) == id);
        spool_id_format(moved, text);
        assert_string_equal(text, first); /* people see one message */
    }
    assert_true(spool_id_moved(moved) == 0);
}

/* Between the copy's sync and the word that it is ours, at every kind of crash. */
static void test_a_copy_is_inert(void **state)
{
    struct bench *b = *state;
    uint64_t id = spool_id_moved(THEIRS);
    assert_int_equal(put_moved(b->s, id, 2, ENVELOPE_INERT), 0);
    assert_int_equal(put_moved(b->s, id, 2, ENVELOPE_INERT), ERR_EXISTS);
    assert_int_equal(put_moved(b->s, spool_id_moved(id), 1, ENVELOPE_INERT | ENVELOPE_HELD), 0);
    for (int i = 0; i < 3; i++) {
        crash(b, i == 0 ? SIMDISK_SYNCED_ONLY : SIMDISK_EVERYTHING);
        assert_int_equal(b->found, 2);
        assert_int_equal(state_of(b->s, id, 0), RCPT_INERT);
        assert_int_equal(state_of(b->s, id, 1), RCPT_INERT);
        assert_int_equal(state_of(b->s, spool_id_moved(id), 0), RCPT_INERT_HELD);
    }
    /* What it brought along is written down while it is inert, and is there when it becomes ours. */
    assert_int_equal(set_state(b->s, id, 0, RCPT_INERT, "451 4.2.1 later"), 0);
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_int_equal(state_of(b->s, id, 0), RCPT_INERT);
    assert_int_equal(set_state(b->s, id, 0, RCPT_QUEUED, "451 4.2.1 later"), 0);
    assert_int_equal(set_state(b->s, id, 1, RCPT_HELD, ""), 0);
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_int_equal(state_of(b->s, id, 0), RCPT_QUEUED);
    assert_int_equal(state_of(b->s, id, 1), RCPT_HELD);
    assert_int_equal(corrupt(b), 0);
}

/* There and back again: the tombstone of the first stay does not touch the second. */
static void test_it_comes_back(void **state)
{
    struct bench *b = *state;
    uint64_t id, back;
    assert_int_equal(put_message(b->s, 1, 100, 1, &id), 0);
    assert_int_equal(spool_id_hop(id), 0);
    assert_int_equal(set_state(b->s, id, 0, RCPT_LEAVING, "to node b"), 0);
    assert_int_equal(set_state(b->s, id, 0, RCPT_MOVED, "to node b"), 0);
    back = spool_id_moved(spool_id_moved(id));
    assert_true(spool_find(b->s, id) == 0);
    assert_int_equal(put_moved(b->s, back, 1, ENVELOPE_INERT), 0);
    assert_int_equal(set_state(b->s, back, 0, RCPT_QUEUED, ""), 0);
    for (int i = 0; i < 2; i++) {
        assert_true(spool_find(b->s, id) == back); /* by the name that people know */
        crash(b, SIMDISK_SYNCED_ONLY);
        assert_int_equal(b->found, 1);
        assert_true(was_found(b, back));
        assert_int_equal(state_of(b->s, back, 0), RCPT_QUEUED);
        fill_dead(b, 200); /* compaction takes the old segments away */
        background(b);
    }
}

/* An intent is durable and reversible; what has moved is neither there nor takes anything back. */
static void test_leaving(void **state)
{
    struct bench *b = *state;
    uint64_t id;
    spool_close(b->s);
    b->history = true;
    assert_int_equal(reopen(b), 0);
    assert_int_equal(put_message(b->s, 1, 100, 2, &id), 0);
    assert_int_equal(set_state(b->s, id, 0, RCPT_DELIVERED, "250 ok"), 0);
    assert_int_equal(set_state(b->s, id, 1, RCPT_LEAVING_HELD, "to node b"), 0);
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_int_equal(state_of(b->s, id, 0), RCPT_DELIVERED);
    assert_int_equal(state_of(b->s, id, 1), RCPT_LEAVING_HELD);
    assert_int_equal(set_state(b->s, id, 1, RCPT_HELD, "it stays"), 0);
    assert_int_equal(state_of(b->s, id, 1), RCPT_HELD);
    assert_int_equal(set_state(b->s, id, 1, RCPT_LEAVING, "to node b"), 0);
    assert_int_equal(set_state(b->s, id, 1, RCPT_MOVED, "to node b"), 0);
    crash(b, SIMDISK_SYNCED_ONLY);
    assert_int_equal(b->found, 0);
    assert_int_equal(set_state(b->s, id, 1, RCPT_QUEUED, ""), ERR_NOT_FOUND);
    assert_int_equal(b->ended, 2); /* the history is told of this end as of any other */
    assert_true(b->ended_id == id);
}

static void expect_living(struct spool *s, const uint64_t *ids, size_t n)
{
    uint64_t *is;
    size_t count, found = 0;
    assert_int_equal(spool_living(s, &is, &count), 0);
    assert_int_equal(count, n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < count; k++)
            found += is[k] == ids[i];
    assert_int_equal(found, n);
    free(is);
}

/* What is between two nodes is in no queue, but here. */
static void test_all_that_lives_is_listed(void **state)
{
    struct bench *b = *state;
    uint64_t ids[3] = { 0 };
    expect_living(b->s, ids, 0);
    ids[0] = spool_id_moved(THEIRS);
    assert_int_equal(put_moved(b->s, ids[0], 2, ENVELOPE_INERT), 0);
    assert_int_equal(put_message(b->s, 1, 100, 1, &ids[1]), 0);
    assert_int_equal(put_message(b->s, 2, 100, 1, &ids[2]), 0);
    assert_int_equal(set_state(b->s, ids[1], 0, RCPT_LEAVING, "to node b"), 0);
    expect_living(b->s, ids, 3);
    crash(b, SIMDISK_SYNCED_ONLY);
    expect_living(b->s, ids, 3);
    assert_int_equal(set_state(b->s, ids[2], 0, RCPT_DELIVERED, "250 ok"), 0);
    expect_living(b->s, ids, 2);
    assert_int_equal(set_state(b->s, ids[1], 0, RCPT_MOVED, "to node b"), 0);
    assert_int_equal(set_state(b->s, ids[0], 0, RCPT_MOVED, "kept"), 0);
    expect_living(b->s, ids, 1);
    assert_int_equal(set_state(b->s, ids[0], 1, RCPT_MOVED, "kept"), 0);
    expect_living(b->s, ids, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        RULE(test_ids),
        RULE(test_a_copy_is_inert),
        RULE(test_it_comes_back),
        RULE(test_leaving),
        RULE(test_all_that_lives_is_listed),
    };
    bench_log();
    return cmocka_run_group_tests_name("spool_rules_moved", tests, NULL, NULL);
}
