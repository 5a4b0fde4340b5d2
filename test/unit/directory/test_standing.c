/* Senders' standing: who may change it, what is pinned, when it is forgotten. */
#include "consensus/machine_impl.h"
#include "world.h"

static struct command set(const char *account, uint8_t tier, bool pinned, bool judged)
{
    return (struct command){ .type = COMMAND_STANDING_SET,
                             .standing_set = { .by = { .who = str("root@node-a"), .wall_ms = 1700000000000 },
                                               .account = str(account),
                                               .tier = tier,
                                               .pinned = pinned,
                                               .judged = judged,
                                               .reason = str("12.0% bounced") } };
}

static uint64_t version_of(const struct world *w, const char *account)
{
    struct directory_standing s;
    return directory_standing_find(w->m, str(account), &s) ? s.version : 0;
}

static uint8_t tier_of(const struct world *w, const char *account)
{
    struct directory_standing s = { 0 };
    (void)directory_standing_find(w->m, str(account), &s);
    return s.tier;
}

static void judged_and_pinned(void **state)
{
    (void)state;
    struct world *w = world_at_level(4);
    struct directory_standing s;
    assert_int_equal(tell(w, set("anna", COMMAND_TIER_POOR, false, true)), 0);
    assert_true(changed(w, MACHINE_CHANGED_POOLS, NULL));
    assert_true(directory_standing_find(w->m, str("anna"), &s));
    assert_int_equal(s.tier, COMMAND_TIER_POOR);
    uint64_t since = s.since_ms;
    w->now_ms += 1000;
    /* the same once more begins no new time, and moves no mail */
    assert_int_equal(tell(w, set("anna", COMMAND_TIER_POOR, false, true)), 0);
    assert_false(changed(w, MACHINE_CHANGED_POOLS, NULL));
    assert_true(directory_standing_find(w->m, str("anna"), &s));
    assert_true(s.since_ms == since);
    /* an operator's word stays */
    assert_int_equal(tell(w, set("anna", COMMAND_TIER_GOOD, true, false)), 0);
    assert_int_equal(tell(w, set("anna", COMMAND_TIER_POOR, false, true)), ERR_DENIED);
    assert_words(w, "pinned");
    assert_int_equal(tier_of(w, "anna"), COMMAND_TIER_GOOD);
    /* until he takes it back, which keeps the tier for now */
    struct command c = set("anna", COMMAND_TIER_NEUTRAL, false, false);
    c.standing_set.keep = true;
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(tier_of(w, "anna"), COMMAND_TIER_GOOD);
    assert_int_equal(tell(w, set("anna", COMMAND_TIER_POOR, false, true)), 0);
    /* a judgement by what is not so any more changes nothing */
    c = set("anna", COMMAND_TIER_GOOD, false, true);
    c.standing_set.by.version = version_of(w, "anna") - 1;
    assert_int_equal(tell(w, c), ERR_BUSY);
    assert_int_equal(tier_of(w, "anna"), COMMAND_TIER_POOR);
    world_free(w);
}

static int last_audit(void *arg, const struct directory_audit *a)
{
    (void)buf_put_span(arg, a->what);
    return 1;
}

static void audited(void **state)
{
    (void)state;
    struct world *w = world_at_level(4);
    struct buf out;
    buf_init(&out, 1000);
    assert_int_equal(tell(w, set("anna", COMMAND_TIER_POOR, true, false)), 0);
    (void)directory_audit_each(w->m, 0, last_audit, &out);
    assert_true(span_eq(buf_span(&out), str("sender anna: neutral -> poor, pinned: 12.0% bounced")));
    buf_fini(&out);
    world_free(w);
}

static void forgotten(void **state)
{
    (void)state;
    struct world *w = world_at_level(4);
    struct command c = { .type = COMMAND_STANDING_FORGET, .record_forget = { .account = str("anna") } };
    assert_int_equal(tell(w, set("anna", COMMAND_TIER_POOR, false, true)), 0);
    c.record_forget.entry = version_of(w, "anna");
    assert_int_equal(tell(w, c), 0);
    assert_true(version_of(w, "anna") != 0); /* not neutral */
    assert_int_equal(tell(w, set("anna", COMMAND_TIER_NEUTRAL, true, false)), 0);
    c.record_forget.entry = version_of(w, "anna");
    assert_int_equal(tell(w, c), 0);
    assert_true(version_of(w, "anna") != 0); /* pinned */
    assert_int_equal(tell(w, set("anna", COMMAND_TIER_NEUTRAL, false, false)), 0);
    assert_int_equal(tell(w, c), 0);
    assert_true(version_of(w, "anna") != 0); /* a later one */
    c.record_forget.entry = version_of(w, "anna");
    assert_int_equal(tell(w, c), 0);
    assert_true(version_of(w, "anna") == 0);
    assert_int_equal(tell(w, set("an na", COMMAND_TIER_POOR, false, true)), ERR_BAD);
    world_free(w);
    w = world_at_level(3);
    assert_int_equal(tell(w, set("anna", COMMAND_TIER_POOR, false, true)), ERR_DENIED);
    assert_words(w, "feature level is 3");
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judged_and_pinned),
        cmocka_unit_test(audited),
        cmocka_unit_test(forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
