/* Looking things up in the history. The caller's thread, with a connection of its own.
 *
 * The answer is wanted newest first, and at most `limit` of it. So one condition drives: an index that gives
 * its rows in that order already (a message, a Message-ID, one sender, one account, one recipient), or, for a
 * whole domain or a span of time, an index if it holds few such rows and else a walk from the newest row
 * down. Whatever else is asked for is checked row by row, as is the text behind each key.
 */
#include "node/telemetry/history_impl.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define LIMIT_DEFAULT 1000
#define TIME_MAX_MS 10000
#define FEW 20000 /* rows that may be sorted */

enum drive { DRIVE_WALK, DRIVE_ID, DRIVE_MESSAGE_ID, DRIVE_SENDER, DRIVE_ACCOUNT, DRIVE_RCPT, DRIVE_ARRIVAL };

struct query {
    const struct history_query *ask;
    sqlite3 *sql;
    uint64_t salt;
    int64_t deadline_ms; /* of clock_boot_ms */
    uint64_t low, high;  /* keys of the condition that drives */
};

static int out_of_time(void *arg)
{
    const struct query *q = arg;
    return clock_boot_ms() > q->deadline_ms;
}

static int failed(const struct query *q)
{
    if (sqlite3_errcode(q->sql) == SQLITE_INTERRUPT)
        return ERR_TIMEOUT;
    log_error("history", "a query failed: %s", sqlite3_errmsg(q->sql));
    return ERR_FAILED;
}

/* "@domain" as a range of keys, an address as one. */
static void address_range(struct query *q, struct span text)
{
    if (text.p[0] == '@') {
        q->low = history_key_domain(q->salt, span_sub(text, 1));
        q->high = q->low | UINT32_MAX;
    } else {
        bool null = span_eq(text, SPAN_LIT("<>"));
        q->low = q->high = history_key_address(q->salt, null ? SPAN_LIT("") : text);
    }
}

/* Whether the range holds few enough rows to be sorted. */
static bool few(const struct query *q, const char *table_and_column)
{
    char text[256];
    sqlite3_stmt *stmt = NULL;
    snprintf(text, sizeof text, "SELECT count(*) FROM (SELECT 1 FROM %s BETWEEN ?1 AND ?2 LIMIT %d)",
             table_and_column, FEW);
    bool yes = false;
    if (sqlite3_prepare_v2(q->sql, text, -1, &stmt, NULL) == SQLITE_OK) {
        sqlite3_bind_int64(stmt, 1, (int64_t)q->low);
        sqlite3_bind_int64(stmt, 2, (int64_t)q->high);
        yes = sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_int(stmt, 0) < FEW;
    }
    sqlite3_finalize(stmt);
    return yes;
}

static enum drive choose(struct query *q)
{
    const struct history_query *a = q->ask;
    if (a->id != 0) {
        q->low = q->high = a->id;
        return DRIVE_ID;
    }
    if (a->message_id.n > 0) {
        q->low = q->high = history_key_text(q->salt, a->message_id);
        return DRIVE_MESSAGE_ID;
    }
    if (a->recipient.n > 0) {
        address_range(q, a->recipient);
        if (q->low == q->high || few(q, "recipient WHERE key"))
            return DRIVE_RCPT;
    }
    if (a->sender.n > 0) {
        address_range(q, a->sender);
        if (q->low == q->high || few(q, "message WHERE sender_key"))
            return DRIVE_SENDER;
    }
    if (a->account.n > 0) {
        q->low = q->high = history_key_text(q->salt, a->account);
        return DRIVE_ACCOUNT;
    }
    if (a->since_ms != 0 || a->until_ms != 0) {
        q->low = (uint64_t)a->since_ms;
        q->high = a->until_ms != 0 ? (uint64_t)a->until_ms - 1 : INT64_MAX;
        if (few(q, "message WHERE arrival"))
            return DRIVE_ARRIVAL;
    }
    return DRIVE_WALK;
}

