/* Rules that slow senders, and mail of a stream, in a quarter of the seeds (those without addresses: these
 * count senders' mail under the same numbers). What nodes see of senders is drawn, so that the rules act;
 * operators lift what they did.
 *
 * What must hold is judged by what was admitted when: who is slowed gets no more on all nodes together than
 * his rule leaves, with mail of any stream, but for tokens that nodes had before. And it ends when its time
 * has come, or somebody lifts it; not sooner.
 */
#define SIM_STREAM SIM_STREAM_SENDERS
#include "test/sim/sim.h"

#include "consensus/directory.h"
#include "consensus/facts.h"

#include <stdlib.h>

#define RULES 2
#define LATE_MS 3000      /* the leader has to end it, when all is well */
#define GRACE_PERCENT 102 /* of a token's life: clocks, and a step of the simulation */

static const struct sender_rule rules[RULES] = {
    { .name = "some",
      .classes = 3,
      .action = SENDER_SLOW,
      .for_ms = 9000,
      .slow_count = 8,
      .slow_ms = 5000,
      .nterms = 1,
      .term = { { SENDER_RECIPIENTS, 0, 6 } } },
    { .name = "many", /* until an operator lifts it */
      .classes = 3,
      .action = SENDER_SLOW,
      .slow_count = 5,
      .slow_ms = 7000,
      .nterms = 1,
      .term = { { SENDER_RECIPIENTS, 0, 25 } } },
};

struct spend {
    int64_t at_ns, life_ns; /* of its token, at most */
    uint32_t n;
};
static struct {
    struct spend *spends;
    uint32_t n, cap;
    bool lifted; /* somebody asked for it; it may come late */
    struct {
        bool slowed, was;
        int64_t from_ns, to_ns;
        uint64_t from_ms; /* cluster time */
    } by[RULES];
} senders[SIM_ACCOUNTS];
static uint64_t number;

void senders_policy(struct policy_compiled *p)
{
    for (uint32_t i = 0; sim.senders && i < RULES; i++) {
        struct policy_limit *l = &p->limits[p->nlimits++];
        *l = (struct policy_limit){ .scope = COMMAND_SCOPE_ACCOUNT,
                                    .count = rules[i].slow_count,
                                    .window_ms = rules[i].slow_ms };
        sender_rule_limit(&rules[i], l->name);
        p->sender_rules[p->nsender_rules++] = rules[i];
    }
}

uint8_t senders_class(uint32_t account)
{
    uint8_t class = sim_class(account);
    return sim.senders && account < SIM_ACCOUNTS && sim_random(4) == 0
               ? (uint8_t)((class ^ 1) | COMMAND_STREAM)
               : class;
}

/* ---- what is seen, and lifted ---------------------------------------------------------------------------
 */

/* Whatever becomes of it: a number that was passed over is nothing. */
static void answer_cb(void *ctx, int err, const struct machine_result *r)
{
    (void)r;
    sim_step(SIM_STEP_OPERATE, (uint32_t)((struct sim_server *)ctx - sim.servers),
             1024 + (uint64_t)(uint32_t)err);
}

static void submit(struct sim_server *s, struct command *cmd)
{
    sim_step(SIM_STEP_OPERATE, s->i, cmd->type);
    (void)agent_submit(s->agent, cmd, 100 + (int64_t)sim_random(3000), answer_cb, s);
    s->stirred = true;
}

static void look(struct sim_server *s, uint32_t account)
{
    struct sender_facts f = { .counts = { .account = span_str(sim_accounts[account]) },
                              .class = sim_class(account) };
    struct buf b;
    f.counts.count[RECORD_MESSAGES] = 1;
    f.counts.count[RECORD_ACCEPTED] = 1 + (uint32_t)sim_random(6);
    buf_init(&b, SENDER_FACTS_BYTES_MAX);
    ensure(sender_facts_put(&b, &f) == 0);
    struct command cmd = { .type = COMMAND_SENDER_LOOK,
                           .sender_look = { .process = { 1 },
                                            .number = ++number,
                                            .wall_ms = s->wall_ns / SIM_MS,
                                            .facts = buf_span(&b) } };
    submit(s, &cmd);
    buf_fini(&b);
}

static void lift(struct sim_server *s, uint32_t account)
{
    struct command cmd = { .type = COMMAND_SENDER_LIFT,
                           .sender_lift = { .by = { .who = SPAN_LIT("op") },
                                            .account = span_str(sim_accounts[account]) } };
    if (sim_random(2) == 0)
        cmd.sender_lift.rule = span_str(rules[sim_random(RULES)].name);
    senders[account].lifted = true;
    submit(s, &cmd);
}

