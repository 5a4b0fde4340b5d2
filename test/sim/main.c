/* Runs of the simulation.
 *
 * usage: cluster_sim [FIRST [COUNT]]            seeds; without any, those of the tests
 *        cluster_sim --volume SEEDS STEPS [FIRST]   until there were so many of both
 *        cluster_sim --twice FIRST COUNT        each seed twice: the same steps
 *        cluster_sim --schedule SEED            prints what goes wrong when
 *        cluster_sim --replay SEED|FILE         runs such a schedule; says what the nodes say
 *        cluster_sim --shrink SEED|FILE         prints a shorter one with the same fault
 */
#include "test/sim/sim.h"

#include "base/clock.h"
#include "base/log.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define SAY_NS INT64_C(10000000000)

typedef unsigned long long ull;

static struct schedule schedule;
static uint64_t all_steps, seeds, first_seed;
static int64_t begin_ns;

/* A check in the code under test failed: say where, as for any other fault. */
static void on_abort(int signal)
{
    char text[128];
    (void)signal;
    int n = snprintf(text, sizeof text, "seed %llu, step %llu, %lld ms: it aborts\n", (ull)sim.seed,
                     (ull)sim.steps, (long long)((sim.now_ns - sim.begin_ns) / SIM_MS));
    if (write(STDOUT_FILENO, text, (size_t)n) != n)
        _exit(3);
    _exit(2);
}

static void run_seed(uint64_t seed)
{
    if (seeds == 0)
        first_seed = seed;
    schedule_of_seed(seed, SIM_TROUBLE_MS, &schedule);
    sim_run(&schedule);
    all_steps += sim.steps;
    seeds++;
}

static double seconds(void)
{
    return (double)(clock_mono_ns() - begin_ns) / 1e9;
}

static void say_progress(uint64_t want_seeds, uint64_t want_steps)
{
    static int64_t said_ns;
    double done = (double)seeds / (double)want_seeds, of_steps = (double)all_steps / (double)want_steps;
    if (clock_mono_ns() - said_ns < SAY_NS)
        return;
    said_ns = clock_mono_ns();
    done = done < of_steps ? done : of_steps;
    fprintf(stderr, "%llu seeds, %llu steps, %.0f steps/s; %.0f %%, about %.0f s left\n", (ull)seeds,
            (ull)all_steps, (double)all_steps / seconds(), done * 100, seconds() / done * (1 - done));
}

static void say_end(void)
{
    const struct check_sums *c = &check_sums;
    printf("seeds %llu to %llu: %llu admitted of %llu mails, %llu refused; %llu entries, %llu leaders, %llu "
           "kills, %llu snapshots, %llu installed; %llu freezes promised of %llu returned, %llu policies, "
           "%llu removed; %llu messages stored, %llu recipients delivered, %llu moved, %llu drains; %llu "
           "spools opened; %llu messages from addresses on %llu connections, %llu cut by the gate; addresses sent "
           "from another node %llu times, %llu of their days used up; %llu reports; senders "
           "slowed %llu times, who sent %llu then\n",
           (ull)first_seed, (ull)(first_seed + seeds - 1), (ull)c->admitted, (ull)c->mails, (ull)c->refused,
           (ull)c->entries, (ull)c->leaders, (ull)c->kills, (ull)c->snapshots, (ull)c->installs,
           (ull)c->freezes, (ull)c->returned, (ull)c->policies, (ull)c->removed, (ull)c->stored,
           (ull)c->delivered, (ull)c->moved, (ull)c->drains, (ull)c->opened, (ull)c->sent, (ull)c->connections,
           (ull)c->gated, (ull)c->moves, (ull)c->days, (ull)c->reports, (ull)c->slowed, (ull)c->slowly);
    printf("%llu seeds, %llu steps (%llu packets, %llu disk, %llu timers, %llu clients', %llu operators', "
           "%llu mail, %llu threads, %llu "
           "trouble) in %.1f s: %.0f steps/s; %u faults\n",
           (ull)seeds, (ull)all_steps, (ull)c->steps[SIM_STEP_PACKET], (ull)c->steps[SIM_STEP_DISK],
           (ull)c->steps[SIM_STEP_TIMER], (ull)c->steps[SIM_STEP_CLIENT], (ull)c->steps[SIM_STEP_OPERATE],
           (ull)c->steps[SIM_STEP_MAIL], (ull)c->steps[SIM_STEP_THREAD], (ull)c->steps[SIM_STEP_TROUBLE],
           seconds(), (double)all_steps / seconds(), check_faults);
}

