/* Many deadlines on one libuv timer. A connection has several deadlines in its life and moves them with each
 * command, so setting one must cost next to nothing: moving a deadline later, or stopping it, touches no
 * heap. Belongs to one loop's thread.
 *
 * Resolution is a millisecond of the loop's cached time. Callbacks run from the loop only; inside one, any
 * timer may be set, stopped or finished, this one included.
 */
#ifndef NODE_NET_TIMERS_H
#define NODE_NET_TIMERS_H

#include "base/heap.h"

#include <stdint.h>
#include <uv.h>

struct timer;
typedef void timer_fn(struct timer *t);

struct timers {
    uv_timer_t uv;
    uv_loop_t *loop;
    struct heap heap;
    int64_t armed_ms; /* when the libuv timer fires; INT64_MAX: not armed */
    bool firing;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

struct timer {
    struct heap_node node; /* key <= due_ms */
    int64_t due_ms;        /* loop time; INT64_MAX: not set */
    struct timers *timers;
    timer_fn *fn;
};

#define TIMER_ITEM(t, type, member) ((type *)((char *)(t)-offsetof(type, member)))

int timers_init(struct timers *ts, uv_loop_t *loop);
/* No timer may be left. `closed` (may be NULL) runs from the loop, then the memory may go. */
void timers_close(struct timers *ts, void (*closed)(void *ctx), void *ctx);
/* The loop's present time. */
int64_t timers_now_ms(const struct timers *ts);

/* 0 or -ENOMEM; afterwards nothing can fail. */
int timer_init(struct timer *t, struct timers *ts, timer_fn *fn);
/* Harmless on a zeroed one. */
void timer_fini(struct timer *t);
/* Fires once, delay_ms from now (negative counts as 0), whatever was set before. */
void timer_set(struct timer *t, int64_t delay_ms);
void timer_stop(struct timer *t);
bool timer_is_set(const struct timer *t);

#endif
