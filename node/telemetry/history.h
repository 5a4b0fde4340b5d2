/* The history of this node: how each recipient ended, to be looked up (SQLite).
 *
 * How a row comes to be. A worker that knows how a recipient will end tells the details (history_note), then
 * records the end in the spool (spool_update); when that is on disk the spool says so (history_ended, from
 * spool_on_ended), and only then is a row written: so the history never claims an end that the spool could
 * still forget. Notes wait in memory for their ending, at most HISTORY_NOTE_LIFE_MS and `queue_bytes`; a note
 * that is lost costs the row its details, never the row itself.
 *
 * Durability. Rows are committed in batches, about one a second or per 1 MiB, each synced (synchronous=FULL).
 * After the commit `committed` is told the seq up to which everything is durable; it goes to
 * spool_history_done. What the history misses by a crash the spool tells again at its next start; rows that
 * are there already are left as they are.
 *
 * At the limits. The memory between the spool and the history is bounded by `queue_bytes`; SQLite is several
 * times faster than the spool, so only a failing disk fills it. Then, and when the file cannot be written,
 * nothing is dropped that the spool does not still hold: the history is "behind". While it only cannot write
 * it keeps what it has and tries again every 5 s. What no longer found room is not told again before the next
 * start of the node; until then `committed` stays where it is, and the spool keeps its segments (spool_stats
 * .held_by_history). An operator sees history_stats.behind, a metric and a line in the log.
 *
 * Threads: notes from any, endings from one at a time (in order of seq), queries on the caller's thread with
 * a connection of their own. `committed` runs on the history's thread.
 */
#ifndef NODE_TELEMETRY_HISTORY_H
#define NODE_TELEMETRY_HISTORY_H

#include "base/span.h"
#include "spool/spool.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define HISTORY_NOTE_LIFE_MS 600000

struct history;

struct history_config {
    const char *path;     /* made with 0640 */
    uint64_t queue_bytes; /* 0: 64 MiB */
    int64_t keep_ms;      /* rows of messages older than this are deleted; 0: never */
    int64_t keep_clients_ms, keep_replies_ms; /* addresses and names of clients, words of replies; 0: as the row */
    uint64_t keep_bytes;  /* of the file: the oldest are deleted beyond it; 0: no bound */
    void (*committed)(void *ctx, uint64_t seq);
    void *ctx;
};

/* Opens or makes the file and starts the thread. A file that SQLite finds damaged is set aside
 * (.damaged-TIME) and a new one made: mail goes on. ERR_FAILED with a line in the log. */
int history_open(const struct history_config *config, struct history **out);
/* Writes what is there, then frees. */
void history_close(struct history *h);

/* What is known of one recipient's end. Borrowed during the call. */
struct history_rcpt {
    uint32_t rcpt; /* index in the envelope */
    struct span site, mx, mx_ip, source_ip, tls;
};

/* Before spool_update. Never blocks; a note that finds no room is dropped (counted). */
void history_note(struct history *h, const struct envelope *env, const struct history_rcpt *rcpts,
                  uint32_t n);

/* A message is accepted, signed by these keys: so its rows say, on this node. Never blocks; at the limit it is not
 * told (counted as a note). */
void history_signed(struct history *h, uint64_t id, int64_t arrival_ms, struct span dkim);

/* What the check of content said of a message, and what was done with it then. */
enum history_done { /* in the file */
                    HISTORY_DONE_ACCEPTED = 1,
                    HISTORY_DONE_MARKED = 2,
                    HISTORY_DONE_HELD = 3,
                    HISTORY_DONE_REJECTED = 4,
                    HISTORY_DONE_DEFERRED = 5, /* the client is to come again */
};
struct history_verdict {
    int64_t at_ms;
    uint8_t done;
    struct span text; /* cut at 512 bytes */
};

/* Of a message that is accepted. Never blocks; at the limit it is not told (counted as a note). */
void history_checked(struct history *h, uint64_t id, const struct history_verdict *v);

/* A message that the check did not let in, and how that was said: rows like those of others, in a state of
 * their own. Kept for as long as others, but never more of them than HISTORY_REJECTED_MAX recipients, the
 * newest, of one account (or client without one) about HISTORY_REJECTED_HOURLY an hour, and of one message
 * the first HISTORY_REJECTED_RCPTS: so that a flood of them takes no room of other mail's, and one sender's
 * not all of theirs. Never blocks. */
#define HISTORY_REJECTED 16 /* state, besides enum rcpt_state's */
#define HISTORY_REJECTED_MAX 20000
#define HISTORY_REJECTED_HOURLY 200
#define HISTORY_REJECTED_RCPTS 100
void history_rejected(struct history *h, const struct envelope *env, const struct history_verdict *v,
                      struct span reply);

