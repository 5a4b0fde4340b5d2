/* A small cluster for tests of the ledger. */
#include "world.h"

#include "base/ensure.h"
#include "base/err.h"
#include "test/unit/machine/founding.h"

#include <stdlib.h>

struct world *world;
static struct world_node *here;

int64_t world_boot_ns(void)
{
    return here->boot_ns;
}

int64_t world_wall_ms(void)
{
    return here->wall_ns / MS;
}

uint64_t world_random(uint64_t below)
{
    uint64_t z = world->seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return below == 0 ? z : z % below;
}

static void random_bytes(void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)p)[i] = (uint8_t)world_random(256);
}

struct world_node *world_at(uint32_t n)
{
    return here = &world->nodes[n];
}

/* ---- the log ------------------------------------------------------------------------------------------- */

static struct world_msg *msg_new(enum world_kind kind, uint32_t node, struct span bytes)
{
    struct world_msg *msg = calloc(1, sizeof *msg + bytes.n);
    ensure(msg != NULL);
    msg->kind = kind;
    msg->node = node;
    msg->nbytes = bytes.n;
    msg->due_ns = world->real_ns + world->delay_min_ns;
    if (world->delay_max_ns > world->delay_min_ns)
        msg->due_ns += (int64_t)world_random((uint64_t)(world->delay_max_ns - world->delay_min_ns));
    if (bytes.n > 0)
        memcpy(msg->bytes, bytes.p, bytes.n);
    return msg;
}

static bool lost(void)
{
    return world->loss_permille > 0 && world_random(1000) < world->loss_permille;
}

/* Commits one entry: the leader's machine has it at once. */
static void commit(struct span commands, uint32_t n)
{
    struct buf b;
    buf_init(&b, 1u << 24);
    ensure(command_entry_begin(&b, (uint64_t)(world->lead_boot_ns / MS)) == 0);
    buf_put_span(&b, commands);
    ensure(command_entry_end(&b, n) == 0);
    if (world->nentries == world->cap) {
        world->cap = world->cap == 0 ? 64 : 2 * world->cap;
        world->entries = realloc(world->entries, world->cap * sizeof *world->entries);
        ensure(world->entries != NULL);
    }
    world->entries[world->nentries++] = (struct world_entry){ b.data, b.len, world->real_ns };
    ensure(machine_apply(world->lead, world->nentries, b.data, b.len, &world->effects) == 0);
    lease_applied(world->lease, world->lead, &world->effects, world->lead_boot_ns / MS);
}

/* Results of the last entry, told directly to the node that asked. */
static void tell(uint32_t node)
{
    if (world->no_told || world->nodes[node].cut)
        return;
    for (uint32_t i = 0; i < world->effects.n; i++) {
        const struct machine_effect *e = &world->effects.items[i];
        if (!e->is_result || lost())
            continue;
        struct world_msg *msg = msg_new(WORLD_RESULT, node, (struct span){ NULL, 0 });
        msg->origin = e->origin;
        msg->command = e->command;
        msg->result = e->result;
        list_push_back(&world->flight, &msg->link);
    }
}

static void send_cb(void *ctx, struct span commands, uint32_t n)
{
    struct world_node *node = ctx;
    node->sends++;
    node->commands += n;
    struct cursor c;
    cursor_init(&c, commands.p, commands.n);
    for (uint32_t i = 0; i < n; i++) {
        struct command cmd;
        ensure(command_decode(&c, &cmd) == 0);
        world->seen[cmd.type]++;
        if (cmd.type == COMMAND_CANCEL)
            world->last_cancel = cmd.cancel.seq;
    }
    ensure(cursor_left(&c) == 0);
    if (node->cut || world->drop || lost())
        return;
    uint32_t copies = world->dup_permille > 0 && world_random(1000) < world->dup_permille ? 2 : 1;
    for (uint32_t i = 0; i < copies; i++) {
        struct world_msg *msg = msg_new(WORLD_COMMANDS, (uint32_t)(node - world->nodes), commands);
        msg->n = n;
        list_push_back(&world->flight, &msg->link);
    }
}

static void session_cb(void *ctx, uint64_t session, bool usable)
{
    struct world_node *node = ctx;
    node->session = session;
    node->usable = usable;
}

static bool deliver(struct world_msg *msg)
{
    struct world_node *node = world_at(msg->node);
    if (node->cut)
        return false;
    if (msg->kind == WORLD_COMMANDS) {
        if (world->no_leader)
            return false;
        commit(span_of(msg->bytes, msg->nbytes), msg->n);
        tell(msg->node);
    } else if (node->agent != NULL) {
        agent_on_result(node->agent, &msg->origin, msg->command, &msg->result);
    }
    return true;
}

