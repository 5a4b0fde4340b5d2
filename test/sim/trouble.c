/* What goes wrong, as the schedule says. Everything ends by itself or in trouble_over. */
#define SIM_STREAM SIM_STREAM_TROUBLE
#include "test/sim/sim.h"

static const struct schedule *wanted;
static uint32_t next; /* event of it */
/* A machine that stands still with its CLOCK_BOOTTIME is noticed by its wall clock only, so not both. */
static bool clocks_set;
/* A node that is deaf, then hears for a moment, then is alone: what was applied of it long ago it hears of
 * only now, when it has sent it often, and nothing after that. */
static struct {
    enum { DEAF_NONE, DEAF, DEAF_HEARS, DEAF_ALONE } stage;
    uint32_t node;
    int64_t until_ns;
} deaf;
static uint32_t removable; /* a node that operators may remove while it is cut off; sim.n: none */

static void links(uint32_t a, uint32_t b, bool cut)
{
    sim.cut[a][b] = cut;
}

static void isolate(uint32_t node)
{
    uint64_t how = sim_random(3);
    for (uint32_t i = 0; i < sim.n; i++) {
        if (i == node)
            continue;
        links(node, i, how != 1);
        links(i, node, how != 2);
    }
}

static void halves(void)
{
    uint64_t side = 1 + sim_random((1u << sim.n) - 2);
    for (uint32_t i = 0; i < sim.n; i++)
        for (uint32_t k = 0; k < sim.n; k++)
            links(i, k, ((side >> i) & 1) != ((side >> k) & 1));
}

static void join_up(void)
{
    memset(sim.cut, 0, sizeof sim.cut);
}

static void kill_one(uint32_t i, uint64_t below_ms)
{
    if (!sim.servers[i].alive)
        return;
    server_kill(&sim.servers[i]);
    sim.servers[i].restart_ns = sim.now_ns + sim_ms(below_ms);
    check_sums.kills++;
}

static uint32_t leader(void)
{
    for (uint32_t i = 0; i < sim.n; i++)
        if (sim.servers[i].alive && lead_ready(&sim.servers[i]))
            return i;
    return (uint32_t)sim_random(sim.n);
}

static void kills(void)
{
    switch (sim_random(6)) {
    case 0:
    case 1:
        kill_one(leader(), 4000);
        break;
    case 2: /* a majority */
        for (uint32_t i = 0; i <= sim.n / 2; i++)
            kill_one((uint32_t)sim_random(sim.n), 3000);
        break;
    case 3:
        for (uint32_t i = 0; sim_random(4) == 0 && i < sim.n; i++)
            kill_one(i, 1000);
        break;
    default:
        kill_one((uint32_t)sim_random(sim.n), sim_random(2) == 0 ? 50 : 8000);
    }
}

static void stand_still(struct sim_server *s, bool vm)
{
    if (!s->alive || s->paused)
        return;
    s->paused = true;
    s->vm_paused = vm;
    s->go_on_ns = sim.now_ns + sim_ms(sim_random(3) == 0 ? 14000 : 5000);
}

static void remove_one(void)
{
    if (removable == sim.n)
        return;
    isolate(removable);
    if (operate_remove(removable))
        removable = sim.n;
}

static void hearing(uint32_t node, bool cut)
{
    for (uint32_t i = 0; i < sim.n; i++)
        links(i, node, cut && i != node);
}

static void deafen(uint32_t node)
{
    if (deaf.stage != DEAF_NONE || sim.servers[node].paused)
        return;
    deaf.stage = DEAF;
    deaf.node = node;
    deaf.until_ns = sim.now_ns + 1500 * SIM_MS + sim_ms(1300);
    hearing(node, true);
}

static void deaf_step(void)
{
    if (deaf.stage == DEAF_NONE || deaf.until_ns > sim.now_ns)
        return;
    switch (deaf.stage) {
    case DEAF:
        deaf.stage = DEAF_HEARS;
        deaf.until_ns = sim.now_ns + 100 * SIM_MS + sim_ms(200);
        hearing(deaf.node, false);
        sim.mute_until_ns[deaf.node] = sim.now_ns + 6000 * SIM_MS;
        break;
    case DEAF_HEARS:
        deaf.stage = DEAF_ALONE;
        deaf.until_ns = sim.now_ns + 5000 * SIM_MS;
        hearing(deaf.node, true);
        break;
    default:
        deaf.stage = DEAF_NONE;
        hearing(deaf.node, false);
    }
}

static void stall(struct sim_server *s) /* a thread that does not get to run */
{
    s->workers[sim_random(SIM_WORKERS)].stalled_until_ns = sim.now_ns + sim_ms(8000);
}

static void disk_still(struct sim_server *s) /* one disk, or what all of them are on */
{
    for (uint32_t i = 0, all = sim_random(2) == 0; i < sim.n; i++)
        if (all || i == s->i)
            sim.servers[i].disk.busy_until_ns = sim.now_ns + sim_ms(8000);
}

static void packets(void)
{
    sim.loss_permille = sim_random(2) == 0 ? 0 : (uint32_t)sim_random(300);
    sim.late_permille = (uint32_t)sim_random(200);
    sim.dup_permille = (uint32_t)sim_random(300);
}

/* Until about when its session expires, while commits take their time. */
static void mute_session(struct sim_server *s)
{
    sim.mute_until_ns[s->i] = sim.now_ns + 3000 * SIM_MS + sim_ms(1200);
    sim.disk_ns = 200 * SIM_MS + sim_ms(300);
}

