/* What is done with mail of a pool of which every address rests for a site: the policy's section `pools`.
 * Pure. */
#include "base/text.h"
#include "node/config/schema_rows.h"
#include "node/config/types.h"
#include "node/policy/policy_impl.h"

#include <stdio.h>
#include <stdlib.h>

const char *const policy_rested_names[] = { "wait", "reroute", "bounce", "use_any", NULL };

static const struct schema_field pool_fields[] = {
    VALUE(policy_doc_pool, name, "name", word, REQUIRED("the pool that it is about")),
    VALUE(policy_doc_pool, when_all_disabled, "when_all_disabled", enum, .names = policy_rested_names,
          REQUIRED(
              "what is done while all of its addresses rest for a site: wait, reroute, bounce or use_any")),
    VALUE(policy_doc_pool, to, "to", word),
    VALUE(policy_doc_pool, after_ms, "after", duration, RANGE(SEC, 7 * DAY)),
    END,
};
const struct schema_map policy_pool_map = { sizeof(struct policy_doc_pool), pool_fields };

static void fault(struct schema_load *l, uint32_t at, const char *key, const char *words)
{
    char path[64];
    snprintf(path, sizeof path, "pools[%u].%s", at, key);
    schema_fault_at(l, path, "%s", words);
}

void policy_check_pools(struct schema_load *l, const struct policy_doc *doc)
{
    for (uint32_t i = 0; i < doc->npools; i++) {
        const struct policy_doc_pool *p = &doc->pools[i];
        if (p->name == NULL)
            continue;
        for (uint32_t k = 0; k < i; k++)
            if (doc->pools[k].name != NULL && strcmp(p->name, doc->pools[k].name) == 0) {
                fault(l, i, "name", "is in the list already");
                break;
            }
        bool moves = p->when_all_disabled == POLICY_RESTED_REROUTE;
        if (moves && p->to == NULL)
            fault(l, i, "to", "is required: the pool that mail is moved to");
        if (!moves && p->to != NULL)
            fault(l, i, "to", "is for when_all_disabled: reroute only");
        if (moves && p->to != NULL && strcmp(p->to, p->name) == 0)
            fault(l, i, "to", "is the pool itself");
        if (p->when_all_disabled == POLICY_RESTED_BOUNCE && p->after_ms == 0)
            fault(l, i, "after", "is required: how long all must have rested before mail is returned");
        if (!moves && p->when_all_disabled != POLICY_RESTED_BOUNCE && p->after_ms != 0)
            fault(l, i, "after", "is for when_all_disabled: reroute and bounce only");
    }
}

bool policy_compile_pools(const struct policy_doc *doc, struct policy *out)
{
    out->pools = calloc(doc->npools + 1, sizeof *out->pools);
    if (out->pools == NULL)
        return false;
    for (uint32_t i = 0; i < doc->npools; i++) {
        struct policy_pool *to = &out->pools[out->npools++];
        snprintf(to->name, sizeof to->name, "%s", doc->pools[i].name);
        snprintf(to->to, sizeof to->to, "%s", doc->pools[i].to != NULL ? doc->pools[i].to : "");
        to->when_all_disabled = doc->pools[i].when_all_disabled;
        to->after_ms = doc->pools[i].after_ms;
    }
    return true;
}

const struct policy_pool *policy_pool_find(const struct policy *p, struct span name)
{
    for (uint32_t i = 0; i < p->npools; i++)
        if (span_eq(span_str(p->pools[i].name), name))
            return &p->pools[i];
    return NULL;
}

static const char *words_of(const struct policy_pool *p, char out[200])
{
    char after[32] = "";
    if (p != NULL && p->after_ms > 0)
        (void)text_exact_duration(p->after_ms, after);
    snprintf(out, 200, "%s%s%s%s%s",
             p == NULL ? policy_rested_names[POLICY_RESTED_WAIT] : policy_rested_names[p->when_all_disabled],
             p != NULL && p->to[0] != '\0' ? " to pool " : "", p != NULL ? p->to : "",
             after[0] != '\0' ? " after " : "", after);
    return out;
}

static void diff_one(struct buf *out, const char *name, const struct policy_pool *a,
                     const struct policy_pool *b)
{
    char from[200], to[200];
    if (strcmp(words_of(a, from), words_of(b, to)) != 0)
        buf_printf(out, "pools.%s.when_all_disabled: %s -> %s\n", name, from, to);
}

void policy_diff_pools(struct buf *out, const struct policy *from, const struct policy *to)
{
    for (uint32_t i = 0; i < from->npools; i++)
        diff_one(out, from->pools[i].name, &from->pools[i],
                 policy_pool_find(to, span_str(from->pools[i].name)));
    for (uint32_t i = 0; i < to->npools; i++)
        if (policy_pool_find(from, span_str(to->pools[i].name)) == NULL)
            diff_one(out, to->pools[i].name, NULL, &to->pools[i]);
}
