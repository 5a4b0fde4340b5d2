/* Messages out of the workers' queues, and back into them; what is recorded of them. The transfer's threads.
 *
 * A recipient is marked in the same call on its worker that takes its item out of the queue, so that nothing
 * that a worker does with it (an attempt, a notice, an operator's verb) can come in between. A message is
 * taken when that got all of its living recipients; what is in a transaction, on its way to another worker or
 * being reported on is in no item that could be taken, and so the message is left for later.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/dispatch.h"
#include "node/core/egress.h"
#include "node/core/pools.h"
#include "node/core/transfer_impl.h"
#include "node/shaping/grey_mark.h"

#include <errno.h>
#include <stdlib.h>

#define HOPS_NEEDED 2 /* to the other node; and, if it comes to nothing, back past the copy there */

/* ---- states -------------------------------------------------------------------------------------------- */

/* The spool's states with other words; the spans point into `text`. */
struct updates {
    struct spool_rcpt_update *u;
    uint32_t n;
    struct buf text;
};

static int updates_init(struct updates *s, uint32_t max)
{
    s->n = 0;
    s->u = calloc(max + 1, sizeof *s->u);
    buf_init(&s->text, (size_t)(max + 1) * TRANSFER_REPLY_MAX);
    return s->u == NULL ? -ENOMEM : buf_reserve(&s->text, (size_t)(max + 1) * 128);
}

static void updates_fini(struct updates *s)
{
    free(s->u);
    buf_fini(&s->text);
}

static void updates_add(struct updates *s, uint32_t rcpt, const struct spool_rcpt *was, uint8_t state,
                        struct span reply)
{
    size_t at = s->text.len, n = reply.n > TRANSFER_REPLY_MAX ? TRANSFER_REPLY_MAX : reply.n;
    buf_put(&s->text, reply.p, n);
    struct spool_rcpt_update *u = &s->u[s->n++];
    *u = (struct spool_rcpt_update){ .rcpt = rcpt, .to = *was };
    u->to.state = state;
    u->to.changed_ms = clock_wall_ms();
    u->to.reply = span_of((const char *)at, n); /* a place: the buffer may still move */
}

static int updates_record(struct updates *s, struct spool *spool, uint64_t id)
{
    for (uint32_t i = 0; i < s->n; i++)
        s->u[i].to.reply.p = s->text.data + (size_t)s->u[i].to.reply.p;
    if (buf_err(&s->text) != 0)
        return buf_err(&s->text);
    int err = s->n == 0 ? 0 : spool_update(spool, id, s->u, s->n, NULL);
    return err == ERR_NOT_FOUND ? 0 : err;
}

static bool marked(const struct spool_rcpt *r, const uint8_t batch[16], struct transfer_mark *mark)
{
    return rcpt_state_between(r->state) && transfer_mark_parse(r->reply, mark) &&
           memcmp(mark->batch, batch, sizeof mark->batch) == 0;
}

static uint8_t living_state(uint8_t state)
{
    return state == RCPT_LEAVING_HELD || state == RCPT_INERT_HELD ? RCPT_HELD : RCPT_QUEUED;
}

int transfer_mark_all(struct transfer *t, struct spool *spool, uint64_t id, const uint8_t batch[16],
                      bool terminal, const char *words)
{
    struct spool_info *info;
    struct updates s;
    struct transfer_mark mark;
    int err = spool_info(spool, id, &info);
    if (err != 0)
        return err == ERR_NOT_FOUND ? 0 : err;
    if ((err = updates_init(&s, info->env.nrcpts)) != 0) {
        updates_fini(&s);
        spool_info_free(info);
        return err;
    }
    struct history_rcpt *notes = calloc(info->env.nrcpts + 1, sizeof *notes);
    for (uint32_t i = 0; i < info->env.nrcpts; i++) {
        const struct spool_rcpt *r = &info->rcpts[i];
        bool ours = batch != NULL ? marked(r, batch, &mark) : rcpt_state_between(r->state);
        if (!ours)
            continue;
        if (notes != NULL)
            notes[s.n] = (struct history_rcpt){ .rcpt = i };
        updates_add(&s, i, r, terminal ? RCPT_MOVED : living_state(r->state),
                    words != NULL ? span_str(words) : mark.rest);
    }
    if (terminal && notes != NULL && s.n > 0 && t->node->history != NULL && spool == t->node->spool)
        history_note(t->node->history, &info->env, notes, s.n);
    err = updates_record(&s, spool, id);
    free(notes);
    updates_fini(&s);
    spool_info_free(info);
    return err;
}

