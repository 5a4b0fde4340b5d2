/* Reads encoded values from a run of bytes. The first failure sticks: later reads return zero or an empty
 * span, so eight reads need one check.
 */
#ifndef BASE_CURSOR_H
#define BASE_CURSOR_H

#include "base/span.h"

#include <stdint.h>

struct cursor {
    const uint8_t *p;
    const uint8_t *end;
    int err; /* 0 or ERR_TORN */
};

void cursor_init(struct cursor *c, const void *p, size_t n);

/* Little-endian. */
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_u16(struct cursor *c);
uint32_t cursor_u32(struct cursor *c);
uint64_t cursor_u64(struct cursor *c);
struct span cursor_bytes(struct cursor *c, size_t n);
/* A 32-bit length, then that many bytes. */
struct span cursor_counted(struct cursor *c);

static inline size_t cursor_left(const struct cursor *c)
{
    return (size_t)(c->end - c->p);
}

static inline int cursor_err(const struct cursor *c)
{
    return c->err;
}

#endif
