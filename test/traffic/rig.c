/* Three nodes in simulated time: see rig.h. What stands around tally.c in a node is stood in for here: the
 * clocks, the agent that brings commands to the log, the worker's inbox.
 */
#include "rig.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/heap.h"
#include "consensus/directory.h"
#include "node/core/cluster_impl.h"
#include "node/core/seen.h"
#include "node/core/tally.h"
#include "node/policy/policy.h"
#include "test/unit/machine/founding.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLUSTER_BEGIN_MS 86400000000ll         /* cluster time at the beginning */
#define WALL_BEGIN_MS (20003 * TRAFFIC_DAY_MS) /* a Monday */
#define DUE_EVERY_MS 60000
#define QUIET_TICK_MS 500
#define NO_ANSWER "the cluster, which did not answer"

struct later { /* what becomes of recipients */
    struct heap_node timer;
    uint32_t sender, n;
    uint8_t kind, node; /* of enum record_kind */
};

struct rig_node {
    struct cluster c;
    struct worker w;
    struct list inbox; /* struct letter */
    uint64_t session, seq, published;
    struct command cmd; /* submitted, not applied yet */
    agent_cb *cb;
    void *ctx;
    int64_t commit_ms;   /* when it will be; -1: none */
    uint64_t acted_upon; /* the index that its workers will act upon at: */
    int64_t act_ms;
    int64_t tick_ms, active_until_ms;
    uint32_t waiting;
};

struct waiting { /* a message at its dot */
    struct rig_node *node;
    const struct traffic_event *e;
    int64_t since_ms;
    bool over; /* of a limit, which holds */
};

struct letter {
    struct list link;
    struct worker_msg *msg;
};

static struct rig {
    const struct traffic *t;
    struct rig_report *out;
    struct rig_account *accounts;
    struct policy *policy;
    struct machine *m;
    struct machine_effects fx;
    uint64_t index;
    int64_t now_ms, due_ms;
    struct rig_node node[TRAFFIC_NODES];
    struct heap later;
    struct traffic_rng chance;
    bool values;
} rig;

/* ---- what a node would have around it ------------------------------------------------------------------ */

int64_t clock_wall_ms(void)
{
    return WALL_BEGIN_MS + rig.now_ms;
}

int64_t clock_boot_ns(void)
{
    return clock_boot_ms() * 1000000;
}

int64_t clock_boot_ms(void)
{
    return CLUSTER_BEGIN_MS + rig.now_ms;
}

int64_t clock_mono_ns(void)
{
    return clock_boot_ns();
}

static struct rig_node *node_of(const struct agent *a)
{
    return (struct rig_node *)(uintptr_t)a;
}

uint64_t agent_published(const struct agent *a)
{
    return node_of(a)->published;
}

int agent_submit(struct agent *a, struct command *cmd, int64_t timeout_ms, agent_cb *cb, void *ctx)
{
    struct rig_node *n = node_of(a);
    (void)timeout_ms;
    ensure(n->commit_ms < 0);
    n->cmd = *cmd;
    n->cb = cb;
    n->ctx = ctx;
    n->commit_ms = rig.now_ms + traffic_between(&rig.chance, 8, 40);
    return 0;
}

void worker_post_always(struct worker *w, struct worker_msg *msg)
{
    struct rig_node *n = LIST_ITEM(w, struct rig_node, w);
    struct letter *l = calloc(1, sizeof *l);
    ensure(l != NULL);
    l->msg = msg;
    list_push_back(&n->inbox, &l->link);
}

/* ---- the machine --------------------------------------------------------------------------------------- */

static struct machine_result apply(struct span commands, uint32_t n)
{
    struct machine_result r = { .err = ERR_BAD };
    struct buf b;
    buf_init(&b, COMMAND_ENTRY_BYTES_MAX);
    ensure(command_entry_begin(&b, (uint64_t)clock_boot_ms()) == 0);
    (void)buf_put(&b, commands.p, commands.n);
    ensure(command_entry_end(&b, n) == 0);
    ensure(machine_apply(rig.m, ++rig.index, b.data, b.len, &rig.fx) == 0);
    buf_fini(&b);
    for (uint32_t i = 0; i < rig.fx.n; i++)
        if (rig.fx.items[i].is_result)
            r = rig.fx.items[i].result;
    return r;
}

