/* The small files in the cluster's folder that outlive a restart: who is frozen on this node alone, what to
 * do when cut off, that the node is fenced.
 */
#include "base/err.h"
#include "node/core/cluster_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

void cluster_file_path(const struct cluster *c, const char *name, char out[CLUSTER_PATH_MAX])
{
    snprintf(out, CLUSTER_PATH_MAX, "%s/%s", c->dir, name);
}

static int write_synced(const char *path, struct span content)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int err = 0;
    for (size_t at = 0; err == 0 && at < content.n;) {
        ssize_t n = write(fd, content.p + at, content.n - at);
        if (n < 0 && errno != EINTR)
            err = -errno;
        at += n > 0 ? (size_t)n : 0;
    }
    if (err == 0 && fsync(fd) != 0)
        err = -errno;
    close(fd);
    return err;
}

int cluster_file_replace(const struct cluster *c, const char *name, struct span content)
{
    char path[CLUSTER_PATH_MAX], fresh[CLUSTER_PATH_MAX + 4];
    cluster_file_path(c, name, path);
    snprintf(fresh, sizeof fresh, "%s.new", path);
    int err = write_synced(fresh, content);
    return err == 0 && rename(fresh, path) != 0 ? -errno : err;
}

int cluster_file_remove(const struct cluster *c, const char *name)
{
    char path[CLUSTER_PATH_MAX];
    cluster_file_path(c, name, path);
    return unlink(path) == 0 || errno == ENOENT ? 0 : -errno;
}

int cluster_files_sync(const struct cluster *c)
{
    int fd = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int err = fsync(fd) != 0 ? -errno : 0;
    close(fd);
    return err;
}
