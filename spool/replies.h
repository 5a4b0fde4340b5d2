/* The texts of remote replies, each kept once and counted: a million queued recipients mostly share a few
 * hundred of them. Bounded (REPLIES_MAX texts, REPLIES_BYTES_MAX bytes): a text beyond that is remembered as
 * its code and enhanced code only. The whole text is on disk in any case. Under the spool's lock.
 */
#ifndef SPOOL_REPLIES_H
#define SPOOL_REPLIES_H

#include "base/map.h"
#include "base/span.h"

#include <stdint.h>

#define REPLIES_MAX 65536u
#define REPLIES_BYTES_MAX (8u << 20)
#define REPLY_TEXT_MAX 512

struct reply;
struct replies {
    struct map map;
    struct reply **slots; /* by reference - 1 */
    uint32_t nslots, cap;
    uint32_t free_slot; /* head of the free list, reference form; 0: none */
    size_t bytes;
};

void replies_init(struct replies *r);
void replies_fini(struct replies *r);

/* A reference: 0 for an empty text. Never fails: out of room or memory it keeps the codes only. */
uint32_t replies_hold(struct replies *r, struct span text);
void replies_rele(struct replies *r, uint32_t ref);
/* The text; `scratch` (64 bytes) is used for a reply of which only the codes were kept. */
struct span replies_text(const struct replies *r, uint32_t ref, char scratch[64]);

#endif
