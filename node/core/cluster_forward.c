/* Commands on their way to the leader, and their results on the way back. A lost one is made again by the
 * agent that wants it, so nothing here waits. The cluster thread.
 */
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster_impl.h"

#define CHUNK_BYTES (512u << 10) /* of one message to the leader: less than gossip carries */
#define RESULTS_BYTES (256u << 10)

/* ---- to the leader ------------------------------------------------------------------------------------- */

static void send_chunk(struct cluster *c, struct span commands, uint32_t n)
{
    struct buf out;
    if (n == 0)
        return;
    buf_init(&out, GOSSIP_MESSAGE_MAX);
    buf_put_u32(&out, n);
    buf_put_span(&out, commands);
    int err = buf_err(&out);
    if (err == 0)
        err = gossip_send(c->gossip, c->leader, CLUSTER_MESSAGE_PROPOSE, buf_span(&out));
    if (err != 0)
        log_debug("cluster", "%u commands do not reach the leader now: %s", n, err_text(err));
    buf_fini(&out);
}

static void send_to_leader(struct cluster *c, struct span commands, uint32_t n)
{
    if (commands.n <= CHUNK_BYTES) {
        send_chunk(c, commands, n);
        return;
    }
    struct cursor cur;
    cursor_init(&cur, commands.p, commands.n);
    size_t from = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct command cmd;
        size_t at = commands.n - cursor_left(&cur);
        if (command_decode(&cur, &cmd) != 0)
            return;
        size_t end = commands.n - cursor_left(&cur);
        if (count > 0 && end - from > CHUNK_BYTES) {
            send_chunk(c, span_of(commands.p + from, at - from), count);
            from = at;
            count = 0;
        }
        count++;
    }
    send_chunk(c, span_of(commands.p + from, commands.n - from), count);
}

void cluster_send(void *ctx, struct span commands, uint32_t n)
{
    struct cluster *c = ctx;
    if (c->replica == NULL || n == 0)
        return;
    if (c->role == REPLICA_LEADER) {
        int err = replica_propose(c->replica, commands, n);
        if (err != 0)
            log_debug("cluster", "%u commands are not proposed now: %s", n, err_text(err));
    } else if (c->leader != 0 && c->gossip != NULL) {
        send_to_leader(c, commands, n);
    }
}

int cluster_propose(struct cluster *c, const struct command *cmd)
{
    struct buf out;
    buf_init(&out, COMMAND_BYTES_MAX);
    int err = command_encode(cmd, &out);
    if (err == 0)
        err = replica_propose(c->replica, buf_span(&out), 1);
    buf_fini(&out);
    return err;
}

bool cluster_may_propose(const struct machine *m, uint64_t from, const struct command *cmd)
{
    struct machine_session s;
    if (cmd->type == COMMAND_SESSION_OPEN)
        return cmd->session_open.node == from;
    if (cmd->type == COMMAND_CLUSTER_INIT || cmd->origin.session == 0)
        return false;
    /* One that is not known any more gets its refusal from the machine. */
    return !machine_session_find(m, cmd->origin.session, &s) || s.node == from;
}

void cluster_on_propose(struct cluster *c, uint64_t from, struct span payload)
{
    struct cursor cur;
    cursor_init(&cur, payload.p, payload.n);
    uint32_t n = cursor_u32(&cur);
    if (c->role != REPLICA_LEADER || !c->ready)
        return; /* it finds out, and sends again */
    struct span commands = span_of(cur.p, cursor_left(&cur));
    for (uint32_t i = 0; i < n; i++) {
        struct command cmd;
        int err = command_decode(&cur, &cmd);
        if (err == 0 && (!cluster_may_propose(c->m, from, &cmd) ||
                         command_type_level(cmd.type) > machine_features(c->m)))
            err = ERR_DENIED;
        if (err != 0) { /* what cannot be read must never get into the log */
            log_warn("cluster", "node %llu sends a command that is not its to send: %s",
                     (unsigned long long)from, err_text(err));
            return;
        }
    }
    if (n == 0 || cursor_left(&cur) != 0 || cursor_err(&cur) != 0)
        return;
    int err = replica_propose(c->replica, commands, n);
    if (err != 0)
        log_debug("cluster", "%u commands of node %llu are not proposed now: %s", n, (unsigned long long)from,
                  err_text(err));
}

/* ---- and back ------------------------------------------------------------------------------------------ */

static struct cluster_out *out_of(struct cluster *c, uint64_t node)
{
    for (uint32_t i = 0; i < c->nouts; i++)
        if (c->outs[i].node == node)
            return &c->outs[i];
    if (c->nouts == CLUSTER_MEMBERS_MAX) { /* of nodes that were removed */
        for (uint32_t i = 0; i < c->nouts; i++)
            if (c->outs[i].n == 0) {
                c->outs[i].node = node;
                return &c->outs[i];
            }
        return NULL;
    }
    struct cluster_out *out = &c->outs[c->nouts++];
    *out = (struct cluster_out){ .node = node };
    buf_init(&out->bytes, RESULTS_BYTES);
    return out;
}

void cluster_forward_result(struct cluster *c, const struct machine_effect *e)
{
    struct machine_session s;
    if (e->origin.session == 0 || !machine_session_find(c->m, e->origin.session, &s) ||
        s.node == c->id.self.node)
        return;
    struct cluster_out *out = out_of(c, s.node);
    if (out == NULL)
        return;
    buf_put_u8(&out->bytes, e->command);
    buf_put_u64(&out->bytes, e->origin.session);
    buf_put_u64(&out->bytes, e->origin.seq);
    (void)machine_result_encode(&e->result, &out->bytes);
    out->n++;
}

void cluster_forward_flush(struct cluster *c, uint64_t index)
{
    for (uint32_t i = 0; i < c->nouts; i++) {
        struct cluster_out *out = &c->outs[i];
        if (out->n == 0)
            continue;
        struct buf msg;
        buf_init(&msg, RESULTS_BYTES + 64);
        buf_put_u64(&msg, index);
        buf_put_u32(&msg, out->n);
        buf_put_span(&msg, buf_span(&out->bytes));
        if (buf_err(&out->bytes) == 0 && buf_err(&msg) == 0)
            (void)gossip_send(c->gossip, out->node, CLUSTER_MESSAGE_RESULT,
                              buf_span(&msg)); /* it applies them anyway */
        buf_fini(&msg);
        buf_reset(&out->bytes);
        out->n = 0;
    }
}

void cluster_on_result(struct cluster *c, uint64_t from, struct span payload)
{
    struct cursor cur;
    cursor_init(&cur, payload.p, payload.n);
    uint64_t index = cursor_u64(&cur);
    uint32_t n = cursor_u32(&cur);
    /* Only whom we ask: a node that led once may tell what nobody else will ever have. */
    if (from != c->leader || cursor_err(&cur) != 0)
        return;
    for (uint32_t i = 0; i < n; i++) {
        struct machine_result r;
        uint8_t command = cursor_u8(&cur);
        struct command_origin origin = { .session = cursor_u64(&cur) };
        origin.seq = cursor_u64(&cur);
        if (cursor_err(&cur) != 0 || machine_result_decode(&cur, &r) != 0)
            return;
        c->effect_index = index;
        agent_on_result(c->agent, &origin, command, &r);
    }
    c->poll_due = true;
}

void cluster_forward_fini(struct cluster *c)
{
    for (uint32_t i = 0; i < c->nouts; i++)
        buf_fini(&c->outs[i].bytes);
}
