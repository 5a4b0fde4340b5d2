/* Inside the agent. The cluster thread; the registry of workers is under its lock.
 *
 *     session    none -> opening -> open (usable or not) -> ended -> opening ...
 *     op         queued -> in flight (numbered, repeated) -> answered
 *                                    \-> given up: cancelled by a command -> answered, or it never happened
 *                                    \-> session ended: orphan -> answered, or known not to have happened
 *     grant      idle tokens here, others out with workers; done with when all are back: returned
 *     question   waits at its sender -> request to the leader -> refused: local workers' tokens recalled
 *                -> the cluster's recall awaited, tried once more -> no, remembered
 */
#ifndef NODE_LEDGER_AGENT_IMPL_H
#define NODE_LEDGER_AGENT_IMPL_H

#include "base/map.h"
#include "node/ledger/agent.h"
#include "node/ledger/internal.h"

#include <pthread.h>

#define AGENT_WINDOW 1024     /* of results that the machine keeps per session */
#define AGENT_WINDOW_OURS 960 /* the rest is for cancels */
#define AGENT_SENDERS_MAX 400000
#define AGENT_RENEWALS_MAX 4 /* unanswered at once */
#define AGENT_WANT_MAX 4096
#define AGENT_RECALL_WAIT_MS 250  /* for other nodes' tokens to come back */
#define AGENT_GRANT_WAIT_MS 2000  /* an unanswered request that nobody waits for is given up */
#define AGENT_RETURN_WAIT_MS 200  /* what is to be returned gathers for so long */
#define AGENT_CANCEL_WAIT_MS 1000 /* for a cancel's answer, before ERR_CLOSED */
#define AGENT_CLOSE_WAIT_MS 500
#define AGENT_SCAN_MS 10
#define AGENT_TIMES 1000
#define AGENT_RATE_NS 2000000000ll
#define AGENT_AHEAD_MIN 100 /* tokens given lately, from which on more are asked for ahead */

struct agent_slot {
    struct ledger_worker *worker; /* under the registry's lock; NULL: gone */
    bool used;
    _Atomic uint64_t published;
    _Atomic bool telling;
    struct ledger_msg told;
};

enum agent_op_kind {
    AGENT_OP_RENEW = 1,
    AGENT_OP_GRANT,
    AGENT_OP_RETURN,
    AGENT_OP_CANCEL,
    AGENT_OP_SUBMIT,
    AGENT_OP_CLOSE
};

struct agent_op {
    struct list link; /* queued, in flight, or orphans */
    uint8_t kind;
    uint64_t session, seq; /* seq 0: not numbered yet */
    int64_t made_ns, next_ns, interval_ms;
    struct ledger_validity first;     /* until_ns: when it was first sent */
    bool blind;                       /* a snapshot came while it was unanswered */
    struct agent_op *cancel, *target; /* a cancel of it; what a cancel is of */
    union {
        uint64_t number; /* RENEW */
        struct {
            struct agent_sender *sender;
            uint32_t need, want;
            bool ahead; /* nobody waits for it */
        } grant;
        struct {
            uint32_t n;
            struct agent_grant *grants[COMMAND_RETURN_MAX];
            struct command_return_item items[COMMAND_RETURN_MAX];
        } ret;
        struct {
            char *bytes;
            size_t nbytes;
            int64_t until_ns;
            bool told; /* the callback has run */
            agent_cb *cb;
            void *ctx;
        } submit;
    };
};

struct agent_grant {
    struct list link;  /* of its sender */
    struct list ready; /* to be returned */
    struct heap_node end;
    struct agent_sender *sender;
    uint64_t id, session;
    struct ledger_validity validity;
    int64_t give_until_ns; /* not handed to workers any more after that */
    uint32_t count, idle, out;
    bool returning, recalled;
};

/* What became of the first question's request. */
enum agent_stage {
    AGENT_STAGE_ASK,   /* not refused yet */
    AGENT_STAGE_LOCAL, /* refused: tokens of other workers here were recalled */
    AGENT_STAGE_WAIT,  /* refused: other nodes' idle tokens may come back */
    AGENT_STAGE_FINAL, /* asked once more */
};

