/* Rules about senders in the policy: what is read of right ones, what is said of wrong ones, what differs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "said.h"

#include "base/err.h"

#include "node/policy/policy_impl.h"

#include <stdio.h>
#include <string.h>

#define DEFAULTS 13 /* rules of deploy/policy/senders.yaml */

static const struct said_fault wrong[] = {
    { "sender_rules:\n  - {name: a, when: 'sent > 5 in 1h', then: hold}\n",
      "p.yaml:2: sender_rules[0].when: expected one of recipients, messages, distinct_recipients, "
      "distinct_domains, networks, alike, odd_hours, failed_logins, delivered, deferred, hard_bounces, "
      "bounce_percent, complaints, complaint_permille, new_networks, unknown_users, unknown_percent, "
      "first_days, above_usual, new_above_usual, unlike, spam, got \"sent\"\n" },
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
      "bounce_percent, complaints, complaint_permille, new_networks, unknown_users, unknown_percent, "
      "first_days, "
      "above_usual, new_above_usual, unlike, spam was expected\n" },
    { "sender_rules:\n  - {name: a, when: 'above_usual > 5 in 1h', then: hold}\n",
      "p.yaml:2: sender_rules[0].when: above_usual is known of the last day only: write \"in 24h\"\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > 1 in 1h and recipients > 1 in 1h and recipients > 1 "
      "in 1h and recipients > 1 in 1h and recipients > 1 in 1h', then: hold}\n",
      "p.yaml:2: sender_rules[0].when: has more than 4 conditions\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > 5 in 1h', then: kill}\n",
      "p.yaml:2: sender_rules[0].then: expected warn, slow, pool, hold, freeze or notify, got \"kill\"\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > 5 in 1h', then: slow}\n",
      "p.yaml:2: sender_rules[0].then: ends where how many recipients slow leaves, such as slow 20 in 10m was "
      "expected\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > 5 in 1h', then: slow 20 in 1s}\n",
      "p.yaml:2: sender_rules[0].then: expected 5s to 31d, got \"1s\"\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > 5 in 1h', then: slow 20 in 10m 4h}\n",
      "p.yaml:2: sender_rules[0].then: expected \"for\" and a time, or the end, got \"4h\"\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > 5 in 1h', then: pool for 4h}\n",
      "p.yaml:2: sender_rules[0].then: expected the name of a pool, got \"for\"\n" },
    { "limits:\n  - {name: slow.a, for: account, count: 5, window: 1h}\nsender_rules:\n"
      "  - {name: a, when: 'recipients > 5 in 1h', then: slow 20 in 10m for 4h}\n",
      "p.yaml:2: limits[0].name: is that of the limit of sender_rules[0]: give one of them another\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > 5 in 1h', then: warn 1h}\n",
      "p.yaml:2: sender_rules[0].then: expected nothing behind warn, got \"1h\"\n" },
    { "sender_rules:\n  - {name: a, when: 'recipients > 5 in 1h', then: 'notify 1h'}\n",
      "p.yaml:2: sender_rules[0].then: expected warn, slow, pool, hold, freeze or notify, got \"notify\"\n" },
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
    policy_for_level(p, 5); /* without the built-in ones */
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

static void test_slow_and_pool(void **state)
{
    (void)state;
    struct policy *p = said_read(
        "limits:\n  - {name: hour, for: account, count: 5, window: 1h}\nsender_rules:\n"
        "  - {name: a, when: recipients > 5 in 1h, then: slow 20 in 10m for 4h, repeat: 3 in 7d}\n"
        "  - {name: b, when: recipients > 9 in 1h, then: pool risky for 1d, classes: bulk}\n"
        "  - {name: c, when: recipients > 99 in 1h, then: hold for 1h}\n");
    struct policy_compiled back;
    struct buf out;
    struct cursor c;
    const struct sender_rule *a = &p->compiled.sender_rules[0], *b = &p->compiled.sender_rules[1];
    assert_int_equal(policy_level(&p->compiled), 6);
    assert_int_equal(a->slow_count, 20);
    assert_int_equal(a->slow_ms, 600000);
    assert_int_equal(a->for_ms, 4 * 3600000);
    assert_string_equal(b->pool, "risky");
    assert_int_equal(p->compiled.sender_rules[2].for_ms, 3600000);
    assert_false(sender_rule_blocks(a, 0));
    assert_true(sender_rule_hinders(a, 0));
    assert_false(sender_rule_hinders(b, 2));
    assert_true(sender_rule_measures(b, 2));
    assert_false(sender_rule_measures(b, 0));
    /* the limit that goes with it is of nobody until the rule is met */
    assert_int_equal(p->compiled.nlimits, 2);
    assert_string_equal(p->compiled.limits[1].name, "slow.a");
    assert_int_equal(p->compiled.limits[1].classes, 0);
    assert_ptr_equal(policy_slow_rule(&p->compiled, &p->compiled.limits[1]), a);
    assert_null(policy_slow_rule(&p->compiled, &p->compiled.limits[0]));
    buf_init(&out, 65536);
    assert_int_equal(policy_encode(&p->compiled, &out), 0);
    cursor_init(&c, out.data, out.len);
    assert_int_equal(policy_decode(&c, &back), 0);
    assert_memory_equal(back.sender_rules, p->compiled.sender_rules, 3 * sizeof back.sender_rules[0]);
    for (size_t n = 0; n < out.len; n++) {
        cursor_init(&c, out.data, n);
        assert_int_not_equal(policy_decode(&c, &back), 0);
    }
    buf_reset(&out);
    p->compiled.limits[1].count++; /* not what the rule says */
    assert_int_equal(policy_encode(&p->compiled, &out), ERR_BAD);
    p->compiled.limits[1].count--;
    p->compiled.limits[0].classes = 0; /* of no rule */
    assert_int_equal(policy_encode(&p->compiled, &out), ERR_BAD);
    buf_reset(&out);
    policy_put_sender_rule(&out, a);
    assert_true(span_eq(buf_span(&out),
                        SPAN_LIT("recipients > 5 in 1h: slow 20 in 10m for 4h, stays after 3 in 7d")));
    buf_reset(&out);
    policy_put_sender_rule(&out, b);
    assert_true(span_eq(buf_span(&out), SPAN_LIT("recipients > 9 in 1h: pool risky for 1d; bulk")));
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
    assert_int_equal(p->compiled.nsender_rules, DEFAULTS);
    assert_int_equal(p->ndefault_sender_rules, 0); /* each replaces one */
    policy_rele(p);
    buf_fini(&text);
    buf_fini(&why);
}

