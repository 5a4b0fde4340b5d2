/* The real disk: thin wrappers over the system calls. Errors are -errno. Any thread. */
#include "spool/disk.h"

#include "base/err.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int real_open(const char *path, int flags)
{
    int fd;
    do
        fd = open(path, flags | O_CLOEXEC, 0600);
    while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : fd;
}

static int real_open_read(void *ctx, const char *path)
{
    (void)ctx;
    return real_open(path, O_RDONLY);
}

static int real_create(void *ctx, const char *path)
{
    (void)ctx;
    return real_open(path, O_RDWR | O_CREAT | O_EXCL);
}

static int real_open_write(void *ctx, const char *path)
{
    (void)ctx;
    return real_open(path, O_RDWR);
}

static void real_close(void *ctx, int fd)
{
    (void)ctx;
    close(fd);
}

static ssize_t real_pwritev(void *ctx, int fd, const struct iovec *iov, int n, uint64_t offset)
{
    (void)ctx;
    ssize_t done;
    do
        done = pwritev(fd, iov, n, (off_t)offset);
    while (done < 0 && errno == EINTR);
    return done < 0 ? -errno : done;
}

static ssize_t real_pread(void *ctx, int fd, void *p, size_t n, uint64_t offset)
{
    (void)ctx;
    ssize_t done;
    do
        done = pread(fd, p, n, (off_t)offset);
    while (done < 0 && errno == EINTR);
    return done < 0 ? -errno : done;
}

static int real_datasync(void *ctx, int fd)
{
    (void)ctx;
    /* never repeated, not after EINTR either: a failed sync leaves pages clean that are not on disk */
    return fdatasync(fd) == 0 ? 0 : -errno;
}

static int real_allocate(void *ctx, int fd, uint64_t bytes)
{
    (void)ctx;
    return fallocate(fd, 0, 0, (off_t)bytes) == 0 ? 0 : -errno;
}

static int real_truncate(void *ctx, int fd, uint64_t bytes)
{
    (void)ctx;
    return ftruncate(fd, (off_t)bytes) == 0 ? 0 : -errno;
}

static int64_t real_size(void *ctx, int fd)
{
    (void)ctx;
    struct stat st;
    return fstat(fd, &st) == 0 ? (int64_t)st.st_size : -errno;
}

static int real_sync_dir(void *ctx, const char *dir)
{
    (void)ctx;
    int fd = real_open(dir, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return fd;
    int err = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return err;
}

static int real_rename(void *ctx, const char *from, const char *to)
{
    (void)ctx;
    return rename(from, to) == 0 ? 0 : -errno;
}

static int real_unlink(void *ctx, const char *path)
{
    (void)ctx;
    return unlink(path) == 0 ? 0 : -errno;
}

static int real_mkdir(void *ctx, const char *path)
{
    (void)ctx;
    return mkdir(path, 0700) == 0 ? 0 : -errno;
}

static int real_list(void *ctx, const char *dir, int (*each)(void *arg, const char *name), void *arg)
{
    (void)ctx;
    DIR *d = opendir(dir);
    if (d == NULL)
        return -errno;
    int err = 0;
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (e == NULL) {
            err = -errno;
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        err = each(arg, e->d_name);
        if (err != 0)
            break;
    }
    closedir(d);
    return err;
}

static int64_t real_free_bytes(void *ctx, const char *dir)
{
    (void)ctx;
    struct statvfs st;
    if (statvfs(dir, &st) != 0)
        return -errno;
    return (int64_t)((uint64_t)st.f_bavail * st.f_frsize);
}

static int real_lock_dir(void *ctx, const char *dir)
{
    (void)ctx;
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/lock", dir);
    if (n < 0 || (size_t)n >= sizeof path)
        return -ENAMETOOLONG;
    int fd = real_open(path, O_RDWR | O_CREAT);
    if (fd < 0)
        return fd;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

static void real_unlock_dir(void *ctx, int lock)
{
    (void)ctx;
    close(lock); /* the file stays: removing it would let two processes lock two files of one name */
}

const struct disk disk_real = {
    .open_read = real_open_read,
    .create = real_create,
    .open_write = real_open_write,
    .close = real_close,
    .pwritev = real_pwritev,
    .pread = real_pread,
    .datasync = real_datasync,
    .allocate = real_allocate,
    .truncate = real_truncate,
    .size = real_size,
    .sync_dir = real_sync_dir,
    .rename = real_rename,
    .unlink = real_unlink,
    .mkdir = real_mkdir,
    .list = real_list,
    .free_bytes = real_free_bytes,
    .lock_dir = real_lock_dir,
    .unlock_dir = real_unlock_dir,
};
