/* The admin API's functions that look: content, history, busiest senders and sites. See node/admin/ops.h. */
#ifndef NODE_CORE_OPS_LOOK_H
#define NODE_CORE_OPS_LOOK_H

#include "node/admin/ops.h"

int ops_content_open(void *ctx, const char *id, bool headers_only, const struct admin_caller *by,
                     struct admin_content **out, struct admin_error *e);
int ops_content_next(void *ctx, struct admin_content *c, const char **p, size_t *n);
void ops_content_close(void *ctx, struct admin_content *c);
int ops_erase(void *ctx, const char *address, const struct admin_caller *by, uint64_t *rows, bool *living,
              struct admin_error *e);
int ops_track(void *ctx, const struct admin_track *q, const struct admin_page *page, admin_row_fn *fn,
              void *arg, struct admin_track_info *info, struct admin_error *e);
int ops_top(void *ctx, uint32_t limit, admin_top_fn *fn, void *arg, struct admin_error *e);
int ops_site_list(void *ctx, const char *state, const char *after, uint32_t limit, admin_site_fn *fn,
                  void *arg, struct admin_error *e);

#endif
