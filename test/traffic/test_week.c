/* What the default rules about senders do to a fortnight of ordinary mail, and to thieves: docs/senders.md.
 *
 *     test_week                              what ctest runs: few senders, one seed
 *     test_week SEED [SEED] [attacks [clean]] [values] [hold] [senders N] [days N] [policy FILE]
 *                                            a table, seed by seed; as the documentation has it.
 *                                            clean: thieves know addresses that exist.
 *                                            hold: persons' mail beyond a limit is held.
 */
#include "rig.h"

#include "base/ensure.h"
#include "node/policy/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The built-in limits, but that machines may send more; and the built-in rules, which act. */
#define WEEK_POLICY                                                                                          \
    "limits:\n"                                                                                              \
    "  - {name: person-hour, for: account, classes: person, count: 500, window: 1h}\n"                       \
    "  - {name: person-day, for: account, classes: person, count: 2000, window: 1d}\n"                       \
    "  - {name: device-hour, for: account, classes: device, count: 2000, window: 1h}\n"                      \
    "  - {name: device-day, for: account, classes: device, count: 10000, window: 1d}\n"                      \
    "  - {name: bulk-hour, for: account, classes: bulk, count: 10000, window: 1h}\n"                         \
    "  - {name: tenant-day, for: tenant, count: 50000, window: 1d}\n"                                        \
    "default_sender_rules: on\n"
static const char week_policy[] = WEEK_POLICY;
static const char holding_policy[] = WEEK_POLICY "classes: {person: {over_limit: hold}}\n";

/* Of seed 1, 500 senders, 14 days: the traffic is as it was when the rules were made. */
#define FROZEN 0xf8fc14f402a57d73ull

static void the_traffic_is_the_one_that_was_frozen(void **state)
{
    (void)state;
    struct traffic *t = traffic_new(1, 500, 14);
    assert_true(traffic_digest(t) == FROZEN);
    traffic_free(t);
}

/* ---- by hand ------------------------------------------------------------------------------------------- */

struct options {
    uint64_t first, last;
    uint32_t senders, days;
    uint32_t attack_mails; /* the first ones of each */
    bool attacks, clean, values;
    const char *policy;
};

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    char *text = calloc(1, 1 << 16);
    ensure(f != NULL);
    ensure(text != NULL);
    ensure(fread(text, 1, (1 << 16) - 1, f) > 0);
    fclose(f);
    return text;
}

static void print_most(const struct rig_report *r)
{
    for (unsigned c = 0; c < 3; c++)
        for (unsigned f = 0; f < SENDER_FACTS; f++)
            printf("  class %u %-20s %8u %8u %8u\n", c, sender_fact_names[f], r->most[c][f][0],
                   r->most[c][f][1], r->most[c][f][2]);
}

static void print_blocks(const struct traffic *t, const struct rig_report *r)
{
    for (uint32_t i = 0; i < r->nblocks; i++) {
        const struct rig_block *b = &r->blocks[i];
        if (!b->attacked)
            printf("  FALSE: day %lld %s s%u: %s: %s\n", (long long)(b->at_ms / TRAFFIC_DAY_MS),
                   traffic_role_names[t->senders[b->sender].role], b->sender, b->rule, b->reason);
    }
    for (uint32_t i = 0; i < r->nrules; i++)
        printf("  rule %-20s person %u device %u bulk %u\n", r->rules[i].name, r->rules[i].times[0],
               r->rules[i].times[1], r->rules[i].times[2]);
}

