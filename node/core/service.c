/* What a node runs beside its workers: the event log, the history, the admin server. */
#include "node/core/service.h"

#include "base/err.h"
#include "base/log.h"
#include "node/admin/admin.h"
#include "node/core/cluster.h"
#include "node/core/meters.h"
#include "node/core/ops.h"

#include <errno.h>

static enum events_target events_target(const struct config *c)
{
    switch (c->log.events_kind) {
    case CONFIG_EVENTS_STDOUT:
        return EVENTS_STDOUT;
    case CONFIG_EVENTS_JOURNAL:
        return EVENTS_JOURNAL;
    case CONFIG_EVENTS_FILE:
        return EVENTS_FILE;
    default:
        return EVENTS_OFF;
    }
}

static const char *events_path(const struct config *c)
{
    return c->log.events_kind == CONFIG_EVENTS_FILE ? c->log.events : NULL;
}

/* On the history's thread. */
static void service_history_committed_cb(void *ctx, uint64_t seq)
{
    struct node *n = ctx;
    atomic_store(&n->history_seq, seq);
    uv_mutex_lock(&n->history_lock);
    if (n->spool_open)
        spool_history_done(n->spool, seq);
    uv_mutex_unlock(&n->history_lock);
}

/* At start all that the spool still holds is told in one go: more than the history has room for, so that it
 * is waited for now and then. Not when it cannot write: a start does not depend on it. */
static void history_follow(struct history *h)
{
    static const uint64_t ahead_bytes = 16u << 20;
    struct history_stats stats;
    history_stats(h, &stats);
    if (stats.queued_bytes > ahead_bytes && !stats.behind)
        (void)history_flush(h);
}

void service_spool_ended_cb(void *history, uint64_t id, const struct envelope *env,
                            const struct spool_rcpt_update *u, uint32_t n, uint64_t seq)
{
    if (env == NULL) {
        history_ended(history, id, u, n, seq);
        return;
    }
    history_follow(history);
    history_ended_env(history, env, u, n, seq);
}

void service_spool_opened(struct node *n)
{
    uv_mutex_lock(&n->history_lock);
    n->spool_open = true;
    if (n->history != NULL)
        spool_history_done(n->spool, atomic_load(&n->history_seq));
    uv_mutex_unlock(&n->history_lock);
}

void service_spool_closing(struct node *n)
{
    uv_mutex_lock(&n->history_lock);
    n->spool_open = false;
    uv_mutex_unlock(&n->history_lock);
}

static int open_history(struct node *n)
{
    const struct config_history *h = &n->config->history;
    if (!h->enabled)
        return 0;
    struct history_config hc = { .path = h->file,
                                 .keep_ms = h->retention_ms,
                                 .keep_clients_ms = h->retention_clients_ms,
                                 .keep_replies_ms = h->retention_replies_ms,
                                 .keep_bytes = h->max_bytes,
                                 .committed = service_history_committed_cb,
                                 .ctx = n };
    return history_open(&hc, &n->history);
}

int service_open_telemetry(struct node *n)
{
    const struct config *c = n->config;
    struct events_config ec = { /* the last shard is the notifying thread's */
        .target = events_target(c), .path = events_path(c), .node = c->name, .nshards = n->nworkers + 1
    };
    int err = events_open(&ec, &n->events);
    if (err != 0) {
        log_error("events", "%s: %s", c->log.events, err_text(err));
        return err;
    }
    n->trace = trace_new();
    /* one more shard, for what is set before rendering */
    n->metrics = metrics_new(n->nworkers + 1);
    if (n->trace == NULL || n->metrics == NULL)
        return -ENOMEM;
    err = open_history(n);
    return err == 0 ? meters_new(n, &n->meters) : err;
}

void service_close_telemetry(struct node *n)
{
    if (n->history != NULL)
        history_close(n->history);
    events_close(n->events);
    meters_free(n->meters);
    metrics_free(n->metrics);
    trace_free(n->trace);
}

void service_set_log_level(const struct config *config)
{
    static const enum log_level levels[] = { [CONFIG_LOG_ERROR] = LOG_LEVEL_ERROR,
                                             [CONFIG_LOG_WARN] = LOG_LEVEL_WARN,
                                             [CONFIG_LOG_INFO] = LOG_LEVEL_INFO,
                                             [CONFIG_LOG_DEBUG] = LOG_LEVEL_DEBUG,
                                             [CONFIG_LOG_TRACE] = LOG_LEVEL_TRACE };
    log_set_level(levels[config->log.level]);
}

void service_reopen_logs(struct node *n, const struct config *fresh)
{
    service_set_log_level(fresh);
    events_reopen(n->events);
    int err = events_retarget(n->events, events_target(fresh), events_path(fresh));
    if (err != 0)
        log_error("events", "%s: %s; the old log is kept", fresh->log.events, err_text(err));
    struct admin_error e;
    if (n->admin != NULL && admin_reload(n->admin, &e) != 0)
        log_error("admin", "%s", e.text);
}

int service_open_admin(struct node *n)
{
    const struct config_admin *a = &n->config->admin;
    static struct admin_ops ops; /* the server keeps a pointer */
    struct admin_error e = { "" };
    char address[80];
    config_endpoint_format(&a->listen, address, sizeof address);
    const char *hosts[CONFIG_ADMIN_HOSTS_MAX + 1];
    for (uint32_t i = 0; i < a->nhosts; i++)
        hosts[i] = a->hosts[i];
    hosts[a->nhosts] = n->config->hostname;
    struct admin_config ac = { .socket_path = a->socket,
                               .tcp_address = a->enabled_tcp ? address : NULL,
                               .tcp_remote = a->remote,
                               .token_file = a->token_file,
                               .certificate = a->ntls > 0 ? a->tls[0].certificate : NULL,
                               .key = a->ntls > 0 ? a->tls[0].key : NULL,
                               .hosts = hosts,
                               .nhosts = a->nhosts + 1,
                               .open_metrics = a->open_metrics,
                               .cluster = n->config->cluster.enabled ? &cluster_admin : NULL,
                               .cluster_ctx = n };
    ops_fill(n, &ops);
    int err = admin_new(&ac, &ops, &n->admin, &e);
    if (err != 0)
        log_error("admin", "%s", e.text);
    return err;
}

int service_run_admin(struct node *n)
{
    struct admin_error e = { "" };
    int err = admin_run(n->admin, &e);
    if (err != 0)
        log_error("admin", "%s", e.text);
    return err;
}

void service_close_admin(struct node *n)
{
    admin_free(n->admin);
}
