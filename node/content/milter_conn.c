/* A connection to a filter: opened, one message after the other, closed. See milter_impl.h. */
#include "node/content/milter_impl.h"

#include "base/clock.h"
#include "base/ensure.h"

#include <stdio.h>
#include <stdlib.h>

#define KEEP_BYTES 16384u /* of a buffer's memory, between messages */

static void pump(struct milter_conn *c);

/* ---- its end ------------------------------------------------------------------------------------------- */

static void release(struct milter_conn *c)
{
    if (c->resolving || c->opened || c->reopening)
        return;
    uv_freeaddrinfo(c->addresses);
    buf_fini(&c->in);
    buf_fini(&c->out);
    free(c);
}

static void closed_cb(uv_handle_t *handle)
{
    struct milter_conn *c = handle->data;
    c->opened = false;
    release(c);
}

void milter_conn_close(struct milter_conn *c)
{
    if (c->closing)
        return;
    c->closing = true;
    list_remove(&c->link);
    if (c->resolving)
        (void)uv_cancel((uv_req_t *)&c->resolve); /* or it comes to its end: its callback is called in any case */
    if (c->connected && !c->writing)
        (void)uv_try_write(&c->u.stream, &(uv_buf_t){ .base = (char[]){ 0, 0, 0, 1, MILTER_QUIT }, .len = 5 }, 1);
    if (c->opened)
        uv_close(&c->u.handle, closed_cb);
    else
        release(c);
}

void milter_conn_fail(struct milter_conn *c, bool unreachable, const char *why)
{
    struct milter_job *job = c->job;
    struct milter_peer *peer = c->peer;
    struct milters *m = c->m;
    bool again = c->used && !c->heard && !m->stopping;
    c->job = NULL;
    milter_conn_close(c);
    if (job == NULL)
        return;
    if (again && clock_boot_ms() < job->until_ms)
        milter_job_again(peer, m, job);
    else
        milter_job_failed(peer, m, job, unreachable, why);
}

static void fail_err(struct milter_conn *c, bool unreachable, const char *what, int err)
{
    char why[160];
    snprintf(why, sizeof why, "%s: %s", what, uv_strerror(err));
    milter_conn_fail(c, unreachable, why);
}

/* ---- octets -------------------------------------------------------------------------------------------- */

static void done(struct milter_conn *c)
{
    struct milter_job *job = c->job;
    struct milter_peer *peer = c->peer;
    struct milters *m = c->m;
    job->answer = c->session.answer;
    c->job = NULL;
    bool keep = !m->stopping && !c->writing && c->in.len == 0 && milter_session_again(&c->session, &c->out);
    if (keep) {
        c->used = true;
        c->idle_ms = clock_boot_ms();
        buf_shrink(&c->in, KEEP_BYTES);
        pump(c);
    } else {
        milter_conn_close(c);
    }
    milter_job_done(peer, m, job);
}

/* It needs longer. */
static void extend(struct milter_conn *c)
{
    int64_t until_ms = clock_boot_ms() + c->job->conf->timeout_ms;
    c->session.progress = false;
    c->job->until_ms = until_ms < c->job->most_ms ? until_ms : c->job->most_ms;
}

/* What has come. */
static void take(struct milter_conn *c)
{
    size_t used;
    do {
        struct span in = buf_span(&c->in);
        enum milter_result r = milter_session_take(&c->session, &in);
        used = c->in.len - in.n;
        buf_consume(&c->in, used);
        if (c->session.progress)
            extend(c);
        if (r == MILTER_FAILED) {
            milter_conn_fail(c, false, c->session.why);
            return;
        }
        if (r == MILTER_DONE) {
            done(c);
            return;
        }
        if (!c->session.waits)
            pump(c);
    } while (!c->closing && used > 0 && c->in.len > 0);
}

static void alloc_cb(uv_handle_t *handle, size_t size, uv_buf_t *out)
{
    struct milter_conn *c = handle->data;
    (void)size;
    bool room = buf_reserve(&c->in, MILTER_READ_BYTES) == 0;
    *out = uv_buf_init(room ? c->in.data + c->in.len : NULL, room ? MILTER_READ_BYTES : 0);
}

static void read_cb(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    struct milter_conn *c = stream->data;
    (void)b;
    if (n == 0 || c->closing)
        return;
    if (n == UV_EOF)
        milter_conn_fail(c, false,
                         c->session.negotiated ? "it closes the connection"
                                               : "it closes the connection instead of negotiating: it may want what is "
                                                 "not offered (offer_all)");
    else if (n < 0)
        fail_err(c, false, "the connection fails", (int)n);
    else if (c->job == NULL)
        milter_conn_close(c); /* it was not asked */
    else {
        c->heard = true;
        c->in.len += (size_t)n;
        take(c);
    }
}

static void written_cb(uv_write_t *req, int status)
{
    struct milter_conn *c = req->data;
    c->writing = false;
    if (c->closing)
        return;
    if (status != 0) {
        fail_err(c, false, "the connection fails", status);
        return;
    }
    buf_reset(&c->out);
    buf_shrink(&c->out, KEEP_BYTES);
    if (c->job != NULL)
        pump(c);
}

