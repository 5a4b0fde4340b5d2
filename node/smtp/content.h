/* Reads message content as it passes: finds its end, takes dots off, and refuses what could be read in two
 * ways (SMTP smuggling: CVE-2023-51764 and its kin). Pure; one per transaction.
 *
 * The end is CR LF "." CR LF and nothing else. A bare CR or a NUL is never let through; a bare LF neither, or
 * with `normalise` it becomes CRLF, but a line that began after one never is the end.
 */
#ifndef NODE_SMTP_CONTENT_H
#define NODE_SMTP_CONTENT_H

#include "node/smtp/server.h"

/* Where the next octet stands. What the states after START hold back is not in a span yet.
 *
 *             '.'            CR            LF
 *     START ------> DOT ----------> DOT_CR ----> end of content
 *       | ^          | other (the dot is dropped)
 *       | |LF        v
 *       | +---- CR <---- MID <--+
 *       +---other--------^------+
 */
enum smtp_content_at {
    SMTP_CONTENT_START,
    SMTP_CONTENT_MID,
    SMTP_CONTENT_CR,
    SMTP_CONTENT_DOT,
    SMTP_CONTENT_DOT_CR,
};

enum smtp_content_verdict {
    SMTP_CONTENT_MORE,    /* all octets were taken, or the spans are full */
    SMTP_CONTENT_END,     /* the dot (never with `dots` false) */
    SMTP_CONTENT_BARE_CR, /* these three: nothing after it may be believed */
    SMTP_CONTENT_BARE_LF,
    SMTP_CONTENT_NUL,
};

struct smtp_content_limits { /* 0: none */
    uint64_t bytes;
    uint32_t line_bytes, header_lines;
};

struct smtp_content {
    uint8_t at;      /* enum smtp_content_at */
    bool dots;       /* DATA: dots are stuffed and end it; BDAT: a dot is a dot */
    bool normalise;  /* bare LF becomes CRLF */
    bool after_crlf; /* the line in hand began after a true CRLF */
    bool in_header;
    uint32_t header_lines;
    uint64_t line_bytes;                          /* of the line in hand, without CRLF */
    uint64_t bytes;                               /* given out in spans */
    bool too_big, line_too_long, header_too_long; /* a limit was passed: reading goes on */
};

void smtp_content_init(struct smtp_content *c, bool dots, bool normalise);

/* Takes octets until a verdict, and appends what is content to out->spans; *used gets how many. With END the
 * terminator is among them. After a verdict over END the spans are emptied. */
enum smtp_content_verdict smtp_content_read(struct smtp_content *c, const struct smtp_content_limits *limits,
                                            const char *p, size_t n, struct smtp_server_result *out,
                                            size_t *used);

/* The last BDAT chunk was read: MORE, or BARE_CR. Ends an unfinished line with CRLF. Needs a free span. */
enum smtp_content_verdict smtp_content_finish(struct smtp_content *c, struct smtp_server_result *out);

#endif
