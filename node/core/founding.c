/* The first command of a cluster or of an epoch: see founding.h. */
#include "node/core/founding.h"

#include "base/err.h"
#include "consensus/command.h"
#include "node/cluster/ca.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

void founding_path(const char *dir, char *out, size_t cap)
{
    snprintf(out, cap, "%s/founding", dir);
}

static int write_file(const char *dir, const struct buf *b, struct buf *why)
{
    char path[560];
    founding_path(dir, path, sizeof path);
    if ((mkdir(dir, 0700) != 0 && errno != EEXIST) || (unlink(path) != 0 && errno != ENOENT)) {
        int err = -errno;
        buf_printf(why, "%s: %s", dir, err_text(err));
        return err;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int err = fd < 0 ? -errno : 0;
    ssize_t n = err == 0 ? write(fd, b->data, b->len) : 0;
    if (err == 0 && n != (ssize_t)b->len)
        err = n < 0 ? -errno : ERR_DISK_FULL;
    if (err == 0 && fsync(fd) != 0)
        err = -errno;
    if (fd >= 0)
        close(fd);
    if (err != 0)
        buf_printf(why, "%s: %s", path, err_text(err));
    return err;
}

/* A new authority, and this node's certificate of it. */
static int make(struct identity *id, struct buf *ca_key, struct ca_info *info)
{
    struct buf request;
    buf_init(&request, 32u << 10);
    buf_reset(&id->ca);
    buf_reset(&id->key);
    buf_reset(&id->certificate);
    id->has_secret = true;
    int err = getrandom(id->secret, sizeof id->secret, 0) == sizeof id->secret ? 0 : ERR_FAILED;
    if (err == 0)
        err = ca_make(id->self.cluster, id->self.epoch, id->secret, &id->ca, ca_key);
    if (err == 0)
        err = ca_make_request(id->name, &id->key, &request);
    if (err == 0)
        err = ca_issue(buf_span(&id->ca), buf_span(ca_key), id->secret, buf_span(&request), &id->self,
                       id->name, 0, &id->certificate);
    if (err == 0)
        err = ca_read(buf_span(&id->certificate), info);
    buf_fini(&request);
    return err;
}

int founding_write(const char *dir, struct identity *id, struct buf *why)
{
    struct buf ca_key, entry;
    struct ca_info info;
    buf_init(&ca_key, 32u << 10);
    buf_init(&entry, COMMAND_BYTES_MAX);
    int err = make(id, &ca_key, &info);
    if (err == 0) {
        struct command cmd = { .type = COMMAND_CLUSTER_INIT,
                               .cluster_init = { .epoch = id->self.epoch,
                                                 .ca_certificate = buf_span(&id->ca),
                                                 .ca_key = buf_span(&ca_key),
                                                 .name = span_str(id->name),
                                                 .raft_address = span_str(id->raft_address),
                                                 .gossip_address = span_str(id->gossip_address),
                                                 .certificate_sha256 =
                                                     span_of(info.sha256, sizeof info.sha256),
                                                 .version = span_str(TURNPIKE_VERSION),
                                                 .features = COMMAND_FEATURES } };
        memcpy(cmd.cluster_init.cluster, id->self.cluster, sizeof cmd.cluster_init.cluster);
        err = command_encode(&cmd, &entry);
    }
    if (err != 0)
        buf_printf(why, "the cluster's certificates cannot be made: %s", err_text(err));
    else
        err = write_file(dir, &entry, why);
    buf_fini(&ca_key);
    buf_fini(&entry);
    return err;
}
