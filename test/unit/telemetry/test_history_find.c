/* Finding things in the history: what is asked for together, how pages end, and a file of an older version. */
#include "test/unit/telemetry/history_fixture.h"

#include "base/clock.h"

/* As the first version made it: with its tables, but nothing that came later; and the third one. */
static const char
    first_version[] = "DROP INDEX message_arrival; DROP INDEX recipient_state; DROP TABLE step;"
                      "DROP INDEX message_tenant; DROP TABLE verdict; DROP TABLE rejected;"
                      "DELETE FROM meta WHERE name<>'salt'; PRAGMA user_version=0",
    third_version[] =
        "DROP INDEX message_tenant; DROP TABLE verdict; DROP TABLE rejected; PRAGMA user_version=3";

static void an_old_file_is_brought_up_to_date(void **state)
{
    (void)state;
    struct history_stats s;
    struct history *h = open_plain();
    for (uint64_t k = 1; k <= 100; k++)
        tell(h, k, k, true);
    history_close(h);
    change_file(first_version);
    h = open_plain();
    tell(h, 101, 101, true);
    assert_int_equal(history_flush(h), 0);
    history_stats(h, &s);
    assert_false(s.old);
    assert_int_equal(s.kept_since_ms, T0 + 1000); /* of the oldest that was there */
    assert_int_equal(ask(h, (struct history_query){ .states = 1u << RCPT_BOUNCED, .limit = 500 })->n, 101);
    assert_int_equal(ask(h, (struct history_query){ .since_ms = T0 + 50000, .until_ms = T0 + 60000 })->n, 20);
    assert_int_equal(ask(h, (struct history_query){ .sender = SPAN_LIT("user5@s1.example") })->n, 20);
    history_close(h);
    h = open_plain(); /* once is enough */
    history_stats(h, &s);
    assert_false(s.old);
    assert_int_equal(ask(h, (struct history_query){ .id = 7 << 20 })->n, 2);
    history_close(h);
}

static void tell_of_tenant(struct history *h, uint64_t k, struct span tenant)
{
    struct envelope_rcpt rcpt = { .address = SPAN_LIT("a@b.example") };
    struct envelope env = { .id = k << 20,
                            .arrival_ms = T0 + (int64_t)k * 1000,
                            .mail_from = SPAN_LIT("s@s.example"),
                            .tenant = tenant,
                            .nrcpts = 1,
                            .rcpts = &rcpt };
    struct history_rcpt r = { .rcpt = 0 };
    struct spool_rcpt_update u = { .to = { .state = RCPT_DELIVERED } };
    history_note(h, &env, &r, 1);
    history_ended(h, env.id, &u, 1, k);
}

static uint32_t count_of(struct history *h, struct span tenant, int64_t since_s, int64_t until_s)
{
    struct history_query q = { .tenant = tenant, .limit = 4000 };
    q.since_ms = since_s == 0 ? 0 : T0 + since_s * 1000;
    q.until_ms = until_s == 0 ? 0 : T0 + until_s * 1000;
    return ask(h, q)->n;
}

static void expect_tenants(struct history *h)
{
    assert_int_equal(count_of(h, SPAN_LIT("large"), 0, 0), 900);
    assert_int_equal(count_of(h, SPAN_LIT("small"), 0, 0), 50);
    assert_int_equal(count_of(h, SPAN_LIT("smal"), 0, 0), 0);
    assert_int_equal(count_of(h, SPAN_LIT("small"), 200, 400), 10);
    assert_int_equal(count_of(h, SPAN_LIT("small"), 2000, 0), 0);
}

/* What a tenant had, by time alone; also in a file that had no index for it. */
static void a_tenant_is_found(void **state)
{
    (void)state;
    struct history_stats s;
    struct history *h = open_plain();
    for (uint64_t k = 1; k <= 1000; k++) /* without a tenant, of a small one, of a large one */
        tell_of_tenant(h, k,
                       k % 20 == 1   ? SPAN_LIT("")
                       : k % 20 == 2 ? SPAN_LIT("small")
                                     : SPAN_LIT("large"));
    assert_int_equal(history_flush(h), 0);
    expect_tenants(h);
    history_close(h);
    change_file(third_version);
    h = open_plain();
    assert_int_equal(history_flush(h), 0);
    history_stats(h, &s);
    assert_false(s.old);
    expect_tenants(h);
    history_close(h);
    change_file("DROP INDEX message_tenant"); /* it is there again */
}

