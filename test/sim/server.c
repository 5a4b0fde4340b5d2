/* A process and its loops. */
#define SIM_STREAM SIM_STREAM_PROCESS
#include "test/sim/mail.h"

#include <stdlib.h>

static struct sim_server *here;

static int64_t boot_ns(void)
{
    return here->boot_ns;
}

static int64_t wall_ms(void)
{
    return here->wall_ns / SIM_MS;
}

static void random_bytes(void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)p)[i] = (uint8_t)sim_random(256);
}

struct sim_server *server_at(uint32_t i)
{
    here = &sim.servers[i];
    memory_of(here);
    return here;
}

struct sim_server *server_here(void)
{
    return here;
}

void server_nowhere(void)
{
    here = NULL;
}

bool server_up(const struct sim_server *s)
{
    return s->alive && !s->paused;
}

/* ---- the frozen list -------------------------------------------------------------------------------------
 */

static uint32_t frozen_now(const struct sim_server *s)
{
    uint32_t bits = 0;
    struct machine_frozen f;
    for (uint32_t i = 0; i < SIM_ACCOUNTS; i++)
        if (machine_frozen_find(s->m, COMMAND_SCOPE_ACCOUNT, span_str(sim_accounts[i]), &f) ||
            machine_frozen_find(s->m, COMMAND_SCOPE_TENANT, span_str(sim_tenants[i]), &f))
            bits |= 1u << i;
    return bits;
}

/* To every worker, each of which acts on it when it gets round to it. */
static void frozen_publish(struct sim_server *s)
{
    s->frozen_dirty = false;
    for (int i = 0; i < SIM_WORKERS; i++) {
        struct sim_view *coming = &s->workers[i].coming;
        int64_t due_ns = coming->due_ns != 0 ? coming->due_ns : sim.now_ns + sim_ms(30);
        *coming = (struct sim_view){ machine_applied(s->m), frozen_now(s), due_ns };
    }
}

static void worker_turn(struct sim_server *s, struct sim_worker *w)
{
    if (w->coming.due_ns != 0 && w->coming.due_ns <= sim.now_ns) {
        address_obey(s, (uint32_t)(w - s->workers)); /* it is in order behind what came before */
        w->view = w->coming;
        w->coming.due_ns = 0;
        if (w == &s->workers[0])
            mail_frozen(s);
        sim_step(SIM_STEP_TIMER, s->i, w->view.index);
        ledger_worker_publish(w->w, w->view.index);
    }
}

/* ---- begin and end ---------------------------------------------------------------------------------------
 */

void server_begin(struct sim_server *s)
{
    char address[16];
    server_at(s->i);
    snprintf(address, sizeof address, "%u", s->i + 1);
    if (sim_random(3) == 0) /* the machine too */
        s->boot_ns = sim_ms(1000000);
    list_init(&s->memory);
    list_init(&s->blocks);
    list_init(&s->threads);
    list_init(&s->pending);
    list_init(&s->requests);
    list_init(&s->barriers);
    s->m = machine_new(&(struct machine_config){ 0 });
    s->lease = lease_new();
    machine_effects_init(&s->effects);
    buf_init(&s->gathered, 2u << 20);
    buf_init(&s->take.bytes, 1u << 28);
    lead_fsm(s);
    disk_io(s);
    ensure(raft_init(&s->raft, &s->io, &s->fsm, server_id(s), address) == 0);
    raft_set_election_timeout(&s->raft, 500);
    raft_set_heartbeat_timeout(&s->raft, 50);
    raft_set_install_snapshot_timeout(&s->raft, 2000);
    raft_set_snapshot_threshold(&s->raft, sim.threshold);
    raft_set_snapshot_trailing(&s->raft, sim.trailing);
    raft_set_pre_vote(&s->raft, true);
    ensure(raft_start(&s->raft) == 0);
    s->alive = s->started = true;
    struct agent_config config = { .node = server_id(s),
                                   .machine = s->m,
                                   .send = lead_send,
                                   .ctx = s,
                                   .boot_ns = boot_ns,
                                   .wall_ms = wall_ms,
                                   .random = random_bytes };
    ensure(agent_new(&config, &s->agent) == 0);
    for (int i = 0; i < SIM_WORKERS; i++) {
        struct ledger_worker_config wc = { .agent = s->agent, .boot_ns = boot_ns, .wall_ms = wall_ms };
        s->workers[i] = (struct sim_worker){ 0 };
        ensure(ledger_worker_new(&wc, &s->workers[i].w) == 0);
    }
    frozen_publish(s);
    mail_begin(s);
    address_begin(s);
    mail_pulses_begin(s);
    s->agent_due_ns = s->lead_due_ns = 0;
}

void server_kill(struct sim_server *s)
{
    if (!s->alive)
        return;
    server_at(s->i);
    s->started = false; /* nothing is sent any more */
    load_drop(s->i);
    operate_drop(s->i);
    address_operate_drop(s->i);
    for (int i = 0; i < SIM_WORKERS; i++) {
        ledger_worker_close(s->workers[i].w);
        ledger_worker_free(s->workers[i].w);
        s->workers[i].w = NULL;
    }
    agent_free(s->agent);
    s->agent = NULL;
    s->address = NULL; /* its memory goes with the mail's */
    mail_kill(s);
    mail_unanswered(s->i);
    if (s->taking && s->take.req != NULL)
        machine_snapshot_end(s->m);
    lease_free(s->lease);
    machine_free(s->m);
    machine_effects_fini(&s->effects);
    buf_fini(&s->gathered);
    buf_fini(&s->take.bytes);
    free(s->take.snapshot.conf.bytes);
    memset(&s->take, 0, sizeof s->take);
    disk_crash(s);
    memory_lose(s);
    s->m = NULL;
    s->alive = s->paused = s->vm_paused = s->taking = s->barrier_pending = false;
    s->leader = 0;
    s->ready_term = 0;
    s->ngathered = s->nasked = 0;
}

