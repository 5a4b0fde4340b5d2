/* The tables of the history's file, and how an older file gets those that came later.
 *
 * PRAGMA user_version says what a file has. Later versions add tables and indexes only, never a column: a
 * program that knows but the first still reads and writes the file, as it does when an upgrade is taken back.
 */
#include "node/telemetry/history_impl.h"

#include "base/clock.h"
#include "base/log.h"

#include <inttypes.h>

static const char *const versions[] = {
    /* 1 */
    "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;"
    "INSERT OR IGNORE INTO meta VALUES('salt', random());"
    "CREATE TABLE IF NOT EXISTS stretch(seq INTEGER PRIMARY KEY, start INTEGER, first INTEGER, last INTEGER,"
    " rows INTEGER);"
    "CREATE TABLE IF NOT EXISTS message(id INTEGER PRIMARY KEY, arrival INTEGER, size INTEGER, class INTEGER,"
    " nrcpts INTEGER, stretch INTEGER, sender_key INTEGER, message_key INTEGER, account_key INTEGER, sender "
    "TEXT,"
    " account TEXT, tenant TEXT, message_id TEXT, client_ip TEXT, client_name TEXT, helo TEXT, protocol TEXT,"
    " listener TEXT);"
    "CREATE INDEX IF NOT EXISTS message_sender ON message(stretch, sender_key);"
    "CREATE INDEX IF NOT EXISTS message_account ON message(stretch, account_key);"
    "CREATE INDEX IF NOT EXISTS message_message ON message(stretch, message_key);"
    "CREATE TABLE IF NOT EXISTS recipient(id INTEGER, rcpt INTEGER, stretch INTEGER, key INTEGER, state "
    "INTEGER,"
    " attempts INTEGER, ended INTEGER, address TEXT, reply TEXT, site TEXT, mx TEXT, mx_ip TEXT, source_ip "
    "TEXT,"
    " tls TEXT, PRIMARY KEY(id, rcpt)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS recipient_key ON recipient(stretch, key);"
    "CREATE TABLE IF NOT EXISTS signature(id INTEGER PRIMARY KEY, dkim TEXT);",
    /* 2: by time, and what was not delivered */
    "CREATE INDEX IF NOT EXISTS message_arrival ON message(stretch, arrival);"
    "CREATE INDEX IF NOT EXISTS recipient_state ON recipient(stretch, state) WHERE state<>2;",
    /* 3: what happened before the end */
    "CREATE TABLE IF NOT EXISTS step(id INTEGER, rcpt INTEGER, n INTEGER, kind INTEGER, at INTEGER, attempt "
    "INTEGER,"
    " next INTEGER, greylisted INTEGER, reply TEXT, site TEXT, mx TEXT, mx_ip TEXT, source_ip TEXT, tls TEXT,"
    " who TEXT, PRIMARY KEY(id, rcpt, n)) WITHOUT ROWID;",
    /* 4: by tenant. Its name itself: there is no column for a key of it, and names are short; mail without
       one costs nothing */
    "CREATE INDEX IF NOT EXISTS message_tenant ON message(stretch, tenant) WHERE tenant IS NOT NULL;",
    /* 5: what the check of content said; and which messages were not accepted, with how many rows of
       recipients */
    "CREATE TABLE IF NOT EXISTS verdict(id INTEGER PRIMARY KEY, at INTEGER, done INTEGER, text TEXT);"
    "CREATE TABLE IF NOT EXISTS rejected(id INTEGER PRIMARY KEY, rcpts INTEGER);",
};

#define VERSIONS (int)(sizeof versions / sizeof versions[0])

static int64_t number(sqlite3 *sql, const char *text)
{
    sqlite3_stmt *stmt = NULL;
    int64_t n = -1;
    if (sqlite3_prepare_v2(sql, text, -1, &stmt, NULL) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
        n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return n;
}

static int execute(sqlite3 *sql, const char *text)
{
    return sqlite3_exec(sql, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : -1;
}

static int to_version(sqlite3 *sql, int version)
{
    char mark[64];
    snprintf(mark, sizeof mark, "PRAGMA user_version=%d", version);
    int err = execute(sql, versions[version - 1]);
    return err != 0 ? err : execute(sql, mark);
}

/* Of a file that was made before it was noted: since its oldest message. */
static int note_since(sqlite3 *sql)
{
    char text[160];
    snprintf(text, sizeof text,
             "INSERT OR IGNORE INTO meta VALUES('kept_since',"
             " coalesce((SELECT arrival FROM message ORDER BY id LIMIT 1), %" PRId64 "))",
             clock_wall_ms());
    return execute(sql, text);
}

static int to_versions(sqlite3 *sql, int from)
{
    int err = execute(sql, "BEGIN IMMEDIATE");
    for (int v = from + 1; err == 0 && v <= VERSIONS; v++)
        err = to_version(sql, v);
    if (err == 0)
        err = note_since(sql);
    return err != 0 ? err : execute(sql, "COMMIT");
}

int history_schema_make(sqlite3 *sql, bool *old)
{
    int64_t has = number(sql, "PRAGMA user_version");
    *old = has == 0 && number(sql, "SELECT count(*) FROM sqlite_master WHERE name='message'") != 0;
    *old |= has > 0 && has < VERSIONS;
    if (has < 0)
        return -1;
    return *old || has >= VERSIONS ? 0 : to_versions(sql, 0);
}

/* What an index is sorted with goes to files: a large history would not fit into memory. */
int history_schema_upgrade(sqlite3 *sql, const char *path)
{
    int64_t started_ms = clock_boot_ms();
    int err = execute(sql, "PRAGMA temp_store=FILE");
    if (err == 0)
        err = to_versions(sql, (int)number(sql, "PRAGMA user_version"));
    if (err == 0)
        err = execute(sql, "PRAGMA temp_store=MEMORY");
    if (err == 0)
        log_info("history", "%s: brought up to date in %" PRId64 " ms", path, clock_boot_ms() - started_ms);
    return err;
}
