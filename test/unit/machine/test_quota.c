/* Granting and giving back, one rule at a time. */
#include "test/unit/machine/fixture.h"

#include <stdio.h>

static struct fix start(uint64_t *session)
{
    struct fix f;
    fix_init(&f);
    *session = fix_open(&f, 1, 0, true, 1);
    return f;
}

static void exact_for_a_first_message_and_near_the_limit(void **state)
{
    (void)state;
    uint64_t s;
    struct fix f = start(&s);
    const struct machine_result *r = fix_grant(&f, s, "anna", "", 1, 50);
    assert_int_equal(r->err, 0);
    assert_int_equal(r->count, 1); /* nothing is known of her yet */
    assert_int_equal(r->id, f.index * 64);
    assert_int_equal(r->life_ms, 60000);
    assert_int_equal(fix_grant(&f, s, "anna", "", 1, 50)->count, 50);
    assert_int_equal(fix_grant(&f, s, "anna", "", 1, 200)->count, 74); /* half of 149 */
    assert_int_equal(fix_grant(&f, s, "anna", "", 1, 200)->count, 37);
    assert_int_equal(fix_grant(&f, s, "anna", "", 1, 200)->count, 19);
    assert_int_equal(fix_grant(&f, s, "anna", "", 9, 200)->count, 9); /* more than half, but needed */
    assert_int_equal(fix_grant(&f, s, "anna", "", 1, 200)->count, 1); /* 10 left of 200: exact */
    assert_int_equal(fix_grant(&f, s, "anna", "", 9, 9)->count, 9);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").used, 200);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").held, 200);
    assert_int_equal(fix_grant(&f, s, "anna", "", 1, 1)->err, ERR_LIMIT);
    fix_fini(&f);
}

/* What operators are told agrees with what is granted, to the millisecond. */
static void it_is_known_when_a_window_is_free_again(void **state)
{
    (void)state;
    uint64_t s;
    struct fix f = start(&s);
    struct machine_usage u = fix_usage(&f, "anna", "", "hour");
    assert_true(u.free_ms <= machine_now_ms(f.m) && u.gone_ms <= machine_now_ms(f.m));
    assert_int_equal(fix_take(&f, s, "anna", 150), 150);
    f.now_ms += 600000;
    assert_int_equal(fix_take(&f, s, "anna", 49), 49);
    u = fix_usage(&f, "anna", "", "hour");
    assert_true(u.free_ms <= machine_now_ms(f.m)); /* one is left */
    assert_int_equal(fix_take(&f, s, "anna", 1), 1);
    u = fix_usage(&f, "anna", "", "hour");
    assert_int_equal(u.free_ms, fix_grant(&f, s, "anna", "", 1, 1)->free_ms);
    assert_in_range(u.gone_ms - u.free_ms, 600000 - 36000, 600000 + 36000);
    f.now_ms = u.free_ms;
    assert_int_equal(fix_take(&f, s, "anna", 1), 1);
    f.now_ms = u.gone_ms - 1;
    assert_int_equal(fix_take(&f, s, "bert", 1), 1); /* so that time passes */
    assert_true(fix_usage(&f, "anna", "", "hour").used == 51);
    f.now_ms = u.gone_ms;
    assert_int_equal(fix_take(&f, s, "bert", 1), 1);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").used, 1); /* the late one */
    fix_fini(&f);
}

