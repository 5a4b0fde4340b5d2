/* The encoding of envelopes and the text form of queue ids. Pure, no I/O. Any thread.
 *
 * Layout (docs/spool-format.md): fixed fields, then each text as a 16-bit length and its bytes, then
 * recipients, then closes. Everything that decodes re-encodes to the same bytes.
 */
#include "spool/envelope.h"

#include "base/err.h"

#include <errno.h>
#include <stdlib.h>

#define LAYOUT 1
#define LAYOUT_HOLD 2 /* the same, and at its end why it was born held */
#define RCPT_BYTES_MIN 5   /* two lengths and notify */
#define CLOSE_BYTES_MIN 15 /* id, rcpt, state, length */
#define NOTIFY_ALL 15

#define NTEXTS 10

static void texts_of(struct envelope *e, struct span *out[NTEXTS])
{
    struct span *all[NTEXTS] = { &e->mail_from,   &e->envid, &e->account,  &e->tenant,   &e->client_ip,
                                 &e->client_name, &e->helo,  &e->protocol, &e->listener, &e->message_id };
    memcpy(out, all, sizeof all);
}

static void put_text(struct buf *b, struct span s)
{
    buf_put_u16(b, (uint16_t)s.n);
    buf_put_span(b, s);
}

static struct span get_text(struct cursor *c)
{
    uint16_t n = cursor_u16(c);
    return cursor_bytes(c, n);
}

static bool notify_ok(uint8_t notify)
{
    /* RFC 3461 section 4.1: NEVER stands alone */
    return notify <= NOTIFY_ALL && ((notify & ENVELOPE_NOTIFY_NEVER) == 0 || notify == ENVELOPE_NOTIFY_NEVER);
}

static bool scalars_ok(const struct envelope *e)
{
    return e->body <= ENVELOPE_BODY_8BITMIME && e->ret <= ENVELOPE_RET_HDRS &&
           e->class <= ENVELOPE_CLASS_BULK && e->header_bytes <= e->size;
}

static bool close_ok(const struct envelope_close *c)
{
    return rcpt_state_terminal(c->state) && c->rcpt < ENVELOPE_RCPTS_MAX;
}

static int check(const struct envelope *e)
{
    if (e->nrcpts > ENVELOPE_RCPTS_MAX || e->ncloses > ENVELOPE_RCPTS_MAX)
        return ERR_LIMIT;
    if (e->nrcpts == 0 || !scalars_ok(e))
        return ERR_BAD;
    struct span *texts[NTEXTS];
    texts_of((struct envelope *)e, texts);
    for (unsigned i = 0; i < NTEXTS; i++)
        if (texts[i]->n > ENVELOPE_TEXT_MAX)
            return ERR_LIMIT;
    if (e->hold.n > ENVELOPE_TEXT_MAX)
        return ERR_LIMIT;
    for (uint32_t i = 0; i < e->nrcpts; i++) {
        if (e->rcpts[i].address.n > ENVELOPE_TEXT_MAX || e->rcpts[i].orcpt.n > ENVELOPE_TEXT_MAX)
            return ERR_LIMIT;
        if (!notify_ok(e->rcpts[i].notify))
            return ERR_BAD;
    }
    for (uint32_t i = 0; i < e->ncloses; i++) {
        if (e->closes[i].reply.n > ENVELOPE_TEXT_MAX)
            return ERR_LIMIT;
        if (!close_ok(&e->closes[i]))
            return ERR_BAD;
    }
    return 0;
}

int envelope_encode(const struct envelope *e, struct buf *out)
{
    int err = check(e);
    if (err != 0)
        return err;
    buf_put_u8(out, e->hold.n > 0 ? LAYOUT_HOLD : LAYOUT);
    buf_put_u8(out, e->body);
    buf_put_u8(out, e->ret);
    buf_put_u8(out, e->class);
    buf_put_u8(out, e->flags);
    buf_put_u64(out, e->id);
    buf_put_u64(out, (uint64_t)e->arrival_ms);
    buf_put_u64(out, e->size);
    buf_put_u32(out, e->header_bytes);
    buf_put_u32(out, e->nrcpts);
    buf_put_u32(out, e->ncloses);
    struct span *texts[NTEXTS];
    texts_of((struct envelope *)e, texts);
    for (unsigned i = 0; i < NTEXTS; i++)
        put_text(out, *texts[i]);
    for (uint32_t i = 0; i < e->nrcpts; i++) {
        put_text(out, e->rcpts[i].address);
        put_text(out, e->rcpts[i].orcpt);
        buf_put_u8(out, e->rcpts[i].notify);
    }
    for (uint32_t i = 0; i < e->ncloses; i++) {
        buf_put_u64(out, e->closes[i].id);
        buf_put_u32(out, e->closes[i].rcpt);
        buf_put_u8(out, e->closes[i].state);
        put_text(out, e->closes[i].reply);
    }
    if (e->hold.n > 0)
        put_text(out, e->hold);
    return buf_err(out);
}

