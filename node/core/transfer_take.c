/* Batches that come in: what is offered is checked, stored inert, and sealed. The taker's thread. */
#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "gossip/gossip.h"
#include "node/core/transfer_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- batches ------------------------------------------------------------------------------------------- */

void transfer_take_show(struct transfer *t, struct take *b)
{
    uint32_t present = 0;
    for (uint32_t i = 0; i < b->n; i++)
        present += b->msgs[i].present;
    pthread_mutex_lock(&t->lock);
    memcpy(b->shown.batch, b->id, sizeof b->id);
    b->shown.giver = b->giver;
    b->shown.taker = t->started ? cluster_self(t->node->cluster) : 0;
    b->shown.giving = false;
    b->shown.messages = present;
    b->shown.since_ms = b->since_ms;
    b->shown.state = b->sealed ? "stored, undecided" : "being received";
    memcpy(b->shown.trouble, b->trouble, sizeof b->trouble);
    pthread_mutex_unlock(&t->lock);
}

struct take *transfer_take_find(struct transfer *t, const uint8_t id[16])
{
    LIST_EACH(link, &t->takes)
    {
        struct take *b = LIST_ITEM(link, struct take, link);
        if (memcmp(b->id, id, sizeof b->id) == 0)
            return b;
    }
    return NULL;
}

struct take *transfer_take_new(struct transfer *t, const uint8_t id[16], uint64_t giver)
{
    struct take *b = t->ntakes >= TRANSFER_TAKES_MAX && t->opened ? NULL : calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    memcpy(b->id, id, sizeof b->id);
    b->giver = giver;
    b->since_ms = clock_wall_ms();
    b->touched_ms = clock_boot_ms();
    sem_init(&b->done, 0, 0);
    sem_init(&b->now.room, 0, 0);
    buf_init(&b->now.head, TRANSFER_HEAD_MAX + 4);
    transfer_take_show(t, b);
    pthread_mutex_lock(&t->lock);
    list_push_back(&t->takes, &b->link);
    t->ntakes++;
    pthread_mutex_unlock(&t->lock);
    return b;
}

/* The message that is coming is begun anew, or not at all. */
static void drop_now(struct take *b)
{
    if (b->now.in != NULL) {
        spool_ingest_on_room(b->now.in, NULL, NULL);
        spool_ingest_abort(b->now.in);
    }
    if (b->now.headed)
        transfer_head_fini(&b->now.decoded);
    buf_reset(&b->now.head);
    b->now.in = NULL;
    b->now.headed = b->now.skip = false;
    b->now.offset = b->now.size = b->now.id = 0;
    b->now.msg = NULL;
}

static void wait_stored(struct take *b)
{
    for (uint32_t i = 0; i < b->n; i++)
        if (b->msgs[i].pending) {
            while (sem_wait(&b->done) != 0)
                ;
            b->msgs[i].pending = false; /* one of them: all are waited for */
        }
}

static void forget_heads(struct take *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        free(b->msgs[i].head);
        b->msgs[i].head = NULL;
    }
    b->head_bytes = 0;
}

void transfer_take_quiet(struct take *b)
{
    drop_now(b);
    wait_stored(b);
}

void transfer_take_free(struct take *b)
{
    transfer_take_quiet(b);
    forget_heads(b);
    buf_fini(&b->now.head);
    sem_destroy(&b->done);
    sem_destroy(&b->now.room);
    free(b);
}

void transfer_take_finished(struct transfer *t, struct take *b)
{
    pthread_mutex_lock(&t->lock);
    list_remove(&b->link);
    t->ntakes--;
    pthread_mutex_unlock(&t->lock);
    transfer_take_free(b);
}

struct take_msg *transfer_take_message(struct take *b, uint64_t id)
{
    for (uint32_t i = 0; i < b->n; i++)
        if (b->msgs[i].id == id)
            return &b->msgs[i];
    if (b->n == TRANSFER_BATCH_MAX)
        return NULL;
    struct take_msg *m = &b->msgs[b->n++];
    *m = (struct take_msg){ .id = id };
    return m;
}

/* ---- offers -------------------------------------------------------------------------------------------- */

static int on_offer(struct transfer *t, uint64_t from, const struct transfer_question *q,
                    struct transfer_answer *a)
{
    struct take *b = transfer_take_find(t, q->batch);
    struct directory_member self;
    struct machine *m = cluster_machine(t->node->cluster);
    machine_read_lock(m);
    bool known = directory_member_find(m, cluster_self(t->node->cluster), &self);
    uint8_t state = known ? self.state : COMMAND_MEMBER_REMOVED;
    machine_read_unlock(m);
    if (state == COMMAND_MEMBER_DRAINING)
        return transfer_refuse(a, "it drains");
    if (state != COMMAND_MEMBER_ACTIVE || atomic_load(&t->node->spool_error) != 0)
        return transfer_refuse(a, "it takes no mail");
    if (b == NULL)
        b = transfer_take_new(t, q->batch, q->giver);
    if (b == NULL)
        return transfer_refuse(a, "it has too many batches that are not finished");
    if (b->giver != q->giver || (q->giver != from && from != cluster_self(t->node->cluster)))
        return transfer_refuse(a, "another node has offered this batch");
    drop_now(b);
    wait_stored(b);
    forget_heads(b);
    for (uint32_t i = 0; i < b->n; i++)
        b->msgs[i].fresh = false;
    b->from = from;
    b->count = q->count;
    b->offered = true;
    b->sealed = false;
    memcpy(b->sha256, q->sha256, sizeof b->sha256);
    return TRANSFER_YES;
}

