/* Wrong configurations as a new user would write them, and what he is told: file, line, key, and what would
 * be right. The marker @ is a right beginning of six lines, so what follows starts on line 7.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "node/config/config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define GOOD                                                                                                 \
    "hostname: relay.example.com\n"                                                                          \
    "listeners:\n"                                                                                           \
    "  - kind: submission\n"                                                                                 \
    "    address: 192.0.2.1:587\n"                                                                           \
    "    tls: { certificate: /x/c.pem,\n"                                                                    \
    "           key: /x/k.pem }\n"
#define LISTENER                                                                                             \
    "hostname: a.example\nlisteners:\n  - kind: submission\n    tls: {certificate: /c, key: /k}\n    "       \
    "address: 192.0.2.1:587\n"
#define RELAY "hostname: a.example\nlisteners:\n  - kind: relay\n    address: 192.0.2.1:25\n"

static const struct {
    const char *text;    /* @ stands for GOOD */
    const char *want[4]; /* all that is said, in order */
} cases[] = {
    /* not YAML, or hardly */
    { "", { "f: is empty; docs/configuration.md has an example" } },
    { "# only a comment\n", { "f: is empty; docs/configuration.md has an example" } },
    { "- a\n- b\n", { "f:1: expected keys and values (a mapping), got a list" } },
    { "hostname\n", { "f:1: expected keys and values (a mapping), got a value" } },
    { "@smtp:\n\tmax_errors: 3\n",
      { "f:8: not valid YAML: found character that cannot start any token (indent with blanks, not tabs; "
        "quote text that "
        "begins with @, %, ` or *)" } },
    { "@smtp:\n  max_errors: 3\n   max_recipients: 4\n",
      { "f:9: not valid YAML: mapping values are not allowed in this context (quote text that contains \": "
        "\"; check the "
        "indentation)" } },
    { "@header_rules:\n  - add: X-Foo: bar\n",
      { "f:8: not valid YAML: mapping values are not allowed in this context (quote text that contains \": "
        "\"; check the "
        "indentation)" } },
    { "@smtp: { max_errors: 3\n", { "f:8: not valid YAML: did not find expected ',' or '}'" } },
    { "@always_bcc: *me\n", { "f:7: not valid YAML: found undefined alias" } },
    { "hostname: \"a.example\n", { "f:2: not valid YAML: found unexpected end of stream" } },
    { "hostname: caf\xe9.example\n", { "f: not UTF-8 text: invalid trailing UTF-8 octet at byte 14" } },
    /* keys */
    { "@smpt:\n  max_errors: 3\n", { "f:7: unknown key \"smpt\"; did you mean \"smtp\"?" } },
    { "@smtp:\n  max_errors: 3\n  max_recipient: 3\n",
      { "f:9: smtp: unknown key \"max_recipient\"; did you mean \"max_recipients\"?" } },
    { "@resolver:\n  dnssec: true\n",
      { "f:8: resolver: unknown key \"dnssec\"; known here: servers, timeout, trust_anchor_file" } },
    { "@hostname: b.example\n", { "f:7: \"hostname\" is given twice; the first one is on line 1" } },
    { "@? [a, b]\n: c\n", { "f:7: a key must be a single word" } },
    { LISTENER "    knd: submission\n",
      { "f:6: listeners[0]: unknown key \"knd\"; did you mean \"kind\"?" } },
    { "@smtp: 50M\n", { "f:7: smtp: expected keys and values (a mapping), got a value" } },
    { "@smtp:\n  max_errors: [1, 2]\n", { "f:8: smtp.max_errors: expected a single value, got a list" } },
    { "@data_dir:\n", { "f:7: data_dir: has no value; give one or remove the key" } },
    { "@workers: ~\n", { "f:7: workers: has no value; give one or remove the key" } },
    /* what is required */
    { "listeners:\n  - { kind: relay, address: \"192.0.2.1:25\" }\n",
      { "f:1: hostname: is required: the full name that clients and other servers see, such as "
        "relay.example.com" } },
    { "hostname: a.example\n", { "f:1: listeners: is required: give at least one, with kind and address" } },
    { "hostname: a.example\nlisteners: []\n",
      { "f:2: listeners: is empty: give at least one, with kind and address" } },
    { "hostname: a.example\nlisteners:\n",
      { "f:2: listeners: is empty: give at least one, with kind and address" } },
    { "hostname: a.example\nlisteners:\n  - address: 192.0.2.1:25\n",
      { "f:3: listeners[0].kind: is required: submission (port 587), submissions (465) or relay (25)" } },
    { "hostname: a.example\nlisteners:\n  - kind: relay\n",
      { "f:3: listeners[0].address: is required: an IP address and port such as 192.0.2.1:587" } },
    { "hostname: a.example\nlisteners:\n  - kind: submission\n    address: 192.0.2.1:587\n    tls: { "
      "certificate: /c }\n",
      { "f:5: listeners[0].tls.key: is required: the PEM file with the private key" } },
    { "@routes:\n  - domain: example.org\n",
      { "f:8: routes[0].via: is required: the next hop, such as smarthost.example.com:25" } },
    { "@routes:\n  - domain: example.org\n    via: a.example:25\n    tls: verify\n    auth: { user: me }\n",
      { "f:11: routes[0].auth.password_file: is required: the file that holds the password" } },
    { "@sources:\n  - address: 192.0.2.1\n",
      { "f:8: sources[0].ehlo: is required: the name that belongs to the address: its PTR record" } },
    /* single values */
    { "@smtp:\n  smtputf8: maybe\n", { "f:8: smtp.smtputf8: expected true or false, got \"maybe\"" } },
    { "@workers: many\n", { "f:7: workers: expected a whole number from 0 to 256, got \"many\"" } },
    { "@workers: -1\n", { "f:7: workers: expected a whole number from 0 to 256, got \"-1\"" } },
    { "@workers: 1000\n", { "f:7: workers: expected a whole number from 0 to 256, got \"1000\"" } },
    { "@workers: 99999999999999999999999\n",
      { "f:7: workers: expected a whole number from 0 to 256, got \"99999999999999999999999\"" } },
    { "@smtp:\n  max_message_size: fifty\n",
      { "f:8: smtp.max_message_size: expected a size such as 64k, 25M or 2G, got \"fifty\"" } },
    { "@smtp:\n  max_message_size: 50\n",
      { "f:8: smtp.max_message_size: must be from 64k to 2G, got \"50\"" } },
    { "@smtp:\n  idle_timeout: 5 minutes\n",
      { "f:8: smtp.idle_timeout: expected a time such as 30s, 5m, 4h or 2d, got \"5 minutes\"" } },
    { "@smtp:\n  idle_timeout: 2h\n", { "f:8: smtp.idle_timeout: must be from 1s to 1h, got \"2h\"" } },
    { "@smtp:\n  max_received: 50\n",
      { "f:8: smtp.max_received: expected a whole number from 100 to 1000, got \"50\"" } },
    { "@delivery:\n  ipv6: never\n",
      { "f:8: delivery.ipv6: expected prefer, equal, ipv4_only or ipv6_only, got \"never\"" } },
    { "@delivery:\n  eightbit_fallback: convert\n",
      { "f:8: delivery.eightbit_fallback: expected send or bounce, got \"convert\"" } },
    { "@delivery:\n  retry: [5m, soon]\n",
      { "f:8: delivery.retry[1]: expected a time such as 30s, 5m, 4h or 2d, got \"soon\"" } },
    { "@delivery:\n  retry: []\n",
      { "f:8: delivery.retry: is empty: give the times between attempts, such as [5m, 15m, 1h]" } },
    { "@delivery:\n  retry: [1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m]\n",
      { "f:8: delivery.retry: has 17 items; at most 16 are allowed" } },
    { "@delivery:\n  retry: 0\n", { "f:8: delivery.retry: must be from 1s to 30d, got \"0\"" } },
    { "@name: my relay\n",
      { "f:7: name: expected 1 to 63 letters, digits, \"-\", \"_\" or \".\", got \"my relay\"" } },
    { "@data_dir: var/turnpike\n",
      { "f:7: data_dir: expected an absolute path (it begins with \"/\"), got \"var/turnpike\"" } },
    { "@log:\n  events: events.json\n",
      { "f:8: log.events: expected off, stdout, journal or an absolute path, got \"events.json\"" } },
    { "@bounces:\n  from: \"a\\r\\nBcc: x\"\n",
      { "f:8: bounces.from: expected 1 to 100 printable characters" } },
    { "@bounces:\n  from: \"a\\0b\"\n", { "f:8: bounces.from: contains a NUL character" } },
    { "@bounces:\n  postmaster: postmaster\n",
      { "f:8: bounces.postmaster: expected a mail address such as postmaster@example.com, got "
        "\"postmaster\"" } },
    { "@always_bcc: [archive@example.com, archive]\n",
      { "f:7: always_bcc[1]: expected a mail address such as postmaster@example.com, got \"archive\"" } },
    /* names and addresses */
    { "@sources: { address: 192.0.2.1, ehlo: relay }\n",
      { "f:7: sources.ehlo: expected a full host name such as mail.example.com, got \"relay\"" } },
    { "@sources: { address: 192.0.2.1, ehlo: 192.0.2.1 }\n",
      { "f:7: sources.ehlo: expected a host name, got the address \"192.0.2.1\"" } },
    { "@sources: { address: 192.0.2.1, ehlo: b\xc3\xbc"
      "cher.example }\n",
      { "f:7: sources.ehlo: write an international name in its ASCII form (\"xn--...\"), got \"b\xc3\xbc"
        "cher.example\"" } },
    { "@sources: { address: \"192.0.2.1:25\", ehlo: a.example }\n",
      { "f:7: sources.address: expected an IP address such as 192.0.2.1 or 2001:db8::1, without a port, got "
        "\"192.0.2.1:25\"" } },
    { "hostname: a..example\nlisteners: { kind: relay, address: \"192.0.2.1:25\" }\n",
      { "f:1: hostname: expected a full host name such as mail.example.com, got \"a..example\"" } },
    { "hostname: a.example\nlisteners:\n  - kind: relay\n    address: 192.0.2.1\n",
      { "f:4: listeners[0].address: expected an IP address and port such as 192.0.2.1:587 or "
        "[2001:db8::1]:587, got "
        "\"192.0.2.1\"" } },
    { "hostname: a.example\nlisteners:\n  - kind: relay\n    address: localhost:25\n",
      { "f:4: listeners[0].address: expected an IP address and port such as 192.0.2.1:587 or "
        "[2001:db8::1]:587, got "
        "\"localhost:25\"" } },
    { "hostname: a.example\nlisteners:\n  - kind: smtp\n    address: 192.0.2.1:25\n",
      { "f:3: listeners[0].kind: expected submission, submissions, relay or inbound, got \"smtp\"" } },
    { "@relay_clients: { networks: [10.0.0.1/8], account: a@b.example }\n",
      { "f:7: relay_clients.networks[0]: has bits set after the prefix: \"10.0.0.1/8\"; did you mean "
        "10.0.0.0/8?" } },
    { "@relay_clients: { networks: [10.0.0.0/40], account: a@b.example }\n",
      { "f:7: relay_clients.networks[0]: expected a network such as 192.0.2.0/24 or 2001:db8::/32, got "
        "\"10.0.0.0/40\"" } },
    { "@relay_clients: { networks: 10.0.0.0/8, account: \"a b\" }\n",
      { "f:7: relay_clients.account: expected an account name such as anna@example.com, without blanks, got "
        "\"a b\"" } },
    { "@resolver:\n  servers: [dns.example.com]\n",
      { "f:8: resolver.servers[0]: expected a resolver's address such as 192.0.2.53, ::1 or 127.0.0.1@5353, "
        "got "
        "\"dns.example.com\"" } },
    /* mail's own */
    { "@routes: { domain: \"*example.com\", via: a.example }\n",
      { "f:7: routes.domain: expected \"example.com\", \"*.example.com\" or \"*\", got \"*example.com\"" } },
    { "@routes:\n  - domain: example.com\n    via: \"a.example:99999\"\n",
      { "f:9: routes[0].via: the port must be a number from 1 to 65535; got \"a.example:99999\"" } },
    { "@routes:\n  - domain: example.com\n    via: \"2001:db8::1\"\n",
      { "f:9: routes[0].via: put an IPv6 address in brackets: \"[2001:db8::1]:25\"; got \"2001:db8::1\"" } },
    { "@routes:\n  - domain: example.com\n    via: smtp://a.example\n",
      { "f:9: routes[0].via: the port must be a number from 1 to 65535; got \"smtp://a.example\"" } },
    { "@routes:\n  - domain: example.com\n    via: \"mx:\"\n",
      { "f:9: routes[0].via: expected \"host.example.com:25\", \"[192.0.2.1]:25\", \"mx:example.com\" or "
        "\":2525\"; got "
        "\"mx:\"" } },
    { "@routes:\n  - { domain: a.example, via: b.example }\n  - { domain: c.example, via: b.example }\n"
      "  - { domain: A.example., via: b.example }\n",
      { "f:10: routes[2].domain: \"a.example\" has a route already, on line 8" } },
    { "@routes:\n  - domain: \"*\"\n    via: a.example:587\n    auth: { user: u, password_file: /x/p }\n",
      { "f:10: routes[0].auth: a password is only sent over TLS: set tls of this route to required or "
        "verify" } },
    { "@routes:\n  - domain: \"*\"\n    via: a.example:587\n    tls: verify\n    dane: on\n",
      { "f:11: routes[0].dane: DANE has its own way to know a server: set tls to opportunistic or "
        "required" } },
    { "@delivery: { dane: only }\n",
      { "f:7: delivery.dane: nothing can be validated without resolver.trust_anchor_file" } },
    { "@header_rules:\n  - add: X-Foo\n",
      { "f:8: header_rules[0].add: expected a header field such as \"X-Relayed-By: example.com\", got "
        "\"X-Foo\"" } },
    { "@header_rules:\n  - add: \"X-Foo: a\\nB: c\"\n",
      { "f:8: header_rules[0].add: a header field is one line of printable ASCII" } },
    { "@header_rules:\n  - remove: Received\n",
      { "f:8: header_rules[0].remove: Received cannot be removed: loops are found by it" } },
    { "@header_rules:\n  - { add: \"X-A: b\", remove: X-C }\n",
      { "f:8: header_rules[0].remove: give either add or remove; write two rules for both" } },
    { "@header_rules:\n  - {}\n", { "f:8: header_rules[0]: give add: \"Name: text\" or remove: Name" } },
    { "@accounts:\n  dovecot:\n    rules:\n      - match: \"a*@example.com\"\n",
      { "f:10: accounts.dovecot.rules[0].match: expected \"user@example.com\", \"*@example.com\", "
        "\"*.example.com\" or "
        "\"*\", got \"a*@example.com\"" } },
    { "@accounts:\n  dovecot:\n    rules:\n      - match: \"*\"\n        class: vip\n",
      { "f:11: accounts.dovecot.rules[0].class: expected person, device or bulk, got \"vip\"" } },
    { "@accounts:\n  dovecot:\n    rules:\n      - match: \"*\"\n        senders: [\"a b\"]\n",
      { "f:11: accounts.dovecot.rules[0].senders[0]: expected an address, a domain or \"*\", got \"a b\"" } },
    /* rules between keys */
    { LISTENER "  - kind: submission\n    tls: {certificate: /c, key: /k}\n    address: 192.0.2.1:587\n",
      { "f:8: listeners[1].address: 192.0.2.1:587 is taken by the listener on line 5" } },
    { LISTENER "    name: a\n  - kind: submission\n    tls: {certificate: /c, key: /k}\n    address: "
               "192.0.2.2:587\n    name: a\n",
      { "f:10: listeners[1].name: \"a\" is the name of the listener on line 6 too" } },
    { "hostname: a.example\nlisteners:\n  - kind: submission\n    address: 192.0.2.1:587\n",
      { "f:3: listeners[0].tls: a submission listener takes passwords only over TLS: give certificate and "
        "key" } },
    { "hostname: a.example\nlisteners:\n  - kind: submissions\n    address: 192.0.2.1:465\n",
      { "f:3: listeners[0].tls: a submissions listener speaks TLS from the start: give certificate and "
        "key" } },
    { LISTENER "    old_devices: true\n",
      { "f:6: listeners[0].old_devices: needs networks: passwords in plain text only from networks that you "
        "name" } },
    { LISTENER "    old_devices: true\n    networks: [10.0.0.0/8,\n      0.0.0.0/0]\n",
      { "f:8: listeners[0].networks[1]: this is everybody: old_devices is for networks of your own only" } },
    { LISTENER "    old_devices: true\n    networks: 10.0.0.0/8\n    require_tls: true\n",
      { "f:8: listeners[0].require_tls: contradicts old_devices, which lets clients in without TLS; remove "
        "one of them" } },
    { LISTENER "    proxy_protocol:\n      from: 0.0.0.0/0\n",
      { "f:7: listeners[0].proxy_protocol.from[0]: this is everybody: anyone could claim any address; name "
        "your load "
        "balancers" } },
    { RELAY,
      { "f:3: listeners[0].kind: a relay listener needs relay_clients: which networks send as which "
        "account" } },
    { RELAY "    require_tls: true\nrelay_clients: { networks: 10.0.0.0/8, account: a }\n",
      { "f:3: listeners[0].tls: require_tls needs a certificate and key" } },
    { RELAY "relay_clients:\n  - networks: 0.0.0.0/0\n    account: a@b.example\n",
      { "f:6: relay_clients[0].networks[0]: this is everybody: it would make an open relay; name your own "
        "networks" } },
    { RELAY "relay_clients:\n  - { networks: 10.0.0.0/8, account: a }\n  - { networks: [10.0.0.0/8], "
            "account: b }\n",
      { "f:7: relay_clients[1].networks[0]: 10.0.0.0/8 belongs to an account already, on line 6" } },
    { "@delivery:\n  retry: 1h\n  expire: 30m\n  delay_notice: 0\n",
      { "f:8: delivery.retry: the first retry comes after the message expired; make it shorter than "
        "delivery.expire" } },
    { "@delivery:\n  expire: 2h\n",
      { "f:7: delivery.delay_notice: must be shorter than delivery.expire; 0 means no notice" } },
    { "@delivery:\n  connections_start: 30\n",
      { "f:8: delivery.connections_start: connections_start (30) must not be more than connections_max "
        "(20)" } },
    { "@delivery:\n  connections_total: 10\n",
      { "f:8: delivery.connections_total: connections_max of one site (20) must not be more than "
        "connections_total "
        "(10)" } },
    { "@sources:\n  - { address: 192.0.2.1, ehlo: a.example }\n  - { address: 192.0.2.1, ehlo: b.example }\n",
      { "f:9: sources[1].address: is a source already, on line 8" } },
    { "@delivery: { ipv6: ipv6_only }\nsources:\n  - { address: 192.0.2.1, ehlo: a.example }\n",
      { "f:8: sources: delivery.ipv6 is ipv6_only, but no source is an IPv6 address" } },
    { "@admin:\n  listen: 0.0.0.0:8025\n  token_file: /x/token\n",
      { "f:8: admin.listen: must be a loopback address such as 127.0.0.1:8025, or have a certificate "
        "(admin.tls); or say admin.remote: true where the network is trusted" } },
    { "@admin:\n  listen: 0.0.0.0:8025\n  token_file: /x/token\n  tls: { certificate: /x/c.pem }\n",
      { "f:10: admin.tls.key: is required: the PEM file with the private key" } },
    { "@admin:\n  listen: 0.0.0.0:8025\n  remote: true\n",
      { "f:8: admin.listen: needs admin.token_file: without it any local user could operate the node" } },
    { "@admin: { hosts: [\"node1:8025\"] }\n",
      { "f:7: admin.hosts[0]: expected a full host name such as mail.example.com, got \"node1:8025\"" } },
    { "@admin:\n  listen: 127.0.0.1:8025\n",
      { "f:8: admin.listen: needs admin.token_file: without it any local user could operate the node" } },
    /* the cluster */
    { "@cluster: { listen: \"192.0.2.1:7301\" }\n",
      { "f:7: cluster.gossip: is required: another port for the other nodes, such as 192.0.2.1:7302" } },
    { "@cluster:\n  listen: 192.0.2.1:7301\n  gossip: 192.0.2.1:7301\n",
      { "f:9: cluster.gossip: is the same as cluster.listen: give it a port of its own" } },
    { "@cluster:\n  listen: 0.0.0.0:7301\n  gossip: 192.0.2.1:7302\n",
      { "f:7: cluster.advertise: is required when the node listens on any address: where others reach it" } },
    { "@cluster:\n  listen: 192.0.2.1:7301\n  gossip: 192.0.2.1:7302\n  advertise: relay1\n",
      { "f:10: cluster.advertise: is no name or address with a port, such as node-a.example.com:7301: "
        "relay1" } },
    { "@cluster:\n  listen: 192.0.2.1:7301\n  gossip: 192.0.2.1:7302\n  heartbeat: 400ms\n",
      { "f:10: cluster.heartbeat: election_timeout must be at least three times heartbeat" } },
    { "@cluster:\n  listen: 192.0.2.1:7301\n  gossip: 192.0.2.1:7302\n  address_hook: hook\n",
      { "f:10: cluster.address_hook: expected an absolute path (it begins with \"/\"), got \"hook\"" } },
    { "@group: mail\n", { "f:7: group: has no effect without user; give both" } },
    { "@data_dir: /srv\nspool: { dir: /srv/accounts/ }\n",
      { "f:1: accounts.file: is the same path as spool.dir: /srv/accounts" } },
    /* all at once, by line */
    { "@workers: many\nsmtp:\n  idle_timeout: soon\n  max_errors: 0\nlgo: { level: info }\n",
      { "f:7: workers: expected a whole number from 0 to 256, got \"many\"",
        "f:9: smtp.idle_timeout: expected a time such as 30s, 5m, 4h or 2d, got \"soon\"",
        "f:10: smtp.max_errors: expected a whole number from 1 to 10000, got \"0\"",
        "f:11: unknown key \"lgo\"; did you mean \"log\"?" } },
};

