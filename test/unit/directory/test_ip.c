/* Source addresses: one owner at a time, whatever happens to sessions and members meanwhile. */
#include "world.h"

#include <stdio.h>

#define IP "192.0.2.7"

static struct command set(const char *address, uint64_t node)
{
    return (struct command){ .type = COMMAND_IP_SET,
                             .ip_set = {
                                 .address = str(address), .pool = str("a"), .node = node, .create = true } };
}

static struct command move(uint64_t node)
{
    return (struct command){ .type = COMMAND_IP_MOVE, .ip_move = { .address = str(IP), .node = node } };
}

static struct command released(uint64_t moved)
{
    return (struct command){ .type = COMMAND_IP_RELEASED,
                             .ip_released = { .address = str(IP), .moved = moved } };
}

static struct command removal(void)
{
    return (struct command){ .type = COMMAND_IP_REMOVE, .name = { .name = str(IP) } };
}

static int first(void *arg, const struct directory_ip *ip)
{
    *(struct directory_ip *)arg = *ip;
    return 1;
}

/* The only one. */
static struct directory_ip get(const struct world *w)
{
    struct directory_ip ip;
    assert_int_equal(directory_ip_each(w->m, first, &ip), 1);
    return ip;
}

static void assert_owner(const struct world *w, uint64_t node, uint64_t next)
{
    struct directory_ip ip = get(w);
    assert_int_equal(ip.node, node);
    assert_true(ip.next == next);
}

/* Nodes 1, 2, 3 with sessions; pool "a"; the address is node 1's. */
static struct world *world_with_address(void)
{
    struct world *w = world_founded();
    for (uint64_t node = 2; node <= 3; node++) {
        char name[16];
        snprintf(name, sizeof name, "node-%c", (int)('a' + node - 1));
        assert_int_equal(join(w, name), node);
        open_session(w, node);
    }
    assert_int_equal(tell(w, (struct command){ .type = COMMAND_POOL_SET, .pool_set = { .name = str("a") } }),
                     0);
    assert_int_equal(tell(w, set(IP, 1)), 0);
    assert_owner(w, 1, 0);
    return w;
}

static void test_set(void **state)
{
    (void)state;
    struct world *w = world_with_address();
    struct directory_ip ip = get(w);
    assert_int_equal(ip.weight, 100);
    assert_int_equal(ip.use, COMMAND_USE_ON);
    assert_int_equal(tell(w, set(IP, 1)), ERR_EXISTS);
    assert_int_equal(tell(w, set("192.0.2.8", 9)), ERR_NOT_FOUND);
    static const char *const bad[] = { "192.0.2.07",    "192.0.2",     "2001:DB8::1",
                                       "2001:db8:0::1", "example.org", "::ffff:1.2.3.4 " };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(tell(w, set(bad[i], 1)), ERR_BAD);
    struct command c = set("192.0.2.8", 1);
    c.ip_set.pool = str("");
    assert_int_equal(tell(w, c), ERR_BAD);
    c.ip_set.pool = str("b");
    assert_int_equal(tell(w, c), ERR_NOT_FOUND);
    c.ip_set.pool = str("a");
    c.ip_set.weight = 100000;
    assert_int_equal(tell(w, c), ERR_BAD);
    c.ip_set.weight = 0;
    c.ip_set.create = false;
    assert_int_equal(tell(w, c), ERR_NOT_FOUND);

    c = (struct command){ .type = COMMAND_IP_SET,
                          .ip_set = { .address = str(IP),
                                      .ehlo = str("out.example.org"),
                                      .weight = 5,
                                      .use = COMMAND_USE_DRAIN,
                                      .by = { .version = ip.version } } };
    assert_int_equal(tell(w, c), 0);
    assert_true(changed(w, MACHINE_CHANGED_POOLS, IP));
    assert_int_equal(tell(w, c), ERR_BUSY);
    assert_words(w, "drained");
    c.ip_set.by.version = 0;
    c.ip_set.weight = 0;
    c.ip_set.ehlo = str("");
    c.ip_set.use = COMMAND_USE_DISABLED;
    assert_int_equal(tell(w, c), 0);
    ip = get(w);
    assert_int_equal(ip.weight, 5);
    assert_true(span_eq(ip.ehlo, str("out.example.org")));
    assert_int_equal(ip.use, COMMAND_USE_DISABLED);
    assert_owner(w, 1, 0);
    world_free(w);
}

static void test_moved_when_released(void **state)
{
    (void)state;
    struct world *w = world_with_address();
    assert_int_equal(tell(w, move(2)), 0);
    uint64_t id = w->r.id;
    assert_owner(w, 1, 2); /* still its owner's */
    assert_int_equal(get(w).move, id);
    assert_int_equal(tell_as(w, 1, released(id + 1)), ERR_NOT_FOUND); /* of another move */
    assert_int_equal(tell_as(w, 2, released(id)), ERR_DENIED);        /* not the owner */
    assert_int_equal(tell(w, released(id)), ERR_DENIED);              /* nobody */
    assert_owner(w, 1, 2);
    assert_int_equal(tell_as(w, 1, released(id)), 0);
    assert_true(changed(w, MACHINE_CHANGED_POOLS, IP));
    assert_owner(w, 2, 0);
    assert_int_equal(tell_as(w, 1, released(id)), ERR_NOT_FOUND); /* a late repeat */
    assert_owner(w, 2, 0);
    world_free(w);
}