/* ---- out of the queues --------------------------------------------------------------------------------- */

struct pick {
    struct transfer *t;
    struct give *b;
    uint64_t id;
    const struct spool_info *info;
    bool busy; /* some of it is in a transaction */
    int err;
};

static void look_for_busy(struct worker *w, void *arg)
{
    struct pick *p = arg;
    struct queue *q = w->egress->queue;
    for (struct queue_item *item = queue_find(q, p->id); item != NULL; item = queue_find_next(q, item)) {
        struct queue_item_view v;
        queue_item_view(q, item, &v);
        p->busy = p->busy || v.state == QUEUE_STATE_IN_FLIGHT;
    }
}

/* Marks an item's recipients as the spool has them now, and takes it away. */
static void take_item(struct worker *w, struct pick *p, struct queue_item *item)
{
    struct spool_info *info;
    struct queue_item_view v;
    struct updates s;
    char text[TRANSFER_REPLY_MAX];
    queue_item_view(w->egress->queue, item, &v);
    if (v.state == QUEUE_STATE_IN_FLIGHT || spool_info(p->b->spool, p->id, &info) != 0) {
        p->busy = true;
        return;
    }
    int err = updates_init(&s, v.nrcpts);
    for (uint32_t i = 0; err == 0 && i < v.nrcpts && v.rcpts[i] < info->env.nrcpts; i++) {
        const struct spool_rcpt *r = &info->rcpts[v.rcpts[i]];
        if (rcpt_state_terminal(r->state))
            continue;
        bool held = r->state == RCPT_HELD || v.state == QUEUE_STATE_HELD;
        updates_add(&s, v.rcpts[i], r, held ? RCPT_LEAVING_HELD : RCPT_LEAVING,
                    transfer_mark_format(p->b->id, p->b->taker, 1, r->reply, text));
    }
    if (err == 0)
        err = updates_record(&s, p->b->spool, p->id);
    if (err == 0)
        (void)queue_remove(w->egress->queue, item);
    else
        p->busy = true;
    updates_fini(&s);
    spool_info_free(info);
}

static void take_items(struct worker *w, void *arg)
{
    struct pick *p = arg;
    struct queue *q = w->egress->queue;
    for (struct queue_item *item = queue_find(q, p->id), *next; item != NULL && !p->busy; item = next) {
        next = queue_find_next(q, item);
        take_item(w, p, item);
    }
}

static bool whole(struct spool *spool, uint64_t id, const uint8_t batch[16])
{
    struct spool_info *info;
    struct transfer_mark mark;
    bool all = true, some = false;
    if (spool_info(spool, id, &info) != 0)
        return false;
    for (uint32_t i = 0; i < info->env.nrcpts; i++) {
        bool ours = marked(&info->rcpts[i], batch, &mark);
        some = some || ours;
        all = all && (ours || rcpt_state_terminal(info->rcpts[i].state));
    }
    spool_info_free(info);
    return all && some;
}

static void stuck(struct transfer *t, uint64_t id, const char *why)
{
    char text[SPOOL_ID_TEXT];
    spool_id_format(id, text);
    log_warn("transfer", "%s stays on this node: %s", text, why);
    if (t->stuck.n < TRANSFER_STUCK_MAX)
        t->stuck.ids[t->stuck.n++] = id;
    pthread_mutex_lock(&t->lock);
    t->stuck.total++;
    pthread_mutex_unlock(&t->lock);
}

static bool is_stuck(const struct transfer *t, uint64_t id)
{
    for (uint32_t i = 0; i < t->stuck.n; i++)
        if (t->stuck.ids[i] == id)
            return true;
    return false;
}

/* Next hops know greylisted mail by the address that it came from: whose that is, or is to be. 0: it has none. */
static uint64_t home_of(struct transfer *t, const struct spool_info *info)
{
    struct grey_mark m;
    struct span words;
    struct ip_addr addr;
    uint32_t i = 0;
    while (i < info->env.nrcpts && (rcpt_state_terminal(info->rcpts[i].state) ||
                                    !grey_mark_parse(info->rcpts[i].reply, &m, &words)))
        i++;
    if (i == info->env.nrcpts || ip_addr_parse(m.source, &addr) != 0)
        return 0;
    struct pool_view *v = cluster_pools(t->node->cluster);
    const struct pool_address *a = pool_view_find(v, &addr);
    uint64_t node = a == NULL ? 0 : a->next != 0 ? a->next : a->node;
    pool_view_rele(v);
    return node;
}

