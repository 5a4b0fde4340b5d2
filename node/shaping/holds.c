/* What is in force against destinations: see holds.h. Holds lie in an array, found by key through a table;
 * there are few of them, and they are walked once a second at most.
 */
#include "node/shaping/holds.h"

#include "base/cursor.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/map.h"

#include <stdlib.h>

#define COUNTERS 4096
#define SLICES 16 /* of a threshold's time */
#define SOURCE_MAX 63
#define RULE_MAX 63

struct held {
    struct shaping_hold hold; /* spans into text */
    struct held *next;        /* of the same key */
    uint32_t at;
    uint32_t left; /* deliveries still to come */
    char text[];
};

struct counter {
    uint64_t hash; /* of key and rule; 0: unused */
    int64_t slice; /* number of the newest */
    uint32_t n[SLICES];
};

struct shaping_holds {
    struct map keys; /* first held of each key */
    struct held *all[SHAPING_HOLDS_MAX];
    uint32_t n;
    struct counter counters[COUNTERS];
};

static uint64_t key_hash(const void *item)
{
    const struct held *e = item;
    return hash_bytes(e->hold.key.p, e->hold.key.n);
}

static bool key_match(const void *item, const void *key)
{
    const struct held *e = item;
    return span_eq(e->hold.key, *(const struct span *)key);
}

struct shaping_holds *shaping_holds_new(void)
{
    struct shaping_holds *h = calloc(1, sizeof *h);
    if (h != NULL)
        map_init(&h->keys, key_hash, key_match);
    return h;
}

void shaping_holds_free(struct shaping_holds *h)
{
    if (h == NULL)
        return;
    for (uint32_t i = 0; i < h->n; i++)
        free(h->all[i]);
    map_fini(&h->keys);
    free(h);
}

static struct held *first_of(const struct shaping_holds *h, struct span key)
{
    return map_find(&h->keys, hash_bytes(key.p, key.n), &key);
}

static void drop(struct shaping_holds *h, struct held *e)
{
    struct held *first = first_of(h, e->hold.key);
    if (first == e) {
        bool known = map_remove(&h->keys, key_hash(e), e);
        ensure(known);
        if (e->next != NULL && map_add(&h->keys, key_hash(e->next), e->next) != 0)
            ensure(false); /* there was room for it a moment ago */
    } else {
        while (first->next != e)
            first = first->next;
        first->next = e->next;
    }
    h->all[e->at] = h->all[--h->n];
    h->all[e->at]->at = e->at;
    free(e);
}

static bool same(const struct shaping_hold *a, int kind, struct span source)
{
    return a->kind == kind && (kind != SHAPING_DISABLE_SOURCE || span_eq(a->source, source));
}

static struct span keep(char **at, struct span s)
{
    char *to = *at;
    if (s.n > 0)
        memcpy(to, s.p, s.n);
    *at += s.n;
    return span_of(to, s.n);
}

static bool sensible(const struct shaping_hold *x, int64_t now_ms)
{
    return x->key.n > 0 && x->key.n < SHAPING_KEY_MAX && x->source.n <= SOURCE_MAX && x->rule.n <= RULE_MAX &&
           x->by.n <= SHAPING_BY_MAX && x->until_ms > now_ms && x->until_ms - now_ms <= SHAPING_HOLD_MAX_MS &&
           (x->kind == SHAPING_BACKOFF || x->kind == SHAPING_SUSPEND || x->kind == SHAPING_DISABLE_SOURCE) &&
           (x->kind == SHAPING_DISABLE_SOURCE) == (x->source.n > 0);
}

/* Over a bound the one that ends first goes. */
static void make_room(struct shaping_holds *h, struct span key)
{
    struct held *soonest = NULL;
    uint32_t n = 0;
    for (struct held *e = first_of(h, key); e != NULL; e = e->next, n++)
        if (soonest == NULL || e->hold.until_ms < soonest->hold.until_ms)
            soonest = e;
    if (n < SHAPING_KEY_SOURCES_MAX && h->n < SHAPING_HOLDS_MAX)
        return;
    for (uint32_t i = 0; n < SHAPING_KEY_SOURCES_MAX && i < h->n; i++)
        if (soonest == NULL || h->all[i]->hold.until_ms < soonest->hold.until_ms)
            soonest = h->all[i];
    drop(h, soonest);
}

