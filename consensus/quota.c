/* Granting tokens ahead of use, and taking back what was not used. docs/ledger.md has the proof that no
 * window can hold more than its limit; this file is what it speaks of: quota_limit_derive, quota_oldest,
 * on_grant, on_return.
 */
#include "consensus/quota.h"

#include "base/ensure.h"
#include "base/err.h"
#include "consensus/freeze.h"
#include "consensus/quota_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define STREAM_FEATURE 6

static uint64_t clamp(uint64_t v, uint64_t lo, uint64_t hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

/* A token is spent up to its life after it was charged, and clocks may be wrong by 0.5 %: so what was charged
 * up to 1.03 * (window + life) ago counts, and the whole of the bucket in which that moment lies. */
void quota_limit_derive(struct quota_limit *l)
{
    l->bucket_ms = (l->window_ms + 99) / 100;
    l->life_ms = (uint32_t)clamp(l->window_ms / 50, QUOTA_LIFE_MIN_MS, QUOTA_LIFE_MAX_MS);
    uint64_t reach = l->window_ms + l->life_ms;
    l->horizon_ms = reach + (reach * 3 + 99) / 100;
}

/* ---- the limits of a sender ------------------------------------------------------------------------------
 */

bool quota_sender_facts(const struct machine *m, struct span account, struct span *tenant, uint8_t *class)
{
    struct directory_account a;
    if (account.n == 0 || !directory_account_find(m, account, &a))
        return true;
    *tenant = a.tenant;
    if ((*class & COMMAND_STREAM) == 0)
        *class = a.class;
    return !a.disabled;
}

static struct quota_chain_link link_make(const struct machine *m, const struct policy_limit *l,
                                         uint32_t index, struct span name)
{
    struct quota_chain_link k = { .index = index, .scope = l->scope, .name = name, .count = l->count };
    k.overridden = directory_override(m, l->scope, name, span_str(l->name), &k.count);
    if (k.count > QUOTA_COUNT_MAX)
        k.count = QUOTA_COUNT_MAX;
    return k;
}

static bool applies_to(const struct machine *m, const struct policy_compiled *p, const struct policy_limit *l,
                       struct span account, uint8_t class)
{
    if (l->classes != 0)
        return (l->classes >> class & 1) != 0;
    const struct sender_rule *rule = policy_slow_rule(p, l);
    return rule != NULL && directory_slowed(m, account, span_str(rule->name));
}

void quota_chain_make(const struct machine *m, struct span account, struct span tenant, uint8_t class,
                      struct quota_chain *out)
{
    const struct policy_compiled *p = directory_policy_compiled(m);
    out->n = 0;
    class &= (uint8_t)~COMMAND_STREAM;
    for (uint32_t i = 0; i < p->nlimits && i < POLICY_LIMITS_MAX; i++) {
        const struct policy_limit *l = &p->limits[i];
        struct span name = l->scope == COMMAND_SCOPE_TENANT ? tenant : account;
        /* Asked about a tenant alone, limits of any class are told. */
        bool applies = account.n == 0 ? l->classes != 0 : applies_to(m, p, l, account, class);
        if (applies && name.n != 0)
            out->links[out->n++] = link_make(m, l, i, name);
    }
}

/* ---- granting --------------------------------------------------------------------------------------------
 */

/* One limit of the request, with its counter if there is one. */
struct charge {
    const struct quota_chain_link *link;
    struct quota_sender *sender;   /* NULL: nothing in any window */
    struct quota_limit *limit;     /* NULL: of nobody yet */
    struct quota_counter *counter; /* NULL: nothing in this window */
    uint64_t used;
};

/* A new epoch of a cluster that lost its majority cannot know what was granted: then all windows count as
 * full, from that moment, until they have passed. */
bool quota_is_full(const struct machine *m, const struct policy_limit *p)
{
    uint64_t full_ms = m->quotas->sums->full_ms;
    if (full_ms == 0)
        return false;
    struct quota_limit l = { .window_ms = p->window_ms };
    quota_limit_derive(&l);
    return quota_oldest(&l, m->now_ms) <= full_ms / l.bucket_ms;
}

void quota_fill(struct machine *m)
{
    struct quota_sums *sums = m->quotas->sums;
    store_touch(m->store, &sums->rec);
    sums->full_ms = m->now_ms > 0 ? m->now_ms : 1;
}

bool machine_windows_full(const struct machine *m)
{
    struct directory_policy dp;
    if (m->quotas->sums->full_ms == 0 || !directory_policy(m, 0, &dp) || dp.compiled == NULL)
        return false;
    for (uint32_t i = 0; i < dp.compiled->nlimits; i++)
        if (quota_is_full(m, &dp.compiled->limits[i]))
            return true;
    return false;
}

int quota_reopen(struct machine *m, const struct machine_at *at, const struct command *cmd,
                 struct machine_result *r)
{
    struct quota_sums *sums = m->quotas->sums;
    if (sums->full_ms == 0) {
        machine_refuse(r, ERR_NOT_FOUND,
                       "no limits count as full: there was no new epoch, or they were reopened");
        return 0;
    }
    store_touch(m->store, &sums->rec);
    sums->full_ms = 0;
    r->id = at->id;
    machine_changed(m, MACHINE_CHANGED_LIMITS, 0, (struct span){ 0 });
    return directory_audit(m, at, &cmd->limits_reopen.by, "limits count what is known again");
}

/* The sender of charge i: that of an earlier one of the same scope, or looked up. */
static struct quota_sender *sender_of(const struct machine *m, const struct charge *charges, uint32_t i)
{
    const struct quota_chain_link *k = charges[i].link;
    for (uint32_t j = i; j-- > 0;)
        if (charges[j].link->scope == k->scope) /* and so of the same name */
            return charges[j].sender;
    return quota_sender_find(m, k->scope, k->name);
}

static void charge_look(struct machine *m, const struct policy_compiled *p, const struct quota_chain_link *k,
                        struct charge *charges, uint32_t i)
{
    struct charge *c = &charges[i];
    *c = (struct charge){ .link = k };
    c->sender = sender_of(m, charges, i);
    c->limit = quota_resolve(m, p, k->index);
    if (c->sender != NULL && c->limit != NULL)
        c->counter = quota_counter_find(c->sender, c->limit);
    if (c->counter != NULL)
        c->used = quota_ring_sum_from(&c->counter->charged, quota_oldest(c->limit, m->now_ms));
    if (quota_is_full(m, &p->limits[k->index]) && c->used < k->count)
        c->used = k->count;
}

uint64_t quota_frees_ms(const struct machine *m, const struct policy_limit *p, const struct quota_counter *c,
                        uint64_t most)
{
    if (quota_is_full(m, p)) {
        struct quota_limit full = { .window_ms = p->window_ms };
        quota_limit_derive(&full);
        return m->quotas->sums->full_ms + full.bucket_ms + full.horizon_ms;
    }
    if (c == NULL)
        return m->now_ms;
    const struct quota_limit *l = c->limit;
    uint64_t oldest = quota_oldest(l, m->now_ms), used = quota_ring_sum_from(&c->charged, oldest);
    uint64_t bucket = 0, count;
    if (used <= most)
        return m->now_ms;
    for (uint32_t i = 0; i < c->charged.n && used > most; i++) {
        quota_ring_at(&c->charged, i, &bucket, &count);
        if (bucket >= oldest)
            used -= count;
    }
    ensure(used <= most); /* all buckets together are all that is used */
    return (bucket + 1) * l->bucket_ms + l->horizon_ms;
}

/* When so much has left the window that `need` fits; a window from now if it never will. */
static uint64_t frees_at(const struct machine *m, const struct policy_limit *p, const struct charge *c,
                         uint32_t need)
{
    return need > c->link->count ? m->now_ms + p->window_ms
                                 : quota_frees_ms(m, p, c->counter, c->link->count - need);
}

/* Names the limit that will take longest. Tokens that others hold of those that refuse are asked for. */
static void refuse(struct machine *m, uint64_t node, const struct policy_compiled *p,
                   const struct charge *charges, uint32_t n, uint32_t need, struct machine_result *r)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct charge *c = &charges[i];
        if (c->used + need <= c->link->count)
            continue;
        const struct policy_limit *l = &p->limits[c->link->index];
        uint64_t free_ms = frees_at(m, l, c, need);
        if (r->err == 0 || free_ms > r->free_ms) {
            r->err = ERR_LIMIT;
            r->why = MACHINE_REFUSED_LIMIT;
            r->scope = c->link->scope;
            r->free_ms = free_ms;
            snprintf(r->limit, sizeof r->limit, "%s", l->name);
            r->limit_count = c->link->count;
            r->limit_window_ms = l->window_ms;
        }
        if (c->counter == NULL)
            continue;
        if (!c->counter->refused) {
            store_touch(m->store, &c->sender->rec);
            c->counter->refused = true;
        }
        uint64_t over = c->used + need - c->link->count, others = quota_held_by_others(c->counter, node);
        if (need <= c->link->count && others >= over)
            machine_changed(m, MACHINE_CHANGED_RECALL, c->link->scope, c->link->name);
    }
}

