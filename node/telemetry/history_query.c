/* Looking things up in the history. The caller's thread, with a connection of its own.
 *
 * The answer is wanted newest first, and at most `limit` of it: so the stretches of ids are asked one after
 * the other from the newest down, and those that hold nothing of the time asked for are left out. Of each,
 * history_find.c says from the indexes alone which rows may be meant; these are read, newest first, until
 * there is enough. Whatever was asked for is checked row by row, as is the text behind each key.
 */
#include "node/telemetry/history_find.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define LIMIT_DEFAULT 1000
#define TIME_MAX_MS 4000 /* less than another node waits */

struct query {
    const struct history_query *ask;
    struct history_find find;
    sqlite3_stmt *row;
    int64_t deadline_ms; /* of clock_boot_ms */
    uint32_t left;       /* of the limit */
    struct history_place last;
    bool enough;
    history_row_fn *fn;
    void *arg;
};

static int out_of_time(void *arg)
{
    const struct query *q = arg;
    return clock_boot_ms() > q->deadline_ms;
}

/* CROSS JOIN: the left one drives (SQLite keeps its order). A row of a recipient always has its message's. */
static const char row_text[] =
    "SELECT r.id, r.rcpt, r.state, r.attempts, r.ended, r.address, r.reply, r.site, r.mx, r.mx_ip, "
    "r.source_ip, r.tls, m.arrival, m.size, m.class, m.nrcpts, m.sender, m.account, m.tenant, m.message_id, "
    "m.client_ip, m.client_name, m.helo, m.protocol, m.listener,"
    " (SELECT dkim FROM signature s WHERE s.id=r.id)"
    " FROM recipient r CROSS JOIN message m ON m.id=r.id WHERE r.id=?1 AND r.rcpt=?2";

