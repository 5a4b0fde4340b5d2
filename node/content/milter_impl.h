/* Between milter.c, which has the thread and the queues, and milter_conn.c, which has the connections. The filters'
 * thread only, but for what is said to be otherwise.
 */
#ifndef NODE_CONTENT_MILTER_IMPL_H
#define NODE_CONTENT_MILTER_IMPL_H

#include "node/content/milter.h"

#include <netdb.h>
#include <stdatomic.h>

#define MILTER_READ_BYTES 16384u

struct milters {
    uv_loop_t loop;
    pthread_t thread;
    struct inbox inbox;
    struct inbox_msg stop;
    uv_timer_t tick; /* looks at deadlines, while there are any */
    bool stopping;
    struct servers servers;
    atomic_uint waiting, running; /* any thread */
    struct list conns;            /* but those that are closing */
    struct milter_peer {
        char socket[POLICY_MILTER_SOCKET_MAX + 1]; /* "": free */
        struct list queue;                         /* of jobs */
        uint32_t running;
        bool going_on;
    } peers[SERVERS_KNOWN];
};

struct milter_conn {
    struct list link;
    struct milters *m;
    struct milter_peer *peer;
    struct milter_job *job; /* NULL: idle */
    struct milter_session session;
    struct buf in, out;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } u;
    uv_connect_t connect;
    uv_write_t write;
    uv_getaddrinfo_t resolve;
    struct addrinfo *addresses, *next_address;
    int64_t idle_ms; /* since then */
    bool opened, connected, resolving, reopening, writing, closing;
    bool used, heard; /* it had a message before; something has come for this one */
};

/* Takes the job over: milter_job_done or _failed will be called for it, perhaps at once. */
void milter_conn_start(struct milters *m, struct milter_peer *peer, struct milter_job *job);
/* Its job, if it has one, has failed. `unreachable`: nobody takes connections. */
void milter_conn_fail(struct milter_conn *c, bool unreachable, const char *why);
void milter_conn_close(struct milter_conn *c);

/* What became of a job that ran. */
void milter_job_done(struct milter_peer *peer, struct milters *m, struct milter_job *job);
void milter_job_failed(struct milter_peer *peer, struct milters *m, struct milter_job *job, bool unreachable,
                       const char *why);
/* A connection that the filter had left open was not one any more: on another one. */
void milter_job_again(struct milter_peer *peer, struct milters *m, struct milter_job *job);

#endif
