/* A disk in memory that can lose what was not synced: the calls, their faults, and what tests ask and tell.
 * What it keeps is in simdisk_image.c. */
#include "base/ensure.h"
#include "simdisk_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- calls ---- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* Counts a call that changes something. True: the disk is dead; `dying` says that it died in this call, which
 * may still have happened in part. */
static bool change(struct simdisk *d, bool *dying)
{
    *dying = false;
    if (d->dead)
        return true;
    d->calls++;
    if (d->crash_at != 0 && d->calls >= d->crash_at)
        d->dead = *dying = true;
    return d->dead;
}

static bool faulty(struct simdisk *d, enum simdisk_fault fault)
{
    if (d->fault != fault || --d->fault_in > 0)
        return false;
    d->fault = SIMDISK_NO_FAULT;
    return true;
}

static uint64_t used(const struct simdisk *d)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < d->seen.n; i++)
        n += d->inodes[d->seen.e[i].inode].seen.n;
    return n;
}

static int sim_open(void *ctx, const char *path)
{
    struct simdisk *d = ctx;
    pthread_mutex_lock(&d->lock);
    const struct entry *e = dir_find(&d->seen, base_name(path));
    int fd = d->dead ? -EIO : e == NULL ? -ENOENT : (int)e->inode;
    pthread_mutex_unlock(&d->lock);
    return fd;
}

static int sim_create(void *ctx, const char *path)
{
    struct simdisk *d = ctx;
    bool dying;
    pthread_mutex_lock(&d->lock);
    bool dead = change(d, &dying);
    int fd = -EIO;
    if (!dead || dying) {
        if (faulty(d, SIMDISK_FAIL_CREATE)) {
            fd = d->fault_err;
        } else if (dir_find(&d->seen, base_name(path)) != NULL) {
            fd = -EEXIST;
        } else {
            d->inodes = realloc(d->inodes, (d->ninodes + 1) * sizeof *d->inodes);
            ensure(d->inodes != NULL);
            d->inodes[d->ninodes] = (struct inode){ 0 };
            struct dir_op op = { .kind = DIR_LINK, .inode = d->ninodes };
            snprintf(op.name, NAME_BYTES, "%s", base_name(path));
            dir_op_add(d, op);
            fd = dying ? -EIO : (int)d->ninodes;
            d->ninodes++;
        }
    }
    pthread_mutex_unlock(&d->lock);
    return fd;
}

static void sim_close(void *ctx, int fd)
{
    (void)ctx;
    (void)fd;
}

static ssize_t write_some(struct simdisk *d, int fd, const struct iovec *iov, int n, uint64_t offset,
                          uint64_t most)
{
    uint64_t total = 0;
    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    if (total > most)
        total = most;
    uint8_t *data = malloc(total + 1);
    ensure(data != NULL);
    uint64_t at = 0;
    for (int i = 0; i < n && at < total; i++) {
        uint64_t part = iov[i].iov_len < total - at ? iov[i].iov_len : total - at;
        if (part > 0)
            memcpy(data + at, iov[i].iov_base, part);
        at += part;
    }
    op_add(&d->inodes[fd], (struct op){ OP_WRITE, offset, total, data });
    return (ssize_t)total;
}

static ssize_t sim_pwritev(void *ctx, int fd, const struct iovec *iov, int n, uint64_t offset)
{
    struct simdisk *d = ctx;
    bool dying;
    ssize_t done = -EIO;
    pthread_mutex_lock(&d->lock);
    bool dead = change(d, &dying);
    uint64_t most = UINT64_MAX;
    if (d->capacity != 0) {
        uint64_t have = d->inodes[fd].seen.n;
        uint64_t room = d->capacity > used(d) ? d->capacity - used(d) : 0;
        most = have + room > offset ? have + room - offset : 0;
    }
    if (dying) {
        (void)write_some(d, fd, iov, n, offset, most);
    } else if (!dead) {
        if (faulty(d, SIMDISK_FAIL_WRITE)) {
            /* part of it may be there all the same */
            (void)write_some(d, fd, iov, n, offset, 700);
            done = d->fault_err;
        } else if (faulty(d, SIMDISK_SHORT_WRITE)) {
            done = write_some(d, fd, iov, n, offset, 700);
        } else {
            done = most == 0 ? -ENOSPC : write_some(d, fd, iov, n, offset, most);
        }
    }
    pthread_mutex_unlock(&d->lock);
    return done;
}

static ssize_t sim_pread(void *ctx, int fd, void *p, size_t n, uint64_t offset)
{
    struct simdisk *d = ctx;
    pthread_mutex_lock(&d->lock);
    const struct image *im = &d->inodes[fd].seen;
    ssize_t done = d->dead ? -EIO : 0;
    if (!d->dead && offset < im->n) {
        uint64_t part = im->n - offset < n ? im->n - offset : n;
        memcpy(p, im->p + offset, part);
        done = (ssize_t)part;
    }
    pthread_mutex_unlock(&d->lock);
    return done;
}

