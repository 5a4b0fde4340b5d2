/* One run: trouble for a while, then none, in which everything must work again. */
#define SIM_STREAM SIM_STREAM_SETTING
#include "test/sim/mail.h"

#define RECOVER_MS 10000
#define FULL_MS 6000
#define DRAIN_MS                                                                                             \
    150000 /* for mail to be delivered: a time to try again came from a node whose wall clock is 100 s ahead \
            */

struct sim sim;

const char *const sim_accounts[] = { "anna", "berta", "carl", "dora", "emil", "probe", "full" };
const char *const sim_tenants[] = { "red", "red", "blue", "blue", "green", "probes", "fulls" };
const struct policy_limit sim_limits[] = {
    { "five", COMMAND_SCOPE_ACCOUNT, 1, 30, 5000 },
    { "twelve", COMMAND_SCOPE_ACCOUNT, 1, 50, 12000 },
    { "tenant", COMMAND_SCOPE_TENANT, 1, 50, 7000 },
    { "long", COMMAND_SCOPE_ACCOUNT, 2, 150, 1000000 }, /* its tokens outlive a session */
    { "full", COMMAND_SCOPE_ACCOUNT, 4, 200, 20000 },
};

uint8_t sim_class(uint32_t account)
{
    return account >= SIM_ACCOUNTS ? 2 : account == SIM_ACCOUNTS - 1 ? 1 : 0;
}

uint64_t sim_draw(enum sim_stream stream, uint64_t below)
{
    uint64_t z = sim.rng[stream] += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return below == 0 ? 0 : z % below;
}

void sim_step(enum sim_step kind, uint32_t server, uint64_t what)
{
    uint64_t h = sim.trace;
    h = (h ^ (uint64_t)sim.now_ns) * UINT64_C(0x100000001b3);
    h = (h ^ ((uint64_t)kind << 32 | server)) * UINT64_C(0x100000001b3);
    sim.trace = (h ^ what) * UINT64_C(0x100000001b3) ^ h >> 29;
    sim.steps++;
    check_sums.steps[kind]++;
}

static void pass(void)
{
    sim.now_ns += SIM_STEP_NS;
    for (uint32_t i = 0; i < sim.n; i++) {
        struct sim_server *s = &sim.servers[i];
        s->wall_ns += SIM_STEP_NS;
        if (!s->vm_paused)
            s->boot_ns += SIM_STEP_NS + SIM_STEP_NS / 1000 * s->ppm / 1000;
        disk_run(s);
    }
}

static void step(void)
{
    pass();
    load_step();
    uint32_t first = (uint32_t)sim_random(sim.n), by = sim_random(2) == 0 ? 1 : sim.n - 1;
    for (uint32_t k = 0; k < sim.n; k++) {
        struct sim_server *s = &sim.servers[(first + k * by) % sim.n];
        if (server_up(s))
            server_turn(s);
    }
    operate_step();
    address_operate();
    senders_step();
    mail_move_some();
    if (sim.now_ns % (50 * SIM_MS) == 0)
        trouble_step();
    if (sim.now_ns % (1000 * SIM_MS) == 0)
        mail_check_all();
}

static void begin(const struct schedule *schedule)
{
    uint64_t seed = schedule->seed;
    sim = (struct sim){ .seed = seed, .n = seed % 2 == 0 ? 3 : 5 };
    for (uint64_t i = 0; i < SIM_STREAMS; i++)
        sim.rng[i] = (seed * SIM_STREAM_ADDRESS + i) * UINT64_C(0xd1342543de82ef95) + 1;
    sim.rng[SIM_STREAM_ADDRESS] = (seed + 1) * UINT64_C(0x2545f4914f6cdd1d);
    sim.rng[SIM_STREAM_SENDERS] = (seed + 2) * UINT64_C(0x9fb21c651e98df25);
    sim.addresses = seed / 3 % 2 == 1; /* half of the seeds go without: what is rare without them is seen, too */
    sim.senders = !sim.addresses && seed / 6 % 2 == 1; /* likewise */
    sim.now_ns = sim.begin_ns = 1000000 * SIM_MS;
    sim.threshold = 30 + (unsigned)sim_random(300);
    sim.trailing = 5 + (unsigned)sim_random(100);
    for (uint32_t i = 0; i < sim.n; i++) {
        struct sim_server *s = &sim.servers[i];
        s->i = i;
        s->boot_ns = sim_ms(1000000);
        s->wall_ns = INT64_C(1700000000000) * SIM_MS + sim_ms(100000);
        disk_init(&s->disk);
        heap_init(&sim.packets[i]);
        list_init(&s->memory);
    }
    static const int64_t sinks_ms[] = { 300, 2000, 8000 };
    sim.sink_ms = sinks_ms[sim_random(3)];
    check_begin();
    mail_check_begin();
    load_begin();
    operate_begin();
    address_check_begin();
    address_operate_begin();
    trouble_begin(schedule);
    lead_cluster_found();
    for (uint32_t i = 0; i < sim.n; i++)
        server_begin(&sim.servers[i]);
}

static void end(void)
{
    check_end();
    senders_end();
    for (uint32_t i = 0; i < sim.n; i++) {
        server_kill(&sim.servers[i]);
        disk_fini(&sim.servers[i].disk);
        memory_lose(&sim.servers[i]);
        if (sim.servers[i].spool_disk != NULL)
            simdisk_free(sim.servers[i].spool_disk);
    }
    net_drop_all();
    server_nowhere();
}

void sim_run(const struct schedule *schedule)
{
    begin(schedule);
    for (int64_t ms = 0; ms < SIM_TROUBLE_MS; ms += SIM_STEP_NS / SIM_MS)
        step();
    trouble_over();
    int64_t left_ms = RECOVER_MS;
    for (; left_ms > 0 && !load_probe(); left_ms -= SIM_STEP_NS / SIM_MS)
        step();
    if (left_ms <= 0)
        check_fault("not every node admits mail %d ms after all was well", RECOVER_MS);
    sim.quiet = true;
    for (int64_t ms = 0; ms < FULL_MS; ms += SIM_STEP_NS / SIM_MS) {
        load_full();
        step();
    }
    if (check_spent(SIM_FULL) < sim_limits[4].count * 99 / 100)
        check_fault("%llu of %llu are admitted from an empty window",
                    (unsigned long long)check_spent(SIM_FULL), (unsigned long long)sim_limits[4].count);
    for (int64_t ms = 0; ms < DRAIN_MS && !(mail_check_idle() && address_check_idle()); ms += SIM_STEP_NS / SIM_MS)
        step();
    mail_check_end();
    address_check_end();
    end();
}
