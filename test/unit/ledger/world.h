/* A small cluster for tests of the ledger: the real machine, applied at once where entries commit and later
 * on each node; agents and workers stepped on one thread; clocks, delays, losses and pauses as the test says.
 * One at a time.
 */
#ifndef TEST_LEDGER_WORLD_H
#define TEST_LEDGER_WORLD_H

#include "consensus/lease.h"
#include "consensus/policy.h"
#include "node/ledger/agent.h"
#include "node/ledger/internal.h"

#define WORLD_NODES 3
#define WORLD_WORKERS 2
#define MS INT64_C(1000000)

struct world_entry {
    char *bytes;
    size_t n;
    int64_t at_ns; /* committed */
};

enum world_kind { WORLD_COMMANDS, WORLD_RESULT };
struct world_msg {
    struct list link;
    enum world_kind kind;
    int64_t due_ns;
    uint32_t node;
    uint32_t n;
    struct command_origin origin;
    uint8_t command;
    struct machine_result result;
    size_t nbytes;
    char bytes[];
};

struct world_node {
    uint64_t id;
    struct machine *m;
    uint64_t applied;
    struct machine_effects effects;
    struct agent *agent;
    struct ledger_worker *workers[WORLD_WORKERS];
    int64_t boot_ns, wall_ns;
    int64_t ppm;      /* its CLOCK_BOOTTIME's error */
    bool cut;         /* nothing comes or goes */
    bool stopped;     /* its process stands still */
    bool vm_stopped;  /* its CLOCK_BOOTTIME stands still too */
    bool no_apply;    /* entries do not arrive */
    bool no_publish;  /* workers do not act on what was applied */
    int64_t apply_ns; /* entries arrive so late */
    int64_t tick_ns;
    uint64_t session; /* as on_session said */
    bool usable;
    uint32_t sends, commands;
};

struct world {
    struct world_node nodes[WORLD_NODES];
    uint32_t nnodes;
    int64_t real_ns;
    struct world_entry *entries;
    uint32_t nentries, cap;
    struct machine *lead;
    struct machine_effects effects;
    struct lease *lease;
    int64_t lead_boot_ns, lead_ppm;
    int64_t lead_due_ns;
    bool no_leader;
    bool hold;    /* commands stay where they are */
    bool drop;    /* commands are lost */
    bool no_told; /* results are not told directly */
    uint32_t loss_permille, dup_permille;
    uint32_t gather_ms; /* of the agents that are started from now on */
    int64_t delay_min_ns, delay_max_ns;
    struct list flight;
    uint64_t seed;
    uint32_t seen[128];   /* commands that were sent, by type */
    uint64_t last_cancel; /* the seq that the last CANCEL named */
};

extern struct world *world;

/* With the limits given; nodes 1 to nnodes are members, and have sessions if `open`. */
void world_begin(struct world *w, uint32_t nnodes, const struct policy_limit *limits, uint32_t nlimits,
                 bool open);
void world_end(struct world *w);
/* Makes `n` the node whose clocks are read. */
struct world_node *world_at(uint32_t n);
int64_t world_boot_ns(void);
int64_t world_wall_ms(void);
uint64_t world_random(uint64_t below);
/* Everything that can happen without time passing. */
void world_settle(void);
/* Time passes, in steps of step_ms. */
void world_advance(int64_t ms, int64_t step_ms);
/* One command as if some operator had it proposed now; its result. */
struct machine_result world_command(struct command *cmd);
void world_policy(const struct policy_limit *limits, uint32_t nlimits);
/* The node gets all that was committed as a snapshot, without the entries. */
void world_install(uint32_t n);
void world_leader_lost(void);
void world_leader_found(void);
/* kill -9: workers' holds must be gone. */
void world_kill(uint32_t n);
void world_start(uint32_t n);
/* Held commands go through (or are lost). */
void world_release(void);
void world_lose(void);
uint64_t world_usage(const char *limit, const char *account, const char *tenant);

#endif
