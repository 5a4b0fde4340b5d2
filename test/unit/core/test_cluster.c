/* What the cluster thread decides by itself: whom it admits, what it proposes for others, and what it does
 * when the nodes' states differ.
 */
#include "test/unit/machine/fixture.h"

#include "node/core/cluster_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A member of a cluster of three, without its libraries. */
struct cluster_fix {
    struct fix f;
    struct cluster *c;
    uint64_t nodes[3];
};

static void member_set(struct cluster_fix *x, uint64_t node, uint8_t state, uint8_t role)
{
    struct command cmd = { .type = COMMAND_MEMBER_SET };
    cmd.member_set.by.who = SPAN_LIT("test");
    cmd.member_set.node = node;
    cmd.member_set.state = state;
    cmd.member_set.role = role;
    assert_int_equal(fix_apply(&x->f, &cmd)->err, 0);
}

static int setup(void **state)
{
    struct cluster_fix *x = calloc(1, sizeof *x);
    fix_init(&x->f);
    x->nodes[0] = 1;
    for (int i = 1; i < 3; i++) {
        x->nodes[i] = fix_join(&x->f);
        member_set(x, x->nodes[i], COMMAND_MEMBER_ACTIVE, 0);
        member_set(x, x->nodes[i], 0, COMMAND_ROLE_VOTER);
    }
    x->c = calloc(1, sizeof *x->c);
    x->c->m = x->f.m;
    x->c->state = CLUSTER_RUNNING;
    x->c->id.self.node = 1;
    x->c->id.self.epoch = 1;
    snprintf(x->c->dir, sizeof x->c->dir, "/tmp/test_cluster_XXXXXX");
    assert_non_null(mkdtemp(x->c->dir));
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct cluster_fix *x = *state;
    char path[600];
    snprintf(path, sizeof path, "%s/" CLUSTER_FENCED_FILE, x->c->dir);
    (void)unlink(path);
    assert_int_equal(rmdir(x->c->dir), 0);
    free(x->c);
    fix_fini(&x->f);
    free(x);
    return 0;
}

/* ---- digests ------------------------------------------------------------------------------------------- */

static void hear(struct cluster_fix *x, int i, uint64_t index, uint64_t digest)
{
    struct gossip_state s = { .node = x->nodes[i], .digest_index = index, .digest = digest };
    cluster_on_state(x->c, &s);
}

static uint64_t own_digest(struct cluster_fix *x, uint64_t index)
{
    cluster_digest_applied(x->c, index);
    return machine_digest(x->f.m);
}

static void test_equal_states_are_well(void **state)
{
    struct cluster_fix *x = *state;
    uint64_t own = own_digest(x, CLUSTER_DIGEST_EVERY);
    hear(x, 1, CLUSTER_DIGEST_EVERY, own);
    hear(x, 2, CLUSTER_DIGEST_EVERY, own);
    assert_false(x->c->digest_mismatch);
    assert_false(x->c->fenced);
}

static void test_other_indexes_do_not_count(void **state)
{
    struct cluster_fix *x = *state;
    uint64_t own = own_digest(x, CLUSTER_DIGEST_EVERY);
    (void)own_digest(x, CLUSTER_DIGEST_EVERY + 1); /* no digest is taken there */
    hear(x, 1, CLUSTER_DIGEST_EVERY + 1, own + 1);
    hear(x, 2, 2 * CLUSTER_DIGEST_EVERY, own + 1);
    assert_false(x->c->digest_mismatch);
}

static void test_the_odd_one_out_fences_itself(void **state)
{
    struct cluster_fix *x = *state;
    uint64_t own = own_digest(x, CLUSTER_DIGEST_EVERY);
    hear(x, 1, CLUSTER_DIGEST_EVERY, own + 1);
    assert_true(x->c->digest_mismatch);
    assert_false(x->c->fenced); /* the third has not spoken */
    hear(x, 2, CLUSTER_DIGEST_EVERY, own + 1);
    assert_true(x->c->fenced);
    assert_non_null(strstr(cluster_refusal(x->c), "fenced"));
}

static void test_the_majority_goes_on(void **state)
{
    struct cluster_fix *x = *state;
    uint64_t own = own_digest(x, CLUSTER_DIGEST_EVERY);
    hear(x, 1, CLUSTER_DIGEST_EVERY, own + 1);
    hear(x, 2, CLUSTER_DIGEST_EVERY, own);
    assert_true(x->c->digest_mismatch);
    assert_false(x->c->fenced);
}

