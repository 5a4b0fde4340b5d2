/* Addresses that move when their node is lost: when, where to, and never while the old owner may send. */
#include "world.h"

#include <stdio.h>

#define AFTER_MS 30000

static struct command floating(uint8_t mode)
{
    struct command c = { .type = COMMAND_POOL_FLOATING,
                         .pool_floating = { .name = str("a"), .mode = mode, .nodes = str("") } };
    c.pool_floating.by.who = str("root@node-a");
    c.pool_floating.after_ms = mode == COMMAND_FLOATING_AUTOMATIC ? AFTER_MS : 0;
    return c;
}

static struct command move(const char *address, uint64_t node, bool dead)
{
    return (struct command){ .type = dead ? COMMAND_IP_MOVE_DEAD : COMMAND_IP_MOVE,
                             .ip_move = { .address = str(address), .node = node } };
}

static struct command to_float(const char *address, uint64_t lost, uint64_t node)
{
    return (struct command){ .type = COMMAND_IP_FLOAT,
                             .ip_float = { .address = str(address), .lost = lost, .node = node } };
}

static struct command hook(const char *address, uint64_t claim, uint8_t state, const char *words)
{
    return (struct command){
        .type = COMMAND_IP_HOOK,
        .ip_hook = { .address = str(address), .claim = claim, .state = state, .words = str(words) }
    };
}

static int renew(struct world *w, uint64_t node, uint64_t published)
{
    static uint64_t number;
    return tell_as(w, node,
                   (struct command){ .type = COMMAND_SESSION_RENEW,
                                     .session_renew = { .number = ++number, .published = published } });
}

static int add_address(struct world *w, const char *address, uint64_t node)
{
    return tell(
        w,
        (struct command){
            .type = COMMAND_IP_SET,
            .ip_set = {
                .address = str(address), .pool = str("a"), .ehlo = str(""), .node = node, .create = true } });
}

struct looking {
    struct span address;
    struct directory_ip found;
};

static int look(void *arg, const struct directory_ip *ip)
{
    struct looking *l = arg;
    if (!span_eq(ip->address, l->address))
        return 0;
    l->found = *ip;
    return 1;
}

static struct directory_ip get(const struct world *w, const char *address)
{
    struct looking l = { .address = str(address) };
    assert_int_equal(directory_ip_each(w->m, look, &l), 1);
    return l.found;
}

static struct world *world_at(uint32_t level)
{
    struct world *w = world_founded();
    for (uint64_t node = 2; node <= 4; node++) {
        char name[16];
        snprintf(name, sizeof name, "node-%c", (int)('a' + node - 1));
        assert_int_equal(join(w, name), node);
        open_session(w, node);
    }
    for (uint64_t node = 1; node <= 4; node++)
        assert_int_equal(tell_as(w, node,
                                 (struct command){
                                     .type = COMMAND_MEMBER_REPORT,
                                     .member_report = { .node = node, .version = str("1"), .features = 5 } }),
                         0);
    assert_int_equal(
        tell(w, (struct command){ .type = COMMAND_FEATURE_RAISE, .feature_raise = { .level = level } }), 0);
    assert_int_equal(tell(w, (struct command){ .type = COMMAND_POOL_SET,
                                               .pool_set = { .name = str("a"), .note = str("") } }),
                     0);
    return w;
}

/* Nodes 1 to 4 with sessions; pool "a" floats; so many addresses, 192.0.2.1 and on, are node 1's. */
static struct world *world_floating(uint8_t mode, unsigned n)
{
    struct world *w = world_at(4);
    assert_int_equal(tell(w, floating(mode)), 0);
    for (unsigned i = 1; i <= n; i++) {
        char address[32];
        snprintf(address, sizeof address, "192.0.2.%u", i);
        assert_int_equal(add_address(w, address, 1), 0);
    }
    return w;
}

/* What the leader would propose at this time is applied; how many commands did something. */
static unsigned due(struct world *w, uint64_t now_ms)
{
    unsigned done = 0;
    struct buf out;
    struct cursor c;
    uint32_t n = 0;
    buf_init(&out, 1 << 16);
    w->now_ms = now_ms;
    assert_int_equal(machine_due(w->m, now_ms, &out, &n), 0);
    cursor_init(&c, out.data, out.len);
    for (uint32_t i = 0; i < n; i++) {
        struct command cmd;
        assert_int_equal(command_decode(&c, &cmd), 0);
        assert_int_equal(cmd.type, COMMAND_IP_FLOAT);
        done += tell(w, cmd) == 0;
        assert_true(w->r.err == 0 || w->r.err == ERR_NOT_FOUND);
    }
    buf_fini(&out);
    return done;
}