/* ---- messages --------------------------------------------------------------------------------------------
 */

static void tell(struct sim_server *s, uint32_t node)
{
    struct agent_session session;
    agent_session(s->agent, &session);
    struct sim_packet *p = net_new(SIM_TELL, s->i, node, span_of(NULL, 0));
    p->session = session.id;
    p->published = agent_published(s->agent);
    net_send(p);
}

static void tell_those_who_asked(struct sim_server *s)
{
    for (uint32_t i = 0; i < s->nasked;) {
        if (agent_published(s->agent) < s->asked[i].index) {
            i++;
            continue;
        }
        tell(s, s->asked[i].node);
        s->asked[i] = s->asked[--s->nasked];
    }
}

static void deliver(struct sim_server *s, struct sim_packet *p)
{
    switch (p->kind) {
    case SIM_RAFT:
        net_raft_deliver(s, p);
        break;
    case SIM_COMMANDS:
        lead_propose(s, span_of(p->bytes, p->nbytes), p->n);
        break;
    case SIM_RESULT: /* only whom we ask: one that led once may tell what nobody else will ever have */
        if (p->from + 1 == s->leader) {
            s->effect_index = p->index;
            agent_on_result(s->agent, &p->origin, p->command, &p->result);
        }
        break;
    case SIM_ASK:
        if (agent_published(s->agent) >= p->index)
            tell(s, p->from);
        else if (s->nasked < SIM_ASKED_MAX)
            s->asked[s->nasked++].node = p->from, s->asked[s->nasked - 1].index = p->index;
        break;
    case SIM_TELL:
        operate_told(s, p->from, p->session, p->published);
        break;
    case SIM_HEARTBEAT:
        mail_pulse(s, p);
        break;
    case SIM_QUESTION:
        mail_question(s, p);
        break;
    case SIM_ANSWER:
        mail_answer(s, p);
        break;
    }
}

/* An InstallSnapshot waits until none is being taken: consensus/replica_install.c. */
static bool must_wait(const struct sim_server *s, const struct sim_packet *p)
{
    return p->kind == SIM_RAFT && p->raft.type == RAFT_INSTALL_SNAPSHOT && s->taking;
}

static bool receive(struct sim_server *s)
{
    bool any = false;
    struct sim_packet *held = NULL;
    for (struct sim_packet *p; (p = net_next(s->i)) != NULL; any = true) {
        if (must_wait(s, p)) {
            net_free(held); /* the last one counts */
            held = p;
            continue;
        }
        deliver(s, p);
        net_free(p);
    }
    if (held != NULL)
        ensure(heap_add(&sim.packets[s->i], &held->due, sim.now_ns + SIM_STEP_NS) == 0);
    return any;
}

/* ---- a turn ----------------------------------------------------------------------------------------------
 */

static bool workers_turn(struct sim_server *s)
{
    bool any = false;
    for (int i = 0; i < SIM_WORKERS; i++) {
        struct sim_worker *w = &s->workers[i];
        if (w->stalled_until_ns > sim.now_ns)
            continue;
        worker_turn(s, w);
        any = ledger_worker_step(w->w) || any;
    }
    return any;
}

void server_settle(struct sim_server *s)
{
    server_at(s->i);
    for (int rounds = 0; rounds < 1000; rounds++) {
        s->stirred = false;
        lead_turn(s);
        address_settle(s); /* before the frozen list, as in node/core/cluster.c */
        if (s->frozen_dirty)
            frozen_publish(s);
        bool any = agent_step(s->agent);
        any = workers_turn(s) || any;
        if (!any && !s->stirred)
            return;
    }
    ensure_failed("it settles", __FILE__, __LINE__);
}

void server_turn(struct sim_server *s)
{
    server_at(s->i);
    bool any = disk_tell(s);
    any = receive(s) || any;
    if (s->boot_ns >= s->tick_due_ns) {
        s->tick_due_ns = s->boot_ns + s->tick_ns;
        sim_step(SIM_STEP_TIMER, s->i, 0);
        s->tick(&s->io);
        any = true;
    }
    if (s->boot_ns >= s->agent_due_ns) {
        s->agent_due_ns = s->boot_ns + 20 * SIM_MS;
        sim_step(SIM_STEP_TIMER, s->i, 1);
        agent_tick(s->agent);
        any = true;
    }
    any = mail_pulses_turn(s) || any;
    any = mail_turn(s) || any;
    any = address_turn(s) || any;
    if (any || s->take.req != NULL || s->stirred)
        server_settle(s);
    tell_those_who_asked(s);
    operate_poll(s);
}

void server_go_on(struct sim_server *s)
{
    bool stood = s->vm_paused;
    s->paused = s->vm_paused = false;
    server_at(s->i);
    address_go_on(s, stood);
    load_step_of(s->i);
}
