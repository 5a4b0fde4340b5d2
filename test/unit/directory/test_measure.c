/* What rules do to a sender short of stopping him, slowed or re-pooled, and mail that is of another class
 * than its account. */
#include "consensus/facts.h"
#include "consensus/machine_impl.h"
#include "consensus/policy.h"
#include "world.h"

#include <stdio.h>
#include <string.h>

#define HOUR_MS 3600000ull
#define DAY_MS (24 * HOUR_MS)
#define ANNA "anna@example.com"
#define NOON_MS (20000 * (int64_t)DAY_MS + 12 * (int64_t)HOUR_MS)

static const struct sender_rule slow = { .name = "fast",
                                         .classes = 3,
                                         .action = SENDER_SLOW,
                                         .for_ms = 2 * HOUR_MS,
                                         .repeat = 3,
                                         .repeat_ms = 7 * DAY_MS,
                                         .nterms = 1,
                                         .term = { { SENDER_RECIPIENTS, 0, 100 } },
                                         .slow_count = 20,
                                         .slow_ms = 600000 };
static const struct sender_rule pool = { .name = "odd",
                                         .classes = 7,
                                         .action = SENDER_POOL,
                                         .for_ms = HOUR_MS,
                                         .nterms = 1,
                                         .term = { { SENDER_RECIPIENTS, 0, 50 } },
                                         .pool = "risky" };

static struct world *at_level(uint32_t level)
{
    struct world *w = world_at_level(level);
    w->now_ms = 100 * DAY_MS;
    return w;
}

/* One rule; its limit with it. */
static int rule_is(struct world *w, const struct sender_rule *rule)
{
    struct policy_compiled p;
    policy_default(&p);
    p.nsender_rules = 1;
    p.sender_rules[0] = *rule;
    if (rule->action == SENDER_SLOW) {
        struct policy_limit *l = &p.limits[p.nlimits++];
        *l = (struct policy_limit){ .scope = COMMAND_SCOPE_ACCOUNT,
                                    .count = rule->slow_count,
                                    .window_ms = rule->slow_ms };
        sender_rule_limit(rule, l->name);
    }
    return policy_is(w, &p);
}

/* So many recipients were seen; the number of the report. */
static void look(struct world *w, uint64_t number, uint32_t recipients)
{
    struct sender_facts f = { .counts = { .account = str(ANNA) } };
    struct buf b;
    f.counts.count[RECORD_MESSAGES] = 1;
    f.counts.count[RECORD_ACCEPTED] = recipients;
    buf_init(&b, RECORD_COUNTS_BYTES_MAX);
    assert_int_equal(sender_facts_put(&b, &f), 0);
    struct command c = { .type = COMMAND_SENDER_LOOK,
                         .sender_look = { .number = number, .wall_ms = NOON_MS, .facts = buf_span(&b) } };
    memset(c.sender_look.process, 'p', sizeof c.sender_look.process);
    assert_int_equal(tell_as(w, 1, c), 0);
    buf_fini(&b);
}

static int take(struct world *w, uint8_t type, const char *account, uint8_t class, uint32_t n)
{
    return tell_as(
        w, 1,
        (struct command){ .type = type,
                          .grant = { .account = str(account), .class = class, .need = n, .want = n } });
}

static struct directory_measure measure;

static int on_measure(void *arg, const struct directory_measure *v)
{
    (void)arg;
    measure = *v;
    return 1;
}

static bool in_force(const struct world *w)
{
    return directory_measure_each(w->m, str(ANNA), on_measure, NULL) == 1 && measure.in_force;
}

/* What the leader would propose then, told. */
static uint32_t let_it_pass(struct world *w, uint64_t ms)
{
    struct buf out;
    struct cursor c;
    uint32_t n = 0, told = 0;
    w->now_ms += ms;
    buf_init(&out, 1 << 20);
    assert_int_equal(machine_due(w->m, w->now_ms, &out, &n), 0);
    cursor_init(&c, out.data, out.len);
    while (cursor_left(&c) > 0) {
        struct command cmd;
        assert_int_equal(command_decode(&c, &cmd), 0);
        told += cmd.type == COMMAND_SENDER_LIFT;
        (void)tell(w, cmd);
    }
    buf_fini(&out);
    return told;
}

