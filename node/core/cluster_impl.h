/* Between the files cluster*.c; nobody else includes it. Everything in struct cluster belongs to the cluster
 * thread but for what stands below "any thread".
 */
#ifndef NODE_CORE_CLUSTER_IMPL_H
#define NODE_CORE_CLUSTER_IMPL_H

#include "base/inbox.h"
#include "base/list.h"
#include "consensus/directory.h"
#include "consensus/lease.h"
#include "consensus/machine.h"
#include "consensus/replica.h"
#include "consensus/transport.h"
#include "gossip/gossip.h"
#include "node/admin/cluster.h"
#include "node/cluster/identity.h"
#include "node/core/cluster.h"
#include "node/core/pools.h"
#include "node/ledger/agent.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <uv.h>

#define CLUSTER_TICK_MS 20
#define CLUSTER_LEADER_MS 100  /* between two looks at what is due */
#define CLUSTER_MEMBERS_MS 100 /* between two steps of the membership */
#define CLUSTER_CALL_MS 5000   /* operators' commands without quorum */
#define CLUSTER_MEMBERS_MAX 64
#define CLUSTER_WAITERS_MAX 64 /* of other nodes, for a published index */
#define CLUSTER_DIGESTS 8
#define CLUSTER_DIGEST_EVERY 1024 /* indexes */

/* Between nodes; a number is never used for anything else. */
enum cluster_message {
    CLUSTER_MESSAGE_PROPOSE = 1, /* u32 number, encoded commands */
    CLUSTER_MESSAGE_RESULT =
        2, /* u64 index, u32 number, then of each: u8 command, u64 session, u64 seq, result */
    CLUSTER_MESSAGE_REMOVED = 3,     /* you are out */
    CLUSTER_MESSAGE_AUTH_FAILED = 4, /* account, client network: a login failed */
    CLUSTER_MESSAGE_AUTH_RIGHT = 16, /* the same: it did not */
    CLUSTER_MESSAGE_AUTH_UNBLOCK = 17, /* the same, one of them empty: it may go on */
    CLUSTER_MESSAGE_SHAPING = 5,     /* shaping_hold_encode: what a destination asks for */
    CLUSTER_MESSAGE_STS = 6,         /* sts_share_tell: an MTA-STS policy that was fetched */
    CLUSTER_MESSAGE_SHAPING_ASK = 7, /* what destinations ask for, as far as you know: you may not have told me */
    CLUSTER_MESSAGE_SHAPING_AGAIN = 8, /* as SHAPING: an answer to that */
};
enum cluster_question {
    CLUSTER_ASK_INDEX = 16, /* -> u64: what was acknowledged before the question is in the state up to it */
    CLUSTER_ASK_PUBLISHED = 17, /* u64 index -> u64 session, u64 published: once it obeys that index */
    CLUSTER_ASK_RENEW = 18,     /* a certificate request -> the certificate */
    CLUSTER_ASK_SECRET = 19,    /* -> of the CA's key; voters only */
    CLUSTER_ASK_GET = 20,       /* a path -> u16 status, body */
    CLUSTER_ASK_SEALING = 24,   /* u64 number, 16 bytes of its id -> the sealing key: members only */
    CLUSTER_ASK_TRANSFER = 21,  /* transfer_question -> transfer_answer, of transfer_wire.h */
    CLUSTER_ASK_STS = 22,       /* sts_share_question -> sts_share_answer: MTA-STS policies */
};

enum cluster_state {
    CLUSTER_NONE, /* no member */
    CLUSTER_RUNNING,
    CLUSTER_STOPPING, /* closing, one after another */
    CLUSTER_LEFT,     /* was a member; its files are aside */
};

struct cluster_call;
struct cluster_ticket;

/* What an admin thread wants of the cluster thread. It lives on the asker's stack until cluster_call_done,
 * which the cluster thread runs exactly once: from `run`, from `poll`, or with an error at the deadline. */
