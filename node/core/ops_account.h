/* The admin API's functions on accounts. See node/admin/ops.h. */
#ifndef NODE_CORE_OPS_ACCOUNT_H
#define NODE_CORE_OPS_ACCOUNT_H

#include "node/admin/ops.h"

int ops_account_list(void *ctx, const char *after, uint32_t limit, admin_account_fn *fn, void *arg,
                     struct admin_error *e);
int ops_account_add(void *ctx, const struct admin_account *a, const struct admin_caller *by,
                    struct admin_error *e);
int ops_account_passwd(void *ctx, const char *name, const char *password, const struct admin_caller *by,
                       struct admin_error *e);
int ops_account_remove(void *ctx, const char *name, const struct admin_caller *by, struct admin_error *e);
int ops_account_import(void *ctx, const struct admin_account *a, uint32_t n, bool replace,
                       const struct admin_caller *by, admin_import_fn *each, void *arg,
                       struct admin_error *e);

#endif
