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
#include "consensus/facts.h"
#include "consensus/freeze.h"
#include "consensus/record.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LOOK_FEATURE 5
#define MINUTE_MS 60000ull
#define BUCKET_MS (20 * MINUTE_MS)
#define BUCKETS 4
#define GROUPS 16
#define FIRED_MAX SENDER_RULES_MAX
#define HABIT_DAYS 21   /* an hour at which nothing was sent for so long is odd */
#define LEARNING_DAYS 7 /* of a sender whose habits are not known yet */
#define DAY_WALL_MS 86400000

_Static_assert((int)SENDER_WINDOWS == (int)DIRECTORY_RECORD_WINDOWS, "the same windows");

struct window {
    uint32_t bucket;
    bool used;
    struct facts_sketch sketch[FACTS_KINDS];
};
struct group {
    struct facts_signature like;
    uint32_t bucket[BUCKETS], recipients[BUCKETS]; /* of each bucket modulo BUCKETS */
};
struct fired {     /* a warning, or a rule that is tried out: not again until its window has passed */
    uint64_t rule; /* hash of its name */
    uint64_t at_ms;
};

struct sender {
    struct store_rec rec;
    uint8_t class;
    uint16_t first_day, last_day[24],
        day_before[24];                   /* wall clock's days; the last two on which that hour was used */
    uint64_t block_ms[SENDER_REPEAT_MAX]; /* by rules; the last ones, cluster time; 0: none */
    uint32_t nblocks;
    struct window *windows; /* BUCKETS, or NULL: nothing was seen yet */
    uint32_t ngroups, nfired;
    struct group *groups;
    struct fired *fired;
    uint32_t (*base)[SENDER_WINDOWS]; /* SENDER_FACTS, or NULL: never blocked */
    uint16_t nname;
    char name[];
};

static struct span name_of(const struct sender *s)
{
    return span_of(s->name, s->nname);
}

static struct span sender_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return name_of((const struct sender *)rec);
}

static void sender_free(struct store_rec *rec)
{
    struct sender *s = (struct sender *)rec;
    free(s->windows);
    free(s->groups);
    free(s->fired);
    free(s->base);
    free(s);
}

static struct sender *make(struct span name)
{
    struct sender *s = calloc(1, sizeof *s + name.n);
    if (s == NULL)
        return NULL;
    s->nname = (uint16_t)name.n;
    memcpy(s->name, name.p, name.n);
    return s;
}

static struct sender *find(const struct machine *m, struct span name)
{
    return (struct sender *)store_find(m->store, &directory_sender_type, name);
}

/* ---- the record ---------------------------------------------------------------------------------------- */

static void encode_windows(const struct sender *s, struct buf *out)
{
    (void)buf_put_u8(out, s->windows != NULL);
    for (unsigned i = 0; s->windows != NULL && i < BUCKETS; i++) {
        const struct window *w = &s->windows[i];
        (void)buf_put_u8(out, w->used);
        (void)buf_put_u32(out, w->bucket);
        for (unsigned k = 0; w->used && k < FACTS_KINDS; k++)
            (void)buf_put(out, w->sketch[k].rank, FACTS_REGISTERS);
    }
}

static void sender_encode(const struct store_rec *rec, struct buf *out)
{
    const struct sender *s = (const struct sender *)rec;
    (void)buf_put_counted(out, name_of(s));
    (void)buf_put_u8(out, s->class);
    (void)buf_put_u16(out, s->first_day);
    for (unsigned i = 0; i < 24; i++) {
        (void)buf_put_u16(out, s->last_day[i]);
        (void)buf_put_u16(out, s->day_before[i]);
    }
    (void)buf_put_u32(out, s->nblocks);
    for (unsigned i = 0; i < SENDER_REPEAT_MAX; i++)
        (void)buf_put_u64(out, s->block_ms[i]);
    encode_windows(s, out);
    (void)buf_put_u32(out, s->ngroups);
    for (uint32_t i = 0; i < s->ngroups; i++) {
        for (unsigned k = 0; k < FACTS_SIGNATURE; k++)
            (void)buf_put_u16(out, s->groups[i].like.value[k]);
        for (unsigned k = 0; k < BUCKETS; k++) {
            (void)buf_put_u32(out, s->groups[i].bucket[k]);
            (void)buf_put_u32(out, s->groups[i].recipients[k]);
        }
    }
    (void)buf_put_u32(out, s->nfired);
    for (uint32_t i = 0; i < s->nfired; i++) {
        (void)buf_put_u64(out, s->fired[i].rule);
        (void)buf_put_u64(out, s->fired[i].at_ms);
    }
    (void)buf_put_u8(out, s->base != NULL);
    for (unsigned i = 0; s->base != NULL && i < SENDER_FACTS * SENDER_WINDOWS; i++)
        (void)buf_put_u32(out, s->base[i / SENDER_WINDOWS][i % SENDER_WINDOWS]);
}