static void a_refusal_names_the_limit_and_when(void **state)
{
    (void)state;
    uint64_t s;
    struct fix f = start(&s);
    assert_int_equal(fix_take(&f, s, "anna", 150), 150);
    uint64_t first_ms = f.now_ms;
    f.now_ms += 600000;
    assert_int_equal(fix_take(&f, s, "anna", 50), 50);
    const struct machine_result *r = fix_grant(&f, s, "anna", "", 10, 10);
    assert_int_equal(r->err, ERR_LIMIT);
    assert_int_equal(r->why, MACHINE_REFUSED_LIMIT);
    assert_int_equal(r->scope, COMMAND_SCOPE_ACCOUNT);
    assert_string_equal(r->limit, "hour");
    assert_int_equal(r->limit_count, 200);
    assert_int_equal(r->limit_window_ms, HOUR_MS);
    uint64_t free_ms = r->free_ms;
    /* 1.03 * (window + life) and up to a bucket after the first ones were charged. */
    assert_in_range(free_ms - first_ms, 3769800, 3769800 + 36000);
    f.now_ms = free_ms - 1;
    assert_int_equal(fix_take(&f, s, "anna", 10), 0);
    f.now_ms = free_ms;
    assert_int_equal(fix_take(&f, s, "anna", 10), 10);
    /* What will never fit: a window from now. */
    r = fix_grant(&f, s, "anna", "", 201, 201);
    assert_int_equal(r->err, ERR_LIMIT);
    assert_int_equal(r->free_ms, f.now_ms + HOUR_MS);
    fix_fini(&f);
}

static void every_limit_of_the_chain_counts(void **state)
{
    (void)state;
    uint64_t s;
    struct fix f = start(&s);
    char name[32];
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "user%d", i);
        assert_int_equal(fix_grant(&f, s, name, "shop", 200, 200)->count, 200);
    }
    const struct machine_result *r = fix_grant(&f, s, "user9", "shop", 1, 1);
    assert_int_equal(r->err, ERR_LIMIT);
    assert_int_equal(r->scope, COMMAND_SCOPE_TENANT);
    assert_string_equal(r->limit, "tenant-hour");
    assert_int_equal(fix_usage(&f, "user9", "shop", "hour").used, 0); /* a refusal charges nothing */
    assert_int_equal(fix_take(&f, s, "user9", 1), 1);                 /* without the tenant */
    fix_fini(&f);
}

static void the_directory_knows_better_than_the_node(void **state)
{
    (void)state;
    uint64_t s;
    struct fix f = start(&s);
    struct command cmd = { .type = COMMAND_ACCOUNT_SET };
    cmd.account_set = (struct command_account_set){ .by.who = SPAN_LIT("test"),
                                                    .name = SPAN_LIT("anna"),
                                                    .hash = SPAN_LIT("!"),
                                                    .create = true,
                                                    .class = 2 };
    assert_int_equal(fix_apply(&f, &cmd)->err, 0);
    struct policy_compiled p;
    fix_policy_plain(&p);
    p.limits[0].classes = 1;
    fix_limit(&p, "bulk", COMMAND_SCOPE_ACCOUNT, 3, HOUR_MS);
    p.limits[2].classes = 4;
    fix_policy(&f, &p);
    const struct machine_result *r = fix_grant(&f, s, "anna", "shop", 4, 4); /* the node says: a person */
    assert_int_equal(r->err, ERR_LIMIT);
    assert_string_equal(r->limit, "bulk");
    assert_int_equal(fix_grant(&f, s, "anna", "shop", 3, 3)->count, 3);
    assert_int_equal(fix_usage(&f, "", "shop", "tenant-hour").used, 0); /* she has no tenant */
    cmd.account_set.create = false;
    cmd.account_set.disabled = true;
    assert_int_equal(fix_apply(&f, &cmd)->err, 0);
    r = fix_grant(&f, s, "anna", "", 1, 1);
    assert_int_equal(r->err, ERR_DENIED);
    assert_int_equal(r->why, MACHINE_REFUSED_DISABLED);
    /* (!) Removing an account does not empty its windows. */
    struct command gone = { .type = COMMAND_ACCOUNT_REMOVE };
    gone.name = (struct command_name){ .by.who = SPAN_LIT("test"), .name = SPAN_LIT("anna") };
    assert_int_equal(fix_apply(&f, &gone)->err, 0);
    cmd.account_set.create = true;
    cmd.account_set.disabled = false;
    assert_int_equal(fix_apply(&f, &cmd)->err, 0);
    assert_int_equal(fix_grant(&f, s, "anna", "", 1, 1)->err, ERR_LIMIT);
    fix_fini(&f);
}

