/* What the policy says of lists of bad addresses: read, refused, compared. */
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
        { "dnsbl: {lists: [{zone: a.example}, {zone: b.example}, {zone: A.example}]}\n",
          "p.yaml:1: dnsbl.lists[2].zone: \"a.example\" is given twice\n" },
        { "dnsbl: {lists: [{action: rest}]}\n",
          "p.yaml:1: dnsbl.lists[0].zone: is required: the list's domain\n" },
        { "dnsbl: {lists: [{zone: a.example, action: stop}]}\n",
          "p.yaml:1: dnsbl.lists[0].action: expected notify or rest, got \"stop\"\n" },
        { "dnsbl: {every: 1s}\n",
          "p.yaml:1: dnsbl.every: must be from 1m to 7d, got \"1s\"\n" },
    };
    said_faults(wrong, sizeof wrong / sizeof wrong[0]);
}

static void test_read(void **state)
{
    (void)state;
    struct policy *p =
        said_read("dnsbl: {every: 2h, lists: [{zone: a.example}, {zone: b.example, action: rest}]}\n");
    assert_true(p->dnsbl.nlists == 2 && p->dnsbl.every_ms == INT64_C(7200000));
    assert_string_equal(p->dnsbl.lists[0].zone, "a.example");
    assert_string_equal(p->dnsbl.lists[1].zone, "b.example");
    assert_false(p->dnsbl.lists[0].rest);
    assert_true(p->dnsbl.lists[1].rest);
    policy_rele(p);
    p = said_read("voters: 3\n");
    assert_true(p->dnsbl.nlists == 0 && p->dnsbl.every_ms == INT64_C(3600000));
    policy_rele(p);
}

static void test_diff(void **state)
{
    (void)state;
    said_diff("dnsbl: {lists: [{zone: a.example}, {zone: b.example}, {zone: c.example}]}\n",
              "dnsbl: {every: 1d, lists: [{zone: C.example}, {zone: b.example, action: rest}, {zone: "
              "d.example, action: rest}]}\n",
              "dnsbl.lists.a.example: notify -> (none)\ndnsbl.lists.b.example: notify -> rest\n"
                        "dnsbl.lists.d.example: (none) -> rest\ndnsbl.every: 1h -> 1d\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_wrong), cmocka_unit_test(test_read),
                                        cmocka_unit_test(test_diff) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
