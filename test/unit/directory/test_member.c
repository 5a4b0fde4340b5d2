/* The cluster, its members, certificates and feature levels. */
#include "world.h"

#include <stdio.h>

static struct directory_member get(const struct world *w, uint64_t id)
{
    struct directory_member mb;
    assert_true(directory_member_find(w->m, id, &mb));
    return mb;
}

static struct command role(uint64_t node, uint8_t to)
{
    return (struct command){ .type = COMMAND_MEMBER_SET, .member_set = { .node = node, .role = to } };
}

static void test_founded_once(void **state)
{
    (void)state;
    struct world *w = world_new(&(struct machine_config){ 0 });
    assert_false(machine_founded(w->m));
    assert_int_equal(machine_features(w->m), 1);
    assert_int_equal(token(w, "t", 1000, ""), ERR_NOT_FOUND);
    assert_int_equal(found(w, "node a", 1), ERR_BAD);
    assert_int_equal(found(w, "node-a", 0), ERR_BAD);
    assert_false(machine_founded(w->m));
    assert_int_equal(found(w, "node-a", 1), 0);
    assert_true(machine_founded(w->m));
    struct directory_member mb = get(w, 1);
    assert_int_equal(mb.slot, 1);
    assert_int_equal(mb.state, COMMAND_MEMBER_ACTIVE);
    assert_int_equal(mb.role, COMMAND_ROLE_VOTER);
    assert_memory_equal(mb.certificates[0], "0123456789abcdef0123456789abcdef", 32);
    assert_int_equal(found(w, "node-a", 1), 0); /* a repeat */
    assert_int_equal(w->r.id, 1);
    struct command other = { .type = COMMAND_CLUSTER_INIT,
                             .cluster_init = { .cluster = { 9 },
                                               .epoch = 1,
                                               .name = str("node-a"),
                                               .raft_address = str("a:1"),
                                               .gossip_address = str("a:2"),
                                               .features = 1 } };
    assert_int_equal(tell(w, other), ERR_EXISTS);
    assert_words(w, "another cluster");
    memcpy(other.cluster_init.cluster, "the cluster's i", 16);
    assert_int_equal(tell(w, other), ERR_EXISTS); /* another authority in the same epoch */
    struct directory_cluster k;
    assert_true(directory_cluster(w->m, &k));
    assert_int_equal(k.epoch, 1);
    assert_true(span_eq(k.ca_key, str("key")));
    world_free(w);
}

/* After the majority was lost: one member goes on, the others are out, and no old token works. */
static void test_new_epoch(void **state)
{
    (void)state;
    struct world *w = world_founded();
    uint64_t b = join(w, "node-b"), c = join(w, "node-c");
    open_session(w, b);
    assert_int_equal(token(w, "t", 3600000, ""), 0);
    assert_int_equal(found(w, "node-x", 2), ERR_NOT_FOUND);
    assert_int_equal(found(w, "node-b", 2), 0);
    assert_int_equal(w->r.id, b);
    assert_int_equal(get(w, 1).state, COMMAND_MEMBER_REMOVED);
    assert_int_equal(get(w, c).state, COMMAND_MEMBER_REMOVED);
    assert_int_equal(get(w, b).role, COMMAND_ROLE_VOTER);
    assert_int_equal(get(w, 1).session, 0);
    struct machine_session s;
    assert_true(machine_session_find(w->m, w->session[1], &s)); /* still waited for */
    assert_false(s.current);
    assert_int_equal(join_with(w, "t", 1, "node-d", "d", 1), ERR_DENIED);
    assert_int_equal(found(w, "node-b", 1), ERR_EXISTS); /* back to the old one */
    assert_int_equal(join(w, "node-d"), 4);              /* ids go on */
    world_free(w);
}

static void test_states(void **state)
{
    (void)state;
    enum {
        J = COMMAND_MEMBER_JOINING,
        A = COMMAND_MEMBER_ACTIVE,
        D = COMMAND_MEMBER_DRAINING,
        R = COMMAND_MEMBER_REMOVED
    };
    static const uint8_t paths[][4] = { { J },       { J, A }, { J, A, D },   { J, A, D, A },
                                        { J, A, R }, { J, R }, { J, A, D, R } };
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        for (uint8_t to = J; to <= R; to++) {
            struct world *w = world_founded();
            assert_int_equal(token(w, "t", 1000, ""), 0);
            assert_int_equal(join_with(w, "t", 1, "node-b", "b", 1), 0);
            uint8_t now = J;
            for (size_t k = 1; k < 4 && paths[i][k] != 0; k++) {
                now = paths[i][k];
                assert_int_equal(member_state(w, 2, now), 0);
            }
            bool legal = now != R && (to == now || to == R || (to == A && now != R) || (to == D && now == A));
            assert_int_equal(member_state(w, 2, to), legal ? 0 : ERR_DENIED);
            assert_int_equal(get(w, 2).state, legal ? to : now);
            world_free(w);
        }
}

