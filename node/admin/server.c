/* Life of the admin server: its sockets, libmicrohttpd's two daemons, and the deadline of each connection.
 *
 * libmicrohttpd's own time-out counts silence only, so a client that sends a byte now and then would keep its
 * thread for ever. The reaper therefore gives each connection one deadline per phase (read a request, work,
 * write the reply) and shuts the socket down when it has passed.
 */
#include "node/admin/server_impl.h"
#include "node/admin/tls.h"

#include "base/clock.h"
#include "base/cond.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MS 15000
#define WRITE_MS 60000
#define REAP_EVERY_MS 250
#define CONNECTION_MEMORY (32u * 1024)

/* ---- connections and their deadlines ------------------------------------------------------------------- */

void conn_set_deadline(struct conn *c, int64_t ms_from_now)
{
    pthread_mutex_lock(&c->admin->lock);
    c->deadline_ms = clock_boot_ms() + ms_from_now;
    pthread_mutex_unlock(&c->admin->lock);
}

static void conn_started(struct listener *l, struct MHD_Connection *mhd, void **place)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct conn *c = calloc(1, sizeof(*c));
    if (c == NULL || info == NULL) {
        free(c);
        return; /* its requests are refused: they find no conn */
    }
    c->admin = l->admin;
    c->fd = fcntl(info->connect_fd, F_DUPFD_CLOEXEC, 0);
    if (c->fd < 0) {
        free(c);
        return;
    }
    pthread_mutex_lock(&l->admin->lock);
    c->deadline_ms = clock_boot_ms() + l->admin->config.request_ms;
    list_push_back(&l->admin->conns, &c->link);
    pthread_mutex_unlock(&l->admin->lock);
    *place = c;
}

static void conn_closed(struct listener *l, void **place)
{
    struct conn *c = *place;
    if (c == NULL)
        return;
    pthread_mutex_lock(&l->admin->lock);
    list_remove(&c->link);
    pthread_mutex_unlock(&l->admin->lock);
    close(c->fd);
    free(c);
    *place = NULL;
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **place,
                          enum MHD_ConnectionNotificationCode what)
{
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        conn_started(cls, mhd, place);
    else
        conn_closed(cls, place);
}

