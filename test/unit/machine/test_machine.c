/* The machine as a whole: entries that cannot be, time, effects, results as bytes, snapshots and what is
 * damaged. */
#include "test/unit/machine/fixture.h"

#include "base/ensure.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void time_only_grows(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    uint64_t s = fix_open(&f, 1, 0, true, 1);
    uint64_t before = machine_now_ms(f.m);
    f.now_ms -= 5000;
    assert_int_equal(fix_grant(&f, s, "anna", "", 1, 1)->now_ms, before);
    assert_int_equal(machine_now_ms(f.m), before);
    f.now_ms = UINT64_MAX - 5; /* no clock says this */
    buf_reset(&f.entry);
    assert_int_equal(command_entry_begin(&f.entry, f.now_ms), 0);
    assert_int_equal(command_entry_end(&f.entry, 0), 0);
    assert_int_equal(machine_apply(f.m, ++f.index, f.entry.data, f.entry.len, &f.fx), ERR_CORRUPT);
    fix_fini(&f);
}

static void what_cannot_be_decoded_is_an_error(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    uint64_t s = fix_open(&f, 1, 0, true, 1);
    (void)fix_grant(&f, s, "anna", "", 1, 1);
    size_t n = f.entry.len;
    char *copy = malloc(n);
    memcpy(copy, f.entry.data, n);
    for (size_t i = 0; i < n; i += 8)
        assert_int_not_equal(machine_apply(f.m, ++f.index, copy, i, &f.fx), 0);
    free(copy);
    fix_fini(&f);
}

static void effects_are_in_order_and_own_their_keys(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    struct command cmds[60];
    char names[60][32];
    for (int i = 0; i < 60; i++) {
        snprintf(names[i], sizeof names[i], "user-%d", i);
        cmds[i] = (struct command){ .type = COMMAND_FREEZE };
        cmds[i].freeze = (struct command_freeze){
            .by.who = SPAN_LIT("t"), .scope = 1, .name = span_str(names[i]), .mode = COMMAND_FREEZE_HOLD
        };
    }
    fix_apply_all(&f, cmds, 60);
    uint32_t results = 0, changes = 0;
    for (uint32_t i = 0; i < f.fx.n; i++) {
        const struct machine_effect *e = &f.fx.items[i];
        if (e->is_result) {
            assert_int_equal(e->command, COMMAND_FREEZE);
            assert_int_equal(e->result.id, f.index * 64 + results++);
            assert_int_equal(changes, results); /* what it changed came before it */
        } else {
            assert_int_equal(e->change, MACHINE_CHANGED_FROZEN);
            assert_true(span_eq(e->key, span_str(names[changes++])));
        }
    }
    assert_int_equal(results, 60);
    fix_fini(&f);
}

static void results_travel_as_bytes(void **state)
{
    (void)state;
    struct machine_result r = {
        .err = ERR_LIMIT,
        .id = 77,
        .count = 5,
        .life_ms = 6,
        .why = MACHINE_REFUSED_LIMIT,
        .scope = COMMAND_SCOPE_TENANT,
        .free_ms = 123,
        .now_ms = 9,
        .limit = "hour",
        .limit_count = 200,
        .limit_window_ms = HOUR_MS,
        .words = "some words",
    };
    struct machine_result plain = { .now_ms = 1 };
    const struct machine_result *all[] = { &r, &plain };
    for (size_t i = 0; i < 2; i++) {
        struct buf b;
        buf_init(&b, 4096);
        assert_int_equal(machine_result_encode(all[i], &b), 0);
        struct cursor c;
        struct machine_result out;
        cursor_init(&c, b.data, b.len);
        assert_int_equal(machine_result_decode(&c, &out), 0);
        assert_int_equal(cursor_left(&c), 0);
        assert_memory_equal(&out, all[i], sizeof out);
        for (size_t n = 0; n < b.len; n++) {
            cursor_init(&c, b.data, n);
            assert_int_equal(machine_result_decode(&c, &out), ERR_TORN);
        }
        b.data[0] = (char)0xff;
        cursor_init(&c, b.data, b.len);
        assert_int_not_equal(machine_result_decode(&c, &out), 0);
        buf_fini(&b);
    }
}

/* A bit of everything. */
static void fill(struct fix *f, uint32_t senders)
{
    uint64_t s = fix_open(f, 1, 0, true, 1);
    char name[32];
    for (uint32_t i = 0; i < senders; i++) {
        snprintf(name, sizeof name, "user%u@example.org", i);
        f->now_ms += 20;
        uint64_t g = fix_grant(f, s, name, "example.org", 1, 3)->id;
        if (i % 3 == 0)
            (void)fix_return(f, s, g, i % 2, true);
        if (i % 10 == 0)
            (void)fix_freeze(f, COMMAND_SCOPE_ACCOUNT, name, COMMAND_FREEZE_DEFER, 100000);
    }
    (void)fix_open(f, 1, s, true, 2);
}

