/* How long a token in hand takes to be reserved, checked and spent, with real clocks; and a request from a
 * sender that is new, through agent and machine without a network. Not a test.
 *
 * usage: ledger_measure [rounds]
 */
#include "world.h"

#include "base/clock.h"
#include "base/ensure.h"

#include <stdio.h>
#include <stdlib.h>

static const struct policy_limit limits[] = {
    { "hour", COMMAND_SCOPE_ACCOUNT, 7, 1000000000, 3600000 },
    { "day", COMMAND_SCOPE_ACCOUNT, 7, 1000000000, 86400000 },
    { "tenant", COMMAND_SCOPE_TENANT, 7, 1000000000, 3600000 },
};
static struct world w;

/* The world's time plus what has really passed, so that the reads cost what they cost. */
static int64_t base_real_ns, base_boot_ns, base_wall_ms, base_clock_ms;

static int64_t boot_ns(void)
{
    return base_boot_ns + clock_boot_ns() - base_real_ns;
}

static int64_t wall_ms(void)
{
    return base_wall_ms + clock_wall_ms() - base_clock_ms;
}

static void on_answer(struct ledger_hold *h, enum ledger_answer answer)
{
    (void)h;
    ensure(answer == LEDGER_YES);
}

int main(int argc, char **argv)
{
    uint32_t rounds = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 200;
    world_begin(&w, 1, limits, 3, true);
    struct world_node *node = world_at(0);
    base_real_ns = clock_boot_ns();
    base_boot_ns = node->boot_ns;
    base_wall_ms = node->wall_ns / MS;
    base_clock_ms = clock_wall_ms();
    struct ledger_worker *lw;
    struct ledger_worker_config c = { .agent = node->agent, .boot_ns = boot_ns, .wall_ms = wall_ms };
    ensure(ledger_worker_new(&c, &lw) == 0);
    ledger_worker_publish(lw, node->applied);
    struct ledger_sender s = { SPAN_LIT("anna@example.org"), SPAN_LIT("example"), 0 };
    int64_t spent_ns = 0;
    uint64_t spent = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        struct ledger_hold big;
        ensure(ledger_hold_init(&big, lw, &s, on_answer, NULL) == 0);
        enum ledger_answer answer = ledger_reserve(&big, 2000);
        for (int i = 0; i < 10; i++) {
            world_settle();
            world_at(0);
            ledger_worker_step(lw);
        }
        ensure(answer == LEDGER_YES || big.reserved == 2000);
        ledger_unreserve(&big, 2000);
        int64_t begin = clock_mono_ns();
        for (int i = 0; i < 2000; i++) {
            struct ledger_hold h;
            ensure(ledger_hold_init(&h, lw, &s, on_answer, NULL) == 0);
            ensure(ledger_session_valid(lw));
            ensure(ledger_reserve(&h, 1) == LEDGER_YES);
            ensure(ledger_ready(&h) == LEDGER_YES);
            ledger_spend(&h);
            ledger_hold_fini(&h);
            spent++;
        }
        spent_ns += clock_mono_ns() - begin;
        ledger_hold_fini(&big);
    }
    printf("%llu messages with a token in hand: %lld ns each (session check, reserve, ready, spend)\n",
           (unsigned long long)spent, (long long)(spent_ns / (int64_t)spent));

    uint32_t senders = 20000;
    struct ledger_hold *holds = calloc(senders, sizeof *holds);
    ensure(holds != NULL);
    int64_t begin = clock_mono_ns();
    for (uint32_t i = 0; i < senders;) {
        for (uint32_t k = 0; k < 64 && i < senders; k++, i++) {
            char name[32];
            int n = snprintf(name, sizeof name, "user-%u@example.org", i);
            struct ledger_sender x = { span_of(name, (size_t)n), SPAN_LIT("example"), 0 };
            ensure(ledger_hold_init(&holds[i], lw, &x, on_answer, NULL) == 0);
            (void)ledger_reserve(&holds[i], 1);
        }
        world_settle();
        world_at(0);
        ledger_worker_step(lw);
    }
    int64_t took = clock_mono_ns() - begin;
    uint64_t got = 0;
    for (uint32_t i = 0; i < senders; i++) {
        got += holds[i].reserved;
        ledger_hold_fini(&holds[i]);
    }
    printf("%llu of %u new senders got a token: %lld ns each, with two machines that apply it\n",
           (unsigned long long)got, senders, (long long)(took / senders));
    free(holds);
    ledger_worker_close(lw);
    ledger_worker_free(lw);
    world_end(&w);
    return 0;
}
