/* A worker's thread, loop and inboxes. What it does with mail is in ingress and egress. */
#include "node/core/worker.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/egress.h"
#include "node/core/frozen.h"
#include "node/core/ingress.h"
#include "node/core/node.h"
#include "node/core/pools.h"
#include "node/core/probe.h"
#include "node/ledger/ledger.h"
#include "node/core/session.h"

#include <stdlib.h>

#define INBOX_MAX 65536 /* requests; full: the sender gets ERR_LIMIT */

static void worker_inbox_cb(void *ctx, struct inbox_msg *in)
{
    struct worker_msg *msg = LIST_ITEM(in, struct worker_msg, in);
    msg->run(ctx, msg);
}

static void worker_answers_cb(void *ctx, struct inbox_msg *in)
{
    struct spool_op *op = LIST_ITEM(in, struct spool_op, msg);
    struct worker_op *wop = LIST_ITEM(op, struct worker_op, op);
    wop->run(ctx, wop);
}

static void worker_auths_cb(void *ctx, struct inbox_msg *in)
{
    (void)ctx;
    session_auth_answer(LIST_ITEM(in, struct auth_request, msg));
}

int worker_init(struct worker *w, struct node *node, uint32_t index)
{
    *w = (struct worker){ .node = node, .index = index, .config = config_hold(node->config) };
    w->gated = node->cluster != NULL;
    list_init(&w->probes);
    list_init(&w->sts_lookups);
    activity_init(&w->senders);
    activity_init(&w->sites);
    int err = uv_loop_init(&w->loop);
    if (err != 0)
        goto fail_loop;
    if ((err = inbox_init(&w->inbox, &w->loop, INBOX_MAX, worker_inbox_cb, w)) != 0)
        goto fail;
    if ((err = inbox_init(&w->answers, &w->loop, INBOX_MAX, worker_answers_cb, w)) != 0)
        goto fail;
    if ((err = inbox_init(&w->auths, &w->loop, INBOX_MAX, worker_auths_cb, w)) != 0)
        goto fail;
    if ((err = timers_init(&w->timers, &w->loop)) != 0)
        goto fail;
    if ((err = stream_loop_init(&w->streams, &w->loop, &w->timers)) != 0)
        goto fail;
    if ((err = uv_timer_init(&w->loop, &w->stop_timer)) != 0)
        goto fail;
    if ((err = egress_new(w, &w->egress)) != 0)
        goto fail;
    if ((err = ingress_new(w, &w->ingress)) != 0)
        goto fail;
    return 0;
fail:
    log_error("worker", "worker %u cannot start: %s", index, err_text(err));
    return err; /* the process ends: nothing is taken apart */
fail_loop:
    config_rele(w->config);
    return err;
}

static void worker_main(void *arg)
{
    struct worker *w = arg;
    uv_run(&w->loop, UV_RUN_DEFAULT);
}

int worker_start(struct worker *w)
{
    int err = uv_thread_create(&w->thread, worker_main, w);
    w->running = err == 0;
    return err;
}

/* ---- stopping ------------------------------------------------------------------------------------------ */

#define STOP_TICK_MS 10

enum { STOP_NOT, STOP_FINISHING, STOP_CUTTING, STOP_CLOSING };

static void close_last(void *ctx)
{
    struct worker *w = ctx;
    uv_close((uv_handle_t *)&w->stop_timer, NULL);
    inbox_close(&w->inbox, NULL);
    inbox_close(&w->answers, NULL);
    inbox_close(&w->auths, NULL);
}

static void close_timers(void *ctx)
{
    struct worker *w = ctx;
    timers_close(&w->timers, close_last, w);
}

static void close_streams(void *ctx)
{
    struct worker *w = ctx;
    stream_loop_close(&w->streams, close_timers, w);
}

