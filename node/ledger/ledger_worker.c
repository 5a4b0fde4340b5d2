/* A worker's ledger as a whole: its registration with the agent, messages, deadlines, the end. The worker's
 * thread, except ledger_worker_post and the statistics.
 */
#include "base/ensure.h"
#include "base/err.h"
#include "node/ledger/ledger_impl.h"

#include <stdlib.h>

struct ledger_now ledger_now(const struct ledger_worker *w)
{
    return (struct ledger_now){ .boot_ns = w->config.boot_ns(), .wall_ms = w->config.wall_ms() };
}

/* ---- messages ------------------------------------------------------------------------------------------ */

void ledger_worker_post(struct ledger_worker *w, struct ledger_msg *msg)
{
    (void)ledger_port_push(&w->port, msg, false);
}

static void send_back(struct ledger_worker *w, struct ledger_msg *msg)
{
    if (agent_post(w->config.agent, msg, false) != 0) {
        struct ledger_recall *r = LIST_ITEM(msg, struct ledger_recall, msg);
        ensure(msg->type != LEDGER_MSG_ASK);
        if (msg->type == LEDGER_MSG_PARCEL)
            free(LIST_ITEM(msg, struct ledger_parcel, msg));
        else
            free(r);
    }
}

void ledger_flush(struct ledger_worker *w)
{
    for (struct list *link; (link = list_pop_front(&w->done)) != NULL;)
        send_back(w, LIST_ITEM(LIST_ITEM(link, struct inbox_msg, link), struct ledger_msg, in));
}

static void on_answer(struct ledger_worker *w, struct ledger_ask *q)
{
    struct ledger_wallet *wa = q->wallet;
    wa->asking = false;
    wa->holds++; /* parcels of an ended session may be the last thing that keeps it */
    list_remove(&wa->link);
    for (struct list *link; (link = list_pop_front(&q->parcels)) != NULL;)
        ledger_wallet_add(wa, LIST_ITEM(link, struct ledger_parcel, link));
    if (q->refusal.why != LEDGER_WHY_NONE) {
        wa->refusal = q->refusal;
        wa->refused_need = q->refused_need;
        wa->refused_until_ns = q->refused_until_ns;
        wa->refused_epoch = q->refused_epoch;
        ledger_refuse_first(wa, &q->refusal);
    }
    free(q);
    if (!w->closing)
        ledger_serve(wa);
    ledger_wallet_rele(wa);
}

/* Free tokens of the sender go back; what is reserved stays. */
static void on_recall(struct ledger_worker *w, struct ledger_recall *r)
{
    struct span account = span_of(r->names, r->account_n);
    struct span tenant = span_of(r->names + r->account_n, r->tenant_n);
    struct ledger_wallet *wa = ledger_wallet_find(w, account, tenant, r->class);
    /* What a waiting hold counts on stays: else two workers would take each other's part for ever. */
    if (wa != NULL && list_empty(&wa->waiting))
        LIST_EACH_SAFE(pos, &wa->open)
        {
            struct ledger_parcel *p = LIST_ITEM(pos, struct ledger_parcel, link);
            if (p->reserved == 0) {
                ledger_parcel_retire(w, p);
            } else if (r->nitems < LEDGER_RECALLED_MAX) {
                r->items[r->nitems++] = (struct ledger_recalled){ p->grant, p->free };
                w->in_hand -= p->free;
                wa->free -= p->free;
                p->free = 0;
                list_remove(&p->link);
                list_push_back(&wa->used, &p->link);
            }
        }
    ledger_flush(w);
    send_back(w, &r->msg);
}

static void on_forget(struct ledger_worker *w, struct ledger_recall *r)
{
    struct span account = span_of(r->names, r->account_n);
    struct span tenant = span_of(r->names + r->account_n, r->tenant_n);
    struct ledger_wallet *wa = ledger_wallet_find(w, account, tenant, r->class);
    if (wa != NULL) {
        wa->refused_until_ns = 0;
        ledger_mark_dirty(wa);
    }
    free(r);
}

