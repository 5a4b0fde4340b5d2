/* The life of a connection: reading, writing, pausing, ending. Listening and connecting are in stream_open.c,
 * TLS in stream_tls.c. One loop's thread.
 *
 * The functions that sessions call only change state and put the stream on the loop's ready list; stream_run,
 * called from the loop, does what follows from it and calls the session.
 */
#include "node/net/stream_impl.h"

#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

static const struct stream_ops no_ops;

static void fail(struct stream *s, int err)
{
    stream_close(s, err);
}

void stream_ready(struct stream *s)
{
    if (s->state == STREAM_CLOSING || list_linked(&s->ready))
        return;
    list_push_back(&s->sl->ready, &s->ready);
}

int stream_alloc(struct stream_loop *sl, const struct stream_ops *ops, void *ctx, unsigned family,
                 struct stream **out)
{
    struct stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    s->sl = sl;
    s->ops = ops;
    s->ctx = ctx;
    buf_init(&s->in, STREAM_IN_MAX);
    /* what peers make TLS say (key updates) comes on top of what stream_write takes */
    buf_init(&s->out, 2 * STREAM_OUT_MAX);
    buf_init(&s->flying, 2 * STREAM_OUT_MAX);
    int err = timer_init(&s->timer, sl->timers, stream_timed_out);
    if (err != 0) {
        free(s);
        return err;
    }
    err = uv_tcp_init_ex(sl->uv, &s->tcp, family);
    if (err != 0) {
        timer_fini(&s->timer);
        free(s);
        return err;
    }
    s->tcp.data = s;
    sl->open++;
    *out = s;
    return 0;
}

static void stream_closed(uv_handle_t *h)
{
    struct stream *s = h->data;
    struct stream_loop *sl = s->sl;
    sl->open--;
    timer_fini(&s->timer);
    if (s->ops->on_closed != NULL)
        s->ops->on_closed(s->ctx, s->close_err);
    stream_tls_free(s->tls);
    if (s->gate != NULL)
        timer_fini(&s->gate->retry);
    free(s->gate);
    buf_fini(&s->in);
    buf_fini(&s->out);
    buf_fini(&s->flying);
    free(s);
    stream_loop_wind_up(sl);
}

static bool gate_is_shut(const struct stream *s)
{
    return s->gate != NULL && !s->gate->may_send(s->gate->ctx, s->gate->mark);
}

void stream_close(struct stream *s, int err)
{
    if (s->state == STREAM_CLOSING)
        return;
    s->state = STREAM_CLOSING;
    s->close_err = err;
    list_remove(&s->ready);
    timer_stop(&s->timer);
    if (s->gate != NULL)
        timer_stop(&s->gate->retry);
    /* What the kernel still has to send, it must not. */
    if (!gate_is_shut(s) || uv_tcp_close_reset(&s->tcp, stream_closed) != 0)
        uv_close((uv_handle_t *)&s->tcp, stream_closed);
}

void stream_detach(struct stream *s)
{
    s->ops = &no_ops;
    stream_close(s, 0);
}

void stream_set_ops(struct stream *s, const struct stream_ops *ops, void *ctx)
{
    s->ops = ops;
    s->ctx = ctx;
}

void stream_timed_out(struct timer *t)
{
    struct stream *s = TIMER_ITEM(t, struct stream, timer);
    if (s->state == STREAM_LINGER)
        stream_close(s, s->close_err);
    else if (s->state == STREAM_OPEN && s->tls != NULL && !s->tls->done)
        stream_tls_fail(s, s->write_err == 0 ? ERR_TIMEOUT : s->write_err,
                        s->write_err == 0 ? "timed out" : uv_strerror(s->write_err));
    else
        fail(s, s->write_err == 0 ? ERR_TIMEOUT : s->write_err);
}

/* ---- input ---- */

static void alloc_cb(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct stream *s = h->data;
    *buf = uv_buf_init(s->sl->read_buf, STREAM_READ_BYTES);
}

static int keep(struct stream *s, const char *p, size_t n)
{
    int err = buf_put(&s->in, p, n);
    if (err != 0)
        fail(s, err);
    return err;
}

static size_t call_on_data(struct stream *s, const char *p, size_t n)
{
    s->dispatching = true;
    size_t used = s->ops->on_data(s->ctx, p, n);
    s->dispatching = false;
    if (s->state != STREAM_OPEN)
        return n;
    if (s->discard) {
        s->discard = false;
        buf_reset(&s->in);
        return n;
    }
    ensure(used <= n);
    return used;
}

