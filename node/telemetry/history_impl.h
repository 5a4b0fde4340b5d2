/* What the history's files share; for nobody else. */
#ifndef NODE_TELEMETRY_HISTORY_IMPL_H
#define NODE_TELEMETRY_HISTORY_IMPL_H

#include "base/buf.h"
#include "base/cursor.h"
#include "base/list.h"
#include "base/map.h"
#include "node/telemetry/history.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

/* ---- history_db.c: the file; the history's thread ---- */

#define HISTORY_RECENT 1024 /* a power of two */

/* A stretch of ids, and the arrivals of what is in it. */
struct history_stretch {
    int64_t seq;    /* its name in the indexes */
    uint64_t start; /* first id; the oldest stretch takes what is below it, too */
    int64_t first_ms, last_ms;
    uint32_t rows; /* of recipients, about */
    bool changed;  /* in this batch */
};

struct history_stretches {
    struct history_stretch *p; /* by ascending start; never empty once the file is open */
    uint32_t n, cap;
};

/* Data that may go before the rest of a message does. */
enum history_class { HISTORY_CLASS_CLIENTS, HISTORY_CLASS_REPLIES };
#define HISTORY_CLASSES 2

struct history_db {
    char *path;
    uint64_t salt; /* of the keys; of this file */
    sqlite3 *sql;
    sqlite3_stmt *begin, *commit, *rollback, *put_message, *put_rcpt, *oldest, *delete_rcpts, *delete_message,
        *put_stretch, *delete_stretch, *put_signature, *delete_signature, *put_step, *last_step, *after_id,
        *clear[HISTORY_CLASSES + 1], *drop_step, *delete_steps, *put_meta, *size, *put_verdict,
        *delete_verdicts, *put_rejected, *delete_rejected, *oldest_rejected, *count_rejected;
    struct history_stretches stretches;
    uint64_t newest;                 /* id */
    uint64_t cleared[HISTORY_CLASSES]; /* up to this id nothing of the class is kept */
    int64_t kept_since_ms;           /* whatever arrived from then on is there */
    uint64_t recent[HISTORY_RECENT]; /* ids of messages that have their row */
    uint64_t rejected;               /* recipients of messages that were not accepted */
    uint32_t rows;                   /* in this transaction */
    bool old;                        /* to be brought up to date before it can be asked */
    int code;                        /* SQLite's, of the last failure */
};

struct history_message { /* what the row of a message holds */
    uint64_t id, size;
    int64_t arrival_ms;
    uint8_t class;
    uint32_t nrcpts; /* 0: nothing is known but the id */
    struct span sender, account, tenant, message_id, client_ip, client_name, helo, protocol, listener;
};

struct history_end { /* what the row of a recipient holds */
    uint64_t id;
    uint32_t rcpt;
    uint8_t state;
    uint16_t attempts;
    int64_t ended_ms;
    struct span address, reply, site, mx, mx_ip, source_ip, tls;
};

/* `path` is owned by the db from the first open on. Errors: ERR_FAILED, and the log has said why. */
int history_db_open(struct history_db *db);
void history_db_close(struct history_db *db);
/* After a failure: open it again; a damaged file is set aside. */
int history_db_recover(struct history_db *db);

/* When it is old. */
int history_db_upgrade(struct history_db *db);

