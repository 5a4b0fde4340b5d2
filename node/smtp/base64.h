/* Base64 of RFC 4648 section 4, as AUTH uses it: decoding only, strict. Pure. */
#ifndef NODE_SMTP_BASE64_H
#define NODE_SMTP_BASE64_H

#include "base/span.h"

/* Room for the result of smtp_base64_decode. */
#define SMTP_BASE64_ROOM(n) ((n) / 4 * 3)

/* Decodes all of s into out; *n gets the length. ERR_BAD for anything but whole groups of four with correct
 * padding: RFC 4954 section 4 has a server refuse what is not valid. Takes no branch on the decoded bytes. */
int smtp_base64_decode(struct span s, char *out, size_t *n);

#endif
