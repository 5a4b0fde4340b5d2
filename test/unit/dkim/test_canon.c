/* Canonical forms: the examples of RFC 6376, bare cases, and every cut of a body. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/dkim/canon.h"
#include "node/dkim/tags.h"

#include <stdlib.h>

static void put_cb(void *ctx, const void *p, size_t n)
{
    (void)buf_put(ctx, p, n);
}

static void body_of(enum dkim_canon canon, struct span in, size_t first, size_t second, struct buf *out)
{
    struct dkim_canon_body b;
    dkim_canon_body_init(&b, canon, put_cb, out);
    dkim_canon_body_feed(&b, span_of(in.p, first));
    dkim_canon_body_feed(&b, span_of(in.p + first, second - first));
    dkim_canon_body_feed(&b, span_sub(in, second));
    dkim_canon_body_end(&b);
    assert_int_equal(buf_err(out), 0);
}

/* However it is cut in three. */
static void check_body(enum dkim_canon canon, const char *in, const char *want)
{
    struct span s = span_str(in);
    struct buf out;
    buf_init(&out, 1 << 20);
    for (size_t first = 0; first <= s.n; first++)
        for (size_t second = first; second <= s.n; second++) {
            buf_reset(&out);
            body_of(canon, s, first, second, &out);
            assert_int_equal(out.len, strlen(want));
            if (out.len > 0)
                assert_memory_equal(out.data, want, out.len);
        }
    buf_fini(&out);
}

static void check_field(enum dkim_canon canon, const char *in, const char *want)
{
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(dkim_canon_field(canon, span_str(in), &out), 0);
    assert_int_equal(out.len, strlen(want));
    assert_memory_equal(out.data, want, out.len);
    buf_fini(&out);
}

/* Section 3.4.5 */
static void test_rfc6376_examples(void **state)
{
    (void)state;
    check_field(DKIM_RELAXED, "A: X\r\n", "a:X\r\n");
    check_field(DKIM_RELAXED, "B : Y\t\r\n\tZ  \r\n", "b:Y Z\r\n");
    check_field(DKIM_SIMPLE, "A: X\r\n", "A: X\r\n");
    check_field(DKIM_SIMPLE, "B : Y\t\r\n\tZ  \r\n", "B : Y\t\r\n\tZ  \r\n");
    check_body(DKIM_RELAXED, " C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n");
    check_body(DKIM_SIMPLE, " C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n");
}

