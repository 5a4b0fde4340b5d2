/* Senders' standing: the leader looks at their records (node/bounce/reputation.h) and proposes what changes;
 * each node chooses pools by it (node/core/pools.h). Where the policy has it off, nothing is judged, and
 * standings count for nothing. The cluster thread, on the leader.
 */
#ifndef NODE_CORE_REPUTATION_H
#define NODE_CORE_REPUTATION_H

#include <stdint.h>

#define REPUTATION_PAGE 500       /* records looked at in one tick */
#define REPUTATION_CHANGES_MAX 8  /* proposed in one tick */
#define REPUTATION_EVERY_MS 10000 /* at most so often all are looked at */

struct cluster;

void reputation_tick(struct cluster *c, int64_t now_ms);

#endif
