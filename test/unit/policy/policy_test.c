/* The policy: what is read of a right one, every way to write a wrong one with the whole message, what
 * differs between two, and that the built-in one is the machine's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "said.h"

#include "base/err.h"
#include "node/policy/policy_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIMIT "limits:\n  - {name: a, for: account, count: 5, window: 1h}\n"

static const struct said_fault wrong[] = {
    { "", "p.yaml: is empty; docs/policy.md has an example\n" },
    { "# only a comment\n", "p.yaml: is empty; docs/policy.md has an example\n" },
    { "- a\n", "p.yaml:1: expected keys and values (a mapping), got a list\n" },
    { "policy\n", "p.yaml:1: expected keys and values (a mapping), got a value\n" },
    { "voters: [1\n", "p.yaml:2: not valid YAML: did not find expected ',' or ']'\n" },
    { "\tvoters: 3\n", "p.yaml:1: not valid YAML: found character that cannot start any token (indent with "
                       "blanks, not tabs; quote text that begins with @, %, ` or *)\n" },
    { "limits: *me\n", "p.yaml:1: not valid YAML: found undefined alias\n" },
    { "voters: \"3\n", "p.yaml:2: not valid YAML: found unexpected end of stream\n" },
    { "voters: caf\351\n", "p.yaml: not UTF-8 text: incomplete UTF-8 octet sequence at byte 11\n" },
    { "votes: 3\n", "p.yaml:1: unknown key \"votes\"; did you mean \"voters\"?\n" },
    { "colour: red\n", "p.yaml:1: unknown key \"colour\"; known here: limits, classes, streams, session, voters, "
                       "when_cut_off, freeze, auth_guard, client_checks, late_identity, suppression, bounces, "
                       "domains, forwarding, warmup, reputation, dnsbl, tenant_reports, hook, sender_rules, held, content, web_senders, sender_credit, rules, sites, pools, notifications, backoff, default_rules, default_sender_rules, default_sites\n" },
    { "pools:\n  - {name: a, when_all_disabled: reroute}\n  - {name: a, when_all_disabled: bounce, to: b}\n",
      "p.yaml:2: pools[0].to: is required: the pool that mail is moved to\n"
      "p.yaml:3: pools[1].name: is in the list already\n"
      "p.yaml:3: pools[1].to: is for when_all_disabled: reroute only\n"
      "p.yaml:3: pools[1].after: is required: how long all must have rested before mail is returned\n" },
    { "pools:\n  - {name: a, when_all_disabled: reroute, to: a}\n  - {name: b, when_all_disabled: wait, "
      "after: 1h}\n",
      "p.yaml:2: pools[0].to: is the pool itself\n"
      "p.yaml:3: pools[1].after: is for when_all_disabled: reroute and bounce only\n" },
    { "pools:\n  - {name: a, when_all_disabled: stop}\n",
      "p.yaml:2: pools[0].when_all_disabled: expected wait, reroute, bounce or use_any, got \"stop\"\n" },
    { "voters: 3\nvoters: 5\n", "p.yaml:2: \"voters\" is given twice; the first one is on line 1\n" },
    { "[a]: 3\n", "p.yaml:1: a key must be a single word\n" },
    { "voters:\n", "p.yaml:1: voters: has no value; give one or remove the key\n" },
    { "voters: many\n", "p.yaml:1: voters: expected a whole number from 1 to 5, got \"many\"\n" },
    { "voters: 0\n", "p.yaml:1: voters: expected a whole number from 1 to 5, got \"0\"\n" },
    { "voters: 7\n", "p.yaml:1: voters: expected a whole number from 1 to 5, got \"7\"\n" },
    { "reputation: {good_bounces: 200}\n",
      "p.yaml:1: reputation.good_bounces: must not be more than poor_bounces\n" },
    { "voters: 2\n",
      "p.yaml:1: voters: must be 1, 3 or 5: an even number stands no more failures than the one below it\n" },
    { "voters: 4\n",
      "p.yaml:1: voters: must be 1, 3 or 5: an even number stands no more failures than the one below it\n" },
    { "voters: [3]\n", "p.yaml:1: voters: expected a single value, got a list\n" },
    { "voters: {a: 1}\n", "p.yaml:1: voters: expected a single value, got a mapping\n" },
    { "limits: 5\n", "p.yaml:1: limits: expected keys and values (a mapping), got a value\n" },
    { "limits:\n  - 5\n", "p.yaml:2: limits[0]: expected keys and values (a mapping), got a value\n" },
    { "limits:\n  - {}\n",
      "p.yaml:2: limits[0].name: is required: what replies and reports call the limit\np.yaml:2: "
      "limits[0].for: is required: account (each account's own) or tenant (all of a tenant's accounts "
      "together)\np.yaml:2: limits[0].count: is required: how many recipients\np.yaml:2: limits[0].window: "
      "is required: in which time, such as 1h or 1d\n" },
    { "limits:\n  - {name: 'a b', for: account, count: 5, window: 1h}\n",
      "p.yaml:2: limits[0].name: expected 1 to 63 letters, digits, \"-\", \"_\" or \".\", got \"a b\"\n" },
    { "limits:\n  - {name: a, for: sender, count: 5, window: 1h}\n",
      "p.yaml:2: limits[0].for: expected account or tenant, got \"sender\"\n" },
    { "limits:\n  - {name: a, for: [account], count: 5, window: 1h}\n",
      "p.yaml:2: limits[0].for: expected a single value, got a list\n" },
    { "limits:\n  - {name: a, for: account, count: -5, window: 1h}\n",
      "p.yaml:2: limits[0].count: expected a whole number from 0 to 1000000000, got \"-5\"\n" },
    { "limits:\n  - {name: a, for: account, count: 5k, window: 1h}\n",
      "p.yaml:2: limits[0].count: expected a whole number from 0 to 1000000000, got \"5k\"\n" },
    { "limits:\n  - {name: a, for: account, count: 1000000001, window: 1h}\n",
      "p.yaml:2: limits[0].count: expected a whole number from 0 to 1000000000, got \"1000000001\"\n" },
    { "limits:\n  - {name: a, for: account, count: 5, window: 4s}\n",
      "p.yaml:2: limits[0].window: must be from 5s to 31d, got \"4s\"\n" },
    { "limits:\n  - {name: a, for: account, count: 5, window: 32d}\n",
      "p.yaml:2: limits[0].window: must be from 5s to 31d, got \"32d\"\n" },
    { "limits:\n  - {name: a, for: account, count: 5, window: hour}\n",
      "p.yaml:2: limits[0].window: expected a time such as 30s, 5m, 4h or 2d, got \"hour\"\n" },
    { "limits:\n  - {name: a, for: account, window: 1h}\n",
      "p.yaml:2: limits[0].count: is required: how many recipients\n" },
    { "limits:\n  - {name: a, for: accuont, cuont: 5, window: 1h}\n",
      "p.yaml:2: limits[0]: unknown key \"cuont\"; did you mean \"count\"?\np.yaml:2: limits[0].for: "
      "expected account or tenant, got \"accuont\"\np.yaml:2: limits[0].count: is required: how many "
      "recipients\n" },
    { "limits:\n  - {name: a, for: account, count: 5, window: 1h, classes: []}\n",
      "p.yaml:2: limits[0].classes: is empty: give at least one item\n" },
    { "limits:\n  - {name: a, for: account, count: 5, window: 1h, classes: [people]}\n",
      "p.yaml:2: limits[0].classes[0]: expected person, device or bulk, got \"people\"\n" },
    { "limits:\n  - {name: a, for: account, count: 5, window: 1h, classes: [bulk, bulk]}\n",
      "p.yaml:2: limits[0].classes[1]: \"bulk\" is given twice\n" },
    { "limits:\n  - {name: a, for: account, count: 5, window: 1h, classes: [bulk, person, device, bulk]}\n",
      "p.yaml:2: limits[0].classes: has 4 items; at most 3 are allowed\n" },
    { "limits:\n  - {name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, for: account, "
      "count: 5, window: 1h}\n",
      "p.yaml:2: limits[0].name: expected 1 to 63 letters, digits, \"-\", \"_\" or \".\", got "
      "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n" },
    { "limits:\n  - {name: a, for: account, count: 5, window: 1h}\n  - {name: a, for: account, count: 9, "
      "window: 2h}\n",
      "p.yaml:3: limits[1].name: limits[0] is called \"a\" already: give each limit its own name\n" },
    { "limits:\n  - {name: a, for: account, count: 5, window: 1h}\n  - {name: b, for: account, count: 9, "
      "window: 60m}\n",
      "p.yaml:3: limits[1].window: limits[0] (\"a\") has the same window, for the same senders: keep one of "
      "them\n" },
    { "limits:\n  - {name: a, for: tenant, classes: [bulk, person], count: 5, window: 1h}\n  - {name: b, "
      "for: tenant, classes: [person, bulk], count: 9, window: 1h}\n",
      "p.yaml:3: limits[1].window: limits[0] (\"a\") has the same window, for the same senders: keep one of "
      "them\n" },
    { "classes: {people: {pool: a}}\n",
      "p.yaml:1: classes: unknown key \"people\"; known here: person, device, bulk\n" },
    { "classes: {person: 5}\n",
      "p.yaml:1: classes.person: expected keys and values (a mapping), got a value\n" },
    { "classes:\n  person: {max_recipients: 100001}\n",
      "p.yaml:2: classes.person.max_recipients: expected a whole number from 0 to 100000, got \"100001\"\n" },
    { "classes: {bulk: {pool: a/b}}\n",
      "p.yaml:1: classes.bulk.pool: expected 1 to 63 letters, digits, \"-\", \"_\" or \".\", got \"a/b\"\n" },
    { "classes: {bulk: {pools: a}}\n",
      "p.yaml:1: classes.bulk: unknown key \"pools\"; did you mean \"pool\"?\n" },
    { "session: {ttl: 500ms}\n", "p.yaml:1: session.ttl: must be from 1s to 1m, got \"500ms\"\n" },
    { "session: {ttl: 61s}\n", "p.yaml:1: session.ttl: must be from 1s to 1m, got \"61s\"\n" },
    { "session: {margin: 50ms}\n", "p.yaml:1: session.margin: must be from 100ms to 1m, got \"50ms\"\n" },
    { "session: {ttl: 1m, margin: 2s}\n", "p.yaml:1: session.margin: must be at least a twentieth of ttl "
                                          "(3000ms): clocks are not equally fast\n" },
    { "session: {ttl: soon}\n",
      "p.yaml:1: session.ttl: expected a time such as 30s, 5m, 4h or 2d, got \"soon\"\n" },
    { "when_cut_off: stop\n", "p.yaml:1: when_cut_off: expected deliver or hold, got \"stop\"\n" },
    { "freeze: {mode: bounce}\n",
      "p.yaml:1: freeze.mode: expected reject, defer, hold or auto, got \"bounce\"\n" },
    { "freeze: reject\n", "p.yaml:1: freeze: expected keys and values (a mapping), got a value\n" },
    { "auth_guard: {failures_per_account: 100001}\n", "p.yaml:1: auth_guard.failures_per_account: expected a "
                                                      "whole number from 0 to 100000, got \"100001\"\n" },
    { "auth_guard: {window: 10ms}\n", "p.yaml:1: auth_guard.window: must be from 1s to 1d, got \"10ms\"\n" },
    { "auth_guard: {block: 2d}\n", "p.yaml:1: auth_guard.block: must be from 1s to 1d, got \"2d\"\n" },
    { "late_identity: {header: X-A}\n",
      "p.yaml:1: late_identity.accounts: is required: the relay accounts that may name the sender\n" },
    { "late_identity: {accounts: [a]}\n",
      "p.yaml:1: late_identity.header: is required: the header that names the sender\n" },
    { "late_identity: {header: 'X A', accounts: [a]}\n",
      "p.yaml:1: late_identity.header: expected a header's name without the colon, such as X-Sender-Account, "
      "got \"X A\"\n" },
    { "late_identity: {header: 'X-A:', accounts: [a]}\n",
      "p.yaml:1: late_identity.header: expected a header's name without the colon, such as X-Sender-Account, "
      "got \"X-A:\"\n" },
    { "late_identity: {header: X-A, accounts: ['a b']}\n",
      "p.yaml:1: late_identity.accounts[0]: expected an account name such as anna@example.com, without "
      "blanks, got \"a b\"\n" },
    { "late_identity: {header: X-A, accounts: [a, b, A]}\n",
      "p.yaml:1: late_identity.accounts[2]: \"a\" is given twice\n" },
    { "late_identity: {header: X-A, accounts: []}\n",
      "p.yaml:1: late_identity.accounts: is empty: give at least one item\n" },
    { "late_identity: {header: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, accounts: "
      "a}\n",
      "p.yaml:1: late_identity.header: expected 1 to 63 printable characters\n" },
    { "hook: hook.sh\n",
      "p.yaml:1: hook: expected an absolute path (it begins with \"/\"), got \"hook.sh\"\n" },
    { "hook: "
      "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
      "p.yaml:1: hook: is longer than 255 bytes\n" },
    { "rules:\n  - {name: a}\n",
      "p.yaml:2: rules[0].action: is required: what is to be done, such as backoff or none\n"
      "p.yaml:2: rules[0].match: is required, or code: which replies the rule is about\n" },
    { "rules:\n  - {name: a, match: '(x', action: none}\n",
      "p.yaml:2: rules[0].match: is no pattern: missing closing parenthesis at character 3\n" },
    { "rules:\n  - {name: a, match: '(x+)+y', action: none}\n",
      "p.yaml:2: rules[0].match: can take more than 20000 steps with one reply: have fewer repetitions "
      "inside of "
      "repetitions\n" },
    { "rules:\n  - {name: a, match: 'x?', action: none}\n",
      "p.yaml:2: rules[0].match: matches an empty text, and so every reply\n" },
    { "rules:\n  - name: a\n    code: 4.7\n    action: none\n",
      "p.yaml:3: rules[0].code: expected a code such as 421, 45x, 4.7.28 or 5.7.6xx, got \"4.7\"\n" },
    { "rules:\n  - {name: a, site: 'mx*', code: 421, action: none}\n",
      "p.yaml:2: rules[0].site: expected a domain or host, or *. and the end of its name, got \"mx*\"\n" },
    { "rules:\n  - {name: a, code: 421, action: stop}\n",
      "p.yaml:2: rules[0].action: expected none, backoff, disable_source, suspend, bounce, greylist, "
      "notify or "
      "reroute, got \"stop\"\n" },
    { "rules:\n  - {name: a, code: 421, action: none, stage: ehlo}\n",
      "p.yaml:2: rules[0].stage: expected banner, mail, rcpt, data, dot or any, got \"ehlo\"\n" },
    { "rules:\n  - {name: a, code: 421, action: backoff, threshold: 3}\n",
      "p.yaml:2: rules[0].threshold: expected how many in which time, such as 3 in 1m, got \"3\"\n" },
    { "rules:\n  - {name: a, code: 421, action: backoff, threshold: 0 in 1m}\n",
      "p.yaml:2: rules[0].threshold: expected 1 to 100000 in 1s to 1d, got \"0 in 1m\"\n" },
    { "rules:\n  - {name: a, code: 421, action: backoff, for: 8d}\n",
      "p.yaml:2: rules[0].for: must be from 1s to 7d, got \"8d\"\n" },
    { "rules:\n  - {name: a, code: 421, action: notify, for: 1h, attempts: 3}\n",
      "p.yaml:2: rules[0].attempts: is for the action "
      "bounce "
      "only\np.yaml:2: rules[0].for: is for the actions backoff, disable_source, suspend and greylist "
      "only\n" },
    { "rules:\n  - {name: a, code: 421, action: bounce, threshold: 3 in 1m}\n",
      "p.yaml:2: rules[0].threshold: has no meaning with an action on one message\n" },
    { "rules:\n  - {name: a, code: 421, action: reroute}\n",
      "p.yaml:2: rules[0].to: is required: the pool that recipients are moved to\n" },
    { "rules:\n  - {name: a, code: 421, action: backoff, to: slow}\n",
      "p.yaml:2: rules[0].to: is for the action reroute only\n" },
    { "rules:\n  - {name: a, code: 421, pool: slow, stage: banner, action: reroute, to: slow}\n",
      "p.yaml:2: rules[0].to: is the pool that the rule is about\n"
      "p.yaml:2: rules[0].stage: must be one of a message's: before one is offered there is nothing to "
      "move\n" },
    { "rules:\n  - {name: a, code: 421, action: reroute, to: slow, threshold: 3 in 1m}\n",
      "p.yaml:2: rules[0].threshold: has no meaning with an action on one message\n" },
    { "rules:\n  - {name: a, code: 421, action: none}\n  - {name: a, code: 422, action: none}\n",
      "p.yaml:3: rules[1].name: is another rule's already: give each rule its own name\n" },
    { "default_rules: false\nrules:\n  - {name: rate-limited, action: none}\n",
      "p.yaml:3: rules[0].match: is required, or code: which replies the rule is about\n" },
    { "a: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n",
      "p.yaml:1: not valid YAML: more than 50 brackets are open\n" },
    { "limits:\n  - {name: a, for: nobody, count: x, window: 1s}\nvoters: 9\nhooks: /a\n",
      "p.yaml:2: limits[0].for: expected account or tenant, got \"nobody\"\np.yaml:2: limits[0].count: "
      "expected a whole number from 0 to 1000000000, got \"x\"\np.yaml:2: limits[0].window: must be from 5s "
      "to 31d, got \"1s\"\np.yaml:3: voters: expected a whole number from 1 to 5, got \"9\"\np.yaml:4: "
      "unknown key \"hooks\"; did you mean \"hook\"?\n" },
    { "sites:\n  - {connections: 5}\n",
      "p.yaml:2: sites[0].name: is required: what reports and other entries call the site\n" },
    { "sites:\n  - {name: a, connections: 5}\n",
      "p.yaml:2: sites[0].mx: is required, or domain: which destinations the site has\n" },
    { "sites:\n  - {name: a, mx: 'x.*', rate: 5}\n",
      "p.yaml:2: sites[0].mx: expected a domain or host, or *. and the end of its name, got \"x.*\"\n"
      "p.yaml:2: sites[0].rate: expected how many in which time, such as 100/1m, got \"5\"\n" },
    { "sites:\n  - {name: a, mx: x.example, connections: 0, rate: 0/1m, tls: maybe}\n",
      "p.yaml:2: sites[0].connections: expected a whole number from 1 to 1000, got \"0\"\np.yaml:2: "
      "sites[0].rate: expected 1 to 1000000 in 1s to 1d, got \"0/1m\"\np.yaml:2: sites[0].tls: expected "
      "none, opportunistic or required, got \"maybe\"\n" },
    { "sites:\n  - {name: b.example, domain: b.example}\n  - {name: a, mx: a.example}\n  - {name: a, retry: "
      "[0s], domain: c.example}\n",
      "p.yaml:4: sites[2].retry[0]: must be from 1s to 1d, got \"0s\"\n" },
    { "sites:\n  - {name: b.example, domain: b.example}\n  - {name: a, mx: a.example}\n  - {name: a, domain: "
      "c.example}\n",
      "p.yaml:2: sites[0].name: looks like a domain: give it a name without a dot\np.yaml:4: sites[2].name: "
      "is another site's already: give each site its own name\n" },
    { "default_sites: false\nsites:\n  - {name: google, connections: 3}\n",
      "p.yaml:3: sites[0].mx: is required, or domain: which destinations the site has\n" },
};

static void test_faults(void **state)
{
    (void)state;
    size_t n = sizeof wrong / sizeof wrong[0];
    assert_true(n >= 40);
    said_faults(wrong, n);
}

static void test_too_large_and_too_many(void **state)
{
    (void)state;
    struct policy *p = NULL;
    struct buf text, why;
    buf_init(&text, POLICY_FILE_MAX + 100);
    buf_init(&why, 1u << 20);
    while (text.len <= POLICY_FILE_MAX)
        buf_put_str(&text, "# nothing more than a comment, again and again\n");
    assert_int_equal(policy_parse("p", buf_span(&text), &p, &why), ERR_BAD);
    assert_true(span_eq(buf_span(&why), SPAN_LIT("p: is larger than 1048576 bytes\n")));
    buf_reset(&text);
    buf_reset(&why);
    buf_put_str(&text, "limits:\n");
    for (int i = 0; i < 17; i++)
        buf_printf(&text, "  - {name: l%d, for: account, count: 5, window: %dh}\n", i, i + 1);
    assert_int_equal(policy_parse("p", buf_span(&text), &p, &why), ERR_BAD);
    assert_true(span_eq(buf_span(&why),
                        SPAN_LIT("p:1: limits: 17 limits are for mail of class person; at most 16 may be\n"
                                 "p:1: limits: 17 limits are for mail of class device; at most 16 may be\n"
                                 "p:1: limits: 17 limits are for mail of class bulk; at most 16 may be\n")));
    buf_reset(&text);
    buf_reset(&why);
    buf_put_str(&text, "limits:\n");
    for (int i = 0; i < 65; i++)
        buf_printf(&text, "  - {name: l%d, for: account, count: 5, window: %dh}\n", i, i + 1);
    assert_int_equal(policy_parse("p", buf_span(&text), &p, &why), ERR_BAD);
    assert_true(span_eq(buf_span(&why), SPAN_LIT("p:2: limits: has 65 items; at most 64 are allowed\n")));
    /* More faults than are kept are counted. */
    buf_reset(&text);
    buf_reset(&why);
    buf_put_str(&text, "limits:\n");
    for (int i = 0; i < 64; i++)
        buf_printf(&text, "  - {for: account, count: x, window: y}\n");
    assert_int_equal(policy_parse("p", buf_span(&text), &p, &why), ERR_BAD);
    buf_put_char(&why, '\0');
    assert_non_null(strstr(why.data, "p: and 92 more\n"));
    buf_fini(&text);
    buf_fini(&why);
}

