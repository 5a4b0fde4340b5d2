/* The configuration file's keys: name, type, place, default, range. docs/configuration.md says what they
 * mean, and a test keeps the two in step. Defaults that depend on other keys are filled in by check.c.
 */
#include "node/config/tables.h"

#include "node/config/config.h"
#include "node/config/schema_rows.h"
#include "node/config/types.h"

static const char *const listener_kinds[] = { "submission", "submissions", "relay", "inbound", NULL };
static const char *const classes[] = { "person", "device", "bulk", NULL };
static const char *const account_sources[] = { "file", "dovecot", NULL };
static const char *const sender_checks[] = { "envelope_and_header", "envelope", "off", NULL };
static const char *const ipv6_modes[] = { "prefer", "equal", "ipv4_only", "ipv6_only", NULL };
static const char *const eightbit[] = { "send", "bounce", NULL };
static const char *const mx_tls[] = { "none", "opportunistic", "required", NULL };
static const char *const route_tls[] = { "none", "opportunistic", "required", "verify", NULL };
static const char *const switches[] = { "off", "on", NULL };
static const char *const dane_modes[] = { "off", "on", "only", NULL };
static const char *const contents[] = { "headers", "full", NULL };
static const char *const dkim_canons[] = { "simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed",
                                           NULL };
static const char *const levels[] = { "error", "warn", "info", "debug", "trace", NULL };

/* ---- listeners ----------------------------------------------------------------------------------------- */

TABLE(certificate, config_certificate,
      VALUE(config_certificate, certificate, "certificate", path,
            REQUIRED("the PEM file with the certificate chain")),
      VALUE(config_certificate, key, "key", path, REQUIRED("the PEM file with the private key")));

TABLE(proxy, config_listener,
      LIST_IN(config_listener, proxy_protocol, from, "from", TYPE(net), COUNT(1, CONFIG_NETWORKS_MAX),
              REQUIRED("the networks of the load balancers")));

TABLE(listener, config_listener, VALUE(config_listener, name, "name", word),
      VALUE(config_listener, kind, "kind", enum, .names = listener_kinds,
            REQUIRED("submission (port 587), submissions (465) or relay (25)")),
      VALUE(config_listener, address, "address", endpoint,
            REQUIRED("an IP address and port such as 192.0.2.1:587")),
      LIST(config_listener, tls, "tls", .map = &certificate_map, COUNT(1, 64)),
      VALUE(config_listener, require_tls, "require_tls", bool),
      VALUE(config_listener, old_devices, "old_devices", bool),
      VALUE(config_listener, hide_client_address, "hide_client_address", bool),
      LIST(config_listener, networks, "networks", TYPE(net), COUNT(1, CONFIG_NETWORKS_MAX)),
      OPTIONAL("proxy_protocol", proxy_map),
      VALUE(config_listener, max_sessions, "max_sessions", u32, DEFAULT("10000"), RANGE(1, 1000000)),
      VALUE(config_listener, max_sessions_per_client, "max_sessions_per_client", u32, DEFAULT("100"),
            RANGE(1, 1000000)),
      VALUE(config_listener, hostname, "hostname", host),
      VALUE(config_listener, max_message_bytes, "max_message_size", size, RANGE(64 * KIB, 2 * GIB)),
      VALUE(config_listener, max_rcpts, "max_recipients", u32, RANGE(1, ENVELOPE_RCPTS_MAX)),
      VALUE(config_listener, idle_timeout_ms, "idle_timeout", duration, RANGE(SEC, HOUR)),
      VALUE(config_listener, command_timeout_ms, "command_timeout", duration, RANGE(SEC, HOUR)));

TABLE(relay_client, config_relay_client,
      LIST(config_relay_client, networks, "networks", TYPE(net), COUNT(1, CONFIG_NETWORKS_MAX),
           REQUIRED("the clients' networks")),
      VALUE(config_relay_client, account, "account", account,
            REQUIRED("the account that these clients send as")));

