/* Opening, closing and looking at a spool. The rest is in its own files: queue.c and writer.c (records to
 * disk), finish.c (what follows the sync), ingest.c, update.c, read.c, recover.c (start), compact.c.
 */
#include "spool/spool.h"

#include "base/cond.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "spool/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define SEGMENT_BYTES_DEFAULT (64u << 20)
#define MIN_FREE_DEFAULT (256u << 20)
#define MESSAGES_DEFAULT 10000000u
#define GATHER_US_DEFAULT 2000u

static int config_take(struct spool *s, const struct spool_config *config)
{
    s->config = *config;
    s->disk = config->disk == NULL ? &disk_real : config->disk;
    if (config->dir == NULL || strlen(config->dir) >= sizeof s->dir || config->id_node > 255)
        return ERR_BAD;
    memcpy(s->dir, config->dir, strlen(config->dir) + 1);
    s->config.dir = s->dir;
    struct spool_config *c = &s->config;
    if (c->segment_bytes == 0)
        c->segment_bytes = SEGMENT_BYTES_DEFAULT;
    if (c->segment_bytes < SPOOL_SEGMENT_MIN || c->segment_bytes > SPOOL_SEGMENT_MAX)
        return ERR_BAD;
    if (c->min_free_bytes == 0)
        c->min_free_bytes = MIN_FREE_DEFAULT;
    if (c->max_messages == 0)
        c->max_messages = MESSAGES_DEFAULT;
    if (c->gather_max_us == 0)
        c->gather_max_us = GATHER_US_DEFAULT;
    s->ended_fn = c->on_ended;
    s->ended_ctx = c->ended_ctx;
    s->history = c->on_ended != NULL;
    return 0;
}

int spool_alloc(const struct spool_config *config, struct spool **out)
{
    struct spool *s = calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    ensure(pthread_mutex_init(&s->lock, NULL) == 0);
    ensure(pthread_mutex_init(&s->room_lock, NULL) == 0);
    cond_init(&s->writer_cond);
    cond_init(&s->background_cond);
    cond_init(&s->flushed_cond);
    list_init(&s->queue);
    list_init(&s->batch);
    replies_init(&s->replies);
    s->dir_lock = -1;
    int err = config_take(s, config);
    if (err != 0)
        spool_free(s);
    else
        *out = s;
    return err;
}

void spool_free(struct spool *s)
{
    uint32_t shard = 0;
    size_t at = 0;
    for (struct msg *m; (m = index_next(s, &shard, &at)) != NULL;) {
        m->nrcpts = 0; /* the replies go with their table */
        msg_free(s, m);
    }
    for (uint32_t i = 0; i < SPOOL_SHARDS; i++)
        map_fini(&s->index[i]);
    replies_fini(&s->replies);
    s->active = NULL;
    while (s->nsegments > 0)
        segments_remove(s, s->segments[s->nsegments - 1]);
    free(s->segments);
    if (s->dir_lock >= 0)
        s->disk->unlock_dir(s->disk->ctx, s->dir_lock);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->room_lock);
    pthread_cond_destroy(&s->writer_cond);
    pthread_cond_destroy(&s->background_cond);
    pthread_cond_destroy(&s->flushed_cond);
    free(s);
}

/* The directory's own entry must be on disk too when it is new. */
static int dir_make(struct spool *s)
{
    int err = s->disk->mkdir(s->disk->ctx, s->dir);
    if (err != 0)
        return err == -EEXIST ? 0 : err;
    char parent[sizeof s->dir];
    memcpy(parent, s->dir, sizeof parent);
    size_t n = strlen(parent);
    while (n > 1 && parent[n - 1] == '/')
        parent[--n] = '\0';
    char *slash = strrchr(parent, '/');
    if (slash == NULL)
        memcpy(parent, ".", 2);
    else
        slash[slash == parent] = '\0';
    return s->disk->sync_dir(s->disk->ctx, parent);
}

void spool_refresh_free(struct spool *s)
{
    int64_t n = s->disk->free_bytes(s->disk->ctx, s->dir);
    if (n >= 0)
        s->free_bytes = n;
}

