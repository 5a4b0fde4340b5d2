/* Byte streams between nodes, by nng's stream interface over mutual TLS. The only part that knows nng.
 *
 * Why streams and not nng's socket protocols: those share one queue among all peers, drop silently when it is
 * full, and do not say which connection a message left by. A stream is one connection: it can be refused,
 * bounded and ended alone, and a peer that is slow holds up nobody else.
 *
 * nng's threads put a finished operation into the loop's inbox and do nothing else; everything here runs on
 * the loop.
 */
#ifndef GOSSIP_GOSSIP_NNG_H
#define GOSSIP_GOSSIP_NNG_H

#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct gossip_net;
struct gossip_stream;

struct gossip_stream_ops {
    void (*on_dialed)(void *ctx, int err); /* 0, or why not: then close it */
    void (*on_read)(void *ctx, int err, size_t n);
    void (*on_written)(void *ctx, int err, size_t n); /* n may be less than was given */
    /* After gossip_stream_close, last: the stream is gone, buffers given to it are the caller's again. Never
     * called from inside gossip_stream_close. */
    void (*on_closed)(void *ctx);
};

/* A connection came in. Returns what the stream's ctx shall be; NULL: it is closed. */
typedef void *gossip_accept_fn(void *ctx, struct gossip_stream *s);

/* Listens from gossip_net_start on. `listen` as in gossip_config. */
int gossip_net_new(const char *listen, struct span certificate, struct span key, struct span ca,
                   struct gossip_net **out);
int gossip_net_start(struct gossip_net *net, uv_loop_t *loop, gossip_accept_fn *accepted,
                     const struct gossip_stream_ops *ops, void *ctx);
int gossip_net_port(const struct gossip_net *net);
/* For connections that begin from now on. */
int gossip_net_set_certificate(struct gossip_net *net, struct span certificate, struct span key,
                               struct span ca);
/* Ends listening; the caller closes its streams. `closed` runs on the loop, after the last of them. */
void gossip_net_close(struct gossip_net *net, void (*closed)(void *ctx), void *ctx);
/* After `closed`, or when it was never started. */
void gossip_net_free(struct gossip_net *net);

int gossip_stream_dial(struct gossip_net *net, const char *address, void *ctx, struct gossip_stream **out);
/* One read and one write at a time; the memory stays the stream's until it is reported, or on_closed. */
void gossip_stream_read(struct gossip_stream *s, void *p, size_t n);
void gossip_stream_write(struct gossip_stream *s, const void *p, size_t n);
void gossip_stream_close(struct gossip_stream *s);
/* "192.0.2.1:4711" of an accepted connection; empty for a dialled one. */
const char *gossip_stream_remote(const struct gossip_stream *s);

#endif
