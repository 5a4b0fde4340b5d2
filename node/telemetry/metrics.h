/* Counters, gauges and histograms, and their Prometheus text (format 0.0.4).
 *
 * All metrics stand in one table (metrics_table.c), with all values that their labels can have: nothing that
 * a peer says becomes a label. Each thread that counts has a shard, which it alone writes: no lock, no shared
 * cache line. Rendering sums the shards and may run on any thread at any time; what it reads of one series is
 * consistent to within the events of that moment.
 */
#ifndef NODE_TELEMETRY_METRICS_H
#define NODE_TELEMETRY_METRICS_H

#include "base/buf.h"

#include <stdint.h>

/* Label values: given as `label` below. METRICS_NONE for a metric without labels. */
enum { METRICS_NONE = 0 };
enum metrics_listener { METRICS_LISTENER_SUBMISSION, METRICS_LISTENER_SUBMISSIONS, METRICS_LISTENER_RELAY, METRICS_LISTENER_INBOUND };
enum metrics_direction { METRICS_IN, METRICS_OUT };
enum metrics_tls {
    METRICS_TLS_IN_12,
    METRICS_TLS_IN_13,
    METRICS_TLS_IN_OLD,
    METRICS_TLS_IN_FAILED,
    METRICS_TLS_OUT_12,
    METRICS_TLS_OUT_13,
    METRICS_TLS_OUT_OLD,
    METRICS_TLS_OUT_FAILED,
    METRICS_TLS_OUT_NONE,
};
enum metrics_tls_policy {
    METRICS_TLS_POLICY_DANE_OK,
    METRICS_TLS_POLICY_DANE_UNUSABLE,
    METRICS_TLS_POLICY_DANE_FAILED,
    METRICS_TLS_POLICY_STS_OK,
    METRICS_TLS_POLICY_STS_FAILED,
};
enum metrics_auth { METRICS_AUTH_OK, METRICS_AUTH_FAILED, METRICS_AUTH_BUSY };
enum metrics_client { METRICS_CLIENT_PASSED, METRICS_CLIENT_UNKNOWN, METRICS_CLIENT_DEFERRED, METRICS_CLIENT_DEFERRED_UNKNOWN };
enum metrics_stage {
    METRICS_STAGE_CONNECT,
    METRICS_STAGE_HELO,
    METRICS_STAGE_AUTH,
    METRICS_STAGE_MAIL,
    METRICS_STAGE_RCPT,
    METRICS_STAGE_DATA,
    METRICS_STAGE_CONTENT,
    METRICS_STAGE_OTHER,
};
enum metrics_outcome {
    METRICS_OUTCOME_DELIVERED,
    METRICS_OUTCOME_RELAYED,
    METRICS_OUTCOME_DEFERRED,
    METRICS_OUTCOME_BOUNCED,
    METRICS_OUTCOME_EXPIRED,
    METRICS_OUTCOME_DELETED,
};
enum metrics_dkim { METRICS_DKIM_RSA, METRICS_DKIM_ED25519 };
enum metrics_content { /* as enum content_outcome of node/core/content.h */
    METRICS_CONTENT_OUTCOMES = 8
};
enum metrics_unproven { METRICS_UNPROVEN_REFUSED, METRICS_UNPROVEN_WARNED };
enum metrics_returned {
    METRICS_RETURNED_HARD,
    METRICS_RETURNED_SOFT,
    METRICS_RETURNED_COMPLAINT,
    METRICS_RETURNED_OTHER
};
#define METRICS_BOUNCE_CLASSES 11
enum metrics_dsn { METRICS_DSN_FAILED, METRICS_DSN_DELAYED, METRICS_DSN_RELAYED, METRICS_DSN_DELIVERED };
enum metrics_state { METRICS_STATE_READY, METRICS_STATE_DEFERRED, METRICS_STATE_HELD, METRICS_STATE_ACTIVE };
enum metrics_result { METRICS_RESULT_OK, METRICS_RESULT_FAILED };