static void test_everything_is_read(void **state)
{
    (void)state;
    struct policy *p =
        said_read("limits:\n"
              "  - name: account-hour\n    for: account\n    classes: [person, bulk]\n"
              "    count: 200\n    window: 1h\n"
              "  - {name: tenant.day, for: tenant, count: 0, window: 31d}\n"
              "classes:\n  device: {max_recipients: 7, pool: scanners}\n  bulk: {pool: news}\n"
              "session: {ttl: 5s, margin: 250ms}\n"
              "voters: 5\nwhen_cut_off: hold\nfreeze: {mode: defer}\n"
              "auth_guard: {failures_per_account: 3, failures_per_network: 0, window: 1m, block: 1h}\n"
              "late_identity: {header: X-Sender, accounts: [Relay@Example.com, two]}\n"
              "hook: /usr/local/bin/hook\n");
    const struct policy_compiled *c = &p->compiled;
    assert_int_equal(c->nlimits, 2);
    assert_string_equal(c->limits[0].name, "account-hour");
    assert_int_equal(c->limits[0].scope, COMMAND_SCOPE_ACCOUNT);
    assert_int_equal(c->limits[0].classes, 1u << 0 | 1u << 2);
    assert_int_equal(c->limits[0].count, 200);
    assert_int_equal(c->limits[0].window_ms, 3600000);
    assert_string_equal(c->limits[1].name, "tenant.day");
    assert_int_equal(c->limits[1].scope, COMMAND_SCOPE_TENANT);
    assert_int_equal(c->limits[1].classes, 7);
    assert_int_equal(c->limits[1].count, 0);
    assert_int_equal(c->limits[1].window_ms, POLICY_WINDOW_MAX_MS);
    assert_int_equal(c->max_rcpts[0], 0);
    assert_int_equal(c->max_rcpts[1], 7);
    assert_int_equal(c->session_ttl_ms, 5000);
    assert_int_equal(c->session_margin_ms, 250);
    assert_int_equal(c->voters, 5);
    assert_true(c->hold_when_cut_off);
    assert_int_equal(c->freeze_mode, COMMAND_FREEZE_DEFER);
    assert_string_equal(p->classes[0].pool, "");
    assert_string_equal(p->classes[1].pool, "scanners");
    assert_string_equal(p->classes[2].pool, "news");
    assert_int_equal(p->auth_guard.failures_per_account, 3);
    assert_int_equal(p->auth_guard.failures_per_network, 0);
    assert_int_equal(p->auth_guard.window_ms, 60000);
    assert_int_equal(p->auth_guard.block_ms, 3600000);
    assert_string_equal(p->late_identity_header, "X-Sender");
    assert_int_equal(p->nlate_identity_accounts, 2);
    assert_string_equal(p->late_identity_accounts[0], "relay@example.com");
    assert_string_equal(p->late_identity_accounts[1], "two");
    assert_string_equal(p->hook, "/usr/local/bin/hook");
    assert_ptr_equal(policy_hold(p), p);
    policy_rele(p);
    policy_rele(p);
}

