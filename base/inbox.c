/* A bounded queue into another thread's libuv loop. */
#include "base/inbox.h"

#include "base/err.h"

static void drain(struct inbox *in)
{
    struct list batch;
    list_init(&batch);
    uv_mutex_lock(&in->lock);
    list_splice(&batch, &in->queue);
    in->len = 0;
    uv_mutex_unlock(&in->lock);
    for (struct list *link; (link = list_pop_front(&batch)) != NULL;)
        in->fn(in->ctx, LIST_ITEM(link, struct inbox_msg, link));
}

static void inbox_async_cb(uv_async_t *async)
{
    drain(LIST_ITEM(async, struct inbox, async));
}

int inbox_init(struct inbox *in, uv_loop_t *loop, uint32_t max, inbox_fn *fn, void *ctx)
{
    in->max = max;
    in->len = 0;
    in->fn = fn;
    in->ctx = ctx;
    list_init(&in->queue);
    int err = uv_mutex_init(&in->lock);
    if (err != 0)
        return err;
    err = uv_async_init(loop, &in->async, inbox_async_cb);
    if (err != 0)
        uv_mutex_destroy(&in->lock);
    return err;
}

void inbox_close(struct inbox *in, uv_close_cb closed)
{
    drain(in);
    uv_close((uv_handle_t *)&in->async, closed);
}

void inbox_fini(struct inbox *in)
{
    uv_mutex_destroy(&in->lock);
}

static int push(struct inbox *in, struct inbox_msg *msg, uint32_t max)
{
    uv_mutex_lock(&in->lock);
    if (in->len >= max) {
        uv_mutex_unlock(&in->lock);
        return ERR_LIMIT;
    }
    int first = in->len++ == 0;
    list_push_back(&in->queue, &msg->link);
    uv_mutex_unlock(&in->lock);
    if (first)
        uv_async_send(&in->async);
    return 0;
}

int inbox_push(struct inbox *in, struct inbox_msg *msg)
{
    return push(in, msg, in->max);
}

void inbox_answer(struct inbox *in, struct inbox_msg *msg)
{
    (void)push(in, msg, UINT32_MAX);
}

void inbox_answer_all(struct inbox *in, struct list *msgs, uint32_t count)
{
    if (list_empty(msgs))
        return;
    uv_mutex_lock(&in->lock);
    int first = in->len == 0;
    in->len += count;
    list_splice(&in->queue, msgs);
    uv_mutex_unlock(&in->lock);
    if (first)
        uv_async_send(&in->async);
}
