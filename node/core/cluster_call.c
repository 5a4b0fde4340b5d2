/* Calls from admin threads into the cluster thread: each waits until the other side says that it is done,
 * which it does in bounded time. See cluster_impl.h.
 */
#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "node/core/cluster_impl.h"

#include <stdlib.h>

void cluster_call_init(struct cluster_call *call, void (*run)(struct cluster *, struct cluster_call *),
                       struct admin_error *e)
{
    *call = (struct cluster_call){ .run = run, .timeout_ms = CLUSTER_CALL_MS, .e = e };
    pthread_mutex_init(&call->lock, NULL);
    pthread_cond_init(&call->wake, NULL);
}

int cluster_call_wait(struct cluster *c, struct cluster_call *call)
{
    pthread_mutex_lock(&c->lock);
    bool closed = c->closed && !call->last;
    c->closed = c->closed || call->last;
    if (!closed) /* bounded: each admin thread has one */
        inbox_answer(&c->inbox, &call->msg);
    pthread_mutex_unlock(&c->lock);
    pthread_mutex_lock(&call->lock);
    while (!closed && !call->over) {
        if (call->news && call->meanwhile != NULL) {
            call->news = false;
            pthread_mutex_unlock(&call->lock);
            call->meanwhile(call);
            pthread_mutex_lock(&call->lock);
            continue;
        }
        pthread_cond_wait(&call->wake, &call->lock);
    }
    pthread_mutex_unlock(&call->lock);
    pthread_cond_destroy(&call->wake);
    pthread_mutex_destroy(&call->lock);
    if (!closed)
        return call->err;
    return call->e == NULL ? ERR_CLOSED : admin_fail(call->e, ERR_CLOSED, "the node is stopping");
}

void cluster_call_done(struct cluster *c, struct cluster_call *call, int err)
{
    (void)c;
    if (call->waiting)
        list_remove(&call->link);
    call->waiting = false;
    if (call->ticket != NULL)
        call->ticket->call = NULL;
    pthread_mutex_lock(&call->lock);
    call->err = err;
    call->over = true;
    pthread_cond_signal(&call->wake);
    pthread_mutex_unlock(&call->lock);
}

void cluster_call_news(struct cluster_call *call)
{
    pthread_mutex_lock(&call->lock);
    call->news = true;
    pthread_cond_signal(&call->wake);
    pthread_mutex_unlock(&call->lock);
}

void cluster_call_later(struct cluster *c, struct cluster_call *call)
{
    ensure(!call->waiting);
    call->waiting = true;
    list_push_back(&c->calls, &call->link);
}

static void give_up(struct cluster *c, struct cluster_call *call, int err)
{
    if (call->give_up != NULL)
        err = call->give_up(c, call, err);
    else if (call->e != NULL)
        (void)admin_fail(call->e, err, "%s",
                         err == ERR_CLOSED ? "the node is stopping" : "no answer in time");
    cluster_call_done(c, call, err);
}

void cluster_calls_poll(struct cluster *c, bool tick)
{
    LIST_EACH_SAFE(link, &c->calls)
    {
        struct cluster_call *call = LIST_ITEM(link, struct cluster_call, link);
        if (tick && clock_boot_ms() >= call->deadline_ms)
            give_up(c, call, ERR_TIMEOUT);
        else if (call->poll != NULL)
            call->poll(c, call);
    }
}

void cluster_calls_end(struct cluster *c)
{
    LIST_EACH_SAFE(link, &c->calls)
    give_up(c, LIST_ITEM(link, struct cluster_call, link), ERR_CLOSED);
}

void cluster_call_arrived(void *ctx, struct inbox_msg *msg)
{
    struct cluster *c = ctx;
    struct cluster_call *call = LIST_ITEM(msg, struct cluster_call, msg);
    call->deadline_ms = clock_boot_ms() + call->timeout_ms;
    call->run(c, call);
}

struct cluster_ticket *cluster_ticket_new(struct cluster *c, struct cluster_call *call)
{
    struct cluster_ticket *t = malloc(sizeof *t);
    if (t == NULL)
        return NULL;
    ensure(call->ticket == NULL);
    *t = (struct cluster_ticket){ .c = c, .call = call };
    call->ticket = t;
    return t;
}

struct cluster_call *cluster_ticket_take(struct cluster_ticket *t)
{
    struct cluster_call *call = t->call;
    if (call != NULL)
        call->ticket = NULL;
    free(t);
    return call;
}
