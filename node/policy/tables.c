/* The policy's keys: name, type, place, default, range. docs/policy.md says what they mean, and a test keeps
 * the two in step. Rules between keys are in compile.c.
 */
#include "node/config/schema_rows.h"
#include "node/config/types.h"
#include "node/policy/policy_impl.h"

const char *const policy_class_names[POLICY_CLASSES + 1] = { "person", "device", "bulk", NULL };
const char *const policy_scope_names[3] = { "account", "tenant", NULL };
const char *const policy_mode_names[5] = { "reject", "defer", "hold", "auto", NULL };
static const char *const defaults[] = { "off", "dry_run", "on", NULL }; /* as enum policy_defaults */
static const char *const cut_off[] = { "deliver", "hold", NULL };

TABLE(limit, policy_doc_limit,
      VALUE(policy_doc_limit, name, "name", word, REQUIRED("what replies and reports call the limit")),
      VALUE(policy_doc_limit, scope, "for", enum, .names = policy_scope_names,
            REQUIRED("account (each account's own) or tenant (all of a tenant's accounts together)")),
      LIST(policy_doc_limit, classes, "classes", TYPE(enum), .names = policy_class_names,
           COUNT(1, POLICY_CLASSES)),
      VALUE(policy_doc_limit, count, "count", count, RANGE(0, 1000000000), REQUIRED("how many recipients")),
      VALUE(policy_doc_limit, window_ms, "window", duration,
            RANGE(POLICY_WINDOW_MIN_MS, POLICY_WINDOW_MAX_MS), REQUIRED("in which time, such as 1h or 1d")),
      VALUE(policy_doc_limit, over_limit, "over_limit", choice, .names = policy_over_names));

TABLE(class, policy_doc_class,
      VALUE(policy_doc_class, max_rcpts, "max_recipients", u32, DEFAULT("0"), RANGE(0, 100000)),
      VALUE(policy_doc_class, pool, "pool", word),
      VALUE(policy_doc_class, over_limit, "over_limit", choice, .names = policy_over_names),
      VALUE(policy_doc_class, notice, "over_limit_notice", choice, .names = policy_notice_names));

static const struct schema_field classes_fields[] = {
    MAP(policy_doc, classes[0], "person", class_map),
    MAP(policy_doc, classes[1], "device", class_map),
    MAP(policy_doc, classes[2], "bulk", class_map),
    END,
};
static const struct schema_map classes_map = { sizeof(struct policy_doc), classes_fields };

TABLE(session, policy_doc, VALUE(policy_doc, ttl_ms, "ttl", duration, DEFAULT("3s"), RANGE(SEC, MINUTE)),
      VALUE(policy_doc, margin_ms, "margin", duration, DEFAULT("1s"), RANGE(100, MINUTE)));

TABLE(freeze, policy_doc,
      VALUE(policy_doc, freeze_mode, "mode", enum, .names = policy_mode_names, DEFAULT("auto")));

TABLE(auth_guard, policy_doc,
      VALUE(policy_doc, failures_per_account, "failures_per_account", u32, DEFAULT("20"), RANGE(0, 100000)),
      VALUE(policy_doc, failures_per_network, "failures_per_network", u32, DEFAULT("50"), RANGE(0, 100000)),
      VALUE(policy_doc, guard_window_ms, "window", duration, DEFAULT("10m"), RANGE(SEC, DAY)),
      VALUE(policy_doc, guard_block_ms, "block", duration, DEFAULT("15m"), RANGE(SEC, DAY)));

TABLE(late_identity, policy_doc, VALUE(policy_doc, late.header, "header", text, RANGE(1, 63)),
      LIST_IN(policy_doc, late, accounts, "accounts", TYPE(account), COUNT(1, POLICY_IDENTITIES_MAX)));

