/* Hands a message's recipients to the workers that own their sites: after its commit, and at start for each
 * message that the spool found alive. Any thread.
 */
#ifndef NODE_CORE_DISPATCH_H
#define NODE_CORE_DISPATCH_H

#include "node/core/route.h"
#include "node/core/worker.h"
#include "node/queue/queue.h"

/* What a worker's queue is given: the recipients of one message for one of its sites. */
struct dispatch_item {
    struct worker_msg msg;
    struct queue_item_info info; /* spans and arrays point behind this structure */
};

/* Groups by site and posts to the workers; `self` is the calling worker; NULL: at start, no worker runs yet;
 * `rcpts` NULL: all are new.
 * Recipients that are terminal are left out. The memory of the items is bounded by the spool's max_messages.
 * -ENOMEM: nothing lost on disk, what was not dispatched waits for the next start; told in the log. */
int dispatch_message(struct node *node, struct worker *self, const struct config *config,
                     const struct envelope *env, const struct spool_rcpt *rcpts);

/* The pool that a recipient goes out over: its sender's, or the one that it was moved to out of that, as
 * `reply` (the recipient's record in the spool) says, while that has an address. Points into the view or the
 * reply. */
struct pool_view;
struct span dispatch_pool(const struct pool_view *v, const struct envelope *env, struct span reply);

/* What a message asks of TLS. */
enum route_tls dispatch_tls(const struct envelope *env);
/* Who takes turns with a message: its account, or the reverse-path's domain. Points into the envelope. */
struct span dispatch_sender(const struct envelope *env);

/* The worker that owns a site. */
struct worker *dispatch_owner(struct node *node, struct span site);

#endif
