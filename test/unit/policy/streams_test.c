/* Streams in the policy, and what becomes of mail beyond a limit: what is read, what is said of wrong ones,
 * which class mail is of, what differs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "said.h"

#include "node/policy/policy_impl.h"

enum { PERSON, DEVICE, BULK };

static const struct said_fault wrong[] = {
    { "streams:\n  - {name: a, class: bulk}\n", "p.yaml:2: streams[0].listeners: or networks are required: "
                                                "an account's own class is set with the account\n" },
    { "streams:\n  - {name: a, class: printer, listeners: lan}\n",
      "p.yaml:2: streams[0].class: expected person, device or bulk, got \"printer\"\n" },
    { "streams:\n  - {name: a, class: bulk, networks: 10.0.0.0/33}\n",
      "p.yaml:2: streams[0].networks: expected a network such as 192.0.2.0/24 or 2001:db8::/32, got "
      "\"10.0.0.0/33\"\n" },
    { "streams:\n  - {name: a, class: bulk, listeners: x}\n  - {name: a, class: device, listeners: y}\n",
      "p.yaml:3: streams[1].name: streams[0] is called \"a\" already: give each its own name\n" },
    { "limits:\n  - {name: a, for: account, count: 1, window: 1h, over_limit: drop}\n",
      "p.yaml:2: limits[0].over_limit: expected defer, reject or hold, got \"drop\"\n" },
};

static void test_faults(void **state)
{
    (void)state;
    said_faults(wrong, sizeof wrong / sizeof wrong[0]);
}

static uint8_t class_of(const struct policy *p, const char *account, uint8_t class, const char *listener,
                        const char *client)
{
    struct ip_addr addr;
    assert_int_equal(ip_addr_parse(span_str(client), &addr), 0);
    return policy_stream_class(p, &(struct policy_source){ .account = span_str(account),
                                                           .listener = span_str(listener),
                                                           .client = &addr,
                                                           .class = class });
}

static void test_the_first_that_fits(void **state)
{
    (void)state;
    struct policy *p =
        said_read("streams:\n"
                  "  - {name: scanners, class: device, networks: [10.2.0.0/16, '2001:db8::/32']}\n"
                  "  - {name: letters, class: bulk, listeners: [news, news2], of: [person, bulk],\n"
                  "     accounts: ['*@shop.example', pr@example.com]}\n"
                  "  - {name: all, class: person, listeners: news}\n");
    assert_int_equal(p->compiled.level, 6);
    assert_int_equal(policy_level(&p->compiled), 6);
    assert_int_equal(class_of(p, "anna@example.com", PERSON, "submission", "192.0.2.1"), PERSON);
    assert_int_equal(class_of(p, "anna@example.com", BULK, "submission", "192.0.2.1"), BULK);
    assert_int_equal(class_of(p, "anna@example.com", PERSON, "submission", "10.2.3.4"), DEVICE);
    assert_int_equal(class_of(p, "anna@example.com", PERSON, "submission", "2001:db8::1"), DEVICE);
    assert_int_equal(class_of(p, "eva@shop.example", PERSON, "news2", "10.2.3.4"),
                     DEVICE); /* the first one */
    assert_int_equal(class_of(p, "eva@shop.example", PERSON, "news2", "192.0.2.1"), BULK);
    assert_int_equal(class_of(p, "pr@example.com", PERSON, "news2", "192.0.2.1"), BULK);
    assert_int_equal(class_of(p, "anna@example.com", PERSON, "news2", "192.0.2.1"),
                     PERSON); /* nobody of these */
    assert_int_equal(class_of(p, "eva@shop.example", DEVICE, "news2", "192.0.2.1"),
                     DEVICE); /* of neither class */
    assert_int_equal(class_of(p, "anna@example.com", DEVICE, "news", "192.0.2.1"), PERSON);
    assert_int_equal(class_of(NULL, "anna@example.com", DEVICE, "news", "192.0.2.1"), DEVICE);
    policy_rele(p);
}

static void test_beyond_a_limit(void **state)
{
    (void)state;
    struct policy *p = said_read("limits:\n"
                                 "  - {name: a, for: account, count: 1, window: 1h, over_limit: reject}\n"
                                 "  - {name: b, for: account, count: 1, window: 2h, over_limit: defer}\n"
                                 "  - {name: c, for: account, count: 1, window: 3h}\n"
                                 "classes: {bulk: {over_limit: reject, over_limit_notice: always}, device: {over_limit_notice: never}}\n");
    assert_int_equal(policy_level(&p->compiled), 6);
    assert_int_equal(policy_over_limit(p, "a", PERSON), POLICY_OVER_REJECT);
    assert_int_equal(policy_over_limit(p, "b", BULK), POLICY_OVER_DEFER);
    assert_int_equal(policy_over_limit(p, "c", PERSON), POLICY_OVER_DEFER);
    assert_int_equal(policy_over_limit(p, "c", BULK), POLICY_OVER_REJECT);
    assert_int_equal(policy_over_limit(p, "gone", PERSON),
                     POLICY_OVER_DEFER); /* of a policy before this one */
    assert_int_equal(policy_over_limit(NULL, "a", PERSON), POLICY_OVER_DEFER);
    assert_true(policy_over_notice(p, POLICY_OVER_HOLD, PERSON)); /* who is answered 250 is told otherwise */
    assert_false(policy_over_notice(p, POLICY_OVER_REJECT, PERSON));
    assert_true(policy_over_notice(p, POLICY_OVER_DEFER, BULK));
    assert_false(policy_over_notice(p, POLICY_OVER_HOLD, DEVICE));
    policy_rele(p);
    p = said_read("limits:\n  - {name: c, for: account, count: 1, window: 3h}\n");
    policy_for_level(p, 1); /* without the built-in rules about senders */
    assert_int_equal(policy_level(&p->compiled), 1); /* nothing that older nodes could not read */
    policy_rele(p);
}

static void test_differences(void **state)
{
    (void)state;
    said_diff(
        "limits:\n  - {name: c, for: account, count: 1, window: 3h}\n"
        "streams:\n  - {name: a, class: bulk, listeners: news}\n  - {name: b, class: device, networks: "
        "10.0.0.0/8}\n",
        "limits:\n  - {name: c, for: account, count: 1, window: 3h, over_limit: reject}\n"
        "classes: {device: {over_limit: hold, over_limit_notice: always}}\n"
        "streams:\n  - {name: a, class: bulk, listeners: [news, more], of: person, accounts: '*@x.example'}\n"
        "sender_rules:\n  - {name: s, when: recipients > 5 in 1h, then: slow 1 in 10m for 1h}\n",
        "limits.c.over_limit: (none) -> reject\n"
        "classes.device.over_limit_notice: held -> always\n"
        "classes.device.over_limit: (none) -> hold\n"
        "streams.a: bulk; listeners news -> bulk; listeners news, more; accounts *@x.example; of person\n"
        "streams.b: device; networks 10.0.0.0/8 -> (none)\n"
        "sender_rules.s: (none) -> recipients > 5 in 1h: slow 1 in 10m for 1h\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_the_first_that_fits),
        cmocka_unit_test(test_beyond_a_limit),
        cmocka_unit_test(test_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
