/* turnpiked as a whole: start order, stop order, reload. The main thread. */
#include "node/core/node.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/content/checker.h"
#include "node/content/milter.h"
#include "node/core/clients.h"
#include "node/core/cluster.h"
#include "node/core/dispatch.h"
#include "node/core/dnsbl.h"
#include "node/core/egress.h"
#include "node/core/egress_rest.h"
#include "node/core/held.h"
#include "node/core/ingress.h"
#include "node/core/greylist.h"
#include "node/core/listener.h"
#include "node/core/notify.h"
#include "node/core/privileges.h"
#include "node/core/service.h"
#include "node/core/sign.h"
#include "node/core/sts.h"
#include "node/core/tlsrpt.h"
#include "node/core/transfer.h"
#include "node/core/watch.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#define LARGE_BYTES (1 << 20) /* of one piece of memory */

struct config *node_config(struct node *n)
{
    uv_mutex_lock(&n->config_lock);
    struct config *c = config_hold(n->config);
    uv_mutex_unlock(&n->config_lock);
    return c;
}

bool node_accepting(struct node *n, const char **why)
{
    const char *reason = NULL;
    if (atomic_load(&n->spool_error) != 0)
        reason = "the spool has failed";
    else if (atomic_load(&n->state) != NODE_RUNNING)
        reason = "the node is starting or stopping";
    else if (n->cluster != NULL)
        reason = cluster_refusal(n->cluster);
    if (why != NULL)
        *why = reason;
    return reason == NULL;
}

/* ---- accounts ------------------------------------------------------------------------------------------ */

static int auth_settings(const struct config *c, struct auth_config *out, struct auth_rule *rules)
{
    const struct config_accounts *a = &c->accounts;
    for (uint32_t i = 0; i < a->dovecot.nrules; i++) {
        const struct config_account_rule *r = &a->dovecot.rules[i];
        struct buf senders;
        buf_init(&senders, 1u << 20);
        for (uint32_t k = 0; k < r->nsenders; k++)
            buf_printf(&senders, "%s%s", k == 0 ? "" : ",", r->senders[k]);
        buf_put_char(&senders, '\0');
        if (buf_err(&senders) != 0)
            return buf_err(&senders);
        rules[i] = (struct auth_rule){
            .match = r->match, .tenant = r->tenant, .class = (uint8_t)r->class, .senders = senders.data
        };
    }
    *out = (struct auth_config){
        .dovecot_socket = a->source == CONFIG_ACCOUNTS_DOVECOT ? a->dovecot.socket : NULL,
        .dovecot_service = a->dovecot.service,
        .dovecot_timeout_ms = a->dovecot.timeout_ms,
        .tenant = a->dovecot.tenant,
        .rules = rules,
        .nrules = a->dovecot.nrules,
        .threads = a->checks.threads,
        .queue = a->checks.queue,
        .cache_entries = a->checks.cache_entries,
        .cache_ttl_ms = a->checks.cache_ttl_ms,
        .guard = { .account_failures = a->guard.account_failures,
                   .client_failures = a->guard.client_failures,
                   .window_ms = a->guard.window_ms,
                   .block_ms = a->guard.block_ms },
    };
    return 0;
}

/* Makes the checker, or tells the one there is of new settings. */
static int configure_auth(struct node *n, const struct config *c)
{
    struct auth_rule *rules = calloc(c->accounts.dovecot.nrules + 1, sizeof *rules);
    struct auth_config ac;
    int err = rules == NULL ? -ENOMEM : auth_settings(c, &ac, rules);
    if (err == 0)
        err = n->auth == NULL ? auth_new(&ac, &n->auth) : auth_configure(n->auth, &ac);
    for (uint32_t i = 0; rules != NULL && i < c->accounts.dovecot.nrules; i++)
        free((char *)rules[i].senders);
    free(rules);
    return err;
}

int node_load_accounts(struct node *n, const struct config *c, struct buf *why)
{
    if (c->accounts.source != CONFIG_ACCOUNTS_FILE)
        return 0;
    struct account_table *table = NULL;
    int err = account_table_load(c->accounts.file, &table, why);
    if (err == -ENOENT) {
        log_warn("accounts", "%s does not exist yet: nobody can log in", c->accounts.file);
        err = 0;
    }
    if (err == 0)
        auth_set_accounts(n->auth, table);
    else if (why->len == 0)
        buf_printf(why, "%s: %s", c->accounts.file, err_text(err));
    return err;
}

