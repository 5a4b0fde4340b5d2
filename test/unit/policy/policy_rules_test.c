/* The policy's rules about replies: over the built-in ones, in their order, what a reply meets, and what
 * differs between two.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "said.h"

#include "base/err.h"
#include "node/policy/policy_impl.h"

#include <string.h>

static const struct shaping_rule *rule_named(const struct policy *p, const char *name, uint32_t *at)
{
    for (*at = 0; *at < shaping_rules_count(p->rules); (*at)++)
        if (strcmp(shaping_rules_at(p->rules, *at)->name, name) == 0)
            return shaping_rules_at(p->rules, *at);
    fail_msg("no rule is called %s", name);
    return NULL;
}

/* Rules with names of their own come first, in order; one with a built-in rule's name keeps its place, and
 * what it does not say. */
static void test_rules(void **state)
{
    (void)state;
    uint32_t at, before, own;
    struct policy *builtin = said_read("voters: 3\n");
    struct policy *p =
        said_read("rules:\n"
                  "  - {name: rate-limited, for: 2h, threshold: 4 in 1m}\n"
                  "  - {name: mine, site: [a.example, '*.b.example'], match: 'not today', stage: banner, "
                  "pool: news, action: suspend, for: 90s}\n"
                  "  - {name: unknown-user, action: notify}\n"
                  "  - {name: mailbox-full, action: none}\n"
                  "  - {name: source-blocked, action: reroute, to: slow}\n"
                  "  - {name: other, code: 4.7.1, action: greylist}\n");
    const struct shaping_rule *was = rule_named(builtin, "rate-limited", &before);
    const struct shaping_rule *r = rule_named(p, "rate-limited", &at);
    assert_int_equal(at, before + 2);
    assert_int_equal(r->for_ms, 7200000);
    assert_int_equal(r->count, 4);
    assert_int_equal(r->within_ms, 60000);
    assert_int_equal(r->action, SHAPING_BACKOFF);
    assert_string_equal(r->match, was->match);
    r = rule_named(p, "mine", &own);
    assert_int_equal(own, 0);
    assert_int_equal(r->nsites, 2);
    assert_string_equal(r->sites[1], "*.b.example");
    assert_string_equal(r->pool, "news");
    assert_int_equal(r->stage, SHAPING_BANNER);
    assert_int_equal(r->action, SHAPING_SUSPEND);
    assert_int_equal(r->for_ms, 90000);
    assert_int_equal(r->count, 1);
    assert_int_equal(rule_named(p, "other", &own)->action, SHAPING_GREYLIST);
    assert_int_equal(own, 1);
    assert_int_equal(rule_named(p, "unknown-user", &at)->action, SHAPING_NOTIFY);
    /* what another action has no use for does not come from the built-in rule */
    r = rule_named(p, "mailbox-full", &at);
    assert_int_equal(r->action, SHAPING_NONE);
    assert_int_equal(r->attempts, 0);
    r = rule_named(p, "source-blocked", &at);
    assert_int_equal(r->action, SHAPING_REROUTE);
    assert_string_equal(r->to, "slow");
    assert_int_equal(r->count, 1);
    assert_int_equal(r->for_ms, 0);
    assert_int_equal(shaping_rules_count(p->rules), shaping_rules_count(builtin->rules) + 2);
    struct policy *none = said_read("default_rules: false\nrules:\n  - {name: a, code: 421, action: none}\n");
    assert_int_equal(shaping_rules_count(none->rules), 1);

    const struct shaping_reply about = { .site = SPAN_LIT("mx.b.example"),
                                         .pool = SPAN_LIT("news"),
                                         .stage = SHAPING_BANNER };
    assert_int_equal(policy_test_reply(p, &about, SPAN_LIT("450 4.7.1 Not today, thanks"), &r), 0);
    assert_string_equal(r->name, "mine");
    assert_int_equal(policy_test_reply(p, &about, SPAN_LIT("550 5.1.1 who?"), &r), 0);
    assert_string_equal(r->name, "unknown-user-code");
    assert_int_equal(policy_test_reply(p, &about, SPAN_LIT("450 hm"), &r), 0);
    assert_null(r);
    assert_int_equal(policy_test_reply(p, &about, SPAN_LIT("250 fine"), &r), ERR_BAD);
    assert_int_equal(policy_test_reply(p, &about, SPAN_LIT("too busy"), &r), ERR_BAD);
    assert_int_equal(policy_test_reply(p, &about, SPAN_LIT("4500"), &r), ERR_BAD);

    struct buf out;
    buf_init(&out, 65536);
    assert_int_equal(policy_diff(none, none, &out), 0);
    assert_int_equal(out.len, 0);
    struct policy *changed =
        said_read("default_rules: false\nrules:\n"
                  "  - {name: b, match: busy, action: backoff, for: 1h, threshold: 3 in 90s}\n"
                  "  - {name: a, code: 421, action: notify}\n");
    struct policy *swapped =
        said_read("default_rules: false\nrules:\n"
                  "  - {name: a, code: 421, action: notify}\n"
                  "  - {name: b, match: busy, action: backoff, for: 1h, threshold: 3 in 90s}\n");
    assert_int_equal(policy_diff(none, changed, &out), 0);
    assert_int_equal(policy_diff(changed, swapped, &out), 0);
    assert_int_equal(policy_diff(swapped, none, &out), 0);
    buf_put_char(&out, '\0');
    assert_string_equal(out.data, "rules.a: none; code 421 -> notify; code 421\n"
                                  "rules.b: (none) -> backoff for 1h at 3 in 90s; match busy\n"
                                  "rules: another order\n"
                                  "rules.a: notify; code 421 -> none; code 421\n"
                                  "rules.b: backoff for 1h at 3 in 90s; match busy -> (none)\n");
    buf_fini(&out);
    policy_rele(swapped);
    policy_rele(changed);
    policy_rele(none);
    policy_rele(p);
    policy_rele(builtin);
}

