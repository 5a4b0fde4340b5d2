/* Which rows may be meant: see history_find.h.
 *
 * Each thing asked for has an index that leads with the stretch, and holds the ids besides. What the most
 * telling one gives is cut down by the others, as long as it is much: reading an index costs less than
 * reading rows. What is left is read and checked by history_query.c. A list is as long as a stretch at most;
 * when ids come out of order a stretch may grow beyond its usual size, and PLACES_MAX bounds what is asked of
 * it.
 */
#include "node/telemetry/history_find.h"

#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define PLACES_MAX (1u << 20)
_Static_assert(RCPT_DELIVERED == 2, "the index recipient_state leaves it out");

#define FEW 128 /* so many rows are read sooner than another index */

/* ---- places ---- */

static int descending(uint64_t a, uint64_t b)
{
    return (a < b) - (a > b);
}

int history_place_compare(const struct history_place *a, const struct history_place *b)
{
    int d = descending(spool_id_public(a->id), spool_id_public(b->id));
    return d != 0 ? d : descending(a->rcpt, b->rcpt);
}

static int compare(const void *x, const void *y)
{
    const struct history_place *a = x, *b = y;
    int d = history_place_compare(a, b);
    return d != 0 ? d : descending(a->id, b->id);
}

static int add(struct history_places *l, uint64_t id, uint32_t rcpt)
{
    if (l->n == PLACES_MAX)
        return ERR_LIMIT;
    if (l->n == l->cap) {
        uint32_t cap = l->cap == 0 ? 256 : l->cap * 2;
        struct history_place *p = realloc(l->p, cap * sizeof *p);
        if (p == NULL)
            return -ENOMEM;
        l->p = p;
        l->cap = cap;
    }
    l->p[l->n++] = (struct history_place){ id, rcpt };
    return 0;
}

/* Most come in ascending order, as an index holds them under one key. */
static void sort(struct history_places *l)
{
    uint32_t i = 1;
    while (i < l->n && compare(&l->p[i - 1], &l->p[i]) > 0)
        i++;
    if (i < l->n) {
        qsort(l->p, l->n, sizeof *l->p, compare);
        return;
    }
    for (i = 0; i < l->n / 2; i++) {
        struct history_place t = l->p[i];
        l->p[i] = l->p[l->n - 1 - i];
        l->p[l->n - 1 - i] = t;
    }
}

static int compare_id(const void *x, const void *y)
{
    const struct history_place *a = x, *b = y;
    int d = descending(spool_id_public(a->id), spool_id_public(b->id));
    return d != 0 ? d : descending(a->id, b->id);
}

static int compare_message(const void *x, const void *y)
{
    return compare_id(x, y);
}

/* Leaves in `a` what is of a message that is in `b`, too. When only b names recipients, these are taken. */
static void intersect(struct history_places *a, struct history_places *b)
{
    uint32_t n = 0;
    if (b->rcpts && !a->rcpts) {
        struct history_places t = *a;
        *a = *b;
        *b = t;
    }
    if (b->rcpts) /* recipients of a message with several hops are not in order of the id alone */
        qsort(b->p, b->n, sizeof *b->p, compare_message);
    for (uint32_t i = 0; i < a->n; i++)
        if (bsearch(&a->p[i], b->p, b->n, sizeof *b->p, compare_id) != NULL)
            a->p[n++] = a->p[i];
    a->n = n;
}

/* ---- conditions ---- */

int history_find_failed(const struct history_find *f)
{
    if (sqlite3_errcode(f->sql) == SQLITE_INTERRUPT)
        return ERR_TIMEOUT;
    log_error("history", "a query failed: %s", sqlite3_errmsg(f->sql));
    return ERR_FAILED;
}

static int prepare(struct history_find *f, sqlite3_stmt **stmt, const char *text)
{
    return sqlite3_prepare_v2(f->sql, text, -1, stmt, NULL) == SQLITE_OK ? 0 : history_find_failed(f);
}

static int add_condition(struct history_find *f, struct history_condition c, const char *text)
{
    int err = prepare(f, &c.stmt, text);
    if (err == 0)
        f->by[f->n++] = c;
    return err;
}

static bool is_domain(struct span address)
{
    return address.n > 0 && address.p[0] == '@';
}

