/* What the spool's rules are tried on: a spool of small segments without threads on a simulated disk, what
 * its callbacks told, and its death and next start. */
#ifndef TEST_SPOOL_RULES_BENCH_H
#define TEST_SPOOL_RULES_BENCH_H

#include "fixture.h"
#include "simdisk.h"

#define SEGMENT_BYTES 16384u

struct bench {
    struct simdisk *disk;
    struct spool *s;
    int failed, failed_calls;
    uint32_t found;
    uint64_t found_ids[64];
    struct spool_rcpt found_rcpt[64];
    uint32_t ended, ended_known; /* known: with their envelope */
    uint64_t ended_id;
    uint32_t ended_nrcpts;
    char ended_rcpt[64];
    uint64_t ended_seq;
    bool history;
    uint64_t min_free;
};

/* cmocka's: a bench with an empty spool, and its end. */
int bench_setup(void **state);
int bench_teardown(void **state);
#define RULE(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

/* To be called first in main: only what the tests say themselves is heard, unless SPOOL_TEST_LOG is set. */
void bench_log(void);

/* Opens the spool on the bench's disk; what was found and ended is counted anew. */
int reopen(struct bench *b);
/* The process dies here and the spool is opened on what survived. */
void crash(struct bench *b, enum simdisk_survival how);
bool was_found(const struct bench *b, uint64_t id);
uint64_t corrupt(struct bench *b);
void background(struct bench *b);
/* Pushes the active segment out with messages that end at once. */
void fill_dead(struct bench *b, uint32_t messages);

#endif
