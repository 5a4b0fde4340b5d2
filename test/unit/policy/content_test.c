/* The policy's section about the check of content: what is read, what is said of wrong ones, what differs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "said.h"

#include "node/policy/policy_impl.h"

static const struct said_fault wrong[] = {
    { "content:\n  servers: [ftp://x:1]\n",
      "p.yaml:2: content.servers[0]: expected http://host:port, such as http://127.0.0.1:11333\n" },
    { "content:\n  servers: [http://127.0.0.1:70000]\n",
      "p.yaml:2: content.servers[0]: expected a host name or address, and perhaps a port\n" },
    { "content:\n  servers:\n    - http://127.0.0.1:11333/\n    - http://127.0.0.1:11333/checkv2\n",
      "p.yaml:4: content.servers[1]: must not have a path: http://host:port\n" },
    { "content:\n  servers: [http://me:secret@127.0.0.1:11333]\n",
      "p.yaml:2: content.servers[0]: must not have a user name or password in it\n" },
    { "content:\n  servers: [http://a:1, http://b:1, http://a:1]\n",
      "p.yaml:2: content.servers[2]: \"http://a:1\" is given twice\n" },
    { "content:\n  servers: [http://a, http://b, http://c, http://d, http://e, http://f, http://g, http://h, "
      "http://i]\n",
      "p.yaml:2: content.servers: has 9 items; at most 8 are allowed\n" },
    { "content:\n  servers: http://a\n  timeout: 2m\n",
      "p.yaml:3: content.timeout: must be from 100ms to 1m, got \"2m\"\n" },
    { "content:\n  timeout: 1s\n",
      "p.yaml:1: content: needs servers, where rspamd answers, such as http://127.0.0.1:11333, or milters\n" },
    { "content:\n  on_reject: drop\n  servers: http://a\n",
      "p.yaml:2: content.on_reject: expected accept, add_header, hold or reject, got \"drop\"\n" },
    { "content:\n  when_unreachable: reject\n  servers: http://a\n",
      "p.yaml:2: content.when_unreachable: expected accept or defer, got \"reject\"\n" },
};

static const struct said_fault wrong_milters[] = {
    { "content:\n  milters:\n    - {socket: 'inet:127.0.0.1:1'}\n",
      "p.yaml:3: content.milters[0].name: is required: what it is called in logs\n" },
    { "content:\n  milters:\n    - {name: a}\n",
      "p.yaml:3: content.milters[0].socket: is required: inet:host:port or unix:/path, where the filter listens\n" },
    { "content:\n  milters:\n    - {name: a, socket: 'inet:8892@localhost'}\n",
      "p.yaml:3: content.milters[0].socket: expected inet:host:port, such as inet:127.0.0.1:8892 or inet:[::1]:8892\n" },
    { "content:\n  milters:\n    - {name: a, socket: 'local:/run/a'}\n",
      "p.yaml:3: content.milters[0].socket: expected inet:host:port or unix:/path\n" },
    { "content:\n  milters:\n    - {name: a, socket: 'unix:run/a'}\n",
      "p.yaml:3: content.milters[0].socket: needs an absolute path: unix:/run/filter.sock\n" },
    { "content:\n  milters:\n    - {name: a, socket: 'unix:/0123456789012345678901234567890123456789012345678901234567"
      "89012345678901234567890123456789012345678901234567'}\n",
      "p.yaml:3: content.milters[0].socket: has a longer path than sockets can have\n" },
    { "content:\n  milters:\n    - {name: a, socket: 'unix:/a'}\n    - {name: a, socket: 'unix:/b'}\n",
      "p.yaml:4: content.milters[1].name: content.milters[0] is called \"a\" already: give each filter its own name\n" },
    { "content:\n  milters:\n    - {name: a, socket: 'unix:/a', when_unreachable: reject}\n",
      "p.yaml:3: content.milters[0].when_unreachable: expected accept or defer, got \"reject\"\n" },
    { "content:\n  milters: [{name: a, socket: 'unix:/a'}, {name: b, socket: 'unix:/a'}, {name: c, socket: 'unix:/a'}, "
      "{name: d, socket: 'unix:/a'}, {name: e, socket: 'unix:/a'}]\n",
      "p.yaml:2: content.milters: has 5 items; at most 4 are allowed\n" },
};

static void test_faults(void **state)
{
    (void)state;
    said_faults(wrong, sizeof wrong / sizeof wrong[0]);
    said_faults(wrong_milters, sizeof wrong_milters / sizeof wrong_milters[0]);
}

static void test_milters(void **state)
{
    (void)state;
    struct policy *p = said_read("content:\n  timeout: 3s\n  when_unreachable: defer\n  classes: [person, bulk]\n  milters:\n"
                                 "    - {name: clam, socket: 'inet:clam.example.com:7357'}\n"
                                 "    - {name: own, socket: 'unix:/run/own.sock', timeout: 20s, when_unreachable: accept, "
                                 "classes: [bulk, device], offer_all: yes}\n");
    const struct policy_milter *m = p->content.milters;
    struct policy_milter_socket s;
    const char *key;
    assert_true(policy_checks_content(&p->content));
    assert_int_equal(p->content.nmilters, 2);
    assert_string_equal(m[0].name, "clam");
    assert_int_equal(m[0].timeout_ms, 3000);
    assert_true(m[0].defer && !m[0].offer_all);
    assert_int_equal(m[0].classes, 1 << 0 | 1 << 2);
    assert_null(policy_milter_socket(m[0].socket, &s));
    assert_true(span_eq(s.host, SPAN_LIT("clam.example.com")) && s.port == 7357 && s.path.n == 0);
    assert_int_equal(m[1].timeout_ms, 20000);
    assert_true(!m[1].defer && m[1].offer_all);
    assert_int_equal(m[1].classes, 1 << 2);
    assert_null(policy_milter_socket(m[1].socket, &s));
    assert_true(span_eq(s.path, SPAN_LIT("/run/own.sock")));
    assert_null(policy_milter_socket("inet:[::1]:8892", &s));
    assert_true(span_eq(s.host, SPAN_LIT("::1")) && s.port == 8892);
    assert_int_equal(policy_needs(p, &key), 8);
    assert_string_equal(key, "content.milters");
    policy_rele(p);
}

static void test_what_is_read(void **state)
{
    (void)state;
    struct policy *p = said_read("voters: 3\n");
    assert_int_equal(p->content.servers.n, 0);
    policy_rele(p);
    p = said_read("content: {servers: 'http://127.0.0.1:11333'}\n");
    assert_int_equal(p->content.timeout_ms, 5000);
    assert_int_equal(p->content.on_reject, POLICY_CONTENT_REJECT);
    assert_int_equal(p->content.on_spam, POLICY_CONTENT_ADD_HEADER);
    assert_false(p->content.defer);
    assert_int_equal(p->content.classes, 7);
    policy_rele(p);
    p = said_read(
        "content:\n  servers: [http://127.0.0.1:11333, 'https://[2001:db8::1]/']\n  timeout: 700ms\n"
        "  max_size: 64k\n  checks: 7\n  when_unreachable: defer\n  on_reject: hold\n  on_spam: accept\n"
        "  classes: [person, bulk]\n");
    const struct policy_content *c = &p->content;
    assert_int_equal(c->servers.n, 2);
    assert_string_equal(c->servers.items[0], "http://127.0.0.1:11333");
    assert_string_equal(c->servers.items[1], "https://[2001:db8::1]/");
    assert_int_equal(c->timeout_ms, 700);
    assert_int_equal(c->max_size, 65536);
    assert_int_equal(c->checks, 7);
    assert_true(c->defer);
    assert_int_equal(c->on_reject, POLICY_CONTENT_HOLD);
    assert_int_equal(c->on_spam, POLICY_CONTENT_ACCEPT);
    assert_int_equal(c->classes, 1 << 0 | 1 << 2);
    policy_rele(p);
}

static void test_differences(void **state)
{
    (void)state;
    said_diff("content: {servers: ['http://a', 'http://b'], timeout: 2s}\n",
              "content: {servers: 'http://b', on_reject: hold, when_unreachable: defer, classes: bulk, "
              "max_size: 1k}\n",
              "content.servers: http://a, http://b -> http://b\n"
              "content.timeout: 2s -> 5s\n"
              "content.max_size: 2097152 -> 1024\n"
              "content.when_unreachable: accept -> defer\n"
              "content.on_reject: reject -> hold\n"
              "content.classes: person, device, bulk -> bulk\n");
    said_diff("content: {milters: [{name: a, socket: 'unix:/a'}, {name: b, socket: 'unix:/b'}]}\n",
              "content: {milters: [{name: c, socket: 'unix:/c'}, {name: a, socket: 'unix:/a', timeout: 1s, offer_all: yes, "
              "when_unreachable: defer, classes: bulk}]}\n",
              "content.milters: a, b -> c, a\n"
              "content.milters.a: unix:/a, timeout 5s, when_unreachable accept, classes person, device, bulk -> "
              "unix:/a, timeout 1s, when_unreachable defer, classes bulk, offer_all\n"
              "content.milters.b: unix:/b, timeout 5s, when_unreachable accept, classes person, device, bulk -> (none)\n"
              "content.milters.c: (none) -> unix:/c, timeout 5s, when_unreachable accept, classes person, device, bulk\n");
    said_diff("voters: 3\n", "content: {servers: 'http://a'}\n", "content.servers: (none) -> http://a\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_what_is_read),
        cmocka_unit_test(test_milters),
        cmocka_unit_test(test_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
