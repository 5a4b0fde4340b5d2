/* The records of quotas: making, finding, encoding and decoding them. */
#include "base/ensure.h"
#include "base/err.h"
#include "consensus/quota_impl.h"

#include <errno.h>
#include <stdlib.h>

static bool scope_exists(uint8_t scope)
{
    return scope == COMMAND_SCOPE_ACCOUNT || scope == COMMAND_SCOPE_TENANT;
}

/* ---- limits ----------------------------------------------------------------------------------------------
 */

static struct span limit_key_make(uint8_t scope, struct span name, uint64_t window_ms, char *scratch)
{
    scratch[0] = (char)scope;
    store_number_key(window_ms, scratch + 1);
    memcpy(scratch + 9, name.p, name.n);
    return span_of(scratch, 9 + name.n);
}

static struct span limit_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    const struct quota_limit *l = quota_limit_of(rec);
    return limit_key_make(l->scope, span_str(l->name), l->window_ms, scratch);
}

static void limit_encode(const struct store_rec *rec, struct buf *out)
{
    const struct quota_limit *l = quota_limit_of(rec);
    buf_put_u32(out, l->num);
    buf_put_u8(out, l->scope);
    buf_put_counted(out, span_str(l->name));
    buf_put_u64(out, l->window_ms);
}

static int limit_decode(struct cursor *c, struct store_rec **out)
{
    uint32_t num = cursor_u32(c);
    uint8_t scope = cursor_u8(c);
    struct span name = cursor_counted(c);
    uint64_t window_ms = cursor_u64(c);
    if (cursor_err(c) != 0)
        return cursor_err(c);
    if (!scope_exists(scope) || name.n == 0 || name.n >= POLICY_LIMIT_NAME ||
        memchr(name.p, '\0', name.n) != NULL || window_ms < POLICY_WINDOW_MIN_MS ||
        window_ms > (uint64_t)POLICY_WINDOW_MAX_MS)
        return ERR_CORRUPT;
    struct quota_limit *l = calloc(1, sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    l->num = num;
    l->scope = scope;
    memcpy(l->name, name.p, name.n);
    l->window_ms = window_ms;
    quota_limit_derive(l);
    *out = &l->rec;
    return 0;
}

static void plain_free(struct store_rec *rec)
{
    free(rec);
}

const struct store_type quota_limit_type = {
    .id = 4,
    .name = "limit",
    .key = limit_key,
    .encode = limit_encode,
    .decode = limit_decode,
    .free = plain_free,
};

struct quota_limit *quota_limit_find(const struct machine *m, uint8_t scope, struct span name,
                                     uint64_t window_ms)
{
    char scratch[9 + POLICY_LIMIT_NAME];
    if (name.n >= POLICY_LIMIT_NAME)
        return NULL;
    return quota_limit_of(store_find(m->store, &quota_limit_type, limit_key_make(scope, name, window_ms, scratch)));
}

struct quota_limit *quota_limit_add(struct machine *m, const struct policy_limit *p)
{
    struct quota_sums *sums = m->quotas->sums;
    struct quota_limit *l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    store_touch(m->store, &sums->rec);
    l->num = sums->next_limit++;
    l->scope = p->scope;
    memcpy(l->name, p->name, sizeof l->name);
    l->window_ms = p->window_ms;
    quota_limit_derive(l);
    if (store_add(m->store, &quota_limit_type, &l->rec) != 0) {
        free(l);
        return NULL;
    }
    m->quotas->resolved_known = 0;
    return l;
}

struct quota_limit *quota_resolve(struct machine *m, const struct policy_compiled *p, uint32_t i)
{
    struct quotas *q = m->quotas;
    if ((q->resolved_known >> i & 1) == 0) {
        const struct policy_limit *l = &p->limits[i];
        q->resolved[i] = quota_limit_find(m, l->scope, span_str(l->name), l->window_ms);
        q->resolved_known |= UINT64_C(1) << i;
    }
    return q->resolved[i];
}

/* ---- senders and their counters --------------------------------------------------------------------------
 */

static struct span sender_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    const struct quota_sender *s = quota_sender_of(rec);
    return span_of(s->key, s->nkey);
}

static void sender_encode(const struct store_rec *rec, struct buf *out)
{
    const struct quota_sender *s = quota_sender_of(rec);
    buf_put_counted(out, span_of(s->key, s->nkey));
    for (const struct quota_counter *c = s->counters; c != NULL; c = c->next) {
        buf_put_u8(out, 1);
        buf_put_u32(out, c->num);
        buf_put_u8(out, c->refused);
        quota_ring_encode(&c->charged, out);
        quota_ring_encode(c->burned == NULL ? &(struct quota_ring){ 0 } : c->burned, out);
    }
    buf_put_u8(out, 0);
}

