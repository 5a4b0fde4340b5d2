/* The history's file: its tables, writing a batch, deleting what is old. The history's thread.
 *
 * Looking up goes by short keys (salted hashes) instead of text; the reader compares the text. An index over
 * such keys takes each new row at another place, and with millions of rows each row of a batch would dirty a
 * page of each index of its own. So the ids are cut into stretches of about 32768 recipients, and every index
 * leads with the stretch: a batch works on the few pages of the newest, and a reader asks stretch after
 * stretch, newest first, which is the order of the answer.
 */
#include "node/telemetry/history_impl.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define STRETCH_ROWS 32768

/* ---- keys: FNV-1a, since it must stay the same from one process to the next ---- */

static uint64_t fnv(uint64_t h, struct span s, bool fold)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (fold && c >= 'A' && c <= 'Z')
            c = (unsigned char)(c + 32);
        h = (h ^ c) * UINT64_C(0x100000001b3);
    }
    return h;
}

static uint32_t fold32(uint64_t h)
{
    h ^= h >> 29;
    h *= UINT64_C(0xbf58476d1ce4e5b9);
    return (uint32_t)(h >> 32);
}

uint32_t history_key_domain(uint64_t salt, struct span domain)
{
    return fold32(fnv(salt, domain, true)) & ~(uint32_t)UINT16_MAX;
}

uint32_t history_key_address(uint64_t salt, struct span address)
{
    size_t at = address.n;
    while (at > 0 && address.p[at - 1] != '@')
        at--;
    struct span domain = at == 0 ? SPAN_LIT("") : span_sub(address, at);
    struct span local = at == 0 ? address : span_of(address.p, at - 1);
    return history_key_domain(salt, domain) | fold32(fnv(salt, local, true)) >> 16;
}

uint32_t history_key_text(uint64_t salt, struct span text)
{
    return fold32(fnv(salt, text, false));
}

/* ---- open and close ---- */

int history_db_failed(struct history_db *db, const char *what)
{
    db->code = db->sql == NULL ? SQLITE_NOMEM : sqlite3_extended_errcode(db->sql);
    log_error("history", "%s: %s: %s", db->path, what,
              db->sql == NULL ? "no memory" : sqlite3_errmsg(db->sql));
    return ERR_FAILED;
}

static bool damaged(const struct history_db *db)
{
    int code = db->code & 0xff;
    return code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
}

static int prepare(struct history_db *db, sqlite3_stmt **stmt, const char *text)
{
    if (sqlite3_prepare_v3(db->sql, text, -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL) != SQLITE_OK)
        return history_db_failed(db, "preparing");
    return 0;
}

