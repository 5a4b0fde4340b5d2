/* The options of the commands, by what they have in common. Help, completion, the check of options, and the test of
 * turnpike(1) read them. */
#include "cli/options.h"

#define SELECTOR                                                                                             \
    { "sender", "ADDRESS", NULL, "reverse-path: an address, @domain, or <> for reports" },                   \
        { "recipient", "ADDRESS", NULL, "recipient: an address or @domain" },                                \
        { "site", "SITE", NULL, "destination, as site list names it" },                                      \
        { "account", "NAME", NULL, "the account that submitted it" },                                        \
        { "tenant", "NAME", NULL, "the tenant whose account submitted it" },                                 \
        { "older-than", "TIME", NULL, "queued longer than this: 90s, 5m, 4h, 2d" },                          \
        { "state", "STATE", "queued|held|active", "only recipients in this state" },                         \
    {                                                                                                        \
        "reply-match", "PATTERN", NULL, "PCRE2 pattern found in the last reply, without case"                \
    }
#define ACT                                                                                                  \
    SELECTOR, { "all", NULL, NULL, "everything in the queue" },                                              \
    {                                                                                                        \
        "dry-run", NULL, NULL, "only say what would be done"                                                 \
    }
#define PAGE(what)                                                                                           \
    { "limit", "N", NULL, "at most N " what " (default 100; 0: all)" },                                      \
    {                                                                                                        \
        "after", "PLACE", NULL, "go on where an earlier list ended"                                          \
    }
#define END                                                                                                  \
    {                                                                                                        \
        NULL, NULL, NULL, NULL                                                                               \
    }
#define SCOPE                                                                                                \
    { "cluster", NULL, NULL, "of all nodes" },                                                               \
    {                                                                                                        \
        "local", NULL, NULL, "of this node only"                                                             \
    }
#define TENANT                                                                                               \
    {                                                                                                        \
        "tenant", "NAME", NULL, "a tenant as a whole, in place of an account"                                \
    }
#define NOTE                                                                                                 \
    {                                                                                                        \
        "note", "TEXT", NULL, "a remark"                                                                     \
    }
#define PASSWORD                                                                                             \
    { "password-stdin", NULL, NULL, "read the password from standard input" },                               \
    {                                                                                                        \
        "password-file", "FILE", "@file", "read the password from the first line of FILE"                    \
    }
#define ACCOUNT                                                                                              \
    { "class", "CLASS", "person|device|bulk", "stream (default person)" },                                   \
        { "tenant", "NAME", NULL, "tenant (default: the name's domain)" },                                   \
        { "may-send-as", "ADDRESS", NULL,                                                                    \
          "another envelope sender: address, @domain or * (again for more)" },                               \
    {                                                                                                        \
        "disabled", NULL, NULL, "the account may not log in"                                                 \
    }

const struct cli_option cli_global_options[] = {
    { "json", NULL, NULL, "print JSON as the admin API gives it" },
    { "socket", "PATH", "@file", "the node's admin socket" },
    { "url", "URL", NULL, "the node's admin address instead: http://127.0.0.1:8025" },
    { "token-file", "FILE", "@file", "file with the token that --url needs" },
    { "help", NULL, NULL, "show help for the command" },
    END,
};

#define DKIM_USE                                                                                             \
    { "not-before", "DATE", NULL, "it signs from then on (UTC)" },                                           \
        { "not-after", "DATE", NULL, "it signs until then (UTC)" },                                          \
        { "subdomains", NULL, NULL, "also for names below the domain" },                                     \
    {                                                                                                        \
        "tenants", "NAMES", NULL, "only these tenants' mail, with blanks between"                            \
    }
