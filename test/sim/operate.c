/* Operators: they freeze and wait until it is obeyed, thaw, lower and raise limits, remove a node. Waiting is
 * done as node/core does it: every session that the state has when the freeze was applied says that it obeys,
 * or is gone.
 *
 * At most one freeze of an account is under way, and one whose fate is unknown counts: until the node that
 * asked for it has a later session, under which nothing of the earlier one is done any more.
 */
#define SIM_STREAM SIM_STREAM_OPERATE
#include "test/sim/sim.h"

#include "consensus/directory.h"

#include <stdio.h>

#define OPS 8
#define ROWS 256
#define IDS 4
#define UNKNOWN_NS (10000 * SIM_MS) /* in which all that is on its way arrives, when all is well */

enum op_kind { OP_FREEZE, OP_THAW, OP_CHUNK, OP_COMMIT, OP_REMOVE, OP_DRAIN };
enum op_state { FREE, ASKED, AWAITED, UNKNOWN };
struct op {
    enum op_state state;
    enum op_kind kind;
    uint32_t server, account, number;
    int64_t issued_ns, asked_ns;
    uint64_t for_ms, freeze, index, session, text, compiled;
    struct {
        uint64_t session, node;
        bool settled;
    } rows[ROWS];
    uint32_t nrows;
};

static struct op ops[OPS];
static uint32_t numbers;
static uint64_t ids[SIM_ACCOUNTS][IDS]; /* of freezes that operators know, the last one first */
static bool thawing[SIM_ACCOUNTS][IDS];

static bool busy(enum op_kind kind, uint32_t account)
{
    for (int i = 0; i < OPS; i++)
        if (ops[i].state != FREE && ops[i].kind == kind && ops[i].account == account)
            return true;
    return false;
}

/* Of what can be asked again whatever became of it. */
static bool waits(enum op_kind kind, uint32_t account)
{
    for (int i = 0; i < OPS; i++)
        if ((ops[i].state == ASKED || ops[i].state == AWAITED) && ops[i].kind == kind &&
            ops[i].account == account)
            return true;
    return false;
}

static uint64_t session_of(const struct sim_server *s)
{
    struct agent_session session;
    agent_session(s->agent, &session);
    return session.id;
}

/* ---- asking ----------------------------------------------------------------------------------------------
 */

static void answer_cb(void *ctx, int err, const struct machine_result *r);

static void submit(struct op *op, struct command *cmd)
{
    struct sim_server *s = server_at(op->server);
    sim_step(SIM_STEP_OPERATE, op->server, cmd->type);
    op->state = ASKED;
    op->session = session_of(s);
    if (agent_submit(s->agent, cmd, 100 + (int64_t)sim_random(sim_random(2) == 0 ? 500 : 4000), answer_cb,
                     op) != 0)
        op->state = FREE;
    s->stirred = true;
}

static void freeze(struct op *op)
{
    char reason[32];
    snprintf(reason, sizeof reason, "op-%u", op->number);
    op->for_ms = sim_random(2) == 0 ? 0 : 200 + sim_random(5000);
    struct command cmd = { .type = COMMAND_FREEZE,
                           .freeze = { .by = { .who = SPAN_LIT("op") },
                                       .scope = COMMAND_SCOPE_ACCOUNT,
                                       .name = span_str(sim_accounts[op->account]),
                                       .mode = COMMAND_FREEZE_REJECT,
                                       .for_ms = op->for_ms,
                                       .reason = span_str(reason) } };
    check_thawing(op->account, 0); /* it replaces the one before, and may have an earlier end */
    submit(op, &cmd);
}

static void thaw(struct op *op)
{
    uint32_t k = sim_random(3) == 0 ? (uint32_t)sim_random(IDS) : 0; /* some look at an old list */
    uint64_t id = ids[op->account][k];
    struct command cmd = { .type = COMMAND_THAW,
                           .thaw = { .by = { .who = SPAN_LIT("op") },
                                     .scope = COMMAND_SCOPE_ACCOUNT,
                                     .name = span_str(sim_accounts[op->account]),
                                     .freeze = id } };
    if (id == 0)
        return;
    thawing[op->account][k] = true;
    check_thawing(op->account, id);
    submit(op, &cmd);
}

static void name_upload(uint8_t upload[16], uint32_t number)
{
    memcpy(upload, &number, sizeof number);
}

static void policy(struct op *op)
{
    static const uint64_t percent[] = { 50, 70, 100, 150 };
    struct policy_compiled p = { .voters = 3, .freeze_mode = COMMAND_FREEZE_REJECT, .nlimits = SIM_LIMITS };
    struct buf b;
    memcpy(p.limits, sim_limits, sizeof sim_limits);
    for (int i = 0; i < 3; i++)
        p.limits[i].count = p.limits[i].count * percent[sim_random(4)] / 100;
    senders_policy(&p);
    buf_init(&b, 1u << 16);
    buf_put_str(&b, "x: y");
    op->text = b.len;
    ensure(policy_encode(&p, &b) == 0);
    op->compiled = b.len - op->text;
    struct command cmd = { .type = COMMAND_POLICY_CHUNK, .policy_chunk = { .bytes = buf_span(&b) } };
    name_upload(cmd.policy_chunk.upload, op->number);
    submit(op, &cmd);
    buf_fini(&b);
}