/* How many: what is needed for a first message and near a limit; for a busy sender more, but never more than
 * half of what is left, so that one node cannot keep the others waiting. */
static uint32_t amount(const struct charge *charges, uint32_t n, uint32_t need, uint32_t want)
{
    bool by_account = false, busy_account = false, busy = false;
    uint64_t most = want;
    for (uint32_t i = 0; i < n; i++) {
        const struct charge *c = &charges[i];
        uint64_t left = c->link->count - c->used;
        uint64_t most_here = left <= c->link->count / 20 ? need : left / 2;
        most = most_here < most ? most_here : most;
        bool account = c->link->scope == COMMAND_SCOPE_ACCOUNT;
        by_account = by_account || account;
        busy = busy || c->used > 0;
        busy_account = busy_account || (account && c->used > 0);
    }
    if (!(by_account ? busy_account : busy) || most < need)
        return need;
    return (uint32_t)most;
}

/* The counter of a charge, made where there is none. -ENOMEM */
static int charge_make(struct machine *m, const struct policy_compiled *p, struct charge *charges, uint32_t i)
{
    struct charge *c = &charges[i];
    if (c->counter != NULL) {
        store_touch(m->store, &c->sender->rec);
        return 0;
    }
    if (c->limit == NULL && (c->limit = quota_resolve(m, p, c->link->index)) == NULL &&
        (c->limit = quota_limit_add(m, &p->limits[c->link->index])) == NULL)
        return -ENOMEM;
    if (c->sender == NULL)
        c->sender = sender_of(m, charges, i); /* an earlier charge may have made it */
    if (c->sender != NULL)
        store_touch(m->store, &c->sender->rec);
    else if ((c->sender = quota_sender_add(m, c->link->scope, c->link->name)) == NULL)
        return -ENOMEM;
    c->counter = quota_counter_add(m, c->sender, c->limit);
    return c->counter == NULL ? -ENOMEM : 0;
}

