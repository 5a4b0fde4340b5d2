/* Random histories of three nodes with two workers each: delays, losses, repeats, changes of leader, nodes
 * that are cut off, stand still or are killed, clocks that run wrong by up to 0.5 %. A checker that knows
 * only what was admitted when, in real time, sees that no rolling window of any limit was exceeded, and that
 * nothing was admitted under a session that the cluster held to be over.
 *
 * usage: sim [first seed [number of seeds [seconds]]]. Built with a mutant of the ledger it must find a
 * fault.
 */
#include "hold.h"

#include "base/ensure.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define ACCOUNTS 3
#define TXNS 24
#define SPENDS_MAX 100000

static const struct policy_limit limits[] = {
    { "five", COMMAND_SCOPE_ACCOUNT, 7, 30, 5000 },
    { "twelve", COMMAND_SCOPE_ACCOUNT, 7, 50, 12000 },
    { "tenant", COMMAND_SCOPE_TENANT, 7, 70, 6000 },
};
static const char *const accounts[ACCOUNTS] = { "anna", "berta", "carl" };

enum txn_state { FREE, RCPT, WAITING, DATA, EXCHANGE };

struct txn {
    struct held held;
    enum txn_state state;
    uint32_t node, account, left;
    int64_t until_ns;
};

struct spend {
    int64_t at_ns;
    uint32_t account, n;
};

static struct world w;
static struct txn txns[TXNS];
static struct spend spends[SPENDS_MAX];
static uint32_t nspends, faults;
static uint64_t admitted, refused, killed;

/* ---- the checker --------------------------------------------------------------------------------------- */

static void check_windows(uint64_t seed)
{
    for (size_t l = 0; l < sizeof limits / sizeof limits[0]; l++)
        for (uint32_t account = 0; account < ACCOUNTS; account++) {
            bool tenant = limits[l].scope == COMMAND_SCOPE_TENANT;
            uint64_t sum = 0;
            uint32_t first = 0;
            for (uint32_t i = 0; i < nspends; i++) {
                if (!tenant && spends[i].account != account)
                    continue;
                sum += spends[i].n;
                for (; spends[i].at_ns - spends[first].at_ns >= (int64_t)limits[l].window_ms * MS; first++)
                    if (tenant || spends[first].account == account)
                        sum -= spends[first].n;
                if (sum <= limits[l].count)
                    continue;
                printf("seed %llu: %llu in a window of %s of %s at %lld ms\n", (unsigned long long)seed,
                       (unsigned long long)sum, limits[l].name, accounts[account],
                       (long long)((spends[i].at_ns - 1000000 * MS) / MS));
                faults++;
                break;
            }
            if (tenant)
                break;
        }
}

/* What was admitted in the last window must still be charged: else somebody else is granted it again. This is
 * seen long before the chance to exceed a limit is used. */
static void check_charged(uint64_t seed, uint32_t account)
{
    uint64_t sum = 0;
    for (uint32_t i = nspends; i > 0 && w.real_ns - spends[i - 1].at_ns < (int64_t)limits[1].window_ms * MS;
         i--)
        if (spends[i - 1].account == account)
            sum += spends[i - 1].n;
    uint64_t used = world_usage(limits[1].name, accounts[account], "t");
    if (sum <= used)
        return;
    printf("seed %llu: %s had %llu admitted, and %llu charged\n", (unsigned long long)seed, accounts[account],
           (unsigned long long)sum, (unsigned long long)used);
    faults++;
}

static void note_spend(uint64_t seed, struct txn *t)
{
    struct agent_session s;
    struct machine_session ms;
    agent_session(world_at(t->node)->agent, &s);
    if (!machine_session_find(w.lead, s.id, &ms) || !ms.current) {
        printf("seed %llu: admitted under session %llu, which is over\n", (unsigned long long)seed,
               (unsigned long long)s.id);
        faults++;
    }
    ensure(nspends < SPENDS_MAX);
    spends[nspends++] = (struct spend){ w.real_ns, t->account, t->held.h.reserved };
    admitted += t->held.h.reserved;
    check_charged(seed, t->account);
}