int history_db_begin(struct history_db *db);
int history_db_put_message(struct history_db *db, const struct history_message *m);
/* The message has its row. */
int history_db_put_signature(struct history_db *db, uint64_t id, struct span dkim);
int history_db_put_step(struct history_db *db, uint64_t id, const struct history_step *step);
int history_db_put_end(struct history_db *db, const struct history_end *e);
int history_db_put_verdict(struct history_db *db, uint64_t id, const struct history_verdict *v);
/* The message has `rcpts` rows of HISTORY_REJECTED. The oldest such ones go when there are too many. */
int history_db_put_rejected(struct history_db *db, uint64_t id, uint32_t rcpts);
/* Deletes some of what is too old or too much; at most `max` messages. The number of them, or an error. */
int history_db_prune(struct history_db *db, int64_t before_ms, uint64_t max_bytes, uint32_t max);
int history_db_put_meta(struct history_db *db, const char *name, int64_t value);
/* Of messages that arrived before, `max` of them at most, the class of data goes. The number of them, or an error. */
int history_db_clear(struct history_db *db, enum history_class what, int64_t before_ms, uint32_t max);
int history_db_commit(struct history_db *db);
void history_db_rollback(struct history_db *db);
uint64_t history_db_bytes(struct history_db *db);
/* Says in the log what SQLite says: ERR_FAILED. */
int history_db_failed(struct history_db *db, const char *what);
/* A statement that gives no rows, or one: this is not looked at. 0 or ERR_FAILED. */
int history_db_run(struct history_db *db, sqlite3_stmt *stmt, const char *what);
extern const char *const history_cleared_names[HISTORY_CLASSES];
int history_db_count_rejected(struct history_db *db);

/* history_schema.c. Makes the tables; `old`: there are those of an older version, still to be brought up to date. Both: 0,
 * or -1, and SQLite says why. */
int history_schema_make(sqlite3 *sql, bool *old);
/* Takes as long as it takes to read the file. The connection is closed if it fails. */
int history_schema_upgrade(sqlite3 *sql, const char *path);

/* A column's text, borrowed until the statement's next step. */
static inline struct span history_column(sqlite3_stmt *stmt, int at)
{
    const void *p = sqlite3_column_text(stmt, at);
    return span_of(p, (size_t)sqlite3_column_bytes(stmt, at));
}

/* Reads them; the array is to be freed. 0, -ENOMEM or ERR_FAILED. */
int history_stretches_read(sqlite3 *sql, struct history_stretches *out);

/* 32-bit keys: all that a stretch of some ten thousand rows needs. Those of the addresses of a domain lie
 * side by side: its hash is the upper half, the local part's the lower. Of "@domain": from this one to it |
 * UINT16_MAX. */
uint32_t history_key_address(uint64_t salt, struct span address);
uint32_t history_key_domain(uint64_t salt, struct span domain);
uint32_t history_key_text(uint64_t salt, struct span text);

/* ---- history.c ---- */

/* A record is begun, or (false) it finds no room, and counts as `n` notes that were dropped. Then the lock is
 * held until its end. */
bool history_fill_begin(struct history *h, size_t *before, uint32_t n);
void history_fill_end(struct history *h, size_t before, uint32_t n);
struct span history_text_cut(struct span s);
/* The message's own fields, and reading them again. */
void history_put_envelope(struct buf *b, const struct envelope *e);
struct history_message history_take_envelope(struct cursor *c);

/* ---- history_verdict.c: records of the history's thread ---- */

enum { HISTORY_RECORD_CHECKED = 5, HISTORY_RECORD_REJECTED = 6 };
int history_on_checked(struct history *h, struct cursor *c);
int history_on_rejected(struct history *h, struct cursor *c);

#define HISTORY_BUCKETS 256
struct history_bucket { /* of accounts that share a hash */
    double left;
    int64_t at_ms;
};

struct history {
    struct history_config config;
    struct history_db db; /* the thread's; path and salt are read by queries */
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t wake, flushed;
    struct buf fill; /* records; under lock */
    bool stop;
    uint64_t flush_asked, flush_done;
    int flush_err;
    uint64_t gap_seq; /* the first that found no room; 0: none. Under lock */

    struct buf work; /* the thread's: what is being written */
    struct map notes;
    struct list note_ages, note_used; /* oldest first; of this batch */
    uint64_t note_bytes;
    bool cleaning;     /* there was more to delete than one batch does */
    uint64_t last_seq; /* told in what was committed */
    struct history_bucket buckets[HISTORY_BUCKETS];

    atomic_uint_fast64_t rows, batches, errors, notes_dropped, file_bytes, confirmed_seq, work_bytes, salt;
    atomic_int_fast64_t kept_since_ms;
    atomic_bool failing, old;
};

#endif
