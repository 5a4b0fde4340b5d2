/* Shards of counters and their text. Counting runs on the threads that own the shards, rendering on any. */
#include "node/telemetry/metrics.h"

#include "base/ensure.h"
#include "node/telemetry/metrics_table.h"

#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A series takes one slot, a histogram its buckets and their sum. */
#define HISTOGRAM_SLOTS (METRICS_BUCKETS + 1)
#define HISTOGRAM_SUM METRICS_BUCKETS

struct metrics {
    uint32_t nshards;
    uint32_t nslots;
    uint32_t stride; /* slots of a shard with what fills its last cache line */
    uint32_t first[METRICS_IDS];
    uint32_t labels[METRICS_IDS]; /* values; 1 without labels */
    atomic_int_fast64_t *slots;
};

static uint32_t labels_count(const struct metrics_def *def)
{
    uint32_t n = 0;
    if (def->labels == NULL)
        return 1;
    while (def->labels[n] != NULL)
        n++;
    return n;
}

struct metrics *metrics_new(uint32_t nshards)
{
    struct metrics *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    m->nshards = nshards;
    for (uint32_t id = 0; id < METRICS_IDS; id++) {
        m->first[id] = m->nslots;
        m->labels[id] = labels_count(&metrics_table[id]);
        m->nslots += metrics_table[id].type == METRICS_HISTOGRAM ? HISTOGRAM_SLOTS : m->labels[id];
    }
    m->stride = (m->nslots + 7) & ~7u;
    size_t bytes = (size_t)m->stride * nshards * sizeof *m->slots;
    m->slots = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    if (m->slots == NULL) {
        free(m);
        return NULL;
    }
    for (size_t i = 0; i < (size_t)m->stride * nshards; i++)
        atomic_init(&m->slots[i], 0);
    return m;
}

void metrics_free(struct metrics *m)
{
    if (m == NULL)
        return;
    free(m->slots);
    free(m);
}

static atomic_int_fast64_t *slot(const struct metrics *m, uint32_t shard, enum metrics_id id, uint32_t index)
{
    return &m->slots[(size_t)shard * m->stride + m->first[id] + index];
}

/* The shard has one writer, so a load and a store do. */
static void bump(atomic_int_fast64_t *s, int64_t n)
{
    atomic_store_explicit(s, atomic_load_explicit(s, memory_order_relaxed) + n, memory_order_relaxed);
}

void metrics_add(struct metrics *m, uint32_t shard, enum metrics_id id, uint32_t label, int64_t n)
{
    ensure(shard < m->nshards);
    ensure(label < m->labels[id]);
    bump(slot(m, shard, id, label), n);
}

void metrics_set(struct metrics *m, uint32_t shard, enum metrics_id id, uint32_t label, int64_t value)
{
    ensure(shard < m->nshards);
    ensure(label < m->labels[id]);
    atomic_store_explicit(slot(m, shard, id, label), value, memory_order_relaxed);
}

void metrics_observe_us(struct metrics *m, uint32_t shard, enum metrics_id id, int64_t us)
{
    ensure(shard < m->nshards);
    ensure(metrics_table[id].type == METRICS_HISTOGRAM);
    uint32_t bucket = 0;
    if (us < 0) /* of a clock that was set back */
        us = 0;
    while (metrics_bounds_us[bucket] != 0 && us > metrics_bounds_us[bucket])
        bucket++;
    bump(slot(m, shard, id, bucket), 1);
    bump(slot(m, shard, id, HISTOGRAM_SUM), us);
}

static int64_t sum(const struct metrics *m, enum metrics_id id, uint32_t index)
{
    int64_t total = 0;
    for (uint32_t shard = 0; shard < m->nshards; shard++)
        total += atomic_load_explicit(slot(m, shard, id, index), memory_order_relaxed);
    return total;
}

int64_t metrics_value(const struct metrics *m, enum metrics_id id, uint32_t label)
{
    if (metrics_table[id].type != METRICS_HISTOGRAM)
        return sum(m, id, label);
    int64_t total = 0;
    for (uint32_t bucket = 0; bucket < METRICS_BUCKETS; bucket++)
        total += sum(m, id, bucket);
    return total;
}

/* ---- text ---- */

