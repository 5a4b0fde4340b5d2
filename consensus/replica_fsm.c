/* The machine as libraft sees it: applying entries, taking snapshots, restoring them.
 *
 * Taking one. libraft asks when the entries since the last one reach a threshold; the threshold is lowered
 * here when their bytes do. libraft's own "asynchronous" encoding runs on the loop (0.22.1), so it is not
 * used: the state is marked there, and encoded slice by slice (replica_encode.c) when libraft comes to write
 * it (io_snapshot_put). What is on disk is the machine's bytes, zeros to a multiple of 8, and a trailer with
 * length and CRC-32C, since libraft checks a snapshot's metadata only.
 */
#include "consensus/replica_impl.h"

#include "base/cursor.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <limits.h>
#include <string.h>

#define TRAILER_BYTES 24
#define TRAILER_FORMAT 1
static const char trailer_magic[8] = "TPSNAP\r\n";

/* ---- when, and how much of the log stays -----------------------------------------------------------------
 */

static void blocks_reset(struct replica *r, uint64_t index)
{
    memset(r->block_bytes, 0, sizeof r->block_bytes);
    r->block = index / REPLICA_BLOCK;
    r->known_from = index;
}

static void count_entry(struct replica *r, uint64_t index, uint64_t bytes)
{
    if (r->known_from == 0)
        blocks_reset(r, index);
    uint64_t block = index / REPLICA_BLOCK;
    while (r->block < block)
        r->block_bytes[++r->block % REPLICA_BLOCKS] = 0;
    r->block_bytes[block % REPLICA_BLOCKS] += bytes;
    r->since_bytes += bytes;
}

/* Of the entries up to `index`, so many as REPLICA_TRAILING_BYTES and trailing_max allow. */
static unsigned trailing_entries(const struct replica *r, uint64_t index)
{
    uint64_t bytes = r->block_bytes[r->block % REPLICA_BLOCKS];
    uint64_t from = r->block * REPLICA_BLOCK;
    for (uint64_t n = 1; n < REPLICA_BLOCKS - 1 && n <= r->block; n++) {
        bytes += r->block_bytes[(r->block - n) % REPLICA_BLOCKS];
        if (bytes > REPLICA_TRAILING_BYTES || index - (r->block - n) * REPLICA_BLOCK > r->trailing_max)
            break;
        from = (r->block - n) * REPLICA_BLOCK;
    }
    if (from < r->known_from)
        from = r->known_from;
    /* Not 0, which would mean an install to libraft. */
    return index > from ? (unsigned)(index - from) : 1;
}

/* How much log there may be before the next one. Up to a quarter less, another part for each node and each
 * snapshot: nodes that take theirs at the same entry are slow at the same time, and everybody waits for the
 * majority. Multiples of the golden ratio lie far from each other. */
static uint64_t log_limit(const struct replica *r)
{
    uint64_t limit = r->config.snapshot_bytes,
             part = (r->config.id + r->snapshot_index) * 0x9e3779b97f4a7c15u >> 56;
    if (limit < r->snapshot_bytes / 4)
        limit = r->snapshot_bytes / 4;
    return limit - limit / 1024 * part;
}

static void consider_snapshot(struct replica *r, uint64_t index)
{
    if (r->since_bytes < log_limit(r) || r->taking || r->copying || r->held != NULL || r->failed != 0)
        return;
    if (r->take_retry_ms != 0 && replica_mono_ms() < r->take_retry_ms)
        return;
    raft_set_snapshot_trailing(&r->raft, trailing_entries(r, index));
    raft_set_snapshot_threshold(&r->raft, 1);
}

/* A follower gets a whole snapshot in one message: at 4 MiB a second at worst, and some time to write it. */
static void size_known(struct replica *r, uint64_t bytes)
{
    r->snapshot_bytes = bytes;
    r->install_timeout_ms = 3000 + (int64_t)(bytes * 1000 / (4u << 20));
    raft_set_install_snapshot_timeout(&r->raft, (unsigned)r->install_timeout_ms);
}

/* ---- applying ------------------------------------------------------------------------------------------ */