struct cluster_call {
    struct inbox_msg msg;
    struct list link; /* of c->calls */
    void (*run)(struct cluster *c, struct cluster_call *call);
    /* Something was applied, or a tick passed; NULL: it waits for a ticket alone. */
    void (*poll)(struct cluster *c, struct cluster_call *call);
    /* The deadline passed (ERR_TIMEOUT) or everything ends (ERR_CLOSED): words for `e`, an error. May be
     * NULL. */
    int (*give_up)(struct cluster *c, struct cluster_call *call, int err);
    /* On the asking thread, whenever there are news; may be NULL. */
    void (*meanwhile)(struct cluster_call *call);
    int64_t timeout_ms;
    int64_t deadline_ms; /* by CLOCK_BOOTTIME; set when it arrives */
    struct cluster_ticket *ticket;
    uint64_t number; /* of a question: how its answers find it */
    struct admin_error *e;
    int err;
    bool last;    /* our own, at the stop: taken when others are not, and no other after it */
    bool waiting; /* in c->calls */
    bool over;    /* under lock: the asker may go on */
    bool news;    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
};

/* Stands for a call in callbacks that may come after its end. */
struct cluster_ticket {
    struct cluster *c;
    struct cluster_call *call; /* NULL: it is over */
};

struct cluster_digest {
    uint64_t index, digest;
};
struct cluster_vote { /* what a node said last */
    uint64_t node;
    struct cluster_digest said[CLUSTER_DIGESTS];
    uint32_t next;
};
struct cluster_waiter { /* another node waits until we obey */
    struct gossip_request *request;
    uint64_t index;
    int64_t until_ms;
};
struct cluster_out { /* results on their way to a node */
    uint64_t node;
    uint32_t n;
    struct buf bytes;
};
struct cluster_local { /* a freeze of this node alone */
    struct list link;
    uint8_t scope, mode;
    int64_t wall_ms, until_ms; /* wall; until 0: no end */
    bool submitted;
    char *name, *reason, *who;
};

struct cluster_answers; /* cluster_answer.c */
struct cluster_auth;    /* cluster_auth.c */
struct cluster_sts;     /* cluster_sts.c */
struct cluster_hook;    /* cluster_hook.c */
struct cluster_addresses; /* cluster_addresses.c */
struct cluster_seal;    /* cluster_seal.c */
struct seal_key;

struct notices;
struct suppress;
struct tally;
struct web_claims;
struct returned_owners;
struct forward_returns;
struct cluster_proof;
struct cluster_reports;
struct cluster_erase;
struct warmup_hand;

struct cluster {
    struct node *node;
    uv_loop_t loop;
    uv_thread_t thread;
    bool started;
    bool starting; /* a member, whose stack has not been started yet */
    struct inbox inbox;
    uv_timer_t tick;
    uv_check_t check;
    char dir[512], raft_dir[544];
    sem_t ended;

    enum cluster_state state, after; /* after: what it is once it has closed */
    bool stopping;                   /* the process ends */
    struct cluster_call *stop_call;  /* who waits for the stack's end, and what he is told */
    int stop_err;
    struct identity id;
    struct transport *transport, *dead_transport;
    bool replica_broken; /* it could not be opened */
    struct replica *replica;
    struct gossip *gossip;
    struct agent *agent;
    struct lease *lease;
    struct machine *m; /* machine, for this thread */

