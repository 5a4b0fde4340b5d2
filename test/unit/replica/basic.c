/* consensus/replica: electing, proposing, batching, the cluster's time, starting again, a directory's first
 * state. */
#include "cluster.h"

#include "base/clock.h"
#include "base/err.h"

static void test_one_order(void **state)
{
    (void)state;
    struct cluster c;
    cluster_start(&c, 3);
    struct node *leader = cluster_leader(&c);
    for (unsigned i = 0; i < 500; i++) {
        assert_int_equal(cluster_propose(&c, leader, 1 + i % 3, 0), 0);
        if (i % 50 == 49)
            cluster_run(&c, 5);
    }
    cluster_wait_same(&c, 999);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(c.nodes[i].ascending);
        assert_int_equal(c.nodes[i].results, 999);
    }
    assert_int_equal(cluster_propose(&c, cluster_follower(&c), 1, 0), ERR_CLOSED);
    cluster_fini(&c);
}

/* A heartbeat with a higher commit index than a follower knows, about entries that it has had for long: what
 * is committed stays so. */
static void test_commit_does_not_go_back(void **state)
{
    (void)state;
    struct cluster c;
    cluster_start(&c, 3);
    struct node *leader = cluster_leader(&c), *follower = cluster_follower(&c);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(cluster_propose(&c, leader, 1, 0), 0);
        cluster_run(&c, 5);
    }
    cluster_wait_same(&c, 10);
    struct raft *raft = &follower->replica->raft;
    raft_index before = raft_commit_index(raft);
    assert_int_equal(raft_last_applied(raft), before);
    raft_term term = raft_current_term(raft);
    struct raft_message late = { .type = RAFT_APPEND_ENTRIES,
                                 .server_id = leader->id,
                                 .server_address = leader->address,
                                 .append_entries = { .version = 1,
                                                     .term = term,
                                                     .prev_log_index = before - 4,
                                                     .prev_log_term = term,
                                                     .leader_commit = before + 5 } };
    replica_receive(follower->replica, &late);
    assert_int_equal(raft_commit_index(raft), before);
    assert_int_equal(cluster_propose(&c, leader, 1, 0), 0);
    cluster_wait_same(&c, 11);
    cluster_fini(&c);
}

/* A leader that hears of a higher term, asked at once: it must not say that it leads that one. */
static void test_leader_and_term_belong_together(void **state)
{
    (void)state;
    struct cluster c;
    cluster_start(&c, 3);
    struct node *leader = cluster_leader(&c), *follower = cluster_follower(&c);
    struct replica_stats before, after;
    replica_stats(leader->replica, &before);
    assert_int_equal(before.leader, leader->id);
    assert_int_equal(before.term, raft_current_term(&leader->replica->raft));
    struct raft_message vote = { .type = RAFT_REQUEST_VOTE,
                                 .server_id = follower->id,
                                 .server_address = follower->address,
                                 .request_vote = { .version = 2,
                                                   .term = before.term + 1,
                                                   .candidate_id = follower->id,
                                                   .last_log_index = before.last,
                                                   .last_log_term = before.term,
                                                   .disrupt_leader = true } };
    replica_receive(leader->replica, &vote);
    assert_int_equal(raft_current_term(&leader->replica->raft), before.term + 1);
    replica_stats(leader->replica, &after);
    assert_true(after.leader == 0 || after.term == before.term);
    assert_true(after.role != REPLICA_LEADER || after.term == before.term);
    cluster_run(&c, 20);
    replica_stats(leader->replica, &after);
    assert_true(after.term > before.term);
    cluster_fini(&c);
}

static bool other_leads(struct cluster *c, void *arg)
{
    for (unsigned i = 0; i < c->n; i++)
        if (c->nodes[i].replica != NULL && c->nodes[i].ready && &c->nodes[i] != arg)
            return true;
    return false;
}

/* A leader that is closed hands over; one whose disk, network and timers stop at once is replaced by
 * election. */
