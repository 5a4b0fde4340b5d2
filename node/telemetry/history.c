/* The history's queue and its thread: records come in as bytes, notes wait for their endings, batches are
 * committed. See history.h for the promises. */
#include "node/telemetry/history_impl.h"

#include "base/clock.h"
#include "base/cond.h"
#include "base/cursor.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define QUEUE_BYTES_DEFAULT (UINT64_C(64) << 20)
#define BATCH_BYTES (UINT64_C(1) << 20) /* more than this does not wait */
#define BATCH_MS 1000                   /* less waits so long for more */
#define RETRY_MS 5000                   /* pause after a failed batch */
#define IDLE_MS 60000                   /* old rows are looked for this often when nothing happens */
#define STEP_TEXT_MAX 512
#define PRUNE_LEAST 200                 /* messages deleted with a batch at least, when there are such */

enum { RECORD_NOTE = 1, RECORD_ENDED = 2, RECORD_SIGNED = 3, RECORD_STEP = 4 }; /* and HISTORY_RECORD_... */

/* One recipient's details, waiting for its ending. */
struct note {
    struct list link; /* note_ages or note_used */
    uint64_t id;
    uint32_t rcpt;
    int64_t since_ms;
    uint32_t n;
    char bytes[]; /* address, site, mx, mx_ip, source_ip, tls: counted */
};

struct note_key {
    uint64_t id;
    uint32_t rcpt;
};

static uint64_t note_hash_of(uint64_t id, uint32_t rcpt)
{
    return hash_u64(id ^ (uint64_t)rcpt * UINT64_C(0x9e3779b97f4a7c15));
}

static uint64_t note_hash(const void *item)
{
    const struct note *n = item;
    return note_hash_of(n->id, n->rcpt);
}

static bool note_match(const void *item, const void *key)
{
    const struct note *n = item;
    const struct note_key *k = key;
    return n->id == k->id && n->rcpt == k->rcpt;
}

/* ---- in: any thread ---- */

static void signal_if_due(struct history *h, size_t before)
{
    if (before == 0 || (before < BATCH_BYTES && h->fill.len >= BATCH_BYTES))
        pthread_cond_signal(&h->wake);
}

void history_put_envelope(struct buf *b, const struct envelope *e)
{
    const struct span texts[] = { e->mail_from,   e->account, e->tenant,   e->message_id, e->client_ip,
                                  e->client_name, e->helo,    e->protocol, e->listener };
    buf_put_u64(b, e->id);
    buf_put_u64(b, (uint64_t)e->arrival_ms);
    buf_put_u64(b, e->size);
    buf_put_u8(b, e->class);
    buf_put_u32(b, e->nrcpts);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        buf_put_counted(b, texts[i]);
}

static void put_note(struct buf *b, const struct envelope *e, const struct history_rcpt *rcpts, uint32_t n)
{
    buf_put_u8(b, RECORD_NOTE);
    history_put_envelope(b, e);
    buf_put_u32(b, n);
    for (uint32_t i = 0; i < n; i++) {
        ensure(rcpts[i].rcpt < e->nrcpts);
        buf_put_u32(b, rcpts[i].rcpt);
        buf_put_counted(b, e->rcpts[rcpts[i].rcpt].address);
        buf_put_counted(b, rcpts[i].site);
        buf_put_counted(b, rcpts[i].mx);
        buf_put_counted(b, rcpts[i].mx_ip);
        buf_put_counted(b, rcpts[i].source_ip);
        buf_put_counted(b, rcpts[i].tls);
    }
}

static bool taken_back(struct buf *b, size_t before)
{
    if (buf_err(b) == 0)
        return false;
    b->len = before;
    b->err = 0;
    return true;
}

/* Notes get half of the room, so that endings find some. Under lock. */
static bool fill_begin(struct history *h, size_t *before, uint32_t n)
{
    *before = h->fill.len;
    if (*before <= h->fill.max / 2)
        return true;
    atomic_fetch_add(&h->notes_dropped, n);
    return false;
}

