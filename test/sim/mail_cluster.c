/* What mail that moves needs of the cluster: as node/core/cluster_transfer.c, on the simulated network. A
 * struct cluster is the simulated server itself. Questions and answers go in order over a connection, as in
 * gossip/: lost with it, never twice.
 */
#define SIM_STREAM SIM_STREAM_MAIL
#include "test/sim/mail.h"

#include "gossip/gossip.h"
#include "gossip/gossip_health.h"

#include "node/core/look.h"
#include "node/core/steps.h"

#include <stdarg.h>
#include <stdlib.h>

#define CALL_MS 5000 /* CLUSTER_CALL_MS of node/core */
#define BARRIER_AGAIN_MS 200
#define HEARTBEAT_NS (500 * SIM_MS)

enum what { WHAT_TRANSFER, WHAT_BARRIER };

/* A thread waits for it; on its stack. */
struct pending {
    struct list link;
    struct sim_server *s;
    uint32_t to; /* server */
    uint64_t number;
    bool done;
    int err;
    char *bytes; /* the simulation's */
    size_t n;
    struct machine_result result;
    uint64_t index;
};

struct gossip_request { /* the simulation's */
    struct list link;
    struct sim_server *s;
    uint32_t to;
    uint64_t number;
};

struct mail_barrier { /* the simulation's */
    struct raft_barrier req;
    struct list link;
    struct sim_server *s;
    uint32_t to;
    uint64_t number;
};

static struct sim_server *of(struct cluster *c)
{
    return (struct sim_server *)c;
}

/* Nobody's traces are erased here. */
int cluster_erase_again(struct cluster *c, const struct envelope *env)
{
    (void)c;
    (void)env;
    return 0;
}

struct machine *cluster_machine(struct cluster *c)
{
    return of(c)->m;
}

uint64_t cluster_self(struct cluster *c)
{
    return server_id(of(c));
}

uint64_t cluster_transfer_published(struct cluster *c)
{
    return agent_published(of(c)->agent);
}

/* ---- waiting ---------------------------------------------------------------------------------------------
 */

static int64_t after_ms(const struct sim_server *s, int64_t ms)
{
    return s->boot_ns + ms * SIM_MS;
}

static void pend(struct sim_server *s, struct pending *p)
{
    p->s = s;
    p->number = ++sim.nquestions;
    list_push_back(&s->pending, &p->link);
}

/* Back to what was asked, in the thread: `done`, or its time is over. */
static void await(struct pending *p, int64_t until_ns)
{
    while (!p->done && p->s->boot_ns < until_ns)
        (void)thread_wait(p, until_ns);
    list_remove(&p->link);
    if (!p->done)
        p->err = ERR_TIMEOUT;
}

static void answered(struct pending *p, int err)
{
    p->done = true;
    p->err = err;
    threads_wake(p->s, p);
}

static struct pending *pending_find(struct sim_server *s, uint64_t number)
{
    LIST_EACH(link, &s->pending)
    {
        struct pending *p = LIST_ITEM(link, struct pending, link);
        if (p->number == number)
            return p;
    }
    return NULL;
}

void mail_pending_drop(struct sim_server *s)
{
    for (struct list *link; (link = list_pop_front(&s->pending)) != NULL;)
        free(LIST_ITEM(link, struct pending, link)->bytes);
    for (struct list *link; (link = list_pop_front(&s->barriers)) != NULL;)
        free(LIST_ITEM(link, struct mail_barrier, link));
    for (struct list *link; (link = list_pop_front(&s->requests)) != NULL;)
        free(LIST_ITEM(link, struct gossip_request, link));
}

void mail_unanswered(uint32_t server)
{
    for (uint32_t i = 0; i < sim.n; i++)
        LIST_EACH(link, &sim.servers[i].pending)
        {
            struct pending *p = LIST_ITEM(link, struct pending, link);
            if (p->to == server && i != server && !p->done)
                answered(p, ERR_CLOSED);
        }
}

