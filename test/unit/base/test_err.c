/* base/err and base/clock: every code has a text of its own; the clocks run forward. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"

#include <errno.h>
#include <string.h>

static void test_every_code_has_a_text(void **state)
{
    (void)state;
    for (int a = ERR_FAILED; a <= ERR_TORN; a++) {
        assert_string_not_equal(err_text(a), "unknown error");
        for (int b = ERR_FAILED; b < a; b++)
            assert_string_not_equal(err_text(a), err_text(b));
    }
    assert_string_equal(err_text(0), "no error");
    assert_string_equal(err_text(-ENOENT), "No such file or directory");
    assert_string_equal(err_text(-4000), "unknown error");
    assert_string_equal(err_text(1), "unknown error");
    assert_string_equal(err_text(-30000), "unknown error");
}

static void test_clocks(void **state)
{
    (void)state;
    int64_t boot = clock_boot_ms(), mono = clock_mono_ns();
    assert_true(clock_wall_ms() > 1600000000000);
    for (int i = 0; i < 1000; i++) {
        int64_t again = clock_mono_ns();
        assert_true(again >= mono);
        mono = again;
    }
    assert_true(clock_boot_ms() >= boot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_has_a_text),
        cmocka_unit_test(test_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
