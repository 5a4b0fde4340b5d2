/* Questions to all nodes, answered as each node's own API would: asking them, and answering those of others
 * on threads of their own, since an answer may look at the disk.
 */
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS 2
#define QUEUE_MAX 64
#define PATH_BYTES (128u << 10) /* the API's own bound is below it */
#define BODY_MAX (GOSSIP_MESSAGE_MAX - 1024)

/* ---- answering ----------------------------------------------------------------------------------------- */

struct question {
    struct inbox_msg msg; /* on its way back */
    struct list link;
    struct gossip_request *request;
    char *path;
    struct buf body;
    int status;
};

struct cluster_answers {
    struct cluster *c;
    struct inbox back;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct list queue; /* under lock */
    uint32_t n;        /* under lock */
    bool closing;      /* under lock */
    pthread_t threads[THREADS];
    uint32_t nthreads;
};

static void question_free(struct question *q)
{
    buf_fini(&q->body);
    free(q->path);
    free(q);
}

static void answered(void *ctx, struct inbox_msg *msg)
{
    struct question *q = LIST_ITEM(msg, struct question, msg);
    (void)ctx;
    struct buf out;
    buf_init(&out, GOSSIP_MESSAGE_MAX);
    buf_put_u16(&out, (uint16_t)q->status);
    buf_put_span(&out, buf_span(&q->body));
    if (buf_err(&out) == 0) /* also when gossip has closed meanwhile */
        gossip_answer(q->request, buf_span(&out));
    else
        gossip_ignore(q->request);
    buf_fini(&out);
    question_free(q);
}

static void *answer_main(void *arg)
{
    struct cluster_answers *a = arg;
    for (;;) {
        pthread_mutex_lock(&a->lock);
        while (list_empty(&a->queue) && !a->closing)
            pthread_cond_wait(&a->wake, &a->lock);
        struct list *link = a->closing ? NULL : list_pop_front(&a->queue);
        if (link != NULL)
            a->n--;
        pthread_mutex_unlock(&a->lock);
        if (link == NULL)
            return NULL;
        struct question *q = LIST_ITEM(link, struct question, link);
        q->status = admin_answer(a->c->node->admin, q->path, &q->body);
        if (buf_err(&q->body) != 0) { /* more than one message carries */
            buf_reset(&q->body);
            buf_put_str(
                &q->body,
                "{\"error\":{\"code\":\"too_large\",\"message\":\"the answer is too large to be sent to "
                "another node: ask this one itself\"}}");
            q->status = 507;
        }
        inbox_answer(&a->back, &q->msg);
    }
}

int cluster_answers_new(struct cluster *c, struct cluster_answers **out)
{
    struct cluster_answers *a = calloc(1, sizeof *a);
    if (a == NULL)
        return -ENOMEM;
    a->c = c;
    list_init(&a->queue);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->wake, NULL);
    int err = inbox_init(&a->back, &c->loop, QUEUE_MAX, answered, a);
    for (uint32_t i = 0; err == 0 && i < THREADS; i++) {
        err = -pthread_create(&a->threads[i], NULL, answer_main, a);
        a->nthreads += err == 0;
    }
    *out = a;
    return err;
}

void cluster_answers_stop(struct cluster_answers *a)
{
    pthread_mutex_lock(&a->lock);
    a->closing = true;
    pthread_cond_broadcast(&a->wake);
    pthread_mutex_unlock(&a->lock);
    for (uint32_t i = 0; i < a->nthreads; i++)
        pthread_join(a->threads[i], NULL);
    a->nthreads = 0;
}

void cluster_answers_close(struct cluster_answers *a)
{
    inbox_close(&a->back, NULL);
}

