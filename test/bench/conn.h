/* A TCP connection on a libuv loop, with TLS over memory BIOs when asked. Shared by the load generator, which
 * connects, and the sink, which accepts. One thread.
 *
 * Output gathers in `out` and goes out with conn_flush; after each `data` call that happens by itself.
 */
#ifndef BENCH_CONN_H
#define BENCH_CONN_H

#include "base/buf.h"

#include <openssl/ssl.h>
#include <uv.h>

struct conn;

struct conn_calls {
    void (*connected)(struct conn *c);                     /* TCP is up (client side) */
    void (*secured)(struct conn *c);                       /* the TLS handshake is done */
    void (*data)(struct conn *c, const char *p, size_t n); /* plain bytes */
    void (*closed)(struct conn *c, int err); /* once; the connection may be used again after it */
};

struct conn {
    uv_tcp_t tcp;
    uv_connect_t connect_req;
    uv_write_t write_req;
    const struct conn_calls *calls;
    SSL *ssl; /* NULL: plain */
    bool handshaken;
    bool open;    /* the handle is in use: until its close callback */
    bool closing; /* uv_close was called */
    bool writing; /* `wire` is with libuv */
    bool close_when_written;
    int err; /* why it closed; 0: by us or by the peer's end of file */
    struct buf out;
    struct buf wire;
};

/* Once, before the first use, and after the last. */
void conn_init(struct conn *c, const struct conn_calls *calls);
void conn_fini(struct conn *c);

/* 0, then `connected` or `closed`; or an error, with nothing to follow. */
int conn_connect(struct conn *c, uv_loop_t *loop, const struct sockaddr *to);
/* Accepts from a listening stream and starts reading. */
int conn_accept(struct conn *c, uv_loop_t *loop, uv_stream_t *listener);

/* Starts TLS: as a client with `name` for SNI (NULL: as a server). Plain bytes read so far are the caller's
 * to drop. */
int conn_start_tls(struct conn *c, SSL_CTX *ctx, bool server, const char *name);

void conn_flush(struct conn *c);
/* Stops and resumes reading. */
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);
/* Closes now, or once everything was written. Harmless on a closed one. */
void conn_close(struct conn *c, int err);
void conn_close_soon(struct conn *c);

#endif