/* Never an error to libraft, which would free the entries twice. */
static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct replica *r = fsm->data;
    *result = NULL;
    if (r->fenced)
        return 0;
    uint64_t index = raft_last_applied(&r->raft) + 1;
    int err = machine_apply(r->config.machine, index, buf->base, buf->len, &r->effects);
    if (err != 0) {
        replica_fail(r, err, false, "entry %llu of the cluster's log cannot be applied: %s",
                     (unsigned long long)index, err_text(err));
        return 0;
    }
    count_entry(r, index, buf->len + REPLICA_ENTRY_OVERHEAD);
    consider_snapshot(r, index);
    if (r->config.on_effects != NULL)
        r->config.on_effects(r->config.ctx, index, &r->effects);
    return 0;
}

/* ---- taking a snapshot --------------------------------------------------------------------------------- */

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct replica *r = fsm->data;
    *bufs = NULL;
    *n_bufs = 0;
    raft_set_snapshot_threshold(&r->raft, UINT_MAX);
    if (r->failed != 0 || r->closing != REPLICA_OPEN || r->held != NULL || r->taking || r->copying)
        return RAFT_BUSY;
    if (raft_last_applied(&r->raft) != raft_commit_index(&r->raft))
        return RAFT_BUSY; /* libraft would name it by what is committed */
    int err = machine_snapshot_begin(r->config.machine);
    if (err != 0) {
        r->take_retry_ms = replica_mono_ms() + REPLICA_SNAPSHOT_RETRY_MS;
        log_warn(REPLICA_LOG, "no snapshot can be taken now: %s", err_text(err));
        return RAFT_NOMEM;
    }
    r->take_log = r->since_bytes;
    r->take_index = raft_last_applied(&r->raft);
    r->taking = true;
    return 0;
}

static int fsm_snapshot_finalize(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct replica *r = fsm->data;
    if (*bufs != NULL)
        replica_bufs_discard(r, *bufs, *n_bufs);
    *bufs = NULL;
    *n_bufs = 0;
    r->taking = false; /* one that was held back is released in the next turn */
    return 0;
}

static void put_finish(struct replica *r, int status)
{
    ensure(r->put.active);
    r->put.active = false;
    r->put.cb(r->put.theirs, status);
}

static void put_done(struct raft_io_snapshot_put *req, int status)
{
    struct replica *r = req->data;
    if (status != 0 && status != RAFT_CANCELED)
        replica_fail(r, status == RAFT_NOSPACE ? ERR_DISK_FULL : -EIO, true,
                     "%s: a snapshot cannot be written: %s", r->dir, raft_strerror(status));
    if (status == 0 && r->put.take) {
        r->taken++;
        r->snapshot_index = r->take_index;
        size_known(r, r->take_bytes);
    }
    put_finish(r, status);
}

static void put_write(struct replica *r, unsigned trailing, const struct raft_snapshot *snapshot)
{
    int rv = r->fenced ? RAFT_CANCELED
             : r->fault == REPLICA_FAULT_SNAPSHOT
                 ? RAFT_IOERR
                 : r->real.snapshot_put(&r->io, trailing, &r->put.req, snapshot, put_done);
    if (rv == 0)
        return;
    replica_fail(r, -EIO, r->put.take, "%s: a snapshot cannot be written: %s", r->dir, raft_strerror(rv));
    put_finish(r, rv);
}

int replica_trailer_put(struct buf *b, uint64_t content_bytes, uint32_t crc)
{
    static const char zeros[8];
    (void)buf_put(b, zeros, (size_t)(-content_bytes % 8));
    (void)buf_put_u64(b, content_bytes);
    (void)buf_put_u32(b, crc);
    (void)buf_put_u32(b, TRAILER_FORMAT);
    (void)buf_put(b, trailer_magic, sizeof trailer_magic);
    return buf_err(b);
}

uint32_t replica_crc(const void *p, size_t n)
{
    uint32_t sum = 0;
    for (size_t at = 0; at < n;) {
        size_t part = n - at < REPLICA_SNAPSHOT_CHUNK ? n - at : REPLICA_SNAPSHOT_CHUNK;
        sum = crc32_iscsi((unsigned char *)(uintptr_t)p + at, (int)part, sum);
        at += part;
    }
    return sum;
}

