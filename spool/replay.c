/* Reads a segment whatever state it is in. One case per state that a crash can leave (docs/spool-format.md,
 * the numbers are that page's): see enum stretch. Any thread.
 */
#include "spool/replay.h"

#include "base/err.h"

#include <errno.h>
#include <stdlib.h>

#define WINDOW_BYTES (1u << 20)
#define BAD_MAX 4096 /* stretches remembered; beyond that the last one grows */

/* What stands at an offset. */
enum stretch {
    STRETCH_END,         /* S1: the file ends here */
    STRETCH_RECORD,      /* S2: a whole record */
    STRETCH_BAD_PAYLOAD, /* S3: a good head, the payload is torn or rotten: skipped by its length */
    STRETCH_CUT,         /* S4: a good head, the file ends within the payload */
    STRETCH_NOTHING,     /* S5: zeros from here to the end: allocated, never written */
    STRETCH_GARBAGE,     /* S6: no head here: the next record is searched for */
};

struct window {
    const struct disk *disk;
    int fd;
    uint8_t *buf;
    size_t cap, len;
    uint64_t start;
    int err;
};

/* n bytes at an offset, or NULL past the end of the file (or, with w->err, when it cannot be read). */
static const uint8_t *window_at(struct window *w, uint64_t offset, size_t n)
{
    if (offset >= w->start && offset + n <= w->start + w->len)
        return w->buf + (offset - w->start);
    if (n > w->cap || w->buf == NULL) {
        size_t cap = n > WINDOW_BYTES ? n : WINDOW_BYTES;
        uint8_t *buf = realloc(w->buf, cap);
        if (buf == NULL) {
            w->err = -ENOMEM;
            return NULL;
        }
        w->buf = buf;
        w->cap = cap;
    }
    w->start = offset;
    w->len = 0;
    while (w->len < w->cap) {
        ssize_t got = w->disk->pread(w->disk->ctx, w->fd, w->buf + w->len, w->cap - w->len, offset + w->len);
        if (got < 0 && w->len < n)
            w->err = (int)got;
        if (got <= 0)
            break;
        w->len += (size_t)got;
    }
    return w->len >= n ? w->buf : NULL;
}

struct bad {
    uint64_t from, to;
};

struct state {
    struct replay *r;
    struct window w;
    struct bad *bad;
    uint32_t nbad, bad_cap;
    uint64_t sealed_end;
    uint64_t sealed_floor;
};

static int note_bad(struct state *st, uint64_t from, uint64_t to)
{
    if (st->nbad > 0 && st->bad[st->nbad - 1].to == from) {
        st->bad[st->nbad - 1].to = to;
        return 0;
    }
    if (st->nbad == BAD_MAX) {
        st->bad[BAD_MAX - 1].to = to;
        return 0;
    }
    if (st->nbad == st->bad_cap) {
        uint32_t cap = st->bad_cap == 0 ? 16 : st->bad_cap * 2;
        struct bad *bad = realloc(st->bad, cap * sizeof *bad);
        if (bad == NULL)
            return -ENOMEM;
        st->bad = bad;
        st->bad_cap = cap;
    }
    st->bad[st->nbad++] = (struct bad){ from, to };
    return 0;
}

static struct record_place place_at(const struct replay *r, uint64_t offset)
{
    return (struct record_place){ r->header.salt, r->number, (uint32_t)offset };
}

/* Looks for the next record behind garbage. A head must check and so must its payload: one head in 2^32
 * places would do so by chance. Sets *next to it, or to the end of the file; *zero: nothing but zeros was
 * passed. */
static void search(struct state *st, uint64_t from, uint64_t *next, bool *zero)
{
    struct record_head head;
    *zero = true;
    for (uint64_t at = from;; at += 8) {
        const uint8_t *p = window_at(&st->w, at, 8);
        if (p == NULL) {
            /* fewer than 8 bytes are left: zeros, or the start of something */
            for (uint64_t k = at; (p = window_at(&st->w, k, 1)) != NULL; k++)
                *zero &= *p == 0;
            *next = st->w.start + st->w.len > at ? st->w.start + st->w.len : at;
            return;
        }
        if (get_u64(p) == 0 && get_u32(p) == 0)
            continue;
        p = at > UINT32_MAX ? NULL : window_at(&st->w, at, RECORD_HEAD_BYTES);
        struct record_place place = place_at(st->r, at);
        if (p != NULL && at > from && record_head_decode(p, &place, &head)) {
            const uint8_t *payload = window_at(&st->w, at + RECORD_HEAD_BYTES, head.len);
            if (payload != NULL && crc_of(payload, head.len) == head.payload_crc) {
                *next = at;
                return;
            }
        }
        *zero = false;
    }
}

