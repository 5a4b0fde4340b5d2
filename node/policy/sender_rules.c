/* Rules about senders in the policy: read, checked, compiled, compared. A rule's condition is a line such as
 * "hard_bounces > 25 in 1h and networks > 5 in 1h"; docs/senders.md says what can stand in it. Pure.
 */
#include "base/text.h"
#include "builtin_senders.h"

#include "node/config/schema_rows.h"
#include "node/config/types.h"
#include "node/policy/policy_impl.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define SHOWN(s) ((s).n > 60 ? 60 : (int)(s).n), (s).p
#define ALL_CLASSES ((1u << POLICY_CLASSES) - 1)

/* ---- "recipients > 100 in 1h and ..." ---- */

/* The next word; empty at the end. */
static struct span word(struct span *s)
{
    size_t n = 0;
    while (s->n > 0 && isspace((unsigned char)s->p[0]))
        *s = span_sub(*s, 1);
    bool sign = s->n > 0 && strchr("<>=", s->p[0]) != NULL;
    while (n < s->n && !isspace((unsigned char)s->p[n]) && (strchr("<>=", s->p[n]) != NULL) == sign)
        n++;
    struct span w = span_of(s->p, n);
    *s = span_sub(*s, n);
    return w;
}

static int index_of(struct span w, const char *const *names)
{
    for (int i = 0; names[i] != NULL; i++)
        if (span_eq(w, span_str(names[i])))
            return i;
    return -1;
}

static bool no(struct schema_load *l, const char *expected, struct span got)
{
    if (got.n == 0)
        schema_fault(l, "ends where %s was expected", expected);
    else
        schema_fault(l, "expected %s, got \"%.*s\"", expected, SHOWN(got));
    return false;
}

static bool fact_parse(struct schema_load *l, struct span w, uint8_t *fact)
{
    char all[480] = "";
    int i = index_of(w, sender_fact_names);
    if (i >= 0) {
        *fact = (uint8_t)i;
        return true;
    }
    for (i = 0; i < SENDER_FACTS; i++) {
        size_t n = strlen(all);
        snprintf(all + n, sizeof all - n, "%s%s", i == 0 ? "one of " : ", ", sender_fact_names[i]);
    }
    return no(l, all, w);
}

static bool term_parse(struct schema_load *l, struct span *s, struct sender_term *t)
{
    uint64_t count = 0;
    if (!fact_parse(l, word(s), &t->fact))
        return false;
    struct span sign = word(s);
    bool at_least = span_eq(sign, SPAN_LIT(">="));
    if (!at_least && !span_eq(sign, SPAN_LIT(">")))
        return no(l, "> or >=", sign);
    struct span number = word(s);
    if (text_u64(number, &count) != 0 || count > 1000000000 || (at_least && count == 0))
        return no(l, at_least ? "a number from 1 to 1000000000" : "a number from 0 to 1000000000", number);
    t->more_than = (uint32_t)count - at_least;
    struct span in = word(s);
    if (!span_eq(in, SPAN_LIT("in")))
        return no(l, "\"in\" and a time", in);
    struct span window = word(s);
    int i = index_of(window, sender_window_names);
    if (i < 0)
        return no(l, "1h, 24h or 7d", window);
    t->window = (uint8_t)i;
    if (!sender_fact_in(t->fact, t->window)) {
        bool hour = sender_fact_in(t->fact, 0);
        schema_fault(l, "%s is known of the last %s only: write \"in %s\"", sender_fact_names[t->fact],
                     hour ? "hour" : "day", hour ? "1h" : "24h");
        return false;
    }
    return true;
}

static bool when_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    struct policy_when when = { .nterms = 0 };
    struct span more;
    (void)f;
    do {
        if (when.nterms == SENDER_TERMS_MAX) {
            schema_fault(l, "has more than %d conditions", SENDER_TERMS_MAX);
            return false;
        }
        if (!term_parse(l, &s, &when.term[when.nterms++]))
            return false;
        more = word(&s);
    } while (span_eq(more, SPAN_LIT("and")));
    if (more.n > 0)
        return no(l, "\"and\" or the end", more);
    memcpy(out, &when, sizeof when);
    return true;
}

