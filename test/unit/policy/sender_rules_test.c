/* Rules about senders in the policy: what is read of right ones, what is said of wrong ones, what differs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "said.h"

#include "node/policy/policy_impl.h"

#include <stdio.h>
#include <string.h>

static const struct said_fault wrong[] = {
    { "sender_rules:\n  - {name: a, when: 'sent > 5 in 1h', then: hold}\n",
      "p.yaml:2: sender_rules[0].when: expected one of recipients, messages, distinct_recipients, "
      "distinct_domains, networks, alike, odd_hours, failed_logins, delivered, deferred, hard_bounces, "
      "bounce_percent, complaints, complaint_permille, got \"sent\"\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients', then: hold}\n",
      "p.yaml:2: sender_rules[0].when: ends where > or >= was expected\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients < 5 in 1h', then: hold}\n",
      "p.yaml:2: sender_rules[0].when: expected > or >=, got \"<\"\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > many in 1h', then: hold}\n",
      "p.yaml:2: sender_rules[0].when: expected a number from 0 to 1000000000, got \"many\"\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients >= 0 in 1h', then: hold}\n",
      "p.yaml:2: sender_rules[0].when: expected a number from 1 to 1000000000, got \"0\"\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients>5 per 1h', then: hold}\n",
      "p.yaml:2: sender_rules[0].when: expected \"in\" and a time, got \"per\"\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > 5 in 2h', then: hold}\n",
      "p.yaml:2: sender_rules[0].when: expected 1h, 24h or 7d, got \"2h\"\n" },
    { "sender_rules:\n  - {name: a, when: 'networks > 5 in 7d', then: hold}\n",
      "p.yaml:2: sender_rules[0].when: networks is known of the last hour only: write \"in 1h\"\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > 5 in 1h or networks > 3 in 1h', then: hold}\n",
      "p.yaml:2: sender_rules[0].when: expected \"and\" or the end, got \"or\"\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > 5 in 1h and', then: hold}\n",
      "p.yaml:2: sender_rules[0].when: ends where one of recipients, messages, distinct_recipients, "
      "distinct_domains, networks, alike, odd_hours, failed_logins, delivered, deferred, hard_bounces, "
      "bounce_percent, complaints, complaint_permille was expected\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > 1 in 1h and recipients > 1 in 1h and recipients > 1 "
      "in 1h and recipients > 1 in 1h and recipients > 1 in 1h', then: hold}\n",
      "p.yaml:2: sender_rules[0].when: has more than 4 conditions\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > 5 in 1h', then: kill}\n",
      "p.yaml:2: sender_rules[0].then: expected warn, hold or freeze, got \"kill\"\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > 5 in 1h', then: warn 1h}\n",
      "p.yaml:2: sender_rules[0].then: expected nothing behind warn, got \"1h\"\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > 5 in 1h', then: hold 5s}\n",
      "p.yaml:2: sender_rules[0].then: expected a time from 1m to 31d, such as 1h, got \"5s\"\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > 5 in 1h', then: hold 1h, repeat: 9 in 1d}\n",
      "p.yaml:2: sender_rules[0].repeat: expected 2 to 8, such as 3 in 7d, got \"9\"\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > 5 in 1h', then: hold, repeat: 3 in 1d}\n",
      "p.yaml:2: sender_rules[0].repeat: has a meaning only where `then` says for how long\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > 5 in 1h', then: warn}\n  - {name: a, when: "
      "'recipients > 6 in 1h', "
      "then: warn}\n",
      "p.yaml:3: sender_rules[1].name: sender_rules[0] is called \"a\" already: give each rule its own "
      "name\n" },
};

static void test_faults(void **state)
{
    (void)state;
    size_t n = sizeof wrong / sizeof wrong[0];
    assert_true(n >= 15);
    said_faults(wrong, n);
}

static void test_sender_rules(void **state)
{
    (void)state;
    struct policy *p = said_read(
        "sender_credit: 7\nsender_rules:\n"
        "  - {name: a, when: recipients >= 5 in 24h and networks>3 in 1h, classes: bulk, then: hold 90m,"
        " repeat: 3 in 7d}\n"
        "  - {name: b, when: 'bounce_percent > 10 in 7d', then: freeze, dry_run: true}\n");
    struct policy_compiled back;
    struct buf out;
    struct cursor c;
    assert_int_equal(p->sender_credit, 7);
    assert_int_equal(p->compiled.nsender_rules, 2);
    assert_int_equal(policy_level(&p->compiled), 5);
    const struct sender_rule *a = &p->compiled.sender_rules[0];
    assert_string_equal(a->name, "a");
    assert_int_equal(a->nterms, 2);
    assert_int_equal(a->term[0].more_than, 4);
    assert_int_equal(a->classes, 4);
    assert_int_equal(a->for_ms, 5400000);
    assert_false(sender_rule_blocks(a, 0));
    assert_true(sender_rule_blocks(a, 2));
    assert_false(sender_rule_blocks(&p->compiled.sender_rules[1], 2));
    buf_init(&out, 65536);
    assert_int_equal(policy_encode(&p->compiled, &out), 0);
    cursor_init(&c, out.data, out.len);
    assert_int_equal(policy_decode(&c, &back), 0);
    assert_int_equal(back.nsender_rules, 2);
    assert_memory_equal(back.sender_rules, p->compiled.sender_rules, 2 * sizeof back.sender_rules[0]);
    for (size_t n = 0; n < out.len; n++) {
        cursor_init(&c, out.data, n);
        assert_int_not_equal(policy_decode(&c, &back), 0);
    }
    buf_reset(&out);
    policy_put_sender_rule(&out, a);
    assert_true(
        span_eq(buf_span(&out),
                SPAN_LIT("recipients > 4 in 24h and networks > 3 in 1h: hold 90m, stays after 3 in 7d; "
                         "bulk")));
    buf_fini(&out);
    policy_rele(p);
}

/* The file that docs/senders.md sends operators to. */
static void test_senders_to_begin_with(void **state)
{
    (void)state;
    struct policy *p = NULL;
    struct buf text, why;
    buf_init(&text, 2u << 20);
    buf_init(&why, 65536);
    int err = policy_load_file(DOCS_DIR "/../deploy/policy/senders.yaml", &p, &text, &why);
    if (err != 0)
        print_error("%.*s\n", (int)why.len, why.data);
    assert_int_equal(err, 0);
    assert_int_equal(p->compiled.nsender_rules, 8);
    policy_rele(p);
    buf_fini(&text);
    buf_fini(&why);
}

static void test_differences(void **state)
{
    (void)state;
    said_diff("sender_rules:\n  - {name: a, when: recipients > 5 in 1h, then: hold}\n"
              "  - {name: b, when: alike > 9 in 1h, then: warn}\n",
              "sender_credit: 20\nsender_rules:\n"
              "  - {name: a, when: recipients > 6 in 1h, then: hold 1h, dry_run: true}\n"
              "  - {name: c, when: alike > 9 in 1h, then: freeze 2h, classes: [person, device]}\n",
              "sender_rules.a: recipients > 5 in 1h: hold -> recipients > 6 in 1h: hold 1h; dry run\n"
              "sender_rules.b: alike > 9 in 1h: warn -> (none)\n"
              "sender_rules.c: (none) -> alike > 9 in 1h: freeze 2h; person, device\n"
              "sender_credit: 10 -> 20\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_sender_rules),
        cmocka_unit_test(test_senders_to_begin_with),
        cmocka_unit_test(test_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