TABLE(
    smtp, config_smtp,
    VALUE(config_smtp, max_message_bytes, "max_message_size", size, DEFAULT("50M"), RANGE(64 * KIB, 2 * GIB)),
    VALUE(config_smtp, max_header_bytes, "max_header_size", size, DEFAULT("256k"), RANGE(16 * KIB, 16 * MIB)),
    VALUE(config_smtp, max_rcpts, "max_recipients", u32, DEFAULT("1000"), RANGE(1, ENVELOPE_RCPTS_MAX)),
    VALUE(config_smtp, max_errors, "max_errors", u32, DEFAULT("20"), RANGE(1, 10000)),
    VALUE(config_smtp, max_messages, "max_messages_per_connection", u32, DEFAULT("1000"), RANGE(1, 1000000)),
    VALUE(config_smtp, max_received, "max_received", u32, DEFAULT("100"), RANGE(100, 1000)),
    VALUE(config_smtp, max_line_bytes, "max_line_length", u32, DEFAULT("2048"), RANGE(1000, 1048576)),
    VALUE(config_smtp, max_sessions, "max_sessions", u32, DEFAULT("20000"), RANGE(1, 1000000)),
    VALUE(config_smtp, idle_timeout_ms, "idle_timeout", duration, DEFAULT("5m"), RANGE(SEC, HOUR)),
    VALUE(config_smtp, command_timeout_ms, "command_timeout", duration, DEFAULT("5m"), RANGE(SEC, HOUR)),
    VALUE(config_smtp, data_timeout_ms, "data_timeout", duration, DEFAULT("5m"), RANGE(SEC, HOUR)),
    VALUE(config_smtp, session_timeout_ms, "session_timeout", duration, DEFAULT("2h"),
          RANGE(MINUTE, 7 * DAY)),
    VALUE(config_smtp, smtputf8, "smtputf8", bool, DEFAULT("true")),
    VALUE(config_smtp, requiretls, "requiretls", bool, DEFAULT("true")),
    VALUE(config_smtp, tls_required_no, "tls_required_no", bool, DEFAULT("true")));

static const struct schema_field header_rule_fields[] = {
    { .key = "add", .type = &type_header_add },
    { .key = "remove", .type = &type_header_remove },
    END,
};
static const struct schema_map header_rule_map = { sizeof(struct config_header_rule), header_rule_fields };

/* ---- accounts ------------------------------------------------------------------------------------------ */

TABLE(account_rule, config_account_rule,
      VALUE(config_account_rule, match, "match", match,
            REQUIRED("the accounts that it is about, such as \"*@news.example.com\"")),
      VALUE(config_account_rule, class, "class", enum, .names = classes, DEFAULT("person")),
      VALUE(config_account_rule, tenant, "tenant", word),
      LIST(config_account_rule, senders, "senders", TYPE(sender), COUNT(1, 256)));

TABLE(dovecot, config_accounts,
      VALUE(config_accounts, dovecot.socket, "socket", path, DEFAULT("/run/dovecot/auth-client"), RESTART),
      VALUE(config_accounts, dovecot.service, "service", word, DEFAULT("smtp"), RESTART),
      VALUE(config_accounts, dovecot.tenant, "tenant", word, DEFAULT("domain")),
      VALUE(config_accounts, dovecot.timeout_ms, "timeout", duration, DEFAULT("30s"), RANGE(SEC, 5 * MINUTE),
            RESTART),
      LIST_IN(config_accounts, dovecot, rules, "rules", .map = &account_rule_map, COUNT(0, 1000)));

TABLE(checks, config_accounts,
      VALUE(config_accounts, checks.threads, "threads", u32, DEFAULT("2"), RANGE(1, 64), RESTART),
      VALUE(config_accounts, checks.queue, "queue", u32, DEFAULT("256"), RANGE(1, 65536), RESTART),
      VALUE(config_accounts, checks.cache_entries, "cache_entries", u32, DEFAULT("10000"), RANGE(0, 1000000)),
      VALUE(config_accounts, checks.cache_ttl_ms, "cache_time", duration, DEFAULT("5m"), RANGE(0, DAY)));

