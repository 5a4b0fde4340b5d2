/* Commands on their way: numbered within the session, repeated under the same number until they are answered,
 * given up only by a command that cancels the number. At most a window of numbers is open, since the machine
 * keeps no more results than that.
 */
#include "base/ensure.h"
#include "base/err.h"
#include "node/ledger/agent_impl.h"

#include <stdlib.h>

#define RESEND_MAX_MS 1000

struct agent_op *agent_op_new(struct agent *a, uint8_t kind)
{
    bool free_pass = kind == AGENT_OP_CANCEL || kind == AGENT_OP_RENEW || kind == AGENT_OP_CLOSE;
    if (a->nops >= a->config.max_in_flight && !free_pass)
        return NULL;
    struct agent_op *op = calloc(1, sizeof *op);
    if (op == NULL)
        return NULL;
    op->kind = kind;
    op->made_ns = agent_now(a);
    op->interval_ms = a->config.resend_ms;
    a->nops++;
    a->nqueued++;
    if (kind == AGENT_OP_RENEW || kind == AGENT_OP_CANCEL)
        list_push_front(&a->queued, &op->link); /* the session must not wait behind what needs it */
    else
        list_push_back(&a->queued, &op->link);
    return op;
}

void agent_op_free(struct agent *a, struct agent_op *op)
{
    list_remove(&op->link);
    if (op->seq == 0)
        a->nqueued--;
    if (op->cancel != NULL)
        op->cancel->target = NULL;
    if (op->target != NULL)
        op->target->cancel = NULL;
    if (op->kind == AGENT_OP_SUBMIT)
        free(op->submit.bytes);
    a->nops--;
    free(op);
}

/* ---- sending ------------------------------------------------------------------------------------------- */

void agent_flush(struct agent *a)
{
    if (a->nout > 0) {
        a->config.send(a->config.ctx, buf_span(&a->out), a->nout);
        a->nout = 0;
        a->flushed++;
    }
    buf_reset(&a->out);
    buf_shrink(&a->out, 64u << 10);
}

void agent_emit(struct agent *a, const struct command *cmd)
{
    if (a->nout >= COMMAND_ENTRY_MAX || a->out.len >= COMMAND_ENTRY_BYTES)
        agent_flush(a);
    size_t before = a->out.len;
    if (command_encode(cmd, &a->out) == 0 && buf_err(&a->out) == 0) {
        a->nout++;
    } else {
        a->out.len = before; /* no memory now: it is sent again anyway */
        a->out.err = 0;
    }
}

static void op_encode(struct agent *a, struct agent_op *op)
{
    struct command cmd = { .type = 0 };
    switch (op->kind) {
    case AGENT_OP_RENEW:
        cmd.type = COMMAND_SESSION_RENEW;
        cmd.session_renew =
            (struct command_session_renew){ .number = op->number, .published = agent_published(a) };
        break;
    case AGENT_OP_GRANT:
        cmd.type = op->grant.sender->class & COMMAND_STREAM ? COMMAND_GRANT_STREAM : COMMAND_GRANT;
        cmd.grant = (struct command_grant){ .account = op->grant.sender->account,
                                            .tenant = op->grant.sender->tenant,
                                            .class = op->grant.sender->class & (uint8_t)~COMMAND_STREAM,
                                            .need = op->grant.need,
                                            .want = op->grant.want };
        break;
    case AGENT_OP_RETURN:
        cmd.type = COMMAND_RETURN;
        cmd.ret.n = op->ret.n;
        memcpy(cmd.ret.item, op->ret.items, op->ret.n * sizeof op->ret.items[0]);
        break;
    case AGENT_OP_CANCEL:
        cmd.type = COMMAND_CANCEL;
        cmd.cancel.seq = op->target != NULL ? op->target->seq : op->number;
        break;
    case AGENT_OP_SUBMIT: {
        struct cursor c;
        cursor_init(&c, op->submit.bytes, op->submit.nbytes);
        ensure(command_decode(&c, &cmd) == 0);
        break;
    }
    case AGENT_OP_CLOSE:
        cmd.type = COMMAND_SESSION_CLOSE;
        break;
    default:
        ensure_failed("a kind of command", __FILE__, __LINE__);
    }
    cmd.origin = (struct command_origin){ .session = op->session, .seq = op->seq, .lowest = a->lowest };
    agent_emit(a, &cmd);
}

static void op_send(struct agent *a, struct agent_op *op, int64_t now)
{
    op_encode(a, op);
    op->next_ns = now + agent_ms(op->interval_ms);
    op->interval_ms = 2 * op->interval_ms > RESEND_MAX_MS ? RESEND_MAX_MS : 2 * op->interval_ms;
}

