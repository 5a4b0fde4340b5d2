/* Whom a tenant wants to be told, and that he is told of each thing once in a while. */
#include "consensus/directory_impl.h"
#include "consensus/machine_impl.h"
#include "world.h"

#include <stdio.h>

#define DAY 86400000ull

static struct world *at_level(uint32_t level)
{
    struct world *w = world_at_level(level);
    assert_int_equal(
        tell(w, (struct command){ .type = COMMAND_TENANT_SET, .tenant_set = { .name = str("example.org") } }),
        0);
    return w;
}

static struct command contact(const char *tenant, const char *address)
{
    return (struct command){ .type = COMMAND_TENANT_CONTACT,
                             .tenant_contact = { .by = { .who = str("root@node-a") },
                                                 .name = str(tenant),
                                                 .address = str(address) } };
}

static struct command claim(const char *about, uint64_t for_ms)
{
    return (struct command){ .type = COMMAND_NOTICE_CLAIM,
                             .notice_claim = {
                                 .tenant = str("example.org"), .about = str(about), .for_ms = for_ms } };
}

static bool has(const struct world *w, const char *tenant, const char *address)
{
    struct span is;
    return directory_contact_find(w->m, str(tenant), &is) && span_eq(is, str(address));
}

static void contacts(void **state)
{
    (void)state;
    struct world *w = at_level(5);
    struct span is;
    assert_int_equal(tell(w, contact("example.org", "")), 0);
    assert_int_equal(tell(w, contact("example.com", "a@example.com")), ERR_NOT_FOUND);
    assert_words(w, "make it first");
    static const char *const bad[] = { "nobody", "a b@example.org", "a@example.org\r\nBcc: x@y" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(tell(w, contact("example.org", bad[i])), ERR_BAD);
    assert_false(directory_contact_find(w->m, str("example.org"), &is));
    assert_int_equal(tell(w, contact("example.org", "desk@example.org")), 0);
    uint64_t version = w->r.id;
    assert_true(has(w, "example.org", "desk@example.org"));
    struct command c = contact("example.org", "it@example.org");
    c.tenant_contact.by.version = version + 1;
    assert_int_equal(tell(w, c), ERR_BUSY);
    c.tenant_contact.by.version = version;
    assert_int_equal(tell(w, c), 0);
    assert_true(has(w, "example.org", "it@example.org"));
    assert_int_equal(tell(w, contact("example.org", "")), 0);
    assert_false(directory_contact_find(w->m, str("example.org"), &is));
    /* it goes with the tenant */
    assert_int_equal(tell(w, contact("example.org", "it@example.org")), 0);
    assert_int_equal(
        tell(w, (struct command){ .type = COMMAND_TENANT_REMOVE, .name = { .name = str("example.org") } }),
        0);
    assert_false(directory_contact_find(w->m, str("example.org"), &is));
    world_free(w);
    w = at_level(4);
    assert_int_equal(tell(w, contact("example.org", "it@example.org")), ERR_DENIED);
    assert_words(w, "feature level is 4");
    assert_int_equal(tell(w, claim("x", DAY)), ERR_DENIED);
    world_free(w);
}

static void once_in_a_while(void **state)
{
    (void)state;
    struct world *w = at_level(5);
    assert_int_equal(tell(w, claim("reverse-dns 192.0.2.1", DAY)), ERR_NOT_FOUND);
    assert_int_equal(tell(w, contact("example.org", "it@example.org")), 0);
    assert_int_equal(tell(w, claim("reverse-dns 192.0.2.1", DAY)), 0);
    assert_true(w->r.id != 0);
    assert_int_equal(tell_as(w, 1, claim("reverse-dns 192.0.2.1", DAY)), ERR_EXISTS);
    assert_true(directory_notice_given(w->m, str("example.org"), str("reverse-dns 192.0.2.1"), w->now_ms));
    assert_false(directory_notice_given(w->m, str("example.org"), str("reverse-dns 192.0.2.2"), w->now_ms));
    assert_int_equal(tell(w, claim("reverse-dns 192.0.2.2", DAY)), 0);
    w->now_ms += DAY - 1000;
    assert_int_equal(tell(w, claim("reverse-dns 192.0.2.1", DAY)), ERR_EXISTS);
    w->now_ms += 2000;
    assert_false(directory_notice_given(w->m, str("example.org"), str("reverse-dns 192.0.2.1"), w->now_ms));
    assert_int_equal(tell(w, claim("reverse-dns 192.0.2.1", DAY)), 0);
    assert_int_equal(tell(w, claim("reverse-dns 192.0.2.1", DAY)), ERR_EXISTS);
    assert_int_equal(tell(w, claim("two\nlines", DAY)), ERR_BAD);
    assert_int_equal(tell(w, claim("for ever", UINT64_MAX)), ERR_BAD);
    world_free(w);
}

/* Senders are told themselves: nobody else's contact is asked for. */
static void senders_themselves(void **state)
{
    (void)state;
    struct world *w = at_level(5);
    struct command c = claim("over-limit account-hour", DAY);
    c.type = COMMAND_SENDER_NOTICE;
    assert_int_equal(tell(w, c), ERR_DENIED);
    world_free(w);
    w = at_level(6);
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(tell_as(w, 1, c), ERR_EXISTS); /* one node tells him */
    w->now_ms += DAY;
    assert_int_equal(tell(w, c), 0);
    world_free(w);
}

/* Claims that have ended go as new ones come: the table holds about a day's. */
static void forgotten(void **state)
{
    (void)state;
    struct world *w = at_level(5);
    assert_int_equal(tell(w, contact("example.org", "it@example.org")), 0);
    char about[64];
    for (int day = 0; day < 8; day++) {
        for (int i = 0; i < 100; i++) {
            snprintf(about, sizeof about, "%d %d", i * 7919 % 100, day);
            assert_int_equal(tell(w, claim(about, DAY)), 0);
        }
        assert_true(w->m->directory->notices.len <= 200);
        w->now_ms += 2 * DAY;
    }
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contacts),
        cmocka_unit_test(once_in_a_while),
        cmocka_unit_test(senders_themselves),
        cmocka_unit_test(forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
