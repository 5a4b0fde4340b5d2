/* What becomes of accounts' mail, for the cluster: see tally.h. */
#include "node/core/tally.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "node/core/cluster_impl.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SUBMIT_MS 30000
#define COMPLAIN_MS 60000
#define ITEM_MAX (4 + COMMAND_NAME_MAX + 1 + RECORD_KINDS * 5)

struct entry {
    uint32_t count[RECORD_KINDS];
    size_t n;
    char account[];
};

struct tally {
    pthread_mutex_t lock;
    struct map entries;
    uint64_t lost;    /* counts, since that was said */
    atomic_bool used; /* the cluster takes reports */

    /* the cluster thread's */
    uint8_t process[16];
    uint64_t number; /* of the report in `out` */
    struct buf out;  /* not answered yet; empty: none */
    bool submitted;  /* the answer will come */
    int64_t told_ms; /* when the last one was put together */
    uint64_t unkept; /* accounts that the cluster had no room for */
    int64_t complained_ms;
};

static uint64_t entry_hash(const void *item)
{
    const struct entry *e = item;
    return hash_bytes(e->account, e->n);
}

static bool entry_match(const void *item, const void *key)
{
    const struct entry *e = item;
    return span_eq(span_of(e->account, e->n), *(const struct span *)key);
}

struct tally *tally_new(void)
{
    struct tally *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    if (getrandom(t->process, sizeof t->process, 0) != (ssize_t)sizeof t->process) {
        free(t);
        return NULL;
    }
    pthread_mutex_init(&t->lock, NULL);
    map_init(&t->entries, entry_hash, entry_match);
    buf_init(&t->out, RECORD_COUNTS_BYTES_MAX);
    return t;
}

void tally_free(struct tally *t)
{
    if (t == NULL)
        return;
    size_t at = 0;
    for (void *e; (e = map_next(&t->entries, &at)) != NULL;)
        free(e);
    map_fini(&t->entries);
    buf_fini(&t->out);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* Under the lock. */
static struct entry *entry_of(struct tally *t, struct span account)
{
    uint64_t hash = hash_bytes(account.p, account.n);
    struct entry *e = map_find(&t->entries, hash, &account);
    if (e != NULL || t->entries.len >= TALLY_ACCOUNTS_MAX)
        return e;
    e = calloc(1, sizeof *e + account.n);
    if (e == NULL)
        return NULL;
    e->n = account.n;
    memcpy(e->account, account.p, account.n);
    if (map_add(&t->entries, hash, e) == 0)
        return e;
    free(e);
    return NULL;
}

void tally_add(struct cluster *c, struct span account, uint8_t kind)
{
    struct tally *t = c == NULL ? NULL : c->tally;
    if (t == NULL || account.n == 0 || account.n > COMMAND_NAME_MAX || kind >= RECORD_KINDS ||
        !atomic_load(&t->used))
        return;
    pthread_mutex_lock(&t->lock);
    struct entry *e = entry_of(t, account);
    if (e == NULL)
        t->lost++;
    else if (e->count[kind] < UINT32_MAX)
        e->count[kind]++;
    pthread_mutex_unlock(&t->lock);
}

/* As much as one report takes. */
static void gather(struct tally *t)
{
    struct entry *taken[RECORD_COUNTS_BYTES_MAX / 11 + 1]; /* an item has 11 bytes at least */
    size_t n = 0, at = 0;
    pthread_mutex_lock(&t->lock);
    for (struct entry *e;
         t->out.len + ITEM_MAX <= RECORD_COUNTS_BYTES_MAX && (e = map_next(&t->entries, &at)) != NULL;) {
        struct record_counts item = { .account = span_of(e->account, e->n) };
        memcpy(item.count, e->count, sizeof item.count);
        if (record_counts_put(&t->out, &item) != 0)
            break;
        taken[n++] = e;
    }
    for (size_t i = 0; i < n; i++) {
        map_remove(&t->entries, entry_hash(taken[i]), taken[i]);
        free(taken[i]);
    }
    pthread_mutex_unlock(&t->lock);
    if (t->out.len > 0)
        t->number++;
}

static void reported_cb(void *ctx, int err, const struct machine_result *r)
{
    struct tally *t = ctx;
    t->submitted = false;
    if (err != 0)
        return; /* the same report once more: it counts once */
    if (r->err != 0)
        log_warn("bounces", "counts of senders' mail were not taken: %s", r->words);
    else
        t->unkept += r->count;
    buf_reset(&t->out);
}

static void submit(struct cluster *c)
{
    struct tally *t = c->tally;
    struct command cmd = { .type = COMMAND_RECORD_REPORT,
                           .record_report = { .number = t->number, .counts = buf_span(&t->out) } };
    memcpy(cmd.record_report.process, t->process, sizeof t->process);
    t->submitted = agent_submit(c->agent, &cmd, SUBMIT_MS, reported_cb, t) == 0;
}

static void complain(struct tally *t, int64_t now_ms)
{
    if (t->complained_ms != 0 && now_ms - t->complained_ms < COMPLAIN_MS)
        return;
    pthread_mutex_lock(&t->lock);
    uint64_t lost = t->lost;
    t->lost = 0;
    pthread_mutex_unlock(&t->lock);
    if (lost == 0 && t->unkept == 0)
        return;
    t->complained_ms = now_ms;
    log_warn("bounces", "%llu recipients and %llu accounts are not in senders' records: too many at a time",
             (unsigned long long)lost, (unsigned long long)t->unkept);
    t->unkept = 0;
}

static size_t waiting(struct tally *t)
{
    pthread_mutex_lock(&t->lock);
    size_t n = t->entries.len;
    pthread_mutex_unlock(&t->lock);
    return n;
}

void tally_tick(struct cluster *c, int64_t now_ms)
{
    struct tally *t = c->tally;
    atomic_store(&t->used, command_type_level(COMMAND_RECORD_REPORT) <= machine_features(c->m));
    if (!atomic_load(&t->used) || t->submitted)
        return;
    bool many = waiting(t) > 1000; /* more than one report takes: it does not wait for its turn */
    if (t->out.len == 0 && (many || now_ms - t->told_ms >= TALLY_EVERY_MS)) {
        t->told_ms = now_ms;
        gather(t);
    }
    if (t->out.len > 0)
        submit(c);
    complain(t, now_ms);
}

void tally_last(struct cluster *c)
{
    struct tally *t = c->tally;
    if (c->agent == NULL || !atomic_load(&t->used) || t->submitted)
        return;
    if (t->out.len == 0)
        gather(t);
    if (t->out.len > 0)
        submit(c);
}
