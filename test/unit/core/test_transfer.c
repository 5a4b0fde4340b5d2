/* The pure parts of mail that moves: what marks a recipient, what goes over the wire, what is done next. One
 * directed test for each rule that keeps a message from being lost or doubled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "node/core/transfer_impl.h"

static const uint8_t batch[16] = { 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                   0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };

/* ---- marks --------------------------------------------------------------------------------------------- */

static void test_marks(void **state)
{
    (void)state;
    char text[TRANSFER_REPLY_MAX], again[TRANSFER_REPLY_MAX], hex[TRANSFER_HEX];
    struct transfer_mark m;
    struct span s = transfer_mark_format(batch, 7, 3, SPAN_LIT("451 4.2.1 later; really"), text);
    assert_string_equal((transfer_hex(batch, hex), hex), "00112233445566778899aabbccddeeff");
    assert_true(transfer_mark_parse(s, &m));
    assert_memory_equal(m.batch, batch, 16);
    assert_true(m.peer == 7);
    assert_true(m.n == 3);
    assert_true(span_eq(m.rest, SPAN_LIT("451 4.2.1 later; really")));
    s = transfer_mark_format(batch, UINT64_MAX, 1, span_of("", 0), text);
    assert_true(transfer_mark_parse(s, &m));
    assert_true(m.peer == UINT64_MAX);
    assert_int_equal(m.rest.n, 0);
    /* The longest reply still fits: its end goes, the mark never. */
    char longest[TRANSFER_REPLY_MAX];
    memset(longest, 'x', sizeof longest);
    s = transfer_mark_format(batch, UINT64_MAX, UINT64_MAX, span_of(longest, sizeof longest), again);
    assert_int_equal(s.n, TRANSFER_REPLY_MAX);
    assert_true(transfer_mark_parse(s, &m));
    assert_true(m.n == UINT64_MAX);
    assert_true(m.rest.n > 400);
}

static void test_what_is_no_mark(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "transfer ",
        "451 4.2.1 transfer 00112233445566778899aabbccddeeff 7 1; x",
        "transfer 00112233445566778899aabbccddeeff",
        "transfer 00112233445566778899aabbccddeeff 7; x",
        "transfer 00112233445566778899aabbccddeeff 7 ; x",
        "transfer 00112233445566778899aabbccddeeff x 1; x",
        "transfer 00112233445566778899aabbccddeefF 7 1; x",
        "transfer 00112233445566778899aabbccddeef 7 1; x",
        "transfer 00112233445566778899aabbccddeeff 7 1",
    };
    struct transfer_mark m;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(transfer_mark_parse(span_str(wrong[i]), &m));
}

static void test_hash(void **state)
{
    (void)state;
    uint64_t one[] = { 3, 1, 2 }, same[] = { 1, 2, 3 }, other[] = { 1, 2, 4 };
    uint8_t a[32], b[32], c[32];
    transfer_hash(one, 3, a);
    transfer_hash(same, 3, b);
    transfer_hash(other, 3, c);
    assert_memory_equal(a, b, 32);
    assert_memory_not_equal(a, c, 32);
}

/* ---- the wire ------------------------------------------------------------------------------------------ */

static struct span encoded(struct buf *b, const struct transfer_question *q)
{
    buf_reset(b);
    assert_int_equal(transfer_question_encode(q, b), 0);
    return buf_span(b);
}

static void test_questions(void **state)
{
    (void)state;
    struct buf b;
    struct transfer_question got;
    struct transfer_question offer = { .verb = TRANSFER_OFFER, .giver = 3, .count = 100, .applied = 77 };
    struct transfer_question put = { .verb = TRANSFER_PUT,
                                     .id = spool_id_moved(UINT64_C(1) << 40),
                                     .offset = 5,
                                     .last = true,
                                     .piece = SPAN_LIT("bytes") };
    buf_init(&b, 4096);
    memcpy(offer.batch, batch, 16);
    assert_int_equal(transfer_question_decode(encoded(&b, &offer), &got), 0);
    assert_memory_equal(got.batch, batch, 16);
    assert_int_equal(got.count, 100);
    assert_true(got.giver == 3);
    assert_true(got.applied == 77);
    assert_int_equal(transfer_question_decode(encoded(&b, &put), &got), 0);
    assert_true(got.id == put.id);
    assert_true(got.offset == 5);
    assert_true(got.last);
    assert_true(span_eq(got.piece, put.piece));
    for (size_t n = 0; n < b.len; n++) /* cut anywhere */
        assert_int_equal(transfer_question_decode(span_of(b.data, n), &got), ERR_BAD);
    put.id = spool_id_public(put.id); /* one that has not moved would be taken for one of the taker's own */
    assert_int_equal(transfer_question_decode(encoded(&b, &put), &got), ERR_BAD);
    offer.count = 0;
    assert_int_equal(transfer_question_decode(encoded(&b, &offer), &got), ERR_BAD);
    offer.count = TRANSFER_BATCH_MAX + 1;
    assert_int_equal(transfer_question_decode(encoded(&b, &offer), &got), ERR_BAD);
    buf_fini(&b);
}

