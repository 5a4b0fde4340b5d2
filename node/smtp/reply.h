/* SMTP replies: those that we give, and those that we read (RFC 5321 section 4.2, RFC 3463). Pure. */
#ifndef NODE_SMTP_REPLY_H
#define NODE_SMTP_REPLY_H

#include "base/buf.h"
#include "base/span.h"

#include <stdint.h>

/* A reply of ours. Text of several lines has '\n' between them. Never holds CR. */
struct smtp_reply {
    uint16_t code;        /* 0: none */
    const char *enhanced; /* "5.7.1", or NULL where none belongs (RFC 2034: not with 3xx, the greeting, EHLO) */
    const char *text;
};

int smtp_reply_put(struct buf *out, const struct smtp_reply *reply);

#define SMTP_REPLY_TEXT_MAX 512

/* A reply that was read, kept: lines joined with a blank, control characters replaced, cut at the maximum. */
struct smtp_reply_text {
    uint16_t code;       /* 0: none was read */
    uint8_t enhanced[3]; /* 0.0.0: none */
    uint16_t len;
    char text[SMTP_REPLY_TEXT_MAX]; /* without code and enhanced code; NUL-terminated */
};

/* "451 4.7.1 text" for logs and the spool. */
int smtp_reply_text_put(struct buf *out, const struct smtp_reply_text *r);

#endif