static void a_restored_machine_goes_on_alike(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    fill(&f, 500);
    struct buf out;
    buf_init(&out, SIZE_MAX);
    fix_snapshot(f.m, &out);
    struct machine *m = machine_new(&(struct machine_config){ 0 });
    assert_int_equal(machine_restore(m, out.data, out.len), 0);
    assert_true(machine_digest(m) == machine_digest(f.m));
    assert_int_equal(machine_applied(m), f.index);
    assert_int_equal(machine_now_ms(m), machine_now_ms(f.m));
    assert_true(machine_founded(m));
    struct machine_totals a, b;
    machine_totals(f.m, &a);
    machine_totals(m, &b);
    assert_int_equal(a.counters, b.counters);
    assert_int_equal(a.grants, b.grants);
    assert_int_equal(a.spent_or_held, b.spent_or_held);
    assert_int_equal(a.burned, b.burned);
    struct machine_effects fx;
    machine_effects_init(&fx);
    for (int i = 0; i < 300; i++) { /* idle entries: what has left its window goes, on both the same */
        f.now_ms += 60000;
        fix_apply_all(&f, NULL, 0);
        assert_int_equal(machine_apply(m, f.index, f.entry.data, f.entry.len, &fx), 0);
        assert_true(machine_digest(m) == machine_digest(f.m));
    }
    machine_totals(m, &b);
    assert_int_equal(b.counters, 0);
    machine_effects_fini(&fx);
    machine_free(m);
    buf_fini(&out);
    fix_fini(&f);
}

static void a_damaged_snapshot_leaves_nothing(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    fill(&f, 20);
    struct buf out;
    buf_init(&out, SIZE_MAX);
    fix_snapshot(f.m, &out);
    struct machine *m = machine_new(&(struct machine_config){ 0 });
    for (size_t i = 0; i < out.len; i += 7) {
        assert_int_not_equal(machine_restore(m, out.data, i), 0);
        assert_int_equal(machine_applied(m), 0);
        assert_false(machine_founded(m));
        out.data[i] = (char)(out.data[i] ^ 0x40);
        (void)machine_restore(m, out.data,
                              out.len); /* an order may be damaged unnoticed; nothing must break */
        out.data[i] = (char)(out.data[i] ^ 0x40);
    }
    assert_int_equal(machine_restore(m, out.data, out.len), 0);
    assert_true(machine_digest(m) == machine_digest(f.m));
    machine_free(m);
    buf_fini(&out);
    fix_fini(&f);
}

struct reader {
    struct machine *m;
    atomic_bool over;
    uint64_t reads;
};

static void *read_all_the_time(void *arg)
{
    struct reader *r = arg;
    while (!atomic_load(&r->over)) {
        char name[32];
        snprintf(name, sizeof name, "user%d@example.org", (int)(r->reads++ % 3000));
        (void)machine_digest(r->m);
        machine_read_lock(r->m);
        struct machine_frozen row;
        (void)machine_frozen_find(r->m, COMMAND_SCOPE_ACCOUNT, span_str(name), &row);
        machine_read_unlock(r->m);
    }
    return NULL;
}

/* Of the moment at which it was begun, whatever is applied between its steps and read meanwhile. */
static void taken_while_others_read(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    fill(&f, 10000);
    struct reader reader = { .m = f.m };
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_all_the_time, &reader), 0);
    for (int round = 0; round < 3; round++) {
        struct buf out;
        buf_init(&out, SIZE_MAX);
        uint64_t digest = machine_digest(f.m);
        struct machine_session current = { 0 };
        for (uint64_t id = f.index * 64; id > 0 && !current.current; id--)
            (void)machine_session_find(f.m, id, &current);
        assert_int_equal(machine_snapshot_begin(f.m), 0);
        unsigned applied = 0;
        int more;
        while ((more = machine_snapshot_step(f.m, &out)) == 1)
            for (int i = 0; i < 30; i++) {
                char name[32];
                snprintf(name, sizeof name, "user%u@example.org", applied++ % 2000 * 5);
                f.now_ms += 10;
                (void)fix_grant(&f, current.id, name, "", 1, 1);
            }
        assert_int_equal(more, 0);
        assert_true(applied > 300);
        machine_snapshot_end(f.m);
        struct machine *m = machine_new(&(struct machine_config){ 0 });
        assert_int_equal(machine_restore(m, out.data, out.len), 0);
        assert_true(machine_digest(m) == digest);
        machine_free(m);
        buf_fini(&out);
    }
    atomic_store(&reader.over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(reader.reads > 0);
    machine_free(f.m); /* the recount of fix_fini is for small states */
    machine_effects_fini(&f.fx);
    buf_fini(&f.entry);
    buf_fini(&f.log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_only_grows),
        cmocka_unit_test(what_cannot_be_decoded_is_an_error),
        cmocka_unit_test(effects_are_in_order_and_own_their_keys),
        cmocka_unit_test(results_travel_as_bytes),
        cmocka_unit_test(a_restored_machine_goes_on_alike),
        cmocka_unit_test(a_damaged_snapshot_leaves_nothing),
        cmocka_unit_test(taken_while_others_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
