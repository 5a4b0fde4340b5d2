/* Every metric with its help and all values of its labels. Order: enum metrics_id. */
#include "node/telemetry/metrics_table.h"

#define MS INT64_C(1000)
#define S (1000 * MS)

const int64_t metrics_bounds_us[METRICS_BUCKETS] = { 1 * MS,   2500,     5 * MS,    10 * MS, 25 * MS, 50 * MS,
                                                     100 * MS, 250 * MS, 500 * MS,  1 * S,   5 * S,   30 * S,
                                                     300 * S,  3600 * S, 86400 * S, 0 };

static const char *const listeners[] = { "listener=\"submission\"", "listener=\"submissions\"",
                                         "listener=\"relay\"", NULL };
static const char *const directions[] = { "direction=\"in\"", "direction=\"out\"", NULL };
static const char *const tls[] = {
    "direction=\"in\",version=\"1.2\"",   "direction=\"in\",version=\"1.3\"",
    "direction=\"in\",version=\"old\"",   "direction=\"in\",version=\"failed\"",
    "direction=\"out\",version=\"1.2\"",  "direction=\"out\",version=\"1.3\"",
    "direction=\"out\",version=\"old\"",  "direction=\"out\",version=\"failed\"",
    "direction=\"out\",version=\"none\"", NULL
};
static const char *const auth[] = { "result=\"ok\"", "result=\"failed\"", "result=\"busy\"", NULL };
static const char *const stages[] = { "stage=\"connect\"", "stage=\"helo\"",  "stage=\"auth\"",
                                      "stage=\"mail\"",    "stage=\"rcpt\"",  "stage=\"data\"",
                                      "stage=\"content\"", "stage=\"other\"", NULL };
static const char *const outcomes[] = { "outcome=\"delivered\"",
                                        "outcome=\"relayed\"",
                                        "outcome=\"deferred\"",
                                        "outcome=\"bounced\"",
                                        "outcome=\"expired\"",
                                        "outcome=\"deleted\"",
                                        NULL };
static const char *const dsns[] = { "action=\"failed\"", "action=\"delayed\"", "action=\"relayed\"",
                                    "action=\"delivered\"", NULL };
static const char *const states[] = { "state=\"ready\"", "state=\"deferred\"", "state=\"held\"",
                                      "state=\"active\"", NULL };
static const char *const results[] = { "result=\"ok\"", "result=\"failed\"", NULL };

#define COUNTER(n, h, l)                                                                                     \
    {                                                                                                        \
        n, h, METRICS_COUNTER, l                                                                             \
    }
#define GAUGE(n, h, l)                                                                                       \
    {                                                                                                        \
        n, h, METRICS_GAUGE, l                                                                               \
    }
#define HISTOGRAM(n, h)                                                                                      \
    {                                                                                                        \
        n, h, METRICS_HISTOGRAM, NULL                                                                        \
    }

