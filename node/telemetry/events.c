/* The event log's buffers and its writer. Events are put by the threads that own the shards; the writer
 * thread swaps a shard's full buffer for an empty one and writes it. */
#include "node/telemetry/events.h"

#include "base/clock.h"
#include "base/cond.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "node/telemetry/events_json.h"
#include "node/telemetry/events_sink.h"
#include "node/telemetry/events_tail.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define BYTES_MAX_DEFAULT (UINT64_C(32) << 20)
#define GATHER_MS 100      /* lines wait at most so long for others */
#define URGENT_BYTES 65536 /* more than this in a shard does not wait */
#define KEEP_BYTES 262144  /* an idle buffer keeps no more */
#define COMPLAIN_MS 60000
#define TAIL_BYTES (4u << 20) /* the last lines, in memory */

struct shard {
    _Alignas(64) pthread_mutex_t lock;
    struct buf fill;  /* lines; under lock */
    uint64_t lines;   /* in fill; under lock */
    uint64_t dropped; /* under lock; taken by the writer when it tells of them */
    struct events_clock clock;
    struct buf out; /* the writer's */
};

struct events {
    struct buf node; /* JSON */
    uint32_t nshards;
    struct shard *shards;
    struct events_sink sink; /* the writer's, after the start */
    struct events_tail *tail;
    pthread_t writer;

    pthread_mutex_t lock;
    pthread_cond_t wake;    /* for the writer */
    pthread_cond_t flushed; /* from it */
    bool pending;           /* under lock: a shard has lines */
    bool urgent, reopen, stop;
    bool retarget; /* `next` is to be taken */
    struct events_sink next;
    uint64_t flush_asked, flush_done;

    atomic_bool enabled;
    atomic_uint_fast64_t written, dropped, bytes, errors;
    int64_t complained_ms;     /* the writer's */
    struct events_clock clock; /* the writer's */
};

static void signal_writer(struct events *ev, bool urgent)
{
    pthread_mutex_lock(&ev->lock);
    bool was = ev->pending && (ev->urgent || !urgent);
    ev->pending = true;
    ev->urgent |= urgent;
    pthread_mutex_unlock(&ev->lock);
    if (!was)
        pthread_cond_signal(&ev->wake);
}

void events_put(struct events *ev, uint32_t shard, const struct event *e)
{
    ensure(shard < ev->nshards);
    if (!atomic_load_explicit(&ev->enabled, memory_order_relaxed))
        return;
    struct shard *s = &ev->shards[shard];
    struct event stamped = *e;
    if (stamped.ts_ms == 0)
        stamped.ts_ms = clock_wall_ms();
    pthread_mutex_lock(&s->lock);
    size_t before = s->fill.len;
    if (events_json_put(&s->fill, &stamped, buf_span(&ev->node), &s->clock) == 0) {
        s->lines++;
    } else {
        s->fill.len = before;
        s->fill.err = 0;
        s->dropped++;
    }
    size_t after = s->fill.len;
    pthread_mutex_unlock(&s->lock);
    if (before == 0 || (before < URGENT_BYTES && after >= URGENT_BYTES))
        signal_writer(ev, after >= URGENT_BYTES);
}

/* ---- the writer ---- */

static void complain(struct events *ev, int err)
{
    int64_t now = clock_boot_ms();
    atomic_fetch_add(&ev->errors, 1);
    if (ev->complained_ms != 0 && now - ev->complained_ms < COMPLAIN_MS)
        return;
    ev->complained_ms = now;
    log_error("events", "cannot write the event log%s%s: %s; events are lost meanwhile",
              ev->sink.path != NULL ? " " : "", ev->sink.path != NULL ? ev->sink.path : "", err_text(err));
}

