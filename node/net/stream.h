/* A TCP connection with TLS when wanted, on a libuv loop. Knows bytes, not SMTP. One loop's thread.
 *
 * Lifetimes
 *   - stream_accept and stream_connect make a stream on the heap. It ends by stream_close,
 * stream_shutdown_close, an error, or the peer; however it ends, on_closed is called exactly once, always
 * from the loop, and is the last callback. When on_closed returns the stream is gone: forget the pointer
 * there. Until then every function here may be called, in any state, inside any callback; on a stream that is
 * closing they do nothing (stream_write returns ERR_CLOSED).
 *   - No function here calls a callback. Callbacks come from the loop only, never nested: not from
 * stream_write, not from stream_resume, not from stream_close. So a session may free nothing of its own
 * before on_closed but needs no guard against being called again while it calls.
 *   - After stream_close or stream_shutdown_close only on_closed follows.
 *   - A session that must go before on_closed calls stream_detach: the stream then closes by itself and calls
 * nobody.
 *   - The bytes given to on_data are valid until it returns; they may lie in a buffer that all streams share.
 *   - The tls_server or tls_client given is needed only during the call.
 *   - stream_loop_close waits for the streams that still are there; it closes none.
 *
 * Memory: an idle plain connection has no buffer but small leftovers. Reading uses one 64 KiB buffer per
 * loop. What a session leaves unconsumed is kept up to STREAM_IN_MAX; a peer that goes on sending what the
 * session does not consume is closed with ERR_LIMIT. Output is kept up to STREAM_OUT_MAX.
 *
 * The process must ignore SIGPIPE: libuv writes without MSG_NOSIGNAL.
 *
 * Output gathers during a turn of the loop and leaves in one write before the loop waits again.
 */
#ifndef NODE_NET_STREAM_H
#define NODE_NET_STREAM_H

#include "base/list.h"
#include "node/net/ip.h"
#include "node/net/timers.h"
#include "node/net/tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define STREAM_READ_BYTES (64u << 10)
#define STREAM_IN_MAX (128u << 10)  /* unconsumed input; over it ERR_LIMIT */
#define STREAM_OUT_HIGH (64u << 10) /* queued output from which stream_write says STREAM_FULL */
#define STREAM_OUT_LOW (16u << 10)  /* on_writable comes when it fell to this */
#define STREAM_OUT_MAX (2u << 20)   /* stream_write refuses what would pass it with ERR_LIMIT */
#define STREAM_FULL 1

struct stream;

struct stream_ops { /* any but on_data and on_closed may be NULL */
    /* n > 0 bytes that nobody consumed yet, all of them in one piece. Returns how many are consumed. With the
     * stream paused meanwhile, the rest is offered again after stream_resume; else when more has come. */
    size_t (*on_data)(void *ctx, const char *p, size_t n);
    /* Queued output fell to STREAM_OUT_LOW after a stream_write returned STREAM_FULL. */
    void (*on_writable)(void *ctx);
    /* stream_connect succeeded. (If it did not: on_closed.) */
    void (*on_open)(void *ctx);
    /* The handshake ended. With ok false `why` is one line, valid during the call, and the stream closes by
     * itself with ERR_FAILED (or ERR_TIMEOUT, or the peer's end). */
    void (*on_tls)(void *ctx, bool ok, const char *why);
    /* The end; see Lifetimes. err: 0 after stream_close(s, 0) and stream_shutdown_close; UV_EOF when the peer
     * ended it (all input before that was offered, and queued output was given a chance); ERR_TIMEOUT;
     * ERR_LIMIT; else the system's error. */
    void (*on_closed)(void *ctx, int err);
};

