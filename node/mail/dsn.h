/* Delivery reports: which one is due (RFC 3461), and its text (RFC 3464, 6522, 6533). Pure: what is built is
 * taken in blocks, the original's content is given in blocks.
 */
#ifndef NODE_MAIL_DSN_H
#define NODE_MAIL_DSN_H

#include "base/buf.h"
#include "base/span.h"
#include "spool/envelope.h"

#include <stdbool.h>
#include <stdint.h>

enum mail_dsn_action { /* RFC 3464 section 2.3.3 */
                       MAIL_DSN_FAILED,
                       MAIL_DSN_DELAYED,
                       MAIL_DSN_DELIVERED,
                       MAIL_DSN_RELAYED,
                       MAIL_DSN_EXPANDED,
};

/* ---- is one due?
 * ------------------------------------------------------------------------------------------------ */

enum mail_dsn_event {
    MAIL_DSN_EVENT_ACCEPTED, /* by the next hop */
    MAIL_DSN_EVENT_FINAL,    /* delivered here for good: no hop follows */
    MAIL_DSN_EVENT_FAILED,   /* for good, or bounced by an operator */
    MAIL_DSN_EVENT_EXPIRED,
    MAIL_DSN_EVENT_DELAYED, /* still queued, and the notice is due */
    MAIL_DSN_EVENT_DELETED, /* by an operator, without a word */
};

struct mail_dsn_case {
    enum mail_dsn_event event;
    uint8_t notify;    /* enum envelope_notify bits */
    uint8_t ret;       /* enum envelope_ret */
    bool null_sender;  /* MAIL FROM:<> */
    bool is_report;    /* ENVELOPE_DSN */
    bool next_hop_dsn; /* ACCEPTED: it announced DSN, so the request went on */
    bool default_full; /* without RET: the whole message, not the header */
};

struct mail_dsn_decision {
    bool report;
    enum mail_dsn_action action; /* when there is a report */
    bool full;                   /* return the whole message */
    uint8_t state;               /* enum rcpt_state that the event leads to */
};

struct mail_dsn_decision mail_dsn_due(const struct mail_dsn_case *c);

/* ---- its text
 * --------------------------------------------------------------------------------------------------- */

struct mail_dsn_rcpt {
    struct span address;
    struct span orcpt; /* "type;address", or empty */
    enum mail_dsn_action action;
    uint8_t status[3];
    struct span diagnostic;  /* the reply, "550 5.1.1 text", or our own words */
    bool diagnostic_local;   /* our own words: no Diagnostic-Code of type smtp */
    struct span remote_mta;  /* host name, or empty */
    int64_t last_attempt_ms; /* 0: unknown */
    int64_t retry_until_ms;  /* DELAYED: when we give up; else 0 */
};

struct mail_dsn {
    const struct envelope *original;
    const struct mail_dsn_rcpt *rcpts;
    uint32_t nrcpts;           /* at least 1 */
    struct span queue_id;      /* of the original, as people see it; empty: not told */
    struct span reporting_mta; /* our name */
    struct span message_id;    /* of the report, with < > */
    struct span postmaster;    /* whom the reader may ask; empty: nobody is named */
    int64_t wall_ms;
    bool full; /* the whole content, unless it is over full_max_bytes or nothing has failed */
    uint64_t full_max_bytes;
    uint64_t nonce; /* random: the original's author must not know the boundary */
};

/* The next block of the original's content, valid until the next call; *n 0 at the end. As spool_reader_next.
 */
typedef int mail_dsn_read_fn(void *ctx, const char **p, size_t *n);

enum mail_dsn_phase {
    MAIL_DSN_HEAD,
    MAIL_DSN_RCPTS,
    MAIL_DSN_ORIGINAL,
    MAIL_DSN_CONTENT,
    MAIL_DSN_TAIL,
    MAIL_DSN_END
};

#define MAIL_DSN_BASE64_LINE 57 /* bytes that make a line of 76 */

/* What is not a whole line yet. */
struct mail_dsn_base64 {
    unsigned char line[MAIL_DSN_BASE64_LINE];
    size_t n;
};

struct mail_dsn_builder {
    const struct mail_dsn *dsn;
    mail_dsn_read_fn *read;
    void *read_ctx;
    enum mail_dsn_phase phase;
    uint32_t rcpt;
    uint64_t left;     /* of the content */
    struct span block; /* what was read of it, and is not written yet */
    struct mail_dsn_base64 base64;
    bool utf8;   /* RFC 6533's types, 8-bit; else everything of our own is ASCII */
    bool quoted; /* not utf8, but the text for people has other characters */
    bool full;
};

/* `dsn` and what it points to must live until the end. `read` may be NULL: then no content is returned. */
void mail_dsn_start(struct mail_dsn_builder *b, const struct mail_dsn *dsn, mail_dsn_read_fn *read,
                    void *read_ctx);

/* Appends the next part: at most 32 KiB of our own, or one block of the content. Returns 1 when more follows,
 * 0 at the end, or an error of the reader or of `out`. */
int mail_dsn_next(struct mail_dsn_builder *b, struct buf *out);

/* The report needs SMTPUTF8, as the address that it goes to does; it has the types of RFC 6533 then. To an
 * address in ASCII it can go through servers that know nothing of SMTPUTF8, often the very ones that made the
 * report necessary: UTF-8 is then in encoded parts only. */
bool mail_dsn_is_utf8(const struct mail_dsn *dsn);
/* It has octets over 127: BODY=8BITMIME. With an address in ASCII only where the original, no message in
 * UTF-8 itself, has them. */
bool mail_dsn_is_8bit(const struct mail_dsn *dsn);

const char *mail_dsn_action_name(enum mail_dsn_action action);

#endif
