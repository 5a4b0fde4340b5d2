/* Reading living messages: envelope with states, and content. Any thread; the disk is read without the lock.
 */
#include "spool/internal.h"

#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <stdlib.h>

/* A message's records as they were when it was looked up, and their segments, held so that compaction can
 * unlink them but not take them away. */
struct held {
    uint64_t id;
    uint32_t offset, len, nrcpts;
    uint32_t n; /* segments; the commit's is the first */
    struct {
        struct segment *seg;
        int fd;
    } * segs;
};

static void held_rele(struct spool *s, struct held *h)
{
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < h->n; i++)
        segment_rele(s, h->segs[i].seg);
    pthread_mutex_unlock(&s->lock);
    free(h->segs);
}

static int held_add(struct spool *s, struct held *h, uint32_t number)
{
    for (uint32_t i = 0; i < h->n; i++)
        if (h->segs[i].seg->number == number)
            return 0;
    struct segment *seg = segments_find(s, number);
    if (seg == NULL)
        return ERR_CORRUPT;
    int fd = segment_hold(s, seg);
    if (fd < 0)
        return fd;
    h->segs[h->n].seg = seg;
    h->segs[h->n].fd = fd;
    h->n++;
    return 0;
}

static int held_open(struct spool *s, uint64_t id, bool chunks, struct held *h)
{
    *h = (struct held){ .id = id };
    pthread_mutex_lock(&s->lock);
    const struct msg *m = index_living(s, id);
    int err = m == NULL ? ERR_NOT_FOUND : 0;
    if (m != NULL) {
        uint32_t most = 1 + (chunks && m->chunks != NULL ? m->chunks->n : 0);
        h->offset = m->offset;
        h->len = m->len;
        h->nrcpts = m->nrcpts;
        h->segs = malloc(most * sizeof h->segs[0]);
        err = h->segs == NULL ? -ENOMEM : held_add(s, h, m->segment);
        for (uint32_t i = 0; err == 0 && i + 1 < most; i++)
            err = held_add(s, h, m->chunks->e[i].segment);
    }
    pthread_mutex_unlock(&s->lock);
    if (err != 0)
        held_rele(s, h);
    return err;
}

/* ---- the envelope -------------------------------------------------------------------------------------- */

struct info {
    struct spool_info pub; /* first */
    struct envelope_decoded decoded;
    uint8_t *record;
    char *replies;
};

static int info_states(struct spool *s, uint64_t id, struct info *i)
{
    char scratch[64];
    pthread_mutex_lock(&s->lock);
    const struct msg *m = index_living(s, id);
    if (m == NULL || m->nrcpts != i->pub.env.nrcpts) {
        pthread_mutex_unlock(&s->lock);
        return ERR_NOT_FOUND;
    }
    size_t text = 0;
    for (uint32_t k = 0; k < m->nrcpts; k++) {
        msg_rcpt_export(s, &m->rcpts[k], scratch, &i->pub.rcpts[k]);
        text += i->pub.rcpts[k].reply.n;
    }
    i->replies = text == 0 ? NULL : malloc(text);
    char *p = i->replies;
    for (uint32_t k = 0; k < m->nrcpts && p != NULL; k++) {
        msg_rcpt_export(s, &m->rcpts[k], scratch, &i->pub.rcpts[k]);
        struct span *reply = &i->pub.rcpts[k].reply;
        if (reply->n > 0)
            memcpy(p, reply->p, reply->n);
        reply->p = p;
        p += reply->n;
    }
    pthread_mutex_unlock(&s->lock);
    return text > 0 && i->replies == NULL ? -ENOMEM : 0;
}

static int info_read(struct spool *s, const struct held *h, struct info *i)
{
    i->record = malloc(RECORD_HEAD_BYTES + (size_t)h->len);
    i->pub.rcpts = malloc(h->nrcpts * sizeof *i->pub.rcpts);
    if (i->record == NULL || i->pub.rcpts == NULL)
        return -ENOMEM;
    uint8_t *payload = i->record + RECORD_HEAD_BYTES;
    int err =
        segment_read(s, h->segs[0].seg, h->segs[0].fd, h->offset, RECORD_COMMIT, h->id, h->len, payload);
    struct commit commit;
    if (err == 0)
        err = commit_decode(span_of(payload, h->len), &commit);
    if (err != 0)
        return err;
    struct cursor c;
    cursor_init(&c, commit.envelope.p, commit.envelope.n);
    err = envelope_decode(&c, &i->decoded);
    i->pub.env = i->decoded.env;
    return err == 0 ? info_states(s, h->id, i) : err;
}

int spool_info(struct spool *s, uint64_t id, struct spool_info **out)
{
    struct held h;
    int err = held_open(s, id, false, &h);
    if (err != 0)
        return err;
    struct info *i = calloc(1, sizeof *i);
    err = i == NULL ? -ENOMEM : info_read(s, &h, i);
    held_rele(s, &h);
    if (err == 0)
        *out = &i->pub;
    else if (i != NULL)
        spool_info_free(&i->pub);
    return err;
}

void spool_info_free(struct spool_info *pub)
{
    if (pub == NULL)
        return;
    struct info *i = LIST_ITEM(pub, struct info, pub);
    envelope_decoded_fini(&i->decoded);
    free(pub->rcpts);
    free(i->record);
    free(i->replies);
    free(i);
}