    enum replica_role role;
    uint64_t leader;
    bool ready;
    uint64_t effect_index; /* of the entry whose effects are told just now, or of a leader's direct result */
    struct list calls;     /* cluster_call */
    bool poll_due, frozen_dirty, members_dirty, policy_dirty;
    int64_t leader_ms, members_ms, slow_ms; /* when they were looked at, boottime */
    bool gate_open;                         /* the workers were told that they may deliver */
    bool hold_known;                        /* this process has had a session: it knows the policy */
    bool hold_saved, hold_unsaved;          /* what is on disk; it could not be written */
    int64_t quorum_ms;                      /* until then: when there was a quorum last */
    struct buf due;                         /* scratch */
    struct suppress *suppress;
    struct notices *notices;
    struct tally *tally;
    struct web_claims *webs;
    struct returned_owners *owners;
    struct forward_returns *returns;
    struct cluster_proof *proof;
    struct cluster_reports *reports;
    struct cluster_erase *erase;
    struct warmup_hand *warmup;
    int64_t warmup_ms; /* not scanned before */
    struct { /* reputation.c */
        bool busy, standings; /* a look at all is under way; at standings, behind records */
        int64_t begun_ms;
        char at[COMMAND_NAME_MAX + 1]; /* the last one that was looked at */
    } reputation;
    struct cluster_out outs[CLUSTER_MEMBERS_MAX];
    uint32_t nouts;

    /* membership, on the leader */
    uint64_t peers[GOSSIP_PEERS_MAX]; /* whom gossip talks to */
    uint32_t npeers;
    int64_t expel_ms;                /* > 0: when removed members are cut off; < 0: now */
    uint64_t told[GOSSIP_PEERS_MAX]; /* removed members that know it and are not cut off yet */
    uint32_t ntold;
    bool members_again;
    bool change_busy;
    uint64_t change_node;
    int64_t change_ms;  /* when the last one was proposed or failed */
    struct {
        uint64_t node; /* 0: nothing */
        uint8_t state, role; /* 0: as they were */
    } proposed; /* of a member, last */
    uint64_t promoting; /* the standby that is to be a voter, since */
    int64_t promoting_ms;
    int64_t surplus_ms; /* when there were not too many voters last */
    int64_t ready_ms;   /* since when this node leads */
    bool renewing, asking_secret, reporting;
    bool members_seen; /* since the start: the directory's addresses are newer than those in the file */
    bool moved;        /* its addresses are others than at the start before */
    bool announcing, unheard;
    int64_t address_ms, announced_ms; /* of the start or the last answer; of the last announcement */
    int64_t renew_ms;
    struct buf renew_key; /* of the certificate that was asked for */
    bool claimed;         /* an operator makes this node a member just now */
    bool founding;        /* CLUSTER_INIT was proposed */
    bool removed;         /* we are out: the stack is to be closed */
    uint32_t joins;
    struct {
        int64_t since_ms;
        uint32_t n, left_out;
    } refusals; /* of joins, in the log */

    struct cluster_waiter waiters[CLUSTER_WAITERS_MAX];
    uint32_t nwaiters;

    /* digests */
    struct cluster_digest digests[CLUSTER_DIGESTS];
    uint32_t next_digest;
    struct cluster_vote votes[CLUSTER_MEMBERS_MAX];
    uint32_t nvotes;
    bool digest_mismatch, fenced;
    int64_t fence_ms; /* when leadership was handed over for it */

    uint64_t no_room; /* machine_totals, when it was said; no_room_ms 0: never */
    int64_t no_room_ms;

    /* pools */
    bool pools_dirty, senders_dirty;
    bool pools_known;  /* this process has had a session */
    bool pools_moving; /* an address of this node is asked for */
    uint64_t pools_number;
    int64_t senders_ms; /* not made anew before */
    struct pool_senders *senders;
    struct config *pools_config; /* what the view was made with */

    struct list locals;       /* cluster_local */
    struct gossip_state said; /* by us, last */
    uint64_t cpu_us, cpu_at_ms;
    struct cluster_count *counts; /* of each worker's held mail: cluster_health.c */

