/* Encodings and decisions of mail that moves. Pure. */
#include "node/core/transfer_wire.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/text.h"
#include "node/shaping/hold_mark.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- marks --------------------------------------------------------------------------------------------- */

#define MARK SPAN_LIT("transfer ")

void transfer_hex(const uint8_t batch[16], char out[TRANSFER_HEX])
{
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", batch[i]);
}

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool transfer_hex_parse(struct span text, uint8_t batch[16])
{
    if (text.n != TRANSFER_HEX - 1)
        return false;
    for (int i = 0; i < 16; i++) {
        int high = nibble(text.p[2 * i]), low = nibble(text.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        batch[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

bool transfer_mark_parse(struct span reply, struct transfer_mark *out)
{
    size_t at = MARK.n + TRANSFER_HEX - 1;
    if (!span_starts(reply, MARK) || reply.n <= at + 1 || reply.p[at] != ' ' ||
        !transfer_hex_parse(span_of(reply.p + MARK.n, TRANSFER_HEX - 1), out->batch))
        return false;
    struct span rest = span_sub(reply, at + 1);
    const char *end = memchr(rest.p, ';', rest.n);
    const char *gap = end == NULL ? NULL : memchr(rest.p, ' ', (size_t)(end - rest.p));
    if (gap == NULL || text_u64(span_of(rest.p, (size_t)(gap - rest.p)), &out->peer) != 0 ||
        text_u64(span_of(gap + 1, (size_t)(end - gap) - 1), &out->n) != 0)
        return false;
    rest = span_sub(rest, (size_t)(end - rest.p) + 1);
    out->rest = rest.n > 0 && rest.p[0] == ' ' ? span_sub(rest, 1) : rest;
    return true;
}

struct span transfer_mark_format(const uint8_t batch[16], uint64_t peer, uint64_t n, struct span reply,
                                 char out[TRANSFER_REPLY_MAX])
{
    char hex[TRANSFER_HEX];
    transfer_hex(batch, hex);
    int len = snprintf(out, TRANSFER_REPLY_MAX, "transfer %s %llu %llu; ", hex, (unsigned long long)peer,
                       (unsigned long long)n);
    ensure(len > 0 && len < TRANSFER_REPLY_MAX);
    size_t room = TRANSFER_REPLY_MAX - (size_t)len, more = reply.n < room ? reply.n : room;
    if (more > 0)
        memcpy(out + len, reply.p, more);
    return span_of(out, (size_t)len + more);
}

/* ---- hash ---------------------------------------------------------------------------------------------- */

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void transfer_hash(uint64_t *ids, uint32_t n, uint8_t sha256[32])
{
    struct buf b;
    unsigned len = 0;
    ensure(n <= TRANSFER_BATCH_MAX);
    buf_init(&b, TRANSFER_BATCH_MAX * 8);
    if (n > 0)
        qsort(ids, n, sizeof *ids, compare_ids);
    for (uint32_t i = 0; i < n; i++)
        buf_put_u64(&b, ids[i]);
    ensure(buf_err(&b) == 0);
    ensure(EVP_Digest(n > 0 ? b.data : "", b.len, sha256, &len, EVP_sha256(), NULL) == 1);
    ensure(len == 32);
    buf_fini(&b);
}

/* ---- questions and answers ----------------------------------------------------------------------------- */

int transfer_question_encode(const struct transfer_question *q, struct buf *out)
{
    buf_put_u8(out, q->verb);
    buf_put(out, q->batch, sizeof q->batch);
    if (q->verb == TRANSFER_OFFER) {
        buf_put_u64(out, q->giver);
        buf_put_u32(out, q->count);
        buf_put_u64(out, q->bytes);
        buf_put(out, q->sha256, sizeof q->sha256);
        buf_put_u64(out, q->applied);
    } else if (q->verb == TRANSFER_PUT) {
        buf_put_u64(out, q->id);
        buf_put_u64(out, q->offset);
        buf_put_u8(out, q->last);
        buf_put_counted(out, q->piece);
    } else if (q->verb == TRANSFER_HAS) {
        buf_put_u64(out, q->id);
    }
    return buf_err(out);
}

static void take(struct cursor *c, void *out, size_t n)
{
    struct span s = cursor_bytes(c, n);
    if (s.n == n)
        memcpy(out, s.p, n);
}

int transfer_question_decode(struct span bytes, struct transfer_question *q)
{
    struct cursor c;
    *q = (struct transfer_question){ .piece = { "", 0 } };
    cursor_init(&c, bytes.p, bytes.n);
    q->verb = cursor_u8(&c);
    take(&c, q->batch, sizeof q->batch);
    if (q->verb == TRANSFER_OFFER) {
        q->giver = cursor_u64(&c);
        q->count = cursor_u32(&c);
        q->bytes = cursor_u64(&c);
        take(&c, q->sha256, sizeof q->sha256);
        q->applied = cursor_u64(&c);
    } else if (q->verb == TRANSFER_PUT) {
        q->id = cursor_u64(&c);
        q->offset = cursor_u64(&c);
        uint8_t last = cursor_u8(&c);
        q->last = last == 1;
        q->piece = cursor_counted(&c);
        if (last > 1 || spool_id_hop(q->id) == 0)
            return ERR_BAD;
    } else if (q->verb == TRANSFER_HAS) {
        q->id = cursor_u64(&c);
    }
    bool bad =
        cursor_err(&c) != 0 || cursor_left(&c) != 0 || q->verb < TRANSFER_OFFER || q->verb > TRANSFER_DROP;
    if (q->verb == TRANSFER_OFFER)
        bad = bad || q->count == 0 || q->count > TRANSFER_BATCH_MAX;
    return bad ? ERR_BAD : 0;
}

int transfer_answer_encode(const struct transfer_answer *a, struct buf *out)
{
    buf_put_u8(out, a->code);
    return buf_put_counted(out, a->words);
}

int transfer_answer_decode(struct span bytes, struct transfer_answer *out)
{
    struct cursor c;
    cursor_init(&c, bytes.p, bytes.n);
    out->code = cursor_u8(&c);
    out->words = cursor_counted(&c);
    bool bad = cursor_err(&c) != 0 || cursor_left(&c) != 0 || out->code < TRANSFER_YES ||
               out->code > TRANSFER_CANCELLED || out->words.n > 1024;
    return bad ? ERR_BAD : 0;
}

/* ---- a message ----------------------------------------------------------------------------------------- */

/* Why it was held from the start is in the envelope: it goes along with the recipient. */
static struct span held_words(const struct envelope *env, struct span reply, char out[512])
{
    struct hold_mark mark;
    struct span words;
    if (env->hold.n == 0 || hold_mark_parse(reply, &mark, &words))
        return reply;
    hold_reason_parse(env->hold, &mark);
    mark.since_ms = env->arrival_ms;
    return hold_mark_format(&mark, reply, out);
}

static void put_rcpt(const struct envelope *env, const struct spool_rcpt *r, struct buf *out)
{
    char text[512];
    struct transfer_mark mark;
    struct span reply = r->reply;
    if (rcpt_state_between(r->state) && transfer_mark_parse(reply, &mark))
        reply = mark.rest;
    bool held = r->state == RCPT_HELD || r->state == RCPT_LEAVING_HELD;
    if (held)
        reply = held_words(env, reply, text);
    buf_put_u8(out, held);
    buf_put_u8(out, r->delay_told);
    buf_put_u16(out, r->attempts);
    buf_put_u64(out, (uint64_t)r->next_ms);
    buf_put_counted(out, reply);
}

int transfer_head_encode(const struct envelope *env, const struct spool_rcpt *rcpts, uint64_t id,
                         struct buf *out)
{
    struct envelope e = *env;
    e.id = id;
    e.flags |= ENVELOPE_INERT;
    e.nrcpts = e.ncloses = 0;
    e.hold = (struct span){ "", 0 }; /* with each recipient, so that older versions can read it */
    e.closes = NULL; /* what it closed is closed where it was accepted */
    e.rcpts = malloc((env->nrcpts + 1) * sizeof *e.rcpts);
    if (e.rcpts == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < env->nrcpts; i++)
        if (!rcpt_state_terminal(rcpts[i].state))
            e.rcpts[e.nrcpts++] = env->rcpts[i];
    int err = envelope_encode(&e, out);
    for (uint32_t i = 0; i < env->nrcpts; i++)
        if (!rcpt_state_terminal(rcpts[i].state))
            put_rcpt(env, &rcpts[i], out);
    free(e.rcpts);
    return err != 0 ? err : buf_err(out);
}

static int gather(struct buf *gathered, size_t want, struct span *bytes)
{
    size_t n = want - gathered->len < bytes->n ? want - gathered->len : bytes->n;
    int err = buf_put(gathered, bytes->p, n);
    *bytes = span_sub(*bytes, n);
    return err != 0 ? err : gathered->len == want;
}

int transfer_head_gather(struct buf *gathered, struct span *bytes)
{
    struct cursor c;
    if (gathered->len < TRANSFER_LENGTH_BYTES) {
        int whole = gather(gathered, TRANSFER_LENGTH_BYTES, bytes);
        if (whole != 1)
            return whole;
    }
    cursor_init(&c, gathered->data, TRANSFER_LENGTH_BYTES);
    size_t want = TRANSFER_LENGTH_BYTES + (size_t)cursor_u32(&c);
    return want > TRANSFER_HEAD_MAX ? ERR_LIMIT : gather(gathered, want, bytes);
}

int transfer_head_decode(struct span bytes, struct transfer_head *out)
{
    struct cursor c;
    cursor_init(&c, bytes.p, bytes.n);
    out->rcpts = NULL;
    int err = envelope_decode(&c, &out->envelope);
    if (err != 0)
        return err == -ENOMEM ? err : ERR_BAD;
    const struct envelope *e = &out->envelope.env;
    out->rcpts = calloc(e->nrcpts + 1, sizeof *out->rcpts);
    bool bad =
        e->nrcpts == 0 || e->ncloses != 0 || (e->flags & ENVELOPE_INERT) == 0 || spool_id_hop(e->id) == 0;
    for (uint32_t i = 0; out->rcpts != NULL && i < e->nrcpts; i++) {
        struct transfer_rcpt *r = &out->rcpts[i];
        uint8_t held = cursor_u8(&c);
        r->held = held == 1;
        r->delay_told = cursor_u8(&c);
        r->attempts = cursor_u16(&c);
        r->next_ms = (int64_t)cursor_u64(&c);
        r->reply = cursor_counted(&c);
        bad = bad || held > 1 || r->delay_told > 1 || r->next_ms < 0 || r->reply.n > TRANSFER_REPLY_MAX;
    }
    err = out->rcpts == NULL ? -ENOMEM : bad || cursor_err(&c) != 0 || cursor_left(&c) != 0 ? ERR_BAD : 0;
    if (err != 0)
        transfer_head_fini(out);
    return err;
}

void transfer_head_fini(struct transfer_head *h)
{
    envelope_decoded_fini(&h->envelope);
    free(h->rcpts);
    h->rcpts = NULL;
}

bool transfer_same(const struct envelope *a, const struct envelope *b)
{
    if (a->id != b->id || a->arrival_ms != b->arrival_ms || a->size != b->size ||
        a->header_bytes != b->header_bytes || a->nrcpts != b->nrcpts ||
        !span_eq(a->mail_from, b->mail_from) || !span_eq(a->message_id, b->message_id) ||
        !span_eq(a->account, b->account))
        return false;
    for (uint32_t i = 0; i < a->nrcpts; i++)
        if (!span_eq(a->rcpts[i].address, b->rcpts[i].address))
            return false;
    return true;
}

/* ---- what is next -------------------------------------------------------------------------------------- */

enum transfer_give_step transfer_give_next(const struct transfer_giving *g)
{
    if (g->verdict != TRANSFER_UNDECIDED) {
        if (!g->recorded)
            return g->verdict == TRANSFER_VERDICT_OWNED ? TRANSFER_GIVE_MOVED : TRANSFER_GIVE_RESTORE;
        return g->settled || !g->taker_present ? TRANSFER_GIVE_END : TRANSFER_GIVE_ASK;
    }
    if (!g->taker_present || g->cancel) /* only the log can say that it is not the taker's */
        return g->exposed ? TRANSFER_GIVE_CANCEL : TRANSFER_GIVE_KEEP;
    if (g->unmarked)
        return TRANSFER_GIVE_MARK;
    return g->sealed ? TRANSFER_GIVE_OWN : TRANSFER_GIVE_SEND;
}

enum transfer_take_step transfer_take_next(const struct transfer_taking *t)
{
    if (t->verdict == TRANSFER_VERDICT_CANCELLED || (t->verdict == TRANSFER_UNDECIDED && t->orphan))
        return TRANSFER_TAKE_DROP;
    /* What the giver obeyed (a freeze) when the batch left it is older than this entry: so must be what we
     * obey. */
    if (t->verdict == TRANSFER_VERDICT_OWNED && t->published >= t->owner_index)
        return TRANSFER_TAKE_ACTIVATE;
    return TRANSFER_TAKE_WAIT;
}