/* ---- questions -------------------------------------------------------------------------------------------
 */

static void send_bytes(struct sim_server *s, enum sim_kind kind, enum what what, uint32_t to, uint64_t number,
                       struct span bytes)
{
    struct sim_packet *p = net_new(kind, s->i, to, bytes);
    p->index = number;
    p->session = what;
    net_send_in_order(p);
}

/* 0 and p->bytes, which the caller frees; or an error. */
static void ask(struct sim_server *s, struct pending *p, enum what what, uint32_t to, struct span question,
                int64_t timeout_ms)
{
    p->to = to;
    if (sim.cut[s->i][to] || !sim.servers[to].alive) {
        p->err = ERR_CLOSED; /* not connected */
        return;
    }
    pend(s, p);
    send_bytes(s, SIM_QUESTION, what, to, p->number, question);
    await(p, after_ms(s, timeout_ms));
}

int cluster_transfer_ask(struct cluster *c, uint64_t node, struct span question, int64_t timeout_ms,
                         struct buf *answer)
{
    struct pending p = { .done = false };
    struct sim_server *was = memory_enter(NULL);
    ask(of(c), &p, WHAT_TRANSFER, (uint32_t)node - 1, question, timeout_ms);
    (void)memory_enter(was);
    int err = p.err != 0 ? p.err : buf_put_span(answer, span_of(p.bytes, p.n));
    free(p.bytes);
    return err;
}

static void reply(struct gossip_request *r, struct span answer)
{
    struct sim_server *was = memory_enter(NULL);
    send_bytes(r->s, SIM_ANSWER, WHAT_TRANSFER, r->to, r->number, answer);
    (void)memory_enter(was);
    list_remove(&r->link);
    free(r);
}

void gossip_answer(struct gossip_request *r, struct span answer)
{
    reply(r, answer);
}

void gossip_ignore(struct gossip_request *r)
{
    reply(r, span_of(NULL, 0));
}

void cluster_transfer_answer(struct cluster *c, struct gossip_request *r, struct span answer)
{
    (void)c;
    reply(r, answer);
}

static void on_barrier_asked(struct sim_server *s, const struct sim_packet *p);

void mail_question(struct sim_server *s, const struct sim_packet *p)
{
    struct directory_member mb;
    if (p->session == WHAT_BARRIER) {
        on_barrier_asked(s, p);
        return;
    }
    bool member = directory_member_find(s->m, p->from + 1u, &mb) && mb.state != COMMAND_MEMBER_REMOVED;
    if (!member || !mail_open(s)) {
        send_bytes(s, SIM_ANSWER, WHAT_TRANSFER, p->from, p->index, span_of(NULL, 0));
        return;
    }
    struct gossip_request *r = calloc(1, sizeof *r);
    *r = (struct gossip_request){ .s = s, .to = p->from, .number = p->index };
    list_push_back(&s->requests, &r->link);
    struct sim_server *was = memory_enter(s);
    transfer_asked(s->mail->node.transfer, r, p->from + 1u, span_of(p->bytes, p->nbytes));
    (void)memory_enter(was);
}

void mail_answer(struct sim_server *s, const struct sim_packet *p)
{
    struct pending *a = pending_find(s, p->index);
    if (a == NULL || a->done)
        return;
    a->n = p->nbytes;
    a->bytes = malloc(p->nbytes + 1);
    if (p->nbytes > 0)
        memcpy(a->bytes, p->bytes, p->nbytes);
    answered(a, p->nbytes == 0 ? ERR_CLOSED : 0);
}

/* ---- barriers --------------------------------------------------------------------------------------------
 */

