/* The admin API's functions on mail that moves. Admin threads. */
#include "node/core/transfer_ops.h"

#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "node/core/transfer_impl.h"

struct listing {
    admin_transfer_fn *fn;
    void *arg;
};

static int on_row(void *arg, const struct transfer_row *row)
{
    const struct listing *l = arg;
    char hex[TRANSFER_HEX];
    transfer_hex(row->batch, hex);
    struct admin_transfer a = { .batch = hex,
                                .giver = row->giver,
                                .taker = row->taker,
                                .giving = row->giving,
                                .orphan = row->orphan,
                                .messages = row->messages,
                                .since_ms = row->since_ms,
                                .state = row->state,
                                .trouble = row->trouble };
    return l->fn(l->arg, &a);
}

int transfer_op_list(void *ctx, admin_transfer_fn *fn, void *arg, struct admin_transfers *all)
{
    struct listing l = { fn, arg };
    struct transfer_progress p;
    transfer_progress(ctx, &p);
    *all = (struct admin_transfers){ .queued = p.queued,
                                     .leaving = p.leaving,
                                     .moved = p.moved,
                                     .waiting = p.wanted,
                                     .unclaimed = p.strays,
                                     .stuck = p.stuck };
    return transfer_list(ctx, on_row, &l);
}

int transfer_op_cancel(void *ctx, const struct admin_caller *by, const char *batch, struct admin_error *e)
{
    int err = transfer_cancel(ctx, span_str(batch), e);
    if (err == 0)
        log_info("transfer", "batch %s is to stay, asked for by %s", batch, by->text);
    return err;
}

int transfer_op_take(void *ctx, const struct admin_caller *by, const char *batch, struct admin_error *e)
{
    int err = transfer_take(ctx, span_str(batch), e);
    if (err == 0)
        log_info("transfer", "batch %s was taken, as %s wanted", batch, by->text);
    return err;
}

int transfer_op_move(void *ctx, const struct admin_caller *by, const struct admin_selector *sel,
                     uint64_t node, bool dry_run, uint64_t *messages, struct admin_error *e)
{
    struct transfer_asked_for n;
    int err = transfer_move(ctx, sel, node, dry_run, &n, e);
    *messages = n.messages;
    if (err == 0 && n.refused > 0)
        err = admin_fail(e, ERR_LIMIT,
                         "%llu messages are to move; %llu more were refused: too many wait already",
                         (unsigned long long)(n.messages - n.refused), (unsigned long long)n.refused);
    if (err == 0 && !dry_run)
        log_info("transfer", "%llu messages are to move to node %llu, asked for by %s",
                 (unsigned long long)n.messages, (unsigned long long)node, by->text);
    return err;
}

/* By name or id; a removed one. */
struct named {
    struct span name;
    uint64_t id, found;
    bool present;
};

static int by_name(void *arg, const struct directory_member *mb)
{
    struct named *n = arg;
    if (!span_eq(mb->name, n->name) && mb->id != n->id)
        return 0;
    n->found = mb->id;
    n->present = n->present || mb->state != COMMAND_MEMBER_REMOVED;
    return 0;
}

/* Who was removed, by what it was called. */
static int removed_node(struct node *n, const char *node, uint64_t *id, struct admin_error *e)
{
    struct named who = { .name = span_str(node), .id = 0 };
    if (cluster_transfer_barrier(n->cluster) != 0)
        return admin_fail(e, ERR_TIMEOUT,
                          "the cluster does not answer: whose the mail is cannot be known without it");
    (void)text_u64(who.name, &who.id);
    struct machine *m = cluster_machine(n->cluster);
    machine_read_lock(m);
    (void)directory_member_each(m, by_name, &who);
    machine_read_unlock(m);
    if (who.found == 0)
        return admin_fail(e, ERR_NOT_FOUND, "there was no node %s in this cluster", node);
    if (who.present)
        return admin_fail(e, ERR_DENIED, "node %s is a member: remove it first, when it is dead for good",
                          node);
    *id = who.found;
    return 0;
}

int transfer_op_forget(void *ctx, const struct admin_caller *by, const char *node, uint32_t *ended,
                       uint32_t *kept, struct admin_error *e)
{
    struct transfer_forgotten gone = { 0 };
    uint64_t id = 0;
    int err = removed_node(ctx, node, &id, e);
    if (err == 0)
        err = transfer_forget(ctx, id, &gone, e);
    *ended = gone.ended;
    *kept = gone.kept;
    if (gone.ended > 0)
        log_info("transfer", "%u batches of node %s ended, as %s wanted", gone.ended, node, by->text);
    return err;
}

int transfer_op_adopt(void *ctx, const struct admin_caller *by, const char *dir, const char *node,
                      struct admin_adopted *out, struct admin_error *e)
{
    struct node *n = ctx;
    struct transfer_adopted a = { 0 };
    uint64_t id = 0;
    int err = removed_node(n, node, &id, e);
    if (err != 0)
        return err;
    err = transfer_adopt(n, dir, id, &a, e);
    *out = (struct admin_adopted){ a.messages, a.taken, a.elsewhere, a.in_doubt, a.failed };
    log_info("transfer",
             "%s of node %s adopted by %s: %llu messages taken, %llu another node's, %llu in doubt, %llu not",
             dir, node, by->text, (unsigned long long)a.taken, (unsigned long long)a.elsewhere,
             (unsigned long long)a.in_doubt, (unsigned long long)a.failed);
    return err;
}
