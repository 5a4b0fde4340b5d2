/* When a leader may say that a session has expired. Pure: it is given CLOCK_BOOTTIME.
 *
 * The leader counts TTL + margin from the moment it applied a renewal itself; a new leader counts all
 * sessions afresh from its own start (it cannot know when the old one applied them). A node counts TTL from
 * the first send of its renewal, which was earlier: so a node always stops before the cluster believes that
 * it did.
 */
#ifndef CONSENSUS_LEASE_H
#define CONSENSUS_LEASE_H

#include "consensus/machine.h"

struct lease;

struct lease *lease_new(void);
void lease_free(struct lease *l);
/* This node became leader (after its barrier): every session of the machine counts from now on. */
void lease_start(struct lease *l, const struct machine *m, int64_t boot_ms);
/* It no longer is. */
void lease_stop(struct lease *l);
/* After each apply while leading: sessions and renewals that are new since. */
void lease_applied(struct lease *l, const struct machine *m, const struct machine_effects *effects,
                   int64_t boot_ms);
/* Encodes SESSION_EXPIRE commands for those whose time is over; asks for each one again only after a second.
 */
int lease_due(struct lease *l, const struct machine *m, int64_t boot_ms, struct buf *out, uint32_t *n);
/* How long until the session would be expired; 0: now; -1: unknown. For freeze's progress. */
int64_t lease_left_ms(const struct lease *l, uint64_t session, int64_t boot_ms);

#endif
