/* A sender's standing by what became of the mail: see reputation.h. */
#include "node/bounce/reputation.h"

#include <inttypes.h>
#include <stdio.h>

/* part / all > permille / 1000; counts are far below 2^54. */
static bool over(uint64_t part, uint64_t all, uint32_t permille)
{
    return part * 1000 > all * permille;
}

static uint64_t ended(const struct reputation_counts *c)
{
    return c->delivered + c->bounced;
}

static enum reputation_tier judge(const struct reputation_rules *r, const struct reputation_counts *c)
{
    if (over(c->bounced, ended(c), r->poor_bounces) || over(c->complaints, c->delivered, r->poor_complaints))
        return REPUTATION_POOR;
    if (over(c->bounced, ended(c), r->good_bounces) || over(c->complaints, c->delivered, r->good_complaints))
        return REPUTATION_NEUTRAL;
    return REPUTATION_GOOD;
}

static bool worse(enum reputation_tier a, enum reputation_tier b)
{
    static const int rank[] = { [REPUTATION_POOR] = 0, [REPUTATION_NEUTRAL] = 1, [REPUTATION_GOOD] = 2 };
    return rank[a] < rank[b];
}

enum reputation_tier reputation_next(const struct reputation_rules *rules,
                                     const struct reputation_counts *counts, bool any,
                                     enum reputation_tier tier, uint64_t since_ms)
{
    bool enough = ended(counts) > 0 && ended(counts) >= rules->minimum;
    enum reputation_tier next = enough ? judge(rules, counts) : REPUTATION_NEUTRAL;
    bool held = any && since_ms < (uint64_t)rules->hold_ms;
    return held && !(enough && worse(next, tier)) ? tier : next;
}

bool reputation_rests(const struct reputation_rest *rules, uint64_t answered, uint64_t against)
{
    return rules->enabled && answered >= rules->at_least && against > 0 && against * 100 >= answered * rules->refused_pct;
}

void reputation_words(const struct reputation_counts *c, char *out, size_t n)
{
    uint64_t all = ended(c);
    snprintf(out, n, "%.1f%% of %" PRIu64 " bounced, %.1f%% complaints",
             all > 0 ? 100.0 * (double)c->bounced / (double)all : 0.0, all,
             c->delivered > 0 ? 100.0 * (double)c->complaints / (double)c->delivered : 0.0);
}
