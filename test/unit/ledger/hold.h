/* A hold of a test with what it was answered. */
#ifndef TEST_LEDGER_HOLD_H
#define TEST_LEDGER_HOLD_H

#include "world.h"

struct held {
    struct ledger_hold h;
    int answers;
    enum ledger_answer answer;
};

static inline void held_cb(struct ledger_hold *h, enum ledger_answer answer)
{
    struct held *x = h->ctx;
    x->answers++;
    x->answer = answer;
}

static inline int held_begin(struct held *x, uint32_t node, uint32_t worker, const char *account,
                             const char *tenant)
{
    struct ledger_sender s = { span_str(account), span_str(tenant), 0 };
    *x = (struct held){ 0 };
    return ledger_hold_init(&x->h, world_at(node)->workers[worker], &s, held_cb, x);
}

/* Asks, and lets everything happen that needs no time. */
static inline enum ledger_answer held_reserve(struct held *x, uint32_t node, uint32_t n)
{
    world_at(node);
    enum ledger_answer answer = ledger_reserve(&x->h, n);
    if (answer != LEDGER_WAIT)
        return answer;
    int before = x->answers;
    world_settle();
    world_at(node);
    return x->answers > before ? x->answer : LEDGER_WAIT;
}

static inline enum ledger_answer held_ready(struct held *x, uint32_t node)
{
    world_at(node);
    return ledger_ready(&x->h);
}

static inline void held_spend(struct held *x, uint32_t node)
{
    world_at(node);
    ledger_spend(&x->h);
}

static inline void held_end(struct held *x, uint32_t node)
{
    world_at(node);
    ledger_hold_fini(&x->h);
}

/* One message to n recipients, at once; whether it was admitted. */
static inline bool held_send(uint32_t node, uint32_t worker, const char *account, const char *tenant,
                             uint32_t n)
{
    struct held x;
    bool sent = held_begin(&x, node, worker, account, tenant) == 0 &&
                held_reserve(&x, node, n) == LEDGER_YES && held_ready(&x, node) == LEDGER_YES;
    if (sent)
        held_spend(&x, node);
    held_end(&x, node);
    return sent;
}

#endif
