/* A TLS report as a message (RFC 8460 section 5.3). Pure. */
#ifndef NODE_CORE_TLSRPT_MAIL_H
#define NODE_CORE_TLSRPT_MAIL_H

#include "base/buf.h"
#include "base/span.h"

#include <stdint.h>

struct tlsrpt_mail {
    const char *from, *to, *message_id, *submitter, *domain, *report_id;
    int64_t day, now_ms;
    struct span json;
};

/* Appends the report as a gzip file. 0 or an error. */
int tlsrpt_gzip(struct span json, struct buf *out);
/* Appends the whole message, the report compressed in it. 0, or an error; header_bytes is of its header. */
int tlsrpt_mail_put(const struct tlsrpt_mail *m, struct buf *out, uint32_t *header_bytes);

#endif
