/* Secrets that are encrypted before they come here: who may set them, with which key, how many, and how that
 * key is changed. */
#include "consensus/directory_impl.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

static struct command key(uint64_t number, bool lost)
{
    return (struct command){ .type = COMMAND_SEALING_KEY,
                             .sealing_key = { .by = { .who = str("root@node-a"), .wall_ms = 1700000000000 },
                                              .number = number,
                                              .id = { (uint8_t)number },
                                              .lost = lost } };
}

static struct command set(const char *domain, const char *selector, bool create)
{
    return (struct command){ .type = COMMAND_SEALED_SET,
                             .sealed_set = { .by = { .who = str("root@node-a"), .wall_ms = 1700000000000 },
                                             .kind = COMMAND_SEALED_DKIM,
                                             .name = str(domain),
                                             .selector = str(selector),
                                             .create = create,
                                             .number = 1,
                                             .sealed = str("closed"),
                                             .public = str("v=DKIM1; p=abc"),
                                             .not_before_ms = 1000,
                                             .tenants = str("shop news") } };
}

static struct command take(const char *domain, const char *selector)
{
    return (struct command){ .type = COMMAND_SEALED_REMOVE,
                             .sealed_remove = { .by = { .who = str("root@node-a") },
                                                .kind = COMMAND_SEALED_DKIM,
                                                .name = str(domain),
                                                .selector = str(selector) } };
}

static struct directory_sealed secret(const struct world *w, const char *domain, const char *selector)
{
    struct directory_sealed s = { 0 };
    assert_true(directory_sealed_find(w->m, COMMAND_SEALED_DKIM, str(domain), str(selector), &s));
    return s;
}

static void set_changed_and_removed(void **state)
{
    (void)state;
    struct world *w = world_at_level(4);
    assert_int_equal(tell(w, set("example.org", "s1", true)), ERR_BUSY); /* no key yet */
    assert_int_equal(tell(w, key(1, false)), 0);
    assert_true(changed(w, MACHINE_CHANGED_SEALED, NULL));
    assert_int_equal(tell(w, set("example.org", "s1", false)), ERR_NOT_FOUND);
    assert_int_equal(tell(w, set("example.org", "s1", true)), 0);
    assert_true(changed(w, MACHINE_CHANGED_SEALED, NULL));
    assert_int_equal(tell(w, set("example.org", "s1", true)), ERR_EXISTS);
    assert_words(w, "there is a DKIM key s1 of example.org already");
    assert_int_equal(tell(w, set("example.org", "s2", true)), 0);
    struct directory_sealed s = secret(w, "example.org", "s1");
    assert_true(span_eq(s.sealed, str("closed")) && span_eq(s.tenants, str("shop news")));
    assert_true(s.number == 1 && s.not_before_ms == 1000 && s.not_after_ms == 0);
    /* its end alone: the rest stays */
    struct command c = set("example.org", "s1", false);
    c.sealed_set.sealed = c.sealed_set.public = str("");
    c.sealed_set.not_after_ms = 2000;
    c.sealed_set.by.version = s.version;
    assert_int_equal(tell(w, c), 0);
    s = secret(w, "example.org", "s1");
    assert_true(span_eq(s.sealed, str("closed")) && span_eq(s.public, str("v=DKIM1; p=abc")));
    assert_true(s.not_after_ms == 2000 && s.number == 1);
    assert_int_equal(tell(w, c), ERR_BUSY); /* another version by now */
    assert_int_equal(tell(w, take("example.org", "s3")), ERR_NOT_FOUND);
    assert_int_equal(tell(w, take("example.org", "s1")), 0);
    assert_true(changed(w, MACHINE_CHANGED_SEALED, NULL));
    assert_int_equal(tell(w, take("example.org", "s1")), ERR_NOT_FOUND);
    assert_true(directory_sealed_count(w->m) == 1);
    world_free(w);
}

static void wrong_ones(void **state)
{
    (void)state;
    struct world *w = world_at_level(4);
    assert_int_equal(tell(w, key(1, false)), 0);
    assert_int_equal(tell(w, set("Example.org", "s1", true)), ERR_BAD);
    assert_int_equal(tell(w, set("example.org", "s 1", true)), ERR_BAD);
    struct command c = set("example.org", "s1", true);
    c.sealed_set.tenants = str("a\nb");
    assert_int_equal(tell(w, c), ERR_BAD);
    c = set("example.org", "s1", true);
    c.sealed_set.not_after_ms = 1000;
    assert_int_equal(tell(w, c), ERR_BAD);
    c = set("example.org", "s1", true);
    c.sealed_set.number = 2;
    assert_int_equal(tell(w, c), ERR_BUSY);
    c = set("example.org", "s1", true);
    c.sealed_set.sealed = str("");
    assert_int_equal(tell(w, c), ERR_BUSY);
    assert_true(directory_sealed_count(w->m) == 0);
    world_free(w);
}

