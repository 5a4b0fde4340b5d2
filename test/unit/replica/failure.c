/* consensus/replica: a disk that fails, is full or stands still, an entry that cannot be applied, a snapshot
 * with a wrong byte, a peer that does not read. A replica that fails says so once and acknowledges nothing
 * any more. */
#include "cluster.h"

#include "base/err.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool has_failed(struct cluster *c, void *arg)
{
    (void)c;
    return ((struct node *)arg)->failures > 0;
}

static bool other_leads(struct cluster *c, void *arg)
{
    for (unsigned i = 0; i < c->n; i++)
        if (c->nodes[i].replica != NULL && c->nodes[i].ready && &c->nodes[i] != arg)
            return true;
    return false;
}

struct progress {
    const struct node *node;
    uint64_t commands;
};

static bool has_applied(struct cluster *c, void *arg)
{
    (void)c;
    const struct progress *p = arg;
    return fake_machine_commands(p->node->machine) >= p->commands;
}

static void fail_leader(enum replica_fault fault, int err, const char *words)
{
    struct cluster c;
    cluster_start(&c, 3);
    struct node *old = cluster_leader(&c);
    assert_int_equal(cluster_propose(&c, old, 3, 0), 0);
    cluster_wait_same(&c, 3);
    old->replica->disk_stuck_ms = 300;
    old->replica->fault = fault;
    assert_int_equal(cluster_propose(&c, old, 1, 0), 0);
    assert_true(cluster_wait(&c, PATIENCE_MS, has_failed, old));
    assert_int_equal(old->failed, err);
    assert_non_null(strstr(old->words, words));
    assert_non_null(strstr(old->words, old->dir));
    assert_false(old->ready);
    assert_int_equal(old->role, REPLICA_FOLLOWER);
    assert_int_equal(cluster_propose(&c, old, 1, 0), ERR_CLOSED);
    assert_true(cluster_wait(&c, PATIENCE_MS, other_leads, old));
    struct node *next = cluster_leader(&c);
    uint64_t had = fake_machine_commands(old->machine);
    assert_int_equal(cluster_propose(&c, next, 10, 0), 0);
    struct progress p = { next, 13 };
    assert_true(cluster_wait(&c, PATIENCE_MS, has_applied, &p));
    assert_int_equal(fake_machine_commands(old->machine), had);
    assert_int_equal(old->failures, 1);
    node_close(old);
    node_open(old);
    cluster_wait_same(&c, 13);
    cluster_fini(&c);
}

static void test_leader_write_error(void **state)
{
    (void)state;
    fail_leader(REPLICA_FAULT_APPEND_ERROR, -EIO, "the log cannot be written");
}

static void test_leader_write_stuck(void **state)
{
    (void)state;
    fail_leader(REPLICA_FAULT_APPEND_STUCK, ERR_TIMEOUT, "a log write has not ended");
}

/* A process that was stopped, longer than a disk may take, with a write under way: that the write is not
 * known to have ended says nothing. Only the time in which the loop turned counts. */
static void test_stopped_with_a_write(void **state)
{
    (void)state;
    struct cluster c;
    cluster_start(&c, 3);
    struct node *node = cluster_leader(&c);
    node->replica->disk_stuck_ms = 1500;
    node->replica->fault = REPLICA_FAULT_APPEND_STUCK;
    assert_int_equal(cluster_propose(&c, node, 1, 0), 0);
    cluster_run(&c, 50);
    for (int i = 0; i < 3; i++) {
        usleep(2000000); /* nobody runs */
        cluster_run(&c, 50);
        assert_int_equal(node->failures, 0);
    }
    assert_true(cluster_wait(&c, PATIENCE_MS, has_failed, node));
    assert_int_equal(node->failed, ERR_TIMEOUT);
    cluster_fini(&c);
}

static void test_leader_disk_full(void **state)
{
    (void)state;
    fail_leader(REPLICA_FAULT_APPEND_FULL, ERR_DISK_FULL, "no room for the log");
}