static int charge_commit(struct machine *m, struct charge *c, uint64_t node, uint32_t count)
{
    quota_ring_prune(&c->counter->charged, quota_oldest(c->limit, m->now_ms));
    int err = quota_ring_add(&c->counter->charged, m->now_ms / c->limit->bucket_ms, count);
    if (err == 0)
        err = quota_hold(c->counter, node, count);
    /* Only here: a limit that is lowered later must not abort a replay. */
    ensure(c->counter->charged.sum <= c->link->count);
    return err;
}

static void conserved(const struct quotas *q)
{
    const struct quota_sums *s = q->sums;
    ensure(s->charged == s->spent + q->held + s->burned + s->refunded);
}

static int commit(struct machine *m, const struct machine_at *at, uint64_t node, struct charge *charges,
                  uint32_t n, struct machine_result *r)
{
    struct quotas *q = m->quotas;
    const struct policy_compiled *p = directory_policy_compiled(m);
    struct quota_grant *g = calloc(1, sizeof *g + n * sizeof(struct quota_counter *));
    if (g == NULL)
        return -ENOMEM;
    *g = (struct quota_grant){
        .id = at->id, .node = node, .charged_ms = m->now_ms, .count = r->count, .n = n
    };
    g->held = r->count;
    g->life_ms = r->life_ms = QUOTA_LIFE_MAX_MS;
    int err = 0;
    for (uint32_t i = 0; err == 0 && i < n; i++) {
        err = charge_make(m, p, charges, i);
        if (err == 0)
            err = charge_commit(m, &charges[i], node, r->count);
        if (err != 0)
            break;
        g->counters[i] = charges[i].counter;
        if (charges[i].limit->life_ms < g->life_ms)
            g->life_ms = r->life_ms = charges[i].limit->life_ms;
    }
    struct list *grants = err == 0 ? quota_node_grants(q, node) : NULL;
    if (grants == NULL || store_add(m->store, &quota_grant_type, &g->rec) != 0) {
        free(g);
        return -ENOMEM;
    }
    list_push_back(grants, &g->node_link);
    store_touch(m->store, &q->sums->rec);
    q->sums->charged += r->count;
    q->sums->granted++;
    q->held += r->count;
    r->id = at->id;
    conserved(q);
    return 0;
}

