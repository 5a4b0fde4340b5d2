/* What became of a sender's mail, counted by kind: as a node reports it to the cluster
 * (COMMAND_RECORD_REPORT), for some accounts at a time. Pure.
 *
 * An item is the account's name with its length (u32), how many kinds follow (u8, at least 1), and for each
 * in ascending order the kind (u8) and its count (u32, not 0).
 */
#ifndef CONSENSUS_RECORD_H
#define CONSENSUS_RECORD_H

#include "base/buf.h"
#include "base/cursor.h"
#include "base/span.h"

#include <stdint.h>

#define RECORD_KINDS 41
#define RECORD_CLASSES 32
#define RECORD_SPAM_FEATURE 7 /* no machine below this level is told of RECORD_SPAM */
#define RECORD_COUNTS_BYTES_MAX (16u << 10) /* of one report */

enum record_kind {
    RECORD_DELIVERED,
    RECORD_DEFERRED, /* attempts */
    RECORD_COMPLAINT,
    RECORD_ACCEPTED, /* recipients; from here on to HARD: of COMMAND_SENDER_LOOK */
    RECORD_MESSAGES,
    RECORD_FAILED_LOGINS,
    RECORD_ODD_HOURS, /* recipients; the machine's own, as is: */
    RECORD_NEW_NETWORKS,
    RECORD_HARD = 8, /* + enum bounce_class, of node/bounce; of it: */
    RECORD_HARD_UNKNOWN_USER = RECORD_HARD + 1,
    RECORD_HARD_DNS = RECORD_HARD + 9,
    RECORD_HARD_END = RECORD_HARD + RECORD_CLASSES,
    RECORD_SPAM = RECORD_HARD_END, /* messages that the content check took for spam; from RECORD_SPAM_FEATURE on */
};

struct record_counts {
    struct span account;
    uint32_t count[RECORD_KINDS];
};

/* Nothing when all counts are 0. An error of the buffer's. */
int record_counts_put(struct buf *out, const struct record_counts *c);
/* 1: `out` is the next one; 0: there is none; ERR_CORRUPT. */
int record_counts_next(struct cursor *c, struct record_counts *out);

#endif