TABLE(suppression, policy_doc, VALUE(policy_doc, suppression.enabled, "enabled", bool, DEFAULT("true")),
      LIST_IN(policy_doc, suppression, classes, "classes", TYPE(enum), .names = policy_class_names,
              COUNT(1, POLICY_CLASSES)),
      VALUE(policy_doc, suppression.expire_ms, "expire", duration, DEFAULT("180d"), RANGE(HOUR, 3650 * DAY)),
      VALUE(policy_doc, suppression.max_per_tenant, "max_per_tenant", u32, DEFAULT("100000"),
            RANGE(1, 1000000)));

TABLE(bounces, policy_doc, VALUE(policy_doc, bounces.domain, "domain", host),
      VALUE(policy_doc, bounces.key, "key", text, RANGE(16, 128)),
      VALUE(policy_doc, bounces.postmaster, "postmaster", email),
      VALUE(policy_doc, bounces.complaints, "complaints", word),
      LIST_IN(policy_doc, bounces, classes, "classes", TYPE(enum), .names = policy_class_names,
              COUNT(1, POLICY_CLASSES)),
      VALUE(policy_doc, bounces.life_ms, "life", duration, DEFAULT("30d"), RANGE(DAY, 365 * DAY)));

const char *const policy_rest_class_names[6] = { "block", "policy", "rate", "content", "other", NULL };

TABLE(rest_when, policy_doc,
      VALUE(policy_doc, rest.rules.refused_pct, "refused_share", u32, DEFAULT("50"), RANGE(1, 100)),
      VALUE(policy_doc, rest.rules.at_least, "at_least", u32, DEFAULT("50"), RANGE(1, 1000000)),
      VALUE(policy_doc, rest.rules.within_ms, "within", duration, DEFAULT("1h"), RANGE(MINUTE, DAY)),
      LIST_IN(policy_doc, rest, classes, "classes", TYPE(enum), .names = policy_rest_class_names, COUNT(1, 5)));

TABLE(addresses, policy_doc, VALUE(policy_doc, rest.rules.enabled, "enabled", bool, DEFAULT("false")),
      GROUP("rest_when", rest_when_map),
      VALUE(policy_doc, rest.rules.rest_ms, "rest_for", duration, DEFAULT("2h"), RANGE(SEC, 7 * DAY)),
      VALUE(policy_doc, rest.rules.first, "return_first", u32, DEFAULT("10"), RANGE(1, 10000)));

static const char *const prove[] = { "off", "warn", "require", NULL };

TABLE(domains, policy_doc, VALUE(policy_doc, domains.prove, "prove", enum, .names = prove, DEFAULT("off")),
      LIST_IN(policy_doc, domains, classes, "classes", TYPE(enum), .names = policy_class_names,
              COUNT(1, POLICY_CLASSES)),
      LIST_IN(policy_doc, domains, tenants, "tenants", TYPE(word), COUNT(1, POLICY_IDENTITIES_MAX)),
      LIST_IN(policy_doc, domains, trusted, "trusted", TYPE(account), COUNT(1, POLICY_IDENTITIES_MAX)),
      VALUE(policy_doc, domains.senders, "senders", bool, DEFAULT("false")),
      VALUE(policy_doc, domains.subdomains, "subdomains", bool, DEFAULT("true")),
      VALUE(policy_doc, domains.record, "record", word, DEFAULT("_turnpike-challenge")),
      VALUE(policy_doc, domains.valid_ms, "valid", duration, DEFAULT("90d"), RANGE(SEC, 3650 * DAY)),
      VALUE(policy_doc, domains.recheck_ms, "recheck", duration, DEFAULT("1d"), RANGE(SEC, 30 * DAY)),
      VALUE(policy_doc, domains.failures, "failures", u32, DEFAULT("3"), RANGE(1, 1000)),
      VALUE(policy_doc, domains.failing_ms, "failing", duration, DEFAULT("3d"), RANGE(0, 365 * DAY)));

TABLE(forwarding, policy_doc,
      LIST_IN(policy_doc, forwarding, accounts, "accounts", TYPE(account), COUNT(1, POLICY_IDENTITIES_MAX)),
      LIST_IN(policy_doc, forwarding, classes, "classes", TYPE(enum), .names = policy_class_names,
              COUNT(1, POLICY_CLASSES)),
      VALUE(policy_doc, forwarding.domain, "domain", host),
      VALUE(policy_doc, forwarding.life_ms, "life", duration, DEFAULT("21d"), RANGE(DAY, 365 * DAY)),
      VALUE(policy_doc, forwarding.returns, "returns", u32, DEFAULT("100"), RANGE(1, 100000)));