static void on_message(void *ctx, struct inbox_msg *in)
{
    struct ledger_worker *w = ctx;
    struct ledger_msg *msg = LIST_ITEM(in, struct ledger_msg, in);
    switch (msg->type) {
    case LEDGER_MSG_ASK:
        on_answer(w, LIST_ITEM(msg, struct ledger_ask, msg));
        break;
    case LEDGER_MSG_RECALL:
        on_recall(w, LIST_ITEM(msg, struct ledger_recall, msg));
        break;
    case LEDGER_MSG_FORGET:
        on_forget(w, LIST_ITEM(msg, struct ledger_recall, msg));
        break;
    default:
        ensure_failed("a message for a worker", __FILE__, __LINE__);
    }
}

/* ---- deadlines ----------------------------------------------------------------------------------------- */

void ledger_mark_dirty(struct ledger_wallet *wa)
{
    if (!list_linked(&wa->dirty))
        list_push_back(&wa->w->dirty, &wa->dirty);
    ledger_arm(wa->w, 0);
}

static void retire_old_session(struct ledger_worker *w, const struct ledger_session *s)
{
    w->seen_session = s->id;
    LIST_EACH_SAFE(pos, &w->parcels)
    {
        struct ledger_parcel *p = LIST_ITEM(pos, struct ledger_parcel, all);
        if (p->session != s->id)
            ledger_parcel_retire(w, p);
    }
}

static void sweep_parcels(struct ledger_worker *w, const struct ledger_now *now)
{
    for (struct heap_node *node; (node = heap_first(&w->ends)) != NULL && node->key <= now->boot_ns;) {
        struct ledger_parcel *p = HEAP_ITEM(node, struct ledger_parcel, end);
        if (p->reserved > 0 && now->boot_ns < p->validity.until_ns)
            heap_move(&w->ends, node, p->validity.until_ns);
        else
            ledger_parcel_retire(w, p);
    }
}

static void sweep_wallets(struct ledger_worker *w, const struct ledger_now *now)
{
    for (struct heap_node *node; (node = heap_first(&w->timers)) != NULL && node->key <= now->boot_ns;) {
        struct ledger_wallet *wa = HEAP_ITEM(node, struct ledger_wallet, timer);
        if (wa->holds == 0)
            ledger_wallet_settle(wa, now);
        else
            ledger_expire(wa, now);
    }
    struct list dirty;
    list_init(&dirty);
    list_splice(&dirty, &w->dirty);
    for (struct list *link; (link = list_pop_front(&dirty)) != NULL;)
        ledger_serve(LIST_ITEM(link, struct ledger_wallet, dirty));
}

static void sweep(struct ledger_worker *w)
{
    if (w->view == NULL || w->closing)
        return;
    struct ledger_session s;
    ledger_view_read(w->view, &s);
    if (s.id != w->seen_session)
        retire_old_session(w, &s);
    struct ledger_now now = ledger_now(w);
    sweep_parcels(w, &now);
    sweep_wallets(w, &now);
    ledger_flush(w);
    atomic_store_explicit(&w->stats.in_hand, w->in_hand, memory_order_relaxed);
    atomic_store_explicit(&w->stats.senders, (uint32_t)w->wallets.len, memory_order_relaxed);
    atomic_store_explicit(&w->stats.waiting, w->nwaiting, memory_order_relaxed);
}

static void on_timer(uv_timer_t *timer)
{
    struct ledger_worker *w = timer->data;
    w->armed_ns = 0;
    sweep(w);
    if (!list_empty(&w->parcels) || w->nwaiting > 0)
        ledger_arm(w, LEDGER_SWEEP_MS);
    struct heap_node *first = heap_first(&w->timers);
    if (first != NULL) {
        int64_t left_ms = (first->key - w->config.boot_ns()) / LEDGER_NS_PER_MS + 1;
        ledger_arm(w, left_ms < 1 ? 1 : left_ms);
    }
}

void ledger_arm(struct ledger_worker *w, int64_t ms)
{
    if (w->port.stepped || w->closing)
        return;
    int64_t at_ns = ledger_later((int64_t)uv_now(w->config.loop) * LEDGER_NS_PER_MS, ms);
    if (w->armed_ns != 0 && w->armed_ns <= at_ns)
        return;
    w->armed_ns = at_ns;
    uv_timer_start(&w->timer, on_timer, (uint64_t)ms, 0);
}

bool ledger_worker_step(struct ledger_worker *w)
{
    bool any = ledger_port_step(&w->port);
    sweep(w);
    return any;
}

/* ---- begin and end ------------------------------------------------------------------------------------- */