/* ---- all of them --------------------------------------------------------------------------------------- */

/* With room for `room` more. */
static int ids_reserve(uint64_t **ids, size_t n, size_t room)
{
    uint64_t *p = realloc(*ids, (n + room + 1) * sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    *ids = p;
    return 0;
}

/* Shard by shard, so that nobody waits long for the lock. */
int spool_living(struct spool *s, uint64_t **ids, size_t *n)
{
    int err = 0;
    *ids = NULL;
    *n = 0;
    for (uint32_t shard = 0; shard < SPOOL_SHARDS && err == 0; shard++) {
        size_t at = 0;
        struct msg *m;
        pthread_mutex_lock(&s->lock);
        err = ids_reserve(ids, *n, s->index[shard].len);
        while (err == 0 && (m = map_next(&s->index[shard], &at)) != NULL)
            if ((m->flags & (MSG_PENDING | MSG_STUB)) == 0)
                (*ids)[(*n)++] = m->id;
        pthread_mutex_unlock(&s->lock);
    }
    if (err != 0) {
        free(*ids);
        *ids = NULL;
        *n = 0;
    }
    return err;
}

/* ---- the content --------------------------------------------------------------------------------------- */

struct spool_reader {
    struct spool *s;
    struct held held;
    uint8_t *record; /* the commit, from its head on */
    struct commit commit;
    uint32_t next; /* chunk; nchunks: the inline block; then the end */
    uint32_t crc;
    uint8_t *stored; /* a chunk as on disk, from its head on */
    uint8_t *raw;
};

int spool_reader_open(struct spool *s, uint64_t id, struct spool_reader **out)
{
    struct spool_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return -ENOMEM;
    r->s = s;
    r->crc = CRC_INIT;
    int err = held_open(s, id, true, &r->held);
    if (err != 0) {
        free(r);
        return err;
    }
    const struct held *h = &r->held;
    r->record = malloc(RECORD_HEAD_BYTES + (size_t)h->len);
    err = r->record == NULL ? -ENOMEM
                            : segment_read(s, h->segs[0].seg, h->segs[0].fd, h->offset, RECORD_COMMIT, id,
                                           h->len, r->record + RECORD_HEAD_BYTES);
    if (err == 0)
        err = commit_decode(span_of(r->record + RECORD_HEAD_BYTES, h->len), &r->commit);
    if (err == 0) {
        size_t most = r->commit.nchunks > 0 ? CHUNK_RAW_MAX : r->commit.inline_raw;
        r->raw = malloc(most + 1);
        err = r->raw == NULL ? -ENOMEM : 0;
    }
    if (err != 0) {
        spool_reader_close(r);
        return err;
    }
    *out = r;
    return 0;
}

static int read_chunk(struct spool_reader *r, const struct chunk_loc *loc)
{
    uint32_t i = 0;
    while (i < r->held.n && r->held.segs[i].seg->number != loc->segment)
        i++;
    if (i == r->held.n || loc->len > CHUNK_PREFIX_BYTES + CHUNK_RAW_MAX)
        return ERR_CORRUPT;
    if (r->stored == NULL)
        r->stored = malloc(RECORD_HEAD_BYTES + CHUNK_PREFIX_BYTES + CHUNK_RAW_MAX);
    if (r->stored == NULL)
        return -ENOMEM;
    uint8_t *payload = r->stored + RECORD_HEAD_BYTES;
    int err = segment_read(r->s, r->held.segs[i].seg, r->held.segs[i].fd, loc->offset, RECORD_CHUNK,
                           r->held.id, loc->len, payload);
    uint32_t raw;
    uint8_t method;
    struct span stored;
    if (err == 0)
        err = chunk_decode(span_of(payload, loc->len), &raw, &method, &stored);
    if (err == 0)
        err = raw != loc->raw ? ERR_CORRUPT : block_expand(method, stored, raw, r->raw);
    return err;
}

int spool_reader_next(struct spool_reader *r, const char **p, size_t *n)
{
    *n = 0;
    *p = (const char *)r->raw;
    int err = 0;
    uint32_t raw = 0;
    if (r->next < r->commit.nchunks) {
        struct chunk_loc loc = commit_chunk(&r->commit, r->next);
        raw = loc.raw;
        err = read_chunk(r, &loc);
    } else if (r->next == r->commit.nchunks) {
        raw = r->commit.inline_raw;
        if (r->commit.method == BLOCK_RAW && r->commit.data.n == raw)
            *p = r->commit.data.p; /* stored as it is: no copy */
        else
            err = block_expand(r->commit.method, r->commit.data, raw, r->raw);
    } else {
        return 0;
    }
    if (err != 0)
        return err;
    r->crc = crc_more(r->crc, *p, raw);
    r->next++;
    if (r->next > r->commit.nchunks && ~r->crc != r->commit.content_crc)
        return ERR_CORRUPT;
    *n = raw;
    return 0;
}

void spool_reader_close(struct spool_reader *r)
{
    if (r == NULL)
        return;
    held_rele(r->s, &r->held);
    free(r->record);
    free(r->stored);
    free(r->raw);
    free(r);
}