static void fill_end(struct history *h, size_t before, uint32_t n)
{
    if (taken_back(&h->fill, before))
        atomic_fetch_add(&h->notes_dropped, n);
    else
        signal_if_due(h, before);
}

bool history_fill_begin(struct history *h, size_t *before, uint32_t n)
{
    pthread_mutex_lock(&h->lock);
    bool room = fill_begin(h, before, n);
    if (!room)
        pthread_mutex_unlock(&h->lock);
    return room;
}

void history_fill_end(struct history *h, size_t before, uint32_t n)
{
    fill_end(h, before, n);
    pthread_mutex_unlock(&h->lock);
}

static void note_locked(struct history *h, const struct envelope *env, const struct history_rcpt *rcpts,
                        uint32_t n)
{
    size_t before;
    if (!fill_begin(h, &before, n))
        return;
    put_note(&h->fill, env, rcpts, n);
    fill_end(h, before, n);
}

void history_note(struct history *h, const struct envelope *env, const struct history_rcpt *rcpts, uint32_t n)
{
    pthread_mutex_lock(&h->lock);
    note_locked(h, env, rcpts, n);
    pthread_mutex_unlock(&h->lock);
}

void history_signed(struct history *h, uint64_t id, int64_t arrival_ms, struct span dkim)
{
    size_t before;
    if (!history_fill_begin(h, &before, 1))
        return;
    buf_put_u8(&h->fill, RECORD_SIGNED);
    buf_put_u64(&h->fill, id);
    buf_put_u64(&h->fill, (uint64_t)arrival_ms);
    buf_put_counted(&h->fill, dkim);
    history_fill_end(h, before, 1);
}

struct span history_text_cut(struct span s)
{
    return span_of(s.p, s.n < STEP_TEXT_MAX ? s.n : STEP_TEXT_MAX);
}

static void put_step(struct buf *b, uint64_t id, int64_t arrival_ms, const struct history_step *s)
{
    const struct span texts[] = { s->reply, s->site, s->mx, s->mx_ip, s->source_ip, s->tls, s->who };
    buf_put_u8(b, RECORD_STEP);
    buf_put_u64(b, id);
    buf_put_u64(b, (uint64_t)arrival_ms);
    buf_put_u32(b, s->rcpt);
    buf_put_u8(b, s->kind);
    buf_put_u8(b, s->greylisted);
    buf_put_u16(b, s->attempt);
    buf_put_u64(b, (uint64_t)s->at_ms);
    buf_put_u64(b, (uint64_t)s->next_ms);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        buf_put_counted(b, history_text_cut(texts[i]));
}

void history_steps(struct history *h, uint64_t id, int64_t arrival_ms, const struct history_step *steps,
                   uint32_t n)
{
    size_t before;
    if (!history_fill_begin(h, &before, n))
        return;
    for (uint32_t i = 0; i < n; i++)
        put_step(&h->fill, id, arrival_ms, &steps[i]);
    history_fill_end(h, before, n);
}

static void ended_locked(struct history *h, uint64_t id, const struct spool_rcpt_update *u, uint32_t n,
                         uint64_t seq)
{
    struct buf *b = &h->fill;
    size_t before = b->len;
    buf_put_u8(b, RECORD_ENDED);
    buf_put_u64(b, id);
    buf_put_u64(b, seq);
    buf_put_u32(b, n);
    for (uint32_t i = 0; i < n; i++) {
        buf_put_u32(b, u[i].rcpt);
        buf_put_u8(b, u[i].to.state);
        buf_put_u16(b, u[i].to.attempts);
        buf_put_u64(b, (uint64_t)u[i].to.changed_ms);
        buf_put_counted(b, u[i].to.reply);
    }
    if (!taken_back(b, before)) {
        signal_if_due(h, before);
        return;
    }
    if (h->gap_seq == 0) {
        h->gap_seq = seq;
        log_error("history",
                  "%s: no room for what ended: it will be told again after the next start; until then "
                  "the spool keeps its segments",
                  h->db.path);
    }
}

void history_ended(void *history, uint64_t id, const struct spool_rcpt_update *u, uint32_t n, uint64_t seq)
{
    struct history *h = history;
    pthread_mutex_lock(&h->lock);
    ended_locked(h, id, u, n, seq);
    pthread_mutex_unlock(&h->lock);
}

