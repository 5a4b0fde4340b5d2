/* Asks filters about the content of messages, by the milter protocol (milter_session.h): one thread, many
 * connections, so that no worker waits for a filter.
 *
 * A filter has at most as many connections as messages may be looked at at a time; further messages wait for
 * their turn. Connections are kept for the next message where the filter can do that. A filter that fails rests
 * (servers.h); it may say that it needs longer, which gives it its time again, up to MILTER_PROGRESS_TIMES.
 */
#ifndef NODE_CONTENT_MILTER_H
#define NODE_CONTENT_MILTER_H

#include "base/inbox.h"
#include "node/content/milter_session.h"
#include "node/content/servers.h"
#include "node/policy/policy.h"

#define MILTER_WAITING_MAX 4096  /* messages that wait for their turn */
#define MILTER_PROGRESS_TIMES 10 /* of its time, from the beginning, is what a filter may take in all */
#define MILTER_IDLE_MS 30000     /* after that long without a message a connection is closed */

struct milters;

/* 0, -ENOMEM or a system's error. */
int milters_start(struct milters **out);
/* What is under way and what waits is answered: no answer. Then frees. Nobody asks any more. NULL is harmless. */
void milters_stop(struct milters *m);

/* A message for one filter. The caller's memory, and the filters' from milters_ask until `done` is called. */
struct milter_job {
    struct inbox_msg msg;
    const struct policy_milter *conf; /* these stay as they are until then: */
    uint32_t checks;                  /* at a time, with this filter */
    struct milter_message message;    /* its fields are the filters' to change */
    void (*done)(struct milter_job *job); /* on the filters' thread */
    /* the answer */
    bool answered; /* else `why` */
    struct milter_answer answer;
    char why[200];
    /* the filters' own */
    struct list link;
    int64_t until_ms, most_ms;
    bool fresh; /* not on a connection that was used before */
};
/* ERR_LIMIT: too many wait; the job is the caller's. Any thread. */
int milters_ask(struct milters *m, struct milter_job *job);

/* What is known of the filter at that socket. Any thread. */
void milters_tell(struct milters *m, const char *socket, struct server_told *out);
/* Any thread. */
void milters_stats(struct milters *m, uint32_t *running, uint32_t *waiting);

#endif