/* ---- messages ------------------------------------------------------------------------------------------ */

static void room_cb(void *ctx)
{
    sem_post(ctx);
}

static void stored_cb(struct spool_op *op)
{
    sem_post(LIST_ITEM(op, struct take_msg, op)->done);
}

/* A copy is here already: of an earlier offer of this batch, or of one that this process did not see. */
static bool same_copy(struct transfer *t, struct take *b)
{
    struct spool_info *info;
    struct transfer_mark mark;
    if (spool_info(t->node->spool, b->now.id, &info) != 0)
        return false;
    bool same = transfer_same(&info->env, &b->now.decoded.envelope.env);
    for (uint32_t i = 0; i < info->env.nrcpts; i++) {
        const struct spool_rcpt *r = &info->rcpts[i];
        bool inert = r->state == RCPT_INERT || r->state == RCPT_INERT_HELD;
        bool other = transfer_mark_parse(r->reply, &mark) && memcmp(mark.batch, b->id, sizeof b->id) != 0;
        same = same && inert && !other;
    }
    spool_info_free(info);
    return same;
}

/* The head is complete: the message can be stored. */
static int begin_message(struct transfer *t, struct take *b, struct transfer_answer *a)
{
    struct take_msg *m = transfer_take_message(b, b->now.id);
    if (m == NULL || b->head_bytes + b->now.head.len > TRANSFER_TAKE_BYTES)
        return transfer_refuse(a, "the batch is too large");
    if (transfer_head_decode(span_sub(buf_span(&b->now.head), TRANSFER_LENGTH_BYTES), &b->now.decoded) != 0)
        return transfer_refuse(a, "an envelope cannot be read");
    b->now.headed = true;
    b->now.msg = m;
    if (b->now.decoded.envelope.env.id != b->now.id)
        return transfer_refuse(a, "an envelope is another message's");
    int err = spool_ingest_open_moved(t->node->spool, b->now.id, &b->now.in);
    if (err == ERR_EXISTS && same_copy(t, b)) {
        b->now.in = NULL;
        b->now.skip = true;
        m->present = true;
        transfer_no_stray(t, b->now.id);
        return TRANSFER_YES;
    }
    if (err != 0) {
        b->now.in = NULL;
        return transfer_refuse(a, err == ERR_EXISTS ? "it has another message of that name" : err_text(err));
    }
    spool_ingest_on_room(b->now.in, room_cb, &b->now.room);
    return TRANSFER_YES;
}

static int add_content(struct transfer *t, struct take *b, struct span bytes, struct transfer_answer *a)
{
    (void)t;
    b->now.size += bytes.n;
    if (b->now.skip || bytes.n == 0)
        return TRANSFER_YES;
    int err = spool_ingest_write(b->now.in, bytes.p, bytes.n);
    while (err == 1 && sem_wait(&b->now.room) != 0)
        ;
    return err < 0 ? transfer_refuse(a, err_text(err)) : TRANSFER_YES;
}

static int add_bytes(struct transfer *t, struct take *b, struct span bytes, struct transfer_answer *a)
{
    if (!b->now.headed) {
        int whole = transfer_head_gather(&b->now.head, &bytes);
        if (whole < 0)
            return transfer_refuse(a, whole == ERR_LIMIT ? "an envelope is too large" : "no memory");
        if (whole == 0)
            return TRANSFER_YES;
        int code = begin_message(t, b, a);
        if (code != TRANSFER_YES)
            return code;
    }
    return add_content(t, b, bytes, a);
}

/* All of it is here. It is on disk when the batch is sealed. */
static int end_message(struct take *b, struct transfer_answer *a)
{
    struct take_msg *m = b->now.msg;
    if (!b->now.headed || b->now.size != b->now.decoded.envelope.env.size)
        return transfer_refuse(a, "a message came incomplete");
    struct span bytes = span_sub(buf_span(&b->now.head), TRANSFER_LENGTH_BYTES);
    char *head = malloc(bytes.n);
    if (head == NULL)
        return transfer_refuse(a, "no memory");
    memcpy(head, bytes.p, bytes.n);
    b->head_bytes += bytes.n - (m->head == NULL ? 0 : m->head_bytes);
    free(m->head);
    m->head = head;
    m->head_bytes = bytes.n;
    if (!b->now.skip) {
        struct spool_ingest *in = b->now.in;
        b->now.in = NULL;
        if (m->pending) /* it failed to be stored, and comes once more */
            wait_stored(b);
        spool_ingest_on_room(in, NULL, NULL);
        m->op = (struct spool_op){ .done = stored_cb };
        m->done = &b->done;
        m->pending = m->present = true;
        spool_ingest_commit(in, &b->now.decoded.envelope.env, &m->op);
    }
    m->fresh = true;
    drop_now(b);
    return TRANSFER_YES;
}