static const char *const windows[] = { "1h", "24h", "7d", NULL };

TABLE(reputation, policy_doc, VALUE(policy_doc, reputation.enabled, "enabled", bool, DEFAULT("false")),
      VALUE(policy_doc, reputation.window, "window", enum, .names = windows, DEFAULT("24h")),
      VALUE(policy_doc, reputation.minimum, "minimum", u32, DEFAULT("200"), RANGE(1, 1000000)),
      VALUE(policy_doc, reputation.hold_ms, "hold", duration, DEFAULT("12h"), RANGE(SEC, 7 * DAY)),
      VALUE(policy_doc, reputation.good_pool, "good_pool", word),
      VALUE(policy_doc, reputation.poor_pool, "poor_pool", word),
      VALUE(policy_doc, reputation.good_bounces, "good_bounces", u32, DEFAULT("10"), RANGE(0, 1000)),
      VALUE(policy_doc, reputation.good_complaints, "good_complaints", u32, DEFAULT("1"), RANGE(0, 1000)),
      VALUE(policy_doc, reputation.poor_bounces, "poor_bounces", u32, DEFAULT("100"), RANGE(0, 1000)),
      VALUE(policy_doc, reputation.poor_complaints, "poor_complaints", u32, DEFAULT("5"), RANGE(0, 1000)),
      GROUP("addresses", addresses_map));

TABLE(backoff, policy_doc,
      VALUE(policy_doc, backoff.connections, "connections", u32, DEFAULT("1"), RANGE(1, 1000)),
      VALUE(policy_doc, backoff.interval_ms, "interval", duration, DEFAULT("1s"), RANGE(0, HOUR)),
      LIST_IN(policy_doc, backoff, retry, "retry", TYPE(duration), COUNT(1, POLICY_RETRY_MAX),
              RANGE(SEC, DAY)),
      VALUE(policy_doc, backoff.for_ms, "for", duration, DEFAULT("30m"), RANGE(SEC, 7 * DAY)),
      VALUE(policy_doc, backoff.deliveries, "deliveries", u32, DEFAULT("50"), RANGE(0, 1000000)));

static const char *const dnsbl_actions[] = { "notify", "rest", NULL };

TABLE(dnsbl_list, policy_doc_dnsbl, VALUE(policy_doc_dnsbl, zone, "zone", host, REQUIRED("the list's domain")),
      VALUE(policy_doc_dnsbl, action, "action", enum, .names = dnsbl_actions, DEFAULT("notify")));

TABLE(dnsbl, policy_doc, LIST_IN(policy_doc, dnsbl, lists, "lists", .map = &dnsbl_list_map, COUNT(0, POLICY_DNSBL_MAX)),
      VALUE(policy_doc, dnsbl.every_ms, "every", duration, DEFAULT("1h"), RANGE(MINUTE, 7 * DAY)));

TABLE(warmup, policy_doc, VALUE(policy_doc, warmup.first, "first", u32, DEFAULT("50"), RANGE(1, 1000000)),
      VALUE(policy_doc, warmup.growth_pct, "growth", u32, DEFAULT("140"), RANGE(101, 1000)),
      VALUE(policy_doc, warmup.days, "days", u32, DEFAULT("30"), RANGE(1, 365)),
      VALUE(policy_doc, warmup.fill_pct, "fill", u32, DEFAULT("80"), RANGE(0, 100)),
      VALUE(policy_doc, warmup.deferral_pct, "max_deferrals", u32, DEFAULT("20"), RANGE(0, 100)),
      VALUE(policy_doc, warmup.complaint_permille, "max_complaints", u32, DEFAULT("3"), RANGE(0, 1000)),
      VALUE(policy_doc, warmup.step_back, "step_back", bool, DEFAULT("true")),
      VALUE(policy_doc, warmup.sites, "sites", u32, DEFAULT("200"), RANGE(0, 1000)));

