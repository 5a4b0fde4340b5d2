/* What goes wrong, from the seed. Everything ends by itself or in trouble_over. */
#include "test/sim/sim.h"

static bool wanted;
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
    if (s->paused) {
        server_go_on(s);
    } else if (s->alive) {
        s->paused = true;
        s->vm_paused = vm;
    }
}

static void remove_one(void)
{
    if (removable == sim.n || sim_random(10) > 0)
        return;
    isolate(removable);
    if (operate_remove(removable))
        removable = sim.n;
}

void trouble_step(void)
{
    struct sim_server *s = &sim.servers[sim_random(sim.n)];
    for (uint32_t i = 0; i < sim.n; i++)
        if (!sim.servers[i].alive && sim.servers[i].restart_ns <= sim.now_ns)
            server_begin(&sim.servers[i]);
    if (!wanted)
        return;
    switch (sim_random(48)) {
    case 0:
        kills();
        break;
    case 1:
        isolate(s->i);
        break;
    case 2:
        isolate(leader());
        break;
    case 3:
        halves();
        break;
    case 4:
    case 5:
    case 6:
        join_up();
        break;
    case 7:
        stand_still(s, false);
        break;
    case 8:
        stand_still(s, true);
        break;
    case 9:
    case 10:
        for (uint32_t i = 0; i < sim.n; i++)
            if (sim.servers[i].paused)
                server_go_on(&sim.servers[i]);
        break;
    case 11: /* a thread that does not get to run */
    case 12:
        s->workers[sim_random(SIM_WORKERS)].stalled_until_ns = sim.now_ns + sim_ms(6000);
        break;
    case 13:
        s->disk.busy_until_ns = sim.now_ns + sim_ms(3000);
        break;
    case 14: /* the disk fails: this node ends itself */
        kill_one(s->i, 2000);
        break;
    case 15:
        sim.latency_ns[s->i] = sim_ms(sim_random(4) == 0 ? 400 : 40);
        break;
    case 16:
        sim.loss_permille = sim_random(2) == 0 ? 0 : (uint32_t)sim_random(300);
        sim.late_permille = (uint32_t)sim_random(100);
        sim.dup_permille = (uint32_t)sim_random(300);
        break;
    case 17:
        sim.disk_ns = SIM_MS + sim_ms(sim_random(4) == 0 ? 100 : 10);
        break;
    case 18: /* somebody sets a clock */
        s->wall_ns += sim_ms(20000) - 10000 * SIM_MS;
        break;
    case 19:
        remove_one();
        break;
    default:
        break;
    }
}

void trouble_begin(bool any)
{
    wanted = any;
    removable = any && sim.n == 5 && sim_random(2) == 0 ? (uint32_t)sim_random(sim.n) : sim.n;
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
    join_up();
    sim.loss_permille = sim.late_permille = sim.dup_permille = 0;
    sim.disk_ns = 4 * SIM_MS;
    for (uint32_t i = 0; i < sim.n; i++) {
        struct sim_server *s = &sim.servers[i];
        sim.latency_ns[i] = 10 * SIM_MS;
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
