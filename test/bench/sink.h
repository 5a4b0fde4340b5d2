/* The sink: a server that takes mail and throws it away, or answers badly on purpose. One thread. */
#ifndef BENCH_SINK_H
#define BENCH_SINK_H

#include "base/list.h"
#include "test/bench/conn.h"
#include "test/bench/lines.h"
#include "test/bench/opts.h"

#include <stdio.h>

struct sink {
    struct sink_opts *o;
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_timer_t second;
    uv_signal_t term, intr;
    SSL_CTX *tls;
    FILE *log;
    struct list idle; /* closed sessions, to be used again */
    bool has_rules[SINK_STAGES];
    size_t keep_bytes; /* of each message: all to record it, the header to log it */

    uint64_t messages, rcpts, bytes, connections, refused;
    unsigned open, most_open;
    int64_t first_ns, last_ns;
};

enum sink_state { SINK_STATE_COMMAND, SINK_STATE_AUTH, SINK_STATE_CONTENT, SINK_STATE_CHUNK };

struct sink_session {
    struct conn conn;
    struct list link; /* in sink->idle */
    struct sink *sink;
    enum sink_state state;
    unsigned auth_lines; /* still to come */
    bool secured, start_tls;
    bool mail; /* between MAIL and the end of content */
    unsigned nrcpts;
    uint64_t messages;
    uint64_t size;       /* of the content so far */
    uint64_t chunk_left; /* of a BDAT */
    bool chunk_last;
    unsigned ntail;
    char tail[4]; /* the last bytes of content before this read */
    bool timer_ready, delayed;
    uv_timer_t timer;
    struct buf held;     /* input that waits for a delayed reply */
    struct buf pending;  /* that reply */
    struct buf envelope; /* when logging: JSON */
    struct buf content;  /* when recording or logging: its first keep_bytes, as on the wire */
    struct lines lines;
};

/* A new connection on sink->listener. */
void sink_session_accept(struct sink *s);
void sink_session_delete(struct sink_session *x);

/* A session's connection ended. */
void sink_session_ended(struct sink *s, struct sink_session *x);
/* Counts a message, writes its record; false: it could not be written. */
bool sink_take(struct sink *s, struct sink_session *x);

/* The reply for a stage, by the rules; NULL: the usual one. */
const char *sink_rules_reply(struct sink *s, enum sink_stage stage, struct span address);

#endif
