/* Who may not send. Part of the machine: see machine_impl.h. */
#ifndef CONSENSUS_FREEZE_H
#define CONSENSUS_FREEZE_H

#include "consensus/machine_impl.h"

struct freezes *freezes_new(void);
void freezes_free(struct freezes *f);
int freeze_restored(struct machine *m);

/* What FREEZE does, for those who tell people of it by themselves. 0 or -ENOMEM. */
int freeze_sender(struct machine *m, const struct machine_at *at, const struct command_freeze *c,
                  struct machine_result *r);
/* FREEZE and THAW, of operators: people may be told. 0 or -ENOMEM. */
int freeze_apply(struct machine *m, const struct machine_at *at, const struct command *cmd,
                 struct machine_result *r);
/* Appends THAW for what has reached its end. */
int freeze_due(struct machine *m, uint64_t now_ms, struct buf *out, uint32_t *n);
/* Whether the account, or its tenant, is frozen in a mode that accepts nothing; *scope: which of them. */
bool freeze_refuses(const struct machine *m, struct span account, struct span tenant, uint8_t *scope);
void freeze_totals(const struct machine *m, struct machine_totals *out);

#endif
