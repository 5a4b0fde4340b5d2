/* Which feature level a policy needs: that at which the newest of its keys came, because older nodes refuse a
 * document with a key that they do not know. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "said.h"

#include "node/config/document.h"
#include "node/policy/policy_impl.h"

#include <stdio.h>
#include <string.h>

#define LEVELS 8

/* The keys that builds of a level know and those of the level before do not. A new key comes with a new
 * level, once nodes of the last one are out: it belongs into a new list here, and into levels.c. */
static const char *const *const keys[LEVELS + 1] = {
    [1] = (const char *const[]){ "auth_guard.block",
                                 "auth_guard.failures_per_account",
                                 "auth_guard.failures_per_network",
                                 "auth_guard.window",
                                 "classes.CLASS.max_recipients",
                                 "classes.CLASS.pool",
                                 "freeze.mode",
                                 "hook",
                                 "late_identity.accounts",
                                 "late_identity.header",
                                 "limits.classes",
                                 "limits.count",
                                 "limits.for",
                                 "limits.name",
                                 "limits.window",
                                 "session.margin",
                                 "session.ttl",
                                 "voters",
                                 "when_cut_off",
                                 NULL },
    [2] = (const char *const[]){ "default_rules", "rules.action", "rules.attempts", "rules.code", "rules.for",
                                 "rules.match", "rules.name", "rules.pool", "rules.site", "rules.stage",
                                 "rules.threshold", NULL },
    [3] = (const char *const[]){ "backoff.connections", "backoff.deliveries", "backoff.for",
                                 "backoff.interval", "backoff.retry", "bounces.classes", "bounces.complaints",
                                 "bounces.domain", "bounces.key", "bounces.life", "bounces.postmaster",
                                 "suppression.classes", "suppression.enabled", "suppression.expire",
                                 "suppression.max_per_tenant", NULL },
    [4] = (const char *const[]){ "client_checks.exempt",
                                 "client_checks.forward_confirmed",
                                 "client_checks.helo",
                                 "client_checks.name",
                                 "client_checks.reverse_dns",
                                 "client_checks.when_unknown",
                                 "default_sites",
                                 "reputation.enabled",
                                 "reputation.good_bounces",
                                 "reputation.good_complaints",
                                 "reputation.good_pool",
                                 "reputation.hold",
                                 "reputation.minimum",
                                 "reputation.poor_bounces",
                                 "reputation.poor_complaints",
                                 "reputation.poor_pool",
                                 "reputation.window",
                                 "sites.connections",
                                 "sites.domain",
                                 "sites.messages_per_connection",
                                 "sites.mx",
                                 "sites.name",
                                 "sites.rate",
                                 "sites.recipients_per_message",
                                 "sites.retry",
                                 "sites.tls",
                                 "warmup.days",
                                 "warmup.fill",
                                 "warmup.first",
                                 "warmup.growth",
                                 "warmup.max_complaints",
                                 "warmup.max_deferrals",
                                 "warmup.sites",
                                 "warmup.step_back",
                                 NULL },
    [5] = (const char *const[]){ "dnsbl.every",
                                 "dnsbl.lists.action",
                                 "dnsbl.lists.zone",
                                 "domains.classes",
                                 "domains.failing",
                                 "domains.failures",
                                 "domains.prove",
                                 "domains.recheck",
                                 "domains.record",
                                 "domains.senders",
                                 "domains.subdomains",
                                 "domains.tenants",
                                 "domains.trusted",
                                 "domains.valid",
                                 "forwarding.accounts",
                                 "forwarding.classes",
                                 "forwarding.domain",
                                 "forwarding.life",
                                 "forwarding.returns",
                                 "pools.after",
                                 "pools.name",
                                 "pools.to",
                                 "pools.when_all_disabled",
                                 "reputation.addresses.enabled",
                                 "reputation.addresses.rest_for",
                                 "reputation.addresses.rest_when.at_least",
                                 "reputation.addresses.rest_when.classes",
                                 "reputation.addresses.rest_when.refused_share",
                                 "reputation.addresses.rest_when.within",
                                 "reputation.addresses.return_first",
                                 "rules.to",
                                 "sender_credit",
                                 "sender_rules.classes",
                                 "sender_rules.dry_run",
                                 "sender_rules.name",
                                 "sender_rules.repeat",
                                 "sender_rules.then",
                                 "sender_rules.when",
                                 NULL },
    [6] = (const char *const[]){ "classes.CLASS.over_limit",
                                 "classes.CLASS.over_limit_notice",
                                 "default_sender_rules",
                                 "held.bytes",
                                 "held.expire",
                                 "held.messages",
                                 "held.sender_bytes",
                                 "held.sender_messages",
                                 "held.when_expired",
                                 "held.when_full",
                                 "limits.over_limit",
                                 "notifications.routes.events",
                                 "notifications.routes.severity",
                                 "notifications.routes.tenants",
                                 "notifications.routes.to",
                                 "notifications.targets.digest",
                                 "notifications.targets.group",
                                 "notifications.targets.keep",
                                 "notifications.targets.mail",
                                 "notifications.targets.name",
                                 "notifications.targets.private_network",
                                 "notifications.targets.secret",
                                 "notifications.targets.subject",
                                 "notifications.targets.syslog",
                                 "notifications.targets.text",
                                 "notifications.targets.timeout",
                                 "notifications.targets.webhook",
                                 "streams.accounts",
                                 "streams.class",
                                 "streams.listeners",
                                 "streams.name",
                                 "streams.networks",
                                 "streams.of",
                                 "tenant_reports",
                                 NULL },
    [7] = (const char *const[]){ "content.checks", "content.classes", "content.max_size", "content.on_reject",
                                 "content.on_spam", "content.servers", "content.timeout",
                                 "content.when_unreachable",
                                 "web_senders.expire", "web_senders.hosts.accounts", "web_senders.hosts.class",
                                 "web_senders.hosts.headers", "web_senders.hosts.name", "web_senders.hosts.networks",
                                 "web_senders.hosts.remove", "web_senders.max_per_host", "web_senders.max_senders",
                                 NULL },
    [8] = (const char *const[]){ "content.milters.classes", "content.milters.name", "content.milters.offer_all",
                                 "content.milters.socket", "content.milters.timeout",
                                 "content.milters.when_unreachable", NULL },
};

