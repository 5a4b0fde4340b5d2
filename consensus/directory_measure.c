/* What rules do to a sender short of stopping him: his mail is slowed, by a limit of his own (the policy has
 * it beside the rule: consensus/policy.h), or leaves from another pool. Each such measure is a record of the
 * sender and the rule. It lifts itself, by a command that the leader proposes, unless it is one too many
 * within the rule's `repeat`: then it stays until an operator lifts it.
 *
 * A measure that has ended is kept for a while: the mail that led to it does not lead to the next one, and
 * repeats are counted. Bounded by DIRECTORY_MEASURES_MAX: over it there are no further ones. From feature
 * level 6 on.
 */
#include "base/ensure.h"
#include "base/text.h"
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MEASURE_FEATURE 6
#define TIMES SENDER_REPEAT_MAX

struct measure {
    struct store_rec rec;
    struct heap_node timer; /* when it ends, or when it is forgotten; in no heap while it stays */
    uint64_t id;            /* of the command that it is of */
    uint64_t since_ms;      /* cluster time, as all below */
    uint64_t until_ms;      /* 0: until an operator lifts it */
    uint64_t ended_ms;      /* 0: it is in force */
    uint64_t again_ms;      /* not before: what led to it has left the rule's windows then */
    uint64_t forget_ms;
    int64_t wall_ms;
    uint64_t times[TIMES]; /* at which there was one; the last ones */
    uint32_t ntimes;
    uint8_t action; /* SENDER_SLOW or SENDER_POOL */
    char pool[SENDER_POOL_NAME], evidence[DIRECTORY_EVIDENCE_MAX];
    uint16_t naccount, nrule;
    char text[]; /* account, 0, rule: the key */
};

static struct span account_of(const struct measure *e)
{
    return span_of(e->text, e->naccount);
}

static struct span rule_of(const struct measure *e)
{
    return span_of(e->text + e->naccount + 1, e->nrule);
}

static struct span measure_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    const struct measure *e = (const struct measure *)rec;
    return span_of(e->text, (size_t)e->naccount + 1 + e->nrule);
}

static void measure_encode(const struct store_rec *rec, struct buf *out)
{
    const struct measure *e = (const struct measure *)rec;
    (void)buf_put_counted(out, account_of(e));
    (void)buf_put_counted(out, rule_of(e));
    (void)buf_put_u8(out, e->action);
    const uint64_t numbers[] = { e->id,       e->since_ms,  e->until_ms,         e->ended_ms,
                                 e->again_ms, e->forget_ms, (uint64_t)e->wall_ms };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        (void)buf_put_u64(out, numbers[i]);
    (void)buf_put_u32(out, e->ntimes);
    for (size_t i = 0; i < TIMES; i++)
        (void)buf_put_u64(out, e->times[i]);
    (void)buf_put_counted(out, span_str(e->pool));
    (void)buf_put_counted(out, span_str(e->evidence));
}

static void measure_free(struct store_rec *rec)
{
    free(rec);
}

static struct measure *make(struct span account, struct span rule)
{
    struct measure *e = calloc(1, sizeof *e + account.n + 1 + rule.n);
    if (e == NULL)
        return NULL;
    e->naccount = (uint16_t)account.n;
    e->nrule = (uint16_t)rule.n;
    memcpy(e->text, account.p, account.n);
    memcpy(e->text + account.n + 1, rule.p, rule.n);
    return e;
}

/* False: too long, or not to be printed. */
static bool get_text(struct cursor *c, char *out, size_t cap)
{
    struct span s = cursor_counted(c);
    if (s.n >= cap || !directory_text_ok(s))
        return false;
    if (s.n > 0)
        memcpy(out, s.p, s.n);
    return true;
}

