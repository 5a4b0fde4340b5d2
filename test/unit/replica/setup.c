/* consensus/replica: starting again from the disk, barriers, a directory's first state, and the way back from
 * a lost majority. */
#include "cluster.h"

#include "base/err.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_restart(void **state)
{
    (void)state;
    struct cluster c;
    cluster_start(&c, 3);
    cluster_load(&c, 5000, 7, 0);
    cluster_wait_same(&c, 5000);
    uint64_t hash = fake_machine_hash(c.nodes[0].machine);
    uint64_t commands = fake_machine_commands(c.nodes[0].machine);
    uint64_t now_ms = machine_now_ms(c.nodes[0].machine);
    for (unsigned i = 0; i < 3; i++)
        node_close(&c.nodes[i]);
    for (unsigned i = 0; i < 3; i++)
        node_open(&c.nodes[i]);
    (void)cluster_leader(&c);
    cluster_wait_same(&c, commands);
    assert_int_equal(fake_machine_hash(c.nodes[2].machine), hash);
    /* The time without a cluster did not count, and time goes on from where it was. */
    struct node *leader = cluster_leader(&c);
    assert_true(replica_now_ms(leader->replica) >= now_ms);
    assert_true(replica_now_ms(leader->replica) < now_ms + 2000);
    assert_int_equal(cluster_propose(&c, leader, 1, 0), 0);
    cluster_wait_same(&c, commands + 1);
    assert_true(machine_now_ms(leader->machine) >= now_ms);
    cluster_fini(&c);
}

static bool has_traced(struct cluster *c, void *arg)
{
    static char text[1 << 20];
    (void)c;
    ssize_t n = pread(*(int *)arg, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return strstr(text, " trace raft: ") != NULL;
}

/* libraft says a dozen lines for each entry: level debug is to be of use without them. */
static void test_only_level_trace_has_the_librarys_steps(void **state)
{
    (void)state;
    struct cluster c;
    char path[] = "/tmp/replica_log_XXXXXX";
    int file = mkstemp(path), standard = dup(STDERR_FILENO);
    assert_true(file >= 0 && standard >= 0);
    assert_int_equal(unlink(path), 0);
    assert_true(dup2(file, STDERR_FILENO) >= 0);
    cluster_start(&c, 3);
    log_set_level(LOG_LEVEL_DEBUG);
    cluster_load(&c, 100, 7, 0);
    bool at_debug = lseek(file, 0, SEEK_END) > 4096 || has_traced(&c, &file);
    log_set_level(LOG_LEVEL_TRACE); /* while it runs */
    bool at_trace = cluster_wait(&c, 5000, has_traced, &file);
    log_set_level(LOG_LEVEL_ERROR);
    assert_true(dup2(standard, STDERR_FILENO) >= 0);
    cluster_fini(&c);
    close(standard);
    close(file);
    assert_false(at_debug);
    assert_true(at_trace);
}

static void test_barrier(void **state)
{
    (void)state;
    struct cluster c;
    cluster_start(&c, 3);
    struct node *leader = cluster_leader(&c);
    struct answer a = { 0 }, b = { 0 };
    assert_int_equal(cluster_propose(&c, leader, 5, 0), 0);
    cluster_run(&c, 1);
    assert_int_equal(replica_barrier(leader->replica, answer_cb, &a), 0);
    assert_int_equal(replica_barrier(leader->replica, answer_cb, &b), 0);
    assert_false(a.done);
    assert_int_equal(answer_wait(&c, &a), 0);
    assert_int_equal(fake_machine_commands(leader->machine), 5);
    assert_int_equal(answer_wait(&c, &b), 0);
    assert_int_equal(replica_barrier(cluster_follower(&c)->replica, answer_cb, &a), ERR_CLOSED);

    /* Alone it can promise nothing: the barrier ends with its leadership. */
    for (unsigned i = 0; i < 3; i++)
        if (&c.nodes[i] != leader)
            node_close(&c.nodes[i]);
    a = (struct answer){ 0 };
    if (replica_barrier(leader->replica, answer_cb, &a) == 0)
        assert_int_equal(answer_wait(&c, &a), ERR_CLOSED);
    assert_false(leader->ready);
    assert_int_equal(cluster_propose(&c, leader, 1, 0), ERR_CLOSED);
    cluster_fini(&c);
}

static void test_first_state(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, 2);
    assert_int_equal(replica_recover(c.nodes[0].dir, 1, c.nodes[0].address), ERR_NOT_FOUND);
    assert_int_equal(replica_bootstrap(c.nodes[0].dir, 1, c.nodes[0].address), 0);
    assert_int_equal(replica_bootstrap(c.nodes[0].dir, 1, c.nodes[0].address), ERR_EXISTS);
    assert_true(replica_bootstrap("/nonexistent/turnpike", 1, c.nodes[0].address) < 0);
    node_open(&c.nodes[0]);
    assert_ptr_equal(cluster_leader(&c), &c.nodes[0]);
    struct replica_stats s;
    replica_stats(c.nodes[0].replica, &s);
    assert_int_equal(s.nservers, 1);
    assert_int_equal(s.servers[0].vote, REPLICA_VOTER);
    assert_string_equal(s.servers[0].address, c.nodes[0].address);
    assert_int_equal(s.quorum_ms, 0);
    /* A directory that is not there: words in the log, and nothing is left behind. */
    assert_int_equal(rmdir(c.nodes[1].dir), 0);
    assert_true(node_try_open(&c.nodes[1]) < 0);
    cluster_fini(&c);
}