static int lift(struct world *w, const char *rule)
{
    return tell(w, (struct command){ .type = COMMAND_SENDER_LIFT,
                                     .sender_lift = { .by = { .who = str("root@node-a") },
                                                      .account = str(ANNA),
                                                      .rule = str(rule) } });
}

static struct span newest;
static int on_line(void *arg, const struct directory_audit *a)
{
    (void)arg;
    newest = a->what;
    return 1;
}

static void assert_audit(const struct world *w, const char *what)
{
    assert_int_equal(directory_audit_each(w->m, 0, on_line, NULL), 1);
    if (!span_eq(newest, str(what)))
        print_error("%.*s\n", (int)newest.n, newest.p);
    assert_true(span_eq(newest, str(what)));
}

static void who_is_slowed_gets_so_much_and_no_more(void **state)
{
    (void)state;
    struct world *w = at_level(6);
    assert_int_equal(rule_is(w, &slow), 0);
    look(w, 1, 100);
    assert_false(in_force(w));
    assert_int_equal(take(w, COMMAND_GRANT, ANNA, 0, 60), 0);
    look(w, 2, 1);
    assert_true(in_force(w));
    assert_words(w, "rule fast: slow of " ANNA " to 20 in 10m: recipients 101 > 100 in 1h");
    assert_true(changed(w, MACHINE_CHANGED_RECALL, ANNA)); /* what nodes have in hand is asked for */
    assert_audit(w, "slow account " ANNA " to 20 in 10m for 7200s: recipients 101 > 100 in 1h");
    assert_int_equal(take(w, COMMAND_GRANT, ANNA, 0, 15), 0);
    assert_int_equal(take(w, COMMAND_GRANT, ANNA, 0, 6), ERR_LIMIT);
    assert_string_equal(w->r.limit, "slow.fast");
    assert_int_equal(w->r.limit_count, 20);
    assert_int_equal(take(w, COMMAND_GRANT_STREAM, ANNA, 2, 6), ERR_LIMIT); /* nor by way of another stream */
    assert_int_equal(take(w, COMMAND_GRANT, "bob@example.com", 0, 60), 0);  /* it is his own */
    look(w, 3, 50); /* what goes on counts, and changes nothing */
    assert_int_equal(measure.times, 1);
    assert_int_equal(let_it_pass(w, 2 * HOUR_MS - 1), 0);
    assert_int_equal(let_it_pass(w, 1), 1);
    assert_false(in_force(w));
    assert_audit(w, "lift slow of account " ANNA " by rule fast");
    assert_int_equal(take(w, COMMAND_GRANT, ANNA, 0, 60), 0);
    world_free(w);
}

static void the_third_time_it_stays(void **state)
{
    (void)state;
    struct world *w = at_level(6);
    assert_int_equal(rule_is(w, &slow), 0);
    for (uint64_t i = 1; i <= 3; i++) {
        look(w, i, 101);
        assert_true(in_force(w));
        assert_int_equal(measure.times, i);
        if (i < 3)
            assert_int_equal(let_it_pass(w, 3 * HOUR_MS), 1);
    }
    assert_int_equal(measure.until_ms, 0);
    assert_audit(w, "slow account " ANNA " to 20 in 10m: recipients 101 > 100 in 1h; again, so it stays");
    assert_int_equal(let_it_pass(w, 6 * DAY_MS), 0);
    assert_true(in_force(w));
    assert_int_equal(lift(w, "other"), ERR_NOT_FOUND);
    assert_int_equal(lift(w, ""), 0);
    assert_true(changed(w, MACHINE_CHANGED_LIMITS, ANNA)); /* refusals are forgotten */
    assert_false(in_force(w));
    assert_int_equal(lift(w, ""), ERR_NOT_FOUND);
    assert_int_equal(let_it_pass(w, 8 * DAY_MS), 1); /* and in the end nobody remembers it */
    assert_int_equal(directory_measure_each(w->m, str(ANNA), on_measure, NULL), 0);
    world_free(w);
}

