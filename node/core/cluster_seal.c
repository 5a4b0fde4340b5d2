/* The keys that the cluster's secrets are encrypted with, and those secrets as workers need them: DKIM keys,
 * and random ones (secrets.h).
 *
 * The state names a sealing key by number and id. A node that lacks it asks the others, which give it to
 * whoever is a member: so it travels in the nodes' mutual TLS, and is written nowhere but to each node's own
 * file. A key that the state has left behind, with nothing that it encrypted, is taken out of the file.
 *
 * DKIM keys are decrypted as they come, some at a time, since thousands take a while. One that cannot be
 * decrypted (yet) stands in the ring without its key: mail that it should sign is deferred rather than sent
 * unsigned.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/cluster/seal.h"
#include "node/core/cluster_impl.h"
#include "node/core/keyring.h"
#include "node/core/secrets.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <time.h>

#define ASK_MS 2000
#define ASK_AGAIN_MS 200
#define SAY_AGAIN_MS 60000
#define TIDY_MS 1000
#define MISSING_MS 3000   /* that long it may be on its way */
#define OPENED_AT_ONCE 64 /* keys: about 5 ms */
#define QUICKLY_BUILT 256 /* a ring of so many takes less than 1 ms: it need not wait for the next tick */

struct cluster_seal {
    pthread_mutex_t lock;
    pthread_cond_t news;
    struct seal_keys keys; /* under lock */
    uint64_t given;        /* under lock: the newest that another node was given */
    struct keyring *ring;  /* under lock */
    struct secrets *secrets; /* under lock */
    bool dirty;            /* the rest: the cluster thread's */
    bool asking;
    int64_t asked_ms, said_ms, tidied_ms;
    int64_t lacks_ms; /* since when it lacks `wanted`; 0: it does not */
    uint32_t turn;
    uint64_t wanted;
    uint8_t wanted_id[SEAL_ID_BYTES];
};

int cluster_seal_new(struct cluster_seal **out)
{
    struct cluster_seal *s = calloc(1, sizeof *s);
    pthread_condattr_t mono;
    if (s == NULL)
        return -ENOMEM;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&s->news, &mono);
    pthread_condattr_destroy(&mono);
    *out = s;
    return 0;
}

