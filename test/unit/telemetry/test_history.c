/* The history: what ended is found by each way of asking, exactly once whatever is told again, never claimed
 * before it is durable; retention; a queue that is full; a file that is damaged or cannot be written. */
#include "test/unit/telemetry/history_fixture.h"

#include "base/err.h"
#include "node/telemetry/history.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>

static int check_row(void *arg, const struct history_row *row)
{
    uint64_t k = *(uint64_t *)arg;
    assert_int_equal(row->id, k << 20);
    assert_int_equal(row->rcpt, 1);
    assert_int_equal(row->nrcpts, 2);
    assert_int_equal(row->state, RCPT_BOUNCED);
    assert_int_equal(row->attempts, 3);
    assert_int_equal(row->arrival_ms, T0 + (int64_t)k * 1000);
    assert_int_equal(row->ended_ms, T0 + (int64_t)k * 1000 + 500);
    assert_int_equal(row->size, 1000 + k);
    assert_int_equal(row->class, ENVELOPE_CLASS_DEVICE);
    assert_true(span_eq(row->sender, SPAN_LIT("User7@S1.example")));
    assert_true(span_eq(row->recipient, SPAN_LIT("r1007@D3.example")));
    assert_true(span_eq(row->account, SPAN_LIT("odd")));
    assert_true(span_eq(row->tenant, SPAN_LIT("t")));
    assert_true(span_eq(row->message_id, SPAN_LIT("<7@x>")));
    assert_true(span_eq(row->client_ip, SPAN_LIT("192.0.2.1")));
    assert_true(span_eq(row->client_name, SPAN_LIT("c.example")));
    assert_true(span_eq(row->helo, SPAN_LIT("h.example")));
    assert_true(span_eq(row->protocol, SPAN_LIT("ESMTPSA")));
    assert_true(span_eq(row->listener, SPAN_LIT("submission")));
    assert_true(span_eq(row->reply, SPAN_LIT("250 2.0.0 ok 7")));
    assert_true(span_eq(row->site, SPAN_LIT("site.example")));
    assert_true(span_eq(row->mx, SPAN_LIT("mx.example")));
    assert_true(span_eq(row->mx_ip, SPAN_LIT("2001:db8::1")));
    assert_true(span_eq(row->source_ip, SPAN_LIT("192.0.2.9")));
    assert_true(span_eq(row->tls, SPAN_LIT("TLSv1.3")));
    *(uint64_t *)arg = 0;
    return 1;
}

static void everything_is_kept(void **state)
{
    (void)state;
    struct history *h = open_plain();
    uint64_t k = 7;
    tell(h, k, 1, true);
    assert_int_equal(history_flush(h), 0);
    struct history_query q = { .id = k << 20 };
    assert_int_equal(history_query(h, &q, check_row, &k), 0);
    assert_int_equal(k, 0);
    char path[256];
    assert_int_equal(mode_of(in_dir(path, "history.db")) & 07137, 0);
    assert_int_equal(mode_of(in_dir(path, "history.db-wal")) & 07137, 0);
    history_close(h);
}

static void each_way_of_asking(void **state)
{
    (void)state;
    struct history *h = open_plain();
    for (uint64_t k = 1; k <= 1000; k++)
        tell(h, k, k, true);
    assert_int_equal(history_flush(h), 0);

    assert_int_equal(ask(h, (struct history_query){ .id = 5 << 20 })->n, 2);
    assert_int_equal(ask(h, (struct history_query){ .id = UINT64_C(5000) << 20 })->n, 0);
    assert_int_equal(ask(h, (struct history_query){ .message_id = SPAN_LIT("<77@x>") })->n, 2);
    assert_int_equal(ask(h, (struct history_query){ .message_id = SPAN_LIT("<77@X>") })->n, 0);
    assert_int_equal(ask(h, (struct history_query){ .sender = SPAN_LIT("uSER5@s1.EXAMPLE") })->n, 200);
    assert_int_equal(ask(h, (struct history_query){ .sender = SPAN_LIT("user5@s0.example") })->n, 0);
    assert_int_equal(ask(h, (struct history_query){ .sender = SPAN_LIT("@s0.example") })->n, 1000);
    assert_int_equal(ask(h, (struct history_query){ .sender = SPAN_LIT("<>") })->n, 200);
    assert_int_equal(ask(h, (struct history_query){ .recipient = SPAN_LIT("R7@d2.example") })->n, 20);
    assert_int_equal(ask(h, (struct history_query){ .recipient = SPAN_LIT("@d0.example") })->n, 200);
    assert_int_equal(ask(h, (struct history_query){ .recipient = SPAN_LIT("@0.example") })->n, 0);
    assert_int_equal(ask(h, (struct history_query){ .account = SPAN_LIT("odd") })->n, 1000);

    struct found *f = ask(h, (struct history_query){ .since_ms = T0 + 100000, .until_ms = T0 + 110000 });
    assert_int_equal(f->n, 20);
    assert_int_equal(f->ids[0], UINT64_C(109) << 20);
    assert_int_equal(f->ids[19], UINT64_C(100) << 20);
    f = ask(h, (struct history_query){ .account = SPAN_LIT("even"),
                                       .recipient = SPAN_LIT("@d1.example"),
                                       .since_ms = T0 + 500000 });
    /* even k from 500 on with k%5 = 1 (first recipient) or 0 (second) */
    assert_int_equal(f->n, 50 + 51);
    assert_int_equal(ask(h, (struct history_query){ .limit = 7 })->n, 7);
    assert_int_equal(ask(h, (struct history_query){ 0 })->n, 1000); /* the default limit */
    history_close(h);
}

