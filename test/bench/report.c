/* What the load generator prints at its end. */
#include "test/bench/send.h"

#include "base/text.h"

#include <inttypes.h>

static double seconds_of(const struct sender *s)
{
    return s->accepted == 0 ? 0 : (double)(s->last_ns - s->start_ns) / 1e9;
}

static const struct {
    const char *name;
    double q;
} quantiles[] = { { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p999", 0.999 } };

static void json_hist(struct buf *b, const char *name, const struct hist *h)
{
    buf_printf(b, ",\"%s_us\":{\"count\":%" PRIu64 ",\"mean\":%.1f", name, h->total, hist_mean(h) / 1e3);
    for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++)
        buf_printf(b, ",\"%s\":%.1f", quantiles[i].name, (double)hist_quantile(h, quantiles[i].q) / 1e3);
    buf_printf(b, ",\"max\":%.1f}", (double)h->max_ns / 1e3);
}

static void print_json(const struct sender *s, double took)
{
    struct buf b;
    buf_init(&b, 1u << 20);
    buf_printf(&b,
               "{\"run\":\"%s\",\"accepted\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"lost\":%" PRIu64
               ",\"recipients\":%" PRIu64 ",\"connections\":%" PRIu64 ",\"connect_failures\":%" PRIu64
               ",\"gave_up\":%s,\"seconds\":%.3f,\"messages_per_s\":%.1f,\"bytes\":%zu",
               s->pool.run, s->accepted, s->refused, s->lost, s->rcpts_accepted, s->connections,
               s->connect_failures, s->gave_up ? "true" : "false", took,
               took > 0 ? (double)s->accepted / took : 0, s->o->size);
    json_hist(&b, "connect", &s->connect);
    json_hist(&b, "message", &s->message);
    json_hist(&b, "dot", &s->dot);
    buf_put_str(&b, ",\"errors\":{");
    for (unsigned i = 0; i < s->nerrors; i++) {
        if (i > 0)
            buf_put_char(&b, ',');
        text_put_json(&b, span_str(s->errors[i].text));
        buf_printf(&b, ":%" PRIu64, s->errors[i].count);
    }
    buf_put_str(&b, "}}\n");
    fwrite(b.data, 1, b.len, stdout);
    buf_fini(&b);
}

static void print_hist(const char *name, const struct hist *h)
{
    printf("  %-22s", name);
    for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++)
        printf(" %9.3f", (double)hist_quantile(h, quantiles[i].q) / 1e6);
    printf(" %9.3f\n", (double)h->max_ns / 1e6);
}

void report_print(const struct sender *s)
{
    double took = seconds_of(s);
    if (s->o->json) {
        print_json(s, took);
        return;
    }
    printf("%" PRIu64 " accepted, %" PRIu64 " refused, %" PRIu64 " lost, on %" PRIu64 " connections (%" PRIu64
           " failed) in %.2f s\n",
           s->accepted, s->refused, s->lost, s->connections, s->connect_failures, took);
    if (took > 0)
        printf("%.0f messages/s, %.1f MiB/s\n", (double)s->accepted / took,
               (double)s->accepted / took * (double)s->o->size / (1 << 20));
    printf("  %-22s %9s %9s %9s %9s %9s\n", "latency in ms", "p50", "p90", "p99", "p99.9", "max");
    print_hist("connect to ready", &s->connect);
    print_hist("MAIL to final 250", &s->message);
    print_hist("dot to final 250", &s->dot);
    for (unsigned i = 0; i < s->nerrors; i++) {
        struct buf line;
        buf_init(&line, 4096);
        text_put_log(&line, span_str(s->errors[i].text));
        printf("  %8" PRIu64 " x %.*s\n", s->errors[i].count, (int)line.len, line.data);
        buf_fini(&line);
    }
    if (s->gave_up)
        printf("gave up: no message was accepted for %.0f s\n", (double)s->o->give_up_ms / 1e3);
}
