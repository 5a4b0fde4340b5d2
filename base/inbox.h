/* A bounded queue into another thread's libuv loop.
 *
 * Many threads push; the loop that owns the inbox gets the callback, once per message, in push order. Pushing
 * moves ownership of the message to the receiver. A flood wakes the loop once, not once per message.
 */
#ifndef BASE_INBOX_H
#define BASE_INBOX_H

#include "base/list.h"

#include <stdint.h>
#include <uv.h>

/* The part of a message that the inbox uses; embed it. */
struct inbox_msg {
    struct list link;
};

typedef void inbox_fn(void *ctx, struct inbox_msg *msg);

struct inbox {
    uv_async_t async;
    uv_mutex_t lock;
    struct list queue; /* under lock */
    uint32_t len;      /* under lock */
    uint32_t max;
    inbox_fn *fn;
    void *ctx;
};

/* On the owning loop's thread, or before it runs. `max` bounds inbox_push. 0 or a libuv error. */
int inbox_init(struct inbox *in, uv_loop_t *loop, uint32_t max, inbox_fn *fn, void *ctx);

/* Closes the handle; `closed` (may be NULL) runs on the loop afterwards. Unread messages are handed to fn first. */
void inbox_close(struct inbox *in, uv_close_cb closed);
/* After `closed`. */
void inbox_fini(struct inbox *in);

/* Any thread. Takes msg on success; ERR_LIMIT when full. */
int inbox_push(struct inbox *in, struct inbox_msg *msg);

/* Any thread. For answers to requests that are themselves bounded: never refused. Takes msg. */
void inbox_answer(struct inbox *in, struct inbox_msg *msg);

/* As inbox_answer, for a whole list of inbox_msg links, with one wake-up. Leaves `msgs` empty. */
void inbox_answer_all(struct inbox *in, struct list *msgs, uint32_t count);

#endif