static void commit(struct op *op)
{
    op->kind = OP_COMMIT;
    struct command cmd = { .type = COMMAND_POLICY_COMMIT,
                           .policy_commit = { .by = { .who = SPAN_LIT("op") },
                                              .chunks = 1,
                                              .text_bytes = op->text,
                                              .compiled_bytes = op->compiled } };
    name_upload(cmd.policy_commit.upload, op->number);
    submit(op, &cmd);
}

static struct op *op_new(enum op_kind kind, uint32_t account)
{
    uint32_t server = (uint32_t)sim_random(sim.n);
    if (!server_up(&sim.servers[server]) || sim.servers[server].removed)
        return NULL;
    for (int i = 0; i < OPS; i++)
        if (ops[i].state == FREE) {
            ops[i] = (struct op){ .kind = kind,
                                  .server = server,
                                  .account = account,
                                  .number = ++numbers,
                                  .issued_ns = sim.now_ns };
            return &ops[i];
        }
    return NULL;
}

/* A member that is active drains, one that drains is active again. One at a time. */
static void drain(uint32_t target, bool only_undo)
{
    struct directory_member mb;
    struct op *op = waits(OP_DRAIN, 0) || sim.servers[target].removed ? NULL : op_new(OP_DRAIN, 0);
    if (op == NULL || !directory_member_find(sim.servers[op->server].m, target + 1u, &mb))
        return;
    struct command cmd = {
        .type = COMMAND_MEMBER_SET,
        .member_set = { .by = { .who = SPAN_LIT("op") }, .node = target + 1u, .state = COMMAND_MEMBER_ACTIVE }
    };
    if (mb.state == COMMAND_MEMBER_ACTIVE && !only_undo) {
        cmd.member_set.state = COMMAND_MEMBER_DRAINING;
        check_sums.drains++;
        mail_drains(&sim.servers[target]);
    } else if (mb.state != COMMAND_MEMBER_DRAINING) {
        return;
    }
    submit(op, &cmd);
}

/* What is still frozen when all is well is to be delivered too. */
static void thaw_found(uint32_t account)
{
    struct machine_frozen f;
    struct op *op = waits(OP_THAW, account) || waits(OP_FREEZE, account) ? NULL : op_new(OP_THAW, account);
    if (op == NULL || !machine_frozen_find(sim.servers[op->server].m, COMMAND_SCOPE_ACCOUNT,
                                           span_str(sim_accounts[account]), &f))
        return;
    struct command cmd = { .type = COMMAND_THAW,
                           .thaw = { .by = { .who = SPAN_LIT("op") },
                                     .scope = COMMAND_SCOPE_ACCOUNT,
                                     .name = span_str(sim_accounts[account]),
                                     .freeze = f.id } };
    check_thawing(account, f.id);
    submit(op, &cmd);
}

void operate_step(void)
{
    uint32_t account = (uint32_t)sim_random(SIM_ACCOUNTS);
    struct op *op = NULL;
    if (sim_random(40) == 0)
        drain((uint32_t)sim_random(sim.n), sim.quiet || sim_random(4) > 0);
    if (sim.quiet)
        thaw_found(account);
    if (sim.quiet || sim_random(30) > 0)
        return;
    switch (sim_random(6)) {
    case 0:
    case 1:
    case 2:
        if (!busy(OP_FREEZE, account) && (op = op_new(OP_FREEZE, account)) != NULL)
            freeze(op);
        break;
    case 3:
    case 4:
        if ((op = op_new(OP_THAW, account)) != NULL)
            thaw(op);
        break;
    default:
        if (!busy(OP_CHUNK, 0) && !busy(OP_COMMIT, 0) && (op = op_new(OP_CHUNK, 0)) != NULL)
            policy(op);
        break;
    }
}

bool operate_remove(uint32_t server)
{
    struct op *op = op_new(OP_REMOVE, 0);
    if (op == NULL || op->server == server)
        return false;
    struct command cmd = { .type = COMMAND_MEMBER_SET,
                           .member_set = { .by = { .who = SPAN_LIT("op") },
                                           .node = server + 1u,
                                           .state = COMMAND_MEMBER_REMOVED } };
    sim.servers[server].removed = true;
    submit(op, &cmd);
    return true;
}

/* ---- being answered --------------------------------------------------------------------------------------
 */

