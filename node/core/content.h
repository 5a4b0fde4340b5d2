/* One message's check of content, between the dot and its 250 (docs/content.md): a copy of the message as it
 * passes, the question to the policy's servers (node/content), and what the policy makes of the verdict. The
 * worker's thread, unless said otherwise; it never waits.
 *
 *     content_new --> content_feed ... --> content_ask --> the verdict
 *
 * Bounded: CONTENT_BYTES_MAX of copies on a node, and the checker's questions. Over a bound the message
 * counts as one that no server answered for.
 */
#ifndef NODE_CORE_CONTENT_H
#define NODE_CORE_CONTENT_H

#include "node/content/checker.h"
#include "node/core/worker.h"

#include <stdatomic.h>

#define CONTENT_BYTES_MAX (128u << 20)
#define CONTENT_TEXT_MAX 300

/* Why there is no verdict, or what it is: also the metric's label, in this order. */
enum content_outcome {
    CONTENT_CLEAN,
    CONTENT_SPAM,
    CONTENT_REJECTED,
    CONTENT_SOFT,      /* come again */
    CONTENT_UNCHECKED, /* no server answered */
    CONTENT_BUSY,      /* nobody was asked: over a bound of ours */
    CONTENT_TOO_LARGE
};

struct content {
    struct worker_msg msg; /* the checker's answer */
    struct checker_job job;
    struct worker *w;
    struct policy *policy; /* held */
    struct buf copy, about;
    uint64_t charged; /* of copy, among the node's bytes */
    bool large, busy, away;
    int64_t begun_ns;
    enum content_outcome outcome; /* once it is known: */
    enum policy_content_act act;  /* what is done */
    bool defer;                   /* the client is told to come again */
    char text[CONTENT_TEXT_MAX];  /* "reject 15.20/15.00 GTUBE": for events, and why it is held */
    char fields[160];             /* to stand in front of the message, of ADD_HEADER */
    char refusal[200];            /* the reply's words */
    void (*done)(void *ctx);
    void *ctx;
};

/* NULL: mail of that class is not checked, or (-ENOMEM in *err) there is no memory. */
struct content *content_new(struct worker *w, struct policy *policy, uint8_t class, int *err);
void content_feed(struct content *c, struct span bytes);
/* All was put. True: the verdict is there. False: `done` will be called. */
bool content_ask(struct content *c, const struct rspamd_about *about, void (*done)(void *ctx), void *ctx);
/* A server has said what it is. */
bool content_was_checked(const struct content *c);
/* The content check took it for spam: it counts in its sender's record. */
bool content_is_spam(const struct content *c);
/* Also while it is away: then nothing is called any more. NULL is allowed. */
void content_free(struct content *c);

/* Fields of clients' that say what ours would: removed where mail is checked. */
#define CONTENT_FIELDS "X-Spam", "X-Spam-*"

struct node;
/* What there is to say of the servers, for people: of the one that is `i`th among the troubles. False: no
 * more. */
bool content_trouble(struct node *n, const struct policy *p, uint32_t i, char out[400]);

#endif