struct agent_sender {
    struct list questions;
    struct list grants;
    struct list link;        /* of all, so that idle ones are dropped in turn */
    struct list asking;      /* linked while it has questions */
    struct list remembering; /* linked while it remembers a refusal */
    struct agent_op *request;
    uint64_t out;         /* tokens with workers */
    uint32_t recalls_out; /* RECALL messages under way */
    uint8_t stage;        /* enum agent_stage */
    uint32_t idle_before; /* when it was refused */
    int64_t retry_ns;     /* WAIT: at the latest */
    double recent;        /* tokens given lately, halved every two seconds */
    int64_t recent_ns;
    bool roomy; /* the last grant was as large as was wanted: the limits are far */
    struct ledger_refusal refusal;
    uint32_t refused_need;
    int64_t refused_until_ns, refused_ns;
    uint32_t refused_epoch;
    uint64_t told[LEDGER_WORKERS_MAX / 64];    /* workers that remember the refusal */
    uint64_t holders[LEDGER_WORKERS_MAX / 64]; /* workers that were given tokens since it had none out */
    uint64_t hash;
    struct span account, tenant;
    uint8_t class;
    char names[];
};

struct agent {
    struct agent_config config;
    struct machine *machine;
    pthread_mutex_t registry;
    struct agent_slot *slots; /* LEDGER_WORKERS_MAX */
    _Atomic uint32_t nslots;
    bool shut; /* no messages any more; under the registry's lock */
    struct ledger_view view;
    struct ledger_port port;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_timer_t timer;
    uint32_t handles;

    /* session */
    struct {
        uint64_t id, opened_index, number;
        int64_t from_ns, ahead_ms; /* of the latest renewal that was answered; from 0: a pause was seen */
        int64_t ttl_ns, renewed_ns, next_ns;
        uint32_t attempts;
        bool usable;
    } session;
    struct {
        bool active;
        uint64_t seq, replaces;
        uint8_t nonce[16];
        struct ledger_validity first;
        int64_t next_ns, interval_ms;
    } open;
    int64_t reopen_ns, reopen_ms;
    uint64_t last_session; /* of this node, as far as we were told */
    bool opened_once;
    _Atomic uint64_t frozen_index; /* last change of the frozen list */
    uint64_t published;

    /* flight */
    struct list queued, in_flight, orphans;
    uint32_t nops, nqueued;
    uint64_t next_seq, lowest;
    int64_t sent_ns; /* what was queued, last */
    int64_t scan_ns; /* when to look for what is to be repeated */
    struct agent_op *window[AGENT_WINDOW];
    struct buf out;
    uint32_t nout;
    uint64_t flushed; /* so often */

    /* tokens */
    struct map senders;
    struct list sender_list, asking, remembering;
    int64_t tenant_recall_ns;
    struct heap ends;
    struct list ready; /* grants to be returned */
    uint32_t nready;
    bool return_now;
    int64_t return_ns;
    uint64_t in_hand;
    int64_t sweep_ns;

    bool closing, closed, free_wanted;
    int64_t close_ns;
    void (*on_closed)(void *ctx);
    void *closed_ctx;

    struct agent_stats stats;
    int64_t times_us[AGENT_TIMES];
    uint32_t ntimes, at_time;
};

static inline int64_t agent_now(const struct agent *a)
{
    return a->config.boot_ns();
}

static inline int64_t agent_ms(int64_t ms)
{
    return ms * LEDGER_NS_PER_MS;
}

/* ---- agent_session.c ----------------------------------------------------------------------------------- */

void agent_session_tick(struct agent *a);
void agent_session_effects(struct agent *a, bool sessions_changed);
void agent_open_result(struct agent *a, const struct machine_result *r);
void agent_renew_result(struct agent *a, const struct agent_op *op, const struct machine_result *r);
/* The cluster says that it is over. */
void agent_session_end(struct agent *a);
/* Publishes the session as it is to the workers. */
void agent_session_publish(struct agent *a);
/* The state at `index` was applied; `frozen`: it changed the list. */
void agent_published_applied(struct agent *a, uint64_t index, bool frozen);

