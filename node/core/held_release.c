/* Letting go of held mail. See held_release.h. */
#include "node/core/held_release.h"

#include "base/clock.h"
#include "base/err.h"
#include "consensus/machine.h"
#include "consensus/web_sender.h"
#include "node/core/cluster.h"
#include "node/core/egress.h"
#include "node/core/held.h"
#include "node/core/look.h"
#include "node/core/report.h"
#include "node/core/steps.h"

#include <errno.h>
#include <stdlib.h>

/* One item's share. */
struct job {
    struct ledger_hold hold[2]; /* of the sender; of a web sender's host */
    uint32_t nholds, nreserved; /* reserved: one after the other */
    struct worker_op op;
    struct held_release *r;
    struct egress *e;
    uint64_t id;
    uint32_t need; /* tokens */
    int host_class; /* of a web sender's host's mail; -1: not known */
    uint32_t n;
    uint32_t *rcpts; /* ascending */
    bool *charged;   /* when it was accepted */
};

/* ---- the state on disk --------------------------------------------------------------------------------- */

int held_record(struct egress *e, const struct queue_item_view *v, uint8_t state, struct span words,
                const struct hold_mark *mark, struct spool_op *op)
{
    struct spool_rcpt_update *u = calloc(v->nrcpts, sizeof *u);
    struct spool_info *info = NULL;
    char(*texts)[GREY_TEXT_MAX] = NULL, text[GREY_TEXT_MAX];
    struct span marked = hold_mark_format(mark, words, text);
    if (u != NULL && reroute_maybe_moved(e, v) && spool_info(e->w->node->spool, v->id, &info) == 0)
        texts = calloc(v->nrcpts, sizeof *texts);
    int err = u == NULL || (info != NULL && texts == NULL) ? -ENOMEM : 0;
    for (uint32_t i = 0; err == 0 && i < v->nrcpts; i++)
        u[i] = (struct spool_rcpt_update){
            .rcpt = v->rcpts[i],
            .to = { .state = state,
                    .delay_told = v->delay_told,
                    .attempts = v->attempts,
                    .changed_ms = clock_wall_ms(),
                    .reply = info == NULL ? marked : reroute_words(info, v->rcpts[i], marked, texts[i]) }
        };
    if (err == 0)
        err = spool_update(e->w->node->spool, v->id, u, v->nrcpts, op);
    if (info != NULL)
        spool_info_free(info);
    free(texts);
    free(u);
    return err;
}

/* ---- one operation ------------------------------------------------------------------------------------- */

int held_release_begin(struct held_release *r, struct node *node, const char *by, const char *remark, bool exempt)
{
    *r = (struct held_release){ .node = node, .by = by, .remark = remark, .exempt = exempt };
    if (!held_try_release(node->held))
        return ERR_BUSY;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->wake, NULL);
    return 0;
}