TABLE(guard, config_accounts,
      VALUE(config_accounts, guard.account_failures, "account_failures", u32, DEFAULT("20"),
            RANGE(0, 100000)),
      VALUE(config_accounts, guard.client_failures, "client_failures", u32, DEFAULT("50"), RANGE(0, 100000)),
      VALUE(config_accounts, guard.window_ms, "window", duration, DEFAULT("10m"), RANGE(SEC, DAY)),
      VALUE(config_accounts, guard.block_ms, "block", duration, DEFAULT("15m"), RANGE(SEC, DAY)));

TABLE(accounts, config_accounts,
      VALUE(config_accounts, source, "source", enum, .names = account_sources, DEFAULT("file"), RESTART),
      VALUE(config_accounts, file, "file", path),
      VALUE(config_accounts, sender_check, "sender_check", enum, .names = sender_checks,
            DEFAULT("envelope_and_header")),
      VALUE(config_accounts, subaddresses, "subaddresses", bool, DEFAULT("true")),
      GROUP("dovecot", dovecot_map), GROUP("checks", checks_map), GROUP("guard", guard_map));

/* ---- sending ------------------------------------------------------------------------------------------- */

TABLE(weights, config_delivery, VALUE(config_delivery, weight[0], "person", u32, DEFAULT("4"), RANGE(1, 100)),
      VALUE(config_delivery, weight[1], "device", u32, DEFAULT("2"), RANGE(1, 100)),
      VALUE(config_delivery, weight[2], "bulk", u32, DEFAULT("1"), RANGE(1, 100)));

/* RFC 5321 section 4.5.3.2 gives the minima that we take as defaults; only connect and idle are our own. */
TABLE(timeouts, config_delivery,
      VALUE(config_delivery, timeouts.connect_ms, "connect", duration, DEFAULT("30s"),
            RANGE(SEC, 10 * MINUTE)),
      VALUE(config_delivery, timeouts.greeting_ms, "greeting", duration, DEFAULT("5m"), RANGE(SEC, HOUR)),
      VALUE(config_delivery, timeouts.command_ms, "command", duration, DEFAULT("5m"), RANGE(SEC, HOUR)),
      VALUE(config_delivery, timeouts.data_ms, "data", duration, DEFAULT("2m"), RANGE(SEC, HOUR)),
      VALUE(config_delivery, timeouts.block_ms, "block", duration, DEFAULT("3m"), RANGE(SEC, HOUR)),
      VALUE(config_delivery, timeouts.dot_ms, "dot", duration, DEFAULT("10m"), RANGE(SEC, HOUR)),
      VALUE(config_delivery, timeouts.idle_ms, "idle", duration, DEFAULT("10s"), RANGE(0, 5 * MINUTE)));

TABLE(delivery, config_delivery,
      { .key = "retry",
        .shape = SCHEMA_LIST,
        .offset = offsetof(struct config_delivery, retry_ms),
        .count_offset = offsetof(struct config_delivery, nretry),
        TYPE(duration),
        COUNT(1, CONFIG_RETRY_MAX),
        RANGE(SEC, 30 * DAY),
        DEFAULT("5m 10m 15m 30m 1h 2h 4h"),
        .hint = "give the times between attempts, such as [5m, 15m, 1h]" },
      VALUE(config_delivery, jitter_pct, "jitter", u32, DEFAULT("10"), RANGE(0, 50)),
      VALUE(config_delivery, expire_ms, "expire", duration, DEFAULT("4d"), RANGE(MINUTE, 60 * DAY)),
      VALUE(config_delivery, delay_notice_ms, "delay_notice", duration, DEFAULT("4h"), RANGE(0, 60 * DAY)),
      VALUE(config_delivery, connections_start, "connections_start", u32, DEFAULT("2"), RANGE(1, 1000)),
      VALUE(config_delivery, connections_max, "connections_max", u32, DEFAULT("20"), RANGE(1, 1000)),
      VALUE(config_delivery, connections_total, "connections_total", u32, DEFAULT("2000"), RANGE(1, 100000)),
      VALUE(config_delivery, messages_per_connection, "messages_per_connection", u32, DEFAULT("100"),
            RANGE(1, 100000)),
      VALUE(config_delivery, max_rcpts, "recipients_per_message", u32, DEFAULT("100"), RANGE(1, 1000)),
      VALUE(config_delivery, ipv6, "ipv6", enum, .names = ipv6_modes, DEFAULT("prefer")),
      VALUE(config_delivery, eightbit_bounce, "eightbit_fallback", flag_enum, .names = eightbit,
            DEFAULT("send")),
      VALUE(config_delivery, tls, "tls", enum, .names = mx_tls, DEFAULT("opportunistic")),
      VALUE(config_delivery, dane, "dane", enum, .names = dane_modes, DEFAULT("on")),
      VALUE(config_delivery, mta_sts, "mta_sts", flag_enum, .names = switches, DEFAULT("on")),
      VALUE(config_delivery, mta_sts_port, "mta_sts_port", u32, DEFAULT("443"), RANGE(1, 65535)),
      LIST(config_delivery, allowed_networks, "allowed_networks", TYPE(net), COUNT(0, CONFIG_NETWORKS_MAX)),
      LIST(config_delivery, floating_networks, "floating_networks", TYPE(net), COUNT(0, CONFIG_NETWORKS_MAX)),
      GROUP("weights", weights_map), GROUP("timeouts", timeouts_map));