static struct machine_result tell(struct command *cmd)
{
    struct buf b;
    buf_init(&b, COMMAND_ENTRY_BYTES_MAX);
    ensure(command_encode(cmd, &b) == 0);
    struct machine_result r = apply(buf_span(&b), 1);
    buf_fini(&b);
    return r;
}

static struct machine_result tell_as(struct rig_node *n, struct command *cmd)
{
    cmd->origin = (struct command_origin){ .session = n->session, .seq = n->seq + 1, .lowest = n->seq + 1 };
    n->seq++;
    return tell(cmd);
}

static void must(struct command *cmd)
{
    struct machine_result r = tell(cmd);
    if (r.err != 0)
        fprintf(stderr, "command %u: %s\n", cmd->type, r.words);
    ensure(r.err == 0);
}

static void found(const char *policy_text)
{
    struct buf why;
    buf_init(&why, 1 << 16);
    if (policy_parse("policy", span_str(policy_text), &rig.policy, &why) != 0) {
        fprintf(stderr, "%.*s", (int)why.len, why.data);
        abort();
    }
    buf_fini(&why);
    founding_members(TRAFFIC_NODES, tell);
    for (uint32_t i = 0; i < TRAFFIC_NODES; i++) {
        struct rig_node *n = &rig.node[i];
        struct command active = { .type = COMMAND_MEMBER_SET,
                                  .member_set = { .node = i + 1, .state = COMMAND_MEMBER_ACTIVE } };
        struct command open = { .type = COMMAND_SESSION_OPEN,
                                .session_open = {
                                    .node = i + 1, .new_process = true, .nonce = { (uint8_t)(i + 1) } } };
        if (i > 0)
            must(&active);
        n->session = tell(&open).id;
        ensure(n->session != 0);
        struct command knows = {
            .type = COMMAND_MEMBER_REPORT,
            .member_report = { .node = i + 1, .version = SPAN_LIT("1"), .features = COMMAND_FEATURES }
        };
        ensure(tell_as(n, &knows).err == 0);
    }
    struct command raise = { .type = COMMAND_FEATURE_RAISE, .feature_raise = { .level = COMMAND_FEATURES } };
    must(&raise);
    founding_policy(&rig.policy->compiled, 1, tell);
}

/* Tenants and accounts; whoever is robbed may send more. */
static void populate(void)
{
    const struct traffic *t = rig.t;
    for (uint32_t i = 0; i < t->nsenders; i++) {
        char name[64], tenant[64];
        size_t n = traffic_account(t, i, name), k = traffic_tenant(t, i, tenant);
        struct command add = { .type = COMMAND_TENANT_SET,
                               .tenant_set = { .by = { .who = SPAN_LIT("root") },
                                               .name = span_of(tenant, k) } };
        must(&add);
        struct command account = { .type = COMMAND_ACCOUNT_SET,
                                   .account_set = { .by = { .who = SPAN_LIT("root") },
                                                    .name = span_of(name, n),
                                                    .hash = SPAN_LIT("$6$x"),
                                                    .tenant = span_of(tenant, k),
                                                    .class = t->senders[i].class,
                                                    .create = true } };
        must(&account);
        bool robbed = rig.accounts[i].attacked_ms >= 0;
        for (uint32_t l = 0; robbed && l < rig.policy->compiled.nlimits; l++) {
            const struct policy_limit *limit = &rig.policy->compiled.limits[l];
            struct command set = { .type = COMMAND_OVERRIDE_SET,
                                   .override_set = { .by = { .who = SPAN_LIT("root") },
                                                     .scope = limit->scope,
                                                     .name = limit->scope == COMMAND_SCOPE_ACCOUNT
                                                                 ? span_of(name, n)
                                                                 : span_of(tenant, k),
                                                     .limit = span_str(limit->name),
                                                     .count = 1000000 } };
            must(&set);
        }
    }
}

/* ---- what was seen, and what came of it ---------------------------------------------------------------- */

static uint32_t sender_named(struct span account)
{
    uint32_t i = (uint32_t)strtoul(account.p + 1, NULL, 10);
    ensure(i < rig.t->nsenders);
    return i;
}

