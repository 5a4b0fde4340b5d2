/* What the history's tests share: a small world of messages, told to a history, and asking for them. */
#ifndef TEST_UNIT_TELEMETRY_HISTORY_FIXTURE_H
#define TEST_UNIT_TELEMETRY_HISTORY_FIXTURE_H

#include "test/unit/telemetry/fixture.h"

#include "node/telemetry/history.h"

#include <sqlite3.h>
#include <stdatomic.h>

#define T0 INT64_C(1800000000000)

static atomic_uint_fast64_t committed_seq;

static inline void on_committed(void *ctx, uint64_t seq)
{
    (void)ctx;
    assert_true(seq > atomic_load(&committed_seq));
    atomic_store(&committed_seq, seq);
}

static inline struct history *open_with(struct history_config c)
{
    static char path[256];
    struct history *h;
    c.path = in_dir(path, "history.db");
    c.committed = on_committed;
    atomic_store(&committed_seq, 0);
    assert_int_equal(history_open(&c, &h), 0);
    return h;
}

static inline struct history *open_plain(void)
{
    return open_with((struct history_config){ 0 });
}

/* While no history has it open. */
static inline void change_file(const char *text)
{
    char path[256];
    sqlite3 *sql;
    assert_int_equal(sqlite3_open(in_dir(path, "history.db"), &sql), SQLITE_OK);
    assert_int_equal(sqlite3_exec(sql, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(sql);
}

/* A message number k of a small world: sender u(k%10)@s.example, Message-ID <k@x>, two recipients. */
static inline void tell(struct history *h, uint64_t k, uint64_t seq, bool note)
{
    char sender[64], rcpt[2][64], message_id[64], reply[64];
    snprintf(sender, sizeof sender, "User%d@S%d.example", (int)(k % 10), (int)(k % 2));
    snprintf(message_id, sizeof message_id, "<%d@x>", (int)k);
    for (int i = 0; i < 2; i++)
        snprintf(rcpt[i], sizeof rcpt[i], "r%d@D%d.example", (int)(k % 50) + i * 1000, (int)(k % 5) + i);
    snprintf(reply, sizeof reply, "250 2.0.0 ok %d", (int)k);
    struct envelope_rcpt rcpts[2] = { { .address = span_str(rcpt[0]) }, { .address = span_str(rcpt[1]) } };
    struct envelope env = { .id = k << 20,
                            .arrival_ms = T0 + (int64_t)k * 1000,
                            .size = 1000 + k,
                            .class = ENVELOPE_CLASS_DEVICE,
                            .mail_from = k % 10 == 3 ? SPAN_LIT("") : span_str(sender),
                            .account = k % 2 == 0 ? SPAN_LIT("even") : SPAN_LIT("odd"),
                            .tenant = SPAN_LIT("t"),
                            .client_ip = SPAN_LIT("192.0.2.1"),
                            .client_name = SPAN_LIT("c.example"),
                            .helo = SPAN_LIT("h.example"),
                            .protocol = SPAN_LIT("ESMTPSA"),
                            .listener = SPAN_LIT("submission"),
                            .message_id = span_str(message_id),
                            .nrcpts = 2,
                            .rcpts = rcpts };
    struct history_rcpt details[2];
    struct spool_rcpt_update u[2];
    for (uint32_t i = 0; i < 2; i++) {
        details[i] = (struct history_rcpt){ .rcpt = i,
                                            .site = SPAN_LIT("site.example"),
                                            .mx = SPAN_LIT("mx.example"),
                                            .mx_ip = SPAN_LIT("2001:db8::1"),
                                            .source_ip = SPAN_LIT("192.0.2.9"),
                                            .tls = SPAN_LIT("TLSv1.3") };
        u[i] = (struct spool_rcpt_update){ .rcpt = i,
                                           .to = { .state = i == 0 ? RCPT_DELIVERED : RCPT_BOUNCED,
                                                   .attempts = 3,
                                                   .changed_ms = env.arrival_ms + 500,
                                                   .reply = span_str(reply) } };
    }
    if (note)
        history_note(h, &env, details, 2);
    history_ended(h, env.id, u, 2, seq);
}

struct found {
    uint32_t n;
    uint64_t ids[4096];
    uint32_t rcpts[4096];
    struct history_row last;
};

static inline int on_row(void *arg, const struct history_row *row)
{
    struct found *f = arg;
    if (f->n > 0) /* newest first */
        assert_true(row->id < f->ids[f->n - 1] ||
                    (row->id == f->ids[f->n - 1] && row->rcpt < f->rcpts[f->n - 1]));
    assert_true(f->n < 4096);
    f->ids[f->n] = row->id;
    f->rcpts[f->n++] = row->rcpt;
    f->last = *row;
    return 0;
}

/* In whatever order hops come. */
static inline int on_any_row(void *arg, const struct history_row *row)
{
    struct found *f = arg;
    f->ids[f->n] = row->id;
    f->rcpts[f->n++] = row->rcpt;
    return 0;
}

static inline struct found *ask(struct history *h, struct history_query q)
{
    static struct found f;
    memset(&f, 0, sizeof f);
    assert_int_equal(history_query(h, &q, on_row, &f), 0);
    return &f;
}

#endif
