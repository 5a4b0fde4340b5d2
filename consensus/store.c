/* The records of the replicated machine's state. One open-addressing table a type, with the hashes beside the
 * pointers, so that growing it reads no record. It grows a little with each change: all nodes would else
 * stand still at the same entry. Iteration is by list only: the tables' order depends on the process.
 *
 * A snapshot is: magic, format, the number that the next record gets; then records as (type, seq, length,
 * bytes), in any order; then type 0, their number, and the sum of their hashes, which is the digest at the
 * mark.
 */
#include "consensus/store.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/hash.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#define MAGIC 0x73707474u
#define FORMAT 1
#define STEP_RECORDS 2048 /* that one step of a snapshot looks at: each may be a cache miss */

#define MOVED_SLOTS 16 /* of a table that is replaced, with each change */

struct table {
    struct store_rec **recs;
    uint32_t *hashes;
    size_t cap; /* a power of two, or 0 */
    uint64_t len;
};

struct kind {
    const struct store_type *type;
    struct list all;
    uint64_t len;
    struct table now;
    struct table old; /* cap > 0: what is left in it is on its way to `now` */
    size_t at; /* the next slot of `old`; the one before it is empty, and so are those that were moved */
};

struct store {
    uint32_t nkinds;
    struct kind kinds[STORE_TYPES_MAX];
    uint8_t index[256]; /* kind + 1 of a type's id; 0: none */
    uint64_t next_seq;
    struct list dirty; /* touched longest ago first */
    size_t ndirty;
    uint64_t digest; /* of all that is not dirty */
    struct buf scratch;
    uint32_t mark;
    struct snapshot {
        bool on;
        bool begun; /* the head was written */
        int err;
        uint32_t kind;     /* that is being walked */
        struct list *next; /* the record whose turn it is */
        uint64_t seq;      /* next_seq at the mark */
        uint64_t n, sum;   /* written so far, copies included */
        struct buf copies; /* of records that changed before their turn */
    } snap;
};

static inline struct store_rec *rec_of(struct list *link)
{
    return LIST_ITEM(link, struct store_rec, link);
}

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 m = (unsigned __int128)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* Not against an adversary (its input is what the majority agreed upon): it must be the same in every
 * process. */
uint64_t store_hash(uint8_t id, struct span encoded)
{
    const char *p = encoded.p;
    size_t n = encoded.n;
    uint64_t h = mix(0x9e3779b97f4a7c15u ^ n, 0xe7037ed1a0b428dbu ^ ((uint64_t)id << 32));
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t w;
        memcpy(&w, p, sizeof w);
        h = mix(h ^ le64toh(w), 0xa0761d6478bd642fu) + 0x8ebc6af09c88c6e3u;
    }
    uint64_t w = 1;
    for (size_t i = 0; i < n; i++)
        w = w << 8 | (uint8_t)p[i];
    h = mix(h ^ w, 0x589965cc75374cc3u);
    return mix(h ^ (h >> 32), 0x1d8e4e27c47d124fu) ^ h;
}

/* ---- tables ----------------------------------------------------------------------------------------------
 */

static struct kind *kind_of(const struct store *st, const struct store_type *type)
{
    ensure(st->index[type->id] != 0);
    struct kind *k = (struct kind *)&st->kinds[st->index[type->id] - 1];
    ensure(k->type == type);
    return k;
}

static inline uint32_t key_hash(struct span key)
{
    uint64_t h = hash_bytes(key.p, key.n);
    return (uint32_t)(h ^ (h >> 32));
}

static struct store_rec *table_find(const struct table *t, const struct store_type *type, uint32_t hash,
                                    struct span key)
{
    if (t->cap == 0)
        return NULL;
    char scratch[STORE_KEY_MAX];
    for (size_t i = hash & (t->cap - 1); t->recs[i] != NULL; i = (i + 1) & (t->cap - 1))
        if (t->hashes[i] == hash && span_eq(type->key(t->recs[i], scratch), key))
            return t->recs[i];
    return NULL;
}