static void no_limit_no_record(void **state)
{
    (void)state;
    uint64_t s;
    struct fix f = start(&s);
    struct policy_compiled p;
    fix_policy_plain(&p);
    p.nlimits = 0;
    fix_policy(&f, &p);
    const struct machine_result *r = fix_grant(&f, s, "anna", "", 5, 5000);
    assert_int_equal(r->err, 0);
    assert_int_equal(r->count, 5000);
    assert_int_equal(r->id, 0);
    assert_int_equal(r->life_ms, 60000);
    struct machine_totals t;
    machine_totals(f.m, &t);
    assert_int_equal(t.grants, 0);
    assert_int_equal(t.counters, 0);
    fix_fini(&f);
}

static void a_life_is_the_shortest_of_the_chain(void **state)
{
    (void)state;
    uint64_t s;
    struct fix f = start(&s);
    struct policy_compiled p;
    fix_policy_plain(&p);
    fix_limit(&p, "burst", COMMAND_SCOPE_ACCOUNT, 50, 200000);
    fix_policy(&f, &p);
    assert_int_equal(fix_grant(&f, s, "anna", "", 1, 1)->life_ms, 4000);
    p.limits[2].window_ms = 10000;
    fix_policy(&f, &p);
    assert_int_equal(fix_grant(&f, s, "anna", "", 1, 1)->life_ms, 2000);
    fix_fini(&f);
}

/* ---- giving back ----------------------------------------------------------------------------------------
 */

static void a_return_refunds_at_most_what_is_held(void **state)
{
    (void)state;
    uint64_t s;
    struct fix f = start(&s);
    uint64_t g = fix_grant(&f, s, "anna", "", 10, 10)->id;
    assert_int_equal(fix_return(&f, s, g, 4, false)->count, 4);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").used, 6);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").held, 6);
    assert_int_equal(fix_return(&f, s, g, 100, false)->count, 6); /* never the 4 again */
    assert_int_equal(fix_usage(&f, "anna", "", "hour").used, 0);
    assert_int_equal(fix_return(&f, s, g, 10, true)->count, 0);
    assert_int_equal(fix_return(&f, s, 12345, 10, true)->count, 0);
    g = fix_grant(&f, s, "anna", "", 10, 10)->id;
    assert_int_equal(fix_return(&f, s, g, 3, true)->count, 3);
    struct machine_usage u = fix_usage(&f, "anna", "", "hour");
    assert_int_equal(u.used, 7); /* spent */
    assert_int_equal(u.held, 0);
    assert_int_equal(u.burned, 0);
    struct machine_totals t;
    machine_totals(f.m, &t);
    assert_int_equal(t.charged, 20);
    assert_int_equal(t.refunded, 13);
    assert_int_equal(t.spent_or_held, 7);
    assert_int_equal(t.grants, 0);
    fix_fini(&f);
}

/* (!) */
static void a_bucket_that_has_gone_means_burned(void **state)
{
    (void)state;
    uint64_t s;
    struct fix f = start(&s);
    uint64_t g = fix_grant(&f, s, "anna", "", 100, 100)->id;
    f.now_ms += 3769800 + 36000;
    assert_int_equal(fix_take(&f, s, "anna", 150), 150); /* the window is empty again */
    assert_int_equal(fix_return(&f, s, g, 100, true)->count, 0);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").used, 150);
    assert_int_equal(fix_take(&f, s, "anna", 51), 0);
    struct machine_totals t;
    machine_totals(f.m, &t);
    assert_int_equal(t.burned, 100);
    assert_int_equal(t.refunded, 0);
    fix_fini(&f);
}

