/* The policy's text without its secret. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/policy/policy.h"

static void test_hidden(void **state)
{
    (void)state;
    static const struct {
        const char *text, *shown, *secret;
    } cases[] = {
        { "voters: 3\n", "voters: 3\n", "" },
        { "bounces: {domain: b.example}\nkey: a\n", "bounces: {domain: b.example}\nkey: a\n", "" },
        { "bounces:\n  domain: b.example\n  key: \"a secret of all \\x41\"  # mine\nvoters: 3\n",
          "bounces:\n  domain: b.example\n  key: \"" POLICY_HIDDEN "\"  # mine\nvoters: 3\n",
          "a secret of all A" },
        { "# caf\u00e9 \u20ac\r\nbounces: {key: 0123456789abcdef, life: 30d}\r\n",
          "# caf\u00e9 \u20ac\r\nbounces: {key: \"" POLICY_HIDDEN "\", life: 30d}\r\n", "0123456789abcdef" },
        { "\xef\xbb\xbf"
          "bounces: {key: 0123456789abcdef}\n",
          "\xef\xbb\xbf"
          "bounces: {key: \"" POLICY_HIDDEN "\"}\n",
          "0123456789abcdef" },
        { "bounces:\n  key: |\n    0123456789abcdef\nvoters: 3\n",
          "bounces:\n  key: \"" POLICY_HIDDEN "\"\nvoters: 3\n", "0123456789abcdef\n" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf shown, secret;
        buf_init(&shown, 4096);
        buf_init(&secret, 4096);
        assert_int_equal(policy_hide(span_str(cases[i].text), &shown, &secret), 0);
        buf_put_char(&shown, '\0');
        buf_put_char(&secret, '\0');
        assert_string_equal(shown.data, cases[i].shown);
        assert_string_equal(secret.data, cases[i].secret);
        buf_fini(&shown);
        buf_fini(&secret);
    }
    struct buf none;
    buf_init(&none, 4096);
    assert_int_equal(policy_hide(span_str("voters: ["), &none, NULL), ERR_BAD);
    buf_fini(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_hidden) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
