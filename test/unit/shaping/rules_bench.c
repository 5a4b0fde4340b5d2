/* What 500 rules cost: microseconds for a reply that was not seen before, and for one that was. Not a test.
 */
#include "node/shaping/rules.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RULES 500
#define REPLIES 200000

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(void)
{
    static const char *const subjects[] = { "rate",      "quota",       "connections", "reputation",
                                            "blocklist", "greylisting", "mailbox",     "recipient",
                                            "policy",    "content" };
    static const char *const verbs[] = { "exceeded", "limited", "refused", "deferred", "throttled",
                                         "denied",   "blocked", "unknown", "full",     "unavailable" };
    struct shaping_rule *rules = calloc(RULES, sizeof *rules);
    struct shaping_matcher *m = shaping_matcher_new();
    struct shaping_matcher_counts counts;
    if (rules == NULL || m == NULL)
        return 1;
    for (int i = 0; i < RULES; i++) {
        char text[200];
        snprintf(text, sizeof text, "%s\\b.{0,40}\\b(%s|code%d)|(rule|text)%d", subjects[i % 10],
                 verbs[i / 10 % 10], i, i);
        rules[i] = (struct shaping_rule){
            .name = strdup("rule"), .match = strdup(text), .stage = SHAPING_ANY, .count = 1
        };
    }
    double t = now_s();
    struct shaping_rules *r = shaping_rules_new(rules, RULES);
    printf("compiled %d rules in %.1f ms, %u of them without literals\n", RULES, (now_s() - t) * 1e3,
           shaping_rules_slow(r));
    for (int kind = 0; kind < 3; kind++) {
        t = now_s();
        for (int i = 0; i < REPLIES; i++) {
            char text[300];
            int n = snprintf(
                text, sizeof text,
                "Our system has detected an unusual amount of mail originating from your address, and the "
                "mailbox that you tried to reach is %s for now. Please visit our pages to learn more about "
                "this, and try again in a while. %d - gsmtp",
                kind == 1 ? "throttled" : "closed", kind == 2 ? i % 100 : i);
            struct shaping_reply reply = { .site = SPAN_LIT("example.org"),
                                           .mx = SPAN_LIT("mx.example.org"),
                                           .stage = SHAPING_DOT,
                                           .code = 421,
                                           .text = span_of(text, (size_t)n) };
            (void)shaping_match(m, r, &reply);
        }
        printf("%s: %.2f us a reply\n",
               kind == 0   ? "each new, no rule met"
               : kind == 1 ? "each new, a rule met"
                           : "seen before",
               (now_s() - t) * 1e6 / REPLIES);
    }
    shaping_matcher_counts(m, &counts);
    printf("%llu patterns run for %llu replies\n", (unsigned long long)counts.tried,
           (unsigned long long)counts.asked);
    shaping_rules_rele(r);
    shaping_matcher_free(m);
    for (int i = 0; i < RULES; i++) {
        free(rules[i].name);
        free(rules[i].match);
    }
    free(rules);
    return 0;
}
