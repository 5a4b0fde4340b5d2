/* Senders' records: what became of their mail within the last hour, day and week, as all nodes together
 * report it. Nobody is charged by them: they are for people to look at.
 *
 * Three rings of buckets, each a little longer than its window: 7 of 10 minutes, 13 of 2 hours, 15 of 12
 * hours of cluster time. Only what is not 0 takes memory. A record whose last bucket has left its ring is
 * forgotten, by a command that the leader proposes.
 *
 * Each node numbers its reports, beginning anew with each process: one that comes again, by whatever way,
 * counts once. Bounded by DIRECTORY_RECORDS_MAX accounts: over it, further ones are not counted. From feature
 * level 4 on.
 */
#include "base/ensure.h"
#include "consensus/directory_impl.h"
#include "consensus/record.h"

#include <errno.h>
#include <stdlib.h>

#define RECORD_FEATURE 4
#define MINUTE_MS 60000ull

static const struct {
    uint64_t width_ms;
    uint32_t n;
} rings[DIRECTORY_RECORD_WINDOWS] = {
    [DIRECTORY_RECORD_HOUR] = { 10 * MINUTE_MS, 7 },
    [DIRECTORY_RECORD_DAY] = { 120 * MINUTE_MS, 13 },
    [DIRECTORY_RECORD_WEEK] = { 720 * MINUTE_MS, 15 },
};
#define CELLS_MAX ((7 + 13 + 15) * RECORD_KINDS)

struct cell {
    uint32_t bucket; /* its number since cluster time 0, modulo 2^32 */
    uint32_t count;
    uint8_t ring, kind;
};

struct record {
    struct store_rec rec;
    struct heap_node timer; /* when nothing counts any more */
    uint64_t last_ms;       /* the last report, cluster time */
    uint64_t version;
    struct cell *cells;
    uint32_t ncells, cap;
    uint16_t nname;
    char name[];
};

struct reporter {
    struct store_rec rec;
    uint64_t node, number;
    uint8_t process[16];
};

static struct span name_of(const struct record *r)
{
    return span_of(r->name, r->nname);
}

static struct span record_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return name_of((const struct record *)rec);
}

static void record_encode(const struct store_rec *rec, struct buf *out)
{
    const struct record *r = (const struct record *)rec;
    (void)buf_put_counted(out, name_of(r));
    (void)buf_put_u64(out, r->last_ms);
    (void)buf_put_u64(out, r->version);
    (void)buf_put_u32(out, r->ncells);
    for (uint32_t i = 0; i < r->ncells; i++) {
        const struct cell *c = &r->cells[i];
        (void)buf_put_u8(out, c->ring);
        (void)buf_put_u8(out, c->kind);
        (void)buf_put_u32(out, c->bucket);
        (void)buf_put_u32(out, c->count);
    }
}

static void record_free(struct store_rec *rec)
{
    free(((struct record *)rec)->cells);
    free(rec);
}

static struct record *record_make(struct span name)
{
    struct record *r = calloc(1, sizeof *r + name.n);
    if (r == NULL)
        return NULL;
    r->nname = (uint16_t)name.n;
    memcpy(r->name, name.p, name.n);
    return r;
}

static int record_decode(struct cursor *c, struct store_rec **out)
{
    struct span name = cursor_counted(c);
    uint64_t last_ms = cursor_u64(c), version = cursor_u64(c);
    uint32_t n = cursor_u32(c);
    if (cursor_err(c) != 0)
        return cursor_err(c);
    if (!directory_name_ok(name) || name.n > COMMAND_NAME_MAX || n > CELLS_MAX || last_ms > INT64_MAX / 2)
        return ERR_CORRUPT;
    struct record *r = record_make(name);
    if (r == NULL || (n != 0 && (r->cells = calloc(n, sizeof *r->cells)) == NULL)) {
        free(r);
        return -ENOMEM;
    }
    bool ok = true;
    for (uint32_t i = 0; i < n; i++) {
        struct cell *cell = &r->cells[i];
        cell->ring = cursor_u8(c);
        cell->kind = cursor_u8(c);
        cell->bucket = cursor_u32(c);
        cell->count = cursor_u32(c);
        ok = ok && cell->ring < DIRECTORY_RECORD_WINDOWS && cell->kind < RECORD_KINDS;
    }
    r->ncells = r->cap = n;
    r->last_ms = last_ms;
    r->version = version;
    if (cursor_err(c) != 0 || !ok) {
        record_free(&r->rec);
        return cursor_err(c) != 0 ? cursor_err(c) : ERR_CORRUPT;
    }
    *out = &r->rec;
    return 0;
}

