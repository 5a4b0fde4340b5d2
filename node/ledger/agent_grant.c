/* Grants as the node has them: how many tokens are idle here, how many are out with workers, and giving back
 * what is left. A grant is returned for good when all its tokens are accounted for; before that only what a
 * recall asks for.
 */
#include "base/ensure.h"
#include "base/err.h"
#include "node/ledger/agent_impl.h"

#include <stdlib.h>

static struct ledger_now both_clocks(const struct agent *a)
{
    return (struct ledger_now){ .boot_ns = a->config.boot_ns(), .wall_ms = a->config.wall_ms() };
}

static bool givable(const struct agent *a, const struct agent_grant *g, const struct ledger_now *now)
{
    return g->session == a->session.id && !g->recalled && now->boot_ns < g->give_until_ns &&
           ledger_valid(&g->validity, now);
}

int agent_grant_add(struct agent *a, struct agent_sender *s, const struct agent_op *op,
                    const struct machine_result *r)
{
    struct agent_grant *g = calloc(1, sizeof *g);
    if (g == NULL)
        return -ENOMEM;
    int64_t life_ns = agent_ms(r->life_ms);
    *g = (struct agent_grant){
        .sender = s,
        .id = r->id,
        .session = op->session,
        .validity = { .until_ns = op->first.until_ns + life_ns, .ahead_ms = op->first.ahead_ms },
        .give_until_ns = op->first.until_ns + life_ns - ledger_lead_ns(life_ns),
        .count = r->count,
        .idle = r->count,
    };
    if (heap_add(&a->ends, &g->end, g->give_until_ns) != 0) {
        free(g);
        return -ENOMEM;
    }
    list_push_back(&s->grants, &g->link);
    a->in_hand += g->count;
    agent_grant_check(a, g, false);
    return 0;
}

void agent_grant_free(struct agent *a, struct agent_grant *g)
{
    list_remove(&g->link);
    if (list_linked(&g->ready)) {
        list_remove(&g->ready);
        a->nready--;
    }
    heap_remove(&a->ends, &g->end);
    free(g);
}

uint32_t agent_grant_idle(struct agent *a, const struct agent_sender *s)
{
    struct ledger_now now = both_clocks(a);
    uint64_t idle = 0;
    LIST_EACH(pos, &s->grants)
    {
        const struct agent_grant *g = LIST_ITEM(pos, struct agent_grant, link);
        if (givable(a, g, &now))
            idle += g->idle;
    }
    return idle > UINT32_MAX ? UINT32_MAX : (uint32_t)idle;
}

int agent_grant_give(struct agent *a, struct agent_sender *s, struct ledger_ask *q, uint32_t n)
{
    struct ledger_now now = both_clocks(a);
    LIST_EACH(pos, &s->grants)
    {
        struct agent_grant *g = LIST_ITEM(pos, struct agent_grant, link);
        if (n == 0)
            break;
        if (g->idle == 0 || !givable(a, g, &now))
            continue;
        struct ledger_parcel *p = calloc(1, sizeof *p);
        if (p == NULL)
            return -ENOMEM;
        uint32_t take = g->idle < n ? g->idle : n;
        *p = (struct ledger_parcel){
            .msg.type = LEDGER_MSG_PARCEL,
            .grant = g,
            .session = g->session,
            .validity = g->validity,
            .retire_ns = g->give_until_ns + (g->validity.until_ns - g->give_until_ns) / 2,
            .free = take,
            .slot = q->slot,
        };
        list_push_back(&q->parcels, &p->link);
        g->idle -= take;
        g->out += take;
        s->out += take;
        n -= take;
    }
    s->holders[q->slot / 64] |= 1ull << (q->slot % 64);
    return 0;
}

void agent_grant_take_back(struct agent *a, struct agent_grant *g, uint32_t unspent, uint32_t spent)
{
    struct agent_sender *s = g->sender;
    ensure(g->out >= unspent + spent);
    g->out -= unspent + spent;
    g->idle += unspent;
    s->out -= unspent + spent;
    a->in_hand -= spent;
    if (s->out == 0)
        memset(s->holders, 0, sizeof s->holders);
    if (unspent > 0)
        agent_sender_forget(a, s);
    agent_grant_check(a, g, false);
}