static void expect_same(const struct policy_compiled *a, const struct policy_compiled *b)
{
    struct buf x, y;
    buf_init(&x, 65536);
    buf_init(&y, 65536);
    assert_int_equal(policy_encode(a, &x), 0);
    assert_int_equal(policy_encode(b, &y), 0);
    assert_int_equal(x.len, y.len);
    assert_memory_equal(x.data, y.data, x.len);
    buf_fini(&x);
    buf_fini(&y);
}

static void test_builtin_is_the_machines(void **state)
{
    (void)state;
    struct policy_compiled machine;
    struct policy *p = NULL;
    struct buf why;
    policy_default(&machine);
    buf_init(&why, 4096);
    assert_int_equal(policy_parse("built-in", policy_builtin(), &p, &why), 0);
    machine.level = 6; /* to apply that text: it says that there are no built-in rules about senders */
    expect_same(&p->compiled, &machine);
    policy_rele(p);
    buf_fini(&why);
}

static const struct shaping_site *site_named(const struct policy *p, const char *name)
{
    for (uint32_t i = 0; i < shaping_sites_count(p->sites); i++)
        if (strcmp(shaping_sites_at(p->sites, i)->name, name) == 0)
            return shaping_sites_at(p->sites, i);
    return NULL;
}

static const char *site_of(const struct policy *p, const char *domain, const char *a, const char *b)
{
    const char *hosts[] = { a, b };
    uint32_t n = a == NULL ? 0 : b == NULL ? 1 : 2;
    const struct shaping_site *s = shaping_sites_find(p->sites, span_str(domain), hosts, n);
    return s == NULL ? "" : s->name;
}

