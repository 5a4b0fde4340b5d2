/* What the policy says of domains that must be proven and of forwarded mail: read, refused, compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "said.h"

#include "node/policy/policy.h"

static void test_wrong(void **state)
{
    (void)state;
    static const struct said_fault wrong[] = {
        { "forwarding: {accounts: [a]}\n", "p.yaml:1: forwarding.domain: is required where bounces.domain is "
                                           "not given: the domain of rewritten return "
                                           "paths\n" },
        { "forwarding: {domain: f.example}\n",
          "p.yaml:1: forwarding.accounts: or classes are required: whose mail may be forwarded\n" },
        { "bounces: {domain: b.example, postmaster: a@f.example}\nforwarding: {classes: bulk, domain: "
          "F.example}\n",
          "p.yaml:2: forwarding.domain: has bounces.postmaster in it: that would be a loop\n" },
        { "domains: {valid: 1h}\n", "p.yaml:1: domains.recheck: must not be longer than valid\n" },
        { "bounces: {domain: b.example, postmaster: a@c.example, key: \"" POLICY_HIDDEN "\"}\n",
          "p.yaml:1: bounces.key: is what `policy show` prints in its place: leave it out, after `turnpike "
          "secret import "
          "bounces --policy` has made it the cluster's\n" },
    };
    said_faults(wrong, sizeof wrong / sizeof wrong[0]);
}

static void test_read(void **state)
{
    (void)state;
    struct policy *p =
        said_read("domains: {prove: require, trusted: [b, d, a, cc, c]}\n"
                  "bounces: {domain: b.example, postmaster: a@c.example}\nforwarding: {classes: bulk}\n");
    assert_true(p->domains.prove == POLICY_PROVE_REQUIRE && p->domains.classes == 7 && p->domains.subdomains);
    assert_true(p->domains.valid_ms == INT64_C(90) * 86400000 && p->domains.failures == 3);
    assert_string_equal(p->domains.record, "_turnpike-challenge");
    static const char *const there[] = { "a", "b", "c", "cc", "d" }, *const not_there[] = { "", "aa", "ccc",
                                                                                            "e", "B" };
    for (size_t i = 0; i < 5; i++) {
        assert_true(policy_names_have(&p->domains.trusted, span_str(there[i])));
        assert_false(policy_names_have(&p->domains.trusted, span_str(not_there[i])));
    }
    assert_false(policy_names_have(&p->domains.tenants, span_str("a")));
    assert_string_equal(p->forwarding.domain, "b.example");
    assert_true(p->forwarding.classes == 4 && p->forwarding.returns == 100);
    policy_rele(p);
    p = said_read("bounces: {domain: b.example, postmaster: a@c.example}\n");
    assert_true(p->forwarding.domain[0] == 0 && p->domains.prove == POLICY_PROVE_OFF && !p->bounces.has_key);
    policy_rele(p);
}

static void test_diff(void **state)
{
    (void)state;
    said_diff("domains: {trusted: [x, b]}\n",
              "domains: {prove: require, classes: bulk, trusted: [b, a], record: _proof, valid: 30d}\n"
              "forwarding: {accounts: [f], domain: fwd.example, life: 9d}\n",
              "domains.prove: off -> require\ndomains.classes: person, device, bulk -> bulk\n"
              "domains.trusted: x -> (none)\ndomains.trusted: a is new\n"
              "domains.record: _turnpike-challenge -> _proof\ndomains.valid: 90d -> 30d\n"
              "forwarding.accounts: f is new\nforwarding.domain: (none) -> fwd.example\n"
              "forwarding.life: 21d -> 9d\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_wrong), cmocka_unit_test(test_read),
                                        cmocka_unit_test(test_diff) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