static void put_when(struct buf *out, uint8_t n, const struct sender_term *terms)
{
    for (uint8_t i = 0; i < n; i++)
        (void)buf_printf(out, "%s%s > %u in %s", i > 0 ? " and " : "", sender_fact_names[terms[i].fact],
                         terms[i].more_than, sender_window_names[terms[i].window]);
}

static bool when_format(const struct schema_field *f, const void *in, struct buf *out)
{
    const struct policy_when *when = in;
    (void)f;
    put_when(out, when->nterms, when->term);
    return when->nterms > 0 && buf_err(out) == 0;
}

static const struct schema_type type_when = { sizeof(struct policy_when), when_parse, when_format, NULL };

/* ---- "hold 1h", "slow 20 in 10m for 4h", "pool risky for 4h" ---- */

static bool slow_parse(struct schema_load *l, struct span *s, struct policy_then *then)
{
    uint64_t count = 0;
    struct span number = word(s), in = word(s), window = word(s);
    if (text_u64(number, &count) != 0 || count == 0 || count > 1000000)
        return no(l, "how many recipients slow leaves, such as slow 20 in 10m", number);
    if (!span_eq(in, SPAN_LIT("in")))
        return no(l, "\"in\" and a time", in);
    if (text_duration_ms(window, &then->slow_ms) != 0 || then->slow_ms < (int64_t)SENDER_SLOW_MIN_MS ||
        then->slow_ms > (int64_t)SENDER_SLOW_MAX_MS)
        return no(l, "5s to 31d", window);
    then->slow_count = (uint32_t)count;
    return true;
}

static bool pool_parse(struct schema_load *l, struct span *s, struct policy_then *then)
{
    struct span name = word(s);
    if (name.n == 0 || name.n >= sizeof then->pool || span_eq(name, SPAN_LIT("for")))
        return no(l, "the name of a pool", name);
    memcpy(then->pool, name.p, name.n);
    return true;
}

/* "hold 1h, notify": its end comes off. "notify" alone leaves nothing. */
static bool take_notify(struct span *s)
{
    struct span rest = *s, last = SPAN_LIT(""), w;
    const char *comma = s->n == 0 ? NULL : memrchr(s->p, ',', s->n);
    if (comma != NULL)
        rest = span_of(comma + 1, (size_t)(s->p + s->n - comma - 1));
    last = word(&rest);
    w = word(&rest);
    if (!span_eq(last, SPAN_LIT("notify")) || w.n > 0)
        return false;
    *s = span_of(s->p, comma == NULL ? 0 : (size_t)(comma - s->p));
    return true;
}

static bool then_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    static const char *const names[] = { "warn", "hold", "freeze", "slow", "pool", NULL };
    struct policy_then then = { .for_ms = 0 };
    (void)f;
    then.notify = take_notify(&s);
    struct span w = word(&s);
    int i = then.notify && w.n == 0 ? 0 : index_of(w, names);
    if (i < 0)
        return no(l, "warn, slow, pool, hold, freeze or notify", w);
    then.action = (uint8_t)(SENDER_WARN + i);
    if ((then.action == SENDER_SLOW && !slow_parse(l, &s, &then)) ||
        (then.action == SENDER_POOL && !pool_parse(l, &s, &then)))
        return false;
    w = word(&s);
    if (span_eq(w, SPAN_LIT("for")))
        w = word(&s);
    else if (w.n > 0 && then.action > SENDER_FREEZE)
        return no(l, "\"for\" and a time, or the end", w);
    if (w.n > 0 && then.action == SENDER_WARN)
        return no(l, "nothing behind warn", w);
    if (w.n > 0 && (text_duration_ms(w, &then.for_ms) != 0 || then.for_ms < MINUTE ||
                    then.for_ms > (int64_t)SENDER_FOR_MAX_MS))
        return no(l, "a time from 1m to 31d, such as 1h", w);
    w = word(&s);
    if (w.n > 0)
        return no(l, "the end", w);
    memcpy(out, &then, sizeof then);
    return true;
}

