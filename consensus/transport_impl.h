/* What the files of the transport share. Nobody else includes it.
 *
 * A connection (struct conn) is a TCP socket with TLS, one way for raft's messages:
 *
 *     accepted    TCP -> TLS -> `in`  -> pipe -> libraft reads
 *     dialled     libraft writes -> pipe -> TLS -> `out` -> TCP
 *
 * Its life, and what ends each phase by the timer:
 *
 *     accepted:   HANDSHAKE -> GREETING (the dialler's address) -> OPEN
 *                           -> REQUEST -> ANSWER (a joiner) -> LINGER (what is still to be written)
 *     dialled:    REACHING -> HANDSHAKE -> WELCOME (we were admitted) -> OPEN -> LINGER
 *     any:        -> CLOSING, freed when all its handles are closed
 *
 * After the handshake the dialler says, in TLS: "TPR1", one byte of length, the address that libraft knows it
 * by. The other side answers with one byte once it has admitted it. Without that byte a node that is refused
 * would seem to be connected for a moment, and libraft would dial again at once, for ever.
 */
#ifndef CONSENSUS_TRANSPORT_IMPL_H
#define CONSENSUS_TRANSPORT_IMPL_H

#include "base/buf.h"
#include "base/list.h"
#include "consensus/transport.h"

#include <raft/uv.h>

#define CHUNK_BYTES (64u << 10) /* read at once */
#define PIPE_BYTES (64 << 10)   /* of the socketpair; the kernel doubles it */
#define OUT_MAX (192u << 10)    /* sealed and not yet taken by the kernel; past it the peer is cut */
#define ADDRESS_MAX 127
#define ADDRESSES_MAX 128
#define PER_ADDRESS_MAX 32
#define JOINS_MAX 8
#define HANDSHAKE_MS 5000
#define JOIN_MS 30000 /* a request must be answered within that */
#define LINGER_MS 2000
#define USER_TIMEOUT_MS 5000
#define KEEPALIVE_S 15
#define LOG_LINES_MAX 20 /* about refused connections, in LOG_WINDOW_MS */
#define LOG_WINDOW_MS 60000
#define SAID_MAX 16 /* nodes */
#define SAID_AGAIN_MS 600000

enum phase { REACHING, HANDSHAKE, GREETING, WELCOME, OPEN, REQUEST, ANSWER, LINGER, CLOSING };

struct conn {
    struct transport *t;
    struct list link;
    enum phase phase;
    bool accepted, failed_tls;
    char where[80]; /* the other side's address, for logs */
    struct sockaddr_storage from;
    uv_tcp_t tcp;
    uv_pipe_t pipe; /* our end */
    uv_timer_t timer;
    unsigned handles; /* to be closed before it can be freed */
    bool tcp_live, pipe_live, pipe_eof;
    SSL *ssl;
    BIO *sealed_in, *sealed_out; /* the SSL's */
    struct buf in;               /* opened, for the pipe; or what a phase is still gathering */
    struct buf out;              /* being written to TCP */
    uv_write_t in_write, out_write;
    bool in_busy, out_busy;
    /* the peer, once it is known */
    struct peer peer;
    uint8_t sha256[32];
    uv_stream_t *far; /* libraft's end; may be gone: conn_pending says how to look at it */
    /* dialled */
    struct raft_uv_connect *req; /* until its callback ran */
    raft_uv_connect_cb connect_cb;
    int connect_status;
    uint64_t node;
    uv_getaddrinfo_t resolve;
    uv_connect_t connect;
    bool resolving;
    struct addrinfo *addresses, *next_address;
    struct transport_join *join;
};

struct transport_join {
    struct transport *t; /* NULL: it is gone */
    struct conn *c;      /* NULL: it is gone */
    struct list link;
};

struct transport {
    struct transport_config config;
    struct raft_uv_transport raft;
    raft_uv_accept_cb accept_cb;
    raft_uv_transport_close_cb raft_closed;
    bool raft_closing;
    char address[ADDRESS_MAX + 1]; /* ours, as libraft knows it */
    uv_tcp_t listener;
    uv_timer_t kick; /* for what may not be called back at once */
    unsigned handles;
    uint16_t port;
    SSL_CTX *server, *client;
    struct buf ca; /* PEM */
    struct { /* where nodes are dialled; node 0: free */
        uint64_t node;
        char address[ADDRESS_MAX + 1];
    } moved[ADDRESSES_MAX];
    struct list conns;
    struct list joins; /* given to on_join and not answered */
    uint32_t nconns, njoins;
    bool closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
    struct transport_stats stats;
    /* what was last said of a node that we dial: libraft dials a dead one every second */
    struct {
        uint64_t node, at_ms;
        char words[96];
    } said[SAID_MAX];
    uint64_t log_since_ms;
    uint32_t log_lines, log_left_out;
    char chunk[CHUNK_BYTES];
    char plain[16384];
};

/* ---- transport.c */
void transport_conn_gone(struct transport *t);
/* About a connection that was refused or failed; with a limit, and the same of one node that we dial only now
 * and then. */
void transport_complain(struct conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* It was reached: what goes wrong next is news. */
void transport_content(struct conn *c);

/* ---- transport_tls.c */
int transport_tls_init(struct transport *t, struct span certificate, struct span key);
void transport_tls_fini(struct transport *t);
SSL *transport_tls_new(struct transport *t, bool accepted);
enum transport_alpn { ALPN_NONE, ALPN_RAFT, ALPN_JOIN };
enum transport_alpn transport_tls_alpn(const SSL *ssl);
/* Reads the peer of its certificate into the connection. False: it is not one that may talk to us; it was
 * said why. */
bool transport_tls_identify(struct conn *c);
/* What OpenSSL says of the failure on its queue. */
void transport_tls_words(const SSL *ssl, char *out, size_t cap);

/* ---- transport_conn.c */
/* NULL: no memory. Its timer runs for ms. */
struct conn *conn_new(struct transport *t, bool accepted, uint64_t ms);
int conn_tcp_init(struct conn *c);
void conn_start_tls(struct conn *c);
void conn_deadline(struct conn *c, uint64_t ms);
/* Sends plain bytes; false: the connection is closing. */
bool conn_send(struct conn *c, const void *p, size_t n);
/* Ends it when what is still to be written was written. */
void conn_linger(struct conn *c);
/* `status` is for the connect callback. Harmless twice. */
void conn_close(struct conn *c, int status);
/* After one of its handles or requests ended: frees it if that was the last. */
void conn_free_when_closed(struct conn *c);
void conn_tcp_read(struct conn *c);
/* Bytes that libraft and we still have to send. */
int64_t conn_pending(const struct conn *c);

/* ---- transport_pump.c */
/* Makes the pair of sockets; `far` is libraft's. */
int conn_pipe_open(struct conn *c, uv_stream_t **far);
void conn_pipe_start(struct conn *c);
void conn_pump_in(struct conn *c);
void conn_pipe_read(struct conn *c);

/* ---- transport_dial.c */
int transport_dial(struct raft_uv_transport *raft, struct raft_uv_connect *req, raft_id id,
                   const char *address, raft_uv_connect_cb cb);
void dial_greet(struct conn *c);
void dial_welcomed(struct conn *c, struct span bytes);

/* ---- transport_join.c */
void join_begin(struct conn *c);
void join_data(struct conn *c);
void join_abandon(struct conn *c);

/* ---- transport_accept.c */
void transport_on_connection(uv_stream_t *listener, int status);
void accept_greeting(struct conn *c);

#endif
