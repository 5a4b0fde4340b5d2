/* The taker's thread: answers what other nodes ask, and makes what they gave this node's own when the log
 * says so.
 */
#include "base/clock.h"
#include "base/cond.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "gossip/gossip.h"
#include "node/core/steps.h"
#include "node/core/transfer_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define LOOK_MS 20 /* at the log, while a batch is undecided */
#define IDLE_MS 500
#define FORGET_MS 30000 /* an offer that nothing came of: its giver has long gone another way (TRY_MS) */
#define STRAYS_EVERY_MS 5000
#define ASK_MS 5000

/* ---- what the log says --------------------------------------------------------------------------------- */

static int activate(struct transfer *t, struct take *b)
{
    char name[64];
    int err = 0;
    for (uint32_t i = 0; err == 0 && i < b->n; i++)
        if (b->msgs[i].present)
            err = transfer_mark_all(t, t->node->spool, b->msgs[i].id, b->id, false, NULL);
    if (err == 0)
        err = spool_flush(t->node->spool);
    if (err != 0)
        return err;
    transfer_member_name(t, b->giver, name);
    for (uint32_t i = 0; i < b->n; i++)
        if (b->msgs[i].present) {
            steps_arrived(t->node, b->msgs[i].id, name);
            (void)transfer_dispatch(t, b->msgs[i].id); /* an error is in the log, the mail is safe */
        }
    log_info("transfer", "%u messages taken over from node %s", b->n, name);
    return 0;
}

static int drop(struct transfer *t, struct take *b)
{
    char name[64], words[128];
    int err = 0;
    transfer_member_name(t, b->giver, name);
    snprintf(words, sizeof words, "250 2.0.0 kept by node %s", name);
    transfer_take_quiet(b);
    for (uint32_t i = 0; err == 0 && i < b->n; i++)
        if (b->msgs[i].present)
            err = transfer_mark_all(t, t->node->spool, b->msgs[i].id, NULL, true, words);
    return err == 0 ? spool_flush(t->node->spool) : err;
}

/* True: it is finished. */
static bool look(struct transfer *t, struct take *b)
{
    struct transfer_taking g = { .published = 0 };
    struct directory_transfer d;
    int err = 0;
    g.verdict = transfer_verdict(t, b->id, &g.owner_index, &d);
    if (g.verdict == TRANSFER_VERDICT_OWNED && d.taker != cluster_self(t->node->cluster))
        g.verdict = TRANSFER_VERDICT_CANCELLED; /* it is another's: no copy of ours was meant */
    if (g.verdict == TRANSFER_VERDICT_OWNED)
        g.published = cluster_transfer_published(t->node->cluster);
    if (g.verdict == TRANSFER_UNDECIDED) {
        /* Its giver was removed before all of it came: it cannot become ours any more, only come again. */
        g.orphan =
            !b->sealed && b->from != cluster_self(t->node->cluster) && transfer_member_removed(t, b->giver);
    }
    bool over = true;
    switch (transfer_take_next(&g)) {
    case TRANSFER_TAKE_WAIT:
        over = false;
        break;
    case TRANSFER_TAKE_ACTIVATE:
        err = activate(t, b);
        break;
    case TRANSFER_TAKE_DROP:
        err = drop(t, b);
        break;
    }
    if (err != 0)
        transfer_trouble(b->trouble, b->id, "cannot be recorded: %s", err_text(err));
    return over && err == 0;
}

static void look_at_all(struct transfer *t)
{
    LIST_EACH_SAFE(link, &t->takes)
    {
        struct take *b = LIST_ITEM(link, struct take, link);
        bool empty = true;
        for (uint32_t i = 0; i < b->n; i++)
            empty = empty && !b->msgs[i].present;
        if (look(t, b) || (empty && clock_boot_ms() - b->touched_ms > FORGET_MS))
            transfer_take_finished(t, b);
        else
            transfer_take_show(t, b);
    }
}

