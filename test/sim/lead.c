/* What a leader does, as consensus/replica_*.c does it: a barrier first, then cluster time, entries of many
 * commands, and what is due. And the machine as libraft sees it.
 */
#include "test/sim/sim.h"
#include "test/unit/machine/founding.h"

#include <stdlib.h>

bool lead_ready(const struct sim_server *s)
{
    return s->started && s->ready_term != 0 &&
           raft_state((struct raft *)(uintptr_t)&s->raft) == RAFT_LEADER &&
           raft_current_term(&s->raft) == s->ready_term;
}

/* ---- libraft's state machine -----------------------------------------------------------------------------
 */

static bool refreshes(const struct machine_effect *e)
{
    return !e->is_result && (e->change == MACHINE_CHANGED_FROZEN || e->change == MACHINE_CHANGED_ALL);
}

static void tell_result(struct sim_server *s, uint64_t index, const struct machine_effect *e)
{
    struct machine_session session;
    if (e->origin.session == 0 || !machine_session_find(s->m, e->origin.session, &session) ||
        session.node == server_id(s))
        return;
    struct sim_packet *p = net_new(SIM_RESULT, s->i, (uint32_t)session.node - 1, span_of(NULL, 0));
    p->origin = e->origin;
    p->command = e->command;
    p->result = e->result;
    p->index = index;
    net_send(p);
}

static void hear(struct sim_server *s, uint64_t index, const struct machine_effects *effects)
{
    bool ready = lead_ready(s);
    for (uint32_t i = 0; i < effects->n; i++) {
        const struct machine_effect *e = &effects->items[i];
        s->frozen_dirty = s->frozen_dirty || refreshes(e);
        if (e->is_result && ready)
            tell_result(s, index, e);
    }
    if (ready)
        lease_applied(s->lease, s->m, effects, s->boot_ns / SIM_MS);
    s->effect_index = index;
    address_effects(s, effects);
    if (s->agent != NULL)
        agent_on_effects(s->agent, index, effects);
    s->stirred = true;
}

static int on_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct sim_server *s = fsm->data;
    uint64_t index = raft_last_applied(&s->raft) + 1;
    *result = NULL;
    ensure(machine_apply(s->m, index, buf->base, buf->len, &s->effects) == 0);
    check_applied(s, index, buf);
    hear(s, index, &s->effects);
    return 0;
}

static int on_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n)
{
    struct sim_server *s = fsm->data;
    *bufs = NULL;
    *n = 0;
    ensure(!s->taking);
    ensure(machine_snapshot_begin(s->m) == 0);
    s->taking = true;
    buf_reset(&s->take.bytes);
    return 0;
}

static int on_snapshot_finalize(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n)
{
    struct sim_server *s = fsm->data;
    *bufs = NULL;
    *n = 0;
    s->taking = false;
    check_sums.snapshots++;
    return 0;
}

static int on_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct sim_server *s = fsm->data;
    struct machine_effect all = { .change = MACHINE_CHANGED_ALL };
    struct machine_effects effects = { .items = &all, .n = 1, .cap = 1 };
    ensure(machine_restore(s->m, buf->base, buf->len) == 0);
    raft_free(buf->base);
    check_restored(s);
    if (s->started)
        hear(s, machine_applied(s->m), &effects);
    return 0;
}

void lead_fsm(struct sim_server *s)
{
    s->fsm = (struct raft_fsm){ .version = 2,
                                .data = s,
                                .apply = on_apply,
                                .snapshot = on_snapshot,
                                .restore = on_restore,
                                .snapshot_finalize = on_snapshot_finalize };
    list_init(&s->idle);
    for (int i = 0; i < SIM_FLIGHTS_MAX; i++) {
        s->flights[i].s = s;
        list_push_back(&s->idle, &s->flights[i].link);
    }
}

/* A part of the snapshot in each turn, while entries are applied in between. */
static void take_on(struct sim_server *s)
{
    if (s->take.req == NULL)
        return;
    int more = machine_snapshot_step(s->m, &s->take.bytes);
    ensure(more >= 0);
    if (more > 0)
        return;
    machine_snapshot_end(s->m);
    disk_put_taken(s);
}

/* ---- entries ---------------------------------------------------------------------------------------------
 */