static void test_answers(void **state)
{
    (void)state;
    struct buf b;
    struct transfer_answer got, no = { .code = TRANSFER_REFUSED, .words = SPAN_LIT("it drains") };
    buf_init(&b, 4096);
    assert_int_equal(transfer_answer_encode(&no, &b), 0);
    assert_int_equal(transfer_answer_decode(buf_span(&b), &got), 0);
    assert_int_equal(got.code, TRANSFER_REFUSED);
    assert_true(span_eq(got.words, no.words));
    for (size_t n = 0; n < b.len; n++)
        assert_int_equal(transfer_answer_decode(span_of(b.data, n), &got), ERR_BAD);
    b.data[0] = 99;
    assert_int_equal(transfer_answer_decode(buf_span(&b), &got), ERR_BAD);
    buf_fini(&b);
}

/* ---- a message ----------------------------------------------------------------------------------------- */

#define ID (UINT64_C(1700000000000) << 20)

static struct envelope envelope(struct envelope_rcpt rcpts[3])
{
    rcpts[0] = (struct envelope_rcpt){ .address = SPAN_LIT("a@example.net") };
    rcpts[1] =
        (struct envelope_rcpt){ .address = SPAN_LIT("b@example.net"), .notify = ENVELOPE_NOTIFY_FAILURE };
    rcpts[2] = (struct envelope_rcpt){ .address = SPAN_LIT("c@example.net") };
    return (struct envelope){ .id = ID,
                              .arrival_ms = 5,
                              .size = 10,
                              .mail_from = SPAN_LIT("x@example.com"),
                              .nrcpts = 3,
                              .rcpts = rcpts };
}

/* Only who is still waited for goes along; what was tried, said and held goes with him. */
static void test_a_message(void **state)
{
    (void)state;
    struct envelope_rcpt rcpts[3];
    struct envelope e = envelope(rcpts);
    char text[TRANSFER_REPLY_MAX];
    struct spool_rcpt states[3] = {
        { .state = RCPT_LEAVING,
          .attempts = 4,
          .next_ms = 99,
          .delay_told = 1,
          .reply = transfer_mark_format(batch, 2, 1, SPAN_LIT("451 4.2.1 later"), text) },
        { .state = RCPT_DELIVERED, .reply = SPAN_LIT("250 ok") },
        { .state = RCPT_LEAVING_HELD, .reply = { "", 0 } },
    };
    struct transfer_head h;
    struct buf b;
    buf_init(&b, 4096);
    assert_int_equal(transfer_head_encode(&e, states, spool_id_moved(ID), &b), 0);
    assert_int_equal(transfer_head_decode(buf_span(&b), &h), 0);
    assert_true(h.envelope.env.id == spool_id_moved(ID));
    assert_true(spool_id_public(h.envelope.env.id) == ID);
    assert_int_equal(h.envelope.env.nrcpts, 2);
    assert_true(span_eq(h.envelope.env.rcpts[1].address, SPAN_LIT("c@example.net")));
    assert_true((h.envelope.env.flags & ENVELOPE_INERT) != 0);
    assert_int_equal(h.rcpts[0].attempts, 4);
    assert_true(h.rcpts[0].next_ms == 99);
    assert_int_equal(h.rcpts[0].delay_told, 1);
    assert_false(h.rcpts[0].held);
    assert_true(span_eq(h.rcpts[0].reply, SPAN_LIT("451 4.2.1 later"))); /* without our mark */
    assert_true(h.rcpts[1].held);
    transfer_head_fini(&h);
    for (size_t n = 0; n < b.len; n++)
        assert_int_equal(transfer_head_decode(span_of(b.data, n), &h), ERR_BAD);
    buf_reset(&b);
    assert_int_equal(transfer_head_encode(&e, states, ID, &b), 0); /* as if it were its own */
    assert_int_equal(transfer_head_decode(buf_span(&b), &h), ERR_BAD);
    buf_fini(&b);
}

