/* Taking one address out of the history: rows stay, since each end must be found, but say "erased" where it
 * was, and lose what might name it otherwise: replies, the Message-ID, the client. The caller's thread, with
 * a connection of its own; the history's thread waits for it for some milliseconds at a time.
 */
#include "node/telemetry/history_impl.h"

#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define PAGE 500
#define ERASED "erased"

enum part { PART_RECIPIENT, PART_SENDER, PART_ACCOUNT, PARTS };

/* ?1: the message, ?2: the recipient's number, ?3: the address in lower case. */
#define TEXTS 4
#define VERDICT "UPDATE verdict SET text=NULL WHERE id=?1 AND ?2>=0 AND instr(lower(text), ?3)>0"
static const char *const texts[PARTS][TEXTS] = {
    [PART_RECIPIENT] = { "UPDATE recipient SET address='" ERASED
                         "', key=NULL, reply=NULL WHERE id=?1 AND rcpt=?2 AND ?3<>''",
                         "UPDATE step SET reply=NULL WHERE id=?1 AND rcpt=?2 AND ?3<>''", VERDICT, NULL },
    [PART_SENDER] = { "UPDATE message SET sender='" ERASED
                      "', sender_key=NULL, message_id=NULL, message_key=NULL, "
                      "client_ip=NULL, client_name=NULL, helo=NULL WHERE id=?1 AND ?2>=0 AND ?3<>''",
                      "UPDATE recipient SET reply=NULL WHERE id=?1 AND ?2>=0 AND instr(lower(reply), ?3)>0",
                      "UPDATE step SET reply=NULL WHERE id=?1 AND ?2>=0 AND instr(lower(reply), ?3)>0",
                      VERDICT },
    [PART_ACCOUNT] = { "UPDATE message SET account='" ERASED
                       "', account_key=NULL, client_ip=NULL, client_name=NULL, "
                       "helo=NULL WHERE id=?1 AND ?2>=0 AND ?3<>''",
                       VERDICT, NULL, NULL },
};

struct place {
    uint64_t id;
    uint32_t rcpt;
};

struct page {
    struct place p[PAGE];
    uint32_t n;
};

static int on_row(void *arg, const struct history_row *row)
{
    struct page *page = arg;
    page->p[page->n++] = (struct place){ row->id, row->rcpt };
    return page->n == PAGE;
}

static int run(sqlite3 *sql, sqlite3_stmt *stmt, const struct place *at, struct span address)
{
    sqlite3_bind_int64(stmt, 1, (int64_t)at->id);
    sqlite3_bind_int64(stmt, 2, at->rcpt);
    sqlite3_bind_text(stmt, 3, address.p, (int)address.n, SQLITE_STATIC);
    int code = sqlite3_step(stmt);
    sqlite3_reset(stmt);
    if (code == SQLITE_DONE)
        return 0;
    log_error("history", "an address cannot be erased: %s", sqlite3_errmsg(sql));
    return ERR_FAILED;
}

/* One transaction. */
static int erase_page(sqlite3 *sql, enum part part, const struct page *page, struct span address)
{
    sqlite3_stmt *stmt[TEXTS] = { NULL };
    int err = sqlite3_exec(sql, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK ? 0 : ERR_BUSY;
    bool begun = err == 0;
    for (int i = 0; err == 0 && i < TEXTS && texts[part][i] != NULL; i++)
        if (sqlite3_prepare_v2(sql, texts[part][i], -1, &stmt[i], NULL) != SQLITE_OK)
            err = ERR_FAILED;
    for (uint32_t k = 0; err == 0 && k < page->n; k++)
        for (int i = 0; err == 0 && i < TEXTS && stmt[i] != NULL; i++)
            err = run(sql, stmt[i], &page->p[k], address);
    for (int i = 0; i < TEXTS; i++)
        sqlite3_finalize(stmt[i]);
    if (begun && sqlite3_exec(sql, err == 0 ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK &&
        err == 0)
        err = ERR_FAILED;
    return err;
}

/* What was erased does not match any more: so the same question is asked until it finds nothing. */
static int erase_part(struct history *h, sqlite3 *sql, enum part part, struct span address,
                      const atomic_bool *stop, uint64_t *rows)
{
    struct history_query q = { .limit = PAGE };
    struct page page;
    struct place last = { 0 };
    *(part == PART_RECIPIENT ? &q.recipient : part == PART_SENDER ? &q.sender : &q.account) = address;
    for (;;) {
        page.n = 0;
        int err = atomic_load(stop) ? ERR_CLOSED : history_query(h, &q, on_row, &page);
        if (err != 0 || page.n == 0)
            return err;
        if (page.p[0].id == last.id && page.p[0].rcpt == last.rcpt && last.id != 0)
            return ERR_FAILED; /* it did not go */
        last = page.p[0];
        err = erase_page(sql, part, &page, address);
        if (err != 0)
            return err;
        *rows += page.n;
    }
}

/* To be closed whatever it returns. What is overwritten is not left on the file's pages. */
static int open_writing(struct history *h, sqlite3 **sql)
{
    static const char pragmas[] = "PRAGMA secure_delete=ON; PRAGMA synchronous=FULL";
    if (sqlite3_open_v2(h->db.path, sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK &&
        sqlite3_busy_timeout(*sql, 10000) == SQLITE_OK &&
        sqlite3_exec(*sql, pragmas, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    log_error("history", "%s: %s", h->db.path, *sql != NULL ? sqlite3_errmsg(*sql) : "no memory");
    return ERR_FAILED;
}

int history_erase(struct history *h, struct span address, const atomic_bool *stop, uint64_t *rows)
{
    sqlite3 *sql = NULL;
    *rows = 0;
    if (address.n == 0 || address.p[0] == '@' || memchr(address.p, '@', address.n) == NULL)
        return ERR_BAD;
    int err = history_flush(h);
    if (err == 0)
        err = open_writing(h, &sql);
    for (int part = 0; err == 0 && part < PARTS; part++)
        err = erase_part(h, sql, (enum part)part, address, stop, rows);
    /* and not in the log of the file either; a reader may be in the way, and then it goes with the next one
     */
    if (err == 0)
        (void)sqlite3_exec(sql, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
    sqlite3_close(sql);
    return err;
}