static void print_attacks(const struct rig_report *r, const struct rig_account *accounts,
                          uint32_t who[ATTACKS][ATTACK_ACCOUNTS], const uint32_t *n)
{
    for (unsigned k = 0; k < ATTACKS; k++) {
        uint32_t left = 0, first = 0, held = 0, stopped = 0;
        int64_t took = 0;
        const char *rule = "-";
        for (uint32_t i = 0; i < n[k]; i++) {
            const struct rig_account *a = &accounts[who[k][i]];
            left += a->left;
            first += a->left_first;
            held += a->held;
            stopped += a->stopped_ms >= 0;
            took = a->stopped_ms >= 0 ? a->stopped_ms - a->attacked_ms : took;
            for (uint32_t b = 0; b < r->nblocks; b++)
                if (r->blocks[b].sender == who[k][i] && r->blocks[b].at_ms == a->stopped_ms)
                    rule = r->blocks[b].rule;
        }
        printf("  %-14s left %6u before the first block, %6u in all, held %6u; stopped %u of %u after %lld s "
               "by %s\n",
               traffic_attack_names[k], first, left, held, stopped, n[k], (long long)took / 1000, rule);
    }
}

static void print_deferred(const struct traffic *t, const struct rig_report *r, const struct rig_account *accounts)
{
    uint32_t over[TRAFFIC_ROLES] = { 0 };
    for (uint32_t i = 0; i < t->nsenders; i++)
        if (accounts[i].attacked_ms < 0)
            over[t->senders[i].role] += accounts[i].over;
    for (unsigned k = 0; k < TRAFFIC_ROLES; k++)
        if (over[k] > 0)
            printf("  deferred: %s %u\n", traffic_role_names[k], over[k]);
    for (uint32_t i = 0; i < r->ncauses; i++)
        printf("  deferred by %s: wrong newsletters %llu, all else %llu\n", r->causes[i].name,
               (unsigned long long)r->causes[i].wrong, (unsigned long long)r->causes[i].ordinary);
    if (r->held_over > 0)
        printf("  held for a limit: %llu\n", (unsigned long long)r->held_over);
}

/* One run: who is robbed by which attack, and what came of it all. */
struct run {
    struct traffic *traffic;
    struct rig_account *accounts;
    struct rig_report report;
    uint32_t who[ATTACKS][ATTACK_ACCOUNTS], n[ATTACKS];
    uint32_t false_blocks;
};

static void run_begin(struct run *run, const struct options *o, uint64_t seed)
{
    struct traffic *t = traffic_new(seed, o->senders, o->days);
    *run = (struct run){ .traffic = t, .accounts = calloc(o->senders, sizeof *run->accounts) };
    ensure(run->accounts != NULL);
    for (unsigned k = 0; o->attacks && k < ATTACKS; k++) {
        struct traffic_rng rng = traffic_rng(seed, 300, k);
        int64_t begin_ms = 8 * TRAFFIC_DAY_MS + traffic_below(&rng, 3 * 86400) * TRAFFIC_SECOND_MS;
        run->n[k] = traffic_attack(t, k, begin_ms, o->attack_mails, o->clean, run->who[k]);
    }
    traffic_sort(t);
    rig_run(t, o->policy, o->values, &run->report, run->accounts);
    for (uint32_t i = 0; i < run->report.nblocks; i++)
        run->false_blocks += !run->report.blocks[i].attacked;
}

static void run_end(struct run *run)
{
    free(run->accounts);
    traffic_free(run->traffic);
}

static void run_seed(const struct options *o, uint64_t seed)
{
    static struct run run;
    const struct rig_report *r = &run.report;
    run_begin(&run, o, seed);
    printf("seed %llu: %llu mails, %llu recipients; false blocks %u; held %llu, deferred %llu (%.4f %%), of "
           "wrong "
           "newsletters %llu; %llu waits of %llu ms, longest %llu\n",
           (unsigned long long)seed, (unsigned long long)r->mails, (unsigned long long)r->recipients,
           run.false_blocks, (unsigned long long)r->held, (unsigned long long)r->deferred,
           100.0 * (double)r->deferred / (double)r->recipients, (unsigned long long)r->deferred_wrong,
           (unsigned long long)r->waits, (unsigned long long)(r->waits == 0 ? 0 : r->waits_ms / r->waits),
           (unsigned long long)r->longest_wait_ms);
    print_blocks(run.traffic, r);
    print_deferred(run.traffic, r, run.accounts);
    if (o->attacks)
        print_attacks(r, run.accounts, run.who, run.n);
    if (o->values)
        print_most(r);
    fflush(stdout);
    run_end(&run);
}

