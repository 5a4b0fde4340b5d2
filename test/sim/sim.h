/* The simulation: a cluster of three or five nodes as they would run, on one thread and in a time of its own.
 *
 * Each node is libraft (the real one) over a disk and a network that are simulated here, the replicated
 * machine, the leader's lease, an agent and two workers, the spool and the transfer of mail with their
 * threads. Clients send mail, operators freeze, thaw and change limits, and trouble comes from a seed:
 * processes that are killed and lose what was not synced, links cut in one direction or both, disks and whole
 * machines that stand still, clocks at both ends of what is assumed, messages that are lost, late or
 * repeated. What must hold is judged by check.c, which knows only what was admitted when, in real time, and
 * what operators were told.
 *
 *     memory.c    each process's memory, which is gone when it is killed
 *     threads.c   threads of processes, on the one of the simulation
 *     disk.c      what was synced, what was not yet; libraft's view of it
 *     net.c       messages between nodes
 *     server.c    a process: begin, end, one turn of its loops
 *     lead.c      what a leader does: its barrier, cluster time, entries; and libraft's state machine
 *     load.c      clients
 *     mail.c      what is accepted: the spool, its delivery, its moves between nodes; mail_disk.c, mail_cluster.c
 *     mail_check.c  what must hold of it
 *     address.c   in half of the seeds: source addresses, their plans of the day, senders' records
 *     address_check.c  what must hold of them
 *     address_ops.c  operators of pools
 *     operate.c   operators
 *     senders.c   in a quarter of the seeds: senders who are slowed, mail of a stream
 *     schedule.c  what goes wrong when: from a seed, or a file
 *     trouble.c   going wrong
 *     check.c     what must hold
 *     sim.c       one run
 *     main.c      many seeds, a seed twice, a schedule
 *     shrink.c    a shorter schedule with the same fault
 */
#ifndef TEST_SIM_SIM_H
#define TEST_SIM_SIM_H

#include "base/buf.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/heap.h"
#include "base/list.h"
#include "consensus/lease.h"
#include "consensus/machine.h"
#include "consensus/policy.h"
#include "gossip/gossip_health.h"
#include "node/ledger/agent.h"
#include "node/ledger/internal.h"
#include "test/unit/spool/simdisk.h"

#include <raft.h>
#include <stdio.h>

#define SIM_SERVERS_MAX 5
#define SIM_WORKERS 2
#define SIM_ACCOUNTS 5 /* of the load */
#define SIM_LIMITS 5
#define SIM_STEP_NS (5 * SIM_MS)
#define SIM_MS INT64_C(1000000)
#define SIM_ASKED_MAX 32
#define SIM_FLIGHTS_MAX 64

/* ---- a disk ----------------------------------------------------------------------------------------------
 */

struct sim_entry {
    raft_term term;
    enum raft_entry_type type;
    size_t n;
    char *bytes;
};
struct sim_snapshot {
    raft_index index, conf_index;
    raft_term term;
    struct sim_entry conf, data; /* bytes only */
};
struct sim_disk {
    raft_term term;
    raft_id vote;
    struct sim_entry *entries;
    raft_index first; /* of the entries */
    uint32_t n, cap;
    struct sim_snapshot snapshot; /* index 0: none */
    struct list ops, done;        /* struct sim_op: on their way, in order; executed, not yet told */
    raft_index tail;              /* the last entry when all ops are done */
    int64_t busy_until_ns;        /* it stands still so long */
};

/* ---- messages --------------------------------------------------------------------------------------------
 */

enum sim_kind {
    SIM_RAFT,
    SIM_COMMANDS,
    SIM_RESULT,
    SIM_ASK,
    SIM_TELL,
    SIM_HEARTBEAT,
    SIM_QUESTION,
    SIM_ANSWER
};
struct sim_packet {
    struct heap_node due;
    enum sim_kind kind;
    uint32_t from, to;
    struct raft_message raft; /* without pointers; what they led to is in `bytes` */
    uint32_t n;               /* commands, or entries */
    struct command_origin origin;
    uint8_t command;
    struct machine_result result;
    uint64_t index, session,
        published; /* of a question and its answer; index of a mail question: its number */
    size_t nbytes;
    char bytes[];
};

/* ---- a server --------------------------------------------------------------------------------------------
 */

