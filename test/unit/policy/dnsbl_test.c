/* What the policy says of lists of bad addresses: read, refused, compared. */
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

static void expect_wrong(const char *text, const char *want)
{
    struct policy *p;
    struct buf why;
    buf_init(&why, 4096);
    assert_int_equal(policy_parse("p.yaml", span_str(text), &p, &why), ERR_BAD);
    buf_put_char(&why, '\0');
    assert_string_equal(why.data, want);
    buf_fini(&why);
}

static void test_wrong(void **state)
{
    (void)state;
    expect_wrong("dnsbl: {lists: [{zone: a.example}, {zone: b.example}, {zone: A.example}]}\n",
                 "p.yaml:1: dnsbl.lists[2].zone: \"a.example\" is given twice\n");
    expect_wrong("dnsbl: {lists: [{action: rest}]}\n",
                 "p.yaml:1: dnsbl.lists[0].zone: is required: the list's domain\n");
    expect_wrong("dnsbl: {lists: [{zone: a.example, action: stop}]}\n",
                 "p.yaml:1: dnsbl.lists[0].action: expected notify or rest, got \"stop\"\n");
    expect_wrong("dnsbl: {every: 1s}\n",
                 "p.yaml:1: dnsbl.every: must be from 1m to 7d, got \"1s\"\n");
}

static void test_read(void **state)
{
    (void)state;
    struct policy *p =
        parse("dnsbl: {every: 2h, lists: [{zone: a.example}, {zone: b.example, action: rest}]}\n");
    assert_true(p->dnsbl.nlists == 2 && p->dnsbl.every_ms == INT64_C(7200000));
    assert_string_equal(p->dnsbl.lists[0].zone, "a.example");
    assert_string_equal(p->dnsbl.lists[1].zone, "b.example");
    assert_false(p->dnsbl.lists[0].rest);
    assert_true(p->dnsbl.lists[1].rest);
    policy_rele(p);
    p = parse("voters: 3\n");
    assert_true(p->dnsbl.nlists == 0 && p->dnsbl.every_ms == INT64_C(3600000));
    policy_rele(p);
}

static void test_diff(void **state)
{
    (void)state;
    struct policy *from =
        parse("dnsbl: {lists: [{zone: a.example}, {zone: b.example}, {zone: c.example}]}\n");
    struct policy *to =
        parse("dnsbl: {every: 1d, lists: [{zone: C.example}, {zone: b.example, action: rest}, {zone: "
              "d.example, action: rest}]}\n");
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(policy_diff(from, to, &out), 0);
    buf_put_char(&out, '\0');
    assert_string_equal(out.data,
                        "dnsbl.lists.a.example: notify -> (none)\ndnsbl.lists.b.example: notify -> rest\n"
                        "dnsbl.lists.d.example: (none) -> rest\ndnsbl.every: 1h -> 1d\n");
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
