/* The sorted index: see directory_index.h. */
#include "consensus/directory_index.h"

#include "base/ensure.h"

#include <errno.h>
#include <stdlib.h>

#define BLOCK_LEN 256

/* With the eight bytes of each key that follow what all of the block begin with: so a search looks at few
 * records, each of which is somewhere else in memory. */
struct directory_block {
    uint32_t n;    /* never 0 */
    uint32_t skip; /* bytes that all keys have in common, or fewer */
    uint64_t parts[BLOCK_LEN];
    struct store_rec *recs[BLOCK_LEN];
};

void directory_index_init(struct directory_index *ix, const struct store_type *type)
{
    *ix = (struct directory_index){ .type = type };
}

void directory_index_fini(struct directory_index *ix)
{
    for (size_t i = 0; i < ix->nblocks; i++)
        free(ix->blocks[i]);
    free(ix->blocks);
    directory_index_init(ix, ix->type);
}

static int compare_keys(struct span a, struct span b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n == 0 ? 0 : memcmp(a.p, b.p, n);
    if (c != 0)
        return c;
    return a.n < b.n ? -1 : a.n > b.n;
}

static int compare(const struct directory_index *ix, const struct store_rec *rec, struct span key)
{
    char scratch[STORE_KEY_MAX];
    return compare_keys(ix->type->key(rec, scratch), key);
}

static uint32_t common(struct span a, struct span b)
{
    uint32_t n = 0;
    while (n < a.n && n < b.n && a.p[n] == b.p[n])
        n++;
    return n;
}

/* In the order of the keys; equal ones say nothing, since an end counts as zeros. */
static uint64_t part_of(struct span key, uint32_t skip)
{
    uint64_t part = 0;
    for (size_t i = skip; i < (size_t)skip + 8; i++)
        part = part << 8 | (i < key.n ? (uint8_t)key.p[i] : 0);
    return part;
}

/* `also` is a key that the block is about to get. */
static void set_skip(const struct directory_index *ix, struct directory_block *b, struct span also)
{
    char first[STORE_KEY_MAX], other[STORE_KEY_MAX];
    struct span key = ix->type->key(b->recs[0], first);
    b->skip = common(key, ix->type->key(b->recs[b->n - 1], other));
    if (also.n != 0 && common(key, also) < b->skip)
        b->skip = common(key, also);
    for (uint32_t i = 0; i < b->n; i++)
        b->parts[i] = part_of(ix->type->key(b->recs[i], other), b->skip);
}

/* Smaller, greater or (0) alike in what all keys of the block begin with. */
static int compare_prefix(const struct directory_index *ix, const struct directory_block *b, struct span key)
{
    char scratch[STORE_KEY_MAX];
    struct span prefix = { ix->type->key(b->recs[0], scratch).p, b->skip };
    return compare_keys((struct span){ key.p, key.n < b->skip ? key.n : b->skip }, prefix);
}