/* What a follower could not write must not count: with both followers broken, nothing commits. */
static void test_follower_does_not_lie(void **state)
{
    (void)state;
    struct cluster c;
    cluster_start(&c, 3);
    struct node *leader = cluster_leader(&c);
    for (unsigned i = 0; i < 3; i++)
        if (&c.nodes[i] != leader)
            c.nodes[i].replica->fault = REPLICA_FAULT_APPEND_ERROR;
    assert_int_equal(cluster_propose(&c, leader, 1, 0), 0);
    for (unsigned i = 0; i < 3; i++)
        if (&c.nodes[i] != leader)
            assert_true(cluster_wait(&c, PATIENCE_MS, has_failed, &c.nodes[i]));
    cluster_run(&c, 700);
    assert_int_equal(fake_machine_commands(leader->machine), 0);
    assert_false(leader->ready);
    assert_int_equal(leader->failures, 0);
    cluster_fini(&c);
}

static void test_vote_cannot_be_written(void **state)
{
    (void)state;
    struct cluster c;
    cluster_start(&c, 3);
    struct node *leader = cluster_leader(&c), *bad = cluster_follower(&c);
    bad->replica->fault = REPLICA_FAULT_VOTE;
    node_close(leader);
    assert_true(cluster_wait(&c, PATIENCE_MS, has_failed, bad));
    assert_int_equal(bad->failed, -EIO);
    /* Its vote was not given: the third one alone does not lead. */
    cluster_run(&c, 1200);
    for (unsigned i = 0; i < 3; i++)
        assert_false(c.nodes[i].ready);
    cluster_fini(&c);
}

static void test_entry_cannot_be_applied(void **state)
{
    (void)state;
    struct cluster c;
    cluster_start(&c, 3);
    struct node *bad = cluster_follower(&c);
    fake_machine_fail_from(bad->machine, machine_applied(bad->machine) + 1);
    cluster_load(&c, 100, 10, 0);
    assert_true(cluster_wait(&c, PATIENCE_MS, has_failed, bad));
    assert_int_equal(bad->failed, ERR_CORRUPT);
    assert_non_null(strstr(bad->words, "cannot be applied"));
    cluster_load(&c, 100, 10, 0); /* the others go on */
    assert_int_equal(fake_machine_commands(bad->machine), 0);
    cluster_fini(&c);
}

static bool snapshot_taken(struct cluster *c, void *arg)
{
    (void)c;
    struct replica_stats s;
    replica_stats(((struct node *)arg)->replica, &s);
    return s.snapshots_taken > 0;
}

static void flip_snapshot_byte(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *e;
    unsigned flipped = 0;
    assert_non_null(dir);
    while ((e = readdir(dir)) != NULL) {
        size_t n = strlen(e->d_name);
        if (strncmp(e->d_name, "snapshot-", 9) != 0 || strcmp(e->d_name + n - 5, ".meta") == 0)
            continue;
        int fd = openat(dirfd(dir), e->d_name, O_RDWR | O_CLOEXEC);
        uint8_t byte;
        assert_true(fd >= 0);
        assert_int_equal(pread(fd, &byte, 1, 5), 1);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, 5), 1);
        (void)close(fd);
        flipped++;
    }
    (void)closedir(dir);
    assert_true(flipped > 0);
}

static void test_snapshot_with_a_wrong_byte(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, 1);
    c.snapshot_bytes = 64u << 10;
    assert_int_equal(replica_bootstrap(c.nodes[0].dir, 1, c.nodes[0].address), 0);
    node_open(&c.nodes[0]);
    cluster_load(&c, 4000, 8, 0);
    assert_true(cluster_wait(&c, PATIENCE_MS, snapshot_taken, &c.nodes[0]));
    node_close(&c.nodes[0]);
    flip_snapshot_byte(c.nodes[0].dir);
    assert_int_equal(node_try_open(&c.nodes[0]), ERR_CORRUPT);
    cluster_fini(&c);
}

