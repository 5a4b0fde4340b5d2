/* Replacing the accounts file so that a reader, and a crash, sees the old one or the new one and nothing
 * between. */
#include "node/auth/file.h"

#include "base/err.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_TRIES 100 /* of 100 ms */

static int fault(struct buf *why, const char *path, const char *what, int err)
{
    if (why != NULL)
        buf_printf(why, "%s: %s: %s\n", path, what, err_text(err));
    return err;
}

static int dir_open(const char *path)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL ? 0 : (size_t)(slash - path);
    if (n >= sizeof dir)
        return -ENAMETOOLONG;
    memcpy(dir, path, n);
    dir[n] = '\0';
    int fd = open(slash == NULL ? "." : n == 0 ? "/" : dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int account_file_lock(const char *path, struct buf *why)
{
    char name[PATH_MAX];
    if (snprintf(name, sizeof name, "%s.lock", path) >= (int)sizeof name)
        return fault(why, path, "cannot lock", -ENAMETOOLONG);
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fault(why, name, "cannot lock", -errno);
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return fd;
        if (errno != EWOULDBLOCK && errno != EINTR)
            break;
        nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
    }
    int err = errno == EWOULDBLOCK ? ERR_BUSY : -errno;
    close(fd);
    return fault(why, name, err == ERR_BUSY ? "somebody else is editing the accounts" : "cannot lock", err);
}

/* The old file's owner and mode, or for a new one the directory's owner: the node reads it, root edits it. */
static int set_owner(int fd, int dir, const char *path)
{
    struct stat st;
    mode_t mode = 0640;
    if (stat(path, &st) == 0)
        mode = st.st_mode & 0770;
    else if (errno != ENOENT || fstat(dir, &st) != 0)
        return -errno;
    if (geteuid() == 0 && fchown(fd, st.st_uid, st.st_gid) != 0)
        return -errno;
    return fchmod(fd, mode) == 0 ? 0 : -errno;
}

int account_file_replace(const char *path, struct span text, struct buf *why)
{
    char temp[PATH_MAX];
    if (snprintf(temp, sizeof temp, "%s.new-XXXXXX", path) >= (int)sizeof temp)
        return fault(why, path, "cannot write", -ENAMETOOLONG);
    int dir = dir_open(path);
    if (dir < 0)
        return fault(why, path, "cannot open its directory", dir);
    int fd = mkostemp(temp, O_CLOEXEC);
    int err = fd < 0 ? -errno : set_owner(fd, dir, path);
    if (err == 0)
        err = file_write_all(fd, text);
    if (err == 0 && fsync(fd) != 0)
        err = -errno;
    if (fd >= 0 && close(fd) != 0 && err == 0)
        err = -errno;
    if (err == 0 && rename(temp, path) != 0)
        err = -errno;
    if (err != 0 && fd >= 0)
        unlink(temp);
    if (err == 0 && fsync(dir) != 0)
        err = -errno;
    close(dir);
    return err == 0 ? 0 : fault(why, path, "cannot write", err);
}
