/* Senders as the node knows them: questions of its workers, the request that is out for them, and refusals.
 */
#include "base/ensure.h"
#include "base/err.h"
#include "base/hash.h"
#include "node/ledger/agent_impl.h"

#include <stdlib.h>

#define FORGET_AT_LEAST_MS 1000 /* a refusal is remembered so long, whatever it says */
#define FROZEN_REMEMBERED_MS 60000
#define SWEEP_TURNS 100    /* in so many each sender is looked at once */
#define SWEEP_SENDERS 1024 /* but never more in one */

struct sender_key {
    struct span account, tenant;
    uint8_t class;
    bool any; /* the tenant does not matter */
};

static uint64_t sender_hash(const void *item)
{
    return ((const struct agent_sender *)item)->hash;
}

static bool sender_match(const void *item, const void *key)
{
    const struct agent_sender *s = item;
    const struct sender_key *k = key;
    return span_eq(s->account, k->account) &&
           s->class == k->class && (k->any || span_eq(s->tenant, k->tenant));
}

static struct agent_sender *find(struct agent *a, const struct sender_key *key)
{
    return map_find(&a->senders, hash_bytes(key->account.p, key->account.n), key);
}

/* All of the account, one for each class that its mail is of; fn may end it. */
static void each_of_account(struct agent *a, struct span account,
                            void (*fn)(struct agent *a, struct agent_sender *s))
{
    for (unsigned i = 0; i < 2 * COMMAND_CLASSES; i++) {
        uint8_t class = (uint8_t)(i % COMMAND_CLASSES | (i < COMMAND_CLASSES ? 0 : COMMAND_STREAM));
        struct agent_sender *s = find(a, &(struct sender_key){ .account = account, .class = class, .any = true });
        if (s != NULL)
            fn(a, s);
    }
}

struct agent_sender *agent_sender_find(struct agent *a, struct span account, struct span tenant,
                                       uint8_t class)
{
    return find(a, &(struct sender_key){ .account = account, .tenant = tenant, .class = class });
}

static struct agent_sender *sender_get(struct agent *a, const struct ledger_ask *q)
{
    struct span account = span_of(q->names, q->account_n);
    struct span tenant = span_of(q->names + q->account_n, q->tenant_n);
    struct agent_sender *s = agent_sender_find(a, account, tenant, q->class);
    if (s != NULL || a->senders.len >= AGENT_SENDERS_MAX)
        return s;
    s = calloc(1, sizeof *s + account.n + tenant.n);
    if (s == NULL)
        return NULL;
    memcpy(s->names, q->names, account.n + tenant.n);
    s->account = span_of(s->names, account.n);
    s->tenant = span_of(s->names + account.n, tenant.n);
    s->class = q->class;
    s->hash = hash_bytes(account.p, account.n);
    s->recent_ns = agent_now(a);
    list_init(&s->questions);
    list_init(&s->grants);
    if (map_add(&a->senders, s->hash, s) != 0) {
        free(s);
        return NULL;
    }
    list_push_back(&a->sender_list, &s->link);
    return s;
}

static void sender_free(struct agent *a, struct agent_sender *s)
{
    ensure(list_empty(&s->questions));
    list_remove(&s->link);
    list_remove(&s->asking);
    list_remove(&s->remembering);
    ensure(map_remove(&a->senders, s->hash, s));
    free(s);
}

static void parcels_free(struct agent *a, struct ledger_ask *q)
{
    for (struct list *link; (link = list_pop_front(&q->parcels)) != NULL;)
        agent_grant_parcel(a, LIST_ITEM(link, struct ledger_parcel, link));
}

/* ---- answers ------------------------------------------------------------------------------------------- */

static void send_answer(struct agent *a, struct ledger_ask *q)
{
    list_remove(&q->link);
    if (agent_to_worker(a, q->slot, &q->msg))
        return;
    parcels_free(a, q);
    free(q);
}