static void test_no_majority_fences_all(void **state)
{
    struct cluster_fix *x = *state;
    uint64_t own = own_digest(x, CLUSTER_DIGEST_EVERY);
    hear(x, 1, CLUSTER_DIGEST_EVERY, own + 1);
    hear(x, 2, CLUSTER_DIGEST_EVERY, own + 2);
    assert_true(x->c->fenced);
}

static void test_a_digest_that_came_first_counts(void **state)
{
    struct cluster_fix *x = *state;
    hear(x, 1, CLUSTER_DIGEST_EVERY, 1);
    hear(x, 2, CLUSTER_DIGEST_EVERY, 1);
    assert_false(x->c->digest_mismatch);
    (void)own_digest(x, CLUSTER_DIGEST_EVERY);
    assert_true(x->c->fenced);
}

static void test_standbys_have_no_vote(void **state)
{
    struct cluster_fix *x = *state;
    member_set(x, x->nodes[1], 0, COMMAND_ROLE_STANDBY);
    member_set(x, x->nodes[2], 0, COMMAND_ROLE_STANDBY);
    uint64_t own = own_digest(x, CLUSTER_DIGEST_EVERY);
    hear(x, 1, CLUSTER_DIGEST_EVERY, own + 1);
    hear(x, 2, CLUSTER_DIGEST_EVERY, own + 1);
    assert_false(x->c->fenced);
}

static bool fenced_at_start(struct cluster_fix *x)
{
    x->c->fenced = false;
    cluster_fence_load(x->c);
    return x->c->fenced;
}

static void test_a_fenced_node_stays_fenced_over_a_restart(void **state)
{
    struct cluster_fix *x = *state;
    char path[600], line[300];
    snprintf(path, sizeof path, "%s/" CLUSTER_FENCED_FILE, x->c->dir);
    assert_false(fenced_at_start(x));
    uint64_t own = own_digest(x, CLUSTER_DIGEST_EVERY);
    hear(x, 1, CLUSTER_DIGEST_EVERY, own + 1);
    assert_false(fenced_at_start(x)); /* it was not, yet */
    hear(x, 2, CLUSTER_DIGEST_EVERY, own + 1);
    assert_true(fenced_at_start(x));
    cluster_refresh(x->c);
    assert_non_null(strstr(cluster_refusal(x->c), "fenced"));
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    fclose(f);
    assert_non_null(strstr(line, "log index 1024: most voters agree"));
    /* a file that can't be read says enough */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/nonexistent", path), 0);
    assert_true(fenced_at_start(x));
    assert_int_equal(unlink(path), 0);
    assert_false(fenced_at_start(x));
}

/* ---- who is admitted ----------------------------------------------------------------------------------- */

static bool admits(struct cluster_fix *x, uint64_t node, uint8_t fill)
{
    struct peer peer = { .epoch = 1, .node = node };
    uint8_t sha256[32];
    memset(sha256, fill, sizeof sha256);
    return cluster_admit(x->c, &peer, sha256);
}

static void test_admits_members_and_who_came_later(void **state)
{
    struct cluster_fix *x = *state;
    struct command cmd = { .type = COMMAND_CERT_ISSUED };
    cmd.cert_issued.node = x->nodes[1];
    memset(cmd.cert_issued.sha256, 7, sizeof cmd.cert_issued.sha256);
    assert_int_equal(fix_apply(&x->f, &cmd)->err, 0);
    assert_true(admits(x, x->nodes[1], 7));
    assert_false(admits(x, 1, 7)); /* itself */
    /* it hears no leader: what it does not know may be newer than what it knows */
    assert_true(admits(x, x->nodes[1], 8));
    assert_true(admits(x, x->nodes[2] + 1, 8));
}

static void test_never_admits_a_removed_one(void **state)
{
    struct cluster_fix *x = *state;
    struct command cmd = { .type = COMMAND_CERT_ISSUED };
    cmd.cert_issued.node = x->nodes[1];
    memset(cmd.cert_issued.sha256, 7, sizeof cmd.cert_issued.sha256);
    assert_int_equal(fix_apply(&x->f, &cmd)->err, 0);
    member_set(x, x->nodes[1], COMMAND_MEMBER_REMOVED, 0);
    assert_false(admits(x, x->nodes[1], 7));
    assert_false(admits(x, x->nodes[1], 8));
    assert_true(admits(x, x->nodes[2], 8));
}