static void test_sites(void **state)
{
    (void)state;
    struct policy *builtin = said_read("voters: 3\n");
    struct policy *p = said_read("sites:\n"
                             "  - {name: google, messages_per_connection: 7, rate: 100/1m, retry: [5m, 1h]}\n"
                             "  - {name: yahoo, tls: required, domain: yahoo.example}\n"
                             "  - {name: partner, mx: ['*.partner.example', mx.other.example], connections: "
                             "2, recipients_per_message: 3, tls: none}\n");
    const struct shaping_site *was = site_named(builtin, "google"), *s = site_named(p, "google");
    assert_non_null(was);
    assert_int_equal(was->limits.connections, 5);
    assert_int_equal(was->limits.messages_per_connection, 50);
    assert_int_equal(was->limits.tls, -1);
    assert_int_equal(s->limits.connections, 5); /* what is left out stays */
    assert_int_equal(s->limits.messages_per_connection, 7);
    assert_int_equal(s->limits.rate_count, 100);
    assert_int_equal(s->limits.rate_ms, 60000);
    assert_int_equal(s->limits.nretry, 2);
    assert_int_equal(s->limits.retry_ms[1], 3600000);
    assert_int_equal(s->nmx, was->nmx);
    assert_int_equal(site_named(p, "yahoo")->limits.tls, SHAPING_TLS_REQUIRED);
    assert_int_equal(site_named(p, "yahoo")->limits.messages_per_connection, 20);
    s = shaping_sites_at(p->sites, 0);
    assert_string_equal(s->name, "partner");
    assert_int_equal(s->limits.recipients, 3);
    assert_int_equal(s->limits.tls, SHAPING_TLS_NONE);

    assert_string_equal(site_of(p, "x.example", "aspmx.l.google.com", "alt1.aspmx.l.google.com"), "google");
    /* a host of somebody's own beside a provider's doesn't make him part of it */
    assert_string_equal(site_of(p, "x.example", "aspmx.l.google.com", "mx.evil.example"), "");
    assert_string_equal(site_of(p, "x.example", "A.Partner.Example", "mx.other.example"), "partner");
    assert_string_equal(site_of(p, "yahoo.example", "mx.yahoo.example", NULL), "yahoo");
    assert_string_equal(site_of(p, "x.example", "x-example.mail.protection.outlook.com", NULL), "office365");
    assert_string_equal(site_of(p, "x.example", "x.olc.protection.outlook.com", NULL), "outlook");
    assert_string_equal(site_of(p, "google.com", NULL, NULL), "");
    struct policy *none = said_read("default_sites: false\n");
    assert_int_equal(shaping_sites_count(none->sites), 0);
    policy_rele(none);
    policy_rele(p);
    policy_rele(builtin);
}

