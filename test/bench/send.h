/* The load generator: what its sessions share. One thread.
 *
 * Closed loop: each session sends its next message as soon as the last was answered. Open loop: message n is
 * due at n / rate, whichever session is free takes it, and its latency counts from when it was due: a server
 * that stalls cannot hide it by slowing the generator down.
 */
#ifndef BENCH_SEND_H
#define BENCH_SEND_H

#include "base/list.h"
#include "test/bench/conn.h"
#include "test/bench/hist.h"
#include "test/bench/lines.h"
#include "test/bench/message.h"
#include "test/bench/opts.h"

#include <stdio.h>

#define SEND_ERRORS 48

struct send_error {
    char text[120]; /* "rcpt: 451 4.7.1 try later" */
    uint64_t count;
};

struct sender {
    const struct send_opts *o;
    uv_loop_t loop;
    uv_timer_t tick;
    SSL_CTX *tls;
    struct message_pool pool;
    struct session *sessions;
    unsigned live;    /* sessions that have not ended */
    struct list free; /* ready sessions, in the open loop with nothing due */
    FILE *ack_log;
    bool stopping; /* no new messages */
    bool gave_up;

    uint64_t next; /* number of the next message */
    uint64_t accepted, refused, lost, rcpts_accepted, connections, connect_failures;
    int64_t start_ns, first_ns, last_ns; /* first and last acceptance */
    int64_t progress_ns;
    struct hist connect, message, dot;
    unsigned nerrors;
    struct send_error errors[SEND_ERRORS]; /* the last one gathers the rest */
};

enum session_step {
    SESSION_OFF,
    SESSION_CONNECT,
    SESSION_BANNER,
    SESSION_EHLO,
    SESSION_STARTTLS,
    SESSION_HANDSHAKE,
    SESSION_AUTH,
    SESSION_READY,
    SESSION_ENVELOPE,
    SESSION_DOT,
    SESSION_RSET,
    SESSION_QUIT,
};

struct session {
    struct conn conn;
    struct list link; /* in sender->free */
    struct sender *sender;
    unsigned number;
    enum session_step step;
    bool ended; /* will not connect again */
    bool tls_done, pipelining;
    int64_t retry_ns;   /* when off: connect again then */
    int64_t connect_ns; /* when connecting began */
    uint64_t on_connection;
    uint64_t message; /* number of the one in hand */
    int64_t due_ns, dot_ns;
    unsigned replies; /* of this envelope so far */
    unsigned rcpts_ok;
    struct lines lines;
};

enum send_take { SEND_TAKE_OK, SEND_TAKE_LATER, SEND_TAKE_NONE };

/* The next message's number and due time; LATER: the session is kept and will be started when one is due. */
enum send_take sender_take(struct sender *s, struct session *x);
void sender_error(struct sender *s, const char *stage, struct span reply);
/* A message's end. */
void sender_accepted(struct sender *s, const struct session *x, unsigned rcpts);
void sender_missed(struct sender *s, bool lost);
void sender_session_ended(struct sender *s);

void session_init(struct session *x, struct sender *s, unsigned number);
void session_fini(struct session *x);
void session_connect(struct session *x);
/* A ready session takes the message that was put into it. */
void session_begin(struct session *x);
/* Nothing more to send: QUIT. */
void session_quit(struct session *x);

void report_print(const struct sender *s);

int send_main(int argc, char **argv);
int sink_main(int argc, char **argv);
int idle_main(int argc, char **argv);

#endif
