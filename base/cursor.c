/* Reads encoded values from a run of bytes. */
#include "base/cursor.h"

#include "base/err.h"

void cursor_init(struct cursor *c, const void *p, size_t n)
{
    if (p == NULL) /* of nothing, such as an empty buffer */
        p = "";
    *c = (struct cursor){ .p = p, .end = (const uint8_t *)p + n };
}

struct span cursor_bytes(struct cursor *c, size_t n)
{
    if (c->err == 0 && n > cursor_left(c))
        c->err = ERR_TORN;
    if (c->err != 0)
        return (struct span){ "", 0 };
    struct span s = span_of(c->p, n);
    c->p += n;
    return s;
}

static uint64_t get_le(struct cursor *c, size_t n)
{
    struct span s = cursor_bytes(c, n);
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++)
        v |= (uint64_t)(uint8_t)s.p[i] << (8 * i);
    return v;
}

uint8_t cursor_u8(struct cursor *c)
{
    return (uint8_t)get_le(c, 1);
}

uint16_t cursor_u16(struct cursor *c)
{
    return (uint16_t)get_le(c, 2);
}

uint32_t cursor_u32(struct cursor *c)
{
    return (uint32_t)get_le(c, 4);
}

uint64_t cursor_u64(struct cursor *c)
{
    return get_le(c, 8);
}

struct span cursor_counted(struct cursor *c)
{
    uint32_t n = cursor_u32(c);
    return cursor_bytes(c, n);
}