static bool deliver_due(void)
{
    bool any = false;
    struct list kept;
    list_init(&kept);
    for (struct list *link; (link = list_pop_front(&world->flight)) != NULL;) {
        struct world_msg *msg = LIST_ITEM(link, struct world_msg, link);
        bool waits = msg->due_ns > world->real_ns || (world->hold && msg->kind == WORLD_COMMANDS) ||
                     world->nodes[msg->node].stopped;
        if (waits) {
            list_push_back(&kept, &msg->link);
            continue;
        }
        deliver(msg);
        free(msg);
        any = true;
    }
    list_splice(&world->flight, &kept);
    return any;
}

void world_release(void)
{
    world->hold = false;
    world_settle();
}

void world_lose(void)
{
    world->hold = false;
    LIST_EACH_SAFE(pos, &world->flight)
    {
        struct world_msg *msg = LIST_ITEM(pos, struct world_msg, link);
        list_remove(&msg->link);
        free(msg);
    }
}

/* ---- nodes --------------------------------------------------------------------------------------------- */

static void publish(struct world_node *node)
{
    for (int i = 0; i < WORLD_WORKERS && !node->no_publish; i++)
        if (node->workers[i] != NULL)
            ledger_worker_publish(node->workers[i], node->applied);
}

static bool node_apply(uint32_t n)
{
    struct world_node *node = world_at(n);
    bool any = false;
    while (!node->no_apply && !node->cut && !node->stopped && node->applied < world->nentries &&
           world->entries[node->applied].at_ns + node->apply_ns <= world->real_ns) {
        struct world_entry *e = &world->entries[node->applied++];
        ensure(machine_apply(node->m, node->applied, e->bytes, e->n, &node->effects) == 0);
        if (node->agent != NULL)
            agent_on_effects(node->agent, node->applied, &node->effects);
        publish(node);
        any = true;
    }
    return any;
}

static bool node_step(uint32_t n)
{
    struct world_node *node = world_at(n);
    if (node->stopped || node->agent == NULL)
        return false;
    bool any = agent_step(node->agent);
    for (int i = 0; i < WORLD_WORKERS; i++)
        any = ledger_worker_step(node->workers[i]) || any;
    publish(node);
    return any;
}

void world_settle(void)
{
    for (int rounds = 0; rounds < 1000; rounds++) {
        bool any = deliver_due();
        for (uint32_t n = 0; n < world->nnodes; n++) {
            any = node_apply(n) || any;
            any = node_step(n) || any;
        }
        if (!any)
            return;
    }
    ensure_failed("it settles", __FILE__, __LINE__);
}

static void lead_due(void)
{
    if (world->no_leader || world->real_ns < world->lead_due_ns)
        return;
    world->lead_due_ns = world->real_ns + 100 * MS;
    struct buf b;
    uint32_t n = 0;
    buf_init(&b, 1u << 20);
    ensure(lease_due(world->lease, world->lead, world->lead_boot_ns / MS, &b, &n) == 0);
    if (n > 0)
        commit(buf_span(&b), n);
    buf_fini(&b);
}

static void pass(int64_t ns)
{
    world->real_ns += ns;
    world->lead_boot_ns += ns + ns / 1000 * world->lead_ppm / 1000;
    for (uint32_t i = 0; i < world->nnodes; i++) {
        struct world_node *node = &world->nodes[i];
        node->wall_ns += ns;
        if (!node->vm_stopped)
            node->boot_ns += ns + ns / 1000 * node->ppm / 1000;
    }
}

void world_advance(int64_t ms, int64_t step_ms)
{
    for (int64_t left = ms; left > 0; left -= step_ms) {
        pass((left < step_ms ? left : step_ms) * MS);
        lead_due();
        for (uint32_t n = 0; n < world->nnodes; n++) {
            struct world_node *node = world_at(n);
            if (node->agent == NULL || node->stopped || node->boot_ns < node->tick_ns)
                continue;
            node->tick_ns = node->boot_ns + 20 * MS;
            agent_tick(node->agent);
        }
        world_settle();
    }
}

void world_start(uint32_t n)
{
    struct world_node *node = world_at(n);
    struct agent_config config = { .node = node->id,
                                   .machine = node->m,
                                   .send = send_cb,
                                   .on_session = session_cb,
                                   .ctx = node,
                                   .boot_ns = world_boot_ns,
                                   .wall_ms = world_wall_ms,
                                   .random = random_bytes,
                                   .gather_ms = world->gather_ms };
    ensure(agent_new(&config, &node->agent) == 0);
    for (int i = 0; i < WORLD_WORKERS; i++) {
        struct ledger_worker_config wc = { .agent = node->agent,
                                           .boot_ns = world_boot_ns,
                                           .wall_ms = world_wall_ms };
        ensure(ledger_worker_new(&wc, &node->workers[i]) == 0);
    }
    node->tick_ns = 0;
    publish(node);
}