static struct store_rec *kind_find(const struct kind *k, uint32_t hash, struct span key)
{
    struct store_rec *rec = table_find(&k->now, k->type, hash, key);
    return rec != NULL ? rec : table_find(&k->old, k->type, hash, key);
}

static int table_init(struct table *t, size_t cap)
{
    *t = (struct table){ .recs = calloc(cap, sizeof(struct store_rec *)),
                         .hashes = malloc(cap * sizeof(uint32_t)),
                         .cap = cap };
    if (t->recs != NULL && t->hashes != NULL)
        return 0;
    free(t->recs);
    free(t->hashes);
    return -ENOMEM;
}

static void table_fini(struct table *t)
{
    free(t->recs);
    free(t->hashes);
    *t = (struct table){ 0 };
}

static void table_add(struct table *t, uint32_t hash, struct store_rec *rec)
{
    size_t i = hash & (t->cap - 1);
    while (t->recs[i] != NULL)
        i = (i + 1) & (t->cap - 1);
    t->recs[i] = rec;
    t->hashes[i] = hash;
    t->len++;
}

static bool table_remove(struct table *t, uint32_t hash, const struct store_rec *rec)
{
    if (t->cap == 0)
        return false;
    size_t mask = t->cap - 1;
    size_t hole = hash & mask;
    while (t->recs[hole] != rec) {
        if (t->recs[hole] == NULL)
            return false;
        hole = (hole + 1) & mask;
    }
    for (size_t j = (hole + 1) & mask; t->recs[j] != NULL; j = (j + 1) & mask) {
        size_t home = t->hashes[j] & mask;
        if (((j - home) & mask) >= ((j - hole) & mask)) {
            t->recs[hole] = t->recs[j];
            t->hashes[hole] = t->hashes[j];
            hole = j;
        }
    }
    t->recs[hole] = NULL;
    t->len--;
    return true;
}

/* So many slots, and then up to an empty one: what is left must be found without those before it. */
static void kind_move(struct kind *k, size_t slots)
{
    struct table *old = &k->old;
    for (bool last = false; old->len > 0 && !(last && slots == 0); slots -= slots > 0) {
        struct store_rec *rec = old->recs[k->at];
        last = rec == NULL;
        if (rec != NULL) {
            table_add(&k->now, old->hashes[k->at], rec);
            old->recs[k->at] = NULL;
            old->len--;
        }
        k->at = (k->at + 1) & (old->cap - 1);
    }
    if (old->len == 0)
        table_fini(old);
}

static int kind_resize(struct kind *k, size_t cap)
{
    struct table t;
    int err = table_init(&t, cap);
    if (err != 0)
        return err;
    kind_move(k, SIZE_MAX); /* nothing, but for many changes the other way */
    k->old = k->now;
    k->now = t;
    k->at = 0;
    while (k->old.cap > 0 && k->old.recs[k->at] != NULL)
        k->at++;
    kind_move(k, 0);
    return 0;
}

static int kind_add(struct kind *k, uint32_t hash, struct store_rec *rec)
{
    if ((k->len + 1) * 4 > k->now.cap * 3) {
        int err = kind_resize(k, k->now.cap == 0 ? 16 : k->now.cap * 2);
        if (err != 0)
            return err;
    }
    kind_move(k, MOVED_SLOTS);
    table_add(&k->now, hash, rec);
    k->len++;
    return 0;
}

static void kind_remove(struct kind *k, uint32_t hash, const struct store_rec *rec)
{
    bool there = table_remove(&k->now, hash, rec) || table_remove(&k->old, hash, rec);
    ensure(there);
    k->len--;
    kind_move(k, MOVED_SLOTS);
    if (k->old.cap == 0 && k->now.cap > 64 && k->len * 8 < k->now.cap)
        (void)kind_resize(k, k->now.cap / 2); /* keeping the larger table is no error */
}

/* ---- records ---------------------------------------------------------------------------------------------
 */