static void test_extremes_encode(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 65536);
    buf_put_str(
        &text,
        "session: {ttl: 60s, margin: 60s}\nvoters: 1\nclasses: {bulk: {max_recipients: 100000}}\nlimits:\n");
    for (int i = 0; i < 48; i++)
        buf_printf(&text, "  - {name: l%d, for: %s, classes: %s, count: 1000000000, window: %dms}\n", i,
                   i % 2 ? "account" : "tenant", policy_class_names[i % 3], 5000 + i);
    buf_put_char(&text, '\0');
    struct policy *p = said_read(text.data);
    struct policy_compiled back;
    struct buf out;
    buf_init(&out, 65536);
    assert_int_equal(policy_encode(&p->compiled, &out), 0);
    struct cursor c;
    cursor_init(&c, out.data, out.len);
    assert_int_equal(policy_decode(&c, &back), 0);
    expect_same(&p->compiled, &back);
    buf_fini(&out);
    buf_fini(&text);
    policy_rele(p);
}

static void test_diff(void **state)
{
    (void)state;
    said_diff(LIMIT, LIMIT, "");
    said_diff(LIMIT, "limits:\n  - {name: a, for: account, count: 7, window: 90m}\n",
                "limits.a.count: 5 -> 7\nlimits.a.window: 1h -> 90m\n");
    said_diff(LIMIT, "limits:\n  - {name: b, for: tenant, classes: bulk, count: 5, window: 1h}\n",
                "limits.a: 5 per 1h for each account (person, device, bulk) -> (none)\n"
                "limits.b: (none) -> 5 per 1h for each tenant (bulk)\n");
    said_diff(LIMIT, "limits:\n  - {name: a, for: tenant, classes: [bulk, person], count: 5, window: 1h}\n",
                "limits.a.for: account -> tenant\nlimits.a.classes: person, device, bulk -> person, bulk\n");
    said_diff(
        "voters: 3\n",
        "voters: 5\nwhen_cut_off: hold\nfreeze: {mode: hold}\nhook: /h\nsession: {ttl: 4s, margin: 2s}\n"
        "classes: {person: {max_recipients: 5, pool: x}}\n"
        "auth_guard: {failures_per_account: 1, failures_per_network: 2, window: 1h, block: 2h}\n"
        "late_identity: {header: X-A, accounts: [r]}\n",
        "classes.person.max_recipients: 0 -> 5\nclasses.person.pool: (none) -> x\n"
        "session.ttl: 3s -> 4s\nsession.margin: 1s -> 2s\nvoters: 3 -> 5\nwhen_cut_off: deliver -> hold\n"
        "freeze.mode: auto -> hold\nauth_guard.failures_per_account: 20 -> 1\n"
        "auth_guard.failures_per_network: 50 -> 2\nauth_guard.window: 10m -> 1h\n"
        "auth_guard.block: 15m -> 2h\nlate_identity.header: (none) -> X-A\n"
        "late_identity.accounts: r is new\nhook: (none) -> /h\n");
    said_diff("voters: 3\n",
                "reputation: {enabled: true, window: 7d, hold: 1h, good_pool: clean, poor_bounces: 50}\n",
                "reputation.enabled: false -> true\nreputation.window: 24h -> 7d\n"
                "reputation.hold: 12h -> 1h\nreputation.good_pool: (none) -> clean\n"
                "reputation.poor_bounces: 100 -> 50\n");
    said_diff("voters: 3\n", "reputation: {addresses: {rest_when: {classes: [block, rate]}, rest_for: 1h}}\n",
                "reputation.addresses.rest_when.classes: policy, block -> block, rate\nreputation.addresses.rest_for: 2h -> 1h\n");
    said_diff(
        "default_sites: false\nsites:\n  - {name: a, mx: a.example, connections: 2}\n",
        "default_sites: false\nsites:\n  - {name: a, mx: [a.example, b.example], rate: 9/1m, retry: [1m, "
        "1h], tls: "
        "none}\n  - {name: b, domain: b.example}\n",
        "sites.a: connections 2; mx a.example -> rate 9/1m; retry 1m, 1h; tls none; mx a.example, b.example\n"
        "sites.b: (none) -> domain b.example\n");
    said_diff("late_identity: {header: X-A, accounts: [r, s]}\n",
                "late_identity: {header: X-A, accounts: s}\n", "late_identity.accounts: r -> (none)\n");
}

