/* Asks servers about the content of messages, by HTTP: one thread with libcurl, many questions at a time, so
 * that no worker waits for a server.
 *
 * Servers are taken in turn, but for those that rest (servers.h). A question that a server does not answer goes
 * to the next one, until its time is over; the time is shared among those that are left. When all rest, or all
 * have failed, the answer is that there is none: at once, and at the latest when its time is over.
 */
#ifndef NODE_CONTENT_CHECKER_H
#define NODE_CONTENT_CHECKER_H

#include "base/list.h"
#include "node/content/rspamd.h"
#include "node/content/servers.h"
#include "node/policy/policy.h"

#define CHECKER_WAITING_MAX 4096 /* questions that wait for their turn */

struct checker;
struct http_call;

/* 0, -ENOMEM or a system's error. */
int checker_start(struct checker **out);
/* What is under way and what waits is answered: no answer. Then frees. NULL is harmless. */
void checker_stop(struct checker *c);

enum checker_result {
    CHECKER_ANSWERED,
    CHECKER_NO_ANSWER, /* `why` */
};

/* A question. The caller's memory, and the checker's from checker_ask until `done` is called. */
struct checker_job {
    struct list link;
    const struct policy_content *conf; /* these stay as they are until then: */
    struct span about;                 /* rspamd_put_about's */
    struct span content;
    void (*done)(struct checker_job *job); /* on the checker's thread */
    /* the answer */
    enum checker_result result;
    struct rspamd_answer answer;
    char why[200];
    /* the checker's own */
    struct checker *checker;
    struct http_call *call;
    const char *url; /* of the server that is asked; one of conf's */
    int64_t until_ms;
    uint32_t tried; /* bits of conf's servers */
};
/* ERR_LIMIT: too many wait; the job is the caller's. Any thread. */
int checker_ask(struct checker *c, struct checker_job *job);

/* What is known of a server. Any thread. */
void checker_server(struct checker *c, const char *url, struct server_told *out);

struct checker_stats {
    uint32_t running, waiting;
};
void checker_stats(struct checker *c, struct checker_stats *out);

#endif
