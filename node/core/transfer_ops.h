/* What struct admin_cluster has about mail that moves; `ctx` is the struct node. */
#ifndef NODE_CORE_TRANSFER_OPS_H
#define NODE_CORE_TRANSFER_OPS_H

#include "node/admin/cluster.h"

int transfer_op_list(void *ctx, admin_transfer_fn *fn, void *arg, struct admin_transfers *all);
int transfer_op_cancel(void *ctx, const struct admin_caller *by, const char *batch, struct admin_error *e);
int transfer_op_take(void *ctx, const struct admin_caller *by, const char *batch, struct admin_error *e);
int transfer_op_forget(void *ctx, const struct admin_caller *by, const char *node, uint32_t *ended,
                       uint32_t *kept, struct admin_error *e);
int transfer_op_move(void *ctx, const struct admin_caller *by, const struct admin_selector *sel,
                     uint64_t node, bool dry_run, uint64_t *messages, struct admin_error *e);
int transfer_op_adopt(void *ctx, const struct admin_caller *by, const char *dir, const char *node,
                      struct admin_adopted *out, struct admin_error *e);

#endif
