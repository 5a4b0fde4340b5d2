/* Between a connection and libraft: a pair of sockets, libraft at one end, we at the other. The loop's
 * thread.
 *
 * Bounded: what was opened and the pipe does not take stays in `in` (one chunk of TCP at most), and TCP is
 * not read until it is gone. The other way, nothing is read from the pipe while `out` waits for the kernel.
 *
 * An accepted stream is only read by libraft and a dialled one only written, so each side's end would not be
 * noticed by the direction that has traffic: the pipe is read in both cases.
 */
#include "consensus/transport_impl.h"

#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <raft.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_far_closed(uv_handle_t *h)
{
    raft_free(h);
}

static void set_room(int fd)
{
    int room = PIPE_BYTES;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
}

int conn_pipe_open(struct conn *c, uv_stream_t **far)
{
    uv_loop_t *loop = c->t->config.loop;
    int fds[2];
    uv_pipe_t *theirs = raft_malloc(sizeof *theirs);
    if (theirs == NULL)
        return -ENOMEM;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
        int err = -errno;
        raft_free(theirs);
        return err;
    }
    set_room(fds[0]);
    set_room(fds[1]);
    ensure(uv_pipe_init(loop, theirs, 0) == 0);
    theirs->data = NULL;
    int err = uv_pipe_open(theirs, fds[1]);
    if (err != 0) {
        close(fds[0]);
        close(fds[1]);
        uv_close((uv_handle_t *)theirs, on_far_closed);
        return err;
    }
    ensure(uv_pipe_init(loop, &c->pipe, 0) == 0);
    c->pipe.data = c;
    c->pipe_live = true;
    c->handles++;
    err = uv_pipe_open(&c->pipe, fds[0]);
    if (err != 0) {
        close(fds[0]);
        uv_close((uv_handle_t *)theirs, on_far_closed);
        return err;
    }
    *far = c->far = (uv_stream_t *)theirs;
    return 0;
}

/* ---- to libraft ---------------------------------------------------------------------------------------- */

static void on_in_written(uv_write_t *w, int status)
{
    struct conn *c = w->data;
    c->in_busy = false;
    if (c->phase == CLOSING)
        return;
    if (status != 0) {
        conn_close(c, RAFT_NOCONNECTION);
        return;
    }
    buf_reset(&c->in);
    conn_tcp_read(c);
}

void conn_pump_in(struct conn *c)
{
    if (c->in.len == 0 || c->in_busy)
        return;
    uv_buf_t b = uv_buf_init(c->in.data, (unsigned)c->in.len);
    int wrote = uv_try_write((uv_stream_t *)&c->pipe, &b, 1);
    if (wrote < 0 && wrote != UV_EAGAIN) { /* libraft has closed its end */
        conn_close(c, RAFT_NOCONNECTION);
        return;
    }
    buf_consume(&c->in, wrote < 0 ? 0 : (size_t)wrote);
    if (c->in.len == 0)
        return;
    uv_read_stop((uv_stream_t *)&c->tcp);
    b = uv_buf_init(c->in.data, (unsigned)c->in.len);
    c->in_busy = uv_write(&c->in_write, (uv_stream_t *)&c->pipe, &b, 1, on_in_written) == 0;
    if (!c->in_busy)
        conn_close(c, RAFT_NOCONNECTION);
}

/* ---- from libraft -------------------------------------------------------------------------------------- */

static void on_pipe_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct conn *c = s->data;
    if (n == 0 || c->phase != OPEN)
        return;
    if (n < 0) { /* libraft closed its end: what it wrote before should still leave */
        c->pipe_eof = true;
        uv_read_stop((uv_stream_t *)&c->pipe);
        if (c->accepted)
            conn_close(c, RAFT_NOCONNECTION);
        else
            conn_linger(c);
        return;
    }
    ensure(!c->accepted);
    if (conn_send(c, b->base, (size_t)n) && c->out_busy)
        uv_read_stop((uv_stream_t *)&c->pipe);
}

static void on_pipe_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *b)
{
    (void)suggested;
    struct conn *c = h->data;
    *b = uv_buf_init(c->t->chunk, sizeof c->t->chunk);
}

void conn_pipe_read(struct conn *c)
{
    int err = uv_read_start((uv_stream_t *)&c->pipe, on_pipe_alloc, on_pipe_read);
    if (err != 0 && err != UV_EALREADY)
        conn_close(c, RAFT_NOCONNECTION);
}

void conn_pipe_start(struct conn *c)
{
    c->phase = OPEN;
    uv_timer_stop(&c->timer);
    conn_pipe_read(c);
}

/* ---- how much is queued -------------------------------------------------------------------------------- */

struct look {
    const uv_stream_t *want;
    int64_t queued;
};

static void look_at(uv_handle_t *h, void *arg)
{
    struct look *l = arg;
    if ((const void *)h == l->want && h->type == UV_NAMED_PIPE && !uv_is_closing(h))
        l->queued = (int64_t)uv_stream_get_write_queue_size((const uv_stream_t *)h);
}

/* libraft's end is libraft's: it may be closed and freed a moment before we see it. Only the loop knows
 * whether the handle is still one. */
int64_t conn_pending(const struct conn *c)
{
    if (c->phase != OPEN || c->far == NULL || c->pipe_eof)
        return 0;
    struct look l = { .want = c->far };
    int fd = -1, in_pipe = 0;
    uv_walk(c->t->config.loop, look_at, &l);
    if (uv_fileno((const uv_handle_t *)&c->pipe, &fd) == 0)
        ioctl(fd, FIONREAD, &in_pipe);
    return l.queued + in_pipe + (int64_t)c->out.len;
}
