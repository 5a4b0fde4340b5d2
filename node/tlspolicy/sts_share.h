/* MTA-STS policies that nodes of a cluster tell each other, so that one that has never spoken to a domain
 * holds to what another one was told (RFC 8461 section 10.2: the first look is the one that can be forged).
 * What is told is text: lines of the store's file. Pure but for the store's lock. Any thread.
 *
 * A policy that was fetched is told to all. What was missed meanwhile is asked for: the question has a digest
 * for each of STS_SHARE_BUCKETS parts of what the asker knows, the answer the policies of the parts that
 * differ, page by page. Of two policies for one domain the one that was fetched later is kept.
 */
#ifndef NODE_TLSPOLICY_STS_SHARE_H
#define NODE_TLSPOLICY_STS_SHARE_H

#include "node/tlspolicy/sts_store.h"

#define STS_SHARE_BUCKETS 256
#define STS_SHARE_PAGE (256u << 10) /* octets of an answer, but for one more line */

/* The policy of a domain, to be told. Appends; ERR_NOT_FOUND: there is none in force; -ENOMEM. */
int sts_share_tell(struct sts_store *s, const char *domain, int64_t now_ms, struct buf *out);
/* Takes what another node told; returns how many policies were news. What is not well formed, over, from the
 * future or older than what is known is left out. A policy that was just fetched has its place even when the
 * store is full; of others, only those of domains that are known have. */
uint32_t sts_share_hear(struct sts_store *s, struct span lines, int64_t now_ms, bool just_fetched);

/* What this node knows. `after`: 0, or what the last answer said. 0 or -ENOMEM. */
int sts_share_question(struct sts_store *s, uint64_t after, int64_t now_ms, struct buf *out);
/* 0; ERR_BAD: no question; -ENOMEM. */
int sts_share_answer(struct sts_store *s, struct span question, int64_t now_ms, struct buf *out);
struct sts_share_taken {
    uint32_t news;
    uint64_t after; /* to go on with; 0: that was all, or there is no room for more */
};
/* ERR_BAD: no answer. */
int sts_share_take(struct sts_store *s, struct span answer, int64_t now_ms, struct sts_share_taken *out);

#endif
