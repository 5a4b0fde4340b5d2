/* A disk in memory that can lose what was not synced. */
#include "simdisk.h"

#include "base/ensure.h"
#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512u
#define NAME_BYTES 64
#define FILES_MAX 512

enum op_kind { OP_WRITE, OP_TRUNCATE };

struct op {
    enum op_kind kind;
    uint64_t offset, n;
    uint8_t *data;
};

struct image {
    uint8_t *p;
    uint64_t n, cap;
};

struct inode {
    struct image seen, durable;
    struct op *ops;
    uint32_t nops;
};

struct entry {
    char name[NAME_BYTES];
    uint32_t inode;
};

struct directory {
    struct entry e[FILES_MAX];
    uint32_t n;
};

enum dir_kind { DIR_LINK, DIR_UNLINK, DIR_RENAME };

struct dir_op {
    enum dir_kind kind;
    char name[NAME_BYTES], to[NAME_BYTES];
    uint32_t inode;
};

struct simdisk {
    struct disk disk;
    pthread_mutex_t lock;
    struct inode *inodes;
    uint32_t ninodes;
    struct directory seen, durable;
    struct dir_op *dir_ops;
    uint32_t ndir_ops;
    uint64_t calls, crash_at, syncs, capacity;
    enum simdisk_fault fault;
    uint32_t fault_in;
    int fault_err;
    bool dead, locked;
    char faulted_name[NAME_BYTES];
};

/* ---- images -------------------------------------------------------------------------------------------- */

static void image_resize(struct image *im, uint64_t n)
{
    if (n > im->cap) {
        im->cap = n * 2;
        im->p = realloc(im->p, im->cap);
        ensure(im->p != NULL);
    }
    if (n > im->n)
        memset(im->p + im->n, 0, n - im->n);
    im->n = n;
}

static void image_write(struct image *im, uint64_t offset, const uint8_t *p, uint64_t n)
{
    if (offset + n > im->n)
        image_resize(im, offset + n);
    if (n > 0)
        memcpy(im->p + offset, p, n);
}

static void image_copy(struct image *to, const struct image *from)
{
    image_resize(to, 0);
    if (from->n > 0)
        image_write(to, 0, from->p, from->n);
}

static void op_apply(struct image *im, const struct op *op)
{
    if (op->kind == OP_WRITE)
        image_write(im, op->offset, op->data, op->n);
    else
        image_resize(im, op->n);
}

static void ops_clear(struct inode *in)
{
    for (uint32_t i = 0; i < in->nops; i++)
        free(in->ops[i].data);
    free(in->ops);
    in->ops = NULL;
    in->nops = 0;
}

static void op_add(struct inode *in, struct op op)
{
    in->ops = realloc(in->ops, (in->nops + 1) * sizeof *in->ops);
    ensure(in->ops != NULL);
    in->ops[in->nops++] = op;
    op_apply(&in->seen, &op);
}

/* ---- names --------------------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static struct entry *dir_find(struct directory *d, const char *name)
{
    for (uint32_t i = 0; i < d->n; i++)
        if (strcmp(d->e[i].name, name) == 0)
            return &d->e[i];
    return NULL;
}

static void dir_remove(struct directory *d, const char *name)
{
    struct entry *e = dir_find(d, name);
    if (e != NULL)
        *e = d->e[--d->n];
}

static void dir_link(struct directory *d, const char *name, uint32_t inode)
{
    dir_remove(d, name);
    ensure(d->n < FILES_MAX);
    snprintf(d->e[d->n].name, NAME_BYTES, "%s", name);
    d->e[d->n++].inode = inode;
}

static void dir_apply(struct directory *d, const struct dir_op *op)
{
    if (op->kind != DIR_LINK)
        dir_remove(d, op->name);
    if (op->kind == DIR_LINK)
        dir_link(d, op->name, op->inode);
    if (op->kind == DIR_RENAME)
        dir_link(d, op->to, op->inode);
}

static void dir_op_add(struct simdisk *d, struct dir_op op)
{
    d->dir_ops = realloc(d->dir_ops, (d->ndir_ops + 1) * sizeof *d->dir_ops);
    ensure(d->dir_ops != NULL);
    d->dir_ops[d->ndir_ops++] = op;
    dir_apply(&d->seen, &op);
}

/* ---- calls --------------------------------------------------------------------------------------------- */

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

