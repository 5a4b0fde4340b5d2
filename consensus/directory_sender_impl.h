/* What is kept of a sender: between directory_sender.c, which has the story, and directory_sender_record.c,
 * which makes bytes of it. Nobody else includes it.
 */
#ifndef CONSENSUS_DIRECTORY_SENDER_IMPL_H
#define CONSENSUS_DIRECTORY_SENDER_IMPL_H

#include "consensus/directory_habit.h"
#include "consensus/facts.h"
#include "consensus/sender_rule.h"
#include "consensus/store.h"

#define SENDER_BUCKETS 4
#define SENDER_GROUPS 16
#define SENDER_FIRED_MAX SENDER_RULES_MAX

struct sender_window {
    uint32_t bucket;
    bool used;
    struct facts_sketch sketch[FACTS_KINDS];
};
struct sender_group {
    struct facts_signature like;
    uint32_t bucket[SENDER_BUCKETS], recipients[SENDER_BUCKETS]; /* of each bucket modulo SENDER_BUCKETS */
};
struct sender_fired { /* a warning, or a rule that is tried out: not again until its window has passed */
    uint64_t rule;    /* hash of its name */
    uint64_t at_ms;
};

struct sender {
    struct store_rec rec;
    uint8_t class;
    struct habit habit;
    uint64_t block_ms[SENDER_REPEAT_MAX]; /* by rules; the last ones, cluster time; 0: none */
    uint32_t nblocks;
    struct sender_window *windows; /* SENDER_BUCKETS, or NULL: nothing was seen yet */
    uint32_t ngroups, nfired;
    struct sender_group *groups;
    struct sender_fired *fired;
    uint32_t (*base)[SENDER_WINDOWS]; /* SENDER_FACTS, or NULL: never blocked */
    uint64_t settled_ms; /* when `base` was all that had been seen; cluster time; 0: before level 6 */
    uint16_t nname;
    char name[];
};

struct span directory_sender_name(const struct sender *s);
/* NULL: no memory. */
struct sender *directory_sender_make(struct span name);
void directory_sender_free(struct store_rec *rec);

#endif