static void count_rule(struct span words, uint8_t class)
{
    char name[64];
    struct rig_report *out = rig.out;
    if (sscanf(words.p, "rule %63[^:]:", name) != 1)
        return;
    for (uint32_t i = 0; i < RIG_RULES_MAX; i++) {
        if (i == out->nrules)
            snprintf(out->rules[out->nrules++].name, sizeof name, "%s", name);
        if (strcmp(out->rules[i].name, name) == 0) {
            out->rules[i].times[class]++;
            return;
        }
    }
}

static void note_block(uint32_t sender, struct span account)
{
    struct machine_frozen f;
    struct rig_account *a = &rig.accounts[sender];
    if (!machine_frozen_find(rig.m, COMMAND_SCOPE_ACCOUNT, account, &f)) {
        a->frozen_since_ms = -1;
        return;
    }
    if (a->frozen_since_ms >= 0)
        return;
    a->frozen_since_ms = rig.now_ms;
    bool attacked = a->attacked_ms >= 0 && rig.now_ms >= a->attacked_ms;
    if (attacked && a->stopped_ms < 0)
        a->stopped_ms = rig.now_ms;
    if (rig.out->nblocks == RIG_BLOCKS_MAX)
        return;
    struct rig_block *b = &rig.out->blocks[rig.out->nblocks++];
    *b = (struct rig_block){ .at_ms = rig.now_ms, .sender = sender, .attacked = attacked };
    snprintf(b->rule, sizeof b->rule, "%.*s", (int)f.who.n, f.who.p);
    snprintf(b->reason, sizeof b->reason, "%.*s", (int)f.reason.n, f.reason.p);
}

static void note_effects(void)
{
    for (uint32_t i = 0; i < rig.fx.n; i++) {
        const struct machine_effect *e = &rig.fx.items[i];
        if (!e->is_result && e->change == MACHINE_CHANGED_FROZEN && e->key.n > 0) {
            struct span account = e->key;
            uint32_t sender = sender_named(account);
            note_block(sender, account);
        }
    }
}

static void note_values(struct span items)
{
    struct sender_facts in;
    struct cursor c;
    cursor_init(&c, items.p, items.n);
    while (sender_facts_next(&c, &in) == 1) {
        struct directory_sender s;
        uint32_t sender = sender_named(in.counts.account);
        if (rig.accounts[sender].attacked_ms >= 0 || !directory_sender_find(rig.m, in.counts.account, &s))
            continue;
        for (unsigned f = 0; f < SENDER_FACTS; f++)
            for (unsigned w = 0; w < SENDER_WINDOWS; w++) {
                uint32_t *most = &rig.out->most[s.class][f][w];
                *most = s.values.now[f][w] > *most ? s.values.now[f][w] : *most;
            }
    }
}

static void commit(struct rig_node *n)
{
    struct command cmd = n->cmd;
    n->commit_ms = -1;
    struct machine_result r = tell_as(n, &cmd);
    ensure(r.err == 0);
    note_effects();
    if (r.words[0] != '\0') {
        char who[64] = "";
        const char *at = strstr(r.words, " s");
        while (at != NULL && sscanf(at, " s%*u@%63[^:]", who) != 1)
            at = strstr(at + 1, " s");
        if (at != NULL)
            count_rule(span_str(r.words), rig.t->senders[sender_named(span_str(at + 1))].class);
    }
    if (rig.values && cmd.type == COMMAND_SENDER_LOOK)
        note_values(cmd.sender_look.facts);
    n->acted_upon = rig.index;
    n->act_ms = rig.now_ms + traffic_between(&rig.chance, 1, 15);
    n->cb(n->ctx, 0, &r);
}

static void due(void)
{
    struct buf b;
    uint32_t n = 0;
    buf_init(&b, COMMAND_ENTRY_BYTES_MAX);
    ensure(machine_due(rig.m, (uint64_t)clock_boot_ms(), &b, &n) == 0);
    if (n > 0) {
        (void)apply(buf_span(&b), n);
        note_effects();
    }
    buf_fini(&b);
    rig.due_ms = rig.now_ms + DUE_EVERY_MS;
}

/* ---- mail ---------------------------------------------------------------------------------------------- */

