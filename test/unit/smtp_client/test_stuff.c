/* Dot-stuffing: known cases, every way to cut them, and random content against a plain model of the rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "node/smtp/client.h"

static void stuff_cut(struct buf *out, const char *p, size_t n, size_t step)
{
    struct smtp_stuff st = { .at_line_start = true };
    buf_reset(out);
    for (size_t at = 0; at < n; at += step) {
        size_t take = n - at < step ? n - at : step;
        assert_int_equal(smtp_stuff_put(&st, p + at, take, out), 0);
    }
    assert_int_equal(smtp_stuff_end(&st, out), 0);
}

static void expect(const char *in, size_t n, const char *want)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    for (size_t step = 1; step <= n + 1; step++) {
        stuff_cut(&out, in, n, step);
        buf_put_char(&out, '\0');
        assert_string_equal(out.data, want);
    }
    buf_fini(&out);
}

#define STUFF(in, want) expect(in, sizeof(in) - 1, want)

static void known(void **state)
{
    (void)state;
    STUFF("", ".\r\n");
    STUFF("a\r\n", "a\r\n.\r\n");
    STUFF("a", "a\r\n.\r\n");
    STUFF(".", "..\r\n.\r\n");
    STUFF(".\r\n", "..\r\n.\r\n");
    STUFF("..\r\n", "...\r\n.\r\n");
    STUFF("a\r\n.b\r\n..\r\nc.d\r\n", "a\r\n..b\r\n...\r\nc.d\r\n.\r\n");
    STUFF("a\r\n\r\n.\r\n", "a\r\n\r\n..\r\n.\r\n");
    STUFF("\r\n", "\r\n.\r\n");
}

/* Each of the sequences with which mail was smuggled: none may leave as an end of data. */
static void smuggling(void **state)
{
    (void)state;
    STUFF("a\n.\nb\r\n", "a\r\n..\r\nb\r\n.\r\n");
    STUFF("a\n.\rb\r\n", "a\r\n.. b\r\n.\r\n");
    STUFF("a\r.\nb\r\n", "a .\r\nb\r\n.\r\n");
    STUFF("a\r.\rb\r\n", "a . b\r\n.\r\n");
    STUFF("a\n.\r\nb\r\n", "a\r\n..\r\nb\r\n.\r\n");
    STUFF("a\r.\r\nb\r\n", "a .\r\nb\r\n.\r\n");
    STUFF("a\r\n.\nb\r\n", "a\r\n..\r\nb\r\n.\r\n");
    STUFF("a\r\n.\rb\r\n", "a\r\n.. b\r\n.\r\n");
    STUFF("a\r\n\0.\r\nb\r\n", "a\r\n .\r\nb\r\n.\r\n");
    STUFF("a\r\n.\0\r\nb\r\n", "a\r\n.. \r\nb\r\n.\r\n");
    STUFF("a\r\n.\r\r\nb\r\n", "a\r\n.. \r\nb\r\n.\r\n");
    STUFF("a\r\r\n.\r\r\nb\r\n", "a \r\n.. \r\nb\r\n.\r\n");
    STUFF("a\r", "a\r\n.\r\n");
    STUFF("a\r\r", "a \r\n.\r\n");
}

/* One byte at a time, as the rules say it. */
static void model(struct buf *out, const char *p, size_t n)
{
    bool start = true;
    buf_reset(out);
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\r' && i + 1 < n && p[i + 1] == '\n')
            continue;
        if (p[i] == '\n' || (p[i] == '\r' && i + 1 == n)) {
            buf_put_str(out, "\r\n");
            start = true;
            continue;
        }
        if (start && p[i] == '.')
            buf_put_char(out, '.');
        buf_put_char(out, p[i] == '\r' || p[i] == '\0' ? ' ' : p[i]);
        start = false;
    }
    buf_put_str(out, start ? ".\r\n" : "\r\n.\r\n");
}

static void against_model(void **state)
{
    (void)state;
    struct buf out, want;
    buf_init(&out, 1 << 16);
    buf_init(&want, 1 << 16);
    srand(7);
    for (int round = 0; round < 20000; round++) {
        char in[300];
        size_t n = (size_t)(rand() % 300);
        int odd = rand() % 3; /* a third of the rounds has clean line ends only */
        for (size_t i = 0; i < n; i++) {
            int c = rand() % 12;
            if (c == 0 && i + 1 < n) {
                in[i++] = '\r';
                in[i] = '\n';
            } else if (odd > 0 && c == 1) {
                in[i] = "\r\n\0"[rand() % 3];
            } else {
                in[i] = c < 4 ? '.' : 'x';
            }
        }
        model(&want, in, n);
        stuff_cut(&out, in, n, n == 0 ? 1 : 1 + (size_t)rand() % n);
        assert_int_equal(out.len, want.len);
        assert_memory_equal(out.data, want.data, want.len);
    }
    buf_fini(&out);
    buf_fini(&want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known),
        cmocka_unit_test(smuggling),
        cmocka_unit_test(against_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
