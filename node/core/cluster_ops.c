/* The admin API's functions on the cluster: the table, commands and barriers. Admin threads, but for what
 * runs in a cluster_call.
 */
#include "node/core/cluster.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster_impl.h"
#include "node/core/transfer_ops.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct cluster *cluster_of(void *ctx)
{
    return ((struct node *)ctx)->cluster;
}

int cluster_need(struct cluster *c, struct admin_error *e)
{
    if (c == NULL)
        return admin_fail(e, ERR_DENIED,
                          "this node is no part of a cluster: its configuration has no 'cluster' section");
    if (cluster_machine(c) == NULL)
        return admin_fail(
            e, ERR_BUSY,
            "this node is no member of a cluster yet: run 'turnpike cluster init' or 'turnpike node join'");
    return 0;
}

int cluster_no_quorum(struct cluster *c, struct admin_error *e, int err, bool may_happen)
{
    struct buf missing;
    buf_init(&missing, 400);
    if (c->state == CLUSTER_RUNNING)
        cluster_missing(c, &missing);
    const char *fate =
        may_happen ? "; it may still happen: look before you repeat it" : "; nothing was changed";
    if (err == ERR_CLOSED && !may_happen)
        fate = "";
    if (missing.len > 0)
        err = admin_fail(e, err, "the cluster did not answer: no quorum? Missing: %.*s%s", (int)missing.len,
                         missing.data, fate);
    else
        err = admin_fail(e, err, "the cluster did not answer in time%s%s",
                         c->leader == 0 ? " (it has no leader just now)" : "", fate);
    buf_fini(&missing);
    return err;
}

/* ---- commands ------------------------------------------------------------------------------------------ */

struct command_by *cluster_command_by(struct command *cmd)
{
    switch (cmd->type) {
    case COMMAND_FREEZE:
        return &cmd->freeze.by;
    case COMMAND_THAW:
        return &cmd->thaw.by;
    case COMMAND_ACCOUNT_SET:
        return &cmd->account_set.by;
    case COMMAND_ACCOUNT_REMOVE:
    case COMMAND_TENANT_REMOVE:
    case COMMAND_POOL_REMOVE:
    case COMMAND_IP_REMOVE:
    case COMMAND_TOKEN_REMOVE:
    case COMMAND_WARMUP_STOP:
    case COMMAND_TENANT_TOKEN_REMOVE:
    case COMMAND_OPERATOR_REMOVE:
        return &cmd->name.by;
    case COMMAND_TENANT_SET:
        return &cmd->tenant_set.by;
    case COMMAND_TENANT_CONTACT:
        return &cmd->tenant_contact.by;
    case COMMAND_ERASE_ADD:
        return &cmd->erase.by;
    case COMMAND_HELD_EXEMPT:
        return &cmd->held_exempt.by;
    case COMMAND_TENANT_TOKEN_ADD:
        return &cmd->tenant_token.by;
    case COMMAND_OVERRIDE_SET:
        return &cmd->override_set.by;
    case COMMAND_POLICY_COMMIT:
        return &cmd->policy_commit.by;
    case COMMAND_POOL_SET:
        return &cmd->pool_set.by;
    case COMMAND_POOL_ASSIGN:
        return &cmd->pool_assign.by;
    case COMMAND_IP_SET:
        return &cmd->ip_set.by;
    case COMMAND_POOL_FLOATING:
        return &cmd->pool_floating.by;
    case COMMAND_IP_MOVE:
    case COMMAND_IP_MOVE_DEAD:
        return &cmd->ip_move.by;
    case COMMAND_TOKEN_ADD:
        return &cmd->token_add.by;
    case COMMAND_MEMBER_SET:
        return &cmd->member_set.by;
    case COMMAND_LIMITS_REOPEN:
        return &cmd->limits_reopen.by;
    case COMMAND_FEATURE_RAISE:
        return &cmd->feature_raise.by;
    case COMMAND_SUPPRESS_ADD:
        return &cmd->suppress_add.by;
    case COMMAND_SUPPRESS_REMOVE:
        return &cmd->suppress_remove.by;
    case COMMAND_SEALING_KEY:
        return &cmd->sealing_key.by;
    case COMMAND_SEALED_SET:
        return &cmd->sealed_set.by;
    case COMMAND_SEALED_REMOVE:
        return &cmd->sealed_remove.by;
    case COMMAND_DOMAIN_ASK:
        return &cmd->domain_ask.by;
    case COMMAND_DOMAIN_RESULT:
        return &cmd->domain_result.by;
    case COMMAND_DOMAIN_FORGET:
        return &cmd->domain_forget.by;
    case COMMAND_WARMUP_START:
        return &cmd->warmup_start.by;
    case COMMAND_WARMUP_STEP:
        return &cmd->warmup_step.by;
    case COMMAND_SENDER_LIFT:
        return &cmd->sender_lift.by;
    case COMMAND_STANDING_SET:
        return &cmd->standing_set.by;
    case COMMAND_OPERATOR_SET:
        return &cmd->operator_set.by;
    case COMMAND_LOGIN_SET:
        return &cmd->login_set.by;
    case COMMAND_LOGIN_END:
        return &cmd->login_end.by;
    default:
        return NULL;
    }
}

