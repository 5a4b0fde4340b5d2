/* Messages in hand of addresses that warm up: see warmup_hand.h. */
#include "node/core/warmup_hand.h"

#include "base/ensure.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_MS 60000    /* then what is in hand goes back */
#define FORGET_MS 600000 /* a pair that nobody has looked at */

struct pair {
    struct list link; /* of all */
    struct list due;  /* the last scan found something to tell */
    struct list want; /* some are to be asked for */
    struct warmup_name name;
    uint32_t in_hand, batch; /* batch: the last one's size */
    bool unlimited, asked, gone;
    uint64_t plan, until_ms;
    int64_t end_ms, again_ms, used_ms;
    uint32_t unspent, n[WARMUP_OUTCOMES]; /* to be told */
};

struct warmup_hand {
    pthread_mutex_t lock;
    struct map map;
    struct list all, due, want;
};

/* ---- pairs --------------------------------------------------------------------------------------------- */

static uint64_t name_hash(const struct warmup_name *name)
{
    return hash_bytes(name->site, name->nsite) ^ hash_u64(ip_addr_hash(&name->addr));
}

static uint64_t pair_hash(const void *item)
{
    return name_hash(&((const struct pair *)item)->name);
}

static bool pair_match(const void *item, const void *key)
{
    const struct warmup_name *a = &((const struct pair *)item)->name, *b = key;
    return ip_addr_eq(&a->addr, &b->addr) && a->nsite == b->nsite && memcmp(a->site, b->site, a->nsite) == 0;
}

static struct pair *find(struct warmup_hand *h, const struct warmup_name *name)
{
    return map_find(&h->map, name_hash(name), name);
}

static struct warmup_name name_of(const struct ip_addr *addr, struct span site)
{
    struct warmup_name name = { .addr = *addr };
    name.nsite = site.n < sizeof name.site ? site.n : sizeof name.site;
    if (name.nsite > 0)
        memcpy(name.site, site.p, name.nsite);
    return name;
}

/* NULL: full, or no memory. */
static struct pair *get(struct warmup_hand *h, const struct warmup_name *name, int64_t now_ms)
{
    struct pair *p = find(h, name);
    if (p != NULL || h->map.len >= WARMUP_HAND_MAX || (p = calloc(1, sizeof *p)) == NULL)
        return p;
    p->name = *name;
    p->used_ms = now_ms;
    if (map_add(&h->map, pair_hash(p), p) != 0) {
        free(p);
        return NULL;
    }
    list_push_back(&h->all, &p->link);
    return p;
}

static void drop(struct warmup_hand *h, struct pair *p)
{
    ensure(map_remove(&h->map, pair_hash(p), p));
    list_remove(&p->link);
    list_remove(&p->due);
    list_remove(&p->want);
    free(p);
}

struct warmup_hand *warmup_hand_new(void)
{
    struct warmup_hand *h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    pthread_mutex_init(&h->lock, NULL);
    map_init(&h->map, pair_hash, pair_match);
    list_init(&h->all);
    list_init(&h->due);
    list_init(&h->want);
    return h;
}

