/* The machine's state, encoded on the loop, a slice in each turn: for a snapshot, or for a copy. Not in a
 * thread of the pool: each step has the machine's lock, and on a busy machine a thread that has it may not be
 * given a processor for a long time. The loop, though it goes before others, stood still for up to 170 ms.
 *
 * What was encoded is freed likewise: to give some hundred MiB back to the system takes a while, too, in
 * which it gives none to other threads.
 */
#include "consensus/replica_impl.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <limits.h>
#include <stdlib.h>

#define SLICE_NS 250000
#define PAUSE_MS 1 /* between slices: four fifths of the time are for others */
/* While the log grows: others wait for this thread, and what is encoded can wait, until so much log has come.
 */
#define PAUSE_BUSY_MS 5
#define BUSY_LOG_BYTES (6u << 20)
#define STEP_ROOM (1u << 20)

/* ---- what was encoded ---------------------------------------------------------------------------------- */

static void on_slice(uv_timer_t *timer);

static void slice_in(struct replica *r, uint64_t ms)
{
    ensure(uv_timer_start(&r->slice, on_slice, ms, 0) == 0);
}

static void spent_free(struct replica *r, unsigned left)
{
    while (r->nspent > left)
        free(r->spent[--r->nspent].base);
    if (r->nspent > 0)
        return;
    free(r->spent);
    r->spent = NULL;
}

void replica_bufs_discard(struct replica *r, struct raft_buffer *bufs, unsigned n)
{
    spent_free(r, 0);
    r->spent = bufs;
    r->nspent = n;
    if (r->closing >= REPLICA_CLOSE_ENCODE)
        spent_free(r, 0);
    else if (!r->encoding.active)
        slice_in(r, PAUSE_MS);
}

/* ---- encoding ------------------------------------------------------------------------------------------ */

/* Takes the memory of e->part. */
static int part_add(struct replica_encoding *e)
{
    if (e->n == e->cap) {
        unsigned cap = e->cap == 0 ? 16 : 2 * e->cap;
        struct raft_buffer *bufs = realloc(e->bufs, cap * sizeof *bufs);
        if (bufs == NULL)
            return -ENOMEM;
        e->bufs = bufs;
        e->cap = cap;
    }
    e->bufs[e->n++] = (struct raft_buffer){ .base = e->part.data, .len = e->part.len };
    buf_init(&e->part, e->part.max);
    return 0;
}

int replica_encoding_trailer(struct replica_encoding *e)
{
    int err = replica_trailer_put(&e->part, e->bytes, e->crc);
    return err != 0 ? err : part_add(e);
}

static int step(struct replica *r)
{
    struct replica_encoding *e = &r->encoding;
    size_t before = e->part.len;
    if (e->chunk != 0 && before == 0)
        (void)buf_reserve(&e->part, e->chunk + STEP_ROOM); /* not doubled and copied on the way */
    int more = machine_snapshot_step(r->config.machine, &e->part);
    if (more < 0 || buf_err(&e->part) != 0)
        return more < 0 ? more : buf_err(&e->part);
    size_t n = e->part.len - before;
    e->crc = crc32_iscsi((unsigned char *)e->part.data + before, (int)n, e->crc);
    e->bytes += n;
    if (e->bytes > REPLICA_SNAPSHOT_BYTES_MAX)
        return ERR_LIMIT;
    bool full = more == 0 || (e->chunk != 0 && e->part.len >= e->chunk);
    int err = full && e->part.len > 0 ? part_add(e) : 0;
    return err != 0 ? err : more;
}

static void finish(struct replica *r, int err)
{
    struct replica_encoding e = r->encoding;
    r->encoding = (struct replica_encoding){ 0 };
    (void)uv_timer_stop(&r->slice);
    machine_snapshot_end(r->config.machine);
    e.done(r, err, &e);
    buf_fini(&e.part);
    if (e.bufs != NULL)
        replica_bufs_discard(r, e.bufs, e.n);
}

/* As much of it as of the log that it may take. How large it gets is guessed: as the last one, or the log. */
static uint64_t pause_ms(struct replica *r)
{
    struct replica_encoding *e = &r->encoding;
    uint64_t log = r->since_bytes - e->since_bytes,
             size = r->snapshot_bytes > e->since_bytes ? r->snapshot_bytes : e->since_bytes;
    bool busy = r->since_bytes != e->seen_bytes;
    e->seen_bytes = r->since_bytes;
    return busy && log < BUSY_LOG_BYTES && e->bytes >= size / BUSY_LOG_BYTES * log ? PAUSE_BUSY_MS : PAUSE_MS;
}

static void on_slice(uv_timer_t *timer)
{
    struct replica *r = timer->data;
    if (r->nspent > 0) {
        spent_free(r, r->nspent - 1);
        if (r->nspent > 0 || r->encoding.active)
            slice_in(r, PAUSE_MS);
        return;
    }
    if (!r->encoding.active)
        return;
    int64_t until = clock_mono_ns() + SLICE_NS;
    int more;
    do
        more = step(r);
    while (more == 1 && clock_mono_ns() < until);
    if (more == 1)
        slice_in(r, pause_ms(r));
    else
        finish(r, more);
}

void replica_encode(struct replica *r, size_t chunk, replica_encoded_cb *done)
{
    ensure(!r->encoding.active);
    r->encoding = (struct replica_encoding){ .active = true,
                                             .chunk = chunk,
                                             .done = done,
                                             .since_bytes = r->since_bytes,
                                             .seen_bytes = r->since_bytes };
    buf_init(&r->encoding.part, INT_MAX);
    slice_in(r, 0);
}

void replica_encode_cancel(struct replica *r)
{
    if (r->encoding.active)
        finish(r, ERR_CLOSED);
    spent_free(r, 0);
}
