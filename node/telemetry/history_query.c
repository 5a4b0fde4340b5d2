/* Looking things up in the history. The caller's thread, with a connection of its own.
 *
 * The answer is wanted newest first, and at most `limit` of it: so the stretches of ids are asked one after
 * the other from the newest down, each by the most telling index that the question allows, and those that
 * hold nothing of the time asked for are left out. Whatever else is asked for is checked row by row, as is
 * the text behind each key.
 */
#include "node/telemetry/history_impl.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#include <stdlib.h>

#define LIMIT_DEFAULT 1000
#define TIME_MAX_MS 10000

enum drive { DRIVE_WALK, DRIVE_MESSAGE_ID, DRIVE_RCPT, DRIVE_SENDER, DRIVE_ACCOUNT };

struct query {
    const struct history_query *ask;
    sqlite3 *sql;
    uint64_t salt;
    int64_t deadline_ms; /* of clock_boot_ms */
    uint32_t low, high;  /* keys of the condition that drives */
    uint32_t left;       /* of the limit */
    bool enough;
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
        q->high = q->low | UINT16_MAX;
    } else {
        bool null = span_eq(text, SPAN_LIT("<>"));
        q->low = q->high = history_key_address(q->salt, null ? SPAN_LIT("") : text);
    }
}

static enum drive choose(struct query *q)
{
    const struct history_query *a = q->ask;
    if (a->id != 0)
        return DRIVE_WALK;
    if (a->message_id.n > 0) {
        q->low = q->high = history_key_text(q->salt, a->message_id);
        return DRIVE_MESSAGE_ID;
    }
    if (a->recipient.n > 0) {
        address_range(q, a->recipient);
        return DRIVE_RCPT;
    }
    if (a->sender.n > 0) {
        address_range(q, a->sender);
        return DRIVE_SENDER;
    }
    if (a->account.n > 0) {
        q->low = q->high = history_key_text(q->salt, a->account);
        return DRIVE_ACCOUNT;
    }
    return DRIVE_WALK;
}

#define COLUMNS                                                                                              \
    "SELECT r.id, r.rcpt, r.state, r.attempts, r.ended, r.address, r.reply, r.site, r.mx, r.mx_ip, "         \
    "r.source_ip,"                                                                                           \
    " r.tls, m.arrival, m.size, m.class, m.nrcpts, m.sender, m.account, m.tenant, m.message_id, "            \
    "m.client_ip,"                                                                                           \
    " m.client_name, m.helo, m.protocol, m.listener, (SELECT dkim FROM signature s WHERE s.id=r.id)"

/* CROSS JOIN: the left one drives (SQLite keeps its order). A row of a recipient always has its message's. ?1
 * is the stretch, ?2 to ?3 the keys, ?4 to ?5 the ids. */
#define BY_RCPT COLUMNS " FROM recipient r CROSS JOIN message m ON m.id=r.id WHERE "
#define BY_MESSAGE COLUMNS " FROM message m CROSS JOIN recipient r ON r.id=m.id WHERE m.stretch=?1 AND "
#define RCPT_IDS " AND r.id BETWEEN ?4 AND ?5 ORDER BY r.id DESC, r.rcpt DESC"
#define MESSAGE_IDS " AND m.id BETWEEN ?4 AND ?5 ORDER BY m.id DESC, r.rcpt DESC"

static const char *const drives[] = {
    [DRIVE_WALK] = BY_RCPT "?1 IS ?1 AND ?2 IS ?2 AND ?3 IS ?3" RCPT_IDS,
    [DRIVE_MESSAGE_ID] = BY_MESSAGE "m.message_key BETWEEN ?2 AND ?3" MESSAGE_IDS,
    [DRIVE_RCPT] = BY_RCPT "r.stretch=?1 AND r.key BETWEEN ?2 AND ?3" RCPT_IDS,
    [DRIVE_SENDER] = BY_MESSAGE "m.sender_key BETWEEN ?2 AND ?3" MESSAGE_IDS,
    [DRIVE_ACCOUNT] = BY_MESSAGE "m.account_key BETWEEN ?2 AND ?3" MESSAGE_IDS,
};

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
        .dkim = column_text(s, 25),
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

