/* Three nodes that take the mail of traffic.h, in simulated time: their own code that makes facts of messages
 * (node/core/seen.c), counts and tells them (tally.c, with its real intervals and its credit), and the
 * replicated machine with limits, senders' records and the rules of a real policy. The log is one list of
 * commands with some milliseconds to be committed and acted upon; what each node does with its replica would
 * be the same, so there is one.
 */
#ifndef TEST_TRAFFIC_RIG_H
#define TEST_TRAFFIC_RIG_H

#include "attack.h"
#include "consensus/machine.h"
#include "traffic.h"

#define RIG_BLOCKS_MAX 400
#define RIG_RULES_MAX 40
#define RIG_CAUSES_MAX 16

struct rig_block { /* of an account, by a rule */
    int64_t at_ms;
    uint32_t sender;
    bool attacked; /* somebody else was at it */
    char rule[64], reason[200];
};

struct rig_account {
    uint32_t mails, recipients;
    uint32_t left, held;     /* of the attack's recipients */
    uint32_t left_first;     /* of them, until the first block */
    int64_t attacked_ms;     /* -1: not */
    int64_t stopped_ms;      /* the first block after that; -1: none */
    uint32_t over;           /* refused for a limit */
    int64_t frozen_since_ms; /* -1: not now */
};

struct rig_report {
    uint64_t mails, recipients; /* of ordinary mail */
    uint64_t admitted, held;    /* recipients of it */
    uint64_t deferred;          /* for a limit, or because the cluster did not answer in time */
    uint64_t deferred_wrong;    /* of newsletters from a person's account, for a limit */
    uint64_t held_over;         /* for a limit that holds, those too */
    uint32_t ncauses; /* what deferred how many recipients: a limit's name, or that the cluster did not answer */
    struct {
        char name[64];
        uint64_t ordinary, wrong;
    } causes[RIG_CAUSES_MAX];
    uint64_t waits, waits_ms, longest_wait_ms;
    uint32_t nblocks;
    struct rig_block blocks[RIG_BLOCKS_MAX];
    uint32_t nrules; /* how often each one said something */
    struct {
        char name[64];
        uint32_t times[3]; /* by class */
    } rules[RIG_RULES_MAX];
    /* the most that was seen of anybody who does nothing wrong, by class */
    uint32_t most[3][32][3];
};

/* Runs all of it. `policy`: the document; `values`: fill in `most`, which takes longer. The accounts' end in
 * `accounts`, one for each sender. */
void rig_run(const struct traffic *t, const char *policy, bool values, struct rig_report *out,
             struct rig_account *accounts);

#endif
