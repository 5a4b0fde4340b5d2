/* Which reply a stage gets: the first rule that matches, else the usual one. */
#include "test/bench/sink.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Real servers' replies differ in a number or two. */
static const char *fill(struct sink_rule *rule)
{
    const char *at = strstr(rule->reply, "{n}");
    if (at == NULL)
        return rule->reply;
    snprintf(rule->filled, sizeof rule->filled, "%.*s%llu%s", (int)(at - rule->reply), rule->reply,
             (unsigned long long)rule->hits, at + 3);
    return rule->filled;
}

const char *sink_rules_reply(struct sink *s, enum sink_stage stage, struct span address)
{
    if (!s->has_rules[stage])
        return NULL;
    char text[1024];
    size_t n = address.n < sizeof text ? address.n : sizeof text - 1;
    memcpy(text, address.p, n);
    text[n] = '\0';
    for (unsigned i = 0; i < s->o->nrules; i++) {
        struct sink_rule *rule = &s->o->rules[i];
        if (rule->stage != stage || (rule->glob != NULL && fnmatch(rule->glob, text, FNM_CASEFOLD) != 0))
            continue;
        if (rule->first != 0 && rule->hits >= rule->first)
            continue;
        if (rule->probability < 1 && drand48() >= rule->probability)
            continue;
        rule->hits++;
        return fill(rule);
    }
    return NULL;
}