static void test_new_leader(void **state)
{
    (void)state;
    struct cluster c;
    cluster_start(&c, 3);
    for (unsigned round = 0; round < 3; round++) {
        struct node *old = cluster_leader(&c);
        assert_int_equal(cluster_propose(&c, old, 10, 0), 0);
        cluster_wait_same(&c, (round + 1) * 10);
        bool kill = round > 0;
        int64_t from = clock_mono_ns();
        if (kill)
            old->replica->fenced = true;
        else
            node_close(old);
        assert_true(cluster_wait(&c, PATIENCE_MS, other_leads, old));
        print_message("leader %s: another is ready after %lld ms\n", kill ? "silent" : "closed",
                      (long long)((clock_mono_ns() - from) / 1000000));
        if (kill) {
            old->ready = false;
            node_close(old);
        }
        node_open(old);
        cluster_wait_same(&c, (round + 1) * 10);
    }
    cluster_fini(&c);
}

static bool all_have(struct cluster *c, void *arg)
{
    return cluster_same(c, *(uint64_t *)arg);
}

/* Followers get an entry when it is proposed, and apply it when it is committed, not with the next heartbeat:
 * also when nothing was to be said for some ticks. */
static void test_followers_hear_of_a_commit(void **state)
{
    (void)state;
    struct cluster c;
    cluster_start(&c, 3);
    struct node *leader = cluster_leader(&c);
    for (unsigned i = 0; i < c.n; i++) {
        raft_set_heartbeat_timeout(&c.nodes[i].replica->raft, 60000);
        raft_set_election_timeout(&c.nodes[i].replica->raft, 600000);
    }
    for (uint64_t n = 1; n <= 10; n++) {
        assert_int_equal(cluster_propose(&c, leader, 1, 0), 0);
        assert_true(cluster_wait(&c, PATIENCE_MS, all_have, &n));
        cluster_run(&c, 130);
    }
    assert_ptr_equal(cluster_leader(&c), leader);
    cluster_fini(&c);
}

static void test_batching(void **state)
{
    (void)state;
    struct cluster c;
    cluster_start(&c, 3);
    struct replica_stats before, after;
    struct node *leader = cluster_leader(&c);
    replica_stats(leader->replica, &before);
    cluster_load(&c, 20000, 1, 0); /* each proposed by itself */
    replica_stats(leader->replica, &after);
    uint64_t entries = after.entries - before.entries, commands = after.commands - before.commands;
    assert_true(commands >= 20000);
    assert_true(entries < commands / 8);
    assert_true(entries >= commands / COMMAND_ENTRY_MAX);
    assert_true(after.proposals_refused > 0);
    assert_true(leader->ascending);

    /* Larger than an entry: alone; many at once: split. */
    replica_stats(leader->replica, &before);
    uint64_t had = fake_machine_commands(leader->machine);
    assert_int_equal(cluster_propose(&c, leader, 1, COMMAND_CHUNK_MAX), 0);
    assert_int_equal(cluster_propose(&c, leader, 150, 0), 0);
    assert_int_equal(cluster_propose(&c, leader, 4, 2000), 0);
    cluster_wait_same(&c, had + 155);
    replica_stats(leader->replica, &after);
    assert_int_equal(after.entries - before.entries, 1 + 3 + 3);
    /* More entries than may wait: none of it. */
    assert_int_equal(cluster_propose(&c, leader, 257, 4000), ERR_LIMIT);
    assert_int_equal(cluster_propose(&c, leader, 256, 4000), 0);
    assert_int_equal(cluster_propose(&c, leader, 1, 4000), ERR_LIMIT);
    cluster_wait_same(&c, had + 155 + 256);
    cluster_fini(&c);
}

static void test_throughput(void **state)
{
    (void)state;
    struct cluster c;
    cluster_start(&c, 3);
    uint64_t n = 200000;
    int64_t from = clock_mono_ns();
    cluster_load(&c, n, 16, 0);
    int64_t ns = clock_mono_ns() - from;
    cluster_wait_same(&c, n);
    print_message("%llu commands/s with three replicas in one thread\n",
                  (unsigned long long)(n * 1000000000ull / (uint64_t)ns));
    assert_true(cluster_same(&c, n));
    cluster_fini(&c);
}

/* usage: [NAME OF A TEST] */
int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leader_and_term_belong_together),
        cmocka_unit_test(test_one_order),
        cmocka_unit_test(test_commit_does_not_go_back),
        cmocka_unit_test(test_new_leader),
        cmocka_unit_test(test_followers_hear_of_a_commit),
        cmocka_unit_test(test_batching),
        cmocka_unit_test(test_throughput),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
