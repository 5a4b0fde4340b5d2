/* What the files of the stream share. Nobody else includes it.
 *
 *   CONNECTING --on_open--> OPEN --shutdown, or the peer's end--> LINGER --> CLOSING --on_closed--> freed
 *   every state --error, stream_close--> CLOSING
 *
 * In LINGER and CLOSING the session is called for on_closed only.
 */
#ifndef NODE_NET_STREAM_IMPL_H
#define NODE_NET_STREAM_IMPL_H

#include "base/buf.h"
#include "node/net/stream.h"

#define KEEP_BYTES 1024u /* of an empty buffer of a living stream */
#define SCRATCH_KEEP_BYTES (256u << 10)
#define PLAIN_BYTES (16u << 10) /* a TLS record's content at most */
#define CONNECT_TIMEOUT_MS 30000
#define END_FLUSH_MS 10000             /* for queued output after the peer's end */
#define ALERT_FLUSH_MS 1000            /* for the alert after a failed handshake */
#define BROKEN_READ_MS 5000            /* for the peer's last words after a failed write */
#define GATE_UNSENT_BYTES (16u << 10)  /* that the kernel takes ahead of a gated connection */
#define GATE_RETRY_MS 10               /* a gated connection tries again after the kernel was full */
#define DIRECT_WRITE_BYTES (16u << 10) /* from here on output is not gathered but tried at once */

enum stream_state { STREAM_CONNECTING, STREAM_OPEN, STREAM_LINGER, STREAM_CLOSING };

struct stream_tls {
    SSL *ssl;
    bool done;          /* handshake over */
    bool stepping;      /* the handshake is to be begun (client) */
    struct span unread; /* records not yet taken by ssl: of `kept`, or of the bytes just read */
    struct buf kept;    /* ... which stay here when the session is paused */
    struct buf plain;   /* output of the session, not yet encrypted */
    struct buf *sealed; /* where records to be sent go */
    struct tls_info info;
};

/* libuv would write what it was given without asking: a gated stream gives it nothing, and tries by itself. */
struct stream_gate {
    stream_gate_fn *may_send;
    void *ctx;
    uint64_t mark;
    struct stream *s;
    struct timer retry;
};

struct stream {
    uv_tcp_t tcp;
    union {
        uv_write_t write;
        uv_connect_t connect;
    } req;
    struct stream_loop *sl;
    const struct stream_ops *ops;
    void *ctx;
    struct list ready;  /* with something to do before the loop waits */
    struct timer timer; /* connecting, handshake, lingering */
    struct stream_tls *tls;
    struct stream_gate *gate; /* NULL: none */
    enum stream_state state;
    int close_err;
    int write_err; /* sending failed: only reading is left */
    bool paused;
    bool resumed; /* kept input is to be offered */
    bool reading; /* libuv reads */
    bool peer_ended;
    bool full;    /* on_writable is owed */
    bool writing; /* libuv has `flying`; with a gate: the kernel was full */
    bool fin_sent;
    bool dispatching;  /* on_data is being called */
    bool discard;      /* TLS was started meanwhile: forget what it was given */
    struct buf in;     /* unconsumed, decrypted */
    struct buf out;    /* for the wire */
    struct buf flying; /* with the kernel or libuv */
    struct ip_addr peer, local;
    uint16_t peer_port, local_port;
    uint64_t bytes_in, bytes_out;
};

/* stream.c */
int stream_alloc(struct stream_loop *sl, const struct stream_ops *ops, void *ctx, unsigned family,
                 struct stream **out);
void stream_read_on(struct stream *s);
void stream_ready(struct stream *s); /* to be looked at before the loop waits */
void stream_run(struct stream *s);   /* from the loop: that look */
void stream_deliver(struct stream *s, const char *p, size_t n);
void stream_peer_ended(struct stream *s); /* when all before it was offered */
void stream_linger(struct stream *s, int err, uint32_t timeout_ms);
void stream_timed_out(struct timer *t);

/* stream_open.c: after the last stream of a loop that is to be closed */
void stream_loop_wind_up(struct stream_loop *sl);

/* stream_tls.c; from the loop, except seal, shutdown and free */
void stream_tls_feed(struct stream *s, const char *p, size_t n);
int stream_tls_keep(struct stream *s, const char *p, size_t n);
void stream_tls_pump(struct stream *s); /* goes on with what is kept */
void stream_tls_fail(struct stream *s, int err, const char *why);
/* Encrypts what waits, then p, to tls->sealed. 0 or ERR_FAILED. */
int stream_tls_seal(struct stream *s, const void *p, size_t n);
void stream_tls_shutdown(struct stream *s);
void stream_tls_free(struct stream_tls *tls);

#endif