/* ---- spool --------------------------------------------------------------------------------------------- */

static void node_spool_failed_cb(void *ctx, int err)
{
    struct node *n = ctx;
    atomic_store(&n->spool_error, err);
    log_error("spool",
              "stopped: %s. No mail is accepted any more; the node exits, and verifies the spool when it "
              "is started again",
              err_text(err));
    uv_async_send(&n->wake);
}

static int node_found_cb(void *ctx, const struct envelope *env, const struct spool_rcpt *rcpts)
{
    struct node *n = ctx;
    int err = n->transfer == NULL ? 0 : transfer_found(n->transfer, env, rcpts);
    return err != 0 ? err : dispatch_message(n, NULL, n->config, env, rcpts);
}

static int open_spool(struct node *n)
{
    const struct config *c = n->config;
    struct spool_config sc = {
        .dir = c->spool.dir,
        .segment_bytes = c->spool.segment_bytes,
        .min_free_bytes = c->spool.min_free_bytes,
        .max_messages = c->spool.max_messages,
        .on_failed = node_spool_failed_cb,
        .ctx = n,
        .on_ended = n->history == NULL ? NULL : service_spool_ended_cb,
        .ended_ctx = n->history,
    };
    int64_t from = clock_mono_ns();
    int err = spool_open(&sc, node_found_cb, n, &n->spool);
    if (err != 0) {
        log_error("spool", "%s: %s", c->spool.dir,
                  err == -EWOULDBLOCK ? "another node is using it" : err_text(err));
        return err;
    }
    service_spool_opened(n);
    struct spool_stats stats;
    spool_stats(n->spool, &stats);
    log_info("spool", "%s: %llu messages queued, read in %lld ms", c->spool.dir,
             (unsigned long long)stats.messages, (long long)((clock_mono_ns() - from) / 1000000));
    return 0;
}

/* ---- start --------------------------------------------------------------------------------------------- */

static int open_listeners(struct node *n, struct config *c, struct listeners **out)
{
    struct buf why;
    buf_init(&why, 4096);
    int err = listeners_new(c, n->nworkers, n->listeners, n->tickets, out, &why);
    if (err != 0)
        log_error("listener", "%.*s", (int)why.len, why.len == 0 ? err_text(err) : why.data);
    buf_fini(&why);
    return err;
}

static int start_workers(struct node *n)
{
    n->workers = calloc(n->nworkers, sizeof *n->workers);
    if (n->workers == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < n->nworkers; i++) {
        int err = worker_init(&n->workers[i], n, i);
        if (err != 0)
            return err;
    }
    return 0;
}

struct listen_msg {
    struct worker_msg msg;
    struct config *config; /* NULL: stays */
    struct listeners *listeners;
};

static void run_listen(struct worker *w, struct worker_msg *msg)
{
    struct listen_msg *m = (struct listen_msg *)msg;
    if (m->config != NULL) {
        struct config *old = w->config;
        w->config = m->config;
        egress_reconfigure(w->egress, old);
        config_rele(old);
    }
    ingress_listen(w->ingress, m->listeners);
    listeners_rele(m->listeners);
    free(m);
}

/* Every worker gets the listeners, and the configuration if it is new. */
static void publish(struct node *n, struct config *config)
{
    for (uint32_t i = 0; i < n->nworkers; i++) {
        struct listen_msg *m = malloc(sizeof *m);
        if (m == NULL) {
            log_error("node", "worker %u keeps its settings: no memory", i);
            continue;
        }
        listeners_hold(n->listeners);
        *m = (struct listen_msg){ .msg.run = run_listen,
                                  .config = config == NULL ? NULL : config_hold(config),
                                  .listeners = n->listeners };
        worker_post_always(&n->workers[i], &m->msg);
    }
}

