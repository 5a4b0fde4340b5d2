/* Limits, their counters, and the tokens that nodes hold. Part of the machine: see machine_impl.h and
 * docs/ledger.md. */
#ifndef CONSENSUS_QUOTA_H
#define CONSENSUS_QUOTA_H

#include "consensus/machine_impl.h"

struct quotas *quotas_new(struct machine *m);
void quotas_free(struct quotas *q);
int quota_restored(struct machine *m);

/* GRANT and RETURN of a session of `node`. 0 or -ENOMEM. */
int quota_apply(struct machine *m, const struct machine_at *at, uint64_t node, const struct command *cmd,
                struct machine_result *r);
/* Nobody can give back what the node holds any more. 0 or -ENOMEM. */
int quota_burn_node(struct machine *m, uint64_t node);
/* All windows count as full from now on: what was granted is not known (a new epoch). */
void quota_fill(struct machine *m);
/* LIMITS_REOPEN: ends that. 0 or -ENOMEM. */
int quota_reopen(struct machine *m, const struct machine_at *at, const struct command *cmd,
                 struct machine_result *r);
/* At the end of an entry: forgets some of what has left its windows. */
void quota_sweep(struct machine *m, uint32_t commands, uint64_t elapsed_ms);
void quota_totals(const struct machine *m, struct machine_totals *out);
/* Counts everything again and compares (ensure): for tests. */
void quota_check(const struct machine *m);

#endif