static int refused(struct machine *m)
{
    store_touch(m->store, &m->quotas->sums->rec);
    m->quotas->sums->refused++;
    return 0;
}

/* Frozen, disabled, or not able to ask. */
static bool may_send(struct machine *m, uint64_t node, const struct command_grant *c, struct span *tenant,
                     uint8_t *class, struct machine_result *r)
{
    if (c->need == 0 || c->account.n == 0 || c->class >= POLICY_CLASSES) {
        machine_refuse(r, ERR_BAD, "not a request");
    } else if (node == 0) {
        r->why = MACHINE_REFUSED_SESSION;
        machine_refuse(r, ERR_DENIED, "the session is not usable");
    } else if (!quota_sender_facts(m, c->account, tenant, class)) {
        r->why = MACHINE_REFUSED_DISABLED;
        machine_refuse(r, ERR_DENIED, "the account is disabled");
    } else if (freeze_refuses(m, c->account, *tenant, &r->scope)) {
        r->why = MACHINE_REFUSED_FROZEN;
        machine_refuse(r, ERR_DENIED, "frozen");
    } else {
        r->scope = 0;
    }
    return r->err == 0;
}

static int on_grant(struct machine *m, const struct machine_at *at, uint64_t node,
                    const struct command_grant *c, bool stream, struct machine_result *r)
{
    struct quotas *q = m->quotas;
    const struct policy_compiled *p = directory_policy_compiled(m);
    struct span tenant = c->tenant;
    uint8_t class = c->class | (stream ? COMMAND_STREAM : 0);
    if (!may_send(m, node, c, &tenant, &class, r))
        return refused(m);
    uint32_t want = c->want > c->need ? c->want : c->need;
    struct quota_chain chain;
    quota_chain_make(m, c->account, tenant, class, &chain);
    if (chain.n == 0) { /* nothing to keep count of */
        r->count = want;
        r->life_ms = QUOTA_LIFE_MAX_MS;
        store_touch(m->store, &q->sums->rec);
        q->sums->granted++;
        return 0;
    }
    struct charge charges[POLICY_LIMITS_MAX];
    uint32_t missing = 0;
    bool fits = true;
    for (uint32_t i = 0; i < chain.n; i++) {
        charge_look(m, p, &chain.links[i], charges, i);
        missing += charges[i].counter == NULL;
        fits = fits && charges[i].used + c->need <= chain.links[i].count;
    }
    if (!fits) {
        refuse(m, node, p, charges, chain.n, c->need, r);
        return refused(m);
    }
    if (q->ncounters + missing > m->config.max_counters) {
        q->no_room++;
        r->why = MACHINE_REFUSED_NO_ROOM;
        machine_refuse(r, ERR_LIMIT, "too many senders at once");
        return refused(m);
    }
    r->count = amount(charges, chain.n, c->need, want);
    return commit(m, at, node, charges, chain.n, r);
}

/* ---- giving back -----------------------------------------------------------------------------------------
 */