struct sim_view { /* of the frozen list */
    uint64_t index;
    uint32_t frozen; /* bits: accounts */
    int64_t due_ns;  /* of one that is on its way; 0: none */
};
struct sim_worker {
    struct ledger_worker *w;
    struct sim_view view, coming;
    int64_t stalled_until_ns;
};
struct sim_flight {
    struct raft_apply req;
    struct list link;
    struct sim_server *s;
};
struct sim_server {
    uint32_t i; /* its id is one more */
    struct sim_disk disk;
    /* clocks; they go on while it is down */
    int64_t boot_ns, wall_ns, ppm;
    /* trouble */
    bool alive, removed;
    bool paused, vm_paused; /* its process, its whole machine stands still */
    int64_t restart_ns, go_on_ns;
    /* the process */
    struct list memory; /* libraft's */
    struct list blocks; /* and that of the mail */
    struct list threads;
    struct mail *mail;
    struct address *address;    /* NULL: this seed has none */
    bool drained;               /* operators had it drain; its mail may have left */
    struct simdisk *spool_disk; /* stays */
    struct list pending;        /* questions of threads */
    struct list requests;       /* of others, unanswered */
    struct list barriers;
    struct gossip_pulse pulses[SIM_SERVERS_MAX];
    int64_t heard_ns[SIM_SERVERS_MAX], heartbeat_due_ns;
    uint64_t effect_index; /* of what the agent is being told */
    struct raft raft;
    struct raft_io io;
    struct raft_fsm fsm;
    bool started;
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    int64_t tick_ns, tick_due_ns;
    struct machine *m;
    struct machine_effects effects;
    struct lease *lease;
    struct agent *agent;
    struct sim_worker workers[SIM_WORKERS];
    int64_t agent_due_ns;
    bool frozen_dirty, stirred;
    /* a snapshot that is being taken */
    bool taking;
    struct {
        struct sim_snapshot snapshot;
        unsigned trailing;
        struct raft_io_snapshot_put *req;
        struct buf bytes;
    } take;
    /* leading */
    raft_id leader;
    raft_term ready_term, barrier_term;
    bool barrier_pending;
    struct raft_barrier barrier;
    uint64_t base_ms, last_ms;
    int64_t base_boot_ms, lead_due_ns;
    struct buf gathered;
    uint32_t ngathered;
    struct sim_flight flights[SIM_FLIGHTS_MAX];
    struct list idle;
    struct { /* who wants to know when it obeys */
        uint32_t node;
        uint64_t index;
    } asked[SIM_ASKED_MAX];
    uint32_t nasked;
};

/* Draws of one kind have a stream of their own, so that leaving out one event changes little of the rest. */
enum sim_stream {
    SIM_STREAM_SETTING,
    SIM_STREAM_LOAD,
    SIM_STREAM_OPERATE,
    SIM_STREAM_NET,
    SIM_STREAM_DISK,
    SIM_STREAM_PROCESS,
    SIM_STREAM_THREADS,
    SIM_STREAM_MAIL,
    SIM_STREAM_TROUBLE, /* begins anew with each event of the schedule */
    SIM_STREAM_ADDRESS,
    SIM_STREAM_SENDERS,
    SIM_STREAMS
};

/* What is counted as a step: one event that was handled. */
enum sim_step {
    SIM_STEP_PACKET,  /* a packet came to a process */
    SIM_STEP_DISK,    /* a process heard that something is on its disk */
    SIM_STEP_TIMER,   /* libraft's tick, the agent's, the leader's; a worker acts on a new frozen list */
    SIM_STEP_CLIENT,  /* a node answers a client's MAIL, RCPT or end of data, or its wait for tokens ended */
    SIM_STEP_OPERATE, /* a node is asked by an operator, or answers */
    SIM_STEP_MAIL,    /* an attempt to deliver begins or ends; a message is queued */
    SIM_STEP_THREAD,  /* a thread of the spool or the transfer goes on */
    SIM_STEP_TROUBLE, /* something goes wrong, or ends */
    SIM_STEPS
};

struct sim {
    uint64_t seed, rng[SIM_STREAMS];
    uint64_t steps, trace; /* since the seed's beginning; a hash of what they were */
    int64_t now_ns, begin_ns;
    uint32_t nthreads;
    uint64_t nquestions;
    uint32_t n;
    struct sim_server servers[SIM_SERVERS_MAX];
    struct heap packets[SIM_SERVERS_MAX]; /* by destination */
    int64_t last_raft_ns[SIM_SERVERS_MAX][SIM_SERVERS_MAX];
    int64_t last_mail_ns[SIM_SERVERS_MAX][SIM_SERVERS_MAX];
    bool cut[SIM_SERVERS_MAX][SIM_SERVERS_MAX]; /* from, to */
    int64_t mute_until_ns[SIM_SERVERS_MAX];     /* what it wants of the leader is lost */
    int64_t latency_ns[SIM_SERVERS_MAX];
    uint32_t loss_permille, dup_permille, late_permille; /* of messages that are not libraft's */
    int64_t disk_ns;
    int64_t sink_ms; /* that a delivery takes, at most, of this seed */
    unsigned threshold, trailing;
    bool quiet; /* no load, no operators */
    bool addresses, senders;
};
extern struct sim sim;

