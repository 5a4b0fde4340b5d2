/* Compaction: copies what a segment still has to say to the active one, then removes it. Runs on the
 * background thread; spool_open uses the copying half for the tails of segments that an earlier process left
 * unsealed.
 *
 * What must be copied of a segment: living messages with their commit or chunks in it, as a whole; states of
 * living messages, as a snapshot; tombstones, as long as the segment with the commit that they end exists. It
 * is removed only when the copies, and everything queued before them, are on disk, and when the history has
 * what it reports.
 */
#include "spool/internal.h"
#include "spool/replay.h"

#include "base/cond.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define COPY_BYTES_AT_ONCE (1u << 20)
#define COPY_PAUSE_NS 20000000 /* so at most 50 MiB/s */

struct copy {
    struct spool *s;
    struct segment *seg;
    enum copy_what what;
    uint64_t queued; /* since the last flush */
};

/* ---- one message --------------------------------------------------------------------------------------- */

struct source {
    uint64_t id;
    uint32_t segment, offset, len;
    uint8_t *record; /* the commit, from its head on */
    struct commit commit;
};

/* Reads a record of any segment; the payload lands RECORD_HEAD_BYTES behind `whole`. */
static int read_record(struct spool *s, uint32_t segment, uint32_t offset, uint8_t type, uint64_t id,
                       uint32_t len, uint8_t *whole)
{
    pthread_mutex_lock(&s->lock);
    struct segment *seg = segments_find(s, segment);
    int fd = seg == NULL ? ERR_CORRUPT : segment_hold(s, seg);
    pthread_mutex_unlock(&s->lock);
    if (fd < 0)
        return fd;
    int err = segment_read(s, seg, fd, offset, type, id, len, whole + RECORD_HEAD_BYTES);
    pthread_mutex_lock(&s->lock);
    segment_rele(s, seg);
    pthread_mutex_unlock(&s->lock);
    return err;
}

static int copy_chunks(struct copy *c, const struct source *src, struct spool_ingest *in)
{
    uint8_t *whole = malloc(RECORD_HEAD_BYTES + CHUNK_PREFIX_BYTES + CHUNK_RAW_MAX);
    int err = whole == NULL ? -ENOMEM : 0;
    for (uint32_t i = 0; err == 0 && i < src->commit.nchunks; i++) {
        struct chunk_loc loc = commit_chunk(&src->commit, i);
        if (loc.len > CHUNK_PREFIX_BYTES + CHUNK_RAW_MAX)
            err = ERR_CORRUPT;
        else
            err = read_record(c->s, loc.segment, loc.offset, RECORD_CHUNK, src->id, loc.len, whole);
        struct rec *r = err != 0 ? NULL : rec_new(RECORD_CHUNK, RECORD_COPY, src->id, loc.len);
        if (err == 0 && r == NULL)
            err = -ENOMEM;
        if (err != 0)
            break;
        memcpy(rec_payload(r), whole + RECORD_HEAD_BYTES, loc.len);
        rec_checked(r, loc.len);
        c->queued += r->bytes;
        err = ingest_add_chunk(in, r, loc.raw);
        if (err == 1)
            err = spool_flush(c->s); /* as much as may be with the writer at once */
    }
    free(whole);
    return err;
}

/* Queues the copy of the commit if the message still lives where it was read. */
static int copy_commit(struct copy *c, const struct source *src, struct spool_ingest *in)
{
    struct spool *s = c->s;
    uint32_t table = src->commit.nchunks * CHUNK_LOC_BYTES;
    struct rec *r = rec_new(RECORD_COMMIT, RECORD_COPY, src->id, src->len);
    if (r == NULL)
        return -ENOMEM;
    memcpy(rec_payload(r), src->record + RECORD_HEAD_BYTES, src->len);
    rec_checked(r, src->len - table);
    r->in = in;
    uint32_t bytes = r->bytes;
    int err = 0;
    pthread_mutex_lock(&s->lock);
    struct msg *m = index_living(s, src->id);
    if (m == NULL || m->segment != src->segment || m->offset != src->offset)
        err = ERR_NOT_FOUND; /* it ended meanwhile */
    else if (in->err != 0)
        err = in->err;
    if (err == 0) {
        m->flags |= MSG_MOVING;
        r->msg = m;
        queue_push(s, r);
        c->queued += bytes;
    }
    pthread_mutex_unlock(&s->lock);
    if (err != 0)
        free(r);
    return err;
}

