/* The small files in the cluster's folder that outlive a restart: who is frozen on this node alone, what to
 * do when cut off, that the node is fenced.
 */
#include "base/file.h"
#include "node/core/cluster_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

void cluster_file_path(const struct cluster *c, const char *name, char out[CLUSTER_PATH_MAX])
{
    snprintf(out, CLUSTER_PATH_MAX, "%s/%s", c->dir, name);
}

int cluster_file_replace(const struct cluster *c, const char *name, struct span content)
{
    char path[CLUSTER_PATH_MAX];
    cluster_file_path(c, name, path);
    return file_replace(path, content);
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