static void test_recover(void **state)
{
    (void)state;
    struct cluster c;
    cluster_start(&c, 3);
    cluster_load(&c, 1000, 5, 0);
    cluster_wait_same(&c, 1000);
    uint64_t commands = fake_machine_commands(c.nodes[2].machine),
             hash = fake_machine_hash(c.nodes[2].machine);
    for (unsigned i = 0; i < 3; i++)
        node_close(&c.nodes[i]);
    node_open(&c.nodes[2]);
    cluster_run(&c, 1500);
    assert_false(c.nodes[2].ready); /* one of three */
    node_close(&c.nodes[2]);
    assert_int_equal(replica_recover(c.nodes[2].dir, 3, c.nodes[2].address), 0);
    node_open(&c.nodes[2]);
    assert_ptr_equal(cluster_leader(&c), &c.nodes[2]);
    cluster_wait_same(&c, commands);
    assert_int_equal(fake_machine_hash(c.nodes[2].machine), hash);
    struct replica_stats s;
    replica_stats(c.nodes[2].replica, &s);
    assert_int_equal(s.nservers, 1);
    assert_int_equal(s.servers[0].id, 3);
    assert_int_equal(cluster_propose(&c, &c.nodes[2], 1, 0), 0);
    cluster_wait_same(&c, commands + 1);
    cluster_fini(&c);
}

/* ---- looking, copying, restoring ------------------------------------------------------------------------
 */

struct copied {
    bool done;
    int err;
    struct buf state;
};

static void copied_cb(void *ctx, int err, struct span state)
{
    struct copied *k = ctx;
    k->done = true;
    k->err = err;
    if (err == 0)
        assert_int_equal(buf_put_span(&k->state, state), 0);
}

static bool is_copied(struct cluster *c, void *arg)
{
    (void)c;
    return ((struct copied *)arg)->done;
}

static void test_copy_and_restore(void **state)
{
    (void)state;
    struct cluster c;
    struct copied k = { .done = false }, second = { .done = false };
    struct replica_look look;
    struct replica_stats s;
    buf_init(&k.state, 64u << 20);
    buf_init(&second.state, 64u << 20);
    cluster_start(&c, 2);
    cluster_load(&c, 1000, 5, 0);
    cluster_wait_same(&c, 1000);
    struct machine *m = c.nodes[1].machine;
    fake_machine_set_bulk(m, 5u << 20);
    fake_machine_hold(m, true);
    assert_int_equal(replica_copy(c.nodes[1].replica, copied_cb, &k), 0);
    assert_int_equal(replica_copy(c.nodes[1].replica, copied_cb, &second), ERR_BUSY);
    uint64_t index = machine_applied(m), commands = fake_machine_commands(m), hash = fake_machine_hash(m);
    cluster_load(&c, 100, 5, 0); /* what comes later is not in it */
    fake_machine_hold(m, false);
    assert_true(cluster_wait(&c, PATIENCE_MS, is_copied, &k));
    assert_int_equal(k.err, 0);
    assert_true(k.state.len > 5u << 20);

    /* closed while one is made: its asker is told */
    fake_machine_hold(m, true);
    assert_int_equal(replica_copy(c.nodes[1].replica, copied_cb, &second), 0);
    node_close(&c.nodes[1]);
    assert_true(second.done);
    assert_int_equal(second.err, ERR_CLOSED);
    node_close(&c.nodes[0]);
    assert_int_equal(replica_look(c.nodes[1].dir, &look), 0);
    assert_true(look.last > index && look.last_term >= 1);
    uint64_t last = look.last;
    assert_int_equal(replica_look(c.nodes[1].dir, &look), 0); /* it changes nothing */
    assert_int_equal(look.last, last);
    cluster_fini(&c);

    cluster_init(&c, 1);
    struct node *n = &c.nodes[0];
    assert_int_equal(replica_look(n->dir, &look), ERR_NOT_FOUND);
    assert_int_equal(replica_restore(n->dir, n->id, n->address, buf_span(&k.state), index), 0);
    assert_int_equal(replica_restore(n->dir, n->id, n->address, buf_span(&k.state), index), ERR_EXISTS);
    assert_int_equal(replica_look(n->dir, &look), 0);
    assert_int_equal(look.last, index);
    for (int i = 0; i < 2; i++) { /* it outlives a restart */
        node_open(n);
        assert_ptr_equal(cluster_leader(&c), n);
        assert_int_equal(fake_machine_commands(n->machine), commands + (uint64_t)i);
        if (i == 0)
            assert_int_equal(fake_machine_hash(n->machine), hash);
        assert_int_equal(cluster_propose(&c, n, 1, 0), 0);
        cluster_wait_same(&c, commands + 1 + (uint64_t)i);
        assert_true(machine_applied(n->machine) > index);
        replica_stats(n->replica, &s);
        assert_int_equal(s.nservers, 1);
        if (i == 0)
            node_close(n);
    }
    cluster_fini(&c);
    buf_fini(&k.state);
    buf_fini(&second.state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restart), cmocka_unit_test(test_only_level_trace_has_the_librarys_steps),
        cmocka_unit_test(test_barrier), cmocka_unit_test(test_first_state),
        cmocka_unit_test(test_recover), cmocka_unit_test(test_copy_and_restore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