static int measure_decode(struct cursor *c, struct store_rec **out)
{
    struct span account = cursor_counted(c), rule = cursor_counted(c);
    if (cursor_err(c) != 0)
        return cursor_err(c);
    if (!directory_name_ok(account) || account.n > COMMAND_NAME_MAX || !directory_name_ok(rule) ||
        rule.n >= SENDER_RULE_NAME)
        return ERR_CORRUPT;
    struct measure *e = make(account, rule);
    if (e == NULL)
        return -ENOMEM;
    e->action = cursor_u8(c);
    uint64_t wall_ms = 0;
    uint64_t *const numbers[] = { &e->id,       &e->since_ms,  &e->until_ms, &e->ended_ms,
                                  &e->again_ms, &e->forget_ms, &wall_ms };
    bool ok = e->action == SENDER_SLOW || e->action == SENDER_POOL;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        *numbers[i] = cursor_u64(c);
        ok = ok && (numbers[i] == &wall_ms || *numbers[i] <= INT64_MAX / 2);
    }
    e->wall_ms = (int64_t)wall_ms;
    e->ntimes = cursor_u32(c);
    for (size_t i = 0; i < TIMES; i++)
        e->times[i] = cursor_u64(c);
    ok = get_text(c, e->pool, sizeof e->pool) && get_text(c, e->evidence, sizeof e->evidence) && ok;
    if (cursor_err(c) != 0 || !ok) {
        free(e);
        return cursor_err(c) != 0 ? cursor_err(c) : ERR_CORRUPT;
    }
    *out = &e->rec;
    return 0;
}

const struct store_type directory_measure_type = {
    170, "measure", measure_key, measure_encode, measure_decode, measure_free
};

static struct measure *find(const struct machine *m, struct span account, struct span rule)
{
    char key[COMMAND_NAME_MAX + 1 + SENDER_RULE_NAME];
    if (m->directory->measures.len == 0 || account.n > COMMAND_NAME_MAX || rule.n >= SENDER_RULE_NAME)
        return NULL;
    memcpy(key, account.p, account.n);
    key[account.n] = '\0';
    memcpy(key + account.n + 1, rule.p, rule.n);
    return (struct measure *)store_find(m->store, &directory_measure_type,
                                        span_of(key, account.n + 1 + rule.n));
}

/* ---- timers: rebuilt ------------------------------------------------------------------------------------
 */

static int timer_start(struct directory *d, struct measure *e)
{
    uint64_t at_ms = e->ended_ms != 0 ? e->forget_ms : e->until_ms;
    return at_ms == 0 ? 0 : heap_add(&d->measure_ends, &e->timer, (int64_t)at_ms);
}

int directory_measures_restored(struct machine *m)
{
    heap_fini(&m->directory->measure_ends);
    heap_init(&m->directory->measure_ends);
    LIST_EACH(link, store_all(m->store, &directory_measure_type))
    {
        int err = timer_start(m->directory, LIST_ITEM(link, struct measure, rec.link));
        if (err != 0)
            return err;
    }
    return 0;
}

int directory_measures_due(struct machine *m, uint64_t now_ms, struct buf *out, uint32_t *n)
{
    struct heap *ends = &m->directory->measure_ends;
    struct measure *due[DIRECTORY_DUE_MAX];
    uint32_t k = 0;
    int err = 0;
    /* Taken out and put back: what is proposed may be lost, and is proposed again then. */
    for (struct heap_node *t;
         k < DIRECTORY_DUE_MAX && (t = heap_first(ends)) != NULL && t->key <= (int64_t)now_ms;) {
        heap_remove(ends, t);
        due[k++] = HEAP_ITEM(t, struct measure, timer);
    }
    for (uint32_t i = 0; i < k; i++) {
        struct measure *e = due[i];
        struct command cmd = { .type = COMMAND_SENDER_LIFT };
        cmd.sender_lift = (struct command_sender_lift){
            .by.who = SPAN_LIT("timer"), .account = account_of(e), .rule = rule_of(e), .entry = e->id
        };
        if (err == 0 && (err = command_encode(&cmd, out)) == 0)
            ++*n;
        ensure(timer_start(m->directory, e) == 0); /* there was room a moment ago */
    }
    return err;
}

/* ---- beginning ------------------------------------------------------------------------------------------
 */

