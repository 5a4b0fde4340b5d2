/* What a node did in the last hour and day. */
#include "node/admin/series.h"

#include "base/clock.h"
#include "base/cond.h"
#include "base/ensure.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

static const struct {
    int64_t step_ms;
    uint32_t n;
} windows[SERIES_WINDOWS] = { { 60000, 60 }, { 600000, SERIES_SLOTS_MAX } };

static const char *const names[SERIES_KINDS] = { "received",    "delivered",   "deferred", "bounced",
                                                 "rejected",    "auth_failed", "queued",   "held",
                                                 "sessions_in", "sessions_out" };

struct ring {
    int64_t newest; /* number of its slot since 1970; 0: nothing was added yet */
    struct series_slot slots[SERIES_SLOTS_MAX];
};

struct series {
    pthread_mutex_t lock;
    struct ring rings[SERIES_WINDOWS];
    struct series_sample last;
    bool has_last;

    pthread_cond_t wake;
    pthread_t thread;
    bool runs, stop;
    const struct admin_ops *ops;
};

int64_t series_step_ms(enum series_window w)
{
    return windows[w].step_ms;
}

const char *series_kind_name(uint32_t kind)
{
    return names[kind];
}

struct series *series_new(void)
{
    struct series *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    ensure(pthread_mutex_init(&s->lock, NULL) == 0);
    cond_init(&s->wake);
    return s;
}

void series_free(struct series *s)
{
    if (s == NULL)
        return;
    series_stop(s);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- the rings ----------------------------------------------------------------------------------------- */

/* The slot of that time, those between emptied. */
static struct series_slot *slot_at(struct ring *r, enum series_window w, int64_t now_ms)
{
    int64_t at = now_ms / windows[w].step_ms, n = windows[w].n;
    if (at < r->newest)
        at = r->newest;
    int64_t first = r->newest + 1 > at - n + 1 ? r->newest + 1 : at - n + 1;
    for (int64_t i = first; i <= at; i++)
        r->slots[i % n] = (struct series_slot){ .known = false };
    r->newest = at;
    return &r->slots[at % n];
}

void series_add(struct series *s, int64_t now_ms, const struct series_sample *sample)
{
    if (now_ms <= 0)
        return;
    pthread_mutex_lock(&s->lock);
    for (int w = 0; w < SERIES_WINDOWS; w++) {
        struct series_slot *slot = slot_at(&s->rings[w], (enum series_window)w, now_ms);
        slot->known = true;
        for (int k = 0; k < SERIES_COUNTS; k++)
            if (s->has_last && sample->v[k] > s->last.v[k])
                slot->v[k] += sample->v[k] - s->last.v[k];
        for (int k = SERIES_COUNTS; k < SERIES_KINDS; k++)
            slot->v[k] = sample->v[k];
    }
    s->last = *sample;
    s->has_last = true;
    pthread_mutex_unlock(&s->lock);
}

uint32_t series_read(struct series *s, enum series_window w, int64_t now_ms,
                     struct series_slot out[SERIES_SLOTS_MAX], int64_t *from_ms)
{
    int64_t n = windows[w].n;
    pthread_mutex_lock(&s->lock);
    struct ring *r = &s->rings[w];
    int64_t to = now_ms / windows[w].step_ms;
    if (to < r->newest)
        to = r->newest;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = to - n + 1 + i;
        bool there = at > 0 && at <= r->newest && at > r->newest - n;
        out[i] = there ? r->slots[at % n] : (struct series_slot){ .known = false };
    }
    *from_ms = (to - n + 1) * windows[w].step_ms;
    pthread_mutex_unlock(&s->lock);
    return (uint32_t)n;
}

/* ---- the thread ---------------------------------------------------------------------------------------- */

static void look(struct series *s, struct admin_status *status)
{
    struct admin_error e;
    if (s->ops->status(s->ops->ctx, status, &e) != 0)
        return;
    const struct series_sample sample = { .v = {
                                              [SERIES_RECEIVED] = status->received.total,
                                              [SERIES_DELIVERED] = status->delivered.total,
                                              [SERIES_DEFERRED] = status->deferred.total,
                                              [SERIES_BOUNCED] = status->bounced.total,
                                              [SERIES_REJECTED] = status->rejected.total,
                                              [SERIES_AUTH_FAILED] = status->auth_failed.total,
                                              [SERIES_QUEUED] = status->queue.recipients,
                                              [SERIES_HELD] = status->queue.held,
                                              [SERIES_SESSIONS_IN] = status->sessions_in,
                                              [SERIES_SESSIONS_OUT] = status->sessions_out,
                                          } };
    series_add(s, clock_wall_ms(), &sample);
}

static void *series_main(void *arg)
{
    struct series *s = arg;
    struct admin_status *status = calloc(1, sizeof *status);
    pthread_mutex_lock(&s->lock);
    while (!s->stop && status != NULL) {
        pthread_mutex_unlock(&s->lock);
        look(s, status);
        pthread_mutex_lock(&s->lock);
        int64_t until_ns = clock_mono_ns() + SERIES_LOOK_MS * 1000000L;
        while (!s->stop && clock_mono_ns() < until_ns)
            cond_wait_until(&s->wake, &s->lock, until_ns);
    }
    pthread_mutex_unlock(&s->lock);
    free(status);
    return NULL;
}

int series_start(struct series *s, const struct admin_ops *ops)
{
    if (ops->status == NULL)
        return 0;
    s->ops = ops;
    int err = pthread_create(&s->thread, NULL, series_main, s);
    s->runs = err == 0;
    return -err;
}

void series_stop(struct series *s)
{
    if (s == NULL || !s->runs)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    s->runs = false;
}