const struct store_type directory_record_type = { 120,           "record",      record_key,
                                                  record_encode, record_decode, record_free };

static struct span reporter_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    return store_number_key(((const struct reporter *)rec)->node, scratch);
}

static void reporter_encode(const struct store_rec *rec, struct buf *out)
{
    const struct reporter *r = (const struct reporter *)rec;
    (void)buf_put_u64(out, r->node);
    (void)buf_put_u64(out, r->number);
    (void)buf_put(out, r->process, sizeof r->process);
}

static void reporter_free(struct store_rec *rec)
{
    free(rec);
}

static int reporter_decode(struct cursor *c, struct store_rec **out)
{
    struct reporter *r = calloc(1, sizeof *r);
    if (r == NULL)
        return -ENOMEM;
    r->node = cursor_u64(c);
    r->number = cursor_u64(c);
    struct span process = cursor_bytes(c, sizeof r->process);
    if (cursor_err(c) != 0) {
        free(r);
        return cursor_err(c);
    }
    memcpy(r->process, process.p, process.n);
    *out = &r->rec;
    return 0;
}

const struct store_type directory_reporter_type = {
    121, "reporter", reporter_key, reporter_encode, reporter_decode, reporter_free
};

/* ---- what is rebuilt: timers, memory --------------------------------------------------------------------
 */

static uint64_t bytes_of(const struct record *r)
{
    enum { AROUND = 80 }; /* its places in store, index and heap, and the allocator's own */
    return sizeof *r + AROUND + r->nname + (uint64_t)r->cap * sizeof *r->cells;
}

static int64_t end_of(const struct record *r)
{
    uint64_t width = rings[DIRECTORY_RECORD_WEEK].width_ms;
    return (int64_t)((r->last_ms / width + rings[DIRECTORY_RECORD_WEEK].n) * width);
}

static int enlist(struct directory *d, struct record *r)
{
    d->record_bytes += bytes_of(r);
    return heap_add(&d->record_ends, &r->timer, end_of(r));
}

void directory_records_init(struct directory *d)
{
    heap_init(&d->record_ends);
    d->record_bytes = 0;
}

void directory_records_fini(struct directory *d)
{
    heap_fini(&d->record_ends);
}

int directory_records_restored(struct machine *m)
{
    directory_records_fini(m->directory);
    directory_records_init(m->directory);
    LIST_EACH(link, store_all(m->store, &directory_record_type))
    {
        int err = enlist(m->directory, LIST_ITEM(link, struct record, rec.link));
        if (err != 0)
            return err;
    }
    return 0;
}

int directory_records_due(struct machine *m, uint64_t now_ms, struct buf *out, uint32_t *n)
{
    struct heap *ends = &m->directory->record_ends;
    struct record *due[DIRECTORY_DUE_MAX];
    uint32_t k = 0;
    int err = 0;
    /* Taken out and put back: what is proposed may be lost, and is proposed again then. */
    for (struct heap_node *t;
         k < DIRECTORY_DUE_MAX && (t = heap_first(ends)) != NULL && t->key <= (int64_t)now_ms;) {
        heap_remove(ends, t);
        due[k++] = HEAP_ITEM(t, struct record, timer);
    }
    for (uint32_t i = 0; i < k; i++) {
        struct record *r = due[i];
        struct command cmd = { .type = COMMAND_RECORD_FORGET,
                               .record_forget = { .account = name_of(r), .entry = r->version } };
        if (err == 0 && (err = command_encode(&cmd, out)) == 0)
            ++*n;
        ensure(heap_add(ends, &r->timer, end_of(r)) == 0); /* there was room a moment ago */
    }
    return err;
}

/* ---- counting -------------------------------------------------------------------------------------------
 */

static uint32_t bucket_of(unsigned ring, uint64_t now_ms)
{
    return (uint32_t)(now_ms / rings[ring].width_ms);
}

static bool counts(const struct cell *c, uint64_t now_ms)
{
    return bucket_of(c->ring, now_ms) - c->bucket < rings[c->ring].n;
}

