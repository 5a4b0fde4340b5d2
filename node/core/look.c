/* Looking into the workers' queues from an admin thread. */
#include "node/core/look.h"

#include "base/err.h"
#include "node/core/cluster.h"
#include "node/core/egress.h"
#include "node/core/held.h"
#include "node/policy/policy.h"
#include "node/shaping/pool_mark.h"

#include <errno.h>
#include <stdlib.h>

#define WALK_STEP 4096 /* items seen in one call on a worker: about 0.3 ms */

const char *look_class_name(uint8_t class)
{
    return class == ENVELOPE_CLASS_DEVICE ? "device" : class == ENVELOPE_CLASS_BULK ? "bulk" : "person";
}

/* ---- ids ------------------------------------------------------------------------------------------------
 */

struct id_walk {
    const struct admin_selector *sel;
    const struct queue *queue;
    uint64_t after;
    struct look_ids *out;
    uint64_t cursor;
    bool more;
    int err;
};

static enum admin_state admin_state_of(uint8_t queue_state)
{
    return queue_state == QUEUE_STATE_HELD        ? ADMIN_STATE_HELD
           : queue_state == QUEUE_STATE_IN_FLIGHT ? ADMIN_STATE_ACTIVE
                                                  : ADMIN_STATE_QUEUED;
}

static bool excluded_at_sight(const struct admin_selector *sel, const struct queue_item_view *v)
{
    if (sel == NULL)
        return false;
    char id[SPOOL_ID_TEXT];
    spool_id_format(v->id, id);
    struct admin_row row = { .id = id,
                             .state = admin_state_of((uint8_t)v->state),
                             .site = queue_site_key(v->site),
                             .arrival_ms = v->arrival_ms };
    /* One that was released counts its age anew, and its arrival is in its envelope. */
    return !admin_selector_match_some(sel, &row,
                                      ADMIN_NEED_STATE | ADMIN_NEED_SITE | (v->renewed ? 0 : ADMIN_NEED_ARRIVAL));
}

static int ids_add(struct look_ids *l, uint64_t id)
{
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 1024 : l->cap * 2;
        uint64_t *ids = realloc(l->ids, cap * sizeof *ids);
        if (ids == NULL)
            return -ENOMEM;
        l->ids = ids;
        l->cap = cap;
    }
    l->ids[l->n++] = id;
    return 0;
}

static void id_walk_cb(void *ctx, struct queue_item *item)
{
    struct id_walk *walk = ctx;
    struct queue_item_view v;
    if (walk->err != 0 || queue_item_id(item) < walk->after)
        return;
    queue_item_view(walk->queue, item, &v);
    if (!excluded_at_sight(walk->sel, &v))
        walk->err = ids_add(walk->out, v.id);
}

static void walk_ids(struct worker *w, void *arg)
{
    struct id_walk *walk = arg;
    walk->queue = w->egress->queue;
    walk->more = queue_walk(w->egress->queue, &walk->cursor, WALK_STEP, id_walk_cb, walk);
}

struct totals_walk {
    const struct queue *queue;
    uint64_t cursor;
    bool more;
    struct look_totals *out;
};

static void totals_walk_cb(void *ctx, struct queue_item *item)
{
    struct totals_walk *walk = ctx;
    struct queue_item_view v;
    queue_item_view(walk->queue, item, &v);
    walk->out->recipients += v.nrcpts;
    if (walk->out->oldest_ms == 0 || v.arrival_ms < walk->out->oldest_ms)
        walk->out->oldest_ms = v.arrival_ms;
}

static void walk_totals(struct worker *w, void *arg)
{
    struct totals_walk *walk = arg;
    walk->queue = w->egress->queue;
    walk->more = queue_walk(w->egress->queue, &walk->cursor, WALK_STEP, totals_walk_cb, walk);
}

