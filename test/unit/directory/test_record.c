/* Senders' records: what nodes report is counted once, in windows, and forgotten with them. */
#include "consensus/machine_impl.h"
#include "world.h"

#include <stdio.h>
#include <string.h>

#define HOUR_MS 3600000ull
#define DAY_MS (24 * HOUR_MS)

/* By node 1, of the process that this letter names. */
static int report(struct world *w, char process, uint64_t number, struct span counts)
{
    struct command c = { .type = COMMAND_RECORD_REPORT,
                         .record_report = { .number = number, .counts = counts } };
    memset(c.record_report.process, process, sizeof c.record_report.process);
    return tell_as(w, 1, c);
}

static int report_one(struct world *w, uint64_t number, const char *account, unsigned kind, uint32_t n)
{
    struct record_counts in = { .account = str(account) };
    struct buf b;
    buf_init(&b, RECORD_COUNTS_BYTES_MAX);
    in.count[kind] = n;
    assert_int_equal(record_counts_put(&b, &in), 0);
    int err = report(w, 'p', number, buf_span(&b));
    buf_fini(&b);
    return err;
}

static uint64_t counted(const struct world *w, const char *account, enum directory_record_window window,
                        unsigned kind)
{
    struct directory_record r;
    return directory_record_find(w->m, str(account), &r) ? r.counts[window][kind] : 0;
}

static void counted_once(void **state)
{
    (void)state;
    struct world *w = world_at_level(4);
    struct record_counts in = { .account = str("anna@example.com") };
    struct directory_record r;
    struct buf b;
    buf_init(&b, RECORD_COUNTS_BYTES_MAX);
    in.count[RECORD_DELIVERED] = 10;
    in.count[RECORD_HARD + 1] = 2;
    in.count[RECORD_HARD + 5] = 3;
    assert_int_equal(record_counts_put(&b, &in), 0);
    in = (struct record_counts){ .account = str("bob@example.com") };
    assert_int_equal(record_counts_put(&b, &in), 0); /* of nothing: no item */
    in.count[RECORD_COMPLAINT] = 1;
    assert_int_equal(record_counts_put(&b, &in), 0);
    assert_int_equal(report(w, 'p', 1, buf_span(&b)), 0);
    assert_int_equal(report(w, 'p', 1, buf_span(&b)), 0); /* a repeat, in a command of its own */
    assert_true(directory_record_find(w->m, str("anna@example.com"), &r));
    for (unsigned window = 0; window < DIRECTORY_RECORD_WINDOWS; window++) {
        assert_int_equal(r.counts[window][RECORD_DELIVERED], 10);
        assert_int_equal(directory_record_sum(&r, window, RECORD_HARD, RECORD_HARD_END), 5);
    }
    assert_int_equal(counted(w, "bob@example.com", DIRECTORY_RECORD_HOUR, RECORD_COMPLAINT), 1);
    assert_int_equal(report(w, 'p', 2, buf_span(&b)), 0);
    assert_int_equal(report(w, 'p', 1, buf_span(&b)), 0); /* an old one that comes late */
    assert_int_equal(counted(w, "anna@example.com", DIRECTORY_RECORD_HOUR, RECORD_DELIVERED), 20);
    assert_int_equal(report(w, 'q', 1, buf_span(&b)), 0); /* its next process begins anew */
    assert_int_equal(counted(w, "anna@example.com", DIRECTORY_RECORD_HOUR, RECORD_DELIVERED), 30);
    buf_fini(&b);
    world_free(w);
}

static void of_two_nodes(void **state)
{
    (void)state;
    struct world *w = world_at_level(4);
    struct record_counts in = { .account = str("anna@example.com"), .count = { 7 } };
    struct buf b;
    buf_init(&b, RECORD_COUNTS_BYTES_MAX);
    uint64_t two = join(w, "node-b");
    assert_true(open_session(w, two) != 0);
    assert_int_equal(record_counts_put(&b, &in), 0);
    struct command c = { .type = COMMAND_RECORD_REPORT,
                         .record_report = { .number = 1, .counts = buf_span(&b) } };
    assert_int_equal(tell_as(w, 1, c), 0);
    assert_int_equal(tell_as(w, two, c), 0); /* the same number, and another's */
    assert_int_equal(counted(w, "anna@example.com", DIRECTORY_RECORD_DAY, RECORD_DELIVERED), 14);
    assert_int_equal(member_state(w, two, COMMAND_MEMBER_REMOVED), 0);
    c.record_report.number = 2;
    assert_int_equal(tell_as(w, two, c), ERR_DENIED); /* not a member any more */
    assert_int_equal(counted(w, "anna@example.com", DIRECTORY_RECORD_DAY, RECORD_DELIVERED), 14);
    buf_fini(&b);
    world_free(w);
}