static struct quota_grant *grant_find(const struct machine *m, uint64_t id)
{
    char key[8];
    return quota_grant_of(store_find(m->store, &quota_grant_type, store_number_key(id, key)));
}

/* To the buckets that were charged, and only to them: a number that has left its window is nobody's. */
static bool refund_one(struct machine *m, struct quota_counter *c, const struct quota_grant *g, uint32_t n)
{
    const struct quota_limit *l = c->limit;
    uint64_t oldest = quota_oldest(l, m->now_ms), bucket = g->charged_ms / l->bucket_ms;
    quota_ring_prune(&c->charged, oldest);
    if (bucket < oldest)
        return false;
    ensure(quota_ring_take(&c->charged, bucket, n) == n);
    if (c->refused) {
        c->refused = false;
        machine_changed(m, MACHINE_CHANGED_LIMITS, c->limit->scope, quota_sender_name(c->sender));
    }
    return true;
}

/* n tokens of the grant are no longer in its node's hands. */
static void let_go(struct machine *m, struct quota_grant *g, uint32_t n)
{
    ensure(g->held >= n);
    ensure(m->quotas->held >= n);
    for (uint32_t i = 0; i < g->n; i++)
        ensure(quota_hold(g->counters[i], g->node, -(int64_t)n) == 0);
    g->held -= n;
    m->quotas->held -= n;
}

static uint32_t refund(struct machine *m, struct quota_grant *g, uint32_t unspent)
{
    uint32_t n = unspent < g->held ? unspent : g->held;
    if (n == 0)
        return 0;
    bool taken = false;
    for (uint32_t i = 0; i < g->n; i++) {
        store_touch(m->store, &g->counters[i]->sender->rec);
        taken = refund_one(m, g->counters[i], g, n) || taken;
    }
    let_go(m, g, n);
    if (taken)
        m->quotas->sums->refunded += n;
    else
        m->quotas->sums->burned += n;
    return taken ? n : 0;
}

static void forget(struct machine *m, struct quota_grant *g)
{
    ensure(g->held == 0);
    list_remove(&g->node_link);
    store_remove(m->store, &g->rec);
}

static int on_return(struct machine *m, uint64_t node, const struct command_return *c,
                     struct machine_result *r)
{
    struct quotas *q = m->quotas;
    if (node == 0) {
        r->why = MACHINE_REFUSED_SESSION;
        machine_refuse(r, ERR_DENIED, "the session is not usable");
        return 0;
    }
    for (uint32_t i = 0; i < c->n; i++) {
        const struct quota_grant *g = grant_find(m, c->item[i].grant);
        if (g != NULL && g->node != node) {
            machine_refuse(r, ERR_DENIED, "grant %llu is another node's", (unsigned long long)g->id);
            return 0;
        }
    }
    store_touch(m->store, &q->sums->rec);
    for (uint32_t i = 0; i < c->n; i++) {
        struct quota_grant *g = grant_find(m, c->item[i].grant);
        if (g == NULL)
            continue; /* settled or burned already */
        store_touch(m->store, &g->rec);
        r->count += refund(m, g, c->item[i].unspent);
        if (c->item[i].last) {
            q->sums->spent += g->held;
            let_go(m, g, g->held);
        }
        if (g->held == 0) /* its counters may go now, so it must not stay */
            forget(m, g);
    }
    conserved(q);
    return 0;
}

int quota_apply(struct machine *m, const struct machine_at *at, uint64_t node, const struct command *cmd,
                struct machine_result *r)
{
    if (cmd->type == COMMAND_GRANT_STREAM && machine_features(m) < STREAM_FEATURE) {
        machine_refuse(r, ERR_DENIED, "streams of mail need feature level %d", STREAM_FEATURE);
        return refused(m);
    }
    if (cmd->type != COMMAND_RETURN)
        return on_grant(m, at, node, &cmd->grant, cmd->type == COMMAND_GRANT_STREAM, r);
    return on_return(m, node, &cmd->ret, r);
}

/* ---- burning, forgetting ---------------------------------------------------------------------------------
 */

