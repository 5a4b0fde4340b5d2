/* base/buf: growth, the bound, the sticky error, encoders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"

#include <stdio.h>
#include <string.h>

static void test_grows_and_keeps_content(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1u << 20);
    char expected[10000];
    for (size_t i = 0; i < sizeof expected; i++) {
        expected[i] = (char)(i * 7);
        assert_int_equal(buf_put_char(&b, expected[i]), 0);
    }
    assert_int_equal(b.len, sizeof expected);
    assert_memory_equal(b.data, expected, sizeof expected);
    buf_fini(&b);
    assert_null(b.data);
}

static void test_bound_is_exact_and_error_sticks(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 300);
    char block[301] = { 0 };
    assert_int_equal(buf_put(&b, block, 300), 0);
    assert_int_equal(buf_put(&b, block, 0), 0);
    assert_int_equal(buf_put(&b, block, 1), ERR_LIMIT);
    assert_int_equal(b.len, 300);
    assert_int_equal(b.cap, 300);
    buf_consume(&b, 300);
    assert_int_equal(buf_put(&b, block, 1), ERR_LIMIT); /* still: the first error is kept */
    assert_int_equal(buf_err(&b), ERR_LIMIT);
    buf_reset(&b);
    assert_int_equal(buf_put(&b, block, 301), ERR_LIMIT);
    assert_int_equal(b.len, 0);
    buf_reset(&b);
    assert_int_equal(buf_put(&b, block, SIZE_MAX), ERR_LIMIT);
    buf_fini(&b);
}

static void test_printf_short_and_long(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4096);
    char wide[1001];
    memset(wide, 'w', 1000);
    wide[1000] = '\0';
    assert_int_equal(buf_printf(&b, "%d-%s", 42, "x"), 0);
    assert_int_equal(buf_printf(&b, "<%s>", wide), 0);
    assert_int_equal(b.len, 4 + 1002);
    assert_memory_equal(b.data, "42-x<www", 8);
    assert_int_equal(b.data[b.len - 1], '>');
    buf_fini(&b);
}

static void test_printf_past_the_bound(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 8);
    assert_int_equal(buf_printf(&b, "%s", "123456789"), ERR_LIMIT);
    assert_int_equal(b.len, 0);
    buf_reset(&b);
    assert_int_equal(buf_printf(&b, "%s", "12345678"), 0);
    assert_int_equal(b.len, 8);
    buf_fini(&b);
}

static void test_consume_front(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 64);
    buf_put_str(&b, "abcdef");
    buf_consume(&b, 0);
    buf_consume(&b, 2);
    assert_int_equal(b.len, 4);
    assert_memory_equal(b.data, "cdef", 4);
    buf_consume(&b, 4);
    assert_int_equal(b.len, 0);
    buf_fini(&b);
}

static void test_take_from_the_front(void **state)
{
    (void)state;
    struct buf b;
    char out[8] = "........";
    buf_init(&b, 64);
    assert_int_equal(buf_take(&b, out, sizeof out), 0);
    buf_put_str(&b, "abcdef");
    assert_int_equal(buf_take(&b, out, 0), 0);
    assert_int_equal(buf_take(&b, out, 4), 4);
    assert_memory_equal(out, "abcd....", 8);
    assert_int_equal(buf_take(&b, out, sizeof out), 2);
    assert_memory_equal(out, "efcd....", 8);
    assert_int_equal(b.len, 0);
    buf_fini(&b);
}

static void test_shrink_only_when_empty_and_large(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1u << 20);
    assert_int_equal(buf_reserve(&b, 100000), 0);
    buf_put_str(&b, "x");
    buf_shrink(&b, 4096);
    assert_non_null(b.data);
    buf_consume(&b, 1);
    buf_shrink(&b, 1u << 20);
    assert_non_null(b.data);
    buf_shrink(&b, 4096);
    assert_null(b.data);
    assert_int_equal(buf_put_str(&b, "again"), 0);
    buf_fini(&b);
}

static void test_little_endian(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 64);
    buf_put_u8(&b, 0xfe);
    buf_put_u16(&b, 0x0102);
    buf_put_u32(&b, 0x03040506);
    buf_put_u64(&b, 0x0708090a0b0c0d0eu);
    buf_put_counted(&b, span_str("hi"));
    static const unsigned char expected[] = { 0xfe, 2, 1, 6, 5, 4, 3, 0xe, 0xd, 0xc, 0xb,
                                              0xa,  9, 8, 7, 2, 0, 0, 0,   'h', 'i' };
    assert_int_equal(b.len, sizeof expected);
    assert_memory_equal(b.data, expected, sizeof expected);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grows_and_keeps_content),
        cmocka_unit_test(test_bound_is_exact_and_error_sticks),
        cmocka_unit_test(test_printf_short_and_long),
        cmocka_unit_test(test_printf_past_the_bound),
        cmocka_unit_test(test_consume_front),
        cmocka_unit_test(test_take_from_the_front),
        cmocka_unit_test(test_shrink_only_when_empty_and_large),
        cmocka_unit_test(test_little_endian),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