static int no_trace(void *arg, const struct history_row *row)
{
    const struct span all[] = { row->sender, row->recipient, row->account, row->reply, row->message_id };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        assert_true(all[i].n < 5 || memmem(all[i].p, all[i].n, "user5", 5) == NULL);
    ++*(uint32_t *)arg;
    return 0;
}

/* All of the file. */
static bool file_has(const char *name, const char *part)
{
    char path[256];
    struct stat st;
    int fd = open(in_dir(path, name), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    assert_int_equal(fstat(fd, &st), 0);
    char *text = malloc((size_t)st.st_size + 1);
    assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
    bool has = memmem(text, (size_t)st.st_size, part, strlen(part)) != NULL;
    free(text);
    close(fd);
    return has;
}

static void an_address_is_erased(void **state)
{
    (void)state;
    struct history *h = open_plain();
    const atomic_bool go = false, stop = true;
    uint64_t rows = 0;
    uint32_t n = 0;
    for (uint64_t k = 1; k <= 3000; k++)
        tell(h, k, k, true);
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(ask(h, (struct history_query){ .sender = SPAN_LIT("user5@s1.example") })->n, 600);
    assert_int_equal(history_erase(h, SPAN_LIT("user5@s1.example"), &stop, &rows), ERR_CLOSED);
    assert_int_equal(history_erase(h, SPAN_LIT("user5@s1.example"), &go, &rows), 0);
    assert_int_equal(rows, 600);
    assert_int_equal(ask(h, (struct history_query){ .sender = SPAN_LIT("user5@s1.example") })->n, 0);
    assert_int_equal(ask(h, (struct history_query){ .sender = SPAN_LIT("erased") })->n, 0); /* no way to find them */
    assert_int_equal(ask(h, (struct history_query){ .sender = SPAN_LIT("user6@s0.example") })->n, 600);
    /* as recipient: the row stays, with how it ended */
    assert_int_equal(ask(h, (struct history_query){ .recipient = SPAN_LIT("r7@d2.example") })->n, 60);
    assert_int_equal(history_erase(h, SPAN_LIT("r7@d2.example"), &go, &rows), 0);
    assert_int_equal(rows, 60);
    assert_int_equal(ask(h, (struct history_query){ .recipient = SPAN_LIT("r7@d2.example") })->n, 0);
    assert_int_equal(ask(h, (struct history_query){ .id = 7 << 20 })->n, 2);
    assert_int_equal(history_query(h, &(struct history_query){ .limit = 10000 }, no_trace, &n), 0);
    assert_int_equal(n, 6000);
    assert_int_equal(history_erase(h, SPAN_LIT("r7@d2.example"), &go, &rows), 0);
    assert_int_equal(rows, 0);
    static const char *const bad[] = { "", "nobody", "@d2.example", "<>" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(history_erase(h, span_str(bad[i]), &go, &rows), ERR_BAD);
    history_close(h);
    assert_false(file_has("history.db", "User5@S1"));
    assert_false(file_has("history.db-wal", "User5@S1"));
    assert_true(file_has("history.db", "User6@S0"));
}

static void pages_follow_each_other(void **state)
{
    (void)state;
    struct history *h = open_plain();
    for (uint64_t k = 1; k <= 100; k++)
        tell(h, k, k, true);
    assert_int_equal(history_flush(h), 0);
    const struct history_query by[] = { { .limit = 7 },
                                        { .limit = 7, .account = SPAN_LIT("odd") },
                                        { .limit = 7, .recipient = SPAN_LIT("@d2.example") },
                                        { .limit = 7, .since_ms = T0 + 20000, .until_ms = T0 + 60000 } };
    const uint32_t all[] = { 200, 100, 40, 80 };
    for (int i = 0; i < 4; i++) {
        struct history_query q = by[i];
        uint32_t n = 0;
        for (;;) {
            struct found *f = ask(h, q);
            if (f->n == 0)
                break;
            if (q.after)
                assert_true(f->ids[0] < q.after_id ||
                            (f->ids[0] == q.after_id && f->rcpts[0] < q.after_rcpt));
            n += f->n;
            q.after = true;
            q.after_id = f->ids[f->n - 1];
            q.after_rcpt = f->rcpts[f->n - 1];
        }
        assert_int_equal(n, all[i]);
    }
    history_close(h);
}

static void told_again_it_stays_one(void **state)
{
    (void)state;
    struct history *h = open_plain();
    tell(h, 1, 10, true);
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(committed_seq, 10);
    history_close(h);

    h = open_plain(); /* the spool still held it: told again, without details */
    tell(h, 1, 10, false);
    tell(h, 2, 11, false);
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(committed_seq, 11);
    uint64_t k = 1;
    struct history_query q = { .id = k << 20 };
    struct found *f = ask(h, q);
    assert_int_equal(f->n, 2);
    assert_int_equal(f->last.attempts, 3);
    assert_int_equal(f->last.nrcpts, 2); /* the details were not overwritten */
    f = ask(h, (struct history_query){ .id = UINT64_C(2) << 20 });
    assert_int_equal(f->n, 2);
    assert_int_equal(f->last.nrcpts, 0);
    assert_int_equal(f->last.state, RCPT_DELIVERED);
    assert_int_equal(ask(h, (struct history_query){ .sender = SPAN_LIT("<>") })->n,
                     0); /* unknown is not null */

    tell(h, 2, 12, true); /* what is known later fills the message's row */
    assert_int_equal(history_flush(h), 0);
    f = ask(h, (struct history_query){ .id = UINT64_C(2) << 20 });
    assert_int_equal(f->n, 2);
    assert_int_equal(f->last.nrcpts, 2);
    history_close(h);
}

static void a_note_without_an_ending_claims_nothing(void **state)
{
    (void)state;
    struct history *h = open_plain();
    struct envelope_rcpt rcpt = { .address = SPAN_LIT("a@b") };
    struct envelope env = { .id = 99, .arrival_ms = T0, .nrcpts = 1, .rcpts = &rcpt };
    struct history_rcpt r = { .rcpt = 0, .mx = SPAN_LIT("first") };
    history_note(h, &env, &r, 1);
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(ask(h, (struct history_query){ .id = 99 })->n, 0);
    assert_int_equal(committed_seq, 0);
    r.mx = SPAN_LIT("second"); /* another attempt; its ending comes */
    history_note(h, &env, &r, 1);
    struct spool_rcpt_update u = { .rcpt = 0, .to = { .state = RCPT_DELIVERED, .changed_ms = T0 } };
    history_ended(h, 99, &u, 1, 5);
    assert_int_equal(history_flush(h), 0);
    struct found *f = ask(h, (struct history_query){ .id = 99, .recipient = SPAN_LIT("a@b") });
    assert_int_equal(f->n, 1);
    assert_int_equal(f->last.mx.n, 6);
    history_close(h);
}

static int check_signed(void *arg, const struct history_row *row)
{
    const uint64_t *k = arg;
    assert_true(span_eq(row->dkim, *k == 1 ? SPAN_LIT("s1._domainkey.a.example") : SPAN_LIT("")));
    assert_int_equal(row->nrcpts, 2);
    return 0;
}

/* Told when it is accepted, before or after its end. It claims no end, and goes with the rest of the message. */
static void who_signed(void **state)
{
    (void)state;
    struct history *h = open_plain();
    uint64_t one = 1, two = 2;
    history_signed(h, one << 20, T0 + 1000, SPAN_LIT("s1._domainkey.a.example"));
    history_signed(h, UINT64_C(3) << 20, T0 + 3000, SPAN_LIT("s3._domainkey.a.example"));
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(ask(h, (struct history_query){ .limit = 10 })->n, 0);
    tell(h, one, 1, true);
    tell(h, two, 2, true);
    history_signed(h, one << 20, T0 + 1000, SPAN_LIT("told._domainkey.again.example"));
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(history_query(h, &(struct history_query){ .id = one << 20 }, check_signed, &one), 0);
    assert_int_equal(history_query(h, &(struct history_query){ .id = two << 20 }, check_signed, &two), 0);
    assert_int_equal(ask(h, (struct history_query){ .limit = 10 })->n, 4);
    history_close(h);
}

static void the_envelope_alone_gives_the_address(void **state)
{
    (void)state;
    struct history *h = open_plain();
    struct envelope_rcpt rcpts[3] = { { .address = SPAN_LIT("a@x") },
                                      { .address = SPAN_LIT("b@x") },
                                      { .address = SPAN_LIT("c@x") } };
    struct envelope env = {
        .id = 5, .arrival_ms = T0, .mail_from = SPAN_LIT("s@y"), .nrcpts = 3, .rcpts = rcpts
    };
    struct spool_rcpt_update u[2] = { { .rcpt = 2, .to = { .state = RCPT_EXPIRED } },
                                      { .rcpt = 0, .to = { .state = RCPT_DELETED } } };
    history_ended_env(h, &env, u, 2, 1);
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(ask(h, (struct history_query){ .recipient = SPAN_LIT("c@x") })->n, 1);
    assert_int_equal(ask(h, (struct history_query){ .recipient = SPAN_LIT("b@x") })->n, 0);
    assert_int_equal(ask(h, (struct history_query){ .sender = SPAN_LIT("s@y") })->n, 2);
    history_close(h);
}

/* So much that the ids fall into several stretches: order, late endings of old messages, and deletion. */
static void many_stretches(void **state)
{
    (void)state;
    enum { MESSAGES = 45000 };
    struct history *h = open_plain();
    for (uint64_t k = 2; k <= MESSAGES; k++) {
        tell(h, k, k, true);
        if (k % 2000 == 0)
            assert_int_equal(history_flush(h), 0);
    }
    tell(h, 1, MESSAGES + 1, true);
    assert_int_equal(history_flush(h), 0);

    struct history_query q = { .sender = SPAN_LIT("user5@s1.example"), .limit = 4000 };
    uint32_t n = 0;
    uint64_t last = UINT64_MAX;
    for (struct found *f; (f = ask(h, q))->n > 0; n += f->n) {
        assert_true(f->ids[0] <= last);
        q.after = true;
        q.after_id = last = f->ids[f->n - 1];
        q.after_rcpt = f->rcpts[f->n - 1];
    }
    assert_int_equal(n, MESSAGES / 10 * 2);
    assert_int_equal(ask(h, (struct history_query){ .message_id = SPAN_LIT("<1@x>") })->n, 2);
    assert_int_equal(ask(h, (struct history_query){ .message_id = SPAN_LIT("<45000@x>") })->n, 2);
    assert_int_equal(ask(h, (struct history_query){ .id = UINT64_C(20000) << 20 })->n, 2);
    struct found *f = ask(h, (struct history_query){ .since_ms = T0 + 100000, .until_ms = T0 + 110000 });
    assert_int_equal(f->n, 20);
    assert_int_equal(f->ids[0], UINT64_C(109) << 20);
    history_close(h);

    sqlite3 *other;
    char path[256];
    assert_int_equal(sqlite3_open(in_dir(path, "history.db"), &other), SQLITE_OK);
    sqlite3_stmt *stmt;
    assert_int_equal(sqlite3_prepare_v2(other, "SELECT count(*) FROM stretch", -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_in_range(sqlite3_column_int(stmt, 0), 2, 3);
    sqlite3_finalize(stmt);
    sqlite3_close(other);

    h = open_with((struct history_config){ .keep_bytes = 150000 });
    for (int i = 0; i < 400; i++)
        assert_int_equal(history_flush(h), 0);
    struct history_stats s;
    history_stats(h, &s);
    assert_in_range(s.file_bytes, 1, 150000);
    tell(h, MESSAGES + 1, MESSAGES + 1, true); /* and it goes on */
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(ask(h, (struct history_query){ .message_id = SPAN_LIT("<45001@x>") })->n, 2);
    history_close(h);
}

/* Without being asked to flush: batches of a second, then all is confirmed. */
static void commits_by_itself(void **state)
{
    (void)state;
    struct history *h = open_plain();
    struct history_stats s;
    for (uint64_t k = 1; k <= 500; k++)
        tell(h, k, k * 3, true);
    for (int i = 0; atomic_load(&committed_seq) < 1500; i++) {
        assert_true(i < 1000);
        usleep(50000);
    }
    history_stats(h, &s);
    assert_int_equal(s.rows, 1000);
    assert_in_range(s.batches, 1, 50);
    assert_int_equal(s.committed_seq, 1500);
    assert_int_equal(s.queued_bytes, 0);
    assert_false(s.behind);
    history_close(h);
}

static void old_rows_go(void **state)
{
    (void)state;
    struct history *h = open_plain();
    for (uint64_t k = 1; k <= 2000; k++)
        tell(h, k, k, true);
    assert_int_equal(history_flush(h), 0);
    struct history_stats s;
    history_stats(h, &s);
    uint64_t bytes = s.file_bytes;
    assert_true(bytes > 300000);
    history_close(h);

    h = open_with((struct history_config){ .keep_bytes = bytes / 2 });
    for (int i = 0; i < 20; i++)
        assert_int_equal(history_flush(h), 0);
    history_stats(h, &s);
    assert_in_range(s.file_bytes, bytes / 4, bytes / 2);
    struct found *f = ask(h, (struct history_query){ .limit = 4096 });
    assert_int_equal(f->ids[0], UINT64_C(2000) << 20); /* the newest stay */
    assert_in_range(f->n, 500, 2400);
    history_close(h);

    h = open_with((struct history_config){ .keep_ms = 1000 }); /* T0 is in the future: nothing is old */
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(ask(h, (struct history_query){ .limit = 1 })->n, 1);
    struct envelope_rcpt rcpt = { .address = SPAN_LIT("a@b") };
    struct envelope env = { .id = 3, .arrival_ms = 1000, .nrcpts = 1, .rcpts = &rcpt };
    struct spool_rcpt_update u = { .to = { .state = RCPT_DELIVERED, .changed_ms = 2000 } };
    history_ended_env(h, &env, &u, 1, 1);
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(ask(h, (struct history_query){ .id = 3 })->n, 0);
    history_close(h);
}

/* Another process holds the file: nothing can be written. Notes give way first, then endings are refused;
 * what was confirmed never goes past the first that was refused, also when writing works again. */
static void full_and_behind(void **state)
{
    (void)state;
    char path[256];
    struct history_stats s;
    struct history *h = open_with((struct history_config){ .queue_bytes = 65536 });
    tell(h, 1, 1, true);
    assert_int_equal(history_flush(h), 0);

    sqlite3 *other;
    assert_int_equal(sqlite3_open(in_dir(path, "history.db"), &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    for (uint64_t k = 2; k <= 2000; k++)
        tell(h, k, k, true);
    history_stats(h, &s);
    assert_true(s.behind);
    assert_true(s.notes_dropped > 0);
    assert_in_range(s.queued_bytes, 1000, 65536);
    assert_int_equal(committed_seq, 1);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    assert_int_equal(history_flush(h), 0);
    uint64_t upto = atomic_load(&committed_seq);
    assert_in_range(upto, 2, 1999);
    for (uint64_t k = 2; k <= upto; k++) /* what is confirmed is there */
        assert_int_equal(ask(h, (struct history_query){ .id = k << 20 })->n, 2);
    tell(h, 3000, 3000, true); /* still recorded, but not confirmed */
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(ask(h, (struct history_query){ .id = UINT64_C(3000) << 20 })->n, 2);
    assert_int_equal(atomic_load(&committed_seq), upto);
    history_stats(h, &s);
    assert_true(s.behind);
    history_close(h);

    h = open_plain(); /* the spool tells again what was not confirmed */
    for (uint64_t k = upto + 1; k <= 2000; k++)
        tell(h, k, k, false);
    tell(h, 3000, 3000, false);
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(atomic_load(&committed_seq), 3000);
    for (uint64_t k = 1; k <= 2000; k++)
        assert_int_equal(ask(h, (struct history_query){ .id = k << 20 })->n, 2);
    history_close(h);
}

/* The disk is full: what is told waits, and is written when there is room. */
static void tries_again_after_errors(void **state)
{
    (void)state;
    struct rlimit old, small;
    struct history_stats s;
    struct history *h = open_plain();
    for (uint64_t k = 1; k <= 100; k++)
        tell(h, k, k, true);
    assert_int_equal(history_flush(h), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 8192;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (uint64_t k = 101; k <= 300; k++)
        tell(h, k, k, true);
    assert_int_equal(history_flush(h), ERR_FAILED);
    tell(h, 301, 301, true);
    assert_int_equal(history_flush(h), ERR_FAILED);
    history_stats(h, &s);
    assert_true(s.behind);
    assert_in_range(s.errors, 2, 10);
    assert_int_equal(s.committed_seq, 100);
    assert_true(s.queued_bytes > 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(history_flush(h), 0);
    history_stats(h, &s);
    assert_false(s.behind);
    assert_int_equal(s.rows, 602);
    assert_int_equal(s.committed_seq, 301);
    for (uint64_t k = 1; k <= 301; k++) {
        struct found *f = ask(h, (struct history_query){ .id = k << 20 });
        assert_int_equal(f->n, 2);
        assert_int_equal(f->last.mx.n, strlen("mx.example")); /* the notes waited too */
    }
    history_close(h);
}

static void a_damaged_file_is_set_aside(void **state)
{
    (void)state;
    char path[256];
    in_dir(path, "history.db");
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 1000; i++)
        fputs("this is no database", f);
    fclose(f);
    struct history *h = open_plain();
    tell(h, 1, 1, true);
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(ask(h, (struct history_query){ .id = 1 << 20 })->n, 2);
    history_close(h);
    int kept = 0;
    DIR *d = opendir(test_dir);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        kept += strstr(e->d_name, "damaged") != NULL;
    closedir(d);
    assert_int_equal(kept, 1);
}

static void cannot_be_opened(void **state)
{
    (void)state;
    struct history *h;
    struct history_config c = { .path = "/nonexistent/dir/history.db" };
    assert_int_equal(history_open(&c, &h), ERR_FAILED);
}

/* kill -9 at some point of a load: what was confirmed before is there after. */
static void killed_nothing_confirmed_is_missing(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        int to[2];
        assert_int_equal(pipe(to), 0);
        pid_t child = fork();
        if (child == 0) {
            struct history *h = open_plain();
            for (uint64_t k = 1;; k++) {
                tell(h, k, k, true);
                if (k % 50 != 0)
                    continue;
                if (history_flush(h) != 0)
                    _exit(1);
                uint64_t upto = atomic_load(&committed_seq);
                if (write(to[1], &upto, sizeof upto) != sizeof upto)
                    _exit(1);
            }
        }
        uint64_t upto = 0;
        for (int i = 0; i < 20 + round * 7; i++)
            assert_int_equal(read(to[0], &upto, sizeof upto), sizeof upto);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        while (fcntl(to[0], F_SETFL, O_NONBLOCK) == 0 && read(to[0], &upto, sizeof upto) == sizeof upto)
            continue;
        close(to[0]);
        close(to[1]);
        assert_true(upto >= 1000);
        struct history *h = open_plain();
        for (uint64_t k = 1; k <= upto; k++)
            assert_int_equal(ask(h, (struct history_query){ .id = k << 20 })->n, 2);
        history_close(h);
    }
}

static void *ask_all_the_time(void *arg)
{
    struct history *h = arg;
    for (int i = 0; i < 100; i++) {
        struct history_query q = { .account = SPAN_LIT("odd"), .limit = 100 };
        struct found *f = calloc(1, sizeof *f);
        assert_int_equal(history_query(h, &q, on_row, f), 0);
        free(f);
    }
    return NULL;
}

static void asked_while_written(void **state)
{
    (void)state;
    struct history *h = open_plain();
    pthread_t t[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, ask_all_the_time, h), 0);
    for (uint64_t k = 1; k <= 5000; k++) {
        tell(h, k, k, true);
        if (k % 500 == 0)
            assert_int_equal(history_flush(h), 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    history_close(h);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, drop_dir)
    const struct CMUnitTest tests[] = {
        TEST(everything_is_kept),
        TEST(each_way_of_asking),
        TEST(an_address_is_erased),
        TEST(pages_follow_each_other),
        TEST(told_again_it_stays_one),
        TEST(a_note_without_an_ending_claims_nothing),
        TEST(who_signed),
        TEST(the_envelope_alone_gives_the_address),
        TEST(many_stretches),
        TEST(commits_by_itself),
        TEST(old_rows_go),
        TEST(full_and_behind),
        TEST(tries_again_after_errors),
        TEST(a_damaged_file_is_set_aside),
        TEST(cannot_be_opened),
        TEST(killed_nothing_confirmed_is_missing),
        TEST(asked_while_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