void held_release_wait(struct held_release *r)
{
    pthread_mutex_lock(&r->lock);
    while (r->pending > 0)
        pthread_cond_wait(&r->wake, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

void held_release_end(struct held_release *r)
{
    held_release_wait(r);
    held_released(r->node->held);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
}

static void add(struct held_release *r, uint64_t *count, uint64_t n)
{
    pthread_mutex_lock(&r->lock);
    *count += n;
    pthread_mutex_unlock(&r->lock);
}

/* ---- jobs ---------------------------------------------------------------------------------------------- */

/* The job has been answered. */
static void job_end(struct job *j)
{
    struct held_release *r = j->r;
    for (uint32_t i = 0; i < j->nholds; i++)
        ledger_hold_fini(&j->hold[i]);
    free(j->rcpts);
    free(j->charged);
    free(j);
    pthread_mutex_lock(&r->lock);
    if (--r->pending == 0)
        pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

static int compare_rcpts(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The item is held, and all its recipients are the job's. `tokens` (may be NULL): those that must be charged. */
static bool mine(const struct job *j, const struct queue_item_view *v, uint32_t *tokens)
{
    uint32_t need = 0;
    if (v->state != QUEUE_STATE_HELD)
        return false;
    for (uint32_t i = 0; i < v->nrcpts; i++) {
        const uint32_t *at = bsearch(&v->rcpts[i], j->rcpts, j->n, sizeof *j->rcpts, compare_rcpts);
        if (at == NULL)
            return false;
        need += !j->charged[at - j->rcpts];
    }
    if (tokens != NULL)
        *tokens += need;
    return true;
}

static void report(struct job *j, const struct queue_item_view *v, uint32_t tokens)
{
    struct worker *w = j->e->w;
    struct event e = EVENT_INIT(EVENT_RELEASED);
    enum held_count what = tokens == 0      ? HELD_FREE
                           : j->r->exempt   ? HELD_EXEMPT
                           : j->nholds > 0  ? HELD_CHARGED
                                            : HELD_FREE; /* there are no limits */
    e.id = v->id;
    e.account = v->sender;
    e.site = queue_site_key(v->site);
    e.recipients = v->nrcpts;
    e.rule = what == HELD_EXEMPT ? SPAN_LIT("exempt") : what == HELD_CHARGED ? SPAN_LIT("charged") : SPAN_LIT("free");
    e.by = span_str(j->r->by);
    report_event(w, &e);
    held_count(w->node->held, what, v->nrcpts);
    steps_operator(w, v, HISTORY_STEP_RELEASED, j->r->by, j->r->remark == NULL ? "" : j->r->remark);
}

/* It is on disk that they are queued: now they are. */
static void run_recorded(struct worker *w, struct worker_op *op)
{
    struct job *j = LIST_ITEM(op, struct job, op);
    struct queue *q = j->e->queue;
    uint32_t done = 0, frozen = 0;
    struct queue_item *next;
    for (struct queue_item *item = op->op.status == 0 ? queue_find(q, j->id) : NULL; item != NULL; item = next) {
        struct queue_item_view v;
        uint32_t tokens = 0;
        next = queue_find_next(q, item);
        queue_item_view(q, item, &v);
        if (!mine(j, &v, &tokens))
            continue;
        done += v.nrcpts;
        frozen += v.frozen ? v.nrcpts : 0;
        report(j, &v, tokens);
        queue_release(q, item, egress_now_ms(j->e));
    }
    (void)w;
    add(j->r, &j->r->done, done);
    add(j->r, &j->r->frozen, frozen);
    add(j->r, op->op.status == 0 ? &j->r->gone : &j->r->failed, j->n - done);
    egress_kick(j->e);
    job_end(j);
}

/* All items of it are still held; what is charged for is spent in the turn in which they go to the spool. */
static void let_go(struct job *j)
{
    struct queue *q = j->e->queue;
    struct hold_mark mark = { .kind = HOLD_RELEASED, .since_ms = clock_wall_ms(), .text = span_str(j->r->by) };
    struct queue_item_view one = { .id = j->id };
    uint32_t tokens = 0, found = 0;
    for (struct queue_item *item = queue_find(q, j->id); item != NULL; item = queue_find_next(q, item)) {
        struct queue_item_view v;
        queue_item_view(q, item, &v);
        if (!mine(j, &v, &tokens))
            continue;
        found += v.nrcpts;
        one = v;
    }
    if (found != one.nrcpts || found != j->n) { /* divided, or gone: whoever asks again finds what there is */
        add(j->r, &j->r->gone, j->n);
        job_end(j);
        return;
    }
    for (uint32_t i = 0; i < j->nholds; i++)
        ledger_spend(&j->hold[i]);
    worker_op_init(&j->op, j->e->w, run_recorded);
    int err = held_record(j->e, &one, RCPT_QUEUED, SPAN_LIT("released by an operator"), &mark, &j->op.op);
    if (err == 0)
        return;
    add(j->r, err == ERR_NOT_FOUND ? &j->r->gone : &j->r->failed, j->n);
    job_end(j);
}

static void refuse(struct job *j, const struct ledger_refusal *why)
{
    struct held_release *r = j->r;
    bool limit =
        why->why == LEDGER_WHY_LIMIT || why->why == LEDGER_WHY_FROZEN || why->why == LEDGER_WHY_DISABLED;
    pthread_mutex_lock(&r->lock);
    r->no_quota += limit ? j->n : 0;
    r->failed += limit ? 0 : j->n;
    r->refusal = *why;
    pthread_mutex_unlock(&r->lock);
    if (limit)
        held_count(r->node->held, HELD_NO_QUOTA, j->n);
    job_end(j);
}

/* All are reserved, then all can be spent in one turn, or nothing is. */
static void go(struct job *j)
{
    while (j->nreserved < j->nholds) {
        struct ledger_hold *h = &j->hold[j->nreserved++];
        enum ledger_answer answer = ledger_reserve(h, j->need);
        if (answer == LEDGER_NO)
            refuse(j, &h->refusal);
        if (answer != LEDGER_YES)
            return;
    }
    for (uint32_t i = 0; i < j->nholds; i++) {
        enum ledger_answer answer = ledger_ready(&j->hold[i]);
        if (answer == LEDGER_YES && j->hold[i].reserved != j->need)
            answer = LEDGER_NO; /* what was to be exchanged is gone, and there is nothing for it */
        if (answer == LEDGER_NO)
            refuse(j, &j->hold[i].refusal);
        if (answer != LEDGER_YES)
            return;
    }
    let_go(j);
}

static void on_answer(struct ledger_hold *h, enum ledger_answer answer)
{
    if (answer == LEDGER_NO)
        refuse(h->ctx, &h->refusal);
    else
        go(h->ctx);
}

/* What its recipients need; the sender's limits. */
static int look(struct job *j, const struct queue_item_view *v, struct spool_info **info)
{
    int err = spool_info(j->e->w->node->spool, v->id, info);
    for (uint32_t i = 0; err == 0 && i < j->n; i++) {
        struct hold_mark why;
        bool known = held_reason(&(*info)->env, &(*info)->rcpts[j->rcpts[i]], &why);
        j->charged[i] = !known || hold_charged(why.kind);
        j->need += !j->charged[i];
        if (known && !j->charged[i])
            j->host_class = held_host_class(why.text);
    }
    return err;
}

/* As the ledger is asked for mail of another class than its account's (charge.c). */
static uint8_t class_of(struct cluster *c, const struct envelope *env)
{
    struct account account;
    struct auth_text text;
    struct machine *m = cluster_machine(c);
    machine_read_lock(m);
    bool streams = command_type_level(COMMAND_GRANT_STREAM) <= machine_features(m);
    machine_read_unlock(m);
    bool other = streams && cluster_account_find(c, env->account, &account, &text) && account.class != env->class;
    return other ? env->class | COMMAND_STREAM : env->class;
}

/* As the host would have been charged when it came. Where that is not known: as its account is now, or its web sender. */
static uint8_t class_of_host(struct cluster *c, const struct job *j, const struct envelope *env, struct span host)
{
    struct account account;
    struct auth_text text;
    bool known = cluster_account_find(c, host, &account, &text);
    uint8_t class = j->host_class >= 0 ? (uint8_t)j->host_class : known ? account.class : env->class;
    return known && class != account.class ? class | COMMAND_STREAM : class;
}

static int hold_add(struct job *j, struct span account, struct span tenant, uint8_t class)
{
    struct ledger_sender sender = { account, tenant, class };
    int err = ledger_hold_init(&j->hold[j->nholds], j->e->w->ledger, &sender, on_answer, j);
    j->nholds += err == 0;
    return err;
}

/* A web sender and its host, which its tenant is charged for; else the sender with his tenant. */
static int holds_add(struct job *j, const struct envelope *env)
{
    struct cluster *c = j->e->w->node->cluster;
    struct span host = web_sender_host(env->account);
    int err = hold_add(j, env->account, host.n > 0 ? span_of("", 0) : env->tenant, class_of(c, env));
    if (err == 0 && host.n > 0)
        err = hold_add(j, host, env->tenant, class_of_host(c, j, env, host));
    return err;
}

static struct job *job_new(struct held_release *r, struct egress *e, const struct queue_item_view *v)
{
    struct job *j = calloc(1, sizeof *j);
    if (j == NULL)
        return NULL;
    *j = (struct job){ .r = r, .e = e, .id = v->id, .n = v->nrcpts, .host_class = -1 };
    j->rcpts = malloc(v->nrcpts * sizeof *j->rcpts);
    j->charged = calloc(v->nrcpts, sizeof *j->charged);
    if (j->rcpts == NULL || j->charged == NULL) {
        free(j->rcpts);
        free(j->charged);
        free(j);
        return NULL;
    }
    memcpy(j->rcpts, v->rcpts, v->nrcpts * sizeof *j->rcpts);
    qsort(j->rcpts, j->n, sizeof *j->rcpts, compare_rcpts);
    return j;
}

void held_release_item(struct held_release *r, struct egress *e, struct queue_item *item)
{
    struct queue_item_view v;
    struct spool_info *info = NULL;
    queue_item_view(e->queue, item, &v);
    struct job *j = job_new(r, e, &v);
    int err = j == NULL ? -ENOMEM : look(j, &v, &info);
    struct ledger_worker *ledger = e->w->ledger;
    bool charge = err == 0 && j->need > 0 && !r->exempt && e->w->node->cluster != NULL && info->env.account.n > 0;
    if (charge && ledger == NULL)
        err = ERR_CLOSED;
    if (charge && err == 0)
        err = holds_add(j, &info->env);
    if (info != NULL)
        spool_info_free(info);
    if (err != 0) {
        add(r, err == ERR_NOT_FOUND ? &r->gone : &r->failed, v.nrcpts);
        if (j != NULL) {
            for (uint32_t i = 0; i < j->nholds; i++)
                ledger_hold_fini(&j->hold[i]);
            free(j->rcpts);
            free(j->charged);
        }
        free(j);
        return;
    }
    pthread_mutex_lock(&r->lock);
    r->pending++;
    pthread_mutex_unlock(&r->lock);
    if (charge)
        go(j);
    else
        let_go(j);
}
