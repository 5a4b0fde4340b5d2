/* MTA-STS policies that were fetched, by domain, and when fetching failed (RFC 8461 sections 3.3, 5.1, 10.2).
 * Bounded by number and octets, the longest unused goes first; kept over restarts in a file. Any thread.
 */
#ifndef NODE_TLSPOLICY_STS_STORE_H
#define NODE_TLSPOLICY_STS_STORE_H

#include "node/tlspolicy/sts.h"

#define STS_STORE_ENTRIES_MAX 20000
#define STS_STORE_BYTES_MAX (32u << 20)
#define STS_RETRY_MS 300000 /* section 3.3: not again sooner after a failure */
#define STS_REFRESH_MS                                                                                       \
    86400000 /* section 10.2: looked at daily, so that it seldom ends while it cannot be fetched */

/* Wall clocks of nodes may differ by so much: what is said to be fetched later than that is not believed. */
#define STS_SKEW_MS INT64_C(3600000)
/* For so long the id that a policy had before may still come out of a resolver's cache. */
#define STS_FORMER_MS INT64_C(3600000)

struct sts_store;
/* `file` is copied and may be missing; what cannot be read in it is left out. 0 or -ENOMEM. */
int sts_store_new(const char *file, uint32_t entries_max, int64_t now_ms, struct sts_store **out);
void sts_store_free(struct sts_store *s);

struct sts_found {
    struct sts_policy *policy;      /* in force, for the caller to release; NULL: none */
    char id[STS_ID_MAX + 1];        /* its id, or the one whose fetching failed */
    char former_id[STS_ID_MAX + 1]; /* the one before, which resolvers may still say; or "" */
    bool fresh;                     /* need not be fetched again for now, if the id is still the same */
    bool failed;                    /* fetching failed a short while ago: not to be tried now */
};
/* Times are wall clock, ms. */
void sts_store_find(struct sts_store *s, const char *domain, int64_t now_ms, struct sts_found *out);
/* 0 or -ENOMEM. Holds the policy. */
int sts_store_put(struct sts_store *s, const char *domain, const char *id, struct sts_policy *policy,
                  int64_t now_ms);
/* What there was stays in force. */
void sts_store_failed(struct sts_store *s, const char *domain, const char *id, int64_t now_ms);
uint32_t sts_store_count(struct sts_store *s);
/* Something is not in the file yet. */
bool sts_store_changed(struct sts_store *s);

/* Writes the file if something changed since. 0 or -errno. */
int sts_store_save(struct sts_store *s);

#endif
