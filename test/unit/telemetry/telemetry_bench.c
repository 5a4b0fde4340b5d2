/* What telemetry costs: telemetry_bench DIR [n]. CPU time of the thread that does the work. Not a test. */
#include "node/telemetry/events.h"
#include "node/telemetry/history.h"
#include "node/telemetry/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static double cpu_s(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void bench_events(const char *dir, uint32_t n)
{
    char path[512];
    struct events *ev;
    snprintf(path, sizeof path, "%s/bench-events.log", dir);
    struct events_config c = {
        .target = EVENTS_FILE, .path = path, .node = "node1", .nshards = 1, .max_bytes = UINT64_C(64) << 20
    };
    if (events_open(&c, &ev) != 0)
        exit(1);
    struct event e = EVENT_INIT(EVENT_DELIVERED);
    e.id = 123456789012345;
    e.session = 4711;
    e.client_ip = SPAN_LIT("192.0.2.77");
    e.account = SPAN_LIT("someone@customer.example");
    e.tenant = SPAN_LIT("customer.example");
    e.class = SPAN_LIT("person");
    e.sender = SPAN_LIT("someone@customer.example");
    e.recipient = SPAN_LIT("somebody.else@destination.example");
    e.message_id = SPAN_LIT("<20261121210405.GA12345@customer.example>");
    e.site = SPAN_LIT("destination.example");
    e.mx = SPAN_LIT("mx1.destination.example");
    e.mx_ip = SPAN_LIT("198.51.100.25");
    e.source_ip = SPAN_LIT("192.0.2.1");
    e.ehlo = SPAN_LIT("out1.relay.example");
    e.pool = SPAN_LIT("main");
    e.stage = SPAN_LIT("dot");
    e.tls = SPAN_LIT("TLSv1.3 TLS_AES_256_GCM_SHA384");
    e.code = 250;
    e.enhanced[0] = 2;
    e.text = SPAN_LIT("ok: queued as 4XYZ123456");
    e.attempt = 1;
    e.size = 4321;
    e.queue_delay_ms = 12;
    e.dns_delay_ms = 3;
    e.connect_delay_ms = 20;
    e.transfer_delay_ms = 41;
    double start = cpu_s(CLOCK_THREAD_CPUTIME_ID), all = cpu_s(CLOCK_PROCESS_CPUTIME_ID);
    for (uint32_t i = 0; i < n; i++) {
        events_put(ev, 0, &e);
        if (i % 10000 == 9999)
            events_flush(ev);
    }
    double worker = cpu_s(CLOCK_THREAD_CPUTIME_ID) - start;
    events_flush(ev);
    printf("event: %.2f us of the worker, %.2f us with the writer\n", worker * 1e6 / n,
           (cpu_s(CLOCK_PROCESS_CPUTIME_ID) - all) * 1e6 / n);
    events_close(ev);
    remove(path);
}

static void bench_metrics(uint32_t n)
{
    struct metrics *m = metrics_new(2);
    if (m == NULL)
        exit(1);
    double start = cpu_s(CLOCK_THREAD_CPUTIME_ID);
    for (uint32_t i = 0; i < n; i++)
        metrics_add(m, 0, METRICS_RECIPIENTS, i % 5, 1);
    double add = cpu_s(CLOCK_THREAD_CPUTIME_ID);
    for (uint32_t i = 0; i < n; i++)
        metrics_observe_us(m, 0, METRICS_CONNECT_SECONDS, i);
    double observe = cpu_s(CLOCK_THREAD_CPUTIME_ID);
    printf("metrics: add %.4f us, observe %.4f us\n", (add - start) * 1e6 / n, (observe - add) * 1e6 / n);
    metrics_free(m);
}

static void bench_history(const char *dir, uint32_t n)
{
    static const char *const suffix[] = { "", "-wal", "-shm" };
    char path[512], sender[64], account[64], rcpt[64], message_id[64];
    struct history *h;
    snprintf(path, sizeof path, "%s/bench-history.db", dir);
    struct history_config c = { .path = path };
    if (history_open(&c, &h) != 0)
        exit(1);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    double worker = 0, wall = cpu_s(CLOCK_MONOTONIC);
    for (uint32_t i = 1; i <= n; i++) {
        snprintf(account, sizeof account, "user%u@customer%u.example", i % 5000, i % 300);
        snprintf(sender, sizeof sender, "user%u@customer%u.example", i % 5000, i % 300);
        snprintf(rcpt, sizeof rcpt, "person%u@domain%u.example", i * 2654435761u % 100000,
                 i * 40503u % 50000);
        snprintf(message_id, sizeof message_id, "<2026112121%u.%x@customer.example>", i, i * 2654435761u);
        struct envelope_rcpt er = { .address = span_str(rcpt) };
        struct envelope env = { .id = (UINT64_C(1800000000000) + i / 10) << 20 | i,
                                .arrival_ms = 1800000000000 + i / 10,
                                .size = 4096,
                                .mail_from = span_str(sender),
                                .account = span_str(account),
                                .tenant = SPAN_LIT("customer.example"),
                                .client_ip = SPAN_LIT("192.0.2.77"),
                                .client_name = SPAN_LIT("host77.customer.example"),
                                .helo = SPAN_LIT("host77.customer.example"),
                                .protocol = SPAN_LIT("ESMTPSA"),
                                .listener = SPAN_LIT("submission"),
                                .message_id = span_str(message_id),
                                .nrcpts = 1,
                                .rcpts = &er };
        struct history_rcpt r = { .site = SPAN_LIT("domain.example"),
                                  .mx = SPAN_LIT("mx1.domain.example"),
                                  .mx_ip = SPAN_LIT("198.51.100.25"),
                                  .source_ip = SPAN_LIT("192.0.2.1"),
                                  .tls = SPAN_LIT("TLSv1.3") };
        struct spool_rcpt_update u = { .to = { .state = RCPT_DELIVERED,
                                               .attempts = 1,
                                               .changed_ms = env.arrival_ms + 100,
                                               .reply = SPAN_LIT("250 2.0.0 ok: queued as 4XYZ123456") } };
        double t = cpu_s(CLOCK_THREAD_CPUTIME_ID);
        history_note(h, &env, &r, 1);
        history_ended(h, env.id, &u, 1, i);
        worker += cpu_s(CLOCK_THREAD_CPUTIME_ID) - t;
        if (i % 10000 == 0)
            history_flush(h);
    }
    history_flush(h);
    getrusage(RUSAGE_SELF, &after);
    double cpu = (double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec -
                          before.ru_stime.tv_sec) +
                 (double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec -
                          before.ru_stime.tv_usec) /
                     1e6;
    struct history_stats s;
    history_stats(h, &s);
    printf("history: %u rows: %.2f us of the tellers, %.2f us CPU in all (with making up the names), %.2f us "
           "wall; "
           "%.0f bytes a row\n",
           n, worker * 1e6 / n, cpu * 1e6 / n, (cpu_s(CLOCK_MONOTONIC) - wall) * 1e6 / n,
           (double)s.file_bytes / n);
    history_close(h);
    for (int i = 0; i < 3; i++) {
        char name[600];
        snprintf(name, sizeof name, "%s%s", path, suffix[i]);
        remove(name);
    }
}

int main(int argc, char **argv)
{
    uint32_t n = argc > 2 ? (uint32_t)atol(argv[2]) : 200000;
    if (argc < 2 || n == 0)
        return 2;
    bench_metrics(n * 50);
    bench_events(argv[1], n);
    bench_history(argv[1], n);
    return 0;
}
