/* A loop with a listener, and ends of connections that record what happens to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "loop.h"

#include <arpa/inet.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static size_t on_data(void *ctx, const char *p, size_t n)
{
    struct end *e = ctx;
    assert_int_equal(e->closed, 0);
    assert_true(n > 0);
    e->calls++;
    e->last_n = n;
    size_t take = n < e->take ? n : e->take;
    assert_int_equal(buf_put(&e->got, p, take), 0);
    if (e->in_data != NULL)
        e->in_data(e);
    return take;
}

static void on_writable(void *ctx)
{
    struct end *e = ctx;
    assert_int_equal(e->closed, 0);
    e->writable++;
    if (e->in_writable != NULL)
        e->in_writable(e);
}

static void on_open(void *ctx)
{
    struct end *e = ctx;
    assert_int_equal(e->closed + e->opened, 0);
    e->opened++;
    if (e->in_open != NULL)
        e->in_open(e);
}

static void on_tls(void *ctx, bool ok, const char *why)
{
    struct end *e = ctx;
    assert_int_equal(e->closed + e->tls_called, 0);
    e->tls_called++;
    e->tls_ok = ok;
    snprintf(e->why, sizeof e->why, "%s", why);
    if (e->in_tls != NULL)
        e->in_tls(e);
}

static void on_closed(void *ctx, int err)
{
    struct end *e = ctx;
    assert_int_equal(e->closed, 0);
    e->closed++;
    e->err = err;
    if (e->in_closed != NULL)
        e->in_closed(e);
    e->s = NULL;
}

const struct stream_ops end_ops = { .on_data = on_data,
                                    .on_writable = on_writable,
                                    .on_open = on_open,
                                    .on_tls = on_tls,
                                    .on_closed = on_closed };

/* Of a machine that has other things to do, too. */
enum { PATIENCE_MS = 60000 };

static void on_accept(struct stream_listener *l)
{
    struct net *n = l->ctx;
    struct end *e = n->accept;
    if (e == NULL)
        return;
    n->accept = NULL;
    if (stream_accept(l->sl, (uv_stream_t *)&l->tcp, &end_ops, e, &e->s) == 0)
        n->accepted++;
}

void net_open(struct net *n)
{
    *n = (struct net){ 0 };
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(uv_loop_init(&n->uv), 0);
    assert_int_equal(timers_init(&n->timers, &n->uv), 0);
    assert_int_equal(stream_loop_init(&n->streams, &n->uv, &n->timers), 0);
    assert_int_equal(ip_addr_parse(SPAN_LIT("127.0.0.1"), &n->addr), 0);
    int fd = -1;
    assert_int_equal(stream_listen_fd(&n->addr, 0, true, 128, &fd), 0);
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(ip_from_sockaddr((struct sockaddr *)&sa, &n->addr, &n->port), 0);
    assert_int_equal(stream_listener_open(&n->listener, &n->streams, fd, on_accept, n), 0);
    assert_int_equal(uv_timer_init(&n->uv, &n->guard), 0);
    n->guard.data = n;
}

static void count_closed(void *ctx)
{
    ++*(int *)ctx;
}

static void listener_gone(void *ctx)
{
    ((struct net *)ctx)->accepted = -1;
}

void net_close(struct net *n)
{
    int closed = 0;
    uv_close((uv_handle_t *)&n->guard, NULL);
    stream_listener_close(&n->listener, listener_gone);
    stream_loop_close(&n->streams, count_closed, &closed);
    uv_run(&n->uv, UV_RUN_DEFAULT);
    assert_int_equal(n->streams.open, 0);
    assert_int_equal(n->accepted, -1);
    assert_int_equal(closed, 1);
    timers_close(&n->timers, count_closed, &closed);
    uv_run(&n->uv, UV_RUN_DEFAULT);
    assert_int_equal(closed, 2);
    assert_int_equal(uv_loop_close(&n->uv), 0);
}

void end_init(struct end *e, struct net *n)
{
    *e = (struct end){ .net = n, .take = SIZE_MAX };
    buf_init(&e->got, 64u << 20);
}

void end_fini(struct end *e)
{
    buf_fini(&e->got);
}

void end_connect(struct end *e)
{
    struct stream_connect to = { .addr = e->net->addr, .port = e->net->port };
    assert_int_equal(stream_connect(&e->net->streams, &to, &end_ops, e, &e->s), 0);
}

static bool accepted(void *arg)
{
    return ((struct end *)arg)->s != NULL;
}

void net_pair(struct net *n, struct end *client, struct end *server)
{
    end_init(client, n);
    end_init(server, n);
    n->accept = server;
    end_connect(client);
    net_until(n, accepted, server);
    net_until(n, end_is_open, client);
}

int net_raw(struct net *n, struct end *server)
{
    end_init(server, n);
    n->accept = server;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct sockaddr_storage sa;
    socklen_t len = ip_to_sockaddr(&n->addr, n->port, &sa);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
    net_until(n, accepted, server);
    return fd;
}

static void guard_cb(uv_timer_t *t)
{
    ((struct net *)t->data)->late = true;
    uv_stop(t->loop); /* otherwise this turn would go on to wait for input, which may never come */
}

void net_until(struct net *n, net_until_fn *fn, void *arg)
{
    n->late = false;
    uv_timer_start(&n->guard, guard_cb, PATIENCE_MS, 0);
    while (!fn(arg)) {
        if (n->late)
            fail_msg("nothing came within %d ms", PATIENCE_MS);
        uv_run(&n->uv, UV_RUN_ONCE);
    }
    uv_timer_stop(&n->guard);
}

void net_run_ms(struct net *n, unsigned ms)
{
    n->late = false;
    uv_update_time(&n->uv);
    uv_timer_start(&n->guard, guard_cb, ms, 0);
    while (!n->late)
        uv_run(&n->uv, UV_RUN_ONCE);
}

bool end_is_closed(void *end)
{
    return ((struct end *)end)->closed > 0;
}

bool end_is_open(void *end)
{
    return ((struct end *)end)->opened > 0;
}

bool end_has_tls(void *end)
{
    return ((struct end *)end)->tls_called > 0;
}

bool end_has(void *wants)
{
    struct end_wants *w = wants;
    return w->e->got.len >= w->n;
}

void end_expect(struct end *e, const char *text)
{
    size_t n = strlen(text);
    net_until(e->net, end_has, &(struct end_wants){ e, n });
    if (e->got.len != n || memcmp(e->got.data, text, n) != 0)
        fail_msg("wanted \"%s\", got \"%.*s\"", text, (int)e->got.len, e->got.data);
    buf_reset(&e->got);
}

void end_write(struct end *e, const char *text)
{
    assert_int_equal(stream_write(e->s, text, strlen(text)), 0);
}