int ledger_worker_new(const struct ledger_worker_config *config, struct ledger_worker **out)
{
    struct ledger_worker *w = calloc(1, sizeof *w);
    if (w == NULL)
        return -ENOMEM;
    w->config = *config;
    if (w->config.answer_ms == 0)
        w->config.answer_ms = 10000;
    if (w->config.max_senders == 0)
        w->config.max_senders = 100000;
    if (w->config.max_waiting == 0)
        w->config.max_waiting = 10000;
    ledger_wallets_init(w);
    heap_init(&w->timers);
    heap_init(&w->ends);
    list_init(&w->resting);
    list_init(&w->dirty);
    list_init(&w->parcels);
    list_init(&w->done);
    list_init(&w->spare_parts);
    *out = w;
    if (config->agent == NULL)
        return 0;
    int err = ledger_port_init(&w->port, config->loop, LEDGER_ASKS_MAX, on_message, w);
    if (err != 0)
        goto fail;
    if (config->loop != NULL) {
        w->handles = 2;
        uv_timer_init(config->loop, &w->timer);
        w->timer.data = w;
    }
    err = agent_worker_add(config->agent, w, &w->slot, &w->view, &w->gate);
    if (err == 0)
        return 0;
    ledger_worker_close(w);
    ledger_worker_free(w);
    *out = NULL;
    return err;
fail:
    free(w);
    *out = NULL;
    return err;
}

static void worker_free(struct ledger_worker *w)
{
    size_t at = 0;
    for (void *item; (item = map_next(&w->wallets, &at)) != NULL;)
        free(item);
    for (struct list *link; (link = list_pop_front(&w->spare_parts)) != NULL;)
        free(LIST_ITEM(link, struct ledger_part, link));
    map_fini(&w->wallets);
    heap_fini(&w->timers);
    heap_fini(&w->ends);
    if (w->config.agent != NULL && !w->port.stepped)
        inbox_fini(&w->port.in);
    free(w);
}

static void on_closed(struct ledger_worker *w)
{
    if (--w->handles == 0 && w->free_wanted)
        worker_free(w);
}

static void on_timer_closed(uv_handle_t *handle)
{
    on_closed(handle->data);
}

static void on_inbox_closed(uv_handle_t *handle)
{
    on_closed(LIST_ITEM(handle, struct ledger_worker, port.in.async));
}

void ledger_worker_close(struct ledger_worker *w)
{
    if (w->closing)
        return;
    w->closing = true;
    if (w->config.agent == NULL)
        return;
    if (w->view != NULL)
        agent_worker_remove(w->config.agent, w->slot);
    if (w->port.stepped) {
        while (ledger_port_step(&w->port)) {
        }
    } else {
        inbox_close(&w->port.in, on_inbox_closed);
        uv_close((uv_handle_t *)&w->timer, on_timer_closed);
    }
    LIST_EACH_SAFE(pos, &w->parcels)
    ledger_parcel_retire(w, LIST_ITEM(pos, struct ledger_parcel, all));
    ledger_flush(w);
}

void ledger_worker_free(struct ledger_worker *w)
{
    if (w == NULL)
        return;
    w->free_wanted = true;
    if (w->handles == 0)
        worker_free(w);
}

void ledger_worker_publish(struct ledger_worker *w, uint64_t index)
{
    if (w->view == NULL || index <= w->published)
        return;
    w->published = index;
    agent_worker_publish(w->config.agent, w->slot, index);
}

void ledger_worker_stats(const struct ledger_worker *w, struct ledger_worker_stats *out)
{
    *out = (struct ledger_worker_stats){
        .reserved = atomic_load_explicit(&w->stats.reserved, memory_order_relaxed),
        .spent = atomic_load_explicit(&w->stats.spent, memory_order_relaxed),
        .freed = atomic_load_explicit(&w->stats.freed, memory_order_relaxed),
        .refused = atomic_load_explicit(&w->stats.refused, memory_order_relaxed),
        .asked = atomic_load_explicit(&w->stats.asked, memory_order_relaxed),
        .exchanged = atomic_load_explicit(&w->stats.exchanged, memory_order_relaxed),
        .timeouts = atomic_load_explicit(&w->stats.timeouts, memory_order_relaxed),
        .senders = atomic_load_explicit(&w->stats.senders, memory_order_relaxed),
        .waiting = atomic_load_explicit(&w->stats.waiting, memory_order_relaxed),
        .in_hand = atomic_load_explicit(&w->stats.in_hand, memory_order_relaxed),
    };
}
