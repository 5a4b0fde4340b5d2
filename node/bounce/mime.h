/* MIME as far as bounces need it: header fields, the type of a part, the parts of a multipart, and their
 * text without its transfer encoding. On a message in memory; nothing is held but what the caller gives.
 * Lenient: what is malformed is taken as far as it goes. Pure.
 */
#ifndef NODE_BOUNCE_MIME_H
#define NODE_BOUNCE_MIME_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>

#define MIME_VALUE_MAX 1024 /* of a field, unfolded: the rest is cut off */

/* One line from *at on, without its end (CRLF or LF); false at the end. */
bool mime_line(struct span s, size_t *at, struct span *line);

/* One field of a header from *at on: its value unfolded, without blanks around it, with control characters as
 * blanks. False at the end of the header: *at is then behind the empty line, or before the line that is no
 * field. */
struct mime_field {
    struct span name; /* points into the header */
    size_t n;
    char value[MIME_VALUE_MAX];
};
bool mime_field_next(struct span s, size_t *at, struct mime_field *out);
static inline struct span mime_field_value(const struct mime_field *f)
{
    return span_of(f->value, f->n);
}

enum mime_encoding { MIME_PLAIN, MIME_QUOTED_PRINTABLE, MIME_BASE64 };

struct mime_entity {
    char type[64];     /* "text/plain", lower case; that too when none is said (RFC 2045 section 5.2) */
    char boundary[72]; /* of a multipart; "" */
    char report[32];   /* report-type, lower case; "" */
    enum mime_encoding encoding;
    struct span header; /* with the empty line */
    struct span body;
};
void mime_entity_read(struct span s, struct mime_entity *out);

/* The next part of a multipart's body from *at on (0 at first); false: there is none. */
bool mime_part_next(const struct mime_entity *e, size_t *at, struct span *part);

/* Appends the body without its encoding, up to the bound of `out`. Returns it: the body itself where there is
 * no encoding. */
struct span mime_body(const struct mime_entity *e, struct buf *out);

#endif
