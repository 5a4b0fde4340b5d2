/* Reserve, then commit: what a transaction asks of the ledger. With tokens in hand nothing here leaves the
 * worker's own memory but the read of the session's view; without, one question per sender is out to the
 * agent, and holds wait in order. The worker's thread.
 */
#include "node/ledger/ledger.h"

#include "base/ensure.h"
#include "base/err.h"
#include "node/ledger/ledger_impl.h"

#include <stdlib.h>

#define OFFER_NS (1000 * LEDGER_NS_PER_MS)

/* May this worker act now? The session as published, and both clocks, read after it. */
static inline bool acts(const struct ledger_worker *w, struct ledger_session *s, struct ledger_now *now)
{
    ledger_view_read(w->view, s);
    *now = ledger_now(w);
    return s->id != 0 && w->published >= w->gate && ledger_valid(&s->validity, now);
}

static enum ledger_answer refuse(struct ledger_hold *h, enum ledger_why why)
{
    h->refusal = (struct ledger_refusal){ .why = why, .retry_ms = why == LEDGER_WHY_SESSION ? 0 : 1000 };
    ledger_count(&h->w->stats.refused, 1);
    return LEDGER_NO;
}

/* Is it known that so many more tokens are refused? Then the hold hears why. */
static bool refused(struct ledger_wallet *wa, struct ledger_hold *h, uint32_t n, const struct ledger_now *now)
{
    uint32_t more = n > wa->free ? n - wa->free : 1;
    if (now->boot_ns >= wa->refused_until_ns || more < wa->refused_need)
        return false;
    if (wa->refused_epoch != atomic_load_explicit(&wa->w->view->epoch, memory_order_relaxed)) {
        wa->refused_until_ns = 0;
        return false;
    }
    h->refusal = wa->refusal;
    h->refusal.retry_ms = (wa->refused_until_ns - now->boot_ns) / LEDGER_NS_PER_MS + 1;
    ledger_count(&wa->w->stats.refused, 1);
    return true;
}

/* ---- asking -------------------------------------------------------------------------------------------- */

static void ask_fill(struct ledger_ask *ask, const struct ledger_wallet *wa, uint32_t first)
{
    uint64_t want = 0;
    uint32_t counted = 0;
    LIST_EACH(pos, &wa->waiting)
    {
        const struct ledger_hold *h = LIST_ITEM(pos, struct ledger_hold, link);
        want += (uint64_t)h->asked + h->expected;
        if (++counted == 64)
            break;
    }
    ask->need = first > wa->free ? first - wa->free : 1;
    want = want > wa->free ? want - wa->free : 1;
    ask->want = want > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)want;
}

/* A question for the first waiting hold, unless one is out. */
static int ask(struct ledger_wallet *wa)
{
    struct ledger_worker *w = wa->w;
    if (wa->asking)
        return 0;
    struct ledger_hold *h = LIST_ITEM(list_first(&wa->waiting), struct ledger_hold, link);
    struct ledger_ask *q = calloc(1, sizeof *q + wa->account.n + wa->tenant.n);
    if (q == NULL)
        return -ENOMEM;
    *q = (struct ledger_ask){
        .msg.type = LEDGER_MSG_ASK,
        .slot = w->slot,
        .wallet = wa,
        .deadline_ns = ledger_later(h->asked_at_ms * LEDGER_NS_PER_MS, w->config.answer_ms),
        .class = wa->class,
        .account_n = (uint16_t)wa->account.n,
        .tenant_n = (uint16_t)wa->tenant.n,
    };
    memcpy(q->names, wa->names, wa->account.n + wa->tenant.n);
    ask_fill(q, wa, h->asked);
    /* What ended goes back first: an exchange must not be refused for its own tokens. */
    ledger_flush(w);
    int err = agent_post(w->config.agent, &q->msg, true);
    if (err != 0) {
        free(q);
        return err;
    }
    wa->asking = true;
    ledger_count(&w->stats.asked, 1);
    return 0;
}

static void wait_end(struct ledger_hold *h)
{
    list_remove(&h->link);
    h->asked = 0;
    h->exchanging = false;
    h->w->nwaiting--;
}

