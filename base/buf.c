/* A growable byte buffer with a bound. */
#include "base/buf.h"

#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){ .max = max };
}

void buf_fini(struct buf *b)
{
    free(b->data);
    *b = (struct buf){ .max = b->max };
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->err = 0;
}

void buf_shrink(struct buf *b, size_t keep)
{
    if (b->len == 0 && b->cap > keep) {
        free(b->data);
        b->data = NULL;
        b->cap = 0;
    }
}

int buf_reserve(struct buf *b, size_t n)
{
    if (b->err != 0)
        return b->err;
    if (n > b->max - b->len || b->len > b->max)
        return b->err = ERR_LIMIT;
    if (b->len + n <= b->cap)
        return 0;
    size_t cap = b->cap == 0 ? 256 : b->cap;
    while (cap < b->len + n)
        cap *= 2;
    if (cap > b->max)
        cap = b->max;
    char *data = realloc(b->data, cap);
    if (data == NULL)
        return b->err = -ENOMEM;
    b->data = data;
    b->cap = cap;
    return 0;
}

int buf_put(struct buf *b, const void *p, size_t n)
{
    int err = buf_reserve(b, n);
    if (err != 0)
        return err;
    if (n > 0)
        memcpy(b->data + b->len, p, n);
    b->len += n;
    return 0;
}

int buf_put_span(struct buf *b, struct span s)
{
    return buf_put(b, s.p, s.n);
}

int buf_put_str(struct buf *b, const char *s)
{
    return buf_put(b, s, strlen(s));
}

int buf_put_char(struct buf *b, char c)
{
    return buf_put(b, &c, 1);
}

int buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    char small[256];
    int n = vsnprintf(small, sizeof small, fmt, ap);
    int err;
    if (n < 0) {
        err = b->err = ERR_FAILED;
    } else if ((size_t)n < sizeof small) {
        err = buf_put(b, small, (size_t)n);
    } else {
        err = buf_reserve(b, (size_t)n + 1);
        if (err == 0) {
            vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
            b->len += (size_t)n;
        }
    }
    va_end(again);
    return err;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int err = buf_vprintf(b, fmt, ap);
    va_end(ap);
    return err;
}

int buf_put_u8(struct buf *b, uint8_t v)
{
    return buf_put(b, &v, 1);
}

static int put_le(struct buf *b, uint64_t v, size_t n)
{
    uint8_t out[8];
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(v >> (8 * i));
    return buf_put(b, out, n);
}

int buf_put_u16(struct buf *b, uint16_t v)
{
    return put_le(b, v, 2);
}

int buf_put_u32(struct buf *b, uint32_t v)
{
    return put_le(b, v, 4);
}

int buf_put_u64(struct buf *b, uint64_t v)
{
    return put_le(b, v, 8);
}

int buf_put_counted(struct buf *b, struct span s)
{
    if (s.n > UINT32_MAX)
        return b->err = ERR_LIMIT;
    buf_put_u32(b, (uint32_t)s.n);
    return buf_put_span(b, s);
}

void buf_consume(struct buf *b, size_t n)
{
    ensure(n <= b->len);
    if (n < b->len && n > 0)
        memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}

size_t buf_take(struct buf *b, void *out, size_t max)
{
    size_t n = b->len < max ? b->len : max;
    if (n > 0)
        memcpy(out, b->data, n);
    buf_consume(b, n);
    return n;
}
