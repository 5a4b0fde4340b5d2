/* What the spool's tests share: a scratch directory, bodies and envelopes made from a seed, waiting for
 * answers. */
#ifndef TEST_SPOOL_FIXTURE_H
#define TEST_SPOOL_FIXTURE_H

#include "spool/internal.h"
#include "spool/spool.h"

#include <stdio.h>

/* A fresh directory under $TMPDIR or /tmp, and its removal with all that is in it. */
void scratch_make(char path[256]);
void scratch_remove(const char *path);

uint64_t rng_next(uint64_t *state);

/* n bytes that follow from the seed; odd seeds give text that compresses. */
void body_fill(uint64_t seed, size_t n, uint8_t *out);

/* An envelope with nrcpts recipients "r<i>.<tag>@example.net"; made from static storage good for one call. */
struct envelope *envelope_make(uint64_t tag, uint32_t nrcpts);

/* An op with a flag, and a wait that steps the writer of a spool without threads. */
struct waited {
    struct spool_op op;
    _Atomic int done;
};
void waited_init(struct waited *w);
int waited_wait(struct spool *s, struct waited *w);

/* Stores one message of n bytes from `seed` and waits: 0 or the error. */
int put_message(struct spool *s, uint64_t seed, size_t n, uint32_t nrcpts, uint64_t *id);
/* Whether the message is there with this content. */
bool has_message(struct spool *s, uint64_t id, uint64_t seed, size_t n);
int set_state(struct spool *s, uint64_t id, uint32_t rcpt, uint8_t state, const char *reply);

#endif
