/* Rules about remote servers' replies, in the policy: what the tables cannot say, the built-in ones beneath
 * the operators', and what differs. Pure.
 *
 * An operator's rule with a name of its own comes before all built-in ones; one with a built-in rule's name
 * takes its place, and what it leaves out is the built-in one's.
 */
#include "base/err.h"
#include "base/text.h"
#include "builtin_rules.h"
#include "node/policy/policy_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct rules_doc {
    struct policy_doc_rule *rules;
    uint32_t nrules;
};

static const struct schema_field rules_doc_fields[] = {
    { .key = "rules",
      .shape = SCHEMA_LIST,
      .offset = offsetof(struct rules_doc, rules),
      .count_offset = offsetof(struct rules_doc, nrules),
      .map = &policy_rule_map,
      .count_max = SHAPING_RULES_MAX - POLICY_RULES_MAX },
    { .key = NULL },
};
static const struct schema_map rules_doc_map = { sizeof(struct rules_doc), rules_doc_fields };

struct span policy_builtin_rules(void)
{
    return span_of(builtin_rules, sizeof builtin_rules);
}

static const struct policy_doc_rule *find(const struct policy_doc_rule *rules, uint32_t n, const char *name)
{
    for (uint32_t i = 0; i < n; i++)
        if (rules[i].name != NULL && strcmp(rules[i].name, name) == 0)
            return &rules[i];
    return NULL;
}

static bool lasts(int action)
{
    return action == SHAPING_BACKOFF || action == SHAPING_DISABLE_SOURCE || action == SHAPING_SUSPEND ||
           action == SHAPING_GREYLIST;
}

/* About one message: it is not waited for more of them. */
static bool of_message(int action)
{
    return action == SHAPING_BOUNCE || action == SHAPING_GREYLIST || action == SHAPING_REROUTE;
}

/* `over`'s keys, and `base`'s (NULL: none) where it has none, but none that another action than `base`'s has
 * no use for. Borrows from both. */
static void merge(const struct policy_doc_rule *over, const struct policy_doc_rule *base,
                  struct shaping_rule *out)
{
    static const struct policy_doc_rule nothing;
    const struct policy_doc_rule *b = base != NULL ? base : &nothing;
    int stage = over->stage != 0 ? over->stage : b->stage;
    int action = (over->action != 0 ? over->action : b->action) - 1; /* -1: none was given */
    const struct policy_threshold *t =
        over->threshold.count != 0 || of_message(action) ? &over->threshold : &b->threshold;
    *out = (struct shaping_rule){
        .name = over->name,
        .sites = over->nsites > 0 ? over->sites : b->sites,
        .nsites = over->nsites > 0 ? over->nsites : b->nsites,
        .pool = over->pool != NULL ? over->pool : b->pool,
        .to = over->to != NULL || action != SHAPING_REROUTE ? over->to : b->to,
        .match = over->match != NULL ? over->match : b->match,
        .code = over->code != NULL ? over->code : b->code,
        .stage = stage == 0 ? SHAPING_ANY : stage - 1,
        .action = action,
        .count = t->count == 0 ? 1 : t->count,
        .within_ms = t->within_ms,
        .for_ms = over->for_ms != 0 || !lasts(action) ? over->for_ms : b->for_ms,
        .attempts = over->attempts != 0 || action != SHAPING_BOUNCE ? over->attempts : b->attempts,
    };
}

/* ---- checks -------------------------------------------------------------------------------------------- */

static void fault(struct schema_load *l, uint32_t at, const char *key, const char *words)
{
    char path[64];
    snprintf(path, sizeof path, "rules[%u].%s", at, key);
    schema_fault_at(l, path, "%s", words);
}

static void check_rule(struct schema_load *l, uint32_t at, const struct shaping_rule *r)
{
    if (r->action < 0)
        fault(l, at, "action", "is required: what is to be done, such as backoff or none");
    if (r->match == NULL && r->code == NULL)
        fault(l, at, "match", "is required, or code: which replies the rule is about");
    if (r->action >= 0 && r->action != SHAPING_BOUNCE && r->attempts != 0)
        fault(l, at, "attempts", "is for the action bounce only");
    if (r->action >= 0 && !lasts(r->action) && r->for_ms != 0)
        fault(l, at, "for", "is for the actions backoff, disable_source, suspend and greylist only");
    if (r->action == SHAPING_REROUTE && r->to == NULL)
        fault(l, at, "to", "is required: the pool that recipients are moved to");
    if (r->action >= 0 && r->action != SHAPING_REROUTE && r->to != NULL)
        fault(l, at, "to", "is for the action reroute only");
    if (r->action == SHAPING_REROUTE && r->to != NULL && r->pool != NULL && strcmp(r->to, r->pool) == 0)
        fault(l, at, "to", "is the pool that the rule is about");
    if (r->action == SHAPING_REROUTE && r->stage == SHAPING_BANNER)
        fault(l, at, "stage", "must be one of a message's: before one is offered there is nothing to move");
    if (r->count > 1 && of_message(r->action))
        fault(l, at, "threshold", "has no meaning with an action on one message");
}