static void test_removed_is_final(void **state)
{
    (void)state;
    struct world *w = world_founded();
    uint64_t b = join(w, "node-b");
    uint64_t session = open_session(w, b);
    struct command cert = { .type = COMMAND_CERT_ISSUED, .cert_issued = { .node = b, .sha256 = { 1 } } };
    assert_int_equal(tell(w, cert), 0);
    assert_int_equal(member_state(w, b, COMMAND_MEMBER_REMOVED), 0);
    assert_true(changed(w, MACHINE_CHANGED_MEMBERS, "node-b"));
    struct directory_member mb = get(w, b);
    static const uint8_t none[32];
    assert_memory_equal(mb.certificates[0], none, 32); /* it is not admitted any more */
    assert_int_equal(mb.session, 0);
    assert_int_equal(mb.slot, 0);
    struct machine_session s;
    assert_true(machine_session_find(w->m, session, &s)); /* and waited for */
    assert_false(s.current);
    assert_int_equal(tell(w, cert), ERR_DENIED);
    assert_int_equal(tell(w, role(b, COMMAND_ROLE_VOTER)), ERR_DENIED);
    assert_int_equal(
        tell(w, (struct command){ .type = COMMAND_MEMBER_REPORT,
                                  .member_report = { .node = b, .version = str("1"), .features = 1 } }),
        ERR_DENIED);
    assert_false(directory_member_named(w->m, str("node-b"), &mb));
    /* Its name and addresses are free, its id and (as long as there are others) its slot are not used again.
     */
    assert_int_equal(join(w, "node-b"), b + 1);
    assert_int_equal(get(w, b + 1).slot, 3);
    world_free(w);
}

static void test_slots(void **state)
{
    (void)state;
    struct world *w = world_founded();
    bool seen[256] = { [1] = true };
    for (unsigned i = 2; i <= 255; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%u", i);
        uint8_t slot = get(w, join(w, name)).slot;
        assert_true(slot != 0 && !seen[slot]);
        seen[slot] = true;
        /* Tokens are kept for a while, and bounded. */
        w->now_ms += 3600000;
        if (i % 100 == 0)
            w->now_ms += 200000000;
        struct buf b;
        buf_init(&b, SIZE_MAX);
        uint32_t n = 0;
        assert_int_equal(machine_due(w->m, w->now_ms, &b, &n), 0);
        struct cursor c;
        cursor_init(&c, b.data, b.len);
        for (uint32_t k = 0; k < n; k++) {
            struct command cmd;
            assert_int_equal(command_decode(&c, &cmd), 0);
            assert_int_equal(tell(w, cmd), 0);
        }
        buf_fini(&b);
    }
    assert_int_equal(token(w, "more", 1000, ""), 0);
    assert_int_equal(join_with(w, "more", 1, "n256", "n256", 1), ERR_LIMIT);
    assert_int_equal(member_state(w, 100, COMMAND_MEMBER_REMOVED), 0);
    assert_int_equal(join_with(w, "more", 1, "n256", "n256", 1), 0);
    assert_int_equal(w->r.id, 256);
    assert_int_equal(get(w, 256).slot, 100);
    world_free(w);
}

static void test_roles(void **state)
{
    (void)state;
    struct world *w = world_founded();
    assert_int_equal(member_state(w, 1, COMMAND_MEMBER_REMOVED), ERR_DENIED);
    assert_words(w, "only one");
    assert_int_equal(tell(w, role(1, COMMAND_ROLE_STANDBY)), ERR_DENIED);
    assert_words(w, "only voter");
    assert_int_equal(token(w, "t", 1000, ""), 0);
    assert_int_equal(join_with(w, "t", 1, "node-b", "b", 1), 0);
    assert_int_equal(get(w, 2).role, COMMAND_ROLE_STANDBY);
    assert_int_equal(tell(w, role(2, COMMAND_ROLE_VOTER)), ERR_DENIED); /* still joining */
    assert_int_equal(member_state(w, 1, COMMAND_MEMBER_REMOVED), ERR_DENIED);
    assert_words(w, "only voter");
    assert_int_equal(member_state(w, 2, COMMAND_MEMBER_ACTIVE), 0);
    assert_int_equal(tell(w, role(2, COMMAND_ROLE_VOTER)), 0);
    assert_int_equal(tell(w, role(1, COMMAND_ROLE_STANDBY)), 0);
    assert_int_equal(member_state(w, 1, COMMAND_MEMBER_REMOVED), 0);
    assert_int_equal(tell(w, role(9, COMMAND_ROLE_VOTER)), ERR_NOT_FOUND);
    world_free(w);
}

