/* Notices to tenants: one of their servers is deferred for its reverse DNS. A mail goes to the tenant's
 * contact, at most one a day for each server from the cluster as a whole, whichever nodes it meets.
 *
 * Workers say what they saw; the cluster thread claims the notice (COMMAND_NOTICE_CLAIM), and the worker that
 * saw it writes the mail. What waits is bounded: more is forgotten, and seen again soon.
 */
#ifndef NODE_CORE_NOTICE_H
#define NODE_CORE_NOTICE_H

#include "base/buf.h"
#include "node/net/ip.h"

#include <stdbool.h>

#define NOTICE_WAITING_MAX 256
#define NOTICE_TURN_MAX 4 /* claimed in one tick of the cluster thread: 40 a second */

struct cluster;
struct notices;
struct session;

struct notices *notices_new(void);
void notices_free(struct notices *n);

/* The session's client was deferred: it has no PTR record, or (`forward`) it needs one that leads back, too.
 * `name` is what the reply speaks of. The worker's thread. */
void notice_reverse_dns(struct session *s, const char *name, bool forward, const char *reply);

/* The cluster thread, every 100 ms. */
void notice_tick(struct cluster *c);

/* The message. Pure. */
struct notice_mail {
    const char *from, *to, *message_id;
    const char *name, *account, *reply; /* "450 4.7.1 ..." */
    struct ip_addr client;
    bool forward;
    int64_t now_ms;
};
int notice_mail_put(const struct notice_mail *m, struct buf *out, uint32_t *header_bytes);

#endif
