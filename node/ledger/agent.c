/* The agent as a whole: its workers, its inbox, its turn of work, begin and end. See agent.h. */
#include "node/ledger/agent.h"

#include "base/ensure.h"
#include "base/err.h"
#include "node/ledger/agent_impl.h"

#include <stdlib.h>

/* ---- workers ------------------------------------------------------------------------------------------- */

int agent_worker_add(struct agent *a, struct ledger_worker *w, uint32_t *slot,
                     const struct ledger_view **view, uint64_t *gate)
{
    int err = ERR_LIMIT;
    pthread_mutex_lock(&a->registry);
    uint32_t n = atomic_load_explicit(&a->nslots, memory_order_relaxed);
    if (a->shut) {
        err = ERR_CLOSED;
    } else if (n < LEDGER_WORKERS_MAX) {
        a->slots[n].worker = w;
        a->slots[n].told.type = LEDGER_MSG_PUBLISHED;
        *slot = n;
        *view = &a->view;
        *gate = atomic_load(&a->frozen_index);
        atomic_store(&a->nslots, n + 1);
        err = 0;
    }
    pthread_mutex_unlock(&a->registry);
    return err;
}

void agent_worker_remove(struct agent *a, uint32_t slot)
{
    pthread_mutex_lock(&a->registry);
    a->slots[slot].worker = NULL;
    pthread_mutex_unlock(&a->registry);
}

void agent_worker_publish(struct agent *a, uint32_t slot, uint64_t index)
{
    struct agent_slot *sl = &a->slots[slot];
    atomic_store(&sl->published, index);
    if (!atomic_exchange(&sl->telling, true) && agent_post(a, &sl->told, false) != 0)
        atomic_store(&sl->telling, false);
}

int agent_post(struct agent *a, struct ledger_msg *msg, bool bounded)
{
    pthread_mutex_lock(&a->registry);
    int err = a->shut ? ERR_CLOSED : ledger_port_push(&a->port, msg, bounded);
    pthread_mutex_unlock(&a->registry);
    return err;
}

bool agent_to_worker(struct agent *a, uint32_t slot, struct ledger_msg *msg)
{
    pthread_mutex_lock(&a->registry);
    struct ledger_worker *w = a->slots[slot].worker;
    if (w != NULL)
        ledger_worker_post(w, msg);
    pthread_mutex_unlock(&a->registry);
    return w != NULL;
}

uint64_t agent_workers_published(struct agent *a)
{
    uint64_t min = UINT64_MAX;
    pthread_mutex_lock(&a->registry);
    uint32_t n = atomic_load_explicit(&a->nslots, memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t published = atomic_load(&a->slots[i].published);
        if (a->slots[i].worker != NULL && published < min)
            min = published;
    }
    pthread_mutex_unlock(&a->registry);
    return min;
}

/* ---- a turn -------------------------------------------------------------------------------------------- */

static void on_recalled(struct agent *a, struct ledger_recall *r)
{
    struct span account = span_of(r->names, r->account_n);
    struct span tenant = span_of(r->names + r->account_n, r->tenant_n);
    for (uint32_t i = 0; i < r->nitems; i++)
        agent_grant_take_back(a, r->items[i].grant, r->items[i].n, 0);
    struct agent_sender *s = agent_sender_find(a, account, tenant, r->class);
    free(r);
    if (s == NULL)
        return;
    if (s->recalls_out > 0)
        s->recalls_out--;
    agent_sender_serve(a, s);
}

static void on_message(void *ctx, struct inbox_msg *in)
{
    struct agent *a = ctx;
    struct ledger_msg *msg = LIST_ITEM(in, struct ledger_msg, in);
    switch (msg->type) {
    case LEDGER_MSG_ASK:
        agent_sender_ask(a, LIST_ITEM(msg, struct ledger_ask, msg));
        break;
    case LEDGER_MSG_PARCEL:
        agent_grant_parcel(a, LIST_ITEM(msg, struct ledger_parcel, msg));
        break;
    case LEDGER_MSG_RECALL:
        on_recalled(a, LIST_ITEM(msg, struct ledger_recall, msg));
        break;
    case LEDGER_MSG_PUBLISHED: {
        struct agent_slot *sl = LIST_ITEM(msg, struct agent_slot, told);
        atomic_store(&sl->telling, false);
        agent_published_applied(a, machine_applied(a->machine), false);
        agent_session_publish(a);
        break;
    }
    default:
        ensure_failed("a message for the agent", __FILE__, __LINE__);
    }
}

static void finish(struct agent *a)
{
    agent_grant_tick(a);
    agent_flight_tick(a);
    agent_flush(a);
}

