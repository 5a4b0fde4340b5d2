/* Counts of senders' mail as bytes: see record.h. */
#include "consensus/record.h"

#include "base/err.h"

int record_counts_put(struct buf *out, const struct record_counts *c)
{
    uint8_t n = 0;
    for (unsigned i = 0; i < RECORD_KINDS; i++)
        n = (uint8_t)(n + (c->count[i] != 0));
    if (n == 0)
        return 0;
    (void)buf_put_counted(out, c->account);
    (void)buf_put_u8(out, n);
    for (unsigned i = 0; i < RECORD_KINDS; i++) {
        if (c->count[i] == 0)
            continue;
        (void)buf_put_u8(out, (uint8_t)i);
        (void)buf_put_u32(out, c->count[i]);
    }
    return buf_err(out);
}

int record_counts_next(struct cursor *c, struct record_counts *out)
{
    *out = (struct record_counts){ 0 };
    if (cursor_err(c) == 0 && cursor_left(c) == 0)
        return 0;
    out->account = cursor_counted(c);
    uint8_t n = cursor_u8(c);
    if (n == 0)
        return ERR_CORRUPT;
    int last = -1;
    for (; n > 0; n--) {
        uint8_t kind = cursor_u8(c);
        uint32_t count = cursor_u32(c);
        if (cursor_err(c) != 0 || kind >= RECORD_KINDS || kind <= last || count == 0)
            return ERR_CORRUPT;
        out->count[kind] = count;
        last = kind;
    }
    return 1;
}