void cluster_seal_free(struct cluster_seal *s)
{
    if (s == NULL)
        return;
    keyring_rele(s->ring);
    secrets_rele(s->secrets);
    seal_keys_wipe(&s->keys);
    pthread_cond_destroy(&s->news);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- the file -------------------------------------------------------------------------------------------
 */

int cluster_seal_load(struct cluster *c)
{
    struct cluster_seal *s = c->seal;
    struct buf why;
    buf_init(&why, 1024);
    pthread_mutex_lock(&s->lock);
    int err = seal_keys_load(c->dir, &s->keys, &why);
    pthread_mutex_unlock(&s->lock);
    if (err != 0)
        log_error("cluster", "%.*s", (int)why.len, why.len == 0 ? "" : why.data);
    buf_fini(&why);
    return err;
}

/* Under lock. */
static int save(struct cluster *c, struct buf *why)
{
    int err = seal_keys_save(c->dir, &c->seal->keys, why);
    if (err != 0)
        log_error("cluster", "%.*s", (int)why->len, why->len == 0 ? err_text(err) : why->data);
    return err;
}

/* Under lock: without those for which `keep` says no. */
static bool filter(struct cluster_seal *s, bool (*keep)(const struct seal_key *k, const void *arg),
                   const void *arg)
{
    uint32_t n = 0, was = s->keys.n;
    for (uint32_t i = 0; i < was; i++)
        if (keep(&s->keys.key[i], arg))
            s->keys.key[n++] = s->keys.key[i];
    OPENSSL_cleanse(&s->keys.key[n], (SEAL_KEYS_MAX - n) * sizeof s->keys.key[0]);
    s->keys.n = n;
    return n != was;
}

static int keep_new(struct cluster *c, const struct seal_key *key, struct buf *why)
{
    struct cluster_seal *s = c->seal;
    int err = seal_keys_add(&s->keys, key);
    if (err == 0)
        err = save(c, why);
    pthread_cond_broadcast(&s->news);
    return err;
}

/* ---- any thread -----------------------------------------------------------------------------------------
 */

static struct timespec until(int64_t timeout_ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(timeout_ms / 1000);
    return at;
}

int cluster_seal_await(struct cluster *c, uint64_t number, const uint8_t id[16], int64_t timeout_ms,
                       struct seal_key *out)
{
    struct cluster_seal *s = c->seal;
    struct timespec at = until(timeout_ms);
    const struct seal_key *k;
    int r = 0;
    pthread_mutex_lock(&s->lock);
    while ((k = seal_keys_find(&s->keys, number, id)) == NULL && r == 0)
        r = pthread_cond_timedwait(&s->news, &s->lock, &at);
    if (k != NULL)
        *out = *k;
    pthread_mutex_unlock(&s->lock);
    return k != NULL ? 0 : ERR_TIMEOUT;
}

bool cluster_seal_await_given(struct cluster *c, uint64_t number, int64_t timeout_ms)
{
    struct cluster_seal *s = c->seal;
    struct timespec at = until(timeout_ms);
    pthread_mutex_lock(&s->lock);
    for (int r = 0; s->given < number && r == 0;)
        r = pthread_cond_timedwait(&s->news, &s->lock, &at);
    bool given = s->given >= number;
    pthread_mutex_unlock(&s->lock);
    return given;
}

int cluster_seal_make(struct cluster *c, uint64_t number, struct seal_key *out, struct buf *why)
{
    struct cluster_seal *s = c->seal;
    int err = 0;
    pthread_mutex_lock(&s->lock);
    uint32_t i = 0;
    while (i < s->keys.n && s->keys.key[i].number != number)
        i++;
    if (i < s->keys.n) {
        *out = s->keys.key[i]; /* of an attempt that may still come into force */
    } else {
        err = seal_key_make(number, out);
        if (err == 0)
            err = keep_new(c, out, why);
    }
    pthread_mutex_unlock(&s->lock);
    return err;
}

struct keyring *cluster_keyring(struct cluster *c)
{
    pthread_mutex_lock(&c->seal->lock);
    struct keyring *r = c->seal->ring == NULL ? NULL : keyring_hold(c->seal->ring);
    pthread_mutex_unlock(&c->seal->lock);
    return r;
}

struct secrets *cluster_secrets(struct cluster *c)
{
    pthread_mutex_lock(&c->seal->lock);
    struct secrets *s = c->seal->secrets == NULL ? NULL : secrets_hold(c->seal->secrets);
    pthread_mutex_unlock(&c->seal->lock);
    return s;
}

/* ---- giving and asking ----------------------------------------------------------------------------------
 */

void cluster_on_sealing(struct cluster *c, struct gossip_request *r, uint64_t from, struct span question)
{
    struct cluster_seal *s = c->seal;
    struct directory_member mb;
    struct cursor cur;
    struct seal_key key;
    cursor_init(&cur, question.p, question.n);
    uint64_t number = cursor_u64(&cur);
    struct span id = cursor_bytes(&cur, SEAL_ID_BYTES);
    bool member =
        cursor_err(&cur) == 0 && directory_member_find(c->m, from, &mb) && mb.state != COMMAND_MEMBER_REMOVED;
    pthread_mutex_lock(&s->lock);
    const struct seal_key *k = member ? seal_keys_find(&s->keys, number, (const uint8_t *)id.p) : NULL;
    if (k != NULL) {
        key = *k;
        s->given = number > s->given ? number : s->given;
        pthread_cond_broadcast(&s->news);
    }
    pthread_mutex_unlock(&s->lock);
    if (k == NULL) {
        gossip_ignore(r);
        return;
    }
    gossip_answer(r, span_of(key.bytes, sizeof key.bytes));
    OPENSSL_cleanse(&key, sizeof key);
}

static void given_cb(void *ctx, uint64_t node, int err, struct span answer)
{
    struct cluster *c = ctx;
    struct cluster_seal *s = c->seal;
    struct seal_key key;
    struct buf why;
    s->asking = false;
    if (err != 0 || answer.n != SEAL_KEY_BYTES || c->state != CLUSTER_RUNNING)
        return;
    seal_key_take(s->wanted, (const uint8_t *)answer.p, &key);
    if (CRYPTO_memcmp(key.id, s->wanted_id, sizeof key.id) == 0) {
        buf_init(&why, 1024);
        pthread_mutex_lock(&s->lock);
        (void)keep_new(c, &key, &why); /* of use until the next start, should it not be on disk */
        pthread_mutex_unlock(&s->lock);
        buf_fini(&why);
        s->dirty = true;
        log_info("cluster", "sealing key %llu came from node %llu", (unsigned long long)key.number,
                 (unsigned long long)node);
    }
    OPENSSL_cleanse(&key, sizeof key);
}

/* The leader first, then all in turn. */
static uint64_t whom(struct cluster *c)
{
    uint32_t turn = c->seal->turn++;
    if (turn % 2 == 0 && c->leader != 0 && c->leader != c->id.self.node)
        return c->leader;
    return c->npeers == 0 ? 0 : c->peers[(turn / 2) % c->npeers];
}

static void ask(struct cluster *c, int64_t now)
{
    struct cluster_seal *s = c->seal;
    uint64_t node = whom(c);
    struct buf question;
    s->asked_ms = now;
    if (now - s->said_ms >= SAY_AGAIN_MS && s->said_ms != 0)
        log_warn("cluster",
                 "sealing key %llu is on no node that answers: what it encrypted cannot be read here. It is "
                 "in the "
                 "file '" SEAL_FILE "' of the cluster's folder on nodes that have it",
                 (unsigned long long)s->wanted);
    if (s->said_ms == 0 || now - s->said_ms >= SAY_AGAIN_MS)
        s->said_ms = now;
    if (node == 0 || node == c->id.self.node)
        return;
    buf_init(&question, 64);
    (void)buf_put_u64(&question, s->wanted);
    (void)buf_put(&question, s->wanted_id, sizeof s->wanted_id);
    s->asking =
        gossip_ask(c->gossip, node, CLUSTER_ASK_SEALING, buf_span(&question), ASK_MS, given_cb, c) == 0;
    buf_fini(&question);
}

static bool has(struct cluster_seal *s, uint64_t number, const uint8_t id[16])
{
    pthread_mutex_lock(&s->lock);
    bool found = seal_keys_find(&s->keys, number, id) != NULL;
    pthread_mutex_unlock(&s->lock);
    return found;
}

struct older {
    uint64_t number;
    bool any;
};

static int older_cb(void *arg, const struct directory_sealed *d)
{
    struct older *o = arg;
    o->any = d->number != o->number;
    return o->any;
}

/* Is something left that another key than this one has encrypted? */
static bool any_older(const struct cluster *c, uint64_t number)
{
    struct older o = { .number = number };
    (void)directory_sealed_each(c->m, (struct span){ "", 0 }, older_cb, &o);
    return o.any;
}

/* What the state needs and this node lacks. */
static bool lacks(struct cluster *c, const struct directory_sealing *is)
{
    struct cluster_seal *s = c->seal;
    bool now = has(s, is->number, is->id);
    if (now && (is->old_number == 0 || has(s, is->old_number, is->old_id) || !any_older(c, is->number)))
        return false;
    s->wanted = now ? is->old_number : is->number;
    memcpy(s->wanted_id, now ? is->old_id : is->id, sizeof s->wanted_id);
    return true;
}

/* ---- taking out what is over ----------------------------------------------------------------------------
 */

/* What the state may name next is kept: an operator's command may be on its way. */
static bool is_present(const struct seal_key *k, const void *arg)
{
    const struct directory_sealing *is = arg;
    return k->number > is->number || (k->number == is->number && memcmp(k->id, is->id, sizeof k->id) == 0);
}

static void tidy(struct cluster *c, const struct directory_sealing *is)
{
    struct cluster_seal *s = c->seal;
    struct agent_session session;
    struct buf why;
    agent_session(c->agent, &session);
    pthread_mutex_lock(&s->lock);
    uint32_t n = s->keys.n;
    pthread_mutex_unlock(&s->lock);
    /* without a session the state may be an old one, and what it does not name yet is not over */
    if (n < 2 || !session.usable || any_older(c, is->number) || !has(s, is->number, is->id))
        return;
    buf_init(&why, 1024);
    pthread_mutex_lock(&s->lock);
    if (filter(s, is_present, is))
        (void)save(c, &why);
    pthread_mutex_unlock(&s->lock);
    buf_fini(&why);
}

/* ---- the ring -------------------------------------------------------------------------------------------
 */

struct building {
    struct cluster *c;
    struct keyring *old, *ring;
    struct secrets *secrets;
    uint32_t at, opened;
    bool more;
    int err;
};

static int order_of(const char *text, struct span s)
{
    size_t n = strlen(text), common = n < s.n ? n : s.n;
    int order = common == 0 ? 0 : memcmp(text, s.p, common);
    return order != 0 ? order : (n > s.n) - (n < s.n);
}

/* What an earlier ring has decrypted already: both are in the state's order. */
static struct dkim_key *known(struct building *b, const struct directory_sealed *d)
{
    for (; b->at < keyring_count(b->old); b->at++) {
        const struct keyring_key *k = keyring_at(b->old, b->at);
        int order = order_of(k->domain, d->name);
        if (order == 0)
            order = order_of(k->selector, d->selector);
        if (order == 0)
            return k->version == d->version ? k->key : NULL;
        if (order > 0)
            return NULL;
    }
    return NULL;
}

/* What encrypted it. False: this node has not got it. */
static bool key_of(struct building *b, const struct directory_sealed *d, struct seal_key *out)
{
    struct cluster_seal *s = b->c->seal;
    struct directory_sealing is;
    if (!directory_sealing(b->c->m, &is) || (d->number != is.number && d->number != is.old_number))
        return false;
    pthread_mutex_lock(&s->lock);
    const struct seal_key *k =
        seal_keys_find(&s->keys, d->number, d->number == is.number ? is.id : is.old_id);
    if (k != NULL)
        *out = *k;
    pthread_mutex_unlock(&s->lock);
    return k != NULL;
}

/* NULL: it cannot be decrypted here, now. */
static struct dkim_key *decrypt(struct building *b, const struct directory_sealed *d)
{
    struct seal_key key;
    struct dkim_key *out = NULL;
    struct buf pem;
    char about[CLUSTER_SEAL_ABOUT_MAX], why[DKIM_WHY_MAX];
    if (!key_of(b, d, &key))
        return NULL;
    if (b->opened++ >= OPENED_AT_ONCE) {
        b->more = true;
        OPENSSL_cleanse(&key, sizeof key);
        return NULL;
    }
    buf_init(&pem, COMMAND_SEALED_MAX);
    if (seal_open(&key, cluster_seal_about(d->kind, d->name, d->selector, about), d->sealed, &pem) != 0 ||
        dkim_key_parse(buf_span(&pem), &out, why) != 0)
        log_error("cluster",
                  "DKIM key %.*s of %.*s cannot be decrypted: it was changed, or sealed with another key",
                  (int)d->selector.n, d->selector.p, (int)d->name.n, d->name.p);
    if (pem.data != NULL)
        OPENSSL_cleanse(pem.data, pem.cap);
    buf_fini(&pem);
    OPENSSL_cleanse(&key, sizeof key);
    return out;
}

/* A random one. */
static void take_secret(struct building *b, const struct directory_sealed *d)
{
    enum secret_use use = secret_use_of(d->name);
    char about[CLUSTER_SEAL_ABOUT_MAX];
    struct seal_key key;
    struct buf text;
    if (use == SECRET_USES)
        return; /* a newer version's */
    buf_init(&text, COMMAND_SEALED_MAX);
    bool known = key_of(b, d, &key);
    int err = known ? seal_open(&key, cluster_seal_about(d->kind, d->name, d->selector, about), d->sealed, &text)
                    : ERR_NOT_FOUND;
    if (err == 0)
        err = use == SECRET_WEBHOOKS ? secrets_add_named(b->secrets, d->selector, buf_span(&text))
                                     : secrets_add(b->secrets, use, (int64_t)d->not_before_ms, buf_span(&text));
    if (err != 0)
        secrets_add_closed(b->secrets, use);
    if (err != 0 && known)
        log_error("cluster", "secret %.*s of %.*s cannot be decrypted: it was changed, or sealed with another key",
                  (int)d->selector.n, d->selector.p, (int)d->name.n, d->name.p);
    if (text.data != NULL)
        OPENSSL_cleanse(text.data, text.cap);
    buf_fini(&text);
    OPENSSL_cleanse(&key, sizeof key);
}

static char *copy(struct span s)
{
    return strndup(s.n == 0 ? "" : s.p, s.n);
}

static int build_cb(void *arg, const struct directory_sealed *d)
{
    struct building *b = arg;
    if (d->kind == COMMAND_SEALED_SECRET)
        take_secret(b, d);
    if (d->kind != COMMAND_SEALED_DKIM)
        return 0;
    struct dkim_key *was = known(b, d), *fresh = was == NULL ? decrypt(b, d) : NULL;
    struct keyring_key k = { .domain = copy(d->name),
                             .selector = copy(d->selector),
                             .tenants = copy(d->tenants),
                             .algorithm = memmem(d->public.p, d->public.n, "k=ed25519", 9) != NULL
                                              ? DKIM_ED25519
                                              : DKIM_RSA,
                             .not_before_ms = (int64_t)d->not_before_ms,
                             .not_after_ms = (int64_t)d->not_after_ms,
                             .subdomains = d->subdomains,
                             .version = d->version,
                             .key = was != NULL ? was : fresh };
    b->err = k.domain == NULL || k.selector == NULL || k.tenants == NULL ? -ENOMEM : keyring_add(b->ring, &k);
    free(k.domain);
    free(k.selector);
    free(k.tenants);
    dkim_key_rele(fresh);
    return b->err;
}

/* A new ring of what the state has. What is too much for one turn of the loop is decrypted in the next. */
static void build(struct cluster *c)
{
    struct cluster_seal *s = c->seal;
    struct building b = { .c = c, .old = s->ring };
    s->dirty = false;
    b.ring = keyring_new((uint32_t)directory_sealed_count(c->m));
    b.secrets = secrets_new();
    b.err = b.ring == NULL || b.secrets == NULL ? -ENOMEM : 0;
    if (b.err == 0)
        (void)directory_sealed_each(c->m, (struct span){ "", 0 }, build_cb, &b);
    if (b.err != 0) {
        log_error("cluster", "the cluster's secrets cannot be read: %s", err_text(b.err));
        keyring_rele(b.ring);
        secrets_rele(b.secrets);
        s->dirty = true;
        return;
    }
    pthread_mutex_lock(&s->lock);
    struct secrets *old = s->secrets;
    s->ring = b.ring;
    s->secrets = b.secrets;
    pthread_mutex_unlock(&s->lock);
    keyring_rele(b.old);
    secrets_rele(old);
    s->dirty = b.more;
}

void cluster_seal_changed(struct cluster *c)
{
    c->seal->dirty = true;
}

void cluster_seal_check(struct cluster *c)
{
    struct directory_sealing is;
    if (c->seal->dirty && directory_sealing(c->m, &is) &&
        (atomic_load(&c->refusal) != NULL || directory_sealed_count(c->m) <= QUICKLY_BUILT))
        build(c);
}

void cluster_seal_tick(struct cluster *c, int64_t now)
{
    struct cluster_seal *s = c->seal;
    struct directory_sealing is;
    if (!cluster_is_founded(c) || !directory_sealing(c->m, &is))
        return;
    if (s->dirty)
        build(c);
    if (!s->asking && now - s->asked_ms >= ASK_AGAIN_MS) {
        if (lacks(c, &is)) {
            s->lacks_ms = s->lacks_ms == 0 ? now : s->lacks_ms;
            ask(c, now);
        } else {
            s->said_ms = s->lacks_ms = 0;
        }
    }
    if (now - s->tidied_ms >= TIDY_MS) {
        s->tidied_ms = now;
        tidy(c, &is);
    }
}

uint64_t cluster_seal_missing(const struct cluster *c, int64_t now)
{
    const struct cluster_seal *s = c->seal;
    return s->lacks_ms != 0 && now - s->lacks_ms >= MISSING_MS ? s->wanted : 0;
}