static void encoded(struct replica *r, int err, struct replica_encoding *e)
{
    r->take_bytes = e->bytes;
    if (err == 0)
        err = replica_encoding_trailer(e);
    if (err != 0 || r->fenced || r->closing >= REPLICA_CLOSE_ENCODE) {
        if (err != 0 && err != ERR_CLOSED)
            log_warn(REPLICA_LOG, "a snapshot cannot be taken: %s", err_text(err));
        r->take_retry_ms = replica_mono_ms() + REPLICA_SNAPSHOT_RETRY_MS;
        put_finish(r, RAFT_CANCELED);
        return;
    }
    r->take_into->bufs = e->bufs;
    r->take_into->n_bufs = e->n;
    e->bufs = NULL;
    r->take_retry_ms = 0;
    r->since_bytes -= r->take_log;
    r->put.since_ms = r->watch_ms;
    put_write(r, r->take_trailing, r->take_into);
}

void replica_fsm_encode(struct replica *r, unsigned trailing, const struct raft_snapshot *snapshot)
{
    r->put.req.data = r;
    if (!r->put.take) {
        put_write(r, trailing, snapshot);
        return;
    }
    r->take_trailing = trailing;
    r->take_into = (struct raft_snapshot *)(uintptr_t)snapshot; /* of libraft's heap, filled by its caller */
    replica_encode(r, REPLICA_SNAPSHOT_CHUNK, encoded);
}

/* ---- restoring ----------------------------------------------------------------------------------------- */

static int check(const struct raft_buffer *buf, size_t *content)
{
    if (buf->len < TRAILER_BYTES || buf->len % 8 != 0)
        return ERR_TORN;
    struct cursor c;
    cursor_init(&c, (const char *)buf->base + buf->len - TRAILER_BYTES, TRAILER_BYTES);
    uint64_t n = cursor_u64(&c);
    uint32_t crc = cursor_u32(&c);
    uint32_t format = cursor_u32(&c);
    struct span magic = cursor_bytes(&c, sizeof trailer_magic);
    if (cursor_err(&c) != 0 || !span_eq(magic, span_of(trailer_magic, sizeof trailer_magic)))
        return ERR_CORRUPT;
    if (format != TRAILER_FORMAT)
        return ERR_NOT_FOUND;
    if (n > buf->len - TRAILER_BYTES || buf->len - TRAILER_BYTES - n >= 8)
        return ERR_CORRUPT;
    *content = n;
    return replica_crc(buf->base, n) == crc ? 0 : ERR_CORRUPT;
}

/* Takes buf->base on success. Once running, there is no error to libraft: see fsm_apply. */
static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct replica *r = fsm->data;
    size_t n = 0;
    int err = r->fenced ? ERR_CLOSED : check(buf, &n);
    if (err == 0)
        err = machine_restore(r->config.machine, buf->base, n);
    if (err != 0) {
        if (!r->fenced)
            replica_fail(r, err, false, "%s: a snapshot cannot be restored: %s", r->dir, err_text(err));
        if (!r->started)
            return RAFT_CORRUPT;
    } else {
        size_known(r, buf->len);
        r->snapshot_index = machine_applied(r->config.machine);
    }
    raft_free(buf->base);
    r->since_bytes = 0;
    r->known_from = 0;
    if (err == 0 && r->started) {
        r->installed++;
        struct machine_effect all = { .change = MACHINE_CHANGED_ALL };
        struct machine_effects effects = { .items = &all, .n = 1, .cap = 1 };
        if (r->config.on_effects != NULL)
            r->config.on_effects(r->config.ctx, r->snapshot_index, &effects);
    }
    return 0;
}

void replica_fsm_init(struct replica *r)
{
    r->fsm = (struct raft_fsm){
        .version = 2,
        .data = r,
        .apply = fsm_apply,
        .snapshot = fsm_snapshot,
        .restore = fsm_restore,
        .snapshot_finalize = fsm_snapshot_finalize,
    };
}
