/* For the admin API: who is blocked for failed logins. */
#ifndef NODE_CORE_OPS_AUTH_H
#define NODE_CORE_OPS_AUTH_H

#include "node/admin/ops.h"

int ops_auth_blocked(void *ctx, admin_auth_block_fn *fn, void *arg, struct admin_error *e);
int ops_auth_unblock(void *ctx, const char *account, const char *address, const struct admin_caller *by,
                     uint32_t *ended, struct admin_error *e);

#endif
