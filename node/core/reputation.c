/* Senders' standing: see reputation.h. */
#include "node/core/reputation.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "consensus/directory.h"
#include "node/core/cluster_impl.h"
#include "node/policy/policy.h"

#include <string.h>

#define SUBMIT_MS 30000

_Static_assert((int)REPUTATION_NEUTRAL == COMMAND_TIER_NEUTRAL, "one number");
_Static_assert((int)REPUTATION_GOOD == COMMAND_TIER_GOOD, "one number");
_Static_assert((int)REPUTATION_POOR == COMMAND_TIER_POOR, "one number");

struct look {
    struct cluster *c;
    const struct policy *policy;
    uint32_t seen, changes;
};

static bool submit(struct look *k, struct command *cmd)
{
    int err = agent_submit(k->c->agent, cmd, SUBMIT_MS, NULL, NULL);
    if (err != 0)
        log_debug("bounces", "a sender's standing is not changed now: %s", err_text(err));
    k->changes++;
    return err == 0;
}

static void judge(struct look *k, struct span account, const struct reputation_counts *counts)
{
    const struct machine *m = k->c->m;
    struct directory_standing s = { 0 };
    char words[COMMAND_STANDING_REASON_MAX];
    bool any = directory_standing_find(m, account, &s);
    if (s.pinned)
        return;
    uint64_t since = any ? machine_now_ms(m) - s.since_ms : 0;
    const struct reputation_rules *rules = &k->policy->reputation.rules;
    enum reputation_tier next = reputation_next(rules, counts, any, (enum reputation_tier)s.tier, since);
    if ((uint8_t)next != s.tier) {
        reputation_words(counts, words, sizeof words);
        struct command cmd = { .type = COMMAND_STANDING_SET,
                               .standing_set = { .by = { .who = SPAN_LIT("reputation"),
                                                         .wall_ms = clock_wall_ms(),
                                                         .version = s.version },
                                                 .account = account,
                                                 .tier = (uint8_t)next,
                                                 .judged = true,
                                                 .reason = span_str(words) } };
        if (submit(k, &cmd))
            log_info("bounces", "sender %.*s is %s now: %s", (int)account.n, account.p,
                     directory_tier_name((uint8_t)next), words);
    } else if (any && s.tier == COMMAND_TIER_NEUTRAL && since >= (uint64_t)rules->hold_ms) {
        struct command cmd = { .type = COMMAND_STANDING_FORGET,
                               .record_forget = { .account = account, .entry = s.version } };
        (void)submit(k, &cmd);
    }
}

/* Where the next page begins; nonzero: this one is full. */
static int passed(struct look *k, struct span account)
{
    memcpy(k->c->reputation.at, account.p, account.n);
    k->c->reputation.at[account.n] = '\0';
    return ++k->seen == REPUTATION_PAGE || k->changes == REPUTATION_CHANGES_MAX;
}

static int on_record(void *arg, const struct directory_record *r)
{
    struct look *k = arg;
    enum directory_record_window w = (enum directory_record_window)k->policy->reputation.window;
    judge(k, r->account,
          &(struct reputation_counts){ .delivered = r->counts[w][RECORD_DELIVERED],
                                       .bounced = directory_record_sum(r, w, RECORD_HARD, RECORD_HARD_END),
                                       .complaints = r->counts[w][RECORD_COMPLAINT] });
    return passed(k, r->account);
}

/* Of whom there is no record any more. */
static int on_standing(void *arg, const struct directory_standing *s)
{
    struct look *k = arg;
    struct directory_record r;
    if (!directory_record_find(k->c->m, s->account, &r))
        judge(k, s->account, &(struct reputation_counts){ 0 });
    return passed(k, s->account);
}

static void look(struct cluster *c, const struct policy *policy, int64_t now_ms)
{
    struct look k = { .c = c, .policy = policy };
    char after[COMMAND_NAME_MAX + 1];
    if (!c->reputation.busy && now_ms - c->reputation.begun_ms < REPUTATION_EVERY_MS)
        return;
    if (!c->reputation.busy) {
        c->reputation.busy = true;
        c->reputation.standings = false;
        c->reputation.begun_ms = now_ms;
        c->reputation.at[0] = '\0';
    }
    memcpy(after, c->reputation.at, sizeof after);
    int full = c->reputation.standings ? directory_standing_each(c->m, span_str(after), on_standing, &k)
                                       : directory_record_each(c->m, span_str(after), on_record, &k);
    if (full != 0)
        return;
    c->reputation.busy = !c->reputation.standings;
    c->reputation.standings = true;
    c->reputation.at[0] = '\0';
}

void reputation_tick(struct cluster *c, int64_t now_ms)
{
    struct policy *policy = cluster_policy(c);
    if (policy != NULL && policy->reputation.enabled &&
        command_type_level(COMMAND_STANDING_SET) <= machine_features(c->m))
        look(c, policy, now_ms);
    policy_rele(policy);
}