/* What is asked for together is found by one index and cut down by others, and never more or less than that. */
static void many_things_at_once(void **state)
{
    (void)state;
    struct history *h = open_plain();
    for (uint64_t k = 1; k <= 2000; k++)
        tell(h, k, k, true);
    assert_int_equal(history_flush(h), 0);
    const uint32_t bounced = 1u << RCPT_BOUNCED, delivered = 1u << RCPT_DELIVERED;
    assert_int_equal(ask(h, (struct history_query){ .states = bounced, .limit = 4000 })->n, 2000);
    assert_int_equal(ask(h, (struct history_query){ .states = delivered, .limit = 4000 })->n, 2000);
    assert_int_equal(ask(h, (struct history_query){ .states = bounced | delivered, .limit = 4000 })->n, 4000);
    assert_int_equal(ask(h, (struct history_query){ .states = 1u << RCPT_EXPIRED })->n, 0);
    /* recipient 1 bounced, of domain k%5+1; the sender's domain is k%2 */
    struct history_query q = { .states = bounced,
                               .recipient = SPAN_LIT("@d2.example"),
                               .sender = SPAN_LIT("@s1.example"),
                               .account = SPAN_LIT("odd"),
                               .limit = 4000 };
    assert_int_equal(ask(h, q)->n, 200);
    q.since_ms = T0 + 1000000;
    q.until_ms = T0 + 1500000;
    assert_int_equal(ask(h, q)->n, 50);
    q.account = SPAN_LIT("even");
    assert_int_equal(ask(h, q)->n, 0);
    history_close(h);
}

static const char *ip_of(int i)
{
    static const char *const ips[] = { "192.0.2.10", "192.0.2.11", "192.0.2.12" };
    return ips[i];
}

/* A message that left and came back is one to people: whatever a page's limit, it is on one page. */
static void hops_share_a_place(void **state)
{
    (void)state;
    struct history *h = open_plain();
    tell(h, 1, 1, true);
    tell(h, 3, 2, true);
    const uint64_t id = 2 << 20;
    for (uint64_t hop = 0; hop < 3; hop++) {
        struct envelope_rcpt rcpt = { .address = SPAN_LIT("a@b.example") };
        struct envelope env = { .id = id + (hop << SPOOL_ID_HOP_SHIFT),
                                .arrival_ms = T0 + 2000,
                                .mail_from = SPAN_LIT("s@s.example"),
                                .nrcpts = 1,
                                .rcpts = &rcpt };
        struct history_rcpt r = { .source_ip = span_str(ip_of((int)hop)) };
        struct spool_rcpt_update u = { .to = { .state = hop < 2 ? RCPT_MOVED : RCPT_DELIVERED } };
        history_note(h, &env, &r, 1);
        history_ended(h, env.id, &u, 1, 3 + hop);
    }
    assert_int_equal(history_flush(h), 0);
    struct history_query q = { .limit = 3 };
    uint32_t seen = 0;
    for (int page = 0; page < 2; page++) {
        static struct found f;
        memset(&f, 0, sizeof f);
        assert_int_equal(history_query(h, &q, on_any_row, &f), 0);
        seen += f.n;
        assert_int_equal(f.n, page == 0 ? 5 : 2); /* two of message 3, and all of the three hops */
        q.after = true;
        q.after_id = spool_id_public(f.ids[f.n - 1]);
        q.after_rcpt = f.rcpts[f.n - 1];
    }
    assert_int_equal(seen, 7);
    static struct found f;
    memset(&f, 0, sizeof f);
    assert_int_equal(history_query(h, &(struct history_query){ .id = id }, on_any_row, &f), 0);
    assert_int_equal(f.n, 3);
    assert_int_equal(f.ids[0], id + (2u << SPOOL_ID_HOP_SHIFT));
    history_close(h);
}

/* ---- steps ---- */

struct steps_found {
    uint32_t n, numbers[64];
    char last[64];
};

static void on_step(void *arg, const struct history_step *s)
{
    struct steps_found *f = arg;
    assert_true(f->n < 64);
    f->numbers[f->n++] = s->number;
    assert_int_equal(s->kind, HISTORY_STEP_DEFERRED);
    assert_int_equal(s->attempt, s->number);
    assert_int_equal(s->at_ms, T0 + s->number);
    assert_int_equal(s->next_ms, T0 + s->number + 1000);
    assert_true(s->greylisted == (s->number == 1));
    assert_true(span_eq(s->mx, SPAN_LIT("mx.example")));
    assert_true(span_eq(s->tls, SPAN_LIT("TLSv1.3")));
    snprintf(f->last, sizeof f->last, "%.*s", (int)s->reply.n, s->reply.p);
}

static struct steps_found steps_of(struct history *h, uint64_t id, uint32_t rcpt)
{
    struct steps_found f = { 0 };
    struct history_reader *r;
    assert_int_equal(history_reader_open(h, &r), 0);
    assert_int_equal(history_steps_read(r, id, rcpt, on_step, &f), 0);
    history_reader_close(r);
    return f;
}