static void test_files(void **state)
{
    (void)state;
    char path[] = "/tmp/turnpike-policy-XXXXXX", want[128];
    struct policy *p = NULL;
    struct buf text, why;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    buf_init(&text, POLICY_FILE_MAX + 200000);
    buf_init(&why, 4096);
    assert_int_equal(write(fd, LIMIT, strlen(LIMIT)), (ssize_t)strlen(LIMIT));
    assert_int_equal(policy_load_file(path, &p, &text, &why), 0);
    assert_true(span_eq(buf_span(&text), SPAN_LIT(LIMIT)));
    assert_int_equal(p->compiled.nlimits, 1);
    policy_rele(p);
    buf_reset(&text);
    assert_int_equal(write(fd, "x: y\n", 5), 5);
    close(fd);
    assert_int_equal(policy_load_file(path, &p, &text, &why), ERR_BAD);
    snprintf(want, sizeof want, "%s:3: unknown key \"x\"", path);
    assert_true(span_starts(buf_span(&why), span_str(want)));
    unlink(path);
    buf_reset(&text);
    buf_reset(&why);
    assert_int_equal(policy_load_file(path, &p, &text, &why), -ENOENT);
    snprintf(want, sizeof want, "%s: cannot read: ", path);
    assert_true(span_starts(buf_span(&why), span_str(want)));
    buf_fini(&text);
    buf_fini(&why);
}

