/* The last event lines in memory, for those who follow them: one writer appends blocks of lines, readers go
 * on from where they were. What a reader is too slow for is gone, and it is told so. Any thread.
 */
#ifndef NODE_TELEMETRY_EVENTS_TAIL_H
#define NODE_TELEMETRY_EVENTS_TAIL_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct events_tail;

/* Holds about `max_bytes` of lines. They are numbered from `first` on, which is not 0. NULL: no memory. */
struct events_tail *events_tail_new(size_t max_bytes, uint64_t first);
void events_tail_free(struct events_tail *t); /* nobody reads any more */

/* Whole lines. Without memory they are left out, as for a reader that is too slow. */
void events_tail_put(struct events_tail *t, struct span lines);

/* What a line must have: all of `all`, and one of `any` if there are any; as bytes. */
#define EVENTS_TAIL_WORDS 48
struct events_tail_filter {
    struct span all[EVENTS_TAIL_WORDS], any[EVENTS_TAIL_WORDS];
    uint32_t nall, nany;
};

/* The number of the newest line there is; before the first one: the number before it. */
uint64_t events_tail_last(struct events_tail *t);
/* Where to begin for the newest `n` lines that fit the filter: to be given to events_tail_read. */
uint64_t events_tail_back(struct events_tail *t, const struct events_tail_filter *filter, uint32_t n);
/* Gives the lines after number *after that fit, at most `n` of them, until fn says false: that line is given again.
 * Then *after is the number of the last one that was looked at. True: some that came in between are gone. */
typedef bool events_tail_fn(void *ctx, uint64_t number, struct span line);
bool events_tail_each(struct events_tail *t, uint64_t *after, const struct events_tail_filter *filter, uint32_t n,
                      events_tail_fn *fn, void *ctx);
/* Appends the lines after number *after that fit, at most `n` of them, and as many as `out` takes; else
 * as events_tail_each. */
bool events_tail_read(struct events_tail *t, uint64_t *after, const struct events_tail_filter *filter,
                      uint32_t n, struct buf *out);

#endif
