/* One thread with one connection to Dovecot's auth socket, on which many checks are under way at a time.
 *
 * Bounded: at most `max` checks wait or are under way; each is answered within the time-out. While the socket
 * can't be reached checks are answered at once, and connecting is tried again no more than once a second. A
 * check that was under way when the connection broke is sent once more on the next one.
 */
#ifndef NODE_AUTH_DOVECOT_LINK_H
#define NODE_AUTH_DOVECOT_LINK_H

#include "base/list.h"
#include "node/auth/accounts.h"
#include "node/auth/dovecot.h"

#define DOVECOT_UNDER_WAY_MAX 1024

/* A check; embed it. */
struct dovecot_check {
    struct list link;
    int64_t deadline_ms;
    uint32_t id;
    bool again; /* was sent before */
    const char *user, *password;
    char client[48]; /* address or "" */
};

/* On the link's thread; the check is the receiver's again. */
typedef void dovecot_link_fn(void *ctx, struct dovecot_check *check, enum dovecot_event result,
                             struct span user);

struct dovecot_link_config {
    const char *socket;
    const char *service;
    int64_t timeout_ms;
    uint32_t max;
    dovecot_link_fn *fn;
    void *ctx;
};

struct dovecot_link;

int dovecot_link_start(const struct dovecot_link_config *config, struct dovecot_link **out);
/* Answers all that wait with DOVECOT_TEMP and joins the thread. */
void dovecot_link_stop(struct dovecot_link *l);
/* Any thread. Takes the check; ERR_LIMIT when `max` are waiting. */
int dovecot_link_check(struct dovecot_link *l, struct dovecot_check *check);

#endif
