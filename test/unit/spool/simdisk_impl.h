/* What the files of the simulated disk share; tests include simdisk.h. */
#ifndef TEST_SPOOL_SIMDISK_IMPL_H
#define TEST_SPOOL_SIMDISK_IMPL_H

#include "simdisk.h"

#include <pthread.h>

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

void image_write(struct image *im, uint64_t offset, const uint8_t *p, uint64_t n);
void image_copy(struct image *to, const struct image *from);

void op_apply(struct image *im, const struct op *op);
/* Seen at once, durable after a sync; takes the data over. */
void op_add(struct inode *in, struct op op);
void ops_clear(struct inode *in);

struct entry *dir_find(struct directory *d, const char *name);
void dir_apply(struct directory *d, const struct dir_op *op);
void dir_op_add(struct simdisk *d, struct dir_op op);

#endif