static void counter_free(struct quota_counter *c)
{
    quota_ring_fini(&c->charged);
    if (c->burned != NULL)
        quota_ring_fini(c->burned);
    free(c->burned);
    free(c->holdings);
    free(c);
}

static void sender_free(struct store_rec *rec)
{
    struct quota_sender *s = quota_sender_of(rec);
    for (struct quota_counter *c; (c = s->counters) != NULL;) {
        s->counters = c->next;
        counter_free(c);
    }
    free(s);
}

static struct quota_sender *sender_make(struct span key)
{
    struct quota_sender *s = calloc(1, sizeof *s + key.n);
    if (s == NULL)
        return NULL;
    s->nkey = (uint32_t)key.n;
    memcpy(s->key, key.p, key.n);
    return s;
}

static struct quota_counter *counter_append(struct quota_sender *s, uint32_t num)
{
    struct quota_counter *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->sender = s;
    c->num = num;
    struct quota_counter **at = &s->counters;
    while (*at != NULL)
        at = &(*at)->next;
    return *at = c;
}

static int counter_decode(struct cursor *c, struct quota_sender *s)
{
    uint32_t num = cursor_u32(c);
    uint8_t refused = cursor_u8(c);
    if (cursor_err(c) != 0)
        return cursor_err(c);
    for (const struct quota_counter *x = s->counters; x != NULL; x = x->next)
        if (x->num == num)
            return ERR_CORRUPT;
    struct quota_counter *k = counter_append(s, num);
    if (k == NULL)
        return -ENOMEM;
    k->refused = refused == 1;
    int err = refused > 1 ? ERR_CORRUPT : quota_ring_decode(c, &k->charged);
    struct quota_ring burned = { 0 };
    if (err == 0)
        err = quota_ring_decode(c, &burned);
    if (burned.n != 0) {
        k->burned = malloc(sizeof burned);
        if (k->burned == NULL) {
            quota_ring_fini(&burned);
            return -ENOMEM;
        }
        *k->burned = burned;
    }
    return err;
}

static int sender_decode(struct cursor *c, struct store_rec **out)
{
    struct span key = cursor_counted(c);
    if (cursor_err(c) != 0)
        return cursor_err(c);
    if (key.n < 2 || key.n > 1 + COMMAND_NAME_MAX || !scope_exists((uint8_t)key.p[0]))
        return ERR_CORRUPT;
    struct quota_sender *s = sender_make(key);
    if (s == NULL)
        return -ENOMEM;
    int err = 0;
    for (uint8_t more; err == 0 && (more = cursor_u8(c)) != 0;)
        err = more == 1 ? counter_decode(c, s) : ERR_CORRUPT;
    if (err == 0)
        err = cursor_err(c);
    if (err != 0) {
        sender_free(&s->rec);
        return err;
    }
    *out = &s->rec;
    return 0;
}

const struct store_type quota_sender_type = {
    .id = 5,
    .name = "sender",
    .key = sender_key,
    .encode = sender_encode,
    .decode = sender_decode,
    .free = sender_free,
};

struct quota_sender *quota_sender_find(const struct machine *m, uint8_t scope, struct span name)
{
    char key[1 + COMMAND_NAME_MAX];
    if (name.n == 0 || name.n > COMMAND_NAME_MAX)
        return NULL;
    key[0] = (char)scope;
    memcpy(key + 1, name.p, name.n);
    return quota_sender_of(store_find(m->store, &quota_sender_type, span_of(key, name.n + 1)));
}

struct quota_sender *quota_sender_add(struct machine *m, uint8_t scope, struct span name)
{
    char key[1 + COMMAND_NAME_MAX];
    key[0] = (char)scope;
    memcpy(key + 1, name.p, name.n);
    struct quota_sender *s = sender_make(span_of(key, name.n + 1));
    if (s != NULL && store_add(m->store, &quota_sender_type, &s->rec) != 0) {
        free(s);
        s = NULL;
    }
    return s;
}

struct quota_counter *quota_counter_find(const struct quota_sender *s, const struct quota_limit *l)
{
    struct quota_counter *c = s->counters;
    while (c != NULL && c->limit != l)
        c = c->next;
    return c;
}

struct quota_counter *quota_counter_add(struct machine *m, struct quota_sender *s, struct quota_limit *l)
{
    struct quota_counter *c = counter_append(s, l->num);
    if (c == NULL)
        return NULL;
    c->limit = l;
    l->refs++;
    m->quotas->ncounters++;
    return c;
}

