/* Any bytes as a message that comes from another node: where the head ends does not depend on the pieces that
 * it comes in; what decodes is encoded to what decodes as the same. The first byte says how long the pieces
 * are. */
#include "base/ensure.h"
#include "base/err.h"
#include "node/core/transfer_wire.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* 1, 0 or an error, as transfer_head_gather; `used` gets how much was the head's. */
static int gather(struct span all, size_t piece, struct buf *head, size_t *used)
{
    int whole = 0;
    *used = 0;
    for (size_t at = 0; whole == 0 && at < all.n; at += piece) {
        struct span rest = span_of(all.p + at, all.n - at < piece ? all.n - at : piece);
        size_t n = rest.n;
        whole = transfer_head_gather(head, &rest);
        *used += n - rest.n;
        ensure(whole != 0 || rest.n == 0);
    }
    return whole;
}

static void check_same(const struct transfer_head *a, const struct transfer_head *b)
{
    ensure(transfer_same(&a->envelope.env, &b->envelope.env));
    for (uint32_t i = 0; i < a->envelope.env.nrcpts; i++) {
        const struct transfer_rcpt *x = &a->rcpts[i], *y = &b->rcpts[i];
        ensure(x->held == y->held);
        ensure(x->delay_told == y->delay_told);
        ensure(x->attempts == y->attempts);
        ensure(x->next_ms == y->next_ms);
        ensure(span_eq(x->reply, y->reply));
    }
}

static void try_head(struct span bytes)
{
    struct transfer_head h, again;
    struct buf b;
    int err = transfer_head_decode(bytes, &h);
    ensure(err == 0 || err == ERR_BAD);
    if (err != 0)
        return;
    const struct envelope *e = &h.envelope.env;
    ensure(e->nrcpts > 0 && e->nrcpts <= ENVELOPE_RCPTS_MAX);
    ensure((e->flags & ENVELOPE_INERT) != 0 && spool_id_hop(e->id) > 0);
    struct spool_rcpt *states = calloc(e->nrcpts, sizeof *states);
    ensure(states != NULL);
    for (uint32_t i = 0; i < e->nrcpts; i++) {
        const struct transfer_rcpt *r = &h.rcpts[i];
        states[i] = (struct spool_rcpt){ .state = r->held ? RCPT_HELD : RCPT_QUEUED,
                                         .delay_told = r->delay_told,
                                         .attempts = r->attempts,
                                         .next_ms = r->next_ms,
                                         .reply = r->reply };
    }
    buf_init(&b, TRANSFER_HEAD_MAX);
    ensure(transfer_head_encode(e, states, e->id, &b) == 0);
    ensure(transfer_head_decode(buf_span(&b), &again) == 0);
    check_same(&h, &again);
    transfer_head_fini(&again);
    transfer_head_fini(&h);
    free(states);
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, cut;
    size_t used, same;
    if (size < 2)
        return 0;
    struct span all = span_of(data + 1, size - 1);
    buf_init(&whole, TRANSFER_HEAD_MAX);
    buf_init(&cut, TRANSFER_HEAD_MAX);
    int got = gather(all, all.n, &whole, &used);
    ensure(gather(all, 1 + (size_t)data[0], &cut, &same) == got);
    ensure(used == same);
    ensure(span_eq(buf_span(&whole), buf_span(&cut)));
    ensure(got == 0 || got == 1 || got == ERR_LIMIT);
    ensure(whole.len == used);
    if (got == 1)
        try_head(span_sub(buf_span(&whole), TRANSFER_LENGTH_BYTES));
    buf_fini(&whole);
    buf_fini(&cut);
    return 0;
}