void history_ended_env(struct history *h, const struct envelope *env, const struct spool_rcpt_update *u,
                       uint32_t n, uint64_t seq)
{
    pthread_mutex_lock(&h->lock);
    for (uint32_t i = 0; i < n; i++) {
        struct history_rcpt r = { .rcpt = u[i].rcpt };
        if (r.rcpt < env->nrcpts)
            note_locked(h, env, &r, 1);
    }
    ended_locked(h, env->id, u, n, seq);
    pthread_mutex_unlock(&h->lock);
}

/* ---- notes: the thread ---- */

static void note_free(struct history *h, struct note *note)
{
    bool known = map_remove(&h->notes, note_hash(note), note);
    ensure(known);
    list_remove(&note->link);
    h->note_bytes -= sizeof *note + note->n;
    free(note);
}

static void notes_bound(struct history *h, int64_t now_ms)
{
    while (!list_empty(&h->note_ages)) {
        struct note *oldest = LIST_ITEM(list_first(&h->note_ages), struct note, link);
        if (h->note_bytes <= h->work.max / 2 && now_ms - oldest->since_ms < HISTORY_NOTE_LIFE_MS)
            return;
        atomic_fetch_add(&h->notes_dropped, 1);
        note_free(h, oldest);
    }
}

static void note_keep(struct history *h, uint64_t id, uint32_t rcpt, struct span bytes)
{
    struct note_key key = { id, rcpt };
    struct note *old = map_find(&h->notes, note_hash_of(id, rcpt), &key);
    struct note *note = malloc(sizeof *note + bytes.n);
    if (note == NULL) {
        atomic_fetch_add(&h->notes_dropped, 1);
        return;
    }
    if (old != NULL) /* of an attempt whose end did not come to be recorded */
        note_free(h, old);
    *note = (struct note){ .id = id, .rcpt = rcpt, .since_ms = clock_boot_ms(), .n = (uint32_t)bytes.n };
    memcpy(note->bytes, bytes.p, bytes.n);
    if (map_add(&h->notes, note_hash(note), note) != 0) {
        atomic_fetch_add(&h->notes_dropped, 1);
        free(note);
        return;
    }
    list_push_back(&h->note_ages, &note->link);
    h->note_bytes += sizeof *note + note->n;
}

struct history_message history_take_envelope(struct cursor *c)
{
    struct history_message m = { .id = cursor_u64(c) };
    m.arrival_ms = (int64_t)cursor_u64(c);
    m.size = cursor_u64(c);
    m.class = cursor_u8(c);
    m.nrcpts = cursor_u32(c);
    struct span *texts[] = { &m.sender,      &m.account, &m.tenant,   &m.message_id, &m.client_ip,
                             &m.client_name, &m.helo,    &m.protocol, &m.listener };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        *texts[i] = cursor_counted(c);
    return m;
}

static int on_note(struct history *h, struct cursor *c)
{
    struct history_message m = history_take_envelope(c);
    uint32_t n = cursor_u32(c);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t rcpt = cursor_u32(c);
        const char *start = (const char *)c->p;
        for (int k = 0; k < 6; k++)
            cursor_counted(c);
        note_keep(h, m.id, rcpt, span_of(start, (size_t)((const char *)c->p - start)));
    }
    return history_db_put_message(&h->db, &m);
}

/* With a row of the message, of which nothing else is known yet: it is deleted with that. */
static int on_signed(struct history *h, struct cursor *c)
{
    struct history_message m = { .id = cursor_u64(c) };
    m.arrival_ms = (int64_t)cursor_u64(c);
    struct span dkim = cursor_counted(c);
    int err = history_db_put_message(&h->db, &m);
    return err != 0 ? err : history_db_put_signature(&h->db, m.id, dkim);
}