static void write_out(struct events *ev, struct buf *out, uint64_t lines)
{
    uint64_t lost = 0;
    if (out->len == 0)
        return;
    events_tail_put(ev->tail, buf_span(out));
    int err = events_sink_write(&ev->sink, out->data, out->len, &lost);
    if (err != 0)
        complain(ev, err);
    atomic_fetch_add(&ev->written, lines > lost ? lines - lost : 0);
    atomic_fetch_add(&ev->dropped, lost);
    atomic_fetch_add(&ev->bytes, out->len);
    buf_reset(out);
    buf_shrink(out, KEEP_BYTES);
}

static void write_shard(struct events *ev, struct shard *s)
{
    pthread_mutex_lock(&s->lock);
    struct buf full = s->fill;
    uint64_t lines = s->lines, dropped = s->dropped;
    s->fill = s->out;
    s->lines = s->dropped = 0;
    pthread_mutex_unlock(&s->lock);
    s->out = full;
    write_out(ev, &s->out, lines);
    if (dropped == 0)
        return;
    atomic_fetch_add(&ev->dropped, dropped);
    if (events_json_put_dropped(&s->out, dropped, clock_wall_ms(), buf_span(&ev->node), &ev->clock) == 0)
        write_out(ev, &s->out, 0);
    buf_reset(&s->out);
}

static void reopen(struct events *ev)
{
    struct events_sink fresh;
    if (ev->sink.target != EVENTS_FILE)
        return;
    int err = events_sink_open(&fresh, EVENTS_FILE, ev->sink.path);
    if (err != 0) {
        log_error("events", "cannot open %s again: %s; the file that is open stays in use", ev->sink.path,
                  err_text(err));
        return;
    }
    events_sink_close(&ev->sink);
    ev->sink = fresh;
}

/* Waits for work; true: it is time to stop. What was asked for is taken. */
static bool writer_wait(struct events *ev, uint64_t *flush)
{
    pthread_mutex_lock(&ev->lock);
    while (!ev->pending && !ev->stop && !ev->reopen && !ev->retarget && ev->flush_asked == ev->flush_done)
        pthread_cond_wait(&ev->wake, &ev->lock);
    int64_t until = clock_mono_ns() + GATHER_MS * 1000000L;
    while (!ev->urgent && !ev->stop && ev->flush_asked == ev->flush_done)
        if (cond_wait_until(&ev->wake, &ev->lock, until) != 0)
            break;
    ev->pending = ev->urgent = false;
    *flush = ev->flush_asked;
    bool stop = ev->stop;
    if (ev->retarget) {
        ev->retarget = false;
        events_sink_close(&ev->sink);
        ev->sink = ev->next;
        ev->reopen = false;
    } else if (ev->reopen) {
        ev->reopen = false;
        pthread_mutex_unlock(&ev->lock);
        reopen(ev);
        return stop;
    }
    pthread_mutex_unlock(&ev->lock);
    return stop;
}

static void *writer_main(void *arg)
{
    struct events *ev = arg;
    bool stop;
    do {
        uint64_t flush;
        stop = writer_wait(ev, &flush);
        for (uint32_t i = 0; i < ev->nshards; i++)
            write_shard(ev, &ev->shards[i]);
        pthread_mutex_lock(&ev->lock);
        ev->flush_done = flush;
        pthread_cond_broadcast(&ev->flushed);
        pthread_mutex_unlock(&ev->lock);
    } while (!stop);
    return NULL;
}

/* ---- start and stop ---- */

static void shards_fini(struct events *ev)
{
    for (uint32_t i = 0; i < ev->nshards; i++) {
        buf_fini(&ev->shards[i].fill);
        buf_fini(&ev->shards[i].out);
        pthread_mutex_destroy(&ev->shards[i].lock);
    }
    free(ev->shards);
}

static int shards_init(struct events *ev, uint32_t nshards, uint64_t max_bytes)
{
    ev->shards = aligned_alloc(64, nshards * sizeof *ev->shards);
    if (ev->shards == NULL)
        return -ENOMEM;
    memset(ev->shards, 0, nshards * sizeof *ev->shards);
    ev->nshards = nshards;
    for (uint32_t i = 0; i < nshards; i++) {
        buf_init(&ev->shards[i].fill, max_bytes / 2 / nshards);
        buf_init(&ev->shards[i].out, max_bytes / 2 / nshards);
        pthread_mutex_init(&ev->shards[i].lock, NULL);
    }
    return 0;
}

