/* The scheduling of one worker: what may be sent next, to which site, and when. Pure: it is told the time and
 * performs nothing; no socket, no DNS, no disk. One thread.
 *
 * An item is the recipients of one message that go to one site: they share a transaction. A site is a
 * destination: a recipient domain, or the next hop that a route names; later the set of its MX hosts. Within
 * a site senders take turns (deficit round robin, weighted by class), so that one sender's 100,000 messages
 * delay nobody else's. Items are due at once or at next_ms.
 *
 * A site's connections are limited: the limit starts low, grows with success and shrinks with trouble. A site
 * that cannot be reached is "down": one connection probes it at the retry schedule's times, whatever is
 * queued; its items just wait, no attempt is counted, and what is wrong with them is what is wrong with the
 * site.
 *
 * An item's states (an operator's verbs in brackets):
 *
 *      add ---> WAITING --time--> READY --take--> IN_FLIGHT --done--> gone
 *                  ^  \              | \ ^            |
 *                  |  [hold]    [hold]  \ `--requeue--+
 *                  |    v            v   `--expire--> IN_FLIGHT
 *                  |   HELD <--------'                |
 *                  `--------------- defer <-----------'
 *
 * The shell's loop: after anything that changed (an item added, an outcome, a connection's event, a timer at
 * queue_next_wake_ms) call queue_poll until it returns false and do what each action says.
 *
 * Lifetimes. An item's pointer is good until queue_done or queue_remove of it. A site's pointer is good as
 * long as it has an item or a connection, and otherwise until the next queue_poll: sites are freed there and
 * in queue_free only. Times are wall clock in ms; inside they are kept to 0.1 s. A clock that jumps is
 * survived: a jump back costs one pass over all items.
 *
 * Memory (measured by queue_bench): an item of one or two recipients 64 bytes and its share of a hash table
 * (11 to 21), with more of them 4 bytes each more; a sender's place at a site 48 bytes; a site under 300 and
 * its key.
 */
#ifndef NODE_QUEUE_QUEUE_H
#define NODE_QUEUE_QUEUE_H

#include "base/list.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define QUEUE_RETRY_STEPS 16
#define QUEUE_CLASSES 3
#define QUEUE_ERROR_MAX 512 /* bytes kept of a site's last error */

struct queue_config {
    uint32_t nretry;
    int64_t retry_ms[QUEUE_RETRY_STEPS]; /* the last one repeats */
    uint32_t retry_jitter_pct;           /* +-; 10 */
    int64_t expire_ms;                   /* 4 d */
    int64_t expire_grace_ms;             /* nothing expires so soon after queue_new: what waited while we were
                                            stopped for days is tried once more; 15 min */
    int64_t expire_held_ms;              /* after so long held items expire, frozen senders' too; 0: never (the
                                            default) */
    int64_t delay_notice_ms;             /* 4 h; 0: none */
    uint32_t conns_start, conns_max;     /* per site: 2, 20 */
    uint32_t conns_total_max;            /* of the worker, open and opening; 1000 */
    uint32_t conns_share_pct;            /* most of conns_total_max that one site may have; 50 */
    uint32_t weight[QUEUE_CLASSES];      /* by enum envelope_class: messages per turn; 4, 2, 1 */
    uint32_t down_after;                 /* failures to connect in a row, with no connection open: 2 */
    int64_t reconnect_ms;                /* pause after a failure that did not yet make the site down; 10 s */
    uint32_t sites_kept_max;             /* sites without items whose state is remembered; 10000 */
    int64_t sites_kept_ms;               /* and for how long; 1 h */
    uint64_t seed;                       /* of the jitter */
};

/* The defaults named above, seed 0. */
void queue_config_default(struct queue_config *config);

/* The delay before attempt `attempts` + 1, given that `attempts` (1 or more) were made; `random` gives the
 * jitter. Pure. */
