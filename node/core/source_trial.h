/* Addresses that rested for a site because of their record, and what they may send when they come back: a few
 * messages, then four times as many, then sixteen times, each only after it is known what became of those
 * before; then as many as ever. If they are refused again, they rest again, and longer.
 *
 * Bounded: over SOURCE_TRIALS_MAX the one that was longest unused is forgotten, and comes back at once. Times
 * are a wall clock's in ms. Any thread; knows no sockets and no clock.
 */
#ifndef NODE_CORE_SOURCE_TRIAL_H
#define NODE_CORE_SOURCE_TRIAL_H

#include "base/span.h"
#include "node/bounce/reputation.h"
#include "node/net/ip.h"

#include <stdbool.h>
#include <stdint.h>

#define SOURCE_TRIALS_MAX 1024
#define SOURCE_TRIAL_STEPS 3
#define SOURCE_TRIAL_LONGER_MAX 3 /* a rest is at most 2^3 times as long as the policy says */

struct source_trials;
struct source_trials *source_trials_new(void); /* NULL: no memory */
void source_trials_free(struct source_trials *t);

/* It rests for the site (a key with its pool, as of holds) until then: a trial follows. */
void source_trial_rest(struct source_trials *t, struct span key, const struct ip_addr *addr, uint32_t first,
                       int64_t until_ms);
/* An operator says that it is well; `addr` NULL: all that have a trial there. */
void source_trial_end(struct source_trials *t, struct span key, const struct ip_addr *addr);
/* How much longer it is to rest this time: a power of two. */
uint32_t source_trial_longer(struct source_trials *t, struct span key, const struct ip_addr *addr);

/* Its messages of now are all sent. */
bool source_trial_limited(struct source_trials *t, struct span key, const struct ip_addr *addr,
                          int64_t now_ms);
/* One message is about to go. False: it may not. `*counts`: it is one of a trial's, of which
 * source_trial_result or source_trial_untake tells what became. */
bool source_trial_take(struct source_trials *t, struct span key, const struct ip_addr *addr, int64_t now_ms,
                       bool *counts);
void source_trial_untake(struct source_trials *t, struct span key, const struct ip_addr *addr);

enum source_trial_outcome { SOURCE_TRIAL_GOOD, SOURCE_TRIAL_BAD, SOURCE_TRIAL_NEITHER };
enum source_trial_verdict { SOURCE_TRIAL_GOES_ON, SOURCE_TRIAL_PASSED, SOURCE_TRIAL_FAILED };
/* FAILED: it is to rest again; until it does, the step begins anew. */
enum source_trial_verdict source_trial_result(struct source_trials *t, struct span key,
                                              const struct ip_addr *addr, enum source_trial_outcome outcome,
                                              const struct reputation_rest *rules);

uint32_t source_trials_count(struct source_trials *t);

#endif
