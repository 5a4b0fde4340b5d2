/* Many deadlines on one libuv timer. The loop's thread. */
#include "node/net/timers.h"

#include "base/ensure.h"

#define NEVER INT64_MAX

static void timers_fire(uv_timer_t *uv);

int timers_init(struct timers *ts, uv_loop_t *loop)
{
    *ts = (struct timers){ .loop = loop, .armed_ms = NEVER };
    heap_init(&ts->heap);
    ts->uv.data = ts;
    return uv_timer_init(loop, &ts->uv);
}

static void timers_closed(uv_handle_t *h)
{
    struct timers *ts = h->data;
    heap_fini(&ts->heap);
    if (ts->closed != NULL)
        ts->closed(ts->closed_ctx);
}

void timers_close(struct timers *ts, void (*closed)(void *ctx), void *ctx)
{
    ensure(heap_first(&ts->heap) == NULL);
    ts->closed = closed;
    ts->closed_ctx = ctx;
    uv_close((uv_handle_t *)&ts->uv, timers_closed);
}

int64_t timers_now_ms(const struct timers *ts)
{
    return (int64_t)uv_now(ts->loop);
}

static void arm(struct timers *ts, int64_t at_ms)
{
    if (at_ms == ts->armed_ms)
        return;
    ts->armed_ms = at_ms;
    if (at_ms == NEVER) {
        uv_timer_stop(&ts->uv);
        return;
    }
    int64_t delay = at_ms - timers_now_ms(ts);
    uv_timer_start(&ts->uv, timers_fire, delay < 0 ? 0 : (uint64_t)delay, 0);
}

/* Runs what was due when this turn began. What a callback sets anew, even with delay 0, waits for the next
 * turn, or one that keeps setting itself would hold the loop for good. */
static void timers_fire(uv_timer_t *uv)
{
    struct timers *ts = uv->data;
    int64_t now = timers_now_ms(ts);
    ts->armed_ms = NEVER;
    ts->firing = true;
    for (;;) {
        struct heap_node *first = heap_first(&ts->heap);
        if (first == NULL || first->key > now)
            break;
        struct timer *t = HEAP_ITEM(first, struct timer, node);
        int64_t due = t->due_ms;
        heap_move(&ts->heap, first, due > now ? due : NEVER);
        if (due > now)
            continue; /* it was moved later, or stopped, since it was put here */
        t->due_ms = NEVER;
        t->fn(t);
    }
    ts->firing = false;
    struct heap_node *first = heap_first(&ts->heap);
    if (first != NULL)
        arm(ts, first->key);
}

int timer_init(struct timer *t, struct timers *ts, timer_fn *fn)
{
    *t = (struct timer){ .due_ms = NEVER, .timers = ts, .fn = fn };
    int err = heap_add(&ts->heap, &t->node, NEVER);
    if (err != 0)
        t->timers = NULL;
    return err;
}

void timer_fini(struct timer *t)
{
    struct timers *ts = t->timers;
    if (ts == NULL)
        return;
    heap_remove(&ts->heap, &t->node);
    t->timers = NULL;
    /* a loop must not be kept alive by a deadline that is gone */
    struct heap_node *first = heap_first(&ts->heap);
    if (first == NULL || first->key == NEVER)
        arm(ts, NEVER);
}

void timer_set(struct timer *t, int64_t delay_ms)
{
    struct timers *ts = t->timers;
    ensure(ts != NULL);
    int64_t least = ts->firing ? 1 : 0; /* the turn that is being worked off takes no more */
    if (delay_ms < least)
        delay_ms = least;
    int64_t now = timers_now_ms(ts);
    t->due_ms = delay_ms >= NEVER - now ? NEVER - 1 : now + delay_ms;
    if (t->due_ms >= t->node.key)
        return;
    heap_move(&ts->heap, &t->node, t->due_ms);
    if (t->due_ms < ts->armed_ms && !ts->firing)
        arm(ts, t->due_ms);
}

void timer_stop(struct timer *t)
{
    t->due_ms = NEVER;
}

bool timer_is_set(const struct timer *t)
{
    return t->due_ms != NEVER && t->timers != NULL;
}