static int on_put(struct transfer *t, uint64_t from, const struct transfer_question *q,
                  struct transfer_answer *a)
{
    struct take *b = transfer_take_find(t, q->batch);
    if (b == NULL || !b->offered || b->sealed || b->from != from) /* sealed: the hash was of what is there */
        return TRANSFER_AGAIN;
    if (q->offset == 0) {
        drop_now(b);
        b->now.id = q->id;
    } else if (b->now.id != q->id || b->now.offset != q->offset) {
        drop_now(b);
        return TRANSFER_AGAIN;
    }
    int code = add_bytes(t, b, q->piece, a);
    b->now.offset += q->piece.n;
    if (code == TRANSFER_YES && q->last)
        code = end_message(b, a);
    if (code != TRANSFER_YES)
        drop_now(b);
    return code;
}

/* ---- sealing ------------------------------------------------------------------------------------------- */

/* What the message brought along, and whose it may become: until then it is inert. */
static int mark_message(struct transfer *t, struct take *b, struct take_msg *m)
{
    struct transfer_head h;
    int err = transfer_head_decode(span_of(m->head, m->head_bytes), &h);
    if (err != 0)
        return err;
    uint32_t n = h.envelope.env.nrcpts;
    struct spool_rcpt_update *u = calloc(n, sizeof *u);
    char(*texts)[TRANSFER_REPLY_MAX] = calloc(n, sizeof *texts);
    err = u == NULL || texts == NULL ? -ENOMEM : 0;
    for (uint32_t i = 0; err == 0 && i < n; i++) {
        const struct transfer_rcpt *r = &h.rcpts[i];
        u[i] = (struct spool_rcpt_update){
            .rcpt = i,
            .to = { .state = r->held ? RCPT_INERT_HELD : RCPT_INERT,
                    .delay_told = r->delay_told,
                    .attempts = r->attempts,
                    .next_ms = r->next_ms,
                    .changed_ms = clock_wall_ms(),
                    .reply = transfer_mark_format(b->id, b->giver, b->count, r->reply, texts[i]) },
        };
    }
    if (err == 0)
        err = spool_update(t->node->spool, m->id, u, n, NULL);
    free(u);
    free(texts);
    transfer_head_fini(&h);
    return err;
}

/* Addresses whose traces are to go: this node has some now, too. */
static int tell_erasures(struct transfer *t, const struct take *b)
{
    int err = 0;
    for (uint32_t i = 0; err == 0 && i < b->n; i++) {
        struct transfer_head h;
        err = transfer_head_decode(span_of(b->msgs[i].head, b->msgs[i].head_bytes), &h);
        if (err != 0)
            break;
        err = cluster_erase_again(t->node->cluster, &h.envelope.env);
        transfer_head_fini(&h);
    }
    return err;
}

static int on_seal(struct transfer *t, uint64_t from, const struct transfer_question *q,
                   struct transfer_answer *a)
{
    struct take *b = transfer_take_find(t, q->batch);
    uint64_t ids[TRANSFER_BATCH_MAX];
    uint8_t sha256[32];
    int err = 0;
    if (b == NULL || !b->offered || b->from != from)
        return TRANSFER_AGAIN;
    drop_now(b);
    wait_stored(b);
    for (uint32_t i = 0; i < b->n; i++) {
        ids[i] = b->msgs[i].id;
        if (!b->msgs[i].fresh)
            return TRANSFER_AGAIN;
        if (b->msgs[i].op.status != 0)
            return transfer_refuse(a, err_text(b->msgs[i].op.status));
    }
    transfer_hash(ids, b->n, sha256);
    if (b->n != b->count || memcmp(sha256, b->sha256, sizeof sha256) != 0)
        return TRANSFER_AGAIN;
    if (!b->sealed && tell_erasures(t, b) != 0)
        return TRANSFER_AGAIN;
    for (uint32_t i = 0; err == 0 && i < b->n && !b->sealed; i++)
        err = mark_message(t, b, &b->msgs[i]);
    if (err == 0)
        err = spool_flush(t->node->spool);
    if (err != 0)
        return transfer_refuse(a, err_text(err));
    b->sealed = true;
    forget_heads(b);
    return TRANSFER_YES;
}

int transfer_take_part(struct transfer *t, uint64_t from, const struct transfer_question *q,
                       struct transfer_answer *a)
{
    return q->verb == TRANSFER_OFFER ? on_offer(t, from, q, a)
           : q->verb == TRANSFER_PUT ? on_put(t, from, q, a)
                                     : on_seal(t, from, q, a);
}
