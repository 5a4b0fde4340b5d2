/* Operators of pools: they move and disable addresses, say which pool floats, have addresses warm up, judge
 * senders. One command at a time: one whose fate is unknown counts as under way, until the node that asked
 * for it has a later session.
 *
 * What docs/guarantees.md leaves to them they do not do: to move an address of a pool that does not float
 * away from a node that thinks otherwise; to say that a machine is off which is not.
 */
#define SIM_STREAM SIM_STREAM_ADDRESS
#include "test/sim/address.h"

#include "test/unit/machine/founding.h"

#define ASK_OF 30 /* steps */
#define DAY_MS UINT64_C(86400000)
#define UNKNOWN_NS (10000 * SIM_MS) /* in which all that is on its way arrives, when all is well */

static struct {
    enum { FREE, ASKED, UNKNOWN } state;
    uint32_t server;
    uint64_t session;
    int64_t issued_ns;
} op;

static const struct command_by by = { .who = { "op", 2 } };

static uint64_t session_of(const struct sim_server *s)
{
    struct agent_session session;
    agent_session(s->agent, &session);
    return session.id;
}

static void answer_cb(void *ctx, int err, const struct machine_result *r)
{
    (void)ctx;
    (void)r;
    sim_step(SIM_STEP_OPERATE, op.server, 512 + (uint64_t)(uint32_t)err);
    op.state = err == 0 || err == ERR_TIMEOUT ? FREE : UNKNOWN;
    op.session = session_of(&sim.servers[op.server]);
}

static void submit(struct sim_server *s, struct command *cmd)
{
    sim_step(SIM_STEP_OPERATE, s->i, cmd->type);
    op.server = s->i;
    op.session = session_of(s);
    op.issued_ns = sim.now_ns;
    op.state = ASKED;
    if (agent_submit(s->agent, cmd, 100 + (int64_t)sim_random(3000), answer_cb, NULL) != 0)
        op.state = FREE;
    s->stirred = true;
}

/* ---- what they ask for ----------------------------------------------------------------------------------
 */

static uint32_t any_address(void)
{
    return (uint32_t)sim_random(ADDRESS_N);
}

static int mode_cb(void *arg, const struct directory_pool *p)
{
    if (span_eq(p->name, span_str(address_pools[1])))
        *(uint8_t *)arg = p->floating.mode;
    return 0;
}

static bool floats(const struct machine *m)
{
    uint8_t mode = COMMAND_FLOATING_NEVER;
    (void)directory_pool_each(m, mode_cb, &mode);
    return mode != COMMAND_FLOATING_NEVER;
}

static bool move(const struct machine *m, struct command *cmd)
{
    uint32_t k = any_address();
    cmd->type = COMMAND_IP_MOVE;
    cmd->ip_move = (struct command_ip_move){ .by = by,
                                             .address = span_str(address_names[k]),
                                             .node = 1 + sim_random(sim.n) };
    return k < ADDRESS_BOUND || floats(m);
}

struct owner {
    struct span address;
    uint64_t node;
};

static int owner_cb(void *arg, const struct directory_ip *ip)
{
    struct owner *o = arg;
    bool same = span_eq(ip->address, o->address);
    if (same)
        o->node = ip->unsure != 0 ? ip->unsure : ip->node != 0 ? ip->node : ip->next;
    return same;
}

/* A process that begins uses no address before it has a session: so it is true of one that has ended. */
static bool move_dead(const struct machine *m, struct command *cmd)
{
    struct owner o = { .address = span_str(address_names[any_address()]) };
    (void)directory_ip_each(m, owner_cb, &o);
    cmd->type = COMMAND_IP_MOVE_DEAD;
    cmd->ip_move = (struct command_ip_move){ .by = by, .address = o.address, .node = 1 + sim_random(sim.n) };
    return o.node != 0 && o.node <= sim.n && !sim.servers[o.node - 1].alive;
}

static void use(struct command *cmd)
{
    static const uint8_t uses[] = { COMMAND_USE_ON, COMMAND_USE_ON, COMMAND_USE_DRAIN, COMMAND_USE_DISABLED };
    cmd->type = COMMAND_IP_SET;
    cmd->ip_set = (struct command_ip_set){ .by = by,
                                           .address = span_str(address_names[any_address()]),
                                           .use = uses[sim_random(4)] };
}

static void floating(struct command *cmd)
{
    static const uint8_t modes[] = { COMMAND_FLOATING_NEVER, COMMAND_FLOATING_OPERATOR,
                                     COMMAND_FLOATING_AUTOMATIC, COMMAND_FLOATING_AUTOMATIC };
    uint8_t mode = modes[sim_random(4)];
    bool automatic = mode == COMMAND_FLOATING_AUTOMATIC;
    cmd->type = COMMAND_POOL_FLOATING;
    cmd->pool_floating =
        (struct command_pool_floating){ .by = by,
                                        .name = span_str(address_pools[1]),
                                        .mode = mode,
                                        .after_ms = automatic ? 1000 + sim_random(2000) : 0,
                                        .back = automatic && sim_random(2) == 0,
                                        .per_node = automatic ? (uint32_t)sim_random(2) * 2 : 0 };
}