/* The giver was removed and never will decide: whoever has all of it may. */
static int on_take(struct transfer *t, const struct transfer_question *q, struct transfer_answer *a)
{
    static char words[sizeof((struct admin_error *)0)->text]; /* the taker's thread */
    struct take *b = transfer_take_find(t, q->batch);
    uint64_t ids[TRANSFER_BATCH_MAX];
    uint32_t n = 0;
    struct admin_error e = { .text = "" };
    if (b == NULL)
        return TRANSFER_AGAIN;
    if (transfer_member_present(t, b->giver))
        return transfer_refuse(a, "its giver is a member of the cluster: cancel it there");
    for (uint32_t i = 0; i < b->n; i++)
        if (b->msgs[i].present)
            ids[n++] = b->msgs[i].id;
    if (!b->sealed || n != b->count)
        return transfer_refuse(a, "not all of it came: take in its giver's disk with 'turnpike spool adopt'");
    struct command cmd = { .type = COMMAND_TRANSFER_OWN,
                           .transfer_own = {
                               .giver = b->giver, .taker = cluster_self(t->node->cluster), .messages = n } };
    memcpy(cmd.transfer_own.id, b->id, sizeof b->id);
    transfer_hash(ids, n, cmd.transfer_own.sha256);
    int err = cluster_transfer_submit(t->node->cluster, &cmd, &e);
    snprintf(words, sizeof words, "%s", e.text);
    return err == 0 ? TRANSFER_YES : transfer_refuse(a, words);
}

/* Only `spool adopt` asks for it, of a batch of a removed node that did not come as a whole: nobody can own
 * it. */
static int on_drop(struct transfer *t, struct take *b)
{
    if (b == NULL || transfer_member_present(t, b->giver) || drop(t, b) != 0)
        return b == NULL ? TRANSFER_YES : TRANSFER_NOT_YET;
    transfer_take_finished(t, b);
    return TRANSFER_YES;
}

/* ---- strays --------------------------------------------------------------------------------------------
 *
 * A copy without a mark came before a crash, with a batch that was not sealed: nobody can have been given it.
 * It must not be ended while its giver may offer it again, since the new copy would have the name of one that
 * ended. So it is kept until every member says that it has no such message any more. */

void transfer_no_stray(struct transfer *t, uint64_t id)
{
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < t->nstrays; i++)
        if (t->strays[i] == id)
            t->strays[i--] = t->strays[--t->nstrays];
    pthread_mutex_unlock(&t->lock);
}

static bool somewhere(struct transfer *t, uint64_t id, const struct cluster_transfer_peer *peers, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct transfer_question q = { .verb = TRANSFER_HAS, .id = id };
        struct transfer_answer a;
        struct buf question, answer;
        buf_init(&question, 64);
        buf_init(&answer, 2048);
        int err = transfer_question_encode(&q, &question);
        if (err == 0)
            err = cluster_transfer_ask(t->node->cluster, peers[i].node, buf_span(&question), ASK_MS, &answer);
        if (err == 0)
            err = transfer_answer_decode(buf_span(&answer), &a);
        bool no = err == 0 && a.code == TRANSFER_NOT_YET;
        buf_fini(&question);
        buf_fini(&answer);
        if (!no)
            return true;
    }
    return false;
}

static void look_at_strays(struct transfer *t)
{
    struct cluster_transfer_peer peers[64];
    uint32_t n;
    if (t->nstrays == 0 || clock_boot_ms() - t->strays_ms < STRAYS_EVERY_MS)
        return;
    t->strays_ms = clock_boot_ms();
    if (cluster_transfer_barrier(t->node->cluster) != 0 ||
        cluster_transfer_peers(t->node->cluster, peers, 64, &n) != 0)
        return;
    for (size_t i = t->nstrays; i > 0 && !transfer_stops(t); i--) {
        uint64_t id = t->strays[i - 1];
        if (somewhere(t, id, peers, n))
            return; /* a batch of its giver's is not finished: later */
        if (transfer_mark_all(t, t->node->spool, id, NULL, true,
                              "250 2.0.0 kept by the node that offered it") == 0)
            transfer_no_stray(t, id);
    }
}

