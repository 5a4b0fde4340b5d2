/* A message on its way in: blocks are compressed and checked on the caller's thread, the writer only places
 * them. The last block travels inside the commit record, so that a message of up to 64 KiB is one record and
 * one read.
 */
#include "spool/internal.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <stdlib.h>

#define RAW_START 8192u

/* Ids grow with time but never go back with it, and skip ahead of the clock rather than repeat. Under lock.
 */
static uint64_t id_next(struct spool *s)
{
    uint64_t id = (uint64_t)clock_wall_ms() << SPOOL_ID_MS_SHIFT;
    uint64_t least = ((s->last_id >> SPOOL_ID_COUNTER_SHIFT) + 1) << SPOOL_ID_COUNTER_SHIFT;
    if (id < least)
        id = least;
    id = (id & ~(uint64_t)((1u << SPOOL_ID_COUNTER_SHIFT) - 1)) | s->config.id_node;
    s->last_id = id;
    return id;
}

void spool_set_id_node(struct spool *s, uint32_t id_node)
{
    ensure(id_node <= 255);
    pthread_mutex_lock(&s->lock);
    s->config.id_node = id_node;
    pthread_mutex_unlock(&s->lock);
}

uint64_t id_floor_take(struct spool *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t now = (uint64_t)clock_wall_ms() << SPOOL_ID_MS_SHIFT;
    uint64_t floor =
        (s->last_id > now ? s->last_id : now) + ((uint64_t)SPOOL_ID_RESERVE_MS << SPOOL_ID_MS_SHIFT);
    if (floor < s->id_reserved)
        floor = s->id_reserved;
    s->id_reserved = floor;
    s->id_reserving = false;
    pthread_mutex_unlock(&s->lock);
    return floor;
}

/* Has the floor raised with the next batch; nobody waits for it. Under lock. */
static void id_reserve(struct spool *s)
{
    struct rec *r = s->id_reserving ? NULL : rec_step(STEP_RESERVE);
    if (r == NULL)
        return;
    s->id_reserving = true;
    queue_push(s, r);
}

struct spool_ingest *ingest_new(struct spool *s, uint64_t id)
{
    struct spool_ingest *in = calloc(1, sizeof *in);
    if (in == NULL)
        return NULL;
    in->s = s;
    in->id = id;
    in->content_crc = CRC_INIT;
    return in;
}

void ingest_free(struct spool_ingest *in)
{
    if (in == NULL)
        return;
    for (struct chunk_block *b = in->first; b != NULL;) {
        struct chunk_block *next = b->next;
        free(b);
        b = next;
    }
    free(in->pins);
    free(in->raw);
    free(in);
}

/* `id` 0: a new one. */
static int ingest_open(struct spool *s, uint64_t id, struct spool_ingest **out)
{
    if (s->failed != 0)
        return s->failed;
    if (s->free_bytes < (int64_t)s->config.min_free_bytes)
        return ERR_DISK_FULL;
    struct spool_ingest *in = ingest_new(s, id);
    if (in == NULL)
        return -ENOMEM;
    pthread_mutex_lock(&s->lock);
    int err = s->messages + s->open_ingests < s->config.max_messages ? 0 : ERR_LIMIT;
    if (err == 0 && id != 0 && index_find(s, id) != NULL)
        err = ERR_EXISTS;
    if (err == 0 && id == 0) {
        in->id = id_next(s);
        if (in->id >= s->id_reserved)
            id_reserve(s);
    }
    s->open_ingests += err == 0;
    pthread_mutex_unlock(&s->lock);
    if (err != 0) {
        free(in);
        return err;
    }
    *out = in;
    return 0;
}

int spool_ingest_open(struct spool *s, struct spool_ingest **out)
{
    return ingest_open(s, 0, out);
}

int spool_ingest_open_moved(struct spool *s, uint64_t id, struct spool_ingest **out)
{
    ensure(spool_id_hop(id) > 0);
    return ingest_open(s, id, out);
}

