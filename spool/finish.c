/* What follows a sync: the batch's records become known in memory, endings are reported to the history, room
 * is announced, answers are given. Runs on the writer thread (or whoever steps the writer). The lock is taken
 * once for the whole batch; reports and answers are given without it.
 */
#include "spool/internal.h"

#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <stdlib.h>

/* A recipient that the commit of another message closed. */
struct closed {
    uint64_t id;
    uint64_t seq;
    struct spool_rcpt_update u;
};

struct closed_list {
    struct closed *p; /* replies point into records of the batch */
    uint32_t n, cap;
};

static void live_sub(struct spool *s, uint32_t number, uint64_t bytes)
{
    struct segment *seg = segments_find(s, number);
    if (seg == NULL)
        return;
    ensure(seg->live >= bytes);
    seg->live -= bytes;
}

static void live_add(struct spool *s, uint32_t number, uint64_t bytes)
{
    struct segment *seg = segments_find(s, number);
    if (seg != NULL)
        seg->live += bytes;
}

void account_gone(struct spool *s, struct msg *m)
{
    if (m->segment != 0)
        live_sub(s, m->segment, record_bytes(m->len));
    for (uint32_t i = 0; m->chunks != NULL && i < m->chunks->n; i++)
        live_sub(s, m->chunks->e[i].segment, m->chunks->e[i].bytes);
    free(m->chunks);
    m->chunks = NULL;
    m->segment = 0;
}

void account_commit(struct spool *s, struct msg *m, uint32_t segment, uint32_t offset, uint32_t len,
                    struct extents *chunks)
{
    account_gone(s, m);
    m->segment = segment;
    m->offset = offset;
    m->len = len;
    m->chunks = chunks;
    live_add(s, segment, record_bytes(len));
    for (uint32_t i = 0; chunks != NULL && i < chunks->n; i++)
        live_add(s, chunks->e[i].segment, chunks->e[i].bytes);
}

void account_state(struct spool *s, struct msg *m, struct segment *seg, uint32_t bytes, bool full)
{
    /* Updates of a few recipients at a time leave what is needed spread over segments; all of it is counted
     * for the newest, at no more than a rewrite of it would take. */
    uint32_t most = m->nrcpts * 128u;
    struct segment *old = m->state_segment == 0 ? NULL : segments_find(s, m->state_segment);
    if (old != NULL) {
        ensure(old->states >= m->state_bytes);
        old->states -= m->state_bytes;
    }
    if (!full) {
        bytes += m->state_bytes;
        bytes = bytes < most ? bytes : most;
    }
    m->state_bytes = bytes;
    m->state_segment = seg == NULL ? 0 : seg->number;
    if (seg != NULL)
        seg->states += bytes;
    if (full && seg != NULL)
        m->full_segment = seg->number;
}

void account_ended(struct spool *s, struct msg *m)
{
    account_gone(s, m);
    account_state(s, m, NULL, 0, true);
}

void ingest_unpin(struct spool *s, struct spool_ingest *in)
{
    for (uint32_t i = 0; i < in->npins; i++) {
        struct segment *seg = segments_find(s, in->pins[i]);
        ensure(seg != NULL && seg->pins > 0);
        seg->pins--;
    }
    in->npins = 0;
}

static void closed_add(struct closed_list *list, struct closed c)
{
    if (list->n == list->cap) {
        uint32_t cap = list->cap == 0 ? 16 : list->cap * 2;
        struct closed *p = realloc(list->p, cap * sizeof *p);
        if (p == NULL)
            return; /* told to the history at the next start, from the record */
        list->p = p;
        list->cap = cap;
    }
    list->p[list->n++] = c;
}

int tombstone_queue(struct spool *s, struct msg *m)
{
    struct rec *r = rec_new(RECORD_TOMBSTONE, RECORD_COPY, m->id, UPDATES_FIXED_BYTES + 4);
    if (r == NULL)
        return -ENOMEM;
    put_u32(rec_payload(r), m->nrcpts);
    put_u32(rec_payload(r) + 4, 0);
    rec_checked(r, UPDATES_FIXED_BYTES);
    r->msg = m;
    index_remove(s, m);
    m->flags |= MSG_ENDED;
    queue_push(s, r);
    return 0;
}

/* The commit of a report closes the recipients that it reports: here in memory, on disk by being one record.
 */
