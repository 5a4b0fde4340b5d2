/* The seam between the admin API and the cluster, beside ops.h and under its rules (threads, strings, errors). What is
 * only a read of replicated state the admin library reads itself, from consensus/directory.h and machine.h, under
 * machine_read_lock; what is an operator's command it builds itself (consensus/command.h) and submits.
 */
#ifndef NODE_ADMIN_CLUSTER_H
#define NODE_ADMIN_CLUSTER_H

#include "consensus/directory.h"
#include "node/admin/ops.h"

#define ADMIN_NODES_MAX 64
#define ADMIN_TROUBLES_MAX 12
#define ADMIN_TROUBLE_BYTES 512

/* One node as this one sees it. */
struct admin_node {
    uint64_t id;
    char name[64], raft_address[128], gossip_address[128], version[32];
    const char *state;  /* "active", "joining", "draining", "removed" */
    const char *role;   /* "voter", "standby" */
    const char *health; /* "alive", "suspect", "dead", "never seen", "self" */
    bool leader, quorum, accepting, draining, fenced;
    int64_t heard_ms;   /* since; -1: never */
    const char *session;     /* its ledger session: "open", "none"; "unknown": this node has no quorum to ask */
    int64_t session_left_ms; /* -1: not known here; only the leader and the node itself count it */
    uint64_t applied, published, queued, held, sessions_in;
    uint32_t features;
    bool certificate_expires_soon, disk_low;
    uint32_t disk_free_permille;
    uint32_t transfers_late; /* batches of mail that have been on their way for over a minute */
    int64_t clock_ms;        /* how far its wall clock is ahead of most nodes' */
};
struct admin_cluster_status {
    bool member;            /* false: this node is in no cluster; the rest is empty */
    bool joining;           /* member, and has not caught up yet */
    char cluster[33];       /* id in hex */
    uint32_t epoch, features;
    uint64_t self, leader, term, applied;
    bool quorum;            /* this node sees a leader that sees a majority */
    bool session_usable;    /* it may admit mail */
    uint64_t policy_version;
    uint64_t log_bytes, snapshot_bytes;
    bool digest_mismatch;
    struct machine_totals totals;
    uint32_t ntroubles;     /* what is wrong but with one node: a line each, with what to do, the worst first */
    char troubles[ADMIN_TROUBLES_MAX][ADMIN_TROUBLE_BYTES];
    char note[ADMIN_TROUBLE_BYTES]; /* nothing is wrong, but somebody should know; or empty */
    uint32_t nnodes;
    struct admin_node nodes[ADMIN_NODES_MAX];
};

/* How one node took a freeze. */
struct admin_freeze_row {
    uint64_t node;
    char name[64];
    const char *how; /* "confirmed", "expired" (waited out), "no session" */
    int64_t after_ms;
};
typedef int admin_freeze_fn(void *arg, const struct admin_freeze_row *row);

/* A question to all nodes (this one too): the answer is the JSON that the node's own API gives to GET `path`. */
struct admin_ask_row {
    uint64_t node;
    char name[64];
    int err;            /* 0, or why there is no answer: ERR_TIMEOUT, ERR_CLOSED */
    int status;         /* HTTP */
    struct span body;
};
typedef int admin_ask_fn(void *arg, const struct admin_ask_row *row);

struct admin_init_opts {
    const char *name; /* NULL: the configuration's */
};
struct admin_join_opts {
    const char *token;
};
/* A batch of mail on its way between this node and another. */
struct admin_transfer {
    const char *batch; /* hex */
    uint64_t giver, taker;
    bool giving; /* by this node; else to it */
    bool orphan; /* neither: kept by the log, of a giver that was removed */
    uint32_t messages;
    int64_t since_ms; /* wall clock; 0: not known */
    const char *state, *trouble; /* trouble: or empty */
};
typedef int admin_transfer_fn(void *arg, const struct admin_transfer *row);
struct admin_transfers { /* messages of this node */
    uint64_t queued, leaving, moved /* since it started */, waiting /* asked for, not begun */,
        unclaimed /* copies whose giver has not said what became of them */, stuck /* cannot be moved */;
};
struct admin_adopted { /* messages */
    uint64_t messages, taken, elsewhere, in_doubt, failed;
};
/* A DKIM key for the cluster: made, or (pem not NULL) taken. */
struct admin_dkim_key {
    const char *domain, *selector, *pem, *tenants; /* tenants: with blanks between */
    bool ed25519, subdomains;
    uint32_t bits; /* of an RSA key that is made */
    int64_t not_before_ms, not_after_ms;
};
/* What proves a domain, and, where it was looked for, whether it is there. */
struct admin_proof {
    bool look; /* in: look now */
    char name[336], value[96];
    const char *found; /* "there", "missing", "unknown" (the DNS does not answer); NULL: it was not looked for */
    char words[200];
};
struct admin_leave_opts {
    int64_t timeout_ms;
};

struct admin_cluster {
    int (*status)(void *ctx, struct admin_cluster_status *out);

