/* Whose a batch of mail is; and the audit trail. */
#include "consensus/machine_impl.h"
#include "world.h"

#include <stdio.h>

static struct command own(uint8_t id, uint64_t giver, uint64_t taker)
{
    return (struct command){
        .type = COMMAND_TRANSFER_OWN,
        .transfer_own = { .id = { id }, .giver = giver, .taker = taker, .messages = 10, .sha256 = { 3 } }
    };
}

static struct command other(uint8_t type, uint8_t id)
{
    return (struct command){ .type = type, .transfer_end = { .id = { id } } };
}

/* 1 gives, 2 takes, 3 looks on. */
static struct world *three(void)
{
    struct world *w = world_founded();
    open_session(w, join(w, "node-b"));
    open_session(w, join(w, "node-c"));
    return w;
}

static void assert_state(const struct world *w, uint8_t id, bool owned, bool cancelled)
{
    struct directory_transfer t;
    assert_int_equal(directory_transfer_find(w->m, (uint8_t[16]){ id }, &t), owned || cancelled);
    if (!owned && !cancelled)
        return;
    assert_int_equal(t.owned, owned);
    assert_int_equal(t.cancelled, cancelled);
}

static void test_owned_once(void **state)
{
    (void)state;
    struct world *w = three();
    assert_int_equal(tell(w, own(1, 1, 2)), ERR_DENIED);       /* nobody's session */
    assert_int_equal(tell_as(w, 3, own(1, 1, 2)), ERR_DENIED); /* somebody else's */
    assert_int_equal(tell_as(w, 1, own(1, 1, 1)), ERR_DENIED);
    assert_state(w, 1, false, false);
    assert_int_equal(tell_as(w, 2, own(1, 1, 2)), 0);
    assert_true(changed(w, MACHINE_CHANGED_TRANSFER, NULL));
    assert_state(w, 1, true, false);
    assert_int_equal(tell_as(w, 1, own(1, 1, 2)), 0); /* the giver says so too */
    assert_int_equal(tell_as(w, 1, own(1, 1, 3)), ERR_EXISTS);
    struct command c = own(1, 1, 2);
    c.transfer_own.sha256[0]++;
    assert_int_equal(tell_as(w, 2, c), ERR_EXISTS);
    c = own(1, 1, 2);
    c.transfer_own.messages++;
    assert_int_equal(tell_as(w, 2, c), ERR_EXISTS);
    /* Too late to keep it. */
    assert_int_equal(tell_as(w, 1, other(COMMAND_TRANSFER_CANCEL, 1)), ERR_DENIED);
    assert_words(w, "node 2's already");
    assert_state(w, 1, true, false);
    assert_int_equal(tell_as(w, 3, other(COMMAND_TRANSFER_END, 1)), ERR_DENIED);
    assert_int_equal(tell_as(w, 1, other(COMMAND_TRANSFER_END, 1)), 0);
    assert_state(w, 1, false, false);
    assert_int_equal(tell_as(w, 2, other(COMMAND_TRANSFER_END, 1)), 0);
    world_free(w);
}

/* The giver keeps it; the taker's command that was under way finds that out. */
static void test_cancelled(void **state)
{
    (void)state;
    struct world *w = three();
    assert_int_equal(tell(w, other(COMMAND_TRANSFER_CANCEL, 1)), ERR_DENIED);
    assert_int_equal(tell_as(w, 1, other(COMMAND_TRANSFER_CANCEL, 1)), 0);
    assert_state(w, 1, false, true);
    assert_int_equal(tell_as(w, 2, own(1, 1, 2)), ERR_DENIED);
    assert_words(w, "stays with its giver");
    assert_int_equal(tell_as(w, 1, own(1, 1, 2)), ERR_DENIED);
    assert_int_equal(tell_as(w, 1, other(COMMAND_TRANSFER_CANCEL, 1)), 0); /* a repeat */
    assert_int_equal(tell_as(w, 2, other(COMMAND_TRANSFER_CANCEL, 1)), ERR_DENIED);
    assert_int_equal(tell_as(w, 2, other(COMMAND_TRANSFER_END, 1)), ERR_DENIED);
    assert_state(w, 1, false, true);
    assert_int_equal(tell_as(w, 1, other(COMMAND_TRANSFER_END, 1)), 0);
    assert_state(w, 1, false, false);
    world_free(w);
}

static void test_taker_is_gone(void **state)
{
    (void)state;
    struct world *w = three();
    assert_int_equal(member_state(w, 2, COMMAND_MEMBER_REMOVED), 0);
    assert_int_equal(tell_as(w, 1, own(1, 1, 2)), ERR_DENIED);
    assert_words(w, "no member");
    assert_state(w, 1, false, false);
    /* The giver may be gone: what the taker has is all that there is. */
    assert_int_equal(member_state(w, 3, COMMAND_MEMBER_REMOVED), 0);
    assert_int_equal(tell_as(w, 1, own(2, 3, 1)), 0);
    assert_state(w, 2, true, false);
    world_free(w);
}

