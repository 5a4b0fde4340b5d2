/* The table of routes: what the API offers. docs/openapi.json describes the same, and a test compares them.
 */
#include "node/admin/call.h"

#include "base/err.h"

#include <errno.h>
#include <stdio.h>

#define SELECTOR                                                                                             \
    { .name = "ids", .type = ADMIN_TYPE_IDS, .help = "queue ids" },                                          \
        { .name = "sender", .type = ADMIN_TYPE_STRING, .help = "reverse-path: address, @domain or <>" },     \
        { .name = "recipient", .type = ADMIN_TYPE_STRING, .help = "address or @domain" },                    \
        { .name = "site", .type = ADMIN_TYPE_STRING, .help = "destination" },                                \
        { .name = "account", .type = ADMIN_TYPE_STRING, .help = "who submitted" },                           \
        { .name = "tenant", .type = ADMIN_TYPE_STRING, .help = "whose account it is" },                      \
        { .name = "older_than",                                                                              \
          .type = ADMIN_TYPE_DURATION,                                                                       \
          .max = INT64_C(31536000000),                                                                       \
          .help = "queued longer" },                                                                         \
        { .name = "state", .type = ADMIN_TYPE_CHOICE, .choices = "queued|held|active", .help = "state" },    \
    {                                                                                                        \
        .name = "reply_match", .type = ADMIN_TYPE_STRING,                                                    \
        .help = "PCRE2 pattern over the last reply, without case"                                            \
    }

#define LIMIT(most)                                                                                          \
    {                                                                                                        \
        .name = "limit", .type = ADMIN_TYPE_INT, .min = 1, .max = (most), .help = "rows at most"             \
    }
#define AFTER                                                                                                \
    {                                                                                                        \
        .name = "after", .type = ADMIN_TYPE_STRING, .help = "the last page's next"                           \
    }

#define SCOPE                                                                                                \
    {                                                                                                        \
        .name = "scope", .type = ADMIN_TYPE_CHOICE, .choices = "cluster|local",                              \
        .help = "all nodes, or this one"                                                                     \
    }

/* Of acts: all that is there, or not more than was seen. */
#define ALL                                                                                                  \
    {                                                                                                        \
        .name = "all", .type = ADMIN_TYPE_BOOL,                                                              \
        .help = "needed when nothing is selected: everything is meant"                                       \
    }
#define EXPECTED                                                                                             \
    {                                                                                                        \
        .name = "expected", .type = ADMIN_TYPE_INT, .min = 1, .max = UINT32_MAX,                             \
        .help = "change nothing if more recipients than this match"                                          \
    }

#define HELD_SELECTOR                                                                                         \
    { .name = "ids", .type = ADMIN_TYPE_IDS, .help = "queue ids" },                                          \
        { .name = "sender", .type = ADMIN_TYPE_STRING, .help = "reverse-path: address, @domain or <>" },     \
        { .name = "recipient", .type = ADMIN_TYPE_STRING, .help = "address or @domain" },                    \
        { .name = "account", .type = ADMIN_TYPE_STRING, .help = "who submitted" },                           \
        { .name = "tenant", .type = ADMIN_TYPE_STRING, .help = "whose account it is" },                      \
        { .name = "reason",                                                                                  \
          .type = ADMIN_TYPE_CHOICE,                                                                         \
          .choices = "frozen|over_limit|rule|content|operator",                                              \
          .help = "why it is held" },                                                                        \
    {                                                                                                        \
        .name = "older_than", .type = ADMIN_TYPE_DURATION, .help = "arrived longer ago than this"            \
    }

static const struct admin_param held_params[] = {
    HELD_SELECTOR,
    { .name = "limit", .type = ADMIN_TYPE_INT, .min = 1, .max = ADMIN_ROWS_MAX, .help = "rows at most" },
    { .name = "after", .type = ADMIN_TYPE_STRING, .help = "the last page's next" },
    { .name = "scope", .type = ADMIN_TYPE_CHOICE, .choices = "cluster|local", .help = "all nodes, or this one" },
    { .name = NULL },
};

#define HELD_ACT                                                                                              \
    HELD_SELECTOR, { .name = "dry_run", .type = ADMIN_TYPE_BOOL, .help = "count only" },                     \
    {                                                                                                        \
        .name = "text", .type = ADMIN_TYPE_STRING, .help = "bounce: the reason given to the sender; else a remark" \
    }

static const struct admin_param held_act_params[] = {
    HELD_ACT,
    ALL,
    EXPECTED,
    { .name = NULL },
};

