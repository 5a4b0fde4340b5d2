/* Summaries of sealed segments, written in the background, read at start. */
#include "spool/summary.h"

#include "base/err.h"
#include "base/log.h"
#include "spool/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define HEADER_BYTES 64
#define ENTRY_BYTES 28
#define SUMMARY_MAX (1u << 30)
#define SINK_BYTES (1u << 20)

static const uint8_t magic[8] = { 'T', 'P', 'S', 'U', 'M', 'M', '1', '\n' };

/* A commit without its inline block; the fixed part keeps saying how long that was, but for the stored
 * length. */
static void put_commit(struct buf *out, struct span payload)
{
    struct commit c;
    if (commit_decode(payload, &c) != 0) {
        out->err = ERR_CORRUPT;
        return;
    }
    uint8_t fixed[COMMIT_FIXED_BYTES];
    c.data.n = 0;
    commit_encode_fixed(&c, fixed);
    buf_put(out, fixed, sizeof fixed);
    buf_put_span(out, c.envelope);
    buf_put_span(out, c.table);
}

/* A summary being written: memory does not grow with the segment. */
struct sink {
    struct spool *s;
    struct buf b; /* entries not yet written */
    int fd;
    uint64_t at; /* in the file */
    uint32_t crc;
};

static int sink_write(struct sink *k, const void *p, size_t n, uint64_t at)
{
    struct iovec iov = { (void *)(uintptr_t)p, n };
    ssize_t done = k->s->disk->pwritev(k->s->disk->ctx, k->fd, &iov, 1, at);
    if (done < 0)
        return (int)done;
    return (size_t)done == n ? 0 : -ENOSPC;
}

static int sink_flush(struct sink *k)
{
    if (k->b.len == 0)
        return 0;
    int err = sink_write(k, k->b.data, k->b.len, k->at);
    k->crc = crc_more(k->crc, k->b.data, k->b.len);
    k->at += k->b.len;
    buf_reset(&k->b);
    return err;
}

static int collect(void *ctx, const struct replay_record *r)
{
    struct sink *k = ctx;
    struct buf *out = &k->b;
    if (r->head.type == RECORD_CHUNK)
        return 0;
    size_t at = out->len;
    uint8_t entry[ENTRY_BYTES] = { 0 };
    put_u32(entry + 4, r->offset);
    put_u32(entry + 8, r->head.len);
    entry[12] = r->head.type;
    entry[13] = r->head.flags;
    put_u64(entry + 16, r->head.id);
    buf_put(out, entry, sizeof entry);
    if (r->head.type == RECORD_COMMIT)
        put_commit(out, r->payload);
    else
        buf_put_span(out, r->payload);
    if (buf_err(out) != 0)
        return buf_err(out);
    put_u32(out->data + at, (uint32_t)(out->len - at - ENTRY_BYTES));
    return out->len >= SINK_BYTES ? sink_flush(k) : 0;
}

static int sink_header(struct sink *k, const struct replay *r)
{
    uint8_t h[HEADER_BYTES] = { 0 };
    memcpy(h, magic, sizeof magic);
    put_u32(h + 8, FORMAT_VERSION);
    put_u32(h + 12, r->number);
    put_u64(h + 16, r->header.salt);
    put_u64(h + 24, r->end);
    put_u64(h + 32, r->id_floor);
    put_u64(h + 40, r->batch);
    put_u32(h + 48, (uint32_t)r->records);
    put_u32(h + 56, ~k->crc);
    put_u32(h + 60, crc_of(h, 60));
    return sink_write(k, h, sizeof h, 0);
}

/* The segment is read through a descriptor of its own, held. */
static int fill(struct sink *k, const struct segment *seg, int fd)
{
    struct replay r = { .disk = k->s->disk, .fd = fd, .number = seg->number, .fn = collect, .ctx = k };
    int err = replay_run(&r);
    if (err == 0 && (r.damaged > 0 || r.torn > 0 || r.end != seg->size))
        err = ERR_CORRUPT; /* then the segment itself is what is read at start, and says where it is bad */
    if (err == 0)
        err = sink_flush(k);
    if (err == 0 && k->at > SUMMARY_MAX)
        err = ERR_LIMIT;
    return err == 0 ? sink_header(k, &r) : err;
}

