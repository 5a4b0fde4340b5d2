/* What the check of content said, in the history: of mail that was accepted a line beside its rows, of what
 * was not rows of its own, as far as there is room for them. Told by any thread, written by the history's.
 * See history.h. */
#include "node/telemetry/history_impl.h"

#include "base/clock.h"
#include "base/hash.h"

#define HOUR_MS 3600000

_Static_assert(HISTORY_REJECTED >= RCPT_STATES && HISTORY_REJECTED < 32,
               "none of the spool's, and in a query's bits");
_Static_assert(HISTORY_REJECTED_RCPTS <= HISTORY_REJECTED_MAX, "the newest has room");

/* ---- in: any thread ---- */

static void put_verdict(struct buf *b, const struct history_verdict *v)
{
    buf_put_u64(b, (uint64_t)v->at_ms);
    buf_put_u8(b, v->done);
    buf_put_counted(b, history_text_cut(v->text));
}

void history_checked(struct history *h, uint64_t id, const struct history_verdict *v)
{
    size_t before;
    if (!history_fill_begin(h, &before, 1))
        return;
    buf_put_u8(&h->fill, HISTORY_RECORD_CHECKED);
    buf_put_u64(&h->fill, id);
    put_verdict(&h->fill, v);
    history_fill_end(h, before, 1);
}

void history_rejected(struct history *h, const struct envelope *env, const struct history_verdict *v,
                      struct span reply)
{
    size_t before;
    uint32_t n = env->nrcpts < HISTORY_REJECTED_RCPTS ? env->nrcpts : HISTORY_REJECTED_RCPTS;
    if (!history_fill_begin(h, &before, 1))
        return;
    struct buf *b = &h->fill;
    buf_put_u8(b, HISTORY_RECORD_REJECTED);
    history_put_envelope(b, env);
    put_verdict(b, v);
    buf_put_counted(b, history_text_cut(reply));
    buf_put_u32(b, n);
    for (uint32_t i = 0; i < n; i++)
        buf_put_counted(b, env->rcpts[i].address);
    history_fill_end(h, before, 1);
}

/* ---- the thread ---- */

static struct history_verdict take_verdict(struct cursor *c)
{
    struct history_verdict v = { .at_ms = (int64_t)cursor_u64(c) };
    v.done = cursor_u8(c);
    v.text = cursor_counted(c);
    return v;
}

int history_on_checked(struct history *h, struct cursor *c)
{
    uint64_t id = cursor_u64(c);
    struct history_verdict v = take_verdict(c);
    return history_db_put_verdict(&h->db, id, &v);
}

/* A share of the room for rejected mail that fills again within an hour. */
static bool has_share(struct history *h, struct span who)
{
    struct history_bucket *b = &h->buckets[hash_bytes(who.p, who.n) % HISTORY_BUCKETS];
    int64_t now_ms = clock_boot_ms();
    double more = (double)(now_ms - b->at_ms) * HISTORY_REJECTED_HOURLY / HOUR_MS;
    b->left =
        b->at_ms == 0 || b->left + more > HISTORY_REJECTED_HOURLY ? HISTORY_REJECTED_HOURLY : b->left + more;
    b->at_ms = now_ms;
    if (b->left < 1)
        return false;
    b->left--;
    return true;
}

int history_on_rejected(struct history *h, struct cursor *c)
{
    struct history_message m = history_take_envelope(c);
    struct history_verdict v = take_verdict(c);
    struct span reply = cursor_counted(c);
    uint32_t n = cursor_u32(c);
    bool wanted = has_share(h, m.account.n > 0 ? m.account : m.client_ip);
    int err = wanted ? history_db_put_message(&h->db, &m) : 0;
    for (uint32_t i = 0; i < n; i++) {
        struct history_end e = { .id = m.id,
                                 .rcpt = i,
                                 .state = HISTORY_REJECTED,
                                 .ended_ms = v.at_ms,
                                 .address = cursor_counted(c),
                                 .reply = reply };
        if (wanted && err == 0)
            err = history_db_put_end(&h->db, &e);
    }
    if (wanted && err == 0)
        err = history_db_put_verdict(&h->db, m.id, &v);
    return wanted && err == 0 ? history_db_put_rejected(&h->db, m.id, n) : err;
}