/* Likewise with a row of the message, so that it is deleted with that. */
static int on_step(struct history *h, struct cursor *c)
{
    struct history_message m = { .id = cursor_u64(c) };
    m.arrival_ms = (int64_t)cursor_u64(c);
    struct history_step s = { .rcpt = cursor_u32(c) };
    s.kind = cursor_u8(c);
    s.greylisted = cursor_u8(c) != 0;
    s.attempt = cursor_u16(c);
    s.at_ms = (int64_t)cursor_u64(c);
    s.next_ms = (int64_t)cursor_u64(c);
    struct span *texts[] = { &s.reply, &s.site, &s.mx, &s.mx_ip, &s.source_ip, &s.tls, &s.who };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        *texts[i] = cursor_counted(c);
    int err = history_db_put_message(&h->db, &m);
    return err != 0 ? err : history_db_put_step(&h->db, m.id, &s);
}

static int on_ended(struct history *h, struct cursor *c)
{
    uint64_t id = cursor_u64(c);
    uint64_t seq = cursor_u64(c);
    uint32_t n = cursor_u32(c);
    for (uint32_t i = 0; i < n; i++) {
        struct history_end e = { .id = id, .rcpt = cursor_u32(c) };
        e.state = cursor_u8(c);
        e.attempts = cursor_u16(c);
        e.ended_ms = (int64_t)cursor_u64(c);
        e.reply = cursor_counted(c);
        struct note_key key = { id, e.rcpt };
        struct note *note = map_find(&h->notes, note_hash_of(id, e.rcpt), &key);
        int err = 0;
        if (note != NULL) {
            struct cursor d;
            cursor_init(&d, note->bytes, note->n);
            struct span *texts[] = { &e.address, &e.site, &e.mx, &e.mx_ip, &e.source_ip, &e.tls };
            for (int k = 0; k < 6; k++)
                *texts[k] = cursor_counted(&d);
            list_remove(&note->link);
            list_push_back(&h->note_used, &note->link);
        } else { /* so that it is found by id, and deleted in time */
            struct history_message m = { .id = id, .arrival_ms = e.ended_ms };
            err = history_db_put_message(&h->db, &m);
        }
        if (err == 0)
            err = history_db_put_end(&h->db, &e);
        if (err != 0)
            return err;
    }
    if (seq > h->last_seq)
        h->last_seq = seq;
    return 0;
}

/* ---- a batch: the thread ---- */

/* What is too old or too much goes bit by bit: a batch of this is done in some 20 ms. */
static int clean(struct history *h)
{
    const struct history_config *c = &h->config;
    const int64_t keep_ms[HISTORY_CLASSES] = {
        [HISTORY_CLASS_CLIENTS] = c->keep_clients_ms, [HISTORY_CLASS_REPLIES] = c->keep_replies_ms
    };
    const uint32_t max = PRUNE_LEAST + h->db.rows * 2;
    const int64_t now_ms = clock_wall_ms();
    int done = history_db_prune(&h->db, c->keep_ms != 0 ? now_ms - c->keep_ms : 0, c->keep_bytes, max);
    h->cleaning = done == (int)max;
    for (int i = 0; i < HISTORY_CLASSES && done >= 0; i++) {
        if (keep_ms[i] != 0)
            done = history_db_clear(&h->db, (enum history_class)i, now_ms - keep_ms[i], max);
        h->cleaning |= done == (int)max;
    }
    return done < 0 ? done : 0;
}

static int batch_write(struct history *h)
{
    static int (*const readers[])(struct history *, struct cursor *) = {
        [RECORD_NOTE] = on_note,
        [RECORD_ENDED] = on_ended,
        [RECORD_SIGNED] = on_signed,
        [RECORD_STEP] = on_step,
        [HISTORY_RECORD_CHECKED] = history_on_checked,
        [HISTORY_RECORD_REJECTED] = history_on_rejected,
    };
    struct cursor c;
    int err = history_db_begin(&h->db);
    if (err != 0)
        return err;
    cursor_init(&c, h->work.data, h->work.len);
    while (err == 0 && cursor_left(&c) > 0) {
        uint8_t kind = cursor_u8(&c);
        ensure(kind < sizeof readers / sizeof readers[0] && readers[kind] != NULL);
        err = readers[kind](h, &c);
    }
    ensure(cursor_err(&c) == 0);
    if (err == 0)
        err = clean(h);
    return err != 0 ? err : history_db_commit(&h->db);
}