/* What nodes keep of it is not true any more. */
static void tell(struct machine *m, const struct measure *e, bool begins)
{
    if (e->action == SENDER_POOL)
        machine_changed(m, MACHINE_CHANGED_POOLS, e->id, (struct span){ 0 });
    else
        machine_changed(m, begins ? MACHINE_CHANGED_RECALL : MACHINE_CHANGED_LIMITS, COMMAND_SCOPE_ACCOUNT,
                        account_of(e));
}

static uint32_t times_within(const struct measure *e, uint64_t now_ms, uint64_t within_ms)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < TIMES && i < e->ntimes; i++)
        n += now_ms - e->times[i] < within_ms;
    return n;
}

static void fill(struct measure *e, const struct machine_at *at, const struct sender_rule *rule,
                 const char *evidence, int64_t wall_ms)
{
    /* Windows are up to a twelfth longer than they say: directory_record.c. */
    static const uint64_t passed_ms[SENDER_WINDOWS] = { 80 * 60000ull, 26 * 3600000ull, 180 * 3600000ull };
    bool stays = rule->for_ms == 0 ||
                 (rule->repeat > 0 && times_within(e, at->now_ms, rule->repeat_ms) + 1 >= rule->repeat);
    uint64_t lasts_ms = passed_ms[sender_rule_window(rule)];
    e->id = at->id;
    e->since_ms = at->now_ms;
    e->wall_ms = wall_ms;
    e->until_ms = stays ? 0 : at->now_ms + rule->for_ms;
    e->ended_ms = 0;
    e->again_ms = at->now_ms + lasts_ms;
    e->forget_ms = at->now_ms + (rule->repeat_ms > lasts_ms ? rule->repeat_ms : lasts_ms);
    e->times[e->ntimes++ % TIMES] = at->now_ms;
    e->action = rule->action;
    snprintf(e->pool, sizeof e->pool, "%s", rule->pool);
    snprintf(e->evidence, sizeof e->evidence, "%s%s", evidence,
             stays && rule->for_ms != 0 ? "; again, so it stays" : "");
}

void directory_measure_words(const struct sender_rule *rule, char out[DIRECTORY_MEASURE_WORDS])
{
    char window[32];
    if (rule->action == SENDER_POOL)
        snprintf(out, DIRECTORY_MEASURE_WORDS, "to pool %s", rule->pool);
    else
        snprintf(out, DIRECTORY_MEASURE_WORDS, "to %u in %s", rule->slow_count,
                 text_exact_duration((int64_t)rule->slow_ms, window));
}

int directory_measure(struct machine *m, const struct machine_at *at, struct span account,
                      const struct sender_rule *rule, const char *evidence, int64_t wall_ms, bool *begins)
{
    struct directory *d = m->directory;
    struct measure *e = find(m, account, span_str(rule->name));
    bool new = e == NULL;
    *begins = false;
    if (!new && ((e->ended_ms == 0 && e->action == rule->action) || at->now_ms < e->again_ms))
        return 0;
    if (new && d->measures.len >= DIRECTORY_MEASURES_MAX)
        return 0;
    if (new && (e = make(account, span_str(rule->name))) == NULL)
        return -ENOMEM;
    if (!new) {
        store_touch(m->store, &e->rec);
        heap_remove(&d->measure_ends, &e->timer);
    }
    fill(e, at, rule, evidence, wall_ms);
    int err = new ? directory_add(m, &d->measures, &e->rec) : 0;
    if (err != 0) {
        free(e);
        return err;
    }
    err = timer_start(d, e);
    if (err != 0)
        return err;
    *begins = true;
    tell(m, e, true);
    char who[8 + SENDER_RULE_NAME], what[DIRECTORY_MEASURE_WORDS], until[32] = "";
    snprintf(who, sizeof who, "rule %s", rule->name);
    directory_measure_words(rule, what);
    if (e->until_ms != 0)
        snprintf(until, sizeof until, " for %llus", (unsigned long long)(rule->for_ms / 1000));
    struct command_by by = { .who = span_str(who), .wall_ms = wall_ms };
    return directory_audit(m, at, &by, "%s account %.*s %s%s: %s", sender_action_names[rule->action],
                           S(account), what, until, e->evidence);
}