uint64_t spool_find(struct spool *s, uint64_t id)
{
    uint64_t found = 0;
    pthread_mutex_lock(&s->lock);
    for (uint64_t hop = 0; hop <= SPOOL_ID_HOPS_MAX && found == 0; hop++) {
        uint64_t one = spool_id_public(id) | hop << SPOOL_ID_HOP_SHIFT;
        if (index_living(s, one) != NULL)
            found = one;
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

uint64_t spool_ingest_id(const struct spool_ingest *in)
{
    return in->id;
}

uint64_t spool_ingest_bytes(const struct spool_ingest *in)
{
    return in->size;
}

void spool_ingest_on_room(struct spool_ingest *in, void (*room)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&in->s->room_lock);
    in->room = room;
    in->room_ctx = ctx;
    pthread_mutex_unlock(&in->s->room_lock);
}

static struct chunk_loc *loc_new(struct spool_ingest *in)
{
    struct chunk_block *b = in->last;
    if (b == NULL || b->n == sizeof b->loc / sizeof b->loc[0]) {
        b = malloc(sizeof *b);
        if (b == NULL)
            return NULL;
        b->next = NULL;
        b->n = 0;
        if (in->last == NULL)
            in->first = b;
        else
            in->last->next = b;
        in->last = b;
    }
    return &b->loc[b->n++];
}

/* Before all others. */
static struct chunk_loc *loc_front(struct spool_ingest *in)
{
    struct chunk_block *b = malloc(sizeof *b);
    if (b == NULL)
        return NULL;
    b->next = in->first;
    b->n = 1;
    in->first = b;
    if (in->last == NULL)
        in->last = b;
    return &b->loc[0];
}

static int add_chunk(struct spool_ingest *in, struct rec *r, uint32_t raw, bool front)
{
    struct spool *s = in->s;
    struct chunk_loc *loc = in->nchunks == CHUNKS_MAX ? NULL : front ? loc_front(in) : loc_new(in);
    if (loc == NULL) {
        free(r);
        return in->nchunks == CHUNKS_MAX ? ERR_LIMIT : -ENOMEM;
    }
    loc->raw = raw;
    in->nchunks++;
    r->in = in;
    r->loc = loc;
    pthread_mutex_lock(&s->lock);
    int err = in->err;
    in->queued += r->bytes;
    queue_push(s, r);
    if (err == 0 && (in->queued > SPOOL_INGEST_QUEUE_MAX || s->queue_bytes > SPOOL_QUEUE_BYTES_MAX)) {
        in->want_room = true;
        err = 1;
    }
    pthread_mutex_unlock(&s->lock);
    return err;
}

int ingest_add_chunk(struct spool_ingest *in, struct rec *r, uint32_t raw)
{
    return add_chunk(in, r, raw, false);
}

static struct rec *chunk_encode(const struct spool_ingest *in, const uint8_t *p, uint32_t n)
{
    struct rec *r = rec_new(RECORD_CHUNK, 0, in->id, CHUNK_PREFIX_BYTES + n);
    if (r == NULL)
        return NULL;
    uint8_t method;
    uint32_t stored = block_compress(p, n, rec_payload(r) + CHUNK_PREFIX_BYTES, &method);
    chunk_prefix_encode(n, method, rec_payload(r));
    rec_shorten(r, CHUNK_PREFIX_BYTES + stored);
    rec_checked(r, r->payload);
    return r;
}

static int flush_block(struct spool_ingest *in)
{
    struct rec *r = chunk_encode(in, in->raw, in->raw_len);
    if (r == NULL)
        return -ENOMEM;
    in->content_crc = crc_more(in->content_crc, in->raw, in->raw_len);
    uint32_t raw = in->raw_len;
    in->raw_len = 0;
    return ingest_add_chunk(in, r, raw);
}

static int raw_grow(struct spool_ingest *in, size_t more)
{
    uint32_t cap = in->raw_cap == 0 ? RAW_START : in->raw_cap;
    while (cap < CHUNK_RAW_MAX && cap < in->raw_len + more)
        cap *= 2;
    if (cap == in->raw_cap)
        return 0;
    uint8_t *raw = realloc(in->raw, cap);
    if (raw == NULL)
        return -ENOMEM;
    in->raw = raw;
    in->raw_cap = cap;
    return 0;
}

int spool_ingest_write(struct spool_ingest *in, const void *p, size_t n)
{
    struct spool *s = in->s;
    const uint8_t *from = p;
    int answer = 0;
    if (s->failed != 0)
        return s->failed;
    while (n > 0) {
        if (in->raw_len == CHUNK_RAW_MAX) {
            /* Messages in hand may use half of the room that new ones are refused for, the rest is for
             * states. */
            if (s->free_bytes < (int64_t)(s->config.min_free_bytes / 2))
                return ERR_DISK_FULL;
            int err = flush_block(in);
            if (err < 0)
                return err;
            answer |= err;
        }
        int err = raw_grow(in, n);
        if (err != 0)
            return err;
        size_t part = in->raw_cap - in->raw_len;
        part = part < n ? part : n;
        memcpy(in->raw + in->raw_len, from, part);
        in->raw_len += (uint32_t)part;
        in->size += part;
        from += part;
        n -= part;
    }
    return answer;
}

int spool_ingest_front(struct spool_ingest *in, const void *p, size_t n)
{
    ensure(n <= SPOOL_FRONT_MAX);
    if (in->s->failed != 0)
        return in->s->failed;
    if (n == 0)
        return 0;
    if (in->nchunks == 0 && in->raw_len + n <= CHUNK_RAW_MAX) { /* it stays one record */
        int err = raw_grow(in, n);
        if (err != 0)
            return err;
        memmove(in->raw + n, in->raw, in->raw_len);
        memcpy(in->raw, p, n);
        in->raw_len += (uint32_t)n;
        in->size += n;
        return 0;
    }
    struct rec *r = chunk_encode(in, p, (uint32_t)n);
    if (r == NULL)
        return -ENOMEM;
    uint64_t behind = in->size - in->raw_len; /* what the check covers so far */
    in->content_crc = crc_front(crc_more(CRC_INIT, p, n), in->content_crc, behind);
    in->size += n;
    int err = add_chunk(in, r, (uint32_t)n, true);
    return err < 0 ? err : 0; /* nothing more is written: whether there is room does not matter */
}

/* The commit record: all but the table of places is final. */
static struct rec *commit_encode(struct spool_ingest *in, struct envelope *e, int *err)
{
    struct buf env;
    struct rec *r = NULL;
    buf_init(&env, RECORD_PAYLOAD_MAX - COMMIT_FIXED_BYTES - CHUNK_RAW_MAX - CHUNKS_MAX * CHUNK_LOC_BYTES);
    *err = envelope_encode(e, &env);
    if (*err != 0)
        goto done;
    in->content_crc = crc_more(in->content_crc, in->raw, in->raw_len);
    uint32_t table = in->nchunks * CHUNK_LOC_BYTES;
    r = rec_new(RECORD_COMMIT, 0, in->id, COMMIT_FIXED_BYTES + (uint32_t)env.len + in->raw_len + table);
    if (r == NULL) {
        *err = -ENOMEM;
        goto done;
    }
    struct commit c = { .nchunks = in->nchunks,
                        .inline_raw = in->raw_len,
                        .content_crc = ~in->content_crc,
                        .envelope = buf_span(&env) };
    uint8_t *data = rec_payload(r) + COMMIT_FIXED_BYTES + env.len;
    c.data.n = block_compress(in->raw, in->raw_len, data, &c.method);
    commit_encode_fixed(&c, rec_payload(r));
    memcpy(rec_payload(r) + COMMIT_FIXED_BYTES, env.data, env.len);
    uint32_t final = COMMIT_FIXED_BYTES + (uint32_t)(env.len + c.data.n);
    rec_shorten(r, final + table);
    rec_checked(r, final);
    r->closes = e->ncloses > 0;
done:
    buf_fini(&env);
    return r;
}

/* Ends the ingest on the writer thread, behind its chunks, and answers there like everything else. */
static void refuse(struct spool_ingest *in, struct spool_op *op, int err)
{
    struct spool *s = in->s;
    struct rec *end = rec_step(STEP_ABORT);
    ensure(end != NULL); /* no memory for a hundred bytes: nobody could be answered */
    end->in = in;
    end->op = op;
    end->status = err;
    end->id = in->id;
    pthread_mutex_lock(&s->lock);
    s->open_ingests--;
    in->want_room = false;
    queue_push(s, end);
    pthread_mutex_unlock(&s->lock);
}

void spool_ingest_commit(struct spool_ingest *in, struct envelope *e, struct spool_op *op)
{
    struct spool *s = in->s;
    spool_ingest_on_room(in, NULL, NULL);
    e->id = in->id;
    e->size = in->size;
    int err = s->failed;
    struct rec *r = err != 0 ? NULL : commit_encode(in, e, &err);
    struct msg *m = r == NULL ? NULL : msg_new(in->id, e->nrcpts, envelope_first_state(e));
    if (r != NULL && m == NULL)
        err = -ENOMEM;
    free(in->raw);
    in->raw = NULL;
    op->commit_ms = clock_wall_ms();
    if (err == 0) {
        m->flags = MSG_PENDING;
        r->op = op;
        r->msg = m;
        r->in = in;
        pthread_mutex_lock(&s->lock);
        err = in->err != 0 ? in->err : index_add(s, m);
        if (err == 0) {
            s->open_ingests--;
            in->want_room = false;
            queue_push(s, r);
        }
        pthread_mutex_unlock(&s->lock);
        if (err == 0)
            return;
    }
    free(m);
    free(r);
    refuse(in, op, err);
}

void spool_ingest_abort(struct spool_ingest *in)
{
    struct spool *s = in->s;
    spool_ingest_on_room(in, NULL, NULL);
    if (in->nchunks == 0) {
        pthread_mutex_lock(&s->lock);
        s->open_ingests--;
        pthread_mutex_unlock(&s->lock);
        ingest_free(in);
        return;
    }
    refuse(in, NULL, 0);
}