/* Offers what is kept. */
static void offer(struct stream *s)
{
    size_t n = s->in.len;
    if (n == 0)
        return;
    size_t used = call_on_data(s, s->in.data, n);
    if (s->in.len > 0)
        buf_consume(&s->in, used);
    buf_shrink(&s->in, KEEP_BYTES / 4);
}

void stream_deliver(struct stream *s, const char *p, size_t n)
{
    if (s->in.len > 0 || s->paused) {
        if (keep(s, p, n) == 0 && !s->paused)
            offer(s);
        return;
    }
    size_t used = call_on_data(s, p, n);
    if (used < n)
        keep(s, p + used, n - used);
}

void stream_peer_ended(struct stream *s)
{
    if (s->state != STREAM_OPEN || s->paused || s->resumed)
        return;
    if (s->tls != NULL && !s->tls->done) {
        stream_tls_fail(s, UV_EOF, "the peer ended the connection");
        return;
    }
    if (s->write_err != 0)
        fail(s, s->write_err);
    else
        stream_linger(s, UV_EOF, END_FLUSH_MS);
}

static void read_off(struct stream *s)
{
    if (s->reading)
        uv_read_stop((uv_stream_t *)&s->tcp);
    s->reading = false;
}

static void read_failed(struct stream *s, int err)
{
    if (s->state == STREAM_LINGER)
        stream_close(s, s->close_err);
    else if (s->tls != NULL && !s->tls->done)
        stream_tls_fail(s, err, uv_strerror(err));
    else
        fail(s, err);
}

static void read_cb(uv_stream_t *h, ssize_t nread, const uv_buf_t *buf)
{
    struct stream *s = h->data;
    if (nread == 0 || s->state == STREAM_CLOSING)
        return;
    if (nread < 0) {
        read_off(s);
        if (nread != UV_EOF) {
            read_failed(s, (int)nread);
            return;
        }
        s->peer_ended = true;
        if (s->state == STREAM_LINGER)
            stream_ready(s);
        else
            stream_peer_ended(s);
        return;
    }
    size_t n = (size_t)nread;
    s->bytes_in += n;
    if (s->state == STREAM_LINGER)
        return;
    if (s->paused && (s->tls == NULL || s->tls->done)) {
        /* reading goes on through a pause until something comes: most pauses are over before */
        int err = s->tls != NULL ? stream_tls_keep(s, buf->base, n) : keep(s, buf->base, n);
        if (err == 0)
            read_off(s);
    } else if (s->tls != NULL) {
        stream_tls_feed(s, buf->base, n);
    } else {
        stream_deliver(s, buf->base, n);
    }
}

void stream_read_on(struct stream *s)
{
    if (s->reading || s->peer_ended || s->state == STREAM_CLOSING || s->state == STREAM_CONNECTING)
        return;
    int err = uv_read_start((uv_stream_t *)&s->tcp, alloc_cb, read_cb);
    s->reading = err == 0;
    if (err != 0)
        fail(s, err);
}

void stream_pause(struct stream *s)
{
    s->paused = true;
    s->resumed = false;
}

void stream_resume(struct stream *s)
{
    if (!s->paused)
        return;
    s->paused = false;
    s->resumed = true;
    stream_ready(s);
}

bool stream_paused(const struct stream *s)
{
    return s->paused;
}

size_t stream_unread(const struct stream *s)
{
    return s->in.len;
}

