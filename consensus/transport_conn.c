/* One connection: TCP and TLS by memory BIOs, its timer and its end. What the bytes mean is in the other
 * files. The loop's thread.
 *
 * What is read from TCP is opened at once, all of it, so that nothing waits in the BIO but a part of a
 * record. What is sealed goes straight from the BIO to the kernel; what the kernel does not take is copied to
 * `out`, and until it is taken nothing more is read from the pipe.
 */
#include "consensus/transport_impl.h"

#include "base/ensure.h"
#include "base/err.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <raft.h>
#include <stdlib.h>

void conn_free_when_closed(struct conn *c)
{
    if (c->phase != CLOSING || c->handles > 0 || c->resolving)
        return;
    struct transport *t = c->t;
    if (c->req != NULL) {
        struct raft_uv_connect *req = c->req;
        c->req = NULL;
        c->connect_cb(req, NULL, c->connect_status);
    }
    if (c->addresses != NULL)
        uv_freeaddrinfo(c->addresses);
    SSL_free(c->ssl);
    buf_fini(&c->in);
    buf_fini(&c->out);
    list_remove(&c->link);
    t->nconns--;
    free(c);
    transport_conn_gone(t);
}

static void on_handle_closed(uv_handle_t *h)
{
    struct conn *c = h->data;
    ensure(c->handles > 0);
    c->handles--;
    conn_free_when_closed(c);
}

static void on_timer(uv_timer_t *timer)
{
    struct conn *c = timer->data;
    if (c->phase != LINGER && c->phase != ANSWER) {
        c->t->stats.handshake_failures++;
        transport_complain(c, c->phase == REACHING ? "cannot be reached: no answer"
                                                   : "too slow with its handshake");
    }
    conn_close(c, RAFT_NOCONNECTION);
}

struct conn *conn_new(struct transport *t, bool accepted, uint64_t ms)
{
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->t = t;
    c->accepted = accepted;
    c->phase = accepted ? HANDSHAKE : REACHING;
    buf_init(&c->in, TRANSPORT_JOIN_MAX + CHUNK_BYTES + 32768);
    buf_init(&c->out, OUT_MAX);
    ensure(uv_timer_init(t->config.loop, &c->timer) == 0);
    c->timer.data = c->resolve.data = c->connect.data = c->in_write.data = c->out_write.data = c;
    c->handles = 1;
    list_push_back(&t->conns, &c->link);
    t->nconns++;
    conn_deadline(c, ms);
    return c;
}

int conn_tcp_init(struct conn *c)
{
    int err = uv_tcp_init(c->t->config.loop, &c->tcp);
    if (err != 0)
        return err;
    c->tcp.data = c;
    c->tcp_live = true;
    c->handles++;
    return 0;
}

void conn_deadline(struct conn *c, uint64_t ms)
{
    uv_update_time(c->t->config.loop);
    ensure(uv_timer_start(&c->timer, on_timer, ms, 0) == 0);
}

void conn_close(struct conn *c, int status)
{
    if (c->phase == CLOSING)
        return;
    struct transport *t = c->t;
    if (c->join != NULL)
        join_abandon(c);
    /* a last word to the peer, if there is room for it */
    if (c->ssl != NULL && c->tcp_live && !c->out_busy && SSL_is_init_finished(c->ssl) && !c->failed_tls) {
        char *p = NULL;
        ERR_clear_error();
        SSL_shutdown(c->ssl);
        ERR_clear_error();
        long n = BIO_get_mem_data(c->sealed_out, &p);
        uv_buf_t b = uv_buf_init(p, (unsigned)n);
        if (n > 0)
            uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
    }
    c->phase = CLOSING;
    c->connect_status = t->raft_closing ? RAFT_CANCELED : status;
    if (c->resolving)
        uv_cancel((uv_req_t *)&c->resolve);
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
    if (c->tcp_live && !uv_is_closing((uv_handle_t *)&c->tcp))
        uv_close((uv_handle_t *)&c->tcp, on_handle_closed);
    if (c->pipe_live)
        uv_close((uv_handle_t *)&c->pipe, on_handle_closed);
}

