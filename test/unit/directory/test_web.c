/* Web senders: their names, their number, their end. */
#include "consensus/directory_impl.h"
#include "consensus/machine_impl.h"
#include "consensus/web_sender.h"
#include "world.h"

#include <stdio.h>

#define DAY WEB_SENDER_DAY_MS
#define HOST "web1@example.com"

static struct command claim(const char *name, uint32_t of_host, uint32_t most)
{
    return (struct command){ .type = COMMAND_WEB_CLAIM,
                             .web_claim = {
                                 .name = str(name), .most_of_host = of_host, .most = most, .for_ms = DAY } };
}

static struct command forget(const char *name)
{
    return (struct command){ .type = COMMAND_WEB_FORGET,
                             .name = { .by = { .who = str("root@node-a") }, .name = str(name) } };
}

static bool known(const struct world *w, const char *name)
{
    struct directory_web found;
    return directory_web_find(w->m, str(name), &found) && span_eq(found.name, str(name));
}

static void names(void **state)
{
    (void)state;
    static const char *const good[] = { "web:a/b", "web:" HOST "/1001:contact.php", "web:h/a/b~c?=+-_." };
    static const char *const bad[] = { "web:",       "web:/x",           "web:host",
                                       "web:host/",  "anna@example.com", "WEB:h/x",
                                       "web:h/X",    "web:h/a b",        "web:h/a\r\nb",
                                       "web:h/a\"b", "web:h/\xc3\xa4" };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(web_sender_ok(str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(web_sender_ok(str(bad[i])));
    assert_false(web_sender_byte_ok('\0'));
    assert_true(span_eq(web_sender_host(str("web:" HOST "/x/y")), str(HOST)));
    assert_int_equal(web_sender_host(str("webmail@example.com/x")).n, 0);
    char longest[4 + WEB_SENDER_HOST_MAX + 1 + WEB_SENDER_ORIGIN_MAX + 2] = "web:";
    memset(longest + 4, 'h', WEB_SENDER_HOST_MAX);
    longest[4 + WEB_SENDER_HOST_MAX] = '/';
    memset(longest + 5 + WEB_SENDER_HOST_MAX, 'o', WEB_SENDER_ORIGIN_MAX);
    assert_int_equal(strlen(longest), COMMAND_NAME_MAX);
    assert_true(web_sender_ok(str(longest)));
    longest[strlen(longest)] = 'o';
    assert_false(web_sender_ok(str(longest)));
}

static void level(void **state)
{
    (void)state;
    struct world *w = world_at_level(6);
    assert_int_equal(command_type_level(COMMAND_WEB_CLAIM), 7);
    assert_int_equal(command_type_level(COMMAND_WEB_FORGET), 7);
    assert_int_equal(tell(w, claim("web:" HOST "/a.php", 10, 10)), ERR_DENIED);
    assert_words(w, "feature level is 6");
    assert_int_equal(tell(w, forget("web:" HOST "/a.php")), ERR_NOT_FOUND);
    assert_int_equal(directory_web_count(w->m), 0);
    struct command limit = { .type = COMMAND_OVERRIDE_SET,
                             .override_set = { .scope = COMMAND_SCOPE_ACCOUNT,
                                               .name = str("web:" HOST "/a.php"),
                                               .limit = str("account-hour"),
                                               .count = 5 } };
    assert_int_equal(tell(w, limit), ERR_BAD); /* as an older build says */
    world_free(w);
    w = world_at_level(7);
    assert_int_equal(tell(w, limit), 0);
    limit.override_set.name = str("web:" HOST "/A.php");
    assert_int_equal(tell(w, limit), ERR_BAD);
    world_free(w);
}

static void claimed(void **state)
{
    (void)state;
    struct world *w = world_at_level(7);
    struct directory_web found;
    assert_false(known(w, "web:" HOST "/a.php"));
    assert_int_equal(tell(w, claim("web:" HOST "/a.php", 10, 10)), 0);
    assert_true(w->r.id != 0);
    assert_true(known(w, "web:" HOST "/a.php"));
    assert_int_equal(tell_as(w, 1, claim("web:" HOST "/a.php", 10, 10)),
                     0); /* another node: the same sender */
    assert_int_equal(directory_web_count(w->m), 1);
    static const char *const bad[] = { "anna@example.com", "web:h\x01/x", "web:H/x", "web:a:b/x" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(tell(w, claim(bad[i], 10, 10)), ERR_BAD);
    struct command c = claim("web:" HOST "/b.php", 10, 10);
    c.web_claim.for_ms = 0;
    assert_int_equal(tell(w, c), ERR_BAD);
    c.web_claim.for_ms = WEB_SENDER_LIFE_MAX_MS + 1;
    assert_int_equal(tell(w, c), ERR_BAD);
    /* claimed again it goes on, and is as old as it is */
    w->now_ms += DAY / 2;
    assert_int_equal(tell(w, claim("web:" HOST "/a.php", 10, 10)), 0);
    assert_true(directory_web_find(w->m, str("web:" HOST "/a.php"), &found));
    assert_int_equal(found.until_ms, found.seen_ms + DAY);
    assert_int_equal(found.seen_ms - found.since_ms, DAY / 2);
    /* an operator forgets it */
    assert_int_equal(tell(w, forget("web:" HOST "/a.php")), 0);
    assert_false(known(w, "web:" HOST "/a.php"));
    assert_int_equal(tell(w, forget("web:" HOST "/a.php")), ERR_NOT_FOUND);
    world_free(w);
}

/* A host that has as many as it may gets no further one, and disturbs nobody else; nor does the cluster have
 * more than it may, whoever claims. */
static void most(void **state)
{
    (void)state;
    struct world *w = world_at_level(7);
    assert_int_equal(tell(w, claim("web:a@example.com/1", 2, 4)), 0);
    assert_int_equal(tell(w, claim("web:a@example.com/2", 2, 4)), 0);
    assert_int_equal(tell(w, claim("web:a@example.com/3", 2, 4)), ERR_LIMIT);
    assert_words(w, "a@example.com has 2 web senders");
    assert_int_equal(tell(w, claim("web:a@example.com/1", 2, 4)), 0); /* what there is goes on */
    assert_int_equal(tell(w, claim("web:a@example.co/1", 2, 4)),
                     0); /* another host, though the name begins so */
    assert_int_equal(tell(w, claim("web:a@example.com.au/1", 2, 4)), 0);
    assert_int_equal(tell(w, claim("web:b@example.com/1", 2, 4)), ERR_LIMIT);
    assert_words(w, "there are 4 web senders");
    assert_int_equal(tell(w, claim("web:b@example.com/1", 0, 9)), ERR_LIMIT);
    assert_int_equal(directory_web_count(w->m), 4);
    /* a place that is forgotten is free */
    assert_int_equal(tell(w, forget("web:a@example.com/2")), 0);
    assert_int_equal(tell(w, claim("web:a@example.com/3", 2, 4)), 0);
    world_free(w);
}

static void ends(void **state)
{
    (void)state;
    struct world *w = world_at_level(7);
    char name[64];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "web:" HOST "/%d.php", i);
        assert_int_equal(tell(w, claim(name, 20, 20)), 0);
    }
    assert_int_equal(tell(w, claim("web:" HOST "/more", 20, 20)), ERR_LIMIT);
    w->now_ms += DAY / 2;
    assert_int_equal(tell(w, claim("web:" HOST "/7.php", 20, 20)), 0);
    w->now_ms += DAY / 2 + 1000;
    /* all but that one have ended: the next claim makes room */
    assert_int_equal(tell(w, claim("web:" HOST "/more", 20, 20)), 0);
    assert_int_equal(directory_web_count(w->m), 2);
    assert_false(known(w, "web:" HOST "/1.php"));
    assert_true(known(w, "web:" HOST "/7.php"));
    w->now_ms += DAY;
    assert_int_equal(tell(w, forget("web:" HOST "/nobody")), ERR_NOT_FOUND); /* time passes */
    assert_false(known(w, "web:" HOST "/7.php")); /* ended, though not forgotten yet */
    assert_int_equal(directory_web_count(w->m), 2);
    world_free(w);
}

/* Mail of a web sender leaves as its host's does, unless it has a pool of its own. */
static void pool(void **state)
{
    (void)state;
    struct world *w = world_at_level(7);
    struct command c = { .type = COMMAND_POOL_SET, .pool_set = { .name = str("shared") } };
    assert_int_equal(tell(w, c), 0);
    c.pool_set.name = str("risky");
    assert_int_equal(tell(w, c), 0);
    c = (struct command){ .type = COMMAND_POOL_ASSIGN,
                          .pool_assign = {
                              .to = COMMAND_ASSIGN_ACCOUNT, .name = str(HOST), .pool = str("shared") } };
    assert_int_equal(tell(w, c), 0);
    const struct span name = str("web:" HOST "/a.php");
    assert_true(span_eq(directory_pool_of(w->m, name, str(""), 1), str("shared")));
    c.pool_assign.name = name;
    c.pool_assign.pool = str("risky");
    assert_int_equal(tell(w, c), 0);
    assert_true(span_eq(directory_pool_of(w->m, name, str(""), 1), str("risky")));
    assert_true(span_eq(directory_pool_of(w->m, str("web:" HOST "/b.php"), str(""), 1), str("shared")));
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names), cmocka_unit_test(level), cmocka_unit_test(claimed),
        cmocka_unit_test(most),  cmocka_unit_test(ends),  cmocka_unit_test(pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
