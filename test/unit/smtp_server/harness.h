/* A shell around the server machine for tests: keeps unread input, answers what is wanted, and remembers the
 * replies and the messages. No sockets. Used by the unit tests and the fuzzer.
 */
#ifndef TEST_SMTP_SERVER_HARNESS_H
#define TEST_SMTP_SERVER_HARNESS_H

#include "node/smtp/server.h"

#define HARNESS_MESSAGES 64

struct harness_message {
    struct buf from, rcpts, body; /* rcpts: joined with ',' */
};

struct harness;

/* The answer to a want: NULL for yes. For CONTENT see harness.content. */
typedef const struct smtp_reply *harness_answer_fn(void *ctx, enum smtp_server_want want, uint64_t offset);

struct harness {
    struct smtp_server *s;
    struct buf reply;
    struct buf unread;
    struct buf all_rcpts, body; /* of the message in hand */
    uint64_t offset;            /* octets of the stream consumed or dropped */
    uint32_t commits, aborts, messages;
    struct harness_message kept[HARNESS_MESSAGES];
    bool closed, tls_fails;
    bool transaction_open; /* as the shell believes it */
    harness_answer_fn *answer;
    harness_answer_fn *content; /* asked after each step that gave spans: a refusal of the content, or NULL */
    void *ctx;
};

void harness_init(struct harness *h, const struct smtp_server_config *config);
void harness_fini(struct harness *h);
/* The client sends. */
void harness_feed(struct harness *h, const char *p, size_t n);
void harness_feed_str(struct harness *h, const char *s);

/* What every session must hold to, whatever the input: spans clean, replies well formed. Aborts if not. */
void harness_check_replies(const struct harness *h);

#endif