/* Before and after the loop waits: what callbacks gathered goes out together. */
static void on_prepare(uv_prepare_t *handle)
{
    finish(handle->data);
}

static void on_check(uv_check_t *handle)
{
    finish(handle->data);
}

static void shut(struct agent *a);

void agent_tick(struct agent *a)
{
    if (a->closed)
        return;
    agent_session_tick(a);
    agent_sender_tick(a);
    agent_submit_tick(a);
    finish(a);
    if (a->closing && (agent_now(a) >= a->close_ns || a->session.id == 0))
        shut(a);
}

bool agent_step(struct agent *a)
{
    uint64_t flushed = a->flushed;
    bool any = ledger_port_step(&a->port);
    finish(a);
    return any || a->flushed != flushed;
}

void agent_on_effects(struct agent *a, uint64_t index, const struct machine_effects *effects)
{
    if (a->closed)
        return;
    bool frozen = false, sessions = false, all = false;
    for (uint32_t i = 0; i < effects->n; i++) {
        const struct machine_effect *e = &effects->items[i];
        if (e->is_result) {
            agent_on_result(a, &e->origin, e->command, &e->result);
            continue;
        }
        all = all || e->change == MACHINE_CHANGED_ALL;
        frozen = frozen || e->change == MACHINE_CHANGED_FROZEN || e->change == MACHINE_CHANGED_ALL;
        sessions = sessions || e->change == MACHINE_CHANGED_SESSIONS || e->change == MACHINE_CHANGED_ALL;
    }
    if (all)
        agent_flight_blind(a);
    agent_published_applied(a, index, frozen);
    agent_session_effects(a, sessions);
    agent_sender_effects(a, effects);
    finish(a);
}

void agent_on_result(struct agent *a, const struct command_origin *origin, uint8_t command,
                     const struct machine_result *r)
{
    if (a->closed)
        return;
    if (origin->session == 0) {
        if (command == COMMAND_SESSION_OPEN && a->open.active && origin->seq == a->open.seq)
            agent_open_result(a, r);
        return;
    }
    agent_flight_result(a, origin, r);
    if (a->port.stepped)
        finish(a);
}

void agent_on_leader(struct agent *a, uint64_t leader)
{
    if (leader == 0 || a->closed)
        return;
    a->open.next_ns = 0;
    a->reopen_ns = 0;
    agent_flight_resend_all(a);
    agent_session_tick(a);
    finish(a);
}

/* ---- what it says -------------------------------------------------------------------------------------- */

uint64_t agent_published(const struct agent *a)
{
    return a->published;
}

void agent_session(const struct agent *a, struct agent_session *out)
{
    int64_t now = agent_now(a);
    int64_t left = a->session.from_ns == 0 ? 0 : a->session.from_ns + a->session.ttl_ns - now;
    *out = (struct agent_session){
        .id = a->session.id,
        .usable = a->session.usable && left > 0,
        .left_ms = a->session.id == 0 || left < 0 ? 0 : left / LEDGER_NS_PER_MS,
        .renewed_ms = a->session.renewed_ns == 0 ? -1 : (now - a->session.renewed_ns) / LEDGER_NS_PER_MS,
    };
}