static enum stretch classify(struct state *st, uint64_t at, struct record_head *head, uint64_t *next)
{
    bool zero;
    const uint8_t *p = at > UINT32_MAX ? NULL : window_at(&st->w, at, RECORD_HEAD_BYTES);
    if (p == NULL && window_at(&st->w, at, 1) == NULL) {
        *next = at;
        return STRETCH_END;
    }
    struct record_place place = place_at(st->r, at);
    if (p == NULL || !record_head_decode(p, &place, head)) {
        search(st, at, next, &zero);
        return zero && window_at(&st->w, *next, 1) == NULL ? STRETCH_NOTHING : STRETCH_GARBAGE;
    }
    *next = at + record_bytes(head->len);
    const uint8_t *payload = window_at(&st->w, at + RECORD_HEAD_BYTES, head->len);
    if (payload == NULL)
        return STRETCH_CUT;
    return crc_of(payload, head->len) == head->payload_crc ? STRETCH_RECORD : STRETCH_BAD_PAYLOAD;
}

/* A whole record. */
static int take_record(struct state *st, uint64_t at, const struct record_head *head, uint64_t next)
{
    struct replay *r = st->r;
    const uint8_t *p = window_at(&st->w, at + RECORD_HEAD_BYTES, head->len);
    struct span payload = span_of(p, head->len);
    struct batch batch;
    struct seal seal;
    r->records++;
    r->end = next;
    if (head->id >= r->id_floor)
        r->id_floor = head->id + 1;
    switch (head->type) {
    case RECORD_BATCH:
        if (batch_decode(payload, &batch) != 0 || batch.synced > at)
            return note_bad(st, at, next);
        if (batch.synced > r->synced)
            r->synced = batch.synced;
        if (batch.id_floor > r->id_floor)
            r->id_floor = batch.id_floor;
        if (batch.number > r->batch)
            r->batch = batch.number;
        return 0;
    case RECORD_SEAL:
        if (seal_decode(payload, &seal) != 0)
            return note_bad(st, at, next);
        st->sealed_end = next;
        st->sealed_floor = seal.id_floor;
        return 0;
    default:
        if (r->fn == NULL)
            return 0;
        return r->fn(r->ctx, &(struct replay_record){ *head, r->number, (uint32_t)at, payload });
    }
}

static int read_records(struct state *st)
{
    struct record_head head;
    uint64_t next;
    uint64_t first = st->r->from > SEGMENT_HEADER_BYTES ? st->r->from : SEGMENT_HEADER_BYTES;
    for (uint64_t at = first;; at = next) {
        int err = 0;
        switch (classify(st, at, &head, &next)) {
        case STRETCH_END:
        case STRETCH_NOTHING:
            return st->w.err;
        case STRETCH_RECORD:
            err = take_record(st, at, &head, next);
            break;
        case STRETCH_BAD_PAYLOAD:
        case STRETCH_CUT:
        case STRETCH_GARBAGE:
            err = note_bad(st, at, next);
            break;
        }
        if (err != 0)
            return err;
        if (st->w.err != 0)
            return st->w.err;
    }
}

/* S7: a segment whose making did not finish; S8: one whose header is damaged, both copies. */
static int read_header(struct state *st)
{
    struct replay *r = st->r;
    const uint8_t *p = window_at(&st->w, 0, SEGMENT_HEADER_BYTES);
    if (p != NULL && segment_header_decode(p, SEGMENT_HEADER_BYTES, &r->header) == 0 &&
        r->header.number == r->number) {
        r->id_floor = r->header.id_floor;
        r->end = SEGMENT_HEADER_BYTES;
        return 0;
    }
    if (st->w.err != 0)
        return st->w.err;
    r->unborn = true;
    for (uint64_t at = SEGMENT_HEADER_BYTES; (p = window_at(&st->w, at, 1)) != NULL; at += st->w.len)
        for (size_t i = 0; i < st->w.len; i++)
            r->unborn &= st->w.buf[i] == 0;
    r->headless = !r->unborn;
    return st->w.err;
}

int replay_run(struct replay *r)
{
    struct state st = { .r = r, .w = { .disk = r->disk, .fd = r->fd } };
    r->unborn = r->headless = r->sealed = false;
    r->end = r->synced = r->id_floor = r->batch = r->records = r->damaged = r->torn = 0;
    int err = read_header(&st);
    if (err == 0 && !r->unborn && !r->headless)
        err = read_records(&st);
    r->sealed = st.sealed_end != 0 && st.sealed_end == r->end;
    if (r->sealed)
        r->id_floor = st.sealed_floor; /* exact; the others reserve ahead */
    for (uint32_t i = 0; i < st.nbad; i++) {
        bool damage = st.bad[i].from < r->synced;
        r->damaged += damage;
        r->torn += !damage;
        if (r->bad != NULL)
            r->bad(r->ctx, r->number, st.bad[i].from, st.bad[i].to, damage);
    }
    free(st.w.buf);
    free(st.bad);
    return err;
}