/* What happened to a recipient before its end. Of one recipient the first HISTORY_STEPS_FIRST and the last
 * HISTORY_STEPS_LAST are kept. Not told again after a crash: what was not committed yet is lost then. */
#define HISTORY_STEPS_FIRST 8
#define HISTORY_STEPS_LAST 24

enum history_step_kind { /* in the file */
                         HISTORY_STEP_DEFERRED = 1,
                         HISTORY_STEP_HELD = 2,
                         HISTORY_STEP_RELEASED = 3,
                         HISTORY_STEP_ARRIVED = 4, /* from another node, `who` */
                         /* not in the file: of the message, see history_checked; number 0, read first */
                         HISTORY_STEP_CHECKED = 5,
};

struct history_step {
    uint32_t rcpt;
    uint32_t number; /* 1 for the first; set by history_steps_read */
    uint8_t kind;
    bool greylisted;
    uint8_t done; /* enum history_done, of CHECKED: whose `reply` is the verdict */
    uint16_t attempt;
    int64_t at_ms, next_ms;
    struct span reply, site, mx, mx_ip, source_ip, tls;
    struct span who; /* the operator, or the node it came from */
};

/* Never blocks; what finds no room is dropped (counted as notes). Texts are cut at 512 bytes. */
void history_steps(struct history *h, uint64_t id, int64_t arrival_ms, const struct history_step *steps,
                   uint32_t n);

/* For spool_on_ended; `history` is a struct history. */
void history_ended(void *history, uint64_t id, const struct spool_rcpt_update *u, uint32_t n, uint64_t seq);
/* The same where the envelope is at hand (at start, when the spool tells again what it still holds). */
void history_ended_env(struct history *h, const struct envelope *env, const struct spool_rcpt_update *u,
                       uint32_t n, uint64_t seq);

/* Waits until everything told before is committed; ERR_FAILED when it could not be. */
int history_flush(struct history *h);

struct history_stats {
    uint64_t rows, batches, errors, notes_dropped;
    uint64_t queued_bytes, file_bytes;
    uint64_t committed_seq;
    int64_t kept_since_ms; /* whatever arrived since then, and ended, is there */
    bool behind;
    bool old; /* the file is of an older version, and being brought up to date */
};
void history_stats(struct history *h, struct history_stats *out);

/* Takes an address (lower case, without case) out of what is there now, as sender, recipient and account: rows say "erased"
 * in its place, and lose replies, Message-ID and client. For a while; any thread but a loop's. ERR_CLOSED: `stop`
 * was set; what was begun is right as far as it went, and may be repeated. */
int history_erase(struct history *h, struct span address, const atomic_bool *stop, uint64_t *rows);

/* ---- looking up ---------------------------------------------------------------------------------------- */

/* All that are given must match. */
struct history_query {
    uint64_t id; /* under whatever hop; 0: not given. Else stands alone with time and place */
    struct span message_id, account, tenant; /* exact; empty: not given */
    struct span sender, recipient;           /* whole address, "@domain" or (sender) "<>"; without case */
    uint32_t states;                         /* 1 << state: any of these; 0: any at all */
    int64_t since_ms, until_ms;              /* arrival, until exclusive; 0: not given */
    bool after;                              /* only rows after the place (after_id, after_rcpt) */
    uint64_t after_id;
    uint32_t after_rcpt;
    uint32_t limit; /* 0: 1000 */
};

struct history_row { /* empty or 0: not known */
    uint64_t id;
    uint32_t rcpt, nrcpts;
    uint8_t state; /* enum rcpt_state, or HISTORY_REJECTED */
    uint16_t attempts;
    int64_t arrival_ms, ended_ms;
    uint64_t size;
    uint8_t class;
    struct span sender, recipient, account, tenant, message_id;
    struct span client_ip, client_name, helo, protocol, listener;
    struct span reply, site, mx, mx_ip, source_ip, tls;
    struct span dkim; /* the names of the records of the keys that signed it */
};

/* 0: go on; else: enough. */
typedef int history_row_fn(void *arg, const struct history_row *row);

/* Newest first: by descending place, which is the id as people see it, without its hop, and the recipient. A message
 * that left and came back has rows at one place; these come together, even beyond the limit. 0, or an error
 * (ERR_TIMEOUT: it took more than 4 s; ERR_BUSY: a file of an
 * older version is being brought up to date, which is done beside everything else). Any thread. */
int history_query(struct history *h, const struct history_query *query, history_row_fn *fn, void *arg);

/* The steps of single recipients, in their order. Any thread, one at a time; NULL may be closed. */
struct history_reader;
typedef void history_step_fn(void *arg, const struct history_step *step);
int history_reader_open(struct history *h, struct history_reader **out);
int history_steps_read(struct history_reader *r, uint64_t id, uint32_t rcpt, history_step_fn *fn, void *arg);
void history_reader_close(struct history_reader *r);

#endif