static void only_its_own_node_gives_back(void **state)
{
    (void)state;
    uint64_t s;
    struct fix f = start(&s);
    uint64_t other = fix_open(&f, fix_join(&f), 0, true, 9);
    uint64_t g = fix_grant(&f, s, "anna", "", 10, 10)->id;
    assert_int_equal(fix_return(&f, other, g, 10, true)->err, ERR_DENIED);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").held, 10);
    fix_fini(&f);
}

static void the_same_process_settles_a_new_one_burns(void **state)
{
    (void)state;
    uint64_t s;
    struct fix f = start(&s);
    uint64_t g = fix_grant(&f, s, "anna", "", 10, 10)->id;
    uint64_t again = fix_open(&f, 1, s, false, 2);
    assert_int_equal(fix_return(&f, s, g, 10, true)->err,
                     ERR_DENIED); /* the old session's word no longer counts */
    assert_int_equal(fix_return(&f, again, g, 6, true)->count, 6);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").used, 4);
    g = fix_grant(&f, again, "anna", "", 10, 10)->id;
    uint64_t fresh = fix_open(&f, 1, again, true, 3);
    struct machine_usage u = fix_usage(&f, "anna", "", "hour");
    assert_int_equal(u.used, 14); /* it may all have been spent */
    assert_int_equal(u.burned, 10);
    assert_int_equal(u.held, 0);
    assert_int_equal(fix_return(&f, fresh, g, 10, true)->count, 0);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").used, 14);
    f.now_ms += 2 * HOUR_MS;
    assert_int_equal(fix_take(&f, fresh, "bert", 1), 1); /* time passes with entries */
    assert_int_equal(fix_usage(&f, "anna", "", "hour").used, 0);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").burned, 0);
    fix_fini(&f);
}

static void unsettled_grants_are_burned_after_a_day(void **state)
{
    (void)state;
    uint64_t s;
    struct fix f = start(&s);
    (void)fix_grant(&f, s, "anna", "", 10, 10);
    f.now_ms += 24 * HOUR_MS + 1;
    assert_int_equal(fix_take(&f, s, "bert", 1), 1);
    struct machine_totals t;
    machine_totals(f.m, &t);
    assert_int_equal(t.grants, 1);
    assert_int_equal(t.burned, 10);
    fix_fini(&f);
}

/* ---- between nodes --------------------------------------------------------------------------------------
 */

static void a_refusal_asks_for_what_others_hold(void **state)
{
    (void)state;
    uint64_t s;
    struct fix f = start(&s);
    uint64_t other = fix_open(&f, fix_join(&f), 0, true, 9);
    assert_int_equal(fix_take(&f, s, "anna", 150), 150);
    uint64_t g = fix_grant(&f, s, "anna", "", 50, 50)->id;
    /* The asker holds all of it himself: nobody else could help. */
    assert_int_equal(fix_take(&f, s, "anna", 1), 0);
    assert_int_equal(fix_changes(&f, MACHINE_CHANGED_RECALL, NULL), 0);
    struct machine_effect e;
    assert_int_equal(fix_take(&f, other, "anna", 1), 0);
    assert_int_equal(fix_changes(&f, MACHINE_CHANGED_RECALL, &e), 1);
    assert_int_equal(e.id, COMMAND_SCOPE_ACCOUNT);
    assert_true(span_eq(e.key, SPAN_LIT("anna")));
    /* More than the whole limit: no recall helps. */
    assert_int_equal(fix_take(&f, other, "anna", 201), 0);
    assert_int_equal(fix_changes(&f, MACHINE_CHANGED_RECALL, NULL), 0);
    assert_int_equal(fix_return(&f, s, g, 20, false)->count, 20);
    /* Who was refused hears of it, once. */
    assert_int_equal(fix_changes(&f, MACHINE_CHANGED_LIMITS, &e), 1);
    assert_true(span_eq(e.key, SPAN_LIT("anna")));
    assert_int_equal(fix_return(&f, s, g, 5, false)->count, 5);
    assert_int_equal(fix_changes(&f, MACHINE_CHANGED_LIMITS, NULL), 0);
    assert_int_equal(fix_take(&f, other, "anna", 25), 25);
    fix_fini(&f);
}