static void test_moved_when_expired(void **state)
{
    (void)state;
    struct world *w = world_with_address();
    assert_int_equal(tell(w, move(2)), 0);
    assert_owner(w, 1, 2);
    assert_int_equal(expire(w, w->session[1]), 0);
    assert_owner(w, 2, 0);
    world_free(w);
}

/* The node restarts while it is asked for the address: its new session knows of the move and does not use it,
 * the old one might still. */
static void test_superseded_session_is_waited_for(void **state)
{
    (void)state;
    struct world *w = world_with_address();
    uint64_t old = w->session[1];
    assert_int_equal(tell(w, move(2)), 0);
    uint64_t id = w->r.id;
    open_session(w, 1);
    assert_owner(w, 1, 2);
    assert_int_equal(tell_as(w, 1, released(id)), 0); /* speaks for the new one alone */
    assert_owner(w, 1, 2);
    assert_int_equal(expire(w, old), 0);
    assert_owner(w, 2, 0);
    world_free(w);
}

/* The new session need not release what it never used: without a word of it, the end of the old one is
 * enough. */
static void test_later_session_does_not_count(void **state)
{
    (void)state;
    struct world *w = world_with_address();
    uint64_t old = w->session[1];
    assert_int_equal(tell(w, move(2)), 0);
    open_session(w, 1);
    assert_owner(w, 1, 2);
    assert_int_equal(expire(w, old), 0);
    assert_owner(w, 2, 0);
    world_free(w);
}

/* The same with the new session opened before the move: both have to let go. */
static void test_both_sessions_are_waited_for(void **state)
{
    (void)state;
    struct world *w = world_with_address();
    uint64_t old = w->session[1];
    open_session(w, 1);
    assert_int_equal(tell(w, move(2)), 0);
    uint64_t id = w->r.id;
    assert_int_equal(expire(w, old), 0);
    assert_owner(w, 1, 2);
    assert_int_equal(tell_as(w, 1, released(id)), 0);
    assert_owner(w, 2, 0);

    /* And in the other order. */
    old = w->session[2];
    open_session(w, 2);
    assert_int_equal(tell(w, move(1)), 0);
    assert_int_equal(tell_as(w, 2, released(w->r.id)), 0);
    assert_owner(w, 2, 1);
    assert_int_equal(expire(w, old), 0);
    assert_owner(w, 1, 0);
    world_free(w);
}

/* Without a move an address stays with its node over a restart, is nobody's while the node has no session,
 * and comes back with its next one. */
static void test_comes_home(void **state)
{
    (void)state;
    struct world *w = world_with_address();
    uint64_t old = w->session[1];
    open_session(w, 1);
    assert_int_equal(expire(w, old), 0);
    assert_owner(w, 1, 0);
    assert_int_equal(expire(w, w->session[1]), 0);
    assert_owner(w, 0, 1);
    open_session(w, 1);
    assert_owner(w, 1, 0);
    /* While it is away it can be given to another at once. */
    assert_int_equal(expire(w, w->session[1]), 0);
    assert_int_equal(tell(w, move(2)), 0);
    assert_owner(w, 2, 0);
    open_session(w, 1);
    assert_owner(w, 2, 0);
    world_free(w);
}

/* The next owner gets it with a session only. */
static void test_waits_for_the_next(void **state)
{
    (void)state;
    struct world *w = world_with_address();
    assert_int_equal(expire(w, w->session[2]), 0);
    assert_int_equal(tell(w, move(2)), 0);
    assert_int_equal(tell_as(w, 1, released(w->r.id)), 0);
    assert_owner(w, 0, 2);
    open_session(w, 2);
    assert_owner(w, 2, 0);
    /* A new address likewise. */
    assert_int_equal(tell(w, removal()), 0);
    assert_int_equal(expire(w, w->session[2]), 0);
    assert_int_equal(tell(w, set(IP, 2)), 0);
    assert_owner(w, 0, 2);
    open_session(w, 2);
    assert_owner(w, 2, 0);
    world_free(w);
}