static int decode_windows(struct cursor *c, struct sender *s)
{
    if (cursor_u8(c) == 0)
        return 0;
    s->windows = calloc(BUCKETS, sizeof *s->windows);
    if (s->windows == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < BUCKETS; i++) {
        struct window *w = &s->windows[i];
        w->used = cursor_u8(c) != 0;
        w->bucket = cursor_u32(c);
        for (unsigned k = 0; w->used && k < FACTS_KINDS; k++) {
            struct span ranks = cursor_bytes(c, FACTS_REGISTERS);
            for (size_t r = 0; r < ranks.n; r++) {
                w->sketch[k].rank[r] = (uint8_t)ranks.p[r];
                if (w->sketch[k].rank[r] > FACTS_RANK_MAX)
                    return ERR_CORRUPT;
            }
        }
    }
    return 0;
}

static int decode_groups(struct cursor *c, struct sender *s)
{
    uint32_t n = cursor_u32(c);
    if (n > GROUPS)
        return ERR_CORRUPT;
    if (n > 0 && (s->groups = calloc(GROUPS, sizeof *s->groups)) == NULL)
        return -ENOMEM;
    s->ngroups = n;
    for (uint32_t i = 0; i < n; i++) {
        for (unsigned k = 0; k < FACTS_SIGNATURE; k++)
            s->groups[i].like.value[k] = cursor_u16(c);
        for (unsigned k = 0; k < BUCKETS; k++) {
            s->groups[i].bucket[k] = cursor_u32(c);
            s->groups[i].recipients[k] = cursor_u32(c);
        }
    }
    return 0;
}

static int decode_fired(struct cursor *c, struct sender *s)
{
    uint32_t n = cursor_u32(c);
    if (n > FIRED_MAX)
        return ERR_CORRUPT;
    if (n > 0 && (s->fired = calloc(FIRED_MAX, sizeof *s->fired)) == NULL)
        return -ENOMEM;
    s->nfired = n;
    for (uint32_t i = 0; i < n; i++) {
        s->fired[i].rule = cursor_u64(c);
        s->fired[i].at_ms = cursor_u64(c);
    }
    if (cursor_u8(c) == 0)
        return 0;
    s->base = calloc(SENDER_FACTS, sizeof *s->base);
    if (s->base == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < SENDER_FACTS * SENDER_WINDOWS; i++)
        s->base[i / SENDER_WINDOWS][i % SENDER_WINDOWS] = cursor_u32(c);
    return 0;
}

static int sender_decode(struct cursor *c, struct store_rec **out)
{
    struct span name = cursor_counted(c);
    if (cursor_err(c) != 0)
        return cursor_err(c);
    if (!directory_name_ok(name) || name.n > COMMAND_NAME_MAX)
        return ERR_CORRUPT;
    struct sender *s = make(name);
    if (s == NULL)
        return -ENOMEM;
    s->class = cursor_u8(c);
    s->first_day = cursor_u16(c);
    for (unsigned i = 0; i < 24; i++) {
        s->last_day[i] = cursor_u16(c);
        s->day_before[i] = cursor_u16(c);
    }
    s->nblocks = cursor_u32(c);
    for (unsigned i = 0; i < SENDER_REPEAT_MAX; i++)
        s->block_ms[i] = cursor_u64(c);
    int err = decode_windows(c, s);
    if (err == 0)
        err = decode_groups(c, s);
    if (err == 0)
        err = decode_fired(c, s);
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 && s->class >= COMMAND_CLASSES)
        err = ERR_CORRUPT;
    if (err != 0) {
        sender_free(&s->rec);
        return err;
    }
    *out = &s->rec;
    return 0;
}

