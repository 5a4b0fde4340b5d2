/* consensus/replica: who is in the cluster, who votes, who leads. */
#include "cluster.h"

#include "base/err.h"

static const struct replica_server *server(struct replica_stats *s, uint64_t id)
{
    for (uint32_t i = 0; i < s->nservers; i++)
        if (s->servers[i].id == id)
            return &s->servers[i];
    return NULL;
}

static bool second_has(struct cluster *c, void *arg)
{
    return fake_machine_commands(c->nodes[1].machine) == *(uint64_t *)arg;
}

static void test_join_and_remove(void **state)
{
    (void)state;
    struct cluster c;
    struct replica_stats s;
    struct answer a = { 0 }, b = { 0 };
    cluster_init(&c, 3);
    struct node *first = &c.nodes[0];
    assert_int_equal(replica_bootstrap(first->dir, 1, first->address), 0);
    for (unsigned i = 0; i < 3; i++)
        node_open(&c.nodes[i]);
    cluster_load(&c, 1000, 4, 0);

    /* A spare gets nothing, a standby everything, without a vote. */
    assert_int_equal(replica_add(first->replica, 2, c.nodes[1].address, answer_cb, &a), 0);
    assert_int_equal(replica_add(first->replica, 3, c.nodes[2].address, answer_cb, &b), ERR_BUSY);
    assert_int_equal(answer_wait(&c, &a), 0);
    a = (struct answer){ 0 };
    assert_int_equal(replica_add(first->replica, 2, "127.0.0.1:9", answer_cb, &a), 0);
    assert_int_equal(answer_wait(&c, &a), ERR_EXISTS);
    assert_int_equal(fake_machine_commands(c.nodes[1].machine), 0);
    a = (struct answer){ 0 };
    assert_int_equal(replica_assign(first->replica, 2, REPLICA_STANDBY, answer_cb, &a), 0);
    assert_int_equal(answer_wait(&c, &a), 0);
    replica_stats(first->replica, &s);
    assert_int_equal(server(&s, 2)->vote, REPLICA_STANDBY);
    uint64_t commands = 1000;
    assert_true(cluster_wait(&c, PATIENCE_MS, second_has, &commands));
    assert_int_equal(fake_machine_hash(c.nodes[1].machine), fake_machine_hash(first->machine));
    /* The same once more is no error; of one that is not there it is. */
    a = (struct answer){ 0 };
    assert_int_equal(replica_assign(first->replica, 2, REPLICA_STANDBY, answer_cb, &a), 0);
    assert_int_equal(answer_wait(&c, &a), 0);
    a = (struct answer){ 0 };
    assert_int_equal(replica_assign(first->replica, 9, REPLICA_VOTER, answer_cb, &a), 0);
    assert_int_equal(answer_wait(&c, &a), ERR_NOT_FOUND);
    assert_int_equal(replica_add(c.nodes[1].replica, 3, c.nodes[2].address, answer_cb, &a), ERR_CLOSED);

    /* Promoted and demoted; then out. */
    a = (struct answer){ 0 };
    assert_int_equal(replica_assign(first->replica, 2, REPLICA_VOTER, answer_cb, &a), 0);
    assert_int_equal(answer_wait(&c, &a), 0);
    assert_int_equal(cluster_add(&c, &c.nodes[2], REPLICA_VOTER), 0);
    replica_stats(first->replica, &s);
    assert_int_equal(s.nservers, 3);
    assert_int_equal(server(&s, 3)->vote, REPLICA_VOTER);
    assert_true(server(&s, 3)->match > 0);
    assert_true(server(&s, 3)->contact_ms >= 0);
    a = (struct answer){ 0 };
    assert_int_equal(replica_assign(first->replica, 2, REPLICA_STANDBY, answer_cb, &a), 0);
    assert_int_equal(answer_wait(&c, &a), 0);
    a = (struct answer){ 0 };
    assert_int_equal(replica_remove(first->replica, 2, answer_cb, &a), 0);
    assert_int_equal(answer_wait(&c, &a), 0);
    replica_stats(first->replica, &s);
    assert_int_equal(s.nservers, 2);
    assert_null(server(&s, 2));
    cluster_fini(&c);
}