static uint8_t came_with(const char *key)
{
    for (uint8_t level = 1; level <= LEVELS; level++)
        for (const char *const *k = keys[level]; *k != NULL; k++)
            if (strcmp(*k, key) == 0)
                return level;
    fail_msg("%s is in no list: say since which feature level nodes know it", key);
    return 0;
}

/* The level of a document that has this key and nothing else; its value is not looked at. */
static uint8_t level_with(const char *path)
{
    static const struct config_document_kind kind = { .max_bytes = 1000, .max_nesting = 10, .page = "" };
    struct config_errors errors;
    struct policy_doc doc = { 0 };
    yaml_document_t yaml;
    struct buf text;
    unsigned depth = 1;
    buf_init(&text, 1000);
    (void)buf_put_char(&text, '{');
    for (const char *p = path; *p != '\0'; p++)
        if (*p == '.') {
            (void)buf_put_str(&text, ": {");
            depth++;
        } else {
            (void)buf_put_char(&text, *p);
        }
    (void)buf_put_str(&text, ": x");
    while (depth-- > 0)
        (void)buf_put_char(&text, '}');
    config_errors_init(&errors);
    assert_int_equal(config_document_open(&kind, "p.yaml", buf_span(&text), &yaml, &errors), 0);
    struct schema_load l = { .file = "p.yaml", .doc = &yaml, .errors = &errors };
    policy_document_level(&l, &doc);
    yaml_document_delete(&yaml);
    config_errors_fini(&errors);
    buf_fini(&text);
    return doc.level;
}

