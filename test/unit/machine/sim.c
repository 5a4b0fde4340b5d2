/* A cluster in miniature around one machine. */
#include "test/unit/machine/sim.h"

#include "consensus/facts.h"
#include "consensus/quota.h"
#include "test/unit/machine/fixture.h"

#include <stdio.h>
#include <stdlib.h>

#define NODES 3
#define ACCOUNTS 2
#define LIMITS 3      /* that are charged at once: two of each account, one of the tenant */
#define FACTS_MAX 128 /* bytes of a look */
#define LEVEL 6
#define STREAM 1 /* the class of that mail */
#define LOTS 64
#define MESSAGES 512
#define SPENDS 200000
#define ANSWERS 4096

/* Tokens in a node's hands. */
struct lot {
    uint64_t grant;
    uint32_t left;
    int account;
    bool stream;
    int64_t until_boot_us; /* the last moment */
    int64_t spend_us;      /* real time at which it will be used; INT64_MAX: given back instead */
};

struct node {
    double rate;
    int64_t offset_us;
    uint64_t session, last_session, seq;
    uint32_t process; /* how often it was started */
    uint64_t looks;   /* of this process */
    int habit;        /* 0: spends at once, 1: at the last moment, 2: whenever */
    struct lot lots[LOTS];
    uint32_t nlots;
    uint64_t answered[ANSWERS]; /* seq, at seq % ANSWERS: a second answer is no second grant */
};

struct message {
    int64_t at_us;
    int node;
    uint32_t process;
    uint64_t session;
    bool reply;
    int account;
    int64_t sent_boot_us;
    char facts[FACTS_MAX]; /* of a look */
    size_t nfacts;
    struct command cmd;           /* of a request */
    struct machine_result result; /* of a reply */
};

struct spends {
    int64_t *at_us;
    uint32_t n;
};

/* Whether the rule slows an account, as was seen from outside. */
struct slowed {
    bool now, was, lifted;
    int64_t from_us, to_us;
    uint64_t from_ms; /* cluster time */
};

struct sim {
    uint64_t rng;
    enum sim_fault fault;
    struct fix f;
    struct policy_compiled policy;
    struct node nodes[NODES];
    struct message messages[MESSAGES];
    uint32_t nmessages;
    bool streams; /* part of the accounts' mail is of a stream of another class, which has its own short limit
                   */
    bool slows;   /* a rule slows those who send much */
    struct spends spends[ACCOUNTS][3], tenant; /* of the short limit, the long one, the stream's */
    struct slowed slowed[ACCOUNTS];
    int64_t now_us;
    int leader;
    uint64_t base_ms;     /* cluster time when it began to lead */
    int64_t base_boot_us; /* its clock then */
    int64_t stalled_us;   /* nothing is applied before */
    struct sim_result *out;
    /* A snapshot that is being taken while the load goes on. */
    struct buf snapshot;
    bool snapshotting;
    uint64_t mark_digest, mark_index;
};

static const char *const accounts[ACCOUNTS] = { "anna@example.org", "bert@example.org" };

