/* turnpiked as a whole: what its threads share.
 *
 * Start order: configuration, privileges for ports, spool (recovery fills the workers' queues), workers,
 * admin. Stop order: the reverse; see node_stop. The main thread's loop holds signals and the slow timer.
 */
#ifndef NODE_CORE_NODE_H
#define NODE_CORE_NODE_H

#include "base/list.h"
#include "node/auth/auth.h"
#include "node/config/config.h"
#include "node/core/egress_rested.h"
#include "node/core/worker.h"
#include "node/telemetry/events.h"
#include "node/telemetry/history.h"
#include "node/telemetry/metrics.h"
#include "node/telemetry/trace.h"
#include "spool/spool.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

struct admin;
struct auth_pool;
struct checker;
struct listeners;
struct clients;
struct cluster;
struct dnsbl;
struct transfer;
struct meters;
struct rpt;
struct greylist;
struct notify;
struct shaping_holds;
struct sites;
struct source_rest;
struct sts;
struct watch;

enum node_state { NODE_STARTING, NODE_RUNNING, NODE_STOPPING, NODE_FAILED };

struct node {
    struct config *config;  /* main thread; workers have references of their own */
    uv_mutex_t config_lock; /* for readers on other threads: node_config */
    struct spool *spool;
    struct history *history;          /* NULL: none is kept */
    atomic_uint_fast64_t history_seq; /* durable there */
    uv_mutex_t history_lock;
    bool spool_open; /* under the lock: `spool` may be used by the history's thread */
    struct events *events;
    struct metrics *metrics;
    struct trace *trace;
    struct auth *auth;
    struct auth_pool *signers; /* of outgoing mail: sign.h */
    struct checker *checker;   /* of content: content.h; NULL: standalone, where no policy asks for it */
    struct milters *milters;   /* likewise */
    atomic_uint_fast64_t content_bytes; /* copies of messages for it */
    struct listeners *listeners;
    struct clients *clients;
    struct tls_tickets *tickets;
    struct admin *admin;
    struct meters *meters;
    struct sts *sts;
    struct greylist *greylist;
    struct held *held;   /* what is held, counted */
    struct sites *sites; /* what destinations of one site share */
    struct {
        uv_mutex_t lock;
        struct shaping_holds *v; /* under the lock: what is in force against destinations */
        atomic_uint n;           /* so many of them */
        atomic_uint rested;      /* sites for which all addresses of a pool rest */
        struct egress_rested_site told[EGRESS_RESTED_MAX]; /* those, under the lock */
    } holds;
    struct source_rest *rest; /* what sites answer to our source addresses: egress_rest.h */
    struct dnsbl *dnsbl;      /* whether our source addresses are on lists */
    struct rpt *rpt;     /* TLS sessions of the day, counted */
    struct notify *notify; /* NULL: standalone */
    struct watch *watch; /* NULL until it runs */
    struct cluster *cluster;   /* NULL: standalone */
    struct transfer *transfer; /* likewise */
    struct worker *workers;
    uint32_t nworkers;

    uv_loop_t loop;  /* main's */
    uv_async_t wake; /* main has something to do: the spool failed, or a request came */
    uv_mutex_t requests_lock;
    struct list requests;             /* under the lock: node_request */
    bool requests_closed;             /* under the lock */
    atomic_int state;                 /* enum node_state */
    atomic_int spool_error;           /* what stopped the spool, or 0 */
    atomic_uint_fast64_t sessions_in; /* of all listeners: the node's limit */
    atomic_uint_fast64_t sessions_out;
    atomic_uint_fast64_t next_session; /* ids for the logs */
    int64_t started_ms;                /* wall */
    atomic_llong config_loaded_ms;     /* wall */
};

/* Takes the reference of `config`. Errors of these are in the log. */
int node_init(struct node *n, struct config *config);
int node_start(struct node *n);
/* Reads the file again; a bad one changes nothing, and `why` has its errors. Main thread. */
int node_reload(struct node *n, struct buf *why);
/* Finishes what is in hand, but not after grace_ms; frees everything. */
void node_stop(struct node *n, int64_t grace_ms);
/* Another thread has the main thread do something, and waits. ERR_CLOSED: the node is stopping. */
int node_request(struct node *n, void (*fn)(struct node *n, void *arg), void *arg);
/* Main thread: does what was asked for. */
void node_run_requests(struct node *n);
int node_load_accounts(struct node *n, const struct config *c, struct buf *why);

/* A reference to the configuration in force. Any thread. */
struct config *node_config(struct node *n);

/* New mail is taken. Any thread. `why` (may be NULL) gets a static text when not. */
bool node_accepting(struct node *n, const char **why);

#endif