static void on_barrier(struct raft_barrier *req, int status)
{
    struct mail_barrier *b = req->data;
    struct sim_server *s = b->s;
    char bytes[8];
    uint64_t index = machine_applied(s->m);
    memcpy(bytes, &index, sizeof bytes);
    list_remove(&b->link);
    if (status == 0 && b->to != s->i) {
        send_bytes(s, SIM_ANSWER, WHAT_BARRIER, b->to, b->number, span_of(bytes, sizeof bytes));
    } else if (status == 0) {
        struct pending *p = pending_find(s, b->number);
        if (p != NULL) {
            p->index = index;
            answered(p, 0);
        }
    }
    free(b);
}

static void barrier(struct sim_server *s, uint32_t to, uint64_t number)
{
    struct mail_barrier *b = calloc(1, sizeof *b);
    *b = (struct mail_barrier){ .s = s, .to = to, .number = number, .req = { .data = b } };
    if (!lead_ready(s) || raft_barrier(&s->raft, &b->req, on_barrier) != 0) {
        free(b);
        return;
    }
    list_push_back(&s->barriers, &b->link);
    s->stirred = true;
}

static void on_barrier_asked(struct sim_server *s, const struct sim_packet *p)
{
    barrier(s, p->from, p->index);
}

/* 0: everything up to p->index is what the cluster had when it was asked. */
static void ask_leader(struct sim_server *s, struct pending *p)
{
    p->err = ERR_TIMEOUT;
    if (lead_ready(s)) {
        p->to = s->i;
        pend(s, p);
        barrier(s, s->i, p->number);
        await(p, after_ms(s, BARRIER_AGAIN_MS));
    } else if (s->leader != 0 && s->leader != server_id(s)) {
        ask(s, p, WHAT_BARRIER, (uint32_t)s->leader - 1, span_of(NULL, 0), BARRIER_AGAIN_MS);
        if (p->err == 0)
            memcpy(&p->index, p->bytes, sizeof p->index);
        free(p->bytes);
    }
}

int cluster_transfer_barrier(struct cluster *c)
{
    struct sim_server *s = of(c), *was = memory_enter(NULL);
    int64_t until_ns = after_ms(s, CALL_MS);
    struct pending p = { .err = ERR_TIMEOUT };
    while (p.err != 0 && s->boot_ns < until_ns) {
        p = (struct pending){ .done = false };
        ask_leader(s, &p);
        if (p.err != 0)
            (void)thread_wait(NULL, after_ms(s, BARRIER_AGAIN_MS));
    }
    while (p.err == 0 && machine_applied(s->m) < p.index && s->boot_ns < until_ns)
        (void)thread_wait(NULL, s->boot_ns + SIM_STEP_NS);
    if (p.err == 0 && machine_applied(s->m) < p.index)
        p.err = ERR_TIMEOUT;
    (void)memory_enter(was);
    return p.err;
}

/* ---- commands --------------------------------------------------------------------------------------------
 */

static void submitted_cb(void *ctx, int err, const struct machine_result *r)
{
    struct pending *p = ctx;
    if (r != NULL)
        p->result = *r;
    p->index = p->s->effect_index;
    answered(p, err);
}

int admin_fail(struct admin_error *e, int err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    return err;
}

/* The agent answers in any case. Then this node is to have applied it. */
int cluster_transfer_submit(struct cluster *c, struct command *cmd, struct admin_error *e)
{
    struct sim_server *s = of(c), *was = memory_enter(NULL);
    struct pending p = { .done = false };
    pend(s, &p);
    p.to = s->i;
    int64_t until_ns = after_ms(s, CALL_MS + 1000);
    int err = agent_submit(s->agent, cmd, CALL_MS - 300, submitted_cb, &p);
    if (err == 0) {
        s->stirred = true;
        await(&p, INT64_MAX);
        err = p.err;
    } else {
        list_remove(&p.link);
    }
    if (err == 0 && p.result.err != 0) {
        err = p.result.err;
        snprintf(e->text, sizeof e->text, "%s", p.result.words);
    } else if (err != 0) {
        snprintf(e->text, sizeof e->text, "no majority");
    }
    while (err == 0 && machine_applied(s->m) < p.index) {
        if (s->boot_ns >= until_ns)
            err = admin_fail(e, ERR_TIMEOUT, "not heard in time");
        else
            (void)thread_wait(NULL, s->boot_ns + SIM_STEP_NS);
    }
    (void)memory_enter(was);
    return err;
}

