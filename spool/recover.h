/* What the opening of one spool carries along; for recover.c, tell.c, dead.c and verify.c. */
#ifndef SPOOL_RECOVER_H
#define SPOOL_RECOVER_H

#include "spool/internal.h"
#include "spool/summary.h"

/* ---- the dead: ids with a tombstone -------------------------------------------------------------------- */

struct dead_slot {
    uint64_t id;
    uint32_t segment, offset; /* of the newest commit that was read; segment 0: none was */
};

struct dead {
    struct dead_slot *slots;
    size_t cap, len;
};

/* A commit read later replaces the place of an earlier one; segment 0 leaves it. */
int dead_add(struct dead *d, uint64_t id, uint32_t segment, uint32_t offset);
const struct dead_slot *dead_find(const struct dead *d, uint64_t id); /* until the next dead_add */
void dead_fini(struct dead *d);

/* ---- opening ------------------------------------------------------------------------------------------- */

/* Envelopes of messages that ended, as they were read last: endings of one message, or of a few with many
 * recipients each, come close together. */
#define TELL_ENVELOPES 16

struct told_envelope {
    uint64_t id; /* 0: empty */
    uint8_t *bytes;
    struct envelope_decoded d; /* points into bytes */
};

struct recovery {
    struct spool *s;
    spool_found_fn *found;
    void *found_ctx;
    struct dead dead;
    struct segment *seg; /* being read */
    uint64_t stubs;      /* without a commit yet; some may be dead */
    bool closes;         /* there are reports that close recipients */
    bool unburied;       /* there may be messages that ended without a tombstone */
    struct spool_rcpt *rcpts;
    char (*scratch)[64];
    uint32_t rcpts_cap;
    uint8_t *record; /* a commit, read for its envelope */
    uint32_t record_cap;
    struct told_envelope envelopes[TELL_ENVELOPES];
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

/* After recovery_load: tells of the living messages and the endings in one segment. Segments must come in the
 * order of their numbers. */
int recovery_tell(struct recovery *rc, struct segment *seg);
void recovery_tell_fini(struct recovery *rc);

#endif
