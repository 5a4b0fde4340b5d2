/* Lines to a syslog: RFC 5424 over a Unix socket, UDP (RFC 5426) or TCP (RFC 6587, counted). May block, for
 * at most NOTIFY_SYSLOG_WAIT_MS. One thread at a time.
 */
#ifndef NODE_NOTIFY_SYSLOG_H
#define NODE_NOTIFY_SYSLOG_H

#include "base/span.h"
#include "node/policy/notifications.h"

#define NOTIFY_SYSLOG_WAIT_MS 2000

struct notify_syslog {
    int fd;        /* -1: none */
    int type;      /* of the socket */
    char url[512]; /* where it is connected to */
};

void notify_syslog_init(struct notify_syslog *s);
void notify_syslog_fini(struct notify_syslog *s);
/* Connected from an earlier time or just now; a connection that the other side has ended is made anew. 0 or
 * -errno. */
int notify_syslog_ready(struct notify_syslog *s, const char *url);
/* 0 or -errno, and the connection is ended. Over TCP nobody says that it has arrived. */
int notify_syslog_send(struct notify_syslog *s, struct span line);

#endif