struct submit {
    struct cluster_call call;
    struct command *cmd;
    struct machine_result *out;
    uint64_t index; /* of the entry that it was in; 0: not known yet */
};

static void submit_poll(struct cluster *c, struct cluster_call *call)
{
    struct submit *s = (struct submit *)call;
    /* A node that has just been removed need not hear so from the log. */
    if (s->index != 0 && (machine_applied(c->m) >= s->index || c->removed || c->state != CLUSTER_RUNNING))
        cluster_call_done(c, call, 0);
}

static int submit_late(struct cluster *c, struct cluster_call *call, int err)
{
    struct submit *s = (struct submit *)call;
    if (s->index == 0)
        return cluster_no_quorum(c, call->e, err, true);
    return admin_fail(call->e, err, "the cluster has done it, but this node has not heard so in time");
}

static void submit_answered_cb(void *ctx, int err, const struct machine_result *r)
{
    struct cluster_ticket *t = ctx;
    struct cluster *c = t->c;
    struct submit *s = (struct submit *)cluster_ticket_take(t);
    if (s == NULL)
        return;
    if (err != 0) {
        cluster_call_done(c, &s->call, cluster_no_quorum(c, s->call.e, ERR_TIMEOUT, err != ERR_TIMEOUT));
        return;
    }
    *s->out = *r;
    if (r->err != 0) {
        cluster_call_done(
            c, &s->call,
            admin_fail(s->call.e, r->err, "%s", r->words[0] != '\0' ? r->words : err_text(r->err)));
        return;
    }
    s->index = c->effect_index;
    c->poll_due = true;
}

static void submit_run(struct cluster *c, struct cluster_call *call)
{
    struct submit *s = (struct submit *)call;
    int err = c->state == CLUSTER_RUNNING ? 0 : ERR_CLOSED;
    uint8_t level = command_type_level(s->cmd->type);
    if (err == 0 && level > machine_features(c->m)) {
        cluster_call_done(c, call,
                          admin_fail(call->e, ERR_DENIED,
                                     "the cluster's feature level is %u, this needs %u: `turnpike cluster raise`",
                                     machine_features(c->m), level));
        return;
    }
    struct cluster_ticket *t = err == 0 ? cluster_ticket_new(c, call) : NULL;
    if (err == 0 && t == NULL)
        err = -ENOMEM;
    if (err != 0) {
        cluster_call_done(c, call,
                          admin_fail(call->e, err, "this node is no member of the cluster any more"));
        return;
    }
    call->deadline_ms += 1000; /* the agent ends first, and knows whether it may still happen */
    cluster_call_later(c, call);
    err = agent_submit(c->agent, s->cmd, CLUSTER_CALL_MS - 300, submit_answered_cb, t);
    if (err != 0) {
        (void)cluster_ticket_take(t);
        cluster_call_done(c, call, cluster_no_quorum(c, call->e, err == ERR_CLOSED ? ERR_BUSY : err, false));
        return;
    }
    agent_tick(c->agent);
}

int cluster_submit(void *ctx, const struct admin_caller *by, struct command *cmd, struct machine_result *out,
                   struct admin_error *e)
{
    struct cluster *c = cluster_of(ctx);
    struct submit s = { .cmd = cmd, .out = out };
    char who[448];
    int err = cluster_need(c, e);
    if (err != 0)
        return err;
    struct command_by *cb = cluster_command_by(cmd);
    if (cb != NULL && by != NULL) {
        struct config *config = node_config(c->node);
        snprintf(who, sizeof who, "%s@%s", by->text, config->name);
        config_rele(config);
        cb->who = span_str(who);
        cb->wall_ms = clock_wall_ms();
    }
    *out = (struct machine_result){ 0 };
    cluster_call_init(&s.call, submit_run, e);
    s.call.poll = submit_poll;
    s.call.give_up = submit_late;
    return cluster_call_wait(c, &s.call);
}

/* ---- reads that have everything ------------------------------------------------------------------------ */