uint64_t sim_draw(enum sim_stream stream, uint64_t below);
#ifdef SIM_STREAM
static inline uint64_t sim_random(uint64_t below)
{
    return sim_draw(SIM_STREAM, below);
}
static inline bool sim_chance(uint32_t permille)
{
    return permille > 0 && sim_random(1000) < permille;
}
static inline int64_t sim_ms(uint64_t below)
{
    return (int64_t)sim_random(below) * SIM_MS;
}
#endif
/* A step of this server was handled; `what` goes into the trace. */
void sim_step(enum sim_step kind, uint32_t server, uint64_t what);

/* The limits of the load, and one of a sender whom only the last test knows. */
extern const char *const sim_accounts[SIM_ACCOUNTS + 2];
extern const char *const sim_tenants[SIM_ACCOUNTS + 2];
extern const struct policy_limit sim_limits[SIM_LIMITS];
#define SIM_PROBE SIM_ACCOUNTS      /* account that every node must be able to send for */
#define SIM_FULL (SIM_ACCOUNTS + 1) /* account that tries all of its limit */
uint8_t sim_class(uint32_t account);

/* memory.c */
void memory_begin(void);
/* From now on libraft's memory is this server's. */
void memory_of(struct sim_server *s);
void memory_lose(struct sim_server *s);

/* disk.c */
void disk_init(struct sim_disk *d);
void disk_fini(struct sim_disk *d);
void disk_put(struct sim_disk *d, raft_term term, enum raft_entry_type type, struct span bytes);
/* raft_io of a process that begins. */
void disk_io(struct sim_server *s);
void disk_run(struct sim_server *s);
bool disk_tell(struct sim_server *s);
/* What was not synced is lost, but for as much as the disk had done. */
void disk_crash(struct sim_server *s);
/* The content is there now: to disk with it. */
void disk_put_taken(struct sim_server *s);

/* net.c */
struct sim_packet *net_new(enum sim_kind kind, uint32_t from, uint32_t to, struct span bytes);
void net_send(struct sim_packet *p);
/* As over one connection: lost only with the link. */
void net_send_in_order(struct sim_packet *p);
void net_free(struct sim_packet *p);
int net_raft_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message,
                  raft_io_send_cb cb);
struct sim_packet *net_next(uint32_t to);
/* Hands a message to libraft. */
void net_raft_deliver(struct sim_server *s, const struct sim_packet *p);
void net_drop_all(void);

/* server.c */
struct sim_server *server_at(uint32_t i);
struct sim_server *server_here(void); /* whose code runs; NULL: between runs */
void server_nowhere(void);
void server_begin(struct sim_server *s);
void server_kill(struct sim_server *s);
void server_turn(struct sim_server *s);
/* It goes on where it stood: clients that waited are heard first, on what it believes. */
void server_go_on(struct sim_server *s);
void server_settle(struct sim_server *s);
static inline uint64_t server_id(const struct sim_server *s)
{
    return s->i + 1u;
}
bool server_up(const struct sim_server *s);

/* lead.c */
void lead_fsm(struct sim_server *s);
bool lead_ready(const struct sim_server *s);
void lead_turn(struct sim_server *s);
void lead_propose(struct sim_server *s, struct span commands, uint32_t n);
void lead_send(void *ctx, struct span commands, uint32_t n);
void lead_cluster_found(void);

/* load.c */
void load_begin(void);
void load_step(void);
void load_step_of(uint32_t server);
void load_drop(uint32_t server);
void load_end(void);
/* After all is well: one message by each node for the probe. True once all have sent. */
bool load_probe(void);
/* Sends for SIM_FULL by all nodes as fast as it is let. */
void load_full(void);

/* mail.c, mail_cluster.c */
void mail_begin(struct sim_server *s);
void mail_kill(struct sim_server *s);
bool mail_turn(struct sim_server *s);
bool mail_open(const struct sim_server *s);
/* A message whose tokens are spent. */
void mail_hand_over(struct sim_server *s, uint32_t account, uint32_t nrcpts);
void mail_move_some(void);
/* The first worker, which delivers, has another frozen list. */
void mail_frozen(struct sim_server *s);
void mail_drains(struct sim_server *s);
void mail_pulses_begin(struct sim_server *s);
bool mail_pulses_turn(struct sim_server *s);
void mail_pulse(struct sim_server *s, const struct sim_packet *p);

