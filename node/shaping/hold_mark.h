/* Why a recipient is held, and since when; or when it was released. It stands behind the words that the spool
 * keeps of a recipient, before the marks of pools and greylisting (pool_mark.h, grey_mark.h), so that it goes
 * wherever they go: over a restart, through compaction, to another node. Records without it are read as they
 * were. Pure; any thread.
 *
 *     held by an operator<US>hold operator 1700000000 unix:uid=0,pid=77: looks odd
 *
 * <US> is the control character 1F, which no reply has. A message that was held when it was accepted has the
 * same in its envelope, without the time: that is its arrival.
 *
 * What was held when it was accepted has not been charged to its sender's limits: hold_charged.
 */
#ifndef NODE_SHAPING_HOLD_MARK_H
#define NODE_SHAPING_HOLD_MARK_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define HOLD_TEXT_MAX 120 /* bytes of a mark's text: longer ones are cut */
#define HOLD_MARK_MAX 160 /* of a whole mark */

enum hold_kind {
    HOLD_FROZEN,     /* its sender is frozen, in mode hold */
    HOLD_OVER_LIMIT, /* its sender had no quota left */
    HOLD_RULE,       /* a rule about senders */
    HOLD_CONTENT,    /* a verdict on its content */
    HOLD_OPERATOR,   /* an operator, after it was accepted and charged */
    HOLD_RELEASED,   /* it was held, and is no longer */
    HOLD_KINDS
};

/* "frozen", "over_limit" and the like; the name of a reason, not of HOLD_RELEASED, -1: none. */
const char *hold_kind_name(enum hold_kind kind);
int hold_kind_parse(struct span name);

struct hold_mark {
    enum hold_kind kind;
    int64_t since_ms; /* wall clock, in steps of 10 s */
    struct span text; /* limit, rule, operator; may be empty */
};

/* False: it has none. `words`: the text without it and what follows it. */
bool hold_mark_parse(struct span text, struct hold_mark *out, struct span *words);
/* The words with a mark behind them; both are cut to fit. Control characters become blanks. */
struct span hold_mark_format(const struct hold_mark *m, struct span words, char out[512]);
/* Cuts the mark off the end of words that no other mark follows; returns it as it stands there, or nothing. */
struct span hold_mark_cut(struct span *words);

/* "over_limit account-hour": as an envelope has it. */
struct span hold_reason_format(enum hold_kind kind, struct span text, char out[HOLD_MARK_MAX]);
/* HOLD_FROZEN for an empty one: what was born held before reasons were kept. */
void hold_reason_parse(struct span text, struct hold_mark *out);

/* Its recipients were charged when it was accepted. */
static inline bool hold_charged(enum hold_kind kind)
{
    return kind == HOLD_OPERATOR;
}

#endif