int64_t queue_retry_delay_ms(const struct queue_config *config, uint32_t attempts, uint64_t random);

struct queue;
struct queue_site;
struct queue_item;

/* config is copied. NULL: no memory. */
struct queue *queue_new(const struct queue_config *config, int64_t now_ms);
/* Calls the site-gone callback for every site. */
void queue_free(struct queue *q);
/* New limits and schedule, on reload; what was scheduled already stays so. */
void queue_reconfigure(struct queue *q, const struct queue_config *config, int64_t now_ms);

/* Called when a site is freed, so that the shell frees what it hung on it (queue_site_data). It must not call
 * back into the queue except to read the site. */
typedef void queue_site_gone_fn(void *ctx, struct queue_site *site, void *data);
void queue_on_site_gone(struct queue *q, queue_site_gone_fn *fn, void *ctx);

/* ---- items --------------------------------------------------------------------------------------------- */

enum queue_state { QUEUE_STATE_WAITING, QUEUE_STATE_READY, QUEUE_STATE_HELD, QUEUE_STATE_IN_FLIGHT };
#define QUEUE_STATES 4

struct queue_item_info {
    uint64_t id; /* message */
    struct span
        site; /* key: lower-case domain, or "host:port" of a route with a mark; see node/core/route.h */
    struct span sender; /* account, or reverse-path's domain when there is none: who takes turns */
    struct span tenant; /* of the sender, or empty */
    uint8_t class;      /* enum envelope_class */
    int64_t arrival_ms; /* wall */
    int64_t next_ms;    /* wall; 0: now. Of a held one: since when it is held */
    uint16_t attempts;
    bool held;    /* kept, shown, never offered until released */
    bool renewed; /* `arrival_ms` is when it was released: its life began anew */
    bool delay_told;
    uint32_t nrcpts;       /* 1 to 65535 */
    const uint32_t *rcpts; /* indexes; nrcpts of them; copied (two or fewer need no array) */
    uint32_t size_kib;
};

/* Adds an item: WAITING, READY or HELD. NULL: no memory, and nothing has changed. */
struct queue_item *queue_add(struct queue *q, const struct queue_item_info *info, int64_t now_ms);

/* What is known of an item. Spans and rcpts point into the queue: good until the item changes. */
struct queue_item_view {
    uint64_t id;
    struct queue_site *site;
    struct span sender;
    uint8_t class;
    enum queue_state state;
    bool frozen; /* its sender is: not offered whatever its state */
    bool delay_told;
    bool renewed;          /* `arrival_ms` is when it was released */
    int64_t arrival_ms;
    int64_t next_ms;       /* of a WAITING item; else 0 */
    int64_t held_since_ms; /* of a HELD item; else 0 */
    uint16_t attempts;
    uint32_t nrcpts;
    const uint32_t *rcpts;
    uint32_t size_kib;
};
void queue_item_view(const struct queue *q, const struct queue_item *item, struct queue_item_view *out);
uint64_t queue_item_id(const struct queue_item *item);
struct queue_site *queue_item_site(const struct queue *q, const struct queue_item *item);

/* The items of a message in this worker: the first, then the next; NULL: no more. Their order means nothing.
 * Get the next one before the present one is removed. */
struct queue_item *queue_find(const struct queue *q, uint64_t id);
struct queue_item *queue_find_next(const struct queue *q, const struct queue_item *item);

/* ---- what to do ---------------------------------------------------------------------------------------- */

/* A connection of the shell's, as the queue sees it; embed it in the shell's own and touch nothing inside.
 *
 *      OPEN_CONNECTION -> opening -> opened -> take -> busy -> take -> ... -> idle -> USE_CONNECTION -> take
 *                            `-> failed           `--------------- closed (from any state) ----------'
 */
struct queue_conn {
    struct queue_site *site;
    struct list link; /* among the site's idle connections */
    struct list lru;  /* among all idle connections, or those to be closed */
    uint8_t state;
    bool took;   /* an item */
    bool worked; /* queue_conn_success was called */
};

