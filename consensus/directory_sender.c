/* What nodes have seen of senders, beside the counts of directory_record.c: sketches of recipients, domains
 * and client networks, groups of messages that are alike, the hours of the day; and what the policy's rules
 * make of it all. A look (COMMAND_SENDER_LOOK) is a node's report; the rules are applied in the same command,
 * so that the answer to a look comes with its consequence, whoever leads: what a node was told to hold, it
 * holds before it lets anything go that it asked about (docs/senders.md).
 *
 * Sketches and groups are of the last hour: four buckets of 20 minutes of cluster time. A block (hold or
 * freeze by a rule) remembers how much had been seen; only what comes after it counts for the next one. So
 * who was let go is not caught again for the same mail.
 *
 * One for each record, and forgotten with it. From feature level 5 on.
 */
#include "base/ensure.h"
#include "consensus/directory_impl.h"
#include "consensus/directory_sender_impl.h"
#include "consensus/facts.h"
#include "consensus/freeze.h"
#include "consensus/record.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LOOK_FEATURE 5
#define HABIT_FEATURE 6 /* networks that are new, and what is kept of them */
#define MINUTE_MS 60000ull
#define BUCKET_MS (20 * MINUTE_MS)
#define FIRST_DAYS 3
#define ALIKE_MANY 20 /* recipients of alike messages within an hour: further ones are not `unlike` */

_Static_assert((int)SENDER_WINDOWS == (int)DIRECTORY_RECORD_WINDOWS, "the same windows");

static struct sender *find(const struct machine *m, struct span name)
{
    return (struct sender *)store_find(m->store, &directory_sender_type, name);
}

/* ---- what is seen -------------------------------------------------------------------------------------- */

static uint32_t bucket_of(uint64_t now_ms)
{
    return (uint32_t)(now_ms / BUCKET_MS);
}

static int see_sketches(struct sender *s, uint64_t now_ms, const struct sender_facts *in)
{
    if (s->windows == NULL && (s->windows = calloc(SENDER_BUCKETS, sizeof *s->windows)) == NULL)
        return -ENOMEM;
    uint32_t bucket = bucket_of(now_ms);
    struct sender_window *w = &s->windows[bucket % SENDER_BUCKETS];
    if (!w->used || w->bucket != bucket)
        *w = (struct sender_window){ .bucket = bucket, .used = true };
    for (unsigned k = 0; k < FACTS_KINDS; k++)
        facts_sketch_merge(&w->sketch[k], &in->sketch[k]);
    return 0;
}

static uint32_t group_sum(const struct sender_group *g, uint64_t now_ms)
{
    uint32_t now = bucket_of(now_ms);
    uint64_t all = 0;
    for (unsigned k = 0; k < SENDER_BUCKETS; k++)
        all += now - g->bucket[k] < SENDER_BUCKETS ? g->recipients[k] : 0;
    return all < UINT32_MAX ? (uint32_t)all : UINT32_MAX;
}

/* The one that it is like; else a new one, in place of the smallest if need be. */
static struct sender_group *group_of(struct sender *s, uint64_t now_ms, const struct facts_signature *like)
{
    struct sender_group *least = NULL;
    for (uint32_t i = 0; i < s->ngroups; i++) {
        struct sender_group *g = &s->groups[i];
        if (facts_alike(&g->like, like))
            return g;
        if (least == NULL || group_sum(g, now_ms) < group_sum(least, now_ms))
            least = g;
    }
    if (s->ngroups < SENDER_GROUPS)
        least = &s->groups[s->ngroups++];
    *least = (struct sender_group){ .like = *like };
    return least;
}

/* Of the recipients of a group, those who make it a large one. */
static uint32_t beyond(uint32_t recipients)
{
    return recipients > ALIKE_MANY ? recipients - ALIKE_MANY : 0;
}

/* How many recipients are in `alike` for it: of large groups. */
static int see_groups(struct sender *s, uint64_t now_ms, const struct sender_facts *in, uint32_t *alike)
{
    uint32_t bucket = bucket_of(now_ms);
    *alike = 0;

    if (in->ngroups > 0 && s->groups == NULL &&
        (s->groups = calloc(SENDER_GROUPS, sizeof *s->groups)) == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < in->ngroups; i++) {
        struct sender_group *g = group_of(s, now_ms, &in->group[i].like);
        uint32_t *bucket_at = &g->bucket[bucket % SENDER_BUCKETS],
                 *sum = &g->recipients[bucket % SENDER_BUCKETS];
        if (*bucket_at != bucket)
            *sum = 0;

        *bucket_at = bucket;
        uint32_t n = in->group[i].recipients, before = beyond(group_sum(g, now_ms));
        *sum = *sum > UINT32_MAX - n ? UINT32_MAX : *sum + n;
        *alike += beyond(group_sum(g, now_ms)) - before;
    }
    return 0;
}