static void expand(const char *text, struct buf *out)
{
    if (text[0] == '@') {
        buf_put_str(out, GOOD);
        text++;
    }
    buf_put_str(out, text);
}

static void check(const struct config_errors *errors, const char *const *want, size_t nwant, const char *text)
{
    size_t n = 0;
    while (n < nwant && want[n] != NULL)
        n++;
    bool same = errors->n == n;
    for (size_t i = 0; same && i < n; i++)
        same = strcmp(errors->v[i].text, want[i]) == 0;
    if (same)
        return;
    print_message("---- of ----\n%s---- want ----\n", text);
    for (size_t i = 0; i < n; i++)
        print_message("%s\n", want[i]);
    print_message("---- got ----\n");
    for (uint32_t i = 0; i < errors->n; i++)
        print_message("%s\n", errors->v[i].text);
}

static void test_table(void **state)
{
    (void)state;
    size_t wrong = 0, n = sizeof cases / sizeof cases[0];
    for (size_t i = 0; i < n; i++) {
        struct config_errors errors;
        struct config *c;
        struct buf text;
        config_errors_init(&errors);
        buf_init(&text, 65536);
        expand(cases[i].text, &text);
        int err = config_parse("f", buf_span(&text), CONFIG_NO_FILES, &c, &errors);
        buf_put_char(&text, '\0');
        check(&errors, cases[i].want, 4, text.data);
        bool same = err == ERR_BAD && c == NULL && errors.n > 0 &&
                    strcmp(errors.v[0].text, cases[i].want[0]) == 0 &&
                    errors.n == (cases[i].want[1] == NULL ? 1u : 4u);
        wrong += !same;
        config_rele(c);
        config_errors_fini(&errors);
        buf_fini(&text);
    }
    print_message("%zu wrong configurations tried\n", n);
    assert_int_equal(wrong, 0);
    assert_true(n >= 60);
}