/* ---- clients ------------------------------------------------------------------------------------------- */

static void txn_end(struct txn *t)
{
    held_end(&t->held, t->node);
    t->state = FREE;
}

static void txn_begin(struct txn *t)
{
    t->node = (uint32_t)world_random(w.nnodes);
    struct world_node *node = world_at(t->node);
    if (node->agent == NULL || node->stopped)
        return;
    t->account = (uint32_t)world_random(ACCOUNTS);
    t->left = 1 + (uint32_t)world_random(5);
    if (held_begin(&t->held, t->node, (uint32_t)world_random(WORLD_WORKERS), accounts[t->account], "t") != 0)
        return;
    t->state = RCPT;
}

static void txn_rcpt(struct txn *t)
{
    if (t->left == 0) {
        t->state = DATA;
        /* Most messages are short; some are slower than the life of a token. */
        t->until_ns = w.real_ns + (int64_t)world_random(world_random(8) == 0 ? 6000 : 200) * MS;
        return;
    }
    uint32_t n = 1 + (uint32_t)world_random(t->left);
    enum ledger_answer answer = ledger_reserve(&t->held.h, n);
    if (answer == LEDGER_NO) {
        refused++;
        txn_end(t);
        return;
    }
    t->left -= n;
    if (answer == LEDGER_WAIT) {
        t->state = WAITING;
        t->held.answers = 0;
    }
}

static void txn_data(uint64_t seed, struct txn *t)
{
    if (w.real_ns < t->until_ns)
        return;
    if (world_random(6) == 0) { /* RSET */
        txn_end(t);
        return;
    }
    enum ledger_answer answer = ledger_ready(&t->held.h);
    if (answer == LEDGER_WAIT) {
        t->state = EXCHANGE;
        t->held.answers = 0;
        return;
    }
    if (answer == LEDGER_YES) {
        note_spend(seed, t);
        ledger_spend(&t->held.h);
    }
    txn_end(t);
}

static uint64_t spend_seed;

/* As a node does it: what was exchanged is spent in the turn that brought the answer. */
static void exchanged_cb(struct ledger_hold *h, enum ledger_answer answer)
{
    struct held *x = h->ctx;
    struct txn *t = (struct txn *)((char *)x - offsetof(struct txn, held));
    x->answers++;
    x->answer = answer;
    if (t->state == EXCHANGE && answer == LEDGER_YES) {
        note_spend(spend_seed, t);
        ledger_spend(h);
    }
}

static void txn_step(uint64_t seed, struct txn *t)
{
    if (t->state == FREE) {
        if (world_random(6) == 0)
            txn_begin(t);
        t->held.h.on_answer = exchanged_cb;
        return;
    }
    if (world_at(t->node)->stopped)
        return;
    if (t->state == WAITING && t->held.answers > 0) {
        t->state = RCPT;
        if (t->held.answer == LEDGER_NO) {
            refused++;
            txn_end(t);
        }
    } else if (t->state == EXCHANGE && t->held.answers > 0) {
        txn_end(t);
    } else if (t->state == RCPT) {
        txn_rcpt(t);
    } else if (t->state == DATA) {
        txn_data(seed, t);
    }
}

/* ---- trouble ------------------------------------------------------------------------------------------- */

static void kill_node(uint32_t n)
{
    for (int i = 0; i < TXNS; i++)
        if (txns[i].state != FREE && txns[i].node == n)
            txn_end(&txns[i]);
    world_kill(n);
    world_start(n);
    killed++;
}

