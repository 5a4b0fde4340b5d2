/* What the main thread looks at now and then while the node runs. */
#include "node/core/watch.h"

#include "base/clock.h"
#include "base/log.h"
#include "node/core/dnsbl.h"
#include "node/core/greylist.h"
#include "node/core/listener.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#define TICK_MS 10000
#define DAY_MS INT64_C(86400000)
#define CERTIFICATE_WARN_DAYS 14

/* A message that a worker answers by having run it. */
struct ping {
    struct worker_msg msg;
    atomic_bool answered;
};

struct watch {
    struct node *node;
    uv_timer_t timer;
    bool watchdog;
    int64_t certificates_ms; /* wall: when they were looked at */
    struct ping *pings;      /* by worker */
};

int64_t watch_certificates(const struct listeners *ls, int64_t now_ms)
{
    int64_t first = 0;
    for (uint32_t i = 0; i < ls->n; i++) {
        const char *file = "";
        if (ls->list[i].tls == NULL)
            continue;
        int64_t end = tls_server_expiry(ls->list[i].tls, &file);
        int64_t left_s = end - now_ms / 1000;
        const char *name = ls->list[i].config->name;
        if (left_s <= 0)
            log_error("tls", "listener %s: the certificate %s has ended: clients will refuse it", name, file);
        else if (left_s < CERTIFICATE_WARN_DAYS * INT64_C(86400))
            log_warn("tls", "listener %s: the certificate %s ends in %" PRId64 " days", name, file,
                     left_s / 86400);
        if (first == 0 || end < first)
            first = end;
    }
    return first;
}

static void look_at_certificates(struct watch *w)
{
    struct node *n = w->node;
    w->certificates_ms = clock_wall_ms();
    int64_t first = watch_certificates(n->listeners, w->certificates_ms);
    metrics_set(n->metrics, n->nworkers, METRICS_CERTIFICATE_END, METRICS_NONE, first);
}

static void run_ping(struct worker *worker, struct worker_msg *msg)
{
    (void)worker;
    atomic_store(&((struct ping *)msg)->answered, true);
}

/* True when every worker has answered the last round; then another one starts. */
static bool ping_workers(struct watch *w)
{
    for (uint32_t i = 0; i < w->node->nworkers; i++)
        if (!atomic_load(&w->pings[i].answered)) {
            log_warn("watch", "worker %u has not turned for a while", i);
            return false;
        }
    for (uint32_t i = 0; i < w->node->nworkers; i++) {
        atomic_store(&w->pings[i].answered, false);
        w->pings[i].msg.run = run_ping;
        worker_post_always(&w->node->workers[i], &w->pings[i].msg);
    }
    return true;
}

static void tell_status(struct watch *w)
{
    struct node *n = w->node;
    struct spool_stats s;
    const char *why;
    spool_stats(n->spool, &s);
    bool accepting = node_accepting(n, &why);
    sd_notifyf(0, "STATUS=%s%s; %llu messages queued, %llu sessions in, %llu out",
               accepting ? "accepting mail" : "not accepting mail: ", accepting ? "" : why,
               (unsigned long long)s.messages, (unsigned long long)atomic_load(&n->sessions_in),
               (unsigned long long)atomic_load(&n->sessions_out));
}

static void watch_timer_cb(uv_timer_t *timer)
{
    struct watch *w = timer->data;
    if (ping_workers(w) && w->watchdog)
        sd_notify(0, "WATCHDOG=1");
    tell_status(w);
    greylist_tick(w->node->greylist, w->node->signers);
    int64_t now = clock_wall_ms();
    dnsbl_tick(w->node->dnsbl, now);
    if (now - w->certificates_ms >= DAY_MS || now < w->certificates_ms)
        look_at_certificates(w);
}

int watch_new(struct node *n, struct watch **out)
{
    uint64_t watchdog_us = 0, tick_ms = TICK_MS;
    struct watch *w = calloc(1, sizeof *w);
    struct ping *pings = calloc(n->nworkers, sizeof *pings);
    if (w == NULL || pings == NULL) {
        free(w);
        free(pings);
        return -ENOMEM;
    }
    *w = (struct watch){ .node = n, .pings = pings, .watchdog = sd_watchdog_enabled(0, &watchdog_us) > 0 };
    for (uint32_t i = 0; i < n->nworkers; i++)
        atomic_init(&pings[i].answered, true);
    if (w->watchdog && watchdog_us / 3000 < tick_ms) /* thrice within its time */
        tick_ms = watchdog_us / 3000 + 1;
    int err = uv_timer_init(&n->loop, &w->timer);
    if (err != 0) {
        free(pings);
        free(w);
        return err;
    }
    w->timer.data = w;
    uv_timer_start(&w->timer, watch_timer_cb, tick_ms, tick_ms);
    look_at_certificates(w);
    sd_notify(0, "READY=1");
    tell_status(w);
    *out = w;
    return 0;
}

void watch_reloading(struct watch *w)
{
    struct timespec now;
    if (w == NULL)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64 "\nSTATUS=reading the configuration",
               (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

void watch_reloaded(struct watch *w)
{
    if (w == NULL)
        return;
    look_at_certificates(w);
    sd_notify(0, "READY=1");
    tell_status(w);
}

void watch_stop(struct watch *w)
{
    uv_timer_stop(&w->timer);
}

static void watch_closed_cb(uv_handle_t *handle)
{
    struct watch *w = handle->data;
    free(w->pings);
    free(w);
}

void watch_free(struct watch *w)
{
    uv_close((uv_handle_t *)&w->timer, watch_closed_cb);
}
