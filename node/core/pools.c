/* The view of pools: see pools.h. */
#include "node/core/pools.h"

#include "base/ensure.h"
#include "base/hash.h"
#include "base/map.h"
#include "consensus/command.h"
#include "consensus/web_sender.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- senders ------------------------------------------------------------------------------------------- */

struct assigned {
    uint8_t to;
    struct span name, pool; /* behind the item */
};

struct pool_senders {
    atomic_uint refs;
    struct map items;
    uint32_t tenants;
};

static uint64_t assigned_key(uint8_t to, struct span name)
{
    return hash_bytes(name.p, name.n) ^ hash_u64(to);
}

static uint64_t assigned_hash(const void *item)
{
    const struct assigned *a = item;
    return assigned_key(a->to, a->name);
}

static bool assigned_match(const void *item, const void *key)
{
    const struct assigned *a = item, *k = key;
    return a->to == k->to && span_eq(a->name, k->name);
}

struct pool_senders *pool_senders_new(void)
{
    struct pool_senders *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    atomic_init(&s->refs, 1);
    map_init(&s->items, assigned_hash, assigned_match);
    return s;
}

static struct span copy(char **to, struct span from)
{
    struct span out = { *to, from.n };
    if (from.n > 0)
        memcpy(*to, from.p, from.n);
    *to += from.n;
    return out;
}

int pool_senders_add(struct pool_senders *s, uint8_t to, struct span name, struct span pool)
{
    struct assigned *a = malloc(sizeof *a + name.n + pool.n);
    if (a == NULL)
        return -ENOMEM;
    char *text = (char *)(a + 1);
    a->to = to;
    a->name = copy(&text, name);
    a->pool = copy(&text, pool);
    int err = map_add(&s->items, assigned_hash(a), a);
    if (err != 0)
        free(a);
    else
        s->tenants += to == COMMAND_ASSIGN_TENANT;
    return err;
}

