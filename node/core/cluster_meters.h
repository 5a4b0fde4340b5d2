/* The cluster's part of /metrics. */
#ifndef NODE_CORE_CLUSTER_METERS_H
#define NODE_CORE_CLUSTER_METERS_H

#include "node/core/node.h"

/* Sets the gauges to what is so now; without a cluster they stay 0. An admin thread; waits for the cluster's.
 */
void cluster_meters_set(struct node *n);

#endif
