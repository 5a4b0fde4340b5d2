/* What server.c (life of the server, its connections and their deadlines) and request.c (one request) share.
 */
#ifndef NODE_ADMIN_SERVER_IMPL_H
#define NODE_ADMIN_SERVER_IMPL_H

#include "base/list.h"
#include "node/admin/admin.h"
#include "node/admin/guard.h"
#include "node/admin/listen.h"
#include "node/admin/login.h"
#include "node/admin/series.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

struct listener {
    struct admin *admin;
    struct MHD_Daemon *daemon;
    int fd; /* -1: none; the daemon's once it runs */
    bool local;
};

struct admin {
    struct admin_config config; /* strings are copies */
    char *copies[6];            /* the strings, to be freed */
    const struct admin_ops *ops;
    struct listener unix_socket, tcp;
    struct logins *logins;
    struct series *series;
    struct tls *tls; /* of TCP; NULL: none */
    struct guard_hosts hosts;
    char host[64];
    char page[304]; /* the dashboard's URL; empty: no TLS */
    atomic_bool stopping;
    pthread_t reaper;
    bool reaper_runs;

    pthread_mutex_t lock;
    pthread_cond_t wake;             /* of the reaper */
    struct list conns;               /* under lock */
    char token[ADMIN_TOKEN_MAX + 1]; /* under lock */
    int64_t warned_ms;               /* under lock: when a refusal was last logged */
    uint64_t refused;                /* under lock: refusals since then */
};

/* A connection: what its deadline needs. */
struct conn {
    struct list link; /* under the admin's lock */
    struct admin *admin;
    int fd;              /* a duplicate, so that it never names another connection */
    int64_t deadline_ms; /* CLOCK_BOOTTIME; under the lock */
};

void conn_set_deadline(struct conn *c, int64_t ms_from_now);

/* For MHD_start_daemon. */
enum MHD_Result request_handle(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                               const char *version, const char *upload, size_t *upload_size, void **state);
void request_completed(void *cls, struct MHD_Connection *mhd, void **state,
                       enum MHD_RequestTerminationCode why);

#endif
