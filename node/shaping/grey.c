/* What is known of sites that greylist: see grey.h.
 *
 * The file has a line for each site: too short, long enough (s; 0: not known), hints, refusals, when it was
 * met last, since when it never ends (ms; 0: it does), name.
 */
#include "node/shaping/grey.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_MS (INT64_C(90) * 86400000) /* what was not met for so long is not read again */
#define LINE_BYTES 512
#define PROBE_EVERY 8      /* messages of a site: one is tried halfway between too short and long enough, */
#define PROBE_GAP_MS 60000 /* while there is more than this between them */
#define RETRY_MIN_MS 30000 /* after a wait that should have been enough */

struct site {
    struct list link;  /* by use, oldest first */
    int64_t short_ms;  /* the longest wait that was refused, 0: none */
    int64_t passed_ms; /* the shortest above it that was enough; 0: none */
    int64_t met_ms, endless_ms;
    uint32_t hints, refusals;
    bool sure; /* a reply said so */
    char name[];
};

struct grey {
    pthread_mutex_t lock;
    struct map map; /* the rest: under the lock */
    struct list by_use;
    bool changed;
    char *file;
};

static uint64_t site_hash(const void *item)
{
    return hash_bytes(((const struct site *)item)->name, strlen(((const struct site *)item)->name));
}

static bool site_match(const void *item, const void *key)
{
    return span_eq(span_str(((const struct site *)item)->name), *(const struct span *)key);
}

static struct site *find(struct grey *g, struct span name)
{
    return map_find(&g->map, hash_bytes(name.p, name.n), &name);
}

static void drop(struct grey *g, struct site *s)
{
    (void)map_remove(&g->map, site_hash(s), s);
    list_remove(&s->link);
    free(s);
}

/* NULL: it cannot be kept. */
static struct site *get(struct grey *g, struct span name, int64_t now_ms)
{
    struct site *s = find(g, name);
    if (s == NULL) {
        bool plain = name.n > 0 && name.n <= GREY_SITE_MAX;
        for (size_t i = 0; plain && i < name.n; i++)
            plain = name.p[i] > ' ' && name.p[i] != 0x7f;
        if (!plain || (s = calloc(1, sizeof *s + name.n + 1)) == NULL)
            return NULL;
        memcpy(s->name, name.p, name.n);
        if (map_add(&g->map, site_hash(s), s) != 0) {
            free(s);
            return NULL;
        }
        struct list *oldest = list_first(&g->by_use);
        if (g->map.len > GREY_SITES_MAX && oldest != NULL)
            drop(g, LIST_ITEM(oldest, struct site, link));
    }
    list_remove(&s->link);
    list_push_back(&g->by_use, &s->link);
    s->met_ms = now_ms;
    g->changed = true;
    return s;
}

static bool greylists(const struct site *s)
{
    return s->sure || s->hints >= GREY_HINTS;
}

/* ---- learning -------------------------------------------------------------------------------------------
 */

static int64_t usual_wait(struct site *s, const struct grey_refusal *r)
{
    int64_t wait = s->passed_ms != 0 ? s->passed_ms : r->usual_ms;
    if (s->passed_ms == 0 && s->short_ms + s->short_ms / 2 > wait)
        wait = s->short_ms + s->short_ms / 2;
    if (r->waited_ms == 0 && s->passed_ms - s->short_ms > PROBE_GAP_MS && s->refusals % PROBE_EVERY == 0)
        wait = s->short_ms + (s->passed_ms - s->short_ms) / 2;
    return wait < GREY_WAIT_MAX_MS ? wait : GREY_WAIT_MAX_MS;
}

static void learn_refusal(struct site *s, const struct grey_refusal *r)
{
    s->refusals += r->waited_ms == 0;
    if (r->waited_ms > s->short_ms)
        s->short_ms = r->waited_ms;
    if (s->short_ms >= s->passed_ms)
        s->passed_ms = 0; /* it is longer by now */
}

void grey_refused(struct grey *g, const struct grey_refusal *r, int64_t now_ms, struct grey_verdict *out)
{
    *out = (struct grey_verdict){ .greylisted = r->sure,
                                  .wait_ms = r->stated_ms != 0 ? r->stated_ms : r->usual_ms };
    pthread_mutex_lock(&g->lock);
    /* One that was only deferred makes no site known: very many are, for other reasons. */
    struct site *s = r->sure ? get(g, r->site, now_ms) : find(g, r->site);
    if (s != NULL && !r->sure && r->attempts > 1 && s->hints > 0) {
        s->hints--;
        g->changed = true;
    }
    if (s != NULL && (r->sure || (greylists(s) && r->attempts == 1))) {
        s->sure = s->sure || r->sure;
        out->greylisted = true;
        learn_refusal(s, r);
        if (r->stated_ms == 0) {
            int64_t left = usual_wait(s, r) - r->waited_ms;
            out->wait_ms = left > RETRY_MIN_MS || r->waited_ms == 0 ? left : RETRY_MIN_MS;
        }
        if (s->endless_ms == 0 && (r->attempts >= GREY_ENDLESS_TRIES || r->waited_ms >= GREY_ENDLESS_MS)) {
            s->endless_ms = now_ms;
            out->endless = true;
        }
    }
    pthread_mutex_unlock(&g->lock);
}