static void read_row(sqlite3_stmt *s, struct history_row *row)
{
    *row = (struct history_row){
        .id = (uint64_t)sqlite3_column_int64(s, 0),
        .rcpt = (uint32_t)sqlite3_column_int64(s, 1),
        .state = (uint8_t)sqlite3_column_int(s, 2),
        .attempts = (uint16_t)sqlite3_column_int(s, 3),
        .ended_ms = sqlite3_column_int64(s, 4),
        .recipient = history_column(s, 5),
        .reply = history_column(s, 6),
        .site = history_column(s, 7),
        .mx = history_column(s, 8),
        .mx_ip = history_column(s, 9),
        .source_ip = history_column(s, 10),
        .tls = history_column(s, 11),
        .arrival_ms = sqlite3_column_int64(s, 12),
        .size = (uint64_t)sqlite3_column_int64(s, 13),
        .class = (uint8_t)sqlite3_column_int(s, 14),
        .nrcpts = (uint32_t)sqlite3_column_int64(s, 15),
        .sender = history_column(s, 16),
        .account = history_column(s, 17),
        .tenant = history_column(s, 18),
        .message_id = history_column(s, 19),
        .client_ip = history_column(s, 20),
        .client_name = history_column(s, 21),
        .helo = history_column(s, 22),
        .protocol = history_column(s, 23),
        .listener = history_column(s, 24),
        .dkim = history_column(s, 25),
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
    if (a->message_id.n > 0 && !span_eq(a->message_id, row->message_id))
        return false;
    if (a->account.n > 0 && !span_eq(a->account, row->account))
        return false;
    if (a->tenant.n > 0 && !span_eq(a->tenant, row->tenant))
        return false;
    if (a->states != 0 && (row->state >= 32 || (a->states >> row->state & 1) == 0))
        return false;
    /* an unknown sender (nrcpts 0) is not the null one */
    bool null_sender = span_eq(a->sender, SPAN_LIT("<>"));
    if (null_sender ? row->sender.n > 0 || row->nrcpts == 0 : !address_matches(a->sender, row->sender))
        return false;
    return address_matches(a->recipient, row->recipient);
}

static bool row_in_time(const struct history_query *a, const struct history_row *row)
{
    return row->arrival_ms >= a->since_ms && (a->until_ms == 0 || row->arrival_ms < a->until_ms);
}

/* A page does not end in the middle of a place: what follows begins after it. */
static bool page_is_full(const struct query *q, const struct history_place *at)
{
    return q->left == 0 && history_place_compare(&q->last, at) != 0;
}

static int give(struct query *q, const struct history_place *at)
{
    const struct history_query *a = q->ask;
    struct history_row row;
    if (page_is_full(q, at)) {
        q->enough = true;
        return 0;
    }
    sqlite3_bind_int64(q->row, 1, (int64_t)at->id);
    sqlite3_bind_int64(q->row, 2, at->rcpt);
    int code = sqlite3_step(q->row);
    if (code == SQLITE_ROW) {
        read_row(q->row, &row);
        if (row_matches(a, &row) && row_in_time(a, &row)) {
            q->left -= q->left > 0;
            q->last = *at;
            q->enough = q->fn(q->arg, &row) != 0;
        }
    }
    sqlite3_reset(q->row);
    return code == SQLITE_ROW || code == SQLITE_DONE ? 0 : history_find_failed(&q->find);
}

/* Reads the rows of the places, or with places of whole messages those of all their recipients. */
static int give_all(struct query *q, struct history_places *places)
{
    struct history_places group = { 0 };
    int err = 0;
    for (uint32_t i = 0; i < places->n && err == 0 && !q->enough;) {
        if (places->rcpts) {
            err = give(q, &places->p[i++]);
            continue;
        }
        err = history_find_group(&q->find, places, &i, &group);
        for (uint32_t k = 0; k < group.n && err == 0 && !q->enough; k++)
            err = give(q, &group.p[k]);
    }
    free(group.p);
    return err;
}

static int ask_id(struct query *q)
{
    struct history_places places = { 0 };
    int err = history_find_id(&q->find, &places);
    if (err == 0)
        err = give_all(q, &places);
    free(places.p);
    return err;
}

static int ask_all(struct query *q, const struct history_stretches *all)
{
    const struct history_query *a = q->ask;
    struct history_places places = { 0 };
    int err = 0;
    for (uint32_t i = all->n; i-- > 0 && err == 0 && !q->enough;) {
        const struct history_stretch *s = &all->p[i];
        if ((a->after && i > 0 && spool_id_public(s->start) > spool_id_public(a->after_id)) ||
            s->last_ms < a->since_ms || (a->until_ms != 0 && s->first_ms >= a->until_ms))
            continue;
        err = history_find_stretch(&q->find, s, &places);
        if (err == 0)
            err = give_all(q, &places);
    }
    free(places.p);
    return err;
}

/* To be closed whatever it returns. */
static int open_reading(struct history *h, sqlite3 **sql)
{
    static const char pragmas[] = "PRAGMA query_only=1; PRAGMA cache_size=-4096";
    if (sqlite3_open_v2(h->db.path, sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK &&
        sqlite3_busy_timeout(*sql, 2000) == SQLITE_OK &&
        sqlite3_exec(*sql, pragmas, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    log_error("history", "%s: %s", h->db.path, *sql != NULL ? sqlite3_errmsg(*sql) : "no memory");
    return ERR_FAILED;
}

int history_query(struct history *h, const struct history_query *ask, history_row_fn *fn, void *arg)
{
    struct query q = { .ask = ask,
                       .find = { .ask = ask, .salt = atomic_load(&h->salt) },
                       .deadline_ms = clock_boot_ms() + TIME_MAX_MS,
                       .left = ask->limit != 0 ? ask->limit : LIMIT_DEFAULT,
                       .fn = fn,
                       .arg = arg };
    struct history_stretches all = { 0 };
    if (atomic_load(&h->old))
        return ERR_BUSY;
    int err = ERR_FAILED;
    sqlite3 **sql = &q.find.sql;
    if (open_reading(h, sql) != 0)
        goto out;
    sqlite3_progress_handler(*sql, 10000, out_of_time, &q);
    if (sqlite3_exec(*sql, "BEGIN", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(*sql, row_text, -1, &q.row, NULL) != SQLITE_OK) {
        err = history_find_failed(&q.find);
        goto out;
    }
    if (ask->id != 0) {
        err = ask_id(&q);
        goto out;
    }
    err = history_stretches_read(*sql, &all);
    if (err == 0)
        err = ask_all(&q, &all);
    free(all.p);
out:
    sqlite3_finalize(q.row);
    history_find_fini(&q.find);
    sqlite3_close(*sql);
    return err;
}

/* ---- steps ---- */

struct history_reader {
    sqlite3 *sql;
    sqlite3_stmt *steps, *verdict;
};

int history_reader_open(struct history *h, struct history_reader **out)
{
    static const char text[] =
        "SELECT n, kind, at, attempt, next, greylisted, reply, site, mx, mx_ip, source_ip, tls,"
        " who FROM step WHERE id=?1 AND rcpt=?2 ORDER BY n";
    static const char verdict[] = "SELECT at, done, text FROM verdict WHERE id=?1";
    struct history_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return -ENOMEM;
    int err = atomic_load(&h->old) ? ERR_BUSY : open_reading(h, &r->sql);
    if (err == 0 && (sqlite3_prepare_v2(r->sql, text, -1, &r->steps, NULL) != SQLITE_OK ||
                     sqlite3_prepare_v2(r->sql, verdict, -1, &r->verdict, NULL) != SQLITE_OK)) {
        log_error("history", "%s: %s", h->db.path, sqlite3_errmsg(r->sql));
        err = ERR_FAILED;
    }
    if (err != 0) {
        history_reader_close(r);
        return err;
    }
    *out = r;
    return 0;
}

/* Whether there is one or not: true. */
static bool read_verdict(struct history_reader *r, uint64_t id, uint32_t rcpt, history_step_fn *fn, void *arg)
{
    sqlite3_stmt *s = r->verdict;
    sqlite3_bind_int64(s, 1, (int64_t)id);
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW) {
        struct history_step step = { .rcpt = rcpt,
                                     .kind = HISTORY_STEP_CHECKED,
                                     .at_ms = sqlite3_column_int64(s, 0),
                                     .done = (uint8_t)sqlite3_column_int(s, 1),
                                     .reply = history_column(s, 2) };
        fn(arg, &step);
    }
    sqlite3_reset(s);
    return code == SQLITE_ROW || code == SQLITE_DONE;
}

int history_steps_read(struct history_reader *r, uint64_t id, uint32_t rcpt, history_step_fn *fn, void *arg)
{
    sqlite3_stmt *s = r->steps;
    int code = SQLITE_ERROR;
    bool ok = read_verdict(r, id, rcpt, fn, arg);
    sqlite3_bind_int64(s, 1, (int64_t)id);
    sqlite3_bind_int64(s, 2, rcpt);
    while (ok && (code = sqlite3_step(s)) == SQLITE_ROW) {
        struct history_step step = { .rcpt = rcpt,
                                     .number = (uint32_t)sqlite3_column_int64(s, 0),
                                     .kind = (uint8_t)sqlite3_column_int(s, 1),
                                     .at_ms = sqlite3_column_int64(s, 2),
                                     .attempt = (uint16_t)sqlite3_column_int(s, 3),
                                     .next_ms = sqlite3_column_int64(s, 4),
                                     .greylisted = sqlite3_column_int(s, 5) != 0,
                                     .reply = history_column(s, 6),
                                     .site = history_column(s, 7),
                                     .mx = history_column(s, 8),
                                     .mx_ip = history_column(s, 9),
                                     .source_ip = history_column(s, 10),
                                     .tls = history_column(s, 11),
                                     .who = history_column(s, 12) };
        fn(arg, &step);
    }
    if (code != SQLITE_DONE)
        log_error("history", "a query failed: %s", sqlite3_errmsg(r->sql));
    sqlite3_reset(s);
    return code == SQLITE_DONE ? 0 : ERR_FAILED;
}

void history_reader_close(struct history_reader *r)
{
    if (r == NULL)
        return;
    sqlite3_finalize(r->steps);
    sqlite3_finalize(r->verdict);
    sqlite3_close(r->sql);
    free(r);
}
