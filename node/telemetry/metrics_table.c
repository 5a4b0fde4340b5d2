/* Every metric with its help and all values of its labels. Order: enum metrics_id. */
#include "node/telemetry/metrics_table.h"

#define MS INT64_C(1000)
#define S (1000 * MS)

const int64_t metrics_bounds_us[METRICS_BUCKETS] = { 1 * MS,   2500,     5 * MS,    10 * MS, 25 * MS, 50 * MS,
                                                     100 * MS, 250 * MS, 500 * MS,  1 * S,   5 * S,   30 * S,
                                                     300 * S,  3600 * S, 86400 * S, 0 };

static const char *const listeners[] = { "listener=\"submission\"", "listener=\"submissions\"",
                                         "listener=\"relay\"", "listener=\"inbound\"", NULL };
static const char *const directions[] = { "direction=\"in\"", "direction=\"out\"", NULL };
static const char *const tls[] = {
    "direction=\"in\",version=\"1.2\"",   "direction=\"in\",version=\"1.3\"",
    "direction=\"in\",version=\"old\"",   "direction=\"in\",version=\"failed\"",
    "direction=\"out\",version=\"1.2\"",  "direction=\"out\",version=\"1.3\"",
    "direction=\"out\",version=\"old\"",  "direction=\"out\",version=\"failed\"",
    "direction=\"out\",version=\"none\"", NULL
};
static const char *const tls_policies[] = {
    "policy=\"dane\",result=\"verified\"",  "policy=\"dane\",result=\"unauthenticated\"",
    "policy=\"dane\",result=\"failed\"",    "policy=\"mta_sts\",result=\"verified\"",
    "policy=\"mta_sts\",result=\"failed\"", NULL
};
static const char *const shaping[] = { "action=\"backoff\"",  "action=\"disable_source\"",
                                       "action=\"suspend\"",  "action=\"bounce\"",
                                       "action=\"greylist\"", "action=\"notify\"",
                                       "action=\"reroute\"",  NULL };
static const char *const auth[] = { "result=\"ok\"", "result=\"failed\"", "result=\"busy\"", NULL };
static const char *const stages[] = { "stage=\"connect\"", "stage=\"helo\"",  "stage=\"auth\"",
                                      "stage=\"mail\"",    "stage=\"rcpt\"",  "stage=\"data\"",
                                      "stage=\"content\"", "stage=\"other\"", NULL };
static const char *const clients[] = { "result=\"passed\"", "result=\"unknown\"", "result=\"deferred\"",
                                       "result=\"deferred_unknown\"", NULL };
static const char *const outcomes[] = { "outcome=\"delivered\"",
                                        "outcome=\"relayed\"",
                                        "outcome=\"deferred\"",
                                        "outcome=\"bounced\"",
                                        "outcome=\"expired\"",
                                        "outcome=\"deleted\"",
                                        NULL };
static const char *const dsns[] = { "action=\"failed\"", "action=\"delayed\"", "action=\"relayed\"",
                                    "action=\"delivered\"", NULL };
static const char *const algorithms[] = { "algorithm=\"rsa\"", "algorithm=\"ed25519\"", NULL };
static const char *const verdicts[] = { "verdict=\"clean\"",  "verdict=\"spam\"",      "verdict=\"reject\"",
                                        "verdict=\"soft\"",   "verdict=\"unchecked\"", "verdict=\"busy\"",
                                        "verdict=\"too_large\"", "verdict=\"quarantine\"", NULL };
static const char *const unproven[] = { "verdict=\"refused\"", "verdict=\"warned\"", NULL };
static const char *const returned[] = { "kind=\"hard\"", "kind=\"soft\"", "kind=\"complaint\"",
                                        "kind=\"other\"", NULL };
static const char *const classes[] = {
    "class=\"other\"",        "class=\"unknown_user\"", "class=\"mailbox_full\"", "class=\"policy\"",
    "class=\"block\"",        "class=\"content\"",      "class=\"greylist\"",     "class=\"rate\"",
    "class=\"relay_denied\"", "class=\"dns\"",          "class=\"expired\"",      NULL
};
static const char *const states[] = { "state=\"ready\"", "state=\"deferred\"", "state=\"held\"",
                                      "state=\"active\"", NULL };
