/* What commands on queued and on held mail share: a selection of messages by options and queue ids, the
 * question before what cannot be taken back, one message's fields. */
#ifndef CLI_ACT_H
#define CLI_ACT_H

#include "cli/client.h"

struct act_option {
    const char *option, *param; /* of the command line, of the API */
};

struct act {
    const char *path, *verb, *past;
    const char *what; /* it is done to, for the question: "held message(s)" */
    bool asks;        /* before a selection; it cannot be taken back */
    /* Fills the request. 0, or an exit code after saying what is wrong. */
    int (*body)(struct cli *c, json_t *body);
    /* Says what came of it; the exit code. */
    int (*result)(struct cli *c, const struct act *a, const json_t *reply);
};

/* The queue ids among the arguments, if there are any. */
void act_query_ids(struct cli *c, struct client_query *q);
/* The options that are given and the queue ids. Returns whether there were any. */
bool act_put_selection(struct cli *c, const struct act_option *options, size_t n, json_t *body);
/* Asks where the act asks, and does it, or counts under --dry-run. The exit code. */
int act_run(struct cli *c, const struct act *a);

/* Plain enough to be one segment of a path: at most 32 letters and digits, or none. */
bool act_plain_id(const char *id);
/* A line of one message, escaped; nothing without a value. */
void act_put_field(const char *name, const char *value);

#endif
