/* The node's side of the ledger, on the cluster thread: keeps its session alive, asks the leader for tokens
 * on behalf of all workers, shares them out, gives back what is idle, settles, and remembers refusals. It
 * does no I/O: commands to be proposed go out by `send`, what was applied comes in by agent_on_effects, time
 * by agent_tick. So it can be run against a simulated cluster. Workers reach it through its inbox (on
 * `loop`).
 *
 * Rules (each closes an interleaving that would break a promise; each has its test):
 * - The node counts its session's TTL, and a grant's life, from the first send of the renewal or request.
 * - Each renewal attempt has a number of its own; a repeat of the same attempt keeps it.
 * - A session is usable once every worker acts on the state up to the session's own open.
 * - A repeat of a command keeps its (session, seq); one that is given up is cancelled by a command.
 * - A wall clock that gains more than 0.5 s on CLOCK_BOOTTIME since the last renewal (a machine that stood
 * still) ends the session until the next one; a grant likewise, since its request.
 * - After a new session of the same process, the old one's grants are settled by id; nothing of them is spent
 * any more.
 */
#ifndef NODE_LEDGER_AGENT_H
#define NODE_LEDGER_AGENT_H

#include "base/buf.h"
#include "base/span.h"
#include "consensus/machine.h"
#include "node/ledger/ledger.h"

struct agent_config {
    uv_loop_t *loop; /* for the workers' inbox; NULL in tests that step it */
    uint64_t node;
    struct machine *machine; /* read on this thread */
    /* Encoded commands, one after another, to whoever leads now: locally or through gossip. May lose them.
     * Answers come later, never from inside this call. */
    void (*send)(void *ctx, struct span commands, uint32_t n);
    /* The session began, ended or is refused; for health, greeting and log. */
    void (*on_session)(void *ctx, uint64_t session, bool usable);
    /* agent_published grew: for those who wait for a freeze. May be NULL. */
    void (*on_published)(void *ctx, uint64_t index);
    void *ctx;
    int64_t (*boot_ns)(void);
    int64_t (*wall_ms)(void);
    void (*random)(void *p, size_t n);
    uint32_t resend_ms;     /* a command without answer is sent again; 200, doubling to 1000 */
    uint32_t max_in_flight; /* commands; 4096 */
    uint32_t
        gather_ms; /* from one batch of commands that is not full to the next; 0: each turn of the loop */
};

int agent_new(const struct agent_config *config, struct agent **out);
/* Workers are closed before it, so that what they have left can be returned. `closed` runs on the loop within
 * half a second; then agent_free. */
void agent_close(struct agent *a, void (*closed)(void *ctx), void *ctx); /* signs the session off if it can */
void agent_free(struct agent *a);

/* Every 20 ms or so, and at once after something was sent in. */
void agent_tick(struct agent *a);
/* After each applied entry. */
void agent_on_effects(struct agent *a, uint64_t index, const struct machine_effects *effects);
/* A result that the leader told directly, before this node has applied it. */
void agent_on_result(struct agent *a, const struct command_origin *origin, uint8_t command,
                     const struct machine_result *r);
/* The leader changed or was found: unanswered commands are sent again at once. */
void agent_on_leader(struct agent *a, uint64_t leader);

/* Somebody else's command (an operator's, a transfer's) under this node's session: numbered, repeated until
 * it is answered, or cancelled at the time-out. `cb` once: 0 and the result; ERR_TIMEOUT: it did not happen
 * and will not; ERR_CLOSED, at most a second after the time-out: no session could be had to know (or the
 * agent closes). Never from inside this call. `cmd->origin` is set here; spans are copied. ERR_LIMIT:
 * max_in_flight; ERR_CLOSED: closing.
 */
typedef void agent_cb(void *ctx, int err, const struct machine_result *r);
int agent_submit(struct agent *a, struct command *cmd, int64_t timeout_ms, agent_cb *cb, void *ctx);

/* Every worker of this node acts on the state up to this index: the applied one, unless an entry changed the
 * frozen list (MACHINE_CHANGED_FROZEN, _ALL) and some worker has not yet published an index at or past it. */
uint64_t agent_published(const struct agent *a);

/* Before the node leaves the cluster, when it takes no mail any more: gives back all tokens that nobody has
 * reserved. Called again and again until true: none is in hand, and the cluster has those that were. */
bool agent_settle(struct agent *a);

struct agent_session {
    uint64_t id;
    bool usable;
    int64_t left_ms;    /* of the TTL */
    int64_t renewed_ms; /* since the last one that was answered; -1: none */
};
void agent_session(const struct agent *a, struct agent_session *out);

struct agent_stats {
    uint64_t requests, grants, refusals, refusals_remembered, returned, burned_local, resent, cancelled,
        recalls, submitted;
    uint32_t in_flight, senders;
    uint64_t in_hand;                   /* tokens, shared out or idle */
    int64_t grant_p50_us, grant_p99_us; /* time to an answer, of the last thousand */
};
void agent_stats(const struct agent *a, struct agent_stats *out);

#endif