int node_init(struct node *n, struct config *config)
{
    /* Large buffers, such as a snapshot's, are the kernel's again when they are freed. Left to itself glibc takes
     * the first for a sign that many follow, and keeps them. */
    (void)mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
    /* glibc makes an arena for nearly every thread, and what one frees the others cannot use: with a million
     * accounts 120 MiB lay about. A worker has one nearly for itself; the rest share. */
    (void)mallopt(M_ARENA_MAX, (int)config->workers + 2);
    *n = (struct node){ .config = config, .nworkers = config->workers, .next_session = 1 };
    n->started_ms = clock_wall_ms();
    atomic_store(&n->config_loaded_ms, n->started_ms);
    int err = uv_loop_init(&n->loop);
    if (err == 0)
        err = uv_mutex_init(&n->config_lock);
    if (err == 0)
        err = uv_mutex_init(&n->requests_lock);
    if (err == 0)
        err = uv_mutex_init(&n->history_lock);
    list_init(&n->requests);
    if (err == 0 && (n->clients = clients_new()) == NULL)
        err = -ENOMEM;
    if (err == 0)
        err = tls_tickets_new(&n->tickets);
    return err;
}

int node_start(struct node *n)
{
    struct config *c = n->config;
    struct buf why;
    buf_init(&why, 1u << 16);
    int err = privileges_prepare(c);
    if (err == 0)
        err = open_listeners(n, c, &n->listeners);
    if (err == 0)
        err = privileges_drop(c);
    if (err == 0)
        err = service_open_admin(n);
    if (err == 0)
        err = configure_auth(n, c);
    if (err == 0 && (err = node_load_accounts(n, c, &why)) != 0)
        log_error("accounts", "%.*s", (int)why.len, why.data);
    if (err == 0)
        err = service_open_telemetry(n);
    if (err == 0 && c->cluster.enabled)
        err = cluster_new(n, &n->cluster);
    if (err == 0 && c->cluster.enabled)
        err = transfer_new(n, &n->transfer);
    if (err == 0)
        err = sts_new(c->data_dir, &n->sts);
    if (err == 0 && (n->rpt = tlsrpt_open(c->data_dir)) == NULL)
        err = -ENOMEM;
    if (err == 0)
        err = greylist_open(c->data_dir, &n->greylist);
    if (err == 0)
        err = sign_start(&n->signers, n->nworkers);
    if (err == 0 && c->cluster.enabled)
        err = checker_start(&n->checker);
    if (err == 0 && c->cluster.enabled)
        err = milters_start(&n->milters);
    if (err == 0)
        err = shaping_node_init(n);
    if (err == 0)
        err = egress_rest_node_init(n);
    if (err == 0)
        err = dnsbl_new(n, &n->dnsbl);
    if (err == 0)
        err = held_new(&n->held);
    if (err == 0 && (n->sites = sites_new(n->nworkers, sites_wake_cb, n)) == NULL)
        err = -ENOMEM;
    if (err == 0)
        err = start_workers(n);
    if (err == 0)
        err = open_spool(n);
    buf_fini(&why);
    for (uint32_t i = 0; err == 0 && i < n->nworkers; i++)
        err = worker_start(&n->workers[i]);
    if (err == 0 && n->cluster != NULL)
        err = cluster_start(n->cluster);
    if (err == 0 && n->transfer != NULL)
        err = transfer_start(n->transfer);
    if (err == 0)
        err = notify_start(n, &n->notify);
    if (err != 0)
        return err;
    atomic_store(&n->state, NODE_RUNNING);
    publish(n, NULL);
    err = service_run_admin(n);
    return err == 0 ? watch_new(n, &n->watch) : err;
}

/* ---- reload -------------------------------------------------------------------------------------------- */

static int reload(struct node *n, struct buf *why)
{
    struct config_errors errors;
    struct config *fresh;
    config_errors_init(&errors);
    int err = config_load(n->config->path, 0, &fresh, &errors);
    for (uint32_t i = 0; i < errors.n; i++) {
        log_line(errors.v[i].warning ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, "config", "%s", errors.v[i].text);
        if (!errors.v[i].warning)
            buf_printf(why, "%s%s", why->len == 0 ? "" : "\n", errors.v[i].text);
    }
    config_errors_fini(&errors);
    if (err != 0)
        return err;
    struct buf names;
    buf_init(&names, 65536);
    if (config_diff_restart_needed(n->config, fresh, &names) > 0) {
        for (size_t i = 0; i < names.len; i++)
            if (names.data[i] == '\n')
                names.data[i] = ' ';
        log_warn("config", "these settings wait for a restart: %.*s", (int)names.len, names.data);
    }
    buf_fini(&names);
    fresh->workers = n->nworkers;
    struct listeners *listeners = NULL; /* first: most of what can fail is there */
    if ((err = listeners_new(fresh, n->nworkers, n->listeners, n->tickets, &listeners, why)) != 0 ||
        (err = node_load_accounts(n, fresh, why)) != 0 || (err = configure_auth(n, fresh)) != 0) {
        listeners_rele(listeners);
        if (why->len == 0)
            buf_put_str(why, err_text(err));
        log_error("config", "nothing was changed: %.*s", (int)why->len, why->data);
        config_rele(fresh);
        return err;
    }
    service_reopen_logs(n, fresh);
    listeners_rele(n->listeners);
    n->listeners = listeners;
    uv_mutex_lock(&n->config_lock);
    struct config *old = n->config;
    n->config = fresh;
    atomic_store(&n->config_loaded_ms, clock_wall_ms());
    uv_mutex_unlock(&n->config_lock);
    publish(n, fresh);
    config_rele(old);
    log_info("config", "%s is in force", fresh->path);
    return 0;
}

