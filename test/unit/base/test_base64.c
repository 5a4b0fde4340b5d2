/* base/base64: RFC 4648's vectors, and each character's value; base/span: pieces of a line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base64.h"
#include "base/span.h"

#include <string.h>

static void test_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *text;
    } vectors[] = { { "", "" },
                    { "f", "Zg==" },
                    { "fo", "Zm8=" },
                    { "foo", "Zm9v" },
                    { "foob", "Zm9vYg==" },
                    { "fooba", "Zm9vYmE=" },
                    { "foobar", "Zm9vYmFy" },
                    { "\xff\xef\xbe", "/+++" } };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        struct buf out;
        buf_init(&out, 64);
        assert_int_equal(base64_put(&out, vectors[i].bytes, strlen(vectors[i].bytes)), 0);
        assert_true(span_eq(buf_span(&out), span_str(vectors[i].text)));
        buf_fini(&out);
    }
}

static void test_values(void **state)
{
    (void)state;
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int c = -128; c < 128; c++) {
        const char *at = c == '\0' ? NULL : strchr(digits, c);
        assert_int_equal(base64_value((char)c), at == NULL ? -1 : at - digits);
    }
}

static void test_pieces(void **state)
{
    (void)state;
    struct span rest = span_str(" a\t;; b c ;");
    static const char *const pieces[] = { "a", "", "b c", "" };
    for (size_t i = 0; i < 4; i++)
        assert_true(span_eq(span_trim(span_cut(&rest, ';')), span_str(pieces[i])));
    assert_int_equal(rest.n, 0);
    assert_int_equal(span_trim(SPAN_LIT(" \t ")).n, 0);
    assert_true(span_eq(span_trim(SPAN_LIT("\r a\n")), SPAN_LIT("\r a\n")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
