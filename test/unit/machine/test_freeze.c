/* The frozen list: modes, ids, ends, versions, bounds, and what it does to grants. */
#include "test/unit/machine/fixture.h"

#include <stdio.h>

static const struct machine_result *thaw(struct fix *f, uint8_t scope, const char *name, uint64_t freeze,
                                         uint64_t version)
{
    struct command cmd = { .type = COMMAND_THAW };
    cmd.thaw = (struct command_thaw){ .by = { .who = SPAN_LIT("test"), .version = version },
                                      .scope = scope,
                                      .name = span_str(name),
                                      .freeze = freeze };
    return fix_apply(f, &cmd);
}

static void modes_and_grants(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    uint64_t s = fix_open(&f, 1, 0, true, 1);
    static const struct {
        uint8_t scope;
        const char *name;
        uint8_t mode;
        bool refuses;
    } cases[] = {
        { COMMAND_SCOPE_ACCOUNT, "anna", COMMAND_FREEZE_REJECT, true },
        { COMMAND_SCOPE_ACCOUNT, "anna", COMMAND_FREEZE_DEFER, true },
        { COMMAND_SCOPE_ACCOUNT, "anna", COMMAND_FREEZE_HOLD, false },
        { COMMAND_SCOPE_ACCOUNT, "anna", COMMAND_FREEZE_AUTO, true },
        { COMMAND_SCOPE_TENANT, "shop", COMMAND_FREEZE_REJECT, true },
        { COMMAND_SCOPE_TENANT, "shop", COMMAND_FREEZE_HOLD, false },
        { COMMAND_SCOPE_TENANT, "anna", COMMAND_FREEZE_REJECT, false }, /* another thing of that name */
        { COMMAND_SCOPE_ACCOUNT, "shop", COMMAND_FREEZE_REJECT, false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(fix_freeze(&f, cases[i].scope, cases[i].name, cases[i].mode, 0)->err, 0);
        struct machine_effect e;
        assert_int_equal(fix_changes(&f, MACHINE_CHANGED_FROZEN, &e), 1);
        assert_true(span_eq(e.key, span_str(cases[i].name)));
        const struct machine_result *r = fix_grant(&f, s, "anna", "shop", 1, 1);
        assert_int_equal(r->err, cases[i].refuses ? ERR_DENIED : 0);
        assert_int_equal(r->why, cases[i].refuses ? MACHINE_REFUSED_FROZEN : 0);
        assert_int_equal(r->scope, cases[i].refuses ? cases[i].scope : 0);
        assert_int_equal(thaw(&f, cases[i].scope, cases[i].name, 0, 0)->err, 0);
    }
    fix_fini(&f);
}

/* The stricter of two. */
static void a_held_sender_of_a_rejected_tenant(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    uint64_t s = fix_open(&f, 1, 0, true, 1);
    assert_int_equal(fix_freeze(&f, COMMAND_SCOPE_ACCOUNT, "anna", COMMAND_FREEZE_HOLD, 0)->err, 0);
    assert_int_equal(fix_freeze(&f, COMMAND_SCOPE_TENANT, "shop", COMMAND_FREEZE_DEFER, 0)->err, 0);
    assert_int_equal(fix_grant(&f, s, "anna", "shop", 1, 1)->why, MACHINE_REFUSED_FROZEN);
    assert_int_equal(fix_grant(&f, s, "anna", "other", 1, 1)->err, 0);
    fix_fini(&f);
}

/* (!) A timer lifts the freeze that it names, and no later one. */
static void a_timer_names_its_freeze(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    uint64_t first = fix_freeze(&f, COMMAND_SCOPE_ACCOUNT, "anna", COMMAND_FREEZE_REJECT, 1000)->id;
    struct buf out;
    buf_init(&out, 1 << 20);
    uint32_t n;
    assert_int_equal(machine_due(f.m, f.now_ms + 999, &out, &n), 0);
    assert_int_equal(n, 0);
    for (int again = 0; again < 2; again++) { /* until it was applied */
        buf_reset(&out);
        assert_int_equal(machine_due(f.m, f.now_ms + 1000, &out, &n), 0);
        assert_int_equal(n, 1);
    }
    struct cursor c;
    struct command cmd;
    cursor_init(&c, out.data, out.len);
    assert_int_equal(command_decode(&c, &cmd), 0);
    assert_int_equal(cmd.type, COMMAND_THAW);
    assert_int_equal(cmd.thaw.freeze, first);
    /* Frozen again before it arrives, for longer: it stays. */
    uint64_t second = fix_freeze(&f, COMMAND_SCOPE_ACCOUNT, "anna", COMMAND_FREEZE_HOLD, 0)->id;
    assert_true(second != first);
    assert_int_equal(fix_apply(&f, &cmd)->err, ERR_BUSY);
    struct machine_frozen row;
    assert_true(machine_frozen_find(f.m, COMMAND_SCOPE_ACCOUNT, SPAN_LIT("anna"), &row));
    assert_int_equal(row.id, second);
    assert_int_equal(row.mode, COMMAND_FREEZE_HOLD);
    assert_int_equal(row.until_ms, 0);
    buf_reset(&out);
    assert_int_equal(machine_due(f.m, f.now_ms + 100000, &out, &n), 0);
    assert_int_equal(n, 0);
    buf_fini(&out);
    fix_fini(&f);
}

static int each_mode(void *arg, const struct machine_frozen *row)
{
    uint8_t *seen = arg;
    assert_in_range(row->mode, COMMAND_FREEZE_REJECT, COMMAND_FREEZE_AUTO);
    seen[row->mode]++;
    return 0;
}

static void a_snapshot_has_every_mode(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    static const char *const names[] = { "", "anna", "bob", "carol", "dave" };
    uint8_t seen[COMMAND_FREEZE_AUTO + 1] = { 0 };
    for (uint8_t mode = COMMAND_FREEZE_REJECT; mode <= COMMAND_FREEZE_AUTO; mode++)
        assert_int_equal(fix_freeze(&f, COMMAND_SCOPE_ACCOUNT, names[mode], mode, 0)->err, 0);
    struct buf snapshot;
    buf_init(&snapshot, SIZE_MAX);
    fix_snapshot(f.m, &snapshot);
    assert_int_equal(machine_restore(f.m, snapshot.data, snapshot.len), 0);
    assert_int_equal(machine_frozen_each(f.m, each_mode, seen), 0);
    for (uint8_t mode = COMMAND_FREEZE_REJECT; mode <= COMMAND_FREEZE_AUTO; mode++)
        assert_int_equal(seen[mode], 1);
    buf_fini(&snapshot);
    fix_fini(&f);
}

static void due_in_portions_and_after_a_restore(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    char name[32];
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "user%03d", i);
        assert_int_equal(
            fix_freeze(&f, COMMAND_SCOPE_ACCOUNT, name, COMMAND_FREEZE_REJECT, (uint64_t)(1 + i) * 1000)->err,
            0);
    }
    struct buf snapshot;
    buf_init(&snapshot, SIZE_MAX);
    fix_snapshot(f.m, &snapshot);
    assert_int_equal(machine_restore(f.m, snapshot.data, snapshot.len), 0);
    f.now_ms += 1000000;
    uint32_t total = 0, n = 1;
    struct buf out;
    buf_init(&out, 1 << 20);
    for (int round = 0; round < 10 && n != 0; round++) {
        buf_reset(&out);
        assert_int_equal(machine_due(f.m, f.now_ms, &out, &n), 0);
        struct cursor c;
        cursor_init(&c, out.data, out.len);
        struct command cmds[128];
        for (uint32_t i = 0; i < n; i++)
            assert_int_equal(command_decode(&c, &cmds[i]), 0);
        if (n > 0)
            fix_apply_all(&f, cmds, n);
        for (uint32_t i = 0; i < f.fx.n; i++)
            total += n > 0 && f.fx.items[i].is_result && f.fx.items[i].result.err == 0;
    }
    assert_int_equal(total, 100);
    struct machine_totals t;
    machine_totals(f.m, &t);
    assert_int_equal(t.frozen, 0);
    buf_fini(&out);
    buf_fini(&snapshot);
    fix_fini(&f);
}