/* 198 of 200 at least, whichever way a client hops; here all of them. */
static void an_empty_window_gives_it_all(void **state)
{
    (void)state;
    for (uint32_t nodes = 1; nodes <= 3; nodes++) {
        uint64_t sessions[3];
        struct fix f = start(&sessions[0]);
        for (uint32_t i = 1; i < nodes; i++)
            sessions[i] = fix_open(&f, fix_join(&f), 0, true, (uint8_t)(10 + i));
        uint32_t spent = 0, in_hand[3] = { 0 };
        uint64_t grant[3] = { 0 };
        for (uint32_t i = 0; i < 200; i++) {
            uint32_t n = i % nodes;
            f.now_ms += 10;
            if (in_hand[n] == 0) {
                const struct machine_result *r = fix_grant(&f, sessions[n], "anna", "", 1, 32);
                if (r->err != 0) { /* recall: the others give back what they hold, and once more */
                    for (uint32_t k = 0; k < nodes; k++)
                        if (in_hand[k] > 0)
                            assert_int_equal(fix_return(&f, sessions[k], grant[k], in_hand[k], true)->count,
                                             in_hand[k]);
                    memset(in_hand, 0, sizeof in_hand);
                    r = fix_grant(&f, sessions[n], "anna", "", 1, 32);
                }
                if (r->err != 0)
                    break;
                in_hand[n] = r->count;
                grant[n] = r->id;
            }
            in_hand[n]--;
            spent++;
        }
        assert_in_range(spent, 198, 200);
        fix_fini(&f);
    }
}

/* At a steady rate the windows have to be seen to pass by every clock. */
static void a_steady_sender_gets_93_percent(void **state)
{
    (void)state;
    static const uint64_t windows_ms[] = { 100000, HOUR_MS };
    for (size_t i = 0; i < 2; i++) {
        uint64_t s;
        struct fix f = start(&s);
        f.keep = false;
        struct policy_compiled p;
        fix_policy_plain(&p);
        p.limits[0].window_ms = windows_ms[i];
        fix_policy(&f, &p);
        uint64_t got = 0, refused_until_ms = 0, from_ms = f.now_ms + 2 * windows_ms[i];
        uint64_t end_ms = from_ms + 20 * windows_ms[i];
        for (; f.now_ms < end_ms; f.now_ms += windows_ms[i] / 400) { /* twice as much as is allowed */
            if (f.now_ms < refused_until_ms)
                continue;
            const struct machine_result *r = fix_grant(&f, s, "anna", "", 1, 1);
            got += r->err == 0 && f.now_ms >= from_ms;
            refused_until_ms = r->err == 0 ? 0 : r->free_ms;
            if (r->err == 0)
                (void)fix_return(&f, s, r->id, 0, true);
        }
        printf("200 per %llu s: %.1f %% at a steady rate\n", (unsigned long long)windows_ms[i] / 1000,
               (double)got / 40);
        assert_in_range(got, 200 * 20 * 93 / 100, 200 * 20);
        fix_fini(&f);
    }
}

/* ---- limits that change ---------------------------------------------------------------------------------
 */