/* ---- what it comes to ---------------------------------------------------------------------------------- */

static uint32_t clip(uint64_t v)
{
    return v < UINT32_MAX ? (uint32_t)v : UINT32_MAX;
}

static uint32_t share(uint64_t part, uint64_t whole, uint32_t of)
{
    return whole == 0 ? 0 : clip(part * of / whole);
}

static void seen_lately(const struct sender *s, uint64_t now_ms, struct sender_values *v)
{
    struct facts_sketch all[FACTS_KINDS] = { 0 };
    uint32_t now = bucket_of(now_ms);
    for (unsigned i = 0; s->windows != NULL && i < SENDER_BUCKETS; i++)
        for (unsigned k = 0;
             s->windows[i].used && now - s->windows[i].bucket < SENDER_BUCKETS && k < FACTS_KINDS; k++)
            facts_sketch_merge(&all[k], &s->windows[i].sketch[k]);
    v->now[SENDER_DISTINCT_RECIPIENTS][0] = facts_sketch_count(&all[FACTS_RECIPIENTS]);
    v->now[SENDER_DISTINCT_DOMAINS][0] = facts_sketch_count(&all[FACTS_DOMAINS]);
    v->now[SENDER_NETWORKS][0] = facts_sketch_count(&all[FACTS_NETWORKS]);
    for (uint32_t i = 0; i < s->ngroups; i++) {
        uint32_t n = group_sum(&s->groups[i], now_ms);
        if (n > v->now[SENDER_ALIKE][0])
            v->now[SENDER_ALIKE][0] = n;
    }
}

static const uint64_t window_ms[SENDER_WINDOWS] = { 60 * MINUTE_MS, 1440 * MINUTE_MS, 10080 * MINUTE_MS };
/* How much longer one may be. */
static const uint64_t longer_ms[SENDER_WINDOWS] = { 20 * MINUTE_MS, 120 * MINUTE_MS, 720 * MINUTE_MS };

/* What he sends while he is blocked, and what led to it, is not usual. */
static uint64_t usual_until(const struct machine *m, const struct sender *s)
{
    uint64_t until_ms = machine_now_ms(m);
    for (uint32_t i = 0; i < SENDER_REPEAT_MAX && i < s->nblocks; i++)
        if (machine_now_ms(m) - s->block_ms[i] < window_ms[DIRECTORY_RECORD_WEEK] &&
            s->block_ms[i] < until_ms)
            until_ms = s->block_ms[i];
    return until_ms;
}

static uint32_t above_usual(const struct machine *m, const struct sender *s, const struct directory_record *r,
                            uint8_t kind)
{
    uint64_t today = r->counts[DIRECTORY_RECORD_DAY][kind];
    uint64_t usual = directory_record_usual(m, directory_sender_name(s), kind, usual_until(m, s));
    return clip(today > usual ? today - usual : 0);
}

/* From HABIT_FEATURE on. */
static void seen_of_habits(const struct machine *m, const struct sender *s, const struct directory_record *r,
                           struct sender_values *v)
{
    bool young = habit_age_days(&s->habit) < FIRST_DAYS, learning = habit_learning_networks(&s->habit);
    for (unsigned w = 0; w < SENDER_WINDOWS; w++) {
        const uint64_t *n = r->counts[w];
        uint64_t unknown = n[RECORD_HARD_UNKNOWN_USER] + n[RECORD_HARD_DNS];
        uint64_t hard = directory_record_sum(r, (enum directory_record_window)w, RECORD_HARD, RECORD_HARD_END);
        v->now[SENDER_NEW_NETWORKS][w] = learning ? 0 : clip(n[RECORD_NEW_NETWORKS]);
        v->now[SENDER_UNKNOWN_USERS][w] = clip(unknown);
        v->now[SENDER_UNKNOWN_PERCENT][w] = share(unknown, n[RECORD_DELIVERED] + hard, 100);
        v->now[SENDER_FIRST_DAYS][w] = young ? clip(n[RECORD_ACCEPTED]) : 0;
    }