static uint64_t now_ms(const struct sim_server *s)
{
    uint64_t now = s->base_ms + (uint64_t)(s->boot_ns / SIM_MS - s->base_boot_ms);
    return now > s->last_ms ? now : s->last_ms;
}

static void on_applied(struct raft_apply *req, int status, void *result)
{
    struct sim_flight *f = req->data;
    (void)status; /* whoever wants it asks again */
    (void)result;
    list_push_back(&f->s->idle, &f->link);
}

static void enter(struct sim_server *s, struct span commands, uint32_t n)
{
    struct buf b;
    struct list *link = list_first(&s->idle);
    if (link == NULL)
        return;
    buf_init(&b, COMMAND_ENTRY_BYTES_MAX);
    s->last_ms = now_ms(s);
    ensure(command_entry_begin(&b, s->last_ms) == 0);
    buf_put_span(&b, commands);
    ensure(command_entry_end(&b, n) == 0);
    struct raft_buffer copy = { .base = raft_malloc(b.len), .len = b.len };
    memcpy(copy.base, b.data, b.len);
    buf_fini(&b);
    struct sim_flight *f = LIST_ITEM(link, struct sim_flight, link);
    list_remove(link);
    f->req.data = f;
    if (raft_apply(&s->raft, &f->req, &copy, 1, on_applied) != 0) {
        raft_free(copy.base);
        list_push_back(&s->idle, &f->link);
    }
}

void lead_propose(struct sim_server *s, struct span commands, uint32_t n)
{
    if (!lead_ready(s) || s->gathered.len + commands.n > (1u << 20))
        return;
    buf_put_span(&s->gathered, commands);
    s->ngathered += n;
    s->stirred = true;
}

static void flush(struct sim_server *s)
{
    struct cursor c;
    size_t from = 0;
    uint32_t n = 0;
    cursor_init(&c, s->gathered.data, s->gathered.len);
    for (uint32_t i = 0; i < s->ngathered && lead_ready(s); i++) {
        struct command cmd;
        ensure(command_decode(&c, &cmd) == 0);
        size_t end = s->gathered.len - cursor_left(&c);
        n++;
        if (n == COMMAND_ENTRY_MAX || end - from >= COMMAND_ENTRY_BYTES / 2 || i + 1 == s->ngathered) {
            enter(s, span_of(s->gathered.data + from, end - from), n);
            from = end;
            n = 0;
        }
    }
    buf_reset(&s->gathered);
    s->ngathered = 0;
}

void lead_send(void *ctx, struct span commands, uint32_t n)
{
    struct sim_server *s = ctx;
    if (!s->started)
        return;
    if (raft_state(&s->raft) == RAFT_LEADER) {
        lead_propose(s, commands, n);
    } else if (s->leader != 0 && s->leader != server_id(s)) {
        struct sim_packet *p = net_new(SIM_COMMANDS, s->i, (uint32_t)s->leader - 1, commands);
        p->n = n;
        net_send(p);
    }
}

/* libraft leaves calling back to its I/O backend, which here is ours: the queue is in its public header. */
static void call_back(struct sim_server *s)
{
    void **head = s->raft.legacy.requests;
    while (head[0] != head) {
        void **at = head[0], **next = at[0];
        head[0] = next;
        next[1] = head;
        struct raft_apply *req = (struct raft_apply *)((char *)at - offsetof(struct raft_apply, queue));
        if (req->type == RAFT_BARRIER)
            ((struct raft_barrier *)req)->cb((struct raft_barrier *)req, req->status);
        else
            req->cb(req, req->status, req->result);
    }
}

/* ---- leading ---------------------------------------------------------------------------------------------
 */

static void on_barrier(struct raft_barrier *req, int status)
{
    struct sim_server *s = req->data;
    s->barrier_pending = false;
    if (status != 0 || raft_state(&s->raft) != RAFT_LEADER || raft_current_term(&s->raft) != s->barrier_term)
        return;
    s->ready_term = s->barrier_term;
    s->base_ms = s->last_ms = machine_now_ms(s->m);
    s->base_boot_ms = s->boot_ns / SIM_MS;
    lease_start(s->lease, s->m, s->boot_ns / SIM_MS);
    check_sums.leaders++;
    s->stirred = true;
}

