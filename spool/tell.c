/* What spool_open tells when all is read and every message's place is known: the living ones to their owner,
 * and to the history each ending that segments still hold, with the envelope. A second pass over summaries
 * and segments, in the order of the log; the envelope of a message that ended is read where its newest commit
 * is. Runs on the thread that opens, before there are others.
 */
#include "spool/recover.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define READ_AHEAD_BYTES 2048 /* most commits of small messages */

/* ---- the living ---------------------------------------------------------------------------------------- */

static int rcpts_room(struct recovery *rc, uint32_t n)
{
    if (n <= rc->rcpts_cap)
        return 0;
    free(rc->rcpts);
    free(rc->scratch);
    rc->rcpts_cap = n + 64;
    rc->rcpts = malloc(rc->rcpts_cap * sizeof *rc->rcpts);
    rc->scratch = malloc(rc->rcpts_cap * sizeof *rc->scratch);
    if (rc->rcpts != NULL && rc->scratch != NULL)
        return 0;
    rc->rcpts_cap = 0;
    return -ENOMEM;
}

static int commit_envelope(struct span payload, struct envelope_decoded *out)
{
    struct commit c;
    struct cursor cur;
    int err = commit_decode(payload, &c);
    if (err != 0)
        return err;
    cursor_init(&cur, c.envelope.p, c.envelope.n);
    return envelope_decode(&cur, out);
}

static int tell_found(struct recovery *rc, const struct replay_record *r)
{
    struct spool *s = rc->s;
    const struct msg *m = index_find(s, r->head.id);
    if (m == NULL || m->segment != r->segment || m->offset != r->offset)
        return 0;
    if (rc->unburied && msg_all_terminal(m))
        return 0;
    struct envelope_decoded d;
    int err = commit_envelope(r->payload, &d);
    if (err != 0)
        return err;
    err = rcpts_room(rc, m->nrcpts);
    for (uint32_t i = 0; err == 0 && i < m->nrcpts; i++)
        msg_rcpt_export(s, &m->rcpts[i], rc->scratch[i], &rc->rcpts[i]);
    if (err == 0)
        err = rc->found(rc->found_ctx, &d.env, rc->rcpts);
    envelope_decoded_fini(&d);
    return err;
}

/* ---- envelopes of the ended ---------------------------------------------------------------------------- */

static int record_room(struct recovery *rc, uint32_t n)
{
    if (n <= rc->record_cap)
        return 0;
    uint8_t *more = realloc(rc->record, n);
    if (more == NULL)
        return -ENOMEM;
    rc->record = more;
    rc->record_cap = n;
    return 0;
}

static int read_at(struct recovery *rc, int fd, uint64_t offset, uint32_t from, uint32_t upto)
{
    const struct disk *d = rc->s->disk;
    for (uint32_t have = from; have < upto;) {
        ssize_t n = d->pread(d->ctx, fd, rc->record + have, upto - have, offset + have);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return (int)have;
        have += (uint32_t)n;
    }
    return (int)upto;
}

/* Reads the commit whole, with most of them in one call. */
static int read_commit(struct recovery *rc, const struct segment *seg, int fd, uint64_t id, uint32_t offset,
                       struct span *payload)
{
    struct record_head head;
    int have = record_room(rc, READ_AHEAD_BYTES);
    if (have == 0)
        have = read_at(rc, fd, offset, 0, READ_AHEAD_BYTES);
    if (have < 0)
        return have;
    if (have < (int)RECORD_HEAD_BYTES ||
        !record_head_decode(rc->record, &(struct record_place){ seg->salt, seg->number, offset }, &head) ||
        head.type != RECORD_COMMIT || head.id != id)
        return ERR_CORRUPT;
    uint32_t whole = RECORD_HEAD_BYTES + head.len;
    if (whole > (uint32_t)have) {
        int err = record_room(rc, whole);
        if (err == 0)
            have = read_at(rc, fd, offset, (uint32_t)have, whole);
        if (err != 0 || have < 0)
            return err != 0 ? err : have;
        if ((uint32_t)have < whole)
            return ERR_CORRUPT;
    }
    *payload = span_of(rc->record + RECORD_HEAD_BYTES, head.len);
    return crc_of(rc->record + RECORD_HEAD_BYTES, head.len) == head.payload_crc ? 0 : ERR_CORRUPT;
}