/* ---- sealed bytes out ---------------------------------------------------------------------------------- */

static void flush(struct conn *c);

static void on_out_written(uv_write_t *w, int status)
{
    struct conn *c = w->data;
    c->out_busy = false;
    if (c->phase == CLOSING)
        return;
    if (status != 0) {
        conn_close(c, RAFT_NOCONNECTION);
        return;
    }
    buf_reset(&c->out);
    flush(c);
    if (c->phase == OPEN && !c->accepted && !c->out_busy && !c->pipe_eof)
        conn_pipe_read(c);
}

static void flush(struct conn *c)
{
    char *p = NULL;
    long n = BIO_get_mem_data(c->sealed_out, &p);
    if (c->phase == CLOSING)
        return;
    if (n > (long)OUT_MAX) {
        transport_complain(c, "it makes us answer and takes no answers");
        conn_close(c, RAFT_NOCONNECTION);
        return;
    }
    if (c->out_busy)
        return;
    if (n > 0) {
        uv_buf_t b = uv_buf_init(p, (unsigned)n);
        int wrote = uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
        wrote = wrote == UV_EAGAIN ? 0 : wrote;
        if (wrote < 0 || (wrote < n && buf_put(&c->out, p + wrote, (size_t)(n - wrote)) != 0)) {
            conn_close(c, RAFT_NOCONNECTION);
            return;
        }
        c->t->stats.bytes_out += (uint64_t)n;
        (void)BIO_reset(c->sealed_out);
    }
    if (c->out.len > 0) {
        uv_buf_t b = uv_buf_init(c->out.data, (unsigned)c->out.len);
        c->out_busy = uv_write(&c->out_write, (uv_stream_t *)&c->tcp, &b, 1, on_out_written) == 0;
        if (!c->out_busy)
            conn_close(c, RAFT_NOCONNECTION);
    } else if (c->phase == LINGER) {
        conn_close(c, RAFT_NOCONNECTION);
    }
}

bool conn_send(struct conn *c, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ERR_clear_error();
        int wrote = SSL_write(c->ssl, at, (int)n);
        if (wrote <= 0) { /* a memory BIO takes all */
            c->failed_tls = true;
            conn_close(c, RAFT_NOCONNECTION);
            return false;
        }
        at += wrote;
        n -= (size_t)wrote;
    }
    flush(c);
    return c->phase != CLOSING;
}

void conn_linger(struct conn *c)
{
    if (c->phase == CLOSING)
        return;
    c->phase = LINGER;
    conn_deadline(c, LINGER_MS);
    uv_read_stop((uv_stream_t *)&c->tcp);
    flush(c);
}

/* ---- sealed bytes in ----------------------------------------------------------------------------------- */

static void after_handshake(struct conn *c)
{
    switch (transport_tls_alpn(c->ssl)) {
    case ALPN_RAFT:
        if (!transport_tls_identify(c)) {
            c->t->stats.refused++;
            conn_close(c, RAFT_NOCONNECTION);
        } else if (c->accepted) {
            c->phase = GREETING;
        } else {
            c->phase = WELCOME;
            dial_greet(c);
        }
        return;
    case ALPN_JOIN:
        if (c->accepted) {
            join_begin(c);
            return;
        }
        break;
    case ALPN_NONE:
        break;
    }
    c->t->stats.handshake_failures++;
    transport_complain(c, "it does not speak a protocol of this cluster");
    conn_close(c, RAFT_NOCONNECTION);
}

/* False: not done, or closing. */
static bool shake_hands(struct conn *c)
{
    ERR_clear_error();
    int r = SSL_do_handshake(c->ssl);
    if (r == 1) {
        flush(c);
        if (c->phase == HANDSHAKE)
            after_handshake(c);
        return c->phase != CLOSING;
    }
    if (SSL_get_error(c->ssl, r) == SSL_ERROR_WANT_READ) {
        flush(c);
        return false;
    }
    char words[160];
    transport_tls_words(c->ssl, words, sizeof words);
    c->t->stats.handshake_failures++;
    transport_complain(c, "no handshake: %s", words);
    flush(c); /* the alert */
    c->failed_tls = true;
    conn_close(c, RAFT_NOCONNECTION);
    return false;
}

