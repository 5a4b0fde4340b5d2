/* What is done to a stopped node's membership by `turnpiked --recover-cluster` and `--restore-cluster FILE`:
 * this node alone begins a new epoch of its cluster. The process does nothing else: it prints what it does and
 * exits with what these return (sysexits.h).
 */
#ifndef NODE_CORE_RECOVER_H
#define NODE_CORE_RECOVER_H

#include "node/config/config.h"

/* After the majority was lost: this node's state becomes the cluster's. `look`: only says what there is, so
 * that the node with the latest state can be chosen. */
int recover_cluster(const struct config *config, bool look);
/* From a file that `turnpike cluster backup` wrote, on a node that is no member. */
int recover_restore(const struct config *config, const char *file);

#endif
