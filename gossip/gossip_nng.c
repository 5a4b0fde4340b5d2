/* Byte streams between nodes, by nng's stream interface over mutual TLS. */
#include "gossip/gossip_nng.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/inbox.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    INBOX_MAX =
        1 << 16, /* never reached: each operation has one place, and streams are bounded by their owner */
    ACCEPT_RETRY_MS = 100,  /* after an error such as too many open files */
    DIAL_TIMEOUT_MS = 5000, /* for the TCP connection */
};

enum op_kind { OP_ACCEPT, OP_DIAL, OP_READ, OP_WRITE, OP_CLOSE };

/* An operation of nng's. Between its start and its report it is nng's; `busy` is the loop's view of that. */
struct op {
    struct inbox_msg msg;
    enum op_kind kind;
    bool busy;
    nng_aio *aio;
    struct gossip_net *net;
    struct gossip_stream *stream;
};

struct gossip_net {
    struct inbox inbox;
    uv_timer_t retry;
    nng_stream_listener *listener;
    nng_tls_config *client, *server;
    struct op accept;
    gossip_accept_fn *accepted;
    const struct gossip_stream_ops *ops;
    void *ctx;
    uint32_t streams;
    int port, handles;
    bool closing, ending;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

struct gossip_stream {
    struct gossip_net *net;
    nng_stream_dialer *dialer;
    nng_stream *s;
    struct op dial, read, write, close;
    void *ctx;
    bool closing;
    char remote[64];
};

#ifdef __SANITIZE_THREAD__
/* nng counts a dialer's references by atomics, and frees it, with its mutex, on a thread of its own when a
 * failed attempt gives up the last one. Debian's nng is not instrumented, so that ThreadSanitizer takes this
 * for a race. Nothing narrower matches; of our code only op_aio_cb runs below nng's frames. */
const char *__tsan_default_suppressions(void);
__attribute__((weak)) const char *__tsan_default_suppressions(void)
{
    return "race:libnng.so.1\n";
}
#endif

static int err_of(int rv)
{
    static const struct {
        int rv, err;
    } table[] = {
        { 0, 0 },
        { NNG_ENOMEM, -ENOMEM },
        { NNG_EINVAL, ERR_BAD },
        { NNG_EADDRINVAL, ERR_BAD },
        { NNG_EADDRINUSE, -EADDRINUSE },
        { NNG_EPERM, -EACCES },
        { NNG_ENOFILES, -EMFILE },
        { NNG_ECONNREFUSED, -ECONNREFUSED },
        { NNG_ECONNRESET, -ECONNRESET },
        { NNG_EUNREACHABLE, -EHOSTUNREACH },
        { NNG_ETIMEDOUT, ERR_TIMEOUT },
        { NNG_ECLOSED, ERR_CLOSED },
        { NNG_ECANCELED, ERR_CLOSED },
        { NNG_ECONNSHUT, ERR_CLOSED },
        { NNG_ECONNABORTED, ERR_CLOSED },
        { NNG_EPEERAUTH, ERR_DENIED },
        { NNG_ECRYPTO, ERR_DENIED },
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].rv == rv)
            return table[i].err;
    }
    if ((rv & NNG_ESYSERR) != 0)
        return -(rv & ~NNG_ESYSERR);
    return ERR_FAILED;
}

/* Of a read or a write: the TLS engine reports a connection that ended as one that was refused. */
static int end_of(const struct op *op)
{
    int rv = nng_aio_result(op->aio);
    return rv == NNG_ECONNREFUSED ? ERR_CLOSED : err_of(rv);
}

/* On a thread of nng's. */
static void op_aio_cb(void *arg)
{
    struct op *op = arg;
    inbox_answer(&op->net->inbox, &op->msg);
}

static int op_init(struct op *op, enum op_kind kind, struct gossip_net *net, struct gossip_stream *stream)
{
    *op = (struct op){ .kind = kind, .net = net, .stream = stream };
    int rv = nng_aio_alloc(&op->aio, op_aio_cb, op);
    if (rv != 0)
        return err_of(rv);
    nng_aio_set_timeout(op->aio, kind == OP_DIAL ? DIAL_TIMEOUT_MS : NNG_DURATION_INFINITE);
    return 0;
}

/* Waits for the callback's last instructions, so that the inbox may go afterwards. */
static void op_fini(struct op *op)
{
    if (op->aio != NULL)
        nng_aio_free(op->aio);
    op->aio = NULL;
}