static uint64_t rnd(struct sim *s)
{
    s->rng += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = s->rng;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static int64_t between(struct sim *s, int64_t lo, int64_t hi)
{
    return lo + (int64_t)(rnd(s) % (uint64_t)(hi - lo + 1));
}

static bool once_in(struct sim *s, uint64_t n)
{
    return rnd(s) % n == 0;
}

static int64_t boot_us(const struct node *n, int64_t real_us)
{
    return n->offset_us + (int64_t)((double)real_us * n->rate);
}

/* The last real moment at which its clock shows at most this. */
static int64_t real_us(const struct node *n, int64_t boot)
{
    return (int64_t)((double)(boot - n->offset_us) / n->rate) - 1;
}

/* ---- the leader ------------------------------------------------------------------------------------------
 */

static void lead(struct sim *s, int node)
{
    s->leader = node;
    s->base_ms = machine_now_ms(s->f.m);
    s->base_boot_us = boot_us(&s->nodes[node], s->now_us);
    if (s->fault == SIM_TIME_JUMPS)
        s->base_ms += s->policy.limits[0].window_ms / 3;
    s->stalled_us = s->now_us + between(s, 0, 2000000);
    s->out->leaders++;
}

static uint64_t cluster_ms(const struct sim *s)
{
    return s->base_ms + (uint64_t)((boot_us(&s->nodes[s->leader], s->now_us) - s->base_boot_us) / 1000);
}

static void snapshot_go_on(struct sim *s)
{
    if (!s->snapshotting) {
        if (!once_in(s, 400))
            return;
        buf_reset(&s->snapshot);
        s->mark_digest = machine_digest(s->f.m);
        s->mark_index = s->f.index;
        assert_int_equal(machine_snapshot_begin(s->f.m), 0);
        s->snapshotting = true;
        return;
    }
    if (!once_in(s, 5))
        return;
    if (machine_snapshot_step(s->f.m, &s->snapshot) == 1)
        return;
    machine_snapshot_end(s->f.m);
    s->snapshotting = false;
    s->out->snapshots++;
    struct machine *m = machine_new(&(struct machine_config){ 0 });
    assert_int_equal(machine_restore(m, s->snapshot.data, s->snapshot.len), 0);
    assert_true(machine_digest(m) == s->mark_digest);
    quota_check(m);
    /* Brought up to date, it is the same machine again. */
    struct machine_effects fx;
    machine_effects_init(&fx);
    struct cursor c;
    cursor_init(&c, s->f.log.data, s->f.log.len);
    while (cursor_left(&c) != 0) {
        uint64_t index = cursor_u64(&c);
        struct span entry = cursor_counted(&c);
        if (index > s->mark_index)
            assert_int_equal(machine_apply(m, index, entry.p, entry.n, &fx), 0);
    }
    assert_true(machine_digest(m) == machine_digest(s->f.m));
    machine_effects_fini(&fx);
    machine_free(m);
}

/* What the rule does is seen after each command, and has to last for its time, but for what an operator
 * lifts. */
static void look_who_is_slowed(struct sim *s)
{
    const struct sender_rule *rule = &s->policy.sender_rules[0];
    for (int i = 0; s->slows && i < ACCOUNTS; i++) {
        struct slowed *x = &s->slowed[i];
        bool now = directory_slowed(s->f.m, span_str(accounts[i]), span_str(rule->name));
        if (now && !x->now) {
            s->out->early += x->was; /* for the same mail: its window is longer than all this takes */
            *x = (struct slowed){ .was = true, .from_us = s->now_us, .from_ms = machine_now_ms(s->f.m) };
        } else if (!now && x->now) {
            x->to_us = s->now_us;
            s->out->early += !x->lifted && machine_now_ms(s->f.m) - x->from_ms < rule->for_ms;
        }
        x->now = now;
    }
}

/* What the leader proposes by itself. */
static void propose_due(struct sim *s)
{
    struct buf b;
    struct cursor c;
    struct command cmd;
    uint32_t n = 0;
    buf_init(&b, COMMAND_ENTRY_BYTES_MAX);
    assert_int_equal(machine_due(s->f.m, cluster_ms(s), &b, &n), 0);
    cursor_init(&c, b.data, b.len);
    for (; n > 0; n--) {
        assert_int_equal(command_decode(&c, &cmd), 0);
        s->f.now_ms = cluster_ms(s);
        fix_apply(&s->f, &cmd);
    }
    buf_fini(&b);
    look_who_is_slowed(s);
}

static const struct machine_result *apply(struct sim *s, const struct command *cmd)
{
    if (s->slows && once_in(s, 20))
        propose_due(s);
    s->f.now_ms = cluster_ms(s);
    const struct machine_result *r = fix_apply(&s->f, cmd);
    look_who_is_slowed(s);
    snapshot_go_on(s);
    return r;
}

/* ---- messages --------------------------------------------------------------------------------------------
 */

static struct message *message_new(struct sim *s)
{
    return s->nmessages == MESSAGES ? NULL : &s->messages[s->nmessages++];
}

static void send_command(struct sim *s, int node, struct command *cmd, int account, int64_t delay_us)
{
    struct node *n = &s->nodes[node];
    struct message *msg = message_new(s);
    if (msg == NULL || n->session == 0)
        return;
    n->seq++;
    cmd->origin = (struct command_origin){ n->session, n->seq, n->seq > 500 ? n->seq - 500 : 1 };
    size_t nfacts = cmd->type == COMMAND_SENDER_LOOK ? cmd->sender_look.facts.n : 0;
    *msg = (struct message){
        .nfacts = nfacts,
        .at_us = s->now_us + delay_us,
        .node = node,
        .process = n->process,
        .session = n->session,
        .account = account,
        .sent_boot_us = boot_us(n, s->now_us),
        .cmd = *cmd,
    };
    assert_true(nfacts <= FACTS_MAX);
    if (nfacts > 0)
        memcpy(msg->facts, cmd->sender_look.facts.p, nfacts);
    if (once_in(s, 10) && (msg = message_new(s)) != NULL) { /* twice */
        *msg = msg[-1];
        msg->at_us += between(s, 0, 3000000);
    }
}

static void ask(struct sim *s, int node)
{
    struct command cmd = { .type = COMMAND_GRANT };
    int account = (int)(rnd(s) % ACCOUNTS);
    cmd.grant = (struct command_grant){
        .account = span_str(accounts[account]),
        .tenant = SPAN_LIT("example.org"),
        .need = (uint32_t)between(s, 1, 4),
        .want = (uint32_t)between(s, 1, 60),
    };
    if (s->streams && once_in(s, 2)) {
        cmd.type = COMMAND_GRANT_STREAM;
        cmd.grant.class = STREAM;
    } else if (s->streams) { /* the cluster knows better */
        cmd.grant.class = (uint8_t)(rnd(s) % COMMAND_CLASSES);
    }
    send_command(s, node, &cmd, account, between(s, 100, 50000));
}

/* Tells the cluster what was sent; late, twice, in any order. */
static void look(struct sim *s, int node, int account, uint32_t n)
{
    struct node *at = &s->nodes[node];
    struct sender_facts f = { .counts.account = span_str(accounts[account]) };
    struct buf b;
    f.counts.count[RECORD_MESSAGES] = 1;
    f.counts.count[RECORD_ACCEPTED] = n;
    buf_init(&b, SENDER_FACTS_BYTES_MAX);
    assert_int_equal(sender_facts_put(&b, &f), 0);
    struct command cmd = { .type = COMMAND_SENDER_LOOK,
                           .sender_look = { .process = { (uint8_t)node, (uint8_t)at->process,
                                                         (uint8_t)(at->process >> 8) },
                                            .number = ++at->looks,
                                            .wall_ms = s->now_us / 1000,
                                            .facts = buf_span(&b) } };
    send_command(s, node, &cmd, account, between(s, 100, 50000));
    buf_fini(&b);
}

static void lift(struct sim *s, int account)
{
    struct command cmd = { .type = COMMAND_SENDER_LIFT,
                           .sender_lift = { .by.who = SPAN_LIT("op"),
                                            .account = span_str(accounts[account]) } };
    s->slowed[account].lifted = true;
    apply(s, &cmd);
}

static void give_back(struct sim *s, int node, struct lot *lot, uint32_t n, bool last)
{
    struct command cmd = { .type = COMMAND_RETURN };
    cmd.ret.n = 1;
    cmd.ret.item[0] = (struct command_return_item){ .grant = lot->grant, .unspent = n, .last = last };
    /* Some of them so late that the buckets have gone. */
    int64_t late = once_in(s, 3) ? (int64_t)s->policy.limits[0].window_ms * 3000 : 200000;
    send_command(s, node, &cmd, lot->account, between(s, 100, late));
    lot->left -= n;
    s->out->returns++;
}

static void spend(struct sim *s, struct lot *lot, uint32_t n)
{
    struct spends *of = s->spends[lot->account];
    struct spends *all[LIMITS] = { &of[lot->stream ? 2 : 0], &of[1], &s->tenant };
    for (int i = 0; i < LIMITS; i++)
        for (uint32_t k = 0; k < n && all[i]->n < SPENDS; k++)
            all[i]->at_us[all[i]->n++] = s->now_us;
    lot->left -= n;
    s->out->spent += n;
    s->out->streamed += lot->stream ? n : 0;
}

static void lot_remove(struct node *n, uint32_t i)
{
    n->lots[i] = n->lots[--n->nlots];
}

static void use_lots(struct sim *s, int node)
{
    struct node *n = &s->nodes[node];
    for (uint32_t i = 0; i < n->nlots;) {
        struct lot *lot = &n->lots[i];
        if (lot->spend_us > s->now_us) {
            i++;
            continue;
        }
        if (boot_us(n, s->now_us) <= lot->until_boot_us) {
            uint32_t some = once_in(s, 4) ? (uint32_t)between(s, 0, lot->left) : lot->left;
            spend(s, lot, some);
            if (s->slows && some > 0)
                look(s, node, lot->account, some);
        }
        if (lot->left == 0 || boot_us(n, s->now_us) > lot->until_boot_us || once_in(s, 2)) {
            give_back(s, node, lot, lot->left, true);
            lot_remove(n, i);
        } else {
            give_back(s, node, lot, (uint32_t)between(s, 0, lot->left), false);
            lot->spend_us = s->now_us + between(s, 1000, 1000000);
        }
    }
}

static void granted(struct sim *s, const struct message *msg)
{
    struct node *n = &s->nodes[msg->node];
    const struct machine_result *r = &msg->result;
    if (r->err != 0 || msg->process != n->process || msg->session != n->session || n->nlots == LOTS)
        return; /* refused, or nobody is there any more to use them */
    uint64_t seq = msg->cmd.origin.seq;
    if (n->answered[seq % ANSWERS] == seq)
        return;
    n->answered[seq % ANSWERS] = seq;
    int64_t from = s->fault == SIM_SPENDS_AFTER_LIFE ? boot_us(n, s->now_us) + (int64_t)r->life_ms * 1000
                                                     : msg->sent_boot_us;
    struct lot lot = {
        .grant = r->id,
        .left = r->count,
        .account = msg->account,
        .stream = msg->cmd.type == COMMAND_GRANT_STREAM,
        .until_boot_us = from + (int64_t)r->life_ms * 1000,
    };
    int64_t last = real_us(n, lot.until_boot_us);
    lot.spend_us = n->habit == 0 || last <= s->now_us ? s->now_us
                   : n->habit == 1                    ? last
                                                      : between(s, s->now_us, last);
    n->lots[n->nlots++] = lot;
}

static void deliver(struct sim *s, uint32_t i)
{
    struct message msg = s->messages[i];
    s->messages[i] = s->messages[--s->nmessages];
    if (msg.reply) {
        granted(s, &msg);
        return;
    }
    if (msg.nfacts > 0)
        msg.cmd.sender_look.facts = span_of(msg.facts, msg.nfacts);
    const struct machine_result *r = apply(s, &msg.cmd);
    if (msg.cmd.type != COMMAND_GRANT && msg.cmd.type != COMMAND_GRANT_STREAM)
        return;
    s->out->grants += r->err == 0;
    s->out->refusals += r->err != 0;
    struct message *reply = once_in(s, 30) ? NULL : message_new(s);
    if (reply == NULL)
        return; /* lost */
    msg.reply = true;
    msg.result = *r;
    msg.at_us = s->now_us + between(s, 100, once_in(s, 10) ? 2500000 : 30000);
    *reply = msg;
}

/* ---- processes -------------------------------------------------------------------------------------------
 */

static void open_session(struct sim *s, int node, bool new_process)
{
    struct node *n = &s->nodes[node];
    struct command cmd = { .type = COMMAND_SESSION_OPEN };
    cmd.session_open = (struct command_session_open){ .node = (uint64_t)node + 1,
                                                      .replaces = n->last_session,
                                                      .new_process = new_process };
    uint64_t nonce[2] = { rnd(s), rnd(s) };
    memcpy(cmd.session_open.nonce, nonce, sizeof nonce);
    uint64_t replaced = n->last_session;
    n->session = n->last_session = apply(s, &cmd)->id;
    n->seq = 0;
    memset(n->answered, 0, sizeof n->answered);
    if (replaced == 0)
        return;
    struct command end = { .type = COMMAND_SESSION_EXPIRE };
    end.session_expire.session = replaced;
    assert_int_equal(apply(s, &end)->err, 0);
}

static void restart(struct sim *s, int node)
{
    struct node *n = &s->nodes[node];
    bool dies = !once_in(s, 3);
    n->process += dies;
    n->looks = dies ? 0 : n->looks;
    n->habit = (int)between(s, 0, 2);
    open_session(s, node, dies);
    for (; n->nlots > 0; n->nlots--)
        if (!dies) /* the same process settles what it had */
            give_back(s, node, &n->lots[n->nlots - 1], n->lots[n->nlots - 1].left, true);
    s->out->crashes += dies;
}

static int64_t next_event(const struct sim *s, uint32_t *message)
{
    int64_t at = INT64_MAX;
    *message = UINT32_MAX;
    for (uint32_t i = 0; i < s->nmessages; i++) {
        int64_t due = s->messages[i].at_us;
        if (!s->messages[i].reply && due < s->stalled_us)
            due = s->stalled_us;
        if (due < at) {
            at = due;
            *message = i;
        }
    }
    for (int n = 0; n < NODES; n++)
        for (uint32_t i = 0; i < s->nodes[n].nlots; i++)
            if (s->nodes[n].lots[i].spend_us < at) {
                at = s->nodes[n].lots[i].spend_us;
                *message = UINT32_MAX;
            }
    return at;
}

/* ---- the judge -------------------------------------------------------------------------------------------
 */

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t windows_over(const struct spends *all, uint64_t count, uint64_t window_ms)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i + count < all->n; i++)
        n += all->at_us[i + count] - all->at_us[i] <= (int64_t)window_ms * 1000;
    return n;
}