/* A new leader that nobody expects: the old one cannot be heard. */
static void unheard_leader(void)
{
    for (uint32_t i = leader(), k = 0; k < sim.n; k++)
        links(i, k, k != i);
}

static void event(enum trouble_kind kind)
{
    struct sim_server *s = &sim.servers[sim_random(sim.n)];
    switch (kind) {
    case TROUBLE_KILLS:
        kills();
        break;
    case TROUBLE_ISOLATE:
        isolate(s->i);
        break;
    case TROUBLE_ISOLATE_LEADER:
        isolate(leader());
        break;
    case TROUBLE_HALVES:
        halves();
        break;
    case TROUBLE_JOIN_UP:
        join_up();
        break;
    case TROUBLE_PAUSE:
        stand_still(s, false);
        break;
    case TROUBLE_PAUSE_MACHINE:
        stand_still(s, !clocks_set);
        break;
    case TROUBLE_STALL_WORKER:
        stall(s);
        break;
    case TROUBLE_DISK_STILL:
        disk_still(s);
        break;
    case TROUBLE_DISK_FAILS: /* this node ends itself */
        kill_one(s->i, 2000);
        break;
    case TROUBLE_LATENCY:
        sim.latency_ns[s->i] = sim_ms(sim_random(4) == 0 ? 400 : 40);
        break;
    case TROUBLE_LOSS:
        packets();
        break;
    case TROUBLE_DISK_SLOW:
        sim.disk_ns = SIM_MS + sim_ms(sim_random(4) == 0 ? 200 : 10);
        break;
    case TROUBLE_CLOCK: /* somebody sets it */
        if (clocks_set)
            s->wall_ns += sim_ms(20000) - 10000 * SIM_MS;
        break;
    case TROUBLE_REMOVE:
        remove_one();
        break;
    case TROUBLE_MUTE_SESSION:
        mute_session(s);
        break;
    case TROUBLE_MUTE_WINDOW: /* until windows have passed in which it was granted what it gives back then */
        sim.mute_until_ns[s->i] = sim.now_ns + 4000 * SIM_MS + sim_ms(4000);
        break;
    case TROUBLE_DEAF:
        deafen(s->i == leader() ? (s->i + 1) % sim.n : s->i);
        break;
    case TROUBLE_DEAF_LEADER:
        unheard_leader();
        break;
    default:
        ensure_failed("a kind of trouble", __FILE__, __LINE__);
    }
}

void trouble_step(void)
{
    for (uint32_t i = 0; i < sim.n; i++) {
        struct sim_server *s = &sim.servers[i];
        if (!s->alive && s->restart_ns <= sim.now_ns) {
            sim_step(SIM_STEP_TROUBLE, i, TROUBLE_KINDS);
            server_begin(s);
        } else if (s->paused && s->go_on_ns <= sim.now_ns) {
            sim_step(SIM_STEP_TROUBLE, i, TROUBLE_KINDS + 1);
            server_go_on(s);
        }
    }
    deaf_step();
    for (; next < wanted->n && sim.begin_ns + wanted->events[next].at_ms * SIM_MS <= sim.now_ns; next++) {
        sim_step(SIM_STEP_TROUBLE, 0, wanted->events[next].kind);
        sim.rng[SIM_STREAM_TROUBLE] = wanted->events[next].draws;
        event(wanted->events[next].kind);
    }
}

/* Draws the setting; a seed without events has no trouble of any kind. */
void trouble_begin(const struct schedule *schedule)
{
    bool any = schedule->seed % 16 != 15;
    wanted = schedule;
    next = 0;
    deaf.stage = DEAF_NONE;
    clocks_set = sim_random(3) == 0;
    removable = any && sim.n == 5 ? (uint32_t)sim_random(sim.n) : sim.n;
    sim.disk_ns = SIM_MS + sim_ms(10);
    for (uint32_t i = 0; i < sim.n; i++) {
        sim.latency_ns[i] = SIM_MS + sim_ms(10);
        /* Clocks at both ends are the worst; so are a fast leader and slow nodes. */
        sim.servers[i].ppm =
            sim_random(2) == 0 ? (int64_t)sim_random(10001) - 5000 : (sim_random(2) == 0 ? 5000 : -5000);
    }
    sim.loss_permille = sim.late_permille = sim.dup_permille = 0;
    if (any) {
        sim.loss_permille = (uint32_t)sim_random(50);
        sim.dup_permille = (uint32_t)sim_random(200);
        sim.late_permille = (uint32_t)sim_random(50);
    }
    join_up();
}

void trouble_over(void)
{
    next = wanted->n;
    deaf.stage = DEAF_NONE;
    join_up();
    sim.loss_permille = sim.late_permille = sim.dup_permille = 0;
    sim.disk_ns = 4 * SIM_MS;
    for (uint32_t i = 0; i < sim.n; i++) {
        struct sim_server *s = &sim.servers[i];
        sim.latency_ns[i] = 10 * SIM_MS;
        sim.mute_until_ns[i] = 0;
        s->disk.busy_until_ns = 0;
        s->restart_ns = 0;
        for (int k = 0; k < SIM_WORKERS; k++)
            s->workers[k].stalled_until_ns = 0;
        if (!s->alive)
            server_begin(s);
        else if (s->paused)
            server_go_on(s);
    }
}
