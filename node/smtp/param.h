/* The arguments of MAIL and RCPT: a path and parameters (RFC 5321 section 4.1.1.11, 1870, 3461, 4954, 6152,
 * 6531, 8689). Pure.
 *
 * Both parse in place: the results' spans point into `args`, whose bytes are overwritten by what they decode
 * to. They return NULL, or the reply that the client deserves.
 */
#ifndef NODE_SMTP_PARAM_H
#define NODE_SMTP_PARAM_H

#include "node/smtp/server.h"

struct smtp_param_offer { /* what EHLO announced, and so what may be used */
    bool smtputf8, auth, requiretls;
    bool allow_unqualified;
    uint64_t max_message_bytes; /* 0: no limit */
};

/* After "MAIL ": "FROM:<path> KEY=VALUE ..." */
const struct smtp_reply *smtp_param_mail(char *args, size_t n, const struct smtp_param_offer *offer,
                                         struct smtp_server_mail *out);
/* After "RCPT ": "TO:<path> KEY=VALUE ..." */
const struct smtp_reply *smtp_param_rcpt(char *args, size_t n, const struct smtp_param_offer *offer,
                                         bool smtputf8, struct smtp_server_rcpt *out);

#endif
