/* The admin API's functions: the table, and what concerns the node as a whole. Admin threads. */
#include "node/content/checker.h"
#include "node/content/milter.h"
#include "node/core/ops.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster.h" /* of cluster_pools_metrics */
#include "node/core/cluster_meters.h"
#include "node/core/dnsbl.h"
#include "node/core/notify.h"
#include "node/core/egress.h"
#include "node/core/greylist.h"
#include "node/core/ingress.h"
#include "node/core/listener.h"
#include "node/core/held.h"
#include "node/core/look.h"
#include "node/core/meters.h"
#include "node/core/ops_account.h"
#include "node/core/ops_auth.h"
#include "node/core/ops_domain.h"
#include "node/core/ops_events.h"
#include "node/core/ops_live.h"
#include "node/core/ops_look.h"
#include "node/core/egress_rest.h"
#include "node/core/ops_shaping.h"
#include "node/core/probe.h"
#include "node/core/sts.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- status ---------------------------------------------------------------------------------------------
 */

static void look_at_worker(struct worker *w, void *arg)
{
    struct admin_status *out = arg;
    struct queue_totals t;
    queue_totals(w->egress->queue, &t);
    uint64_t queued =
        (uint64_t)t.state[QUEUE_STATE_READY] + t.state[QUEUE_STATE_WAITING] + t.state[QUEUE_STATE_IN_FLIGHT];
    if (w->index < ADMIN_WORKERS_MAX) {
        out->workers[w->index].sessions_in = w->ingress->nsessions;
        out->workers[w->index].sessions_out = w->egress->nconns;
        out->workers[w->index].queued = queued;
        out->workers[w->index].held = t.state[QUEUE_STATE_HELD];
        out->workers[w->index].sites = t.sites;
    }
    out->queue.active += t.state[QUEUE_STATE_IN_FLIGHT];
    out->queue.deferred += (uint64_t)t.state[QUEUE_STATE_WAITING] + t.state[QUEUE_STATE_READY];
    out->queue.held += t.state[QUEUE_STATE_HELD];
    out->queue.sites += t.sites;
    out->queue.sites_down += t.sites_down;
}

static void look_at_listeners(struct node *n, void *arg)
{
    struct admin_status *out = arg;
    for (uint32_t i = 0; i < n->listeners->n && i < ADMIN_LISTENERS_MAX; i++) {
        const struct listener *l = &n->listeners->list[i];
        static const char *const kinds[] = { "submission", "submissions", "relay", "inbound" };
        snprintf(out->listeners[i].name, sizeof out->listeners[i].name, "%s", l->config->name);
        snprintf(out->listeners[i].kind, sizeof out->listeners[i].kind, "%s", kinds[l->config->kind]);
        config_endpoint_format(&l->config->address, out->listeners[i].address,
                               sizeof out->listeners[i].address);
        out->listeners[i].sessions = atomic_load(&l->sessions);
        out->listeners[i].accepted = atomic_load(&l->accepted);
        out->nlisteners++;
    }
}

