/* Web senders in the policy: what is read, what is said of wrong ones, whose headers are believed, what
 * differs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "said.h"

#include "node/policy/policy_impl.h"

#define HOSTS "web_senders:\n  hosts:\n"

static const struct said_fault wrong[] = {
    { "web_senders: {expire: 10d}\n",
      "p.yaml:1: web_senders: hosts is required: whose headers are believed\n" },
    { HOSTS "    - {name: a, headers: X-AuthUser}\n",
      "p.yaml:3: web_senders.hosts[0].networks: or accounts are required: whose headers are believed\n" },
    { HOSTS "    - {name: a, networks: 192.0.2.0/24}\n",
      "p.yaml:3: web_senders.hosts[0].headers: is required: the headers that say which script sent it, the "
      "first choice "
      "first\n" },
    { HOSTS "    - {name: a, networks: 192.0.2.0/24, headers: [X-AuthUser, x-authuser]}\n",
      "p.yaml:3: web_senders.hosts[0].headers[1]: \"x-authuser\" is given twice\n" },
    { HOSTS "    - {name: a, networks: 192.0.2.0/24, headers: from}\n",
      "p.yaml:3: web_senders.hosts[0].headers[0]: from is a field of every message: name one that the host "
      "adds\n" },
    { HOSTS "    - {name: a, networks: 192.0.2.0/24, headers: content-type}\n",
      "p.yaml:3: web_senders.hosts[0].headers[0]: content-type is a field of every message: name one that "
      "the host "
      "adds\n" },
    { HOSTS "    - {name: a, networks: 192.0.2.0/24, headers: 'X-Site as url'}\n",
      "p.yaml:3: web_senders.hosts[0].headers: expected a header's name such as X-AuthUser, or with a form, "
      "\"X-Site as "
      "path\" (text, user, script, path), got \"X-Site as url\"\n" },
    { HOSTS "    - {name: a, networks: 192.0.2.0/24, headers: 'X-Site:'}\n",
      "p.yaml:3: web_senders.hosts[0].headers: expected a header's name such as X-AuthUser, or with a form, "
      "\"X-Site as "
      "path\" (text, user, script, path), got \"X-Site:\"\n" },
    { HOSTS
      "    - {name: a, networks: 192.0.2.0/24, headers: X-A}\n    - {name: a, accounts: '*', headers: X-A}\n",
      "p.yaml:4: web_senders.hosts[1].name: web_senders.hosts[0] is called \"a\" already: give each its own "
      "name\n" },
    { HOSTS "    - {name: a, networks: 192.0.2.0/24, headers: X-A, class: script}\n",
      "p.yaml:3: web_senders.hosts[0].class: expected person, device or bulk, got \"script\"\n" },
};

static void test_faults(void **state)
{
    (void)state;
    said_faults(wrong, sizeof wrong / sizeof wrong[0]);
}

static const char *host_of(const struct policy *p, const char *account, const char *client)
{
    struct ip_addr addr;
    assert_int_equal(ip_addr_parse(span_str(client), &addr), 0);
    const struct policy_web_host *h = policy_web_host(p, span_str(account), &addr);
    return h == NULL ? "" : h->name;
}

static void test_whose(void **state)
{
    (void)state;
    struct policy *p = said_read("web_senders:\n"
                                 "  max_senders: 9\n"
                                 "  max_per_host: 3\n"
                                 "  expire: 2d\n"
                                 "  hosts:\n"
                                 "    - {name: a, networks: [192.0.2.0/25, '2001:db8::/32'],\n"
                                 "       accounts: '*@hosting.example', class: bulk, remove: false,\n"
                                 "       headers: [X-AuthUser, X-Site as path, X-PHP-Originating-Script]}\n"
                                 "    - {name: b, networks: 192.0.2.0/24, headers: X-AuthUser as text}\n");
    assert_int_equal(policy_level(&p->compiled), 7);
    assert_int_equal(p->web.most, 9);
    assert_int_equal(p->web.most_of_host, 3);
    assert_int_equal(p->web.expire_ms, 2 * 86400000);
    const struct policy_web_host *h = &p->web.hosts[0];
    assert_int_equal(h->nheaders, 3);
    assert_string_equal(h->headers[1].name, "X-Site");
    assert_int_equal(h->headers[0].form, ORIGIN_USER);
    assert_int_equal(h->headers[1].form, ORIGIN_PATH);
    assert_int_equal(h->headers[2].form, ORIGIN_SCRIPT);
    assert_int_equal(p->web.hosts[1].headers[0].form, ORIGIN_TEXT);
    assert_int_equal(h->class, 2);
    assert_false(h->remove);
    assert_int_equal(p->web.hosts[1].class, 1);
    assert_true(p->web.hosts[1].remove);
    /* both must fit where both are given; the first that fits */
    assert_string_equal(host_of(p, "web1@hosting.example", "192.0.2.1"), "a");
    assert_string_equal(host_of(p, "web1@hosting.example", "2001:db8::1"), "a");
    assert_string_equal(host_of(p, "web1@other.example", "192.0.2.1"), "b");
    assert_string_equal(host_of(p, "web1@hosting.example", "192.0.2.200"), "b");
    assert_string_equal(host_of(p, "web1@hosting.example", "198.51.100.1"), "");
    assert_string_equal(host_of(NULL, "web1@hosting.example", "192.0.2.1"), "");
    policy_rele(p);
    p = said_read("voters: 3\n");
    assert_string_equal(host_of(p, "web1@hosting.example", "192.0.2.1"), "");
    assert_in_range(policy_level(&p->compiled), 1, 6); /* a document without it is as it was */
    policy_rele(p);
}

static void test_differs(void **state)
{
    (void)state;
    struct policy *a = said_read("voters: 3\n");
    struct policy *b =
        said_read("web_senders: {max_per_host: 7, expire: 1d, hosts: [{name: x, accounts: '*', headers: "
                  "X-AuthUser, remove: false}]}\n");
    struct buf out;
    buf_init(&out, 4096);
    policy_diff_web(&out, a, b);
    buf_put_char(&out, '\0');
    assert_string_equal(
        out.data,
        "web_senders.hosts.x: (none) -> device; headers stay; headers X-AuthUser as user; accounts *\n"
        "web_senders.max_per_host: 500 -> 7\n"
        "web_senders.expire: 30d -> 1d\n");
    buf_reset(&out);
    policy_diff_web(&out, b, b);
    assert_int_equal(out.len, 0);
    buf_fini(&out);
    policy_rele(a);
    policy_rele(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_whose),
        cmocka_unit_test(test_differs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