/* "@domain" as a range of keys, an address as one. As they are stored: with a sign. */
static struct history_condition address_range(const struct history_find *f, struct span text)
{
    uint32_t low, high;
    if (is_domain(text)) {
        low = history_key_domain(f->salt, span_sub(text, 1));
        high = low | UINT16_MAX;
    } else {
        bool null = span_eq(text, SPAN_LIT("<>"));
        low = high = history_key_address(f->salt, null ? SPAN_LIT("") : text);
    }
    return (struct history_condition){ .low = (int32_t)low, .high = (int32_t)high };
}

static struct history_condition text_range(const struct history_find *f, struct span text)
{
    int32_t key = (int32_t)history_key_text(f->salt, text);
    return (struct history_condition){ .low = key, .high = key };
}

static int add_recipient(struct history_find *f)
{
    struct history_condition c = address_range(f, f->ask->recipient);
    c.rcpts = true;
    return add_condition(f, c, "SELECT id, rcpt FROM recipient WHERE stretch=?1 AND key BETWEEN ?2 AND ?3");
}

static int add_sender(struct history_find *f)
{
    return add_condition(f, address_range(f, f->ask->sender),
                         "SELECT id FROM message WHERE stretch=?1 AND sender_key BETWEEN ?2 AND ?3");
}

/* Equal texts lie side by side, as equal keys do. */
static int add_tenant(struct history_find *f)
{
    struct history_condition c = { .tenant = true };
    return add_condition(f, c, "SELECT id FROM message WHERE stretch=?1 AND tenant=?2");
}

/* Without a time asked for: all. */
static int add_arrival(struct history_find *f)
{
    struct history_condition c = { .low = INT64_MIN, .high = INT64_MAX, .arrival = true };
    if (f->ask->since_ms > 0)
        c.low = f->ask->since_ms;
    if (f->ask->until_ms != 0)
        c.high = f->ask->until_ms - 1;
    return add_condition(f, c, "SELECT id FROM message WHERE stretch=?1 AND arrival BETWEEN ?2 AND ?3");
}

/* What was not delivered has an index of its own; what was is most of everything. */
static bool states_tell(const struct history_query *a)
{
    return a->states != 0 && (a->states >> RCPT_DELIVERED & 1) == 0;
}

static int add_states(struct history_find *f)
{
    struct history_condition c = { .low = INT64_MAX, .rcpts = true, .states = true };
    for (int s = 0; s < 32; s++) {
        if ((f->ask->states >> s & 1) == 0)
            continue;
        c.low = c.low < s ? c.low : s;
        c.high = s;
    }
    return add_condition(f, c,
                         "SELECT id, rcpt, state FROM recipient WHERE state<>2 AND stretch=?1"
                         " AND state BETWEEN ?2 AND ?3");
}

/* The most telling first. */
static int conditions(struct history_find *f)
{
    const struct history_query *a = f->ask;
    const bool rcpt = a->recipient.n > 0, sender = a->sender.n > 0;
    int err = 0;
    if (a->message_id.n > 0)
        err = add_condition(f, text_range(f, a->message_id),
                            "SELECT id FROM message WHERE stretch=?1 AND message_key BETWEEN ?2 AND ?3");
    if (err == 0 && rcpt && !is_domain(a->recipient))
        err = add_recipient(f);
    if (err == 0 && sender && !is_domain(a->sender))
        err = add_sender(f);
    if (err == 0 && states_tell(a))
        err = add_states(f);
    if (err == 0 && a->account.n > 0)
        err = add_condition(f, text_range(f, a->account),
                            "SELECT id FROM message WHERE stretch=?1 AND account_key BETWEEN ?2 AND ?3");
    if (err == 0 && rcpt && is_domain(a->recipient))
        err = add_recipient(f);
    if (err == 0 && sender && is_domain(a->sender))
        err = add_sender(f);
    if (err == 0 && a->tenant.n > 0)
        err = add_tenant(f);
    if (err == 0)
        err = add_arrival(f);
    f->ready = err == 0;
    return err;
}

/* ---- lists ---- */

static bool follows(const struct history_find *f, uint64_t id, uint32_t rcpt, bool rcpts)
{
    const struct history_query *a = f->ask;
    if (!a->after)
        return true;
    uint64_t is = spool_id_public(id), than = spool_id_public(a->after_id);
    return is < than || (is == than && (!rcpts || rcpt < a->after_rcpt));
}

