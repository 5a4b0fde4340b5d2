/* Live dialogues for operators: who follows which sessions.
 *
 * A session asks trace_wanted at its start and whenever more is known of it (the account, the site): with
 * nobody listening that is one relaxed load. Lines go straight to the listener's `put`, on the session's
 * thread; a listener keeps a bounded ring and drops what does not fit (node/admin/stream.c), so nothing
 * waits.
 *
 * What never gets out: trace_bytes hides what follows AUTH and the lines of its dialogue; bodies are not
 * given to it, only their size (trace_note). The caller tells which state the session is in.
 */
#ifndef NODE_TELEMETRY_TRACE_H
#define NODE_TELEMETRY_TRACE_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define TRACE_LISTENERS_MAX 16

struct trace; /* of a node: all its listeners */
struct trace_listener;

enum trace_dir { TRACE_FROM_PEER, TRACE_TO_PEER, TRACE_NOTE };

struct trace_line {
    int64_t at_ms;
    uint64_t session;
    enum trace_dir dir;
    struct span peer; /* "192.0.2.7:25" */
    struct span text; /* without CRLF */
};

/* Any session's thread. Must not block and not call into trace; copies. false: nobody reads any more. */
typedef bool trace_put_fn(void *ctx, const struct trace_line *line);
/* The listener is gone: `ctx` is used no more. */
typedef void trace_gone_fn(void *ctx);

struct trace_filter {    /* all that are given must match */
    bool client;         /* our sessions with next hops; else clients' sessions with us */
    const char *ip;      /* address or "192.0.2.0/24"; NULL: any */
    const char *account; /* without case */
    const char *site;    /* without case */
    const char *listener;
    uint32_t sessions_max; /* after so many it takes no new ones; 0: no bound */
};

struct trace *trace_new(void);
/* No session may be there. */
void trace_free(struct trace *t);

/* 0; ERR_LIMIT: TRACE_LISTENERS_MAX; ERR_BAD: the ip. */
int trace_listen(struct trace *t, const struct trace_filter *filter, trace_put_fn *put, trace_gone_fn *gone,
                 void *ctx);
/* Ends the listener with this ctx; after it returns `put` is not running and not called again. Any thread but
 * from within `put`. */
void trace_unlisten(struct trace *t, const void *ctx);

/* What is known of a session; empty: not (yet). */
struct trace_subject {
    bool client;
    uint64_t session;
    struct span peer; /* "192.0.2.7:25" or "[2001:db8::1]:25" */
    struct span account, site, listener;
};

/* Who follows a session; part of it, zeroed at its start and touched by nobody else. */
struct trace_mark {
    uint32_t mask;
    uint32_t epoch;
    struct trace_side { /* of FROM_PEER and TO_PEER: a line that came in parts */
        char held[16];
        uint8_t n;
        bool mid, hidden;
    } side[2];
};

/* Whether someone follows the session. Finds those who began to listen, lets go of those that no longer
 * match. Call it when the subject changed, and before giving lines. */
bool trace_wanted(struct trace *t, const struct trace_subject *subject, struct trace_mark *mark);

/* Bytes as they went over the wire, whole lines or not; given line by line, and what is left at the end as a
 * line of its own. `secret`: an AUTH dialogue is in progress, lines are shown by their length only. A line
 * that begins with AUTH is cut after the mechanism, and what follows it in the same bytes is hidden too,
 * since it may be the dialogue's next lines. After trace_wanted said yes. */
void trace_bytes(struct trace *t, const struct trace_subject *subject, struct trace_mark *mark,
                 enum trace_dir dir, struct span bytes, bool secret);
/* A remark: "connected", "TLSv1.3 ...", "content: 48213 octets". */
void trace_note(struct trace *t, const struct trace_subject *subject, struct trace_mark *mark,
                const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#endif
