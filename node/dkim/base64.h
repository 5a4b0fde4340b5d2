/* Base64 of RFC 4648 section 4 for keys and signatures. Pure. */
#ifndef NODE_DKIM_BASE64_H
#define NODE_DKIM_BASE64_H

#include "base/buf.h"
#include "base/span.h"

/* Blanks and line ends between the characters are passed over (RFC 6376 section 2.10); padding may be
 * missing. ERR_BAD. */
int dkim_base64_get(struct span text, struct buf *out);

#endif