bool shaping_hold_put(struct shaping_holds *h, const struct shaping_hold *x, int64_t now_ms)
{
    if (!sensible(x, now_ms))
        return false;
    struct span reply = x->reply;
    if (reply.n > SHAPING_REPLY_MAX)
        reply.n = SHAPING_REPLY_MAX;
    for (struct held *e = first_of(h, x->key); e != NULL; e = e->next) {
        if (!same(&e->hold, x->kind, x->source))
            continue;
        if (x->rule.n > 0 && e->hold.until_ms >= x->until_ms && e->hold.until_ms > now_ms)
            return false;
        drop(h, e);
        break;
    }
    make_room(h, x->key);
    struct held *e = malloc(sizeof *e + x->key.n + x->source.n + x->rule.n + reply.n + x->by.n);
    if (e == NULL)
        return false;
    char *at = e->text;
    struct held *first = first_of(h, x->key);
    *e = (struct held){ .hold = *x, .left = x->deliveries, .at = h->n };
    e->hold.key = keep(&at, x->key);
    e->hold.source = keep(&at, x->source);
    e->hold.rule = keep(&at, x->rule);
    e->hold.reply = keep(&at, reply);
    e->hold.by = keep(&at, x->by);
    if (first != NULL) {
        e->next = first->next;
        first->next = e;
    } else if (map_add(&h->keys, key_hash(e), e) != 0) {
        free(e);
        return false;
    }
    h->all[h->n++] = e;
    return true;
}

static uint32_t end(struct shaping_holds *h, struct span key, int kind, struct span source, int64_t at_ms)
{
    uint32_t ended = 0;
    struct held *next;
    for (struct held *e = first_of(h, key); e != NULL; e = next) {
        next = e->next;
        if ((kind >= 0 && e->hold.kind != kind) || (source.n > 0 && !span_eq(e->hold.source, source)) ||
            (e->hold.since_ms > at_ms && !e->hold.old))
            continue;
        drop(h, e);
        ended++;
    }
    return ended;
}

uint32_t shaping_hold_end(struct shaping_holds *h, struct span key, int kind, struct span source)
{
    return end(h, key, kind, source, INT64_MAX);
}

uint32_t shaping_hold_end_before(struct shaping_holds *h, struct span key, struct span source, int64_t at_ms)
{
    return end(h, key, -1, source, at_ms);
}

const struct shaping_hold *shaping_hold_find(const struct shaping_holds *h, struct span key, int kind,
                                             struct span source, int64_t now_ms)
{
    for (const struct held *e = first_of(h, key); e != NULL; e = e->next)
        if (same(&e->hold, kind, source) && e->hold.until_ms > now_ms)
            return &e->hold;
    return NULL;
}

const struct shaping_hold *shaping_hold_next(const struct shaping_holds *h, uint32_t *at)
{
    return *at < h->n ? &h->all[(*at)++]->hold : NULL;
}

uint32_t shaping_holds_count(const struct shaping_holds *h)
{
    return h->n;
}

static void text_of(char *out, size_t cap, struct span s)
{
    ensure(s.n < cap);
    if (s.n > 0)
        memcpy(out, s.p, s.n);
    out[s.n] = '\0';
}

bool shaping_hold_expire(struct shaping_holds *h, int64_t now_ms, struct shaping_ended *out)
{
    for (uint32_t i = 0; i < h->n; i++) {
        const struct shaping_hold *x = &h->all[i]->hold;
        if (x->until_ms > now_ms)
            continue;
        out->kind = x->kind;
        text_of(out->key, sizeof out->key, x->key);
        text_of(out->source, sizeof out->source, x->source);
        text_of(out->rule, sizeof out->rule, x->rule);
        drop(h, h->all[i]);
        return true;
    }
    return false;
}

