/* The contexts of asynchronous I/O in front of which consensus/raft_aio.c stands: which are kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdlib.h>
#include <unistd.h>

int io_setup(unsigned n, aio_context_t *ctx);
int io_destroy(aio_context_t ctx);
int io_submit(aio_context_t ctx, long n, struct iocb **what);
int io_getevents(aio_context_t ctx, long min, long n, struct io_event *events, struct timespec *timeout);

static int file;
static char text[8] = "written";

static int submit(aio_context_t ctx, int fd)
{
    struct iocb op = { .aio_lio_opcode = IOCB_CMD_PWRITE,
                       .aio_buf = (uintptr_t)text,
                       .aio_nbytes = sizeof text,
                       .aio_fildes = (uint32_t)fd };
    struct iocb *ops[] = { &op };
    return io_submit(ctx, 1, ops);
}

/* One that is done with is given out again, to who wants as many events; and it works. */
static void test_kept(void **state)
{
    (void)state;
    aio_context_t first = 0, other = 0, again = 0;
    assert_int_equal(io_setup(1, &first), 0);
    assert_int_equal(submit(first, file), 1);
    struct io_event event;
    assert_int_equal(io_getevents(first, 1, 1, &event, NULL), 1);
    assert_int_equal(event.res, sizeof text);
    assert_int_equal(io_destroy(first), 0);

    assert_int_equal(io_setup(2, &other), 0);
    assert_true(other != first);
    assert_int_equal(io_setup(1, &again), 0);
    assert_true(again == first);
    assert_int_equal(submit(again, file), 1);
    assert_int_equal(io_getevents(again, 1, 1, &event, NULL), 1);
    assert_int_equal(io_destroy(again), 0);
    assert_int_equal(io_destroy(other), 0);
}

/* One with a write under way, or whose event nobody has read, is destroyed; a write that was refused is none.
 */
static void test_not_kept(void **state)
{
    (void)state;
    aio_context_t ctx = 0, after = 0;
    assert_int_equal(io_setup(3, &ctx), 0);
    assert_int_equal(submit(ctx, file), 1);
    assert_int_equal(io_destroy(ctx), 0);
    struct timespec none = { 0 };
    struct io_event event;
    assert_int_equal(io_getevents(ctx, 0, 1, &event, &none), -1); /* the kernel knows it no more */

    ctx = 0;
    assert_int_equal(io_setup(3, &ctx), 0);
    assert_int_equal(submit(ctx, -1), -1);
    assert_int_equal(io_destroy(ctx), 0);
    assert_int_equal(io_setup(3, &after), 0);
    assert_true(after == ctx);
    assert_int_equal(io_destroy(after), 0);
}

/* More than are kept: made and destroyed, none twice at a time. */
static void test_many(void **state)
{
    (void)state;
    enum { MANY = 80 };
    aio_context_t all[MANY] = { 0 };
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < MANY; i++) {
            all[i] = 0;
            assert_int_equal(io_setup(1, &all[i]), 0);
            for (size_t j = 0; j < i; j++)
                assert_true(all[i] != all[j]);
        }
        for (size_t i = 0; i < MANY; i++)
            assert_int_equal(io_destroy(all[i]), 0);
    }
}

static int open_file(void **state)
{
    (void)state;
    char name[] = "/tmp/turnpike-aio-XXXXXX";
    file = mkstemp(name);
    return file < 0 ? -1 : unlink(name);
}

static int close_file(void **state)
{
    (void)state;
    return close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_not_kept),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, open_file, close_file);
}
