/* A schedule: what goes wrong when. It comes from a seed, or from a file in which some of it was left out.
 *
 *     seed 37
 *     8450 kills 9f3a01c2
 *     9100 join-up 0
 *
 * A line is a time since the beginning in ms, what happens, and the number that the event draws its
 * particulars from (in hexadecimal); from "#" to its end it is a comment. All else (load, operators,
 * latencies, clocks) is the seed's.
 */
#include "test/sim/sim.h"

#include <inttypes.h>
#include <stdlib.h>

#define LOOK_MS 50

static const struct {
    const char *name;
    uint32_t weight;
} kinds[TROUBLE_KINDS] = {
    [TROUBLE_KILLS] = { "kills", 2 },
    [TROUBLE_ISOLATE] = { "isolate", 1 },
    [TROUBLE_ISOLATE_LEADER] = { "isolate-leader", 1 },
    [TROUBLE_HALVES] = { "halves", 1 },
    [TROUBLE_JOIN_UP] = { "join-up", 2 },
    [TROUBLE_PAUSE] = { "pause", 2 },
    [TROUBLE_PAUSE_MACHINE] = { "pause-machine", 1 },
    [TROUBLE_STALL_WORKER] = { "stall-worker", 2 },
    [TROUBLE_DISK_STILL] = { "disk-still", 1 },
    [TROUBLE_DISK_FAILS] = { "disk-fails", 1 },
    [TROUBLE_LATENCY] = { "latency", 1 },
    [TROUBLE_LOSS] = { "loss", 1 },
    [TROUBLE_DISK_SLOW] = { "disk-slow", 1 },
    [TROUBLE_CLOCK] = { "clock", 1 },
    [TROUBLE_REMOVE] = { "remove", 1 },
    [TROUBLE_MUTE_SESSION] = { "mute-session", 2 },
    [TROUBLE_MUTE_WINDOW] = { "mute-window", 1 },
    [TROUBLE_DEAF] = { "deaf", 2 },
    [TROUBLE_DEAF_LEADER] = { "unheard-leader", 1 },
};

static enum trouble_kind any_kind(void)
{
    uint32_t sum = 0, k = 0;
    for (uint32_t i = 0; i < TROUBLE_KINDS; i++)
        sum += kinds[i].weight;
    for (uint64_t at = sim_draw(SIM_STREAM_TROUBLE, sum); at >= kinds[k].weight; k++)
        at -= kinds[k].weight;
    return (enum trouble_kind)k;
}

void schedule_of_seed(uint64_t seed, int64_t until_ms, struct schedule *out)
{
    *out = (struct schedule){ .seed = seed };
    if (seed % 16 == 15)
        return;
    sim.rng[SIM_STREAM_TROUBLE] = seed * UINT64_C(7919) + 1;
    uint64_t pace = 2 + sim_draw(SIM_STREAM_TROUBLE, 30); /* one event in so many looks */
    for (int64_t ms = LOOK_MS; ms <= until_ms && out->n < SCHEDULE_MAX; ms += LOOK_MS) {
        if (sim_draw(SIM_STREAM_TROUBLE, pace) > 0)
            continue;
        struct schedule_event *e = &out->events[out->n++];
        e->at_ms = ms;
        e->kind = any_kind();
        e->draws = sim_draw(SIM_STREAM_TROUBLE, UINT32_MAX);
    }
}

void schedule_print(const struct schedule *s, FILE *to)
{
    fprintf(to, "seed %" PRIu64 "\n", s->seed);
    for (uint32_t i = 0; i < s->n; i++)
        fprintf(to, "%" PRId64 " %s %" PRIx64 "\n", s->events[i].at_ms, kinds[s->events[i].kind].name,
                s->events[i].draws);
}

static int read_line(char *line, struct schedule *out)
{
    char name[32];
    struct schedule_event e = { 0 };
    line[strcspn(line, "#\n")] = '\0';
    if (line[strspn(line, " ")] == '\0' || sscanf(line, "seed %" SCNu64, &out->seed) == 1)
        return 0;
    if (out->n == SCHEDULE_MAX || sscanf(line, "%" SCNd64 " %31s %" SCNx64, &e.at_ms, name, &e.draws) != 3)
        return ERR_BAD;
    while (e.kind < TROUBLE_KINDS && strcmp(kinds[e.kind].name, name) != 0)
        e.kind++;
    if (e.kind == TROUBLE_KINDS || (out->n > 0 && e.at_ms < out->events[out->n - 1].at_ms))
        return ERR_BAD;
    out->events[out->n++] = e;
    return 0;
}

int schedule_read(const char *path, struct schedule *out)
{
    char line[256];
    int err = 0;
    FILE *f = fopen(path, "r");
    *out = (struct schedule){ 0 };
    if (f == NULL)
        return ERR_NOT_FOUND;
    while (err == 0 && fgets(line, sizeof line, f) != NULL)
        err = read_line(line, out);
    fclose(f);
    return err != 0 || out->seed == 0 ? ERR_BAD : 0;
}