/* address.c */
void address_begin(struct sim_server *s);
/* Something was applied. */
void address_effects(struct sim_server *s, const struct machine_effects *effects);
/* After that: what came of it, once. */
void address_settle(struct sim_server *s);
/* What the worker was told so far it acts on now. */
void address_obey(struct sim_server *s, uint32_t worker);
bool address_turn(struct sim_server *s);
/* `stood`: its clocks did, too. */
void address_go_on(struct sim_server *s, bool stood);
/* address_ops.c */
void address_operate_begin(void);
void address_operate(void);
void address_operate_drop(uint32_t server);
void address_found(struct machine_result (*found)(struct command *cmd));
/* address_check.c */
void address_check_begin(void);
void address_check_applied(const struct sim_server *s); /* the first that applies it */
/* True: all that was counted is in the senders' records. */
bool address_check_idle(void);
void address_check_end(void);

/* operate.c */
void operate_begin(void);
void operate_step(void);
void operate_drop(uint32_t server); /* its process was killed */
void operate_poll(struct sim_server *s);
void operate_told(struct sim_server *s, uint32_t node, uint64_t session, uint64_t published);
bool operate_remove(uint32_t server);

/* senders.c */
void senders_policy(struct policy_compiled *p);
uint8_t senders_class(uint32_t account); /* of its next mail, as in struct ledger_sender */
void senders_step(void);
void senders_spend(uint32_t account, uint8_t class, uint32_t n);
void senders_applied(const struct sim_server *s); /* the first that applies it */
void senders_end(void);

/* schedule.c: what goes wrong when. */
#define SCHEDULE_MAX 512
enum trouble_kind {
    TROUBLE_KILLS,
    TROUBLE_ISOLATE,
    TROUBLE_ISOLATE_LEADER,
    TROUBLE_HALVES,
    TROUBLE_JOIN_UP,
    TROUBLE_PAUSE,
    TROUBLE_PAUSE_MACHINE,
    TROUBLE_STALL_WORKER,
    TROUBLE_DISK_STILL,
    TROUBLE_DISK_FAILS,
    TROUBLE_LATENCY,
    TROUBLE_LOSS,
    TROUBLE_DISK_SLOW,
    TROUBLE_CLOCK,
    TROUBLE_REMOVE,
    TROUBLE_MUTE_SESSION,
    TROUBLE_MUTE_WINDOW,
    TROUBLE_DEAF,
    TROUBLE_DEAF_LEADER,
    TROUBLE_KINDS
};
struct schedule {
    uint64_t seed;
    uint32_t n;
    struct schedule_event {
        int64_t at_ms; /* since the beginning */
        enum trouble_kind kind;
        uint64_t draws; /* what it draws from */
    } events[SCHEDULE_MAX];
};
/* The seed's own. */
void schedule_of_seed(uint64_t seed, int64_t until_ms, struct schedule *out);
void schedule_print(const struct schedule *s, FILE *to);
int schedule_read(const char *path, struct schedule *out);

/* trouble.c */
void trouble_begin(const struct schedule *schedule);
void trouble_step(void);
void trouble_over(void);

/* sim.c: one run, in this process. */
#define SIM_TROUBLE_MS 20000
void sim_run(const struct schedule *schedule);

/* shrink.c: runs are in processes of their own, so that one may abort. */
int shrink(const struct schedule *schedule);

/* check.c */
void check_begin(void);
void check_end(void);
void check_fault(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The run's first fault, where another process may read it; `kind` is its format. */
struct check_report {
    char kind[160], text[400];
};
extern struct check_report *check_report;
/* `class`: of the mail, as in struct ledger_sender. */
void check_spend(const struct sim_server *s, uint32_t account, uint8_t class, uint32_t n);
void check_mail(const struct sim_server *s, uint32_t account);
/* It begins to deliver mail that was accepted. */
void check_attempt(const struct sim_server *s, uint32_t account);
/* Would this worker admit mail of the account now? If it must not, that is a fault, clients or not. */
void check_obeyed(uint32_t account, uint64_t index);
void check_applied(struct sim_server *s, uint64_t index, const struct raft_buffer *entry);
void check_restored(struct sim_server *s);
/* A machine that has everything, or NULL. */
const struct machine *check_newest(void);
/* An operator was told that the account is frozen; until then at least, if it has an end. */
void check_frozen(uint32_t account, uint64_t freeze, int64_t until_ns);
/* Somebody asks for something that may end it: 0, whatever is frozen. */
void check_thawing(uint32_t account, uint64_t freeze);
/* An operator was told that this was not done and never will be. */
void check_never(uint32_t op);
uint64_t check_spent(uint32_t account);
extern uint32_t check_faults;
struct check_sums {
    uint64_t admitted, refused, mails, kills, freezes, returned, policies, entries, snapshots, installs,
        leaders, removed, stored, delivered, moved, opened, drains, steps[SIM_STEPS];
    uint64_t connections, sent, gated, moves, days, reports; /* of addresses: days that were used up */
    uint64_t slowed, slowly; /* senders; what they sent meanwhile */
};
extern struct check_sums check_sums;

#endif
