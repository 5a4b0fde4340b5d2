/* The records that the replicated machine's state is made of: found by key, digested, and written to a
 * snapshot while they go on changing. Pure: no clock, no I/O. One thread.
 *
 * A record is a struct of its module's own with a store_rec first; its type says how to name, encode, decode
 * and free it. Every change of the state goes through three calls, and there is no other way to change it:
 *
 *     store_add(st, rec)      a new record; the store owns it
 *     store_touch(st, rec)    before any field of it is changed
 *     store_remove(st, rec)   frees it
 *
 * Snapshot. store_snapshot_begin marks the present state; store_snapshot_step then writes some records at a
 * time. A record that is touched or removed before its turn is written first, as it was (copy before write),
 * so what is written is the state of the mark, in an order that does not matter. Nothing stalls for longer
 * than one step.
 *
 * The order of arrival is kept by a snapshot, however its records lie in it.
 *
 * Digest. A 64-bit sum over all records of a keyed-by-nothing hash of their encoding: two stores with the
 * same records have the same digest, whatever their history. store_digest hashes again only what was touched
 * since; store_digest_ahead does so for all but the `keep` records touched last, so that a digest which is
 * wanted now and then doesn't hold up everything else, and records that change all the time are not hashed
 * each time.
 */
#ifndef CONSENSUS_STORE_H
#define CONSENSUS_STORE_H

#include "base/buf.h"
#include "base/cursor.h"
#include "base/list.h"
#include "base/map.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define STORE_KEY_MAX 1024 /* bytes */
#define STORE_TYPES_MAX 64

struct store_rec {
    struct list link;  /* of all records of its type, in order of arrival; the store's */
    struct list dirty; /* touched since the last digest; the store's */
    uint64_t sum;      /* its part of the digest when that was last computed */
    uint64_t
        seq; /* how many records were added to the store before it: the order of arrival, also in snapshots */
    uint32_t mark; /* the snapshot that has it already */
    uint8_t type;
};

/* A key that is a number. */
static inline struct span store_number_key(uint64_t v, char scratch[8])
{
    for (int i = 0; i < 8; i++)
        scratch[i] = (char)(uint8_t)(v >> (8 * i));
    return span_of(scratch, 8);
}

struct store_type {
    uint8_t id; /* in snapshots: never reused for anything else */
    const char *name;
    /* The key's bytes: unique within the type, never changed while the record is in the store. Points into
     * the record, or is written to `scratch`. */
    struct span (*key)(const struct store_rec *rec, char scratch[STORE_KEY_MAX]);
    /* All of it, key included; the same bytes for the same content. */
    void (*encode)(const struct store_rec *rec, struct buf *out);
    /* ERR_TORN, ERR_CORRUPT or -ENOMEM. */
    int (*decode)(struct cursor *c, struct store_rec **out);
    void (*free)(struct store_rec *rec);
};

struct store;

/* The types outlive the store. NULL: no memory. */
struct store *store_new(const struct store_type *const *types, uint32_t n);
void store_free(struct store *st);

struct store_rec *store_find(const struct store *st, const struct store_type *type, struct span key);
/* Takes rec on success. -ENOMEM; the key must not be there. */
int store_add(struct store *st, const struct store_type *type, struct store_rec *rec);
void store_touch(struct store *st, struct store_rec *rec);
void store_remove(struct store *st, struct store_rec *rec);
/* The records of a type: in order of arrival, which replay and restore keep the same on every node. */
struct list *store_all(const struct store *st, const struct store_type *type);
uint64_t store_len(const struct store *st, const struct store_type *type);

uint64_t store_digest(struct store *st);
void store_digest_ahead(struct store *st, size_t keep);
/* A record's part of it: of its type's id and its encoding. */
uint64_t store_hash(uint8_t id, struct span encoded);

/* ---- snapshot ------------------------------------------------------------------------------------------ */

/* One at a time. -ENOMEM */
int store_snapshot_begin(struct store *st);
/* Appends about `bytes` more to `out`, or less: it looks at some thousand records at most. 1: there is more, 0: that was all, or an error (-ENOMEM, ERR_LIMIT of
 * `out`), after which only store_snapshot_end may follow. */
int store_snapshot_step(struct store *st, struct buf *out, size_t bytes);
/* Swaps `out`, which must be empty, with the copies made since the last step: their place is before what the
 * next step writes, which need not copy them then. Only after the first step. */
void store_snapshot_copies(struct store *st, struct buf *out);
/* After the last step, or to give up. */
void store_snapshot_end(struct store *st);
/* Replaces the content by a snapshot's. After an error the store is empty. ERR_CORRUPT, ERR_TORN, -ENOMEM;
 * ERR_NOT_FOUND: a record of a type that this build does not know. */
int store_restore(struct store *st, struct cursor *c);

#endif
