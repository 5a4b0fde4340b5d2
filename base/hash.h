/* SipHash-1-3 keyed once per process: peers choose what we hash, so an unkeyed hash could be flooded. Any thread. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/span.h"

#include <stdint.h>

/* Draws the process key; call once before any other thread starts. Without it the key is fixed (tests). */
void hash_seed(void);

uint64_t hash_bytes(const void *p, size_t n);
/* ASCII letters hash alike whatever their case. */
uint64_t hash_nocase(struct span s);
uint64_t hash_u64(uint64_t v);

#endif