static void test_warnings(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } warned[] = {
        { "@accounts:\n  dovecot: { service: smtp }\n",
          "f:8: accounts.dovecot: has no effect while accounts.source is file" },
        { "@relay_clients: { networks: 10.0.0.0/8, account: a }\n",
          "f:7: relay_clients: has no effect: no listener is of the kind relay" },
        { RELAY "relay_clients:\n  - { networks: 10.0.0.0/7, account: a }\n",
          "f:6: relay_clients[0].networks[0]: /7 is a very large network to relay for" },
    };
    for (size_t i = 0; i < sizeof warned / sizeof warned[0]; i++) {
        struct config_errors errors;
        struct config *c;
        struct buf text;
        config_errors_init(&errors);
        buf_init(&text, 65536);
        expand(warned[i].text, &text);
        assert_int_equal(config_parse("f", buf_span(&text), CONFIG_NO_FILES, &c, &errors), 0);
        assert_int_equal(errors.n, 1);
        assert_int_equal(errors.errors, 0);
        assert_true(errors.v[0].warning);
        assert_string_equal(errors.v[0].text, warned[i].want);
        config_rele(c);
        config_errors_fini(&errors);
        buf_fini(&text);
    }
}

/* ---- bounds -------------------------------------------------------------------------------------------- */