static void judge(struct sim *s, struct spends *all, const struct policy_limit *limit)
{
    assert_true(all->n < SPENDS);
    qsort(all->at_us, all->n, sizeof(int64_t), compare_times);
    s->out->over += windows_over(all, limit->count, limit->window_ms);
}

/* While he is slowed, from when the last token of before is dead, by the slowest clock: mail of whatever
 * stream. */
static void judge_slowed(struct sim *s, int account)
{
    const struct sender_rule *rule = &s->policy.sender_rules[0];
    const struct slowed *x = &s->slowed[account];
    const struct spends *all = &s->spends[account][1];
    int64_t life_ms = (int64_t)s->policy.limits[0].window_ms / 50;
    int64_t from_us = x->from_us + (life_ms > 2000 ? life_ms : 2000) * 1020;
    struct spends of = { 0 };
    for (uint32_t i = 0; i < all->n; i++) {
        bool counts = all->at_us[i] >= from_us && all->at_us[i] < x->to_us;
        of.at_us = counts && of.n == 0 ? &all->at_us[i] : of.at_us;
        of.n += counts;
    }
    s->out->slowed++;
    s->out->slowly += of.n;
    s->out->over += windows_over(&of, rule->slow_count, rule->slow_ms);
}

static void raise_level(struct sim *s)
{
    for (int i = 0; i < NODES; i++) {
        struct command report = {
            .type = COMMAND_MEMBER_REPORT,
            .member_report = { .node = (uint64_t)i + 1, .version = SPAN_LIT("1"), .features = LEVEL }
        };
        assert_int_equal(fix_apply(&s->f, &report)->err, 0);
    }
    struct command raise = { .type = COMMAND_FEATURE_RAISE,
                             .feature_raise = { .by.who = SPAN_LIT("test"), .level = LEVEL } };
    assert_int_equal(fix_apply(&s->f, &raise)->err, 0);
}