struct store *store_new(const struct store_type *const *types, uint32_t n)
{
    ensure(n <= STORE_TYPES_MAX);
    struct store *st = calloc(1, sizeof *st);
    if (st == NULL)
        return NULL;
    buf_init(&st->scratch, SIZE_MAX);
    buf_init(&st->snap.copies, SIZE_MAX);
    list_init(&st->dirty);
    for (uint32_t i = 0; i < n; i++) {
        ensure(types[i]->id != 0);
        ensure(st->index[types[i]->id] == 0);
        st->index[types[i]->id] = (uint8_t)(i + 1);
        st->kinds[i].type = types[i];
        list_init(&st->kinds[i].all);
    }
    st->nkinds = n;
    return st;
}

static void clear(struct store *st)
{
    for (uint32_t i = 0; i < st->nkinds; i++) {
        struct kind *k = &st->kinds[i];
        for (struct list *link; (link = list_pop_front(&k->all)) != NULL;)
            k->type->free(rec_of(link));
        table_fini(&k->now);
        table_fini(&k->old);
        k->len = 0;
    }
    list_init(&st->dirty);
    st->digest = st->next_seq = 0;
    st->ndirty = 0;
}

void store_free(struct store *st)
{
    if (st == NULL)
        return;
    clear(st);
    buf_fini(&st->scratch);
    buf_fini(&st->snap.copies);
    free(st);
}

struct store_rec *store_find(const struct store *st, const struct store_type *type, struct span key)
{
    return kind_find(kind_of(st, type), key_hash(key), key);
}

int store_add(struct store *st, const struct store_type *type, struct store_rec *rec)
{
    struct kind *k = kind_of(st, type);
    char scratch[STORE_KEY_MAX];
    struct span key = type->key(rec, scratch);
    uint32_t hash = key_hash(key);
    ensure(key.n <= STORE_KEY_MAX);
    ensure(kind_find(k, hash, key) == NULL);
    int err = kind_add(k, hash, rec);
    if (err != 0)
        return err;
    rec->type = (uint8_t)(k - st->kinds);
    rec->sum = 0;
    rec->seq = st->next_seq++;
    rec->mark = st->mark; /* a snapshot that is out does not have it */
    rec->link = rec->dirty = (struct list){ 0 };
    list_push_back(&k->all, &rec->link);
    list_push_back(&st->dirty, &rec->dirty);
    st->ndirty++;
    return 0;
}

static void write_rec(struct store *st, const struct store_rec *rec, struct buf *out)
{
    const struct store_type *type = st->kinds[rec->type].type;
    buf_put_u8(out, type->id);
    buf_put_u64(out, rec->seq);
    buf_put_u32(out, 0);
    size_t from = out->len;
    type->encode(rec, out);
    if (buf_err(out) != 0)
        return;
    size_t n = out->len - from;
    ensure(n <= UINT32_MAX);
    for (size_t i = 0; i < 4; i++)
        out->data[from - 4 + i] = (char)(uint8_t)(n >> (8 * i));
    st->snap.n++;
    st->snap.sum += store_hash(type->id, span_of(out->data + from, n));
}

/* Copy before write. */
static void keep_for_snapshot(struct store *st, struct store_rec *rec)
{
    if (!st->snap.on || rec->mark == st->mark)
        return;
    rec->mark = st->mark;
    write_rec(st, rec, &st->snap.copies);
    if (buf_err(&st->snap.copies) != 0)
        st->snap.err = buf_err(&st->snap.copies);
}

void store_touch(struct store *st, struct store_rec *rec)
{
    keep_for_snapshot(st, rec);
    if (list_linked(&rec->dirty))
        list_remove(&rec->dirty);
    else
        st->ndirty++;
    list_push_back(&st->dirty, &rec->dirty);
}