static void prune(struct record *r, uint64_t now_ms)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->ncells; i++)
        if (counts(&r->cells[i], now_ms))
            r->cells[kept++] = r->cells[i];
    r->ncells = kept;
}

static int count(struct record *r, uint64_t now_ms, uint8_t ring, uint8_t kind, uint32_t n)
{
    uint32_t bucket = bucket_of(ring, now_ms);
    for (uint32_t i = r->ncells; i-- > 0;) {
        struct cell *c = &r->cells[i];
        if (c->ring == ring && c->kind == kind && c->bucket == bucket) {
            c->count = c->count > UINT32_MAX - n ? UINT32_MAX : c->count + n;
            return 0;
        }
    }
    ensure(r->ncells < CELLS_MAX);
    if (r->ncells == r->cap) {
        uint32_t cap = r->cap == 0 ? 3 : r->cap * 2;
        struct cell *cells = realloc(r->cells, cap * sizeof *cells);
        if (cells == NULL)
            return -ENOMEM;
        r->cells = cells;
        r->cap = cap;
    }
    r->cells[r->ncells++] = (struct cell){ .bucket = bucket, .count = n, .ring = ring, .kind = kind };
    return 0;
}

static int fill(struct record *r, const struct machine_at *at, const struct record_counts *in)
{
    r->last_ms = at->now_ms;
    r->version = at->id;
    prune(r, at->now_ms);
    for (uint8_t ring = 0; ring < DIRECTORY_RECORD_WINDOWS; ring++)
        for (uint8_t kind = 0; kind < RECORD_KINDS; kind++) {
            int err = in->count[kind] == 0 ? 0 : count(r, at->now_ms, ring, kind, in->count[kind]);
            if (err != 0)
                return err;
        }
    return 0;
}

int directory_record_add(struct machine *m, const struct machine_at *at, const struct record_counts *in,
                         bool *no_room)
{
    struct directory *d = m->directory;
    struct record *r = (struct record *)store_find(m->store, &directory_record_type, in->account);
    bool new = r == NULL;
    *no_room = new && d->records.len >= DIRECTORY_RECORDS_MAX;
    if (*no_room)
        return 0;
    if (new && (r = record_make(in->account)) == NULL)
        return -ENOMEM;
    if (!new) {
        store_touch(m->store, &r->rec);
        d->record_bytes -= bytes_of(r);
        heap_remove(&d->record_ends, &r->timer);
    }
    int err = fill(r, at, in);
    if (err == 0 && new)
        err = directory_add(m, &d->records, &r->rec);
    if (err != 0) {
        if (new)
            record_free(&r->rec);
        return err;
    }
    return enlist(d, r);
}

/* ---- the commands ---------------------------------------------------------------------------------------
 */

/* ERR_EXISTS: this report was counted already. */
int directory_record_number(struct machine *m, uint64_t node, const uint8_t process[16], uint64_t number)
{
    char scratch[8];
    struct reporter *r =
        (struct reporter *)store_find(m->store, &directory_reporter_type, store_number_key(node, scratch));
    if (r != NULL && memcmp(r->process, process, sizeof r->process) == 0 && number <= r->number)
        return ERR_EXISTS;
    bool new = r == NULL;
    if (new && (r = calloc(1, sizeof *r)) == NULL)
        return -ENOMEM;
    if (!new)
        store_touch(m->store, &r->rec);
    r->node = node;
    memcpy(r->process, process, sizeof r->process);
    r->number = number;
    int err = new ? store_add(m->store, &directory_reporter_type, &r->rec) : 0;
    if (err != 0)
        free(r);
    return err;
}

void directory_reporter_drop(struct machine *m, uint64_t node)
{
    char scratch[8];
    struct store_rec *rec = store_find(m->store, &directory_reporter_type, store_number_key(node, scratch));
    if (rec != NULL)
        store_remove(m->store, rec);
}

static int check(const struct machine *m, struct span items)
{
    bool spam = directory_features(m) >= RECORD_SPAM_FEATURE;
    struct record_counts in;
    struct cursor c;
    int more;
    cursor_init(&c, items.p, items.n);
    while ((more = record_counts_next(&c, &in)) == 1)
        if (in.account.n > COMMAND_NAME_MAX || !directory_name_ok(in.account) ||
            (in.count[RECORD_SPAM] != 0 && !spam))
            return ERR_BAD;
    return more;
}