static void test_level(void **state)
{
    (void)state;
    struct world *w = world_at(3);
    assert_int_equal(tell(w, floating(COMMAND_FLOATING_OPERATOR)), ERR_DENIED);
    assert_words(w, "feature level is 3");
    assert_int_equal(add_address(w, "192.0.2.1", 1), 0);
    assert_int_equal(tell(w, to_float("192.0.2.1", 0, 2)), ERR_DENIED);
    assert_int_equal(tell_as(w, 1, hook("192.0.2.1", 0, COMMAND_HOOK_DONE, "")), ERR_DENIED);
    assert_int_equal(tell(w, move("192.0.2.1", 2, true)), ERR_BAD);
    for (uint8_t type = COMMAND_POOL_FLOATING; type <= COMMAND_IP_HOOK; type++)
        assert_int_equal(command_type_level(type), 4);
    world_free(w);
}

static void test_refused(void **state)
{
    (void)state;
    struct world *w = world_at(4);
    struct command c = floating(COMMAND_FLOATING_AUTOMATIC);
    c.pool_floating.name = str("b");
    assert_int_equal(tell(w, c), ERR_NOT_FOUND);
    c = floating(COMMAND_FLOATING_AUTOMATIC);
    c.pool_floating.after_ms = 999;
    assert_int_equal(tell(w, c), ERR_BAD);
    c.pool_floating.after_ms = 8ull * 86400000;
    assert_int_equal(tell(w, c), ERR_BAD);
    c = floating(COMMAND_FLOATING_OPERATOR);
    c.pool_floating.per_node = 2;
    assert_int_equal(tell(w, c), ERR_BAD);
    world_free(w);
}

/* Not before its time; then evenly over those that live. */
static void test_moves_after_a_while(void **state)
{
    (void)state;
    struct world *w = world_floating(COMMAND_FLOATING_AUTOMATIC, 6);
    assert_int_equal(due(w, 100000), 0);
    assert_int_equal(expire(w, w->session[1]), 0);
    assert_int_equal(get(w, "192.0.2.3").node, 0);
    assert_int_equal(get(w, "192.0.2.3").lost_ms, 100000);
    assert_int_equal(due(w, 100000 + AFTER_MS - 1), 0);
    assert_int_equal(due(w, 100000 + AFTER_MS), 6);
    assert_true(changed(w, MACHINE_CHANGED_POOLS, "192.0.2.6"));
    unsigned has[5] = { 0 };
    for (unsigned i = 1; i <= 6; i++) {
        char address[32];
        snprintf(address, sizeof address, "192.0.2.%u", i);
        struct directory_ip ip = get(w, address);
        assert_int_equal(ip.next, 0);
        assert_int_equal(ip.home, 1);
        assert_int_equal(ip.lost_ms, 0);
        has[ip.node]++;
    }
    for (int node = 2; node <= 4; node++)
        assert_int_equal(has[node], 2);
    /* It stays there when its node comes back. */
    open_session(w, 1);
    assert_int_equal(due(w, 1000000), 0);
    assert_int_not_equal(get(w, "192.0.2.1").node, 1);
    world_free(w);
}

/* An owner that is back in time keeps it, and what was proposed meanwhile finds nothing. */
static void test_back_in_time(void **state)
{
    (void)state;
    struct world *w = world_floating(COMMAND_FLOATING_AUTOMATIC, 1);
    assert_int_equal(expire(w, w->session[1]), 0);
    uint64_t lost = w->index * COMMAND_ENTRY_MAX;
    w->now_ms += AFTER_MS;
    open_session(w, 1);
    assert_int_equal(get(w, "192.0.2.1").node, 1);
    assert_int_equal(tell(w, to_float("192.0.2.1", lost, 2)), ERR_NOT_FOUND);
    assert_int_equal(get(w, "192.0.2.1").node, 1);
    /* Lost again: it is another loss, with a time of its own. */
    assert_int_equal(expire(w, w->session[1]), 0);
    assert_int_equal(tell(w, to_float("192.0.2.1", lost, 2)), ERR_NOT_FOUND);
    assert_int_equal(due(w, w->now_ms + AFTER_MS - 1), 0);
    assert_int_equal(get(w, "192.0.2.1").node, 0);
    lost = w->index * COMMAND_ENTRY_MAX;
    assert_int_equal(tell_as(w, 2, to_float("192.0.2.1", lost, 2)), ERR_DENIED);
    open_session(w, 1);
    world_free(w);
}

