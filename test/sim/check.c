/* What must hold. Quotas and freezes are judged by the real times of what was admitted, without buckets,
 * sessions or any of the machine's arithmetic; replicas, by comparing them with each other.
 */
#include "test/sim/sim.h"

#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define POLICIES_MAX 256
#define GRACE_PERCENT 102 /* of a grant's life: clocks, and a step of the simulation */

struct spend {
    int64_t at_ns;
    uint32_t account, n;
    uint8_t class; /* of the mail */
};
struct policy {
    int64_t from_ns; /* real time */
    uint64_t count[SIM_LIMITS];
};
struct applied {
    uint64_t entry, digest; /* of the bytes; of the state after it */
};
struct promise {
    uint64_t freeze;
    int64_t from_ns, until_ns;
};

uint32_t check_faults;
struct check_sums check_sums;
struct check_report *check_report;
static struct spend *spends;
static uint32_t nspends, spends_cap;
static struct policy policies[POLICIES_MAX];
static uint32_t npolicies;
static struct applied *applied;
static uint64_t napplied, applied_cap;
static bool charged_wrong; /* said once: the rest follows from it */
static struct promise promises[SIM_ACCOUNTS];
#define OPS_MAX 4096
static bool never[OPS_MAX], happened[OPS_MAX];

void check_fault(const char *fmt, ...)
{
    va_list ap;
    char text[400];
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (check_report != NULL && check_faults == 0) {
        snprintf(check_report->kind, sizeof check_report->kind, "%s", fmt);
        memcpy(check_report->text, text, sizeof text);
    }
    if (check_faults++ < 5 && check_report == NULL) {
        printf("seed %llu, step %llu, %lld ms: %s\n", (unsigned long long)sim.seed,
               (unsigned long long)sim.steps, (long long)((sim.now_ns - sim.begin_ns) / SIM_MS), text);
        fflush(stdout);
    }
}

