/* The last event lines in memory. */
#include "node/telemetry/events_tail.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct events_tail_filter everything;

static void put(struct events_tail *t, const char *lines)
{
    events_tail_put(t, span_str(lines));
}

/* What is read, and whether there was a gap. */
static bool reads(struct events_tail *t, uint64_t *after, const struct events_tail_filter *f, uint32_t n,
                  const char *want)
{
    struct buf out;
    buf_init(&out, 1000);
    bool gap = events_tail_read(t, after, f, n, &out);
    assert_int_equal(out.len, strlen(want));
    assert_memory_equal(out.len == 0 ? "" : out.data, want, out.len);
    buf_fini(&out);
    return gap;
}

static void from_where_they_were(void **state)
{
    (void)state;
    struct events_tail *t = events_tail_new(1000, 100);
    uint64_t after = events_tail_back(t, &everything, 5);
    assert_int_equal(after, 99);
    assert_false(reads(t, &after, &everything, 9, ""));
    put(t, "a\nb\n");
    put(t, "c\n");
    assert_false(reads(t, &after, &everything, 1, "a\n"));
    assert_int_equal(after, 100);
    assert_false(reads(t, &after, &everything, 9, "b\nc\n"));
    assert_false(reads(t, &after, &everything, 9, ""));
    put(t, "d\n");
    assert_false(reads(t, &after, &everything, 9, "d\n"));
    assert_int_equal(after, 103);
    assert_int_equal(events_tail_last(t), 103);
    after = events_tail_back(t, &everything, 2);
    assert_false(reads(t, &after, &everything, 9, "c\nd\n"));
    after = events_tail_back(t, &everything, 0);
    assert_false(reads(t, &after, &everything, 9, ""));
    events_tail_free(t);
}

static void what_was_too_slow(void **state)
{
    (void)state;
    struct events_tail *t = events_tail_new(8, 1);
    uint64_t after = 0;
    put(t, "aaa\n");
    put(t, "bbb\n");
    assert_false(reads(t, &after, &everything, 1, "aaa\n"));
    put(t, "ccc\n");
    assert_false(reads(t, &after, &everything, 1, "bbb\n")); /* the next one there is */
    put(t, "ddd\n");
    put(t, "eee\n");
    assert_true(reads(t, &after, &everything, 9, "ddd\neee\n"));
    assert_false(reads(t, &after, &everything, 9, ""));
    after = 500; /* of another process */
    assert_true(reads(t, &after, &everything, 9, "ddd\neee\n"));
    put(t, "longer than all that is kept\n");
    assert_true(reads(t, &after, &everything, 9, ""));
    assert_int_equal(after, events_tail_last(t));
    events_tail_free(t);
}

static void what_fits(void **state)
{
    (void)state;
    struct events_tail *t = events_tail_new(1000, 1);
    struct events_tail_filter f = { .all = { SPAN_LIT("\"to\":\"x\"") }, .nall = 1 };
    uint64_t after = 0;
    put(t, "{\"is\":\"a\",\"to\":\"x\"}\n{\"is\":\"b\",\"to\":\"x\"}\n{\"is\":\"a\",\"to\":\"y\"}\n{\"is\":"
           "\"c\",\"to\":\"x\"}\n");
    f.any[f.nany++] = SPAN_LIT("\"is\":\"a\"");
    f.any[f.nany++] = SPAN_LIT("\"is\":\"c\"");
    assert_false(reads(t, &after, &f, 9, "{\"is\":\"a\",\"to\":\"x\"}\n{\"is\":\"c\",\"to\":\"x\"}\n"));
    assert_int_equal(after, 4);
    after = events_tail_back(t, &f, 1);
    assert_int_equal(after, 3);
    after = events_tail_back(t, &f, 2);
    assert_int_equal(after, 0);
    after = events_tail_back(t, &f, 3);
    assert_int_equal(after, 0);
    events_tail_free(t);
}

/* No more than there is room for, and none is lost for it. */
static void pieces(void **state)
{
    (void)state;
    struct events_tail *t = events_tail_new(1u << 20, 1);
    struct buf all, out;
    char line[32];
    buf_init(&all, 1u << 20);
    for (int i = 0; i < 20000; i++)
        buf_printf(&all, "line %d\n", i);
    events_tail_put(t, buf_span(&all));
    uint64_t after = 0;
    int next = 0;
    while (next < 20000) {
        buf_init(&out, 100);
        assert_false(events_tail_read(t, &after, &everything, UINT32_MAX, &out));
        assert_true(out.len > 0);
        for (size_t at = 0; at < out.len; next++) {
            size_t n = (size_t)snprintf(line, sizeof line, "line %d\n", next);
            assert_memory_equal(out.data + at, line, n);
            at += n;
        }
        buf_fini(&out);
    }
    assert_int_equal(after, 20000);
    buf_fini(&all);
    events_tail_free(t);
}

static void *writes(void *arg)
{
    char line[32];
    for (int i = 1; i <= 50000; i++) {
        snprintf(line, sizeof line, "%d\n", i);
        put(arg, line);
    }
    return NULL;
}

/* While lines come and go: in order, and where one is missing it is said. */
static void beside_the_writer(void **state)
{
    (void)state;
    struct events_tail *t = events_tail_new(2000, 1);
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, writes, t), 0);
    uint64_t after = 0;
    long last = 0;
    while (last < 50000) {
        struct buf out;
        buf_init(&out, 5000);
        bool gap = events_tail_read(t, &after, &everything, 100, &out);
        bool skipped = false;
        buf_put_char(&out, '\0');
        char *p = out.data;
        for (char *end; (end = strchr(p, '\n')) != NULL; p = end + 1) {
            long number = strtol(p, NULL, 10);
            assert_true(number > last);
            skipped = skipped || number != last + 1;
            last = number;
        }
        assert_true(gap || !skipped);
        buf_fini(&out);
    }
    pthread_join(writer, NULL);
    events_tail_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_where_they_were),
        cmocka_unit_test(what_was_too_slow),
        cmocka_unit_test(what_fits),
        cmocka_unit_test(pieces),
        cmocka_unit_test(beside_the_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
