/* What goes from the history's file: what is too old, or too much, or of a class that is kept for a shorter
 * time. The history's thread. */
#include "node/telemetry/history_impl.h"

#include <string.h>

#define PRUNE_MAX 4096

static int delete_message(struct history_db *db, int64_t id)
{
    sqlite3_bind_int64(db->delete_rcpts, 1, id);
    sqlite3_bind_int64(db->delete_message, 1, id);
    sqlite3_bind_int64(db->delete_signature, 1, id);
    sqlite3_bind_int64(db->delete_steps, 1, id);
    int err = history_db_run(db, db->delete_rcpts, "deleting");
    if (err == 0)
        err = history_db_run(db, db->delete_signature, "deleting");
    if (err == 0)
        err = history_db_run(db, db->delete_steps, "deleting");
    return err != 0 ? err : history_db_run(db, db->delete_message, "deleting");
}

/* ---- what the check of content said ---- */

static int delete_range(struct history_db *db, sqlite3_stmt *stmt, int64_t first, int64_t last)
{
    sqlite3_bind_int64(stmt, 1, first);
    sqlite3_bind_int64(stmt, 2, last);
    return history_db_run(db, stmt, "deleting");
}

int history_db_count_rejected(struct history_db *db)
{
    int err = sqlite3_step(db->count_rejected) == SQLITE_ROW ? 0 : history_db_failed(db, "reading");
    if (err == 0)
        db->rejected = (uint64_t)sqlite3_column_int64(db->count_rejected, 0);
    sqlite3_reset(db->count_rejected);
    return err;
}

static int delete_oldest_rejected(struct history_db *db)
{
    int code = sqlite3_step(db->oldest_rejected);
    int64_t id = sqlite3_column_int64(db->oldest_rejected, 0),
            rcpts = sqlite3_column_int64(db->oldest_rejected, 1);
    int err = code == SQLITE_ROW ? 0 : history_db_failed(db, "deleting");
    sqlite3_reset(db->oldest_rejected);
    if (err == 0)
        err = delete_message(db, id);
    if (err == 0)
        err = delete_range(db, db->delete_verdicts, id, id);
    if (err == 0)
        err = delete_range(db, db->delete_rejected, id, id);
    db->rejected -= (uint64_t)rcpts;
    return err;
}

int history_db_put_rejected(struct history_db *db, uint64_t id, uint32_t rcpts)
{
    sqlite3_bind_int64(db->put_rejected, 1, (int64_t)id);
    sqlite3_bind_int64(db->put_rejected, 2, rcpts);
    int err = history_db_run(db, db->put_rejected, "writing");
    db->rejected += rcpts;
    while (err == 0 && db->rejected > HISTORY_REJECTED_MAX)
        err = delete_oldest_rejected(db);
    return err;
}

/* Of all messages up to this one, also where a program of an older version deleted these. */
static int delete_up_to(struct history_db *db, int64_t last_id)
{
    int err = delete_range(db, db->delete_verdicts, 0, last_id);
    if (err == 0 && db->rejected > 0)
        err = delete_range(db, db->delete_rejected, 0, last_id);
    return err == 0 && db->rejected > 0 ? history_db_count_rejected(db) : err;
}

/* ---- classes ---- */

static int clear_message(struct history_db *db, enum history_class what, int64_t id)
{
    const int first = what == HISTORY_CLASS_CLIENTS ? 0 : 1, last = what == HISTORY_CLASS_CLIENTS ? 0 : 2;
    int err = 0;
    for (int i = first; i <= last && err == 0; i++) {
        sqlite3_bind_int64(db->clear[i], 1, id);
        err = history_db_run(db, db->clear[i], "clearing");
    }
    return err;
}

int history_db_clear(struct history_db *db, enum history_class what, int64_t before_ms, uint32_t max)
{
    int64_t ids[PRUNE_MAX];
    uint32_t n = 0;
    int code = SQLITE_DONE;
    if (max > PRUNE_MAX)
        max = PRUNE_MAX;
    sqlite3_bind_int64(db->after_id, 1, (int64_t)db->cleared[what]);
    sqlite3_bind_int64(db->after_id, 2, max);
    while (n < max && (code = sqlite3_step(db->after_id)) == SQLITE_ROW &&
           sqlite3_column_int64(db->after_id, 1) < before_ms)
        ids[n++] = sqlite3_column_int64(db->after_id, 0);
    int err = code == SQLITE_ROW || code == SQLITE_DONE ? 0 : history_db_failed(db, "clearing");
    sqlite3_reset(db->after_id);
    for (uint32_t i = 0; i < n && err == 0; i++)
        err = clear_message(db, what, ids[i]);
    if (err == 0 && n > 0 && what == HISTORY_CLASS_REPLIES)
        err = delete_range(db, db->delete_verdicts, 0, ids[n - 1]);
    if (err == 0 && n > 0) {
        db->cleared[what] = (uint64_t)ids[n - 1];
        err = history_db_put_meta(db, history_cleared_names[what], ids[n - 1]);
    }
    return err != 0 ? err : (int)n;
}

/* ---- what is too old, or too much ---- */

/* Stretches of which nothing is left. */
static int drop_stretches(struct history_db *db, uint64_t oldest_id)
{
    struct history_stretches *all = &db->stretches;
    uint32_t n = 0;
    while (n + 1 < all->n && all->p[n + 1].start <= oldest_id) {
        sqlite3_bind_int64(db->delete_stretch, 1, all->p[n++].seq);
        int err = history_db_run(db, db->delete_stretch, "deleting");
        if (err != 0)
            return err;
    }
    if (n > 0)
        memmove(all->p, all->p + n, (all->n - n) * sizeof *all->p);
    all->n -= n;
    return 0;
}

int history_db_prune(struct history_db *db, int64_t before_ms, uint64_t max_bytes, uint32_t max)
{
    int64_t ids[PRUNE_MAX], last_ms = 0;
    uint32_t n = 0;
    uint64_t oldest_id = db->newest + 1; /* of those that stay */
    if (max > PRUNE_MAX)
        max = PRUNE_MAX;
    if (max_bytes != 0 && history_db_bytes(db) > max_bytes)
        before_ms = INT64_MAX;
    if (before_ms <= 0)
        return 0;
    sqlite3_bind_int64(db->oldest, 1, (int64_t)max + 1);
    int code;
    while ((code = sqlite3_step(db->oldest)) == SQLITE_ROW) {
        int64_t id = sqlite3_column_int64(db->oldest, 0), arrival_ms = sqlite3_column_int64(db->oldest, 1);
        if (n == max || arrival_ms >= before_ms) {
            oldest_id = (uint64_t)id;
            break;
        }
        ids[n++] = id;
        last_ms = arrival_ms > last_ms ? arrival_ms : last_ms;
    }
    int err = code == SQLITE_ROW || code == SQLITE_DONE ? 0 : history_db_failed(db, "deleting");
    sqlite3_reset(db->oldest);
    for (uint32_t i = 0; err == 0 && i < n; i++)
        err = delete_message(db, ids[i]);
    if (n > 0) {
        memset(db->recent, 0, sizeof db->recent);
        if (err == 0)
            err = delete_up_to(db, ids[n - 1]);
        if (err == 0)
            err = drop_stretches(db, oldest_id);
        if (err == 0 && last_ms >= db->kept_since_ms) {
            db->kept_since_ms = last_ms + 1;
            err = history_db_put_meta(db, "kept_since", db->kept_since_ms);
        }
    }
    return err != 0 ? err : (int)n;
}
