/* Base64 of RFC 4648, section 4: the alphabet. How strict a text is read is its reader's: AUTH, DKIM and MIME
 * differ. Pure; any thread. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/buf.h"

#include <stddef.h>

/* The six bits that a character stands for, or -1. Padding is none. */
int base64_value(char c);
/* Whole groups of four, padded, on one line; the buf's error. */
int base64_put(struct buf *out, const void *p, size_t n);

#endif