static int prepare_all(struct history_db *db)
{
    const struct {
        sqlite3_stmt **stmt;
        const char *text;
    } all[] = {
        { &db->begin, "BEGIN IMMEDIATE" },
        { &db->commit, "COMMIT" },
        { &db->rollback, "ROLLBACK" },
        /* a row that was made without knowing more than the id takes what is known later */
        { &db->put_message,
          "INSERT INTO message VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18)"
          " ON CONFLICT(id) DO UPDATE SET arrival=?2, size=?3, class=?4, nrcpts=?5, sender_key=?7, "
          "message_key=?8,"
          " account_key=?9, sender=?10, account=?11, tenant=?12, message_id=?13, client_ip=?14, "
          "client_name=?15,"
          " helo=?16, protocol=?17, listener=?18 WHERE nrcpts=0 AND ?5>0" },
        { &db->put_rcpt,
          "INSERT OR IGNORE INTO recipient VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)" },
        { &db->oldest, "SELECT id, arrival FROM message ORDER BY id LIMIT ?1" },
        { &db->delete_rcpts, "DELETE FROM recipient WHERE id=?1" },
        { &db->delete_message, "DELETE FROM message WHERE id=?1" },
        { &db->put_signature, "INSERT OR IGNORE INTO signature VALUES(?1,?2)" },
        { &db->delete_signature, "DELETE FROM signature WHERE id=?1" },
        { &db->put_step, "INSERT INTO step VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)" },
        { &db->last_step, "SELECT max(n) FROM step WHERE id=?1 AND rcpt=?2" },
        { &db->drop_step, "DELETE FROM step WHERE id=?1 AND rcpt=?2 AND n=?3" },
        { &db->after_id, "SELECT id, arrival FROM message WHERE id>?1 ORDER BY id LIMIT ?2" },
        { &db->clear[0], "UPDATE message SET client_ip='', client_name='', helo='' WHERE id=?1" },
        { &db->clear[1], "UPDATE recipient SET reply='' WHERE id=?1" },
        { &db->clear[2], "UPDATE step SET reply='' WHERE id=?1" },
        { &db->delete_steps, "DELETE FROM step WHERE id=?1" },
        { &db->put_verdict, "INSERT OR IGNORE INTO verdict VALUES(?1,?2,?3,?4)" },
        { &db->delete_verdicts, "DELETE FROM verdict WHERE id BETWEEN ?1 AND ?2" },
        { &db->put_rejected, "INSERT OR IGNORE INTO rejected VALUES(?1,?2)" },
        { &db->delete_rejected, "DELETE FROM rejected WHERE id BETWEEN ?1 AND ?2" },
        { &db->oldest_rejected, "SELECT id, rcpts FROM rejected ORDER BY id LIMIT 1" },
        { &db->count_rejected, "SELECT coalesce(sum(rcpts), 0) FROM rejected" },
        { &db->put_meta, "INSERT OR REPLACE INTO meta VALUES(?1,?2)" },
        { &db->put_stretch, "INSERT OR REPLACE INTO stretch VALUES(?1,?2,?3,?4,?5)" },
        { &db->delete_stretch, "DELETE FROM stretch WHERE seq=?1" },
        { &db->size,
          "SELECT (page_count-freelist_count)*page_size FROM pragma_page_count, pragma_freelist_count,"
          " pragma_page_size" },
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        int err = prepare(db, all[i].stmt, all[i].text);
        if (err != 0)
            return err;
    }
    return 0;
}

static int read_meta(struct history_db *db, const char *name, int64_t *out)
{
    sqlite3_stmt *stmt = NULL;
    int err = prepare(db, &stmt, "SELECT value FROM meta WHERE name=?1");
    if (err != 0)
        return err;
    sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC);
    int code = sqlite3_step(stmt);
    *out = code == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        err = history_db_failed(db, "reading");
    sqlite3_finalize(stmt);
    return err;
}

const char *const history_cleared_names[HISTORY_CLASSES] = { "clients_cleared", "replies_cleared" };

/* Of which time what is kept. */
static int read_since(struct history_db *db)
{
    int64_t id = 0;
    int err = read_meta(db, "kept_since", &db->kept_since_ms);
    for (int i = 0; i < HISTORY_CLASSES && err == 0; i++) {
        err = read_meta(db, history_cleared_names[i], &id);
        db->cleared[i] = (uint64_t)id;
    }
    return err;
}

/* ---- stretches ---- */

static int stretch_add(struct history_stretches *all, const struct history_stretch *s)
{
    if (all->n == all->cap) {
        uint32_t cap = all->cap == 0 ? 16 : all->cap * 2;
        struct history_stretch *p = realloc(all->p, cap * sizeof *p);
        if (p == NULL)
            return -ENOMEM;
        all->p = p;
        all->cap = cap;
    }
    all->p[all->n++] = *s;
    return 0;
}