    uint64_t hour = r->counts[DIRECTORY_RECORD_HOUR][RECORD_ACCEPTED], alike = 0;
    for (uint32_t i = 0; i < s->ngroups; i++)
        alike += beyond(group_sum(&s->groups[i], machine_now_ms(m)));
    v->now[SENDER_UNLIKE][0] = clip(hour > alike ? hour - alike : 0);

    v->now[SENDER_ABOVE_USUAL][DIRECTORY_RECORD_DAY] = above_usual(m, s, r, RECORD_ACCEPTED);
    v->now[SENDER_NEW_ABOVE_USUAL][DIRECTORY_RECORD_DAY] =
        learning ? 0 : above_usual(m, s, r, RECORD_NEW_NETWORKS);
}

/* All that the last block dealt with. What comes steadily would else be taken for what went. */
static bool has_left(const struct machine *m, const struct sender *s, unsigned window)
{
    return s->settled_ms != 0 && machine_now_ms(m) - s->settled_ms >= window_ms[window] + longer_ms[window];
}

static void values_of(const struct machine *m, const struct sender *s, struct sender_values *v)
{
    struct directory_record r = { .version = 0 };
    *v = (struct sender_values){ 0 };
    (void)directory_record_find(m, directory_sender_name(s), &r);
    for (unsigned w = 0; w < SENDER_WINDOWS; w++) {
        const uint64_t *n = r.counts[w];
        uint64_t hard = directory_record_sum(&r, (enum directory_record_window)w, RECORD_HARD, RECORD_HARD_END);
        v->now[SENDER_RECIPIENTS][w] = clip(n[RECORD_ACCEPTED]);
        v->now[SENDER_MESSAGES][w] = clip(n[RECORD_MESSAGES]);
        v->now[SENDER_ODD_HOURS][w] = clip(n[RECORD_ODD_HOURS]);
        v->now[SENDER_FAILED_LOGINS][w] = clip(n[RECORD_FAILED_LOGINS]);
        v->now[SENDER_DELIVERED][w] = clip(n[RECORD_DELIVERED]);
        v->now[SENDER_DEFERRED][w] = clip(n[RECORD_DEFERRED]);
        v->now[SENDER_HARD_BOUNCES][w] = clip(hard);
        v->now[SENDER_BOUNCE_PERCENT][w] = share(hard, n[RECORD_DELIVERED] + hard, 100);
        v->now[SENDER_COMPLAINTS][w] = clip(n[RECORD_COMPLAINT]);
        v->now[SENDER_SPAM][w] = clip(n[RECORD_SPAM]);
        v->now[SENDER_COMPLAINT_PERMILLE][w] = share(n[RECORD_COMPLAINT], n[RECORD_DELIVERED], 1000);
    }
    seen_lately(s, machine_now_ms(m), v);
    if (directory_features(m) >= HABIT_FEATURE)
        seen_of_habits(m, s, &r, v);

    for (unsigned f = 0; s->base != NULL && f < SENDER_FACTS; f++)
        for (unsigned w = 0; w < SENDER_WINDOWS; w++)
            v->base[f][w] = has_left(m, s, w) ? 0 : s->base[f][w];
}

/* What has left the window does not matter any more; or (all) everything up to now does not. */
static void settle_base(struct sender *s, const struct sender_values *v, bool all)
{
    for (unsigned f = 0; s->base != NULL && f < SENDER_FACTS; f++)
        for (unsigned w = 0; w < SENDER_WINDOWS; w++)
            if (all || v->now[f][w] < s->base[f][w])
                s->base[f][w] = v->now[f][w];
}

/* Not to be said again yet. Else it is noted that it is said now. */
static bool said(struct sender *s, uint64_t now_ms, const struct sender_rule *rule)
{
    uint64_t hash = facts_hash(span_str(rule->name));
    struct sender_fired *f = NULL;
    for (uint32_t i = 0; i < s->nfired; i++) {
        if (s->fired[i].rule == hash) {
            f = &s->fired[i];
            if (now_ms - f->at_ms < window_ms[sender_rule_window(rule)])
                return true;
            break;
        }
        if (f == NULL || s->fired[i].at_ms < f->at_ms)
            f = &s->fired[i];
    }
    if ((f == NULL || f->rule != hash) && s->nfired < SENDER_FIRED_MAX)
        f = &s->fired[s->nfired++];
    *f = (struct sender_fired){ .rule = hash, .at_ms = now_ms };
    return false;
}

