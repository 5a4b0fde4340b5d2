/* Where streams come from: the loop's shared part, listening sockets, accepting and connecting. One loop's
 * thread, but for stream_listen_fd, which any thread may call.
 */
#include "node/net/stream_impl.h"

#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#define READY_PASSES 4 /* per turn; what is left then waits for the next one */

static void idle_cb(uv_idle_t *idle)
{
    (void)idle; /* its being there keeps the loop from waiting */
}

/* Just before the loop waits: whatever this turn brought is carried out, each stream's output by one write.
 */
static void prepare_cb(uv_prepare_t *prepare)
{
    struct stream_loop *sl = prepare->data;
    for (int pass = 0; pass < READY_PASSES && !list_empty(&sl->ready); pass++) {
        struct list batch;
        list_init(&batch);
        list_splice(&batch, &sl->ready);
        for (struct list *l; (l = list_pop_front(&batch)) != NULL;)
            stream_run(LIST_ITEM(l, struct stream, ready));
    }
    if (list_empty(&sl->ready))
        uv_idle_stop(&sl->idle);
    else
        uv_idle_start(&sl->idle, idle_cb);
}

int stream_loop_init(struct stream_loop *sl, uv_loop_t *loop, struct timers *timers)
{
    *sl = (struct stream_loop){ .uv = loop, .timers = timers };
    list_init(&sl->ready);
    buf_init(&sl->sealed, 2 * STREAM_OUT_MAX);
    sl->read_buf = malloc(STREAM_READ_BYTES);
    sl->plain_buf = malloc(PLAIN_BYTES);
    if (sl->read_buf == NULL || sl->plain_buf == NULL) {
        free(sl->read_buf);
        free(sl->plain_buf);
        return -ENOMEM;
    }
    uv_prepare_init(loop, &sl->prepare); /* these three cannot fail */
    uv_idle_init(loop, &sl->idle);
    uv_prepare_start(&sl->prepare, prepare_cb);
    sl->prepare.data = sl->idle.data = sl;
    uv_unref((uv_handle_t *)&sl->prepare); /* it is no reason for the loop to go on */
    sl->handles = 2;
    return 0;
}

static void loop_handle_closed(uv_handle_t *h)
{
    struct stream_loop *sl = h->data;
    if (--sl->handles > 0)
        return;
    free(sl->read_buf);
    free(sl->plain_buf);
    buf_fini(&sl->sealed);
    if (sl->closed != NULL)
        sl->closed(sl->closed_ctx);
}

void stream_loop_wind_up(struct stream_loop *sl)
{
    if (!sl->closing || sl->open > 0)
        return;
    uv_close((uv_handle_t *)&sl->prepare, loop_handle_closed);
    uv_close((uv_handle_t *)&sl->idle, loop_handle_closed);
}

void stream_loop_close(struct stream_loop *sl, void (*closed)(void *ctx), void *ctx)
{
    ensure(!sl->closing);
    sl->closing = true;
    sl->closed = closed;
    sl->closed_ctx = ctx;
    stream_loop_wind_up(sl);
}

int stream_listen_fd(const struct ip_addr *addr, uint16_t port, bool shared, int backlog, int *fd)
{
    struct sockaddr_storage sa;
    socklen_t len = ip_to_sockaddr(addr, port, &sa);
    int s = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0)
        return -errno;
    int on = 1;
    if (setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        (shared && setsockopt(s, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) ||
        (addr->family == 6 && setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0) ||
        bind(s, (struct sockaddr *)&sa, len) != 0 || listen(s, backlog) != 0) {
        int err = -errno;
        close(s);
        return err;
    }
    *fd = s;
    return 0;
}

static void connection_cb(uv_stream_t *h, int status)
{
    struct stream_listener *l = h->data;
    if (status == 0) /* else the system could not accept (too many files): libuv tries again */
        l->on_accept(l);
}

int stream_listener_open(struct stream_listener *l, struct stream_loop *sl, int fd,
                         void (*on_accept)(struct stream_listener *l), void *ctx)
{
    *l = (struct stream_listener){ .sl = sl, .on_accept = on_accept, .ctx = ctx };
    int err = uv_tcp_init(sl->uv, &l->tcp);
    if (err != 0)
        return err;
    l->tcp.data = l;
    if ((err = uv_tcp_open(&l->tcp, fd)) == 0 &&
        (err = uv_listen((uv_stream_t *)&l->tcp, SOMAXCONN, connection_cb)) == 0)
        return 0;
    return err;
}