static void the_same_mail_does_not_count_twice(void **state)
{
    (void)state;
    struct world *w = at_level(6);
    struct sender_rule quick = slow;
    quick.for_ms = 60000;
    assert_int_equal(rule_is(w, &quick), 0);
    look(w, 1, 101);
    assert_true(in_force(w));
    assert_int_equal(let_it_pass(w, 60000), 1);
    look(w, 2, 1);
    assert_false(in_force(w));
    w->now_ms += 81 * 60000; /* all of that is more than an hour ago */
    look(w, 3, 1);
    assert_false(in_force(w));
    look(w, 4, 101);
    assert_true(in_force(w));
    assert_int_equal(rule_is(w, &pool), 0); /* a policy without it slows nobody */
    assert_int_equal(take(w, COMMAND_GRANT, ANNA, 0, 60), 0);
    world_free(w);
}

static void sent_from_another_pool(void **state)
{
    (void)state;
    struct world *w = at_level(6);
    assert_int_equal(rule_is(w, &pool), 0);
    look(w, 1, 51);
    assert_false(in_force(w));
    assert_audit(w, "pool of account " ANNA " is not possible: there is no pool risky");
    assert_int_equal(
        tell(w, (struct command){ .type = COMMAND_POOL_SET, .pool_set = { .name = str("risky") } }), 0);
    look(w, 2, 1);
    assert_true(in_force(w));
    assert_true(span_eq(measure.pool, str("risky")));
    assert_int_equal(measure.action, SENDER_POOL);
    assert_true(changed(w, MACHINE_CHANGED_POOLS, ""));
    assert_audit(w, "pool account " ANNA " to pool risky for 3600s: recipients 52 > 50 in 1h");
    assert_int_equal(take(w, COMMAND_GRANT, ANNA, 0, 60), 0); /* and is not slower for it */
    assert_int_equal(let_it_pass(w, HOUR_MS), 1);
    assert_false(in_force(w));
    assert_true(changed(w, MACHINE_CHANGED_POOLS, ""));
    world_free(w);
}

static void a_stream_has_the_limits_of_its_class(void **state)
{
    (void)state;
    struct world *w = at_level(6);
    assert_int_equal(
        tell(w, (struct command){ .type = COMMAND_ACCOUNT_SET,
                                  .account_set = { .name = str(ANNA), .hash = str("x"), .create = true } }),
        0);
    assert_int_equal(take(w, COMMAND_GRANT, ANNA, 2, 501), ERR_LIMIT); /* the account's class counts */
    assert_string_equal(w->r.limit, "account-hour");
    assert_int_equal(take(w, COMMAND_GRANT_STREAM, ANNA, 2, 501), 0);
    assert_int_equal(take(w, COMMAND_GRANT_STREAM, ANNA, 2, 9500), ERR_LIMIT);
    assert_string_equal(w->r.limit, "bulk-hour");
    assert_int_equal(take(w, COMMAND_GRANT, ANNA, 0, 500),
                     0); /* nothing of it was charged to the account's class */
    assert_int_equal(take(w, COMMAND_GRANT_STREAM, ANNA, 1, 1),
                     ERR_LIMIT); /* but device shares person's limit */
    assert_string_equal(w->r.limit, "account-hour");
    world_free(w);
}

static void not_before_its_level(void **state)
{
    (void)state;
    struct world *w = at_level(5);
    assert_int_equal(command_type_level(COMMAND_GRANT_STREAM), 6);
    assert_int_equal(command_type_level(COMMAND_SENDER_LIFT), 6);
    assert_int_equal(rule_is(w, &slow), ERR_BAD); /* older nodes could not read it */
    assert_int_equal(take(w, COMMAND_GRANT_STREAM, ANNA, 2, 1), ERR_DENIED);
    assert_int_equal(lift(w, ""), ERR_DENIED);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_slowed_gets_so_much_and_no_more), cmocka_unit_test(the_third_time_it_stays),
        cmocka_unit_test(the_same_mail_does_not_count_twice),     cmocka_unit_test(sent_from_another_pool),
        cmocka_unit_test(a_stream_has_the_limits_of_its_class),   cmocka_unit_test(not_before_its_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