static const char *const held[] = { "result=\"charged\"",  "result=\"exempt\"",  "result=\"free\"",
                                    "result=\"no_quota\"", "result=\"expired\"", NULL };
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
    [METRICS_CLIENT_CHECKS] = COUNTER(
        "client_checks_total", "Recipients by what the reverse DNS of the relay client said.", clients),
    [METRICS_MESSAGES_RECEIVED] = COUNTER("messages_received_total", "Messages accepted.", listeners),
    [METRICS_RECIPIENTS_RECEIVED] =
        COUNTER("recipients_received_total", "Recipients of messages accepted.", NULL),
    [METRICS_BYTES_RECEIVED] = COUNTER("received_bytes_total", "Content of messages accepted.", NULL),
    [METRICS_DKIM_SIGNATURES] = COUNTER("dkim_signatures_total", "DKIM signatures made.", algorithms),
    [METRICS_DKIM_FAILED] =
        COUNTER("dkim_failed_total", "DKIM signatures that could not be made.", algorithms),
    [METRICS_UNPROVEN] =
        COUNTER("domain_unproven_total", "Addresses of domains that were not proven.", unproven),
    [METRICS_DKIM_UNSIGNED] =
        COUNTER("dkim_unsigned_total", "Messages accepted that no DKIM key is for.", NULL),
    [METRICS_DKIM_SECONDS] =
        HISTOGRAM("dkim_duration_seconds", "From the end of the content to its DKIM signatures."),
    [METRICS_COMMIT_SECONDS] =
        HISTOGRAM("commit_duration_seconds", "From the end of content to its being on disk."),
    [METRICS_CONTENT_CHECKS] =
        COUNTER("content_checks_total", "Messages by what the check of their content said.", verdicts),
    [METRICS_CONTENT_SECONDS] =
        HISTOGRAM("content_check_duration_seconds", "From the end of content to a verdict on it."),
    [METRICS_CONTENT_RUNNING] = GAUGE("content_checks_running", "Messages that servers and filters look at now.", NULL),
    [METRICS_CONTENT_WAITING] = GAUGE("content_checks_waiting", "Messages that wait for their turn.", NULL),
    [METRICS_CONTENT_BYTES] = GAUGE("content_bytes", "Copies of messages that are to be checked.", NULL),
    [METRICS_HELD_MESSAGES] = GAUGE("held_messages", "Messages held.", NULL),
    [METRICS_HELD_BYTES] = GAUGE("held_bytes", "Bytes of messages held.", NULL),
    [METRICS_HELD_REFUSED] = COUNTER("held_refused_total", "Messages to be held that found no room.", NULL),
    [METRICS_HELD_RECIPIENTS] = COUNTER("held_recipients_total", "Held recipients, by what became of them.", held),
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
    [METRICS_SHAPING] = COUNTER("shaping_total", "What rules about replies brought about.", shaping),
    [METRICS_TLS_POLICY] = COUNTER(
        "tls_policy_total", "Connections to hosts that ask for TLS, by what came of it.", tls_policies),
    [METRICS_RETURNED] =
        COUNTER("returned_total", "Bounces, by recipient, and complaints that came back.", returned),
    [METRICS_GREYLIST_SITES] = GAUGE("greylist_sites", "Destinations known to greylist.", NULL),
    [METRICS_GREYLIST_ENDLESS] =
        GAUGE("greylist_sites_endless", "Of these: what they greylist is never taken.", NULL),
    [METRICS_SITES_RESTED] =
        GAUGE("sites_rested", "Destinations for which every address of a pool rests.", NULL),
    [METRICS_STS_POLICIES] = GAUGE("mta_sts_policies", "Domains of which an MTA-STS policy is kept.", NULL),
    [METRICS_BOUNCES] =
        COUNTER("bounces_total", "Recipients that were refused for good, at once or later, by why.", classes),
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
    [METRICS_CERTIFICATE_END] =
        GAUGE("tls_certificate_end_seconds", "When the first certificate ends, in seconds since 1970.", NULL),
    [METRICS_CLUSTER_MEMBER] = GAUGE("cluster_member", "1 when the node is a member of a cluster.", NULL),
    [METRICS_CLUSTER_QUORUM] =
        GAUGE("cluster_quorum", "1 when the node sees a leader that has a majority.", NULL),
    [METRICS_CLUSTER_SESSION] =
        GAUGE("cluster_session_usable", "1 when the node may admit mail for the cluster.", NULL),
    [METRICS_CLUSTER_HOLDING] =
        GAUGE("cluster_holding",
              "1 when the node delivers nothing because it has no session and when_cut_off is hold.", NULL),
    [METRICS_CLUSTER_LEADER] = GAUGE("cluster_leader", "1 when the node leads.", NULL),
    [METRICS_CLUSTER_NODES] = GAUGE("cluster_nodes", "Members of the cluster.", NULL),
    [METRICS_CLUSTER_NODES_SILENT] =
        GAUGE("cluster_nodes_silent", "Members that this node does not hear.", NULL),
    [METRICS_CLUSTER_VOTERS] = GAUGE("cluster_voters", "Members that vote.", NULL),
    [METRICS_CLUSTER_TERM] = GAUGE("cluster_term", "Term of the consensus: grows with elections.", NULL),
    [METRICS_CLUSTER_APPLIED] =
        GAUGE("cluster_applied_index", "Last entry of the log that was applied.", NULL),
    [METRICS_CLUSTER_DIGEST_MISMATCH] =
        GAUGE("cluster_digest_mismatch", "1 when the states of nodes were seen to differ.", NULL),
    [METRICS_CLUSTER_CERTIFICATE_ENDS] =
        GAUGE("cluster_certificate_ends_soon",
              "1 when the node's cluster certificate ends soon and was not renewed.", NULL),
    [METRICS_CLUSTER_LOG_BYTES] = GAUGE("cluster_log_bytes", "Size of the log on disk.", NULL),
    [METRICS_CLUSTER_SNAPSHOT_BYTES] =
        GAUGE("cluster_snapshot_bytes", "Size of the snapshots on disk.", NULL),
    [METRICS_CLUSTER_STATE_BYTES] = GAUGE("cluster_state_bytes", "Memory of the replicated state.", NULL),
    [METRICS_CLUSTER_FROZEN] = GAUGE("cluster_frozen", "Senders frozen in the cluster.", NULL),
    [METRICS_CLUSTER_FROZEN_LOCAL] = GAUGE("cluster_frozen_local", "Senders frozen on this node only.", NULL),
    [METRICS_CLUSTER_COUNTERS] = GAUGE("cluster_counters", "Counters of senders' limits.", NULL),
    [METRICS_CLUSTER_COUNTERS_MAX] =
        GAUGE("cluster_counters_max", "With so many counters, further senders are refused.", NULL),
    [METRICS_CLUSTER_TRANSFERS] =
        GAUGE("cluster_transfers_open", "Batches of messages on their way between nodes.", NULL),
    [METRICS_CLUSTER_TOKENS_CHARGED] =
        COUNTER("cluster_tokens_charged_total", "Tokens granted to nodes, in the whole cluster.", NULL),
    [METRICS_CLUSTER_TOKENS_REFUNDED] =
        COUNTER("cluster_tokens_refunded_total", "Tokens given back by nodes.", NULL),
    [METRICS_CLUSTER_TOKENS_BURNED] =
        COUNTER("cluster_tokens_burned_total", "Tokens lost with a node, or given back too late.", NULL),
    [METRICS_CLUSTER_GRANTS] = COUNTER("cluster_grants_total", "Requests for tokens granted.", NULL),
    [METRICS_CLUSTER_REFUSALS] = COUNTER("cluster_refusals_total", "Requests for tokens refused.", NULL),
    [METRICS_CLUSTER_NO_ROOM] =
        COUNTER("cluster_no_room_total", "Requests for tokens refused for want of counters.", NULL),
};
