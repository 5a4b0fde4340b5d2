/* base/ensure: a broken invariant ends the process with a line that names it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/ensure.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_true_does_nothing(void **state)
{
    (void)state;
    int runs = 0;
    ensure(++runs == 1);
    assert_int_equal(runs, 1);
}

static void test_false_aborts_and_says_why(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        int two = 2;
        ensure(two == 3);
        _exit(0);
    }
    close(ends[1]);
    char text[512] = { 0 };
    size_t n = 0;
    for (ssize_t got; n < sizeof text - 1 && (got = read(ends[0], text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)got;
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text, "broken invariant: two == 3"));
    assert_non_null(strstr(text, "test_ensure.c:"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_true_does_nothing),
        cmocka_unit_test(test_false_aborts_and_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