/* For the log of the node that reported; cut off if need be. */
static void say(struct machine_result *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct machine_result *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->words, sizeof r->words, fmt, ap);
    va_end(ap);
}

static int speak(struct machine *m, const struct machine_at *at, struct sender *s,
                 const struct sender_rule *rule, const char *evidence, int64_t wall_ms,
                 struct machine_result *r)
{
    char who[8 + SENDER_RULE_NAME];
    if (s->fired == NULL && (s->fired = calloc(SENDER_FIRED_MAX, sizeof *s->fired)) == NULL)
        return -ENOMEM;
    if (said(s, at->now_ms, rule))
        return 0;
    snprintf(who, sizeof who, "rule %s", rule->name);
    say(r, "rule %s: %s%s %.*s: %s", rule->name, rule->dry_run ? "would " : "",
        sender_action_names[rule->action], (int)(s->nname < 100 ? s->nname : 100), s->name, evidence);
    struct command_by by = { .who = span_str(who), .wall_ms = wall_ms };
    if (rule->dry_run)
        return directory_audit(m, at, &by, "would %s account %.*s: %s", sender_action_names[rule->action],
                               S(directory_sender_name(s)), evidence);
    int err = rule->notify ? directory_alert_sender(m, at, directory_sender_name(s), rule, false, evidence, wall_ms) : 0;
    return err != 0 ? err : directory_audit(m, at, &by, "warn of account %.*s: %s", S(directory_sender_name(s)), evidence);
}

/* Slowed, or re-pooled; further rules may do more. */
static int measure(struct machine *m, const struct machine_at *at, struct sender *s,
                   const struct sender_rule *rule, const char *evidence, int64_t wall_ms,
                   struct machine_result *r)
{
    char who[8 + SENDER_RULE_NAME], what[DIRECTORY_MEASURE_WORDS];
    bool begins;
    directory_measure_words(rule, what);
    if (rule->action == SENDER_POOL && !directory_pool_exists(m, span_str(rule->pool))) {
        if (s->fired == NULL && (s->fired = calloc(SENDER_FIRED_MAX, sizeof *s->fired)) == NULL)
            return -ENOMEM;
        if (said(s, at->now_ms, rule))
            return 0;
        snprintf(who, sizeof who, "rule %s", rule->name);
        struct command_by by = { .who = span_str(who), .wall_ms = wall_ms };
        return directory_audit(m, at, &by, "pool of account %.*s is not possible: there is no pool %s",
                               S(directory_sender_name(s)), rule->pool);
    }
    int err = directory_measure(m, at, directory_sender_name(s), rule, evidence, wall_ms, &begins);
    if (err == 0 && begins)
        say(r, "rule %s: %s of %.*s %s: %s", rule->name, sender_action_names[rule->action],
            (int)(s->nname < 100 ? s->nname : 100), s->name, what, evidence);
    if (err == 0 && begins && rule->notify) {
        char text[480];
        snprintf(text, sizeof text, "%s %s: %s", sender_action_names[rule->action], what, evidence);
        err = directory_alert_sender(m, at, directory_sender_name(s), rule, false, text, wall_ms);
    }
    return err;
}

static uint32_t blocks_within(const struct sender *s, uint64_t now_ms, uint64_t within_ms)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < SENDER_REPEAT_MAX && i < s->nblocks; i++)
        n += now_ms - s->block_ms[i] < within_ms;
    return n;
}

