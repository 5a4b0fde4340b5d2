/* Canonical forms of header fields and bodies: RFC 6376 section 3.4. Pure.
 *
 * Lines end with CRLF and with nothing else; a CR or LF by itself is an octet like any other.
 */
#ifndef NODE_DKIM_CANON_H
#define NODE_DKIM_CANON_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

enum dkim_canon { DKIM_SIMPLE, DKIM_RELAXED };

const char *dkim_canon_name(enum dkim_canon canon);

/* Appends one field in its canonical form, its line's end with it. `whole`: name, colon, value, with the
 * lines' ends (the last one may be missing). ERR_BAD: there is no colon. */
int dkim_canon_field(enum dkim_canon canon, struct span whole, struct buf *out);

/* Takes canonical octets, in order; valid during the call. */
typedef void dkim_canon_put_fn(void *ctx, const void *p, size_t n);

#define DKIM_CANON_BLOCK 2048

/* A body while it streams in, cut anywhere. */
struct dkim_canon_body {
    enum dkim_canon canon;
    dkim_canon_put_fn *put;
    void *ctx;
    bool cr;        /* a CR came last, and is not given out yet */
    bool blank;     /* relaxed: so did blanks, before it */
    bool any;       /* something was given out */
    uint64_t lines; /* ends of lines that are given out when something follows */
    size_t n;
    char block[DKIM_CANON_BLOCK];
};

void dkim_canon_body_init(struct dkim_canon_body *b, enum dkim_canon canon, dkim_canon_put_fn *put,
                          void *ctx);
void dkim_canon_body_feed(struct dkim_canon_body *b, struct span bytes);
void dkim_canon_body_end(struct dkim_canon_body *b);

#endif