static void finish_closes(struct spool *s, const struct rec *r, struct segment *seg, struct closed_list *list)
{
    struct commit commit;
    struct envelope_decoded d;
    struct cursor c;
    int err = commit_decode(span_of(r->data + RECORD_HEAD_BYTES, r->payload), &commit);
    ensure(err == 0);
    cursor_init(&c, commit.envelope.p, commit.envelope.n);
    if (envelope_decode(&c, &d) != 0) {
        spool_fail(s, -ENOMEM, "closing reported recipients");
        return;
    }
    for (uint32_t i = 0; i < d.env.ncloses; i++) {
        const struct envelope_close *cl = &d.env.closes[i];
        struct msg *m = index_living(s, cl->id);
        struct spool_rcpt_update u = { .rcpt = cl->rcpt };
        if (m == NULL || cl->rcpt >= m->nrcpts)
            continue;
        u.to = (struct spool_rcpt){ .state = cl->state,
                                    .delay_told = m->rcpts[cl->rcpt].delay_told,
                                    .attempts = m->rcpts[cl->rcpt].attempts,
                                    .changed_ms = d.env.arrival_ms,
                                    .reply = cl->reply };
        if (!msg_apply(s, m, &u))
            continue;
        account_state(s, m, seg, ACCOUNT_CLOSE_BYTES, false);
        s->ended_seq = seg->ended_seq = rec_seq(seg->number, r->offset);
        closed_add(list, (struct closed){ m->id, seg->ended_seq, u });
        if (msg_all_terminal(m) && tombstone_queue(s, m) != 0)
            spool_fail(s, -ENOMEM, "ending a reported message");
    }
    envelope_decoded_fini(&d);
}

static void finish_commit(struct spool *s, struct rec *r, struct segment *seg, struct closed_list *list)
{
    struct msg *m = r->msg;
    m->flags &= ~(uint32_t)MSG_MOVING;
    if (r->status != 0) {
        if ((r->flags & RECORD_COPY) != 0) {
            m->placed = m->segment;
        } else {
            index_remove(s, m);
            msg_free(s, m);
        }
        free(r->chunks);
    } else {
        /* Also a copy that the end has overtaken: its tombstone follows and names it. Until that is on disk the copy
         * is what counts, and the segment that it was read from can go. */
        account_commit(s, m, seg->number, r->offset, r->payload, r->chunks);
        m->flags &= ~(uint32_t)MSG_PENDING;
        if ((r->flags & RECORD_COPY) == 0)
            s->stats.committed++;
        if (r->closes && (r->flags & RECORD_COPY) == 0)
            finish_closes(s, r, seg, list);
    }
    r->chunks = NULL;
    if (r->in != NULL) {
        ingest_unpin(s, r->in);
        ingest_free(r->in);
    }
}

/* The segment with the envelope of a message that ended stays until the history has the ending: a start after
 * a crash tells the two together. */
static void envelope_keep(struct spool *s, uint32_t number)
{
    struct segment *seg = segments_find(s, number);
    if (seg != NULL && seg->ended_seq < s->ended_seq)
        seg->ended_seq = s->ended_seq;
}

static void finish_state(struct spool *s, struct rec *r, struct segment *seg)
{
    bool end = r->type == RECORD_TOMBSTONE;
    if (r->status == 0) {
        if ((r->flags & RECORD_COPY) == 0)
            s->stats.updates++;
        if (r->ended)
            s->ended_seq = seg->ended_seq = rec_seq(seg->number, r->offset);
        if (!end) {
            if ((r->flags & RECORD_COPY) != 0)
                r->msg->flags &= ~(uint32_t)MSG_SNAPPING;
            account_state(s, r->msg, seg, r->bytes, (r->flags & RECORD_FULL) != 0);
        } else {
            /* what the tombstone waits for; a count only, compaction reads the records */
            uint32_t target = get_u32(r->data + RECORD_HEAD_BYTES + r->payload - 4);
            (void)segment_tomb_add(seg, target, r->bytes);
        }
    }
    if (end && r->msg != NULL) {
        envelope_keep(s, r->msg->segment);
        envelope_keep(s, r->msg->placed);
        account_ended(s, r->msg);
        msg_free(s, r->msg);
    }
}

static void finish_chunk(struct rec *r, struct spool_ingest **room)
{
    struct spool_ingest *in = r->in;
    ensure(in->queued >= r->bytes);
    in->queued -= r->bytes;
    if (r->status != 0 && in->err == 0)
        in->err = r->status;
    if (in->want_room && (in->queued <= SPOOL_INGEST_QUEUE_MAX / 4 || in->err != 0)) {
        in->want_room = false;
        in->next_room = *room;
        *room = in;
    }
}

static void finish_rec(struct spool *s, struct rec *r, struct closed_list *closed, struct spool_ingest **room)
{
    struct segment *seg = s->active;
    if (r->step == STEP_ABORT) {
        ingest_unpin(s, r->in);
        ingest_free(r->in);
    }
    switch (r->type) {
    case RECORD_CHUNK:
        finish_chunk(r, room);
        break;
    case RECORD_COMMIT:
        finish_commit(s, r, seg, closed);
        break;
    case RECORD_STATE:
    case RECORD_TOMBSTONE:
        finish_state(s, r, seg);
        break;
    default:
        break;
    }
}

/* Who hears of endings, as it was when the batch became known. */
struct ear {
    spool_ended_fn *fn;
    void *ctx;
};