/* The clock of who asks says when the days end: some seconds from now on. */
static void warm(struct command *cmd)
{
    uint64_t left_ms = 2000 + sim_random(12000);
    cmd->type = COMMAND_WARMUP_START;
    cmd->warmup_start =
        (struct command_warmup_start){ .by = { .who = by.who,
                                               .wall_ms = (int64_t)(DAY_MS * 20000 - left_ms) },
                                       .address = span_str(address_names[any_address()]),
                                       .first = 1 + (uint32_t)sim_random(sim_random(2) == 0 ? 8 : 40),
                                       .growth_pct = 140,
                                       .days = 1 + (uint32_t)sim_random(4),
                                       .fill_pct = 50,
                                       .deferral_permille = 500,
                                       .complaint_permille = 500,
                                       .sites = ADDRESS_SITES };
}

static void stop(struct command *cmd)
{
    cmd->type = COMMAND_WARMUP_STOP;
    cmd->name = (struct command_name){ .by = by, .name = span_str(address_names[any_address()]) };
}

static void judge(struct command *cmd)
{
    bool judged = sim_random(2) == 0;
    cmd->type = COMMAND_STANDING_SET;
    cmd->standing_set =
        (struct command_standing_set){ .by = by,
                                       .account = span_str(sim_accounts[sim_random(SIM_ACCOUNTS)]),
                                       .tier = (uint8_t)sim_random(3),
                                       .judged = judged,
                                       .pinned = !judged && sim_random(2) == 0,
                                       .reason = SPAN_LIT("a look") };
}

static const char *const webs[] = { "web:a@example.com/1", "web:a@example.com/2", "web:a@example.com/3",
                                    "web:b@example.com/1", "web:b@example.com/2", "web:c@example.com/1" };

/* As nodes do, too many of one host, and in all; they end soon. */
static void web(struct command *cmd)
{
    struct span name = span_str(webs[sim_random(sizeof webs / sizeof webs[0])]);
    if (sim_random(5) == 0) {
        cmd->type = COMMAND_WEB_FORGET;
        cmd->name = (struct command_name){ .by = by, .name = name };
        return;
    }
    cmd->type = COMMAND_WEB_CLAIM;
    cmd->web_claim = (struct command_web_claim){ .name = name,
                                                 .most_of_host = ADDRESS_WEBS_OF_HOST,
                                                 .most = ADDRESS_WEBS,
                                                 .for_ms = 1000 + sim_random(60000) };
}

static bool draw(const struct machine *m, struct command *cmd)
{
    switch (sim_random(14)) {
    case 0:
    case 1:
    case 2:
    case 3:
        return move(m, cmd);
    case 4:
        return move_dead(m, cmd);
    case 5:
    case 6:
        use(cmd);
        break;
    case 7:
        floating(cmd);
        break;
    case 8:
    case 9:
        warm(cmd);
        break;
    case 10:
        stop(cmd);
        break;
    case 11:
    case 12:
        web(cmd);
        break;
    default:
        judge(cmd);
    }
    return true;
}

void address_operate(void)
{
    struct sim_server *s = &sim.servers[op.server];
    if (!sim.addresses)
        return;
    if (op.state == UNKNOWN && s->alive &&
        (session_of(s) > op.session || (sim.quiet && sim.now_ns - op.issued_ns > UNKNOWN_NS)))
        op.state = FREE;
    if (sim.quiet || op.state != FREE || sim_random(ASK_OF) > 0)
        return;
    struct command cmd = { .type = 0 };
    const struct machine *m = check_newest();
    s = server_at((uint32_t)sim_random(sim.n));
    if (m != NULL && server_up(s) && !s->removed && draw(m, &cmd))
        submit(s, &cmd);
}

void address_operate_drop(uint32_t server)
{
    if (op.state == FREE || op.server != server || !sim.addresses)
        return;
    op.session = session_of(&sim.servers[server]);
    op.state = UNKNOWN;
}

void address_operate_begin(void)
{
    op.state = FREE;
    op.server = 0;
}

/* ---- the cluster's beginning ----------------------------------------------------------------------------
 */

static void must(founding_apply_fn *found, struct command cmd)
{
    ensure(found(&cmd).err == 0);
}

void address_found(struct machine_result (*found)(struct command *cmd))
{
    if (!sim.addresses)
        return;
    for (uint32_t i = 0; i < ADDRESS_POOLS; i++)
        must(found, (struct command){ .type = COMMAND_POOL_SET,
                                      .pool_set = { .by = by, .name = span_str(address_pools[i]) } });
    must(found, (struct command){ .type = COMMAND_POOL_FLOATING,
                                  .pool_floating = { .by = by,
                                                     .name = span_str(address_pools[1]),
                                                     .mode = COMMAND_FLOATING_AUTOMATIC,
                                                     .after_ms = 1000,
                                                     .back = sim_random(2) == 0 } });
    for (uint32_t i = 0; i < ADDRESS_N; i++)
        must(found, (struct command){ .type = COMMAND_IP_SET,
                                      .ip_set = { .by = by,
                                                  .address = span_str(address_names[i]),
                                                  .pool = span_str(address_pools[i < ADDRESS_BOUND ? 0 : 1]),
                                                  .node = 1 + i % sim.n,
                                                  .create = true } });
    for (uint32_t i = 0; i < ADDRESS_N; i += 2) {
        struct command cmd;
        memset(&cmd, 0, sizeof cmd);
        warm(&cmd);
        cmd.warmup_start.address = span_str(address_names[i]);
        must(found, cmd);
    }
}
