/* What dsn.c, dsn_encode.c and dsn_text.c share. Nobody else includes it. */
#ifndef NODE_MAIL_DSN_IMPL_H
#define NODE_MAIL_DSN_IMPL_H

#include "node/mail/dsn.h"

/* What becomes of a character outside ASCII. One that cannot be shown (control characters, what is not UTF-8)
 * becomes '?' in every form. */
enum mail_dsn_form {
    MAIL_DSN_ASCII,   /* '?' */
    MAIL_DSN_UTF8,    /* as it is */
    MAIL_DSN_ESCAPED, /* "\x{FC}", in text */
    MAIL_DSN_XTEXT,   /* the same in an address, with its special characters: RFC 6533 section 3 */
};

/* Not ASCII, and valid UTF-8. */
bool mail_dsn_text_utf8(struct span s);
/* A character of it outside ASCII can be shown. */
bool mail_dsn_text_shows_utf8(struct span s);

/* Text from elsewhere as one line, cut where it would take over 900 bytes (RFC 5322 section 2.1.1). */
void mail_dsn_put_plain(struct buf *out, struct span s, enum mail_dsn_form form);
/* The same uncut, broken at blanks into lines of at most 76 where it can be, each further one begun with
 * `indent`. */
void mail_dsn_put_folded(struct buf *out, struct span s, enum mail_dsn_form form, size_t column,
                         const char *indent);
/* Whole lines with CRLF as quoted-printable: RFC 2045 section 6.7. */
void mail_dsn_put_quoted(struct buf *out, struct span lines);
/* RFC 2045 section 6.8; the end of the last line comes with _end. */
void mail_dsn_put_base64(struct buf *out, struct mail_dsn_base64 *state, struct span s);
void mail_dsn_put_base64_end(struct buf *out, struct mail_dsn_base64 *state);

bool mail_dsn_has(const struct mail_dsn *d, enum mail_dsn_action action);
const char *mail_dsn_subject(const struct mail_dsn *d);

/* The part for people, in UTF-8: what happened, in general, and per recipient. Whole lines. */
void mail_dsn_put_intro(struct buf *out, const struct mail_dsn *d);
void mail_dsn_put_person(struct buf *out, const struct mail_dsn_rcpt *r);

/* The fields of RFC 3464 section 2.2 and 2.3, each group with the empty line before it; _UTF8 or _ESCAPED. */
void mail_dsn_put_message_fields(struct buf *out, const struct mail_dsn *d, enum mail_dsn_form form);
void mail_dsn_put_rcpt_fields(struct buf *out, const struct mail_dsn_rcpt *r, enum mail_dsn_form form);

#endif
