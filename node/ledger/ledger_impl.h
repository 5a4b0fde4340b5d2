/* Inside a worker's half of the ledger: wallets, parcels and the parts of them that holds have. The worker's
 * thread. */
#ifndef NODE_LEDGER_LEDGER_IMPL_H
#define NODE_LEDGER_LEDGER_IMPL_H

#include "base/heap.h"
#include "base/map.h"
#include "node/ledger/internal.h"

/* What a hold has of one parcel. Of a parcel that ended: `parcel` is NULL, and the tokens are gone. */
struct ledger_part {
    struct list link;      /* the hold's, or the worker's spare ones */
    struct list in_parcel; /* unlinked when it has none */
    struct ledger_parcel *parcel;
    uint32_t n;
};

/* The tokens of one sender on this worker. */
struct ledger_wallet {
    struct ledger_worker *w;
    struct heap_node timer; /* next time-out of a waiting hold, or when it may be forgotten */
    struct list link;       /* the worker's list of those without a hold */
    struct list dirty;      /* the worker's list of those to be served soon */
    struct list open, used; /* parcels: with free tokens; with reserved ones only */
    struct list waiting;    /* holds, in order */
    bool asking;            /* a question is out */
    uint32_t free, holds, parcels;
    /* A refusal that is still true: kept until it is not, so that hammering costs nothing. */
    struct ledger_refusal refusal;
    uint32_t refused_need;
    int64_t offered_ns; /* when tokens that came free were last given back because of a refusal */
    int64_t refused_until_ns;
    uint32_t refused_epoch;
    uint64_t hash;
    struct span account, tenant;
    uint8_t class;
    char names[];
};

struct ledger_worker {
    struct ledger_worker_config config;
    uint32_t slot;
    const struct ledger_view *view; /* NULL: no cluster */
    uint64_t gate;                  /* published at least this, or it does not act */
    uint64_t published;
    struct ledger_port port;
    uv_timer_t timer;
    uint32_t handles; /* open ones of the loop */
    bool closing, free_wanted;
    int64_t armed_ns; /* when the timer fires; 0: not */
    struct map wallets;
    struct heap timers, ends; /* of wallets, of parcels; ns */
    struct list resting;      /* wallets without holds, the longest first */
    struct list dirty;        /* wallets */
    struct list parcels;
    struct list done; /* parcels to hand back, by msg.in.link */
    struct list spare_parts;
    uint32_t nspare, nwaiting;
    uint64_t seen_session;
    uint64_t in_hand;
    struct {
        _Atomic uint64_t reserved, spent, freed, refused, asked, exchanged, timeouts, in_hand;
        _Atomic uint32_t senders, waiting;
    } stats;
};

#define LEDGER_PARTS_SPARE 1024

static inline void ledger_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline int64_t ledger_later(int64_t now_ns, int64_t ms)
{
    return now_ns + ms * LEDGER_NS_PER_MS;
}

/* ---- ledger_worker.c ----------------------------------------------------------------------------------- */

/* Both clocks, read now. */
struct ledger_now ledger_now(const struct ledger_worker *w);
/* The timer fires in so many ms, or sooner. */
void ledger_arm(struct ledger_worker *w, int64_t ms);
/* To be served from the loop, not from inside the caller's call. */
void ledger_mark_dirty(struct ledger_wallet *wa);
/* Parcels that are done with go back. */
void ledger_flush(struct ledger_worker *w);

/* ---- ledger_wallet.c ----------------------------------------------------------------------------------- */

void ledger_wallets_init(struct ledger_worker *w);
int ledger_wallet_hold(struct ledger_worker *w, const struct ledger_sender *sender,
                       struct ledger_wallet **out);
struct ledger_wallet *ledger_wallet_find(struct ledger_worker *w, struct span account, struct span tenant,
                                         uint8_t class);
void ledger_wallet_rele(struct ledger_wallet *wa);
/* Sets its deadline, or forgets it when nothing needs it. */
void ledger_wallet_settle(struct ledger_wallet *wa, const struct ledger_now *now);
/* A parcel that came; one of another session goes back at once. */
void ledger_wallet_add(struct ledger_wallet *wa, struct ledger_parcel *p);
/* n tokens for the hold; false: there are not so many that are good now. */
bool ledger_wallet_take(struct ledger_wallet *wa, struct ledger_hold *h, uint32_t n,
                        const struct ledger_session *s, const struct ledger_now *now);
/* The parcel goes back to the agent; what holds have of it is gone. */
void ledger_parcel_retire(struct ledger_worker *w, struct ledger_parcel *p);
bool ledger_parcel_good(const struct ledger_parcel *p, const struct ledger_session *s,
                        const struct ledger_now *now);
/* Frees n of the hold's tokens, gone ones first. */
void ledger_parts_drop(struct ledger_hold *h, uint32_t n);
/* Drops the parts that cannot be spent now; how many tokens they were. */
uint32_t ledger_parts_drop_bad(struct ledger_hold *h, const struct ledger_session *s,
                               const struct ledger_now *now);
/* All of the hold's tokens are spent. */
void ledger_parts_spend(struct ledger_hold *h);

/* ---- ledger.c ------------------------------------------------------------------------------------------ */

/* After something came, was freed or forgotten: answers waiting holds, and asks the agent when that is
 * needed. */
void ledger_serve(struct ledger_wallet *wa);
/* The agent's answer came: refused for now only, so that just the first waiting hold hears of it. */
void ledger_refuse_first(struct ledger_wallet *wa, const struct ledger_refusal *why);
/* The wallet's holds whose time is over get their answer. */
void ledger_expire(struct ledger_wallet *wa, const struct ledger_now *now);

#endif
