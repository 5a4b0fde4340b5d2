/* Writing replies. Reading them is the client's reply_parser.c. Pure; any thread. */
#include "node/smtp/reply.h"

#include "base/ensure.h"

#define LINE_MAX_BYTES 512 /* RFC 5321 section 4.5.3.1.5, with CRLF */

/* How much of the text goes into this line: up to '\n', or up to a blank where it would get too long. */
static size_t line_cut(struct span text, size_t room)
{
    const char *nl = memchr(text.p, '\n', text.n < room + 1 ? text.n : room + 1);
    if (nl != NULL)
        return (size_t)(nl - text.p);
    if (text.n <= room)
        return text.n;
    for (size_t i = room; i > room / 2; i--)
        if (text.p[i] == ' ')
            return i;
    return room;
}

/* Texts may carry what a client sent: nothing but printable ASCII goes out. */
static void put_clean(struct buf *out, struct span s)
{
    if (buf_reserve(out, s.n) != 0)
        return;
    char *to = out->data + out->len;
    for (size_t i = 0; i < s.n; i++)
        to[i] = s.p[i] >= 0x20 && s.p[i] < 0x7f ? s.p[i] : '?';
    out->len += s.n;
}

int smtp_reply_put(struct buf *out, const struct smtp_reply *reply)
{
    ensure(reply->code >= 200);
    ensure(reply->code <= 599);
    struct span rest = span_str(reply->text == NULL ? "" : reply->text);
    size_t prefix = 4 + (reply->enhanced == NULL ? 0 : strlen(reply->enhanced) + 1);
    ensure(prefix <= 16);
    bool more;
    do {
        size_t n = line_cut(rest, LINE_MAX_BYTES - 2 - prefix);
        struct span line = span_of(rest.p, n);
        more = n < rest.n;
        rest = span_sub(rest, more && (rest.p[n] == '\n' || rest.p[n] == ' ') ? n + 1 : n);
        char code[4] = { (char)('0' + reply->code / 100), (char)('0' + reply->code / 10 % 10),
                         (char)('0' + reply->code % 10), more ? '-' : ' ' };
        buf_put(out, code, sizeof code);
        if (reply->enhanced != NULL) {
            buf_put_str(out, reply->enhanced);
            buf_put_char(out, ' ');
        }
        put_clean(out, line);
        buf_put(out, "\r\n", 2);
    } while (more);
    return buf_err(out);
}
