/* How the files that libraft makes come to the disk: consensus/raft_files.c, which stands in front of these
 * functions here too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

static int file = -1;

static int begin(void **state)
{
    (void)state;
    char name[] = "files-XXXXXX"; /* here, on a disk: /tmp may be memory */
    file = mkstemp(name);
    return file < 0 ? -1 : unlink(name);
}

static int end(void **state)
{
    (void)state;
    return close(file);
}

/* Bytes of the file that only have their space reserved; -1: the file system does not say. */
static int64_t reserved_only(void)
{
    struct {
        struct fiemap map;
        struct fiemap_extent extents[64];
    } ask = { .map = {
                  .fm_length = FIEMAP_MAX_OFFSET, .fm_flags = FIEMAP_FLAG_SYNC, .fm_extent_count = 64 } };
    if (ioctl(file, FS_IOC_FIEMAP, &ask) != 0)
        return -1;
    int64_t n = 0;
    for (unsigned i = 0; i < ask.map.fm_mapped_extents; i++)
        if ((ask.map.fm_extents[i].fe_flags & FIEMAP_EXTENT_UNWRITTEN) != 0)
            n += (int64_t)ask.map.fm_extents[i].fe_length;
    return n;
}

static void is_zero_up_to(off_t n)
{
    char *all = malloc((size_t)n);
    assert_int_equal(pread(file, all, (size_t)n, 0), n);
    for (off_t i = 0; i < n; i++)
        assert_int_equal(all[i], 0);
    assert_int_equal(lseek(file, 0, SEEK_END), n);
    free(all);
}

/* All of it was written, so that an append changes nothing but its own blocks. */
static void test_a_segment_is_written_ahead(void **state)
{
    (void)state;
    enum { SEGMENT = 1 << 20 };
    int flags = fcntl(file, F_GETFL);
    assert_int_equal(posix_fallocate(file, 0, SEGMENT), 0);
    is_zero_up_to(SEGMENT);
    assert_int_equal(fcntl(file, F_GETFL), flags);
    int64_t left = reserved_only();
    if (left == -1)
        skip();
    assert_int_equal(left, 0);
}

static void test_any_length(void **state)
{
    (void)state;
    assert_int_equal(posix_fallocate(file, 0, 300001), 0);
    is_zero_up_to(300001);
}

static void test_no_room(void **state)
{
    (void)state;
    struct rlimit old, little = { .rlim_cur = 200000, .rlim_max = RLIM_INFINITY };
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    little.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    assert_int_equal(posix_fallocate(file, 0, 1 << 20), EFBIG);
    /* Of a snapshot likewise, when part of it is there. */
    static char bytes[300000];
    uv_buf_t buf = uv_buf_init(bytes, sizeof bytes);
    uv_fs_t req;
    assert_int_equal(uv_fs_write(NULL, &req, file, &buf, 1, 0, NULL), -EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(posix_fallocate(-1, 0, 4096), EBADF);
    assert_int_equal(uv_fs_write(NULL, &req, -1, &buf, 1, 0, NULL), -EBADF);
}

/* Of many buffers, small and large ones: every byte is in its place. */
static void test_a_snapshot_in_pieces(void **state)
{
    (void)state;
    static const size_t lengths[] = { 7, 131072, 0, 131073, 500000, 1 };
    enum { N = sizeof lengths / sizeof lengths[0] };
    uv_buf_t bufs[N];
    size_t total = 0, at = 100;
    for (size_t i = 0; i < N; i++) {
        bufs[i] = uv_buf_init(malloc(lengths[i] + 1), (unsigned)lengths[i]);
        for (size_t k = 0; k < lengths[i]; k++)
            bufs[i].base[k] = (char)((total + k) * 31 >> 3);
        total += lengths[i];
    }
    uv_fs_t req;
    assert_int_equal(uv_fs_write(NULL, &req, file, bufs, N, (int64_t)at, NULL), total);
    char *got = malloc(at + total);
    assert_int_equal(pread(file, got, at + total, 0), at + total);
    for (size_t k = 0; k < total; k++)
        assert_int_equal(got[at + k], (char)(k * 31 >> 3));
    for (size_t i = 0; i < N; i++)
        free(bufs[i].base);
    free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_segment_is_written_ahead, begin, end),
        cmocka_unit_test_setup_teardown(test_any_length, begin, end),
        cmocka_unit_test_setup_teardown(test_no_room, begin, end),
        cmocka_unit_test_setup_teardown(test_a_snapshot_in_pieces, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