static void put_then(struct buf *out, const struct policy_then *then)
{
    char text[32];
    (void)buf_put_str(out, sender_action_names[then->action]);
    if (then->action == SENDER_SLOW)
        (void)buf_printf(out, " %u in %s", then->slow_count, text_exact_duration(then->slow_ms, text));
    if (then->action == SENDER_POOL)
        (void)buf_printf(out, " %s", then->pool);
    if (then->for_ms > 0)
        (void)buf_printf(out, "%s %s", then->action > SENDER_FREEZE ? " for" : "",
                         text_exact_duration(then->for_ms, text));
    if (then->notify)
        (void)buf_put_str(out, ", notify");
}

static bool then_format(const struct schema_field *f, const void *in, struct buf *out)
{
    const struct policy_then *then = in;
    (void)f;
    if (then->action == 0)
        return false;
    put_then(out, then);
    return buf_err(out) == 0;
}

static const struct schema_type type_then = { sizeof(struct policy_then), then_parse, then_format, NULL };

/* ---- "3 in 7d" ---- */

static bool repeat_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    struct policy_repeat r = { .count = 0 };
    uint64_t count = 0;
    (void)f;
    struct span number = word(&s), in = word(&s), window = word(&s), end = word(&s);
    if (text_u64(number, &count) != 0 || count < 2 || count > SENDER_REPEAT_MAX)
        return no(l, "2 to 8, such as 3 in 7d", number);
    if (!span_eq(in, SPAN_LIT("in")))
        return no(l, "\"in\" and a time", in);
    if (text_duration_ms(window, &r.within_ms) != 0 || r.within_ms < HOUR ||
        r.within_ms > (int64_t)SENDER_REPEAT_MAX_MS)
        return no(l, "1h to 7d", window);
    if (end.n > 0)
        return no(l, "the end", end);
    r.count = (uint32_t)count;
    memcpy(out, &r, sizeof r);
    return true;
}

static bool repeat_format(const struct schema_field *f, const void *in, struct buf *out)
{
    const struct policy_repeat *r = in;
    char text[32];
    (void)f;
    return r->count > 0 &&
           buf_printf(out, "%u in %s", r->count, text_exact_duration(r->within_ms, text)) == 0;
}

static const struct schema_type type_repeat = { sizeof(struct policy_repeat), repeat_parse, repeat_format,
                                                NULL };

static const struct schema_field sender_rule_fields[] = {
    VALUE(policy_doc_sender_rule, name, "name", word,
          REQUIRED("what the audit trail and reports call the rule")),
    VALUE(policy_doc_sender_rule, when, "when", when, REQUIRED("such as hard_bounces > 25 in 1h")),
    LIST(policy_doc_sender_rule, classes, "classes", TYPE(enum), .names = policy_class_names,
         COUNT(1, POLICY_CLASSES)),
    VALUE(policy_doc_sender_rule, then, "then", then,
          REQUIRED("warn, slow, pool, hold, freeze or notify, such as hold 1h")),
    VALUE(policy_doc_sender_rule, repeat, "repeat", repeat),
    VALUE(policy_doc_sender_rule, dry_run, "dry_run", bool, DEFAULT("false")),
    END,
};
const struct schema_map policy_sender_rule_map = { sizeof(struct policy_doc_sender_rule),
                                                   sender_rule_fields };

/* ---- checked, compiled, compared ---- */

struct senders_doc {
    struct policy_doc_sender_rule *rules;
    uint32_t nrules;
};

static const struct schema_field senders_doc_fields[] = {
    { .key = "sender_rules",
      .shape = SCHEMA_LIST,
      .offset = offsetof(struct senders_doc, rules),
      .count_offset = offsetof(struct senders_doc, nrules),
      .map = &policy_sender_rule_map,
      .count_max = SENDER_RULES_MAX },
    { .key = NULL },
};
static const struct schema_map senders_doc_map = { sizeof(struct senders_doc), senders_doc_fields };

struct span policy_builtin_senders(void)
{
    return span_of(builtin_senders, sizeof builtin_senders);
}

static const struct policy_doc_sender_rule *find(const struct policy_doc_sender_rule *rules, uint32_t n,
                                                 const char *name)
{
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(rules[i].name, name) == 0)
            return &rules[i];
    return NULL;
}

