/* Wallets: the tokens that a worker has of one sender, in parcels, and which holds have some of them
 * reserved. Asks nobody (ledger.c does). The worker's thread.
 */
#include "base/ensure.h"
#include "base/err.h"
#include "base/hash.h"
#include "node/ledger/ledger_impl.h"

#include <stdlib.h>

struct wallet_key {
    struct span account, tenant;
    uint8_t class;
};

bool ledger_parcel_good(const struct ledger_parcel *p, const struct ledger_session *s,
                        const struct ledger_now *now)
{
    if (p->session != s->id)
        return false;
    return ledger_valid(&p->validity, now);
}

/* ---- parts --------------------------------------------------------------------------------------------- */

static struct ledger_part *part_new(struct ledger_worker *w)
{
    struct list *link = list_pop_front(&w->spare_parts);
    if (link == NULL)
        return calloc(1, sizeof(struct ledger_part));
    w->nspare--;
    return LIST_ITEM(link, struct ledger_part, link);
}

static void part_free(struct ledger_worker *w, struct ledger_part *part)
{
    list_remove(&part->link);
    list_remove(&part->in_parcel);
    part->parcel = NULL;
    if (w->nspare >= LEDGER_PARTS_SPARE) {
        free(part);
        return;
    }
    w->nspare++;
    list_push_front(&w->spare_parts, &part->link);
}

/* Keeps the parcel in the list that its free tokens belong to; one without any tokens is done with. */
static void parcel_place(struct ledger_worker *w, struct ledger_parcel *p)
{
    if (p->free == 0 && p->reserved == 0) {
        ledger_parcel_retire(w, p);
        return;
    }
    list_remove(&p->link);
    list_push_back(p->free > 0 ? &p->wallet->open : &p->wallet->used, &p->link);
}

static void part_unreserve(struct ledger_worker *w, struct ledger_part *part, uint32_t n)
{
    struct ledger_parcel *p = part->parcel;
    part->n -= n;
    if (p != NULL) {
        p->reserved -= n;
        p->free += n;
        p->wallet->free += n;
    }
    if (part->n == 0)
        part_free(w, part);
    if (p != NULL && p->free == n)
        parcel_place(w, p);
}

void ledger_parts_drop(struct ledger_hold *h, uint32_t n)
{
    ensure(n <= h->reserved);
    h->reserved -= n;
    for (int dead = 1; dead >= 0 && n > 0; dead--)
        LIST_EACH_SAFE(pos, &h->parts)
        {
            struct ledger_part *part = LIST_ITEM(pos, struct ledger_part, link);
            uint32_t take = part->n < n ? part->n : n;
            if (take == 0)
                break;
            if ((part->parcel == NULL) != dead)
                continue;
            n -= take;
            part_unreserve(h->w, part, take);
        }
    ensure(n == 0);
}

uint32_t ledger_parts_drop_bad(struct ledger_hold *h, const struct ledger_session *s,
                               const struct ledger_now *now)
{
    uint32_t bad = 0;
    LIST_EACH_SAFE(pos, &h->parts)
    {
        struct ledger_part *part = LIST_ITEM(pos, struct ledger_part, link);
        if (part->parcel != NULL && ledger_parcel_good(part->parcel, s, now))
            continue;
        if (part->parcel != NULL)
            ledger_parcel_retire(h->w, part->parcel);
        bad += part->n;
        part_free(h->w, part);
    }
    h->reserved -= bad;
    return bad;
}

void ledger_parts_spend(struct ledger_hold *h)
{
    LIST_EACH_SAFE(pos, &h->parts)
    {
        struct ledger_part *part = LIST_ITEM(pos, struct ledger_part, link);
        struct ledger_parcel *p = part->parcel;
        ensure(p != NULL);
        p->reserved -= part->n;
        p->spent += part->n;
        h->w->in_hand -= part->n;
        part_free(h->w, part);
        if (p->free == 0 && p->reserved == 0)
            ledger_parcel_retire(h->w, p);
    }
    h->reserved = 0;
}

/* ---- parcels ------------------------------------------------------------------------------------------- */

void ledger_parcel_retire(struct ledger_worker *w, struct ledger_parcel *p)
{
    struct ledger_wallet *wa = p->wallet;
    LIST_EACH_SAFE(pos, &p->parts)
    {
        struct ledger_part *part = LIST_ITEM(pos, struct ledger_part, in_parcel);
        part->parcel = NULL;
        list_remove(&part->in_parcel);
    }
    w->in_hand -= p->free + p->reserved;
    wa->free -= p->free;
    wa->parcels--;
    p->free += p->reserved;
    p->reserved = 0;
    list_remove(&p->link);
    list_remove(&p->all);
    heap_remove(&w->ends, &p->end);
    list_push_back(&w->done, &p->msg.in.link);
    ledger_arm(w, LEDGER_SWEEP_MS);
    if (wa->parcels == 0 && wa->holds == 0)
        ledger_mark_dirty(wa);
}

void ledger_wallet_add(struct ledger_wallet *wa, struct ledger_parcel *p)
{
    struct ledger_worker *w = wa->w;
    struct ledger_session s;
    ledger_view_read(w->view, &s);
    list_init(&p->parts);
    p->wallet = wa;
    wa->parcels++;
    wa->free += p->free;
    w->in_hand += p->free;
    list_push_back(&wa->open, &p->link);
    list_push_back(&w->parcels, &p->all);
    bool stale = heap_add(&w->ends, &p->end, p->retire_ns) != 0;
    stale = stale || p->session != s.id;
    if (stale)
        ledger_parcel_retire(w, p);
}

