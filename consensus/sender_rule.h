/* Rules of the policy about senders: when so much of this and that was seen of one within a time, then
 * something is done. The names of what can be asked for, and whether a rule is met. Pure; integers only, so
 * that all nodes say the same.
 */
#ifndef CONSENSUS_SENDER_RULE_H
#define CONSENSUS_SENDER_RULE_H

#include "base/buf.h"
#include "base/cursor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SENDER_RULES_MAX 32
#define SENDER_TERMS_MAX 4 /* of one rule, all of which must hold */
#define SENDER_RULE_NAME 64
#define SENDER_WINDOWS 3
#define SENDER_FOR_MAX_MS (31ull * 86400000)
#define SENDER_REPEAT_MAX 8
#define SENDER_SLOW_MIN_MS 5000ull /* as of any limit's window */
#define SENDER_SLOW_MAX_MS (31ull * 86400000)
#define SENDER_REPEAT_MAX_MS (7ull * 86400000)

enum sender_fact {
    SENDER_RECIPIENTS, /* that were accepted */
    SENDER_MESSAGES,
    SENDER_DISTINCT_RECIPIENTS,
    SENDER_DISTINCT_DOMAINS,
    SENDER_NETWORKS,  /* of clients: /24, /64 */
    SENDER_ALIKE,     /* recipients of the largest group of messages that are like each other */
    SENDER_ODD_HOURS, /* recipients at hours of the day at which this sender does not send */
    SENDER_FAILED_LOGINS,
    SENDER_DELIVERED,
    SENDER_DEFERRED,
    SENDER_HARD_BOUNCES,
    SENDER_BOUNCE_PERCENT, /* hard bounces of all that ended */
    SENDER_COMPLAINTS,
    SENDER_COMPLAINT_PERMILLE, /* of what was delivered */
    /* from here on of feature level 6 */
    SENDER_NEW_NETWORKS,  /* recipients, as UNLIKE, from client networks that this sender has not used before
                           */
    SENDER_UNKNOWN_USERS, /* hard bounces, of addresses that do not exist */
    SENDER_UNKNOWN_PERCENT, /* of all that ended */
    SENDER_FIRST_DAYS,      /* recipients of a sender who was not known three days ago */
    SENDER_ABOVE_USUAL,     /* recipients beyond the most that he had in a day of the week before */
    SENDER_NEW_ABOVE_USUAL, /* of NEW_NETWORKS, what is beyond the most of a day of the week before */
    SENDER_UNLIKE,          /* recipients, but of messages that are like others: 20 of each such group */
    SENDER_SPAM, /* messages that the content check took for spam; from feature level 7 on */
    SENDER_FACTS
};
extern const char *const sender_fact_names[SENDER_FACTS + 1];
extern const char *const sender_window_names[SENDER_WINDOWS + 1]; /* as enum directory_record_window */
/* Some are kept for the last hour only, one for the last day only. */
bool sender_fact_in(uint8_t fact, uint8_t window);
/* The feature level from which on it is known. */
uint32_t sender_fact_level(uint8_t fact);
/* A share, not a count: it does not grow. */
bool sender_fact_share(uint8_t fact);

/* SLOW: at most so many recipients in a window, as by a limit of his own. POOL: his mail leaves from another pool. These
 * two need feature level 6. */
enum sender_action { SENDER_WARN = 1, SENDER_HOLD, SENDER_FREEZE, SENDER_SLOW, SENDER_POOL };
extern const char *const sender_action_names[SENDER_POOL + 1];
#define SENDER_POOL_NAME 64
#define SENDER_LIMIT_PREFIX "slow." /* of a SLOW rule's limit, before its name */
#define SENDER_LIMIT_NAME 64

struct sender_term {
    uint8_t fact, window;
    uint32_t more_than;
};
struct sender_rule {
    char name[SENDER_RULE_NAME];
    uint8_t classes; /* bits 1 << class */
    uint8_t action;  /* enum sender_action */
    bool dry_run;    /* only say what would be done */
    bool notify;     /* people are told when it acts; from feature level 6 on */
    uint64_t for_ms; /* but of WARN: it lifts itself; 0: until an operator does */
    uint32_t repeat; /* so many blocks of the sender within repeat_ms: the last one does not lift itself; 0:
                        it does */
    uint64_t repeat_ms;
    uint8_t nterms;
    struct sender_term term[SENDER_TERMS_MAX];
    uint32_t slow_count; /* of SLOW: recipients */
    uint64_t slow_ms;    /* in this time */
    char pool[SENDER_POOL_NAME]; /* of POOL */
};

/* What was seen of a sender, and how much of it a block of his has dealt with already. */
struct sender_values {
    uint32_t now[SENDER_FACTS][SENDER_WINDOWS];
    uint32_t base[SENDER_FACTS][SENDER_WINDOWS];
};
/* What counts for a rule: what has come since the last block. */
uint32_t sender_value(const struct sender_values *v, uint8_t fact, uint8_t window);
bool sender_term_met(const struct sender_term *t, const struct sender_values *v);
bool sender_rule_met(const struct sender_rule *r, const struct sender_values *v);
/* Its longest window. */
uint8_t sender_rule_window(const struct sender_rule *r);
/* It stops all mail, and not just on paper. */
bool sender_rule_blocks(const struct sender_rule *r, uint8_t class);
/* It stops mail, or some of it. */
bool sender_rule_hinders(const struct sender_rule *r, uint8_t class);
/* It slows or re-pools, and not just on paper: what directory_measure.c keeps. */
bool sender_rule_measures(const struct sender_rule *r, uint8_t class);
/* The name of a SLOW rule's limit. */
void sender_rule_limit(const struct sender_rule *r, char out[SENDER_LIMIT_NAME]);
/* "recipients 130 > 100 in 1h and networks 9 > 5 in 1h", cut off at cap. */
void sender_rule_evidence(const struct sender_rule *r, const struct sender_values *v, char *out, size_t cap);

bool sender_rule_ok(const struct sender_rule *r);
/* `wide`: as from feature level 6 on, which SLOW and POOL need. */
void sender_rule_put(struct buf *out, const struct sender_rule *r, bool wide);
/* Errors stay in the cursor; whether it can be is sender_rule_ok's to say. */
void sender_rule_get(struct cursor *c, struct sender_rule *out, bool wide);

#endif