/* (!) While a session of the owner may be in use it goes nowhere, whoever says so. */
static void test_never_while_a_session_lives(void **state)
{
    (void)state;
    struct world *w = world_floating(COMMAND_FLOATING_AUTOMATIC, 1);
    uint64_t first = w->session[1];
    open_session(w, 1);
    assert_int_equal(expire(w, w->session[1]), 0);
    assert_int_equal(get(w, "192.0.2.1").node, 1);
    assert_int_equal(due(w, 10000000), 0);
    for (uint64_t lost = 0, end = w->index; lost <= end; lost++)
        assert_int_equal(tell(w, to_float("192.0.2.1", lost * COMMAND_ENTRY_MAX, 2)), ERR_NOT_FOUND);
    assert_int_equal(tell(w, move("192.0.2.1", 2, true)), 0);
    assert_int_equal(get(w, "192.0.2.1").node, 1);
    assert_int_equal(expire(w, first), 0);
    assert_int_equal(get(w, "192.0.2.1").node, 2);
    world_free(w);
}

static void test_where_to(void **state)
{
    (void)state;
    struct world *w = world_floating(COMMAND_FLOATING_AUTOMATIC, 4);
    struct command c = floating(COMMAND_FLOATING_AUTOMATIC);
    c.pool_floating.per_node = 1;
    c.pool_floating.nodes = str("node-x,node-d");
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(member_state(w, 2, COMMAND_MEMBER_DRAINING), 0);
    assert_int_equal(expire(w, w->session[1]), 0);
    /* Node 4 is named; it has room for one, and so has node 3; node 2 is drained. */
    assert_int_equal(due(w, w->now_ms + AFTER_MS), 1); /* all were proposed for it */
    assert_int_equal(due(w, w->now_ms), 1);
    assert_int_equal(due(w, w->now_ms), 0);
    assert_int_equal(get(w, "192.0.2.1").node, 4);
    assert_int_equal(get(w, "192.0.2.2").node, 3);
    assert_int_equal(get(w, "192.0.2.3").node, 0);
    world_free(w);
}

static void test_goes_back(void **state)
{
    (void)state;
    struct world *w = world_floating(COMMAND_FLOATING_AUTOMATIC, 1);
    struct command c = floating(COMMAND_FLOATING_AUTOMATIC);
    c.pool_floating.back = true;
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(expire(w, w->session[1]), 0);
    assert_int_equal(due(w, w->now_ms + AFTER_MS), 1);
    assert_int_equal(get(w, "192.0.2.1").node, 2);
    open_session(w, 1);
    assert_int_equal(due(w, w->now_ms + AFTER_MS - 1), 0);
    assert_int_equal(due(w, w->now_ms + AFTER_MS), 1);
    struct directory_ip ip = get(w, "192.0.2.1");
    assert_int_equal(ip.node, 2); /* asked for, and not yet released */
    assert_int_equal(ip.next, 1);
    assert_int_equal(
        tell_as(w, 2,
                (struct command){ .type = COMMAND_IP_RELEASED,
                                  .ip_released = { .address = str("192.0.2.1"), .moved = ip.move } }),
        0);
    assert_int_equal(get(w, "192.0.2.1").node, 1);
    assert_int_equal(get(w, "192.0.2.1").home, 0);
    assert_int_equal(due(w, 10000000), 0);
    /* Where an operator puts it, it belongs. */
    assert_int_equal(expire(w, w->session[1]), 0);
    assert_int_equal(due(w, w->now_ms + AFTER_MS), 1);
    assert_int_equal(tell(w, move("192.0.2.1", 2, false)), 0);
    open_session(w, 1);
    assert_int_equal(due(w, w->now_ms + 2 * AFTER_MS), 0);
    world_free(w);
}

/* (!) A node that was lost before it knew that the address floats sends from it without a session: nobody
 * else gets it, unless an operator says that the machine is off. */