/* It goes home by itself. */
static bool goes_home(struct transfer *t, const struct give *b, const struct spool_info *info, uint64_t id)
{
    uint64_t home = home_of(t, info);
    uint32_t i = 0;
    while (i < t->drain.nhomes && t->drain.homes[i] != home)
        i++;
    return home != 0 && home != b->taker && i < t->drain.nhomes &&
           transfer_want(t, &(struct want){ id, home, clock_boot_ms() + TRANSFER_WANT_MS }) == 0;
}

/* 1: it is the batch's. */
static int pick_one(struct transfer *t, struct give *b, uint64_t id, uint64_t *bytes, bool drains)
{
    struct spool_info *info;
    struct node *n = t->node;
    struct pick p = { .t = t, .b = b, .id = id };
    if (is_stuck(t, id))
        return 0;
    int err = spool_info(b->spool, id, &info);
    if (err == ERR_CORRUPT || spool_id_hop(id) + HOPS_NEEDED > SPOOL_ID_HOPS_MAX)
        stuck(t, id, err != 0 ? "its record is damaged" : "it has moved as often as a message can");
    if (err != 0)
        return 0;
    uint64_t size = info->env.size;
    bool home = drains && goes_home(t, b, info, id);
    spool_info_free(info);
    if (home || spool_id_hop(id) + HOPS_NEEDED > SPOOL_ID_HOPS_MAX ||
        (b->n > 0 && *bytes + size > TRANSFER_BATCH_BYTES))
        return 0;
    for (uint32_t i = 0; i < n->nworkers && !p.busy; i++)
        worker_call(&n->workers[i], look_for_busy, &p);
    for (uint32_t i = 0; i < n->nworkers && !p.busy; i++)
        worker_call(&n->workers[i], take_items, &p);
    if (!p.busy && whole(b->spool, id, b->id)) {
        b->msgs[b->n++] = (struct give_msg){ id, spool_id_moved(id) };
        *bytes += size;
        return 1;
    }
    if ((err = transfer_put_back(t, b->spool, id, b->id)) != 0)
        log_error("transfer", "what was in no queue waits for the next start: %s", err_text(err));
    return 0;
}

void transfer_pick(struct transfer *t, struct give *b, const uint64_t *ids, uint32_t n, bool drains)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n && b->n < TRANSFER_BATCH_MAX && !transfer_stops(t); i++)
        (void)pick_one(t, b, ids[i], &bytes, drains);
}

/* ---- into the queues ----------------------------------------------------------------------------------- */

struct dispatch {
    const struct spool_info *info;
    const struct spool_rcpt *rcpts;
    int err;
};

static void run_dispatch(struct worker *w, void *arg)
{
    struct dispatch *d = arg;
    d->err = dispatch_message(w->node, w, w->config, &d->info->env, d->rcpts);
    egress_kick(w->egress);
}

static int into_queues(struct transfer *t, const struct spool_info *info, const struct spool_rcpt *rcpts)
{
    struct dispatch d = { .info = info, .rcpts = rcpts };
    worker_call(&t->node->workers[0], run_dispatch, &d);
    return d.err;
}

int transfer_dispatch(struct transfer *t, uint64_t id)
{
    struct spool_info *info;
    int err = spool_info(t->node->spool, id, &info);
    if (err != 0)
        return err == ERR_NOT_FOUND ? 0 : err;
    err = into_queues(t, info, info->rcpts);
    spool_info_free(info);
    return err;
}

/* Only what the batch had is in no queue: the others have their items. */
int transfer_put_back(struct transfer *t, struct spool *spool, uint64_t id, const uint8_t batch[16])
{
    struct spool_info *before, *after;
    struct transfer_mark mark;
    int err = spool_info(spool, id, &before);
    if (err != 0)
        return err == ERR_NOT_FOUND ? 0 : err;
    err = transfer_mark_all(t, spool, id, batch, false, NULL);
    if (err == 0)
        err = spool_info(spool, id, &after);
    if (err == 0) {
        for (uint32_t i = 0; i < after->env.nrcpts; i++)
            if (!marked(&before->rcpts[i], batch, &mark))
                after->rcpts[i].state = RCPT_MOVED; /* left out */
        err = into_queues(t, after, after->rcpts);
        spool_info_free(after);
    }
    spool_info_free(before);
    return err == ERR_NOT_FOUND ? 0 : err;
}

/* ---- it stays ------------------------------------------------------------------------------------------ */

struct stored {
    struct spool_op op;
    sem_t done;
};

static void stored_cb(struct spool_op *op)
{
    sem_post(&LIST_ITEM(op, struct stored, op)->done);
}

static void room_cb(void *ctx)
{
    sem_post(ctx);
}