static const struct admin_param held_release_params[] = {
    HELD_ACT,
    ALL,
    EXPECTED,
    { .name = "exempt", .type = ADMIN_TYPE_BOOL, .help = "charge no limits" },
    { .name = "operator", .type = ADMIN_TYPE_STRING, .help = "who exempts: a name, for the audit trail" },
    { .name = NULL },
};

static const struct admin_param held_show_params[] = {
    { .name = "by", .type = ADMIN_TYPE_STRING, .help = "the operator, when a node asks" },
    { .name = NULL },
};

/* What nodes ask each other. */
static const struct admin_param held_asked_params[] = {
    HELD_ACT,
    { .name = "verb", .type = ADMIN_TYPE_CHOICE, .required = true, .choices = "release|delete|bounce", .help = "what" },
    { .name = "exempt", .type = ADMIN_TYPE_BOOL, .help = "charge no limits" },
    { .name = "by", .type = ADMIN_TYPE_STRING, .help = "the operator" },
    { .name = "places", .type = ADMIN_TYPE_STRING, .help = "NODE=ID,...: who goes on, and behind which message" },
    { .name = NULL },
};

static const struct admin_param none[] = { { .name = NULL } };

static const struct admin_param queue_params[] = {
    SELECTOR, LIMIT(ADMIN_ROWS_MAX), AFTER, SCOPE, { .name = NULL }
};

static const struct admin_param summary_params[] = {
    SELECTOR,
    { .name = "by",
      .type = ADMIN_TYPE_CHOICE,
      .choices = "site|sender|account|state|reply",
      .help = "group by" },
    LIMIT(ADMIN_ROWS_MAX),
    SCOPE,
    { .name = NULL },
};

static const struct admin_param act_params[] = {
    SELECTOR,
    ALL,
    { .name = "dry_run", .type = ADMIN_TYPE_BOOL, .help = "count only" },
    EXPECTED,
    { .name = "text",
      .type = ADMIN_TYPE_STRING,
      .help = "bounce: the reason given to the sender; else a remark" },
    { .name = NULL },
};

static const struct admin_param move_params[] = {
    SELECTOR,
    ALL,
    { .name = "dry_run", .type = ADMIN_TYPE_BOOL, .help = "count only" },
    { .name = "to", .type = ADMIN_TYPE_STRING, .required = true, .help = "name or id of the node that gets them" },
    { .name = NULL },
};

static const struct admin_param content_params[] = {
    { .name = "headers_only", .type = ADMIN_TYPE_BOOL, .help = "end after the header" },
    { .name = NULL },
};

static const struct admin_param track_params[] = {
    { .name = "id", .type = ADMIN_TYPE_STRING, .help = "queue id" },
    { .name = "message_id", .type = ADMIN_TYPE_STRING, .help = "Message-ID, with or without < >" },
    { .name = "sender", .type = ADMIN_TYPE_STRING, .help = "reverse-path: address, @domain or <>" },
    { .name = "recipient", .type = ADMIN_TYPE_STRING, .help = "address or @domain" },
    { .name = "account", .type = ADMIN_TYPE_STRING, .help = "who submitted" },
    { .name = "tenant", .type = ADMIN_TYPE_STRING, .help = "whose account it is" },
    { .name = "status",
      .type = ADMIN_TYPE_CHOICE,
      .choices = "queued|held|active|delivered|relayed|bounced|expired|deleted|moved|rejected",
      .help = "what became of it" },
    { .name = "steps",
      .type = ADMIN_TYPE_BOOL,
      .help = "what happened before, too; with id or message_id it is so by itself" },
    { .name = "since", .type = ADMIN_TYPE_TIME, .help = "arrived at or after" },
    { .name = "until", .type = ADMIN_TYPE_TIME, .help = "arrived before" },
    LIMIT(ADMIN_ROWS_MAX),
    AFTER,
    SCOPE,
    { .name = NULL },
};

static const struct admin_param notify_params[] = { SCOPE, { .name = NULL } };
static const struct admin_param notify_test_params[] = {
    { .name = "target", .type = ADMIN_TYPE_STRING, .required = true, .help = "its name in the policy" },
    { .name = NULL },
};

static const struct admin_param events_params[] = {
    { .name = "kinds", .type = ADMIN_TYPE_STRING, .help = "only these events: bounced,expired" },
    { .name = "id", .type = ADMIN_TYPE_STRING, .help = "queue id" },
    { .name = "account", .type = ADMIN_TYPE_STRING, .help = "who submitted" },
    { .name = "tenant", .type = ADMIN_TYPE_STRING, .help = "whose account it is" },
    { .name = "sender", .type = ADMIN_TYPE_STRING, .help = "reverse-path" },
    { .name = "recipient", .type = ADMIN_TYPE_STRING, .help = "address" },
    { .name = "site", .type = ADMIN_TYPE_STRING, .help = "destination, as it is listed" },
    { .name = "client_ip", .type = ADMIN_TYPE_STRING, .help = "a client's address" },
    LIMIT(ADMIN_ROWS_MAX),
    { .name = "after", .type = ADMIN_TYPE_STRING, .help = "next of the reply before: what came since" },
    SCOPE,
    { .name = NULL },
};