/* The cluster thread answers this one, from memory: two takers that ask each other must not wait for each
 * other. */
static bool on_has(struct transfer *t, struct gossip_request *r, struct span bytes)
{
    struct transfer_question q;
    struct buf out;
    if (transfer_question_decode(bytes, &q) != 0 || q.verb != TRANSFER_HAS)
        return false;
    uint64_t have = spool_find(t->node->spool, q.id);
    bool before = have != 0 && spool_id_hop(have) < spool_id_hop(q.id);
    buf_init(&out, 64);
    (void)transfer_answer_encode(
        &(struct transfer_answer){ .code = before ? TRANSFER_YES : TRANSFER_NOT_YET, .words = { "", 0 } },
        &out);
    gossip_answer(r, buf_span(&out));
    buf_fini(&out);
    return true;
}

/* ---- the thread ---------------------------------------------------------------------------------------- */

static int act(struct transfer *t, uint64_t from, const struct transfer_question *q,
               struct transfer_answer *a)
{
    struct directory_transfer d;
    bool part = q->verb == TRANSFER_OFFER || q->verb == TRANSFER_PUT || q->verb == TRANSFER_SEAL;
    enum transfer_verdict verdict = transfer_verdict(t, q->batch, NULL, &d);
    if (part && verdict != TRANSFER_UNDECIDED) /* what ended here must not begin anew */
        return verdict == TRANSFER_VERDICT_OWNED ? TRANSFER_OWNED : TRANSFER_CANCELLED;
    struct take *b = transfer_take_find(t, q->batch);
    if (b != NULL)
        b->touched_ms = clock_boot_ms();
    switch (q->verb) {
    case TRANSFER_OFFER:
    case TRANSFER_PUT:
    case TRANSFER_SEAL:
        return transfer_take_part(t, from, q, a);
    case TRANSFER_SETTLED:
        return b == NULL ? TRANSFER_YES : TRANSFER_NOT_YET;
    default:
        if (from != cluster_self(t->node->cluster))
            return TRANSFER_AGAIN;
        return q->verb == TRANSFER_TAKE ? on_take(t, q, a) : on_drop(t, b);
    }
}

static void answer(struct transfer *t, struct question *one, bool stopping)
{
    struct transfer_question q;
    struct transfer_answer a = { .words = { "", 0 } };
    struct buf out;
    buf_init(&out, 4096);
    if (!stopping && cluster_machine(t->node->cluster) != NULL &&
        transfer_question_decode(buf_span(&one->bytes), &q) == 0) {
        a.code = (uint8_t)act(t, one->from, &q, &a);
        (void)transfer_answer_encode(&a, &out);
    }
    if (one->request != NULL) {
        cluster_transfer_answer(t->node->cluster, one->request, buf_span(&out));
    } else {
        (void)buf_put_span(one->answer, buf_span(&out));
        sem_post(one->done);
    }
    buf_fini(&out);
    buf_fini(&one->bytes);
    free(one);
}

static struct question *next(struct transfer *t, int64_t wait_ms)
{
    int64_t until = clock_mono_ns() + wait_ms * 1000000;
    pthread_mutex_lock(&t->lock);
    if (list_empty(&t->questions) && !t->stopping)
        cond_wait_until(&t->take_wake, &t->lock, until);
    struct list *link = list_pop_front(&t->questions);
    t->nquestions -= link != NULL;
    pthread_mutex_unlock(&t->lock);
    return link == NULL ? NULL : LIST_ITEM(link, struct question, link);
}