static int by_time(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

void agent_stats(const struct agent *a, struct agent_stats *out)
{
    *out = a->stats;
    out->in_flight = a->nops;
    out->senders = (uint32_t)a->senders.len;
    out->in_hand = a->in_hand;
    if (a->ntimes == 0)
        return;
    int64_t sorted[AGENT_TIMES];
    memcpy(sorted, a->times_us, a->ntimes * sizeof sorted[0]);
    qsort(sorted, a->ntimes, sizeof sorted[0], by_time);
    out->grant_p50_us = sorted[a->ntimes / 2];
    out->grant_p99_us = sorted[a->ntimes * 99 / 100];
}

/* ---- begin and end ------------------------------------------------------------------------------------- */

static void on_close_timer(uv_timer_t *timer)
{
    agent_tick(timer->data);
}

int agent_new(const struct agent_config *config, struct agent **out)
{
    struct agent *a = calloc(1, sizeof *a);
    struct agent_slot *slots = calloc(LEDGER_WORKERS_MAX, sizeof *slots);
    if (a == NULL || slots == NULL) {
        free(a);
        free(slots);
        return -ENOMEM;
    }
    a->config = *config;
    if (a->config.resend_ms == 0)
        a->config.resend_ms = 200;
    if (a->config.max_in_flight == 0)
        a->config.max_in_flight = 4096;
    a->machine = config->machine;
    a->slots = slots;
    list_init(&a->queued);
    list_init(&a->in_flight);
    list_init(&a->orphans);
    agent_senders_init(a);
    list_init(&a->ready);
    heap_init(&a->ends);
    buf_init(&a->out, 2 * (size_t)COMMAND_BYTES_MAX);
    a->next_seq = a->lowest = 1;
    a->published = machine_applied(a->machine);
    atomic_store(&a->frozen_index, a->published);
    int err = ledger_port_init(&a->port, config->loop, LEDGER_ASKS_MAX, on_message, a);
    if (err != 0) {
        free(slots);
        free(a);
        return err;
    }
    pthread_mutex_init(&a->registry, NULL);
    if (config->loop != NULL) {
        uv_prepare_init(config->loop, &a->prepare);
        uv_check_init(config->loop, &a->check);
        uv_timer_init(config->loop, &a->timer);
        a->prepare.data = a->check.data = a->timer.data = a;
        uv_prepare_start(&a->prepare, on_prepare);
        uv_check_start(&a->check, on_check);
        a->handles = 4;
    }
    *out = a;
    return 0;
}

static void destroy(struct agent *a)
{
    while (a->port.stepped && ledger_port_step(&a->port)) { /* what workers gave back in the end */
    }
    struct list *lists[] = { &a->queued, &a->in_flight, &a->orphans };
    for (int i = 0; i < 3; i++)
        for (struct list *link; (link = list_first(lists[i])) != NULL;)
            agent_op_free(a, LIST_ITEM(link, struct agent_op, link));
    agent_senders_free(a);
    heap_fini(&a->ends);
    map_fini(&a->senders);
    buf_fini(&a->out);
    if (!a->port.stepped)
        inbox_fini(&a->port.in);
    pthread_mutex_destroy(&a->registry);
    free(a->slots);
    free(a);
}

static void on_handle_closed(struct agent *a)
{
    if (--a->handles > 0)
        return;
    bool free_wanted = a->free_wanted; /* else `closed` may free it */
    if (a->on_closed != NULL)
        a->on_closed(a->closed_ctx);
    if (free_wanted)
        destroy(a);
}

static void on_closed_cb(uv_handle_t *handle)
{
    on_handle_closed(handle->data);
}

static void on_inbox_closed(uv_handle_t *handle)
{
    on_handle_closed(LIST_ITEM(handle, struct agent, port.in.async));
}

static void shut(struct agent *a)
{
    struct list *lists[] = { &a->queued, &a->in_flight, &a->orphans };
    for (int i = 0; i < 3; i++)
        LIST_EACH(pos, lists[i])
        {
            struct agent_op *op = LIST_ITEM(pos, struct agent_op, link);
            if (op->kind == AGENT_OP_SUBMIT)
                agent_submit_answer(op, ERR_CLOSED, NULL);
        }
    pthread_mutex_lock(&a->registry);
    a->shut = true;
    pthread_mutex_unlock(&a->registry);
    if (a->port.stepped) {
        while (ledger_port_step(&a->port)) {
        }
        a->closed = true;
        if (a->on_closed != NULL)
            a->on_closed(a->closed_ctx);
        return;
    }
    inbox_close(&a->port.in, on_inbox_closed);
    a->closed = true;
    uv_prepare_stop(&a->prepare);
    uv_check_stop(&a->check);
    uv_close((uv_handle_t *)&a->prepare, on_closed_cb);
    uv_close((uv_handle_t *)&a->check, on_closed_cb);
    uv_close((uv_handle_t *)&a->timer, on_closed_cb);
}

void agent_close(struct agent *a, void (*closed)(void *ctx), void *ctx)
{
    ensure(!a->closing);
    a->closing = true;
    a->on_closed = closed;
    a->closed_ctx = ctx;
    a->close_ns = agent_now(a) + agent_ms(AGENT_CLOSE_WAIT_MS);
    agent_sender_no_session(a);
    agent_session_publish(a);
    if (a->session.id != 0) {
        a->return_now = true;
        agent_grant_session_ended(a);
        agent_grant_tick(a);
        struct agent_op *op = agent_op_new(a, AGENT_OP_CLOSE);
        if (op == NULL)
            a->close_ns = 0;
    }
    agent_flight_tick(a);
    agent_flush(a);
    if (!a->port.stepped)
        uv_timer_start(&a->timer, on_close_timer, 1, 20);
    else if (a->session.id == 0)
        shut(a);
}

void agent_free(struct agent *a)
{
    if (a == NULL)
        return;
    a->free_wanted = true;
    if (a->handles == 0)
        destroy(a);
}
