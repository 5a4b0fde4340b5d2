/* Any bytes as what two nodes say about mail that moves: a question, an answer, and the mark in a
 * recipient's reply. What decodes is encoded again to the same bytes. */
#include "base/ensure.h"
#include "base/err.h"
#include "node/core/transfer_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_question(struct span bytes)
{
    struct transfer_question q;
    struct buf b;
    int err = transfer_question_decode(bytes, &q);
    ensure(err == 0 || err == ERR_BAD);
    if (err != 0)
        return;
    ensure(q.verb >= TRANSFER_OFFER && q.verb <= TRANSFER_DROP);
    ensure(q.verb != TRANSFER_OFFER || (q.count > 0 && q.count <= TRANSFER_BATCH_MAX));
    ensure(q.verb != TRANSFER_PUT || spool_id_hop(q.id) > 0);
    buf_init(&b, bytes.n);
    ensure(transfer_question_encode(&q, &b) == 0);
    ensure(span_eq(buf_span(&b), bytes));
    buf_fini(&b);
}

static void try_answer(struct span bytes)
{
    struct transfer_answer a;
    struct buf b;
    int err = transfer_answer_decode(bytes, &a);
    ensure(err == 0 || err == ERR_BAD);
    if (err != 0)
        return;
    buf_init(&b, bytes.n);
    ensure(transfer_answer_encode(&a, &b) == 0);
    ensure(span_eq(buf_span(&b), bytes));
    buf_fini(&b);
}

static void try_mark(struct span reply)
{
    struct transfer_mark m, again;
    char text[TRANSFER_REPLY_MAX];
    if (!transfer_mark_parse(reply, &m))
        return;
    ensure(m.rest.p >= reply.p && m.rest.p + m.rest.n == reply.p + reply.n);
    ensure(transfer_mark_parse(transfer_mark_format(m.batch, m.peer, m.n, m.rest, text), &again));
    ensure(memcmp(m.batch, again.batch, sizeof m.batch) == 0);
    ensure(m.peer == again.peer);
    ensure(m.n == again.n);
    ensure(again.rest.n <= m.rest.n && memcmp(m.rest.p, again.rest.p, again.rest.n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span bytes = span_of(data, size);
    try_question(bytes);
    try_answer(bytes);
    try_mark(bytes);
    return 0;
}