/* The accounts are persons' (class 0). The short limit is for these, and mail of the stream has one of its
 * own. */
static void set_up_streams(struct sim *s)
{
    const struct policy_limit *shorter = &s->policy.limits[0];
    s->streams = true;
    s->policy.limits[0].classes = 1;
    fix_limit(&s->policy, "stream", COMMAND_SCOPE_ACCOUNT, (uint64_t)between(s, 1, (int64_t)shorter->count),
              shorter->window_ms);
    s->policy.limits[s->policy.nlimits - 1].classes = 1 << STREAM;
    for (int i = 0; i < ACCOUNTS; i++) {
        struct command cmd = { .type = COMMAND_ACCOUNT_SET,
                               .account_set = { .by.who = SPAN_LIT("test"),
                                                .name = span_str(accounts[i]),
                                                .hash = SPAN_LIT("!"),
                                                .tenant = SPAN_LIT("example.org"),
                                                .create = true } };
        assert_int_equal(fix_apply(&s->f, &cmd)->err, 0);
    }
}

static void set_up_rule(struct sim *s)
{
    int64_t count = (int64_t)s->policy.limits[0].count;
    uint64_t w = s->policy.limits[0].window_ms;
    struct sender_rule *rule = &s->policy.sender_rules[s->policy.nsender_rules++];
    *rule = (struct sender_rule){ .name = "much",
                                  .classes = 7,
                                  .action = SENDER_SLOW,
                                  .for_ms = w * (uint64_t)between(s, 1, 4),
                                  .slow_count = (uint32_t)between(s, 1, count),
                                  .slow_ms = w,
                                  .nterms = 1,
                                  .term = { { SENDER_RECIPIENTS, 0, (uint32_t)between(s, 1, count) } } };
    struct policy_limit *l = &s->policy.limits[s->policy.nlimits++];
    *l = (struct policy_limit){ .scope = COMMAND_SCOPE_ACCOUNT,
                                .count = rule->slow_count,
                                .window_ms = rule->slow_ms };
    sender_rule_limit(rule, l->name);
    s->slows = true;
}