static int stopping(void *arg)
{
    struct history *h = arg;
    pthread_mutex_lock(&h->lock);
    bool stop = h->stop;
    pthread_mutex_unlock(&h->lock);
    return stop;
}

/* A stop does not wait for it: the next start begins again. */
static int upgrade(struct history *h)
{
    sqlite3_progress_handler(h->db.sql, 100000, stopping, h);
    int err = history_db_upgrade(&h->db);
    if (err == 0)
        sqlite3_progress_handler(h->db.sql, 0, NULL, NULL);
    return err;
}

/* Writes h->work; on an error it stays, to be tried again. */
static int batch(struct history *h)
{
    uint64_t before = h->last_seq;
    int err = h->db.sql == NULL ? history_db_recover(&h->db) : 0;
    if (err == 0 && h->db.old)
        err = upgrade(h);
    if (err == 0)
        err = batch_write(h);
    if (err != 0) {
        history_db_rollback(&h->db);
        history_db_close(&h->db);
        list_splice(&h->note_ages, &h->note_used);
        h->last_seq = before;
        atomic_fetch_add(&h->errors, 1);
        atomic_store(&h->failing, true);
        return err;
    }
    while (!list_empty(&h->note_used))
        note_free(h, LIST_ITEM(list_first(&h->note_used), struct note, link));
    notes_bound(h, clock_boot_ms());
    atomic_store(&h->kept_since_ms, h->db.kept_since_ms);
    atomic_store(&h->old, h->db.old);
    atomic_store(&h->salt, h->db.salt); /* another one after a damaged file was set aside */
    atomic_fetch_add(&h->rows, h->db.rows);
    atomic_fetch_add(&h->batches, h->work.len > 0);
    atomic_store(&h->file_bytes, history_db_bytes(&h->db));
    atomic_store(&h->failing, false);
    buf_reset(&h->work);
    buf_shrink(&h->work, BATCH_BYTES * 2);
    atomic_store(&h->work_bytes, 0);
    return 0;
}

/* The newest seq may still be in the middle of being told (a record that ends recipients of several
 * messages), so it is confirmed once nothing has followed it for a while; those before it at once. */
static void confirm(struct history *h, bool all)
{
    pthread_mutex_lock(&h->lock);
    uint64_t upto = all || h->last_seq == 0 ? h->last_seq : h->last_seq - 1;
    if (h->gap_seq != 0 && upto >= h->gap_seq)
        upto = h->gap_seq - 1;
    pthread_mutex_unlock(&h->lock);
    if (upto <= atomic_load(&h->confirmed_seq))
        return;
    atomic_store(&h->confirmed_seq, upto);
    if (h->config.committed != NULL)
        h->config.committed(h->config.ctx, upto);
}

static bool wait_until(struct history *h, int64_t from_ns, int64_t ms)
{
    return cond_wait_until(&h->wake, &h->lock, from_ns + ms * 1000000) != ETIMEDOUT;
}

/* Waits for a batch's worth of records and takes them. True: nothing came for a while. Under lock. */
static bool gather(struct history *h, bool failing)
{
    int64_t from = clock_mono_ns();
    bool asked = false, more = true;
    if (h->db.old && !failing) /* nothing is taken before it can be written */
        return true;
    while (more && !(asked = h->stop || h->flush_asked != h->flush_done)) {
        if (failing) /* what failed waits in `work`; nothing that comes makes it go better */
            more = wait_until(h, from, RETRY_MS);
        else if (h->fill.len >= BATCH_BYTES)
            break;
        else if (h->fill.len > 0)
            more = wait_until(h, from, BATCH_MS);
        else
            more = wait_until(
                h, from, h->cleaning || h->last_seq > atomic_load(&h->confirmed_seq) ? BATCH_MS : IDLE_MS);
    }
    bool quiet = h->fill.len == 0;
    if (h->work.len == 0 && h->fill.len > 0) {
        struct buf empty = h->work;
        h->work = h->fill;
        h->fill = empty;
        atomic_store(&h->work_bytes, h->work.len);
    }
    return quiet || asked;
}