void cluster_answers_free(struct cluster_answers *a)
{
    for (struct list *link; (link = list_pop_front(&a->queue)) != NULL;) {
        struct question *q = LIST_ITEM(link, struct question, link);
        gossip_ignore(q->request);
        question_free(q);
    }
    inbox_fini(&a->back);
    pthread_cond_destroy(&a->wake);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

void cluster_on_get(struct cluster *c, struct gossip_request *r, struct span path)
{
    struct cluster_answers *a = c->answers;
    struct question *q = path.n == 0 || path.n > PATH_BYTES ? NULL : calloc(1, sizeof *q);
    char *copy = q == NULL ? NULL : strndup(path.p, path.n);
    if (copy == NULL) {
        free(q);
        gossip_ignore(r);
        return;
    }
    q->request = r;
    q->path = copy;
    buf_init(&q->body, BODY_MAX);
    pthread_mutex_lock(&a->lock);
    bool taken = a->n < QUEUE_MAX && !a->closing;
    if (taken) {
        list_push_back(&a->queue, &q->link);
        a->n++;
        pthread_cond_signal(&a->wake);
    }
    pthread_mutex_unlock(&a->lock);
    if (taken)
        return;
    gossip_ignore(r);
    question_free(q);
}

/* ---- asking -------------------------------------------------------------------------------------------- */

struct asked {
    uint64_t node;
    char name[64];
    int err, status;
    bool there;
    struct buf body;
};

struct ask {
    struct cluster_call call;
    const char *path;
    int64_t wait_ms;
    struct asked *rows;
    uint32_t n, left;
};

/* One node's share: the answer finds its call, if that still waits. */
struct ask_one {
    struct cluster *c;
    uint64_t id; /* of the ask */
    uint32_t row;
};

static struct ask *find_ask(struct cluster *c, uint64_t id);
static void ask_poll(struct cluster *c, struct cluster_call *call);

static void ask_answer_cb(void *ctx, uint64_t node, int err, struct span answer)
{
    struct ask_one *one = ctx;
    struct cluster *c = one->c;
    struct ask *a = find_ask(c, one->id);
    uint32_t i = one->row;
    (void)node;
    free(one);
    if (a == NULL)
        return;
    struct asked *row = &a->rows[i];
    struct cursor cur;
    cursor_init(&cur, answer.p, answer.n);
    row->err = err;
    if (err == 0) {
        row->status = cursor_u16(&cur);
        row->err =
            cursor_err(&cur) != 0 ? ERR_BAD : buf_put_span(&row->body, cursor_bytes(&cur, cursor_left(&cur)));
    }
    row->there = true;
    a->left--;
    c->poll_due = true;
}

static struct ask *find_ask(struct cluster *c, uint64_t id)
{
    LIST_EACH(link, &c->calls)
    {
        struct cluster_call *call = LIST_ITEM(link, struct cluster_call, link);
        if (call->poll == ask_poll && call->number == id)
            return (struct ask *)call;
    }
    return NULL;
}

static void ask_poll(struct cluster *c, struct cluster_call *call)
{
    if (((struct ask *)call)->left == 0)
        cluster_call_done(c, call, 0);
}

static int ask_late(struct cluster *c, struct cluster_call *call, int err)
{
    struct ask *a = (struct ask *)call;
    (void)c;
    for (uint32_t i = 0; i < a->n; i++)
        if (!a->rows[i].there)
            a->rows[i].err = err;
    return 0; /* the rows say it */
}

struct ask_fill {
    struct cluster *c;
    struct ask *a;
};

static int add_asked(void *arg, const struct directory_member *mb)
{
    struct ask_fill *f = arg;
    if (mb->state == COMMAND_MEMBER_REMOVED || mb->id == f->c->id.self.node || f->a->n == ADMIN_NODES_MAX)
        return 0;
    struct asked *row = &f->a->rows[f->a->n++];
    row->node = mb->id;
    snprintf(row->name, sizeof row->name, "%.*s", (int)mb->name.n, mb->name.p);
    buf_init(&row->body, GOSSIP_MESSAGE_MAX);
    return 0;
}

static void ask_run(struct cluster *c, struct cluster_call *call)
{
    struct ask *a = (struct ask *)call;
    static uint64_t numbers; /* the cluster thread's */
    if (c->state != CLUSTER_RUNNING) {
        cluster_call_done(c, call,
                          admin_fail(call->e, ERR_CLOSED, "this node is no member of the cluster any more"));
        return;
    }
    call->number = ++numbers;
    (void)directory_member_each(c->m, add_asked, &(struct ask_fill){ c, a });
    cluster_call_later(c, call);
    for (uint32_t i = 0; i < a->n; i++) {
        struct ask_one *one = malloc(sizeof *one);
        int err = -ENOMEM;
        if (one != NULL) {
            *one = (struct ask_one){ c, call->number, i };
            err = gossip_ask(c->gossip, a->rows[i].node, CLUSTER_ASK_GET, span_str(a->path), a->wait_ms,
                             ask_answer_cb, one);
        }
        if (err == 0) {
            a->left++;
            continue;
        }
        free(one);
        a->rows[i].err = err;
        a->rows[i].there = true;
    }
    c->poll_due = true;
}

/* This node's own answer needs no message. */
static void ask_self(struct cluster *c, const char *path, admin_ask_fn *fn, void *arg)
{
    struct buf body;
    struct config *config = node_config(c->node);
    struct admin_ask_row row = { .node = cluster_self(c) };
    buf_init(&body, GOSSIP_MESSAGE_MAX);
    snprintf(row.name, sizeof row.name, "%s", config->name);
    config_rele(config);
    row.status = admin_answer(c->node->admin, path, &body);
    row.err = buf_err(&body);
    row.body = buf_span(&body);
    (void)fn(arg, &row);
    buf_fini(&body);
}

int cluster_ask(void *ctx, const char *path, int64_t timeout_ms, admin_ask_fn *fn, void *arg,
                struct admin_error *e)
{
    struct cluster *c = cluster_of(ctx);
    struct ask a = { .path = path, .wait_ms = timeout_ms };
    int err = cluster_need(c, e);
    if (err != 0)
        return err;
    a.rows = calloc(ADMIN_NODES_MAX, sizeof *a.rows);
    if (a.rows == NULL)
        return admin_fail(e, -ENOMEM, "no memory");
    cluster_call_init(&a.call, ask_run, e);
    a.call.timeout_ms = timeout_ms + 200;
    a.call.poll = ask_poll;
    a.call.give_up = ask_late;
    err = cluster_call_wait(c, &a.call);
    if (err == 0)
        ask_self(c, path, fn, arg);
    for (uint32_t i = 0; i < a.n; i++) {
        struct admin_ask_row row = { .node = a.rows[i].node,
                                     .err = a.rows[i].err,
                                     .status = a.rows[i].status,
                                     .body = buf_span(&a.rows[i].body) };
        memcpy(row.name, a.rows[i].name, sizeof row.name);
        if (err == 0)
            (void)fn(arg, &row);
        buf_fini(&a.rows[i].body);
    }
    free(a.rows);
    return err;
}
