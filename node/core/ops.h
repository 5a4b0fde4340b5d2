/* The admin API's functions, implemented on the node. Each runs on an admin thread and reaches the workers by
 * worker_call. ops.c has the table; ops_queue.c, ops_act.c, ops_live.c and ops_account.c the larger ones.
 */
#ifndef NODE_CORE_OPS_H
#define NODE_CORE_OPS_H

#include "node/admin/ops.h"
#include "node/core/node.h"

void ops_fill(struct node *n, struct admin_ops *out);

int ops_queue_list(void *ctx, const struct admin_selector *sel, const struct admin_page *page,
                   admin_row_fn *fn, void *arg, struct admin_error *e);
int ops_queue_show(void *ctx, const char *id, admin_row_fn *fn, void *arg, struct admin_error *e);
int ops_queue_act(void *ctx, const struct admin_selector *sel, const struct admin_act_opts *opts,
                  struct admin_act_result *out, struct admin_error *e);
void ops_held(void *ctx, struct admin_held *out);
int ops_queue_summary(void *ctx, const struct admin_selector *sel, enum admin_group by, uint32_t limit,
                      admin_summary_fn *fn, void *arg, struct admin_summary_row *total,
                      struct admin_error *e);

#endif