static void name_of(const struct simdisk *d, uint32_t inode, char out[NAME_BYTES])
{
    for (uint32_t i = 0; i < d->seen.n; i++)
        if (d->seen.e[i].inode == inode)
            memcpy(out, d->seen.e[i].name, NAME_BYTES);
}

static int sim_datasync(void *ctx, int fd)
{
    struct simdisk *d = ctx;
    bool dying;
    int err = -EIO;
    pthread_mutex_lock(&d->lock);
    if (!change(d, &dying)) {
        struct inode *in = &d->inodes[fd];
        if (faulty(d, SIMDISK_FAIL_SYNC)) {
            /* as Linux does: the pages are clean now, and not on disk; only reading them back seems to work
             */
            ops_clear(in);
            name_of(d, (uint32_t)fd, d->faulted_name);
            err = d->fault_err;
        } else {
            image_copy(&in->durable, &in->seen);
            ops_clear(in);
            d->syncs++;
            err = 0;
        }
    }
    pthread_mutex_unlock(&d->lock);
    return err;
}

static int sim_resize(void *ctx, int fd, uint64_t bytes, bool grow_only)
{
    struct simdisk *d = ctx;
    bool dying;
    int err = -EIO;
    pthread_mutex_lock(&d->lock);
    bool dead = change(d, &dying);
    if (!dead || dying) {
        const struct image *im = &d->inodes[fd].seen;
        bool more = bytes > im->n;
        if (!grow_only && faulty(d, SIMDISK_FAIL_TRUNCATE)) {
            err = d->fault_err;
        } else if (more && d->capacity != 0 && used(d) + (bytes - im->n) > d->capacity) {
            err = -ENOSPC;
        } else {
            if (more || !grow_only)
                op_add(&d->inodes[fd], (struct op){ OP_TRUNCATE, 0, bytes, NULL });
            err = dying ? -EIO : 0;
        }
    }
    pthread_mutex_unlock(&d->lock);
    return err;
}

static int sim_allocate(void *ctx, int fd, uint64_t bytes)
{
    return sim_resize(ctx, fd, bytes, true);
}

static int sim_truncate(void *ctx, int fd, uint64_t bytes)
{
    return sim_resize(ctx, fd, bytes, false);
}

static int64_t sim_size(void *ctx, int fd)
{
    struct simdisk *d = ctx;
    return (int64_t)d->inodes[fd].seen.n;
}

static int sim_sync_dir(void *ctx, const char *dir)
{
    struct simdisk *d = ctx;
    bool dying;
    int err = -EIO;
    (void)dir;
    pthread_mutex_lock(&d->lock);
    if (!change(d, &dying)) {
        if (faulty(d, SIMDISK_FAIL_SYNC_DIR)) {
            err = d->fault_err;
        } else {
            d->durable = d->seen;
            free(d->dir_ops);
            d->dir_ops = NULL;
            d->ndir_ops = 0;
            err = 0;
        }
    }
    pthread_mutex_unlock(&d->lock);
    return err;
}

static int sim_rename(void *ctx, const char *from, const char *to)
{
    struct simdisk *d = ctx;
    bool dying;
    int err = -EIO;
    pthread_mutex_lock(&d->lock);
    bool dead = change(d, &dying);
    const struct entry *e = dir_find(&d->seen, base_name(from));
    if (!dead || dying) {
        struct dir_op op = { .kind = DIR_RENAME, .inode = e == NULL ? 0 : e->inode };
        snprintf(op.name, NAME_BYTES, "%s", base_name(from));
        snprintf(op.to, NAME_BYTES, "%s", base_name(to));
        err = e == NULL ? -ENOENT : dying ? -EIO : 0;
        if (e != NULL)
            dir_op_add(d, op);
    }
    pthread_mutex_unlock(&d->lock);
    return err;
}

static int sim_unlink(void *ctx, const char *path)
{
    struct simdisk *d = ctx;
    bool dying;
    int err = -EIO;
    pthread_mutex_lock(&d->lock);
    if (!d->dead && dir_find(&d->seen, base_name(path)) == NULL) {
        pthread_mutex_unlock(&d->lock);
        return -ENOENT;
    }
    bool dead = change(d, &dying);
    if (!dead || dying) {
        struct dir_op op = { .kind = DIR_UNLINK };
        snprintf(op.name, NAME_BYTES, "%s", base_name(path));
        err = faulty(d, SIMDISK_FAIL_UNLINK) ? d->fault_err : dying ? -EIO : 0;
        if (err == 0 || dying)
            dir_op_add(d, op);
    }
    pthread_mutex_unlock(&d->lock);
    return err;
}

static int sim_mkdir(void *ctx, const char *path)
{
    (void)ctx;
    (void)path;
    return 0;
}

