/* What is derived from the records of quotas: who holds what of a counter, each node's grants, and all of it
 * again after a restore.
 */
#include "base/ensure.h"
#include "base/err.h"
#include "consensus/quota_impl.h"

#include <errno.h>
#include <stdlib.h>

static struct store_rec *rec_of(struct list *link)
{
    return LIST_ITEM(link, struct store_rec, link);
}

uint64_t quota_held_by_others(const struct quota_counter *c, uint64_t node)
{
    uint64_t held = 0;
    for (uint32_t i = 0; i < c->nholdings; i++)
        held += c->holdings[i].node == node ? 0 : c->holdings[i].held;
    return held;
}

int quota_hold(struct quota_counter *c, uint64_t node, int64_t n)
{
    uint32_t i = 0;
    while (i < c->nholdings && c->holdings[i].node != node)
        i++;
    if (i == c->nholdings) {
        if (n == 0)
            return 0;
        ensure(n > 0);
        ensure(c->nholdings < UINT16_MAX);
        struct quota_holding *h = realloc(c->holdings, (c->nholdings + 1u) * sizeof *h);
        if (h == NULL)
            return -ENOMEM;
        c->holdings = h;
        c->holdings[c->nholdings++] = (struct quota_holding){ .node = node };
    }
    ensure(n >= 0 || c->holdings[i].held >= (uint64_t)-n);
    c->holdings[i].held += (uint64_t)n;
    if (c->holdings[i].held == 0)
        c->holdings[i] = c->holdings[--c->nholdings];
    if (c->nholdings == 0) {
        free(c->holdings);
        c->holdings = NULL;
    }
    return 0;
}

struct list *quota_node_grants(struct quotas *q, uint64_t node)
{
    for (uint32_t i = 0; i < q->nnodes; i++)
        if (q->nodes[i]->node == node)
            return &q->nodes[i]->grants;
    struct quota_node **nodes = realloc(q->nodes, (q->nnodes + 1u) * sizeof(struct quota_node *));
    if (nodes == NULL)
        return NULL;
    q->nodes = nodes;
    struct quota_node *n = malloc(sizeof *n);
    if (n == NULL)
        return NULL;
    n->node = node;
    list_init(&n->grants);
    q->nodes[q->nnodes++] = n;
    return &n->grants;
}

static int compare_limits(const void *a, const void *b)
{
    const struct quota_limit *x = *(struct quota_limit *const *)a, *y = *(struct quota_limit *const *)b;
    return x->num < y->num ? -1 : x->num > y->num;
}

struct by_num {
    struct quota_limit **limits;
    size_t n;
};

static struct quota_limit *limit_numbered(const struct by_num *by, uint32_t num)
{
    struct quota_limit wanted = { .num = num }, *key = &wanted;
    struct quota_limit **at =
        by->n == 0 ? NULL : bsearch(&key, by->limits, by->n, sizeof *at, compare_limits);
    return at == NULL ? NULL : *at;
}

static int restore_limits(struct machine *m, struct by_num *by)
{
    by->n = 0;
    by->limits = malloc((store_len(m->store, &quota_limit_type) + 1) * sizeof(struct quota_limit *));
    if (by->limits == NULL)
        return -ENOMEM;
    LIST_EACH(link, store_all(m->store, &quota_limit_type))
    by->limits[by->n++] = quota_limit_of(rec_of(link));
    qsort(by->limits, by->n, sizeof(struct quota_limit *), compare_limits);
    for (size_t i = 0; i < by->n; i++)
        if (by->limits[i]->num >= m->quotas->sums->next_limit ||
            (i > 0 && by->limits[i]->num == by->limits[i - 1]->num))
            return ERR_CORRUPT;
    return 0;
}

static int restore_senders(struct machine *m, const struct by_num *by)
{
    struct quotas *q = m->quotas;
    struct list *all = store_all(m->store, &quota_sender_type);
    q->sweep = all;
    LIST_EACH(link, all)
    {
        struct quota_sender *s = quota_sender_of(rec_of(link));
        if (q->sweep == all && s->rec.seq >= q->sums->swept)
            q->sweep = link;
        for (struct quota_counter *c = s->counters; c != NULL; c = c->next) {
            c->limit = limit_numbered(by, c->num);
            if (c->limit == NULL || c->limit->scope != quota_sender_scope(s))
                return ERR_CORRUPT;
            c->limit->refs++;
            q->ncounters++;
        }
    }
    return 0;
}

static int resolve_grant(struct machine *m, struct quota_grant *g)
{
    struct cursor c;
    cursor_init(&c, g->unresolved, g->nunresolved);
    for (uint32_t i = 0; i < g->n; i++) {
        uint32_t num = cursor_u32(&c);
        struct span key = cursor_counted(&c);
        struct quota_sender *s = quota_sender_of(store_find(m->store, &quota_sender_type, key));
        struct quota_counter *k = s == NULL ? NULL : s->counters;
        while (k != NULL && k->num != num)
            k = k->next;
        if (k == NULL)
            return ERR_CORRUPT;
        int err = quota_hold(k, g->node, g->held);
        if (err != 0)
            return err;
        g->counters[i] = k;
    }
    free(g->unresolved);
    g->unresolved = NULL;
    return 0;
}

static int restore_grants(struct machine *m)
{
    struct quotas *q = m->quotas;
    LIST_EACH(link, store_all(m->store, &quota_grant_type))
    {
        struct quota_grant *g = quota_grant_of(rec_of(link));
        struct list *grants = quota_node_grants(q, g->node);
        if (grants == NULL)
            return -ENOMEM;
        int err = resolve_grant(m, g);
        if (err != 0)
            return err;
        list_push_back(grants, &g->node_link);
        q->held += g->held;
    }
    const struct quota_sums *s = q->sums;
    return s->charged == s->spent + s->burned + s->refunded + q->held ? 0 : ERR_CORRUPT;
}

static int make_sums(struct machine *m)
{
    struct list *all = store_all(m->store, &quota_sums_type);
    m->quotas->sums = list_empty(all) ? NULL : quota_sums_of(rec_of(list_first(all)));
    if (m->quotas->sums != NULL)
        return 0;
    struct quota_sums *s = calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    int err = store_add(m->store, &quota_sums_type, &s->rec);
    if (err != 0)
        free(s);
    else
        m->quotas->sums = s;
    return err;
}

static void forget_nodes(struct quotas *q)
{
    for (uint32_t i = 0; i < q->nnodes; i++)
        free(q->nodes[i]);
    free(q->nodes);
    q->nodes = NULL;
    q->nnodes = 0;
}

int quota_restored(struct machine *m)
{
    struct quotas *q = m->quotas;
    forget_nodes(q);
    q->held = q->ncounters = 0;
    q->resolved_known = 0;
    q->sweep = store_all(m->store, &quota_sender_type);
    int err = make_sums(m);
    if (err != 0)
        return err;
    struct by_num by;
    err = restore_limits(m, &by);
    if (err == 0)
        err = restore_senders(m, &by);
    if (err == 0)
        err = restore_grants(m);
    free(by.limits);
    return err;
}

struct quotas *quotas_new(struct machine *m)
{
    struct quotas *q = calloc(1, sizeof *q);
    if (q == NULL)
        return NULL;
    q->m = m;
    m->quotas = q;
    q->sweep = store_all(m->store, &quota_sender_type);
    if (make_sums(m) != 0) {
        free(q);
        return m->quotas = NULL;
    }
    return q;
}

void quotas_free(struct quotas *q)
{
    if (q == NULL)
        return;
    forget_nodes(q);
    free(q);
}
