/* Replies read from a server: the parser, and the text that is kept of them. It does not judge what a reply
 * means: client_transaction.c and client_session.c do. Runs on the thread of its session.
 */
#include "node/smtp/reply_parser.h"

#include "base/text.h"

#include <stddef.h>

void smtp_reply_parser_init(struct smtp_reply_parser *r)
{
    r->reply.code = 0;
    r->reply.len = 0;
    r->reply.text[0] = '\0';
    r->text = (struct span){ "", 0 };
    r->why = NULL;
    r->bytes = r->lines = 0;
    r->line_len = 0;
}

static size_t number_parse(struct span s, unsigned *value)
{
    size_t i = 0;
    *value = 0;
    while (i < s.n && i < 3 && s.p[i] >= '0' && s.p[i] <= '9')
        *value = *value * 10 + (unsigned)(s.p[i++] - '0');
    return i;
}

size_t smtp_enhanced_parse(struct span s, uint8_t out[3])
{
    unsigned part[3];
    size_t at = 0;
    for (int i = 0; i < 3; i++) {
        size_t digits = number_parse(span_sub(s, at), &part[i]);
        if (digits == 0 || part[i] > 255)
            return 0;
        at += digits;
        if (i < 2 && (at >= s.n || s.p[at++] != '.'))
            return 0;
    }
    if ((part[0] != 2 && part[0] != 4 && part[0] != 5) || (at < s.n && s.p[at] != ' ' && s.p[at] != '\t'))
        return 0;
    while (at < s.n && (s.p[at] == ' ' || s.p[at] == '\t'))
        at++;
    for (int i = 0; i < 3; i++)
        out[i] = (uint8_t)part[i];
    return at;
}

/* Length of the harmless character at p, or 0. U+0080 to U+009F are controls, U+2028 and U+2029 end lines. */
static size_t plain_len(const char *p, size_t n)
{
    const unsigned char *u = (const unsigned char *)p;
    if (u[0] < 0x20 || u[0] == 0x7f)
        return 0;
    if (u[0] < 0x80)
        return 1;
    size_t len = text_utf8_len(p, n);
    if (len == 2 && u[0] == 0xc2 && u[1] < 0xa0)
        return 0;
    if (len == 3 && u[0] == 0xe2 && u[1] == 0x80 && (u[2] == 0xa8 || u[2] == 0xa9))
        return 0;
    return len;
}

void smtp_reply_text_add(struct smtp_reply_text *r, struct span s)
{
    for (size_t i = 0; i < s.n;) {
        size_t len = plain_len(s.p + i, s.n - i);
        size_t put = len == 0 ? 1 : len;
        if (r->len + put >= sizeof r->text)
            break;
        if (len == 0)
            r->text[r->len] = s.p[i] == '\t' ? ' ' : '?';
        else
            memcpy(r->text + r->len, s.p + i, len);
        r->len = (uint16_t)(r->len + put);
        i += put;
    }
    r->text[r->len] = '\0';
}

void smtp_reply_text_copy(struct smtp_reply_text *to, const struct smtp_reply_text *from)
{
    memcpy(to, from, offsetof(struct smtp_reply_text, text) + from->len + 1);
}

int smtp_reply_text_put(struct buf *out, const struct smtp_reply_text *r)
{
    const char *blank = "";
    if (r->code != 0) {
        buf_printf(out, "%u", r->code);
        blank = " ";
    }
    if (r->enhanced[0] != 0) {
        buf_printf(out, "%s%u.%u.%u", blank, r->enhanced[0], r->enhanced[1], r->enhanced[2]);
        blank = " ";
    }
    if (r->len > 0) {
        buf_put_str(out, blank);
        buf_put(out, r->text, r->len);
    }
    return buf_err(out);
}

static enum smtp_reply_event bad(struct smtp_reply_parser *r, const char *why)
{
    r->why = why;
    r->reply.code = 0;
    memset(r->reply.enhanced, 0, sizeof r->reply.enhanced);
    r->reply.len = 0;
    smtp_reply_text_add(&r->reply, span_of(r->line, r->line_len));
    return SMTP_REPLY_BAD;
}

/* One line is complete, its end removed. */
static enum smtp_reply_event line_done(struct smtp_reply_parser *r)
{
    struct span line = span_of(r->line, r->line_len);
    unsigned code;
    if (number_parse(line, &code) != 3 || code < 200 || code > 599 ||
        (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-'))
        return bad(r, "not an SMTP reply");
    bool last = line.n == 3 || line.p[3] == ' ';
    struct span text = span_sub(line, 4);
    r->text = text;
    r->reply.code = (uint16_t)code;
    uint8_t enhanced[3];
    size_t skip = smtp_enhanced_parse(text, enhanced);
    /* RFC 2034 section 4: each line repeats it; it counts only if its class is that of the code */
    if (skip > 0 && enhanced[0] == code / 100) {
        if (r->reply.enhanced[0] == 0)
            memcpy(r->reply.enhanced, enhanced, sizeof enhanced);
        if (memcmp(r->reply.enhanced, enhanced, sizeof enhanced) == 0)
            text = span_sub(text, skip);
    }
    if (r->lines++ > 0 && r->reply.len > 0 && text.n > 0)
        smtp_reply_text_add(&r->reply, SPAN_LIT(" "));
    smtp_reply_text_add(&r->reply, text);
    if (!last)
        return SMTP_REPLY_LINE;
    if (r->reply.enhanced[0] != code / 100)
        memset(r->reply.enhanced, 0, sizeof r->reply.enhanced);
    return SMTP_REPLY_DONE;
}

enum smtp_reply_event smtp_reply_parser_feed(struct smtp_reply_parser *r, const char *p, size_t n,
                                             size_t *used)
{
    if (r->bytes == 0) {
        r->lines = 0;
        r->reply.code = 0;
        r->reply.len = 0;
        r->reply.text[0] = '\0';
        memset(r->reply.enhanced, 0, sizeof r->reply.enhanced);
    }
    /* the text of the last LINE lies in r->line until here */
    if (r->text.p != NULL) {
        r->text.p = NULL;
        r->line_len = 0;
    }
    const char *lf = memchr(p, '\n', n);
    size_t take = lf == NULL ? n : (size_t)(lf - p);
    size_t keep = sizeof r->line - r->line_len;
    if (keep > take)
        keep = take;
    if (keep > 0)
        memcpy(r->line + r->line_len, p, keep);
    r->line_len = (uint16_t)(r->line_len + keep);
    *used = lf == NULL ? n : take + 1;
    if (*used > SMTP_REPLY_BYTES_MAX - r->bytes) {
        if (r->lines > 0)
            r->line_len = 0; /* one line of thousands explains nothing */
        return bad(r, "reply too long");
    }
    r->bytes += (uint32_t)*used;
    if (lf == NULL)
        return SMTP_REPLY_MORE;
    if (r->line_len > 0 && r->line[r->line_len - 1] == '\r')
        r->line_len--;
    enum smtp_reply_event event = line_done(r);
    if (event == SMTP_REPLY_DONE)
        r->bytes = 0;
    return event;
}