struct pool_senders *pool_senders_hold(struct pool_senders *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void pool_senders_rele(struct pool_senders *s)
{
    if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    size_t at = 0;
    for (void *item; (item = map_next(&s->items, &at)) != NULL;)
        free(item);
    map_fini(&s->items);
    free(s);
}

static const struct assigned *assigned_find(const struct pool_senders *s, uint8_t to, struct span name)
{
    if (s == NULL || s->items.len == 0 || name.n == 0)
        return NULL;
    return map_find(&s->items, assigned_key(to, name), &(struct assigned){ .to = to, .name = name });
}

/* ---- meters -------------------------------------------------------------------------------------------- */

struct pool_meter *pool_meter_new(void)
{
    struct pool_meter *m = calloc(1, sizeof *m);
    if (m != NULL)
        atomic_init(&m->refs, 1);
    return m;
}

struct pool_meter *pool_meter_hold(struct pool_meter *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void pool_meter_rele(struct pool_meter *m)
{
    if (m != NULL && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1)
        free(m);
}

/* ---- the view ------------------------------------------------------------------------------------------ */

struct entry {
    struct pool_address a; /* first */
    char text[];
};

struct pool_view {
    atomic_uint refs, actors;
    struct pool_view_config config;
    char *class_text;
    bool sealed;
    struct entry **entries; /* by pool, then address, once sealed */
    struct map by_addr;
    uint32_t n, cap;
    struct ip_addr *members;
    uint32_t nmembers, members_cap;
};

static uint64_t entry_hash(const void *item)
{
    return ip_addr_hash(&((const struct entry *)item)->a.addr);
}

static bool entry_match(const void *item, const void *key)
{
    return ip_addr_eq(&((const struct entry *)item)->a.addr, key);
}

struct pool_view *pool_view_new(const struct pool_view_config *config)
{
    struct pool_view *v = calloc(1, sizeof *v);
    size_t len = 1;
    for (int i = 0; i < POOLS_CLASSES; i++)
        len += config->class_pools[i].n;
    if (v == NULL || (v->class_text = malloc(len)) == NULL) {
        free(v);
        return NULL;
    }
    atomic_init(&v->refs, 1);
    v->config = *config;
    map_init(&v->by_addr, entry_hash, entry_match);
    char *text = v->class_text;
    for (int i = 0; i < POOLS_CLASSES; i++)
        v->config.class_pools[i] = copy(&text, config->class_pools[i]);
    if (config->senders != NULL)
        (void)pool_senders_hold(config->senders);
    return v;
}

int pool_view_add(struct pool_view *v, const struct pool_address *a)
{
    ensure(!v->sealed);
    if (v->n == v->cap) {
        uint32_t cap = v->cap == 0 ? 64 : 2 * v->cap;
        struct entry **entries = realloc(v->entries, cap * sizeof(struct entry *));
        if (entries == NULL)
            return -ENOMEM;
        v->entries = entries;
        v->cap = cap;
    }
    struct entry *e = malloc(sizeof *e + a->pool.n + a->ehlo.n + 1);
    if (e == NULL)
        return -ENOMEM;
    char *text = e->text;
    e->a = *a;
    e->a.pool = copy(&text, a->pool);
    e->a.ehlo = copy(&text, a->ehlo);
    if (map_add(&v->by_addr, ip_addr_hash(&a->addr), e) != 0) {
        free(e);
        return -ENOMEM;
    }
    if (a->meter != NULL)
        (void)pool_meter_hold(a->meter);
    v->entries[v->n++] = e;
    return 0;
}

int pool_view_add_member(struct pool_view *v, const struct ip_addr *addr)
{
    ensure(!v->sealed);
    if (v->nmembers == v->members_cap) {
        uint32_t cap = v->members_cap == 0 ? 8 : 2 * v->members_cap;
        struct ip_addr *members = realloc(v->members, cap * sizeof *members);
        if (members == NULL)
            return -ENOMEM;
        v->members = members;
        v->members_cap = cap;
    }
    v->members[v->nmembers++] = *addr;
    return 0;
}

static int compare_pool(struct span a, struct span b)
{
    if (a.n != b.n)
        return a.n < b.n ? -1 : 1;
    return a.n == 0 ? 0 : memcmp(a.p, b.p, a.n);
}

static int compare_entries(const void *a, const void *b)
{
    const struct pool_address *x = &(*(struct entry *const *)a)->a, *y = &(*(struct entry *const *)b)->a;
    int order = compare_pool(x->pool, y->pool);
    return order != 0 ? order : ip_addr_cmp(&x->addr, &y->addr);
}

void pool_view_seal(struct pool_view *v)
{
    if (v->n > 0)
        qsort(v->entries, v->n, sizeof(struct entry *), compare_entries);
    v->sealed = true;
}

struct pool_view *pool_view_hold(struct pool_view *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void pool_view_rele(struct pool_view *v)
{
    if (v == NULL || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < v->n; i++) {
        pool_meter_rele(v->entries[i]->a.meter);
        free(v->entries[i]);
    }
    map_fini(&v->by_addr);
    free(v->entries);
    free(v->members);
    free(v->class_text);
    pool_senders_rele(v->config.senders);
    free(v);
}

uint64_t pool_view_number(const struct pool_view *v)
{
    return v->config.number;
}

uint64_t pool_view_state(const struct pool_view *v)
{
    return v->config.state;
}

void pool_view_acted(struct pool_view *v)
{
    atomic_fetch_add(&v->actors, 1);
}

uint32_t pool_view_actors(const struct pool_view *v)
{
    return atomic_load(&((struct pool_view *)v)->actors);
}

/* ---- whose pool ---------------------------------------------------------------------------------------- */

static const char *const classes[POOLS_CLASSES] = { "person", "device", "bulk" };

static struct span of_class(const struct pool_view *v, uint8_t class)
{
    if (class >= POOLS_CLASSES)
        return (struct span){ "", 0 };
    const struct assigned *a =
        assigned_find(v->config.senders, COMMAND_ASSIGN_CLASS, span_str(classes[class]));
    return a != NULL ? a->pool : v->config.class_pools[class];
}

static const struct assigned *of_account(const struct pool_view *v, struct span account)
{
    const struct assigned *a = assigned_find(v->config.senders, POOLS_RULE, account);
    return a != NULL ? a : assigned_find(v->config.senders, COMMAND_ASSIGN_ACCOUNT, account);
}

/* A web sender's mail leaves as its host's does, unless something else was said of it. */
static const struct assigned *of_sender(const struct pool_view *v, struct span account)
{
    const struct assigned *a = of_account(v, account);
    struct span host = web_sender_host(account);
    return a != NULL || host.n == 0 ? a : of_account(v, host);
}

struct span pool_view_of(const struct pool_view *v, struct span account, struct span tenant, uint8_t class)
{
    if (v == NULL || account.n == 0)
        return (struct span){ "", 0 };
    const struct assigned *a = of_sender(v, account);
    if (a == NULL)
        a = assigned_find(v->config.senders, COMMAND_ASSIGN_TENANT, tenant);
    if (a == NULL)
        a = assigned_find(v->config.senders, POOLS_STANDING, account);
    return a != NULL ? a->pool : of_class(v, class);
}

bool pool_view_of_sender(const struct pool_view *v, struct span account, uint8_t class, struct span *out)
{
    *out = (struct span){ "", 0 };
    if (v == NULL)
        return true;
    const struct assigned *a = of_account(v, account);
    if (a != NULL) {
        *out = a->pool;
        return true;
    }
    if (v->config.senders != NULL && v->config.senders->tenants > 0)
        return false;
    a = assigned_find(v->config.senders, POOLS_STANDING, account);
    *out = a != NULL ? a->pool : of_class(v, class);
    /* mail without an account is queued under its reverse-path's domain, and has no pool */
    return out->n == 0 || (account.n > 0 && memchr(account.p, '@', account.n) != NULL);
}

static bool has_senders(const struct pool_view *v)
{
    if (v == NULL)
        return false;
    bool some = v->config.senders != NULL && v->config.senders->items.len > 0;
    for (int i = 0; i < POOLS_CLASSES; i++)
        some = some || v->config.class_pools[i].n > 0;
    return some;
}

bool pool_view_senders_differ(const struct pool_view *a, const struct pool_view *b)
{
    if (!has_senders(a) || !has_senders(b))
        return has_senders(a) != has_senders(b);
    bool same = a->config.senders == b->config.senders;
    for (int i = 0; i < POOLS_CLASSES; i++)
        same = same && span_eq(a->config.class_pools[i], b->config.class_pools[i]);
    return !same;
}

/* ---- choosing ------------------------------------------------------------------------------------------ */

static bool offered(const struct pool_address *a)
{
    return a->node != 0 && a->next == 0 && !a->absent && a->use == COMMAND_USE_ON && a->weight > 0;
}

bool pool_address_usable(const struct pool_view *v, const struct pool_address *a, bool session)
{
    return v->config.known && a->node == v->config.self && offered(a) && (session || !a->floating);
}

bool pool_address_kept(const struct pool_view *v, const struct pool_address *a, bool session)
{
    return a->node == v->config.self && a->next == 0 && a->use != COMMAND_USE_DISABLED &&
           (session || !a->floating);
}

/* The pool's first and one past its last. */
static void range(const struct pool_view *v, struct span pool, uint32_t *first, uint32_t *end)
{
    uint32_t low = 0, high = v->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (compare_pool(v->entries[mid]->a.pool, pool) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *first = low;
    while (low < v->n && span_eq(v->entries[low]->a.pool, pool))
        low++;
    *end = low;
}

/* The golden ratio's multiples fall evenly into [0, 1), wherever one begins. */
static uint64_t share(uint64_t turn, uint64_t total)
{
    return ((turn * 0x9E3779B97F4A7C15u) >> 32) * total >> 32;
}

struct wanted {
    const struct pool_view *v;
    uint8_t family; /* 0: any */
    bool session, others;
    bool warm; /* of others: those that do not warm up */
    pool_rests_fn *rests; /* NULL: none does */
    void *rests_ctx;
};

static bool fits(const struct wanted *w, const struct pool_address *a)
{
    if (w->family != 0 && a->addr.family != w->family)
        return false;
    if (w->rests != NULL && w->rests(w->rests_ctx, &a->addr))
        return false;
    return w->others ? offered(a) && a->node != w->v->config.self && !(w->warm && a->warming) : pool_address_usable(w->v, a, w->session);
}

static const struct pool_address *choose(const struct wanted *w, struct span pool, uint64_t turn)
{
    uint32_t first, end;
    uint64_t total = 0;
    range(w->v, pool, &first, &end);
    for (uint32_t i = first; i < end; i++)
        total += fits(w, &w->v->entries[i]->a) ? w->v->entries[i]->a.weight : 0;
    if (total == 0)
        return NULL;
    uint64_t at = share(turn, total);
    for (uint32_t i = first; i < end; i++) {
        const struct pool_address *a = &w->v->entries[i]->a;
        if (!fits(w, a))
            continue;
        if (at < a->weight)
            return a;
        at -= a->weight;
    }
    return NULL;
}

const struct pool_address *pool_view_choose(const struct pool_view *v, struct span pool, uint8_t family,
                                            uint64_t turn, bool session)
{
    if (v == NULL)
        return NULL;
    return choose(&(struct wanted){ .v = v, .family = family, .session = session }, pool, turn);
}

const struct pool_address *pool_view_choose_awake(const struct pool_view *v, struct span pool, uint8_t family,
                                                  uint64_t turn, bool session, pool_rests_fn *rests, void *ctx)
{
    const struct wanted w = { .v = v, .family = family, .session = session, .rests = rests, .rests_ctx = ctx };
    return v == NULL ? NULL : choose(&w, pool, turn);
}

static enum pool_reach reach(const struct wanted *here, const struct wanted *elsewhere, struct span pool,
                             uint64_t turn, uint64_t *node)
{
    *node = 0;
    if (here->v == NULL)
        return POOL_NOWHERE;
    if (choose(here, pool, turn) != NULL)
        return POOL_HERE;
    const struct pool_address *a = choose(elsewhere, pool, turn);
    if (a == NULL)
        return POOL_NOWHERE;
    *node = a->node;
    return POOL_ELSEWHERE;
}

enum pool_reach pool_view_reach(const struct pool_view *v, struct span pool, uint64_t turn, bool session,
                                uint64_t *node)
{
    return reach(&(struct wanted){ .v = v, .session = session }, &(struct wanted){ .v = v, .others = true }, pool,
                 turn, node);
}

bool pool_view_awake_elsewhere(const struct pool_view *v, struct span pool, uint64_t turn,
                               pool_rests_fn *rests, void *ctx, uint64_t *node)
{
    const struct wanted w = { .v = v, .others = true, .warm = true, .rests = rests, .rests_ctx = ctx };
    const struct pool_address *a = v == NULL ? NULL : choose(&w, pool, turn);
    *node = a == NULL ? 0 : a->node;
    return a != NULL;
}

bool pool_view_has(const struct pool_view *v, struct span pool)
{
    uint32_t first = 0, end = 0;
    if (v != NULL)
        range(v, pool, &first, &end);
    return end > first;
}

bool pool_view_lost(const struct pool_view *a, const struct pool_view *b)
{
    for (uint32_t i = 0; a != NULL && i < a->n; i++)
        if ((i == 0 || !span_eq(a->entries[i]->a.pool, a->entries[i - 1]->a.pool)) &&
            !pool_view_has(b, a->entries[i]->a.pool))
            return true;
    return false;
}

const struct pool_address *pool_view_absent(const struct pool_view *v, struct span pool)
{
    uint32_t i = 0, end = 0;
    if (v != NULL)
        range(v, pool, &i, &end);
    for (; i < end; i++) {
        const struct pool_address *a = &v->entries[i]->a;
        if (a->absent && a->node == v->config.self && a->next == 0)
            return a;
    }
    return NULL;
}

const struct pool_address *pool_view_find(const struct pool_view *v, const struct ip_addr *addr)
{
    const struct entry *e = v == NULL ? NULL : map_find(&v->by_addr, ip_addr_hash(addr), addr);
    return e == NULL ? NULL : &e->a;
}

bool pool_view_is_ours(const struct pool_view *v, const struct ip_addr *addr)
{
    bool ours = pool_view_find(v, addr) != NULL;
    for (uint32_t i = 0; v != NULL && i < v->nmembers && !ours; i++)
        ours = ip_addr_eq(&v->members[i], addr);
    return ours;
}

const struct pool_address *pool_view_at(const struct pool_view *v, uint32_t i)
{
    return v == NULL || i >= v->n ? NULL : &v->entries[i]->a;
}
