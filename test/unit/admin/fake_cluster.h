/* A cluster of one node with a real machine behind the admin API: commands are applied at once. What other
 * nodes would say is scripted.
 */
#ifndef TEST_FAKE_CLUSTER_H
#define TEST_FAKE_CLUSTER_H

#include "node/admin/cluster.h"

#include <pthread.h>

struct fake_peer { /* a node that is asked */
    const char *name;
    int err, status;
    const char *body;
};

struct fake_cluster {
    struct admin_cluster table;
    pthread_mutex_t lock;
    struct machine *machine; /* NULL: in no cluster */
    struct machine_effects effects;
    uint64_t index, now_ms, session, seq;
    struct admin_cluster_status status;
    struct admin *admin; /* asked for this node */
    struct fake_peer peers[4];
    uint32_t npeers;
    int submit_err, await_err; /* ERR_TIMEOUT: there is no majority */
    uint64_t thawed; /* the freeze that the last thaw named */
    uint32_t submits, barriers, freezes_local, thaws_local, leaves, leave_after, busy_first;
    bool drained;
    uint8_t role;
    uint64_t role_of, removed, awaited;
    char path[512], who[192], token[128], init_name[64], frozen_name[128];
    int64_t token_for_ms;
};

/* `member`: founded, with node-a (this one), node-b and node-c. */
void fake_cluster_init(struct fake_cluster *f, bool member);
void fake_cluster_fini(struct fake_cluster *f);
/* As after a recovery: limits count as full. */
void fake_cluster_new_epoch(struct fake_cluster *f);
/* What a backup is: bytes that count on by seven. */
#define FAKE_BACKUP_BYTES 3000000u
/* Applies a command as this node's; 0 or its error. */
int fake_cluster_do(struct fake_cluster *f, struct command *cmd, struct machine_result *out);

/* Only this node is left, and the cluster's feature level is this one. */
void fake_cluster_raise(struct fake_cluster *f, uint32_t level);

#endif