void store_remove(struct store *st, struct store_rec *rec)
{
    struct kind *k = &st->kinds[rec->type];
    keep_for_snapshot(st, rec);
    if (st->snap.on && st->snap.next == &rec->link)
        st->snap.next = rec->link.next;
    st->digest -= rec->sum;
    if (list_linked(&rec->dirty)) {
        list_remove(&rec->dirty);
        st->ndirty--;
    }
    char scratch[STORE_KEY_MAX];
    kind_remove(k, key_hash(k->type->key(rec, scratch)), rec);
    list_remove(&rec->link);
    k->type->free(rec);
}

struct list *store_all(const struct store *st, const struct store_type *type)
{
    return &kind_of(st, type)->all;
}

uint64_t store_len(const struct store *st, const struct store_type *type)
{
    return kind_of(st, type)->len;
}

void store_digest_ahead(struct store *st, size_t keep)
{
    while (st->ndirty > keep) {
        struct list *link = list_pop_front(&st->dirty);
        st->ndirty--;
        struct store_rec *rec = LIST_ITEM(link, struct store_rec, dirty);
        const struct store_type *type = st->kinds[rec->type].type;
        buf_reset(&st->scratch);
        type->encode(rec, &st->scratch);
        /* Going on with a wrong digest would fence a node that is right. */
        ensure(buf_err(&st->scratch) == 0);
        st->digest -= rec->sum;
        rec->sum = store_hash(type->id, buf_span(&st->scratch));
        st->digest += rec->sum;
    }
    buf_reset(&st->scratch);
    buf_shrink(&st->scratch, 1u << 20);
}

uint64_t store_digest(struct store *st)
{
    store_digest_ahead(st, 0);
    return st->digest;
}

/* ---- snapshot --------------------------------------------------------------------------------------------
 */

int store_snapshot_begin(struct store *st)
{
    ensure(!st->snap.on);
    struct buf copies = st->snap.copies;
    buf_reset(&copies);
    st->mark++;
    st->snap = (struct snapshot){ .on = true, .copies = copies, .seq = st->next_seq };
    st->snap.next = st->nkinds == 0 ? NULL : st->kinds[0].all.next;
    return 0;
}

/* The next record that is not in the snapshot yet. NULL: all are (then sn->kind is nkinds), or it has looked
 * at so many as `patience` says. */
static struct store_rec *next_unwritten(struct store *st, unsigned *patience)
{
    struct snapshot *sn = &st->snap;
    while (sn->kind < st->nkinds) {
        if ((*patience)-- == 0)
            return NULL;
        if (sn->next == &st->kinds[sn->kind].all) {
            if (++sn->kind < st->nkinds)
                sn->next = st->kinds[sn->kind].all.next;
            continue;
        }
        struct store_rec *rec = rec_of(sn->next);
        sn->next = rec->link.next;
        if (rec->mark != st->mark)
            return rec;
    }
    sn->next = NULL;
    return NULL;
}

int store_snapshot_step(struct store *st, struct buf *out, size_t bytes)
{
    struct snapshot *sn = &st->snap;
    ensure(sn->on);
    if (sn->err != 0)
        return sn->err;
    size_t end = out->len + bytes;
    if (!sn->begun) {
        buf_put_u32(out, MAGIC);
        buf_put_u32(out, FORMAT);
        buf_put_u64(out, sn->seq);
        sn->begun = true;
    }
    buf_put_span(out, buf_span(&sn->copies));
    buf_reset(&sn->copies);
    buf_shrink(&sn->copies, 1u << 20);
    unsigned patience = STEP_RECORDS;
    struct store_rec *rec = NULL;
    while (buf_err(out) == 0 && out->len < end && (rec = next_unwritten(st, &patience)) != NULL) {
        rec->mark = st->mark;
        write_rec(st, rec, out);
    }
    if (buf_err(out) == 0 && sn->kind < st->nkinds)
        return 1;
    if (buf_err(out) == 0) {
        buf_put_u8(out, 0);
        buf_put_u64(out, sn->n);
        buf_put_u64(out, sn->sum);
    }
    return sn->err = buf_err(out);
}

void store_snapshot_copies(struct store *st, struct buf *out)
{
    ensure(st->snap.on && st->snap.begun && out->len == 0);
    struct buf copies = st->snap.copies;
    st->snap.copies = *out;
    *out = copies;
}