static int run_seeds(uint64_t first, uint64_t count, uint64_t steps)
{
    for (uint64_t seed = first; (seeds < count || all_steps < steps) && check_faults == 0; seed++) {
        run_seed(seed);
        if (steps > 0)
            say_progress(count, steps);
    }
    say_end();
    if (check_faults > 0)
        printf("a shorter schedule: cluster_sim --shrink %llu\n", (ull)(first_seed + seeds - 1));
    return check_faults > 0;
}

static int run_twice(uint64_t first, uint64_t count)
{
    for (uint64_t seed = first; seed < first + count && check_faults == 0; seed++) {
        run_seed(seed);
        uint64_t steps = sim.steps, trace = sim.trace;
        run_seed(seed);
        if (sim.steps != steps || sim.trace != trace)
            check_fault("the same seed makes other steps: %llu, trace %016llx, then %llu, trace %016llx",
                        (ull)steps, (ull)trace, (ull)sim.steps, (ull)sim.trace);
        printf("seed %llu: %llu steps, trace %016llx\n", (ull)seed, (ull)sim.steps, (ull)sim.trace);
    }
    return check_faults > 0;
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);
    if (*end != '\0' || end == text) {
        fprintf(stderr, "%s: not a number\n", text);
        exit(64);
    }
    return n;
}

/* A file's, or a seed's. */
static void take_schedule(const char *what)
{
    if (strspn(what, "0123456789") == strlen(what)) {
        schedule_of_seed(number(what), SIM_TROUBLE_MS, &schedule);
    } else if (schedule_read(what, &schedule) != 0) {
        fprintf(stderr, "%s: not a schedule\n", what);
        exit(64);
    }
}

static int run_schedule(void)
{
    sim_run(&schedule);
    printf("seed %llu with %u events: %llu steps, trace %016llx; %u faults\n", (ull)schedule.seed, schedule.n,
           (ull)sim.steps, (ull)sim.trace, check_faults);
    return check_faults > 0;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 && argv[1][0] == '-' ? argv[1] : "";
    log_set_level(LOG_LEVEL_ERROR);
    signal(SIGABRT, on_abort);
    memory_begin();
    begin_ns = clock_mono_ns();
    if (verb[0] == '\0')
        return run_seeds(argc > 1 ? number(argv[1]) : 1,
                         argc > 2   ? number(argv[2])
                         : argc > 1 ? 1
                                    : SIM_SEEDS,
                         0);
    if (strcmp(verb, "--volume") == 0 && argc >= 4)
        return run_seeds(argc > 4 ? number(argv[4]) : 1, number(argv[2]), number(argv[3]));
    if (strcmp(verb, "--twice") == 0 && argc == 4)
        return run_twice(number(argv[2]), number(argv[3]));
    if (argc != 3 ||
        (strcmp(verb, "--schedule") != 0 && strcmp(verb, "--replay") != 0 && strcmp(verb, "--shrink") != 0)) {
        fprintf(stderr,
                "usage: cluster_sim [FIRST [COUNT]] | --volume SEEDS STEPS [FIRST] | --twice FIRST COUNT\n"
                "       | --schedule SEED | --replay SEED|FILE | --shrink SEED|FILE\n");
        return 64;
    }
    take_schedule(argv[2]);
    if (strcmp(verb, "--replay") == 0)
        log_set_level(LOG_LEVEL_INFO);
    if (strcmp(verb, "--schedule") == 0)
        schedule_print(&schedule, stdout);
    return strcmp(verb, "--schedule") == 0 ? 0
           : strcmp(verb, "--replay") == 0 ? run_schedule()
                                           : shrink(&schedule);
}
