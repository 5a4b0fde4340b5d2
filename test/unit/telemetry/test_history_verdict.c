/* What the check of content said, in the history: beside the rows of what was accepted, and with rows of its
 * own of what was not; these never take the room of other mail, nor one sender's that of all others. */
#include "test/unit/telemetry/history_fixture.h"

#include "base/clock.h"

static int64_t count_in_file(const char *table)
{
    char path[256], text[64];
    sqlite3 *sql;
    sqlite3_stmt *stmt;
    snprintf(text, sizeof text, "SELECT count(*) FROM %s", table);
    assert_int_equal(sqlite3_open(in_dir(path, "history.db"), &sql), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(sql, text, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(sql);
    return n;
}

struct checked {
    uint32_t n, others;
    uint8_t done;
    int64_t at_ms;
    char text[600];
};

static void on_step(void *arg, const struct history_step *s)
{
    struct checked *f = arg;
    if (s->kind != HISTORY_STEP_CHECKED) {
        f->others++;
        return;
    }
    assert_int_equal(f->others, 0); /* it is the first */
    assert_int_equal(s->number, 0);
    f->n++;
    f->done = s->done;
    f->at_ms = s->at_ms;
    snprintf(f->text, sizeof f->text, "%.*s", (int)s->reply.n, s->reply.p);
}

static struct checked checked_of(struct history *h, uint64_t k, uint32_t rcpt)
{
    struct checked f = { 0 };
    struct history_reader *r;
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(history_reader_open(h, &r), 0);
    assert_int_equal(history_steps_read(r, k << 20, rcpt, on_step, &f), 0);
    history_reader_close(r);
    return f;
}

static void tell_checked(struct history *h, uint64_t k, uint8_t done, const char *text)
{
    struct history_verdict v = { .at_ms = T0 + (int64_t)k * 1000 + 20, .done = done, .text = span_str(text) };
    history_checked(h, k << 20, &v);
}

static void tell_rejected(struct history *h, uint64_t k, const char *account, uint32_t nrcpts)
{
    struct envelope_rcpt rcpts[256];
    char sender[64], to[64], message_id[64];
    assert_true(nrcpts <= 256);
    snprintf(sender, sizeof sender, "spam%d@s.example", (int)(k % 10));
    snprintf(to, sizeof to, "to%d@R%d.example", (int)(k % 7), (int)(k % 3));
    snprintf(message_id, sizeof message_id, "<r%d@x>", (int)k);
    for (uint32_t i = 0; i < nrcpts; i++)
        rcpts[i] = (struct envelope_rcpt){ .address = span_str(to) };
    struct envelope env = { .id = k << 20,
                            .arrival_ms = T0 + (int64_t)k * 1000,
                            .size = 4711,
                            .class = ENVELOPE_CLASS_PERSON,
                            .mail_from = span_str(sender),
                            .account = span_str(account),
                            .tenant = SPAN_LIT("t"),
                            .client_ip = SPAN_LIT("192.0.2.7"),
                            .client_name = SPAN_LIT("c.example"),
                            .helo = SPAN_LIT("h.example"),
                            .protocol = SPAN_LIT("ESMTPSA"),
                            .listener = SPAN_LIT("submission"),
                            .message_id = span_str(message_id),
                            .nrcpts = nrcpts,
                            .rcpts = rcpts };
    struct history_verdict v = { .at_ms = env.arrival_ms + 30,
                                 .done = HISTORY_DONE_REJECTED,
                                 .text = SPAN_LIT("reject 20.50/15.00 GTUBE") };
    history_rejected(h, &env, &v, SPAN_LIT("550 5.7.1 This message looks like spam"));
}

static void of_what_is_accepted(void **state)
{
    (void)state;
    struct history *h = open_plain();
    tell_checked(h, 1, HISTORY_DONE_MARKED, "add header 8.25/15.00 WORDS");
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(ask(h, (struct history_query){ .limit = 10 })->n, 0);        /* it claims no end */
    assert_string_equal(checked_of(h, 1, 0).text, "add header 8.25/15.00 WORDS"); /* it is queued */
    tell(h, 1, 1, true);
    tell(h, 2, 2, true);
    struct history_step step = { .rcpt = 1, .kind = HISTORY_STEP_DEFERRED, .at_ms = T0 + 2000 };
    history_steps(h, 1 << 20, T0 + 1000, &step, 1);
    tell_checked(h, 3, HISTORY_DONE_HELD, "reject 16.00/15.00");
    for (uint32_t rcpt = 0; rcpt < 2; rcpt++) {
        struct checked f = checked_of(h, 1, rcpt);
        assert_int_equal(f.n, 1);
        assert_int_equal(f.others, rcpt);
        assert_int_equal(f.done, HISTORY_DONE_MARKED);
        assert_int_equal(f.at_ms, T0 + 1020);
        assert_string_equal(f.text, "add header 8.25/15.00 WORDS");
    }
    assert_int_equal(checked_of(h, 2, 0).n, 0);
    assert_int_equal(checked_of(h, 3, 0).done, HISTORY_DONE_HELD);
    assert_int_equal(ask(h, (struct history_query){ .limit = 10 })->n, 4);
    char large[1000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    tell_checked(h, 4, HISTORY_DONE_ACCEPTED, large);
    assert_int_equal(strlen(checked_of(h, 4, 0).text), 512);
    history_close(h);

    h = open_with((struct history_config){ .keep_bytes = 1 }); /* everything is too much */
    tell(h, 5, 5, true);
    assert_int_equal(checked_of(h, 1, 0).n, 0);
    history_close(h);
    assert_int_equal(count_in_file("verdict"), 0);
}

static void what_is_rejected_is_found(void **state)
{
    (void)state;
    const uint32_t rejected = 1u << HISTORY_REJECTED;
    struct history *h = open_plain();
    for (uint64_t k = 1; k <= 100; k++)
        tell(h, k, k, true);
    for (uint64_t k = 101; k <= 120; k++)
        tell_rejected(h, k, "someone", 1);
    tell_rejected(h, 121, "someone", HISTORY_REJECTED_RCPTS + 50);
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(committed_seq, 100);
    const struct history_query by[] = {
        { .id = UINT64_C(105) << 20 },
        { .message_id = SPAN_LIT("<r105@x>") },
        { .sender = SPAN_LIT("SPAM5@s.example"), .until_ms = T0 + 110000 },
        { .recipient = SPAN_LIT("to0@r0.example"), .until_ms = T0 + 110000 },
        { .since_ms = T0 + 105000, .until_ms = T0 + 106000 },
        { .states = rejected, .since_ms = T0 + 105000, .until_ms = T0 + 106000 },
        { .account = SPAN_LIT("someone"), .sender = SPAN_LIT("spam5@s.example"), .until_ms = T0 + 110000 }
    };
    for (size_t i = 0; i < sizeof by / sizeof by[0]; i++) {
        struct found *f = ask(h, by[i]);
        assert_int_equal(f->n, 1);
        assert_int_equal(f->ids[0], UINT64_C(105) << 20);
        assert_int_equal(f->last.state, HISTORY_REJECTED);
        assert_int_equal(f->last.ended_ms, T0 + 105030);
        assert_int_equal(f->last.size, 4711);
        assert_int_equal(f->last.attempts, 0);
        assert_int_equal(checked_of(h, 105, 0).done, HISTORY_DONE_REJECTED);
    }
    assert_string_equal(checked_of(h, 105, 0).text, "reject 20.50/15.00 GTUBE");
    assert_int_equal(ask(h, (struct history_query){ .states = 1u << RCPT_DELIVERED })->n, 100);
    assert_int_equal(ask(h, (struct history_query){ .states = rejected })->n, 20 + HISTORY_REJECTED_RCPTS);
    struct found *f = ask(h, (struct history_query){ .id = UINT64_C(121) << 20 });
    assert_int_equal(f->n, HISTORY_REJECTED_RCPTS);
    assert_int_equal(f->last.nrcpts, HISTORY_REJECTED_RCPTS + 50);
    history_close(h);
}

static uint32_t rejected_of(struct history *h, const char *account)
{
    assert_int_equal(history_flush(h), 0);
    return ask(h, (struct history_query){ .states = 1u << HISTORY_REJECTED,
                                          .account = span_str(account),
                                          .limit = 4000 })
        ->n;
}

static void one_sender_has_a_share(void **state)
{
    (void)state;
    struct history *h = open_plain();
    tell_rejected(h, 1, "other", 1);
    for (uint64_t k = 2; k <= 3000; k++)
        tell_rejected(h, k, "flood", 1);
    tell_rejected(h, 3001, "other", 1);
    uint32_t n = rejected_of(h, "flood");
    assert_in_range(n, HISTORY_REJECTED_HOURLY,
                    HISTORY_REJECTED_HOURLY + 20); /* and some for the time it takes */
    assert_int_equal(rejected_of(h, "other"), 2);
    assert_int_equal(checked_of(h, 2999, 0).n, 0);
    history_close(h);
}

/* More than there may be, from everywhere: the oldest of these go, and nothing else. */
static void a_flood_takes_no_other_room(void **state)
{
    (void)state;
    enum { MESSAGES = 700, EACH = 40, KEPT = HISTORY_REJECTED_MAX / EACH };
    struct history *h = open_plain();
    for (uint64_t k = 1; k <= 1000; k++)
        tell(h, k, k, true);
    for (uint64_t k = 1001; k <= 1000 + MESSAGES; k++) {
        char account[32];
        snprintf(account, sizeof account, "account%d", (int)k);
        tell_rejected(h, k, account, EACH);
    }
    assert_int_equal(history_flush(h), 0);
    const struct history_query all = { .states = 1u << HISTORY_REJECTED, .limit = 4000 };
    struct history_query mail = { .states = 1u << RCPT_DELIVERED | 1u << RCPT_BOUNCED, .limit = 4000 };
    assert_int_equal(ask(h, mail)->n, 2000);
    struct found *f = ask(h, all);
    assert_int_equal(f->ids[0], UINT64_C(1700) << 20);
    assert_int_equal(ask(h, (struct history_query){ .id = (uint64_t)(1000 + MESSAGES - KEPT) << 20 })->n, 0);
    assert_int_equal(ask(h, (struct history_query){ .id = (uint64_t)(1001 + MESSAGES - KEPT) << 20 })->n,
                     EACH);
    history_close(h);
    assert_int_equal(count_in_file("rejected"), KEPT);
    assert_int_equal(count_in_file("verdict"), KEPT);
    assert_int_equal(count_in_file("message"), 1000 + KEPT);
    assert_int_equal(count_in_file("recipient"), 2000 + KEPT * EACH);

    h = open_plain(); /* that they are so many is known after a start, too */
    tell_rejected(h, 5000, "late", EACH + 1);
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(ask(h, mail)->n, 2000);
    history_close(h);
    assert_int_equal(count_in_file("rejected"), KEPT - 1);
}

static void it_goes_with_its_class_and_its_address(void **state)
{
    (void)state;
    const atomic_bool go = false;
    uint64_t rows = 0;
    struct history *h = open_plain();
    tell(h, 5, 5, true);
    tell_checked(h, 5, HISTORY_DONE_MARKED, "add header 8/15 OF_User5@S1.example");
    tell_rejected(h, 6, "user5@s1.example", 1);
    tell(h, 2000, 2000, true);
    tell_checked(h, 2000, HISTORY_DONE_MARKED, "add header 9/15 NOBODY");
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(history_erase(h, SPAN_LIT("user5@s1.example"), &go, &rows), 0);
    assert_int_equal(rows, 3);
    assert_string_equal(checked_of(h, 5, 0).text, "");
    assert_int_equal(checked_of(h, 5, 0).done, HISTORY_DONE_MARKED);
    assert_int_equal(ask(h, (struct history_query){ .account = SPAN_LIT("user5@s1.example") })->n, 0);
    assert_int_equal(ask(h, (struct history_query){ .id = 6 << 20 })->n, 1);
    history_close(h);
    /* the world's times lie ahead of the clock: what is kept is less than nothing */
    h = open_with((struct history_config){ .keep_replies_ms = clock_wall_ms() - (T0 + 1000000) });
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(checked_of(h, 5, 0).n, 0);
    assert_string_equal(checked_of(h, 2000, 0).text, "add header 9/15 NOBODY");
    tell_checked(h, 4, HISTORY_DONE_ACCEPTED, "late"); /* when those of its time have gone */
    assert_int_equal(checked_of(h, 4, 0).n, 0);
    history_close(h);
}

/* A file of the version before; and one that a program of that version has worked on since. */
static void an_old_file_and_an_old_program(void **state)
{
    (void)state;
    struct history_stats s;
    struct history *h = open_plain();
    for (uint64_t k = 1; k <= 50; k++)
        tell(h, k, k, true);
    history_close(h);
    change_file("DROP TABLE verdict; DROP TABLE rejected; PRAGMA user_version=4");
    h = open_plain();
    assert_int_equal(history_flush(h), 0);
    history_stats(h, &s);
    assert_false(s.old);
    tell_rejected(h, 51, "someone", 3);
    tell_checked(h, 52, HISTORY_DONE_ACCEPTED, "no action 0/15");
    assert_int_equal(checked_of(h, 51, 2).n, 1);
    assert_int_equal(ask(h, (struct history_query){ .limit = 200 })->n, 103);
    history_close(h);
    change_file("DELETE FROM message WHERE id=51<<20; DELETE FROM recipient WHERE id=51<<20");
    h = open_with((struct history_config){ .keep_bytes = 1 });
    tell(h, 60, 60, true);
    assert_int_equal(history_flush(h), 0);
    history_close(h);
    assert_int_equal(count_in_file("verdict"), 0);
    assert_int_equal(count_in_file("rejected"), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, drop_dir)
    const struct CMUnitTest tests[] = {
        TEST(of_what_is_accepted),
        TEST(what_is_rejected_is_found),
        TEST(one_sender_has_a_share),
        TEST(a_flood_takes_no_other_room),
        TEST(an_old_file_and_an_old_program),
        TEST(it_goes_with_its_class_and_its_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