static void check_map(const struct schema_map *map, const char *prefix, unsigned *n)
{
    for (const struct schema_field *f = map->fields; f->key != NULL; f++) {
        char path[128], listed[160];
        snprintf(path, sizeof path, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", f->key);
        if (f->map != NULL) {
            check_map(f->map, path, n);
            continue;
        }
        snprintf(listed, sizeof listed, "%s", path);
        if (strncmp(path, "classes.", 8) == 0)
            snprintf(listed, sizeof listed, "classes.CLASS.%s", f->key);
        uint8_t want = came_with(listed), got = level_with(path);
        if (got != want)
            fail_msg("%s needs level %u, and is said to need %u", path, want, got);
        (*n)++;
    }
}

static void test_every_key_has_its_level(void **state)
{
    (void)state;
    unsigned n = 0, want = 0;
    check_map(&policy_map, "", &n);
    for (uint8_t level = 1; level <= LEVELS; level++)
        for (const char *const *k = keys[level]; *k != NULL; k++)
            want += strncmp(*k, "classes.", 8) == 0 ? POLICY_CLASSES : 1;
    assert_int_equal(n, want);
}

#define RULE "sender_rules: [{name: a, when: messages > 5 in 1h, "

static const struct {
    const char *text;
    uint32_t level;
    const char *key; /* that it is said of; NULL: none */
} cases[] = {
    { "voters: 3\n", 1, NULL },
    { "limits: [{name: a, for: account, count: 5, window: 1h}]\nclasses: {bulk: {max_recipients: 9, pool: "
      "a}}\n",
      1, NULL },
    { "auth_guard: {block: 1h}\nsession: {ttl: 3s}\nfreeze: {mode: hold}\nhook: /bin/true\n", 1, NULL },
    { "late_identity: {header: X-Who, accounts: [relay]}\n", 1, NULL },
    { "rules: [{name: a, match: later, action: backoff}]\n", 2, "rules" },
    { "default_rules: false\n", 2, "default_rules" },
    { "backoff: {connections: 2}\n", 3, "backoff" },
    { "suppression: {enabled: true}\n", 3, "suppression" },
    { "bounces: {domain: b.example, postmaster: p@example.com, key: 0123456789abcdef}\n", 3, "bounces" },
    { "bounces: {domain: b.example, postmaster: p@example.com}\n", 5, "bounces without a key" },
    { "client_checks: {helo: strict}\n", 4, "client_checks" },
    { "reputation: {enabled: true}\n", 4, "reputation" },
    { "sites: [{name: a, mx: '*.example', connections: 2}]\ndefault_sites: true\n", 4, "default_sites" },
    { "warmup: {days: 20}\n", 4, "warmup" },
    { "dnsbl: {lists: [{zone: bl.example}]}\n", 5, "dnsbl" },
    { "dnsbl: {}\n", 5, "dnsbl" }, /* what says nothing cannot be read either */
    { "domains: {prove: off}\n", 5, "domains" },
    { "forwarding: {domain: b.example, accounts: [a]}\n", 5, "forwarding" },
    { "pools: [{name: a, when_all_disabled: wait}]\n", 5, "pools" },
    { "reputation: {addresses: {enabled: true}}\n", 5, "reputation.addresses" },
    { "rules:\n  - {name: a, match: later, action: backoff}\n"
      "  - {name: b, match: never, action: reroute, to: other}\n",
      5, "rules.to" },
    { "sender_credit: 10\n", 5, "sender_credit" },
    { RULE "then: hold 1h}]\n", 5, "sender_rules" },
    { RULE "then: hold for 1h}]\n", 6, "sender_rules.then" },
    { RULE "then: 'warn, notify'}]\n", 6, "sender_rules" },
    { RULE "then: slow 5 in 1h}]\n", 6, "sender_rules" },
    { "sender_rules: [{name: a, when: new_networks > 5 in 1h, then: warn}]\n", 6, "sender_rules" },
    { "web_senders: {hosts: [{name: a, accounts: '*', headers: X-AuthUser}]}\n", 7, "web_senders" },
    { "notifications: {targets: [{name: t, mail: a@example.com}], routes: [{to: t, events: web_senders}]}\n", 7,
      "notifications.routes.events" },
    { "sender_rules: [{name: a, when: spam > 5 in 1h, then: 'slow 5 in 1h'}]\n", 7, "sender_rules" },
    { "content: {servers: 'http://127.0.0.1:11333'}\nheld: {}\n", 7, "content" },
    { "content: {servers: 'http://127.0.0.1:11333', milters: [{name: a, socket: 'unix:/a'}]}\n", 8,
      "content.milters" },
    { "default_sender_rules: off\n", 6, "default_sender_rules" },
    { "default_sender_rules: dry_run\n", 6, "default_sender_rules" },
    { "held: {expire: 3d}\n", 6, "held" },
    { "notifications: {targets: [{name: a, mail: p@example.com}], routes: [{to: a, events: frozen}]}\n", 6,
      "notifications" },
    { "notifications: {targets: [{name: a, mail: p@example.com}], routes: [{to: a, events: [frozen, "
      "operator_thawed]}]}\n",
      7, "notifications.routes.events" },
    { "tenant_reports: off\n", 6, "tenant_reports" },
    { "tenant_reports: weekly\n", 6, "tenant_reports" },
    { "streams: [{name: a, class: bulk, listeners: news}]\n", 6, "streams" },
    { "classes: {bulk: {over_limit: hold}}\n", 6, "classes.CLASS.over_limit" },
    { "classes: {device: {over_limit_notice: never}}\n", 6, "classes.CLASS.over_limit_notice" },
    { "limits: [{name: a, for: account, count: 5, window: 1h, over_limit: reject}]\n", 6,
      "limits.over_limit" },
    { "dnsbl: {}\nheld: {}\nrules: []\n", 6, "held" },
};

/* Each section alone, as a cluster of a lower level has it: without the built-in rules about senders. */
static void test_each_section_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *key;
        struct policy *p = said_read(cases[i].text);
        struct buf out;
        policy_for_level(p, 1);
        uint32_t level = policy_needs(p, &key);
        if (level != cases[i].level || (key == NULL) != (cases[i].key == NULL) ||
            (key != NULL && strcmp(key, cases[i].key) != 0))
            fail_msg("%s--- needs level %u for %s", cases[i].text, level, key != NULL ? key : "nothing");
        /* the machine holds the same, where its bytes have a place for it */
        uint32_t compiled = policy_level(&p->compiled);
        assert_int_equal(compiled, level >= POLICY_LEVEL_LEAST || p->compiled.nsender_rules > 0 ? level : 1);
        buf_init(&out, 1 << 20);
        assert_int_equal(policy_encode(&p->compiled, &out), 0);
        buf_fini(&out);
        policy_rele(p);
    }
}

/* A document that says nothing of what came later is of the level that it always was. */
static void test_an_old_document_stays_old(void **state)
{
    (void)state;
    const char *key;
    struct policy *p = said_read("voters: 3\n");
    assert_int_equal(policy_needs(p, &key),
                     6); /* the built-in rules about senders, which it may go without */
    assert_string_equal(key, "sender_rules");
    policy_for_level(p, 5);
    assert_int_equal(policy_needs(p, &key), 1);
    assert_null(key);
    policy_rele(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_key_has_its_level),
        cmocka_unit_test(test_each_section_alone),
        cmocka_unit_test(test_an_old_document_stays_old),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
