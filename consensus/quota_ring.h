/* What was charged lately, in buckets of a fixed width with absolute numbers: only those that have something,
 * 2, 4 or 8 bytes each. Pure.
 *
 * A number is never used again for another time: a refund to a bucket that has left finds nothing.
 */
#ifndef CONSENSUS_QUOTA_RING_H
#define CONSENSUS_QUOTA_RING_H

#include "base/buf.h"
#include "base/cursor.h"

#include <stdbool.h>
#include <stdint.h>

#define QUOTA_RING_SPAN 255                      /* newest minus oldest bucket at most */
#define QUOTA_RING_COUNT_MAX (UINT64_C(1) << 55) /* in one bucket */

struct quota_ring { /* zeroed: empty */
    uint64_t base;  /* number of the oldest bucket */
    uint64_t sum;   /* of all */
    void *words;    /* ascending: the number relative to base in 8 bits, the count in the rest */
    uint16_t n, cap;
    uint8_t width; /* of a word: 1 << width bytes */
};

void quota_ring_fini(struct quota_ring *r);
/* -ENOMEM */
int quota_ring_add(struct quota_ring *r, uint64_t bucket, uint64_t count);
/* Takes at most `count` out of a bucket; returns how many. */
uint64_t quota_ring_take(struct quota_ring *r, uint64_t bucket, uint64_t count);
/* Forgets buckets below `oldest`. */
void quota_ring_prune(struct quota_ring *r, uint64_t oldest);
uint64_t quota_ring_sum_from(const struct quota_ring *r, uint64_t oldest);
uint64_t quota_ring_get(const struct quota_ring *r, uint64_t bucket);
/* The i-th bucket that has something. */
void quota_ring_at(const struct quota_ring *r, uint32_t i, uint64_t *bucket, uint64_t *count);
size_t quota_ring_bytes(const struct quota_ring *r);

void quota_ring_encode(const struct quota_ring *r, struct buf *out);
/* ERR_TORN, ERR_CORRUPT, -ENOMEM; the ring is then to be finished as ever. */
int quota_ring_decode(struct cursor *c, struct quota_ring *r);

#endif
