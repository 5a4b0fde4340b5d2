/* The keys of a rule about remote servers' replies. docs/policy.md says what they mean. What is left out is
 * seen as such, because a rule may replace parts of a built-in one of the same name.
 */
#include "base/text.h"
#include "node/config/schema_rows.h"
#include "node/config/types.h"
#include "node/policy/policy_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define COUNT_MAX 100000
#define SHOWN(s) ((s).n > 60 ? 60 : (int)(s).n), (s).p

/* ---- "3 in 1m" ---- */

static bool threshold_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    struct policy_threshold t = { .count = 0 };
    const char *in = s.n > 4 ? memmem(s.p, s.n, " in ", 4) : NULL;
    uint64_t count = 0;
    (void)f;
    if (in == NULL || text_u64(span_of(s.p, (size_t)(in - s.p)), &count) != 0 ||
        text_duration_ms(span_sub(s, (size_t)(in - s.p) + 4), &t.within_ms) != 0) {
        schema_fault(l, "expected how many in which time, such as 3 in 1m, got \"%.*s\"", SHOWN(s));
        return false;
    }
    if (count < 1 || count > COUNT_MAX || t.within_ms < SEC || t.within_ms > DAY) {
        schema_fault(l, "expected 1 to %d in 1s to 1d, got \"%.*s\"", COUNT_MAX, SHOWN(s));
        return false;
    }
    t.count = (uint32_t)count;
    memcpy(out, &t, sizeof t);
    return true;
}

static bool threshold_format(const struct schema_field *f, const void *in, struct buf *out)
{
    const struct policy_threshold *t = in;
    char text[32];
    (void)f;
    return t->count > 0 &&
           buf_printf(out, "%u in %s", t->count, text_exact_duration(t->within_ms, text)) == 0;
}

static const struct schema_type type_threshold = { sizeof(struct policy_threshold), threshold_parse,
                                                   threshold_format, NULL };

/* ---- one of `names`, and one more ---- */

static bool choice_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    char all[200];
    size_t len = 0;
    for (int i = 0; f->names[i] != NULL; i++) {
        if (span_eq_nocase(s, span_str(f->names[i]))) {
            *(int *)out = i + 1;
            return true;
        }
        const char *sep = i == 0 ? "" : f->names[i + 1] == NULL ? " or " : ", ";
        len += (size_t)snprintf(all + len, sizeof all - len, "%s%s", sep, f->names[i]);
    }
    schema_fault(l, "expected %s, got \"%.*s\"", all, SHOWN(s));
    return false;
}

static bool choice_format(const struct schema_field *f, const void *in, struct buf *out)
{
    int v = *(const int *)in;
    return v > 0 && buf_put_str(out, f->names[v - 1]) == 0;
}

const struct schema_type type_choice = { sizeof(int), choice_parse, choice_format, NULL };

/* ---- patterns, each with its check ---- */

static bool pattern_parse(struct schema_load *l, struct span s, bool (*check)(const char *, char[160]),
                          void *out)
{
    char why[160];
    char *text = strndup(s.p, s.n);
    if (text == NULL) {
        schema_fault(l, "cannot be read: out of memory");
        return false;
    }
    if (s.n == 0 || !check(text, why)) {
        schema_fault(l, "%s", s.n == 0 ? "is empty" : why);
        free(text);
        return false;
    }
    *(char **)out = text;
    return true;
}

static bool site_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    return pattern_parse(l, s, shaping_site_check, out);
}

static bool code_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    return pattern_parse(l, s, shaping_code_check, out);
}

static bool match_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    return pattern_parse(l, s, shaping_match_check, out);
}

static bool pattern_format(const struct schema_field *f, const void *in, struct buf *out)
{
    const char *s = *(char *const *)in;
    (void)f;
    return s != NULL && buf_put_str(out, s) == 0;
}

static void pattern_fini(void *value)
{
    free(*(char **)value);
}

const struct schema_type type_site = { sizeof(char *), site_parse, pattern_format, pattern_fini };
static const struct schema_type type_code = { sizeof(char *), code_parse, pattern_format, pattern_fini };
static const struct schema_type type_reply = { sizeof(char *), match_parse, pattern_format, pattern_fini };

static const struct schema_field rule_fields[] = {
    VALUE(policy_doc_rule, name, "name", word, REQUIRED("what events and reports call the rule")),
    LIST(policy_doc_rule, sites, "site", TYPE(site), COUNT(1, SHAPING_SITES_MAX)),
    VALUE(policy_doc_rule, pool, "pool", word),
    VALUE(policy_doc_rule, stage, "stage", choice, .names = shaping_stage_names),
    VALUE(policy_doc_rule, match, "match", reply),
    VALUE(policy_doc_rule, code, "code", code),
    VALUE(policy_doc_rule, threshold, "threshold", threshold),
    VALUE(policy_doc_rule, action, "action", choice, .names = shaping_action_names),
    VALUE(policy_doc_rule, to, "to", word),
    VALUE(policy_doc_rule, for_ms, "for", duration, RANGE(SEC, 7 * DAY)),
    VALUE(policy_doc_rule, attempts, "attempts", u32, RANGE(1, 1000)),
    END,
};
const struct schema_map policy_rule_map = { sizeof(struct policy_doc_rule), rule_fields };