static int block(struct machine *m, const struct machine_at *at, struct sender *s,
                 const struct sender_rule *rule, const struct sender_values *v, const char *evidence,
                 int64_t wall_ms, struct machine_result *r)
{
    char who[8 + SENDER_RULE_NAME], reason[400];
    bool stays = rule->repeat > 0 && blocks_within(s, at->now_ms, rule->repeat_ms) + 1 >= rule->repeat;
    snprintf(who, sizeof who, "rule %s", rule->name);
    snprintf(reason, sizeof reason, "%s%s", evidence, stays ? "; again, so it stays" : "");
    if (s->base == NULL && (s->base = calloc(SENDER_FACTS, sizeof *s->base)) == NULL)
        return -ENOMEM;
    settle_base(s, v, true);
    s->settled_ms = directory_features(m) >= HABIT_FEATURE ? at->now_ms : 0;
    habit_forget_new(&s->habit);
    s->block_ms[s->nblocks++ % SENDER_REPEAT_MAX] = at->now_ms;
    struct machine_result done = { 0 };
    struct command_freeze freeze = {
        .by = { .who = span_str(who), .wall_ms = wall_ms },
        .scope = COMMAND_SCOPE_ACCOUNT,
        .name = directory_sender_name(s),
        .mode = rule->action == SENDER_HOLD ? COMMAND_FREEZE_HOLD : directory_policy_compiled(m)->freeze_mode,
        .for_ms = stays ? 0 : rule->for_ms,
        .reason = span_str(reason),
    };
    if (freeze.mode == 0)
        freeze.mode = COMMAND_FREEZE_AUTO;
    int err = freeze_sender(m, at, &freeze, &done);
    if (err == 0 && done.err != 0)
        err = directory_audit(m, at, &freeze.by, "%s of account %.*s is not possible: %s",
                              sender_action_names[rule->action], S(directory_sender_name(s)), done.words);
    if (err == 0 && done.err == 0 && rule->notify) {
        char text[480], lasts[40] = "until it is thawed";
        if (!stays && rule->for_ms > 0)
            snprintf(lasts, sizeof lasts, "for %llu min", (unsigned long long)(rule->for_ms / MINUTE_MS));
        snprintf(text, sizeof text, "%s %s: %s", sender_action_names[rule->action], lasts, reason);
        err = directory_alert_sender(m, at, directory_sender_name(s), rule, true, text, wall_ms);
    }
    say(r, "rule %s: %s of %.*s: %s", rule->name, sender_action_names[rule->action],
        (int)(s->nname < 100 ? s->nname : 100), s->name, evidence);
    return err;
}

static bool is_frozen(const struct machine *m, const struct sender *s)
{
    struct machine_frozen f;
    return machine_frozen_find(m, COMMAND_SCOPE_ACCOUNT, directory_sender_name(s), &f);
}

/* The sender was touched by the caller. */
static int judge(struct machine *m, const struct machine_at *at, struct sender *s, int64_t wall_ms,
                 struct machine_result *r)
{
    const struct policy_compiled *policy = directory_policy_compiled(m);
    struct sender_values v;
    char evidence[320];
    values_of(m, s, &v);
    if (is_frozen(m, s)) {
        if (s->base == NULL && (s->base = calloc(SENDER_FACTS, sizeof *s->base)) == NULL)
            return -ENOMEM;
        settle_base(s, &v, true);
        s->settled_ms = directory_features(m) >= HABIT_FEATURE ? at->now_ms : 0;
        return 0;
    }
    for (uint32_t i = 0; i < policy->nsender_rules; i++) {
        const struct sender_rule *rule = &policy->sender_rules[i];
        if ((rule->classes >> s->class & 1) == 0 || !sender_rule_met(rule, &v))
            continue;
        sender_rule_evidence(rule, &v, evidence, sizeof evidence);
        if (sender_rule_blocks(rule, s->class))
            return block(m, at, s, rule, &v, evidence, wall_ms, r);
        int err = sender_rule_measures(rule, s->class)
                      ? measure(m, at, s, rule, evidence, wall_ms, r)
                      : speak(m, at, s, rule, evidence, wall_ms, r);
        if (err != 0)
            return err;
    }
    return 0;
}

/* ---- the command --------------------------------------------------------------------------------------- */

static int check(const struct machine *m, struct span items)
{
    bool spam = directory_features(m) >= RECORD_SPAM_FEATURE;
    struct sender_facts in;
    struct cursor c;
    int more;
    cursor_init(&c, items.p, items.n);
    while ((more = sender_facts_next(&c, &in)) == 1)
        if (in.counts.account.n > COMMAND_NAME_MAX || !directory_name_ok(in.counts.account) ||
            (in.class >= COMMAND_CLASSES && in.class != FACTS_CLASS_UNKNOWN) ||
            (in.counts.count[RECORD_SPAM] != 0 && !spam))
            return ERR_BAD;
    return more;
}

static bool any(const struct record_counts *c)
{
    for (unsigned i = 0; i < RECORD_KINDS; i++)
        if (c->count[i] != 0)
            return true;
    return false;
}

/* What of it is against the sender's habits. */
static int see_habits(struct machine *m, struct sender *s, int64_t wall_ms, uint32_t alike,
                      struct sender_facts *in)
{
    uint32_t recipients = in->counts.count[RECORD_ACCEPTED];