static int sim_list(void *ctx, const char *dir, int (*each)(void *arg, const char *name), void *arg)
{
    struct simdisk *d = ctx;
    (void)dir;
    if (d->dead)
        return -EIO;
    struct directory *now = malloc(sizeof *now); /* it may change meanwhile */
    ensure(now != NULL);
    *now = d->seen;
    int err = 0;
    for (uint32_t i = 0; i < now->n && err == 0; i++)
        err = each(arg, now->e[i].name);
    free(now);
    return err;
}

static int64_t sim_free_bytes(void *ctx, const char *dir)
{
    struct simdisk *d = ctx;
    (void)dir;
    if (d->capacity == 0)
        return INT64_MAX;
    uint64_t n = used(d);
    return n >= d->capacity ? 0 : (int64_t)(d->capacity - n);
}

static int sim_lock_dir(void *ctx, const char *dir)
{
    struct simdisk *d = ctx;
    (void)dir;
    if (d->dead)
        return -EIO;
    if (d->locked)
        return -EWOULDBLOCK;
    d->locked = true;
    return 0;
}

static void sim_unlock_dir(void *ctx, int lock)
{
    (void)lock;
    ((struct simdisk *)ctx)->locked = false;
}

/* ---- for tests ---- */

struct simdisk *simdisk_new(void)
{
    struct simdisk *d = calloc(1, sizeof *d);
    ensure(d != NULL);
    ensure(pthread_mutex_init(&d->lock, NULL) == 0);
    d->disk = (struct disk){ .ctx = d,
                             .open_read = sim_open,
                             .create = sim_create,
                             .open_write = sim_open,
                             .close = sim_close,
                             .pwritev = sim_pwritev,
                             .pread = sim_pread,
                             .datasync = sim_datasync,
                             .allocate = sim_allocate,
                             .truncate = sim_truncate,
                             .size = sim_size,
                             .sync_dir = sim_sync_dir,
                             .rename = sim_rename,
                             .unlink = sim_unlink,
                             .mkdir = sim_mkdir,
                             .list = sim_list,
                             .free_bytes = sim_free_bytes,
                             .lock_dir = sim_lock_dir,
                             .unlock_dir = sim_unlock_dir };
    return d;
}

void simdisk_free(struct simdisk *d)
{
    if (d == NULL)
        return;
    for (uint32_t i = 0; i < d->ninodes; i++) {
        ops_clear(&d->inodes[i]);
        free(d->inodes[i].seen.p);
        free(d->inodes[i].durable.p);
    }
    free(d->inodes);
    free(d->dir_ops);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

const struct disk *simdisk_disk(struct simdisk *d)
{
    return &d->disk;
}

uint64_t simdisk_calls(const struct simdisk *d)
{
    return d->calls;
}

void simdisk_crash_at(struct simdisk *d, uint64_t call)
{
    d->crash_at = call;
}

bool simdisk_dead(const struct simdisk *d)
{
    return d->dead;
}

void simdisk_fault(struct simdisk *d, enum simdisk_fault fault, uint32_t nth, int err)
{
    d->fault = fault;
    d->fault_in = nth;
    d->fault_err = err;
}

bool simdisk_faulted(const struct simdisk *d)
{
    return d->fault == SIMDISK_NO_FAULT;
}

const char *simdisk_faulted_name(const struct simdisk *d)
{
    return d->faulted_name;
}

void simdisk_capacity(struct simdisk *d, uint64_t bytes)
{
    d->capacity = bytes;
}

static struct inode *inode_of(const struct simdisk *d, const char *name)
{
    const struct entry *e = dir_find((struct directory *)(uintptr_t)&d->seen, name);
    return e == NULL ? NULL : &d->inodes[e->inode];
}

bool simdisk_rot(struct simdisk *d, const char *name, uint64_t offset)
{
    struct inode *in = inode_of(d, name);
    if (in == NULL || offset >= in->seen.n)
        return false;
    in->seen.p[offset] ^= 0x10;
    if (offset < in->durable.n)
        in->durable.p[offset] ^= 0x10;
    return true;
}

bool simdisk_exists(const struct simdisk *d, const char *name)
{
    return inode_of(d, name) != NULL;
}

int64_t simdisk_size(const struct simdisk *d, const char *name)
{
    const struct inode *in = inode_of(d, name);
    return in == NULL ? -1 : (int64_t)in->seen.n;
}

const uint8_t *simdisk_bytes(const struct simdisk *d, const char *name)
{
    const struct inode *in = inode_of(d, name);
    return in == NULL ? NULL : in->seen.p;
}

uint64_t simdisk_syncs(const struct simdisk *d)
{
    return d->syncs;
}

void simdisk_each(const struct simdisk *d, void (*each)(void *ctx, const char *name), void *ctx)
{
    for (uint32_t i = 0; i < d->seen.n; i++)
        each(ctx, d->seen.e[i].name);
}
