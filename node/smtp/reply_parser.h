/* Reads a server's replies from a stream of bytes (RFC 5321 section 4.2). Pure, no memory beyond the
 * structure.
 *
 * Tolerant where that is safe: a line may end with LF alone, text may be missing, lines of one reply may
 * differ in code (the last counts), control characters become '?'. Strict where guessing loses mail: a line
 * that does not start with a code of 200 to 599 and then a blank, '-' or the line's end is an error, since
 * with pipelined commands skipping it could match a reply with the wrong command.
 */
#ifndef NODE_SMTP_REPLY_PARSER_H
#define NODE_SMTP_REPLY_PARSER_H

#include "base/span.h"
#include "node/smtp/reply.h"

#include <stdbool.h>
#include <stdint.h>

#define SMTP_REPLY_LINE_MAX                                                                                  \
    1024 /* what is kept of a line; RFC 5321 4.5.3.1.5 allows 512. The rest is skipped */
#define SMTP_REPLY_BYTES_MAX 65536 /* of one reply with all its lines; over it: BAD */

enum smtp_reply_event {
    SMTP_REPLY_MORE, /* took all bytes, no line is complete */
    SMTP_REPLY_LINE, /* a line that others follow: see `text` */
    SMTP_REPLY_DONE, /* the last line: see `text` and `reply` */
    SMTP_REPLY_BAD,  /* not SMTP, or too long: see `why`, and `reply.text` for what it was */
};

struct smtp_reply_parser {
    struct smtp_reply_text reply; /* complete after DONE, until the next feed */
    struct span text; /* of the line after LINE and DONE: raw, without code; until the next feed */
    const char *why;
    uint32_t bytes; /* of the present reply so far */
    uint32_t lines;
    uint16_t line_len;
    char line[SMTP_REPLY_LINE_MAX];
};

void smtp_reply_parser_init(struct smtp_reply_parser *r);

/* Takes bytes up to the end of the first line that they complete; *used tells how many. After BAD the stream
 * is of no further use. */
enum smtp_reply_event smtp_reply_parser_feed(struct smtp_reply_parser *r, const char *p, size_t n,
                                             size_t *used);

/* Has part of a reply. */
static inline bool smtp_reply_parser_partial(const struct smtp_reply_parser *r)
{
    return r->bytes > 0;
}

/* "5.1.1" at the start of s: 0 and the digits, or the length that it takes, with the blanks after it. */
size_t smtp_enhanced_parse(struct span s, uint8_t out[3]);

/* Appends s to the reply's text: control characters and what is not UTF-8 as '?', cut at a character's end.
 */
void smtp_reply_text_add(struct smtp_reply_text *r, struct span s);

/* Copies what is in use, not the whole array. */
void smtp_reply_text_copy(struct smtp_reply_text *to, const struct smtp_reply_text *from);

#endif