TABLE(source, config_source,
      VALUE(config_source, address, "address", ip, REQUIRED("an IP address of this machine")),
      VALUE(config_source, ehlo, "ehlo", host,
            REQUIRED("the name that belongs to the address: its PTR record")));

TABLE(route_auth, config_route,
      VALUE(config_route, auth.user, "user", text, RANGE(1, 255), REQUIRED("the name to log in with")),
      VALUE(config_route, auth.password_file, "password_file", path,
            REQUIRED("the file that holds the password")));

TABLE(route, config_route,
      VALUE(config_route, domain, "domain", domain, REQUIRED("\"example.com\", \"*.example.com\" or \"*\"")),
      VALUE(config_route, via, "via", via, REQUIRED("the next hop, such as smarthost.example.com:25")),
      VALUE(config_route, tls, "tls", enum, .names = route_tls),
      VALUE(config_route, dane, "dane", enum, .names = dane_modes),
      VALUE(config_route, mta_sts, "mta_sts", flag_enum, .names = switches),
      OPTIONAL("auth", route_auth_map));

TABLE(resolver, config_resolver, LIST(config_resolver, servers, "servers", TYPE(server), COUNT(0, 8)),
      VALUE(config_resolver, timeout_ms, "timeout", duration, DEFAULT("10s"), RANGE(SEC, 2 * MINUTE)),
      VALUE(config_resolver, trust_anchor_file, "trust_anchor_file", path));

TABLE(bounces, config_bounces,
      VALUE(config_bounces, from, "from", text, RANGE(1, 100), DEFAULT("Mail Delivery System")),
      VALUE(config_bounces, postmaster, "postmaster", email),
      VALUE(config_bounces, return_full, "return_content", flag_enum, .names = contents, DEFAULT("headers")),
      VALUE(config_bounces, max_full_bytes, "max_full_size", size, DEFAULT("50k"), RANGE(0, 50 * MIB)));

TABLE(tls_reports, config_tls_reports,
      VALUE(config_tls_reports, send, "send", flag_enum, .names = switches, DEFAULT("off")),
      VALUE(config_tls_reports, organization, "organization", text, RANGE(1, 100)),
      VALUE(config_tls_reports, from, "from", email), VALUE(config_tls_reports, contact, "contact", email),
      VALUE(config_tls_reports, delay_ms, "delay", duration, DEFAULT("4h"), RANGE(0, 12 * HOUR)));

/* ---- the node ------------------------------------------------------------------------------------------ */