void senders_step(void)
{
    if (!sim.senders || sim.quiet || sim_random(15) > 0)
        return;
    struct sim_server *s = server_at((uint32_t)sim_random(sim.n));
    uint32_t account = (uint32_t)sim_random(SIM_ACCOUNTS);
    if (!server_up(s) || s->removed)
        return;
    if (sim_random(60) == 0)
        lift(s, account);
    else
        look(s, account);
}

/* ---- what must hold -------------------------------------------------------------------------------------
 */

void senders_spend(uint32_t account, uint8_t class, uint32_t n)
{
    if (!sim.senders || account >= SIM_ACCOUNTS)
        return;
    if (senders[account].n == senders[account].cap) {
        senders[account].cap = senders[account].cap == 0 ? 256 : 2 * senders[account].cap;
        senders[account].spends =
            realloc(senders[account].spends, senders[account].cap * sizeof(struct spend));
        ensure(senders[account].spends != NULL);
    }
    /* By the limits of that class: see sim_limits. */
    int64_t life_ms = (class & 1) != 0 ? 20000 : 2000;
    senders[account].spends[senders[account].n++] = (struct spend){
        .at_ns = sim.now_ns,
        .life_ns = life_ms * SIM_MS / 100 * GRACE_PERCENT,
        .n = n,
    };
}

static void changed(const struct sim_server *s, uint32_t account, uint32_t rule, bool slowed)
{
    senders[account].by[rule].slowed = slowed;
    if (slowed) {
        if (senders[account].by[rule].was)
            check_fault("%s is slowed by %s once more, for the same mail", sim_accounts[account],
                        rules[rule].name);
        senders[account].by[rule].was = true;
        senders[account].by[rule].from_ns = sim.now_ns;
        senders[account].by[rule].from_ms = machine_now_ms(s->m);
        check_sums.slowed++;
        return;
    }
    senders[account].by[rule].to_ns = sim.now_ns;
    uint64_t ms = machine_now_ms(s->m) - senders[account].by[rule].from_ms;
    bool due = rules[rule].for_ms != 0 && ms >= rules[rule].for_ms;
    if (!due && !senders[account].lifted)
        check_fault("%s is slowed by %s no more after %llu ms, and nobody lifted it", sim_accounts[account],
                    rules[rule].name, (unsigned long long)ms);
}

void senders_applied(const struct sim_server *s)
{
    for (uint32_t a = 0; sim.senders && a < SIM_ACCOUNTS; a++)
        for (uint32_t i = 0; i < RULES; i++) {
            bool slowed = directory_slowed(s->m, span_str(sim_accounts[a]), span_str(rules[i].name));
            if (slowed != senders[a].by[i].slowed)
                changed(s, a, i, slowed);
        }
}

/* What must fit into the rule's limit: nothing of a token from before, perhaps, or from after. */
static uint32_t counted(uint32_t account, uint32_t rule, const struct spend *one)
{
    int64_t from_ns = senders[account].by[rule].from_ns, to_ns = senders[account].by[rule].to_ns;
    return one->at_ns >= from_ns + one->life_ns && one->at_ns < to_ns ? one->n : 0;
}

/* Any window within the time in which he was slowed. */
static void check_slowed(uint32_t account, uint32_t rule)
{
    const struct spend *all = senders[account].spends;
    int64_t window_ns = (int64_t)rules[rule].slow_ms * SIM_MS;
    uint64_t sum = 0;
    for (uint32_t i = 0, first = 0; i < senders[account].n; i++) {
        sum += counted(account, rule, &all[i]);
        check_sums.slowly += counted(account, rule, &all[i]);
        for (; all[i].at_ns - all[first].at_ns >= window_ns; first++)
            sum -= counted(account, rule, &all[first]);
        if (sum <= rules[rule].slow_count)
            continue;
        check_fault("%llu of %s, who is slowed to %u in %llu ms, ended at %lld ms", (unsigned long long)sum,
                    sim_accounts[account], rules[rule].slow_count, (unsigned long long)rules[rule].slow_ms,
                    (long long)((all[i].at_ns - sim.begin_ns) / SIM_MS));
        return;
    }
}

void senders_end(void)
{
    const struct machine *m = check_newest();
    for (uint32_t a = 0; sim.senders && a < SIM_ACCOUNTS; a++) {
        for (uint32_t i = 0; i < RULES; i++) {
            if (!senders[a].by[i].was)
                continue;
            uint64_t ms = m == NULL ? 0 : machine_now_ms(m) - senders[a].by[i].from_ms;
            if (senders[a].by[i].slowed && rules[i].for_ms != 0 && ms > rules[i].for_ms + LATE_MS)
                check_fault("%s is still slowed by %s, %llu ms after it began", sim_accounts[a],
                            rules[i].name, (unsigned long long)ms);
            if (senders[a].by[i].slowed)
                senders[a].by[i].to_ns = sim.now_ns;
            check_slowed(a, i);
        }
        free(senders[a].spends);
    }
    memset(senders, 0, sizeof senders);
    number = 0;
}
