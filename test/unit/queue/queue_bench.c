/* How much an operation and an item cost: queue_bench [items [sites [senders]]]. Not a test. */
#include "base/clock.h"
#include "node/queue/queue.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#define T0 INT64_C(1800000000000)

static double now_s(void)
{
    return (double)clock_mono_ns() / 1e9;
}

static size_t allocated(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static double rate(const char *what, uint32_t n, double since)
{
    double now = now_s();
    printf("%-28s %8.3f us each\n", what, (now - since) * 1e6 / n);
    return now_s();
}

static void nothing(void *ctx, struct queue_item *item)
{
    *(uint64_t *)ctx += queue_item_id(item);
}

static struct queue *fill(uint32_t n, uint32_t sites, uint32_t senders)
{
    struct queue_config c;
    queue_config_default(&c);
    c.conns_total_max = sites;
    struct queue *q = queue_new(&c, T0);
    for (uint32_t i = 0; q != NULL && i < n; i++) {
        char site[32], sender[32];
        uint32_t rcpt = 0;
        int site_n = snprintf(site, sizeof site, "domain%u.example", (uint32_t)(i * 2654435761u) % sites);
        int sender_n = snprintf(sender, sizeof sender, "user%u", i % senders);
        struct queue_item_info info = { .id = i + 1,
                                        .site = span_of(site, (size_t)site_n),
                                        .sender = span_of(sender, (size_t)sender_n),
                                        .arrival_ms = T0,
                                        .nrcpts = 1,
                                        .rcpts = &rcpt };
        if (queue_add(q, &info, T0) == NULL)
            return NULL;
    }
    return q;
}

int main(int argc, char **argv)
{
    uint32_t n = argc > 1 ? (uint32_t)atol(argv[1]) : 1000000;
    uint32_t sites = argc > 2 ? (uint32_t)atol(argv[2]) : 50000;
    uint32_t senders = argc > 3 ? (uint32_t)atol(argv[3]) : 50;
    if (n == 0 || sites == 0 || senders == 0)
        return 2;
    struct queue_conn *conns = calloc(sites, sizeof *conns);
    struct queue_item **taken = calloc(n, sizeof(struct queue_item *));
    if (conns == NULL || taken == NULL)
        return 1;

    size_t before = allocated();
    double at = now_s();
    struct queue *q = fill(n, sites, senders);
    if (q == NULL)
        return 1;
    at = rate("add (with formatting names)", n, at);
    struct queue_totals t;
    queue_totals(q, &t);
    printf("%u items, %u sites, %u senders: %.1f bytes an item in all (%.1f by the queue's own count)\n", n,
           t.sites, t.senders, (double)(allocated() - before) / n, (double)t.bytes / n);

    uint64_t cursor = 0, sum = 0;
    at = now_s();
    while (queue_walk(q, &cursor, 1000, nothing, &sum))
        continue;
    at = rate("walk", n, at);

    struct queue_action a;
    uint32_t opened = 0, ntaken = 0;
    while (queue_poll(q, T0, &a) && a.kind == QUEUE_ACTION_OPEN_CONNECTION) {
        queue_conn_init(q, a.site, &conns[opened]);
        queue_conn_opened(q, &conns[opened++], T0);
    }
    at = rate("poll and open", opened, at);
    for (uint32_t i = 0; i < opened; i++)
        for (struct queue_item *item; (item = queue_take(q, &conns[i], T0)) != NULL;)
            taken[ntaken++] = item;
    at = rate("take", ntaken, at);
    for (uint32_t i = 0; i < ntaken; i++)
        queue_defer(q, taken[i], NULL, 0, 0, T0);
    at = rate("defer", ntaken, at);
    uint32_t polls = 0;
    int64_t now = T0 + 400000;
    ntaken = 0;
    do {
        for (polls++; queue_poll(q, now, &a); polls++)
            if (a.kind == QUEUE_ACTION_USE_CONNECTION)
                for (struct queue_item *item; (item = queue_take(q, a.conn, now)) != NULL;)
                    taken[ntaken++] = item;
    } while (queue_next_wake_ms(q, now) <= now);
    at = rate("come due and take", ntaken, at);
    for (uint32_t i = 0; i < ntaken; i++)
        queue_done(q, taken[i]);
    rate("done", ntaken, at);
    queue_totals(q, &t);
    printf("left: %u sites, %.1f MiB\n", t.sites, (double)t.bytes / 1048576);
    queue_free(q);
    free(conns);
    free(taken);
    return sum == 0;
}