static void role(struct sim_server *s)
{
    raft_id leader;
    const char *address;
    raft_leader(&s->raft, &leader, &address);
    bool leads = raft_state(&s->raft) == RAFT_LEADER;
    bool was_ready = s->ready_term != 0;
    if (was_ready && !lead_ready(s)) {
        s->ready_term = 0;
        lease_stop(s->lease);
    }
    if (leads && !s->barrier_pending && s->ready_term == 0) {
        s->barrier.data = s;
        s->barrier_term = raft_current_term(&s->raft);
        s->barrier_pending = raft_barrier(&s->raft, &s->barrier, on_barrier) == 0;
    }
    bool now = leads ? s->ready_term != 0 && !was_ready : leader != s->leader;
    s->leader = leader;
    if (now && leader != 0 && s->agent != NULL)
        agent_on_leader(s->agent, leader);
}

static void due(struct sim_server *s)
{
    struct buf b;
    uint32_t n = 0, k = 0;
    if (!lead_ready(s) || s->boot_ns < s->lead_due_ns)
        return;
    s->lead_due_ns = s->boot_ns + 100 * SIM_MS;
    sim_step(SIM_STEP_TIMER, s->i, 2);
    buf_init(&b, 1u << 20);
    ensure(lease_due(s->lease, s->m, s->boot_ns / SIM_MS, &b, &n) == 0);
    ensure(machine_due(s->m, now_ms(s), &b, &k) == 0);
    if (n + k > 0)
        lead_propose(s, buf_span(&b), n + k);
    buf_fini(&b);
}

void lead_turn(struct sim_server *s)
{
    call_back(s);
    role(s);
    take_on(s);
    due(s);
    flush(s);
}

/* ---- the cluster's beginning -----------------------------------------------------------------------------
 */

static struct machine *founding;
static struct machine_effects founding_effects;

/* An entry of the first term, on every disk. */
static struct machine_result found(struct command *cmd)
{
    struct buf b;
    buf_init(&b, COMMAND_ENTRY_BYTES_MAX);
    ensure(command_entry_begin(&b, 1) == 0);
    ensure(command_encode(cmd, &b) == 0);
    ensure(command_entry_end(&b, 1) == 0);
    for (uint32_t i = 0; i < sim.n; i++)
        disk_put(&sim.servers[i].disk, 1, RAFT_COMMAND, buf_span(&b));
    ensure(machine_apply(founding, sim.servers[0].disk.tail, b.data, b.len, &founding_effects) == 0);
    buf_fini(&b);
    for (uint32_t i = 0; i < founding_effects.n; i++)
        if (founding_effects.items[i].is_result)
            return founding_effects.items[i].result;
    ensure_failed("a result", __FILE__, __LINE__);
}

void lead_cluster_found(void)
{
    struct raft_configuration conf;
    struct raft_buffer encoded;
    memory_of(&sim.servers[0]);
    raft_configuration_init(&conf);
    for (uint32_t i = 0; i < sim.n; i++) {
        char address[] = { (char)('1' + i), '\0' };
        ensure(raft_configuration_add(&conf, i + 1, address, RAFT_VOTER) == 0);
    }
    ensure(raft_configuration_encode(&conf, &encoded) == 0);
    for (uint32_t i = 0; i < sim.n; i++) {
        sim.servers[i].disk.term = 1;
        disk_put(&sim.servers[i].disk, 1, RAFT_CHANGE, span_of(encoded.base, encoded.len));
    }
    raft_configuration_close(&conf);
    raft_free(encoded.base);
    founding = machine_new(&(struct machine_config){ 0 });
    machine_effects_init(&founding_effects);
    founding_members(sim.n, found);
    for (uint32_t i = 1; i < sim.n; i++) { /* the first one is */
        struct command active = { .type = COMMAND_MEMBER_SET,
                                  .member_set = { .by = { .who = SPAN_LIT("founder") },
                                                  .node = i + 1u,
                                                  .state = COMMAND_MEMBER_ACTIVE } };
        ensure(found(&active).err == 0);
    }
    struct policy_compiled p = { .voters = 3, .freeze_mode = COMMAND_FREEZE_REJECT, .nlimits = SIM_LIMITS };
    memcpy(p.limits, sim_limits, sizeof sim_limits);
    senders_policy(&p);
    if (sim.addresses || sim.senders)
        founding_raise(sim.n, COMMAND_FEATURES, found);
    founding_policy(&p, 255, found);
    address_found(found);
    machine_effects_fini(&founding_effects);
    machine_free(founding);
}
