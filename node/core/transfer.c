/* Mail that moves between nodes: start and stop, what others ask of it, what both threads share. */
#include "node/core/transfer.h"

#include "base/clock.h"
#include "base/cond.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/look.h"
#include "node/core/transfer_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>


/* ---- shared -------------------------------------------------------------------------------------------- */

void transfer_trouble(char trouble[160], const uint8_t batch[16], const char *fmt, ...)
{
    char words[160], hex[TRANSFER_HEX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(words, sizeof words, fmt, ap);
    va_end(ap);
    if (strcmp(words, trouble) == 0)
        return;
    memcpy(trouble, words, sizeof words);
    transfer_hex(batch, hex);
    log_warn("transfer", "batch %s: %s", hex, words);
}

enum transfer_verdict transfer_verdict(struct transfer *t, const uint8_t batch[16], uint64_t *applied,
                                       struct directory_transfer *out)
{
    struct machine *m = cluster_machine(t->node->cluster);
    machine_read_lock(m);
    bool known = directory_transfer_find(m, batch, out);
    if (applied != NULL)
        *applied = machine_applied(m);
    machine_read_unlock(m);
    return !known ? TRANSFER_UNDECIDED : out->owned ? TRANSFER_VERDICT_OWNED : TRANSFER_VERDICT_CANCELLED;
}

static bool member(struct transfer *t, uint64_t node, struct directory_member *out, char name[64])
{
    struct machine *m = cluster_machine(t->node->cluster);
    machine_read_lock(m);
    bool known = directory_member_find(m, node, out);
    if (name != NULL && known)
        snprintf(name, 64, "%.*s", (int)out->name.n, out->name.p);
    machine_read_unlock(m);
    return known;
}

bool transfer_member_present(struct transfer *t, uint64_t node)
{
    struct directory_member mb;
    return member(t, node, &mb, NULL) && mb.state != COMMAND_MEMBER_REMOVED;
}

bool transfer_member_removed(struct transfer *t, uint64_t node)
{
    struct directory_member mb;
    return member(t, node, &mb, NULL) && mb.state == COMMAND_MEMBER_REMOVED;
}

void transfer_member_name(struct transfer *t, uint64_t node, char out[64])
{
    struct directory_member mb;
    if (!member(t, node, &mb, out))
        snprintf(out, 64, "%llu", (unsigned long long)node);
}

bool transfer_stops(struct transfer *t)
{
    pthread_mutex_lock(&t->lock);
    bool stopping = t->stopping;
    pthread_mutex_unlock(&t->lock);
    return stopping;
}

int transfer_want(struct transfer *t, const struct want *w)
{
    int err = 0;
    pthread_mutex_lock(&t->lock);
    if (t->nwants >= TRANSFER_WANTS_MAX)
        err = ERR_LIMIT;
    if (err == 0 && t->nwants == t->wants_cap) {
        size_t cap = t->wants_cap == 0 ? 256 : t->wants_cap * 2;
        struct want *wants = realloc(t->wants, cap * sizeof *wants);
        err = wants == NULL ? -ENOMEM : 0;
        if (wants != NULL) {
            t->wants = wants;
            t->wants_cap = cap;
        }
    }
    if (err == 0)
        t->wants[t->nwants++] = *w;
    pthread_mutex_unlock(&t->lock);
    return err;
}

/* ---- start and stop ------------------------------------------------------------------------------------ */

int transfer_new(struct node *n, struct transfer **out)
{
    struct transfer *t = calloc(1, sizeof *t);
    if (t == NULL)
        return -ENOMEM;
    t->node = n;
    list_init(&t->gives);
    list_init(&t->takes);
    list_init(&t->questions);
    pthread_mutex_init(&t->lock, NULL);
    cond_init(&t->give_wake);
    cond_init(&t->take_wake);
    *out = t;
    return 0;
}

int transfer_found(struct transfer *t, const struct envelope *env, const struct spool_rcpt *rcpts)
{
    struct transfer_mark mark;
    int err = 0;
    bool stray = false;
    for (uint32_t i = 0; err == 0 && i < env->nrcpts; i++) {
        bool inert = rcpts[i].state == RCPT_INERT || rcpts[i].state == RCPT_INERT_HELD;
        if (!rcpt_state_between(rcpts[i].state))
            continue;
        if (!transfer_mark_parse(rcpts[i].reply, &mark))
            stray = stray || inert;
        else if (inert)
            err = transfer_take_found(t, env->id, &mark);
        else
            err = transfer_give_found(t, env->id, &mark);
    }
    return err == 0 && stray ? transfer_stray_found(t, env->id) : err;
}

int transfer_start(struct transfer *t)
{
    if (t->ngives + t->ntakes > 0 || t->nstrays > 0)
        log_info("transfer",
                 "%u batches were on their way out, %u in, and %zu messages that came were of no batch",
                 t->ngives, t->ntakes, t->nstrays);
    t->started = t->opened = true;
    int err = -pthread_create(&t->giver, NULL, transfer_giver_main, t);
    if (err != 0) {
        t->started = false;
        return err;
    }
    err = -pthread_create(&t->taker, NULL, transfer_taker_main, t);
    return err;
}

void transfer_stopping(struct transfer *t)
{
    pthread_mutex_lock(&t->lock);
    t->stopping = true;
    pthread_cond_broadcast(&t->give_wake);
    pthread_cond_broadcast(&t->take_wake);
    pthread_mutex_unlock(&t->lock);
}

void transfer_stop(struct transfer *t)
{
    if (!t->started)
        return;
    pthread_join(t->giver, NULL);
    pthread_join(t->taker, NULL);
}

void transfer_free(struct transfer *t)
{
    if (t == NULL)
        return;
    for (struct list *link; (link = list_pop_front(&t->gives)) != NULL;)
        transfer_give_free(LIST_ITEM(link, struct give, link));
    for (struct list *link; (link = list_pop_front(&t->takes)) != NULL;)
        transfer_take_free(LIST_ITEM(link, struct take, link));
    free(t->wants);
    free(t->strays);
    free(t->drain.ids);
    pthread_cond_destroy(&t->give_wake);
    pthread_cond_destroy(&t->take_wake);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* ---- what others ask ----------------------------------------------------------------------------------- */

int transfer_request(struct node *n, uint64_t id, uint64_t node)
{
    struct transfer *t = n->transfer;
    if (t == NULL || cluster_machine(n->cluster) == NULL)
        return ERR_CLOSED;
    if (node == 0 || node == cluster_self(n->cluster))
        return ERR_BAD;
    return transfer_want(t, &(struct want){ id, node, clock_boot_ms() + TRANSFER_WANT_MS });
}

void transfer_progress(struct node *n, struct transfer_progress *out)
{
    struct transfer *t = n->transfer;
    struct spool_stats stats;
    spool_stats(n->spool, &stats);
    *out = (struct transfer_progress){ .queued = stats.messages };
    if (t == NULL)
        return;
    pthread_mutex_lock(&t->lock);
    out->moved = t->moved;
    out->giving = t->ngives;
    out->taking = t->ntakes;
    out->strays = (uint32_t)t->nstrays;
    out->stuck = t->stuck.total;
    out->wanted = t->nwants;
    LIST_EACH(link, &t->gives)
    out->leaving += LIST_ITEM(link, struct give, link)->shown.messages;
    pthread_mutex_unlock(&t->lock);
}

static uint32_t late(const struct transfer_row *shown, int64_t since_ms)
{
    return shown->since_ms != 0 && shown->since_ms <= since_ms;
}

uint32_t transfer_late(struct node *n, int64_t for_ms)
{
    struct transfer *t = n->transfer;
    int64_t since_ms = clock_wall_ms() - for_ms;
    uint32_t sum = 0;
    if (t == NULL)
        return 0;
    pthread_mutex_lock(&t->lock);
    LIST_EACH(link, &t->gives)
    sum += late(&LIST_ITEM(link, struct give, link)->shown, since_ms);
    LIST_EACH(link, &t->takes)
    sum += late(&LIST_ITEM(link, struct take, link)->shown, since_ms);
    pthread_mutex_unlock(&t->lock);
    return sum;
}

static void row_of(struct transfer *t, const struct transfer_row *shown, struct transfer_row *row)
{
    *row = *shown;
    if (row->giving && row->giver == 0)
        row->giver = cluster_self(t->node->cluster);
    if (!row->giving && row->taker == 0)
        row->taker = cluster_self(t->node->cluster);
}

struct orphans {
    struct transfer *t;
    const struct machine *m;
    transfer_row_fn *fn;
    void *arg;
};

static int add_orphan(void *arg, const struct directory_transfer *d)
{
    const struct orphans *o = arg;
    struct directory_member giver;
    struct transfer_row row = {
        .giver = d->giver, .taker = d->taker, .orphan = true, .messages = d->messages
    };
    if (!directory_member_find(o->m, d->giver, &giver) || giver.state != COMMAND_MEMBER_REMOVED)
        return 0;
    memcpy(row.batch, d->id, sizeof row.batch);
    row.state = d->cancelled ? "cancelled, of a removed node" : "moved, from a removed node";
    return o->fn(o->arg, &row);
}

/* What the log keeps of nodes that were removed, until somebody says that it need not. */
static int list_orphans(struct transfer *t, transfer_row_fn *fn, void *arg)
{
    struct orphans o = { t, cluster_machine(t->node->cluster), fn, arg };
    return o.m == NULL ? 0 : directory_transfer_each(o.m, add_orphan, &o);
}

int transfer_list(struct node *n, transfer_row_fn *fn, void *arg)
{
    struct transfer *t = n->transfer;
    uint32_t rows = 0, max;
    if (t == NULL)
        return 0;
    pthread_mutex_lock(&t->lock);
    max = t->ngives + t->ntakes;
    struct transfer_row *copy = calloc(max + 1, sizeof *copy);
    if (copy != NULL) {
        LIST_EACH(link, &t->gives)
        row_of(t, &LIST_ITEM(link, struct give, link)->shown, &copy[rows++]);
        LIST_EACH(link, &t->takes)
        row_of(t, &LIST_ITEM(link, struct take, link)->shown, &copy[rows++]);
    }
    pthread_mutex_unlock(&t->lock);
    int err = copy == NULL ? -ENOMEM : 0;
    for (uint32_t i = 0; err == 0 && i < rows; i++)
        err = fn(arg, &copy[i]);
    free(copy);
    return err != 0 ? err : list_orphans(t, fn, arg);
}

int transfer_cancel(struct node *n, struct span batch, struct admin_error *e)
{
    struct transfer *t = n->transfer;
    uint8_t id[16];
    bool found = false;
    struct directory_transfer d;
    if (!transfer_hex_parse(batch, id))
        return admin_fail(e, ERR_BAD,
                          "a batch is named by 32 hexadecimal digits: 'turnpike transfer list' has them");
    if (t == NULL || cluster_machine(n->cluster) == NULL)
        return admin_fail(e, ERR_NOT_FOUND, "this node is in no cluster");
    if (transfer_verdict(t, id, NULL, &d) == TRANSFER_VERDICT_OWNED)
        return admin_fail(e, ERR_DENIED, "this batch is the other node's already");
    pthread_mutex_lock(&t->lock);
    LIST_EACH(link, &t->gives)
    {
        struct give *b = LIST_ITEM(link, struct give, link);
        if (memcmp(b->id, id, sizeof id) != 0)
            continue;
        b->cancel_asked = found = true;
        pthread_cond_broadcast(&t->give_wake);
    }
    pthread_mutex_unlock(&t->lock);
    return found ? 0
                 : admin_fail(e, ERR_NOT_FOUND,
                              "this node gives no such batch away: only the giver can cancel one");
}

int transfer_take(struct node *n, struct span batch, struct admin_error *e)
{
    struct transfer_question q = { .verb = TRANSFER_TAKE };
    struct transfer_answer a = { .code = 0, .words = { "", 0 } };
    struct buf question, answer;
    if (!transfer_hex_parse(batch, q.batch))
        return admin_fail(e, ERR_BAD,
                          "a batch is named by 32 hexadecimal digits: 'turnpike transfer list' has them");
    if (n->transfer == NULL || cluster_machine(n->cluster) == NULL)
        return admin_fail(e, ERR_NOT_FOUND, "this node is in no cluster");
    int err = cluster_transfer_barrier(n->cluster);
    if (err != 0)
        return admin_fail(e, err, "the cluster does not answer: nothing can be decided without it");
    buf_init(&question, 64);
    buf_init(&answer, 4096);
    err = transfer_question_encode(&q, &question);
    if (err == 0)
        err = transfer_ask_self(n->transfer, buf_span(&question), &answer);
    if (err == 0)
        err = transfer_answer_decode(buf_span(&answer), &a);
    if (err != 0)
        err = admin_fail(e, err, "cannot be asked: %s", err_text(err));
    else if (a.code == TRANSFER_AGAIN)
        err = admin_fail(e, ERR_NOT_FOUND, "this node has nothing of such a batch");
    else if (a.code != TRANSFER_YES)
        err = admin_fail(e, ERR_DENIED, "%.*s", (int)a.words.n, a.words.p);
    buf_fini(&question);
    buf_fini(&answer);
    return err;
}

/* ---- a selection --------------------------------------------------------------------------------------- */

struct moving {
    struct node *node;
    uint64_t to, last;
    bool dry_run;
    struct transfer_asked_for *out;
};

static int move_cb(void *arg, const struct admin_row *row)
{
    struct moving *m = arg;
    uint64_t id;
    if (spool_id_parse(span_str(row->id), &id) != 0 || (id = spool_find(m->node->spool, id)) == 0 ||
        id == m->last)
        return 0;
    m->last = id;
    m->out->messages++;
    if (m->dry_run)
        return 0;
    int err = transfer_request(m->node, id, m->to);
    m->out->refused += err == ERR_LIMIT;
    return err == ERR_LIMIT ? 0 : err;
}

int transfer_move(struct node *n, const struct admin_selector *sel, uint64_t node, bool dry_run,
                  struct transfer_asked_for *out, struct admin_error *e)
{
    struct moving m = { .node = n, .to = node, .dry_run = dry_run, .out = out };
    *out = (struct transfer_asked_for){ 0 };
    if (n->transfer == NULL || cluster_machine(n->cluster) == NULL)
        return admin_fail(e, ERR_NOT_FOUND, "this node is in no cluster");
    if (node == cluster_self(n->cluster))
        return admin_fail(e, ERR_BAD, "that is this node");
    if (!transfer_member_present(n->transfer, node))
        return admin_fail(e, ERR_NOT_FOUND, "node %llu is no member", (unsigned long long)node);
    int err = look_all(n, sel, 0, 0, move_cb, &m);
    return err == 0 ? 0 : admin_fail(e, err, "stopped half way: %s", err_text(err));
}
