/* The queue of notifications on disk: see queue.h. */
#include "node/notify/queue.h"

#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUSY_MS 5000
#define TOLD_KEPT_MS (INT64_C(8) * 86400000) /* longer than any group's time */

enum statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    PUT,
    EACH,
    EACH_GROUPED,
    TAKE,
    TAKE_KEY,
    MARK,
    MARK_KEY,
    TOLD,
    ALERTS_TOLD,
    ALERT_END,
    ALERTS_DROP,
    DEPTH,
    TRIM_OLD,
    TRIM_ALERTS,
    TRIM_MANY,
    TRIM_TOLD,
    TARGETS,
    FORGET,
    STATEMENTS
};

struct notify_queue {
    sqlite3 *sql;
    sqlite3_stmt *st[STATEMENTS];
    char *path;
};

static const char *const texts[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [PUT] =
        "INSERT OR IGNORE INTO item(target, id, tenant, key, at, alert, line) VALUES(?1,?2,?3,?4,?5,?6,?7)",
    [EACH] = "SELECT seq, seq, 1, at, id, tenant, key, at, alert, line FROM item WHERE target=?1 AND told=0 "
             "AND ?2>=0"
             " AND ?3>=0 ORDER BY seq LIMIT ?4",
    [EACH_GROUPED] =
        "SELECT g.low, g.high, g.n, g.last, i.id, i.tenant, i.key, i.at, i.alert, i.line FROM (SELECT min(seq) AS low,"
        " max(seq) AS high, count(*) AS n, max(at) AS last FROM item AS i WHERE target=?1 AND told=0 AND NOT EXISTS"
        " (SELECT 1 FROM told AS t WHERE t.target=?1 AND t.key=i.key AND t.at>?2-?3 AND t.at<=?2) GROUP BY key"
        " ORDER BY low LIMIT ?4) AS g JOIN item AS i ON i.seq=g.low ORDER BY g.low",
    [TAKE] = "DELETE FROM item WHERE target=?1 AND seq=?2 AND alert=0",
    [TAKE_KEY] = "DELETE FROM item WHERE target=?1 AND key=?2 AND seq<=?3 AND told=0 AND alert=0",
    [MARK] = "UPDATE item SET told=1 WHERE target=?1 AND seq=?2",
    [MARK_KEY] = "UPDATE item SET told=1 WHERE target=?1 AND key=?2 AND seq<=?3",
    [TOLD] = "INSERT OR REPLACE INTO told VALUES(?1,?2,?3)",
    [ALERTS_TOLD] = "SELECT alert FROM item WHERE target=?1 AND told=1 AND alert>0 ORDER BY alert LIMIT ?2",
    [ALERT_END] = "DELETE FROM item WHERE target=?1 AND alert=?2",
    [ALERTS_DROP] = "DELETE FROM item WHERE alert>0",
    [DEPTH] = "SELECT count(*), ifnull(min(at),0) FROM item WHERE target=?1 AND told=0",
    [TRIM_OLD] = "DELETE FROM item WHERE target=?1 AND told=0 AND alert=0 AND at<?2",
    [TRIM_ALERTS] = "UPDATE item SET told=1 WHERE target=?1 AND told=0 AND alert>0 AND at<?2",
    [TRIM_MANY] =
        ("DELETE FROM item WHERE target=?1 AND alert=0 AND seq<=(SELECT seq FROM item WHERE target=?1 AND"
         " told=0 ORDER BY seq DESC LIMIT 1 OFFSET ?2)"),
    [TRIM_TOLD] = "DELETE FROM told WHERE target=?1 AND at<?2",
    [TARGETS] = "SELECT DISTINCT target FROM item",
    [FORGET] = "DELETE FROM item WHERE target=?1",
};

