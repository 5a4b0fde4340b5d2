/* Lists of bad addresses: names that are asked for, and answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/domain/dnsbl.h"

#include <string.h>

static const char *name_of(const char *address, const char *zone)
{
    static char out[256];
    struct ip_addr a;
    assert_int_equal(ip_addr_parse(span_str(address), &a), 0);
    return dnsbl_address_name(&a, zone, out) ? out : NULL;
}

static void names(void **state)
{
    (void)state;
    char zone[250];
    assert_string_equal(name_of("192.0.2.99", "bad.example.com"),
                        "99.2.0.192.bad.example.com"); /* RFC 5782, 2.1 */
    assert_string_equal(name_of("2001:db8:1:2:3:4:567:89ab", "ugly.example.com"),
                        "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ugly.example.com");
    memset(zone, 'a', sizeof zone);
    zone[sizeof zone - 1] = '\0';
    assert_null(name_of("192.0.2.99", zone));
}

static enum dnsbl_answer read_one(unsigned a, unsigned b, unsigned c, unsigned d)
{
    unsigned char code[4] = { 0 };
    char rdata[4] = { (char)a, (char)b, (char)c, (char)d }, why[128] = "";
    struct span s = span_of(rdata, 4);
    enum dnsbl_answer answer = dnsbl_read(&s, 1, code, why);
    assert_int_equal(answer == DNSBL_BROKEN, why[0] != '\0');
    assert_int_equal(answer == DNSBL_LISTED, code[0] == 127);
    return answer;
}

static void answers(void **state)
{
    (void)state;
    unsigned char code[4];
    char why[128];
    assert_int_equal(dnsbl_read(NULL, 0, code, why), DNSBL_CLEAN);
    assert_int_equal(read_one(127, 0, 0, 2), DNSBL_LISTED);
    assert_int_equal(read_one(127, 0, 0, 11), DNSBL_LISTED);
    assert_int_equal(read_one(127, 0, 1, 2), DNSBL_LISTED);
    assert_int_equal(read_one(127, 0, 0, 1), DNSBL_BROKEN);
    assert_int_equal(read_one(127, 0, 1, 255), DNSBL_BROKEN);
    assert_int_equal(read_one(127, 255, 255, 252), DNSBL_BROKEN); /* a name that was mistyped */
    assert_int_equal(read_one(127, 255, 255, 254), DNSBL_BROKEN); /* a public resolver */
    assert_int_equal(read_one(192, 0, 2, 1), DNSBL_BROKEN);       /* a zone that was sold */
    /* several: the first that lists, unless one of them is an error */
    char two[3][4] = { { 127, 0, 0, 4 }, { 127, 0, 0, 2 }, { 127, (char)255, (char)255, (char)254 } };
    struct span s[3] = { span_of(two[0], 4), span_of(two[1], 4), span_of(two[2], 4) };
    assert_int_equal(dnsbl_read(s, 2, code, why), DNSBL_LISTED);
    assert_int_equal(code[3], 4);
    assert_int_equal(dnsbl_read(s, 3, code, why), DNSBL_BROKEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(names), cmocka_unit_test(answers) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
