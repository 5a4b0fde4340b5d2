/* A backup of the cluster's state, for an operator: see backup_file.h. An admin thread, but for what runs in a
 * cluster_call.
 */
#include "base/err.h"
#include "base/log.h"
#include "node/core/backup_file.h"
#include "node/core/cluster_impl.h"

#define BACKUP_MS 120000

struct backup {
    struct cluster_call call;
    struct buf *out;
};

static void copied_cb(void *ctx, int err, struct span state)
{
    struct cluster *c = ((struct cluster_ticket *)ctx)->c;
    struct cluster_call *call = cluster_ticket_take(ctx);
    if (call == NULL)
        return;
    if (err == 0)
        err = backup_file_put(state, ((struct backup *)call)->out);
    if (err != 0)
        (void)admin_fail(call->e, err, "the state could not be copied: %s", err_text(err));
    cluster_call_done(c, call, err);
}

/* Again until no snapshot is in the way. */
static void backup_poll(struct cluster *c, struct cluster_call *call)
{
    if (call->ticket != NULL)
        return;
    struct cluster_ticket *t = c->state == CLUSTER_RUNNING ? cluster_ticket_new(c, call) : NULL;
    int err = t == NULL ? ERR_CLOSED : replica_copy(c->replica, copied_cb, t);
    if (t != NULL && err != 0)
        (void)cluster_ticket_take(t);
    if (err != 0 && err != ERR_BUSY)
        cluster_call_done(c, call,
                          admin_fail(call->e, err, "the state could not be copied: %s", err_text(err)));
}

static void backup_run(struct cluster *c, struct cluster_call *call)
{
    cluster_call_later(c, call);
    backup_poll(c, call);
}

int cluster_backup(void *ctx, const struct admin_caller *by, struct buf *out, struct admin_error *e)
{
    struct cluster *c = cluster_of(ctx);
    struct backup b = { .out = out };
    int err = cluster_barrier(ctx, e);
    if (err != 0)
        return err;
    cluster_call_init(&b.call, backup_run, e);
    b.call.poll = backup_poll;
    b.call.timeout_ms = BACKUP_MS;
    err = cluster_call_wait(c, &b.call);
    if (err == 0)
        log_info("cluster", "a backup of the state, %zu bytes, for %s", out->len, by->text);
    return err;
}