static void told_free(struct told_envelope *t)
{
    if (t->id != 0)
        envelope_decoded_fini(&t->d);
    free(t->bytes);
    *t = (struct told_envelope){ 0 };
}

static int told_fill(struct told_envelope *t, uint64_t id, struct span payload)
{
    struct commit c;
    struct cursor cur;
    told_free(t);
    int err = commit_decode(payload, &c);
    if (err != 0)
        return err;
    t->bytes = malloc(c.envelope.n + 1);
    if (t->bytes == NULL)
        return -ENOMEM;
    memcpy(t->bytes, c.envelope.p, c.envelope.n);
    cursor_init(&cur, t->bytes, c.envelope.n);
    err = envelope_decode(&cur, &t->d);
    if (err != 0) {
        told_free(t);
        return err;
    }
    t->id = id;
    return 0;
}

/* Where the newest commit of a message is. False: none was read. */
static bool place_of(struct recovery *rc, uint64_t id, uint32_t *segment, uint32_t *offset)
{
    const struct msg *m = index_find(rc->s, id);
    const struct dead_slot *dead = m == NULL ? dead_find(&rc->dead, id) : NULL;
    *segment = m != NULL ? m->segment : dead != NULL ? dead->segment : 0;
    *offset = m != NULL ? m->offset : dead != NULL ? dead->offset : 0;
    return *segment != 0;
}

/* Sets *out to the envelope, or NULL where the commit is not to be had: the ending is told all the same. Only
 * the want of memory is an error. The segment with it stays until the history has the ending. */
static int envelope_of(struct recovery *rc, uint64_t id, uint64_t seq, const struct envelope **out)
{
    struct spool *s = rc->s;
    struct told_envelope *t = &rc->envelopes[(id >> SPOOL_ID_COUNTER_SHIFT) % TELL_ENVELOPES];
    uint32_t number, offset;
    struct span payload;
    *out = NULL;
    struct segment *seg = place_of(rc, id, &number, &offset) ? segments_find(s, number) : NULL;
    if (seg == NULL)
        return 0;
    if (seg->ended_seq < seq)
        seg->ended_seq = seq;
    if (t->id != id) {
        int fd = segment_hold(s, seg);
        int err = fd < 0 ? fd : read_commit(rc, seg, fd, id, offset, &payload);
        if (err == 0)
            err = told_fill(t, id, payload);
        if (fd >= 0)
            segment_rele(s, seg);
        if (err == -ENOMEM)
            return err;
        if (err != 0) {
            log_warn(SPOOL_AREA, "segment %08x: the envelope at %u, of mail that ended, cannot be read: %s",
                     number, offset, err_text(err));
            return 0;
        }
    }
    *out = &t->d.env;
    return 0;
}

/* ---- endings ------------------------------------------------------------------------------------------- */

static int tell(struct recovery *rc, const struct replay_record *r, uint64_t id,
                const struct spool_rcpt_update *u, uint32_t n)
{
    uint64_t seq = rec_seq(r->segment, r->offset);
    const struct envelope *env;
    int err = envelope_of(rc, id, seq, &env);
    if (err == 0)
        rc->s->ended_fn(rc->s->ended_ctx, id, env, u, n, seq);
    return err;
}

