/* What a cluster of a test begins with, as commands: for the fixtures that apply them each in their own way.
 */
#ifndef TEST_MACHINE_FOUNDING_H
#define TEST_MACHINE_FOUNDING_H

#include "consensus/machine.h"
#include "consensus/policy.h"

/* Has the command applied, in an entry of its own. */
typedef struct machine_result founding_apply_fn(struct command *cmd);

/* Members 1 to n, "n1" and so on; n up to 9. */
void founding_members(uint32_t n, founding_apply_fn *apply);
/* They all know that feature level, and it is put in force. */
void founding_raise(uint32_t n, uint32_t level, founding_apply_fn *apply);
/* `upload` tells one policy's upload from the next. */
void founding_policy(const struct policy_compiled *p, uint8_t upload, founding_apply_fn *apply);

#endif
