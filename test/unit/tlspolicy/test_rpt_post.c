/* Which web servers TLS reports may go to: a domain's record names them, so it is a stranger's word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/tlspolicy/rpt_post.h"

#include <string.h>

static void test_url(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host; /* NULL: not to be used */
        uint16_t port;
    } cases[] = {
        { "https://a.test/v1/tlsrpt", "a.test", 443 },
        { "https://Reports.A.test:8443/?x=y&z", "reports.a.test", 8443 },
        { "https://a.test", "a.test", 443 },
        { "http://a.test/", NULL, 0 },
        { "HTTPS://a.test/", NULL, 0 },
        { "ftp://a.test/", NULL, 0 },
        { "file:///etc/passwd", NULL, 0 },
        { "https:///etc/passwd", NULL, 0 },
        { "https://", NULL, 0 },
        { "https://user@a.test/", NULL, 0 },
        { "https://user:secret@a.test/", NULL, 0 },
        { "https://127.0.0.1/", NULL, 0 },
        { "https://2130706433/", NULL, 0 },
        { "https://0x7f.1/", NULL, 0 },
        { "https://[::1]/", NULL, 0 },
        { "https://localhost/", NULL, 0 },
        { "https://a.test./", NULL, 0 },
        { "https://.test/", NULL, 0 },
        { "https://a.test:0/", NULL, 0 },
        { "https://a.test:65536/", NULL, 0 },
        { "https://a.test:x/", NULL, 0 },
        { "https://a.test/#part", NULL, 0 },
        { "https://a.test\\@b.test/", NULL, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rpt_url u;
        print_message("%s\n", cases[i].url);
        assert_int_equal(rpt_url_parse(span_str(cases[i].url), &u), cases[i].host == NULL ? ERR_BAD : 0);
        if (cases[i].host == NULL)
            continue;
        assert_string_equal(u.host, cases[i].host);
        assert_int_equal(u.port, cases[i].port);
        assert_string_equal(u.text, cases[i].url);
    }
    struct rpt_url u;
    assert_int_equal(rpt_url_parse(span_of("https://a.test/\0x", 17), &u), ERR_BAD);
    char longest[600];
    memset(longest, 'x', sizeof longest);
    memcpy(longest, "https://a.test/", 15);
    assert_int_equal(rpt_url_parse(span_of(longest, sizeof longest), &u), ERR_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_url) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