/* What there is to send, if nothing is on its way. */
static void pump(struct milter_conn *c)
{
    if (!c->connected || c->writing || c->closing)
        return;
    int err = c->job == NULL ? 0 : milter_session_pump(&c->session, &c->out);
    if (err == 0 && c->out.len > 0) {
        uv_buf_t b = uv_buf_init(c->out.data, (unsigned)c->out.len);
        c->write.data = c;
        err = uv_write(&c->write, &c->u.stream, &b, 1, written_cb);
        c->writing = err == 0;
    }
    if (err != 0)
        milter_conn_fail(c, false, "no memory");
}

/* ---- its beginning ------------------------------------------------------------------------------------- */

static void connect_next(struct milter_conn *c);

static void reopen_cb(uv_handle_t *handle)
{
    struct milter_conn *c = handle->data;
    c->reopening = false;
    if (c->closing)
        release(c);
    else
        connect_next(c);
}

static void connected_cb(uv_connect_t *req, int status)
{
    struct milter_conn *c = req->data;
    if (c->closing)
        return;
    if (status != 0 && c->next_address != NULL) {
        c->opened = false;
        c->reopening = true;
        uv_close(&c->u.handle, reopen_cb);
        return;
    }
    if (status == 0)
        status = uv_read_start(&c->u.stream, alloc_cb, read_cb);
    if (status != 0) {
        fail_err(c, true, "it cannot be connected to", status);
        return;
    }
    c->connected = true;
    pump(c);
}

static void connect_to(struct milter_conn *c, const struct sockaddr *address)
{
    int err = uv_tcp_init(&c->m->loop, &c->u.tcp);
    if (err == 0) {
        c->opened = true;
        c->u.handle.data = c;
        c->connect.data = c;
        (void)uv_tcp_nodelay(&c->u.tcp, 1);
        err = uv_tcp_connect(&c->connect, &c->u.tcp, address, connected_cb);
    }
    if (err != 0)
        fail_err(c, true, "it cannot be connected to", err);
}

static void connect_next(struct milter_conn *c)
{
    const struct sockaddr *address = c->next_address->ai_addr;
    c->next_address = c->next_address->ai_next;
    connect_to(c, address);
}

static void resolved_cb(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct milter_conn *c = req->data;
    c->resolving = false;
    c->addresses = c->next_address = list;
    if (c->closing)
        release(c);
    else if (status != 0 || list == NULL)
        fail_err(c, true, "its name has no address", status);
    else
        connect_next(c);
}

static void open_inet(struct milter_conn *c, struct span name, uint16_t port)
{
    char host[POLICY_MILTER_SOCKET_MAX + 1], service[8];
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    snprintf(host, sizeof host, "%.*s", (int)name.n, name.p);
    snprintf(service, sizeof service, "%u", port);
    if (uv_ip4_addr(host, port, &v4) == 0) {
        connect_to(c, (const struct sockaddr *)&v4);
        return;
    }
    if (uv_ip6_addr(host, port, &v6) == 0) {
        connect_to(c, (const struct sockaddr *)&v6);
        return;
    }
    c->resolve.data = c;
    int err = uv_getaddrinfo(&c->m->loop, &c->resolve, resolved_cb, host, service, &hints);
    c->resolving = err == 0;
    if (err != 0)
        fail_err(c, true, "its name has no address", err);
}

static void open_conn(struct milter_conn *c)
{
    struct policy_milter_socket s;
    ensure(policy_milter_socket(c->peer->socket, &s) == NULL);
    if (s.path.n == 0) {
        open_inet(c, s.host, s.port);
        return;
    }
    ensure(uv_pipe_init(&c->m->loop, &c->u.pipe, 0) == 0);
    c->opened = true;
    c->u.handle.data = c;
    c->connect.data = c;
    uv_pipe_connect(&c->connect, &c->u.pipe, s.path.p, connected_cb);
}

static struct milter_conn *idle(struct milters *m, const struct milter_peer *peer, bool offer_all)
{
    LIST_EACH(link, &m->conns)
    {
        struct milter_conn *c = LIST_ITEM(link, struct milter_conn, link);
        if (c->peer == peer && c->job == NULL && c->session.offer_all == offer_all)
            return c;
    }
    return NULL;
}

void milter_conn_start(struct milters *m, struct milter_peer *peer, struct milter_job *job)
{
    struct milter_conn *c = job->fresh ? NULL : idle(m, peer, job->conf->offer_all);
    bool open = c != NULL;
    if (c == NULL && (c = calloc(1, sizeof *c)) == NULL) {
        milter_job_failed(peer, m, job, false, "no memory");
        return;
    }
    if (!open) {
        c->m = m;
        c->peer = peer;
        milter_session_init(&c->session, job->conf->offer_all);
        buf_init(&c->in, MILTER_DATA_MAX + 5 + MILTER_READ_BYTES);
        buf_init(&c->out, MILTER_OUT_MAX);
        list_push_back(&m->conns, &c->link);
    }
    c->job = job;
    c->heard = false;
    milter_session_begin(&c->session, &job->message);
    if (open)
        pump(c);
    else
        open_conn(c);
}
