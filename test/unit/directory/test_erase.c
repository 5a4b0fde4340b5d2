/* Addresses whose traces are erased: kept until every member has done so, and gone from the audit trail. */
#include "world.h"

#include <stdio.h>
#include <string.h>

static struct command add(const char *address)
{
    return (struct command){ .type = COMMAND_ERASE_ADD,
                             .erase = { .by = { .who = str("root@node-a"), .wall_ms = 77 },
                                        .address = str(address) } };
}

static struct command done(const char *address, uint64_t id)
{
    return (struct command){ .type = COMMAND_ERASE_DONE, .erase = { .address = str(address), .id = id } };
}

struct open {
    uint32_t n, ndone;
    uint64_t id;
};

static int look(void *arg, const struct directory_erasure *e)
{
    struct open *o = arg;
    o->n++;
    o->ndone = e->ndone;
    o->id = e->id;
    return 0;
}

static struct open of(const struct world *w)
{
    struct open o = { 0 };
    (void)directory_erasure_each(w->m, str(""), look, &o);
    return o;
}

static bool audit_has(const struct world *w, const char *part)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    dump(w->m, &out);
    assert_int_equal(buf_put_char(&out, '\0'), 0);
    bool has = strstr(out.data, part) != NULL;
    buf_fini(&out);
    return has;
}

/* Nodes 1 and 2, both at the level. */
static struct world *two_nodes(uint64_t *second)
{
    struct world *w = world_founded();
    *second = join(w, "node-b");
    (void)open_session(w, *second);
    for (int i = 0; i < 2; i++) {
        uint64_t node = i == 0 ? 1 : *second;
        struct command c = { .type = COMMAND_MEMBER_REPORT,
                             .member_report = { .node = node, .version = str("1"), .features = 6 } };
        assert_int_equal(tell_as(w, node, c), 0);
    }
    struct command raise = { .type = COMMAND_FEATURE_RAISE, .feature_raise = { .level = 6 } };
    assert_int_equal(tell(w, raise), 0);
    return w;
}

static void kept_until_every_member_has(void **state)
{
    (void)state;
    uint64_t b;
    struct world *w = two_nodes(&b);
    assert_int_equal(tell(w, add("anna@example.com")), 0);
    uint64_t id = w->r.id;
    assert_int_equal(tell_as(w, 1, done("anna@example.com", id)), 0);
    assert_int_equal(tell_as(w, 1, done("anna@example.com", id)), 0); /* a repeat */
    assert_int_equal(of(w).ndone, 1);
    assert_int_equal(tell_as(w, b, done("anna@example.com", id + 1)), ERR_NOT_FOUND);
    assert_int_equal(tell(w, done("anna@example.com", id)), ERR_DENIED);
    /* once more: both are to do it again */
    assert_int_equal(tell(w, add("anna@example.com")), 0);
    assert_int_equal(of(w).n, 1);
    assert_int_equal(of(w).ndone, 0);
    assert_int_equal(tell_as(w, b, done("anna@example.com", id)), ERR_NOT_FOUND);
    id = of(w).id;
    assert_int_equal(tell_as(w, b, done("anna@example.com", id)), 0);
    assert_int_equal(tell_as(w, 1, done("anna@example.com", id)), 0);
    assert_int_equal(of(w).n, 0);
    assert_false(audit_has(w, "anna@example.com"));
    assert_true(audit_has(w, "erase an address: erased-"));
    /* nobody waits for one that was removed */
    assert_int_equal(tell(w, add("bob@example.com")), 0);
    assert_int_equal(tell_as(w, 1, done("bob@example.com", of(w).id)), 0);
    assert_int_equal(of(w).n, 1);
    assert_int_equal(member_state(w, b, COMMAND_MEMBER_REMOVED), 0);
    assert_int_equal(of(w).n, 0);
    world_free(w);
}

static void the_audit_trail_has_another_name(void **state)
{
    (void)state;
    struct world *w = world_at_level(6);
    static const char *const addresses[] = { "anna@example.com", "joanna@example.com", "anna@example.com.au",
                                             "anna@example.co" };
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        struct command c = { .type = COMMAND_SUPPRESS_ADD,
                             .suppress_add = {
                                 .by = { .who = str("root") },
                                 .address = str(addresses[i]),
                                 .most = UINT32_MAX,
                                 .reason = str("anna@example.com. She asked, anna@example.com did") } };
        assert_int_equal(tell(w, c), 0);
    }
    assert_int_equal(tell(w, add("anna@example.com")), 0);
    char line[160];
    snprintf(line, sizeof line, "suppress erased-%llu for ", (unsigned long long)w->r.id);
    assert_true(audit_has(w, line));
    snprintf(line, sizeof line, ": erased-%llu. She asked, erased-%llu did", (unsigned long long)w->r.id,
             (unsigned long long)w->r.id);
    assert_true(audit_has(w, line));
    assert_true(audit_has(w, "suppress joanna@example.com for "));
    assert_true(audit_has(w, "suppress anna@example.com.au for "));
    assert_true(audit_has(w, "suppress anna@example.co for "));
    assert_false(audit_has(w, "suppress anna@example.com for "));
    world_free(w);
}

static void what_is_refused(void **state)
{
    (void)state;
    struct world *w = world_at_level(5);
    assert_int_equal(tell(w, add("anna@example.com")), ERR_DENIED);
    world_free(w);
    w = world_at_level(6);
    static const char *const bad[] = { "nobody", "Anna@example.com", "a b@example.com" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(tell(w, add(bad[i])), ERR_BAD);
    struct command account = { .type = COMMAND_ACCOUNT_SET,
                               .account_set = {
                                   .name = str("anna@example.com"), .hash = str("!"), .create = true } };
    assert_int_equal(tell(w, account), 0);
    assert_int_equal(tell(w, add("anna@example.com")), ERR_EXISTS);
    assert_words(w, "account remove");
    for (uint32_t i = 0; i < 1000; i++) {
        char address[32];
        snprintf(address, sizeof address, "a%u@example.com", i);
        assert_int_equal(tell(w, add(address)), 0);
    }
    assert_int_equal(tell(w, add("one-more@example.com")), ERR_LIMIT);
    assert_int_equal(tell(w, add("a7@example.com")), 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_until_every_member_has),
        cmocka_unit_test(the_audit_trail_has_another_name),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
