/* The writer: takes what is queued, gives each record its place, writes all with one pwritev and one
 * fdatasync. Runs on the writer thread; spool_writer_step is one turn of it, so that spool_open and tests can
 * drive it.
 *
 * A batch never straddles segments: it takes what the active segment has room for, and the next segment is
 * made only when the older one is on disk. What happens after the sync is in finish.c.
 */
#include "spool/internal.h"

#include "base/clock.h"
#include "base/cond.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define BATCH_RECORD_BYTES (RECORD_HEAD_BYTES + BATCH_BYTES)
/* kept free at a segment's end for its seal */
#define SEAL_ROOM (BATCH_RECORD_BYTES + RECORD_HEAD_BYTES + SEAL_BYTES)

int64_t spool_now_ns(void)
{
    return clock_mono_ns();
}

void spool_fail(struct spool *s, int err, const char *what)
{
    int none = 0;
    if (!atomic_compare_exchange_strong(&s->failed, &none, err))
        return;
    log_error(SPOOL_AREA, "%s failed: %s; the spool stops, mail is verified from disk at the next start",
              what, err_text(err));
    if (s->config.on_failed != NULL)
        s->config.on_failed(s->config.ctx, err);
}

static bool no_room(int err)
{
    return err == -ENOSPC || err == -EDQUOT;
}

/* A new message and a copy can be refused; what says how a message stands cannot: it waits for room. */
static bool refusable(const struct rec *r)
{
    return r->type == RECORD_CHUNK || r->type == RECORD_COMMIT || r->step == STEP_FLUSH ||
           r->step == STEP_ABORT;
}

/* Takes what fits the active segment. Returns whether the first record needs another segment. */
static bool batch_take(struct spool *s)
{
    uint64_t bytes = BATCH_RECORD_BYTES;
    uint32_t n = 0;
    const struct segment *seg = s->active;
    for (struct list *link; (link = list_first(&s->queue)) != NULL && n < SPOOL_BATCH_RECORDS;) {
        struct rec *r = LIST_ITEM(link, struct rec, link);
        if (r->bytes > 0) {
            if (seg == NULL)
                return n == 0;
            bool fits = seg->size + bytes + r->bytes + SEAL_ROOM <= s->config.segment_bytes;
            bool alone = seg->size == SEGMENT_HEADER_BYTES && n == 0; /* larger than any segment */
            if (!fits && !alone)
                return n == 0;
            if (bytes + r->bytes > SPOOL_BATCH_BYTES && n > 0)
                return false;
        }
        bytes += r->bytes;
        n++;
        queue_taken(s, r);
        list_remove(link);
        list_push_back(&s->batch, link);
    }
    return false;
}

/* Fills the table of a commit with the places that its chunks got, and sums them up by segment. */
static int commit_place(struct rec *r)
{
    const struct spool_ingest *in = r->in;
    uint8_t *table = rec_payload(r) + r->checked;
    free(r->chunks);
    r->chunks = malloc(sizeof *r->chunks + in->npins * sizeof r->chunks->e[0]);
    if (r->chunks == NULL)
        return -ENOMEM;
    r->chunks->n = in->npins;
    for (uint32_t i = 0; i < in->npins; i++) {
        r->chunks->e[i].segment = in->pins[i];
        r->chunks->e[i].bytes = 0;
    }
    for (const struct chunk_block *b = in->first; b != NULL; b = b->next)
        for (uint32_t i = 0; i < b->n; i++, table += CHUNK_LOC_BYTES) {
            chunk_loc_encode(&b->loc[i], table);
            uint32_t k = 0;
            while (r->chunks->e[k].segment != b->loc[i].segment)
                ensure(++k < in->npins);
            r->chunks->e[k].bytes += record_bytes(b->loc[i].len);
        }
    ensure(table == rec_payload(r) + r->payload);
    return 0;
}

/* A segment with chunks of an unfinished message must not be compacted: nothing else says that they are
 * needed. */