void agent_grant_parcel(struct agent *a, struct ledger_parcel *p)
{
    ensure(p->reserved == 0);
    agent_grant_take_back(a, p->grant, p->free, p->spent);
    free(p);
}

/* ---- giving back --------------------------------------------------------------------------------------- */

static bool done_with(const struct agent *a, const struct agent_grant *g)
{
    return g->session != a->session.id || a->closing || g->idle == 0 || g->recalled ||
           agent_now(a) >= g->give_until_ns;
}

/* May free it. */
void agent_grant_check(struct agent *a, struct agent_grant *g, bool urgent)
{
    if (g->id == 0 && g->out == 0 && done_with(a, g)) { /* no limit applied: nothing was charged */
        a->in_hand -= g->idle;
        agent_grant_free(a, g);
        return;
    }
    if (g->id == 0 || g->returning || (g->out > 0 && !(g->recalled && g->idle > 0)) || !done_with(a, g))
        return;
    if (!list_linked(&g->ready)) {
        if (a->nready++ == 0)
            a->return_ns = agent_now(a) + agent_ms(AGENT_RETURN_WAIT_MS);
        list_push_back(&a->ready, &g->ready);
    }
    if (urgent || g->recalled || a->nready >= COMMAND_RETURN_MAX)
        a->return_now = true;
}

static bool return_some(struct agent *a)
{
    struct agent_op *op = agent_op_new(a, AGENT_OP_RETURN);
    if (op == NULL)
        return false;
    uint32_t n = 0;
    for (struct list *link; n < COMMAND_RETURN_MAX && (link = list_pop_front(&a->ready)) != NULL;) {
        struct agent_grant *g = LIST_ITEM(link, struct agent_grant, ready);
        a->nready--;
        op->ret.grants[n] = g;
        op->ret.items[n++] =
            (struct command_return_item){ .grant = g->id, .unspent = g->idle, .last = g->out == 0 };
        a->in_hand -= g->idle;
        g->idle = 0;
        g->returning = true;
        g->recalled = false;
    }
    op->ret.n = n;
    return true;
}

void agent_grant_tick(struct agent *a)
{
    int64_t now = agent_now(a);
    for (struct heap_node *node; (node = heap_first(&a->ends)) != NULL && node->key <= now;) {
        heap_remove(&a->ends, node);
        agent_grant_check(a, HEAP_ITEM(node, struct agent_grant, end), false);
    }
    if (a->session.id == 0 || a->nready == 0 || (!a->return_now && now < a->return_ns))
        return;
    a->return_now = false;
    while (a->nready > 0 && return_some(a)) {
    }
}

void agent_grant_returned(struct agent *a, struct agent_op *op)
{
    for (uint32_t i = 0; i < op->ret.n; i++) {
        struct agent_grant *g = op->ret.grants[i];
        a->stats.returned += op->ret.items[i].unspent;
        g->returning = false;
        if (op->ret.items[i].last)
            agent_grant_free(a, g);
        else
            agent_grant_check(a, g, false);
    }
}

void agent_grant_unreturned(struct agent *a, struct agent_op *op, bool blind)
{
    for (uint32_t i = 0; i < op->ret.n; i++) {
        struct agent_grant *g = op->ret.grants[i];
        uint32_t unspent = op->ret.items[i].unspent;
        g->returning = false;
        if (blind && !op->ret.items[i].last) {
            a->stats.burned_local += unspent;
        } else {
            g->idle += unspent;
            a->in_hand += unspent;
        }
        agent_grant_check(a, g, false);
    }
}

void agent_grant_session_ended(struct agent *a)
{
    LIST_EACH(pos, &a->sender_list)
    {
        struct agent_sender *s = LIST_ITEM(pos, struct agent_sender, link);
        LIST_EACH_SAFE(at, &s->grants)
        {
            struct agent_grant *g = LIST_ITEM(at, struct agent_grant, link);
            agent_grant_check(a, g, true);
        }
    }
}