int node_reload(struct node *n, struct buf *why)
{
    watch_reloading(n->watch);
    int err = reload(n, why);
    watch_reloaded(n->watch);
    return err;
}

/* ---- requests of other threads ---------------------------------------------------------------------------
 */

struct request {
    struct list link;
    void (*fn)(struct node *n, void *arg);
    void *arg;
    sem_t done;
};

int node_request(struct node *n, void (*fn)(struct node *n, void *arg), void *arg)
{
    struct request r = { .fn = fn, .arg = arg };
    sem_init(&r.done, 0, 0);
    uv_mutex_lock(&n->requests_lock);
    int err = n->requests_closed ? ERR_CLOSED : 0;
    if (err == 0)
        list_push_back(&n->requests, &r.link);
    uv_mutex_unlock(&n->requests_lock);
    if (err == 0) {
        uv_async_send(&n->wake);
        while (sem_wait(&r.done) != 0)
            ;
    }
    sem_destroy(&r.done);
    return err;
}

void node_run_requests(struct node *n)
{
    for (;;) {
        uv_mutex_lock(&n->requests_lock);
        struct list *link = list_pop_front(&n->requests);
        uv_mutex_unlock(&n->requests_lock);
        if (link == NULL)
            return;
        struct request *r = LIST_ITEM(link, struct request, link);
        r->fn(n, r->arg);
        sem_post(&r->done);
    }
}

/* ---- stop ---------------------------------------------------------------------------------------------- */

void node_stop(struct node *n, int64_t grace_ms)
{
    atomic_store(&n->state, NODE_STOPPING);
    watch_stop(n->watch);
    uv_mutex_lock(&n->requests_lock);
    n->requests_closed = true;
    uv_mutex_unlock(&n->requests_lock);
    node_run_requests(n); /* the admin threads may wait for them */
    notify_stop(n->notify);
    if (n->transfer != NULL)
        transfer_stopping(n->transfer);
    if (n->cluster != NULL)
        cluster_stopping(n->cluster);
    if (n->transfer != NULL)
        transfer_stop(n->transfer);
    service_close_admin(n);
    notify_free(n->notify);
    n->notify = NULL;
    for (uint32_t i = 0; i < n->nworkers; i++)
        worker_stop(&n->workers[i], grace_ms);
    for (uint32_t i = 0; i < n->nworkers; i++)
        worker_join(&n->workers[i]);
    if (n->cluster != NULL)
        cluster_stop(n->cluster);
    sts_free(n->sts);
    tlsrpt_close(n->rpt, n->config->data_dir);
    auth_free(n->auth);
    auth_pool_stop(n->signers);
    checker_stop(n->checker);
    milters_stop(n->milters);
    greylist_close(n->greylist);
    service_spool_closing(n);
    spool_close(n->spool);
    transfer_free(n->transfer);
    for (uint32_t i = 0; i < n->nworkers; i++)
        worker_fini(&n->workers[i]);
    sites_free(n->sites);
    held_free(n->held);
    shaping_node_fini(n);
    egress_rest_node_fini(n);
    dnsbl_free(n->dnsbl);
    cluster_free(n->cluster);
    free(n->workers);
    watch_free(n->watch);
    service_close_telemetry(n);
    listeners_rele(n->listeners);
    clients_free(n->clients);
    tls_tickets_rele(n->tickets);
    config_rele(n->config);
    uv_mutex_destroy(&n->config_lock);
    uv_mutex_destroy(&n->requests_lock);
    uv_mutex_destroy(&n->history_lock);
}