static int by_hand(int argc, char **argv)
{
    struct options o = { .senders = 500, .days = 14, .attack_mails = UINT32_MAX, .policy = week_policy };
    char *text = NULL;
    o.first = o.last = strtoull(argv[1], NULL, 10);
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "attacks") == 0)
            o.attacks = true;
        else if (strcmp(argv[i], "clean") == 0)
            o.clean = true;
        else if (strcmp(argv[i], "values") == 0)
            o.values = true;
        else if (strcmp(argv[i], "hold") == 0)
            o.policy = holding_policy;
        else if (strcmp(argv[i], "senders") == 0 && i + 1 < argc)
            o.senders = (uint32_t)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "days") == 0 && i + 1 < argc)
            o.days = (uint32_t)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "policy") == 0 && i + 1 < argc)
            o.policy = text = read_file(argv[++i]);
        else
            o.last = strtoull(argv[i], NULL, 10);
    }
    for (uint64_t seed = o.first; seed <= o.last; seed++)
        run_seed(&o, seed);
    free(text);
    return 0;
}

/* ---- by ctest ------------------------------------------------------------------------------------------ */

/* A small version of what docs/senders.md tells: recipients that leave before the first block, at most. */
static void nobody_is_stopped_but_thieves(void **state)
{
    static const uint32_t most[ATTACKS] = {
        [ATTACK_FAST] = 70,      [ATTACK_SERVER] = 200,  [ATTACK_SLOW] = 200,   [ATTACK_HOPPING] = 200,
        [ATTACK_SNOWSHOE] = 400, [ATTACK_WASHING] = 100, [ATTACK_DEVICE] = 100,
    };
    const struct options o = {
        .senders = 60, .days = 12, .attacks = true, .attack_mails = 1000, .policy = week_policy
    };
    static struct run run;
    (void)state;
    run_begin(&run, &o, 1);
    assert_int_equal(run.false_blocks, 0);
    assert_true(run.report.mails > 30000);
    assert_true(run.report.admitted > 50000);
    assert_true(run.report.deferred * 1000 <= run.report.recipients);
    assert_int_equal(run.report.held_over, 0);
    assert_int_equal(run.report.held, run.report.recipients - run.report.admitted - run.report.deferred -
                                          run.report.deferred_wrong);
    for (unsigned k = 0; k < ATTACKS; k++) {
        uint32_t left = 0;
        for (uint32_t i = 0; i < run.n[k]; i++)
            left += run.accounts[run.who[k][i]].left_first;
        if (most[k] > 0 && left > most[k])
            fail_msg("%s: %u left, not %u", traffic_attack_names[k], left, most[k]);
    }
    run_end(&run);
}

/* What a limit would defer is held instead, that much and no more. */
static void a_limit_that_holds_defers_nothing(void **state)
{
    struct options o = { .senders = 60, .days = 4, .policy = week_policy };
    static struct run run;
    (void)state;
    run_begin(&run, &o, 1);
    uint64_t deferred = run.report.deferred + run.report.deferred_wrong;
    assert_true(deferred > 0);
    run_end(&run);
    o.policy = holding_policy;
    run_begin(&run, &o, 1);
    assert_int_equal(run.report.deferred + run.report.deferred_wrong, 0);
    assert_int_equal(run.report.held_over, deferred);
    assert_int_equal(run.report.held_over + run.report.held + run.report.admitted, run.report.recipients);
    run_end(&run);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_traffic_is_the_one_that_was_frozen),
        cmocka_unit_test(nobody_is_stopped_but_thieves),
        cmocka_unit_test(a_limit_that_holds_defers_nothing),
    };
    if (argc > 1)
        return by_hand(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
