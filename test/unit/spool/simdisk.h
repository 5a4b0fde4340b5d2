/* A disk in memory that can lose what was not synced: file contents and directory entries are kept twice, as
 * they are seen and as they would be after a power cut, with the operations between the two.
 *
 * A crash is a call number from which on every call fails; what survives is then chosen: nothing, everything
 * (the process died, the machine did not), or any subset of sectors (512 bytes) and directory operations, by
 * a seed. One thread at a time, except that a spool's own threads may use it under its lock.
 */
#ifndef TEST_SPOOL_SIMDISK_H
#define TEST_SPOOL_SIMDISK_H

#include "spool/disk.h"

#include <stdbool.h>

struct simdisk;

enum simdisk_survival {
    SIMDISK_SYNCED_ONLY, /* a power cut, nothing written back */
    SIMDISK_EVERYTHING,  /* kill -9 */
    SIMDISK_PREFIX,      /* operations up to some point, the last one torn */
    SIMDISK_SUBSET,      /* any sectors, any directory operations */
    SIMDISK_NSURVIVALS,
};

enum simdisk_fault {
    SIMDISK_NO_FAULT,
    SIMDISK_FAIL_WRITE,
    SIMDISK_SHORT_WRITE,
    SIMDISK_FAIL_SYNC,
    SIMDISK_FAIL_SYNC_DIR,
    SIMDISK_FAIL_CREATE,
    SIMDISK_FAIL_TRUNCATE,
    SIMDISK_FAIL_UNLINK
};

struct simdisk *simdisk_new(void);
void simdisk_free(struct simdisk *d);
const struct disk *simdisk_disk(struct simdisk *d);

/* Calls so far that could change the disk, and the one at which it dies (0: never). */
uint64_t simdisk_calls(const struct simdisk *d);
void simdisk_crash_at(struct simdisk *d, uint64_t call);
bool simdisk_dead(const struct simdisk *d);

/* The n-th (from 1) coming call of the kind fails once, with `err`. */
void simdisk_fault(struct simdisk *d, enum simdisk_fault fault, uint32_t nth, int err);
/* Whether the fault was used up. */
bool simdisk_faulted(const struct simdisk *d);
/* The name of the file that it hit, or "". */
const char *simdisk_faulted_name(const struct simdisk *d);
/* Bytes that fit; 0: no limit. */
void simdisk_capacity(struct simdisk *d, uint64_t bytes);

/* A new, living disk with what survived. The old one is unchanged. */
struct simdisk *simdisk_after(const struct simdisk *d, enum simdisk_survival how, uint64_t seed);

/* Flips a bit, as a rotten sector would; in both images. False: no such file or offset. */
bool simdisk_rot(struct simdisk *d, const char *name, uint64_t offset);
/* Whether a name is there (as seen), its size, and the n-th call's kinds: counts of syncs done. */
bool simdisk_exists(const struct simdisk *d, const char *name);
int64_t simdisk_size(const struct simdisk *d, const char *name);
/* As seen; valid until the next write. */
const uint8_t *simdisk_bytes(const struct simdisk *d, const char *name);
uint64_t simdisk_syncs(const struct simdisk *d);
/* Calls `each` per name, as seen. */
void simdisk_each(const struct simdisk *d, void (*each)(void *ctx, const char *name), void *ctx);

#endif