int directory_record_report(struct machine *m, const struct machine_at *at, const struct command *cmd,
                            struct machine_result *r)
{
    const struct command_record_report *c = &cmd->record_report;
    uint64_t node = directory_asker(m, cmd);
    if (directory_features(m) < RECORD_FEATURE)
        return REFUSE(r, ERR_DENIED, "the cluster's feature level is %u, senders' records need %d",
                      directory_features(m), RECORD_FEATURE);
    if (!directory_member_is_present(directory_member_get(m, node)))
        return REFUSE(r, ERR_DENIED, "only a member reports");
    if (check(m, c->counts) != 0)
        return REFUSE(r, ERR_BAD, "a report that cannot be read");
    int err = directory_record_number(m, node, c->process, c->number);
    if (err == ERR_EXISTS)
        return 0;
    struct record_counts in;
    struct cursor cur;
    cursor_init(&cur, c->counts.p, c->counts.n);
    while (err == 0 && record_counts_next(&cur, &in) == 1) {
        bool no_room = false;
        err = directory_record_add(m, at, &in, &no_room);
        r->count += no_room;
    }
    return err;
}

int directory_record_forget(struct machine *m, const struct machine_at *at, const struct command *cmd,
                            struct machine_result *r)
{
    const struct command_record_forget *c = &cmd->record_forget;
    struct directory *d = m->directory;
    (void)at;
    (void)r;
    struct record *rec = (struct record *)store_find(m->store, &directory_record_type, c->account);
    if (rec == NULL || rec->version != c->entry)
        return 0;
    d->record_bytes -= bytes_of(rec);
    heap_remove(&d->record_ends, &rec->timer);
    directory_sender_drop(m, c->account);
    directory_drop(m, &d->records, &rec->rec);
    return 0;
}

/* ---- readers --------------------------------------------------------------------------------------------
 */

static void view(const struct machine *m, const struct record *r, struct directory_record *out)
{
    uint64_t now_ms = machine_now_ms(m);
    *out = (struct directory_record){ .account = name_of(r), .version = r->version };
    for (uint32_t i = 0; i < r->ncells; i++)
        if (counts(&r->cells[i], now_ms))
            out->counts[r->cells[i].ring][r->cells[i].kind] += r->cells[i].count;
}

bool directory_record_find(const struct machine *m, struct span account, struct directory_record *out)
{
    const struct record *r = (const struct record *)store_find(m->store, &directory_record_type, account);
    if (r != NULL)
        view(m, r, out);
    return r != NULL;
}

uint64_t directory_record_usual(const struct machine *m, struct span account, uint8_t kind, uint64_t until_ms)
{
    enum { BUCKETS = 15, LATELY = 3 }; /* a day is in so many buckets of half a day, with the one that runs */
    uint64_t half[BUCKETS] = { 0 }, most = 0;
    const struct record *r = (const struct record *)store_find(m->store, &directory_record_type, account);
    uint32_t now = bucket_of(DIRECTORY_RECORD_WEEK, machine_now_ms(m));
    uint32_t until = now - bucket_of(DIRECTORY_RECORD_WEEK, until_ms); /* buckets ago */
    for (uint32_t i = 0; r != NULL && i < r->ncells; i++) {
        const struct cell *c = &r->cells[i];
        if (c->ring == DIRECTORY_RECORD_WEEK && c->kind == kind && now - c->bucket < BUCKETS)
            half[now - c->bucket] += c->count;
    }
    for (uint32_t i = until > LATELY ? until + 1 : LATELY; i + 1 < BUCKETS; i++)
        most = half[i] + half[i + 1] > most ? half[i] + half[i + 1] : most;
    return most;
}

int directory_record_each(const struct machine *m, struct span after, directory_record_fn *fn, void *arg)
{
    struct directory_place at = directory_index_after(&m->directory->records, after);
    int stop = 0;
    for (const struct store_rec *rec;
         stop == 0 && (rec = directory_index_next(&m->directory->records, &at)) != NULL;) {
        struct directory_record v;
        view(m, (const struct record *)rec, &v);
        stop = fn(arg, &v);
    }
    return stop;
}

uint64_t directory_record_sum(const struct directory_record *r, enum directory_record_window w, uint8_t from,
                              uint8_t to)
{
    uint64_t sum = 0;
    for (unsigned kind = from; kind < to; kind++)
        sum += r->counts[w][kind];
    return sum;
}
