/* A sender's standing by what became of the mail: good, neutral or poor. Pure. Shares are per mille: bounces
 * of all that ended, complaints of all that was delivered.
 *
 * Worse is acted upon at once. For better, and for neutral because there is too little mail to tell, a sender
 * must have been where he is for `hold_ms`: else one who sits on a bound would move to and fro.
 */
#ifndef NODE_BOUNCE_REPUTATION_H
#define NODE_BOUNCE_REPUTATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum reputation_tier { REPUTATION_NEUTRAL, REPUTATION_GOOD, REPUTATION_POOR };

struct reputation_rules {
    uint32_t minimum;                       /* recipients that ended; fewer: too little to tell */
    uint32_t good_bounces, good_complaints; /* at most both: good */
    uint32_t poor_bounces, poor_complaints; /* more than one of them: poor */
    int64_t hold_ms;
};

struct reputation_counts {
    uint64_t delivered, bounced, complaints;
};

/* `tier`: the present one, for the last `since_ms`; `any`: there is a present one (else no time is waited
 * for). */
enum reputation_tier reputation_next(const struct reputation_rules *rules,
                                     const struct reputation_counts *counts, bool any,
                                     enum reputation_tier tier, uint64_t since_ms);
/* "12.3% of 1200 bounced, 0.1% complaints". */
void reputation_words(const struct reputation_counts *counts, char *out, size_t n);

/* ---- source addresses ---------------------------------------------------------------------------------- */

/* When an address is to rest for a site: policy, reputation.addresses. */
struct reputation_rest {
    bool enabled;
    uint32_t refused_pct; /* of at least */
    uint32_t at_least;    /* recipients that the site answered for within */
    int64_t within_ms;
    uint32_t classes; /* bits 1 << enum bounce_class: what counts against the address */
    int64_t rest_ms;
    uint32_t first; /* messages after the rest, before it is looked what became of them */
};
/* `answered`: without what was greylisted; `against`: of these. Enough is known, and it is bad enough. */
bool reputation_rests(const struct reputation_rest *rules, uint64_t answered, uint64_t against);

#endif