enum queue_action_kind {
    QUEUE_ACTION_OPEN_CONNECTION,  /* site: resolve and connect; call queue_conn_init at once, and later
                                      exactly  one of queue_conn_opened and queue_conn_failed */
    QUEUE_ACTION_USE_CONNECTION,   /* conn: it was idle and there is work: call queue_take for it at once */
    QUEUE_ACTION_CLOSE_CONNECTION, /* conn: idle, and its place is needed elsewhere or the limit shrank: QUIT,
                                      and call queue_conn_closed at once */
    QUEUE_ACTION_EXPIRE,       /* item: too old. It is IN_FLIGHT: end it with queue_done, or give it back with
                                  queue_defer or queue_requeue when that cannot be recorded: in both
                                  cases it is not tried, and told of again after a minute */
    QUEUE_ACTION_DELAY_NOTICE, /* item: has waited long; is marked as told. Its state did not change and it is
                                  not handed over: copy id and recipients */
};

struct queue_action {
    enum queue_action_kind kind;
    struct queue_site *site; /* set for every kind */
    struct queue_conn *conn;
    struct queue_item *item;
    bool held; /* EXPIRE: it was held, and not released in time */
};

/* The next thing to do; false: nothing now. One call moves a bounded number of items (256) from waiting to
 * ready; with more due than that queue_next_wake_ms answers "now", so that the loop can do other work in
 * between. */
bool queue_poll(struct queue *q, int64_t now_ms, struct queue_action *out);

/* When to poll again though nothing happened; at or before now_ms: at once; INT64_MAX: not by time. */
int64_t queue_next_wake_ms(const struct queue *q, int64_t now_ms);

/* ---- connections --------------------------------------------------------------------------------------- */

/* Answers OPEN_CONNECTION: binds conn to the site. */
void queue_conn_init(struct queue *q, struct queue_site *site, struct queue_conn *conn);
/* Greeting, EHLO and TLS went well: ends "down". Call queue_take next. */
void queue_conn_opened(struct queue *q, struct queue_conn *conn, int64_t now_ms);
/* No host of the site could be used: `why` is "451 4.4.1 connection refused" or the like. With no other
 * connection open the site goes down after config.down_after of these in a row. The conn is forgotten. */
void queue_conn_failed(struct queue *q, struct queue_conn *conn, struct span why, int64_t now_ms);
/* The connection was opened and is over. `trouble` says why when it ended by 421, a reset or a time-out, else
 * it is empty: trouble halves the limit, at most every 2 s. A connection that took an item and ended without
 * one queue_conn_success counts as one that failed, so that a server that greets and then hangs up is not
 * hammered. The conn is forgotten. A conn that was never opened needs queue_conn_failed. */
void queue_conn_closed(struct queue *q, struct queue_conn *conn, struct span trouble, int64_t now_ms);
/* As queue_conn_failed without blame, for one given up by us (shutdown): nothing is learned from it. */
void queue_conn_cancelled(struct queue *q, struct queue_conn *conn, int64_t now_ms);
/* A transaction came to its end whatever the replies were: the site works, and its limit grows by one after
 * as many of these as the limit is. */
void queue_conn_success(struct queue *q, struct queue_conn *conn, int64_t now_ms);
/* Trouble that did not end the connection (4xx "too many connections"): halves the limit as above. */
void queue_conn_trouble(struct queue *q, struct queue_conn *conn, int64_t now_ms);

/* The next item for a connection that has been opened, or is through with its item, or was named by
 * USE_CONNECTION: it is IN_FLIGHT until its outcome is told. NULL: nothing to send; the connection is idle
 * now (it may be kept, or closed at any time). The outcome of an earlier item may still be outstanding. */
struct queue_item *queue_take(struct queue *q, struct queue_conn *conn, int64_t now_ms);

