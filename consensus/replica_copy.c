/* A copy of the machine's state for somebody else than libraft: a backup. Encoded in libuv's pool, as a
 * snapshot is; meanwhile libraft takes none, and one that it is sent is held back. See replica.h.
 */
#include "consensus/replica_impl.h"

#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <stdlib.h>

struct replica_copying {
    uv_work_t work;
    struct replica *r;
    replica_copy_cb *cb;
    void *ctx;
    atomic_bool cancel;
    /* the pool's */
    struct buf out;
    int err;
};

static void copy_work(uv_work_t *work)
{
    struct replica_copying *job = work->data;
    int more = 1;
    while (more == 1 && job->err == 0) {
        if (atomic_load_explicit(&job->cancel, memory_order_relaxed)) {
            job->err = ERR_CLOSED;
            break;
        }
        more = machine_snapshot_step(job->r->config.machine, &job->out);
        if (more < 0)
            job->err = more;
    }
}

static void copy_after(uv_work_t *work, int status)
{
    struct replica_copying *job = work->data;
    struct replica *r = job->r;
    ensure(status == 0);
    machine_snapshot_end(r->config.machine);
    r->copying = NULL;
    job->cb(job->ctx, job->err, buf_span(&job->out));
    buf_fini(&job->out);
    free(job);
}

bool replica_copy_cancel(struct replica *r)
{
    if (r->copying == NULL)
        return true;
    atomic_store_explicit(&r->copying->cancel, true, memory_order_relaxed);
    return false;
}

int replica_copy(struct replica *r, replica_copy_cb *cb, void *ctx)
{
    if (r->failed != 0 || r->closing != REPLICA_OPEN)
        return ERR_CLOSED;
    if (r->taking || r->copying != NULL || r->held != NULL || r->put.active)
        return ERR_BUSY;
    struct replica_copying *job = calloc(1, sizeof *job);
    int err = job == NULL ? -ENOMEM : machine_snapshot_begin(r->config.machine);
    if (err != 0) {
        free(job);
        return err;
    }
    *job = (struct replica_copying){ .r = r, .cb = cb, .ctx = ctx };
    atomic_init(&job->cancel, false);
    buf_init(&job->out, REPLICA_SNAPSHOT_BYTES_MAX);
    job->work.data = job;
    r->copying = job;
    ensure(uv_queue_work(r->config.loop, &job->work, copy_work, copy_after) == 0);
    return 0;
}