static void on_gathered(uv_timer_t *timer)
{
    (void)timer; /* a turn of the loop: what was gathered goes out */
}

/* Each batch costs all nodes some wake-ups, a write and a sync, however little is in it. The first goes at
 * once; what follows closely gathers. Busy nodes need half the processor time for it, and their slowest
 * answers come sooner. */
static bool gathers(struct agent *a, int64_t now)
{
    if (now - a->sent_ns >= agent_ms(a->config.gather_ms) || a->nqueued >= COMMAND_ENTRY_MAX)
        return false;
    if (a->config.loop != NULL && !uv_is_active((uv_handle_t *)&a->timer))
        uv_timer_start(&a->timer, on_gathered, a->config.gather_ms, 0);
    return true;
}

static bool urgent(const struct agent_op *op)
{
    return op->kind == AGENT_OP_CANCEL || op->kind == AGENT_OP_RENEW;
}

/* Gives numbers to what is queued, as far as the window is open. */
static void pump(struct agent *a, int64_t now)
{
    if (a->session.id == 0 || a->nqueued == 0)
        return;
    bool wait = !a->closing && gathers(a, now);
    LIST_EACH_SAFE(pos, &a->queued)
    {
        struct agent_op *op = LIST_ITEM(pos, struct agent_op, link);
        uint64_t open = a->next_seq - a->lowest;
        if (open >= AGENT_WINDOW - 1 || ((open >= AGENT_WINDOW_OURS || wait) && !urgent(op)))
            break;
        list_remove(&op->link);
        a->nqueued--;
        list_push_back(&a->in_flight, &op->link);
        op->session = a->session.id;
        op->seq = a->next_seq++;
        op->first = (struct ledger_validity){ .until_ns = now,
                                              .ahead_ms = a->config.wall_ms() - now / LEDGER_NS_PER_MS };
        if (op->kind == AGENT_OP_CANCEL && op->target != NULL)
            op->number = op->target->seq; /* the target may be answered before its cancel is */
        a->window[op->seq % AGENT_WINDOW] = op;
        op_send(a, op, now);
        a->sent_ns = now;
    }
}

void agent_flight_tick(struct agent *a)
{
    int64_t now = agent_now(a);
    pump(a, now);
    if (a->session.id == 0 || now < a->scan_ns)
        return;
    a->scan_ns = now + agent_ms(AGENT_SCAN_MS);
    LIST_EACH_SAFE(pos, &a->in_flight)
    {
        struct agent_op *op = LIST_ITEM(pos, struct agent_op, link);
        if (op->kind == AGENT_OP_GRANT && op->cancel == NULL && list_empty(&op->grant.sender->questions) &&
            now - op->first.until_ns >= agent_ms(AGENT_GRANT_WAIT_MS))
            agent_flight_give_up(a, op);
        if (now < op->next_ns || op->cancel != NULL)
            continue;
        a->stats.resent++;
        op_send(a, op, now);
    }
    pump(a, now);
}

void agent_flight_resend_all(struct agent *a)
{
    a->scan_ns = 0;
    LIST_EACH(pos, &a->in_flight)
    {
        struct agent_op *op = LIST_ITEM(pos, struct agent_op, link);
        op->next_ns = 0;
        op->interval_ms = a->config.resend_ms;
    }
}

/* Its number is blocked by a command; until that is answered it may still turn out to have happened. */
void agent_flight_give_up(struct agent *a, struct agent_op *op)
{
    if (op->cancel != NULL)
        return;
    struct agent_op *cancel = agent_op_new(a, AGENT_OP_CANCEL);
    if (cancel == NULL)
        return; /* asked again at the next turn */
    cancel->target = op;
    op->cancel = cancel;
    a->stats.cancelled++;
}

/* ---- answers ------------------------------------------------------------------------------------------- */

static void unnumber(struct agent *a, const struct agent_op *op)
{
    if (op->session != a->session.id || op->seq == 0)
        return;
    a->window[op->seq % AGENT_WINDOW] = NULL;
    while (a->lowest < a->next_seq && a->window[a->lowest % AGENT_WINDOW] == NULL)
        a->lowest++;
}

static void note_time(struct agent *a, const struct agent_op *op)
{
    a->times_us[a->at_time] = (agent_now(a) - op->made_ns) / 1000;
    a->at_time = (a->at_time + 1) % AGENT_TIMES;
    if (a->ntimes < AGENT_TIMES)
        a->ntimes++;
}

/* It is known that it did not happen and will not. */
static void op_void(struct agent *a, struct agent_op *op)
{
    switch (op->kind) {
    case AGENT_OP_GRANT:
        agent_sender_lost(a, op);
        break;
    case AGENT_OP_RETURN:
        agent_grant_unreturned(a, op, op->blind);
        break;
    case AGENT_OP_SUBMIT:
        agent_submit_answer(op, ERR_TIMEOUT, NULL);
        break;
    default:
        break;
    }
    agent_op_free(a, op);
}