static bool applied(struct cluster *c, void *arg)
{
    return fake_machine_commands(c->nodes[0].machine) >= *(uint64_t *)arg;
}

static void test_standby_does_not_count(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, 3);
    assert_int_equal(replica_bootstrap(c.nodes[0].dir, 1, c.nodes[0].address), 0);
    for (unsigned i = 0; i < 3; i++)
        node_open(&c.nodes[i]);
    assert_int_equal(cluster_add(&c, &c.nodes[2], REPLICA_STANDBY), 0);
    struct node *leader = &c.nodes[0];
    uint64_t want = 1;
    /* One voter and one standby: the standby is not missed. */
    node_close(&c.nodes[2]);
    assert_int_equal(cluster_propose(&c, leader, 1, 0), 0);
    assert_true(cluster_wait(&c, PATIENCE_MS, applied, &want));
    node_open(&c.nodes[2]);
    /* Two voters and one standby: a voter is missed, whatever the standby has. */
    assert_int_equal(cluster_add(&c, &c.nodes[1], REPLICA_VOTER), 0);
    assert_ptr_equal(cluster_leader(&c), leader);
    cluster_wait_same(&c, 1);
    node_close(&c.nodes[1]);
    (void)cluster_propose(&c, leader, 1, 0);
    cluster_run(&c, 700);
    assert_int_equal(fake_machine_commands(leader->machine), 1);
    assert_int_equal(fake_machine_commands(c.nodes[2].machine), 1);
    assert_false(c.nodes[2].ready);
    node_open(&c.nodes[1]);
    leader = cluster_leader(&c);
    assert_ptr_not_equal(leader, &c.nodes[2]);
    cluster_fini(&c);
}

static bool leads(struct cluster *c, void *arg)
{
    (void)c;
    return ((struct node *)arg)->ready;
}

static void test_hand_over(void **state)
{
    (void)state;
    struct cluster c;
    struct answer a = { 0 }, b = { 0 };
    cluster_start(&c, 3);
    struct node *old = cluster_leader(&c), *next = cluster_follower(&c);
    assert_int_equal(replica_transfer(old->replica, 77, answer_cb, &a), 0);
    assert_int_equal(answer_wait(&c, &a), ERR_NOT_FOUND);
    a = (struct answer){ 0 };
    assert_int_equal(replica_transfer(old->replica, next->id, answer_cb, &a), 0);
    assert_int_equal(replica_remove(old->replica, next->id, answer_cb, &b), ERR_BUSY);
    assert_int_equal(answer_wait(&c, &a), 0);
    assert_true(cluster_wait(&c, PATIENCE_MS, leads, next));
    assert_false(old->ready);

    /* A leader that is to remove itself hands over; the next one removes it. */
    a = (struct answer){ 0 };
    assert_int_equal(replica_remove(next->replica, next->id, answer_cb, &a), 0);
    assert_int_equal(answer_wait(&c, &a), ERR_CLOSED);
    struct node *third = cluster_leader(&c);
    assert_ptr_not_equal(third, next);
    a = (struct answer){ 0 };
    assert_int_equal(replica_remove(third->replica, next->id, answer_cb, &a), 0);
    assert_int_equal(answer_wait(&c, &a), 0);
    /* The removed one is not told, and disturbs nobody. */
    struct replica_stats before, after;
    replica_stats(third->replica, &before);
    cluster_run(&c, 1500);
    replica_stats(third->replica, &after);
    assert_true(third->ready);
    assert_int_equal(before.term, after.term);
    cluster_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join_and_remove),
        cmocka_unit_test(test_standby_does_not_count),
        cmocka_unit_test(test_hand_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
