/* Operators' rules about what remote servers reply: which rule a reply meets, and what is to be done then.
 * Compiled once, immutable and shared; each thread that asks has a matcher of its own. Pure: no clock, no
 * I/O. It doesn't count thresholds and does nothing: see state.h for that.
 *
 * Rules are looked at in order, and the first that meets the reply counts. 500 patterns are not tried one
 * after the other: of most patterns it is known which letters a text must have (literals.h), and a text
 * without them passes by (grams.h). What was found for a text is remembered.
 *
 * Patterns are PCRE2's, without regard to the case of ASCII letters, on bytes: other letters match exactly.
 * Each has a bound on its steps, after which it counts as not matching.
 */
#ifndef NODE_SHAPING_RULES_H
#define NODE_SHAPING_RULES_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define SHAPING_RULES_MAX 2000
#define SHAPING_SITES_MAX 64    /* patterns of sites of one rule */
#define SHAPING_MATCH_MAX 2048  /* bytes of a pattern */
#define SHAPING_STEPS_MAX 20000 /* of one pattern with one text */
#define SHAPING_TEXT_MAX 512    /* bytes of a reply that are looked at */

enum shaping_stage { SHAPING_BANNER, SHAPING_MAIL, SHAPING_RCPT, SHAPING_DATA, SHAPING_DOT, SHAPING_ANY };
extern const char *const shaping_stage_names[];

enum shaping_action {
    SHAPING_NONE,           /* nothing, and no later rule is asked */
    SHAPING_BACKOFF,        /* the site's queue goes slowly for a while */
    SHAPING_DISABLE_SOURCE, /* this source address rests for this site */
    SHAPING_SUSPEND,        /* nothing is sent to the site for a while */
    SHAPING_BOUNCE,         /* the recipient ends, though the reply was 4xx */
    SHAPING_GREYLIST,       /* it is tried again when the server should be content */
    SHAPING_NOTIFY,         /* an event, no more */
    SHAPING_REROUTE,        /* the recipient goes out over another pool from now on */
};
#define SHAPING_ACTIONS 8
extern const char *const shaping_action_names[];

/* Strings are never empty; NULL: anything. */
struct shaping_rule {
    char *name;
    char **sites; /* of the destination, or of the MX host: "example.org", "*.example.org" */
    uint32_t nsites;
    char *pool;
    char *to;       /* reroute: the pool that it goes to */
    char *match;    /* PCRE2, over the text without its codes */
    char *code;     /* "421", "45x", "4.7.28", "x.7.6xx" */
    int stage;      /* enum shaping_stage */
    int action;     /* enum shaping_action */
    uint32_t count; /* so many in within_ms, of one site and pool; 1: at once */
    int64_t within_ms;
    int64_t for_ms;    /* how long the action lasts; 0: as the policy's section `backoff` says */
    uint32_t attempts; /* bounce: not before this attempt at the recipient */
};

/* What is wrong with it, in words that follow the key's name; false. `why` has room for 160. */
bool shaping_match_check(const char *pattern, char why[160]);
bool shaping_code_check(const char *pattern, char why[160]);
bool shaping_site_check(const char *pattern, char why[160]);
/* Does the name meet a pattern of sites? Without regard to case. */
bool shaping_site_match(const char *pattern, struct span name);

struct shaping_rules;

/* Copies; each rule's match, code and sites were checked. NULL: no memory. */
struct shaping_rules *shaping_rules_new(const struct shaping_rule *rules, uint32_t n);
struct shaping_rules *shaping_rules_hold(struct shaping_rules *r);
void shaping_rules_rele(struct shaping_rules *r); /* NULL is harmless */
uint32_t shaping_rules_count(const struct shaping_rules *r);
const struct shaping_rule *shaping_rules_at(const struct shaping_rules *r, uint32_t i);
/* Rules whose pattern has to be tried with every text. */
uint32_t shaping_rules_slow(const struct shaping_rules *r);

/* A reply that a remote server gave. */
struct shaping_reply {
    struct span site; /* destination */
    struct span mx;   /* host name of the server; empty: not known */
    struct span pool; /* of source addresses; empty: none */
    int stage;        /* enum shaping_stage but SHAPING_ANY */
    uint16_t code;
    uint16_t enhanced[3]; /* 0.0.0: none; one that the text begins with counts all the same */
    struct span text;
};

/* One thread's. */
struct shaping_matcher;
struct shaping_matcher *shaping_matcher_new(void); /* NULL: no memory */
void shaping_matcher_free(struct shaping_matcher *m);

/* The first rule that the reply meets, or -1. */
int shaping_match(struct shaping_matcher *m, const struct shaping_rules *r,
                  const struct shaping_reply *reply);

struct shaping_matcher_counts {
    uint64_t asked, remembered; /* replies; those whose answer was known */
    uint64_t tried;             /* patterns that were run */
    uint64_t limited;           /* of these: ended by the bound on their steps */
};
void shaping_matcher_counts(const struct shaping_matcher *m, struct shaping_matcher_counts *out);

#endif
