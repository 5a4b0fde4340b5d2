/* The admin API's server: HTTP/1.1 with JSON on a unix socket and on a TCP address, there with TLS if it is given
 * a certificate (docs/admin-api.md); and the dashboard's files (docs/dashboard.md).
 *
 * Main thread starts and stops it; libmicrohttpd gives each connection a thread of its own, on which the
 * functions of admin_ops are called. It decides nothing about mail and keeps no state between requests.
 *
 * Bounds: ADMIN_CALLS_MAX / 2 connections per listener; a request is read within request_ms as a whole,
 * however its bytes dribble; 64 KiB of body (a policy: 2 MiB), 32 KiB of headers; a reply is written within
 * write_ms.
 */
#ifndef NODE_ADMIN_ADMIN_H
#define NODE_ADMIN_ADMIN_H

#include "node/admin/cluster.h"
#include "node/admin/ops.h"

#include <sys/stat.h>

struct admin_config {         /* strings are copied by admin_new */
    const char *socket_path;  /* NULL: no unix socket */
    mode_t socket_mode;       /* 0: 0660 */
    const char *socket_group; /* group name; NULL: the process's own */
    const char *tcp_address;  /* "127.0.0.1:8025", "[::1]:8025"; port 0: any; NULL: no TCP */
    bool tcp_remote; /* allow an address that is not loopback without TLS: the network must be trusted */
    const char *
        token_file; /* needed with tcp_address: one line of 16 to 512 printable characters, mode 0600..0640 */
    const char *certificate, *key; /* of TLS on TCP, PEM files; NULL: plain HTTP */
    const char *const *hosts; /* names accepted in Host besides localhost and the address itself */
    size_t nhosts;
    bool open_metrics;   /* /metrics needs no token */
    uint32_t request_ms; /* 0: 15000 */
    uint32_t write_ms;   /* 0: 60000 */
    const struct admin_cluster
        *cluster; /* borrowed until admin_free; NULL: this node can't be in a cluster */
    void *cluster_ctx;
};

struct admin;

/* Binds the sockets and reads the token: may run before privileges are dropped and must run before threads
 * exist (it sets the umask for a moment). ERR_BAD, ERR_EXISTS (another process serves that socket),
 * ERR_DENIED or -errno. */
int admin_new(const struct admin_config *config, const struct admin_ops *ops, struct admin **out,
              struct admin_error *e);

/* Starts to serve. */
int admin_run(struct admin *a, struct admin_error *e);

/* The port that TCP is bound to, or 0. */
uint16_t admin_port(const struct admin *a);

/* SIGHUP: reads the token file and the certificate again; on an error the old ones stay. */
int admin_reload(struct admin *a, struct admin_error *e);

/* Ends streams and idle connections, waits for calls in hand (core must be able to answer them, or refuse),
 * frees it and removes the unix socket. NULL is harmless. */
void admin_free(struct admin *a);

#endif