void quota_counter_drop(struct machine *m, struct quota_counter *c)
{
    ensure(c->nholdings == 0);
    struct quota_counter **at = &c->sender->counters;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    ensure(c->limit->refs > 0);
    if (--c->limit->refs == 0) {
        store_remove(m->store, &c->limit->rec);
        m->quotas->resolved_known = 0;
    }
    ensure(m->quotas->ncounters > 0);
    m->quotas->ncounters--;
    counter_free(c);
}

/* ---- grants ----------------------------------------------------------------------------------------------
 */

static struct span grant_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    return store_number_key(quota_grant_of(rec)->id, scratch);
}

static void grant_encode(const struct store_rec *rec, struct buf *out)
{
    const struct quota_grant *g = quota_grant_of(rec);
    buf_put_u64(out, g->id);
    buf_put_u64(out, g->node);
    buf_put_u64(out, g->charged_ms);
    buf_put_u32(out, g->life_ms);
    buf_put_u32(out, g->count);
    buf_put_u32(out, g->held);
    buf_put_u8(out, (uint8_t)g->n);
    for (uint32_t i = 0; i < g->n; i++) {
        const struct quota_sender *s = g->counters[i]->sender;
        buf_put_u32(out, g->counters[i]->num);
        buf_put_counted(out, span_of(s->key, s->nkey));
    }
}

static int grant_decode(struct cursor *c, struct store_rec **out)
{
    uint64_t id = cursor_u64(c), node = cursor_u64(c), charged_ms = cursor_u64(c);
    uint32_t life_ms = cursor_u32(c), count = cursor_u32(c), held = cursor_u32(c);
    uint8_t n = cursor_u8(c);
    struct cursor charges = *c;
    for (uint8_t i = 0; i < n; i++) {
        cursor_u32(c);
        cursor_counted(c);
    }
    if (cursor_err(c) != 0)
        return cursor_err(c);
    if (id == 0 || node == 0 || n == 0 || n > POLICY_LIMITS_MAX || held == 0 || held > count)
        return ERR_CORRUPT;
    struct quota_grant *g = calloc(1, sizeof *g + n * sizeof(struct quota_counter *));
    if (g == NULL)
        return -ENOMEM;
    g->nunresolved = (size_t)(c->p - charges.p);
    g->unresolved = malloc(g->nunresolved);
    if (g->unresolved == NULL) {
        free(g);
        return -ENOMEM;
    }
    memcpy(g->unresolved, charges.p, g->nunresolved);
    g->id = id;
    g->node = node;
    g->charged_ms = charged_ms;
    g->life_ms = life_ms;
    g->count = count;
    g->held = held;
    g->n = n;
    *out = &g->rec;
    return 0;
}

static void grant_free(struct store_rec *rec)
{
    free(quota_grant_of(rec)->unresolved);
    free(rec);
}

const struct store_type quota_grant_type = {
    .id = 6,
    .name = "grant",
    .key = grant_key,
    .encode = grant_encode,
    .decode = grant_decode,
    .free = grant_free,
};

/* ---- totals ----------------------------------------------------------------------------------------------
 */

static struct span sums_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)rec;
    (void)scratch;
    return SPAN_LIT("sums");
}

static void sums_encode(const struct store_rec *rec, struct buf *out)
{
    const struct quota_sums *s = quota_sums_of(rec);
    buf_put_u64(out, s->charged);
    buf_put_u64(out, s->spent);
    buf_put_u64(out, s->burned);
    buf_put_u64(out, s->refunded);
    buf_put_u64(out, s->granted);
    buf_put_u64(out, s->refused);
    buf_put_u64(out, s->swept);
    buf_put_u64(out, s->full_ms);
    buf_put_u32(out, s->next_limit);
}

static int sums_decode(struct cursor *c, struct store_rec **out)
{
    struct quota_sums *s = calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    s->charged = cursor_u64(c);
    s->spent = cursor_u64(c);
    s->burned = cursor_u64(c);
    s->refunded = cursor_u64(c);
    s->granted = cursor_u64(c);
    s->refused = cursor_u64(c);
    s->swept = cursor_u64(c);
    s->full_ms = cursor_u64(c);
    s->next_limit = cursor_u32(c);
    if (cursor_err(c) != 0) {
        free(s);
        return cursor_err(c);
    }
    *out = &s->rec;
    return 0;
}

const struct store_type quota_sums_type = {
    .id = 7,
    .name = "sums",
    .key = sums_key,
    .encode = sums_encode,
    .decode = sums_decode,
    .free = plain_free,
};

const struct store_type *const quota_types[] = { &quota_limit_type, &quota_sender_type, &quota_grant_type,
                                                 &quota_sums_type };
const uint32_t quota_ntypes = 4;