static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f != NULL) {
        if (fscanf(f, "%*u %llu", &pages) != 1)
            pages = 0;
        fclose(f);
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void spool_fill(struct node *n, struct admin_status *out)
{
    struct spool_stats s;
    spool_stats(n->spool, &s);
    out->queue.messages = s.messages;
    out->spool.messages = s.messages;
    out->spool.segments = s.segments;
    out->spool.bytes = s.bytes;
    out->spool.live_bytes = s.live_bytes;
    out->spool.free_bytes = s.free_bytes;
    out->spool.appended_bytes = s.appended_bytes;
    out->spool.syncs = s.syncs;
    out->spool.committed = s.committed;
    out->spool.updates = s.updates;
    out->spool.compacted_segments = s.compacted_segments;
    out->spool.corrupt_records = s.corrupt_records;
    out->spool.held_by_history = s.held_by_history;
    if (s.failed != 0)
        snprintf(out->spool.error, sizeof out->spool.error, "%s", err_text(s.failed));
}

static void rate_fill(struct node *n, enum meter which, struct admin_rate *out)
{
    struct meter_value v;
    meters_read(n->meters, which, &v);
    *out = (struct admin_rate){ v.m1, v.m5, v.m15, v.total };
}

static int ops_status(void *ctx, struct admin_status *out, struct admin_error *e)
{
    (void)e;
    struct node *n = ctx;
    struct config *c = node_config(n);
    const char *why;
    bool accepting = node_accepting(n, &why);
    *out = (struct admin_status){ .started_ms = n->started_ms,
                                  .uptime_ms = clock_wall_ms() - n->started_ms,
                                  .pid = getpid(),
                                  .memory_bytes = resident_bytes(),
                                  .nworkers = n->nworkers,
                                  .sessions_in = atomic_load(&n->sessions_in),
                                  .sessions_in_max = c->smtp.max_sessions,
                                  .sessions_out = atomic_load(&n->sessions_out),
                                  .sessions_out_max = c->delivery.connections_total,
                                  .config_loaded_ms = atomic_load(&n->config_loaded_ms) };
    snprintf(out->node, sizeof out->node, "%s", c->name);
    snprintf(out->config_path, sizeof out->config_path, "%s", c->path);
    snprintf(out->state, sizeof out->state, "%s",
             accepting                                 ? "running"
             : atomic_load(&n->spool_error) != 0       ? "failed"
             : atomic_load(&n->state) == NODE_STOPPING ? "stopping"
                                                       : "starting");
    snprintf(out->reason, sizeof out->reason, "%s", accepting ? "" : why);
    config_rele(c);
    for (uint32_t i = 0; i < n->nworkers; i++)
        worker_call(&n->workers[i], look_at_worker, out);
    (void)node_request(n, look_at_listeners, out);
    struct grey_counts grey;
    grey_count(n->greylist->known, &grey);
    out->greylist.sites = grey.sites;
    out->greylist.endless = grey.endless;
    snprintf(out->greylist.example, sizeof out->greylist.example, "%s", grey.example);
    struct held_stats held;
    held_stats(n->held, &held);
    out->held_messages = held.messages;
    out->held_bytes = held.bytes;
    out->held_refused = held.refused;
    out->sites_rested = atomic_load(&n->holds.rested);
    struct dnsbl_counts lists;
    dnsbl_count(n->dnsbl, &lists);
    out->dnsbl.addresses = lists.addresses;
    snprintf(out->dnsbl.example, sizeof out->dnsbl.example, "%s", lists.example);
    struct look_totals totals;
    look_totals(n, &totals);
    out->queue.recipients = totals.recipients;
    out->queue.oldest_ms = totals.oldest_ms;
    spool_fill(n, out);
    rate_fill(n, METER_RECEIVED, &out->received);
    rate_fill(n, METER_REJECTED, &out->rejected);
    rate_fill(n, METER_AUTH_FAILED, &out->auth_failed);
    rate_fill(n, METER_DELIVERED, &out->delivered);
    rate_fill(n, METER_DEFERRED, &out->deferred);
    rate_fill(n, METER_BOUNCED, &out->bounced);
    return 0;
}

/* New mail would be refused for want of room. */
static bool disk_nearly_full(struct node *n, const struct spool_stats *s)
{
    struct config *c = node_config(n);
    uint64_t least = c->spool.min_free_bytes;
    config_rele(c);
    return s->free_bytes < least;
}

static int ops_ready(void *ctx, struct admin_error *e)
{
    struct node *n = ctx;
    const char *why;
    if (!node_accepting(n, &why))
        return admin_fail(e, ERR_BUSY, "%s", why);
    struct spool_stats s;
    spool_stats(n->spool, &s);
    if (disk_nearly_full(n, &s))
        return admin_fail(e, ERR_DISK_FULL, "the spool's disk is nearly full: %llu MiB free",
                          (unsigned long long)(s.free_bytes >> 20));
    return 0;
}

/* ---- metrics --------------------------------------------------------------------------------------------
 */

static void set_worker_gauges(struct worker *w, void *arg)
{
    (void)arg;
    struct metrics *m = w->node->metrics;
    struct queue_totals t;
    queue_totals(w->egress->queue, &t);
    metrics_set(m, w->index, METRICS_QUEUE_ITEMS, METRICS_STATE_READY, t.state[QUEUE_STATE_READY]);
    metrics_set(m, w->index, METRICS_QUEUE_ITEMS, METRICS_STATE_DEFERRED, t.state[QUEUE_STATE_WAITING]);
    metrics_set(m, w->index, METRICS_QUEUE_ITEMS, METRICS_STATE_HELD, t.state[QUEUE_STATE_HELD]);
    metrics_set(m, w->index, METRICS_QUEUE_ITEMS, METRICS_STATE_ACTIVE, t.state[QUEUE_STATE_IN_FLIGHT]);
    metrics_set(m, w->index, METRICS_QUEUE_SITES, METRICS_NONE, t.sites);
    metrics_set(m, w->index, METRICS_QUEUE_SITES_DOWN, METRICS_NONE, t.sites_down);
    metrics_set(m, w->index, METRICS_QUEUE_SENDERS, METRICS_NONE, t.senders);
    metrics_set(m, w->index, METRICS_QUEUE_BYTES, METRICS_NONE, (int64_t)t.bytes);
    metrics_set(m, w->index, METRICS_SESSIONS, METRICS_IN, w->ingress->nsessions);
    metrics_set(m, w->index, METRICS_SESSIONS, METRICS_OUT, w->egress->nconns);
}

/* The main thread owns the last shard. */
static void set_node_gauges(struct node *n, void *arg)
{
    (void)arg;
    struct spool_stats s;
    struct events_stats ev;
    struct grey_counts grey;
    spool_stats(n->spool, &s);
    events_stats(n->events, &ev);
    grey_count(n->greylist->known, &grey);
    struct held_stats held;
    held_stats(n->held, &held);
    struct checker_stats checks = { .running = 0 };
    if (n->checker != NULL)
        checker_stats(n->checker, &checks);
    uint32_t filtered = 0, unfiltered = 0;
    if (n->milters != NULL)
        milters_stats(n->milters, &filtered, &unfiltered);
    const struct {
        enum metrics_id id;
        uint64_t value;
    } values[] = {
        { METRICS_SPOOL_MESSAGES, s.messages },
        { METRICS_CONTENT_RUNNING, checks.running + filtered },
        { METRICS_CONTENT_WAITING, checks.waiting + unfiltered },
        { METRICS_CONTENT_BYTES, atomic_load(&n->content_bytes) },
        { METRICS_HELD_MESSAGES, held.messages },
        { METRICS_HELD_BYTES, held.bytes },
        { METRICS_HELD_REFUSED, held.refused },
        { METRICS_SPOOL_SEGMENTS, s.segments },
        { METRICS_SPOOL_BYTES, s.bytes },
        { METRICS_SPOOL_LIVE_BYTES, s.live_bytes },
        { METRICS_SPOOL_FREE_BYTES, s.free_bytes },
        { METRICS_SPOOL_WAITING_SEGMENTS, s.held_by_history },
        { METRICS_SPOOL_FAILED, s.failed != 0 },
        { METRICS_SPOOL_APPENDED_BYTES, s.appended_bytes },
        { METRICS_SPOOL_SYNCS, s.syncs },
        { METRICS_SPOOL_COMMITTED, s.committed },
        { METRICS_SPOOL_UPDATES, s.updates },
        { METRICS_SPOOL_COMPACTED, s.compacted_segments },
        { METRICS_SPOOL_CORRUPT, s.corrupt_records },
        { METRICS_EVENTS_WRITTEN, ev.written },
        { METRICS_EVENTS_DROPPED, ev.dropped },
        { METRICS_EVENTS_ERRORS, ev.errors },
        { METRICS_STS_POLICIES, sts_known(n->sts) },
        { METRICS_GREYLIST_SITES, grey.sites },
        { METRICS_GREYLIST_ENDLESS, grey.endless },
        { METRICS_SITES_RESTED, atomic_load(&n->holds.rested) },
        { METRICS_READY, node_accepting(n, NULL) && !disk_nearly_full(n, &s) },
    };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        metrics_set(n->metrics, n->nworkers, values[i].id, METRICS_NONE, (int64_t)values[i].value);
    for (uint32_t i = 0; i < HELD_COUNTS; i++)
        metrics_set(n->metrics, n->nworkers, METRICS_HELD_RECIPIENTS, i, (int64_t)held.counts[i]);
    if (n->history == NULL)
        return;
    struct history_stats h;
    history_stats(n->history, &h);
    metrics_set(n->metrics, n->nworkers, METRICS_HISTORY_ROWS, METRICS_NONE, (int64_t)h.rows);
    metrics_set(n->metrics, n->nworkers, METRICS_HISTORY_ERRORS, METRICS_NONE, (int64_t)h.errors);
    metrics_set(n->metrics, n->nworkers, METRICS_HISTORY_QUEUED_BYTES, METRICS_NONE, (int64_t)h.queued_bytes);
    metrics_set(n->metrics, n->nworkers, METRICS_HISTORY_BYTES, METRICS_NONE, (int64_t)h.file_bytes);
    metrics_set(n->metrics, n->nworkers, METRICS_HISTORY_BEHIND, METRICS_NONE, h.behind);
}

static int ops_metrics(void *ctx, struct buf *out, struct admin_error *e)
{
    struct node *n = ctx;
    for (uint32_t i = 0; i < n->nworkers; i++)
        worker_call(&n->workers[i], set_worker_gauges, NULL);
    (void)node_request(n, set_node_gauges, NULL);
    cluster_meters_set(n);
    int err = metrics_render(n->metrics, out);
    if (err == 0 && n->cluster != NULL)
        err = cluster_pools_metrics(n->cluster, out);
    if (err == 0)
        err = egress_rest_metrics(n, out);
    if (err == 0)
        err = dnsbl_metrics(n->dnsbl, out);
    if (err == 0)
        err = notify_metrics(n->notify, out);
    return err == 0 ? 0 : admin_fail(e, err, "cannot render metrics: %s", err_text(err));
}

/* ---- configuration --------------------------------------------------------------------------------------
 */

struct reload {
    struct buf why;
    int err;
};

static void run_reload(struct node *n, void *arg)
{
    struct reload *r = arg;
    r->err = node_reload(n, &r->why);
}

static int ops_reload(void *ctx, const struct admin_caller *by, struct admin_error *e)
{
    struct reload r;
    buf_init(&r.why, 1u << 20);
    log_info("config", "reload asked for by %s", by->text);
    int err = node_request(ctx, run_reload, &r);
    if (err == 0)
        err = r.err;
    if (err != 0)
        (void)admin_fail(e, err, "%.*s", (int)r.why.len, r.why.len == 0 ? "" : r.why.data);
    buf_fini(&r.why);
    return err;
}

static int ops_config_show(void *ctx, struct buf *out, struct admin_error *e)
{
    struct config *c = node_config(ctx);
    int err = config_describe(c, out);
    config_rele(c);
    return err == 0 ? 0 : admin_fail(e, err, "%s", err_text(err));
}

static int ops_config_check(void *ctx, struct admin_error *e)
{
    struct config *c = node_config(ctx), *fresh;
    struct config_errors errors;
    config_errors_init(&errors);
    int err = config_load(c->path, 0, &fresh, &errors);
    config_rele(c);
    if (err == 0)
        config_rele(fresh);
    else if (errors.n > 0)
        (void)admin_fail(e, err, "%s%s", errors.v[0].text,
                         errors.n > 1 ? " (and more: see 'turnpike config check')" : "");
    else
        (void)admin_fail(e, err, "%s", err_text(err));
    config_errors_fini(&errors);
    return err;
}

static const struct {
    const char *name;
    enum log_level level;
} levels[] = {
    { "error", LOG_LEVEL_ERROR },
    { "warn", LOG_LEVEL_WARN },
    { "info", LOG_LEVEL_INFO },
    { "debug", LOG_LEVEL_DEBUG },
    { "trace", LOG_LEVEL_TRACE },
};

static int ops_log_level_get(void *ctx, char level[8], struct admin_error *e)
{
    (void)ctx;
    (void)e;
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        if (levels[i].level == log_level())
            snprintf(level, 8, "%s", levels[i].name);
    return 0;
}

static int ops_log_level_set(void *ctx, const char *level, const struct admin_caller *by,
                             struct admin_error *e)
{
    (void)ctx;
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        if (strcmp(levels[i].name, level) == 0) {
            log_set_level(levels[i].level);
            log_info("log", "level is %s now, set by %s", level, by->text);
            return 0;
        }
    return admin_fail(e, ERR_BAD, "%s is no level; there are error, warn, info, debug and trace", level);
}

/* ---- operators who log in ------------------------------------------------------------------------------ */

/* No account has a ':' in its name. One behind a proxy of this machine is counted by his name alone. */
static struct span login_key(const char *name, const struct sockaddr **client, char key[ACCOUNT_NAME_MAX + 1])
{
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)*client;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)*client;
    if (((*client)->sa_family == AF_INET && ntohl(in4->sin_addr.s_addr) >> 24 == 127) ||
        ((*client)->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr)))
        *client = NULL;
    if (name[0] == '\0')
        return span_of("", 0);
    int n = snprintf(key, ACCOUNT_NAME_MAX + 1, "operator:%s", name);
    return span_of(key, n > ACCOUNT_NAME_MAX ? ACCOUNT_NAME_MAX : (size_t)n);
}

