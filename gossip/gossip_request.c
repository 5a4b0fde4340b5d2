/* Questions: ours, each with an id and a deadline, and others', each to be answered once. The cluster thread.
 */
#include "base/ensure.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/map.h"
#include "gossip/gossip_impl.h"

#include <errno.h>
#include <stdlib.h>

struct ask {
    struct gossip_due due;
    struct list link; /* only while it is being ended */
    uint64_t id, node;
    gossip_answer_fn *cb;
    void *ctx;
};

struct gossip_asks {
    struct map by_id;
    uint64_t last_id;
};

struct gossip_request {
    struct list link; /* gossip.asked */
    struct gossip *g; /* NULL: gossip was closed */
    uint64_t node, serial, id;
};

static uint64_t ask_hash(const void *item)
{
    return hash_u64(((const struct ask *)item)->id);
}

static bool ask_match(const void *item, const void *key)
{
    return ((const struct ask *)item)->id == *(const uint64_t *)key;
}

int gossip_asks_new(struct gossip_asks **out)
{
    struct gossip_asks *a = calloc(1, sizeof *a);
    if (a == NULL)
        return -ENOMEM;
    map_init(&a->by_id, ask_hash, ask_match);
    *out = a;
    return 0;
}

void gossip_asks_free(struct gossip_asks *a)
{
    if (a == NULL)
        return;
    ensure(a->by_id.len == 0);
    map_fini(&a->by_id);
    free(a);
}

static void ask_forget(struct gossip *g, struct ask *a)
{
    gossip_due_clear(&a->due);
    ensure(map_remove(&g->asks->by_id, ask_hash(a), a));
}

static void ask_end(struct ask *a, int err, struct span answer)
{
    a->cb(a->ctx, a->node, err, answer);
    free(a);
}

static void ask_late(struct gossip_due *due)
{
    struct ask *a = HEAP_ITEM(due, struct ask, due);
    ask_forget(due->g, a);
    ask_end(a, ERR_TIMEOUT, (struct span){ 0 });
}

int gossip_ask(struct gossip *g, uint64_t node, uint16_t type, struct span payload, int64_t timeout_ms,
               gossip_answer_fn *cb, void *ctx)
{
    struct gossip_node *n = gossip_find(g, node);
    if (n == NULL)
        return ERR_NOT_FOUND;
    if (g->asks->by_id.len >= GOSSIP_REQUESTS_MAX)
        return ERR_BUSY;
    struct ask *a = calloc(1, sizeof *a);
    if (a == NULL)
        return -ENOMEM;
    *a = (struct ask){ .id = ++g->asks->last_id, .node = node, .cb = cb, .ctx = ctx };
    gossip_due_init(&a->due, g, ask_late);
    int err = map_add(&g->asks->by_id, ask_hash(a), a);
    if (err != 0) {
        free(a);
        return err;
    }
    uv_update_time(g->loop); /* or what the owner did before he asked would count as waiting */
    err = gossip_due_set(&a->due, timeout_ms);
    if (err == 0)
        err = gossip_conn_send(n->conn, GOSSIP_REQUEST, type, a->id, payload);
    if (err != 0) {
        ask_forget(g, a);
        free(a);
    }
    return err;
}

void gossip_asks_fail(struct gossip *g, uint64_t node)
{
    struct list ended;
    list_init(&ended);
    size_t at = 0;
    for (struct ask *a; (a = map_next(&g->asks->by_id, &at)) != NULL;) {
        if (node == 0 || a->node == node)
            list_push_back(&ended, &a->link);
    }
    LIST_EACH(link, &ended)
    ask_forget(g, LIST_ITEM(link, struct ask, link));
    for (struct list *link; (link = list_pop_front(&ended)) != NULL;)
        ask_end(LIST_ITEM(link, struct ask, link), ERR_CLOSED, (struct span){ 0 });
}

void gossip_asks_answered(struct gossip_conn *c, const struct gossip_frame *f)
{
    struct gossip *g = c->g;
    struct ask *a = map_find(&g->asks->by_id, hash_u64(f->id), &f->id);
    if (a == NULL || a->node != c->peer->id) /* too late, or not theirs to answer */
        return;
    ask_forget(g, a);
    ask_end(a, f->kind == GOSSIP_ANSWER ? 0 : ERR_CLOSED, f->payload);
}

void gossip_asked(struct gossip_conn *c, const struct gossip_frame *f)
{
    struct gossip *g = c->g;
    struct gossip_request *r = g->nasked < GOSSIP_ASKED_MAX ? calloc(1, sizeof *r) : NULL;
    if (r == NULL) {
        g->stats.dropped++;
        (void)gossip_conn_send(c, GOSSIP_REFUSAL, 0, f->id, (struct span){ 0 });
        return;
    }
    *r = (struct gossip_request){ .g = g, .node = c->peer->id, .serial = c->serial, .id = f->id };
    list_push_back(&g->asked, &r->link);
    g->nasked++;
    g->ops->on_request(g->ctx, r, r->node, f->type, f->payload);
}

static void answer(struct gossip_request *r, enum gossip_kind kind, struct span payload)
{
    struct gossip *g = r->g;
    if (g != NULL) {
        list_remove(&r->link);
        g->nasked--;
        struct gossip_node *n = gossip_find(g, r->node);
        /* Its asker knows nothing of the question any more when the connection is another one. */
        bool there = n != NULL && n->conn != NULL && n->conn->serial == r->serial;
        if (there && gossip_conn_send(n->conn, kind, 0, r->id, payload) != 0)
            g->stats.dropped++;
    }
    free(r);
}

void gossip_answer(struct gossip_request *r, struct span payload)
{
    answer(r, GOSSIP_ANSWER, payload);
}

void gossip_ignore(struct gossip_request *r)
{
    answer(r, GOSSIP_REFUSAL, (struct span){ 0 });
}

void gossip_asked_orphan(struct gossip *g)
{
    for (struct list *link; (link = list_pop_front(&g->asked)) != NULL;)
        LIST_ITEM(link, struct gossip_request, link)->g = NULL;
    g->nasked = 0;
}