const struct store_type directory_sender_type = { 124,           "sender",      sender_key,
                                                  sender_encode, sender_decode, sender_free };

/* ---- what is seen -------------------------------------------------------------------------------------- */

static uint32_t bucket_of(uint64_t now_ms)
{
    return (uint32_t)(now_ms / BUCKET_MS);
}

static int see_sketches(struct sender *s, uint64_t now_ms, const struct sender_facts *in)
{
    if (s->windows == NULL && (s->windows = calloc(BUCKETS, sizeof *s->windows)) == NULL)
        return -ENOMEM;
    uint32_t bucket = bucket_of(now_ms);
    struct window *w = &s->windows[bucket % BUCKETS];
    if (!w->used || w->bucket != bucket)
        *w = (struct window){ .bucket = bucket, .used = true };
    for (unsigned k = 0; k < FACTS_KINDS; k++)
        facts_sketch_merge(&w->sketch[k], &in->sketch[k]);
    return 0;
}

static uint32_t group_sum(const struct group *g, uint64_t now_ms)
{
    uint32_t now = bucket_of(now_ms);
    uint64_t all = 0;
    for (unsigned k = 0; k < BUCKETS; k++)
        all += now - g->bucket[k] < BUCKETS ? g->recipients[k] : 0;
    return all < UINT32_MAX ? (uint32_t)all : UINT32_MAX;
}

/* The one that it is like; else a new one, in place of the smallest if need be. */
static struct group *group_of(struct sender *s, uint64_t now_ms, const struct facts_signature *like)
{
    struct group *least = NULL;
    for (uint32_t i = 0; i < s->ngroups; i++) {
        struct group *g = &s->groups[i];
        if (facts_alike(&g->like, like))
            return g;
        if (least == NULL || group_sum(g, now_ms) < group_sum(least, now_ms))
            least = g;
    }
    if (s->ngroups < GROUPS)
        least = &s->groups[s->ngroups++];
    *least = (struct group){ .like = *like };
    return least;
}

static int see_groups(struct sender *s, uint64_t now_ms, const struct sender_facts *in)
{
    uint32_t bucket = bucket_of(now_ms);
    if (in->ngroups > 0 && s->groups == NULL && (s->groups = calloc(GROUPS, sizeof *s->groups)) == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < in->ngroups; i++) {
        struct group *g = group_of(s, now_ms, &in->group[i].like);
        uint32_t *bucket_at = &g->bucket[bucket % BUCKETS], *sum = &g->recipients[bucket % BUCKETS];
        if (*bucket_at != bucket)
            *sum = 0;
        *bucket_at = bucket;
        uint32_t n = in->group[i].recipients;
        *sum = *sum > UINT32_MAX - n ? UINT32_MAX : *sum + n;
    }
    return 0;
}

static bool used_lately(uint16_t day, uint16_t today)
{
    return day != 0 && today > day && today - day <= HABIT_DAYS;
}