    /* any thread */
    pthread_mutex_t lock;
    bool closed;                /* under lock: no call is taken */
    struct policy *policy;      /* under lock */
    struct frozen_view *frozen; /* under lock */
    struct pool_view *pools;    /* under lock */
    _Atomic uint64_t pools_state;
    struct machine *_Atomic machine;
    struct agent *_Atomic shared_agent;
    _Atomic uint64_t self;
    const char *_Atomic refusal;
    atomic_bool holds, is_holding; /* see cluster_holds */
    atomic_bool connected, leads;
    atomic_int failed;
    struct cluster_answers *answers;
    struct cluster_auth *auth;
    struct inbox shaping; /* what other nodes are to be told: cluster_shaping.c */
    struct cluster_sts *sts;
    struct cluster_hook *hook;
    struct cluster_addresses *addresses;
    bool stop_waits; /* the stack is closed once its addresses are off the machine */
    struct cluster_seal *seal;
};

/* ---- cluster.c ----------------------------------------------------------------------------------------- */

void cluster_refresh(struct cluster *c); /* why no mail: looks again */
/* The process must end. */
void cluster_give_up(struct cluster *c, int err, const char *words);

/* ---- cluster_call.c ------------------------------------------------------------------------------------ */

void cluster_call_init(struct cluster_call *call, void (*run)(struct cluster *, struct cluster_call *),
                       struct admin_error *e);
/* Admin thread: has it run, waits for its end. */
int cluster_call_wait(struct cluster *c, struct cluster_call *call);
/* Cluster thread. */
void cluster_call_done(struct cluster *c, struct cluster_call *call, int err);
/* Wakes the asker for `meanwhile`. */
void cluster_call_news(struct cluster_call *call);
/* From `run`: it is not done yet. */
void cluster_call_later(struct cluster *c, struct cluster_call *call);
void cluster_calls_poll(struct cluster *c, bool tick);
void cluster_calls_end(struct cluster *c);
struct cluster_ticket *cluster_ticket_new(struct cluster *c, struct cluster_call *call);
/* Frees it; NULL: the call is over. */
struct cluster_call *cluster_ticket_take(struct cluster_ticket *t);
void cluster_call_arrived(void *ctx, struct inbox_msg *msg);

/* ---- cluster_stack.c ----------------------------------------------------------------------------------- */

/* Starts what a member runs, from c->id. */
int cluster_stack_start(struct cluster *c);
/* Closes it; at the end c->state is CLUSTER_LEFT or CLUSTER_NONE, and the loop's own handles close if
 * c->stopping. */
void cluster_stack_stop(struct cluster *c, enum cluster_state after);
extern const struct gossip_ops cluster_gossip_ops;

/* ---- cluster_forward.c --------------------------------------------------------------------------------- */

void cluster_send(void *ctx, struct span commands, uint32_t n);
void cluster_forward_result(struct cluster *c, const struct machine_effect *e);
void cluster_forward_flush(struct cluster *c, uint64_t index);
void cluster_forward_fini(struct cluster *c);
/* What a node may ask for: a command under a session of its own, or the opening of one. */
bool cluster_may_propose(const struct machine *m, uint64_t from, const struct command *cmd);
void cluster_on_propose(struct cluster *c, uint64_t from, struct span payload);
void cluster_on_result(struct cluster *c, uint64_t from, struct span payload);
/* The leader's own commands, with origin 0. */
int cluster_propose(struct cluster *c, const struct command *cmd);

/* ---- cluster_member.c ---------------------------------------------------------------------------------- */

bool cluster_admit(void *ctx, const struct peer *peer, const uint8_t sha256[32]);
/* The directory's members changed, or the stack has just started. */
void cluster_members_changed(struct cluster *c);
void cluster_members_tick(struct cluster *c);
/* Ends a change that was begun. */
void cluster_change_cb(void *ctx, int err);
/* On the leader: at most one step. */
void cluster_members_step(struct cluster *c);
/* May this standby be made a voter just now? libraft counts it from the moment its leader has written that down,
 * and it votes once it has that entry itself. Were the leader lost in between, the others might lack its vote
 * until the leader is back. So it must be right behind, and answering; after a while under load, just answering. */