static bool row_follows(const struct history_query *a, const struct history_row *row)
{
    return !a->after || row->id < a->after_id || (row->id == a->after_id && row->rcpt < a->after_rcpt);
}

static bool row_in_time(const struct history_query *a, const struct history_row *row)
{
    return row->arrival_ms >= a->since_ms && (a->until_ms == 0 || row->arrival_ms < a->until_ms);
}

/* One stretch's rows, ids from `first` to `last`. */
static int answer(struct query *q, sqlite3_stmt *stmt, int64_t seq, uint64_t first, uint64_t last,
                  history_row_fn *fn, void *arg)
{
    const struct history_query *a = q->ask;
    int code = SQLITE_DONE;
    sqlite3_reset(stmt);
    sqlite3_bind_int64(stmt, 1, seq);
    sqlite3_bind_int64(stmt, 2, (int32_t)q->low);
    sqlite3_bind_int64(stmt, 3, (int32_t)q->high);
    sqlite3_bind_int64(stmt, 4, (int64_t)first);
    sqlite3_bind_int64(stmt, 5, (int64_t)last);
    while (!q->enough && (code = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct history_row row;
        read_row(stmt, &row);
        if (!row_matches(a, &row) || !row_in_time(a, &row) || !row_follows(a, &row))
            continue;
        q->left--;
        q->enough = fn(arg, &row) != 0 || q->left == 0;
    }
    return q->enough || code == SQLITE_DONE ? 0 : failed(q);
}

static int ask_all(struct query *q, const struct history_stretches *all, history_row_fn *fn, void *arg)
{
    const struct history_query *a = q->ask;
    sqlite3_stmt *stmt = NULL;
    int err = 0;
    if (sqlite3_prepare_v2(q->sql, drives[choose(q)], -1, &stmt, NULL) != SQLITE_OK)
        return failed(q);
    for (uint32_t i = all->n; i-- > 0 && err == 0 && !q->enough;) {
        const struct history_stretch *s = &all->p[i];
        uint64_t first = i == 0 ? 0 : s->start;
        uint64_t last = i + 1 < all->n ? all->p[i + 1].start - 1 : INT64_MAX;
        if (a->after && last > a->after_id)
            last = a->after_id;
        if (a->id != 0 && (a->id < first || a->id > last))
            continue;
        if (a->id != 0)
            first = last = a->id;
        if (first > last || s->last_ms < a->since_ms || (a->until_ms != 0 && s->first_ms >= a->until_ms))
            continue;
        err = answer(q, stmt, s->seq, first, last, fn, arg);
    }
    sqlite3_finalize(stmt);
    return err;
}

int history_query(struct history *h, const struct history_query *ask, history_row_fn *fn, void *arg)
{
    static const char begin[] = "PRAGMA query_only=1; PRAGMA cache_size=-4096; BEGIN";
    struct query q = { .ask = ask,
                       .salt = atomic_load(&h->salt),
                       .deadline_ms = clock_boot_ms() + TIME_MAX_MS,
                       .left = ask->limit != 0 ? ask->limit : LIMIT_DEFAULT };
    struct history_stretches all = { 0 };
    int err = ERR_FAILED;
    if (sqlite3_open_v2(h->db.path, &q.sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        log_error("history", "%s: %s", h->db.path, q.sql != NULL ? sqlite3_errmsg(q.sql) : "no memory");
        goto out;
    }
    sqlite3_busy_timeout(q.sql, 2000);
    sqlite3_progress_handler(q.sql, 10000, out_of_time, &q);
    if (sqlite3_exec(q.sql, begin, NULL, NULL, NULL) != SQLITE_OK) {
        err = failed(&q);
        goto out;
    }
    err = history_stretches_read(q.sql, &all);
    if (err == 0)
        err = ask_all(&q, &all, fn, arg);
    free(all.p);
out:
    sqlite3_close(q.sql);
    return err;
}