static int pin(struct spool *s, struct spool_ingest *in)
{
    for (uint32_t i = in->npins; i > 0; i--)
        if (in->pins[i - 1] == s->active->number)
            return 0;
    if (in->npins == in->pins_cap) {
        uint32_t cap = in->pins_cap == 0 ? 2 : in->pins_cap * 2;
        uint32_t *pins = realloc(in->pins, cap * sizeof *pins);
        if (pins == NULL)
            return -ENOMEM;
        in->pins = pins;
        in->pins_cap = cap;
    }
    in->pins[in->npins++] = s->active->number;
    pthread_mutex_lock(&s->lock);
    s->active->pins++;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static int rec_place(struct spool *s, struct rec *r, uint32_t offset)
{
    const struct segment *seg = s->active;
    int err = 0;
    r->offset = offset;
    switch (r->type) {
    case RECORD_CHUNK:
        r->loc->segment = seg->number;
        r->loc->offset = offset;
        r->loc->len = r->payload;
        err = pin(s, r->in);
        break;
    case RECORD_COMMIT:
        if (r->in != NULL && r->in->nchunks > 0)
            err = commit_place(r);
        r->msg->placed = seg->number;
        break;
    case RECORD_TOMBSTONE:
        if (r->msg != NULL) /* a copy made by compaction names its target already */
            put_u32(rec_payload(r) + r->payload - 4, r->msg->placed);
        break;
    default:
        break;
    }
    uint8_t *p = rec_payload(r);
    uint32_t crc = ~crc_more(r->part_crc, p + r->checked, r->payload - r->checked);
    record_head_encode(&(struct record_head){ crc, r->payload, r->type, r->flags, r->id },
                       &(struct record_place){ seg->salt, seg->number, offset }, r->data);
    return err;
}

/* Places and writes the batch in the active segment: 0, or the error of the write. */
static int batch_write(struct spool *s)
{
    struct segment *seg = s->active;
    struct iovec iov[SPOOL_BATCH_RECORDS + 1];
    uint8_t head[BATCH_RECORD_BYTES];
    int n = 1;
    bool reserve = false;
    uint64_t bytes = BATCH_RECORD_BYTES;
    uint32_t records = 1;
    LIST_EACH(link, &s->batch)
    {
        struct rec *r = LIST_ITEM(link, struct rec, link);
        reserve |= r->step == STEP_RESERVE && seg != NULL;
        if (r->bytes == 0)
            continue;
        int err = rec_place(s, r, (uint32_t)(seg->size + bytes));
        if (err != 0)
            return err;
        iov[n++] = (struct iovec){ r->data, r->bytes };
        bytes += r->bytes;
        records++;
    }
    if (n == 1 && !reserve)
        return 0;
    ensure(seg->size + bytes <= UINT32_MAX);
    uint64_t floor = id_floor_take(s);
    uint8_t *p = head + RECORD_HEAD_BYTES;
    batch_encode(&(struct batch){ ++s->batch_number, floor, (uint32_t)seg->synced, (uint32_t)bytes }, p);
    record_head_encode(&(struct record_head){ crc_of(p, BATCH_BYTES), BATCH_BYTES, RECORD_BATCH, 0, 0 },
                       &(struct record_place){ seg->salt, seg->number, (uint32_t)seg->size }, head);
    iov[0] = (struct iovec){ head, sizeof head };
    ssize_t done = s->disk->pwritev(s->disk->ctx, seg->fd, iov, n, seg->size);
    if (done < 0)
        return (int)done;
    if ((uint64_t)done != bytes)
        return -ENOSPC; /* what cuts a write of a file short is the end of the room */
    pthread_mutex_lock(&s->lock);
    seg->size += bytes;
    s->stats.appended_bytes += bytes;
    pthread_mutex_unlock(&s->lock);
    seg->records += records;
    s->unsynced += bytes;
    return 0;
}

static int segment_sync(struct spool *s)
{
    struct segment *seg = s->active;
    int err = s->disk->datasync(s->disk->ctx, seg->fd);
    if (err != 0) {
        spool_fail(s, err, "fdatasync");
        return err;
    }
    seg->synced = seg->size;
    s->unsynced = 0;
    s->last_sync_ns = spool_now_ns();
    pthread_mutex_lock(&s->lock);
    s->stats.syncs++;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

/* After a failed or short write: cuts the segment at its last good offset, so that nothing of the failed
 * batch can ever be read, and leaves it. Only when the cut is on disk may anybody be told that it failed. */
static int segment_cut(struct spool *s)
{
    struct segment *seg = s->active;
    int err = s->disk->truncate(s->disk->ctx, seg->fd, seg->size);
    if (err != 0) {
        spool_fail(s, err, "cutting a segment after a failed write");
        return err;
    }
    err = segment_sync(s);
    if (err != 0)
        return err;
    pthread_mutex_lock(&s->lock);
    seg->sealed = true;
    s->active = NULL;
    pthread_cond_signal(&s->background_cond);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

/* A second try for what may have been a passing error of the disk. */
static int create(struct spool *s)
{
    int err = segment_create(s);
    if (err == 0 || s->failed != 0 || no_room(err))
        return err;
    log_warn(SPOOL_AREA, "making a segment failed: %s", err_text(err));
    return segment_create(s);
}

static int rotate(struct spool *s)
{
    if (s->active != NULL) {
        /* chunks that nobody waited for: the older segment is on disk before the newer one is written */
        if (s->unsynced > 0) {
            int err = segment_sync(s);
            if (err != 0)
                return err;
        }
        segment_seal(s, false);
    }
    return create(s);
}

/* No room, or (err) something else that did not go away with a new segment: refuses what can be refused,
 * keeps the rest for later. */
static void batch_give_up(struct spool *s, int err)
{
    struct list refused;
    list_init(&refused);
    if (!s->full)
        log_error(SPOOL_AREA, "writing failed: %s; new messages are refused until it succeeds",
                  err_text(err));
    s->full = true;
    pthread_mutex_lock(&s->lock);
    list_splice(&s->batch, &s->queue);
    for (struct list *link; (link = list_pop_front(&s->batch)) != NULL;) {
        struct rec *r = LIST_ITEM(link, struct rec, link);
        if (refusable(r)) {
            if (r->status == 0)
                r->status = no_room(err) ? ERR_DISK_FULL : err;
            list_push_back(&refused, link);
        } else {
            list_push_back(&s->queue, link);
        }
    }
    s->queue_bytes = 0;
    s->queue_waiters = 0;
    struct list kept;
    list_init(&kept);
    list_splice(&kept, &s->queue);
    for (struct list *link; (link = list_pop_front(&kept)) != NULL;)
        queue_push(s, LIST_ITEM(link, struct rec, link));
    pthread_mutex_unlock(&s->lock);
    batch_finish(s, &refused);
}

/* Writes the batch, in a new segment if the active one fails. False: it was dealt with otherwise. */
static bool batch_write_or_give_up(struct spool *s)
{
    int err = batch_write(s);
    if (err == 0)
        return true;
    log_warn(SPOOL_AREA, "write to segment %08x failed: %s; it is cut at %llu", s->active->number,
             err_text(err), (unsigned long long)s->active->size);
    if (segment_cut(s) != 0)
        return true; /* failed for good: batch_finish answers */
    err = create(s);
    if (err == 0)
        err = batch_write(s);
    if (err == 0 || s->failed != 0)
        return true;
    if (s->active != NULL && segment_cut(s) != 0)
        return true;
    if (!no_room(err) && err != -ENOMEM) {
        spool_fail(s, err, "write");
        return true;
    }
    batch_give_up(s, err);
    s->full_until_ns = spool_now_ns() + SPOOL_FULL_RETRY_NS;
    return false;
}

/* Failed for good: nothing is written any more, everybody is told. */
static bool drain_failed(struct spool *s)
{
    pthread_mutex_lock(&s->lock);
    list_splice(&s->batch, &s->queue);
    s->queue_bytes = 0;
    s->queue_waiters = 0;
    pthread_mutex_unlock(&s->lock);
    if (list_empty(&s->batch))
        return false;
    LIST_EACH(link, &s->batch)
    LIST_ITEM(link, struct rec, link)->status = s->failed;
    batch_finish(s, &s->batch);
    return true;
}

static bool must_sync(const struct spool *s)
{
    if (s->unsynced == 0)
        return false;
    if (s->unsynced >= SPOOL_UNSYNCED_MAX)
        return true;
    LIST_EACH(link, &s->batch)
    {
        const struct rec *r = LIST_ITEM(link, struct rec, link);
        if ((r->bytes > 0 && r->type != RECORD_CHUNK) || r->step == STEP_FLUSH || r->step == STEP_RESERVE)
            return true;
    }
    return false;
}

/* A new segment for the first record in the queue. Returns false when there is none to be had now. */
static bool make_room(struct spool *s)
{
    int err = -ENOSPC;
    bool tried = s->active != NULL || spool_now_ns() >= s->full_until_ns;
    if (tried)
        err = rotate(s);
    if (err == 0 && s->full) {
        s->full = false;
        log_info(SPOOL_AREA, "there is room again");
    }
    if (err == 0 || s->failed != 0)
        return true;
    if (!no_room(err) && err != -ENOMEM) {
        spool_fail(s, err, "making a segment");
        return true;
    }
    batch_give_up(s, err);
    if (tried) /* what is refused meanwhile must not put off the next try, however much comes */
        s->full_until_ns = spool_now_ns() + SPOOL_FULL_RETRY_NS;
    return false;
}

bool spool_writer_step(struct spool *s)
{
    if (s->failed != 0)
        return drain_failed(s);
    pthread_mutex_lock(&s->lock);
    bool room_wanted = batch_take(s);
    pthread_mutex_unlock(&s->lock);
    if (room_wanted) {
        if (!make_room(s))
            return false;
        return spool_writer_step(s);
    }
    if (list_empty(&s->batch))
        return false;
    if (!batch_write_or_give_up(s))
        return true;
    if (s->failed == 0 && must_sync(s))
        (void)segment_sync(s);
    if (s->failed != 0)
        return drain_failed(s);
    batch_finish(s, &s->batch);
    return true;
}

static void sleep_until(struct spool *s, enum writer_sleep how, int64_t ns)
{
    s->sleep = how;
    if (how == SLEEP_IDLE)
        pthread_cond_wait(&s->writer_cond, &s->lock);
    else
        cond_wait_until(&s->writer_cond, &s->lock, ns);
    s->sleep = SLEEP_NONE;
}

/* Returns, the lock held, when a batch should be written. */
static void wait_for_work(struct spool *s)
{
    int64_t gather_since = 0;
    while (!s->stopping) {
        int64_t now = spool_now_ns();
        if (list_empty(&s->queue)) {
            sleep_until(s, SLEEP_IDLE, 0);
            continue;
        }
        if (s->failed != 0)
            return;
        if (s->active == NULL && now < s->full_until_ns) {
            /* what is here waits for room; a new message that comes meanwhile is refused after a short while
             */
            static const int64_t look_ns = 20000000;
            sleep_until(s, SLEEP_NONE, now + look_ns);
            return;
        }
        if (s->queue_waiters == 0 && s->queue_bytes < SPOOL_LAZY_BYTES) {
            if (now >= s->lazy_since_ns + SPOOL_LAZY_NS)
                return;
            sleep_until(s, SLEEP_LAZY, s->lazy_since_ns + SPOOL_LAZY_NS);
            continue;
        }
        if (s->busy_waiters < 2 || now - s->last_sync_ns > SPOOL_BUSY_NS || queue_gathered(s))
            return;
        if (gather_since == 0)
            gather_since = now;
        int64_t deadline = gather_since + (int64_t)s->config.gather_max_us * 1000;
        if (now >= deadline)
            return;
        sleep_until(s, SLEEP_GATHER, deadline);
    }
}

void *spool_writer_main(void *arg)
{
    struct spool *s = arg;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        wait_for_work(s);
        bool stopping = s->stopping;
        bool stop = stopping && list_empty(&s->queue);
        pthread_mutex_unlock(&s->lock);
        if (stop)
            return NULL;
        if (!spool_writer_step(s) && stopping)
            return NULL; /* no room for what is left: spool_close says so */
    }
}