/* What queue_take would give; NULL: nothing. Changes nothing. */
struct queue_item *queue_site_next(const struct queue *q, const struct queue_site *site);

/* ---- outcomes: of an item IN_FLIGHT ----------------------------------------------------------------------
 */

/* Moves some of its recipients (at least one, not all) into an item of their own, IN_FLIGHT too, so that each
 * part can have its own outcome. NULL: no memory, and nothing has changed. */
struct queue_item *queue_split(struct queue *q, struct queue_item *item, const uint32_t *rcpts,
                               uint32_t nrcpts);

/* All recipients ended: frees the item. */
void queue_done(struct queue *q, struct queue_item *item);

/* An attempt was made and failed for now. The recipients given remain (rcpts NULL: all of them), the others
 * have ended. Next try by the schedule, not before not_before_ms. Returns the time, which is to be recorded.
 */
int64_t queue_defer(struct queue *q, struct queue_item *item, const uint32_t *rcpts, uint32_t nrcpts,
                    int64_t not_before_ms, int64_t now_ms);

/* As queue_defer, at this very time, whatever the schedule says. */
int64_t queue_defer_to(struct queue *q, struct queue_item *item, const uint32_t *rcpts, uint32_t nrcpts,
                       int64_t next_ms, int64_t now_ms);

/* Was not tried: no attempt is counted; first of its sender's again. */
void queue_requeue(struct queue *q, struct queue_item *item, int64_t now_ms);

/* The delay notice was not sent after all (false), or is no longer due (true). Any state. */
void queue_set_delay_told(struct queue *q, struct queue_item *item, bool told);

/* ---- an operator's verbs ---------------------------------------------------------------------------------
 */

/* WAITING, READY -> HELD. One IN_FLIGHT is held as soon as it is deferred or requeued. */
void queue_hold(struct queue *q, struct queue_item *item);
/* HELD -> READY; takes back a hold that had not come to be. What was held begins its life anew: it expires, and its
 * delay is told of, as if it had come now. */
void queue_release(struct queue *q, struct queue_item *item, int64_t now_ms);
/* WAITING -> READY, and its site, if down, is probed now. Held ones stay held. */
void queue_retry_now(struct queue *q, struct queue_item *item, int64_t now_ms);
/* Frees it; ERR_BUSY when IN_FLIGHT. */
int queue_remove(struct queue *q, struct queue_item *item);

/* An item has become HELD (by +1), or is so no longer (-1): whenever it is added, divided, ended or moved, too. The
 * callee may only take note of it. */
typedef void queue_held_fn(void *ctx, const struct queue_item_view *v, int by);
void queue_on_held(struct queue *q, queue_held_fn *fn, void *ctx);

/* ---- frozen senders ------------------------------------------------------------------------------------ */

/* Is this sender frozen? Asked once for each sender that comes, and for all of them by queue_frozen_changed. What
 * a frozen sender has here stays as it is: nothing of it is offered, and nothing expires or is told of a delay. An
 * attempt under way is not stopped. After a thaw nothing expires for config.expire_grace_ms. */
typedef bool queue_frozen_fn(void *ctx, struct span sender, struct span tenant);
void queue_on_frozen(struct queue *q, queue_frozen_fn *fn, void *ctx);
/* The answers may be others now. When it returns, no item of a sender that is frozen will be offered. */
void queue_frozen_changed(struct queue *q, int64_t now_ms);

/* ---- looking at it ---------------------------------------------------------------------------------------
 */

/* Walks all items, at most `max` per call: start with *cursor = 0, go on while it returns true. An item that
 * is there all the time is seen exactly once, whatever happens between the calls; fn may use any verb on the
 * item that it is given. Walks of sites and senders likewise (from fn, remove nothing). */
