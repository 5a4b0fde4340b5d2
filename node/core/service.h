/* What a node runs beside its workers: the event log, the history, the admin server. The main thread. */
#ifndef NODE_CORE_SERVICE_H
#define NODE_CORE_SERVICE_H

#include "node/core/node.h"

int service_open_telemetry(struct node *n);
/* What ended, from the spool to the history: at start with the envelope, later the workers' notes bring it.
 */
void service_spool_ended_cb(void *history, uint64_t id, const struct envelope *env,
                            const struct spool_rcpt_update *u, uint32_t n, uint64_t seq);
/* The spool is open: the history may tell it what is safe. */
void service_spool_opened(struct node *n);
/* It is about to go: the history takes what ends to the last, but tells it nothing any more. */
void service_spool_closing(struct node *n);
/* Binds the admin sockets, before any thread exists; then, when the node runs, serves them. */
int service_open_admin(struct node *n);
int service_run_admin(struct node *n);
void service_close_admin(struct node *n);
void service_close_telemetry(struct node *n);
/* Log files may have been rotated, and settings may be new. */
void service_set_log_level(const struct config *config);
void service_reopen_logs(struct node *n, const struct config *fresh);

#endif