static void test_snapshot_cannot_be_written(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, 1);
    c.snapshot_bytes = 64u << 10;
    assert_int_equal(replica_bootstrap(c.nodes[0].dir, 1, c.nodes[0].address), 0);
    node_open(&c.nodes[0]);
    c.nodes[0].replica->fault = REPLICA_FAULT_SNAPSHOT;
    struct node *leader = cluster_leader(&c);
    for (unsigned i = 0; i < 1000 && leader->failures == 0; i++) {
        (void)cluster_propose(&c, leader, 64, 0);
        cluster_run(&c, 2);
    }
    assert_int_equal(leader->failed, -EIO);
    assert_non_null(strstr(leader->words, "a snapshot cannot be written"));
    cluster_fini(&c);
}

/* ---- a peer that accepts and never reads ----------------------------------------------------------------
 */

static void on_connection(uv_stream_t *server, int status)
{
    uv_tcp_t *conn = server->data;
    if (status != 0 || uv_is_active((uv_handle_t *)conn) || conn->data != NULL)
        return;
    assert_int_equal(uv_accept(server, (uv_stream_t *)conn), 0);
    conn->data = conn;
}

static void test_peer_that_does_not_read(void **state)
{
    (void)state;
    struct cluster c;
    uv_tcp_t listener, conn;
    struct sockaddr_in sa;
    cluster_start(&c, 2);
    struct node *leader = cluster_leader(&c);
    for (unsigned i = 0; i < c.n; i++) /* none is taken: it would be sent instead of the log */
        c.nodes[i].replica->config.snapshot_bytes = UINT64_MAX;
    assert_int_equal(uv_tcp_init(&c.loop, &listener), 0);
    assert_int_equal(uv_tcp_init(&c.loop, &conn), 0);
    conn.data = NULL;
    listener.data = &conn;
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &sa), 0);
    assert_int_equal(uv_tcp_bind(&listener, (struct sockaddr *)&sa, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&listener, 4, on_connection), 0);
    int len = sizeof sa;
    assert_int_equal(uv_tcp_getsockname(&listener, (struct sockaddr *)&sa, &len), 0);
    struct node frozen = { .id = 9 };
    (void)snprintf(frozen.address, sizeof frozen.address, "127.0.0.1:%u", ntohs(sa.sin_port));
    assert_int_equal(cluster_add(&c, &frozen, REPLICA_STANDBY), 0);
    uint64_t most = 0;
    for (unsigned i = 0; i < 200 && leader->backlogs == 0; i++) {
        cluster_load(&c, 64, 4, COMMAND_CHUNK_MAX);
        const struct replica_peer *p = replica_peer(leader->replica, 9);
        if (p->pending_bytes > most)
            most = p->pending_bytes;
    }
    print_message("at most %llu bytes waited for a peer that does not read\n", (unsigned long long)most);
    assert_true(leader->backlogs > 0);
    assert_true(most < REPLICA_PEER_BYTES_MAX + REPLICA_IN_FLIGHT_MAX * (COMMAND_CHUNK_MAX + 1024));
    /* And the cluster went on. */
    assert_non_null(cluster_leader(&c));
    uv_close((uv_handle_t *)&listener, NULL);
    uv_close((uv_handle_t *)&conn, NULL);
    cluster_fini(&c);
}

/* usage: [NAME OF A TEST] */
int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leader_write_error),         cmocka_unit_test(test_leader_write_stuck),
        cmocka_unit_test(test_stopped_with_a_write),       cmocka_unit_test(test_leader_disk_full),
        cmocka_unit_test(test_follower_does_not_lie),      cmocka_unit_test(test_vote_cannot_be_written),
        cmocka_unit_test(test_entry_cannot_be_applied),    cmocka_unit_test(test_snapshot_with_a_wrong_byte),
        cmocka_unit_test(test_snapshot_cannot_be_written), cmocka_unit_test(test_peer_that_does_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