const struct cli_option cli_dkim_generate_options[] = {
    { "selector", "NAME", NULL, "the key's name: its record is NAME._domainkey.DOMAIN" },
    { "type", "TYPE", "rsa|ed25519", "what kind of key (default rsa)" },
    { "bits", "N", NULL, "of an RSA key (default 2048)" },
    { "out", "FILE", "@file", "where the key goes; it must not be there" },
    { "cluster", NULL, NULL, "all nodes get it, encrypted; no file" },
    DKIM_USE,
    END,
};
const struct cli_option cli_dkim_import_options[] = {
    { "selector", "NAME", NULL, "the key's name: its record is NAME._domainkey.DOMAIN" },
    DKIM_USE,
    END,
};
const struct cli_option cli_dkim_retire_options[] = {
    { "selector", "NAME", NULL, "which key" },
    { "not-after", "DATE", NULL, "it signs until then (UTC; default now)" },
    END,
};
const struct cli_option cli_dkim_remove_options[] = { { "selector", "NAME", NULL, "which key" }, END };
const struct cli_option cli_dkim_list_options[] = { PAGE("keys"), END };
const struct cli_option cli_dkim_rekey_options[] = {
    { "lost", NULL, NULL, "no node has the key in force: what it encrypted stays closed" },
    END,
};
#define DKIM_CONFIG                                                                                          \
    {                                                                                                        \
        "config", "FILE", "@file", "the node's file (default /etc/turnpike/node.yaml)"                       \
    }
const struct cli_option cli_dkim_dns_options[] = {
    { "selector", "NAME", NULL, "only this key of the domain" },
    { "cluster", NULL, NULL, "of the cluster's keys, which the node is asked for" },
    DKIM_CONFIG,
    END,
};
const struct cli_option cli_dkim_check_options[] = {
    { "selector", "NAME", NULL, "only this record" },
    { "cluster", NULL, NULL, "all that the node signs with, the cluster's keys too: it is asked" },
    { "key", "FILE", "@file", "compare with this key, not with the node's" },
    DKIM_CONFIG,
    END,
};
const struct cli_option cli_no_options[] = { END };
const struct cli_option cli_list_options[] = { SELECTOR, PAGE("recipients"), SCOPE, END };
const struct cli_option cli_cat_options[] = { { "headers", NULL, NULL, "only the header" }, END };
const struct cli_option cli_act_options[] = { ACT, END };
const struct cli_option cli_move_options[] = {
    SELECTOR,
    { "all", NULL, NULL, "everything in the queue" },
    { "dry-run", NULL, NULL, "count only" },
    { "to", "NODE", NULL, "the node that gets them" },
    END,
};
const struct cli_option cli_adopt_options[] = { { "node", "NAME", NULL, "whose it was; it has been removed" },
                                                   { "yes", NULL, NULL, "do not ask" },
                                                   END };
const struct cli_option cli_bounce_options[] = { ACT,
                                                    { "reason", "TEXT", NULL,
                                                      "what the sender is told, as \"5.7.1 text\"" },
                                                    { "yes", NULL, NULL, "do not ask" },
                                                    END };
const struct cli_option cli_delete_options[] = { ACT, { "yes", NULL, NULL, "do not ask" }, END };
#define HELD                                                                                                 \
    { "sender", "ADDRESS", NULL, "reverse-path: an address, @domain, or <> for reports" },                   \
        { "recipient", "ADDRESS", NULL, "recipient: an address or @domain" },                                \
        { "account", "NAME", NULL, "the account that submitted it" },                                        \
        { "tenant", "NAME", NULL, "whose account it is" },                                                   \
        { "reason", "WHY", "frozen|over_limit|rule|content|operator", "why it is held" },                    \
    {                                                                                                        \
        "older-than", "TIME", NULL, "arrived longer ago than this: 90s, 5m, 4h, 2d"                          \
    }
#define HELD_ACT                                                                                              \
    HELD, { "all-of", "SENDER", NULL, "all that is held of this account" },                                  \
        { "all", NULL, NULL, "all that is held" },                                                           \
        { "dry-run", NULL, NULL, "only say what would be done" },                                            \
    {                                                                                                        \
        "text", "TEXT", NULL, "a remark; bounce: what the sender is told, as \"5.7.1 text\""                 \
    }
