/* Addresses that come back from a rest: see source_trial.h. */
#include "node/core/source_trial.h"

#include "base/ensure.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define UNHEARD_MS 900000  /* of which nothing was heard for so long after they were taken: they were lost */
#define UNUSED_MS 86400000 /* after its rest: then another node has the address, or nothing goes there */

struct trial {
    struct list link; /* the one that is longest unused is first */
    struct ip_addr addr;
    int64_t until_ms, taken_ms, used_ms;
    uint32_t first, step, left, out; /* out: taken, and not heard of */
    uint32_t good, bad;
    uint32_t rests;
    size_t nkey;
    char key[];
};

struct source_trials {
    pthread_mutex_t lock;
    struct map map;
    struct list all;
    atomic_uint n;
};

struct name {
    const struct ip_addr *addr;
    struct span key;
};

static uint64_t name_hash(const struct name *name)
{
    return hash_bytes(name->key.p, name->key.n) ^ hash_u64(ip_addr_hash(name->addr));
}

static uint64_t trial_hash(const void *item)
{
    const struct trial *x = item;
    return name_hash(&(struct name){ &x->addr, span_of(x->key, x->nkey) });
}

static bool trial_match(const void *item, const void *key)
{
    const struct trial *x = item;
    const struct name *name = key;
    return ip_addr_eq(&x->addr, name->addr) && span_eq(span_of(x->key, x->nkey), name->key);
}

struct source_trials *source_trials_new(void)
{
    struct source_trials *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    pthread_mutex_init(&t->lock, NULL);
    map_init(&t->map, trial_hash, trial_match);
    list_init(&t->all);
    return t;
}

static void drop(struct source_trials *t, struct trial *x)
{
    ensure(map_remove(&t->map, trial_hash(x), x));
    list_remove(&x->link);
    free(x);
    atomic_store(&t->n, (unsigned)t->map.len);
}

