/* What remote sites answered to each source address: see source_record.h. */
#include "node/core/source_record.h"

#include "base/ensure.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SLICES 8         /* of a window: what is older than seven eighths of it goes in steps of one */
#define JUDGED_SLICES 16 /* of the time that rules look at */
#define SITE_MAX 512     /* bytes of a site's name that tell it from others */

static const int64_t window_ms[SOURCE_WINDOWS] = { 3600000, 86400000 };

/* A window's slices: the newest is number `slice`, at slice % SLICES. */
struct ring {
    int64_t slice;
    uint32_t n[SLICES][SOURCE_OUTCOMES];
};

/* Only rows that met a refusal have it. */
struct refusals {
    uint32_t meant[SOURCE_WINDOWS][SLICES][2][BOUNCE_CLASSES];
    int64_t reply_ms;
    size_t nreply;
    char reply[SOURCE_RECORD_REPLY_MAX];
};

struct judged {
    int64_t slice_ms, slice;
    uint32_t answered[JUDGED_SLICES], against[JUDGED_SLICES];
};

struct row {
    struct list link; /* the one that is longest unused is first */
    struct ip_addr addr;
    struct ring windows[SOURCE_WINDOWS];
    struct refusals *refusals; /* NULL: none yet */
    struct judged *judged;     /* NULL: no rules yet */
    size_t nsite;
    char site[];
};

struct source_records {
    pthread_mutex_t lock;
    struct map map;
    struct list rows;
    uint32_t max;
    uint64_t forgotten;
};

struct name {
    const struct ip_addr *addr;
    struct span site;
};

static uint64_t name_hash(const struct name *name)
{
    return hash_bytes(name->site.p, name->site.n) ^ hash_u64(ip_addr_hash(name->addr));
}

static uint64_t row_hash(const void *item)
{
    const struct row *w = item;
    return name_hash(&(struct name){ &w->addr, span_of(w->site, w->nsite) });
}

static bool row_match(const void *item, const void *key)
{
    const struct row *w = item;
    const struct name *name = key;
    return ip_addr_eq(&w->addr, name->addr) && span_eq(span_of(w->site, w->nsite), name->site);
}

struct source_records *source_records_new(uint32_t rows_max)
{
    struct source_records *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    ensure(rows_max > 0);
    pthread_mutex_init(&r->lock, NULL);
    map_init(&r->map, row_hash, row_match);
    list_init(&r->rows);
    r->max = rows_max;
    return r;
}

static void drop(struct source_records *r, struct row *w)
{
    ensure(map_remove(&r->map, row_hash(w), w));
    list_remove(&w->link);
    free(w->refusals);
    free(w->judged);
    free(w);
}