void policy_check_rules(struct schema_load *l, const struct policy_doc *doc)
{
    struct rules_doc builtin;
    policy_builtin_read("built-in rules", policy_builtin_rules(), &rules_doc_map, &builtin);
    for (uint32_t i = 0; i < doc->nrules; i++) {
        const struct policy_doc_rule *base = find(builtin.rules, builtin.nrules, doc->rules[i].name);
        const struct policy_doc_rule *twin = find(doc->rules, i, doc->rules[i].name);
        struct shaping_rule r;
        merge(&doc->rules[i], doc->default_rules ? base : NULL, &r);
        check_rule(l, i, &r);
        if (twin != NULL)
            fault(l, i, "name", "is another rule's already: give each rule its own name");
    }
    schema_fini(&rules_doc_map, &builtin);
}

struct shaping_rules *policy_compile_rules(const struct policy_doc *doc)
{
    struct rules_doc builtin;
    policy_builtin_read("built-in rules", policy_builtin_rules(), &rules_doc_map, &builtin);
    uint32_t nbase = doc->default_rules ? builtin.nrules : 0, n = 0;
    struct shaping_rule *all = calloc(doc->nrules + nbase + 1, sizeof *all);
    struct shaping_rules *made = NULL;
    for (uint32_t i = 0; all != NULL && i < doc->nrules; i++)
        if (find(builtin.rules, nbase, doc->rules[i].name) == NULL)
            merge(&doc->rules[i], NULL, &all[n++]);
    for (uint32_t i = 0; all != NULL && i < nbase; i++) {
        const struct policy_doc_rule *over = find(doc->rules, doc->nrules, builtin.rules[i].name);
        merge(over != NULL ? over : &builtin.rules[i], &builtin.rules[i], &all[n++]);
    }
    if (all != NULL)
        made = shaping_rules_new(all, n);
    free(all);
    schema_fini(&rules_doc_map, &builtin);
    return made;
}

/* ---- one reply ----------------------------------------------------------------------------------------- */

int policy_test_reply(const struct policy *p, const struct shaping_reply *about, struct span text,
                      const struct shaping_rule **out)
{
    struct shaping_reply reply = *about;
    *out = NULL;
    for (reply.code = 0; text.n > 0 && reply.code < 100 && *text.p >= '0' && *text.p <= '9';
         text = span_sub(text, 1))
        reply.code = (uint16_t)(reply.code * 10 + (*text.p - '0'));
    if (reply.code < 400 || reply.code > 599 || (text.n > 0 && *text.p != ' ' && *text.p != '-'))
        return ERR_BAD;
    reply.text = span_sub(text, 1);
    struct shaping_matcher *m = shaping_matcher_new();
    if (m == NULL)
        return -ENOMEM;
    int found = shaping_match(m, p->rules, &reply);
    if (found >= 0)
        *out = shaping_rules_at(p->rules, (uint32_t)found);
    shaping_matcher_free(m);
    return 0;
}

/* ---- differences --------------------------------------------------------------------------------------- */

void policy_put_rule(struct buf *out, const struct shaping_rule *r)
{
    char text[32];
    buf_put_str(out, shaping_action_names[r->action]);
    if (r->to != NULL)
        buf_printf(out, " to pool %s", r->to);
    if (r->for_ms != 0)
        buf_printf(out, " for %s", text_exact_duration(r->for_ms, text));
    if (r->count > 1)
        buf_printf(out, " at %u in %s", r->count, text_exact_duration(r->within_ms, text));
    if (r->attempts != 0)
        buf_printf(out, " from attempt %u", r->attempts);
    for (uint32_t i = 0; i < r->nsites; i++)
        buf_printf(out, "%s%s", i == 0 ? "; site " : ", ", r->sites[i]);
    if (r->pool != NULL)
        buf_printf(out, "; pool %s", r->pool);
    if (r->stage != SHAPING_ANY)
        buf_printf(out, "; stage %s", shaping_stage_names[r->stage]);
    if (r->code != NULL)
        buf_printf(out, "; code %s", r->code);
    if (r->match != NULL)
        buf_printf(out, "; match %s", r->match);
}

static const struct shaping_rule *find_rule(const struct shaping_rules *rules, const char *name)
{
    for (uint32_t i = 0; i < shaping_rules_count(rules); i++)
        if (strcmp(shaping_rules_at(rules, i)->name, name) == 0)
            return shaping_rules_at(rules, i);
    return NULL;
}

static void diff_rule(struct buf *out, const struct shaping_rule *from, const struct shaping_rule *to)
{
    struct buf a, b;
    buf_init(&a, 65536);
    buf_init(&b, 65536);
    if (from != NULL)
        policy_put_rule(&a, from);
    if (to != NULL)
        policy_put_rule(&b, to);
    policy_diff_words(out, "rules.", from != NULL ? from->name : to->name, buf_span(&a), buf_span(&b));
    buf_fini(&a);
    buf_fini(&b);
}

void policy_diff_rules(struct buf *out, const struct shaping_rules *from, const struct shaping_rules *to)
{
    uint32_t kept = 0, moved = 0;
    for (uint32_t i = 0; i < shaping_rules_count(from); i++) {
        const struct shaping_rule *r = shaping_rules_at(from, i);
        diff_rule(out, r, find_rule(to, r->name));
    }
    for (uint32_t i = 0, last = 0; i < shaping_rules_count(to); i++) {
        const struct shaping_rule *r = shaping_rules_at(to, i);
        uint32_t was = 0;
        while (was < shaping_rules_count(from) && strcmp(shaping_rules_at(from, was)->name, r->name) != 0)
            was++;
        if (was == shaping_rules_count(from)) {
            diff_rule(out, NULL, r);
            continue;
        }
        moved += kept++ > 0 && was < last;
        last = was;
    }
    if (moved > 0)
        buf_put_str(out, "rules: another order\n");
}