static void set_up(struct sim *s, uint64_t seed)
{
    static const uint64_t windows_ms[] = { 5000, 10000, 30000, 100000, 300000 };
    static const double rates[] = { 0.995, 1.0, 1.005 };
    fix_init(&s->f);
    fix_policy_plain(&s->policy);
    s->policy.nlimits = 0;
    uint64_t w = windows_ms[rnd(s) % 5];
    uint64_t count = (uint64_t)between(s, 5, 100);
    fix_limit(&s->policy, "short", COMMAND_SCOPE_ACCOUNT, count, w);
    fix_limit(&s->policy, "long", COMMAND_SCOPE_ACCOUNT, count * (uint64_t)between(s, 1, 3),
              w * (uint64_t)between(s, 1, 4));
    fix_limit(&s->policy, "tenant", COMMAND_SCOPE_TENANT, count * (uint64_t)between(s, 1, 3),
              w * (uint64_t)between(s, 1, 2));
    for (int i = 0; i < ACCOUNTS; i++)
        for (int k = 0; k < 3; k++)
            s->spends[i][k].at_us = malloc(SPENDS * sizeof(int64_t));
    s->tenant.at_us = malloc(SPENDS * sizeof(int64_t));
    for (int i = 1; i < NODES; i++)
        assert_int_equal(fix_join(&s->f), i + 1);
    raise_level(s);
    if (seed % 4 == 0 || seed % 4 == 2)
        set_up_streams(s);
    if (seed % 4 == 0 || seed % 4 == 3)
        set_up_rule(s);
    fix_policy(&s->f, &s->policy);
    /* A fast leader and slow nodes are the worst; all else must do too. */
    for (int i = 0; i < NODES; i++) {
        s->nodes[i].rate = rates[once_in(s, 2) ? (i == 0 ? 2 : 0) : (int)(rnd(s) % 3)];
        s->nodes[i].offset_us = between(s, 0, 1000000000);
        s->nodes[i].habit = (int)between(s, 0, 2);
    }
    buf_init(&s->snapshot, SIZE_MAX);
    lead(s, 0);
    for (int i = 0; i < NODES; i++)
        open_session(s, i, true);
}