void *transfer_taker_main(void *arg)
{
    struct transfer *t = arg;
    while (!transfer_stops(t)) {
        bool waits = !list_empty(&t->takes);
        struct question *q = next(t, waits ? LOOK_MS : IDLE_MS);
        if (q != NULL)
            answer(t, q, false);
        if (cluster_machine(t->node->cluster) == NULL || transfer_stops(t))
            continue;
        look_at_all(t);
        look_at_strays(t);
    }
    pthread_mutex_lock(&t->lock);
    t->closed = true;
    pthread_mutex_unlock(&t->lock);
    for (struct question *q; (q = next(t, 0)) != NULL;)
        answer(t, q, true);
    LIST_EACH(link, &t->takes)
    {
        struct take *b = LIST_ITEM(link, struct take, link);
        transfer_take_quiet(b);
    }
    return NULL;
}

static int ask(struct transfer *t, struct question *q)
{
    pthread_mutex_lock(&t->lock);
    int err = t->closed || !t->started ? ERR_CLOSED : t->nquestions >= TRANSFER_QUESTIONS_MAX ? ERR_BUSY : 0;
    if (err == 0) {
        list_push_back(&t->questions, &q->link);
        t->nquestions++;
        pthread_cond_signal(&t->take_wake);
    }
    pthread_mutex_unlock(&t->lock);
    return err;
}

static struct question *question_new(struct span bytes)
{
    struct question *q = calloc(1, sizeof *q);
    if (q == NULL)
        return NULL;
    buf_init(&q->bytes, TRANSFER_PIECE_BYTES + 1024);
    if (buf_put_span(&q->bytes, bytes) == 0)
        return q;
    buf_fini(&q->bytes);
    free(q);
    return NULL;
}

void transfer_asked(struct transfer *t, struct gossip_request *r, uint64_t from, struct span bytes)
{
    if (on_has(t, r, bytes))
        return;
    struct question *q = question_new(bytes);
    if (q != NULL) {
        q->request = r;
        q->from = from;
        if (ask(t, q) == 0)
            return;
        buf_fini(&q->bytes);
        free(q);
    }
    gossip_ignore(r);
}

int transfer_ask_self(struct transfer *t, struct span bytes, struct buf *out)
{
    sem_t done;
    struct question *q = question_new(bytes);
    if (q == NULL)
        return -ENOMEM;
    sem_init(&done, 0, 0);
    q->from = cluster_self(t->node->cluster);
    q->answer = out;
    q->done = &done;
    int err = ask(t, q);
    if (err == 0) {
        while (sem_wait(&done) != 0)
            ;
        err = out->len == 0 ? ERR_CLOSED : buf_err(out);
    } else {
        buf_fini(&q->bytes);
        free(q);
    }
    sem_destroy(&done);
    return err;
}

/* ---- at the start -------------------------------------------------------------------------------------- */

int transfer_take_found(struct transfer *t, uint64_t id, const struct transfer_mark *mark)
{
    struct take *b = transfer_take_find(t, mark->batch);
    if (b == NULL)
        b = transfer_take_new(t, mark->batch, mark->peer);
    struct take_msg *m = b == NULL ? NULL : transfer_take_message(b, id);
    if (m == NULL)
        return -ENOMEM;
    m->present = true;
    b->count = (uint32_t)mark->n;
    uint32_t present = 0;
    for (uint32_t i = 0; i < b->n; i++)
        present += b->msgs[i].present;
    b->sealed = present == b->count;
    transfer_take_show(t, b);
    return 0;
}

int transfer_stray_found(struct transfer *t, uint64_t id)
{
    if (t->nstrays == t->strays_cap) {
        size_t cap = t->strays_cap == 0 ? 128 : t->strays_cap * 2;
        uint64_t *strays = realloc(t->strays, cap * sizeof *strays);
        if (strays == NULL)
            return -ENOMEM;
        t->strays = strays;
        t->strays_cap = cap;
    }
    t->strays[t->nstrays++] = id;
    return 0;
}