static const struct admin_param top_params[] = { LIMIT(100), SCOPE, { .name = NULL } };

static const struct admin_param site_params[] = {
    { .name = "state", .type = ADMIN_TYPE_CHOICE, .choices = "up|down|backoff", .help = "only these" },
    LIMIT(ADMIN_ROWS_MAX),
    AFTER,
    { .name = NULL },
};

static const struct admin_param hold_params[] = {
    { .name = "site", .type = ADMIN_TYPE_STRING, .help = "only of this destination" },
    { .name = "limit", .type = ADMIN_TYPE_INT, .min = 1, .max = ADMIN_ROWS_MAX, .help = "rows at most" },
    { .name = NULL },
};

static const struct admin_param site_show_params[] = {
    { .name = "site", .type = ADMIN_TYPE_STRING, .required = true, .help = "site or destination" },
    { .name = "scope", .type = ADMIN_TYPE_CHOICE, .choices = "cluster|local", .help = "all nodes, or this one" },
    { .name = NULL },
};

#define SITE_SOURCE                                                                                          \
    { .name = "site", .type = ADMIN_TYPE_STRING, .required = true, .help = "destination, as it is listed" }, \
    {                                                                                                        \
        .name = "source", .type = ADMIN_TYPE_STRING, .help = "source address"                                \
    }
static const struct admin_param site_backoff_params[] = {
    SITE_SOURCE,
    { .name = "action",
      .type = ADMIN_TYPE_CHOICE,
      .choices = "backoff|suspend|disable_source",
      .help = "default: backoff" },
    { .name = "for", .type = ADMIN_TYPE_DURATION, .min = 1000, .max = 2678400000, .help = "default: 30m" },
    { .name = NULL },
};
static const struct admin_param site_resume_params[] = { SITE_SOURCE, { .name = NULL } };

static const struct admin_param ip_check_params[] = {
    { .name = "ip", .type = ADMIN_TYPE_STRING, .help = "only this source address" },
    { .name = NULL },
};

static const struct admin_param trace_params[] = {
    { .name = "side",
      .type = ADMIN_TYPE_CHOICE,
      .required = true,
      .choices = "client|server",
      .help = "client: our sessions with next hops; server: clients' sessions with us" },
    { .name = "ip", .type = ADMIN_TYPE_STRING, .help = "peer's address or prefix" },
    { .name = "account", .type = ADMIN_TYPE_STRING, .help = "who submits" },
    { .name = "site", .type = ADMIN_TYPE_STRING, .help = "destination (client)" },
    { .name = "listener", .type = ADMIN_TYPE_STRING, .help = "listener's name (server)" },
    { .name = "sessions",
      .type = ADMIN_TYPE_INT,
      .min = 1,
      .max = 10000,
      .help = "end after so many sessions" },
    { .name = "seconds",
      .type = ADMIN_TYPE_INT,
      .min = 1,
      .max = ADMIN_TRACE_MAX_S,
      .help = "end after; default 300" },
    { .name = NULL },
};

static const struct admin_param probe_params[] = {
    { .name = "recipient", .type = ADMIN_TYPE_STRING, .required = true, .help = "address to ask about" },
    { .name = "sender", .type = ADMIN_TYPE_STRING, .help = "reverse-path; default <>" },
    { .name = "from_ip", .type = ADMIN_TYPE_STRING, .help = "source address" },
    { .name = NULL },
};

static const struct admin_param log_params[] = {
    { .name = "level",
      .type = ADMIN_TYPE_CHOICE,
      .required = true,
      .choices = "error|warn|info|debug|trace",
      .help = "least severity that is logged" },
    { .name = NULL },
};

static const struct admin_param accounts_params[] = { LIMIT(ADMIN_ROWS_MAX), AFTER, { .name = NULL } };

#define ACCOUNT_NAME                                                                                         \
    {                                                                                                        \
        .name = "name", .type = ADMIN_TYPE_STRING, .required = true, .help = "login name"                    \
    }