static void parse_big(struct buf *text, const char *first)
{
    struct config_errors errors;
    struct config *c;
    config_errors_init(&errors);
    assert_int_equal(config_parse("f", buf_span(text), CONFIG_NO_FILES, &c, &errors), ERR_BAD);
    assert_true(errors.n >= 1);
    assert_true(errors.n <= CONFIG_ERRORS_MAX);
    assert_string_equal(errors.v[0].text, first);
    config_errors_fini(&errors);
    buf_fini(text);
}

static void test_bounds(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 16u << 20);
    buf_put_str(&b, GOOD "routes:\n");
    for (int i = 0; i < CONFIG_ROUTES_MAX + 1; i++)
        buf_printf(&b, "  - { domain: d%d.example, via: a.example }\n", i);
    parse_big(&b, "f:8: routes: has 10001 items; at most 10000 are allowed");

    buf_init(&b, 16u << 20);
    buf_put_str(&b, "hostname: a.example\nlisteners:\n");
    for (int i = 0; i < CONFIG_LISTENERS_MAX + 1; i++)
        buf_printf(&b, "  - { kind: relay, address: \"192.0.2.1:%d\" }\n", i + 1);
    parse_big(&b, "f:3: listeners: has 65 items; at most 64 are allowed");

    buf_init(&b, 16u << 20); /* more faults than are kept */
    buf_put_str(&b, GOOD "routes:\n");
    for (int i = 0; i < 500; i++)
        buf_put_str(&b, "  - { domain: a_.b, via: }\n");
    parse_big(&b, "f:8: routes[0].via: has no value; give one or remove the key");

    buf_init(&b, 16u << 20);
    for (size_t i = 0; i < CONFIG_FILE_MAX / 8 + 1; i++)
        buf_put_str(&b, "# blank\n");
    parse_big(&b, "f: is larger than 4194304 bytes");

    buf_init(&b, 16u << 20); /* nesting */
    buf_put_str(&b, GOOD "routes: ");
    for (int i = 0; i < 100000; i++)
        buf_put_char(&b, '[');
    parse_big(&b, "f:7: not valid YAML: more than 100 brackets are open");
}

