/* The header of a message while it streams in: held until it is complete, looked at, then written anew.
 *
 * Only the header is held, up to a limit; the body never comes here. Content is taken as lines that end with
 * CRLF (LF alone is understood). What is no header line ends the header, as in Postfix: then an empty line is
 * put between, and the line begins the body. Pure.
 */
#ifndef NODE_MAIL_HEADER_H
#define NODE_MAIL_HEADER_H

#include "base/buf.h"
#include "base/span.h"
#include "node/mail/address.h"

#include <stdbool.h>
#include <stdint.h>

#define MAIL_HEADER_BYTES 262144     /* default limit */
#define MAIL_HEADER_RECEIVED_MAX 100 /* RFC 5321 section 6.3: a loop is assumed above it */

enum mail_header_result {
    MAIL_HEADER_MORE, /* took everything */
    MAIL_HEADER_DONE, /* the header is complete; the body begins with mail_header_rest, then what was not used
                       */
    MAIL_HEADER_TOO_LONG, /* 552 5.3.4 */
    MAIL_HEADER_LOOP,     /* 554 5.4.6 */
    MAIL_HEADER_NO_MEMORY,
};

/* What was found; complete after DONE. Values are raw: without the name, folded as they came, without the
 * line's end. Of a field that comes several times the first is kept. */
struct mail_header_info {
    uint32_t received;
    uint32_t from_fields;
    bool has_date, has_message_id;
    bool has_bcc;           /* or Resent-Bcc */
    bool eight_bit;         /* an octet over 127: not sendable without SMTPUTF8 or luck */
    bool tls_not_required;  /* "TLS-Required: No", once (RFC 8689 section 5) */
    bool cut;               /* ended by a line that is no header line */
    struct span message_id; /* "<...>" without what stands around it; empty when there is none */
    struct span from, sender, subject;
};

struct mail_header {
    struct buf block; /* complete lines, then of the present one what there is */
    size_t line;      /* where the present line begins */
    size_t end;       /* after DONE: where the header ends; from here to block.len is body */
    size_t max_bytes;
    bool done;
    struct mail_header_info info;
};

/* 0: the default. Memory comes with the first feed. */
void mail_header_init(struct mail_header *h, size_t max_bytes);
void mail_header_fini(struct mail_header *h);
/* For the next message. */
void mail_header_reset(struct mail_header *h);

/* Takes content; *used tells how much of it (all, unless DONE). Not after another result than MORE. */
enum mail_header_result mail_header_feed(struct mail_header *h, const char *p, size_t n, size_t *used);
/* The content ended within the header. */
enum mail_header_result mail_header_end(struct mail_header *h);

const struct mail_header_info *mail_header_info(const struct mail_header *h);
/* The first bytes of the body, which had to be read to know that they are. */
struct span mail_header_rest(const struct mail_header *h);

/* One field after DONE: start with *at = 0; false at the end. `whole` has its lines and line ends. */
struct mail_header_field {
    struct span name, value, whole;
};
bool mail_header_next(const struct mail_header *h, size_t *at, struct mail_header_field *f);

/* The mailboxes of every field of this name; as mail_address_each. */
int mail_header_addresses(const struct mail_header *h, struct span name, mail_address_fn *fn, void *ctx);

#endif