bool grey_passed(struct grey *g, struct span site, bool sure, uint32_t attempts, int64_t waited_ms,
                 int64_t now_ms)
{
    pthread_mutex_lock(&g->lock);
    struct site *s = sure || attempts == 2 ? get(g, site, now_ms) : find(g, site);
    bool ended = s != NULL && s->endless_ms != 0;
    if (s != NULL) {
        s->endless_ms = 0;
        s->hints += !sure && attempts == 2 && s->hints < GREY_HINTS;
        if (waited_ms > 0 && (s->passed_ms == 0 || waited_ms < s->passed_ms))
            s->passed_ms = waited_ms < GREY_WAIT_MAX_MS ? waited_ms : GREY_WAIT_MAX_MS;
        if (s->short_ms >= s->passed_ms)
            s->short_ms = 0; /* it is shorter by now */
        g->changed = true;
    }
    pthread_mutex_unlock(&g->lock);
    return ended;
}

void grey_count(struct grey *g, struct grey_counts *out)
{
    *out = (struct grey_counts){ 0 };
    pthread_mutex_lock(&g->lock);
    LIST_EACH(link, &g->by_use)
    {
        const struct site *s = LIST_ITEM(link, struct site, link);
        out->sites += greylists(s);
        out->endless += s->endless_ms != 0;
        if (s->endless_ms != 0)
            snprintf(out->example, sizeof out->example, "%s", s->name);
    }
    pthread_mutex_unlock(&g->lock);
}

/* ---- the file -------------------------------------------------------------------------------------------
 */

bool grey_changed(struct grey *g)
{
    pthread_mutex_lock(&g->lock);
    bool changed = g->changed && g->file != NULL;
    pthread_mutex_unlock(&g->lock);
    return changed;
}

int grey_save(struct grey *g)
{
    struct buf b;
    if (!grey_changed(g))
        return 0;
    buf_init(&b, GREY_SITES_MAX * LINE_BYTES);
    pthread_mutex_lock(&g->lock);
    g->changed = false;
    LIST_EACH(link, &g->by_use)
    {
        const struct site *s = LIST_ITEM(link, struct site, link);
        (void)buf_printf(&b,
                         "%" PRId64 " %" PRId64 " %" PRIu32 " %" PRIu32 " %d %" PRId64 " %" PRId64 " %s\n",
                         s->short_ms / 1000, (s->passed_ms + 999) / 1000, s->hints, s->refusals, s->sure,
                         s->met_ms, s->endless_ms, s->name);
    }
    pthread_mutex_unlock(&g->lock);
    int err = buf_err(&b) != 0 ? buf_err(&b) : file_replace(g->file, buf_span(&b));
    buf_fini(&b);
    if (err != 0) {
        pthread_mutex_lock(&g->lock);
        g->changed = true;
        pthread_mutex_unlock(&g->lock);
    }
    return err;
}

static void line_take(struct grey *g, struct span line, int64_t now_ms)
{
    uint64_t v[7];
    for (int i = 0; i < 7; i++)
        if (text_u64(span_cut(&line, ' '), &v[i]) != 0)
            return;
    if (v[0] > GREY_WAIT_MAX_MS / 1000 || v[1] > GREY_WAIT_MAX_MS / 1000 || v[2] > GREY_HINTS ||
        v[3] > UINT32_MAX || v[4] > 1 || v[5] > (uint64_t)now_ms || v[6] > (uint64_t)now_ms ||
        now_ms - (int64_t)v[5] > KEPT_MS || find(g, line) != NULL)
        return;
    struct site *s = get(g, line, (int64_t)v[5]);
    if (s == NULL)
        return;
    s->short_ms = (int64_t)v[0] * 1000;
    s->passed_ms = (int64_t)v[1] * 1000;
    s->hints = (uint32_t)v[2];
    s->refusals = (uint32_t)v[3];
    s->sure = v[4] == 1;
    s->endless_ms = (int64_t)v[6];
}

static void load(struct grey *g, int64_t now_ms)
{
    char line[LINE_BYTES];
    FILE *f = g->file == NULL ? NULL : fopen(g->file, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        size_t n = strlen(line);
        if (n > 0 && line[n - 1] == '\n')
            line_take(g, span_of(line, n - 1), now_ms);
    }
    if (f != NULL)
        fclose(f);
    g->changed = false;
}

int grey_new(const char *file, int64_t now_ms, struct grey **out)
{
    struct grey *g = calloc(1, sizeof *g);
    if (g == NULL || (file != NULL && (g->file = strdup(file)) == NULL)) {
        free(g);
        return -ENOMEM;
    }
    pthread_mutex_init(&g->lock, NULL);
    map_init(&g->map, site_hash, site_match);
    list_init(&g->by_use);
    load(g, now_ms);
    *out = g;
    return 0;
}

void grey_free(struct grey *g)
{
    if (g == NULL)
        return;
    for (struct list *l; (l = list_first(&g->by_use)) != NULL;)
        drop(g, LIST_ITEM(l, struct site, link));
    map_fini(&g->map);
    pthread_mutex_destroy(&g->lock);
    free(g->file);
    free(g);
}
