/* Some replicas on one loop in one thread, over libraft's own TCP transport on 127.0.0.1, each with a
 * directory below one temporary one. For tests; what goes wrong fails the test. */
#ifndef TEST_REPLICA_CLUSTER_H
#define TEST_REPLICA_CLUSTER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "consensus/replica_impl.h"
#include "fake_machine.h"

#define CLUSTER_MAX 5
/* How long may take what should come soon: machines have other things to do, too. */
#define PATIENCE_MS 30000

struct node {
    struct cluster *cluster;
    uint64_t id;
    char dir[256], address[64];
    int held; /* the port is this node's, also while it does not run */
    struct raft_uv_transport transport;
    struct machine *machine;
    struct replica *replica; /* NULL: not running */
    bool closed;
    enum replica_role role;
    uint64_t leader;
    bool ready;
    int failed;
    unsigned failures;
    char words[REPLICA_WORDS_MAX];
    unsigned backlogs;
    uint64_t effects, installs, results, last_index, last_now_ms;
    bool ascending; /* indexes and times */
};

struct cluster {
    uv_loop_t loop;
    uv_timer_t wake;
    uv_idle_t idle;
    char dir[64];
    struct node nodes[CLUSTER_MAX];
    unsigned n;
    uint64_t snapshot_bytes;
    uint64_t seq;
    /* load */
    uint64_t to_propose;
    uint32_t unit;
    size_t payload;
    struct buf commands;
    int64_t max_gap_ns, last_turn_ns;
    bool measure_gaps;
};

/* `n` directories and addresses; nothing runs. */
void cluster_init(struct cluster *c, unsigned n);
/* ... and one cluster of `n` voters, with a leader that is ready. */
void cluster_start(struct cluster *c, unsigned n);
void cluster_fini(struct cluster *c);

void node_open(struct node *node);
int node_try_open(struct node *node);
void node_close(struct node *node);

typedef bool cluster_fn(struct cluster *c, void *arg);
bool cluster_wait(struct cluster *c, int64_t ms, cluster_fn *fn, void *arg);
/* Runs the loop so long. For what must *not* happen only. */
void cluster_run(struct cluster *c, int64_t ms);
/* The one that leads and is ready; waits for it. */
struct node *cluster_leader(struct cluster *c);
struct node *cluster_follower(struct cluster *c);
/* All running nodes have the same, and at least so many commands. */
bool cluster_same(struct cluster *c, uint64_t commands);
void cluster_wait_same(struct cluster *c, uint64_t commands);

/* One command, or `n` with `payload` bytes each. */
int cluster_propose(struct cluster *c, struct node *node, uint32_t n, size_t payload);
/* Proposes so many commands, in units, as fast as they are taken; runs until the leader applied them. */
void cluster_load(struct cluster *c, uint64_t commands, uint32_t unit, size_t payload);

struct answer {
    bool done;
    int err;
};
void answer_cb(void *ctx, int err);
int answer_wait(struct cluster *c, struct answer *a);
int cluster_add(struct cluster *c, struct node *node, enum replica_vote vote);

uint64_t dir_bytes(const char *dir);

#endif
