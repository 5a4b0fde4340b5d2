/* The command line of turnpike-bench, read into plain structures. */
#ifndef BENCH_OPTS_H
#define BENCH_OPTS_H

#include "test/bench/pattern.h"

#include <stdint.h>
#include <uv.h>

enum bench_tls { BENCH_TLS_NONE, BENCH_TLS_STARTTLS, BENCH_TLS_WRAPPED };

struct send_opts {
    struct sockaddr_storage to;
    const char *host;        /* as written, for SNI */
    unsigned sessions;       /* 50 */
    uint64_t messages;       /* attempts; 0: until the time is over */
    int64_t seconds;         /* 0: until all messages were tried */
    size_t size;             /* 4096 */
    double rate;             /* messages/s, open loop; 0: closed loop */
    uint64_t per_connection; /* 0: no end */
    unsigned rcpts;          /* per message: 1 */
    bool incompressible;
    bool no_pipelining;
    bool json;
    enum bench_tls tls;
    const char *ca_file; /* verify the server; NULL: do not */
    bool auth;
    struct pattern auth_user;
    const char *password;
    struct pattern mail_from, rcpt_to;
    const char *helo;
    const char *ack_log; /* the Message-ID of each message that was answered 250, one a line */
    int64_t give_up_ms;  /* without any success for so long: 30 s */
};

struct idle_opts {
    struct sockaddr_storage to;
    unsigned connections;
    int64_t seconds;
};

#define SINK_RULES 32

enum sink_stage {
    SINK_BANNER,
    SINK_HELO,
    SINK_STARTTLS,
    SINK_AUTH,
    SINK_MAIL,
    SINK_RCPT,
    SINK_DATA,
    SINK_DOT,
    SINK_RSET,
    SINK_QUIT,
    SINK_STAGES
};

struct sink_rule { /* how to answer badly on purpose */
    enum sink_stage stage;
    const char *glob;   /* of the address, for MAIL and RCPT; NULL: any */
    double probability; /* 1: always */
    uint64_t first;     /* only the first so many matches; 0: all */
    uint64_t hits;
    const char *reply; /* "451 4.7.1 later", or "close"; {n}: how often it was given */
    char filled[1024]; /* the last one */
};

struct sink_opts {
    struct sockaddr_storage listen;
    bool pipelining, chunking, smtputf8, dsn; /* on, on, on, off */
    const char *cert, *key;                   /* NULL: no TLS */
    bool wrapped;
    int64_t delay_ms[SINK_STAGES];
    unsigned nrules;
    struct sink_rule rules[SINK_RULES];
    uint64_t per_connection; /* then 421; 0: no end */
    unsigned connections;    /* at a time, then 421; 0: no limit */
    bool count_to_stdout;    /* a line a second */
    uint64_t exit_after;     /* messages; 0: run until told */
    const char *record_dir;  /* each message as a file */
    const char *log_file;    /* one line of JSON per message */
};

/* Each returns 0, or an exit code after having said why on standard error. */
int opts_send(int argc, char **argv, struct send_opts *o);
int opts_idle(int argc, char **argv, struct idle_opts *o);
int opts_sink(int argc, char **argv, struct sink_opts *o);

const char *sink_stage_name(enum sink_stage stage);
extern const char opts_help[];

#endif
