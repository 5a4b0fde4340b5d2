/* One event as a line of JSON. Pure. For events.c and its tests. */
#ifndef NODE_TELEMETRY_EVENTS_JSON_H
#define NODE_TELEMETRY_EVENTS_JSON_H

#include "base/buf.h"
#include "node/telemetry/events.h"

/* "2026-11-21T21:00:00." of the second that was formatted last. */
struct events_clock {
    int64_t second;
    char text[24];
    size_t n;
};

/* Appends the line with its end; e->ts_ms is set. `node` is JSON already, with its quotes. On an error what
 * was appended of it is to be taken back by the caller. */
int events_json_put(struct buf *out, const struct event *e, struct span node, struct events_clock *clock);

/* The line that tells of lost events. */
int events_json_put_dropped(struct buf *out, uint64_t count, int64_t ts_ms, struct span node,
                            struct events_clock *clock);

#endif