#define COLUMNS                                                                                              \
    "r.id, r.rcpt, r.state, r.attempts, r.ended, r.address, r.reply, r.site, r.mx, r.mx_ip, r.source_ip, "   \
    "r.tls,"                                                                                                 \
    " m.arrival, m.size, m.class, m.nrcpts, m.sender, m.account, m.tenant, m.message_id, m.client_ip,"       \
    " m.client_name, m.helo, m.protocol, m.listener"

/* CROSS JOIN: the left one drives (SQLite keeps its order). A row of a recipient always has its message's. */
#define BY_RCPT " FROM recipient r CROSS JOIN message m ON m.id=r.id WHERE "
#define BY_MESSAGE " FROM message m CROSS JOIN recipient r ON r.id=m.id WHERE "

static const char *const drives[] = {
    [DRIVE_WALK] = BY_RCPT "?1 IS ?1 AND ?2 IS ?2",
    [DRIVE_ID] = BY_RCPT "r.id BETWEEN ?1 AND ?2",
    [DRIVE_MESSAGE_ID] = BY_MESSAGE "m.message_key=?1 AND ?2 IS ?2",
    [DRIVE_SENDER] = BY_MESSAGE "m.sender_key BETWEEN ?1 AND ?2",
    [DRIVE_ACCOUNT] = BY_MESSAGE "m.account_key=?1 AND ?2 IS ?2",
    [DRIVE_RCPT] = BY_RCPT "r.key BETWEEN ?1 AND ?2",
    [DRIVE_ARRIVAL] = BY_MESSAGE "m.arrival BETWEEN ?1 AND ?2",
};

static int prepare(const struct query *q, enum drive drive, sqlite3_stmt **stmt)
{
    const struct history_query *a = q->ask;
    char text[1536];
    const char *cond = drives[drive];
    bool one = q->low == q->high; /* "=" lets SQLite see that the index has the wanted order */
    if (one && drive == DRIVE_SENDER)
        cond = BY_MESSAGE "m.sender_key=?1 AND ?2 IS ?2";
    else if (one && drive == DRIVE_RCPT)
        cond = BY_RCPT "r.key=?1 AND ?2 IS ?2";
    bool by_message = strstr(cond, "FROM message") != NULL;
    const char *id = by_message ? "m.id" : "r.id";
    snprintf(text, sizeof text, "SELECT " COLUMNS "%s%s%s%s%s ORDER BY %s DESC, r.rcpt DESC", cond,
             a->after ? " AND " : "", a->after ? id : "", a->after ? "<=?3 AND (r.id<?3 OR r.rcpt<?4)" : "",
             a->since_ms != 0 || a->until_ms != 0 ? " AND m.arrival>=?5 AND m.arrival<?6" : "", id);
    if (sqlite3_prepare_v2(q->sql, text, -1, stmt, NULL) != SQLITE_OK)
        return failed(q);
    sqlite3_bind_int64(*stmt, 1, (int64_t)q->low);
    sqlite3_bind_int64(*stmt, 2, (int64_t)q->high);
    if (a->after) {
        sqlite3_bind_int64(*stmt, 3, (int64_t)a->after_id);
        sqlite3_bind_int64(*stmt, 4, a->after_rcpt);
    }
    if (a->since_ms != 0 || a->until_ms != 0) {
        sqlite3_bind_int64(*stmt, 5, a->since_ms);
        sqlite3_bind_int64(*stmt, 6, a->until_ms != 0 ? a->until_ms : INT64_MAX);
    }
    return 0;
}

static struct span column_text(sqlite3_stmt *stmt, int at)
{
    const void *p = sqlite3_column_text(stmt, at);
    return span_of(p, (size_t)sqlite3_column_bytes(stmt, at));
}

