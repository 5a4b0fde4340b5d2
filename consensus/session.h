/* Sessions of nodes, and the memory of what they were answered. Part of the machine: see machine_impl.h.
 *
 *              SESSION_OPEN               SESSION_OPEN, member removed
 *     (none) ---------------> current ---------------------------------> waited for
 *                                |                                           |
 *                                |  SESSION_CLOSE, or SESSION_EXPIRE that    |
 *                                |  names the last renewal                   |
 *                                +------------------> (none) <---------------+
 */
#ifndef CONSENSUS_SESSION_H
#define CONSENSUS_SESSION_H

#include "consensus/machine_impl.h"

#define SESSION_WINDOW 1024     /* answers remembered, from the lowest unanswered one */
#define SESSION_PER_NODE_MAX 64 /* waited for; over it a node opens no other */

struct sessions *sessions_new(void);
void sessions_free(struct sessions *s);
int session_restored(struct machine *m);

/* Before a command is applied: true: go on; false: r says all (a repeat's answer, or why not). */
bool session_admit(struct machine *m, const struct machine_at *at, const struct command *cmd,
                   struct machine_result *r);
/* After it was applied: keeps the answer. 0 or -ENOMEM. */
int session_remember(struct machine *m, const struct command *cmd, const struct machine_result *r);
/* SESSION_* and CANCEL. 0 or -ENOMEM. */
int session_apply(struct machine *m, const struct machine_at *at, const struct command *cmd,
                  struct machine_result *r);
/* Whose current session it is; 0: nobody's. */
uint64_t session_node(const struct machine *m, uint64_t session);
void session_totals(const struct machine *m, struct machine_totals *out);

#endif