static void test_unsure(void **state)
{
    (void)state;
    struct world *w = world_at(4);
    assert_int_equal(add_address(w, "192.0.2.1", 1), 0);
    assert_int_equal(renew(w, 1, w->index), 0);
    assert_int_equal(tell(w, floating(COMMAND_FLOATING_AUTOMATIC)), 0);
    assert_true(changed(w, MACHINE_CHANGED_FROZEN, NULL)); /* so that no worker publishes before it obeys */
    uint64_t since = w->index;
    assert_int_equal(get(w, "192.0.2.1").unsure, 1);
    assert_int_equal(renew(w, 1, since - 1), 0);
    assert_int_equal(get(w, "192.0.2.1").unsure, 1);
    assert_int_equal(expire(w, w->session[1]), 0);
    assert_int_equal(due(w, w->now_ms + AFTER_MS), 0);
    assert_int_equal(tell(w, to_float("192.0.2.1", w->index * COMMAND_ENTRY_MAX, 2)), ERR_NOT_FOUND);
    assert_int_equal(tell(w, move("192.0.2.1", 2, false)), ERR_DENIED);
    assert_words(w, "--dead");
    assert_int_equal(get(w, "192.0.2.1").next, 1);
    assert_int_equal(tell(w, move("192.0.2.1", 2, true)), 0);
    assert_int_equal(get(w, "192.0.2.1").node, 2);
    world_free(w);
}

/* The same with a move that was asked for in its lifetime: it waits, and the owner may have it again. */
static void test_unsure_with_a_move(void **state)
{
    (void)state;
    struct world *w = world_at(4);
    assert_int_equal(add_address(w, "192.0.2.1", 1), 0);
    assert_int_equal(tell(w, floating(COMMAND_FLOATING_OPERATOR)), 0);
    assert_int_equal(tell(w, move("192.0.2.1", 2, false)), 0);
    assert_int_equal(expire(w, w->session[1]), 0);
    assert_int_equal(get(w, "192.0.2.1").node, 0);
    assert_int_equal(get(w, "192.0.2.1").next, 2);
    assert_int_equal(due(w, w->now_ms + AFTER_MS), 0);
    open_session(w, 1); /* a new process of it: that knows */
    assert_int_equal(get(w, "192.0.2.1").node, 2);
    world_free(w);
}

static void test_sure(void **state)
{
    (void)state;
    struct world *w = world_at(4);
    assert_int_equal(add_address(w, "192.0.2.1", 1), 0);
    assert_int_equal(tell(w, floating(COMMAND_FLOATING_AUTOMATIC)), 0);
    assert_int_equal(renew(w, 1, w->index), 0);
    assert_int_equal(get(w, "192.0.2.1").unsure, 0);
    assert_int_equal(expire(w, w->session[1]), 0);
    assert_int_equal(due(w, w->now_ms + AFTER_MS), 1);
    assert_int_equal(get(w, "192.0.2.1").node, 2);

    /* From a bound pool into this one; and a release says enough. */
    assert_int_equal(tell(w, (struct command){ .type = COMMAND_POOL_SET,
                                               .pool_set = { .name = str("b"), .note = str("") } }),
                     0);
    struct command c = { .type = COMMAND_IP_SET,
                         .ip_set = { .address = str("192.0.2.1"), .pool = str("b"), .ehlo = str("") } };
    assert_int_equal(tell(w, c), 0);
    assert_false(get(w, "192.0.2.1").floats);
    c.ip_set.pool = str("a");
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(get(w, "192.0.2.1").unsure, 2);
    assert_int_equal(tell(w, move("192.0.2.1", 3, false)), 0);
    assert_int_equal(tell_as(w, 2,
                             (struct command){ .type = COMMAND_IP_RELEASED,
                                               .ip_released = { .address = str("192.0.2.1"),
                                                                .moved = get(w, "192.0.2.1").move } }),
                     0);
    assert_int_equal(get(w, "192.0.2.1").unsure, 0);
    assert_int_equal(get(w, "192.0.2.1").node, 3);

    /* Bound while its owner is away, and then told to float: the owner comes first. */
    assert_int_equal(tell(w, floating(COMMAND_FLOATING_NEVER)), 0);
    assert_false(get(w, "192.0.2.1").floats);
    assert_int_equal(expire(w, w->session[3]), 0);
    assert_int_equal(tell(w, floating(COMMAND_FLOATING_AUTOMATIC)), 0);
    assert_int_equal(get(w, "192.0.2.1").unsure, 3);
    assert_int_equal(due(w, w->now_ms + AFTER_MS), 0);
    open_session(w, 3);
    assert_int_equal(get(w, "192.0.2.1").node, 3);
    world_free(w);
}

/* Its node has no session when it is made, and is removed: nobody has had it, and somebody gets it. Not before all
 * nodes agree on that. */
