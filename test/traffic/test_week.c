/* What the default rules about senders do to a fortnight of ordinary mail, and to thieves: docs/senders.md.
 *
 *     test_week                              what ctest runs: few senders, two seeds
 *     test_week SEED [SEED] [attacks] [values] [senders N] [days N] [policy FILE]
 *                                            a table, seed by seed; as the documentation has it
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
    bool attacks, values;
    char *policy;
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
        uint32_t left = 0, held = 0, stopped = 0;
        int64_t took = 0;
        const char *rule = "-";
        for (uint32_t i = 0; i < n[k]; i++) {
            const struct rig_account *a = &accounts[who[k][i]];
            left += a->left;
            held += a->held;
            stopped += a->stopped_ms >= 0;
            took = a->stopped_ms >= 0 ? a->stopped_ms - a->attacked_ms : took;
            for (uint32_t b = 0; b < r->nblocks; b++)
                if (r->blocks[b].sender == who[k][i] && r->blocks[b].at_ms == a->stopped_ms)
                    rule = r->blocks[b].rule;
        }
        printf("  %-14s left %6u held %6u stopped %u of %u after %lld s by %s\n", traffic_attack_names[k],
               left, held, stopped, n[k], (long long)took / 1000, rule);
    }
}

static void run_seed(const struct options *o, uint64_t seed)
{
    struct traffic *t = traffic_new(seed, o->senders, o->days);
    struct rig_account *accounts = calloc(o->senders, sizeof *accounts);
    static struct rig_report r;
    uint32_t who[ATTACKS][ATTACK_ACCOUNTS], n[ATTACKS];
    ensure(accounts != NULL);
    for (unsigned k = 0; o->attacks && k < ATTACKS; k++) {
        struct traffic_rng rng = traffic_rng(seed, 300, k);
        n[k] = traffic_attack(t, k, 8 * TRAFFIC_DAY_MS + traffic_below(&rng, 3 * 86400) * TRAFFIC_SECOND_MS,
                              who[k]);
    }
    traffic_sort(t);
    rig_run(t, o->policy, o->values, &r, accounts);
    uint32_t blocks = 0;
    for (uint32_t i = 0; i < r.nblocks; i++)
        blocks += !r.blocks[i].attacked;
    printf("seed %llu: %llu mails, %llu recipients; false blocks %u; held %llu, deferred %llu (%.4f %%), of "
           "wrong "
           "newsletters %llu; %llu waits of %llu ms, longest %llu\n",
           (unsigned long long)seed, (unsigned long long)r.mails, (unsigned long long)r.recipients, blocks,
           (unsigned long long)r.held, (unsigned long long)r.deferred,
           100.0 * (double)r.deferred / (double)r.recipients, (unsigned long long)r.deferred_wrong,
           (unsigned long long)r.waits, (unsigned long long)(r.waits == 0 ? 0 : r.waits_ms / r.waits),
           (unsigned long long)r.longest_wait_ms);
    print_blocks(t, &r);
    if (o->attacks)
        print_attacks(&r, accounts, who, n);
    if (o->values)
        print_most(&r);
    fflush(stdout);
    free(accounts);
    traffic_free(t);
}

static int by_hand(int argc, char **argv)
{
    struct options o = { .senders = 500, .days = 14 };
    o.first = o.last = strtoull(argv[1], NULL, 10);
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "attacks") == 0)
            o.attacks = true;
        else if (strcmp(argv[i], "values") == 0)
            o.values = true;
        else if (strcmp(argv[i], "senders") == 0 && i + 1 < argc)
            o.senders = (uint32_t)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "days") == 0 && i + 1 < argc)
            o.days = (uint32_t)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "policy") == 0 && i + 1 < argc)
            o.policy = read_file(argv[++i]);
        else
            o.last = strtoull(argv[i], NULL, 10);
    }
    if (o.policy == NULL)
        o.policy = strndup(policy_builtin().p, policy_builtin().n);
    for (uint64_t seed = o.first; seed <= o.last; seed++)
        run_seed(&o, seed);
    free(o.policy);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_traffic_is_the_one_that_was_frozen),
    };
    if (argc > 1)
        return by_hand(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
