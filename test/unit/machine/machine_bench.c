/* What grants, snapshots and memory cost: machine_bench [senders [accounts]]. Not a test. */
#include "base/clock.h"
#include "test/unit/machine/fixture.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH 16

static double now_s(void)
{
    return (double)clock_mono_ns() / 1e9;
}

static double allocated_mib(void)
{
    struct mallinfo2 m = mallinfo2();
    return (double)(m.uordblks + m.hblkhd) / 1048576;
}

static void policy(struct fix *f)
{
    struct policy_compiled p;
    fix_policy_plain(&p);
    p.limits[0].count = 1000000;
    p.limits[1].count = 1000000000;
    fix_limit(&p, "day", COMMAND_SCOPE_ACCOUNT, 10000000, 24 * HOUR_MS);
    fix_policy(f, &p);
}

/* Entries of BATCH grants, then of BATCH returns: what nodes do under load. */
static void grants(struct fix *f, uint64_t session, uint32_t senders, uint32_t total, bool quiet)
{
    struct command cmds[BATCH];
    char names[BATCH][40];
    uint64_t ids[BATCH];
    double apply_s = 0, return_s = 0;
    uint64_t seq = f->seq;
    for (uint32_t done = 0; done < total; done += BATCH) {
        for (uint32_t i = 0; i < BATCH; i++) {
            snprintf(names[i], sizeof names[i], "user%u@example.org", (done + i) * 7919u % senders);
            seq++;
            cmds[i] = (struct command){ .type = COMMAND_GRANT,
                                        .origin = { session, seq, seq > 20 ? seq - 20 : 1 } };
            cmds[i].grant = (struct command_grant){
                .account = span_str(names[i]), .tenant = SPAN_LIT("example.org"), .need = 1, .want = 8
            };
        }
        f->now_ms += 1;
        double t = now_s();
        fix_apply_all(f, cmds, BATCH);
        apply_s += now_s() - t;
        uint32_t n = 0;
        for (uint32_t i = 0; i < f->fx.n; i++)
            if (f->fx.items[i].is_result) {
                assert_int_equal(f->fx.items[i].result.err, 0);
                ids[n++] = f->fx.items[i].result.id;
            }
        seq++;
        struct command back = { .type = COMMAND_RETURN, .origin = { session, seq, seq > 20 ? seq - 20 : 1 } };
        for (uint32_t i = 0; i < n; i++)
            back.ret.item[back.ret.n++] = (struct command_return_item){ .grant = ids[i], .last = true };
        t = now_s();
        fix_apply_all(f, &back, 1);
        return_s += now_s() - t;
    }
    f->seq = seq;
    if (quiet)
        return;
    printf("%u senders, %u grants: %.0f grants/s applied, %.0f with their returns\n", senders, total,
           total / apply_s, total / (apply_s + return_s));
}

/* Half of each sender's hourly and daily buckets have something. */
static void half_full(struct fix *f, uint64_t session, uint32_t senders)
{
    double t = now_s();
    for (uint32_t round = 0; round < 100; round++) {
        f->now_ms += (round < 50 ? 24 * HOUR_MS : HOUR_MS) / 100;
        grants(f, session, senders, senders / BATCH * BATCH, true);
    }
    printf("half-full windows of %u senders: %.1f s, %.0f MiB\n", senders, now_s() - t, allocated_mib());
}

static void accounts(struct fix *f, uint32_t n)
{
    char name[40], hash[110];
    memset(hash, 'h', sizeof hash);
    double t = now_s();
    for (uint32_t i = 0; i < n; i++) {
        struct command cmd = { .type = COMMAND_ACCOUNT_SET };
        snprintf(name, sizeof name, "user%u@example.org", i);
        cmd.account_set = (struct command_account_set){
            .by.who = SPAN_LIT("bench"),
            .name = span_str(name),
            .hash = span_of(hash, 73),
            .create = true,
        };
        (void)fix_apply(f, &cmd);
    }
    printf("%u accounts: %.1f s, %.0f MiB\n", n, now_s() - t, allocated_mib());
}

static void snapshot(struct fix *f)
{
    struct buf out;
    buf_init(&out, SIZE_MAX);
    double begin = now_s(), longest = 0;
    uint64_t digest = machine_digest(f->m);
    printf("digest: %.1f ms\n", (now_s() - begin) * 1000);
    assert_int_equal(machine_snapshot_begin(f->m), 0);
    begin = now_s();
    for (int more = 1; more == 1;) {
        double t = now_s();
        more = machine_snapshot_step(f->m, &out);
        double took = now_s() - t;
        longest = took > longest ? took : longest;
    }
    machine_snapshot_end(f->m);
    printf("snapshot: %.1f MiB in %.2f s, longest step %.1f ms\n", (double)out.len / 1048576, now_s() - begin,
           longest * 1000);
    struct machine *m = machine_new(&(struct machine_config){ 0 });
    double t = now_s();
    assert_int_equal(machine_restore(m, out.data, out.len), 0);
    printf("restore: %.2f s\n", now_s() - t);
    assert_true(machine_digest(m) == digest);
    machine_free(m);
    buf_fini(&out);
}

int main(int argc, char **argv)
{
    uint32_t senders = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 10000;
    uint32_t naccounts = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    struct fix f;
    fix_init(&f);
    f.keep = false;
    policy(&f);
    accounts(&f, naccounts);
    uint64_t s = fix_open(&f, 1, 0, true, 1);
    grants(&f, s, senders, 400000, false);
    if (naccounts != 0)
        half_full(&f, s, senders);
    snapshot(&f);
    struct machine_totals t;
    machine_totals(f.m, &t);
    printf("%llu counters, %llu grants, %.0f MiB allocated, %.0f MiB by its own estimate\n",
           (unsigned long long)t.counters, (unsigned long long)t.grants, allocated_mib(),
           (double)t.bytes / 1048576);
    machine_free(f.m);
    machine_effects_fini(&f.fx);
    buf_fini(&f.entry);
    buf_fini(&f.log);
    return 0;
}