void source_records_free(struct source_records *r)
{
    if (r == NULL)
        return;
    LIST_EACH_SAFE(link, &r->rows)
    drop(r, LIST_ITEM(link, struct row, link));
    map_fini(&r->map);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static struct name name_of(const struct ip_addr *addr, struct span site)
{
    return (struct name){ addr, span_of(site.p, site.n < SITE_MAX ? site.n : SITE_MAX) };
}

/* NULL: no memory. */
static struct row *get(struct source_records *r, const struct name *name)
{
    uint64_t hash = name_hash(name);
    struct row *w = map_find(&r->map, hash, name);
    if (w != NULL) {
        list_remove(&w->link);
        list_push_back(&r->rows, &w->link);
        return w;
    }
    if (r->map.len >= r->max) {
        drop(r, LIST_ITEM(list_first(&r->rows), struct row, link));
        r->forgotten++;
    }
    w = calloc(1, sizeof *w + name->site.n);
    if (w == NULL)
        return NULL;
    w->addr = *name->addr;
    w->nsite = name->site.n;
    if (w->nsite > 0)
        memcpy(w->site, name->site.p, w->nsite);
    if (map_add(&r->map, hash, w) != 0) {
        free(w);
        return NULL;
    }
    list_push_back(&r->rows, &w->link);
    return w;
}

/* ---- windows ------------------------------------------------------------------------------------------- */

static int64_t slice_of(int w, int64_t now_ms)
{
    return now_ms / (window_ms[w] / SLICES);
}

static void turn(struct row *row, int w, int64_t slice)
{
    struct ring *ring = &row->windows[w];
    if (slice < ring->slice || slice - ring->slice >= SLICES) {
        memset(ring->n, 0, sizeof ring->n);
        if (row->refusals != NULL)
            memset(row->refusals->meant[w], 0, sizeof row->refusals->meant[w]);
        ring->slice = slice;
    }
    while (ring->slice < slice) {
        ring->slice++;
        memset(ring->n[ring->slice % SLICES], 0, sizeof ring->n[0]);
        if (row->refusals != NULL)
            memset(row->refusals->meant[w][ring->slice % SLICES], 0, sizeof row->refusals->meant[w][0]);
    }
}

static void count(struct row *row, const struct source_answer *a, int64_t now_ms)
{
    if (a->outcome != SOURCE_DELIVERED && row->refusals == NULL)
        row->refusals = calloc(1, sizeof *row->refusals);
    struct refusals *f = a->outcome == SOURCE_DELIVERED ? NULL : row->refusals;
    for (int w = 0; w < SOURCE_WINDOWS; w++) {
        int64_t slice = slice_of(w, now_ms);
        turn(row, w, slice);
        row->windows[w].n[slice % SLICES][a->outcome] += a->n;
        if (f != NULL)
            f->meant[w][slice % SLICES][a->outcome - SOURCE_DEFERRED][a->class] += a->n;
    }
    if (f == NULL)
        return;
    f->reply_ms = now_ms;
    f->nreply = a->reply.n < sizeof f->reply ? a->reply.n : sizeof f->reply;
    if (f->nreply > 0)
        memcpy(f->reply, a->reply.p, f->nreply);
}

/* ---- judging ------------------------------------------------------------------------------------------- */

static void turn_judged(struct judged *j, const struct reputation_rest *rules, int64_t now_ms)
{
    int64_t slice_ms = rules->within_ms / JUDGED_SLICES > 0 ? rules->within_ms / JUDGED_SLICES : 1;
    int64_t slice = now_ms / slice_ms;
    if (j->slice_ms != slice_ms || slice < j->slice || slice - j->slice >= JUDGED_SLICES)
        *j = (struct judged){ .slice_ms = slice_ms, .slice = slice };
    while (j->slice < slice) {
        j->slice++;
        j->answered[j->slice % JUDGED_SLICES] = j->against[j->slice % JUDGED_SLICES] = 0;
    }
}

static void count_judged(struct row *row, const struct source_answer *a, const struct reputation_rest *rules,
                         int64_t now_ms)
{
    if (a->outcome != SOURCE_DELIVERED && a->class == BOUNCE_GREYLIST)
        return;
    if (row->judged == NULL && (row->judged = calloc(1, sizeof *row->judged)) == NULL)
        return;
    struct judged *j = row->judged;
    turn_judged(j, rules, now_ms);
    j->answered[j->slice % JUDGED_SLICES] += a->n;
    if (a->outcome != SOURCE_DELIVERED && (rules->classes >> a->class & 1) != 0)
        j->against[j->slice % JUDGED_SLICES] += a->n;
}

void source_record_add(struct source_records *r, const struct ip_addr *addr, struct span site,
                       const struct source_answer *answer, const struct reputation_rest *rules,
                       int64_t now_ms)
{
    struct name name = name_of(addr, site);
    pthread_mutex_lock(&r->lock);
    struct row *row = get(r, &name);
    if (row != NULL) {
        count(row, answer, now_ms);
        if (rules != NULL && rules->enabled)
            count_judged(row, answer, rules, now_ms);
    }
    pthread_mutex_unlock(&r->lock);
}

void source_record_judge(struct source_records *r, const struct ip_addr *addr, struct span site,
                         const struct reputation_rest *rules, int64_t now_ms, struct source_judged *out)
{
    struct name name = name_of(addr, site);
    pthread_mutex_lock(&r->lock);
    struct row *row = map_find(&r->map, name_hash(&name), &name);
    struct judged *j = row == NULL ? NULL : row->judged;
    if (j != NULL)
        turn_judged(j, rules, now_ms);
    for (int i = 0; j != NULL && i < JUDGED_SLICES; i++) {
        out->answered += j->answered[i];
        out->against += j->against[i];
    }
    pthread_mutex_unlock(&r->lock);
}

void source_record_renew(struct source_records *r, const struct ip_addr *addr, struct span site)
{
    struct name name = name_of(addr, site);
    pthread_mutex_lock(&r->lock);
    struct row *row = map_find(&r->map, name_hash(&name), &name);
    if (row != NULL && row->judged != NULL)
        *row->judged = (struct judged){ 0 };
    pthread_mutex_unlock(&r->lock);
}

/* ---- looking ------------------------------------------------------------------------------------------- */

static void add_up(struct row *row, int w, int64_t now_ms, struct source_counts *out)
{
    turn(row, w, slice_of(w, now_ms));
    for (int s = 0; s < SLICES; s++) {
        for (int i = 0; i < SOURCE_OUTCOMES; i++)
            out->n[i] += row->windows[w].n[s][i];
        for (int k = 0; row->refusals != NULL && k < 2 * BOUNCE_CLASSES; k++)
            out->meant[k / BOUNCE_CLASSES][k % BOUNCE_CLASSES] +=
                row->refusals->meant[w][s][k / BOUNCE_CLASSES][k % BOUNCE_CLASSES];
    }
}

void source_record_each(struct source_records *r, const struct ip_addr *addr, int64_t now_ms,
                        source_row_fn *fn, void *ctx)
{
    pthread_mutex_lock(&r->lock);
    LIST_EACH(link, &r->rows)
    {
        struct row *row = LIST_ITEM(link, struct row, link);
        if (!ip_addr_eq(&row->addr, addr))
            continue;
        struct source_row out = { .addr = row->addr, .site = span_of(row->site, row->nsite) };
        for (int w = 0; w < SOURCE_WINDOWS; w++)
            add_up(row, w, now_ms, &out.windows[w]);
        if (row->refusals != NULL) {
            out.reply = span_of(row->refusals->reply, row->refusals->nreply);
            out.reply_ms = row->refusals->reply_ms;
        }
        fn(ctx, &out);
    }
    pthread_mutex_unlock(&r->lock);
}

uint32_t source_records_count(struct source_records *r)
{
    pthread_mutex_lock(&r->lock);
    uint32_t n = (uint32_t)r->map.len;
    pthread_mutex_unlock(&r->lock);
    return n;
}

uint64_t source_records_forgotten(struct source_records *r)
{
    pthread_mutex_lock(&r->lock);
    uint64_t n = r->forgotten;
    pthread_mutex_unlock(&r->lock);
    return n;
}
