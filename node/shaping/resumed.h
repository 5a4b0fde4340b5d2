/* What operators have ended against destinations, and when: a node that could not be reached then may still
 * have it in force, and say so when it comes back. Bounded, pure; one thread. Times are wall clock in ms.
 */
#ifndef NODE_SHAPING_RESUMED_H
#define NODE_SHAPING_RESUMED_H

#include "base/span.h"
#include "node/shaping/holds.h"

#define SHAPING_RESUMED_MAX 64 /* the oldest goes */
#define SHAPING_RESUMED_MS INT64_C(3600000)

struct shaping_resumed {
    struct {
        char *text;              /* key and source */
        struct span key, source; /* source empty: all */
        int64_t at_ms;
    } v[SHAPING_RESUMED_MAX];
    uint32_t n; /* ever; the newest is at the one before, modulo their number */
};

/* All zero is an empty one. */
void shaping_resumed_fini(struct shaping_resumed *r);
/* Copies. Without memory it is not remembered. */
void shaping_resumed_put(struct shaping_resumed *r, struct span key, struct span source, int64_t at_ms);
/* What has this key and source was ended within SHAPING_RESUMED_MS. */
bool shaping_resumed_has(const struct shaping_resumed *r, struct span key, struct span source,
                         int64_t now_ms);
/* All of them, as holds of kind SHAPING_NONE that say how long ago it was: until_ms is so much after now_ms.
 * Start with *at = 0; false ends. */
bool shaping_resumed_next(const struct shaping_resumed *r, uint32_t *at, int64_t now_ms,
                          struct shaping_hold *out);

#endif