static int burn_one(struct machine *m, struct quota_counter *c, const struct quota_grant *g)
{
    uint64_t oldest = quota_oldest(c->limit, m->now_ms), bucket = g->charged_ms / c->limit->bucket_ms;
    if (bucket < oldest)
        return 0;
    store_touch(m->store, &c->sender->rec);
    if (c->burned == NULL && (c->burned = calloc(1, sizeof *c->burned)) == NULL)
        return -ENOMEM;
    quota_ring_prune(c->burned, oldest);
    return quota_ring_add(c->burned, bucket, g->held);
}

/* What is held of it stays charged until it leaves its windows, as if it had been spent: it may have been. */
static int burn(struct machine *m, struct quota_grant *g)
{
    struct quotas *q = m->quotas;
    int err = 0;
    store_touch(m->store, &q->sums->rec);
    store_touch(m->store, &g->rec);
    for (uint32_t i = 0; err == 0 && g->held != 0 && i < g->n; i++)
        err = burn_one(m, g->counters[i], g);
    q->sums->burned += g->held;
    let_go(m, g, g->held);
    forget(m, g);
    return err;
}

int quota_burn_node(struct machine *m, uint64_t node)
{
    struct list *grants = quota_node_grants(m->quotas, node);
    if (grants == NULL)
        return -ENOMEM;
    int err = 0;
    for (struct list *link; err == 0 && (link = list_first(grants)) != NULL;)
        err = burn(m, LIST_ITEM(link, struct quota_grant, node_link));
    conserved(m->quotas);
    return err;
}

/* The oldest grants, when nobody has settled them for a day or there are too many. */
static void sweep_grants(struct machine *m, uint32_t n)
{
    struct list *all = store_all(m->store, &quota_grant_type);
    for (struct list *link; n > 0 && (link = list_first(all)) != NULL; n--) {
        struct quota_grant *g = quota_grant_of(LIST_ITEM(link, struct store_rec, link));
        if (store_len(m->store, &quota_grant_type) <= QUOTA_GRANTS_MAX &&
            g->charged_ms + QUOTA_GRANT_KEEP_MS >= m->now_ms)
            break;
        if (burn(m, g) != 0)
            m->failed = -ENOMEM;
    }
    conserved(m->quotas);
}

static bool is_empty(const struct quota_counter *c, uint64_t now_ms)
{
    uint64_t bucket, count;
    if (c->nholdings != 0)
        return false;
    if (c->charged.n == 0)
        return true;
    quota_ring_at(&c->charged, c->charged.n - 1u, &bucket, &count);
    return bucket < quota_oldest(c->limit, now_ms);
}

/* Drops the counters of a sender that say no more than no counter would. */
static void sweep_sender(struct machine *m, struct quota_sender *s)
{
    bool touched = false;
    for (struct quota_counter *c = s->counters, *next; c != NULL; c = next) {
        next = c->next;
        if (!is_empty(c, m->now_ms))
            continue;
        if (!touched)
            store_touch(m->store, &s->rec);
        touched = true;
        quota_counter_drop(m, c);
    }
    if (s->counters == NULL)
        store_remove(m->store, &s->rec);
}

/* Some senders at a time, round and round, in their order of arrival: the same ones on every node. */
void quota_sweep(struct machine *m, uint32_t commands, uint64_t elapsed_ms)
{
    struct quotas *q = m->quotas;
    struct list *all = store_all(m->store, &quota_sender_type);
    sweep_grants(m, 64 + commands);
    if (list_empty(all))
        return;
    uint64_t n = 2 * (uint64_t)commands + clamp(elapsed_ms / 4, 0, 256);
    for (; n > 0 && !list_empty(all); n--) {
        if (q->sweep == all)
            q->sweep = list_first(all);
        struct list *link = q->sweep;
        q->sweep = link->next;
        sweep_sender(m, quota_sender_of(LIST_ITEM(link, struct store_rec, link)));
    }
    store_touch(m->store, &q->sums->rec);
    q->sums->swept = q->sweep == all ? 0 : LIST_ITEM(q->sweep, struct store_rec, link)->seq;
}

void quota_limits_changed(struct machine *m)
{
    m->quotas->resolved_known = 0;
}