/* Tells the history of the terminal states in one record, in one call. */
static void report_rec(struct spool *s, const struct ear *ear, const struct rec *r, uint32_t segment)
{
    struct spool_rcpt_update few[16];
    struct updates it;
    uint32_t n = 0;
    int more = updates_open(&it, r->type, span_of(r->data + RECORD_HEAD_BYTES, r->payload));
    ensure(more == 0);
    struct spool_rcpt_update *all = it.n + 1 <= 16 ? few : malloc((it.n + 1) * sizeof *all);
    if (all == NULL) {
        spool_fail(s, -ENOMEM, "reporting endings");
        return;
    }
    while ((more = updates_next(&it, &all[n])) > 0)
        n += rcpt_state_terminal(all[n].to.state);
    if (n > 0)
        ear->fn(ear->ctx, r->id, NULL, all, n, rec_seq(segment, r->offset));
    if (all != few)
        free(all);
}

/* In the order of the log, so that "everything up to this seq" means what it says. */
static void report(struct spool *s, const struct ear *ear, const struct list *batch,
                   const struct closed_list *closed, uint32_t segment)
{
    if (ear->fn == NULL)
        return;
    uint32_t k = 0;
    LIST_EACH(link, batch)
    {
        const struct rec *r = LIST_ITEM(link, struct rec, link);
        if (r->status != 0)
            continue;
        if (r->ended)
            report_rec(s, ear, r, segment);
        for (; k < closed->n && closed->p[k].seq == rec_seq(segment, r->offset); k++)
            ear->fn(ear->ctx, closed->p[k].id, NULL, &closed->p[k].u, 1, closed->p[k].seq);
    }
}

static void announce_room(struct spool *s, struct spool_ingest *in)
{
    while (in != NULL) {
        struct spool_ingest *next = in->next_room;
        pthread_mutex_lock(&s->room_lock);
        if (in->room != NULL)
            in->room(in->room_ctx);
        pthread_mutex_unlock(&s->room_lock);
        in = next;
    }
}

#define INBOXES_AT_ONCE 32

static void answer(struct list *batch)
{
    struct {
        struct inbox *inbox;
        struct list ops;
        uint32_t n;
    } to[INBOXES_AT_ONCE];
    uint32_t used = 0;
    LIST_EACH(link, batch)
    {
        struct rec *r = LIST_ITEM(link, struct rec, link);
        struct spool_op *op = r->op;
        if (op == NULL)
            continue;
        op->status = r->status;
        op->id = r->id;
        if (op->inbox == NULL) {
            op->done(op);
            continue;
        }
        uint32_t i = 0;
        while (i < used && to[i].inbox != op->inbox)
            i++;
        if (i == INBOXES_AT_ONCE) {
            inbox_answer(op->inbox, &op->msg);
            continue;
        }
        if (i == used) {
            to[i].inbox = op->inbox;
            to[i].n = 0;
            list_init(&to[i].ops);
            used++;
        }
        list_push_back(&to[i].ops, &op->msg.link);
        to[i].n++;
    }
    for (uint32_t i = 0; i < used; i++)
        inbox_answer_all(to[i].inbox, &to[i].ops, to[i].n);
}

void batch_finish(struct spool *s, struct list *batch)
{
    struct closed_list closed = { 0 };
    struct spool_ingest *room = NULL;
    uint32_t waiters = 0;
    pthread_mutex_lock(&s->lock);
    uint32_t segment = s->active == NULL ? 0 : s->active->number;
    LIST_EACH(link, batch)
    {
        struct rec *r = LIST_ITEM(link, struct rec, link);
        finish_rec(s, r, &closed, &room);
        waiters += r->op != NULL;
    }
    if (waiters > 0)
        s->busy_waiters = waiters;
    struct ear ear = { s->ended_fn, s->ended_ctx };
    pthread_mutex_unlock(&s->lock);
    announce_room(s, room);
    report(s, &ear, batch, &closed, segment);
    free(closed.p);
    answer(batch);
    for (struct list *link; (link = list_pop_front(batch)) != NULL;)
        free(LIST_ITEM(link, struct rec, link));
}

struct flush_wait {
    struct spool_op op;
    struct spool *s;
    bool done;
};

static void flush_done(struct spool_op *op)
{
    struct flush_wait *w = LIST_ITEM(op, struct flush_wait, op);
    struct spool *s = w->s;
    pthread_mutex_lock(&s->lock);
    w->done = true;
    pthread_cond_broadcast(&s->flushed_cond);
    pthread_mutex_unlock(&s->lock);
}

int spool_flush(struct spool *s)
{
    struct flush_wait w = { .op.done = flush_done, .s = s };
    struct rec *r = rec_step(STEP_FLUSH);
    if (r == NULL)
        return -ENOMEM;
    r->op = &w.op;
    pthread_mutex_lock(&s->lock);
    queue_push(s, r);
    while (s->threads && !w.done)
        pthread_cond_wait(&s->flushed_cond, &s->lock);
    pthread_mutex_unlock(&s->lock);
    while (!w.done)
        (void)spool_writer_step(s);
    return w.op.status;
}