/* Whatever can be written is taken by the machine. */

static void test_pools(void **state)
{
    (void)state;
    struct policy *none = said_read("voters: 3\n");
    struct policy *p = said_read("pools:\n"
                                 "  - {name: news, when_all_disabled: reroute, to: quiet, after: 90s}\n"
                                 "  - {name: urgent, when_all_disabled: use_any}\n"
                                 "  - {name: idle, when_all_disabled: wait}\n"
                                 "  - {name: late, when_all_disabled: bounce, after: 4h}\n");
    const struct policy_pool *pool = policy_pool_find(p, SPAN_LIT("news"));
    assert_non_null(pool);
    assert_int_equal(pool->when_all_disabled, POLICY_RESTED_REROUTE);
    assert_string_equal(pool->to, "quiet");
    assert_int_equal(pool->after_ms, 90000);
    assert_int_equal(policy_pool_find(p, SPAN_LIT("late"))->when_all_disabled, POLICY_RESTED_BOUNCE);
    assert_null(policy_pool_find(p, SPAN_LIT("quiet")));
    struct buf out;
    buf_init(&out, 65536);
    assert_int_equal(policy_diff(none, p, &out), 0);
    assert_int_equal(policy_diff(p, p, &out), 0);
    assert_int_equal(policy_diff(p, none, &out), 0);
    buf_put_char(&out, '\0');
    assert_string_equal(out.data, "pools.news.when_all_disabled: wait -> reroute to pool quiet after 90s\n"
                                  "pools.urgent.when_all_disabled: wait -> use_any\n"
                                  "pools.late.when_all_disabled: wait -> bounce after 4h\n"
                                  "pools.news.when_all_disabled: reroute to pool quiet after 90s -> wait\n"
                                  "pools.urgent.when_all_disabled: use_any -> wait\n"
                                  "pools.late.when_all_disabled: bounce after 4h -> wait\n");
    buf_fini(&out);
    policy_rele(p);
    policy_rele(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_pools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
