/* Names of web senders: see web_claim.h. */
#include "node/core/web_claim.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "consensus/web_sender.h"
#include "node/core/cluster_impl.h"
#include "node/core/report.h"
#include "node/policy/policy.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FULL_MAX 1024  /* hosts, by hash: another one in its place is asked about sooner */
#define TURN_MAX 64    /* proposed in one tick */
#define FRESH_PART 8   /* a name goes on when so much of its time has passed */
#define AGAIN_MS 60000 /* and is not asked for again by this node before */
#define AGAIN_MAX 4096 /* names, by hash */

struct web_claims {
    pthread_mutex_t lock;
    struct list waiting; /* to be proposed */
    uint32_t len;        /* with those that are */
    bool open;           /* the cluster thread takes them */
    struct {
        uint64_t host;
        int64_t until_ms, told_ms;
    } full[FULL_MAX];
    struct {
        uint64_t name;
        int64_t until_ms;
    } again[AGAIN_MAX];
};

struct web_claims *web_claims_new(void)
{
    struct web_claims *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    pthread_mutex_init(&c->lock, NULL);
    list_init(&c->waiting);
    return c;
}

void web_claims_free(struct web_claims *c)
{
    if (c == NULL)
        return;
    for (struct list *link; (link = list_pop_front(&c->waiting)) != NULL;)
        free(LIST_ITEM(link, struct web_claim, link));
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- asking, on a worker ------------------------------------------------------------------------------- */

static uint64_t host_hash(struct span name)
{
    struct span host = web_sender_host(name);
    return hash_bytes(host.p, host.n);
}

/* *fresh: it need not be claimed for a good while. */
static bool is_known(struct cluster *c, struct span name, uint64_t life_ms, bool *fresh)
{
    struct machine *m = cluster_machine(c);
    struct directory_web found;
    if (m == NULL)
        return false;
    machine_read_lock(m);
    bool known = directory_web_find(m, name, &found);
    *fresh = known && machine_now_ms(m) < found.seen_ms + life_ms / FRESH_PART;
    machine_read_unlock(m);
    return known;
}

static void run_answered(struct worker *w, struct worker_msg *msg)
{
    struct web_claim *it = LIST_ITEM(msg, struct web_claim, msg);
    if (it->answer == WEB_FULL && it->tell && w->stopping == 0) {
        struct event e = EVENT_INIT(EVENT_WEB_SENDERS);
        e.account = web_sender_host(span_str(it->name));
        e.rule = SPAN_LIT("full");
        e.text = span_str(it->words);
        e.local = true;
        report_event(w, &e);
    }
    if (it->ctx != NULL)
        it->answered(it->ctx, it->answer);
    free(it);
}

/* Under the lock. `ctx` NULL: in passing. */
static struct web_claim *add(struct web_claims *c, struct span name, const struct policy_web *policy,
                             struct worker *w)
{
    struct web_claim *it = c->len < WEB_CLAIMS_WAITING_MAX && c->open ? calloc(1, sizeof *it) : NULL;
    if (it == NULL)
        return NULL;
    it->msg.run = run_answered;
    it->claims = c;
    it->w = w;
    it->until_ms = clock_boot_ms() + WEB_CLAIM_MS;
    memcpy(it->name, name.p, name.n);
    it->bounds = (struct command_web_claim){ .most_of_host = policy->most_of_host,
                                             .most = policy->most,
                                             .for_ms = (uint64_t)policy->expire_ms };
    list_push_back(&c->waiting, &it->link);
    c->len++;
    return it;
}

/* Under the lock. */
static bool asked_lately(struct web_claims *c, struct span name)
{
    uint64_t hash = hash_bytes(name.p, name.n);
    size_t at = hash % AGAIN_MAX;
    int64_t now_ms = clock_boot_ms();
    if (c->again[at].name == hash && c->again[at].until_ms > now_ms)
        return true;
    c->again[at].name = hash;
    c->again[at].until_ms = now_ms + AGAIN_MS;
    return false;
}

enum web_answer web_claim(struct cluster *cluster, struct span name, const struct policy_web *policy,
                          struct worker *w, void (*answered)(void *ctx, enum web_answer answer), void *ctx,
                          struct web_claim **out)
{
    struct web_claims *c = cluster->webs;
    bool fresh = false, known = is_known(cluster, name, (uint64_t)policy->expire_ms, &fresh);
    enum web_answer answer = WEB_YES;
    uint64_t host = host_hash(name);
    *out = NULL;
    if (fresh)
        return WEB_YES;
    pthread_mutex_lock(&c->lock);
    if (known) {
        if (!asked_lately(c, name))
            (void)add(c, name, policy, w);
    } else if (c->full[host % FULL_MAX].host == host && c->full[host % FULL_MAX].until_ms > clock_boot_ms()) {
        answer = WEB_FULL;
    } else if ((*out = add(c, name, policy, w)) != NULL) {
        (*out)->answered = answered;
        (*out)->ctx = ctx;
        answer = WEB_WAIT;
    } else {
        answer = WEB_BUSY;
    }
    pthread_mutex_unlock(&c->lock);
    return answer;
}

void web_claim_forget(struct web_claim *w)
{
    w->ctx = NULL;
}

/* ---- claiming, on the cluster thread ------------------------------------------------------------------- */

/* It is news when it was not told for a while. Under the lock. */
static bool note_full(struct web_claims *c, uint64_t host, int64_t now_ms)
{
    size_t at = host % FULL_MAX;
    bool same = c->full[at].host == host;
    bool tell = !same || now_ms - c->full[at].told_ms >= WEB_CLAIM_TELL_MS;
    c->full[at].host = host;
    c->full[at].until_ms = now_ms + WEB_CLAIM_FULL_MS;
    if (tell)
        c->full[at].told_ms = now_ms;
    return tell;
}

static void answer(struct web_claim *it, enum web_answer with)
{
    struct web_claims *c = it->claims;
    pthread_mutex_lock(&c->lock);
    c->len--;
    it->answer = with;
    it->tell = with == WEB_FULL && note_full(c, host_hash(span_str(it->name)), clock_boot_ms());
    pthread_mutex_unlock(&c->lock);
    worker_post_always(it->w, &it->msg);
}

static void claimed_cb(void *ctx, int err, const struct machine_result *r)
{
    struct web_claim *it = ctx;
    if (err == 0 && r->err == ERR_LIMIT)
        snprintf(it->words, sizeof it->words, "%s", r->words);
    answer(it, err != 0 ? WEB_BUSY : r->err == 0 ? WEB_YES : r->err == ERR_LIMIT ? WEB_FULL : WEB_BUSY);
}

static int propose(struct cluster *c, struct web_claim *it, int64_t now_ms)
{
    struct command cmd = { .type = COMMAND_WEB_CLAIM, .web_claim = it->bounds };
    cmd.web_claim.name = span_str(it->name);
    if (it->until_ms <= now_ms)
        return ERR_TIMEOUT;
    if (command_type_level(cmd.type) > machine_features(c->m))
        return ERR_DENIED;
    return agent_submit(c->agent, &cmd, it->until_ms - now_ms, claimed_cb, it);
}

static struct web_claim *next(struct web_claims *c)
{
    pthread_mutex_lock(&c->lock);
    struct list *link = list_pop_front(&c->waiting);
    pthread_mutex_unlock(&c->lock);
    return link == NULL ? NULL : LIST_ITEM(link, struct web_claim, link);
}

void web_claims_tick(struct cluster *cluster, int64_t now_ms)
{
    struct web_claims *c = cluster->webs;
    struct web_claim *it;
    pthread_mutex_lock(&c->lock);
    c->open = true;
    pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < TURN_MAX && (it = next(c)) != NULL; i++)
        if (propose(cluster, it, now_ms) != 0)
            answer(it, WEB_BUSY);
}

void web_claims_end(struct cluster *cluster)
{
    struct web_claims *c = cluster->webs;
    pthread_mutex_lock(&c->lock);
    c->open = false;
    pthread_mutex_unlock(&c->lock);
    for (struct web_claim *it; (it = next(c)) != NULL;)
        answer(it, WEB_BUSY);
}
