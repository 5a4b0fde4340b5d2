/* Tells people of what happens, as the policy's section `notifications` says: docs/notifications.md.
 *
 * One thread of its own. It reads the event log's lines as they come and puts what targets want into a queue
 * on disk (node/notify/queue.h); from there it is sent, again and again until it is taken. So a restart loses
 * none of what was queued. Alerts of the cluster, which every node knows, are sent by the node that leads: it
 * queues those that a target lacks by the replicated state, and has the state know what was taken
 * (directory_alert.c). When the leader is lost, the next one sends what is left, after a while in which the
 * lost one's last request has ended.
 */
#ifndef NODE_CORE_NOTIFY_H
#define NODE_CORE_NOTIFY_H

#include "node/admin/ops.h"
#include "node/core/node.h"

struct notify;

/* Main thread. Without a cluster there is no policy, and nothing is told: *out is NULL then. */
int notify_start(struct node *n, struct notify **out);
/* While workers and the cluster thread run: ends what is under way, waiting some seconds for it. NULL is
 * harmless, here and below. */
void notify_stop(struct notify *t);
/* After the admin server was closed. */
void notify_free(struct notify *t);

/* Any thread. For the admin API: see node/admin/ops.h. */
int notify_ops_status(void *ctx, struct admin_notify_target *out, uint32_t *n, struct admin_error *e);
int notify_ops_test(void *ctx, const char *target, const struct admin_caller *by, char id[96],
                    struct admin_error *e);
/* For /metrics. */
int notify_metrics(struct notify *t, struct buf *out);

#endif
