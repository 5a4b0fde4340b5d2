/* Dot-stuffing of outgoing content (RFC 5321 section 4.5.2). It does not trust the content: whatever it is
 * given, no bare CR, no bare LF and no NUL leaves (a bare LF ends a line, the other two become blanks), so
 * that nothing in it can be read as the end of data by a server that is lenient about line ends. Runs on the
 * session's thread.
 */
#include "node/smtp/client.h"

#include "base/err.h"

enum { CHECK_BLOCK = 64 };

/* Is there a NUL, a CR without LF after it or an LF without CR before it in p[1..n)? p[0] is the byte before.
 * Blocks of a constant size, so that the compiler makes vectors of it. */
static bool is_odd(const unsigned char *p, size_t n)
{
    unsigned char odd = 0;
    size_t i = 1;
    for (; i + CHECK_BLOCK <= n; i += CHECK_BLOCK) {
        for (size_t k = 0; k < CHECK_BLOCK; k++)
            odd |= (unsigned char)((p[i + k - 1] == '\r') ^ (p[i + k] == '\n')) | (p[i + k] == 0);
        if (odd != 0)
            return true;
    }
    for (; i < n; i++)
        odd |= (unsigned char)((p[i - 1] == '\r') ^ (p[i] == '\n')) | (p[i] == 0);
    return odd != 0;
}

/* Lines that are known to be whole and clean, ending with CRLF or in the middle of a line (never with CR). */
static void put_clean(struct smtp_stuff *st, const char *p, size_t n, struct buf *out)
{
    const char *end = p + n;
    if (st->at_line_start && *p == '.')
        buf_put_char(out, '.');
    for (const char *from = p; from < end;) {
        const char *lf = from;
        while ((lf = memchr(lf, '\n', (size_t)(end - lf))) != NULL && (lf + 1 == end || lf[1] != '.'))
            if (++lf == end)
                break;
        if (lf == NULL || lf == end) {
            buf_put(out, from, (size_t)(end - from));
            break;
        }
        buf_put(out, from, (size_t)(lf + 1 - from));
        buf_put_char(out, '.');
        from = lf + 1;
    }
    st->at_line_start = end[-1] == '\n';
}

static void put_byte(struct smtp_stuff *st, char c, struct buf *out)
{
    if (c == '\n') {
        buf_put(out, "\r\n", 2);
        st->at_line_start = true;
        st->last_cr = false;
        return;
    }
    if (st->last_cr) {
        buf_put_char(out, ' ');
        st->at_line_start = false;
    }
    st->last_cr = c == '\r';
    if (st->last_cr)
        return;
    if (st->at_line_start && c == '.')
        buf_put_char(out, '.');
    buf_put_char(out, c == '\0' ? ' ' : c);
    st->at_line_start = false;
}

int smtp_stuff_put(struct smtp_stuff *st, const char *p, size_t n, struct buf *out)
{
    if (n == 0)
        return buf_err(out);
    const char *end = p + n;
    /* the first byte, and a CR held back from the last call, one by one: the check looks one byte back */
    while (p < end && (st->last_cr || *p == '\n' || *p == '\r' || *p == '\0'))
        put_byte(st, *p++, out);
    if (p == end)
        return buf_err(out);
    /* a CR at the end is held back until the next byte is known */
    size_t clean = (size_t)(end - p) - (end[-1] == '\r');
    if (clean > 0 && p[clean - 1] != '\r' && !is_odd((const unsigned char *)p, clean)) {
        put_clean(st, p, clean, out);
        p += clean;
    }
    while (p < end)
        put_byte(st, *p++, out);
    return buf_err(out);
}

int smtp_stuff_end(struct smtp_stuff *st, struct buf *out)
{
    if (st->last_cr || !st->at_line_start)
        buf_put(out, "\r\n", 2);
    st->last_cr = false;
    st->at_line_start = true;
    return buf_put(out, ".\r\n", 3);
}