static int64_t ops_login_wait(void *ctx, const char *name, const struct sockaddr *client)
{
    struct node *n = ctx;
    char key[ACCOUNT_NAME_MAX + 1];
    struct span counted = login_key(name, &client, key);
    return auth_other_wait(n->auth, counted, client);
}

static void ops_login_count(void *ctx, const char *name, const struct sockaddr *client, bool right)
{
    struct node *n = ctx;
    char key[ACCOUNT_NAME_MAX + 1];
    struct span counted = login_key(name, &client, key);
    auth_other_count(n->auth, counted, client, right);
}

void ops_fill(struct node *n, struct admin_ops *out)
{
    *out = (struct admin_ops){
        .ctx = n,
        .status = ops_status,
        .ready = ops_ready,
        .metrics = ops_metrics,
        .queue_list = ops_queue_list,
        .queue_show = ops_queue_show,
        .queue_act = ops_queue_act,
        .held = ops_held,
        .queue_summary = ops_queue_summary,
        .content_open = ops_content_open,
        .content_next = ops_content_next,
        .content_close = ops_content_close,
        .track = ops_track,
        .top = ops_top,
        .site_list = ops_site_list,
        .site_holds = ops_site_holds,
        .site_shares = ops_site_shares,
        .ip_record = ops_ip_record,
        .site_hold = ops_site_hold,
        .ip_check = ops_ip_check,
        .events = ops_events,
        .notify_status = notify_ops_status,
        .notify_test = notify_ops_test,
        .domain_check = ops_domain_check,
        .trace_start = ops_trace_start,
        .trace_stop = ops_trace_stop,
        .probe_start = ops_probe_start,
        .reload = ops_reload,
        .config_show = ops_config_show,
        .config_check = ops_config_check,
        .log_level_get = ops_log_level_get,
        .log_level_set = ops_log_level_set,
        .erase = ops_erase,
        .login_wait = ops_login_wait,
        .login_count = ops_login_count,
        .auth_blocked = ops_auth_blocked,
        .auth_unblock = ops_auth_unblock,
        .account_list = ops_account_list,
        .account_add = ops_account_add,
        .account_passwd = ops_account_passwd,
        .account_remove = ops_account_remove,
        .account_import = ops_account_import,
    };
}
