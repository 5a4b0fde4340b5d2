/* How libraft's files come to the disk, so that the log's appends wait as little as can be. The linker
 * (--wrap, raft.cmake) puts these functions in the place of those that libraft calls, in libuv's pool.
 *
 * Segments, which it makes ahead, are filled with zeros. It only has their space reserved: then the first
 * write to each part also changes the file's map of what was written, for which the write has to wait as
 * well: three writes and a flush for one append on ext4, instead of one write.
 *
 * Snapshots are written in pieces, each of which reaches the disk before the next one is begun. Else all of
 * it is written at the sync in the end, and appends wait behind it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <unistd.h>
#include <uv.h>

#define PIECE_BYTES 131072
#define ALIGNED 4096 /* for O_DIRECT */

/* The names that --wrap gives them. */
int __real_posix_fallocate(int fd, off_t at, off_t n);
int __wrap_posix_fallocate(int fd, off_t at, off_t n);
int __real_uv_fs_write(uv_loop_t *loop, uv_fs_t *req, uv_file fd, const uv_buf_t bufs[], unsigned n,
                       int64_t at, uv_fs_cb cb);
int __wrap_uv_fs_write(uv_loop_t *loop, uv_fs_t *req, uv_file fd, const uv_buf_t bufs[], unsigned n,
                       int64_t at, uv_fs_cb cb);

/* One piece at most. How much was written; or less than 0: an error number. */
static ssize_t write_some(int fd, const char *p, off_t n, off_t at)
{
    ssize_t done;
    do
        done = pwrite(fd, p, n < PIECE_BYTES ? (size_t)n : PIECE_BYTES, at);
    while (done < 0 && errno == EINTR);
    return done > 0 ? done : done < 0 ? -errno : -EIO;
}

/* ---- segments ------------------------------------------------------------------------------------------ */

static _Alignas(ALIGNED) const char zeros[PIECE_BYTES];

static int zero(int fd, off_t at, off_t n)
{
    for (off_t end = at + n; at < end;) {
        ssize_t done = write_some(fd, zeros, end - at, at);
        if (done < 0)
            return (int)-done;
        at += done;
    }
    return fdatasync(fd) == 0 ? 0 : errno;
}

/* 0, or an error number. Past the page cache, where the file system can. */
int __wrap_posix_fallocate(int fd, off_t at, off_t n)
{
    int err = __real_posix_fallocate(fd, at, n);
    if (err != 0)
        return err;
    int flags = fcntl(fd, F_GETFL);
    bool direct =
        flags != -1 && at % ALIGNED == 0 && n % ALIGNED == 0 && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
    err = zero(fd, at, n);
    if (direct && fcntl(fd, F_SETFL, flags) != 0)
        return errno;
    return direct && err == EINVAL ? zero(fd, at, n) : err;
}

/* ---- snapshots ----------------------------------------------------------------------------------------- */

/* How much was written; or less than 0: an error number. */
static int64_t write_pieces(uv_file fd, const uv_buf_t *buf, int64_t at)
{
    off_t len = (off_t)buf->len;
    for (off_t n = 0; n < len;) {
        ssize_t done = write_some(fd, buf->base + n, len - n, at + n);
        if (done < 0)
            return done;
        /* Only a pace: the sync in the end is what counts. */
        (void)sync_file_range(fd, at + n, done, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
        n += done;
    }
    return len;
}

int __wrap_uv_fs_write(uv_loop_t *loop, uv_fs_t *req, uv_file fd, const uv_buf_t bufs[], unsigned n,
                       int64_t at, uv_fs_cb cb)
{
    int64_t total = 0;
    for (unsigned i = 0; i < n; i++)
        total += (int64_t)bufs[i].len;
    if (cb != NULL || at < 0 || total <= PIECE_BYTES)
        return __real_uv_fs_write(loop, req, fd, bufs, n, at, cb);
    total = 0;
    for (unsigned i = 0; i < n; i++) {
        int64_t done = write_pieces(fd, &bufs[i], at + total);
        if (done < 0)
            return (int)done;
        total += done;
    }
    return (int)total;
}