static void tell_step(struct history *h, uint64_t id, uint32_t rcpt, uint32_t number)
{
    char reply[64];
    snprintf(reply, sizeof reply, "451 4.7.1 try %u", number);
    struct history_step s = { .rcpt = rcpt,
                              .kind = HISTORY_STEP_DEFERRED,
                              .greylisted = number == 1,
                              .attempt = (uint16_t)number,
                              .at_ms = T0 + number,
                              .next_ms = T0 + number + 1000,
                              .reply = span_str(reply),
                              .mx = SPAN_LIT("mx.example"),
                              .tls = SPAN_LIT("TLSv1.3") };
    history_steps(h, id, T0 + 1000, &s, 1);
}

static void steps_are_kept_first_and_last(void **state)
{
    (void)state;
    const uint32_t most = HISTORY_STEPS_FIRST + HISTORY_STEPS_LAST;
    struct history *h = open_plain();
    for (uint32_t n = 1; n <= most + 10; n++)
        tell_step(h, 1 << 20, 0, n);
    tell_step(h, 1 << 20, 1, 1);
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(ask(h, (struct history_query){ .id = 1 << 20 })->n, 0); /* they claim no end */
    struct steps_found f = steps_of(h, 1 << 20, 0);
    assert_int_equal(f.n, most);
    for (uint32_t i = 0; i < most; i++)
        assert_int_equal(f.numbers[i], i < HISTORY_STEPS_FIRST ? i + 1 : i + 11);
    assert_string_equal(f.last, "451 4.7.1 try 42");
    assert_int_equal(steps_of(h, 1 << 20, 1).n, 1);
    assert_int_equal(steps_of(h, 2 << 20, 0).n, 0);
    tell(h, 1, 1, true); /* the end comes: what is known of the message by now is written */
    assert_int_equal(history_flush(h), 0);
    struct found *found = ask(h, (struct history_query){ .id = 1 << 20 });
    assert_int_equal(found->n, 2);
    assert_int_equal(found->last.nrcpts, 2);
    history_close(h);

    h = open_with((struct history_config){ .keep_bytes = 1 }); /* everything is too much */
    tell(h, 2, 2, true);
    assert_int_equal(history_flush(h), 0);
    assert_int_equal(steps_of(h, 1 << 20, 0).n, 0);
    history_close(h);
}

static int check_cleared(void *arg, const struct history_row *row)
{
    const bool *gone = arg;
    assert_int_equal(row->client_ip.n == 0, gone[0]);
    assert_int_equal(row->client_name.n == 0, gone[0]);
    assert_int_equal(row->helo.n == 0, gone[0]);
    assert_int_equal(row->reply.n == 0, gone[1]);
    assert_true(row->sender.n > 0 && row->recipient.n > 0);
    return 0;
}

static void expect_cleared(struct history *h, uint64_t k, bool clients, bool replies)
{
    bool gone[] = { clients, replies };
    assert_int_equal(history_query(h, &(struct history_query){ .id = k << 20 }, check_cleared, gone), 0);
}

static int64_t age_of(uint64_t k)
{
    return clock_wall_ms() - (T0 + (int64_t)k * 1000);
}

/* The world's times lie ahead of the clock: what is kept is less than nothing. */
static void classes_of_data_go_before_the_rest(void **state)
{
    (void)state;
    struct history *h = open_plain();
    for (uint64_t k = 1; k <= 2000; k++)
        if (k % 10 != 3) /* its sender is <> */
            tell(h, k, k, true);
    tell_step(h, 1 << 20, 0, 1);
    history_close(h);

    h = open_with((struct history_config){ .keep_clients_ms = age_of(1000), .keep_replies_ms = age_of(501) });
    for (int i = 0; i < 12; i++) /* bit by bit */
        assert_int_equal(history_flush(h), 0);
    expect_cleared(h, 1, true, true);
    expect_cleared(h, 499, true, true);
    expect_cleared(h, 502, true, false);
    expect_cleared(h, 999, true, false);
    expect_cleared(h, 1101, false, false);
    assert_string_equal(steps_of(h, 1 << 20, 0).last, "");
    tell(h, 3, 3001, true); /* late: it comes without */
    assert_int_equal(history_flush(h), 0);
    bool gone[] = { true, true };
    struct history_query q = { .id = 4 << 20 };
    assert_int_equal(history_query(h, &q, check_cleared, gone), 0);
    assert_int_equal(ask(h, (struct history_query){ .id = 3 << 20 })->last.client_ip.n, 0);
    history_close(h);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, drop_dir)
    const struct CMUnitTest tests[] = {
        TEST(an_old_file_is_brought_up_to_date),
        TEST(a_tenant_is_found),
        TEST(many_things_at_once),
        TEST(hops_share_a_place),
        TEST(steps_are_kept_first_and_last),
        TEST(classes_of_data_go_before_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
