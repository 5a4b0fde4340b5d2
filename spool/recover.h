/* What the recovery of one spool carries along; for recover.c and its tests. */
#ifndef SPOOL_RECOVER_H
#define SPOOL_RECOVER_H

#include "spool/internal.h"
#include "spool/summary.h"

struct dead {
    uint64_t *slots;
    size_t cap, len;
};

struct recovery {
    struct spool *s;
    spool_found_fn *found;
    void *found_ctx;
    struct dead dead;
    struct segment *seg; /* being read */
    uint64_t synced;     /* of it */
    struct spool_rcpt *rcpts;
    char (*scratch)[64];
    uint32_t rcpts_cap;
    /* spool_verify: read every segment, no summary, change nothing, tell what is found instead of logging it
     */
    bool verify;
    void (*note)(void *ctx, bool damage, const char *text);
    void *note_ctx;
    uint64_t records, torn;
};

/* Reads everything there is into s's index. */
int recovery_load(struct recovery *rc);
void recovery_fini(struct recovery *rc);

#endif