static void *reaper_main(void *arg)
{
    struct admin *a = arg;
    pthread_mutex_lock(&a->lock);
    while (!atomic_load(&a->stopping)) {
        int64_t now_ms = clock_boot_ms();
        LIST_EACH(link, &a->conns)
        {
            struct conn *c = LIST_ITEM(link, struct conn, link);
            if (now_ms < c->deadline_ms)
                continue;
            shutdown(c->fd, SHUT_RDWR); /* wakes its thread, which ends the connection */
            c->deadline_ms = INT64_MAX;
        }
        cond_wait_until(&a->wake, &a->lock, clock_mono_ns() + REAP_EVERY_MS * 1000000L);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* An escaped NUL would cut the path short for all who read it as a string; another control character, as
 * refused as NUL is, takes its place. */
static size_t on_unescape(void *cls, struct MHD_Connection *mhd, char *s)
{
    (void)cls, (void)mhd;
    for (char *p = s; (p = strstr(p, "%00")) != NULL;)
        p[2] = '1';
    return MHD_http_unescape(s);
}

static void on_mhd_log(void *cls, const char *fmt, va_list ap)
{
    (void)cls;
    char line[512];
    vsnprintf(line, sizeof(line), fmt, ap);
    line[strcspn(line, "\n")] = '\0';
    log_debug("admin", "libmicrohttpd: %s", line);
}

/* ---- making -------------------------------------------------------------------------------------------- */

/* A copy that the place owns, or NULL for NULL. */
static const char *copy(char **place, const char *s, bool *failed)
{
    *place = s == NULL ? NULL : strdup(s);
    *failed |= s != NULL && *place == NULL;
    return *place;
}

static int copy_config(struct admin *a, const struct admin_config *config, struct admin_error *e)
{
    bool failed = false;
    a->config = *config;
    a->config.socket_path = copy(&a->copies[0], config->socket_path, &failed);
    a->config.socket_group = copy(&a->copies[1], config->socket_group, &failed);
    a->config.tcp_address = copy(&a->copies[2], config->tcp_address, &failed);
    a->config.token_file = copy(&a->copies[3], config->token_file, &failed);
    a->config.certificate = copy(&a->copies[4], config->certificate, &failed);
    a->config.key = copy(&a->copies[5], config->key, &failed);
    a->config.hosts = NULL;
    a->config.nhosts = 0;
    char **names = calloc(config->nhosts + 1, sizeof(*names));
    if (names != NULL)
        for (size_t i = 0; i < config->nhosts; i++)
            (void)copy(&names[i], config->hosts[i], &failed);
    a->hosts.names = names;
    a->hosts.nnames = names != NULL ? config->nhosts : 0;
    if (a->config.socket_mode == 0)
        a->config.socket_mode = 0660;
    if (a->config.request_ms == 0)
        a->config.request_ms = REQUEST_MS;
    if (a->config.write_ms == 0)
        a->config.write_ms = WRITE_MS;
    return failed || names == NULL ? admin_fail(e, -ENOMEM, "out of memory") : 0;
}

static int bind_sockets(struct admin *a, struct admin_error *e)
{
    const struct admin_config *c = &a->config;
    if (c->tcp_address != NULL && c->token_file == NULL)
        return admin_fail(e, ERR_BAD, "a TCP address for the admin API needs a token file");
    if (c->token_file != NULL) {
        int err = admin_token_read(c->token_file, a->token, e);
        if (err != 0)
            return err;
    }
    if (c->tcp_address != NULL && c->certificate != NULL) {
        int err = tls_new(c->certificate, c->key, &a->tls, e);
        if (err != 0)
            return err;
    }
    if (c->tcp_address != NULL) {
        a->tcp.fd = admin_listen_tcp(c->tcp_address, c->tcp_remote || a->tls != NULL, &a->hosts.port, a->host, e);
        if (a->tcp.fd < 0)
            return a->tcp.fd;
        a->hosts.address = span_str(a->host);
        if (a->tls != NULL)
            snprintf(a->page, sizeof(a->page), "https://%s:%u/", a->hosts.nnames > 0 ? a->hosts.names[0] : a->host,
                     (unsigned)a->hosts.port);
    }
    if (c->socket_path != NULL) {
        a->unix_socket.fd = admin_listen_unix(c->socket_path, c->socket_mode, c->socket_group, e);
        if (a->unix_socket.fd < 0)
            return a->unix_socket.fd;
    }
    return 0;
}

int admin_new(const struct admin_config *config, const struct admin_ops *ops, struct admin **out,
              struct admin_error *e)
{
    struct admin *a = calloc(1, sizeof(*a));
    if (a == NULL)
        return admin_fail(e, -ENOMEM, "out of memory");
    a->ops = ops;
    a->unix_socket = (struct listener){ .admin = a, .fd = -1, .local = true };
    a->tcp = (struct listener){ .admin = a, .fd = -1 };
    list_init(&a->conns);
    a->logins = logins_new();
    a->series = series_new();
    ensure(pthread_mutex_init(&a->lock, NULL) == 0);
    cond_init(&a->wake);
    int err = copy_config(a, config, e);
    if (err == 0 && (a->logins == NULL || a->series == NULL))
        err = admin_fail(e, -ENOMEM, "out of memory");
    if (err == 0)
        err = bind_sockets(a, e);
    if (err == 0)
        *out = a;
    else
        admin_free(a);
    return err;
}

/* ---- running ------------------------------------------------------------------------------------------- */

static int start_daemon(struct listener *l, struct admin_error *e)
{
    if (l->fd < 0)
        return 0;
    unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL |
                     MHD_USE_ITC | MHD_USE_ERROR_LOG;
    const struct MHD_OptionItem secure[] = {
        { MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_PRIORITIES },
        { MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)tls_certificate },
        { MHD_OPTION_END, 0, NULL },
    };
    const struct MHD_OptionItem plain[] = { { MHD_OPTION_END, 0, NULL } };
    bool has_tls = !l->local && l->admin->tls != NULL;
    if (has_tls)
        flags |= MHD_USE_TLS;
    l->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, request_handle, l, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, l->fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)ADMIN_CALLS_MAX / 2,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
        MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, NULL, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, l, MHD_OPTION_NOTIFY_COMPLETED, request_completed, l,
        MHD_OPTION_ARRAY, has_tls ? secure : plain, MHD_OPTION_END);
    if (l->daemon == NULL)
        return admin_fail(e, ERR_FAILED, "libmicrohttpd does not start on the admin API's socket");
    l->fd = -1;
    return 0;
}