bool ledger_wallet_take(struct ledger_wallet *wa, struct ledger_hold *h, uint32_t n,
                        const struct ledger_session *s, const struct ledger_now *now)
{
    uint32_t good = 0;
    LIST_EACH_SAFE(pos, &wa->open)
    {
        struct ledger_parcel *p = LIST_ITEM(pos, struct ledger_parcel, link);
        if (ledger_parcel_good(p, s, now))
            good += p->free;
        else
            ledger_parcel_retire(wa->w, p);
        if (good >= n)
            break;
    }
    if (good < n)
        return false;
    while (n > 0) {
        struct ledger_parcel *p = LIST_ITEM(list_first(&wa->open), struct ledger_parcel, link);
        struct ledger_part *part = part_new(wa->w);
        if (part == NULL)
            return false;
        uint32_t take = p->free < n ? p->free : n;
        *part = (struct ledger_part){ .parcel = p, .n = take };
        list_push_back(&h->parts, &part->link);
        list_push_back(&p->parts, &part->in_parcel);
        p->free -= take;
        p->reserved += take;
        wa->free -= take;
        h->reserved += take;
        n -= take;
        if (p->free == 0)
            parcel_place(wa->w, p);
    }
    return true;
}

/* ---- wallets ------------------------------------------------------------------------------------------- */

static uint64_t wallet_hash(const void *item)
{
    return ((const struct ledger_wallet *)item)->hash;
}

static bool wallet_match(const void *item, const void *key)
{
    const struct ledger_wallet *wa = item;
    const struct wallet_key *k = key;
    return wa->class == k->class && span_eq(wa->account, k->account) && span_eq(wa->tenant, k->tenant);
}

static void wallet_free(struct ledger_wallet *wa)
{
    struct ledger_worker *w = wa->w;
    ensure(wa->holds == 0);
    ensure(wa->parcels == 0);
    ensure(!wa->asking);
    list_remove(&wa->link);
    list_remove(&wa->dirty);
    heap_remove(&w->timers, &wa->timer);
    ensure(map_remove(&w->wallets, wa->hash, wa));
    free(wa);
}

/* One that only remembers a refusal makes room. */
static bool wallet_evict(struct ledger_worker *w)
{
    uint32_t looked = 0;
    LIST_EACH_SAFE(pos, &w->resting)
    {
        struct ledger_wallet *wa = LIST_ITEM(pos, struct ledger_wallet, link);
        if (wa->parcels == 0 && !wa->asking) {
            wallet_free(wa);
            return true;
        }
        if (++looked == 64)
            break;
    }
    return false;
}

void ledger_wallets_init(struct ledger_worker *w)
{
    map_init(&w->wallets, wallet_hash, wallet_match);
}

struct ledger_wallet *ledger_wallet_find(struct ledger_worker *w, struct span account, struct span tenant,
                                         uint8_t class)
{
    const struct wallet_key key = { account, tenant, class };
    return map_find(&w->wallets, hash_bytes(account.p, account.n), &key);
}

int ledger_wallet_hold(struct ledger_worker *w, const struct ledger_sender *sender,
                       struct ledger_wallet **out)
{
    if (sender->account.n > UINT16_MAX || sender->tenant.n > UINT16_MAX)
        return ERR_LIMIT;
    uint64_t hash = hash_bytes(sender->account.p, sender->account.n);
    struct ledger_wallet *wa = ledger_wallet_find(w, sender->account, sender->tenant, sender->class);
    if (wa == NULL) {
        if (w->wallets.len >= w->config.max_senders && !wallet_evict(w))
            return ERR_LIMIT;
        wa = calloc(1, sizeof *wa + sender->account.n + sender->tenant.n);
        if (wa == NULL)
            return -ENOMEM;
        *wa = (struct ledger_wallet){ .w = w, .hash = hash, .class = sender->class };
        list_init(&wa->open);
        list_init(&wa->used);
        list_init(&wa->waiting);
        if (sender->account.n > 0)
            memcpy(wa->names, sender->account.p, sender->account.n);
        if (sender->tenant.n > 0)
            memcpy(wa->names + sender->account.n, sender->tenant.p, sender->tenant.n);
        wa->account = span_of(wa->names, sender->account.n);
        wa->tenant = span_of(wa->names + sender->account.n, sender->tenant.n);
        int err = map_add(&w->wallets, hash, wa);
        if (err != 0) {
            free(wa);
            return err;
        }
    }
    wa->holds++;
    list_remove(&wa->link);
    *out = wa;
    return 0;
}

void ledger_wallet_rele(struct ledger_wallet *wa)
{
    ensure(wa->holds > 0);
    if (--wa->holds > 0)
        return;
    list_push_back(&wa->w->resting, &wa->link);
    struct ledger_now now = ledger_now(wa->w);
    ledger_wallet_settle(wa, &now);
}

void ledger_wallet_settle(struct ledger_wallet *wa, const struct ledger_now *now)
{
    struct ledger_worker *w = wa->w;
    int64_t due = 0;
    struct list *first = list_first(&wa->waiting);
    if (first != NULL)
        due = ledger_later(LIST_ITEM(first, struct ledger_hold, link)->asked_at_ms * LEDGER_NS_PER_MS,
                           w->config.answer_ms);
    else if (wa->holds == 0 && wa->parcels == 0 && !wa->asking) {
        if (wa->refused_until_ns <= now->boot_ns) {
            wallet_free(wa);
            return;
        }
        due = wa->refused_until_ns;
    }
    if (due == 0)
        heap_remove(&w->timers, &wa->timer);
    else if (heap_linked(&wa->timer))
        heap_move(&w->timers, &wa->timer, due);
    else if (heap_add(&w->timers, &wa->timer, due) != 0)
        ledger_mark_dirty(wa); /* no memory for the deadline: it is looked at with each sweep */
    if (due != 0 && first != NULL)
        ledger_arm(w, w->config.answer_ms);
}