static int add_row(void *arg, const struct machine_session *s)
{
    struct op *op = arg;
    ensure(op->nrows < ROWS);
    if (s->opened_index <= op->index) {
        op->rows[op->nrows].session = s->id;
        op->rows[op->nrows].node = s->node;
        op->rows[op->nrows++].settled = false;
    }
    return 0;
}

static void frozen(struct op *op, const struct machine_result *r)
{
    op->state = AWAITED;
    op->freeze = r->id;
    op->index = r->id / COMMAND_ENTRY_MAX;
    op->nrows = 0;
    op->asked_ns = 0;
    uint64_t *known = ids[op->account];
    memmove(known + 1, known, (IDS - 1) * sizeof *known);
    memmove(thawing[op->account] + 1, thawing[op->account], IDS - 1);
    known[0] = op->freeze;
    thawing[op->account][0] = false;
}

static void answer_cb(void *ctx, int err, const struct machine_result *r)
{
    struct op *op = ctx;
    sim_step(SIM_STEP_OPERATE, op->server, 256 + (uint64_t)(uint32_t)err);
    if (err == ERR_TIMEOUT && op->kind == OP_FREEZE)
        check_never(op->number);
    if (err != 0) {
        op->state = err == ERR_TIMEOUT || op->kind != OP_FREEZE ? FREE : UNKNOWN;
        op->session = session_of(&sim.servers[op->server]);
        return;
    }
    op->state = FREE;
    if (r->err != 0)
        return;
    if (op->kind == OP_FREEZE)
        frozen(op, r);
    else if (op->kind == OP_CHUNK)
        commit(op);
    else if (op->kind == OP_REMOVE)
        check_sums.removed++;
}

/* ---- waiting until it is obeyed --------------------------------------------------------------------------
 */

static void ask(struct sim_server *s, struct op *op)
{
    op->asked_ns = sim.now_ns;
    for (uint32_t i = 0; i < op->nrows; i++) {
        if (op->rows[i].settled || op->rows[i].node == server_id(s))
            continue;
        struct sim_packet *p = net_new(SIM_ASK, s->i, (uint32_t)op->rows[i].node - 1, span_of(NULL, 0));
        p->index = op->index;
        net_send(p);
    }
}

static void await(struct sim_server *s, struct op *op)
{
    struct machine_session found;
    uint32_t waits = 0;
    if (machine_applied(s->m) < op->index)
        return;
    if (op->nrows == 0)
        machine_sessions_each(s->m, add_row, op);
    for (uint32_t i = 0; i < op->nrows; i++) {
        bool own = op->rows[i].session == session_of(s) && agent_published(s->agent) >= op->index;
        op->rows[i].settled =
            op->rows[i].settled || own || !machine_session_find(s->m, op->rows[i].session, &found);
        waits += !op->rows[i].settled;
    }
    if (waits > 0) {
        if (sim.now_ns - op->asked_ns >= 500 * SIM_MS)
            ask(s, op);
        return;
    }
    op->state = FREE;
    check_sums.returned++;
    check_obeyed(op->account, op->index);
    server_at(s->i);
    for (int k = 0; k < IDS; k++)
        if (ids[op->account][k] == op->freeze && !thawing[op->account][k])
            check_frozen(op->account, op->freeze,
                         op->for_ms == 0 ? INT64_MAX
                                         : op->issued_ns + (int64_t)op->for_ms * SIM_MS / 100 * 99);
}

void operate_told(struct sim_server *s, uint32_t node, uint64_t session, uint64_t published)
{
    for (int i = 0; i < OPS; i++) {
        struct op *op = &ops[i];
        if (op->state != AWAITED || op->server != s->i || published < op->index)
            continue;
        for (uint32_t k = 0; k < op->nrows; k++)
            if (op->rows[k].node == node + 1u && op->rows[k].session == session)
                op->rows[k].settled = true;
    }
}

void operate_poll(struct sim_server *s)
{
    for (int i = 0; i < OPS; i++) {
        struct op *op = &ops[i];
        if (op->server != s->i)
            continue;
        if (op->state == AWAITED)
            await(s, op);
        else if (op->state == UNKNOWN &&
                 (session_of(s) > op->session || (sim.quiet && sim.now_ns - op->issued_ns > UNKNOWN_NS)))
            op->state = FREE;
    }
}

void operate_drop(uint32_t server)
{
    for (int i = 0; i < OPS; i++)
        if (ops[i].server == server && ops[i].state != FREE) {
            /* The next session is another one than what the process had, or was about to get. */
            ops[i].session = session_of(&sim.servers[server]);
            ops[i].state = ops[i].state == AWAITED || ops[i].kind != OP_FREEZE ? FREE : UNKNOWN;
        }
}

void operate_begin(void)
{
    memset(ops, 0, sizeof ops);
    memset(ids, 0, sizeof ids);
    memset(thawing, 0, sizeof thawing);
    numbers = 0;
}
