/* Other people's commands under this node's session. The caller hears once: the result, that it did not and
 * will not happen, or that this cannot be known.
 */
#include "base/err.h"
#include "node/ledger/agent_impl.h"

#include <stdlib.h>

int agent_submit(struct agent *a, struct command *cmd, int64_t timeout_ms, agent_cb *cb, void *ctx)
{
    if (a->closing)
        return ERR_CLOSED;
    struct buf bytes;
    buf_init(&bytes, COMMAND_BYTES_MAX + 1024);
    cmd->origin = (struct command_origin){ .session = a->session.id };
    int err = command_encode(cmd, &bytes);
    if (err == 0)
        err = buf_err(&bytes);
    struct agent_op *op = err == 0 ? agent_op_new(a, AGENT_OP_SUBMIT) : NULL;
    if (op == NULL) {
        buf_fini(&bytes);
        return err != 0 ? err : ERR_LIMIT;
    }
    op->submit.bytes = bytes.data;
    op->submit.nbytes = bytes.len;
    op->submit.until_ns = agent_now(a) + agent_ms(timeout_ms);
    op->submit.cb = cb;
    op->submit.ctx = ctx;
    a->stats.submitted++;
    return 0; /* it goes out at the end of this turn: the caller may be a callback of ours */
}

void agent_submit_answer(struct agent_op *op, int err, const struct machine_result *r)
{
    if (op->submit.told)
        return;
    op->submit.told = true;
    if (op->submit.cb != NULL)
        op->submit.cb(op->submit.ctx, err, r);
}

void agent_submit_tick(struct agent *a)
{
    int64_t now = agent_now(a);
    LIST_EACH_SAFE(pos, &a->queued)
    {
        struct agent_op *op = LIST_ITEM(pos, struct agent_op, link);
        if (op->kind != AGENT_OP_SUBMIT || now < op->submit.until_ns)
            continue;
        agent_submit_answer(op, ERR_TIMEOUT, NULL); /* never sent, or known not to have happened */
        agent_op_free(a, op);
    }
    struct list *sent[] = { &a->in_flight, &a->orphans };
    for (int i = 0; i < 2; i++)
        LIST_EACH_SAFE(pos, sent[i])
        {
            struct agent_op *op = LIST_ITEM(pos, struct agent_op, link);
            if (op->kind != AGENT_OP_SUBMIT || op->submit.told || now < op->submit.until_ns)
                continue;
            if (i == 0)
                agent_flight_give_up(a, op);
            if (now - op->submit.until_ns >= agent_ms(AGENT_CANCEL_WAIT_MS))
                agent_submit_answer(op, ERR_CLOSED, NULL);
        }
}