int history_stretches_read(sqlite3 *sql, struct history_stretches *out)
{
    static const char text[] = "SELECT seq, start, first, last, rows FROM stretch ORDER BY start";
    sqlite3_stmt *stmt = NULL;
    int code, err = 0;
    *out = (struct history_stretches){ 0 };
    if (sqlite3_prepare_v2(sql, text, -1, &stmt, NULL) != SQLITE_OK)
        return ERR_FAILED;
    while (err == 0 && (code = sqlite3_step(stmt)) != SQLITE_DONE) {
        struct history_stretch s = { .seq = sqlite3_column_int64(stmt, 0),
                                     .start = (uint64_t)sqlite3_column_int64(stmt, 1),
                                     .first_ms = sqlite3_column_int64(stmt, 2),
                                     .last_ms = sqlite3_column_int64(stmt, 3),
                                     .rows = (uint32_t)sqlite3_column_int64(stmt, 4) };
        err = code != SQLITE_ROW ? ERR_FAILED : stretch_add(out, &s);
    }
    sqlite3_finalize(stmt);
    if (err != 0) {
        free(out->p);
        *out = (struct history_stretches){ 0 };
    }
    return err;
}

static int read_stretches(struct history_db *db)
{
    sqlite3_stmt *stmt = NULL;
    int err = history_stretches_read(db->sql, &db->stretches);
    if (err != 0)
        return history_db_failed(db, "reading");
    err = prepare(db, &stmt, "SELECT max(id) FROM message");
    if (err == 0 && sqlite3_step(stmt) == SQLITE_ROW)
        db->newest = (uint64_t)sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    struct history_stretch first = { .seq = 1, .first_ms = INT64_MAX };
    if (err == 0 && db->stretches.n == 0)
        err = stretch_add(&db->stretches, &first);
    return err;
}

/* The one that the id belongs to. */
static struct history_stretch *stretch_of(struct history_db *db, uint64_t id)
{
    uint32_t low = 0, high = db->stretches.n;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (db->stretches.p[middle].start <= id)
            low = middle;
        else
            high = middle;
    }
    return &db->stretches.p[low];
}

/* What comes from now on goes into a new one, once the newest is full. It begins where no two ids differ by the hop
 * or the node alone: so what people see as one message is in one. */
static void stretch_turn(struct history_db *db)
{
    struct history_stretch last = db->stretches.p[db->stretches.n - 1];
    struct history_stretch next = { .seq = last.seq + 1, .start = spool_id_public(db->newest | 0xfff) + 1, .first_ms = INT64_MAX };
    if (last.rows >= STRETCH_ROWS && next.start > last.start)
        (void)stretch_add(&db->stretches, &next); /* without memory the old one grows on */
}

/* The mode must be right before SQLite sees the file: its -wal and -shm files take it over. A file that is
 * there is not opened: closing it would drop the POSIX locks of this process's other connections. */
static int make_file(struct history_db *db)
{
    int fd = open(db->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0 && errno == EEXIST)
        return 0;
    if (fd < 0) {
        log_error("history", "%s: %s", db->path, err_text(-errno));
        db->code = SQLITE_CANTOPEN;
        return ERR_FAILED;
    }
    close(fd);
    return 0;
}