static void tear_down(struct sim *s)
{
    if (s->snapshotting)
        machine_snapshot_end(s->f.m);
    propose_due(s);
    for (int i = 0; s->slows && i < ACCOUNTS; i++) {
        struct slowed *x = &s->slowed[i];
        x->to_us = x->now ? s->now_us : x->to_us;
        s->out->late += x->now && machine_now_ms(s->f.m) - x->from_ms >= s->policy.sender_rules[0].for_ms;
    }
    struct machine *again = fix_replay(&s->f);
    assert_true(machine_digest(again) == machine_digest(s->f.m));
    quota_check(again);
    machine_free(again);
    for (int i = 0; i < ACCOUNTS; i++) {
        for (int k = 0; k < 3; k++)
            if (k < 2 || s->streams)
                judge(s, &s->spends[i][k], &s->policy.limits[k < 2 ? k : 3]);
        if (s->slowed[i].was)
            judge_slowed(s, i);
        for (int k = 0; k < 3; k++)
            free(s->spends[i][k].at_us);
    }
    judge(s, &s->tenant, &s->policy.limits[2]);
    free(s->tenant.at_us);
    buf_fini(&s->snapshot);
    fix_fini(&s->f);
}

void sim_run(uint64_t seed, enum sim_fault fault, struct sim_result *out)
{
    struct sim *s = calloc(1, sizeof *s);
    *out = (struct sim_result){ 0 };
    s->rng = seed * 7919 + 1;
    s->fault = fault;
    s->out = out;
    set_up(s, seed);
    int64_t window_us = (int64_t)s->policy.limits[0].window_ms * 1000;
    int64_t end_us = window_us * 6, pace_us = window_us / 200;
    int64_t next_ask_us = 0;
    bool calm = once_in(s, 3); /* no faults */
    while (s->now_us < end_us) {
        uint32_t i;
        int64_t at = next_event(s, &i);
        if (next_ask_us < at) {
            s->now_us = next_ask_us > s->now_us ? next_ask_us : s->now_us;
            next_ask_us = s->now_us + between(s, 1, 2 * pace_us);
            ask(s, (int)(rnd(s) % NODES));
            if (!calm && once_in(s, 60))
                restart(s, (int)(rnd(s) % NODES));
            if (!calm && once_in(s, 80))
                lead(s, (int)(rnd(s) % NODES));
            if (s->slows && once_in(s, 400))
                lift(s, (int)(rnd(s) % ACCOUNTS));
            continue;
        }
        s->now_us = at > s->now_us ? at : s->now_us;
        if (i != UINT32_MAX)
            deliver(s, i);
        else
            for (int n = 0; n < NODES; n++)
                use_lots(s, n);
    }
    tear_down(s);
    free(s);
}