static void answer_no(struct agent *a, struct ledger_ask *q, enum ledger_why why)
{
    q->refusal = (struct ledger_refusal){ .why = why, .retry_ms = 1000 };
    q->refused_until_ns = 0;
    send_answer(a, q);
}

static bool remembered(struct agent *a, const struct agent_sender *s, uint32_t more)
{
    return more >= s->refused_need && agent_now(a) < s->refused_until_ns &&
           s->refused_epoch == atomic_load_explicit(&a->view.epoch, memory_order_relaxed);
}

/* The worker remembers it too, until it is told otherwise. */
static void answer_remembered(struct agent *a, struct agent_sender *s, struct ledger_ask *q, uint32_t idle)
{
    q->refusal = s->refusal;
    q->refusal.retry_ms = (s->refused_until_ns - agent_now(a)) / LEDGER_NS_PER_MS + 1;
    q->refused_need = s->refused_need + idle;
    q->refused_until_ns = s->refused_until_ns;
    q->refused_epoch = s->refused_epoch;
    s->told[q->slot / 64] |= 1ull << (q->slot % 64);
    send_answer(a, q);
}

/* A RECALL or FORGET for each worker of the set; how many went out. */
static uint32_t tell_workers(struct agent *a, const struct agent_sender *s, const uint64_t *slots,
                             uint8_t type)
{
    uint32_t sent = 0;
    for (uint32_t slot = 0; slot < LEDGER_WORKERS_MAX; slot++) {
        if ((slots[slot / 64] >> (slot % 64) & 1) == 0)
            continue;
        struct ledger_recall *r = calloc(1, sizeof *r + s->account.n + s->tenant.n);
        if (r == NULL)
            continue;
        r->msg.type = type;
        r->slot = slot;
        r->class = s->class;
        r->account_n = (uint16_t)s->account.n;
        r->tenant_n = (uint16_t)s->tenant.n;
        memcpy(r->names, s->names, s->account.n + s->tenant.n);
        if (agent_to_worker(a, slot, &r->msg))
            sent++;
        else
            free(r);
    }
    return sent;
}

void agent_sender_forget(struct agent *a, struct agent_sender *s)
{
    if (s->refused_until_ns == 0)
        return;
    s->refused_until_ns = 0;
    list_remove(&s->remembering);
    tell_workers(a, s, s->told, LEDGER_MSG_FORGET);
    memset(s->told, 0, sizeof s->told);
}

void agent_sender_recall(struct agent *a, struct agent_sender *s)
{
    if (s->out == 0 || s->recalls_out > 0)
        return;
    a->stats.recalls++;
    s->recalls_out = tell_workers(a, s, s->holders, LEDGER_MSG_RECALL);
}

/* ---- serving ------------------------------------------------------------------------------------------- */

static double recent(struct agent *a, struct agent_sender *s)
{
    int64_t now = agent_now(a);
    for (; now - s->recent_ns >= AGENT_RATE_NS && s->recent > 0.5; s->recent_ns += AGENT_RATE_NS)
        s->recent /= 2;
    if (s->recent <= 0.5) {
        s->recent = 0;
        s->recent_ns = now;
    }
    return s->recent;
}

/* What ended goes back before more is asked for: it still counts until then. */
static void return_first(struct agent *a, const struct agent_sender *s)
{
    LIST_EACH(pos, &s->grants)
    if (list_linked(&LIST_ITEM(pos, struct agent_grant, link)->ready)) {
        a->return_now = true;
        agent_grant_tick(a);
        return;
    }
}