static int tell_updates(struct recovery *rc, const struct replay_record *r)
{
    struct spool_rcpt_update few[16];
    struct updates it;
    if (updates_open(&it, r->head.type, r->payload) != 0)
        return 0; /* said when it was read first */
    struct spool_rcpt_update *all = it.n + 1 <= 16 ? few : malloc((it.n + 1) * sizeof *all);
    if (all == NULL)
        return -ENOMEM;
    uint32_t n = 0;
    int err;
    while ((err = updates_next(&it, &all[n])) > 0)
        n += rcpt_state_terminal(all[n].to.state);
    err = err == 0 && n > 0 ? tell(rc, r, r->head.id, all, n) : 0;
    if (all != few)
        free(all);
    return err;
}

/* Of a message that lives on it is known whether this is what closed the recipient. */
static bool close_counts(struct recovery *rc, const struct envelope_close *cl, int64_t at_ms)
{
    const struct msg *m = index_find(rc->s, cl->id);
    if (m == NULL)
        return true;
    return cl->rcpt < m->nrcpts && m->rcpts[cl->rcpt].state == cl->state &&
           m->rcpts[cl->rcpt].changed_ms == (at_ms == 0 ? 1 : at_ms);
}

static int tell_closes(struct recovery *rc, const struct replay_record *r)
{
    struct envelope_decoded d;
    int err = commit_envelope(r->payload, &d);
    if (err != 0)
        return err == -ENOMEM ? err : 0;
    for (uint32_t i = 0; err == 0 && i < d.env.ncloses; i++) {
        const struct envelope_close *cl = &d.env.closes[i];
        if (!close_counts(rc, cl, d.env.arrival_ms))
            continue;
        const struct msg *m = index_find(rc->s, cl->id);
        struct spool_rcpt_update u = {
            .rcpt = cl->rcpt,
            .to = { .state = cl->state,
                    .delay_told = m == NULL ? 0 : m->rcpts[cl->rcpt].delay_told,
                    .attempts = m == NULL ? (uint16_t)0 : m->rcpts[cl->rcpt].attempts,
                    .changed_ms = d.env.arrival_ms,
                    .reply = cl->reply },
        };
        err = tell(rc, r, cl->id, &u, 1);
    }
    envelope_decoded_fini(&d);
    return err;
}

static int tell_record(void *ctx, const struct replay_record *r, uint32_t full_len)
{
    struct recovery *rc = ctx;
    bool news = rc->s->ended_fn != NULL && (r->head.flags & RECORD_COPY) == 0;
    int err = 0;
    (void)full_len;
    switch (r->head.type) {
    case RECORD_COMMIT:
        if (news && rc->closes)
            err = tell_closes(rc, r);
        return err != 0 || rc->found == NULL ? err : tell_found(rc, r);
    case RECORD_STATE:
    case RECORD_TOMBSTONE:
        return news ? tell_updates(rc, r) : 0;
    default:
        return 0;
    }
}

static int tell_segment_record(void *ctx, const struct replay_record *r)
{
    return tell_record(ctx, r, r->head.len);
}

int recovery_tell(struct recovery *rc, struct segment *seg)
{
    struct spool *s = rc->s;
    struct summary m;
    char path[SPOOL_PATH_MAX];
    bool endings = s->ended_fn != NULL && seg->endings;
    bool living = rc->found != NULL && seg->live > 0;
    if (!endings && !living)
        return 0;
    segment_path(s, seg->number, "sum", path);
    if (seg->summarised && summary_load(s->disk, path, seg->number, &m) == 0) {
        int err = summary_each(&m, tell_record, rc);
        summary_unload(&m);
        return err;
    }
    int fd = segment_hold(s, seg);
    if (fd < 0)
        return fd;
    struct replay r = {
        .disk = s->disk, .fd = fd, .number = seg->number, .fn = tell_segment_record, .ctx = rc
    };
    int err = replay_run(&r);
    segment_rele(s, seg);
    return err;
}

void recovery_tell_fini(struct recovery *rc)
{
    for (int i = 0; i < TELL_ENVELOPES; i++)
        told_free(&rc->envelopes[i]);
    free(rc->record);
    free(rc->rcpts);
    free(rc->scratch);
}