/* ---- audit --------------------------------------------------------------------------------------------- */

struct lines {
    unsigned n;
    uint64_t last;
    char first[200];
};

static int count(void *arg, const struct directory_audit *a)
{
    struct lines *l = arg;
    if (l->n++ == 0)
        snprintf(l->first, sizeof l->first, "%.*s: %.*s", (int)a->who.n, a->who.p, (int)a->what.n, a->what.p);
    else
        assert_true(a->id < l->last);
    l->last = a->id;
    return 0;
}

static void pool(struct world *w, const char *name)
{
    assert_int_equal(
        tell(w, (struct command){ .type = COMMAND_POOL_SET,
                                  .pool_set = { .by = { .who = str("root") }, .name = str(name) } }),
        0);
}

static void test_audit(void **state)
{
    (void)state;
    struct world *w = world_new(&(struct machine_config){ .audit_entries = 5 });
    struct lines l = { 0 };
    assert_int_equal(directory_audit_each(w->m, 0, count, &l), 0);
    assert_int_equal(l.n, 0);
    static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g" };
    for (int i = 0; i < 7; i++)
        pool(w, names[i]);
    assert_int_equal(directory_audit_each(w->m, 0, count, &l), 0);
    assert_int_equal(l.n, 5); /* the oldest are dropped */
    assert_string_equal(l.first, "root: new pool g");
    /* A page after the line before. */
    struct lines page = { 0 };
    assert_int_equal(directory_audit_each(w->m, w->r.id, count, &page), 0);
    assert_int_equal(page.n, 4);
    assert_string_equal(page.first, "root: new pool f");
    /* What was refused is not an act. */
    assert_int_equal(tell(w, (struct command){ .type = COMMAND_POOL_REMOVE, .name = { .name = str("z") } }),
                     ERR_NOT_FOUND);
    l = (struct lines){ 0 };
    assert_int_equal(directory_audit_each(w->m, 0, count, &l), 0);
    assert_string_equal(l.first, "root: new pool g");
    world_free(w);
}

static void test_audit_bytes(void **state)
{
    (void)state;
    struct world *w = world_new(&(struct machine_config){ .audit_bytes = 2000 });
    static char who[1000];
    memset(who, 'w', sizeof who);
    for (int i = 0; i < 50; i++) {
        struct command c = { .type = COMMAND_POOL_SET,
                             .pool_set = { .by = { .who = span_of(who, i == 49 ? 1000 : 100) },
                                           .name = str("p") } };
        assert_int_equal(tell(w, c), 0);
    }
    struct lines l = { 0 };
    assert_int_equal(directory_audit_each(w->m, 0, count, &l), 0);
    assert_true(l.n >= 2 && l.n <= 4);
    world_free(w);
}

/* A giver that was removed ends nothing any more. */
static void test_batches_of_a_removed_giver(void **state)
{
    (void)state;
    struct world *w = three();
    assert_int_equal(tell_as(w, 2, other(COMMAND_TRANSFER_CANCEL, 1)), 0);
    assert_int_equal(tell_as(w, 2, own(2, 2, 1)), 0);
    assert_int_equal(tell_as(w, 3, other(COMMAND_TRANSFER_END, 1)), ERR_DENIED);
    assert_int_equal(member_state(w, 2, COMMAND_MEMBER_REMOVED), 0);
    assert_int_equal(tell_as(w, 3, other(COMMAND_TRANSFER_END, 1)), ERR_DENIED); /* as older nodes have it */
    for (uint64_t node = 1; node <= 3; node += 2)
        assert_int_equal(
            tell_as(w, node,
                    (struct command){
                        .type = COMMAND_MEMBER_REPORT,
                        .member_report = { .node = node, .version = str("0.4.0"), .features = 2 } }),
            0);
    assert_int_equal(
        tell(w, (struct command){ .type = COMMAND_FEATURE_RAISE, .feature_raise = { .level = 2 } }), 0);
    assert_int_equal(tell(w, other(COMMAND_TRANSFER_END, 1)), ERR_DENIED); /* nobody's session */
    assert_int_equal(tell_as(w, 3, other(COMMAND_TRANSFER_END, 1)), 0);
    assert_int_equal(tell_as(w, 3, other(COMMAND_TRANSFER_END, 2)), 0);
    assert_state(w, 1, false, false);
    assert_state(w, 2, false, false);
    /* a living one's are its own all the same */
    assert_int_equal(tell_as(w, 1, other(COMMAND_TRANSFER_CANCEL, 3)), 0);
    assert_int_equal(tell_as(w, 3, other(COMMAND_TRANSFER_END, 3)), ERR_DENIED);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches_of_a_removed_giver),
        cmocka_unit_test(test_owned_once),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_taker_is_gone),
        cmocka_unit_test(test_audit),
        cmocka_unit_test(test_audit_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
