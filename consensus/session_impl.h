/* Between session.c (what commands do to sessions) and session_record.c (how they are kept). Nobody else
 * includes it.
 */
#ifndef CONSENSUS_SESSION_IMPL_H
#define CONSENSUS_SESSION_IMPL_H

#include "consensus/session.h"

/* What a session was answered. NULL: not asked yet, or the asker has it. */
struct answer {
    uint8_t *bytes; /* machine_result_encode */
    uint32_t n;
};

struct session {
    struct store_rec rec;
    uint64_t id, node, number, published, opened_index;
    uint32_t ttl_ms, ttl_before_ms; /* in force at the last renewal, and at the one before */
    uint8_t nonce[16];
    bool current;
    uint64_t lowest;        /* unanswered seq; answers are of [lowest, lowest + SESSION_WINDOW) */
    struct answer *answers; /* at seq % SESSION_WINDOW; NULL: none yet */
};

/* The last session that a node opened, so that a late open cannot replace a newer one; kept for good, as the
 * members are. */
struct opened {
    struct store_rec rec;
    uint64_t node, session;
    uint8_t nonce[16];
};

struct sessions {
    struct session **by_id; /* derived; ascending */
    uint32_t n, cap;
    struct buf scratch;
};

static inline struct session *session_of(const struct store_rec *rec)
{
    return (struct session *)rec;
}

extern const struct store_type session_type, session_opened_type;

/* The answer to `seq`, which is within the window and has none. 0 or -ENOMEM. */
int session_answer_put(struct session *s, uint64_t seq, struct span bytes);
/* Its id is the highest. 0 or -ENOMEM. */
int session_list_add(struct sessions *ss, struct session *s);

#endif
