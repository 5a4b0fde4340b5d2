/* What the files of TLS reports share. Nobody else includes it. */
#ifndef NODE_TLSPOLICY_RPT_IMPL_H
#define NODE_TLSPOLICY_RPT_IMPL_H

#include "base/list.h"
#include "base/map.h"
#include "node/tlspolicy/rpt.h"

#include <pthread.h>

struct rpt_failure {
    enum rpt_result result;
    uint64_t count;
    char sending_ip[48], mx_host[256], mx_ip[48], reason[160]; /* the reason is that of the first one */
};

struct rpt_entry {
    enum rpt_policy policy;
    uint64_t good, bad;
    uint32_t n;
    struct rpt_failure *failures; /* grows */
    char text[];
};

struct rpt_domain {
    struct list link;    /* by day, then in the order in which they came */
    struct list changed; /* of r->changed: the file does not say what is counted now */
    bool written;        /* the file says something of it */
    uint32_t sent;       /* addresses that have its report, by their places in the record */
    uint32_t tries;
    int64_t first_ms, next_ms; /* wall: of sending; next 0: whenever it is due */
    int64_t day;
    char name[256];
    uint32_t n;
    struct rpt_entry *entries[RPT_POLICIES_MAX];
};

struct rpt {
    pthread_mutex_t file_lock; /* held while the file is written; taken before `lock` */
    pthread_mutex_t lock;
    struct map map; /* by name and day; this and the rest: under the lock */
    struct list domains;
    uint32_t max;
    size_t bytes; /* of entries and failures */
    struct list changed;
    struct buf gone;                  /* lines of what is done */
    bool rewrite;                     /* the file is to be written as a whole */
    uint64_t file_bytes, whole_bytes; /* its size now, and when it was written as a whole */
};

/* Under the lock, from here on. */
void rpt_domain_forget(struct rpt *r, const char *name, int64_t day);
void rpt_domain_changed(struct rpt *r, struct rpt_domain *d);
/* NULL: no room. */
struct rpt_domain *rpt_domain_get(struct rpt *r, const char *name, int64_t day);
struct rpt_entry *rpt_entry_get(struct rpt *r, struct rpt_domain *d, enum rpt_policy policy,
                                struct span text);
struct rpt_failure *rpt_failure_get(struct rpt *r, struct rpt_entry *e, const struct rpt_session *s);

/* rpt_json.c. 0 or -ENOMEM. */
int rpt_domain_render(const struct rpt_domain *d, const struct rpt_sender *sender, const char *id,
                      struct buf *out);
/* 0 or -ENOMEM. */
int rpt_domain_line(const struct rpt_domain *d, struct buf *out);
/* What cannot be read, or is of another day, is left out. */
void rpt_line_take(struct rpt *r, const char *line, int64_t from_day, int64_t to_day);

#endif
