/* The Received field that we put before a message (RFC 5321 section 4.4, RFC 3848, RFC 6531 section 4.3).
 * Pure. */
#ifndef NODE_MAIL_RECEIVED_H
#define NODE_MAIL_RECEIVED_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct mail_received {
    struct span helo, client_name, client_ip; /* client_name empty: "unknown" */
    struct span tls;                          /* "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384", or empty */
    struct span by;                           /* our name */
    struct span protocol;                     /* mail_protocol's */
    struct span id;                           /* queue id */
    struct span rcpt;                         /* of a single recipient, else empty: nobody learns of others */
    int64_t wall_ms;
    bool hide_client; /* nothing of the client's address, name or HELO */
};

/* The "with" keyword: ESMTPSA, UTF8SMTPS and the like. */
const char *mail_protocol(bool esmtp, bool tls, bool auth, bool smtputf8);

/* Appends the field, folded, with CRLF at its end. What does not belong into a header becomes '?'. */
int mail_received_put(const struct mail_received *r, struct buf *out);

#endif