/* What the streams of one loop share. */
struct stream_loop {
    uv_loop_t *uv;
    struct timers *timers;
    uv_prepare_t prepare;
    uv_idle_t idle;
    struct list ready; /* streams with something to do before the loop waits */
    char *read_buf;    /* STREAM_READ_BYTES */
    char *plain_buf;   /* decrypted bytes */
    struct buf sealed; /* records on their way to the kernel */
    uint32_t open;     /* streams that have not called on_closed yet */
    int handles;       /* still to close */
    bool closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* `timers` must outlive it. */
int stream_loop_init(struct stream_loop *sl, uv_loop_t *loop, struct timers *timers);
/* When the last stream is gone the loop's own part goes, then `closed` (may be NULL) is called from the loop.
 */
void stream_loop_close(struct stream_loop *sl, void (*closed)(void *ctx), void *ctx);

/* A socket bound to an address and listening, made apart from the loop so that it can be bound before
 * privileges are dropped. With `shared` several sockets may be bound to the same address (SO_REUSEPORT). port
 * 0: any. An IPv6 socket takes IPv6 only. `backlog` counts until stream_listener_open, which sets the
 * system's maximum. 0 and the descriptor (non-blocking, close-on-exec), or -errno. */
int stream_listen_fd(const struct ip_addr *addr, uint16_t port, bool shared, int backlog, int *fd);

struct stream_listener {
    uv_tcp_t tcp;
    struct stream_loop *sl;
    void (*on_accept)(struct stream_listener *l);
    void (*closed)(void *ctx);
    void *ctx;
};

/* Takes fd on success. on_accept is told of each connection waiting, and calls stream_accept. */
int stream_listener_open(struct stream_listener *l, struct stream_loop *sl, int fd,
                         void (*on_accept)(struct stream_listener *l), void *ctx);
/* `closed` (may be NULL) gets l->ctx. */
void stream_listener_close(struct stream_listener *l, void (*closed)(void *ctx));

/* Takes the waiting connection of a listening libuv handle; reading starts at once. 0 or a negative err (then
 * the connection is gone and there is no stream). */
int stream_accept(struct stream_loop *sl, uv_stream_t *listener, const struct stream_ops *ops, void *ctx,
                  struct stream **out);

struct stream_connect {
    struct ip_addr addr;
    uint16_t port;
    struct ip_addr source; /* family 0: the system's choice */
    uint32_t timeout_ms;   /* 0: 30 s */
};

/* 0, then on_open or on_closed comes; or a negative err and no stream. */
int stream_connect(struct stream_loop *sl, const struct stream_connect *to, const struct stream_ops *ops,
                   void *ctx, struct stream **out);

/* Handshake as a server or client. Everything unread is dropped, here and in the data that on_data is being
 * given (its return value then counts for nothing), so that nothing said in the clear survives into TLS
 * (CVE-2011-0411). Output written before leaves in the clear, later output inside TLS. Reading is resumed. 0
 * or ERR_FAILED, ERR_CLOSED, or ERR_EXISTS when there is TLS already: then nothing changed. */
int stream_tls_server(struct stream *s, struct tls_server *tls, uint32_t timeout_ms);
/* The same inside on_data of a connection that a proxy announced: `p`, what came behind the proxy's header, is
 * the beginning of the handshake. */
int stream_tls_server_with(struct stream *s, struct tls_server *tls, uint32_t timeout_ms, const char *p,
                           size_t n);
int stream_tls_client(struct stream *s, struct tls_client *tls, const struct tls_peer *peer,
                      uint32_t timeout_ms);

/* (!) Of a connection that must say nothing once it is no longer allowed to: asked right before bytes go to the
 * kernel, and calls nothing of the stream. Once it says no, what is queued is dropped, the connection is reset,
 * and on_closed gets ERR_DENIED. The kernel is given little ahead of what it has sent. Outlives stream_set_ops;
 * `ctx` must outlive the stream. 0 or -ENOMEM. */
typedef bool stream_gate_fn(void *ctx, uint64_t mark);
int stream_set_gate(struct stream *s, stream_gate_fn *may_send, void *ctx, uint64_t mark);

/* Copies p, takes all or nothing: 0, STREAM_FULL (taken; better wait for on_writable), ERR_LIMIT, ERR_CLOSED
 * or -ENOMEM. */
int stream_write(struct stream *s, const void *p, size_t n);
/* Queued and not yet given to the kernel. */
size_t stream_queued(const struct stream *s);

/* No on_data, and no end from the peer, until stream_resume. A reset may still come. */
void stream_pause(struct stream *s);
void stream_resume(struct stream *s);
bool stream_paused(const struct stream *s);
/* Unconsumed bytes that are kept (of TLS: decrypted ones). */
size_t stream_unread(const struct stream *s);
/* The peer has sent what nobody has read yet, nor the stream itself: for telling who speaks out of turn. */
bool stream_has_input(const struct stream *s);

/* At once; queued output is lost. `err` is handed to on_closed. */
void stream_close(struct stream *s, int err);
/* Writes queued output, says the end to the peer (close_notify, FIN), drops what the peer still sends until
 * it closes too (so that no reset overtakes our last reply), and closes; all within timeout_ms. */
void stream_shutdown_close(struct stream *s, uint32_t timeout_ms);
/* As stream_close, and no callback any more. */
void stream_detach(struct stream *s);
/* Other callbacks from now on; for sessions that hand a connection on (a pool of idle ones). */
void stream_set_ops(struct stream *s, const struct stream_ops *ops, void *ctx);

void stream_peer(const struct stream *s, struct ip_addr *addr, uint16_t *port);
void stream_local(const struct stream *s, struct ip_addr *addr, uint16_t *port);
/* NULL without TLS, or before the handshake is over. */
const struct tls_info *stream_tls_info(const struct stream *s);
uint64_t stream_bytes_in(const struct stream *s); /* on the wire */
uint64_t stream_bytes_out(const struct stream *s);

#endif