/* (!) Operators say which state they saw. */
static void versions(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    uint64_t first = fix_freeze(&f, COMMAND_SCOPE_ACCOUNT, "anna", COMMAND_FREEZE_REJECT, 0)->id;
    uint64_t second = fix_freeze(&f, COMMAND_SCOPE_ACCOUNT, "anna", COMMAND_FREEZE_DEFER, 0)->id;
    assert_int_equal(thaw(&f, COMMAND_SCOPE_ACCOUNT, "anna", 0, first)->err, ERR_BUSY);
    assert_int_equal(thaw(&f, COMMAND_SCOPE_ACCOUNT, "anna", first, 0)->err, ERR_BUSY);
    struct command cmd = { .type = COMMAND_FREEZE };
    cmd.freeze = (struct command_freeze){ .by = { .who = SPAN_LIT("t"), .version = first },
                                          .scope = 1,
                                          .name = SPAN_LIT("anna"),
                                          .mode = COMMAND_FREEZE_HOLD };
    assert_int_equal(fix_apply(&f, &cmd)->err, ERR_BUSY);
    cmd.freeze.by.version = second;
    assert_int_equal(fix_apply(&f, &cmd)->err, 0);
    assert_int_equal(thaw(&f, COMMAND_SCOPE_ACCOUNT, "anna", 0, 0)->err, 0);
    assert_int_equal(thaw(&f, COMMAND_SCOPE_ACCOUNT, "anna", 0, 0)->err, ERR_NOT_FOUND);
    cmd.freeze.by.version = second;
    assert_int_equal(fix_apply(&f, &cmd)->err, ERR_BUSY); /* it was thawed since */
    fix_fini(&f);
}

