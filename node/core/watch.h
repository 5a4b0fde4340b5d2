/* What the main thread looks at now and then while the node runs: certificates about to end, and for systemd
 * the node's status and its watchdog. The watchdog is told that all is well only while every worker's loop
 * turns, so that a hanging worker is noticed as a hanging process would be.
 */
#ifndef NODE_CORE_WATCH_H
#define NODE_CORE_WATCH_H

#include "node/core/node.h"

struct watch;

/* The node runs: READY=1 to systemd, and a timer on the node's loop. */
int watch_new(struct node *n, struct watch **out);
/* A reload begins, and is over. */
void watch_reloading(struct watch *w);
void watch_reloaded(struct watch *w);
/* No timer from now on. */
void watch_stop(struct watch *w);
/* After the workers are gone, and before the loop's last turn. */
void watch_free(struct watch *w);

/* Warns of certificates that end within two weeks; returns when the first one ends (seconds since 1970), 0:
 * there is none. The main thread. */
int64_t watch_certificates(const struct listeners *ls, int64_t now_ms);

#endif
