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

struct entry {
    struct sender_facts facts; /* but for the account, which is below */
    uint32_t credit;           /* of the recipients in it: admitted without being known to the cluster */
    struct list looks;         /* tally_look: what waits until it is */
    size_t n;
    char account[];
};

struct tally {
    pthread_mutex_t lock;
    struct map entries; /* to be told */
    struct map told;  /* those of the report that is not answered, or not acted upon, whose senders need it */
    uint32_t waiting; /* looks */
    uint64_t lost;    /* counts, since that was said */
    bool more;        /* than the last report had room for */
    atomic_bool used; /* the cluster takes reports */
    atomic_bool spam; /* and what the content check says */
    atomic_bool sees; /* and looks */

    /* the cluster thread's */
    uint8_t process[16];
    uint64_t number;    /* of the report in `out` */
    struct buf out;     /* not answered yet; empty: none */
    bool submitted;     /* the answer will come */
    bool answered;      /* it came, and workers must act up to: */
    uint64_t published; /* this index */
    int64_t told_ms;    /* when the last one was put together */
    uint64_t unkept;    /* accounts that the cluster had no room for */
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
    map_init(&t->told, entry_hash, entry_match);
    buf_init(&t->out, RECORD_COUNTS_BYTES_MAX);
    return t;
}

static void map_free(struct map *m)
{
    size_t at = 0;
    for (struct entry *e; (e = map_next(m, &at)) != NULL; free(e))
        for (struct list *link; (link = list_pop_front(&e->looks)) != NULL;)
            free(LIST_ITEM(link, struct tally_look, link));
    map_fini(m);
}

