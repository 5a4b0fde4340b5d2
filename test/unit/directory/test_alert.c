/* Alerts, and which targets have had them. */
#include "consensus/directory_impl.h"
#include "consensus/machine_impl.h"
#include "world.h"

#include <stdio.h>

/* As a part of the machine does it while a command is applied. */
static void alert(struct world *w, const char *account)
{
    struct machine_at at = { .index = w->index, .id = w->index * 64, .now_ms = w->now_ms };
    assert_int_equal(directory_alert(w->m, &at,
                                     &(struct directory_alert){ .wall_ms = 1000,
                                                                .severity = DIRECTORY_ALERT_CRITICAL,
                                                                .event = str("frozen"),
                                                                .account = str(account),
                                                                .tenant = str("example.org"),
                                                                .rule = str("many"),
                                                                .text = str("why") }),
                     0);
}

static struct command done(const char *target, uint64_t upto, const char *seqs, size_t n)
{
    return (struct command){ .type = COMMAND_ALERT_DONE,
                             .alert_done = { .target = str(target), .upto = upto, .seqs = { seqs, n } } };
}

static int add_seq(void *arg, const struct directory_alert *a)
{
    return buf_printf(arg, "%llu %.*s %.*s;", (unsigned long long)a->seq, S(a->account), S(a->text));
}

static void assert_alerts(const struct world *w, uint64_t after, const char *want)
{
    struct buf out;
    buf_init(&out, 65536);
    (void)directory_alerts_each(w->m, after, add_seq, &out);
    (void)buf_put_char(&out, '\0');
    assert_string_equal(out.data, want);
    buf_fini(&out);
}

/* The world's own check replays commands, which these alerts are not: a snapshot is compared here, with them.
 */
static void free_with_alerts(struct world *w)
{
    struct machine *copy = machine_new(&w->config);
    struct buf snapshot;
    struct cursor c;
    buf_init(&snapshot, 64u << 20);
    assert_int_equal(store_snapshot_begin(w->m->store), 0);
    while (store_snapshot_step(w->m->store, &snapshot, 4096) == 1)
        ;
    store_snapshot_end(w->m->store);
    cursor_init(&c, snapshot.data, snapshot.len);
    assert_int_equal(store_restore(copy->store, &c), 0);
    assert_true(store_digest(copy->store) == store_digest(w->m->store));
    assert_int_equal(directory_alert_last(copy), directory_alert_last(w->m));
    assert_true(directory_alert_done(copy, str("desk"), 1) == directory_alert_done(w->m, str("desk"), 1));
    machine_free(copy);
    buf_fini(&snapshot);
    struct list *all = store_all(w->m->store, &directory_alert_type);
    while (!list_empty(all))
        store_remove(w->m->store, LIST_ITEM(list_first(all), struct store_rec, link));
    static const char *const targets[] = { "desk", "mail" };
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        struct command forget = done(targets[i], 0, "", 0);
        forget.alert_done.forget = true;
        assert_int_equal(tell_as(w, 1, forget), 0);
    }
    world_free(w);
}

static void each_target_has_its_own(void **state)
{
    (void)state;
    struct world *w = world_at_level(6);
    struct command none = done("none", 0, "", 0);
    none.alert_done.forget = true;
    assert_int_equal(tell_as(w, 1, none), 0); /* there is none: that is no fault */
    alert(w, "anna");
    alert(w, "berta");
    alert(w, "clara");
    assert_alerts(w, 0, "1 anna why;2 berta why;3 clara why;");
    assert_alerts(w, 2, "3 clara why;");
    assert_false(directory_alert_target(w->m, str("desk")));
    assert_int_equal(tell_as(w, 1, done("desk", 1, "\3\0\0\0\0\0\0\0", 8)), 0);
    assert_true(directory_alert_target(w->m, str("desk")));
    assert_true(directory_alert_done(w->m, str("desk"), 1));
    assert_false(directory_alert_done(w->m, str("desk"), 2));
    assert_true(directory_alert_done(w->m, str("desk"), 3));
    assert_false(directory_alert_done(w->m, str("mail"), 1));
    assert_int_equal(tell_as(w, 1, done("mail", 1000, "\377\0\0\0\0\0\0\0", 8)), 0);
    alert(w, "dora"); /* what is not there yet cannot be done */
    assert_true(directory_alert_done(w->m, str("mail"), 3));
    assert_false(directory_alert_done(w->m, str("mail"), 4));
    free_with_alerts(w);
}

static void the_oldest_go(void **state)
{
    (void)state;
    struct world *w = world_at_level(6);
    char name[32], seqs[8] = { 5 };
    for (int i = 1; i <= DIRECTORY_ALERTS_MAX + 30; i++) {
        snprintf(name, sizeof name, "a%d", i);
        alert(w, name);
        if (i == 10)
            assert_int_equal(tell_as(w, 1, done("desk", 0, seqs, 8)), 0);
    }
    assert_int_equal(store_len(w->m->store, &directory_alert_type), DIRECTORY_ALERTS_MAX);
    assert_alerts(w, DIRECTORY_ALERTS_MAX + 29, "1030 a1030 why;");
    assert_false(directory_alert_done(w->m, str("desk"), 1024 + 5)); /* its bit was number 5's */
    assert_int_equal(tell_as(w, 1, done("desk", 0, seqs, 8)), 0);    /* too old to be of any interest */
    assert_false(directory_alert_done(w->m, str("desk"), 1024 + 5));
    free_with_alerts(w);
}