#define ACCOUNT_REST                                                                                         \
    { .name = "class", .type = ADMIN_TYPE_CHOICE, .choices = "person|device|bulk", .help = "stream" },       \
        { .name = "tenant", .type = ADMIN_TYPE_STRING, .help = "default: the domain" },                      \
        { .name = "senders",                                                                                 \
          .type = ADMIN_TYPE_STRINGS,                                                                        \
          .max = 100,                                                                                        \
          .help = "envelope senders besides the name" },                                                     \
        { .name = "disabled", .type = ADMIN_TYPE_BOOL, .help = "may not log in" },                           \
    {                                                                                                        \
        .name = NULL                                                                                         \
    }

static const struct admin_param account_add_params[] = {
    ACCOUNT_NAME,
    { .name = "password", .type = ADMIN_TYPE_SECRET, .required = true, .help = "password" },
    ACCOUNT_REST,
};

const struct admin_param admin_account_params[] = {
    ACCOUNT_NAME,
    { .name = "password", .type = ADMIN_TYPE_SECRET, .help = "password, or" },
    { .name = "hash", .type = ADMIN_TYPE_SECRET, .help = "crypt(5) hash" },
    ACCOUNT_REST,
};

static const struct admin_param account_passwd_params[] = {
    ACCOUNT_NAME,
    { .name = "password", .type = ADMIN_TYPE_SECRET, .required = true, .help = "the new password" },
    { .name = NULL },
};

static const struct admin_param account_remove_params[] = { ACCOUNT_NAME, { .name = NULL } };

static const struct admin_param account_import_params[] = {
    { .name = "accounts",
      .type = ADMIN_TYPE_OBJECTS,
      .required = true,
      .max = ADMIN_BATCH_MAX,
      .help = "entries" },
    { .name = "replace", .type = ADMIN_TYPE_BOOL, .help = "replace those that exist" },
    { .name = NULL },
};