static void request(struct agent *a, struct agent_sender *s, uint32_t idle)
{
    struct ledger_ask *first = LIST_ITEM(list_first(&s->questions), struct ledger_ask, link);
    return_first(a, s);
    struct agent_op *op = agent_op_new(a, AGENT_OP_GRANT);
    if (op == NULL) {
        answer_no(a, first, LEDGER_WHY_BUSY);
        return;
    }
    double want = recent(a, s);
    LIST_EACH(pos, &s->questions)
    want += LIST_ITEM(pos, struct ledger_ask, link)->want;
    want = want > idle ? want - idle : 0;
    op->grant.sender = s;
    op->grant.need = first->need - idle;
    op->grant.want = want > AGENT_WANT_MAX ? AGENT_WANT_MAX : (uint32_t)want;
    if (op->grant.want < op->grant.need)
        op->grant.want = op->grant.need;
    s->request = op;
    a->stats.requests++;
}

/* Nothing helped: the first question, and all that want as much, hear no. */
static void give_up(struct agent *a, struct agent_sender *s, uint32_t idle)
{
    s->stage = AGENT_STAGE_ASK;
    LIST_EACH_SAFE(pos, &s->questions)
    {
        struct ledger_ask *q = LIST_ITEM(pos, struct ledger_ask, link);
        if (q->need > idle && q->need - idle >= s->refused_need)
            answer_remembered(a, s, q, idle);
    }
}

static bool held_elsewhere(struct agent *a, struct agent_sender *s);

/* After a refusal, once the local workers' tokens are here: wait for others', or say no. */
static void after_refusal(struct agent *a, struct agent_sender *s, uint32_t idle)
{
    if (s->stage != AGENT_STAGE_FINAL && held_elsewhere(a, s)) {
        s->stage = AGENT_STAGE_WAIT;
        s->retry_ns = agent_now(a) + agent_ms(AGENT_RECALL_WAIT_MS);
        return;
    }
    give_up(a, s, idle);
}

/* Can the first question go on without asking the leader? */
static bool waits(struct agent *a, struct agent_sender *s, uint32_t idle)
{
    if (s->request != NULL || s->recalls_out > 0 || s->stage == AGENT_STAGE_WAIT)
        return true;
    if (s->stage == AGENT_STAGE_LOCAL && idle <= s->idle_before) {
        after_refusal(a, s, idle);
        return s->stage == AGENT_STAGE_WAIT;
    }
    return false;
}

/* A busy sender's next tokens are asked for while some are left, so that he does not notice when the leader
 * is lost. Only while grants are as large as is wanted: near a limit, what one node has ahead is missing
 * elsewhere. */
static void look_ahead(struct agent *a, struct agent_sender *s)
{
    double lately = recent(a, s);
    if (!s->roomy || lately < AGENT_AHEAD_MIN || s->request != NULL || s->recalls_out > 0 ||
        s->stage != AGENT_STAGE_ASK || a->closing || !a->session.usable ||
        agent_now(a) < s->refused_until_ns || agent_grant_idle(a, s) >= lately / 2)
        return;
    struct agent_op *op = agent_op_new(a, AGENT_OP_GRANT);
    if (op == NULL)
        return;
    op->grant.sender = s;
    op->grant.need = 1;
    op->grant.want = lately > AGENT_WANT_MAX ? AGENT_WANT_MAX : (uint32_t)lately;
    op->grant.ahead = true;
    s->request = op;
    a->stats.requests++;
}

void agent_sender_serve(struct agent *a, struct agent_sender *s)
{
    for (struct list *link; (link = list_first(&s->questions)) != NULL;) {
        struct ledger_ask *q = LIST_ITEM(link, struct ledger_ask, link);
        uint32_t idle = agent_grant_idle(a, s);
        if (idle >= q->need) {
            double more = recent(a, s) + (q->want > q->need ? q->want : q->need);
            uint32_t n = more > idle ? idle : (uint32_t)more;
            if (s->stage == AGENT_STAGE_LOCAL)
                n = q->need; /* what was recalled is scarce */
            s->stage = AGENT_STAGE_ASK;
            if (agent_grant_give(a, s, q, n) != 0) {
                parcels_free(a, q);
                answer_no(a, q, LEDGER_WHY_BUSY);
                continue;
            }
            s->recent += n;
            send_answer(a, q);
        } else if (waits(a, s, idle)) {
            break;
        } else if (list_first(&s->questions) == link) {
            request(a, s, idle);
        }
    }
    if (list_empty(&s->questions)) {
        list_remove(&s->asking);
        s->stage = s->stage == AGENT_STAGE_WAIT ? AGENT_STAGE_ASK : s->stage;
        look_ahead(a, s);
    }
}