static void refusals(void **state)
{
    (void)state;
    struct world *w = world_at_level(6);
    assert_int_equal(tell(w, done("desk", 0, "", 0)), ERR_DENIED); /* nobody asks */
    assert_int_equal(tell_as(w, 1, done("two words", 0, "", 0)), ERR_BAD);
    assert_int_equal(tell_as(w, 1, done("desk", 0, "123", 3)), ERR_BAD);
    for (int i = 0; i < DIRECTORY_ALERT_TARGETS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        assert_int_equal(tell_as(w, 1, done(name, 0, "", 0)), 0);
    }
    assert_int_equal(tell_as(w, 1, done("desk", 0, "", 0)), ERR_LIMIT);
    struct command forget = done("t7", 0, "", 0);
    forget.alert_done.forget = true;
    assert_int_equal(tell_as(w, 1, forget), 0);
    assert_false(directory_alert_target(w->m, str("t7")));
    assert_int_equal(tell_as(w, 1, done("desk", 0, "", 0)), 0);
    world_free(w);
    w = world_at_level(5);
    alert(w, "anna"); /* of an older cluster's machine there are none */
    assert_int_equal(directory_alert_last(w->m), 0);
    assert_int_equal(tell_as(w, 1, done("desk", 0, "", 0)), ERR_DENIED);
    assert_words(w, "feature level is 5");
    assert_int_equal(command_type_level(COMMAND_ALERT_DONE), 6);
    world_free(w);
}

static int freeze(struct world *w, uint8_t scope, const char *name, uint64_t for_ms, const char *reason)
{
    return tell(w, (struct command){ .type = COMMAND_FREEZE,
                                     .freeze = { .by = { .who = str("root@node-a"), .wall_ms = 2000 },
                                                 .scope = scope,
                                                 .name = str(name),
                                                 .mode = COMMAND_FREEZE_REJECT,
                                                 .for_ms = for_ms,
                                                 .reason = str(reason) } });
}

static int thaw(struct world *w, uint8_t scope, const char *name, const char *who)
{
    return tell(w, (struct command){ .type = COMMAND_THAW,
                                     .thaw = { .by = { .who = str(who) }, .scope = scope, .name = str(name) } });
}

static int check_operators(void *arg, const struct directory_alert *a)
{
    static const struct directory_alert want[] = {
        { .event = SPAN_LIT("operator_froze"),
          .account = SPAN_LIT("anna@shop.example"),
          .tenant = SPAN_LIT("shop.example"),
          .text = SPAN_LIT("reject for 3600s, by root@node-a: spam") },
        { .event = SPAN_LIT("operator_froze"),
          .tenant = SPAN_LIT("shop.example"),
          .text = SPAN_LIT("reject, by root@node-a") },
        { .event = SPAN_LIT("operator_thawed"),
          .account = SPAN_LIT("anna@shop.example"),
          .tenant = SPAN_LIT("shop.example"),
          .text = SPAN_LIT("by eva@node-b") },
    };
    uint32_t *n = arg;
    assert_true(*n < sizeof want / sizeof want[0]);
    assert_true(span_eq(a->event, want[*n].event));
    assert_true(span_eq(a->account, want[*n].account));
    assert_true(span_eq(a->tenant, want[*n].tenant));
    assert_true(span_eq(a->text, want[*n].text));
    assert_int_equal(a->severity, DIRECTORY_ALERT_NOTICE);
    assert_int_equal(a->wall_ms, *n == 2 ? 0 : 2000);
    ++*n;
    return 0;
}

/* What operators do, and what was not done by them or not at all. */
static void operators(void **state)
{
    (void)state;
    static const char anna[] = "anna@shop.example";
    struct world *w = world_at_level(7);
    uint32_t n = 0;
    assert_int_equal(freeze(w, COMMAND_SCOPE_ACCOUNT, anna, 3600000, "spam"), 0);
    assert_int_equal(freeze(w, COMMAND_SCOPE_TENANT, "shop.example", 0, ""), 0);
    assert_int_equal(thaw(w, COMMAND_SCOPE_ACCOUNT, anna, "eva@node-b"), 0);
    assert_int_equal(thaw(w, COMMAND_SCOPE_ACCOUNT, anna, "eva@node-b"), ERR_NOT_FOUND);
    assert_int_equal(thaw(w, COMMAND_SCOPE_TENANT, "shop.example", "timer"), 0); /* its time has come */
    (void)directory_alerts_each(w->m, 0, check_operators, &n);
    assert_int_equal(n, 3);
    world_free(w);
    w = world_at_level(6); /* older nodes have other bytes: none */
    assert_int_equal(freeze(w, COMMAND_SCOPE_ACCOUNT, anna, 0, ""), 0);
    assert_int_equal(thaw(w, COMMAND_SCOPE_ACCOUNT, anna, "eva@node-b"), 0);
    assert_int_equal(directory_alert_last(w->m), 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_target_has_its_own),
        cmocka_unit_test(the_oldest_go),
        cmocka_unit_test(refusals),
        cmocka_unit_test(operators),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