static int decode_lists(struct cursor *c, struct envelope *e)
{
    for (uint32_t i = 0; i < e->nrcpts; i++) {
        struct envelope_rcpt *r = &e->rcpts[i];
        r->address = get_text(c);
        r->orcpt = get_text(c);
        r->notify = cursor_u8(c);
        if (r->address.n > ENVELOPE_TEXT_MAX || r->orcpt.n > ENVELOPE_TEXT_MAX || !notify_ok(r->notify))
            return ERR_CORRUPT;
    }
    for (uint32_t i = 0; i < e->ncloses; i++) {
        struct envelope_close *cl = &e->closes[i];
        cl->id = cursor_u64(c);
        cl->rcpt = cursor_u32(c);
        cl->state = cursor_u8(c);
        cl->reply = get_text(c);
        if (cursor_err(c))
            return ERR_TORN;
        if (cl->reply.n > ENVELOPE_TEXT_MAX || !close_ok(cl))
            return ERR_CORRUPT;
    }
    return cursor_err(c);
}

int envelope_decode(struct cursor *c, struct envelope_decoded *out)
{
    struct envelope *e = &out->env;
    *out = (struct envelope_decoded){ .arrays = NULL };
    uint8_t layout = cursor_u8(c);
    e->body = cursor_u8(c);
    e->ret = cursor_u8(c);
    e->class = cursor_u8(c);
    e->flags = cursor_u8(c);
    e->id = cursor_u64(c);
    e->arrival_ms = (int64_t)cursor_u64(c);
    e->size = cursor_u64(c);
    e->header_bytes = cursor_u32(c);
    e->nrcpts = cursor_u32(c);
    e->ncloses = cursor_u32(c);
    struct span *texts[NTEXTS];
    texts_of(e, texts);
    for (unsigned i = 0; i < NTEXTS; i++) {
        *texts[i] = get_text(c);
        if (texts[i]->n > ENVELOPE_TEXT_MAX)
            return ERR_CORRUPT;
    }
    if (cursor_err(c))
        return ERR_TORN;
    if ((layout != LAYOUT && layout != LAYOUT_HOLD) || !scalars_ok(e) || e->nrcpts == 0 || e->nrcpts > ENVELOPE_RCPTS_MAX ||
        e->ncloses > ENVELOPE_RCPTS_MAX)
        return ERR_CORRUPT;
    /* before anything is allocated: the bytes must be there */
    if (e->nrcpts * (size_t)RCPT_BYTES_MIN + e->ncloses * (size_t)CLOSE_BYTES_MIN > cursor_left(c))
        return ERR_TORN;
    size_t rcpts_bytes = e->nrcpts * sizeof *e->rcpts;
    out->arrays = malloc(rcpts_bytes + e->ncloses * sizeof *e->closes);
    if (out->arrays == NULL)
        return -ENOMEM;
    e->rcpts = out->arrays;
    e->closes = (struct envelope_close *)(void *)((char *)out->arrays + rcpts_bytes);
    int err = decode_lists(c, e);
    if (err == 0 && layout == LAYOUT_HOLD) {
        e->hold = get_text(c);
        err = cursor_err(c) ? ERR_TORN : e->hold.n == 0 || e->hold.n > ENVELOPE_TEXT_MAX ? ERR_CORRUPT : 0;
    }
    if (err != 0)
        envelope_decoded_fini(out);
    return err;
}

void envelope_decoded_fini(struct envelope_decoded *d)
{
    free(d->arrays);
    d->arrays = NULL;
}

const char *rcpt_state_name(uint8_t state)
{
    static const char *const names[] = { "queued",  "held",         "delivered", "relayed",
                                         "bounced", "expired",      "deleted",   "moved",
                                         "leaving", "leaving held", "arriving",  "arriving held" };
    return state < sizeof names / sizeof names[0] ? names[state] : "unknown";
}

/* Crockford's base 32: no I, L, O, U, so that nobody misreads an id over the telephone. */
static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

void spool_id_format(uint64_t id, char out[SPOOL_ID_TEXT])
{
    id = spool_id_public(id);
    for (int i = SPOOL_ID_TEXT - 2; i >= 0; i--) {
        out[i] = digits[id & 31];
        id >>= 5;
    }
    out[SPOOL_ID_TEXT - 1] = '\0';
}

static int digit_value(char ch)
{
    if (ch >= 'a' && ch <= 'z')
        ch = (char)(ch - 'a' + 'A');
    if (ch == 'O')
        ch = '0';
    if (ch == 'I' || ch == 'L')
        ch = '1';
    const char *at = ch == '\0' ? NULL : strchr(digits, ch);
    return at == NULL ? -1 : (int)(at - digits);
}

int spool_id_parse(struct span text, uint64_t *id)
{
    if (text.n != SPOOL_ID_TEXT - 1)
        return ERR_BAD;
    uint64_t v = 0;
    for (size_t i = 0; i < text.n; i++) {
        int d = digit_value(text.p[i]);
        if (d < 0 || (i == 0 && d > 15)) /* 13 digits are 65 bits */
            return ERR_BAD;
        v = v << 5 | (uint64_t)d;
    }
    *id = v;
    return 0;
}
