/* The policy's section notifications. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "said.h"

#include <string.h>

#define T "notifications:\n  targets:\n"
#define AT "p.yaml:3: notifications.targets[0]"

static const struct said_fault wrong[] = {
    { T "    - {name: a}\n", AT ".name: \"a\": one of webhook, mail and syslog is required, and only one\n" },
    { T "    - {name: a, mail: pm@x.example, syslog: 'udp://127.0.0.1'}\n",
      AT ".name: \"a\": one of webhook, mail and syslog is required, and only one\n" },
    { T "    - {name: a, webhook: 'https://x.example/'}\n",
      AT ".secret: is required: the name of the secret that signs it (turnpike secret import webhooks)\n" },
    { T "    - {name: a, webhook: 'ftp://x.example/', secret: s}\n",
      AT ".webhook: expected https://host/path (http:// to this machine only)\n" },
    { T "    - {name: a, webhook: 'https://u:p@x.example/', secret: s}\n",
      AT ".webhook: must not have a user name or password in it: it is signed with a secret instead\n" },
    { T "    - {name: a, webhook: 'https://x.example:99999/', secret: s}\n",
      AT ".webhook: expected a host name or address, and perhaps a port\n" },
    { T "    - {name: a, webhook: 'https://x.example/a b', secret: s}\n",
      AT ".webhook: has a character that no URL has\n" },
    { T "    - {name: a, syslog: 'tcp://log.example'}\n",
      AT ".syslog: expected an IP address, and perhaps a port\n" },
    { T "    - {name: a, syslog: 'unix://dev/log'}\n",
      AT ".syslog: expected unix:// and the absolute path of a socket\n" },
    { T "    - {name: a, syslog: 'udp://127.0.0.1', secret: s}\n", AT ".secret: is for a webhook only\n" },
    { T "    - {name: a, mail: nobody}\n",
      AT ".mail: expected an address, or \"tenant\" for the tenant's contact\n" },
    { T "    - {name: a, mail: tenant, subject: 'x {nonsense}'}\n",
      AT ".subject: there is no variable {nonsense}: docs/notifications.md\n" },
    { T "    - {name: a, mail: tenant, text: [fine, '{account} {accounts}']}\n",
      AT ".text[1]: there is no variable {accounts}: docs/notifications.md\n" },
    { T "    - {name: a, syslog: 'udp://127.0.0.1', subject: x}\n",
      AT ".subject: is for mail only, as text is\n" },
    { T "    - {name: a, mail: tenant}\n    - {name: a, mail: tenant}\n",
      "p.yaml:4: notifications.targets[1].name: \"a\" is given twice\n" },
    { T "    - {name: a, mail: tenant}\n  routes:\n    - {to: [a, b], events: [frozen, nonsense]}\n",
      "p.yaml:5: notifications.routes[0].to[1]: there is no target \"b\"\n"
      "p.yaml:5: notifications.routes[0].events[1]: there is no event \"nonsense\": "
      "docs/notifications.md\n" },
    { T "    - {name: a, mail: tenant}\n  routes:\n    - {events: frozen}\n",
      "p.yaml:5: notifications.routes[0].to: is required: the names of targets\n" },
};

static void test_faults(void **state)
{
    (void)state;
    said_faults(wrong, sizeof wrong / sizeof wrong[0]);
}

static bool wants(const struct policy *p, const char *target, const char *event, const char *tenant)
{
    const struct policy_notifications *n = &p->notifications;
    return policy_target_wants(n, policy_target_find(n, span_str(target)), span_str(event),
                               policy_event_severity(span_str(event)), span_str(tenant));
}

static void test_routes(void **state)
{
    (void)state;
    struct policy *p = said_read(
        T "    - {name: a, mail: tenant}\n    - {name: b, mail: pm@x.example, group: 1h, digest: 1d}\n"
          "    - {name: c, syslog: 'udp://127.0.0.1'}\n"
          "  routes:\n    - {to: a}\n    - {to: [b, c], events: [bounced, frozen], tenants: x.example}\n"
          "    - {to: c, severity: notice}\n    - {to: c, events: [frozen, received], severity: critical}\n");
    assert_true(wants(p, "a", "frozen", "") && wants(p, "a", "warned", "x.example")); /* warning or worse */
    assert_false(wants(p, "a", "bounced", "x.example") || wants(p, "a", "shaping", ""));
    assert_true(wants(p, "b", "bounced", "x.example")); /* by name: whatever its severity */
    assert_false(wants(p, "b", "bounced", "y.example") || wants(p, "b", "bounced", "") ||
                 wants(p, "b", "warned", "x.example"));
    assert_true(wants(p, "c", "shaping", "") && wants(p, "c", "frozen", "y.example"));
    assert_false(wants(p, "c", "received", ""));
    const struct policy_notifications *n = &p->notifications;
    assert_int_equal(policy_target_group_ms(&n->targets[0]), 600000);
    assert_int_equal(policy_target_group_ms(&n->targets[1]), 3600000);
    assert_int_equal(policy_target_group_ms(&n->targets[2]), 0);
    assert_int_equal(n->targets[1].digest_ms, 86400000);
    policy_rele(p);
}

static void test_urls(void **state)
{
    (void)state;
    struct policy_url url;
    assert_null(policy_webhook_parse(span_str("https://hooks.example.com/a/b?c=d"), &url));
    assert_true(url.tls && url.port == 443);
    assert_string_equal(url.host, "hooks.example.com");
    assert_null(policy_webhook_parse(span_str("https://[2001:db8::1]:8443/x"), &url));
    assert_string_equal(url.host, "2001:db8::1");
    assert_int_equal(url.port, 8443);
    assert_null(policy_webhook_parse(span_str("http://127.0.0.1:8080"), &url));
    assert_false(url.tls);
    assert_non_null(policy_webhook_parse(span_str("https:///x"), &url));
    assert_non_null(policy_webhook_parse(span_str("https://x.example:0/"), &url));
    assert_non_null(policy_webhook_parse(span_str("https://[::1/"), &url));
    assert_null(policy_syslog_parse(span_str("tcp://[::1]:601"), &url));
    assert_true(url.tcp && url.port == 601 && !url.unix_socket);
    assert_null(policy_syslog_parse(span_str("udp://192.0.2.1"), &url));
    assert_true(!url.tcp && url.port == 514);
    assert_null(policy_syslog_parse(span_str("unix:///dev/log"), &url));
    assert_true(url.unix_socket && strcmp(url.host, "/dev/log") == 0);
}

static void test_differences(void **state)
{
    (void)state;
    said_diff(T "    - {name: a, webhook: 'https://x.example/secret-path', secret: s}\n    - {name: b, mail: "
                "tenant}\n"
                "  routes:\n    - {to: a}\n",
              T "    - {name: a, webhook: 'https://x.example/other-path', secret: s}\n    - {name: c, "
                "syslog: 'udp://127.0.0.1'}\n"
                "  routes:\n    - {to: [a, c], events: frozen, tenants: [t]}\n",
              "notifications.targets.a: another path\n"
              "notifications.targets.b: tenant, group 10m -> (none)\n"
              "notifications.targets.c: (none) -> udp://127.0.0.1, group 0\n"
              "notifications.routes[0]: warning or worse; to a -> info or worse; events frozen; tenants t; "
              "to a, c\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
