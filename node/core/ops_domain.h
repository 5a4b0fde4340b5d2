/* The admin API's check of a sender's domain. See node/admin/ops.h. */
#ifndef NODE_CORE_OPS_DOMAIN_H
#define NODE_CORE_OPS_DOMAIN_H

#include "node/admin/ops.h"

int ops_domain_check(void *ctx, const struct admin_domain_check *q, admin_domain_fn *fn, void *arg,
                     struct admin_error *e);

#endif
