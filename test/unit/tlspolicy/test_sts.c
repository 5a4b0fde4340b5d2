/* MTA-STS records and policies, good and hostile; which hosts they allow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/tlspolicy/sts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_txt(void **state)
{
    (void)state;
    const struct {
        const char *text, *id; /* NULL: see err */
        int err;
    } cases[] = {
        { "v=STSv1; id=20160831085700Z;", "20160831085700Z", 0 },
        { "v=STSv1;id=1", "1", 0 },
        { "v=STSv1 ; id = a1 ; future=x; ", "a1", 0 },
        { "v=STSv1; x=; id=1", "1", 0 },
        { "v=STSv1; id=12345678901234567890123456789012", "12345678901234567890123456789012", 0 },
        { "v=STSv1; id=123456789012345678901234567890123", NULL, ERR_BAD },
        { "v=STSv1;", NULL, ERR_BAD },
        { "v=STSv1", NULL, ERR_BAD },
        { "v=STSv1; id=", NULL, ERR_BAD },
        { "v=STSv1; id=a b", NULL, ERR_BAD },
        { "v=STSv1; id=a-b", NULL, ERR_BAD },
        { "v=STSv1; id=1; id=2", NULL, ERR_BAD },
        { "v=STSv2; id=1", NULL, ERR_NOT_FOUND },
        { "v=spf1 -all", NULL, ERR_NOT_FOUND },
        { "id=1; v=STSv1", NULL, ERR_NOT_FOUND },
        { "", NULL, ERR_NOT_FOUND },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char id[STS_ID_MAX + 1] = "";
        print_message("%s\n", cases[i].text);
        assert_int_equal(sts_txt_parse(span_str(cases[i].text), id), cases[i].err);
        if (cases[i].id != NULL)
            assert_string_equal(id, cases[i].id);
    }
}

static struct sts_policy *parse(const char *text)
{
    struct sts_policy *p = NULL;
    const char *why = NULL;
    int err = sts_policy_parse(span_str(text), &p, &why);
    if (err != 0)
        assert_non_null(why);
    assert_int_equal(err == 0, p != NULL);
    return p;
}

static void test_policy(void **state)
{
    (void)state;
    struct sts_policy *p =
        parse("version: STSv1\r\nmode: enforce\r\nmx: MX.Example.com\r\nmx:*.example.net\r\n"
              "future: yes\r\nmax_age: 604800\r\nmode: none\r\nmax_age: 1\r\n");
    assert_non_null(p);
    assert_int_equal(p->mode, STS_ENFORCE);
    assert_int_equal(p->max_age_s, 604800);
    assert_int_equal(p->nmx, 2);
    assert_string_equal(sts_policy_next(p, NULL), "mx.example.com");
    assert_string_equal(sts_policy_next(p, sts_policy_next(p, NULL)), "*.example.net");
    assert_true(sts_policy_allows(p, "mx.example.com"));
    assert_true(sts_policy_allows(p, "a.example.net"));
    static const char *const others[] = { "example.net",
                                          "a.b.example.net",
                                          ".example.net",
                                          "mx.example.com.evil.test",
                                          "xmx.example.com",
                                          "example.com",
                                          "",
                                          "mxexample.com",
                                          "*.b.example.net" };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(sts_policy_allows(p, others[i]));
    sts_policy_rele(p);

    p = parse("version: STSv1\nmode: none\nmax_age: 9999999999");
    assert_non_null(p);
    assert_int_equal(p->max_age_s, STS_AGE_MAX_S);
    assert_null(sts_policy_next(p, NULL));
    assert_false(sts_policy_allows(p, "a.test"));
    sts_policy_hold(p);
    sts_policy_rele(p);
    sts_policy_rele(p);
}

static void test_bad_policies(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "<html></html>",
        "version: STSv1\nmode: enforce\nmax_age: 1\n",
        "version: STSv1\nmode: testing\nmax_age: 1\n",
        "version: STSv2\nmode: none\nmax_age: 1\n",
        "mode: none\nmax_age: 1\n",
        "version: STSv1\nmax_age: 1\nmx: a.test\n",
        "version: STSv1\nmode: enforce\nmx: a.test\n",
        "version: STSv1\nmode: Enforce\nmax_age: 1\nmx: a.test\n",
        "version: STSv1\nmode: enforce\nmax_age: -1\nmx: a.test\n",
        "version: STSv1\nmode: enforce\nmax_age: 1h\nmx: a.test\n",
        "version: STSv1\nmode: enforce\nmax_age: 12345678901\nmx: a.test\n",
        "version: STSv1\nmode: enforce\nmax_age:\nmx: a.test\n",
        "version: STSv1\nmode: enforce\nmax_age: 1\nmx: *\n",
        "version: STSv1\nmode: enforce\nmax_age: 1\nmx: *.\n",
        "version: STSv1\nmode: enforce\nmax_age: 1\nmx: a.*.test\n",
        "version: STSv1\nmode: enforce\nmax_age: 1\nmx: *a.test\n",
        "version: STSv1\nmode: enforce\nmax_age: 1\nmx: a..test\n",
        "version: STSv1\nmode: enforce\nmax_age: 1\nmx: a.test,b.test\n",
        "version: STSv1\nmode: enforce\nmax_age: 1\nmx: a.test b.test\n",
        "version: STSv1\nmode: enforce\nmax_age: 1\nmx:\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        print_message("case %zu\n", i);
        assert_null(parse(bad[i]));
    }
    static char many[STS_BODY_MAX + 2];
    size_t n = (size_t)snprintf(many, sizeof many, "version: STSv1\nmode: enforce\nmax_age: 1\n");
    for (int i = 0; i <= STS_MX_MAX; i++)
        n += (size_t)snprintf(many + n, sizeof many - n, "mx: a%d.test\n", i);
    assert_null(parse(many));
    memset(many + n, 'x', sizeof many - n - 1);
    assert_null(parse(many));
    struct sts_policy *p = NULL;
    const char *why;
    static const char nul[] = "version: STSv1\nmode: none\nmax_age: 1\nx\0y";
    assert_int_equal(sts_policy_parse(span_of(nul, sizeof nul - 1), &p, &why), ERR_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_txt), cmocka_unit_test(test_policy),
                                        cmocka_unit_test(test_bad_policies) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
