/* A hundred thousand accounts, or as many as TURNPIKE_TEST_ACCOUNTS says: how long they take, and a page of
 * them. The bounds are loose, so that a busy machine does not matter; a square in the number of accounts
 * does.
 */
#include "base/clock.h"
#include "consensus/directory.h"
#include "consensus/machine.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SCATTER 48271u /* a primitive root of 2^31-1: numbers in no order, each once */

static void put(struct buf *out, uint64_t number)
{
    char name[64];
    snprintf(name, sizeof name, "user%010llu@example.org", (unsigned long long)number);
    struct command c = { .type = COMMAND_ACCOUNT_SET,
                         .account_set = {
                             .name = span_str(name),
                             .hash = span_str("$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC."
                                              "5i5rd.RhAtQ7"),
                             .tenant = span_str("example.org"),
                             .create = true } };
    assert_int_equal(command_encode(&c, out), 0);
}

static void fill(struct machine *m, uint64_t accounts)
{
    struct machine_effects fx;
    machine_effects_init(&fx);
    struct buf b;
    buf_init(&b, COMMAND_ENTRY_BYTES_MAX);
    uint64_t number = 1, index = 0;
    for (uint64_t i = 0; i < accounts;) {
        buf_reset(&b);
        assert_int_equal(command_entry_begin(&b, 1), 0);
        uint32_t n = 0;
        for (; n < 16 && i < accounts; n++, i++) {
            number = number * SCATTER % 2147483647u;
            put(&b, number);
        }
        assert_int_equal(command_entry_end(&b, n), 0);
        assert_int_equal(machine_apply(m, ++index, b.data, b.len, &fx), 0);
    }
    buf_fini(&b);
    machine_effects_fini(&fx);
}

struct page {
    char last[64];
    unsigned n;
    uint64_t total;
};

static int take(void *arg, const struct directory_account *a)
{
    struct page *p = arg;
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)a->name.n, a->name.p);
    assert_true(strcmp(p->last, name) < 0);
    memcpy(p->last, name, sizeof name);
    p->total++;
    return ++p->n == 100;
}

static void test_many(void **state)
{
    (void)state;
    const char *text = getenv("TURNPIKE_TEST_ACCOUNTS");
    uint64_t accounts = text == NULL ? 100000 : strtoull(text, NULL, 10);
    struct machine *m = machine_new(&(struct machine_config){ 0 });
    assert_non_null(m);
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    int64_t start = clock_mono_ns();
    fill(m, accounts);
    int64_t filled = clock_mono_ns();
    size_t bytes = mallinfo2().uordblks + mallinfo2().hblkhd - before;
    struct machine_totals t;
    machine_totals(m, &t);
    assert_true(t.accounts == accounts);

    struct page p = { .n = 0 };
    uint64_t pages = 0;
    while (directory_account_each(m, span_str(p.last), take, &p) == 1) {
        p.n = 0;
        pages++;
    }
    assert_true(p.total == accounts);
    int64_t listed = clock_mono_ns();

    struct buf snap;
    buf_init(&snap, SIZE_MAX);
    assert_int_equal(machine_snapshot_begin(m), 0);
    while (machine_snapshot_step(m, &snap) == 1)
        ;
    machine_snapshot_end(m);
    uint64_t digest = machine_digest(m);
    machine_free(m);
    int64_t restoring = clock_mono_ns();
    m = machine_new(&(struct machine_config){ 0 });
    assert_non_null(m);
    assert_int_equal(machine_restore(m, snap.data, snap.len), 0);
    int64_t restored = clock_mono_ns();
    assert_true(machine_digest(m) == digest);
    print_message("%llu accounts: %.2f s, %zu bytes each (%llu by its own count), page of 100 in %.1f us, "
                  "restored in %.2f s\n",
                  (unsigned long long)accounts, (double)(filled - start) / 1e9, bytes / accounts,
                  (unsigned long long)(t.bytes / accounts),
                  (double)(listed - filled) / 1e3 / (double)(pages + 1),
                  (double)(restored - restoring) / 1e9);
    assert_true(filled - start < (int64_t)accounts * 200000);
    assert_true(listed - filled < (int64_t)accounts * 100000);
    buf_fini(&snap);
    machine_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_many) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
