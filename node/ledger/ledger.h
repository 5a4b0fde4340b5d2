/* Quotas in the hot path: what a worker asks while a client waits. The other half, which talks to the
 * cluster, is agent.h; docs/ledger.md explains both.
 *
 * Reserve, then commit. RCPT reserves one token; RSET, failed content and a client that goes free it; when
 * the commit record is handed to the spool it is spent, and nothing refuses after that. A token comes from a
 * grant of the cluster and dies with the grant's life or with the node's session, whichever ends first. With
 * tokens in hand an answer is immediate and touches nothing that another thread writes; without, it comes
 * later on the worker's loop, while the client's further commands may already be read.
 *
 * A sender here is an authenticated account, canonical, with its tenant and class; never the reverse-path.
 *
 * Threads. A ledger_worker belongs to one worker and is called on its thread only.
 */
#ifndef NODE_LEDGER_LEDGER_H
#define NODE_LEDGER_LEDGER_H

#include "base/inbox.h"
#include "base/list.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct agent;
struct ledger_worker;

enum ledger_answer {
    LEDGER_YES,
    LEDGER_NO,   /* see the refusal */
    LEDGER_WAIT, /* on_answer will be called */
};

enum ledger_why {
    LEDGER_WHY_NONE,
    LEDGER_WHY_LIMIT, /* 450 4.7.1: limit, retry_ms */
    LEDGER_WHY_FROZEN,
    LEDGER_WHY_DISABLED, /* the account */
    LEDGER_WHY_SESSION,  /* 451 4.3.2: this node may not admit mail now */
    LEDGER_WHY_TIMEOUT,  /* 451 4.3.2: the cluster did not answer in time */
    LEDGER_WHY_BUSY,     /* 451 4.3.2: too many questions are out (bounds) */
};
struct ledger_refusal {
    enum ledger_why why;
    char limit[64];
    uint64_t count, window_ms; /* of the limit */
    int64_t retry_ms;          /* about when to try again; 0: unknown */
    bool tenant;               /* it is the tenant's limit */
};

struct ledger_sender {
    struct span account, tenant;
    uint8_t class; /* with COMMAND_STREAM: it is the mail's, whatever the account's is */
};

/* What one transaction has reserved of one sender. In the transaction's memory; init, then fini in any case.
 */
struct ledger_hold {
    struct ledger_worker *w;
    struct ledger_wallet *wallet; /* of the sender; the ledger's */
    struct list link;             /* waiting ones, in order; the ledger's */
    uint32_t reserved;            /* tokens of it */
    uint32_t asked;               /* tokens waited for; 0: none */
    int64_t asked_at_ms;
    struct list parts; /* which grants they are of; the ledger's */
    bool exchanging;
    uint32_t expected; /* the caller's: so many more will be asked for in a moment (RCPTs that were pipelined), and may
                          be had along with what is asked for now */
    struct ledger_refusal refusal; /* of the last LEDGER_NO */
    void (*on_answer)(struct ledger_hold *h, enum ledger_answer answer);
    void *ctx; /* the caller's */
};

/* Copies the sender. -ENOMEM, ERR_LIMIT (too many senders at once). */
int ledger_hold_init(struct ledger_hold *h, struct ledger_worker *w, const struct ledger_sender *sender,
                     void (*on_answer)(struct ledger_hold *h, enum ledger_answer answer), void *ctx);
/* Frees what is still reserved; no on_answer comes any more. */
void ledger_hold_fini(struct ledger_hold *h);

/* Are there tokens for this sender without asking? (Whether they are still good is seen when they are taken.) */
bool ledger_in_hand(const struct ledger_hold *h);
/* n more tokens. One question at a time per hold. */
enum ledger_answer ledger_reserve(struct ledger_hold *h, uint32_t n);
/* n fewer; more than what is reserved is all of it (after a refused exchange a hold has less than it asked
 * for). */
void ledger_unreserve(struct ledger_hold *h, uint32_t n);
/* Can the reserved tokens be spent now? YES: they can, and ledger_spend must follow in this turn of the loop.
 * If session or grants ended meanwhile they are exchanged for others (WAIT), or refused. Reads
 * CLOCK_BOOTTIME. */
enum ledger_answer ledger_ready(struct ledger_hold *h);
/* Right after a YES of ledger_ready, when the commit record is handed to the spool. They are gone. */
void ledger_spend(struct ledger_hold *h);

/* May this node admit mail now? Reads CLOCK_BOOTTIME (!): call it after the MAIL line was read. Without a
 * cluster: always. */
bool ledger_session_valid(const struct ledger_worker *w);
/* The same: which one; 0: none that is valid, or no cluster. */
uint64_t ledger_session_id(const struct ledger_worker *w);
/* Should this worker greet a client? The session is valid, and there are tokens in hand or its last renewals
 * were answered: a node that is cut off and has no token greets with 421. */
bool ledger_usable(const struct ledger_worker *w);

struct ledger_worker_config {
    struct agent *agent;
    uv_loop_t *loop;
    int64_t (*boot_ns)(void); /* CLOCK_BOOTTIME, read each time */
    int64_t (*wall_ms)(void);
    int64_t answer_ms;    /* how long a client waits for the cluster; 10000 */
    uint32_t max_senders; /* 100,000 */
    uint32_t max_waiting; /* 10,000 */
};
int ledger_worker_new(const struct ledger_worker_config *config, struct ledger_worker **out);
/* On the worker's thread; no hold may be left. Its memory is freed when the loop has closed its handles. */
void ledger_worker_close(struct ledger_worker *w);
void ledger_worker_free(struct ledger_worker *w);

/* The state up to this index is acted upon by this worker (it has the frozen view of it, see core). Any index
 * may be told again; it only grows. A new worker admits nothing until it has published the frozen list as it
 * was when it came; after that only entries that change the list have to be told. */
void ledger_worker_publish(struct ledger_worker *w, uint64_t index);

struct ledger_worker_stats {
    uint64_t reserved, spent, freed, refused, asked, exchanged, timeouts;
    uint32_t senders, waiting;
    uint64_t in_hand;
};
/* Any thread. */
void ledger_worker_stats(const struct ledger_worker *w, struct ledger_worker_stats *out);

#endif
