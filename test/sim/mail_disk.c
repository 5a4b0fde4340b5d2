/* The spool's disk: the simulated one of the spool's own tests, which knows what was synced, behind calls
 * that take their time. A thread that syncs waits; the sync takes place at the beginning or the end of that.
 */
#define SIM_STREAM SIM_STREAM_DISK
#include "test/sim/mail.h"

#include <stdlib.h>

static struct sim_server *disk_of(void *ctx)
{
    return ctx;
}

static const struct disk *below(void *ctx)
{
    return simdisk_disk(disk_of(ctx)->spool_disk);
}

/* Until the disk has done it. */
static void wait_for_disk(struct sim_server *s)
{
    if (!thread_is())
        return;
    int64_t due_ns = s->boot_ns + sim.disk_ns / 2 + (int64_t)sim_random((uint64_t)sim.disk_ns);
    do {
        (void)thread_wait(NULL, due_ns);
        due_ns = s->boot_ns + SIM_STEP_NS;
    } while (s->disk.busy_until_ns > sim.now_ns);
    sim_step(SIM_STEP_DISK, s->i, 256);
}

#define CALL(expression)                                                                                     \
    do {                                                                                                     \
        struct sim_server *was = memory_enter(NULL);                                                         \
        __typeof__(expression) result = expression;                                                          \
        (void)memory_enter(was);                                                                             \
        return result;                                                                                       \
    } while (0)

static int spool_open_read(void *ctx, const char *path)
{
    CALL(below(ctx)->open_read(below(ctx)->ctx, path));
}

static int spool_create(void *ctx, const char *path)
{
    CALL(below(ctx)->create(below(ctx)->ctx, path));
}

static int spool_open_write(void *ctx, const char *path)
{
    CALL(below(ctx)->open_write(below(ctx)->ctx, path));
}

static void spool_close_file(void *ctx, int fd)
{
    below(ctx)->close(below(ctx)->ctx, fd);
}

static ssize_t spool_pwritev(void *ctx, int fd, const struct iovec *iov, int n, uint64_t offset)
{
    CALL(below(ctx)->pwritev(below(ctx)->ctx, fd, iov, n, offset));
}

static ssize_t spool_pread(void *ctx, int fd, void *p, size_t n, uint64_t offset)
{
    CALL(below(ctx)->pread(below(ctx)->ctx, fd, p, n, offset));
}

static int synced(void *ctx, int fd, const char *dir)
{
    const struct disk *d = below(ctx);
    struct sim_server *was = memory_enter(NULL);
    bool early = sim_random(2) == 0;
    int err = 0;
    for (int k = 0; k < 2; k++) {
        if (early == (k == 0))
            err = dir != NULL ? d->sync_dir(d->ctx, dir) : d->datasync(d->ctx, fd);
        else
            wait_for_disk(disk_of(ctx));
    }
    (void)memory_enter(was);
    return err;
}

static int spool_datasync(void *ctx, int fd)
{
    return synced(ctx, fd, NULL);
}

static int spool_sync_dir(void *ctx, const char *dir)
{
    return synced(ctx, -1, dir);
}

static int spool_allocate(void *ctx, int fd, uint64_t bytes)
{
    CALL(below(ctx)->allocate(below(ctx)->ctx, fd, bytes));
}

static int spool_truncate(void *ctx, int fd, uint64_t bytes)
{
    CALL(below(ctx)->truncate(below(ctx)->ctx, fd, bytes));
}

static int64_t spool_size(void *ctx, int fd)
{
    CALL(below(ctx)->size(below(ctx)->ctx, fd));
}

static int spool_rename(void *ctx, const char *from, const char *to)
{
    CALL(below(ctx)->rename(below(ctx)->ctx, from, to));
}

static int spool_unlink(void *ctx, const char *path)
{
    CALL(below(ctx)->unlink(below(ctx)->ctx, path));
}

static int spool_mkdir(void *ctx, const char *path)
{
    CALL(below(ctx)->mkdir(below(ctx)->ctx, path));
}

/* Without what the process's own `each` allocates being lost. */
static int spool_list(void *ctx, const char *dir, int (*each)(void *arg, const char *name), void *arg)
{
    return below(ctx)->list(below(ctx)->ctx, dir, each, arg);
}

static int64_t spool_free_bytes(void *ctx, const char *dir)
{
    CALL(below(ctx)->free_bytes(below(ctx)->ctx, dir));
}

static int spool_lock_dir(void *ctx, const char *dir)
{
    (void)ctx;
    (void)dir;
    return 0;
}

static void spool_unlock_dir(void *ctx, int lock)
{
    (void)ctx;
    (void)lock;
}

const struct disk *mail_disk(struct sim_server *s)
{
    static struct disk disks[SIM_SERVERS_MAX];
    struct sim_server *was = memory_enter(NULL);
    if (s->spool_disk == NULL)
        s->spool_disk = simdisk_new();
    (void)memory_enter(was);
    disks[s->i] = (struct disk){ .ctx = s,
                                 .open_read = spool_open_read,
                                 .create = spool_create,
                                 .open_write = spool_open_write,
                                 .close = spool_close_file,
                                 .pwritev = spool_pwritev,
                                 .pread = spool_pread,
                                 .datasync = spool_datasync,
                                 .allocate = spool_allocate,
                                 .truncate = spool_truncate,
                                 .size = spool_size,
                                 .sync_dir = spool_sync_dir,
                                 .rename = spool_rename,
                                 .unlink = spool_unlink,
                                 .mkdir = spool_mkdir,
                                 .list = spool_list,
                                 .free_bytes = spool_free_bytes,
                                 .lock_dir = spool_lock_dir,
                                 .unlock_dir = spool_unlock_dir };
    return &disks[s->i];
}