static void start_accept(struct gossip_net *net)
{
    net->accept.busy = true;
    nng_stream_listener_accept(net->listener, net->accept.aio);
}

static int stream_new(struct gossip_net *net, struct gossip_stream **out)
{
    struct gossip_stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    s->net = net;
    s->close = (struct op){ .kind = OP_CLOSE, .net = net, .stream = s };
    int err = op_init(&s->read, OP_READ, net, s);
    if (err == 0)
        err = op_init(&s->write, OP_WRITE, net, s);
    if (err == 0)
        err = op_init(&s->dial, OP_DIAL, net, s);
    if (err != 0) {
        op_fini(&s->read);
        op_fini(&s->write);
        op_fini(&s->dial);
        free(s);
        return err;
    }
    net->streams++;
    *out = s;
    return 0;
}

static void net_maybe_end(struct gossip_net *net);

static void stream_end(struct gossip_stream *s)
{
    struct gossip_net *net = s->net;
    op_fini(&s->read);
    op_fini(&s->write);
    op_fini(&s->dial);
    if (s->dialer != NULL)
        nng_stream_dialer_free(s->dialer);
    if (s->s != NULL)
        nng_stream_free(s->s);
    if (s->ctx != NULL)
        net->ops->on_closed(s->ctx);
    free(s);
    ensure(net->streams > 0);
    net->streams--;
    net_maybe_end(net);
}

static void stream_maybe_end(struct gossip_stream *s)
{
    if (s->closing && !s->close.busy && !s->read.busy && !s->write.busy && !s->dial.busy)
        stream_end(s);
}

/* Now: a socket that the other has reset does not know any more who it was. */
static void note_remote(struct gossip_stream *s)
{
    nng_sockaddr a = { 0 };
    char text[INET6_ADDRSTRLEN];
    snprintf(s->remote, sizeof s->remote, "somebody");
    if (nng_stream_get_addr(s->s, NNG_OPT_REMADDR, &a) != 0)
        return;
    if (a.s_family == NNG_AF_INET && inet_ntop(AF_INET, &a.s_in.sa_addr, text, sizeof text) != NULL)
        snprintf(s->remote, sizeof s->remote, "%s:%u", text, ntohs(a.s_in.sa_port));
    else if (a.s_family == NNG_AF_INET6 && inet_ntop(AF_INET6, a.s_in6.sa_addr, text, sizeof text) != NULL)
        snprintf(s->remote, sizeof s->remote, "[%s]:%u", text, ntohs(a.s_in6.sa_port));
}

static void take_accepted(struct gossip_net *net, nng_stream *raw)
{
    struct gossip_stream *s;
    if (stream_new(net, &s) != 0) {
        nng_stream_close(raw);
        nng_stream_free(raw);
        return;
    }
    s->s = raw;
    note_remote(s);
    s->ctx = net->accepted(net->ctx, s);
    if (s->ctx == NULL)
        gossip_stream_close(s);
}

static void accept_retry_cb(uv_timer_t *timer)
{
    struct gossip_net *net = timer->data;
    if (!net->closing && !net->accept.busy)
        start_accept(net);
}

static void on_accept(struct gossip_net *net)
{
    int rv = nng_aio_result(net->accept.aio);
    nng_stream *raw = rv == 0 ? nng_aio_get_output(net->accept.aio, 0) : NULL;
    if (net->closing) {
        if (raw != NULL) {
            nng_stream_close(raw);
            nng_stream_free(raw);
        }
        net_maybe_end(net);
        return;
    }
    if (raw != NULL)
        take_accepted(net, raw);
    if (rv == 0 || rv == NNG_ECANCELED || rv == NNG_ECONNABORTED) {
        if (!net->closing)
            start_accept(net);
        return;
    }
    log_warn("gossip", "cannot accept connections: %s; trying again", nng_strerror(rv));
    uv_timer_start(&net->retry, accept_retry_cb, ACCEPT_RETRY_MS, 0);
}

static void on_dial(struct gossip_stream *s)
{
    int rv = nng_aio_result(s->dial.aio);
    if (rv == 0) {
        s->s = nng_aio_get_output(s->dial.aio, 0);
        if (s->closing)
            nng_stream_close(s->s);
    }
    if (!s->closing)
        s->net->ops->on_dialed(s->ctx, err_of(rv));
}