static void copy_end(struct spool *s, struct spool_ingest *in)
{
    struct rec *end = rec_step(STEP_ABORT);
    ensure(end != NULL);
    end->in = in;
    pthread_mutex_lock(&s->lock);
    queue_push(s, end);
    pthread_mutex_unlock(&s->lock);
}

static int copy_msg(struct copy *c, const struct source *want)
{
    struct source src = *want;
    src.record = malloc(RECORD_HEAD_BYTES + (size_t)src.len);
    struct spool_ingest *in = ingest_new(c->s, src.id);
    int err = src.record == NULL || in == NULL
                  ? -ENOMEM
                  : read_record(c->s, src.segment, src.offset, RECORD_COMMIT, src.id, src.len, src.record);
    if (err == 0)
        err = commit_decode(span_of(src.record + RECORD_HEAD_BYTES, src.len), &src.commit);
    if (err == 0)
        err = copy_chunks(c, &src, in);
    if (err == 0)
        err = copy_commit(c, &src, in);
    if (err != 0 && in != NULL)
        copy_end(c->s, in);
    free(src.record);
    if (err == ERR_CORRUPT) {
        char id[SPOOL_ID_TEXT];
        spool_id_format(src.id, id);
        log_error(SPOOL_AREA, "message %s cannot be read; segment %08x is kept for it", id, c->seg->number);
        c->seg->damaged = true;
        err = 0;
    }
    return err == ERR_NOT_FOUND ? 0 : err;
}

/* ---- one segment --------------------------------------------------------------------------------------- */

static bool has_chunks_in(const struct msg *m, uint32_t segment)
{
    for (uint32_t i = 0; m->chunks != NULL && i < m->chunks->n; i++)
        if (m->chunks->e[i].segment == segment && m->chunks->e[i].bytes > 0)
            return true;
    return false;
}

static int want_msg(struct copy *c, const struct replay_record *r)
{
    struct spool *s = c->s;
    struct source src = { .id = r->head.id };
    pthread_mutex_lock(&s->lock);
    const struct msg *m = index_living(s, r->head.id);
    bool wanted = m != NULL && (m->flags & MSG_MOVING) == 0;
    if (wanted && r->head.type == RECORD_COMMIT)
        wanted = m->segment == r->segment && m->offset == r->offset;
    else if (wanted)
        wanted = has_chunks_in(m, r->segment);
    if (wanted) {
        src.segment = m->segment;
        src.offset = m->offset;
        src.len = m->len;
    }
    pthread_mutex_unlock(&s->lock);
    return wanted ? copy_msg(c, &src) : 0;
}

