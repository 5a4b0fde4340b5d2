/* What the files of the cache of MTA-STS policies share. Nobody else includes it. */
#ifndef NODE_TLSPOLICY_STS_STORE_IMPL_H
#define NODE_TLSPOLICY_STS_STORE_IMPL_H

#include "base/list.h"
#include "base/map.h"
#include "node/tlspolicy/sts_store.h"

#include <pthread.h>

#define STS_LINE_MAX (STS_NAMES_MAX + 1024)

struct sts_entry {
    struct list link;              /* by use, oldest first */
    struct sts_policy *policy;     /* NULL: none was ever fetched */
    int64_t fetched_ms, failed_ms; /* 0: never */
    uint64_t order;                /* of the domain: the same on all nodes */
    uint64_t tag;                  /* of its line: likewise */
    bool own;                      /* this node fetched it */
    char id[STS_ID_MAX + 1], former_id[STS_ID_MAX + 1];
    char failed_id[STS_ID_MAX + 1];
    char domain[];
};

struct sts_store {
    pthread_mutex_t lock;
    struct map map; /* the rest: under the lock */
    struct list by_use;
    size_t bytes;
    uint32_t max;
    uint64_t salt;
    bool changed;
    char *file;
};

/* The same on every node, and not to be guessed by who chooses what is hashed. */
uint64_t sts_store_hash(const void *p, size_t n);

/* Under the lock, from here on. Without counting as use; NULL: not there. */
struct sts_entry *sts_store_peek(struct sts_store *s, const char *domain);
bool sts_entry_in_force(const struct sts_entry *e, int64_t now_ms);
/* Its line, with LF; it must have a policy. */
int sts_entry_put(const struct sts_entry *e, struct buf *b);
/* 0 or -ENOMEM. Holds the policy. */
int sts_entry_take(struct sts_store *s, const char *domain, const char *id, struct sts_policy *policy,
                   int64_t fetched_ms, bool own);

struct sts_line {
    char domain[256], id[STS_ID_MAX + 1];
    int64_t fetched_ms;
    struct sts_policy *policy; /* to be released */
};
/* A line without LF, as a file or another node has it. ERR_BAD or -ENOMEM. Any thread, no lock. */
int sts_line_parse(struct span line, int64_t now_ms, struct sts_line *out);

#endif
