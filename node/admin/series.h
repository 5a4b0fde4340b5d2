/* What a node did in the last hour and day, for plots: counts per minute and per ten minutes in two rings
 * that never grow. A thread looks every few seconds (series_start); the rings themselves are pure, told the
 * time.
 *
 * Slots are places of the wall clock, so that those of several nodes can be added up. A clock that goes back
 * puts what comes next into the newest slot; one that jumps ahead leaves a gap.
 */
#ifndef NODE_ADMIN_SERIES_H
#define NODE_ADMIN_SERIES_H

#include "node/admin/ops.h"

#define SERIES_SLOTS_MAX 144
#define SERIES_LOOK_MS 5000

enum series_window { SERIES_HOUR, SERIES_DAY, SERIES_WINDOWS };
enum { /* counts since the process began, which a slot has the difference of; then what there is at present */
       SERIES_RECEIVED,
       SERIES_DELIVERED,
       SERIES_DEFERRED,
       SERIES_BOUNCED,
       SERIES_REJECTED,
       SERIES_AUTH_FAILED,
       SERIES_COUNTS,
       SERIES_QUEUED = SERIES_COUNTS,
       SERIES_HELD,
       SERIES_SESSIONS_IN,
       SERIES_SESSIONS_OUT,
       SERIES_KINDS
};

struct series_sample {
    uint64_t v[SERIES_KINDS];
};

struct series_slot {
    bool known; /* the node was there */
    uint64_t v[SERIES_KINDS];
};

struct series;

struct series *series_new(void);
/* Ends its thread. NULL is harmless. */
void series_free(struct series *s);

void series_add(struct series *s, int64_t now_ms, const struct series_sample *sample);
/* The oldest first; the last one is that of `now_ms`. How many, and where the first begins. */
uint32_t series_read(struct series *s, enum series_window w, int64_t now_ms,
                     struct series_slot out[SERIES_SLOTS_MAX], int64_t *from_ms);
int64_t series_step_ms(enum series_window w);
/* "received" */
const char *series_kind_name(uint32_t kind);

/* A thread that asks ops->status. 0 or a negative errno. series_stop before ops end. */
int series_start(struct series *s, const struct admin_ops *ops);
void series_stop(struct series *s);

#endif