static int want_states(struct copy *c, uint64_t id)
{
    struct spool *s = c->s;
    int err = 0;
    pthread_mutex_lock(&s->lock);
    struct msg *m = index_living(s, id);
    if (m != NULL && m->full_segment <= c->seg->number && (m->flags & MSG_SNAPPING) == 0) {
        struct rec *r = state_snapshot(s, m);
        if (r != NULL) {
            m->flags |= MSG_SNAPPING;
            c->queued += r->bytes;
            queue_push(s, r);
        } else {
            err = -ENOMEM;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return err;
}

static int want_tombstone(struct copy *c, const struct replay_record *r)
{
    struct spool *s = c->s;
    struct updates it;
    if (updates_open(&it, RECORD_TOMBSTONE, r->payload) != 0)
        return 0;
    pthread_mutex_lock(&s->lock);
    bool wanted = tombstone_needed(s, c->seg, it.target);
    pthread_mutex_unlock(&s->lock);
    if (!wanted)
        return 0;
    /* the history has its endings, or gets them from the original */
    struct rec *copy = rec_new(RECORD_TOMBSTONE, RECORD_COPY, r->head.id, UPDATES_FIXED_BYTES + 4);
    if (copy == NULL)
        return -ENOMEM;
    put_u32(rec_payload(copy), it.nrcpts);
    put_u32(rec_payload(copy) + 4, 0);
    put_u32(rec_payload(copy) + UPDATES_FIXED_BYTES, it.target);
    rec_checked(copy, UPDATES_FIXED_BYTES + 4);
    c->queued += copy->bytes;
    pthread_mutex_lock(&s->lock);
    queue_push(s, copy);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

/* States that live in a report's commit record. */
static int want_closes(struct copy *c, const struct replay_record *r)
{
    struct commit commit;
    struct envelope_decoded d;
    struct cursor cur;
    if (commit_decode(r->payload, &commit) != 0)
        return 0;
    cursor_init(&cur, commit.envelope.p, commit.envelope.n);
    if (envelope_decode(&cur, &d) != 0)
        return 0;
    int err = 0;
    for (uint32_t i = 0; err == 0 && i < d.env.ncloses; i++)
        err = want_states(c, d.env.closes[i].id);
    envelope_decoded_fini(&d);
    return err;
}

static int copy_record(void *ctx, const struct replay_record *r)
{
    struct copy *c = ctx;
    struct spool *s = c->s;
    bool commits = (c->what & COPY_COMMITS) != 0;
    bool states = (c->what & COPY_STATES) != 0;
    int err = 0;
    switch (r->head.type) {
    case RECORD_CHUNK:
        err = commits ? want_msg(c, r) : 0;
        break;
    case RECORD_COMMIT:
        err = commits ? want_msg(c, r) : 0;
        if (err == 0 && states)
            err = want_closes(c, r);
        break;
    case RECORD_STATE:
        err = states ? want_states(c, r->head.id) : 0;
        break;
    case RECORD_TOMBSTONE:
        err = states ? want_tombstone(c, r) : 0;
        break;
    default:
        break;
    }
    if (err == 0 && c->queued >= COPY_BYTES_AT_ONCE) {
        c->queued = 0;
        err = spool_flush(s);
        if (err == 0 && s->threads && !s->background_stop) {
            struct timespec pause = { .tv_nsec = COPY_PAUSE_NS };
            nanosleep(&pause, NULL);
        }
    }
    if (err == 0 && s->background_stop)
        return ERR_CLOSED; /* what is copied is good, the rest is for the next start */
    return err != 0 ? err : s->failed;
}

int compact_copy(struct spool *s, struct segment *seg, enum copy_what what, uint64_t from)
{
    struct copy c = { .s = s, .seg = seg, .what = what };
    pthread_mutex_lock(&s->lock);
    seg->stale = true; /* from now on there may be a second commit of what is in it */
    int fd = segment_hold(s, seg);
    pthread_mutex_unlock(&s->lock);
    if (fd < 0)
        return fd;
    struct replay r = {
        .disk = s->disk, .fd = fd, .number = seg->number, .from = from, .fn = copy_record, .ctx = &c
    };
    int err = replay_run(&r);
    pthread_mutex_lock(&s->lock);
    segment_rele(s, seg);
    pthread_mutex_unlock(&s->lock);
    return err;
}

/* ---- removing ------------------------------------------------------------------------------------------ */

static int segment_remove(struct spool *s, struct segment *seg)
{
    char path[SPOOL_PATH_MAX];
    segment_path(s, seg->number, "seg", path);
    int err = s->disk->unlink(s->disk->ctx, path);
    if (err != 0) {
        log_error(SPOOL_AREA, "removing segment %08x: %s", seg->number, err_text(err));
        seg->damaged = true;
        return err;
    }
    segment_path(s, seg->number, "sum", path);
    (void)s->disk->unlink(s->disk->ctx, path);
    /* A tombstone is needed as long as the name could come back: so the table forgets it only behind this
     * sync. */
    err = s->disk->sync_dir(s->disk->ctx, s->dir);
    if (err != 0) {
        spool_fail(s, err, "syncing the directory after a removal");
        return err;
    }
    pthread_mutex_lock(&s->lock);
    s->stats.compacted_segments++;
    segments_remove(s, seg);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static bool history_has(const struct spool *s, const struct segment *seg)
{
    return !s->history || seg->ended_seq <= s->history_seq;
}

/* The segment that gains most; but a stale one before any other: while it exists, tombstones must be kept
 * that nothing else needs. Under lock. */
static struct segment *choose(struct spool *s)
{
    struct segment *best = NULL;
    double best_share = 0.5; /* of it is needed still: above that, copying costs more than it frees */
    for (uint32_t i = 0; i < s->nsegments; i++) {
        struct segment *seg = s->segments[i];
        if (seg == s->active || !seg->sealed || seg->damaged)
            continue;
        if (seg->pins > 0 || !history_has(s, seg))
            continue;
        if (seg->stale)
            return seg;
        double share = (double)segment_needed(s, seg) / (double)(seg->size + 1);
        if (share < best_share) {
            best = seg;
            best_share = share;
        }
    }
    return best;
}

static bool compact_one(struct spool *s)
{
    pthread_mutex_lock(&s->lock);
    struct segment *seg = s->active == NULL ? NULL : choose(s);
    pthread_mutex_unlock(&s->lock);
    if (seg == NULL || s->failed != 0)
        return false;
    int err = compact_copy(s, seg, COPY_ALL, 0);
    /* also behind this: tombstones of messages that ended before they were looked at */
    if (err == 0)
        err = spool_flush(s);
    if (err != 0) {
        if (s->background_stop)
            return false;
        log_warn(SPOOL_AREA, "compaction of segment %08x: %s", seg->number, err_text(err));
        if (err != ERR_DISK_FULL)
            seg->damaged = true;
        return false;
    }
    pthread_mutex_lock(&s->lock);
    bool empty = seg->live == 0;
    bool told = history_has(s, seg); /* messages of it may have ended meanwhile */
    pthread_mutex_unlock(&s->lock);
    if (!empty) {
        log_error(SPOOL_AREA, "segment %08x still has living mail after compaction; it is kept", seg->number);
        seg->damaged = true;
        return false;
    }
    return told && segment_remove(s, seg) == 0;
}

static struct segment *wants_summary(struct spool *s)
{
    for (uint32_t i = 0; i < s->nsegments; i++) {
        struct segment *seg = s->segments[i];
        if (seg->sealed && !seg->summarised && !seg->earlier && !seg->stale && seg != s->active)
            return seg;
    }
    return NULL;
}

bool spool_background_step(struct spool *s)
{
    if (s->failed != 0)
        return false;
    pthread_mutex_lock(&s->lock);
    struct segment *seg = wants_summary(s);
    pthread_mutex_unlock(&s->lock);
    if (seg != NULL) {
        (void)summary_write(s, seg);
        return true;
    }
    return compact_one(s);
}

void *spool_background_main(void *arg)
{
    struct spool *s = arg;
    static const int64_t look_ns = 1000000000;
    for (;;) {
        bool did = spool_background_step(s);
        spool_refresh_free(s);
        pthread_mutex_lock(&s->lock);
        if (!did && !s->background_stop)
            cond_wait_until(&s->background_cond, &s->lock, spool_now_ns() + look_ns);
        bool stop = s->background_stop;
        pthread_mutex_unlock(&s->lock);
        if (stop)
            return NULL;
    }
}