void source_trials_free(struct source_trials *t)
{
    if (t == NULL)
        return;
    LIST_EACH_SAFE(link, &t->all)
    drop(t, LIST_ITEM(link, struct trial, link));
    map_fini(&t->map);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* Under the lock. */
static struct trial *find(struct source_trials *t, struct span key, const struct ip_addr *addr)
{
    struct name name = { addr, key };
    return map_find(&t->map, name_hash(&name), &name);
}

static void used(struct source_trials *t, struct trial *x, int64_t now_ms)
{
    x->used_ms = now_ms;
    list_remove(&x->link);
    list_push_back(&t->all, &x->link);
}

static void begin_step(struct trial *x)
{
    x->left = x->first << (2 * x->step);
    x->out = x->good = x->bad = 0;
}

static struct trial *make(struct source_trials *t, struct span key, const struct ip_addr *addr)
{
    if (t->map.len >= SOURCE_TRIALS_MAX)
        drop(t, LIST_ITEM(list_first(&t->all), struct trial, link));
    struct trial *x = calloc(1, sizeof *x + key.n);
    if (x == NULL)
        return NULL;
    x->addr = *addr;
    x->nkey = key.n;
    memcpy(x->key, key.p, key.n);
    if (map_add(&t->map, trial_hash(x), x) != 0) {
        free(x);
        return NULL;
    }
    list_push_back(&t->all, &x->link);
    atomic_store(&t->n, (unsigned)t->map.len);
    return x;
}

void source_trial_rest(struct source_trials *t, struct span key, const struct ip_addr *addr, uint32_t first,
                       int64_t until_ms)
{
    pthread_mutex_lock(&t->lock);
    struct trial *x = find(t, key, addr);
    if (x == NULL)
        x = make(t, key, addr);
    if (x != NULL) {
        used(t, x, until_ms);
        x->until_ms = until_ms;
        x->first = first;
        x->step = 0;
        x->rests++;
        begin_step(x);
    }
    pthread_mutex_unlock(&t->lock);
}

void source_trial_end(struct source_trials *t, struct span key, const struct ip_addr *addr)
{
    pthread_mutex_lock(&t->lock);
    LIST_EACH_SAFE(link, &t->all)
    {
        struct trial *x = LIST_ITEM(link, struct trial, link);
        if (span_eq(span_of(x->key, x->nkey), key) && (addr == NULL || ip_addr_eq(&x->addr, addr)))
            drop(t, x);
    }
    pthread_mutex_unlock(&t->lock);
}

uint32_t source_trial_longer(struct source_trials *t, struct span key, const struct ip_addr *addr)
{
    pthread_mutex_lock(&t->lock);
    const struct trial *x = find(t, key, addr);
    uint32_t rests = x == NULL ? 0 : x->rests;
    pthread_mutex_unlock(&t->lock);
    return 1u << (rests < SOURCE_TRIAL_LONGER_MAX ? rests : SOURCE_TRIAL_LONGER_MAX);
}

/* ---- messages ------------------------------------------------------------------------------------------ */

/* The trial that is under way, or NULL. */
static struct trial *running(struct source_trials *t, struct span key, const struct ip_addr *addr,
                             int64_t now_ms)
{
    struct trial *oldest = list_empty(&t->all) ? NULL : LIST_ITEM(list_first(&t->all), struct trial, link);
    if (oldest != NULL && now_ms - oldest->used_ms >= UNUSED_MS)
        drop(t, oldest);
    struct trial *x = find(t, key, addr);
    if (x == NULL || now_ms < x->until_ms)
        return NULL; /* while it rests, the hold says so */
    if (x->left == 0 && x->out > 0 && now_ms - x->taken_ms >= UNHEARD_MS)
        begin_step(x);
    return x;
}

bool source_trial_limited(struct source_trials *t, struct span key, const struct ip_addr *addr,
                          int64_t now_ms)
{
    if (atomic_load_explicit(&t->n, memory_order_relaxed) == 0)
        return false;
    pthread_mutex_lock(&t->lock);
    const struct trial *x = running(t, key, addr, now_ms);
    bool limited = x != NULL && x->left == 0;
    pthread_mutex_unlock(&t->lock);
    return limited;
}

bool source_trial_take(struct source_trials *t, struct span key, const struct ip_addr *addr, int64_t now_ms,
                       bool *counts)
{
    *counts = false;
    if (atomic_load_explicit(&t->n, memory_order_relaxed) == 0)
        return true;
    pthread_mutex_lock(&t->lock);
    struct trial *x = running(t, key, addr, now_ms);
    *counts = x != NULL && x->left > 0;
    if (*counts) {
        used(t, x, now_ms);
        x->taken_ms = now_ms;
        x->left--;
        x->out++;
    }
    pthread_mutex_unlock(&t->lock);
    return x == NULL || *counts;
}

void source_trial_untake(struct source_trials *t, struct span key, const struct ip_addr *addr)
{
    pthread_mutex_lock(&t->lock);
    struct trial *x = find(t, key, addr);
    if (x != NULL && x->out > 0) {
        x->out--;
        x->left++;
    }
    pthread_mutex_unlock(&t->lock);
}

/* It is bad as soon as the rest of the step cannot make it good any more. */
static enum source_trial_verdict judge(struct trial *x, const struct reputation_rest *rules)
{
    uint32_t all = x->first << (2 * x->step);
    if (x->bad > 0 && (uint64_t)x->bad * 100 >= (uint64_t)all * rules->refused_pct) {
        begin_step(x);
        return SOURCE_TRIAL_FAILED;
    }
    if (x->left > 0 || x->out > 0)
        return SOURCE_TRIAL_GOES_ON;
    if (x->good == 0) { /* what says nothing is no success */
        begin_step(x);
        return SOURCE_TRIAL_GOES_ON;
    }
    if (x->bad > 0 && (uint64_t)x->bad * 100 >= (uint64_t)(x->good + x->bad) * rules->refused_pct) {
        begin_step(x);
        return SOURCE_TRIAL_FAILED;
    }
    x->step++;
    begin_step(x);
    return x->step == SOURCE_TRIAL_STEPS ? SOURCE_TRIAL_PASSED : SOURCE_TRIAL_GOES_ON;
}

enum source_trial_verdict source_trial_result(struct source_trials *t, struct span key,
                                              const struct ip_addr *addr, enum source_trial_outcome outcome,
                                              const struct reputation_rest *rules)
{
    enum source_trial_verdict verdict = SOURCE_TRIAL_GOES_ON;
    pthread_mutex_lock(&t->lock);
    struct trial *x = find(t, key, addr);
    if (x != NULL && x->out > 0) { /* else it is of an earlier step or rest */
        x->out--;
        x->good += outcome == SOURCE_TRIAL_GOOD;
        x->bad += outcome == SOURCE_TRIAL_BAD;
        verdict = judge(x, rules);
        if (verdict == SOURCE_TRIAL_PASSED)
            drop(t, x);
    }
    pthread_mutex_unlock(&t->lock);
    return verdict;
}

uint32_t source_trials_count(struct source_trials *t)
{
    return atomic_load(&t->n);
}