static void leaves_its_windows(void **state)
{
    (void)state;
    struct world *w = world_at_level(4);
    const char *anna = "anna@example.com";
    w->now_ms = 100 * DAY_MS;
    assert_int_equal(report_one(w, 1, anna, RECORD_DELIVERED, 5), 0);
    w->now_ms += HOUR_MS;
    assert_int_equal(report_one(w, 2, "bob@example.com", RECORD_DELIVERED, 1), 0); /* so the time goes on */
    assert_int_equal(counted(w, anna, DIRECTORY_RECORD_HOUR, RECORD_DELIVERED), 5);
    w->now_ms += 10 * 60000;
    assert_int_equal(report_one(w, 3, anna, RECORD_DEFERRED, 1), 0);
    assert_int_equal(counted(w, anna, DIRECTORY_RECORD_HOUR, RECORD_DELIVERED), 0);
    assert_int_equal(counted(w, anna, DIRECTORY_RECORD_HOUR, RECORD_DEFERRED), 1);
    assert_int_equal(counted(w, anna, DIRECTORY_RECORD_DAY, RECORD_DELIVERED), 5);
    w->now_ms = 101 * DAY_MS;
    assert_int_equal(report_one(w, 4, anna, RECORD_COMPLAINT, 1), 0);
    assert_int_equal(counted(w, anna, DIRECTORY_RECORD_DAY, RECORD_DELIVERED), 5);
    w->now_ms += 2 * HOUR_MS;
    assert_int_equal(report_one(w, 5, anna, RECORD_COMPLAINT, 1), 0);
    assert_int_equal(counted(w, anna, DIRECTORY_RECORD_DAY, RECORD_DELIVERED), 0);
    assert_int_equal(counted(w, anna, DIRECTORY_RECORD_WEEK, RECORD_DELIVERED), 5);
    w->now_ms = 107 * DAY_MS;
    assert_int_equal(report_one(w, 6, anna, RECORD_COMPLAINT, 1), 0);
    assert_int_equal(counted(w, anna, DIRECTORY_RECORD_WEEK, RECORD_DELIVERED), 5);
    w->now_ms += 12 * HOUR_MS;
    assert_int_equal(report_one(w, 7, anna, RECORD_COMPLAINT, 1), 0);
    assert_int_equal(counted(w, anna, DIRECTORY_RECORD_WEEK, RECORD_DELIVERED), 0);
    assert_int_equal(counted(w, anna, DIRECTORY_RECORD_WEEK, RECORD_COMPLAINT), 4);
    world_free(w);
}

/* For a month, each five minutes: what it takes stays bounded. */
static void sends_all_the_time(void **state)
{
    (void)state;
    struct world *w = world_at_level(4);
    struct machine_totals t;
    uint64_t most = 0, first;
    machine_totals(w->m, &t);
    first = t.bytes;
    w->now_ms = 50 * DAY_MS;
    for (uint64_t i = 1; i <= 30 * 288; i++) {
        assert_int_equal(report_one(w, i, "news@example.com", i % 3 == 0 ? RECORD_HARD : RECORD_DELIVERED, 2),
                         0);
        w->now_ms += 300000;
        machine_totals(w->m, &t);
        most = t.bytes > most ? t.bytes : most;
    }
    assert_int_equal(t.records, 1);
    assert_true(most - first < 3000);
    uint64_t hour = counted(w, "news@example.com", DIRECTORY_RECORD_HOUR, RECORD_DELIVERED) +
                    counted(w, "news@example.com", DIRECTORY_RECORD_HOUR, RECORD_HARD);
    assert_true(hour >= 12 * 2 && hour <= 14 * 2);
    uint64_t week = counted(w, "news@example.com", DIRECTORY_RECORD_WEEK, RECORD_DELIVERED) +
                    counted(w, "news@example.com", DIRECTORY_RECORD_WEEK, RECORD_HARD);
    assert_true(week >= 7 * 288 * 2 && week <= 15 * 288);
    world_free(w);
}

static uint32_t due(struct world *w, uint64_t now_ms, struct buf *out)
{
    uint32_t n = 0;
    buf_reset(out);
    assert_int_equal(machine_due(w->m, now_ms, out, &n), 0);
    return n;
}

static void is_forgotten(void **state)
{
    (void)state;
    struct world *w = world_at_level(4);
    struct machine_totals t;
    struct command c;
    struct cursor cur;
    struct buf out;
    buf_init(&out, 1 << 20);
    w->now_ms = 100 * DAY_MS;
    assert_int_equal(report_one(w, 1, "anna@example.com", RECORD_DELIVERED, 5), 0);
    assert_int_equal(report_one(w, 2, "bob@example.com", RECORD_DELIVERED, 5), 0);
    uint64_t end = w->now_ms + 7 * DAY_MS + 12 * HOUR_MS;
    assert_int_equal(due(w, end - 1, &out), 0);
    assert_int_equal(due(w, end, &out), 2);
    assert_int_equal(due(w, end, &out), 2); /* until it is applied */
    cursor_init(&cur, out.data, out.len);
    assert_int_equal(command_decode(&cur, &c), 0);
    assert_int_equal(c.type, COMMAND_RECORD_FORGET);
    assert_true(span_eq(c.record_forget.account, str("anna@example.com")));
    /* it came to life before that is applied: it stays */
    w->now_ms = end;
    assert_int_equal(report_one(w, 3, "anna@example.com", RECORD_DELIVERED, 1), 0);
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(counted(w, "anna@example.com", DIRECTORY_RECORD_WEEK, RECORD_DELIVERED), 1);
    assert_int_equal(command_decode(&cur, &c), 0);
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(tell(w, c), 0);
    machine_totals(w->m, &t);
    assert_int_equal(t.records, 1);
    assert_int_equal(due(w, end, &out), 0);
    buf_fini(&out);
    world_free(w);
}

