/* Results as bytes: for the node that forwarded a command, and for the memory of a session's answers. */
#include "base/err.h"
#include "consensus/machine.h"

#include <string.h>

enum { HAS_GRANT = 1, HAS_LIMIT = 2, HAS_WORDS = 4 };

int machine_result_encode(const struct machine_result *r, struct buf *out)
{
    size_t limit = strnlen(r->limit, sizeof r->limit), words = strnlen(r->words, sizeof r->words);
    uint8_t has = (uint8_t)((r->count != 0 || r->life_ms != 0 ? HAS_GRANT : 0) |
                            (r->why != 0 || r->scope != 0 || r->free_ms != 0 || limit != 0 ||
                                     r->limit_count != 0 || r->limit_window_ms != 0
                                 ? HAS_LIMIT
                                 : 0) |
                            (words != 0 ? HAS_WORDS : 0));
    buf_put_u8(out, has);
    buf_put_u32(out, (uint32_t)r->err);
    buf_put_u64(out, r->id);
    buf_put_u64(out, r->now_ms);
    if ((has & HAS_GRANT) != 0) {
        buf_put_u32(out, r->count);
        buf_put_u32(out, r->life_ms);
    }
    if ((has & HAS_LIMIT) != 0) {
        buf_put_u8(out, r->why);
        buf_put_u8(out, r->scope);
        buf_put_u64(out, r->free_ms);
        buf_put_u64(out, r->limit_count);
        buf_put_u64(out, r->limit_window_ms);
        buf_put_counted(out, span_of(r->limit, limit));
    }
    if ((has & HAS_WORDS) != 0)
        buf_put_counted(out, span_of(r->words, words));
    return buf_err(out);
}

static int text(struct cursor *c, char *out, size_t cap)
{
    struct span s = cursor_counted(c);
    if (cursor_err(c) != 0)
        return cursor_err(c);
    if (s.n >= cap || memchr(s.p, '\0', s.n) != NULL)
        return ERR_CORRUPT;
    memcpy(out, s.p, s.n);
    out[s.n] = '\0';
    return 0;
}

int machine_result_decode(struct cursor *c, struct machine_result *out)
{
    *out = (struct machine_result){ 0 };
    uint8_t has = cursor_u8(c);
    out->err = (int32_t)cursor_u32(c);
    out->id = cursor_u64(c);
    out->now_ms = cursor_u64(c);
    int err = has > (HAS_GRANT | HAS_LIMIT | HAS_WORDS) || out->err > 0 ? ERR_CORRUPT : 0;
    if ((has & HAS_GRANT) != 0) {
        out->count = cursor_u32(c);
        out->life_ms = cursor_u32(c);
    }
    if ((has & HAS_LIMIT) != 0) {
        out->why = cursor_u8(c);
        out->scope = cursor_u8(c);
        out->free_ms = cursor_u64(c);
        out->limit_count = cursor_u64(c);
        out->limit_window_ms = cursor_u64(c);
        if (err == 0)
            err = text(c, out->limit, sizeof out->limit);
    }
    if (err == 0 && (has & HAS_WORDS) != 0)
        err = text(c, out->words, sizeof out->words);
    return cursor_err(c) != 0 ? cursor_err(c) : err;
}
