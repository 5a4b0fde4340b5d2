/* Names, senders and rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/auth/identity.h"

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out; /* NULL: bad */
    } cases[] = {
        { "Anna@Example.ORG", "anna@example.org" },
        { "  printer \t", "printer" },
        { "first.last+tag@example.org", "first.last+tag@example.org" },
        { "J\xc3\xbcrgen@Example.org", "j\xc3\xbcrgen@example.org" },
        { "", NULL },
        { "   ", NULL },
        { "a b", NULL },
        { "a:b", NULL },
        { "a,b", NULL },
        { "\"a\"@b", NULL },
        { "a\\b", NULL },
        { "a\nb", NULL },
        { "a\x7f", NULL },
        { "#a", NULL },
        { "a\xff", NULL },
    };
    char out[ACCOUNT_NAME_MAX + 1], big[ACCOUNT_NAME_MAX + 2];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int err = account_name_canonical(span_str(cases[i].in), out);
        assert_int_equal(err, cases[i].out == NULL ? ERR_BAD : 0);
        assert_string_equal(out, cases[i].out == NULL ? "" : cases[i].out);
    }
    memset(big, 'a', sizeof big);
    assert_int_equal(account_name_canonical(span_of(big, ACCOUNT_NAME_MAX), out), 0);
    assert_int_equal(account_name_canonical(span_of(big, ACCOUNT_NAME_MAX + 1), out), ERR_BAD);
    assert_int_equal(account_name_canonical(span_of("a\0b", 3), out), ERR_BAD);
}

static void test_may_send(void **state)
{
    (void)state;
    static const struct {
        const char *senders, *from;
        bool tags, may;
    } cases[] = {
        { "", "", false, true },
        { "", "anna@example.org", false, true },
        { "", "ANNA@Example.ORG", false, true },
        { "", "bob@example.org", false, false },
        { "", "anna@example.org.evil.test", false, false },
        { "", "anna@evil.test", false, false },
        { "", "xanna@example.org", false, false },
        { "", "anna+x@example.org", false, false },
        { "", "anna+x@example.org", true, true },
        { "", "anna+x+y@example.org", true, true },
        { "", "annab+x@example.org", true, false },
        { "", "+x@example.org", true, false },
        { "", "\"anna+x\"@example.org", true, false },
        { "", "anna", false, false },
        { "", "\"x@evil.test y\"@example.org", false, false },
        { "list@example.com", "list@example.com", false, true },
        { "list@example.com", "list+owner@example.com", true, true },
        { "list@example.com", "list+owner@example.com", false, false },
        { "a@b.c,example.com", "any@example.com", false, true },
        { "a@b.c,@example.com", "any@Example.com", false, true },
        { "example.com", "any@sub.example.com", false, false },
        { "example.com", "example.com", false, false },
        { "*", "anyone@anywhere.test", false, true },
        { "a@b.c,*", "anyone@anywhere.test", false, true },
        { "a@b.c,d@e.f", "a@e.f", false, false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct auth_identity *id =
            auth_identity_new(SPAN_LIT("anna@example.org"), SPAN_LIT("t"), span_str(cases[i].senders),
                              SPAN_LIT(""), ACCOUNT_PERSON);
        assert_non_null(id);
        if (auth_may_send(id, span_str(cases[i].from), cases[i].tags) != cases[i].may)
            fail_msg("senders \"%s\", from \"%s\"", cases[i].senders, cases[i].from);
        auth_identity_rele(id);
    }
}

/* An account whose own name has a tag does not own the address without it. */
static void test_may_send_own_tag(void **state)
{
    (void)state;
    struct auth_identity *id =
        auth_identity_new(SPAN_LIT("a+b@c.d"), SPAN_LIT(""), SPAN_LIT(""), SPAN_LIT(""), ACCOUNT_PERSON);
    assert_true(auth_may_send(id, SPAN_LIT("a+b@c.d"), true));
    assert_false(auth_may_send(id, SPAN_LIT("a@c.d"), true));
    assert_false(auth_may_send(id, SPAN_LIT("a+x@c.d"), true));
    auth_identity_rele(id);
    id = auth_identity_new(SPAN_LIT("printer"), SPAN_LIT(""), SPAN_LIT(""), SPAN_LIT(""), ACCOUNT_DEVICE);
    assert_false(auth_may_send(id, SPAN_LIT("printer@c.d"), true));
    assert_true(auth_may_send(id, SPAN_LIT(""), true));
    auth_identity_rele(id);
}

static void test_rules(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *account;
        bool match;
    } cases[] = {
        { "*", "printer", true },       { "a@b.c", "a@b.c", true },      { "a@b.c", "x@b.c", false },
        { "*@b.c", "x@b.c", true },     { "*@b.c", "x@d.b.c", false },   { "*.b.c", "x@d.b.c", true },
        { "*.b.c", "x@e.d.b.c", true }, { "*.b.c", "x@b.c", false },     { "*.b.c", "x@xb.c", false },
        { "*@*.b.c", "x@d.b.c", true }, { "x@*.b.c", "y@d.b.c", false }, { "b.c", "x@b.c", true },
        { "b.c", "b", false },          { "printer", "printer", true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (auth_rule_matches(span_str(cases[i].pattern), span_str(cases[i].account)) != cases[i].match)
            fail_msg("%s, %s", cases[i].pattern, cases[i].account);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_may_send),
        cmocka_unit_test(test_may_send_own_tag),
        cmocka_unit_test(test_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