/* Every key of the tables is on the page as "`key`" or "`a.b`", with the example that is there being right.
 */
static void check_keys(const struct schema_map *map, const char *prefix, const char *page, unsigned *n)
{
    for (const struct schema_field *f = map->fields; f->key != NULL; f++) {
        char path[128], quoted[140];
        snprintf(path, sizeof path, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", f->key);
        if (f->map != NULL) {
            check_keys(f->map, path, page, n);
            continue;
        }
        for (unsigned i = 0; i < POLICY_CLASSES; i++) { /* the three classes have the same keys */
            char class[40];
            snprintf(class, sizeof class, "classes.%s.", policy_class_names[i]);
            if (strncmp(path, class, strlen(class)) == 0)
                snprintf(path, sizeof path, "classes.CLASS.%s", f->key);
        }
        snprintf(quoted, sizeof quoted, "| `%s` |", path);
        if (strstr(page, quoted) == NULL)
            fail_msg("docs/policy.md does not describe %s", path);
        (*n)++;
    }
}

static void test_the_page_has_every_key(void **state)
{
    (void)state;
    FILE *f = fopen(DOCS_DIR "/policy.md", "r");
    assert_non_null(f);
    char *page = calloc(1, 1 << 20);
    assert_non_null(page);
    assert_true(fread(page, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    unsigned n = 0;
    check_keys(&policy_map, "", page, &n);
    assert_true(n >= 20);
    char *start = strstr(page, "```yaml\n");
    assert_non_null(start);
    start += strlen("```yaml\n");
    char *end = strstr(start, "```");
    assert_non_null(end);
    *end = '\0';
    policy_rele(said_read(start));
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_too_large_and_too_many),
        cmocka_unit_test(test_everything_is_read),
        cmocka_unit_test(test_builtin_is_the_machines),
        cmocka_unit_test(test_sites),
        cmocka_unit_test(test_extremes_encode),
        cmocka_unit_test(test_diff),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_the_page_has_every_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