const struct cli_option cli_held_list_options[] = { HELD, PAGE("messages"), SCOPE, END };
const struct cli_option cli_held_release_options[] = {
    HELD_ACT,
    { "exempt", NULL, NULL, "charge it to nobody's limits; the audit trail says who did" },
    { "operator", "NAME", NULL, "who exempts it (default: whoever runs this)" },
    END,
};
const struct cli_option cli_held_end_options[] = { HELD_ACT, { "yes", NULL, NULL, "do not ask" }, END };
const struct cli_option cli_summary_options[] = {
    SELECTOR,
    { "by", "WHAT", "site|sender|account|state|reply", "what makes a group (default site)" },
    { "limit", "N", NULL, "at most N groups (default 50)" },
    SCOPE,
    END,
};
const struct cli_option cli_track_options[] = {
    { "message-id", "ID", NULL, "Message-ID" },
    { "sender", "ADDRESS", NULL, "reverse-path: an address, @domain, or <>" },
    { "recipient", "ADDRESS", NULL, "an address or @domain" },
    { "from", "ADDRESS", NULL, "the same as --sender" },
    { "to", "ADDRESS", NULL, "the same as --recipient" },
    { "account", "NAME", NULL, "the account that submitted it" },
    { "tenant", "NAME", NULL, "the tenant whose account submitted it" },
    { "status", "STATE", NULL, "bounced, delivered, rejected, expired, deleted, queued, ..." },
    { "since", "TIME", NULL, "arrived since: 2026-01-31T12:00:00Z, or 2h for two hours ago" },
    { "until", "TIME", NULL, "arrived before; likewise" },
    { "steps", NULL, NULL, "each attempt, hold and move before; so by itself with ID or --message-id" },
    PAGE("recipients"),
    SCOPE,
    END,
};
const struct cli_option cli_events_options[] = {
    { "follow", NULL, NULL, "go on with what comes, until it is interrupted" },
    { "last", "N", NULL, "the newest N lines that fit (default 100, at most 1000)" },
    { "kind", "NAMES", NULL, "only these, with commas between: bounced,expired" },
    { "account", "NAME", NULL, "only this account's" },
    { "tenant", "NAME", NULL, "only this tenant's" },
    { "sender", "ADDRESS", NULL, "only of this reverse-path" },
    { "recipient", "ADDRESS", NULL, "only of this recipient" },
    { "site", "SITE", NULL, "only of this destination" },
    { "ip", "ADDRESS", NULL, "only of this client" },
    SCOPE,
    END,
};
const struct cli_option cli_top_options[] = {
    { "once", NULL, NULL, "show it once (always so when the output is no terminal)" },
    { "interval", "TIME", NULL, "time between views (default 2s)" },
    { "limit", "N", NULL, "rows of each table (default 15)" },
    { "cluster", NULL, NULL, "of all nodes together" },
    END,
};
#define TRACE                                                                                                \
    { "ip", "ADDRESS", NULL, "only this peer, or this prefix: 192.0.2.0/24" },                               \
        { "account", "NAME", NULL, "only this account's mail" },                                             \
        { "sessions", "N", NULL, "end after N sessions" },                                                   \
    {                                                                                                        \
        "for", "TIME", NULL, "end after this time (default 5m, at most 1h)"                                  \
    }
const struct cli_option cli_trace_client_options[] = { TRACE,
                                                          { "site", "SITE", NULL, "only this destination" },
                                                          END };
const struct cli_option cli_trace_server_options[] = { TRACE,
                                                          { "listener", "NAME", NULL, "only this listener" },
                                                          END };
const struct cli_option cli_probe_options[] = {
    { "from-ip", "ADDRESS", NULL, "source address (default: the one that mail would take)" },
    { "sender", "ADDRESS", NULL, "reverse-path (default <>)" },
    END,
};
const struct cli_option cli_site_options[] = {
    { "state", "STATE", "up|down|backoff", "only these" },
    PAGE("sites"),
    END,
};
const struct cli_option cli_domain_options[] = {
    { "pool", "NAME", NULL, "only this pool's addresses (default: all that mail leaves from)" },
    { "ip", "ADDRESS", NULL, "this address instead (again for more)" },
    { "return-path", "DOMAIN", NULL, "the domain of MAIL FROM, if it is another" },
    { "selector", "NAME", NULL, "this DKIM selector (default: of the keys that sign here; again for more)" },
    END,
};
const struct cli_option cli_site_backoff_options[] = {
    { "for", "TIME", NULL, "how long (default: 30m)" },
    { "suspend", NULL, NULL, "nothing is sent to it" },
    { "source", "ADDRESS", NULL, "nothing is sent to it from this source address" },
    END,
};
const struct cli_option cli_site_resume_options[] = {
    { "source", "ADDRESS", NULL, "only what is in force against this source address" },
    END,
};
const struct cli_option cli_status_options[] = {
    { "cluster", NULL, NULL, "a line for each node of the cluster" },
    END,
};
const struct cli_option cli_account_set_options[] = {
    ACCOUNT,
    { "enabled", NULL, NULL, "the account may log in again" },
    { "no-other-senders", NULL, NULL, "it may send as its own name only" },
    END,
};
const struct cli_option cli_freeze_options[] = {
    TENANT,
    { "mode", "MODE", "auto|reject|defer|hold", "what happens to new mail (default: the policy's)" },
    { "for", "TIME", NULL, "ends by itself: 90s, 5m, 2h, 7d (default: until thawed)" },
    { "reason", "TEXT", NULL, "for the audit trail, and for who looks at frozen" },
    { "local", NULL, NULL, "on this node only, at once and without a majority" },
    END,
};
const struct cli_option cli_thaw_options[] = {
    TENANT,
    { "freeze", "ID", NULL, "only this freeze, not one that was made since" },
    { "local", NULL, NULL, "end a freeze --local of this node" },
    END,
};
const struct cli_option cli_frozen_options[] = { PAGE("senders"), END };
const struct cli_option cli_tenant_list_options[] = { PAGE("tenants"), END };
const struct cli_option cli_tenant_report_options[] = {
    { "window", "TIME", "24h|7d", "counted within (default 7d)" }, END
};
const struct cli_option cli_noted_options[] = { NOTE, END };
#define PROOF_TENANT                                                                                         \
    {                                                                                                        \
        "tenant", "NAME", NULL, "for this tenant (default: the domain's name)"                               \
    }