int admin_run(struct admin *a, struct admin_error *e)
{
    /* Its threads take no signals: those are the main thread's. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = pthread_create(&a->reaper, NULL, reaper_main, a);
    a->reaper_runs = err == 0;
    err = err != 0 ? admin_fail(e, -err, "can't start a thread: %s", strerror(err)) : 0;
    if (err == 0) {
        err = series_start(a->series, a->ops);
        err = err != 0 ? admin_fail(e, err, "can't start a thread: %s", strerror(-err)) : 0;
    }
    if (err == 0)
        err = start_daemon(&a->unix_socket, e);
    if (err == 0)
        err = start_daemon(&a->tcp, e);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return err;
}

uint16_t admin_port(const struct admin *a)
{
    return a->hosts.port;
}

int admin_reload(struct admin *a, struct admin_error *e)
{
    char token[ADMIN_TOKEN_MAX + 1];
    int tls_err = a->tls != NULL ? tls_reload(a->tls, a->config.certificate, a->config.key, e) : 0;
    if (a->config.token_file == NULL || tls_err != 0)
        return tls_err;
    int err = admin_token_read(a->config.token_file, token, e);
    if (err == 0) {
        pthread_mutex_lock(&a->lock);
        bool another = strcmp(a->token, token) != 0;
        memcpy(a->token, token, sizeof(token));
        pthread_mutex_unlock(&a->lock);
        if (another)
            logins_drop_tokens(a->logins);
    }
    explicit_bzero(token, sizeof(token));
    return err;
}

static void stop_listener(struct listener *l)
{
    if (l->daemon != NULL)
        MHD_stop_daemon(l->daemon); /* closes the socket, waits for the connections' threads */
    else if (l->fd >= 0)
        close(l->fd);
}

static void stop_threads(struct admin *a)
{
    pthread_mutex_lock(&a->lock);
    atomic_store(&a->stopping, true);
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
    if (a->reaper_runs)
        pthread_join(a->reaper, NULL);
}

void admin_free(struct admin *a)
{
    if (a == NULL)
        return;
    /* Unlinked first, so that a successor can bind while the last calls end. */
    if (a->unix_socket.fd >= 0 || a->unix_socket.daemon != NULL)
        unlink(a->config.socket_path);
    stop_threads(a);
    series_stop(a->series);
    stop_listener(&a->unix_socket);
    stop_listener(&a->tcp);
    for (size_t i = 0; i < a->hosts.nnames; i++)
        free(a->hosts.names[i]);
    free(a->hosts.names);
    for (size_t i = 0; i < sizeof(a->copies) / sizeof(a->copies[0]); i++)
        free(a->copies[i]);
    explicit_bzero(a->token, sizeof(a->token));
    series_free(a->series);
    logins_free(a->logins);
    tls_free(a->tls);
    pthread_cond_destroy(&a->wake);
    pthread_mutex_destroy(&a->lock);
    free(a);
}