bool cluster_may_vote_now(const struct replica_server *s, uint64_t last, int64_t waited_ms);
bool cluster_own_member(struct cluster *c, struct directory_member *out);
uint32_t cluster_voters_wanted(struct cluster *c);
/* "node-b (192.0.2.2:7301), node-c (...)": those that do not answer. */
void cluster_missing(struct cluster *c, struct buf *out);

/* ---- cluster_join.c ------------------------------------------------------------------------------------ */

void cluster_on_join(void *ctx, struct transport_join *j, struct span request, const char *from);
bool cluster_is_founded(const struct cluster *c); /* the state is of the epoch of this node's certificate */
/* Proposes the cluster's first command, from the file that `init` wrote. */
void cluster_found(struct cluster *c);
void cluster_founded(struct cluster *c);

/* ---- cluster_cert.c ------------------------------------------------------------------------------------ */

/* The leader: a certificate for a member. ERR_BUSY: it has not what it takes. */
int cluster_issue(struct cluster *c, struct span request, uint64_t node, struct span name,
                  struct buf *certificate, struct ca_info *info);
/* Its hash into the log, before anybody gets it. */
int cluster_submit_issued(struct cluster *c, uint64_t node, const struct ca_info *info, agent_cb *cb,
                          void *ctx);
/* Asks for a new certificate when a third of this one's time is left; for the secret when a voter lacks it.
 */
void cluster_renew_tick(struct cluster *c);
void cluster_on_renew(struct cluster *c, struct gossip_request *r, uint64_t from, struct span request);
void cluster_on_secret(struct cluster *c, struct gossip_request *r, uint64_t from);
bool cluster_certificate_expires_soon(struct cluster *c);

/* ---- cluster_frozen.c ---------------------------------------------------------------------------------- */

int cluster_frozen_load(struct cluster *c); /* of this node alone, from its file */
/* Whether mail waits while the node is cut off: from its file; and as policy and session are now. */
void cluster_hold_load(struct cluster *c);
void cluster_hold_look(struct cluster *c, bool save);
void cluster_frozen_publish(struct cluster *c);
void cluster_frozen_tick(struct cluster *c); /* ends, and hands to the cluster, what is of this node alone */
void cluster_frozen_fini(struct cluster *c);
int cluster_freeze_local(void *ctx, const struct admin_caller *by, const struct command_freeze *f,
                         struct admin_error *e);
int cluster_thaw_local(void *ctx, const struct admin_caller *by, uint8_t scope, const char *name,
                       struct admin_error *e);

/* ---- cluster_pools.c ------------------------------------------------------------------------------------
 */

/* Pools, assignments (the key is empty) or an address changed. */
void cluster_pools_changed(struct cluster *c, struct span key);
void cluster_pools_session(struct cluster *c, bool usable);
/* After what was applied in this turn. */
void cluster_pools_check(struct cluster *c, int64_t now);
void cluster_pools_tick(struct cluster *c, int64_t now);
/* This node is no member any more: it has no address. */
void cluster_pools_left(struct cluster *c);
void cluster_pools_fini(struct cluster *c);

/* ---- cluster_health.c ---------------------------------------------------------------------------------- */

int cluster_counts_new(struct cluster *c);
void cluster_counts_free(struct cluster *c);
void cluster_fill_state(void *ctx, struct gossip_state *s);
void cluster_on_state(void *ctx, const struct gossip_state *s);
void cluster_digest_applied(struct cluster *c, uint64_t index);
bool cluster_has_quorum(struct cluster *c);
/* Each second: says it now and then while the leader must refuse senders for want of counters. */
bool cluster_room_tick(struct cluster *c, int64_t now);

/* ---- cluster_address.c --------------------------------------------------------------------------------- */

/* With the transport there: this node's addresses are the configuration's, the others' those known last. */
void cluster_address_started(struct cluster *c, const struct config *config);
/* The node is dialled there from now on. NULL: it is none any more. */
void cluster_address_use(struct cluster *c, uint64_t node, const char *raft_address);
/* Each second: has the cluster told when this node's addresses are others now. */
void cluster_address_tick(struct cluster *c, int64_t now);

