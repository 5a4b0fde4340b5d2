/* `turnpike probe`: a dialogue with a recipient's server up to RCPT, then QUIT; no mail is sent. */
#ifndef NODE_CORE_PROBE_H
#define NODE_CORE_PROBE_H

#include "node/admin/ops.h"
#include "node/core/worker.h"

/* As struct admin_ops says. */
int ops_probe_start(void *ctx, const struct admin_probe *p, const struct admin_caller *by,
                    struct admin_stream *s, struct admin_error *e);

/* The node stops: they end now. The worker's thread. */
void probe_stop_all(struct worker *w);

#endif