static void put_head(struct buf *out, const char *name, const char *help, const char *type)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_series(const struct metrics *m, enum metrics_id id, const char *name, struct buf *out)
{
    const struct metrics_def *def = &metrics_table[id];
    if (def->labels == NULL) {
        buf_printf(out, "%s %lld\n", name, (long long)sum(m, id, 0));
        return;
    }
    for (uint32_t i = 0; i < m->labels[id]; i++)
        buf_printf(out, "%s{%s} %lld\n", name, def->labels[i], (long long)sum(m, id, i));
}

/* Buckets are read first, and their own total is the count: so the text is consistent in itself. */
static void put_histogram(const struct metrics *m, enum metrics_id id, const char *name, struct buf *out)
{
    int64_t count = 0;
    for (uint32_t i = 0; i < METRICS_BUCKETS; i++) {
        count += sum(m, id, i);
        if (metrics_bounds_us[i] != 0)
            buf_printf(out, "%s_bucket{le=\"%g\"} %lld\n", name, (double)metrics_bounds_us[i] / 1e6,
                       (long long)count);
        else
            buf_printf(out, "%s_bucket{le=\"+Inf\"} %lld\n", name, (long long)count);
    }
    buf_printf(out, "%s_sum %.6f\n%s_count %lld\n", name, (double)sum(m, id, HISTOGRAM_SUM) / 1e6, name,
               (long long)count);
}

/* Field n (from 1) of /proc/self/stat, or -1. The second is a name in brackets that may hold anything. */
static long long proc_stat(int field)
{
    char text[1024];
    FILE *f = fopen("/proc/self/stat", "re");
    if (f == NULL)
        return -1;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    char *p = strrchr(text, ')');
    for (int at = 2; p != NULL && at < field; at++)
        p = strchr(p + 1, ' ');
    return p == NULL ? -1 : atoll(p + 1);
}

static long long open_fds(void)
{
    long long n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (d == NULL)
        return -1;
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n - 3; /* . and .. and the one that reads */
}

/* When the machine booted, wall clock. */
static long long boot_s(void)
{
    char line[256];
    long long at = 0;
    FILE *f = fopen("/proc/stat", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "btime %lld", &at) == 1)
            break;
    if (f != NULL)
        fclose(f);
    return at;
}

static void put_process(struct buf *out)
{
    double tick = (double)sysconf(_SC_CLK_TCK);
    put_head(out, "process_cpu_seconds_total", "Processor time used.", "counter");
    buf_printf(out, "process_cpu_seconds_total %.2f\n", (double)(proc_stat(14) + proc_stat(15)) / tick);
    put_head(out, "process_resident_memory_bytes", "Resident memory.", "gauge");
    buf_printf(out, "process_resident_memory_bytes %lld\n", proc_stat(24) * sysconf(_SC_PAGESIZE));
    put_head(out, "process_virtual_memory_bytes", "Virtual memory.", "gauge");
    buf_printf(out, "process_virtual_memory_bytes %lld\n", proc_stat(23));
    put_head(out, "process_open_fds", "Open file descriptors.", "gauge");
    buf_printf(out, "process_open_fds %lld\n", open_fds());
    put_head(out, "process_max_fds", "Most file descriptors that may be open.", "gauge");
    buf_printf(out, "process_max_fds %ld\n", sysconf(_SC_OPEN_MAX));
    put_head(out, "process_start_time_seconds", "When the process started, since 1970.", "gauge");
    buf_printf(out, "process_start_time_seconds %.2f\n", (double)boot_s() + (double)proc_stat(22) / tick);
}

int metrics_render(const struct metrics *m, struct buf *out)
{
    static const char *const types[] = { "counter", "gauge", "histogram" };
    for (uint32_t id = 0; id < METRICS_IDS; id++) {
        const struct metrics_def *def = &metrics_table[id];
        char name[96];
        snprintf(name, sizeof name, "turnpike_%s", def->name);
        put_head(out, name, def->help, types[def->type]);
        if (def->type == METRICS_HISTOGRAM)
            put_histogram(m, (enum metrics_id)id, name, out);
        else
            put_series(m, (enum metrics_id)id, name, out);
    }
    put_head(out, "turnpike_build_info", "The version, as a label.", "gauge");
    buf_printf(out, "turnpike_build_info{version=\"%s\"} 1\n", TURNPIKE_VERSION);
    put_process(out);
    return buf_err(out);
}