/* What a node calls an error is one: nothing here is full, broken or misused. */
void __wrap_log_line(enum log_level level, const char *area, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void __wrap_log_line(enum log_level level, const char *area, const char *fmt, ...)
{
    char text[300];
    va_list ap;
    if (level > log_level())
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const struct sim_server *s = server_here();
    if (level == LOG_LEVEL_ERROR && s != NULL)
        check_fault("node %u: %s: %s", s->i + 1, area, text);
    else
        fprintf(stderr, "%lld ms, node %u: %s: %s\n", (long long)((sim.now_ns - sim.begin_ns) / SIM_MS),
                s == NULL ? 0 : s->i + 1, area, text);
}

static const char *name(uint32_t account)
{
    return sim_accounts[account];
}

static bool counts(const struct policy_limit *l, uint32_t limit_account, uint32_t account, uint8_t class)
{
    if ((l->classes & (1u << class)) == 0)
        return false;
    return l->scope == COMMAND_SCOPE_ACCOUNT ? account == limit_account
                                             : strcmp(sim_tenants[account], sim_tenants[limit_account]) == 0;
}

static bool spend_counts(const struct policy_limit *l, uint32_t limit_account, const struct spend *s)
{
    return counts(l, limit_account, s->account, s->class);
}

/* ---- windows ---------------------------------------------------------------------------------------------
 */

/* The most that a window may hold which begins then: the largest N in force from a grant's life before it,
 * since tokens are spent so long after they were granted, to its end. */
static uint64_t most(uint32_t limit, int64_t begin_ns)
{
    const struct policy_limit *l = &sim_limits[limit];
    uint64_t life_ms = l->window_ms / 50 < 2000 ? 2000 : l->window_ms / 50;
    int64_t from = begin_ns - (int64_t)life_ms * SIM_MS / 100 * GRACE_PERCENT;
    int64_t to = begin_ns + (int64_t)l->window_ms * SIM_MS;
    uint64_t n = 0;
    for (uint32_t i = 0; i < npolicies; i++) {
        bool over = i + 1 < npolicies && policies[i + 1].from_ns <= from;
        if (!over && policies[i].from_ns < to && policies[i].count[limit] > n)
            n = policies[i].count[limit];
    }
    return n;
}

static void check_window(uint32_t limit, uint32_t account)
{
    const struct policy_limit *l = &sim_limits[limit];
    uint64_t sum = 0;
    uint32_t first = 0;
    for (uint32_t i = 0; i < nspends; i++) {
        if (!spend_counts(l, account, &spends[i]))
            continue;
        sum += spends[i].n;
        for (; !spend_counts(l, account, &spends[first]) ||
               spends[i].at_ns - spends[first].at_ns >= (int64_t)l->window_ms * SIM_MS;
             first++)
            if (spend_counts(l, account, &spends[first]))
                sum -= spends[first].n;
        uint64_t bound = most(limit, spends[first].at_ns);
        if (sum <= bound)
            continue;
        check_fault("%llu of %s in a window of %s that holds %llu, ended at %lld ms", (unsigned long long)sum,
                    name(account), l->name, (unsigned long long)bound,
                    (long long)((spends[i].at_ns - sim.begin_ns) / SIM_MS));
        return;
    }
}

struct used {
    const char *limit;
    uint64_t n;
};

static int used_cb(void *arg, const struct machine_usage *u)
{
    struct used *x = arg;
    if (strcmp(u->limit, x->limit) == 0)
        x->n = u->used;
    return 0;
}

const struct machine *check_newest(void)
{
    for (uint32_t i = 0; i < sim.n; i++)
        if (sim.servers[i].m != NULL && machine_applied(sim.servers[i].m) >= napplied)
            return sim.servers[i].m;
    return NULL;
}

/* What was admitted within a window is still charged, or somebody else is granted it again: seen long before
 * the chance is used. Asked of a machine that has everything. */
static void check_charged(uint32_t account, uint8_t class)
{
    const struct machine *m = check_newest();
    for (uint32_t limit = 0; m != NULL && limit < SIM_LIMITS; limit++) {
        const struct policy_limit *l = &sim_limits[limit];
        struct used used = { .limit = l->name };
        uint64_t sum = 0;
        if (!counts(l, account, account, class))
            continue;
        for (uint32_t i = nspends; i > 0 && sim.now_ns - spends[i - 1].at_ns < (int64_t)l->window_ms * SIM_MS;
             i--)
            if (spend_counts(l, account, &spends[i - 1]))
                sum += spends[i - 1].n;
        machine_usage_each(m, span_str(name(account)), span_str(sim_tenants[account]), class, used_cb, &used);
        if (sum > used.n && !charged_wrong) {
            charged_wrong = true;
            check_fault("%llu of %s admitted in a window of %s, and %llu charged", (unsigned long long)sum,
                        name(account), l->name, (unsigned long long)used.n);
        }
    }
}

/* The cluster must not believe that a session is over while its node acts under it. */
static void check_session(const struct sim_server *s)
{
    struct agent_session session;
    struct machine_session found;
    const struct machine *m = check_newest();
    agent_session(s->agent, &session);
    if (m != NULL && !machine_session_find(m, session.id, &found))
        check_fault("node %u acts under session %llu, which is over", s->i + 1,
                    (unsigned long long)session.id);
}

void check_spend(const struct sim_server *s, uint32_t account, uint8_t class, uint32_t n)
{
    class &= (uint8_t)~COMMAND_STREAM;
    check_session(s);
    if (nspends == spends_cap) {
        spends_cap = spends_cap == 0 ? 1024 : 2 * spends_cap;
        spends = realloc(spends, spends_cap * sizeof *spends);
        ensure(spends != NULL);
    }
    spends[nspends++] = (struct spend){ sim.now_ns, account, n, class };
    check_sums.admitted += n;
    check_charged(account, class);
    senders_spend(account, class, n);
}

uint64_t check_spent(uint32_t account)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < nspends; i++)
        n += spends[i].account == account ? spends[i].n : 0;
    return n;
}

/* ---- freezes ---------------------------------------------------------------------------------------------
 */

void check_frozen(uint32_t account, uint64_t freeze, int64_t until_ns)
{
    promises[account] = (struct promise){ freeze, sim.now_ns, until_ns };
    check_sums.freezes++;
}

void check_thawing(uint32_t account, uint64_t freeze)
{
    if (freeze == 0 || promises[account].freeze == freeze)
        promises[account].until_ns = sim.now_ns;
}

void check_mail(const struct sim_server *s, uint32_t account)
{
    check_sums.mails++;
    check_session(s);
    if (account >= SIM_ACCOUNTS)
        return;
    const struct promise *p = &promises[account];
    if (p->freeze != 0 && sim.now_ns > p->from_ns && sim.now_ns < p->until_ns)
        check_fault("node %u accepts MAIL of %s, frozen at %lld ms by %llu", s->i + 1, name(account),
                    (long long)((p->from_ns - sim.begin_ns) / SIM_MS), (unsigned long long)p->freeze);
}

/* A node that is cut off may. */
void check_attempt(const struct sim_server *s, uint32_t account)
{
    if (account >= SIM_ACCOUNTS || !ledger_session_valid(s->workers[0].w))
        return;
    const struct promise *p = &promises[account];
    if (p->freeze != 0 && sim.now_ns > p->from_ns && sim.now_ns < p->until_ns)
        check_fault("node %u begins to deliver mail of %s, frozen at %lld ms by %llu", s->i + 1,
                    name(account), (long long)((p->from_ns - sim.begin_ns) / SIM_MS),
                    (unsigned long long)p->freeze);
}

