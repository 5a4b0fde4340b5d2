/* Changes of who is in the cluster, and handing leadership over: one at a time, started in replica_turn. */
#include "consensus/replica_impl.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

static void finish(struct replica *r, int err)
{
    replica_cb *cb = r->op.cb;
    void *ctx = r->op.ctx;
    r->op.kind = REPLICA_OP_NONE;
    r->op.started = false;
    if (cb != NULL)
        cb(ctx, err);
}

void replica_member_drop(struct replica *r, int err)
{
    /* One that was started is ended by libraft itself. */
    if (r->op.kind != REPLICA_OP_NONE && !r->op.started)
        finish(r, err);
}

static int ask(struct replica *r, enum replica_op_kind kind, uint64_t id, replica_cb *cb, void *ctx)
{
    if (!r->ready || r->failed != 0 || r->closing != REPLICA_OPEN)
        return ERR_CLOSED;
    if (r->op.kind != REPLICA_OP_NONE || r->transfer_asked)
        return ERR_BUSY;
    r->op = (struct replica_op){ .kind = kind, .id = id, .cb = cb, .ctx = ctx };
    return 0;
}

int replica_add(struct replica *r, uint64_t id, const char *address, replica_cb *cb, void *ctx)
{
    if (id == 0 || strlen(address) >= sizeof r->op.address)
        return ERR_BAD;
    if (r->raft.configuration.n >= REPLICA_SERVERS_MAX)
        return ERR_LIMIT;
    int err = ask(r, REPLICA_OP_ADD, id, cb, ctx);
    if (err == 0)
        (void)snprintf(r->op.address, sizeof r->op.address, "%s", address);
    return err;
}

int replica_assign(struct replica *r, uint64_t id, enum replica_vote vote, replica_cb *cb, void *ctx)
{
    int err = ask(r, REPLICA_OP_ASSIGN, id, cb, ctx);
    if (err == 0)
        r->op.vote = vote;
    return err;
}

int replica_remove(struct replica *r, uint64_t id, replica_cb *cb, void *ctx)
{
    return ask(r, REPLICA_OP_REMOVE, id, cb, ctx);
}

int replica_transfer(struct replica *r, uint64_t id, replica_cb *cb, void *ctx)
{
    return ask(r, REPLICA_OP_TRANSFER, id, cb, ctx);
}

static void on_change(struct raft_change *req, int status)
{
    struct replica *r = req->data;
    finish(r, replica_err(status));
}

/* libraft says only that it ended: it worked if this node leads no more. */
static void on_transfer(struct raft_transfer *req)
{
    struct replica *r = req->data;
    bool gone = raft_state(&r->raft) != RAFT_LEADER;
    if (r->op.kind == REPLICA_OP_REMOVE)
        finish(r, gone ? ERR_CLOSED : ERR_TIMEOUT); /* the new leader is to be asked */
    else
        finish(r, gone ? 0 : ERR_TIMEOUT);
}

static int role_of(enum replica_vote vote)
{
    return vote == REPLICA_VOTER ? RAFT_VOTER : vote == REPLICA_STANDBY ? RAFT_STANDBY : RAFT_SPARE;
}

static int start(struct replica *r)
{
    struct replica_op *op = &r->op;
    op->change.data = r;
    op->transfer.data = r;
    bool self = op->id == r->config.id;
    switch (op->kind) {
    case REPLICA_OP_ADD:
        return raft_add(&r->raft, &op->change, op->id, op->address, on_change);
    case REPLICA_OP_ASSIGN:
        if (self && op->vote != REPLICA_VOTER)
            return raft_transfer(&r->raft, &op->transfer, 0, on_transfer);
        return raft_assign(&r->raft, &op->change, op->id, role_of(op->vote), on_change);
    case REPLICA_OP_REMOVE:
        /* A leader that removed itself would leave the others to an election. */
        if (self)
            return raft_transfer(&r->raft, &op->transfer, 0, on_transfer);
        return raft_remove(&r->raft, &op->change, op->id, on_change);
    case REPLICA_OP_TRANSFER:
        return raft_transfer(&r->raft, &op->transfer, op->id, on_transfer);
    case REPLICA_OP_NONE:
        break;
    }
    return RAFT_INVALID;
}

void replica_member_start(struct replica *r)
{
    if (r->op.kind == REPLICA_OP_NONE || r->op.started)
        return;
    r->op.started = true; /* its callback may run inside */
    int rv = raft_state(&r->raft) == RAFT_LEADER ? start(r) : RAFT_NOTLEADER;
    if (rv == 0)
        return;
    /* raft_assign leaves its request behind when it fails. */
    if (r->raft.legacy.change == &r->op.change)
        r->raft.legacy.change = NULL;
    bool already = r->op.kind == REPLICA_OP_ASSIGN && rv == RAFT_BADROLE;
    if (!already)
        log_info(REPLICA_LOG, "the members stay as they are: %s", raft_errmsg(&r->raft));
    finish(r, already ? 0 : replica_err(rv));
}
