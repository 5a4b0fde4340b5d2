/* The disk as a small table of functions, so that a simulated one can crash at every write, drop what was not
 * synced (data and directory entries), fail any call and be full at will. Errors are -errno. Any thread.
 */
#ifndef SPOOL_DISK_H
#define SPOOL_DISK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct disk {
    void *ctx;
    /* A handle (>= 0) or an error. `create` makes a new file and fails with -EEXIST if there is one. */
    int (*open_read)(void *ctx, const char *path);
    int (*create)(void *ctx, const char *path);
    int (*open_write)(void *ctx, const char *path);
    void (*close)(void *ctx, int fd);
    /* Bytes done (may be short) or an error. */
    ssize_t (*pwritev)(void *ctx, int fd, const struct iovec *iov, int n, uint64_t offset);
    ssize_t (*pread)(void *ctx, int fd, void *p, size_t n, uint64_t offset);
    int (*datasync)(void *ctx, int fd);
    int (*allocate)(void *ctx, int fd, uint64_t bytes); /* may be unsupported: -EOPNOTSUPP */
    int (*truncate)(void *ctx, int fd, uint64_t bytes);
    int64_t (*size)(void *ctx, int fd);
    int (*sync_dir)(void *ctx, const char *dir);
    int (*rename)(void *ctx, const char *from, const char *to);
    int (*unlink)(void *ctx, const char *path);
    int (*mkdir)(void *ctx, const char *path);
    /* Calls `each` per entry, without . and .. */
    int (*list)(void *ctx, const char *dir, int (*each)(void *arg, const char *name), void *arg);
    int64_t (*free_bytes)(void *ctx, const char *dir);
    /* An exclusive lock on the directory for the life of the process: -EWOULDBLOCK when another holds it. */
    int (*lock_dir)(void *ctx, const char *dir);
    void (*unlock_dir)(void *ctx, int lock);
};

extern const struct disk disk_real;

#endif