static void test_bodies(void **state)
{
    (void)state;
    static const struct {
        const char *in, *simple, *relaxed;
    } cases[] = {
        { "", "\r\n", "" },
        { "\r\n", "\r\n", "" },
        { "\r\n\r\n\r\n", "\r\n", "" },
        { " \r\n\t\r\n", " \r\n\t\r\n", "" },
        { "a", "a\r\n", "a\r\n" },
        { "a\r\n", "a\r\n", "a\r\n" },
        { "a\r\n\r\n", "a\r\n", "a\r\n" },
        { "a\r\n \r\n", "a\r\n \r\n", "a\r\n" },
        { "\r\na\r\n", "\r\na\r\n", "\r\na\r\n" },
        { "\r\n\r\na  b\t\tc \t \r\n\r\n\r\nd", "\r\n\r\na  b\t\tc \t \r\n\r\n\r\nd\r\n",
          "\r\n\r\na b c\r\n\r\n\r\nd\r\n" },
        { "a\r", "a\r\r\n", "a\r\r\n" }, /* a CR by itself is no line's end */
        { "a\r\r\n", "a\r\r\n", "a\r\r\n" },
        { "a \r b\n", "a \r b\n\r\n", "a \r b\n\r\n" },
        { "a\nb\r\n", "a\nb\r\n", "a\nb\r\n" },
        { "a \r\n\r", "a \r\n\r\r\n", "a\r\n\r\r\n" },
        { ".\r\n..\r\n", ".\r\n..\r\n", ".\r\n..\r\n" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_body(DKIM_SIMPLE, cases[i].in, cases[i].simple);
        check_body(DKIM_RELAXED, cases[i].in, cases[i].relaxed);
    }
}

/* More than a block, in a line and in empty lines. */
static void test_long_bodies(void **state)
{
    (void)state;
    size_t n = 3 * DKIM_CANON_BLOCK + 5;
    char *in = malloc(2 * n + 1), *want = malloc(2 * n + 3);
    assert_non_null(in);
    assert_non_null(want);
    struct buf out;
    buf_init(&out, 1 << 20);
    for (int relaxed = 0; relaxed < 2; relaxed++)
        for (size_t step = 1; step < n; step *= 7) {
            struct dkim_canon_body b;
            memset(in, 'x', n);
            for (size_t i = n; i < 2 * n; i += 2)
                memcpy(in + i, "\r\n", 2);
            in[2 * n - 1] = 'y'; /* the last pair is broken: all the lines before it count */
            buf_reset(&out);
            dkim_canon_body_init(&b, relaxed ? DKIM_RELAXED : DKIM_SIMPLE, put_cb, &out);
            for (size_t at = 0; at < 2 * n; at += step)
                dkim_canon_body_feed(&b, span_of(in + at, 2 * n - at < step ? 2 * n - at : step));
            dkim_canon_body_end(&b);
            memcpy(want, in, 2 * n);
            memcpy(want + 2 * n, "\r\n", 2);
            assert_int_equal(out.len, 2 * n + 2);
            assert_memory_equal(out.data, want, out.len);
        }
    buf_fini(&out);
    free(in);
    free(want);
}

static void test_fields(void **state)
{
    (void)state;
    struct buf out;
    check_field(DKIM_RELAXED, "Subject:", "subject:\r\n");
    check_field(DKIM_RELAXED, "Subject:\r\n", "subject:\r\n");
    check_field(DKIM_RELAXED, "SuBJect \t:  \r\n \r\n", "subject:\r\n");
    check_field(DKIM_RELAXED, "X:a\r\n\r\n b\r\n", "x:a b\r\n");
    check_field(DKIM_RELAXED, "X: a:b : c\r\n", "x:a:b : c\r\n");
    check_field(DKIM_RELAXED, "X:a\r b\r\n", "x:a\r b\r\n");
    check_field(DKIM_RELAXED, "X:gr\xc3\xbc\xc3\x9f\x65 \r\n", "x:gr\xc3\xbc\xc3\x9f\x65\r\n");
    check_field(DKIM_SIMPLE, "X:a", "X:a\r\n");
    buf_init(&out, 64);
    assert_int_equal(dkim_canon_field(DKIM_RELAXED, SPAN_LIT("no colon\r\n"), &out), ERR_BAD);
    assert_int_equal(dkim_canon_field(DKIM_SIMPLE, SPAN_LIT(""), &out), ERR_BAD);
    buf_fini(&out);
}

static void test_tags(void **state)
{
    (void)state;
    struct span v;
    assert_int_equal(dkim_tag_find(SPAN_LIT("v=DKIM1; p = a b ; k=rsa"), "p", &v), 0);
    assert_true(span_eq(v, SPAN_LIT("a b")));
    assert_int_equal(dkim_tag_find(SPAN_LIT("v=DKIM1;p=;"), "p", &v), 0);
    assert_int_equal(v.n, 0);
    assert_int_equal(dkim_tag_find(SPAN_LIT("v=DKIM1"), "p", &v), ERR_NOT_FOUND);
    assert_int_equal(dkim_tag_find(SPAN_LIT("p=a; p=b"), "p", &v), ERR_BAD);
    assert_int_equal(dkim_tag_find(SPAN_LIT("p=a; b"), "p", &v), ERR_BAD);
    assert_int_equal(dkim_tag_find(SPAN_LIT("p=a;; k=b"), "p", &v), ERR_BAD);
    assert_int_equal(dkim_tag_find(SPAN_LIT("1=a"), "p", &v), ERR_BAD);
    assert_true(dkim_tag_has(SPAN_LIT("sha1 : sha256"), "sha256"));
    assert_false(dkim_tag_has(SPAN_LIT("sha1:sha2567"), "sha256"));
    assert_false(dkim_tag_has(SPAN_LIT(""), "sha256"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc6376_examples),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_long_bodies),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_tags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
