/* Addresses that a tenant's mail is no longer sent to: who may add them, how many, and when they end. */
#include "consensus/machine_impl.h"
#include "world.h"

#include <stdio.h>

#define DAY_MS 86400000ull

static struct command add(const char *tenant, const char *address, bool bounced)
{
    return (struct command){ .type = COMMAND_SUPPRESS_ADD,
                             .suppress_add = { .by = { .who = str("root@node-a"), .wall_ms = 1700000000000 },
                                               .tenant = str(tenant),
                                               .address = str(address),
                                               .class = 1,
                                               .bounced = bounced,
                                               .for_ms = DAY_MS,
                                               .most = 3,
                                               .reason = str("550 5.1.1 no such user") } };
}

static struct command take(const char *tenant, const char *address, uint64_t entry)
{
    return (struct command){ .type = COMMAND_SUPPRESS_REMOVE,
                             .suppress_remove = { .by = { .who = str("root@node-a") },
                                                  .tenant = str(tenant),
                                                  .address = str(address),
                                                  .entry = entry } };
}

static bool there(const struct world *w, const char *tenant, const char *address,
                  struct directory_suppressed *out)
{
    struct directory_suppressed s;
    return directory_suppressed_find(w->m, str(tenant), str(address), out != NULL ? out : &s);
}

static void added_and_removed(void **state)
{
    (void)state;
    struct world *w = world_at_level(3);
    struct directory_suppressed s;
    assert_int_equal(tell(w, add("shop", "bob@example.com", true)), 0);
    uint64_t first = w->r.id;
    assert_true(changed(w, MACHINE_CHANGED_SUPPRESSED, NULL));
    assert_true(there(w, "shop", "bob@example.com", &s));
    assert_int_equal(s.class, 1);
    assert_true(s.until_ms == machine_now_ms(w->m) + DAY_MS);
    assert_true(span_eq(s.reason, str("550 5.1.1 no such user")));
    /* of this tenant only, and this address only */
    assert_false(there(w, "", "bob@example.com", NULL));
    assert_false(there(w, "other", "bob@example.com", NULL));
    assert_false(there(w, "shop", "bob@example.co", NULL));
    /* a second bounce changes nothing, and says which there is */
    assert_int_equal(tell(w, add("shop", "bob@example.com", true)), 0);
    assert_true(w->r.id == first);
    assert_false(changed(w, MACHINE_CHANGED_SUPPRESSED, NULL));
    /* an operator's word replaces it, and stays when the bounce's end comes */
    struct command c = add("shop", "bob@example.com", false);
    c.suppress_add.for_ms = 0;
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(tell(w, take("shop", "bob@example.com", first)), 0);
    assert_true(there(w, "shop", "bob@example.com", &s));
    assert_true(s.until_ms == 0);
    assert_int_equal(tell(w, take("shop", "bob@example.com", 0)), 0);
    assert_true(changed(w, MACHINE_CHANGED_SUPPRESSED, NULL));
    assert_false(there(w, "shop", "bob@example.com", NULL));
    assert_int_equal(tell(w, take("shop", "bob@example.com", 0)), ERR_NOT_FOUND);
    assert_words(w, "bob@example.com is not suppressed for tenant shop");
    assert_int_equal(tell(w, take("", "bob@example.com", 0)), ERR_NOT_FOUND);
    assert_words(w, "accounts without tenant");
    assert_int_equal(tell(w, add("", "bob@example.com", true)), 0);
    assert_true(there(w, "", "bob@example.com", NULL));
    world_free(w);
}

static void wrong_names(void **state)
{
    (void)state;
    struct world *w = world_at_level(3);
    assert_int_equal(tell(w, add("shop", "Bob@example.com", true)), ERR_BAD);
    assert_int_equal(tell(w, add("shop", "bob", true)), ERR_BAD);
    assert_int_equal(tell(w, add("shop", "bob @example.com", true)), ERR_BAD);
    assert_int_equal(tell(w, add("shop", "bob@example.com\n", true)), ERR_BAD);
    assert_int_equal(tell(w, add("a b", "bob@example.com", true)), ERR_BAD);
    world_free(w);
}

static void bounded_for_each_tenant(void **state)
{
    (void)state;
    struct world *w = world_at_level(3);
    struct machine_totals t;
    assert_int_equal(tell(w, add("shop", "a@example.com", true)), 0);
    assert_int_equal(tell(w, add("shop", "b@example.com", true)), 0);
    assert_int_equal(tell(w, add("shop", "c@example.com", false)), 0);
    assert_int_equal(tell(w, add("shop", "d@example.com", true)), ERR_LIMIT);
    assert_words(w, "tenant shop: 3 addresses");
    assert_int_equal(tell(w, add("shop", "d@example.com", false)), ERR_LIMIT);
    assert_int_equal(tell(w, add("shop", "a@example.com", false)), 0); /* no further one */
    assert_int_equal(tell(w, add("news", "d@example.com", true)), 0);  /* another's room */
    assert_int_equal(tell(w, take("shop", "b@example.com", 0)), 0);
    assert_int_equal(tell(w, add("shop", "d@example.com", true)), 0);
    machine_totals(w->m, &t);
    assert_int_equal(t.suppressed, 4);
    world_free(w);
}

/* What the leader would propose now. */
static uint32_t due(struct world *w, uint64_t now_ms, struct buf *out)
{
    uint32_t n = 0;
    buf_reset(out);
    assert_int_equal(machine_due(w->m, now_ms, out, &n), 0);
    return n;
}

