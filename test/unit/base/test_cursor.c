/* base/cursor: reads back what base/buf writes; every short input is torn, at every length. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/err.h"

#include <stdlib.h>
#include <string.h>

static void fill(struct buf *b)
{
    buf_init(b, 256);
    buf_put_u8(b, 0xa1);
    buf_put_u16(b, 0xb2b3);
    buf_put_u32(b, 0xc4c5c6c7);
    buf_put_u64(b, 0xd8d9dadbdcdddedfu);
    buf_put_counted(b, span_str("counted"));
    buf_put_counted(b, span_str(""));
    buf_put_str(b, "end");
}

static void test_of_nothing(void **state)
{
    (void)state;
    struct cursor c;
    cursor_init(&c, NULL, 0);
    assert_int_equal(cursor_bytes(&c, 0).n, 0);
    assert_int_equal(cursor_err(&c), 0);
    assert_int_equal(cursor_u8(&c), 0);
    assert_int_equal(cursor_err(&c), ERR_TORN);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct buf b;
    fill(&b);
    struct cursor c;
    cursor_init(&c, b.data, b.len);
    assert_int_equal(cursor_u8(&c), 0xa1);
    assert_int_equal(cursor_u16(&c), 0xb2b3);
    assert_int_equal(cursor_u32(&c), 0xc4c5c6c7);
    assert_true(cursor_u64(&c) == 0xd8d9dadbdcdddedfu);
    assert_true(span_eq(cursor_counted(&c), span_str("counted")));
    assert_int_equal(cursor_counted(&c).n, 0);
    assert_int_equal(cursor_left(&c), 3);
    assert_true(span_eq(cursor_bytes(&c, 3), span_str("end")));
    assert_int_equal(cursor_left(&c), 0);
    assert_int_equal(cursor_err(&c), 0);
    assert_int_equal(cursor_u8(&c), 0);
    assert_int_equal(cursor_err(&c), ERR_TORN);
    buf_fini(&b);
}

static void test_every_cut_is_torn(void **state)
{
    (void)state;
    struct buf b;
    fill(&b);
    for (size_t n = 0; n < b.len; n++) {
        char *exact = malloc(n + 1); /* so that a read past the cut shows under AddressSanitizer */
        assert_non_null(exact);
        memcpy(exact, b.data, n);
        struct cursor c;
        cursor_init(&c, exact, n);
        cursor_u8(&c);
        cursor_u16(&c);
        cursor_u32(&c);
        cursor_u64(&c);
        cursor_counted(&c);
        cursor_counted(&c);
        cursor_bytes(&c, 3);
        assert_int_equal(cursor_err(&c), ERR_TORN);
        free(exact);
    }
    buf_fini(&b);
}

static void test_lying_length(void **state)
{
    (void)state;
    static const unsigned char in[] = { 0xff, 0xff, 0xff, 0xff, 'a', 'b' };
    struct cursor c;
    cursor_init(&c, in, sizeof in);
    struct span s = cursor_counted(&c);
    assert_int_equal(s.n, 0);
    assert_non_null(s.p);
    assert_int_equal(cursor_err(&c), ERR_TORN);
    assert_int_equal(cursor_u8(&c), 0); /* the failure sticks, though bytes are left */
    cursor_init(&c, in, sizeof in);
    assert_int_equal(cursor_bytes(&c, SIZE_MAX).n, 0);
    assert_int_equal(cursor_err(&c), ERR_TORN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_of_nothing),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_cut_is_torn),
        cmocka_unit_test(test_lying_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
