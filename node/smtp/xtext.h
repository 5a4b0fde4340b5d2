/* The encodings of DSN parameters: xtext (RFC 3461 section 4) and its UTF-8 kin (RFC 6533 section 3). Pure.
 */
#ifndef NODE_SMTP_XTEXT_H
#define NODE_SMTP_XTEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Both decode the *n bytes at p in place (the result is never longer) and set *n. ERR_BAD if the input is not
 * of the form, or if it decodes to a control character or to what is not UTF-8: decoded values end up in DSNs
 * and logs. */
int smtp_xtext_decode(char *p, size_t *n);
/* utf-8-addr-xtext, or with `raw_utf8` (in an SMTPUTF8 transaction) utf-8-addr-unitext. */
int smtp_utf8_addr_decode(char *p, size_t *n, bool raw_utf8);

#endif