static void test_before_it_knows_anything_it_admits_whom_it_was_told_of(void **state)
{
    struct cluster_fix *x = *state;
    struct machine *empty = machine_new(&(struct machine_config){ 0 });
    x->c->m = empty;
    x->c->id.self.node = 5;
    x->c->id.nseeds = 2;
    x->c->id.seeds[0].id = 2;
    x->c->id.seeds[1].id = 4;
    assert_true(admits(x, 2, 1));
    assert_true(admits(x, 4, 1));
    assert_false(admits(x, 3, 1)); /* removed before we joined */
    assert_false(admits(x, 5, 1));
    assert_true(admits(x, 6, 1)); /* joined since */
    machine_free(empty);
}

/* ---- what is proposed for others ----------------------------------------------------------------------- */

/* Of a node that begins a new epoch, until its first command was applied: it does nothing with the old one's
 * state. */
static void test_a_state_of_the_epoch_before_is_none(void **state)
{
    struct cluster_fix *x = *state;
    assert_true(cluster_is_founded(x->c));
    x->c->id.self.epoch = 2;
    assert_false(cluster_is_founded(x->c));
    x->c->id.self.node = 9; /* no member of the old one could be a later one */
    assert_false(admits(x, x->nodes[1], 7));
    x->c->id.self.node = 1;
    struct command cmd = { .type = COMMAND_CLUSTER_INIT };
    cmd.cluster_init = (struct command_cluster_init){ .epoch = 2,
                                                      .ca_certificate = SPAN_LIT("certificate 2"),
                                                      .ca_key = SPAN_LIT("key 2"),
                                                      .name = SPAN_LIT("n1"),
                                                      .raft_address = SPAN_LIT("127.0.0.1:7001"),
                                                      .gossip_address = SPAN_LIT("127.0.0.1:8001"),
                                                      .version = SPAN_LIT("1"),
                                                      .features = 1 };
    assert_int_equal(fix_apply(&x->f, &cmd)->err, 0);
    assert_true(cluster_is_founded(x->c));
    assert_false(admits(x, x->nodes[1], 7)); /* it is out */
}

static void test_nobody_proposes_in_anothers_name(void **state)
{
    struct cluster_fix *x = *state;
    uint64_t session = fix_open(&x->f, x->nodes[1], 0, true, 1);
    struct command grant = { .type = COMMAND_GRANT, .origin = { .session = session, .seq = 1, .lowest = 1 } };
    assert_true(cluster_may_propose(x->f.m, x->nodes[1], &grant));
    assert_false(cluster_may_propose(x->f.m, x->nodes[2], &grant));
    grant.origin.session = session + 64; /* not known here: the machine refuses it, if it is gone */
    assert_true(cluster_may_propose(x->f.m, x->nodes[2], &grant));
    struct command open = { .type = COMMAND_SESSION_OPEN };
    open.session_open.node = x->nodes[1];
    assert_true(cluster_may_propose(x->f.m, x->nodes[1], &open));
    assert_false(cluster_may_propose(x->f.m, x->nodes[2], &open));
    /* what only a leader may say */
    struct command expire = { .type = COMMAND_SESSION_EXPIRE };
    expire.session_expire.session = session;
    assert_false(cluster_may_propose(x->f.m, x->nodes[1], &expire));
    struct command init = { .type = COMMAND_CLUSTER_INIT,
                            .origin = { .session = session, .seq = 2, .lowest = 1 } };
    assert_false(cluster_may_propose(x->f.m, x->nodes[1], &init));
}