/* ---- cluster_files.c ----------------------------------------------------------------------------------- */

/* Small files in the cluster's folder. */
#define CLUSTER_PATH_MAX 600
void cluster_file_path(const struct cluster *c, const char *name, char out[CLUSTER_PATH_MAX]);
/* Whole or not at all, and on disk; its name only after cluster_files_sync. */
int cluster_file_replace(const struct cluster *c, const char *name, struct span content);
int cluster_file_remove(const struct cluster *c, const char *name); /* 0 also when there is none */
int cluster_files_sync(const struct cluster *c);

/* ---- cluster_fence.c ----------------------------------------------------------------------------------- */

/* The state of this node is not the others': it takes no mail any more, nor after a restart. */
void cluster_fence(struct cluster *c, uint64_t index, const char *why);
/* At the start, with c->dir. */
void cluster_fence_load(struct cluster *c);
/* A fenced leader hands over. */
void cluster_fence_tick(struct cluster *c, int64_t now);

/* ---- cluster_published.c ------------------------------------------------------------------------------- */

void cluster_on_published(struct cluster *c, struct gossip_request *r, struct span payload);
void cluster_published_poll(struct cluster *c);
void cluster_published_fini(struct cluster *c);

/* ---- cluster_answer.c ---------------------------------------------------------------------------------- */

int cluster_answers_new(struct cluster *c, struct cluster_answers **out);
/* Waits for those that are being answered. */
void cluster_answers_stop(struct cluster_answers *a);
/* With the loop's other handles. */
void cluster_answers_close(struct cluster_answers *a);
void cluster_answers_free(struct cluster_answers *a);
void cluster_on_get(struct cluster *c, struct gossip_request *r, struct span path);

/* ---- cluster_auth.c ------------------------------------------------------------------------------------ */

int cluster_auth_new(struct cluster *c, struct cluster_auth **out);
/* With the loop's other handles. */
void cluster_auth_close(struct cluster_auth *a);
void cluster_auth_free(struct cluster_auth *a);
/* An account is another one now; empty: any. */
void cluster_auth_changed(struct cluster *c, struct span account);
void cluster_auth_heard(struct cluster *c, struct span payload, uint16_t type);
/* Tells all other nodes. Any thread. */
void cluster_auth_unblock(struct cluster *c, struct span account, struct span network);
/* The policy is another one: its bounds on failed logins. */
void cluster_auth_policy(struct cluster *c, const struct policy *p);

/* ---- cluster_shaping.c --------------------------------------------------------------------------------- */

int cluster_shaping_init(struct cluster *c);
void cluster_shaping_heard(struct cluster *c, struct span payload, bool again);
/* A node is there, for the first time or again: what is in force by what it knows is asked for. */
void cluster_shaping_alive(struct cluster *c, uint64_t node);
void cluster_shaping_asked(struct cluster *c, uint64_t node);

/* ---- cluster_sts.c ------------------------------------------------------------------------------------- */

int cluster_sts_new(struct cluster *c, struct cluster_sts **out);
/* With the loop's other handles. */
void cluster_sts_close(struct cluster_sts *s);
void cluster_sts_free(struct cluster_sts *s);
void cluster_sts_heard(struct cluster *c, struct span payload);
void cluster_on_sts(struct cluster *c, struct gossip_request *r, struct span question);
/* A node is there (again): what it knows is asked for soon. */
void cluster_sts_alive(struct cluster *c, uint64_t node);
/* Each second. */
void cluster_sts_tick(struct cluster *c);

/* ---- cluster_seal.c ------------------------------------------------------------------------------------ */