static void test_addresses(void **state)
{
    (void)state;
    struct world *w = world_founded();
    uint64_t b = join(w, "node-b");
    uint64_t seen = get(w, b).changed;
    struct command c = { .type = COMMAND_MEMBER_SET,
                         .member_set = {
                             .node = b, .raft_address = str("192.0.2.1:7302"), .by = { .version = seen } } };
    assert_int_equal(tell(w, c), ERR_EXISTS); /* node-a's gossip */
    assert_words(w, "node-a's already");
    c.member_set.raft_address = str("192.0.2.2:7301");
    c.member_set.gossip_address = str("192.0.2.2:7301");
    assert_int_equal(tell(w, c), ERR_BAD);
    c.member_set.gossip_address = str("");
    assert_int_equal(tell(w, c), 0);
    assert_true(span_eq(get(w, b).raft_address, str("192.0.2.2:7301")));
    assert_true(span_eq(get(w, b).gossip_address, str("node-b:7302")));
    assert_int_equal(tell(w, c), ERR_BUSY); /* it is another version now */
    assert_words(w, "active");
    world_free(w);
}

static void test_two_certificates(void **state)
{
    (void)state;
    struct world *w = world_founded();
    for (uint8_t i = 1; i <= 3; i++) {
        struct command c = { .type = COMMAND_CERT_ISSUED,
                             .cert_issued = { .node = 1, .sha256 = { i }, .not_after_ms = i * 1000 } };
        assert_int_equal(tell(w, c), 0);
        assert_int_equal(tell(w, c), 0); /* a repeat does not push the one before out */
    }
    struct directory_member mb = get(w, 1);
    assert_int_equal(mb.certificates[0][0], 3);
    assert_int_equal(mb.certificates[1][0], 2);
    assert_int_equal(mb.not_after_ms[0], 3000);
    assert_int_equal(mb.not_after_ms[1], 2000);
    assert_int_equal(tell(w, (struct command){ .type = COMMAND_CERT_ISSUED, .cert_issued = { .node = 9 } }),
                     ERR_NOT_FOUND);
    world_free(w);
}

static struct command report(uint64_t node, uint32_t features)
{
    return (
        struct command){ .type = COMMAND_MEMBER_REPORT,
                         .member_report = { .node = node, .version = str("0.4.0"), .features = features } };
}

static struct command raise_to(uint32_t level)
{
    return (struct command){ .type = COMMAND_FEATURE_RAISE, .feature_raise = { .level = level } };
}

/* A level comes into force only when every present member can do it. */
static void test_features(void **state)
{
    (void)state;
    struct world *w = world_founded();
    uint64_t b = join(w, "node-b"), c = join(w, "node-c");
    assert_int_equal(tell(w, raise_to(2)), ERR_DENIED);
    assert_int_equal(tell_as(w, 1, report(1, 3)), 0);
    assert_int_equal(tell_as(w, 1, report(b, 3)), ERR_DENIED); /* only of itself */
    open_session(w, b);
    assert_int_equal(tell_as(w, b, report(b, 4)), 0);
    assert_true(span_eq(get(w, b).version, str("0.4.0")));
    assert_int_equal(tell(w, raise_to(2)), ERR_DENIED);
    assert_words(w, "node-c (3, version 0.3.0) can do level 1 only");
    assert_int_equal(machine_features(w->m), 1);
    /* A joining one counts too, a removed one does not. */
    assert_int_equal(token(w, "t", 1000000, ""), 0);
    assert_int_equal(join_with(w, "t", 1, "node-d", "d", 1), 0);
    uint64_t d = w->r.id;
    assert_int_equal(member_state(w, c, COMMAND_MEMBER_REMOVED), 0);
    assert_int_equal(tell(w, raise_to(2)), ERR_DENIED);
    assert_words(w, "node-d");
    assert_int_equal(member_state(w, d, COMMAND_MEMBER_REMOVED), 0);
    assert_int_equal(tell(w, raise_to(4)), ERR_DENIED); /* over the lowest */
    assert_int_equal(tell(w, raise_to(3)), 0);
    assert_true(changed(w, MACHINE_CHANGED_FEATURES, ""));
    assert_int_equal(machine_features(w->m), 3);
    assert_int_equal(tell(w, raise_to(3)), 0);
    assert_int_equal(tell(w, raise_to(2)), ERR_DENIED);
    assert_words(w, "never lowered");
    /* Nobody older can join from now on. */
    assert_int_equal(token(w, "u", 1000000, ""), 0);
    assert_int_equal(join_with(w, "u", 1, "node-e", "e", 2), ERR_DENIED);
    assert_words(w, "install a newer one");
    assert_int_equal(join_with(w, "u", 1, "node-e", "e", 3), 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_founded_once), cmocka_unit_test(test_new_epoch),
        cmocka_unit_test(test_states),       cmocka_unit_test(test_removed_is_final),
        cmocka_unit_test(test_slots),        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_addresses),    cmocka_unit_test(test_two_certificates),
        cmocka_unit_test(test_features),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
