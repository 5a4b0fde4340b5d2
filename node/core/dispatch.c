/* Hands a message's recipients to the workers that own their sites. */
#include "node/core/dispatch.h"

#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "node/core/egress.h"
#include "node/core/node.h"
#include "node/core/pools.h"
#include "node/core/route.h"
#include "node/shaping/hold_mark.h"
#include "node/shaping/pool_mark.h"

#include <errno.h>
#include <stdlib.h>

/* One recipient's place while a message is grouped. */
struct placed {
    size_t key_at; /* in the buffer of keys */
    struct span key;
    uint32_t rcpt;
    const struct spool_rcpt *state;
    int64_t since_ms; /* it was held, or released, then; 0: neither, or held from the start */
};

struct worker *dispatch_owner(struct node *node, struct span site)
{
    return &node->workers[hash_bytes(site.p, site.n) % node->nworkers];
}

static int compare_number(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int compare_group(const struct placed *a, const struct placed *b)
{
    static const struct spool_rcpt fresh;
    const struct spool_rcpt *sa = a->state == NULL ? &fresh : a->state,
                            *sb = b->state == NULL ? &fresh : b->state;
    int order = compare_number((int64_t)a->key.n, (int64_t)b->key.n);
    if (order == 0)
        order = memcmp(a->key.p, b->key.p, a->key.n);
    if (order == 0)
        order = compare_number(sa->state, sb->state);
    if (order == 0)
        order = compare_number(sa->next_ms, sb->next_ms);
    if (order == 0)
        order = compare_number(sa->attempts, sb->attempts);
    if (order == 0)
        order = compare_number(a->since_ms, b->since_ms);
    return order != 0 ? order : compare_number(sa->delay_told, sb->delay_told);
}

static int compare_placed(const void *a, const void *b)
{
    const struct placed *pa = a, *pb = b;
    int order = compare_group(pa, pb);
    return order != 0 ? order : compare_number(pa->rcpt, pb->rcpt);
}

/* Who takes turns: the account; for our own reports and unauthenticated relays the reverse-path's domain. */
struct span dispatch_sender(const struct envelope *env)
{
    if (env->account.n > 0)
        return env->account;
    const char *at = env->mail_from.n == 0 ? NULL : memrchr(env->mail_from.p, '@', env->mail_from.n);
    if (at == NULL)
        return SPAN_LIT("<>");
    return span_of(at + 1, (size_t)(env->mail_from.p + env->mail_from.n - at - 1));
}

enum route_tls dispatch_tls(const struct envelope *env)
{
    if ((env->flags & ENVELOPE_REQUIRETLS) != 0)
        return ROUTE_TLS_REQUIRED;
    return (env->flags & ENVELOPE_TLS_OPTIONAL) != 0 ? ROUTE_TLS_OPTIONAL : ROUTE_TLS_USUAL;
}

static void run_dispatch(struct worker *w, struct worker_msg *msg)
{
    struct dispatch_item *d = (struct dispatch_item *)msg;
    egress_add(w->egress, &d->info);
    free(d);
}

static struct dispatch_item *item_new(const struct envelope *env, const struct placed *first, uint32_t nrcpts)
{
    const struct spool_rcpt *state = first->state;
    struct span site = first->key;
    bool held = state == NULL ? (env->flags & ENVELOPE_HELD) != 0 : state->state == RCPT_HELD;
    int64_t since_ms = first->since_ms > env->arrival_ms ? first->since_ms : env->arrival_ms;
    struct span sender = dispatch_sender(env);
    struct span tenant = env->account.n > 0 ? env->tenant : (struct span){ NULL, 0 };
    struct dispatch_item *d = malloc(sizeof *d + nrcpts * sizeof(uint32_t) + site.n + sender.n + tenant.n);
    if (d == NULL)
        return NULL;
    uint32_t *rcpts = (uint32_t *)(d + 1);
    char *text = (char *)(rcpts + nrcpts);
    memcpy(text, site.p, site.n);
    if (sender.n > 0)
        memcpy(text + site.n, sender.p, sender.n);
    if (tenant.n > 0)
        memcpy(text + site.n + sender.n, tenant.p, tenant.n);
    uint64_t kib = (env->size + 1023) / 1024;
    *d = (struct dispatch_item){
        .msg.run = run_dispatch,
        .info = { .id = env->id,
                  .site = span_of(text, site.n),
                  .sender = span_of(text + site.n, sender.n),
                  .tenant = span_of(text + site.n + sender.n, tenant.n),
                  .class = env->class,
                  .arrival_ms = held ? env->arrival_ms : since_ms,
                  .renewed = !held && since_ms > env->arrival_ms,
                  .next_ms = held ? since_ms : state == NULL ? 0 : state->next_ms,
                  .attempts = state == NULL ? 0 : state->attempts,
                  .held = held,
                  .delay_told = state != NULL && state->delay_told,
                  .nrcpts = nrcpts,
                  .rcpts = rcpts,
                  .size_kib = kib > UINT32_MAX ? UINT32_MAX : (uint32_t)kib },
    };
    return d;
}

static int dispatch_group(struct node *node, struct worker *self, const struct envelope *env,
                          const struct placed *group, uint32_t n)
{
    struct dispatch_item *d = item_new(env, group, n);
    if (d == NULL)
        return -ENOMEM;
    uint32_t *rcpts = (uint32_t *)(d + 1);
    for (uint32_t i = 0; i < n; i++)
        rcpts[i] = group[i].rcpt;
    struct worker *owner = dispatch_owner(node, d->info.site);
    if (owner == self || self == NULL) /* at start the threads don't run yet */
        run_dispatch(owner, &d->msg);
    else
        worker_post_always(owner, &d->msg);
    return 0;
}

struct span dispatch_pool(const struct pool_view *v, const struct envelope *env, struct span reply)
{
    struct span own = pool_view_of(v, env->account, env->tenant, env->class), words;
    struct pool_mark m;
    bool moved = v != NULL && reply.n > 0 && pool_mark_parse(reply, &m, &words);
    return moved && pool_mark_left(&m, own) && pool_view_has(v, m.to) ? m.to : own;
}

/* The site of each living recipient. */
static int place_all(const struct config *config, const struct pool_view *pools, const struct envelope *env,
                     const struct spool_rcpt *states, struct placed *placed, uint32_t *n, struct buf *keys)
{
    struct span own = dispatch_pool(pools, env, (struct span){ "", 0 });
    for (uint32_t i = 0; i < env->nrcpts; i++) {
        uint8_t state = states == NULL ? envelope_first_state(env) : states[i].state;
        if (rcpt_state_terminal(state) || rcpt_state_between(state))
            continue;
        struct route_key key;
        struct span site = SPAN_LIT(ROUTE_UNROUTABLE);
        struct span pool = states == NULL ? own : dispatch_pool(pools, env, states[i].reply);
        if (route_pool_key(config, pool, env->rcpts[i].address, &key) == 0 &&
            route_key_put_tls(&key, dispatch_tls(env)) == 0)
            site = span_of(key.text, key.len);
        struct hold_mark hold = { .since_ms = 0 };
        struct span words;
        if (states != NULL)
            (void)hold_mark_parse(states[i].reply, &hold, &words);
        placed[(*n)++] = (struct placed){
            .key_at = keys->len,
            .key.n = site.n,
            .rcpt = i,
            .state = states == NULL ? NULL : &states[i],
            .since_ms = hold.since_ms,
        };
        buf_put_span(keys, site);
    }
    for (uint32_t i = 0; i < *n; i++)
        placed[i].key.p = keys->data + placed[i].key_at;
    return buf_err(keys);
}

int dispatch_message(struct node *node, struct worker *self, const struct config *config,
                     const struct envelope *env, const struct spool_rcpt *rcpts)
{
    struct placed one;
    struct placed *placed = env->nrcpts == 1 ? &one : calloc(env->nrcpts, sizeof *placed);
    struct buf keys;
    buf_init(&keys, (size_t)ENVELOPE_RCPTS_MAX * ROUTE_KEY_MAX);
    uint32_t n = 0;
    /* at start the pools are not known yet: the first view has what was queued looked through */
    const struct pool_view *pools = self == NULL ? NULL : self->pools;
    int err = placed == NULL ? -ENOMEM : place_all(config, pools, env, rcpts, placed, &n, &keys);
    if (err == 0 && n > 1)
        qsort(placed, n, sizeof *placed, compare_placed);
    for (uint32_t i = 0, end; err == 0 && i < n; i = end) {
        for (end = i + 1; end < n && compare_group(&placed[i], &placed[end]) == 0; end++)
            ;
        err = dispatch_group(node, self, env, &placed[i], end - i);
    }
    if (err != 0) {
        char id[SPOOL_ID_TEXT];
        spool_id_format(env->id, id);
        log_error("dispatch", "%s waits for the next start: %s", id, err_text(err));
    }
    if (placed != &one)
        free(placed);
    buf_fini(&keys);
    return err;
}