static void test_nobody_has_had_it(void **state)
{
    (void)state;
    for (uint32_t level = 4; level <= 5; level++) {
        struct world *w = world_at(level);
        assert_int_equal(tell(w, floating(COMMAND_FLOATING_AUTOMATIC)), 0);
        assert_int_equal(expire(w, w->session[4]), 0);
        w->now_ms = 50000;
        assert_int_equal(add_address(w, "192.0.2.1", 4), 0);
        assert_int_equal(add_address(w, "192.0.2.2", 2), 0);
        assert_int_equal(get(w, "192.0.2.1").node, 0);
        assert_int_equal(get(w, "192.0.2.2").lost_ms, 0);
        assert_int_equal(member_state(w, 4, COMMAND_MEMBER_REMOVED), 0);
        assert_int_equal(due(w, 50000 + AFTER_MS - 1), 0);
        assert_int_equal(due(w, 50000 + AFTER_MS), level == 5);
        assert_int_equal(get(w, "192.0.2.1").node != 0, level == 5);
        assert_int_equal(get(w, "192.0.2.2").node, 2);
        world_free(w);
    }
}

static void test_hook(void **state)
{
    (void)state;
    struct world *w = world_floating(COMMAND_FLOATING_OPERATOR, 1);
    uint64_t claim = get(w, "192.0.2.1").claim;
    assert_int_equal(tell_as(w, 1, hook("192.0.2.1", claim, COMMAND_HOOK_FAILED, "no such device")), 0);
    assert_true(changed(w, MACHINE_CHANGED_POOLS, "192.0.2.1"));
    assert_int_equal(get(w, "192.0.2.1").hook, COMMAND_HOOK_FAILED);
    assert_true(span_eq(get(w, "192.0.2.1").hook_words, str("no such device")));
    assert_int_equal(tell_as(w, 1, hook("192.0.2.1", claim + 1, COMMAND_HOOK_DONE, "")), ERR_NOT_FOUND);
    assert_int_equal(tell_as(w, 2, hook("192.0.2.1", claim, COMMAND_HOOK_DONE, "")), ERR_NOT_FOUND);
    assert_int_equal(tell_as(w, 1, hook("192.0.2.1", claim, COMMAND_HOOK_DONE, "a\nb")), ERR_BAD);
    assert_int_equal(expire(w, w->session[1]), 0);
    assert_int_equal(tell(w, move("192.0.2.1", 2, false)), 0);
    assert_int_equal(get(w, "192.0.2.1").hook, 0);
    assert_int_equal(get(w, "192.0.2.1").hook_words.n, 0);
    assert_int_equal(tell_as(w, 2, hook("192.0.2.1", claim, COMMAND_HOOK_DONE, "")), ERR_NOT_FOUND);
    assert_int_equal(tell_as(w, 2, hook("192.0.2.1", get(w, "192.0.2.1").claim, COMMAND_HOOK_DONE, "")), 0);
    world_free(w);
}

static void test_its_node_is_removed(void **state)
{
    (void)state;
    struct world *w = world_floating(COMMAND_FLOATING_AUTOMATIC, 0);
    assert_int_equal(add_address(w, "192.0.2.1", 3), 0);
    assert_int_equal(member_state(w, 3, COMMAND_MEMBER_REMOVED), 0);
    assert_int_equal(due(w, w->now_ms + AFTER_MS), 0);
    assert_int_equal(expire(w, w->session[3]), 0);
    assert_int_equal(due(w, w->now_ms + AFTER_MS), 1);
    assert_int_equal(get(w, "192.0.2.1").node, 1);
    assert_int_equal(get(w, "192.0.2.1").home, 0);
    assert_int_equal(
        tell(w, (struct command){ .type = COMMAND_IP_REMOVE, .name = { .name = str("192.0.2.1") } }), 0);
    assert_int_equal(expire(w, w->session[1]), 0);
    assert_int_equal(tell(w, (struct command){ .type = COMMAND_POOL_REMOVE, .name = { .name = str("a") } }),
                     0);
    assert_int_equal(due(w, w->now_ms + AFTER_MS), 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_level),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_moves_after_a_while),
        cmocka_unit_test(test_back_in_time),
        cmocka_unit_test(test_never_while_a_session_lives),
        cmocka_unit_test(test_where_to),
        cmocka_unit_test(test_goes_back),
        cmocka_unit_test(test_unsure),
        cmocka_unit_test(test_unsure_with_a_move),
        cmocka_unit_test(test_sure),
        cmocka_unit_test(test_nobody_has_had_it),
        cmocka_unit_test(test_hook),
        cmocka_unit_test(test_its_node_is_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