static void *thread_main(void *arg)
{
    struct history *h = arg;
    bool stop = false, failing = false;
    while (!stop) {
        pthread_mutex_lock(&h->lock);
        bool quiet = gather(h, failing);
        uint64_t flush = h->flush_asked;
        stop = h->stop;
        pthread_mutex_unlock(&h->lock);
        bool retried = failing;
        failing = batch(h) != 0;
        if (!failing)
            confirm(h, quiet && !retried);
        pthread_mutex_lock(&h->lock);
        if (!failing && h->fill.len > 0 && (stop || flush != h->flush_done)) {
            stop = false; /* what came while an earlier batch was tried again */
        } else {
            h->flush_err = failing ? ERR_FAILED : 0;
            h->flush_done = flush;
            pthread_cond_broadcast(&h->flushed);
        }
        pthread_mutex_unlock(&h->lock);
    }
    return NULL;
}

/* ---- start and stop ---- */

static void history_free(struct history *h)
{
    history_db_close(&h->db);
    list_splice(&h->note_ages, &h->note_used);
    while (!list_empty(&h->note_ages))
        note_free(h, LIST_ITEM(list_first(&h->note_ages), struct note, link));
    map_fini(&h->notes);
    buf_fini(&h->fill);
    buf_fini(&h->work);
    free(h->db.path);
    pthread_cond_destroy(&h->wake);
    pthread_cond_destroy(&h->flushed);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

int history_open(const struct history_config *config, struct history **out)
{
    struct history *h = calloc(1, sizeof *h);
    if (h == NULL)
        return -ENOMEM;
    h->config = *config;
    uint64_t bytes = config->queue_bytes != 0 ? config->queue_bytes : QUEUE_BYTES_DEFAULT;
    buf_init(&h->fill, bytes / 2);
    buf_init(&h->work, bytes / 2);
    map_init(&h->notes, note_hash, note_match);
    list_init(&h->note_ages);
    list_init(&h->note_used);
    pthread_mutex_init(&h->lock, NULL);
    cond_init(&h->wake);
    cond_init(&h->flushed);
    h->db.path = strdup(config->path);
    int err = h->db.path == NULL ? -ENOMEM : history_db_open(&h->db);
    if (err == 0) {
        atomic_store(&h->salt, h->db.salt);
        atomic_store(&h->kept_since_ms, h->db.kept_since_ms);
        atomic_store(&h->old, h->db.old);
        atomic_store(&h->file_bytes, history_db_bytes(&h->db));
        err = -pthread_create(&h->thread, NULL, thread_main, h);
    }
    if (err != 0) {
        history_free(h);
        return err;
    }
    *out = h;
    return 0;
}

void history_close(struct history *h)
{
    if (h == NULL)
        return;
    pthread_mutex_lock(&h->lock);
    h->stop = true;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    history_free(h);
}

int history_flush(struct history *h)
{
    pthread_mutex_lock(&h->lock);
    uint64_t mine = ++h->flush_asked;
    pthread_cond_signal(&h->wake);
    while (h->flush_done < mine)
        pthread_cond_wait(&h->flushed, &h->lock);
    int err = h->flush_err;
    pthread_mutex_unlock(&h->lock);
    return err;
}

void history_stats(struct history *h, struct history_stats *out)
{
    pthread_mutex_lock(&h->lock);
    *out = (struct history_stats){
        .queued_bytes = h->fill.len + atomic_load(&h->work_bytes),
        .old = atomic_load(&h->old),
        .behind = h->gap_seq != 0 || atomic_load(&h->failing),
    };
    pthread_mutex_unlock(&h->lock);
    out->rows = atomic_load(&h->rows);
    out->batches = atomic_load(&h->batches);
    out->errors = atomic_load(&h->errors);
    out->notes_dropped = atomic_load(&h->notes_dropped);
    out->file_bytes = atomic_load(&h->file_bytes);
    out->kept_since_ms = atomic_load(&h->kept_since_ms);
    out->committed_seq = atomic_load(&h->confirmed_seq);
}