    /* The replicated state, for reading; NULL: not a member. Stays as long as the admin server runs. */
    struct machine *(*machine)(void *ctx);
    /* Afterwards the state has everything that was acknowledged before the call, on any node. ERR_TIMEOUT after 5 s,
     * with the nodes that are missing in `e`. */
    int (*barrier)(void *ctx, struct admin_error *e);
    /* Proposes, waits for the result and until this node has applied it. `cmd->...by.who` and `.wall_ms` are filled in
     * from `by`. A result with err is returned as an error, its words in `e`. ERR_TIMEOUT after 5 s without quorum:
     * `e` says whether it may still happen, and which nodes are missing. */
    int (*submit)(void *ctx, const struct admin_caller *by, struct command *cmd, struct machine_result *out,
                  struct admin_error *e);
    /* Waits until every session that there was obeys what was applied at `index` (a freeze), or has expired. Calls
     * `fn` once per node as it is known. */
    int (*await_obeyed)(void *ctx, uint64_t index, int64_t timeout_ms, admin_freeze_fn *fn, void *arg,
                        struct admin_error *e);
    /* freeze --local and its end: on this node only, kept over restarts until the cluster has the freeze. */
    int (*freeze_local)(void *ctx, const struct admin_caller *by, const struct command_freeze *f, struct admin_error *e);
    int (*thaw_local)(void *ctx, const struct admin_caller *by, uint8_t scope, const char *name, struct admin_error *e);
    /* Who is frozen on this node only; NULL: not told. `id` and the times of cluster time are 0. */
    int (*frozen_local)(void *ctx, machine_frozen_fn *fn, void *arg);

    int (*init)(void *ctx, const struct admin_caller *by, const struct admin_init_opts *opts, struct admin_error *e);
    int (*join)(void *ctx, const struct admin_caller *by, const struct admin_join_opts *opts, struct admin_error *e);
    /* A new token, whose text goes to `out`; good for for_ms, for `node_name` or (NULL) any. */
    int (*token)(void *ctx, const struct admin_caller *by, int64_t for_ms, const char *node_name, struct buf *out,
                 struct admin_error *e);
    /* Makes `node` a voter, or a standby. */
    int (*role)(void *ctx, const struct admin_caller *by, uint64_t node, uint8_t role, struct admin_error *e);
    /* Out of the cluster: a dead node. `lost` gets what is lost with it, a line each. */
    int (*remove)(void *ctx, const struct admin_caller *by, uint64_t node, struct buf *lost, struct admin_error *e);
    /* This node: no new mail; `false` ends it. */
    int (*drain)(void *ctx, const struct admin_caller *by, bool on, struct admin_error *e);
    int (*leave)(void *ctx, const struct admin_caller *by, const struct admin_leave_opts *opts, struct admin_error *e);

    /* Encrypts it and adds it; its DNS record goes to `record`. */
    int (*dkim_add)(void *ctx, const struct admin_caller *by, const struct admin_dkim_key *key, struct buf *record,
                    struct admin_error *e);
    /* All secrets under a new sealing key, or goes on with that; `lost`: what nobody can decrypt stays as it is. */
    int (*rekey)(void *ctx, const struct admin_caller *by, bool lost, uint32_t *done, uint32_t *left,
                 struct admin_error *e);

    /* Encrypts a random secret and adds it: `text`, or (NULL) one that is made. `name` NULL: it is named by the time.
     * What it is called goes to `named`. Uses: "bounces", "domains", "srs". */
    int (*secret_add)(void *ctx, const struct admin_caller *by, const char *use, const char *name, const char *text,
                      struct buf *named, struct admin_error *e);
    /* One is made where there is none. */
    int (*secret_ensure)(void *ctx, const struct admin_caller *by, const char *use, struct admin_error *e);
    /* Does this node lack what decrypts one of them? */
    bool (*secret_closed)(void *ctx, const char *use);

    /* In A-labels and lower case; ERR_BAD: no domain name. */
    int (*domain_name)(const char *name, char out[256]);
    /* The record that proves a domain for a tenant (""; accounts without one), both as the state has them. Looks for it if
     * so asked, and has the state know what was found. Asks the DNS, for up to half a minute. */
    int (*domain_proof)(void *ctx, const struct admin_caller *by, const char *tenant, const char *domain,
                        struct admin_proof *out, struct admin_error *e);

    /* The state as a backup's file, with everything that was acknowledged before the call. */
    int (*backup)(void *ctx, const struct admin_caller *by, struct buf *out, struct admin_error *e);

    /* Batches on their way, and counts. Under machine_read_lock; takes no other lock of the machine's. */
    int (*transfers)(void *ctx, admin_transfer_fn *fn, void *arg, struct admin_transfers *all);
    int (*transfer_cancel)(void *ctx, const struct admin_caller *by, const char *batch, struct admin_error *e);
    int (*transfer_take)(void *ctx, const struct admin_caller *by, const char *batch, struct admin_error *e);
    /* Ends what is kept of a removed node's batches; `kept`: those of which a node still has copies. */
    int (*transfer_forget)(void *ctx, const struct admin_caller *by, const char *node, uint32_t *ended, uint32_t *kept,
                           struct admin_error *e);
    int (*queue_move)(void *ctx, const struct admin_caller *by, const struct admin_selector *sel, uint64_t node,
                      bool dry_run, uint64_t *messages, struct admin_error *e);
    /* The spool of a removed node. */
    int (*adopt)(void *ctx, const struct admin_caller *by, const char *dir, const char *node,
                 struct admin_adopted *out, struct admin_error *e);

    /* Asks all nodes at once, for at most timeout_ms. */
    int (*ask)(void *ctx, const char *path, int64_t timeout_ms, admin_ask_fn *fn, void *arg, struct admin_error *e);
};

/* The other side of `ask`: answers a GET as the HTTP server would, into `body`; the status. Any thread but a loop's. */
struct admin;
int admin_answer(struct admin *a, const char *path, struct buf *body);

#endif
