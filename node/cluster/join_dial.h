/* One exchange of a joiner with one node: TCP, TLS 1.3, the request, the answer. Blocking. */
#ifndef NODE_CLUSTER_JOIN_DIAL_H
#define NODE_CLUSTER_JOIN_DIAL_H

#include "base/buf.h"

#include <stdint.h>

/* 0, or one line in `why` and: ERR_DENIED: another cluster's node; ERR_FAILED: not such a node at all, or its
 * certificate is not good now; ERR_TIMEOUT, ERR_CLOSED, -errno: perhaps later. `deadline_ms` on
 * clock_boot_ms. */
int join_dial(const char *address, const uint8_t ca_sha256[32], int64_t deadline_ms, struct span request,
              struct buf *answer, struct buf *why);

#endif