TABLE(spool, config_spool, VALUE(config_spool, dir, "dir", path, RESTART),
      VALUE(config_spool, segment_bytes, "segment_size", size, DEFAULT("64M"), RANGE(MIB, GIB), RESTART),
      VALUE(config_spool, min_free_bytes, "min_free", size, DEFAULT("256M"), RANGE(16 * MIB, 1024 * GIB),
            RESTART),
      VALUE(config_spool, max_messages, "max_messages", count, DEFAULT("10000000"), RANGE(1, 100000000),
            RESTART));

TABLE(history, config_history, VALUE(config_history, enabled, "enabled", bool, DEFAULT("true"), RESTART),
      VALUE(config_history, file, "file", path, RESTART),
      VALUE(config_history, retention_ms, "retention", duration, DEFAULT("14d"), RANGE(HOUR, 3650 * DAY)),
      VALUE(config_history, retention_clients_ms, "retention_clients", duration, RANGE(HOUR, 3650 * DAY)),
      VALUE(config_history, retention_replies_ms, "retention_replies", duration, RANGE(HOUR, 3650 * DAY)),
      VALUE(config_history, max_bytes, "max_size", size, DEFAULT("2G"), RANGE(16 * MIB, 1024 * GIB)));

/* Of RFC 6376 section 5.4.1, without what mailing lists and relays change. */
#define DKIM_CORE                                                                                            \
    "From Reply-To Subject Date Message-ID To Cc MIME-Version Content-Type Content-Transfer-Encoding"

TABLE(dkim_key, config_dkim_key,
      VALUE(config_dkim_key, domain, "domain", host, REQUIRED("the domain that signs: d=")),
      VALUE(config_dkim_key, selector, "selector", selector, REQUIRED("the key's name in the DNS: s=")),
      VALUE(config_dkim_key, file, "file", path, REQUIRED("the PEM file with the private key")),
      VALUE(config_dkim_key, not_before_ms, "not_before", date),
      VALUE(config_dkim_key, not_after_ms, "not_after", date),
      VALUE(config_dkim_key, subdomains, "subdomains", bool, DEFAULT("false")),
      LIST(config_dkim_key, tenants, "tenants", TYPE(word), COUNT(1, 1000)));

TABLE(dkim_tenant, config_dkim_tenant,
      VALUE(config_dkim_tenant, tenant, "tenant", word, REQUIRED("whose mail")),
      VALUE(config_dkim_tenant, default_domain, "default_domain", host,
            REQUIRED("the domain that signs when the From domain has no key")));

TABLE(dkim, config_dkim, VALUE(config_dkim, default_domain, "default_domain", host),
      LIST(config_dkim, tenants, "tenants", .map = &dkim_tenant_map, COUNT(0, 10000)),
      VALUE(config_dkim, canonicalization, "canonicalization", enum, .names = dkim_canons,
            DEFAULT("relaxed/relaxed")),
      VALUE(config_dkim, expire_ms, "expire", duration, DEFAULT("0"), RANGE(0, 365 * DAY)),
      LIST(config_dkim, headers, "headers", TYPE(field_name), COUNT(1, 64),
           DEFAULT(DKIM_CORE " Sender In-Reply-To References Resent-From Resent-To Resent-Cc Resent-Date "
                             "Resent-Message-ID List-Id List-Help List-Unsubscribe List-Unsubscribe-Post "
                             "List-Subscribe List-Post List-Owner List-Archive Feedback-ID")),
      LIST(config_dkim, oversigned, "oversigned", TYPE(field_name), COUNT(0, 64), DEFAULT(DKIM_CORE)),
      LIST(config_dkim, required, "required", TYPE(enum), .names = classes, COUNT(0, 3)),
      LIST(config_dkim, keys, "keys", .map = &dkim_key_map, COUNT(0, CONFIG_DKIM_KEYS_MAX)));

TABLE(admin, config_admin, VALUE(config_admin, socket, "socket", path, RESTART),
      VALUE(config_admin, listen, "listen", endpoint, RESTART),
      LIST(config_admin, tls, "tls", .map = &certificate_map, COUNT(1, 1), RESTART),
      VALUE(config_admin, remote, "remote", bool, DEFAULT("false"), RESTART),
      { .key = "hosts",
        .shape = SCHEMA_LIST,
        .offset = offsetof(struct config_admin, hosts),
        .count_offset = offsetof(struct config_admin, nhosts),
        TYPE(host),
        COUNT(0, CONFIG_ADMIN_HOSTS_MAX),
        RESTART },
      VALUE(config_admin, open_metrics, "open_metrics", bool, DEFAULT("false"), RESTART),
      VALUE(config_admin, token_file, "token_file", path));