static void ends(void **state)
{
    (void)state;
    struct world *w = world_at_level(3);
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(tell(w, add("shop", "a@example.com", true)), 0);
    uint64_t end = machine_now_ms(w->m) + DAY_MS;
    struct command c = add("shop", "b@example.com", true);
    c.suppress_add.for_ms = 0;
    assert_int_equal(tell(w, c), 0);
    c = add("shop", "c@example.com", true);
    c.suppress_add.for_ms = UINT64_MAX; /* never, rather than a number that wraps */
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(due(w, end - 1, &out), 0);
    assert_int_equal(due(w, end, &out), 1);
    assert_int_equal(due(w, end, &out), 1); /* until it is applied */
    struct cursor cur;
    cursor_init(&cur, out.data, out.len);
    assert_int_equal(command_decode(&cur, &c), 0);
    assert_int_equal(c.type, COMMAND_SUPPRESS_REMOVE);
    assert_int_equal(tell(w, c), 0);
    assert_false(there(w, "shop", "a@example.com", NULL));
    assert_int_equal(tell(w, c), 0); /* a repeat */
    assert_int_equal(due(w, UINT64_MAX / 4, &out), 0);
    buf_fini(&out);
    world_free(w);
}

static int collect(void *arg, const struct directory_suppressed *s)
{
    struct buf *out = arg;
    (void)buf_put_span(out, s->address);
    (void)buf_put_char(out, ' ');
    return 0;
}

static void listed_in_order(void **state)
{
    (void)state;
    struct world *w = world_at_level(3);
    struct buf out;
    buf_init(&out, 1 << 10);
    assert_int_equal(tell(w, add("shop", "b@example.com", true)), 0);
    assert_int_equal(tell(w, add("shop", "a@example.com", true)), 0);
    assert_int_equal(tell(w, add("", "z@example.com", true)), 0);
    assert_int_equal(tell(w, add("shop2", "c@example.com", true)), 0);
    assert_int_equal(directory_suppressed_each(w->m, str(""), collect, &out), 0);
    assert_true(span_eq(buf_span(&out), str("z@example.com a@example.com b@example.com c@example.com ")));
    buf_reset(&out);
    assert_int_equal(directory_suppressed_each(w->m, SPAN_LIT("shop\0a@example.com"), collect, &out), 0);
    assert_true(span_eq(buf_span(&out), str("b@example.com c@example.com ")));
    buf_fini(&out);
    world_free(w);
}

/* (!) An older member cannot read these: they come into force with their level, and an entry names it. */
static void not_before_its_level(void **state)
{
    (void)state;
    struct world *w = world_at_level(2);
    assert_int_equal(tell(w, add("shop", "a@example.com", true)), ERR_DENIED);
    assert_words(w, "feature level is 2");
    assert_int_equal(tell(w, take("shop", "a@example.com", 0)), ERR_DENIED);
    assert_int_equal(command_type_level(COMMAND_SUPPRESS_ADD), 3);
    assert_int_equal(command_type_level(COMMAND_FREEZE), 1);
    struct buf entry;
    buf_init(&entry, COMMAND_ENTRY_BYTES_MAX);
    struct command plain = { .type = COMMAND_SESSION_CLOSE }, new = add("shop", "a@example.com", true);
    (void)command_entry_begin(&entry, 1);
    assert_int_equal(command_encode(&plain, &entry), 0);
    assert_int_equal(command_entry_end(&entry, 1), 0);
    assert_int_equal(entry.data[1], 1);
    buf_reset(&entry);
    (void)command_entry_begin(&entry, 1);
    assert_int_equal(command_encode(&plain, &entry), 0);
    assert_int_equal(command_encode(&new, &entry), 0);
    assert_int_equal(command_encode(&plain, &entry), 0);
    assert_int_equal(command_entry_end(&entry, 3), 0);
    assert_int_equal(entry.data[1], 3);
    buf_fini(&entry);
    world_free(w);
}

/* Many, in two tenants, some with ends at one moment: a snapshot of them is the same state, and both go on
 * the same way (world_free looks). */
static void many(void **state)
{
    (void)state;
    struct world *w = world_at_level(3);
    char address[64];
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(address, sizeof address, "u%u@example.com", i * 7919 % 2000);
        struct command c = add(i % 2 == 0 ? "shop" : "", address, i % 5 != 0);
        c.suppress_add.most = 1000000;
        c.suppress_add.for_ms = i % 3 == 0 ? 0 : 1000;
        assert_int_equal(tell(w, c), 0);
    }
    struct buf out;
    buf_init(&out, 1 << 20);
    unsigned ended = 0;
    while (due(w, machine_now_ms(w->m) + 100000000, &out) > 0) {
        struct cursor cur;
        cursor_init(&cur, out.data, out.len);
        while (cursor_left(&cur) > 0) {
            struct command c;
            assert_int_equal(command_decode(&cur, &c), 0);
            /* The spans point into `out`, which the next round overwrites. */
            assert_int_equal(tell(w, c), 0);
            ended++;
        }
    }
    assert_int_equal(ended, 1333);
    buf_fini(&out);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(added_and_removed),
        cmocka_unit_test(wrong_names),
        cmocka_unit_test(bounded_for_each_tenant),
        cmocka_unit_test(ends),
        cmocka_unit_test(listed_in_order),
        cmocka_unit_test(not_before_its_level),
        cmocka_unit_test(many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