/* Ten thousand routes through one alias are ten thousand times one line: bounded work. An alias of itself
 * ends too. */
static void test_aliases(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1u << 20);
    buf_put_str(&b, GOOD "routes: &r\n  - &x { domain: a.example, via: *x }\n");
    parse_big(&b, "f:8: routes[0].via: expected a single value, got a mapping");

    buf_init(&b, 8u << 20); /* 1,000 clients with the same 1,024 networks each */
    buf_put_str(&b, RELAY "relay_clients:\n  - &c\n    account: a\n    networks:\n");
    for (int i = 0; i < 1024; i++)
        buf_printf(&b, "      - 10.%d.%d.0/24\n", i / 256, i % 256);
    for (int i = 1; i < 1000; i++)
        buf_put_str(&b, "  - *c\n");
    parse_big(&b, "f:9: relay_clients[1].networks[0]: 10.0.0.0/24 belongs to an account already, on line 9");
}

/* ---- files --------------------------------------------------------------------------------------------- */

static char dir[64];

static void put_file(const char *name, const char *content, mode_t mode)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static int setup_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/turnpike-config-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return 1;
    put_file("c.pem", "x", 0644);
    put_file("k.pem", "x", 0600);
    put_file("open.key", "x", 0644);
    put_file("empty", "\n", 0600);
    put_file("short", "abc\n", 0600);
    put_file("open.pw", "secret\n", 0604);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -r %s", dir);
    return system(cmd);
}