/* ---- agent_flight.c ------------------------------------------------------------------------------------ */

/* NULL: no memory, or too many. */
struct agent_op *agent_op_new(struct agent *a, uint8_t kind);
void agent_op_free(struct agent *a, struct agent_op *op);
/* Numbers and sends what may go, repeats what is due, hands out what was gathered. */
void agent_flight_tick(struct agent *a);
void agent_flight_resend_all(struct agent *a);
void agent_flight_give_up(struct agent *a, struct agent_op *op);
/* From either source, any number of times. */
void agent_flight_result(struct agent *a, const struct command_origin *origin,
                         const struct machine_result *r);
/* The session ended: unanswered ops become orphans; when the next one's open is applied they are settled. */
void agent_flight_orphan(struct agent *a);
void agent_flight_settle_orphans(struct agent *a);
void agent_flight_blind(struct agent *a);
void agent_emit(struct agent *a, const struct command *cmd);
void agent_flush(struct agent *a);

/* ---- agent_submit.c ------------------------------------------------------------------------------------ */

void agent_submit_tick(struct agent *a);
/* Tells the caller, once. */
void agent_submit_answer(struct agent_op *op, int err, const struct machine_result *r);

/* ---- agent_sender.c ------------------------------------------------------------------------------------ */

void agent_sender_ask(struct agent *a, struct ledger_ask *q);
void agent_sender_serve(struct agent *a, struct agent_sender *s);
void agent_sender_result(struct agent *a, struct agent_op *op, const struct machine_result *r);
/* The request is known not to have happened. */
void agent_sender_lost(struct agent *a, struct agent_op *op);
void agent_sender_forget(struct agent *a, struct agent_sender *s);
/* Everybody's questions are refused: there is no session. */
void agent_sender_no_session(struct agent *a);
void agent_sender_tick(struct agent *a);
void agent_sender_effects(struct agent *a, const struct machine_effects *effects);
struct agent_sender *agent_sender_find(struct agent *a, struct span account, struct span tenant,
                                       uint8_t class);
/* Sends RECALL to the workers that have tokens of it. */
void agent_sender_recall(struct agent *a, struct agent_sender *s);
void agent_senders_init(struct agent *a);
void agent_senders_free(struct agent *a);

/* ---- agent_grant.c ------------------------------------------------------------------------------------- */

int agent_grant_add(struct agent *a, struct agent_sender *s, const struct agent_op *op,
                    const struct machine_result *r);
/* Tokens of the sender that may be given now. */
uint32_t agent_grant_idle(struct agent *a, const struct agent_sender *s);
/* Moves `n` of them into parcels for the question. */
int agent_grant_give(struct agent *a, struct agent_sender *s, struct ledger_ask *q, uint32_t n);
void agent_grant_parcel(struct agent *a, struct ledger_parcel *p);
void agent_grant_take_back(struct agent *a, struct agent_grant *g, uint32_t unspent, uint32_t spent);
/* Is it done with, or asked for? Then it is returned. */
void agent_grant_check(struct agent *a, struct agent_grant *g, bool urgent);
void agent_grant_returned(struct agent *a, struct agent_op *op);
/* A return that did not happen: its tokens are here again. Not known (`blind`): what cannot be told twice is
 * burned. */
void agent_grant_unreturned(struct agent *a, struct agent_op *op, bool blind);
void agent_grant_session_ended(struct agent *a);
void agent_grant_tick(struct agent *a);
void agent_grant_free(struct agent *a, struct agent_grant *g);

/* ---- agent.c ------------------------------------------------------------------------------------------- */

/* To a worker; false: it is gone, and msg is still the caller's. */
bool agent_to_worker(struct agent *a, uint32_t slot, struct ledger_msg *msg);
/* Lowest index that a present worker has published; UINT64_MAX: there is none. */
uint64_t agent_workers_published(struct agent *a);

#endif
