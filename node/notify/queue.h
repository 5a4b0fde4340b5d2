/* What this node has to tell, on disk: an SQLite file, so that neither a crash nor a restart loses any of it.
 * One thread.
 *
 * An item is one event for one target. Where a target groups, items of one key within the group's time are
 * told of as one message with their number: the first at once, further ones when the time is over.
 */
#ifndef NODE_NOTIFY_QUEUE_H
#define NODE_NOTIFY_QUEUE_H

#include "base/span.h"
#include "node/notify/event.h"

#include <stdbool.h>
#include <stdint.h>

#define NOTIFY_QUEUE_MAX 20000 /* items of one target: over it the oldest go, and are counted */

struct notify_queue;

/* One that is damaged is put aside. 0, or an error that the log has. */
int notify_queue_open(const char *path, struct notify_queue **out);
void notify_queue_close(struct notify_queue *q); /* NULL is harmless */

struct notify_item {
    const char *target; /* its name */
    const char *id;     /* unique for the target: one that is there already is left as it is */
    const char *tenant;
    uint64_t key;
    int64_t at_ms;  /* wall clock */
    uint64_t alert; /* its number in the cluster's state; 0: an event of this node */
    struct span line;
};
/* Between begin and commit all or nothing. 0 or ERR_FAILED. */
int notify_queue_begin(struct notify_queue *q);
int notify_queue_commit(struct notify_queue *q);
int notify_queue_put(struct notify_queue *q, const struct notify_item *item);

/* What is to be told of now: the first item of a key, and how many there are. Texts until the next call. */
struct notify_message {
    struct notify_item first;
    int64_t from, to; /* places in the queue, of its first and last item */
    uint32_t count;
    int64_t last_ms; /* when the last of them was */
    bool grouped;    /* by key; else it is one item */
};
/* Until fn returns nonzero; at most `limit`, in order. group_ms 0: each item by itself. Of an alert that was
 * told of already nothing comes. */
typedef int notify_queue_fn(void *arg, const struct notify_message *m);
int notify_queue_each(struct notify_queue *q, const char *target, int64_t now_ms, int64_t group_ms,
                      uint32_t limit, notify_queue_fn *fn, void *arg);
/* The message was told: its items go, but for alerts, which wait for the cluster to know. */
int notify_queue_told(struct notify_queue *q, const char *target, const struct notify_message *m,
                      int64_t now_ms);

/* Alerts that were told of here, of which the cluster has not been told. At most `max`; how many. */
uint32_t notify_queue_alerts_told(struct notify_queue *q, const char *target, uint64_t *alerts, uint32_t max);
/* It has been: the item goes. */
int notify_queue_alert_end(struct notify_queue *q, const char *target, uint64_t alert);
/* Another node tells of alerts from now on. */
int notify_queue_alerts_drop(struct notify_queue *q);

struct notify_depth {
    uint64_t n;
    int64_t oldest_ms; /* of those that wait; 0: none */
};
int notify_queue_depth(struct notify_queue *q, const char *target, struct notify_depth *out);
/* Forgets what is too old, over NOTIFY_QUEUE_MAX, and when what was told of last; how many items are lost. */
uint32_t notify_queue_trim(struct notify_queue *q, const char *target, int64_t before_ms, int64_t now_ms);
/* Items of targets that `keep` does not know. */
int notify_queue_forget(struct notify_queue *q, bool (*keep)(void *arg, const char *target), void *arg);

#endif