static const char *const tenant_reports[] = { "off", "daily", "weekly", NULL };
static const char *const held_expired[] = { "bounce", "delete", NULL };
static const char *const held_full[] = { "defer", "reject", NULL };

TABLE(held, policy_doc, VALUE(policy_doc, held.expire_ms, "expire", duration, DEFAULT("7d"), RANGE(SEC, 365 * DAY)),
      VALUE(policy_doc, held.expire_delete, "when_expired", enum, .names = held_expired, DEFAULT("bounce")),
      VALUE(policy_doc, held.messages, "messages", u32, DEFAULT("200000"), RANGE(0, 10000000)),
      VALUE(policy_doc, held.bytes, "bytes", size, DEFAULT("8G"), RANGE(0, INT64_MAX)),
      VALUE(policy_doc, held.sender_messages, "sender_messages", u32, DEFAULT("50000"), RANGE(0, 10000000)),
      VALUE(policy_doc, held.sender_bytes, "sender_bytes", size, DEFAULT("2G"), RANGE(0, INT64_MAX)),
      VALUE(policy_doc, held.when_full, "when_full", enum, .names = held_full, DEFAULT("defer")));

static const struct schema_field policy_fields[] = {
    LIST(policy_doc, limits, "limits", .map = &limit_map, COUNT(0, POLICY_LIMITS_MAX)),
    GROUP("classes", classes_map),
    LIST(policy_doc, streams, "streams", .map = &policy_stream_map, COUNT(0, POLICY_STREAMS_MAX)),
    GROUP("session", session_map),
    VALUE(policy_doc, voters, "voters", u32, DEFAULT("3"), RANGE(1, 5)),
    VALUE(policy_doc, hold_when_cut_off, "when_cut_off", flag_enum, .names = cut_off, DEFAULT("deliver")),
    GROUP("freeze", freeze_map),
    GROUP("auth_guard", auth_guard_map),
    MAP(policy_doc, client_checks, "client_checks", config_client_checks_map),
    GROUP("late_identity", late_identity_map),
    GROUP("suppression", suppression_map),
    GROUP("bounces", bounces_map),
    GROUP("domains", domains_map),
    GROUP("forwarding", forwarding_map),
    GROUP("warmup", warmup_map),
    GROUP("reputation", reputation_map),
    GROUP("dnsbl", dnsbl_map),
    VALUE(policy_doc, tenant_reports, "tenant_reports", enum, .names = tenant_reports, DEFAULT("off")),
    VALUE(policy_doc, hook, "hook", path),
    LIST(policy_doc, sender_rules, "sender_rules", .map = &policy_sender_rule_map, COUNT(0, SENDER_RULES_MAX)),
    GROUP("held", held_map),
    OPTIONAL("content", policy_content_map),
    MAP(policy_doc, web, "web_senders", policy_web_map),
    VALUE(policy_doc, sender_credit, "sender_credit", u32, DEFAULT("10"), RANGE(1, 1000)),
    LIST(policy_doc, rules, "rules", .map = &policy_rule_map, COUNT(0, POLICY_RULES_MAX)),
    LIST(policy_doc, sites, "sites", .map = &policy_site_map, COUNT(0, POLICY_SITES_MAX)),
    LIST(policy_doc, pools, "pools", .map = &policy_pool_map, COUNT(0, POLICY_POOLS_MAX)),
    MAP(policy_doc, notifications, "notifications", policy_notifications_map),
    GROUP("backoff", backoff_map),
    VALUE(policy_doc, default_rules, "default_rules", bool, DEFAULT("true")),
    VALUE(policy_doc, default_sender_rules, "default_sender_rules", enum, .names = defaults, DEFAULT("dry_run")),
    VALUE(policy_doc, default_sites, "default_sites", bool, DEFAULT("true")),
    END,
};
const struct schema_map policy_map = { sizeof(struct policy_doc), policy_fields };
