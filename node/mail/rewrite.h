/* Writes a message's header anew: our Received in front, what is missing added, what must not leave removed.
 * Pure. */
#ifndef NODE_MAIL_REWRITE_H
#define NODE_MAIL_REWRITE_H

#include "base/buf.h"
#include "node/mail/header.h"
#include "node/mail/received.h"

enum mail_rule_kind {
    MAIL_RULE_ADD,    /* after the fields that are there */
    MAIL_RULE_REMOVE, /* every field of the name; "X-Local-*" means all that begin so */
};

struct mail_rule {
    enum mail_rule_kind kind;
    struct span name, value;
};

struct mail_rewrite {
    const struct mail_received *received; /* NULL: none */
    bool remove_bcc;                      /* Bcc and Resent-Bcc (submission) */
    bool add_date;                        /* if there is none (RFC 6409 section 8.1) */
    struct span message_id;               /* "<...>" to add if there is none (section 8.2); empty: don't */
    int64_t wall_ms;                      /* for Date */
    uint32_t nrules;
    const struct mail_rule *rules; /* removals concern what arrived, not what is added here */
};

/* A name that a field may have, and for ADD a value of one line; ERR_BAD. For checking configuration. */
int mail_rule_check(const struct mail_rule *rule);

/* Appends the header with the empty line after it; ERR_LIMIT if `out` is too small, ERR_BAD for a bad rule.
 * Needs a complete header. */
int mail_rewrite(const struct mail_header *h, const struct mail_rewrite *rw, struct buf *out);

#endif
