/* A sealed segment's summary: all its records but the chunks, and the commits without their bodies, so that a
 * start reads a few megabytes for a segment instead of 64. Derived data: a missing or bad one only means
 * reading the segment. See docs/spool-format.md.
 */
#ifndef SPOOL_SUMMARY_H
#define SPOOL_SUMMARY_H

#include "spool/replay.h"

struct summary {
    uint8_t *bytes; /* the whole file */
    size_t len;
    uint32_t number;
    uint64_t salt;
    uint64_t end; /* size of the segment */
    uint64_t id_floor;
    uint64_t batch;
    uint64_t records;
};

/* Reads and checks it whole: ERR_CORRUPT, ERR_NOT_FOUND, ERR_LIMIT or another error. */
int summary_load(const struct disk *disk, const char *path, uint32_t number, struct summary *out);
void summary_unload(struct summary *m);
/* As replay_run does for the segment. A commit's payload has no inline block (its length says 0) and
 * `full_len` is what it has in the segment. */
typedef int summary_fn(void *ctx, const struct replay_record *r, uint32_t full_len);
int summary_each(const struct summary *m, summary_fn *fn, void *ctx);

#endif
