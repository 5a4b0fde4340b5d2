/* What goes wrong, from the seed. Everything ends by itself or in trouble_over. */
#include "test/sim/sim.h"

static bool wanted;
static uint64_t pace; /* of this seed: one event in so many turns */
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

static void event(struct sim_server *s)
{
    switch (sim_random(25)) {
    case 0:
    case 1:
        kills();
        break;
    case 2:
        isolate(s->i);
        break;
    case 3:
        isolate(leader());
        break;
    case 4:
        halves();
        break;
    case 5:
    case 6:
        join_up();
        break;
    case 7:
    case 8:
        stand_still(s, false);
        break;
    case 9:
        stand_still(s, !clocks_set);
        break;
    case 10: /* a thread that does not get to run */
    case 11:
        s->workers[sim_random(SIM_WORKERS)].stalled_until_ns = sim.now_ns + sim_ms(8000);
        break;
    case 12: /* one disk stands still, or what all of them are on */
        for (uint32_t i = 0, all = sim_random(2) == 0; i < sim.n; i++)
            if (all || i == s->i)
                sim.servers[i].disk.busy_until_ns = sim.now_ns + sim_ms(8000);
        break;
    case 13: /* the disk fails: this node ends itself */
        kill_one(s->i, 2000);
        break;
    case 14:
        sim.latency_ns[s->i] = sim_ms(sim_random(4) == 0 ? 400 : 40);
        break;
    case 15:
        sim.loss_permille = sim_random(2) == 0 ? 0 : (uint32_t)sim_random(300);
        sim.late_permille = (uint32_t)sim_random(200);
        sim.dup_permille = (uint32_t)sim_random(300);
        break;
    case 16:
        sim.disk_ns = SIM_MS + sim_ms(sim_random(4) == 0 ? 200 : 10);
        break;
    case 17: /* somebody sets a clock */
        if (clocks_set)
            s->wall_ns += sim_ms(20000) - 10000 * SIM_MS;
        break;
    case 18:
        remove_one();
        break;
    case 19: /* until about when its session expires, while commits take their time */
    case 20:
        sim.mute_until_ns[s->i] = sim.now_ns + 3000 * SIM_MS + sim_ms(1200);
        sim.disk_ns = 200 * SIM_MS + sim_ms(300);
        break;
    case 21: /* until windows have passed in which it was granted what it gives back then */
        sim.mute_until_ns[s->i] = sim.now_ns + 4000 * SIM_MS + sim_ms(4000);
        break;
    case 22:
    case 23:
        deafen(s->i == leader() ? (s->i + 1) % sim.n : s->i);
        break;
    default: /* a new leader that nobody expects: the old one cannot be heard */
        for (uint32_t i = leader(), k = 0; k < sim.n; k++)
            links(i, k, k != i);
        break;
    }
}

void trouble_step(void)
{
    for (uint32_t i = 0; i < sim.n; i++) {
        struct sim_server *s = &sim.servers[i];
        if (!s->alive && s->restart_ns <= sim.now_ns)
            server_begin(s);
        else if (s->paused && s->go_on_ns <= sim.now_ns)
            server_go_on(s);
    }
    deaf_step();
    if (wanted && sim_random(pace) == 0)
        event(&sim.servers[sim_random(sim.n)]);
}

void trouble_begin(bool any)
{
    wanted = any;
    deaf.stage = DEAF_NONE;
    pace = 2 + sim_random(30);
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
    wanted = false;
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