/* ---- who is there ----------------------------------------------------------------------------------------
 */

static const struct gossip_health_rule rule = { .suspect_ms = 2000, .dead_ms = 10000, .step_max_ms = 1000 };

void mail_pulses_begin(struct sim_server *s)
{
    for (uint32_t i = 0; i < sim.n; i++)
        gossip_pulse_init(&s->pulses[i], s->boot_ns / SIM_MS);
    s->heartbeat_due_ns = s->boot_ns;
}

bool mail_pulses_turn(struct sim_server *s)
{
    struct buf b;
    struct gossip_state state = { .node = server_id(s), .applied = machine_applied(s->m) };
    if (s->boot_ns < s->heartbeat_due_ns)
        return false;
    s->heartbeat_due_ns = s->boot_ns + HEARTBEAT_NS;
    sim_step(SIM_STEP_TIMER, s->i, 3);
    buf_init(&b, 4096);
    ensure(gossip_state_encode(&state, &b) == 0);
    for (uint32_t i = 0; i < sim.n; i++) {
        if (i == s->i)
            continue;
        net_send(net_new(SIM_HEARTBEAT, s->i, i, buf_span(&b)));
        (void)gossip_pulse_step(&s->pulses[i], &rule, s->boot_ns / SIM_MS);
        mail_check_pulse(s, i);
    }
    buf_fini(&b);
    return true;
}

void mail_pulse(struct sim_server *s, const struct sim_packet *p)
{
    struct gossip_state state;
    ensure(gossip_state_decode(span_of(p->bytes, p->nbytes), &state) == 0);
    ensure(state.node == p->from + 1u);
    (void)gossip_pulse_heard(&s->pulses[p->from], s->boot_ns / SIM_MS);
    s->heard_ns[p->from] = s->boot_ns;
}

struct peers {
    struct sim_server *s;
    struct cluster_transfer_peer *out;
    uint32_t max, n;
};

static int add_peer(void *arg, const struct directory_member *mb)
{
    struct peers *p = arg;
    if (mb->state == COMMAND_MEMBER_REMOVED || mb->id == server_id(p->s) || p->n == p->max)
        return 0;
    bool alive = mb->id <= sim.n && p->s->pulses[mb->id - 1].health == GOSSIP_ALIVE;
    p->out[p->n++] = (struct cluster_transfer_peer){ .node = mb->id,
                                                     .active = mb->state == COMMAND_MEMBER_ACTIVE && alive };
    return 0;
}

int cluster_transfer_peers(struct cluster *c, struct cluster_transfer_peer *out, uint32_t max, uint32_t *n)
{
    struct peers p = { .s = of(c), .out = out, .max = max };
    (void)directory_member_each(of(c)->m, add_peer, &p);
    *n = p.n;
    return 0;
}

void steps_arrived(struct node *n, uint64_t id, const char *from)
{
    (void)n; /* it would note nothing: there is no history here */
    (void)id;
    (void)from;
}

/* Only with a history, of which there is none here. */
void history_note(struct history *h, const struct envelope *env, const struct history_rcpt *rcpts, uint32_t n)
{
    (void)h;
    (void)env;
    (void)rcpts;
    (void)n;
    ensure_failed("no history", __FILE__, __LINE__);
}

/* Only for operators, who ask in another way here: mail_move_some. */
int look_all(struct node *n, const struct admin_selector *sel, uint64_t after, uint32_t after_rcpt,
             admin_row_fn *fn, void *arg)
{
    (void)n;
    (void)sel;
    (void)after;
    (void)after_rcpt;
    (void)fn;
    (void)arg;
    ensure_failed("nobody selects", __FILE__, __LINE__);
}