const struct cli_option cli_domain_prove_options[] = {
    PROOF_TENANT,
    { "check", NULL, NULL, "look for the record now" },
    { "vouch", NULL, NULL, "it needs no proof: you say so" },
    END,
};
const struct cli_option cli_domain_list_options[] = { { "tenant", "NAME", NULL, "of this tenant only" },
                                                      PAGE("domains"),
                                                      END };
const struct cli_option cli_domain_forget_options[] = { PROOF_TENANT, END };
const struct cli_option cli_secret_list_options[] = { PAGE("secrets"), END };
const struct cli_option cli_notify_status_options[] = { { "local", NULL, NULL, "of this node alone" }, END };
const struct cli_option cli_secret_new_options[] = {
    { "name", "NAME", NULL, "what it is called (default: the time)" }, END
};
const struct cli_option cli_secret_import_options[] = {
    { "name", "NAME", NULL, "what it is called (default: the time)" },
    { "policy", NULL, NULL, "that of the policy in force: bounces.key" },
    END,
};
const struct cli_option cli_operator_list_options[] = { PAGE("operators"), END };
const struct cli_option cli_operator_add_options[] = {
    { "role", "ROLE", "viewer|postmaster|admin", "what he may do (default viewer)" }, PASSWORD, END
};
const struct cli_option cli_operator_passwd_options[] = { PASSWORD, END };
const struct cli_option cli_suppression_list_options[] = {
    { "tenant", "NAME", NULL, "of this tenant only" }, PAGE("addresses"), END
};
const struct cli_option cli_suppression_add_options[] = {
    { "tenant", "NAME", NULL, "by this tenant (default: by accounts without one)" },
    { "for", "DURATION", NULL, "so long (default: until removed)" },
    { "reason", "TEXT", NULL, "a remark" },
    END,
};
const struct cli_option cli_suppression_remove_options[] = {
    { "tenant", "NAME", NULL, "by this tenant (default: by accounts without one)" }, END
};
const struct cli_option cli_sender_pin_options[] = {
    { "reason", "TEXT", NULL, "a remark, for the audit trail" }, END
};
const struct cli_option cli_sender_lift_options[] = {
    { "rule", "NAME", NULL, "what this rule does (default: all)" }, END
};
const struct cli_option cli_sender_top_options[] = {
    { "by", "WHAT", "bounces|complaints|deferred|delivered", "the most of these first" },
    { "window", "WINDOW", "1h|24h|7d", "counted within (default 24h)" },
    { "limit", "N", NULL, "at most so many (default 20)" },
    END,
};
const struct cli_option cli_site_show_options[] = {
    { "local", NULL, NULL, "of one site: only what this node has" },
    END,
};
const struct cli_option cli_ip_show_options[] = {
    { "site", "NAME", NULL, "only this site" },
    { "limit", "N", NULL, "at most so many sites (default 100)" },
    { "local", NULL, NULL, "as this node alone saw it" },
    END,
};
const struct cli_option cli_ip_warm_options[] = {
    { "site", "NAME", NULL, "with step: of this destination" },
    { "step", "N", NULL, "with step: where it stands, 0 being the first day" },
    END,
};
const struct cli_option cli_limit_options[] = { TENANT, END };
const struct cli_option cli_cluster_init_options[] = {
    { "name", "NAME", NULL, "this node's name (default: the configured one)" },
    END,
};
const struct cli_option cli_cluster_status_options[] = {
    { "check", NULL, NULL, "exit with 1 unless healthy" },
    END,
};
const struct cli_option cli_token_options[] = {
    { "for", "TIME", NULL, "the token is good so long (default 1h, at most 7d)" },
    { "name", "NAME", NULL, "only for the node of this name" },
    END,
};
const struct cli_option cli_drain_options[] = { { "undo", NULL, NULL, "take new mail again" }, END };
const struct cli_option cli_leave_options[] = {
    { "timeout", "TIME", NULL, "wait so long (default 1h)" },
    { "yes", NULL, NULL, "do not ask" },
    END,
};
const struct cli_option cli_assign_options[] = {
    { "class", "CLASS", "person|device|bulk", "mail of this class" },
    { "tenant", "NAME", NULL, "mail of this tenant" },
    { "account", "NAME", NULL, "mail of this account" },
    END,
};
#define IP                                                                                                   \
    { "pool", "NAME", NULL, "the pool that it belongs to" },                                                 \
        { "ehlo", "HOST", NULL, "the name to greet with (default: the node's)" },                            \
    {                                                                                                        \
        "weight", "N", NULL, "its share of the pool's mail (default 100)"                                    \
    }