/* (!) What was granted under a higher limit does not abort anything later. */
static void a_lowered_limit_only_refuses(void **state)
{
    (void)state;
    uint64_t s;
    struct fix f = start(&s);
    uint64_t g = fix_grant(&f, s, "anna", "", 150, 150)->id;
    struct command cmd = { .type = COMMAND_OVERRIDE_SET };
    cmd.override_set = (struct command_override_set){ .by.who = SPAN_LIT("test"),
                                                      .scope = 1,
                                                      .name = SPAN_LIT("anna"),
                                                      .limit = SPAN_LIT("hour"),
                                                      .count = 100 };
    assert_int_equal(fix_apply(&f, &cmd)->err, 0);
    assert_int_equal(fix_take(&f, s, "anna", 1), 0);
    struct machine_usage u = fix_usage(&f, "anna", "", "hour");
    assert_true(u.overridden);
    assert_int_equal(u.count, 100);
    assert_int_equal(u.used, 150);
    assert_int_equal(fix_return(&f, s, g, 60, false)->count, 60);
    assert_int_equal(fix_take(&f, s, "anna", 10), 10);
    assert_int_equal(fix_take(&f, s, "anna", 1), 0);
    cmd.override_set.count = 0; /* nothing at all */
    assert_int_equal(fix_apply(&f, &cmd)->err, 0);
    f.now_ms += 3 * HOUR_MS;
    assert_int_equal(fix_take(&f, s, "anna", 1), 0);
    cmd.override_set.remove = true;
    assert_int_equal(fix_apply(&f, &cmd)->err, 0);
    assert_int_equal(fix_take(&f, s, "anna", 200), 200);
    fix_fini(&f);
}

static void windows_are_full_in_a_new_epoch(void **state)
{
    (void)state;
    uint64_t s;
    struct fix f = start(&s);
    assert_int_equal(fix_take(&f, s, "anna", 5), 5);
    struct command cmd = { .type = COMMAND_CLUSTER_INIT };
    cmd.cluster_init = (struct command_cluster_init){
        .epoch = 2,
        .ca_certificate = SPAN_LIT("certificate 2"),
        .ca_key = SPAN_LIT("key 2"),
        .name = SPAN_LIT("n1"),
        .raft_address = SPAN_LIT("127.0.0.1:7001"),
        .gossip_address = SPAN_LIT("127.0.0.1:8001"),
        .certificate_sha256 = SPAN_LIT("0123456789abcdef0123456789abcdef"),
        .version = SPAN_LIT("1"),
        .features = 1,
    };
    assert_int_equal(fix_apply(&f, &cmd)->err, 0);
    s = fix_open(&f, 1, s, true, 2);
    const struct machine_result *r = fix_grant(&f, s, "bert", "", 1, 1);
    assert_int_equal(r->err, ERR_LIMIT);
    uint64_t free_ms = r->free_ms;
    assert_true(free_ms > f.now_ms + HOUR_MS);
    struct machine_usage u = fix_usage(&f, "bert", "", "hour");
    assert_true(u.full);
    assert_int_equal(u.free_ms, free_ms);
    assert_int_equal(u.gone_ms, free_ms);
    assert_true(machine_windows_full(f.m));
    f.now_ms = free_ms;
    assert_int_equal(fix_apply(&f, &cmd)->err, 0); /* a repeat fills nothing */
    assert_false(machine_windows_full(f.m));
    assert_int_equal(fix_take(&f, s, "bert", 200), 200);

    cmd.cluster_init.epoch = 3;
    cmd.cluster_init.ca_certificate = SPAN_LIT("certificate 3");
    assert_int_equal(fix_apply(&f, &cmd)->err, 0);
    s = fix_open(&f, 1, s, true, 3);
    assert_int_equal(fix_grant(&f, s, "anna", "", 1, 1)->err, ERR_LIMIT);
    struct command reopen = { .type = COMMAND_LIMITS_REOPEN };
    reopen.limits_reopen.by.who = SPAN_LIT("an operator");
    assert_int_equal(fix_apply(&f, &reopen)->err, 0);
    assert_false(machine_windows_full(f.m));
    assert_int_equal(fix_take(&f, s, "anna", 200), 200); /* it had taken 5 more than an hour ago */
    assert_int_equal(fix_grant(&f, s, "bert", "", 1, 1)->err, ERR_LIMIT); /* what is known still counts */
    assert_int_equal(fix_apply(&f, &reopen)->err, ERR_NOT_FOUND);
    fix_fini(&f);
}