/* Cut anywhere it is the same, and its end is not passed. */
static void test_a_head_in_pieces(void **state)
{
    (void)state;
    static const char wire[] = "\5\0\0\0hello, content";
    struct buf b;
    buf_init(&b, TRANSFER_HEAD_MAX);
    for (size_t first = 0; first < sizeof wire - 1; first++) {
        struct span one = span_of(wire, first), two = span_of(wire + first, sizeof wire - 1 - first);
        buf_reset(&b);
        assert_int_equal(buf_reserve(&b, 64), 0);
        memset(b.data, 0xff, b.cap); /* what is not there yet is not read */
        int whole = transfer_head_gather(&b, &one);
        assert_int_equal(whole, first >= 9);
        if (whole == 0) {
            assert_int_equal(one.n, 0);
            assert_int_equal(transfer_head_gather(&b, &two), 1);
            assert_true(two.p == wire + 9);
        } else {
            assert_true(one.p == wire + 9);
        }
        assert_true(span_eq(buf_span(&b), span_of(wire, 9)));
    }
    buf_fini(&b);
}

static void test_a_head_of_a_wrong_length(void **state)
{
    (void)state;
    struct buf b;
    struct transfer_head h;
    struct span none = SPAN_LIT("\0\0\0\0content"), longest = SPAN_LIT("\xff\xff\xff\xff"), over;
    buf_init(&b, TRANSFER_HEAD_MAX);
    assert_int_equal(transfer_head_gather(&b, &none), 1);
    assert_true(span_eq(none, SPAN_LIT("content")));
    assert_int_equal(transfer_head_decode(span_sub(buf_span(&b), TRANSFER_LENGTH_BYTES), &h), ERR_BAD);
    buf_reset(&b);
    assert_int_equal(transfer_head_gather(&b, &longest), ERR_LIMIT);
    uint32_t n = TRANSFER_HEAD_MAX - TRANSFER_LENGTH_BYTES + 1;
    char bytes[4] = { (char)(n & 0xff), (char)(n >> 8 & 0xff), (char)(n >> 16 & 0xff), (char)(n >> 24) };
    over = span_of(bytes, sizeof bytes);
    buf_reset(&b);
    assert_int_equal(transfer_head_gather(&b, &over), ERR_LIMIT);
    buf_fini(&b);
}

static void test_a_repeat_is_the_same_message(void **state)
{
    (void)state;
    struct envelope_rcpt rcpts[3], others[3];
    struct envelope e = envelope(rcpts), f = envelope(others);
    assert_true(transfer_same(&e, &f));
    f.flags |= ENVELOPE_INERT;
    assert_true(transfer_same(&e, &f));
    f.size++;
    assert_false(transfer_same(&e, &f));
    f = envelope(others);
    f.nrcpts = 2;
    assert_false(transfer_same(&e, &f));
    f = envelope(others);
    others[2].address = SPAN_LIT("d@example.net");
    assert_false(transfer_same(&e, &f));
}

/* ---- what is next -------------------------------------------------------------------------------------- */

#define NEXT(...) transfer_give_next(&(struct transfer_giving){ __VA_ARGS__ })

static void test_the_givers_way(void **state)
{
    (void)state;
    assert_int_equal(NEXT(.taker_present = true), TRANSFER_GIVE_SEND);
    assert_int_equal(NEXT(.taker_present = true, .exposed = true), TRANSFER_GIVE_SEND);
    assert_int_equal(NEXT(.taker_present = true, .exposed = true, .sealed = true), TRANSFER_GIVE_OWN);
    assert_int_equal(NEXT(.taker_present = true, .verdict = TRANSFER_VERDICT_OWNED), TRANSFER_GIVE_MOVED);
    assert_int_equal(NEXT(.taker_present = true, .verdict = TRANSFER_VERDICT_OWNED, .recorded = true),
                     TRANSFER_GIVE_ASK);
    assert_int_equal(
        NEXT(.taker_present = true, .verdict = TRANSFER_VERDICT_OWNED, .recorded = true, .settled = true),
        TRANSFER_GIVE_END);
}

/* (!) It is offered to nobody before it is on disk that it leaves; if it cannot be put there, it stays. */
static void test_marked_before_it_is_offered(void **state)
{
    (void)state;
    assert_int_equal(NEXT(.taker_present = true, .unmarked = true), TRANSFER_GIVE_MARK);
    assert_int_equal(NEXT(.taker_present = true, .unmarked = true, .cancel = true), TRANSFER_GIVE_KEEP);
    assert_int_equal(NEXT(.unmarked = true), TRANSFER_GIVE_KEEP);
    assert_int_equal(NEXT(.taker_present = true, .unmarked = true, .verdict = TRANSFER_VERDICT_CANCELLED),
                     TRANSFER_GIVE_RESTORE);
}