/* Such a rule has a limit, whose name replies speak of. 1 */
static uint32_t check_slow(struct schema_load *l, const struct policy_doc *doc, uint32_t at)
{
    const char *name = doc->sender_rules[at].name;
    char limit[SENDER_LIMIT_NAME + SENDER_RULE_NAME], path[64];
    snprintf(limit, sizeof limit, SENDER_LIMIT_PREFIX "%s", name);
    snprintf(path, sizeof path, "sender_rules[%u].name", at);
    if (strlen(limit) >= SENDER_LIMIT_NAME)
        schema_fault_at(l, path, "of a rule that slows may have %zu bytes at most",
                        SENDER_LIMIT_NAME - sizeof SENDER_LIMIT_PREFIX);
    for (uint32_t i = 0; i < doc->nlimits; i++)
        if (strcmp(doc->limits[i].name, limit) == 0) {
            snprintf(path, sizeof path, "limits[%u].name", i);
            schema_fault_at(l, path, "is that of the limit of sender_rules[%u]: give one of them another",
                            at);
        }
    return 1;
}

void policy_check_sender_rules(struct schema_load *l, const struct policy_doc *doc)
{
    uint32_t nslow = 0;
    for (uint32_t i = 0; i < doc->nsender_rules; i++) {
        const struct policy_doc_sender_rule *r = &doc->sender_rules[i];
        char path[64];
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(r->name, doc->sender_rules[k].name) == 0) {
                policy_fault_named(l, "sender_rules", i, k, r->name, "each rule");
                break;
            }
        snprintf(path, sizeof path, "sender_rules[%u].name", i);
        if (strlen(r->name) >= SENDER_RULE_NAME)
            schema_fault_at(l, path, "is longer than %d bytes", SENDER_RULE_NAME - 1);

        snprintf(path, sizeof path, "sender_rules[%u].repeat", i);
        if (r->repeat.count > 0 && r->then.for_ms == 0)
            schema_fault_at(l, path, "has a meaning only where `then` says for how long");
        if (r->then.action == SENDER_SLOW)
            nslow = check_slow(l, doc, i) + nslow;
    }
    if (doc->nlimits + nslow > POLICY_LIMITS_MAX)
        schema_fault_at(l, "limits", "%u limits and %u rules that slow are more than %d", doc->nlimits, nslow,
                        POLICY_LIMITS_MAX);
    struct senders_doc builtin;
    uint32_t n = doc->nsender_rules;
    policy_builtin_read("built-in rules about senders", policy_builtin_senders(), &senders_doc_map, &builtin);
    for (uint32_t i = 0; doc->default_sender_rules != POLICY_DEFAULTS_OFF && i < builtin.nrules; i++)
        n += find(doc->sender_rules, doc->nsender_rules, builtin.rules[i].name) == NULL;
    schema_fini(&senders_doc_map, &builtin);
    if (n > SENDER_RULES_MAX)
        schema_fault_at(l, "sender_rules",
                        "with the built-in ones these are %u rules, and %d are the limit: see"
                        " default_sender_rules",
                        n, SENDER_RULES_MAX);
}

static void compile(const struct policy_doc_sender_rule *from, struct policy_compiled *c,
                    struct sender_rule *to)
{
    snprintf(to->name, sizeof to->name, "%s", from->name);
    for (uint32_t k = 0; k < from->nclasses; k++)
        to->classes |= (uint8_t)(1u << from->classes[k]);
    if (from->nclasses == 0)
        to->classes = ALL_CLASSES;
    to->action = from->then.action;
    to->for_ms = (uint64_t)from->then.for_ms;
    to->repeat = from->repeat.count;
    to->repeat_ms = (uint64_t)from->repeat.within_ms;
    to->dry_run = from->dry_run;
    to->notify = from->then.notify;
    to->nterms = from->when.nterms;
    memcpy(to->term, from->when.term, sizeof to->term);
    to->slow_count = from->then.slow_count;
    to->slow_ms = (uint64_t)from->then.slow_ms;
    memcpy(to->pool, from->then.pool, sizeof to->pool);
    if (to->action != SENDER_SLOW)
        return;
    struct policy_limit *limit = &c->limits[c->nlimits++];
    *limit = (struct policy_limit){ .scope = COMMAND_SCOPE_ACCOUNT,
                                    .count = to->slow_count,
                                    .window_ms = to->slow_ms };
    sender_rule_limit(to, limit->name);
}

