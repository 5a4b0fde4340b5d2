/* Records of one type in order of their keys' bytes: for listing by name, page by page, among a million. Two
 * levels: an array of blocks, each an array of records; about 22 bytes a record. Rebuilt from the store,
 * never written. Pure; under the machine's lock.
 */
#ifndef CONSENSUS_DIRECTORY_INDEX_H
#define CONSENSUS_DIRECTORY_INDEX_H

#include "consensus/store.h"

struct directory_block;

struct directory_index {
    const struct store_type *type; /* whose keys these are */
    struct directory_block **blocks;
    size_t nblocks, cap;
    size_t len;
};

void directory_index_init(struct directory_index *ix, const struct store_type *type);
void directory_index_fini(struct directory_index *ix);
/* -ENOMEM; the key must not be there. */
int directory_index_add(struct directory_index *ix, struct store_rec *rec);
/* While the record still has its key. It must be there. */
void directory_index_remove(struct directory_index *ix, const struct store_rec *rec);
/* Puts another record with the same key in its place. */
void directory_index_replace(struct directory_index *ix, const struct store_rec *old, struct store_rec *rec);

/* A place between two records; any change of the index makes it invalid. */
struct directory_place {
    size_t block, i;
};
/* Before the first key that is greater than `after` (empty: before all). */
struct directory_place directory_index_after(const struct directory_index *ix, struct span after);
/* The record behind the place, which moves on; NULL at the end. */
struct store_rec *directory_index_next(const struct directory_index *ix, struct directory_place *at);

#endif