struct barrier {
    struct cluster_call call;
    bool known;
    uint64_t index;
    int64_t again_ms; /* when to ask once more */
};

static void barrier_ask(struct cluster *c, struct barrier *b);

static void barrier_poll(struct cluster *c, struct cluster_call *call)
{
    struct barrier *b = (struct barrier *)call;
    if (c->state != CLUSTER_RUNNING)
        return;
    if (b->known && machine_applied(c->m) >= b->index)
        cluster_call_done(c, call, 0);
    else if (!b->known && call->ticket == NULL && clock_boot_ms() >= b->again_ms)
        barrier_ask(c, b);
}

static int barrier_late(struct cluster *c, struct cluster_call *call, int err)
{
    return cluster_no_quorum(c, call->e, err, false);
}

static void barrier_led_cb(void *ctx, int err)
{
    struct cluster *c = ((struct cluster_ticket *)ctx)->c;
    struct barrier *b = (struct barrier *)cluster_ticket_take(ctx);
    if (b == NULL || err != 0)
        return;
    b->known = true; /* and it is applied */
    b->index = machine_applied(c->m);
    c->poll_due = true;
}

static void barrier_told_cb(void *ctx, uint64_t node, int err, struct span answer)
{
    struct cluster *c = ((struct cluster_ticket *)ctx)->c;
    struct barrier *b = (struct barrier *)cluster_ticket_take(ctx);
    struct cursor cur;
    (void)node;
    if (b == NULL || err != 0)
        return;
    cursor_init(&cur, answer.p, answer.n);
    b->index = cursor_u64(&cur);
    b->known = cursor_err(&cur) == 0;
    c->poll_due = true;
}

static void barrier_ask(struct cluster *c, struct barrier *b)
{
    b->again_ms = clock_boot_ms() + 200;
    struct cluster_ticket *t = cluster_ticket_new(c, &b->call);
    if (t == NULL)
        return;
    int err = ERR_CLOSED;
    if (c->role == REPLICA_LEADER)
        err = replica_barrier(c->replica, barrier_led_cb, t);
    else if (c->leader != 0)
        err = gossip_ask(c->gossip, c->leader, CLUSTER_ASK_INDEX, (struct span){ "", 0 }, 1000,
                         barrier_told_cb, t);
    if (err != 0)
        (void)cluster_ticket_take(t);
}

static void barrier_run(struct cluster *c, struct cluster_call *call)
{
    if (c->state != CLUSTER_RUNNING) {
        cluster_call_done(c, call,
                          admin_fail(call->e, ERR_CLOSED, "this node is no member of the cluster any more"));
        return;
    }
    cluster_call_later(c, call);
    barrier_ask(c, (struct barrier *)call);
}

int cluster_barrier(void *ctx, struct admin_error *e)
{
    struct cluster *c = cluster_of(ctx);
    struct barrier b = { .known = false };
    int err = cluster_need(c, e);
    if (err != 0)
        return err;
    cluster_call_init(&b.call, barrier_run, e);
    b.call.timeout_ms = CLUSTER_CALL_MS - 200;
    b.call.poll = barrier_poll;
    b.call.give_up = barrier_late;
    return cluster_call_wait(c, &b.call);
}

static struct machine *get_machine(void *ctx)
{
    struct cluster *c = cluster_of(ctx);
    return c == NULL ? NULL : cluster_machine(c);
}

const struct admin_cluster cluster_admin = {
    .status = cluster_status,
    .machine = get_machine,
    .barrier = cluster_barrier,
    .submit = cluster_submit,
    .await_obeyed = cluster_await_obeyed,
    .freeze_local = cluster_freeze_local,
    .thaw_local = cluster_thaw_local,
    .frozen_local = cluster_frozen_local,
    .init = cluster_init_op,
    .join = cluster_join_op,
    .token = cluster_token,
    .role = cluster_role,
    .remove = cluster_remove,
    .drain = cluster_drain,
    .leave = cluster_leave,
    .transfers = transfer_op_list,
    .transfer_cancel = transfer_op_cancel,
    .transfer_take = transfer_op_take,
    .transfer_forget = transfer_op_forget,
    .queue_move = transfer_op_move,
    .adopt = transfer_op_adopt,
    .ask = cluster_ask,
    .backup = cluster_backup,
    .dkim_add = cluster_dkim_add,
    .rekey = cluster_rekey,
    .domain_name = cluster_domain_name,
    .domain_proof = cluster_domain_proof,
    .secret_add = cluster_secret_add,
    .secret_ensure = cluster_secret_ensure,
    .secret_closed = cluster_secret_closed,
};
