/* What 500 rules cost: microseconds for a reply that was not seen before, and for one that was; and at worst,
 * when what sorts patterns out beforehand sorts out none. Not a test.
 */
#include "node/shaping/rules.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RULES 500
#define REPLIES 20000

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const char *const subjects[] = { "rate",        "quota",   "connections", "reputation", "blocklist",
                                        "greylisting", "mailbox", "recipient",   "policy",     "content" };
static const char *const verbs[] = { "exceeded", "limited", "refused", "deferred", "throttled",
                                     "denied",   "blocked", "unknown", "full",     "unavailable" };

/* Of an operator's kind; or such as have no letters that a text must have, so that nothing sorts them out. */
static void pattern(char out[200], int i, bool plain)
{
    if (plain)
        snprintf(out, 200, "%s\\b.{0,40}\\b(%s|code%d)|(rule|text)%d", subjects[i % 10], verbs[i / 10 % 10],
                 i, i);
    else
        snprintf(out, 200, "[[:alpha:]]{3,9}[-_]\\d{%d}[[:punct:]]", 2 + i % 200);
}

struct kind {
    const char *name;
    bool plain;
    int of; /* different replies; 0: all */
    const char *text;
};

static const struct kind kinds[] = {
    { "each new, no rule met", true, 0,
      "Our system has detected an unusual amount of mail originating from your address, and the mailbox that "
      "you "
      "tried to reach is closed for now. Please visit our pages to learn more about this, and try again in a "
      "while. "
      "%d - gsmtp" },
    { "each new, a rule met", true, 0,
      "Our system has detected an unusual amount of mail originating from your address, and the mailbox that "
      "you "
      "tried to reach is throttled for now. Please visit our pages to learn more about this, and try again "
      "in a "
      "while. %d - gsmtp" },
    { "seen before", true, 100,
      "Our system has detected an unusual amount of mail originating from your address, and the mailbox that "
      "you "
      "tried to reach is closed for now. Please visit our pages to learn more about this, and try again in a "
      "while. "
      "%d - gsmtp" },
    { "each new, with a word of each of the rules, none met", true, 0,
      "rate quota connections reputation blocklist greylisting mailbox recipient policy content: nothing of "
      "all that "
      "is why your mail cannot be taken just now, and nobody knows what is; come again, %d - gsmtp" },
    { "each new, rules without words, none met", false, 0,
      "Our system has detected an unusual amount of mail originating from your address, and the mailbox that "
      "you "
      "tried to reach is closed for now. Please visit our pages to learn more about this, and try again in a "
      "while. "
      "%d - gsmtp" },
};

static struct shaping_rules *compile(bool plain)
{
    struct shaping_rule *rules = calloc(RULES, sizeof *rules);
    if (rules == NULL)
        return NULL;
    for (int i = 0; i < RULES; i++) {
        char text[200];
        pattern(text, i, plain);
        rules[i] = (struct shaping_rule){
            .name = strdup("rule"), .match = strdup(text), .stage = SHAPING_ANY, .count = 1
        };
    }
    double t = now_s();
    struct shaping_rules *r = shaping_rules_new(rules, RULES);
    if (r != NULL)
        printf("compiled %d rules in %.1f ms, %u of them without literals\n", RULES, (now_s() - t) * 1e3,
               shaping_rules_slow(r));
    for (int i = 0; i < RULES; i++) {
        free(rules[i].name);
        free(rules[i].match);
    }
    free(rules);
    return r;
}

static void measure(const struct kind *kind, struct shaping_rules *r)
{
    struct shaping_matcher *m = shaping_matcher_new();
    struct shaping_matcher_counts counts;
    if (m == NULL)
        return;
    double t = now_s();
    for (int i = 0; i < REPLIES; i++) {
        char text[400];
        int n = snprintf(text, sizeof text, kind->text, kind->of == 0 ? i : i % kind->of);
        struct shaping_reply reply = { .site = SPAN_LIT("example.org"),
                                       .mx = SPAN_LIT("mx.example.org"),
                                       .stage = SHAPING_DOT,
                                       .code = 421,
                                       .text = span_of(text, (size_t)n) };
        (void)shaping_match(m, r, &reply);
    }
    t = now_s() - t;
    shaping_matcher_counts(m, &counts);
    printf("%s: %.2f us a reply, %.1f patterns run for each\n", kind->name, t * 1e6 / REPLIES,
           (double)counts.tried / REPLIES);
    shaping_matcher_free(m);
}

int main(void)
{
    struct shaping_rules *plain = compile(true), *wordless = compile(false);
    if (plain == NULL || wordless == NULL)
        return 1;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        measure(&kinds[i], kinds[i].plain ? plain : wordless);
    shaping_rules_rele(plain);
    shaping_rules_rele(wordless);
    return 0;
}
