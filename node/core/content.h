/* One message's check of content, between the dot and its 250 (docs/content.md): a copy of the message as it
 * passes, the questions to the policy's servers and filters (node/content), one after the other, and what the policy
 * makes of what they say. The worker's thread, unless said otherwise; it never waits.
 *
 *     content_new --> content_head --> content_feed ... --> content_ask --> the verdict
 *
 * Bounded: CONTENT_BYTES_MAX of copies on a node, and the questions. Over a bound the message counts as one that
 * nobody answered for.
 *
 * Filters may change the header: where some are asked, it is kept back, and goes in front of the body in the spool
 * once they have spoken (content_header).
 */
#ifndef NODE_CORE_CONTENT_H
#define NODE_CORE_CONTENT_H

#include "node/content/checker.h"
#include "node/content/milter.h"
#include "node/core/worker.h"
#include "spool/envelope.h"

#include <stdatomic.h>

#define CONTENT_BYTES_MAX (128u << 20)
#define CONTENT_TEXT_MAX 300

/* Why there is no verdict, or what it is: also the metric's label, in this order. */
enum content_outcome {
    CONTENT_CLEAN,
    CONTENT_SPAM,
    CONTENT_REJECTED,
    CONTENT_SOFT,      /* come again */
    CONTENT_UNCHECKED, /* somebody did not answer */
    CONTENT_BUSY,      /* nobody was asked: over a bound of ours */
    CONTENT_TOO_LARGE,
    CONTENT_QUARANTINED
};

struct content {
    struct worker_msg msg; /* the answer of whoever was asked last */
    struct checker_job job;
    struct milter_job filter;
    struct milter_fields changing; /* the filter's */
    struct worker *w;
    struct policy *policy; /* held */
    struct buf copy, about, script, head;
    uint64_t charged, head_charged; /* of copy and script, and of head, among the node's bytes */
    size_t head_bytes;              /* of copy: the header */
    uint32_t asked;                 /* 0: nobody; 1: the servers; from 2 on: a filter */
    uint8_t class;
    bool filters, kept_back; /* some are for it; the header is in `head` and not in the spool */
    bool large, busy, away;
    bool unseen;    /* it is deferred because somebody did not answer */
    bool spam;      /* it counts in its sender's record */
    bool eight_bit; /* what filters added has octets over 127 */
    int64_t begun_ns;
    enum content_outcome outcome; /* once it is known: */
    enum policy_content_act act;  /* what is done */
    bool defer;                   /* the client is told to come again */
    char text[CONTENT_TEXT_MAX];  /* "reject 15.20/15.00 GTUBE": for events, and why it is held */
    char fields[160];             /* to stand in front of the message, of ADD_HEADER */
    uint16_t code;                /* the reply, if it is refused or deferred */
    char enhanced[12];
    char refusal[340];
    void (*done)(void *ctx);
    void *ctx;
};

/* NULL: mail of that class is not checked, or (-ENOMEM in *err) there is no memory. */
struct content *content_new(struct worker *w, struct policy *policy, uint8_t class, int *err);
/* The whole header, first. True: it is kept back, and the spool is not to have it yet. */
bool content_head(struct content *c, struct span header);
void content_feed(struct content *c, struct span bytes);
/* What filters are told of it; copied. Before content_ask, where the header was kept back. */
void content_describe(struct content *c, const struct milter_about *about, const struct envelope_rcpt *rcpts,
                      uint32_t n);
/* All was put. True: the verdict is there. False: `done` will be called. */
bool content_ask(struct content *c, const struct rspamd_about *about, void (*done)(void *ctx), void *ctx);
/* It is not deferred for want of somebody who looks at it. */
bool content_was_checked(const struct content *c);
/* A header that was kept back, as it goes on. */
struct span content_header(const struct content *c);
/* Also while it is away: then nothing is called any more. NULL is allowed. */
void content_free(struct content *c);

/* Fields of clients' that say what ours would: removed where mail is checked. */
#define CONTENT_FIELDS "X-Spam", "X-Spam-*"

struct node;
/* What there is to say of servers and filters, for people: of the one that is `i`th among the troubles. False: no
 * more. */
bool content_trouble(struct node *n, const struct policy *p, uint32_t i, char out[400]);

#endif
