/* Who sent and which sites took mail during the last minute: what `turnpike top` shows. Of one worker; its
 * thread.
 *
 * Counts are kept for the present minute and the one before; what is shown is their mean weighted by how far
 * the present one has gone. Bounded: when a table is full of keys that were busy within two minutes, new ones
 * are not counted.
 */
#ifndef NODE_CORE_ACTIVITY_H
#define NODE_CORE_ACTIVITY_H

#include "base/map.h"
#include "base/span.h"

#include <stdint.h>

#define ACTIVITY_KEYS_MAX 20000

enum activity_count {
    ACTIVITY_RECEIVED,
    ACTIVITY_DELIVERED,
    ACTIVITY_DEFERRED,
    ACTIVITY_BOUNCED,
    ACTIVITY_BYTES,
    ACTIVITY_COUNTS
};

struct activity {
    struct map keys;
    int64_t swept; /* the minute when the quiet ones were dropped last */
};

void activity_init(struct activity *a);
void activity_fini(struct activity *a);
void activity_add(struct activity *a, int64_t now_ms, struct span key, enum activity_count which, uint64_t n);

typedef void activity_fn(void *ctx, struct span key, const uint64_t counts[ACTIVITY_COUNTS]);
/* Each key that did something in the last minute. */
void activity_each(const struct activity *a, int64_t now_ms, activity_fn *fn, void *ctx);

#endif
