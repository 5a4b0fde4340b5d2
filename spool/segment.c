/* The table of segments, their descriptors, and the making and sealing of one. The table stands under the
 * spool's lock; making and sealing is the writer's (or spool_open's, before there are threads).
 */
#include "spool/internal.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

void segment_path(const struct spool *s, uint32_t number, const char *suffix, char out[SPOOL_PATH_MAX])
{
    snprintf(out, SPOOL_PATH_MAX, "%s/%08x.%s", s->dir, number, suffix);
}

struct segment *segment_new(uint32_t number)
{
    struct segment *seg = calloc(1, sizeof *seg);
    if (seg != NULL) {
        seg->number = number;
        seg->fd = -1;
    }
    return seg;
}

/* Place of the first segment with a number >= this one. */
static uint32_t place_of(const struct spool *s, uint32_t number)
{
    uint32_t low = 0, high = s->nsegments;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (s->segments[mid]->number < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct segment *segments_find(struct spool *s, uint32_t number)
{
    uint32_t at = place_of(s, number);
    return at < s->nsegments && s->segments[at]->number == number ? s->segments[at] : NULL;
}

int segments_add(struct spool *s, struct segment *seg)
{
    if (s->nsegments == s->segments_cap) {
        uint32_t cap = s->segments_cap == 0 ? 64 : s->segments_cap * 2;
        struct segment **all = realloc(s->segments, cap * sizeof(struct segment *));
        if (all == NULL)
            return -ENOMEM;
        s->segments = all;
        s->segments_cap = cap;
    }
    uint32_t at = place_of(s, seg->number);
    ensure(at == s->nsegments || s->segments[at]->number != seg->number);
    memmove(s->segments + at + 1, s->segments + at, (s->nsegments - at) * sizeof(struct segment *));
    s->segments[at] = seg;
    s->nsegments++;
    return 0;
}

static void fd_close(struct spool *s, struct segment *seg)
{
    if (seg->fd < 0)
        return;
    s->disk->close(s->disk->ctx, seg->fd);
    seg->fd = -1;
    s->open_fds--;
}

static void segment_free(struct spool *s, struct segment *seg)
{
    fd_close(s, seg);
    free(seg->tombs);
    free(seg);
}

void segments_remove(struct spool *s, struct segment *seg)
{
    uint32_t at = place_of(s, seg->number);
    ensure(at < s->nsegments && s->segments[at] == seg);
    s->nsegments--;
    memmove(s->segments + at, s->segments + at + 1, (s->nsegments - at) * sizeof(struct segment *));
    seg->gone = true;
    if (seg->refs == 0)
        segment_free(s, seg);
}

/* Keeps the number of idle descriptors bounded: with a terabyte of mail there are more segments than the
 * process may have files open. */
static void fd_spare(struct spool *s)
{
    static const uint32_t tries = 64;
    if (s->open_fds <= SPOOL_FDS_MAX || s->nsegments == 0)
        return;
    uint32_t start = (uint32_t)((uint64_t)clock_mono_ns() % s->nsegments);
    for (uint32_t i = 0; i < tries && i < s->nsegments; i++) {
        struct segment *seg = s->segments[(start + i) % s->nsegments];
        if (seg->fd >= 0 && seg->refs == 0 && seg != s->active) {
            fd_close(s, seg);
            return;
        }
    }
}

int segment_hold(struct spool *s, struct segment *seg)
{
    if (seg->fd < 0) {
        fd_spare(s);
        char path[SPOOL_PATH_MAX];
        segment_path(s, seg->number, "seg", path);
        int fd = s->disk->open_read(s->disk->ctx, path);
        if (fd < 0)
            return fd;
        seg->fd = fd;
        s->open_fds++;
    }
    seg->refs++;
    return seg->fd;
}

void segment_rele(struct spool *s, struct segment *seg)
{
    ensure(seg->refs > 0);
    if (--seg->refs == 0 && seg->gone)
        segment_free(s, seg);
}

int segment_tomb_add(struct segment *seg, uint32_t target, uint32_t bytes)
{
    /* the end of the list first: neighbours in the log mostly end messages of the same segment */
    for (uint32_t i = seg->ntombs; i > 0; i--)
        if (seg->tombs[i - 1].target == target) {
            seg->tombs[i - 1].bytes += bytes;
            return 0;
        }
    if (seg->ntombs == seg->tombs_cap) {
        uint32_t cap = seg->tombs_cap == 0 ? 4 : seg->tombs_cap * 2;
        struct tomb_count *tombs = realloc(seg->tombs, cap * sizeof *tombs);
        if (tombs == NULL)
            return -ENOMEM;
        seg->tombs = tombs;
        seg->tombs_cap = cap;
    }
    seg->tombs[seg->ntombs++] = (struct tomb_count){ target, bytes };
    return 0;
}

bool tombstone_needed(struct spool *s, const struct segment *seg, uint32_t target)
{
    if (target != seg->number && segments_find(s, target) != NULL)
        return true;
    for (uint32_t i = 0; i < s->nsegments && s->segments[i]->number < target; i++)
        if (s->segments[i]->stale && s->segments[i] != seg)
            return true;
    return false;
}

uint64_t segment_needed(struct spool *s, const struct segment *seg)
{
    uint64_t needed = seg->live + seg->states;
    for (uint32_t i = 0; i < seg->ntombs; i++)
        if (tombstone_needed(s, seg, seg->tombs[i].target))
            needed += seg->tombs[i].bytes;
    return needed;
}

static int header_write(struct spool *s, int fd, struct segment *seg, uint64_t id_floor)
{
    uint8_t header[SEGMENT_HEADER_BYTES];
    segment_header_encode(&(struct segment_header){ seg->number, seg->salt, id_floor }, header);
    struct iovec iov = { header, sizeof header };
    ssize_t n = s->disk->pwritev(s->disk->ctx, fd, &iov, 1, 0);
    if (n < 0)
        return (int)n;
    return n == (ssize_t)sizeof header ? 0 : -ENOSPC;
}

int segment_create(struct spool *s)
{
    pthread_mutex_lock(&s->lock);
    uint32_t number = s->next_segment++;
    pthread_mutex_unlock(&s->lock);
    uint64_t id_floor = id_floor_take(s);
    struct segment *seg = segment_new(number);
    if (seg == NULL)
        return -ENOMEM;
    ensure(getrandom(&seg->salt, sizeof seg->salt, 0) == (ssize_t)sizeof seg->salt);
    char path[SPOOL_PATH_MAX];
    segment_path(s, number, "seg", path);
    int fd = s->disk->create(s->disk->ctx, path);
    if (fd < 0) {
        free(seg);
        return fd;
    }
    /* With the room and the size there from the start, a sync of data need not write the inode. Not being
     * able to is no error: the write will say whether there is room. */
    (void)s->disk->allocate(s->disk->ctx, fd, s->config.segment_bytes);
    int err = header_write(s, fd, seg, id_floor);
    if (err != 0) {
        s->disk->close(s->disk->ctx, fd);
        (void)s->disk->unlink(s->disk->ctx, path);
        free(seg);
        return err;
    }
    /* The name must be on disk before any answer depends on what the file holds. */
    err = s->disk->datasync(s->disk->ctx, fd);
    if (err == 0)
        err = s->disk->sync_dir(s->disk->ctx, s->dir);
    if (err != 0) {
        s->disk->close(s->disk->ctx, fd);
        free(seg);
        spool_fail(s, err, "syncing a new segment");
        return err;
    }
    seg->fd = fd;
    seg->size = seg->synced = SEGMENT_HEADER_BYTES;
    pthread_mutex_lock(&s->lock);
    s->open_fds++;
    s->stats.syncs += 2;
    err = segments_add(s, seg);
    if (err == 0)
        s->active = seg;
    else
        segment_free(s, seg);
    pthread_mutex_unlock(&s->lock);
    return err;
}

int segment_seal(struct spool *s, bool last)
{
    struct segment *seg = s->active;
    ensure(seg->synced == seg->size);
    uint8_t tail[RECORD_HEAD_BYTES * 2 + BATCH_BYTES + SEAL_BYTES];
    /* exact when no more ids are given: so orderly restarts do not drive ids ahead of the clock */
    uint64_t floor = last ? s->last_id + 1 : id_floor_take(s);

    /* The seal is a batch of its own, so its presence says that all before it is on disk. Losing it costs the
     * next start a rewrite of this segment and nothing else; so a failure to write it is none. */
    struct record_place at = { seg->salt, seg->number, (uint32_t)seg->size };
    uint8_t *p = tail + RECORD_HEAD_BYTES;
    batch_encode(&(struct batch){ ++s->batch_number, floor, (uint32_t)seg->size, sizeof tail }, p);
    record_head_encode(&(struct record_head){ crc_of(p, BATCH_BYTES), BATCH_BYTES, RECORD_BATCH, 0, 0 }, &at,
                       tail);
    uint8_t *second = p + BATCH_BYTES;
    p = second + RECORD_HEAD_BYTES;
    at.offset += RECORD_HEAD_BYTES + BATCH_BYTES;
    seal_encode(&(struct seal){ floor, seg->records }, p);
    record_head_encode(&(struct record_head){ crc_of(p, SEAL_BYTES), SEAL_BYTES, RECORD_SEAL, 0, 0 }, &at,
                       second);

    struct iovec iov = { tail, sizeof tail };
    ssize_t n = s->disk->pwritev(s->disk->ctx, seg->fd, &iov, 1, seg->size);
    uint64_t end = seg->size + (n == (ssize_t)sizeof tail ? sizeof tail : 0);
    if (n != (ssize_t)sizeof tail)
        log_warn(SPOOL_AREA, "segment %08x: no seal: %s", seg->number, err_text(n < 0 ? (int)n : -ENOSPC));
    int err = s->disk->truncate(s->disk->ctx, seg->fd, end);
    if (err != 0)
        log_warn(SPOOL_AREA, "segment %08x: giving room back: %s", seg->number, err_text(err));
    pthread_mutex_lock(&s->lock);
    seg->size = end;
    seg->sealed = true;
    s->active = NULL;
    pthread_cond_signal(&s->background_cond);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

int segment_read(const struct spool *s, const struct segment *seg, int fd, uint32_t offset, uint8_t type,
                 uint64_t id, uint32_t len, uint8_t *out)
{
    uint8_t *whole = out - RECORD_HEAD_BYTES;
    size_t need = RECORD_HEAD_BYTES + len, have = 0;
    while (have < need) {
        ssize_t n = s->disk->pread(s->disk->ctx, fd, whole + have, need - have, offset + have);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return ERR_CORRUPT;
        have += (size_t)n;
    }
    struct record_head head;
    if (!record_head_decode(whole, &(struct record_place){ seg->salt, seg->number, offset }, &head) ||
        head.type != type || head.id != id || head.len != len || head.payload_crc != crc_of(out, len))
        return ERR_CORRUPT;
    return 0;
}