const struct admin_route admin_routes[] = {
    { "GET", "/healthz", admin_on_healthz, none, ADMIN_ROUTE_OPEN, "the process lives" },
    { "GET", "/readyz", admin_on_readyz, none, ADMIN_ROUTE_OPEN, "the node accepts mail" },
    { "GET", "/metrics", admin_on_metrics, none, ADMIN_ROUTE_METRICS, "Prometheus metrics" },
    { "GET", "/v1/openapi.json", admin_on_openapi, none, 0, "this description" },
    { "POST", "/v1/login", admin_on_login, admin_login_params, ADMIN_ROUTE_OPEN, "log in to the dashboard" },
    { "POST", "/v1/logout", admin_on_logout, none, 0, "end this login" },
    { "GET", "/v1/session", admin_on_session, none, 0, "who is logged in by this cookie" },
    { "POST", "/v1/session", admin_on_session_keep, none, 0, "the login is in use" },
    { "GET", "/v1/operators", admin_on_operators, admin_page_params, 0, "who may log in, and who is logged in" },
    { "POST", "/v1/operators/add", admin_on_operator_add, admin_operator_add_params, 0, "let somebody log in" },
    { "POST", "/v1/operators/set", admin_on_operator_set, admin_operator_set_params, 0, "change an operator's role" },
    { "POST", "/v1/operators/passwd", admin_on_operator_passwd, admin_operator_passwd_params, 0,
      "set an operator's password, and end all logins with the old one" },
    { "POST", "/v1/operators/remove", admin_on_operator_remove, admin_operator_params, 0, "remove an operator" },
    { "POST", "/v1/operators/logout", admin_on_operator_logout, admin_operator_params, 0,
      "end all logins of an operator" },
    { "GET", "/v1/series", admin_on_series, admin_series_params, ADMIN_ROUTE_ASKED,
      "counts of the last hour or day, for plots" },
    { "GET", "/v1/status", admin_on_status, admin_scope_params, ADMIN_ROUTE_ASKED, "what the node does" },
    { "GET", "/v1/queue", admin_on_queue, queue_params, ADMIN_ROUTE_ASKED, "recipients in the queue" },
    { "GET", "/v1/queue/summary", admin_on_summary, summary_params, ADMIN_ROUTE_ASKED,
      "the queue in groups, by age" },
    { "GET", "/v1/queue/messages/{id}", admin_on_message, none, 0, "one message and its recipients" },
    { "GET", "/v1/queue/messages/{id}/content", admin_on_content, content_params, 0, "a message's content" },
    { "POST", "/v1/queue/retry", admin_on_retry, act_params, 0, "try again now" },
    { "POST", "/v1/queue/hold", admin_on_hold, act_params, 0, "keep back" },
    { "POST", "/v1/queue/release", admin_on_release, act_params, 0, "end a hold" },
    { "POST", "/v1/queue/bounce", admin_on_bounce, act_params, 0, "give up, and tell the sender" },
    { "POST", "/v1/queue/delete", admin_on_delete, act_params, 0, "give up without telling" },
    { "GET", "/v1/held", admin_on_held, held_params, ADMIN_ROUTE_ASKED, "held mail, and why" },
    { "GET", "/v1/held/status", admin_on_held_status, admin_scope_params, ADMIN_ROUTE_ASKED, "how much is held" },
    { "GET", "/v1/held/act", admin_on_held_act, held_asked_params, ADMIN_ROUTE_ASKED, "what nodes ask each other" },
    { "GET", "/v1/held/messages/{id}", admin_on_held_show, held_show_params, ADMIN_ROUTE_ASKED,
      "a held message: header, and its text made harmless" },
    { "POST", "/v1/held/release", admin_on_held_release, held_release_params, 0, "let held mail go" },
    { "POST", "/v1/held/delete", admin_on_held_delete, held_act_params, 0, "end held mail without telling" },
    { "POST", "/v1/held/bounce", admin_on_held_bounce, held_act_params, 0, "return held mail to its sender" },
    { "POST", "/v1/queue/move", admin_on_queue_move, move_params, 0, "hand messages to another node" },
    { "GET", "/v1/transfers", admin_on_transfers, none, ADMIN_ROUTE_ASKED, "mail on its way between nodes" },
    { "POST", "/v1/transfers/cancel", admin_on_transfer_cancel, admin_transfer_params, 0,
      "keep a batch that is in doubt" },
    { "POST", "/v1/transfers/take", admin_on_transfer_take, admin_transfer_params, 0,
      "take a batch whose giver was removed" },
    { "POST", "/v1/transfers/forget", admin_on_transfer_forget, admin_node_params, 0,
      "end the batches of a removed node" },
    { "POST", "/v1/spool/adopt", admin_on_spool_adopt, admin_adopt_params, 0, "take in a dead node's spool" },
    { "GET", "/v1/track", admin_on_track, track_params, ADMIN_ROUTE_ASKED, "what became of a message" },
    { "GET", "/v1/events", admin_on_events, events_params, ADMIN_ROUTE_ASKED, "the newest lines of the event log" },
    { "GET", "/v1/events/stream", admin_on_follow, events_params, 0, "the event log as server-sent events" },
    { "GET", "/v1/notify", admin_on_notify, notify_params, ADMIN_ROUTE_ASKED, "what targets of notifications have taken" },
    { "POST", "/v1/notify/test", admin_on_notify_test, notify_test_params, 0, "send a target of notifications a test" },
    { "GET", "/v1/top", admin_on_top, top_params, ADMIN_ROUTE_ASKED, "busiest senders and sites" },
    { "GET", "/v1/trace", admin_on_trace, trace_params, 0, "live dialogue" },
    { "POST", "/v1/probe", admin_on_probe, probe_params, 0, "ask a next hop about a recipient" },
    { "GET", "/v1/domains", admin_on_domains, admin_domains_params, 0, "domains that tenants prove" },
    { "POST", "/v1/domain/prove", admin_on_domain_prove, admin_domain_prove_params, 0,
      "ask for proof of a domain, and look whether it is there" },
    { "POST", "/v1/domain/forget", admin_on_domain_forget, admin_domain_forget_params, 0, "forget a domain's proof" },
    { "GET", "/v1/domain/check", admin_on_domain_check, admin_domain_check_params, 0,
      "what the DNS says of a sender's domain" },
    { "GET", "/v1/ip/check", admin_on_ip_check, ip_check_params, 0, "names of the source addresses, and lists of bad ones" },
    { "GET", "/v1/sites", admin_on_sites, site_params, 0, "destinations" },
    { "GET", "/v1/sites/holds", admin_on_site_holds, hold_params, 0, "what is in force against destinations" },
    { "GET", "/v1/sites/show", admin_on_site_show, site_show_params, ADMIN_ROUTE_ASKED,
      "what one site is given, and what is in force for it, on all nodes" },
    { "POST", "/v1/sites/backoff", admin_on_site_backoff, site_backoff_params, 0, "send to a destination slowly, or not" },
    { "POST", "/v1/sites/resume", admin_on_site_resume, site_resume_params, 0, "end what is in force against it" },
    { "POST", "/v1/reload", admin_on_reload, none, 0, "read configuration and certificates again" },
    { "GET", "/v1/config", admin_on_config, none, 0, "the configuration in force" },
    { "POST", "/v1/config/check", admin_on_config_check, none, 0, "check the file that a reload would read" },
    { "GET", "/v1/log", admin_on_log, none, 0, "the log's level" },
    { "POST", "/v1/log", admin_on_log_set, log_params, 0, "set the log's level" },
    { "GET", "/v1/accounts", admin_on_accounts, accounts_params, 0, "accounts" },
    { "POST", "/v1/accounts/add", admin_on_account_add, account_add_params, 0, "make an account" },
    { "POST", "/v1/accounts/passwd", admin_on_account_passwd, account_passwd_params, 0, "set a password" },
    { "POST", "/v1/accounts/remove", admin_on_account_remove, account_remove_params, 0, "remove an account" },
    { "POST", "/v1/accounts/import", admin_on_account_import, account_import_params, 0,
      "make many accounts" },
    { "GET", "/v1/accounts/show", admin_on_account_show, admin_account_show_params, 0, "one account" },
    { "POST", "/v1/accounts/set", admin_on_account_set, admin_account_set_params, 0, "change an account" },
    { "GET", "/v1/cluster", admin_on_cluster, none, 0, "the cluster and its nodes" },
    { "POST", "/v1/cluster/init", admin_on_cluster_init, admin_cluster_init_params, 0, "make a cluster" },
    { "GET", "/v1/cluster/backup", admin_on_cluster_backup, none, 0, "the cluster's state, for a restore" },
    { "POST", "/v1/cluster/raise", admin_on_cluster_raise, admin_cluster_raise_params, 0,
      "put a feature level in force" },
    { "POST", "/v1/node/join", admin_on_node_join, admin_node_join_params, 0, "join a cluster" },
    { "POST", "/v1/node/drain", admin_on_node_drain, admin_node_drain_params, 0, "take no new mail" },
    { "POST", "/v1/node/leave", admin_on_node_leave, none, 0, "hand over the mail and leave the cluster" },
    { "POST", "/v1/nodes/token", admin_on_node_token, admin_node_token_params, 0, "a token to join with" },
    { "POST", "/v1/nodes/role", admin_on_node_role, admin_node_role_params, 0,
      "make a node a voter or a standby" },
    { "POST", "/v1/nodes/address", admin_on_node_address, admin_node_address_params, 0,
      "say where a node is reached" },
    { "POST", "/v1/nodes/remove", admin_on_node_remove, admin_node_params, 0, "remove a dead node" },
    { "GET", "/v1/audit", admin_on_audit, admin_page_params, 0, "what operators did" },
    { "POST", "/v1/freeze", admin_on_freeze, admin_freeze_params, 0, "stop a sender on all nodes" },
    { "POST", "/v1/thaw", admin_on_thaw, admin_thaw_params, 0, "let a sender go on" },
    { "GET", "/v1/frozen", admin_on_frozen, admin_page_params, 0, "who is frozen" },
    { "GET", "/v1/tenants", admin_on_tenants, admin_page_params, 0, "tenants" },
    { "POST", "/v1/tenants/set", admin_on_tenant_set, admin_noted_params, 0, "make or change a tenant" },
    { "POST", "/v1/tenants/contact", admin_on_tenant_contact, admin_tenant_contact_params, 0,
      "say whom a tenant wants to be told of what concerns it" },
    { "POST", "/v1/tenants/remove", admin_on_tenant_remove, admin_name_params, 0, "remove a tenant" },
    { "GET", "/v1/tenants/report", admin_on_tenant_report, admin_tenant_report_params, 0,
      "what a tenant is told about its mail" },
    { "GET", "/v1/tenants/tokens", admin_on_tenant_tokens, admin_page_params, 0,
      "tenants' tokens for this API, but for themselves" },
    { "POST", "/v1/tenants/tokens/add", admin_on_tenant_token_add, admin_noted_params, 0,
      "make a token that shows a tenant what is its own" },
    { "POST", "/v1/tenants/tokens/remove", admin_on_tenant_token_remove, admin_tenant_token_params, 0,
      "make a tenant's token worthless" },
    { "GET", "/v1/auth/blocked", admin_on_auth_blocked, admin_scope_params, ADMIN_ROUTE_ASKED,
      "who is blocked for failed logins" },
    { "POST", "/v1/auth/unblock", admin_on_auth_unblock, admin_auth_unblock_params, 0,
      "let an account or a network log in again" },
    { "POST", "/v1/privacy/erase", admin_on_privacy_erase, admin_privacy_erase_params, 0,
      "take an address out of what is kept about finished mail" },
    { "GET", "/v1/privacy/erasures", admin_on_privacy_erasures, admin_page_params, 0,
      "addresses that some node has yet to erase" },
    { "GET", "/v1/dkim", admin_on_dkim, admin_dkim_params, 0, "the cluster's DKIM keys" },
    { "POST", "/v1/dkim/generate", admin_on_dkim_generate, admin_dkim_generate_params, 0,
      "make a DKIM key for all nodes" },
    { "POST", "/v1/dkim/import", admin_on_dkim_import, admin_dkim_import_params, 0,
      "give a DKIM key to all nodes" },
    { "POST", "/v1/dkim/set", admin_on_dkim_set, admin_dkim_set_params, 0, "change when a DKIM key signs" },
    { "POST", "/v1/dkim/remove", admin_on_dkim_remove, admin_dkim_remove_params, 0, "remove a DKIM key" },
    { "POST", "/v1/dkim/rekey", admin_on_rekey, admin_rekey_params, 0,
      "encrypt the cluster's secrets with a new key" },
    { "GET", "/v1/secret", admin_on_secret, admin_page_params, 0, "the cluster's random secrets, but for themselves" },
    { "POST", "/v1/secret/add", admin_on_secret_add, admin_secret_add_params, 0,
      "make or take a random secret of the cluster" },
    { "POST", "/v1/secret/remove", admin_on_secret_remove, admin_secret_remove_params, 0,
      "remove one: what it made is believed no more" },
    { "GET", "/v1/suppression", admin_on_suppression, admin_suppression_params, 0,
      "addresses that are not sent to any more" },
    { "POST", "/v1/suppression/add", admin_on_suppression_add, admin_suppression_add_params, 0,
      "send no more to an address" },
    { "POST", "/v1/suppression/remove", admin_on_suppression_remove, admin_suppression_remove_params, 0,
      "send to an address again" },
    { "GET", "/v1/senders/bounces", admin_on_sender_bounces, admin_sender_bounces_params, 0,
      "what became of a sender's mail" },
    { "GET", "/v1/senders/show", admin_on_sender_show, admin_sender_bounces_params, 0,
      "what was seen of a sender, and what rules make of it" },
    { "GET", "/v1/senders/top", admin_on_sender_top, admin_sender_top_params, 0,
      "senders with the most bounces or complaints" },
    { "POST", "/v1/senders/pin", admin_on_sender_pin, admin_sender_pin_params, 0,
      "say what a sender's standing is" },
    { "POST", "/v1/senders/lift", admin_on_sender_lift, admin_sender_lift_params, 0,
      "end what rules do to a sender's mail" },
    { "GET", "/v1/senders/web", admin_on_sender_web, admin_page_params, 0,
      "scripts and sites of shared hosts that are senders" },
    { "POST", "/v1/senders/forget", admin_on_sender_forget, admin_sender_forget_params, 0, "forget a web sender" },
    { "GET", "/v1/limits", admin_on_limits, admin_sender_params, 0, "a sender's limits and their use" },
    { "POST", "/v1/limits/set", admin_on_limit_set, admin_limit_set_params, 0,
      "give a sender another count" },
    { "POST", "/v1/limits/clear", admin_on_limit_clear, admin_limit_clear_params, 0,
      "back to the policy's count" },
    { "POST", "/v1/limits/reopen", admin_on_limit_reopen, none, 0, "count what is known, after a recovery" },
    { "GET", "/v1/pools", admin_on_pools, none, 0, "pools of source addresses" },
    { "POST", "/v1/pools/add", admin_on_pool_add, admin_noted_params, 0, "make a pool" },
    { "POST", "/v1/pools/remove", admin_on_pool_remove, admin_name_params, 0, "remove a pool" },
    { "POST", "/v1/pools/float", admin_on_pool_float, admin_pool_float_params, 0,
      "whether a pool's addresses go to other nodes" },
    { "POST", "/v1/pools/assign", admin_on_pool_assign, admin_pool_assign_params, 0, "send from a pool" },
    { "POST", "/v1/pools/unassign", admin_on_pool_unassign, admin_pool_unassign_params, 0,
      "no longer send from a pool of its own" },
    { "GET", "/v1/ips", admin_on_ips, none, 0, "source addresses" },
    { "POST", "/v1/ips/add", admin_on_ip_add, admin_ip_add_params, 0, "add a source address" },
    { "POST", "/v1/ips/set", admin_on_ip_set, admin_ip_set_params, 0, "change a source address" },
    { "POST", "/v1/ips/move", admin_on_ip_move, admin_ip_move_params, 0, "give an address to another node" },
    { "POST", "/v1/ips/remove", admin_on_ip_remove, admin_ip_params, 0, "remove a source address" },
    { "GET", "/v1/ips/show", admin_on_ip_show, admin_ip_show_params, ADMIN_ROUTE_ASKED,
      "what sites answer to a source address" },
    { "GET", "/v1/ips/warm", admin_on_ip_warm, admin_ip_params, 0, "an address's warm-up plan" },
    { "POST", "/v1/ips/warm/start", admin_on_ip_warm_start, admin_ip_params, 0,
      "begin a warm-up plan, or change it to what the policy says" },
    { "POST", "/v1/ips/warm/stop", admin_on_ip_warm_stop, admin_ip_params, 0, "end a warm-up plan" },
    { "POST", "/v1/ips/warm/step", admin_on_ip_warm_step, admin_ip_warm_step_params, 0,
      "say where a site stands in a warm-up plan" },
    { "GET", "/v1/policy", admin_on_policy, admin_policy_params, 0, "the cluster's policy" },
    { "GET", "/v1/policy/history", admin_on_policy_history, none, 0, "policies that are kept" },
    { "POST", "/v1/policy/diff", admin_on_policy_diff, admin_policy_diff_params, ADMIN_ROUTE_LARGE,
      "what a policy would change" },
    { "POST", "/v1/policy/apply", admin_on_policy_apply, admin_policy_apply_params, ADMIN_ROUTE_LARGE,
      "put a policy in force" },
    { "POST", "/v1/policy/rollback", admin_on_policy_rollback, admin_policy_rollback_params, 0,
      "put an earlier policy in force again" },
    { "POST", "/v1/policy/test-reply", admin_on_policy_test_reply, admin_policy_test_reply_params, 0,
      "which rule a server's reply meets" },
};
const size_t admin_nroutes = sizeof(admin_routes) / sizeof(admin_routes[0]);