int64_t shaping_holds_wake_ms(const struct shaping_holds *h)
{
    int64_t wake_ms = INT64_MAX;
    for (uint32_t i = 0; i < h->n; i++)
        if (h->all[i]->hold.until_ms < wake_ms)
            wake_ms = h->all[i]->hold.until_ms;
    return wake_ms;
}

/* ---- success, and thresholds --------------------------------------------------------------------------- */

static struct held *backoff_of(const struct shaping_holds *h, struct span key)
{
    struct held *e = h->n == 0 ? NULL : first_of(h, key);
    while (e != NULL && e->hold.kind != SHAPING_BACKOFF)
        e = e->next;
    return e;
}

bool shaping_hold_delivered(struct shaping_holds *h, struct span key)
{
    struct held *e = backoff_of(h, key);
    if (e == NULL || e->hold.deliveries == 0 || --e->left > 0)
        return false;
    drop(h, e);
    return true;
}

void shaping_hold_refused(struct shaping_holds *h, struct span key)
{
    struct held *e = backoff_of(h, key);
    if (e != NULL)
        e->left = e->hold.deliveries;
}

bool shaping_threshold(struct shaping_holds *h, struct span key, const struct shaping_rule *rule,
                       int64_t now_ms)
{
    if (rule->count <= 1)
        return true;
    uint64_t parts[2] = { hash_bytes(key.p, key.n), hash_bytes(rule->name, strlen(rule->name)) };
    uint64_t hash = hash_bytes(parts, sizeof parts) | 1;
    int64_t slice_ms = rule->within_ms / SLICES > 0 ? rule->within_ms / SLICES : 1, slice = now_ms / slice_ms;
    struct counter *c = &h->counters[hash / 2 % COUNTERS];
    if (c->hash != hash || slice < c->slice || slice - c->slice >= SLICES)
        *c = (struct counter){ .hash = hash, .slice = slice };
    for (; c->slice < slice; c->n[c->slice % SLICES] = 0)
        c->slice++;
    c->n[slice % SLICES]++;
    uint64_t sum = 0;
    for (int i = 0; i < SLICES; i++)
        sum += c->n[i];
    if (sum < rule->count)
        return false;
    *c = (struct counter){ .hash = 0 };
    return true;
}

/* ---- between nodes ------------------------------------------------------------------------------------- */

int shaping_hold_encode(const struct shaping_hold *x, int64_t now_ms, struct buf *out)
{
    struct span reply = x->reply;
    if (reply.n > SHAPING_REPLY_MAX)
        reply.n = SHAPING_REPLY_MAX;
    buf_put_u8(out, (uint8_t)x->kind);
    buf_put_u64(out, (uint64_t)(x->until_ms > now_ms ? x->until_ms - now_ms : 0));
    buf_put_u32(out, x->deliveries);
    buf_put_counted(out, x->key);
    buf_put_counted(out, x->source);
    buf_put_counted(out, x->rule);
    buf_put_counted(out, reply);
    return buf_put_counted(out, x->by);
}

int shaping_hold_decode(struct span bytes, int64_t now_ms, struct shaping_hold *out)
{
    struct cursor in;
    cursor_init(&in, bytes.p, bytes.n);
    *out = (struct shaping_hold){ .kind = cursor_u8(&in), .since_ms = now_ms };
    uint64_t left = cursor_u64(&in);
    out->deliveries = cursor_u32(&in);
    out->key = cursor_counted(&in);
    out->source = cursor_counted(&in);
    out->rule = cursor_counted(&in);
    out->reply = cursor_counted(&in);
    out->by = cursor_counted(&in);
    if (cursor_err(&in) != 0 || cursor_left(&in) > 0 || left > SHAPING_HOLD_MAX_MS)
        return ERR_BAD;
    out->until_ms = now_ms + (int64_t)left;
    if (out->kind == SHAPING_NONE)
        return out->key.n > 0 && out->key.n < SHAPING_KEY_MAX && out->source.n <= SOURCE_MAX ? 0 : ERR_BAD;
    return sensible(out, now_ms) && out->reply.n <= SHAPING_REPLY_MAX ? 0 : ERR_BAD;
}