typedef void queue_walk_fn(void *ctx, struct queue_item *item);
bool queue_walk(struct queue *q, uint64_t *cursor, uint32_t max, queue_walk_fn *fn, void *ctx);
typedef void queue_walk_site_fn(void *ctx, struct queue_site *site);
bool queue_walk_sites(struct queue *q, uint64_t *cursor, uint32_t max, queue_walk_site_fn *fn, void *ctx);

struct queue_counts {
    uint32_t state[QUEUE_STATES]; /* items */
    int64_t oldest_ms; /* arrival of the oldest item; 0: none. Of more than 4096 items only so many are
                          looked at */
};
typedef void queue_walk_sender_fn(void *ctx, struct span sender, const struct queue_counts *counts);
bool queue_walk_senders(struct queue *q, uint64_t *cursor, uint32_t max, queue_walk_sender_fn *fn, void *ctx);

/* ERR_NOT_FOUND: it has nothing here. */
int queue_sender_counts(const struct queue *q, struct span sender, struct queue_counts *out);

struct queue_totals {
    uint32_t state[QUEUE_STATES];
    uint32_t sites, sites_down, senders;
    uint32_t conns, conns_opening, conns_idle;
    uint64_t bytes; /* memory of items, places, sites and senders, without malloc's own */
    uint64_t steps; /* turns of inner loops since the start: what the work cost, without a clock */
};
void queue_totals(const struct queue *q, struct queue_totals *out);

/* ---- sites ------------------------------------------------------------------------------------------------
 */

struct queue_site *queue_site_find(const struct queue *q, struct span key);
struct span queue_site_key(const struct queue_site *site);
/* The shell's own: NULL at first. */
void *queue_site_data(const struct queue_site *site);
void queue_site_set_data(struct queue_site *site, void *data);
/* Overrides config.conns_max for this site; 0: the default again. */
void queue_site_set_conns_max(struct queue *q, struct queue_site *site, uint32_t max, int64_t now_ms);
/* What an operator's rules ask of a site, beside what it shows by itself. All zero: nothing. A site without items and
 * connections may be forgotten, with its shape: set it again when the site comes back. */
struct queue_shape {
    uint32_t conns_max;      /* 0: config.conns_max */
    int64_t paused_until_ms; /* before then nothing is taken for it and no connection opened; 0: is not paused */
    int64_t interval_ms;     /* between two items that are taken for it; 0: none */
};
void queue_site_set_shape(struct queue *q, struct queue_site *site, const struct queue_shape *shape, int64_t now_ms);
/* While blocked, no connection is opened for it, whatever waits; those that there are go on. */
void queue_site_block(struct queue *q, struct queue_site *site, bool blocked, int64_t now_ms);
/* Nothing is taken for it before then, unless a later time was given already. */
void queue_site_pace(struct queue *q, struct queue_site *site, int64_t until_ms, int64_t now_ms);
/* Its shape has it pause now. */
bool queue_site_paused(const struct queue_site *site, int64_t now_ms);
/* If it is down or pausing after a failure, it is tried now; a shape's pause goes on. */
void queue_site_retry_now(struct queue *q, struct queue_site *site, int64_t now_ms);

struct queue_site_state {
    struct queue_counts counts;
    uint32_t senders;     /* that have something for it */
    uint32_t conns, conns_opening, conns_idle;
    uint32_t conns_limit; /* what it has grown to */
    uint32_t failures;    /* connections that failed in a row */
    bool down;
    int64_t down_since_ms;   /* 0: is not */
    int64_t next_try_ms;     /* no connection is opened before; 0: at once */
    bool shaped;             /* its shape holds it back */
    int64_t paused_until_ms; /* until then nothing is sent; 0: is not paused */
    struct span last_error;  /* the reason of the last failure, kept after it ended; points into the site */
    int64_t last_error_ms;   /* 0: never */
    int64_t last_success_ms; /* a connection was opened; 0: never */
};
void queue_site_state(const struct queue *q, const struct queue_site *site, struct queue_site_state *out);

#endif