void warmup_hand_free(struct warmup_hand *h)
{
    if (h == NULL)
        return;
    LIST_EACH_SAFE(link, &h->all)
    drop(h, LIST_ITEM(link, struct pair, link));
    map_fini(&h->map);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

/* ---- workers ------------------------------------------------------------------------------------------- */

/* What has ended goes back: the cluster knows whether its day is over. */
static void expire(struct pair *p, int64_t now_ms)
{
    if (now_ms < p->end_ms)
        return;
    p->unspent += p->in_hand;
    p->in_hand = 0;
    p->unlimited = false;
}

static void want(struct warmup_hand *h, struct pair *p, int64_t now_ms)
{
    if (!p->asked && now_ms >= p->again_ms && !list_linked(&p->want))
        list_push_back(&h->want, &p->want);
}

enum warmup_answer warmup_hand_look(struct warmup_hand *h, const struct ip_addr *addr, struct span site,
                                    int64_t now_ms)
{
    struct warmup_name name = name_of(addr, site);
    enum warmup_answer answer = WARMUP_NO;
    pthread_mutex_lock(&h->lock);
    struct pair *p = get(h, &name, now_ms);
    if (p != NULL) {
        expire(p, now_ms);
        p->used_ms = now_ms;
        bool some = p->unlimited || p->in_hand > 0;
        if (!some)
            want(h, p, now_ms);
        answer = some ? WARMUP_YES : p->gone && now_ms < p->again_ms ? WARMUP_NO : WARMUP_SOON;
    }
    pthread_mutex_unlock(&h->lock);
    return answer;
}

bool warmup_hand_take(struct warmup_hand *h, const struct ip_addr *addr, struct span site, int64_t now_ms,
                      struct warmup_token *out)
{
    struct warmup_name name = name_of(addr, site);
    pthread_mutex_lock(&h->lock);
    struct pair *p = find(h, &name);
    bool some = false;
    if (p != NULL) {
        expire(p, now_ms);
        p->used_ms = now_ms;
        some = p->unlimited || p->in_hand > 0;
        p->in_hand -= some && !p->unlimited ? 1 : 0;
        *out = (struct warmup_token){ p->plan, p->until_ms };
        if (!p->unlimited && p->in_hand <= p->batch / 4) /* the next ones, while there are some */
            want(h, p, now_ms);
    }
    pthread_mutex_unlock(&h->lock);
    return some;
}

void warmup_hand_untake(struct warmup_hand *h, const struct ip_addr *addr, struct span site,
                        const struct warmup_token *token)
{
    struct warmup_name name = name_of(addr, site);
    pthread_mutex_lock(&h->lock);
    struct pair *p = find(h, &name);
    if (p != NULL && !p->unlimited && p->plan == token->plan && p->until_ms == token->until_ms)
        p->in_hand++; /* one of another day is lost */
    pthread_mutex_unlock(&h->lock);
}

void warmup_hand_result(struct warmup_hand *h, const struct ip_addr *addr, struct span site,
                        enum warmup_outcome what, int64_t now_ms)
{
    struct warmup_name name = name_of(addr, site);
    pthread_mutex_lock(&h->lock);
    struct pair *p = get(h, &name, now_ms);
    if (p != NULL)
        p->n[what]++;
    pthread_mutex_unlock(&h->lock);
}

/* ---- asking -------------------------------------------------------------------------------------------- */

bool warmup_hand_ask(struct warmup_hand *h, struct warmup_name *out)
{
    pthread_mutex_lock(&h->lock);
    struct list *link = list_pop_front(&h->want);
    if (link != NULL) {
        struct pair *p = LIST_ITEM(link, struct pair, want);
        p->asked = true;
        *out = p->name;
    }
    pthread_mutex_unlock(&h->lock);
    return link != NULL;
}

void warmup_hand_granted(struct warmup_hand *h, const struct warmup_name *name, const struct warmup_grant *g)
{
    pthread_mutex_lock(&h->lock);
    struct pair *p = find(h, name);
    ensure(p != NULL); /* it stays while it is asked for */
    if (p->plan != g->plan || p->until_ms != g->until_ms)
        p->in_hand = p->unspent = 0; /* another day's */
    p->asked = p->gone = false;
    p->unlimited = g->count == COMMAND_WARMUP_UNLIMITED;
    p->in_hand = p->unlimited ? 0 : p->in_hand + g->count;
    p->batch = p->in_hand;
    p->plan = g->plan;
    p->until_ms = g->until_ms;
    p->end_ms = g->end_ms;
    pthread_mutex_unlock(&h->lock);
}

void warmup_hand_refused(struct warmup_hand *h, const struct warmup_name *name, bool gone, int64_t again_ms)
{
    pthread_mutex_lock(&h->lock);
    struct pair *p = find(h, name);
    ensure(p != NULL);
    p->asked = false;
    p->gone = gone;
    p->again_ms = again_ms;
    pthread_mutex_unlock(&h->lock);
}

/* ---- telling ------------------------------------------------------------------------------------------- */

static bool anything(const struct pair *p)
{
    uint32_t n = p->unspent;
    for (int i = 0; i < WARMUP_OUTCOMES; i++)
        n |= p->n[i];
    return n != 0;
}

void warmup_hand_scan(struct warmup_hand *h, int64_t now_ms, warmup_kept_fn *kept, void *ctx)
{
    pthread_mutex_lock(&h->lock);
    LIST_EACH_SAFE(link, &h->all)
    {
        struct pair *p = LIST_ITEM(link, struct pair, link);
        expire(p, now_ms);
        if (p->in_hand > 0 && (now_ms - p->used_ms >= IDLE_MS || !kept(ctx, &p->name.addr))) {
            p->unspent += p->in_hand;
            p->in_hand = 0;
        }
        if (anything(p)) {
            if (!list_linked(&p->due))
                list_push_back(&h->due, &p->due);
        } else if (!p->asked && p->in_hand == 0 && now_ms - p->used_ms >= FORGET_MS) {
            drop(h, p);
        }
    }
    pthread_mutex_unlock(&h->lock);
}

bool warmup_hand_report(struct warmup_hand *h, struct warmup_report *out)
{
    pthread_mutex_lock(&h->lock);
    struct list *link = list_pop_front(&h->due);
    if (link != NULL) {
        struct pair *p = LIST_ITEM(link, struct pair, due);
        *out = (struct warmup_report){
            .name = p->name, .plan = p->plan, .until_ms = p->until_ms, .unspent = p->unspent
        };
        memcpy(out->n, p->n, sizeof out->n);
        p->unspent = 0;
        memset(p->n, 0, sizeof p->n);
    }
    pthread_mutex_unlock(&h->lock);
    return link != NULL;
}

void warmup_hand_untold(struct warmup_hand *h, const struct warmup_report *r)
{
    pthread_mutex_lock(&h->lock);
    struct pair *p = find(h, &r->name);
    for (int i = 0; p != NULL && i < WARMUP_OUTCOMES; i++)
        p->n[i] += r->n[i];
    pthread_mutex_unlock(&h->lock);
}