static void test_change_of_mind(void **state)
{
    (void)state;
    struct world *w = world_with_address();
    uint64_t old = w->session[1];
    open_session(w, 1);
    /* To 2, then to 3: what was released stays so, and the move keeps its id. */
    assert_int_equal(tell(w, move(2)), 0);
    uint64_t id = w->r.id;
    assert_int_equal(tell_as(w, 1, released(id)), 0);
    assert_int_equal(tell(w, move(3)), 0);
    assert_int_equal(w->r.id, id);
    assert_owner(w, 1, 3);
    /* Back to 1: nothing is asked for any more, and the old release counts for no later move. */
    assert_int_equal(tell(w, move(1)), 0);
    assert_owner(w, 1, 0);
    assert_int_equal(expire(w, old), 0);
    assert_owner(w, 1, 0);
    assert_int_equal(tell(w, move(2)), 0);
    assert_owner(w, 1, 2);
    assert_true(get(w).move != id);
    assert_int_equal(tell_as(w, 1, released(id)), ERR_NOT_FOUND);
    assert_owner(w, 1, 2);
    assert_int_equal(tell_as(w, 1, released(get(w).move)), 0);
    assert_owner(w, 2, 0);
    world_free(w);
}

static void test_move_refused(void **state)
{
    (void)state;
    struct world *w = world_with_address();
    uint64_t seen = get(w).version;
    assert_int_equal(tell(w, move(9)), ERR_NOT_FOUND);
    assert_int_equal(member_state(w, 2, COMMAND_MEMBER_DRAINING), 0);
    assert_int_equal(tell(w, move(2)), ERR_DENIED);
    assert_words(w, "drained");
    assert_int_equal(tell(w, move(3)), 0);
    struct command c = move(1);
    c.ip_move.by.version = seen;
    assert_int_equal(tell(w, c), ERR_BUSY);
    assert_owner(w, 1, 3);
    world_free(w);
}

/* Removing an address and making it anew for another node must not be a way around. */
static void test_removed_only_when_released(void **state)
{
    (void)state;
    struct world *w = world_with_address();
    assert_int_equal(tell(w, removal()), 0);
    assert_owner(w, 1, DIRECTORY_NOBODY);
    uint64_t id = get(w).move;
    assert_int_equal(tell(w, set(IP, 2)), ERR_BUSY);
    assert_words(w, "not released it yet");
    assert_int_equal(tell(w, move(2)), ERR_BUSY);
    assert_int_equal(tell(w, removal()), 0); /* a repeat */
    assert_owner(w, 1, DIRECTORY_NOBODY);
    assert_int_equal(tell_as(w, 1, released(id)), 0);
    struct directory_ip ip;
    assert_int_equal(directory_ip_each(w->m, first, &ip), 0);
    assert_int_equal(tell(w, set(IP, 2)), 0);
    assert_owner(w, 2, 0);
    assert_int_equal(tell(w, removal()), 0);
    assert_int_equal(expire(w, w->session[2]), 0);
    assert_int_equal(directory_ip_each(w->m, first, &ip), 0);
    assert_int_equal(tell(w, removal()), ERR_NOT_FOUND);
    world_free(w);
}

/* A removed node's addresses are its own until its session has ended. */
static void test_member_removed(void **state)
{
    (void)state;
    struct world *w = world_with_address();
    assert_int_equal(tell(w, move(2)), 0);
    assert_int_equal(tell_as(w, 1, released(w->r.id)), 0);
    assert_int_equal(member_state(w, 2, COMMAND_MEMBER_REMOVED), 0);
    assert_owner(w, 2, 0);
    assert_int_equal(tell(w, move(3)), 0);
    assert_owner(w, 2, 3);
    assert_int_equal(expire(w, w->session[2]), 0);
    assert_owner(w, 3, 0);

    /* Without a move it is nobody's afterwards. */
    assert_int_equal(member_state(w, 3, COMMAND_MEMBER_REMOVED), 0);
    assert_owner(w, 3, 0);
    assert_int_equal(expire(w, w->session[3]), 0);
    assert_owner(w, 0, 0);
    assert_int_equal(tell(w, move(1)), 0);
    assert_owner(w, 1, 0);
    world_free(w);
}

/* The next owner is removed before it got the address. */
static void test_next_removed(void **state)
{
    (void)state;
    struct world *w = world_with_address();
    assert_int_equal(tell(w, move(2)), 0);
    uint64_t id = w->r.id;
    assert_int_equal(member_state(w, 2, COMMAND_MEMBER_REMOVED), 0);
    assert_owner(w, 1, 0);
    assert_int_equal(tell_as(w, 1, released(id)), ERR_NOT_FOUND);
    assert_owner(w, 1, 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_moved_when_released),
        cmocka_unit_test(test_moved_when_expired),
        cmocka_unit_test(test_superseded_session_is_waited_for),
        cmocka_unit_test(test_later_session_does_not_count),
        cmocka_unit_test(test_both_sessions_are_waited_for),
        cmocka_unit_test(test_comes_home),
        cmocka_unit_test(test_waits_for_the_next),
        cmocka_unit_test(test_change_of_mind),
        cmocka_unit_test(test_move_refused),
        cmocka_unit_test(test_removed_only_when_released),
        cmocka_unit_test(test_member_removed),
        cmocka_unit_test(test_next_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