static void listener_closed(uv_handle_t *h)
{
    struct stream_listener *l = h->data;
    if (l->closed != NULL)
        l->closed(l->ctx);
}

void stream_listener_close(struct stream_listener *l, void (*closed)(void *ctx))
{
    l->closed = closed;
    uv_close((uv_handle_t *)&l->tcp, listener_closed);
}

/* Both ends' addresses, while the connection is surely there. */
static int learn_addresses(struct stream *s)
{
    struct sockaddr_storage sa;
    int len = sizeof sa;
    int err = uv_tcp_getpeername(&s->tcp, (struct sockaddr *)&sa, &len);
    if (err == 0)
        err = ip_from_sockaddr((struct sockaddr *)&sa, &s->peer, &s->peer_port);
    len = sizeof sa;
    if (err == 0)
        err = uv_tcp_getsockname(&s->tcp, (struct sockaddr *)&sa, &len);
    if (err == 0)
        err = ip_from_sockaddr((struct sockaddr *)&sa, &s->local, &s->local_port);
    return err;
}

int stream_accept(struct stream_loop *sl, uv_stream_t *listener, const struct stream_ops *ops, void *ctx,
                  struct stream **out)
{
    struct stream *s;
    int err = stream_alloc(sl, ops, ctx, AF_UNSPEC, &s);
    if (err != 0)
        return err;
    s->state = STREAM_OPEN;
    err = uv_accept(listener, (uv_stream_t *)&s->tcp);
    if (err == 0)
        err = learn_addresses(s); /* fails when the peer has gone already */
    if (err != 0) {
        stream_detach(s);
        return err;
    }
    uv_tcp_nodelay(&s->tcp, 1);
    stream_read_on(s);
    if (s->state != STREAM_OPEN) {
        stream_detach(s);
        return ERR_FAILED;
    }
    *out = s;
    return 0;
}

static void connect_cb(uv_connect_t *req, int status)
{
    struct stream *s = req->handle->data;
    if (s->state != STREAM_CONNECTING)
        return;
    if (status == 0)
        status = learn_addresses(s);
    if (status != 0) {
        stream_close(s, status);
        return;
    }
    s->state = STREAM_OPEN;
    timer_stop(&s->timer);
    uv_tcp_nodelay(&s->tcp, 1);
    stream_read_on(s);
    stream_ready(s);
    if (s->state == STREAM_OPEN && s->ops->on_open != NULL)
        s->ops->on_open(s->ctx);
}

/* The port is chosen when it connects, so that one source address can have more connections than ports. */
static int bind_source(struct stream *s, const struct ip_addr *source)
{
    uv_os_fd_t fd;
    int on = 1;
    int err = uv_fileno((uv_handle_t *)&s->tcp, &fd);
    if (err != 0)
        return err;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on); /* older kernels: only less ports */
    struct sockaddr_storage sa;
    socklen_t len = ip_to_sockaddr(source, 0, &sa);
    /* not uv_tcp_bind: it would set SO_REUSEADDR and tell of an error only later */
    return bind(fd, (struct sockaddr *)&sa, len) == 0 ? 0 : -errno;
}

int stream_connect(struct stream_loop *sl, const struct stream_connect *to, const struct stream_ops *ops,
                   void *ctx, struct stream **out)
{
    if ((to->addr.family != 4 && to->addr.family != 6) ||
        (to->source.family != 0 && to->source.family != to->addr.family))
        return -EAFNOSUPPORT;
    struct stream *s;
    int err = stream_alloc(sl, ops, ctx, to->addr.family == 4 ? AF_INET : AF_INET6, &s);
    if (err != 0)
        return err;
    s->peer = to->addr;
    s->peer_port = to->port;
    s->local = to->source;
    struct sockaddr_storage sa;
    ip_to_sockaddr(&to->addr, to->port, &sa);
    if (to->source.family != 0)
        err = bind_source(s, &to->source);
    if (err == 0)
        err = uv_tcp_connect(&s->req.connect, &s->tcp, (struct sockaddr *)&sa, connect_cb);
    if (err != 0) {
        stream_detach(s);
        return err;
    }
    timer_set(&s->timer, to->timeout_ms == 0 ? CONNECT_TIMEOUT_MS : to->timeout_ms);
    *out = s;
    return 0;
}