void agent_sender_ask(struct agent *a, struct ledger_ask *q)
{
    list_init(&q->parcels);
    if (a->closing || !a->session.usable) {
        answer_no(a, q, LEDGER_WHY_SESSION);
        return;
    }
    struct agent_sender *s = sender_get(a, q);
    if (s == NULL) {
        answer_no(a, q, LEDGER_WHY_BUSY);
        return;
    }
    uint32_t idle = agent_grant_idle(a, s);
    if (q->need > idle && s->stage == AGENT_STAGE_ASK && remembered(a, s, q->need - idle)) {
        a->stats.refusals_remembered++;
        answer_remembered(a, s, q, idle);
        return;
    }
    list_push_back(&s->questions, &q->link);
    if (!list_linked(&s->asking))
        list_push_back(&a->asking, &s->asking);
    agent_sender_serve(a, s);
}

/* ---- the leader's word --------------------------------------------------------------------------------- */

struct usage_look {
    const struct agent_sender *s;
    uint64_t ours, need;
    bool elsewhere;
};

static int look_usage(void *arg, const struct machine_usage *u)
{
    struct usage_look *look = arg;
    if (strcmp(u->limit, look->s->refusal.limit) == 0 && u->held > look->ours && look->need <= u->count &&
        u->held - look->ours + u->count >= u->used + look->need)
        look->elsewhere = true;
    return 0;
}

/* By this node's view of the state, which may lag: a wrong guess costs one request, or a refusal too early.
 */
static bool held_elsewhere(struct agent *a, struct agent_sender *s)
{
    if (s->refusal.why != LEDGER_WHY_LIMIT)
        return false;
    struct usage_look look = { .s = s, .need = s->refused_need };
    LIST_EACH(pos, &s->grants)
    look.ours += LIST_ITEM(pos, struct agent_grant, link)->count;
    machine_usage_each(a->machine, s->account, s->tenant, s->class, look_usage, &look);
    return look.elsewhere;
}

static void remember(struct agent *a, struct agent_sender *s, uint32_t need, const struct machine_result *r)
{
    int64_t for_ms = FORGET_AT_LEAST_MS;
    s->refusal = (struct ledger_refusal){ .why = LEDGER_WHY_BUSY };
    if (r->why == MACHINE_REFUSED_LIMIT) {
        s->refusal.why = LEDGER_WHY_LIMIT;
        memcpy(s->refusal.limit, r->limit, sizeof s->refusal.limit);
        s->refusal.count = r->limit_count;
        s->refusal.window_ms = r->limit_window_ms;
        s->refusal.tenant = r->scope == COMMAND_SCOPE_TENANT;
        if (r->free_ms > r->now_ms && r->free_ms - r->now_ms > (uint64_t)for_ms)
            for_ms = (int64_t)(r->free_ms - r->now_ms);
    } else if (r->why == MACHINE_REFUSED_FROZEN || r->why == MACHINE_REFUSED_DISABLED) {
        s->refusal.why = r->why == MACHINE_REFUSED_FROZEN ? LEDGER_WHY_FROZEN : LEDGER_WHY_DISABLED;
        for_ms = FROZEN_REMEMBERED_MS;
    }
    s->refused_need = s->refusal.why == LEDGER_WHY_LIMIT ? need : 1;
    s->refused_ns = agent_now(a);
    s->refused_until_ns = s->refused_ns + agent_ms(for_ms);
    s->refused_epoch = atomic_load_explicit(&a->view.epoch, memory_order_relaxed);
    if (!list_linked(&s->remembering))
        list_push_back(&a->remembering, &s->remembering);
}