/* The last block whose first key is not greater; 0 when all are. */
static size_t find_block(const struct directory_index *ix, struct span key)
{
    size_t lo = 0, hi = ix->nblocks;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (compare(ix, ix->blocks[mid]->recs[0], key) <= 0)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* The first record of the block whose key is greater, or (`or_equal`) not smaller. */
static size_t find_in_block(const struct directory_index *ix, const struct directory_block *b,
                            struct span key, bool or_equal)
{
    int prefix = compare_prefix(ix, b, key);
    if (prefix != 0)
        return prefix < 0 ? 0 : b->n;
    uint64_t part = part_of(key, b->skip);
    size_t lo = 0, hi = b->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = b->parts[mid] < part ? -1 : b->parts[mid] > part ? 1 : compare(ix, b->recs[mid], key);
        if (c > 0 || (or_equal && c == 0))
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

static int insert_block(struct directory_index *ix, size_t at, struct directory_block *b)
{
    if (ix->nblocks == ix->cap) {
        size_t cap = ix->cap == 0 ? 16 : ix->cap * 2;
        struct directory_block **blocks = realloc(ix->blocks, cap * sizeof(struct directory_block *));
        if (blocks == NULL)
            return -ENOMEM;
        ix->blocks = blocks;
        ix->cap = cap;
    }
    memmove(ix->blocks + at + 1, ix->blocks + at, (ix->nblocks - at) * sizeof(struct directory_block *));
    ix->blocks[at] = b;
    ix->nblocks++;
    return 0;
}

/* Makes a new block behind `at`, with the records from `from` on. */
static int split(struct directory_index *ix, size_t at, uint32_t from)
{
    struct directory_block *b = malloc(sizeof *b);
    if (b == NULL)
        return -ENOMEM;
    struct directory_block *old = ix->blocks[at];
    int err = insert_block(ix, at + 1, b);
    if (err != 0) {
        free(b);
        return err;
    }
    b->n = old->n - from;
    memcpy(b->recs, old->recs + from, b->n * sizeof(struct store_rec *));
    old->n = from;
    set_skip(ix, old, (struct span){ 0 });
    set_skip(ix, b, (struct span){ 0 });
    return 0;
}

static int add_first(struct directory_index *ix, struct store_rec *rec)
{
    struct directory_block *b = malloc(sizeof *b);
    if (b == NULL)
        return -ENOMEM;
    b->n = 1;
    b->recs[0] = rec;
    set_skip(ix, b, (struct span){ 0 });
    int err = insert_block(ix, 0, b);
    if (err != 0)
        free(b);
    else
        ix->len = 1;
    return err;
}

int directory_index_add(struct directory_index *ix, struct store_rec *rec)
{
    if (ix->nblocks == 0)
        return add_first(ix, rec);
    char scratch[STORE_KEY_MAX];
    struct span key = ix->type->key(rec, scratch);
    size_t at = find_block(ix, key);
    size_t i = find_in_block(ix, ix->blocks[at], key, true);
    if (ix->blocks[at]->n == BLOCK_LEN) {
        /* Names that come in order fill blocks instead of leaving them half empty. */
        uint32_t from = at + 1 == ix->nblocks && i == BLOCK_LEN ? BLOCK_LEN - 1 : BLOCK_LEN / 2;
        int err = split(ix, at, from);
        if (err != 0)
            return err;
        if (i > from) {
            at++;
            i -= from;
        }
    }
    struct directory_block *b = ix->blocks[at];
    if (compare_prefix(ix, b, key) != 0)
        set_skip(ix, b, key);
    memmove(b->recs + i + 1, b->recs + i, (b->n - i) * sizeof(struct store_rec *));
    memmove(b->parts + i + 1, b->parts + i, (b->n - i) * sizeof b->parts[0]);
    b->recs[i] = rec;
    b->parts[i] = part_of(key, b->skip);
    b->n++;
    ix->len++;
    return 0;
}

static struct store_rec **slot_of(const struct directory_index *ix, const struct store_rec *rec,
                                  struct directory_place *at)
{
    char scratch[STORE_KEY_MAX];
    struct span key = ix->type->key(rec, scratch);
    ensure(ix->nblocks != 0);
    at->block = find_block(ix, key);
    struct directory_block *b = ix->blocks[at->block];
    at->i = find_in_block(ix, b, key, true);
    ensure(at->i < b->n);
    ensure(b->recs[at->i] == rec);
    return &b->recs[at->i];
}

/* Joins a block with the one behind it, when both fit well into one. */
static void join(struct directory_index *ix, size_t at)
{
    if (at + 1 >= ix->nblocks || ix->blocks[at]->n + ix->blocks[at + 1]->n > BLOCK_LEN / 2)
        return;
    struct directory_block *a = ix->blocks[at], *b = ix->blocks[at + 1];
    memcpy(a->recs + a->n, b->recs, b->n * sizeof(struct store_rec *));
    a->n += b->n;
    set_skip(ix, a, (struct span){ 0 });
    free(b);
    ix->nblocks--;
    memmove(ix->blocks + at + 1, ix->blocks + at + 2,
            (ix->nblocks - at - 1) * sizeof(struct directory_block *));
}

void directory_index_remove(struct directory_index *ix, const struct store_rec *rec)
{
    struct directory_place at;
    (void)slot_of(ix, rec, &at);
    struct directory_block *b = ix->blocks[at.block];
    b->n--;
    memmove(b->recs + at.i, b->recs + at.i + 1, (b->n - at.i) * sizeof(struct store_rec *));
    memmove(b->parts + at.i, b->parts + at.i + 1, (b->n - at.i) * sizeof b->parts[0]);
    ix->len--;
    if (b->n == 0) {
        free(b);
        ix->nblocks--;
        memmove(ix->blocks + at.block, ix->blocks + at.block + 1,
                (ix->nblocks - at.block) * sizeof(struct directory_block *));
        return;
    }
    join(ix, at.block);
    if (at.block > 0)
        join(ix, at.block - 1);
}

void directory_index_replace(struct directory_index *ix, const struct store_rec *old, struct store_rec *rec)
{
    struct directory_place at;
    *slot_of(ix, old, &at) = rec;
}

struct directory_place directory_index_after(const struct directory_index *ix, struct span after)
{
    if (after.n == 0 || ix->nblocks == 0)
        return (struct directory_place){ 0 };
    size_t at = find_block(ix, after);
    return (struct directory_place){ at, find_in_block(ix, ix->blocks[at], after, false) };
}

struct store_rec *directory_index_next(const struct directory_index *ix, struct directory_place *at)
{
    if (at->block < ix->nblocks && at->i == ix->blocks[at->block]->n)
        *at = (struct directory_place){ at->block + 1, 0 };
    return at->block >= ix->nblocks ? NULL : ix->blocks[at->block]->recs[at->i++];
}
