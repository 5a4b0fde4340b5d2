/* What dsn.c and dsn_text.c share. Nobody else includes it. */
#ifndef NODE_MAIL_DSN_IMPL_H
#define NODE_MAIL_DSN_IMPL_H

#include "node/mail/dsn.h"

/* Text from elsewhere as one line, cut at 900 bytes (RFC 5322 section 2.1.1): control characters, and what is
 * not UTF-8 (not ASCII when !utf8), become
 * '?'. */
void mail_dsn_put_plain(struct buf *out, struct span s, bool utf8);
/* The same, broken at blanks into lines of at most 76 where it can be, each further one begun with `indent`.
 */
void mail_dsn_put_folded(struct buf *out, struct span s, bool utf8, size_t column, const char *indent);

bool mail_dsn_has(const struct mail_dsn *d, enum mail_dsn_action action);
const char *mail_dsn_subject(const struct mail_dsn *d);

/* The part for people: what happened, in general, and per recipient. */
void mail_dsn_put_intro(struct buf *out, const struct mail_dsn *d, bool utf8);
void mail_dsn_put_person(struct buf *out, const struct mail_dsn_rcpt *r, bool utf8);

/* The fields of RFC 3464 section 2.2 and 2.3, each group with the empty line before it. */
void mail_dsn_put_message_fields(struct buf *out, const struct mail_dsn *d, bool utf8);
void mail_dsn_put_rcpt_fields(struct buf *out, const struct mail_dsn_rcpt *r, bool utf8);

#endif