void world_kill(uint32_t n)
{
    struct world_node *node = world_at(n);
    if (node->agent == NULL)
        return;
    for (int i = 0; i < WORLD_WORKERS; i++) {
        ledger_worker_close(node->workers[i]);
        ledger_worker_free(node->workers[i]);
        node->workers[i] = NULL;
    }
    agent_free(node->agent);
    node->agent = NULL;
    node->usable = false;
}

/* ---- the cluster --------------------------------------------------------------------------------------- */

struct machine_result world_command(struct command *cmd)
{
    struct buf b;
    buf_init(&b, 1u << 20);
    ensure(command_encode(cmd, &b) == 0);
    commit(buf_span(&b), 1);
    buf_fini(&b);
    for (uint32_t i = 0; i < world->effects.n; i++)
        if (world->effects.items[i].is_result)
            return world->effects.items[i].result;
    ensure_failed("a result", __FILE__, __LINE__);
    return (struct machine_result){ 0 };
}

void world_policy(const struct policy_limit *limits, uint32_t nlimits)
{
    static uint8_t number;
    struct policy_compiled p = { .voters = 3, .freeze_mode = COMMAND_FREEZE_REJECT, .nlimits = nlimits };
    for (uint32_t i = 0; i < nlimits; i++)
        p.limits[i] = limits[i];
    founding_policy(&p, ++number, world_command);
}

void world_begin(struct world *w, uint32_t nnodes, const struct policy_limit *limits, uint32_t nlimits,
                 bool open)
{
    uint64_t seed = w->seed;
    *w = (struct world){ .nnodes = nnodes, .seed = seed };
    world = w;
    list_init(&w->flight);
    w->real_ns = w->lead_boot_ns = 1000000 * MS;
    w->lead = machine_new(&(struct machine_config){ 0 });
    w->lease = lease_new();
    machine_effects_init(&w->effects);
    lease_start(w->lease, w->lead, w->lead_boot_ns / MS);
    founding_members(nnodes, world_command);
    world_policy(limits, nlimits);
    for (uint32_t i = 0; i < nnodes; i++) {
        struct world_node *node = &w->nodes[i];
        node->id = i + 1;
        node->m = machine_new(&(struct machine_config){ 0 });
        machine_effects_init(&node->effects);
        node->boot_ns = (int64_t)(i + 1) * 50000 * MS;
        node->wall_ns = INT64_C(1700000000000) * MS + (int64_t)i * 12345 * MS;
        node_apply(i);
        world_start(i);
    }
    if (open)
        world_advance(100, 10);
}

void world_end(struct world *w)
{
    for (uint32_t i = 0; i < w->nnodes; i++) {
        world_kill(i);
        machine_free(w->nodes[i].m);
        machine_effects_fini(&w->nodes[i].effects);
    }
    world_lose();
    machine_free(w->lead);
    machine_effects_fini(&w->effects);
    lease_free(w->lease);
    for (uint32_t i = 0; i < w->nentries; i++)
        free(w->entries[i].bytes);
    free(w->entries);
}

void world_install(uint32_t n)
{
    struct world_node *node = world_at(n);
    if (node->applied == world->nentries)
        return;
    struct buf b;
    buf_init(&b, 1u << 26);
    ensure(machine_snapshot_begin(world->lead) == 0);
    int more;
    while ((more = machine_snapshot_step(world->lead, &b)) > 0) {
    }
    ensure(more == 0);
    machine_snapshot_end(world->lead);
    ensure(machine_restore(node->m, b.data, b.len) == 0);
    buf_fini(&b);
    node->applied = world->nentries;
    struct machine_effect all = { .change = MACHINE_CHANGED_ALL };
    struct machine_effects effects = { .items = &all, .n = 1 };
    if (node->agent != NULL)
        agent_on_effects(node->agent, node->applied, &effects);
    publish(node);
}

void world_leader_lost(void)
{
    world->no_leader = true;
    lease_stop(world->lease);
}

void world_leader_found(void)
{
    world->no_leader = false;
    lease_start(world->lease, world->lead, world->lead_boot_ns / MS);
    for (uint32_t n = 0; n < world->nnodes; n++) {
        struct world_node *node = world_at(n);
        if (node->agent != NULL && !node->cut && !node->stopped)
            agent_on_leader(node->agent, 1);
    }
}

struct usage_find {
    const char *limit;
    uint64_t used;
};

static int usage_cb(void *arg, const struct machine_usage *u)
{
    struct usage_find *f = arg;
    if (strcmp(u->limit, f->limit) == 0)
        f->used = u->used;
    return 0;
}

uint64_t world_usage(const char *limit, const char *account, const char *tenant)
{
    struct usage_find f = { .limit = limit };
    machine_usage_each(world->lead, span_str(account), span_str(tenant), 0, usage_cb, &f);
    return f.used;
}