/* On trial unless the policy says more, behind the policy's own. */
static void test_built_in_ones(void **state)
{
    (void)state;
    struct policy *trial = said_read("sender_rules:\n  - {name: a, when: alike > 9 in 1h, then: warn}\n"
                                     "  - {name: new-place, when: networks > 3 in 1h, then: freeze}\n");
    struct policy *on = said_read("default_sender_rules: on\n");
    struct policy *off = said_read("default_sender_rules: off\n");
    assert_int_equal(trial->compiled.nsender_rules, DEFAULTS + 1);
    assert_int_equal(trial->ndefault_sender_rules, DEFAULTS - 1);
    assert_string_equal(trial->compiled.sender_rules[1].name, "new-place");
    for (uint32_t i = 0; i < DEFAULTS + 1; i++) {
        const struct sender_rule *r = &trial->compiled.sender_rules[i];
        assert_true(sender_rule_ok(r));
        assert_int_equal(r->dry_run, i > 1);
        assert_true(i == 1 || strcmp(r->name, "new-place") != 0);
    }
    assert_int_equal(on->compiled.nsender_rules, DEFAULTS);
    assert_true(sender_rule_blocks(&on->compiled.sender_rules[0], 0));
    assert_int_equal(off->compiled.nsender_rules, 0);
    assert_int_equal(policy_level(&on->compiled), 6);
    policy_for_level(on, 6);
    assert_int_equal(on->compiled.nsender_rules, DEFAULTS);
    policy_for_level(on, 5); /* older nodes could not read them */
    assert_int_equal(on->compiled.nsender_rules, 0);
    policy_for_level(trial, 5);
    assert_int_equal(trial->compiled.nsender_rules, 2);
    assert_int_equal(policy_level(&trial->compiled), 5);
    policy_rele(trial);
    policy_rele(on);
    policy_rele(off);
}

/* So many of one's own that the built-in ones do not fit. */
static void test_too_many(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 65536);
    (void)buf_put_str(&text, "sender_rules:\n");
    for (int i = 0; i < 25; i++)
        (void)buf_printf(&text, "  - {name: r%d, when: alike > 9 in 1h, then: warn}\n", i);
    (void)buf_put_u8(&text, 0);
    const struct said_fault full[] = {
        { text.data,
          "p.yaml:1: sender_rules: with the built-in ones these are 38 rules, and 32 are the limit: see "
          "default_sender_rules\n" },
    };
    said_faults(full, 1);
    buf_fini(&text);
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

static void test_notify(void **state)
{
    (void)state;
    struct policy *p = said_read("sender_rules:\n"
                             "  - {name: a, when: recipients > 5 in 1h, then: 'hold 1h, notify'}\n"
                             "  - {name: b, when: recipients > 4 in 1h, then: notify, dry_run: true}\n"
                             "  - {name: c, when: recipients > 3 in 1h, then: 'warn ,notify'}\n"
                             "  - {name: d, when: recipients > 2 in 1h, then: freeze}\n");
    const struct sender_rule *rules = p->compiled.sender_rules;
    static const uint8_t actions[] = { SENDER_HOLD, SENDER_WARN, SENDER_WARN, SENDER_FREEZE };
    struct policy_compiled back;
    struct buf out;
    struct cursor c;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(rules[i].action, actions[i]);
        assert_int_equal(rules[i].notify, i < 3);
    }
    assert_int_equal(rules[0].for_ms, 3600000);
    assert_true(rules[1].dry_run);
    assert_int_equal(policy_level(&p->compiled), 6); /* older nodes cannot read it */
    buf_init(&out, 65536);
    assert_int_equal(policy_encode(&p->compiled, &out), 0);
    cursor_init(&c, out.data, out.len);
    assert_int_equal(policy_decode(&c, &back), 0);
    assert_memory_equal(back.sender_rules, rules, 4 * sizeof *rules);
    buf_reset(&out);
    policy_put_sender_rule(&out, &rules[0]);
    assert_true(span_eq(buf_span(&out), span_str("recipients > 5 in 1h: hold 1h, notify")));
    buf_fini(&out);
    policy_rele(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_sender_rules),
        cmocka_unit_test(test_slow_and_pool),
        cmocka_unit_test(test_senders_to_begin_with),
        cmocka_unit_test(test_built_in_ones),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_notify),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