TABLE(log, config_log, VALUE(config_log, level, "level", enum, .names = levels, DEFAULT("info")),
      VALUE(config_log, events, "events", events, DEFAULT("journal")),
      VALUE(config_log, hide_subject, "hide_subject", bool, DEFAULT("true")),
      VALUE(config_log, hide_message_id, "hide_message_id", bool, DEFAULT("false")),
      VALUE(config_log, hide_client, "hide_client", bool, DEFAULT("false")));

TABLE(cluster, config,
      VALUE(config, cluster.listen, "listen", endpoint, .flags = SCHEMA_REQUIRED | SCHEMA_RESTART,
            .hint = "an IP address and port for the other nodes, such as 192.0.2.1:7301"),
      VALUE(config, cluster.gossip, "gossip", endpoint, .flags = SCHEMA_REQUIRED | SCHEMA_RESTART,
            .hint = "another port for the other nodes, such as 192.0.2.1:7302"),
      VALUE(config, cluster.advertise, "advertise", text, RANGE(3, 127), RESTART),
      VALUE(config, cluster.advertise_gossip, "advertise_gossip", text, RANGE(3, 127), RESTART),
      VALUE(config, cluster.election_ms, "election_timeout", duration, DEFAULT("500ms"), RANGE(100, 30 * SEC),
            RESTART),
      VALUE(config, cluster.heartbeat_ms, "heartbeat", duration, DEFAULT("50ms"), RANGE(10, 10 * SEC),
            RESTART),
      VALUE(config, cluster.address_hook, "address_hook", path),
      VALUE(config, cluster.address_interface, "address_interface", word));

static const struct schema_field config_fields[] = {
    VALUE(config, name, "name", word, RESTART),
    VALUE(config, hostname, "hostname", host,
          REQUIRED("the full name that clients and other servers see, such as relay.example.com")),
    VALUE(config, data_dir, "data_dir", path, DEFAULT("/var/lib/turnpike"), RESTART),
    VALUE(config, user, "user", word, RESTART),
    VALUE(config, group, "group", word, RESTART),
    VALUE(config, workers, "workers", u32, DEFAULT("0"), RANGE(0, 256), RESTART),
    LIST(config, listeners, "listeners", .map = &listener_map, COUNT(1, CONFIG_LISTENERS_MAX),
         REQUIRED("give at least one, with kind and address")),
    LIST(config, relay_clients, "relay_clients", .map = &relay_client_map, COUNT(0, 1000)),
    MAP(config, accounts, "accounts", accounts_map),
    MAP(config, smtp, "smtp", smtp_map),
    MAP(config, client_checks, "client_checks", config_client_checks_map),
    LIST(config, header_rules, "header_rules", .map = &header_rule_map, COUNT(0, 100)),
    LIST(config, always_bcc, "always_bcc", TYPE(email), COUNT(0, 8)),
    MAP(config, delivery, "delivery", delivery_map),
    LIST(config, sources, "sources", .map = &source_map, COUNT(0, CONFIG_SOURCES_MAX)),
    LIST(config, routes, "routes", .map = &route_map, COUNT(0, CONFIG_ROUTES_MAX)),
    MAP(config, resolver, "resolver", resolver_map),
    MAP(config, bounces, "bounces", bounces_map),
    MAP(config, dkim, "dkim", dkim_map),
    MAP(config, tls_reports, "tls_reports", tls_reports_map),
    MAP(config, spool, "spool", spool_map),
    MAP(config, history, "history", history_map),
    MAP(config, admin, "admin", admin_map),
    MAP(config, log, "log", log_map),
    OPTIONAL("cluster", cluster_map),
    END,
};
const struct schema_map config_map = { sizeof(struct config), config_fields };
