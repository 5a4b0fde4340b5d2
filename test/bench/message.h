/* Makes messages of a given size, cheaply: a header of their own and a slice of a prepared body. Their
 * Message-ID names the run and the number, so that a test can tell which arrived. One thread.
 */
#ifndef BENCH_MESSAGE_H
#define BENCH_MESSAGE_H

#include "base/buf.h"

struct message_pool {
    size_t bytes;  /* of each message, header and dot excluded from neither: the whole content */
    size_t nlines; /* in the pool */
    size_t spare;  /* lines that a slice may start at */
    char *lines;   /* of 76 characters and CRLF */
    char run[24];  /* names this run */
    char date[64];
};

/* Incompressible bodies are base64 of random bytes; others are words. 0, ERR_BAD (too small), -ENOMEM. */
int message_pool_init(struct message_pool *m, size_t bytes, bool incompressible);
void message_pool_fini(struct message_pool *m);

/* Appends message n, dots need no stuffing, and the final dot. `from` and `to` are for its header. */
int message_put(struct buf *out, const struct message_pool *m, uint64_t n, struct span from, struct span to);
/* "<n.run@bench.test>" */
int message_put_id(struct buf *out, const struct message_pool *m, uint64_t n);

#endif
