/* Addresses that a tenant's bulk mail is no longer sent to, since they bounced, or an operator said so. What
 * a bounce adds never changes what is there; an operator's word replaces it. The end of an entry is a command
 * that the leader proposes, so that all nodes forget it at the same place in the log.
 *
 * Bounded for each tenant by the proposer's policy (`most`), and over all by DIRECTORY_SUPPRESSED_MAX: when
 * full, new ones are refused until old ones end. From feature level 3 on.
 */
#include "base/ensure.h"
#include "base/hash.h"
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SUPPRESS_FEATURE 3

struct suppressed {
    struct store_rec rec;
    struct heap_node timer; /* until_ms; in no heap when it never ends */
    uint64_t until_ms, version;
    int64_t wall_ms;
    uint16_t ntenant, naddress, nreason, nwho;
    uint8_t class;
    char text[]; /* tenant, 0, address, reason, who: the first three are the key */
};

/* How many a tenant has. */
struct suppressed_tenant {
    uint64_t n;
    uint16_t len;
    char name[];
};

static struct span tenant_of(const struct suppressed *s)
{
    return span_of(s->text, s->ntenant);
}

static struct span address_of(const struct suppressed *s)
{
    return span_of(s->text + s->ntenant + 1, s->naddress);
}

static struct span reason_of(const struct suppressed *s)
{
    return span_of(address_of(s).p + s->naddress, s->nreason);
}

static struct span who_of(const struct suppressed *s)
{
    return span_of(reason_of(s).p + s->nreason, s->nwho);
}

static struct span suppressed_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    const struct suppressed *s = (const struct suppressed *)rec;
    return span_of(s->text, (size_t)s->ntenant + 1 + s->naddress);
}

static void suppressed_encode(const struct store_rec *rec, struct buf *out)
{
    const struct suppressed *s = (const struct suppressed *)rec;
    (void)buf_put_counted(out, tenant_of(s));
    (void)buf_put_counted(out, address_of(s));
    (void)buf_put_counted(out, reason_of(s));
    (void)buf_put_counted(out, who_of(s));
    (void)buf_put_u8(out, s->class);
    (void)buf_put_u64(out, (uint64_t)s->wall_ms);
    (void)buf_put_u64(out, s->until_ms);
    (void)buf_put_u64(out, s->version);
}

static void suppressed_free(struct store_rec *rec)
{
    free(rec);
}

static bool parts_ok(struct span tenant, struct span address)
{
    if (tenant.n != 0 && !directory_name_ok(tenant))
        return false;
    if (!directory_name_ok(address) || memchr(address.p, '@', address.n) == NULL)
        return false;
    for (size_t i = 0; i < address.n; i++)
        if (address.p[i] >= 'A' && address.p[i] <= 'Z')
            return false;
    return true;
}

/* NULL: no memory. */
static struct suppressed *make(struct span tenant, struct span address, struct span reason, struct span who)
{
    struct suppressed *s = calloc(1, sizeof *s + tenant.n + 1 + address.n + reason.n + who.n);
    if (s == NULL)
        return NULL;
    s->ntenant = (uint16_t)tenant.n;
    s->naddress = (uint16_t)address.n;
    s->nreason = (uint16_t)reason.n;
    s->nwho = (uint16_t)who.n;
    const struct span parts[] = { tenant, span_of("", 1), address, reason, who };
    char *p = s->text;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i].n != 0)
            memcpy(p, parts[i].p, parts[i].n);
        p += parts[i].n;
    }
    return s;
}

static int suppressed_decode(struct cursor *c, struct store_rec **out)
{
    struct span tenant = cursor_counted(c), address = cursor_counted(c), reason = cursor_counted(c),
                who = cursor_counted(c);
    uint8_t class = cursor_u8(c);
    int64_t wall_ms = (int64_t)cursor_u64(c);
    uint64_t until_ms = cursor_u64(c), version = cursor_u64(c);
    if (cursor_err(c))
        return cursor_err(c);
    if (!parts_ok(tenant, address) || reason.n > COMMAND_SUPPRESS_REASON_MAX || who.n > COMMAND_TEXT_MAX ||
        class > COMMAND_SUPPRESS_CLASS_MAX || until_ms > INT64_MAX)
        return ERR_CORRUPT;
    struct suppressed *s = make(tenant, address, reason, who);
    if (s == NULL)
        return -ENOMEM;
    s->class = class;
    s->wall_ms = wall_ms;
    s->until_ms = until_ms;
    s->version = version;
    *out = &s->rec;
    return 0;
}

const struct store_type directory_suppressed_type = {
    34, "suppressed", suppressed_key, suppressed_encode, suppressed_decode, suppressed_free
};

static struct suppressed *find(const struct machine *m, struct span tenant, struct span address)
{
    char key[2 * COMMAND_NAME_MAX + 1];
    if (tenant.n > COMMAND_NAME_MAX || address.n > COMMAND_NAME_MAX)
        return NULL;
    if (tenant.n != 0)
        memcpy(key, tenant.p, tenant.n);
    key[tenant.n] = 0;
    if (address.n != 0)
        memcpy(key + tenant.n + 1, address.p, address.n);
    return (struct suppressed *)store_find(m->store, &directory_suppressed_type,
                                           span_of(key, tenant.n + 1 + address.n));
}

