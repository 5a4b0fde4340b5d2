/* What the two halves of the ledger share: the session as workers read it, the messages between a worker and
 * the agent, and stepping without a loop for tests. Nobody else includes it.
 *
 * A token is in one place at any time: idle in the agent, in a message, or in a worker's parcel, where it is
 * free, reserved or spent. Parcels are messages themselves: the agent makes one, a worker holds it, and it
 * goes back with what became of it, so giving back never needs memory.
 */
#ifndef NODE_LEDGER_INTERNAL_H
#define NODE_LEDGER_INTERNAL_H

#include "base/heap.h"
#include "node/ledger/ledger.h"

#include <stdatomic.h>

#define LEDGER_PAUSE_MS                                                                                      \
    500 /* a wall clock that gains more on CLOCK_BOOTTIME shows that this machine stood still */
#define LEDGER_NS_PER_MS 1000000
#define LEDGER_WORKERS_MAX 256 /* that one agent ever sees */
#define LEDGER_ASKS_MAX 65536  /* messages to the agent that are not answers */
#define LEDGER_SWEEP_MS 50

struct agent;
struct agent_grant;

/* ---- time ---------------------------------------------------------------------------------------------- */

/* Until when something may be used, and by how much the wall clock was ahead of CLOCK_BOOTTIME at its
 * beginning. */
struct ledger_validity {
    int64_t until_ns;
    int64_t ahead_ms;
};
struct ledger_now {
    int64_t boot_ns, wall_ms;
};

static inline bool ledger_valid(const struct ledger_validity *v, const struct ledger_now *now)
{
    return now->boot_ns < v->until_ns &&
           now->wall_ms - now->boot_ns / LEDGER_NS_PER_MS - v->ahead_ms <= LEDGER_PAUSE_MS;
}

/* How long before its end a grant is given back: a tenth of its life, at least 50 ms, at most a second. */
static inline int64_t ledger_lead_ns(int64_t life_ns)
{
    int64_t lead = life_ns / 10;
    return lead < 50ll * LEDGER_NS_PER_MS     ? 50ll * LEDGER_NS_PER_MS
           : lead > 1000ll * LEDGER_NS_PER_MS ? 1000ll * LEDGER_NS_PER_MS
                                              : lead;
}

/* ---- the session, as workers see it -------------------------------------------------------------------- */

/* Written by the agent, read by workers without a lock: a sequence lock whose fields are atomics. */
struct ledger_view {
    _Atomic uint32_t seq;
    _Atomic uint64_t session; /* 0: none; parcels of another one are dead */
    _Atomic int64_t until_ns; /* 0: not usable */
    _Atomic int64_t ahead_ms, ttl_ns;
    _Atomic uint32_t epoch; /* apart from seq: refusals remembered under another one are forgotten */
};
struct ledger_session {
    uint64_t id;
    struct ledger_validity validity;
    int64_t ttl_ns;
};
void ledger_view_write(struct ledger_view *v, const struct ledger_session *s);
void ledger_view_read(const struct ledger_view *v, struct ledger_session *out);

/* ---- messages ------------------------------------------------------------------------------------------ */

enum ledger_msg_type {
    LEDGER_MSG_ASK = 1,  /* to the agent, and back as the answer */
    LEDGER_MSG_PARCEL,   /* back to the agent */
    LEDGER_MSG_RECALL,   /* to a worker: give back what is free, and back */
    LEDGER_MSG_FORGET,   /* to a worker: a refusal is no longer true, and back to be freed */
    LEDGER_MSG_PUBLISHED /* to the agent: a worker published; part of its slot */
};
struct ledger_msg {
    struct inbox_msg in;
    uint8_t type;
};

/* Some tokens of one grant. */
struct ledger_parcel {
    struct ledger_msg msg;
    struct list link;          /* the wallet's open or used list; before that, the answer's */
    struct list all;           /* of the worker */
    struct heap_node end;      /* the worker's: when to look at it */
    struct list parts;         /* holds' */
    struct agent_grant *grant; /* the agent's */
    struct ledger_wallet *wallet;
    uint64_t session;
    struct ledger_validity validity;
    int64_t retire_ns; /* when it goes back if nothing of it is reserved */
    uint32_t free, reserved, spent;
    uint32_t slot;
};

struct ledger_ask {
    struct ledger_msg msg;
    struct list link; /* the sender's questions; the agent's */
    uint32_t slot;
    struct ledger_wallet *wallet;
    int64_t deadline_ns;
    uint32_t need, want;
    /* the answer */
    struct list parcels;
    struct ledger_refusal refusal; /* why NONE: yes */
    uint32_t refused_need;         /* so many or more are refused ... */
    int64_t refused_until_ns;      /* ... until then (0: only now) ... */
    uint32_t refused_epoch;        /* ... or until the view's epoch is another */
    /* the sender */
    uint8_t class;
    uint16_t account_n, tenant_n;
    char names[]; /* account, tenant */
};

/* What one parcel gave up without ending. */
struct ledger_recalled {
    struct agent_grant *grant;
    uint32_t n;
};
#define LEDGER_RECALLED_MAX 16
struct ledger_recall { /* also FORGET */
    struct ledger_msg msg;
    uint32_t slot;
    uint32_t nitems;
    struct ledger_recalled items[LEDGER_RECALLED_MAX];
    uint8_t class;
    uint16_t account_n, tenant_n;
    char names[];
};

/* An inbox, or a plain queue that tests empty by hand. */
struct ledger_port {
    struct inbox in;
    bool stepped;
    struct list queue;
    uint32_t len, max;
    inbox_fn *fn;
    void *ctx;
};
int ledger_port_init(struct ledger_port *p, uv_loop_t *loop, uint32_t max, inbox_fn *fn, void *ctx);
/* ERR_LIMIT when full, if `bounded`. */
int ledger_port_push(struct ledger_port *p, struct ledger_msg *msg, bool bounded);
/* Hands on what is queued; stepped only. */
bool ledger_port_step(struct ledger_port *p);

/* ---- what the agent offers to workers, any thread ------------------------------------------------------ */

/* The worker's number, its view, and the index that it must have published first. ERR_LIMIT */
int agent_worker_add(struct agent *a, struct ledger_worker *w, uint32_t *slot,
                     const struct ledger_view **view, uint64_t *gate);
void agent_worker_remove(struct agent *a, uint32_t slot);
void agent_worker_publish(struct agent *a, uint32_t slot, uint64_t index);
/* Takes msg on success. ERR_CLOSED, ERR_LIMIT. */
int agent_post(struct agent *a, struct ledger_msg *msg, bool bounded);

/* ---- what a worker offers to the agent ----------------------------------------------------------------- */

/* Any thread, while the worker is added. Takes msg. */
void ledger_worker_post(struct ledger_worker *w, struct ledger_msg *msg);

/* ---- stepping, for tests: both made with loop NULL ----------------------------------------------------- */

/* Empties its queue and does what is due. True: it had something in the queue. */
bool ledger_worker_step(struct ledger_worker *w);
bool agent_step(struct agent *a);

#endif
