/* base/log: one line per call whatever the text holds, levels, the journal's prefix, threads that don't mix.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int saved;
static FILE *captured;

static void capture(void)
{
    captured = tmpfile();
    assert_non_null(captured);
    fflush(stderr);
    saved = dup(STDERR_FILENO);
    dup2(fileno(captured), STDERR_FILENO);
}

/* What was logged; the caller frees it. */
static char *release(void)
{
    dup2(saved, STDERR_FILENO);
    close(saved);
    long n = ftell(captured);
    fseek(captured, 0, SEEK_END);
    n = ftell(captured);
    rewind(captured);
    char *text = calloc(1, (size_t)n + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)n, captured), n);
    fclose(captured);
    return text;
}

static size_t lines_in(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

static void test_no_line_can_be_forged(void **state)
{
    (void)state;
    capture();
    log_info("smtp", "helo %s", "x\r\n2026-01-01 error spool: forged\x1b[2J\xe2\x80\xa8\xff\\");
    char *text = release();
    assert_int_equal(lines_in(text), 1);
    assert_non_null(strstr(text, " info smtp: helo x\\x0d\\x0a2026"));
    assert_non_null(strstr(text, "\\x1b[2J\\xe2\\x80\\xa8\\xff\\\\\n"));
    free(text);
}

static void test_levels_and_journal(void **state)
{
    (void)state;
    capture();
    log_debug("a", "hidden");
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("a", "shown");
    log_trace("a", "hidden, being a library's");
    log_set_level(LOG_LEVEL_TRACE);
    log_trace("a", "a step");
    log_set_level(LOG_LEVEL_ERROR);
    log_warn("a", "hidden too");
    log_set_journal(1);
    log_error("b", "bad");
    log_set_level(LOG_LEVEL_TRACE);
    log_trace("b", "no journal has such a level");
    log_set_journal(0);
    log_set_level(LOG_LEVEL_INFO);
    char *text = release();
    assert_null(strstr(text, "hidden"));
    assert_non_null(strstr(text, " debug a: shown\n"));
    assert_non_null(strstr(text, " trace a: a step\n"));
    assert_non_null(strstr(text, "\n<3>b: bad\n<7>b: no journal"));
    free(text);
}

static void test_long_text_is_cut(void **state)
{
    (void)state;
    char *wide = malloc(100001);
    assert_non_null(wide);
    memset(wide, 'x', 100000);
    wide[100000] = '\0';
    capture();
    log_info("a", "%s", wide);
    memset(wide, '\x01', 100000); /* each byte becomes four */
    log_info("a", "%s", wide);
    char *text = release();
    assert_int_equal(lines_in(text), 2);
    assert_true(strlen(text) < 16384);
    free(text);
    free(wide);
}

static void *write_many(void *arg)
{
    for (int i = 0; i < 200; i++)
        log_info("thread", "begin %s end", (const char *)arg);
    return NULL;
}

static void test_threads_do_not_mix(void **state)
{
    (void)state;
    capture();
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, write_many, "0123456789012345678901234567890123456789"), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    char *text = release();
    assert_int_equal(lines_in(text), 800);
    char *at = text;
    for (char *line; (line = strsep(&at, "\n")) != NULL && *line != '\0';)
        assert_non_null(strstr(line, "info thread: begin 0123456789012345678901234567890123456789 end"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_line_can_be_forged),
        cmocka_unit_test(test_levels_and_journal),
        cmocka_unit_test(test_long_text_is_cut),
        cmocka_unit_test(test_threads_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