/* ---- what is rebuilt: counts and timers -----------------------------------------------------------------
 */

static uint64_t tenant_hash(const void *item)
{
    const struct suppressed_tenant *t = item;
    return hash_bytes(t->name, t->len);
}

static bool tenant_match(const void *item, const void *key)
{
    const struct suppressed_tenant *t = item;
    return span_eq(span_of(t->name, t->len), *(const struct span *)key);
}

static struct suppressed_tenant *count_of(const struct machine *m, struct span tenant)
{
    return map_find(&m->directory->suppressed_tenants, hash_bytes(tenant.p, tenant.n), &tenant);
}

static uint64_t bytes_of(const struct suppressed *s)
{
    enum { AROUND = 64 }; /* its places in store, index and heap, and the allocator's own */
    return sizeof *s + AROUND + s->ntenant + 1u + s->naddress + s->nreason + s->nwho;
}

/* Into counts and timers. -ENOMEM */
static int enlist(struct machine *m, struct suppressed *s)
{
    struct directory *d = m->directory;
    struct span tenant = tenant_of(s);
    struct suppressed_tenant *t = count_of(m, tenant);
    if (t == NULL) {
        t = calloc(1, sizeof *t + tenant.n);
        if (t == NULL)
            return -ENOMEM;
        t->len = (uint16_t)tenant.n;
        if (tenant.n != 0)
            memcpy(t->name, tenant.p, tenant.n);
        int err = map_add(&d->suppressed_tenants, tenant_hash(t), t);
        if (err != 0) {
            free(t);
            return err;
        }
    }
    t->n++;
    d->suppressed_bytes += bytes_of(s);
    return s->until_ms == 0 ? 0 : heap_add(&d->suppressed_ends, &s->timer, (int64_t)s->until_ms);
}

static void drop(struct machine *m, struct suppressed *s)
{
    struct directory *d = m->directory;
    struct suppressed_tenant *t = count_of(m, tenant_of(s));
    ensure(t != NULL);
    ensure(t->n > 0);
    if (--t->n == 0) {
        ensure(map_remove(&d->suppressed_tenants, tenant_hash(t), t));
        free(t);
    }
    heap_remove(&d->suppressed_ends, &s->timer);
    d->suppressed_bytes -= bytes_of(s);
    directory_drop(m, &d->suppressed, &s->rec);
}

void directory_suppressed_init(struct directory *d)
{
    map_init(&d->suppressed_tenants, tenant_hash, tenant_match);
    heap_init(&d->suppressed_ends);
}

void directory_suppressed_fini(struct directory *d)
{
    size_t at = 0;
    for (void *t; (t = map_next(&d->suppressed_tenants, &at)) != NULL;)
        free(t);
    map_fini(&d->suppressed_tenants);
    heap_fini(&d->suppressed_ends);
}

int directory_suppressed_restored(struct machine *m)
{
    struct directory *d = m->directory;
    directory_suppressed_fini(d);
    directory_suppressed_init(d);
    d->suppressed_bytes = 0;
    LIST_EACH(link, store_all(m->store, &directory_suppressed_type))
    {
        int err = enlist(m, LIST_ITEM(link, struct suppressed, rec.link));
        if (err != 0)
            return err;
    }
    return 0;
}

int directory_suppressed_due(struct machine *m, uint64_t now_ms, struct buf *out, uint32_t *n)
{
    struct heap *ends = &m->directory->suppressed_ends;
    struct suppressed *due[DIRECTORY_DUE_MAX];
    uint32_t k = 0;
    int err = 0;
    /* Taken out and put back: what is proposed may be lost, and is proposed again then. */
    for (struct heap_node *t;
         k < DIRECTORY_DUE_MAX && (t = heap_first(ends)) != NULL && t->key <= (int64_t)now_ms;) {
        heap_remove(ends, t);
        due[k++] = HEAP_ITEM(t, struct suppressed, timer);
    }
    for (uint32_t i = 0; i < k; i++) {
        struct suppressed *s = due[i];
        struct command cmd = { .type = COMMAND_SUPPRESS_REMOVE };
        cmd.suppress_remove = (struct command_suppress_remove){ .tenant = tenant_of(s),
                                                                .address = address_of(s),
                                                                .entry = s->version };
        if (err == 0 && (err = command_encode(&cmd, out)) == 0)
            ++*n;
        ensure(heap_add(ends, &s->timer, (int64_t)s->until_ms) == 0); /* there was room a moment ago */
    }
    return err;
}

/* ---- the commands ---------------------------------------------------------------------------------------
 */

static const char *tenant_words(struct span tenant, char out[COMMAND_NAME_MAX + 16])
{
    if (tenant.n == 0)
        return "accounts without tenant";
    snprintf(out, COMMAND_NAME_MAX + 16, "tenant %.*s", S(tenant));
    return out;
}

