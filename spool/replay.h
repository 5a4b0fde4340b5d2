/* Reads a segment from its first record to its last, whatever a crash or a bad sector left of it, and says
 * what each stretch is. docs/spool-format.md lists the states; replay.c has one case for each. Pure but for
 * reading through the disk's functions. Any thread.
 */
#ifndef SPOOL_REPLAY_H
#define SPOOL_REPLAY_H

#include "spool/format.h"

struct replay_record {
    struct record_head head;
    uint32_t segment;
    uint32_t offset;
    struct span payload; /* during the call only */
};

/* A return other than 0 stops the reading with it. */
typedef int replay_fn(void *ctx, const struct replay_record *r);
/* A stretch that is no record: from, to, and whether it had been synced (then it is damage). */
typedef void replay_bad_fn(void *ctx, uint32_t segment, uint64_t from, uint64_t to, bool damage);

struct replay {
    const struct disk *disk;
    int fd;
    uint32_t number;    /* as its name says */
    uint64_t from;      /* a record's place to begin at; 0: the first */
    replay_fn *fn;      /* may be NULL; not called for batch headers and seals */
    replay_bad_fn *bad; /* may be NULL; called at the end, in order */
    void *ctx;
    /* found out: */
    struct segment_header header;
    bool unborn;   /* no header, nothing else either: the crash came while it was made */
    bool headless; /* no header, but something behind it: damage */
    bool sealed;
    uint64_t end;    /* end of the last record */
    uint64_t synced; /* everything before it was on disk when a later batch was written */
    uint64_t id_floor;
    uint64_t batch; /* highest number */
    uint64_t records;
    uint64_t damaged; /* stretches before `synced` */
    uint64_t torn;    /* stretches after it */
};

/* 0, what fn returned, -ENOMEM, or the error of the first read. */
int replay_run(struct replay *r);

#endif