/* (!) The key before is of use until nothing of it is left, so it is not replaced before. */
static void the_key_changes(void **state)
{
    (void)state;
    struct world *w = world_at_level(4);
    struct directory_sealing is;
    assert_false(directory_sealing(w->m, &is));
    assert_int_equal(tell(w, key(2, false)), ERR_BUSY);
    assert_int_equal(tell(w, key(1, false)), 0);
    assert_int_equal(tell(w, key(1, false)), ERR_BUSY); /* who came second */
    assert_int_equal(tell(w, set("example.org", "s1", true)), 0);
    assert_int_equal(tell(w, key(2, false)), 0);
    assert_true(directory_sealing(w->m, &is));
    assert_true(is.number == 2 && is.old_number == 1 && is.id[0] == 2 && is.old_id[0] == 1);
    assert_int_equal(tell(w, key(3, false)), ERR_BUSY);
    assert_words(w, "some secrets are not encrypted with sealing key 2 yet");
    struct command c = set("example.org", "s1", false);
    assert_int_equal(tell(w, c), ERR_BUSY); /* with the key before */
    c.sealed_set.number = 2;
    c.sealed_set.sealed = str("anew");
    assert_int_equal(tell(w, c), 0);
    assert_true(secret(w, "example.org", "s1").number == 2);
    assert_int_equal(tell(w, key(3, false)), 0);
    assert_int_equal(tell(w, key(4, false)), ERR_BUSY);
    assert_int_equal(tell(w, key(4, true)), 0); /* nobody has it any more */
    assert_true(secret(w, "example.org", "s1").number == 2);
    world_free(w);
}

static int collect(void *arg, const struct directory_sealed *s)
{
    return buf_printf(arg, "%.*s/%.*s ", (int)s->name.n, s->name.p, (int)s->selector.n, s->selector.p);
}

static void listed_in_order(void **state)
{
    (void)state;
    struct world *w = world_at_level(4);
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(tell(w, key(1, false)), 0);
    assert_int_equal(tell(w, set("b.example", "s1", true)), 0);
    assert_int_equal(tell(w, set("a.example", "s2", true)), 0);
    assert_int_equal(tell(w, set("a.example", "s1", true)), 0);
    assert_int_equal(directory_sealed_each(w->m, str(""), collect, &out), 0);
    assert_true(span_eq(buf_span(&out), str("a.example/s1 a.example/s2 b.example/s1 ")));
    buf_reset(&out);
    assert_int_equal(directory_sealed_each(w->m, SPAN_LIT("\1a.example\0s1"), collect, &out), 0);
    assert_true(span_eq(buf_span(&out), str("a.example/s2 b.example/s1 ")));
    buf_fini(&out);
    world_free(w);
}

/* Of the largest ones not as many as of others. */
static void bounded(void **state)
{
    (void)state;
    struct world *w = world_at_level(4);
    static char large[COMMAND_SEALED_MAX];
    struct machine_totals t;
    char selector[16];
    uint64_t n = 0;
    int err = 0;
    memset(large, 'x', sizeof large);
    assert_int_equal(tell(w, key(1, false)), 0);
    for (; err == 0 && n < DIRECTORY_SEALED_MAX; n += err == 0) {
        snprintf(selector, sizeof selector, "s%llu", (unsigned long long)n);
        struct command c = set("example.org", selector, true);
        c.sealed_set.sealed = span_of(large, sizeof large);
        err = tell(w, c);
    }
    assert_int_equal(err, ERR_LIMIT);
    machine_totals(w->m, &t);
    assert_true(t.sealed == n && n > 3000 && n < 4096);
    assert_true(t.bytes > DIRECTORY_SEALED_BYTES - 20000);
    assert_int_equal(tell(w, take("example.org", "s0")), 0);
    assert_int_equal(tell(w, set("example.org", "s0", true)), 0);
    world_free(w);
}

/* (!) An older member cannot read these. */
static void not_before_its_level(void **state)
{
    (void)state;
    struct world *w = world_at_level(3);
    assert_int_equal(tell(w, key(1, false)), ERR_DENIED);
    assert_words(w, "feature level is 3");
    assert_int_equal(tell(w, set("example.org", "s1", true)), ERR_DENIED);
    assert_int_equal(tell(w, take("example.org", "s1")), ERR_DENIED);
    assert_int_equal(command_type_level(COMMAND_SEALING_KEY), 4);
    assert_int_equal(command_type_level(COMMAND_SEALED_REMOVE), 4);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_changed_and_removed),
        cmocka_unit_test(wrong_ones),
        cmocka_unit_test(the_key_changes),
        cmocka_unit_test(listed_in_order),
        cmocka_unit_test(bounded),
        cmocka_unit_test(not_before_its_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