static void what_is_no_report(void **state)
{
    (void)state;
    struct world *w = world_at_level(4);
    struct machine_totals t;
    static const char *const bad[] = {
        "\x05\0\0\0abc",                               /* ends early */
        "\x01\0\0\0a\0",                               /* of no kinds */
        "\x01\0\0\0a\x01\x28\x01\0\0\0",               /* a kind that there is not */
        "\x01\0\0\0a\x01\x01\0\0\0\0",                 /* 0 of it */
        "\x01\0\0\0a\x02\x01\x01\0\0\0\x01\x01\0\0\0", /* twice */
        "\x01\0\0\0 \x01\x01\x01\0\0\0",               /* no name */
        "\0\0\0\0\x01\x01\x01\0\0\0",
        "\x01\0\0\0a\x01\x01\x01\0\0\0x", /* something behind it */
    };
    static const size_t lengths[] = { 7, 6, 11, 11, 16, 11, 10, 12 };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(report(w, 'p', 1, span_of(bad[i], lengths[i])), ERR_BAD);
    machine_totals(w->m, &t);
    assert_int_equal(t.records, 0); /* nothing of them */
    assert_int_equal(report(w, 'p', 1, span_of("\x01\0\0\0a\x01\x01\x01\0\0\0", 11)), 0);
    assert_int_equal(counted(w, "a", DIRECTORY_RECORD_HOUR, RECORD_DEFERRED), 1);
    struct command c = { .type = COMMAND_RECORD_REPORT, .record_report = { .number = 9 } };
    assert_int_equal(tell(w, c), ERR_DENIED); /* of no session */
    assert_int_equal(command_type_level(COMMAND_RECORD_REPORT), 4);
    world_free(w);
    w = world_at_level(3);
    assert_int_equal(report_one(w, 1, "anna@example.com", RECORD_DELIVERED, 5), ERR_DENIED);
    assert_words(w, "feature level is 3");
    world_free(w);
}

/* Many accounts, some kinds each: a snapshot of them is the same state, and both go on the same way
 * (world_free looks). */
static void many(void **state)
{
    (void)state;
    struct world *w = world_at_level(RECORD_SPAM_FEATURE);
    char account[64];
    struct buf b;
    buf_init(&b, RECORD_COUNTS_BYTES_MAX);
    uint64_t number = 0;
    for (unsigned i = 0; i < 3000; i++) {
        snprintf(account, sizeof account, "u%u@example.com", i * 7919 % 1000);
        struct record_counts in = { .account = str(account) };
        for (unsigned k = 0; k <= i % 5; k++)
            in.count[(i + 7 * k) % RECORD_KINDS] = i + 1;
        assert_int_equal(record_counts_put(&b, &in), 0);
        if (b.len > RECORD_COUNTS_BYTES_MAX - 1000) {
            assert_int_equal(report(w, 'p', ++number, buf_span(&b)), 0);
            buf_reset(&b);
            w->now_ms += HOUR_MS;
        }
    }
    assert_true(number > 5);
    buf_fini(&b);
    world_free(w);
}

static void spam_is_no_bounce(void **state)
{
    (void)state;
    const char *anna = "anna@example.com";
    struct directory_record r;
    struct world *w = world_at_level(6);
    assert_int_equal(report_one(w, 1, anna, RECORD_SPAM, 2), ERR_BAD);
    assert_false(directory_record_find(w->m, str(anna), &r));
    world_free(w);
    w = world_at_level(7);
    assert_int_equal(report_one(w, 1, anna, RECORD_SPAM, 2), 0);
    assert_int_equal(counted(w, anna, DIRECTORY_RECORD_WEEK, RECORD_SPAM), 2);
    assert_true(directory_record_find(w->m, str(anna), &r));
    assert_int_equal(directory_record_sum(&r, DIRECTORY_RECORD_WEEK, RECORD_HARD, RECORD_HARD_END), 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spam_is_no_bounce),
        cmocka_unit_test(counted_once),
        cmocka_unit_test(of_two_nodes),
        cmocka_unit_test(leaves_its_windows),
        cmocka_unit_test(sends_all_the_time),
        cmocka_unit_test(is_forgotten),
        cmocka_unit_test(what_is_no_report),
        cmocka_unit_test(many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