static void active(struct rig_node *n)
{
    n->active_until_ms = rig.now_ms + 2 * TALLY_EVERY_MS + QUIET_TICK_MS;
    if (n->tick_ms < 0)
        n->tick_ms = rig.now_ms + CLUSTER_TICK_MS;
}

static void later(const struct traffic_event *e, uint32_t n, uint8_t kind, int64_t after_ms)
{
    if (n == 0)
        return;
    struct later *l = calloc(1, sizeof *l);
    ensure(l != NULL);
    *l = (struct later){ .sender = e->sender, .n = n, .kind = kind, .node = e->node };
    ensure(heap_add(&rig.later, &l->timer, rig.now_ms + after_ms) == 0);
}

static void deliver(const struct traffic_event *e)
{
    uint32_t n[TRAFFIC_COMPLAINS + 1] = { 0 };
    for (uint32_t i = 0; i < e->nrcpts; i++)
        n[rig.t->rcpts[e->first + i].fate]++;
    int64_t soon = 500 + traffic_below(&rig.chance, 4000);
    later(e, n[TRAFFIC_DELIVERED] + n[TRAFFIC_COMPLAINS], RECORD_DELIVERED, soon);
    later(e, n[TRAFFIC_UNKNOWN], RECORD_HARD + BOUNCE_UNKNOWN_USER, soon);
    later(e, n[TRAFFIC_FULL], RECORD_HARD + BOUNCE_MAILBOX_FULL, soon);
    later(e, n[TRAFFIC_CONTENT], RECORD_HARD + BOUNCE_CONTENT, soon);
    later(e, n[TRAFFIC_GREYLISTED], RECORD_DEFERRED, soon);
    later(e, n[TRAFFIC_GREYLISTED], RECORD_DELIVERED, 6 * TRAFFIC_MINUTE_MS + soon);
    later(e, n[TRAFFIC_COMPLAINS], RECORD_COMPLAINT, 3 * TRAFFIC_HOUR_MS);
}

static bool is_frozen(const struct rig_node *n, struct span account)
{
    struct machine_frozen f;
    return machine_frozen_find(rig.m, COMMAND_SCOPE_ACCOUNT, account, &f) &&
           n->published >= f.id / COMMAND_ENTRY_MAX;
}

/* `over`: a limit, which holds. */
static void go(struct rig_node *n, const struct traffic_event *e, bool over)
{
    char name[64];
    bool held = over || is_frozen(n, span_of(name, traffic_account(rig.t, e->sender, name)));
    struct rig_account *a = &rig.accounts[e->sender];
    if (e->attack) {
        *(held ? &a->held : &a->left) += e->nrcpts;
        a->left_first = a->stopped_ms < 0 ? a->left : a->left_first;
    } else {
        *(over ? &rig.out->held_over : held ? &rig.out->held : &rig.out->admitted) += e->nrcpts;
    }
    if (!held)
        deliver(e);
}

static void defer(const struct traffic_event *e, const char *cause)
{
    struct rig_report *out = rig.out;
    uint32_t i = 0;
    rig.accounts[e->sender].over += e->nrcpts;
    if (e->attack)
        return;
    while (i < out->ncauses && strcmp(out->causes[i].name, cause) != 0)
        i++;
    ensure(i < RIG_CAUSES_MAX);
    if (i == out->ncauses)
        snprintf(out->causes[out->ncauses++].name, sizeof out->causes[i].name, "%s", cause);
    *(e->wrong ? &out->deferred_wrong : &out->deferred) += e->nrcpts;
    *(e->wrong ? &out->causes[i].wrong : &out->causes[i].ordinary) += e->nrcpts;
}

static void answered(void *ctx, enum tally_answer answer)
{
    struct waiting *w = ctx;
    int64_t took = rig.now_ms - w->since_ms;
    w->node->waiting--;
    rig.out->waits++;
    rig.out->waits_ms += (uint64_t)took;
    if ((uint64_t)took > rig.out->longest_wait_ms)
        rig.out->longest_wait_ms = (uint64_t)took;
    if (answer == TALLY_GO)
        go(w->node, w->e, w->over);
    else
        defer(w->e, NO_ANSWER);
    free(w);
}