void check_obeyed(uint32_t account, uint64_t index)
{
    for (uint32_t i = 0; i < sim.n; i++) {
        struct sim_server *s = &sim.servers[i];
        if (!s->alive || s->vm_paused)
            continue;
        server_at(i);
        for (int k = 0; k < SIM_WORKERS; k++)
            if (s->workers[k].view.index < index && ledger_session_valid(s->workers[k].w))
                check_fault("%s is said to be frozen, and worker %d of node %u would accept its mail",
                            name(account), k, i + 1);
    }
}

void check_never(uint32_t op)
{
    ensure(op < OPS_MAX);
    never[op] = true;
    if (happened[op])
        check_fault("a freeze was done, and its operator told that it was not (%u)", op);
}

static int frozen_cb(void *arg, const struct machine_frozen *f)
{
    char reason[32];
    (void)arg;
    snprintf(reason, sizeof reason, "%.*s", (int)f->reason.n, f->reason.p);
    unsigned op = 0;
    ensure(sscanf(reason, "op-%u", &op) == 1 && op < OPS_MAX);
    if (never[op] && !happened[op])
        check_fault("a freeze is done after its operator was told that it never will be (%u)", op);
    happened[op] = true;
    return 0;
}

/* ---- replicas --------------------------------------------------------------------------------------------
 */

static int count_cb(void *arg, const struct machine_usage *u)
{
    struct policy *p = arg;
    for (int i = 0; i < SIM_LIMITS; i++)
        if (strcmp(sim_limits[i].name, u->limit) == 0)
            p->count[i] = u->count;
    return 0;
}

static void policy_changed(const struct sim_server *s)
{
    struct policy p = { .from_ns = sim.now_ns };
    ensure(npolicies < POLICIES_MAX);
    for (uint32_t a = 0; a < SIM_ACCOUNTS + 2; a++)
        machine_usage_each(s->m, span_str(name(a)), span_str(sim_tenants[a]), sim_class(a), count_cb, &p);
    if (npolicies > 0)
        check_sums.policies++;
    policies[npolicies++] = p;
}

static uint64_t hash_of(const struct raft_buffer *b)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < b->len; i++)
        h = (h ^ ((const uint8_t *)b->base)[i]) * UINT64_C(0x100000001b3);
    return h;
}

static void conserved(const struct sim_server *s)
{
    struct machine_totals t;
    machine_totals(s->m, &t);
    if (t.charged != t.spent_or_held + t.burned + t.refunded)
        check_fault("node %u: %llu charged, but %llu spent or held, %llu burned, %llu refunded", s->i + 1,
                    (unsigned long long)t.charged, (unsigned long long)t.spent_or_held,
                    (unsigned long long)t.burned, (unsigned long long)t.refunded);
}

void check_applied(struct sim_server *s, uint64_t index, const struct raft_buffer *entry)
{
    struct applied now = { hash_of(entry), machine_digest(s->m) };
    while (index >= applied_cap) {
        applied_cap = applied_cap == 0 ? 4096 : 2 * applied_cap;
        applied = realloc(applied, applied_cap * sizeof *applied);
        ensure(applied != NULL);
        memset(applied + applied_cap / 2, 0, applied_cap / 2 * sizeof *applied);
    }
    if (index > napplied) { /* the first that applies it */
        applied[index] = now;
        napplied = index;
        check_sums.entries++;
        conserved(s);
        address_check_applied(s);
        senders_applied(s);
        for (uint32_t i = 0; i < s->effects.n; i++) {
            const struct machine_effect *e = &s->effects.items[i];
            if (!e->is_result && e->change == MACHINE_CHANGED_POLICY)
                policy_changed(s);
            else if (!e->is_result && e->change == MACHINE_CHANGED_FROZEN)
                machine_frozen_each(s->m, frozen_cb, NULL);
        }
    } else if (applied[index].entry != now.entry) {
        check_fault("node %u applies another entry at %llu", s->i + 1, (unsigned long long)index);
    } else if (applied[index].digest != now.digest) {
        check_fault("node %u has another state at %llu", s->i + 1, (unsigned long long)index);
    }
}

void check_restored(struct sim_server *s)
{
    uint64_t index = machine_applied(s->m);
    if (index > napplied || applied[index].digest != machine_digest(s->m))
        check_fault("node %u restores another state at %llu", s->i + 1, (unsigned long long)index);
}

/* ---- begin and end ---------------------------------------------------------------------------------------
 */

void check_begin(void)
{
    nspends = npolicies = 0;
    napplied = 0;
    charged_wrong = false;
    if (applied != NULL)
        memset(applied, 0, applied_cap * sizeof *applied);
    memset(promises, 0, sizeof promises);
    memset(never, 0, sizeof never);
    memset(happened, 0, sizeof happened);
}

void check_end(void)
{
    for (uint32_t limit = 0; limit < SIM_LIMITS; limit++)
        for (uint32_t account = 0; account < SIM_ACCOUNTS + 2; account++)
            check_window(limit, account);
    for (uint32_t i = 0; i < sim.n; i++)
        if (sim.servers[i].m != NULL)
            conserved(&sim.servers[i]);
}
