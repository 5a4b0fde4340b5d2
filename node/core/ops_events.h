/* The admin API's look at the event log. See node/admin/ops.h. */
#ifndef NODE_CORE_OPS_EVENTS_H
#define NODE_CORE_OPS_EVENTS_H

#include "node/admin/ops.h"

int ops_events(void *ctx, const struct admin_events *q, struct admin_events_info *info, struct buf *out,
               struct admin_error *e);

#endif