static int open_once(struct history_db *db)
{
    /* larger pages and rarer checkpoints than SQLite's own: a hot page is written back once for many batches
     */
    static const char pragmas[] = "PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                                  "PRAGMA cache_size=-16384; PRAGMA temp_store=MEMORY;"
                                  "PRAGMA wal_autocheckpoint=8000; PRAGMA journal_size_limit=67108864;";
    int64_t salt = 0;
    int err = make_file(db);
    if (err != 0)
        return err;
    if (sqlite3_open_v2(db->path, &db->sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        return history_db_failed(db, "opening");
    sqlite3_busy_timeout(db->sql, 10000);
    if (sqlite3_exec(db->sql, pragmas, NULL, NULL, NULL) != SQLITE_OK)
        return history_db_failed(db, "opening");
    if (history_schema_make(db->sql, &db->old) != 0)
        return history_db_failed(db, "making tables");
    err = read_meta(db, "salt", &salt);
    if (err == 0 && !db->old)
        err = read_since(db);
    db->salt = (uint64_t)salt;
    if (err == 0 && !db->old)
        err = prepare_all(db);
    if (err == 0 && !db->old)
        err = history_db_count_rejected(db);
    if (err == 0)
        err = read_stretches(db);
    return err;
}

int history_db_upgrade(struct history_db *db)
{
    if (history_schema_upgrade(db->sql, db->path) != 0)
        return history_db_failed(db, "bringing it up to date");
    db->old = false;
    int err = prepare_all(db);
    if (err == 0)
        err = read_since(db);
    return err != 0 ? err : history_db_count_rejected(db);
}

void history_db_close(struct history_db *db)
{
    sqlite3_stmt **all[] = {
        &db->begin,
        &db->commit,
        &db->rollback,
        &db->put_message,
        &db->put_rcpt,
        &db->oldest,
        &db->delete_rcpts,
        &db->delete_message,
        &db->put_stretch,
        &db->delete_stretch,
        &db->size,
        &db->put_signature,
        &db->delete_signature,
        &db->put_meta,
        &db->put_step,
        &db->last_step,
        &db->drop_step,
        &db->delete_steps,
        &db->after_id,
        &db->clear[0],
        &db->clear[1],
        &db->clear[2],
        &db->put_verdict,
        &db->delete_verdicts,
        &db->put_rejected,
        &db->delete_rejected,
        &db->oldest_rejected,
        &db->count_rejected,
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        sqlite3_finalize(*all[i]);
        *all[i] = NULL;
    }
    sqlite3_close(db->sql);
    db->sql = NULL;
    free(db->stretches.p);
    db->stretches = (struct history_stretches){ 0 };
    memset(db->recent, 0, sizeof db->recent);
}

static void set_aside(struct history_db *db)
{
    static const char *const suffix[] = { "", "-wal", "-shm" };
    long long at = (long long)(clock_wall_ms() / 1000);
    log_error("history", "%s is damaged: it is set aside as %s.damaged-%lld, and a new one is made", db->path,
              db->path, at);
    for (int i = 0; i < 3; i++) {
        char from[4096], to[4096];
        int n = snprintf(from, sizeof from, "%s%s", db->path, suffix[i]);
        int m = snprintf(to, sizeof to, "%s.damaged-%lld%s", db->path, at, suffix[i]);
        if (n < (int)sizeof from && m < (int)sizeof to && rename(from, to) != 0 && errno != ENOENT)
            log_error("history", "%s: cannot be renamed: %s", from, err_text(-errno));
    }
}

int history_db_open(struct history_db *db)
{
    int err = open_once(db);
    if (err != 0 && damaged(db)) {
        history_db_close(db);
        set_aside(db);
        err = open_once(db);
    }
    if (err != 0)
        history_db_close(db);
    return err;
}

int history_db_recover(struct history_db *db)
{
    bool bad = damaged(db);
    history_db_close(db);
    if (bad)
        set_aside(db);
    return history_db_open(db);
}

/* ---- a batch ---- */

int history_db_run(struct history_db *db, sqlite3_stmt *stmt, const char *what)
{
    int code = sqlite3_step(stmt);
    if (code != SQLITE_DONE && code != SQLITE_ROW) {
        int err = history_db_failed(db, what);
        sqlite3_reset(stmt);
        return err;
    }
    sqlite3_reset(stmt);
    return 0;
}

int history_db_begin(struct history_db *db)
{
    db->rows = 0;
    return history_db_run(db, db->begin, "beginning");
}

static int put_stretch(struct history_db *db, struct history_stretch *s)
{
    sqlite3_bind_int64(db->put_stretch, 1, s->seq);
    sqlite3_bind_int64(db->put_stretch, 2, (int64_t)s->start);
    sqlite3_bind_int64(db->put_stretch, 3, s->first_ms);
    sqlite3_bind_int64(db->put_stretch, 4, s->last_ms);
    sqlite3_bind_int64(db->put_stretch, 5, s->rows);
    s->changed = false;
    return history_db_run(db, db->put_stretch, "writing");
}

int history_db_commit(struct history_db *db)
{
    int err = 0;
    for (uint32_t i = 0; err == 0 && i < db->stretches.n; i++)
        if (db->stretches.p[i].changed)
            err = put_stretch(db, &db->stretches.p[i]);
    if (err == 0)
        err = history_db_run(db, db->commit, "committing");
    if (err == 0)
        stretch_turn(db);
    return err;
}

void history_db_rollback(struct history_db *db)
{
    memset(db->recent, 0, sizeof db->recent);
    if (db->sql != NULL && !sqlite3_get_autocommit(db->sql))
        (void)history_db_run(db, db->rollback, "rolling back");
}

/* The text is not copied: it outlives the step. Empty: NULL. */
static void bind_text(sqlite3_stmt *stmt, int at, struct span s)
{
    if (s.n == 0)
        sqlite3_bind_null(stmt, at);
    else
        sqlite3_bind_text(stmt, at, s.p, (int)s.n, SQLITE_STATIC);
}

static void bind_key(sqlite3_stmt *stmt, int at, bool given, uint32_t key)
{
    if (given)
        sqlite3_bind_int64(stmt, at, (int32_t)key);
    else
        sqlite3_bind_null(stmt, at);
}

int history_db_put_message(struct history_db *db, const struct history_message *m)
{
    uint64_t *recent = &db->recent[(m->id ^ m->id >> 16) & (HISTORY_RECENT - 1)];
    if (*recent == m->id)
        return 0;
    struct history_stretch *stretch = stretch_of(db, m->id);
    if (m->arrival_ms < stretch->first_ms)
        stretch->first_ms = m->arrival_ms;
    if (m->arrival_ms > stretch->last_ms)
        stretch->last_ms = m->arrival_ms;
    stretch->changed = true;
    if (m->id > db->newest)
        db->newest = m->id;
    sqlite3_stmt *s = db->put_message;
    sqlite3_bind_int64(s, 1, (int64_t)m->id);
    sqlite3_bind_int64(s, 2, m->arrival_ms);
    sqlite3_bind_int64(s, 3, (int64_t)m->size);
    sqlite3_bind_int(s, 4, m->class);
    sqlite3_bind_int64(s, 5, m->nrcpts);
    sqlite3_bind_int64(s, 6, stretch->seq);
    bind_key(s, 7, m->nrcpts > 0, history_key_address(db->salt, m->sender));
    bind_key(s, 8, m->message_id.n > 0, history_key_text(db->salt, m->message_id));
    bind_key(s, 9, m->account.n > 0, history_key_text(db->salt, m->account));
    const bool cleared = m->id <= db->cleared[HISTORY_CLASS_CLIENTS];
    const struct span none = SPAN_LIT("");
    const struct span texts[] = { m->sender,
                                  m->account,
                                  m->tenant,
                                  m->message_id,
                                  cleared ? none : m->client_ip,
                                  cleared ? none : m->client_name,
                                  cleared ? none : m->helo,
                                  m->protocol,
                                  m->listener };
    for (int i = 0; i < 9; i++)
        bind_text(s, 10 + i, texts[i]);
    int err = history_db_run(db, s, "writing");
    if (err == 0 && m->nrcpts > 0)
        *recent = m->id;
    return err;
}

int history_db_put_signature(struct history_db *db, uint64_t id, struct span dkim)
{
    sqlite3_bind_int64(db->put_signature, 1, (int64_t)id);
    bind_text(db->put_signature, 2, dkim);
    return history_db_run(db, db->put_signature, "writing");
}

/* What comes late, when the words of its time have gone, comes without. */
static struct span reply_of(const struct history_db *db, uint64_t id, struct span reply)
{
    return id <= db->cleared[HISTORY_CLASS_REPLIES] ? SPAN_LIT("") : reply;
}

int history_db_put_verdict(struct history_db *db, uint64_t id, const struct history_verdict *v)
{
    if (id <= db->cleared[HISTORY_CLASS_REPLIES])
        return 0;
    sqlite3_stmt *s = db->put_verdict;
    sqlite3_bind_int64(s, 1, (int64_t)id);
    sqlite3_bind_int64(s, 2, v->at_ms);
    sqlite3_bind_int(s, 3, v->done);
    bind_text(s, 4, v->text);
    return history_db_run(db, s, "writing");
}

int history_db_put_end(struct history_db *db, const struct history_end *e)
{
    struct history_stretch *stretch = stretch_of(db, e->id);
    sqlite3_stmt *s = db->put_rcpt;
    sqlite3_bind_int64(s, 1, (int64_t)e->id);
    sqlite3_bind_int64(s, 2, e->rcpt);
    sqlite3_bind_int64(s, 3, stretch->seq);
    bind_key(s, 4, e->address.n > 0, history_key_address(db->salt, e->address));
    sqlite3_bind_int(s, 5, e->state);
    sqlite3_bind_int(s, 6, e->attempts);
    sqlite3_bind_int64(s, 7, e->ended_ms);
    const struct span texts[] = {
        e->address, reply_of(db, e->id, e->reply), e->site, e->mx, e->mx_ip, e->source_ip, e->tls
    };
    for (int i = 0; i < 7; i++)
        bind_text(s, 8 + i, texts[i]);
    db->rows++;
    stretch->rows += e->state != HISTORY_REJECTED; /* which are few, of all stretches together */
    stretch->changed = true;
    return history_db_run(db, s, "writing");
}

static int last_step(struct history_db *db, uint64_t id, uint32_t rcpt, int64_t *n)
{
    sqlite3_stmt *s = db->last_step;
    sqlite3_bind_int64(s, 1, (int64_t)id);
    sqlite3_bind_int64(s, 2, rcpt);
    int err = sqlite3_step(s) == SQLITE_ROW ? 0 : history_db_failed(db, "reading");
    *n = err == 0 ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_reset(s);
    return err;
}

int history_db_put_step(struct history_db *db, uint64_t id, const struct history_step *step)
{
    int64_t n;
    int err = last_step(db, id, step->rcpt, &n);
    if (err != 0)
        return err;
    sqlite3_stmt *s = db->put_step;
    const int64_t numbers[] = { (int64_t)id, step->rcpt,    ++n,           step->kind,
                                step->at_ms, step->attempt, step->next_ms, step->greylisted };
    const struct span texts[] = { reply_of(db, id, step->reply),
                                  step->site,
                                  step->mx,
                                  step->mx_ip,
                                  step->source_ip,
                                  step->tls,
                                  step->who };
    for (int i = 0; i < 8; i++)
        sqlite3_bind_int64(s, 1 + i, numbers[i]);
    for (int i = 0; i < 7; i++)
        bind_text(s, 9 + i, texts[i]);
    err = history_db_run(db, s, "writing");
    if (err != 0 || n - HISTORY_STEPS_LAST <= HISTORY_STEPS_FIRST)
        return err;
    sqlite3_bind_int64(db->drop_step, 1, (int64_t)id);
    sqlite3_bind_int64(db->drop_step, 2, step->rcpt);
    sqlite3_bind_int64(db->drop_step, 3, n - HISTORY_STEPS_LAST);
    return history_db_run(db, db->drop_step, "deleting");
}

int history_db_put_meta(struct history_db *db, const char *name, int64_t value)
{
    sqlite3_bind_text(db->put_meta, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(db->put_meta, 2, value);
    return history_db_run(db, db->put_meta, "writing");
}

uint64_t history_db_bytes(struct history_db *db)
{
    uint64_t bytes = 0;
    if (db->size != NULL && sqlite3_step(db->size) == SQLITE_ROW)
        bytes = (uint64_t)sqlite3_column_int64(db->size, 0);
    sqlite3_reset(db->size);
    return bytes;
}