/* Every operator's command has a place for who gave it. */
static void test_operators_commands_have_a_name(void **state)
{
    (void)state;
    static const uint8_t operators[] = {
        COMMAND_FREEZE,     COMMAND_THAW,          COMMAND_ACCOUNT_SET,   COMMAND_ACCOUNT_REMOVE,
        COMMAND_TENANT_SET, COMMAND_TENANT_REMOVE, COMMAND_OVERRIDE_SET,  COMMAND_POLICY_COMMIT,
        COMMAND_POOL_SET,   COMMAND_POOL_REMOVE,   COMMAND_POOL_ASSIGN,   COMMAND_IP_SET,
        COMMAND_IP_MOVE,    COMMAND_IP_REMOVE,     COMMAND_TOKEN_ADD,     COMMAND_TOKEN_REMOVE,
        COMMAND_MEMBER_SET, COMMAND_FEATURE_RAISE, COMMAND_LIMITS_REOPEN, COMMAND_TENANT_CONTACT,
        COMMAND_TENANT_TOKEN_ADD, COMMAND_TENANT_TOKEN_REMOVE, COMMAND_ERASE_ADD,
        COMMAND_HELD_EXEMPT,
        COMMAND_OPERATOR_SET, COMMAND_OPERATOR_REMOVE, COMMAND_LOGIN_SET, COMMAND_LOGIN_END,
    };
    for (size_t i = 0; i < sizeof operators; i++) {
        struct command cmd = { .type = operators[i] };
        struct command_by *by = cluster_command_by(&cmd);
        assert_non_null(by);
        by->wall_ms = 77;
        struct command_by found;
        memcpy(&found, &cmd.freeze.by, sizeof found); /* it is the first member of each */
        assert_int_equal(found.wall_ms, 77);
    }
    struct command grant = { .type = COMMAND_GRANT };
    assert_null(cluster_command_by(&grant));
}

/* ---- voters -------------------------------------------------------------------------------------------- */

static void test_a_new_voter_is_right_behind(void **state)
{
    (void)state;
    struct replica_server s = { .match = 936, .contact_ms = 299 };
    assert_true(cluster_may_vote_now(&s, 1000, 0));
    assert_false(cluster_may_vote_now(&s, 1001, 0));
    assert_false(cluster_may_vote_now(&s, 1001, 9999));
    assert_true(cluster_may_vote_now(&s, 1001, 10000)); /* the load is such that nobody ever is */
    s.contact_ms = 300;
    assert_false(cluster_may_vote_now(&s, 1000, 0));
    s.contact_ms = -1;
    assert_false(cluster_may_vote_now(&s, 1000, 0));
}

/* ---- room ---------------------------------------------------------------------------------------------- */

static void refuse_for_room(struct fix *f, uint64_t session)
{
    assert_int_equal(fix_grant(f, session, "dora", "", 1, 1)->why, MACHINE_REFUSED_NO_ROOM);
}

/* Once a minute at most, and by the leader alone. */
static void test_the_leader_says_that_there_are_too_many_senders(void **state)
{
    struct cluster_fix *x = *state;
    struct fix f;
    fix_init_with(&f, &(struct machine_config){ .max_counters = 3 });
    x->c->m = f.m;
    uint64_t s = fix_open(&f, 1, 0, true, 1);
    for (const char *who = "abc"; *who != '\0'; who++)
        assert_int_equal(fix_take(&f, s, (char[]){ *who, '\0' }, 1), 1);
    x->c->ready = true;
    assert_false(cluster_room_tick(x->c, 1000));
    refuse_for_room(&f, s);
    assert_true(cluster_room_tick(x->c, 2000));
    refuse_for_room(&f, s);
    assert_false(cluster_room_tick(x->c, 3000));
    assert_true(cluster_room_tick(x->c, 62000)); /* the one that was not told of */
    assert_false(cluster_room_tick(x->c, 200000));
    x->c->ready = false;
    refuse_for_room(&f, s);
    assert_false(cluster_room_tick(x->c, 300000));
    x->c->ready = true; /* what its predecessor refused, that one has told */
    assert_false(cluster_room_tick(x->c, 400000));
    x->c->m = x->f.m;
    fix_fini(&f);
}

int main(void)
{
#define EACH(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        EACH(test_equal_states_are_well),
        EACH(test_other_indexes_do_not_count),
        EACH(test_the_odd_one_out_fences_itself),
        EACH(test_the_majority_goes_on),
        EACH(test_no_majority_fences_all),
        EACH(test_a_digest_that_came_first_counts),
        EACH(test_standbys_have_no_vote),
        EACH(test_a_fenced_node_stays_fenced_over_a_restart),
        EACH(test_admits_members_and_who_came_later),
        EACH(test_never_admits_a_removed_one),
        EACH(test_before_it_knows_anything_it_admits_whom_it_was_told_of),
        EACH(test_a_state_of_the_epoch_before_is_none),
        EACH(test_nobody_proposes_in_anothers_name),
        EACH(test_operators_commands_have_a_name),
        EACH(test_a_new_voter_is_right_behind),
        EACH(test_the_leader_says_that_there_are_too_many_senders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
