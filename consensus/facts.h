/* What a node has seen of one sender since it last told: counts, and what counts cannot say: how many
 * different recipients, domains and client networks there were (sketches of fixed size, which nodes' can be
 * merged), and how alike the messages are (signatures of their text, in groups). As a node tells it to the
 * cluster (COMMAND_SENDER_LOOK). Pure; the same on every machine: integers only, and hashes without a key.
 */
#ifndef CONSENSUS_FACTS_H
#define CONSENSUS_FACTS_H

#include "base/buf.h"
#include "base/cursor.h"
#include "base/span.h"
#include "consensus/record.h"

#include <stdbool.h>
#include <stdint.h>

#define FACTS_REGISTERS 64 /* of a sketch: its standard error is 13 % */
#define FACTS_SIGNATURE 16 /* values of a signature */
#define FACTS_ALIKE 8      /* so many of them are equal: about half of what both texts have is in both */
#define FACTS_GROUPS 8     /* of one report; messages that are in none of them are only counted */
#define FACTS_CLASS_UNKNOWN 255

enum facts_kind { FACTS_RECIPIENTS, FACTS_DOMAINS, FACTS_NETWORKS, FACTS_KINDS };

struct facts_sketch {
    uint8_t rank[FACTS_REGISTERS]; /* 0: none; at most FACTS_RANK_MAX */
};
#define FACTS_RANK_MAX 32

/* Hash of a thing, the same everywhere. */
uint64_t facts_hash(struct span s);
void facts_sketch_add(struct facts_sketch *s, uint64_t hash);
void facts_sketch_merge(struct facts_sketch *s, const struct facts_sketch *other);
/* How many different things were added, about. */
uint32_t facts_sketch_count(const struct facts_sketch *s);
/* As bytes: how many registers are in use, and each with its number, in ascending order. */
void facts_sketch_put(struct buf *out, const struct facts_sketch *s);
/* `s` is empty. False: only what facts_sketch_put writes is taken. */
bool facts_sketch_get(struct cursor *c, struct facts_sketch *s);

/* Of a text: the smallest values of so many hashes of all its pieces (node/mail/likeness.h makes it). */
struct facts_signature {
    uint16_t value[FACTS_SIGNATURE];
};
bool facts_alike(const struct facts_signature *a, const struct facts_signature *b);

struct facts_group {
    struct facts_signature like;
    uint32_t messages, recipients;
};

struct sender_facts {
    struct record_counts counts; /* with the account */
    uint8_t class;               /* that it sent as, or FACTS_CLASS_UNKNOWN: it sent nothing */
    struct facts_sketch sketch[FACTS_KINDS];
    uint32_t ngroups;
    struct facts_group group[FACTS_GROUPS];
};

/* To the group that it is like, or to a new one. False: there is no room for one. */
bool sender_facts_group(struct sender_facts *f, const struct facts_group *g);

/* Nothing when all counts are 0. An error of the buffer's. */
int sender_facts_put(struct buf *out, const struct sender_facts *f);
#define SENDER_FACTS_BYTES_MAX                                                                               \
    (4 + 320 + 1 + RECORD_KINDS * 5 + 1 + FACTS_KINDS * (1 + 2 * FACTS_REGISTERS) + 1 +                      \
     FACTS_GROUPS * (2 * FACTS_SIGNATURE + 8))
/* 1: `out` is the next one; 0: there is none; ERR_CORRUPT. Only what sender_facts_put writes is taken. */
int sender_facts_next(struct cursor *c, struct sender_facts *out);

#endif