/* It goes on where it stood: what clients sent meanwhile is there before any timer has run. */
static void go_on(uint64_t seed, struct world_node *node)
{
    node->stopped = node->vm_stopped = false;
    for (int i = 0; i < TXNS; i++)
        if (txns[i].state != FREE && &w.nodes[txns[i].node] == node)
            txn_step(seed, &txns[i]);
}

static void all_well(uint64_t seed)
{
    for (uint32_t i = 0; i < w.nnodes; i++) {
        struct world_node *node = world_at(i);
        if (node->no_apply && !node->stopped && world_random(2) == 0)
            world_install(i); /* it was behind for so long */
        node->cut = node->no_apply = false;
        node->apply_ns = (int64_t)world_random(20) * MS;
        if (node->stopped)
            go_on(seed, node);
    }
    w.no_told = false;
    if (w.no_leader)
        world_leader_found();
}

static void trouble(uint64_t seed)
{
    struct world_node *node = world_at((uint32_t)world_random(w.nnodes));
    uint64_t what = world_random(30);
    switch (what) {
    case 0:
        node->cut = !node->cut;
        break;
    case 1:
        if (!node->stopped)
            kill_node((uint32_t)(node - w.nodes));
        break;
    case 2:
    case 3: /* a process, or a virtual machine with its clock */
        if (node->stopped)
            go_on(seed, node);
        else
            node->stopped = true;
        node->vm_stopped = node->stopped && what == 3;
        break;
    case 4:
        if (w.no_leader)
            world_leader_found();
        else
            world_leader_lost();
        break;
    case 5:
        node->no_apply = !node->no_apply;
        break;
    case 6:
    case 7:
        all_well(seed);
        break;
    case 8:
        w.lead_ppm = (int64_t)world_random(10001) - 5000;
        break;
    case 9:
        w.loss_permille = world_random(2) == 0 ? 0 : (uint32_t)world_random(400);
        break;
    case 10:
        w.delay_max_ns = (int64_t)world_random(world_random(4) == 0 ? 3000 : 100) * MS;
        break;
    case 11: /* answers are late: by the log alone, and that behind */
        w.no_told = !w.no_told;
        break;
    case 12:
        node->apply_ns = (int64_t)world_random(4000) * MS;
        break;
    default:
        break;
    }
}

static void run(uint64_t seed, int64_t seconds)
{
    spend_seed = w.seed = seed;
    nspends = 0;
    memset(txns, 0, sizeof txns);
    world_begin(&w, WORLD_NODES, limits, sizeof limits / sizeof limits[0], false);
    w.lead_ppm = (int64_t)world_random(10001) - 5000;
    w.dup_permille = (uint32_t)world_random(100);
    w.delay_max_ns = (int64_t)world_random(30) * MS;
    for (uint32_t i = 0; i < w.nnodes; i++) {
        w.nodes[i].ppm = (int64_t)world_random(10001) - 5000;
        w.nodes[i].apply_ns = (int64_t)world_random(20) * MS;
    }
    for (int64_t at = 0; at < seconds * 1000; at += 10) {
        world_advance(10, 10);
        for (int i = 0; i < TXNS; i++)
            txn_step(seed, &txns[i]);
        world_settle();
        if (at % 100 == 0)
            trouble(seed);
    }
    for (int i = 0; i < TXNS; i++)
        if (txns[i].state != FREE)
            txn_end(&txns[i]);
    check_windows(seed);
    world_end(&w);
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : SIM_SEEDS;
    int64_t seconds = argc > 3 ? strtoll(argv[3], NULL, 10) : SIM_SECONDS;
    log_set_level(LOG_LEVEL_ERROR);
    for (uint64_t seed = first; seed < first + count && faults == 0; seed++)
        run(seed, seconds);
    printf("%llu seeds of %lld s: %llu admitted, %llu refused, %llu kills, %u faults\n",
           (unsigned long long)count, (long long)seconds, (unsigned long long)admitted,
           (unsigned long long)refused, (unsigned long long)killed, faults);
    return faults > 0;
}
