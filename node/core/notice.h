/* Notices by mail. To tenants: one of their servers is deferred for its reverse DNS. It goes to the tenant's
 * contact, at most one a day for each server from the cluster as a whole, whichever nodes it meets. To senders: a
 * limit is reached, once for each limit in its window (an hour at least, a day at most).
 *
 * Workers say what they saw; the cluster thread claims the notice (COMMAND_NOTICE_CLAIM, _SENDER_NOTICE), and the worker that
 * saw it writes the mail. What waits is bounded: more is forgotten, and seen again soon.
 */
#ifndef NODE_CORE_NOTICE_H
#define NODE_CORE_NOTICE_H

#include "base/buf.h"
#include "base/span.h"
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

/* Mail of this account is over a limit. */
struct notice_over {
    struct span account, to; /* to: an address of the account's own */
    const char *limit;       /* its name */
    const char *words;       /* "Limit account-hour of this account reached (200 recipients per 1h)" */
    uint64_t window_ms;      /* the limit's */
    int64_t retry_ms;
    uint32_t held, recipients; /* so many of the recipients of one message are held; 0: all, or none is */
    uint8_t over; /* enum policy_over */
};
void notice_over_limit(struct session *s, const struct notice_over *o);

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
struct notice_over_mail {
    const char *from, *to, *message_id;
    const char *account, *limit, *words; /* as in struct notice_over */
    int64_t retry_ms, now_ms;
    uint32_t held, recipients; /* likewise */
    uint8_t over;
};
int notice_over_put(const struct notice_over_mail *m, struct buf *out, uint32_t *header_bytes);

#endif
