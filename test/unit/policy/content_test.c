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
      "p.yaml:2: content.servers: is required: where rspamd answers, such as http://127.0.0.1:11333\n" },
    { "content:\n  on_reject: drop\n  servers: http://a\n",
      "p.yaml:2: content.on_reject: expected accept, add_header, hold or reject, got \"drop\"\n" },
    { "content:\n  when_unreachable: reject\n  servers: http://a\n",
      "p.yaml:2: content.when_unreachable: expected accept or defer, got \"reject\"\n" },
};

static void test_faults(void **state)
{
    (void)state;
    said_faults(wrong, sizeof wrong / sizeof wrong[0]);
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
    said_diff("voters: 3\n", "content: {servers: 'http://a'}\n", "content.servers: (none) -> http://a\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_what_is_read),
        cmocka_unit_test(test_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