void policy_compile_sender_rules(const struct policy_doc *doc, struct policy *out)
{
    struct policy_compiled *c = &out->compiled;
    struct senders_doc builtin;
    for (uint32_t i = 0; i < doc->nsender_rules; i++)
        compile(&doc->sender_rules[i], c, &c->sender_rules[c->nsender_rules++]);
    if (doc->default_sender_rules == POLICY_DEFAULTS_OFF)
        return;
    policy_builtin_read("built-in rules about senders", policy_builtin_senders(), &senders_doc_map, &builtin);
    for (uint32_t i = 0; i < builtin.nrules; i++) {
        if (find(doc->sender_rules, doc->nsender_rules, builtin.rules[i].name) != NULL)
            continue;
        struct sender_rule *to = &c->sender_rules[c->nsender_rules++];
        compile(&builtin.rules[i], c, to);
        to->dry_run = to->dry_run || doc->default_sender_rules == POLICY_DEFAULTS_DRY_RUN;
        out->ndefault_sender_rules++;
    }
    schema_fini(&senders_doc_map, &builtin);
}

void policy_for_level(struct policy *p, uint32_t level)
{
    if (level >= policy_level(&p->compiled))
        return;
    p->compiled.nsender_rules -= p->ndefault_sender_rules;
    memset(&p->compiled.sender_rules[p->compiled.nsender_rules], 0,
           p->ndefault_sender_rules * sizeof p->compiled.sender_rules[0]);
    p->ndefault_sender_rules = 0;
}

void policy_put_sender_rule(struct buf *out, const struct sender_rule *rule)
{
    char text[32];
    put_when(out, rule->nterms, rule->term);
    (void)buf_put_str(out, ": ");
    struct policy_then then = { .action = rule->action,
                                .notify = rule->notify,
                                .for_ms = (int64_t)rule->for_ms,
                                .slow_count = rule->slow_count,
                                .slow_ms = (int64_t)rule->slow_ms };
    memcpy(then.pool, rule->pool, sizeof then.pool);
    put_then(out, &then);
    if (rule->repeat > 0)
        (void)buf_printf(out, ", stays after %u in %s", rule->repeat,
                         text_exact_duration((int64_t)rule->repeat_ms, text));
    for (unsigned i = 0, n = 0; rule->classes != ALL_CLASSES && i < POLICY_CLASSES; i++)
        if ((rule->classes >> i & 1) != 0)
            (void)buf_printf(out, "%s%s", n++ == 0 ? "; " : ", ", policy_class_names[i]);
    if (rule->dry_run)
        (void)buf_put_str(out, "; dry run");
}

static const struct sender_rule *named(const struct policy_compiled *p, const char *name)
{
    for (uint32_t i = 0; i < p->nsender_rules; i++)
        if (strcmp(p->sender_rules[i].name, name) == 0)
            return &p->sender_rules[i];
    return NULL;
}

static void words_of(struct buf *out, const struct sender_rule *rule)
{
    buf_reset(out);
    if (rule == NULL)
        (void)buf_put_str(out, "(none)");
    else
        policy_put_sender_rule(out, rule);
}

static void diff_one(struct buf *out, const char *name, const struct sender_rule *from,
                     const struct sender_rule *to)
{
    struct buf a, b;
    buf_init(&a, 1000);
    buf_init(&b, 1000);
    words_of(&a, from);
    words_of(&b, to);
    if (!span_eq(buf_span(&a), buf_span(&b)))
        (void)buf_printf(out, "sender_rules.%s: %.*s -> %.*s\n", name, (int)a.len, a.data, (int)b.len,
                         b.data);
    buf_fini(&a);
    buf_fini(&b);
}

void policy_diff_sender_rules(struct buf *out, const struct policy_compiled *from,
                              const struct policy_compiled *to)
{
    for (uint32_t i = 0; i < from->nsender_rules; i++)
        diff_one(out, from->sender_rules[i].name, &from->sender_rules[i],
                 named(to, from->sender_rules[i].name));
    for (uint32_t i = 0; i < to->nsender_rules; i++)
        if (named(from, to->sender_rules[i].name) == NULL)
            diff_one(out, to->sender_rules[i].name, NULL, &to->sender_rules[i]);
}