static void net_inbox(void *ctx, struct inbox_msg *msg)
{
    (void)ctx;
    struct op *op = LIST_ITEM(msg, struct op, msg);
    struct gossip_stream *s = op->stream;
    op->busy = false;
    switch (op->kind) {
    case OP_ACCEPT:
        on_accept(op->net);
        return;
    case OP_DIAL:
        on_dial(s);
        break;
    case OP_READ:
        if (!s->closing)
            s->net->ops->on_read(s->ctx, end_of(op), nng_aio_count(op->aio));
        break;
    case OP_WRITE:
        if (!s->closing)
            s->net->ops->on_written(s->ctx, end_of(op), nng_aio_count(op->aio));
        break;
    case OP_CLOSE:
        break;
    }
    stream_maybe_end(s);
}

int gossip_stream_dial(struct gossip_net *net, const char *address, void *ctx, struct gossip_stream **out)
{
    char url[160];
    if (snprintf(url, sizeof url, "tls+tcp://%s", address) >= (int)sizeof url)
        return ERR_BAD;
    struct gossip_stream *s;
    int err = stream_new(net, &s);
    if (err != 0)
        return err;
    int rv = nng_stream_dialer_alloc(&s->dialer, url);
    if (rv == 0)
        rv = nng_stream_dialer_set_ptr(s->dialer, NNG_OPT_TLS_CONFIG, net->client);
    if (rv == 0)
        rv = nng_stream_dialer_set_bool(s->dialer, NNG_OPT_TCP_KEEPALIVE, true);
    if (rv == 0) /* small messages follow one another: none waits until the one before it is acknowledged */
        rv = nng_stream_dialer_set_bool(s->dialer, NNG_OPT_TCP_NODELAY, true);
    if (rv != 0) {
        gossip_stream_close(s); /* ctx is not set: nobody is told */
        return err_of(rv);
    }
    s->ctx = ctx;
    s->dial.busy = true;
    nng_stream_dialer_dial(s->dialer, s->dial.aio);
    *out = s;
    return 0;
}

void gossip_stream_read(struct gossip_stream *s, void *p, size_t n)
{
    ensure(!s->read.busy && !s->closing);
    nng_iov iov = { p, n };
    nng_aio_set_iov(s->read.aio, 1, &iov);
    s->read.busy = true;
    nng_stream_recv(s->s, s->read.aio);
}

void gossip_stream_write(struct gossip_stream *s, const void *p, size_t n)
{
    ensure(!s->write.busy && !s->closing);
    nng_iov iov = { (void *)p, n };
    nng_aio_set_iov(s->write.aio, 1, &iov);
    s->write.busy = true;
    nng_stream_send(s->s, s->write.aio);
}

void gossip_stream_close(struct gossip_stream *s)
{
    if (s->closing)
        return;
    s->closing = true;
    if (s->dial.busy)
        nng_stream_dialer_close(s->dialer);
    if (s->s != NULL)
        nng_stream_close(s->s);
    s->close.busy = true;
    inbox_answer(&s->net->inbox, &s->close.msg);
}

const char *gossip_stream_remote(const struct gossip_stream *s)
{
    return s->remote;
}

static char *text_of(struct span s)
{
    char *text = malloc(s.n + 1);
    if (text != NULL) {
        memcpy(text, s.p, s.n);
        text[s.n] = '\0';
    }
    return text;
}

/* No server name is set: who the other is, is not a matter of names; see gossip_identity.h. */
static int make_config(enum nng_tls_mode mode, const char *certificate, const char *key, const char *ca,
                       nng_tls_config **out)
{
    int rv = nng_tls_config_alloc(out, mode);
    if (rv != 0)
        return rv;
    rv = nng_tls_config_version(*out, NNG_TLS_1_2, NNG_TLS_1_2);
    if (rv == 0)
        rv = nng_tls_config_auth_mode(*out, NNG_TLS_AUTH_MODE_REQUIRED);
    if (rv == 0)
        rv = nng_tls_config_ca_chain(*out, ca, NULL);
    if (rv == 0)
        rv = nng_tls_config_own_cert(*out, certificate, key, NULL);
    if (rv != 0) {
        nng_tls_config_free(*out);
        *out = NULL;
    }
    return rv;
}

static void free_configs(struct gossip_net *net)
{
    if (net->client != NULL)
        nng_tls_config_free(net->client);
    if (net->server != NULL)
        nng_tls_config_free(net->server);
}