int cluster_seal_new(struct cluster_seal **out);
void cluster_seal_free(struct cluster_seal *s);
/* The node's sealing keys, from its folder: before the stack runs. */
int cluster_seal_load(struct cluster *c);
/* The state's secrets changed, or the stack has just started. */
void cluster_seal_changed(struct cluster *c);
/* After each turn: a few keys are known at once, and all of them before mail is accepted, lest it goes unsigned. */
void cluster_seal_check(struct cluster *c);
void cluster_seal_tick(struct cluster *c, int64_t now);
/* Cluster thread. The number of the sealing key that no node has given to this one for a while; 0: it has what it needs. */
uint64_t cluster_seal_missing(const struct cluster *c, int64_t now);
void cluster_on_sealing(struct cluster *c, struct gossip_request *r, uint64_t from, struct span question);
/* Any thread. A copy of the one that the state names, once this node has it. ERR_TIMEOUT. */
int cluster_seal_await(struct cluster *c, uint64_t number, const uint8_t id[16], int64_t timeout_ms,
                       struct seal_key *out);
/* Any thread. One for the next number, on disk. It is kept until the state has that number, with it or with another. */
int cluster_seal_make(struct cluster *c, uint64_t number, struct seal_key *out, struct buf *why);
/* Any thread. Until another node has been given it; false: none has in time. */
bool cluster_seal_await_given(struct cluster *c, uint64_t number, int64_t timeout_ms);

/* ---- cluster_seal_ops.c -------------------------------------------------------------------------------- */

int cluster_dkim_add(void *ctx, const struct admin_caller *by, const struct admin_dkim_key *key, struct buf *record,
                     struct admin_error *e);
int cluster_rekey(void *ctx, const struct admin_caller *by, bool lost, uint32_t *done, uint32_t *left,
                  struct admin_error *e);
/* The one in force, which is made when there is none. */
int cluster_sealing_key(void *ctx, const struct admin_caller *by, struct seal_key *out, struct admin_error *e);
/* What a secret is bound to: its kind, name and selector. */
#define CLUSTER_SEAL_ABOUT_MAX (2 * COMMAND_NAME_MAX + 2)
struct span cluster_seal_about(uint8_t kind, struct span name, struct span selector,
                               char out[CLUSTER_SEAL_ABOUT_MAX]);

/* ---- cluster_secret.c ---------------------------------------------------------------------------------- */

int cluster_secret_add(void *ctx, const struct admin_caller *by, const char *use, const char *name, const char *text,
                       struct buf *named, struct admin_error *e);
int cluster_secret_ensure(void *ctx, const struct admin_caller *by, const char *use, struct admin_error *e);
bool cluster_secret_closed(void *ctx, const char *use);

/* ---- cluster_erase.c ----------------------------------------------------------------------------------- */

int cluster_erase_new(struct cluster *c, struct cluster_erase **out);
/* Waits for what is under way: before the workers end. */
void cluster_erase_stop(struct cluster_erase *e);
void cluster_erase_free(struct cluster_erase *e);
void cluster_erase_tick(struct cluster *c, int64_t now);
/* Takes an address (lower case) out of this node's history. `living`: some of its mail is in the spool. Any
 * thread but a loop's. */
int erase_here(struct node *n, const char *address, const atomic_bool *stop, uint64_t *rows, bool *living);

/* ---- cluster_reports.c --------------------------------------------------------------------------------- */

int cluster_reports_new(struct cluster *c, struct cluster_reports **out);
void cluster_reports_free(struct cluster_reports *r);
/* On the leader: what tenants' contacts are sent, one at a time. */
void cluster_reports_tick(struct cluster *c, int64_t now);
/* What a period is called: "day 20779", "week 2969" (from Monday, UTC). */
void tenant_report_period(bool weekly, int64_t wall_ms, char out[32]);

/* ---- cluster_proof.c ----------------------------------------------------------------------------------- */

int cluster_proof_new(struct cluster *c, struct cluster_proof **out);
void cluster_proof_free(struct cluster_proof *p);
/* On the leader: looks whether domains are proven, some at a time. */
void cluster_proof_tick(struct cluster *c, int64_t now);
int cluster_domain_name(const char *name, char out[256]);
int cluster_domain_proof(void *ctx, const struct admin_caller *by, const char *tenant, const char *domain,
                         struct admin_proof *out, struct admin_error *e);

