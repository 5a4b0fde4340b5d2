/* DMARC records, organisational domains and alignment; names and TXT records from the wire. */
#include "base/err.h"
#include "node/domain/dmarc.h"
#include "node/domain/name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_records(void **state)
{
    struct dmarc_record r;
    (void)state;
    assert_int_equal(dmarc_parse(SPAN_LIT("v=DMARC1; p=reject; rua=mailto:d@a.test"), &r), 0);
    assert_int_equal(r.policy, DMARC_REJECT);
    assert_int_equal(r.subdomains, DMARC_REJECT);
    assert_int_equal(r.percent, 100);
    assert_false(r.strict_spf);
    assert_true(span_eq(r.rua, SPAN_LIT("mailto:d@a.test")));
    assert_int_equal(
        dmarc_parse(SPAN_LIT(" v = DMARC1 ;p=Quarantine;sp=none ; aspf=s; adkim=S; pct=0; x=y ;; "), &r), 0);
    assert_int_equal(r.policy, DMARC_QUARANTINE);
    assert_int_equal(r.subdomains, DMARC_NONE);
    assert_int_equal(r.percent, 0);
    assert_true(r.strict_spf);
    assert_true(r.strict_dkim);
    /* reports are wanted, so it is "none" */
    assert_int_equal(dmarc_parse(SPAN_LIT("v=DMARC1; p=nonsense; rua=mailto:d@a.test"), &r), 0);
    assert_int_equal(r.policy, DMARC_NONE);
}

static void test_bad_records(void **state)
{
    static const struct {
        struct span text;
        int want;
    } cases[] = {
        { SPAN_LIT(""), ERR_NOT_FOUND },
        { SPAN_LIT("v=spf1 -all"), ERR_NOT_FOUND },
        { SPAN_LIT("p=reject; v=DMARC1"), ERR_NOT_FOUND },
        { SPAN_LIT("v=dmarc1; p=reject"), ERR_NOT_FOUND },
        { SPAN_LIT("v=DMARC1"), ERR_BAD },
        { SPAN_LIT("v=DMARC1; p"), ERR_BAD },
        { SPAN_LIT("v=DMARC1; p=nonsense"), ERR_BAD },
        { SPAN_LIT("v=DMARC1; p=none; sp=some"), ERR_BAD },
        { SPAN_LIT("v=DMARC1; p=none; aspf=x"), ERR_BAD },
        { SPAN_LIT("v=DMARC1; p=none; pct=101"), ERR_BAD },
        { SPAN_LIT("v=DMARC1; p=none; pct=-1"), ERR_BAD },
        { SPAN_LIT("v=DMARC1 p=none"), ERR_NOT_FOUND },
    };
    struct dmarc_record r;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(dmarc_parse(cases[i].text, &r), cases[i].want);
}

static void test_organisations(void **state)
{
    static const char *const cases[][2] = {
        { "mail.example.com", "example.com" },
        { "example.com", "example.com" },
        { "a.b.example.co.uk", "example.co.uk" },
        { "co.uk", "co.uk" },
        { "host.example.invalid", "example.invalid" }, /* no rule: the last label is one */
        { "localhost", "localhost" },
        { "www.city.kawasaki.jp", "city.kawasaki.jp" },
        { "a.b.c.kawasaki.jp", "b.c.kawasaki.jp" },
    };
    struct domain_suffixes *s = domain_suffixes_new();
    char out[256];
    (void)state;
    assert_non_null(s);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(domain_organisation(s, cases[i][0], out), cases[i][1]);
    assert_true(domain_aligned(s, "example.com", "bounce.example.com", false));
    assert_false(domain_aligned(s, "example.com", "bounce.example.com", true));
    assert_true(domain_aligned(s, "example.com", "Example.com", true));
    assert_false(domain_aligned(s, "a.co.uk", "b.co.uk", false));
    domain_suffixes_free(s);
}

static void test_wire(void **state)
{
    char out[256], big[300];
    struct buf text;
    (void)state;
    assert_int_equal(domain_name_from_wire(SPAN_LIT("\4Mail\1a\4test\0"), out), 0);
    assert_string_equal(out, "mail.a.test");
    assert_int_equal(domain_name_from_wire(SPAN_LIT("\0"), out), ERR_BAD);
    assert_int_equal(domain_name_from_wire(SPAN_LIT("\4mail"), out), ERR_BAD);
    assert_int_equal(domain_name_from_wire(SPAN_LIT("\4ma.l\0"), out), ERR_BAD);
    assert_int_equal(domain_name_from_wire(SPAN_LIT("\4mail\0x"), out), ERR_BAD);
    assert_int_equal(domain_name_from_wire(SPAN_LIT("\xc0\x0c"), out), ERR_BAD);
    size_t n = 0;
    for (int i = 0; i < 127; i++) {
        big[n++] = 1;
        big[n++] = 'a';
    }
    big[n] = 0;
    assert_int_equal(domain_name_from_wire(span_of(big, n + 1), out), 0); /* 253 octets */
    assert_int_equal(strlen(out), 253);
    big[n++] = 1;
    big[n++] = 'a';
    big[n] = 0;
    assert_int_equal(domain_name_from_wire(span_of(big, n + 1), out), ERR_BAD);
    buf_init(&text, 100);
    assert_int_equal(domain_txt_join(SPAN_LIT("\2ab\0\1c"), &text), 0);
    assert_true(span_eq(buf_span(&text), SPAN_LIT("abc")));
    assert_int_equal(domain_txt_join(SPAN_LIT("\5ab"), &text), ERR_BAD);
    assert_int_equal(domain_txt_join(SPAN_LIT(""), &text), ERR_BAD);
    buf_fini(&text);
    assert_true(domain_name_within(SPAN_LIT("x.A.test"), SPAN_LIT("a.test")));
    assert_false(domain_name_within(SPAN_LIT("xa.test"), SPAN_LIT("a.test")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_bad_records),
        cmocka_unit_test(test_organisations),
        cmocka_unit_test(test_wire),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
