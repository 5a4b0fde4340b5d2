/* The admin API's functions that talk to the world: traces, probes, address checks. See node/admin/ops.h. */
#ifndef NODE_CORE_OPS_LIVE_H
#define NODE_CORE_OPS_LIVE_H

#include "node/admin/ops.h"

int ops_ip_check(void *ctx, const char *ip, admin_ip_fn *fn, void *arg, struct admin_error *e);
int ops_trace_start(void *ctx, const struct admin_trace *t, struct admin_stream *s, struct admin_error *e);
void ops_trace_stop(void *ctx, struct admin_stream *s);

#endif