void tally_free(struct tally *t)
{
    if (t == NULL)
        return;
    map_free(&t->entries);
    map_free(&t->told);
    buf_fini(&t->out);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* ---- counting ------------------------------------------------------------------------------------------ */

/* Under the lock. */
static struct entry *entry_find(const struct map *m, struct span account)
{
    return map_find(m, hash_bytes(account.p, account.n), &account);
}

/* Under the lock. */
static struct entry *entry_of(struct tally *t, struct span account)
{
    struct entry *e = entry_find(&t->entries, account);
    if (e != NULL || t->entries.len >= TALLY_ACCOUNTS_MAX)
        return e;
    e = calloc(1, sizeof *e + account.n);
    if (e == NULL)
        return NULL;
    e->facts.class = FACTS_CLASS_UNKNOWN;
    list_init(&e->looks);
    e->n = account.n;
    memcpy(e->account, account.p, account.n);
    if (map_add(&t->entries, entry_hash(e), e) == 0)
        return e;
    free(e);
    return NULL;
}

static void add(uint32_t *count, uint32_t n)
{
    *count = *count > UINT32_MAX - n ? UINT32_MAX : *count + n;
}

void tally_add(struct cluster *c, struct span account, uint8_t kind)
{
    struct tally *t = c == NULL ? NULL : c->tally;
    if (t == NULL || account.n == 0 || account.n > COMMAND_NAME_MAX || kind >= RECORD_KINDS ||
        !atomic_load(&t->used) || (kind == RECORD_SPAM && !atomic_load(&t->spam)))
        return;
    pthread_mutex_lock(&t->lock);
    struct entry *e = entry_of(t, account);
    if (e == NULL)
        t->lost++;
    else
        add(&e->facts.counts.count[kind], 1);
    pthread_mutex_unlock(&t->lock);
}

bool tally_sees(struct cluster *c)
{
    return c != NULL && c->tally != NULL && atomic_load(&c->tally->sees);
}

static void merge(struct sender_facts *to, const struct sender_facts *f)
{
    if (f->class < to->class) /* of several, the one of which least is expected: person before bulk */
        to->class = f->class;
    for (unsigned i = 0; i < RECORD_KINDS; i++)
        add(&to->counts.count[i], f->counts.count[i]);
    for (unsigned i = 0; i < FACTS_KINDS; i++)
        facts_sketch_merge(&to->sketch[i], &f->sketch[i]);
    for (uint32_t i = 0; i < f->ngroups; i++)
        (void)sender_facts_group(to, &f->group[i]);
}

static void run_answered(struct worker *w, struct worker_msg *msg)
{
    struct tally_look *l = LIST_ITEM(msg, struct tally_look, msg);
    (void)w;
    if (l->ctx != NULL)
        l->answered(l->ctx, l->answer);
    free(l);
}

void tally_look_forget(struct tally_look *l)
{
    l->ctx = NULL;
}

/* Under the lock. */
static struct tally_look *look_add(struct tally *t, struct entry *e)
{
    struct tally_look *l = t->waiting >= TALLY_WAITING_MAX ? NULL : calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    l->msg.run = run_answered;
    l->until_ms = clock_boot_ms() + TALLY_ANSWER_MS;
    t->waiting++;
    list_push_back(&e->looks, &l->link);
    return l;
}

enum tally_answer tally_seen(struct cluster *c, const struct sender_facts *f, uint32_t credit,
                             struct worker *w, void (*answered)(void *ctx, enum tally_answer answer),
                             void *ctx, struct tally_look **out)
{
    struct tally *t = c->tally;
    struct span account = f->counts.account;
    uint32_t n = f->counts.count[RECORD_ACCEPTED];
    enum tally_answer answer = TALLY_GO;
    *out = NULL;
    if (account.n == 0 || account.n > COMMAND_NAME_MAX || !tally_sees(c))
        return TALLY_GO;
    pthread_mutex_lock(&t->lock);
    struct entry *e = entry_of(t, account), *told = entry_find(&t->told, account);
    uint64_t out_now = (uint64_t)n + (e != NULL ? e->credit : 0) + (told != NULL ? told->credit : 0);
    if (e == NULL) {
        t->lost++;
        answer = credit > 0 ? TALLY_BUSY : TALLY_GO;
    } else if (credit > 0 && out_now > credit) {
        answer = (*out = look_add(t, e)) != NULL ? TALLY_WAIT : TALLY_BUSY;
    } else if (credit > 0) {
        e->credit += n;
    }
    if (*out != NULL) {
        (*out)->w = w;
        (*out)->answered = answered;
        (*out)->ctx = ctx;
    }
    if (e != NULL && answer != TALLY_BUSY)
        merge(&e->facts, f);
    pthread_mutex_unlock(&t->lock);
    return answer;
}

/* ---- telling ------------------------------------------------------------------------------------------- */

/* Under the lock: answers all that waits there. */
static void answer_looks(struct tally *t, struct entry *e, enum tally_answer answer)
{
    for (struct list *link; (link = list_pop_front(&e->looks)) != NULL;) {
        struct tally_look *l = LIST_ITEM(link, struct tally_look, link);
        l->answer = answer;
        t->waiting--;
        worker_post_always(l->w, &l->msg);
    }
}

/* The report has been dealt with. */
static void release(struct tally *t, enum tally_answer answer)
{
    size_t at = 0;
    pthread_mutex_lock(&t->lock);
    for (struct entry *e; (e = map_next(&t->told, &at)) != NULL; free(e))
        answer_looks(t, e, answer);
    map_fini(&t->told);
    map_init(&t->told, entry_hash, entry_match);
    pthread_mutex_unlock(&t->lock);
    buf_reset(&t->out);
    t->answered = false;
}

/* What has waited too long. */
static void give_up(struct tally *t, struct map *m, int64_t now_ms)
{
    size_t at = 0;
    for (struct entry *e; (e = map_next(m, &at)) != NULL;) {
        struct tally_look *first =
            list_empty(&e->looks) ? NULL : LIST_ITEM(list_first(&e->looks), struct tally_look, link);
        if (first != NULL && now_ms >= first->until_ms)
            answer_looks(t, e, TALLY_BUSY);
    }
}

static bool one_waits(const struct map *m)
{
    size_t at = 0;
    for (struct entry *e; (e = map_next(m, &at)) != NULL;)
        if (!list_empty(&e->looks))
            return true;
    return false;
}

static int put(struct tally *t, struct entry *e)
{
    e->facts.counts.account = span_of(e->account, e->n);
    return atomic_load(&t->sees) ? sender_facts_put(&t->out, &e->facts)
                                 : record_counts_put(&t->out, &e->facts.counts);
}

/* As much as one report takes; those that somebody waits for first. Those whose senders have credit are kept
 * until the cluster has them. */
static void gather(struct tally *t)
{
    struct entry *taken[RECORD_COUNTS_BYTES_MAX / 11 + 1]; /* an item has 11 bytes at least */
    size_t n = 0;
    pthread_mutex_lock(&t->lock);
    for (int pass = t->waiting > 0 ? 0 : 1; pass < 2; pass++) {
        size_t at = 0;
        for (struct entry *e; t->out.len + SENDER_FACTS_BYTES_MAX <= RECORD_COUNTS_BYTES_MAX &&
                              (e = map_next(&t->entries, &at)) != NULL;) {
            if (list_empty(&e->looks) == (pass == 0) ||
                (pass == 1 && t->waiting > 0 && !list_empty(&e->looks)))
                continue;
            if (put(t, e) != 0)
                break;
            taken[n++] = e;
        }
    }
    for (size_t i = 0; i < n; i++) {
        map_remove(&t->entries, entry_hash(taken[i]), taken[i]);
        if ((taken[i]->credit == 0 && list_empty(&taken[i]->looks)) ||
            map_add(&t->told, entry_hash(taken[i]), taken[i]) != 0) {
            answer_looks(t, taken[i], TALLY_BUSY);
            free(taken[i]);
        }
    }
    t->more = n > 0 && t->entries.len > 0;
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
    if (r->err != 0) {
        log_warn("senders", "counts of senders' mail were not taken: %s", r->words);
        release(t, TALLY_BUSY);
        return;
    }
    if (r->words[0] != '\0')
        log_warn("senders", "%s", r->words);
    t->unkept += r->count;
    t->published = r->id / COMMAND_ENTRY_MAX;
    t->answered = true;
}

static void submit(struct cluster *c)
{
    struct tally *t = c->tally;
    struct command cmd = { .type = COMMAND_RECORD_REPORT,
                           .record_report = { .number = t->number, .counts = buf_span(&t->out) } };
    memcpy(cmd.record_report.process, t->process, sizeof t->process);
    if (atomic_load(&t->sees)) {
        cmd = (struct command){
            .type = COMMAND_SENDER_LOOK,
            .sender_look = { .number = t->number, .wall_ms = clock_wall_ms(), .facts = buf_span(&t->out) }
        };
        memcpy(cmd.sender_look.process, t->process, sizeof t->process);
    }
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

/* The last report did not take all, or somebody waits: the next one does not wait for its turn. */
static bool urgent(struct tally *t, int64_t now_ms)
{
    pthread_mutex_lock(&t->lock);
    bool yes = t->more;
    if (t->waiting > 0) {
        give_up(t, &t->entries, now_ms);
        give_up(t, &t->told, now_ms);
        yes = yes || one_waits(&t->entries);
    }
    pthread_mutex_unlock(&t->lock);
    return yes;
}

/* A report is encoded for the level that was in force; none is under way when that changes. */
static void look_at_level(struct cluster *c)
{
    struct tally *t = c->tally;
    uint32_t level = machine_features(c->m);
    atomic_store(&t->spam, level >= RECORD_SPAM_FEATURE);
    atomic_store(&t->used, command_type_level(COMMAND_RECORD_REPORT) <= level);
    if (t->out.len == 0)
        atomic_store(&t->sees, command_type_level(COMMAND_SENDER_LOOK) <= level);
}

void tally_tick(struct cluster *c, int64_t now_ms)
{
    struct tally *t = c->tally;
    look_at_level(c);
    if (!atomic_load(&t->used))
        return;
    bool now = urgent(t, now_ms);
    if (t->answered && agent_published(c->agent) >= t->published)
        release(t, TALLY_GO);
    if (t->submitted || t->answered)
        return;
    if (t->out.len == 0 && (now || now_ms - t->told_ms >= TALLY_EVERY_MS)) {
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
    if (c->agent == NULL || !atomic_load(&t->used) || t->submitted || t->answered)
        return;
    if (t->out.len == 0)
        gather(t);
    if (t->out.len > 0)
        submit(c);
}

void tally_end(struct cluster *c)
{
    struct tally *t = c->tally;
    atomic_store(&t->used, false);
    atomic_store(&t->sees, false);
    pthread_mutex_lock(&t->lock);
    give_up(t, &t->entries, INT64_MAX);
    give_up(t, &t->told, INT64_MAX);
    pthread_mutex_unlock(&t->lock);
}