static void cancel_answered(struct agent *a, struct agent_op *cancel, const struct machine_result *r)
{
    struct agent_op *op = cancel->target;
    if (op == NULL)
        return;
    op->cancel = NULL;
    cancel->target = NULL;
    if (r->err == 0 && r->count == 1) {
        unnumber(a, op);
        list_remove(&op->link);
        op_void(a, op);
    } else { /* it came first: its repeat gets the answer */
        a->scan_ns = 0;
        op->next_ns = 0;
        op->interval_ms = a->config.resend_ms;
        if (op->kind == AGENT_OP_SUBMIT)
            op->submit.until_ns = INT64_MAX;
    }
}

static void op_answered(struct agent *a, struct agent_op *op, const struct machine_result *r)
{
    unnumber(a, op);
    list_remove(&op->link);
    switch (op->kind) {
    case AGENT_OP_RENEW:
        agent_renew_result(a, op, r);
        break;
    case AGENT_OP_GRANT:
        note_time(a, op);
        agent_sender_result(a, op, r);
        break;
    case AGENT_OP_RETURN:
        agent_grant_returned(a, op);
        break;
    case AGENT_OP_CANCEL:
        cancel_answered(a, op, r);
        break;
    case AGENT_OP_SUBMIT:
        agent_submit_answer(op, 0, r);
        break;
    case AGENT_OP_CLOSE:
        agent_session_end(a);
        break;
    default:
        break;
    }
    agent_op_free(a, op);
}

static void answered(struct agent *a, struct agent_op *op, const struct machine_result *r)
{
    if (r->err != 0 && r->why == MACHINE_REFUSED_SESSION) {
        agent_session_end(a);
    } else if (r->err == ERR_CLOSED &&
               op->cancel != NULL) { /* the cancel came first; its own answer comes too */
        unnumber(a, op);
        list_remove(&op->link);
        op_void(a, op);
    } else {
        op_answered(a, op, r);
    }
}

void agent_flight_result(struct agent *a, const struct command_origin *origin, const struct machine_result *r)
{
    if (origin->session != a->session.id || a->session.id == 0) {
        LIST_EACH(pos, &a->orphans)
        {
            struct agent_op *op = LIST_ITEM(pos, struct agent_op, link);
            if (op->session != origin->session || op->seq != origin->seq)
                continue;
            if (r->why != MACHINE_REFUSED_SESSION)
                answered(a, op, r);
            return;
        }
        return;
    }
    if (origin->seq < a->lowest || origin->seq >= a->next_seq)
        return; /* answered before */
    struct agent_op *op = a->window[origin->seq % AGENT_WINDOW];
    if (op == NULL)
        return;
    answered(a, op, r);
}

/* ---- the end of a session ------------------------------------------------------------------------------ */

void agent_flight_orphan(struct agent *a)
{
    list_splice(&a->orphans, &a->in_flight);
    memset(a->window, 0, sizeof a->window);
    a->next_seq = a->lowest = 1;
    /* Renewals and cancels that were not sent yet mean nothing to the next session. */
    LIST_EACH_SAFE(pos, &a->queued)
    {
        struct agent_op *op = LIST_ITEM(pos, struct agent_op, link);
        if (op->kind == AGENT_OP_RENEW || op->kind == AGENT_OP_CANCEL || op->kind == AGENT_OP_CLOSE)
            agent_op_free(a, op);
    }
}

void agent_flight_settle_orphans(struct agent *a)
{
    struct list orphans;
    list_init(&orphans);
    list_splice(&orphans, &a->orphans);
    for (struct list *link; (link = list_pop_front(&orphans)) != NULL;) {
        struct agent_op *op = LIST_ITEM(link, struct agent_op, link);
        if (op->kind == AGENT_OP_SUBMIT && !op->submit.told && !op->blind &&
            agent_now(a) < op->submit.until_ns) {
            op->session = op->seq = 0; /* it did not happen: once more, in the new session */
            op->interval_ms = a->config.resend_ms;
            list_push_back(&a->queued, &op->link);
            a->nqueued++;
        } else if (op->kind == AGENT_OP_SUBMIT && op->blind) {
            agent_submit_answer(op, ERR_CLOSED, NULL);
            agent_op_free(a, op);
        } else {
            op_void(a, op);
        }
    }
}

void agent_flight_blind(struct agent *a)
{
    struct list *lists[] = { &a->in_flight, &a->orphans };
    for (int i = 0; i < 2; i++)
        LIST_EACH(pos, lists[i])
    LIST_ITEM(pos, struct agent_op, link)->blind = true;
}
