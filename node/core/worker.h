/* A worker: one thread with one libuv loop, its own listeners, and the delivery of the sites hashed to it.
 *
 * What a worker holds is touched by its thread only. Others reach it through its inbox: a message carries the
 * function that the worker runs for it. Answers of the spool come through an inbox of their own, so that
 * those of one sync arrive with one wake-up.
 */
#ifndef NODE_CORE_WORKER_H
#define NODE_CORE_WORKER_H

#include "base/inbox.h"
#include "base/list.h"
#include "node/config/config.h"
#include "node/core/activity.h"
#include "node/net/stream.h"
#include "node/net/timers.h"
#include "spool/spool.h"

#include <semaphore.h>

struct node;
struct worker;
struct ingress;
struct egress;
struct dns;
struct frozen_view;
struct pool_view;
struct ledger_worker;

/* Embed it first; the worker calls run, which owns the message from then on. */
struct worker_msg {
    struct inbox_msg in;
    void (*run)(struct worker *w, struct worker_msg *msg);
};

/* A request to the spool whose answer runs on the worker that asked. Lives until run was called. */
struct worker_op {
    struct spool_op op;
    void (*run)(struct worker *w, struct worker_op *op);
};

struct worker {
    struct node *node;
    uint32_t index;
    uv_loop_t loop;
    uv_thread_t thread;
    struct inbox inbox;
    struct inbox answers; /* of the spool */
    struct inbox auths;   /* of password checks */
    struct timers timers;
    struct stream_loop streams;
    struct config *config; /* in force here: replaced by a message from main */
    struct dns *dns;
    struct ingress *ingress;
    struct egress *egress;
    struct activity senders, sites; /* of the last minute */
    struct list probes;             /* see probe.c */
    struct list sts_lookups;        /* see sts.c */
    struct frozen_view *frozen;     /* in force here; NULL: nobody is */
    struct pool_view *pools;        /* in force here; NULL: none is known */
    struct ledger_worker *ledger;   /* NULL: no cluster, or none that we are a member of yet */
    bool gated;                     /* nothing is delivered before we know who is frozen: see frozen.h */
    bool cut_off;                   /* nor while there is no session, if the policy says so: egress_cut_off */
    bool running;                   /* the thread was started */
    uv_timer_t stop_timer;
    int64_t stop_by_ms; /* loop time: what is not finished then is cut */
    int stopping;       /* enum in worker.c */
    struct {
        int64_t since_ms; /* boottime: of this minute */
        uint32_t told, left_out;
    } attacks; /* report_auth */
};

/* Makes the loop and what lives on it; the caller's thread may then fill the queue (recovery) before it
 * starts the thread. 0 or an error, told in the log. */
int worker_init(struct worker *w, struct node *node, uint32_t index);
int worker_start(struct worker *w);
/* Any thread, once: finishes transactions in hand, but not after grace_ms, closes everything; then the thread
 * ends. */
void worker_stop(struct worker *w, int64_t grace_ms);
/* Waits for the thread's end. */
void worker_join(struct worker *w);
/* After that, and after the spool was closed: nothing answers any more. */
void worker_fini(struct worker *w);

/* Any thread. Bounded: ERR_LIMIT, and the message is still the caller's. */
int worker_post(struct worker *w, struct worker_msg *msg);
/* Any thread. For what must not be lost and is bounded elsewhere. */
void worker_post_always(struct worker *w, struct worker_msg *msg);

/* Any thread but a worker's: runs fn on the worker and waits for it. */
void worker_call(struct worker *w, void (*fn)(struct worker *w, void *arg), void *arg);

/* Prepares an op so that its answer runs `run` on w. */
void worker_op_init(struct worker_op *op, struct worker *w, void (*run)(struct worker *, struct worker_op *));

#endif