/* Whether `path` is `pattern`; what stands at {id} must look like one, so that nothing else can get through.
 */
static bool path_match(const char *pattern, const char *path, char id[ADMIN_ID_TEXT])
{
    const char *hole = strstr(pattern, "{id}");
    if (hole == NULL)
        return strcmp(pattern, path) == 0;
    size_t before = (size_t)(hole - pattern);
    if (strncmp(pattern, path, before) != 0)
        return false;
    size_t n = strcspn(path + before, "/");
    return strcmp(hole + 4, path + before + n) == 0 && admin_id_ok(span_of(path + before, n), id);
}

const struct admin_route *admin_route_find(const char *method, const char *path, char id[ADMIN_ID_TEXT],
                                           const char **others)
{
    bool get = false, post = false;
    for (size_t i = 0; i < admin_nroutes; i++) {
        const struct admin_route *r = &admin_routes[i];
        if (!path_match(r->path, path, id))
            continue;
        if (strcmp(r->method, method) == 0)
            return r;
        get |= r->method[0] == 'G';
        post |= r->method[0] == 'P';
    }
    *others = get && post ? "GET, POST" : get ? "GET" : post ? "POST" : NULL;
    return NULL;
}

unsigned admin_status_of(int err)
{
    switch (err) {
    case ERR_BAD:
        return 400;
    case ERR_DENIED:
        return 403;
    case ERR_NOT_FOUND:
        return 404;
    case ERR_EXISTS:
        return 409;
    case ERR_LIMIT:
        return 429;
    case -ENOSYS:
        return 501;
    case ERR_BUSY:
    case ERR_CLOSED:
        return 503;
    case ERR_TIMEOUT:
        return 504;
    default:
        return 500;
    }
}