const struct metrics_def metrics_table[METRICS_IDS] = {
    [METRICS_CONNECTIONS_IN] =
        COUNTER("connections_in_total", "Connections accepted from clients.", listeners),
    [METRICS_SESSIONS] = GAUGE("sessions", "SMTP sessions open now.", directions),
    [METRICS_TLS_HANDSHAKES] = COUNTER("tls_handshakes_total", "TLS handshakes by their outcome.", tls),
    [METRICS_AUTH] = COUNTER("auth_attempts_total", "AUTH commands by their result.", auth),
    [METRICS_REJECTED] = COUNTER("rejected_total", "Commands and messages refused.", stages),
    [METRICS_MESSAGES_RECEIVED] = COUNTER("messages_received_total", "Messages accepted.", listeners),
    [METRICS_RECIPIENTS_RECEIVED] =
        COUNTER("recipients_received_total", "Recipients of messages accepted.", NULL),
    [METRICS_BYTES_RECEIVED] = COUNTER("received_bytes_total", "Content of messages accepted.", NULL),
    [METRICS_COMMIT_SECONDS] =
        HISTOGRAM("commit_duration_seconds", "From the end of content to its being on disk."),
    [METRICS_QUEUE_ITEMS] = GAUGE("queue_items", "Messages queued, counted once per destination.", states),
    [METRICS_QUEUE_SITES] = GAUGE("queue_sites", "Destinations known now.", NULL),
    [METRICS_QUEUE_SITES_DOWN] = GAUGE("queue_sites_down", "Destinations that cannot be reached.", NULL),
    [METRICS_QUEUE_SENDERS] =
        GAUGE("queue_senders", "Senders with something queued, counted per worker.", NULL),
    [METRICS_QUEUE_BYTES] = GAUGE("queue_memory_bytes", "Memory of the workers' queues.", NULL),
    [METRICS_CONNECTIONS_OUT] = COUNTER("connections_out_total", "Connections to next hops.", results),
    [METRICS_ATTEMPTS] = COUNTER("delivery_attempts_total", "Transactions begun with next hops.", NULL),
    [METRICS_RECIPIENTS] =
        COUNTER("recipients_total", "What came of recipients; deferred counts each time.", outcomes),
    [METRICS_BYTES_SENT] = COUNTER("sent_bytes_total", "Content given to next hops.", NULL),
    [METRICS_QUEUE_SECONDS] = HISTOGRAM("queue_duration_seconds", "From arrival to delivery."),
    [METRICS_CONNECT_SECONDS] =
        HISTOGRAM("connect_duration_seconds", "Connecting to next hops, up to EHLO's reply."),
    [METRICS_TRANSFER_SECONDS] =
        HISTOGRAM("transfer_duration_seconds", "From MAIL to the reply to the final dot."),
    [METRICS_DNS_QUERIES] = COUNTER("dns_queries_total", "Lookups of next hops.", results),
    [METRICS_DNS_SECONDS] = HISTOGRAM("dns_duration_seconds", "Lookups of next hops."),
    [METRICS_DSN] = COUNTER("dsn_total", "Delivery status notifications queued.", dsns),
    [METRICS_SPOOL_MESSAGES] = GAUGE("spool_messages", "Messages in the spool.", NULL),
    [METRICS_SPOOL_SEGMENTS] = GAUGE("spool_segments", "Segment files.", NULL),
    [METRICS_SPOOL_BYTES] = GAUGE("spool_bytes", "Size of the segment files.", NULL),
    [METRICS_SPOOL_LIVE_BYTES] =
        GAUGE("spool_live_bytes", "Part of the segments that is still needed.", NULL),
    [METRICS_SPOOL_FREE_BYTES] = GAUGE("spool_free_bytes", "Room left on the spool's file system.", NULL),
    [METRICS_SPOOL_WAITING_SEGMENTS] =
        GAUGE("spool_segments_waiting_for_history", "Segments kept until the history has caught up.", NULL),
    [METRICS_SPOOL_FAILED] =
        GAUGE("spool_failed", "1 when a write or sync failed and the spool has stopped.", NULL),
    [METRICS_SPOOL_APPENDED_BYTES] = COUNTER("spool_appended_bytes_total", "Written to segments.", NULL),
    [METRICS_SPOOL_SYNCS] = COUNTER("spool_syncs_total", "Syncs of segments.", NULL),
    [METRICS_SPOOL_COMMITTED] = COUNTER("spool_committed_total", "Messages committed.", NULL),
    [METRICS_SPOOL_UPDATES] = COUNTER("spool_updates_total", "Changes of recipients' states.", NULL),
    [METRICS_SPOOL_COMPACTED] = COUNTER("spool_compacted_segments_total", "Segments compacted.", NULL),
    [METRICS_SPOOL_CORRUPT] = COUNTER("spool_corrupt_records_total", "Damaged records found.", NULL),
    [METRICS_EVENTS_WRITTEN] = COUNTER("events_written_total", "Lines of the event log.", NULL),
    [METRICS_EVENTS_DROPPED] =
        COUNTER("events_dropped_total", "Events lost because the log was too slow.", NULL),
    [METRICS_EVENTS_ERRORS] = COUNTER("events_errors_total", "Failed writes of the event log.", NULL),
    [METRICS_HISTORY_ROWS] = COUNTER("history_rows_total", "Ended recipients recorded.", NULL),
    [METRICS_HISTORY_ERRORS] = COUNTER("history_errors_total", "Failed commits of the history.", NULL),
    [METRICS_HISTORY_QUEUED_BYTES] = GAUGE("history_queue_bytes", "Waiting to be recorded.", NULL),
    [METRICS_HISTORY_BYTES] = GAUGE("history_bytes", "Size of the history's file.", NULL),
    [METRICS_HISTORY_BEHIND] =
        GAUGE("history_behind", "1 when the history cannot keep up with the spool.", NULL),
    [METRICS_READY] = GAUGE("ready", "1 when mail is accepted.", NULL),
    [METRICS_CERTIFICATE_END] = GAUGE("tls_certificate_end_seconds",
                                      "When the first certificate ends, in seconds since 1970.", NULL),
};