/* ---- for tests ----------------------------------------------------------------------------------------- */

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

static void sectors_apply(struct image *im, const struct op *op, uint64_t *rng, uint32_t survive_of_256)
{
    if (op->kind != OP_WRITE) {
        if ((rng_next(rng) & 255) < survive_of_256)
            op_apply(im, op);
        return;
    }
    for (uint64_t at = 0; at < op->n;) {
        uint64_t part = SECTOR - (op->offset + at) % SECTOR;
        part = part < op->n - at ? part : op->n - at;
        if ((rng_next(rng) & 255) < survive_of_256)
            image_write(im, op->offset + at, op->data + at, part);
        at += part;
    }
}

static void inode_after(struct inode *to, const struct inode *from, enum simdisk_survival how, uint64_t *rng)
{
    image_copy(&to->durable, &from->durable);
    if (how == SIMDISK_EVERYTHING) {
        /* still in the page cache: a power cut after this can take it away */
        image_copy(&to->seen, &from->seen);
        to->ops = calloc(from->nops + 1, sizeof *to->ops);
        ensure(to->ops != NULL);
        for (to->nops = 0; to->nops < from->nops; to->nops++) {
            struct op *op = &to->ops[to->nops];
            *op = from->ops[to->nops];
            op->data = malloc(op->n + 1);
            ensure(op->data != NULL);
            if (op->kind == OP_WRITE && op->n > 0)
                memcpy(op->data, from->ops[to->nops].data, op->n);
        }
        return;
    }
    if (how == SIMDISK_PREFIX && from->nops > 0) {
        uint32_t n = (uint32_t)(rng_next(rng) % (from->nops + 1));
        for (uint32_t i = 0; i < n; i++)
            op_apply(&to->durable, &from->ops[i]);
        if (n < from->nops) {
            struct op torn = from->ops[n];
            if (torn.kind == OP_WRITE)
                torn.n = rng_next(rng) % (torn.n / SECTOR + 1) * SECTOR;
            op_apply(&to->durable, &torn);
        }
    }
    if (how == SIMDISK_SUBSET) {
        static const uint32_t shares[] = { 25, 128, 230 };
        uint32_t share = shares[rng_next(rng) % 3];
        for (uint32_t i = 0; i < from->nops; i++)
            sectors_apply(&to->durable, &from->ops[i], rng, share);
    }
    image_copy(&to->seen, &to->durable);
}

struct simdisk *simdisk_after(const struct simdisk *d, enum simdisk_survival how, uint64_t seed)
{
    struct simdisk *n = simdisk_new();
    uint64_t rng = seed;
    n->ninodes = d->ninodes;
    n->inodes = calloc(d->ninodes + 1, sizeof *n->inodes);
    ensure(n->inodes != NULL);
    for (uint32_t i = 0; i < d->ninodes; i++)
        inode_after(&n->inodes[i], &d->inodes[i], how, &rng);
    n->durable = d->durable;
    uint32_t upto = how == SIMDISK_PREFIX ? (uint32_t)(rng_next(&rng) % (d->ndir_ops + 1)) : d->ndir_ops;
    for (uint32_t i = 0; i < upto; i++)
        if (how == SIMDISK_PREFIX || (how == SIMDISK_SUBSET && (rng_next(&rng) & 1) != 0))
            dir_apply(&n->durable, &d->dir_ops[i]);
    n->seen = n->durable;
    if (how == SIMDISK_EVERYTHING) {
        n->seen = d->seen;
        n->dir_ops = calloc(d->ndir_ops + 1, sizeof *n->dir_ops);
        ensure(n->dir_ops != NULL);
        for (; n->ndir_ops < d->ndir_ops; n->ndir_ops++)
            n->dir_ops[n->ndir_ops] = d->dir_ops[n->ndir_ops];
    }
    n->capacity = d->capacity;
    return n;
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
