/* Addresses that bulk mail is not sent to any more: refused at RCPT, by the list that all nodes have; and
 * added when a next hop, or a bounce that comes later, says that there is no such address (docs/bounces.md).
 *
 * What is to be added waits in a bounded queue for the cluster thread, which proposes some of it at a time, until
 * the cluster has answered: what does not fit is forgotten, and bounces again when it is sent to again.
 */
#ifndef NODE_CORE_SUPPRESS_H
#define NODE_CORE_SUPPRESS_H

#include "node/bounce/class.h"
#include "node/core/attempt.h"
#include "node/core/charge.h"

#define SUPPRESS_WAITING_MAX 4096
#define SUPPRESS_TURN_MAX 16 /* proposed in one tick of the cluster thread: 160 a second */

struct cluster;
struct suppress;

struct suppress *suppress_new(void);
void suppress_free(struct suppress *sp);

/* RCPT: is this one on the list of the session's tenant? True: `out` is the reply. The worker's thread. */
bool suppress_refuses(struct session *s, struct span rcpt, struct charge_reply *out);

/* A recipient of the attempt was refused for good, with this reply. The worker's thread. */
void suppress_result(struct worker *w, const struct attempt *a, uint32_t i, const struct bounce_reply *reply,
                     enum bounce_class why);

/* Whose mail to this address bounced; ignored where the policy does not suppress for this class. Any thread.
 */
struct suppress_bounce {
    struct span tenant, address;
    uint8_t class; /* of the mail: enum envelope_class */
    enum bounce_class why;
    struct span text;
};
void suppress_bounced(struct cluster *c, const struct suppress_bounce *b);

/* The cluster thread: an entry came or went; and every 100 ms. */
void suppress_changed(struct cluster *c);
void suppress_tick(struct cluster *c);

#endif
