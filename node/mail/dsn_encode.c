/* How text from elsewhere is written into a delivery report, so that it forges nothing and fits what carries
 * the report: one line or folded, in UTF-8 or in ASCII; and the encodings of whole parts. Knows nothing of
 * what a report says. Any thread.
 */
#include "node/mail/dsn_impl.h"

#include "base/base64.h"
#include "base/ensure.h"
#include "base/text.h"

#include <stdio.h>

enum { LINE = 76, WORD_MAX = 900, ONE_MAX = 16 };

bool mail_dsn_text_utf8(struct span s)
{
    return !text_ascii(s) && text_utf8_valid(s);
}

/* Length of the character at p when it may be shown, else 0. */
static size_t shown_len(const char *p, size_t n)
{
    unsigned char c = (unsigned char)*p;
    if (c < 0x80)
        return c >= ' ' && c != 0x7f;
    size_t len = text_utf8_len(p, n);
    if (len == 2 && c == 0xc2 && (unsigned char)p[1] < 0xa0)
        return 0;
    return len;
}

bool mail_dsn_text_shows_utf8(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80 && shown_len(s.p + i, s.n - i) > 0)
            return true;
    return false;
}

static unsigned code_point(const char *p, size_t len)
{
    unsigned char first = (unsigned char)p[0];
    unsigned code = len == 1 ? first : first & (0x7fu >> len);
    for (size_t i = 1; i < len; i++)
        code = code << 6 | ((unsigned char)p[i] & 0x3fu);
    return code;
}

/* The character at p in this form, into text; how many bytes of p it was. */
static size_t put_one(const char *p, size_t n, enum mail_dsn_form form, struct span *text, char mem[ONE_MAX])
{
    size_t len = shown_len(p, n);
    bool escape = form == MAIL_DSN_XTEXT && len == 1 && strchr(" +=\\", *p) != NULL;
    if (len > 1 && form == MAIL_DSN_ASCII)
        len = 0;
    if (len == 0)
        *text = SPAN_LIT("?");
    else if (escape || (len > 1 && form != MAIL_DSN_UTF8))
        *text = span_of(mem, (size_t)snprintf(mem, ONE_MAX, "\\x{%02X}", code_point(p, len)));
    else
        *text = span_of(p, len);
    return len > 0 ? len : 1;
}

/* As much of s as takes up to WORD_MAX bytes; tells how much that is, and adds to *column what was written.
 */
static size_t put_some(struct buf *out, struct span s, enum mail_dsn_form form, size_t *column)
{
    char mem[ONE_MAX];
    struct span text;
    size_t i = 0, width = 0;
    while (i < s.n) {
        size_t len = put_one(s.p + i, s.n - i, form, &text, mem);
        if (width + text.n > WORD_MAX)
            break;
        buf_put_span(out, text);
        width += text.n;
        i += len;
    }
    *column += width;
    return i;
}

/* What the word at the beginning of s will take; what is over LINE need not be told apart. */
static size_t word_width(struct span s, enum mail_dsn_form form)
{
    char mem[ONE_MAX];
    struct span text;
    size_t width = 0;
    for (size_t i = 0; i < s.n && s.p[i] != ' ' && width <= LINE; width += text.n)
        i += put_one(s.p + i, s.n - i, form, &text, mem);
    return width;
}

void mail_dsn_put_plain(struct buf *out, struct span s, enum mail_dsn_form form)
{
    size_t column = 0;
    (void)put_some(out, s, form, &column);
}

static struct span skip_blanks(struct span s)
{
    while (s.n > 0 && s.p[0] == ' ')
        s = span_sub(s, 1);
    return s;
}

void mail_dsn_put_folded(struct buf *out, struct span s, enum mail_dsn_form form, size_t column,
                         const char *indent)
{
    for (s = skip_blanks(s); s.n > 0;) {
        const char *blank = memchr(s.p, ' ', s.n);
        size_t word = blank == NULL ? s.n : (size_t)(blank - s.p);
        s = skip_blanks(span_sub(s, put_some(out, span_of(s.p, word), form, &column)));
        size_t next = word_width(s, form);
        if (next > 0 && column + 1 + next > LINE) {
            buf_put_str(out, "\r\n");
            buf_put_str(out, indent);
            column = strlen(indent);
        } else if (next > 0) {
            buf_put_char(out, ' ');
            column++;
        }
    }
}

/* ---- quoted-printable
 * ------------------------------------------------------------------------------------------------ */

/* The line without its end. */
static void put_quoted_line(struct buf *out, struct span line)
{
    size_t column = 0;
    for (size_t i = 0; i < line.n; i++) {
        unsigned char c = (unsigned char)line.p[i];
        bool last = i + 1 == line.n;
        bool plain = (c > ' ' && c < 0x7f && c != '=') || (c == ' ' && !last);
        size_t width = plain ? 1 : 3;
        /* rule 5: the "=" of a soft break needs a column too */
        if (column + width > (last ? LINE : LINE - 1)) {
            buf_put_str(out, "=\r\n");
            column = 0;
        }
        if (plain)
            buf_put_char(out, (char)c);
        else
            buf_printf(out, "=%02X", c);
        column += width;
    }
}

void mail_dsn_put_quoted(struct buf *out, struct span lines)
{
    while (lines.n > 0) {
        const char *end = memmem(lines.p, lines.n, "\r\n", 2);
        size_t n = end == NULL ? lines.n : (size_t)(end - lines.p);
        put_quoted_line(out, span_of(lines.p, n));
        if (end != NULL)
            buf_put_str(out, "\r\n");
        lines = span_sub(lines, n + 2);
    }
}

/* ---- base64
 * ------------------------------------------------------------------------------------------------ */

void mail_dsn_put_base64(struct buf *out, struct mail_dsn_base64 *state, struct span s)
{
    while (s.n > 0) {
        size_t n = sizeof state->line - state->n;
        if (n > s.n)
            n = s.n;
        memcpy(state->line + state->n, s.p, n);
        state->n += n;
        s = span_sub(s, n);
        if (state->n == sizeof state->line)
            mail_dsn_put_base64_end(out, state);
    }
}

void mail_dsn_put_base64_end(struct buf *out, struct mail_dsn_base64 *state)
{
    if (state->n > 0) {
        base64_put(out, state->line, state->n);
        buf_put_str(out, "\r\n");
    }
    state->n = 0;
}