/* ---- ending ---------------------------------------------------------------------------------------------
 */

static int end(struct machine *m, const struct machine_at *at, struct measure *e, const struct command_by *by)
{
    store_touch(m->store, &e->rec);
    heap_remove(&m->directory->measure_ends, &e->timer);
    e->ended_ms = at->now_ms > 0 ? at->now_ms : 1;
    if (e->forget_ms < e->ended_ms)
        e->forget_ms = e->ended_ms;
    tell(m, e, false);
    int err = timer_start(m->directory, e);
    return err != 0 ? err
                    : directory_audit(m, at, by, "lift %s of account %.*s by rule %.*s",
                                      sender_action_names[e->action], S(account_of(e)), S(rule_of(e)));
}

/* The leader's: its time has come, to end or to be forgotten. */
static int pass(struct machine *m, const struct machine_at *at, const struct command_sender_lift *c)
{
    struct measure *e = find(m, c->account, c->rule);
    if (e == NULL || e->id != c->entry)
        return 0;
    if (e->ended_ms == 0)
        return e->until_ms != 0 && at->now_ms >= e->until_ms ? end(m, at, e, &c->by) : 0;
    if (at->now_ms >= e->forget_ms) {
        heap_remove(&m->directory->measure_ends, &e->timer);
        directory_drop(m, &m->directory->measures, &e->rec);
    }
    return 0;
}

/* Those of the account, in order of rule. NULL at the end. */
static struct measure *next_of(const struct machine *m, struct directory_place *at, struct span account)
{
    struct measure *e = (struct measure *)directory_index_next(&m->directory->measures, at);
    return e != NULL && (account.n == 0 || span_eq(account_of(e), account)) ? e : NULL;
}

int directory_sender_lift(struct machine *m, const struct machine_at *at, const struct command *cmd,
                          struct machine_result *r)
{
    const struct command_sender_lift *c = &cmd->sender_lift;
    if (directory_features(m) < MEASURE_FEATURE)
        return REFUSE(r, ERR_DENIED, "the cluster's feature level is %u, this needs %d",
                      directory_features(m), MEASURE_FEATURE);
    if (c->entry != 0)
        return pass(m, at, c);
    struct directory_place place = directory_index_after(&m->directory->measures, c->account);
    int err = 0;
    for (struct measure *e; err == 0 && (e = next_of(m, &place, c->account)) != NULL;) {
        if (e->ended_ms != 0 || (c->rule.n > 0 && !span_eq(rule_of(e), c->rule)))
            continue;
        r->id = at->id;
        r->count++;
        err = end(m, at, e, &c->by);
    }
    return err == 0 && r->count == 0
               ? REFUSE(r, ERR_NOT_FOUND, "no rule slows %.*s, or sends his mail from another pool",
                        S(c->account))
               : err;
}

/* ---- readers --------------------------------------------------------------------------------------------
 */

bool directory_slowed(const struct machine *m, struct span account, struct span rule)
{
    const struct measure *e = find(m, account, rule);
    return e != NULL && e->action == SENDER_SLOW && e->ended_ms == 0;
}

int directory_measure_each(const struct machine *m, struct span account, directory_measure_fn *fn, void *arg)
{
    struct directory_place place = directory_index_after(&m->directory->measures, account);
    int stop = 0;
    for (const struct measure *e; stop == 0 && (e = next_of(m, &place, account)) != NULL;) {
        struct directory_measure v = { .account = account_of(e),
                                       .rule = rule_of(e),
                                       .pool = span_str(e->pool),
                                       .evidence = span_str(e->evidence),
                                       .action = e->action,
                                       .in_force = e->ended_ms == 0,
                                       .since_ms = e->since_ms,
                                       .until_ms = e->until_ms,
                                       .wall_ms = e->wall_ms,
                                       .times = e->ntimes < TIMES ? e->ntimes : TIMES,
                                       .id = e->id };
        stop = fn(arg, &v);
    }
    return stop;
}