static void take(struct conn *c, struct span bytes)
{
    if (c->phase == WELCOME) {
        dial_welcomed(c, bytes);
        return;
    }
    if (c->phase == LINGER || c->phase == ANSWER)
        return; /* a joiner has said all that it may; more of it is dropped */
    if (!c->accepted || buf_put_span(&c->in, bytes) != 0) {
        transport_complain(c, "it sent what it should not");
        conn_close(c, RAFT_NOCONNECTION);
        return;
    }
    if (c->phase == GREETING)
        accept_greeting(c);
    else if (c->phase == REQUEST)
        join_data(c);
}

static void open_records(struct conn *c)
{
    while (c->phase != CLOSING) {
        ERR_clear_error();
        int n = SSL_read(c->ssl, c->t->plain, sizeof c->t->plain);
        if (n > 0) {
            take(c, span_of(c->t->plain, (size_t)n));
            continue;
        }
        int kind = SSL_get_error(c->ssl, n);
        if (kind == SSL_ERROR_WANT_READ)
            break;
        bool ended = kind == SSL_ERROR_ZERO_RETURN;
        if (!ended) {
            char words[160];
            transport_tls_words(c->ssl, words, sizeof words);
            transport_complain(c, "%s: %s", c->phase == WELCOME ? "it refused us" : "it broke TLS", words);
            c->failed_tls = true;
            if (c->phase != OPEN)
                c->t->stats.handshake_failures++;
        } else if (c->phase == WELCOME) {
            transport_complain(c, "it does not admit this node");
        }
        if (c->phase == OPEN && c->accepted)
            conn_pump_in(c);
        flush(c);
        conn_close(c, RAFT_NOCONNECTION);
    }
    if (c->phase == OPEN && c->accepted)
        conn_pump_in(c);
    if (c->phase != CLOSING)
        flush(c);
}

static void on_tcp_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct conn *c = s->data;
    if (n == 0 || c->phase == CLOSING)
        return;
    if (n < 0) {
        if (c->phase == HANDSHAKE || c->phase == WELCOME || c->phase == GREETING) {
            c->t->stats.handshake_failures++;
            transport_complain(c, "the connection ended in its handshake");
        }
        conn_close(c, RAFT_NOCONNECTION);
        return;
    }
    c->t->stats.bytes_in += (uint64_t)n;
    if (BIO_write(c->sealed_in, b->base, (int)n) != (int)n) {
        conn_close(c, RAFT_NOCONNECTION);
        return;
    }
    if (c->phase == HANDSHAKE && !shake_hands(c))
        return;
    open_records(c);
}

static void on_tcp_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *b)
{
    (void)suggested;
    struct conn *c = h->data;
    *b = uv_buf_init(c->t->chunk, sizeof c->t->chunk);
}

void conn_tcp_read(struct conn *c)
{
    int err = uv_read_start((uv_stream_t *)&c->tcp, on_tcp_alloc, on_tcp_read);
    if (err != 0 && err != UV_EALREADY)
        conn_close(c, RAFT_NOCONNECTION);
}

void conn_start_tls(struct conn *c)
{
    int fd = -1;
    unsigned user_timeout_ms = USER_TIMEOUT_MS;
    uv_tcp_nodelay(&c->tcp, 1);
    uv_tcp_keepalive(&c->tcp, 1, KEEPALIVE_S);
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) == 0)
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof user_timeout_ms);
    c->phase = HANDSHAKE;
    c->ssl = transport_tls_new(c->t, c->accepted);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    if (c->ssl == NULL || in == NULL || out == NULL) {
        BIO_free(in);
        BIO_free(out);
        conn_close(c, RAFT_NOMEM);
        return;
    }
    BIO_set_mem_eof_return(in, -1);
    c->sealed_in = in;
    c->sealed_out = out;
    SSL_set_bio(c->ssl, in, out);
    conn_tcp_read(c);
    if (c->phase == HANDSHAKE && !c->accepted)
        shake_hands(c);
}