/* False: the limit's name is in `limit`. */
static bool charge(struct rig_node *n, const struct traffic_event *e, struct span account, char limit[64])
{
    struct command ask = { .type = COMMAND_GRANT,
                           .grant = { .account = account, .need = e->nrcpts, .want = e->nrcpts } };
    struct machine_result r = tell_as(n, &ask);
    if (r.err != 0) {
        memcpy(limit, r.limit, sizeof r.limit);
        return false;
    }
    struct command spent = { .type = COMMAND_RETURN,
                             .ret = { .n = 1, .item = { { .grant = r.id, .unspent = 0, .last = true } } } };
    (void)tell_as(n, &spent);
    return true;
}

static uint32_t credit_of(uint8_t class)
{
    const struct policy_compiled *p = &rig.policy->compiled;
    for (uint32_t i = 0; i < p->nsender_rules; i++)
        if (sender_rule_blocks(&p->sender_rules[i], class))
            return rig.policy->sender_credit;
    return 0;
}

static void mail(const struct traffic_event *e)
{
    static struct envelope_rcpt rcpts[1000];
    static char addresses[1000][64];
    static struct likeness like;
    char name[64], limit[64];
    struct rig_node *n = &rig.node[e->node];
    struct span account = span_of(name, traffic_account(rig.t, e->sender, name));
    struct rig_account *a = &rig.accounts[e->sender];
    if (!e->attack) {
        rig.out->mails++;
        rig.out->recipients += e->nrcpts;
        a->mails++;
        a->recipients += e->nrcpts;
    }
    uint8_t class = rig.t->senders[e->sender].class;
    bool over =
        !is_frozen(n, account) && !charge(n, e, account, limit); /* what is held is charged at its release */
    if (over && policy_over_limit(rig.policy, limit, class) != POLICY_OVER_HOLD) {
        defer(e, limit);
        return;
    }
    struct envelope env = { .class = class, .account = account, .nrcpts = e->nrcpts, .rcpts = rcpts };
    ensure(e->nrcpts <= 1000);
    for (uint32_t i = 0; i < e->nrcpts; i++)
        rcpts[i] = (struct envelope_rcpt){
            .address = span_of(addresses[i], traffic_address(rig.t->rcpts[e->first + i].who, addresses[i]))
        };
    struct buf text;
    buf_init(&text, 1 << 16);
    traffic_text_put(rig.t, e, &text);
    likeness_init(&like);
    likeness_feed(&like, buf_span(&text));
    buf_fini(&text);
    struct ip_addr client = traffic_place(e->place);
    struct sender_facts facts;
    seen_fill(&facts, &env, &client, &like);
    struct waiting *w = calloc(1, sizeof *w);
    ensure(w != NULL);
    *w = (struct waiting){ .node = n, .e = e, .since_ms = rig.now_ms, .over = over };
    struct tally_look *look;
    enum tally_answer answer = tally_seen(&n->c, &facts, credit_of(env.class), &n->w, answered, w, &look);
    active(n);
    if (answer == TALLY_WAIT) {
        n->waiting++;
        int64_t next = rig.now_ms + CLUSTER_TICK_MS;
        n->tick_ms = n->tick_ms < next ? n->tick_ms : next;
        return;
    }
    if (answer == TALLY_GO)
        go(n, e, over);
    else
        defer(e, NO_ANSWER);
    free(w);
}

/* ---- time ---------------------------------------------------------------------------------------------- */

static void tick(struct rig_node *n)
{
    tally_tick(&n->c, clock_boot_ms());
    for (struct list *link; (link = list_pop_front(&n->inbox)) != NULL;) {
        struct letter *l = LIST_ITEM(link, struct letter, link);
        l->msg->run(&n->w, l->msg);
        free(l);
    }
    n->tick_ms = n->waiting > 0                    ? rig.now_ms + CLUSTER_TICK_MS
                 : rig.now_ms < n->active_until_ms ? rig.now_ms + QUIET_TICK_MS
                                                   : -1;
}

static void come_true(struct later *l)
{
    char name[64];
    struct rig_node *n = &rig.node[l->node];
    struct span account = span_of(name, traffic_account(rig.t, l->sender, name));
    for (uint32_t i = 0; i < l->n; i++)
        tally_add(&n->c, account, l->kind);
    free(l);
    active(n);
}

