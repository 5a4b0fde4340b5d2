/* What passes between workers and the agent: queues, and the session's view. Any thread. */
#include "base/err.h"
#include "node/ledger/internal.h"

/* Fields are stored with release and loaded with acquire: a reader that saw a field of a newer write also
 * sees the odd or later number, and reads again. (Fences would do, but the thread sanitizer does not know
 * them.) */
void ledger_view_write(struct ledger_view *v, const struct ledger_session *s)
{
    uint32_t seq = atomic_load_explicit(&v->seq, memory_order_relaxed);
    atomic_store_explicit(&v->seq, seq + 1, memory_order_relaxed);
    atomic_store_explicit(&v->session, s->id, memory_order_release);
    atomic_store_explicit(&v->until_ns, s->validity.until_ns, memory_order_release);
    atomic_store_explicit(&v->ahead_ms, s->validity.ahead_ms, memory_order_release);
    atomic_store_explicit(&v->ttl_ns, s->ttl_ns, memory_order_release);
    atomic_store_explicit(&v->seq, seq + 2, memory_order_release);
}

void ledger_view_read(const struct ledger_view *v, struct ledger_session *out)
{
    for (;;) {
        uint32_t seq = atomic_load_explicit(&v->seq, memory_order_acquire);
        out->id = atomic_load_explicit(&v->session, memory_order_acquire);
        out->validity.until_ns = atomic_load_explicit(&v->until_ns, memory_order_acquire);
        out->validity.ahead_ms = atomic_load_explicit(&v->ahead_ms, memory_order_acquire);
        out->ttl_ns = atomic_load_explicit(&v->ttl_ns, memory_order_acquire);
        if ((seq & 1) == 0 && atomic_load_explicit(&v->seq, memory_order_relaxed) == seq)
            return;
    }
}

int ledger_port_init(struct ledger_port *p, uv_loop_t *loop, uint32_t max, inbox_fn *fn, void *ctx)
{
    p->stepped = loop == NULL;
    p->len = 0;
    p->max = max;
    p->fn = fn;
    p->ctx = ctx;
    list_init(&p->queue);
    return p->stepped ? 0 : inbox_init(&p->in, loop, max, fn, ctx);
}

int ledger_port_push(struct ledger_port *p, struct ledger_msg *msg, bool bounded)
{
    if (!p->stepped && bounded)
        return inbox_push(&p->in, &msg->in);
    if (!p->stepped) {
        inbox_answer(&p->in, &msg->in);
        return 0;
    }
    if (bounded && p->len >= p->max)
        return ERR_LIMIT;
    p->len++;
    list_push_back(&p->queue, &msg->in.link);
    return 0;
}

bool ledger_port_step(struct ledger_port *p)
{
    struct list batch;
    list_init(&batch);
    list_splice(&batch, &p->queue);
    p->len = 0;
    bool any = !list_empty(&batch);
    for (struct list *link; (link = list_pop_front(&batch)) != NULL;)
        p->fn(p->ctx, LIST_ITEM(link, struct inbox_msg, link));
    return any;
}