void look_totals(struct node *n, struct look_totals *out)
{
    *out = (struct look_totals){ 0 };
    for (uint32_t i = 0; i < n->nworkers; i++) {
        struct totals_walk walk = { .out = out };
        do {
            worker_call(&n->workers[i], walk_totals, &walk);
        } while (walk.more);
    }
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int look_id(struct node *n, struct span text, uint64_t *id)
{
    int err = spool_id_parse(text, id);
    uint64_t living = err == 0 ? spool_find(n->spool, *id) : 0;
    *id = living != 0 ? living : *id;
    return err;
}

int look_ids(struct node *n, const struct admin_selector *sel, uint64_t after, struct look_ids *out)
{
    *out = (struct look_ids){ 0 };
    int err = 0;
    if (sel != NULL && sel->nids > 0) {
        for (uint32_t i = 0; err == 0 && i < sel->nids; i++) {
            uint64_t id;
            if (look_id(n, span_str(sel->ids[i]), &id) == 0 && id >= after)
                err = ids_add(out, id);
        }
    } else {
        for (uint32_t i = 0; err == 0 && i < n->nworkers; i++) {
            struct id_walk walk = { .sel = sel, .after = after, .out = out };
            do {
                worker_call(&n->workers[i], walk_ids, &walk);
            } while (walk.more && walk.err == 0);
            err = walk.err;
        }
    }
    if (err != 0) {
        look_ids_fini(out);
        return err;
    }
    size_t kept = 0;
    if (out->n > 0)
        qsort(out->ids, out->n, sizeof *out->ids, compare_ids);
    for (size_t i = 0; i < out->n; i++)
        if (kept == 0 || out->ids[i] != out->ids[kept - 1])
            out->ids[kept++] = out->ids[i];
    out->n = kept;
    return 0;
}

void look_ids_fini(struct look_ids *l)
{
    free(l->ids);
    *l = (struct look_ids){ 0 };
}

/* ---- items ----------------------------------------------------------------------------------------------
 */

struct item_lookup {
    const uint64_t *ids;
    size_t nids;
    struct look_batch *out;
};

static int batch_add(struct look_batch *b, struct worker *w, const struct queue_item_view *v)
{
    const struct queue *q = w->egress->queue;
    if (b->n == b->cap) {
        size_t cap = b->cap == 0 ? 64 : b->cap * 2;
        struct look_item *items = realloc(b->items, cap * sizeof *items);
        if (items == NULL)
            return -ENOMEM;
        b->items = items;
        b->cap = cap;
    }
    struct queue_site_state site;
    queue_site_state(q, v->site, &site);
    uint32_t *rcpts = malloc(v->nrcpts * sizeof *rcpts);
    if (rcpts == NULL)
        return -ENOMEM;
    memcpy(rcpts, v->rcpts, v->nrcpts * sizeof *rcpts);
    struct span key = queue_site_key(v->site);
    bool trouble = site.failures > 0; /* what is wrong with the site is what is wrong with its items */
    struct span error = trouble ? site.last_error : (struct span){ "", 0 };
    if (w->cut_off && v->state != QUEUE_STATE_IN_FLIGHT)
        error = SPAN_LIT("waits: this node has no session with its cluster (when_cut_off: hold)");
    /* the text may move while it grows: places now, pointers when all is there */
    b->items[b->n++] =
        (struct look_item){ .id = v->id,
                            .worker = w->index,
                            .state = (uint8_t)v->state,
                            .attempts = v->attempts,
                            .next_ms =
                                trouble && site.next_try_ms > v->next_ms ? site.next_try_ms : v->next_ms,
                            .site = { (const char *)b->text.len, key.n },
                            .site_error = { (const char *)(b->text.len + key.n), error.n },
                            .nrcpts = v->nrcpts,
                            .rcpts = rcpts };
    buf_put_span(&b->text, key);
    return buf_put_span(&b->text, error);
}

static void lookup_items(struct worker *w, void *arg)
{
    struct item_lookup *lookup = arg;
    struct queue *q = w->egress->queue;
    (void)egress_cut_off(w->egress);
    for (size_t i = 0; i < lookup->nids && lookup->out->err == 0; i++)
        for (struct queue_item *item = queue_find(q, lookup->ids[i]); item != NULL && lookup->out->err == 0;
             item = queue_find_next(q, item)) {
            struct queue_item_view v;
            queue_item_view(q, item, &v);
            lookup->out->err = batch_add(lookup->out, w, &v);
        }
}

static int compare_items(const void *a, const void *b)
{
    const struct look_item *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

int look_batch(struct node *n, const uint64_t *ids, size_t nids, struct look_batch *out)
{
    *out = (struct look_batch){ 0 };
    buf_init(&out->text, 256u << 20);
    struct item_lookup lookup = { .ids = ids, .nids = nids, .out = out };
    for (uint32_t i = 0; i < n->nworkers && out->err == 0; i++)
        worker_call(&n->workers[i], lookup_items, &lookup);
    for (size_t i = 0; i < out->n; i++) {
        out->items[i].site.p = out->text.data + (size_t)out->items[i].site.p;
        out->items[i].site_error.p = out->text.data + (size_t)out->items[i].site_error.p;
    }
    if (out->n > 0)
        qsort(out->items, out->n, sizeof *out->items, compare_items);
    int err = out->err;
    if (err != 0)
        look_batch_fini(out);
    return err;
}

void look_batch_fini(struct look_batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        free(b->items[i].rcpts);
    free(b->items);
    buf_fini(&b->text);
    *b = (struct look_batch){ 0 };
}

/* ---- rows -----------------------------------------------------------------------------------------------
 */

static const struct look_item *item_of(const struct look_batch *b, uint64_t id, uint32_t rcpt)
{
    struct look_item key = { .id = id };
    const struct look_item *at = b->n == 0 ? NULL : bsearch(&key, b->items, b->n, sizeof key, compare_items);
    if (at == NULL)
        return NULL;
    while (at > b->items && at[-1].id == id)
        at--;
    for (; at < b->items + b->n && at->id == id; at++)
        for (uint32_t i = 0; i < at->nrcpts; i++)
            if (at->rcpts[i] == rcpt)
                return at;
    return NULL;
}

static enum admin_state state_of(const struct spool_rcpt *r, const struct look_item *item)
{
    switch (r->state) {
    case RCPT_DELIVERED:
        return ADMIN_STATE_DELIVERED;
    case RCPT_RELAYED:
        return ADMIN_STATE_RELAYED;
    case RCPT_BOUNCED:
        return ADMIN_STATE_BOUNCED;
    case RCPT_EXPIRED:
        return ADMIN_STATE_EXPIRED;
    case RCPT_DELETED:
        return ADMIN_STATE_DELETED;
    case RCPT_MOVED:
        return ADMIN_STATE_MOVED;
    default:
        if (item != NULL)
            return admin_state_of(item->state);
        return r->state == RCPT_HELD || r->state == RCPT_LEAVING_HELD || r->state == RCPT_INERT_HELD
                   ? ADMIN_STATE_HELD
                   : ADMIN_STATE_QUEUED;
    }
}

static void row_fill(const struct config *c, int64_t expire_held_ms, const char *id, const struct spool_info *info, uint32_t i,
                     const struct look_item *item, struct admin_row *row)
{
    const struct envelope *e = &info->env;
    const struct spool_rcpt *r = &info->rcpts[i];
    bool site_speaks = item != NULL && item->site_error.n > 0 && !rcpt_state_terminal(r->state);
    struct grey_mark grey;
    struct span words;
    bool marked = grey_mark_parse(r->reply, &grey, &words) && !rcpt_state_terminal(r->state);
    struct pool_mark pool;
    bool moved = pool_mark_parse(r->reply, &pool, &words) && !rcpt_state_terminal(r->state);
    struct hold_mark hold;
    bool held = state_of(r, item) == ADMIN_STATE_HELD;
    bool marked_hold = !rcpt_state_terminal(r->state) && held_reason(e, r, &hold);
    if (held && (!marked_hold || hold.kind == HOLD_RELEASED))
        hold = (struct hold_mark){ .kind = HOLD_OPERATOR, .since_ms = r->changed_ms, .text = { "", 0 } };
    bool renewed = !held && marked_hold && hold.since_ms > e->arrival_ms;
    *row = (struct admin_row){
        .id = id,
        .rcpt = i,
        .nrcpts = e->nrcpts,
        .state = state_of(r, item),
        .sender = e->mail_from,
        .recipient = e->rcpts[i].address,
        .account = e->account,
        .tenant = e->tenant,
        .site = item != NULL ? item->site : (struct span){ "", 0 },
        .class = span_str(look_class_name(e->class)),
        .message_id = e->message_id,
        .client_ip = e->client_ip,
        .client_name = e->client_name,
        .helo = e->helo,
        .protocol = e->protocol,
        .listener = e->listener,
        .reply = site_speaks ? item->site_error : words,
        .mx = marked ? grey.host : (struct span){ "", 0 },
        .source_ip = marked ? grey.source : (struct span){ "", 0 },
        .rerouted_from = moved ? pool.left[pool.n - 1] : (struct span){ "", 0 },
        .rerouted_to = moved ? pool.to : (struct span){ "", 0 },
        .rerouted_by = moved ? pool.rule : (struct span){ "", 0 },
        .size = e->size,
        .attempts = item != NULL && item->attempts > r->attempts ? item->attempts : r->attempts,
        .arrival_ms = e->arrival_ms,
        .next_ms = item != NULL ? item->next_ms : 0,
        .changed_ms = r->changed_ms,
        .greylisted_ms = marked && grey.sure ? grey.since_ms : 0,
        .expires_ms = rcpt_state_terminal(r->state) ? 0
                      : held ? (expire_held_ms == 0 ? 0 : hold.since_ms + expire_held_ms)
                             : (renewed ? hold.since_ms : e->arrival_ms) + c->delivery.expire_ms,
        .held_for = held ? span_str(hold_kind_name(hold.kind)) : (struct span){ "", 0 },
        .held_text = held ? hold.text : (struct span){ "", 0 },
        .held_ms = held ? hold.since_ms : 0,
    };
}

/* The message's record is damaged: what the queue knows must do, so that an operator can see and delete it.
 */
static int damaged_rows(uint64_t id, const struct look_batch *b, const struct admin_selector *sel,
                        admin_row_fn *fn, void *arg)
{
    char text[SPOOL_ID_TEXT];
    spool_id_format(id, text);
    int err = 0;
    for (size_t i = 0; i < b->n; i++)
        for (uint32_t k = 0; err == 0 && b->items[i].id == id && k < b->items[i].nrcpts; k++) {
            struct admin_row row = { .id = text,
                                     .rcpt = b->items[i].rcpts[k],
                                     .nrcpts = b->items[i].rcpts[k] + 1,
                                     .state = admin_state_of(b->items[i].state),
                                     .site = b->items[i].site,
                                     .reply = SPAN_LIT("the message cannot be read: its record is damaged"),
                                     .attempts = b->items[i].attempts };
            if (sel == NULL || admin_selector_match(sel, &row))
                err = fn(arg, &row);
        }
    return err;
}

int look_message(struct node *n, uint64_t id, const struct look_batch *b, const struct admin_selector *sel,
                 bool ended, admin_row_fn *fn, void *arg)
{
    struct spool_info *info;
    int err = spool_info(n->spool, id, &info);
    if (err != 0)
        return err == ERR_NOT_FOUND || err == -ENOMEM ? err : damaged_rows(id, b, sel, fn, arg);
    struct config *c = node_config(n);
    struct policy *p = n->cluster == NULL ? NULL : cluster_policy(n->cluster);
    int64_t expire_held_ms = p == NULL ? 0 : p->held.expire_ms;
    policy_rele(p);
    char text[SPOOL_ID_TEXT];
    spool_id_format(id, text);
    for (uint32_t i = 0; err == 0 && i < info->env.nrcpts; i++) {
        if (!ended && rcpt_state_terminal(info->rcpts[i].state))
            continue;
        struct admin_row row;
        row_fill(c, expire_held_ms, text, info, i, item_of(b, id, i), &row);
        if (sel == NULL || admin_selector_match(sel, &row))
            err = fn(arg, &row);
    }
    config_rele(c);
    spool_info_free(info);
    return err;
}

struct after {
    uint64_t id;
    uint32_t rcpt;
    bool first; /* the message of that id is being looked at */
    admin_row_fn *fn;
    void *arg;
};

static int after_cb(void *arg, const struct admin_row *row)
{
    struct after *a = arg;
    return a->first && row->rcpt <= a->rcpt ? 0 : a->fn(a->arg, row);
}

int look_all(struct node *n, const struct admin_selector *sel, uint64_t after, uint32_t after_rcpt,
             admin_row_fn *fn, void *arg)
{
    struct look_ids ids;
    int err = look_ids(n, sel, after, &ids);
    for (size_t at = 0; err == 0 && at < ids.n; at += LOOK_BATCH) {
        size_t count = ids.n - at < LOOK_BATCH ? ids.n - at : LOOK_BATCH;
        struct look_batch batch;
        err = look_batch(n, &ids.ids[at], count, &batch);
        if (err != 0)
            break;
        for (size_t i = 0; err == 0 && i < count; i++) {
            struct after a = { .id = after, .rcpt = after_rcpt, .fn = fn, .arg = arg };
            a.first = after != 0 && ids.ids[at + i] == after;
            err = look_message(n, ids.ids[at + i], &batch, sel, false, after_cb, &a);
            if (err == ERR_NOT_FOUND)
                err = 0; /* ended meanwhile */
        }
        look_batch_fini(&batch);
    }
    look_ids_fini(&ids);
    return err == 1 ? 0 : err;
}