static void event(const struct traffic_event *e)
{
    char name[64];
    if (e->kind == TRAFFIC_MAIL) {
        mail(e);
        return;
    }
    tally_add(&rig.node[e->node].c, span_of(name, traffic_account(rig.t, e->sender, name)),
              RECORD_FAILED_LOGINS);
    active(&rig.node[e->node]);
}

static int64_t sooner(int64_t a, int64_t b)
{
    return b >= 0 && b < a ? b : a;
}

/* The next moment at which something happens to nodes, recipients or the log. */
static int64_t next_moment(void)
{
    int64_t at = rig.due_ms;
    struct heap_node *l = heap_first(&rig.later);
    at = l != NULL ? sooner(at, l->key) : at;
    for (uint32_t i = 0; i < TRAFFIC_NODES; i++) {
        at = sooner(at, rig.node[i].commit_ms);
        at = sooner(at, rig.node[i].act_ms);
        at = sooner(at, rig.node[i].tick_ms);
    }
    return at;
}

static void moment(void)
{
    for (struct heap_node *l; (l = heap_first(&rig.later)) != NULL && l->key <= rig.now_ms;) {
        heap_remove(&rig.later, l);
        come_true(HEAP_ITEM(l, struct later, timer));
    }
    for (uint32_t i = 0; i < TRAFFIC_NODES; i++) {
        struct rig_node *n = &rig.node[i];
        if (n->commit_ms >= 0 && n->commit_ms <= rig.now_ms)
            commit(n);
        if (n->act_ms >= 0 && n->act_ms <= rig.now_ms) {
            n->published = n->acted_upon;
            n->act_ms = -1;
        }
        if (n->tick_ms >= 0 && n->tick_ms <= rig.now_ms)
            tick(n);
    }
    if (rig.due_ms <= rig.now_ms)
        due();
}

static void run_to(int64_t until_ms)
{
    for (int64_t at; (at = next_moment()) <= until_ms;) {
        rig.now_ms = at;
        moment();
    }
    rig.now_ms = until_ms;
}

static void begin(const struct traffic *t, const char *policy)
{
    rig.m = machine_new(&(struct machine_config){ 0 });
    ensure(rig.m != NULL);
    machine_effects_init(&rig.fx);
    heap_init(&rig.later);
    rig.chance = traffic_rng(t->seed, 200, 0);
    for (uint32_t i = 0; i < TRAFFIC_NODES; i++) {
        struct rig_node *n = &rig.node[i];
        list_init(&n->inbox);
        n->commit_ms = n->act_ms = n->tick_ms = -1;
        n->c.m = rig.m;
        n->c.agent = (struct agent *)n;
        ensure((n->c.tally = tally_new()) != NULL);
    }
    for (uint32_t i = 0; i < t->nsenders; i++)
        rig.accounts[i] = (struct rig_account){ .attacked_ms = -1, .stopped_ms = -1, .frozen_since_ms = -1 };
    for (size_t i = t->nevents; i-- > 0;)
        if (t->events[i].attack)
            rig.accounts[t->events[i].sender].attacked_ms = t->events[i].at_ms;
    found(policy);
    populate();
    for (uint32_t i = 0; i < TRAFFIC_NODES; i++)
        tick(&rig.node[i]); /* they see which level is in force */
}

void rig_run(const struct traffic *t, const char *policy, bool values, struct rig_report *out,
             struct rig_account *accounts)
{
    *out = (struct rig_report){ .nblocks = 0 };
    rig = (struct rig){ .t = t, .out = out, .accounts = accounts, .values = values };
    begin(t, policy);
    for (size_t i = 0; i < t->nevents; i++) {
        run_to(t->events[i].at_ms);
        event(&t->events[i]);
    }
    run_to(t->days * TRAFFIC_DAY_MS + TRAFFIC_HOUR_MS);
    for (struct heap_node *l; (l = heap_first(&rig.later)) != NULL;) {
        heap_remove(&rig.later, l);
        free(HEAP_ITEM(l, struct later, timer));
    }
    for (uint32_t i = 0; i < TRAFFIC_NODES; i++) {
        ensure(rig.node[i].waiting == 0);
        tally_free(rig.node[i].c.tally);
    }
    heap_fini(&rig.later);
    machine_effects_fini(&rig.fx);
    machine_free(rig.m);
    policy_rele(rig.policy);
}
