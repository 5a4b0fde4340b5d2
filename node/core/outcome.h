/* What came of an attempt is recorded: states in the spool, reports to the sender where one is due, the event
 * log, counters and history. The worker's thread.
 */
#ifndef NODE_CORE_OUTCOME_H
#define NODE_CORE_OUTCOME_H

#include "node/core/attempt.h"

/* The results are set. Takes the attempt and ends its item: done, deferred, or put back; recipients that need
 * a report stay in flight until the report is on disk. `c` is the connection that was used, or NULL. */
void outcome_settle(struct attempt *a, const struct conn *c);

/* The queue found an item too old (it is in flight), or waiting for long (it stays where it is). */
void outcome_expired(struct egress *e, struct queue_item *item);
void outcome_delayed(struct egress *e, struct queue_item *item);
/* One that was held, and not released in time (it is in flight): it is returned to its sender, or deleted. */
void outcome_held_expired(struct egress *e, struct queue_item *item, bool drop);

/* An operator ends an item that is not in flight: with a bounce that says `text` ("5.7.1 reason"), or by
 * deleting it. Both take it out of the queue. 0; ERR_BUSY: it is in flight. */
int outcome_bounce(struct egress *e, struct queue_item *item, const char *text);
int outcome_delete(struct egress *e, struct queue_item *item);

#endif
