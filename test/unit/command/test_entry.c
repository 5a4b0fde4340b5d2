/* Raft entries: header, commands, padding; and what is refused. */
#include "base/err.h"
#include "consensus/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void put_grant(struct buf *out, uint32_t i)
{
    struct command c = { .type = COMMAND_GRANT,
                         .origin = { 640, i + 1, 1 },
                         .grant = { SPAN_LIT("anna@example.org"), SPAN_LIT("example.org"), 0, i, i + 1 } };
    assert_int_equal(command_encode(&c, out), 0);
}

static void make(struct buf *out, uint32_t n, uint64_t now_ms)
{
    buf_init(out, COMMAND_ENTRY_BYTES_MAX);
    assert_int_equal(command_entry_begin(out, now_ms), 0);
    for (uint32_t i = 0; i < n; i++)
        put_grant(out, i);
    assert_int_equal(command_entry_end(out, n), 0);
    assert_int_equal(out->len % 8, 0);
}

/* 0: header and all commands are right. */
static int read_all(const void *p, size_t n, struct command_entry *e)
{
    void *block = malloc(n == 0 ? 1 : n);
    assert_non_null(block);
    if (n != 0)
        memcpy(block, p, n);
    struct cursor c;
    cursor_init(&c, block, n);
    int err = command_entry_decode(&c, e);
    struct command cmd;
    for (uint32_t i = 0; err == 0 && i < e->n; i++)
        err = command_decode(&c, &cmd);
    if (err == 0 && cursor_left(&c) != 0)
        err = ERR_CORRUPT;
    free(block);
    return err;
}

static void test_there_and_back(void **state)
{
    (void)state;
    static const uint64_t times[] = { 0, 1, UINT64_MAX };
    for (uint32_t n = 0; n <= COMMAND_ENTRY_MAX; n++) {
        struct buf b;
        struct command_entry e;
        make(&b, n, times[n % 3]);
        assert_int_equal(read_all(b.data, b.len, &e), 0);
        assert_int_equal(e.n, n);
        assert_true(e.now_ms == times[n % 3]);
        buf_fini(&b);
    }
}

static void test_bounds(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, SIZE_MAX);
    assert_int_equal(command_entry_begin(&b, 1), 0);
    assert_int_equal(command_entry_end(&b, COMMAND_ENTRY_MAX + 1), ERR_LIMIT);
    assert_int_equal(buf_reserve(&b, COMMAND_ENTRY_BYTES_MAX), 0);
    memset(b.data + b.len, 0, COMMAND_ENTRY_BYTES_MAX);
    b.len += COMMAND_ENTRY_BYTES_MAX;
    assert_int_equal(command_entry_end(&b, 1), ERR_LIMIT);
    buf_fini(&b);

    /* A full entry and the largest command that there is still fit. */
    make(&b, 40, 1);
    b.len = 16;
    while (b.len < COMMAND_ENTRY_BYTES)
        put_grant(&b, 1);
    static char chunk[COMMAND_CHUNK_MAX];
    struct command c = { .type = COMMAND_POLICY_CHUNK, .policy_chunk = { .bytes = { chunk, sizeof chunk } } };
    assert_int_equal(command_encode(&c, &b), 0);
    assert_int_equal(command_entry_end(&b, 60), 0);
    buf_fini(&b);
}

static void test_cut_anywhere(void **state)
{
    (void)state;
    struct buf b;
    struct command_entry e;
    make(&b, 3, 77);
    for (size_t n = 0; n < b.len; n++)
        assert_int_equal(read_all(b.data, n, &e), ERR_TORN);
    buf_fini(&b);
}

static void test_any_byte_changed(void **state)
{
    (void)state;
    struct buf b;
    struct command_entry e;
    make(&b, 3, 77);
    for (size_t at = 0; at < b.len; at++)
        for (unsigned v = 0; v < 256; v++) {
            char was = b.data[at];
            b.data[at] = (char)(uint8_t)v;
            int err = read_all(b.data, b.len, &e);
            assert_true(err == 0 || err == ERR_TORN || err == ERR_CORRUPT || err == ERR_NOT_FOUND);
            b.data[at] = was;
        }
    buf_fini(&b);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        size_t at; /* 1000: one of the padding; 1001: eight zeros more */
        uint8_t v;
        int err;
    } cases[] = {
        { 0, 2, ERR_NOT_FOUND },                    /* a later format */
        { 0, 0, ERR_CORRUPT },                      /* none */
        { 1, COMMAND_FEATURES + 1, ERR_NOT_FOUND }, /* a higher feature level */
        { 1, 0, ERR_CORRUPT },
        { 2, COMMAND_ENTRY_MAX + 1, ERR_CORRUPT }, /* too many commands */
        { 2, 4, ERR_TORN },                        /* one more than there is */
        { 2, 2, ERR_CORRUPT },                     /* one that is not counted */
        { 7, 1, ERR_CORRUPT },                     /* longer than any */
        { 1000, 1, ERR_CORRUPT },
        { 1001, 0, ERR_CORRUPT },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf b;
        struct command_entry e;
        make(&b, 3, 77);
        if (cases[i].at == 1001) {
            assert_int_equal(buf_put(&b, "\0\0\0\0\0\0\0", 8), 0);
        } else if (cases[i].at == 1000) {
            assert_int_not_equal(b.data[4] & 7, 0); /* there is padding */
            b.data[b.len - 1] = (char)cases[i].v;
        } else {
            b.data[cases[i].at] = (char)cases[i].v;
        }
        assert_int_equal(read_all(b.data, b.len, &e), cases[i].err);
        buf_fini(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_cut_anywhere),   cmocka_unit_test(test_any_byte_changed),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
