/* The rules' form: see rules.c. Only class.c includes it. */
#ifndef NODE_BOUNCE_RULES_H
#define NODE_BOUNCE_RULES_H

#include "node/bounce/class.h"

#define BOUNCE_RULE_GROUPS 3

struct bounce_rule {
    enum bounce_class class;
    uint8_t digit; /* the reply's first digit: 4, 5, or 0 for either */
    /* Each group: phrases with | between, of which one must occur. A phrase is whole words in lower case with
     * one blank between; an apostrophe is a blank. At its end ~ stands for the rest of a word. */
    const char *groups[BOUNCE_RULE_GROUPS];
    const char *except; /* a group that must not occur */
};

struct bounce_status_rule {
    uint8_t subject, detail; /* the last two numbers; detail 255: any */
    enum bounce_class class;
};

struct bounce_code_rule {
    uint16_t code;
    enum bounce_class class;
};

extern const struct bounce_rule bounce_rules[];
extern const struct bounce_status_rule bounce_status_rules[];
extern const struct bounce_code_rule bounce_code_rules[];
extern const unsigned bounce_nrules, bounce_nstatus_rules, bounce_ncode_rules;

#endif