/* Whether this hour of the day is one at which the sender does not send; the day itself says nothing. */
static bool odd_hour(struct sender *s, int64_t wall_ms)
{
    int64_t days = wall_ms / DAY_WALL_MS;
    if (wall_ms < DAY_WALL_MS || days > UINT16_MAX)
        return false;
    uint16_t today = (uint16_t)days;
    unsigned hour = (unsigned)(wall_ms / 3600000 % 24);
    if (s->first_day == 0)
        s->first_day = today;
    if (s->last_day[hour] != today) {
        s->day_before[hour] = s->last_day[hour];
        s->last_day[hour] = today;
    }
    if (today < s->first_day || today - s->first_day < LEARNING_DAYS)
        return false;
    for (unsigned k = 23; k <= 25; k++) { /* the hour before and the one behind it too */
        unsigned h = (hour + k) % 24;
        if (used_lately(s->last_day[h], today) || used_lately(s->day_before[h], today))
            return false;
    }
    return true;
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
    for (unsigned i = 0; s->windows != NULL && i < BUCKETS; i++)
        for (unsigned k = 0; s->windows[i].used && now - s->windows[i].bucket < BUCKETS && k < FACTS_KINDS;
             k++)
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

static void values_of(const struct machine *m, const struct sender *s, struct sender_values *v)
{
    struct directory_record r = { .version = 0 };
    *v = (struct sender_values){ 0 };
    (void)directory_record_find(m, name_of(s), &r);
    for (unsigned w = 0; w < SENDER_WINDOWS; w++) {
        const uint64_t *n = r.counts[w];
        uint64_t hard = directory_record_sum(&r, (enum directory_record_window)w, RECORD_HARD, RECORD_KINDS);
        v->now[SENDER_RECIPIENTS][w] = clip(n[RECORD_ACCEPTED]);
        v->now[SENDER_MESSAGES][w] = clip(n[RECORD_MESSAGES]);
        v->now[SENDER_ODD_HOURS][w] = clip(n[RECORD_ODD_HOURS]);
        v->now[SENDER_FAILED_LOGINS][w] = clip(n[RECORD_FAILED_LOGINS]);
        v->now[SENDER_DELIVERED][w] = clip(n[RECORD_DELIVERED]);
        v->now[SENDER_DEFERRED][w] = clip(n[RECORD_DEFERRED]);
        v->now[SENDER_HARD_BOUNCES][w] = clip(hard);
        v->now[SENDER_BOUNCE_PERCENT][w] = share(hard, n[RECORD_DELIVERED] + hard, 100);
        v->now[SENDER_COMPLAINTS][w] = clip(n[RECORD_COMPLAINT]);
        v->now[SENDER_COMPLAINT_PERMILLE][w] = share(n[RECORD_COMPLAINT], n[RECORD_DELIVERED], 1000);
    }
    seen_lately(s, machine_now_ms(m), v);
    if (s->base != NULL)
        memcpy(v->base, s->base, sizeof v->base);
}

/* What has left the window does not matter any more; or (all) everything up to now does not. */
static void settle_base(struct sender *s, const struct sender_values *v, bool all)
{
    for (unsigned f = 0; s->base != NULL && f < SENDER_FACTS; f++)
        for (unsigned w = 0; w < SENDER_WINDOWS; w++)
            if (all || v->now[f][w] < s->base[f][w])
                s->base[f][w] = v->now[f][w];
}

static const uint64_t window_ms[SENDER_WINDOWS] = { 60 * MINUTE_MS, 1440 * MINUTE_MS, 10080 * MINUTE_MS };

/* Not to be said again yet. Else it is noted that it is said now. */
static bool said(struct sender *s, uint64_t now_ms, const struct sender_rule *rule)
{
    uint64_t hash = facts_hash(span_str(rule->name));
    struct fired *f = NULL;
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
    if ((f == NULL || f->rule != hash) && s->nfired < FIRED_MAX)
        f = &s->fired[s->nfired++];
    *f = (struct fired){ .rule = hash, .at_ms = now_ms };
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
    if (s->fired == NULL && (s->fired = calloc(FIRED_MAX, sizeof *s->fired)) == NULL)
        return -ENOMEM;
    if (said(s, at->now_ms, rule))
        return 0;
    snprintf(who, sizeof who, "rule %s", rule->name);
    say(r, "rule %s: %s%s %.*s: %s", rule->name, rule->dry_run ? "would " : "",
        sender_action_names[rule->action], (int)(s->nname < 100 ? s->nname : 100), s->name, evidence);
    struct command_by by = { .who = span_str(who), .wall_ms = wall_ms };
    if (rule->dry_run)
        return directory_audit(m, at, &by, "would %s account %.*s: %s", sender_action_names[rule->action],
                               S(name_of(s)), evidence);
    return directory_audit(m, at, &by, "warn of account %.*s: %s", S(name_of(s)), evidence);
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
        if (s->fired == NULL && (s->fired = calloc(FIRED_MAX, sizeof *s->fired)) == NULL)
            return -ENOMEM;
        if (said(s, at->now_ms, rule))
            return 0;
        snprintf(who, sizeof who, "rule %s", rule->name);
        struct command_by by = { .who = span_str(who), .wall_ms = wall_ms };
        return directory_audit(m, at, &by, "pool of account %.*s is not possible: there is no pool %s",
                               S(name_of(s)), rule->pool);
    }
    int err = directory_measure(m, at, name_of(s), rule, evidence, wall_ms, &begins);
    if (err == 0 && begins)
        say(r, "rule %s: %s of %.*s %s: %s", rule->name, sender_action_names[rule->action],
            (int)(s->nname < 100 ? s->nname : 100), s->name, what, evidence);
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
    s->block_ms[s->nblocks++ % SENDER_REPEAT_MAX] = at->now_ms;
    struct machine_result done = { 0 };
    struct command cmd = { .type = COMMAND_FREEZE };
    cmd.freeze = (struct command_freeze){
        .by = { .who = span_str(who), .wall_ms = wall_ms },
        .scope = COMMAND_SCOPE_ACCOUNT,
        .name = name_of(s),
        .mode = rule->action == SENDER_HOLD ? COMMAND_FREEZE_HOLD : directory_policy_compiled(m)->freeze_mode,
        .for_ms = stays ? 0 : rule->for_ms,
        .reason = span_str(reason),
    };
    if (cmd.freeze.mode == 0)
        cmd.freeze.mode = COMMAND_FREEZE_AUTO;
    int err = freeze_apply(m, at, &cmd, &done);
    if (err == 0 && done.err != 0)
        err = directory_audit(m, at, &cmd.freeze.by, "%s of account %.*s is not possible: %s",
                              sender_action_names[rule->action], S(name_of(s)), done.words);
    say(r, "rule %s: %s of %.*s: %s", rule->name, sender_action_names[rule->action],
        (int)(s->nname < 100 ? s->nname : 100), s->name, evidence);
    return err;
}