/* Under a temporary name, synced, renamed, the directory synced: a summary with its name is whole. */
static int store(struct spool *s, const struct segment *seg, int from)
{
    char temp[SPOOL_PATH_MAX], path[SPOOL_PATH_MAX];
    segment_path(s, seg->number, "sum.tmp", temp);
    segment_path(s, seg->number, "sum", path);
    const struct disk *d = s->disk;
    (void)d->unlink(d->ctx, temp);
    struct sink k = { .s = s, .fd = d->create(d->ctx, temp), .at = HEADER_BYTES, .crc = CRC_INIT };
    if (k.fd < 0)
        return k.fd;
    buf_init(&k.b, SINK_BYTES + 2 * (size_t)RECORD_PAYLOAD_MAX);
    int err = fill(&k, seg, from);
    if (err == 0)
        err = d->datasync(d->ctx, k.fd);
    buf_fini(&k.b);
    d->close(d->ctx, k.fd);
    if (err == 0)
        err = d->rename(d->ctx, temp, path);
    if (err != 0) {
        (void)d->unlink(d->ctx, temp);
        return err;
    }
    /* The file could be spared, but an error of the directory is told once only, and here that was: a
     * segment's name may be lost with it. */
    err = d->sync_dir(d->ctx, s->dir);
    if (err != 0)
        spool_fail(s, err, "syncing the directory after a summary");
    return err;
}

int summary_write(struct spool *s, struct segment *seg)
{
    pthread_mutex_lock(&s->lock);
    int fd = segment_hold(s, seg);
    pthread_mutex_unlock(&s->lock);
    if (fd < 0)
        return fd;
    int err = store(s, seg, fd);
    pthread_mutex_lock(&s->lock);
    segment_rele(s, seg);
    seg->summarised = true; /* or not to be tried again by this process */
    pthread_mutex_unlock(&s->lock);
    if (err != 0)
        log_warn(SPOOL_AREA, "no summary of segment %08x: %s", seg->number, err_text(err));
    return err;
}

static int load(const struct disk *disk, int fd, struct summary *out)
{
    int64_t size = disk->size(disk->ctx, fd);
    if (size < 0)
        return (int)size;
    if (size < HEADER_BYTES)
        return ERR_CORRUPT;
    if (size > (int64_t)SUMMARY_MAX)
        return ERR_LIMIT;
    out->len = (size_t)size;
    out->bytes = malloc(out->len);
    if (out->bytes == NULL)
        return -ENOMEM;
    for (size_t have = 0; have < out->len;) {
        ssize_t n = disk->pread(disk->ctx, fd, out->bytes + have, out->len - have, have);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return ERR_CORRUPT;
        have += (size_t)n;
    }
    return 0;
}

int summary_load(const struct disk *disk, const char *path, uint32_t number, struct summary *out)
{
    *out = (struct summary){ .number = number };
    int fd = disk->open_read(disk->ctx, path);
    if (fd < 0)
        return fd == -ENOENT ? ERR_NOT_FOUND : fd;
    int err = load(disk, fd, out);
    disk->close(disk->ctx, fd);
    const uint8_t *h = out->bytes;
    if (err == 0 && (memcmp(h, magic, sizeof magic) != 0 || get_u32(h + 8) != FORMAT_VERSION ||
                     get_u32(h + 60) != crc_of(h, 60) || get_u32(h + 12) != number ||
                     get_u32(h + 56) != crc_of(h + HEADER_BYTES, out->len - HEADER_BYTES)))
        err = ERR_CORRUPT;
    if (err != 0) {
        summary_unload(out);
        return err;
    }
    out->salt = get_u64(h + 16);
    out->end = get_u64(h + 24);
    out->id_floor = get_u64(h + 32);
    out->batch = get_u64(h + 40);
    out->records = get_u32(h + 48);
    return 0;
}

void summary_unload(struct summary *m)
{
    free(m->bytes);
    m->bytes = NULL;
    m->len = 0;
}

int summary_each(const struct summary *m, summary_fn *fn, void *ctx)
{
    const uint8_t *p = m->bytes + HEADER_BYTES;
    const uint8_t *end = m->bytes + m->len;
    while (p < end) {
        if (end - p < ENTRY_BYTES)
            return ERR_CORRUPT;
        uint32_t len = get_u32(p);
        if (len > (size_t)(end - p - ENTRY_BYTES))
            return ERR_CORRUPT;
        struct replay_record r = {
            .head = { .len = len, .type = p[12], .flags = p[13], .id = get_u64(p + 16) },
            .segment = m->number,
            .offset = get_u32(p + 4),
            .payload = span_of(p + ENTRY_BYTES, len),
        };
        int err = fn(ctx, &r, get_u32(p + 8));
        if (err != 0)
            return err;
        p += ENTRY_BYTES + len;
    }
    return 0;
}