/* % stands for the directory. */
static char *with_dir(const char *text)
{
    struct buf b;
    buf_init(&b, 65536);
    for (; *text != '\0'; text++)
        if (*text == '%')
            buf_put_str(&b, dir);
        else
            buf_put_char(&b, *text);
    buf_put_char(&b, '\0');
    return b.data;
}

static const struct {
    const char *text, *want;
} files[] = {
    { "    tls: { certificate: %/none.pem, key: %/k.pem }\n",
      "f:5: listeners[0].tls.certificate: cannot read %/none.pem: No such file or directory" },
    { "    tls:\n      - { certificate: %/c.pem, key: %/k.pem }\n      - certificate: %/c.pem\n        key: "
      "%\n",
      "f:8: listeners[0].tls[1].key: cannot read %: it is not a file" },
    { "    tls:\n      certificate: %/c.pem\n      key: %/open.key\n",
      "f:7: listeners[0].tls.key: %/open.key holds a secret, but everybody can reach it (mode 0644): chmod "
      "0640 or 0600 "
      "it" },
    { "    tls: { certificate: %/c.pem, key: %/k.pem }\nadmin:\n  token_file: %/short\n",
      "f:7: admin.token_file: the secret in %/short is too short: at least 16 characters" },
    { "    tls: { certificate: %/c.pem, key: %/k.pem }\nroutes:\n  - { domain: \"*\", via: a.example, tls: "
      "verify,\n"
      "      auth: { user: u, password_file: %/empty } }\n",
      "f:8: routes[0].auth.password_file: %/empty is empty; its first line is the secret" },
    { "    tls: { certificate: %/c.pem, key: %/k.pem }\nroutes:\n  - { domain: \"*\", via: a.example, tls: "
      "verify,\n"
      "      auth: { user: u, password_file: %/open.pw } }\n",
      "f:8: routes[0].auth.password_file: %/open.pw holds a secret, but everybody can reach it (mode 0604): "
      "chmod 0640 or "
      "0600 it" },
    { "    tls: { certificate: %/c.pem, key: %/k.pem }\nresolver: { trust_anchor_file: %/root.key }\n",
      "f:6: resolver.trust_anchor_file: cannot read %/root.key: No such file or directory" },
    { "    tls: { certificate: %/c.pem, key: %/k.pem }\nuser: no-such-user-here\n",
      "f:6: user: this machine has no user \"no-such-user-here\"" },
    { "    tls: { certificate: %/c.pem, key: %/k.pem }\nuser: root\ngroup: no-such-group\n",
      "f:7: group: this machine has no group \"no-such-group\"" },
    { "    tls: { certificate: %/c.pem, key: %/k.pem }\ndata_dir: %/c.pem\n",
      "f:6: data_dir: %/c.pem is not a directory" },
    { "    tls: { certificate: %/c.pem, key: %/k.pem }\nlog: { events: %/logs/events.json }\n",
      "f:6: log.events: cannot write %/logs/events.json: its directory %/logs: No such file or directory" },
};

static void test_files(void **state)
{
    (void)state;
    size_t wrong = 0;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct config_errors errors;
        struct config *c;
        struct buf text;
        char *body = with_dir(files[i].text), *want = with_dir(files[i].want);
        config_errors_init(&errors);
        buf_init(&text, 65536);
        buf_printf(&text,
                   "hostname: a.example\nlisteners:\n  - kind: submission\n    address: 192.0.2.1:587\n%s",
                   body);
        int err = config_parse("f", buf_span(&text), 0, &c, &errors);
        bool same = err == ERR_BAD && errors.n >= 1 && strcmp(errors.v[0].text, want) == 0;
        wrong += !same;
        buf_put_char(&text, '\0');
        const char *wants[] = { want };
        check(&errors, wants, 1, text.data);
        free(body);
        free(want);
        config_rele(c);
        config_errors_fini(&errors);
        buf_fini(&text);
    }
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test_setup_teardown(test_files, setup_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