static const char schema[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
    "CREATE TABLE IF NOT EXISTS item(seq INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, id TEXT "
    "NOT NULL,"
    " tenant TEXT NOT NULL, key INTEGER NOT NULL, at INTEGER NOT NULL, alert INTEGER NOT NULL,"
    " told INTEGER NOT NULL DEFAULT 0, line TEXT NOT NULL, UNIQUE(target, id));"
    "CREATE INDEX IF NOT EXISTS item_order ON item(target, told, seq);"
    "CREATE TABLE IF NOT EXISTS told(target TEXT NOT NULL, key INTEGER NOT NULL, at INTEGER NOT NULL,"
    " PRIMARY KEY(target, key)) WITHOUT ROWID;";

static int failed(struct notify_queue *q, const char *what)
{
    log_error("notify", "%s: %s: %s", q->path, what, q->sql == NULL ? "no memory" : sqlite3_errmsg(q->sql));
    return ERR_FAILED;
}

static int open_once(struct notify_queue *q)
{
    /* Made here, so that nobody else may read it from the first byte on. */
    int fd = open(q->path, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        log_error("notify", "cannot open %s: %s", q->path, err_text(-errno));
        return -errno;
    }
    close(fd);
    if (sqlite3_open_v2(q->path, &q->sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        return failed(q, "opening");
    sqlite3_busy_timeout(q->sql, BUSY_MS);
    if (sqlite3_exec(q->sql, schema, NULL, NULL, NULL) != SQLITE_OK)
        return failed(q, "its tables");
    for (size_t i = 0; i < STATEMENTS; i++)
        if (sqlite3_prepare_v3(q->sql, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &q->st[i], NULL) != SQLITE_OK)
            return failed(q, "preparing");
    return 0;
}

static void close_sql(struct notify_queue *q)
{
    for (size_t i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(q->st[i]);
    memset(q->st, 0, sizeof q->st);
    sqlite3_close(q->sql);
    q->sql = NULL;
}

static bool damaged(const struct notify_queue *q)
{
    int code = q->sql == NULL ? SQLITE_OK : sqlite3_errcode(q->sql) & 0xff;
    return code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
}

static void put_aside(struct notify_queue *q)
{
    static const char *const parts[] = { "", "-wal", "-shm" };
    char from[4200], to[4200];
    close_sql(q);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        snprintf(from, sizeof from, "%s%s", q->path, parts[i]);
        snprintf(to, sizeof to, "%s.damaged%s", q->path, parts[i]);
        if (rename(from, to) != 0 && i == 0)
            log_error("notify", "cannot rename %s: %s", from, err_text(-errno));
    }
    log_error("notify",
              "%s is damaged and was put aside (.damaged): notifications that waited in it are lost",
              q->path);
}

int notify_queue_open(const char *path, struct notify_queue **out)
{
    struct notify_queue *q = calloc(1, sizeof *q);
    if (q == NULL || (q->path = strdup(path)) == NULL) {
        free(q);
        return -ENOMEM;
    }
    int err = open_once(q);
    if (err == ERR_FAILED && damaged(q)) {
        put_aside(q);
        err = open_once(q);
    }
    if (err != 0) {
        notify_queue_close(q);
        return err;
    }
    *out = q;
    return 0;
}

void notify_queue_close(struct notify_queue *q)
{
    if (q == NULL)
        return;
    close_sql(q);
    free(q->path);
    free(q);
}

/* ---- statements ---------------------------------------------------------------------------------------- */

static void bind_text(sqlite3_stmt *st, int at, const char *text)
{
    sqlite3_bind_text(st, at, text, -1, SQLITE_TRANSIENT);
}

static int run(struct notify_queue *q, enum statement which)
{
    sqlite3_stmt *st = q->st[which];
    int code = sqlite3_step(st);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return code == SQLITE_DONE || code == SQLITE_ROW ? 0 : failed(q, "writing");
}

static int run_on(struct notify_queue *q, enum statement which, const char *target, int64_t a, int64_t b)
{
    sqlite3_stmt *st = q->st[which];
    int n = sqlite3_bind_parameter_count(st);
    bind_text(st, 1, target);
    if (n > 1)
        sqlite3_bind_int64(st, 2, a);
    if (n > 2)
        sqlite3_bind_int64(st, 3, b);
    return run(q, which);
}

int notify_queue_begin(struct notify_queue *q)
{
    return run(q, BEGIN);
}

int notify_queue_commit(struct notify_queue *q)
{
    int err = run(q, COMMIT);
    if (err != 0 && !sqlite3_get_autocommit(q->sql))
        (void)run(q, ROLLBACK);
    return err;
}

int notify_queue_put(struct notify_queue *q, const struct notify_item *item)
{
    sqlite3_stmt *st = q->st[PUT];
    bind_text(st, 1, item->target);
    bind_text(st, 2, item->id);
    bind_text(st, 3, item->tenant);
    sqlite3_bind_int64(st, 4, (int64_t)item->key);
    sqlite3_bind_int64(st, 5, item->at_ms);
    sqlite3_bind_int64(st, 6, (int64_t)item->alert);
    sqlite3_bind_text(st, 7, item->line.p, (int)item->line.n, SQLITE_TRANSIENT);
    return run(q, PUT);
}

static const char *column(sqlite3_stmt *st, int at)
{
    const char *text = (const char *)sqlite3_column_text(st, at);
    return text != NULL ? text : "";
}

int notify_queue_each(struct notify_queue *q, const char *target, int64_t now_ms, int64_t group_ms,
                      uint32_t limit, notify_queue_fn *fn, void *arg)
{
    sqlite3_stmt *st = q->st[group_ms > 0 ? EACH_GROUPED : EACH];
    int code, stop = 0;
    bind_text(st, 1, target);
    sqlite3_bind_int64(st, 2, now_ms);
    sqlite3_bind_int64(st, 3, group_ms);
    sqlite3_bind_int64(st, 4, limit);
    while (stop == 0 && (code = sqlite3_step(st)) == SQLITE_ROW) {
        struct notify_message m = { .from = sqlite3_column_int64(st, 0),
                                    .to = sqlite3_column_int64(st, 1),
                                    .count = (uint32_t)sqlite3_column_int64(st, 2),
                                    .last_ms = sqlite3_column_int64(st, 3),
                                    .grouped = group_ms > 0,
                                    .first = { .target = target,
                                               .id = column(st, 4),
                                               .tenant = column(st, 5),
                                               .key = (uint64_t)sqlite3_column_int64(st, 6),
                                               .at_ms = sqlite3_column_int64(st, 7),
                                               .alert = (uint64_t)sqlite3_column_int64(st, 8) } };
        m.first.line = span_str(column(st, 9));
        stop = fn(arg, &m);
    }
    bool good = stop != 0 || code == SQLITE_DONE;
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return good ? stop : failed(q, "reading");
}

int notify_queue_told(struct notify_queue *q, const char *target, const struct notify_message *m,
                      int64_t now_ms)
{
    int64_t key = (int64_t)m->first.key;
    if (!m->grouped) {
        int err = run_on(q, TAKE, target, m->from, 0);
        return err != 0 ? err : run_on(q, MARK, target, m->from, 0);
    }
    int err = run_on(q, TAKE_KEY, target, key, m->to);
    if (err == 0)
        err = run_on(q, MARK_KEY, target, key, m->to);
    return err != 0 ? err : run_on(q, TOLD, target, key, now_ms);
}

uint32_t notify_queue_alerts_told(struct notify_queue *q, const char *target, uint64_t *alerts, uint32_t max)
{
    sqlite3_stmt *st = q->st[ALERTS_TOLD];
    uint32_t n = 0;
    bind_text(st, 1, target);
    sqlite3_bind_int64(st, 2, max);
    while (n < max && sqlite3_step(st) == SQLITE_ROW)
        alerts[n++] = (uint64_t)sqlite3_column_int64(st, 0);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return n;
}

int notify_queue_alert_end(struct notify_queue *q, const char *target, uint64_t alert)
{
    return run_on(q, ALERT_END, target, (int64_t)alert, 0);
}

int notify_queue_alerts_drop(struct notify_queue *q)
{
    return run(q, ALERTS_DROP);
}

int notify_queue_depth(struct notify_queue *q, const char *target, struct notify_depth *out)
{
    sqlite3_stmt *st = q->st[DEPTH];
    bind_text(st, 1, target);
    bool good = sqlite3_step(st) == SQLITE_ROW;
    if (good)
        *out = (struct notify_depth){ .n = (uint64_t)sqlite3_column_int64(st, 0),
                                      .oldest_ms = sqlite3_column_int64(st, 1) };
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return good ? 0 : failed(q, "counting");
}

uint32_t notify_queue_trim(struct notify_queue *q, const char *target, int64_t before_ms, int64_t now_ms)
{
    uint32_t lost = 0;
    if (run_on(q, TRIM_OLD, target, before_ms, 0) == 0)
        lost += (uint32_t)sqlite3_changes(q->sql);
    if (run_on(q, TRIM_ALERTS, target, before_ms, 0) == 0)
        lost += (uint32_t)sqlite3_changes(q->sql);
    if (run_on(q, TRIM_MANY, target, NOTIFY_QUEUE_MAX, 0) == 0)
        lost += (uint32_t)sqlite3_changes(q->sql);
    (void)run_on(q, TRIM_TOLD, target, now_ms - TOLD_KEPT_MS, 0);
    return lost;
}

int notify_queue_forget(struct notify_queue *q, bool (*keep)(void *arg, const char *target), void *arg)
{
    char gone[64] = "";
    sqlite3_stmt *st = q->st[TARGETS];
    while (gone[0] == '\0' && sqlite3_step(st) == SQLITE_ROW)
        if (!keep(arg, column(st, 0)))
            snprintf(gone, sizeof gone, "%s", column(st, 0));
    sqlite3_reset(st);
    return gone[0] == '\0' ? 0 : run_on(q, FORGET, gone, 0, 0);
}