static enum ledger_answer wait_begin(struct ledger_hold *h, uint32_t n, const struct ledger_now *now)
{
    struct ledger_worker *w = h->w;
    struct ledger_wallet *wa = h->wallet;
    if (w->nwaiting >= w->config.max_waiting)
        return refuse(h, LEDGER_WHY_BUSY);
    h->asked = n;
    h->asked_at_ms = now->boot_ns / LEDGER_NS_PER_MS;
    list_push_back(&wa->waiting, &h->link);
    w->nwaiting++;
    int err = ask(wa);
    if (err != 0) {
        wait_end(h);
        return refuse(h, err == ERR_CLOSED ? LEDGER_WHY_SESSION : LEDGER_WHY_BUSY);
    }
    ledger_wallet_settle(wa, now);
    return LEDGER_WAIT;
}

static void answer(struct ledger_hold *h, enum ledger_answer yes_or_no)
{
    wait_end(h);
    h->on_answer(h, yes_or_no);
}

/* True: it was answered. */
static bool serve_one(struct ledger_wallet *wa, struct ledger_hold *h)
{
    struct ledger_worker *w = wa->w;
    struct ledger_session s;
    struct ledger_now now;
    if (!acts(w, &s, &now)) {
        answer(h, refuse(h, LEDGER_WHY_SESSION));
        return true;
    }
    if (h->exchanging)
        h->asked += ledger_parts_drop_bad(h, &s, &now);
    uint32_t n = h->asked;
    if (ledger_wallet_take(wa, h, n, &s, &now)) {
        ledger_count(&w->stats.reserved, n);
        answer(h, LEDGER_YES);
    } else if (!wa->asking && refused(wa, h, n, &now)) {
        answer(h, LEDGER_NO);
    } else if (ask(wa) != 0) {
        answer(h, refuse(h, LEDGER_WHY_BUSY));
    } else {
        return false;
    }
    return true;
}

void ledger_serve(struct ledger_wallet *wa)
{
    list_remove(&wa->dirty);
    list_remove(&wa->link);
    wa->holds++; /* an answer may end the last hold */
    for (struct list *first; (first = list_first(&wa->waiting)) != NULL;)
        if (!serve_one(wa, LIST_ITEM(first, struct ledger_hold, link)))
            break;
    struct ledger_now now = ledger_now(wa->w);
    if (wa->holds > 1)
        ledger_wallet_settle(wa, &now);
    ledger_wallet_rele(wa);
}

void ledger_refuse_first(struct ledger_wallet *wa, const struct ledger_refusal *why)
{
    struct list *first = list_first(&wa->waiting);
    if (first == NULL)
        return;
    struct ledger_hold *h = LIST_ITEM(first, struct ledger_hold, link);
    h->refusal = *why;
    ledger_count(&wa->w->stats.refused, 1);
    answer(h, LEDGER_NO);
}

void ledger_expire(struct ledger_wallet *wa, const struct ledger_now *now)
{
    struct ledger_worker *w = wa->w;
    list_remove(&wa->link);
    wa->holds++;
    for (struct list *first; (first = list_first(&wa->waiting)) != NULL;) {
        struct ledger_hold *h = LIST_ITEM(first, struct ledger_hold, link);
        if (ledger_later(h->asked_at_ms * LEDGER_NS_PER_MS, w->config.answer_ms) > now->boot_ns)
            break;
        ledger_count(&w->stats.timeouts, 1);
        answer(h, refuse(h, LEDGER_WHY_TIMEOUT));
    }
    if (wa->holds > 1)
        ledger_wallet_settle(wa, now);
    ledger_wallet_rele(wa);
}

/* ---- holds --------------------------------------------------------------------------------------------- */

int ledger_hold_init(struct ledger_hold *h, struct ledger_worker *w, const struct ledger_sender *sender,
                     void (*on_answer)(struct ledger_hold *h, enum ledger_answer answer), void *ctx)
{
    *h = (struct ledger_hold){ .w = w, .on_answer = on_answer, .ctx = ctx };
    list_init(&h->parts);
    if (w->view == NULL)
        return 0;
    int err = ledger_wallet_hold(w, sender, &h->wallet);
    if (err != 0)
        h->w = NULL; /* so that fini is harmless */
    return err;
}

void ledger_hold_fini(struct ledger_hold *h)
{
    if (h->w == NULL)
        return;
    if (h->asked > 0)
        wait_end(h);
    if (h->reserved > 0)
        ledger_unreserve(h, h->reserved);
    if (h->wallet != NULL)
        ledger_wallet_rele(h->wallet);
    h->wallet = NULL;
    h->w = NULL;
}

bool ledger_in_hand(const struct ledger_hold *h)
{
    return h->wallet == NULL || h->wallet->free > 0;
}

