/* What the policy says of domains that must be proven and of forwarded mail: read, refused, compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/policy/policy.h"

static struct policy *parse(const char *text)
{
    struct policy *p;
    struct buf why;
    buf_init(&why, 4096);
    int err = policy_parse("p.yaml", span_str(text), &p, &why);
    if (err != 0)
        fail_msg("%.*s", (int)why.len, why.data);
    buf_fini(&why);
    return p;
}

static void test_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } wrong[] = {
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
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct policy *p;
        struct buf why;
        buf_init(&why, 4096);
        assert_int_equal(policy_parse("p.yaml", span_str(wrong[i].text), &p, &why), ERR_BAD);
        buf_put_char(&why, '\0');
        assert_string_equal(why.data, wrong[i].want);
        buf_fini(&why);
    }
}

static void test_read(void **state)
{
    (void)state;
    struct policy *p =
        parse("domains: {prove: require, trusted: [b, d, a, cc, c]}\n"
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
    p = parse("bounces: {domain: b.example, postmaster: a@c.example}\n");
    assert_true(p->forwarding.domain[0] == 0 && p->domains.prove == POLICY_PROVE_OFF && !p->bounces.has_key);
    policy_rele(p);
}

static void test_diff(void **state)
{
    (void)state;
    struct policy *from = parse("domains: {trusted: [x, b]}\n");
    struct policy *to =
        parse("domains: {prove: require, classes: bulk, trusted: [b, a], record: _proof, valid: 30d}\n"
              "forwarding: {accounts: [f], domain: fwd.example, life: 9d}\n");
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(policy_diff(from, to, &out), 0);
    buf_put_char(&out, '\0');
    assert_string_equal(out.data,
                        "domains.prove: off -> require\ndomains.classes: person, device, bulk -> bulk\n"
                        "domains.trusted: x -> (none)\ndomains.trusted: a is new\n"
                        "domains.record: _turnpike-challenge -> _proof\ndomains.valid: 90d -> 30d\n"
                        "forwarding.accounts: f is new\nforwarding.domain: (none) -> fwd.example\n"
                        "forwarding.life: 21d -> 9d\n");
    buf_fini(&out);
    policy_rele(from);
    policy_rele(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_wrong), cmocka_unit_test(test_read),
                                        cmocka_unit_test(test_diff) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