/* ---- bounds ---------------------------------------------------------------------------------------------
 */

static void counters_are_bounded_and_forgotten(void **state)
{
    (void)state;
    struct fix f;
    fix_init_with(&f, &(struct machine_config){ .max_counters = 10 });
    f.keep = false;
    uint64_t s = fix_open(&f, 1, 0, true, 1);
    char name[32];
    uint64_t grants[10];
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "user%d", i);
        grants[i] = fix_grant(&f, s, name, "", 1, 1)->id;
    }
    const struct machine_result *r = fix_grant(&f, s, "anna", "", 1, 1);
    assert_int_equal(r->err, ERR_LIMIT);
    assert_int_equal(r->why, MACHINE_REFUSED_NO_ROOM);
    struct machine_totals totals;
    machine_totals(f.m, &totals);
    assert_int_equal(totals.counters, totals.counters_max);
    assert_int_equal(totals.no_room, 1);
    assert_int_equal(fix_take(&f, s, "user3", 1), 1);
    for (int i = 0; i < 10; i++)
        (void)fix_return(&f, s, grants[i], 0, true);
    f.now_ms += 2 * HOUR_MS;
    assert_int_equal(fix_grant(&f, s, "anna", "", 1, 1)->why, MACHINE_REFUSED_NO_ROOM);
    struct machine_totals t;
    machine_totals(f.m, &t); /* what had left its window went with that entry, but for what is still held */
    assert_int_equal(t.counters, 1);
    assert_int_equal(fix_take(&f, s, "anna", 1), 1);
    fix_fini(&f);
}

static void large_counts(void **state)
{
    (void)state;
    uint64_t s;
    struct fix f = start(&s);
    struct policy_compiled p;
    fix_policy_plain(&p);
    p.limits[0].count = POLICY_COUNT_MAX;
    fix_policy(&f, &p);
    assert_int_equal(fix_take(&f, s, "anna", 200), 200);
    uint64_t g = fix_grant(&f, s, "anna", "", 300, 300)->id;
    assert_int_equal(fix_take(&f, s, "anna", UINT32_MAX), UINT32_MAX);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").used, 500 + (uint64_t)UINT32_MAX);
    assert_int_equal(fix_return(&f, s, g, 300, true)->count, 300);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").used, 200 + (uint64_t)UINT32_MAX);
    struct machine *again = fix_replay(&f);
    assert_true(machine_digest(again) == machine_digest(f.m));
    machine_free(again);
    fix_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_for_a_first_message_and_near_the_limit),
        cmocka_unit_test(it_is_known_when_a_window_is_free_again),
        cmocka_unit_test(a_refusal_names_the_limit_and_when),
        cmocka_unit_test(every_limit_of_the_chain_counts),
        cmocka_unit_test(the_directory_knows_better_than_the_node),
        cmocka_unit_test(no_limit_no_record),
        cmocka_unit_test(a_life_is_the_shortest_of_the_chain),
        cmocka_unit_test(a_return_refunds_at_most_what_is_held),
        cmocka_unit_test(a_bucket_that_has_gone_means_burned),
        cmocka_unit_test(only_its_own_node_gives_back),
        cmocka_unit_test(the_same_process_settles_a_new_one_burns),
        cmocka_unit_test(unsettled_grants_are_burned_after_a_day),
        cmocka_unit_test(a_refusal_asks_for_what_others_hold),
        cmocka_unit_test(an_empty_window_gives_it_all),
        cmocka_unit_test(a_steady_sender_gets_93_percent),
        cmocka_unit_test(a_lowered_limit_only_refuses),
        cmocka_unit_test(windows_are_full_in_a_new_epoch),
        cmocka_unit_test(counters_are_bounded_and_forgotten),
        cmocka_unit_test(large_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