/* Whoever might have a copy can be told no only by the log; and what the log has given stays given. */
static void test_nothing_is_taken_back_without_the_log(void **state)
{
    (void)state;
    for (int sealed = 0; sealed < 2; sealed++)
        for (int present = 0; present < 2; present++) {
            assert_int_equal(
                NEXT(.taker_present = present != 0, .exposed = true, .sealed = sealed != 0, .cancel = true),
                TRANSFER_GIVE_CANCEL);
            assert_int_equal(NEXT(.taker_present = present != 0, .exposed = true, .sealed = sealed != 0,
                                  .cancel = true, .verdict = TRANSFER_VERDICT_OWNED),
                             TRANSFER_GIVE_MOVED);
            assert_int_equal(NEXT(.taker_present = present != 0, .exposed = true, .sealed = sealed != 0,
                                  .cancel = true, .verdict = TRANSFER_VERDICT_CANCELLED),
                             TRANSFER_GIVE_RESTORE);
        }
    assert_int_equal(NEXT(.exposed = true), TRANSFER_GIVE_CANCEL); /* the taker was removed */
    assert_int_equal(NEXT(.taker_present = true, .cancel = true), TRANSFER_GIVE_KEEP);
}

/* The log's record is what a taker that was away goes by: it stays until the taker has settled, or never
 * will. */
static void test_the_record_stays_until_both_know(void **state)
{
    (void)state;
    for (int v = TRANSFER_VERDICT_OWNED; v <= TRANSFER_VERDICT_CANCELLED; v++) {
        enum transfer_verdict verdict = (enum transfer_verdict)v;
        assert_int_not_equal(NEXT(.verdict = verdict, .settled = true), TRANSFER_GIVE_END);
        assert_int_equal(NEXT(.verdict = verdict, .recorded = true, .taker_present = true),
                         TRANSFER_GIVE_ASK);
        assert_int_equal(NEXT(.verdict = verdict, .recorded = true), TRANSFER_GIVE_END);
    }
}

#define TAKE(...) transfer_take_next(&(struct transfer_taking){ __VA_ARGS__ })

/* A freeze that the giver obeyed is obeyed here before anything of the batch is delivered. */
static void test_the_takers_way(void **state)
{
    (void)state;
    assert_int_equal(TAKE(.published = 100), TRANSFER_TAKE_WAIT);
    assert_int_equal(TAKE(.verdict = TRANSFER_VERDICT_OWNED, .owner_index = 10, .published = 9),
                     TRANSFER_TAKE_WAIT);
    assert_int_equal(TAKE(.verdict = TRANSFER_VERDICT_OWNED, .owner_index = 10, .published = 10),
                     TRANSFER_TAKE_ACTIVATE);
    assert_int_equal(TAKE(.verdict = TRANSFER_VERDICT_CANCELLED), TRANSFER_TAKE_DROP);
    assert_int_equal(TAKE(.orphan = true, .published = 100), TRANSFER_TAKE_DROP);
    assert_int_equal(
        TAKE(.orphan = true, .verdict = TRANSFER_VERDICT_OWNED, .owner_index = 1, .published = 2),
        TRANSFER_TAKE_ACTIVATE);
}

/* ---- what is late -------------------------------------------------------------------------------------- */

static void test_batches_that_hang_are_counted(void **state)
{
    (void)state;
    struct transfer *t = calloc(1, sizeof *t);
    struct node *n = calloc(1, sizeof *n);
    struct give *give = calloc(2, sizeof *give);
    struct take *take = calloc(1, sizeof *take);
    assert_true(t != NULL && n != NULL && give != NULL && take != NULL);
    assert_int_equal(transfer_late(n, 60000), 0); /* no cluster */
    n->transfer = t;
    pthread_mutex_init(&t->lock, NULL);
    list_init(&t->gives);
    list_init(&t->takes);
    assert_int_equal(transfer_late(n, 60000), 0);
    list_push_back(&t->gives, &give[0].link);
    list_push_back(&t->gives, &give[1].link);
    list_push_back(&t->takes, &take->link);
    int64_t now = clock_wall_ms();
    give[0].shown.since_ms = now - 59000;
    give[1].shown.since_ms = now - 60000;
    take->shown.since_ms = now - 3600000;
    assert_int_equal(transfer_late(n, 60000), 2);
    pthread_mutex_destroy(&t->lock);
    free(take);
    free(give);
    free(n);
    free(t);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_what_is_no_mark),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_questions),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_a_message),
        cmocka_unit_test(test_a_head_in_pieces),
        cmocka_unit_test(test_a_head_of_a_wrong_length),
        cmocka_unit_test(test_a_repeat_is_the_same_message),
        cmocka_unit_test(test_the_givers_way),
        cmocka_unit_test(test_marked_before_it_is_offered),
        cmocka_unit_test(test_nothing_is_taken_back_without_the_log),
        cmocka_unit_test(test_the_record_stays_until_both_know),
        cmocka_unit_test(test_the_takers_way),
        cmocka_unit_test(test_batches_that_hang_are_counted),
    };
    return cmocka_run_group_tests_name("core_transfer", tests, NULL, NULL);
}
