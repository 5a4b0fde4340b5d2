/* A growable byte buffer with a bound, and the encoders that write into it.
 *
 * Errors are sticky: after the first failed append the buffer keeps its error and further appends do nothing,
 * so a run of appends needs one check of buf_err. Owned by one thread at a time.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/span.h"

#include <stdarg.h>
#include <stdint.h>

struct buf {
    char *data;
    size_t len;
    size_t cap;
    size_t max; /* bytes; an append past it fails with ERR_LIMIT */
    int err;    /* first error, or 0 */
};

void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b);

/* Empties it and forgets the error; keeps the memory. */
void buf_reset(struct buf *b);

/* Gives memory back when the buffer is empty and larger than `keep` bytes. */
void buf_shrink(struct buf *b, size_t keep);

/* Room for n more bytes at b->data + b->len; 0, ERR_LIMIT or -ENOMEM. The caller adds to b->len itself. */
int buf_reserve(struct buf *b, size_t n);

int buf_put(struct buf *b, const void *p, size_t n);
int buf_put_span(struct buf *b, struct span s);
int buf_put_str(struct buf *b, const char *s);
int buf_put_char(struct buf *b, char c);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_vprintf(struct buf *b, const char *fmt, va_list ap);

/* Little-endian, fixed width. */
int buf_put_u8(struct buf *b, uint8_t v);
int buf_put_u16(struct buf *b, uint16_t v);
int buf_put_u32(struct buf *b, uint32_t v);
int buf_put_u64(struct buf *b, uint64_t v);
/* A 32-bit length, then the bytes. */
int buf_put_counted(struct buf *b, struct span s);

/* Drops n bytes from the front. */
void buf_consume(struct buf *b, size_t n);
/* Copies at most `max` bytes from the front to `out` and drops them; how many. */
size_t buf_take(struct buf *b, void *out, size_t max);

static inline struct span buf_span(const struct buf *b)
{
    return (struct span){ b->data, b->len };
}

static inline int buf_err(const struct buf *b)
{
    return b->err;
}

#endif