void store_snapshot_end(struct store *st)
{
    st->snap.on = false;
    buf_fini(&st->snap.copies);
}

/* ---- restore ---------------------------------------------------------------------------------------------
 */

static int restore_rec(struct store *st, uint8_t id, struct cursor *c)
{
    uint64_t seq = cursor_u64(c);
    struct span bytes = cursor_counted(c);
    if (cursor_err(c) != 0)
        return cursor_err(c);
    if (seq >= st->next_seq)
        return ERR_CORRUPT;
    if (st->index[id] == 0)
        return ERR_NOT_FOUND;
    struct kind *k = &st->kinds[st->index[id] - 1];
    struct cursor in;
    cursor_init(&in, bytes.p, bytes.n);
    struct store_rec *rec = NULL;
    int err = k->type->decode(&in, &rec);
    if (err != 0)
        return err == ERR_TORN ? ERR_CORRUPT : err; /* its length was given */
    char scratch[STORE_KEY_MAX];
    struct span key = k->type->key(rec, scratch);
    uint32_t hash = key_hash(key);
    err = cursor_left(&in) != 0 || key.n > STORE_KEY_MAX || kind_find(k, hash, key) != NULL ? ERR_CORRUPT : 0;
    if (err == 0)
        err = kind_add(k, hash, rec);
    if (err != 0) {
        k->type->free(rec);
        return err;
    }
    rec->type = (uint8_t)(k - st->kinds);
    rec->seq = seq;
    rec->mark = st->mark;
    rec->sum = store_hash(id, bytes);
    rec->dirty = (struct list){ 0 };
    st->digest += rec->sum;
    list_push_back(&k->all, &rec->link);
    return 0;
}

static int compare_seq(const void *a, const void *b)
{
    const struct store_rec *x = *(struct store_rec *const *)a, *y = *(struct store_rec *const *)b;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* Puts the list of a type into its order of arrival. */
static int restore_order(struct kind *k)
{
    bool sorted = true;
    uint64_t last = 0;
    LIST_EACH(link, &k->all)
    {
        if (link != k->all.next && rec_of(link)->seq <= last)
            sorted = false;
        last = rec_of(link)->seq;
    }
    if (sorted)
        return 0;
    struct store_rec **recs = malloc(k->len * sizeof(struct store_rec *));
    if (recs == NULL)
        return -ENOMEM;
    size_t n = 0;
    LIST_EACH(link, &k->all)
    recs[n++] = rec_of(link);
    qsort(recs, n, sizeof(struct store_rec *), compare_seq);
    int err = 0;
    list_init(&k->all);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && recs[i]->seq == recs[i - 1]->seq)
            err = ERR_CORRUPT;
        list_push_back(&k->all, &recs[i]->link);
    }
    free(recs);
    return err;
}

static int restore(struct store *st, struct cursor *c)
{
    uint32_t magic = cursor_u32(c), format = cursor_u32(c);
    st->next_seq = cursor_u64(c);
    if (cursor_err(c) != 0)
        return cursor_err(c);
    if (magic != MAGIC || format != FORMAT)
        return ERR_CORRUPT;
    uint64_t n = 0;
    for (uint8_t id; (id = cursor_u8(c)) != 0; n++) {
        int err = restore_rec(st, id, c);
        if (err != 0)
            return err;
    }
    uint64_t want_n = cursor_u64(c), want_sum = cursor_u64(c);
    if (cursor_err(c) != 0)
        return cursor_err(c);
    if (want_n != n || want_sum != st->digest)
        return ERR_CORRUPT;
    int err = 0;
    for (uint32_t i = 0; err == 0 && i < st->nkinds; i++)
        err = restore_order(&st->kinds[i]);
    return err;
}

int store_restore(struct store *st, struct cursor *c)
{
    ensure(!st->snap.on);
    clear(st);
    int err = restore(st, c);
    if (err != 0)
        clear(st);
    return err;
}
