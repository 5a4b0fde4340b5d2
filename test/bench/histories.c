/* Histories to measure `turnpike track` with: turnpike-histories FILE NODE OF MESSAGES [DAYS]
 *
 * Fills FILE, by the history's own code, with what node NODE (1 to OF) finished of MESSAGES messages that OF
 * nodes finished in DAYS (default 10) that end now. The same arguments make the same world, so that one who
 * measures knows what is in it: message k has the Message-ID <k@bench.example>, every tenth has three
 * recipients, a tenth come from one newsletter, one in 1000 is of a small tenant; 40 % of the recipients are
 * of four large domains; 3 % bounced, of those one in 1000 as "550 5.7.26 rare". What it cost is printed as
 * JSON. */
#include "base/clock.h"
#include "node/telemetry/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define RCPTS 3
#define FLUSH_EVERY 5000

struct texts {
    char sender[64], message_id[64], reply[96], client[32];
    char rcpts[RCPTS][64];
};

/* A number that k and its use determine. */
static uint32_t draw(uint64_t k, uint32_t use, uint32_t below)
{
    uint64_t x = (k + 1) * UINT64_C(0x9e3779b97f4a7c15) + use * UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 31;
    x *= UINT64_C(0x94d049bb133111eb);
    x ^= x >> 29;
    return (uint32_t)(x % below);
}

static void name_rcpt(uint64_t k, uint32_t i, char out[64])
{
    static const char *const large[] = { "large1.example", "large2.example", "large3.example",
                                         "large4.example" };
    uint32_t who = draw(k, 10 + i, 200000), where = draw(k, 20 + i, 100);
    if (where < 40)
        snprintf(out, 64, "person%u@%s", who, large[where % 4]);
    else
        snprintf(out, 64, "person%u@domain%u.example", who, draw(k, 30 + i, 20000));
}

static void name(uint64_t k, struct texts *t)
{
    uint32_t user = draw(k, 1, 5000);
    if (draw(k, 2, 10) == 0)
        snprintf(t->sender, sizeof t->sender, "news@letters.example");
    else
        snprintf(t->sender, sizeof t->sender, "user%u@customer%u.example", user, user % 300);
    snprintf(t->message_id, sizeof t->message_id, "<%llu@bench.example>", (unsigned long long)k);
    snprintf(t->client, sizeof t->client, "192.0.2.%u", draw(k, 3, 250) + 1);
    for (uint32_t i = 0; i < RCPTS; i++)
        name_rcpt(k, i, t->rcpts[i]);
}

static void tell(struct history *h, uint64_t k, uint64_t id, int64_t arrival_ms)
{
    struct texts t;
    name(k, &t);
    uint32_t n = k % 10 == 0 ? RCPTS : 1;
    bool bounced = draw(k, 4, 100) < 3;
    snprintf(t.reply, sizeof t.reply, "%s",
             !bounced                ? "250 2.0.0 Ok: queued as 4XYZ123456"
             : draw(k, 5, 1000) == 0 ? "550 5.7.26 rare"
                                     : "550 5.1.1 there is nobody of that name here");
    struct envelope_rcpt rcpts[RCPTS];
    struct history_rcpt details[RCPTS];
    struct spool_rcpt_update u[RCPTS];
    for (uint32_t i = 0; i < n; i++) {
        rcpts[i] = (struct envelope_rcpt){ .address = span_str(t.rcpts[i]) };
        details[i] = (struct history_rcpt){ .rcpt = i,
                                            .site = SPAN_LIT("domain.example"),
                                            .mx = SPAN_LIT("mx1.domain.example"),
                                            .mx_ip = SPAN_LIT("198.51.100.25"),
                                            .source_ip = SPAN_LIT("192.0.2.1"),
                                            .tls = SPAN_LIT("TLSv1.3 TLS_AES_256_GCM_SHA384") };
        u[i] = (struct spool_rcpt_update){ .rcpt = i,
                                           .to = { .state = bounced ? RCPT_BOUNCED : RCPT_DELIVERED,
                                                   .attempts = 1,
                                                   .changed_ms = arrival_ms + 900,
                                                   .reply = span_str(t.reply) } };
    }
    struct envelope env = { .id = id,
                            .arrival_ms = arrival_ms,
                            .size = 4096,
                            .mail_from = span_str(t.sender),
                            .account = span_str(t.sender),
                            .tenant = draw(k, 6, 1000) == 0 ? SPAN_LIT("small.example")
                                                            : SPAN_LIT("customer.example"),
                            .client_ip = span_str(t.client),
                            .client_name = SPAN_LIT("host77.customer.example"),
                            .helo = SPAN_LIT("host77.customer.example"),
                            .protocol = SPAN_LIT("ESMTPSA"),
                            .listener = SPAN_LIT("submission"),
                            .message_id = span_str(t.message_id),
                            .nrcpts = n,
                            .rcpts = rcpts };
    history_note(h, &env, details, n);
    history_ended(h, id, u, n, id);
}

static double seconds(void)
{
    return (double)clock_mono_ns() / 1e9;
}

static double cpu_seconds(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    if (argc < 5 || argc > 6)
        return 2;
    uint64_t node = strtoull(argv[2], NULL, 10), of = strtoull(argv[3], NULL, 10);
    uint64_t messages = strtoull(argv[4], NULL, 10), days = argc == 6 ? strtoull(argv[5], NULL, 10) : 10;
    if (node == 0 || node > of || of > 255 || messages == 0 || days == 0)
        return 2;
    struct history_config c = { .path = argv[1] };
    struct history *h;
    if (history_open(&c, &h) != 0)
        return 1;
    int64_t span_ms = (int64_t)days * 86400000, from_ms = clock_wall_ms() - span_ms;
    double wall = seconds(), cpu = cpu_seconds();
    uint64_t mine = 0;
    for (uint64_t k = node - 1; k < messages; k += of) {
        int64_t at_ms = from_ms + (int64_t)((double)span_ms * (double)k / (double)messages);
        tell(h, k, (uint64_t)at_ms << 20 | (k & 255) << 12 | node, at_ms);
        if (++mine % FLUSH_EVERY == 0 && history_flush(h) != 0)
            return 1;
    }
    if (history_flush(h) != 0)
        return 1;
    struct history_stats s;
    history_stats(h, &s);
    printf(
        "{\"messages\": %llu, \"rows\": %llu, \"wall_s\": %.2f, \"cpu_us_per_row\": %.2f, \"bytes\": %llu}\n",
        (unsigned long long)mine, (unsigned long long)s.rows, seconds() - wall,
        (cpu_seconds() - cpu) * 1e6 / (double)s.rows, (unsigned long long)s.file_bytes);
    history_close(h);
    return 0;
}