static bool too_early(const struct machine *m, struct machine_result *r)
{
    if (directory_features(m) >= SUPPRESS_FEATURE)
        return false;
    machine_refuse(r, ERR_DENIED,
                   "the cluster's feature level is %u, suppression needs %d: see `turnpike cluster raise`",
                   directory_features(m), SUPPRESS_FEATURE);
    return true;
}

int directory_suppress_add(struct machine *m, const struct machine_at *at, const struct command *cmd,
                           struct machine_result *r)
{
    const struct command_suppress_add *c = &cmd->suppress_add;
    char words[COMMAND_NAME_MAX + 16];
    if (too_early(m, r))
        return 0;
    if (!parts_ok(c->tenant, c->address) || !directory_text_ok(c->reason) || !directory_text_ok(c->by.who))
        return REFUSE(r, ERR_BAD, "\"%.*s\" is no address in lower case, or a text has control characters",
                      S(c->address));
    struct suppressed *was = find(m, c->tenant, c->address);
    if (was != NULL && c->bounced) {
        r->id = was->version;
        return 0;
    }
    const struct suppressed_tenant *t = count_of(m, c->tenant);
    if (was == NULL && t != NULL && t->n >= c->most)
        return REFUSE(r, ERR_LIMIT, "%s: %llu addresses are suppressed, which is the policy's max_per_tenant",
                      tenant_words(c->tenant, words), (unsigned long long)t->n);
    if (was == NULL && m->directory->suppressed.len >= DIRECTORY_SUPPRESSED_MAX)
        return REFUSE(r, ERR_LIMIT, "%d addresses are suppressed, which is the most",
                      DIRECTORY_SUPPRESSED_MAX);
    struct suppressed *s = make(c->tenant, c->address, c->reason, c->by.who);
    if (s == NULL)
        return -ENOMEM;
    s->class = c->class;
    s->wall_ms = c->by.wall_ms;
    s->until_ms = c->for_ms == 0 || c->for_ms > (uint64_t)INT64_MAX - at->now_ms ? 0 : at->now_ms + c->for_ms;
    s->version = at->id;
    if (was != NULL)
        drop(m, was);
    int err = directory_add(m, &m->directory->suppressed, &s->rec);
    if (err != 0) {
        free(s);
        return err;
    }
    err = enlist(m, s);
    if (err != 0)
        return err;
    r->id = at->id;
    machine_changed(m, MACHINE_CHANGED_SUPPRESSED, at->id, suppressed_key(&s->rec, NULL));
    return c->bounced ? 0
                      : directory_audit(m, at, &c->by, "suppress %.*s for %s: %.*s", S(c->address),
                                        tenant_words(c->tenant, words), S(c->reason));
}

int directory_suppress_remove(struct machine *m, const struct machine_at *at, const struct command *cmd,
                              struct machine_result *r)
{
    const struct command_suppress_remove *c = &cmd->suppress_remove;
    char words[COMMAND_NAME_MAX + 16];
    if (too_early(m, r))
        return 0;
    struct suppressed *s = find(m, c->tenant, c->address);
    if (s == NULL || (c->entry != 0 && c->entry != s->version))
        return c->entry != 0 ? 0
                             : REFUSE(r, ERR_NOT_FOUND, "%.*s is not suppressed for %s", S(c->address),
                                      tenant_words(c->tenant, words));
    machine_changed(m, MACHINE_CHANGED_SUPPRESSED, 0, suppressed_key(&s->rec, NULL));
    drop(m, s);
    return c->entry != 0 ? 0
                         : directory_audit(m, at, &c->by, "send to %.*s again for %s", S(c->address),
                                           tenant_words(c->tenant, words));
}

/* ---- readers --------------------------------------------------------------------------------------------
 */

static struct directory_suppressed view(const struct suppressed *s)
{
    return (struct directory_suppressed){ .tenant = tenant_of(s),
                                          .address = address_of(s),
                                          .reason = reason_of(s),
                                          .who = who_of(s),
                                          .class = s->class,
                                          .wall_ms = s->wall_ms,
                                          .until_ms = s->until_ms,
                                          .version = s->version };
}

bool directory_suppressed_find(const struct machine *m, struct span tenant, struct span address,
                               struct directory_suppressed *out)
{
    const struct suppressed *s = find(m, tenant, address);
    if (s != NULL)
        *out = view(s);
    return s != NULL;
}

uint64_t directory_suppressed_count(const struct machine *m)
{
    return m->directory->suppressed.len;
}

int directory_suppressed_each(const struct machine *m, struct span after, directory_suppressed_fn *fn,
                              void *arg)
{
    struct directory_place at = directory_index_after(&m->directory->suppressed, after);
    int stop = 0;
    for (const struct store_rec *rec;
         stop == 0 && (rec = directory_index_next(&m->directory->suppressed, &at)) != NULL;) {
        struct directory_suppressed v = view((const struct suppressed *)rec);
        stop = fn(arg, &v);
    }
    return stop;
}
