/* Names of web senders, as the cluster lets them be: docs/web-senders.md, consensus/directory_web.c. A worker
 * asks whether a name may be charged; what the cluster knows is answered at once, what it does not know waits
 * until it is claimed. Names go on long before they end, in passing.
 *
 * Bounded: so many wait, and a host that has as many names as it may is not asked about again for a while.
 */
#ifndef NODE_CORE_WEB_CLAIM_H
#define NODE_CORE_WEB_CLAIM_H

#include "base/span.h"
#include "consensus/command.h"
#include "node/core/worker.h"

#include <stdbool.h>
#include <stdint.h>

#define WEB_CLAIMS_WAITING_MAX 4096
#define WEB_CLAIM_MS 10000       /* a message waits so long */
#define WEB_CLAIM_FULL_MS 10000  /* so long further names of a host are not asked for that has no room */
#define WEB_CLAIM_TELL_MS 600000 /* the event log has a line about it not more often */

struct cluster;
struct policy_web;
struct web_claims;

enum web_answer {
    WEB_YES,
    WEB_FULL, /* there are too many: of the host, or in all */
    WEB_BUSY, /* the cluster does not answer */
    WEB_WAIT, /* `answered` follows on the worker, unless it is forgotten before */
};
/* One who waits. On the heap: the claims' from WEB_WAIT on. */
struct web_claim {
    struct worker_msg msg;
    struct list link;
    struct web_claims *claims;
    struct worker *w;
    int64_t until_ms;
    enum web_answer answer;
    bool tell; /* of FULL: it is news */
    char name[COMMAND_NAME_MAX + 1], words[256];
    struct command_web_claim bounds; /* but for the name */
    void (*answered)(void *ctx, enum web_answer answer);
    void *ctx; /* the worker's; NULL: nobody waits (any more) */
};

/* NULL: no memory. */
struct web_claims *web_claims_new(void);
/* No worker runs any more. */
void web_claims_free(struct web_claims *c);

/* May this name be charged? The worker's thread. */
enum web_answer web_claim(struct cluster *c, struct span name, const struct policy_web *policy,
                          struct worker *w, void (*answered)(void *ctx, enum web_answer answer), void *ctx,
                          struct web_claim **out);
/* Who waited does not any more. The worker's thread. */
void web_claim_forget(struct web_claim *w);

/* The cluster thread, every 20 ms. */
void web_claims_tick(struct cluster *c, int64_t now_ms);
/* This node is no member any more: whoever waits is answered. */
void web_claims_end(struct cluster *c);

#endif