static int collect(void *arg, const struct machine_frozen *row)
{
    struct buf *b = arg;
    return buf_printf(b, "%u:%.*s ", row->scope, (int)row->name.n, row->name.p);
}

static void listed_by_name_and_bounded(void **state)
{
    (void)state;
    struct fix f;
    fix_init_with(&f, &(struct machine_config){ .max_frozen = 4 });
    assert_int_equal(fix_freeze(&f, COMMAND_SCOPE_ACCOUNT, "carl", COMMAND_FREEZE_REJECT, 0)->err, 0);
    assert_int_equal(fix_freeze(&f, COMMAND_SCOPE_TENANT, "anna", COMMAND_FREEZE_REJECT, 0)->err, 0);
    assert_int_equal(fix_freeze(&f, COMMAND_SCOPE_ACCOUNT, "anna", COMMAND_FREEZE_REJECT, 0)->err, 0);
    assert_int_equal(fix_freeze(&f, COMMAND_SCOPE_ACCOUNT, "annabel", COMMAND_FREEZE_REJECT, 0)->err, 0);
    assert_int_equal(fix_freeze(&f, COMMAND_SCOPE_ACCOUNT, "dora", COMMAND_FREEZE_REJECT, 0)->err, ERR_LIMIT);
    assert_int_equal(fix_freeze(&f, COMMAND_SCOPE_ACCOUNT, "carl", COMMAND_FREEZE_HOLD, 0)->err, 0);
    struct buf b;
    buf_init(&b, 4096);
    assert_int_equal(machine_frozen_each(f.m, collect, &b), 0);
    assert_true(span_eq(buf_span(&b), SPAN_LIT("1:anna 2:anna 1:annabel 1:carl ")));
    struct buf snapshot;
    buf_init(&snapshot, SIZE_MAX);
    fix_snapshot(f.m, &snapshot);
    uint64_t digest = machine_digest(f.m);
    assert_int_equal(machine_restore(f.m, snapshot.data, snapshot.len), 0);
    assert_true(machine_digest(f.m) == digest);
    buf_reset(&b);
    assert_int_equal(machine_frozen_each(f.m, collect, &b), 0);
    assert_true(span_eq(buf_span(&b), SPAN_LIT("1:anna 2:anna 1:annabel 1:carl ")));
    buf_fini(&snapshot);
    buf_fini(&b);
    fix_fini(&f);
}

static int first_line(void *arg, const struct directory_audit *a)
{
    buf_put_span(arg, a->what);
    return 1;
}

static void audited(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    (void)fix_freeze(&f, COMMAND_SCOPE_ACCOUNT, "anna", COMMAND_FREEZE_REJECT, 7200000);
    struct buf b;
    buf_init(&b, 4096);
    (void)directory_audit_each(f.m, 0, first_line, &b);
    assert_true(span_eq(buf_span(&b), SPAN_LIT("freeze account anna reject for 7200s: because")));
    (void)thaw(&f, COMMAND_SCOPE_ACCOUNT, "anna", 0, 0);
    buf_reset(&b);
    (void)directory_audit_each(f.m, 0, first_line, &b);
    assert_true(span_eq(buf_span(&b), SPAN_LIT("thaw account anna")));
    buf_fini(&b);
    fix_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modes_and_grants),
        cmocka_unit_test(a_held_sender_of_a_rejected_tenant),
        cmocka_unit_test(a_timer_names_its_freeze),
        cmocka_unit_test(a_snapshot_has_every_mode),
        cmocka_unit_test(due_in_portions_and_after_a_restore),
        cmocka_unit_test(versions),
        cmocka_unit_test(listed_by_name_and_bounded),
        cmocka_unit_test(audited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
