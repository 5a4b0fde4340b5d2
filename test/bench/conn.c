/* A TCP connection on a libuv loop, with TLS over memory BIOs when asked. */
#include "test/bench/conn.h"

#include "base/ensure.h"
#include "base/err.h"

#include <openssl/err.h>

#define OUT_MAX (256u << 20)
#define READ_BYTES (128u << 10)

/* All connections share a loop, and what was read is used up before the next read: two buffers are enough. */
static char read_space[READ_BYTES];
static char plain_space[READ_BYTES];

void conn_init(struct conn *c, const struct conn_calls *calls)
{
    *c = (struct conn){ .calls = calls };
    buf_init(&c->out, OUT_MAX);
    buf_init(&c->wire, OUT_MAX);
}

void conn_fini(struct conn *c)
{
    buf_fini(&c->out);
    buf_fini(&c->wire);
}

static void conn_closed_cb(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    SSL_free(c->ssl);
    c->ssl = NULL;
    c->open = c->closing = c->writing = c->handshaken = c->close_when_written = false;
    buf_reset(&c->out);
    buf_reset(&c->wire);
    c->calls->closed(c, c->err);
}

void conn_close(struct conn *c, int err)
{
    if (!c->open || c->closing)
        return;
    c->closing = true;
    c->err = err;
    uv_close((uv_handle_t *)&c->tcp, conn_closed_cb);
}

static void alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(read_space, READ_BYTES);
}

static void handshake(struct conn *c)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(c->ssl);
    conn_flush(c);
    if (rc == 1) {
        c->handshaken = true;
        c->calls->secured(c);
        conn_flush(c);
        return;
    }
    int why = SSL_get_error(c->ssl, rc);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
        conn_close(c, ERR_FAILED);
}

static void tls_input(struct conn *c, const char *p, size_t n)
{
    ensure(BIO_write(SSL_get_rbio(c->ssl), p, (int)n) == (int)n);
    if (!c->handshaken) {
        handshake(c);
        if (!c->handshaken)
            return;
    }
    while (!c->closing) {
        ERR_clear_error();
        int got = SSL_read(c->ssl, plain_space, READ_BYTES);
        if (got <= 0) {
            int why = SSL_get_error(c->ssl, got);
            if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
                conn_close(c, why == SSL_ERROR_ZERO_RETURN ? 0 : ERR_FAILED);
            return;
        }
        c->calls->data(c, plain_space, (size_t)got);
    }
}

static void read_cb(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = stream->data;
    if (n == 0 || c->closing)
        return;
    if (n < 0) {
        conn_close(c, n == UV_EOF ? 0 : (int)n);
        return;
    }
    if (c->ssl != NULL)
        tls_input(c, buf->base, (size_t)n);
    else
        c->calls->data(c, buf->base, (size_t)n);
    conn_flush(c);
}

static void write_cb(uv_write_t *req, int status)
{
    struct conn *c = req->data;
    c->writing = false;
    buf_reset(&c->wire);
    if (status < 0)
        conn_close(c, status);
    else
        conn_flush(c);
}

/* Moves what is to be sent from `out` to `wire`, encrypted if TLS is on. */
static void fill_wire(struct conn *c)
{
    if (c->ssl == NULL) {
        struct buf empty = c->wire;
        c->wire = c->out;
        c->out = empty;
        return;
    }
    if (c->handshaken && c->out.len > 0) {
        ERR_clear_error();
        ensure(SSL_write(c->ssl, c->out.data, (int)c->out.len) == (int)c->out.len);
        buf_reset(&c->out);
    }
    BIO *from = SSL_get_wbio(c->ssl);
    size_t pending = BIO_ctrl_pending(from);
    if (pending > 0 && buf_reserve(&c->wire, pending) == 0) {
        int got = BIO_read(from, c->wire.data + c->wire.len, (int)pending);
        if (got > 0)
            c->wire.len += (size_t)got;
    }
}

void conn_flush(struct conn *c)
{
    if (!c->open || c->closing || c->writing)
        return;
    fill_wire(c);
    if (c->wire.len > 0) {
        uv_buf_t all = uv_buf_init(c->wire.data, (unsigned)c->wire.len);
        int sent = uv_try_write((uv_stream_t *)&c->tcp, &all, 1);
        if (sent < 0 && sent != UV_EAGAIN) {
            conn_close(c, sent);
            return;
        }
        size_t done = sent < 0 ? 0 : (size_t)sent;
        if (done < c->wire.len) {
            uv_buf_t rest = uv_buf_init(c->wire.data + done, (unsigned)(c->wire.len - done));
            c->write_req.data = c;
            int err = uv_write(&c->write_req, (uv_stream_t *)&c->tcp, &rest, 1, write_cb);
            if (err != 0) {
                conn_close(c, err);
                return;
            }
            c->writing = true;
            return;
        }
        buf_reset(&c->wire);
    }
    if (c->close_when_written && c->out.len == 0)
        conn_close(c, 0);
}

void conn_close_soon(struct conn *c)
{
    c->close_when_written = true;
    conn_flush(c);
}

void conn_pause(struct conn *c)
{
    uv_read_stop((uv_stream_t *)&c->tcp);
}

void conn_resume(struct conn *c)
{
    if (c->open && !c->closing)
        uv_read_start((uv_stream_t *)&c->tcp, alloc_cb, read_cb);
}

static int open_handle(struct conn *c, uv_loop_t *loop)
{
    ensure(!c->open);
    int err = uv_tcp_init(loop, &c->tcp);
    if (err != 0)
        return err;
    c->tcp.data = c;
    c->open = true;
    c->err = 0;
    return 0;
}

static void connect_cb(uv_connect_t *req, int status)
{
    struct conn *c = req->data;
    if (c->closing)
        return;
    if (status < 0) {
        conn_close(c, status);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    conn_resume(c);
    c->calls->connected(c);
    conn_flush(c);
}

int conn_connect(struct conn *c, uv_loop_t *loop, const struct sockaddr *to)
{
    int err = open_handle(c, loop);
    if (err != 0)
        return err;
    c->connect_req.data = c;
    err = uv_tcp_connect(&c->connect_req, &c->tcp, to, connect_cb);
    if (err != 0)
        conn_close(c, err); /* `closed` follows, as for any other failure */
    return 0;
}

int conn_accept(struct conn *c, uv_loop_t *loop, uv_stream_t *listener)
{
    int err = open_handle(c, loop);
    if (err != 0)
        return err;
    err = uv_accept(listener, (uv_stream_t *)&c->tcp);
    if (err != 0) {
        conn_close(c, err);
        return 0;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    conn_resume(c);
    return 0;
}

int conn_start_tls(struct conn *c, SSL_CTX *ctx, bool server, const char *name)
{
    conn_flush(c); /* what is still plain, such as the reply to STARTTLS, goes first */
    if (c->out.len > 0)
        return ERR_BUSY;
    SSL *ssl = SSL_new(ctx);
    BIO *from = BIO_new(BIO_s_mem());
    BIO *to = BIO_new(BIO_s_mem());
    if (ssl == NULL || from == NULL || to == NULL) {
        SSL_free(ssl);
        BIO_free(from);
        BIO_free(to);
        return -ENOMEM;
    }
    BIO_set_mem_eof_return(from, -1);
    SSL_set_bio(ssl, from, to);
    c->ssl = ssl;
    c->handshaken = false;
    if (server) {
        SSL_set_accept_state(ssl);
        return 0;
    }
    SSL_set_connect_state(ssl);
    if (name != NULL)
        SSL_set_tlsext_host_name(ssl, name);
    handshake(c);
    return 0;
}