/* ---- cluster_transfer.c -------------------------------------------------------------------------------- */

void cluster_on_transfer(struct cluster *c, struct gossip_request *r, uint64_t from, struct span question);

/* ---- cluster_hook.c ------------------------------------------------------------------------------------ */

int cluster_hook_new(struct cluster *c, struct cluster_hook **out);
/* Runs it if this node has started or stopped serving since it was run last. */
void cluster_hook_poll(struct cluster *c);
/* After the loop's end. */
void cluster_hook_free(struct cluster_hook *h);

/* ---- cluster_addresses.c ------------------------------------------------------------------------------- */

int cluster_addresses_new(struct cluster *c, struct cluster_addresses **out);
/* At the start, with c->dir: what a process that was killed left on the machine. 0 or -ENOMEM. */
int cluster_addresses_load(struct cluster *c);
/* Around a look at all addresses of the state. See: false where it is known not to be on its owner's machine. */
void cluster_addresses_begin(struct cluster *c);
bool cluster_addresses_see(struct cluster *c, const struct directory_ip *ip, const struct pool_address *a);
void cluster_addresses_end(struct cluster *c);
/* Nothing goes out from it any more: has it taken off. True once that was done, or tried. */
bool cluster_addresses_give_up(struct cluster *c, const struct ip_addr *addr);
void cluster_addresses_tick(struct cluster *c, int64_t now);
/* Has all of them taken off; true once that was done or tried, or has taken too long. */
void cluster_addresses_stopping(struct cluster *c);
bool cluster_addresses_stopped(struct cluster *c, int64_t now);
/* After the loop's end. */
void cluster_addresses_free(struct cluster_addresses *ca);

/* ---- cluster_ops*.c ------------------------------------------------------------------------------------ */

struct cluster *cluster_of(void *ctx);                      /* of the node that the admin server gives */
int cluster_need(struct cluster *c, struct admin_error *e); /* a member, or says what to do */
int cluster_no_quorum(struct cluster *c, struct admin_error *e, int err, bool may_happen);

struct command_by *cluster_command_by(struct command *cmd); /* NULL: not an operator's */
int cluster_submit(void *ctx, const struct admin_caller *by, struct command *cmd, struct machine_result *out,
                   struct admin_error *e);
int cluster_barrier(void *ctx, struct admin_error *e);
int cluster_backup(void *ctx, const struct admin_caller *by, struct buf *out, struct admin_error *e);
int cluster_frozen_local(void *ctx, machine_frozen_fn *fn, void *arg);
int cluster_status(void *ctx, struct admin_cluster_status *out);
int cluster_await_obeyed(void *ctx, uint64_t index, int64_t timeout_ms, admin_freeze_fn *fn, void *arg,
                         struct admin_error *e);
int cluster_init_op(void *ctx, const struct admin_caller *by, const struct admin_init_opts *opts,
                    struct admin_error *e);
int cluster_join_op(void *ctx, const struct admin_caller *by, const struct admin_join_opts *opts,
                    struct admin_error *e);
int cluster_token(void *ctx, const struct admin_caller *by, int64_t for_ms, const char *node_name,
                  struct buf *out, struct admin_error *e);
int cluster_role(void *ctx, const struct admin_caller *by, uint64_t node, uint8_t role,
                 struct admin_error *e);
int cluster_remove(void *ctx, const struct admin_caller *by, uint64_t node, struct buf *lost,
                   struct admin_error *e);
int cluster_drain(void *ctx, const struct admin_caller *by, bool on, struct admin_error *e);
int cluster_leave(void *ctx, const struct admin_caller *by, const struct admin_leave_opts *opts,
                  struct admin_error *e);
int cluster_ask(void *ctx, const char *path, int64_t timeout_ms, admin_ask_fn *fn, void *arg,
                struct admin_error *e);

#endif
