/* The replicated machine: what must be true of the whole cluster at once. Pure: it is told entries and does nothing
 * but change its state and say what came of it. No clock, no I/O, no random numbers, no pointer order; the time is
 * the one in the entries, clamped to grow ("cluster time", milliseconds).
 *
 *     sessions      a node's right to admit mail, renewed every third of a TTL
 *     quotas        limits, their counters, the tokens granted to nodes ahead of use (docs/ledger.md)
 *     frozen        senders and tenants that may not send
 *     directory     accounts, tenants, policy, pools, addresses, members, certificates, transfers,
 *                   suppressed addresses, sealed secrets, warm-up plans, senders' records, audit
 *
 * The same entries in the same order give the same state and the same results on every node. A command that cannot
 * be done changes nothing and says why in its result; an entry that cannot be decoded is the end of this node's
 * trust in itself (machine_apply returns an error: the caller fences the node).
 *
 * Threads. One, the applying thread; machine_apply and machine_snapshot_step take the machine's own lock. Everything
 * that returns a pointer into the state is for that thread only; others read through machine_read_lock (short reads:
 * a lookup, a page of a list).
 */
#ifndef CONSENSUS_MACHINE_H
#define CONSENSUS_MACHINE_H

#include "base/buf.h"
#include "base/list.h"
#include "base/span.h"
#include "consensus/command.h"

#include <stdbool.h>
#include <stdint.h>

struct machine;

struct machine_config {
    int64_t session_ttl_ms;    /* until a policy says otherwise; 3000 */
    int64_t session_margin_ms; /* 1000 */
    uint64_t max_accounts;     /* 1,000,000 */
    uint64_t max_counters;     /* instances with something in the window; over it grants are refused: 4,000,000 */
    uint64_t max_frozen;       /* 100,000 */
    uint32_t audit_entries;    /* kept: 10,000 */
    uint64_t audit_bytes;      /* and at most: 8 MiB */
};
/* Zero fields take the defaults above. */
struct machine *machine_new(const struct machine_config *config);
void machine_free(struct machine *m);

/* ---- applying ------------------------------------------------------------------------------------------ */

/* What a refused or failed command is told: an err code, and words where they help an operator. */
#define MACHINE_WORDS_MAX 256

enum machine_refusal { /* of a grant, in `why` of a result whose err is ERR_LIMIT or ERR_DENIED */
    MACHINE_REFUSED_LIMIT = 1, /* a limit: named, with free_ms */
    MACHINE_REFUSED_FROZEN,
    MACHINE_REFUSED_SESSION,   /* any command: the session is not usable. ERR_DENIED: superseded, this command was not
                                  done before either; ERR_NOT_FOUND: expired or closed, its answers are forgotten */
    MACHINE_REFUSED_NO_ROOM,   /* max_counters */
    MACHINE_REFUSED_DISABLED,  /* the account */
};

struct machine_result {
    int err;         /* 0; ERR_LIMIT, ERR_DENIED, ERR_NOT_FOUND, ERR_EXISTS, ERR_BUSY (another version), ERR_BAD;
                        ERR_CLOSED: seq was cancelled, or is below `lowest`: nothing was done */
    uint64_t id;     /* 0: what the command made: session, grant, freeze, move: the index of its entry * 64 + its place */
    uint32_t count;  /* GRANT: tokens; RETURN: refunded; CANCEL: 1 if it came before the command */
    uint32_t life_ms; /* GRANT: they may be spent so long after the first send of the request. SESSION_OPEN, _RENEW: the
                         TTL, from the first send of this attempt: count this one, not machine_session_ttl_ms, which
                         may be older or newer than what the cluster counts */
    uint8_t why;     /* enum machine_refusal */
    uint8_t scope;   /* LIMIT: whose, enum command_scope */
    uint64_t free_ms; /* LIMIT: cluster time when `need` may fit again (not a promise; more than the whole limit: never,
                         and one window from now here) */
    uint64_t now_ms;  /* cluster time at the command */
    char limit[64];   /* LIMIT: its name */
    uint64_t limit_count, limit_window_ms;
    char words[MACHINE_WORDS_MAX]; /* or empty */
};

/* Results as bytes, for the node that forwarded the command. */
int machine_result_encode(const struct machine_result *r, struct buf *out);
int machine_result_decode(struct cursor *c, struct machine_result *out);

enum machine_change { /* of what others keep copies; the key is a name, or empty */
    MACHINE_CHANGED_FROZEN = 1,  /* machine_frozen_each; also what else must be obeyed before it is published */
    MACHINE_CHANGED_ACCOUNT,     /* key: its name */
    MACHINE_CHANGED_POLICY,
    MACHINE_CHANGED_POOLS,       /* pools, assignments or addresses; key: the address, or empty */
    MACHINE_CHANGED_MEMBERS,
    MACHINE_CHANGED_SESSIONS,    /* opened, superseded, closed, expired; id: the session */
    MACHINE_CHANGED_LIMITS,      /* overrides, tenants, a refund after a refusal: refusals that were remembered may be
                                    wrong now. key: whose, scope in `id`; or empty: anybody's */
    MACHINE_CHANGED_TRANSFER,    /* id: low 64 bits of the batch's; key: its 16 bytes */
    MACHINE_CHANGED_FEATURES,
    MACHINE_CHANGED_RECALL,      /* key: the account or tenant; idle tokens of it are asked for. scope in `id` */
    MACHINE_CHANGED_SUPPRESSED,  /* key: tenant, 0, address; id: 0 when it was removed */
    MACHINE_CHANGED_SEALED,      /* a secret or what encrypts them; key: of the record, or empty; id: 0 when it was removed */
    MACHINE_CHANGED_ALL,         /* a snapshot was installed: look at everything again */
};