    if (habit_odd_hour(&s->habit, wall_ms))
        in->counts.count[RECORD_ODD_HOURS] = recipients;
    if (directory_features(m) < HABIT_FEATURE || is_frozen(m, s))
        return 0; /* whoever sends now, it is no habit of his */
    int new = habit_new_network(&s->habit, wall_ms, &in->sketch[FACTS_NETWORKS]);
    if (new == 1)

        in->counts.count[RECORD_NEW_NETWORKS] = recipients > alike ? recipients - alike : 0;

    return new < 0 ? new : 0;
}

static int see(struct machine *m, const struct machine_at *at, const struct command_sender_look *c,
               struct sender_facts *in, struct machine_result *r)
{
    struct sender *s = find(m, in->counts.account);
    bool new = s == NULL, no_room = false;
    if (new && in->class == FACTS_CLASS_UNKNOWN) {  /* who has sent nothing yet is not watched */
        in->counts.count[RECORD_FAILED_LOGINS] = 0; /* anybody can try any name */
        int err = any(&in->counts) ? directory_record_add(m, at, &in->counts, &no_room) : 0;
        r->count += no_room;
        return err;
    }
    if (new && (s = directory_sender_make(in->counts.account)) == NULL)
        return -ENOMEM;
    if (!new)
        store_touch(m->store, &s->rec);
    if (s->base != NULL) {
        struct sender_values before;
        values_of(m, s, &before);
        settle_base(s, &before, false);
    }
    int err = 0;
    if (in->class != FACTS_CLASS_UNKNOWN) {
        s->class = in->class;

        uint32_t alike = 0;
        err = see_sketches(s, at->now_ms, in);
        if (err == 0)
            err = see_groups(s, at->now_ms, in, &alike);
        if (err == 0)
            err = see_habits(m, s, c->wall_ms, alike, in);
    }
    if (err == 0)
        err = directory_record_add(m, at, &in->counts, &no_room);
    if (err == 0 && new && !no_room)
        err = store_add(m->store, &directory_sender_type, &s->rec);
    if (new && (err != 0 || no_room)) {
        directory_sender_free(&s->rec);
        r->count += no_room;
        return err;
    }
    return err != 0 ? err : judge(m, at, s, c->wall_ms, r);
}

int directory_sender_look(struct machine *m, const struct machine_at *at, const struct command *cmd,
                          struct machine_result *r)
{
    const struct command_sender_look *c = &cmd->sender_look;
    uint64_t node = directory_asker(m, cmd);
    if (directory_features(m) < LOOK_FEATURE)
        return REFUSE(r, ERR_DENIED, "the cluster's feature level is %u, looks at senders need %d",
                      directory_features(m), LOOK_FEATURE);
    if (!directory_member_is_present(directory_member_get(m, node)))
        return REFUSE(r, ERR_DENIED, "only a member reports");
    if (check(m, c->facts) != 0)
        return REFUSE(r, ERR_BAD, "a report that cannot be read");
    r->id = at->id; /* who acts up to here has what came of it */
    int err = directory_record_number(m, node, c->process, c->number);
    if (err == ERR_EXISTS)
        return 0;
    struct sender_facts in;
    struct cursor cur;
    cursor_init(&cur, c->facts.p, c->facts.n);
    while (err == 0 && sender_facts_next(&cur, &in) == 1)
        err = see(m, at, c, &in, r);
    return err;
}

void directory_sender_drop(struct machine *m, struct span account)
{
    struct sender *s = find(m, account);
    if (s != NULL)
        store_remove(m->store, &s->rec);
}

/* ---- readers ------------------------------------------------------------------------------------------- */

bool directory_sender_known(const struct machine *m, struct span account)
{
    return find(m, account) != NULL;
}

bool directory_sender_find(const struct machine *m, struct span account, struct directory_sender *out)
{
    const struct sender *s = find(m, account);
    if (s == NULL)
        return false;
    *out = (struct directory_sender){ .class = s->class,
                                      .blocks = blocks_within(s, machine_now_ms(m), SENDER_REPEAT_MAX_MS) };
    values_of(m, s, &out->values);
    for (unsigned f = 0; f < SENDER_FACTS; f++)
        for (unsigned w = 0; w < SENDER_WINDOWS; w++)
            if (out->values.now[f][w] < out->values.base[f][w])
                out->values.base[f][w] = out->values.now[f][w];
    return true;
}