static void worker_stop_timer_cb(uv_timer_t *timer)
{
    struct worker *w = timer->data;
    if (w->stopping == STOP_FINISHING && ((!ingress_busy(w->ingress) && !egress_busy(w->egress)) ||
                                          timers_now_ms(&w->timers) >= w->stop_by_ms)) {
        ingress_close(w->ingress);
        egress_close(w->egress);
        w->stopping = STOP_CUTTING;
    }
    if (w->stopping == STOP_CUTTING && !ingress_busy(w->ingress) && w->ingress->nlisteners == 0 &&
        !egress_busy(w->egress) && w->streams.open == 0) {
        w->stopping = STOP_CLOSING;
        uv_timer_stop(timer);
        if (w->ledger != NULL)
            ledger_worker_close(w->ledger);
        dns_close(w->dns, close_streams, w);
    }
}

struct stop {
    struct worker_msg msg;
    int64_t grace_ms;
};

static void run_stop(struct worker *w, struct worker_msg *msg)
{
    struct stop *stop = (struct stop *)msg;
    w->stopping = STOP_FINISHING;
    w->stop_by_ms = timers_now_ms(&w->timers) + stop->grace_ms;
    free(stop);
    ingress_stop(w->ingress);
    egress_stop(w->egress);
    probe_stop_all(w);
    w->stop_timer.data = w;
    uv_timer_start(&w->stop_timer, worker_stop_timer_cb, 0, STOP_TICK_MS);
}

void worker_stop(struct worker *w, int64_t grace_ms)
{
    struct stop *stop = malloc(sizeof *stop);
    ensure(stop != NULL);
    *stop = (struct stop){ .msg.run = run_stop, .grace_ms = grace_ms };
    worker_post_always(w, &stop->msg);
}

void worker_join(struct worker *w)
{
    if (w->running)
        uv_thread_join(&w->thread);
}

/* What came after the loop had ended: mail that another worker handed over (it is on disk, and dispatched at
 * the next start), checks of clients that are gone. */
static void drop_late(struct inbox *in)
{
    for (struct list *link; (link = list_pop_front(&in->queue)) != NULL;)
        in->fn(in->ctx, LIST_ITEM(link, struct inbox_msg, link));
}

void worker_fini(struct worker *w)
{
    drop_late(&w->inbox);
    drop_late(&w->auths);
    ensure(list_empty(&w->answers.queue)); /* their owners were waited for */
    activity_fini(&w->senders);
    activity_fini(&w->sites);
    ingress_free(w->ingress);
    egress_free(w->egress);
    inbox_fini(&w->inbox);
    inbox_fini(&w->answers);
    inbox_fini(&w->auths);
    ledger_worker_free(w->ledger);
    frozen_view_rele(w->frozen);
    pool_view_rele(w->pools);
    config_rele(w->config);
    int err = uv_loop_close(&w->loop);
    if (err != 0)
        log_warn("worker", "worker %u left handles open", w->index);
}

int worker_post(struct worker *w, struct worker_msg *msg)
{
    return inbox_push(&w->inbox, &msg->in);
}

void worker_post_always(struct worker *w, struct worker_msg *msg)
{
    inbox_answer(&w->inbox, &msg->in);
}

struct call {
    struct worker_msg msg;
    void (*fn)(struct worker *w, void *arg);
    void *arg;
    sem_t done;
};

static void run_call(struct worker *w, struct worker_msg *msg)
{
    struct call *call = (struct call *)msg;
    call->fn(w, call->arg);
    sem_post(&call->done);
}

void worker_call(struct worker *w, void (*fn)(struct worker *w, void *arg), void *arg)
{
    struct call call = { .msg = { .run = run_call }, .fn = fn, .arg = arg };
    sem_init(&call.done, 0, 0);
    worker_post_always(w, &call.msg);
    while (sem_wait(&call.done) != 0)
        ;
    sem_destroy(&call.done);
}

void worker_op_init(struct worker_op *op, struct worker *w, void (*run)(struct worker *, struct worker_op *))
{
    *op = (struct worker_op){ .op = { .inbox = &w->answers }, .run = run };
}
