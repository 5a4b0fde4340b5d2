/* The cluster's policy as the machine needs it: compiled from the operator's YAML before it is proposed (node/policy),
 * carried beside the text. Pure: the structure and its encoding.
 */
#ifndef CONSENSUS_POLICY_H
#define CONSENSUS_POLICY_H

#include "base/buf.h"
#include "base/cursor.h"
#include "consensus/command.h"
#include "consensus/sender_rule.h"

#define POLICY_LIMITS_MAX 64
#define POLICY_LIMIT_NAME 64     /* bytes with the NUL */
#define POLICY_CHAIN_MAX 16      /* limits that one sender has */
#define POLICY_TEXT_MAX (4u << 20)
#define POLICY_WINDOW_MIN_MS 5000
#define POLICY_WINDOW_MAX_MS (31ll * 86400000)
#define POLICY_CLASSES COMMAND_CLASSES
#define POLICY_COUNT_MAX 1000000000000ull /* of a limit or an override: sums of them fit in 64 bits */
#define POLICY_TTL_MIN_MS 100
#define POLICY_TTL_MAX_MS 60000
#define POLICY_MARGIN_MIN_MS 50
#define POLICY_MARGIN_MAX_MS 60000
#define POLICY_LEVEL_LEAST 6 /* of policy_compiled.level: what it is encoded in has no place for it before */

/* "count recipients per window" of each account, or of each tenant as a whole. */
struct policy_limit {
    char name[POLICY_LIMIT_NAME]; /* unique; what replies and overrides call it */
    uint8_t scope;                /* enum command_scope */
    uint8_t classes;              /* bits 1 << class: accounts that it is for; tenants: mail of such accounts counts.
                                     0: of accounts that a rule slows, each such rule having one of its own */
    uint64_t count;
    uint64_t window_ms;
};
struct policy_compiled {
    int64_t session_ttl_ms, session_margin_ms; /* 0: the built-in ones */
    uint32_t voters;                           /* 1, 3 or 5; 0: 3 */
    bool hold_when_cut_off;                    /* a node without quorum starts no delivery either */
    uint32_t max_rcpts[POLICY_CLASSES];        /* per message; 0: the node's own limit */
    uint8_t freeze_mode;                       /* default of `turnpike freeze`; 0: auto */
    uint32_t nlimits;
    struct policy_limit limits[POLICY_LIMITS_MAX];
    uint32_t nsender_rules; /* from feature level 5 on */
    struct sender_rule sender_rules[SENDER_RULES_MAX];
    uint8_t level; /* feature level that its document needs; 0: none, or one below POLICY_LEVEL_LEAST */
};
/* The feature level that a cluster needs to understand it. */
uint32_t policy_level(const struct policy_compiled *p);

/* ERR_BAD: something that policy_decode would not take. */
int policy_encode(const struct policy_compiled *p, struct buf *out);
/* ERR_TORN, ERR_CORRUPT: out of range, names twice, more than POLICY_CHAIN_MAX limits for one class. */
int policy_decode(struct cursor *c, struct policy_compiled *out);

/* The rule whose limit it is; NULL: none, it is one of the document's own. */
const struct sender_rule *policy_slow_rule(const struct policy_compiled *p, const struct policy_limit *l);
/* What holds until a policy was applied. */
void policy_default(struct policy_compiled *out);

#endif