const char *admin_code_of(int status)
{
    static const struct {
        int status;
        const char *code;
    } codes[] = {
        { 400, "bad_request" }, { 401, "unauthorized" }, { 403, "forbidden" },  { 404, "not_found" },
        { 405, "not_allowed" }, { 408, "too_slow" },     { 409, "exists" },     { 411, "no_length" },
        { 413, "too_large" },   { 415, "not_json" },     { 421, "wrong_host" }, { 429, "limit" },
        { 501, "not_here" },    { 503, "busy" },         { 504, "timeout" },
    };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (codes[i].status == status)
            return codes[i].code;
    return "internal";
}

void admin_error_json(struct buf *out, unsigned status, const char *code, const char *text)
{
    struct json_out j;
    json_out_begin(&j, out);
    json_out_open(&j, "error", '{');
    json_out_str(&j, "code", code != NULL ? code : admin_code_of((int)status));
    json_out_str(&j, "message", text);
    json_out_close(&j, '}');
    json_out_end(&j);
}

int admin_missing(struct admin_call *c)
{
    return admin_fail(&c->e, -ENOSYS, "this node does not offer that");
}

int admin_ok(struct admin_call *c)
{
    return buf_put_str(&c->out, "{\"ok\":true}\n");
}

int admin_fail(struct admin_error *e, int err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof(e->text), fmt, ap);
    va_end(ap);
    return err;
}