/* The sender was touched by the caller. */
static int judge(struct machine *m, const struct machine_at *at, struct sender *s, int64_t wall_ms,
                 struct machine_result *r)
{
    const struct policy_compiled *policy = directory_policy_compiled(m);
    struct machine_frozen frozen;
    struct sender_values v;
    char evidence[320];
    values_of(m, s, &v);
    if (machine_frozen_find(m, COMMAND_SCOPE_ACCOUNT, name_of(s), &frozen)) {
        if (s->base == NULL && (s->base = calloc(SENDER_FACTS, sizeof *s->base)) == NULL)
            return -ENOMEM;
        settle_base(s, &v, true);
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

static int check(struct span items)
{
    struct sender_facts in;
    struct cursor c;
    int more;
    cursor_init(&c, items.p, items.n);
    while ((more = sender_facts_next(&c, &in)) == 1)
        if (in.counts.account.n > COMMAND_NAME_MAX || !directory_name_ok(in.counts.account) ||
            (in.class >= COMMAND_CLASSES && in.class != FACTS_CLASS_UNKNOWN))
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
    if (new && (s = make(in->counts.account)) == NULL)
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
        if (odd_hour(s, c->wall_ms))
            in->counts.count[RECORD_ODD_HOURS] = in->counts.count[RECORD_ACCEPTED];
        err = see_sketches(s, at->now_ms, in);
        if (err == 0)
            err = see_groups(s, at->now_ms, in);
    }
    if (err == 0)
        err = directory_record_add(m, at, &in->counts, &no_room);
    if (err == 0 && new && !no_room)
        err = store_add(m->store, &directory_sender_type, &s->rec);
    if (new && (err != 0 || no_room)) {
        sender_free(&s->rec);
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
    if (check(c->facts) != 0)
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