int gossip_net_set_certificate(struct gossip_net *net, struct span certificate, struct span key,
                               struct span ca)
{
    char *certificate_text = text_of(certificate), *key_text = text_of(key), *ca_text = text_of(ca);
    nng_tls_config *client = NULL, *server = NULL;
    int rv = NNG_ENOMEM;
    if (certificate_text != NULL && key_text != NULL && ca_text != NULL)
        rv = make_config(NNG_TLS_MODE_CLIENT, certificate_text, key_text, ca_text, &client);
    if (rv == 0)
        rv = make_config(NNG_TLS_MODE_SERVER, certificate_text, key_text, ca_text, &server);
    if (rv == 0)
        rv = nng_stream_listener_set_ptr(net->listener, NNG_OPT_TLS_CONFIG, server);
    if (key_text != NULL)
        OPENSSL_cleanse(key_text, key.n);
    free(key_text);
    free(certificate_text);
    free(ca_text);
    if (rv != 0) {
        if (client != NULL)
            nng_tls_config_free(client);
        if (server != NULL)
            nng_tls_config_free(server);
        return err_of(rv);
    }
    free_configs(net);
    net->client = client;
    net->server = server;
    if (net->accept.busy)
        nng_aio_cancel(net->accept.aio); /* it holds the old certificate for whoever comes next */
    return 0;
}

int gossip_net_new(const char *listen, struct span certificate, struct span key, struct span ca,
                   struct gossip_net **out)
{
    char url[160];
    if (snprintf(url, sizeof url, "tls+tcp://%s", listen) >= (int)sizeof url)
        return ERR_BAD;
    struct gossip_net *net = calloc(1, sizeof *net);
    if (net == NULL)
        return -ENOMEM;
    int err = err_of(nng_stream_listener_alloc(&net->listener, url));
    if (err == 0)
        err = gossip_net_set_certificate(net, certificate, key, ca);
    if (err == 0)
        err = err_of(nng_stream_listener_set_bool(net->listener, NNG_OPT_TCP_KEEPALIVE, true));
    if (err == 0)
        err = err_of(nng_stream_listener_set_bool(net->listener, NNG_OPT_TCP_NODELAY, true));
    if (err == 0)
        err = err_of(nng_stream_listener_listen(net->listener));
    if (err == 0)
        err = err_of(nng_stream_listener_get_int(net->listener, NNG_OPT_TCP_BOUND_PORT, &net->port));
    if (err != 0) {
        gossip_net_free(net);
        return err;
    }
    *out = net;
    return 0;
}

int gossip_net_start(struct gossip_net *net, uv_loop_t *loop, gossip_accept_fn *accepted,
                     const struct gossip_stream_ops *ops, void *ctx)
{
    net->accepted = accepted;
    net->ops = ops;
    net->ctx = ctx;
    int err = op_init(&net->accept, OP_ACCEPT, net, NULL);
    if (err != 0)
        return err;
    err = inbox_init(&net->inbox, loop, INBOX_MAX, net_inbox, net);
    if (err != 0) {
        op_fini(&net->accept);
        return err;
    }
    uv_timer_init(loop, &net->retry);
    net->retry.data = net;
    net->handles = 2;
    start_accept(net);
    return 0;
}

int gossip_net_port(const struct gossip_net *net)
{
    return net->port;
}

static void handle_gone(struct gossip_net *net)
{
    if (--net->handles > 0)
        return;
    inbox_fini(&net->inbox);
    net->closed(net->closed_ctx);
}

static void inbox_closed_cb(uv_handle_t *handle)
{
    handle_gone(LIST_ITEM(handle, struct gossip_net, inbox.async));
}

static void retry_closed_cb(uv_handle_t *handle)
{
    handle_gone(LIST_ITEM(handle, struct gossip_net, retry));
}

static void net_maybe_end(struct gossip_net *net)
{
    if (!net->closing || net->ending || net->accept.busy || net->streams > 0)
        return;
    net->ending = true;
    op_fini(&net->accept);
    inbox_close(&net->inbox, inbox_closed_cb);
    uv_close((uv_handle_t *)&net->retry, retry_closed_cb);
}

void gossip_net_close(struct gossip_net *net, void (*closed)(void *ctx), void *ctx)
{
    ensure(!net->closing && net->handles > 0);
    net->closing = true;
    net->closed = closed;
    net->closed_ctx = ctx;
    nng_stream_listener_close(net->listener);
    net_maybe_end(net);
}

void gossip_net_free(struct gossip_net *net)
{
    if (net->listener != NULL)
        nng_stream_listener_free(net->listener);
    free_configs(net);
    free(net);
}