bool stream_has_input(const struct stream *s)
{
    char byte;
    uv_os_fd_t fd;
    return uv_fileno((const uv_handle_t *)&s->tcp, &fd) == 0 &&
           recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* ---- output ---- */

size_t stream_queued(const struct stream *s)
{
    return s->out.len + s->flying.len + (s->tls == NULL ? 0 : s->tls->plain.len);
}

/* Sending failed. The peer may have said why before it went, and that can still be read. */
static void write_failed(struct stream *s, int err)
{
    buf_reset(&s->out);
    if (s->state == STREAM_LINGER) {
        stream_close(s, s->close_err);
        return;
    }
    s->write_err = err;
    timer_set(&s->timer, BROKEN_READ_MS);
    if (s->peer_ended && !s->paused)
        fail(s, err);
}

static void write_cb(uv_write_t *req, int status)
{
    struct stream *s = req->handle->data;
    s->writing = false;
    if (s->state == STREAM_CLOSING)
        return;
    if (status == 0)
        s->bytes_out += s->flying.len;
    buf_reset(&s->flying);
    buf_shrink(&s->flying, 0);
    if (status != 0)
        write_failed(s, status);
    stream_run(s);
}

static void gate_retry_cb(struct timer *t)
{
    struct stream_gate *g = TIMER_ITEM(t, struct stream_gate, retry);
    g->s->writing = false;
    stream_ready(g->s);
}

int stream_set_gate(struct stream *s, stream_gate_fn *may_send, void *ctx, uint64_t mark)
{
    ensure(s->gate == NULL);
    struct stream_gate *g = calloc(1, sizeof *g);
    if (g == NULL || timer_init(&g->retry, s->sl->timers, gate_retry_cb) != 0) {
        free(g);
        return -ENOMEM;
    }
    g->may_send = may_send;
    g->ctx = ctx;
    g->mark = mark;
    g->s = s;
    s->gate = g;
    uv_os_fd_t fd;
    int unsent = GATE_UNSENT_BYTES;
    if (uv_fileno((const uv_handle_t *)&s->tcp, &fd) == 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
    return 0;
}

/* Hands what is in `out` to libuv, which tells when the kernel took it. */
static void write_later(struct stream *s)
{
    if (s->gate != NULL) {
        s->writing = true;
        timer_set(&s->gate->retry, GATE_RETRY_MS);
        return;
    }
    struct buf empty = s->flying;
    s->flying = s->out;
    s->out = empty;
    uv_buf_t b = uv_buf_init(s->flying.data, (unsigned)s->flying.len);
    int err = uv_write(&s->req.write, (uv_stream_t *)&s->tcp, &b, 1, write_cb);
    s->writing = err == 0;
    if (err != 0) {
        buf_reset(&s->flying);
        write_failed(s, err);
    }
}

/* Tries out + p at once; returns how many bytes of p the kernel took, or -1 after a failure. */
static ssize_t try_now(struct stream *s, const char *p, size_t n)
{
    uv_buf_t bufs[2];
    unsigned nbufs = 0;
    if (s->out.len > 0)
        bufs[nbufs++] = uv_buf_init(s->out.data, (unsigned)s->out.len);
    if (n > 0)
        bufs[nbufs++] = uv_buf_init((char *)(uintptr_t)p, (unsigned)n);
    int wrote = nbufs == 0 ? 0 : uv_try_write((uv_stream_t *)&s->tcp, bufs, nbufs);
    if (wrote == UV_EAGAIN)
        wrote = 0;
    if (wrote < 0) {
        write_failed(s, wrote);
        return -1;
    }
    s->bytes_out += (uint64_t)wrote;
    size_t old = (size_t)wrote < s->out.len ? (size_t)wrote : s->out.len;
    buf_consume(&s->out, old);
    return wrote - (ssize_t)old;
}

/* Queued output and then p become records, which the loop's scratch memory takes as long as they can leave at
 * once. 0, or an error after which nothing sensible can follow. */
static int push_tls(struct stream *s, const char *p, size_t n, bool *tried)
{
    struct buf *scratch = &s->sl->sealed;
    bool direct = !s->writing && s->out.len == 0;
    s->tls->sealed = direct ? scratch : &s->out;
    int err = stream_tls_seal(s, p, n);
    s->tls->sealed = &s->out;
    if (err == 0 && direct) {
        *tried = true;
        ssize_t took = try_now(s, scratch->data, scratch->len);
        if (took >= 0 && (size_t)took < scratch->len)
            err = buf_put(&s->out, scratch->data + took, scratch->len - (size_t)took);
    }
    buf_reset(scratch);
    buf_shrink(scratch, SCRATCH_KEEP_BYTES);
    return err;
}

/* Everything queued, and then p, on its way, by one write if the kernel takes it. Calls nobody. 0, or an
 * error that ends the stream. */
static int push(struct stream *s, const char *p, size_t n)
{
    if (s->state == STREAM_CONNECTING || s->state == STREAM_CLOSING || s->write_err != 0)
        return 0;
    bool tried = false;
    int err = 0;
    if (stream_queued(s) + n > 0 && gate_is_shut(s)) {
        stream_close(s, ERR_DENIED);
        return 0;
    }
    if (s->tls != NULL && s->tls->done) {
        if (s->tls->plain.len + n > 0)
            err = push_tls(s, p, n, &tried);
    } else if (n > 0 && !s->writing) {
        tried = true;
        ssize_t took = try_now(s, p, n);
        if (took >= 0)
            err = buf_put(&s->out, p + took, n - (size_t)took);
    } else if (n > 0) {
        err = buf_put(&s->out, p, n);
    }
    if (err != 0 || s->writing || s->out.len == 0 || s->write_err != 0 || s->state == STREAM_CLOSING)
        return err;
    if (!tried && try_now(s, NULL, 0) < 0)
        return 0;
    if (s->out.len > 0)
        write_later(s);
    else
        buf_shrink(&s->out, KEEP_BYTES);
    return 0;
}

int stream_write(struct stream *s, const void *p, size_t n)
{
    if (s->state == STREAM_CLOSING || s->state == STREAM_LINGER || s->write_err != 0)
        return ERR_CLOSED;
    size_t queued = stream_queued(s);
    if (n > STREAM_OUT_MAX || queued > STREAM_OUT_MAX - n)
        return ERR_LIMIT;
    bool wait = s->state == STREAM_CONNECTING || s->writing || (s->tls != NULL && !s->tls->done);
    int err;
    if (!wait && queued + n >= DIRECT_WRITE_BYTES)
        err = push(s, p, n);
    else
        err = buf_put(s->tls != NULL ? &s->tls->plain : &s->out, p, n);
    if (err != 0) {
        fail(s, err); /* part of it may be out: nothing sensible can follow */
        return err;
    }
    if (s->state == STREAM_CLOSING || s->write_err != 0)
        return ERR_CLOSED;
    stream_ready(s);
    if (stream_queued(s) < STREAM_OUT_HIGH)
        return 0;
    s->full = true;
    return STREAM_FULL;
}

/* ---- the end ---- */

void stream_linger(struct stream *s, int err, uint32_t timeout_ms)
{
    if (s->state == STREAM_CONNECTING) {
        stream_close(s, err);
        return;
    }
    s->state = STREAM_LINGER;
    s->close_err = err;
    if (s->tls != NULL)
        stream_tls_shutdown(s);
    timer_set(&s->timer, timeout_ms);
    stream_read_on(s);
    stream_ready(s);
}

void stream_shutdown_close(struct stream *s, uint32_t timeout_ms)
{
    if (s->state == STREAM_CONNECTING || s->state == STREAM_OPEN)
        stream_linger(s, 0, timeout_ms);
}

/* In LINGER: what is next. */
static void wind_up(struct stream *s)
{
    if (s->writing || s->out.len > 0)
        return;
    if (s->peer_ended) {
        stream_close(s, s->close_err);
        return;
    }
    if (s->fin_sent)
        return;
    uv_os_fd_t fd;
    s->fin_sent = true;
    if (uv_fileno((uv_handle_t *)&s->tcp, &fd) != 0 || shutdown(fd, SHUT_WR) != 0)
        stream_close(s, s->close_err);
}

void stream_run(struct stream *s)
{
    if (s->resumed && s->state == STREAM_OPEN) {
        s->resumed = false;
        if (s->tls == NULL || s->tls->done)
            offer(s);
        if (s->tls != NULL && s->state == STREAM_OPEN && !s->paused)
            stream_tls_pump(s);
        if (s->state == STREAM_OPEN && !s->paused) {
            if (s->peer_ended)
                stream_peer_ended(s);
            else
                stream_read_on(s);
        }
    }
    if (s->state == STREAM_OPEN && s->tls != NULL && s->tls->stepping) {
        stream_tls_pump(s);
        if (s->peer_ended && !s->tls->done)
            stream_peer_ended(s);
    }
    int err = push(s, NULL, 0);
    if (err != 0)
        fail(s, err);
    if (s->state == STREAM_LINGER)
        wind_up(s);
    if (s->state == STREAM_OPEN && s->full && stream_queued(s) <= STREAM_OUT_LOW && s->write_err == 0) {
        s->full = false;
        if (s->ops->on_writable != NULL)
            s->ops->on_writable(s->ctx);
    }
    /* what the callbacks above asked for may be done already: then the loop need not turn for it */
    if (s->state == STREAM_OPEN && !s->resumed && (s->writing || s->out.len == 0) &&
        (s->tls == NULL || (s->tls->plain.len == 0 && !s->tls->stepping)))
        list_remove(&s->ready);
}

/* ---- what is known of it ---- */

void stream_peer(const struct stream *s, struct ip_addr *addr, uint16_t *port)
{
    *addr = s->peer;
    if (port != NULL)
        *port = s->peer_port;
}

void stream_local(const struct stream *s, struct ip_addr *addr, uint16_t *port)
{
    *addr = s->local;
    if (port != NULL)
        *port = s->local_port;
}

const struct tls_info *stream_tls_info(const struct stream *s)
{
    return s->tls != NULL && s->tls->done ? &s->tls->info : NULL;
}

uint64_t stream_bytes_in(const struct stream *s)
{
    return s->bytes_in;
}

uint64_t stream_bytes_out(const struct stream *s)
{
    return s->bytes_out;
}
