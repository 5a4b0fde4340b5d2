/* The policy's client_checks: what is read, what is wrong, and what differs between two. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "said.h"

#include <stdio.h>
#include <string.h>

#define LONG_LIST 300

static void test_read(void **state)
{
    (void)state;
    struct policy *p = said_read("voters: 3\n");
    assert_false(p->client_checks.reverse_dns);
    assert_false(p->client_checks.forward_confirmed);
    assert_false(p->client_checks.defer_unknown);
    assert_false(p->client_checks.helo_strict);
    assert_null(p->client_checks.name);
    assert_int_equal(p->client_checks.nexempt, 0);
    policy_rele(p);
    p = said_read(
        "client_checks: {reverse_dns: defer, forward_confirmed: true, when_unknown: defer, helo: strict, "
        "name: Mail.Example.org, exempt: [10.0.0.0/8, '2001:db8::/32']}\n");
    assert_true(p->client_checks.reverse_dns);
    assert_true(p->client_checks.forward_confirmed);
    assert_true(p->client_checks.defer_unknown);
    assert_true(p->client_checks.helo_strict);
    assert_string_equal(p->client_checks.name, "mail.example.org");
    assert_int_equal(p->client_checks.nexempt, 2);
    assert_int_equal(p->client_checks.exempt[1].bits, 32);
    policy_rele(p);
}

static void test_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        { "client_checks: {reverse_dns: reject}\n",
          "p.yaml:1: client_checks.reverse_dns: expected off or defer, got \"reject\"\n" },
        { "client_checks: {helo: hard}\n",
          "p.yaml:1: client_checks.helo: expected lenient or strict, got \"hard\"\n" },
        { "client_checks: {when_unknown: reject}\n",
          "p.yaml:1: client_checks.when_unknown: expected accept or defer, got \"reject\"\n" },
        { "client_checks: {exempt: [10.0.0.1/8]}\n", "client_checks.exempt[0]:" },
        { "client_checks: {name: 'two words'}\n", "client_checks.name:" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct policy *p = NULL;
        struct buf why;
        buf_init(&why, 4096);
        assert_int_not_equal(policy_parse("p.yaml", span_str(cases[i].text), &p, &why), 0);
        assert_int_equal(buf_put_char(&why, '\0'), 0);
        if (strstr(why.data, cases[i].want) == NULL)
            fail_msg("%s", why.data);
        buf_fini(&why);
    }
}

static void test_diff(void **state)
{
    (void)state;
    char lists[2][LONG_LIST * 20];
    said_diff("client_checks: {exempt: 10.0.0.0/8}\n",
              "client_checks: {reverse_dns: defer, forward_confirmed: true, when_unknown: defer, "
              "name: mail.example, helo: strict, exempt: [10.0.0.0/8, 192.0.2.1]}\n",
              "client_checks.reverse_dns: off -> defer\nclient_checks.forward_confirmed: false -> true\n"
              "client_checks.when_unknown: accept -> defer\nclient_checks.name: (none) -> mail.example\n"
              "client_checks.helo: lenient -> strict\n"
              "client_checks.exempt: 10.0.0.0/8 -> 10.0.0.0/8, 192.0.2.1\n");
    for (int k = 0; k < 2; k++) {
        size_t n = (size_t)snprintf(lists[k], sizeof lists[k], "client_checks: {exempt: [");
        for (int i = 0; i < LONG_LIST + k; i++)
            n += (size_t)snprintf(lists[k] + n, sizeof lists[k] - n, "%s10.0.%d.%d", i > 0 ? ", " : "",
                                  i / 256, i % 256);
        snprintf(lists[k] + n, sizeof lists[k] - n, "]}\n");
    }
    said_diff(lists[0], lists[1], "client_checks.exempt: the list has changed\n");
    said_diff(lists[1], lists[1], "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_diff),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
