/* The shell around libraft: the only files of ours that know it (replica_*.c, transport.c). Everything runs
 * on the cluster thread's libuv loop.
 *
 * It keeps the log and snapshots in a directory, replicates, applies entries to the machine in order, and
 * tells of each. On the leader, commands that are proposed in one turn of the loop share entries. A command's
 * result is known when it was applied, on every node: from `on_effects`, by its origin. So nothing here waits
 * for an answer, and a proposal that was lost is simply made again by whoever wants it.
 *
 * The disk. An entry counts when it is on disk on a majority. When this node's disk is full or fails, the
 * replica stops: it gives up leadership, calls `on_failed` once, and does nothing more; the process is
 * expected to exit. Bounds: log and snapshots on disk at most four times the state and 128 MiB; at most 64
 * entries in flight; a follower that does not keep up is cut off and catches up by a snapshot.
 */
#ifndef CONSENSUS_REPLICA_H
#define CONSENSUS_REPLICA_H

#include "base/span.h"
#include "consensus/machine.h"

#include <uv.h>

struct replica;
struct raft_uv_transport;

enum replica_role { REPLICA_FOLLOWER, REPLICA_CANDIDATE, REPLICA_LEADER };

struct replica_config {
    uv_loop_t *loop;
    const char *dir;     /* exists; of this replica only */
    uint64_t id;         /* never used with other data before */
    const char *address; /* as in the cluster's configuration: "host:port" */
    struct machine *machine;
    struct raft_uv_transport *transport; /* outlives it */
    uint32_t election_ms, heartbeat_ms;  /* 0: 500 and 50 */
    uint64_t snapshot_bytes; /* of log between two snapshots, or up to a quarter less; 0: 32 MiB. A quarter of
                                the state, when that is more */
    /* After each applied entry; after an installed snapshot with MACHINE_CHANGED_ALL alone. */
    void (*on_effects)(void *ctx, uint64_t index, const struct machine_effects *effects);
    /* The role or the known leader changed. `ready`: leader, and its barrier was applied: it may grant and
     * expire. */
    void (*on_role)(void *ctx, enum replica_role role, uint64_t leader, bool ready);
    void (*on_failed)(void *ctx, int err, const char *words);
    /* A peer does not read and too much waits for it: end the connection to it. What is sent to it meanwhile
     * is dropped. At most once a second; may be NULL. Not from inside it: replica_* functions. */
    void (*on_backlog)(void *ctx, uint64_t id);
    void *ctx;
};

/* Makes a directory's first state: a cluster of this one voter. ERR_EXISTS: there is a state already. */
int replica_bootstrap(const char *dir, uint64_t id, const char *address);
/* After the majority was lost: makes this one node's state the cluster, with it as the only voter. The
 * replica must not be open. */
int replica_recover(const char *dir, uint64_t id, const char *address);

/* What is on disk, for who must choose among nodes that were left. ERR_NOT_FOUND: nothing. Likewise. */
struct replica_look {
    uint64_t last, last_term; /* of the log: the higher term, then the higher index, knows more */
};
int replica_look(const char *dir, struct replica_look *out);
/* Makes a directory's first state: a cluster of this one voter whose machine has this snapshot (machine.h),
 * which stands for `index`. ERR_EXISTS. */
int replica_restore(const char *dir, uint64_t id, const char *address, struct span state, uint64_t index);

/* Loads what is on disk and starts. Words of a failure are in the log; after one, run the loop until it has
 * nothing more to do before the transport and the loop are freed. No callback runs inside. */
int replica_open(const struct replica_config *config, struct replica **out);
/* Gives up leadership first if it can within a moment; `closed` runs on the loop, then it may be freed. */
void replica_close(struct replica *r, void (*closed)(void *ctx), void *ctx);
void replica_free(struct replica *r);

/* Leader only: `n` encoded commands, one after another. 0: they are in an entry, or will be at the end of
 * this turn (no promise that they commit). ERR_CLOSED: not the leader, or not ready; ERR_LIMIT: too much is
 * in flight, try again when something was applied. */
int replica_propose(struct replica *r, struct span commands, uint32_t n);
/* The time of the next entry: the cluster time that this leader counts. */
uint64_t replica_now_ms(const struct replica *r);

/* Leader only: when `cb` runs with 0, everything that any leader had acknowledged before the call is in the
 * machine. */
typedef void replica_cb(void *ctx, int err);
int replica_barrier(struct replica *r, replica_cb *cb, void *ctx);

/* The machine's state as bytes (machine_restore), encoded in libuv's pool; the leader or not. `cb` runs once:
 * 0 and the bytes, or ERR_CLOSED, ERR_LIMIT, -ENOMEM. At once ERR_BUSY: a snapshot is being taken or
 * installed. */
typedef void replica_copy_cb(void *ctx, int err, struct span state);
int replica_copy(struct replica *r, replica_copy_cb *cb, void *ctx);

/* Leader only, one at a time (ERR_BUSY). */
enum replica_vote { REPLICA_SPARE, REPLICA_STANDBY, REPLICA_VOTER };
int replica_add(struct replica *r, uint64_t id, const char *address, replica_cb *cb,
                void *ctx); /* as a spare */
int replica_assign(struct replica *r, uint64_t id, enum replica_vote vote, replica_cb *cb, void *ctx);
/* A leader does not remove or demote itself: it hands over first, and `cb` gets ERR_CLOSED (ask the new
 * leader). */
int replica_remove(struct replica *r, uint64_t id, replica_cb *cb, void *ctx);
/* 0: to whom it likes. */
int replica_transfer(struct replica *r, uint64_t id, replica_cb *cb, void *ctx);

struct replica_server {
    uint64_t id;
    char address[128];
    enum replica_vote vote;
    uint64_t match;     /* leader only: highest index that it has; 0: not known */
    int64_t contact_ms; /* leader only: since it last answered; -1: never */
};
#define REPLICA_SERVERS_MAX 64
struct replica_stats {
    enum replica_role role;
    bool ready;
    uint64_t id, leader, term; /* role and leader are of this term */
    uint64_t applied, committed, last, snapshot_index;
    uint64_t log_bytes, snapshot_bytes_on_disk; /* estimates; refreshed now and then */
    uint64_t entries, commands, snapshots_taken, snapshots_installed, elections, proposals_refused;
    uint32_t in_flight;
    int64_t quorum_ms; /* leader: since it last heard a majority; else since it heard a leader. -1: never */
    int failed;
    uint32_t nservers;
    struct replica_server servers[REPLICA_SERVERS_MAX];
};
void replica_stats(struct replica *r, struct replica_stats *out);

#endif