static int list(struct history_find *f, const struct history_condition *c, int64_t stretch,
                struct history_places *out)
{
    int code, err = 0;
    out->n = 0;
    out->rcpts = c->rcpts;
    sqlite3_bind_int64(c->stmt, 1, stretch);
    if (c->tenant) {
        sqlite3_bind_text(c->stmt, 2, f->ask->tenant.p, (int)f->ask->tenant.n, SQLITE_STATIC);
    } else {
        sqlite3_bind_int64(c->stmt, 2, c->low);
        sqlite3_bind_int64(c->stmt, 3, c->high);
    }
    while (err == 0 && (code = sqlite3_step(c->stmt)) != SQLITE_DONE) {
        if (code != SQLITE_ROW) {
            err = history_find_failed(f);
            break;
        }
        uint64_t id = (uint64_t)sqlite3_column_int64(c->stmt, 0);
        uint32_t rcpt = c->rcpts ? (uint32_t)sqlite3_column_int64(c->stmt, 1) : 0;
        if (c->states && (f->ask->states >> sqlite3_column_int(c->stmt, 2) & 1) == 0)
            continue;
        if (follows(f, id, rcpt, c->rcpts))
            err = add(out, id, rcpt);
    }
    sqlite3_reset(c->stmt);
    sort(out);
    return err;
}

static bool of_use(const struct history_find *f, const struct history_condition *c,
                   const struct history_stretch *s, bool first)
{
    const struct history_query *a = f->ask;
    return !c->arrival || first || s->first_ms < a->since_ms ||
           (a->until_ms != 0 && s->last_ms >= a->until_ms);
}

int history_find_stretch(struct history_find *f, const struct history_stretch *s, struct history_places *out)
{
    bool first = true;
    int err = f->ready ? 0 : conditions(f);
    for (uint32_t i = 0; i < f->n && err == 0 && (first || out->n > FEW); i++) {
        const struct history_condition *c = &f->by[i];
        if (!of_use(f, c, s, first))
            continue;
        err = list(f, c, s->seq, first ? out : &f->other);
        if (err == 0 && !first)
            intersect(out, &f->other);
        first = false;
    }
    return err;
}

static int recipients(struct history_find *f, uint64_t id, struct history_places *out)
{
    static const char text[] = "SELECT rcpt FROM recipient WHERE id=?1";
    int code = SQLITE_DONE, err = f->of_message == NULL ? prepare(f, &f->of_message, text) : 0;
    if (err != 0)
        return err;
    sqlite3_bind_int64(f->of_message, 1, (int64_t)id);
    while (err == 0 && (code = sqlite3_step(f->of_message)) == SQLITE_ROW) {
        uint32_t rcpt = (uint32_t)sqlite3_column_int64(f->of_message, 0);
        if (follows(f, id, rcpt, true))
            err = add(out, id, rcpt);
    }
    sqlite3_reset(f->of_message);
    return err == 0 && code != SQLITE_DONE ? history_find_failed(f) : err;
}

int history_find_group(struct history_find *f, const struct history_places *messages, uint32_t *at,
                       struct history_places *out)
{
    uint64_t id = spool_id_public(messages->p[*at].id);
    int err = 0;
    out->n = 0;
    out->rcpts = true;
    for (; *at < messages->n && spool_id_public(messages->p[*at].id) == id && err == 0; ++*at)
        err = recipients(f, messages->p[*at].id, out);
    sort(out);
    return err;
}

int history_find_id(struct history_find *f, struct history_places *out)
{
    uint64_t id = spool_id_public(f->ask->id);
    int err = 0;
    out->n = 0;
    out->rcpts = true;
    for (uint64_t hop = 0; hop <= SPOOL_ID_HOPS_MAX && err == 0; hop++)
        err = recipients(f, id | hop << SPOOL_ID_HOP_SHIFT, out);
    sort(out);
    return err;
}

void history_find_fini(struct history_find *f)
{
    for (uint32_t i = 0; i < f->n; i++)
        sqlite3_finalize(f->by[i].stmt);
    sqlite3_finalize(f->of_message);
    free(f->other.p);
}