void agent_sender_result(struct agent *a, struct agent_op *op, const struct machine_result *r)
{
    struct agent_sender *s = op->grant.sender;
    if (s->request == op)
        s->request = NULL;
    if (r->err == 0) {
        a->stats.grants++;
        if (agent_grant_add(a, s, op, r) != 0)
            a->stats.burned_local += r->count;
        s->stage = AGENT_STAGE_ASK;
        s->roomy = r->count >= op->grant.want;
    } else if (op->grant.ahead) {
        s->roomy = false; /* whoever asks will hear it himself, after what is idle elsewhere was looked for */
    } else {
        a->stats.refusals++;
        s->roomy = false;
        uint32_t idle = agent_grant_idle(a, s);
        remember(a, s, op->grant.need, r);
        s->idle_before = idle;
        if (s->stage == AGENT_STAGE_ASK && s->refusal.why == LEDGER_WHY_LIMIT && s->out > 0) {
            s->stage = AGENT_STAGE_LOCAL;
            agent_sender_recall(a, s);
        } else {
            after_refusal(a, s, idle);
        }
    }
    agent_sender_serve(a, s);
}

void agent_sender_lost(struct agent *a, struct agent_op *op)
{
    struct agent_sender *s = op->grant.sender;
    if (s->request != op)
        return;
    s->request = NULL;
    if (a->session.usable)
        agent_sender_serve(a, s);
}

void agent_sender_no_session(struct agent *a)
{
    LIST_EACH_SAFE(pos, &a->asking)
    {
        struct agent_sender *s = LIST_ITEM(pos, struct agent_sender, asking);
        for (struct list *link; (link = list_first(&s->questions)) != NULL;)
            answer_no(a, LIST_ITEM(link, struct ledger_ask, link), LEDGER_WHY_SESSION);
        list_remove(&s->asking);
        s->stage = AGENT_STAGE_ASK;
    }
}

/* ---- time and what others changed ---------------------------------------------------------------------- */

static bool idle_sender(struct agent *a, struct agent_sender *s)
{
    return list_empty(&s->questions) && list_empty(&s->grants) && s->request == NULL && s->recalls_out == 0 &&
           agent_now(a) >= s->refused_until_ns && recent(a, s) == 0;
}

void agent_sender_tick(struct agent *a)
{
    int64_t now = agent_now(a);
    LIST_EACH_SAFE(pos, &a->asking)
    {
        struct agent_sender *s = LIST_ITEM(pos, struct agent_sender, asking);
        if (s->stage == AGENT_STAGE_WAIT && now >= s->retry_ns)
            s->stage = AGENT_STAGE_FINAL;
        LIST_EACH_SAFE(at, &s->questions)
        {
            struct ledger_ask *q = LIST_ITEM(at, struct ledger_ask, link);
            if (now >= q->deadline_ns)
                answer_no(a, q, LEDGER_WHY_TIMEOUT);
        }
        agent_sender_serve(a, s);
    }
    for (size_t i = 0; i < SWEEP_SENDERS && i <= a->senders.len / SWEEP_TURNS; i++) {
        struct list *link = list_pop_front(&a->sender_list);
        if (link == NULL)
            break;
        struct agent_sender *s = LIST_ITEM(link, struct agent_sender, link);
        list_push_back(&a->sender_list, link);
        if (idle_sender(a, s))
            sender_free(a, s);
    }
}

/* Somebody returned tokens: those who wait for that try again. */
static void refunded(struct agent *a)
{
    LIST_EACH_SAFE(pos, &a->asking)
    {
        struct agent_sender *s = LIST_ITEM(pos, struct agent_sender, asking);
        if (s->stage != AGENT_STAGE_WAIT)
            continue;
        s->stage = AGENT_STAGE_FINAL;
        agent_sender_serve(a, s);
    }
}

