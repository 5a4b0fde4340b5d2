/* Measures the spool: restart time and memory with many messages, syncs and CPU per message under load. Not
 * run by ctest; `spool_measure fill N BYTES DIR` (`crash`: the same without closing), `spool_measure open
 * DIR`, `spool_measure load SESSIONS MESSAGES BYTES DIR`. Prints what docs/performance.md quotes.
 */
#include "base/clock.h"
#include "base/ensure.h"
#include "fixture.h"

#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define DOMAINS 50000 /* of the messages that `fill` makes */

static double seconds_since(int64_t ns)
{
    return (double)(clock_mono_ns() - ns) / 1e9;
}

static double cpu_seconds(int who)
{
    struct rusage u;
    ensure(getrusage(who, &u) == 0);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static long resident_kib(void)
{
    long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    ensure(f != NULL);
    ensure(fscanf(f, "%ld %ld", &pages, &resident) == 2);
    fclose(f);
    return resident * 4;
}

struct window {
    struct waited w[256];
};

static void put_one(struct spool *s, const uint8_t *body, size_t n, struct waited *w, uint64_t tag)
{
    struct spool_ingest *in;
    ensure(spool_ingest_open(s, &in) == 0);
    ensure(spool_ingest_write(in, body, n) >= 0);
    waited_init(w);
    char address[64];
    int len = snprintf(address, sizeof address, "r%" PRIu64 "@d%" PRIu64 ".example.net", tag, tag % DOMAINS);
    struct envelope *e = envelope_make(tag, 1);
    struct envelope_rcpt to = { .address = span_of(address, (size_t)len) };
    e->rcpts = &to;
    spool_ingest_commit(in, e, &w->op);
}

static int fill(uint64_t messages, size_t bytes, const char *dir, bool crash)
{
    static struct window win;
    uint8_t *body = malloc(bytes);
    ensure(body != NULL);
    body_fill(2, bytes, body); /* incompressible */
    struct spool *s;
    int64_t from = clock_mono_ns();
    ensure(spool_open(&(struct spool_config){ .dir = dir, .min_free_bytes = 1 }, NULL, NULL, &s) == 0);
    for (uint64_t i = 0; i < messages; i++) {
        struct waited *w = &win.w[i % 256];
        if (i >= 256)
            ensure(waited_wait(s, w) == 0);
        memcpy(body, &i, bytes < sizeof i ? bytes : sizeof i);
        uint64_t earlier = w->op.id;
        put_one(s, body, bytes, w, i);
        if (i % 3 == 0 && i >= 256) {
            struct spool_rcpt_update u = {
                .to = { .attempts = 1, .next_ms = 1, .reply = SPAN_LIT("451 4.2.1 mailbox busy, try later") }
            };
            ensure(spool_update(s, earlier, &u, 1, NULL) == 0);
        }
    }
    for (uint64_t i = 0; i < (messages < 256 ? messages : 256); i++)
        ensure(waited_wait(s, &win.w[i]) == 0);
    struct spool_stats st;
    spool_stats(s, &st);
    printf("filled %" PRIu64 " in %.1f s, %" PRIu64 " syncs, %" PRIu64 " segments\n", messages,
           seconds_since(from), st.syncs, st.segments);
    printf("resident %ld MiB, heap in use %zu MiB\n", resident_kib() / 1024, mallinfo2().uordblks >> 20);
    fflush(stdout);
    if (crash)
        _exit(0);
    from = clock_mono_ns();
    spool_close(s);
    printf("closed in %.2f s\n", seconds_since(from));
    free(body);
    return 0;
}

static int count_found(void *ctx, const struct envelope *env, const struct spool_rcpt *rcpts)
{
    (void)env;
    (void)rcpts;
    ++*(uint64_t *)ctx;
    return 0;
}

static int reopen(const char *dir)
{
    struct spool *s;
    uint64_t n = 0;
    int64_t from = clock_mono_ns();
    double cpu = cpu_seconds(RUSAGE_SELF);
    ensure(spool_open(&(struct spool_config){ .dir = dir, .min_free_bytes = 1 }, count_found, &n, &s) == 0);
    printf("opened with %" PRIu64 " messages in %.2f s (CPU %.2f s)\n", n, seconds_since(from),
           cpu_seconds(RUSAGE_SELF) - cpu);
    printf("resident %ld MiB, heap in use %zu MiB\n", resident_kib() / 1024, mallinfo2().uordblks >> 20);
    spool_close(s);
    return 0;
}

/* ---- closed-loop sessions, one thread for all of them: as a worker's loop would
 * ---------------------------- */

struct load {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    struct list answered;
};

struct session {
    struct spool_op op;
    struct list link;
    struct load *load;
    bool update; /* the answer is to its update */
    int64_t since_ns;
};

static void session_done(struct spool_op *op)
{
    struct session *se = LIST_ITEM(op, struct session, op);
    pthread_mutex_lock(&se->load->lock);
    list_push_back(&se->load->answered, &se->link);
    pthread_cond_signal(&se->load->cond);
    pthread_mutex_unlock(&se->load->lock);
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static int load(uint32_t sessions, uint64_t messages, size_t bytes, const char *dir)
{
    struct load l = { .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
    list_init(&l.answered);
    struct session *all = calloc(sessions, sizeof *all);
    int64_t *latency = calloc(messages, sizeof *latency);
    uint8_t *body = malloc(bytes);
    ensure(all != NULL && latency != NULL && body != NULL);
    body_fill(2, bytes, body);
    struct spool *s;
    ensure(spool_open(&(struct spool_config){ .dir = dir, .min_free_bytes = 1 }, NULL, NULL, &s) == 0);
    for (uint32_t i = 0; i < sessions; i++) {
        all[i].op.done = session_done;
        all[i].load = &l;
        all[i].update = true;
        list_push_back(&l.answered, &all[i].link);
    }
    struct spool_stats before, after;
    spool_stats(s, &before);
    int64_t from = clock_mono_ns();
    double cpu = cpu_seconds(RUSAGE_SELF);
    uint64_t started = 0, committed = 0, ended = 0;
    while (ended < messages) {
        pthread_mutex_lock(&l.lock);
        while (list_empty(&l.answered))
            pthread_cond_wait(&l.cond, &l.lock);
        struct session *se = LIST_ITEM(list_pop_front(&l.answered), struct session, link);
        pthread_mutex_unlock(&l.lock);
        ensure(se->op.status == 0);
        if (!se->update) {
            latency[committed++] = clock_mono_ns() - se->since_ns;
            /* delivered: read it and end it, nobody waits for that */
            struct spool_info *info;
            struct spool_reader *r;
            const char *p;
            size_t n;
            ensure(spool_info(s, se->op.id, &info) == 0);
            spool_info_free(info);
            ensure(spool_reader_open(s, se->op.id, &r) == 0);
            do
                ensure(spool_reader_next(r, &p, &n) == 0);
            while (n > 0);
            spool_reader_close(r);
            struct spool_rcpt_update u = { .to = { .state = RCPT_DELIVERED,
                                                   .attempts = 1,
                                                   .reply = SPAN_LIT("250 2.0.0 ok queued as 12345") } };
            ensure(spool_update(s, se->op.id, &u, 1, NULL) == 0);
            ended++;
        }
        if (started == messages)
            continue;
        se->update = false;
        se->since_ns = clock_mono_ns();
        struct spool_ingest *in;
        ensure(spool_ingest_open(s, &in) == 0);
        ensure(spool_ingest_write(in, body, bytes) >= 0);
        spool_ingest_commit(in, envelope_make(started++, 1), &se->op);
    }
    double took = seconds_since(from);
    cpu = cpu_seconds(RUSAGE_SELF) - cpu;
    spool_stats(s, &after);
    qsort(latency, committed, sizeof *latency, compare);
    printf("%u sessions, %zu bytes: %.0f msg/s, %.1f us CPU each, %.3f syncs each, commit p50 %.0f us p99 "
           "%.0f us\n",
           sessions, bytes, (double)messages / took, cpu * 1e6 / (double)messages,
           (double)(after.syncs - before.syncs) / (double)messages, (double)latency[committed / 2] / 1e3,
           (double)latency[committed * 99 / 100] / 1e3);
    spool_close(s);
    free(all);
    free(latency);
    free(body);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && (strcmp(argv[1], "fill") == 0 || strcmp(argv[1], "crash") == 0))
        return fill(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10), argv[4], argv[1][0] == 'c');
    if (argc == 3 && strcmp(argv[1], "open") == 0)
        return reopen(argv[2]);
    if (argc == 6 && strcmp(argv[1], "load") == 0)
        return load((uint32_t)strtoul(argv[2], NULL, 10), strtoull(argv[3], NULL, 10),
                    strtoull(argv[4], NULL, 10), argv[5]);
    fprintf(stderr, "usage: %s fill|crash MESSAGES BYTES DIR | open DIR | load SESSIONS MESSAGES BYTES DIR\n",
            argv[0]);
    return 2;
}