static void read_row(sqlite3_stmt *s, struct history_row *row)
{
    *row = (struct history_row){
        .id = (uint64_t)sqlite3_column_int64(s, 0),
        .rcpt = (uint32_t)sqlite3_column_int64(s, 1),
        .state = (uint8_t)sqlite3_column_int(s, 2),
        .attempts = (uint16_t)sqlite3_column_int(s, 3),
        .ended_ms = sqlite3_column_int64(s, 4),
        .recipient = column_text(s, 5),
        .reply = column_text(s, 6),
        .site = column_text(s, 7),
        .mx = column_text(s, 8),
        .mx_ip = column_text(s, 9),
        .source_ip = column_text(s, 10),
        .tls = column_text(s, 11),
        .arrival_ms = sqlite3_column_int64(s, 12),
        .size = (uint64_t)sqlite3_column_int64(s, 13),
        .class = (uint8_t)sqlite3_column_int(s, 14),
        .nrcpts = (uint32_t)sqlite3_column_int64(s, 15),
        .sender = column_text(s, 16),
        .account = column_text(s, 17),
        .tenant = column_text(s, 18),
        .message_id = column_text(s, 19),
        .client_ip = column_text(s, 20),
        .client_name = column_text(s, 21),
        .helo = column_text(s, 22),
        .protocol = column_text(s, 23),
        .listener = column_text(s, 24),
    };
}

static bool address_matches(struct span ask, struct span is)
{
    if (ask.n == 0)
        return true;
    if (ask.p[0] != '@')
        return span_eq_nocase(ask, is);
    return is.n >= ask.n && span_eq_nocase(ask, span_sub(is, is.n - ask.n));
}

static bool row_matches(const struct history_query *a, const struct history_row *row)
{
    if (a->id != 0 && a->id != row->id)
        return false;
    if (a->message_id.n > 0 && !span_eq(a->message_id, row->message_id))
        return false;
    if (a->account.n > 0 && !span_eq(a->account, row->account))
        return false;
    /* an unknown sender (nrcpts 0) is not the null one */
    bool null_sender = span_eq(a->sender, SPAN_LIT("<>"));
    if (null_sender ? row->sender.n > 0 || row->nrcpts == 0 : !address_matches(a->sender, row->sender))
        return false;
    return address_matches(a->recipient, row->recipient);
}

static int answer(const struct query *q, sqlite3_stmt *stmt, history_row_fn *fn, void *arg)
{
    uint32_t left = q->ask->limit != 0 ? q->ask->limit : LIMIT_DEFAULT;
    int code = SQLITE_DONE;
    while (left > 0 && (code = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct history_row row;
        read_row(stmt, &row);
        if (!row_matches(q->ask, &row))
            continue;
        left--;
        if (fn(arg, &row) != 0)
            return 0;
    }
    return left == 0 || code == SQLITE_DONE ? 0 : failed(q);
}

int history_query(struct history *h, const struct history_query *ask, history_row_fn *fn, void *arg)
{
    struct query q = { .ask = ask,
                       .salt = atomic_load(&h->salt),
                       .deadline_ms = clock_boot_ms() + TIME_MAX_MS };
    int err = ERR_FAILED;
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_open_v2(h->db.path, &q.sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        log_error("history", "%s: %s", h->db.path, q.sql != NULL ? sqlite3_errmsg(q.sql) : "no memory");
        goto out;
    }
    sqlite3_busy_timeout(q.sql, 2000);
    sqlite3_progress_handler(q.sql, 10000, out_of_time, &q);
    if (sqlite3_exec(q.sql, "PRAGMA query_only=1; PRAGMA cache_size=-4096", NULL, NULL, NULL) != SQLITE_OK) {
        err = failed(&q);
        goto out;
    }
    err = prepare(&q, choose(&q), &stmt);
    if (err == 0)
        err = answer(&q, stmt, fn, arg);
out:
    sqlite3_finalize(stmt);
    sqlite3_close(q.sql);
    return err;
}