/* Limits of this account or tenant are others now, or something was given back to one that had refused. */
static void limits_changed(struct agent *a, uint64_t id, struct span key)
{
    if (key.n == 0) {
        atomic_fetch_add_explicit(&a->view.epoch, 1, memory_order_relaxed);
        return;
    }
    each_of_account(a, key, agent_sender_forget);
    if (id == COMMAND_SCOPE_ACCOUNT)
        return;
    LIST_EACH_SAFE(pos, &a->remembering)
    {
        struct agent_sender *s = LIST_ITEM(pos, struct agent_sender, remembering);
        if (span_eq(s->tenant, key))
            agent_sender_forget(a, s);
    }
}

static void give_back(struct agent *a, struct agent_sender *s)
{
    if (!list_empty(&s->questions))
        return;
    LIST_EACH_SAFE(pos, &s->grants)
    {
        struct agent_grant *g = LIST_ITEM(pos, struct agent_grant, link);
        if (g->idle + g->out > 0 && !g->returning) {
            g->recalled = true;
            agent_grant_check(a, g, true);
        }
    }
    agent_sender_recall(a, s);
}

static void recalled(struct agent *a, uint64_t scope, struct span key)
{
    if (scope == COMMAND_SCOPE_ACCOUNT) {
        each_of_account(a, key, give_back);
        return;
    }
    int64_t now = agent_now(a);
    if (now < a->tenant_recall_ns)
        return;
    a->tenant_recall_ns = now + agent_ms(AGENT_RECALL_WAIT_MS / 4);
    LIST_EACH(pos, &a->sender_list)
    {
        struct agent_sender *s = LIST_ITEM(pos, struct agent_sender, link);
        if (span_eq(s->tenant, key))
            give_back(a, s);
    }
}

bool agent_settle(struct agent *a)
{
    bool settled = true;
    LIST_EACH(pos, &a->sender_list)
    {
        struct agent_sender *s = LIST_ITEM(pos, struct agent_sender, link);
        give_back(a, s);
        settled = settled && list_empty(&s->grants) && s->request == NULL;
    }
    return settled;
}

void agent_sender_effects(struct agent *a, const struct machine_effects *effects)
{
    bool refund = false;
    for (uint32_t i = 0; i < effects->n; i++) {
        const struct machine_effect *e = &effects->items[i];
        if (e->is_result) {
            refund = refund || (e->command == COMMAND_RETURN && e->result.err == 0 && e->result.count > 0);
            continue;
        }
        switch (e->change) {
        case MACHINE_CHANGED_FROZEN:
        case MACHINE_CHANGED_POLICY:
        case MACHINE_CHANGED_ALL:
            atomic_fetch_add_explicit(&a->view.epoch, 1, memory_order_relaxed);
            break;
        case MACHINE_CHANGED_ACCOUNT:
            each_of_account(a, e->key, agent_sender_forget);
            break;
        case MACHINE_CHANGED_LIMITS:
            limits_changed(a, e->id, e->key);
            break;
        case MACHINE_CHANGED_RECALL:
            recalled(a, e->id, e->key);
            break;
        default:
            break;
        }
    }
    if (refund)
        refunded(a);
}

void agent_senders_init(struct agent *a)
{
    map_init(&a->senders, sender_hash, sender_match);
    list_init(&a->sender_list);
    list_init(&a->asking);
    list_init(&a->remembering);
}

void agent_senders_free(struct agent *a)
{
    for (struct list *link; (link = list_first(&a->sender_list)) != NULL;) {
        struct agent_sender *s = LIST_ITEM(link, struct agent_sender, link);
        for (struct list *g; (g = list_first(&s->grants)) != NULL;)
            agent_grant_free(a, LIST_ITEM(g, struct agent_grant, link));
        for (struct list *q; (q = list_pop_front(&s->questions)) != NULL;)
            free(LIST_ITEM(q, struct ledger_ask, link));
        sender_free(a, s);
    }
}
