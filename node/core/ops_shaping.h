/* The admin API's operations on what is in force against destinations: see ops.c. Admin threads. */
#ifndef NODE_CORE_OPS_SHAPING_H
#define NODE_CORE_OPS_SHAPING_H

#include "node/admin/ops.h"

int ops_site_holds(void *ctx, const char *site, uint32_t limit, admin_hold_fn *fn, void *arg,
                   struct admin_error *e);
int ops_site_shares(void *ctx, const char *site, admin_site_share_fn *fn, void *arg, struct admin_error *e);
int ops_ip_record(void *ctx, const char *address, const char *site, admin_ip_site_fn *fn, void *arg,
                  struct admin_error *e);
int ops_site_hold(void *ctx, const struct admin_caller *by, const char *site, const char *action,
                  const char *source, int64_t for_ms, struct admin_error *e);

#endif