/* What came of one entry, in order. The caller's; keeps its memory between calls. */
struct machine_effect {
    bool is_result;
    /* a result */
    uint8_t command; /* enum command_type */
    struct command_origin origin;
    struct machine_result result;
    /* a change */
    enum machine_change change;
    uint64_t id;
    struct span key; /* valid until the next apply */
};
struct machine_effects {
    struct machine_effect *items;
    uint32_t n, cap;
    struct buf keys;
};
void machine_effects_init(struct machine_effects *e);
void machine_effects_fini(struct machine_effects *e);

/* Indexes ascend. 0, or an error after which the machine must not be used: ERR_CORRUPT, ERR_NOT_FOUND (a command
 * of a newer feature level), -ENOMEM. Conservation is asserted inside (ensure), in release builds too. */
int machine_apply(struct machine *m, uint64_t index, const void *entry, size_t n, struct machine_effects *out);

uint64_t machine_applied(const struct machine *m); /* index */
uint64_t machine_now_ms(const struct machine *m);  /* cluster time */
uint32_t machine_features(const struct machine *m); /* level in force */
bool machine_founded(const struct machine *m);     /* CLUSTER_INIT was applied */

/* ---- what a leader proposes by itself ------------------------------------------------------------------ */

/* A leader calls this now and then (every 100 ms), after its barrier, with its cluster time: commands whose time
 * has come, encoded into `out` one after another (freezes that end, tokens and chunks that are stale). Sessions:
 * the leader must say when it first saw each renewal, by its own clock: see lease.h, a pure helper with that memory. */
int machine_due(struct machine *m, uint64_t now_ms, struct buf *out, uint32_t *n);

/* ---- sessions ------------------------------------------------------------------------------------------ */

struct machine_session {
    uint64_t id, node, number, published, opened_index;
    uint64_t ttl_ms;   /* the longest that its node may be counting */
    uint8_t nonce[16]; /* of its SESSION_OPEN: how the node knows its own */
    bool current; /* false: superseded or of a removed node, and not yet expired: still waited for */
};
/* All that freeze waits for, in order of id. Until it returns nonzero. */
typedef int machine_session_fn(void *arg, const struct machine_session *s);
int machine_sessions_each(const struct machine *m, machine_session_fn *fn, void *arg);
bool machine_session_find(const struct machine *m, uint64_t id, struct machine_session *out);
int64_t machine_session_ttl_ms(const struct machine *m);
int64_t machine_session_margin_ms(const struct machine *m);

/* ---- reading, also from other threads ------------------------------------------------------------------ */

void machine_read_lock(struct machine *m);
void machine_read_unlock(struct machine *m);

struct machine_frozen {
    uint64_t id;
    uint8_t scope, mode;
    struct span name, reason, who;
    int64_t wall_ms;   /* when it was asked for, by a wall clock */
    uint64_t since_ms, until_ms; /* cluster time; until 0: no end */
};
typedef int machine_frozen_fn(void *arg, const struct machine_frozen *f);
/* In order of name. */
int machine_frozen_each(const struct machine *m, machine_frozen_fn *fn, void *arg);
bool machine_frozen_find(const struct machine *m, uint8_t scope, struct span name, struct machine_frozen *out);

/* One limit of one sender, as it stands. */
struct machine_usage {
    const char *limit;
    uint8_t scope;
    uint64_t count, window_ms; /* N per W */
    uint64_t used;             /* charged in the window: spent or in nodes' hands */
    uint64_t held;             /* of it, in nodes' hands */
    uint64_t burned;           /* of it, lost with a node that ended; counts until it leaves the window */
    bool full;                 /* counts as full since a new epoch began, whatever is used */
    uint64_t free_ms, gone_ms; /* cluster time at which, if nothing more is charged, one recipient fits, and at which
                                  nothing counts any more; machine_now_ms or before: now */
    bool overridden;
};
typedef int machine_usage_fn(void *arg, const struct machine_usage *u);
/* Some limit's window still counts as full since a new epoch began (LIMITS_REOPEN ends that). */
bool machine_windows_full(const struct machine *m);
/* The chain of an account (tenant and class as in struct command_grant; the class with COMMAND_STREAM: the mail's), or of a tenant alone. */
int machine_usage_each(const struct machine *m, struct span account, struct span tenant, uint8_t class,
                       machine_usage_fn *fn, void *arg);

struct machine_totals {
    uint64_t accounts, tenants, counters, grants, sessions, frozen, members, pools, addresses, transfers, audit, sealed, suppressed,
        records;
    /* Tokens, since the cluster began: charged = spent_or_held + burned + refunded. Burned: lost with their node, or
     * given back too late. */
    uint64_t charged, spent_or_held, burned, refunded;
    uint64_t granted, refused;                         /* requests */
    uint64_t counters_max;                             /* over it, senders that have none are refused */
    uint64_t no_room;                                  /* requests refused for that, as this process has applied them */
    uint64_t bytes;                                    /* estimate of the state's memory */
};
void machine_totals(const struct machine *m, struct machine_totals *out);

/* The directory's readers are in directory.h. */

/* ---- digest and snapshot ------------------------------------------------------------------------------- */

uint64_t machine_digest(struct machine *m);

/* Begin, steps and end on the applying thread, between entries; a step is short, under a millisecond (but for copies
 * of all that changed since the last one). 1: more to come; 0: done; or an error. */
int machine_snapshot_begin(struct machine *m);
int machine_snapshot_step(struct machine *m, struct buf *out);
void machine_snapshot_end(struct machine *m);
/* Replaces the state. The index that it stands for is inside. */
int machine_restore(struct machine *m, const void *p, size_t n);

#endif