enum metrics_id {
    /* mail in */
    METRICS_CONNECTIONS_IN,      /* counter, enum metrics_listener */
    METRICS_SESSIONS,            /* gauge, enum metrics_direction */
    METRICS_TLS_HANDSHAKES,      /* counter, enum metrics_tls */
    METRICS_AUTH,                /* counter, enum metrics_auth */
    METRICS_REJECTED,            /* counter, enum metrics_stage */
    METRICS_CLIENT_CHECKS,       /* counter, enum metrics_client: recipients */
    METRICS_MESSAGES_RECEIVED,   /* counter, enum metrics_listener */
    METRICS_RECIPIENTS_RECEIVED, /* counter */
    METRICS_BYTES_RECEIVED,      /* counter */
    METRICS_DKIM_SIGNATURES,     /* counter, enum metrics_dkim */
    METRICS_DKIM_FAILED,         /* counter, enum metrics_dkim */
    METRICS_UNPROVEN,            /* counter, enum metrics_unproven */
    METRICS_DKIM_UNSIGNED,       /* counter: messages without a key, where there are some */
    METRICS_DKIM_SECONDS,        /* histogram, us: from the end of the content to its signature */
    METRICS_COMMIT_SECONDS,      /* histogram, us: from the end of the content to its being on disk */
    METRICS_CONTENT_CHECKS,      /* counter, enum metrics_content: messages */
    METRICS_CONTENT_SECONDS,     /* histogram, us: from the question to the verdict */
    METRICS_CONTENT_RUNNING,     /* gauges: set before rendering */
    METRICS_CONTENT_WAITING,
    METRICS_CONTENT_BYTES,
    /* the queue */
    METRICS_HELD_MESSAGES,
    METRICS_HELD_BYTES,
    METRICS_HELD_REFUSED,
    METRICS_HELD_RECIPIENTS,  /* enum held_count of node/core/held.h */
    METRICS_QUEUE_ITEMS,      /* gauge, enum metrics_state; each worker sets its own */
    METRICS_QUEUE_SITES,      /* gauge */
    METRICS_QUEUE_SITES_DOWN, /* gauge */
    METRICS_QUEUE_SENDERS,    /* gauge */
    METRICS_QUEUE_BYTES,      /* gauge: memory */
    /* mail out */
    METRICS_CONNECTIONS_OUT,  /* counter, enum metrics_result */
    METRICS_ATTEMPTS,         /* counter: transactions begun */
    METRICS_RECIPIENTS,       /* counter, enum metrics_outcome */
    METRICS_BYTES_SENT,       /* counter: content */
    METRICS_QUEUE_SECONDS,    /* histogram, us: from arrival to delivery */
    METRICS_CONNECT_SECONDS,  /* histogram, us */
    METRICS_TRANSFER_SECONDS, /* histogram, us: from MAIL to the reply to the dot */
    METRICS_DNS_QUERIES,      /* counter, enum metrics_result */
    METRICS_DNS_SECONDS,      /* histogram, us */
    METRICS_DSN,              /* counter, enum metrics_dsn */
    METRICS_RETURNED,         /* counter, enum metrics_returned */
    METRICS_BOUNCES,          /* counter, by class: enum bounce_class, of node/bounce */
    METRICS_SHAPING,          /* counter, enum shaping_action less one */
    METRICS_TLS_POLICY,       /* counter, enum metrics_tls_policy: connections to hosts that ask for it */
    /* the spool; set from spool_stats before rendering */
    METRICS_STS_POLICIES, /* gauge */
    METRICS_GREYLIST_SITES,
    METRICS_GREYLIST_ENDLESS, /* gauges */
    METRICS_SITES_RESTED,     /* gauge */
    METRICS_SPOOL_MESSAGES,
    METRICS_SPOOL_SEGMENTS,
    METRICS_SPOOL_BYTES,
    METRICS_SPOOL_LIVE_BYTES,
    METRICS_SPOOL_FREE_BYTES,
    METRICS_SPOOL_WAITING_SEGMENTS,
    METRICS_SPOOL_FAILED, /* gauges */
    METRICS_SPOOL_APPENDED_BYTES,
    METRICS_SPOOL_SYNCS,
    METRICS_SPOOL_COMMITTED,
    METRICS_SPOOL_UPDATES,
    METRICS_SPOOL_COMPACTED,
    METRICS_SPOOL_CORRUPT, /* counters */
    /* telemetry itself; set before rendering */
    METRICS_EVENTS_WRITTEN,
    METRICS_EVENTS_DROPPED,
    METRICS_EVENTS_ERRORS, /* counters */
    METRICS_HISTORY_ROWS,
    METRICS_HISTORY_ERRORS, /* counters */
    METRICS_HISTORY_QUEUED_BYTES,
    METRICS_HISTORY_BYTES,
    METRICS_HISTORY_BEHIND,  /* gauges */
    METRICS_READY,           /* gauge: 1 if mail is accepted */
    METRICS_CERTIFICATE_END, /* gauge: seconds since 1970, of the one that ends first; 0: none */
    /* the cluster; set before rendering, all 0 while the node is no member */
    METRICS_CLUSTER_MEMBER,
    METRICS_CLUSTER_QUORUM,
    METRICS_CLUSTER_SESSION,
    METRICS_CLUSTER_HOLDING,
    METRICS_CLUSTER_LEADER,
    METRICS_CLUSTER_NODES,
    METRICS_CLUSTER_NODES_SILENT,
    METRICS_CLUSTER_VOTERS,
    METRICS_CLUSTER_TERM,
    METRICS_CLUSTER_APPLIED,
    METRICS_CLUSTER_DIGEST_MISMATCH,
    METRICS_CLUSTER_CERTIFICATE_ENDS,
    METRICS_CLUSTER_LOG_BYTES,
    METRICS_CLUSTER_SNAPSHOT_BYTES,
    METRICS_CLUSTER_STATE_BYTES,
    METRICS_CLUSTER_FROZEN,
    METRICS_CLUSTER_FROZEN_LOCAL,
    METRICS_CLUSTER_COUNTERS,
    METRICS_CLUSTER_COUNTERS_MAX,
    METRICS_CLUSTER_TRANSFERS, /* gauges */
    METRICS_CLUSTER_TOKENS_CHARGED,
    METRICS_CLUSTER_TOKENS_REFUNDED,
    METRICS_CLUSTER_TOKENS_BURNED,
    METRICS_CLUSTER_GRANTS,
    METRICS_CLUSTER_REFUSALS, /* counters: those of the whole cluster */
    METRICS_CLUSTER_NO_ROOM,  /* counter */
    METRICS_IDS
};

struct metrics;

/* One shard for each thread that counts, with an index below nshards. NULL: no memory. */
struct metrics *metrics_new(uint32_t nshards);
void metrics_free(struct metrics *m);

/* Only the thread that owns the shard. `label` is one of the values of the metric's label. */
void metrics_add(struct metrics *m, uint32_t shard, enum metrics_id id, uint32_t label, int64_t n);
/* The shard's part of a gauge, or of a counter that is kept elsewhere. */
void metrics_set(struct metrics *m, uint32_t shard, enum metrics_id id, uint32_t label, int64_t value);
/* Of a histogram. */
void metrics_observe_us(struct metrics *m, uint32_t shard, enum metrics_id id, int64_t us);

/* The sum over the shards; of a histogram: how many observations. Any thread. */
int64_t metrics_value(const struct metrics *m, enum metrics_id id, uint32_t label);

/* Appends everything, with the process's own (process_*) and turnpike_build_info. Any thread. 0 or the
 * buffer's error. */
int metrics_render(const struct metrics *m, struct buf *out);

#endif