enum ledger_answer ledger_reserve(struct ledger_hold *h, uint32_t n)
{
    ensure(n > 0);
    ensure(h->asked == 0);
    struct ledger_worker *w = h->w;
    if (w->view == NULL) {
        h->reserved += n;
        ledger_count(&w->stats.reserved, n);
        return LEDGER_YES;
    }
    struct ledger_wallet *wa = h->wallet;
    struct ledger_session s;
    struct ledger_now now;
    if (!acts(w, &s, &now))
        return refuse(h, LEDGER_WHY_SESSION);
    if (list_empty(&wa->waiting)) {
        if (ledger_wallet_take(wa, h, n, &s, &now)) {
            ledger_count(&w->stats.reserved, n);
            return LEDGER_YES;
        }
        if (refused(wa, h, n, &now))
            return LEDGER_NO;
    }
    return wait_begin(h, n, &now);
}

/* Tokens came free at a sender who was refused for want of them: others of this node may have his next client. They
 * go back at most once a second, since each time the refusal is forgotten everywhere. */
static void offer_back(struct ledger_wallet *wa)
{
    struct ledger_worker *w = wa->w;
    if (wa->refused_until_ns == 0)
        return;
    struct ledger_now now = ledger_now(w);
    if (wa->refused_until_ns <= now.boot_ns || !list_empty(&wa->waiting) ||
        now.boot_ns - wa->offered_ns < OFFER_NS)
        return;
    wa->offered_ns = now.boot_ns;
    LIST_EACH_SAFE(pos, &wa->open)
    {
        struct ledger_parcel *p = LIST_ITEM(pos, struct ledger_parcel, link);
        if (p->reserved == 0)
            ledger_parcel_retire(w, p);
    }
    ledger_flush(w);
}

void ledger_unreserve(struct ledger_hold *h, uint32_t n)
{
    n = n < h->reserved ? n : h->reserved;
    ledger_count(&h->w->stats.freed, n);
    if (h->wallet == NULL) {
        h->reserved -= n;
        return;
    }
    ledger_parts_drop(h, n);
    if (!list_empty(&h->wallet->waiting))
        ledger_mark_dirty(h->wallet);
    offer_back(h->wallet);
}

enum ledger_answer ledger_ready(struct ledger_hold *h)
{
    ensure(h->asked == 0);
    struct ledger_worker *w = h->w;
    if (w->view == NULL)
        return LEDGER_YES;
    struct ledger_wallet *wa = h->wallet;
    struct ledger_session s;
    struct ledger_now now;
    if (!acts(w, &s, &now))
        return refuse(h, LEDGER_WHY_SESSION);
    uint32_t bad = ledger_parts_drop_bad(h, &s, &now);
    if (bad == 0)
        return LEDGER_YES;
    ledger_count(&w->stats.exchanged, bad);
    if (list_empty(&wa->waiting)) {
        if (ledger_wallet_take(wa, h, bad, &s, &now))
            return LEDGER_YES;
        /* A refusal that is remembered counted the tokens that go back now: the agent knows. */
    }
    h->exchanging = true;
    enum ledger_answer waits = wait_begin(h, bad, &now);
    if (waits != LEDGER_WAIT)
        h->exchanging = false;
    return waits;
}

void ledger_spend(struct ledger_hold *h)
{
    struct ledger_worker *w = h->w;
    ensure(h->asked == 0);
    ledger_count(&w->stats.spent, h->reserved);
    if (w->view == NULL)
        h->reserved = 0;
    else
        ledger_parts_spend(h);
}

bool ledger_session_valid(const struct ledger_worker *w)
{
    if (w->view == NULL)
        return true;
    struct ledger_session s;
    struct ledger_now now;
    return acts(w, &s, &now);
}

uint64_t ledger_session_id(const struct ledger_worker *w)
{
    struct ledger_session s;
    struct ledger_now now;
    return w->view != NULL && acts(w, &s, &now) ? s.id : 0;
}

bool ledger_usable(const struct ledger_worker *w)
{
    if (w->view == NULL)
        return true;
    struct ledger_session s;
    struct ledger_now now;
    if (!acts(w, &s, &now))
        return false;
    /* A session that two renewals failed to prolong is one of a node that is cut off: nothing more will come.
     */
    return w->in_hand > 0 || s.validity.until_ns - now.boot_ns >= s.ttl_ns / 3;
}