const struct cli_option cli_ip_add_options[] = {
    IP,
    { "node", "NAME", NULL, "the node that has the address" },
    END,
};
const struct cli_option cli_ip_set_options[] = {
    IP,
    { "use", "USE", "used|drained|disabled", "drained: no new connections; disabled: none at all" },
    END,
};
const struct cli_option cli_ip_move_options[] = {
    { "dead", NULL, NULL, "its owner's machine is off for sure" },
    END,
};
const struct cli_option cli_pool_float_options[] = {
    { "after", "TIME", NULL, "automatic: so long after their node was lost (default 30s)" },
    { "per-node", "N", NULL, "automatic: so many of the pool's on one node at most" },
    { "nodes", "NAMES", NULL, "automatic: to these nodes before others; with commas" },
    { "return", NULL, NULL, "automatic: back when their node has been there again for so long" },
    END,
};
const struct cli_option cli_policy_show_options[] = {
    { "version", "N", NULL, "an earlier one, as policy history lists it" },
    END,
};
const struct cli_option cli_policy_test_reply_options[] = {
    { "stage", "STAGE", "banner|mail|rcpt|data|dot|any", "what it answered (default: each of them)" },
    { "mx", "HOST", NULL, "host name of the server" },
    { "pool", "POOL", NULL, "pool of source addresses" },
    { "file", "FILE", "@file", "by this policy instead of the one in force; - for the built-in one" },
    END,
};
const struct cli_option cli_policy_apply_options[] = {
    NOTE,
    { "version", "N", NULL, "only if this one is in force (default: the one that is now)" },
    END,
};
const struct cli_option cli_audit_options[] = { PAGE("entries"), END };
const struct cli_option cli_account_list_options[] = { PAGE("accounts"), END };
const struct cli_option cli_account_add_options[] = { PASSWORD, ACCOUNT, END };
const struct cli_option cli_passwd_options[] = { PASSWORD, END };
const struct cli_option cli_remove_options[] = { { "yes", NULL, NULL, "do not ask" }, END };
const struct cli_option cli_import_options[] = {
    { "replace", NULL, NULL, "replace accounts that exist" },
    { "dry-run", NULL, NULL, "only read the file and say what is wrong in it" },
    END,
};

const struct cli_option cli_restore_options[] = {
    { "config", "FILE", "@file", "the node's configuration (default /etc/turnpike/node.yaml)" },
    END,
};
const struct cli_option cli_recover_options[] = {
    { "config", "FILE", "@file", "the node's configuration (default /etc/turnpike/node.yaml)" },
    { "inspect", NULL, NULL, "only say what this node has" },
    { "yes", NULL, NULL, "do not ask" },
    END,
};