static int start_threads(struct spool *s)
{
    int err = -pthread_create(&s->writer, NULL, spool_writer_main, s);
    if (err != 0)
        return err;
    err = -pthread_create(&s->background, NULL, spool_background_main, s);
    if (err != 0) {
        pthread_mutex_lock(&s->lock);
        s->stopping = true;
        pthread_cond_signal(&s->writer_cond);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->writer, NULL);
    }
    return err;
}

int spool_open_with(const struct spool_config *config, bool threads, spool_found_fn *found, void *ctx,
                    struct spool **out)
{
    struct spool *s;
    int err = spool_alloc(config, &s);
    if (err != 0)
        return err;
    err = dir_make(s);
    if (err == 0) {
        s->dir_lock = s->disk->lock_dir(s->disk->ctx, s->dir);
        err = s->dir_lock < 0 ? s->dir_lock : 0;
    }
    if (err == 0)
        err = recover(s, found, ctx);
    if (err == 0)
        spool_refresh_free(s);
    s->threads = threads;
    if (err == 0 && threads)
        err = start_threads(s);
    if (err != 0) {
        s->failed = err; /* the caller hears of it by our return, not by on_failed */
        while (spool_writer_step(s))
            ;
        spool_free(s);
        return err;
    }
    *out = s;
    return 0;
}

int spool_open(const struct spool_config *config, spool_found_fn *found, void *ctx, struct spool **out)
{
    return spool_open_with(config, true, found, ctx, out);
}

/* Everything that is queued, on disk; a full disk gets a second to have room again. */
static void close_flush(struct spool *s)
{
    static const int tries = 5;
    for (int i = 0; i < tries && spool_flush(s) == ERR_DISK_FULL && s->threads; i++)
        nanosleep(&(struct timespec){ .tv_nsec = SPOOL_FULL_RETRY_NS }, NULL);
}

void spool_close(struct spool *s)
{
    if (s == NULL)
        return;
    if (s->threads) {
        pthread_mutex_lock(&s->lock);
        s->background_stop = true;
        pthread_cond_signal(&s->background_cond);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->background, NULL);
    }
    close_flush(s);
    if (s->threads) {
        pthread_mutex_lock(&s->lock);
        s->stopping = true;
        pthread_cond_signal(&s->writer_cond);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->writer, NULL);
        s->threads = false;
    }
    if (!list_empty(&s->queue)) {
        /* what is left found no room: those recipients are delivered again rather than never */
        spool_fail(s, ERR_DISK_FULL, "writing the last states");
        while (spool_writer_step(s))
            ;
    }
    /* sealed and summed up, the next start has nothing to write again and little to read */
    struct segment *last = s->active;
    if (s->failed == 0 && last != NULL) {
        segment_seal(s, true);
        int err = s->disk->datasync(s->disk->ctx, last->fd);
        if (err == 0)
            (void)summary_write(s, last);
    }
    spool_free(s);
}

void spool_on_ended(struct spool *s, spool_ended_fn *fn, void *ctx)
{
    pthread_mutex_lock(&s->lock);
    s->ended_fn = fn;
    s->ended_ctx = ctx;
    s->history = fn != NULL;
    pthread_mutex_unlock(&s->lock);
}

void spool_history_done(struct spool *s, uint64_t seq)
{
    pthread_mutex_lock(&s->lock);
    if (seq > s->history_seq)
        s->history_seq = seq;
    pthread_mutex_unlock(&s->lock);
}

void spool_stats(struct spool *s, struct spool_stats *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->stats;
    out->messages = s->messages;
    out->segments = s->nsegments;
    for (uint32_t i = 0; i < s->nsegments; i++) {
        const struct segment *seg = s->segments[i];
        out->bytes += seg->size;
        out->live_bytes += seg->live;
        out->held_by_history += s->history && seg->sealed && seg->ended_seq > s->history_seq;
    }
    pthread_mutex_unlock(&s->lock);
    out->free_bytes = (uint64_t)s->free_bytes;
    out->failed = s->failed;
}