static int copy_content(struct spool *spool, uint64_t from, struct spool_ingest *in)
{
    struct spool_reader *r;
    const char *p;
    size_t n;
    sem_t room;
    int err = spool_reader_open(spool, from, &r);
    if (err != 0)
        return err;
    sem_init(&room, 0, 0);
    spool_ingest_on_room(in, room_cb, &room);
    while ((err = spool_reader_next(r, &p, &n)) == 0 && n > 0) {
        err = spool_ingest_write(in, p, n);
        while (err == 1 && sem_wait(&room) != 0)
            ;
        if (err < 0)
            break;
    }
    spool_ingest_on_room(in, NULL, NULL);
    sem_destroy(&room);
    spool_reader_close(r);
    return err;
}

/* The new message's record ends the old one's recipients: there is never both, and never neither. It is born
 * held when some of it was, since nothing may be sent that is held; what was not is released at once. */
static int store_again(struct transfer *t, const struct spool_info *info, const uint8_t batch[16],
                       struct updates *s, uint64_t *to)
{
    struct spool *spool = t->node->spool;
    struct transfer_mark mark;
    struct spool_ingest *in;
    struct envelope e = info->env;
    *to = spool_id_moved(spool_id_moved(e.id));
    int err = *to == 0 ? ERR_LIMIT : spool_ingest_open_moved(spool, *to, &in);
    if (err != 0)
        return err;
    e.flags &= (uint8_t) ~(ENVELOPE_INERT | ENVELOPE_HELD);
    e.nrcpts = e.ncloses = 0;
    e.rcpts = calloc(info->env.nrcpts + 1, sizeof *e.rcpts);
    e.closes = calloc(info->env.nrcpts + 1, sizeof *e.closes);
    struct history_rcpt *notes = calloc(info->env.nrcpts + 1, sizeof *notes);
    err = e.rcpts == NULL || e.closes == NULL || notes == NULL ? -ENOMEM
                                                               : copy_content(spool, info->env.id, in);
    for (uint32_t i = 0; err == 0 && i < info->env.nrcpts; i++) {
        const struct spool_rcpt *r = &info->rcpts[i];
        if (!marked(r, batch, &mark))
            continue;
        bool held = r->state == RCPT_LEAVING_HELD;
        e.flags |= held ? ENVELOPE_HELD : 0;
        updates_add(s, e.nrcpts, r, held ? RCPT_HELD : RCPT_QUEUED, mark.rest);
        notes[e.ncloses] = (struct history_rcpt){ .rcpt = i };
        e.rcpts[e.nrcpts++] = info->env.rcpts[i];
        e.closes[e.ncloses++] = (struct envelope_close){
            .id = info->env.id,
            .rcpt = i,
            .state = RCPT_MOVED,
            .reply = SPAN_LIT("250 2.0.0 stays on this node: its transfer was cancelled"),
        };
    }
    if (err == 0 && e.ncloses > 0 && t->node->history != NULL)
        history_note(t->node->history, &info->env, notes, e.ncloses);
    if (err == 0) {
        struct stored w = { .op = { .done = stored_cb } };
        sem_init(&w.done, 0, 0);
        spool_ingest_commit(in, &e, &w.op);
        while (sem_wait(&w.done) != 0)
            ;
        sem_destroy(&w.done);
        err = w.op.status;
    } else {
        spool_ingest_abort(in);
    }
    free(notes);
    free(e.rcpts);
    free(e.closes);
    return err;
}

int transfer_restore(struct transfer *t, struct give *b, uint64_t id)
{
    struct spool_info *info;
    struct updates s;
    struct transfer_mark mark;
    uint64_t to;
    int err = spool_info(b->spool, id, &info);
    if (err != 0)
        return err == ERR_NOT_FOUND ? 0 : err; /* it was restored before */
    bool any = false;
    for (uint32_t i = 0; i < info->env.nrcpts; i++)
        any = any || marked(&info->rcpts[i], b->id, &mark);
    if (!any) {
        spool_info_free(info);
        return 0;
    }
    err = updates_init(&s, info->env.nrcpts);
    if (err == 0)
        err = store_again(t, info, b->id, &s, &to);
    if (err == 0)
        err = updates_record(&s, b->spool, to);
    if (err == 0)
        err = transfer_dispatch(t, to);
    updates_fini(&s);
    spool_info_free(info);
    if (err != ERR_CORRUPT)
        return err;
    /* It cannot be read, so it cannot be stored again, and was not sent either: it stays what it is. */
    return transfer_put_back(t, b->spool, id, b->id);
}
