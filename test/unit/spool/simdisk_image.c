/* The simulated disk's contents: files and names as seen, as they are durable, the operations between the
 * two, and what of those survives a crash. */
#include "base/ensure.h"
#include "fixture.h"
#include "simdisk_impl.h"

#include <stdlib.h>
#include <string.h>

#define SECTOR 512u

/* ---- images ---- */

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

void image_write(struct image *im, uint64_t offset, const uint8_t *p, uint64_t n)
{
    if (offset + n > im->n)
        image_resize(im, offset + n);
    if (n > 0)
        memcpy(im->p + offset, p, n);
}

void image_copy(struct image *to, const struct image *from)
{
    image_resize(to, 0);
    if (from->n > 0)
        image_write(to, 0, from->p, from->n);
}

void op_apply(struct image *im, const struct op *op)
{
    if (op->kind == OP_WRITE)
        image_write(im, op->offset, op->data, op->n);
    else
        image_resize(im, op->n);
}

void ops_clear(struct inode *in)
{
    for (uint32_t i = 0; i < in->nops; i++)
        free(in->ops[i].data);
    free(in->ops);
    in->ops = NULL;
    in->nops = 0;
}

void op_add(struct inode *in, struct op op)
{
    in->ops = realloc(in->ops, (in->nops + 1) * sizeof *in->ops);
    ensure(in->ops != NULL);
    in->ops[in->nops++] = op;
    op_apply(&in->seen, &op);
}

/* ---- names ---- */

struct entry *dir_find(struct directory *d, const char *name)
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

void dir_apply(struct directory *d, const struct dir_op *op)
{
    if (op->kind != DIR_LINK)
        dir_remove(d, op->name);
    if (op->kind == DIR_LINK)
        dir_link(d, op->name, op->inode);
    if (op->kind == DIR_RENAME)
        dir_link(d, op->to, op->inode);
}

void dir_op_add(struct simdisk *d, struct dir_op op)
{
    d->dir_ops = realloc(d->dir_ops, (d->ndir_ops + 1) * sizeof *d->dir_ops);
    ensure(d->dir_ops != NULL);
    d->dir_ops[d->ndir_ops++] = op;
    dir_apply(&d->seen, &op);
}

/* ---- what survives ---- */

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
