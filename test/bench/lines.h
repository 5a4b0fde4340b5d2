/* Cuts a stream of bytes into CRLF lines. A line that lies whole in one read is not copied. One thread. */
#ifndef BENCH_LINES_H
#define BENCH_LINES_H

#include "base/span.h"

#define LINES_MAX 8192

struct lines {
    size_t len;
    bool too_long; /* a line went past LINES_MAX: the stream is unusable */
    char part[LINES_MAX];
};

/* The next line without its ending, from *p of *n bytes, which move on; false when there is none yet (the
 * rest was kept). The line is valid until the next call. */
bool lines_next(struct lines *l, const char **p, size_t *n, struct span *line);

#endif