static void events_free(struct events *ev)
{
    shards_fini(ev);
    events_tail_free(ev->tail);
    events_sink_close(&ev->sink);
    if (ev->retarget)
        events_sink_close(&ev->next);
    buf_fini(&ev->node);
    pthread_cond_destroy(&ev->wake);
    pthread_cond_destroy(&ev->flushed);
    pthread_mutex_destroy(&ev->lock);
    free(ev);
}

int events_open(const struct events_config *config, struct events **out)
{
    struct events *ev = calloc(1, sizeof *ev);
    if (ev == NULL)
        return -ENOMEM;
    ensure(config->nshards > 0);
    ev->sink.fd = -1;
    pthread_mutex_init(&ev->lock, NULL);
    cond_init(&ev->wake);
    cond_init(&ev->flushed);
    buf_init(&ev->node, 4096);
    text_put_json(&ev->node, span_str(config->node != NULL ? config->node : ""));
    /* Numbers go on where those of the process before have ended, whatever it put: a thousand for each ms. */
    ev->tail = events_tail_new(TAIL_BYTES, (uint64_t)clock_wall_ms() * 1000);
    int err = ev->tail == NULL ? -ENOMEM : buf_err(&ev->node);
    if (err == 0)
        err =
            shards_init(ev, config->nshards, config->max_bytes != 0 ? config->max_bytes : BYTES_MAX_DEFAULT);
    if (err == 0)
        err = events_sink_open(&ev->sink, config->target, config->path);
    if (err == 0)
        err = -pthread_create(&ev->writer, NULL, writer_main, ev);
    if (err != 0) {
        events_free(ev);
        return err;
    }
    atomic_store(&ev->enabled, config->target != EVENTS_OFF);
    *out = ev;
    return 0;
}

void events_close(struct events *ev)
{
    if (ev == NULL)
        return;
    pthread_mutex_lock(&ev->lock);
    ev->stop = true;
    pthread_cond_signal(&ev->wake);
    pthread_mutex_unlock(&ev->lock);
    pthread_join(ev->writer, NULL);
    events_free(ev);
}

void events_reopen(struct events *ev)
{
    pthread_mutex_lock(&ev->lock);
    ev->reopen = true;
    pthread_cond_signal(&ev->wake);
    pthread_mutex_unlock(&ev->lock);
}

int events_retarget(struct events *ev, enum events_target target, const char *path)
{
    struct events_sink fresh;
    int err = events_sink_open(&fresh, target, path);
    if (err != 0)
        return err;
    pthread_mutex_lock(&ev->lock);
    if (ev->retarget)
        events_sink_close(&ev->next);
    ev->next = fresh;
    ev->retarget = true;
    pthread_cond_signal(&ev->wake);
    pthread_mutex_unlock(&ev->lock);
    atomic_store(&ev->enabled, target != EVENTS_OFF);
    return 0;
}

void events_flush(struct events *ev)
{
    pthread_mutex_lock(&ev->lock);
    uint64_t mine = ++ev->flush_asked;
    pthread_cond_signal(&ev->wake);
    while (ev->flush_done < mine)
        pthread_cond_wait(&ev->flushed, &ev->lock);
    pthread_mutex_unlock(&ev->lock);
}

struct events_tail *events_tail(struct events *ev)
{
    return atomic_load(&ev->enabled) ? ev->tail : NULL;
}

void events_stats(struct events *ev, struct events_stats *out)
{
    *out = (struct events_stats){
        .written = atomic_load(&ev->written),
        .dropped = atomic_load(&ev->dropped),
        .bytes = atomic_load(&ev->bytes),
        .errors = atomic_load(&ev->errors),
    };
}
